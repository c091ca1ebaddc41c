//! Stops 4 and 6 at once, for packets of settled flows: the flow is found, and its verdict stands.
//!
//! A flow is settled when it is allowed, nothing inspects it, and a packet like those before changes nothing but its
//! account ([`Flow::is_settled`](crate::flow::Flow::is_settled)); one direction of it is when inspection has seen of that
//! direction all that it wants. Such a packet passes here when it came in by the port
//! and goes to the port that the verdict was given for, under the policy that gave it, and, of TCP, when it lies in the
//! window of an established connection and opens or closes nothing. Whatever is not certain is left as it was, for the
//! long way: [`Engine::enter`] and [`Engine::inspect`], which would decide the same. The first packet of a flow is judged
//! here too ([`Engine::begin_flow`]), without being looked up once more, and so are packets that inspection reads, of flows
//! that would be settled otherwise ([`Engine::carry_read`]).

use weir_wire::numbers::{PROTOCOL_TCP, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};
use weir_wire::{DropReason, Instant, Packet, Pool, PortId, SwitchId};

use super::pass::{Passing, Refusal};
use super::policy::pair;
use super::{Cleared, Engine, Exits, Why};
use crate::flow::Flow;
use crate::flow::Memo;
use crate::flow::key::{self, Key};
use crate::flow::table::{Hint, IsTcp};
use crate::flow::tcp::Segment;
use crate::inspect::Direction;

/// The name of a packet's flow, and its way in it, computed once. Without one the packet goes the long way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowName {
    key: Key,
    hash: u64,
    /// 1 where the end that stands first sent it. A whole word, so that a copy is made of whole words.
    from_low: u64,
    /// Where [`Engine::fetch`] has found it.
    hint: Hint,
}

/// What [`Engine::carry`] made of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Carried {
    /// It has its leave.
    On,
    /// Its flow is not known: it may begin it.
    First,
    /// It is the first that the flow's responder sends, and would have its leave otherwise: [`Engine::carry_answer`] gives
    /// it.
    Answer,
    /// Inspection reads what goes this way, and nothing else is open: [`Engine::carry_read`] has it read.
    Read,
    /// Nothing is said about it: it takes the long way.
    Unsettled,
}

/// A flow that has just begun.
#[derive(Clone, Copy, Debug)]
pub struct Begun(u32);

/// The guard's leave for packets that follow each other, from [`Engine::carry`]; one for each.
#[derive(Debug, Default)]
#[must_use]
pub struct Leaves(usize);

impl Leaves {
    /// Packets that were given leave.
    #[inline]
    pub fn len(&self) -> usize {
        self.0
    }

    /// None was.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// Uses up all leaves for a burst of this many packets, if they are as many.
    #[inline]
    pub fn cover(&mut self, packets: usize) -> bool {
        let all = self.0 == packets;
        if all {
            self.0 = 0;
        }
        all
    }

    /// Takes back the leave that was given last: its packet ends after all.
    pub fn withdraw(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }

    /// The packets that the leaves were given for, in order.
    #[inline]
    pub fn clear(self, packets: impl Iterator<Item = Packet>) -> impl Iterator<Item = Cleared> {
        packets.take(self.0).map(Cleared)
    }
}

impl FlowName {
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// The hash; 0 where there is no name.
    #[inline]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn is_from_low(&self) -> bool {
        self.from_low != 0
    }

    /// Of a packet of which only the hash is known; with it the guard brings near what it will look up.
    pub fn of_hash(hash: u64) -> FlowName {
        FlowName { hash, ..FlowName::default() }
    }

    /// Where it stands, as far as that was found.
    #[inline]
    pub(super) fn hint(&self) -> Hint {
        self.hint
    }

    /// What [`Engine::fetch`] looks for.
    #[inline]
    pub(super) fn wanted(&mut self) -> (u64, IsTcp, &mut Hint) {
        let is_tcp = if self.key.is_tcp() { IsTcp::Yes } else { IsTcp::No };
        (self.hash, is_tcp, &mut self.hint)
    }
}

impl Engine {
    /// Computes the name and the hash of a packet that [`Packet::parse_common`] has parsed and whose VLAN is known. `name`
    /// must be empty, and stays so where the packet has no flow.
    #[inline]
    pub fn name(&self, packet: &mut Packet, switch: SwitchId, name: &mut FlowName) {
        let Some((key, from_low)) = key::common(packet, switch) else { return };
        let hash = self.table.hash(&key);
        packet.hash = hash;
        (name.key, name.hash, name.from_low) = (key, hash, u64::from(from_low));
    }

    /// Stops 4 and 6 for a packet of a settled flow that goes to `to`: adds its leave.
    #[inline]
    pub fn carry(
        &mut self,
        now: Instant,
        packet: &Packet,
        name: &FlowName,
        to: PortId,
        leaves: &mut Leaves,
    ) -> Carried {
        self.carry_if(now, packet, name, to, leaves, |_| true)
    }

    /// The same where `agrees` does, which is shown what the caller remembers of this direction of the flow.
    #[inline]
    pub fn carry_if(
        &mut self,
        now: Instant,
        packet: &Packet,
        name: &FlowName,
        to: PortId,
        leaves: &mut Leaves,
        agrees: impl FnOnce(&mut Memo) -> bool,
    ) -> Carried {
        if name.hash == 0 || packet.hash != name.hash {
            return Carried::Unsettled;
        }
        let found = self.table.find_at(&name.key, name.hint);
        let Some(slot) = found.or_else(|| self.table.find(&name.key, name.hash)) else {
            // Where rules mark packets, or handshakes are done in a guest's place, the first ones too take the way on which
            // that is done.
            return if self.marks || !self.proxies.is_idle() { Carried::Unsettled } else { Carried::First };
        };
        let epoch = self.policy.epoch();
        let flow = self.table.at_mut(slot);
        let direction = flow.direction(name.is_from_low());
        let asked = pair(direction, packet.port, to);
        if flow.epoch != epoch || flow.ports != asked {
            return Carried::Unsettled;
        }
        if !flow.settled.has(direction) {
            let plainly = self.proxies.is_idle() && self.holding.count() == 0;
            return if plainly && is_read(flow, packet, direction) { Carried::Read } else { Carried::Unsettled };
        }
        let way = direction as usize & 1;
        if !agrees(&mut flow.memos[way]) {
            return Carried::Unsettled;
        }
        // The first packet of the responder changes the flow's standing.
        if !flow.answered && direction == Direction::Reply {
            let is_plain = !flow.key.is_tcp() && flow.inspect.is_none();
            return if is_plain { Carried::Answer } else { Carried::Unsettled };
        }
        if packet.headers.protocol == PROTOCOL_TCP {
            let moved = Segment::of_settled(packet).is_some_and(|segment| flow.tcp.carry(direction, &segment));
            if !moved {
                return Carried::Unsettled;
            }
        }
        flow.last = now;
        flow.packets[way] += 1;
        flow.bytes[way] += packet.len() as u64;
        leaves.0 += 1;
        Carried::On
    }

    /// Stops 4 and 6 for a packet of which [`Engine::carry`] has just said that it is its flow's first answer: adds its leave.
    pub fn carry_answer(&mut self, now: Instant, packet: &Packet, name: &FlowName, leaves: &mut Leaves) -> bool {
        let found = self.table.find_at(&name.key, name.hint);
        let Some(slot) = found.or_else(|| self.table.find(&name.key, name.hash)) else { return false };
        let flow = self.table.at_mut(slot);
        let direction = flow.direction(name.is_from_low());
        flow.last = now;
        flow.packets[direction as usize & 1] += 1;
        flow.bytes[direction as usize & 1] += packet.len() as u64;
        self.moved_on(now, slot, direction);
        leaves.0 += 1;
        true
    }

    /// Whether inspection reads the packets of a flow that was fetched, as far as that can be seen; if so, reads of its state
    /// what will be needed, so that the cache misses of a burst overlap. Changes nothing.
    #[inline]
    pub fn touch_read(&self, name: &FlowName) -> bool {
        let Some(slot) = self.table.find_at(&name.key, name.hint) else { return false };
        let flow = self.table.at(slot);
        let direction = flow.direction(name.is_from_low());
        match &flow.inspect {
            Some(inspect) if !flow.settled.has(direction) => {
                std::hint::black_box(inspect.touch(direction));
                true
            }
            Some(_) | None => false,
        }
    }

    /// Stops 4 and 6 for a whole packet of which [`Engine::carry`] has just said that it is to be read, and that goes to
    /// `to`: has it inspected, and adds its leave. What this makes the guard send waits in [`Engine::originated`].
    ///
    /// # Errors
    /// Why the packet ends; it was told.
    pub fn carry_read(
        &mut self,
        now: Instant,
        packet: &Packet,
        (switch, name): (SwitchId, &FlowName),
        to: PortId,
        pool: &mut Pool,
        leaves: &mut Leaves,
    ) -> Result<(), Why> {
        self.mark = None;
        let mut p = Passing { now, packet, switch, exits: Exits::One(to), pool };
        let found = self.table.find_at(&name.key, name.hint);
        let fate = match found.or_else(|| self.table.find(&name.key, name.hash)) {
            Some(slot) => {
                let direction = self.table.at(slot).direction(name.is_from_low());
                self.known_flow(&mut p, slot, direction)
            }
            None => Err(Refusal::from(DropReason::FlowBlocked)),
        };
        match fate {
            Ok(()) => {
                leaves.0 += 1;
                Ok(())
            }
            Err(refusal) => {
                self.tell_refusal(&p, &refusal);
                Err(refusal.why)
            }
        }
    }

    /// What the caller remembers of a flow that has just begun, of the way that it began.
    #[inline]
    pub fn memo_of(&mut self, Begun(slot): Begun) -> &mut Memo {
        &mut self.table.at_mut(slot).memos[Direction::Original as usize & 1]
    }

    /// Stops 4 and 6 for packets that follow one which [`Engine::carry`] has just given its leave: of its flow, which is looked
    /// up once, and by the same ports, `from` and `to`. Adds the leaves of those in front that may go; returns how many they
    /// are, and their bytes.
    #[inline]
    pub fn carry_train<'a>(
        &mut self,
        now: Instant,
        packets: impl Iterator<Item = &'a Packet>,
        name: &FlowName,
        (from, to): (PortId, PortId),
        leaves: &mut Leaves,
    ) -> (u32, u64) {
        let Some(slot) = self.table.find_at(&name.key, name.hint) else { return (0, 0) };
        let epoch = self.policy.epoch();
        let flow = self.table.at_mut(slot);
        let direction = flow.direction(name.is_from_low());
        let heard = flow.answered || direction == Direction::Original;
        if !flow.settled.has(direction) || flow.epoch != epoch || flow.ports != pair(direction, from, to) || !heard {
            return (0, 0);
        }
        let (is_tcp, mut bytes, mut count) = (flow.key.is_tcp(), 0, 0);
        for packet in packets {
            if packet.hash != name.hash || packet.port != from {
                break;
            }
            if is_tcp {
                let moved = Segment::of_settled(packet).is_some_and(|segment| flow.tcp.carry(direction, &segment));
                if !moved {
                    break;
                }
            }
            bytes += packet.len() as u64;
            count += 1;
        }
        if count > 0 {
            let way = direction as usize & 1;
            flow.last = now;
            flow.packets[way] += u64::from(count);
            flow.bytes[way] += bytes;
            leaves.0 += count as usize;
        }
        (count, bytes)
    }

    /// Stops 4 and 6 for a whole packet that [`Engine::carry`] has just called the first of its flow and that goes to
    /// `to`: adds its leave. What this makes the guard send waits in [`Engine::originated`].
    ///
    /// # Errors
    /// Why the packet ends; it was told.
    pub fn begin_flow(
        &mut self,
        now: Instant,
        packet: &Packet,
        (switch, name): (SwitchId, &FlowName),
        to: PortId,
        pool: &mut Pool,
        leaves: &mut Leaves,
    ) -> Result<Begun, Why> {
        self.started.get_or_insert(now);
        self.mark = None;
        let mut p = Passing { now, packet, switch, exits: Exits::One(to), pool };
        match self.open(&mut p, name.key, name.is_from_low(), None) {
            Ok(slot) => {
                leaves.0 += 1;
                Ok(Begun(slot))
            }
            Err(refusal) => {
                self.tell_refusal(&p, &refusal);
                Err(refusal.why)
            }
        }
    }
}

/// Whether all that is open about a packet is what inspection will say of it: its flow stands, it opens and ends nothing, and
/// neither is a site waited for nor a file, for whose verdict it might have to wait.
fn is_read(flow: &Flow, packet: &Packet, direction: Direction) -> bool {
    let Some(inspect) = &flow.inspect else { return false };
    let plain = packet.headers.protocol != PROTOCOL_TCP
        || packet.headers.tcp_flags & (TCP_SYN | TCP_ACK | TCP_FIN | TCP_RST) == TCP_ACK;
    plain && (flow.answered || direction == Direction::Original) && flow.stands() && !inspect.is_watched()
}
