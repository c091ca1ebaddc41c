//! One direction's bytes: order, overlaps, holes, urgent bytes, bounds.

use super::super::stream::{Bytes, Manner, Rules};
use super::*;

fn manner(inline: bool, overlap: Overlap) -> Manner {
    Manner { inline, overlap, depth: 0, held: 1 << 20 }
}

/// All that is handed on up to the end.
fn drain(bytes: &mut Bytes) -> Vec<u8> {
    let end = bytes.next();
    let text = bytes.ready(end, 0).map(|ready| ready.text[ready.fresh..].to_vec()).unwrap_or_default();
    bytes.handed_on(end, 0, Rules::Looked);
    text
}

/// Letter, length, place; the vectors of Sturges and Novak, with the first byte at last.
const NOVAK: &[(u8, usize, u64)] = &[
    (b'A', 3, 1),
    (b'B', 2, 5),
    (b'C', 3, 7),
    (b'D', 1, 11),
    (b'E', 2, 14),
    (b'F', 3, 16),
    (b'G', 2, 19),
    (b'H', 2, 21),
    (b'I', 1, 23),
    (b'J', 4, 2),
    (b'K', 3, 7),
    (b'L', 3, 10),
    (b'M', 3, 13),
    (b'N', 1, 17),
    (b'O', 1, 20),
    (b'P', 1, 21),
    (b'Q', 2, 23),
    (b'0', 1, 0),
];

#[test]
fn overlaps_come_out_as_each_policy_says() {
    for (overlap, wanted) in [
        (Overlap::Bsd, "0AAAJJBCCCLLLMMMFFFGGHHIQ"),
        (Overlap::Linux, "0AAAJJBCCCLLLMMMFFFGGHHQQ"),
        (Overlap::OldLinux, "0AAAJJBKKKLLLMMMFFFGGHHQQ"),
        (Overlap::First, "0AAAJBBCCCDDLMEEFFFGGHHIQ"),
        (Overlap::Solaris, "0AJJJBBKKKLLLMMMFFFGGHHQQ"),
        (Overlap::Last, "0AJJJJBKKKLLLMMMFNFGOPHQQ"),
    ] {
        let mut bytes = Bytes::default();
        for &(letter, length, place) in NOVAK {
            bytes.take(place, &vec![letter; length], &manner(false, overlap));
        }
        let text = String::from_utf8(drain(&mut bytes)).unwrap();
        let wanted = if overlap == Overlap::First { "0AAAJBBCCCLDLMEEFFFGGHHIQ" } else { wanted };
        assert_eq!(text, wanted, "{overlap:?}");
    }
}

#[test]
fn overlaps_of_bytes_in_order_are_settled_until_they_are_handed_on() {
    let last = manner(false, Overlap::Last);
    let mut bytes = Bytes::default();
    bytes.take(0, b"abcdef", &last);
    assert!(bytes.take(2, b"XY", &last).conflicts);
    bytes.handed_on(3, 0, Rules::Looked);
    assert!(bytes.take(2, b"12", &last).conflicts);
    assert_eq!(drain(&mut bytes), b"2ef");
    let mut bytes = Bytes::default();
    let inline = manner(true, Overlap::Last);
    bytes.take(0, b"abcdef", &inline);
    assert!(bytes.take(2, b"XY", &inline).conflicts);
    assert!(!bytes.take(2, b"cd", &inline).conflicts);
    assert_eq!(drain(&mut bytes), b"abcdef");
}

#[test]
fn any_order_of_segments_gives_the_same_bytes() {
    let text: Vec<u8> = (0..=255).collect();
    let mut state = 7u32;
    for round in 0..50 {
        let mut places: Vec<usize> = (0..64).collect();
        for i in (1..places.len()).rev() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            places.swap(i, state as usize % (i + 1));
        }
        let mut bytes = Bytes::default();
        let mut got = Vec::new();
        for n in places {
            // Segments reach into their neighbours.
            let (from, to) = ((n * 4).saturating_sub(n % 3), (n * 4 + 4 + n % 5).min(256));
            bytes.take(from as u64, &text[from..to], &manner(round % 2 == 0, Overlap::Bsd));
            got.extend(drain(&mut bytes));
        }
        assert_eq!(got, text);
    }
}

#[test]
fn a_hole_is_given_up_up_to_what_came_later() {
    let m = manner(false, Overlap::Bsd);
    let mut bytes = Bytes::default();
    bytes.take(0, b"ab", &m);
    bytes.take(5, b"fg", &m);
    assert_eq!(drain(&mut bytes), b"ab");
    assert_eq!(bytes.give_up(9, &m), 3);
    let ready = bytes.ready(9, 16).unwrap();
    assert_eq!((ready.text, ready.at, ready.fresh, ready.gap), (&b"fg"[..], 5, 0, 3));
}

#[test]
fn urgent_bytes_are_left_out_and_places_go_on() {
    let m = manner(false, Overlap::Bsd);
    let mut bytes = Bytes::default();
    assert!(bytes.leave_out(2));
    bytes.take(0, b"abXcd", &m);
    bytes.take(5, b"e", &m);
    assert_eq!(drain(&mut bytes), b"abcde");
    for place in 100..164 {
        assert!(bytes.leave_out(place));
    }
    assert!(!bytes.leave_out(200));
}

#[test]
fn what_was_handed_on_is_at_hand_for_a_while_and_then_forgotten() {
    let m = manner(true, Overlap::Bsd);
    let mut bytes = Bytes::default();
    for n in 0..1000u64 {
        bytes.take(n * 100, &[n as u8; 100], &m);
        let ready = bytes.ready(u64::MAX, 1000).unwrap();
        assert_eq!((ready.fresh, ready.at), (1000.min(n as usize * 100), (n * 100).saturating_sub(1000)));
        bytes.handed_on(u64::MAX, 1000, Rules::Looked);
        assert!(bytes.memory() < 20_000);
    }
}

#[test]
fn depth_and_room_are_kept() {
    let m = Manner { depth: 10, held: 4, ..manner(false, Overlap::Bsd) };
    let mut bytes = Bytes::default();
    assert!(bytes.take(2, b"12345", &m).no_room);
    assert!(!bytes.take(2, b"1234", &m).no_room);
    bytes.take(0, b"ab", &m);
    assert!(bytes.take(6, b"567890", &m).depth);
    assert_eq!(drain(&mut bytes), b"ab12345678");
    assert!(bytes.take(10, b"x", &m).depth);
    assert_eq!(drain(&mut bytes), b"");
}

#[test]
fn work_grows_with_the_segments_and_not_with_their_square() {
    // Reversed order is the worst for a list; a map takes it in its stride.
    let m = Manner { held: 1 << 22, ..manner(false, Overlap::Bsd) };
    let mut bytes = Bytes::default();
    for n in (1..2000u64).rev() {
        assert!(!bytes.take(n * 8, &[1; 8], &m).no_room);
    }
    bytes.take(0, &[1; 8], &m);
    assert_eq!(drain(&mut bytes).len(), 16_000);
}

#[test]
fn bytes_that_nobody_looks_at_are_counted_and_not_kept() {
    let mut bytes = Bytes::default();
    bytes.take(0, b"abc", &manner(false, Overlap::Bsd));
    assert!(!bytes.is_idle(), "three bytes were not handed on");
    assert!(bytes.pass(3, 1000));
    assert!(bytes.is_idle());
    assert_eq!((bytes.next(), bytes.given(), bytes.memory()), (1003, 1003, 0));
    assert!(bytes.ready(1003, 100).is_none());
    assert!(!bytes.pass(1004, 10), "a hole is not passed over");
    bytes.take(1003, b"de", &manner(false, Overlap::Bsd));
    assert_eq!(drain(&mut bytes), b"de");
    bytes.take(1006, b"g", &manner(false, Overlap::Bsd));
    assert!(!bytes.pass(1005, 1), "what is held goes first");
}
