use std::net::IpAddr;

use weir_ids_rules::{Buffer, Field};

use weir_wire::Instant;

use super::*;

fn feed(parser: &mut dyn Parser, way: Direction, bytes: &[u8]) -> Fed {
    let host = |n: u8| IpAddr::from([10, 0, 0, n]);
    let tuple = Tuple { source: host(1), destination: host(2), source_port: 4000, destination_port: 443, protocol: 6 };
    let settings = Settings::default();
    let mut context = Context { settings: &settings, tuple: &tuple, expectations: &mut Vec::new() };
    parser.feed(way, Input { bytes, end: false, time: Instant::ZERO }, &mut context)
}

fn parser() -> Box<dyn Parser> {
    let host = IpAddr::from([10, 0, 0, 1]);
    let tuple = Tuple { source: host, destination: host, source_port: 1, destination_port: 443, protocol: 6 };
    start(&Settings::default(), &tuple)
}

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let mut out = (bytes.len() as u16).to_be_bytes().to_vec();
    out.extend(bytes);
    out
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    [&[kind][..], &length[1..], body].concat()
}

pub(crate) fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1][..], &prefixed(body)].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &prefixed(body)].concat()
}

pub(crate) fn client_hello() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([2, 0xaa, 0xbb]);
    body.extend(prefixed(&[0x13, 0x01, 0xc0, 0x2b]));
    body.extend([1, 0]);
    let name = prefixed(&[&[0][..], &prefixed(b"www.example.org")].concat());
    let extensions = [
        extension(0, &name),
        extension(10, &prefixed(&[0, 29])),
        extension(11, &[1, 0]),
        extension(16, &prefixed(b"\x02h2\x08http/1.1")),
    ]
    .concat();
    body.extend(prefixed(&extensions));
    message(1, &body)
}

pub(crate) fn server_hello(version: u16) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([9; 32]);
    body.extend([0, 0xc0, 0x2b, 0]);
    let extensions = match version {
        0x0304 => extension(43, &version.to_be_bytes()),
        _ => extension(0xff01, &[0]),
    };
    body.extend(prefixed(&extensions));
    message(2, &body)
}

/// A DER element.
fn der(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = match body.len() {
        short @ 0..=127 => vec![short as u8],
        long => vec![0x82, (long >> 8) as u8, long as u8],
    };
    [&[tag][..], &length, body].concat()
}

fn name(common: &str) -> Vec<u8> {
    let attribute = der(0x30, &[der(6, &[0x55, 4, 3]), der(0x0c, common.as_bytes())].concat());
    der(0x30, &der(0x31, &attribute))
}

fn certificate() -> Vec<u8> {
    let algorithm = der(0x30, &der(6, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11]));
    let validity = der(0x30, &[der(0x17, b"221201064731Z"), der(0x17, b"230301064730Z")].concat());
    let key = der(0x30, &[algorithm.clone(), der(3, &[0, 0x30, 0])].concat());
    let names = der(0x30, &[der(0x82, b"a.example"), der(0x87, &[192, 0, 2, 1])].concat());
    let alternative = der(0x30, &[der(6, &[0x55, 0x1d, 17]), der(4, &names)].concat());
    let signed = der(
        0x30,
        &[
            der(0xa0, &der(2, &[2])),
            der(2, &[0x0a, 0xbc]),
            algorithm.clone(),
            name("issuer"),
            validity,
            name("subject"),
            key,
            der(0xa3, &der(0x30, &alternative)),
        ]
        .concat(),
    );
    der(0x30, &[signed, algorithm, der(3, &[0, 1])].concat())
}

fn certificates() -> Vec<u8> {
    let certificate = certificate();
    let entry = [&(certificate.len() as u32).to_be_bytes()[1..], &certificate].concat();
    let list = [entry.clone(), entry].concat();
    message(11, &[&(list.len() as u32).to_be_bytes()[1..], &list].concat())
}

fn value(parser: &dyn Parser, buffer: Buffer, way: Direction) -> Option<String> {
    let mut work = Vec::new();
    let transaction = parser.transactions().get(0)?.1;
    transaction.buffer(buffer, way, 0, &mut work).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

fn logged(parser: &dyn Parser) -> String {
    let mut text = String::new();
    let mut json = crate::json::Json::object(&mut text);
    parser.transactions().get(0).unwrap().1.log(&mut json);
    json.end();
    text
}

const ASK: Direction = Direction::Original;
const ANSWER: Direction = Direction::Reply;

#[test]
fn a_client_hello_is_the_same_in_any_cut_over_any_records() {
    let hello = client_hello();
    let whole = record(22, &hello);
    for cut in 0..whole.len() {
        let mut parser = parser();
        let used = match feed(&mut *parser, ASK, &whole[..cut]) {
            Fed::Used(used) | Fed::Wait { used, .. } => used,
            other => panic!("{other:?}"),
        };
        feed(&mut *parser, ASK, &whole[used..]);
        assert_eq!(value(&*parser, Buffer::TlsSni, ASK).as_deref(), Some("www.example.org"), "cut at {cut}");
    }
    for cut in 1..hello.len() {
        let mut parser = parser();
        let both = [record(22, &hello[..cut]), record(22, &hello[cut..])].concat();
        feed(&mut *parser, ASK, &both);
        let ja3 = value(&*parser, Buffer::Ja3String, ASK);
        assert_eq!(ja3.as_deref(), Some("771,4865-49195,0-10-11-16,29,0"), "cut at {cut}");
    }
}

#[test]
fn a_full_handshake_is_told_and_finished() {
    let mut parser = parser();
    feed(&mut *parser, ASK, &record(22, &client_hello()));
    let answer = [server_hello(0x0303), certificates(), message(14, &[])].concat();
    feed(&mut *parser, ANSWER, &record(22, &answer));
    assert_eq!(value(&*parser, Buffer::TlsCertSubject, ANSWER).as_deref(), Some("CN=subject"));
    assert_eq!(value(&*parser, Buffer::TlsCertSerial, ANSWER).as_deref(), Some("0A:BC"));
    assert_eq!(value(&*parser, Buffer::TlsSubjectAltName, ANSWER).as_deref(), Some("a.example"));
    let transaction = parser.transactions().get(0).unwrap().1;
    assert_eq!(transaction.number(Field::TlsCertChainLength, ANSWER, 0), Some(2));
    assert_eq!(transaction.progress(ANSWER), 3);
    let text = logged(&*parser);
    for part in [
        "\"issuerdn\":\"CN=issuer\"",
        "\"sni\":\"www.example.org\"",
        "\"version\":\"TLS 1.2\"",
        "\"notbefore\":\"2022-12-01T06:47:31\"",
        "\"subjectaltname\":[\"a.example\",\"192.0.2.1\"]",
        "\"client_alpns\":[\"h2\",\"http/1.1\"]",
        "\"ja3s\":{\"hash\"",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    feed(&mut *parser, ASK, &[record(22, &message(16, &[0])), record(20, &[1]), record(22, &[0xff; 40])].concat());
    feed(&mut *parser, ANSWER, &[record(20, &[1]), record(22, &[0xfe; 40])].concat());
    assert_eq!(feed(&mut *parser, ASK, &record(23, &[0; 100])), Fed::Finished);
    assert_eq!(parser.transactions().get(0).unwrap().0.anomalies, []);
}

#[test]
fn version_1_3_is_finished_with_the_first_data_of_both_sides() {
    let mut parser = parser();
    feed(&mut *parser, ASK, &record(22, &client_hello()));
    feed(&mut *parser, ANSWER, &[record(22, &server_hello(0x0304)), record(23, &[1; 50])].concat());
    assert!(logged(&*parser).contains("\"version\":\"TLS 1.3\""));
    assert_eq!(feed(&mut *parser, ASK, &record(23, &[1; 50])), Fed::Finished);
}

#[test]
fn a_heartbeat_longer_than_its_record_is_noted() {
    let mut parser = parser();
    feed(&mut *parser, ASK, &record(22, &client_hello()));
    feed(&mut *parser, ASK, &record(24, &[1, 0x40, 0]));
    let anomalies = &parser.transactions().get(0).unwrap().0.anomalies;
    assert!(anomalies.contains(&Anomaly("tls.overflow_heartbeat_message")), "{anomalies:?}");
}

#[test]
fn an_encrypted_heartbeat_answered_with_more_is_noted() {
    for (answered, leaks) in [(60, false), (61, true)] {
        let settings = [("app-layer.protocols.tls.encryption-handling".to_owned(), "full".to_owned())];
        let settings = Settings { named: settings.into_iter().collect(), ..Settings::default() };
        let mut parser = start(&settings, &tuple());
        feed(&mut *parser, ASK, &record(22, &client_hello()));
        feed(&mut *parser, ANSWER, &record(22, &server_hello(0x0303)));
        for way in [ASK, ANSWER] {
            feed(&mut *parser, way, &[record(20, &[1]), record(22, &[7; 40])].concat());
        }
        feed(&mut *parser, ASK, &record(24, &[9; 60]));
        feed(&mut *parser, ANSWER, &record(24, &vec![9; answered]));
        let anomalies = &parser.transactions().get(0).unwrap().0.anomalies;
        assert!(anomalies.contains(&Anomaly("tls.heartbeat_message")), "{anomalies:?}");
        assert_eq!(anomalies.contains(&Anomaly("tls.dataleak_heartbeat_mismatch")), leaks, "{anomalies:?}");
    }
}

#[test]
fn an_old_client_is_understood() {
    let mut parser = parser();
    let body = [&[1, 3, 1, 0, 3, 0, 0, 0, 16, 0, 0, 5][..], &[8; 16]].concat();
    let old = [&[0x80, body.len() as u8][..], &body].concat();
    assert_eq!(probe(ASK, &old, &tuple()), Probe::Yes);
    feed(&mut *parser, ASK, &old);
    feed(&mut *parser, ANSWER, &record(22, &server_hello(0x0303)));
    assert_eq!(parser.transactions().get(0).unwrap().1.special("ssl_version", "tls1.0", ASK), Some(true));
}

fn tuple() -> Tuple {
    let host = IpAddr::from([10, 0, 0, 1]);
    Tuple { source: host, destination: host, source_port: 1, destination_port: 443, protocol: 6 }
}

#[test]
fn what_is_no_record_fails() {
    let mut parser = parser();
    assert_eq!(feed(&mut *parser, ASK, b"\x16\x03\x01\xff\xff"), Fed::Failed);
    assert_eq!(feed(&mut *super::tests::parser(), ASK, b"GET / HTTP/1.1\r\n"), Fed::Failed);
    assert_eq!(probe(ASK, b"GET /", &tuple()), Probe::No);
}

#[test]
fn a_storm_of_changed_handshakes_breaks_nothing() {
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let mut chance = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as usize
    };
    let asked = [record(22, &client_hello()), record(20, &[1])].concat();
    let answered = record(22, &[server_hello(0x0303), certificates(), message(14, &[])].concat());
    for _ in 0..3000 {
        let mut parser = parser();
        for (way, bytes) in [(ASK, &asked), (ANSWER, &answered)] {
            let mut bytes = bytes.clone();
            for _ in 0..chance() % 5 {
                let at = chance() % bytes.len();
                bytes[at] = chance() as u8;
            }
            let cut = chance() % bytes.len();
            if let Fed::Used(used) | Fed::Wait { used, .. } = feed(&mut *parser, way, &bytes[..cut]) {
                feed(&mut *parser, way, &bytes[used..]);
            }
        }
        logged(&*parser);
    }
}
