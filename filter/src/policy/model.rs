//! The tables against a model that reads the rules one by one, as a person would; and what a policy is refused for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use weir_wire::build::{self, Ends};
use weir_wire::{Epoch, MacAddr, Packet, Pool, PortId, RuleId, SwitchId, TcpFields, Vid};

use super::spec::{Action, Icmp, Port, Rule, Side, Spec, Switch};
use super::{Policy, Subject};
use crate::event::Tuple;

/// SplitMix64.
pub(super) struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Up to two of something, mostly none.
    pub fn some<T>(&mut self, mut make: impl FnMut(&mut Random) -> T) -> Vec<T> {
        if !self.one_in(3) {
            return vec![];
        }
        (0..1 + self.below(2)).map(|_| make(self)).collect()
    }

    fn address(&mut self) -> IpAddr {
        if self.one_in(3) {
            let low = self.below(4) as u16;
            IpAddr::V6(Ipv6Addr::new(0xfd00, self.below(3) as u16, 0, 0, 0, 0, 0, low))
        } else {
            IpAddr::V4(Ipv4Addr::new(10, self.below(3) as u8, self.below(3) as u8, self.below(4) as u8))
        }
    }

    pub fn network(&mut self) -> IpNetwork {
        let address = self.address();
        let prefix = match address {
            IpAddr::V4(_) => [0, 8, 16, 24, 31, 32][self.below(6) as usize],
            IpAddr::V6(_) => [0, 16, 32, 64, 127, 128][self.below(6) as usize],
        };
        IpNetwork::new(address, prefix).unwrap()
    }

    pub fn mac(&mut self) -> MacAddr {
        MacAddr([2, 0, 0, 0, 0, self.below(5) as u8])
    }

    fn range(&mut self) -> std::ops::RangeInclusive<u16> {
        let first = [0, 1, 53, 80, 443, 1024, 65_535][self.below(7) as usize];
        let length = [0, 1, 100, 65_535][self.below(4) as usize];
        first..=u16::saturating_add(first, length)
    }

    fn side(&mut self) -> Side {
        Side {
            ports: self.some(|r| format!("port{}", r.below(6))),
            groups: self.some(|r| format!("group{}", r.below(5))),
            addresses: self.some(Random::network),
            macs: if self.one_in(5) { vec![self.mac()] } else { vec![] },
        }
    }

    fn rule(&mut self, number: usize) -> Rule {
        let mut rule = Rule {
            name: format!("rule{number}"),
            action: [Action::Allow, Action::Drop, Action::Reject][self.below(3) as usize],
            switches: if self.one_in(4) { vec![format!("switch{}", self.below(3))] } else { vec![] },
            from: self.side(),
            to: self.side(),
            vlans: if self.one_in(5) { vec![self.below(3) as u16..=self.below(20) as u16 + 3] } else { vec![] },
            ether_types: if self.one_in(6) { vec![[0x0800, 0x86dd, 0x0806][self.below(3) as usize]] } else { vec![] },
            protocols: self.some(|r| [1, 6, 17, 47, 58][r.below(5) as usize]),
            ..Rule::default()
        };
        let with_ports = rule.protocols.is_empty() || rule.protocols.iter().any(|p| [6, 17].contains(p));
        let with_icmp = rule.protocols.is_empty() || rule.protocols.iter().any(|p| [1, 58].contains(p));
        match self.below(3) {
            0 if with_ports => {
                rule.source_ports = self.some(Random::range);
                rule.destination_ports = self.some(Random::range);
            }
            1 if with_icmp => {
                let code = |r: &mut Random| if r.one_in(2) { Some(r.below(3) as u8) } else { None };
                rule.icmp = self.some(|r| Icmp { kind: [3, 8, 128, 255][r.below(4) as usize], code: code(r) });
            }
            _ => {}
        }
        rule
    }

    pub fn spec(&mut self, rules: usize) -> Spec {
        let switch = |id, default| Switch { id: SwitchId(id), name: format!("switch{id}"), default, inspect: None };
        let ports = (0..6).map(|id| Port {
            id: PortId(id * 3),
            name: format!("port{id}"),
            groups: self.some(|r| format!("group{}", r.below(4))),
        });
        let ports = ports.collect();
        Spec {
            switches: vec![switch(0, Action::Allow), switch(1, Action::Drop), switch(2, Action::Reject)],
            ports,
            rules: (0..rules).map(|number| self.rule(number)).collect(),
            ..Spec::default()
        }
    }

    pub fn subject(&mut self) -> Subject {
        let tuple = (!self.one_in(6)).then(|| {
            let source = self.address();
            let mut destination = self.address();
            while destination.is_ipv4() != source.is_ipv4() {
                destination = self.address();
            }
            let protocol = [1, 6, 17, 47, 58][self.below(5) as usize];
            let (source_port, destination_port) = match protocol {
                6 | 17 => {
                    ([0, 53, 80, 500, 65_535][self.below(5) as usize], [53, 80, 81, 2000][self.below(4) as usize])
                }
                1 | 58 => ([3, 8, 128, 134, 135, 255][self.below(6) as usize], self.below(4) as u16),
                _ => (0, 0),
            };
            Tuple { source, destination, source_port, destination_port, protocol }
        });
        let ether_type = match &tuple {
            Some(t) if t.source.is_ipv4() => 0x0800,
            Some(_) => 0x86dd,
            None => [0x0806, 0x88cc][self.below(2) as usize],
        };
        Subject {
            switch: SwitchId(self.below(4) as u16),
            vid: Vid(self.below(25) as u16),
            from: PortId(self.below(20) as u16),
            to: PortId(self.below(20) as u16),
            source_mac: self.mac(),
            destination_mac: self.mac(),
            ether_type,
            tuple,
        }
    }
}

fn any<T>(stated: &[T], fits: impl Fn(&T) -> bool) -> bool {
    stated.is_empty() || stated.iter().any(fits)
}

fn side_matches(spec: &Spec, side: &Side, port: PortId, mac: MacAddr, address: Option<IpAddr>) -> bool {
    let known = spec.ports.iter().find(|p| p.id == port);
    any(&side.ports, |name| known.is_some_and(|p| p.name == **name))
        && any(&side.groups, |group| known.is_some_and(|p| p.groups.contains(group)))
        && any(&side.macs, |m| *m == mac)
        && any(&side.addresses, |network| address.is_some_and(|address| network.contains(address)))
}

/// Whether a rule matches, read off its text.
pub(super) fn matches(spec: &Spec, rule: &Rule, s: &Subject) -> bool {
    let switch = spec.switches.iter().find(|known| known.id == s.switch);
    let t = s.tuple;
    let ports = t.filter(|t| [6, 17].contains(&t.protocol)).map(|t| (t.source_port, t.destination_port));
    let icmp = t.filter(|t| (t.protocol == 1 && t.source.is_ipv4()) || (t.protocol == 58 && t.source.is_ipv6()));
    any(&rule.switches, |name| switch.is_some_and(|known| known.name == **name))
        && side_matches(spec, &rule.from, s.from, s.source_mac, t.map(|t| t.source))
        && side_matches(spec, &rule.to, s.to, s.destination_mac, t.map(|t| t.destination))
        && any(&rule.vlans, |range| range.contains(&s.vid.0))
        && any(&rule.ether_types, |ether_type| *ether_type == s.ether_type)
        && any(&rule.protocols, |protocol| t.is_some_and(|t| t.protocol == *protocol))
        && any(&rule.source_ports, |range| ports.is_some_and(|(source, _)| range.contains(&source)))
        && any(&rule.destination_ports, |range| ports.is_some_and(|(_, destination)| range.contains(&destination)))
        && any(&rule.icmp, |i| {
            icmp.is_some_and(|t| {
                t.source_port == u16::from(i.kind) && i.code.is_none_or(|code| u16::from(code) == t.destination_port)
            })
        })
}

fn model(spec: &Spec, s: &Subject) -> (Action, RuleId) {
    match spec.rules.iter().position(|rule| matches(spec, rule, s)) {
        Some(number) => (spec.rules[number].action, RuleId(number as u32)),
        None if s.ether_type == 0x0806 => (Action::Allow, RuleId::DEFAULT),
        None if s.ether_type == 0x86dd
            && s.tuple.is_some_and(|t| t.protocol == 58 && [133, 135, 136].contains(&t.source_port)) =>
        {
            (Action::Allow, RuleId::DEFAULT)
        }
        None => {
            let switch = spec.switches.iter().find(|known| known.id == s.switch);
            (switch.map_or(Action::Drop, |known| known.default), RuleId::DEFAULT)
        }
    }
}

#[test]
fn the_tables_answer_as_the_rules_do() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let rules = [0, 1, 10, 64, 65, 300, 700][random.below(7) as usize];
        let spec = random.spec(rules);
        let policy = Policy::compile(&spec, Epoch(seed)).unwrap();
        let mut decided = 0;
        for _ in 0..2000 {
            let subject = random.subject();
            let decision = policy.judge(&subject);
            assert_eq!((decision.action, decision.rule), model(&spec, &subject), "seed {seed}: {subject:?}");
            decided += usize::from(decision.rule != RuleId::DEFAULT);
        }
        assert!(decided > 0 || rules < 10, "seed {seed}");
    }
}

/// The first packet of a flow as it is asked about in words, which say what rules can tell apart of it.
#[derive(Clone, Copy, Debug)]
struct First {
    ends: Ends,
    ports: (u16, u16),
    tcp: bool,
    vid: u16,
    switch: u16,
    from: u16,
    to: u16,
}

impl First {
    fn packet(&self, pool: &mut Pool) -> Packet {
        let (source_port, destination_port) = self.ports;
        let frame = match self.tcp {
            true => {
                build::tcp(self.ends, TcpFields { source_port, destination_port, ..TcpFields::default() }, &[], b"")
            }
            false => build::udp(self.ends, self.ports, b""),
        };
        let mut packet = build::packet(&frame, PortId(self.from), pool).unwrap();
        packet.vid = Vid(self.vid);
        packet
    }

    /// Its words, and what a subject says of it.
    fn asked(&self, policy: &Policy, pool: &mut Pool) -> (super::Words, Subject) {
        let (packet, switch) = (self.packet(pool), SwitchId(self.switch));
        let (key, from_low) = crate::flow::key::common(&packet, switch).unwrap();
        let words = policy.words(&packet, switch, (&key, from_low), [PortId(self.from), PortId(self.to)]);
        let subject = Subject::of_packet(&packet, switch, PortId(self.to));
        pool.give(packet.buffer);
        (words, subject)
    }
}

#[test]
fn words_hold_macs_and_vlans_where_rules_name_them_and_not_otherwise() {
    let mac = |last| MacAddr([2, 0, 0, 0, 0, last]);
    let with = |change: &dyn Fn(&mut Rule)| {
        let mut rule = Rule { name: "r".into(), ..Rule::default() };
        change(&mut rule);
        Policy::compile(&Spec { rules: vec![rule], ..Spec::default() }, Epoch(1)).unwrap()
    };
    let plain = with(&|_| {});
    let by_source = with(&|rule| rule.from.macs = vec![mac(9)]);
    let by_destination = with(&|rule| rule.to.macs = vec![mac(9)]);
    let by_vlan = with(&|rule| rule.vlans = vec![3..=7]);
    let by_client = with(&|rule| rule.source_ports = vec![53..=53]);
    let by_service = with(&|rule| rule.destination_ports = vec![53..=53]);
    let all = [&plain, &by_source, &by_destination, &by_vlan, &by_client, &by_service];
    let first = First { ends: Ends::ipv4(1, 2), ports: (1000, 80), tcp: true, vid: 4, switch: 1, from: 2, to: 3 };
    let other_ends = |change: &dyn Fn(&mut Ends)| {
        let mut ends = first.ends;
        change(&mut ends);
        First { ends, ..first }
    };
    // What differs, and for which of the policies it does.
    let cases = [
        ("source MAC", other_ends(&|ends| ends.source_mac = mac(9)), [false, true, true, false, false, false]),
        (
            "destination MAC",
            other_ends(&|ends| ends.destination_mac = mac(9)),
            [false, true, true, false, false, false],
        ),
        ("VLAN", First { vid: 8, ..first }, [false, false, false, true, false, false]),
        ("client's port", First { ports: (1001, 80), ..first }, [false, false, false, false, true, false]),
        ("service", First { ports: (1000, 81), ..first }, [false, false, false, false, false, true]),
        ("switch", First { switch: 2, ..first }, [true; 6]),
        ("sender's port", First { from: 5, ..first }, [true; 6]),
        ("receiver's port", First { to: 5, ..first }, [true; 6]),
        ("protocol", First { tcp: false, ..first }, [true; 6]),
        ("source", First { ends: Ends { source: [10, 0, 0, 7].into(), ..first.ends }, ..first }, [true; 6]),
    ];
    let mut pool = Pool::default();
    for (what, other, differs) in cases {
        for (at, (policy, differs)) in all.into_iter().zip(differs).enumerate() {
            let (words, other) = (first.asked(policy, &mut pool).0, other.asked(policy, &mut pool).0);
            assert_eq!(words != other, differs, "{what}, policy {at}");
        }
    }
}

#[test]
fn packets_with_equal_words_are_equal_to_the_rules() {
    let (mut pool, mut again) = (Pool::default(), 0);
    for seed in 0..40 {
        let mut random = Random(seed);
        let rules = [1, 3, 10, 70][random.below(4) as usize];
        let policy = Policy::compile(&random.spec(rules), Epoch(seed)).unwrap();
        let mut known: Vec<(super::Words, Subject)> = Vec::new();
        for _ in 0..400 {
            let mut ends = if random.one_in(2) { Ends::ipv4(1, 2) } else { Ends::ipv6(1, 2) };
            (ends.source_mac, ends.destination_mac) = (random.mac(), random.mac());
            let ends = if random.one_in(3) { ends.reversed() } else { ends };
            let first = First {
                ends,
                ports: ([53, 80][random.below(2) as usize], [53, 443][random.below(2) as usize]),
                tcp: random.one_in(2),
                vid: random.below(3) as u16 * 3,
                switch: random.below(2) as u16,
                from: random.below(2) as u16 * 3,
                to: random.below(2) as u16 * 3,
            };
            let (words, subject) = first.asked(&policy, &mut pool);
            match known.iter().find(|(known, _)| *known == words) {
                Some((_, other)) => {
                    again += 1;
                    assert_eq!(policy.asked(other), policy.asked(&subject), "seed {seed}");
                    assert_eq!(policy.judge(other), policy.judge(&subject), "seed {seed}: {subject:?}");
                }
                None => known.push((words, subject)),
            }
        }
    }
    assert!(again > 1000, "{again}");
}

/// 10,000 rules between hosts of their own: as many different values as rules.
fn many(rules: u32) -> Spec {
    let network = |n: u32| IpNetwork::new(Ipv4Addr::from(0x0a00_0000 + n).into(), 32).unwrap();
    let rule = |n: u32| Rule {
        name: format!("rule{n}"),
        from: Side { addresses: vec![network(n)], ..Side::default() },
        to: Side { addresses: vec![network(n / 2 + 100_000)], ..Side::default() },
        protocols: vec![6],
        destination_ports: vec![(n % 5000) as u16..=(n % 5000) as u16 + 10],
        ..Rule::default()
    };
    Spec { rules: (0..rules).map(rule).collect(), ..Spec::default() }
}

#[test]
fn ten_thousand_rules_compile_and_the_last_one_is_found() {
    let policy = Policy::compile(&many(10_000), Epoch(1)).unwrap();
    assert!(policy.table_bytes() < 32 << 20, "{}", policy.table_bytes());
    for n in [0u32, 77, 9_999] {
        let tuple = Tuple {
            source: Ipv4Addr::from(0x0a00_0000 + n).into(),
            destination: Ipv4Addr::from(0x0a00_0000 + n / 2 + 100_000).into(),
            source_port: 1,
            destination_port: (n % 5000) as u16 + 3,
            protocol: 6,
        };
        let subject = Subject { tuple: Some(tuple), ether_type: 0x0800, ..Random(0).subject() };
        assert_eq!(policy.judge(&subject).rule, RuleId(n));
    }
}

#[test]
fn tables_beyond_their_limit_are_refused_with_a_remedy() {
    let errors = Policy::compile(&many(40_000), Epoch(1)).unwrap_err();
    assert!(errors.0[0].contains("MiB") && errors.0[0].contains("one rule"), "{errors}");
    let errors = Policy::compile(&many(65_537), Epoch(1)).unwrap_err();
    assert!(errors.0[0].contains("65537 rules"), "{errors}");
}

#[test]
fn every_problem_is_named_with_its_rule() {
    let side = |ports: &[&str]| Side { ports: ports.iter().map(|p| p.to_string()).collect(), ..Side::default() };
    let named = |name: &str| Rule { name: name.into(), ..Rule::default() };
    #[allow(clippy::reversed_empty_ranges, reason = "the mistake that is to be told")]
    let rules = vec![
        Rule { from: side(&["ghost"]), inspect: Some("ghosts".into()), ..named("one") },
        Rule { switches: vec!["nowhere".into()], vlans: vec![9..=5, 1..=4095], ..named("two") },
        Rule { protocols: vec![1], destination_ports: vec![80..=80], ..named("three") },
        Rule { protocols: vec![6], icmp: vec![Icmp { kind: 8, code: None }], ..named("three") },
        named(""),
    ];
    let errors = Policy::compile(&Spec { rules, ..Spec::default() }, Epoch(1)).unwrap_err().0;
    for wanted in [
        "rule \"one\": from: there is no port \"ghost\"",
        "rule \"one\": there is no rule set \"ghosts\"",
        "rule \"two\": there is no switch \"nowhere\"",
        "rule \"two\": vlans: 9-5 holds nothing",
        "rule \"two\": vlans: 4095 is above 4094",
        "rule \"three\": it asks for ports",
        "rule \"three\": it asks for ICMP types",
        "2 rules are called \"three\"",
        "a rule has no name",
    ] {
        assert!(errors.iter().any(|error| error.contains(wanted)), "{wanted}: {errors:#?}");
    }
    assert_eq!(errors.len(), 9);
}

#[test]
fn a_group_that_no_port_carries_matches_nothing() {
    let rule =
        Rule { name: "r".into(), from: Side { groups: vec!["nobody".into()], ..Side::default() }, ..Rule::default() };
    let policy = Policy::compile(&Spec { rules: vec![rule], ..Spec::default() }, Epoch(1)).unwrap();
    let mut random = Random(1);
    assert!((0..100).all(|_| policy.judge(&random.subject()).rule == RuleId::DEFAULT));
}
