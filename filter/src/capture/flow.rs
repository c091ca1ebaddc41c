//! One flow of a capture.

use std::time::Duration;

use weir_wire::Instant;

use super::key::Key;
use super::session::Session;
use super::settings::{Policy, Timeouts};
use crate::decode::Tcp;
use crate::detect::{Brief, FlowFacts, Inspection, Unheard};
use crate::event::Tuple;
use crate::inspect::Direction;

/// How far a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// One side has sent, or the handshake is under way.
    New,
    /// Both sides have sent.
    Established,
    /// Its TCP connection is closed.
    Closed,
    /// It is followed no more.
    Bypassed,
}

impl State {
    /// The name that EVE gives it.
    pub fn name(self) -> &'static str {
        match self {
            State::New => "new",
            State::Established => "established",
            State::Closed => "closed",
            State::Bypassed => "bypassed",
        }
    }
}

/// Why a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing came for a while.
    Timeout,
    /// The table was full.
    Forced,
    /// The capture ended.
    Shutdown,
    /// Another connection began between the same ports.
    Reused,
}

impl Reason {
    /// The name that EVE gives it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Timeout => "timeout",
            Reason::Forced => "forced",
            Reason::Shutdown => "shutdown",
            Reason::Reused => "tcp_reuse",
        }
    }
}

/// What was decided on a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    #[default]
    None,
    /// It goes on uninspected.
    Pass,
    /// All its packets are dropped.
    Drop,
}

/// Which exception a policy answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// A TCP connection met in its middle.
    Midstream,
    /// A parser gave up.
    AppError,
}

impl Exception {
    /// The name that EVE gives it.
    pub fn name(self) -> &'static str {
        match self {
            Exception::Midstream => "stream_midstream",
            Exception::AppError => "app_layer_error",
        }
    }
}

/// One flow.
#[derive(Debug)]
pub struct Flow {
    /// Its name.
    pub key: Key,
    /// Number, unique in the capture.
    pub id: u64,
    /// The initiator's tuple.
    pub tuple: Tuple,
    /// The initiator is the low end of the key.
    pub low_initiates: bool,
    /// VLANs of its first packet.
    pub vlan: [u16; 3],
    /// How many of them.
    pub vlans: u8,
    /// MAC addresses of its first packet: source, destination.
    pub macs: Option<[[u8; 6]; 2]>,
    /// Counters and times.
    pub facts: FlowFacts,
    /// Last packet.
    pub last: Instant,
    /// How far it is.
    pub state: State,
    /// What was decided on it.
    pub action: Action,
    /// Why its packets are dropped.
    pub dropped_for: Option<&'static str>,
    /// An exception was met, and answered so.
    pub exception: Option<(Exception, Policy)>,
    /// A rule has fired on it.
    pub alerted: bool,
    /// Why it ended.
    pub reason: Reason,
    /// Nothing is left to match or to tell of it: packets without oddities need not be shown to its inspection.
    pub settled: bool,
    /// Its end changes nothing, as far as is known: it need not be flushed.
    pub rests: bool,
    /// Its packets are shown to no rule.
    pub uninspected: bool,
    /// By direction: of its datagrams nothing is heard but what these rules may find; as far as that is known.
    pub unheard: [Option<Unheard>; 2],
    /// Its transactions, as far as they were logged.
    pub transactions: u64,
    /// TCP.
    pub session: Option<Box<Session>>,
    /// Rules and application layer; `None` where there is nothing left to inspect.
    pub inspection: Option<Box<Inspection>>,
    /// What is known in place of that, as long as nothing was found in the flow.
    pub brief: Option<Brief>,
}

impl Flow {
    /// Whether a packet that comes from the key's low end goes to the server.
    #[inline]
    pub fn way(&self, from_low: bool) -> Direction {
        if from_low == self.low_initiates { Direction::Original } else { Direction::Reply }
    }

    /// The tuple of a packet that goes this way.
    pub fn tuple_of(&self, way: Direction) -> Tuple {
        match way {
            Direction::Original => self.tuple,
            Direction::Reply => reversed(&self.tuple),
        }
    }

    /// Initiator and responder change places: the flow was met the wrong way round.
    pub fn swap(&mut self) {
        self.tuple = reversed(&self.tuple);
        self.low_initiates = !self.low_initiates;
        self.facts.packets.reverse();
        self.facts.bytes.reverse();
        self.facts.stream_bytes.reverse();
        if let Some([source, destination]) = &mut self.macs {
            std::mem::swap(source, destination);
        }
    }

    /// A packet of a flow that is refused counts in what the flow tells of itself at its end.
    pub fn see_refused(&mut self, tcp: Option<&Tcp>, way: Direction) {
        match (&mut self.session, tcp) {
            (Some(session), Some(tcp)) => session.sides[way as usize].flags |= tcp.flags,
            (_, None) => self.settle_state(),
            (None, Some(_)) => {}
        }
    }

    /// Both sides have sent: it is established. TCP says so itself.
    #[inline]
    pub fn settle_state(&mut self) {
        if self.state == State::New && self.facts.packets.iter().all(|&n| n > 0) {
            self.state = State::Established;
        }
    }

    /// Counts a packet.
    #[inline]
    pub fn count(&mut self, way: Direction, bytes: usize, now: Instant) {
        let side = usize::from(way == Direction::Reply);
        if let (Some(packets), Some(total)) = (self.facts.packets.get_mut(side), self.facts.bytes.get_mut(side)) {
            *packets += 1;
            *total += bytes as u64;
        }
        self.last = self.last.max(now);
    }

    /// When it is over unless something comes.
    #[inline]
    pub fn deadline(&self, timeouts: &Timeouts) -> Instant {
        self.last.after(Duration::from_secs(timeouts.of(self.tuple.protocol, self.state)))
    }
}

/// The other way.
pub fn reversed(tuple: &Tuple) -> Tuple {
    match tuple.protocol {
        // What stands for ports of ICMP belongs to the message.
        1 | 58 => Tuple { source: tuple.destination, destination: tuple.source, ..*tuple },
        _ => Tuple {
            source: tuple.destination,
            destination: tuple.source,
            source_port: tuple.destination_port,
            destination_port: tuple.source_port,
            protocol: tuple.protocol,
        },
    }
}
