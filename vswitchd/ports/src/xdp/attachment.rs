//! Getting hold of a device's queues: sockets, the map, the program, in the best way the device and the kernel allow.

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::fast_path::{FastPath, Membership};
use super::fast_program;
use super::program::{self, Attached, Hook, Pieces, SocketMap};
use super::socket::{Copying, Socket};
use super::umem::FRAME_IN_CHUNK;
use super::{XdpConfig, XdpMode, object};
use crate::departure::L2_MAX;
use crate::netdev::{Netdev, promiscuous};
use crate::netns::NetNs;
use crate::{PortError, PortErrorKind};

/// The largest MTU whose frames arrive in one chunk.
pub(super) const MTU_IN_CHUNK: u32 = FRAME_IN_CHUNK - L2_MAX as u32;

/// A device whose queues are ours. Dropping it detaches the program first, so that no frame is redirected to a socket
/// that is gone.
#[derive(Debug)]
pub(super) struct Attachment {
    _program: Attached,
    /// It takes part in the fast path.
    pub(super) member: Option<Membership>,
    /// Why it does not.
    pub(super) no_fast_path: String,
    _map: SocketMap,
    _promiscuous: OwnedFd,
    pub(super) sockets: Vec<Socket>,
    /// The device's number.
    pub(super) index: u32,
    pub(super) queues: Range<u32>,
    pub(super) way: Way,
    pub(super) pieces: Pieces,
    /// Why it is not a better way.
    pub(super) refused: Vec<String>,
    /// What the device does to frames and could not be told to leave.
    pub(super) warnings: Vec<String>,
    pub(super) driver: String,
}

/// A way to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) hook: Hook,
    pub(super) copying: Copying,
}

const NATIVE_ZERO_COPY: Way = Way { hook: Hook::Native, copying: Copying::Zero };
const NATIVE_COPY: Way = Way { hook: Hook::Native, copying: Copying::Copy };
const GENERIC: Way = Way { hook: Hook::Generic, copying: Copying::Copy };

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.hook, self.copying) {
            (Hook::Native, Copying::Zero) => "native, zero-copy",
            (Hook::Native, Copying::Copy) => "native, copy",
            (Hook::Generic, _) => "generic, copy",
        })
    }
}

/// The ways that a mode allows, best first.
fn ways(mode: XdpMode) -> &'static [Way] {
    match mode {
        XdpMode::Auto => &[NATIVE_ZERO_COPY, NATIVE_COPY, GENERIC],
        XdpMode::ZeroCopy => &[NATIVE_ZERO_COPY],
        XdpMode::Copy => &[NATIVE_COPY],
        XdpMode::Generic => &[GENERIC],
    }
}

/// What is asked of each way.
struct Wanted<'a> {
    config: &'a XdpConfig,
    index: u32,
    queues: Range<u32>,
    mtu: u32,
    fast_path: Option<&'a Arc<FastPath>>,
}

/// Takes hold of the device, in its namespace.
pub(super) fn open(config: &XdpConfig, fast_path: Option<&Arc<FastPath>>) -> Result<Attachment, PortError> {
    let ns = NetNs::open(config.netns.as_deref())?;
    let device = Netdev::new(&ns, &config.interface)?;
    let index = device.index().map_err(|e| device.error("there is no such device", e))?;
    if let Some(mtu) = config.mtu {
        device.set_mtu(mtu)?;
    }
    let state = device.state().map_err(|e| device.error("cannot read its state", e))?;
    if !state.up {
        device.set_up()?;
    }
    let mtu = device.mtu().map_err(|e| device.error("cannot read its MTU", e))?;
    let queues = choose_queues(config, &device)?;
    let wanted = Wanted { config, index, queues, mtu, fast_path };
    let mut attachment = ns.run(|| first_way(&wanted, device.driver().unwrap_or_default()))??;
    attachment.warnings = quieten(&device, attachment.way.hook);
    Ok(attachment)
}

/// Has the device leave frames as they came. It stays so when the port goes. A device without the feature has no way to
/// be told, and no need.
fn quieten(device: &Netdev, hook: Hook) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut note = |result: io::Result<()>, effect: &str| match result {
        Err(e) if PortErrorKind::of(&e) != PortErrorKind::Unsupported => warnings.push(format!("{effect}: {e}")),
        _ => {}
    };
    note(device.keep_vlan_tags(), "the device takes VLAN tags out of frames");
    if hook == Hook::Generic {
        note(device.keep_frames_apart(), "the device merges frames, which are too long then");
    }
    warnings
}

fn choose_queues(config: &XdpConfig, device: &Netdev) -> Result<Range<u32>, PortError> {
    let there = device.rx_queues();
    let queues = config.queues.clone().unwrap_or(0..there);
    if queues.is_empty() || queues.end > there {
        let what = format!("queues {}..{} are not possible", queues.start, queues.end);
        return Err(PortError::new(PortErrorKind::Invalid, object(config), what)
            .with_remedy(format!("the device has {there}; see \"ethtool -l {}\"", config.interface)));
    }
    Ok(queues)
}

fn first_way(wanted: &Wanted<'_>, driver: String) -> Result<Attachment, PortError> {
    let mut refused = Vec::new();
    let mut last = None;
    for &way in ways(wanted.config.mode) {
        match take_way(wanted, way) {
            Ok(mut attachment) => {
                attachment.refused = refused;
                attachment.driver = driver;
                return Ok(attachment);
            }
            // Without the right to do it no other way will do either.
            Err(e) if e.kind() == PortErrorKind::Denied => return Err(e),
            Err(e) => {
                refused.push(format!("{way}: {e}"));
                last = Some(e);
            }
        }
    }
    Err(no_way(wanted, &driver, &refused, last))
}

fn no_way(wanted: &Wanted<'_>, driver: &str, refused: &[String], last: Option<PortError>) -> PortError {
    let kind = last.as_ref().map_or(PortErrorKind::Unsupported, PortError::kind);
    let mut remedy = last.map(|e| e.remedy().to_owned()).unwrap_or_default();
    if wanted.mtu > MTU_IN_CHUNK {
        remedy = format!(
            "an MTU of {} needs frames in several pieces, which this device or kernel does not do: use an MTU of at \
             most {MTU_IN_CHUNK}",
            wanted.mtu
        );
    }
    let what = format!("no way to attach ({driver}): {}", refused.join(" / "));
    PortError::new(kind, object(wanted.config), what).with_remedy(remedy)
}

/// Tries one way; frames in one piece where the MTU allows, because then the device may do more by itself.
fn take_way(wanted: &Wanted<'_>, way: Way) -> Result<Attachment, PortError> {
    if wanted.mtu > MTU_IN_CHUNK {
        return attach(wanted, way, Pieces::Several);
    }
    match attach(wanted, way, Pieces::One) {
        // A veth whose other end has a large MTU takes only programs that know pieces.
        Err(e) if e.raw_os_error() == Some(libc::ERANGE) => attach(wanted, way, Pieces::Several),
        other => other,
    }
}

fn attach(wanted: &Wanted<'_>, way: Way, pieces: Pieces) -> Result<Attachment, PortError> {
    let fail = |what: String| move |e: io::Error| attach_error(wanted, what, e);
    let map = SocketMap::new(wanted.queues.end).map_err(fail("cannot make the map of sockets".to_owned()))?;
    let mut sockets = Vec::with_capacity(wanted.queues.len());
    for queue in wanted.queues.clone() {
        let several = pieces == Pieces::Several;
        let socket = Socket::bind(wanted.index, queue, wanted.config.ring, way.copying, several)
            .map_err(fail(format!("cannot bind to queue {queue}")))?;
        map.set(queue, socket.as_fd()).map_err(fail(format!("cannot enter queue {queue} into the map")))?;
        sockets.push(socket);
    }
    let (program, member, no_fast_path) = match join(wanted, pieces, &map) {
        Ok((program, member)) => (program, Some(member), String::new()),
        Err(reason) => (program::load(&map, pieces)?, None, reason),
    };
    let promiscuous = promiscuous(wanted.index).map_err(fail("cannot make the device take all frames".to_owned()))?;
    let attached = program::attach(program.as_fd(), wanted.index, way.hook)
        .map_err(fail("cannot attach the program".to_owned()))?;
    Ok(Attachment {
        _program: attached,
        member,
        no_fast_path,
        _map: map,
        _promiscuous: promiscuous,
        sockets,
        index: wanted.index,
        queues: wanted.queues.clone(),
        way,
        pieces,
        refused: Vec::new(),
        warnings: Vec::new(),
        driver: String::new(),
    })
}

/// The program of a device that takes part in the fast path, or why it does not.
fn join(wanted: &Wanted<'_>, pieces: Pieces, map: &SocketMap) -> Result<(OwnedFd, Membership), String> {
    let shared = wanted.fast_path.ok_or("it is turned off")?;
    if pieces == Pieces::Several {
        return Err(format!("frames come in several pieces; it needs an MTU of at most {MTU_IN_CHUNK}"));
    }
    let member = Membership::join(shared, wanted.index)?;
    let program = fast_program::load(map, &member).map_err(|e| e.to_string())?;
    Ok((program, member))
}

fn attach_error(wanted: &Wanted<'_>, what: String, source: io::Error) -> PortError {
    let name = &wanted.config.interface;
    let remedy = match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "vswitchd needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF, or root".to_owned(),
        Some(libc::EBUSY | libc::EEXIST) => {
            format!("another program holds the device; see \"bpftool net show dev {name}\" and \"ip link show {name}\"")
        }
        Some(libc::ENOBUFS | libc::ENOMEM) => "raise the limit on locked memory (ulimit -l)".to_owned(),
        _ => String::new(),
    };
    PortError::os(object(wanted.config), what, source).with_remedy(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_that_is_asked_for_is_the_only_one_tried() {
        assert_eq!(ways(XdpMode::Auto).len(), 3);
        for (mode, way) in
            [(XdpMode::ZeroCopy, NATIVE_ZERO_COPY), (XdpMode::Copy, NATIVE_COPY), (XdpMode::Generic, GENERIC)]
        {
            assert_eq!(ways(mode), [way]);
        }
    }

    #[test]
    fn when_no_way_works_a_large_mtu_is_named_with_its_limit() {
        let config = XdpConfig::new("eth9");
        let wanted = Wanted { config: &config, index: 1, queues: 0..1, mtu: 9000, fast_path: None };
        let error = no_way(&wanted, "veth", &["generic, copy: no".to_owned()], None);
        let text = error.to_string();
        assert!(text.contains("MTU of 9000") && text.contains("at most 3818"), "{text}");
    }
}
