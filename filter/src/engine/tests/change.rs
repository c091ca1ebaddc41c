//! What a change of policy does to flows that stand.

use super::*;

fn open() -> Spec {
    spec(Action::Drop, vec![web_to_db(Action::Allow, PROTOCOL_TCP, 80)])
}

#[test]
fn an_established_flow_that_is_not_allowed_any_more_stops() {
    let mut world = World::new(&open());
    world.handshake(A, 1000, B, 80).unwrap();
    let there = seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"x");
    let back = seg(B4, 80, A4, 1000, TCP_ACK, 501, 101, b"y");
    world.install(&spec(Action::Drop, vec![]));
    for _ in 0..2 {
        assert_eq!(world.send(&back, B, A), POLICY);
        assert_eq!(world.send(&there, A, B), POLICY);
    }
    assert!(world.replies().is_empty());
    assert_eq!(world.events(), ["drop policy"]);
    assert_eq!(world.engine.flows(1, |_| true)[0].state, "blocked");
    // One judgement for the flow, whatever the number of packets.
    assert_eq!(world.engine.rule_counters()[0].hits, 1);
    // Allowed again, it goes on.
    world.install(&open());
    assert_eq!(world.send(&there, A, B), Ok(()));
    assert_eq!(world.send(&back, B, A), Ok(()));
}

#[test]
fn a_flow_that_stays_allowed_is_judged_once_and_goes_on() {
    let mut world = World::new(&open());
    world.handshake(A, 1000, B, 80).unwrap();
    world.install(&spec(Action::Allow, vec![]));
    for _ in 0..3 {
        assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"x"), A, B), Ok(()));
    }
    assert_eq!(world.engine.rule_counters()[0].hits, 1);
    assert_eq!(world.engine.flows(1, |_| true)[0].rule, weir_wire::RuleId::DEFAULT);
}

#[test]
fn reject_resets_both_ends_of_an_established_connection() {
    let mut world = World::new(&open());
    world.handshake(A, 1000, B, 80).unwrap();
    world.send(&seg(B4, 80, A4, 1000, TCP_ACK, 501, 101, b"12345"), B, A).unwrap();
    world.install(&spec(Action::Drop, vec![web_to_db(Action::Reject, PROTOCOL_TCP, 80)]));
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 506, b"x"), A, B), Err(DropReason::PolicyReject));
    let replies = world.replies();
    let ports: Vec<u16> = replies.iter().map(|(port, _)| *port).collect();
    assert_eq!(ports, [B, A]);
    // What each end expects next.
    let numbers = |at: usize| {
        let tcp = replies[at].1.tcp().unwrap();
        (tcp.source_port, tcp.seq, tcp.ack, tcp.flags)
    };
    assert_eq!(numbers(0), (1000, 101, 506, TCP_RST | TCP_ACK));
    assert_eq!(numbers(1), (80, 506, 0, TCP_RST));
    // Later packets: their sender alone is told.
    let back = seg(B4, 80, A4, 1000, TCP_ACK, 506, 101, b"y");
    assert_eq!(world.send(&back, B, A), Err(DropReason::PolicyReject));
    assert_eq!(world.replies().iter().map(|(port, _)| *port).collect::<Vec<_>>(), [B]);
}

#[test]
fn a_host_that_moves_to_another_port_is_judged_there() {
    let rules = vec![web_to_db(Action::Allow, PROTOCOL_TCP, 80)];
    let mut world = World::new(&spec(Action::Drop, rules));
    world.handshake(A, 1000, B, 80).unwrap();
    // B's address is behind C's port now, which is in no allowed group.
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"x"), A, C), POLICY);
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"x"), A, B), Ok(()));
}

#[test]
fn connections_without_a_start_are_taken_up_for_a_while() {
    let mut world = World::new(&open());
    // From the server's side: allowed as the answer to a client.
    let data = seg(B4, 80, A4, 1000, TCP_ACK, 9000, 4000, b"data");
    assert_eq!(world.send(&data, B, A), Ok(()));
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 4000, 9004, b"x"), A, B), Ok(()));
    let flow = world.engine.flows(1, |_| true).remove(0);
    assert_eq!((flow.in_port, flow.tuple.destination_port, flow.state), (PortId(A), 80, "established"));
    // What the policy refuses either way stays out, and a scan is none.
    assert_eq!(world.send(&seg(B4, 81, A4, 1000, TCP_ACK, 9000, 4000, b"data"), B, A), POLICY);
    assert_eq!(world.send(&seg(A4, 1001, B4, 80, TCP_RST, 9000, 0, b""), A, B), Err(DropReason::TcpMidstream));
    assert_eq!(world.send(&seg(A4, 1001, B4, 80, 0, 9000, 0, b""), A, B), Err(DropReason::TcpMidstream));
    world.pass_time(61);
    assert_eq!(world.send(&seg(A4, 1002, B4, 80, TCP_ACK, 4000, 9004, b"x"), A, B), Err(DropReason::TcpMidstream));
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 4001, 9004, b"x"), A, B), Ok(()));
}

#[test]
fn a_flow_that_people_end_stays_ended() {
    let mut world = World::new(&open());
    world.handshake(A, 1000, B, 80).unwrap();
    assert_eq!(world.engine.kill_flows(world.now, |record| record.tuple.destination_port == 81), 0);
    assert_eq!(world.engine.kill_flows(world.now, |record| record.tuple.destination_port == 80), 1);
    let data = seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"x");
    assert_eq!(world.send(&data, A, B), Err(DropReason::FlowBlocked));
    assert_eq!(world.events(), ["flow established killed"]);
    world.pass_time(62);
    world.tick();
    assert_eq!((world.engine.flow_count(), world.events().len()), (0, 0));
    assert_eq!(world.send(&data, A, B), Err(DropReason::TcpMidstream));
}

#[test]
fn a_port_that_goes_away_takes_its_flows_along() {
    let mut world = World::new(&spec(Action::Allow, vec![]));
    world.handshake(A, 1000, B, 80).unwrap();
    world.handshake(C, 1000, A, 80).unwrap();
    world.handshake(B, 1000, C, 80).unwrap();
    world.engine.port_removed(world.now, PortId(A));
    assert_eq!(world.engine.flow_count(), 1);
    assert_eq!(world.events(), ["flow established port-removed", "flow established port-removed"]);
    world.engine.shutdown(world.now);
    assert_eq!((world.engine.flow_count(), world.events()), (0, vec!["flow established shutdown".to_string()]));
}
