//! Files that rules want stored.

use super::*;
use crate::app;

const ASK: &[u8] = b"GET /a.bin HTTP/1.1\r\nHost: h\r\n\r\n";

/// Files stored of an exchange with this answer's body, judged by these rules; and the lines.
fn stored(rules: &str, body: &[u8], keep: usize, force: bool) -> (Vec<StoredFile>, String) {
    let source = weir_ids_rules::Source { name: "test", text: rules };
    let (rules, problems) = weir_ids_rules::RuleSet::parse(&[source], &weir_ids_rules::Variables::default());
    assert!(problems.is_empty(), "{problems:?}");
    let program = Program::compile(&rules, &crate::detect::ProgramSettings::default()).0;
    let settings = Settings::from_options(&Options::default(), false);
    let mut shared = Shared::new(app::Settings { keep_files: keep, ..app::Settings::default() }, false);
    shared.store_all = force;
    let capture = Capture::new(settings, Arc::new(program), shared);
    let mut lab = Lab { capture, lines: String::new(), seconds: 1000 };
    lab.packet(&tcp(true, SYN, 100, 0, b""));
    lab.packet(&tcp(false, SYN | ACK, 500, 101, b""));
    lab.packet(&tcp(true, ACK, 101, 501, b""));
    lab.packet(&tcp(true, PSH | ACK, 101, 501, ASK));
    let after = 101 + ASK.len() as u32;
    let answer = [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat();
    let mut seq = 501;
    for piece in answer.chunks(500) {
        lab.packet(&tcp(false, PSH | ACK, seq, after, piece));
        seq += piece.len() as u32;
        lab.packet(&tcp(true, ACK, after, seq, b""));
    }
    lab.end();
    (lab.capture.take_stored(), lab.lines)
}

const LATE: &str = "alert http any any -> any any (file.data; content:\"the end\"; filestore; sid:1;)";

#[test]
fn a_file_that_a_rule_wants_at_its_end_is_stored_from_its_beginning() {
    let body = [&[b'x'; 3000][..], b"the end"].concat();
    let (files, lines) = stored(LATE, &body, 1 << 20, false);
    assert_eq!(files.len(), 1);
    assert_eq!((&files[0].bytes[..], files[0].size), (&body[..], body.len() as u64));
    let name: String = files[0].sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(files[0].path(), format!("{}/{name}", &name[..2]));
    assert!(lines.contains("\"stored\":true,\"file_id\":1"), "{lines}");
    assert!(lines.contains(&format!("\"sha256\":\"{name}\"")));
}

#[test]
fn other_files_are_not_stored_unless_all_are() {
    let (files, lines) = stored(LATE, b"something else", 1 << 20, false);
    assert!(files.is_empty() && lines.contains("\"stored\":false"), "{lines}");
    assert_eq!(stored("", b"something else", 1 << 20, true).0.len(), 1);
}

#[test]
fn a_rule_may_want_the_files_of_the_other_direction_or_of_the_flow() {
    for options in ["both,tx", "response,file", "both,flow"] {
        let rule = format!("alert http any any -> any any (http.uri; content:\"a.bin\"; filestore:{options}; sid:1;)");
        // The request has no file, so that a rule on it alone has nothing to store.
        assert!(stored(&rule, b"body", 100, false).0.is_empty(), "{options}");
    }
    let rule = "alert http any any -> any any (http.stat_code; content:\"200\"; filestore:both,flow; sid:1;)";
    assert_eq!(stored(rule, b"body", 100, false).0.len(), 1);
}

#[test]
fn of_a_long_file_the_first_bytes_are_stored() {
    let (files, _) = stored("alert http any any -> any any (filestore; sid:1;)", &[b'y'; 2000], 100, false);
    assert_eq!((files[0].bytes.len(), files[0].size), (100, 2000));
    assert!(stored("alert http any any -> any any (filestore; sid:1;)", b"y", 0, false).0.is_empty());
}
