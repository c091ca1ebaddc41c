//! What the refused are told.

use weir_wire::checksum::verify_l4;

use super::*;
use crate::testing::{A6, B6};

fn rejecting() -> World {
    World::new(&spec(Action::Reject, vec![]))
}

const REJECTED: Fate = Err(DropReason::PolicyReject);

#[test]
fn a_refused_syn_is_reset() {
    let mut world = rejecting();
    for (a, b) in [(A4, B4), (A6, B6)] {
        assert_eq!(world.send(&seg(a, 1000, b, 80, TCP_SYN, 100, 0, b"abc"), A, B), REJECTED);
        let (port, reply) = world.replies().remove(0);
        let tcp = reply.tcp().unwrap();
        assert_eq!((port, tcp.source_port, tcp.destination_port), (A, 80, 1000));
        assert_eq!((tcp.flags, tcp.seq, tcp.ack), (TCP_RST | TCP_ACK, 0, 104));
        assert_eq!(reply.addresses(), Some((b, a)));
        assert!(verify_l4(&reply));
    }
    assert_eq!(world.engine.flow_count(), 0);
}

#[test]
fn a_refused_datagram_is_answered_with_prohibited() {
    let mut world = rejecting();
    for (a, b, answer) in [(A4, B4, (3, 13)), (A6, B6, (1, 1))] {
        let sent = Frame::udp(a, 1000, b, 53, b"?");
        assert_eq!(world.send(&sent, A, B), REJECTED);
        let (port, reply) = world.replies().remove(0);
        assert_eq!((port, reply.icmp(), reply.addresses()), (A, Some(answer), Some((b, a))));
        assert!(verify_l4(&reply) && reply.payload().starts_with(&sent.bytes[14..]));
    }
}

#[test]
fn resets_errors_and_groups_are_not_answered() {
    let mut world = rejecting();
    let asked = Frame::udp(B4, 1, A4, 2, b"");
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_RST, 100, 0, b""), A, B), Err(DropReason::TcpMidstream));
    assert_eq!(world.send(&Frame::icmp_error(A4, B4, 3, 3, &asked), A, B), Err(DropReason::IcmpUnrelated));
    assert_eq!(world.send(&Frame::udp(A4, 1, "224.0.0.251".parse().unwrap(), 5353, b""), A, B), REJECTED);
    assert!(world.replies().is_empty());
}

#[test]
fn a_flood_of_refused_packets_is_answered_at_the_stated_rate() {
    let mut world = rejecting();
    for port in 0..1000 {
        assert_eq!(world.send(&seg(A4, port, B4, 80, TCP_SYN, 100, 0, b""), A, B), REJECTED);
        assert!(world.replies().len() <= 1);
    }
    world.pass_time(1);
    let mut answers = 0;
    for port in 0..1000 {
        assert_eq!(world.send(&seg(A4, port, B4, 80, TCP_SYN, 100, 0, b""), A, B), REJECTED);
        answers += world.replies().len() as u64;
    }
    assert_eq!(answers, crate::reject::BURST);
}
