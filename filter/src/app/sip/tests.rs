use super::*;
use crate::app::exercise::{Script, all_cuts, run, storm};
use Direction::{Original, Reply};

const INVITE: &[u8] = b"INVITE sip:b@x SIP/2.0\r\nVia: SIP/2.0/TCP a\r\nv: SIP/2.0/TCP b\r\nFrom: <sip:a@x>\r\nTo: <sip:b@x>\r\n\
    User-Agent: me\r\n you\r\nContent-Type: application/sdp\r\nContent-Length: 145\r\n\r\n\
    v=0\r\no=me 1 2 IN IP4 1.1.1.1\r\ns=call\r\ni=info\r\nc=IN IP4 1.1.1.1\r\nb=AS:64\r\nt=1 2\r\nr=3 4\r\na=sendrecv\r\n\
    m=audio 3 RTP/AVP 0\r\ni=medium\r\nk=prompt\r\na=x\r\n";
const RINGING: &[u8] = b"SIP/2.0 180 Ringing now\r\nFrom: <sip:a@x>\r\nl: 0\r\n\r\n";

fn script() -> Vec<(Direction, &'static [u8])> {
    vec![(Original, INVITE), (Reply, RINGING), (Original, b"ACK sip:b@x SIP/2.0\r\n\r\n")]
}

#[test]
fn messages_are_transactions_with_their_sessions() {
    let shown = all_cuts(start, &Settings::default(), &script());
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines.len(), 3, "{shown}");
    assert!(lines[0].contains(r#"{"method":"INVITE","uri":"sip:b@x","version":"SIP/2.0","request_line":"INVITE sip:b@x SIP/2.0","sdp":{"origin":"me 1 2 IN IP4 1.1.1.1","session_name":"call""#), "{shown}");
    assert!(lines[0].contains(r#""time_descriptions":[{"time":"1 2","repeat_time":"3 4"}],"attributes":["sendrecv"]"#));
    assert!(lines[0].contains(r#""media_descriptions":[{"media":"audio 3 RTP/AVP 0","media_info":"medium","encryption_key":"prompt","attributes":["x"]}]"#), "{shown}");
    assert!(lines[1].contains(r#""code":"180","reason":"Ringing now","response_line":"SIP/2.0 180 Ringing now""#));
    storm(start, &Settings::default(), &script(), 2000);
}

#[test]
fn rules_can_ask_for_the_parts() {
    let talk = run(start, &Settings::default(), &script(), 0);
    let value = |nth, buffer, way, which| talk.value(nth, buffer, way, which).map(|v| String::from_utf8(v).unwrap());
    assert_eq!(value(0, Buffer::SipVia, Original, 1).as_deref(), Some("SIP/2.0/TCP b"));
    assert_eq!(value(0, Buffer::SipUserAgent, Original, 0).as_deref(), Some("me you"));
    assert_eq!(value(1, Buffer::SipStatMessage, Reply, 0).as_deref(), Some("Ringing now"));
    assert_eq!(value(1, Buffer::SipFrom, Original, 0), None, "it is a response");
    assert_eq!(value(1, Buffer::SipContentLength, Reply, 0).as_deref(), Some("0"));
    assert_eq!(value(0, Buffer::SdpMediaInfo, Original, 0).as_deref(), Some("medium"));
    assert_eq!(value(0, Buffer::SdpRepeatTime, Original, 0).as_deref(), Some("3 4"));
}

#[test]
fn a_datagram_is_one_message() {
    let udp: crate::app::exercise::Start = |settings, _| start(settings, &crate::app::exercise::tuple(17));
    let script: Script<'_> = &[(Original, INVITE), (Reply, RINGING), (Original, b"INVITE sip:x")];
    let talk = run(udp, &Settings::default(), script, 0);
    assert_eq!(talk.parser.transactions().len(), 2);
    assert!(talk.shown().contains("sip.incomplete_data"));
    storm(udp, &Settings::default(), script, 1000);
}

#[test]
fn a_large_body_is_skipped_and_the_next_message_is_read() {
    let mut bytes = b"INVITE sip:b@x SIP/2.0\r\nContent-Length: 200000\r\n\r\n".to_vec();
    bytes.extend(std::iter::repeat_n(b'x', 200_000));
    bytes.extend_from_slice(b"ACK sip:b@x SIP/2.0\r\n\r\n");
    let talk = run(start, &Settings::default(), &[(Original, &bytes)], 1000);
    assert_eq!(talk.parser.transactions().len(), 2);
}

#[test]
fn probes_look_at_the_whole_line() {
    let (tcp, udp) = (crate::app::exercise::tuple(6), crate::app::exercise::tuple(17));
    assert_eq!(probe(Original, INVITE, &udp), Probe::Yes);
    assert_eq!(probe(Reply, RINGING, &udp), Probe::Yes);
    assert_eq!(probe(Original, b"INVI", &tcp), Probe::More);
    assert_eq!(probe(Original, b"OPTIONS * HTTP/1.1\r\n", &tcp), Probe::No);
}
