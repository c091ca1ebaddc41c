use super::*;
use crate::app::exercise::{all_cuts, run, storm};
use Direction::{Original, Reply as Answer};
use weir_ids_rules::Field;

fn xdr(bytes: &[u8]) -> Vec<u8> {
    let mut out = (bytes.len() as u32).to_be_bytes().to_vec();
    out.extend_from_slice(bytes);
    out.resize(out.len().div_ceil(4) * 4, 0);
    out
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn marked(record: &[u8]) -> Vec<u8> {
    [&(record.len() as u32 | 0x8000_0000).to_be_bytes()[..], record].concat()
}

fn call(xid: u32, version: u32, procedure: u32, arguments: &[u8]) -> Vec<u8> {
    let unix = [words(&[9]), xdr(b"host"), words(&[1000, 100, 0])].concat();
    let head = words(&[xid, 0, 2, PROGRAM, version, procedure, 1]);
    marked(&[head, xdr(&unix), words(&[0, 0]), arguments.to_vec()].concat())
}

fn reply(xid: u32, results: &[u8]) -> Vec<u8> {
    marked(&[words(&[xid, 1, 0, 0, 0, 0]), results.to_vec()].concat())
}

fn conversation() -> Vec<(Direction, Vec<u8>)> {
    let (root, file) = (xdr(b"root"), xdr(b"file"));
    vec![
        (Original, call(1, 3, 3, &[root.clone(), xdr(b"f.txt")].concat())),
        (Answer, reply(1, &[words(&[0]), file.clone(), words(&[0, 0])].concat())),
        (Original, call(2, 3, 6, &[file.clone(), words(&[0, 0, 5])].concat())),
        (Answer, reply(2, &[words(&[0, 0, 5, 1]), xdr(b"hello")].concat())),
        (Original, call(3, 3, 7, &[file.clone(), words(&[0, 0, 3, 0]), xdr(b"hel")].concat())),
        (Original, call(4, 3, 7, &[file.clone(), words(&[0, 3, 2, 0]), xdr(b"lo")].concat())),
        (Original, call(5, 3, 21, &[file, words(&[0, 0, 0])].concat())),
        (Original, call(6, 3, 14, &[root.clone(), xdr(b"a"), root, xdr(b"b")].concat())),
        (Answer, reply(6, &words(&[2]))),
    ]
}

fn borrowed(script: &[(Direction, Vec<u8>)]) -> Vec<(Direction, &[u8])> {
    script.iter().map(|(way, bytes)| (*way, &bytes[..])).collect()
}

#[test]
fn calls_and_files_are_transactions() {
    let conversation = conversation();
    let shown = all_cuts(start, &Settings::default(), &borrowed(&conversation));
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines.len(), 4, "{shown}");
    assert!(lines[0].contains(r#""procedure":"LOOKUP","filename":"f.txt""#), "{shown}");
    assert!(lines[0].contains(
        r#""rpc":{"xid":1,"status":"ACCEPTED","auth_type":"UNIX","creds":{"machine_name":"host","uid":1000,"gid":100}}"#
    ));
    for line in [lines[1], lines[2]] {
        assert!(line.contains("f.txt:5:CLOSED:5d41402abc4b2a76b9719d911017c592"), "{shown}");
    }
    let hash =
        |line: &str| line.split("\"hhash\":\"").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned);
    assert_eq!(hash(lines[0]), hash(lines[1]), "the file that was found is the one that is read: {shown}");
    assert_ne!(hash(lines[0]), hash(lines[3]), "{shown}");
    assert!(lines[1].contains(r#""chunks":1"#) && lines[2].contains(r#""last_xid":5,"chunks":1"#), "{shown}");
    assert!(lines[3].contains(r#""status":"ERR_NOENT","rename":{"from":"a","to":"b"}"#), "{shown}");
    let talk = run(start, &Settings::default(), &borrowed(&conversation), 0);
    assert_eq!(talk.number(2, Field::NfsProcedure, Original, 0), Some(7));
    assert_eq!(talk.number(2, Field::NfsProcedure, Original, 1), Some(21));
    assert_eq!(talk.number(0, Field::NfsVersion, Original, 0), Some(3));
    storm(start, &Settings::default(), &borrowed(&conversation), 3000);
}

#[test]
fn a_long_write_is_read_as_it_comes() {
    let data = vec![b'x'; 500_000];
    let write = call(1, 3, 7, &[xdr(b"file"), words(&[0, 0, 500_000, 2]), xdr(&data)].concat());
    let talk = run(start, &Settings::default(), &[(Original, &write)], 1400);
    assert!(talk.shown().contains(":500000:CLOSED:"), "{}", talk.shown());
}

#[test]
fn version_2_and_4_are_understood() {
    let handle = [7u8; 32];
    let statfs = call(1, 2, 17, &handle);
    let putfh = [words(&[0, 0, 2, 22]), xdr(b"fh"), words(&[15]), xdr(b"name")].concat();
    let lookup = call(2, 4, 1, &putfh);
    let talk = run(start, &Settings::default(), &[(Original, &statfs), (Original, &lookup)], 0);
    let shown = talk.shown();
    assert!(shown.contains(r#""version":2,"procedure":"STATFS""#), "{shown}");
    assert!(shown.contains(r#""version":4,"procedure":"LOOKUP","filename":"name""#), "{shown}");
    storm(start, &Settings::default(), &[(Original, &statfs), (Original, &lookup)], 1000);
}

#[test]
fn a_read_of_version_2_ends_where_the_file_does() {
    let asked = |xid: u32, at: u32| call(xid, 2, 6, &[vec![7; 32], words(&[at, 4, 4])].concat());
    let piece = |xid: u32, data: &[u8]| {
        let attributes = words(&[1, 0o644, 1, 0, 0, 6, 512, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0]);
        reply(xid, &[words(&[0]), attributes, xdr(data)].concat())
    };
    let script =
        [(Original, asked(1, 0)), (Answer, piece(1, b"hell")), (Original, asked(2, 4)), (Answer, piece(2, b"o\n"))];
    let part = run(start, &Settings::default(), &borrowed(&script[..2]), 0).shown();
    assert!(part.contains(":4:") && !part.contains("CLOSED"), "{part}");
    let whole = all_cuts(start, &Settings::default(), &borrowed(&script));
    assert!(whole.contains(":6:CLOSED:b1946ac92492d2347c6235b4d2611184"), "{whole}");
    storm(start, &Settings::default(), &borrowed(&script), 1000);
}

#[test]
fn a_version_that_does_not_exist_is_noted() {
    let known = call(1, 3, 0, &[]);
    let talk = run(start, &Settings::default(), &[(Original, &known), (Original, &call(2, 9, 0, &[]))], 0);
    assert!(talk.shown().contains("nfs.non_existing_version"), "{}", talk.shown());
    assert!(!run(start, &Settings::default(), &[(Original, &known)], 0).shown().contains("version\"]"));
}

#[test]
fn after_a_loss_the_next_call_is_found() {
    let conversation = conversation();
    let mut talk = crate::app::exercise::Talk::new(start, Settings::default());
    let tuple = crate::app::exercise::tuple(6);
    let settings = Settings::default();
    let mut context = Context { settings: &settings, tuple: &tuple, expectations: &mut Vec::new() };
    assert!(talk.parser.gap(Original, 100, &mut context));
    talk.say(Original, &[b"abc", &conversation[0].1[..]].concat(), false);
    assert_eq!(talk.parser.transactions().len(), 1);
}

#[test]
fn too_many_calls_give_up_the_oldest() {
    let settings = Settings { transactions: 4, ..Settings::default() };
    let calls: Vec<Vec<u8>> = (0..40).map(|xid| call(xid, 3, 0, &[])).collect();
    let script: Vec<(Direction, &[u8])> = calls.iter().map(|bytes| (Original, &bytes[..])).collect();
    let talk = run(start, &settings, &script, 0);
    assert!(talk.parser.transactions().len() <= 8);
    assert!(talk.shown().contains("nfs.too_many_transactions"), "{}", talk.shown());
}

#[test]
fn probes_know_the_program() {
    let (tcp, udp) = (crate::app::exercise::tuple(6), crate::app::exercise::tuple(17));
    let conversation = conversation();
    assert_eq!(probe(Original, &conversation[0].1, &tcp), Probe::Yes);
    assert_eq!(probe(Original, &conversation[1].1, &tcp), Probe::Reversed);
    assert_eq!(probe(Original, &conversation[0].1[4..], &udp), Probe::Yes);
    assert_eq!(probe(Original, &conversation[0].1[..9], &tcp), Probe::More);
    assert_eq!(probe(Original, b"GET / HTTP/1.1\r\n", &tcp), Probe::No);
}
