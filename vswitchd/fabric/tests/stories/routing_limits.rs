//! What a router does with packets that are too long, neighbours that are silent, and guests that lie.

use std::net::Ipv4Addr;

use weir_fabric::Step;
use weir_fabric::router::Advertise;
use weir_fabric::router::icmp::BURST;
use weir_wire::build::{ArpKind, Ends, arp, fragments, udp};
use weir_wire::{DropReason, InterfaceId, MacAddr, PortId, RouterId};

use crate::lab::Lab;
use crate::routing::{
    DMZ, EAST, WEST, across, across6, both_interfaces, host_3_answers, only, read, set_router, two_networks,
};

fn narrow(lab: &mut Lab, mtu: u32) {
    let mut interfaces = both_interfaces();
    interfaces[1].1.mtu = mtu;
    set_router(lab, 0, interfaces, vec![]);
}

#[test]
fn a_packet_that_is_too_long_is_answered_with_the_mtu_of_the_way() {
    let mut lab = two_networks();
    lab.send(1, &udp(across(), (1, 2), b"x"));
    host_3_answers(&mut lab);
    narrow(&mut lab, 1300);
    let (_, error) = only(&lab.send(1, &udp(across(), (1, 2), &[7; 1400])));
    assert_eq!((error.icmp(), &error.transport()[6..8]), (Some((3, 4)), &1300u16.to_be_bytes()[..]));
    let mut lab = two_networks();
    lab.step(Step::RemoveRouter(RouterId(0)));
    let mut interfaces = both_interfaces();
    interfaces[1].1.mtu = 1300;
    interfaces[1].1.neighbors = vec![(across6().destination, MacAddr([2, 0, 0, 0, 0, 3]))];
    set_router(&mut lab, 0, interfaces, vec![]);
    let (_, error) = only(&lab.send(1, &udp(across6(), (1, 2), &[7; 1400])));
    assert_eq!((error.icmp(), &error.transport()[4..8]), (Some((2, 0)), &1300u32.to_be_bytes()[..]));
    assert_eq!(lab.dropped(1, DropReason::PathMtu), 1);
}

#[test]
fn fragments_are_routed_as_one_packet_and_marked_to_be_cut_for_the_way() {
    let mut lab = two_networks();
    lab.send(1, &udp(across(), (1, 2), b"x"));
    host_3_answers(&mut lab);
    let pieces = fragments(&udp(across(), (1, 2), &[7; 3000]), 1500, 77);
    let out = lab.burst(1, &pieces);
    let (port, whole) = only(&out);
    assert_eq!((port, whole.payload().len()), (3, 3000));
    assert_eq!(whole.ipv4().unwrap()[8], 63);
}

#[test]
fn a_silent_neighbour_is_unreachable_and_the_sender_hears_of_it() {
    let mut lab = two_networks();
    lab.send(1, &udp(across(), (1, 2), b"x"));
    for _ in 0..2 {
        lab.wait(1);
        assert_eq!(lab.age().len(), 1, "asked again");
    }
    lab.wait(1);
    let (port, error) = only(&lab.age());
    assert_eq!((port, error.icmp()), (1, Some((3, 1))));
    assert_eq!(lab.dropped(1, DropReason::NeighborUnresolved), 1);
    let (_, error) = only(&lab.send(1, &udp(across(), (1, 2), b"x")));
    assert_eq!(error.icmp(), Some((3, 1)), "at once, while it counts as unreachable");
}

#[test]
fn packets_that_wait_for_a_neighbour_are_bounded() {
    let mut lab = two_networks();
    for _ in 0..40 {
        lab.send(1, &udp(across(), (1, 2), b"x"));
    }
    assert_eq!(lab.fabric.totals().held, 16);
    assert_eq!(lab.dropped(1, DropReason::NeighborLimit), 24);
    assert_eq!(host_3_answers(&mut lab).len(), 16);
}

#[test]
fn packets_that_wait_end_with_their_router() {
    let mut lab = two_networks();
    lab.send(1, &udp(across(), (1, 2), b"x"));
    lab.step(Step::RemoveRouter(RouterId(0)));
    lab.tick();
    assert_eq!(lab.fabric.totals().held, 0);
    assert_eq!(lab.dropped(1, DropReason::NeighborUnresolved), 1);
    assert_eq!(lab.ports(1, &udp(across(), (1, 2), b"x")), [2], "the MAC is a stranger's, so it is flooded");
}

#[test]
fn nobody_else_may_have_the_mac_of_a_router() {
    let mut lab = two_networks();
    let spoofed = udp(Ends { source_mac: EAST, ..Ends::ipv4(1, 2) }, (1, 2), b"x");
    lab.refused(1, &spoofed, DropReason::SourceMacElsewhere);
}

#[test]
fn nobody_takes_an_address_from_a_router_that_has_it() {
    let mut lab = two_networks();
    let (thief, own) = (MacAddr([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 254));
    let claim = arp(ArpKind::Reply, (thief, own), (EAST, own));
    let (port, frame) = lab.send(1, &claim).pop().expect("an announcement");
    assert!(port == 1 || port == 2);
    assert_eq!(frame, arp(ArpKind::Request, (EAST, own), (MacAddr::ZERO, own)));
    assert_eq!(lab.send(1, &claim), [], "answered once a second at most");
    lab.wait(1);
    assert!(!lab.send(1, &claim).is_empty());
    // A question that bears the router's address is a claim as well.
    lab.wait(1);
    let question = arp(ArpKind::Request, (thief, own), (MacAddr::ZERO, Ipv4Addr::new(10, 0, 0, 2)));
    assert!(lab.send(1, &question).iter().any(|(_, frame)| frame[6..12] == EAST.0));
    let status = lab.fabric.router_interface(InterfaceId(0)).unwrap();
    assert_eq!((status.counters.conflicts, status.addresses[0].duplicate), (4, false));
}

#[test]
fn an_address_that_somebody_has_already_is_not_taken() {
    let mut lab = two_networks();
    lab.step(Step::RemoveRouter(RouterId(0)));
    set_router(&mut lab, 0, both_interfaces(), vec![]);
    let asked = lab.age();
    assert!(asked.iter().any(|(_, frame)| read(frame).headers.ether_type == 0x0806), "it asks first");
    let (owner, own) = (MacAddr([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 254));
    lab.send(1, &arp(ArpKind::Reply, (owner, own), (EAST, own)));
    assert!(lab.fabric.router_interface(InterfaceId(0)).unwrap().addresses[0].duplicate);
    let host = MacAddr([2, 0, 0, 0, 0, 2]);
    let out = lab.send(2, &arp(ArpKind::Request, (host, Ipv4Addr::new(10, 0, 0, 2)), (MacAddr::ZERO, own)));
    assert!(out.iter().all(|(port, _)| *port == 1), "the owner answers, not the router");
}

#[test]
fn icmp_errors_are_limited() {
    let mut lab = two_networks();
    let ends = Ends { destination: Ipv4Addr::new(192, 0, 2, 1).into(), ..across() };
    let told: usize = (0..1000).map(|_| lab.send(1, &udp(ends, (1, 2), b"x")).len()).sum();
    assert_eq!(told, BURST as usize);
    assert_eq!(lab.dropped(1, DropReason::NoRoute), 1000);
    let counters = lab.fabric.router_interface(InterfaceId(0)).unwrap().counters;
    assert_eq!((counters.errors_sent, counters.errors_limited), (u64::from(BURST), 1000 - u64::from(BURST)));
}

#[test]
fn what_was_learned_of_neighbours_can_be_forgotten() {
    let mut lab = two_networks();
    lab.send(1, &udp(across(), (1, 2), b"x"));
    host_3_answers(&mut lab);
    assert_eq!(lab.fabric.neighbors(lab.now).len(), 1);
    lab.step(Step::FlushNeighbors(InterfaceId(1)));
    assert!(lab.fabric.neighbors(lab.now).is_empty());
    let (port, question) = only(&lab.send(1, &udp(across(), (1, 2), b"x")));
    assert_eq!((port, question.src_mac()), (3, WEST));
}

#[test]
fn a_guest_behind_the_router_is_counted_where_it_came_from() {
    let mut lab = two_networks();
    lab.send(1, &udp(across(), (1, 2), b"x"));
    host_3_answers(&mut lab);
    let interface = lab.fabric.router_interface(InterfaceId(1)).unwrap();
    assert_eq!((interface.counters.forwarded, interface.config.switch), (1, DMZ));
    assert_eq!(lab.fabric.counters(PortId(1)).unwrap().received, 1);
    assert_eq!(lab.fabric.counters(PortId(3)).unwrap().sent, 1 + 1 + lab_announcements());
}

/// Frames that the router sends to a network on its own when it comes: a question and two announcements for each of its
/// three addresses there.
fn lab_announcements() -> u64 {
    9
}

#[test]
fn a_network_is_told_of_its_router_and_hears_when_it_goes() {
    let mut lab = two_networks();
    let mut interfaces = both_interfaces();
    interfaces[0].1.advertise = Some(Advertise {
        lifetime_s: 1800,
        managed: false,
        other: false,
        autonomous: true,
        lifetimes_s: (86_400, 14_400),
        dns: vec!["fd00::53".parse().unwrap()],
        search: vec!["guests.test".into()],
    });
    set_router(&mut lab, 0, interfaces, vec![]);
    let told = |deliveries: &[crate::lab::Delivery]| -> Vec<(u16, u16)> {
        let of = |(port, frame): &crate::lab::Delivery| {
            let packet = read(frame);
            let lifetime = u16::from_be_bytes([*packet.transport().get(6)?, *packet.transport().get(7)?]);
            (packet.icmp() == Some((134, 0))).then_some((*port, lifetime))
        };
        deliveries.iter().filter_map(of).collect()
    };
    assert_eq!(told(&lab.age()), [(1, 1800), (2, 1800)]);
    lab.wait(15);
    assert_eq!(told(&lab.age()), []);
    lab.wait(1);
    assert_eq!(told(&lab.age()).len(), 2);
    // A host that asks is answered at once, and alone.
    let (mac, address) = (MacAddr([2, 0, 0, 0, 0, 1]), "fe80::1".parse::<std::net::Ipv6Addr>().unwrap());
    let all_routers = std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
    let ask = |source: std::net::Ipv6Addr| {
        let destination_mac = MacAddr([0x33, 0x33, 0, 0, 0, 2]);
        let ends = Ends { source_mac: mac, destination_mac, source: source.into(), destination: all_routers.into() };
        weir_wire::build::frames::ip_with_hop_limit(ends, 58, 255, &[&[133, 0, 0, 0, 0, 0, 0, 0]])
    };
    assert_eq!(told(&lab.send(1, &ask(address))), [(1, 1800)]);
    // One without an address is answered together with all others, not too often.
    lab.wait(3);
    let nobody = std::net::Ipv6Addr::UNSPECIFIED;
    assert_eq!(told(&lab.send(1, &ask(nobody))).len(), 2);
    assert_eq!(told(&lab.send(1, &ask(nobody))), []);
    lab.step(Step::RemoveRouter(RouterId(0)));
    assert_eq!(told(&lab.age()), [(1, 0), (2, 0)], "it is no default router any more");
}
