//! Everything at once, from a seed: nothing panics, nothing vanishes, every bound holds, and the same seed gives the same
//! end.

use std::hash::{DefaultHasher, Hash, Hasher};

use weir_ids_rules::{RuleSet, Source, Variables};
use weir_wire::{Offload, build};

use super::*;
use crate::inspect::RuleSetProgram;
use crate::testing::{A6, B6, C4};

const FLOWS: usize = 40;
const FRAGMENTS: usize = 12;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn frame(&mut self) -> Vec<u8> {
        let (a, b) = self.one_of(&[(A4, B4), (B4, A4), (A4, C4), (C4, B4), (A6, B6), (B6, A6)]);
        let (sp, dp) = (self.one_of(&[80, 1000, 1001, 1002]), self.one_of(&[80, 53, 1000]));
        let data = self.one_of(&[&b""[..], b"x", b"ev", b"il", b"evil", &[b'y'; 900]]);
        let near = [100, 101, 102, 103, 105, 500, 501, 502, 505, 900_000, u32::MAX];
        let flags = [TCP_SYN, TCP_SYN | TCP_ACK, TCP_ACK, TCP_ACK, TCP_FIN | TCP_ACK, TCP_RST, TCP_RST | TCP_ACK, 0];
        let tcp = seg(a, sp, b, dp, self.one_of(&flags), self.one_of(&near), self.one_of(&near), data);
        let udp = Frame::udp(a, sp, b, dp, data);
        let (offset, more, id) = (8 * self.below(6) as u16, self.below(3) > 0, self.below(9) as u16);
        let frame = match (self.below(12), a.is_ipv4()) {
            (0..6, _) => tcp,
            (6, _) => udp,
            (7, v4) => Frame::icmp(a, b, self.one_of(if v4 { &[0, 8, 13, 9] } else { &[128, 129, 135, 143] }), 0, id),
            (8, v4) => Frame::icmp_error(a, b, if v4 { 3 } else { 1 }, 4, if id < 5 { &tcp } else { &udp }),
            (9, _) => Frame::arp(A4, B4),
            (_, true) => Frame::fragment4(a, b, PROTOCOL_UDP, id, offset, more, &udp.bytes[34..][..8]),
            (_, false) => Frame::fragment6(a, b, PROTOCOL_UDP, id.into(), offset, more, &udp.bytes[54..][..8]),
        };
        let mut bytes = frame.bytes;
        if self.below(10) == 0 {
            for _ in 0..1 + self.below(4) {
                let at = self.below(bytes.len());
                bytes[at] ^= 1 << self.below(8);
            }
        }
        bytes
    }
}

fn specs() -> Vec<Spec> {
    let text = r#"drop tcp any any -> any 80 (msg:"evil"; content:"evil"; sid:7;)
alert udp any any -> any any (msg:"x"; content:"x"; sid:8;)
reject icmp any any -> any any (msg:"ping"; itype:13; sid:9;)"#;
    let (set, problems) = RuleSet::parse(&[Source { name: "test", text }], &Variables::default());
    assert!(problems.is_empty(), "{problems:?}");
    let program = Arc::new(RuleSetProgram::compile(&set).0);
    let rules = |action| vec![web_to_db(action, PROTOCOL_TCP, 80), web_to_db(Action::Allow, PROTOCOL_UDP, 53)];
    let mut specs: Vec<Spec> = [
        (Action::Allow, Action::Allow),
        (Action::Drop, Action::Allow),
        (Action::Reject, Action::Drop),
        (Action::Allow, Action::Reject),
    ]
    .into_iter()
    .map(|(default, action)| spec(default, rules(action)))
    .collect();
    for spec in specs.iter_mut().take(2) {
        spec.rule_sets = vec![("guard".into(), program.clone())];
        spec.switches[0].inspect = Some("guard".into());
    }
    specs
}

/// One step of the storm; what became of a packet, as a number.
fn step(world: &mut World, random: &mut Random, specs: &[Spec]) -> u64 {
    match random.below(60) {
        0 => world.install(&specs[random.below(specs.len())]),
        1 => world.pass_time(random.one_of(&[0, 1, 5, 31, 70])),
        2 => drop(world.tick()),
        3 => world.engine.port_removed(world.now, PortId(random.one_of(&[A, B, C]))),
        4 => drop(world.engine.kill_flows(world.now, |record| record.tuple.source_port == 1001)),
        _ => {
            let bytes = random.frame();
            let Some(packet) = build::packet(&bytes, PortId(random.one_of(&[A, A, B, C])), &mut world.pool) else {
                return 1;
            };
            let to = random.one_of(&[A, B, B, C]);
            return send(world, packet, to, random.below(4) == 0);
        }
    }
    2
}

fn send(world: &mut World, mut packet: Packet, to: u16, flood: bool) -> u64 {
    assert_eq!(packet.offload, Offload::default());
    world.engine.prepare(&mut packet, SWITCH);
    world.engine.fetch(&mut [FlowName::of_hash(packet.hash)], Some(packet.port));
    let explained = world.engine.trace(world.now, &packet, SWITCH, PortId(to));
    assert!(!explained.is_empty());
    let entered = world.engine.enter(world.now, packet, SWITCH, &mut world.pool);
    let (packet, ticket) = match entered {
        Entered::Go(packet, ticket) => (packet, ticket),
        Entered::Held => return 3,
        Entered::Dropped(packet, why) => {
            world.pool.give(packet.buffer);
            return 10 + why.reason as u64;
        }
    };
    let inspected = if flood {
        let mut ports = vec![PortId(A), PortId(B), PortId(C)];
        let mut refused = 0;
        let engine = &mut world.engine;
        engine.inspect_flood(world.now, packet, ticket, &mut ports, &mut refused, &mut world.pool)
    } else {
        world.engine.inspect(world.now, packet, ticket, PortId(to), &mut world.pool)
    };
    match inspected {
        Inspected::Forward(cleared) => {
            world.pool.give(cleared.into_packet().buffer);
            4
        }
        Inspected::Dropped(packet, why) => {
            world.pool.give(packet.buffer);
            10 + why.reason as u64
        }
        Inspected::Wait(packet, _) => {
            world.pool.give(packet.buffer);
            10 + DropReason::AwaitsVerdict as u64
        }
    }
}

/// Plays a storm; the hash of everything that happened, and the fates that were seen.
fn storm(seed: u64, steps: usize) -> (u64, std::collections::BTreeSet<u64>) {
    let specs = specs();
    let limits = Limits { flows: FLOWS, flows_per_port: 30, fragments: FRAGMENTS, ..Limits::default() };
    let mut world = World::with_limits(&specs[0], limits);
    let mut random = Random(seed);
    let mut hasher = DefaultHasher::new();
    let mut fates = std::collections::BTreeSet::new();
    for number in 0..steps {
        let fate = step(&mut world, &mut random, &specs);
        fates.insert(fate);
        fate.hash(&mut hasher);
        for (port, reply) in world.replies() {
            (port, reply.bytes()).hash(&mut hasher);
            world.pool.give(reply.buffer);
        }
        world.events().hash(&mut hasher);
        assert_eq!(world.pool.outstanding(), world.engine.held(), "seed {seed}, step {number}");
        assert!(world.engine.flow_count() <= FLOWS && world.engine.held() <= 2 * FRAGMENTS, "seed {seed}");
    }
    world.engine.shutdown(world.now);
    assert_eq!((world.engine.flow_count(), world.engine.memory.used), (0, 0), "seed {seed}");
    (hasher.finish(), fates)
}

#[test]
fn storms_lose_nothing_and_repeat_themselves() {
    let mut fates = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let (end, seen) = storm(seed, 3000);
        assert_eq!(storm(seed, 3000).0, end, "seed {seed}");
        fates.extend(seen);
    }
    // The storms reach every kind of end.
    for reason in [
        DropReason::Policy,
        DropReason::PolicyReject,
        DropReason::Inspection,
        DropReason::FlowBlocked,
        DropReason::TcpState,
        DropReason::TcpWindow,
        DropReason::TcpMidstream,
        DropReason::IcmpUnrelated,
        DropReason::FragmentOverlap,
        DropReason::BadL4Checksum,
    ] {
        assert!(fates.contains(&(10 + reason as u64)), "{reason:?}");
    }
    assert!([1, 3, 4].iter().all(|fate| fates.contains(fate)));
}
