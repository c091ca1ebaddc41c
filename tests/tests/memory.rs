//! Memory of inspection stays at its ceiling: very many flows, each of a hostile sender that leaves everything undone.
//!
//! `WEIR_FLOWS` sets the number of flows, for instance to a million in a release build.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use weir_filter::inspect::{Direction, RuleSetProgram};
use weir_filter::policy::{Policy, spec};
use weir_filter::{Engine, Entered, Inspected, Limits};
use weir_ids_rules::{RuleSet, Source, Variables};
use weir_tests::conversation::{ACK, Conversation};
use weir_wire::{Checksum, Epoch, Instant, Offload, Packet, Pool, PortId, SwitchId};

const SWITCH: SwitchId = SwitchId(1);
/// Flows of the ordinary test run.
const FLOWS: usize = 20_000;
/// What streams may hold in all: the flows want many times that.
const CEILING: usize = 8 << 20;
/// Bytes of a flow and its inspection besides what its streams hold.
const EACH: usize = 8 << 10;

struct World {
    engine: Engine,
    pool: Pool,
    now: Instant,
    refused: usize,
}

impl World {
    fn new(flows: usize) -> World {
        let source = Source { name: "starter", text: weir_ids_rules::builtin("starter").unwrap() };
        let (rules, _) = RuleSet::parse(&[source], &Variables::default());
        let program = Arc::new(RuleSetProgram::compile(&rules).0);
        let switch = spec::Switch {
            id: SWITCH,
            name: "lan".into(),
            default: spec::Action::Allow,
            inspect: Some("starter".into()),
        };
        let port = |id: u16| spec::Port { id: PortId(id), name: format!("p{id}"), groups: Vec::new() };
        let spec = spec::Spec {
            switches: vec![switch],
            ports: vec![port(1), port(2)],
            rule_sets: vec![("starter".into(), program)],
            ..spec::Spec::default()
        };
        let limits = Limits { flows, flows_per_port: flows, stream_bytes: CEILING, ..Limits::default() };
        let mut engine = Engine::new(limits, 7);
        engine.install(Arc::new(Policy::compile(&spec, Epoch(1)).unwrap()));
        World { engine, pool: Pool::default(), now: Instant::from_secs(1), refused: 0 }
    }

    fn shows(&mut self, way: Direction, frame: &[u8]) {
        let offload = Offload { checksum: Checksum::Verified, ..Offload::default() };
        let (from, to) = if way == Direction::Original { (1, 2) } else { (2, 1) };
        let mut packet = Packet::new(self.pool.copy(frame).unwrap(), PortId(from), offload);
        packet.parse().unwrap();
        self.engine.prepare(&mut packet, SWITCH);
        let buffer = match self.engine.enter(self.now, packet, SWITCH, &mut self.pool) {
            Entered::Go(packet, ticket) => {
                match self.engine.inspect(self.now, packet, ticket, PortId(to), &mut self.pool) {
                    Inspected::Forward(cleared) => cleared.into_packet().buffer,
                    Inspected::Dropped(packet, _) | Inspected::Wait(packet, _) => {
                        self.refused += 1;
                        packet.buffer
                    }
                }
            }
            Entered::Held => return,
            Entered::Dropped(packet, _) => packet.buffer,
        };
        self.pool.give(buffer);
        self.engine.events().drain().for_each(drop);
    }
}

/// The most memory that this process has taken.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[test]
fn a_crowd_of_hostile_flows_stays_within_the_ceiling() {
    let flows = std::env::var("WEIR_FLOWS").ok().and_then(|text| text.parse().ok()).unwrap_or(FLOWS);
    let before = peak();
    let mut world = World::new(flows);
    let mut most = 0;
    for nth in 0..flows {
        let server = [80, 25, 443, 445][nth / 60_000 % 4] + (nth / 240_000) as u16 * 1000;
        let mut talk = Conversation::new(1024 + (nth % 60_000) as u16, server);
        let [syn, answer, ack] = talk.open();
        world.shows(Direction::Original, &syn);
        world.shows(Direction::Reply, &answer);
        world.shows(Direction::Original, &ack);
        // A head without an end, then pieces ahead of order in reverse, none ever acknowledged.
        let [client, _] = talk.next;
        let [head, _] = talk.say(Direction::Original, b"POST /a HTTP/1.1\r\nHost: a\r\nX: ");
        world.shows(Direction::Original, &head);
        for piece in (1..6u32).rev() {
            let place = client.wrapping_add(piece * 700);
            let frame = talk.segment(Direction::Original, ACK, place, talk.next[1], &[b'a'; 600]);
            world.shows(Direction::Original, &frame);
        }
        most = most.max(world.engine.inspection().stream_bytes as usize);
    }
    let grown = peak().saturating_sub(before);
    println!("{flows} flows: {most} bytes of streams at most, {} refused, {grown} bytes of memory more", world.refused);
    assert!(world.refused > flows / 2, "the ceiling was never met");
    // Buffers grow by doubling, so what is taken may be twice what is held.
    assert!(most <= 2 * CEILING, "{most} bytes of streams");
    assert!(grown <= 2 * CEILING + flows * EACH + (64 << 20), "{grown} bytes for {flows} flows");
}
