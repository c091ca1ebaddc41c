use std::io::Write;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Decompress, FlushDecompress, Status};

use super::*;

/// What came of it: how it went, and all that came out.
type Outcome = (Went, Vec<u8>, usize);

/// Undoes bytes in pieces of these sizes, in turns: with the instructions of this processor and without, alike.
fn ours(bytes: &[u8], sizes: &[usize]) -> Outcome {
    let outcome = undone(Inflate::new(), bytes, sizes);
    assert_eq!(outcome, undone(plain(), bytes, sizes));
    outcome
}

/// One that keeps to the instructions that all processors have.
fn plain() -> Inflate {
    Inflate {
        #[cfg(target_arch = "x86_64")]
        shifts: None,
        ..Inflate::new()
    }
}

fn undone(mut inflate: Inflate, bytes: &[u8], sizes: &[usize]) -> Outcome {
    let (mut out, mut used) = (Vec::new(), 0);
    let mut rest = bytes;
    for &size in sizes.iter().cycle() {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        let (went, taken) = inflate.write(piece, &mut |fresh| {
            assert!(!fresh.is_empty() && fresh.len() <= STEP + BEHIND);
            out.extend_from_slice(fresh);
            true
        });
        used += taken;
        if went != Went::All || after.is_empty() {
            return (went, out, used);
        }
        assert_eq!(taken, piece.len());
        rest = after;
    }
    unreachable!()
}

/// What zlib makes of it.
fn theirs(bytes: &[u8]) -> Outcome {
    let (mut inflate, mut out) = (Decompress::new(false), Vec::new());
    let mut room = vec![0xa5; 1 << 16];
    loop {
        let (taken, made) = (inflate.total_in() as usize, inflate.total_out());
        let went = inflate.decompress(&bytes[taken..], &mut room, FlushDecompress::Sync);
        let fresh = (inflate.total_out() - made) as usize;
        out.extend_from_slice(&room[..fresh]);
        let used = inflate.total_in() as usize;
        match went {
            Err(_) => return (Went::Error, out, used),
            Ok(Status::StreamEnd) => return (Went::End, out, used),
            Ok(_) if fresh < room.len() && used == bytes.len() || fresh == 0 && used == taken => {
                return (Went::All, out, used);
            }
            Ok(_) => {}
        }
    }
}

fn random(seed: &mut u64, below: usize) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize % below
}

/// Texts of all kinds, by a seed: words, noise, repetitions near and far.
fn text(seed: &mut u64) -> Vec<u8> {
    const WORDS: [&[u8]; 8] =
        [b"the ", b"<div>", b"window ", b"a", b"\r\n", b"contents of a page ", b"\0\0\0\0", b"zzzzzz"];
    let (mut text, parts, kind) = (Vec::new(), random(seed, 4000), random(seed, 5));
    for _ in 0..parts {
        match (kind, random(seed, 10)) {
            (0, _) => text.push(random(seed, 256) as u8),
            (1, 0..5) | (2, _) => text.extend_from_slice(WORDS[random(seed, WORDS.len())]),
            (3, 0) => text.extend(std::iter::repeat_n(random(seed, 256) as u8, random(seed, 700))),
            (4, 0..2) if !text.is_empty() => {
                let from = random(seed, text.len());
                let to = (from + random(seed, 400)).min(text.len());
                text.extend_from_within(from..to);
            }
            _ => text.push(b"etaoin shrdlu"[random(seed, 13)]),
        }
    }
    text
}

fn packed(text: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn what_was_deflated_comes_out_whole_however_it_is_cut() {
    let mut seed = 1;
    for run in 0..120 {
        let text = text(&mut seed);
        let bytes = [packed(&text, run % 10), b"behind".to_vec()].concat();
        let length = bytes.len() - 6;
        for sizes in [&[usize::MAX][..], &[1], &[7, 1, 900], &[1448], &[5000, 3]] {
            let (went, out, used) = ours(&bytes, sizes);
            assert_eq!((went, out == text), (Went::End, true), "{run} {sizes:?}");
            assert_eq!(used, length, "{run} {sizes:?}");
        }
    }
}

#[test]
fn broken_streams_end_where_zlib_ends_them() {
    let mut seed = 2;
    let mut ends = [0; 3];
    for run in 0..3000 {
        let mut bytes = match random(&mut seed, 4) {
            0 => (0..random(&mut seed, 300)).map(|_| random(&mut seed, 256) as u8).collect(),
            level => packed(&text(&mut seed), level as u32 * 3),
        };
        for _ in 0..=random(&mut seed, 3) {
            let at = random(&mut seed, bytes.len() + 1);
            match random(&mut seed, 3) {
                0 => bytes.truncate(at),
                1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random(&mut seed, 8)),
                _ => bytes.insert(at, random(&mut seed, 256) as u8),
            }
        }
        if bytes.is_empty() {
            continue;
        }
        let (went, out, used) = theirs(&bytes);
        ends[match went {
            Went::All | Went::Stopped => 0,
            Went::End => 1,
            Went::Error => 2,
        }] += 1;
        for sizes in [&[usize::MAX][..], &[1], &[3, 500]] {
            let (ours, made, taken) = ours(&bytes, sizes);
            assert_eq!(ours, went, "{run} {sizes:?}");
            assert_eq!(made.len(), out.len(), "{run} {sizes:?}");
            assert!(made == out, "{run} {sizes:?}");
            assert!(went == Went::Error || taken == used, "{run} {sizes:?}: {taken} {used}");
        }
    }
    assert!(ends.iter().all(|&count| count > 50), "{ends:?}");
}

#[test]
fn long_texts_pass_through_a_bounded_window() {
    let mut seed = 3;
    let mut text = Vec::new();
    while text.len() < 3 << 20 {
        let from = random(&mut seed, text.len() + 1).max(text.len().saturating_sub(32_760));
        text.extend_from_within(from..(from + random(&mut seed, 258)).min(text.len()));
        text.extend((0..random(&mut seed, 40)).map(|_| random(&mut seed, 256) as u8));
    }
    let bytes = packed(&text, 9);
    let mut inflate = Inflate::new();
    let mut out = Vec::new();
    for piece in bytes.chunks(1400) {
        inflate.write(piece, &mut |fresh| {
            out.extend_from_slice(fresh);
            true
        });
        assert!(inflate.window.capacity() <= BUFFER);
    }
    assert!(out == text);
    inflate.reset();
    assert_eq!(inflate.write(&packed(b"another", 6), &mut |fresh| fresh == b"another").0, Went::End);
}

#[test]
fn who_takes_no_more_is_given_no_more() {
    let bytes = packed(&[0; 1 << 20], 9);
    let mut calls = 0;
    let (went, _) = Inflate::new().write(&bytes, &mut |_| {
        calls += 1;
        calls < 3
    });
    assert_eq!((went, calls), (Went::Stopped, 3));
}
