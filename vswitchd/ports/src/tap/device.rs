//! Making a TAP device, and finding it again when others have moved it.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use weir_wire::Capabilities;

use super::queue::Queue;
use super::{TapConfig, object};
use crate::fd::check;
use crate::netdev::{self, LinkWatch, Netdev};
use crate::netns::NetNs;
use crate::vnet_header;
use crate::{PortError, PortErrorKind};

const CLONE_DEVICE: &str = "/dev/net/tun";
/// The kernel's own bound (MAX_TAP_QUEUES).
const QUEUES_MAX: u16 = 256;

/// A device that is ready.
pub(super) struct Made {
    pub(super) queues: Vec<Queue>,
    pub(super) device: Netdev,
    pub(super) capabilities: Capabilities,
}

/// Where a device is.
pub(super) struct Place {
    pub(super) device: Netdev,
    pub(super) watch: LinkWatch,
}

/// Makes the device and everything about it that was asked for.
pub(super) fn make(config: &TapConfig) -> Result<Made, PortError> {
    netdev::check_name(&config.name)?;
    if !(1..=QUEUES_MAX).contains(&config.queues) {
        let what = format!("{} queues are not possible", config.queues);
        return Err(
            PortError::new(PortErrorKind::Invalid, object(config), what).with_remedy(format!("use 1 to {QUEUES_MAX}"))
        );
    }
    let home = config.move_to_netns.as_deref().map(|name| NetNs::open(Some(name))).transpose()?;
    // A persistent device that was moved before is taken up where it is.
    let there = home.as_ref().map(|home| Netdev::new(home, &config.name)).transpose()?;
    let moved = there.is_some_and(|device| device.index().is_ok());
    let birthplace = NetNs::open(if moved { config.move_to_netns.as_deref() } else { config.netns.as_deref() })?;
    let files = birthplace.run(|| open_queues(config))??;
    let capabilities = files.iter().try_fold(Capabilities::ALL, |_, file| set_offloads(config, file))?;
    let mut device = Netdev::new(&birthplace, &config.name)?;
    if let Some(home) = home.filter(|_| !moved) {
        device.move_to(&home)?;
        device = Netdev::new(&home, &config.name)?;
    }
    if let Some(mac) = config.mac
        && device.mac().ok() != Some(mac)
    {
        device.set_mac(mac)?;
    }
    if let Some(mtu) = config.mtu {
        device.set_mtu(mtu).map_err(|e| e.with_remedy("a TAP device carries 68 to 65521 bytes"))?;
    }
    device.set_up()?;
    let queues = files.into_iter().map(|file| Queue::new(file.into())).collect();
    Ok(Made { queues, device, capabilities })
}

/// Opens all queues. A device that exists may insist on being multi-queue or not, whatever the number is.
fn open_queues(config: &TapConfig) -> Result<Vec<File>, PortError> {
    let multi = libc::IFF_MULTI_QUEUE;
    let mut flags = if config.queues > 1 { multi } else { 0 };
    let first = match open_queue(config, flags) {
        Err(e) if config.queues == 1 && e.raw_os_error() == Some(libc::EINVAL) => {
            flags = multi;
            open_queue(config, flags).map_err(|_| e)?
        }
        other => other?,
    };
    let mut files = vec![first];
    while files.len() < usize::from(config.queues) {
        files.push(open_queue(config, flags)?);
    }
    Ok(files)
}

fn open_queue(config: &TapConfig, multi_queue: libc::c_int) -> Result<File, PortError> {
    let file =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(CLONE_DEVICE).map_err(|e| {
            let remedy = match PortErrorKind::of(&e) {
                PortErrorKind::Denied => "run vswitchd as root or give it access to the device",
                _ => "run \"modprobe tun\"; in a container, pass the device in (--device /dev/net/tun)",
            };
            PortError::os(object(config), format!("cannot open {CLONE_DEVICE}"), e).with_remedy(remedy)
        })?;
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    netdev::write_name(&mut request, &config.name);
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | multi_queue;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which is valid for the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &mut request) })
        .map_err(|e| attach_error(config, e))?;
    let header_len = vnet_header::LEN as libc::c_int;
    set_int(config, &file, libc::TUNSETVNETHDRSZ, header_len, "cannot agree on the header's length")?;
    set_int(config, &file, libc::TUNSETVNETLE, 1, "cannot agree on the header's byte order")?;
    if config.persist {
        // SAFETY: TUNSETPERSIST takes its argument by value.
        check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETPERSIST, 1) })
            .map_err(|e| PortError::os(object(config), "cannot make it persistent", e))?;
    }
    Ok(file)
}

fn attach_error(config: &TapConfig, source: std::io::Error) -> PortError {
    let remedy = match source.raw_os_error() {
        Some(libc::EPERM) => "vswitchd needs CAP_NET_ADMIN, or a device that belongs to its user",
        Some(libc::EBUSY) => "somebody else has the device open; choose another name or stop them",
        Some(libc::EINVAL) => {
            "a device of this name exists that is no TAP device or has another number of queues; choose another name \
             or delete it"
        }
        _ => "",
    };
    PortError::os(object(config), "cannot attach to the device", source).with_remedy(remedy)
}

/// States what the kernel may hand over: all it can do, or nothing. Kernels before 6.2 do not know USO.
fn set_offloads(config: &TapConfig, file: &File) -> Result<Capabilities, PortError> {
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    let udp = libc::TUN_F_USO4 | libc::TUN_F_USO6;
    let no_uso = Capabilities { uso: false, ..Capabilities::ALL };
    let steps: &[(libc::c_uint, Capabilities)] = if config.offloads {
        &[(tcp | udp, Capabilities::ALL), (tcp, no_uso)]
    } else {
        &[(0, Capabilities::default())]
    };
    let mut refusal = None;
    for &(bits, capabilities) in steps {
        // SAFETY: TUNSETOFFLOAD takes its argument by value.
        match check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(bits)) }) {
            Ok(_) => return Ok(capabilities),
            Err(e) => refusal = Some(e),
        }
    }
    let source = refusal.unwrap_or_else(|| std::io::ErrorKind::Other.into());
    Err(PortError::os(object(config), "cannot agree on offloads", source))
}

fn set_int(
    config: &TapConfig,
    file: &File,
    number: libc::Ioctl,
    value: libc::c_int,
    what: &str,
) -> Result<(), PortError> {
    // SAFETY: the requests used here read one int, which is valid for the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), number, &value) })
        .map(drop)
        .map_err(|e| PortError::os(object(config), what, e))
}

/// Tells the kernel's side that it has a carrier, or none.
pub(super) fn set_carrier(config: &TapConfig, queues: &[Queue], up: bool) -> Result<(), PortError> {
    let Some(queue) = queues.first() else { return Ok(()) };
    let value = libc::c_int::from(up);
    // SAFETY: TUNSETCARRIER reads one int, which is valid for the call.
    check(unsafe { libc::ioctl(queue.as_fd().as_raw_fd(), libc::TUNSETCARRIER, &value) })
        .map(drop)
        .map_err(|e| PortError::os(object(config), "cannot set its carrier", e))
}

/// The device's place if it is not where `known` looks for it: others may rename it or move it to another namespace.
pub(super) fn follow(queues: &[Queue], known: &Netdev) -> Option<Place> {
    let fd = queues.first()?.as_fd();
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: TUNGETIFF writes one ifreq, which is valid for the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF, &mut request) }).ok()?;
    let name: Vec<u8> = request.ifr_name.iter().map(|&c| c as u8).take_while(|&b| b != 0).collect();
    let name = String::from_utf8(name).ok()?;
    if name == known.name() && known.index().is_ok() {
        return None;
    }
    // SAFETY: TUNGETDEVNETNS takes no argument and returns a descriptor that is ours.
    let ns = unsafe {
        let fd = check(libc::ioctl(fd.as_raw_fd(), libc::TUNGETDEVNETNS)).ok()?;
        OwnedFd::from_raw_fd(fd)
    };
    let device = Netdev::new(&NetNs::from_handle("of the device".to_owned(), ns), &name).ok()?;
    let watch = device.watch().ok()?;
    Some(Place { device, watch })
}

/// The offloads in the words of ethtool.
pub(super) fn describe(capabilities: Capabilities) -> String {
    let Capabilities { checksum, tso4, tso6, ecn, uso } = capabilities;
    let names = [(checksum, "checksum"), (tso4, "tso4"), (tso6, "tso6"), (ecn, "ecn"), (uso, "uso")];
    let on: Vec<&str> = names.iter().filter(|(on, _)| *on).map(|&(_, name)| name).collect();
    if on.is_empty() { "none".to_owned() } else { on.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_settings_are_refused_before_the_kernel_is_asked() {
        let none = TapConfig { queues: 0, ..TapConfig::new("weir-t0") };
        let error = make(&none).err().unwrap();
        assert_eq!(error.to_string(), "tap weir-t0: 0 queues are not possible; use 1 to 256");
        assert!(make(&TapConfig::new("a name that is too long")).is_err());
    }

    #[test]
    fn offloads_are_listed_by_name() {
        assert_eq!(describe(Capabilities::default()), "none");
        assert_eq!(describe(Capabilities { uso: false, ..Capabilities::ALL }), "checksum tso4 tso6 ecn");
    }
}
