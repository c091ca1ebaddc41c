//! Inspection within a budget of processor time.

use super::content::{DROP, inspecting, program};
use super::*;
use crate::engine::budget::Stage;
use crate::spec::{CpuBudget, OnFailure};

const TERMS: CpuBudget = CpuBudget {
    ns_per_second: 30_000_000,
    elephant_bytes: 2000,
    short_depth: 1000,
    sample: 1000,
    beyond: OnFailure::Open,
};

fn world(beyond: OnFailure) -> World {
    let mut spec = inspecting(&program(DROP));
    spec.settings.cpu_budget = Some(CpuBudget { beyond, ..TERMS });
    World::new(&spec)
}

/// Spends so much that the guard goes down to a stage.
fn overspend(world: &mut World, stage: Stage) {
    while world.engine.budget().stage() < stage {
        world.now = world.now.after(std::time::Duration::from_millis(20));
        let now = world.now;
        world.engine.budget_mut().charge(now, PortId(A), 10_000_000);
    }
}

fn evil(seq: u32) -> Frame {
    seg(A4, 1000, B4, 80, TCP_ACK, seq, 501, b"evil")
}

#[test]
fn a_flow_that_has_carried_a_lot_is_given_up_counted_and_told() {
    let mut world = world(OnFailure::Open);
    world.handshake(A, 1000, B, 80).unwrap();
    for n in 0..2 {
        let seq = 101 + n * 1000;
        assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, seq, 501, &[b'x'; 1000]), A, B), Ok(()));
    }
    overspend(&mut world, Stage::Elephants);
    assert_eq!(world.send(&evil(2101), A, B), Ok(()), "nobody looks any more");
    assert_eq!(world.engine.budget().shed()[Stage::Elephants as usize], 1);
    assert_eq!(world.events(), ["shed elephants"]);
    // A young flow is inspected as before.
    world.handshake(A, 1001, B, 80).unwrap();
    let evil = seg(A4, 1001, B4, 80, TCP_ACK, 101, 501, b"evil");
    assert_eq!(world.send(&evil, A, B), Err(DropReason::Inspection));
}

#[test]
fn a_new_flow_beyond_the_budget_passes_the_firewall_and_nothing_else() {
    let mut world = world(OnFailure::Open);
    overspend(&mut world, Stage::Beyond);
    world.handshake(A, 1000, B, 80).unwrap();
    assert_eq!(world.send(&evil(101), A, B), Ok(()));
    assert_eq!(world.events(), ["shed beyond"]);
    assert_eq!(world.engine.budget().shed().iter().sum::<u64>(), 1);
}

#[test]
fn the_firewall_and_the_content_filter_are_never_given_up() {
    let mut spec = inspecting(&program(DROP));
    spec.settings.cpu_budget = Some(TERMS);
    spec.rules = vec![web_to_db(Action::Drop, PROTOCOL_TCP, 81)];
    spec.content = crate::content::Spec {
        rules: vec![crate::content::Rule {
            name: "no".into(),
            action: crate::content::Action::Deny,
            lists: vec!["bad".into()],
            ..crate::content::Rule::default()
        }],
        lists: vec![("bad".into(), Arc::new(crate::content::List::parse("bad.example")))],
        ..crate::content::Spec::default()
    };
    let mut world = World::new(&spec);
    world.handshake(A, 1000, B, 80).unwrap();
    overspend(&mut world, Stage::Beyond);
    for port in [81, 81] {
        assert_eq!(world.send(&seg(A4, 1001, B4, port, TCP_SYN, 100, 0, b""), A, B), POLICY);
    }
    let get = b"GET / HTTP/1.1\r\nHost: bad.example\r\n\r\n";
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, get), A, B), Err(DropReason::Content));
    world.handshake(A, 1003, B, 80).unwrap();
    assert_eq!(world.send(&seg(A4, 1003, B4, 80, TCP_ACK, 101, 501, get), A, B), Err(DropReason::Content));
}

#[test]
fn what_is_closed_waits_until_there_is_something_to_pay_with() {
    let mut world = world(OnFailure::Closed);
    overspend(&mut world, Stage::Beyond);
    let syn = seg(A4, 1000, B4, 80, TCP_SYN, 100, 0, b"");
    assert_eq!(world.send(&syn, A, B), Err(DropReason::InspectionBudget));
    assert_eq!(world.engine.budget().refused(), 1);
    world.now = world.now.after(std::time::Duration::from_secs(60));
    let now = world.now;
    world.engine.budget_mut().review(now);
    world.handshake(A, 1000, B, 80).unwrap();
    assert_eq!(world.send(&evil(101), A, B), Err(DropReason::Inspection));
}

#[test]
fn what_was_inspected_is_accounted_for_by_port_and_rule_set() {
    let mut world = world(OnFailure::Open);
    world.handshake(A, 1000, B, 80).unwrap();
    let ports: Vec<(u16, u64)> =
        world.engine.budget().of_ports().map(|(port, usage)| (port.0, usage.packets)).collect();
    assert_eq!(ports, [(A, 2), (B, 1)]);
    let sets = world.engine.usage_of_programs();
    assert_eq!(sets.iter().map(|(_, usage)| usage.packets).collect::<Vec<_>>(), [3]);
}

#[test]
fn a_rule_says_what_becomes_of_its_own_flows() {
    let mut spec = inspecting(&program(DROP));
    spec.settings.cpu_budget = Some(TERMS);
    let closed = Rule { overload: Some(OnFailure::Closed), ..web_to_db(Action::Allow, PROTOCOL_TCP, 80) };
    spec.rules = vec![closed];
    let mut world = World::new(&spec);
    overspend(&mut world, Stage::Beyond);
    let syn = |port| seg(A4, 1000, B4, port, TCP_SYN, 100, 0, b"");
    assert_eq!(world.send(&syn(80), A, B), Err(DropReason::InspectionBudget));
    assert_eq!(world.send(&syn(81), A, B), Ok(()));
}

#[test]
fn files_beyond_the_budget_wait_or_pass_as_the_virus_check_says() {
    for (overload, fate) in [(OnFailure::Closed, Err(DropReason::InspectionBudget)), (OnFailure::Open, Ok(()))] {
        let database = Some(Arc::new(crate::scan::Database::builtin()));
        let scan = crate::scan::Policy { database, overload, ..crate::scan::Policy::default() };
        let mut spec = Spec { scan: Arc::new(scan), ..spec(Action::Allow, vec![]) };
        spec.settings.cpu_budget = Some(TERMS);
        let mut world = World::new(&spec);
        world.handshake(A, 1000, B, 80).unwrap();
        let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, get), A, B).unwrap();
        overspend(&mut world, Stage::Beyond);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(world.send(&seg(B4, 80, A4, 1000, TCP_ACK, 501, 128, answer), B, A), fate);
        assert_eq!(world.engine.budget().refused(), u64::from(fate.is_err()));
    }
}

#[test]
fn bursts_that_are_looked_at_tell_what_single_rules_took() {
    let mut world = World::new(&inspecting(&program(DROP)));
    world.handshake(A, 1000, B, 80).unwrap();
    assert!(world.engine.usage_of_rules(10).is_empty());
    world.engine.begin_sample(|| 0);
    assert_eq!(world.send(&evil(101), A, B), Err(DropReason::Inspection));
    world.engine.end_sample();
    let used = world.engine.usage_of_rules(10);
    assert_eq!(used.len(), 1);
    assert_eq!((used[0].group, used[0].cost.checks), ("tcp", crate::engine::sample::EVERY));
    assert_eq!(world.engine.sampled_bursts(), 1);
    world.install(&spec(Action::Allow, vec![]));
    assert!(world.engine.usage_of_rules(10).is_empty(), "the rule set is gone");
}
