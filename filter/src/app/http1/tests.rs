use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use weir_ids_rules::Buffer;
use weir_wire::Instant;

use super::*;
use crate::app::file::Content;
use crate::app::{Mark, Transaction};
use crate::json::Json;

const ASK: Direction = Direction::Original;
const ANSWER: Direction = Direction::Reply;

fn tuple() -> Tuple {
    let address = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
    Tuple { source: address(1), destination: address(2), source_port: 40_000, destination_port: 80, protocol: 6 }
}

/// A conversation, and what came of it.
struct Talk {
    parser: Http1,
    settings: Settings,
    rest: [Vec<u8>; 2],
    last: Fed,
}

impl Talk {
    fn new() -> Talk {
        let settings = Settings::default();
        let parser = Http1 { options: settings.http.clone(), ..Http1::default() };
        Talk { parser, settings, rest: [Vec::new(), Vec::new()], last: Fed::Used(0) }
    }

    fn say(&mut self, way: Direction, bytes: &[u8], end: bool) -> &mut Talk {
        if matches!(self.last, Fed::Failed | Fed::Upgrade { .. }) {
            return self;
        }
        let mut expectations = Vec::new();
        let mut context = Context { settings: &self.settings, tuple: &tuple(), expectations: &mut expectations };
        let rest = &mut self.rest[way as usize];
        rest.extend_from_slice(bytes);
        self.last = self.parser.feed(way, Input { bytes: rest, end, time: Instant::ZERO }, &mut context);
        if let Fed::Used(used) | Fed::Upgrade { used, .. } = self.last {
            rest.drain(..used);
        }
        self
    }

    fn exchange(&self, nth: usize) -> (&Mark, &dyn Transaction) {
        self.parser.list.get(nth).unwrap()
    }

    fn buffer(&self, nth: usize, buffer: Buffer, way: Direction) -> String {
        let mut work = Vec::new();
        let bytes = self.exchange(nth).1.buffer(buffer, way, 0, &mut work).unwrap_or(b"(none)");
        String::from_utf8_lossy(bytes).into_owned()
    }

    fn events(&self, nth: usize) -> Vec<&'static str> {
        self.exchange(nth).0.anomalies.iter().map(|anomaly| anomaly.0).collect()
    }

    fn log(&self, nth: usize) -> String {
        let mut text = String::new();
        let mut json = Json::object(&mut text);
        self.exchange(nth).1.log(&mut json);
        json.end();
        text
    }

    /// Everything that rules could see of it.
    fn picture(&self) -> String {
        let mut text = format!("{:?}\n", matches!(self.last, Fed::Failed));
        for nth in 0..self.parser.list.len() {
            let (mark, exchange) = self.exchange(nth);
            let _ = writeln!(text, "{:?} {} {}", mark.anomalies, exchange.progress(ASK), exchange.progress(ANSWER));
            for provides in exchange::BUFFERS {
                let _ = writeln!(text, "{:?} {:?}", provides.buffer, self.buffer(nth, provides.buffer, provides.way));
            }
            for file in [ASK, ANSWER].iter().flat_map(|&way| &exchange.files(way).unwrap().list) {
                let _ = writeln!(text, "{:?} {} {:?} {:?}", file.name, file.size(), file.state, file.md5());
            }
            text.push_str(&self.log(nth));
        }
        text
    }
}

const REQUEST: &[u8] = b"GET /a%20b//c?d=%65 HTTP/1.1\r\nHost: Example.com:80\r\nCookie: x=y\r\nUser-Agent: me\r\n\r\n";

fn respond(response: &[u8]) -> Talk {
    let mut talk = Talk::new();
    talk.say(ASK, REQUEST, false).say(ANSWER, response, true);
    talk
}

fn body(response: &[u8]) -> String {
    respond(response).buffer(0, Buffer::HttpResponseBody, ANSWER)
}

#[test]
fn a_request_has_its_parts() {
    let mut talk = Talk::new();
    talk.say(ASK, REQUEST, false);
    let table = [
        (Buffer::HttpMethod, "GET"),
        (Buffer::HttpUri, "/a b/c?d=e"),
        (Buffer::HttpUriRaw, "/a%20b//c?d=%65"),
        (Buffer::HttpProtocol, "HTTP/1.1"),
        (Buffer::HttpRequestLine, "GET /a%20b//c?d=%65 HTTP/1.1"),
        (Buffer::HttpHost, "example.com"),
        (Buffer::HttpHostRaw, "Example.com:80"),
        (Buffer::HttpCookie, "x=y"),
        (Buffer::HttpUserAgent, "me"),
        (Buffer::HttpHeader, "Host: Example.com:80\r\nUser-Agent: me\r\n"),
        (Buffer::HttpHeaderRaw, "Host: Example.com:80\r\nCookie: x=y\r\nUser-Agent: me\r\n\r\n"),
        (Buffer::HttpHeaderNames, "\r\nHost\r\nCookie\r\nUser-Agent\r\n\r\n"),
        (Buffer::HttpRequestHeader, "Host: Example.com:80"),
        (Buffer::HttpReferer, "(none)"),
    ];
    for (buffer, expected) in table {
        assert_eq!(talk.buffer(0, buffer, ASK), expected, "{buffer:?}");
    }
    assert_eq!(talk.events(0), [""; 0]);
}

#[test]
fn a_response_belongs_to_the_oldest_request() {
    let mut talk = Talk::new();
    talk.say(ASK, b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", false);
    let both =
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\noneHTTP/1.1 404 No such thing\r\nContent-Length: 0\r\n\r\n";
    talk.say(ANSWER, both, false);
    assert_eq!(talk.buffer(0, Buffer::HttpResponseBody, ANSWER), "one");
    assert_eq!(talk.buffer(1, Buffer::HttpStatCode, ANSWER), "404");
    assert_eq!(talk.buffer(1, Buffer::HttpStatMessage, ANSWER), "No such thing");
    let expected = r#"{"hostname":"a","url":"/1","http_method":"GET","protocol":"HTTP/1.1","status":200,"length":3}"#;
    assert_eq!(talk.log(0), expected);
}

#[test]
fn bodies_are_framed_as_browsers_frame_them() {
    let table: [(&[u8], &str); 9] = [
        (b"HTTP/1.1 200 ok\r\nContent-Length: 4\r\n\r\nbody", "body"),
        (b"HTTP/1.1 200 ok\r\n\r\nuntil the end", "until the end"),
        (b"HTTP/1.1 200 ok\nTransfer-Encoding: chunked\n\n3\nabc\n2;x\r\nde\r\n0\r\n\r\n", "abcde"),
        (b"HTTP/1.0 200 ok\r\nTransfer-Encoding: xchunked\r\n\r\n\r\n 3\r\nabc\r\n0\r\n\r\n", "abc"),
        (b"HTTP/1.1 200 ok\r\nTransfer-Encoding: chunked\r\n\r\nnot chunked", "not chunked"),
        (b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 200 ok\r\nContent-Length: 1\r\n\r\nx", "x"),
        (b"HTTP/1.1 204 none\r\nContent-Length: 2\r\n\r\nyz", "yz"),
        (b"HTTP/1.1 200 ok\r\nContent-Length: 2\r\n\r\nyz and more", "yz and more"),
        (b"<html>no line at all", "<html>no line at all"),
    ];
    for (response, expected) in table {
        assert_eq!(body(response), expected, "{}", String::from_utf8_lossy(response));
    }
}

#[test]
fn odd_framing_is_told() {
    let response = b"HTTP/1.0 xyz\r\nTransfer-Encoding: x, chunked\r\nA: 1\r\nA: 2\r\n\r\nnope";
    let talk = respond(response);
    let expected = [
        "http.response_invalid_status",
        "http.response_header_repetition",
        "http.response_abnormal_transfer_encoding",
        "http.response_chunked_old_proto",
        "http.invalid_response_chunk_len",
    ];
    assert_eq!(talk.events(0), expected);
    assert!(talk.buffer(0, Buffer::HttpHeader, ANSWER).contains("A: 1, 2\r\n"));
}

#[test]
fn what_is_odd_about_bodies_is_told() {
    for (response, event) in [
        (
            &b"HTTP/1.1 200 ok\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nplain"[..],
            "gzip_decompression_failed",
        ),
        (b"HTTP/1.1 200 ok\r\nContent-Encoding: identity\r\nContent-Length: 2\r\n\r\nok", "abnormal_ce_header"),
        (b"HTTP/1.1 206 ok\r\nContent-Range: bytes 5-x/7\r\nContent-Length: 2\r\n\r\nok", "range_invalid"),
        (b"HTTP/1.1 416 no\r\nContent-Range: bytes */7\r\nContent-Length: 2\r\n\r\nok", ""),
        (b"HTTP/1.1 206 ok\r\nContent-Range: bytes 5-6/7\r\nContent-Length: 2\r\n\r\nok", ""),
    ] {
        let talk = respond(response);
        let expected: Vec<String> = [event].iter().filter(|e| !e.is_empty()).map(|e| format!("http.{e}")).collect();
        assert_eq!(talk.events(0), expected, "{}", String::from_utf8_lossy(response));
    }
}

#[test]
fn a_version_that_is_missing_before_fields_is_told() {
    let mut talk = Talk::new();
    talk.say(ASK, b"GET /a\r\nHost: b\r\n\r\n", false);
    assert_eq!(talk.events(0), ["http.request_line_missing_protocol"]);
    assert_eq!(talk.buffer(0, Buffer::HttpHost, ASK), "b");
    let mut old = Talk::new();
    old.say(ASK, b"GET /a\r\n", true);
    assert_eq!(old.events(0), [""; 0]);
}

#[test]
fn a_response_without_a_request_stands_alone() {
    let mut talk = Talk::new();
    talk.say(ANSWER, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false);
    assert_eq!(talk.events(0), ["http.unable_to_match_response_to_request"]);
    assert_eq!(talk.buffer(0, Buffer::HttpUriRaw, ASK), "/libhtp::request_uri_not_seen");
    assert_eq!(talk.buffer(0, Buffer::HttpUri, ASK), "(none)", "nothing was normalised");
    talk.say(ASK, REQUEST, false);
    assert_eq!(talk.buffer(1, Buffer::HttpMethod, ASK), "GET");
}

#[test]
fn a_tunnel_hands_the_flow_over() {
    let mut talk = Talk::new();
    talk.say(ASK, b"CONNECT a.b:443 HTTP/1.1\r\nHost: a.b\r\n\r\n\x16\x03\x01", false);
    assert_eq!((talk.last, talk.rest[0].len()), (Fed::Used(39), 3));
    talk.say(ANSWER, b"HTTP/1.1 200 Fine\r\n\r\n\x16", false);
    assert_eq!(talk.last, Fed::Upgrade { used: 21, to: None });
    let mut talk = Talk::new();
    talk.say(ASK, REQUEST, false);
    talk.say(ANSWER, b"HTTP/1.1 101 Switch\r\nUpgrade: WebSocket\r\n\r\n", false);
    assert!(matches!(talk.last, Fed::Upgrade { to: Some(AppProtocol::WebSocket), .. }));
}

#[test]
fn a_refused_tunnel_leaves_the_flow_to_http() {
    let mut talk = Talk::new();
    talk.say(ASK, b"CONNECT a.b:443 HTTP/1.1\r\nHost: a.b\r\n\r\n", false);
    talk.say(ANSWER, b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", false).say(ASK, REQUEST, false);
    assert_eq!(talk.buffer(1, Buffer::HttpMethod, ASK), "GET");
}

#[test]
fn posted_bodies_are_files() {
    let mut talk = Talk::new();
    let head = b"POST /up/load.bin HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    talk.say(ASK, head, false).say(ASK, b"3\r\nabc\r\n0\r\n\r\n", false);
    let files = &talk.exchange(0).1.files(ASK).unwrap().list;
    assert_eq!((files.len(), files[0].name.as_slice(), files[0].size()), (1, &b"/up/load.bin"[..], 3));
    assert_eq!(files[0].state, crate::app::file::State::Closed);
}

#[test]
fn forms_are_taken_apart() {
    let mut talk = Talk::new();
    let form = b"--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.txt\"\r\n\r\nhello\r\n--B--\r\n";
    let kind = "Content-Type: multipart/form-data; boundary=B";
    let head = format!("POST /form HTTP/1.1\r\nHost: a\r\n{kind}\r\nContent-Length: {}\r\n\r\n", form.len());
    talk.say(ASK, head.as_bytes(), false).say(ASK, form, false);
    let files = &talk.exchange(0).1.files(ASK).unwrap().list;
    assert_eq!((files.len(), files[0].name.as_slice(), files[0].size()), (1, &b"x.txt"[..], 5));
    assert_eq!(talk.buffer(0, Buffer::HttpRequestBody, ASK).as_bytes(), form);
}

#[test]
fn http_09_has_no_fields() {
    let mut talk = Talk::new();
    talk.say(ASK, b"GET /old\r\n", false).say(ANSWER, b"just text", true);
    assert_eq!(talk.buffer(0, Buffer::HttpUri, ASK), "/old");
    assert_eq!(talk.buffer(0, Buffer::HttpResponseBody, ANSWER), "just text");
}

#[test]
fn lines_without_end_fail_with_a_word() {
    let mut talk = Talk::new();
    talk.say(ASK, &[b"GET /".as_slice(), &[b'a'; 20_000]].concat(), false);
    assert_eq!((talk.last, talk.events(0)), (Fed::Failed, vec!["http.request_field_too_long"]));
}

#[test]
fn a_hole_in_a_body_is_a_hole_in_its_file() {
    let mut talk = Talk::new();
    talk.say(ASK, REQUEST, false).say(ANSWER, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", false);
    assert!(talk.parser.answer_gap(4));
    talk.say(ANSWER, b"xyzHTTP/1.1", false);
    let file = &talk.exchange(0).1.files(ANSWER).unwrap().list[0];
    assert_eq!((file.size(), file.gaps, file.state), (10, true, crate::app::file::State::Truncated));
}

/// Text of HTTP, with up to so many bytes changed in each direction.
fn storm(seed: u64, changes: usize) -> (Vec<u8>, Vec<u8>) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let asks: [&[u8]; 5] = [
        REQUEST,
        b"POST /f HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\nTrailer: x\r\n\r\n",
        b"PUT /x HTTP/1.0\r\nContent-Length: 5\r\n\r\n12345",
        b"CONNECT x:1 HTTP/1.1\r\n\r\n",
        b"GET /9\r\n",
    ];
    let answers: [&[u8]; 5] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n c\r\n\r\n5\r\nworld\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.0 304 Same\nA\n\rB: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nnot at all",
    ];
    let mut make = |parts: &[&[u8]]| {
        let mut bytes: Vec<u8> = (0..1 + random(4)).flat_map(|_| parts[random(parts.len())].to_vec()).collect();
        for _ in 0..random(changes + 1) {
            let at = random(bytes.len());
            match random(3) {
                0 => bytes[at] = b"\r\n :;,%\0H0\xff"[random(11)],
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"\r\n :x"[random(5)]),
            }
        }
        bytes
    };
    (make(&asks), make(&answers))
}

#[test]
fn a_body_longer_than_announced_goes_on_to_the_end_of_its_line() {
    for step in [1, 7, 100] {
        let mut talk = Talk::new();
        talk.say(ASK, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", false);
        talk.say(ANSWER, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n0123456", false);
        for bytes in b"789 more and more, to the end".chunks(step) {
            talk.say(ANSWER, bytes, false);
        }
        talk.say(ANSWER, b"", true);
        assert_eq!(talk.parser.list.count(), 1, "pieces of {step}");
        let (body, _) = talk.exchange(0).1.grown(Buffer::HttpResponseBody, ANSWER).map(Content::recent).unwrap();
        assert_eq!(body, b"0123456789 more and more, to the end", "pieces of {step}");
    }
}

#[test]
fn no_bytes_stop_the_parser() {
    for seed in 1..4000 {
        let (ask, answer) = storm(seed, 5);
        let mut talk = Talk::new();
        let cut = seed as usize % ask.len();
        talk.say(ASK, &ask[..cut], false)
            .say(ANSWER, &answer, false)
            .say(ASK, &ask[cut..], true)
            .say(ANSWER, b"", true);
        let _ = talk.picture();
    }
}
#[test]
fn every_cut_gives_the_same_picture() {
    for seed in 1..300 {
        let (ask, answer) = storm(seed, 0);
        // Whether a request without a version has fields is told by what comes together with it.
        if ask.windows(6).any(|window| window == b"GET /9") {
            continue;
        }
        let mut whole = Talk::new();
        whole.say(ASK, &ask, false).say(ANSWER, &answer, false);
        for step in [1, 2, 5, 11] {
            let mut cut = Talk::new();
            for bytes in ask.chunks(step) {
                cut.say(ASK, bytes, false);
            }
            for bytes in answer.chunks(step) {
                cut.say(ANSWER, bytes, false);
            }
            let (ours, theirs) = (cut.picture(), whole.picture());
            let differ = ours.lines().zip(theirs.lines()).find(|(one, other)| one != other);
            assert_eq!(differ, None, "seed {seed} step {step} {}", String::from_utf8_lossy(&ask));
        }
    }
}

/// Cost of a conversation in steps: the bytes that the parser was shown.
fn shown(ask: &[u8], step: usize) -> usize {
    let mut talk = Talk::new();
    let mut shown = 0;
    for bytes in ask.chunks(step) {
        talk.say(ASK, bytes, false);
        shown += talk.rest[0].len() + bytes.len();
    }
    shown
}

#[test]
fn bytes_are_not_read_again_and_again() {
    let fields = |n: usize| -> Vec<u8> {
        let lines = (0..n).flat_map(|n| format!("Name-{n}: value\r\n").into_bytes());
        b"GET / HTTP/1.1\r\n".iter().copied().chain(lines).collect()
    };
    let (small, large) = (shown(&fields(100), 10), shown(&fields(800), 10));
    assert!(large < 10 * small, "{small} for 100 fields, {large} for 800");
    let head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice();
    let chunks = |n: usize| [head, &b"1\r\nx\r\n".repeat(n)].concat();
    let (small, large) = (shown(&chunks(500), 3), shown(&chunks(4000), 3));
    assert!(large < 10 * small, "{small} for 500 chunks, {large} for 4000");
}

#[test]
fn too_many_fields_end_the_flow_with_a_word() {
    let mut talk = Talk::new();
    let lines: Vec<u8> = (0..2000).flat_map(|n| format!("N{n}: x\r\n").into_bytes()).collect();
    talk.say(ASK, &[b"GET / HTTP/1.1\r\n".as_slice(), &lines].concat(), false);
    assert_eq!(talk.last, Fed::Failed);
    assert!(talk.events(0).contains(&"http.request_too_many_headers"));
}

#[test]
fn names_longer_than_are_kept_and_more_warnings_than_one_would_read_are_told() {
    let long = "a".repeat(crate::app::file::NAME);
    for (path, event) in [(&long[1..], None), (&long[..], Some("http.file_name_too_long"))] {
        let mut talk = Talk::new();
        let put = format!("PUT /{path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\ndata");
        talk.say(ASK, put.as_bytes(), false);
        assert_eq!(talk.events(0).first().copied(), event, "a name of {}", path.len() + 1);
    }
    let mut talk = Talk::new();
    talk.say(ASK, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", false);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Disposition: attachment; filename=\"{long}x\"\r\nContent-Length: 2\r\n\r\nok"
    );
    talk.say(ANSWER, answer.as_bytes(), false);
    assert_eq!(talk.events(0), ["http.file_name_too_long"]);

    let mut talk = Talk::new();
    for nth in 0..514 {
        talk.say(ASK, b"GET / HTTP/1.1\r\nHost: a\r\nodd\r\n\r\n", false);
        talk.say(ANSWER, b"HTTP/1.1 204 No\r\n\r\n", false);
        let told = talk.events(0).contains(&"http.too_many_warnings");
        assert_eq!(told, nth == 511, "with {} of them", nth + 1);
        talk.parser.list.remove(0);
    }
}

#[test]
fn a_request_whose_end_is_unknown_ends_the_flow_with_a_word() {
    for (field, event) in [
        ("Content-Length: abc", "http.invalid_content_length_field_in_request"),
        ("Content-Length:", "http.invalid_content_length_field_in_request"),
        ("Content-Length: 99999999999999999999", "http.invalid_content_length_field_in_request"),
        ("Transfer-Encoding: identity\r\nContent-Length: 3", "http.invalid_transfer_encoding_value_in_request"),
    ] {
        let mut talk = Talk::new();
        talk.say(ASK, format!("POST /a HTTP/1.1\r\nHost: b\r\n{field}\r\n\r\n").as_bytes(), false);
        assert!(matches!(talk.last, Fed::Failed), "{field}");
        assert_eq!(talk.events(0), [event], "{field}");
    }
    let mut talk = Talk::new();
    talk.say(ASK, b"POST /a HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: x-chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", false);
    assert_eq!(talk.buffer(0, Buffer::HttpRequestBody, ASK), "x");
}

#[test]
fn a_body_that_the_server_does_not_want_is_not_waited_for() {
    let post = |expect: &str| format!("POST /a HTTP/1.1\r\nHost: b\r\n{expect}Content-Length: 3\r\n\r\n");
    let next = b"GET /next HTTP/1.1\r\nHost: b\r\n\r\n";
    let refuse = |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
    for (expect, status, requests) in
        [("Expect: 100-continue\r\n", "417 No", 2), ("Expect: 100-continue\r\n", "500 No", 1), ("", "417 No", 1)]
    {
        let mut talk = Talk::new();
        talk.say(ASK, post(expect).as_bytes(), false).say(ANSWER, refuse(status).as_bytes(), false);
        // Without a refusal the first bytes of what follows are the body.
        talk.say(ASK, next, false);
        let methods = (0..talk.parser.list.len()).filter(|&nth| talk.buffer(nth, Buffer::HttpMethod, ASK) == "GET");
        assert_eq!(methods.count() + 1, requests, "{expect}{status}");
    }
}

#[test]
fn a_boundary_makes_a_form_and_a_location_a_redirect() {
    let form = "--xyz\r\nContent-Disposition: form-data; filename=\"a\\\"b\"\r\n\r\ndata\r\n--xyz--\r\n";
    for (kind, name) in
        [("multipart/related; boundary=xyz", "a\"b"), ("text/plain; boundary=xyz", "a\"b"), ("x; y=xyz", "/a")]
    {
        let mut talk = Talk::new();
        let head =
            format!("POST /a HTTP/1.1\r\nHost: b\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", form.len());
        talk.say(ASK, head.as_bytes(), false).say(ASK, form.as_bytes(), false);
        let files = talk.exchange(0).1.files(ASK).unwrap();
        assert_eq!(String::from_utf8_lossy(&files.list[0].name), name, "{kind}");
    }
    let talk = respond(b"HTTP/1.1 200 OK\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n");
    assert!(talk.log(0).contains(r#""redirect":"/b""#), "{}", talk.log(0));
}

#[test]
fn a_part_of_a_whole_is_told() {
    for (range, part, events, logged) in [
        ("bytes 3-5/9", Some((3, 5, Some(9))), &[][..], r#""start":3,"end":5,"size":9"#),
        ("items 3-5/9", Some((3, 5, Some(9))), &[], r#""start":3,"end":5,"size":9"#),
        ("bytes */9", None, &[], r#""raw":"bytes */9","size":9"#),
        // Who joins parts does so whatever the rest of the field says.
        ("bytes 3-5/*", Some((3, 5, None)), &[], r#""start":3,"end":5}"#),
        ("bytes 3-9/9", Some((3, 9, Some(9))), &["http.range_invalid"], r#""start":3,"end":9,"size":9"#),
        ("3-5/9", Some((3, 5, Some(9))), &["http.range_invalid"], r#""raw":"3-5/9"}"#),
    ] {
        let talk =
            respond(format!("HTTP/1.1 206 P\r\nContent-Range: {range}\r\nContent-Length: 3\r\n\r\nabc").as_bytes());
        assert_eq!(talk.exchange(0).1.files(ANSWER).unwrap().list[0].range, part, "{range}");
        assert_eq!(talk.events(0), events, "{range}");
        assert!(talk.log(0).contains(logged), "{range}: {}", talk.log(0));
    }
}
