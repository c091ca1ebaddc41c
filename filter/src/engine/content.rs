//! The content's part of stop 6: hands packets to inspection and acts on what it found.

use weir_wire::{DropReason, Instant, Packet, Pool, PortId, SwitchId};

use super::pass::Refusal;
use super::{Engine, Exits, Why};
use crate::flow::Standing;
use crate::inspect::{Direction, FlowInspect, Judgement, Seen};
use crate::policy::{Decision, Subject};
use crate::spec::OnFailure;

impl Engine {
    /// Inspects a packet of a flow that has something to match.
    pub(super) fn content(
        &mut self,
        now: Instant,
        packet: &Packet,
        slot: u32,
        (direction, established): (Direction, bool),
        exits: &Exits<'_>,
        pool: &mut Pool,
    ) -> Result<(), Refusal> {
        let settings = self.policy.settings();
        let (depth, on_limit) = (settings.stream_depth, settings.on_stream_limit);
        let flow = self.table.at_mut(slot);
        let Some(inspect) = flow.inspect.as_mut() else { return Ok(()) };
        self.findings.matched.clear();
        (self.findings.judgement, self.findings.settled) = (Judgement::Pass, false);
        inspect.inspect(Seen { now, direction, established, depth }, packet, &mut self.memory, &mut self.findings);
        let (switch, number) = (flow.key.switch(), flow.number);
        flow.alerted |= !self.findings.matched.is_empty();
        for signature in &self.findings.matched {
            self.teller.alert(now, packet, switch, exits.sole(), number, signature);
        }
        let reason = match self.findings.judgement {
            Judgement::Pass => {
                if self.findings.settled {
                    self.settle(slot);
                }
                return Ok(());
            }
            Judgement::Limit if on_limit == OnFailure::Open => {
                let why = Why::reason(DropReason::StreamLimit);
                self.teller.drop_of_flow(now, packet, self.table.at_mut(slot), exits.sole(), &why);
                self.settle(slot);
                return Ok(());
            }
            Judgement::Limit => DropReason::StreamLimit,
            Judgement::Conflict => DropReason::StreamConflict,
            Judgement::Drop => DropReason::Inspection,
            Judgement::Reject => {
                self.reset_both(now, packet, slot, direction, exits.sole(), pool);
                DropReason::Inspection
            }
        };
        let signature = match reason {
            DropReason::Inspection => {
                self.block(now, slot);
                self.findings.matched.first().cloned()
            }
            _ => None,
        };
        Err(Refusal { why: Why { reason, rule: None, signature }, slot: Some(slot) })
    }

    /// Inspects a packet that no flow remembers: an ICMP error, neighbour discovery, group membership. Its inspection
    /// begins and ends with it.
    pub(super) fn content_alone(
        &mut self,
        now: Instant,
        packet: &Packet,
        switch: SwitchId,
        decision: Decision,
        exits: &Exits<'_>,
    ) -> Result<(), Refusal> {
        let Some(program) = self.program(decision) else { return Ok(()) };
        let Some(tuple) = Subject::tuple_of(packet) else { return Ok(()) };
        let Some(mut inspect) = FlowInspect::new(&program, &tuple, false) else { return Ok(()) };
        self.findings.matched.clear();
        (self.findings.judgement, self.findings.settled) = (Judgement::Pass, false);
        let depth = self.policy.settings().stream_depth;
        let seen = Seen { now, direction: Direction::Original, established: false, depth };
        inspect.inspect(seen, packet, &mut self.memory, &mut self.findings);
        inspect.release(&mut self.memory);
        for signature in &self.findings.matched {
            self.teller.alert(now, packet, switch, exits.sole(), 0, signature);
        }
        match self.findings.judgement {
            Judgement::Pass => Ok(()),
            Judgement::Conflict => Err(DropReason::StreamConflict.into()),
            Judgement::Limit => Err(DropReason::StreamLimit.into()),
            Judgement::Drop | Judgement::Reject => {
                let signature = self.findings.matched.first().cloned();
                Err(Refusal { why: Why { reason: DropReason::Inspection, rule: None, signature }, slot: None })
            }
        }
    }

    /// Gives a flow's inspection up: nothing is left to match.
    fn settle(&mut self, slot: u32) {
        if let Some(mut inspect) = self.table.at_mut(slot).inspect.take() {
            inspect.release(&mut self.memory);
        }
    }

    /// Ends a flow by a verdict: its packets are dropped until it is forgotten.
    pub(super) fn block(&mut self, now: Instant, slot: u32) {
        self.settle(slot);
        let flow = self.table.at_mut(slot);
        flow.blocked = true;
        flow.last = now;
        let due = now.after(self.policy.settings().timeouts.blocked);
        self.table.set_standing(slot, Standing::Ending);
        self.table.hasten(now, slot, due);
    }

    /// Tells both ends of a flow that it is over.
    fn reset_both(
        &mut self,
        now: Instant,
        packet: &Packet,
        slot: u32,
        direction: Direction,
        to: Option<PortId>,
        pool: &mut Pool,
    ) {
        self.replies.refuse(now, packet, pool);
        let flow = self.table.at(slot);
        let [initiator, responder] = flow.ports;
        let known = if direction == Direction::Original { responder } else { initiator };
        let to = to.or((known != crate::flow::UNKNOWN_PORT).then_some(known));
        if let Some(to) = to.filter(|_| flow.key.is_tcp() && flow.tcp.is_established()) {
            let numbers = flow.tcp.reset_numbers(direction);
            self.replies.reset_receiver(now, packet, to, numbers, pool);
        }
    }
}
