//! Routers as domains of their own, and what a good citizen among routers does and leaves.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use weir_fabric::router::{InterfaceConfig, Route, RouteTable, RouterConfig};
use weir_fabric::{PortConfig, Step, SwitchConfig};
use weir_wire::build::{Ends, arp, tcp, udp};
use weir_wire::numbers::*;
use weir_wire::{InterfaceId, MacAddr, RouterId, SwitchId, TcpFields};

use crate::lab::Lab;
use crate::routing::{
    EAST, WEST, across, across6, both_interfaces, interface, only, prefix, set_router, two_networks, via,
};

fn host(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

/// Router `n` between switches `2n` and `2n + 1`, behind ports `10n + 1` and `10n + 2`: the same networks, hosts and MACs
/// for each.
fn add_domain(lab: &mut Lab, n: u16) {
    let switches = [SwitchId(2 * n), SwitchId(2 * n + 1)];
    for (switch, port) in switches.into_iter().zip([10 * n + 1, 10 * n + 2]) {
        lab.step(Step::SetSwitch(switch, SwitchConfig::default()));
        lab.port(port, PortConfig { switch, ..PortConfig::default() });
    }
    let known = |network: u8, last: u8| vec![(Ipv4Addr::new(10, 0, network, last).into(), host(last))];
    let interfaces: Vec<(InterfaceId, InterfaceConfig)> = vec![
        (
            InterfaceId(2 * n),
            InterfaceConfig { neighbors: known(0, 1), ..interface(switches[0], 0, EAST, &["10.0.0.254/24"]) },
        ),
        (
            InterfaceId(2 * n + 1),
            InterfaceConfig { neighbors: known(1, 3), ..interface(switches[1], 0, WEST, &["10.0.1.254/24"]) },
        ),
    ];
    let routes = [Route { to: prefix("0.0.0.0/0"), target: via(2 * n + 1, "10.0.1.3") }];
    let table = RouteTable::build(interfaces.iter().map(|(id, config)| (*id, config)), routes).unwrap();
    let zone = SwitchId(SwitchId::FIRST_ZONE + n);
    let config = RouterConfig { zone, interfaces, table: Arc::new(table), ..RouterConfig::default() };
    lab.step(Step::SetRouter(RouterId(n), config));
    for (port, ends) in [(10 * n + 1, Ends::ipv4(1, 9)), (10 * n + 2, Ends::ipv4(3, 9))] {
        lab.send(port, &udp(ends, (9, 9), b"hello"));
    }
}

#[test]
fn routers_with_the_same_networks_and_hosts_do_not_know_of_each_other() {
    let mut lab = Lab::new(SwitchConfig::default(), &[]);
    (0..3).for_each(|n| add_domain(&mut lab, n));
    // The same five-tuple in each, at the same time.
    let there = udp(across(), (5000, 53), b"ask");
    for n in 0..3u16 {
        let (port, out) = only(&lab.send(10 * n + 1, &there));
        assert_eq!((port, out.ports()), (10 * n + 2, Some((5000, 53))));
    }
    let back =
        Ends { source_mac: host(3), destination_mac: WEST, source: across().destination, destination: across().source };
    for n in (0..3u16).rev() {
        let (port, _) = only(&lab.send(10 * n + 2, &udp(back, (53, 5000), b"answer")));
        assert_eq!(port, 10 * n + 1);
    }
    let flows = lab.fabric.engine().flows(9, |flow| flow.tuple.destination_port == 53);
    assert_eq!(flows.iter().map(|flow| flow.packets).collect::<Vec<_>>(), [[1, 1]; 3]);
    // One of them goes, the others stay.
    lab.step(Step::RemoveRouter(RouterId(1)));
    assert_eq!(lab.send(11, &there).iter().filter(|(port, _)| *port == 12).count(), 0);
    for n in [0, 2] {
        assert_eq!(only(&lab.send(10 * n + 1, &there)).0, 10 * n + 2);
    }
}

#[test]
fn who_is_sent_back_into_its_own_network_is_not_redirected() {
    let mut lab = two_networks();
    let mut interfaces = both_interfaces();
    interfaces[0].1.neighbors = vec![(Ipv4Addr::new(10, 0, 0, 2).into(), host(2))];
    // The next router is in the network of the sender: RFC 1812, 5.2.7.2 lets a router tell it, which guests could abuse.
    set_router(&mut lab, 0, interfaces, vec![Route { to: prefix("192.0.2.0/24"), target: via(0, "10.0.0.2") }]);
    lab.send(2, &udp(Ends::ipv4(2, 9), (9, 9), b"hello"));
    let ends = Ends { destination: Ipv4Addr::new(192, 0, 2, 1).into(), ..across() };
    for _ in 0..3 {
        let (port, out) = only(&lab.send(1, &udp(ends, (1, 2), b"x")));
        assert_eq!((port, out.dst_mac()), (2, host(2)), "it goes on, and nothing else is said");
    }
}

#[test]
fn segment_sizes_are_lowered_to_the_way_and_never_raised() {
    for (mtu, clamps, said) in [(1400, true, 1460), (1400, false, 1460), (1400, true, 1000), (1500, true, 1460)] {
        let mut lab = two_networks();
        let mut interfaces = both_interfaces();
        interfaces[1].1.mtu = mtu;
        interfaces[1].1.clamp_mss = clamps;
        interfaces[1].1.neighbors = vec![(across().destination, host(3)), (across6().destination, host(3))];
        set_router(&mut lab, 0, interfaces, vec![]);
        lab.send(3, &udp(Ends::ipv4(3, 9), (9, 9), b"hello"));
        for (ends, header) in [(across(), 0), (across6(), 20)] {
            let syn = TcpFields { source_port: 6000, destination_port: 80, flags: TCP_SYN, ..TcpFields::default() };
            let said: u16 = said - header;
            let [high, low] = said.to_be_bytes();
            let (port, out) = only(&lab.send(1, &tcp(ends, syn, &[2, 4, high, low], &[])));
            let option: [u8; 4] = out.transport()[20..24].try_into().unwrap();
            let [2, 4, high, low] = option else { panic!("{option:?}") };
            let fits = mtu as u16 - 40 - header;
            let expected = if clamps { said.min(fits) } else { said };
            assert_eq!((port, u16::from_be_bytes([high, low])), (3, expected), "MTU {mtu}, clamps: {clamps}");
        }
    }
}

#[test]
fn a_gratuitous_announcement_moves_a_neighbour_and_a_foreign_one_does_not_add_one() {
    let mut lab = two_networks();
    let address = Ipv4Addr::new(10, 0, 1, 3);
    let announces = |mac| arp(weir_wire::build::ArpKind::Request, (mac, address), (MacAddr::ZERO, address));
    lab.send(3, &announces(host(3)));
    assert!(lab.fabric.neighbor(InterfaceId(1), IpAddr::V4(address)).is_none(), "nobody asked");
    lab.send(1, &udp(across(), (1, 2), b"x"));
    crate::routing::host_3_answers(&mut lab);
    assert_eq!(only(&lab.send(1, &udp(across(), (1, 2), b"x"))).1.dst_mac(), host(3));
    lab.send(3, &announces(host(7)));
    assert_eq!(only(&lab.send(1, &udp(across(), (1, 2), b"x"))).1.dst_mac(), host(7), "it has moved");
}
