//! Where requests come in: a unix socket, and TCP with mutual TLS where it is asked for.
//!
//! Who may write to the unix socket may change the switch, and reach files as the daemon's user through rule sets and
//! capture ports; the socket's permissions are the access control. Over TCP both sides show certificates. Plain TCP is for
//! tests on one's own machine: a loopback address, asked for by name.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::Mode;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `unix:/run/weir/vswitchd.sock`
    Unix(PathBuf),
    /// `tcp:192.0.2.1:7400`
    Tcp(SocketAddr),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.starts_with('/') {
                true => Ok(Listen::Unix(path.into())),
                false => Err(format!("the socket path \"{path}\" must be absolute")),
            };
        }
        if let Some(address) = text.strip_prefix("tcp:") {
            return address
                .parse()
                .map(Listen::Tcp)
                .map_err(|_| format!("\"{address}\" is no address with a port: write tcp:192.0.2.1:7400"));
        }
        Err(format!("\"{text}\" is no address to listen on: write unix:/path or tcp:ADDRESS:PORT"))
    }
}

/// Who may use a unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Permissions of the socket.
    pub mode: u32,
    /// Group of the socket, by number; ours where absent.
    pub group: Option<u32>,
}

/// A unix socket that is removed with its value.
#[derive(Debug)]
pub struct BoundSocket {
    path: PathBuf,
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        // A socket that somebody has removed already needs no removing.
        drop(fs::remove_file(&self.path));
    }
}

/// Binds a unix socket that never, not even for a moment, has wider permissions than asked for. A socket that a daemon
/// left behind is replaced; one that is answered is not.
///
/// # Errors
/// With the path and a remedy, where it cannot be bound.
pub fn bind_unix(path: &Path, access: &Access) -> Result<(StdUnixListener, BoundSocket), String> {
    let named = |what: &str, error: io::Error| format!("{}: {what}: {error}", path.display());
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(|e| named("its directory cannot be made", e))?;
    }
    remove_stale(path)?;
    // The umask belongs to the process: this runs before there are other threads that make files.
    let before = rustix::process::umask(Mode::from_raw_mode(0o777));
    let bound = StdUnixListener::bind(path);
    rustix::process::umask(before);
    let listener = bound.map_err(|e| named("cannot listen", e))?;
    let socket = BoundSocket { path: path.to_owned() };
    if access.group.is_some() {
        std::os::unix::fs::chown(path, None, access.group).map_err(|e| named("its group cannot be set", e))?;
    }
    let mode = fs::Permissions::from_mode(access.mode);
    fs::set_permissions(path, mode).map_err(|e| named("its permissions cannot be set", e))?;
    listener.set_nonblocking(true).map_err(|e| named("cannot be made non-blocking", e))?;
    Ok((listener, socket))
}

fn remove_stale(path: &Path) -> Result<(), String> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(format!("{}: is there and is no socket; remove it or choose another path", path.display()));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(format!("{}: another vswitchd answers there; stop it or choose another path", path.display())),
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|e| format!("{}: the old socket cannot be removed: {e}", path.display()))
        }
        Err(e) => Err(format!("{}: cannot be looked at: {e}", path.display())),
    }
}

/// Binds a TCP address. `plain` says that there will be no TLS on it.
///
/// # Errors
/// Where it cannot be bound, or would be plain beyond this machine.
pub fn bind_tcp(address: SocketAddr, plain: bool) -> Result<StdTcpListener, String> {
    if plain && !address.ip().is_loopback() {
        return Err(format!(
            "tcp:{address}: without TLS only loopback addresses are served; give --tls-cert, --tls-key \
             and --tls-client-ca"
        ));
    }
    let listener = StdTcpListener::bind(address).map_err(|e| format!("tcp:{address}: cannot listen: {e}"))?;
    listener.set_nonblocking(true).map_err(|e| format!("tcp:{address}: {e}"))?;
    Ok(listener)
}

/// A group's number, by name or number, as `/etc/group` has it.
///
/// # Errors
/// Where there is no such group.
pub fn group_id(name: &str) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let text = fs::read_to_string("/etc/group").map_err(|e| format!("/etc/group: {e}"))?;
    let entry = text.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|f| f.first() == Some(&name));
    entry
        .and_then(|fields| fields.get(2)?.parse().ok())
        .ok_or_else(|| format!("there is no group \"{name}\" in /etc/group; make it (groupadd {name}) or give another"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket's path in a folder of its own, which goes with this value.
    struct Place(PathBuf);

    impl Drop for Place {
        fn drop(&mut self) {
            // A folder that cannot be removed is no reason to fail a test.
            let _ = self.parent().map(fs::remove_dir_all);
        }
    }

    impl std::ops::Deref for Place {
        type Target = Path;

        fn deref(&self) -> &Path {
            &self.0
        }
    }

    fn place(name: &str) -> Place {
        Place(std::env::temp_dir().join(format!("weir-listen-{}-{name}", std::process::id())).join("control.sock"))
    }

    const OWNER_ONLY: Access = Access { mode: 0o600, group: None };

    #[test]
    fn a_socket_has_the_permissions_asked_for_and_goes_with_its_value() {
        let path = place("mode");
        for mode in [0o600, 0o660] {
            let bound = bind_unix(&path, &Access { mode, group: None }).expect("bound");
            assert_eq!(fs::metadata(&*path).expect("is there").permissions().mode() & 0o777, mode);
            drop(bound);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
        let path = place("stale");
        let (listener, socket) = bind_unix(&path, &OWNER_ONLY).expect("bound");
        let error = bind_unix(&path, &OWNER_ONLY).expect_err("is in use");
        assert!(error.contains("another vswitchd answers there"), "{error}");
        std::mem::forget(socket);
        drop(listener);
        assert!(path.exists());
        bind_unix(&path, &OWNER_ONLY).expect("the stale one is replaced");
    }

    #[test]
    fn a_file_in_the_way_is_left_alone() {
        let path = place("file");
        fs::create_dir_all(path.parent().expect("has one")).expect("made");
        fs::write(&*path, "precious").expect("written");
        assert!(bind_unix(&path, &OWNER_ONLY).expect_err("is a file").contains("is no socket"));
        assert_eq!(fs::read_to_string(&*path).expect("is there"), "precious");
    }

    #[test]
    fn plain_tcp_is_refused_beyond_loopback() {
        let any = "0.0.0.0:0".parse().expect("an address");
        assert!(bind_tcp(any, true).expect_err("is open").contains("only loopback"));
        bind_tcp("127.0.0.1:0".parse().expect("an address"), true).expect("bound");
        bind_tcp("[::1]:0".parse().expect("an address"), false).expect("bound");
    }

    #[test]
    fn addresses_are_read_with_a_remedy() {
        assert_eq!("unix:/run/x".parse(), Ok(Listen::Unix("/run/x".into())));
        assert!(matches!("tcp:[::1]:7400".parse(), Ok(Listen::Tcp(_))));
        for (text, part) in [("unix:x", "absolute"), ("tcp:host", "no address"), ("/run/x", "unix:/path")] {
            let error = text.parse::<Listen>().expect_err("is wrong");
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn groups_are_found_by_name_and_number() {
        assert_eq!(group_id("root"), Ok(0));
        assert_eq!(group_id("4711"), Ok(4711));
        assert!(group_id("no-such-group").expect_err("is not there").contains("groupadd"));
    }
}
