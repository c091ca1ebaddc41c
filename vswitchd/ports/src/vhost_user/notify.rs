//! Descriptors through which the two sides wake each other: kicks from the driver, calls and errors to it.
//!
//! # Safety model
//! The descriptors come from the front end and could be anything. Ours to signal are eventfds (QEMU, DPDK), sockets
//! (User Mode Linux) and pipes; anything else is refused, since a write to it might do harm or wait. On a socket each
//! write says that it must not wait; a pipe is opened again so that being non-blocking is a property of our own end. An
//! eventfd cannot be opened again, and is made non-blocking where it is shared: a front end *process* (not its guest)
//! that turned that off and filled the counter could make a signal wait. Kicks are never read: their eventfd is watched
//! for edges, so nothing can block there.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::event::Epoll;
use crate::fd::check;

/// A descriptor that is neither an eventfd nor, where that serves too, a socket or a pipe.
#[derive(Debug)]
pub struct NotAnEvent;

impl fmt::Display for NotAnEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a notification descriptor is not an eventfd, nor a socket or a pipe")
    }
}

/// Our end of a call or an error notification.
#[derive(Debug)]
pub struct Notifier {
    fd: OwnedFd,
    socket: bool,
}

impl Notifier {
    /// Takes over a descriptor from the front end.
    ///
    /// # Errors
    /// [`NotAnEvent`].
    pub fn new(fd: OwnedFd) -> Result<Notifier, NotAnEvent> {
        match kind(fd.as_fd()) {
            Kind::EventFd => set_nonblocking(fd.as_fd()).map(|()| Notifier { fd, socket: false }),
            Kind::Socket => Ok(Notifier { fd, socket: true }),
            Kind::Pipe => {
                let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
                let file = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path);
                file.map(|file| Notifier { fd: file.into(), socket: false })
            }
            Kind::Other => return Err(NotAnEvent),
        }
        .map_err(|_| NotAnEvent)
    }

    /// Wakes the other side. What is full already wakes it anyway.
    #[inline]
    pub fn signal(&self) {
        let one = 1u64.to_ne_bytes();
        let (fd, data) = (self.fd.as_raw_fd(), one.as_ptr().cast());
        // SAFETY: `one` is readable for its length.
        unsafe {
            if self.socket {
                libc::send(fd, data, one.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
            } else {
                libc::write(fd, data, one.len())
            }
        };
    }
}

/// Our end of a kick: watched by an epoll instance from its making until [`Kick::forget`].
#[derive(Debug)]
pub struct Kick(OwnedFd);

impl Kick {
    /// Takes over an eventfd from the front end and watches it for edges.
    ///
    /// # Errors
    /// [`NotAnEvent`].
    pub fn new(fd: OwnedFd, epoll: &Epoll, token: u64) -> Result<Kick, NotAnEvent> {
        if !matches!(kind(fd.as_fd()), Kind::EventFd) {
            return Err(NotAnEvent);
        }
        let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET) as u32, u64: token };
        // SAFETY: both descriptors are open, `event` is valid for the call.
        let added =
            unsafe { libc::epoll_ctl(epoll.as_fd().as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &mut event) };
        check(added).map(|_| Kick(fd)).map_err(|_| NotAnEvent)
    }

    /// Watches it no longer. Closing alone would not do: the front end holds the same eventfd.
    pub fn forget(self, epoll: &Epoll) {
        // It was added when it was made, so this cannot fail.
        let _ = epoll.remove(self.0.as_fd());
    }
}

enum Kind {
    EventFd,
    Socket,
    Pipe,
    Other,
}

fn kind(fd: BorrowedFd<'_>) -> Kind {
    match std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())) {
        Ok(name) if name.as_os_str() == "anon_inode:[eventfd]" => Kind::EventFd,
        Ok(name) if name.to_string_lossy().starts_with("socket:[") => Kind::Socket,
        Ok(name) if name.to_string_lossy().starts_with("pipe:[") => Kind::Pipe,
        _ => Kind::Other,
    }
}

fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes no memory.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: as above.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) }).map(drop)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use super::*;
    use crate::event::EventFd;

    fn copy(fd: BorrowedFd<'_>) -> OwnedFd {
        fd.try_clone_to_owned().unwrap()
    }

    #[test]
    fn an_eventfd_a_socket_and_a_pipe_can_be_signalled() {
        let event = EventFd::new().unwrap();
        Notifier::new(copy(event.as_fd())).unwrap().signal();
        assert_eq!(event.drain(), 1);
        let (mut reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        Notifier::new(writer.into()).unwrap().signal();
        let mut bytes = [0; 8];
        reader.read_exact(&mut bytes).unwrap();
        assert_eq!(u64::from_ne_bytes(bytes), 1);
        let (mut reader, writer) = std::io::pipe().unwrap();
        Notifier::new(writer.into()).unwrap().signal();
        let mut bytes = [0; 8];
        reader.read_exact(&mut bytes).unwrap();
        assert_eq!(u64::from_ne_bytes(bytes), 1);
    }

    #[test]
    fn a_full_pipe_or_socket_does_not_make_a_signal_wait() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let (_other, socket) = std::os::unix::net::UnixStream::pair().unwrap();
        for notifier in [Notifier::new(writer.into()).unwrap(), Notifier::new(socket.into()).unwrap()] {
            for _ in 0..50_000 {
                notifier.signal();
            }
        }
    }

    #[test]
    fn a_socket_whose_other_end_is_gone_raises_no_signal() {
        let (other, socket) = std::os::unix::net::UnixStream::pair().unwrap();
        let notifier = Notifier::new(socket.into()).unwrap();
        drop(other);
        notifier.signal();
    }

    #[test]
    fn a_full_counter_does_not_make_a_signal_wait() {
        // SAFETY: eventfd takes no pointers; the counter starts just below its limit, and writing blocks.
        let fd = crate::fd::owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) }).unwrap();
        let notifier = Notifier::new(fd).unwrap();
        let full = (u64::MAX - 1).to_ne_bytes();
        // SAFETY: `full` is readable for its length.
        unsafe { libc::write(notifier.fd.as_raw_fd(), full.as_ptr().cast(), 8) };
        notifier.signal();
    }

    #[test]
    fn other_descriptors_are_refused() {
        let epoll = Epoll::new().unwrap();
        let null = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        assert!(Notifier::new(copy(null.as_fd())).is_err());
        assert!(Kick::new(null, &epoll, 1).is_err());
        assert!(Notifier::new(copy(epoll.as_fd())).is_err());
        assert!(Kick::new(copy(epoll.as_fd()), &epoll, 1).is_err());
        let (reader, _writer) = std::io::pipe().unwrap();
        assert!(Kick::new(reader.into(), &epoll, 1).is_err());
    }

    #[test]
    fn each_kick_is_reported_once_without_being_read() {
        let (epoll, event) = (Epoll::new().unwrap(), EventFd::new().unwrap());
        let kick = Kick::new(copy(event.as_fd()), &epoll, 5).unwrap();
        let mut tokens = Vec::new();
        for _ in 0..3 {
            event.signal();
            epoll.wait(&mut tokens, Some(Duration::ZERO)).unwrap();
            assert_eq!(tokens, [5]);
            epoll.wait(&mut tokens, Some(Duration::ZERO)).unwrap();
            assert!(tokens.is_empty());
        }
        kick.forget(&epoll);
        event.signal();
        epoll.wait(&mut tokens, Some(Duration::ZERO)).unwrap();
        assert!(tokens.is_empty());
    }
}
