//! What can be wrong with a policy, said so that it can be put right.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::spec::{Icmp, Rule, Side, Spec};

/// Rules that a policy may have.
pub(super) const RULES_MAX: usize = 65_536;
/// Rules in the tables, where services and groups have become alternatives.
pub(super) const EXPANDED_MAX: usize = 262_144;
/// Tiers that a policy may have.
const TIERS_MAX: usize = 16;
/// The rule-set name that stands for "inspect nothing".
pub(super) const NOTHING: &str = "none";

/// All problems of a policy.
pub(super) fn check(spec: &Spec) -> Vec<String> {
    let mut errors = Vec::new();
    let mut say = |text: String| errors.push(text);
    if spec.rules.len() > RULES_MAX {
        say(format!(
            "{} rules are more than the {RULES_MAX} a policy may have: merge some with lists",
            spec.rules.len()
        ));
    }
    unique("switch", spec.switches.iter().map(|s| s.name.as_str()), &mut say);
    unique("port", spec.ports.iter().map(|p| p.name.as_str()), &mut say);
    unique("rule", spec.rules.iter().map(|r| r.name.as_str()), &mut say);
    unique("rule set", spec.rule_sets.iter().map(|(name, _)| name.as_str()), &mut say);
    unique("tier", spec.tiers.iter().map(|tier| tier.name.as_str()), &mut say);
    unique("service", spec.services.iter().map(|service| service.name.as_str()), &mut say);
    unique("group", spec.groups.iter().map(|group| group.name.as_str()), &mut say);
    if spec.tiers.len() > TIERS_MAX {
        say(format!("{} tiers are more than the {TIERS_MAX} a policy may have", spec.tiers.len()));
    }
    for service in &spec.services {
        if service.entries.is_empty() {
            say(format!("service \"{}\" has no entry: give it a protocol with ports or types", service.name));
        }
        for entry in &service.entries {
            let ports = [entry.source_ports.as_slice(), entry.destination_ports.as_slice()];
            check_match(&entry.protocols, ports, &entry.icmp, &mut |text| {
                say(format!("service \"{}\": {text}", service.name));
            });
        }
    }
    for (at, switch) in spec.switches.iter().enumerate() {
        if spec.switches.iter().take(at).any(|other| other.id == switch.id) {
            say(format!("switch \"{}\": its number {} belongs to another switch", switch.name, switch.id.0));
        }
        if let Some(set) = missing_set(spec, switch.inspect.as_deref()) {
            say(format!("switch \"{}\": there is no rule set \"{set}\"; add it, or write \"none\"", switch.name));
        }
    }
    for rule in &spec.rules {
        check_rule(spec, rule, &mut |text| say(format!("rule \"{}\": {text}", rule.name)));
    }
    errors
}

fn unique<'a>(kind: &str, names: impl Iterator<Item = &'a str>, say: &mut impl FnMut(String)) {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    names.for_each(|name| *times.entry(name).or_default() += 1);
    for (name, times) in times {
        if name.is_empty() {
            say(format!("a {kind} has no name: give it one"));
        } else if times > 1 {
            say(format!("{times} {kind}s are called \"{name}\": give each a name of its own"));
        }
    }
}

fn missing_set<'a>(spec: &Spec, name: Option<&'a str>) -> Option<&'a str> {
    name.filter(|&name| name != NOTHING && spec.rule_sets.iter().all(|(known, _)| known != name))
}

fn check_rule(spec: &Spec, rule: &Rule, say: &mut impl FnMut(String)) {
    if let Some(dscp) = rule.dscp.filter(|dscp| *dscp > 63) {
        say(format!("dscp = {dscp} is outside 0 to 63"));
    }
    for name in rule.switches.iter().filter(|name| spec.switches.iter().all(|s| s.name != **name)) {
        say(format!("there is no switch \"{name}\"; add it, or take it off the rule"));
    }
    for (side, stated) in [("from", &rule.from), ("to", &rule.to)] {
        check_side(spec, side, stated, say);
    }
    if let Some(set) = missing_set(spec, rule.inspect.as_deref()) {
        say(format!("there is no rule set \"{set}\"; add it, or write \"none\" to inspect nothing"));
    }
    check_ranges("vlans", &rule.vlans, 4094, say);
    check_match(&rule.protocols, [&rule.source_ports, &rule.destination_ports], &rule.icmp, say);
    for name in rule.services.iter().filter(|name| spec.services.iter().all(|s| s.name != **name)) {
        say(format!("there is no service \"{name}\"; add it, or state protocol and ports in the rule"));
    }
    let states = !(rule.protocols.is_empty()
        && rule.source_ports.is_empty()
        && rule.destination_ports.is_empty()
        && rule.icmp.is_empty());
    if states && !rule.services.is_empty() {
        say("it has services and a protocol, ports or ICMP types of its own: make two rules of it".into());
    }
    match &rule.tier {
        Some(tier) if spec.tiers.iter().all(|known| known.name != *tier) => {
            say(format!("there is no tier \"{tier}\"; add it, or take it off the rule"));
        }
        None if rule.next => say("it has no tier that another could follow: give it one, or let it decide".into()),
        Some(_) | None => {}
    }
}

/// What rules and services ask of a protocol.
fn check_match(
    protocols: &[u8],
    [source, destination]: [&[RangeInclusive<u16>]; 2],
    icmp: &[Icmp],
    say: &mut impl FnMut(String),
) {
    check_ranges("source_ports", source, u16::MAX, say);
    check_ranges("destination_ports", destination, u16::MAX, say);
    let names = |wanted: &[u8]| protocols.is_empty() || protocols.iter().any(|p| wanted.contains(p));
    let ports = !source.is_empty() || !destination.is_empty();
    if ports && !names(&[6, 17]) {
        say("it asks for ports, but its protocols have none: add 6 (TCP) or 17 (UDP)".into());
    }
    if !icmp.is_empty() && !names(&[1, 58]) {
        say("it asks for ICMP types, but not for ICMP: add protocol 1 (ICMP) or 58 (ICMPv6)".into());
    }
    if ports && !icmp.is_empty() {
        say("no packet has both ports and an ICMP type: make two rules of it".into());
    }
}

fn check_side(spec: &Spec, side: &str, stated: &Side, say: &mut impl FnMut(String)) {
    for name in stated.ports.iter().filter(|name| spec.ports.iter().all(|p| p.name != **name)) {
        say(format!("{side}: there is no port \"{name}\"; add it, or name a group, which may be empty"));
    }
}

fn check_ranges(what: &str, ranges: &[RangeInclusive<u16>], max: u16, say: &mut impl FnMut(String)) {
    for range in ranges {
        if range.is_empty() {
            say(format!("{what}: {}-{} holds nothing; write the smaller number first", range.start(), range.end()));
        } else if *range.end() > max {
            say(format!("{what}: {} is above {max}", range.end()));
        }
    }
}
