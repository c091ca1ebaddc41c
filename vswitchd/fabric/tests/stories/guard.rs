//! The switch with a policy in its way: refusals, answers, fragments.

use std::sync::Arc;

use weir_fabric::{PortConfig, VlanMode};
use weir_filter::spec::{self, Action, Rule, Side, Spec};
use weir_filter::{Event, Policy};
use weir_wire::build::frames::{Ends, fragments, tagged, tcp, udp};
use weir_wire::numbers::{PROTOCOL_UDP, TCP_RST, TCP_SYN};
use weir_wire::{DropReason, Epoch, Offload, Packet, PortId, Segmentation, TcpFields, Vid};

use crate::lab::{LAN, Lab, frame, hello};

/// The plain lab with these rules and a default action.
fn guarded(default: Action, rules: Vec<Rule>) -> Lab {
    let port = |id: u16| spec::Port { id: PortId(id), name: format!("p{id}"), groups: Vec::new() };
    let spec = Spec {
        switches: vec![spec::Switch { id: LAN, name: "lan".into(), default, inspect: None }],
        ports: (1..=4).map(port).collect(),
        rules,
        ..Spec::default()
    };
    let mut lab = Lab::plain();
    lab.fabric.install(Arc::new(Policy::compile(&spec, Epoch(1)).expect("the policy is right")));
    lab
}

fn to(port: &str, action: Action) -> Rule {
    let to = Side { ports: vec![port.into()], ..Side::default() };
    Rule { name: format!("to-{port}"), action, to, ..Rule::default() }
}

fn syn(from: u8, to: u8) -> Vec<u8> {
    let fields = TcpFields { source_port: 4000, destination_port: 80, seq: 1, ack: 0, flags: TCP_SYN, window: 1000 };
    tcp(Ends::ipv4(from, to), fields, &[], &[])
}

#[test]
fn what_the_policy_refuses_is_dropped_and_remembered_with_its_rule() {
    let mut lab = guarded(Action::Allow, vec![to("p2", Action::Drop)]);
    assert_eq!(lab.ports(2, &hello(2)), [1, 3]);
    lab.refused(1, &udp(Ends::ipv4(1, 2), (1, 2), b"no"), DropReason::Policy);
    let last = lab.fabric.last_drops(Some(PortId(1))).pop().unwrap();
    assert_eq!(last.why.rule.map(|rule| rule.0), Some(0));
    lab.refused(1, &frame(1, 2), DropReason::Policy);
    assert!(lab.fabric.has_events());
    let mut drops = 0;
    lab.fabric.drain_events(|event| drops += u32::from(matches!(event, Event::Drop { .. })));
    assert!(drops > 0);
}

#[test]
fn copies_that_are_refused_count_as_made_and_dropped() {
    let mut lab = guarded(Action::Allow, vec![to("p2", Action::Drop)]);
    assert_eq!(lab.ports(1, &hello(1)), [3]);
    let counters = lab.fabric.counters(PortId(1)).unwrap();
    assert_eq!((counters.copied, counters.dropped.get(DropReason::Policy)), (1, 1));
    lab.port(4, PortConfig::default());
    assert_eq!(lab.ports(1, &hello(1)), [3, 4]);
    let counters = lab.fabric.counters(PortId(1)).unwrap();
    assert_eq!((counters.copied, counters.dropped.get(DropReason::Policy)), (3, 2));
}

#[test]
fn a_flood_that_nobody_may_have_is_one_drop() {
    let mut lab = guarded(Action::Drop, vec![]);
    lab.refused(1, &hello(1), DropReason::Policy);
    let counters = lab.fabric.counters(PortId(1)).unwrap();
    assert_eq!((counters.received, counters.copied, counters.dropped.total()), (1, 0, 1));
}

#[test]
fn an_answer_of_our_own_leaves_as_its_port_wants_it() {
    let mut lab = guarded(Action::Reject, vec![]);
    let vlan = VlanMode::Trunk { allowed: vec![(Vid(7), Vid(7))], native: None };
    lab.port(1, PortConfig { vlan, ..PortConfig::default() });
    lab.port(2, PortConfig { vlan: VlanMode::Access(Vid(7)), ..PortConfig::default() });
    let mut answer = |port: u16, syn: &[u8]| {
        let mut out = lab.send(port, syn);
        let (to, bytes) = out.pop().expect("an answer");
        assert!(out.is_empty());
        let mut packet = Packet::new(lab.pool.copy(&bytes).unwrap(), PortId(to), Offload::default());
        packet.parse().unwrap();
        let found = (to, packet.headers.tag.map(|tag| tag.vid), packet.headers.tcp_flags & TCP_RST);
        lab.pool.give(packet.buffer);
        found
    };
    assert_eq!(answer(1, &tagged(&syn(1, 2), 7, 0)), (1, Some(Vid(7)), TCP_RST));
    assert_eq!(answer(2, &syn(2, 1)), (2, None, TCP_RST));
    assert_eq!(lab.dropped(1, DropReason::PolicyReject), 1);
    let counters = lab.fabric.counters(PortId(1)).unwrap();
    assert_eq!((counters.received, counters.originated, counters.sent), (1, 1, 1));
}

#[test]
fn fragments_wait_and_go_on_as_one_packet() {
    let mut lab = guarded(Action::Allow, vec![]);
    let whole = udp(Ends::ipv4(1, 2), (1, 2), &[7; 700]);
    let pieces = fragments(&whole, 300, 9);
    assert_eq!(pieces.len(), 3);
    lab.send(2, &hello(2));
    for piece in &pieces[1..] {
        let mut burst = vec![Packet::new(lab.pool.copy(piece).unwrap(), PortId(1), Offload::default())];
        lab.fabric.process(lab.now, &mut burst, &mut lab.pool, &mut lab.out);
        assert!(lab.collect().is_empty());
    }
    assert_eq!(lab.fabric.totals().held, 2);
    let mut burst = vec![Packet::new(lab.pool.copy(&pieces[0]).unwrap(), PortId(1), Offload::default())];
    lab.fabric.process(lab.now, &mut burst, &mut lab.pool, &mut lab.out);
    let waiting = lab.out.queue(PortId(2)).unwrap();
    assert_eq!(waiting.len(), 1);
    assert!(matches!(waiting[0].offload.segmentation, Segmentation::Fragments { .. }));
    assert_eq!(lab.collect()[0].1.len(), whole.len());
    let counters = lab.fabric.counters(PortId(1)).unwrap();
    assert_eq!((counters.received, counters.merged, lab.fabric.totals().held), (3, 2, 0));
}

#[test]
fn fragments_that_do_not_become_whole_are_dropped_in_time() {
    let mut lab = guarded(Action::Allow, vec![]);
    let pieces = fragments(&udp(Ends::ipv4(1, 2), (1, 2), &[7; 700]), 300, 9);
    lab.burst(1, &pieces[..2]);
    assert_eq!(lab.fabric.totals().held, 2);
    lab.wait(31);
    lab.tick();
    assert_eq!((lab.fabric.totals().held, lab.dropped(1, DropReason::FragmentTimeout)), (0, 2));
    assert_eq!(lab.fabric.last_drops(Some(PortId(1))).len(), 2);
}

#[test]
fn fragments_that_overlap_take_the_others_with_them() {
    let mut lab = guarded(Action::Allow, vec![]);
    let ends = Ends::ipv4(1, 2);
    let pieces = fragments(&udp(ends, (1, 2), &[7; 700]), 300, 9);
    let other = fragments(&udp(ends, (1, 2), &[8; 700]), 308, 9);
    lab.burst(1, &pieces[..2]);
    lab.send(1, &other[1]);
    lab.tick();
    assert_eq!((lab.fabric.totals().held, lab.dropped(1, DropReason::FragmentOverlap)), (0, 3));
}

#[test]
fn a_port_that_goes_leaves_its_fragments_to_the_strays() {
    let mut lab = guarded(Action::Allow, vec![]);
    let pieces = fragments(&udp(Ends::ipv4(1, 2), (1, 2), &[7; 700]), 300, 9);
    lab.burst(1, &pieces[..2]);
    lab.step(weir_fabric::Step::RemovePort(PortId(1)));
    lab.wait(31);
    lab.tick();
    assert_eq!(lab.fabric.totals().held, 0);
    assert_eq!(lab.fabric.stray_counters().dropped.get(DropReason::FragmentTimeout), 2);
}

#[test]
fn first_packets_of_a_burst_leave_in_their_order_and_one_that_is_refused_is_answered() {
    let rule = Rule {
        name: "no".into(),
        action: Action::Reject,
        protocols: vec![PROTOCOL_UDP],
        destination_ports: vec![9..=9],
        ..Rule::default()
    };
    let mut lab = guarded(Action::Allow, vec![rule]);
    // Where host 2 is, is known.
    lab.send(2, &hello(2));
    let frames = [8, 9, 10].map(|port| udp(Ends::ipv4(1, 2), (4000, port), b"first"));
    for flows in [2, 2] {
        let out = lab.burst(1, &frames);
        let to_second: Vec<&Vec<u8>> = out.iter().filter(|(port, _)| *port == 2).map(|(_, frame)| frame).collect();
        assert_eq!(to_second, [&frames[0], &frames[2]]);
        assert_eq!(out.iter().filter(|(port, _)| *port == 1).count(), 1, "the refusal is told to its sender");
        let counted = lab.fabric.engine().flows(10, |flow| flow.tuple.source_port == 4000).len();
        assert_eq!(counted, flows);
    }
    assert_eq!(lab.dropped(1, DropReason::PolicyReject), 2);
}
