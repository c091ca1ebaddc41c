use weir_ids_rules::Field;

use super::*;
use crate::app::exercise::{Talk, all_cuts, run, storm};

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub(crate) fn literal(name: &str, value: &str) -> Vec<u8> {
    [&[0x40, name.len() as u8][..], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

fn request(extra: &[(&str, &str)]) -> Vec<u8> {
    let mut block = vec![0x82, 0x87, 0x84];
    block.extend(literal(":authority", "www.Example.org:8080"));
    block.extend(literal("user-agent", "tester/1"));
    extra.iter().for_each(|(name, value)| block.extend(literal(name, value)));
    block
}

fn asked() -> Vec<u8> {
    let block = request(&[("cookie", "a=b"), ("accept", "*/*")]);
    let (head, tail) = block.split_at(20);
    let padded = [&[3, 0, 0, 0, 0, 200][..], head, &[0; 3]].concat();
    [
        PREFACE.to_vec(),
        frame(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]),
        frame(kind::HEADERS, flag::PADDED | flag::PRIORITY | flag::END_STREAM, 1, &padded),
        frame(kind::CONTINUATION, flag::END_HEADERS, 1, tail),
        frame(6, 0, 0, &[0; 8]),
    ]
    .concat()
}

fn answered() -> Vec<u8> {
    let block = [&[0x88][..], &literal("content-type", "text/plain"), &literal("server", "x")].concat();
    [
        frame(kind::SETTINGS, 0, 0, &[]),
        frame(kind::HEADERS, flag::END_HEADERS, 1, &block),
        frame(kind::DATA, flag::PADDED, 1, b"\x02not found\0\0"),
        frame(kind::DATA, flag::END_STREAM, 1, b" here"),
    ]
    .concat()
}

fn stream(talk: &Talk) -> usize {
    let list = talk.parser.transactions();
    (0..list.len()).find(|&nth| talk.value(nth, Buffer::HttpMethod, Direction::Original, 0).is_some()).unwrap()
}

const ASK: Direction = Direction::Original;
const ANSWER: Direction = Direction::Reply;

#[test]
fn a_request_and_its_answer_are_the_same_in_any_cut() {
    let (asked, answered) = (asked(), answered());
    let shown = all_cuts(start, &Settings::default(), &[(ASK, &asked), (ANSWER, &answered)]);
    assert!(shown.contains("\"http_method\":\"GET\",\"url\":\"/\",\"hostname\":\"www.Example.org:8080\""), "{shown}");
    assert!(shown.contains("\"status\":200,\"http2\":{\"stream_id\":1,\"request\":{\"priority\":200}"), "{shown}");
    assert!(shown.contains("\"settings_id\":\"SETTINGSMAXCONCURRENTSTREAMS\",\"settings_value\":100"), "{shown}");
    assert!(shown.contains(" /:14:CLOSED:"), "{shown}");
}

#[test]
fn buffers_are_those_of_http() {
    let (asked, answered) = (asked(), answered());
    let talk = run(start, &Settings::default(), &[(ASK, &asked), (ANSWER, &answered)], 0);
    let nth = stream(&talk);
    let get = |buffer, way| talk.value(nth, buffer, way, 0).map(|value| String::from_utf8(value).unwrap());
    assert_eq!(get(Buffer::HttpHost, ASK).as_deref(), Some("www.example.org"));
    assert_eq!(get(Buffer::HttpRequestLine, ASK).as_deref(), Some("GET / HTTP/2\r\n"));
    assert_eq!(get(Buffer::HttpResponseLine, ANSWER).as_deref(), Some("HTTP/2 200\r\n"));
    assert_eq!(get(Buffer::HttpStatMessage, ANSWER).as_deref(), Some(""));
    assert_eq!(get(Buffer::HttpCookie, ASK).as_deref(), Some("a=b"));
    assert_eq!(get(Buffer::HttpResponseBody, ANSWER).as_deref(), Some("not found here"));
    let headers = get(Buffer::HttpHeader, ASK).unwrap();
    assert!(headers.ends_with("user-agent: tester/1\r\naccept: */*\r\n"), "{headers}");
    let names = get(Buffer::HttpHeaderNames, ASK).unwrap();
    assert!(names.starts_with("\r\n:method\r\n") && names.ends_with("accept\r\n\r\n"), "{names}");
    assert_eq!(talk.number(nth, Field::Http2Priority, ASK, 0), Some(200));
    assert_eq!(talk.number(nth, Field::Http2FrameType, ANSWER, 1), Some(1));
}

#[test]
fn hosts_that_differ_and_users_are_noted() {
    let block = request(&[("host", "other.example"), (":authority", "u@h")]);
    let odd = [PREFACE, &frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &block)].concat();
    let talk = run(start, &Settings::default(), &[(ASK, &odd)], 0);
    assert!(talk.shown().contains("http2.authority_host_mismatch"), "{}", talk.shown());
}

#[test]
fn dns_is_found_in_path_and_body() {
    // A question for "a.b": header, name, type, class.
    let message = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x01b\x00\x00\x01\x00\x01";
    let path = "/dns-query?dns=EjQBAAABAAAAAAAAAWEBYgAAAQAB";
    let block = [&[0x82, 0x87][..], &literal(":path", path)].concat();
    let answer = [&[0x88][..], &literal("content-type", "application/dns-message")].concat();
    let mut response = message.to_vec();
    response[2] = 0x81;
    let script: [(Direction, &[u8]); 2] = [
        (ASK, &[PREFACE, &frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &block)].concat()),
        (
            ANSWER,
            &[frame(kind::HEADERS, flag::END_HEADERS, 1, &answer), frame(kind::DATA, flag::END_STREAM, 1, &response)]
                .concat(),
        ),
    ];
    let talk = run(start, &Settings::default(), &script, 0);
    assert_eq!(talk.parser.protocol(), AppProtocol::Doh2);
    assert_eq!(talk.value(0, Buffer::DnsQuery, ASK, 0), Some(b"a.b".to_vec()));
    assert_eq!(talk.value(0, Buffer::DnsQueriesName, ANSWER, 0), Some(b"a.b".to_vec()));
    assert!(talk.shown().starts_with("{\"version\":3,\"type\":\"response\""), "{}", talk.shown());
    assert!(talk.shown().contains("\"http\":{\"version\":\"2\""), "{}", talk.shown());
}

#[test]
fn what_is_no_preface_fails_and_many_frames_stay_bounded() {
    let mut talk = Talk::new(start, Settings::default());
    talk.say(ASK, b"GET / HTTP/1.1\r\n", false);
    assert_eq!(talk.over, Some(Fed::Failed));
    let mut talk = Talk::new(start, Settings::default());
    talk.say(ASK, PREFACE, false);
    let pings: Vec<u8> = (0..5000).flat_map(|_| frame(6, 0, 0, &[0; 8])).collect();
    talk.say(ASK, &pings, false);
    assert_eq!(talk.parser.transactions().len(), STREAMS);
}

#[test]
fn frames_of_a_fixed_size_have_it() {
    let told = |kind: u8, length: usize| {
        let said = [PREFACE, &frame(kind, 0, 1, &vec![0; length])].concat();
        run(start, &Settings::default(), &[(ASK, &said)], 0).shown()
    };
    for (kind, length) in [(kind::PRIORITY, 5), (kind::RST_STREAM, 4), (kind::GOAWAY, 8), (kind::WINDOW_UPDATE, 4)] {
        assert!(!told(kind, length).contains("http2.invalid_"), "{kind}");
        assert!(told(kind, length - 1).contains("http2.invalid_frame_length"), "{kind}: {}", told(kind, length - 1));
    }
    assert!(told(kind::SETTINGS, 5).contains("http2.invalid_frame_data"));
}

#[test]
fn probes_know_both_sides() {
    let tuple = crate::app::exercise::tuple(6);
    assert_eq!(probe(ASK, &asked(), &tuple), Probe::Yes);
    assert_eq!(probe(ASK, b"PRI", &tuple), Probe::More);
    assert_eq!(probe(ANSWER, &answered(), &tuple), Probe::Yes);
    assert_eq!(probe(ANSWER, b"HTTP/1.1", &tuple), Probe::No);
}

#[test]
fn storms_break_nothing() {
    let (asked, answered) = (asked(), answered());
    storm(start, &Settings::default(), &[(ASK, &asked), (ANSWER, &answered)], 3000);
}

#[test]
fn the_status_is_that_behind_the_hints() {
    let hint = frame(kind::HEADERS, flag::END_HEADERS, 1, &literal(":status", "103"));
    let answer = frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &literal(":status", "404"));
    let asked = asked();
    let answered = [hint, answer].concat();
    let script = [(Direction::Original, &asked[..]), (Direction::Reply, &answered)];
    let shown = run(start, &Settings::default(), &script, 0).shown();
    assert!(shown.contains("\"status\":404") && !shown.contains("\"status\":103"), "{shown}");
}
