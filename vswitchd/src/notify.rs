//! Tells the service manager how we are (`sd_notify(3)`): one datagram to the socket that `NOTIFY_SOCKET` names.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// What the service manager is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The daemon takes requests.
    Ready,
    /// The daemon is on its way down.
    Stopping,
}

/// Tells the service manager, where there is one that wants to know.
///
/// # Errors
/// Where the socket that is named cannot be written to.
pub fn notify(notice: Notice) -> io::Result<()> {
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(name) => send(name.as_encoded_bytes(), notice),
        None => Ok(()),
    }
}

fn send(name: &[u8], notice: Notice) -> io::Result<()> {
    let text: &[u8] = match notice {
        Notice::Ready => b"READY=1\nSTATUS=Forwarding",
        Notice::Stopping => b"STOPPING=1",
    };
    let address = match name.strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name)?,
        None => {
            use std::os::unix::ffi::OsStrExt;
            SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?
        }
    };
    UnixDatagram::unbound()?.send_to_addr(text, &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_reads_that_we_are_ready() {
        let name = format!("weir-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("an address");
        let manager = UnixDatagram::bind_addr(&address).expect("bound");
        send(format!("@{name}").as_bytes(), Notice::Ready).expect("sent");
        let mut text = [0; 64];
        let length = manager.recv(&mut text).expect("received");
        assert!(text[..length].starts_with(b"READY=1\n"));
    }
}
