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
//! **Safety.** `mapping` owns the pages, `ring` the indices, `umem` the chunks; each opens with what it relies on.

mod attachment;
mod mapping;
mod program;
mod ring;
mod socket;
mod umem;

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use weir_wire::checksum::complete_unmarked;
use weir_wire::{Capabilities, DropReason, Packet, Pool, PortId};

use crate::departure::{Departure, L2_MAX};
use crate::event::{Epoll, EventFd, TimerFd};
use crate::netdev::{LinkState, LinkWatch, Netdev};
use crate::netns::NetNs;
use crate::{Armed, Counters, Port, PortError, PortErrorKind, Status, discard};
use attachment::{Attachment, MTU_IN_CHUNK};
use program::{Hook, Pieces};
use socket::{Copying, Kicked, Received};

/// A port that is polled looks for changes of its device once in so many turns.
const TURNS_BETWEEN_LOOKS: u32 = 1024;
/// Between attempts to take up a device that is there but cannot be had.
const RETRY: Duration = Duration::from_secs(1);
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

/// What the port has of its device.
#[derive(Debug)]
enum Hold {
    Attached(Attachment),
    /// A thread tries to take it up.
    Opening(JoinHandle<Result<Attachment, PortError>>),
    /// There is no device, or the last attempt failed.
    Nothing,
}

/// A network device's queues as a port.
#[derive(Debug)]
pub struct XdpPort {
    config: XdpConfig,
    device: Netdev,
    watch: LinkWatch,
    timer: TimerFd,
    done: Arc<EventFd>,
    epoll: Epoll,
    hold: Hold,
    departure: Departure,
    counters: Counters,
    link: bool,
    problem: String,
    turns: u32,
    next: usize,
}

impl XdpPort {
    /// Takes the device, bringing it up.
    ///
    /// # Errors
    /// `NotFound` without the device, `Denied` without the rights, `Busy` where another program has it, `Unsupported`
    /// where no allowed way works; the text lists what was tried.
    pub fn open(config: XdpConfig) -> Result<XdpPort, PortError> {
        if !config.ring.is_power_of_two() || !(64..=16384).contains(&config.ring) {
            let what = format!("rings of {} are not possible", config.ring);
            return Err(PortError::new(PortErrorKind::Invalid, object(&config), what)
                .with_remedy("use a power of two from 64 to 16384"));
        }
        let attachment = attachment::open(&config)?;
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
            watch,
            timer,
            done,
            epoll,
            hold: Hold::Nothing,
            departure: Departure::new(Capabilities::default(), 1500),
            counters: Counters::default(),
            link: false,
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

    fn keep(&mut self, attachment: Attachment) {
        for (token, socket) in attachment.sockets.iter().enumerate() {
            if let Err(e) = self.epoll.add(socket.as_fd(), token as u64) {
                self.problem = format!("cannot wait for queue {token}: {e}");
            }
        }
        self.hold = Hold::Attached(attachment);
    }

    /// Lets go of the device. Closing waits for the kernel, so it is done elsewhere.
    fn release(&mut self) {
        if let Hold::Attached(attachment) = std::mem::replace(&mut self.hold, Hold::Nothing) {
            for socket in &attachment.sockets {
                // A socket that could not be added is not in the set.
                drop(self.epoll.remove(socket.as_fd()));
            }
            let closing = std::thread::Builder::new().name("xdp-close".into());
            // Without a thread the attachment was dropped with the closure, here.
            drop(closing.spawn(move || drop(attachment)));
        }
    }

    /// Starts to take the device up on a thread of its own.
    fn take_up(&mut self) {
        let (config, done) = (self.config.clone(), Arc::clone(&self.done));
        let thread = std::thread::Builder::new().name("xdp-open".into()).spawn(move || {
            let opened = attachment::open(&config);
            done.signal();
            opened
        });
        match thread {
            Ok(thread) => self.hold = Hold::Opening(thread),
            Err(e) => self.problem = format!("cannot start a thread to take the device up: {e}"),
        }
    }

    /// Takes what the thread has brought, if it is done.
    fn finish_opening(&mut self) {
        if !matches!(&self.hold, Hold::Opening(thread) if thread.is_finished()) {
            return;
        }
        let Hold::Opening(thread) = std::mem::replace(&mut self.hold, Hold::Nothing) else { return };
        match thread.join() {
            Ok(Ok(attachment)) => self.keep(attachment),
            Ok(Err(e)) => {
                self.problem = e.to_string();
                self.retry_later();
            }
            Err(_) => self.problem = "the thread that takes the device up has failed".to_owned(),
        }
    }

    fn retry_later(&mut self) {
        if let Err(e) = self.timer.set(RETRY) {
            self.problem = format!("cannot set a timer: {e}");
        }
    }

    /// Finds out what became of the device.
    fn look(&mut self) {
        self.turns = 0;
        self.finish_opening();
        let index = self.device.index().ok();
        let mtu = self.device.mtu().unwrap_or(self.departure.mtu());
        self.departure.set_mtu(mtu);
        if let Hold::Attached(held) = &self.hold
            && (index != Some(held.index) || mtu > MTU_IN_CHUNK && held.pieces == Pieces::One)
        {
            self.release();
        }
        match &self.hold {
            Hold::Attached(_) => {
                let state = self.device.state().unwrap_or_default();
                self.link = state.up && state.carrier;
                self.problem = why_down(state).to_owned();
            }
            Hold::Opening(_) => self.link = false,
            Hold::Nothing => {
                self.link = false;
                if index.is_some() {
                    self.take_up();
                } else {
                    self.problem = "the device is gone; a device of that name is taken up again".to_owned();
                }
            }
        }
    }

    /// A polled worker never sleeps, so news of the device are looked for once in a while.
    fn look_sometimes(&mut self) {
        self.turns += 1;
        if self.turns >= TURNS_BETWEEN_LOOKS {
            self.on_event();
        }
    }

    fn kick(&mut self) -> Kicked {
        let Hold::Attached(held) = &mut self.hold else { return Kicked::Done };
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

fn why_down(state: LinkState) -> &'static str {
    match (state.up, state.carrier) {
        (true, true) => "",
        (true, false) => "the device has no carrier: its other side is down or unplugged",
        (false, _) => "the device is down",
    }
}

/// Wraps a frame in a packet. Only a card's own memory is known to hold frames that were on a wire, and so are complete.
fn packet_of(buffer: weir_wire::Buffer, id: PortId, copying: Copying) -> Packet {
    let mut packet = Packet::new(buffer, id, weir_wire::Offload::default());
    // A frame that does not parse is refused by the fabric, with its reason.
    if copying == Copying::Copy && packet.parse().is_ok() {
        complete_unmarked(&mut packet);
    }
    packet
}

impl Port for XdpPort {
    fn rx(&mut self, id: PortId, pool: &mut Pool, burst: &mut Vec<Packet>, room: usize) -> usize {
        self.look_sometimes();
        self.kick();
        let longest = self.departure.mtu() as usize + L2_MAX;
        let Hold::Attached(held) = &mut self.hold else { return 0 };
        let (count, copying, before) = (held.sockets.len(), held.way.copying, burst.len());
        for step in 0..count {
            let Some(socket) = held.sockets.get_mut((self.next + step) % count) else { break };
            // Frames that are dropped take their share of the room too, so that a turn ends.
            let share = room.saturating_sub(burst.len() - before);
            let mut any = false;
            for _ in 0..share {
                match socket.receive(pool, longest) {
                    Received::Frame(buffer) => {
                        self.counters.rx_packets += 1;
                        self.counters.rx_bytes += buffer.len() as u64;
                        burst.push(packet_of(buffer, id, copying));
                    }
                    Received::Refused(reason) => self.counters.rx_dropped.count(reason),
                    Received::Nothing => break,
                }
                any = true;
            }
            if any {
                socket.end_receive();
            }
        }
        self.next = (self.next + 1) % count.max(1);
        burst.len() - before
    }

    fn tx(&mut self, pool: &mut Pool, packets: &mut Vec<Packet>) {
        let Hold::Attached(held) = &mut self.hold else {
            return discard(pool, packets, &mut self.counters, DropReason::LinkDown);
        };
        if !self.link {
            return discard(pool, packets, &mut self.counters, DropReason::LinkDown);
        }
        let (sockets, count) = (&mut held.sockets, held.queues.len() as u64);
        self.departure.send(pool, packets, &mut self.counters, |packet| {
            match sockets.get_mut((packet.hash % count.max(1)) as usize) {
                Some(socket) => socket.send(packet.bytes()),
                None => Err(DropReason::LinkDown),
            }
        });
    }

    fn flush(&mut self) {
        self.kick();
    }

    fn arm(&mut self) -> Armed {
        if self.kick() == Kicked::Stuck
            && let Err(e) = self.timer.set(RESEND)
        {
            self.problem = format!("cannot set a timer: {e}");
            return Armed::Ready;
        }
        match &self.hold {
            Hold::Attached(held) if held.sockets.iter().any(socket::Socket::has_received) => Armed::Ready,
            _ => Armed::Idle,
        }
    }

    fn disarm(&mut self) {
        // The kernel wakes a sleeper by itself; there is nothing to turn off.
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    fn on_event(&mut self) {
        self.turns = 0;
        let news = self.watch.drain();
        let timer = self.timer.drain() > 0;
        let done = self.done.drain() > 0;
        let waits = timer && !matches!(self.hold, Hold::Attached(_));
        if news || done || waits {
            self.look();
        }
    }

    fn link(&self) -> bool {
        self.link
    }

    fn capabilities(&self) -> Capabilities {
        self.departure.capabilities()
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn status(&self) -> Status {
        let mode = match &self.hold {
            Hold::Attached(held) => format!("{}, queues {}-{}", held.way, held.queues.start, held.queues.end - 1),
            Hold::Opening(_) => "taking the device up".to_owned(),
            Hold::Nothing => "no device".to_owned(),
        };
        Status {
            link: self.link,
            kind: "xdp",
            mode,
            problem: self.problem.clone(),
            mtu: self.departure.mtu(),
            details: self.details(),
        }
    }
}

impl XdpPort {
    fn details(&self) -> Vec<(String, String)> {
        let mut details: Vec<(String, String)> = Vec::new();
        let mut tell = |name: &str, value: String| details.push((name.to_owned(), value));
        tell("device", self.config.interface.clone());
        tell("namespace", self.config.netns.clone().unwrap_or_else(|| "the daemon's".to_owned()));
        let Hold::Attached(held) = &self.hold else { return details };
        tell("driver", held.driver.clone());
        for refused in &held.refused {
            tell("not used", refused.clone());
        }
        let several = if held.pieces == Pieces::Several { "yes" } else { "no" };
        tell("frames in several pieces", several.to_owned());
        tell("rings", format!("{} entries a queue", self.config.ring));
        if held.way.hook == Hook::Generic {
            let advice = "super-segments do not pass: turn off tso and gso where frames come from (ethtool -K)";
            tell("advice", advice.to_owned());
        }
        for (queue, socket) in held.queues.clone().zip(&held.sockets) {
            if let Ok(s) = socket.statistics() {
                let text = format!(
                    "rx dropped {}, rx ring full {}, fill ring empty {}, invalid descriptors rx {} tx {}",
                    s.rx_dropped, s.rx_ring_full, s.rx_fill_ring_empty_descs, s.rx_invalid_descs, s.tx_invalid_descs
                );
                tell(&format!("queue {queue}"), text);
            }
        }
        details
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_must_be_a_power_of_two_within_bounds() {
        for ring in [0, 32, 1000, 32768] {
            let error = XdpPort::open(XdpConfig { ring, ..XdpConfig::new("lo") }).unwrap_err();
            assert_eq!(error.kind(), PortErrorKind::Invalid);
        }
    }

    #[test]
    fn a_device_that_is_not_there_is_named() {
        let error = XdpPort::open(XdpConfig::new("weir-none")).unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::NotFound);
        assert!(error.to_string().contains("weir-none"), "{error}");
    }
}
