use super::*;
use crate::app::exercise::{Talk, all_cuts, run, storm};

fn message(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first, body.len() as u8][..], body].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

fn connect() -> Vec<u8> {
    let body =
        [text("MQTT"), vec![5, 0xc2, 0, 60, 3, 0x21, 0, 20], text("client"), text("user"), text("pass")].concat();
    message(0x10, &body)
}

const ASK: Direction = Direction::Original;
const ANSWER: Direction = Direction::Reply;

fn script() -> Vec<(Direction, Vec<u8>)> {
    let subscribe = [&[0, 1, 0][..], &text("topicX"), &[0], &text("topicY"), &[1]].concat();
    vec![
        (ASK, connect()),
        (ANSWER, message(0x20, &[0, 0, 3, 0x22, 0, 10])),
        (ASK, message(0x82, &subscribe)),
        (ANSWER, message(0x90, &[0, 1, 0, 0, 1])),
        (ANSWER, message(0x31, &[&text("topicX")[..], &[0], b"hello"].concat())),
        (ASK, message(0xe0, &[])),
    ]
}

#[test]
fn a_session_is_the_same_in_any_cut() {
    let script = script();
    let script: Vec<(Direction, &[u8])> = script.iter().map(|(way, bytes)| (*way, &bytes[..])).collect();
    let shown = all_cuts(start, &Settings::default(), &script);
    assert_eq!(shown.lines().count(), 4, "{shown}");
    assert!(shown.contains("\"properties\":{\"receive_maximum\":20}"), "{shown}");
    assert!(
        shown.contains("\"topics\":[{\"topic\":\"topicX\",\"qos\":0},{\"topic\":\"topicY\",\"qos\":1}]"),
        "{shown}"
    );
    assert!(shown.contains("\"qos_granted\":[0,1]"), "{shown}");
    assert!(shown.contains("\"disconnect\":{\"qos\":0,\"retain\":false,\"dup\":false,\"reason_code\":0}"), "{shown}");
}

#[test]
fn buffers_and_numbers_are_those_of_the_message() {
    let script = script();
    let script: Vec<(Direction, &[u8])> = script.iter().map(|(way, bytes)| (*way, &bytes[..])).collect();
    let talk = run(start, &Settings::default(), &script, 0);
    assert_eq!(talk.value(0, Buffer::MqttConnectPassword, ASK, 0), Some(b"pass".to_vec()));
    assert_eq!(talk.number(0, Field::MqttType, ASK, 1), Some(2));
    assert_eq!(talk.number(0, Field::MqttConnectFlags, ASK, 0), Some(0xc2));
    assert_eq!(talk.value(1, Buffer::MqttSubscribeTopic, ASK, 1), Some(b"topicY".to_vec()));
    assert_eq!(talk.value(2, Buffer::MqttPublishMessage, ANSWER, 0), Some(b"hello".to_vec()));
}

#[test]
fn what_comes_without_a_greeting_is_noted() {
    let mut talk = Talk::new(start, Settings::default());
    talk.say(ASK, &[0xc0, 0], false);
    talk.say(ANSWER, &message(0x90, &[0, 9]), false);
    talk.say(ASK, &message(0x36, &[0, 1, b't', 0, 9]), false);
    let shown = talk.shown();
    assert!(shown.contains("mqtt.unintroduced_message") && shown.contains("mqtt.missing_subscribe"), "{shown}");
    assert!(shown.contains("mqtt.invalid_qos_level"), "{shown}");
    assert_eq!(talk.over, None);
}

#[test]
fn whatever_a_server_answers_the_client_is_introduced() {
    let shown = |script: &[(Direction, Vec<u8>)]| {
        let script: Vec<(Direction, &[u8])> = script.iter().map(|(way, bytes)| (*way, &bytes[..])).collect();
        run(start, &Settings::default(), &script, 0).shown()
    };
    let refused = (ANSWER, message(0x20, &[0, 135, 0]));
    let ends = (ANSWER, message(0xe0, &[135]));
    assert!(!shown(&[(ASK, connect()), refused.clone(), ends.clone()]).contains("unintroduced"));
    let before = shown(&[refused, (ASK, connect()), ends]);
    assert!(before.contains("mqtt.missing_connect") && before.contains("unintroduced"), "{before}");
    assert!(!before.contains("double_connect"), "{before}");
}

#[test]
fn what_the_fixed_header_says_is_asked_of_the_client() {
    let script = script();
    let script: Vec<(Direction, &[u8])> = script.iter().map(|(way, bytes)| (*way, &bytes[..])).collect();
    let talk = run(start, &Settings::default(), &script, 0);
    assert_eq!(talk.number(2, Field::MqttType, ANSWER, 0), Some(3), "a message of the server");
    assert_eq!(talk.number(2, Field::MqttFlags, ANSWER, 0), None);
    assert_eq!(talk.number(2, Field::MqttQos, ANSWER, 0), None);
    assert_eq!(talk.number(3, Field::MqttFlags, ASK, 0), Some(0));
}

#[test]
fn options_and_data_are_told_as_they_are() {
    let subscribe = message(0x82, &[&[0, 1, 2, 0x0b, 5][..], &text("topic"), &[0x2d]].concat());
    let granted = message(0x90, &[&[0, 1, 5, 0x1f][..], &text("ok"), &[1]].concat());
    let auth = message(0xf0, &[&[0x18, 7, 0x16][..], &text("da\0a")].concat());
    let talk = run(
        start,
        &Settings::default(),
        &[(ASK, &connect()), (ANSWER, &message(0x20, &[0, 0, 0])), (ASK, &subscribe), (ANSWER, &granted), (ASK, &auth)],
        0,
    );
    let shown = talk.shown();
    assert!(shown.contains(r#""topic":"topic","qos":45}],"properties":{"subscription_identifier":5}"#), "{shown}");
    assert!(shown.contains(r#""qos_granted":[1]}"#), "{shown}");
    assert!(shown.contains(r#""authentication_data":"da\u0000a""#), "{shown}");
}

#[test]
fn a_message_too_long_is_passed_over() {
    let mut talk = Talk::new(start, Settings::default());
    let mut long = vec![0x30, 0x80, 0x80, 0x40];
    long.extend(vec![0; 1 << 20]);
    long.extend([0xc0, 0]);
    for part in long.chunks(10_000) {
        talk.say(ASK, part, false);
    }
    let shown = talk.shown();
    assert!(shown.contains("\"truncated\":true,\"skipped_length\":1048576") && shown.contains("pingreq"), "{shown}");
}

#[test]
fn too_many_messages_give_up_the_oldest() {
    let settings = Settings { transactions_by: vec![(AppProtocol::Mqtt, 4)], ..Settings::default() };
    let subscribe = |id: u8| message(0x82, &[&[0, id, 0][..], &text("topic"), &[0]].concat());
    let asked: Vec<Vec<u8>> = std::iter::once(connect()).chain((1..40).map(subscribe)).collect();
    let script: Vec<(Direction, &[u8])> = asked.iter().map(|bytes| (ASK, &bytes[..])).collect();
    let talk = run(start, &settings, &script, 0);
    assert!(talk.parser.transactions().len() <= 8);
    assert!(talk.shown().contains("mqtt.too_many_transactions"), "{}", talk.shown());
}

#[test]
fn storms_break_nothing() {
    let script = script();
    let script: Vec<(Direction, &[u8])> = script.iter().map(|(way, bytes)| (*way, &bytes[..])).collect();
    storm(start, &Settings::default(), &script, 3000);
}
