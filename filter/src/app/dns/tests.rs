use std::net::IpAddr;

use super::*;
use crate::app::Settings;

fn tuple(protocol: u8) -> Tuple {
    let host = |n: u8| IpAddr::from([10, 0, 0, n]);
    Tuple { source: host(1), destination: host(2), source_port: 4000, destination_port: 53, protocol }
}

fn feed(parser: &mut dyn Parser, way: Direction, bytes: &[u8], protocol: u8) -> Fed {
    let settings = Settings::default();
    let mut context = Context { settings: &settings, tuple: &tuple(protocol), expectations: &mut Vec::new() };
    parser.feed(way, Input { bytes, end: false, time: weir_wire::Instant::ZERO }, &mut context)
}

fn name(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out
}

fn header(flags: u16, counts: [u16; 4]) -> Vec<u8> {
    let mut out = vec![0x12, 0x34];
    out.extend(flags.to_be_bytes());
    counts.iter().for_each(|count| out.extend(count.to_be_bytes()));
    out
}

fn question(text: &str, rrtype: u16) -> Vec<u8> {
    let mut out = name(text);
    out.extend(rrtype.to_be_bytes());
    out.extend([0, 1]);
    out
}

fn record(owner: &[u8], rrtype: u16, data: &[u8]) -> Vec<u8> {
    let mut out = owner.to_vec();
    out.extend(rrtype.to_be_bytes());
    out.extend([0, 1, 0, 0, 0, 60]);
    out.extend((data.len() as u16).to_be_bytes());
    out.extend(data);
    out
}

fn answer() -> Vec<u8> {
    let mut out = header(0x8180, [1, 3, 1, 0]);
    out.extend(question("www.example.org", 1));
    out.extend(record(&[0xc0, 12], types::CNAME, &[1, b'x', 0xc0, 16]));
    out.extend(record(&[0xc0, 12], types::A, &[192, 0, 2, 1]));
    out.extend(record(&[0xc0, 12], types::TXT, b"\x03one\x03two"));
    out.extend(record(&[0], types::SOA, &[&[1, b'm', 0, 1, b'r', 0][..], &[0; 20]].concat()));
    out
}

fn logged(parser: &dyn Parser, nth: usize) -> String {
    let mut text = String::new();
    let mut json = Json::object(&mut text);
    parser.transactions().get(nth).unwrap().1.log(&mut json);
    json.end();
    text
}

fn value(parser: &dyn Parser, buffer: Buffer, way: Direction, nth: usize) -> Option<Vec<u8>> {
    let mut work = Vec::new();
    parser.transactions().get(0).unwrap().1.buffer(buffer, way, nth, &mut work).map(<[u8]>::to_vec)
}

#[test]
fn a_question_is_a_transaction_with_its_names() {
    let mut parser = (DESCRIPTION.start)(&Settings::default(), &tuple(17));
    let mut bytes = header(0x100, [2, 0, 0, 0]);
    bytes.extend(question("a.example", 1));
    bytes.extend(question("b.example", 28));
    assert_eq!(feed(&mut *parser, Direction::Original, &bytes, 17), Fed::Used(bytes.len()));
    assert_eq!(value(&*parser, Buffer::DnsQuery, Direction::Original, 1), Some(b"b.example".to_vec()));
    assert_eq!(value(&*parser, Buffer::DnsQuery, Direction::Original, 2), None);
    assert_eq!(value(&*parser, Buffer::DnsQueriesName, Direction::Reply, 0), None);
    let transaction = parser.transactions().get(0).unwrap().1;
    assert_eq!(transaction.number(Field::DnsRrtype, Direction::Original, 1), Some(28));
    assert_eq!(
        logged(&*parser, 0),
        "{\"version\":3,\"type\":\"request\",\"tx_id\":0,\"id\":4660,\"flags\":\"100\",\"rd\":true,\"opcode\":0,\
         \"rcode\":\"NOERROR\",\"queries\":[{\"rrname\":\"a.example\",\"rrtype\":\"A\"},\
         {\"rrname\":\"b.example\",\"rrtype\":\"AAAA\"}]}"
    );
}

#[test]
fn an_answer_is_logged_in_full_and_grouped() {
    let mut parser = (DESCRIPTION.start)(&Settings::default(), &tuple(17));
    feed(&mut *parser, Direction::Reply, &answer(), 17);
    let text = logged(&*parser, 0);
    assert!(
        text.contains("\"grouped\":{\"CNAME\":[\"x.example.org\"],\"A\":[\"192.0.2.1\"],\"TXT\":[\"one\",\"two\"]}"),
        "{text}"
    );
    assert!(text.contains("\"soa\":{\"mname\":\"m\",\"rname\":\"r\",\"serial\":0"), "{text}");
    assert_eq!(value(&*parser, Buffer::DnsResponseName, Direction::Reply, 2), Some(b"x.example.org".to_vec()));
    assert_eq!(value(&*parser, Buffer::DnsAuthoritiesName, Direction::Reply, 0), Some(Vec::new()));
}

#[test]
fn a_stream_gives_the_same_messages_however_it_is_cut() {
    let one = answer();
    let mut bytes = Vec::new();
    for _ in 0..3 {
        bytes.extend((one.len() as u16).to_be_bytes());
        bytes.extend(&one);
    }
    for cut in 0..bytes.len() {
        let mut parser = (DESCRIPTION.start)(&Settings::default(), &tuple(6));
        let used = match feed(&mut *parser, Direction::Reply, &bytes[..cut], 6) {
            Fed::Used(used) | Fed::Wait { used, .. } => used,
            other => panic!("{other:?} at {cut}"),
        };
        assert_eq!(feed(&mut *parser, Direction::Reply, &bytes[used..], 6), Fed::Used(bytes.len() - used));
        assert_eq!(parser.transactions().len(), 3, "cut at {cut}");
    }
}

#[test]
fn pointers_that_go_round_end() {
    let mut bytes = header(0x8180, [1, 1, 0, 0]);
    bytes.extend([1, b'a', 0xc0, 12, 0, 1, 0, 1]);
    bytes.extend(record(&[0xc0, 12], types::A, &[1, 2, 3, 4]));
    let mut parser = (DESCRIPTION.start)(&Settings::default(), &tuple(17));
    feed(&mut *parser, Direction::Reply, &bytes, 17);
    let anomalies = &parser.transactions().get(0).unwrap().0.anomalies;
    assert!(anomalies.contains(&Anomaly("dns.too_many_labels")), "{anomalies:?}");
}

#[test]
fn broken_additionals_leave_the_answers() {
    let mut bytes = header(0x8180, [0, 1, 0, 1]);
    bytes.extend(record(&name("a.b"), types::A, &[1, 2, 3, 4]));
    bytes.extend([3, b'x']);
    let mut parser = (DESCRIPTION.start)(&Settings::default(), &tuple(17));
    assert_eq!(feed(&mut *parser, Direction::Reply, &bytes, 17), Fed::Used(bytes.len()));
    assert_eq!(parser.transactions().get(0).unwrap().0.anomalies, [Anomaly("dns.invalid_additionals")]);
    assert_eq!(value(&*parser, Buffer::DnsAnswersName, Direction::Reply, 0), Some(b"a.b".to_vec()));
}

#[test]
fn a_message_of_pointers_to_a_long_name_stays_small() {
    let long = vec!["x".repeat(60); 16].join(".");
    let mut bytes = header(0x8180, [1, 4000, 0, 0]);
    bytes.extend(question("a.b", 1));
    let place = u8::try_from(bytes.len()).unwrap();
    bytes.extend(record(&name(&long), types::A, &[1, 2, 3, 4]));
    (1..4000).for_each(|_| bytes.extend(record(&[0xc0, place], types::A, &[1, 2, 3, 4])));
    let Outcome::Message(outline) = read(&bytes, Direction::Reply, AppProtocol::Dns) else { panic!("refused") };
    assert!(outline.odd.name_too_long);
    assert_eq!(Message::read(&bytes).unwrap().sections[0].len(), 4000);
}

#[test]
fn the_name_of_the_first_question_is_the_same_alone_and_with_all_others() {
    let long = vec!["x".repeat(60); 20].join(".");
    for asked in ["www.example.org", "a", "", &long] {
        let mut bytes = header(0x100, [2, 0, 0, 0]);
        bytes.extend(question(asked, 1));
        bytes.extend(question("b.example", 28));
        let (mut alone, message) = (Vec::new(), Message::read(&bytes).unwrap());
        assert_eq!(message::first_name(&bytes, &mut alone), Some(()));
        assert_eq!(alone, message.text(message.questions[0].name));
        let exchange = carried(&bytes, Direction::Original, 0).unwrap();
        let names = |work: &mut Vec<u8>| {
            let name = |nth| exchange.buffer(Buffer::DnsQuery, Direction::Original, nth, &mut Vec::new()).is_some();
            let first = exchange.buffer(Buffer::DnsQuery, Direction::Original, 0, work).map(<[u8]>::to_vec);
            (first, [0, 1, 2].map(name))
        };
        // The second question is what has the message read whole.
        let expected = (Some(alone), [true, true, false]);
        assert_eq!((names(&mut Vec::new()), names(&mut Vec::new())), (expected.clone(), expected));
    }
}

#[test]
fn records_of_what_was_asked_for_share_its_name() {
    let mut bytes = header(0x8180, [1, 3, 0, 0]);
    bytes.extend(question("www.a.b", 1));
    for owner in [&[0xc0, 12][..], &name("www.a.b"), &[0xc0, 16]] {
        bytes.extend(record(owner, types::A, &[1, 2, 3, 4]));
    }
    let message = Message::read(&bytes).unwrap();
    let names: Vec<_> = message.sections[0].iter().map(|record| message.text(record.name)).collect();
    assert_eq!(names, [&b"www.a.b"[..], b"www.a.b", b"a.b"]);
    assert_eq!(message.sections[0][0].name, message.questions[0].name);
}

#[test]
fn probes_tell_questions_from_answers() {
    let udp = tuple(17);
    let mut asked = header(0x100, [1, 0, 0, 0]);
    asked.extend(question("a.example", 1));
    assert_eq!(probe(Direction::Original, &asked, &udp), Probe::Yes);
    assert_eq!(probe(Direction::Original, &answer(), &udp), Probe::Reversed);
    assert_eq!(probe(Direction::Original, b"GET / HTTP/1.1\r\n", &udp), Probe::No);
    assert_eq!(probe(Direction::Original, &[0], &tuple(6)), Probe::More);
}

#[test]
fn a_storm_of_changed_messages_breaks_nothing() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut chance = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as usize
    };
    for _ in 0..20_000 {
        let mut bytes = answer();
        for _ in 0..chance() % 6 {
            let at = chance() % bytes.len();
            bytes[at] = chance() as u8;
        }
        bytes.truncate(bytes.len() - chance() % 20);
        let way = if chance() % 2 == 0 { Direction::Original } else { Direction::Reply };
        let mut parser = (DESCRIPTION.start)(&Settings::default(), &tuple(17));
        feed(&mut *parser, way, &bytes, 17);
        if !parser.transactions().is_empty() {
            logged(&*parser, 0);
        }
    }
}

#[test]
fn announcements_to_many_are_responses() {
    let mut parser = (MDNS.start)(&Settings::default(), &tuple(17));
    feed(&mut *parser, Direction::Original, &answer(), 17);
    assert!(logged(&*parser, 0).starts_with("{\"type\":\"response\""), "{}", logged(&*parser, 0));
    let name = value(&*parser, Buffer::MdnsResponseName, Direction::Original, 0);
    assert_eq!(name, Some(b"www.example.org".to_vec()));
    assert!(parser.transactions().get(0).unwrap().0.anomalies.is_empty());
}
