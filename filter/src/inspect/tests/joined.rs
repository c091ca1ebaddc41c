//! Segments in order are searched once for the rules on packets and those on streams: each is found as if by itself.

use super::harness::*;

const RULES: &str = r#"
alert tcp any any -> any 99 (content:"on the stream"; sid:1;)
alert tcp any any -> any 99 (flags:PA; content:"packet alone"; sid:2;)
alert tcp any any -> any 99 (dsize:>600; content:"placed"; offset:4; depth:6; sid:3;)
alert tcp any any -> any 99 (dsize:>600; content:"xy"; content:"behind it"; distance:0; sid:4;)
alert tcp any any -> any 99 (dsize:<600; content:"few bytes"; sid:5;)
alert tcp any any -> any 99 (dsize:>600; content:!"filler"; sid:6;)
"#;

/// So many bytes with these among them.
fn payload(length: usize, parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = b"filler ".iter().copied().cycle().take(length).collect::<Vec<u8>>();
    for &(at, part) in parts {
        bytes[at..at + part.len()].copy_from_slice(part);
    }
    bytes
}

#[test]
fn all_that_is_asked_of_a_segment_is_found_in_it() {
    let found = |length, parts: &[(usize, &[u8])]| {
        let mut c = Conversation::tcp(&program(RULES), 99);
        c.data(CLIENT, 0, b"begin ").passes();
        c.data(CLIENT, 6, &payload(length, parts)).sids
    };
    assert_eq!(found(1400, &[]), []);
    assert_eq!(found(1400, &[(900, b"on the stream")]), [1]);
    assert_eq!(found(1400, &[(1388, b"packet alone")]), [2]);
    assert_eq!(found(1400, &[(4, b"placed")]), [3]);
    assert_eq!(found(1400, &[(5, b"placed")]), []);
    assert_eq!(found(1400, &[(20, b"xy"), (30, b"behind it")]), [4]);
    assert_eq!(found(1400, &[(30, b"xy"), (20, b"behind it")]), []);
    assert_eq!(found(1400, &[(30, b"few bytes")]), []);
    assert_eq!(found(599, &[(30, b"few bytes")]), [5]);
    assert_eq!(found(513, &[(0, b"packet alone"), (40, b"on the stream")]), [1, 2]);
    assert_eq!(found(512, &[(0, b"packet alone"), (40, b"on the stream")]), [1, 2]);
}

#[test]
fn what_stands_in_two_packets_is_on_the_stream_alone() {
    for (text, sids) in [("on the stream", &[1][..]), ("packet alone", &[]), ("....placed", &[])] {
        let (first, second) = text.as_bytes().split_at(text.len() / 2);
        let mut c = Conversation::tcp(&program(RULES), 99);
        c.data(CLIENT, 0, &payload(1000, &[(1000 - first.len(), first)])).passes();
        let told = c.data(CLIENT, 1000, &payload(1000, &[(0, second)]));
        assert_eq!(told.sids, sids, "{text}");
    }
}

#[test]
fn a_packet_that_is_not_what_the_stream_grew_by_is_searched_by_itself() {
    // A part of it was there before; and it fills a gap, so that more becomes readable.
    let mut c = Conversation::tcp(&program(RULES), 99);
    let all = payload(1400, &[(4, b"placed"), (1388, b"packet alone")]);
    c.data(CLIENT, 0, &all[..100]).passes();
    assert_eq!(c.data(CLIENT, 0, &all).sids, [2, 3]);
    let mut c = Conversation::tcp(&program(RULES), 99);
    c.data(CLIENT, 1400, &payload(700, &[])).passes();
    assert_eq!(c.data(CLIENT, 0, &all).sids, [2, 3]);
}
