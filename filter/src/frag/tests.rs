use weir_wire::numbers::PROTOCOL_FRAGMENT;
use weir_wire::{Checksum, Fragment, Segmentation};

use super::*;
use crate::testing::{A4, A6, B4, B6, Frame};

/// Protocol for experiments (RFC 3692): its payload is not looked into.
pub(super) const PROTOCOL: u8 = 253;
pub(super) const NOW: Instant = Instant::from_secs(100);
const SWITCH: SwitchId = SwitchId(1);

/// One fragment: offset, data, more to come.
pub(super) type Piece<'a> = (u16, &'a [u8], bool);

pub(super) struct Desk {
    pub fragments: Fragments,
    pub pool: Pool,
    pub now: Instant,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Held,
    Whole(Vec<u8>),
    Refused(DropReason),
}

impl Desk {
    pub fn new(limit: usize) -> Desk {
        Desk { fragments: Fragments::new(limit), pool: Pool::default(), now: NOW }
    }

    pub fn take(&mut self, frame: &Frame, port: u16) -> (Fate, Option<Packet>) {
        let packet = frame.packet_in(port, &mut self.pool);
        assert_ne!(packet.headers.fragment, Fragment::No);
        match self.fragments.take(self.now, packet, SWITCH, &mut self.pool) {
            Taken::Held => (Fate::Held, None),
            Taken::Whole(packet) => (Fate::Whole(packet.transport().to_vec()), Some(packet)),
            Taken::Refused(packet, reason) => {
                self.pool.give(packet.buffer);
                (Fate::Refused(reason), None)
            }
        }
    }

    pub fn piece4(&mut self, id: u16, (offset, data, more): Piece<'_>) -> Fate {
        let (fate, packet) = self.take(&Frame::fragment4(A4, B4, PROTOCOL, id, offset, more, data), 1);
        packet.into_iter().for_each(|packet| self.pool.give(packet.buffer));
        fate
    }

    pub fn piece6(&mut self, id: u32, (offset, data, more): Piece<'_>) -> Fate {
        let (fate, packet) = self.take(&Frame::fragment6(A6, B6, PROTOCOL, id, offset, more, data), 1);
        packet.into_iter().for_each(|packet| self.pool.give(packet.buffer));
        fate
    }

    /// Plays the pieces of one datagram over IPv4 and over IPv6: what came of the last.
    #[track_caller]
    fn play(pieces: &[Piece<'_>]) -> Fate {
        let mut desk = Desk::new(1000);
        let (mut last4, mut last6) = (Fate::Held, Fate::Held);
        for (count, &piece) in pieces.iter().enumerate() {
            assert_eq!((&last4, &last6), (&Fate::Held, &Fate::Held), "before piece {count}");
            last4 = desk.piece4(9, piece);
            last6 = desk.piece6(9, piece);
        }
        assert_eq!(last4, last6);
        assert_eq!(desk.given_up() + desk.fragments.pieces, desk.pool.outstanding());
        last4
    }

    fn given_up(&self) -> usize {
        self.fragments.given_up.len()
    }

    /// Lets time pass; returns what was given up.
    pub fn wait(&mut self, seconds: u64) -> Vec<DropReason> {
        self.now = self.now.after(Duration::from_secs(seconds));
        self.fragments.expire(self.now);
        self.collect()
    }

    pub fn collect(&mut self) -> Vec<DropReason> {
        let mut gone = vec![];
        self.fragments.given_up(|given| gone.push(given));
        gone.into_iter()
            .map(|(packet, reason)| {
                self.pool.give(packet.buffer);
                reason
            })
            .collect()
    }
}

pub(super) const OVERLAP: Fate = Fate::Refused(DropReason::FragmentOverlap);
pub(super) const X: &[u8] = b"xxxxxxxx";
pub(super) const Y: &[u8] = b"yyyyyyyy";
pub(super) const Z: &[u8] = b"zz";

pub(super) fn whole() -> Fate {
    Fate::Whole(b"xxxxxxxxyyyyyyyyzz".to_vec())
}

#[test]
fn pieces_in_any_order_become_the_datagram() {
    let pieces = [(0, X, true), (8, Y, true), (16, Z, false)];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        assert_eq!(Desk::play(&order.map(|at| pieces[at])), whole(), "{order:?}");
    }
}

#[test]
fn one_byte_in_the_last_fragment() {
    assert_eq!(Desk::play(&[(0, X, true), (8, b"y", false)]), Fate::Whole(b"xxxxxxxxy".to_vec()));
}

#[test]
fn a_repeated_fragment_is_dropped_alone() {
    let mut desk = Desk::new(100);
    assert_eq!(desk.piece4(1, (0, X, true)), Fate::Held);
    assert_eq!(desk.piece4(1, (0, X, true)), OVERLAP);
    assert_eq!(desk.piece4(1, (8, Y, true)), Fate::Held);
    assert_eq!(desk.piece4(1, (8, Y, true)), OVERLAP);
    assert_eq!(desk.piece4(1, (16, Z, false)), whole());
    assert_eq!((desk.fragments.held(), desk.pool.outstanding()), (0, 0));
}

#[test]
fn every_kind_of_overlap_ends_the_datagram() {
    let overlaps: &[&[Piece<'_>]] = &[
        // The same place with other bytes, or another end.
        &[(0, X, true), (0, Y, true)],
        &[(0, b"xxxxxxxxyyyyyyyy", true), (0, X, true)],
        &[(0, X, true), (0, b"xxxxxxxxyyyyyyyy", true)],
        // Into the one before, the one behind, both.
        &[(0, b"xxxxxxxxyyyyyyyy", true), (8, Y, true)],
        &[(8, Y, true), (0, b"xxxxxxxxyyyyyyyy", true)],
        &[(0, X, true), (16, X, true), (0, b"xxxxxxxxyyyyyyyyzzzzzzzz", true)],
        // Two ends that differ; data behind the end; an end before data.
        &[(16, Z, false), (16, b"zzz", false)],
        &[(16, Z, false), (24, X, true)],
        &[(24, X, true), (16, Z, false)],
        &[(16, Z, false), (8, b"yyyyyyyyyyyyyyyy", true)],
        // The last byte is overlapped by one.
        &[(0, b"xxxxxxxxyyyyyyyy", true), (8, b"yyyyyyyyz", false)],
    ];
    for pieces in overlaps {
        assert_eq!(Desk::play(pieces), OVERLAP, "{pieces:?}");
    }
}

#[test]
fn after_an_overlap_the_rest_is_refused_until_its_time_is_over() {
    let mut desk = Desk::new(100);
    assert_eq!(desk.piece4(1, (0, X, true)), Fate::Held);
    assert_eq!(desk.piece4(1, (0, Y, true)), OVERLAP);
    assert_eq!(desk.collect(), [DropReason::FragmentOverlap]);
    assert_eq!(desk.piece4(1, (8, Y, true)), OVERLAP);
    assert_eq!(desk.piece4(1, (16, Z, false)), OVERLAP);
    assert_eq!(desk.wait(31), []);
    // The identification used again later is another datagram.
    for (piece, fate) in [((0, X, true), Fate::Held), ((8, Y, true), Fate::Held), ((16, Z, false), whole())] {
        assert_eq!(desk.piece4(1, piece), fate);
    }
}

/// The overlapping fragments of Sturges and Novak ("Target-Based Fragmentation Reassembly", 2005): operating systems
/// read nine different datagrams out of them, so none of them may be delivered.
#[test]
fn the_sturges_novak_fragments_end_in_a_drop() {
    let pieces: [(u8, u16, u16); 17] = [
        (b'A', 24, 0),
        (b'B', 16, 32),
        (b'C', 24, 48),
        (b'D', 8, 80),
        (b'E', 16, 104),
        (b'F', 24, 120),
        (b'G', 16, 144),
        (b'H', 16, 160),
        (b'I', 8, 176),
        (b'J', 32, 8),
        (b'K', 24, 48),
        (b'L', 24, 72),
        (b'M', 24, 96),
        (b'N', 8, 128),
        (b'O', 8, 152),
        (b'P', 8, 160),
        (b'Q', 16, 176),
    ];
    for rotation in 0..pieces.len() {
        let mut desk = Desk::new(100);
        let mut refused = 0;
        for n in 0..pieces.len() {
            let (letter, length, offset) = pieces[(n + rotation) % pieces.len()];
            let data = vec![letter; usize::from(length)];
            let more = letter != b'Q';
            let (four, six) = (desk.piece4(5, (offset, &data, more)), desk.piece6(5, (offset, &data, more)));
            assert_eq!(four, six);
            assert!(!matches!(four, Fate::Whole(_)), "rotation {rotation}");
            refused += usize::from(four == OVERLAP);
        }
        refused += desk.collect().len() / 2;
        assert_eq!((refused, desk.fragments.held(), desk.pool.outstanding()), (pieces.len(), 0, 0));
    }
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    for piece in [
        // Not a multiple of eight, nothing in it, beyond the longest packet.
        (0, &b"xxxxxxxxx"[..], true),
        (8, b"", true),
        (8, b"", false),
        (65_528, b"xxxxxxxx", false),
        (65_520, &[b'x'; 16], false),
    ] {
        assert_eq!(Desk::play(&[piece]), OVERLAP, "{piece:?}");
    }
}

#[test]
fn the_longest_datagram_passes() {
    let mut desk = Desk::new(1000);
    let data = [b'x'; 1480];
    let mut fate = Fate::Held;
    for n in 0..44u16 {
        assert_eq!(fate, Fate::Held);
        fate = desk.piece4(1, (n * 1480, &data, true));
    }
    assert_eq!(fate, Fate::Held);
    let Fate::Whole(whole) = desk.piece4(1, (44 * 1480, &[b'x'; 395], false)) else { panic!() };
    assert_eq!(whole.len(), 65_515);
}

#[test]
fn too_many_pieces_end_the_datagram() {
    let mut desk = Desk::new(1000);
    for n in 0..PIECES_MAX as u16 {
        assert_eq!(desk.piece4(1, (n * 8, X, true)), Fate::Held);
    }
    assert_eq!(desk.piece4(1, (PIECES_MAX as u16 * 8, X, true)), Fate::Refused(DropReason::FragmentLimit));
    assert_eq!(desk.collect(), vec![DropReason::FragmentLimit; PIECES_MAX]);
}

#[test]
fn incomplete_datagrams_are_given_up_in_their_time() {
    let mut desk = Desk::new(100);
    assert_eq!(desk.piece4(1, (0, X, true)), Fate::Held);
    assert_eq!(desk.fragments.next_due(), Some(NOW.after(TIMEOUT_V4)));
    assert_eq!(desk.wait(29), []);
    assert_eq!(desk.wait(1), [DropReason::FragmentTimeout]);
    assert_eq!(desk.piece6(1, (0, X, true)), Fate::Held);
    assert_eq!(desk.wait(59), []);
    assert_eq!(desk.wait(1), [DropReason::FragmentTimeout]);
    assert_eq!((desk.fragments.next_due(), desk.pool.outstanding()), (None, 0));
}

#[test]
fn datagrams_of_different_ports_ids_hosts_and_protocols_do_not_mix() {
    let mut desk = Desk::new(100);
    let first = |id, port: u16, desk: &mut Desk| desk.take(&Frame::fragment4(A4, B4, PROTOCOL, id, 0, true, X), port).0;
    assert_eq!(first(1, 1, &mut desk), Fate::Held);
    for (frame, port) in [
        (Frame::fragment4(A4, B4, PROTOCOL, 1, 8, false, Z), 2),
        (Frame::fragment4(A4, B4, PROTOCOL, 2, 8, false, Z), 1),
        (Frame::fragment4(B4, A4, PROTOCOL, 1, 8, false, Z), 1),
        (Frame::fragment4(A4, B4, PROTOCOL - 1, 1, 8, false, Z), 1),
    ] {
        assert_eq!(desk.take(&frame, port).0, Fate::Held);
    }
    assert_eq!(desk.fragments.held(), 5);
}

#[test]
fn a_guest_that_fills_the_room_makes_room_for_the_others() {
    let mut desk = Desk::new(20);
    let first = |id, port: u16| (Frame::fragment4(A4, B4, PROTOCOL, id, 0, true, X), port);
    for id in 0..4 {
        let (frame, port) = first(id, 2);
        assert_eq!(desk.take(&frame, port).0, Fate::Held);
    }
    let mut given_up = 0;
    for id in 0..500 {
        let (frame, port) = first(id, 1);
        assert_eq!(desk.take(&frame, port).0, Fate::Held);
        given_up += desk.collect().len();
        assert!(desk.fragments.held() <= 20);
    }
    assert_eq!(given_up, 500 - 16);
    for id in 0..4 {
        let (fate, packet) = desk.take(&Frame::fragment4(A4, B4, PROTOCOL, id, 8, false, Z), 2);
        assert!(matches!(fate, Fate::Whole(_)), "{fate:?}");
        packet.into_iter().for_each(|packet| desk.pool.give(packet.buffer));
    }
}

#[test]
fn room_is_bounded_also_where_nobody_collects_what_was_given_up() {
    let mut desk = Desk::new(20);
    for id in 0..500 {
        desk.piece4(id, (0, X, true));
        assert!(desk.fragments.held() <= 2 * 20);
    }
    assert_eq!(desk.piece4(1000, (0, X, true)), Fate::Refused(DropReason::FragmentLimit));
    assert_eq!(desk.collect().len(), 20);
    assert_eq!(desk.piece4(1000, (0, X, true)), Fate::Held);
    assert_eq!(desk.pool.outstanding(), desk.fragments.held());
}

#[test]
fn datagrams_that_became_whole_leave_nothing_behind() {
    let mut desk = Desk::new(20);
    for id in 0..2000 {
        assert_eq!(desk.piece4(id, (0, X, true)), Fate::Held);
        assert!(matches!(desk.piece4(id, (8, Z, false)), Fate::Whole(_)));
        assert!(desk.fragments.order.len() <= 2 * 20 + 65);
    }
    assert_eq!((desk.fragments.held(), desk.pool.outstanding(), desk.fragments.datagrams.len()), (0, 0, 0));
}

#[test]
fn broken_datagrams_do_not_keep_others_out() {
    let mut desk = Desk::new(20);
    for id in 0..100 {
        desk.piece4(id, (0, X, true));
        assert_eq!(desk.piece4(id, (0, Y, true)), OVERLAP);
        desk.collect();
    }
    assert!(desk.fragments.datagrams.len() <= 20);
    assert_eq!(desk.take(&Frame::fragment4(B4, A4, PROTOCOL, 1, 0, true, X), 2).0, Fate::Held);
}

#[test]
fn the_whole_has_the_headers_of_an_unfragmented_packet() {
    let sent = Frame::udp(A4, 1000, B4, 53, &[b'u'; 3000]);
    let payload = &sent.bytes[34..];
    let mut desk = Desk::new(100);
    let mut whole = None;
    for (at, chunk) in payload.chunks(1480).enumerate() {
        let more = (at + 1) * 1480 < payload.len();
        let frame = Frame::fragment4(A4, B4, 17, 0x1234, at as u16 * 1480, more, chunk);
        whole = desk.take(&frame, 3).1.or(whole);
    }
    let whole = whole.unwrap();
    assert_eq!(whole.bytes(), sent.bytes);
    assert_eq!(whole.offload.segmentation, Segmentation::Fragments { size: 1500, id: 0x1234 });
    assert_eq!((whole.offload.checksum, whole.port), (Checksum::Complete, PortId(3)));
    assert!(weir_wire::checksum::verify_l4(&whole));
}

#[test]
fn the_fragment_header_is_taken_out_behind_other_extension_headers() {
    // Hop-by-hop options, then the fragment header.
    let piece = |offset: u16, more: bool, data: &[u8]| {
        let mut payload = vec![PROTOCOL_FRAGMENT, 0, 1, 4, 0, 0, 0, 0, PROTOCOL, 0];
        payload.extend_from_slice(&(offset | u16::from(more)).to_be_bytes());
        payload.extend_from_slice(&[0, 0, 0, 7]);
        payload.extend_from_slice(data);
        Frame::ip(A6, B6, 0, &payload)
    };
    let mut desk = Desk::new(100);
    assert_eq!(desk.take(&piece(8, false, Z), 1).0, Fate::Held);
    let whole = desk.take(&piece(0, true, X), 1).1.unwrap();
    assert_eq!(whole.bytes(), Frame::ip(A6, B6, 0, b"\xfd\0\x01\x04\0\0\0\0xxxxxxxxzz").bytes);
    assert_eq!((whole.headers.protocol, whole.headers.fragment), (PROTOCOL, Fragment::No));
}

#[test]
fn a_whole_that_cannot_be_parsed_is_dropped_with_its_pieces() {
    // A UDP length that exceeds the datagram: seen only in the whole.
    let mut header = vec![0, 1, 0, 2, 0xff, 0, 0, 0];
    header.extend_from_slice(X);
    let mut desk = Desk::new(100);
    assert_eq!(desk.take(&Frame::fragment4(A4, B4, 17, 1, 0, true, &header), 1).0, Fate::Held);
    assert_eq!(desk.take(&Frame::fragment4(A4, B4, 17, 1, 16, false, Z), 1).0, Fate::Refused(DropReason::BadUdp));
    assert_eq!(desk.collect(), [DropReason::BadUdp]);
    assert_eq!(desk.pool.outstanding(), 0);
}
