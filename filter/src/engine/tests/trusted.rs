//! Pairs whose flows the policy allows and nobody looks into.

use std::sync::Arc;

use super::content::{DROP, inspecting, program};
use super::*;
use crate::content::{self, Action as Judged, List};
use crate::event::Inspection;
use crate::scan::{self, Database};

/// A switch where everything is looked into, and a rule between two guests that says something else.
fn watched(rule: Rule) -> Spec {
    let deny =
        content::Rule { name: "no".into(), action: Judged::Deny, lists: vec!["bad".into()], ..Default::default() };
    let database = Database::read([("own.ndb", "Own.Marker:0:*:6f776e6d61726b6572\n")].into_iter());
    Spec {
        rules: vec![rule],
        content: content::Spec {
            rules: vec![deny],
            lists: vec![("bad".into(), Arc::new(List::parse("bad.example")))],
            ..content::Spec::default()
        },
        scan: Arc::new(scan::Policy { database: Some(Arc::new(database)), ..scan::Policy::default() }),
        ..inspecting(&program(DROP))
    }
}

#[test]
fn nobody_looks_into_what_a_trusted_pair_says_and_it_settles_at_once() {
    let pair = Rule { trusted: true, ..web_to_db(Action::Allow, PROTOCOL_TCP, 80) };
    let mut world = World::new(&watched(pair));
    world.handshake(A, 1000, B, 80).unwrap();
    let flow = world.engine.flows(1, |_| true).remove(0);
    assert_eq!((flow.inspection, flow.state), (Inspection::Trusted, "established"));
    let ask = b"GET /evil HTTP/1.1\r\nHost: bad.example\r\n\r\nownmarker";
    let asks = seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, ask);
    let mut packet = asks.packet_in(A, &mut world.pool);
    assert!(world.carry(&mut packet, B), "it has the short way from its first data on");
    assert_eq!(world.engine.inspection().stream_bytes, 0);
    assert!(world.events().is_empty());
    let syn = seg(A4, 1001, B4, 80, TCP_SYN, 5, 0, b"");
    let told = world.engine.trace(world.now, &syn.packet(A), SWITCH, PortId(B)).join("\n");
    assert!(told.contains("allows and trusts") && !told.contains("virus:"), "{told}");

    // Everybody else is looked into, and the rule without trust does not take it away.
    for (from, rule) in [(C, true), (A, false)] {
        let pair = Rule { trusted: rule, ..web_to_db(Action::Allow, PROTOCOL_TCP, 80) };
        let mut world = World::new(&watched(pair));
        world.handshake(from, 1000, B, 80).unwrap();
        assert_eq!(world.engine.flows(1, |_| true).remove(0).inspection, Inspection::Inspected);
        let source = if from == A { A4 } else { crate::testing::C4 };
        let asks = seg(source, 1000, B4, 80, TCP_ACK, 101, 501, b"evil");
        assert_eq!(world.send(&asks, from, B), Err(DropReason::Inspection));
    }
}

#[test]
fn a_change_of_trust_is_taken_up_by_flows_that_stand() {
    let pair = |trusted| Rule { trusted, ..web_to_db(Action::Allow, PROTOCOL_TCP, 80) };
    let mut world = World::new(&watched(pair(false)));
    world.handshake(A, 1000, B, 80).unwrap();
    world.install(&watched(pair(true)));
    assert_eq!(world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, b"evil"), A, B), Ok(()));
    assert_eq!(world.engine.flows(1, |_| true).remove(0).inspection, Inspection::Trusted);
}
