//! Rules on streams.

use super::harness::*;

#[test]
fn a_match_may_be_cut_anywhere_and_is_told_once() {
    let program = program("alert tcp any any -> any any (content:\"attack\"; content:\"now\"; distance:0; sid:1;)");
    let text = b"some attack is coming now, and more";
    for cut in 0..text.len() {
        let mut flow = Conversation::new(&program, 6, 80);
        let mut told = flow.say(CLIENT, &text[..cut]);
        told.extend(flow.say(CLIENT, &text[cut..]));
        told.extend(flow.say(CLIENT, b"and on"));
        assert_eq!(told, [1], "{cut}");
    }
}

#[test]
fn the_same_rule_fires_again_for_other_bytes() {
    let program = program("alert tcp any any -> any any (content:\"abc\"; sid:1;)");
    let mut flow = Conversation::new(&program, 6, 80);
    assert_eq!(flow.say(CLIENT, b"abc"), [1]);
    assert_eq!(flow.say(CLIENT, b"abd"), []);
    assert_eq!(flow.say(CLIENT, b"abc"), [1]);
}

#[test]
fn places_count_from_the_streams_start_and_from_each_turn() {
    let program = program("alert tcp any any -> any any (content:\"abc\"; depth:3; sid:1;)");
    let mut flow = Conversation::new(&program, 6, 80);
    assert_eq!(flow.say(CLIENT, b"xabc"), []);
    assert_eq!(flow.say(SERVER, b"ok"), []);
    assert_eq!(flow.say(CLIENT, b"ab"), []);
    assert_eq!(flow.say(CLIENT, b"cd"), [1]);
}

#[test]
fn a_rule_on_payload_and_request_is_judged_once_the_payload_has_matched() {
    let text = "alert http any any -> any any (content:\"secret\"; http.method; content:\"POST\"; sid:1;)";
    let program = program(text);
    let head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n";
    let mut flow = Conversation::new(&program, 6, 80);
    assert_eq!(flow.say(CLIENT, head), []);
    assert_eq!(flow.say(CLIENT, b"sec"), []);
    assert_eq!(flow.say(CLIENT, b"ret"), [1]);
    assert_eq!(flow.say(CLIENT, b"secret"), []);
    let mut flow = Conversation::new(&program, 6, 80);
    assert_eq!(flow.say(CLIENT, b"GET /secret HTTP/1.1\r\nHost: a\r\n\r\n"), []);
    assert_eq!(flow.say(CLIENT, &[head, &b"nothing here"[..]].concat()), [1], "its stream has the word");
}

#[test]
fn parts_of_a_body_may_come_far_apart_from_each_other() {
    let text = "alert http any any -> any any (flow:to_client; file.data; content:\"alphabet\"; content:\"omega\"; \
                fast_pattern; sid:1;)";
    let program = program(text);
    for (first, second) in [(50, 51), (51, 50), (40, 41), (3, 4)] {
        let mut flow = Conversation::new(&program, 6, 80);
        assert_eq!(flow.say(CLIENT, b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"), []);
        let mut told = flow.say(SERVER, b"HTTP/1.1 200 OK\r\nContent-Length: 80000\r\n\r\n");
        for nth in 0..80 {
            let mut part = vec![b'.'; 1000];
            match nth {
                _ if nth == first => part[500..508].copy_from_slice(b"alphabet"),
                _ if nth == second => part[500..505].copy_from_slice(b"omega"),
                _ => {}
            }
            told.extend(flow.say(SERVER, &part));
        }
        assert_eq!(told, [1], "{first} {second}");
    }
}
