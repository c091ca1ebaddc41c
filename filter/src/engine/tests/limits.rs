//! Bounds, and who pays at them.

use super::*;

fn udp(port: u16, from: u16) -> Frame {
    let source = [A4, B4, crate::testing::C4][usize::from(from) - 1];
    Frame::udp(source, port, "10.0.0.9".parse().unwrap(), 53, b"")
}

fn world(flows: usize, flows_per_port: usize) -> World {
    World::with_limits(&spec(Action::Allow, vec![]), Limits { flows, flows_per_port, ..Limits::default() })
}

#[test]
fn a_guest_that_fills_the_table_makes_room_for_the_others() {
    let mut world = world(100, 0);
    for port in 0..1000 {
        assert_eq!(world.send(&udp(port, A), A, C), Ok(()));
    }
    assert_eq!(world.engine.flow_count(), 100);
    for port in 0..50 {
        assert_eq!(world.send(&udp(port, B), B, C), Ok(()));
    }
    // B's flows stand although A goes on.
    for port in 1000..2000 {
        assert_eq!(world.send(&udp(port, A), A, C), Ok(()));
    }
    let mine = |record: &crate::event::FlowRecord| record.in_port == PortId(B);
    assert_eq!((world.engine.flows(1000, mine).len(), world.engine.flow_count()), (50, 100));
}

#[test]
fn answered_flows_are_not_given_up_for_the_same_port_but_for_another() {
    let mut world = world(10, 0);
    for port in 0..10 {
        world.handshake(A, 1000 + port, B, 80).unwrap();
    }
    assert_eq!(world.handshake(A, 2000, B, 80), Err(DropReason::FlowTableFull));
    assert_eq!(world.engine.flow_count(), 10);
    assert_eq!(world.handshake(C, 2000, B, 80), Ok(()));
    assert!(world.events().contains(&"flow established evicted".to_string()));
}

#[test]
fn a_quota_bounds_each_port() {
    let mut world = world(1000, 5);
    for port in 0..5 {
        world.handshake(A, 1000 + port, B, 80).unwrap();
    }
    assert_eq!(world.handshake(A, 2000, B, 80), Err(DropReason::FlowQuota));
    assert_eq!(world.handshake(C, 2000, B, 80), Ok(()));
    // Unanswered flows make room for others of their port.
    for port in 0..100 {
        assert_eq!(world.send(&udp(port, B), B, C), Ok(()));
    }
    assert_eq!(world.engine.flow_count(), 5 + 1 + 5);
}

#[test]
fn silent_flows_are_forgotten_in_their_time() {
    let mut world = world(1000, 0);
    world.send(&udp(1, A), A, C).unwrap();
    world.handshake(A, 1000, B, 80).unwrap();
    world.send(&seg(A4, 1001, B4, 80, TCP_SYN, 1, 0, b""), A, B).unwrap();
    world.handshake(A, 1002, B, 80).unwrap();
    world.send(&seg(B4, 80, A4, 1002, TCP_RST | TCP_ACK, 501, 101, b""), B, A).unwrap();
    world.pass_time(29);
    world.tick();
    assert_eq!(world.engine.flow_count(), 4);
    // One-way UDP: 30 s.
    world.pass_time(2);
    world.tick();
    assert_eq!((world.engine.flow_count(), world.events()), (3, vec!["flow new timeout".to_string()]));
    // Half a handshake, and after a reset: 60 s.
    world.pass_time(30);
    world.tick();
    assert_eq!(world.events(), ["flow new timeout", "flow closed closed"]);
    // Established: a day.
    world.pass_time(86_000);
    world.tick();
    assert_eq!(world.engine.flow_count(), 1);
    world.pass_time(500);
    world.tick();
    assert_eq!((world.engine.flow_count(), world.events()), (0, vec!["flow established timeout".to_string()]));
    assert_eq!(world.engine.tick(world.now, |_, _| {}), None);
}

#[test]
fn a_flow_in_use_is_not_forgotten() {
    let mut world = world(1000, 0);
    for _ in 0..20 {
        world.send(&udp(1, A), A, C).unwrap();
        world.pass_time(20);
        world.tick();
    }
    assert_eq!(world.engine.flows(1, |_| true)[0].packets, [20, 0]);
}

#[test]
fn events_beyond_their_room_are_lost_and_counted() {
    let limits = Limits { events: 3, ..Limits::default() };
    let mut world = World::with_limits(&spec(Action::Drop, vec![]), limits);
    for port in 0..10 {
        assert_eq!(world.send(&udp(port, A), A, C), POLICY);
    }
    assert_eq!((world.events().len(), world.engine.waiting_events().lost()), (3, 7));
}

#[test]
fn a_large_table_is_looked_through_in_parts() {
    let mut world = world(1000, 0);
    for port in 0..100 {
        world.send(&udp(port, A), A, C).unwrap();
    }
    let (mut next, mut found, mut parts) = (Some(0), vec![], 0);
    while let Some(start) = next {
        let (records, after) = world.engine.flows_from(start, 30, |record| record.tuple.source_port >= 50);
        found.extend(records.iter().map(|record| record.flow));
        (next, parts) = (after, parts + 1);
    }
    assert_eq!((found, parts), ((51..=100).collect(), 4));
}

#[test]
fn a_connection_picked_up_from_one_side_only_is_soon_forgotten() {
    let mut world = world(1000, 0);
    world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"x"), A, B).unwrap();
    world.pass_time(62);
    world.tick();
    assert_eq!(world.engine.flow_count(), 0);
}
