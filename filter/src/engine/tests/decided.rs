//! Flows between ends that have opened others: the verdict is that of the policy that stands, for what its rules ask for.

use super::*;
use crate::policy::{Account, Quota};

fn allowed() -> Spec {
    spec(Action::Drop, vec![web_to_db(Action::Allow, PROTOCOL_UDP, 53)])
}

/// So many flows from A to B, each from another port; what became of them.
fn open(world: &mut World, ports: std::ops::Range<u16>) -> Vec<Fate> {
    ports.map(|port| world.send(&Frame::udp(A4, port, B4, 53, b"ask"), A, B)).collect()
}

#[test]
fn another_policy_is_asked_anew() {
    let mut world = World::new(&allowed());
    assert_eq!(open(&mut world, 1..50), [Ok(()); 49]);
    world.install(&spec(Action::Drop, vec![web_to_db(Action::Allow, PROTOCOL_UDP, 54)]));
    assert_eq!(open(&mut world, 50..60), [POLICY; 10]);
    world.install(&allowed());
    assert_eq!(open(&mut world, 60..70), [Ok(()); 10]);
    // The same number, as policies that are tried have it.
    world.epoch -= 1;
    world.install(&spec(Action::Drop, vec![web_to_db(Action::Reject, PROTOCOL_UDP, 53)]));
    assert_eq!(open(&mut world, 70..71), [Err(DropReason::PolicyReject)]);
}

#[test]
fn a_guest_that_leaves_its_group_is_judged_as_what_it_is() {
    let mut world = World::new(&allowed());
    assert_eq!(open(&mut world, 1..20), [Ok(()); 19]);
    let mut moved = allowed();
    moved.ports[0].groups = vec!["other".into()];
    world.install(&moved);
    assert_eq!(open(&mut world, 20..30), [POLICY; 10]);
}

#[test]
fn what_rules_ask_for_is_told_apart() {
    let mut by_source = web_to_db(Action::Drop, PROTOCOL_UDP, 53);
    by_source.name = "odd".into();
    by_source.source_ports = vec![7..=7];
    let mut world = World::new(&spec(Action::Drop, vec![by_source, web_to_db(Action::Allow, PROTOCOL_UDP, 53)]));
    let fates = open(&mut world, 1..20);
    assert!(fates.iter().enumerate().all(|(n, fate)| *fate == if n == 6 { POLICY } else { Ok(()) }), "{fates:?}");
    for (from, to, fate) in [(A, C, POLICY), (C, B, POLICY), (A, B, Ok(()))] {
        assert_eq!(world.send(&Frame::udp(A4, 100 + from + to, B4, 53, b"ask"), from, to), fate, "{from} to {to}");
    }
    assert_eq!(world.send(&Frame::udp(A4, 200, B4, 54, b"ask"), A, B), POLICY);
    assert_eq!(world.send(&seg(A4, 200, B4, 53, TCP_SYN, 1, 0, b""), A, B), POLICY);
}

#[test]
fn each_flow_is_counted_and_held_to_its_quota() {
    let quota = Quota { new_flows: 30, ..Quota::default() };
    let accounts = vec![Account { name: "port a".into(), ports: vec![PortId(A)], quota }];
    let mut world = World::new(&Spec { accounts, ..allowed() });
    let fates = open(&mut world, 1..101);
    assert_eq!(fates.iter().filter(|fate| fate.is_ok()).count(), 30);
    assert!(fates[30..].iter().all(|fate| *fate == Err(DropReason::FlowRate)));
    assert_eq!(world.engine.rule_counters()[0].hits, 100);
}
