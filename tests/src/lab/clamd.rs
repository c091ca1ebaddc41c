//! Debian's clamd with a small database of the test's own; nothing is fetched from anywhere.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Failure, Scratch, wait_for};

const PROGRAM: &str = "/usr/sbin/clamd";

/// A running clamd; ends with its value.
#[derive(Debug)]
pub struct Clamd {
    child: Child,
    scratch: Scratch,
}

impl Clamd {
    /// Searches for these signatures, in the language of `.ndb` files.
    pub fn start(signatures: &str) -> Result<Clamd, Failure> {
        let scratch = Scratch::new("clamd")?;
        let folder = scratch.path().display().to_string();
        let database = scratch.path().join("db");
        std::fs::create_dir_all(&database)?;
        std::fs::write(database.join("own.ndb"), signatures)?;
        let text = format!(
            "LocalSocket {folder}/socket\nDatabaseDirectory {folder}/db\nTemporaryDirectory {folder}\n\
             LogFile {folder}/log\nForeground yes\nUser root\nStreamMaxLength 64M\nSelfCheck 0\nMaxThreads 4\n"
        );
        std::fs::write(scratch.path().join("conf"), text)?;
        let mut command = Command::new(PROGRAM);
        command.arg("-c").arg(scratch.path().join("conf")).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(scratch.path().join("stderr"))?);
        let clamd = Clamd { child: command.spawn()?, scratch };
        let listens = || UnixStream::connect(clamd.socket()).is_ok();
        wait_for("clamd's socket", Duration::from_secs(60), || listens().then_some(()))
            .map_err(|failure| Failure::of(failure, clamd.log()))?;
        Ok(clamd)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.scratch.path().join("socket")
    }

    /// Stops it in the midst of what it does; it still holds its socket.
    pub fn halt(&self) -> Result<(), Failure> {
        self.signal("STOP")
    }

    /// Lets it go on.
    pub fn go_on(&self) -> Result<(), Failure> {
        self.signal("CONT")
    }

    /// Ends it at once.
    pub fn kill(&self) -> Result<(), Failure> {
        self.signal("KILL")
    }

    fn signal(&self, name: &str) -> Result<(), Failure> {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status()?;
        if status.success() { Ok(()) } else { Err(Failure::new(format!("clamd took no SIG{name}"))) }
    }

    /// What it complained of.
    pub fn log(&self) -> String {
        let read = |name| std::fs::read_to_string(self.scratch.path().join(name)).unwrap_or_default();
        read("stderr") + &read("log")
    }
}

impl Drop for Clamd {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
