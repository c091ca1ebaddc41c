//! vhost-user: guests attach over a unix socket and share their memory; frames pass through rings in it.
//!
//! We are the back end. [`message`] and [`socket`] speak the protocol, [`session`] keeps one front end's state,
//! [`vring`] one ring's; [`virtqueue`], [`split`], [`packed`], [`chain`], [`receive`] and [`transmit`] move frames; [`endpoint`] brings and loses
//! front ends. Everything runs on the worker that owns the port, without threads, locks or waiting: messages are served
//! a few at a time between turns, what has come of one is kept.
//!
//! # Limits
//! One front end at a time, [`memory::SLOTS_MAX`] regions of memory, up to [`QUEUE_PAIRS_MAX`] queue pairs, split or packed rings.
//! A front end that breaks the protocol loses its connection, a driver that breaks a ring has that ring stopped; both
//! with the reason in [`Port::status`] and without harm to other ports.
//!
//! # Safety model
//! See each file: [`memory`] (what is mapped and how long pointers live), [`split`] (who owns which index),
//! [`sigbus`] (memory that is taken away), [`socket`] and [`notify`] (descriptors from outside).

pub mod chain;
mod config;
pub(crate) mod copy;
pub mod descriptor;
pub mod dirty_log;
pub mod endpoint;
pub mod features;
mod frames;
pub mod frontend;
pub(crate) mod held;
pub mod inflight;
pub mod memory;
pub mod message;
pub mod net_header;
pub mod notify;
pub mod packed;
pub mod position;
pub mod receive;
pub mod refusal;
pub mod session;
pub mod shared;
pub mod sigbus;
pub mod socket;
pub mod split;
mod status;
pub mod transmit;
pub mod virtqueue;
pub mod vring;

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use weir_wire::build::rarp;
use weir_wire::{Capabilities, DropReason, MacAddr, Offload, Packet, Pool, PortId};

use crate::departure::Departure;
use crate::error::PortError;
use crate::event::{Epoll, TimerFd};
use crate::{Armed, Counters, Pieces, Port, Status, fill_all};
use chain::Segments;
use endpoint::{Access, Endpoint};
use held::Held;
use refusal::SessionEnd;
use session::{Session, Terms};
use socket::Connection;
use transmit::Chains;
use vring::Waking;

pub use config::VhostUserConfig;
pub use endpoint::Role;
pub use features::Profile;

/// Queue pairs of one port at most.
pub const QUEUE_PAIRS_MAX: u16 = 64;

/// Turns between two looks at the socket while the worker polls.
const TURNS_BETWEEN_LOOKS: u32 = 64;
/// How often a ring without a kick descriptor is looked at while the worker sleeps.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

const LISTENER: u64 = 0;
const CONNECTION: u64 = 2;
const KICK: u64 = 3;
const POLL_TIMER: u64 = 4;

/// A vhost-user port.
#[derive(Debug)]
pub struct VhostUserPort {
    config: VhostUserConfig,
    epoll: Epoll,
    tokens: Vec<u64>,
    poll_timer: TimerFd,
    endpoint: Endpoint,
    session: Option<Session>,
    /// Why the last session ended.
    ended: String,
    sessions: u64,
    /// Set by state changes; see [`VhostUserPort::refresh`].
    ways: Ways,
    segments: Segments,
    chains: Chains,
    held: Held,
    departure: Departure,
    counters: Counters,
    turns: u32,
}

/// Where frames can pass, found anew after each message.
#[derive(Debug, Default)]
struct Ways {
    link: bool,
    /// Rings to the guest that take frames.
    to_guest: Vec<u16>,
    /// Rings from the guest that run; `true` where frames may pass, else they are drained.
    from_guest: Vec<(u16, bool)>,
    /// The ring from the guest that has its turn first.
    first: usize,
}

impl VhostUserPort {
    /// A port that waits for, or looks for, its front end.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn new(config: VhostUserConfig) -> Result<VhostUserPort, PortError> {
        let failed = |e| PortError::os(format!("vhost-user {}", config.path.display()), "cannot set up", e);
        let config =
            VhostUserConfig { queue_pairs_max: config.queue_pairs_max.clamp(1, QUEUE_PAIRS_MAX), ..config.clone() };
        let epoll = Epoll::new().map_err(failed)?;
        let poll_timer = TimerFd::new().map_err(failed)?;
        epoll.add(poll_timer.as_fd(), POLL_TIMER).map_err(failed)?;
        let access = Access { mode: config.socket_mode, owner: config.socket_owner, group: config.socket_group };
        let mtu = u32::from(config.mtu);
        let endpoint = Endpoint::new(&config.path, config.role, access, &epoll, LISTENER)?;
        Ok(VhostUserPort {
            config,
            epoll,
            tokens: Vec::new(),
            poll_timer,
            endpoint,
            session: None,
            ended: String::new(),
            sessions: 0,
            ways: Ways::default(),
            segments: Segments::new(),
            chains: Chains::new(),
            held: Held::default(),
            departure: Departure::new(Capabilities::default(), mtu),
            counters: Counters::default(),
            turns: 0,
        })
    }

    /// Serves the sockets and timers that have something.
    fn serve(&mut self) {
        // A message may change the memory in which frames are held.
        self.release();
        let mut tokens = std::mem::take(&mut self.tokens);
        if let Err(e) = self.epoll.wait(&mut tokens, Some(Duration::ZERO)) {
            self.ended = format!("cannot wait for events: {e}");
        }
        for &token in &tokens {
            let stream = match token {
                LISTENER => self.endpoint.accept(self.session.is_some(), &self.epoll),
                CONNECTION => self.serve_session(),
                POLL_TIMER => {
                    self.poll_timer.drain();
                    None
                }
                KICK => None,
                _ => self.endpoint.timer(self.session.is_some(), &self.epoll),
            };
            if let Some(stream) = stream {
                self.begin(stream);
            }
        }
        self.tokens = tokens;
    }

    fn begin(&mut self, stream: UnixStream) {
        let terms = Terms {
            profile: self.config.profile,
            queue_pairs_max: self.config.queue_pairs_max,
            mtu: self.config.mtu,
            mac: self.config.mac.map(|mac| mac.0),
            feature_mask: self.config.feature_mask,
        };
        let connection = Connection::new(stream)
            .and_then(|connection| self.epoll.add(connection.as_fd(), CONNECTION).map(|()| connection));
        match connection {
            Ok(connection) => {
                self.sessions += 1;
                self.session = Some(Session::new(connection, terms));
                self.refresh();
            }
            Err(e) => self.ended = format!("cannot serve a connection: {e}"),
        }
    }

    /// Serves messages; the front end that comes next where this one is gone.
    fn serve_session(&mut self) -> Option<UnixStream> {
        let session = self.session.as_mut()?;
        match session.serve(&self.epoll, KICK) {
            Ok(()) => {
                self.refresh();
                None
            }
            Err(end) => self.end(end),
        }
    }

    fn end(&mut self, why: SessionEnd) -> Option<UnixStream> {
        self.release();
        let session = self.session.take()?;
        self.ended = why.to_string();
        session.close(&self.epoll);
        self.refresh();
        self.endpoint.disconnected(&self.epoll)
    }

    /// Finds out anew where frames can pass.
    fn refresh(&mut self) {
        let ways = &mut self.ways;
        ways.to_guest.clear();
        ways.from_guest.clear();
        ways.link = false;
        self.departure.set_capabilities(Capabilities::default());
        self.departure.set_mtu(u32::from(self.config.mtu));
        let Some(session) = &self.session else { return };
        let mtu = session.mtu.unwrap_or(self.config.mtu).min(self.config.mtu);
        self.departure.set_capabilities(session.agreed.capabilities());
        self.departure.set_mtu(u32::from(mtu));
        for ring in session.rings.iter().filter(|r| r.is_running()) {
            let passes = session.may_pass(ring);
            if ring.index % 2 == 1 {
                ways.from_guest.push((ring.index, passes));
            } else if passes {
                ways.to_guest.push(ring.index);
            }
        }
        ways.link = ways.to_guest.first() == Some(&0) && ways.from_guest.first() == Some(&(1, true));
        if ways.link {
            self.endpoint.settled();
            self.ended.clear();
        }
    }

    /// Looks at the socket now and then while nobody sleeps, and at whether the guest's memory is still there.
    #[inline]
    fn look_around(&mut self) {
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(TURNS_BETWEEN_LOOKS) {
            self.serve();
        }
        if self.session.as_mut().is_some_and(Session::is_cut)
            && let Some(next) = self.end(SessionEnd::MemoryCut)
        {
            self.begin(next);
        }
    }

    /// Announcements that the front end asked for after a migration, as frames from the guest.
    #[cold]
    fn announce(&mut self, id: PortId, pool: &mut Pool, burst: &mut Vec<Packet>) {
        let Some(session) = &mut self.session else { return };
        for mac in session.rarps.drain(..) {
            match pool.copy(&rarp(MacAddr(mac))) {
                Some(buffer) => {
                    self.counters.rx_packets += 1;
                    self.counters.rx_bytes += buffer.len() as u64;
                    burst.push(Packet::new(buffer, id, Offload::default()));
                }
                None => self.counters.rx_dropped.count(DropReason::NoBuffer),
            }
        }
    }

    fn mtu(&self) -> u32 {
        self.departure.mtu()
    }
}

impl Port for VhostUserPort {
    fn rx(&mut self, id: PortId, pool: &mut Pool, burst: &mut Vec<Packet>, room: usize) -> usize {
        self.take_in(usize::MAX, id, pool, burst, room)
    }

    fn rx_parts(&mut self, id: PortId, pool: &mut Pool, burst: &mut Vec<Packet>, room: usize) -> usize {
        self.take_in(held::HOLD_OVER, id, pool, burst, room)
    }

    fn tx(&mut self, pool: &mut Pool, packets: &mut Vec<Packet>) {
        self.departure.join(None, pool, packets, &mut self.counters);
        self.put_out(None, pool, packets);
    }

    fn tx_from(&mut self, origin: &dyn Port, pool: &mut Pool, packets: &mut Vec<Packet>) {
        self.departure.join(Some(origin), pool, packets, &mut self.counters);
        let departure = &self.departure;
        // What has to be finished, to be cut or to be summed up, is wanted whole.
        fill_all(origin, pool, packets, |packet| departure.takes(packet));
        self.put_out(Some(origin), pool, packets);
    }

    fn set_gro(&mut self, on: bool) {
        self.departure.set_gro(on);
    }

    fn fill(&self, packet: &mut Packet, pool: &mut Pool) -> bool {
        self.held.fill(packet, pool)
    }

    fn copy_rest(&self, packet: &Packet, to: &mut [u8]) -> bool {
        self.held.copy_rest(packet, to)
    }

    fn rest(&self, packet: &Packet) -> Option<Pieces<'_>> {
        self.held.rest(packet.rest.slot, packet.rest.len).map(Pieces)
    }

    fn release(&mut self) {
        self.give_back();
    }

    fn flush(&mut self) {
        let Some(session) = &mut self.session else { return };
        for vring in &mut session.rings {
            let wanted = vring.running().is_some_and(|ring| ring.wants_interrupt());
            if wanted && let Some(call) = &vring.call {
                call.signal();
                self.counters.kicks += 1;
            }
        }
    }

    fn arm(&mut self) -> Armed {
        let before = self.ways.link;
        self.serve();
        if before != self.ways.link {
            // The fabric is to hear of it before anybody sleeps.
            return Armed::Ready;
        }
        let Some(session) = &mut self.session else { return Armed::Idle };
        if !session.rarps.is_empty() && self.ways.link {
            return Armed::Ready;
        }
        let log = session.log.as_ref().filter(|_| session.agreed.has(features::LOG_ALL));
        let (mut ready, mut polled) = (false, false);
        for &(index, _) in &self.ways.from_guest {
            let Some(vring) = session.rings.get_mut(usize::from(index)) else { continue };
            polled |= matches!(vring.waking, Waking::Polled);
            // A fault is found again, and dealt with, when the ring is next read.
            ready |= vring.running().is_some_and(|ring| ring.request_kicks(log).unwrap_or(true));
        }
        if polled && self.poll_timer.set(POLL_INTERVAL).is_err() {
            ready = true;
        }
        if ready { Armed::Ready } else { Armed::Idle }
    }

    fn disarm(&mut self) {
        let Some(session) = &mut self.session else { return };
        let log = session.log.as_ref().filter(|_| session.agreed.has(features::LOG_ALL));
        for &(index, _) in &self.ways.from_guest {
            if let Some(ring) = session.rings.get_mut(usize::from(index)).and_then(|vring| vring.running()) {
                ring.suppress_kicks(log);
            }
        }
    }

    fn may_doze(&self) -> bool {
        true
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    fn on_event(&mut self) {
        self.serve();
    }

    fn link(&self) -> bool {
        self.ways.link
    }

    fn capabilities(&self) -> Capabilities {
        self.departure.capabilities()
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn status(&self) -> Status {
        self.describe()
    }
}
