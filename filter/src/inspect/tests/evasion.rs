//! Ways around inspection that are known from tools and reports, each by its name: how a body, a request or a hello is
//! written so that a server or a browser understands it and an inspector might not. Each is sent whole, in small pieces
//! and byte by byte; none may be delivered whole.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use super::harness::*;
use crate::inspect::Judgement;

const EVIL: &[u8] = b"<p>this is an EVIL-PAYLOAD in a page</p>";

const RULES: &str = r#"
drop http any any -> any any (file.data; content:"EVIL-PAYLOAD"; sid:1;)
drop http any any -> any any (http.uri; content:"/evil-target"; sid:2;)
drop http any any -> any any (http.user_agent; content:"evil-agent"; sid:3;)
drop http any any -> any any (http.host; content:"evil.example"; sid:4;)
"#;

/// Sends a request and an answer in pieces of each size; the rule must stop it before the last byte is delivered.
#[track_caller]
fn stopped(request: &[u8], answer: &[u8], sid: u32) {
    let rules = program(RULES);
    for size in [usize::MAX, 1460, 7, 1] {
        let mut c = Conversation::tcp(&rules, 80);
        let mut sids = Vec::new();
        let mut delivered = true;
        for (way, bytes) in [(CLIENT, request), (SERVER, answer)] {
            for (nth, piece) in bytes.chunks(size.min(bytes.len().max(1))).enumerate() {
                let told = c.data(way, (nth * size.min(bytes.len())) as u32, piece);
                sids.extend(told.sids);
                delivered &= told.judgement == Judgement::Pass;
            }
        }
        assert!(!delivered && sids.contains(&sid), "in pieces of {size}: {sids:?} of {}", answer.escape_ascii());
    }
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    [head.as_bytes(), b"\r\n", body].concat()
}

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";

fn chunked(bytes: &[u8], each: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in bytes.chunks(each) {
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

#[test]
fn chunked_framing_beside_a_length() {
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    stopped(GET, &answer(both, &chunked(EVIL, 9)), 1);
    let other = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n";
    stopped(GET, &answer(other, &chunked(EVIL, 1)), 1);
}

#[test]
fn chunked_framing_by_other_names() {
    for name in
        ["x, chunked", "chunked, identity", " \tchunked", "CHUNKED", "chunked\r\n ", "x\r\nTransfer-Encoding: chunked"]
    {
        let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {name}\r\n");
        stopped(GET, &answer(&head, &chunked(EVIL, EVIL.len())), 1);
    }
}

#[test]
fn chunk_sizes_written_oddly() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n";
    let size = EVIL.len();
    for line in [format!("{size:x};ext=\"a\"\r\n"), format!("000000{size:X}\r\n"), format!("{size:x}  \r\n")] {
        let body = [line.as_bytes(), EVIL, b"\r\n0\r\n\r\n"].concat();
        stopped(GET, &answer(head, &body), 1);
    }
}

#[test]
fn lines_that_end_in_lf_alone() {
    let answer = [b"HTTP/1.1 200 OK\nContent-Length: 40\n\n".as_slice(), EVIL].concat();
    stopped(b"GET /a HTTP/1.1\nHost: a\n\n", &answer, 1);
    stopped(b"GET /evil-target HTTP/1.1\nHost: a\n\n", b"", 2);
}

#[test]
fn folded_headers() {
    stopped(b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\n evil-agent\r\n\r\n", b"", 3);
    stopped(b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent:\r\n\tevil-agent\r\n\r\n", b"", 3);
}

#[test]
fn compression_truncated_concatenated_and_misnamed() {
    let whole = gzip(EVIL);
    let mut deflate = DeflateEncoder::new(Vec::new(), Compression::best());
    deflate.write_all(EVIL).unwrap();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    zlib.write_all(EVIL).unwrap();
    let (deflate, zlib) = (deflate.finish().unwrap(), zlib.finish().unwrap());
    let cut = &whole[..whole.len() - 8];
    for (coding, body) in [
        ("gzip", whole.as_slice()),
        ("gzip", cut),
        ("x-gzip", &whole),
        ("deflate", &deflate),
        ("deflate", &zlib),
        ("gzip", &deflate),
        ("gzip", &zlib),
        ("deflate", &whole),
        ("gzip", EVIL),
        ("identity", EVIL),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n", body.len());
        stopped(GET, &answer(&head, body), 1);
    }
    let twice = gzip(&whole);
    let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip, gzip\r\nTransfer-Encoding: chunked\r\n";
    stopped(GET, &answer(head, &chunked(&twice, 11)), 1);
    let named_twice = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Encoding: gzip\r\n";
    stopped(GET, &answer(named_twice, &twice), 1);
}

#[test]
fn an_answer_without_a_head() {
    stopped(b"GET /a\r\n\r\n", EVIL, 1);
}

#[test]
fn requests_in_a_pipeline() {
    let requests = [GET, GET, b"GET /evil-target HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    stopped(&requests, b"", 2);
    let plain = answer("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n", b"abc");
    let answers =
        [plain.clone(), b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), answer("HTTP/1.1 200 OK\r\n", EVIL)].concat();
    stopped(&[GET, GET].concat(), &answers, 1);
}

#[test]
fn hosts_named_otherwise() {
    stopped(b"GET http://evil.example/ HTTP/1.1\r\nHost: good\r\n\r\n", b"", 4);
    stopped(b"GET / HTTP/1.1\r\nhOsT: EVIL.example:80\r\n\r\n", b"", 4);
}

#[test]
fn targets_written_oddly() {
    for target in
        ["/%65vil-target", "/a/../evil-target", "//evil-target", "/./evil-target", "\\evil-target", "/evil%2dtarget"]
    {
        stopped(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(), b"", 2);
    }
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn literal(name: &str, value: &str) -> Vec<u8> {
    [&[0x40, name.len() as u8][..], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

#[test]
fn http2_header_blocks_split_over_frames_at_every_byte() {
    let block =
        [&[0x82, 0x87, 0x84][..], &literal(":authority", "a"), &literal("user-agent", "the evil-agent")].concat();
    for cut in 1..block.len() {
        let (head, tail) = block.split_at(cut);
        let (middle, last) = tail.split_at(tail.len() / 2);
        let said = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, 0, 0, &[]),
            frame(1, 1, 1, head),
            frame(9, 0, 1, middle),
            frame(9, 0, 1, &[]),
            frame(9, 4, 1, last),
        ]
        .concat();
        let mut c = Conversation::tcp(&program(RULES), 80);
        let told = c.data(CLIENT, 0, &said);
        assert_eq!((told.judgement, told.sids), (Judgement::Drop, vec![3]), "split at {cut}");
    }
}

#[test]
fn http2_behind_an_upgrade_of_http1() {
    let mut c = Conversation::tcp(&program(RULES), 80);
    let ask = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    c.data(CLIENT, 0, ask).passes();
    let go = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    c.data(SERVER, 0, go).passes();
    c.ack(CLIENT, go.len() as u32);
    c.ack(SERVER, ask.len() as u32);
    let said = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(
            1,
            5,
            3,
            &[&[0x82, 0x87, 0x84][..], &literal(":authority", "a"), &literal("user-agent", "evil-agent")].concat(),
        ),
    ]
    .concat();
    let told = c.data(CLIENT, ask.len() as u32, &said);
    assert_eq!((told.judgement, told.sids), (Judgement::Drop, vec![3]));
}

#[test]
fn a_server_name_behind_a_long_key_share_split_at_every_byte() {
    // As long as those with a post-quantum key share, so that it never fits one segment.
    let name = b"evil.example";
    let entry = [&[0][..], &(name.len() as u16).to_be_bytes(), name].concat();
    let list = [&(entry.len() as u16).to_be_bytes()[..], &entry].concat();
    let share = [&[0, 51][..], &1300u16.to_be_bytes(), &[7; 1300]].concat();
    let server_name = [&[0, 0][..], &(list.len() as u16).to_be_bytes(), &list].concat();
    let extensions = [share, server_name].concat();
    let body =
        [&[3, 3][..], &[9; 32], &[0, 0, 2, 0x13, 1, 1, 0], &(extensions.len() as u16).to_be_bytes(), &extensions]
            .concat();
    let length = (body.len() as u32).to_be_bytes();
    let hello = [&[1][..], &length[1..], &body].concat();
    let record = [&[22, 3, 1][..], &(hello.len() as u16).to_be_bytes(), &hello].concat();
    let rules = program("drop tls any any -> any any (tls.sni; content:\"evil.example\"; sid:5;)");
    for cut in 1..record.len() {
        let mut c = Conversation::tcp(&rules, 443);
        c.data(CLIENT, 0, &record[..cut]).passes();
        let told = c.data(CLIENT, cut as u32, &record[cut..]);
        assert_eq!((told.judgement, told.sids), (Judgement::Drop, vec![5]), "split at {cut}");
    }
}
