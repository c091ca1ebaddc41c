//! Addresses inside and outside: what leaves a router under another name, what comes back, and who may be called in.

use std::net::{IpAddr, Ipv4Addr};

use weir_fabric::nat::{Forward, Masquerade, NatConfig, OneToOne};
use weir_wire::build::{EchoKind, Ends, IcmpError, fragments, icmp_echo, icmp_error, tcp, udp};
use weir_wire::numbers::*;
use weir_wire::{DropReason, InterfaceId, MacAddr, Packet, Pool, PortId, TcpFields, build};

use crate::lab::Lab;
use crate::routing::{EAST, WEST, across, across6, both_interfaces, only, prefix, set_edge, two_networks};

/// Hosts 1 and 2 are inside, in 10.0.0.0/24; host 3 is outside, in 10.0.1.0/24.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 254);

pub fn masquerade() -> Masquerade {
    Masquerade {
        interface: InterfaceId(1),
        from: vec![],
        addresses: vec![],
        ports: 1024..=65535,
        endpoint_independent: false,
        limit_each: 0,
        ports_each: 0,
    }
}

fn web() -> Forward {
    let to = Ipv4Addr::new(10, 0, 0, 1).into();
    Forward { protocol: PROTOCOL_TCP, address: OUTSIDE.into(), ports: 80..=89, to, to_port: 8080 }
}

/// Two networks whose hosts know each other's MACs, and a router that translates.
pub fn edge(nat: NatConfig) -> Lab {
    let mut lab = two_networks();
    let mut interfaces = both_interfaces();
    let host = |network: u8, n: u8| (IpAddr::from(Ipv4Addr::new(10, 0, network, n)), MacAddr([2, 0, 0, 0, 0, n]));
    interfaces[0].1.neighbors = vec![host(0, 1), host(0, 2), (across6().source, MacAddr([2, 0, 0, 0, 0, 1]))];
    interfaces[1].1.neighbors = vec![host(1, 3), host(1, 4), (across6().destination, MacAddr([2, 0, 0, 0, 0, 3]))];
    set_edge(&mut lab, 0, interfaces, vec![], nat);
    for (port, ends) in [(1, Ends::ipv4(1, 9)), (2, Ends::ipv4(2, 9)), (3, Ends::ipv4(3, 9)), (3, Ends::ipv4(4, 9))] {
        // Switches learn where the hosts are.
        lab.send(port, &udp(ends, (9, 9), b"hello"));
    }
    lab
}

pub fn masquerading() -> Lab {
    edge(NatConfig { masquerades: vec![masquerade()], ..NatConfig::default() })
}

/// What host 3 answers to a packet that it got.
pub fn back(packet: &Packet) -> Ends {
    let (source, destination) = packet.addresses().unwrap();
    Ends { source_mac: packet.dst_mac(), destination_mac: packet.src_mac(), source: destination, destination: source }
}

pub fn inside(n: u8) -> Ends {
    Ends { source: Ipv4Addr::new(10, 0, 0, n).into(), source_mac: MacAddr([2, 0, 0, 0, 0, n]), ..across() }
}

/// From host 3 to an address of the router or behind it.
pub fn from_outside(to: Ipv4Addr) -> Ends {
    Ends {
        source_mac: MacAddr([2, 0, 0, 0, 0, 3]),
        destination_mac: WEST,
        source: Ipv4Addr::new(10, 0, 1, 3).into(),
        destination: to.into(),
    }
}

#[test]
fn a_flow_leaves_by_the_routers_address_and_its_answer_comes_back() {
    let mut lab = masquerading();
    let (port, out) = only(&lab.send(1, &udp(inside(1), (5000, 53), b"ask")));
    assert_eq!((port, out.addresses().unwrap().0, out.ports()), (3, IpAddr::V4(OUTSIDE), Some((5000, 53))));
    let (port, answer) = only(&lab.send(3, &udp(back(&out), (53, 5000), b"answer")));
    assert_eq!((port, answer.addresses().unwrap().1), (1, inside(1).source));
    let flows = lab.fabric.engine().flows(10, |flow| flow.tuple.destination_port == 53);
    assert_eq!(flows.len(), 1, "both ways are one flow");
    assert_eq!((flows[0].tuple.source, flows[0].packets), (inside(1).source, [1, 1]), "the true client");
}

#[test]
fn two_hosts_with_the_same_port_get_two() {
    let mut lab = masquerading();
    let (_, first) = only(&lab.send(1, &udp(inside(1), (5000, 53), b"1")));
    let (_, second) = only(&lab.send(2, &udp(inside(2), (5000, 53), b"2")));
    let (port, _) = second.ports().unwrap();
    assert_eq!(first.ports(), Some((5000, 53)));
    assert!(port != 5000 && port >= 1024);
    let (to, answer) = only(&lab.send(3, &udp(back(&second), (53, port), b"for 2")));
    assert_eq!((to, answer.ports()), (2, Some((53, 5000))));
    // The same inputs, the same ports.
    let mut again = masquerading();
    again.send(1, &udp(inside(1), (5000, 53), b"1"));
    assert_eq!(only(&again.send(2, &udp(inside(2), (5000, 53), b"2"))).1.bytes(), second.bytes());
}

#[test]
fn ipv6_tcp_and_echo_are_translated_too() {
    let mut lab = masquerading();
    let (_, out) = only(&lab.send(1, &udp(across6(), (5000, 53), b"six")));
    assert_eq!(out.addresses().unwrap().0, "fd00:0:0:1::fe".parse::<IpAddr>().unwrap());
    let (port, answer) = only(&lab.send(3, &udp(back(&out), (53, 5000), b"six")));
    assert_eq!((port, answer.addresses().unwrap().1), (1, across6().source));

    let syn = TcpFields { source_port: 6000, destination_port: 80, flags: TCP_SYN, ..TcpFields::default() };
    let (_, out) = only(&lab.send(1, &tcp(inside(1), syn, &[], &[])));
    let accept = TcpFields { source_port: 80, destination_port: 6000, flags: TCP_SYN | TCP_ACK, ack: 1, ..syn };
    let (port, answer) = only(&lab.send(3, &tcp(back(&out), accept, &[], &[])));
    assert_eq!((port, answer.addresses().unwrap().1), (1, inside(1).source));

    let (_, first) = only(&lab.send(1, &icmp_echo(inside(1), EchoKind::Request, 7, 1, b"x")));
    let (_, second) = only(&lab.send(2, &icmp_echo(inside(2), EchoKind::Request, 7, 1, b"x")));
    let id = |packet: &Packet| u16::from_be_bytes([packet.transport()[4], packet.transport()[5]]);
    assert_ne!(id(&first), id(&second));
    let (port, reply) = only(&lab.send(3, &icmp_echo(back(&second), EchoKind::Reply, id(&second), 1, b"x")));
    assert_eq!((port, id(&reply)), (2, 7));
}

#[test]
fn ports_run_out_and_that_is_counted() {
    let narrow = Masquerade { ports: 4000..=4001, ..masquerade() };
    let mut lab = edge(NatConfig { masquerades: vec![narrow], ..NatConfig::default() });
    for port in [5000, 5001] {
        only(&lab.send(1, &udp(inside(1), (port, 53), b"x")));
    }
    lab.send(1, &udp(inside(1), (5002, 53), b"x"));
    assert_eq!(lab.dropped(1, DropReason::NatExhausted), 1);
    assert_eq!(lab.fabric.nat(lab.now, 9).2.exhausted, 1);
    // To somebody else the same ports serve again.
    let ends = Ends { destination: Ipv4Addr::new(10, 0, 1, 4).into(), ..inside(1) };
    only(&lab.send(1, &udp(ends, (5002, 53), b"x")));
    // And when their time is over.
    lab.wait(200);
    only(&lab.send(1, &udp(inside(1), (5003, 53), b"x")));
}

#[test]
fn one_host_cannot_take_all_ports() {
    let fair = Masquerade { limit_each: 5, ..masquerade() };
    let mut lab = edge(NatConfig { masquerades: vec![fair], ..NatConfig::default() });
    let passed = (0..20).filter(|n| !lab.send(1, &udp(inside(1), (5000 + n, 53), b"x")).is_empty()).count();
    assert_eq!((passed, lab.dropped(1, DropReason::NatLimit)), (5, 15));
    only(&lab.send(2, &udp(inside(2), (5000, 53), b"x")));
}

#[test]
fn an_independent_mapping_is_the_same_for_everybody() {
    let open = Masquerade { endpoint_independent: true, ..masquerade() };
    let mut lab = edge(NatConfig { masquerades: vec![open], ..NatConfig::default() });
    let (_, first) = only(&lab.send(1, &udp(inside(1), (5000, 53), b"x")));
    let other = Ends { destination: Ipv4Addr::new(10, 0, 1, 4).into(), ..inside(1) };
    let (_, second) = only(&lab.send(1, &udp(other, (5000, 77), b"x")));
    assert_eq!(first.ports().unwrap().0, second.ports().unwrap().0);
    let (port, called) = only(&lab.send(3, &udp(from_outside(OUTSIDE), (999, 5000), b"call")));
    assert_eq!((port, called.addresses().unwrap().1), (1, inside(1).source));
}

#[test]
fn a_forwarded_port_leads_to_its_host_and_answers_by_its_outside_name() {
    let mut lab = edge(NatConfig { forwards: vec![web()], ..NatConfig::default() });
    let syn = TcpFields { source_port: 6000, destination_port: 81, flags: TCP_SYN, ..TcpFields::default() };
    let (port, called) = only(&lab.send(3, &tcp(from_outside(OUTSIDE), syn, &[], &[])));
    assert_eq!((port, called.ports()), (1, Some((6000, 8081))));
    assert_eq!(called.addresses().unwrap(), (Ipv4Addr::new(10, 0, 1, 3).into(), inside(1).source), "the true client");
    let accept = TcpFields { source_port: 8081, destination_port: 6000, flags: TCP_SYN | TCP_ACK, ack: 1, ..syn };
    let (port, answer) = only(&lab.send(1, &tcp(back(&called), accept, &[], &[])));
    assert_eq!((port, answer.addresses().unwrap().0, answer.ports()), (3, IpAddr::V4(OUTSIDE), Some((81, 6000))));
    // A port that is not forwarded is the router's own.
    let other = TcpFields { destination_port: 90, ..syn };
    let (port, reset) = only(&lab.send(3, &tcp(from_outside(OUTSIDE), other, &[], &[])));
    assert!(port == 3 && reset.tcp().unwrap().has(TCP_RST));
}

#[test]
fn a_host_reaches_its_neighbour_by_the_outside_name() {
    let mut lab = edge(NatConfig { forwards: vec![web()], ..NatConfig::default() });
    let ends = Ends { destination: OUTSIDE.into(), ..inside(2) };
    let syn = TcpFields { source_port: 6000, destination_port: 80, flags: TCP_SYN, ..TcpFields::default() };
    let (port, called) = only(&lab.send(2, &tcp(ends, syn, &[], &[])));
    assert_eq!((port, called.addresses().unwrap()), (1, (Ipv4Addr::new(10, 0, 0, 254).into(), inside(1).source)));
    let (from, to) = called.ports().unwrap();
    let accept = TcpFields { source_port: to, destination_port: from, flags: TCP_SYN | TCP_ACK, ack: 1, ..syn };
    let (port, answer) = only(&lab.send(1, &tcp(back(&called), accept, &[], &[])));
    assert_eq!(
        (port, answer.addresses().unwrap(), answer.ports()),
        (2, (OUTSIDE.into(), inside(2).source), Some((80, 6000)))
    );
    let flows = lab.fabric.engine().flows(9, |flow| flow.tuple.destination_port == 8080);
    assert_eq!((flows.len(), flows[0].tuple.source), (1, inside(2).source), "the guard sees the true ends");
}

#[test]
fn a_joined_address_is_a_host_in_both_directions() {
    let joined = OneToOne { outside: OUTSIDE.into(), inside: inside(1).source, interface: InterfaceId(1) };
    let mut lab = edge(NatConfig { one_to_one: vec![joined], ..NatConfig::default() });
    let (port, called) = only(&lab.send(3, &udp(from_outside(OUTSIDE), (7, 4444), b"in")));
    assert_eq!((port, called.addresses().unwrap().1, called.ports()), (1, inside(1).source, Some((7, 4444))));
    let (port, out) = only(&lab.send(1, &udp(inside(1), (4444, 7), b"out")));
    assert_eq!((port, out.addresses().unwrap().0, out.ports()), (3, IpAddr::V4(OUTSIDE), Some((4444, 7))));
}

#[test]
fn an_error_from_outside_speaks_of_what_the_host_sent() {
    let mut lab = masquerading();
    only(&lab.send(2, &udp(inside(2), (5000, 53), b"other")));
    let (_, out) = only(&lab.send(1, &udp(inside(1), (5000, 53), b"ask")));
    let mut pool = Pool::default();
    let error = icmp_error(&out, out.addresses().unwrap().1, IcmpError::PortUnreachable, &mut pool).unwrap();
    let (port, told) = only(&lab.send(3, error.bytes()));
    assert_eq!((port, told.icmp(), told.addresses().unwrap().1), (1, Some((3, 3)), inside(1).source));
    let quote = build::packet(&[&told.bytes()[..14], &told.transport()[8..]].concat(), PortId(0), &mut pool).unwrap();
    assert_eq!((quote.addresses().unwrap().0, quote.ports()), (inside(1).source, Some((5000, 53))));
}

#[test]
fn errors_from_inside_and_of_the_router_do_not_tell_inside_names() {
    let mut lab =
        edge(NatConfig { forwards: vec![Forward { protocol: PROTOCOL_UDP, ..web() }], ..NatConfig::default() });
    let (_, called) = only(&lab.send(3, &udp(from_outside(OUTSIDE), (6000, 80), b"call")));
    let mut pool = Pool::default();
    let error = icmp_error(&called, inside(1).source, IcmpError::PortUnreachable, &mut pool).unwrap();
    let (port, told) = only(&lab.send(1, error.bytes()));
    assert_eq!((port, told.addresses().unwrap().0), (3, IpAddr::V4(OUTSIDE)));
    let dying = build::frames::ip_with_hop_limit(
        from_outside(OUTSIDE),
        PROTOCOL_UDP,
        1,
        &[&6000u16.to_be_bytes(), &80u16.to_be_bytes(), &[0, 8, 0, 0]],
    );
    let (_, expired) = only(&lab.send(3, &dying));
    assert_eq!(expired.icmp(), Some((11, 0)));
    for error in [told, expired] {
        let quote = build::packet(&[&error.bytes()[..14], &error.transport()[8..]].concat(), PortId(0), &mut pool);
        let quote = quote.unwrap();
        assert_eq!((quote.addresses().unwrap().1, quote.ports()), (OUTSIDE.into(), Some((6000, 80))));
    }
}

#[test]
fn fragments_are_translated_as_one_datagram() {
    let mut lab = masquerading();
    let long = udp(inside(1), (5000, 53), &[7; 4000]);
    let (port, out) = only(&lab.burst(1, &fragments(&long, 1500, 5)));
    assert_eq!((port, out.addresses().unwrap().0, out.payload().len()), (3, IpAddr::V4(OUTSIDE), 4000));
    let answer = udp(back(&out), (53, 5000), &[8; 4000]);
    let (port, back) = only(&lab.burst(3, &fragments(&answer, 1500, 6)));
    assert_eq!((port, back.addresses().unwrap().1, back.payload().len()), (1, inside(1).source, 4000));
    assert_eq!(lab.fabric.engine().flows(9, |flow| flow.tuple.destination_port == 53).len(), 1);
}

#[test]
fn who_was_called_by_its_own_name_answers_by_it() {
    let mut lab = masquerading();
    let called = udp(from_outside(Ipv4Addr::new(10, 0, 0, 1)), (6000, 9000), b"hello");
    let (port, _) = only(&lab.send(3, &called));
    assert_eq!(port, 1);
    let (port, answer) = only(&lab.send(1, &udp(inside(1), (9000, 6000), b"hello yourself")));
    assert_eq!((port, answer.addresses().unwrap().0), (3, inside(1).source));
}

#[test]
fn only_the_addresses_that_are_named_are_masqueraded() {
    let some = Masquerade { from: vec![prefix("10.0.0.2/32")], ..masquerade() };
    let mut lab = edge(NatConfig { masquerades: vec![some], ..NatConfig::default() });
    assert_eq!(only(&lab.send(1, &udp(inside(1), (5000, 53), b"x"))).1.addresses().unwrap().0, inside(1).source);
    assert_eq!(only(&lab.send(2, &udp(inside(2), (5000, 53), b"x"))).1.addresses().unwrap().0, IpAddr::V4(OUTSIDE));
    assert_eq!(EAST, across().destination_mac);
}
