//! What routers serve: packets for their services, and how the answers go back.

use std::net::{IpAddr, Ipv4Addr};

use weir_fabric::Step;
use weir_fabric::serve::{METADATA, PUNT_BURST, Punt, Serves, Service};
use weir_wire::build::{ArpKind, Ends, arp, tcp, udp};
use weir_wire::numbers::*;
use weir_wire::{DropReason, InterfaceId, MacAddr, PortId, TcpFields, Vid};

use crate::lab::Lab;
use crate::routing::{EAST, WEST, across, both_interfaces, prefix, set_router, two_networks};

const ALL: Serves = Serves { dhcp: true, dhcp6: true, dns: true, metadata: true };

/// The two networks; the router serves everything to `LAN`, and nothing to `DMZ`.
fn serving() -> Lab {
    let mut lab = two_networks();
    lab.step(Step::SetServed(vec![(InterfaceId(0), ALL)]));
    lab
}

fn to_router(ends: Ends) -> Ends {
    let last = if ends.source.is_ipv4() { "10.0.0.254" } else { "fd00::fe" };
    Ends { destination_mac: EAST, destination: last.parse().unwrap(), ..ends }
}

fn discover() -> Vec<u8> {
    let ends = Ends {
        source: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        destination: IpAddr::V4(Ipv4Addr::BROADCAST),
        destination_mac: MacAddr::BROADCAST,
        ..Ends::ipv4(1, 2)
    };
    udp(ends, (68, 67), b"discover")
}

fn punt(lab: &mut Lab) -> Option<Punt> {
    let waits = lab.fabric.has_punts();
    let punt = lab.fabric.take_punt();
    assert_eq!(waits, punt.is_some());
    punt
}

fn answer(lab: &mut Lab, punt: &Punt, frame: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let to = (punt.interface, punt.port, punt.vid);
    lab.fabric.answer(lab.now, to, frame, &mut lab.pool, &mut lab.out);
    lab.collect()
}

#[test]
fn questions_to_a_served_interface_are_handed_over_and_answered_by_the_way_they_came() {
    let mut lab = serving();
    for ends in [Ends::ipv4(1, 9), Ends::ipv6(1, 9)].map(to_router) {
        let before = lab.fabric.totals().delivered;
        let question = udp(ends, (4000, 53), b"who?");
        assert_eq!(lab.send(1, &question), []);
        let punt = punt(&mut lab).unwrap();
        assert_eq!((punt.service, punt.interface, punt.port), (Service::Dns, InterfaceId(0), PortId(1)));
        assert_eq!((punt.vid, &punt.frame[..]), (Vid(0), &question[..]));
        assert_eq!(lab.fabric.totals().delivered, before + 1);
        let reply = udp(ends.reversed(), (53, 4000), b"me");
        assert_eq!(answer(&mut lab, &punt, &reply), [(1, reply)]);
    }
    // Of another port nothing is known; of another network nothing is served.
    let error = lab.send(1, &udp(to_router(Ends::ipv4(1, 9)), (4000, 69), b"x"));
    assert_eq!(error.len(), 1, "port unreachable");
    let west = Ends { destination: "10.0.1.254".parse().unwrap(), ..to_router(Ends::ipv4(1, 9)) };
    assert_eq!(lab.send(1, &udp(west, (4000, 53), b"x")), []);
    assert_eq!(punt(&mut lab).unwrap().interface, InterfaceId(0), "it came in by the interface that serves");
}

#[test]
fn both_sides_of_a_connection_to_a_service_are_one_flow() {
    let mut lab = serving();
    let ends = to_router(Ends::ipv4(1, 9));
    let fields = TcpFields { source_port: 4000, destination_port: 53, seq: 99, ack: 0, flags: TCP_SYN, window: 500 };
    assert_eq!(lab.send(1, &tcp(ends, fields, &[], b"")), []);
    let asked = punt(&mut lab).unwrap();
    let back = TcpFields { source_port: 53, destination_port: 4000, seq: 7, ack: 100, ..fields };
    let accept = tcp(ends.reversed(), TcpFields { flags: TCP_SYN | TCP_ACK, ..back }, &[], b"");
    assert_eq!(answer(&mut lab, &asked, &accept), [(1, accept)]);
    let data = TcpFields { seq: 100, ack: 8, flags: TCP_ACK, ..fields };
    assert_eq!(lab.send(1, &tcp(ends, data, &[], b"question")), []);
    assert!(punt(&mut lab).is_some(), "the guard has seen the handshake");
    assert_eq!(lab.fabric.engine().flow_count(), 1);
    // A segment far outside the window is the guard's, also from us.
    let stray = tcp(ends.reversed(), TcpFields { seq: 900_000, ack: 108, flags: TCP_ACK, ..back }, &[], b"x");
    assert_eq!(answer(&mut lab, &asked, &stray), []);
}

#[test]
fn metadata_is_asked_at_its_own_address_alone() {
    let mut lab = serving();
    let fields = TcpFields { source_port: 4000, destination_port: 80, seq: 9, ack: 0, flags: TCP_SYN, window: 500 };
    let own = to_router(Ends::ipv4(1, 9));
    assert_eq!(lab.send(1, &tcp(own, fields, &[], b"")).len(), 1, "a reset: nobody serves HTTP there");
    assert_eq!(punt(&mut lab), None);
    let ends = Ends { destination: METADATA.0.into(), ..own };
    lab.send(1, &tcp(ends, fields, &[], b""));
    assert_eq!(punt(&mut lab), None, "the interface does not have the address");

    let mut interfaces = both_interfaces();
    interfaces[0].1.addresses.push(prefix("169.254.169.254/32"));
    set_router(&mut lab, 0, interfaces, Vec::new());
    // The neighbours of the first moment were asked for.
    lab.age();
    let guest = (ends.source_mac, Ipv4Addr::new(10, 0, 0, 1));
    let answer = lab.send(1, &arp(ArpKind::Request, guest, (MacAddr::ZERO, METADATA.0)));
    assert!(answer.contains(&(1, arp(ArpKind::Reply, (EAST, METADATA.0), guest))), "it answers on the link");
    lab.send(1, &tcp(ends, TcpFields { source_port: 4001, ..fields }, &[], b""));
    let asked = punt(&mut lab).expect("it is handed over");
    assert_eq!((asked.service, asked.interface, asked.port), (Service::Metadata, InterfaceId(0), PortId(1)));
    assert_eq!(lab.send(1, &tcp(own, TcpFields { source_port: 4002, ..fields }, &[], b"")).len(), 1, "only there");
    // From the network of another interface it is the router's, but nobody serves it there.
    let west = Ends { destination_mac: WEST, ..across().reversed() };
    let west = Ends { destination: METADATA.0.into(), source: "10.0.1.3".parse().unwrap(), ..west };
    assert_eq!(lab.send(3, &tcp(west, fields, &[], b"")).len(), 1, "a reset");
    assert_eq!(punt(&mut lab), None);
}

#[test]
fn requests_for_addresses_reach_the_router_and_everybody_else_as_before() {
    let mut lab = serving();
    assert_eq!(lab.ports(1, &discover()), [2]);
    let asked = punt(&mut lab).unwrap();
    assert_eq!((asked.service, asked.interface, asked.port), (Service::Dhcp, InterfaceId(0), PortId(1)));
    let offer = udp(to_router(Ends::ipv4(1, 9)).reversed(), (67, 68), b"offer");
    lab.fabric.put(lab.now, (InterfaceId(0), Some(PortId(1))), &offer, &mut lab.pool, &mut lab.out);
    assert_eq!(lab.collect(), [(1, offer.clone())]);
    // By a port that leads elsewhere nothing is sent: it goes where its destination is.
    lab.fabric.put(lab.now, (InterfaceId(0), Some(PortId(3))), &offer, &mut lab.pool, &mut lab.out);
    assert_eq!(lab.collect(), [(1, offer)]);

    let group = Ends { destination: "ff02::1:2".parse().unwrap(), ..Ends::ipv6(1, 2) };
    let group = Ends { destination_mac: MacAddr([0x33, 0x33, 0, 1, 0, 2]), ..group };
    assert_eq!(lab.ports(1, &udp(group, (546, 547), b"solicit")), [2]);
    assert_eq!(punt(&mut lab).unwrap().service, Service::Dhcp6);

    lab.step(Step::SetServed(Vec::new()));
    assert_eq!(lab.ports(1, &discover()), [2]);
    assert_eq!(punt(&mut lab), None);
}

#[test]
fn requests_of_a_settled_flow_reach_the_router_too() {
    let mut lab = serving();
    lab.step(Step::RemovePort(PortId(2)));
    for burst in [vec![discover()], vec![discover(), discover()], vec![discover(); 3]] {
        assert_eq!(lab.burst(1, &burst), []);
        for _ in &burst {
            assert_eq!(punt(&mut lab).map(|punt| punt.service), Some(Service::Dhcp));
        }
    }
}

#[test]
fn a_port_that_asks_too_much_is_held_back_and_no_other() {
    let mut lab = serving();
    let question = udp(to_router(Ends::ipv4(1, 9)), (4000, 53), b"who?");
    for _ in 0..PUNT_BURST {
        lab.send(1, &question);
        assert!(punt(&mut lab).is_some());
    }
    lab.refused(1, &question, DropReason::ServiceLimit);
    lab.send(2, &udp(to_router(Ends::ipv4(2, 9)), (4000, 53), b"who?"));
    assert!(punt(&mut lab).is_some());
    lab.wait(1);
    lab.send(1, &question);
    assert!(punt(&mut lab).is_some());
}

#[test]
fn an_address_is_asked_after_for_a_service() {
    let mut lab = serving();
    let wanted = Ipv4Addr::new(10, 0, 0, 77);
    lab.fabric.probe(lab.now, (InterfaceId(0), wanted.into()), &mut lab.pool, &mut lab.out);
    let asked = lab.collect();
    assert_eq!(asked.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [1, 2]);
    let holder = MacAddr([2, 0, 0, 0, 0, 77]);
    lab.send(2, &arp(ArpKind::Reply, (holder, wanted), (EAST, Ipv4Addr::new(10, 0, 0, 254))));
    assert_eq!(lab.fabric.probed(InterfaceId(0), wanted.into()), Some(holder));
    assert_eq!(lab.fabric.probed(InterfaceId(0), wanted.into()), None);
}
