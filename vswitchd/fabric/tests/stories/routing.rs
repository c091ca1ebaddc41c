//! Packets between switches: what a router does to them, and what it says of itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use weir_fabric::nat::NatConfig;
use weir_fabric::router::{InterfaceConfig, NextHop, Prefix, Route, RouteTable, RouterConfig, Target};
use weir_fabric::{PortConfig, Step, SwitchConfig, VlanMode};
use weir_wire::build::neighbor::{advertisement, solicitation, solicited_node};
use weir_wire::build::{self, ArpKind, EchoKind, Ends, arp, icmp_echo, tcp, udp};
use weir_wire::numbers::*;
use weir_wire::{DropReason, InterfaceId, MacAddr, Packet, Pool, PortId, RouterId, SwitchId, TcpFields, Vid, checksum};

use crate::lab::{Delivery, LAN, Lab};

/// Another switch than [`LAN`].
pub const DMZ: SwitchId = SwitchId(1);
/// The router's MAC on `LAN` and on `DMZ`.
pub const EAST: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
pub const WEST: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);

pub fn prefix(text: &str) -> Prefix {
    let (address, length) = text.split_once('/').unwrap();
    Prefix { address: address.parse().unwrap(), length: length.parse().unwrap() }
}

pub fn interface(switch: SwitchId, vid: u16, mac: MacAddr, addresses: &[&str]) -> InterfaceConfig {
    let addresses = addresses.iter().map(|text| prefix(text)).collect();
    InterfaceConfig {
        switch,
        vid: Vid(vid),
        mac,
        addresses,
        mtu: 1500,
        clamp_mss: false,
        neighbors: Vec::new(),
        advertise: None,
        proxy: Vec::new(),
    }
}

pub fn via(interface: u16, gateway: &str) -> Target {
    Target::Via(vec![NextHop { interface: InterfaceId(interface), gateway: Some(gateway.parse().unwrap()) }])
}

pub fn set_router(lab: &mut Lab, id: u16, interfaces: Vec<(InterfaceId, InterfaceConfig)>, routes: Vec<Route>) {
    set_edge(lab, id, interfaces, routes, NatConfig::default());
}

pub fn set_edge(
    lab: &mut Lab,
    id: u16,
    interfaces: Vec<(InterfaceId, InterfaceConfig)>,
    routes: Vec<Route>,
    nat: NatConfig,
) {
    let table = RouteTable::build(interfaces.iter().map(|(id, config)| (*id, config)), routes).unwrap();
    let config = RouterConfig {
        zone: SwitchId(SwitchId::FIRST_ZONE),
        interfaces,
        table: Arc::new(table),
        nat,
        ..RouterConfig::default()
    };
    lab.step(Step::SetRouter(RouterId(id), config));
}

/// Switch `LAN` (10.0.0.0/24, fd00::/64) with ports 1 and 2, `DMZ` (10.0.1.0/24, fd00:0:0:1::/64) with port 3, and a
/// router with the last address 254 in each.
pub fn two_networks() -> Lab {
    let mut lab = Lab::new(SwitchConfig::default(), &[1, 2]);
    lab.step(Step::SetSwitch(DMZ, SwitchConfig::default()));
    lab.port(3, PortConfig { switch: DMZ, ..PortConfig::default() });
    let routes = vec![
        Route { to: prefix("10.9.0.0/16"), target: via(1, "10.0.1.3") },
        Route { to: prefix("10.66.0.0/16"), target: Target::Blackhole },
        Route { to: prefix("10.67.0.0/16"), target: Target::Unreachable },
        Route { to: prefix("10.68.0.0/16"), target: Target::Prohibit },
    ];
    set_router(&mut lab, 0, both_interfaces(), routes);
    // Its addresses are asked for and announced.
    for pause in [0, 1, 2] {
        lab.wait(pause);
        lab.age();
    }
    lab
}

pub fn both_interfaces() -> Vec<(InterfaceId, InterfaceConfig)> {
    vec![
        (InterfaceId(0), interface(LAN, 0, EAST, &["10.0.0.254/24", "fd00::fe/64"])),
        (InterfaceId(1), interface(DMZ, 0, WEST, &["10.0.1.254/24", "fd00:0:0:1::fe/64"])),
    ]
}

/// From host 1 of `LAN` to host 3 of `DMZ`, by way of the router.
pub fn across() -> Ends {
    let destination = Ipv4Addr::new(10, 0, 1, 3).into();
    Ends { destination_mac: EAST, destination, ..Ends::ipv4(1, 3) }
}

pub fn across6() -> Ends {
    let destination = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 3).into();
    Ends { destination_mac: EAST, destination, ..Ends::ipv6(1, 3) }
}

pub fn read(frame: &[u8]) -> Packet {
    let packet = build::packet(frame, PortId(0), &mut Pool::default()).expect("what the fabric sends can be read");
    assert!(checksum::verify_l4(&packet), "its checksum is right");
    packet
}

/// The only packet that came out, and the port.
pub fn only(deliveries: &[Delivery]) -> (u16, Packet) {
    let [(port, frame)] = deliveries else { panic!("{} packets came out", deliveries.len()) };
    (*port, read(frame))
}

/// Host 3 of `DMZ` answers the router's question.
pub fn host_3_answers(lab: &mut Lab) -> Vec<Delivery> {
    let host = MacAddr([2, 0, 0, 0, 0, 3]);
    lab.send(3, &arp(ArpKind::Reply, (host, Ipv4Addr::new(10, 0, 1, 3)), (WEST, Ipv4Addr::new(10, 0, 1, 254))))
}

#[test]
fn a_packet_waits_for_its_neighbour_and_goes_on_when_it_answers() {
    let mut lab = two_networks();
    let out = lab.send(1, &udp(across(), (1000, 2000), b"first"));
    let (port, question) = only(&out);
    assert_eq!(port, 3);
    assert_eq!(
        question.bytes(),
        arp(ArpKind::Request, (WEST, Ipv4Addr::new(10, 0, 1, 254)), (MacAddr::ZERO, Ipv4Addr::new(10, 0, 1, 3)))
    );
    assert_eq!(lab.fabric.totals().held, 1);
    let (port, routed) = only(&host_3_answers(&mut lab));
    assert_eq!((port, routed.payload()), (3, &b"first"[..]));
    assert_eq!((routed.src_mac(), routed.dst_mac()), (WEST, MacAddr([2, 0, 0, 0, 0, 3])));
    assert_eq!(routed.ipv4().unwrap()[8], 63, "the TTL is one less");
    let (port, _) = only(&lab.send(1, &udp(across(), (1000, 2000), b"second")));
    assert_eq!(port, 3, "the second one goes at once");
    assert_eq!(lab.fabric.engine().flow_count(), 1, "both ways of a routed flow are one flow");
}

#[test]
fn the_way_back_belongs_to_the_same_flow() {
    let mut lab = two_networks();
    lab.send(1, &udp(across(), (1000, 2000), b"ask"));
    host_3_answers(&mut lab);
    // The router has not met host 1 yet: it asks, and host 1 answers.
    let back = Ends { source_mac: MacAddr([2, 0, 0, 0, 0, 3]), destination_mac: WEST, ..across().reversed() };
    lab.send(3, &udp(back, (2000, 1000), b"answer"));
    let host = MacAddr([2, 0, 0, 0, 0, 1]);
    let out =
        lab.send(1, &arp(ArpKind::Reply, (host, Ipv4Addr::new(10, 0, 0, 1)), (EAST, Ipv4Addr::new(10, 0, 0, 254))));
    let (port, answer) = only(&out);
    assert_eq!((port, answer.payload()), (1, &b"answer"[..]));
    assert_eq!((answer.src_mac(), answer.dst_mac()), (EAST, host));
    let flows = lab.fabric.engine().flows(10, |_| true);
    assert_eq!(flows.len(), 1);
    assert_eq!(flows[0].packets, [1, 1]);
}

#[test]
fn ipv6_is_resolved_by_neighbour_discovery_and_routed() {
    let mut lab = two_networks();
    let out = lab.send(1, &udp(across6(), (1000, 2000), b"six"));
    let target = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 3);
    let (port, question) = only(&out);
    assert_eq!((port, question.icmp()), (3, Some((NEIGHBOR_SOLICITATION, 0))));
    assert_eq!(question.addresses().unwrap().1, IpAddr::V6(solicited_node(target)));
    let IpAddr::V6(router) = question.addresses().unwrap().0 else { panic!("IPv6") };
    let host = MacAddr([2, 0, 0, 0, 0, 3]);
    let (port, routed) = only(&lab.send(3, &advertisement((host, target), Some((WEST, router)))));
    assert_eq!((port, routed.payload(), routed.ipv6().unwrap()[7]), (3, &b"six"[..], 63));
}

#[test]
fn the_router_answers_who_has_its_addresses_and_echo_requests() {
    let mut lab = two_networks();
    let (host, own) = (MacAddr([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 254));
    let out = lab.send(1, &arp(ArpKind::Request, (host, Ipv4Addr::new(10, 0, 0, 1)), (MacAddr::ZERO, own)));
    let answer = out.iter().find(|(port, _)| *port == 1).expect("an answer");
    assert_eq!(answer.1, arp(ArpKind::Reply, (EAST, own), (host, Ipv4Addr::new(10, 0, 0, 1))));
    assert!(out.iter().any(|(port, _)| *port == 2), "the others hear the question too");

    let own6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xfe);
    let host6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    let out = lab.send(1, &solicitation((host, host6), own6, None));
    let answer = out.iter().find(|(port, _)| *port == 1).expect("an answer");
    assert_eq!(answer.1, advertisement((EAST, own6), Some((host, host6))));

    for ends in [
        Ends { destination_mac: EAST, destination: own.into(), ..Ends::ipv4(1, 0) },
        Ends { destination_mac: EAST, destination: own6.into(), ..Ends::ipv6(1, 0) },
    ] {
        let (port, reply) = only(&lab.send(1, &icmp_echo(ends, EchoKind::Request, 7, 1, &[9; 100])));
        assert_eq!((port, reply.bytes()), (1, &icmp_echo(ends.reversed(), EchoKind::Reply, 7, 1, &[9; 100])[..]));
    }
    assert_eq!(lab.fabric.counters(PortId(1)).unwrap().delivered, 4);
}

#[test]
fn a_used_up_ttl_is_told_to_the_sender() {
    let mut lab = two_networks();
    for (ends, expected, router) in [
        (across(), (11, 0), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254))),
        (across6(), (3, 0), IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xfe))),
    ] {
        let frame = build::frames::ip_with_hop_limit(ends, PROTOCOL_UDP, 1, &[&[0, 9, 0, 9, 0, 8, 0, 0]]);
        let (port, error) = only(&lab.send(1, &frame));
        assert_eq!((port, error.icmp()), (1, Some(expected)));
        assert_eq!(error.addresses(), Some((router, ends.source)));
        assert_eq!((error.src_mac(), error.dst_mac()), (EAST, ends.source_mac));
    }
    assert_eq!(lab.dropped(1, DropReason::HopLimit), 2);
}

#[test]
fn routes_say_what_becomes_of_packets() {
    let mut lab = two_networks();
    for (to, reason, error) in [
        ("10.66.0.1", DropReason::RouteRefused, None),
        ("10.67.0.1", DropReason::RouteRefused, Some((3, 1))),
        ("10.68.0.1", DropReason::RouteRefused, Some((3, 13))),
        ("192.0.2.1", DropReason::NoRoute, Some((3, 0))),
        ("10.0.1.255", DropReason::Martian, None),
        ("10.0.1.0", DropReason::Martian, None),
        ("127.0.0.1", DropReason::Martian, None),
        ("224.0.0.9", DropReason::Martian, None),
    ] {
        let before = lab.dropped(1, reason);
        let ends = Ends { destination: to.parse().unwrap(), ..across() };
        let out = lab.send(1, &udp(ends, (1, 2), b"x"));
        assert_eq!(lab.dropped(1, reason), before + 1, "{to}");
        assert_eq!(out.first().and_then(|(_, frame)| read(frame).icmp()), error, "{to}");
    }
}

#[test]
fn a_gateway_takes_what_lies_behind_it() {
    let mut lab = two_networks();
    lab.send(1, &udp(across(), (1, 2), b"x"));
    host_3_answers(&mut lab);
    let ends = Ends { destination: Ipv4Addr::new(10, 9, 1, 2).into(), ..across() };
    let (port, routed) = only(&lab.send(1, &udp(ends, (1, 2), b"far")));
    assert_eq!((port, routed.dst_mac()), (3, MacAddr([2, 0, 0, 0, 0, 3])));
}

#[test]
fn nobody_listens_on_the_router() {
    let mut lab = two_networks();
    let ends = Ends { destination: Ipv4Addr::new(10, 0, 0, 254).into(), ..across() };
    let (_, error) = only(&lab.send(1, &udp(ends, (1, 2), b"x")));
    assert_eq!(error.icmp(), Some((3, 3)));
    let (_, reset) = only(&lab.send(1, &tcp(ends, TcpFields { flags: TCP_SYN, ..TcpFields::default() }, &[], &[])));
    assert!(reset.tcp().unwrap().has(TCP_RST));
    assert_eq!(lab.dropped(1, DropReason::NotServed), 2);
}

#[test]
fn vlans_are_networks_of_their_own() {
    let mut lab = Lab::new(SwitchConfig::default(), &[]);
    let trunk = VlanMode::Trunk { allowed: vec![(Vid(10), Vid(20))], native: None };
    lab.port(1, PortConfig { vlan: trunk, ..PortConfig::default() });
    let interfaces = vec![
        (InterfaceId(0), InterfaceConfig { neighbors: vec![], ..interface(LAN, 10, EAST, &["10.0.0.254/24"]) }),
        (
            InterfaceId(1),
            InterfaceConfig {
                neighbors: vec![(Ipv4Addr::new(10, 0, 1, 3).into(), MacAddr([2, 0, 0, 0, 0, 3]))],
                ..interface(LAN, 20, EAST, &["10.0.1.254/24"])
            },
        ),
    ];
    set_router(&mut lab, 0, interfaces, vec![]);
    lab.send(
        1,
        &build::tagged(
            &udp(Ends { destination_mac: MacAddr([2, 0, 0, 0, 0, 9]), ..Ends::ipv4(3, 9) }, (1, 2), b"x"),
            20,
            0,
        ),
    );
    let out = lab.send(1, &build::tagged(&udp(across(), (1, 2), b"x"), 10, 3));
    let (port, routed) = only(&out);
    assert_eq!(port, 1, "it leaves by the port it came in by");
    let tag = routed.headers.tag.unwrap();
    assert_eq!((tag.vid, tag.pcp_dei), (Vid(20), 3), "in the other VLAN, with its priority");
    let double = build::tagged(&build::tagged(&udp(across(), (1, 2), b"x"), 30, 0), 10, 0);
    lab.refused(1, &double, DropReason::NotRouted);
}

#[test]
fn two_routers_on_a_switch_are_one_way() {
    let mut lab = two_networks();
    // A second router between DMZ and a third switch.
    let far = SwitchId(2);
    lab.step(Step::SetSwitch(far, SwitchConfig::default()));
    lab.port(4, PortConfig { switch: far, ..PortConfig::default() });
    let other = MacAddr([2, 0, 0, 0, 2, 1]);
    let interfaces = vec![
        (InterfaceId(2), interface(DMZ, 0, other, &["10.0.1.253/24"])),
        (
            InterfaceId(3),
            InterfaceConfig {
                neighbors: vec![(Ipv4Addr::new(10, 0, 2, 4).into(), MacAddr([2, 0, 0, 0, 0, 4]))],
                ..interface(far, 0, MacAddr([2, 0, 0, 0, 2, 2]), &["10.0.2.254/24"])
            },
        ),
    ];
    set_router(&mut lab, 1, interfaces, vec![Route { to: prefix("10.0.0.0/24"), target: via(2, "10.0.1.254") }]);
    set_router(&mut lab, 0, both_interfaces(), vec![Route { to: prefix("10.0.2.0/24"), target: via(1, "10.0.1.253") }]);
    let ends = Ends { destination: Ipv4Addr::new(10, 0, 2, 4).into(), ..across() };
    let out = lab.send(1, &udp(ends, (1, 2), b"far"));
    let (port, routed) = out.iter().map(|(port, frame)| (*port, read(frame))).next_back().expect("a packet");
    assert_eq!((port, routed.ipv4().unwrap()[8]), (4, 62), "two routers, two hops");
    // With a TTL of two it dies in the second router, which says so with its own address.
    let dying = build::frames::ip_with_hop_limit(ends, PROTOCOL_UDP, 2, &[&[0, 9, 0, 9, 0, 8, 0, 0]]);
    let (_, error) = only(&lab.send(1, &dying));
    assert_eq!(error.addresses().unwrap().0, IpAddr::V4(Ipv4Addr::new(10, 0, 1, 253)));
}

#[test]
fn flows_are_spread_over_ways_and_stay_on_theirs() {
    let mut lab = two_networks();
    let way = |n: u8| (IpAddr::from(Ipv4Addr::new(10, 0, 1, n)), MacAddr([2, 0, 0, 0, 9, n]));
    let mut interfaces = both_interfaces();
    interfaces[1].1.neighbors = (10..14).map(way).collect();
    let hops = (10..14).map(|n| NextHop { interface: InterfaceId(1), gateway: Some(way(n).0) }).collect();
    set_router(&mut lab, 0, interfaces, vec![Route { to: prefix("0.0.0.0/0"), target: Target::Via(hops) }]);
    let ends = Ends { destination: Ipv4Addr::new(192, 0, 2, 1).into(), ..across() };
    let mut times = [0; 4];
    for flow in 0..400u16 {
        let took: Vec<MacAddr> =
            (0..2).map(|_| only(&lab.send(1, &udp(ends, (1000 + flow, 53), b"x"))).1.dst_mac()).collect();
        assert_eq!(took[0], took[1], "a flow keeps its way");
        times[usize::from(took[0].0[5] - 10)] += 1;
    }
    assert!(times.iter().all(|&n| (60..140).contains(&n)), "{times:?}");
}
