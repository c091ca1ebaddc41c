//! Flows: what names them, what is remembered of them, and when they are forgotten.

pub mod expire;
pub mod index;
pub mod key;
pub mod list;
mod quoted;
pub mod table;
pub mod tcp;

use std::time::Duration;

use weir_wire::{DropReason, Epoch, Instant, PortId};

use crate::event::{FlowRecord, Inspection};
use crate::inspect::{Direction, FlowInspect};
use crate::policy::Decision;
use crate::spec::Timeouts;
use key::Key;
use tcp::{Phase, Tcp};

/// A port that is not known yet.
pub const UNKNOWN_PORT: PortId = PortId(u16::MAX);

/// How dear a flow is when room is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has answered: the first to go.
    #[default]
    Unanswered,
    /// It is about to end, or was ended by a verdict.
    Ending,
    /// Both sides have sent.
    Answered,
}

/// Some of a flow's two directions, in one byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways(u8);

impl Ways {
    /// The initiator's and the responder's.
    pub fn of(ways: [bool; 2]) -> Ways {
        Ways(u8::from(ways[0]) | u8::from(ways[1]) << 1)
    }

    /// Whether it is among them.
    #[inline]
    pub fn has(self, direction: Direction) -> bool {
        self.0 >> (direction as usize & 1) & 1 != 0
    }
}

/// What whoever moves a flow's packets remembers of one direction; it means nothing here, and is forgotten with the flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memo {
    /// What is remembered; 0 for nothing.
    pub what: u32,
    /// What shows whether it still holds.
    pub as_of: u32,
}

/// What is remembered of a flow: four cache lines. A packet of a settled flow needs the first two, and the third where
/// it is TCP. The first two stand in one pair of lines, which processors fetch together.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Flow {
    /// Its name.
    pub key: Key,
    /// The policy that gave the verdict.
    pub epoch: Epoch,
    /// The initiator's port and the responder's, as the verdict was given for.
    pub ports: [PortId; 2],
    /// Tells this flow from others that stood in the same place of the table.
    pub generation: u32,
    /// The port that opened it, for its share of the table.
    pub owner: PortId,
    /// Packets of initiator and responder that pass without a question while epoch and ports stay: see
    /// [`Flow::settle_ways`].
    pub settled: Ways,
    /// The first end of the key is the initiator.
    pub initiator_is_low: bool,
    /// A verdict has ended it: nothing passes any more.
    pub blocked: bool,
    /// The responder has sent something.
    pub answered: bool,
    /// Its start was not seen.
    pub midstream: bool,
    /// How dear it is.
    pub standing: Standing,

    /// Packets from initiator and responder.
    pub packets: [u64; 2],
    /// Bytes from initiator and responder.
    pub bytes: [u64; 2],
    /// Time of the last packet.
    pub last: Instant,
    /// Its inspection, while there is something to match.
    pub inspect: Option<Box<FlowInspect>>,
    /// What the caller remembers of the packets of initiator and responder.
    pub memos: [Memo; 2],

    /// The connection, of TCP.
    pub tcp: Tcp,

    /// Its number in the engine's life; 0 where this place of the table is free.
    pub number: u64,
    /// Time of the first packet.
    pub start: Instant,
    /// Drop reasons that were told already, as bits of their numbers.
    pub(crate) told: u64,
    /// The verdict.
    pub decision: Decision,
    /// The engine's number of the rule set that inspects it.
    pub program: u32,
    /// Where its packets from initiator and responder pass unseen: a place of the caller's, plus one.
    pub(crate) away: [u32; 2],
    /// An inspection rule has fired on it.
    pub alerted: bool,
    /// Its end was told already.
    pub recorded: bool,
    /// What it speaks, where inspection found out.
    pub app: Option<weir_ids_rules::AppProtocol>,
    /// It was ended by an answer to its initiator, who will close its side.
    pub shown_out: bool,
    /// It is counted as a connection that waits half-open.
    pub(crate) half_open: bool,
}

impl Flow {
    /// The way of a packet that the first end of the key sent, or the second.
    #[inline]
    pub fn direction(&self, from_low: bool) -> Direction {
        if from_low == self.initiator_is_low { Direction::Original } else { Direction::Reply }
    }

    /// How long it may be silent.
    pub fn idle(&self, timeouts: &Timeouts) -> Duration {
        if self.blocked || self.decision.refuses() {
            return timeouts.blocked;
        }
        idle(&self.key, || self.tcp.phase(), self.answered, timeouts)
    }

    /// How dear it is by its state.
    pub fn due_standing(&self) -> Standing {
        if self.blocked || (self.key.is_tcp() && self.tcp.phase() == Phase::Closing) {
            Standing::Ending
        } else if self.answered && (!self.key.is_tcp() || self.tcp.is_established()) {
            Standing::Answered
        } else {
            Standing::Unanswered
        }
    }

    /// Nothing about it is open but what each packet says itself: it is allowed, nothing inspects or marks it, and it
    /// stands as its state wants. A packet that changes none of that passes by its ports and epoch alone.
    pub fn is_settled(&self) -> bool {
        self.inspect.is_none() && self.stands()
    }

    /// Finds out which directions are settled: both where the flow is, or one of which inspection has seen all it wants.
    #[inline]
    pub fn settle_ways(&mut self) {
        let stands = self.stands();
        self.settled = match &self.inspect {
            _ if !stands => Ways::default(),
            None => Ways::of([true; 2]),
            Some(inspect) => Ways::of(inspect.is_through()),
        };
    }

    /// It is allowed, its packets are not marked, and it stands as its state wants.
    pub fn stands(&self) -> bool {
        // Packets are marked one by one where the rule says so.
        let changes = self.decision.dscp.is_some();
        !self.blocked && !self.decision.refuses() && !changes && self.standing == self.due_standing()
    }

    /// Both sides have sent, and of TCP the handshake is complete.
    pub fn is_established(&self) -> bool {
        if self.key.is_tcp() { self.tcp.is_established() } else { self.answered }
    }

    /// Notes that drops for this reason were told; answers whether they had been told before.
    pub fn tell_once(&mut self, reason: DropReason) -> bool {
        // There are more reasons than bits. Those that share one are of arrival and of what becomes of flows: one flow
        // seldom meets both, and where it does is told less, not more.
        let bit = 1u64 << (reason as u8 % 64);
        let told = self.told & bit != 0;
        self.told |= bit;
        told
    }

    /// Its record as of now.
    pub fn record(&self, reason: &'static str) -> FlowRecord {
        let known = |port: PortId| (port != UNKNOWN_PORT).then_some(port);
        FlowRecord {
            flow: self.number,
            switch: self.key.switch(),
            vid: self.key.vid(),
            tuple: self.key.tuple(self.initiator_is_low),
            in_port: known(self.ports[0]).unwrap_or(self.owner),
            out_port: known(self.ports[1]),
            start: self.start,
            last: self.last,
            packets: self.packets,
            bytes: self.bytes,
            state: self.state(),
            reason,
            rule: self.decision.rule,
            epoch: self.epoch,
            alerted: self.alerted,
            app: self.app,
            away: self.away != [0, 0],
            inspection: match (&self.inspect, self.program) {
                (Some(_), _) => Inspection::Inspected,
                (None, _) if self.decision.is_trusted() => Inspection::Trusted,
                (None, 0) => Inspection::No,
                (None, _) => Inspection::Settled,
            },
        }
    }

    /// Where it stands, in one word.
    pub fn state(&self) -> &'static str {
        if self.blocked || self.decision.refuses() {
            "blocked"
        } else if self.key.is_tcp() && self.tcp.phase() == Phase::Closing {
            "closed"
        } else if self.is_established() {
            "established"
        } else {
            "new"
        }
    }
}

/// How long a flow that is allowed may be silent; `phase` is that of its connection.
#[inline]
pub(crate) fn idle(key: &Key, phase: impl FnOnce() -> Phase, answered: bool, timeouts: &Timeouts) -> Duration {
    match key.protocol() {
        _ if key.is_tcp() => match phase() {
            Phase::Handshake => timeouts.tcp_handshake,
            Phase::Established if answered => timeouts.tcp_established,
            // Picked up in its midst, and only one side has been heard: anybody can make that up.
            Phase::Established => timeouts.tcp_handshake,
            Phase::Closing => timeouts.tcp_closing,
        },
        weir_wire::numbers::PROTOCOL_UDP if answered => timeouts.udp_stream,
        weir_wire::numbers::PROTOCOL_UDP => timeouts.udp_single,
        weir_wire::numbers::PROTOCOL_ICMP | weir_wire::numbers::PROTOCOL_ICMPV6 => timeouts.icmp,
        _ => timeouts.other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_reason_is_told_twice_and_those_of_flows_do_not_hide_each_other() {
        let mut flow = Flow::default();
        for &reason in DropReason::ALL {
            flow.tell_once(reason);
            assert!(flow.tell_once(reason), "{reason:?} was told");
        }
        let mut flow = Flow::default();
        for &reason in DropReason::ALL.iter().filter(|&&reason| reason >= DropReason::FlowTableFull) {
            assert!(!flow.tell_once(reason), "{reason:?} was not told before");
        }
    }

    #[test]
    fn a_flow_takes_four_cache_lines() {
        assert_eq!(std::mem::size_of::<Flow>(), 256);
        assert_eq!(std::mem::offset_of!(Flow, packets), 64);
        assert_eq!(std::mem::offset_of!(Flow, tcp), 128);
        assert_eq!(std::mem::offset_of!(Flow, number), 192);
    }
}
