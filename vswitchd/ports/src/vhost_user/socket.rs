//! The unix socket: whole messages with their descriptors, without ever waiting.
//!
//! Descriptors travel with the first byte of a message, and a larger read could return the end of one message together
//! with the descriptors of the next; so exactly the header is read, then exactly its payload (vhost-user,
//! "Communication"). What has come of a message is kept between calls.
//!
//! # Safety model
//! Descriptors become owned as soon as the kernel has made them, so each error path closes them. The control buffer
//! has room for [`FDS_MAX`] descriptors; where more are sent the kernel closes the rest and says so, and the connection
//! ends.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use super::message::{FDS_MAX, HEADER_LEN, Header, Malformed, Outgoing, PAYLOAD_MAX, Request};
use crate::fd::check_long;

/// Why a connection ended.
#[derive(Debug)]
pub enum Ended {
    /// The other side closed it between two messages.
    Closed,
    /// The other side closed it inside a message.
    ClosedInside,
    /// The other side broke the protocol.
    Malformed(Malformed),
    /// More descriptors than any message has.
    TooManyDescriptors,
    /// The other side does not read our replies.
    NotReading,
    /// The kernel reports an error.
    Io(io::Error),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Closed => write!(f, "the front end has closed the connection"),
            Ended::ClosedInside => write!(f, "the front end has closed the connection inside a message"),
            Ended::Malformed(what) => write!(f, "the front end broke the protocol: {what}"),
            Ended::TooManyDescriptors => {
                write!(f, "the front end broke the protocol: more than {FDS_MAX} file descriptors with one message")
            }
            Ended::NotReading => write!(f, "the front end does not read our replies"),
            Ended::Io(error) => write!(f, "the connection failed: {error}"),
        }
    }
}

impl From<Malformed> for Ended {
    fn from(malformed: Malformed) -> Ended {
        Ended::Malformed(malformed)
    }
}

/// A message that has come whole.
#[derive(Debug)]
pub struct Message {
    /// The request's number, for the reply.
    pub number: u32,
    /// The sender wants an acknowledgement.
    pub need_reply: bool,
    /// What it asks for.
    pub request: Request,
    /// The descriptors that came along, as many as the request calls for.
    pub fds: Vec<OwnedFd>,
}

/// A connection to a front end.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    header: [u8; HEADER_LEN],
    header_got: usize,
    parsed: Option<Header>,
    payload: [u8; PAYLOAD_MAX],
    payload_got: usize,
    fds: Vec<OwnedFd>,
}

impl Connection {
    /// Takes over a connected socket.
    ///
    /// # Errors
    /// It cannot be made non-blocking.
    pub fn new(stream: UnixStream) -> io::Result<Connection> {
        stream.set_nonblocking(true)?;
        Ok(Connection {
            stream,
            header: [0; HEADER_LEN],
            header_got: 0,
            parsed: None,
            payload: [0; PAYLOAD_MAX],
            payload_got: 0,
            fds: Vec::with_capacity(FDS_MAX),
        })
    }

    /// The next message; `None` where it has not come whole yet.
    ///
    /// # Errors
    /// [`Ended`]: the connection is to be dropped.
    pub fn receive(&mut self) -> Result<Option<Message>, Ended> {
        while self.header_got < HEADER_LEN {
            let to = self.header.get_mut(self.header_got..).unwrap_or(&mut []);
            match read(&self.stream, to, &mut self.fds)? {
                Read::Bytes(n) => self.header_got += n,
                Read::Nothing => return Ok(None),
                Read::End if self.header_got == 0 => return Err(Ended::Closed),
                Read::End => return Err(Ended::ClosedInside),
            }
        }
        let header = match self.parsed {
            Some(header) => header,
            None => *self.parsed.insert(Header::parse(&self.header)?),
        };
        while self.payload_got < header.size {
            let to = self.payload.get_mut(self.payload_got..header.size).unwrap_or(&mut []);
            match read(&self.stream, to, &mut self.fds)? {
                Read::Bytes(n) => self.payload_got += n,
                Read::Nothing => return Ok(None),
                Read::End => return Err(Ended::ClosedInside),
            }
        }
        let payload = self.payload.get(..header.size).unwrap_or(&[]);
        let request = Request::parse(header, payload, self.fds.len())?;
        (self.header_got, self.payload_got, self.parsed) = (0, 0, None);
        let fds = std::mem::replace(&mut self.fds, Vec::with_capacity(FDS_MAX));
        Ok(Some(Message { number: header.request, need_reply: header.need_reply, request, fds }))
    }

    /// Sends a message, with a descriptor where there is one to send.
    ///
    /// # Errors
    /// [`Ended`]: the connection is to be dropped.
    pub fn send(&self, message: &Outgoing, fd: Option<BorrowedFd<'_>>) -> Result<(), Ended> {
        let fds: &[RawFd] = &fd.map(|fd| fd.as_raw_fd()).into_iter().collect::<Vec<_>>();
        send(self.stream.as_fd(), message.bytes(), fds)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

pub(super) enum Read {
    Bytes(usize),
    Nothing,
    End,
}

const CONTROL_LEN: usize = 64;

/// Room for control messages, aligned as they must be.
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

// SAFETY: CMSG_SPACE only computes.
const _: () = assert!(unsafe { libc::CMSG_SPACE((FDS_MAX * size_of::<RawFd>()) as u32) } as usize <= CONTROL_LEN);

/// Reads into `to`, which is not empty, and adds the descriptors that came along to `fds`.
pub(super) fn read(stream: &UnixStream, to: &mut [u8], fds: &mut Vec<OwnedFd>) -> Result<Read, Ended> {
    let mut iov = libc::iovec { iov_base: to.as_mut_ptr().cast(), iov_len: to.len() };
    let mut control = Control([0; CONTROL_LEN]);
    // SAFETY: msghdr is a plain structure for which zeros are a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &mut iov;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: only computes.
    header.msg_controllen = unsafe { libc::CMSG_SPACE((FDS_MAX * size_of::<RawFd>()) as u32) } as usize;
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    // SAFETY: all pointers in `header` are to live memory of the stated lengths.
    let n = match check_long(unsafe { libc::recvmsg(stream.as_raw_fd(), &mut header, flags) }) {
        Ok(n) => n,
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            return Ok(Read::Nothing);
        }
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(Read::End),
        Err(e) => return Err(Ended::Io(e)),
    };
    take_descriptors(&header, fds);
    if header.msg_flags & libc::MSG_CTRUNC != 0 || fds.len() > FDS_MAX {
        return Err(Ended::TooManyDescriptors);
    }
    Ok(if n == 0 { Read::End } else { Read::Bytes(n) })
}

/// Takes ownership of the descriptors in the control messages of `header`, which the kernel has just filled.
fn take_descriptors(header: &libc::msghdr, fds: &mut Vec<OwnedFd>) {
    // SAFETY: `header` and its control buffer are as the kernel left them; the macros stay inside them.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: the macro returned a pointer to a whole control header.
        let (level, kind, len) = unsafe { ((*message).cmsg_level, (*message).cmsg_type, (*message).cmsg_len) };
        if level == libc::SOL_SOCKET && kind == libc::SCM_RIGHTS {
            // SAFETY: only computes.
            let bytes = len.saturating_sub(unsafe { libc::CMSG_LEN(0) } as usize);
            // SAFETY: the data of a control message follow its header.
            let data = unsafe { libc::CMSG_DATA(message) }.cast::<RawFd>();
            for i in 0..bytes / size_of::<RawFd>() {
                // SAFETY: the kernel wrote this many descriptors there, made for us; nobody else owns them.
                fds.push(unsafe { OwnedFd::from_raw_fd(data.add(i).read_unaligned()) });
            }
        }
        // SAFETY: as for the first one.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
}

/// Sends `bytes` whole, with `fds` (at most [`FDS_MAX`]).
pub(super) fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[RawFd]) -> Result<(), Ended> {
    let mut iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = Control([0; CONTROL_LEN]);
    // SAFETY: msghdr is a plain structure for which zeros are a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &mut iov;
    header.msg_iovlen = 1;
    let fds = fds.get(..FDS_MAX).unwrap_or(fds);
    if !fds.is_empty() {
        let len = size_of_val(fds) as u32;
        header.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: only computes.
        header.msg_controllen = unsafe { libc::CMSG_SPACE(len) } as usize;
        // SAFETY: the control buffer has room for one control message of [`FDS_MAX`] descriptors, see `Control`.
        unsafe {
            let message = libc::CMSG_FIRSTHDR(&header);
            (*message).cmsg_level = libc::SOL_SOCKET;
            (*message).cmsg_type = libc::SCM_RIGHTS;
            (*message).cmsg_len = libc::CMSG_LEN(len) as usize;
            std::ptr::copy_nonoverlapping(fds.as_ptr().cast(), libc::CMSG_DATA(message), len as usize);
        }
    }
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: all pointers in `header` are to live memory of the stated lengths.
    match check_long(unsafe { libc::sendmsg(socket.as_raw_fd(), &header, flags) }) {
        Ok(n) if n == bytes.len() => Ok(()),
        Ok(_) => Err(Ended::NotReading),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(Ended::NotReading),
        Err(e) if matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Err(Ended::Closed),
        Err(e) => Err(Ended::Io(e)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::Shutdown;

    use super::super::message::number;
    use super::*;

    fn pair() -> (UnixStream, Connection) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (ours, Connection::new(theirs).unwrap())
    }

    fn null() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    fn set_features() -> Outgoing {
        Outgoing::request(number::SET_FEATURES, false).with(&[1; 8])
    }

    #[test]
    fn a_message_may_come_byte_by_byte() {
        let (mut peer, mut connection) = pair();
        let message = set_features();
        for (i, byte) in message.bytes().iter().enumerate() {
            assert!(connection.receive().unwrap().is_none(), "after {i} bytes");
            peer.write_all(&[*byte]).unwrap();
        }
        assert_eq!(connection.receive().unwrap().unwrap().request, Request::SetFeatures(0x0101_0101_0101_0101));
        assert!(connection.receive().unwrap().is_none());
    }

    #[test]
    fn descriptors_stay_with_their_message() {
        let (peer, mut connection) = pair();
        peer.set_nonblocking(true).unwrap();
        send(peer.as_fd(), set_features().bytes(), &[]).unwrap();
        let kick = Outgoing::request(number::SET_VRING_KICK, false).with(&0u64.to_ne_bytes());
        send(peer.as_fd(), kick.bytes(), &[null().as_raw_fd()]).unwrap();
        assert!(connection.receive().unwrap().unwrap().fds.is_empty());
        assert_eq!(connection.receive().unwrap().unwrap().fds.len(), 1);
    }

    #[test]
    fn a_hang_up_inside_a_message_is_told_from_one_between_messages() {
        let (peer, mut connection) = pair();
        peer.shutdown(Shutdown::Write).unwrap();
        assert!(matches!(connection.receive(), Err(Ended::Closed)));
        for cut in [1, HEADER_LEN - 1, HEADER_LEN, HEADER_LEN + 7] {
            let (mut peer, mut connection) = pair();
            peer.write_all(&set_features().bytes()[..cut]).unwrap();
            assert!(connection.receive().unwrap().is_none());
            drop(peer);
            assert!(matches!(connection.receive(), Err(Ended::ClosedInside)), "cut after {cut}");
        }
    }

    #[test]
    fn more_descriptors_than_any_message_has_end_the_connection() {
        let (peer, mut connection) = pair();
        let null = null();
        let fds = [null.as_raw_fd(); FDS_MAX];
        let bytes = set_features();
        // Half a message with eight, the other half with eight more.
        send(peer.as_fd(), &bytes.bytes()[..6], &fds).unwrap();
        send(peer.as_fd(), &bytes.bytes()[6..], &fds).unwrap();
        assert!(matches!(connection.receive(), Err(Ended::TooManyDescriptors)));
    }

    #[test]
    fn a_peer_that_does_not_read_is_given_up() {
        let (_peer, connection) = pair();
        let reply = Outgoing::reply_u64(1, 1);
        let ended = (0..1_000_000).find_map(|_| connection.send(&reply, None).err());
        assert!(matches!(ended, Some(Ended::NotReading)));
    }

    #[test]
    fn a_descriptor_can_be_sent() {
        let (peer, connection) = pair();
        connection.send(&Outgoing::reply(31), Some(null().as_fd())).unwrap();
        let (mut bytes, mut fds) = ([0; 12], Vec::new());
        assert!(matches!(read(&peer, &mut bytes, &mut fds), Ok(Read::Bytes(12))));
        assert_eq!(fds.len(), 1);
    }
}
