use super::*;
use crate::app::exercise::tuple;

fn feed(parser: &mut dyn Parser, way: Direction, bytes: &[u8]) -> Fed {
    let settings = Settings::default();
    let mut context = Context { settings: &settings, tuple: &tuple(17), expectations: &mut Vec::new() };
    parser.feed(way, Input { bytes, end: true, time: weir_wire::Instant::ZERO }, &mut context)
}

pub(crate) fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn client_hello() -> Vec<u8> {
    let name = prefixed(&[&[0][..], &prefixed(b"quic.example")].concat());
    let alpn = prefixed(b"\x02h3");
    let extensions = [vec![0, 0], prefixed(&name), vec![0, 16], prefixed(&alpn)].concat();
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &prefixed(&extensions)].concat();
    [&[1, 0, 0, body.len() as u8][..], &body].concat()
}

fn server_hello() -> Vec<u8> {
    let extensions = [vec![0, 43], prefixed(&[3, 4])].concat();
    let body = [&[3, 3][..], &[9; 32], &[0, 0x13, 2, 0], &prefixed(&extensions)].concat();
    [&[2, 0, 0, body.len() as u8][..], &body].concat()
}

const DESTINATION: &[u8] = b"identify";

pub(crate) fn crypto(offset: u8, bytes: &[u8]) -> Vec<u8> {
    [&[6, offset, 0x40, bytes.len() as u8][..], bytes].concat()
}

pub(crate) fn initial(version: u32, way: Direction, frames: &[u8]) -> Vec<u8> {
    let keys = Keys::new(version, DESTINATION).unwrap();
    let first = if version == packet::VERSION_2 { 0xd0 } else { 0xc0 };
    let mut plain = frames.to_vec();
    plain.resize(400, 0);
    let length = (plain.len() + 17) as u16 | 0x4000;
    let head =
        [&[first][..], &version.to_be_bytes(), &[DESTINATION.len() as u8], DESTINATION, &[0, 0], &length.to_be_bytes()]
            .concat();
    keys.seal(way, &head, 0, &plain)
}

fn value(parser: &dyn Parser, nth: usize, buffer: Buffer, way: Direction) -> Option<Vec<u8>> {
    let mut work = Vec::new();
    parser.transactions().get(nth)?.1.buffer(buffer, way, 0, &mut work).map(<[u8]>::to_vec)
}

const ASK: Direction = Direction::Original;
const ANSWER: Direction = Direction::Reply;

#[test]
fn keys_are_those_of_the_standard() {
    // RFC 9001, A.1: the client's header protection key masks its sample so (A.2).
    let keys = Keys::new(packet::VERSION_1, &[0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08]).unwrap();
    let plain = keys.seal(ASK, &[0xc0, 1, 2, 3], 2, &[0; 40]);
    assert_eq!(keys.open(ASK, &plain[..4], &plain[4..]), Some(vec![0; 40]));
    assert_eq!(keys.open(ANSWER, &plain[..4], &plain[4..]), None);
}

#[test]
fn hellos_in_pieces_are_told() {
    for version in [packet::VERSION_1, packet::VERSION_2, 0xff00_001d] {
        let mut parser = start(&Settings::default(), &tuple(17));
        let hello = client_hello();
        let (head, tail) = hello.split_at(30);
        feed(&mut *parser, ASK, &initial(version, ASK, &crypto(30, tail)));
        assert_eq!(parser.transactions().len(), 0);
        feed(&mut *parser, ASK, &initial(version, ASK, &[vec![1, 0], crypto(0, head)].concat()));
        assert_eq!(value(&*parser, 0, Buffer::QuicSni, ASK), Some(b"quic.example".to_vec()), "{version:x}");
        assert_eq!(value(&*parser, 0, Buffer::Ja3String, ASK), Some(b"771,4865,0-16,,".to_vec()));
        assert_eq!(value(&*parser, 0, Buffer::QuicVersion, ASK), Some(version.to_be_bytes().to_vec()));
        let answer = [vec![2, 0, 0, 0, 0], crypto(0, &server_hello())].concat();
        feed(&mut *parser, ANSWER, &initial(version, ANSWER, &answer));
        assert_eq!(value(&*parser, 1, Buffer::Ja3sString, ANSWER), Some(b"771,4866,43".to_vec()));
        assert_eq!(feed(&mut *parser, ASK, &[0x40; 50]), Fed::Finished);
    }
}

#[test]
fn extensions_are_logged_with_their_values() {
    let mut parser = start(&Settings::default(), &tuple(17));
    feed(&mut *parser, ASK, &initial(packet::VERSION_1, ASK, &crypto(0, &client_hello())));
    let mut text = String::new();
    let mut json = Json::object(&mut text);
    parser.transactions().get(0).unwrap().1.log(&mut json);
    json.end();
    assert!(text.starts_with("{\"version\":\"1\",\"sni\":\"quic.example\",\"ja3\":{"), "{text}");
    let extensions = "\"extensions\":[{\"name\":\"server_name\",\"type\":0,\"values\":[\"quic.example\"]},\
                      {\"name\":\"alpn\",\"type\":16,\"values\":[\"h3\"]}]";
    assert!(text.contains(extensions), "{text}");
}

#[test]
fn versions_and_signatures_are_values_too() {
    let hello = Hello { signatures: vec![1027, 2052], versions: vec![0x0304, 0x0a0a], ..Hello::default() };
    let shown = |number| {
        let mut out = String::new();
        let mut json = Json::object(&mut out);
        extension(number, &hello, &mut json);
        json.end();
        out
    };
    assert_eq!(shown(13), r#"{"name":"signature_algorithms","type":13,"values":["1027","2052"]}"#);
    assert_eq!(shown(43), r#"{"name":"supported_versions","type":43,"values":["Tls13","2570"]}"#);
    assert_eq!(shown(51), r#"{"name":"key_share","type":51}"#);
}

#[test]
fn the_hello_of_googles_version_is_told() {
    let values: &[u8] = b"padname.example";
    let entries = [&b"PAD\0"[..], &3u32.to_le_bytes(), b"SNI\0", &(values.len() as u32).to_le_bytes()].concat();
    let message = [&b"CHLO"[..], &[2, 0, 0, 0], &entries, values].concat();
    let frame = [&[0xa0, 1][..], &(message.len() as u16).to_le_bytes(), &message].concat();
    let packet = [&[0xc3][..], b"Q046", &[0x50], b"identify", &[0, 0, 0, 1], &[0xa5; 12], &frame].concat();
    let mut parser = start(&Settings::default(), &tuple(17));
    assert_eq!(probe(ASK, &packet, &tuple(17)), Probe::Yes);
    feed(&mut *parser, ASK, &packet);
    assert_eq!(value(&*parser, 0, Buffer::QuicSni, ASK), Some(b"name.example".to_vec()));
    assert_eq!(value(&*parser, 0, Buffer::QuicCyuString, ASK), Some(b"46,PAD-SNI".to_vec()));
}

#[test]
fn packets_that_cannot_be_read_are_noted() {
    let hello = initial(packet::VERSION_1, ASK, &crypto(0, &client_hello()));
    let noted = |packets: &[&[u8]]| {
        let mut parser = start(&Settings::default(), &tuple(17));
        for packet in packets {
            feed(&mut *parser, ASK, packet);
        }
        let list = parser.transactions();
        let all = (0..list.len()).flat_map(|nth| list.get(nth).unwrap().0.anomalies.iter().map(|one| one.0));
        all.collect::<Vec<_>>()
    };
    assert_eq!(noted(&[&hello]), [""; 0]);
    let mut changed = hello.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(noted(&[&changed]), ["quic.failed_decrypt"]);
    // An identifier of 21 bytes.
    let mut long = hello;
    long[5] = 21;
    assert_eq!(noted(&[&long]), ["quic.error_on_header"]);
    let beyond = initial(packet::VERSION_1, ASK, &[&[6, 0x80, 1, 0, 0, 1][..], &[7]].concat());
    assert_eq!(noted(&[&beyond]), ["quic.crypto_frag_too_long"]);
}

#[test]
fn a_storm_of_changed_packets_breaks_nothing() {
    let mut seed = 0x0dd0_57a7_1234_9876u64;
    let mut chance = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as usize
    };
    for _ in 0..2000 {
        let mut hello = client_hello();
        for _ in 0..chance() % 4 {
            let at = chance() % hello.len();
            hello[at] = chance() as u8;
        }
        let mut packet = initial(packet::VERSION_1, ASK, &crypto(0, &hello));
        if chance() % 2 == 0 {
            let at = chance() % packet.len();
            packet[at] = chance() as u8;
        }
        let mut parser = start(&Settings::default(), &tuple(17));
        feed(&mut *parser, ASK, &packet);
    }
}
