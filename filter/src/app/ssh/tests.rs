use std::net::IpAddr;

use super::*;

fn tuple() -> Tuple {
    let host = IpAddr::from([10, 0, 0, 1]);
    Tuple { source: host, destination: host, source_port: 1, destination_port: 22, protocol: 6 }
}

fn feed(parser: &mut dyn Parser, way: Direction, bytes: &[u8]) -> Fed {
    let settings = Settings::default();
    let mut context = Context { settings: &settings, tuple: &tuple(), expectations: &mut Vec::new() };
    parser.feed(way, Input { bytes, end: false, time: weir_wire::Instant::ZERO }, &mut context)
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let padding = 4;
    let length = (body.len() + 2 + padding) as u32;
    [&length.to_be_bytes()[..], &[padding as u8, kind], body, &[0; 4]].concat()
}

fn kexinit() -> Vec<u8> {
    let mut body = vec![0xa5; 16];
    for list in ["k1,k2", "host", "ec", "es", "mc", "ms", "zc", "zs", "", ""] {
        body.extend((list.len() as u32).to_be_bytes());
        body.extend(list.as_bytes());
    }
    body.extend([0; 5]);
    record(message::KEXINIT, &body)
}

fn value(parser: &dyn Parser, buffer: Buffer, way: Direction) -> Option<String> {
    let mut work = Vec::new();
    let transaction = parser.transactions().get(0)?.1;
    transaction.buffer(buffer, way, 0, &mut work).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

#[test]
fn banner_and_offers_are_the_same_in_any_cut() {
    let whole = [b"SSH-2.0-Client_1.2 a comment\r\n".to_vec(), record(30, &[1; 300]), kexinit()].concat();
    for cut in 0..whole.len() {
        let mut parser = start(&Settings::default(), &tuple());
        let used = match feed(&mut *parser, Direction::Original, &whole[..cut]) {
            Fed::Used(used) | Fed::Wait { used, .. } => used,
            other => panic!("{other:?}"),
        };
        feed(&mut *parser, Direction::Original, &whole[used..]);
        let get = |buffer| value(&*parser, buffer, Direction::Original);
        assert_eq!(get(Buffer::SshProto).as_deref(), Some("2.0"), "cut at {cut}");
        assert_eq!(get(Buffer::SshSoftware).as_deref(), Some("Client_1.2"));
        assert_eq!(get(Buffer::SshHasshString).as_deref(), Some("k1,k2;ec;mc;zc"));
        assert_eq!(get(Buffer::SshHassh), Some(md5_hex(b"k1,k2;ec;mc;zc")));
    }
}

#[test]
fn new_keys_of_both_sides_finish_the_flow() {
    let mut parser = start(&Settings::default(), &tuple());
    let side =
        |name: &str| [format!("SSH-2.0-{name}\n").into_bytes(), kexinit(), record(message::NEWKEYS, &[])].concat();
    feed(&mut *parser, Direction::Original, &side("a"));
    assert_eq!(feed(&mut *parser, Direction::Reply, &side("b")), Fed::Finished);
    let mut text = String::new();
    let mut json = Json::object(&mut text);
    parser.transactions().get(0).unwrap().1.log(&mut json);
    json.end();
    let server = "\"server\":{\"proto_version\":\"2.0\",\"software_version\":\"b\",\"hassh\":{\"hash\":\"";
    assert!(text.contains(server), "{text}");
    assert!(text.contains("\"string\":\"k1,k2;es;ms;zs\""), "{text}");
}

#[test]
fn a_banner_without_an_end_is_cut_and_noted() {
    let mut parser = start(&Settings::default(), &tuple());
    let long = [&b"SSH-2.0-"[..], &[b'x'; 400]].concat();
    assert_eq!(feed(&mut *parser, Direction::Original, &long), Fed::Used(long.len()));
    assert_eq!(parser.transactions().get(0).unwrap().0.anomalies, [Anomaly("ssh.long_banner")]);
    assert_eq!(feed(&mut *parser, Direction::Original, b"xx\r\n\0\0"), Fed::Wait { used: 4, need: 6 });
}

#[test]
fn offers_that_are_too_long_are_noted_and_passed_over() {
    let mut parser = start(&Settings::default(), &tuple());
    let said = [b"SSH-2.0-x\r\n".to_vec(), record(message::KEXINIT, &[1; KEXINIT + 1]), kexinit()].concat();
    assert_eq!(feed(&mut *parser, Direction::Original, &said), Fed::Used(said.len()));
    assert_eq!(parser.transactions().get(0).unwrap().0.anomalies, [Anomaly("ssh.long_kex_record")]);
    assert!(value(&*parser, Buffer::SshHassh, Direction::Original).is_some());
}

#[test]
fn bytes_that_are_no_record_fail() {
    let mut parser = start(&Settings::default(), &tuple());
    assert_eq!(feed(&mut *parser, Direction::Original, b"SSH-2.0-x\r\n\xff\xff\xff\xff\x00\x14"), Fed::Failed);
    let mut parser = start(&Settings::default(), &tuple());
    assert_eq!(feed(&mut *parser, Direction::Original, b"SSH 2\r\n"), Fed::Failed);
    assert_eq!(probe(Direction::Original, b"SS", &tuple()), Probe::More);
}

#[test]
fn a_storm_of_changed_openings_breaks_nothing() {
    let mut seed = 0x1234_5678_9abc_def1u64;
    let mut chance = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as usize
    };
    let whole = [b"SSH-2.0-x\r\n".to_vec(), kexinit(), record(message::NEWKEYS, &[])].concat();
    for _ in 0..5000 {
        let mut bytes = whole.clone();
        for _ in 0..chance() % 5 {
            let at = chance() % bytes.len();
            bytes[at] = chance() as u8;
        }
        let mut parser = start(&Settings::default(), &tuple());
        let cut = chance() % bytes.len();
        if let Fed::Used(used) | Fed::Wait { used, .. } = feed(&mut *parser, Direction::Reply, &bytes[..cut]) {
            feed(&mut *parser, Direction::Reply, &bytes[used..]);
        }
    }
}
