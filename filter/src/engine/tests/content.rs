//! What inspection finds, and what the engine does about it.

use weir_ids_rules::{RuleSet, Source, Variables};

use super::*;
use crate::event::Inspection;
use crate::inspect::RuleSetProgram;
use crate::spec::OnFailure;

pub(super) fn program(text: &str) -> Arc<RuleSetProgram> {
    let (set, problems) = RuleSet::parse(&[Source { name: "test", text }], &Variables::default());
    assert!(problems.is_empty(), "{problems:?}");
    Arc::new(RuleSetProgram::compile(&set).0)
}

pub(super) fn inspecting(program: &Arc<RuleSetProgram>) -> Spec {
    let mut spec = spec(Action::Allow, vec![]);
    spec.rule_sets = vec![("guard".into(), program.clone())];
    spec.switches[0].inspect = Some("guard".into());
    spec
}

pub(super) const DROP: &str = r#"drop tcp any any -> any 80 (msg:"evil"; content:"evil"; sid:7;)"#;
const REJECT: &str = r#"reject tcp any any -> any 80 (msg:"evil"; content:"evil"; sid:8;)"#;

#[test]
fn a_match_ends_the_flow_and_is_told() {
    let mut world = World::new(&inspecting(&program(DROP)));
    world.handshake(A, 1000, B, 80).unwrap();
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"good"), A, B), Ok(()));
    let evil = seg(A4, 1000, B4, 80, TCP_ACK, 105, 501, b"evil");
    assert_eq!(world.send(&evil, A, B), Err(DropReason::Inspection));
    assert_eq!(world.why.as_ref().unwrap().signature.as_ref().unwrap().sid, 7);
    assert_eq!(world.send(&evil, A, B), Err(DropReason::FlowBlocked));
    assert_eq!(world.send(&seg(B4, 80, A4, 1000, TCP_ACK, 501, 105, b""), B, A), Err(DropReason::FlowBlocked));
    assert_eq!(world.events(), ["alert 7", "drop inspection"]);
    assert!(world.replies().is_empty());
    let flow = world.engine.flows(1, |_| true).remove(0);
    assert_eq!((flow.state, flow.alerted, flow.packets), ("blocked", true, [3, 1]));
    // A connection that is not asked about goes on.
    assert_eq!(world.handshake(A, 1001, B, 81), Ok(()));
    assert_eq!(world.send(&seg(A4, 1001, B4, 81, TCP_ACK, 101, 501, b"evil"), A, B), Ok(()));
    // The memory of blocked flows comes back, and the flow is forgotten.
    world.pass_time(61);
    world.tick();
    assert_eq!(world.events(), ["flow blocked timeout"]);
}

#[test]
fn a_connection_that_is_over_holds_nothing_while_it_is_remembered() {
    let mut world = World::new(&inspecting(&program(DROP)));
    world.handshake(A, 1000, B, 80).unwrap();
    let (ask, page) = ([b'a'; 1000], [b'b'; 1400]);
    world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, &ask), A, B).unwrap();
    world.send(&seg(B4, 80, A4, 1000, TCP_ACK, 501, 1101, &page), B, A).unwrap();
    assert!(world.engine.memory.used >= 1400);
    world.send(&seg(A4, 1000, B4, 80, TCP_ACK | TCP_FIN, 1101, 1901, b""), A, B).unwrap();
    world.send(&seg(B4, 80, A4, 1000, TCP_ACK | TCP_FIN, 1901, 1102, b""), B, A).unwrap();
    world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 1102, 1902, b""), A, B).unwrap();
    assert_eq!((world.engine.flow_count(), world.engine.memory.used), (1, 0));
    assert_eq!(world.engine.flows(1, |_| true)[0].inspection, Inspection::Settled);
    // What is said again reaches nobody who reads it; what opens the next connection is read from its start.
    assert_eq!(world.send(&seg(B4, 80, A4, 1000, TCP_ACK | TCP_FIN, 1901, 1102, b""), B, A), Ok(()));
    let evil = seg(A4, 1000, B4, 80, TCP_ACK, 70_001, 90_001, b"evil");
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_SYN, 70_000, 0, b""), A, B), Ok(()));
    assert_eq!(world.send(&seg(B4, 80, A4, 1000, TCP_SYN | TCP_ACK, 90_000, 70_001, b""), B, A), Ok(()));
    assert_eq!(world.send(&evil, A, B), Err(DropReason::Inspection));
}

#[test]
fn what_waits_for_more_is_told_when_both_ends_have_closed() {
    let mut world = World::new(&inspecting(&program(
        r#"alert http any any -> any any (msg:"x"; http.uri; content:"never"; sid:3;)"#,
    )));
    world.handshake(A, 1000, B, 80).unwrap();
    let ask = b"GET /unfinished HTTP/1.1\r\nHost: b\r\n\r\n";
    world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, ask), A, B).unwrap();
    let next = 101 + ask.len() as u32;
    world.send(&seg(A4, 1000, B4, 80, TCP_ACK | TCP_FIN, next, 501, b""), A, B).unwrap();
    world.send(&seg(B4, 80, A4, 1000, TCP_ACK | TCP_FIN, 501, next + 1, b""), B, A).unwrap();
    world.send(&seg(A4, 1000, B4, 80, TCP_ACK, next + 1, 502, b""), A, B).unwrap();
    assert!(world.events().contains(&"http".to_owned()), "a request without an answer");
    world.pass_time(61);
    world.tick();
    assert_eq!(world.events(), ["flow closed closed"]);
}

#[test]
fn what_flows_speak_is_told_while_somebody_reads_it_and_what_is_wrong_always() {
    let mut world = World::new(&inspecting(&program(
        r#"alert http any any -> any any (msg:"x"; http.uri; content:"asked"; sid:3;)"#,
    )));
    for (is_read, port, wanted) in [(false, 1000, &["alert 3"][..]), (true, 1001, &["alert 3", "fileinfo", "http"])] {
        world.engine.set_read(is_read);
        world.handshake(A, port, B, 80).unwrap();
        let ask = b"GET /asked HTTP/1.1\r\nHost: b\r\n\r\n";
        world.send(&seg(A4, port, B4, 80, TCP_ACK, 101, 501, ask), A, B).unwrap();
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        world.send(&seg(B4, 80, A4, port, TCP_ACK, 501, 101 + ask.len() as u32, answer), B, A).unwrap();
        assert_eq!(world.events(), wanted);
    }
}

#[test]
fn reject_tells_both_ends() {
    let mut world = World::new(&inspecting(&program(REJECT)));
    world.handshake(A, 1000, B, 80).unwrap();
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"evil"), A, B), Err(DropReason::Inspection));
    let replies: Vec<_> = world.replies().iter().map(|(port, reply)| (*port, reply.tcp().unwrap().seq)).collect();
    assert_eq!(replies, [(A, 501), (B, 101)]);
}

#[test]
fn a_segment_with_a_wrong_checksum_is_not_inspected_and_does_not_pass() {
    let mut world = World::new(&inspecting(&program(DROP)));
    world.handshake(A, 1000, B, 80).unwrap();
    let mut wrong = seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"good");
    wrong.bytes[50] ^= 1;
    assert_eq!(world.send(&wrong, A, B), Err(DropReason::BadL4Checksum));
    let mut datagram = Frame::udp(A4, 1, B4, 2, b"x");
    datagram.bytes[42] ^= 1;
    // Nothing inspects it, so nobody asks.
    assert_eq!(world.send(&datagram, A, B), Ok(()));
}

#[test]
fn a_policy_with_the_same_rule_set_does_not_begin_again() {
    let program = program(DROP);
    let mut world = World::new(&inspecting(&program));
    world.handshake(A, 1000, B, 80).unwrap();
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"ev"), A, B), Ok(()));
    world.install(&inspecting(&program));
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 103, 501, b"il"), A, B), Err(DropReason::Inspection));
}

#[test]
fn a_rule_set_that_comes_later_inspects_flows_that_stand() {
    let mut world = World::new(&spec(Action::Allow, vec![]));
    world.handshake(A, 1000, B, 80).unwrap();
    world.install(&inspecting(&program(DROP)));
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"evil"), A, B), Err(DropReason::Inspection));
}

#[test]
fn a_rule_without_a_rule_set_is_not_inspected() {
    let mut spec = inspecting(&program(DROP));
    spec.rules = vec![Rule { inspect: Some("none".into()), ..web_to_db(Action::Allow, PROTOCOL_TCP, 80) }];
    let mut world = World::new(&spec);
    world.handshake(A, 1000, B, 80).unwrap();
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"evil"), A, B), Ok(()));
}

#[test]
fn segments_beside_the_connection_do_not_mislead_inspection() {
    let evil = seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"evil");
    for beside in [
        seg(A4, 1000, B4, 80, TCP_SYN, 40_000, 0, b""),
        seg(A4, 1000, B4, 80, TCP_SYN, 90, 0, b""),
        seg(A4, 1000, B4, 80, TCP_RST, 300, 0, b""),
    ] {
        let mut world = World::new(&inspecting(&program(DROP)));
        world.handshake(A, 1000, B, 80).unwrap();
        assert_eq!(world.send(&beside, A, B), Ok(()));
        assert_eq!(world.send(&evil, A, B), Err(DropReason::Inspection));
    }
}

#[test]
fn a_connection_opened_again_is_inspected_from_its_start() {
    let mut world = World::new(&inspecting(&program(DROP)));
    world.handshake(A, 1000, B, 80).unwrap();
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"ev"), A, B), Ok(()));
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_SYN, 70_000, 0, b""), A, B), Ok(()));
    assert_eq!(world.send(&seg(B4, 80, A4, 1000, TCP_SYN | TCP_ACK, 90_000, 70_001, b""), B, A), Ok(()));
    // Half of the word belongs to the old connection.
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 70_001, 90_001, b"il"), A, B), Ok(()));
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 70_003, 90_001, b"evil"), A, B), Err(DropReason::Inspection));
}

#[test]
fn what_cannot_be_held_is_refused_or_let_through_as_the_operator_says() {
    for (on_limit, verdict) in [(OnFailure::Closed, Err(DropReason::StreamLimit)), (OnFailure::Open, Ok(()))] {
        let mut spec = inspecting(&program(DROP));
        spec.settings.on_stream_limit = on_limit;
        let limits = Limits { flows: 10, stream_bytes_per_flow: 1000, ..Limits::default() };
        let mut world = World::with_limits(&spec, limits);
        world.handshake(A, 1000, B, 80).unwrap();
        assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, &[b'x'; 900]), A, B), Ok(()));
        assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 1001, 501, &[b'x'; 900]), A, B), verdict);
        assert_eq!(world.events(), ["drop stream-limit"], "the choice is told either way");
    }
}

#[test]
fn what_is_only_listened_to_is_told_of_as_allowed() {
    for (listened, action) in [(vec![], "blocked"), (vec![SWITCH], "allowed")] {
        let mut spec = inspecting(&program(DROP));
        let listens = !listened.is_empty();
        spec.listened = listened;
        let mut world = World::new(&spec);
        world.handshake(A, 1000, B, 80).unwrap();
        let fate = world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"evil"), A, B);
        assert_eq!(fate, if listens { Ok(()) } else { Err(DropReason::Inspection) });
        let alert = world.engine.events().drain().find_map(|event| match event {
            Event::Alert { signature, members, .. } => Some((signature, members)),
            _ => None,
        });
        let (signature, members) = alert.expect("an alert");
        assert_eq!(signature.blocked, !listens);
        assert!(members.contains(&format!("\"action\":\"{action}\"")), "{members}");
    }
}

#[test]
fn files_that_rules_want_are_handed_out_once_they_are_complete() {
    for (room, wanted) in [(1000, &["alert 9", "fileinfo", "file of 30 bytes"][..]), (0, &["alert 9", "fileinfo"])] {
        let mut spec = spec(Action::Allow, vec![]);
        spec.switches[0].inspect = Some("watch".into());
        let rules = "alert http any any -> any any (http.stat_code; content:\"200\"; filestore; sid:9;)";
        spec.rule_sets = vec![("watch".into(), program(rules))];
        spec.settings.tells.stored_bytes = room;
        let mut world = World::new(&spec);
        world.handshake(A, 1000, B, 80).unwrap();
        let ask = b"GET /a.bin HTTP/1.1\r\nHost: b\r\n\r\n";
        world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, ask), A, B).unwrap();
        let answer = [&b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n"[..], &[b'x'; 30]].concat();
        let behind = 101 + ask.len() as u32;
        world.send(&seg(B4, 80, A4, 1000, TCP_ACK, 501, behind, &answer), B, A).unwrap();
        let told: Vec<String> = world.events().into_iter().filter(|event| event != "http").collect();
        assert_eq!(told, wanted);
    }
}
