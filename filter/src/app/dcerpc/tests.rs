use super::*;
use crate::app::exercise::{Script, all_cuts, run, storm};
use Direction::{Original, Reply};

/// A record with its length filled in.
pub fn record(kind: u8, flags: u8, call: u32, body: &[u8]) -> Vec<u8> {
    let length = (record::HEADER + body.len()) as u16;
    let mut out = vec![5, 0, kind, flags, 0x10, 0, 0, 0];
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&call.to_le_bytes());
    out.extend_from_slice(body);
    out
}

pub const UUID: &str = "12345678-1234-abcd-ef00-01234567cffb";

/// A bind for [`UUID`] version 1.0 as context 1, and another interface as context 0.
pub fn bind_body() -> Vec<u8> {
    let mut body = vec![0; 8];
    body.extend_from_slice(&[2, 0, 0, 0]);
    for (context, first) in [(0u8, 0x99), (1, 0x78)] {
        body.extend_from_slice(&[context, 0, 1, 0]);
        body.extend_from_slice(&[first, 0x56, 0x34, 0x12, 0x34, 0x12, 0xcd, 0xab]);
        body.extend_from_slice(&[0xef, 0, 1, 0x23, 0x45, 0x67, 0xcf, 0xfb, 1, 0, 0, 0]);
        body.extend_from_slice(&[0; 20]);
    }
    body
}

pub fn bind_ack_body() -> Vec<u8> {
    let mut body = vec![0; 8];
    body.extend_from_slice(&[4, 0, b'1', b'3', b'5', 0, 0, 0]);
    body.extend_from_slice(&[2, 0, 0, 0]);
    for result in [2u8, 0] {
        body.extend_from_slice(&[result, 0, 0, 0]);
        body.extend_from_slice(&[0; 20]);
    }
    body
}

pub fn request_body(opnum: u8, stub: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 0, 1, 0, opnum, 0][..], stub].concat()
}

fn conversation() -> Vec<(Direction, Vec<u8>)> {
    vec![
        (Original, record(kind::BIND, 3, 1, &bind_body())),
        (Reply, record(kind::BIND_ACK, 3, 1, &bind_ack_body())),
        (
            Original,
            [
                record(kind::REQUEST, 1, 2, &request_body(26, b"one")),
                record(kind::REQUEST, 2, 2, &request_body(26, b"two")),
            ]
            .concat(),
        ),
        (Reply, record(kind::RESPONSE, 3, 2, &[&[0; 8][..], b"answer"].concat())),
    ]
}

fn script(conversation: &[(Direction, Vec<u8>)]) -> Vec<(Direction, &[u8])> {
    conversation.iter().map(|(way, bytes)| (*way, &bytes[..])).collect()
}

#[test]
fn a_call_is_joined_from_its_fragments() {
    let conversation = conversation();
    let shown = all_cuts(start, &Settings::default(), &script(&conversation));
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines.len(), 2, "{shown}");
    assert!(lines[0].contains(r#""request":"BIND","interfaces":[{"uuid":"12345699-"#), "{shown}");
    assert!(lines[0].contains(r#""response":"BINDACK","call_id":1,"rpc_version":"5.0""#), "{shown}");
    assert!(lines[1].contains(r#""request":"REQUEST","req":{"opnum":26,"frag_cnt":2,"stub_data_size":6}"#), "{shown}");
    assert!(lines[1].contains(&format!(r#""interfaces":[{{"uuid":"{UUID}","version":"1.0","ack_result":0}}]"#)));
    assert!(lines[1].contains(r#""response":"RESPONSE","res":{"frag_cnt":1,"stub_data_size":6}"#), "{shown}");
    storm(start, &Settings::default(), &script(&conversation), 3000);
}

#[test]
fn rules_can_ask_for_the_parts() {
    let conversation = conversation();
    let talk = run(start, &Settings::default(), &script(&conversation), 0);
    assert_eq!(talk.value(1, Buffer::DcerpcStubData, Original, 0).as_deref(), Some(&b"onetwo"[..]));
    assert_eq!(talk.value(1, Buffer::DcerpcStubData, Reply, 0).as_deref(), Some(&b"answer"[..]));
    assert_eq!(talk.number(1, Field::DcerpcOpnum, Original, 0), Some(26));
    let list = talk.parser.transactions();
    let ask = |nth: usize, argument: &str| list.get(nth).unwrap().1.special("dcerpc.iface", argument, Original);
    assert_eq!(ask(1, UUID), Some(true));
    assert_eq!(ask(1, &format!("{UUID},>0")), Some(true));
    assert_eq!(ask(1, &format!("{UUID},>1,any_frag")), Some(false));
    assert_eq!(ask(1, "12345699-1234-abcd-ef00-01234567cffb"), Some(false), "refused by the server");
    assert_eq!(ask(0, UUID), Some(false), "a bind is no request");
}

#[test]
fn the_other_order_of_numbers_is_understood() {
    let mut request = vec![5, 0, 0, 3, 0, 0, 0, 0, 0, 27, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 4];
    request.extend_from_slice(b"abc");
    let talk = run(start, &Settings::default(), &[(Original, &request)], 0);
    assert_eq!(talk.number(0, Field::DcerpcOpnum, Original, 0), Some(4));
    assert_eq!(talk.parser.transactions().get(0).unwrap().1.special("dce", "big", Original), Some(true));
}

#[test]
fn calls_without_end_cost_bounded_memory() {
    let part = record(kind::REQUEST, 0, 7, &request_body(1, &[b'x'; 5000]));
    let first = record(kind::REQUEST, 1, 7, &request_body(1, b""));
    let mut script: Vec<(Direction, &[u8])> = vec![(Original, &first)];
    script.extend(std::iter::repeat_n((Original, &part[..]), 200));
    let talk = run(start, &Settings::default(), &script, 0);
    assert_eq!(talk.parser.transactions().len(), 1);
    assert_eq!(talk.value(0, Buffer::DcerpcStubData, Original, 0).unwrap().len(), call::STUB);
}

#[test]
fn after_a_loss_the_next_record_is_found() {
    let conversation = conversation();
    let mut talk = run(start, &Settings::default(), &script(&conversation[..2]), 0);
    let tuple = crate::app::exercise::tuple(6);
    let settings = Settings::default();
    let mut context = Context { settings: &settings, tuple: &tuple, expectations: &mut Vec::new() };
    assert!(talk.parser.gap(Original, 100, &mut context));
    talk.say(Original, &[b"junk", &conversation[2].1[..]].concat(), false);
    assert_eq!(talk.number(1, Field::DcerpcOpnum, Original, 0), Some(26));
}

#[test]
fn datagrams_are_calls() {
    let packet = |kind: u8, stub: &[u8]| {
        let mut out = vec![4, kind, 0, 0, 0x10, 0, 0, 0];
        out.extend_from_slice(&[0; 16]);
        out.extend_from_slice(&[
            0x78, 0x56, 0x34, 0x12, 0x34, 0x12, 0xcd, 0xab, 0xef, 0, 1, 0x23, 0x45, 0x67, 0xcf, 0xfb,
        ]);
        out.extend_from_slice(&[7; 16]);
        out.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 3, 0, 0, 0, 0, 0]);
        out.extend_from_slice(&(stub.len() as u16).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(stub);
        out
    };
    let (ask, reply) = (packet(kind::REQUEST, b"ask"), packet(kind::RESPONSE, b"reply"));
    assert_eq!(udp::probe(&ask), Probe::Yes);
    let script: Script<'_> = &[(Original, &ask), (Reply, &reply)];
    let udp_start: crate::app::exercise::Start = |_, _| udp::start();
    let mut talk = crate::app::exercise::Talk::new(udp_start, Settings::default());
    for (way, bytes) in script {
        talk.say(*way, bytes, false);
    }
    assert_eq!(talk.parser.transactions().len(), 1);
    assert_eq!(talk.number(0, Field::DcerpcOpnum, Original, 0), Some(3));
    assert_eq!(talk.parser.transactions().get(0).unwrap().1.special("dce_iface", UUID, Original), Some(true));
    assert!(talk.shown().contains(r#""seqnum":5,"rpc_version":"4.0""#));
    storm(udp_start, &Settings::default(), script, 500);
}

#[test]
fn probes_tell_who_speaks() {
    let tuple = crate::app::exercise::tuple(6);
    let bind = record(kind::BIND, 3, 1, &bind_body());
    assert_eq!(probe(Original, &bind, &tuple), Probe::Yes);
    assert_eq!(probe(Reply, &bind, &tuple), Probe::Reversed);
    assert_eq!(probe(Original, &bind[..5], &tuple), Probe::More);
    assert_eq!(probe(Original, b"GET / HTTP/1.1\r\n\r\n", &tuple), Probe::No);
}
