//! Real guests on vhost-user sockets: User Mode Linux and QEMU, booted by the scripts in `tests/guests`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::{Failure, Namespace, Scratch};

/// What a guest is run by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestKind {
    /// User Mode Linux: native code, up in seconds, connects once.
    Uml,
    /// QEMU without hardware help: slow, but the front end of the field.
    Qemu,
    /// The same with packed rings, where the switch offers them.
    QemuPacked,
}

impl GuestKind {
    fn name(self) -> &'static str {
        match self {
            GuestKind::Uml => "uml",
            GuestKind::Qemu | GuestKind::QemuPacked => "qemu",
        }
    }
}

/// Which side of the vhost-user socket the guest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It connects to the switch.
    Connects,
    /// It listens and waits for the switch (QEMU).
    Listens,
}

/// A booted guest; ends with its value.
#[derive(Debug)]
pub struct Guest {
    scratch: Scratch,
}

impl Guest {
    /// Boots a guest inside `namespace` (it uses nothing of it, but is found and ended with it) and waits until it is
    /// ready. `settings` are those of `tests/guests/init`, for example `w.ip=10.0.0.1/24`.
    pub fn boot(
        namespace: &Namespace,
        kind: GuestKind,
        side: Side,
        socket: &Path,
        settings: &[&str],
    ) -> Result<Guest, Failure> {
        let scratch = Scratch::new(kind.name())?;
        let cache = cache();
        run(Command::new(scripts().join("build")).arg(&cache).arg(kind.name()).output(), "tests/guests/build")?;
        let mut command = Command::new(scripts().join("boot"));
        command.arg(kind.name());
        if side == Side::Listens {
            command.arg("-s");
        }
        if kind == GuestKind::QemuPacked {
            command.args(["-o", "packed=on"]);
        }
        // A MAC of its own for each guest: made of what makes the folder's name unique.
        let number =
            scratch.path().as_os_str().as_encoded_bytes().iter().fold(0_u32, |n, &b| n.wrapping_mul(31) + u32::from(b));
        let [_, a, b, c] = number.to_be_bytes();
        command.args(["-m", &format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")]);
        command.arg(cache).arg(scratch.path()).arg(socket).args(settings);
        // The guest keeps what it inherits: no pipe of ours, or waiting for the script would wait for the guest.
        let errors = scratch.path().join("errors");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&errors)?);
        let status = namespace.spawn(&mut command)?.wait()?;
        if !status.success() {
            return Err(Failure::of("tests/guests/boot", std::fs::read_to_string(errors)?));
        }
        Ok(Guest { scratch })
    }

    /// Runs a shell command in the guest; its output, if it succeeds.
    pub fn sh(&self, command: &str) -> Result<String, Failure> {
        let output = Command::new(scripts().join("sh")).arg(self.scratch.path()).arg(command).arg("120").output();
        let output = run(output, command)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The end of its console.
    pub fn console(&self) -> String {
        let bytes = std::fs::read(self.scratch.path().join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).replace('\r', "");
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // What is not ended here ends with the namespace.
        let _ = Command::new(scripts().join("sh")).arg("-k").arg(self.scratch.path()).output();
    }
}

fn run(output: std::io::Result<Output>, what: &str) -> Result<Output, Failure> {
    let output = output.map_err(|e| Failure::of(what, e))?;
    if !output.status.success() {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        return Err(Failure::new(format!("{what}: {}\n{out}{err}", output.status)));
    }
    Ok(output)
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("guests")
}

/// Where the built guests are kept: `WEIR_GUESTS`, or the user's cache.
fn cache() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    std::env::var_os("WEIR_GUESTS").map(PathBuf::from).unwrap_or_else(|| {
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
        base.unwrap_or_else(std::env::temp_dir).join("weir/guests")
    })
}
