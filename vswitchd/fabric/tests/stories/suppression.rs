//! Switches that answer address resolution: for whom they do, and for whom they ask as if they did not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use weir_fabric::first_hop::GuardConfig;
use weir_fabric::suppress::{PORT_MAX, PROBE_S, SuppressCounters, VALID_S};
use weir_fabric::{PortConfig, Step, SwitchConfig, VlanMode};
use weir_filter::Policy;
use weir_filter::spec::{self, Action, Rule, Side, Spec};
use weir_wire::build::neighbor::{Says, host_advertisement, says, solicitation, tells_router};
use weir_wire::build::{ArpKind, arp};
use weir_wire::{Epoch, MacAddr, PortId, Vid};

use crate::lab::{Delivery, LAN, Lab, frame, mac};
use crate::routing::{DMZ, EAST, both_interfaces, read, set_router};

fn ip4(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, n)
}

fn ip6(n: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(n))
}

fn host(n: u8) -> MacAddr {
    MacAddr(mac(n))
}

/// Host `from` asks all for an address.
fn asks(from: u8, target: u8) -> Vec<u8> {
    arp(ArpKind::Request, (host(from), ip4(from)), (MacAddr::ZERO, ip4(target)))
}

/// Host `from` looks whether an address is free.
fn probes(from: u8, target: u8) -> Vec<u8> {
    arp(ArpKind::Request, (host(from), Ipv4Addr::UNSPECIFIED), (MacAddr::ZERO, ip4(target)))
}

/// Host `from` tells all that an address is its own.
fn announces(from: u8, address: u8) -> Vec<u8> {
    arp(ArpKind::Request, (host(from), ip4(address)), (MacAddr::ZERO, ip4(address)))
}

fn advertises(from: u8, router: bool) -> Vec<u8> {
    host_advertisement((host(from), ip6(from)), router, None)
}

/// Ports 1, 2 and 3 with hosts of these numbers, who have said who they are.
fn lab() -> Lab {
    let mut lab = Lab::new(SwitchConfig { suppress: true, ..SwitchConfig::default() }, &[1, 2, 3]);
    for n in 1..=3 {
        lab.send(u16::from(n), &announces(n, n));
        lab.send(u16::from(n), &advertises(n, n == 3));
    }
    lab
}

fn counted(lab: &Lab) -> SuppressCounters {
    lab.fabric.suppression(LAN).unwrap()
}

/// What the only frame that came out says, and where it came out.
fn answer(out: &[Delivery]) -> Option<(u16, Says)> {
    let [(port, frame)] = out else { return None };
    Some((*port, says(&read(frame)).expect("it speaks of addresses")))
}

fn is_flooded(out: &[Delivery]) -> bool {
    out.len() > 1
}

#[test]
fn who_is_known_is_not_disturbed() {
    let mut lab = lab();
    let told = answer(&lab.send(1, &asks(1, 2)));
    assert_eq!(told, Some((1, Says::Has { address: ip4(2).into(), mac: host(2), solicited: true })));
    let out = lab.send(1, &solicitation((host(1), ip6(1)), ip6(3), None));
    assert_eq!(answer(&out), Some((1, Says::Has { address: ip6(3).into(), mac: host(3), solicited: true })));
    assert_eq!(tells_router(&read(&out[0].1)), Some(true), "as it said itself");
    let out = lab.send(1, &solicitation((host(1), ip6(1)), ip6(2), None));
    assert_eq!(tells_router(&read(&out[0].1)), Some(false));
    let expected = SuppressCounters { known: 6, answered: 3, ..SuppressCounters::default() };
    assert_eq!(counted(&lab), expected);
    assert!(is_flooded(&lab.send(1, &asks(1, 9))), "nobody knows who that is");
    assert_eq!(counted(&lab).flooded, 1);
    // What is asked of the owner itself, to see whether it is there, reaches it.
    let alive = solicitation((host(1), ip6(1)), ip6(2), Some(host(2)));
    assert_eq!(lab.ports(1, &alive), [2]);
}

#[test]
fn a_switch_that_was_not_told_to_answers_nobody() {
    let mut lab = Lab::plain();
    lab.send(2, &announces(2, 2));
    assert!(is_flooded(&lab.send(1, &asks(1, 2))));
    assert_eq!(lab.fabric.suppression(LAN), None);
}

#[test]
fn a_probe_for_anothers_address_is_answered_and_for_ones_own_it_is_not() {
    let mut lab = lab();
    let told = answer(&lab.send(1, &probes(1, 2)));
    assert_eq!(told, Some((1, Says::Has { address: ip4(2).into(), mac: host(2), solicited: true })));
    assert!(is_flooded(&lab.send(2, &probes(2, 2))), "it is its own");
    let out = lab.send(1, &solicitation((host(1), Ipv6Addr::UNSPECIFIED), ip6(2), None));
    assert_eq!(answer(&out), Some((1, Says::Has { address: ip6(2).into(), mac: host(2), solicited: false })));
    assert_eq!(out[0].1[..6], [0x33, 0x33, 0, 0, 0, 1], "to all nodes, of whom one hears it");
    assert!(is_flooded(&lab.send(2, &solicitation((host(2), Ipv6Addr::UNSPECIFIED), ip6(2), None))));
    // A word of long ago keeps nobody from an address.
    lab.wait(u64::from(PROBE_S));
    assert!(is_flooded(&lab.send(1, &probes(1, 2))));
    assert!(answer(&lab.send(1, &asks(1, 2))).is_some(), "but it serves who asks");
}

#[test]
fn what_is_known_ends_with_its_time_its_port_and_its_place() {
    let knows = |lab: &mut Lab| matches!(answer(&lab.send(1, &asks(1, 2))), Some((1, Says::Has { .. })));
    let mut old = lab();
    old.wait(u64::from(VALID_S) - 1);
    old.send(2, &frame(2, 3));
    assert!(knows(&mut old), "it is still there");
    old.wait(1);
    assert!(!knows(&mut old));
    old.tick();
    assert_eq!(counted(&old).known, 1, "who asked just now");

    let mut down = lab();
    down.fabric.set_link(PortId(2), false);
    assert!(!knows(&mut down));
    let mut disabled = lab();
    disabled.port(2, PortConfig { down: true, ..PortConfig::default() });
    assert!(!knows(&mut disabled));
    let mut gone = lab();
    gone.step(Step::RemovePort(PortId(2)));
    assert!(!knows(&mut gone));
    assert_eq!(counted(&gone).known, 4);
    let mut flushed = lab();
    flushed.step(Step::FlushFdb(LAN));
    assert!(!knows(&mut flushed), "its place is not known");
    let mut moved = lab();
    moved.send(3, &frame(2, 1));
    assert!(!knows(&mut moved), "it is behind another port than it spoke from");
    moved.send(3, &announces(2, 2));
    assert!(knows(&mut moved));
}

#[test]
fn an_address_that_two_claim_is_asked_for() {
    let mut lab = lab();
    lab.send(3, &announces(3, 2));
    assert_eq!(counted(&lab).contested, 1);
    assert!(is_flooded(&lab.send(1, &asks(1, 2))));
    lab.wait(61);
    lab.send(2, &announces(2, 2));
    assert!(answer(&lab.send(1, &asks(1, 2))).is_some(), "one of them has gone on");
    // Who speaks in the name of another MAC is not believed.
    let mut false_name = announces(3, 7);
    false_name[6..12].copy_from_slice(&mac(9));
    lab.send(3, &false_name);
    assert!(is_flooded(&lab.send(1, &asks(1, 7))));
}

#[test]
fn who_may_not_reach_the_owner_is_not_told_of_it() {
    let mut lab = lab();
    for port in [1, 2] {
        lab.port(port, PortConfig { isolated: true, ..PortConfig::default() });
        lab.send(port, &announces(port as u8, port as u8));
    }
    assert_eq!(lab.ports(1, &asks(1, 2)), [3], "isolated ports do not hear each other");
    for port in [1, 2] {
        lab.port(port, PortConfig::default());
        lab.send(port, &announces(port as u8, port as u8));
    }
    assert!(answer(&lab.send(1, &asks(1, 2))).is_some());
    let to = Side { ports: vec!["p2".into()], ..Side::default() };
    let rule = Rule { name: "no".into(), action: Action::Drop, to, ..Rule::default() };
    let port = |id: u16| spec::Port { id: PortId(id), name: format!("p{id}"), groups: Vec::new() };
    let spec = Spec {
        switches: vec![spec::Switch { id: LAN, name: "lan".into(), default: Action::Allow, inspect: None }],
        ports: (1..=3).map(port).collect(),
        rules: vec![rule],
        ..Spec::default()
    };
    lab.fabric.install(Arc::new(Policy::compile(&spec, Epoch(1)).unwrap()));
    assert_eq!(lab.send(1, &asks(1, 2)), [], "the policy says no");
    assert!(answer(&lab.send(1, &asks(1, 3))).is_some());
}

#[test]
fn vlans_are_kept_apart() {
    let mut lab = lab();
    for port in [1, 2, 3] {
        let vlan = VlanMode::Access(Vid(if port == 3 { 20 } else { 10 }));
        lab.port(port, PortConfig { vlan, ..PortConfig::default() });
        lab.send(port, &announces(port as u8, port as u8));
    }
    assert!(answer(&lab.send(1, &asks(1, 2))).is_some());
    assert_eq!(lab.ports(1, &asks(1, 3)), [2], "nobody of that name is in this VLAN");
}

#[test]
fn what_the_first_hop_has_bound_holds() {
    let mut lab = lab();
    let given = GuardConfig { addresses: vec![IpAddr::from(ip4(2))], ..GuardConfig::default() };
    lab.port(2, PortConfig { guard: Some(given), ..PortConfig::default() });
    lab.send(2, &announces(2, 2));
    assert!(answer(&lab.send(1, &asks(1, 2))).is_some());
    // A guest that claims another's address is refused at the first hop and teaches nobody anything.
    let guarded = GuardConfig::default();
    lab.port(3, PortConfig { guard: Some(guarded), ..PortConfig::default() });
    lab.send(3, &announces(3, 3));
    lab.send(3, &announces(3, 2));
    let told = answer(&lab.send(1, &asks(1, 2)));
    assert_eq!(told, Some((1, Says::Has { address: ip4(2).into(), mac: host(2), solicited: true })));
    assert_eq!(counted(&lab).contested, 0);
}

#[test]
fn addresses_of_routers_are_asked_of_these_alone() {
    let mut lab = lab();
    lab.step(Step::SetSwitch(DMZ, SwitchConfig::default()));
    set_router(&mut lab, 0, both_interfaces(), vec![]);
    for pause in [0, 1, 2] {
        lab.wait(pause);
        lab.age();
    }
    let told = answer(&lab.send(1, &asks(1, 254)));
    assert_eq!(told, Some((1, Says::Has { address: ip4(254).into(), mac: EAST, solicited: true })));
    assert_eq!(counted(&lab).to_router, 1);
}

#[test]
fn a_port_that_claims_the_world_fills_its_own_share() {
    let mut lab = lab();
    for n in 0..PORT_MAX + 100 {
        let address = Ipv4Addr::from(0x0a01_0000 + n);
        lab.send(3, &arp(ArpKind::Request, (host(3), address), (MacAddr::ZERO, address)));
    }
    let SuppressCounters { known, full, .. } = counted(&lab);
    assert_eq!((known, full), (u64::from(PORT_MAX) + 4, 102));
    assert!(answer(&lab.send(1, &asks(1, 2))).is_some(), "the others are known as before");
}
