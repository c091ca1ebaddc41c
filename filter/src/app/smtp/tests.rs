use super::*;
use crate::app::exercise::{Script, all_cuts, run, storm};
use Direction::{Original, Reply};

const MAIL: &[u8] = b"From: a@x\r\nTo: b@x\r\nSubject: s\r\nContent-Type: multipart/mixed; boundary=Q\r\n\r\n\
    --Q\r\nContent-Disposition: attachment; filename=f.txt\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--Q--\r\n.\r\n";

const SCRIPT: Script<'static> = &[
    (Reply, b"220 mail.x ESMTP\r\n"),
    (Original, b"EHLO me.x\r\n"),
    (Reply, b"250-mail.x\r\n250 SIZE\r\n"),
    (Original, b"MAIL FROM:<a@x> SIZE=5\r\n"),
    (Reply, b"250 ok\r\n"),
    (Original, b"RCPT TO:<b@x>\r\n"),
    (Reply, b"250 ok\r\n"),
    (Original, b"RCPT TO:<c@x>\r\n"),
    (Reply, b"250 ok\r\n"),
    (Original, b"DATA\r\n"),
    (Reply, b"354 go\r\n"),
    (Original, MAIL),
    (Reply, b"250 queued\r\n"),
];

#[test]
fn a_mail_is_one_transaction_with_its_file() {
    let shown = all_cuts(start, &Settings::default(), SCRIPT);
    assert!(shown.contains(r#""helo":"me.x","mail_from":"<a@x>","rcpt_to":["<b@x>","<c@x>"]"#), "{shown}");
    assert!(shown.contains(r#""from":"a@x","to":["b@x"],"status":"PARSE_DONE","attachment":["f.txt"]"#), "{shown}");
    assert!(shown.contains("4/4 f.txt:5:CLOSED:5d41402abc4b2a76b9719d911017c592"), "{shown}");
    assert_eq!(shown.lines().count(), 1);
}

#[test]
fn a_broken_conversation_does_no_harm() {
    storm(start, &Settings::default(), SCRIPT, 3000);
}

#[test]
fn starttls_hands_over() {
    let talk = run(
        start,
        &Settings::default(),
        &[
            (Reply, b"220 x\r\n"),
            (Original, b"EHLO a\r\n"),
            (Reply, b"250 ok\r\n"),
            (Original, b"STARTTLS\r\n"),
            (Reply, b"220 go\r\n"),
        ],
        0,
    );
    assert_eq!(talk.over, Some(Fed::Upgrade { used: 8, to: Some(AppProtocol::Tls) }));
}

fn anomalies(script: Script<'_>) -> String {
    run(start, &Settings::default(), script, 0).shown()
}

#[test]
fn what_the_protocol_forbids_is_told() {
    assert!(anomalies(&[(Original, b"EHLO a\r\n")]).contains("smtp.no_server_welcome_message"));
    let refused: Script<'_> =
        &[(Reply, b"220 x\r\n"), (Original, b"EHLO a\r\nDATA\r\n"), (Reply, b"250 ok\r\n550 no\r\n")];
    assert!(anomalies(refused).contains("smtp.data_command_rejected"));
    let refused: Script<'_> = &[(Reply, b"220 x\r\n"), (Original, b"STARTTLS\r\n"), (Reply, b"454 no\r\n")];
    assert!(anomalies(refused).contains("smtp.tls_rejected"));
    assert!(anomalies(&[(Reply, b"220 x\r\n"), (Original, b"HELO a\r\nHELO b\r\n")]).contains("smtp.duplicate_fields"));
    let long = [b"MAIL FROM:<", &[b'a'; 5000][..], b">\r\n"].concat();
    assert!(
        anomalies(&[(Reply, b"220 x\r\n"), (Original, b"NOOP\r\n"), (Original, &long)]).contains("smtp.truncated_line")
    );
    assert!(
        anomalies(&[(Reply, b"220 x\r\n"), (Original, b"DATA\r\nNOOP\r\n")])
            .contains("smtp.invalid_pipelined_sequence")
    );
}

#[test]
fn replies_to_nothing_are_told_of_but_for_the_announced_end() {
    let talk = |last: &'static [u8]| {
        anomalies(&[(Reply, b"220 x\r\n"), (Original, b"EHLO a\r\n"), (Reply, b"250 ok\r\n"), (Reply, last)])
    };
    assert!(talk(b"250 ok\r\n").contains("smtp.unable_to_match_reply_with_request"));
    assert!(!talk(b"421 late\r\n").contains("smtp.unable_to_match_reply_with_request"));
}

#[test]
fn chunks_are_counted_by_their_bytes() {
    let script: Script<'_> = &[
        (Reply, b"220 x\r\n"),
        (Original, b"MAIL FROM:<a@x>\r\n"),
        (Reply, b"250 ok\r\n"),
        (Original, b"BDAT 11\r\nSubject: a\n"),
        (Reply, b"250 ok\r\n"),
        (Original, b"BDAT 7 LAST\r\n\r\nbody\nRSET\r\n"),
        (Reply, b"250 ok\r\n250 ok\r\n"),
        (Original, b"MAIL FROM:<b@x>\r\n"),
    ];
    let shown = all_cuts(start, &Settings::default(), script);
    assert!(!shown.contains("bdat_chunk_len_exceeded"), "{shown}");
    assert!(shown.contains(r#""subject":"a""#), "{shown}");
    assert_eq!(shown.lines().count(), 2, "{shown}");
    let long: Script<'_> = &[(Reply, b"220 x\r\n"), (Original, b"BDAT 3\r\nabcdef\r\n")];
    assert!(anomalies(long).contains("smtp.bdat_chunk_len_exceeded"));
}

#[test]
fn a_mail_without_end_is_shown_at_the_end() {
    let script: Script<'_> = &[
        (Reply, b"220 x\r\n"),
        (Original, b"DATA\r\n"),
        (Reply, b"354 go\r\n"),
        (Original, b"Subject: x\r\nContent-Type: a/b; name=n\r\n\r\nfoo"),
    ];
    let shown = all_cuts(start, &Settings::default(), script);
    assert!(shown.contains(" n:3:CLOSED"), "{shown}");
}

#[test]
fn the_raw_mail_is_a_file_when_asked_for() {
    let mut settings = Settings::default();
    settings.named.insert("app-layer.protocols.smtp.mime.decode-mime".into(), "no".into());
    settings.named.insert("app-layer.protocols.smtp.raw-extraction".into(), "yes".into());
    let shown = all_cuts(start, &settings, SCRIPT);
    assert!(shown.contains(&format!("rawmsg:{}:CLOSED", MAIL.len() - 3)), "{shown}");
}

#[test]
fn too_many_mails_end_the_parsing() {
    let settings = Settings { transactions: 3, ..Settings::default() };
    let script: Vec<(Direction, &[u8])> = std::iter::repeat_n((Original, &b"DATA\r\nx\r\n.\r\n"[..]), 9).collect();
    let greeted: Vec<_> = [(Reply, &b"220 x\r\n250-x\r\n"[..])].into_iter().chain(script).collect();
    let talk = run(start, &settings, &greeted, 0);
    assert!(talk.parser.transactions().len() <= 3);
}

#[test]
fn probes_know_greetings_of_mail() {
    let tuple = crate::app::exercise::tuple(6);
    assert_eq!(probe(Reply, b"220 mail.x ESMTP Postfix\r\n", &tuple), Probe::Yes);
    assert_eq!(probe(Reply, b"220 (vsFTPd)\r\n", &tuple), Probe::No);
    assert_eq!(probe(Original, b"EHL", &tuple), Probe::More);
    assert_eq!(probe(Original, b"GET / HTTP/1.1", &tuple), Probe::No);
}
