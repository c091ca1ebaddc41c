//! The content filter in the path: sites are refused before their server hears of them, and their neighbours are not.

use std::sync::Arc;

use super::*;
use crate::content::{self, Action as Judged, Answer, List};

const WEB: u16 = 80;

pub fn filtering(rule: content::Rule, list: &str) -> Spec {
    let mut spec = spec(Action::Allow, vec![]);
    spec.content = content::Spec {
        rules: vec![rule],
        lists: vec![("bad".into(), Arc::new(List::parse(list)))],
        sinkhole: (Some([192, 0, 2, 1].into()), None),
        ..content::Spec::default()
    };
    spec
}

pub fn deny() -> content::Rule {
    content::Rule { name: "no".into(), action: Judged::Deny, lists: vec!["bad".into()], ..content::Rule::default() }
}

/// What the client says in pieces of this size; where it ends, the bytes the server got, and how.
pub fn say(world: &mut World, port: u16, text: &[u8], size: usize) -> (Fate, Vec<u8>) {
    world.handshake(A, 1000, B, port).unwrap();
    let (mut at, mut heard) = (101u32, Vec::new());
    for piece in text.chunks(size) {
        let fate = world.send(&seg(A4, 1000, B4, port, TCP_ACK, at, 501, piece), A, B);
        if fate.is_err() {
            return (fate, heard);
        }
        heard.extend_from_slice(piece);
        at += piece.len() as u32;
        if heard.len() % 7 == 0 {
            world.send(&seg(B4, port, A4, 1000, TCP_ACK, 501, at, b""), B, A).unwrap();
        }
    }
    (Ok(()), heard)
}

pub const DENIED: Fate = Err(DropReason::Content);

#[test]
fn a_request_is_refused_however_it_is_cut_and_answered_with_a_page() {
    let request = b"GET /x HTTP/1.1\r\nUser-Agent: t\r\nHost: www.bad.example\r\n\r\n";
    for size in 1..=request.len() {
        let mut world = World::new(&filtering(deny(), "bad.example"));
        let (fate, heard) = say(&mut world, WEB, request, size);
        assert_eq!(fate, DENIED, "pieces of {size}");
        assert!(heard.len() < request.len(), "the request is not complete at the server");
        let replies = world.replies();
        let ports: Vec<u16> = replies.iter().map(|(port, _)| *port).collect();
        assert_eq!(ports, [A, B]);
        let page = replies[0].1.payload();
        assert!(page.starts_with(b"HTTP/1.1 403 ") && page.ends_with(b"</p>\n"));
        let (page_tcp, reset) = (replies[0].1.tcp().unwrap(), replies[1].1.tcp().unwrap());
        assert_eq!((page_tcp.seq, page_tcp.flags), (501, TCP_ACK | TCP_PSH | TCP_FIN));
        assert!(reset.has(TCP_RST));
        assert_eq!(world.events(), ["content no www.bad.example", "drop content"]);
        // The client closes its side and is let go.
        let fin = seg(A4, 1000, B4, WEB, TCP_ACK | TCP_FIN, 101 + request.len() as u32, 502, b"");
        assert_eq!(world.send(&fin, A, B), Err(DropReason::FlowBlocked));
        assert!(world.replies()[0].1.tcp().unwrap().has(TCP_RST));
    }
}

#[test]
fn neighbours_on_one_address_and_one_connection_are_told_apart() {
    let mut world = World::new(&filtering(deny(), "bad.example"));
    let good = b"GET / HTTP/1.1\r\nHost: good.example\r\n\r\n";
    let (fate, _) = say(&mut world, WEB, good, 7);
    assert_eq!(fate, Ok(()));
    let mut at = 101 + good.len() as u32;
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    assert_eq!(world.send(&seg(B4, WEB, A4, 1000, TCP_ACK, 501, at, answer), B, A), Ok(()));
    assert_eq!(world.send(&seg(A4, 1000, B4, WEB, TCP_ACK, at, 501 + answer.len() as u32, good), A, B), Ok(()));
    at += good.len() as u32;
    let bad = b"GET / HTTP/1.1\r\nHost: bad.example\r\n\r\n";
    assert_eq!(world.send(&seg(A4, 1000, B4, WEB, TCP_ACK, at, 501 + answer.len() as u32, bad), A, B), DENIED);
}

#[test]
fn a_host_cannot_be_written_past_the_list() {
    for request in [
        "GET / HTTP/1.1\r\nhOsT:   BAD.example. \r\n\r\n",
        "GET / HTTP/1.1\r\nHost: bad.example:8080\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: b%61d.example\r\n\r\n",
        "GET http://bad.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n",
        "GET http://good.example/ HTTP/1.1\r\nHost: bad.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: good.example\r\nHost: bad.example\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: bad.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n bad.example\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: bad.example\r\nContent-Length: 3\r\n\r\nabc",
        "CONNECT bad.example:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: bad.example\r\n\r\n",
        "GET / HTTP/1.1\nHost: bad.example\n\n",
        "GET / HTTP/1.1\r\nHost: b\u{fc}cher.example\r\n\r\n",
    ] {
        for port in [WEB, 8081] {
            let mut world = World::new(&filtering(deny(), "bad.example\nxn--bcher-kva.example\n"));
            assert_eq!(say(&mut world, port, request.as_bytes(), request.len()).0, DENIED, "{request:?} on {port}");
        }
    }
}

#[test]
fn a_request_of_a_strange_method_is_known_by_its_answer() {
    let mut world = World::new(&filtering(deny(), "bad.example"));
    let request = b"BREW / HTTP/1.1\r\nHost: bad.example\r\n\r\n";
    assert_eq!(say(&mut world, WEB, request, 100).0, Ok(()));
    let answer = seg(B4, WEB, A4, 1000, TCP_ACK, 501, 101 + request.len() as u32, b"HTTP/1.1 200 OK\r\n\r\npage");
    assert_eq!(world.send(&answer, B, A), DENIED);
}

#[test]
fn paths_are_denied_where_the_rest_of_the_site_is_not() {
    for (path, fate) in [("/private/x", DENIED), ("/%70rivate", DENIED), ("/public", Ok(())), ("/private2", Ok(()))] {
        let mut world = World::new(&filtering(deny(), "site.example/private"));
        let request = format!("GET {path} HTTP/1.1\r\nHost: site.example\r\n\r\n");
        assert_eq!(say(&mut world, WEB, request.as_bytes(), 11).0, fate, "{path}");
    }
}

/// A ClientHello that asks for this name, in one record.
pub fn client_hello(name: &str, encrypted: bool) -> Vec<u8> {
    let mut extensions = Vec::new();
    if !name.is_empty() {
        let n = name.len() as u16;
        extensions.extend_from_slice(&[0, 0]);
        [n + 5, n + 3].iter().for_each(|v| extensions.extend_from_slice(&v.to_be_bytes()));
        extensions.push(0);
        extensions.extend_from_slice(&n.to_be_bytes());
        extensions.extend_from_slice(name.as_bytes());
    }
    if encrypted {
        extensions.extend_from_slice(&[0xfe, 0x0d, 0, 4, 0, 1, 2, 3]);
    }
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&[0, 0, 2, 0x13, 1, 1, 0]);
    body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
    body.extend_from_slice(&extensions);
    let mut message = vec![1, 0];
    message.extend_from_slice(&(body.len() as u16).to_be_bytes());
    message.extend_from_slice(&body);
    let mut record = vec![22, 3, 1];
    record.extend_from_slice(&(message.len() as u16).to_be_bytes());
    record.extend_from_slice(&message);
    record
}

#[test]
fn a_server_name_is_refused_however_the_hello_is_cut() {
    let hello = client_hello("www.Bad.example", false);
    for size in 1..=hello.len() {
        let mut world = World::new(&filtering(deny(), "bad.example"));
        let (fate, heard) = say(&mut world, 443, &hello, size);
        assert_eq!(fate, DENIED, "pieces of {size}");
        assert!(heard.len() < hello.len());
        let replies: Vec<u16> = world.replies().iter().map(|(port, _)| *port).collect();
        assert_eq!(replies, [A, B], "both are reset");
    }
    let mut world = World::new(&filtering(deny(), "bad.example"));
    assert_eq!(say(&mut world, 443, &client_hello("good.example", false), 20).0, Ok(()));
    assert!(world.events().is_empty());
}

#[test]
fn hidden_server_names_have_rules_of_their_own_and_the_default_otherwise() {
    let veiled = content::Rule { hidden: true, lists: vec![], ..deny() };
    for (rule, name, encrypted, fate) in [
        (deny(), "", false, Ok(())),
        (deny(), "public.example", true, Ok(())),
        (veiled.clone(), "", false, DENIED),
        (veiled.clone(), "public.example", true, DENIED),
        (veiled, "public.example", false, Ok(())),
    ] {
        let mut world = World::new(&filtering(rule, "bad.example"));
        assert_eq!(say(&mut world, 443, &client_hello(name, encrypted), 300).0, fate, "{name} {encrypted}");
    }
}

pub fn query(name: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split(|&b| b == b'.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label);
    }
    bytes.extend_from_slice(&[0, 0, 1, 0, 1]);
    bytes
}

#[test]
fn a_denied_question_is_answered_here_and_others_of_the_flow_go_on() {
    for (answer, code, count) in [(None, 3, 0), (Some(Answer::Sinkhole), 0, 1)] {
        let mut world = World::new(&filtering(content::Rule { answer, ..deny() }, "bad.example"));
        let ask = |world: &mut World, name: &[u8]| world.send(&Frame::udp(A4, 5353, B4, 53, &query(name)), A, B);
        assert_eq!(ask(&mut world, b"good.example"), Ok(()));
        assert_eq!(ask(&mut world, b"Bad.Example"), DENIED);
        let replies = world.replies();
        let [(A, reply)] = &replies[..] else { panic!("one answer to the client: {replies:?}") };
        let said = reply.payload();
        assert_eq!((said[..2].to_vec(), said[3] & 15, said[7]), (vec![0xab, 0xcd], code, count));
        assert_eq!(reply.ports(), Some((53, 5353)));
        assert!(weir_wire::checksum::verify_l4(reply));
        assert_eq!(ask(&mut world, b"good.example"), Ok(()));
    }
}

#[test]
fn rules_bind_groups_and_addresses_of_servers_are_judged_at_the_first_packet() {
    let of_db = content::Rule { groups: vec!["db".into()], ..deny() };
    let mut world = World::new(&filtering(of_db, "bad.example"));
    assert_eq!(say(&mut world, WEB, b"GET / HTTP/1.1\r\nHost: bad.example\r\n\r\n", 9).0, Ok(()));
    let mut world = World::new(&filtering(deny(), &format!("{B4},malware,100")));
    assert_eq!(world.handshake(A, 1000, B, 2222), DENIED);
    assert_eq!(world.handshake(A, 1000, C, 2222), Ok(()));
}

#[test]
fn what_names_no_sites_settles_and_costs_nothing_more() {
    let mut world = World::new(&filtering(deny(), "bad.example"));
    say(&mut world, 22, b"SSH-2.0-OpenSSH_9.2\r\n", 50).0.unwrap();
    assert_eq!(world.send(&seg(B4, 22, A4, 1000, TCP_ACK, 501, 122, b"SSH-2.0-OpenSSH_9.2\r\n"), B, A), Ok(()));
    let settled = |world: &World| world.engine.flows_from(0, 4096, |_| true).0.len();
    assert_eq!(settled(&world), 1);
    let packet = seg(A4, 1000, B4, 22, TCP_ACK, 122, 522, b"x").packet_in(A, &mut world.pool);
    let mut packet = packet;
    assert!(world.carry(&mut packet, B), "the flow goes the short way");
    world.pool.give(packet.buffer);
}

#[test]
fn lists_that_change_hold_for_the_next_request_of_an_open_connection() {
    let mut world = World::new(&filtering(deny(), "other.example"));
    let request = b"GET / HTTP/1.1\r\nHost: bad.example\r\n\r\n";
    assert_eq!(say(&mut world, WEB, request, 100).0, Ok(()));
    world.install(&filtering(deny(), "bad.example"));
    let at = 101 + request.len() as u32;
    assert_eq!(world.send(&seg(A4, 1000, B4, WEB, TCP_ACK, at, 501, request), A, B), DENIED);
}

#[test]
fn a_request_that_cannot_be_read_is_refused_unless_the_operator_lets_it_pass() {
    for (passes, fate) in [(false, DENIED), (true, Ok(()))] {
        let mut spec = filtering(deny(), "bad.example");
        spec.content.unreadable_passes = passes;
        let mut world = World::new(&spec);
        let mut text = b"GET / HTTP/1.1\r\nHost: good.example\r\n".to_vec();
        // One field, longer than anything is kept.
        text.extend_from_slice(&[b'x'; 400_000]);
        assert_eq!(say(&mut world, WEB, &text, 1400).0, fate);
    }
}
