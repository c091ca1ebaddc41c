//! The policy's part of stop 6: who is asked what, and what of the answer a flow keeps.

use std::sync::Arc;

use weir_wire::numbers::{PROTOCOL_TCP, PROTOCOL_UDP};
use weir_wire::{DropReason, Epoch, Instant, PortId, RuleId};

use super::pass::Passing;
use super::{Engine, Exits, RuleCounter, Why};
use crate::content::{Watch, Who};
use crate::flow::{Flow, UNKNOWN_PORT, Ways};
use crate::inspect::{Direction, FlowInspect, RuleSetProgram, Watched};
use crate::policy::{Decision, Policy, Subject};
use crate::scan::Scan;
use crate::spec::Action;

/// Numbers for rule sets that stay the same from policy to policy, so that a flow knows whether it is inspected with
/// another one than before. 0 is no rule set.
#[derive(Debug, Default)]
pub(super) struct Programs {
    numbers: Vec<u32>,
    last: u32,
}

impl Programs {
    /// Numbers the rule sets of `new`: the same rule set keeps its number.
    pub fn renumber(&mut self, old: &Policy, new: &Policy) {
        let known = |program: &Arc<RuleSetProgram>| {
            let at = old.programs().iter().position(|(_, other)| Arc::ptr_eq(program, other))?;
            self.numbers.get(at).copied()
        };
        let kept: Vec<Option<u32>> = new.programs().iter().map(|(_, program)| known(program)).collect();
        self.numbers.clear();
        for number in kept {
            self.numbers.push(number.unwrap_or_else(|| {
                self.last += 1;
                self.last
            }));
        }
    }

    /// The numbers, in the policy's order.
    pub fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    fn number(&self, decision: Decision) -> u32 {
        decision.program.and_then(|at| self.numbers.get(usize::from(at)).copied()).unwrap_or(0)
    }
}

/// Initiator's and responder's port of a packet that came in by `from`, goes to `to` and takes this way in its flow.
#[inline]
pub(super) fn pair(direction: Direction, from: PortId, to: PortId) -> [PortId; 2] {
    match direction {
        Direction::Original => [from, to],
        Direction::Reply => [to, from],
    }
}

impl Decision {
    /// Why a packet that it refuses is dropped.
    pub(super) fn why(&self) -> Why {
        let reason = if self.action == Action::Reject { DropReason::PolicyReject } else { DropReason::Policy };
        Why { reason, rule: Some(self.rule), signature: None }
    }
}

impl Engine {
    /// Asks the policy about a flow's first packet, seen in one of its packets, for each exit.
    pub(super) fn judge(
        &mut self,
        subject: Subject,
        direction: Direction,
        exits: &mut Exits<'_>,
    ) -> Result<Decision, Decision> {
        let (from, policy, decided) = (subject.from, &self.policy, &mut self.decided);
        exits.choose(|to| decided.judge(policy, &subject.between(pair(direction, from, to))))
    }

    /// Judges a known flow again, because its policy, one of its ports, or both changed. What passes is kept; a refusal
    /// is kept where it is about the ports that the flow had, and ends the flow's traffic until the next policy. A
    /// refusal for other ports says nothing about the flow: somebody else used its addresses.
    pub(super) fn judge_again(
        &mut self,
        p: &mut Passing<'_, '_>,
        slot: u32,
        direction: Direction,
    ) -> Result<(), Decision> {
        self.recall(slot);
        let epoch = self.policy.epoch();
        let flow = self.table.at(slot);
        let (ports, current) = (flow.ports, (flow.epoch == epoch).then_some(flow.decision));
        let subject = Subject::of_flow(p.packet, p.switch, flow.key.tuple(flow.initiator_is_low), direction);
        let candidate = self.shadow_word(&subject, direction, &p.exits);
        let (policy, from) = (&self.policy, p.packet.port);
        let judged = p.exits.choose(|to| {
            let pair = pair(direction, from, to);
            match current {
                Some(decision) if pair == ports => decision,
                _ => policy.judge(&subject.between(pair)),
            }
        });
        let (Ok(decision) | Err(decision)) = judged;
        self.count(p.now, decision.rule);
        if let Some(candidate) = candidate {
            self.note_shadow(p, (&subject, direction), (decision, candidate), u64::from(judged.is_err()));
            self.shadow_stands(slot);
        }
        let now_ports = ports_after(ports, direction, from, &p.exits);
        if judged.is_err() && now_ports != ports {
            return Err(decision);
        }
        let flow = self.table.at_mut(slot);
        let before = std::mem::replace(&mut flow.epoch, epoch);
        (flow.ports, flow.decision) = (now_ports, decision);
        flow.settled = Ways::default();
        if flow.half_open && ports[1] != now_ports[1] {
            self.half_open_moves(ports[1], now_ports[1]);
        }
        self.inspect_with(slot, decision, Some(before));
        judged.map(|_| ())
    }

    /// Something may look into a flow that begins with this verdict.
    #[inline]
    pub(super) fn may_look(&self, decision: Decision) -> bool {
        decision.program.is_some() || !self.policy.content().is_idle() || self.policy.scan().database.is_some()
    }

    /// Gives a flow the inspection that its verdict asks for, and takes away what it had where that is another.
    /// `before`: the policy that judged it last.
    pub(super) fn inspect_with(&mut self, slot: u32, decision: Decision, before: Option<Epoch>) {
        let number = if decision.refuses() { 0 } else { self.programs.number(decision) };
        let program = decision.program.and_then(|at| self.policy.programs().get(usize::from(at))).map(|(_, p)| p);
        let watch = if decision.refuses() || decision.is_trusted() { (None, None) } else { self.watch(slot) };
        let watched = watch.0.is_some() || watch.1.is_some();
        let flow = self.table.at_mut(slot);
        if number == flow.program {
            match flow.inspect.as_mut() {
                Some(inspect) => {
                    inspect.set_watch(watch, &mut self.memory);
                    return;
                }
                // It has named all its sites, unless nobody listened when it did.
                None if !watched || before.is_some_and(|before| before >= self.watched_from) => return,
                None => {}
            }
        }
        // A flow that had no inspection so far is met in its midst.
        let midstream = flow.midstream || flow.packets != [0, 0];
        flow.program = number;
        let old = flow.inspect.take();
        let program = program.filter(|_| number != 0).or_else(|| watched.then(|| self.policy.no_rules()));
        let Some(program) = program else {
            if let Some(mut old) = old {
                old.release(&mut self.memory);
            }
            return;
        };
        flow.inspect = match old {
            None => {
                let mut fresh = FlowInspect::watched(program, &flow.key.tuple(flow.initiator_is_low), midstream, watch);
                if let Some(inspect) = &mut fresh {
                    inspect.expect(&mut self.memory, flow.last);
                }
                fresh
            }
            Some(mut old) => {
                let goes_on = old.replace_program(program, watch, &mut self.memory);
                if !goes_on {
                    old.release(&mut self.memory);
                }
                goes_on.then_some(old)
            }
        };
    }

    /// What looks at a flow besides the rules.
    fn watch(&self, slot: u32) -> Watched {
        let (content, scan) = (self.policy.content(), self.policy.scan());
        let flow = self.table.at(slot);
        if (content.is_idle() && scan.database.is_none()) || !matches!(flow.key.protocol(), PROTOCOL_TCP | PROTOCOL_UDP)
        {
            return (None, None);
        }
        let tuple = flow.key.tuple(flow.initiator_is_low);
        let who = Who { switch: flow.key.switch(), port: flow.ports[0], address: tuple.source };
        let files = flow.key.is_tcp() && scan.concerns(who.switch, flow.ports);
        (Watch::new(content, who, tuple.destination), files.then(|| Scan::new(scan, tuple.destination)))
    }

    /// The rule set of a verdict.
    pub(super) fn program(&self, decision: Decision) -> Option<Arc<RuleSetProgram>> {
        decision.program.and_then(|at| self.policy.programs().get(usize::from(at))).map(|(_, p)| p.clone())
    }

    /// Counts a decision of a rule.
    pub(super) fn count(&mut self, now: Instant, rule: RuleId) {
        bump(&mut self.counters, now, rule);
    }

    /// Counts a decision about a packet that has no flow, or gets none.
    pub(super) fn count_packet(&mut self, now: Instant, rule: RuleId, bytes: usize) {
        if let Some(counter) = bump(&mut self.counters, now, rule) {
            counter.packets += 1;
            counter.bytes += bytes as u64;
        }
    }

    /// Counts the rules that handed a flow on to the tier that follows.
    pub(super) fn count_passed(&mut self, now: Instant, subject: impl FnOnce() -> Subject) {
        if !self.policy.hands_on() {
            return;
        }
        let subject = &subject();
        let counters = &mut self.counters;
        self.policy.passed(subject, |rule| {
            bump(counters, now, rule);
        });
    }

    /// Adds what a flow carried to the rule that let it pass; nothing where that rule is of a policy long gone.
    pub(super) fn count_end(&mut self, flow: &Flow) {
        if flow.decision.refuses() {
            return;
        }
        let number = if flow.epoch == self.policy.epoch() {
            Some((flow.decision.rule.0 as usize).min(self.policy.rules()))
        } else {
            self.policy.successor_of(flow.epoch, flow.decision.rule)
        };
        if let Some(counter) = number.and_then(|number| self.counters.get_mut(number)) {
            counter.packets += flow.packets.iter().sum::<u64>();
            counter.bytes += flow.bytes.iter().sum::<u64>();
        }
    }
}

fn bump(counters: &mut [RuleCounter], now: Instant, rule: RuleId) -> Option<&mut RuleCounter> {
    let last = counters.len().checked_sub(1)?;
    let counter = counters.get_mut((rule.0 as usize).min(last))?;
    counter.hits += 1;
    counter.last = now;
    Some(counter)
}

/// The ports of a flow after a packet: the sender's is known, the receiver's where there is only one exit, or where it
/// was known and is one of several.
pub(super) fn ports_after(ports: [PortId; 2], direction: Direction, from: PortId, exits: &Exits<'_>) -> [PortId; 2] {
    let [initiator, responder] = ports;
    let there = if direction == Direction::Original { responder } else { initiator };
    let there = exits.sole().unwrap_or(if exits.contains(there) { there } else { UNKNOWN_PORT });
    pair(direction, from, there)
}
