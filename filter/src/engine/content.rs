//! The content's part of stop 6: hands packets to inspection and acts on what it found.

use weir_wire::{DropReason, Instant};

use super::pass::{Passing, Refusal};
use super::{Engine, Why};
use crate::flow::Standing;
use crate::inspect::{Direction, FlowInspect, Judgement, Seen};
use crate::policy::{Decision, Subject};
use crate::spec::OnFailure;

impl Engine {
    /// Inspects a packet of a flow that has something to match. `established`: both sides have spoken, this packet
    /// included.
    pub(super) fn content(
        &mut self,
        p: &mut Passing<'_, '_>,
        slot: u32,
        direction: Direction,
        established: bool,
    ) -> Result<(), Refusal> {
        let settings = self.policy.settings();
        let (depth, on_limit) = (settings.stream_depth, settings.on_stream_limit);
        let flow = self.table.at_mut(slot);
        let Some(inspect) = flow.inspect.as_mut() else { return Ok(()) };
        self.findings.matched.clear();
        (self.findings.judgement, self.findings.settled) = (Judgement::Pass, false);
        let seen = Seen { now: p.now, direction, established, depth };
        inspect.inspect(seen, p.packet, &mut self.memory, &mut self.findings);
        flow.alerted |= !self.findings.matched.is_empty();
        let number = flow.number;
        self.tell_alerts(p, number);
        let reason = match self.findings.judgement {
            Judgement::Pass => {
                if self.findings.settled {
                    self.settle(slot);
                }
                return Ok(());
            }
            Judgement::Limit if on_limit == OnFailure::Open => {
                // The operator's choice: told as a drop would be, but the packet passes, and the flow with it.
                let why = Why::reason(DropReason::StreamLimit);
                self.teller.drop_of_flow(p.now, p.packet, self.table.at_mut(slot), p.exits.sole(), &why);
                self.settle(slot);
                return Ok(());
            }
            Judgement::Limit => DropReason::StreamLimit,
            Judgement::Conflict => DropReason::StreamConflict,
            Judgement::Drop => DropReason::Inspection,
            Judgement::Reject => {
                self.reset_both(p, slot, direction);
                DropReason::Inspection
            }
        };
        let mut refusal = Refusal::of(slot, reason);
        if reason == DropReason::Inspection {
            self.block(p.now, slot);
            refusal.why.signature = self.findings.matched.first().cloned();
        }
        Err(refusal)
    }

    /// Inspects a packet that no flow remembers: an ICMP error, neighbour discovery, group membership. Its inspection
    /// begins and ends with it.
    pub(super) fn content_alone(&mut self, p: &mut Passing<'_, '_>, decision: Decision) -> Result<(), Refusal> {
        let Some(program) = self.program(decision) else { return Ok(()) };
        let Some(tuple) = Subject::tuple_of(p.packet) else { return Ok(()) };
        let Some(mut inspect) = FlowInspect::new(&program, &tuple, false) else { return Ok(()) };
        self.findings.matched.clear();
        (self.findings.judgement, self.findings.settled) = (Judgement::Pass, false);
        let depth = self.policy.settings().stream_depth;
        let seen = Seen { now: p.now, direction: Direction::Original, established: false, depth };
        inspect.inspect(seen, p.packet, &mut self.memory, &mut self.findings);
        inspect.release(&mut self.memory);
        self.tell_alerts(p, 0);
        let reason = match self.findings.judgement {
            Judgement::Pass => return Ok(()),
            Judgement::Conflict => DropReason::StreamConflict,
            Judgement::Limit => DropReason::StreamLimit,
            Judgement::Drop => DropReason::Inspection,
            Judgement::Reject => {
                self.replies.refuse(p.now, p.packet, p.pool);
                DropReason::Inspection
            }
        };
        let mut refusal = Refusal::from(reason);
        if reason == DropReason::Inspection {
            refusal.why.signature = self.findings.matched.first().cloned();
        }
        Err(refusal)
    }

    fn tell_alerts(&mut self, p: &Passing<'_, '_>, flow: u64) {
        for signature in &self.findings.matched {
            self.teller.alert(p.now, p.packet, (p.switch, flow), p.exits.sole(), signature);
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
        (flow.blocked, flow.settled) = (true, false);
        flow.last = now;
        let due = now.after(self.policy.settings().timeouts.blocked);
        self.table.set_standing(slot, Standing::Ending);
        self.table.hasten(now, slot, due);
    }
}
