//! Which rules are looked for in which flows.

use super::harness::*;

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3, 0, body.len() as u8], body].concat()
}

/// A message of a TLS handshake whose body begins with a version and a random value.
fn hello(kind: u8, rest: &[u8]) -> Vec<u8> {
    let body = [&[3, 3][..], &[0x5a; 32], &[0], rest].concat();
    record(22, &[&[kind, 0, 0, body.len() as u8], &body[..]].concat())
}

/// A connection of which both sides have begun to encrypt.
fn encrypted(flow: &mut Conversation) {
    flow.say(CLIENT, &hello(1, &[0, 2, 0xc0, 0x2f, 1, 0]));
    flow.say(SERVER, &hello(2, &[0xc0, 0x2f, 0]));
    flow.say(CLIENT, &[record(20, &[1]), record(22, &[0xf1; 40])].concat());
    flow.say(SERVER, &[record(20, &[1]), record(22, &[0xf2; 40])].concat());
    flow.say(CLIENT, &record(23, &[0xf3; 20]));
    flow.say(SERVER, &record(23, &[0xf4; 20]));
}

#[test]
fn encrypted_payloads_are_looked_at_no_more_but_headers_are() {
    let program = program(
        "alert tcp any any -> any any (content:\"secret\"; sid:1;)\n\
         alert tcp any any -> any any (content:\"secret\"; dsize:11; sid:2;)\n\
         alert tcp any any -> any any (dsize:11; sid:3;)\n\
         alert tls any any -> any any (dsize:<500; sid:4;)\n\
         alert tls any any -> any any (flow:to_server; sid:5;)\n\
         alert ssh any any -> any any (sid:6;)",
    );
    let mut open = Conversation::new(&program, 6, 443);
    assert_eq!(open.say(CLIENT, b"plain secret"), [1]);
    let mut sealed = Conversation::new(&program, 6, 443);
    encrypted(&mut sealed);
    assert_eq!(sealed.say(CLIENT, &record(23, b"secret")), [4, 5]);
    assert!(!sealed.findings.settled, "rules that ask for no payload still hold");
    assert_eq!(sealed.say(SERVER, b""), [4]);
}

#[test]
fn a_flow_that_is_encrypted_is_settled_where_rules_ask_for_payloads_only() {
    let program = program("alert tcp any any -> any any (content:\"secret\"; sid:1;)");
    let mut flow = Conversation::new(&program, 6, 443);
    flow.say(CLIENT, &hello(1, &[0, 2, 0xc0, 0x2f, 1, 0]));
    assert!(!flow.findings.settled);
    encrypted(&mut flow);
    assert!(flow.findings.settled);
}

#[test]
fn a_flow_is_not_settled_while_its_packets_are_tagged() {
    let rules = "alert tcp any any -> any 443 (flow:to_server; dsize:<60; content:\"|16 03 03|\"; depth:3; \
                 tag:session,8,packets; sid:1;)";
    let program = program(rules);
    let mut flow = Conversation::new(&program, 6, 443);
    encrypted(&mut flow);
    assert!(!flow.findings.settled);
    for left in [2, 1, 0] {
        assert!(!flow.findings.settled, "{left} more packets are told");
        flow.say(CLIENT, &record(23, &[0xf3; 20]));
    }
    assert!(flow.findings.settled);
}

#[test]
fn rules_that_name_a_protocol_take_flows_that_speak_it_on_any_port() {
    let program = program("alert http any any -> any any (content:\"needle\"; sid:1;)");
    for port in [80, 12345] {
        let mut flow = Conversation::new(&program, 6, port);
        assert_eq!(flow.say(CLIENT, b"GET / HTTP/1.1\r\nHost: a\r\nX: needle\r\n\r\n"), [1], "{port}");
        assert_eq!(flow.say(SERVER, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nneedle"), [1], "{port}");
    }
    let mut other = Conversation::new(&program, 6, 22);
    other.say(CLIENT, b"SSH-2.0-a\r\n");
    other.say(SERVER, b"SSH-2.0-b\r\n");
    assert_eq!(other.say(CLIENT, b"needle"), []);
}

#[test]
fn short_payloads_meet_rules_for_their_size_and_long_ones_do_not() {
    let program = program("alert udp any any -> any any (content:\"ab\"; dsize:<100; sid:1;)");
    let mut flow = Conversation::new(&program, 17, 9999);
    assert_eq!(flow.say(CLIENT, b"xxabxx"), [1]);
    assert_eq!(flow.say(CLIENT, &[b'a', b'b'].repeat(400)), []);
}

#[test]
fn a_short_content_in_its_place_is_found_there_only() {
    let program = program("alert udp any any -> any any (content:\"|00 01|\"; offset:4; depth:2; sid:1;)");
    let mut flow = Conversation::new(&program, 17, 9999);
    assert_eq!(flow.say(CLIENT, b"abcd\0\x01xyz"), [1]);
    assert_eq!(flow.say(CLIENT, b"\0\x01ab\0\x02\0\x01\0\x01"), []);
    assert_eq!(flow.say(CLIENT, b"abcd\0"), []);
    assert_eq!(flow.say(CLIENT, b"abcd\0\x01"), [1]);
}

#[test]
fn rules_on_a_port_of_the_client_are_found_in_answers_to_it() {
    let program = program(
        "alert udp any any -> any 40000 (content:\"needle\"; sid:1;)\n\
         alert udp any any -> any 40001 (content:\"needle\"; sid:2;)\n\
         alert udp any 40000 -> any any (content:\"needle\"; sid:3;)",
    );
    let mut flow = Conversation::new(&program, 17, 9999);
    assert_eq!(flow.say(CLIENT, b"a needle"), [3]);
    assert_eq!(flow.say(SERVER, b"a needle"), [1]);
    let mut known = Conversation::new(&program, 17, 40001);
    assert_eq!(known.say(CLIENT, b"a needle"), [2, 3]);
}

#[test]
fn a_rule_on_long_packets_is_found_by_the_content_that_has_a_place() {
    let program = program(
        "alert udp any any -> any any (content:\"|16 e5|\"; depth:2; content:\"unmistakable\"; sid:1;)\n\
         alert udp any any -> any any (content:\"|16 e5|\"; offset:70; depth:8; content:\"unmistakable\"; sid:2;)",
    );
    let mut flow = Conversation::new(&program, 17, 9999);
    let with = |at: usize, text: &[u8]| {
        let mut payload = vec![b'.'; 1400];
        payload[at..at + 2].copy_from_slice(b"\x16\xe5");
        payload[1380..1380 + text.len()].copy_from_slice(text);
        payload
    };
    assert_eq!(flow.say(CLIENT, &with(0, b"unmistakable")), [1]);
    assert_eq!(flow.say(CLIENT, &with(76, b"unmistakable")), [2]);
    assert_eq!(flow.say(CLIENT, &with(77, b"unmistakable")), []);
    assert_eq!(flow.say(CLIENT, &with(0, b"unmistakeable")), []);
}
