//! Bindings over a restart: a fabric takes up what another one has kept.

use std::net::Ipv4Addr;

use weir_fabric::nat::kept::KeptBinding;
use weir_fabric::nat::{Masquerade, NatConfig};
use weir_wire::TcpFields;
use weir_wire::build::{EchoKind, icmp_echo, tcp, udp};
use weir_wire::numbers::*;

use crate::lab::Lab;
use crate::routing::{only, prefix};
use crate::translation::{back, edge, inside, masquerade, masquerading};

fn keep(lab: &Lab) -> Vec<KeptBinding> {
    lab.fabric.keep_bindings(lab.now)
}

/// Two hosts with the same source port, so that the outside port of the second could not be guessed; and what they get.
fn talking(lab: &mut Lab) -> [u16; 2] {
    [1, 2].map(|host| {
        let (_, asked) = only(&lab.send(u16::from(host), &udp(inside(host), (5000, 53), b"ask")));
        let (port, _) = asked.ports().unwrap();
        only(&lab.send(3, &udp(back(&asked), (53, port), b"answer")));
        port
    })
}

#[test]
fn conversations_go_on_by_the_names_that_they_had() {
    let mut before = masquerading();
    let ports = talking(&mut before);
    let syn = TcpFields { source_port: 6000, destination_port: 80, flags: TCP_SYN, ..TcpFields::default() };
    let (_, out) = only(&before.send(1, &tcp(inside(1), syn, &[], &[])));
    let accept = TcpFields { source_port: 80, destination_port: 6000, flags: TCP_SYN | TCP_ACK, ack: 1, ..syn };
    only(&before.send(3, &tcp(back(&out), accept, &[], &[])));
    let kept = keep(&before);
    assert_eq!(kept.len(), 3);

    let mut after = masquerading();
    assert_eq!(after.fabric.restore_bindings(after.now, &kept), 3);
    // The other side speaks first.
    for (host, port) in [1, 2].into_iter().zip(ports) {
        let ends = crate::translation::from_outside(crate::translation::OUTSIDE);
        let (to, packet) = only(&after.send(3, &udp(ends, (53, port), b"more")));
        assert_eq!(
            (to, packet.addresses().unwrap().1, packet.ports()),
            (host, inside(host as u8).source, Some((53, 5000)))
        );
    }
    for (host, port) in [1, 2].into_iter().zip(ports) {
        let (_, packet) = only(&after.send(host, &udp(inside(host as u8), (5000, 53), b"more")));
        assert_eq!(packet.ports(), Some((port, 53)));
    }
    assert_eq!(keep(&after).len(), 3, "and they can be kept again");
}

#[test]
fn what_nobody_would_miss_is_not_kept() {
    let mut lab = masquerading();
    only(&lab.send(1, &udp(inside(1), (5000, 53), b"asked in vain")));
    let (_, echo) = only(&lab.send(1, &icmp_echo(inside(1), EchoKind::Request, 7000, 1, b"x")));
    only(&lab.send(3, &icmp_echo(back(&echo), EchoKind::Reply, 7000, 1, b"x")));
    assert_eq!(keep(&lab), []);
    talking(&mut lab);
    assert_eq!(keep(&lab).len(), 2);
    lab.wait(181);
    assert_eq!(keep(&lab), [], "their time is over");
}

#[test]
fn what_does_not_fit_the_state_is_left_out() {
    let mut before = masquerading();
    talking(&mut before);
    let kept = keep(&before);
    // Without translation, by another address, too late, and twice.
    let mut plain = edge(NatConfig::default());
    let foreign: Vec<KeptBinding> = kept
        .iter()
        .map(|kept| {
            let mut kept = *kept;
            kept.names.outside.0 = Ipv4Addr::new(203, 0, 113, 9).into();
            kept
        })
        .collect();
    assert_eq!(plain.fabric.restore_bindings(plain.now, &foreign), 0);
    let mut late: Vec<KeptBinding> = kept.clone();
    late.iter_mut().for_each(|kept| kept.idle_s = 181);
    let mut after = masquerading();
    assert_eq!(after.fabric.restore_bindings(after.now, &late), 0);
    assert_eq!(after.fabric.nat(after.now, 9).1, 0);
    assert_eq!(after.fabric.restore_bindings(after.now, &kept), 2);
    assert_eq!(after.fabric.restore_bindings(after.now, &kept), 0, "who has a name keeps it");
    assert_eq!(after.fabric.nat(after.now, 9).1, 2);
    // What is not masqueraded any more goes on by its name until it ends.
    let some = Masquerade { from: vec![prefix("10.0.0.9/32")], ..masquerade() };
    let mut narrowed = edge(NatConfig { masquerades: vec![some], ..NatConfig::default() });
    assert_eq!(narrowed.fabric.restore_bindings(narrowed.now, &kept), 2);
}
