//! Settled flows through routers: bursts of them take the short way, and it decides as the long one does.

use std::net::{IpAddr, Ipv4Addr};

use weir_fabric::Step;
use weir_fabric::nat::{Forward, Masquerade, NatConfig};
use weir_fabric::router::Route;
use weir_wire::build::{Ends, frames, udp};
use weir_wire::numbers::PROTOCOL_UDP;
use weir_wire::{DropReason, InterfaceId, Packet};

use crate::lab::Lab;
use crate::routing::{both_interfaces, only, prefix, read, set_edge, via};
use crate::translation::{OUTSIDE, back, edge, from_outside, inside, masquerade, masquerading};

/// Opens a flow from host `n`, both ways; returns its frames.
fn open(lab: &mut Lab, n: u8, port: u16) -> [Vec<u8>; 2] {
    let out = udp(inside(n), (port, 53), b"ask");
    let (_, left) = only(&lab.send(u16::from(n), &out));
    let answer = udp(back(&left), (53, left.ports().unwrap().0), b"answer");
    only(&lab.send(3, &answer));
    [out, answer]
}

fn came_out(out: &[(u16, Vec<u8>)]) -> Vec<(u16, Packet)> {
    out.iter().map(|(port, frame)| (*port, read(frame))).collect()
}

#[test]
fn a_burst_of_settled_flows_leaves_as_its_packets_would_one_by_one() {
    for translating in [true, false] {
        let nat = if translating { vec![masquerade()] } else { Vec::new() };
        let mut lab = edge(NatConfig { masquerades: nat, ..NatConfig::default() });
        let flows: Vec<[Vec<u8>; 2]> = (0..20).map(|port| open(&mut lab, 1, 5000 + port)).collect();
        for way in [0, 1] {
            let from = if way == 0 { 1 } else { 3 };
            let frames: Vec<Vec<u8>> = flows.iter().map(|flow| flow[way].clone()).collect();
            let one_by_one: Vec<_> = frames.iter().flat_map(|frame| lab.send(from, frame)).collect();
            let before = lab.fabric.router_interface(InterfaceId(1)).unwrap().counters;
            let together = lab.burst(from, &frames);
            let after = lab.fabric.router_interface(InterfaceId(1)).unwrap().counters;
            assert_eq!(together, one_by_one, "translating: {translating}");
            let passed = [after.forwarded - before.forwarded, after.received - before.received];
            assert_eq!(passed, if way == 0 { [20, 0] } else { [0, 20] });
            for (port, packet) in came_out(&together) {
                let (source, destination) = packet.addresses().unwrap();
                assert_eq!(packet.ipv4().unwrap()[8], 63, "the TTL is one less");
                let expected: IpAddr = if translating { OUTSIDE.into() } else { inside(1).source };
                match way {
                    0 => assert_eq!((port, source), (3, expected)),
                    _ => assert_eq!((port, destination), (1, inside(1).source)),
                }
            }
        }
    }
}

#[test]
fn among_settled_packets_others_are_what_they_are() {
    let mut lab = masquerading();
    let frames: Vec<Vec<u8>> = (0..6).map(|port| open(&mut lab, 1, 5000 + port)[0].clone()).collect();
    let ports: [&[u8]; 3] = [&5001u16.to_be_bytes(), &53u16.to_be_bytes(), &[0, 8, 0, 0]];
    let dying = frames::ip_with_hop_limit(inside(1), PROTOCOL_UDP, 1, &ports);
    let opening = udp(inside(1), (7000, 53), b"new");
    let burst = [frames[..3].to_vec(), vec![dying, opening], frames[3..].to_vec()].concat();
    let out = came_out(&lab.burst(1, &burst));
    let by_port = |wanted: u16| out.iter().filter(|(port, _)| *port == wanted).count();
    assert_eq!((by_port(3), by_port(1)), (7, 1), "seven leave, and the sender of the dying one is told");
    assert_eq!(lab.dropped(1, DropReason::HopLimit), 1);
    let told = out.iter().find(|(port, _)| *port == 1).unwrap();
    assert_eq!(told.1.icmp(), Some((11, 0)));
}

#[test]
fn a_route_that_changes_is_taken_by_the_next_packet() {
    let mut lab = edge(NatConfig::default());
    let ends = Ends { destination: Ipv4Addr::new(10, 9, 0, 1).into(), ..inside(1) };
    let interfaces = |lab: &mut Lab, gateway: &str| {
        let mut interfaces = both_interfaces();
        interfaces[1].1.neighbors =
            [3, 4].map(|n| (IpAddr::from(Ipv4Addr::new(10, 0, 1, n)), weir_wire::MacAddr([2, 0, 0, 0, 0, n]))).into();
        interfaces[0].1.neighbors = vec![(inside(1).source, inside(1).source_mac)];
        let route = Route { to: prefix("10.9.0.0/16"), target: via(1, gateway) };
        set_edge(lab, 0, interfaces, vec![route], NatConfig::default());
    };
    interfaces(&mut lab, "10.0.1.3");
    let (_, first) = only(&lab.send(1, &udp(ends, (5000, 53), b"ask")));
    only(&lab.send(3, &udp(back(&first), (53, 5000), b"answer")));
    let frame = udp(ends, (5000, 53), b"again");
    let out = came_out(&lab.burst(1, &[frame.clone(), frame.clone()]));
    assert!(out.iter().all(|(_, packet)| packet.dst_mac().0[5] == 3));
    interfaces(&mut lab, "10.0.1.4");
    let out = came_out(&lab.burst(1, &[frame.clone(), frame]));
    assert!(out.len() == 2 && out.iter().all(|(_, packet)| packet.dst_mac().0[5] == 4));
}

#[test]
fn a_flow_older_than_the_masquerade_is_translated_from_then_on() {
    let mut lab = edge(NatConfig::default());
    let before = lab.fabric.totals().dropped;
    let [out, _] = open(&mut lab, 1, 5000);
    let mut interfaces = both_interfaces();
    let host = |network: u8, n: u8| IpAddr::from(Ipv4Addr::new(10, 0, network, n));
    interfaces[1].1.neighbors = vec![(host(1, 3), weir_wire::MacAddr([2, 0, 0, 0, 0, 3]))];
    interfaces[0].1.neighbors = vec![(host(0, 1), inside(1).source_mac)];
    let masquerade = Masquerade { interface: InterfaceId(1), ..Masquerade::default() };
    let nat = NatConfig { masquerades: vec![masquerade], ..NatConfig::default() };
    set_edge(&mut lab, 0, interfaces, vec![], nat);
    let out = came_out(&lab.burst(1, &[out.clone(), out]));
    assert!(out.len() == 2 && out.iter().all(|(_, packet)| packet.addresses().unwrap().0 == IpAddr::V4(OUTSIDE)));
    assert_eq!(lab.fabric.totals().dropped, before);
}

#[test]
fn what_is_remembered_of_a_binding_ends_with_it() {
    let mut lab = masquerading();
    let [ours, _] = open(&mut lab, 1, 5000);
    let ports = |out: &[(u16, Vec<u8>)]| came_out(out).iter().map(|(_, packet)| packet.ports().unwrap().0).collect();
    let before: Vec<u16> = ports(&lab.burst(1, &[ours.clone(), ours.clone()]));
    assert_eq!(before, [5000, 5000]);
    lab.step(Step::FlushNat);
    // Another host has the same port now, and its binding stands in the same place.
    let theirs = udp(inside(2), (5000, 53), b"ask");
    assert_eq!(only(&lab.send(2, &theirs)).1.ports(), Some((5000, 53)));
    for _ in 0..2 {
        let left = lab.burst(1, &[ours.clone(), ours.clone()]);
        let after: Vec<u16> = ports(&left);
        assert!(after.len() == 2 && after[0] != 5000 && after[0] == after[1], "{after:?}");
        let (_, packet) = came_out(&left).remove(0);
        let (port, answer) = only(&lab.send(3, &udp(back(&packet), (53, after[0]), b"answer")));
        assert_eq!((port, answer.addresses().unwrap().1), (1, inside(1).source));
    }
}

#[test]
fn a_binding_that_comes_later_is_heeded_by_a_flow_that_had_none() {
    let (address, to) = (OUTSIDE.into(), Ipv4Addr::new(10, 0, 0, 1).into());
    let forward = Forward { protocol: PROTOCOL_UDP, address, ports: 80..=80, to, to_port: 8080 };
    let mut lab = edge(NatConfig { forwards: vec![forward], ..NatConfig::default() });
    let ask = |destination: Ipv4Addr, port| udp(from_outside(destination), (6000, port), b"ask");
    let (_, came) = only(&lab.send(3, &ask(Ipv4Addr::new(10, 0, 0, 1), 8080)));
    let answer = udp(back(&came), (8080, 6000), b"answer");
    let sources = |lab: &mut Lab| -> Vec<(IpAddr, u16)> {
        let left = came_out(&lab.burst(1, &[answer.clone(), answer.clone()]));
        left.iter().map(|(_, packet)| (packet.addresses().unwrap().0, packet.ports().unwrap().0)).collect()
    };
    for _ in 0..3 {
        assert_eq!(sources(&mut lab), [(inside(1).source, 8080); 2]);
    }
    // Others come and go without a word in it.
    for host in 1..=2 {
        open(&mut lab, host, 7000);
    }
    assert_eq!(sources(&mut lab), [(inside(1).source, 8080); 2]);
    // The same two ends by the outside address: from here on answers bear it.
    assert_eq!(only(&lab.send(3, &ask(OUTSIDE, 80))).1.ports(), Some((6000, 8080)));
    for _ in 0..2 {
        assert_eq!(sources(&mut lab), [(IpAddr::V4(OUTSIDE), 80); 2]);
    }
    lab.step(Step::FlushNat);
    assert_eq!(sources(&mut lab), [(inside(1).source, 8080); 2]);
}

#[test]
fn the_first_answer_to_many_takes_the_short_way_and_counts() {
    let mut lab = masquerading();
    let asks: Vec<Vec<u8>> = (0..8).map(|n| udp(inside(1), (5000 + n, 53), b"ask")).collect();
    let left = came_out(&lab.burst(1, &asks));
    assert_eq!(left.len(), 8);
    let answer = |packet: &Packet| udp(back(packet), (53, packet.ports().unwrap().0), b"answer");
    let answers: Vec<Vec<u8>> = left.iter().map(|(_, packet)| answer(packet)).collect();
    for _ in 0..2 {
        let heard = came_out(&lab.burst(3, &answers));
        let ports: Vec<u16> = heard.iter().map(|(_, packet)| packet.ports().unwrap().1).collect();
        assert_eq!(ports, (5000..5008).collect::<Vec<u16>>());
    }
    let flows = lab.fabric.engine().flows(100, |flow| flow.tuple.destination_port == 53);
    assert_eq!(flows.len(), 8);
    for flow in flows {
        assert_eq!((flow.packets, flow.state), ([1, 2], "established"), "{flow:?}");
    }
}

/// A frame and others of its flow that differ in something, as they may follow each other.
fn in_a_row(frame: &[u8]) -> Vec<Vec<u8>> {
    let with = |at: usize, value: u8| {
        let mut changed = frame.to_vec();
        changed[at] = value;
        changed
    };
    let plain = frame.to_vec();
    let padded = [frame, &[0; 20]].concat();
    // A broken checksum, a datagram longer than its frame, a fragment, UDP's length wrong, another MAC, another VLAN.
    let others = [with(24, frame[24] ^ 1), with(17, 0xff), with(20, 0x20), with(38, 0xff), with(5, 77), with(12, 0x81)];
    let mut row = vec![plain.clone(), plain.clone(), plain.clone(), padded];
    for other in others {
        row.extend([other, plain.clone(), plain.clone()]);
    }
    row.push(frame[..40].to_vec());
    row.extend([plain.clone(), plain]);
    row
}

#[test]
fn packets_of_one_flow_in_a_row_are_what_each_of_them_is_alone() {
    let masquerades = [vec![masquerade()], Vec::new()];
    for masquerades in masquerades {
        let nat = || NatConfig { masquerades: masquerades.clone(), ..NatConfig::default() };
        for way in [0, 1] {
            let [mut together, mut alone] = [edge(nat()), edge(nat())];
            let frames = [&mut together, &mut alone].map(|lab| open(lab, 1, 5000)[way].clone());
            assert_eq!(frames[0], frames[1]);
            let (from, row) = (if way == 0 { 1 } else { 3 }, in_a_row(&frames[0]));
            let one_by_one: Vec<_> = row.iter().flat_map(|frame| alone.send(from, frame)).collect();
            let by_port = |out: &[(u16, Vec<u8>)], port| -> Vec<Vec<u8>> {
                out.iter().filter(|(to, _)| *to == port).map(|(_, frame)| frame.clone()).collect()
            };
            let burst = together.burst(from, &row);
            for port in 0..4 {
                assert_eq!(by_port(&burst, port), by_port(&one_by_one, port), "way {way}, by port {port}");
            }
            assert!(burst.len() >= 16, "{}", burst.len());
            let drops = |lab: &Lab| DropReason::ALL.iter().map(|&reason| lab.dropped(from, reason)).collect::<Vec<_>>();
            assert_eq!(drops(&together), drops(&alone), "way {way}");
            let counted = |lab: &Lab| {
                let [a, b] =
                    [InterfaceId(0), InterfaceId(1)].map(|id| lab.fabric.router_interface(id).unwrap().counters);
                [a.received, a.forwarded, b.received, b.forwarded]
            };
            assert_eq!(counted(&together), counted(&alone));
        }
    }
}
