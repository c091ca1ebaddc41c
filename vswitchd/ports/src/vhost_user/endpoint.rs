//! Where front ends come from: a socket we listen on, or one that we connect to again and again.
//!
//! *Server:* QEMU connects to us. A stale socket file, whose listener is gone, is replaced; one that is in use is not.
//! One front end at a time: another one that connects meanwhile waits for a second, which is what a guest that starts
//! anew needs until its old connection is gone, and is then refused by closing. Refusing at once would drive a QEMU that
//! is starting up into a busy loop; so nobody further is accepted while one waits.
//!
//! *Client:* QEMU listens, and survives our restart. Attempts are repeated after a delay that doubles up to a second.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{PortError, PortErrorKind};
use crate::event::{Epoll, TimerFd};
use crate::fd::{check, owned};

/// Which side listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// We listen, the front end connects.
    #[default]
    Server,
    /// The front end listens, we connect.
    Client,
}

const FIRST_DELAY: Duration = Duration::from_millis(125);
const LONGEST_DELAY: Duration = Duration::from_secs(1);
/// How long a second front end may wait for the first one to go.
const PATIENCE: Duration = Duration::from_secs(1);

/// One end of a unix socket.
#[derive(Debug)]
pub struct Endpoint {
    path: PathBuf,
    timer: TimerFd,
    side: Side,
    /// Front ends that were turned away because another one was there.
    pub refused: u64,
    /// Why there is no connection.
    pub problem: String,
}

#[derive(Debug)]
enum Side {
    Server { listener: UnixListener, file: (u64, u64), token: u64, waiting: Option<UnixStream> },
    Client { delay: Duration },
}

/// Who may open the socket file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Mode of the socket file; as the process makes files where `None`.
    pub mode: Option<u32>,
    /// Owner of the socket file.
    pub owner: Option<u32>,
    /// Group of the socket file.
    pub group: Option<u32>,
}

impl Endpoint {
    /// An endpoint that reports events in `epoll`: connections as `token`, its timer as `token + 1`.
    ///
    /// # Errors
    /// The socket cannot be made, or somebody else listens there.
    pub fn new(path: &Path, role: Role, access: Access, epoll: &Epoll, token: u64) -> Result<Endpoint, PortError> {
        let failed = |e| PortError::os(object(path), "cannot set up the socket", e);
        let timer = TimerFd::new().map_err(failed)?;
        epoll.add(timer.as_fd(), token + 1).map_err(failed)?;
        let side = match role {
            Role::Server => {
                let listener = listen(path, access)?;
                epoll.add(listener.as_fd(), token).map_err(failed)?;
                Side::Server { listener, file: identity(path).map_err(failed)?, token, waiting: None }
            }
            Role::Client => {
                timer.set(Duration::ZERO).map_err(failed)?;
                Side::Client { delay: FIRST_DELAY }
            }
        };
        Ok(Endpoint { path: path.to_path_buf(), timer, side, refused: 0, problem: String::new() })
    }

    /// Something came in on the listening socket. A connection that can be served at once, where none is.
    pub fn accept(&mut self, busy: bool, epoll: &Epoll) -> Option<UnixStream> {
        let Side::Server { listener, waiting, .. } = &mut self.side else { return None };
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(e) => {
                if e.kind() != io::ErrorKind::WouldBlock {
                    // Out of descriptors, most likely. It would be reported again and again: look later.
                    self.problem = format!("cannot accept a connection: {e}");
                    self.listen_for_more(false, epoll);
                    self.set_timer(PATIENCE);
                }
                return None;
            }
        };
        if !busy {
            self.problem.clear();
            return Some(stream);
        }
        *waiting = Some(stream);
        self.listen_for_more(false, epoll);
        self.set_timer(PATIENCE);
        None
    }

    /// The timer ran out: a front end waited too long, or it is time to try to connect.
    pub fn timer(&mut self, busy: bool, epoll: &Epoll) -> Option<UnixStream> {
        self.timer.drain();
        match &mut self.side {
            Side::Server { waiting, .. } => {
                if waiting.take().is_some() {
                    self.refused += 1;
                }
                self.listen_for_more(true, epoll);
                None
            }
            Side::Client { .. } if busy => None,
            Side::Client { .. } => self.connect(),
        }
    }

    /// The connection is gone. The front end that waited, if one did.
    pub fn disconnected(&mut self, epoll: &Epoll) -> Option<UnixStream> {
        match &mut self.side {
            Side::Server { waiting, .. } => {
                let next = waiting.take();
                self.listen_for_more(true, epoll);
                next
            }
            Side::Client { .. } => {
                self.retry_later();
                None
            }
        }
    }

    /// The connection works: the next attempt after it will be soon.
    pub fn settled(&mut self) {
        if let Side::Client { delay } = &mut self.side {
            *delay = FIRST_DELAY;
        }
    }

    /// For people.
    pub fn describe(&self) -> String {
        let role = match self.side {
            Side::Server { .. } => "server",
            Side::Client { .. } => "client",
        };
        format!("{role} {}", self.path.display())
    }

    fn connect(&mut self) -> Option<UnixStream> {
        match connect(&self.path) {
            Ok(stream) => {
                self.problem.clear();
                Some(stream)
            }
            Err(e) => {
                self.problem = format!("cannot connect to {}: {e}", self.path.display());
                self.retry_later();
                None
            }
        }
    }

    fn retry_later(&mut self) {
        if let Side::Client { delay } = &mut self.side {
            let wait = *delay;
            *delay = (wait * 2).min(LONGEST_DELAY);
            self.set_timer(wait);
        }
    }

    fn set_timer(&mut self, delay: Duration) {
        if let Err(e) = self.timer.set(delay) {
            self.problem = format!("cannot set a timer: {e}");
        }
    }

    fn listen_for_more(&mut self, wanted: bool, epoll: &Epoll) {
        if let Side::Server { listener, token, .. } = &self.side
            && let Err(e) = epoll.want_input(listener.as_fd(), *token, wanted)
        {
            self.problem = format!("cannot watch the socket: {e}");
        }
    }
}

impl Drop for Endpoint {
    /// Removes the socket file, if it is still ours.
    fn drop(&mut self) {
        if let Side::Server { file, .. } = &self.side
            && identity(&self.path).is_ok_and(|now| now == *file)
        {
            // The file may be gone by now; nothing depends on it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn object(path: &Path) -> String {
    format!("vhost-user {}", path.display())
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn listen(path: &Path, access: Access) -> Result<UnixListener, PortError> {
    remove_stale(path)?;
    let failed = |e| {
        PortError::os(object(path), "cannot listen", e)
            .with_remedy("the folder must exist and be writable, and the path be at most 107 bytes long")
    };
    let listener = UnixListener::bind(path).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let denied = |e| PortError::os(object(path), "cannot set owner and mode of the socket file", e);
    if access.owner.is_some() || access.group.is_some() {
        std::os::unix::fs::chown(path, access.owner, access.group).map_err(denied)?;
    }
    if let Some(mode) = access.mode {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o777)).map_err(denied)?;
    }
    Ok(listener)
}

/// Removes a socket file that nobody listens on.
fn remove_stale(path: &Path) -> Result<(), PortError> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(PortError::new(PortErrorKind::Busy, object(path), "there is a file that is not a socket")
            .with_remedy("choose another path or remove the file"));
    }
    match connect(path) {
        Err(e) if e.raw_os_error() == Some(libc::ECONNREFUSED) => std::fs::remove_file(path)
            .map_err(|e| PortError::os(object(path), "cannot remove the socket file of an earlier run", e)),
        _ => Err(PortError::new(PortErrorKind::Busy, object(path), "somebody else listens there")
            .with_remedy("stop the other program or choose another path")),
    }
}

/// Connects without waiting: a listener whose queue is full counts as not there.
pub(super) fn connect(path: &Path) -> io::Result<UnixStream> {
    let flags = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes no pointers.
    let socket: OwnedFd = owned(unsafe { libc::socket(libc::AF_UNIX, flags, 0) })?;
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: sockaddr_un is a plain structure for which zeros are a valid value.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = name.as_bytes_with_nul();
    if bytes.len() > address.sun_path.len() {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    let len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: `address` is a complete address of the stated length.
    check(unsafe { libc::connect(socket.as_raw_fd(), std::ptr::from_ref(&address).cast(), len) })?;
    Ok(UnixStream::from(socket))
}
