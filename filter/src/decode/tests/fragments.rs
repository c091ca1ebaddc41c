//! Fragments: overlaps by policy, order, bounds.

use super::layers::{Seen, seen};
use super::*;
use crate::hosts::Hosts;

/// Letter, length, offset; the last of the list ends the datagram. The vectors of Sturges and Novak.
const NOVAK: &[(u8, usize, u16)] = &[
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

fn v4(id: u16, offset: u16, more: bool, data: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + data.len() as u16).to_be_bytes());
    packet.extend(id.to_be_bytes());
    packet.extend(((offset / 8) | if more { 0x2000 } else { 0 }).to_be_bytes());
    packet.extend([64, 253, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let sum = !weir_wire::checksum::sum(&packet).fold();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(data);
    packet
}

fn v6(id: u32, offset: u16, more: bool, data: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((8 + data.len() as u16).to_be_bytes());
    packet.extend([44, 64]);
    packet.extend([1; 32]);
    packet.extend([253, 0]);
    packet.extend((offset | u16::from(more)).to_be_bytes());
    packet.extend(id.to_be_bytes());
    packet.extend(data);
    packet
}

fn decoder(policy: Policy) -> Decoder {
    let defrag = defrag::Settings { policy: Hosts::all(policy), ..defrag::Settings::default() };
    Decoder::new(Settings { defrag, ..Settings::default() })
}

fn feed(decoder: &mut Decoder, at: u64, packet: &[u8]) -> Vec<Seen> {
    let mut all = Vec::new();
    decoder.decode(Link::Raw, packet, Instant::from_secs(at), &mut |view| {
        all.push(seen(view));
        Taken::Passed
    });
    all
}

fn novak(policy: Policy, packet: impl Fn(u16, bool, &[u8]) -> Vec<u8>) -> String {
    let mut decoder = decoder(policy);
    let mut whole = Vec::new();
    for (i, &(letter, length, offset)) in NOVAK.iter().enumerate() {
        let all = feed(&mut decoder, 0, &packet(offset, i + 1 < NOVAK.len(), &vec![letter; length]));
        if let [first, _] = &all[..] {
            whole = first.payload.clone();
        }
    }
    assert_eq!(decoder.defrag().waiting(), 0);
    whole.chunks(8).map(|unit| char::from(unit[0])).collect()
}

#[test]
fn the_receiver_says_which_policy_counts() {
    // `v4` goes to 10.0.0.2.
    let mut policy = Hosts::all(Policy::First);
    policy.set("10.0.0.2".parse().unwrap(), Policy::Last);
    let mut decoder = Decoder::new(Settings {
        defrag: defrag::Settings { policy, ..defrag::Settings::default() },
        ..Settings::default()
    });
    let mut whole = Vec::new();
    for (i, &(letter, length, offset)) in NOVAK.iter().enumerate() {
        let all = feed(&mut decoder, 0, &v4(7, offset, i + 1 < NOVAK.len(), &vec![letter; length]));
        if let [first, _] = &all[..] {
            whole = first.payload.clone();
        }
    }
    assert_eq!(whole.chunks(8).map(|unit| char::from(unit[0])).collect::<String>(), "AJJJJBKKKLLLMMMFNFGOPHQQ");
}

#[test]
fn overlaps_come_out_as_each_policy_says() {
    for (policy, wanted) in [
        (Policy::Bsd, "AAAJJBCCCLLLMMMFFFGGHHIQ"),
        (Policy::Linux, "AAAJJBKKKLLLMMMFFFGGPHQQ"),
        (Policy::Windows, "AAAJBBCCCLLLMEEFFFGGHHIQ"),
        (Policy::Solaris, "AAAJBBCCCLLLMMMFFFGGHHIQ"),
        (Policy::First, "AAAJBBCCCLDLMEEFFFGGHHIQ"),
        (Policy::Last, "AJJJJBKKKLLLMMMFNFGOPHQQ"),
    ] {
        assert_eq!(novak(policy, |offset, more, data| v4(7, offset, more, data)), wanted, "{policy:?}");
        assert_eq!(novak(policy, |offset, more, data| v6(7, offset, more, data)), wanted, "{policy:?} over IPv6");
    }
}

#[test]
fn order_does_not_matter_without_overlaps_and_holes_are_never_filled() {
    let text: Vec<u8> = (0..200u8).collect();
    let pieces: Vec<Vec<u8>> = text.chunks(40).enumerate().map(|(i, c)| v4(9, i as u16 * 40, i < 4, c)).collect();
    for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 4, 0, 3, 1]] {
        let mut decoder = decoder(Policy::Windows);
        let mut got = Vec::new();
        for (n, &i) in order.iter().enumerate() {
            let all = feed(&mut decoder, 0, &pieces[i]);
            assert_eq!(all.len(), if n == 4 { 2 } else { 1 });
            assert!(all.last().unwrap().fragment);
            got = all[0].payload.clone();
        }
        assert_eq!(got, text);
    }
    let mut decoder = decoder(Policy::Last);
    for piece in [&pieces[0], &pieces[4], &pieces[2], &pieces[4], &pieces[0]] {
        assert_eq!(feed(&mut decoder, 0, piece).len(), 1);
    }
}

#[test]
fn overlaps_and_lengths_are_told() {
    let mut d = decoder(Policy::Windows);
    assert!(feed(&mut d, 0, &v4(1, 0, true, &[1; 16]))[0].events.is_empty());
    assert_eq!(feed(&mut d, 0, &v4(1, 8, true, &[2; 16]))[0].events, ["ipv4.frag_overlap"]);
    assert_eq!(feed(&mut d, 0, &v4(1, 65_528, true, &[2; 16]))[0].events, ["ipv4.frag_pkt_too_large"]);
    assert_eq!(feed(&mut d, 0, &v6(1, 0, true, &[1; 9]))[0].events, ["ipv6.frag_invalid_length"]);
    assert_eq!(feed(&mut d, 0, &v6(2, 0, false, &[1; 9]))[0].events[0], "ipv6.exthdr_useless_fh");
}

#[test]
fn a_number_is_free_again_after_the_timeout() {
    let mut d = decoder(Policy::Windows);
    feed(&mut d, 0, &v4(1, 0, true, &[1; 16]));
    assert_eq!(feed(&mut d, 61, &v4(1, 16, false, &[2; 8])).len(), 1);
    assert_eq!((d.defrag().waiting(), d.defrag().given_up), (1, 1));
    assert_eq!(feed(&mut d, 62, &v4(1, 0, true, &[3; 16]))[0].payload, [&[3u8; 16][..], &[2; 8]].concat());
}

#[test]
fn limits_hold_whatever_comes() {
    let defrag = defrag::Settings { trackers: 4, memory: 100, pieces: 3, ..defrag::Settings::default() };
    let mut d = Decoder::new(Settings { defrag, ..Settings::default() });
    for id in 0..50 {
        feed(&mut d, 0, &v4(id, 0, true, &[1; 32]));
        assert!(d.defrag().waiting() <= 3);
    }
    for offset in 0..3 {
        feed(&mut d, 0, &v4(77, offset * 8, true, &[1; 8]));
    }
    assert_eq!(feed(&mut d, 0, &v4(77, 24, false, &[1; 8]))[0].events, ["ipv4.frag_ignored"]);
    assert_eq!(d.defrag().ignored, 1);
}
