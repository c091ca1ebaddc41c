//! A candidate beside the live policy: asked wherever the live one is asked, obeyed nowhere.
//!
//! It is asked about what begins while it is loaded and, once, about the flows that stand when it is loaded: the table
//! is walked [`SLICE`] places a tick. Without a candidate all of this costs one comparison for each flow that begins.

use std::sync::Arc;

use weir_wire::numbers::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use weir_wire::{Instant, MacAddr, PortId};

use super::pass::Passing;
use super::policy::pair;
use super::{Engine, Exits};
use crate::flow::{Flow, UNKNOWN_PORT};
use crate::inspect::Direction;
use crate::policy::{Decision, Policy, Subject};
use crate::shadow::{Differences, Limits, Name, Sight, Word};

/// Places of the table that are looked at in one tick.
const SLICE: u32 = 8192;

/// A candidate and what it would change.
#[derive(Clone, Debug)]
pub struct Shadow {
    policy: Arc<Policy>,
    differences: Differences,
    /// When it was loaded.
    since: Instant,
    /// The part of the table that is still to be walked.
    walk: std::ops::Range<u32>,
}

impl Shadow {
    /// A candidate that was asked nothing so far.
    pub fn new(policy: Arc<Policy>, limits: Limits) -> Shadow {
        Shadow { policy, differences: Differences::new(limits), since: Instant::ZERO, walk: 0..0 }
    }

    /// The candidate.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// What it would change.
    pub fn differences(&self) -> &Differences {
        &self.differences
    }

    /// When it was loaded.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Adds what the same candidate was asked beside another engine.
    pub fn merge(&mut self, other: &Shadow) {
        self.differences.merge(&other.differences);
        if self.since == Instant::ZERO {
            self.since = other.since;
        }
        if self.walk.is_empty() && !other.walk.is_empty() {
            self.walk = other.walk.clone();
        }
    }

    /// The flows that stood when it was loaded have all been looked at.
    pub fn is_walked(&self) -> bool {
        self.walk.is_empty()
    }
}

impl Engine {
    /// Puts a candidate beside the live policy, in place of another; `None` takes it away. Returns the one that was there
    /// so that its owner can free it.
    pub fn load_shadow(&mut self, now: Instant, shadow: Option<Box<Shadow>>) -> Option<Box<Shadow>> {
        let before = std::mem::replace(&mut self.shadow, shadow);
        if let Some(shadow) = &mut self.shadow {
            (shadow.since, shadow.walk) = (now, 0..self.table.places());
        }
        before
    }

    /// Gives a candidate that was compiled again for changed ports the place of the one before, whose findings stand.
    /// Returns the policy before, or this one where there is no candidate.
    pub fn renew_shadow(&mut self, policy: Arc<Policy>) -> Arc<Policy> {
        match &mut self.shadow {
            Some(shadow) => std::mem::replace(&mut shadow.policy, policy),
            None => policy,
        }
    }

    /// The candidate with its findings as they stand: those of flows that go on have the packets of these.
    pub fn shadow(&self) -> Option<Shadow> {
        let mut shadow = Shadow::clone(self.shadow.as_deref()?);
        for flow in shadow.differences.flows() {
            if let Some((slot, generation)) = flow.stands
                && let Some(known) = self.table.get(slot, generation)
            {
                shadow.differences.ended(&flow.name, known.last, known.packets.iter().sum());
            }
        }
        Some(shadow)
    }

    /// What the candidate says of a packet's flow, before the live policy takes ports away; `None` without one.
    #[inline]
    pub(super) fn shadow_word(&self, subject: &Subject, way: Direction, exits: &Exits<'_>) -> Option<Decision> {
        let shadow = self.shadow.as_ref()?;
        let from = subject.from;
        Some(exits.peek(|to| shadow.policy.judge(&subject.between(pair(way, from, to)))))
    }

    /// Takes both words. `packets`: those that this is about and that no flow counts.
    pub(super) fn note_shadow(
        &mut self,
        p: &Passing<'_, '_>,
        (subject, way): (&Subject, Direction),
        (live, candidate): (Decision, Decision),
        packets: u64,
    ) {
        let Some(shadow) = &mut self.shadow else { return };
        let ports = pair(way, p.packet.port, p.exits.sole().unwrap_or(UNKNOWN_PORT));
        let sight = Sight { now: p.now, ports, packets };
        let live = Word { policy: &self.policy, decision: live };
        let candidate = Word { policy: &shadow.policy, decision: candidate };
        shadow.differences.note(subject, sight, live, candidate);
    }

    /// A flow stands: what the candidate would change of it has its packets.
    #[inline]
    pub(super) fn shadow_stands(&mut self, slot: u32) {
        if let Some(shadow) = &mut self.shadow {
            let flow = self.table.at(slot);
            shadow.differences.stand(&name(flow), (slot, flow.generation));
        }
    }

    /// A flow ends.
    #[inline]
    pub(super) fn shadow_ends(&mut self, flow: &Flow) {
        if let Some(shadow) = &mut self.shadow {
            shadow.differences.ended(&name(flow), flow.last, flow.packets.iter().sum());
        }
    }

    /// Looks at another slice of the flows that stood when the candidate was loaded; answers whether there is more.
    pub(super) fn walk_shadow(&mut self) -> bool {
        let Some(shadow) = self.shadow.as_deref_mut().filter(|shadow| !shadow.walk.is_empty()) else { return false };
        let start = shadow.walk.start;
        let end = shadow.walk.end.min(start.saturating_add(SLICE));
        shadow.walk.start = end;
        let since = shadow.since;
        let named = self.policy.names_macs() || shadow.policy.names_macs();
        for slot in start..end {
            let flow = self.table.at(slot);
            // Those that came later were judged when they came; those that a verdict on their content ended have none.
            if flow.number == 0 || flow.start > since || flow.blocked {
                continue;
            }
            if named {
                shadow.differences.could_not();
                continue;
            }
            let subject = subject(flow);
            let live = if flow.epoch == self.policy.epoch() { flow.decision } else { self.policy.judge(&subject) };
            let live = Word { policy: &self.policy, decision: live };
            let candidate = Word { policy: &shadow.policy, decision: shadow.policy.judge(&subject) };
            let sight = Sight { now: flow.last, ports: flow.ports, packets: 0 };
            if shadow.differences.note(&subject, sight, live, candidate) {
                shadow.differences.stand(&name(flow), (slot, flow.generation));
            }
        }
        !shadow.walk.is_empty()
    }
}

/// What names a flow in a report.
fn name(flow: &Flow) -> Name {
    Name {
        switch: flow.key.switch(),
        vid: flow.key.vid(),
        tuple: Some(flow.key.tuple(flow.initiator_is_low)),
        frame: None,
    }
}

/// A flow's first packet as far as the flow remembers it: without MAC addresses.
fn subject(flow: &Flow) -> Subject {
    let tuple = flow.key.tuple(flow.initiator_is_low);
    let [from, to]: [PortId; 2] = flow.ports;
    Subject {
        switch: flow.key.switch(),
        vid: flow.key.vid(),
        from: if from == UNKNOWN_PORT { flow.owner } else { from },
        to,
        source_mac: MacAddr::default(),
        destination_mac: MacAddr::default(),
        ether_type: if tuple.source.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 },
        tuple: Some(tuple),
    }
}
