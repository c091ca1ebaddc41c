//! Flows that begin at routers in bursts, and trains of packets: what comes out is what comes out of them one by one.

use weir_fabric::nat::{Masquerade, NatConfig};
use weir_wire::build::{tcp, udp};
use weir_wire::numbers::{TCP_ACK, TCP_SYN};
use weir_wire::{DropReason, Instant, InterfaceId, TcpFields};

use crate::lab::{Delivery, Lab};
use crate::routing::{only, read};
use crate::translation::{back, edge, inside, masquerade};

/// A router with or without translation; two of the same kind do the same.
fn router(translating: bool) -> Lab {
    let masquerades = if translating { vec![masquerade()] } else { Vec::new() };
    edge(NatConfig { masquerades, ..NatConfig::default() })
}

/// What two equal routers make of frames, one by one and in a burst, and how they stand afterwards.
fn both_ways(labs: &mut [Lab; 2], port: u16, frames: &[Vec<u8>]) -> Vec<Delivery> {
    let [one, other] = labs;
    let mut singly: Vec<Delivery> = frames.iter().flat_map(|frame| one.send(port, frame)).collect();
    // What leaves by one port keeps its order.
    singly.sort_by_key(|(port, _)| *port);
    let together = other.burst(port, frames);
    assert_eq!(together, singly);
    let books = |lab: &Lab| {
        let interfaces = [0, 1].map(|id| lab.fabric.router_interface(InterfaceId(id)).unwrap().counters);
        let mut flows = lab.fabric.engine().flows(1000, |_| true);
        flows.sort_by_key(|flow| flow.tuple);
        let flows: Vec<_> = flows.into_iter().map(|flow| (flow.tuple, flow.packets, flow.bytes, flow.state)).collect();
        let (mut bindings, count, counters) = lab.fabric.nat(Instant::ZERO, 1000);
        bindings.sort_by_key(|binding| (binding.names.inside, binding.names.outside));
        let bindings: Vec<_> = bindings.into_iter().map(|binding| (binding.names, binding.answered)).collect();
        format!("{interfaces:?} {flows:?} {bindings:?} {count} {counters:?} {:?}", lab.fabric.totals())
    };
    assert_eq!(books(other), books(one));
    together
}

#[test]
fn first_packets_leave_together_as_they_would_one_by_one() {
    for translating in [true, false] {
        let mut labs = [router(translating), router(translating)];
        // Ports that collide outside, and some below those that are given.
        let frames: Vec<Vec<u8>> =
            (0..40).map(|n| udp(inside(1 + n % 2), (1000 + u16::from(n / 2), 53), b"ask")).collect();
        for half in frames.chunks(20) {
            for port in [1, 2] {
                let of_port: Vec<Vec<u8>> = half.iter().filter(|frame| frame[11] == port as u8).cloned().collect();
                let out = both_ways(&mut labs, port, &of_port);
                assert_eq!(out.len(), of_port.len());
                let answers: Vec<Vec<u8>> = out
                    .iter()
                    .map(|(_, frame)| {
                        let packet = read(frame);
                        udp(back(&packet), (53, packet.ports().unwrap().0), b"answer")
                    })
                    .collect();
                let out = both_ways(&mut labs, 3, &answers);
                assert!(out.len() == answers.len() && out.iter().all(|(to, _)| *to == port));
            }
        }
        assert_eq!(labs[1].fabric.nat(Instant::ZERO, 0).1, if translating { 40 } else { 0 });
    }
}

#[test]
fn trains_that_cross_each_other_leave_as_their_packets_would_one_by_one() {
    for translating in [true, false] {
        let mut labs = [router(translating), router(translating)];
        let ask = |flow: u16, n: usize| udp(inside(1), (5000 + flow, 53), &vec![n as u8; n]);
        // Which flow each packet is of: trains, trains that others cut, trains that begin their flow.
        let order: [u16; 24] = [0, 0, 0, 0, 1, 0, 0, 2, 2, 2, 1, 2, 2, 3, 0, 0, 0, 3, 3, 3, 3, 0, 2, 2];
        let frames: Vec<Vec<u8>> = order.iter().enumerate().map(|(n, flow)| ask(*flow, n)).collect();
        for _ in 0..2 {
            let out = both_ways(&mut labs, 1, &frames);
            let answers: Vec<Vec<u8>> = out
                .iter()
                .map(|(_, frame)| {
                    let packet = read(frame);
                    udp(back(&packet), (53, packet.ports().unwrap().0), packet.payload())
                })
                .collect();
            assert_eq!(answers.len(), frames.len());
            for _ in 0..2 {
                assert_eq!(both_ways(&mut labs, 3, &answers).len(), frames.len());
            }
            // Some of them are for nobody: they are dropped, and the others are what they are.
            let mut strays = answers.clone();
            let packet = read(&out[0].1);
            for at in [2, 3, 9, 15] {
                strays[at] = udp(back(&packet), (53, 9999), b"nobody");
            }
            let passed = both_ways(&mut labs, 3, &strays).iter().filter(|(port, _)| *port == 1).count();
            assert_eq!(passed, if translating { frames.len() - 4 } else { frames.len() });
        }
    }
}

#[test]
fn a_train_of_tcp_goes_as_far_as_its_window_and_its_flags_allow() {
    for translating in [true, false] {
        let mut labs = [router(translating), router(translating)];
        let fields = TcpFields { source_port: 6000, destination_port: 80, window: 1000, ..TcpFields::default() };
        let from = |seq, flags, data: &[u8]| tcp(inside(1), TcpFields { seq, flags, ack: 501, ..fields }, &[], data);
        let out = both_ways(&mut labs, 1, &[from(100, TCP_SYN, b"")]);
        let (_, left) = only(&out);
        let answer = TcpFields { source_port: 80, destination_port: 6000, seq: 500, ack: 101, window: 50, ..fields };
        both_ways(&mut labs, 3, &[tcp(back(&left), TcpFields { flags: TCP_SYN | TCP_ACK, ..answer }, &[], b"")]);
        let data = |n: u32| from(101 + n * 10, TCP_ACK, &[n as u8; 10]);
        let ends = from(111, TCP_ACK | 1, b"");
        let frames =
            [vec![from(101, TCP_ACK, b"")], (0..3).map(data).collect(), vec![ends], (3..9).map(data).collect()];
        let out = both_ways(&mut labs, 1, &frames.concat());
        assert!((5..11).contains(&out.len()), "what lies beyond the window does not pass: {}", out.len());
    }
}

#[test]
fn a_first_packet_that_cannot_be_named_ends_and_those_around_it_pass() {
    let one = || {
        let masquerade = Masquerade { limit_each: 3, ..masquerade() };
        edge(NatConfig { masquerades: vec![masquerade], ..NatConfig::default() })
    };
    let mut labs = [one(), one()];
    let frames: Vec<Vec<u8>> =
        [0, 1, 1, 2, 3, 4, 0, 0, 5].iter().map(|n| udp(inside(1), (5000 + n, 53), b"ask")).collect();
    let out = both_ways(&mut labs, 1, &frames);
    assert_eq!(out.len(), 6);
    assert_eq!(labs[1].dropped(1, DropReason::NatLimit), 3);
}
