//! What a stranger's bytes can cost: work in proportion to them, memory within its bounds.

use super::harness::*;
use crate::inspect::Judgement;

/// The work it takes to search this text in segments of this size.
fn cost(rules: &str, text: &[u8], size: usize) -> u64 {
    let mut c = Conversation::tcp(&program(rules), 80);
    for (i, piece) in text.chunks(size).enumerate() {
        let offset = (i * size) as u32;
        let judgement = c.data(CLIENT, offset, piece).judgement;
        assert!(matches!(judgement, Judgement::Pass | Judgement::Limit));
        c.ack(SERVER, offset + piece.len() as u32);
    }
    c.memory.work
}

/// Eight times the text may not cost much more than eight times the work; were it quadratic, it would be 64 times.
#[track_caller]
fn linear(rules: &str, unit: &[u8], size: usize) {
    let text: Vec<u8> = unit.iter().copied().cycle().take(512 << 10).collect();
    let (part, whole) = (cost(rules, &text[..64 << 10], size), cost(rules, &text, size));
    assert!(whole < part * 10 && whole > 8000, "{part}, then {whole} steps for {rules}");
}

#[test]
fn text_made_to_be_tried_at_every_place_costs_in_proportion() {
    linear(r#"alert tcp any any -> any any (content:"aaaab"; sid:1;)"#, b"aaaa", 1460);
    linear(
        r#"alert tcp any any -> any any (content:"a"; content:"a"; within:20; content:"a"; within:20; content:"b"; within:20; sid:1;)"#,
        b"a",
        1460,
    );
    linear(
        r#"alert tcp any any -> any any (content:"a"; pcre:"/a.*b/R"; content:"c"; distance:0; sid:1;)"#,
        b"ab",
        1460,
    );
    linear(r#"alert tcp any any -> any any (content:"a"; pcre:"/^(a+)+(?!c)$/"; sid:1;)"#, b"a", 1460);
    linear(
        r#"alert tcp any any -> any any (content:"AbCdEf"; nocase; content:!"zz"; distance:1; within:9; sid:1;)"#,
        b"abcde",
        100,
    );
}

#[test]
fn more_waiting_rules_than_there_is_room_for_are_not_forgotten() {
    let mut rules = String::new();
    for i in 0..200 {
        rules += &format!(
            "drop tcp any any -> any any (content:\"first{i:03}\"; content:\"second{i:03}\"; distance:0; sid:{};)\n",
            i + 1
        );
    }
    let program = program(&rules);
    for wanted in [0, 63, 64, 199] {
        let mut c = Conversation::tcp(&program, 80);
        let mut offset = 0;
        for i in 0..200 {
            let text = format!("first{i:03} ");
            c.data(CLIENT, offset, text.as_bytes()).passes();
            offset += text.len() as u32;
        }
        let text = format!("second{wanted:03}");
        let (head, tail) = text.as_bytes().split_at(4);
        c.data(CLIENT, offset, head).passes();
        c.data(CLIENT, offset + 4, tail).is(Judgement::Drop, &[wanted + 1]);
    }
}

/// Random segments of a hostile sender: nothing panics, memory stays within its bound and comes back whole.
#[test]
fn any_order_of_segments_keeps_memory_within_its_bound() {
    let rules = program(weir_ids_rules::builtin("starter").unwrap());
    for seed in 1..60u64 {
        let mut state = seed;
        let mut random = move |n: u32| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % u64::from(n)) as u32
        };
        let mut c = Conversation::tcp_from(&rules, 80, [random(u32::MAX), 0u32.wrapping_sub(random(5000))]);
        (c.memory.limit, c.memory.per_direction, c.depth) = (200_000, 100_000, 1 << 40);
        for _ in 0..600 {
            let direction = if random(3) == 0 { SERVER } else { CLIENT };
            let offset = if random(20) == 0 { random(u32::MAX) } else { random(120_000) };
            let data: Vec<u8> = (0..random(3000)).map(|_| b'a' + (random(2) as u8)).collect();
            match random(4) {
                0 => drop(c.ack(direction, offset)),
                1 => {
                    let (flags, seq, ack) = (random(64) as u8, random(u32::MAX), random(u32::MAX));
                    c.segment(direction, flags, seq, ack, &data);
                }
                _ => drop(c.data(direction, offset, &data)),
            }
            // Buffers grow by doubling, so what is taken may be twice what is held.
            assert!(c.memory.used <= 2 * c.memory.limit, "{} with seed {seed}", c.memory.used);
        }
        c.flow.as_mut().unwrap().release(&mut c.memory);
        assert_eq!(c.memory.used, 0);
    }
}

#[test]
fn what_parsers_wait_with_counts_and_comes_back() {
    let rules = program("alert http any any -> any any (http.uri; content:\"x\"; sid:1;)");
    let mut c = Conversation::tcp(&rules, 80);
    let mut offset = 0;
    let mut say = |c: &mut Conversation, text: &[u8]| {
        let judgement = c.data(CLIENT, offset, text).judgement;
        offset += text.len() as u32;
        c.ack(SERVER, offset);
        judgement
    };
    say(&mut c, b"POST /a HTTP/1.1\r\nContent-Length: 100000\r\n\r\n");
    for _ in 0..30 {
        assert_eq!(say(&mut c, &[b'a'; 1000]), Judgement::Pass);
    }
    // The body waits to be looked at, although its receiver has it.
    assert!(c.memory.used >= 30_000, "{}", c.memory.used);
    // Where all flows together hold too much, no more of it passes.
    c.memory.limit = c.memory.used;
    assert_eq!(say(&mut c, &[b'a'; 1000]), Judgement::Limit);
    c.flow.as_mut().unwrap().release(&mut c.memory);
    assert_eq!(c.memory.used, 0);
}

/// The work it takes to judge a body that comes in pieces of this size, and what was told.
fn cost_of_body(rules: &str, body: &[u8], size: usize) -> (u64, Vec<u32>) {
    let mut c = Conversation::tcp(&program(rules), 80);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    c.data(CLIENT, 0, b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut sids = c.data(SERVER, 0, head.as_bytes()).sids;
    let mut offset = head.len() as u32;
    for piece in body.chunks(size) {
        sids.extend(c.data(SERVER, offset, piece).sids);
        offset += piece.len() as u32;
        c.ack(CLIENT, offset);
    }
    (c.memory.work, sids)
}

#[test]
fn a_body_in_small_pieces_costs_about_what_it_costs_in_large_ones() {
    let body = [b"first".to_vec(), vec![b'a'; 60_000], b"and zqz at the end".to_vec()].concat();
    for rules in [
        "alert http any any -> any any (http.response_body; pcre:\"/a+z/\"; content:\"zqz\"; sid:1;)",
        "alert http any any -> any any (file.data; content:\"aaaa\"; pcre:\"/zq+z/R\"; sid:1;)",
        "drop http any any -> any any (file.data; content:\"first\"; content:\"zqz\"; sid:1;)",
        "alert http any any -> any any (file.data; content:\"aaaa\"; isdataat:20000,relative; content:\"qzqzq\"; sid:2;)",
    ] {
        let (large, told) = cost_of_body(rules, &body, 1460);
        let (small, also) = cost_of_body(rules, &body, 20);
        assert_eq!(told, also, "{rules}");
        // Each of the 3000 pieces is a packet with some steps of its own.
        assert!(small < large * 5 + 40_000, "{large} steps in large pieces, {small} in small ones: {rules}");
    }
}

#[test]
fn a_rule_that_refuses_waits_for_nothing_however_small_the_pieces() {
    let text = b"a long way before it: first, then zqz, and after that";
    let rules = "drop http any any -> any any (file.data; content:\"first\"; content:\"zqz\"; distance:0; sid:1;)";
    let mut c = Conversation::tcp(&program(rules), 80);
    c.data(CLIENT, 0, b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").passes();
    let head = b"HTTP/1.1 200 OK\r\n\r\n";
    c.data(SERVER, 0, head).passes();
    let last = text.windows(3).position(|w| w == b"zqz").unwrap() + 2;
    for (at, byte) in text[..last].iter().enumerate() {
        c.data(SERVER, (head.len() + at) as u32, &[*byte]).passes();
    }
    c.data(SERVER, (head.len() + last) as u32, &text[last..=last]).is(Judgement::Drop, &[1]);
}
