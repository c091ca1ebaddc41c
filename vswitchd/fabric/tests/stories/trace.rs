//! The walk of a frame in words.

use weir_fabric::first_hop::GuardConfig;
use weir_fabric::nat::{Forward, NatConfig};
use weir_fabric::{PortConfig, SwitchConfig, VlanMode};
use weir_wire::build::frames::{Ends, udp};
use weir_wire::{MacAddr, PortId, Vid};

use crate::lab::{LAN, Lab, frame, hello, mac, raw};
use crate::routing::across;
use crate::translation::{OUTSIDE, back, edge, from_outside, masquerade, masquerading};

fn trace(lab: &Lab, port: u16, frame: &[u8]) -> Vec<String> {
    lab.fabric.trace(lab.now, PortId(port), frame)
}

#[test]
fn a_known_destination() {
    let mut lab = Lab::plain();
    lab.send(2, &hello(2));
    lab.wait(12);
    let lines = trace(&lab, 1, &udp(Ends::ipv4(1, 2), (1000, 53), b"query"));
    let expected = [
        "3 arrives by port 1: 47 bytes",
        "3 02:00:00:00:00:01 > 02:00:00:00:00:02, untagged, 10.0.0.1 > 10.0.0.2, protocol 17, ports 1000 > 53",
        "3 belongs to switch 0, no VLAN",
        "3 source 02:00:00:00:00:01 is not known",
        "5 destination 02:00:00:00:00:02 is behind port 2",
        "6 to port 2: flow: none yet",
        "6 to port 2: policy: rule \"default\" allows, not inspected",
        "7 to port 2: without a tag",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_five_tuple_finds_its_mac_addresses() {
    let mut lab = Lab::plain();
    lab.send(2, &hello(2));
    let mut frame = udp(Ends::ipv4(2, 3), (1000, 53), b"query");
    frame[..12].fill(0);
    let lines = lab.fabric.find_link(lab.now, PortId(2), &mut frame);
    assert_eq!(frame[..12], [[0xff; 6], mac(2)].concat());
    let expected = [
        "0 10.0.0.2 has 02:00:00:00:00:02, learned on the port",
        "0 10.0.0.3 is sent to ff:ff:ff:ff:ff:ff, not known: it goes to everybody, as a question for it does",
    ];
    assert_eq!(lines, expected);
    let lines = lab.fabric.find_link(lab.now, PortId(3), &mut frame);
    assert!(lines[0].starts_with("0 nothing was learned on port 3"), "{lines:?}");
}

#[test]
fn a_flood_over_a_trunk() {
    let mut lab = Lab::plain();
    lab.port(1, PortConfig { vlan: VlanMode::Access(Vid(7)), ..PortConfig::default() });
    lab.port(2, PortConfig { vlan: VlanMode::Access(Vid(7)), ..PortConfig::default() });
    let vlan = VlanMode::Trunk { allowed: vec![(Vid(1), Vid(4094))], native: None };
    lab.port(3, PortConfig { vlan, ..PortConfig::default() });
    let mut lines = trace(&lab, 1, &hello(1));
    lines.retain(|line| !line.starts_with(['3', '6']));
    let expected =
        ["5 broadcast, flooded to port 2, port 3", "7 to port 2: without a tag", "7 to port 3: with the tag of VLAN 7"];
    assert_eq!(lines, expected);
}

#[test]
fn refusals_end_the_walk_with_their_reason() {
    let statics = vec![(Vid(0), MacAddr(mac(9)), PortId(3))];
    let lab = Lab::new(SwitchConfig { static_macs: statics, ..SwitchConfig::default() }, &[1, 2, 3]);
    let cases: [(u16, Vec<u8>, &str); 5] = [
        (1, vec![0; 9], "dropped: truncated-ethernet"),
        (1, raw(mac(1), [1, 0x80, 0xc2, 0, 0, 0]), "dropped: reserved-address"),
        (1, hello(9), "dropped: source-mac-elsewhere"),
        (8, hello(1), "dropped: port-unbound"),
        (3, frame(9, 9), "dropped: same-port"),
    ];
    for (port, frame, expected) in cases {
        let lines = trace(&lab, port, &frame);
        assert!(lines.last().unwrap().starts_with(expected), "{lines:?}");
    }
}

#[test]
fn nothing_changes_by_it() {
    let lab = Lab::plain();
    trace(&lab, 1, &hello(1));
    trace(&lab, 1, &[]);
    assert_eq!(lab.fabric.fdb(lab.now, LAN), []);
    assert_eq!(lab.fabric.totals(), Default::default());
    assert!(lab.fabric.last_drops(None).is_empty());
}

#[test]
fn a_routed_frame_is_followed_through_the_router() {
    use crate::routing::{across, host_3_answers, two_networks};
    use weir_wire::build::{Ends, udp};

    let mut lab = two_networks();
    let frame = udp(across(), (1, 2), b"x");
    let told = |lab: &Lab, frame: &[u8]| lab.fabric.trace(lab.now, PortId(1), frame).join("\n");
    assert!(told(&lab, &frame).contains("it is asked for, and the packet waits"));
    lab.send(1, &frame);
    host_3_answers(&mut lab);
    let lines = told(&lab, &frame);
    assert!(lines.contains("neighbour 10.0.1.3 on switch 1") && lines.contains("7 to port 3"), "{lines}");
    let far = Ends { destination: std::net::Ipv4Addr::new(192, 0, 2, 1).into(), ..across() };
    let lines = told(&lab, &udp(far, (1, 2), b"x"));
    assert!(lines.contains("NoRoute") && lines.contains("no-route"), "{lines}");
    let own = Ends { destination: std::net::Ipv4Addr::new(10, 0, 0, 254).into(), ..across() };
    assert!(told(&lab, &udp(own, (1, 2), b"x")).contains("the router itself"));
    assert_eq!(lab.fabric.totals().held, 0, "nothing was changed");
}

#[test]
fn translation_is_told_and_nothing_is_bound_by_the_question() {
    let mut lab = masquerading();
    let asks = udp(across(), (5000, 53), b"?");
    let told = |lab: &Lab, port: u16, frame: &[u8]| trace(lab, port, frame).join("\n");
    let text = told(&lab, 1, &asks);
    let expected = format!("7 translation: 10.0.0.1:5000 is masqueraded as {OUTSIDE}, by a free port of 1024 to 65535");
    assert!(text.contains(&expected), "{text}");
    assert_eq!(lab.fabric.nat(lab.now, 10).1, 0, "nothing is bound");
    let (_, out) = crate::routing::only(&lab.send(1, &asks));
    let text = told(&lab, 1, &asks);
    assert!(text.contains("becomes") && text.contains("by a binding that stands"), "{text}");
    let answer = udp(back(&out), (53, out.ports().expect("has ports").0), b"!");
    let text = told(&lab, 3, &answer);
    assert!(text.contains("stands for 10.0.0.1:5000 inside, by a binding that stands"), "{text}");
    assert!(text.contains("reply direction"), "the flow goes by its true name: {text}");

    let forward = Forward {
        protocol: weir_wire::numbers::PROTOCOL_UDP,
        address: OUTSIDE.into(),
        ports: 80..=89,
        to: [10, 0, 0, 1].into(),
        to_port: 8080,
    };
    let lab = edge(NatConfig { masquerades: vec![masquerade()], forwards: vec![forward], ..NatConfig::default() });
    let text = told(&lab, 3, &udp(from_outside(OUTSIDE), (7, 81), b"x"));
    assert!(
        text.contains(&format!("4 translation: {OUTSIDE}:81 stands for 10.0.0.1:8081 inside, forwarded")),
        "{text}"
    );
    assert!(text.contains("behind port 1"), "{text}");
}

#[test]
fn first_hop_security_is_told_and_nothing_is_learned_by_the_question() {
    let mut lab = Lab::plain();
    let guarded = PortConfig { guard: Some(GuardConfig::default()), ..PortConfig::default() };
    lab.port(1, guarded.clone());
    lab.port(2, guarded);
    let own = udp(Ends::ipv4(1, 3), (5, 53), b"?");
    let told = |lab: &Lab, port: u16, frame: &[u8]| trace(lab, port, frame).join("\n");
    for _ in 0..2 {
        let text = told(&lab, 1, &own);
        assert!(text.contains("first hop: 10.0.0.1 is nobody's yet"), "{text}");
    }
    lab.send(1, &own);
    assert!(told(&lab, 1, &own).contains("first hop: 10.0.0.1 is bound to the port (learned)"));
    let mut spoofed = own.clone();
    spoofed[6..12].copy_from_slice(&mac(2));
    assert!(told(&lab, 2, &spoofed).contains("dropped: spoofed-address"), "{}", told(&lab, 2, &spoofed));
    assert!(told(&lab, 2, &own).contains("dropped: spoofed-mac"), "{}", told(&lab, 2, &own));
    assert!(told(&lab, 3, &udp(Ends::ipv4(7, 1), (5, 53), b"?")).contains("first hop: the port is trusted"));
}
