//! However an attack is cut, ordered and repeated, the segment that completes it is refused.

use super::harness::*;
use crate::inspect::Judgement;

const DROP: &str = r#"drop tcp any any -> any 80 (msg:"one"; content:"/etc/passwd"; sid:1;)"#;
const CHAIN: &str = r#"drop tcp any any -> any 80 (content:"POST"; depth:4; content:"cmd="; distance:1; content:"bash"; within:12; pcre:"/^\s+-i/R"; sid:2;)"#;
const CHAINED: &[u8] = b"POST /x?cmd=/bin/bash  -i";

/// The offsets of the segments, in the order they are sent, and the attack's bytes at them.
fn send(rule: &str, text: &[u8], pieces: &[(usize, usize)]) -> Vec<Judgement> {
    let mut c = Conversation::tcp(&program(rule), 80);
    pieces.iter().map(|&(from, to)| c.data(CLIENT, from as u32, &text[from..to]).judgement).collect()
}

fn completes(rule: &str, text: &[u8]) {
    let n = text.len();
    for a in 0..=n {
        for b in a..=n {
            let pieces: Vec<_> = [(0, a), (a, b), (b, n)].into_iter().filter(|(x, y)| x < y).collect();
            let mut expected = vec![Judgement::Pass; pieces.len()];
            *expected.last_mut().unwrap() = Judgement::Drop;
            assert_eq!(send(rule, text, &pieces), expected, "in order {pieces:?}");
            let backwards: Vec<_> = pieces.iter().rev().copied().collect();
            assert_eq!(send(rule, text, &backwards), expected, "backwards {pieces:?}");
            let doubled: Vec<_> = pieces.iter().flat_map(|&p| [p, p]).collect();
            let judged = send(rule, text, &doubled);
            assert_eq!(judged[judged.len() - 2], Judgement::Drop, "doubled {pieces:?}");
            assert!(judged[..judged.len() - 2].iter().all(|&j| j == Judgement::Pass));
        }
    }
}

#[test]
fn one_content_at_every_split_into_three_in_any_order() {
    completes(DROP, b"/etc/passwd");
}

#[test]
fn a_chain_of_conditions_at_every_split_into_three_in_any_order() {
    completes(CHAIN, CHAINED);
}

#[test]
fn one_byte_at_a_time_the_last_byte_is_refused() {
    for (rule, text) in [(DROP, b"GET /etc/passwd".as_slice()), (CHAIN, CHAINED)] {
        let pieces: Vec<_> = (0..text.len()).map(|i| (i, i + 1)).collect();
        let judged = send(rule, text, &pieces);
        assert_eq!(judged.iter().position(|&j| j == Judgement::Drop), Some(text.len() - 1));
    }
}

#[test]
fn the_stream_may_wrap_around_at_every_byte() {
    for before in 0..20u32 {
        let mut c = Conversation::tcp_from(&program(DROP), 80, [0u32.wrapping_sub(before + 1), 7]);
        c.data(CLIENT, 0, b"GET /e").passes();
        c.data(CLIENT, 6, b"tc/pass").passes();
        c.data(CLIENT, 13, b"wd").is(Judgement::Drop, &[1]);
    }
}

#[test]
fn overlapping_segments_complete_it_too() {
    let text = b"x/etc/passwd";
    let judged = send(DROP, text, &[(0, 7), (4, 10), (2, 12)]);
    assert_eq!(judged, [Judgement::Pass, Judgement::Pass, Judgement::Drop]);
}

#[test]
fn the_rest_of_a_long_content_may_come_later_than_its_fast_pattern() {
    let rule = r#"drop tcp any any -> any 80 (content:"0123456789abcdef"; fast_pattern:0,4; sid:1;)"#;
    completes(rule, b"0123456789abcdef");
}

/// Any bytes of a small alphabet, cut and shuffled by a seed, against a search over the whole text.
#[test]
fn random_orders_agree_with_a_search_over_the_whole() {
    let rule = r#"drop tcp any any -> any 80 (content:"abab"; sid:1;) "#;
    let program = program(rule);
    for seed in 1..400u32 {
        let mut state = seed;
        let mut random = move |n: u32| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state % n
        };
        let length = 5 + random(30);
        let text: Vec<u8> = (0..length).map(|_| b"abc"[random(3) as usize]).collect();
        let mut c = Conversation::tcp(&program, 80);
        let mut delivered = vec![false; text.len()];
        for step in 0..200 {
            let from = random(length);
            let to = (from + 1 + random(6)).min(length);
            let told = c.data(CLIENT, from, &text[from as usize..to as usize]);
            let mut after = delivered.clone();
            after[from as usize..to as usize].fill(true);
            let readable = after.iter().take_while(|&&d| d).count();
            let forbidden = text[..readable].windows(4).any(|w| w == b"abab");
            let expected = if forbidden { Judgement::Drop } else { Judgement::Pass };
            assert_eq!(told.judgement, expected, "seed {seed}, step {step}, {from}..{to} of {text:?}");
            if forbidden || readable == text.len() {
                break;
            }
            delivered = after;
        }
    }
}
