use super::*;
use crate::app::Transaction;
use crate::app::exercise::{Script, Talk, all_cuts, run, storm};
use Direction::{Original, Reply};
use weir_ids_rules::Field;

fn framed(record: &[u8]) -> Vec<u8> {
    [&(record.len() as u32).to_be_bytes()[..], record].concat()
}

/// A record of SMB 1: command, tree, message, words, bytes.
fn one(command: u8, reply: bool, tree: u16, message: u16, words: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut out = b"\xffSMB".to_vec();
    out.extend_from_slice(&[command, 0, 0, 0, 0, if reply { 0x98 } else { 0x18 }, 0x43, 0x48]);
    out.extend_from_slice(&[0; 12]);
    out.extend_from_slice(&tree.to_le_bytes());
    out.extend_from_slice(&[7, 0, 0, 8]);
    out.extend_from_slice(&message.to_le_bytes());
    out.push((words.len() / 2) as u8);
    out.extend_from_slice(words);
    out.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
    out.extend_from_slice(bytes);
    framed(&out)
}

fn write_one(fid: u16, offset: u32, message: u16, data: &[u8]) -> Vec<u8> {
    let mut words = vec![0xff, 0, 0, 0];
    words.extend_from_slice(&fid.to_le_bytes());
    words.extend_from_slice(&offset.to_le_bytes());
    words.extend_from_slice(&[0; 8]);
    words.extend_from_slice(&((data.len() >> 16) as u16).to_le_bytes());
    words.extend_from_slice(&(data.len() as u16).to_le_bytes());
    words.extend_from_slice(&64u16.to_le_bytes());
    words.extend_from_slice(&[0; 4]);
    one(0x2f, false, 1, message, &words, &[b"\0", data].concat())
}

/// The opening of a file "f.txt" with number 0x4000 by SMB 1.
fn opened() -> Vec<(Direction, Vec<u8>)> {
    let mut create = vec![0xff, 0, 0, 0, 0, 5, 0];
    create.extend_from_slice(&[0; 28]);
    create.extend_from_slice(&[2, 0, 0, 0, 0x40, 0, 0, 0]);
    create.extend_from_slice(&[0; 5]);
    let mut created = vec![0xff, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0];
    created.extend_from_slice(&[0; 57]);
    vec![
        (Original, one(0x72, false, 0, 1, &[], b"\x02LANMAN\0\x02NT LM 0.12\0")),
        (Reply, one(0x72, true, 0, 1, &[1, 0, 0, 0], b"")),
        (Original, one(0x75, false, 0xffff, 2, &[0xff, 0, 0, 0, 0, 0, 0, 0], b"\\\\host\\PUB\0?????\0")),
        (Reply, one(0x75, true, 1, 2, &[0xff, 0, 0, 0, 0, 0], b"A:\0NTFS\0")),
        (Original, one(0xa2, false, 1, 3, &create, b"f.txt")),
        (Reply, one(0xa2, true, 1, 3, &created, b"")),
    ]
}

fn borrowed(script: &[(Direction, Vec<u8>)]) -> Vec<(Direction, &[u8])> {
    script.iter().map(|(way, bytes)| (*way, &bytes[..])).collect()
}

fn shown(script: &[(Direction, Vec<u8>)]) -> String {
    all_cuts(start, &Settings::default(), &borrowed(script))
}

#[test]
fn a_file_is_written_by_smb_1() {
    let mut script = opened();
    script.push((Original, write_one(0x4000, 0, 4, b"hel")));
    script.push((Original, write_one(0x4000, 3, 5, b"lo")));
    script.push((Original, one(0x04, false, 1, 6, &[0, 0x40, 0, 0, 0, 0], b"")));
    script.push((Reply, one(0x04, true, 1, 6, &[], b"")));
    let shown = shown(&script);
    assert!(shown.contains(r#""command":"SMB1_COMMAND_NEGOTIATE_PROTOCOL","status":"STATUS_SUCCESS""#), "{shown}");
    assert!(shown.contains(r#""client_dialects":["LANMAN","NT LM 0.12"]"#), "{shown}");
    assert!(shown.contains(r#""share":"\\host\\PUB","service":{"request":"?????","response":"A:"}"#), "{shown}");
    assert!(shown.contains(r#""filename":"f.txt","disposition":"FILE_CREATE","access":"normal""#), "{shown}");
    assert!(shown.contains("f.txt:5:CLOSED:5d41402abc4b2a76b9719d911017c592"), "{shown}");
    storm(start, &Settings::default(), &borrowed(&script), 2000);
}

#[test]
fn parts_come_in_any_order_and_overlaps_are_told() {
    let mut script = opened();
    script.push((Original, write_one(0x4000, 3, 4, b"lo")));
    script.push((Original, write_one(0x4000, 0, 5, b"hel")));
    script.push((Original, write_one(0x4000, 1, 6, b"XXXX")));
    script.push((Original, one(0x04, false, 1, 7, &[0, 0x40, 0, 0, 0, 0], b"")));
    let shown = shown(&script);
    assert!(shown.contains("f.txt:5:CLOSED:5d41402abc4b2a76b9719d911017c592"), "{shown}");
    assert!(shown.contains("smb.file_overlap"), "{shown}");
}

#[test]
fn a_long_write_is_read_as_it_comes() {
    let mut script = opened();
    let data: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
    script.push((Original, write_one(0x4000, 0, 4, &data)));
    let whole = run(start, &Settings::default(), &borrowed(&script), 1400);
    let shown = whole.shown();
    assert!(shown.contains("f.txt:300000:TRUNCATED"), "{shown}");
    let mut talk = Talk::new(start, Settings::default());
    for (way, bytes) in &script {
        talk.say(*way, &bytes[..bytes.len().min(2000)], false);
    }
    let list = talk.parser.transactions();
    let size = list.get(list.len() - 1).unwrap().1.files(Original).unwrap().list[0].size();
    assert_eq!(size, 2000 - 68, "bytes are handed on before the record is complete");
}

/// A record of SMB 2.
pub(crate) fn two(command: u16, reply: bool, message: u64, body: &[u8]) -> Vec<u8> {
    let mut out = b"\xfeSMB\x40\0\x01\0\0\0\0\0".to_vec();
    out.extend_from_slice(&command.to_le_bytes());
    out.extend_from_slice(&[1, 0, u8::from(reply), 0, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&message.to_le_bytes());
    out.extend_from_slice(&[0, 0, 0, 0, 5, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(body);
    framed(&out)
}

const GUID: [u8; 16] = [3; 16];

fn wide(text: &str) -> Vec<u8> {
    text.bytes().flat_map(|byte| [byte, 0]).collect()
}

/// Connects to the pipes' tree and opens a pipe by SMB 2.
pub(crate) fn piped(name: &str) -> Vec<(Direction, Vec<u8>)> {
    let path = wide("\\\\host\\IPC$");
    let tree = [&[9, 0, 0, 0, 72, 0, path.len() as u8, 0][..], &path].concat();
    let name = wide(name);
    let mut create = vec![57, 0];
    create.extend_from_slice(&[0; 34]);
    create.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 120, 0, name.len() as u8, 0]);
    create.extend_from_slice(&[0; 8]);
    create.extend_from_slice(&name);
    let mut created = vec![89, 0];
    created.extend_from_slice(&[0; 62]);
    created.extend_from_slice(&GUID);
    vec![
        (Original, two(3, false, 1, &tree)),
        (Reply, two(3, true, 1, &[16, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        (Original, two(5, false, 2, &create)),
        (Reply, two(5, true, 2, &created)),
    ]
}

pub(crate) fn write_two(message: u64, data: &[u8]) -> Vec<u8> {
    let mut body = vec![49, 0, 112, 0];
    body.extend_from_slice(&(data.len() as u32).to_le_bytes());
    body.extend_from_slice(&[0; 8]);
    body.extend_from_slice(&GUID);
    body.extend_from_slice(&[0; 16]);
    body.extend_from_slice(data);
    two(9, false, message, &body)
}

pub(crate) fn read_two(message: u64, data: &[u8]) -> [(Direction, Vec<u8>); 2] {
    let mut ask = vec![49, 0, 0, 0, 0, 4, 0, 0];
    ask.extend_from_slice(&[0; 8]);
    ask.extend_from_slice(&GUID);
    ask.extend_from_slice(&[0; 17]);
    let mut answer = vec![17, 0, 80, 0];
    answer.extend_from_slice(&(data.len() as u32).to_le_bytes());
    answer.extend_from_slice(&[0; 8]);
    answer.extend_from_slice(data);
    [(Original, two(8, false, message, &ask)), (Reply, two(8, true, message, &answer))]
}

#[test]
fn calls_in_a_pipe_are_transactions() {
    use crate::app::dcerpc::{record::kind, tests as rpc};
    let mut script = piped("svcctl");
    script.push((Original, write_two(3, &rpc::record(kind::BIND, 3, 1, &rpc::bind_body()))));
    script.extend(read_two(4, &rpc::record(kind::BIND_ACK, 3, 1, &rpc::bind_ack_body())));
    script.push((Original, write_two(5, &rpc::record(kind::REQUEST, 3, 2, &rpc::request_body(15, b"stub")))));
    script.extend(read_two(6, &rpc::record(kind::RESPONSE, 3, 2, &[&[0; 8][..], b"done"].concat())));
    let shown = shown(&script);
    assert!(shown.contains(r#""named_pipe":"\\\\host\\IPC$","share_type":"PIPE""#), "{shown}");
    assert!(
        shown.contains(r#""dcerpc":{"request":"BIND","response":"BINDACK","interfaces":[{"uuid":"12345699-"#),
        "{shown}"
    );
    assert!(
        shown.contains(
            r#""dcerpc":{"request":"REQUEST","response":"RESPONSE","opnum":15,"req":{"frag_cnt":1,"stub_data_size":4}"#
        ),
        "{shown}"
    );
    let talk = run(start, &Settings::default(), &borrowed(&script), 0);
    let list = talk.parser.transactions();
    let calls: Vec<&dyn Transaction> = (0..list.len())
        .map(|nth| list.get(nth).unwrap().1)
        .filter(|tx| tx.number(Field::DcerpcOpnum, Original, 0) == Some(15))
        .collect();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].special("dcerpc.iface", rpc::UUID, Original), Some(true));
    assert_eq!(calls[0].buffer(Buffer::DcerpcStubData, Reply, 0, &mut Vec::new()), Some(&b"done"[..]));
    storm(start, &Settings::default(), &borrowed(&script), 2000);
}

#[test]
fn a_file_is_read_by_smb_2() {
    let mut script = piped("dir\\f.bin");
    script[1].1 = two(3, true, 1, &[16, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    script.extend(read_two(3, b"hello"));
    let mut close = vec![24, 0, 0, 0, 0, 0, 0, 0];
    close.extend_from_slice(&GUID);
    script.push((Original, two(6, false, 4, &close)));
    script.push((Reply, two(6, true, 4, &[60, 0])));
    let shown = shown(&script);
    assert!(shown.contains(r"dir\f.bin:5:CLOSED:5d41402abc4b2a76b9719d911017c592"), "{shown}");
    assert!(shown.contains(r#""session_id":9,"tree_id":5,"filename":"dir\\f.bin","share":"\\\\host\\IPC$","fuid":"03030303-0303-0303-0303-030303030303""#), "{shown}");
}

/// A login whose names (domain, user, host) have these lengths in bytes.
fn login(lengths: [u8; 3], names: &str) -> Vec<(Direction, Vec<u8>)> {
    let mut blob = b"NTLMSSP\0\x03\0\0\0".to_vec();
    blob.extend_from_slice(&[0; 16]);
    let mut at = 72;
    for length in lengths {
        blob.extend_from_slice(&[length, 0, length, 0, at, 0, 0, 0]);
        at += length;
    }
    blob.extend_from_slice(&[0; 8]);
    blob.extend_from_slice(&[0, 0, 0, 2, 10, 0, 0x63, 0x45, 0, 0, 0, 15]);
    assert_eq!(blob.len(), 72);
    blob.extend_from_slice(&wide(names));
    let setup = [&[25, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 88, 0, blob.len() as u8, 0][..], &[0; 8], &blob].concat();
    vec![(Original, two(1, false, 1, &setup)), (Reply, two(1, true, 1, &[9, 0, 0, 0, 72, 0, 0, 0]))]
}

#[test]
fn who_logs_in_is_read() {
    let script = login([6, 4, 4], "DOMmePC");
    let shown = shown(&script);
    assert!(
        shown.contains(r#""ntlmssp":{"domain":"DOM","user":"me","host":"PC","version":"10.0 build 17763 rev 15"}"#),
        "{shown}"
    );
    let talk = run(start, &Settings::default(), &borrowed(&script), 0);
    assert_eq!(talk.value(0, Buffer::SmbNtlmsspUser, Original, 0).as_deref(), Some(&b"me"[..]));
    assert_eq!(talk.number(0, Field::SmbVersion, Original, 0), Some(2));
}

#[test]
fn who_logs_in_without_a_name_has_none() {
    let script = login([0, 0, 4], "PC");
    let talk = run(start, &Settings::default(), &borrowed(&script), 0);
    for buffer in [Buffer::SmbNtlmsspUser, Buffer::SmbNtlmsspDomain] {
        assert_eq!(talk.value(0, buffer, Original, 0), None);
    }
}

#[test]
fn records_that_go_the_wrong_way_are_told() {
    for (way, reply, odd) in [
        (Direction::Original, false, ""),
        (Direction::Original, true, "smb.response_to_server"),
        (Direction::Reply, false, "smb.request_to_client"),
    ] {
        let script = [
            (Direction::Original, two(3, false, 1, &[9, 0, 0, 0, 0x48, 0, 0, 0])),
            (way, two(3, reply, 2, &[9, 0, 0, 0, 0x48, 0, 0, 0])),
        ];
        let shown = shown(&script);
        assert_eq!(shown.contains("_to_"), !odd.is_empty(), "{shown}");
        assert!(shown.contains(odd), "{shown}");
    }
}

#[test]
fn broken_records_are_told_and_frames_of_nothing_end_it() {
    let bad = framed(b"\xffSMB\x72\0\0\0\0\x18\x43\x48");
    let talk = run(start, &Settings::default(), &[(Original, &opened()[0].1[..]), (Original, &bad)], 0);
    assert_eq!(talk.over, Some(Fed::Failed));
    let script: Script<'_> = &[(Original, b"\x85\0\0\0"), (Original, b"GET / HTTP/1.1\r\n")];
    assert_eq!(run(start, &Settings::default(), script, 0).over, Some(Fed::Failed));
}

#[test]
fn after_a_loss_the_next_record_is_found() {
    let script = piped("svcctl");
    let mut talk = Talk::new(start, Settings::default());
    let tuple = crate::app::exercise::tuple(6);
    let settings = Settings::default();
    let mut context = Context { settings: &settings, tuple: &tuple, expectations: &mut Vec::new() };
    assert!(talk.parser.gap(Original, 5000, &mut context));
    for byte in [&b"rest of something"[..], &script[0].1].concat() {
        talk.say(Original, &[byte], false);
    }
    assert_eq!(talk.parser.transactions().len(), 1);
}

#[test]
fn many_requests_without_answers_cost_bounded_memory() {
    let settings = Settings { transactions: 50, ..Settings::default() };
    let script: Vec<(Direction, Vec<u8>)> = (0..2000).map(|n| (Original, two(13, false, n, &[4, 0]))).collect();
    let talk = run(start, &settings, &borrowed(&script), 0);
    assert!(talk.parser.transactions().len() <= 100);
    assert!(talk.shown().contains("smb.too_many_transactions"));
}

#[test]
fn probes_tell_who_speaks() {
    let tuple = crate::app::exercise::tuple(6);
    let script = piped("x");
    assert_eq!(probe(Original, &script[0].1, &tuple), Probe::Yes);
    assert_eq!(probe(Original, &script[1].1, &tuple), Probe::Reversed);
    assert_eq!(probe(Original, &opened()[0].1, &tuple), Probe::Yes);
    assert_eq!(probe(Reply, b"\0\0\0\x45\xffS", &tuple), Probe::More);
    assert_eq!(probe(Original, b"GET / HTTP/1.1", &tuple), Probe::No);
}

#[test]
fn a_long_answer_that_nobody_asked_for_is_passed_over() {
    let mut script = opened();
    let [_, (way, mut answer)] = read_two(3, &[b'x'; 3000]);
    answer.extend_from_slice(&two(13, true, 9, &[4, 0]));
    script.push((way, answer));
    script.push((Original, two(13, false, 10, &[4, 0])));
    script.push((Reply, two(13, true, 10, &[4, 0])));
    let shown = shown(&script);
    assert!(
        shown.lines().last().unwrap().contains(r#""command":"SMB2_COMMAND_KEEPALIVE","status":"STATUS_SUCCESS""#),
        "{shown}"
    );
}

#[test]
fn too_much_that_waits_is_told_by_count_and_by_bytes() {
    let ahead = |count: u32| {
        let mut script = opened();
        script.extend((1..=count).rev().map(|nth| (Original, write_one(0x4000, 10 * nth, 4 + nth as u16, b"part"))));
        script
    };
    let told = |settings: &Settings, count| run(start, settings, &borrowed(&ahead(count)), 0).shown();
    let mut settings = Settings::default();
    assert!(!told(&settings, 64).contains("queue"), "64 may wait");
    assert!(told(&settings, 65).contains("smb.write_queue_cnt_exceeded"));
    settings.named.insert("app-layer.protocols.smb.max-write-queue-cnt".into(), "3".into());
    assert!(!told(&settings, 3).contains("queue") && told(&settings, 4).contains("smb.write_queue_cnt_exceeded"));
    settings.named.insert("app-layer.protocols.smb.max-write-queue-cnt".into(), "64".into());
    settings.named.insert("app-layer.protocols.smb.max-write-queue-size".into(), "12b".into());
    assert!(!told(&settings, 3).contains("queue") && told(&settings, 4).contains("smb.write_queue_size_exceeded"));
}

#[test]
fn servers_and_clients_that_want_too_much_at_once_are_told_of() {
    let mut negotiated = vec![0x41, 0, 1, 0, 2, 2, 0, 0];
    negotiated.extend_from_slice(&[7; 16]);
    negotiated.extend_from_slice(&[0; 8]);
    negotiated.extend_from_slice(&(32u32 << 20).to_le_bytes());
    negotiated.extend_from_slice(&(8u32 << 20).to_le_bytes());
    let mut asked = vec![0x24, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    asked.extend_from_slice(&[7; 16]);
    asked.extend_from_slice(&[0; 8]);
    asked.extend_from_slice(&[2, 2]);
    let script = [(Original, two(0, false, 0, &asked)), (Reply, two(0, true, 0, &negotiated))];
    let shown = run(start, &Settings::default(), &borrowed(&script), 0).shown();
    assert!(shown.contains("smb.negotiate_max_read_size_too_large"), "{shown}");
    assert!(!shown.contains("smb.negotiate_max_write_size_too_large"), "{shown}");
    let mut settings = Settings::default();
    settings.named.insert("app-layer.protocols.smb.max-read-size".into(), "0".into());
    settings.named.insert("app-layer.protocols.smb.max-write-size".into(), "4mb".into());
    let shown = run(start, &settings, &borrowed(&script), 0).shown();
    assert!(!shown.contains("smb.negotiate_max_read_size_too_large"), "{shown}");
    assert!(shown.contains("smb.negotiate_max_write_size_too_large"), "{shown}");
}

#[test]
fn shares_that_were_never_connected_to_are_told_of_where_the_beginning_was_seen() {
    let leave = |tree| (Original, one(0x71, false, tree, 9, &[], b""));
    let mut script = opened();
    script.push(leave(1));
    assert!(!shown(&script).contains("tree_id_not_found"));
    script.push(leave(5));
    assert!(shown(&script).contains("smb.tree_id_not_found"));
    assert!(!shown(&[leave(5)]).contains("tree_id_not_found"), "met in its midst");
}

#[test]
fn a_challenge_of_the_client_is_out_of_order() {
    let setup = |kind: u8| {
        let blob = [b"NTLMSSP\0", &[kind, 0, 0, 0][..], &[0; 60]].concat();
        let mut words = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        words.extend_from_slice(&(blob.len() as u16).to_le_bytes());
        words.extend_from_slice(&[0; 8]);
        run(start, &Settings::default(), &[(Original, &one(0x73, false, 0, 1, &words, &blob))], 0).shown()
    };
    assert!(!setup(1).contains("ntlmssp_order"));
    assert!(setup(2).contains("smb.unusual_ntlmssp_order"), "{}", setup(2));
}

/// A record of SMB 2 of a session and a tree.
fn of(command: u16, reply: bool, message: u64, session: u8, tree: u8, body: &[u8]) -> Vec<u8> {
    let mut record = two(command, reply, message, body);
    record[4 + 36] = tree;
    record[4 + 40] = session;
    record
}

#[test]
fn sessions_and_trees_are_those_that_the_server_has_given() {
    let path = wide("\\\\host\\SH");
    let tree = [&[9, 0, 0, 0, 72, 0, path.len() as u8, 0][..], &path].concat();
    let setup = [&[25, 0][..], &[0; 22]].concat();
    let script = vec![
        (Original, one(0x72, false, 0xffff, 1, &[], b"\x02SMB 2.???\0")),
        (Reply, of(0, true, 0, 0, 0, &[[0x41, 0, 1, 0, 2, 2, 0, 0].as_slice(), &[0; 60]].concat())),
        (Original, of(1, false, 1, 0, 0, &setup)),
        (Reply, of(1, true, 1, 77, 0, &[9, 0, 0, 0, 72, 0, 0, 0])),
        (Original, of(3, false, 2, 77, 0, &tree)),
        (Reply, of(3, true, 2, 77, 6, &[16, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        (Original, of(4, false, 3, 77, 6, &[4, 0, 0, 0])),
        (Reply, of(4, true, 3, 77, 6, &[4, 0, 0, 0])),
    ];
    let shown = shown(&script);
    let has = |command: &str, ids: &str| {
        let line = shown.lines().find(|line| line.contains(command)).unwrap();
        assert!(line.contains(ids), "{line}");
    };
    has("SMB1_COMMAND_NEGOTIATE_PROTOCOL", r#""session_id":0,"tree_id":0"#);
    has("SMB2_COMMAND_SESSION_SETUP", r#""session_id":77,"tree_id":0"#);
    has("SMB2_COMMAND_TREE_CONNECT", r#""session_id":77,"tree_id":6"#);
    has("SMB2_COMMAND_TREE_DISCONNECT", r#""session_id":77,"tree_id":6"#);
}

#[test]
fn answers_may_be_headers_alone() {
    let mut answer = one(0x10, true, 1, 9, &[], b"");
    answer.truncate(4 + 32);
    answer[3] = 32;
    answer[9..13].copy_from_slice(&0xc000_0002u32.to_le_bytes());
    let script = [(Original, one(0x10, false, 1, 9, &[], b"\x04nd\0")), (Reply, answer)];
    let shown = shown(&script);
    assert!(shown.contains(r#""SMB1_COMMAND_CHECK_DIRECTORY","status":"STATUS_NOT_IMPLEMENTED""#), "{shown}");
    assert!(!shown.contains("malformed"), "{shown}");
}

#[test]
fn files_are_renamed_by_smb_1() {
    let names = [&[4][..], &wide("up.txt"), &[0, 0, 4, 0], &wide("two.txt"), &[0, 0]].concat();
    let mut ask = one(0x07, false, 1, 9, &[0x16, 0], &names);
    // Letters of two bytes.
    ask[4 + 11] = 0xc8;
    let shown = shown(&[(Original, ask), (Reply, one(0x07, true, 1, 9, &[], b""))]);
    assert!(shown.contains(r#""rename":{"from":"up.txt","to":"two.txt"},"fuid":"""#), "{shown}");
}
