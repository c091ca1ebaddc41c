//! Who may speak to whom.

use super::*;
use crate::testing::{A6, B6, C4};

#[test]
fn a_rule_lets_one_side_open_and_both_sides_speak() {
    let mut world = World::new(&spec(Action::Drop, vec![web_to_db(Action::Allow, PROTOCOL_TCP, 80)]));
    assert_eq!(world.handshake(A, 1000, B, 80), Ok(()));
    assert_eq!(world.send(&seg(B4, 80, A4, 1000, TCP_ACK, 501, 101, b"hello"), B, A), Ok(()));
    // The other way round, another port, another protocol: the default.
    assert_eq!(world.handshake(B, 1000, A, 80), POLICY);
    assert_eq!(world.handshake(A, 1000, B, 81), POLICY);
    assert_eq!(world.send(&Frame::udp(A4, 1000, B4, 80, b""), A, B), POLICY);
    assert_eq!(world.engine.flow_count(), 1);
    let hits: Vec<u64> = world.engine.rule_counters().iter().map(|counter| counter.hits).collect();
    assert_eq!(hits, [1, 3]);
    let flows = world.engine.flows(10, |_| true);
    assert_eq!((flows[0].packets, flows[0].state, flows[0].rule), ([2, 2], "established", weir_wire::RuleId(0)));
    assert_eq!((flows[0].in_port, flows[0].out_port), (PortId(A), Some(PortId(B))));
    assert_eq!(world.pool.outstanding(), 0);
}

#[test]
fn udp_and_ping_are_answered_by_whom_they_were_sent_to() {
    let rules = vec![web_to_db(Action::Allow, PROTOCOL_UDP, 53), web_to_db(Action::Allow, PROTOCOL_ICMP, 0)];
    let mut world = World::new(&spec(Action::Drop, rules));
    assert_eq!(world.send(&Frame::udp(B4, 53, A4, 1000, b""), B, A), POLICY);
    assert_eq!(world.send(&Frame::udp(A4, 1000, B4, 53, b"?"), A, B), Ok(()));
    assert_eq!(world.send(&Frame::udp(B4, 53, A4, 1000, b"!"), B, A), Ok(()));
    assert_eq!(world.send(&Frame::icmp(B4, A4, 0, 0, 5), B, A), Err(DropReason::IcmpUnrelated));
    assert_eq!(world.send(&Frame::icmp(A4, B4, 8, 0, 5), A, B), Ok(()));
    assert_eq!(world.send(&Frame::icmp(B4, A4, 0, 0, 5), B, A), Ok(()));
    assert_eq!(world.send(&Frame::icmp(B4, A4, 8, 0, 5), B, A), POLICY);
}

#[test]
fn somebody_else_with_the_addresses_of_a_flow_is_judged_by_his_own_port() {
    let mut world = World::new(&spec(Action::Drop, vec![web_to_db(Action::Allow, PROTOCOL_UDP, 53)]));
    assert_eq!(world.send(&Frame::udp(A4, 1000, B4, 53, b"?"), A, B), Ok(()));
    // C answers in B's name, and C asks in A's name.
    assert_eq!(world.send(&Frame::udp(B4, 53, A4, 1000, b"!"), C, A), POLICY);
    assert_eq!(world.send(&Frame::udp(A4, 1000, B4, 53, b"?"), C, B), POLICY);
    // The flow itself goes on.
    assert_eq!(world.send(&Frame::udp(B4, 53, A4, 1000, b"!"), B, A), Ok(()));
    assert_eq!(world.send(&Frame::udp(A4, 1000, B4, 53, b"?"), A, B), Ok(()));
    assert_eq!(world.engine.flow_count(), 1);
}

#[test]
fn errors_about_a_flow_pass_and_others_do_not() {
    let mut world = World::new(&spec(Action::Drop, vec![web_to_db(Action::Allow, PROTOCOL_UDP, 53)]));
    let asked = Frame::udp(A4, 1000, B4, 53, b"?");
    assert_eq!(world.send(&asked, A, B), Ok(()));
    assert_eq!(world.send(&Frame::icmp_error(B4, A4, 3, 3, &asked), B, A), Ok(()));
    // A router between the two, behind the same port.
    assert_eq!(world.send(&Frame::icmp_error(C4, A4, 11, 0, &asked), B, A), Ok(()));
    // From a port that may not speak with A, about another flow, to the wrong host.
    assert_eq!(world.send(&Frame::icmp_error(C4, A4, 11, 0, &asked), C, A), POLICY);
    let other = Frame::udp(A4, 1001, B4, 53, b"?");
    assert_eq!(world.send(&Frame::icmp_error(B4, A4, 3, 3, &other), B, A), Err(DropReason::IcmpUnrelated));
    assert_eq!(world.send(&Frame::icmp_error(A4, B4, 3, 3, &asked), A, B), Err(DropReason::IcmpUnrelated));
    // A bad checksum.
    let mut broken = Frame::icmp_error(B4, A4, 3, 3, &asked);
    broken.bytes[36] ^= 1;
    assert_eq!(world.send(&broken, B, A), Err(DropReason::BadL4Checksum));
}

#[test]
fn errors_about_tcp_must_quote_what_is_under_way() {
    let mut world = World::new(&spec(Action::Allow, vec![]));
    world.handshake(A, 1000, B, 80).unwrap();
    let sent = seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"data");
    assert_eq!(world.send(&sent, A, B), Ok(()));
    assert_eq!(world.send(&Frame::icmp_error(B4, A4, 3, 4, &sent), B, A), Ok(()));
    let guessed = seg(A4, 1000, B4, 80, TCP_ACK, 900_000, 501, b"data");
    assert_eq!(world.send(&Frame::icmp_error(B4, A4, 3, 4, &guessed), B, A), Err(DropReason::IcmpUnrelated));
}

#[test]
fn frames_without_a_flow_meet_the_rules_each_time() {
    let arp = Rule { name: "arp".into(), ether_types: vec![ETHERTYPE_ARP], ..Rule::default() };
    let nd = spec::Icmp { kind: 135, code: None };
    let nd = Rule { name: "nd".into(), protocols: vec![PROTOCOL_ICMPV6], icmp: vec![nd], ..Rule::default() };
    let mut world = World::new(&spec(Action::Drop, vec![arp, nd]));
    for _ in 0..2 {
        assert_eq!(world.send(&Frame::arp(A4, B4), A, B), Ok(()));
        assert_eq!(world.send(&Frame::icmp(A6, B6, 135, 0, 0), A, B), Ok(()));
        assert_eq!(world.send(&Frame::icmp(A6, B6, 134, 0, 0), A, B), POLICY);
        assert_eq!(world.send(&Frame::ip(A4, B4, 2, &[0x16; 8]), A, B), POLICY);
    }
    assert_eq!(world.engine.flow_count(), 0);
    assert_eq!(world.engine.rule_counters()[0].hits, 2);
}

#[test]
fn a_closed_switch_lets_neighbours_find_each_other_unless_a_rule_says_no() {
    let mut closed = World::new(&spec(Action::Drop, vec![]));
    assert_eq!(closed.send(&Frame::arp(A4, B4), A, B), Ok(()));
    for (kind, verdict) in [(133, Ok(())), (134, POLICY), (135, Ok(())), (136, Ok(())), (137, POLICY)] {
        assert_eq!(closed.send(&Frame::icmp(A6, B6, kind, 0, 0), A, B), verdict, "type {kind}");
    }
    let no_arp =
        Rule { name: "no-arp".into(), action: Action::Drop, ether_types: vec![ETHERTYPE_ARP], ..Rule::default() };
    let mut silent = World::new(&spec(Action::Allow, vec![no_arp]));
    assert_eq!(silent.send(&Frame::arp(A4, B4), A, B), POLICY);
}

#[test]
fn a_flood_is_judged_port_by_port() {
    let mut world = World::new(&spec(Action::Drop, vec![web_to_db(Action::Allow, PROTOCOL_TCP, 80)]));
    let syn = seg(A4, 1000, B4, 80, TCP_SYN, 100, 0, b"");
    assert_eq!(world.flood(&syn, A, &[B, C]), Ok(vec![B]));
    assert_eq!(world.flood(&syn, A, &[C]), Err(DropReason::Policy));
    assert_eq!(world.send(&seg(B4, 80, A4, 1000, TCP_SYN | TCP_ACK, 500, 101, b""), B, A), Ok(()));
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b""), A, B), Ok(()));
    assert_eq!(world.engine.flows(1, |_| true)[0].state, "established");
}

#[test]
fn rules_with_log_tell_each_flow_once() {
    let rule = Rule { log: true, ..web_to_db(Action::Allow, PROTOCOL_UDP, 53) };
    let mut world = World::new(&spec(Action::Drop, vec![rule]));
    for _ in 0..3 {
        world.send(&Frame::udp(A4, 1000, B4, 53, b"?"), A, B).unwrap();
    }
    assert_eq!(world.events(), ["allow 0"]);
}

#[test]
fn a_drop_is_told_once_for_each_flow_and_reason() {
    let mut world = World::new(&spec(Action::Drop, vec![web_to_db(Action::Allow, PROTOCOL_TCP, 80)]));
    let refused = Frame::udp(A4, 1000, B4, 53, b"?");
    for _ in 0..5 {
        assert_eq!(world.send(&refused, A, B), POLICY);
    }
    assert_eq!(world.events(), ["drop policy"]);
    world.pass_time(11);
    assert_eq!(world.send(&refused, A, B), POLICY);
    assert_eq!(world.events(), ["drop policy"]);
    world.handshake(A, 1000, B, 80).unwrap();
    for _ in 0..5 {
        assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 1 << 30, 501, b"x"), A, B), Err(DropReason::TcpWindow));
        assert_eq!(world.send(&seg(A4, 1000, B4, 80, 0, 101, 501, b"x"), A, B), Err(DropReason::TcpState));
    }
    assert_eq!(world.events(), ["drop tcp-window", "drop tcp-state"]);
}

#[test]
fn a_storm_of_refused_flows_is_told_in_part_and_the_rest_is_counted() {
    let mut world = World::new(&spec(Action::Drop, vec![]));
    for port in 0..2000 {
        assert_eq!(world.send(&Frame::udp(A4, port, B4, 53, b"?"), A, B), POLICY);
    }
    let told = world.events().len() as u64;
    assert!((100..=500).contains(&told), "{told}");
    assert_eq!(told + world.engine.waiting_events().lost(), 2000);
}

#[test]
fn the_trace_names_flow_state_and_rule_and_changes_nothing() {
    let mut world = World::new(&spec(Action::Drop, vec![web_to_db(Action::Allow, PROTOCOL_TCP, 80)]));
    let syn = seg(A4, 1000, B4, 80, TCP_SYN, 100, 0, b"");
    let trace = |world: &World, frame: &Frame, from, to| {
        world.engine.trace(world.now, &frame.packet(from), SWITCH, PortId(to)).join("\n")
    };
    assert!(trace(&world, &syn, A, B).contains("rule \"web-db-6-80\" allows"));
    assert!(trace(&world, &syn, A, C).contains("rule \"default\" drops"));
    assert!(!trace(&world, &syn, A, C).contains("quota"), "what is refused opens nothing");
    assert_eq!(world.engine.flow_count(), 0);
    world.handshake(A, 1000, B, 80).unwrap();
    let far = seg(A4, 1000, B4, 80, TCP_ACK, 1 << 30, 501, b"x");
    let told = trace(&world, &far, A, B);
    assert!(told.contains("state established") && told.contains("drop tcp-window"), "{told}");
    assert_eq!(world.engine.flows(1, |_| true)[0].packets, [2, 1]);
}

#[test]
fn the_trace_tells_of_tiers_quotas_the_proxy_and_the_candidate() {
    let tier = |name: &str| crate::policy::spec::Tier { name: name.into(), default: None };
    let fine = Rule {
        next: true,
        tier: Some("site".into()),
        ..Rule { name: "fine".into(), action: Action::Allow, ..Rule::default() }
    };
    let quota = crate::policy::Quota { flows: 5, new_flows: 3, half_open: 0 };
    let account = crate::policy::Account { name: "port a".into(), ports: vec![PortId(A)], quota };
    let stated = Spec {
        tiers: vec![tier("site")],
        accounts: vec![account],
        syn_proxies: vec![(PortId(B), crate::policy::SynProxy { half_open: 0 })],
        ..spec(Action::Drop, vec![fine, web_to_db(Action::Allow, PROTOCOL_TCP, 80)])
    };
    let mut world = World::new(&stated);
    let candidate =
        std::sync::Arc::new(crate::Policy::compile(&spec(Action::Drop, vec![]), weir_wire::Epoch(9)).unwrap());
    world.engine.load_shadow(world.now, Some(Box::new(crate::engine::Shadow::new(candidate, Default::default()))));
    let syn = seg(A4, 1000, B4, 80, TCP_SYN, 100, 0, b"");
    let lines = world.engine.trace(world.now, &syn.packet(A), SWITCH, PortId(B));
    let expected = [
        "flow: none yet",
        "policy: rule \"fine\" hands it on",
        "policy: rule \"web-db-6-80\" allows, not inspected",
        "shadow: the candidate's rule \"default\" refuses",
        &format!("quota: the SYN proxy before port {B} does the handshake in its place"),
        "quota: port a has 0 of 5 flows, room for 3 more of 3 a second",
    ];
    assert_eq!(lines, expected);
}
