//! Rules on what is odd about packets, on live traffic.

use super::content::{inspecting, program};
use super::*;

const RULES: &str = r#"
alert pkthdr any any -> any any (msg:"cut"; decode-event:ipv4.trunc_pkt; sid:1;)
alert pkthdr any any -> any any (msg:"option"; decode-event:ipv4.opt_invalid; sid:2;)
alert tcp any any -> any any (msg:"conflict"; stream-event:reassembly_overlap_different_data; sid:3;)
alert tcp any any -> any 80 (msg:"no session"; stream-event:rst_but_no_session; sid:4;)
alert tcp any any -> any any (msg:"said"; content:"said"; sid:5;)
alert ip any any -> any any (msg:"any"; sid:6;)
"#;

/// Shows the engine a frame that was refused.
fn refused(world: &mut World, frame: &Frame, reason: DropReason) -> Vec<String> {
    let packet = Packet::new(world.pool.copy(&frame.bytes).unwrap(), PortId(A), Default::default());
    world.engine.look_at_refused(world.now, &packet, SWITCH, reason);
    world.pool.give(packet.buffer);
    world.events()
}

#[test]
fn what_cannot_be_parsed_is_told_by_its_name() {
    let mut world = World::new(&inspecting(&program(RULES)));
    let whole = Frame::udp(A4, 1, B4, 2, b"some bytes");
    let mut cut = whole.clone();
    cut.bytes.truncate(40);
    assert_eq!(refused(&mut world, &cut, DropReason::BadIpv4), ["alert 1"]);
    // Nothing is odd about a sound packet, and other reasons are nobody's oddity.
    assert!(refused(&mut world, &whole, DropReason::BadIpv4).is_empty());
    assert!(refused(&mut world, &cut, DropReason::Policy).is_empty());
    assert_eq!(world.engine.inspection().alerts, 1);
    // No rule asks for it, or none looks at the switch.
    let mut world = World::new(&inspecting(&program("alert ip any any -> any any (sid:1;)")));
    assert!(refused(&mut world, &cut, DropReason::BadIpv4).is_empty());
    let mut world = World::new(&spec(Action::Allow, vec![]));
    assert!(refused(&mut world, &cut, DropReason::BadIpv4).is_empty());
}

#[test]
fn what_contradicts_a_connection_is_told_by_its_name() {
    let mut world = World::new(&inspecting(&program(RULES)));
    world.handshake(A, 1000, B, 80).unwrap();
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"good"), A, B), Ok(()));
    let other = seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"evil");
    assert_eq!(world.send(&other, A, B), Err(DropReason::StreamConflict));
    world.events();
    assert_eq!(refused(&mut world, &other, DropReason::StreamConflict), ["alert 3"]);
    let reset = seg(A4, 1000, B4, 80, TCP_RST, 101, 501, b"");
    assert!(refused(&mut world, &reset, DropReason::TcpMidstream).is_empty());
}

#[test]
fn odd_packets_that_pass_are_told_of_while_their_flow_is_inspected() {
    let mut world = World::new(&inspecting(&program(RULES)));
    let mut frame = Frame::udp(A4, 1, B4, 2, b"said");
    // An option that nobody knows, four bytes long.
    frame.bytes[14] = 0x46;
    frame.bytes[17] += 4;
    frame.bytes.splice(34..34, [0x5f, 4, 0, 0]);
    frame.bytes[24..26].fill(0);
    let sum = !weir_wire::checksum::sum(&frame.bytes[14..38]).fold();
    frame.bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(world.send(&frame, A, B), Ok(()));
    let told = world.events();
    assert!(told.contains(&"alert 2".to_owned()), "{told:?}");
}
