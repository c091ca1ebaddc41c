//! Appliances: wires, switches that are joined, hairpins, ears; what passes them, what does not, and what they become
//! when they cannot judge.

use std::sync::Arc;
use std::time::Duration;

use weir_fabric::appliance::probe::{Outcome, Pulse};
use weir_fabric::appliance::{ApplianceConfig, Arms, OnFailure, Probing, Standing};
use weir_fabric::router::{InterfaceConfig, Prefix, RouteTable, RouterConfig};
use weir_fabric::{Fabric, PortConfig, Step, SwitchConfig};
use weir_filter::spec::{self, Action, Rule, Spec};
use weir_filter::{Limits, Policy};
use weir_wire::build::frames::{Ends, tagged, tcp, udp};
use weir_wire::build::{ArpKind, arp};
use weir_wire::numbers::{TCP_ACK, TCP_SYN};
use weir_wire::{DropReason, Epoch, InterfaceId, MacAddr, PortId, RouterId, SwitchId, TcpFields, Vid};

use crate::lab::{LAN, Lab, frame, hello, mac, raw};
use crate::multicast::{G, OWN, data, igmp};

const GUARD: SwitchId = SwitchId(SwitchId::FIRST_APPLIANCE);
const SECOND: SwitchId = SwitchId(SwitchId::FIRST_APPLIANCE + 1);
const DMZ: SwitchId = SwitchId(1);
const FAR: SwitchId = SwitchId(2);

fn appliance(arms: Arms) -> ApplianceConfig {
    let probing = Probing { interval: Duration::ZERO, ..Probing::default() };
    ApplianceConfig { arms, on_failure: OnFailure::Closed, bypass: false, down: false, probing }
}

fn on(switch: SwitchId) -> PortConfig {
    PortConfig { switch, ..PortConfig::default() }
}

fn install(lab: &mut Lab, epoch: u64, rules: Vec<Rule>, listened: Vec<SwitchId>) {
    let names = [(LAN, "lan"), (DMZ, "dmz"), (FAR, "far"), (GUARD, "guard"), (SECOND, "second")];
    let names = names.into_iter().chain([(SwitchId(SwitchId::FIRST_ZONE), "edge")]);
    let switch =
        |(id, name): (SwitchId, &str)| spec::Switch { id, name: name.into(), default: Action::Allow, inspect: None };
    let ports = (1..9).map(|id| spec::Port { id: PortId(id), name: format!("p{id}"), groups: Vec::new() });
    let spec =
        Spec { switches: names.map(switch).collect(), ports: ports.collect(), rules, listened, ..Spec::default() };
    lab.fabric.install(Arc::new(Policy::compile(&spec, Epoch(epoch)).expect("the policy is right")));
}

/// Refuses UDP to port 9 of what passes the guard.
fn no_discard() -> Rule {
    let switches = vec!["guard".to_owned()];
    Rule {
        name: "no".into(),
        action: Action::Drop,
        switches,
        protocols: vec![17],
        destination_ports: vec![9..=9],
        ..Rule::default()
    }
}

/// Ports 1 and 2 are a wire.
fn wire() -> Lab {
    let mut lab = Lab::new(SwitchConfig::default(), &[]);
    lab.port(1, on(GUARD));
    lab.port(2, on(GUARD));
    lab.step(Step::SetAppliance(GUARD, appliance(Arms::Wire([PortId(1), PortId(2)]))));
    install(&mut lab, 1, vec![no_discard()], vec![]);
    lab
}

/// Ports 1 and 2 on the LAN, 3 and 4 in the DMZ, the guard between them.
fn joined() -> Lab {
    let mut lab = Lab::new(SwitchConfig::default(), &[1, 2]);
    lab.step(Step::SetSwitch(DMZ, SwitchConfig::default()));
    lab.port(3, on(DMZ));
    lab.port(4, on(DMZ));
    lab.step(Step::SetAppliance(GUARD, appliance(Arms::Inline([LAN, DMZ]))));
    install(&mut lab, 1, vec![no_discard()], vec![]);
    lab
}

fn segment(from: u8, to: u8, ports: (u16, u16), numbers: (u32, u32), flags: u8) -> Vec<u8> {
    let (source_port, destination_port) = ports;
    let fields = TcpFields { source_port, destination_port, seq: numbers.0, ack: numbers.1, flags, window: 1000 };
    tcp(Ends::ipv4(from, to), fields, &[], b"")
}

fn standing(lab: &Lab) -> Standing {
    lab.fabric.appliance(lab.now, GUARD).expect("is there").standing
}

#[test]
fn a_wire_passes_everything_as_it_is_and_learns_nothing() {
    let mut lab = wire();
    let bpdu = [&[1, 0x80, 0xc2, 0, 0, 0][..], &mac(1), &[0, 38, 0x42, 0x42, 3], &[0; 43]].concat();
    let lldp = [&[1, 0x80, 0xc2, 0, 0, 14][..], &mac(1), &[0x88, 0xcc], &[0; 46]].concat();
    let stacked = tagged(&tagged(&udp(Ends::ipv4(1, 2), (1, 2), b"x"), 20, 0), 10, 7);
    let long = udp(Ends::ipv4(1, 2), (1, 2), &[7; 9000]);
    let plain = udp(Ends::ipv4(1, 2), (1, 2), b"x");
    for sent in [bpdu, lldp, stacked, long, plain, hello(1), frame(1, 2), frame(2, 1), tagged(&frame(1, 2), 0, 5)] {
        assert_eq!(lab.send(1, &sent), [(2, sent.clone())]);
        assert_eq!(lab.send(2, &sent), [(1, sent.clone())], "and back");
    }
    assert_eq!(lab.fabric.fdb(lab.now, LAN), []);
}

#[test]
fn a_wire_is_judged_under_its_name_and_settled_flows_pass_it_quickly() {
    let mut lab = wire();
    lab.refused(1, &udp(Ends::ipv4(1, 2), (5, 9), b"no"), DropReason::Policy);
    let burst: Vec<Vec<u8>> = (0..8).map(|n| udp(Ends::ipv4(1, 2), (5, 7), &[n])).collect();
    for _ in 0..3 {
        assert_eq!(lab.burst(1, &burst).len(), 8);
        assert_eq!(lab.ports(2, &udp(Ends::ipv4(2, 1), (7, 5), b"back")), [1]);
    }
    let flows = lab.fabric.engine().flows(10, |_| true);
    assert_eq!((flows.len(), flows[0].switch, flows[0].packets), (1, GUARD, [24, 3]));
}

#[test]
fn a_wire_without_its_other_end_passes_nothing() {
    let mut lab = wire();
    lab.fabric.set_link(PortId(2), false);
    lab.refused(1, &frame(1, 2), DropReason::LinkDown);
    lab.fabric.set_link(PortId(2), true);
    lab.step(Step::SetAppliance(
        GUARD,
        ApplianceConfig { down: true, ..appliance(Arms::Wire([PortId(1), PortId(2)])) },
    ));
    lab.refused(1, &frame(1, 2), DropReason::PortDown);
    lab.step(Step::RemoveAppliance(GUARD));
    lab.refused(1, &frame(1, 2), DropReason::PortUnbound);
}

#[test]
fn a_bypass_lets_everything_pass_and_its_end_takes_connections_up() {
    let mut lab = wire();
    let arms = Arms::Wire([PortId(1), PortId(2)]);
    lab.tick();
    lab.wait(1000);
    lab.refused(1, &segment(1, 2, (5, 80), (100, 7), TCP_ACK), DropReason::TcpMidstream);
    lab.step(Step::SetAppliance(GUARD, ApplianceConfig { bypass: true, ..appliance(arms.clone()) }));
    assert_eq!(standing(&lab), Standing::Bypassed);
    assert_eq!(lab.ports(1, &udp(Ends::ipv4(1, 2), (5, 9), b"no")), [2]);
    assert_eq!(lab.ports(1, &segment(1, 2, (5, 80), (100, 7), TCP_ACK)), [2]);
    assert_eq!(lab.fabric.appliance(lab.now, GUARD).map(|found| found.counters.bypassed), Some(2));
    assert_eq!(lab.fabric.engine().flow_count(), 0);
    lab.step(Step::SetAppliance(GUARD, appliance(arms)));
    assert_eq!(lab.ports(1, &segment(1, 2, (5, 80), (100, 7), TCP_ACK)), [2], "it is taken up");
    lab.refused(1, &udp(Ends::ipv4(1, 2), (5, 9), b"no"), DropReason::Policy);
    lab.wait(61);
    lab.refused(1, &segment(1, 2, (6, 80), (100, 7), TCP_ACK), DropReason::TcpMidstream);
}

#[test]
fn joined_switches_reach_each_other_through_the_guard_alone() {
    let mut lab = joined();
    assert_eq!(lab.ports(3, &hello(3)), [1, 2, 4]);
    assert_eq!(lab.ports(1, &hello(1)), [2, 3, 4]);
    assert_eq!(lab.ports(1, &frame(1, 3)), [3], "the LAN knows the DMZ's address behind the guard");
    assert_eq!(lab.ports(3, &frame(3, 1)), [1]);
    assert_eq!(lab.ports(1, &udp(Ends::ipv4(1, 3), (5, 7), b"yes")), [3]);
    lab.refused(1, &udp(Ends::ipv4(1, 3), (5, 9), b"no"), DropReason::Policy);
    assert_eq!(lab.ports(2, &hello(2)), [1, 3, 4]);
    assert_eq!(lab.ports(1, &udp(Ends::ipv4(1, 2), (5, 9), b"within")), [2], "within a switch it has no say");
    let flows = lab.fabric.engine().flows(10, |record| record.switch == GUARD);
    assert_eq!((flows[0].in_port, flows[0].out_port), (PortId(1), Some(PortId(3))), "true ports");
}

#[test]
fn what_is_not_known_on_the_other_side_is_flooded_there_and_judged_there() {
    let mut lab = joined();
    assert_eq!(lab.ports(1, &frame(1, 9)), [2, 3, 4]);
    // Flooded on the LAN, where it is allowed; refused by the guard.
    let no = udp(Ends::ipv4(1, 9), (5, 9), b"no");
    assert_eq!(lab.ports(1, &no), [2]);
    assert_eq!(lab.dropped(1, DropReason::Policy), 1);
}

#[test]
fn a_group_goes_beyond_the_guard_to_those_alone_who_have_joined_it() {
    let mut lab = joined();
    lab.step(Step::SetSwitch(DMZ, SwitchConfig { snooping: Some(OWN), ..SwitchConfig::default() }));
    lab.age();
    lab.wait(2);
    lab.age();
    assert_eq!(lab.ports(1, &data(1, G)), [2], "nobody has joined it over there");
    lab.send(3, &igmp(3, 0x16, G));
    assert_eq!(lab.ports(1, &data(1, G)), [2, 3]);
    assert_eq!(lab.ports(4, &data(4, G)), [1, 2, 3], "the other side hears every group");
}

#[test]
fn vlans_go_through_between_joined_switches() {
    let mut lab = joined();
    let access = |switch, vid| PortConfig { vlan: weir_fabric::VlanMode::Access(Vid(vid)), ..on(switch) };
    lab.port(1, access(LAN, 10));
    lab.port(3, access(DMZ, 10));
    lab.port(4, access(DMZ, 20));
    assert_eq!(lab.ports(1, &hello(1)), [3]);
    assert_eq!(lab.ports(3, &frame(3, 1)), [1]);
}

#[test]
fn two_guards_in_a_row_both_judge() {
    let mut lab = joined();
    lab.step(Step::SetSwitch(FAR, SwitchConfig::default()));
    lab.port(5, on(FAR));
    lab.step(Step::SetAppliance(SECOND, appliance(Arms::Inline([DMZ, FAR]))));
    let second =
        Rule { name: "late".into(), destination_ports: vec![7..=7], switches: vec!["second".into()], ..no_discard() };
    install(&mut lab, 2, vec![no_discard(), second], vec![]);
    assert_eq!(lab.ports(5, &hello(5)), [1, 2, 3, 4]);
    assert_eq!(lab.ports(1, &hello(1)), [2, 3, 4, 5]);
    assert_eq!(lab.ports(1, &udp(Ends::ipv4(1, 5), (5, 8), b"yes")), [5]);
    assert_eq!(lab.ports(5, &udp(Ends::ipv4(5, 1), (8, 5), b"yes")), [1]);
    lab.refused(1, &udp(Ends::ipv4(1, 5), (5, 9), b"no"), DropReason::Policy);
    lab.refused(1, &udp(Ends::ipv4(1, 5), (5, 7), b"no"), DropReason::Policy);
    let names: Vec<SwitchId> = lab.fabric.engine().flows(10, |_| true).iter().map(|flow| flow.switch).collect();
    assert!(names.contains(&GUARD) && names.contains(&SECOND), "{names:?}");
}

#[test]
fn a_router_is_reached_through_the_guard() {
    let mut lab = joined();
    let router_mac = MacAddr([2, 0x57, 0, 0, 0, 1]);
    let interface = InterfaceConfig {
        switch: LAN,
        mac: router_mac,
        addresses: vec![Prefix { address: [10, 0, 0, 254].into(), length: 24 }],
        vid: Vid(0),
        mtu: 1500,
        clamp_mss: false,
        neighbors: Vec::new(),
        advertise: None,
        proxy: Vec::new(),
    };
    let zone = SwitchId(SwitchId::FIRST_ZONE);
    let interfaces = vec![(InterfaceId(0), interface)];
    let table = RouteTable::build(interfaces.iter().map(|(id, config)| (*id, config)), std::iter::empty()).unwrap();
    let config = RouterConfig { zone, interfaces, table: Arc::new(table), ..RouterConfig::default() };
    lab.step(Step::SetRouter(RouterId(0), config));
    lab.age();
    // A host of the DMZ asks for the gateway on the LAN, and pings it.
    let ask = arp(ArpKind::Request, (MacAddr(mac(3)), [10, 0, 0, 3].into()), (MacAddr::ZERO, [10, 0, 0, 254].into()));
    let answer = lab.send(3, &ask);
    let told = answer.iter().find(|(port, frame)| *port == 3 && frame[6..12] == router_mac.0);
    assert!(told.is_some(), "{answer:x?}");
    let mut ping = weir_wire::build::icmp_echo(Ends::ipv4(3, 254), weir_wire::build::EchoKind::Request, 1, 1, b"hello");
    ping[..6].copy_from_slice(&router_mac.0);
    let answer = lab.send(3, &ping);
    assert_eq!(answer.len(), 1, "{answer:x?}");
    assert_eq!((answer[0].0, &answer[0].1[..6]), (3, &mac(3)[..]));
    let through = lab.fabric.engine().flows(10, |record| record.switch == GUARD);
    assert_eq!(through.len(), 1, "the guard has seen the ping");
}

#[test]
fn a_hairpin_turns_one_vlan_into_another_and_sees_one_flow() {
    let mut lab = Lab::new(SwitchConfig::default(), &[]);
    lab.port(1, on(GUARD));
    lab.step(Step::SetAppliance(GUARD, appliance(Arms::Hairpin(PortId(1), vec![(Vid(10), Vid(20))]))));
    install(&mut lab, 1, vec![no_discard()], vec![]);
    let there = segment(1, 2, (5, 80), (100, 0), TCP_SYN);
    let back = segment(2, 1, (80, 5), (500, 101), TCP_SYN | TCP_ACK);
    assert_eq!(lab.send(1, &tagged(&there, 10, 3)), [(1, tagged(&there, 20, 3))]);
    assert_eq!(lab.send(1, &tagged(&back, 20, 0)), [(1, tagged(&back, 10, 0))]);
    let flows = lab.fabric.engine().flows(10, |_| true);
    assert_eq!((flows.len(), flows[0].packets), (1, [1, 1]));
    lab.refused(1, &tagged(&udp(Ends::ipv4(1, 2), (5, 9), b"no"), 10, 0), DropReason::Policy);
    lab.refused(1, &tagged(&there, 30, 0), DropReason::VlanNotAllowed);
    lab.refused(1, &there, DropReason::VlanNotAllowed);
}

#[test]
fn an_ear_sends_nothing_and_refuses_nothing() {
    let mut lab = Lab::new(SwitchConfig::default(), &[]);
    lab.port(1, on(GUARD));
    lab.step(Step::SetAppliance(GUARD, appliance(Arms::Listen)));
    let reject = Rule { action: Action::Reject, ..no_discard() };
    install(&mut lab, 1, vec![reject], vec![GUARD]);
    assert_eq!(standing(&lab), Standing::Listening);
    for copy in
        [hello(1), udp(Ends::ipv4(1, 2), (5, 9), b"no"), segment(1, 2, (5, 80), (100, 7), TCP_ACK), raw(mac(1), mac(2))]
    {
        assert_eq!(lab.send(1, &copy), [], "nothing leaves");
    }
    let counters = lab.fabric.counters(PortId(1)).expect("is there");
    assert_eq!((counters.received, counters.delivered, counters.dropped.total()), (4, 4, 0));
}

/// A wire whose first port may have one flow, which is taken.
fn exhausted(on_failure: OnFailure) -> Lab {
    full(Limits { flows_per_port: 1, ..Limits::default() }, on_failure)
}

/// A wire with one connection, of its first port.
fn full(limits: Limits, on_failure: OnFailure) -> Lab {
    let mut lab = Lab::new(SwitchConfig::default(), &[]);
    lab.fabric = Fabric::new(limits, 7);
    lab.port(1, on(GUARD));
    lab.port(2, on(GUARD));
    let arms = Arms::Wire([PortId(1), PortId(2)]);
    lab.step(Step::SetAppliance(GUARD, ApplianceConfig { on_failure, ..appliance(arms) }));
    install(&mut lab, 1, vec![no_discard()], vec![]);
    lab.send(1, &segment(1, 2, (5, 80), (100, 0), TCP_SYN));
    lab.send(2, &segment(2, 1, (80, 5), (500, 101), TCP_SYN | TCP_ACK));
    assert_eq!(lab.ports(1, &segment(1, 2, (5, 80), (101, 501), TCP_ACK)), [2]);
    lab
}

#[test]
fn what_cannot_be_judged_is_dropped_by_one_that_fails_closed() {
    let mut lab = exhausted(OnFailure::Closed);
    for n in 0..20 {
        assert_eq!(lab.ports(1, &udp(Ends::ipv4(1, 2), (n + 10, 7), b"new")), []);
    }
    assert_eq!(lab.dropped(1, DropReason::FlowQuota), 20);
    assert_eq!(standing(&lab), Standing::FailedClosed);
    assert_eq!(lab.ports(1, &segment(1, 2, (5, 80), (101, 501), TCP_ACK)), [2], "what is known passes");
}

#[test]
fn what_cannot_be_judged_passes_one_that_fails_open_until_it_is_well() {
    let mut lab = exhausted(OnFailure::Open);
    lab.refused(1, &udp(Ends::ipv4(1, 2), (3, 9), b"no"), DropReason::Policy);
    for n in 0..20 {
        assert_eq!(lab.ports(1, &udp(Ends::ipv4(1, 2), (n + 10, 7), b"new")), [2]);
    }
    assert_eq!(standing(&lab), Standing::FailedOpen);
    assert_eq!(lab.ports(1, &udp(Ends::ipv4(1, 2), (3, 9), b"no")), [2], "everything passes for a while");
    let counters = lab.fabric.appliance(lab.now, GUARD).expect("is there").counters;
    assert_eq!((counters.failed_open, counters.failures), (21, 1));
    lab.wait(11);
    assert_eq!(standing(&lab), Standing::Guarding);
    lab.refused(1, &udp(Ends::ipv4(1, 2), (3, 9), b"no"), DropReason::Policy);
}

#[test]
fn a_trace_names_the_appliance() {
    let mut lab = joined();
    lab.send(3, &hello(3));
    let text = lab.fabric.trace(lab.now, PortId(1), &udp(Ends::ipv4(1, 3), (5, 9), b"no")).join("\n");
    assert!(text.contains("passes the appliance switch 2048") && text.contains("rule \"no\" drops"), "{text}");
    let flooded = lab.fabric.trace(lab.now, PortId(1), &udp(Ends::ipv4(1, 8), (5, 7), b"?")).join("\n");
    assert!(flooded.contains("7 through the appliance at port 4096") && !flooded.contains("dropped"), "{flooded}");
}

#[test]
fn a_five_tuple_finds_its_receiver_beyond_two_appliances() {
    let mut lab = joined();
    lab.step(Step::SetSwitch(FAR, SwitchConfig::default()));
    let guard = Some(weir_fabric::first_hop::GuardConfig::default());
    lab.port(5, PortConfig { guard, ..on(FAR) });
    lab.step(Step::SetAppliance(SECOND, appliance(Arms::Inline([DMZ, FAR]))));
    install(&mut lab, 2, vec![], vec![]);
    lab.send(5, &udp(Ends::ipv4(5, 1), (7, 7), b"hello"));
    let mut frame = udp(Ends::ipv4(1, 5), (5, 7), b"?");
    frame[..12].fill(0);
    let lines = lab.fabric.find_link(lab.now, PortId(1), &mut frame).join("\n");
    assert_eq!(frame[..6], mac(5));
    assert!(lines.contains("beyond an appliance"), "{lines}");
}

/// Each appliance, and what it needs in the lab; probed each second.
fn probed(mut lab: Lab, arms: Arms, on_failure: OnFailure) -> Lab {
    let probing = Probing { interval: Duration::from_secs(1), within: Duration::from_millis(100), misses: 2 };
    lab.step(Step::SetAppliance(GUARD, ApplianceConfig { on_failure, probing, ..appliance(arms) }));
    lab.tick();
    lab
}

/// The pulse after a second, in which the worker comes to the probe so much later than it is due.
fn pulse(lab: &mut Lab, late_ms: u64) -> Pulse {
    lab.now = lab.now.after(Duration::from_millis(1000 + late_ms));
    lab.tick();
    lab.fabric.appliance(lab.now, GUARD).expect("is there").probe.pulse
}

#[test]
fn a_probe_passes_every_kind_of_appliance_and_leaves_nothing_behind() {
    let hairpin = {
        let mut lab = Lab::new(SwitchConfig::default(), &[]);
        lab.port(1, on(GUARD));
        (lab, Arms::Hairpin(PortId(1), vec![(Vid(10), Vid(20))]))
    };
    let ear = {
        let mut lab = Lab::new(SwitchConfig::default(), &[]);
        lab.port(1, on(GUARD));
        (lab, Arms::Listen)
    };
    let wire = (wire(), Arms::Wire([PortId(1), PortId(2)]));
    for (lab, arms) in [wire, (joined(), Arms::Inline([LAN, DMZ])), hairpin, ear] {
        let mut lab = probed(lab, arms.clone(), OnFailure::Closed);
        let before = lab.fabric.totals();
        assert_eq!([pulse(&mut lab, 0), pulse(&mut lab, 3)], [Pulse::Up; 2], "{arms:?}");
        let found = lab.fabric.appliance(lab.now, GUARD).expect("is there");
        assert_eq!((found.probe.sent, found.probe.missed, found.counters), (2, 0, Default::default()));
        assert_eq!((lab.fabric.totals(), lab.fabric.engine().flow_count()), (before, 0));
        assert!(lab.fabric.engine().rule_counters().iter().all(|counter| counter.hits == 0));
        assert!(lab.collect().is_empty(), "it never leaves");
        assert_eq!(lab.fabric.events_waiting(), 0, "nothing to tell of");
        lab.fabric.set_link(PortId(1), false);
        let fine = matches!(arms, Arms::Inline(_));
        assert_eq!(pulse(&mut lab, 0), if fine { Pulse::Up } else { Pulse::Degraded }, "{arms:?} without its end");
    }
}

#[test]
fn a_guard_that_is_always_late_fails_and_recovers() {
    let wire_of = || Arms::Wire([PortId(1), PortId(2)]);
    for (on_failure, failed) in [(OnFailure::Open, Standing::FailedOpen), (OnFailure::Closed, Standing::FailedClosed)] {
        let mut lab = probed(wire(), wire_of(), on_failure);
        assert_eq!(pulse(&mut lab, 0), Pulse::Up);
        assert_eq!(pulse(&mut lab, 500), Pulse::Degraded);
        assert_eq!(standing(&lab), Standing::Guarding);
        assert_eq!(pulse(&mut lab, 500), Pulse::Failed);
        let found = lab.fabric.appliance(lab.now, GUARD).expect("is there");
        assert_eq!((found.standing, found.counters.failures), (failed, 1));
        assert_eq!(found.probe.last, Some(Outcome::Late(Duration::from_millis(500))));
        let no = udp(Ends::ipv4(1, 2), (5, 9), b"no");
        match on_failure {
            OnFailure::Open => assert_eq!(lab.ports(1, &no), [2], "unseen"),
            OnFailure::Closed => lab.refused(1, &no, DropReason::Policy),
        }
        assert_eq!([pulse(&mut lab, 0), pulse(&mut lab, 0)], [Pulse::Failed, Pulse::Up], "two are its end");
        assert_eq!(standing(&lab), Standing::Guarding);
        lab.refused(1, &no, DropReason::Policy);
        let mut told = Vec::new();
        lab.fabric.drain_events(|event| {
            if let weir_filter::Event::Notice(notice) = event {
                told.push((notice.kind, notice.switch, notice.port));
            }
        });
        let story = ["appliance-degraded", "appliance-failed", "appliance-up"];
        assert_eq!(told, story.map(|kind| (kind, GUARD, PortId(1))));
    }
}

#[test]
fn a_probe_sees_that_no_flow_has_room_any_more() {
    let mut lab = full(Limits { flows: 1, ..Limits::default() }, OnFailure::Open);
    let probing = Probing { interval: Duration::from_secs(1), within: Duration::from_millis(100), misses: 1 };
    let config =
        ApplianceConfig { probing, on_failure: OnFailure::Open, ..appliance(Arms::Wire([PortId(1), PortId(2)])) };
    lab.step(Step::SetAppliance(GUARD, config));
    lab.tick();
    assert_eq!(pulse(&mut lab, 0), Pulse::Failed);
    let found = lab.fabric.appliance(lab.now, GUARD).expect("is there").probe;
    assert_eq!(found.last, Some(Outcome::Unjudged(DropReason::FlowTableFull)));
    // Its other port would get room from the first, which has more than it.
    assert_eq!(pulse(&mut lab, 0), Pulse::Up);
    let mut lab = exhausted(OnFailure::Open);
    lab.step(Step::SetAppliance(GUARD, ApplianceConfig { probing, ..appliance(Arms::Wire([PortId(1), PortId(2)])) }));
    lab.tick();
    assert_eq!(pulse(&mut lab, 0), Pulse::Up, "one who has used up its share makes nothing fail");
}
