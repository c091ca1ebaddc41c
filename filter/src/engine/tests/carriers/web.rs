//! HTTP: both directions, every coding, every container.

use super::codings::*;
use super::*;
use crate::app::http2::tests::{frame, literal};

const GET: &[u8] = b"GET /f HTTP/1.1\r\nHost: a\r\n\r\n";

/// What follows the empty line.
fn body(bytes: &[u8]) -> Vec<u8> {
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    bytes[at..].to_vec()
}

fn response(name: &str, fields: &str, coded: &[u8], undo: fn(&[u8]) -> Vec<u8>) -> Carrier {
    let length =
        if fields.contains("chunked") { String::new() } else { format!("Content-Length: {}\r\n", coded.len()) };
    Carrier {
        name: format!("HTTP response, {name}"),
        lines: web_line,
        turns: vec![turn(true, GET)],
        asks: false,
        said: [format!("HTTP/1.1 200 OK\r\n{fields}{length}\r\n").as_bytes(), coded].concat(),
        until: Until::Object,
        closes: false,
        undo: Box::new(move |bytes| undo(&body(bytes))),
    }
}

#[test]
fn bodies_of_responses() {
    check(Knows::Whole, |file| response("as it is", "", file, <[u8]>::to_vec));
    check(Knows::Whole, |file| response("chunked", "Transfer-Encoding: chunked\r\n", &chunked(file), unchunked));
    check(Knows::Parts, |file| response("a range", "Content-Range: bytes 9-99/200\r\n", file, <[u8]>::to_vec));
}

#[test]
fn content_codings() {
    check(Knows::Whole, |file| response("gzip", "Content-Encoding: gzip\r\n", &gzip(file), ungzip));
    check(Knows::Whole, |file| response("zlib", "Content-Encoding: deflate\r\n", &zlib(file), unzlib));
    check(Knows::Whole, |file| response("deflate", "Content-Encoding: deflate\r\n", &deflate(file), undeflate));
    check(Knows::Whole, |file| response("br", "Content-Encoding: br\r\n", &brotli(file), unbrotli));
    let both = "Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n";
    check(Knows::Whole, |file| response("gzip, chunked", both, &chunked(&gzip(file)), |b| ungzip(&unchunked(b))));
    let twice = "Content-Encoding: deflate, gzip\r\n";
    check(Knows::Whole, |file| response("deflate, gzip", twice, &gzip(&zlib(file)), |b| unzlib(&ungzip(b))));
}

#[test]
fn ranges_that_follow_each_other() {
    let partial = |from: usize, bytes: &[u8], whole: usize| {
        let last = from + bytes.len() - 1;
        let head = format!(
            "HTTP/1.1 206 Partial\r\nContent-Range: bytes {from}-{last}/{whole}\r\nContent-Length: {}\r\n\r\n",
            bytes.len()
        );
        [head.as_bytes(), bytes].concat()
    };
    let two: fn(u16) -> Vec<Line> =
        |n| [0, 4000].map(|more| Line { opener: A, source: 2000 + more + n, port: 80 }).into();
    for lines in [web_line, two] {
        check(Knows::Whole, |file| {
            let (first, second) = file.split_at(file.len() / 2);
            let before = first.to_vec();
            let mut carrier = Carrier {
                name: "HTTP, two ranges".into(),
                lines,
                turns: vec![turn(true, GET), turn(false, partial(0, first, file.len())), turn(true, GET)],
                said: partial(first.len(), second, file.len()),
                undo: Box::new(move |bytes| [&before[..], &body(bytes)].concat()),
                ..response("", "", file, <[u8]>::to_vec)
            };
            carrier.turns[2].line = lines(0).len() - 1;
            carrier
        });
    }
}

#[test]
fn a_coding_that_is_not_undone_is_refused() {
    // Nothing is known of such a file, so that its twin is refused as well.
    let spec = checking();
    for coding in ["zstd", "gzip, ZSTD", "compress"] {
        let carrier =
            response(coding, &format!("Content-Encoding: {coding}\r\n"), b"\x28\xb5\x2f\xfd coded", <[u8]>::to_vec);
        let mut world = World::new(&spec);
        let got = Play::begin(&mut world, &carrier, 0).carry(&carrier, &[0..50, 50..carrier.said.len()]);
        assert!(got.len() < carrier.said.len(), "{coding}");
        assert_eq!(
            world.events().iter().filter(|event| *event == "virus a content coding that is not undone http").count(),
            1
        );
    }
}

#[test]
fn a_body_that_unfolds_to_too_much_is_refused() {
    let carrier =
        response("a bomb", "Content-Encoding: gzip, gzip\r\n", &gzip(&gzip(&vec![0; 64 << 20])), <[u8]>::to_vec);
    let mut world = World::new(&checking());
    let length = carrier.said.len();
    let got = Play::begin(&mut world, &carrier, 0).carry(&carrier, &[0..length / 2, length / 2..length]);
    assert!(got.len() < length);
    let told = world.events();
    assert!(told.iter().any(|event| event == "virus a body that unfolds to too much http"), "{told:?}");
}

#[test]
fn containers() {
    check(Knows::Whole, |file| response("a gzip", "", &gzip(file), ungzip));
    check(Knows::Whole, |file| response("a zip, deflated", "", &zip_deflated(file), unzip_deflated));
    check(Knows::Whole, |file| response("a zip, stored", "", &zip_stored(file), unzip_stored));
    let behind = |file: &[u8]| {
        let mut locked = zip_stored(b"locked");
        locked.truncate(locked.len() - 4);
        // Encrypted, as its flags say: what follows it is read all the same.
        locked[6] = 1;
        [&locked[..], &zip_deflated(file)].concat()
    };
    check(Knows::Whole, |file| {
        response("a zip behind what is encrypted", "", &behind(file), |b| {
            unzip_deflated(b.get(41..).unwrap_or_default())
        })
    });
    check(Knows::Whole, |file| response("a tar.gz", "", &gzip(&tar(file)), |b| untar(&ungzip(b))));
    let nested = |file: &[u8]| zip_deflated(&gzip(&zip_stored(&zip_deflated(file))));
    let undo = |b: &[u8]| unzip_deflated(&unzip_stored(&ungzip(&unzip_deflated(b))));
    check(Knows::Whole, |file| response("four archives deep", "", &nested(file), undo));
}

#[test]
fn a_body_that_ends_with_its_connection() {
    check(Knows::Whole, |file| Carrier {
        name: "HTTP/1.0 response".into(),
        said: [b"HTTP/1.0 200 OK\r\n\r\n", file].concat(),
        closes: true,
        ..response("", "", file, <[u8]>::to_vec)
    });
}

#[test]
fn uploads() {
    let post = |kind: &str, coded: &[u8], undo: fn(&[u8]) -> Vec<u8>| Carrier {
        name: format!("HTTP request, {kind}"),
        turns: vec![],
        asks: true,
        said: [
            format!("POST /up HTTP/1.1\r\nHost: a\r\n{kind}Content-Length: {}\r\n\r\n", coded.len()).as_bytes(),
            coded,
        ]
        .concat(),
        ..response("", "", b"", undo)
    };
    let form = |disposition: &str, file: &[u8]| {
        [b"--XX\r\nContent-Disposition: form-data; ", disposition.as_bytes(), b"\r\n\r\n", file, b"\r\n--XX--\r\n"]
            .concat()
    };
    const FORM: &str = "Content-Type: multipart/form-data; boundary=XX\r\n";
    check(Knows::Whole, |file| post("", file, <[u8]>::to_vec));
    check(Knows::Whole, |file| post("Content-Encoding: gzip\r\n", &gzip(file), ungzip));
    check(Knows::Whole, |file| post("Content-Encoding: br\r\n", &brotli(file), unbrotli));
    check(Knows::Whole, |file| post(FORM, &form("name=\"f\"; filename=\"a.com\"", file), <[u8]>::to_vec));
    check(Knows::Whole, |file| post(FORM, &form("name=\"text\"", file), <[u8]>::to_vec));
    check(Knows::Whole, |file| post(FORM, &form("name=\"f\"; filename*=UTF-8''a.com", file), <[u8]>::to_vec));
    check(Knows::Whole, |file| Carrier {
        name: "HTTP request, PUT chunked".into(),
        said: [b"PUT /f HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", &chunked(file)[..]].concat(),
        ..post("", b"", unchunked)
    });
}

#[test]
fn http2_without_encryption() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let asked = [&[0x82, 0x87, 0x84][..], &literal(":authority", "a.example")].concat();
    let asked = [PREFACE, &frame(4, 0, 0, &[]), &frame(1, 5, 1, &asked)].concat();
    for (coding, code) in [("", <[u8]>::to_vec as fn(&[u8]) -> Vec<u8>), ("gzip", gzip)] {
        let head = match coding {
            "" => vec![0x88],
            coding => [&[0x88][..], &literal("content-encoding", coding)].concat(),
        };
        check(Knows::Whole, |file| {
            let coded = code(file);
            // The body in two frames, of which the first is padded.
            let (first, second) = coded.split_at(coded.len() / 2);
            let padded = [&[2][..], first, &[0, 0]].concat();
            let opening = [frame(4, 0, 0, &[]), frame(1, 4, 1, &head)].concat();
            let (data, rest) = (frame(0, 8, 1, &padded), frame(0, 1, 1, second));
            let (from, middle) = (opening.len() + 10, first.len());
            Carrier {
                name: format!("HTTP/2 response {coding}"),
                turns: vec![turn(true, &asked)],
                said: [opening, data, rest].concat(),
                undo: Box::new(move |bytes| {
                    let first = bytes.get(from..).unwrap_or_default();
                    let second = first.get(middle + 2 + 9..).unwrap_or_default();
                    let coded = [first.get(..middle).unwrap_or_default(), second].concat();
                    if coding.is_empty() { coded } else { ungzip(&coded) }
                }),
                ..response("", "", file, <[u8]>::to_vec)
            }
        });
    }
}
