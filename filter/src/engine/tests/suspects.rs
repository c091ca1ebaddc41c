//! Scans and floods are told of, and stopped where that is wanted; busy guests are neither.

use super::*;
use crate::suspects::Detection;

fn detecting(block_s: u64, rules: Vec<Rule>) -> Spec {
    let mut spec = spec(Action::Allow, rules);
    spec.settings.detection = Detection { block: Duration::from_secs(block_s), ..Detection::default() };
    spec
}

fn notices(world: &mut World) -> Vec<String> {
    world.events().into_iter().filter(|event| event.starts_with("notice")).collect()
}

#[test]
fn ports_that_reset_and_ports_that_a_rule_refuses_are_a_scan() {
    let mut world = World::new(&detecting(0, vec![]));
    for port in 1..=60 {
        world.send(&seg(A4, 4000, B4, port, TCP_SYN, 100, 0, b""), A, B).unwrap();
        world.send(&seg(B4, port, A4, 4000, TCP_RST | TCP_ACK, 0, 101, b""), B, A).unwrap();
    }
    assert_eq!(notices(&mut world), ["notice port-scan"]);
    let mut refusing = World::new(&detecting(0, vec![web_to_db(Action::Drop, PROTOCOL_TCP, 0)]));
    for port in 1..=60 {
        assert_eq!(refusing.send(&seg(A4, 4000, B4, port, TCP_SYN, 100, 0, b""), A, B), POLICY);
    }
    assert_eq!(notices(&mut refusing), ["notice port-scan"]);
}

#[test]
fn hosts_that_never_answer_are_a_scan_when_they_are_forgotten() {
    let mut world = World::new(&detecting(0, vec![]));
    for host in 1..=60u8 {
        let there = std::net::IpAddr::from([10, 9, 9, host]);
        world.send(&Frame::icmp(A4, there, 8, 0, u16::from(host)), A, B).unwrap();
    }
    assert_eq!(notices(&mut world), [""; 0]);
    world.pass_time(60);
    world.tick();
    assert_eq!(notices(&mut world), ["notice host-scan"]);
}

#[test]
fn a_busy_client_is_no_suspect() {
    let mut world = World::with_limits(&detecting(60, vec![]), Limits { flows: 10_000, ..Limits::default() });
    for n in 0..3000u16 {
        world.now = world.now.after(Duration::from_millis(1));
        assert_eq!(world.handshake(A, 1000 + n, B, 1 + n % 300), Ok(()));
    }
    // And now and then something that is down, again and again.
    for n in 0..300u16 {
        world.send(&seg(A4, 9000 + n, B4, 7, TCP_SYN, 100, 0, b""), A, B).unwrap();
        world.send(&seg(B4, 7, A4, 9000 + n, TCP_RST | TCP_ACK, 0, 101, b""), B, A).unwrap();
    }
    assert_eq!(notices(&mut world), [""; 0]);
}

#[test]
fn a_source_that_scans_may_be_stopped_for_a_while_and_its_neighbour_goes_on() {
    let mut world = World::new(&detecting(10, vec![]));
    assert_eq!(world.handshake(A, 999, B, 22), Ok(()));
    let mut stopped = None;
    for port in 100..=200 {
        let sent = world.send(&seg(A4, 4000, B4, port, TCP_SYN, 100, 0, b""), A, B);
        if let Err(reason) = sent {
            stopped = stopped.or(Some((port, reason)));
            continue;
        }
        world.send(&seg(B4, port, A4, 4000, TCP_RST | TCP_ACK, 0, 101, b""), B, A).unwrap();
    }
    let (port, reason) = stopped.expect("it is stopped");
    assert_eq!(reason, DropReason::SourceBlocked);
    assert!((140..=165).contains(&port), "{port}");
    assert_eq!(world.engine.blocked_sources(world.now).len(), 1);
    // What it had goes on; others may begin.
    assert_eq!(world.send(&seg(A4, 999, B4, 22, TCP_ACK, 101, 501, b"x"), A, B), Ok(()));
    assert_eq!(world.handshake(B, 1, A, 80), Ok(()));
    world.pass_time(11);
    assert_eq!(world.handshake(A, 998, B, 22), Ok(()));
}

#[test]
fn floods_are_told_of_by_source_and_by_target() {
    let mut spec = detecting(0, vec![]);
    spec.settings.detection.half_open = 500;
    spec.settings.detection.rates = [200, 200, 200];
    let mut world = World::with_limits(&spec, Limits { flows: 10_000, ..Limits::default() });
    for n in 0..1500u16 {
        world.now = world.now.after(Duration::from_millis(1));
        world.send(&seg(A4, n + 1, B4, 80, TCP_SYN, 100, 0, b""), A, B).unwrap();
    }
    world.tick();
    assert_eq!(notices(&mut world), ["notice syn-flood", "notice syn-flood"]);
    // One flow of UDP that nobody answers, as fast as it can.
    for n in 0..20_000u32 {
        world.now = world.now.after(Duration::from_millis(2));
        world.send(&Frame::udp(C4_ADDRESS, 7, B4, 9, b"x"), C, B).unwrap();
        if n % 1000 == 0 {
            world.tick();
        }
    }
    assert!(notices(&mut world).contains(&"notice udp-flood".to_owned()));
}

const C4_ADDRESS: std::net::IpAddr = crate::testing::C4;
