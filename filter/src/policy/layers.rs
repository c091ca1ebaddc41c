//! Tiers, services, groups and their settings against a model that reads them one by one, as a person would.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weir_wire::{Epoch, MacAddr, PortId};

use super::model::{Random, matches};
use super::spec::{Action, Group, Icmp, Rule, Service, ServiceEntry, Side, Spec, Tier};
use super::{Policy, Subject};

impl Random {
    fn layers(&mut self, rules: usize) -> Spec {
        let mut spec = self.spec(rules);
        let default = |r: &mut Random| [None, None, Some(Action::Drop)][r.below(3) as usize];
        spec.tiers =
            ["t0", "t1", "t2"].map(|name| Tier { name: name.into(), default: default(self) }).into_iter().collect();
        let ports = |from, to| vec![from..=to];
        let tcp = ServiceEntry { protocols: vec![6], destination_ports: ports(53, 80), ..ServiceEntry::default() };
        let udp = ServiceEntry { protocols: vec![17], destination_ports: ports(53, 53), ..ServiceEntry::default() };
        let ping = ServiceEntry { icmp: vec![Icmp { kind: 8, code: None }], ..ServiceEntry::default() };
        spec.services = vec![
            Service { name: "s0".into(), entries: vec![tcp, udp] },
            Service { name: "s1".into(), entries: vec![ping] },
        ];
        spec.groups = (0..4)
            .map(|n| Group {
                name: format!("group{n}"),
                addresses: self.some(Random::network),
                macs: self.some(Random::mac),
                isolated: self.one_in(3),
            })
            .collect();
        for rule in &mut spec.rules {
            if self.one_in(2) {
                rule.tier = Some(format!("t{}", self.below(3)));
                rule.next = self.one_in(3);
            }
            rule.idle = self.one_in(8);
            if self.one_in(3) {
                rule.services = vec![format!("s{}", self.below(2))];
                (rule.protocols, rule.source_ports) = (Vec::new(), Vec::new());
                (rule.destination_ports, rule.icmp) = (Vec::new(), Vec::new());
            }
        }
        spec
    }
}

fn is_member(spec: &Spec, group: &str, port: PortId, mac: MacAddr, address: Option<IpAddr>) -> bool {
    let labelled = spec.ports.iter().any(|known| known.id == port && known.groups.iter().any(|label| label == group));
    let listed = spec.groups.iter().find(|known| known.name == group).is_some_and(|known| {
        known.macs.contains(&mac)
            || known.addresses.iter().any(|network| address.is_some_and(|address| network.contains(address)))
    });
    labelled || listed
}

fn is_on(spec: &Spec, side: &Side, port: PortId, mac: MacAddr, address: Option<IpAddr>) -> bool {
    side.groups.is_empty() || side.groups.iter().any(|group| is_member(spec, group, port, mac, address))
}

/// Whether a rule matches with its groups and services.
fn fits(spec: &Spec, rule: &Rule, s: &Subject) -> bool {
    let (source, destination) = (s.tuple.map(|t| t.source), s.tuple.map(|t| t.destination));
    if !is_on(spec, &rule.from, s.from, s.source_mac, source)
        || !is_on(spec, &rule.to, s.to, s.destination_mac, destination)
    {
        return false;
    }
    let mut plain = rule.clone();
    (plain.from.groups, plain.to.groups) = (Vec::new(), Vec::new());
    if rule.services.is_empty() {
        return matches(spec, &plain, s);
    }
    let entries = spec.services.iter().filter(|service| rule.services.contains(&service.name));
    entries.flat_map(|service| &service.entries).any(|entry| {
        let spoken = Rule {
            protocols: entry.protocols.clone(),
            destination_ports: entry.destination_ports.clone(),
            icmp: entry.icmp.clone(),
            ..plain.clone()
        };
        matches(spec, &spoken, s)
    })
}

fn model(spec: &Spec, s: &Subject) -> (Action, String) {
    let live = |tier: Option<&str>| {
        spec.rules.iter().filter(move |rule| rule.tier.as_deref() == tier && !rule.idle).collect::<Vec<_>>()
    };
    for tier in &spec.tiers {
        match live(Some(&tier.name)).into_iter().find(|rule| fits(spec, rule, s)) {
            Some(rule) if !rule.next => return (rule.action, rule.name.clone()),
            Some(_) => continue,
            None => {}
        }
        if let Some(action) = tier.default.filter(|_| !s.resolves_addresses()) {
            return (action, format!("tier {} default", tier.name));
        }
    }
    for group in spec.groups.iter().filter(|group| group.isolated) {
        let (source, destination) = (s.tuple.map(|t| t.source), s.tuple.map(|t| t.destination));
        if is_member(spec, &group.name, s.from, s.source_mac, source)
            && is_member(spec, &group.name, s.to, s.destination_mac, destination)
        {
            return (Action::Drop, format!("group {} isolated", group.name));
        }
    }
    if let Some(rule) = live(None).into_iter().find(|rule| fits(spec, rule, s)) {
        return (rule.action, rule.name.clone());
    }
    let default = spec.switches.iter().find(|known| known.id == s.switch).map_or(Action::Drop, |known| known.default);
    (if s.resolves_addresses() { Action::Allow } else { default }, "default".into())
}

#[test]
fn tiers_services_and_groups_decide_as_they_read() {
    let (mut by_tier, mut by_group) = (0, 0);
    for seed in 0..60 {
        let mut random = Random(seed);
        let rules = [1, 10, 64, 130, 300][random.below(5) as usize];
        let spec = random.layers(rules);
        let policy = Policy::compile(&spec, Epoch(seed)).unwrap();
        for _ in 0..1000 {
            let subject = random.subject();
            let decision = policy.judge(&subject);
            let found = (decision.action, policy.rule_name(decision.rule).to_owned());
            assert_eq!(found, model(&spec, &subject), "seed {seed}: {subject:?}");
            assert_eq!(policy.judge(&policy.asked(&subject)), decision, "seed {seed}: what rules cannot tell apart");
            by_tier += usize::from(found.1.starts_with("tier"));
            by_group += usize::from(found.1.starts_with("group"));
        }
    }
    assert!(by_tier > 100 && by_group > 10, "{by_tier} {by_group}");
}

fn rule(name: &str, action: Action) -> Rule {
    Rule { name: name.into(), action, ..Rule::default() }
}

#[test]
fn a_rule_that_hands_on_is_told_and_what_follows_decides() {
    let tier = |name: &str| Tier { name: name.into(), default: None };
    let spec = Spec {
        tiers: vec![tier("emergency"), tier("site")],
        rules: vec![
            rule("tenant", Action::Allow),
            Rule { next: true, tier: Some("emergency".into()), ..rule("fine", Action::Allow) },
            Rule { tier: Some("emergency".into()), ..rule("never", Action::Drop) },
        ],
        ..Spec::default()
    };
    let policy = Policy::compile(&spec, Epoch(1)).unwrap();
    let subject = Random(1).subject();
    let mut passed = Vec::new();
    policy.passed(&subject, |rule| passed.push(policy.rule_name(rule).to_owned()));
    assert_eq!((policy.rule_name(policy.judge(&subject).rule), passed), ("tenant", vec!["fine".to_owned()]));
}

#[test]
fn a_rule_whose_schedule_is_closed_does_not_exist() {
    let mut spec = Spec { rules: vec![rule("night", Action::Drop), rule("rest", Action::Allow)], ..Spec::default() };
    let subject = Random(1).subject();
    for (idle, decides) in [(false, "night"), (true, "rest")] {
        spec.rules[0].idle = idle;
        let policy = Policy::compile(&spec, Epoch(1)).unwrap();
        assert_eq!(policy.rule_name(policy.judge(&subject).rule), decides);
    }
}

#[test]
fn unknown_names_and_mixed_statements_are_told() {
    let rules = vec![
        Rule { services: vec!["ghost".into()], tier: Some("nowhere".into()), ..rule("one", Action::Allow) },
        Rule { services: vec!["web".into()], protocols: vec![6], ..rule("two", Action::Allow) },
        Rule { next: true, ..rule("three", Action::Allow) },
    ];
    let udp = ServiceEntry { protocols: vec![1], destination_ports: vec![1..=2], ..ServiceEntry::default() };
    let services =
        vec![Service { name: "web".into(), entries: Vec::new() }, Service { name: "odd".into(), entries: vec![udp] }];
    let errors = Policy::compile(&Spec { rules, services, ..Spec::default() }, Epoch(1)).unwrap_err().0;
    for wanted in [
        "service \"web\" has no entry",
        "service \"odd\": it asks for ports, but its protocols have none",
        "rule \"one\": there is no service \"ghost\"",
        "rule \"one\": there is no tier \"nowhere\"",
        "rule \"two\": it has services and a protocol",
        "rule \"three\": it has no tier",
    ] {
        assert!(errors.iter().any(|error| error.contains(wanted)), "{wanted}: {errors:#?}");
    }
    assert_eq!(errors.len(), 6);
}

#[test]
fn too_many_alternatives_are_refused() {
    let network = |n: u32| IpNetwork::new(std::net::Ipv4Addr::from(n).into(), 32).unwrap();
    let group = Group { name: "g".into(), addresses: vec![network(1)], macs: vec![MacAddr([2; 6])], isolated: false };
    let entry = ServiceEntry { protocols: vec![6], ..ServiceEntry::default() };
    let side = Side { groups: vec!["g".into()], ..Side::default() };
    let all = |n: usize| Rule {
        services: vec!["s".into()],
        from: side.clone(),
        to: side.clone(),
        ..rule(&format!("r{n}"), Action::Drop)
    };
    let spec = Spec {
        groups: vec![group],
        services: vec![Service { name: "s".into(), entries: vec![entry; 100] }],
        rules: (0..300).map(all).collect(),
        ..Spec::default()
    };
    let errors = Policy::compile(&spec, Epoch(1)).unwrap_err();
    assert!(errors.0[0].contains("fewer services or groups"), "{errors}");
}
