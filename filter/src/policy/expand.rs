//! Rules as they are stated, made into rules that ask for one thing of each kind: tiers become an order, services and the
//! ways to belong to a group become alternatives.
//!
//! A rule that names services or groups with several kinds of members stands several times in a row in the tables, each
//! time with the same answer. Rules that nobody wrote, but settings of groups and tiers ask for, get numbers behind those
//! of the stated ones.

use std::collections::HashMap;

use ipnetwork::IpNetwork;
use weir_wire::RuleId;

use super::check::EXPANDED_MAX;
use super::spec::{Action, Group, Rule, ServiceEntry, Side, Spec};

/// What follows when a rule of the tables matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// It decides.
    Decide,
    /// It decides all that its tier leaves, but for address resolution, which goes on behind it.
    DecideRest,
    /// The first rule from this place on decides.
    GoOn(u32),
}

/// A rule of the tables: what it asks for, the number it counts and speaks by, and what follows.
#[derive(Debug)]
pub(super) struct Expanded {
    pub rule: Rule,
    pub number: RuleId,
    pub then: Then,
}

/// All rules of the tables in their order, and the names of the numbers.
#[derive(Debug, Default)]
pub(super) struct Order {
    pub rules: Vec<Expanded>,
    pub names: Vec<String>,
    /// Some rule hands flows on to the next tier.
    pub has_next: bool,
}

/// Orders and expands the rules of a checked policy; `None` where they become more than [`EXPANDED_MAX`].
pub(super) fn expand(spec: &Spec) -> Option<Order> {
    let groups: HashMap<&str, &Group> = spec.groups.iter().map(|group| (group.name.as_str(), group)).collect();
    let services: HashMap<&str, &[ServiceEntry]> =
        spec.services.iter().map(|service| (service.name.as_str(), service.entries.as_slice())).collect();
    let mut order = Order { names: spec.rules.iter().map(|rule| rule.name.clone()).collect(), ..Order::default() };
    for tier in &spec.tiers {
        let begin = order.rules.len();
        for (number, rule) in stated(spec, Some(&tier.name)) {
            order.add(number, rule, Then::Decide, &groups, &services)?;
        }
        if let Some(action) = tier.default {
            let number = order.named(format!("tier {} default", tier.name));
            let rest = Rule { action, ..Rule::default() };
            order.add(number, &rest, Then::DecideRest, &groups, &services)?;
        }
        let end = order.rules.len() as u32;
        for expanded in order.rules.iter_mut().skip(begin).filter(|expanded| expanded.rule.next) {
            expanded.then = Then::GoOn(end);
            order.has_next = true;
        }
    }
    for group in spec.groups.iter().filter(|group| group.isolated) {
        let number = order.named(format!("group {} isolated", group.name));
        let member = Side { groups: vec![group.name.clone()], ..Side::default() };
        let apart = Rule { action: Action::Drop, from: member.clone(), to: member, ..Rule::default() };
        order.add(number, &apart, Then::Decide, &groups, &services)?;
    }
    for (number, rule) in stated(spec, None) {
        order.add(number, rule, Then::Decide, &groups, &services)?;
    }
    Some(order)
}

/// The rules of a tier that exist at present, in their order.
fn stated<'a>(spec: &'a Spec, tier: Option<&'a str>) -> impl Iterator<Item = (RuleId, &'a Rule)> {
    let rules = spec.rules.iter().enumerate().filter(move |(_, rule)| rule.tier.as_deref() == tier && !rule.idle);
    rules.map(|(number, rule)| (RuleId(number as u32), rule))
}

impl Order {
    fn named(&mut self, name: String) -> RuleId {
        let number = RuleId(self.names.len() as u32);
        self.names.push(name);
        number
    }

    fn add(
        &mut self,
        number: RuleId,
        rule: &Rule,
        then: Then,
        groups: &HashMap<&str, &Group>,
        services: &HashMap<&str, &[ServiceEntry]>,
    ) -> Option<()> {
        if rule.services.is_empty() && rule.from.groups.is_empty() && rule.to.groups.is_empty() {
            return self.push(rule.clone(), number, then);
        }
        let (from, to) = (alternatives(&rule.from, groups), alternatives(&rule.to, groups));
        for from in &from {
            for to in &to {
                let rule = Rule { from: from.clone(), to: to.clone(), ..rule.clone() };
                if rule.services.is_empty() {
                    self.push(rule, number, then)?;
                    continue;
                }
                for entry in rule.services.iter().filter_map(|name| services.get(name.as_str())).copied().flatten() {
                    let rule = Rule {
                        protocols: entry.protocols.clone(),
                        source_ports: entry.source_ports.clone(),
                        destination_ports: entry.destination_ports.clone(),
                        icmp: entry.icmp.clone(),
                        ..rule.clone()
                    };
                    self.push(rule, number, then)?;
                }
            }
        }
        Some(())
    }

    fn push(&mut self, rule: Rule, number: RuleId, then: Then) -> Option<()> {
        self.rules.push(Expanded { rule, number, then });
        (self.rules.len() <= EXPANDED_MAX).then_some(())
    }
}

/// The ways to be on a side: by the label of the port, by address and by MAC, as far as its groups have such members.
fn alternatives(side: &Side, groups: &HashMap<&str, &Group>) -> Vec<Side> {
    let named = || side.groups.iter().filter_map(|name| groups.get(name.as_str()));
    let mut all = vec![side.clone()];
    let addresses: Vec<IpNetwork> = named().flat_map(|group| &group.addresses).copied().collect();
    let macs: Vec<_> = named().flat_map(|group| &group.macs).copied().collect();
    let here = common(&side.addresses, &addresses);
    if !here.is_empty() {
        all.push(Side { groups: Vec::new(), addresses: here, ..side.clone() });
    }
    let here: Vec<_> = macs.into_iter().filter(|mac| side.macs.is_empty() || side.macs.contains(mac)).collect();
    if !here.is_empty() {
        all.push(Side { groups: Vec::new(), macs: here, ..side.clone() });
    }
    all
}

/// The networks that are in both lists; an empty `stated` stands for all.
fn common(stated: &[IpNetwork], members: &[IpNetwork]) -> Vec<IpNetwork> {
    if stated.is_empty() {
        return members.to_vec();
    }
    let within =
        |inner: &IpNetwork, outer: &IpNetwork| inner.prefix() >= outer.prefix() && outer.contains(inner.network());
    let mut found = Vec::new();
    for one in stated {
        for other in members {
            if within(one, other) {
                found.push(*one);
            } else if within(other, one) {
                found.push(*other);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_in_both_lists_are_the_narrower_ones() {
        let nets = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNetwork>>();
        let stated = nets(&["10.0.0.0/8", "192.0.2.1/32", "fd00::/8"]);
        let members = nets(&["10.1.0.0/16", "192.0.2.0/24", "198.51.100.0/24"]);
        assert_eq!(common(&stated, &members), nets(&["10.1.0.0/16", "192.0.2.1/32"]));
        assert_eq!(common(&[], &members), members);
    }
}
