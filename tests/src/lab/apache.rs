//! Debian's Apache with name-based sites over HTTP and HTTPS, in a namespace.

use std::fmt::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Failure, Namespace, Scratch, wait_for};

const PROGRAM: &str = "/usr/sbin/apache2";
const MODULES: &str = "/usr/lib/apache2/modules";

/// Whether a program is missing here; says so, for the report of skipped tests.
pub fn skip_without(program: &str) -> bool {
    let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/bin"];
    let there = folders.iter().any(|folder| Path::new(folder).join(program).exists());
    if !there {
        println!("skipped: needs {program}");
    }
    !there
}

/// A running Apache; ends with its value.
#[derive(Debug)]
pub struct Apache {
    child: Child,
    scratch: Scratch,
}

impl Apache {
    /// Serves each site of `sites` at ports 80 and 443 of every address, by HTTP/1 and where Apache can by HTTP/2; its page says "this is NAME".
    pub fn start(host: &Namespace, sites: &[&str]) -> Result<Apache, Failure> {
        let scratch = Scratch::new("apache")?;
        let folder = scratch.path().display().to_string();
        certificate(scratch.path())?;
        let mut text = format!(
            "ServerRoot {folder}\nServerName localhost\nPidFile {folder}/pid\nErrorLog {folder}/error.log\n\
             DefaultRuntimeDir {folder}\nMutex file:{folder}\nListen 80\nListen 443\n"
        );
        for module in ["mpm_event", "authz_core", "ssl", "socache_shmcb", "dir", "http2"] {
            if Path::new(MODULES).join(format!("mod_{module}.so")).exists() {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "LoadModule {module}_module {MODULES}/mod_{module}.so");
            }
        }
        let _ = writeln!(text, "<IfModule http2_module>\nProtocols h2 h2c http/1.1\n</IfModule>");
        for site in sites {
            let root = scratch.path().join(site);
            std::fs::create_dir_all(&root)?;
            std::fs::write(root.join("index.html"), format!("this is {site}\n"))?;
            std::fs::write(root.join("private.html"), format!("private of {site}\n"))?;
            let common = format!(
                "ServerName {site}\nDocumentRoot {folder}/{site}\n<Directory {folder}/{site}>\nRequire all granted\n</Directory>\n"
            );
            let tls =
                format!("SSLEngine on\nSSLCertificateFile {folder}/cert.pem\nSSLCertificateKeyFile {folder}/key.pem\n");
            let _ = write!(
                text,
                "<VirtualHost *:80>\n{common}</VirtualHost>\n<VirtualHost *:443>\n{common}{tls}</VirtualHost>\n"
            );
        }
        std::fs::write(scratch.path().join("conf"), text)?;
        // Its own files must be readable by the user it becomes; it stays root here, where only the test reaches it.
        let mut command = Command::new(PROGRAM);
        command.args(["-X", "-f"]).arg(scratch.path().join("conf")).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(scratch.path().join("stderr"))?);
        let child = host.spawn(&mut command)?;
        let apache = Apache { child, scratch };
        let listens = || host.inside(|| Ok(std::net::TcpStream::connect("127.0.0.1:443").is_ok())).unwrap_or(false);
        wait_for("apache2's port 443", Duration::from_secs(30), || listens().then_some(()))
            .map_err(|failure| Failure::of(failure, apache.log()))?;
        Ok(apache)
    }

    /// What it complained of.
    pub fn log(&self) -> String {
        let read = |name| std::fs::read_to_string(self.scratch.path().join(name)).unwrap_or_default();
        read("stderr") + &read("error.log")
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        // It may have ended by itself; the namespace ends what it started.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn certificate(folder: &Path) -> Result<(), Failure> {
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=weir-test"])
        .arg("-keyout")
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(folder.join("cert.pem"))
        .output()
        .map_err(|e| Failure::of("openssl", e))?;
    if output.status.success() { Ok(()) } else { Err(Failure::of("openssl", String::from_utf8_lossy(&output.stderr))) }
}

/// What curl got: its exit code, the status of the answer (0: none), and the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Of the program.
    pub exit: i32,
    /// Of HTTP.
    pub status: u16,
    /// What came.
    pub body: String,
}

/// Fetches a URL whose host is at `address`, whatever the name.
pub fn fetch(from: &Namespace, url: &str, address: &str, more: &[&str]) -> Result<Fetched, Failure> {
    let mut command = Command::new("curl");
    command.args(["-s", "-k", "-m", "10", "-w", "\n%{http_code}", "--connect-to", &format!("::{address}:")]);
    command.args(more).arg(url).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = from.spawn(&mut command)?.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap_or(("", "0"));
    let status = status.trim().parse().unwrap_or(0);
    Ok(Fetched { exit: output.status.code().unwrap_or(-1), status, body: body.to_owned() })
}
