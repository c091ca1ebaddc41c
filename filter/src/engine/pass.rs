//! Stop 6: may this packet leave? First its flow's state, then the policy, then its content; only what passes all three
//! moves the flow on.

use weir_wire::build::set_dscp;
use weir_wire::checksum::verify_l4;
use weir_wire::numbers::{TCP_FIN, TCP_RST, TCP_SYN};
use weir_wire::{DropReason, Instant, Packet, Pool, PortId, SwitchId};

use super::policy::pair;
use super::{Cleared, Engine, Exits, Inspected, Place, Ticket, Wait, Why};
use crate::flow::key::{self, Belongs};
use crate::flow::tcp::{Advance, Phase, Segment, State, Tcp};
use crate::flow::{Flow, Ways};
use crate::inspect::Direction;
use crate::policy::{Decision, Dscp};
use crate::spec::Action;

/// A packet at stop 6.
pub(super) struct Passing<'p, 'e> {
    pub now: Instant,
    pub packet: &'p Packet,
    pub switch: SwitchId,
    pub exits: Exits<'e>,
    pub pool: &'p mut Pool,
}

/// Why a packet may not leave, and the flow that says so.
pub(super) struct Refusal {
    pub why: Why,
    pub slot: Option<u32>,
    /// It may not leave yet.
    pub wait: Option<Wait>,
}

impl Refusal {
    /// A refusal of a packet of this flow.
    pub fn of(slot: u32, reason: DropReason) -> Refusal {
        Refusal { why: Why::reason(reason), slot: Some(slot), wait: None }
    }
}

impl From<DropReason> for Refusal {
    fn from(reason: DropReason) -> Refusal {
        Refusal { why: Why::reason(reason), slot: None, wait: None }
    }
}

impl Engine {
    #[inline]
    pub(super) fn pass(
        &mut self,
        now: Instant,
        mut packet: Packet,
        ticket: Ticket,
        exits: Exits<'_>,
        pool: &mut Pool,
    ) -> Inspected {
        self.mark = None;
        if !self.proxies.is_idle() {
            return self.pass_spliced(now, packet, ticket, exits, pool);
        }
        let mut p = Passing { now, packet: &packet, switch: ticket.switch, exits, pool };
        match self.decide(&mut p, ticket.place) {
            Ok(()) => {
                // The first of what stop 7 rewrites, since the rule that wants it is at hand here.
                if let Some(dscp) = self.mark {
                    set_dscp(&mut packet, dscp);
                }
                Inspected::Forward(Cleared(packet))
            }
            Err(Refusal { wait: Some(wait), .. }) => Inspected::Wait(packet, wait),
            Err(refusal) => {
                self.tell_refusal(&p, &refusal);
                Inspected::Dropped(packet, refusal.why)
            }
        }
    }

    /// The same while there are connections whose ends count differently.
    fn pass_spliced(
        &mut self,
        now: Instant,
        mut packet: Packet,
        ticket: Ticket,
        exits: Exits<'_>,
        pool: &mut Pool,
    ) -> Inspected {
        self.splice_in(&ticket, &mut packet);
        let answers = self.replies.len();
        let mut p = Passing { now, packet: &packet, switch: ticket.switch, exits, pool };
        let decided = self.decide(&mut p, ticket.place);
        if let Err(refusal) = &decided
            && refusal.wait.is_none()
        {
            self.tell_refusal(&p, refusal);
        }
        if !matches!(&decided, Err(refusal) if refusal.why.reason == DropReason::SynProxied) {
            self.splice_answers(&ticket, answers);
        }
        match decided {
            Ok(()) => {
                self.splice_out(&ticket, &mut packet);
                if let Some(dscp) = self.mark {
                    set_dscp(&mut packet, dscp);
                }
                Inspected::Forward(Cleared(packet))
            }
            Err(Refusal { wait: Some(wait), .. }) => {
                self.splice_back(&ticket, &mut packet);
                Inspected::Wait(packet, wait)
            }
            Err(refusal) => Inspected::Dropped(packet, refusal.why),
        }
    }

    pub(super) fn tell_refusal(&mut self, p: &Passing<'_, '_>, refusal: &Refusal) {
        let to = p.exits.sole();
        match refusal.slot {
            _ if matches!(refusal.why.reason, DropReason::FlowBlocked | DropReason::SynProxied) => {}
            Some(slot) => self.teller.drop_of_flow(p.now, p.packet, self.table.at_mut(slot), to, &refusal.why),
            None => self.teller.drop_without_flow(p.now, p.packet, p.switch, to, &refusal.why),
        }
    }

    #[inline]
    fn decide(&mut self, p: &mut Passing<'_, '_>, place: Place) -> Result<(), Refusal> {
        match place {
            Place::Known { slot, generation, direction } if self.table.get(slot, generation).is_some() => {
                self.known(p, slot, direction)
            }
            // The flow is not known, or ended since the packet was entered.
            Place::Known { .. } | Place::New => self.looked_up(p),
            Place::Error { slot, generation, quoted } if self.table.get(slot, generation).is_some() => {
                self.error(p, slot, quoted)
            }
            Place::Error { .. } => Err(DropReason::IcmpUnrelated.into()),
            Place::Alone => self.alone(p),
        }
    }

    /// A packet whose flow is looked for once more: another packet may have opened it meanwhile.
    fn looked_up(&mut self, p: &mut Passing<'_, '_>) -> Result<(), Refusal> {
        let Belongs::Flow { key, from_low, opens } = key::belongs(p.packet, p.switch) else { return self.alone(p) };
        match self.look_up(&key, p.packet.hash, from_low) {
            Place::Known { slot, direction, .. } => self.known(p, slot, direction),
            _ if !opens => Err(DropReason::IcmpUnrelated.into()),
            _ => self.open(p, key, from_low, None).map(drop),
        }
    }

    /// A packet of a known flow.
    #[inline]
    fn known(&mut self, p: &mut Passing<'_, '_>, slot: u32, direction: Direction) -> Result<(), Refusal> {
        if !self.proxies.is_idle()
            && let Some(answer) = self.before_splice(p, slot, direction)
        {
            return answer;
        }
        self.known_flow(p, slot, direction)
    }

    /// The same where the flow's both ends know of each other.
    #[inline]
    pub(super) fn known_flow(
        &mut self,
        p: &mut Passing<'_, '_>,
        slot: u32,
        direction: Direction,
    ) -> Result<(), Refusal> {
        let flow = self.table.at(slot);
        if flow.blocked {
            return Err(if flow.shown_out {
                self.after_end(p, slot)
            } else {
                Refusal::of(slot, DropReason::FlowBlocked)
            });
        }
        let mut tcp = None;
        if flow.key.is_tcp() {
            match advance(flow, p.packet, direction).map_err(|reason| Refusal::of(slot, reason))? {
                Advance::To(next) => tcp = Some(next),
                Advance::Beside(next) => {
                    // It must leave no trace in the streams: what it says is not what the receiver will read.
                    self.permit(p, slot, direction)?;
                    self.move_on(p, slot, direction, Some(next));
                    return Ok(());
                }
                Advance::Reopen => return self.open_anew(p, slot, direction, None),
                Advance::Reaccept(next) => return self.open_anew(p, slot, direction, Some(next)),
            }
        } else if flow.inspect.is_some() && !verify_l4(p.packet) {
            return Err(Refusal::of(slot, DropReason::BadL4Checksum));
        }
        self.permit(p, slot, direction)?;
        if self.table.at(slot).inspect.is_some() {
            let established = match &tcp {
                Some(tcp) => tcp.is_established(),
                None => direction == Direction::Reply || self.table.at(slot).answered,
            };
            self.content(p, slot, direction, established)?;
        }
        self.move_on(p, slot, direction, tcp);
        Ok(())
    }

    /// The policy's word on a known flow: the verdict it has, where it is of this policy and for these ports.
    #[inline]
    fn permit(&mut self, p: &mut Passing<'_, '_>, slot: u32, direction: Direction) -> Result<(), Refusal> {
        let flow = self.table.at(slot);
        let judged = match p.exits {
            Exits::One(to) if flow.epoch == self.policy.epoch() && flow.ports == pair(direction, p.packet.port, to) => {
                if !flow.decision.refuses() {
                    return Ok(());
                }
                Err(flow.decision)
            }
            _ => self.permit_again(p, slot, direction),
        };
        judged.map_err(|decision| {
            if decision.action == Action::Reject {
                self.replies.refuse(p.now, p.packet, p.pool);
            }
            Refusal { why: decision.why(), slot: Some(slot), wait: None }
        })
    }

    /// Judges a known flow again; where that ends an established connection by a reject, its receiver is told here. The
    /// sender is told with each of its packets.
    fn permit_again(&mut self, p: &mut Passing<'_, '_>, slot: u32, direction: Direction) -> Result<(), Decision> {
        let before = self.table.at(slot);
        let (passed, tcp) = (!before.decision.refuses(), before.tcp);
        let judged = self.judge_again(p, slot, direction);
        let flow = self.table.at(slot);
        if judged.is_err() && passed && flow.decision.refuses() {
            if flow.decision.action == Action::Reject
                && flow.key.is_tcp()
                && tcp.is_established()
                && let Some(to) = p.exits.sole()
            {
                self.replies.reset_receiver(p.now, p.packet, to, tcp.reset_numbers(direction), p.pool);
            }
            let due = p.now.after(flow.idle(&self.policy.settings().timeouts));
            self.table.hasten(p.now, slot, due);
        }
        judged
    }

    /// Takes a packet that leaves into its flow's account.
    #[inline]
    pub(super) fn move_on(&mut self, p: &Passing<'_, '_>, slot: u32, direction: Direction, tcp: Option<Tcp>) {
        let flow = self.table.at_mut(slot);
        self.mark = flow.decision.dscp.map(Dscp::value);
        flow.last = p.now;
        let way = direction as usize;
        if let (Some(packets), Some(bytes)) = (flow.packets.get_mut(way), flow.bytes.get_mut(way)) {
            *packets += 1;
            *bytes += p.packet.len() as u64;
        }
        if let Some(tcp) = tcp {
            flow.tcp = tcp;
            if tcp.state() == State::TimeWait && flow.inspect.is_some() {
                self.close_inspection(p.now, slot);
            }
        }
        self.moved_on(p.now, slot, direction);
    }

    /// What becomes of a flow that a packet has gone through this way.
    #[inline]
    pub(super) fn moved_on(&mut self, now: Instant, slot: u32, direction: Direction) {
        let flow = self.table.at_mut(slot);
        let first_answer = direction == Direction::Reply && !flow.answered;
        flow.answered |= first_answer;
        if first_answer && !flow.half_open {
            self.suspect_heard(now, slot);
        }
        let flow = self.table.at_mut(slot);
        if flow.half_open && flow.tcp.phase() != Phase::Handshake {
            self.half_closed(slot);
            self.suspect_heard(now, slot);
        }
        let flow = self.table.at_mut(slot);
        let standing = flow.due_standing();
        if standing != flow.standing {
            let due = now.after(flow.idle(&self.policy.settings().timeouts));
            self.table.set_standing(slot, standing);
            self.table.hasten(now, slot, due);
        }
        let flow = self.table.at_mut(slot);
        flow.settle_ways();
        if !self.proxies.is_idle() && self.proxies.holds(slot) {
            self.table.at_mut(slot).settled = Ways::default();
        }
        let flow = self.table.at_mut(slot);
        if flow.tcp.is_partly_seen() && flow.tcp.phase() != Phase::Established {
            self.recall(slot);
        }
    }

    /// Tells both ends of a flow that a verdict ended it.
    pub(super) fn reset_both(&mut self, p: &mut Passing<'_, '_>, slot: u32, direction: Direction) {
        self.replies.refuse(p.now, p.packet, p.pool);
        self.reset_other(p, slot, direction);
    }

    /// Tells the end that a packet goes to that a verdict ended the flow.
    pub(super) fn reset_other(&mut self, p: &mut Passing<'_, '_>, slot: u32, direction: Direction) {
        let flow = self.table.at(slot);
        let [initiator, responder] = flow.ports;
        let known: PortId = if direction == Direction::Original { responder } else { initiator };
        let to = p.exits.sole().or((known != crate::flow::UNKNOWN_PORT).then_some(known));
        if let Some(to) = to.filter(|_| flow.key.is_tcp() && flow.tcp.is_established()) {
            let numbers = flow.tcp.reset_numbers(direction);
            self.replies.reset_receiver(p.now, p.packet, to, numbers, p.pool);
        }
    }
}

/// What a segment does to its flow's connection. Its checksum is looked at first where the segment changes the state,
/// or where its content will be inspected: what the receiver ignores must not move us.
#[inline]
fn advance(flow: &Flow, packet: &Packet, direction: Direction) -> Result<Advance, DropReason> {
    let segment = Segment::of(packet).ok_or(DropReason::TcpState)?;
    let is_read = flow.inspect.is_some() && !flow.settled.has(direction);
    let matters = segment.flags & (TCP_SYN | TCP_FIN | TCP_RST) != 0 || is_read;
    if matters && !verify_l4(packet) {
        return Err(DropReason::BadL4Checksum);
    }
    flow.tcp.advance(direction, &segment)
}
