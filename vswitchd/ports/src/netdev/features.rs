//! What a device can do for XDP, as the kernel tells it (generic netlink, family "netdev", Linux 6.3).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::Netdev;
use crate::fd::{check, check_long, owned};

const NETLINK_GENERIC: libc::c_int = 16;
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NETDEV_XDP_ACT_NDO_XMIT: u64 = 1 << 2;
/// Netlink's header, then that of generic netlink.
const HEADERS: usize = 20;
const ATTRIBUTE: usize = 4;

impl Netdev {
    /// Whether the device takes frames that XDP programs of other devices send by it. A veth does while its other side
    /// has GRO on, or an XDP program.
    ///
    /// # Errors
    /// `ENOENT` where the kernel does not tell.
    pub fn takes_redirects(&self) -> io::Result<bool> {
        let index = self.index()?;
        let asked = self.ns.run(|| {
            let socket = socket()?;
            let family = ask(socket.as_fd(), GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME, b"netdev\0")?;
            let family = attribute(&family, CTRL_ATTR_FAMILY_ID).and_then(<[u8]>::first_chunk::<2>);
            let family = u16::from_ne_bytes(*family.ok_or(io::ErrorKind::InvalidData)?);
            ask(socket.as_fd(), family, NETDEV_CMD_DEV_GET, NETDEV_A_DEV_IFINDEX, &index.to_ne_bytes())
        });
        let answer = asked.map_err(io::Error::other)??;
        let features = attribute(&answer, NETDEV_A_DEV_XDP_FEATURES).and_then(<[u8]>::first_chunk::<8>);
        let features = u64::from_ne_bytes(*features.ok_or(io::ErrorKind::InvalidData)?);
        Ok(features & NETDEV_XDP_ACT_NDO_XMIT != 0)
    }
}

fn socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: socket takes no pointers.
    let socket = owned(unsafe { libc::socket(libc::AF_NETLINK, kind, NETLINK_GENERIC) })?;
    // SAFETY: all-zero is a valid sockaddr_nl: the kernel chooses the port number.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: `address` is a sockaddr_nl of `length` bytes.
    check(unsafe { libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&address).cast(), length) })?;
    Ok(socket)
}

/// One request with one attribute; the answer's attributes.
fn ask(socket: BorrowedFd<'_>, family: u16, command: u8, kind: u16, value: &[u8]) -> io::Result<Vec<u8>> {
    let message = request(family, command, kind, value);
    // SAFETY: `message` is readable for its length.
    check_long(unsafe { libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) })?;
    let mut answer = vec![0u8; 8192];
    // SAFETY: `answer` is writable for its length. The kernel has answered within the call before.
    let n = check_long(unsafe {
        libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), libc::MSG_DONTWAIT)
    })?;
    answer.truncate(n);
    let word = |at: usize| answer.get(at..).and_then(<[u8]>::first_chunk::<4>).map(|b| i32::from_ne_bytes(*b));
    let what = answer.get(4..).and_then(<[u8]>::first_chunk::<2>).map(|b| u16::from_ne_bytes(*b));
    if what == Some(libc::NLMSG_ERROR as u16) {
        return Err(io::Error::from_raw_os_error(word(16).unwrap_or(0).wrapping_neg()));
    }
    Ok(answer.split_off(HEADERS.min(answer.len())))
}

/// nlmsghdr, genlmsghdr and one attribute (linux/netlink.h, linux/genetlink.h).
fn request(family: u16, command: u8, kind: u16, value: &[u8]) -> Vec<u8> {
    let length = ATTRIBUTE + value.len();
    let padded = length.next_multiple_of(4);
    let mut message = Vec::with_capacity(HEADERS + padded);
    message.extend(((HEADERS + padded) as u32).to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    message.extend([0; 8]);
    message.extend([command, 1, 0, 0]);
    message.extend((length as u16).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(HEADERS + padded, 0);
    message
}

/// The value of an attribute.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    const KIND: u16 = 0x3fff;
    while let Some(&[l0, l1, k0, k1]) = attributes.first_chunk() {
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = attributes.get(ATTRIBUTE..length)?;
        if u16::from_ne_bytes([k0, k1]) & KIND == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_found_among_others_and_missed_where_it_is_cut() {
        let mut all = request(0, 0, 7, b"abc").split_off(HEADERS);
        all.extend(request(0, 0, 9, &5u32.to_ne_bytes()).split_off(HEADERS));
        assert_eq!(attribute(&all, 7), Some(&b"abc"[..]));
        assert_eq!(attribute(&all, 9), Some(&5u32.to_ne_bytes()[..]));
        assert_eq!(attribute(&all, 8), None);
        assert_eq!(attribute(&all[..all.len() - 1], 9), None);
        assert_eq!(attribute(&[0, 0, 1, 0], 1), None);
    }

    #[test]
    fn the_loopback_device_takes_no_redirects() {
        let lo = Netdev::new(&crate::netns::NetNs::own(), "lo").unwrap();
        // A kernel before 6.3 does not tell.
        assert!(!lo.takes_redirects().unwrap_or(false));
    }
}
