use super::*;
use crate::app::exercise::{Script, Talk, all_cuts, run, storm};
use Direction::{Original, Reply};
use weir_ids_rules::Field;

const SCRIPT: Script<'static> = &[
    (Reply, b"220 (hello)\r\n"),
    (Original, b"USER me\r\n"),
    (Reply, b"331 Password?\r\n"),
    (Original, b"PORT 10,0,0,1,1,2\r\n"),
    (Reply, b"200 ok\r\n"),
    (Original, b"RETR a file.txt\r\n"),
    (Reply, b"150 coming\r\n"),
    (Reply, b"226 done\r\n"),
    (Original, b"epsv\r\n"),
    (Reply, b"229 Entering (|||4000|)\r\n"),
    (Original, b"STOR up\r\n"),
    (Reply, b"226 done\r\n"),
];

fn settings() -> Settings {
    Settings::default()
}

#[test]
fn a_command_and_its_replies_are_one_transaction() {
    let shown = all_cuts(start, &settings(), SCRIPT);
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines.len(), 6, "{shown}");
    assert!(lines[0].starts_with(r#"{"completion_code":["220"],"reply":["(hello)"]"#), "{shown}");
    assert!(lines[1].starts_with(
        r#"{"command":"USER","command_data":"me","command_truncated":false,"completion_code":["331"],"reply":["Password?"]"#
    ));
    assert!(lines[2].contains(r#""dynamic_port":258,"mode":"active","reply_received":"yes""#), "{shown}");
    assert!(lines[3].contains(r#""completion_code":["150","226"],"reply":["coming","done"]"#), "{shown}");
    assert!(lines[4].contains(r#""command":"EPSV""#) && lines[4].contains(r#""mode":"passive""#), "{shown}");
}

#[test]
fn transfers_announce_their_connections() {
    let talk = run(start, &settings(), SCRIPT, 0);
    let told: Vec<_> =
        talk.expectations.iter().map(|e| (e.tuple.source, e.tuple.destination_port, e.command)).collect();
    let (client, server) = (talk_tuple().source, talk_tuple().destination);
    assert_eq!(told, [(server, 258, data::RETRIEVE), (client, 4000, data::STORE)]);
    assert_eq!(&talk.expectations[0].label[..], b"a file.txt");
}

fn talk_tuple() -> Tuple {
    crate::app::exercise::tuple(6)
}

#[test]
fn rules_can_ask_for_the_parts() {
    let talk = run(start, &settings(), SCRIPT, 0);
    assert_eq!(talk.value(1, Buffer::FtpCommand, Original, 0).as_deref(), Some(&b"USER"[..]));
    assert_eq!(talk.value(1, Buffer::FtpCommandData, Original, 0).as_deref(), Some(&b"me"[..]));
    assert_eq!(talk.value(3, Buffer::FtpReply, Reply, 1).as_deref(), Some(&b"done"[..]));
    assert_eq!(talk.value(3, Buffer::FtpCompletionCode, Reply, 1).as_deref(), Some(&b"226"[..]));
    assert_eq!(talk.number(2, Field::FtpDynamicPort, Reply, 0), Some(258));
    assert_eq!(talk.number(4, Field::FtpMode, Reply, 0), Some(1));
}

#[test]
fn a_broken_conversation_does_no_harm() {
    storm(start, &settings(), SCRIPT, 2000);
    storm(data::DESCRIPTION.start, &settings(), &[(Original, b"abc"), (Reply, b"def")], 200);
}

#[test]
fn too_many_commands_at_once_are_told() {
    let mut settings = settings();
    settings.named.insert("app-layer.protocols.ftp.max-tx".into(), "1".into());
    let talk = run(start, &settings, &[(Original, b"PWD\r\nPWD\r\nPWD\r\n")], 0);
    assert_eq!(talk.over, Some(Fed::Failed));
    assert!(talk.shown().contains("ftp.too_many_transactions"));
}

#[test]
fn long_lines_are_told() {
    let long = [b"USER ", &[b'x'; 5000][..], b"\r\n"].concat();
    let reply = [b"331 ", &[b'x'; 5000][..], b"\r\n"].concat();
    let shown = all_cuts(start, &settings(), &[(Original, &long), (Reply, &reply)]);
    assert!(shown.contains("ftp.request_command_too_long"));
    assert!(shown.contains("ftp.response_command_too_long"));
    assert_eq!(shown.lines().count(), 1);
}

#[test]
fn tls_follows_a_granted_request() {
    let talk = run(start, &settings(), &[(Original, b"AUTH TLS\r\n"), (Reply, b"234 go\r\n")], 0);
    assert_eq!(talk.over, Some(Fed::Upgrade { used: 8, to: Some(AppProtocol::Tls) }));
}

#[test]
fn addresses_are_read_exactly() {
    assert_eq!(command::port(b" 1,2,3,4,256,1"), None);
    assert_eq!(command::port(b" 1,2,3,4,1"), None);
    assert_eq!(command::passive(b"227 x (1,2,3,4,221,243)."), Some(56819));
    assert_eq!(command::extended_port(b" |2|2a01::1|41813|"), Some(41813));
    assert_eq!(command::extended_port(b" |2|2a01::1|81813|"), None);
    assert_eq!(command::extended_passive(b"229 x (|||48758|)"), Some(48758));
}

#[test]
fn a_data_connection_is_a_file() {
    let mut talk = Talk::new(data::DESCRIPTION.start, settings());
    let expectation =
        Expectation { tuple: talk_tuple(), protocol: AppProtocol::FtpData, label: (*b"n.txt").into(), command: 2 };
    talk.parser.expected(&expectation);
    talk.say(Original, b"he", false);
    talk.say(Original, b"llo", true);
    assert_eq!(
        talk.shown(),
        "{\"filename\":\"n.txt\",\"command\":\"STOR\"} [] 1/1 n.txt:5:CLOSED:5d41402abc4b2a76b9719d911017c592 1/1\n"
    );
    assert_eq!(talk.number(0, Field::FtpDataCommand, Original, 0), Some(2));
    assert_eq!(talk.number(0, Field::FtpDataCommand, Reply, 0), None, "a file that is stored goes to the server");
}

#[test]
fn a_foreign_address_is_told() {
    let talk = run(start, &settings(), &[(Original, b"PORT 10,0,0,1,1,2\r\nPORT 10,0,0,9,1,2\r\n")], 0);
    let list = talk.parser.transactions();
    let asked = |nth| list.get(nth).unwrap().1.special("ftpbounce", "", Original);
    assert_eq!((asked(0), asked(1)), (Some(false), Some(true)));
}
