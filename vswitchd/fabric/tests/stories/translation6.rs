//! Address translation of IPv6, as of IPv4: forwarded ports, hairpin, errors, shares.

use std::net::Ipv6Addr;

use weir_fabric::nat::{Forward, Masquerade, NatConfig, OneToOne};
use weir_wire::build::{Ends, IcmpError, fragments, icmp_error, tcp, udp};
use weir_wire::numbers::*;
use weir_wire::{DropReason, InterfaceId, MacAddr, Packet, Pool, PortId, TcpFields, build};

use crate::lab::Lab;
use crate::routing::{EAST, WEST, across6, only};
use crate::translation::{back, edge, masquerade};

const OUTSIDE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 0xfe);

fn address(n: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(n))
}

fn inside(n: u8) -> Ends {
    Ends { source: address(n).into(), source_mac: MacAddr([2, 0, 0, 0, 0, n]), ..across6() }
}

fn from_outside(to: Ipv6Addr) -> Ends {
    Ends {
        source_mac: MacAddr([2, 0, 0, 0, 0, 3]),
        destination_mac: WEST,
        source: across6().destination,
        destination: to.into(),
    }
}

/// The edge, whose inside hosts have told the router of themselves.
fn edge6(nat: NatConfig) -> Lab {
    let mut lab = edge(nat);
    for n in [1, 2] {
        let link = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xfe);
        let host = (MacAddr([2, 0, 0, 0, 0, n]), address(n));
        // An answer is believed once it was asked for.
        lab.send(3, &udp(from_outside(address(n)), (9, 9), b"who"));
        lab.send(u16::from(n), &build::neighbor::host_advertisement(host, false, Some((EAST, link))));
    }
    lab
}

fn web() -> Forward {
    Forward { protocol: PROTOCOL_TCP, address: OUTSIDE.into(), ports: 80..=80, to: address(1).into(), to_port: 8080 }
}

fn syn() -> TcpFields {
    TcpFields { source_port: 6000, destination_port: 80, flags: TCP_SYN, ..TcpFields::default() }
}

/// What an ICMPv6 error quotes.
fn quote(error: &Packet) -> Packet {
    let bytes = [&error.bytes()[..14], &error.transport()[8..]].concat();
    build::packet(&bytes, PortId(0), &mut Pool::default()).unwrap()
}

#[test]
fn a_forwarded_port_is_reached_from_outside_and_by_a_neighbour() {
    let mut lab = edge6(NatConfig { forwards: vec![web()], ..NatConfig::default() });
    let (port, called) = only(&lab.send(3, &tcp(from_outside(OUTSIDE), syn(), &[], &[])));
    assert_eq!((port, called.ports(), called.addresses().unwrap().1), (1, Some((6000, 8080)), address(1).into()));
    let ends = Ends { destination: OUTSIDE.into(), ..inside(2) };
    let (port, called) = only(&lab.send(2, &tcp(ends, syn(), &[], &[])));
    let own: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xfe);
    assert_eq!((port, called.addresses().unwrap()), (1, (own.into(), address(1).into())), "hairpin");
    let (from, to) = called.ports().unwrap();
    let accept = TcpFields { source_port: to, destination_port: from, flags: TCP_SYN | TCP_ACK, ack: 1, ..syn() };
    let (port, answer) = only(&lab.send(1, &tcp(back(&called), accept, &[], &[])));
    assert_eq!(
        (port, answer.addresses().unwrap(), answer.ports()),
        (2, (OUTSIDE.into(), address(2).into()), Some((80, 6000)))
    );
}

#[test]
fn a_joined_address_and_an_independent_mapping_are_the_same_for_everybody() {
    let joined = OneToOne { outside: OUTSIDE.into(), inside: address(1).into(), interface: InterfaceId(1) };
    let mut lab = edge6(NatConfig { one_to_one: vec![joined], ..NatConfig::default() });
    let (port, called) = only(&lab.send(3, &udp(from_outside(OUTSIDE), (7, 4444), b"in")));
    assert_eq!((port, called.addresses().unwrap().1), (1, address(1).into()));
    let (_, out) = only(&lab.send(1, &udp(inside(1), (4444, 7), b"out")));
    assert_eq!(out.addresses().unwrap().0, OUTSIDE);

    let open = Masquerade { endpoint_independent: true, ..masquerade() };
    let mut lab = edge6(NatConfig { masquerades: vec![open], ..NatConfig::default() });
    let (_, first) = only(&lab.send(1, &udp(inside(1), (5000, 53), b"x")));
    let (_, second) = only(&lab.send(1, &udp(inside(1), (5000, 54), b"x")));
    assert_eq!(first.ports().unwrap().0, second.ports().unwrap().0);
    let called = udp(from_outside(OUTSIDE), (999, first.ports().unwrap().0), b"call");
    assert_eq!(only(&lab.send(3, &called)).0, 1);
}

#[test]
fn errors_speak_of_what_each_side_has_sent() {
    let mut lab = edge6(NatConfig { masquerades: vec![masquerade()], forwards: vec![web()], ..NatConfig::default() });
    only(&lab.send(2, &udp(inside(2), (5000, 53), b"other")));
    let (_, out) = only(&lab.send(1, &udp(inside(1), (5000, 53), &[7; 1200])));
    let mut pool = Pool::default();
    for (error, told_as) in [(IcmpError::PortUnreachable, (1, 4)), (IcmpError::TooBig(1280), (2, 0))] {
        let error = icmp_error(&out, out.addresses().unwrap().1, error, &mut pool).unwrap();
        let (port, told) = only(&lab.send(3, error.bytes()));
        assert_eq!((port, told.icmp(), told.addresses().unwrap().1), (1, Some(told_as), address(1).into()));
        let quoted = told.transport()[8..].to_vec();
        assert_eq!(quoted[8..24], address(1).octets(), "the sender's own name");
        assert_eq!(quoted[40..44], [0x13, 0x88, 0, 53], "and port");
    }
    // From inside: nothing is told of the inside name.
    let (_, called) = only(&lab.send(3, &tcp(from_outside(OUTSIDE), syn(), &[], &[])));
    let error = icmp_error(&called, address(1).into(), IcmpError::PortUnreachable, &mut pool).unwrap();
    let (port, told) = only(&lab.send(1, error.bytes()));
    assert_eq!((port, told.addresses().unwrap().0), (3, OUTSIDE.into()));
    assert_eq!((quote(&told).addresses().unwrap().1, quote(&told).ports()), (OUTSIDE.into(), Some((6000, 80))));
}

#[test]
fn shares_and_ranges_hold() {
    let fair = Masquerade { limit_each: 3, ports: 4000..=4009, ..masquerade() };
    let mut lab = edge6(NatConfig { masquerades: vec![fair], ..NatConfig::default() });
    let mut given = Vec::new();
    for host in [1, 2] {
        for port in 5000..5010 {
            let out = lab.send(u16::from(host), &udp(inside(host), (port, 53), b"x"));
            given.extend(out.iter().map(|delivery| crate::routing::read(&delivery.1).ports().unwrap().0));
        }
    }
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), 6, "three each, and none twice");
    assert!(given.iter().all(|port| (4000..=4009).contains(port)), "{given:?}");
    assert_eq!([1, 2].map(|port| lab.dropped(port, DropReason::NatLimit)), [7, 7]);
}

#[test]
fn fragments_are_translated_as_one_datagram() {
    let mut lab = edge6(NatConfig { masquerades: vec![masquerade()], ..NatConfig::default() });
    let long = udp(inside(1), (5000, 53), &[7; 4000]);
    let (port, out) = only(&lab.burst(1, &fragments(&long, 1500, 5)));
    assert_eq!((port, out.addresses().unwrap().0, out.payload().len()), (3, OUTSIDE.into(), 4000));
}
