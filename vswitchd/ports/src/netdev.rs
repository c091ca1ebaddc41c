//! Network devices by name: MTU, MAC, up and down, queues, moves between namespaces, and word of their changes.
//!
//! Plain ioctls on a socket that was made in the device's namespace (netdevice(7)), and two rtnetlink messages for what
//! ioctls cannot do. A [`Netdev`] is a name, not a device: it goes on working when the device is deleted and made again.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use weir_wire::MacAddr;

use crate::fd::{check, check_long, owned};
use crate::netns::NetNs;
use crate::{PortError, PortErrorKind};

/// ethtool's request numbers (linux/ethtool.h), which the libc crate does not have.
const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_SFLAGS: u32 = 0x26;
const ETHTOOL_GGRO: u32 = 0x2b;
const ETHTOOL_SGRO: u32 = 0x2c;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;
const ETH_FLAG_LRO: u32 = 1 << 15;

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

    /// The driver's name, as `ethtool -i` prints it.
    pub fn driver(&self) -> io::Result<String> {
        /// `struct ethtool_drvinfo`, of which only the second member is read.
        #[repr(C)]
        struct DrvInfo {
            command: u32,
            driver: [u8; 32],
            rest: [u8; 160],
        }
        let mut info = DrvInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
        self.ethtool(&mut info)?;
        let name = info.driver.split(|&b| b == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(name).into_owned())
    }

    /// Its receive queues, as `ethtool -l` counts them; 1 where the driver does not say.
    pub fn rx_queues(&self) -> u32 {
        /// `struct ethtool_channels`.
        #[repr(C)]
        #[derive(Default)]
        struct Channels {
            command: u32,
            max: [u32; 4],
            rx: u32,
            tx: u32,
            other: u32,
            combined: u32,
        }
        let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
        match self.ethtool(&mut channels) {
            Ok(()) => channels.rx.saturating_add(channels.combined).max(1),
            Err(_) => 1,
        }
    }

    /// Leaves VLAN tags in the frames that arrive, as `ethtool -K NAME rxvlan off` does.
    pub fn keep_vlan_tags(&self) -> io::Result<()> {
        self.clear_flag(ETH_FLAG_RXVLAN)
    }

    /// Leaves frames that arrive as they were sent, as `ethtool -K NAME gro off lro off` does.
    pub fn keep_frames_apart(&self) -> io::Result<()> {
        if self.ethtool_value(ETHTOOL_GGRO, 0)? != 0 {
            self.ethtool_value(ETHTOOL_SGRO, 0)?;
        }
        self.clear_flag(ETH_FLAG_LRO)
    }

    fn clear_flag(&self, flag: u32) -> io::Result<()> {
        let flags = self.ethtool_value(ETHTOOL_GFLAGS, 0)?;
        if flags & flag != 0 {
            self.ethtool_value(ETHTOOL_SFLAGS, flags & !flag)?;
        }
        Ok(())
    }

    fn ethtool_value(&self, command: u32, data: u32) -> io::Result<u32> {
        /// `struct ethtool_value`.
        #[repr(C)]
        struct Value {
            command: u32,
            data: u32,
        }
        let mut value = Value { command, data };
        self.ethtool(&mut value)?;
        Ok(value.data)
    }

    /// Moves it into another namespace, where it arrives down.
    pub fn move_to(&self, ns: &NetNs) -> Result<(), PortError> {
        let target = ns.handle()?;
        let index = self.index().map_err(|e| self.error("cannot move it", e))?;
        let socket = self.ns.run(|| netlink_socket(0))?;
        socket
            .and_then(|socket| send_move(socket.as_fd(), index, target.as_fd()))
            .map_err(|e| self.error(format!("cannot move it into namespace {}", ns.name()), e))
    }

    /// Word of changes of the devices in its namespace.
    pub fn watch(&self) -> Result<LinkWatch, PortError> {
        let socket = self.ns.run(|| netlink_socket(libc::RTMGRP_LINK as u32))?;
        socket.map(LinkWatch).map_err(|e| self.error("cannot watch it", e))
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

    /// `T` is a structure of linux/ethtool.h whose first member is its command.
    fn ethtool<T>(&self, data: &mut T) -> io::Result<()> {
        let mut request = self.request();
        request.ifr_ifru.ifru_data = std::ptr::from_mut(data).cast();
        self.ioctl(SIOCETHTOOL, &mut request)
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

/// Readable when a device of one namespace was changed (rtnetlink(7), RTMGRP_LINK).
#[derive(Debug)]
pub struct LinkWatch(OwnedFd);

impl LinkWatch {
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

fn netlink_socket(groups: u32) -> io::Result<OwnedFd> {
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
fn send_move(socket: BorrowedFd<'_>, index: u32, target: BorrowedFd<'_>) -> io::Result<()> {
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

    #[test]
    fn a_move_is_laid_out_as_rtnetlink_wants_it() {
        let message = move_message(7, 5);
        assert_eq!(message[..4], 40u32.to_ne_bytes());
        assert_eq!(message[20..24], 7u32.to_ne_bytes());
        assert_eq!(message[32..36], [8u16.to_ne_bytes(), 28u16.to_ne_bytes()].concat());
        assert_eq!(message[36..40], 5u32.to_ne_bytes());
    }
}
