//! AF_XDP: any network device of the host, its frames taken before the kernel's own stack sees them.
//!
//! The device's queues are taken by the best way it allows: zero-copy, else copied by the kernel, else the generic hook
//! that works everywhere; the status says which and why. All frames of the queues are the fabric's: the host's own stack
//! sees none of them while the port lives.
//!
//! What the kernel hands over has no marks. A frame from a veth's other side may hold an unfinished checksum, and only
//! the checksum field tells; such frames are completed on arrival. Frames leave complete and within the MTU. A VLAN tag
//! that the sender's device keeps beside the frame is lost on the way (turn `txvlan` off there), and the generic hook
//! meets super-segments that it cannot pass on (turn `gso` and `tso` off there).
//!
//! When the device is deleted the port stays, without a link; a device of the same name is taken up again, by a thread
//! of its own because binding may take the kernel long.
//!
//! A long frame is received by its first bytes; the rest is copied from the chunk where the kernel put it to where it is sent.
//!
//! Flows that nobody has to look at any more can be handed to the program itself ([`fast_path`]), which sends their
//! frames from device to device without a copy.
//!
//! **Safety.** `mapping` owns the pages, `ring` the indices, `umem` the chunks; each opens with what it relies on.

mod arrival;
mod attachment;
pub mod fast_path;
mod fast_program;
mod hold;
mod listen;
pub mod load;
mod mapping;
pub mod patch;
mod program;
mod report;
mod ring;
mod socket;
mod umem;

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use weir_wire::{Capabilities, DropReason, Instant, Packet, Pool, PortId};

use crate::departure::Departure;
use crate::event::{Epoll, EventFd, TimerFd};
use crate::netdev::{LinkWatch, Netdev};
use crate::netns::NetNs;
use crate::vhost_user::held::{HOLD_OVER, Held};
use crate::{Armed, Counters, Pieces, Port, PortError, PortErrorKind, Status, clock, discard, fill_all};
use fast_path::{FastPath, Lane, Passed};
use hold::Hold;
use listen::Listening;
use socket::Kicked;

/// A port that is polled looks for changes of its device once in so many turns.
const TURNS_BETWEEN_LOOKS: u32 = 1024;
/// When to try again to send what the kernel could not take.
const RESEND: Duration = Duration::from_micros(200);
/// Tokens of the port's own descriptors; sockets come first.
const WATCH: u64 = 1 << 32;
const TIMER: u64 = WATCH + 1;
const DONE: u64 = WATCH + 2;

/// How to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// The best that works.
    #[default]
    Auto,
    /// In the driver, which works on our memory; physical cards only.
    ZeroCopy,
    /// In the driver, the kernel copies.
    Copy,
    /// Behind the driver; any device.
    Generic,
}

/// A device to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XdpConfig {
    /// The device's name.
    pub interface: String,
    /// The namespace it is in, by name or path; the daemon's own for `None`.
    pub netns: Option<String>,
    /// Receive queues to take; all for `None`.
    pub queues: Option<Range<u32>>,
    /// How to run.
    pub mode: XdpMode,
    /// Largest L3 packet in bytes; as it is for `None`.
    pub mtu: Option<u32>,
    /// Entries of each ring, a power of two from 64 to 16384. A queue takes 8 KiB of locked memory an entry.
    pub ring: u32,
}

impl XdpConfig {
    /// All queues of the device, in the best way, with rings of 1024.
    pub fn new(interface: impl Into<String>) -> XdpConfig {
        XdpConfig { interface: interface.into(), netns: None, queues: None, mode: XdpMode::Auto, mtu: None, ring: 1024 }
    }
}

fn object(config: &XdpConfig) -> String {
    format!("xdp {}", config.interface)
}

/// How long a device may take to have a carrier after it was switched on.
const LIGHT_WITHIN: Duration = Duration::from_secs(5);

/// Whether we have switched a device off, so that its other side sees no carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Darkened {
    No,
    Yes,
    /// It is on again; its carrier takes a while to come.
    Until(Instant),
}

/// A network device's queues as a port.
#[derive(Debug)]
pub struct XdpPort {
    config: XdpConfig,
    device: Netdev,
    fast_path: Option<Arc<FastPath>>,
    lane: Option<Lane>,
    watch: LinkWatch,
    timer: TimerFd,
    done: Arc<EventFd>,
    epoll: Epoll,
    listening: Listening,
    hold: Hold,
    /// Received frames whose rest is still in its chunk.
    heads: Held,
    departure: Departure,
    counters: Counters,
    link: bool,
    /// We have switched the device off, because the other end of its wire has no link.
    darkened: Darkened,
    /// The device could not be taken up; the timer says when to try again.
    resting: bool,
    problem: String,
    turns: u32,
    next: usize,
}

impl XdpPort {
    /// Takes the device, bringing it up. With a fast path it takes part in that, where device and kernel can.
    ///
    /// # Errors
    /// `NotFound` without the device, `Denied` without the rights, `Busy` where another program has it, `Unsupported`
    /// where no allowed way works; the text lists what was tried.
    pub fn open(config: XdpConfig, fast_path: Option<Arc<FastPath>>) -> Result<XdpPort, PortError> {
        if !config.ring.is_power_of_two() || !(64..=16384).contains(&config.ring) {
            let what = format!("rings of {} are not possible", config.ring);
            return Err(PortError::new(PortErrorKind::Invalid, object(&config), what)
                .with_remedy("use a power of two from 64 to 16384"));
        }
        let attachment = attachment::open(&config, fast_path.as_ref())?;
        let ns = NetNs::open(config.netns.as_deref())?;
        let device = Netdev::new(&ns, &config.interface)?;
        let watch = device.watch()?;
        let cannot = |e| PortError::os(object(&config), "cannot make its event descriptors", e);
        let (epoll, timer) = (Epoll::new().map_err(cannot)?, TimerFd::new().map_err(cannot)?);
        let done = Arc::new(EventFd::new().map_err(cannot)?);
        for (fd, token) in [(watch.as_fd(), WATCH), (timer.as_fd(), TIMER), (done.as_fd(), DONE)] {
            epoll.add(fd, token).map_err(cannot)?;
        }
        let mut port = XdpPort {
            config,
            device,
            fast_path,
            lane: None,
            watch,
            timer,
            done,
            epoll,
            listening: Listening::No,
            hold: Hold::Nothing,
            heads: Held::default(),
            departure: Departure::new(Capabilities::default(), 1500),
            counters: Counters::default(),
            link: false,
            darkened: Darkened::No,
            resting: false,
            problem: String::new(),
            turns: 0,
            next: 0,
        };
        port.keep(attachment);
        port.look();
        Ok(port)
    }

    /// The device, to be looked at or changed.
    pub fn device(&self) -> &Netdev {
        &self.device
    }

    /// A polled worker never sleeps, so news of the device are looked for once in a while.
    fn look_sometimes(&mut self) {
        self.turns += 1;
        if self.turns >= TURNS_BETWEEN_LOOKS {
            self.on_event();
        }
    }

    /// Sends packets; those that are not whole have their rest at `origin`.
    fn put_out(&mut self, origin: Option<&dyn Port>, pool: &mut Pool, packets: &mut Vec<Packet>) {
        let Hold::Attached(held) = &mut self.hold else {
            return discard(pool, packets, &mut self.counters, DropReason::LinkDown);
        };
        if !self.link {
            return discard(pool, packets, &mut self.counters, DropReason::LinkDown);
        }
        let (sockets, count) = (&mut held.sockets, held.queues.len() as u64);
        self.departure.send_parts(pool, packets, &mut self.counters, |packet| {
            let queue = if count > 1 { packet.hash % count } else { 0 };
            let rest = match origin {
                _ if packet.is_whole() => &[][..],
                Some(origin) => origin.rest(packet).map(|Pieces(pieces)| pieces).ok_or(DropReason::NoBuffer)?,
                None => return Err(DropReason::NoBuffer),
            };
            sockets.get_mut(queue as usize).ok_or(DropReason::LinkDown)?.send(packet.bytes(), rest)
        });
    }

    fn kick(&mut self) -> Kicked {
        // A device that is down takes nothing; what was written goes when it is back.
        let Hold::Attached(held) = &mut self.hold else { return Kicked::Done };
        if !self.link {
            return Kicked::Done;
        }
        let mut worst = Kicked::Done;
        for socket in held.sockets.iter_mut().filter(|socket| socket.is_unsent()) {
            match socket.kick(&mut self.counters.kicks) {
                Kicked::Done => {}
                Kicked::Stuck if worst == Kicked::NoDevice => {}
                other => worst = other,
            }
        }
        if worst == Kicked::NoDevice {
            self.look();
        }
        worst
    }
}

impl Port for XdpPort {
    fn rx(&mut self, id: PortId, pool: &mut Pool, burst: &mut Vec<Packet>, room: usize) -> usize {
        self.look_sometimes();
        self.kick();
        self.take_in(usize::MAX, id, pool, burst, room)
    }

    fn rx_parts(&mut self, id: PortId, pool: &mut Pool, burst: &mut Vec<Packet>, room: usize) -> usize {
        self.look_sometimes();
        self.kick();
        self.take_in(HOLD_OVER, id, pool, burst, room)
    }

    fn tx(&mut self, pool: &mut Pool, packets: &mut Vec<Packet>) {
        self.put_out(None, pool, packets);
    }

    fn tx_from(&mut self, origin: &dyn Port, pool: &mut Pool, packets: &mut Vec<Packet>) {
        let departure = &self.departure;
        // What has to be finished, or to be sent in pieces, is wanted whole.
        fill_all(origin, pool, packets, |packet| departure.takes(packet) && packet.len() <= socket::FRAME_MAX);
        self.put_out(Some(origin), pool, packets);
    }

    fn fill(&self, packet: &mut Packet, pool: &mut Pool) -> bool {
        self.heads.fill(packet, pool)
    }

    fn copy_rest(&self, packet: &Packet, to: &mut [u8]) -> bool {
        self.heads.copy_rest(packet, to)
    }

    fn rest(&self, packet: &Packet) -> Option<Pieces<'_>> {
        self.heads.rest(packet.rest.slot, packet.rest.len).map(Pieces)
    }

    fn release(&mut self) {
        self.give_back();
    }

    fn flush(&mut self) {
        self.kick();
        self.stop_listening_when_busy();
    }

    fn arm(&mut self) -> Armed {
        if self.kick() == Kicked::Stuck
            && let Err(e) = self.timer.set(RESEND)
        {
            self.problem = format!("cannot set a timer: {e}");
            return Armed::Ready;
        }
        if !self.listen() {
            return Armed::Ready;
        }
        match &self.hold {
            Hold::Attached(held) if held.sockets.iter().any(socket::Socket::has_received) => Armed::Ready,
            _ => Armed::Idle,
        }
    }

    fn disarm(&mut self) {
        self.awake();
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    fn on_event(&mut self) {
        self.turns = 0;
        let news = self.watch.drain();
        let done = self.done.drain() > 0;
        // The timer also wakes the worker to send what was left, which needs nothing more than the turn.
        let rested = self.timer.drain() > 0 && std::mem::take(&mut self.resting);
        if news || done || rested {
            self.look();
        }
    }

    fn set_carrier(&mut self, up: bool) {
        if up != matches!(self.darkened, Darkened::Yes) {
            return;
        }
        self.darkened = if up { Darkened::Until(clock::monotonic().after(LIGHT_WITHIN)) } else { Darkened::Yes };
        // The far end of the cable sees that this one is switched off; there is no other way to tell it.
        let done = if up { self.device.set_up() } else { self.device.set_down() };
        if let Err(e) = done {
            self.problem = e.to_string();
        }
    }

    fn link(&self) -> bool {
        self.link
            || match self.darkened {
                Darkened::No => false,
                // What we switched off ourselves says nothing about the cable.
                Darkened::Yes => true,
                Darkened::Until(seen) => clock::monotonic() < seen,
            }
    }

    fn lane(&self) -> Option<Lane> {
        self.lane.filter(|_| self.link)
    }

    fn look_at_lane(&mut self) {
        self.measure_lane();
    }

    fn passed(&mut self, received: Passed, sent: Passed) {
        self.counters.rx_packets += received.packets;
        self.counters.rx_bytes += received.bytes;
        self.counters.tx_packets += sent.packets;
        self.counters.tx_bytes += sent.bytes;
    }

    fn capabilities(&self) -> Capabilities {
        self.departure.capabilities()
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn status(&self) -> Status {
        self.report()
    }
}

impl Drop for XdpPort {
    fn drop(&mut self) {
        self.set_carrier(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_must_be_a_power_of_two_within_bounds() {
        for ring in [0, 32, 1000, 32768] {
            let error = XdpPort::open(XdpConfig { ring, ..XdpConfig::new("lo") }, None).unwrap_err();
            assert_eq!(error.kind(), PortErrorKind::Invalid);
        }
    }

    #[test]
    fn a_device_that_is_not_there_is_named() {
        let error = XdpPort::open(XdpConfig::new("weir-none"), None).unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::NotFound);
        assert!(error.to_string().contains("weir-none"), "{error}");
    }
}
