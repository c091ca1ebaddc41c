use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::app::{Expectation, Settings};

fn tuple(port: u16) -> Tuple {
    let address = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
    Tuple { source: address(1), destination: address(2), source_port: 40_000, destination_port: port, protocol: 6 }
}

fn feed(app: &mut App, way: Direction, bytes: &[u8]) -> Outcome {
    let settings = Settings::default();
    let mut expectations: Vec<Expectation> = Vec::new();
    let mut context = Context { settings: &settings, tuple: &tuple(9), expectations: &mut expectations };
    app.feed(way, Chunk { bytes, gap: 0, end: false, time: Instant::ZERO }, &mut context)
}

#[test]
fn a_flow_that_never_tells_a_protocol_is_given_up_with_a_word() {
    let mut app = App::new(&tuple(9), false);
    let noise = [0xa5; 1400];
    for _ in 0..200 {
        feed(&mut app, Direction::Original, &noise);
    }
    assert!(app.is_over());
    assert_eq!(app.identity().flow, Found::Failed);
    assert_eq!(app.take_anomalies(), [DETECTION_SKIPPED]);
}

#[test]
fn both_directions_without_a_protocol_end_the_search() {
    let mut app = App::new(&tuple(9), false);
    let noise = [0xa5; 5000];
    feed(&mut app, Direction::Original, &noise);
    assert!(!app.is_over());
    feed(&mut app, Direction::Reply, &noise);
    assert!(app.is_over());
    assert_eq!(app.take_anomalies(), []);
}

#[test]
fn one_direction_tells_for_both() {
    let mut app = App::new(&tuple(9), false);
    let long = [b"NONSENSE /x HTTP/1.1\r\nA: ".as_slice(), &[b'a'; 200], b"\r\n\r\n"].concat();
    feed(&mut app, Direction::Original, &long);
    assert_eq!(app.identity().flow, Found::Unknown);
    feed(&mut app, Direction::Reply, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let identity = app.identity();
    assert_eq!(identity.flow, Found::Protocol(AppProtocol::Http1));
    assert_eq!(identity.to_client, Found::Protocol(AppProtocol::Http1));
    assert_eq!(app.take_anomalies(), [ONE_DIRECTION]);
    assert_eq!(app.parser(0).map(|parser| parser.transactions().len()), Some(1));
}

#[test]
fn a_direction_that_says_nothing_is_not_odd() {
    let mut app = App::new(&tuple(9), false);
    feed(&mut app, Direction::Original, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let settings = Settings::default();
    let mut context = Context { settings: &settings, tuple: &tuple(9), expectations: &mut Vec::new() };
    app.feed(Direction::Reply, Chunk { bytes: b"", gap: 0, end: true, time: Instant::ZERO }, &mut context);
    assert_eq!(app.identity().flow, Found::Protocol(AppProtocol::Http1));
    assert_eq!(app.take_anomalies(), []);
}

#[test]
fn the_first_bytes_tell() {
    let mut app = App::new(&tuple(9), false);
    feed(&mut app, Direction::Original, b"GET");
    assert_eq!(app.identity().flow, Found::Unknown);
    feed(&mut app, Direction::Original, b" / HTTP/1.1\r\n\r\n");
    assert_eq!(app.identity().to_server, Found::Protocol(AppProtocol::Http1));
    assert_eq!(app.parser(0).map(|parser| parser.transactions().len()), Some(1));
    assert_eq!(app.take_anomalies(), []);
}

#[test]
fn inline_empty_lines_are_skipped_before_a_request_and_are_bytes_to_others() {
    let mut settings = Settings::default();
    settings.http.inline = true;
    let spoken = |tuple: Tuple, bytes: &[u8]| {
        let mut expectations: Vec<Expectation> = Vec::new();
        let mut context = Context { settings: &settings, tuple: &tuple, expectations: &mut expectations };
        let mut app = App::new(&tuple, false);
        match tuple.protocol {
            6 => {
                let chunk = Chunk { bytes, gap: 0, end: false, time: Instant::ZERO };
                app.feed(Direction::Original, chunk, &mut context)
            }
            _ => app.feed_datagram(Direction::Original, bytes, Instant::ZERO, &mut context),
        };
        app.identity().to_server.protocol()
    };
    let question = b"\x0d\x0a\x01\0\0\x01\0\0\0\0\0\0\x01a\x03com\0\0\x01\0\x01";
    assert_eq!(spoken(Tuple { protocol: 17, ..tuple(53) }, question), Some(AppProtocol::Dns));
    assert_eq!(spoken(tuple(9), b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"), Some(AppProtocol::Http1));
    // A transaction of Modbus: its number is what the client likes.
    assert_eq!(spoken(tuple(502), b"\x0d\x0a\0\0\0\x06\x01\x03\0\0\0\x01"), Some(AppProtocol::Modbus));
    assert_eq!(spoken(tuple(9), b"\r\n\r\n"), None);
}

#[test]
fn a_flow_met_the_wrong_way_round_is_turned() {
    let mut app = App::new(&tuple(9), true);
    let outcome = feed(&mut app, Direction::Original, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(outcome, Outcome::Reversed);
    assert_eq!(app.identity().to_client, Found::Protocol(AppProtocol::Http1));
}

#[test]
fn a_tunnel_tells_its_protocol_anew() {
    let mut app = App::new(&tuple(9), false);
    feed(&mut app, Direction::Original, b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n");
    feed(&mut app, Direction::Reply, b"HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(app.identity().original, None);
    feed(&mut app, Direction::Original, b"GET /inner HTTP/1.1\r\nHost: a\r\n\r\n");
    let identity = app.identity();
    assert_eq!((identity.flow, identity.original), (Found::Protocol(AppProtocol::Http1), Some(AppProtocol::Http1)));
    assert_eq!(app.parsers(), 2);
    feed(&mut app, Direction::Reply, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(app.parser(1).map(|parser| parser.transactions().len()), Some(1));
}

#[test]
fn a_flow_is_not_handed_on_while_it_is_handed_over() {
    let mut app = App::new(&tuple(9), false);
    feed(&mut app, Direction::Original, b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n");
    feed(&mut app, Direction::Reply, b"HTTP/1.1 200 OK\r\n\r\n");
    feed(&mut app, Direction::Reply, b"HTTP/1.1 101 Switch\r\nUpgrade: h2c\r\n\r\n");
    let marked = app.parser(1).and_then(|parser| parser.transactions().get(0));
    let events: Vec<&str> = marked.unwrap().0.anomalies.iter().map(|anomaly| anomaly.0).collect();
    assert!(events.contains(&"http.failed_protocol_change"), "{events:?}");
}
