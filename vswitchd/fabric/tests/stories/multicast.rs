//! Snooping: groups go where they were joined; neighbours are never kept from each other.

use weir_fabric::multicast::{RouterPort, SnoopingConfig};
use weir_fabric::{PortConfig, Step, SwitchConfig};
use weir_wire::build::neighbor::solicitation;
use weir_wire::checksum;
use weir_wire::{DropReason, MacAddr};

use crate::lab::{LAN, Lab, mac};

pub const G: [u8; 4] = [239, 1, 2, 3];

/// An Ethernet frame from host `from` to group `to`.
fn ipv4(from: u8, to: [u8; 4], protocol: u8, ttl: u8, body: &[u8]) -> Vec<u8> {
    let length = (20 + body.len()) as u16;
    let mut header = vec![0x45, 0, (length >> 8) as u8, length as u8, 0, 1, 0, 0, ttl, protocol, 0, 0, 10, 0, 0, from];
    header.extend(to);
    let sum = !checksum::sum(&header).fold();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&[1, 0, 0x5e, to[1] & 0x7f, to[2], to[3]][..], &mac(from), &[8, 0], &header, body].concat()
}

fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    let sum = !checksum::sum(&body).fold();
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    body
}

/// IGMP of version 1 or 2: a report, or a leave.
pub fn igmp(from: u8, kind: u8, group: [u8; 4]) -> Vec<u8> {
    let to = if kind == 0x17 { [224, 0, 0, 2] } else { group };
    ipv4(from, to, 2, 1, &sealed([&[kind, 0, 0, 0][..], &group].concat()))
}

/// IGMP of version 3: one record of this kind with so many sources.
fn igmp3(from: u8, kind: u8, group: [u8; 4], sources: u8) -> Vec<u8> {
    let mut body = [&[0x22, 0, 0, 0, 0, 0, 0, 1, kind, 0, 0, sources][..], &group].concat();
    (0..sources).for_each(|n| body.extend([192, 0, 2, n]));
    ipv4(from, [224, 0, 0, 22], 2, 1, &sealed(body))
}

fn query(from: u8) -> Vec<u8> {
    ipv4(from, [224, 0, 0, 1], 2, 1, &sealed(vec![0x11, 10, 0, 0, 0, 0, 0, 0]))
}

/// Data to a group.
pub fn data(from: u8, group: [u8; 4]) -> Vec<u8> {
    ipv4(from, group, 17, 16, &[0, 5, 0, 5, 0, 8, 0, 0])
}

/// MLD: a report of version 2 that joins (4) or leaves (3) a group.
fn mld(from: u8, kind: u8, group: [u16; 8]) -> Vec<u8> {
    let group: Vec<u8> = group.iter().flat_map(|part| part.to_be_bytes()).collect();
    let mut body = [&[143, 0, 0, 0, 0, 0, 0, 1, kind, 0, 0, 0][..], &group].concat();
    let source = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, from];
    let to = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16];
    let sum = !checksum::pseudo_ipv6(&source, &to, 58, body.len() as u32).and(checksum::sum(&body)).fold();
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    let head = [0x60, 0, 0, 0, 0, (8 + body.len()) as u8, 0, 1];
    let options = [58, 0, 5, 2, 0, 0, 1, 0];
    [&[0x33, 0x33, 0, 0, 0, 0x16][..], &mac(from), &[0x86, 0xdd], &head, &source, &to, &options, &body].concat()
}

fn data6(from: u8, group: [u16; 8]) -> Vec<u8> {
    let to: Vec<u8> = group.iter().flat_map(|part| part.to_be_bytes()).collect();
    let source = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, from];
    let udp = [0, 5, 0, 5, 0, 8];
    let sum = checksum::pseudo_ipv6(&source, to.first_chunk().unwrap(), 17, 8).and(checksum::sum(&udp));
    let sum = (!sum.fold()).to_be_bytes();
    let mac_to = [0x33, 0x33, to[12], to[13], to[14], to[15]];
    let head = [0x60, 0, 0, 0, 0, 8, 17, 16];
    [&mac_to[..], &mac(from), &[0x86, 0xdd], &head, &source, &to, &udp, &sum].concat()
}

pub const OWN: SnoopingConfig = SnoopingConfig {
    querier: Some(std::net::Ipv4Addr::new(10, 0, 0, 200)),
    interval_s: 60,
    response_s: 1,
    flood_unregistered: false,
    fast_leave: false,
    groups_max: 4,
    port_groups_max: 3,
};

/// A switch with ports 1 to 4 that asks by itself, and has asked.
fn asking(config: SnoopingConfig) -> Lab {
    let mut lab = Lab::new(SwitchConfig { snooping: Some(config), ..SwitchConfig::default() }, &[1, 2, 3, 4]);
    lab.age();
    lab.wait(2);
    lab.age();
    lab
}

fn groups(lab: &Lab) -> usize {
    lab.fabric.snooping(lab.now, LAN).expect("it snoops").groups.len()
}

#[test]
fn a_group_goes_to_its_members_only() {
    let mut lab = asking(OWN);
    lab.refused(1, &data(1, G), DropReason::MulticastUnregistered);
    assert_eq!(lab.ports(2, &igmp(2, 0x16, G)), [] as [u16; 0], "no other host hears a report");
    assert_eq!(lab.ports(1, &data(1, G)), [2]);
    lab.send(3, &igmp3(3, 4, G, 0));
    assert_eq!(lab.ports(1, &data(1, G)), [2, 3]);
    assert_eq!(lab.ports(2, &data(2, G)), [3], "never back");
    lab.refused(1, &data(1, [239, 1, 2, 4]), DropReason::MulticastUnregistered);
    // A leave: others on the port have a moment to object, and are asked.
    lab.send(2, &igmp(2, 0x17, G));
    let asked = lab.age();
    assert_eq!(asked.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [2]);
    assert_eq!(asked[0].1[38..46], [0x11, 10, asked[0].1[40], asked[0].1[41], 239, 1, 2, 3]);
    assert_eq!(lab.ports(1, &data(1, G)), [2, 3]);
    lab.wait(2);
    lab.age();
    assert_eq!(lab.ports(1, &data(1, G)), [3]);
    lab.send(3, &igmp3(3, 3, G, 0));
    lab.send(3, &igmp3(3, 5, G, 2));
    lab.wait(3);
    lab.age();
    assert_eq!(lab.ports(1, &data(1, G)), [3], "it objected");
    // Who is not heard any more is forgotten.
    lab.wait(200);
    lab.age();
    assert_eq!(groups(&lab), 0);
}

#[test]
fn both_versions_and_the_ports_of_routers() {
    let mut lab = asking(SnoopingConfig { fast_leave: true, ..OWN });
    let group = [0xff15, 0, 0, 0, 0, 0, 0, 0x77];
    lab.refused(1, &data6(1, group), DropReason::MulticastUnregistered);
    lab.send(2, &mld(2, 4, group));
    assert_eq!(lab.ports(1, &data6(1, group)), [2]);
    lab.send(4, &query(100));
    assert_eq!(lab.ports(1, &data(1, G)), [4], "a router gets every group");
    assert_eq!(lab.ports(3, &igmp(3, 0x16, G)), [4], "and every report");
    assert_eq!(lab.ports(1, &data6(1, group)), [2, 4]);
    lab.send(2, &mld(2, 3, group));
    assert_eq!(lab.ports(1, &data6(1, group)), [4], "out with the first leave");
    lab.port(4, PortConfig { multicast_router: RouterPort::Never, ..PortConfig::default() });
    lab.send(4, &query(100));
    assert_eq!(lab.ports(1, &data(1, G)), [3]);
    lab.port(2, PortConfig { multicast_router: RouterPort::Always, ..PortConfig::default() });
    assert_eq!(lab.ports(1, &data(1, G)), [2, 3]);
}

#[test]
fn neighbours_and_groups_of_the_link_reach_everybody() {
    let solicit = || {
        let sender = (MacAddr(mac(1)), "fe80::1".parse().unwrap());
        solicitation(sender, "fd00::9".parse().unwrap(), None)
    };
    let link = |lab: &mut Lab| {
        assert_eq!(lab.ports(1, &solicit()), [2, 3, 4], "neighbour discovery");
        assert_eq!(lab.ports(1, &data6(1, [0xff02, 0, 0, 0, 0, 0, 0, 0xfb])), [2, 3, 4]);
        assert_eq!(lab.ports(1, &data(1, [224, 0, 0, 251])), [2, 3, 4]);
    };
    // With a querier of its own, and somebody in the group of the link.
    let mut lab = asking(OWN);
    lab.send(2, &igmp(2, 0x16, [224, 0, 0, 251]));
    lab.send(2, &mld(2, 4, [0xff02, 0, 0, 0, 0, 1, 0xff00, 9]));
    link(&mut lab);
    assert_eq!(groups(&lab), 0, "such groups are not counted");
    // Without any querier, nothing is kept from anybody.
    let mut lab = asking(SnoopingConfig { querier: None, ..OWN });
    link(&mut lab);
    lab.send(2, &igmp(2, 0x16, G));
    assert_eq!(lab.ports(1, &data(1, G)), [2, 3, 4]);
    // One that comes is trusted when hosts have had the time to answer, and no longer than it lives.
    lab.send(4, &query(100));
    assert_eq!(lab.ports(1, &data(1, G)), [2, 3, 4]);
    lab.wait(3);
    lab.send(2, &igmp(2, 0x16, G));
    assert_eq!(lab.ports(1, &data(1, G)), [2, 4]);
    link(&mut lab);
    lab.wait(200);
    lab.age();
    assert_eq!(lab.ports(1, &data(1, G)), [2, 3, 4], "the querier is gone");
}

#[test]
fn of_two_queriers_the_lower_address_asks() {
    let mut lab = asking(OWN);
    lab.send(4, &query(201));
    lab.wait(60);
    assert!(!lab.age().is_empty(), "10.0.0.200 asks");
    lab.send(4, &query(100));
    let state = lab.fabric.snooping(lab.now, LAN).unwrap();
    assert!(state.queriers.iter().any(|q| q.address == std::net::IpAddr::from([10, 0, 0, 100]) && q.port.is_some()));
    lab.wait(60);
    let asked = lab.age();
    assert!(asked.iter().all(|(_, frame)| frame[12..14] == [0x86, 0xdd]), "only in IPv6: {asked:x?}");
    lab.wait(130);
    lab.age();
    lab.wait(1);
    lab.age();
    lab.wait(60);
    assert!(lab.age().iter().any(|(_, frame)| frame[12..14] == [8, 0]), "it asks again when the other is gone");
}

#[test]
fn limits_hold_and_are_counted() {
    let mut lab = asking(OWN);
    for n in 0..5 {
        lab.send(2, &igmp(2, 0x16, [239, 9, 9, n]));
    }
    assert_eq!(groups(&lab), 3, "of one port");
    for n in 0..5 {
        lab.send(3, &igmp(3, 0x16, [239, 8, 8, n]));
    }
    let state = lab.fabric.snooping(lab.now, LAN).unwrap();
    assert_eq!((state.groups.len(), state.stats.refused), (4, 2 + 4));
    // A port that goes makes room.
    lab.step(Step::RemovePort(weir_wire::PortId(2)));
    assert_eq!(groups(&lab), 1);
    lab.send(3, &igmp(3, 0x16, G));
    assert_eq!(groups(&lab), 2);
}

#[test]
fn what_cannot_be_believed_changes_nothing() {
    let mut lab = asking(OWN);
    let mut wrong_sum = igmp(2, 0x16, G);
    wrong_sum[36] ^= 1;
    let routed = {
        let body = sealed([&[0x16, 0, 0, 0][..], &G].concat());
        ipv4(2, G, 2, 2, &body)
    };
    let unicast = igmp3(2, 4, [10, 0, 0, 1], 0);
    for broken in [wrong_sum, routed, unicast] {
        lab.send(2, &broken);
    }
    let state = lab.fabric.snooping(lab.now, LAN).unwrap();
    assert_eq!((state.groups.len(), state.stats.broken), (0, 3));
}

#[test]
fn storms_of_changed_messages_break_nothing() {
    let mut lab = asking(SnoopingConfig { groups_max: 16, port_groups_max: 8, ..OWN });
    let seeds = [
        igmp(2, 0x16, G),
        igmp(2, 0x17, G),
        igmp3(2, 4, G, 3),
        query(9),
        mld(2, 4, [0xff15, 0, 0, 0, 0, 0, 0, 1]),
        ipv4(2, [224, 0, 0, 13], 103, 1, &[0x20, 0, 0xdf, 0xff]),
    ];
    let mut state = 1u64;
    let mut roll = |sides: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % sides
    };
    for _ in 0..6000 {
        let mut frame = seeds[roll(seeds.len())].clone();
        for _ in 0..roll(4) {
            let at = 14 + roll(frame.len() - 14);
            frame[at] = roll(256) as u8;
        }
        frame.truncate(14 + roll(frame.len()));
        // Most changes break a checksum; mend IGMP's, so that what is behind it is met too.
        if frame.len() > 38 && frame[23] == 2 && frame[14] == 0x45 {
            let body = sealed([&frame[34..36], &[0, 0], &frame[38..]].concat());
            frame.splice(34.., body);
        }
        lab.send(1 + roll(4) as u16, &frame);
        if roll(20) == 0 {
            lab.wait(roll(30) as u64);
            lab.age();
        }
        let known = lab.fabric.snooping(lab.now, LAN).unwrap();
        assert!(known.groups.len() <= 16);
    }
}
