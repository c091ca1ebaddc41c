//! First-hop security, frame by frame: what a guest may not say is dropped with its reason, whatever it is dressed in;
//! what ordinary guests say passes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_fabric::first_hop::{GuardConfig, Origin};
use weir_fabric::router::{InterfaceConfig, Prefix, RouteTable, RouterConfig};
use weir_fabric::{PortConfig, Step};
use weir_filter::Event;
use weir_wire::build::frames::{Ends, fragments, tagged, tcp, udp};
use weir_wire::build::neighbor::{advertisement, solicitation};
use weir_wire::build::{ArpKind, EchoKind, arp, icmp_echo};
use weir_wire::numbers::{TCP_ACK, TCP_RST, TCP_SYN};
use weir_wire::{DropReason, InterfaceId, MacAddr, PortId, RouterId, SwitchId, TcpFields, Vid, checksum};

use crate::lab::{LAN, Lab, frame, hello, mac};

fn guarded() -> PortConfig {
    PortConfig { guard: Some(GuardConfig::default()), ..PortConfig::default() }
}

/// Guests at ports 1 and 2, the network at port 3. All have said who they are.
fn lab() -> Lab {
    let mut lab = Lab::new(Default::default(), &[]);
    lab.port(1, guarded());
    lab.port(2, guarded());
    lab.port(3, PortConfig::default());
    for n in [1, 2, 3] {
        lab.send(u16::from(n), &says(n, n));
        lab.send(u16::from(n), &advertisement((MacAddr(mac(n)), ip6(n)), None));
    }
    lab
}

fn ip4(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, n)
}

/// As [`Ends::ipv6`] has them.
fn ip6(n: u8) -> Ipv6Addr {
    match Ends::ipv6(n, n).source {
        IpAddr::V6(address) => address,
        IpAddr::V4(_) => unreachable!(),
    }
}

/// An ARP announcement of host `from`'s MAC for the address of host `whose`.
fn says(from: u8, whose: u8) -> Vec<u8> {
    arp(ArpKind::Request, (MacAddr(mac(from)), ip4(whose)), (MacAddr::ZERO, ip4(whose)))
}

/// Whether a frame is the switch's question to a holder whether it still has an address: nobody asks, who has it?
fn is_question(frame: &[u8]) -> bool {
    let tag = if frame[12..14] == [0x81, 0] { 4 } else { 0 };
    match frame[12 + tag..14 + tag] {
        [8, 6] => frame[21 + tag] == 1 && frame[28 + tag..32 + tag] == [0; 4],
        [0x86, 0xdd] => frame[54 + tag] == 135 && frame[22 + tag..38 + tag] == [0; 16],
        _ => false,
    }
}

/// The ports that a frame comes out by, questions of the switch left out.
fn comes_out(lab: &mut Lab, port: u16, sent: &[u8]) -> Vec<u16> {
    lab.send(port, sent).into_iter().filter(|(_, frame)| !is_question(frame)).map(|(port, _)| port).collect()
}

/// Sends a frame that is to be dropped for this reason; the holder of what it claims may be asked.
fn refused(lab: &mut Lab, port: u16, sent: &[u8], reason: DropReason) {
    let (before, all) = (lab.dropped(port, reason), lab.fabric.totals().dropped);
    assert_eq!(comes_out(lab, port, sent), [] as [u16; 0], "{reason:?}");
    assert_eq!((lab.dropped(port, reason), lab.fabric.totals().dropped), (before + 1, all + 1), "{reason:?}");
}

/// The frame with host `n`'s MAC as its source.
fn from_mac(mut frame: Vec<u8>, n: u8) -> Vec<u8> {
    frame[6..12].copy_from_slice(&mac(n));
    frame
}

/// ICMPv6 in an IPv6 packet from host `from` to all nodes, behind `extensions` of which the first is `next`.
fn icmp6(from: u8, next: u8, extensions: &[u8], message: &[u8]) -> Vec<u8> {
    let (source, group) = (ip6(from), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
    let mut message = message.to_vec();
    let mut pseudo = [source.octets(), group.octets()].concat();
    pseudo.extend((message.len() as u32).to_be_bytes());
    pseudo.extend([0, 0, 0, 58]);
    let sum = !checksum::sum(&[&pseudo[..], &message].concat()).fold();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let length = ((extensions.len() + message.len()) as u16).to_be_bytes();
    let mut frame =
        [&[0x33, 0x33, 0, 0, 0, 1][..], &mac(from), &[0x86, 0xdd, 0x60, 0, 0, 0], &length, &[next, 255]].concat();
    frame.extend(source.octets());
    frame.extend(group.octets());
    frame.extend(extensions);
    frame.extend(message);
    frame
}

/// An ICMP message of host 1 of this type.
fn icmp4(kind: u8) -> Vec<u8> {
    let mut frame = icmp_echo(Ends::ipv4(1, 2), EchoKind::Request, 1, 1, b"x");
    let sum = u16::from_be_bytes([frame[36], frame[37]]);
    // The type is the high byte of the sum's first word.
    let changed = !checksum::sum(&[&(!sum).to_be_bytes()[..], &[kind, 0], &(!0x0800u16).to_be_bytes()].concat()).fold();
    frame[34] = kind;
    frame[36..38].copy_from_slice(&changed.to_be_bytes());
    frame
}

const ADVERTISES_A_ROUTER: [u8; 16] = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
const REDIRECTS: [u8; 40] = {
    let mut message = [0; 40];
    message[0] = 137;
    message
};

/// A DHCP message of `op` from port 67 or 68 with `client`'s hardware address.
fn dhcp(from: u8, op: u8, ports: (u16, u16), client: u8, options: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 240];
    message[0] = op;
    message[16..20].copy_from_slice(&ip4(50).octets());
    message[28..34].copy_from_slice(&mac(client));
    message[236..].copy_from_slice(&[99, 130, 83, 99]);
    message.extend(options);
    message.push(255);
    udp(Ends::ipv4(from, client), ports, &message)
}

const LEASE: [u8; 9] = [53, 1, 5, 51, 4, 0, 0, 14, 16];

#[test]
fn the_spoof_matrix_is_blocked() {
    let syn = TcpFields { source_port: 4000, destination_port: 80, seq: 1, ack: 0, flags: TCP_SYN, window: 1000 };
    let hop_by_hop = [58, 0, 1, 4, 0, 0, 0, 0];
    let atomic = [58, 0, 0, 0, 0, 0, 0, 9];
    let both = [60, 0, 1, 4, 0, 0, 0, 0, 58, 0, 1, 4, 0, 0, 0, 0];
    let advertise = |from: u8, whose: u8| advertisement((MacAddr(mac(from)), ip6(whose)), None);
    let mut option_of_two = advertise(1, 1);
    let end = option_of_two.len();
    option_of_two[end - 6..].copy_from_slice(&mac(2));
    let matrix: Vec<(&str, Vec<u8>, DropReason)> = vec![
        ("MAC of a peer", from_mac(frame(1, 3), 2), DropReason::SpoofedMac),
        ("MAC of the gateway", from_mac(frame(1, 2), 3), DropReason::SpoofedMac),
        ("MAC of a peer, to everybody", hello(2), DropReason::SpoofedMac),
        (
            "IPv4 of a peer, to another",
            udp(Ends { source_mac: MacAddr(mac(1)), ..Ends::ipv4(2, 3) }, (1, 2), b"x"),
            DropReason::SpoofedAddress,
        ),
        (
            "IPv4 of a peer, to itself",
            tcp(Ends { source_mac: MacAddr(mac(1)), ..Ends::ipv4(3, 2) }, syn, &[], b""),
            DropReason::SpoofedAddress,
        ),
        (
            "IPv6 of a peer",
            udp(Ends { source_mac: MacAddr(mac(1)), ..Ends::ipv6(2, 3) }, (1, 2), b"x"),
            DropReason::SpoofedAddress,
        ),
        (
            "IPv6 ping of a peer",
            icmp_echo(Ends { source_mac: MacAddr(mac(1)), ..Ends::ipv6(2, 3) }, EchoKind::Request, 1, 1, b"x"),
            DropReason::SpoofedAddress,
        ),
        (
            "no IPv4 source",
            udp(Ends { source: Ipv4Addr::UNSPECIFIED.into(), ..Ends::ipv4(1, 3) }, (1, 2), b"x"),
            DropReason::SpoofedAddress,
        ),
        (
            "broadcast as source",
            udp(Ends { source: Ipv4Addr::BROADCAST.into(), ..Ends::ipv4(1, 3) }, (1, 2), b"x"),
            DropReason::SpoofedAddress,
        ),
        ("ARP for a peer", says(1, 2), DropReason::SpoofedArp),
        ("ARP for the gateway", says(1, 3), DropReason::SpoofedArp),
        (
            "ARP reply for a peer",
            arp(ArpKind::Reply, (MacAddr(mac(1)), ip4(2)), (MacAddr(mac(3)), ip4(3))),
            DropReason::SpoofedArp,
        ),
        ("ARP with another MAC inside", from_mac(says(2, 1), 1), DropReason::SpoofedArp),
        ("NA for a peer", advertise(1, 2), DropReason::SpoofedNeighbor),
        ("NA for the gateway", advertise(1, 3), DropReason::SpoofedNeighbor),
        ("NA with another MAC inside", option_of_two, DropReason::SpoofedNeighbor),
        (
            "NS with another MAC inside",
            from_mac(solicitation((MacAddr(mac(2)), ip6(1)), ip6(3), None), 1),
            DropReason::SpoofedNeighbor,
        ),
        ("NS from a peer's address", solicitation((MacAddr(mac(1)), ip6(2)), ip6(3), None), DropReason::SpoofedAddress),
        ("RA", icmp6(1, 58, &[], &ADVERTISES_A_ROUTER), DropReason::RogueRouter),
        ("RA behind hop-by-hop options", icmp6(1, 0, &hop_by_hop, &ADVERTISES_A_ROUTER), DropReason::RogueRouter),
        ("RA behind two extensions", icmp6(1, 0, &both, &ADVERTISES_A_ROUTER), DropReason::RogueRouter),
        ("RA in an atomic fragment", icmp6(1, 44, &atomic, &ADVERTISES_A_ROUTER), DropReason::RogueRouter),
        ("redirect", icmp6(1, 58, &[], &REDIRECTS), DropReason::RogueRouter),
        ("ICMP redirect", icmp4(5), DropReason::RogueRouter),
        ("ICMP router advertisement", icmp4(9), DropReason::RogueRouter),
        ("DHCP offer", dhcp(1, 2, (67, 68), 2, &LEASE), DropReason::RogueDhcp),
        ("DHCP reply from another port", dhcp(1, 2, (1067, 68), 2, &LEASE), DropReason::RogueDhcp),
        ("DHCP request in a peer's name", dhcp(1, 1, (68, 67), 2, &[53, 1, 3]), DropReason::SpoofedMac),
        ("DHCPv6 reply", udp(Ends::ipv6(1, 2), (547, 546), &[7, 1, 2, 3]), DropReason::RogueDhcp),
    ];
    for (what, sent, reason) in matrix {
        let mut lab = lab();
        println!("{what}");
        refused(&mut lab, 1, &sent, reason);
        let mut told = 0;
        lab.fabric.drain_events(|event| {
            told += match event {
                Event::Drop { reason: r, .. } => u32::from(r == reason),
                Event::Notice(notice) => u32::from(notice.kind == reason.label() && notice.port == PortId(1)),
                _ => 0,
            }
        });
        assert_eq!(told, 1, "{what}: told once");
        // The same from a trusted port is the operator's business.
        let mut lab = self::lab();
        lab.port(1, PortConfig::default());
        assert_eq!(lab.dropped(1, reason), 0);
        lab.send(1, &sent);
        assert_eq!(lab.dropped(1, reason), 0, "{what} from a trusted port");
    }
}

#[test]
fn who_answers_speaks_by_its_own_address_too() {
    let ask = |whose: u8| udp(Ends { destination: ip4(whose).into(), ..Ends::ipv4(3, 1) }, (5000, 53), b"ask");
    let answer = |whose: u8| udp(Ends { source: ip4(whose).into(), ..Ends::ipv4(1, 3) }, (53, 5000), b"answer");
    let mut lab = lab();
    // A stranger speaks to host 1 as if it were host 2, and host 1 plays along.
    assert_eq!(comes_out(&mut lab, 3, &ask(2)), [1]);
    for _ in 0..2 {
        refused(&mut lab, 1, &answer(2), DropReason::SpoofedAddress);
    }
    assert_eq!(comes_out(&mut lab, 3, &ask(1)), [1]);
    for _ in 0..2 {
        assert_eq!(comes_out(&mut lab, 1, &answer(1)), [3]);
    }
}

#[test]
fn router_advertisements_in_pieces_are_put_together_and_refused() {
    let mut lab = lab();
    let mut long = ADVERTISES_A_ROUTER.to_vec();
    long.extend([[5u8, 1, 0, 0, 0, 0, 5, 220]; 40].concat());
    let whole = icmp6(1, 58, &[], &long);
    let mut out = 0;
    for piece in fragments(&whole, 120, 7) {
        out += lab.send(1, &piece).len();
    }
    assert_eq!((out, lab.dropped(1, DropReason::RogueRouter)), (0, 1));
}

#[test]
fn ordinary_guests_notice_nothing() {
    let mut lab = lab();
    let fine: Vec<(&str, Vec<u8>)> = vec![
        ("its own packets", udp(Ends::ipv4(1, 3), (1, 2), b"x")),
        ("its own IPv6 packets", udp(Ends::ipv6(1, 3), (1, 2), b"x")),
        ("a probe", arp(ArpKind::Request, (MacAddr(mac(1)), Ipv4Addr::UNSPECIFIED), (MacAddr::ZERO, ip4(77)))),
        ("an announcement", says(1, 1)),
        ("another address of its own", says(1, 77)),
        ("duplicate address detection", solicitation((MacAddr(mac(1)), Ipv6Addr::UNSPECIFIED), ip6(78), None)),
        (
            "duplicate address detection of a peer's",
            solicitation((MacAddr(mac(1)), Ipv6Addr::UNSPECIFIED), ip6(2), None),
        ),
        ("a question", solicitation((MacAddr(mac(1)), ip6(1)), ip6(3), None)),
        ("an answer", advertisement((MacAddr(mac(1)), ip6(1)), Some((MacAddr(mac(3)), ip6(3))))),
        ("a question for routers", icmp6(1, 58, &[], &[133, 0, 0, 0, 0, 0, 0, 0])),
        (
            "a DHCP request",
            udp(Ends { source: Ipv4Addr::UNSPECIFIED.into(), ..Ends::ipv4(1, 255) }, (68, 67), &{
                let mut message = vec![0; 300];
                message[0] = 1;
                message[28..34].copy_from_slice(&mac(1));
                message
            }),
        ),
        ("a DHCPv6 request", udp(Ends::ipv6(1, 3), (546, 547), &[1, 2, 3, 4])),
        ("no IP at all", frame(1, 3)),
        ("everybody", hello(1)),
    ];
    for (what, sent) in fine {
        assert_ne!(lab.send(1, &sent), [], "{what}");
    }
    // Neighbour discovery needs no querier and no report: what one host asks, the others hear.
    let asked = solicitation((MacAddr(mac(1)), ip6(1)), ip6(2), None);
    assert!(lab.ports(1, &asked).contains(&2));
    assert_eq!(lab.fabric.counters(PortId(1)).map(|counters| counters.dropped.total()), Some(0));
}

#[test]
fn a_lease_binds_its_address_to_the_client() {
    let mut lab = lab();
    // Somebody sits on the address before the server gives it to another.
    lab.send(2, &says(2, 50));
    assert_eq!(lab.ports(3, &dhcp(3, 2, (67, 68), 1, &LEASE)), [1]);
    let place = (LAN, Vid(0), IpAddr::V4(ip4(50)));
    let binding = lab.fabric.binding(lab.now, place).expect("is bound");
    assert_eq!((binding.port, binding.mac, binding.origin), (PortId(1), MacAddr(mac(1)), Origin::Dhcp));
    refused(&mut lab, 2, &says(2, 50), DropReason::SpoofedArp);
    assert_ne!(lab.send(1, &says(1, 50)), []);
    lab.wait(3601);
    assert_eq!(lab.fabric.binding(lab.now, place), None, "the lease is over");
}

#[test]
fn addresses_are_limited_and_free_again_with_the_link() {
    let mut lab = lab();
    let few = GuardConfig { limit: 4, ..GuardConfig::default() };
    lab.port(1, PortConfig { guard: Some(few), ..PortConfig::default() });
    for n in 100..104 {
        assert_ne!(lab.send(1, &says(1, n)), []);
    }
    refused(&mut lab, 1, &says(1, 104), DropReason::BindingLimit);
    refused(&mut lab, 2, &says(2, 100), DropReason::SpoofedArp);
    lab.fabric.set_link(PortId(1), false);
    assert_ne!(lab.send(2, &says(2, 100)), [], "its port has no link any more");
    assert_ne!(lab.send(2, &from_mac(frame(1, 3), 1)), [], "and the MAC is free too");
}

#[test]
fn strict_ports_use_what_they_are_given_and_shared_addresses_move() {
    let mut lab = lab();
    let addresses = vec![ip4(1).into()];
    let strict = GuardConfig { learn: false, addresses, shared: vec![ip4(99).into()], ..GuardConfig::default() };
    lab.port(1, PortConfig { guard: Some(strict), ..PortConfig::default() });
    let sharing = GuardConfig { shared: vec![ip4(99).into()], ..GuardConfig::default() };
    lab.port(2, PortConfig { guard: Some(sharing), ..PortConfig::default() });
    assert_ne!(lab.send(1, &says(1, 1)), []);
    assert_ne!(lab.send(1, &says(1, 99)), []);
    assert_ne!(lab.send(2, &says(2, 99)), [], "it moved");
    refused(&mut lab, 1, &says(1, 5), DropReason::SpoofedArp);
    refused(&mut lab, 2, &says(2, 1), DropReason::SpoofedArp);
}

#[test]
fn a_routers_addresses_are_nobodys_else() {
    let mut lab = lab();
    let interface = InterfaceConfig {
        switch: LAN,
        vid: Vid(0),
        mac: MacAddr([2, 0x57, 0, 0, 0, 1]),
        addresses: vec![Prefix { address: ip4(254).into(), length: 24 }],
        mtu: 1500,
        clamp_mss: false,
        neighbors: Vec::new(),
        advertise: None,
        proxy: Vec::new(),
    };
    let interfaces = vec![(InterfaceId(0), interface)];
    let table = RouteTable::build(interfaces.iter().map(|(id, config)| (*id, config)), std::iter::empty()).unwrap();
    let zone = SwitchId(SwitchId::FIRST_ZONE);
    let config = RouterConfig { zone, interfaces, table: std::sync::Arc::new(table), ..RouterConfig::default() };
    lab.step(Step::SetRouter(RouterId(0), config));
    lab.age();
    refused(&mut lab, 1, &says(1, 254), DropReason::SpoofedArp);
    refused(&mut lab, 1, &from_mac(udp(Ends::ipv4(254, 2), (1, 2), b"x"), 1), DropReason::SpoofedAddress);
}

#[test]
fn vlans_are_bound_apart() {
    let mut lab = Lab::new(Default::default(), &[]);
    let trunk = weir_fabric::VlanMode::Trunk { allowed: vec![(Vid(10), Vid(20))], native: None };
    for port in [1, 2] {
        lab.port(port, PortConfig { vlan: trunk.clone(), ..guarded() });
    }
    lab.port(3, PortConfig { vlan: trunk.clone(), ..PortConfig::default() });
    assert_ne!(lab.send(1, &tagged(&says(1, 5), 10, 0)), []);
    assert_ne!(lab.send(2, &tagged(&says(2, 5), 20, 0)), [], "the same address in another VLAN");
    refused(&mut lab, 2, &tagged(&says(2, 5), 10, 0), DropReason::SpoofedArp);
}

#[test]
fn a_burst_is_looked_at_packet_by_packet() {
    let mut lab = lab();
    let good = udp(Ends::ipv4(1, 3), (1, 2), b"x");
    let bad = from_mac(udp(Ends::ipv4(2, 3), (1, 2), b"x"), 1);
    for _ in 0..3 {
        let out = lab.burst(1, &[good.clone(), good.clone(), bad.clone(), good.clone()]);
        assert_eq!(out.iter().filter(|(_, frame)| !is_question(frame)).count(), 3);
    }
    assert_eq!(lab.dropped(1, DropReason::SpoofedAddress), 3);
}

#[test]
fn a_standing_flow_is_no_way_in_for_another_guest() {
    let mut lab = lab();
    let fields = |flags| TcpFields { source_port: 4000, destination_port: 80, seq: 1, ack: 1, flags, window: 1000 };
    let of_two = |flags| tcp(Ends::ipv4(2, 3), fields(flags), &[], b"");
    assert_eq!(lab.ports(2, &of_two(TCP_SYN)), [3]);
    let answer =
        TcpFields { source_port: 80, destination_port: 4000, seq: 0, ack: 2, flags: TCP_SYN | TCP_ACK, window: 1000 };
    assert_eq!(lab.ports(3, &tcp(Ends::ipv4(3, 2), answer, &[], b"")), [2]);
    for flags in [TCP_ACK, TCP_ACK | TCP_RST] {
        let reset = from_mac(of_two(flags), 1);
        assert_eq!(comes_out(&mut lab, 1, &reset), [] as [u16; 0]);
    }
    assert_eq!(lab.dropped(1, DropReason::SpoofedAddress), 2);
}

#[test]
fn an_address_moves_to_another_guest_when_its_holder_is_asked_and_silent() {
    let mut lab = lab();
    assert_ne!(lab.send(1, &says(1, 60)), []);
    assert_ne!(lab.send(1, &advertisement((MacAddr(mac(1)), ip6(60)), None)), []);
    let claims = [says(2, 60), advertisement((MacAddr(mac(2)), ip6(60)), None)];
    // The holder alone is asked, and has the address while it answers.
    for (claim, reason) in claims.iter().zip([DropReason::SpoofedArp, DropReason::SpoofedNeighbor]) {
        lab.wait(10);
        let before = lab.dropped(2, reason);
        let asked = lab.send(2, claim);
        assert_eq!(asked.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [1]);
        assert_eq!(lab.dropped(2, reason), before + 1);
    }
    lab.wait(1);
    lab.send(1, &says(1, 60));
    lab.send(1, &advertisement((MacAddr(mac(1)), ip6(60)), None));
    lab.wait(2);
    for claim in &claims {
        assert!(lab.ports(2, claim).iter().all(|&port| port == 1), "it is asked again");
    }
    lab.wait(3);
    for claim in &claims {
        assert!(lab.ports(2, claim).contains(&3), "the holder did not answer");
    }
    let mut moved = 0;
    lab.fabric.drain_events(|event| moved += u32::from(matches!(event, Event::Notice(n) if n.kind == "address-moved")));
    assert_eq!(moved, 1, "told once in a while");
    refused(&mut lab, 1, &from_mac(udp(Ends::ipv4(60, 3), (1, 2), b"x"), 1), DropReason::SpoofedAddress);
}

#[test]
fn routers_and_servers_among_the_guests_do_their_work_and_no_more() {
    let mut lab = lab();
    let router = GuardConfig { router: true, ..GuardConfig::default() };
    lab.port(1, PortConfig { guard: Some(router), ..PortConfig::default() });
    assert_ne!(lab.send(1, &says(1, 1)), []);
    assert_ne!(lab.send(1, &icmp6(1, 58, &[], &ADVERTISES_A_ROUTER)), []);
    let forwarded = Ends { source: Ipv4Addr::new(192, 0, 2, 7).into(), ..Ends::ipv4(1, 3) };
    assert_ne!(lab.send(1, &udp(forwarded, (1, 2), b"x")), [], "from elsewhere");
    refused(&mut lab, 1, &from_mac(udp(Ends::ipv4(2, 3), (1, 2), b"x"), 1), DropReason::SpoofedAddress);
    refused(&mut lab, 1, &dhcp(1, 2, (67, 68), 2, &LEASE), DropReason::RogueDhcp);
    let asked = lab.send(1, &says(1, 2));
    assert_eq!((asked.len(), lab.dropped(1, DropReason::SpoofedArp)), (1, 1), "it says whose address is its own");

    let server = GuardConfig { dhcp_server: true, ..GuardConfig::default() };
    lab.port(1, PortConfig { guard: Some(server), ..PortConfig::default() });
    assert_eq!(lab.ports(1, &dhcp(1, 2, (67, 68), 2, &LEASE)), [2]);
    let lease = lab.fabric.binding(lab.now, (LAN, Vid(0), ip4(50).into())).expect("is bound");
    assert_eq!((lease.port, lease.origin), (PortId(2), Origin::Dhcp));
    refused(&mut lab, 1, &icmp6(1, 58, &[], &ADVERTISES_A_ROUTER), DropReason::RogueRouter);
}

#[test]
fn macs_are_those_that_are_given_and_shared_ones_move() {
    let mut lab = lab();
    let virtual_mac = MacAddr([0, 0, 0x5e, 0, 1, 7]);
    let guard = GuardConfig { shared_macs: vec![virtual_mac], ..GuardConfig::default() };
    lab.port(
        1,
        PortConfig {
            guard: Some(GuardConfig { macs: vec![MacAddr(mac(1))], ..guard.clone() }),
            ..PortConfig::default()
        },
    );
    lab.port(2, PortConfig { guard: Some(guard), ..PortConfig::default() });
    assert_ne!(lab.send(1, &frame(1, 3)), []);
    refused(&mut lab, 1, &frame(9, 3), DropReason::SpoofedMac);
    for port in [1, 2, 1] {
        let mut announcement = hello(1);
        announcement[6..12].copy_from_slice(&virtual_mac.0);
        assert_ne!(lab.send(port, &announcement), [], "port {port}");
    }
}
