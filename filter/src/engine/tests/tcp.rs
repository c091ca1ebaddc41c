//! Connections as the whole engine sees them; the states themselves are tested with the state machine.

use super::*;

fn open() -> World {
    let mut world = World::new(&spec(Action::Allow, vec![]));
    world.handshake(A, 1000, B, 80).unwrap();
    world
}

#[test]
fn a_segment_that_is_refused_leaves_the_connection_as_it_was() {
    let mut world = open();
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 900_000, 501, b"x"), A, B), Err(DropReason::TcpWindow));
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_RST, 900_000, 0, b""), A, B), Err(DropReason::TcpWindow));
    let mut broken = seg(A4, 1000, B4, 80, TCP_RST, 101, 0, b"");
    broken.bytes[50] ^= 1;
    assert_eq!(world.send(&broken, A, B), Err(DropReason::BadL4Checksum));
    assert_eq!(world.engine.flows(1, |_| true)[0].state, "established");
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"x"), A, B), Ok(()));
}

#[test]
fn ports_used_again_make_another_flow() {
    let mut world = open();
    world.send(&seg(A4, 1000, B4, 80, TCP_RST | TCP_ACK, 101, 501, b""), A, B).unwrap();
    world.handshake(A, 1000, B, 80).unwrap();
    let flow = world.engine.flows(10, |_| true).remove(0);
    assert_eq!((flow.flow, flow.state, flow.packets), (2, "established", [2, 1]));
    assert_eq!(world.events(), ["flow closed closed"]);
}

#[test]
fn a_host_that_forgot_its_connection_can_open_it_again() {
    let mut world = open();
    // A restarted; B forgot too, and accepts.
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_SYN, 70_000, 0, b""), A, B), Ok(()));
    assert_eq!(world.send(&seg(B4, 80, A4, 1000, TCP_SYN | TCP_ACK, 90_000, 70_001, b""), B, A), Ok(()));
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 70_001, 90_001, b"x"), A, B), Ok(()));
    let flow = world.engine.flows(10, |_| true).remove(0);
    assert_eq!((flow.flow, flow.in_port, flow.state, flow.packets), (2, PortId(A), "established", [1, 1]));
}

#[test]
fn padding_behind_the_datagram_is_no_data() {
    let mut world = open();
    let mut padded = seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"");
    padded.bytes.extend_from_slice(&[0; 6]);
    assert_eq!(world.send(&padded, A, B), Ok(()));
    // Had it counted, this would acknowledge too little.
    assert_eq!(world.send(&seg(B4, 80, A4, 1000, TCP_ACK, 501, 107, b""), B, A), Err(DropReason::TcpWindow));
}

#[test]
fn tickets_of_a_flow_that_ended_meanwhile_find_their_place_again() {
    let mut world = open();
    let data = seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"x").packet_in(A, &mut world.pool);
    let Entered::Go(packet, ticket) = world.engine.enter(world.now, data, SWITCH, &mut world.pool) else { panic!() };
    world.engine.port_removed(world.now, PortId(A));
    // It is taken up as a connection without a start.
    let cleared = world.engine.inspect(world.now, packet, ticket, PortId(B), &mut world.pool);
    assert!(matches!(cleared, Inspected::Forward(_)));
    assert_eq!(world.engine.flows(1, |_| true)[0].flow, 2);
}
