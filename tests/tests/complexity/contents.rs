//! What is inside: transforms, compressed bodies, mail in parts, and patterns over text made to be tried at every place.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use weir_filter::inspect::Direction;

use super::measure::Verdicts;
use super::{connection, cycle, inspect, program, starter};

const CLIENT: Direction = Direction::Original;
const SERVER: Direction = Direction::Reply;

/// A request with this body.
fn post(head: &str, body: &[u8]) -> Vec<(Direction, Vec<u8>)> {
    let mut text = format!("POST /a HTTP/1.1\r\nHost: a\r\n{head}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    text.extend_from_slice(body);
    vec![(CLIENT, text)]
}

/// A request and its answer with this head and body.
fn answer(head: &str, body: &[u8]) -> Vec<(Direction, Vec<u8>)> {
    let mut text = format!("HTTP/1.1 200 OK\r\n{head}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    text.extend_from_slice(body);
    vec![(CLIENT, b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()), (SERVER, text)]
}

#[test]
fn transforms_cost_in_proportion() {
    let transforms = [
        "to_md5;",
        "to_sha256;",
        "compress_whitespace;",
        "strip_whitespace; to_lowercase;",
        "url_decode;",
        "url_decode; url_decode; url_decode;",
        "dotprefix; dotprefix;",
        "header_lowercase;",
        "strip_pseudo_headers;",
        "xor:\"0d0ac8ff\";",
        "from_base64;",
        "from_base64: mode rfc4648;",
        "from_base64: mode strict;",
        "gunzip;",
        "zlib_deflate;",
        "domain;",
        "tld;",
        "pcrexform:\"(a+)+b\";",
        "pcrexform:\"a(.*)a\";",
        "subslice:1,-1;",
    ];
    let units: [&[u8]; 6] = [b"a", b" \t", b"%25", b"YWFh", b".a", b":\n"];
    let mut verdicts = Verdicts::default();
    for transform in transforms {
        let rule = format!(
            "alert http any any -> any any (http.request_body; {transform} content:\"zqz\"; sid:1;)\n\
             alert http any any -> any any (http.request_header; {transform} content:\"zqz\"; sid:2;)"
        );
        let program = program(&rule);
        for unit in units {
            let name = format!("{transform} of {}", unit.escape_ascii());
            let make = |size| connection(80, &post("", &cycle(unit, size)), 1460);
            verdicts.linear(&name, 12 << 10, make, |frames| inspect(&program, true, frames));
        }
    }
    verdicts.check();
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    out.write_all(data).unwrap();
    out.finish().unwrap()
}

#[test]
fn compressed_bodies_cost_in_proportion_to_what_is_inspected() {
    type Make = fn(usize) -> Vec<(Direction, Vec<u8>)>;
    let cases: [(&str, Make); 8] = [
        ("gzip", |n| answer("Content-Encoding: gzip\r\n", &gzip(&vec![b'a'; n * 4]))),
        ("gzip of gzip", |n| answer("Content-Encoding: gzip, gzip\r\n", &gzip(&gzip(&vec![b'a'; n * 4])))),
        ("many members", |n| answer("Content-Encoding: gzip\r\n", &cycle(&gzip(b""), n))),
        ("zlib", |n| {
            let mut out = ZlibEncoder::new(Vec::new(), Compression::best());
            out.write_all(&cycle(b"abcdefgh", n * 4)).unwrap();
            answer("Content-Encoding: deflate\r\n", &out.finish().unwrap())
        }),
        ("raw deflate", |n| {
            let mut out = DeflateEncoder::new(Vec::new(), Compression::none());
            out.write_all(&cycle(b"abcdefgh", n)).unwrap();
            answer("Content-Encoding: deflate\r\n", &out.finish().unwrap())
        }),
        ("not gzip at all", |n| answer("Content-Encoding: gzip\r\n", &vec![b'a'; n])),
        ("brotli that is none", |n| answer("Content-Encoding: br\r\n", &cycle(b"\x0b\x02\x80", n))),
        ("many codings", |n| answer(&format!("Content-Encoding: {}\r\n", "gzip, ".repeat(n / 6)), b"a")),
    ];
    let program = program(
        "alert http any any -> any any (file.data; content:\"zqz\"; sid:1;)\n\
         alert http any any -> any any (http.response_body; pcre:\"/a+b/\"; sid:2;)",
    );
    let mut verdicts = Verdicts::default();
    for (name, make) in cases {
        for segment in [1460, 40] {
            let make = |size| connection(80, &make(size), segment);
            let name = format!("{name} in segments of {segment}");
            verdicts.linear(&name, 10 << 10, make, |frames| inspect(&program, true, frames));
        }
    }
    verdicts.check();
}

#[test]
fn framing_of_http_costs_in_proportion() {
    type Make = fn(usize) -> Vec<(Direction, Vec<u8>)>;
    let cases: [(&str, Make); 12] = [
        ("chunks of one byte", |n| {
            let head = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            vec![(CLIENT, [head, cycle(b"1\r\na\r\n", n)].concat())]
        }),
        ("a size of chunk without end", |n| {
            let head = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            vec![(CLIENT, [head, cycle(b"0", n)].concat())]
        }),
        ("many headers", |n| vec![(CLIENT, [b"GET / HTTP/1.1\r\n".to_vec(), cycle(b"a: b\r\n", n)].concat())]),
        ("many equal headers", |n| {
            let lines = cycle(b"Cookie: b\r\nHost: c\r\n", n / 20 * 20);
            vec![(CLIENT, [b"GET / HTTP/1.1\r\n".to_vec(), lines, b"\r\n".to_vec()].concat())]
        }),
        ("many different headers", |n| {
            let lines: String = (0..n / 10).map(|i| format!("H{i}: b\r\n")).collect();
            vec![(CLIENT, format!("GET / HTTP/1.1\r\n{lines}\r\n").into_bytes())]
        }),
        ("folded headers", |n| vec![(CLIENT, [b"GET / HTTP/1.1\r\na: b\r\n".to_vec(), cycle(b" c\r\n", n)].concat())]),
        ("a target without end", |n| vec![(CLIENT, [b"GET /".to_vec(), cycle(b"%2e%2e/../", n)].concat())]),
        ("a target up and down", |n| {
            vec![(CLIENT, [b"GET /".to_vec(), cycle(b"a/../b/", n / 7 * 7), b" HTTP/1.1\r\n\r\n".to_vec()].concat())]
        }),
        ("many requests", |n| vec![(CLIENT, cycle(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n", n))]),
        ("many answers without requests", |n| vec![(SERVER, cycle(b"HTTP/1.1 204 No\r\n\r\n", n))]),
        ("requests and answers", |n| {
            let one = [(CLIENT, b"GET /a HTTP/1.1\r\n\r\n".to_vec()), (SERVER, b"HTTP/1.1 204 No\r\n\r\n".to_vec())];
            one.iter().cloned().cycle().take(n / 19).collect()
        }),
        ("many interim answers", |n| {
            let get = (CLIENT, b"GET /a HTTP/1.1\r\n\r\n".to_vec());
            vec![get, (SERVER, cycle(b"HTTP/1.1 100 Go\r\n\r\n", n))]
        }),
    ];
    let (program, mut verdicts) = (starter(), Verdicts::default());
    for (name, make) in cases {
        for segment in [1460, 60] {
            let make = |size| connection(80, &make(size), segment);
            let name = format!("{name} in segments of {segment}");
            verdicts.linear(&name, 16 << 10, make, |frames| inspect(&program, true, frames));
        }
    }
    verdicts.check();
}

/// A mail with this content.
fn mail(text: Vec<u8>) -> Vec<(Direction, Vec<u8>)> {
    let client = |text: &[u8]| (CLIENT, text.to_vec());
    let server = |text: &[u8]| (SERVER, text.to_vec());
    vec![
        server(b"220 a\r\n"),
        client(b"EHLO a\r\n"),
        server(b"250 a\r\n"),
        client(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"),
        server(b"250 a\r\n250 a\r\n354 a\r\n"),
        (CLIENT, text),
        client(b"\r\n.\r\n"),
    ]
}

#[test]
fn mail_costs_in_proportion() {
    type Make = fn(usize) -> Vec<u8>;
    let cases: [(&str, Make); 11] = [
        ("headers", |n| cycle(b"a: b\r\n", n)),
        ("one header", |n| [b"Subject: ".to_vec(), cycle(b"a ", n)].concat()),
        ("folded header", |n| [b"To: a\r\n".to_vec(), cycle(b" b@c,\r\n", n)].concat()),
        ("encoded words", |n| [b"Subject: ".to_vec(), cycle(b"=?utf-8?B?YWFh?= ", n)].concat()),
        ("parameters", |n| [b"Content-Type: multipart/mixed".to_vec(), cycle(b"; a=\"b\"", n)].concat()),
        ("deep parts", |n| {
            let part = |i| format!("Content-Type: multipart/mixed; boundary=b{i}\r\n\r\n--b{i}\r\n");
            (0..n / 55).map(part).collect::<String>().into_bytes()
        }),
        ("many parts", |n| {
            let head = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_vec();
            [head, cycle(b"--b\r\n\r\na\r\n", n)].concat()
        }),
        ("almost boundaries", |n| {
            let head = format!("Content-Type: multipart/mixed; boundary={}\r\n\r\n", "b".repeat(60)).into_bytes();
            [head, cycle(b"--bbbbbbbbbbbbbb\r\n", n)].concat()
        }),
        ("base64", |n| {
            let head = b"Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment\r\n\r\n".to_vec();
            [head, cycle(b"YWFhYWFhYWFhYWFh\r\n", n)].concat()
        }),
        ("quoted", |n| {
            [b"Content-Transfer-Encoding: quoted-printable\r\n\r\n".to_vec(), cycle(b"=41=\r\n=\r\n", n)].concat()
        }),
        ("links", |n| [b"Content-Type: text/html\r\n\r\n".to_vec(), cycle(b"http://a.b/c ", n)].concat()),
    ];
    let (program, mut verdicts) = (starter(), Verdicts::default());
    for (name, make) in cases {
        for segment in [1460, 50] {
            let make = |size| connection(25, &mail(make(size)), segment);
            let name = format!("{name} in segments of {segment}");
            verdicts.linear(&name, 16 << 10, make, |frames| inspect(&program, true, frames));
        }
    }
    verdicts.check();
}

#[test]
fn patterns_cost_in_proportion_to_the_text() {
    let conditions = [
        r#"content:"aaaab";"#,
        r#"content:"a"; content:"a"; within:20; content:"a"; within:20; content:"b"; within:20;"#,
        r#"content:"a"; pcre:"/a.*b/R"; content:"c"; distance:0;"#,
        r#"content:"a"; content:"a"; distance:0; content:"a"; distance:0; content:"zz"; distance:0;"#,
        r#"pcre:"/(a+)+$/";"#,
        r#"pcre:"/^(a|aa)+b/";"#,
        r#"pcre:"/(a*)*(a*)*b/";"#,
        r#"pcre:"/(.*)\\1z/s";"#,
        r#"pcre:"/(?<=aaaa)b(?!c)/";"#,
        r#"content:"a"; byte_jump:1,0,relative; content:"zz"; distance:0;"#,
        r#"content:"a"; byte_extract:1,0,n,relative; content:"b"; distance:n; content:"c"; within:n;"#,
        r#"content:"a"; isdataat:65535,relative;"#,
        r#"content:!"b"; content:"a"; content:!"a"; within:3;"#,
        r#"base64_decode:bytes 65535, relative; base64_data; content:"zz";"#,
    ];
    let units: [&[u8]; 4] = [b"a", b"ab", b"aaab", b"abc\n"];
    let mut verdicts = Verdicts::default();
    for condition in conditions {
        let program = program(&format!("alert tcp any any -> any any ({condition} sid:1;)"));
        for unit in units {
            for (segment, ips) in [(1460, true), (1460, false), (100, false)] {
                let make = |size| connection(4444, &[(CLIENT, cycle(unit, size))], segment);
                let name = format!("{condition} over {} in segments of {segment}", unit.escape_ascii());
                verdicts.linear(&name, 12 << 10, make, |frames| inspect(&program, ips, frames));
            }
        }
    }
    verdicts.check();
}
