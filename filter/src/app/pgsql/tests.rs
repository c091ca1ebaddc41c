use super::*;
use crate::app::exercise::{Talk, all_cuts, run, storm};

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

fn startup() -> Vec<u8> {
    let body = b"\0\x03\0\0user\0me\0database\0db\0client_encoding\0UTF8\0\0";
    [&(body.len() as u32 + 4).to_be_bytes()[..], body].concat()
}

const ASK: Direction = Direction::Original;
const ANSWER: Direction = Direction::Reply;

fn script() -> Vec<(Direction, Vec<u8>)> {
    let rows: Vec<u8> = (0..3).flat_map(|_| message(b'D', b"\0\x02\0\0\0\x03abc\0\0\0\x01x")).collect();
    vec![
        (ASK, vec![0, 0, 0, 8, 4, 210, 22, 47]),
        (ANSWER, vec![b'N']),
        (ASK, startup()),
        (ANSWER, [message(b'R', &[0, 0, 0, 5, 1, 2, 3, 4])].concat()),
        (ASK, message(b'p', b"md5abc\0")),
        (ANSWER, [message(b'R', &[0; 4]), message(b'S', b"TimeZone\0utc\0"), message(b'Z', b"I")].concat()),
        (ASK, message(b'Q', b"SELECT * FROM t;\0")),
        (ANSWER, [message(b'T', &[0, 2]), rows, message(b'C', b"SELECT 3\0"), message(b'Z', b"I")].concat()),
        (ASK, message(b'Q', b"SELECT 1/0;\0")),
        (ANSWER, [message(b'E', b"SERROR\0C22012\0Mdivision by zero\0\0"), message(b'Z', b"I")].concat()),
        (ASK, message(b'X', b"")),
    ]
}

fn borrowed(script: &[(Direction, Vec<u8>)]) -> Vec<(Direction, &[u8])> {
    script.iter().map(|(way, bytes)| (*way, &bytes[..])).collect()
}

#[test]
fn a_session_is_the_same_in_any_cut() {
    let script = script();
    let shown = all_cuts(start, &Settings::default(), &borrowed(&script));
    assert_eq!(shown.lines().count(), 6, "{shown}");
    for part in [
        "\"tx_id\":1,\"request\":{\"message\":\"SSL Request\"},\"response\":{\"ssl_accepted\":false}",
        "\"startup_parameters\":{\"user\":\"me\",\"database\":\"db\",\"optional_parameters\":[{\"client_encoding\":\"UTF8\"}]}",
        "\"parameter_status\":[{\"time_zone\":\"utc\"}]",
        "\"response\":{\"field_count\":2,\"data_rows\":3,\"data_size\":12,\"command_completed\":\"SELECT 3\"}",
        "\"severity_localizable\":\"ERROR\",\"code\":\"22012\",\"message\":\"division by zero\"",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
}

#[test]
fn queries_are_a_buffer() {
    let script = script();
    let talk = run(start, &Settings::default(), &borrowed(&script), 0);
    assert_eq!(talk.value(3, Buffer::PgsqlQuery, ASK, 0), Some(b"SELECT * FROM t;".to_vec()));
    assert_eq!(talk.value(0, Buffer::PgsqlQuery, ASK, 0), None);
}

#[test]
fn tls_is_handed_over() {
    let mut talk = Talk::new(start, Settings::default());
    talk.say(ASK, &[0, 0, 0, 8, 4, 210, 22, 47], false);
    talk.say(ANSWER, b"S\x16\x03", false);
    assert_eq!(talk.over, Some(Fed::Upgrade { used: 1, to: Some(AppProtocol::Tls) }));
}

#[test]
fn large_rows_are_passed_over() {
    let mut talk = Talk::new(start, Settings::default());
    talk.say(ASK, &startup(), false);
    talk.say(ASK, &message(b'Q', b"x\0"), false);
    let mut row = message(b'D', &[0, 1]);
    row[1..5].copy_from_slice(&(10u32 << 20).to_be_bytes());
    row.extend(vec![0; (10 << 20) - 6]);
    row.extend(message(b'Z', b"I"));
    row.chunks(50_000).for_each(|part| talk.say(ANSWER, part, false));
    assert!(talk.shown().contains("\"data_rows\":1,\"data_size\":10485750"), "{}", talk.shown());
}

#[test]
fn storms_break_nothing() {
    let script = script();
    storm(start, &Settings::default(), &borrowed(&script), 3000);
}
