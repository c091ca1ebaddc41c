//! What would change if another policy judged: the flows that two policies disagree about, and by which rules.
//!
//! [`Differences`] keeps [`Limits::flows`] flows and [`Limits::pairs`] pairs of rules. What finds no room is counted, so
//! that a report never looks complete when it is not. A flow has its place by its five-tuple, switch and VLAN; frames
//! without addresses have theirs by MAC addresses and EtherType. The order of a report is that in which flows were met.

use std::collections::BTreeMap;

use weir_wire::{Instant, MacAddr, PortId, RuleId, SwitchId, Vid};

use crate::event::Tuple;
use crate::policy::{Decision, Policy, Subject};
use crate::spec::Action;

/// Bounds of what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Flows that would change verdict.
    pub flows: usize,
    /// Pairs of rules, live and candidate, that flows are counted under.
    pub pairs: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { flows: 4096, pairs: 1024 }
    }
}

/// What a policy says of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Said {
    /// What is done with it.
    pub action: Action,
    /// By which rule of that policy.
    pub rule: RuleId,
    /// The rule set that inspects it, as a place in that policy's list.
    pub inspected: Option<u16>,
}

impl From<Decision> for Said {
    fn from(decision: Decision) -> Said {
        // What is refused is not inspected, whatever its rule says.
        let inspected = decision.program.filter(|_| !decision.refuses() && !decision.is_trusted());
        Said { action: decision.action, rule: decision.rule, inspected }
    }
}

impl Said {
    /// The name of the rule set that inspects the flow.
    pub fn rule_set<'p>(&self, policy: &'p Policy) -> Option<&'p str> {
        let at = usize::from(self.inspected?);
        policy.programs().get(at).map(|(name, _)| name.as_str())
    }
}

/// Names a flow in a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The switch, the zone of a router, or the appliance.
    pub switch: SwitchId,
    /// VLAN on the switch; 0 between routers.
    pub vid: Vid,
    /// The initiator's addresses and ports; ICMP type and code in their place.
    pub tuple: Option<Tuple>,
    /// EtherType, source and destination of a frame without addresses.
    pub frame: Option<(u16, MacAddr, MacAddr)>,
}

impl Name {
    /// The name of what a policy is asked about.
    pub fn of(subject: &Subject) -> Name {
        let frame = (subject.ether_type, subject.source_mac, subject.destination_mac);
        Name {
            switch: subject.switch,
            // As in the names of flows: the two ways of a routed flow come from different VLANs.
            vid: if subject.switch.is_zone() { Vid(0) } else { subject.vid },
            tuple: subject.tuple,
            frame: subject.tuple.is_none().then_some(frame),
        }
    }
}

/// A flow that would change verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Its name.
    pub name: Name,
    /// The initiator's port and the responder's.
    pub ports: [PortId; 2],
    /// What the live policy said last.
    pub live: Said,
    /// What the candidate said last.
    pub candidate: Said,
    /// When it was met first.
    pub first: Instant,
    /// When it was met last.
    pub last: Instant,
    /// How often it began, or was refused.
    pub times: u64,
    /// Its packets since the candidate was loaded, or of the whole flow where it is a record.
    pub packets: u64,
    /// The flow's place in the table and that place's generation, while it stands.
    pub(crate) stands: Option<(u32, u32)>,
    /// Order of arrival.
    order: u64,
}

/// What was seen of a flow when both policies were asked.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// When.
    pub now: Instant,
    /// The initiator's port and the responder's.
    pub ports: [PortId; 2],
    /// Packets to be added.
    pub packets: u64,
}

/// The flows that two policies disagree about.
#[derive(Clone, Debug, Default)]
pub struct Differences {
    limits: Limits,
    flows: BTreeMap<Name, Changed>,
    pairs: BTreeMap<(Said, Said), u64>,
    judged: u64,
    changed: u64,
    overflowed: u64,
    unjudged: u64,
}

impl Differences {
    /// None, with room for so many.
    pub fn new(limits: Limits) -> Differences {
        Differences { limits, ..Differences::default() }
    }

    /// Adds the differences that were found elsewhere between the same two policies; flows beyond the limit are counted.
    pub fn merge(&mut self, other: &Differences) {
        for (name, changed) in &other.flows {
            if self.flows.contains_key(name) || self.flows.len() < self.limits.flows {
                // Whatever place it has there, it has none here.
                let order = self.changed + changed.order;
                self.flows.entry(*name).or_insert(Changed { stands: None, order, ..*changed });
            } else {
                self.overflowed += 1;
            }
        }
        for (pair, flows) in &other.pairs {
            if self.pairs.contains_key(pair) || self.pairs.len() < self.limits.pairs {
                *self.pairs.entry(*pair).or_default() += flows;
            }
        }
        self.judged += other.judged;
        self.changed += other.changed;
        self.overflowed += other.overflowed;
        self.unjudged += other.unjudged;
    }

    /// Takes what both policies said of a flow; answers whether they disagree.
    pub fn note(&mut self, subject: &Subject, sight: Sight, live: Word<'_>, candidate: Word<'_>) -> bool {
        self.judged += 1;
        let (said, other) = (Said::from(live.decision), Said::from(candidate.decision));
        if said.action == other.action && said.rule_set(live.policy) == other.rule_set(candidate.policy) {
            return false;
        }
        let (limits, order) = (self.limits, self.changed);
        let full = self.flows.len() >= limits.flows;
        let Sight { now, ports, packets } = sight;
        match self.flows.entry(Name::of(subject)) {
            std::collections::btree_map::Entry::Occupied(mut known) => {
                let known = known.get_mut();
                (known.live, known.candidate, known.ports, known.last) = (said, other, ports, now.max(known.last));
                known.times += 1;
                known.packets = known.packets.saturating_add(packets);
                return true;
            }
            std::collections::btree_map::Entry::Vacant(_) if full => self.overflowed += 1,
            std::collections::btree_map::Entry::Vacant(place) => {
                let name = *place.key();
                let fresh = Changed {
                    name,
                    ports,
                    live: said,
                    candidate: other,
                    first: now,
                    last: now,
                    times: 1,
                    packets,
                    stands: None,
                    order,
                };
                place.insert(fresh);
            }
        }
        self.changed += 1;
        if let Some(count) = self.pairs.get_mut(&(said, other)) {
            *count += 1;
        } else if self.pairs.len() < limits.pairs {
            self.pairs.insert((said, other), 1);
        }
        true
    }

    /// A flow could not be judged: a policy names MAC addresses, and those of the flow are not known.
    pub fn could_not(&mut self) {
        self.unjudged += 1;
    }

    /// Where a flow of this name stands in the table of flows.
    pub(crate) fn stand(&mut self, name: &Name, place: (u32, u32)) {
        if let Some(known) = self.flows.get_mut(name) {
            known.stands = Some(place);
        }
    }

    /// A flow of this name ended with so many packets.
    pub(crate) fn ended(&mut self, name: &Name, last: Instant, packets: u64) {
        if let Some(known) = self.flows.get_mut(name)
            && known.stands.take().is_some()
        {
            known.packets = known.packets.saturating_add(packets);
            known.last = known.last.max(last);
        }
    }

    /// The flows, in the order in which they were met.
    pub fn flows(&self) -> Vec<Changed> {
        let mut flows: Vec<Changed> = self.flows.values().copied().collect();
        flows.sort_unstable_by_key(|flow| flow.order);
        flows
    }

    /// How many flows fell under which rules: what the live policy said, what the candidate said, and flows.
    pub fn pairs(&self) -> impl Iterator<Item = (Said, Said, u64)> {
        self.pairs.iter().map(|(&(live, candidate), &flows)| (live, candidate, flows))
    }

    /// Questions that both policies answered.
    pub fn judged(&self) -> u64 {
        self.judged
    }

    /// Flows that would change verdict; where some found no room, those are counted each time they are met.
    pub fn changed(&self) -> u64 {
        self.changed
    }

    /// Of these, those that found no room.
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// Flows that could not be judged.
    pub fn unjudged(&self) -> u64 {
        self.unjudged
    }
}

/// What a policy said, and the policy.
#[derive(Clone, Copy, Debug)]
pub struct Word<'p> {
    /// The policy.
    pub policy: &'p Policy,
    /// What it said.
    pub decision: Decision,
}

/// Asks both policies about flows that were recorded, one after the other.
#[derive(Debug)]
pub struct Comparison<'p> {
    live: &'p Policy,
    candidate: &'p Policy,
    /// What was found.
    pub differences: Differences,
}

impl<'p> Comparison<'p> {
    /// Nothing compared so far.
    pub fn new(live: &'p Policy, candidate: &'p Policy, limits: Limits) -> Comparison<'p> {
        Comparison { live, candidate, differences: Differences::new(limits) }
    }

    /// Asks about a flow. Without MAC addresses (all zero) a policy that names some cannot be asked.
    pub fn ask(&mut self, subject: &Subject, sight: Sight) {
        let without_macs = subject.source_mac == MacAddr::default() && subject.destination_mac == MacAddr::default();
        if without_macs && (self.live.names_macs() || self.candidate.names_macs()) {
            return self.differences.could_not();
        }
        let word = |policy: &'p Policy| Word { policy, decision: policy.judge(subject) };
        self.differences.note(subject, sight, word(self.live), word(self.candidate));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{A4, B4, Frame};

    fn subject(port: u16) -> Subject {
        Subject::of_packet(&Frame::udp(A4, port, B4, 53, b"").packet(1), SwitchId(0), PortId(2))
    }

    fn word(policy: &Policy, action: Action, rule: u32) -> Word<'_> {
        Word { policy, decision: Decision { action, rule: RuleId(rule), ..Decision::default() } }
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let policy = Policy::default();
        let mut differences = Differences::new(Limits { flows: 2, pairs: 1 });
        let sight = Sight { now: Instant::from_secs(1), ports: [PortId(1), PortId(2)], packets: 1 };
        for port in 1..=5 {
            let other = word(&policy, Action::Drop, u32::from(port) % 2);
            assert!(differences.note(&subject(port), sight, word(&policy, Action::Allow, 9), other));
        }
        assert!(!differences.note(
            &subject(6),
            sight,
            word(&policy, Action::Allow, 9),
            word(&policy, Action::Allow, 1)
        ));
        assert_eq!((differences.judged(), differences.changed(), differences.overflowed()), (6, 5, 3));
        assert_eq!(differences.flows().len(), 2);
        assert_eq!(differences.pairs().map(|(_, _, flows)| flows).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_flow_met_again_is_the_same_flow() {
        let policy = Policy::default();
        let mut differences = Differences::new(Limits::default());
        for second in 1..=3 {
            let sight = Sight { now: Instant::from_secs(second), ports: [PortId(1), PortId(2)], packets: 2 };
            let (live, candidate) = (word(&policy, Action::Drop, 0), word(&policy, Action::Allow, 0));
            differences.note(&subject(5), sight, live, candidate);
        }
        let flows = differences.flows();
        assert_eq!((flows.len(), flows[0].times, flows[0].packets), (1, 3, 6));
        assert_eq!((flows[0].first, flows[0].last), (Instant::from_secs(1), Instant::from_secs(3)));
    }
}
