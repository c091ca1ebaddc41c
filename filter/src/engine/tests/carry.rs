//! The short way of settled flows, and everything that closes it.

use super::content::{DROP, inspecting, program};
use super::*;

fn udp(data: &[u8]) -> Frame {
    Frame::udp(A4, 1000, B4, 53, data)
}

fn answer() -> Frame {
    Frame::udp(B4, 53, A4, 1000, b"yes")
}

/// A flow of UDP that both ends have spoken in.
fn answered() -> World {
    let mut world = World::new(&spec(Action::Allow, vec![]));
    world.send(&udp(b"hello"), A, B).unwrap();
    world.send(&answer(), B, A).unwrap();
    world
}

fn carries(world: &mut World, frame: &Frame, from: u16, to: u16) -> bool {
    let mut packet = frame.packet_in(from, &mut world.pool);
    let carried = world.carry(&mut packet, to);
    world.pool.give(packet.buffer);
    carried
}

#[test]
fn a_settled_flow_is_carried_both_ways_and_counted() {
    let mut world = answered();
    world.pass_time(7);
    assert!(carries(&mut world, &udp(b"hello"), A, B) && carries(&mut world, &answer(), B, A));
    let flow = world.engine.flows(1, |_| true).remove(0);
    assert_eq!((flow.packets, flow.last), ([2, 2], world.now));
    assert_eq!(flow.bytes, [2 * udp(b"hello").bytes.len() as u64, 2 * answer().bytes.len() as u64]);
}

#[test]
fn a_flow_that_is_not_known_or_not_answered_is_not_carried() {
    let mut world = World::new(&spec(Action::Allow, vec![]));
    assert!(!carries(&mut world, &udp(b"hello"), A, B));
    world.send(&udp(b"hello"), A, B).unwrap();
    // More of the same may pass, but the first answer changes how dear the flow is.
    assert!(carries(&mut world, &udp(b"hello"), A, B));
    assert!(!carries(&mut world, &answer(), B, A));
    assert_eq!(world.engine.flows(1, |_| true)[0].packets, [2, 0]);
}

#[test]
fn other_ports_than_the_verdict_was_given_for_go_the_long_way() {
    let mut world = answered();
    assert!(!carries(&mut world, &udp(b"hello"), A, C) && !carries(&mut world, &udp(b"hello"), C, B));
}

#[test]
fn another_policy_is_asked_before_anything_is_carried() {
    let mut world = answered();
    world.install(&spec(Action::Drop, vec![web_to_db(Action::Allow, PROTOCOL_UDP, 53)]));
    assert!(!carries(&mut world, &udp(b"hello"), A, B));
    assert_eq!(world.send(&udp(b"hello"), A, B), Ok(()));
    assert_eq!(world.send(&udp(b"hello"), A, B), Ok(()));
    assert!(carries(&mut world, &udp(b"hello"), A, B) && carries(&mut world, &answer(), B, A));
    world.install(&spec(Action::Drop, vec![]));
    assert_eq!(world.send(&udp(b"hello"), A, B), POLICY);
    assert_eq!(world.send(&answer(), B, A), POLICY);
    assert!(!carries(&mut world, &udp(b"hello"), A, B) && !carries(&mut world, &answer(), B, A));
}

#[test]
fn a_flow_that_was_killed_is_not_carried() {
    let mut world = answered();
    assert_eq!(world.engine.kill_flows(world.now, |_| true), 1);
    assert!(!carries(&mut world, &udp(b"hello"), A, B) && !carries(&mut world, &answer(), B, A));
    assert_eq!(world.send(&udp(b"hello"), A, B), Err(DropReason::FlowBlocked));
}

#[test]
fn a_connection_is_carried_inside_its_window_and_between_handshake_and_end() {
    let mut world = World::new(&spec(Action::Allow, vec![]));
    let syn = seg(A4, 1000, B4, 80, TCP_SYN, 100, 0, b"");
    assert!(!carries(&mut world, &syn, A, B));
    world.handshake(A, 1000, B, 80).unwrap();
    let data = seg(A4, 1000, B4, 80, TCP_ACK | TCP_PSH, 101, 501, b"data");
    assert!(carries(&mut world, &data, A, B));
    assert!(carries(&mut world, &seg(B4, 80, A4, 1000, TCP_ACK, 501, 105, b""), B, A));
    // Outside of the window, or what was never sent.
    assert!(!carries(&mut world, &seg(A4, 1000, B4, 80, TCP_ACK, 900_000, 501, b"x"), A, B));
    assert!(!carries(&mut world, &seg(B4, 80, A4, 1000, TCP_ACK, 501, 106, b""), B, A));
    for flags in [TCP_SYN, TCP_RST, TCP_RST | TCP_ACK, TCP_FIN | TCP_ACK, 0] {
        assert!(!carries(&mut world, &seg(A4, 1000, B4, 80, flags, 105, 501, b""), A, B), "{flags}");
    }
    // What the short way has carried is known on the long one.
    let late = seg(B4, 80, A4, 1000, TCP_ACK, 501, 105, b"");
    assert_eq!(world.send_long(late.packet_in(B, &mut Pool::default()), A), Ok(()));
    assert_eq!(world.engine.flows(1, |_| true)[0].state, "established");
}

/// A connection whose initiator has sent, and knows to have arrived, all that is inspected of its direction.
fn beyond_the_depth() -> World {
    let mut spec = inspecting(&program(DROP));
    spec.settings.stream_depth = 8;
    let mut world = World::new(&spec);
    world.handshake(A, 1000, B, 80).unwrap();
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"01234567"), A, B), Ok(()));
    assert!(!carries(&mut world, &seg(A4, 1000, B4, 80, TCP_ACK, 109, 501, b"more"), A, B), "not acknowledged");
    assert_eq!(world.send(&seg(B4, 80, A4, 1000, TCP_ACK, 501, 109, b""), B, A), Ok(()));
    world
}

#[test]
fn one_direction_is_carried_once_inspection_has_seen_enough_of_it() {
    let mut world = beyond_the_depth();
    assert!(carries(&mut world, &seg(A4, 1000, B4, 80, TCP_ACK, 109, 501, b"evil"), A, B));
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 109, 501, b"evil"), A, B), Ok(()));
    // What ends the connection is shown to inspection all the same, and the other direction is read as before.
    assert!(!carries(&mut world, &seg(A4, 1000, B4, 80, TCP_ACK | TCP_FIN, 113, 501, b""), A, B));
    assert!(!carries(&mut world, &seg(B4, 80, A4, 1000, TCP_ACK, 501, 113, b""), B, A));
}

#[test]
fn what_is_read_goes_the_short_way_and_what_matches_ends_there() {
    let mut world = World::new(&inspecting(&program(DROP)));
    let seg = |seq, flags, data: &[u8]| seg(A4, 1000, B4, 80, flags, seq, 501, data);
    assert_eq!(world.reads(&seg(100, TCP_SYN, b""), A, B), None);
    world.handshake(A, 1000, B, 80).unwrap();
    // What ends a connection, what goes elsewhere and what another policy has not judged is not the short way's.
    assert_eq!(world.reads(&seg(101, TCP_ACK | TCP_FIN, b""), A, B), None);
    assert_eq!(world.reads(&seg(101, TCP_ACK, b"good"), A, C), None);
    assert_eq!(world.reads(&seg(101, TCP_ACK, b"an ev"), A, B), Some(Ok(())));
    assert_eq!(world.engine.flows(1, |_| true)[0].packets, [3, 1]);
    assert_eq!(world.reads(&seg(106, TCP_ACK, b"il thing"), A, B), Some(Err(DropReason::Inspection)));
    assert_eq!(world.reads(&seg(106, TCP_ACK, b"good"), A, B), None);
    assert_eq!(world.send(&seg(106, TCP_ACK, b"good"), A, B), Err(DropReason::FlowBlocked));
}

#[test]
fn another_policy_has_judged_a_flow_before_it_is_read_the_short_way() {
    let mut world = World::new(&inspecting(&program(DROP)));
    world.handshake(A, 1000, B, 80).unwrap();
    let data = |seq| seg(A4, 1000, B4, 80, TCP_ACK, seq, 501, b"good");
    world.install(&inspecting(&program(DROP)));
    assert_eq!(world.reads(&data(101), A, B), None);
    assert_eq!(world.send_long(data(101).packet_in(A, &mut Pool::default()), B), Ok(()));
    assert_eq!(world.reads(&data(105), A, B), Some(Ok(())));
}

#[test]
fn the_other_direction_is_still_searched_and_its_acknowledgements_are_heard() {
    let mut spec = inspecting(&program(r#"drop tcp any 80 -> any any (msg:"evil"; content:"evil"; sid:9;)"#));
    spec.settings.stream_depth = 8;
    let mut world = World::new(&spec);
    world.handshake(A, 1000, B, 80).unwrap();
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"01234567"), A, B), Ok(()));
    assert_eq!(world.send(&seg(B4, 80, A4, 1000, TCP_ACK, 501, 109, b""), B, A), Ok(()));
    assert!(carries(&mut world, &seg(A4, 1000, B4, 80, TCP_ACK, 109, 501, b"more"), A, B));
    assert_eq!(world.send(&seg(B4, 80, A4, 1000, TCP_ACK, 501, 113, b"ev"), B, A), Ok(()));
    // While the responder waits to hear that its bytes have arrived, the initiator's packets are shown.
    assert!(!carries(&mut world, &seg(A4, 1000, B4, 80, TCP_ACK, 113, 501, b"more"), A, B));
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 113, 503, b"more"), A, B), Ok(()));
    assert!(carries(&mut world, &seg(A4, 1000, B4, 80, TCP_ACK, 117, 503, b"more"), A, B));
    assert_eq!(world.send(&seg(B4, 80, A4, 1000, TCP_ACK, 503, 121, b"il"), B, A), Err(DropReason::Inspection));
    assert!(!carries(&mut world, &seg(A4, 1000, B4, 80, TCP_ACK, 121, 503, b"more"), A, B));
}

#[test]
fn a_new_policy_reads_a_direction_again_from_where_it_stands() {
    let mut world = beyond_the_depth();
    assert!(carries(&mut world, &seg(A4, 1000, B4, 80, TCP_ACK, 109, 501, b"0123456789"), A, B));
    let mut spec = inspecting(&program(DROP));
    spec.settings.stream_depth = 4096;
    world.install(&spec);
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 119, 501, b"good"), A, B), Ok(()));
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 123, 501, b"evil"), A, B), Err(DropReason::Inspection));
}
