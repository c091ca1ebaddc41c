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
