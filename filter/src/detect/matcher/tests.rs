use super::*;
use aho_corasick::AhoCorasick;

struct Random(u32);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 % n
    }

    fn bytes(&mut self, length: u32, alphabet: &[u8]) -> Vec<u8> {
        (0..length).map(|_| alphabet[self.below(alphabet.len() as u32) as usize]).collect()
    }
}

/// What Aho and Corasick's automaton finds.
fn oracle(patterns: &[Vec<u8>], text: &[u8], fresh: usize) -> Vec<(usize, usize)> {
    let automaton = AhoCorasick::builder().ascii_case_insensitive(true).build(patterns).unwrap();
    let hits = automaton.find_overlapping_iter(text).map(|m| (m.pattern().as_usize(), m.end()));
    let mut hits: Vec<_> = hits.filter(|&(_, end)| end > fresh).collect();
    hits.sort_unstable();
    hits
}

/// A search for patterns that may lie anywhere.
fn anywhere(patterns: &[Vec<u8>]) -> Option<Matcher> {
    anywhere_of(patterns, FEW)
}

/// The same, where so many patterns are few.
fn anywhere_of(patterns: &[Vec<u8>], few: usize) -> Option<Matcher> {
    anywhere_with(patterns, few, Vectors::best())
}

/// The same, with these instructions.
fn anywhere_with(patterns: &[Vec<u8>], few: usize, vectors: Vectors) -> Option<Matcher> {
    let lower: Vec<Vec<u8>> = patterns.iter().map(|pattern| pattern.to_ascii_lowercase()).collect();
    let all: Vec<Pattern<'_>> = lower.iter().map(|bytes| Pattern { bytes, caseless: true, area: Area::ALL }).collect();
    Matcher::with_few(&all, few, vectors)
}

/// The instructions that this processor has.
fn instructions() -> Vec<Vectors> {
    #[cfg(target_arch = "x86_64")]
    let small = pulp::x86::V3::try_new().map(Vectors::V3);
    #[cfg(not(target_arch = "x86_64"))]
    let small = None;
    [Some(Vectors::None), small, Some(Vectors::best())].into_iter().flatten().collect()
}

fn found(matcher: &Matcher, text: &[u8], fresh: usize) -> Vec<(usize, usize)> {
    let mut hits = Vec::new();
    matcher.scan(text, fresh, &[0], |pattern, end| hits.push((pattern, end)));
    hits.sort_unstable();
    hits
}

#[test]
fn it_finds_what_an_automaton_finds() {
    let mut random = Random(77);
    for round in 0..2000 {
        let alphabet: &[u8] = if round % 2 == 0 { b"aAbB" } else { b"abc@`[{\x00\x20\xffXYZ" };
        let shortest = [1, 2, 5][round % 3];
        let patterns: Vec<Vec<u8>> = (0..1 + random.below(6))
            .map(|_| {
                let n = shortest + random.below(9);
                random.bytes(n, alphabet)
            })
            .collect();
        let n = random.below(60);
        let text = random.bytes(n, alphabet);
        let fresh = random.below(n + 1) as usize;
        let expected = oracle(&patterns, &text, fresh);
        for few in [0, FEW] {
            let Some(matcher) = anywhere_of(&patterns, few) else { panic!("{patterns:?}") };
            assert_eq!(found(&matcher, &text, fresh), expected, "{patterns:?} in {text:?} from {fresh}");
        }
    }
}

#[test]
fn what_is_to_stand_there_in_its_case_is_found_in_no_other() {
    let mut random = Random(13);
    for _ in 0..2000 {
        let written: Vec<(Vec<u8>, bool)> = (0..1 + random.below(8))
            .map(|_| {
                let n = 1 + random.below(9);
                (random.bytes(n, b"aAbB"), random.below(2) == 0)
            })
            .map(|(bytes, caseless)| if caseless { (bytes.to_ascii_lowercase(), true) } else { (bytes, false) })
            .collect();
        let area = match random.below(2) {
            0 => Area::ALL,
            _ => Area { from: 0, to: 10 },
        };
        let patterns: Vec<Pattern<'_>> =
            written.iter().map(|(bytes, caseless)| Pattern { bytes, caseless: *caseless, area }).collect();
        let n = random.below(40);
        let text = random.bytes(n, b"aAbB");
        let bytes: Vec<Vec<u8>> = written.iter().map(|(bytes, _)| bytes.clone()).collect();
        let stands = |&(number, end): &(usize, usize)| {
            let there = &text[end - bytes[number].len()..end];
            written[number].1 || there == bytes[number]
        };
        let mut expected = oracle(&bytes, &text, 0);
        expected.retain(|hit| stands(hit) && (area == Area::ALL || hit.1 <= 10));
        for (few, vectors) in [0, FEW].into_iter().flat_map(|few| instructions().into_iter().map(move |v| (few, v))) {
            let matcher = Matcher::with_few(&patterns, few, vectors).unwrap();
            assert_eq!(found(&matcher, &text, 0), expected, "{patterns:?} in {text:?}");
        }
    }
}

#[test]
fn patterns_with_few_places_are_found_there_and_nowhere_else() {
    let mut random = Random(9);
    for round in 0..2000 {
        let bytes: Vec<Vec<u8>> = (0..1 + random.below(8))
            .map(|_| {
                let n = 1 + random.below(5);
                random.bytes(n, b"ab\x00 ")
            })
            .collect();
        let patterns: Vec<Pattern<'_>> = bytes
            .iter()
            .map(|bytes| {
                let from = random.below(6);
                let to = from + bytes.len() as u32 + random.below(40);
                Pattern { bytes, caseless: true, area: Area { from, to } }
            })
            .collect();
        let n = random.below(40);
        let text = random.bytes(n, b"abAB\x00 ");
        let starts = [0, random.below(n + 1) as usize];
        let fresh = random.below(n + 1) as usize;
        let matcher = Matcher::new(&patterns).unwrap();
        let mut hits = Vec::new();
        matcher.scan(&text, fresh, &starts, |pattern, end| hits.push((pattern, end)));
        for (number, end) in oracle(&bytes, &text, fresh) {
            let Pattern { bytes, area, .. } = patterns[number];
            let fits = |start: &usize| {
                let (from, to) = (start + area.from as usize, start + area.to as usize);
                end - bytes.len() >= from && end <= to
            };
            let placed = area.to - area.from - (bytes.len() as u32) < 32;
            assert!(!starts.iter().any(&fits) || hits.contains(&(number, end)), "{round} {patterns:?} {text:?}");
            assert!(!placed || starts.iter().any(fits) || !hits.contains(&(number, end)), "{round} {patterns:?}");
        }
    }
}

#[test]
fn cut_anywhere_each_hit_is_told_once() {
    let patterns = [b"abcd".to_vec(), b"bc".to_vec(), b"CDabcdE".to_vec(), b"x".to_vec()];
    let text = b"xABCDabcdabcdex";
    for matcher in [0, FEW].map(|few| anywhere_of(&patterns, few).unwrap()) {
        cut_anywhere(&matcher, &patterns, text);
    }
}

fn cut_anywhere(matcher: &Matcher, patterns: &[Vec<u8>], text: &[u8]) {
    let whole = found(matcher, text, 0);
    assert_eq!(whole, oracle(patterns, text, 0));
    for cut in 0..=text.len() {
        let behind = cut.saturating_sub(matcher.longest - 1);
        let mut parts = found(matcher, &text[..cut], 0);
        let second = found(matcher, &text[behind..], cut - behind);
        parts.extend(second.into_iter().map(|(p, end)| (p, end + behind)));
        parts.sort_unstable();
        assert_eq!(parts, whole, "{cut}");
    }
}

#[test]
fn thousands_of_patterns_are_found_too() {
    let mut random = Random(5);
    let patterns: Vec<Vec<u8>> = (0..5000)
        .map(|_| {
            let n = 4 + random.below(20);
            random.bytes(n, b"abcdefghijklmnopqrstuvwxyz/.=0123456789")
        })
        .collect();
    let matcher = anywhere(&patterns).unwrap();
    let mut text = random.bytes(20_000, b"abcdefghijklmnopqrstuvwxyz/.=0123456789 ");
    for i in 0..100 {
        let at = random.below(19_000) as usize;
        let pattern = &patterns[i * 50];
        text[at..at + pattern.len()].copy_from_slice(&pattern.to_ascii_uppercase());
    }
    let hits = found(&matcher, &text, 0);
    assert_eq!(hits, oracle(&patterns, &text, 0));
    assert!(hits.len() > 50);
}

#[test]
fn patterns_that_are_too_much_alike_are_refused() {
    // Folding takes a zero for a space.
    let alike: Vec<Vec<u8>> = (0..=u8::MAX).map(|i| (0..8).map(|bit| (i >> bit & 1) << 5).collect()).collect();
    assert!(anywhere(&alike).is_none());
    assert!(Matcher::new(&[]).is_none());
    assert!(anywhere(&[vec![]]).is_none());
}

#[test]
fn all_instructions_find_the_same() {
    let mut random = Random(31);
    for round in 0..400 {
        let alphabet: &[u8] = if round % 2 == 0 { b"abAB" } else { b"abcdefgh\x00 .=" };
        let patterns: Vec<Vec<u8>> = (0..1 + random.below(300))
            .map(|_| {
                let n = 1 + random.below(14);
                random.bytes(n, alphabet)
            })
            .collect();
        let n = random.below(900);
        let text = random.bytes(n, alphabet);
        let fresh = random.below(n + 1) as usize;
        let few = [0, FEW][round / 2 % 2];
        let expected = oracle(&patterns, &text, fresh);
        for vectors in instructions() {
            let Some(mut matcher) = anywhere_with(&patterns, few, vectors) else { continue };
            assert_eq!(found(&matcher, &text, fresh), expected, "{vectors:?}");
            (matcher.shorts, matcher.wide) = (None, None);
            assert_eq!(found(&matcher, &text, fresh), expected, "{vectors:?} without a filter in front");
        }
    }
}

#[test]
fn a_filter_in_front_tells_places_apart() {
    let patterns: Vec<Vec<u8>> = [&b".exe"[..], b"%PDF", b"MZ\x90\0", b"wget "].map(<[u8]>::to_vec).into();
    let text = b"It was a bright cold day in April, and the clocks were striking thirteen.".repeat(4);
    let block: &[u8; BLOCK + LOAD] = text.first_chunk().unwrap();
    for vectors in instructions() {
        let matcher = anywhere_with(&patterns, FEW, vectors).unwrap();
        let noted = match vectors {
            Vectors::None => Plain.shorts(&matcher, block, BLOCK),
            #[cfg(target_arch = "x86_64")]
            Vectors::V3(vectors) => vectors.vectorize(|| vectors.shorts(&matcher, block, BLOCK)),
            #[cfg(target_arch = "x86_64")]
            Vectors::V4(vectors) => vectors.vectorize(|| vectors.shorts(&matcher, block, BLOCK)),
        };
        assert_eq!(noted, [0; BLOCK / ROW], "{vectors:?}");
    }
}

#[test]
fn patterns_that_share_four_bytes_are_told_apart_by_six() {
    // More than a crowd of names under one domain, whose last four bytes are a window of each.
    let mut random = Random(3);
    let patterns: Vec<Vec<u8>> = (0..400u32)
        .map(|n| {
            let mut name = format!("{n:03}").into_bytes();
            name.extend(random.bytes(2, b"qwxz"));
            name.extend(b".com");
            name
        })
        .collect();
    let matcher = anywhere(&patterns).expect("few of them share six bytes");
    let text = patterns.concat();
    assert_eq!(found(&matcher, &text, 0), oracle(&patterns, &text, 0));
}

#[test]
fn long_texts_are_searched_to_their_end_however_many_windows_they_have() {
    let patterns: Vec<Vec<u8>> = [&b"needle in a haystack"[..], b"another", b"xyz"].map(<[u8]>::to_vec).into();
    let mut random = Random(77);
    // Windows of patterns at few places of what is long, then at nearly all.
    for (filling, gap) in [(&b". "[..], 5000), (b"needle in a h", 40)] {
        let mut text = Vec::new();
        while text.len() < 120_000 {
            let length = random.below(gap) as usize;
            text.extend(filling.iter().cycle().take(length));
            text.extend(&patterns[random.below(3) as usize]);
        }
        for vectors in instructions() {
            let matcher = anywhere_with(&patterns, 0, vectors).unwrap();
            for fresh in [0, 1, 70_001] {
                assert_eq!(found(&matcher, &text, fresh), oracle(&patterns, &text, fresh));
            }
        }
    }
}
