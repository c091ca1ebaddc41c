//! Stop 6: may this packet leave? First its flow's state, then the policy, then its content; only what passes all three
//! moves the flow on.

use weir_wire::checksum::verify_l4;
use weir_wire::numbers::{TCP_FIN, TCP_RST, TCP_SYN};
use weir_wire::{DropReason, Instant, Packet, Pool, SwitchId};

use super::policy::{pair, ports_after};
use super::{Cleared, Engine, Exits, Inspected, Place, Ticket, Why};
use crate::flow::Flow;
use crate::flow::key::{self, Belongs, Key};
use crate::flow::tcp::{Advance, Segment, Tcp};
use crate::inspect::Direction;
use crate::policy::{Decision, Subject};
use crate::spec::Action;

/// Why a packet may not leave, and the flow that says so.
pub(super) struct Refusal {
    pub why: Why,
    pub slot: Option<u32>,
}

impl From<DropReason> for Refusal {
    fn from(reason: DropReason) -> Refusal {
        Refusal { why: Why::reason(reason), slot: None }
    }
}

/// A packet of no known flow, and what it opens.
struct Opening {
    key: Key,
    from_low: bool,
    switch: SwitchId,
    /// A connection whose SYN went before; this packet accepts it.
    accepts: Option<Tcp>,
}

impl Engine {
    #[inline]
    pub(super) fn pass(
        &mut self,
        now: Instant,
        packet: Packet,
        ticket: Ticket,
        mut exits: Exits<'_>,
        pool: &mut Pool,
    ) -> Inspected {
        match self.decide(now, &packet, ticket, &mut exits, pool) {
            Ok(()) => Inspected::Forward(Cleared(packet)),
            Err(refusal) => {
                self.tell_refusal(now, &packet, ticket.switch, &exits, &refusal);
                Inspected::Dropped(packet, refusal.why)
            }
        }
    }

    fn tell_refusal(&mut self, now: Instant, packet: &Packet, switch: SwitchId, exits: &Exits<'_>, refusal: &Refusal) {
        match refusal.slot {
            _ if refusal.why.reason == DropReason::FlowBlocked => {}
            Some(slot) => {
                let flow = self.table.at_mut(slot);
                self.teller.drop_of_flow(now, packet, flow, exits.sole(), &refusal.why);
            }
            None => self.teller.drop_without_flow(now, packet, switch, exits.sole(), &refusal.why),
        }
    }

    #[inline]
    fn decide(
        &mut self,
        now: Instant,
        packet: &Packet,
        ticket: Ticket,
        exits: &mut Exits<'_>,
        pool: &mut Pool,
    ) -> Result<(), Refusal> {
        match ticket.place {
            Place::Known { slot, generation, direction } if self.table.get(slot, generation).is_some() => {
                self.known(now, packet, slot, direction, exits, pool)
            }
            // The flow is not known, or ended since the packet was entered.
            Place::Known { .. } | Place::New => self.looked_up(now, packet, ticket.switch, exits, pool),
            Place::Error { slot, generation, quoted } if self.table.get(slot, generation).is_some() => {
                self.error(now, packet, slot, quoted, exits)
            }
            Place::Error { .. } => Err(DropReason::IcmpUnrelated.into()),
            Place::Alone => self.alone(now, packet, ticket.switch, exits, pool),
        }
    }

    fn looked_up(
        &mut self,
        now: Instant,
        packet: &Packet,
        switch: SwitchId,
        exits: &mut Exits<'_>,
        pool: &mut Pool,
    ) -> Result<(), Refusal> {
        let Belongs::Flow { key, from_low, opens } = key::belongs(packet, switch) else {
            return self.alone(now, packet, switch, exits, pool);
        };
        match self.look_up(&key, packet.hash, from_low) {
            Place::Known { slot, direction, .. } => self.known(now, packet, slot, direction, exits, pool),
            _ if !opens => Err(DropReason::IcmpUnrelated.into()),
            _ => self.open(now, packet, Opening { key, from_low, switch, accepts: None }, exits, pool),
        }
    }

    /// A packet of a known flow.
    #[inline]
    fn known(
        &mut self,
        now: Instant,
        packet: &Packet,
        slot: u32,
        direction: Direction,
        exits: &mut Exits<'_>,
        pool: &mut Pool,
    ) -> Result<(), Refusal> {
        let refused = |reason| Refusal { why: Why::reason(reason), slot: Some(slot) };
        let flow = self.table.at(slot);
        if flow.blocked {
            return Err(refused(DropReason::FlowBlocked));
        }
        let mut tcp = None;
        if flow.key.is_tcp() {
            match advance(flow, packet, direction).map_err(refused)? {
                Advance::To(next) => tcp = Some(next),
                Advance::Reopen => return self.open_anew(now, packet, slot, direction, None, exits, pool),
                Advance::Reaccept(next) => {
                    return self.open_anew(now, packet, slot, direction, Some(next), exits, pool);
                }
            }
        } else if flow.inspect.is_some() && !verify_l4(packet) {
            return Err(refused(DropReason::BadL4Checksum));
        }
        self.permit(now, packet, slot, direction, exits, pool)?;
        let established = match &tcp {
            Some(tcp) => tcp.is_established(),
            None => direction == Direction::Reply || self.table.at(slot).answered,
        };
        if self.table.at(slot).inspect.is_some() {
            self.content(now, packet, slot, (direction, established), exits, pool)?;
        }
        self.move_on(now, packet, slot, direction, tcp);
        Ok(())
    }

    /// The policy's word on a known flow: the verdict it has, where it is of this policy and for these ports.
    #[inline]
    fn permit(
        &mut self,
        now: Instant,
        packet: &Packet,
        slot: u32,
        direction: Direction,
        exits: &mut Exits<'_>,
        pool: &mut Pool,
    ) -> Result<(), Refusal> {
        let flow = self.table.at(slot);
        let judged =
            match exits {
                Exits::One(to)
                    if flow.epoch == self.policy.epoch() && flow.ports == pair(direction, packet.port, *to) =>
                {
                    if flow.decision.refuses() { Err(flow.decision) } else { return Ok(()) }
                }
                _ => {
                    let (was_refused, tcp) = (flow.decision.refuses(), flow.tcp);
                    let judged = self.judge_again(now, packet, slot, direction, exits);
                    if matches!(judged, Err(Decision { action: Action::Reject, .. }))
                        && !was_refused
                        && tcp.is_established()
                    {
                        // The connection ends for both: the sender is told below, the receiver here.
                        let numbers = tcp.reset_numbers(direction);
                        if let Some(to) = exits.sole().filter(|_| self.table.at(slot).decision.refuses()) {
                            self.replies.reset_receiver(now, packet, to, numbers, pool);
                        }
                    }
                    judged
                }
            };
        judged.map_err(|decision| {
            if decision.action == Action::Reject {
                self.replies.refuse(now, packet, pool);
            }
            let due = now.after(self.table.at(slot).idle(&self.policy.settings().timeouts));
            self.table.hasten(now, slot, due);
            Refusal { why: decision.why(), slot: Some(slot) }
        })
    }

    /// Takes a packet that leaves into its flow's account.
    #[inline]
    fn move_on(&mut self, now: Instant, packet: &Packet, slot: u32, direction: Direction, tcp: Option<Tcp>) {
        let flow = self.table.at_mut(slot);
        flow.last = now;
        let way = direction as usize;
        if let (Some(packets), Some(bytes)) = (flow.packets.get_mut(way), flow.bytes.get_mut(way)) {
            *packets += 1;
            *bytes += packet.len() as u64;
        }
        if let Some(tcp) = tcp {
            flow.tcp = tcp;
        }
        flow.answered |= direction == Direction::Reply;
        let standing = flow.due_standing();
        if standing != flow.standing {
            let due = now.after(flow.idle(&self.policy.settings().timeouts));
            self.table.set_standing(slot, standing);
            self.table.hasten(now, slot, due);
        }
    }

    /// Another connection between the ends of an old one.
    #[cold]
    #[expect(clippy::too_many_arguments, reason = "what one packet is made of; it has one caller")]
    fn open_anew(
        &mut self,
        now: Instant,
        packet: &Packet,
        slot: u32,
        direction: Direction,
        accepts: Option<Tcp>,
        exits: &mut Exits<'_>,
        pool: &mut Pool,
    ) -> Result<(), Refusal> {
        let Flow { key, initiator_is_low, .. } = *self.table.at(slot);
        let from_low = initiator_is_low == (direction == Direction::Original);
        self.end(slot, "closed");
        self.open(now, packet, Opening { key, from_low, switch: key.switch(), accepts }, exits, pool)
    }

    /// The first packet of a flow.
    #[inline(never)]
    fn open(
        &mut self,
        now: Instant,
        packet: &Packet,
        opening: Opening,
        exits: &mut Exits<'_>,
        pool: &mut Pool,
    ) -> Result<(), Refusal> {
        let Opening { key, from_low, switch, accepts } = opening;
        let (tcp, directions) = self.first_state(now, packet, &key, accepts)?;
        let mut judged = Err(Decision::default());
        let mut way = Direction::Original;
        for &direction in directions {
            let initiator_is_low = from_low == (direction == Direction::Original);
            let subject = Subject::of_flow(packet, switch, key.tuple(initiator_is_low), direction);
            let answer = self.judge(subject, direction, exits);
            if answer.is_ok() || judged == Err(Decision::default()) {
                (judged, way) = (answer, direction);
            }
            if judged.is_ok() {
                break;
            }
        }
        let (Ok(decision) | Err(decision)) = judged;
        self.count(now, decision.rule);
        if judged.is_err() {
            if decision.action == Action::Reject {
                self.replies.refuse(now, packet, pool);
            }
            return Err(Refusal { why: decision.why(), slot: None });
        }
        let tcp = match (tcp, Segment::of(packet)) {
            (Some(tcp), _) => tcp,
            (None, Some(segment)) if key.is_tcp() => Tcp::pick_up(way, &segment)?,
            (None, _) => Tcp::default(),
        };
        let flow = Flow {
            key,
            tcp,
            decision,
            initiator_is_low: from_low == (way == Direction::Original),
            midstream: directions.len() > 1,
            owner: packet.port,
            ports: ports_after([crate::flow::UNKNOWN_PORT; 2], way, packet.port, exits),
            epoch: self.policy.epoch(),
            start: now,
            last: now,
            ..Flow::default()
        };
        let slot = self.admit(now, flow)?;
        self.inspect_with(slot, decision);
        if decision.log {
            let number = self.table.at(slot).number;
            self.teller.allow(now, packet, switch, exits.sole(), number, decision.rule);
        }
        if self.table.at(slot).inspect.is_some() {
            if !verify_l4(packet) {
                return Err(Refusal { why: Why::reason(DropReason::BadL4Checksum), slot: Some(slot) });
            }
            self.content(now, packet, slot, (way, directions.len() > 1), exits, pool)?;
        }
        self.move_on(now, packet, slot, way, None);
        Ok(())
    }

    /// The connection that a first packet opens, and the ways it may be going: both, the likelier first, where the
    /// flow's start was not seen and the connection has yet to be picked up.
    fn first_state(
        &self,
        now: Instant,
        packet: &Packet,
        key: &Key,
        accepts: Option<Tcp>,
    ) -> Result<(Option<Tcp>, &'static [Direction]), DropReason> {
        use Direction::{Original, Reply};
        if accepts.is_some() {
            return Ok((accepts, &[Reply]));
        }
        if !key.is_tcp() {
            return Ok((Some(Tcp::default()), &[Original]));
        }
        let segment = Segment::of(packet).ok_or(DropReason::TcpState)?;
        if segment.flags & (TCP_SYN | TCP_FIN | TCP_RST) != 0 && !verify_l4(packet) {
            return Err(DropReason::BadL4Checksum);
        }
        if segment.is_open() {
            return Ok((Some(Tcp::open(&segment)), &[Original]));
        }
        let grace = self.policy.settings().midstream_grace;
        if now.since(self.started.unwrap_or(now)) >= grace {
            return Err(DropReason::TcpMidstream);
        }
        Tcp::pick_up(Original, &segment)?;
        // Servers have the lower port, as a rule.
        let from_server = packet.ports().is_some_and(|(source, destination)| source < destination);
        Ok((None, if from_server { &[Reply, Original] } else { &[Original, Reply] }))
    }

    /// An ICMP error about a packet that went the way `quoted` in a known flow: it goes the other way. It may come from
    /// a router that is not the flow's end, so its port is judged, but nothing of it is kept.
    fn error(
        &mut self,
        now: Instant,
        packet: &Packet,
        slot: u32,
        quoted: Direction,
        exits: &mut Exits<'_>,
    ) -> Result<(), Refusal> {
        let refused = |reason| Refusal { why: Why::reason(reason), slot: Some(slot) };
        let flow = self.table.at(slot);
        if flow.blocked {
            return Err(refused(DropReason::FlowBlocked));
        }
        let switch = flow.key.switch();
        if let Belongs::Error { seq: Some(seq), .. } = key::belongs(packet, switch)
            && !flow.tcp.can_be_quoted(quoted, seq)
        {
            return Err(refused(DropReason::IcmpUnrelated));
        }
        if !verify_l4(packet) {
            return Err(refused(DropReason::BadL4Checksum));
        }
        let direction = quoted.reversed();
        let subject = Subject::of_flow(packet, switch, flow.key.tuple(flow.initiator_is_low), direction);
        let (ports, current) = (flow.ports, (flow.epoch == self.policy.epoch()).then_some(flow.decision));
        let policy = &self.policy;
        let judged = exits.choose(|to| {
            let pair = pair(direction, packet.port, to);
            match current {
                Some(decision) if pair == ports => decision,
                _ => policy.judge(&subject.between(pair)),
            }
        });
        match judged {
            Ok(decision) => self.content_alone(now, packet, switch, decision, exits),
            Err(decision) => Err(Refusal { why: decision.why(), slot: Some(slot) }),
        }
    }

    /// A packet without a flow: the rules alone judge it.
    fn alone(
        &mut self,
        now: Instant,
        packet: &Packet,
        switch: SwitchId,
        exits: &mut Exits<'_>,
        pool: &mut Pool,
    ) -> Result<(), Refusal> {
        match self.judge_alone(now, packet, switch, exits) {
            Ok(decision) => {
                if decision.log {
                    self.teller.allow(now, packet, switch, exits.sole(), 0, decision.rule);
                }
                self.content_alone(now, packet, switch, decision, exits)
            }
            Err(decision) => {
                if decision.action == Action::Reject {
                    self.replies.refuse(now, packet, pool);
                }
                Err(Refusal { why: decision.why(), slot: None })
            }
        }
    }
}

/// What a segment does to its flow's connection. Its checksum is looked at first where the segment changes the state,
/// or where its content will be inspected: what the receiver ignores must not move us.
#[inline]
fn advance(flow: &Flow, packet: &Packet, direction: Direction) -> Result<Advance, DropReason> {
    let segment = Segment::of(packet).ok_or(DropReason::TcpState)?;
    let matters = segment.flags & (TCP_SYN | TCP_FIN | TCP_RST) != 0 || flow.inspect.is_some();
    if matters && !verify_l4(packet) {
        return Err(DropReason::BadL4Checksum);
    }
    flow.tcp.advance(direction, &segment)
}
