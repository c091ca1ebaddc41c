//! Policy routes, and interfaces that answer for others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use weir_fabric::Step;
use weir_fabric::router::{NextHop, PolicyRoute, Route, RouteTable, RouterConfig, Take, Target};
use weir_wire::build::neighbor::solicitation;
use weir_wire::build::{ArpKind, Ends, arp, udp};
use weir_wire::numbers::{PROTOCOL_TCP, PROTOCOL_UDP};
use weir_wire::{DropReason, InterfaceId, MacAddr, PortId, RouterId};

use crate::lab::Lab;
use crate::routing::{EAST, WEST, across, both_interfaces, only, prefix, read, two_networks, via};

fn host(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

/// Two networks; 10.0.1.3 and 10.0.1.4 are routers too, behind port 3.
fn lab(policies: Vec<PolicyRoute>) -> Lab {
    let mut lab = two_networks();
    let mut interfaces = both_interfaces();
    interfaces[0].1.neighbors = vec![(Ipv4Addr::new(10, 0, 0, 1).into(), host(1))];
    interfaces[1].1.neighbors = [3, 4].map(|n| (IpAddr::from(Ipv4Addr::new(10, 0, 1, n)), host(n))).into();
    interfaces[0].1.proxy = vec![prefix("10.0.1.0/24"), prefix("fd00:0:0:1::/64"), prefix("10.0.0.0/24")];
    let routes = [Route { to: prefix("10.9.0.0/16"), target: via(1, "10.0.1.3") }];
    let table = RouteTable::build(interfaces.iter().map(|(id, config)| (*id, config)), routes).unwrap();
    let config =
        RouterConfig { interfaces, table: Arc::new(table), policies: policies.into(), ..RouterConfig::default() };
    lab.step(Step::SetRouter(RouterId(0), config));
    for n in [3, 4] {
        lab.send(3, &udp(Ends::ipv4(n, 9), (9, 9), b"hello"));
    }
    lab.send(1, &udp(Ends::ipv4(1, 9), (9, 9), b"hello"));
    lab
}

fn far() -> Ends {
    Ends { destination: Ipv4Addr::new(10, 9, 0, 1).into(), ..across() }
}

fn other_way() -> Take {
    Take::Target(via(1, "10.0.1.4"))
}

/// The last byte of the MAC that a datagram from host 1 goes to.
fn next_hop(lab: &mut Lab, ends: Ends, ports: (u16, u16)) -> u8 {
    only(&lab.send(1, &udp(ends, ports, b"x"))).1.dst_mac().0[5]
}

#[test]
fn packets_that_fit_take_another_way() {
    let policy = PolicyRoute {
        from: vec![prefix("10.0.0.1/32")],
        protocols: vec![PROTOCOL_UDP],
        destination_ports: vec![8000..=8010],
        take: other_way(),
        ..PolicyRoute::default()
    };
    for (policy, taken) in [
        (policy.clone(), true),
        (PolicyRoute { interfaces: vec![InterfaceId(0)], ports: Some(vec![PortId(1)]), ..policy.clone() }, true),
        (PolicyRoute { to: vec![prefix("10.9.0.0/24")], ..policy.clone() }, true),
        (PolicyRoute { to: vec![prefix("10.9.1.0/24")], ..policy.clone() }, false),
        (PolicyRoute { interfaces: vec![InterfaceId(1)], ..policy.clone() }, false),
        (PolicyRoute { ports: Some(vec![PortId(2), PortId(3)]), ..policy.clone() }, false),
        (PolicyRoute { protocols: vec![PROTOCOL_TCP], ..policy.clone() }, false),
        (PolicyRoute { source_ports: vec![1..=10], ..policy }, false),
    ] {
        let mut lab = lab(vec![policy]);
        assert_eq!(next_hop(&mut lab, far(), (5000, 8005)), if taken { 4 } else { 3 });
        assert_eq!(next_hop(&mut lab, far(), (5000, 9000)), 3, "another port");
    }
}

#[test]
fn the_first_that_fits_and_has_an_answer_decides() {
    let empty = Take::Table(Arc::new(RouteTable::default()));
    let mut table = RouteTable::default();
    table.set(Route { to: prefix("10.9.0.0/16"), target: via(1, "10.0.1.4") }).unwrap();
    let named = |take| PolicyRoute { take, ..PolicyRoute::default() };
    let mut both = lab(vec![named(empty.clone()), named(Take::Table(Arc::new(table)))]);
    assert_eq!(next_hop(&mut both, far(), (1, 2)), 4, "a table without a route leaves it to the next");
    let mut main = lab(vec![named(empty), named(Take::Main), named(other_way())]);
    assert_eq!(next_hop(&mut main, far(), (1, 2)), 3, "the router's own table ends the search");
    let mut none = lab(vec![named(Take::Target(Target::Prohibit))]);
    let told = lab_told(&mut none);
    assert_eq!((told, none.dropped(1, DropReason::RouteRefused)), (Some((3, 13)), 1));
    let own = Ends { destination: Ipv4Addr::new(10, 0, 0, 254).into(), ..across() };
    assert_eq!(only(&none.send(1, &udp(own, (1, 2), b"x"))).1.icmp(), Some((3, 3)), "its own addresses come first");
}

fn lab_told(lab: &mut Lab) -> Option<(u8, u8)> {
    only(&lab.send(1, &udp(far(), (1, 2), b"x"))).1.icmp()
}

#[test]
fn both_ways_go_by_the_appliance_and_what_it_returns_goes_on() {
    let policy = PolicyRoute {
        name: "look".into(),
        from: vec![prefix("10.0.0.0/24")],
        interfaces: vec![InterfaceId(0)],
        both_ways: true,
        take: other_way(),
        ..PolicyRoute::default()
    };
    let mut lab = lab(vec![policy]);
    let out = udp(far(), (5000, 53), b"x");
    let (port, there) = only(&lab.send(1, &out));
    assert_eq!((port, there.dst_mac()), (3, host(4)));
    // The appliance sends it back as it is: it goes to the gateway.
    let returned = Ends { source_mac: host(4), destination_mac: WEST, ..far() };
    let (_, on) = only(&lab.send(3, &udp(returned, (5000, 53), b"x")));
    assert_eq!(on.dst_mac(), host(3));
    let answer = Ends { source_mac: host(3), destination_mac: WEST, ..far().reversed() };
    let (port, looked_at) = only(&lab.send(3, &udp(answer, (53, 5000), b"y")));
    assert_eq!((port, looked_at.dst_mac()), (3, host(4)), "the answer is seen by it too");
    let returned = Ends { source_mac: host(4), destination_mac: WEST, ..far().reversed() };
    let (port, home) = only(&lab.send(3, &udp(returned, (53, 5000), b"y")));
    assert_eq!((port, home.dst_mac()), (1, host(1)));
    let lines = lab.fabric.trace(lab.now, PortId(1), &out);
    assert!(lines.iter().any(|line| line.contains("policy route \"look\"")), "{lines:?}");
}

#[test]
fn several_next_hops_share_flows_and_keep_both_ways_of_one() {
    let ways = [3, 4].map(|n| NextHop { interface: InterfaceId(1), gateway: Some(Ipv4Addr::new(10, 0, 1, n).into()) });
    let policy = PolicyRoute { take: Take::Target(Target::Via(ways.into())), ..PolicyRoute::default() };
    let mut lab = lab(vec![policy]);
    let taken: Vec<u8> = (0..40).map(|port| next_hop(&mut lab, far(), (1000 + port, 53))).collect();
    assert!(taken.contains(&3) && taken.contains(&4), "{taken:?}");
    let again: Vec<u8> = (0..40).map(|port| next_hop(&mut lab, far(), (1000 + port, 53))).collect();
    assert_eq!(taken, again);
}

#[test]
fn an_interface_answers_for_what_is_elsewhere_and_not_for_its_own_network() {
    let mut lab = lab(Vec::new());
    let own = Ipv4Addr::new(10, 0, 0, 1);
    let asks = |target| arp(ArpKind::Request, (host(1), own), (MacAddr::ZERO, target));
    let answers = |out: Vec<(u16, Vec<u8>)>| out.into_iter().filter(|(port, _)| *port == 1).collect::<Vec<_>>();
    let elsewhere = Ipv4Addr::new(10, 0, 1, 77);
    let answer = answers(lab.send(1, &asks(elsewhere)));
    assert_eq!(answer[0].1, arp(ArpKind::Reply, (EAST, elsewhere), (host(1), own)));
    assert!(answers(lab.send(1, &asks(Ipv4Addr::new(10, 0, 0, 77)))).is_empty(), "that host answers itself");
    assert!(answers(lab.send(1, &asks(Ipv4Addr::new(192, 0, 2, 1)))).is_empty(), "it was not told to");
    let own6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    let far6 = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 77);
    let answer = answers(lab.send(1, &solicitation((host(1), own6), far6, None)));
    let said = read(&answer[0].1);
    assert_eq!((said.icmp(), said.src_mac()), (Some((136, 0)), EAST));
}

/// A second in which everything that is due is said; returns the ARP questions for 10.0.1.7.
fn second(lab: &mut Lab) -> usize {
    lab.wait(1);
    let out = lab.age();
    let asked = |frame: &[u8]| frame.get(12..14) == Some(&[8, 6]) && frame.get(38..42) == Some(&[10, 0, 1, 7]);
    out.iter().filter(|(port, frame)| *port == 3 && asked(frame)).count()
}

#[test]
fn a_policy_route_that_fails_open_is_passed_over_while_its_gateway_is_gone() {
    let take = Take::Target(via(1, "10.0.1.7"));
    let mut lab = lab(vec![PolicyRoute { fail_open: true, take: take.clone(), ..PolicyRoute::default() }]);
    let gateway = Ipv4Addr::new(10, 0, 1, 7);
    let answer = arp(ArpKind::Reply, (host(7), gateway), (WEST, Ipv4Addr::new(10, 0, 1, 254)));
    // It is asked for though nothing goes there yet, and answers.
    assert!((0..3).map(|_| second(&mut lab)).sum::<usize>() > 0);
    lab.send(3, &answer);
    assert_eq!(next_hop(&mut lab, far(), (5000, 53)), 7);
    // It falls silent: within six seconds packets go around it, and it goes on being asked for.
    let asked: usize = (0..6).map(|_| second(&mut lab)).sum();
    assert!(asked >= 3, "{asked}");
    assert_eq!(next_hop(&mut lab, far(), (5000, 53)), 3, "as if the policy route were not there");
    assert!((0..10).map(|_| second(&mut lab)).sum::<usize>() >= 5);
    lab.send(3, &answer);
    second(&mut lab);
    assert_eq!(next_hop(&mut lab, far(), (5000, 53)), 7, "it is back");
    let mut told = Vec::new();
    lab.fabric.drain_events(|event| {
        if let weir_filter::Event::Notice(notice) = event {
            told.push((notice.kind, notice.source));
        }
    });
    assert_eq!(told, ["gateway-lost", "gateway-back"].map(|kind| (kind, Some(IpAddr::V4(gateway)))));
}

#[test]
fn a_policy_route_that_fails_closed_ends_packets_and_one_that_is_bypassed_is_not_asked() {
    let gone = PolicyRoute { take: Take::Target(via(1, "10.0.1.7")), ..PolicyRoute::default() };
    let mut closed = lab(vec![gone.clone()]);
    closed.send(1, &udp(far(), (1, 2), b"x"));
    (0..10).for_each(|_| {
        second(&mut closed);
    });
    assert_eq!(closed.dropped(1, DropReason::NeighborUnresolved), 1);
    let mut bypassed = lab(vec![PolicyRoute { bypass: true, fail_open: true, ..gone }]);
    assert_eq!((0..5).map(|_| second(&mut bypassed)).sum::<usize>(), 0, "nobody is asked");
    assert_eq!(next_hop(&mut bypassed, far(), (1, 2)), 3);
}
