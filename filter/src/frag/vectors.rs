//! Cases that network functions before this one have met, for both IP versions: what each must come to.

use weir_wire::numbers::{PROTOCOL_FRAGMENT, PROTOCOL_TCP, PROTOCOL_UDP};
use weir_wire::{Fragment, Offload};

use super::tests::{Desk, Fate, NOW, OVERLAP, PROTOCOL, X, Y, Z, whole};
use super::*;
use crate::testing::{A4, A6, B4, B6, Frame};

/// Parses a frame that no host sends in earnest.
fn parsed(bytes: &[u8]) -> Result<Fragment, DropReason> {
    let mut pool = Pool::default();
    let mut packet = Packet::new(pool.copy(bytes).unwrap(), PortId(1), Offload::default());
    packet.parse().map(|()| packet.headers.fragment)
}

/// A permutation of `0..count` from a seed.
fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let (mut order, mut state): (Vec<usize>, u64) = ((0..count).collect(), seed);
    for n in (1..count).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        order.swap(n, (state >> 33) as usize % (n + 1));
    }
    order
}

#[test]
fn long_chains_come_together_in_order_backwards_and_in_any_order() {
    let count = PIECES_MAX;
    let data: Vec<u8> = (0..count * 16).map(|n| (n * 7) as u8).collect();
    let orders = [(0..count).collect(), (0..count).rev().collect(), shuffled(count, 1), shuffled(count, 2)];
    for order in orders {
        let mut desk = Desk::new(1000);
        for (nth, &at) in order.iter().enumerate() {
            let piece = (at as u16 * 16, &data[at * 16..(at + 1) * 16], at + 1 < count);
            let fates = (desk.piece4(3, piece), desk.piece6(3, piece));
            let expected = || if nth + 1 < count { Fate::Held } else { Fate::Whole(data.clone()) };
            assert_eq!(fates, (expected(), expected()), "piece {at} as number {nth}");
        }
        assert_eq!((desk.fragments.held(), desk.pool.outstanding()), (0, 0), "every buffer came back");
    }
}

#[test]
fn every_piece_twice_is_one_datagram_and_one_refusal_each() {
    let mut desk = Desk::new(100);
    for piece in [(0, X, true), (8, Y, true)] {
        assert_eq!((desk.piece4(1, piece), desk.piece6(1, piece)), (Fate::Held, Fate::Held));
        assert_eq!((desk.piece4(1, piece), desk.piece6(1, piece)), (OVERLAP, OVERLAP));
    }
    assert_eq!((desk.piece4(1, (16, Z, false)), desk.piece6(1, (16, Z, false))), (whole(), whole()));
    assert_eq!(desk.pool.outstanding(), 0);
}

#[test]
fn a_flood_of_repetitions_takes_no_room_and_does_not_end_the_datagram() {
    let mut desk = Desk::new(20);
    assert_eq!(desk.piece4(1, (0, X, true)), Fate::Held);
    for _ in 0..10_000 {
        assert_eq!(desk.piece4(1, (0, X, true)), OVERLAP);
        assert_eq!((desk.fragments.held(), desk.pool.outstanding()), (1, 1));
    }
    assert_eq!(desk.piece4(1, (8, Y, true)), Fate::Held);
    assert_eq!(desk.piece4(1, (16, Z, false)), whole());
}

#[test]
fn what_comes_after_the_time_belongs_to_another_datagram_though_nobody_looked() {
    for v6 in [false, true] {
        let mut desk = Desk::new(100);
        let send = |desk: &mut Desk, piece| if v6 { desk.piece6(1, piece) } else { desk.piece4(1, piece) };
        assert_eq!(send(&mut desk, (0, X, true)), Fate::Held);
        desk.now = NOW.after(if v6 { TIMEOUT_V6 } else { TIMEOUT_V4 });
        // No tick has come between: the old start must not be joined to another end.
        assert_eq!(send(&mut desk, (8, Y, true)), Fate::Held);
        assert_eq!(send(&mut desk, (16, Z, false)), Fate::Held);
        assert_eq!(desk.collect(), [DropReason::FragmentTimeout]);
        assert_eq!(send(&mut desk, (0, Y, true)), Fate::Whole(b"yyyyyyyyyyyyyyyyzz".to_vec()));
    }
}

#[test]
fn an_atomic_fragment_is_a_packet_of_its_own_whatever_waits_under_its_name() {
    // RFC 6946: offset 0, nothing to come.
    let atomic = Frame::fragment6(A6, B6, PROTOCOL, 1, 0, false, Y);
    assert_eq!(parsed(&atomic.bytes), Ok(Fragment::No));
    let mut desk = Desk::new(100);
    assert_eq!(desk.piece6(1, (0, X, true)), Fate::Held);
    let mut packet = atomic.packet_in(1, &mut desk.pool);
    assert!(packet.parse().is_ok());
    desk.pool.give(packet.buffer);
    assert_eq!(desk.piece6(1, (8, Y, true)), Fate::Held);
    assert_eq!(desk.piece6(1, (16, Z, false)), whole());
}

#[test]
fn a_first_fragment_without_its_transport_header_is_refused() {
    // RFC 1858, RFC 7112: the rest of the header would come uninspected.
    for (protocol, header, reason) in [(PROTOCOL_TCP, 20, DropReason::BadTcp), (PROTOCOL_UDP, 8, DropReason::BadUdp)] {
        for length in (0..header).step_by(8) {
            let data = vec![0x50; length];
            assert_eq!(parsed(&Frame::fragment4(A4, B4, protocol, 1, 0, true, &data).bytes), Err(reason));
            assert_eq!(parsed(&Frame::fragment6(A6, B6, protocol, 1, 0, true, &data).bytes), Err(reason));
        }
    }
}

#[test]
fn a_chain_of_headers_that_ends_in_the_first_fragment_is_refused() {
    // Destination options that claim more than the fragment holds, and options of which not even the length is there.
    for data in [&[PROTOCOL_UDP, 9, 1, 4, 0, 0, 0, 0][..], &[PROTOCOL_UDP]] {
        let frame = Frame::fragment6(A6, B6, 60, 1, 0, true, data);
        assert_eq!(parsed(&frame.bytes), Err(DropReason::BadIpv6), "{data:02x?}");
    }
    // A fragment header that is cut short, and one in a fragment.
    assert_eq!(parsed(&Frame::ip(A6, B6, PROTOCOL_FRAGMENT, &[PROTOCOL, 0, 0, 1]).bytes), Err(DropReason::BadIpv6));
    let nested = [PROTOCOL, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
    let frame = Frame::fragment6(A6, B6, PROTOCOL_FRAGMENT, 1, 0, true, &nested);
    assert_eq!(parsed(&frame.bytes), Err(DropReason::BadIpv6));
}

#[test]
fn a_fragment_that_is_shorter_than_it_says_is_refused() {
    for frame in [
        Frame::fragment4(A4, B4, PROTOCOL, 1, 8, true, &[0xa5; 64]),
        Frame::fragment6(A6, B6, PROTOCOL, 1, 8, true, &[0xa5; 64]),
    ] {
        assert!(parsed(&frame.bytes).is_ok());
        for cut in 1..64 {
            let short = &frame.bytes[..frame.bytes.len() - cut];
            assert!(matches!(parsed(short), Err(DropReason::BadIpv4 | DropReason::BadIpv6)), "{cut} bytes less");
        }
    }
}

#[test]
fn datagrams_around_the_size_of_a_buffer_come_together() {
    // A frame's buffer, and the next larger one: headers and data meet their ends at every place.
    for length in (1990..2060).chain(4080..4100).chain(65_400..65_410) {
        let data: Vec<u8> = (0..length).map(|n| (n * 11) as u8).collect();
        let mut desk = Desk::new(200);
        let (mut four, mut six) = (Fate::Held, Fate::Held);
        for (at, chunk) in data.chunks(1440).enumerate() {
            let piece = (at as u16 * 1440, chunk, (at + 1) * 1440 < length);
            (four, six) = (desk.piece4(8, piece), desk.piece6(8, piece));
        }
        assert!(four == Fate::Whole(data.clone()) && six == Fate::Whole(data), "{length} bytes");
        assert_eq!(desk.pool.outstanding(), 0);
    }
}

#[test]
fn pieces_that_come_by_two_ports_are_not_joined() {
    let mut desk = Desk::new(100);
    for (port, offset, more, data) in [(1, 0, true, X), (2, 8, false, Z)] {
        let frame = Frame::fragment4(A4, B4, PROTOCOL, 1, offset, more, data);
        assert_eq!(desk.take(&frame, port).0, Fate::Held);
        let frame = Frame::fragment6(A6, B6, PROTOCOL, 1, offset, more, data);
        assert_eq!(desk.take(&frame, port).0, Fate::Held);
    }
    assert_eq!(desk.wait(60), [DropReason::FragmentTimeout; 4]);
}
