//! Routers that run short of ports, and guests of their share: what people are told, how often, and that no guest takes
//! what belongs to another.

use std::net::{IpAddr, Ipv4Addr};

use weir_fabric::nat::{Masquerade, NatConfig};
use weir_filter::Event;
use weir_filter::event::Notice;
use weir_wire::build::udp;
use weir_wire::{DropReason, InterfaceId, SwitchId};

use crate::lab::Lab;
use crate::routing::{across6, only, prefix};
use crate::translation::{OUTSIDE, edge, inside, masquerade};

fn notices(lab: &mut Lab) -> Vec<Notice> {
    let mut told = Vec::new();
    lab.fabric.drain_events(|event| {
        if let Event::Notice(notice) = event {
            told.push(*notice);
        }
    });
    told
}

fn with(masquerade: Masquerade) -> Lab {
    edge(NatConfig { masquerades: vec![masquerade], ..NatConfig::default() })
}

#[test]
fn that_ports_have_run_out_is_told_once_with_what_to_do() {
    let mut lab = with(Masquerade { ports: 4000..=4001, ..masquerade() });
    for port in 5000..5002 {
        only(&lab.send(1, &udp(inside(1), (port, 53), b"x")));
    }
    assert_eq!(notices(&mut lab), []);
    for port in 5002..5012 {
        lab.send(1, &udp(inside(1), (port, 53), b"x"));
    }
    let told = notices(&mut lab);
    let [notice] = &told[..] else { panic!("told once: {told:?}") };
    assert_eq!((notice.kind, notice.port.0, notice.interface), ("nat-exhausted", 1, Some(InterfaceId(1))));
    assert_eq!(notice.switch, SwitchId(SwitchId::FIRST_ZONE));
    let tuple = notice.tuple.unwrap();
    assert_eq!(
        (tuple.source, tuple.source_port, tuple.protocol),
        (inside(1).source, 5002, 17),
        "the guest's true name"
    );
    for part in ["udp", "4000-4001", "10.0.1.254", "10.0.0.1", "10.0.1.3 port 53", "Widen"] {
        assert!(notice.text.contains(part), "{part}: {}", notice.text);
    }
    assert_eq!(lab.fabric.nat(lab.now, 0).2.exhausted, 10);
    // Again after a while, with how many there were.
    lab.wait(10);
    lab.send(1, &udp(inside(1), (5012, 53), b"x"));
    let told = notices(&mut lab);
    assert!(told.len() == 1 && told[0].text.contains("9 more"), "{told:?}");
}

#[test]
fn a_guest_at_its_share_is_told_of_and_others_are_not_concerned() {
    let mut lab = with(Masquerade { limit_each: 3, ..masquerade() });
    for port in 5000..5010 {
        lab.send(1, &udp(inside(1), (port, 53), b"x"));
    }
    only(&lab.send(2, &udp(inside(2), (5000, 53), b"x")));
    for port in 5001..5010 {
        lab.send(2, &udp(inside(2), (port, 53), b"x"));
    }
    assert_eq!([1, 2].map(|port| lab.dropped(port, DropReason::NatLimit)), [7, 7]);
    let told = notices(&mut lab);
    let who: Vec<(&str, IpAddr)> = told.iter().map(|notice| (notice.kind, notice.tuple.unwrap().source)).collect();
    assert_eq!(who, [("nat-limit", inside(1).source), ("nat-limit", inside(2).source)]);
    assert!(told[0].text.contains("limit_each") && told[0].text.contains("3 flows"), "{}", told[0].text);
}

#[test]
fn a_family_without_an_address_is_told() {
    // The only outside address is one of IPv4, which no flow of IPv6 can bear.
    let mut lab = with(Masquerade { addresses: vec![OUTSIDE.into()], ..masquerade() });
    only(&lab.send(1, &udp(across6(), (5000, 53), b"x")));
    assert_eq!(notices(&mut lab), [], "the interface has one of the family itself");
}

#[test]
fn however_many_are_short_what_is_remembered_is_bounded() {
    let mut lab = with(Masquerade { limit_each: 1, ..masquerade() });
    for n in 1..=100 {
        for port in 5000..5003 {
            lab.send(1, &udp(inside(n), (port, 53), b"x"));
        }
    }
    assert_eq!(notices(&mut lab).len(), 64);
    assert_eq!(lab.fabric.nat(lab.now, 0).2.over_limit, 200, "all are counted");
    lab.wait(11);
    lab.send(1, &udp(inside(99), (5002, 53), b"x"));
    assert_eq!(notices(&mut lab).len(), 1, "an old place makes room");
}

#[test]
fn guests_may_have_port_ranges_of_their_own() {
    let of = |host: u8, ports| Masquerade { from: vec![prefix(&format!("10.0.0.{host}/32"))], ports, ..masquerade() };
    let masquerades = vec![of(1, 2000..=2003), of(2, 3000..=3003), masquerade()];
    let mut lab = edge(NatConfig { masquerades, ..NatConfig::default() });
    for (host, range) in [(1, 2000..=2003), (2, 3000..=3003)] {
        let mut given = Vec::new();
        for port in 5000..5006 {
            let out = lab.send(u16::from(host), &udp(inside(host), (port, 53), b"x"));
            given.extend(out.iter().map(|delivery| crate::routing::read(&delivery.1).ports().unwrap().0));
        }
        given.sort_unstable();
        assert_eq!(given, range.collect::<Vec<u16>>(), "all of its own, and no other");
    }
    let ends = weir_wire::build::Ends { source: Ipv4Addr::new(10, 0, 0, 9).into(), ..inside(1) };
    assert_eq!(only(&lab.send(1, &udp(ends, (5000, 53), b"x"))).1.ports(), Some((5000, 53)), "the rest share");
}

#[test]
fn each_guest_has_a_block_of_ports_that_no_other_gets() {
    let mut lab = with(Masquerade { ports: 2000..=2023, ports_each: 8, ..masquerade() });
    let mut given: Vec<Vec<u16>> = Vec::new();
    for host in [1, 2] {
        let all = (5000..5012).flat_map(|port| lab.send(u16::from(host), &udp(inside(host), (port, 53), b"x")));
        given.push(all.map(|delivery| crate::routing::read(&delivery.1).ports().unwrap().0).collect());
    }
    for ports in &mut given {
        ports.sort_unstable();
        let first = ports[0];
        assert_eq!(*ports, (first..first + 8).collect::<Vec<u16>>(), "eight in a row");
        assert_eq!((first - 2000) % 8, 0);
    }
    assert_ne!(given[0], given[1]);
    let told = notices(&mut lab);
    assert_eq!(told.len(), 2, "each of them has used up its own");
    assert!(told[0].text.contains("10.0.0.1 has used up the 8 ports that are its own"), "{}", told[0].text);
    // A third has the last block, a fourth none until one is free again.
    let of = |host: u8| {
        udp(weir_wire::build::Ends { source: Ipv4Addr::new(10, 0, 0, host).into(), ..inside(1) }, (1, 53), b"x")
    };
    only(&lab.send(1, &of(8)));
    assert_eq!(lab.send(1, &of(9)), []);
    assert!(notices(&mut lab).pop().unwrap().text.contains("all blocks of 8 ports belong to other guests"));
    lab.wait(200);
    (0..300).for_each(|_| drop(lab.age()));
    only(&lab.send(1, &of(9)));
}
