//! The content's part of stop 6: hands packets to inspection and acts on what it found.

use std::sync::Arc;

use weir_wire::numbers::TCP_FIN;
use weir_wire::{DropReason, Instant, Packet, SwitchId, TcpFields};

use super::budget::{Asked, Course, Stage};
use super::pass::{Passing, Refusal};
use super::{Engine, Why};
use crate::detect::FlowFacts;
use crate::event::Signature;
use crate::flow::{Flow, Standing, Ways};
use crate::inspect::{Direction, Findings, FlowInspect, Hold, Judgement, Seen, may_be_odd};
use crate::policy::{Decision, Subject};
use crate::spec::{Mode, OnFailure};

/// What is known of a flow of this number, before it is looked at.
fn facts(id: u64) -> FlowFacts {
    FlowFacts { id, ..FlowFacts::default() }
}

/// Counts a packet that the flow's own numbers do not have yet.
fn count_in(facts: &mut FlowFacts, direction: Direction, length: usize) {
    let way = direction as usize;
    if let (Some(packets), Some(bytes)) = (facts.packets.get_mut(way), facts.bytes.get_mut(way)) {
        (*packets, *bytes) = (*packets + 1, *bytes + length as u64);
    }
}

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
        match self.course(slot) {
            Course::Inspect => {}
            Course::GiveUp(stage) => {
                self.shed(p, slot, stage);
                return Ok(());
            }
            Course::Refuse => {
                self.budget.count_refused();
                return Err(Refusal::of(slot, DropReason::InspectionBudget));
            }
        }
        self.look_into(p, slot, direction, (established, depth));
        self.conclude(p, slot, direction, on_limit)
    }

    /// Has a packet inspected, and tells what was found.
    fn look_into(&mut self, p: &Passing<'_, '_>, slot: u32, direction: Direction, (established, depth): (bool, u64)) {
        let work = self.memory.work;
        self.memory.set_enforced(self.policy.mode(p.switch) == Mode::Enforce);
        self.findings.clear();
        let flow = self.table.at_mut(slot);
        let Some(inspect) = flow.inspect.as_mut() else { return };
        let mut facts = FlowFacts { start: flow.start, packets: flow.packets, bytes: flow.bytes, ..facts(flow.number) };
        count_in(&mut facts, direction, p.packet.len());
        let resumed = self.holding.resuming;
        if self.sampling.on
            && let Some(profile) = self.memory.profile()
        {
            profile.turn_to(flow.program);
        }
        let seen = Seen { now: p.now, direction, established, flow: facts, depth, resumed };
        inspect.inspect(seen, p.packet, &mut self.memory, &mut self.findings);
        flow.alerted |= !self.findings.matched.is_empty();
        flow.app = inspect.speaks();
        let (number, program, work) = (flow.number, flow.program, self.memory.work.saturating_sub(work));
        self.budget.count(p.packet.port, program, p.packet.len() as u64, work);
        self.tell_findings(p, number, direction);
        self.tell_sites(p, number);
    }

    /// What becomes of a packet by what was found.
    fn conclude(
        &mut self,
        p: &mut Passing<'_, '_>,
        slot: u32,
        direction: Direction,
        on_limit: OnFailure,
    ) -> Result<(), Refusal> {
        let reason = match self.judgement(p.switch) {
            Judgement::Pass if self.queues(p.packet, slot, direction) => {
                let behind = Hold { begin: 0, end: u64::MAX, gate: u64::MAX, until: p.now };
                return Err(self.hold_back(p, slot, direction, behind));
            }
            Judgement::Pass => {
                if self.findings.settled {
                    self.settle(slot);
                }
                return Ok(());
            }
            Judgement::Wait => {
                let hold = self.findings.hold.unwrap_or(Hold { begin: 0, end: u64::MAX, gate: 0, until: p.now });
                return Err(self.hold_back(p, slot, direction, hold));
            }
            Judgement::Limit if on_limit == OnFailure::Open => {
                self.let_go_unread(p, slot);
                return Ok(());
            }
            Judgement::Limit => DropReason::StreamLimit,
            Judgement::Conflict => DropReason::StreamConflict,
            Judgement::Drop => DropReason::Inspection,
            Judgement::Reject => {
                self.reset_both(p, slot, direction);
                DropReason::Inspection
            }
            Judgement::Deny => return Err(self.deny(p, slot, direction)),
            Judgement::Infected => {
                self.reset_both(p, slot, direction);
                self.block(p.now, slot);
                return Err(Refusal::of(slot, DropReason::Virus));
            }
        };
        let mut refusal = Refusal::of(slot, reason);
        if reason == DropReason::Inspection {
            self.block(p.now, slot);
            refusal.why.signature = self.findings.matched.first().cloned();
        }
        Err(refusal)
    }

    /// A packet that may pass, and others of its direction are held: it goes on behind them.
    fn queues(&self, packet: &Packet, slot: u32, direction: Direction) -> bool {
        let flow = (slot, self.table.at(slot).generation);
        let says = |tcp: TcpFields| !packet.payload().is_empty() || tcp.has(TCP_FIN);
        !self.holding.resuming
            && !self.findings.gated
            && self.holding.holds(flow, direction)
            && packet.tcp().is_some_and(says)
    }

    fn hold_back(&self, p: &Passing<'_, '_>, slot: u32, direction: Direction, hold: Hold) -> Refusal {
        let wait = Some(self.wait_of(slot, p.switch, direction, hold));
        Refusal { why: Why::reason(DropReason::AwaitsVerdict), slot: Some(slot), wait }
    }

    /// Inspects a packet that no flow remembers: an ICMP error, neighbour discovery, group membership. Its inspection
    /// begins and ends with it.
    pub(super) fn content_alone(&mut self, p: &mut Passing<'_, '_>, decision: Decision) -> Result<(), Refusal> {
        let Some(program) = self.program(decision) else { return Ok(()) };
        let Some(tuple) = Subject::tuple_of(p.packet) else { return Ok(()) };
        let Some(mut inspect) = FlowInspect::new(&program, &tuple, false) else { return Ok(()) };
        self.memory.set_enforced(self.policy.mode(p.switch) == Mode::Enforce);
        self.findings.clear();
        let depth = self.policy.settings().stream_depth;
        let flow = FlowFacts { start: p.now, packets: [1, 0], bytes: [p.packet.len() as u64, 0], ..facts(0) };
        let seen = Seen { now: p.now, direction: Direction::Original, established: false, flow, depth, resumed: false };
        inspect.inspect(seen, p.packet, &mut self.memory, &mut self.findings);
        inspect.release(&mut self.memory);
        self.tell_findings(p, 0, Direction::Original);
        let reason = match self.judgement(p.switch) {
            Judgement::Pass => return Ok(()),
            Judgement::Conflict => DropReason::StreamConflict,
            Judgement::Limit => DropReason::StreamLimit,
            // Sites are named and files carried in flows only.
            Judgement::Drop | Judgement::Deny | Judgement::Infected | Judgement::Wait => DropReason::Inspection,
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

    fn tell_findings(&mut self, p: &Passing<'_, '_>, flow: u64, direction: Direction) {
        let Findings { matched, members, records, stored, files_refused, .. } = &mut self.findings;
        let to = p.exits.sole();
        let listens = self.policy.mode(p.switch) == Mode::Listen;
        self.memory.alerts += matched.len() as u64;
        for signature in matched.iter() {
            let more = members.iter_mut().find(|(told, _)| Arc::ptr_eq(told, signature));
            let more = more.map(|(_, text)| std::mem::take(text)).unwrap_or_default();
            if listens && signature.blocked {
                let told = Arc::new(Signature { blocked: false, ..Signature::clone(signature) });
                self.teller.alert(p.now, p.packet, (p.switch, flow), to, (&told, more));
                continue;
            }
            self.teller.alert(p.now, p.packet, (p.switch, flow), to, (signature, more));
        }
        for record in records.drain(..) {
            let turned = record.way != direction;
            self.teller.record(p.now, p.packet, (p.switch, flow), to, (turned, record));
        }
        stored.drain(..).for_each(|file| self.teller.stored(file));
        self.memory.refuse_files(*files_refused);
    }

    /// A packet was refused: rules on what is odd about packets are asked, where the rule set of its switch has any.
    #[cold]
    pub fn look_at_refused(&mut self, now: Instant, packet: &Packet, switch: SwitchId, reason: DropReason) {
        if !may_be_odd(reason) {
            return;
        }
        let Some(program) = self.policy.program_of(switch) else { return };
        self.findings.clear();
        self.memory.judge_refused(program, now, (packet, reason), &mut self.findings);
        self.memory.alerts += self.findings.matched.len() as u64;
        for (signature, members) in self.findings.members.drain(..) {
            self.teller.alert(now, packet, (switch, 0), None, (&signature, members));
        }
    }

    /// Judges what waits for more as it is, and tells of it: the flow ends. Nothing of it can be refused any more.
    pub(super) fn finish(&mut self, now: Instant, flow: &mut Flow) {
        let Some(inspect) = flow.inspect.as_mut() else { return };
        self.memory.set_enforced(self.policy.mode(flow.key.switch()) == Mode::Enforce);
        self.findings.clear();
        let facts = FlowFacts { start: flow.start, packets: flow.packets, bytes: flow.bytes, ..facts(flow.number) };
        inspect.finish(now, facts, &mut self.memory, &mut self.findings);
        flow.alerted |= !self.findings.matched.is_empty();
        let Findings { members, records, stored, files_refused, .. } = &mut self.findings;
        for (signature, text) in members.drain(..) {
            let listens = signature.blocked && self.policy.mode(flow.key.switch()) == Mode::Listen;
            let told = if listens {
                Arc::new(Signature { blocked: false, ..Signature::clone(&signature) })
            } else {
                signature
            };
            self.teller.alert_at_end(now, flow, told, text);
        }
        for record in records.drain(..) {
            self.teller.record_at_end(now, flow, record);
        }
        stored.drain(..).for_each(|file| self.teller.stored(file));
        self.memory.refuse_files(*files_refused);
    }

    /// Both ends have closed the connection and know it of each other: nobody reads what may still come. Its inspection
    /// ends here, not a minute later with the flow: many short connections would else fill the memory, and the caches, of
    /// those that live. What waits for the verdict on a file waits on.
    #[cold]
    pub(super) fn close_inspection(&mut self, now: Instant, slot: u32) {
        let flow = self.table.at_mut(slot);
        let Some(inspect) = flow.inspect.as_mut() else { return };
        if inspect.is_watched() {
            return inspect.give_back(&mut self.memory);
        }
        // Nothing that is done meanwhile asks the table.
        let mut flow = std::mem::take(flow);
        self.finish(now, &mut flow);
        *self.table.at_mut(slot) = flow;
        self.settle(slot);
    }

    /// Whether a flow's inspection can be paid for.
    #[inline]
    fn course(&self, slot: u32) -> Course {
        let flow = self.table.at(slot);
        let Some(class) = self.overload_class(flow) else { return Course::Inspect };
        let carried = flow.bytes.iter().sum();
        self.budget.course(&Asked { carried, alerted: flow.alerted, class })
    }

    /// What is said of a flow for which the budget does not suffice: by its policy rule, or by the virus check where its
    /// files are searched. `None`: it is inspected all the same, since what the content filter refuses is policy, which
    /// is not given up.
    #[inline]
    pub(super) fn overload_class(&self, flow: &Flow) -> Option<Option<OnFailure>> {
        let inspect = flow.inspect.as_ref().filter(|inspect| !inspect.names_sites())?;
        let own = flow.decision.overload;
        Some(if inspect.is_watched() { own.or(Some(self.policy.scan().overload)) } else { own })
    }

    /// Gives a flow's inspection up because it cannot be paid for: counted, and told once.
    pub(super) fn shed(&mut self, p: &Passing<'_, '_>, slot: u32, stage: Stage) {
        self.budget.count_shed(stage);
        let number = self.table.at(slot).number;
        self.teller.shed(p.now, p.packet, (p.switch, number), p.exits.sole(), stage);
        self.settle(slot);
    }

    /// Tells of the sites that content rules noted or denied.
    fn tell_sites(&mut self, p: &Passing<'_, '_>, flow: u64) {
        // What is only listened to passes, whatever is said of it.
        let listens = self.policy.mode(p.switch) == Mode::Listen;
        for mut finding in self.findings.content.drain(..) {
            if listens && finding.action == crate::content::Action::Deny {
                finding.action = crate::content::Action::Log;
            }
            self.teller.site(p.now, p.packet, (p.switch, flow), p.exits.sole(), finding);
        }
        for mut finding in self.findings.files.drain(..) {
            finding.blocked &= !listens;
            self.teller.file(p.now, p.packet, (p.switch, flow), p.exits.sole(), finding);
        }
    }

    /// What is done about what was found: nothing to traffic that is only listened to.
    fn judgement(&self, switch: SwitchId) -> Judgement {
        match (self.findings.judgement, self.policy.mode(switch)) {
            (
                Judgement::Drop | Judgement::Reject | Judgement::Deny | Judgement::Infected | Judgement::Wait,
                Mode::Listen,
            ) => Judgement::Pass,
            (judgement, Mode::Listen | Mode::Enforce) => judgement,
        }
    }

    /// The operator's choice at a limit: told as a drop would be, but the packet passes, and the flow with it.
    fn let_go_unread(&mut self, p: &mut Passing<'_, '_>, slot: u32) {
        let why = Why::reason(DropReason::StreamLimit);
        self.teller.drop_of_flow(p.now, p.packet, self.table.at_mut(slot), p.exits.sole(), &why);
        self.settle(slot);
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
        self.holding.forget((slot, self.table.at(slot).generation), DropReason::FlowBlocked);
        self.recall(slot);
        let flow = self.table.at_mut(slot);
        (flow.blocked, flow.settled) = (true, Ways::default());
        if flow.half_open {
            self.half_closed(slot);
        }
        let flow = self.table.at_mut(slot);
        flow.last = now;
        let due = now.after(self.policy.settings().timeouts.blocked);
        self.table.set_standing(slot, Standing::Ending);
        self.table.hasten(now, slot, due);
    }
}
