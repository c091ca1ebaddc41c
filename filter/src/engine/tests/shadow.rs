//! A candidate beside the live policy: what it would change is told whole, and nothing is done of it.

use super::*;
use crate::engine::Shadow;
use crate::shadow::{Changed, Comparison, Limits as Room, Sight};
use weir_wire::RuleId;

fn candidate(spec: &Spec) -> Box<Shadow> {
    let policy = Policy::compile(spec, Epoch(99)).unwrap();
    Box::new(Shadow::new(Arc::new(policy), Room::default()))
}

fn found(world: &World) -> Vec<Changed> {
    world.engine.shadow().unwrap().differences().flows()
}

#[test]
fn flows_that_begin_are_judged_by_both_and_live_is_obeyed() {
    let mut world = World::new(&spec(Action::Allow, vec![web_to_db(Action::Drop, PROTOCOL_UDP, 53)]));
    let shadow = candidate(&spec(Action::Allow, vec![web_to_db(Action::Drop, PROTOCOL_TCP, 80)]));
    assert!(world.engine.load_shadow(world.now, Some(shadow)).is_none());
    assert_eq!(world.handshake(A, 1000, B, 80), Ok(()));
    assert_eq!(world.handshake(A, 1001, B, 443), Ok(()));
    world.pass_time(1);
    for _ in 0..3 {
        assert_eq!(world.send(&Frame::udp(A4, 9, B4, 53, b""), A, B), POLICY);
    }
    let flows = found(&world);
    assert_eq!(flows.len(), 2);
    let [tcp, udp] = [flows[0], flows[1]];
    assert_eq!(tcp.name.tuple.unwrap().destination_port, 80);
    assert_eq!((tcp.live.action, tcp.live.rule), (Action::Allow, RuleId::DEFAULT));
    assert_eq!((tcp.candidate.action, tcp.candidate.rule), (Action::Drop, RuleId(0)));
    assert_eq!((tcp.packets, tcp.ports), (3, [PortId(A), PortId(B)]));
    assert_eq!((udp.live.action, udp.candidate.action, udp.packets), (Action::Drop, Action::Allow, 3));
    assert_eq!((udp.first, udp.times), (world.now, 3));
    // Its packets are still its own when it has ended.
    world.pass_time(200_000);
    world.tick();
    assert_eq!(world.engine.flow_count(), 0);
    assert_eq!(found(&world)[0].packets, 3);
}

#[test]
fn flows_that_stand_are_judged_once_over_the_ticks() {
    let mut world = World::with_limits(
        &spec(Action::Allow, vec![]),
        Limits { flows: 40_000, flows_per_port: 40_000, ..Limits::default() },
    );
    for n in 0..20_000u16 {
        assert_eq!(world.send(&Frame::udp(A4, n + 1, B4, if n % 10 == 0 { 53 } else { 54 }, b""), A, B), Ok(()));
    }
    let mut reject = web_to_db(Action::Reject, PROTOCOL_UDP, 53);
    reject.source_ports = vec![1..=5000];
    let shadow = candidate(&spec(Action::Allow, vec![reject]));
    world.engine.load_shadow(world.now, Some(shadow));
    assert!(!world.engine.shadow().unwrap().is_walked());
    world.tick();
    assert!(world.engine.shadow().unwrap().is_walked());
    let flows = found(&world);
    assert_eq!(flows.len(), 500);
    assert!(flows.iter().all(|flow| flow.candidate.action == Action::Reject && flow.packets == 1));
    assert_eq!(world.engine.shadow().unwrap().differences().judged(), 20_000);
    let gone = world.engine.load_shadow(world.now, None);
    assert!(gone.is_some() && world.engine.shadow().is_none());
}

/// What a report has to hold, by asking both policies about each flow on its own.
#[test]
fn a_recorded_trace_gives_exactly_the_flows_that_change() {
    let rules = |actions: [Action; 3]| {
        let mut rules: Vec<Rule> = (0..40u16)
            .map(|n| {
                web_to_db(actions[usize::from(n) % 3], if n % 2 == 0 { PROTOCOL_TCP } else { PROTOCOL_UDP }, n * 7)
            })
            .collect();
        rules.retain(|rule| !rule.destination_ports.is_empty());
        spec(Action::Drop, rules)
    };
    let live = Policy::compile(&rules([Action::Allow, Action::Drop, Action::Allow]), Epoch(1)).unwrap();
    let other = Policy::compile(&rules([Action::Allow, Action::Allow, Action::Reject]), Epoch(2)).unwrap();
    let mut comparison = Comparison::new(&live, &other, Room::default());
    let mut expected: Vec<(crate::event::Tuple, RuleId, RuleId)> = vec![];
    for n in 0..3000u16 {
        let (source, port) = (n + 1, n % 300);
        let frame = if n % 3 == 0 { Frame::tcp(A4, source, B4, port) } else { Frame::udp(A4, source, B4, port, b"") };
        let to = if n % 5 == 0 { C } else { B };
        let subject = crate::policy::Subject::of_packet(&frame.packet(A), SWITCH, PortId(to));
        let sight = Sight { now: Instant::from_secs(u64::from(n)), ports: [PortId(A), PortId(to)], packets: 1 };
        comparison.ask(&subject, sight);
        let [a, b] = [&live, &other].map(|policy| policy.judge(&subject));
        let tuple = subject.tuple.unwrap();
        if a.action != b.action && !expected.iter().any(|(known, ..)| *known == tuple) {
            expected.push((tuple, a.rule, b.rule));
        }
    }
    let flows = comparison.differences.flows();
    let told: Vec<_> = flows.iter().map(|f| (f.name.tuple.unwrap(), f.live.rule, f.candidate.rule)).collect();
    assert!(expected.len() > 50, "{}", expected.len());
    assert_eq!(told, expected);
    assert_eq!(comparison.differences.pairs().map(|(.., flows)| flows).sum::<u64>(), expected.len() as u64);
}

#[test]
fn a_policy_that_names_macs_cannot_judge_flows_without() {
    let mut world = World::new(&spec(Action::Allow, vec![]));
    assert_eq!(world.send(&Frame::udp(A4, 9, B4, 53, b""), A, B), Ok(()));
    let mut rule = web_to_db(Action::Drop, PROTOCOL_UDP, 53);
    rule.from.macs = vec![Frame::udp(A4, 9, B4, 53, b"").packet(A).src_mac()];
    world.engine.load_shadow(world.now, Some(candidate(&spec(Action::Allow, vec![rule]))));
    world.tick();
    assert_eq!((found(&world).len(), world.engine.shadow().unwrap().differences().unjudged()), (0, 1));
    assert_eq!(world.send(&Frame::udp(A4, 10, B4, 53, b""), A, B), Ok(()));
    assert_eq!(found(&world).len(), 1);
}
