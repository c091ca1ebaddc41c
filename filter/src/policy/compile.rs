//! From a policy as it is stated to tables.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use weir_wire::{Epoch, MacAddr};

use super::check::{self, EXPANDED_MAX, NOTHING};
use super::expand::expand;
use super::sets::{Intervals, Maker, Ranges, Row, Set, Value};
use super::spec::{Rule, Side, Spec};
use super::tables::{ByAddress, ByMac, ByPort, Tables};
use super::{Decision, Dscp, Entry, Policy, PolicyErrors, TRUSTED};
use crate::content::rules as content;

pub(super) fn compile(spec: &Spec, epoch: Epoch) -> Result<Policy, PolicyErrors> {
    let errors = check::check(spec);
    if !errors.is_empty() {
        return Err(PolicyErrors(errors));
    }
    let program = |name: Option<&str>| -> Option<u16> {
        let name = name.filter(|&name| name != NOTHING)?;
        u16::try_from(spec.rule_sets.iter().position(|(known, _)| known == name)?).ok()
    };
    let Some(order) = expand(spec) else {
        let text = format!(
            "with their services and groups the rules are more than {EXPANDED_MAX}: name fewer services or groups in one rule"
        );
        return Err(PolicyErrors(vec![text]));
    };
    let entries = order.rules.iter().map(|expanded| {
        let rule = &expanded.rule;
        let decision = Decision {
            action: rule.action,
            rule: expanded.number,
            log: rule.log,
            program: if rule.trusted { Some(TRUSTED) } else { program(rule.inspect.as_deref()) },
            overload: rule.overload,
            dscp: rule.dscp.and_then(Dscp::new),
        };
        Entry { decision, inherits: rule.inspect.is_none() && !rule.trusted, then: expanded.then }
    });
    let entries = entries.collect();
    let switches = spec.switches.iter().map(|switch| {
        let program = program(switch.inspect.as_deref());
        (switch.id, Decision { action: switch.default, program, ..Decision::default() })
    });
    let known = content::Known {
        switches: spec.switches.iter().map(|switch| (switch.name.as_str(), switch.id)).collect(),
        ports: spec.ports.iter().map(|port| (port.name.as_str(), port.id, port.groups.as_slice())).collect(),
    };
    let content = content::Content::compile(&spec.content, &known).map_err(PolicyErrors)?;
    let mut listened = spec.listened.clone();
    listened.sort_unstable();
    Ok(Policy {
        epoch,
        listened,
        entries,
        tables: tables(spec, order.rules.into_iter().map(|expanded| expanded.rule).collect())?,
        names: order.names,
        has_next: order.has_next,
        before: None,
        switches: switches.collect(),
        programs: spec.rule_sets.clone(),
        no_rules: Arc::default(),
        content: Arc::new(content),
        scan: Arc::clone(&spec.scan),
        settings: spec.settings,
        accounts: super::Accounts::new(&spec.accounts, &spec.syn_proxies),
    })
}

fn tables(spec: &Spec, rules: Vec<Rule>) -> Result<Tables, PolicyErrors> {
    let rules = &rules;
    let mut maker = Maker::new(rules.len());
    let m = &mut maker;
    let no_ip = |r: &Rule| {
        r.from.addresses.is_empty()
            && r.to.addresses.is_empty()
            && r.protocols.is_empty()
            && r.source_ports.is_empty()
            && r.destination_ports.is_empty()
            && r.icmp.is_empty()
    };
    let no_ports = |r: &Rule| r.source_ports.is_empty() && r.destination_ports.is_empty();
    let without_ip = m.set(|n| rules.get(n).is_some_and(no_ip));
    let without_ports = m.set(|n| rules.get(n).is_some_and(no_ports));
    let without_icmp = m.set(|n| rules.get(n).is_some_and(|r| r.icmp.is_empty()));
    let mut tables = Tables {
        from: by_port(m, spec, rules, |r| &r.from),
        to: by_port(m, spec, rules, |r| &r.to),
        switch: by_switch(m, spec, rules),
        source_mac: by_mac(m, rules, |r| &r.from.macs),
        destination_mac: by_mac(m, rules, |r| &r.to.macs),
        vlan: intervals(m, rules, |r| ends(&r.vlans)),
        ether_type: intervals(m, rules, |r| r.ether_types.iter().map(|&t| (t, t)).collect()),
        source: by_address(m, rules, |r| &r.from.addresses),
        destination: by_address(m, rules, |r| &r.to.addresses),
        without_ip: m.row(&without_ip),
        protocol: intervals(m, rules, |r| r.protocols.iter().map(|&p| (p, p)).collect()),
        source_port: intervals(m, rules, |r| ends(&r.source_ports)),
        destination_port: intervals(m, rules, |r| ends(&r.destination_ports)),
        without_ports: m.row(&without_ports),
        icmp: intervals(m, rules, icmp_ranges),
        without_icmp: m.row(&without_icmp),
        rows: super::sets::Rows::default(),
    };
    tables.rows = maker.finish().ok_or_else(|| {
        let limit = super::sets::ROWS_MAX_BYTES >> 20;
        let text = format!(
            "the rules need tables of more than {limit} MiB: they name too many different addresses and ports; \
             put addresses that are treated alike into one rule"
        );
        PolicyErrors(vec![text])
    })?;
    Ok(tables)
}

fn ends(ranges: &[RangeInclusive<u16>]) -> Ranges<u16> {
    ranges.iter().map(|range| (*range.start(), *range.end())).collect()
}

/// Type and code as one number, all codes where none is stated.
fn icmp_ranges(rule: &Rule) -> Ranges<u16> {
    let range = |icmp: &super::spec::Icmp| {
        let kind = u16::from(icmp.kind) << 8;
        match icmp.code {
            Some(code) => (kind | u16::from(code), kind | u16::from(code)),
            None => (kind, kind | 0xff),
        }
    };
    rule.icmp.iter().map(range).collect()
}

/// Intervals of the rules that state ranges; rules that state none match every value.
fn intervals<T: Value>(maker: &mut Maker, rules: &[Rule], stated: impl Fn(&Rule) -> Ranges<T>) -> Intervals<T> {
    let mut open = maker.empty();
    let mut ranges = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        let stated = stated(rule);
        if stated.is_empty() { open.add(number) } else { ranges.push((number, stated)) }
    }
    Intervals::new(maker, &open, ranges)
}

/// As [`intervals`], but a rule that states addresses of one family only matches none of the other.
fn by_address(maker: &mut Maker, rules: &[Rule], stated: impl Fn(&Rule) -> &Vec<IpNetwork>) -> ByAddress {
    let mut open = maker.empty();
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (number, rule) in rules.iter().enumerate() {
        let networks = stated(rule);
        if networks.is_empty() {
            open.add(number);
        }
        let (mut here4, mut here6) = (Ranges::new(), Ranges::new());
        for network in networks {
            match network {
                IpNetwork::V4(n) => here4.push((u32::from(n.network()), u32::from(n.broadcast()))),
                IpNetwork::V6(n) => here6.push((u128::from(n.network()), u128::from(n.broadcast()))),
            }
        }
        v4.push((number, here4));
        v6.push((number, here6));
    }
    ByAddress { v4: Intervals::new(maker, &open, v4), v6: Intervals::new(maker, &open, v6) }
}

fn by_mac(maker: &mut Maker, rules: &[Rule], stated: impl Fn(&Rule) -> &Vec<MacAddr>) -> ByMac {
    let open = maker.set(|number| rules.get(number).is_some_and(|rule| stated(rule).is_empty()));
    let mut sets: BTreeMap<MacAddr, Set> = BTreeMap::new();
    for (number, rule) in rules.iter().enumerate() {
        for mac in stated(rule) {
            sets.entry(*mac).or_insert_with(|| open.clone()).add(number);
        }
    }
    let rows = sets.into_iter().map(|(mac, set)| (mac, maker.row(&set))).collect();
    ByMac { rows, other: maker.row(&open) }
}

fn by_switch(maker: &mut Maker, spec: &Spec, rules: &[Rule]) -> ByPort {
    let numbers: Vec<(usize, &str)> = spec.switches.iter().map(|s| (usize::from(s.id.0), s.name.as_str())).collect();
    let open = maker.set(|number| rules.get(number).is_some_and(|rule| rule.switches.is_empty()));
    let mut sets: BTreeMap<&str, Set> = BTreeMap::new();
    for (number, rule) in rules.iter().enumerate() {
        for name in &rule.switches {
            sets.entry(name).or_insert_with(|| open.clone()).add(number);
        }
    }
    by_number(maker, &open, &numbers, |name| sets.get(name).cloned())
}

/// A port matches a side that names it, or one of its groups; a side that names both asks for both.
fn by_port(maker: &mut Maker, spec: &Spec, rules: &[Rule], side: impl Fn(&Rule) -> &Side) -> ByPort {
    let numbers: Vec<(usize, &str)> = spec.ports.iter().map(|p| (usize::from(p.id.0), p.name.as_str())).collect();
    let groups: BTreeMap<&str, &[String]> = spec.ports.iter().map(|p| (p.name.as_str(), p.groups.as_slice())).collect();
    let open_port = maker.set(|n| rules.get(n).is_some_and(|r| side(r).ports.is_empty()));
    let open_group = maker.set(|n| rules.get(n).is_some_and(|r| side(r).groups.is_empty()));
    let (mut named, mut grouped): (BTreeMap<&str, Set>, BTreeMap<&str, Set>) = Default::default();
    for (number, rule) in rules.iter().enumerate() {
        for name in &side(rule).ports {
            named.entry(name).or_insert_with(|| open_port.clone()).add(number);
        }
        for group in &side(rule).groups {
            grouped.entry(group).or_insert_with(|| open_group.clone()).add(number);
        }
    }
    let open = open_port.and(&open_group);
    by_number(maker, &open, &numbers, |name| {
        let by_name = named.get(name).unwrap_or(&open_port);
        let carried = groups.get(name).into_iter().flat_map(|groups| groups.iter());
        let by_group = carried.filter_map(|group| grouped.get(group.as_str())).fold(open_group.clone(), |a, b| a.or(b));
        Some(by_name.and(&by_group))
    })
}

fn by_number<'a>(
    maker: &mut Maker,
    open: &Set,
    numbers: &[(usize, &'a str)],
    set_of: impl Fn(&'a str) -> Option<Set>,
) -> ByPort {
    let elsewhere: Row = maker.row(open);
    let highest = numbers.iter().map(|&(number, _)| number + 1).max().unwrap_or(0);
    let mut rows = vec![elsewhere; highest];
    for &(number, name) in numbers {
        if let (Some(row), Some(set)) = (rows.get_mut(number), set_of(name)) {
            *row = maker.row(&set);
        }
    }
    ByPort { rows, elsewhere }
}
