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
fn what_a_protocol_says_nothing_of_is_asked_of_its_own_messages_alone() {
    let program = program("alert tcp any any -> any any (ldap.responses.operation:search_result_done,all; sid:1;)");
    let mut flow = Conversation::new(&program, 6, 80);
    assert_eq!(flow.say(CLIENT, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), []);
    assert_eq!(flow.say(SERVER, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), []);
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
fn a_payload_is_checked_when_a_request_may_take_the_rule_wherever_the_bytes_are_cut() {
    let text = "alert tcp any any -> any any (flow:to_server; content:\"a=\"; pcre:\"/secret\\d+/R\"; http.uri; \
                content:\"/wanted\"; sid:1;)\n\
                alert tcp any any -> any any (flow:to_server; content:!\"Accept\"; http.uri; content:\"/wanted\"; sid:2;)";
    let program = program(text);
    let ask = |uri: &str, more: &str| format!("GET {uri} HTTP/1.1\r\nHost: b\r\nX: {more}\r\n\r\n");
    let asked = |requests: &[String]| {
        let all = requests.concat();
        let cuts: Vec<usize> = (1..all.len()).collect();
        let told = cuts.iter().map(|&cut| {
            let mut flow = Conversation::new(&program, 6, 80);
            let mut told = flow.say(CLIENT, &all.as_bytes()[..cut]);
            told.extend(flow.say(CLIENT, &all.as_bytes()[cut..]));
            told.sort_unstable();
            told
        });
        let mut told: Vec<_> = told.collect();
        told.dedup();
        told
    };
    assert_eq!(asked(&[ask("/wanted", "a=secret7")]), [[1, 2]]);
    assert_eq!(asked(&[ask("/wanted?a=xsecret1", "y")]), [[1, 2]]);
    assert_eq!(asked(&[ask("/x", "a=secret7"), ask("/wanted", "")]), [[1, 2]], "the stream has it");
    assert_eq!(asked(&[ask("/x", "a=secret7"), ask("/y", "a=secret8")]), [[0; 0]]);
    assert_eq!(asked(&[ask("/wanted", "a=none")]), [[2]]);
}

#[test]
fn a_body_that_is_a_file_is_searched_for_the_rules_of_both() {
    let rule = |way: &str, buffer: &str, word: &str, sid: u32| {
        format!("alert http any any -> any any (flow:{way}; {buffer}; content:\"{word}\"; sid:{sid};)\n")
    };
    let text = [
        rule("to_client", "http.response_body", "alphabet", 1),
        rule("to_client", "file.data", "alphabet", 2),
        rule("to_client", "file.data", "omega", 3),
        rule("to_server", "http.request_body", "form-data", 4),
        rule("to_server", "http.request_body", "alphabet", 5),
        rule("to_server", "file.data", "alphabet", 6),
        rule("to_server", "file.data", "form-data", 7),
    ]
    .concat();
    let program = program(&text);
    let part = |name: &str, text: &str| {
        format!("--XX\r\nContent-Disposition: form-data; name=\"f\"; filename=\"{name}\"\r\n\r\n{text}\r\n")
    };
    let form = [part("a", "nothing"), part("b", "an alphabet"), "--XX--\r\n".to_owned()].concat();
    let head = |length: usize, kind: &str| {
        format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n")
    };
    let asked = head(form.len(), "multipart/form-data; boundary=XX") + &form;
    let plain = head(11, "text/plain") + "an alphabet";
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\nthe alphabet omega";
    for piece in [1, 7, 50, 1000] {
        let mut flow = Conversation::new(&program, 6, 80);
        let mut say = |way, text: &str| {
            let pieces = text.as_bytes().chunks(piece);
            let mut told: Vec<u32> = pieces.flat_map(|piece| flow.say(way, piece)).collect();
            told.sort_unstable();
            told
        };
        assert_eq!(say(CLIENT, &asked), [4, 5, 6], "{piece}");
        assert_eq!(say(SERVER, answer), [1, 2, 3], "{piece}");
        assert_eq!(say(CLIENT, &plain), [5, 6], "{piece}");
    }
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
