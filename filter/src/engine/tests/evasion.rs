//! Ways around inspection below the application, each by its name, through the whole guard: whatever is sent beside an
//! attack, the attack is not delivered.

use super::*;

const ATTACK: &[u8] = b"this is the ATTACK";

fn world() -> World {
    let mut spec = spec(Action::Allow, vec![]);
    spec.switches[0].inspect = Some("watch".into());
    let rules = "drop tcp any any -> any any (content:\"ATTACK\"; sid:1;)";
    spec.rule_sets = vec![("watch".into(), content::program(rules))];
    World::new(&spec)
}

fn client(flags: u8, seq: u32, ack: u32, data: &[u8]) -> Frame {
    seg(A4, 1000, B4, 80, flags, seq, ack, data)
}

fn server(flags: u8, seq: u32, ack: u32, data: &[u8]) -> Frame {
    seg(B4, 80, A4, 1000, flags, seq, ack, data)
}

/// The attack from the client at this sequence number is refused.
#[track_caller]
fn is_stopped(world: &mut World, seq: u32, ack: u32) {
    assert_eq!(world.send(&client(TCP_ACK | TCP_PSH, seq, ack, ATTACK), A, B), Err(DropReason::Inspection));
}

#[test]
fn a_syn_sent_again_with_another_number() {
    let mut world = world();
    world.send(&client(TCP_SYN, 100, 0, b""), A, B).unwrap();
    let _ = world.send(&client(TCP_SYN, 90_000, 0, b""), A, B);
    // The server answers the one or the other; in neither connection does the attack arrive.
    for (isn, seq) in [(90_000u32, 90_001), (100, 101)] {
        let _ = world.send(&server(TCP_SYN | TCP_ACK, 500, isn + 1, b""), B, A);
        let _ = world.send(&client(TCP_ACK, seq, 501, b""), A, B);
        assert!(world.send(&client(TCP_ACK | TCP_PSH, seq, 501, ATTACK), A, B).is_err());
    }
}

#[test]
fn resets_that_no_host_believes() {
    let mut world = world();
    world.handshake(A, 1000, B, 80).unwrap();
    let mut broken = client(TCP_RST | TCP_ACK, 101, 501, b"");
    broken.bytes[50] ^= 1;
    assert_eq!(world.send(&broken, A, B), Err(DropReason::BadL4Checksum));
    assert_eq!(world.send(&client(TCP_RST, 900_000, 0, b""), A, B), Err(DropReason::TcpWindow));
    is_stopped(&mut world, 101, 501);
}

#[test]
fn a_reset_within_the_window_that_the_receiver_only_challenges() {
    let mut world = world();
    world.handshake(A, 1000, B, 80).unwrap();
    // RFC 5961: only the very next number resets; whatever the guard makes of this one, the attack is not delivered.
    let _ = world.send(&client(TCP_RST, 105, 0, b""), A, B);
    assert!(world.send(&client(TCP_ACK | TCP_PSH, 101, 501, ATTACK), A, B).is_err());
}

#[test]
fn an_answer_to_no_syn() {
    let mut world = world();
    let _ = world.send(&server(TCP_SYN | TCP_ACK, 70_000, 101, b""), B, A);
    world.pass_time(60);
    world.handshake(A, 1000, B, 80).unwrap();
    let _ = world.send(&server(TCP_SYN | TCP_ACK, 80_000, 101, b""), B, A);
    is_stopped(&mut world, 101, 501);
}

#[test]
fn an_acknowledgment_of_bytes_that_nobody_sent() {
    let mut world = world();
    world.handshake(A, 1000, B, 80).unwrap();
    let _ = world.send(&server(TCP_ACK, 501, 5000, b""), B, A);
    is_stopped(&mut world, 101, 501);
}

#[test]
fn chaff_with_a_bad_checksum_before_the_true_bytes() {
    let mut world = world();
    world.handshake(A, 1000, B, 80).unwrap();
    let mut chaff = client(TCP_ACK, 101, 501, &[b'x'; ATTACK.len()]);
    let last = chaff.bytes.len() - 1;
    chaff.bytes[last] ^= 1;
    assert_eq!(world.send(&chaff, A, B), Err(DropReason::BadL4Checksum));
    is_stopped(&mut world, 101, 501);
}

#[test]
fn chaff_beyond_the_window_before_the_true_bytes() {
    let mut world = world();
    world.handshake(A, 1000, B, 80).unwrap();
    assert_eq!(world.send(&client(TCP_ACK, 500_000, 501, &[b'x'; 18]), A, B), Err(DropReason::TcpWindow));
    is_stopped(&mut world, 101, 501);
}

#[test]
fn one_byte_in_each_segment_and_from_the_last() {
    for backwards in [false, true] {
        let mut world = world();
        world.handshake(A, 1000, B, 80).unwrap();
        let mut order: Vec<usize> = (0..ATTACK.len()).collect();
        if backwards {
            order.reverse();
        }
        let fates: Vec<Fate> = order
            .iter()
            .map(|&at| world.send(&client(TCP_ACK, 101 + at as u32, 501, &ATTACK[at..=at]), A, B))
            .collect();
        assert_eq!(fates.last(), Some(&Err(DropReason::Inspection)));
        assert!(fates[..fates.len() - 1].iter().all(Result::is_ok));
    }
}

#[test]
fn overlaps_that_disagree_forwards_and_backwards() {
    for first in [true, false] {
        let mut world = world();
        world.handshake(A, 1000, B, 80).unwrap();
        let (harmless, harmful) = (&b"this is the xxxxxx"[..], ATTACK);
        // Bytes ahead of order bind too: what was let through first is what may come again.
        let ahead = if first { harmless } else { harmful };
        world.send(&client(TCP_ACK, 101 + 12, 501, &ahead[12..17]), A, B).unwrap();
        let other = if first { harmful } else { harmless };
        assert!(world.send(&client(TCP_ACK, 101, 501, other), A, B).is_err());
    }
}

#[test]
fn data_in_the_syn() {
    let mut world = world();
    assert_eq!(world.send(&client(TCP_SYN, 100, 0, ATTACK), A, B), Err(DropReason::Inspection));
}

#[test]
fn data_behind_a_fin() {
    let mut world = world();
    world.handshake(A, 1000, B, 80).unwrap();
    assert_eq!(world.send(&client(TCP_ACK | TCP_FIN, 101, 501, ATTACK), A, B), Err(DropReason::Inspection));
}
