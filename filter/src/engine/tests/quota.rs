//! What guests may open: who is at a limit is refused, who is not never notices.

use super::*;
use crate::policy::{Account, Quota};

fn limited(quota: Quota, ports: &[u16]) -> Spec {
    let ports = ports.iter().map(|&port| PortId(port)).collect();
    Spec { accounts: vec![Account { name: "port a".into(), ports, quota }], ..spec(Action::Allow, vec![]) }
}

fn syn(from: std::net::IpAddr, port: u16) -> Frame {
    seg(from, port, crate::testing::C4, 80, TCP_SYN, 1, 0, b"")
}

#[test]
fn one_guest_at_its_limit_of_half_open_connections_harms_no_other() {
    let mut world = World::new(&limited(Quota { half_open: 10, ..Quota::default() }, &[A]));
    let mut refused = 0;
    for port in 1..500 {
        match world.send(&syn(A4, port), A, C) {
            Ok(()) => {}
            Err(reason) => {
                assert_eq!(reason, DropReason::HalfOpenLimit);
                refused += 1;
            }
        }
        assert_eq!(world.handshake(B, port, A, 80), Ok(()), "{port}");
    }
    assert_eq!(refused, 489);
    assert_eq!(world.engine.opened(PortId(A)).1, 10);
    assert_eq!(world.engine.opened(PortId(C)).2, 10);
    let told = world.events().iter().filter(|event| *event == "notice quota-half-open").count();
    assert_eq!(told, 1, "told once, whatever comes");
    // One that is answered makes room for another.
    world.send(&seg(crate::testing::C4, 80, A4, 1, TCP_SYN | TCP_ACK, 9, 2, b""), C, A).unwrap();
    world.send(&seg(A4, 1, crate::testing::C4, 80, TCP_ACK, 2, 10, b""), A, C).unwrap();
    assert_eq!(world.engine.opened(PortId(A)).1, 9);
    assert_eq!(world.send(&syn(A4, 600), A, C), Ok(()));
    assert_eq!(world.send(&syn(A4, 601), A, C), Err(DropReason::HalfOpenLimit));
}

#[test]
fn new_flows_come_at_their_rate() {
    let mut world = World::new(&limited(Quota { new_flows: 100, ..Quota::default() }, &[A]));
    let burst = |world: &mut World, first: u16| {
        (0..1000).filter(|n| world.send(&Frame::udp(A4, first + n, B4, 53, b""), A, B).is_ok()).count()
    };
    assert_eq!(burst(&mut world, 1), 100);
    assert_eq!(world.send(&Frame::udp(A4, 2000, B4, 53, b""), A, B), Err(DropReason::FlowRate));
    assert_eq!(world.send(&Frame::udp(B4, 2000, A4, 53, b""), B, A), Ok(()));
    // What stands goes on.
    assert_eq!(world.send(&Frame::udp(A4, 1, B4, 53, b""), A, B), Ok(()));
    world.now = world.now.after(Duration::from_millis(500));
    assert_eq!(burst(&mut world, 3000), 50);
    world.pass_time(100);
    assert_eq!(burst(&mut world, 5000), 100);
}

#[test]
fn the_ports_of_a_group_share_its_flows_and_a_port_gives_up_its_own() {
    let mut world = World::new(&limited(Quota { flows: 10, ..Quota::default() }, &[A, B]));
    for port in 1..=5 {
        assert_eq!(world.send(&Frame::udp(A4, port, B4, 53, b""), A, C), Ok(()));
        assert_eq!(world.send(&Frame::udp(B4, port, A4, 54, b""), B, C), Ok(()));
    }
    assert_eq!(world.send(&Frame::udp(A4, 6, B4, 53, b""), A, C), Err(DropReason::FlowQuota));
    assert_eq!(world.send(&Frame::udp(crate::testing::C4, 6, B4, 53, b""), C, A), Ok(()));
    // A policy that is installed counts what stands; a port alone gives up a flow that nobody answered.
    world.install(&limited(Quota { flows: 5, ..Quota::default() }, &[A]));
    assert_eq!(world.send(&Frame::udp(A4, 7, B4, 53, b""), A, C), Ok(()));
    assert_eq!(world.engine.opened(PortId(A)).0, 5);
    assert!(world.events().contains(&"flow new evicted".to_owned()));
}
