//! rtnetlink, for the two things that ioctls cannot do: word of changes, and moves between namespaces (rtnetlink(7)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::fd::{check, check_long, owned};

/// Readable when a device of one namespace was changed (rtnetlink(7), RTMGRP_LINK).
#[derive(Debug)]
pub struct LinkWatch(OwnedFd);

impl LinkWatch {
    /// Watches the devices of the calling thread's namespace.
    pub(super) fn new() -> io::Result<LinkWatch> {
        bound(libc::RTMGRP_LINK as u32).map(LinkWatch)
    }

    /// Takes all waiting messages; whether there were any. What they say is not read: the kernel may have lost some,
    /// so the caller asks for the state anyhow. Bounded, because other devices may change all the time.
    pub fn drain(&self) -> bool {
        let mut byte = [0u8; 1];
        let mut any = false;
        for _ in 0..256 {
            // SAFETY: `byte` is writable for its length; the rest of a message is cut off.
            let n = unsafe { libc::recv(self.0.as_raw_fd(), byte.as_mut_ptr().cast(), byte.len(), libc::MSG_DONTWAIT) };
            match check_long(n) {
                Ok(_) => any = true,
                // Messages were lost: something has changed.
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => any = true,
                Err(_) => break,
            }
        }
        any
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A socket in the calling thread's namespace, for requests.
pub(super) fn socket() -> io::Result<OwnedFd> {
    bound(0)
}

fn bound(groups: u32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: socket takes no pointers.
    let socket = owned(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) })?;
    // SAFETY: all-zero is a valid sockaddr_nl: the kernel chooses the port number.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_groups = groups;
    let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: `address` is a sockaddr_nl of `length` bytes.
    check(unsafe { libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&address).cast(), length) })?;
    Ok(socket)
}

/// Sends RTM_NEWLINK with IFLA_NET_NS_FD, and reads the answer.
pub(super) fn send_move(socket: BorrowedFd<'_>, index: u32, target: BorrowedFd<'_>) -> io::Result<()> {
    let message = move_message(index, target.as_raw_fd() as u32);
    // SAFETY: `message` is readable for its length.
    check_long(unsafe { libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) })?;
    let mut answer = [0u8; 256];
    // SAFETY: `answer` is writable for its length.
    let n = check_long(unsafe { libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0) })?;
    // nlmsghdr, then nlmsgerr whose first member is the negative errno, or zero.
    let code = answer.get(..n).and_then(|a| a.get(16..20)?.first_chunk::<4>().map(|b| i32::from_ne_bytes(*b)));
    match code {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is too short")),
    }
}

/// nlmsghdr, ifinfomsg and one attribute, in the layout of linux/netlink.h and linux/rtnetlink.h.
fn move_message(index: u32, target: u32) -> [u8; 40] {
    let mut message = [0u8; 40];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(to) = message.get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    };
    put(0, &40u32.to_ne_bytes());
    put(4, &libc::RTM_NEWLINK.to_ne_bytes());
    put(6, &((libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16).to_ne_bytes());
    put(20, &index.to_ne_bytes());
    put(32, &8u16.to_ne_bytes());
    put(34, &libc::IFLA_NET_NS_FD.to_ne_bytes());
    put(36, &target.to_ne_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_is_laid_out_as_rtnetlink_wants_it() {
        let message = move_message(7, 5);
        assert_eq!(message[..4], 40u32.to_ne_bytes());
        assert_eq!(message[20..24], 7u32.to_ne_bytes());
        assert_eq!(message[32..36], [8u16.to_ne_bytes(), 28u16.to_ne_bytes()].concat());
        assert_eq!(message[36..40], 5u32.to_ne_bytes());
    }
}
