//! Rules that mark what they allow with a DSCP.

use std::sync::Arc;

use weir_fabric::nat::NatConfig;
use weir_filter::Policy;
use weir_filter::spec::{self, Action, Rule, Side, Spec};
use weir_wire::build::udp;
use weir_wire::numbers::PROTOCOL_UDP;
use weir_wire::{Epoch, L3, Packet, PortId, SwitchId};

use crate::lab::{LAN, Lab};
use crate::routing::{across6, only};
use crate::translation::{back, edge, inside, masquerade};

const EF: u8 = 46;

fn dscp(packet: &Packet) -> u8 {
    let [a, b, ..] = *packet.network() else { panic!("a header") };
    if packet.headers.l3_kind == L3::Ipv4 { b >> 2 } else { (a << 4 | b >> 4) >> 2 }
}

/// What goes to port 53 is marked; the rest is not.
fn install(lab: &mut Lab, epoch: u64, mark: Option<u8>) {
    let rule = Rule {
        name: "voice".into(),
        protocols: vec![PROTOCOL_UDP],
        destination_ports: vec![53..=53],
        dscp: mark,
        to: Side::default(),
        ..Rule::default()
    };
    let switch = |id, name: &str| spec::Switch { id, name: name.into(), default: Action::Allow, inspect: None };
    let port = |id: u16| spec::Port { id: PortId(id), name: format!("p{id}"), groups: Vec::new() };
    let spec = Spec {
        switches: vec![switch(LAN, "lan"), switch(SwitchId(1), "dmz"), switch(SwitchId(SwitchId::FIRST_ZONE), "edge")],
        ports: (1..=3).map(port).collect(),
        rules: vec![rule],
        ..Spec::default()
    };
    lab.fabric.install(Arc::new(Policy::compile(&spec, Epoch(epoch)).expect("the policy is right")));
}

#[test]
fn a_flow_is_marked_both_ways_packet_by_packet_and_another_is_not() {
    for translating in [false, true] {
        let masquerades = if translating { vec![masquerade()] } else { vec![] };
        let mut lab = edge(NatConfig { masquerades, ..NatConfig::default() });
        install(&mut lab, 1, Some(EF));
        for ends in [inside(1), across6()] {
            let ask = udp(ends, (5000, 53), b"ask");
            // Often enough that the flow is settled.
            for _ in 0..3 {
                let (_, out) = only(&lab.send(1, &ask));
                assert_eq!(dscp(&out), EF, "the header's checksum was right, or it would not have been read");
                let (_, answer) = only(&lab.send(3, &udp(back(&out), (53, out.ports().unwrap().0), b"answer")));
                assert_eq!(dscp(&answer), EF);
            }
            let all = lab.burst(1, &vec![ask.clone(); 8]);
            assert_eq!(all.iter().map(|d| dscp(&crate::routing::read(&d.1))).collect::<Vec<_>>(), [EF; 8]);
            let (_, other) = only(&lab.send(1, &udp(ends, (5000, 54), b"other")));
            assert_eq!(dscp(&other), 0);
        }
    }
}

#[test]
fn another_policy_marks_flows_that_stand_otherwise() {
    let mut lab = edge(NatConfig::default());
    install(&mut lab, 1, None);
    let ask = udp(inside(1), (5000, 53), b"ask");
    let (_, out) = only(&lab.send(1, &ask));
    only(&lab.send(3, &udp(back(&out), (53, 5000), b"answer")));
    assert_eq!(dscp(&only(&lab.send(1, &ask)).1), 0);
    for (epoch, mark) in [(2, Some(EF)), (3, Some(10)), (4, None)] {
        install(&mut lab, epoch, mark);
        for _ in 0..3 {
            assert_eq!(dscp(&only(&lab.send(1, &ask)).1), mark.unwrap_or(0));
        }
    }
}
