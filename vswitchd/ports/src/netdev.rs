//! Network devices by name: MTU, MAC, up and down, queues, moves between namespaces, and word of their changes.
//!
//! Plain ioctls on a socket that was made in the device's namespace (netdevice(7)), and two rtnetlink messages for what
//! ioctls cannot do. A [`Netdev`] is a name, not a device: it goes on working when the device is deleted and made again.

mod ethtool;
mod features;
mod netlink;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use weir_wire::MacAddr;

use crate::fd::{check, owned};
use crate::netns::NetNs;
use crate::{PortError, PortErrorKind};
pub use netlink::LinkWatch;

/// A device's name in one namespace.
#[derive(Debug)]
pub struct Netdev {
    name: String,
    ns: NetNs,
    socket: OwnedFd,
}

impl Netdev {
    /// Speaks of the device `name` in `ns`, whether it exists or not.
    ///
    /// # Errors
    /// `Invalid` for a name no device can have.
    pub fn new(ns: &NetNs, name: &str) -> Result<Netdev, PortError> {
        check_name(name)?;
        let socket = ns.run(|| {
            // SAFETY: socket takes no pointers.
            owned(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })
        })?;
        let socket = socket.map_err(|e| PortError::os(format!("device {name}"), "cannot make a control socket", e))?;
        Ok(Netdev { name: name.to_owned(), ns: ns.duplicate()?, socket })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number the kernel gave it; `ENODEV` where there is no such device.
    pub fn index(&self) -> io::Result<u32> {
        let request = self.ask(libc::SIOCGIFINDEX)?;
        // SAFETY: the kernel has filled in this member.
        Ok(unsafe { request.ifr_ifru.ifru_ifindex } as u32)
    }

    /// Its state.
    pub fn state(&self) -> io::Result<LinkState> {
        let request = self.ask(libc::SIOCGIFFLAGS)?;
        // SAFETY: the kernel has filled in this member.
        let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags });
        Ok(LinkState { up: flags & libc::IFF_UP != 0, carrier: flags & libc::IFF_RUNNING != 0 })
    }

    /// Largest L3 packet, in bytes.
    pub fn mtu(&self) -> io::Result<u32> {
        let request = self.ask(libc::SIOCGIFMTU)?;
        // SAFETY: the kernel has filled in this member.
        Ok(unsafe { request.ifr_ifru.ifru_mtu } as u32)
    }

    /// Sets the largest L3 packet, in bytes.
    pub fn set_mtu(&self, mtu: u32) -> Result<(), PortError> {
        let mut request = self.request();
        request.ifr_ifru.ifru_mtu = libc::c_int::try_from(mtu).unwrap_or(libc::c_int::MAX);
        self.ioctl(libc::SIOCSIFMTU, &mut request).map_err(|e| self.error(format!("cannot set its MTU to {mtu}"), e))
    }

    /// Its MAC address.
    pub fn mac(&self) -> io::Result<MacAddr> {
        let request = self.ask(libc::SIOCGIFHWADDR)?;
        // SAFETY: the kernel has filled in this member.
        let address = unsafe { request.ifr_ifru.ifru_hwaddr };
        let mut mac = [0u8; 6];
        for (to, from) in mac.iter_mut().zip(address.sa_data) {
            *to = from as u8;
        }
        Ok(MacAddr(mac))
    }

    /// Sets its MAC address. Some drivers want the device down for it.
    pub fn set_mac(&self, mac: MacAddr) -> Result<(), PortError> {
        let mut request = self.request();
        // SAFETY: all-zero is a valid sockaddr.
        let mut address: libc::sockaddr = unsafe { std::mem::zeroed() };
        address.sa_family = libc::ARPHRD_ETHER;
        for (to, from) in address.sa_data.iter_mut().zip(mac.0) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_hwaddr = address;
        self.ioctl(libc::SIOCSIFHWADDR, &mut request).map_err(|e| self.error(format!("cannot set its MAC to {mac}"), e))
    }

    /// Brings it up.
    pub fn set_up(&self) -> Result<(), PortError> {
        self.change_flags(libc::IFF_UP, 0).map_err(|e| self.error("cannot bring it up", e))
    }

    /// Takes it down.
    pub fn set_down(&self) -> Result<(), PortError> {
        self.change_flags(0, libc::IFF_UP).map_err(|e| self.error("cannot take it down", e))
    }

    /// Moves it into another namespace, where it arrives down.
    pub fn move_to(&self, ns: &NetNs) -> Result<(), PortError> {
        let target = ns.handle()?;
        let index = self.index().map_err(|e| self.error("cannot move it", e))?;
        let socket = self.ns.run(netlink::socket)?;
        socket
            .and_then(|socket| netlink::send_move(socket.as_fd(), index, target.as_fd()))
            .map_err(|e| self.error(format!("cannot move it into namespace {}", ns.name()), e))
    }

    /// Word of changes of the devices in its namespace.
    pub fn watch(&self) -> Result<LinkWatch, PortError> {
        let socket = self.ns.run(LinkWatch::new)?;
        socket.map_err(|e| self.error("cannot watch it", e))
    }

    /// The error `source`, told of this device.
    pub(crate) fn error(&self, what: impl Into<String>, source: io::Error) -> PortError {
        let kind = PortErrorKind::of(&source);
        let error = PortError::os(format!("device {}", self.name), what, source);
        match kind {
            PortErrorKind::Denied => error.with_remedy("vswitchd needs CAP_NET_ADMIN"),
            PortErrorKind::NotFound => error.with_remedy("check the name with \"ip link\""),
            _ => error,
        }
    }

    fn change_flags(&self, set: libc::c_int, clear: libc::c_int) -> io::Result<()> {
        let mut request = self.ask(libc::SIOCGIFFLAGS)?;
        // SAFETY: the kernel has filled in this member.
        let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags });
        request.ifr_ifru.ifru_flags = ((flags | set) & !clear) as libc::c_short;
        self.ioctl(libc::SIOCSIFFLAGS, &mut request)
    }

    fn request(&self) -> libc::ifreq {
        // SAFETY: all-zero is a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        write_name(&mut request, &self.name);
        request
    }

    fn ask(&self, number: libc::Ioctl) -> io::Result<libc::ifreq> {
        let mut request = self.request();
        self.ioctl(number, &mut request)?;
        Ok(request)
    }

    fn ioctl(&self, number: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: all requests used here read and write one ifreq, which is valid for the call.
        check(unsafe { libc::ioctl(self.socket.as_raw_fd(), number, std::ptr::from_mut(request)) }).map(drop)
    }
}

/// Whether a device can carry frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Switched on.
    pub up: bool,
    /// Switched on, and its other side is there.
    pub carrier: bool,
}

/// Has the device take frames for all addresses, for as long as the socket lives (packet(7), PACKET_MR_PROMISC).
pub(crate) fn promiscuous(index: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Membership {
        index: libc::c_int,
        kind: u16,
        len: u16,
        address: [u8; 8],
    }
    // SAFETY: socket takes no pointers. Protocol 0: it receives nothing.
    let fd = owned(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
    let kind = libc::PACKET_MR_PROMISC as u16;
    let request = Membership { index: index as libc::c_int, kind, len: 0, address: [0; 8] };
    let (option, len) = (libc::PACKET_ADD_MEMBERSHIP, size_of::<Membership>() as libc::socklen_t);
    // SAFETY: `request` is laid out as packet_mreq and valid for the call.
    check(unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_PACKET, option, std::ptr::from_ref(&request).cast(), len)
    })?;
    Ok(fd)
}

/// Linux allows 15 bytes without '/', ':' and white space (dev_valid_name).
pub(crate) fn check_name(name: &str) -> Result<(), PortError> {
    let bad = |c: char| c == '/' || c == ':' || c == '\0' || c.is_ascii_whitespace();
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name == "." || name == ".." || name.contains(bad) {
        return Err(PortError::new(PortErrorKind::Invalid, format!("device {name:?}"), "not a device name")
            .with_remedy("use 1 to 15 characters without spaces, '/' and ':'"));
    }
    Ok(())
}

/// `name` has passed [`check_name`], so it fits and its last byte stays zero.
pub(crate) fn write_name(request: &mut libc::ifreq, name: &str) {
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = from as libc::c_char;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_answers() {
        let lo = Netdev::new(&NetNs::own(), "lo").unwrap();
        assert_eq!(lo.index().unwrap(), 1);
        assert!(lo.mtu().unwrap() >= 1280);
        assert_eq!(lo.mac().unwrap(), MacAddr::ZERO);
        assert_eq!(lo.rx_queues(), 1);
        lo.state().unwrap();
    }

    #[test]
    fn a_device_that_is_not_there_is_enodev() {
        let none = Netdev::new(&NetNs::own(), "weir-none").unwrap();
        assert_eq!(none.index().unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert!(
            none.set_mtu(1500).unwrap_err().to_string().starts_with("device weir-none: cannot set its MTU to 1500")
        );
    }

    #[test]
    fn names_the_kernel_would_refuse_are_refused_here() {
        for bad in ["", ".", "..", "a b", "a/b", "a:b", "sixteen-letters-"] {
            assert!(Netdev::new(&NetNs::own(), bad).is_err(), "{bad:?}");
        }
        check_name("fifteen-letters").unwrap();
    }
}
