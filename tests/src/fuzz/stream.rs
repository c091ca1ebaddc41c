//! Any segments to the guard of a live connection: what goes on to the receiver never holds a text that is forbidden,
//! whichever copy of a byte the receiver keeps, and memory stays within its bound.
//!
//! An input is a row of segments: a byte (from the server, says what its place would have, acknowledges, flags), two
//! for its place, one for its length; where it does not say what its place would have, its bytes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock};

use weir_filter::event::Tuple;
use weir_filter::inspect::{Direction, Findings, FlowInspect, Judgement, RuleSetProgram, Seen, StreamMemory};
use weir_ids_rules::{RuleSet, Source, Variables};
use weir_wire::{Checksum, Instant, Offload, Packet, Pool, PortId};

use super::Target;
use crate::conversation::{ACK, Conversation};

/// The target.
pub const TARGET: Target = Target { name: "stream", run, longest: 4096, one_in: 10 };

/// Bytes that one direction may hold.
const HELD: usize = 64 << 10;

fn program() -> Arc<RuleSetProgram> {
    static PROGRAM: OnceLock<Arc<RuleSetProgram>> = OnceLock::new();
    let compile = || {
        let text = "drop tcp any any -> any any (content:\"EVIL\"; sid:1;)";
        let (rules, _) = RuleSet::parse(&[Source { name: "fuzz", text }], &Variables::default());
        Arc::new(RuleSetProgram::compile(&rules).0)
    };
    Arc::clone(PROGRAM.get_or_init(compile))
}

/// What one receiver has: by place, the first copy and the last.
#[derive(Default)]
struct Receiver {
    first: BTreeMap<u32, u8>,
    last: BTreeMap<u32, u8>,
    /// It has acknowledged what is before.
    read: u32,
}

impl Receiver {
    fn takes(&mut self, place: u32, data: &[u8]) {
        for (place, &byte) in (place..).zip(data) {
            if place >= self.read {
                self.first.entry(place).or_insert(byte);
                self.last.insert(place, byte);
            }
        }
    }

    /// What its application reads, with either copy.
    fn reads(copies: &BTreeMap<u32, u8>) -> Vec<u8> {
        copies.iter().zip(0..).take_while(|((place, _), nth)| *place == nth).map(|((_, &byte), _)| byte).collect()
    }

    fn check(&self) -> u32 {
        for copies in [&self.first, &self.last] {
            let text = Receiver::reads(copies);
            assert!(!text.windows(4).any(|four| four == b"EVIL"), "a forbidden text was let through");
        }
        u32::try_from(Receiver::reads(&self.first).len()).unwrap_or(u32::MAX)
    }
}

/// What a place has by itself.
fn own(place: u32) -> u8 {
    b"the quick brown fox jumps over EVI"[place as usize % 34]
}

/// One live connection and both of its receivers.
struct Guarded {
    talk: Conversation,
    flow: Option<Box<FlowInspect>>,
    memory: StreamMemory,
    pool: Pool,
}

impl Guarded {
    fn new() -> Guarded {
        let talk = Conversation::new(40_000, 4444);
        let tuple = Tuple {
            source: Ipv4Addr::new(10, 0, 0, 1).into(),
            destination: Ipv4Addr::new(10, 0, 0, 2).into(),
            source_port: talk.client,
            destination_port: talk.server,
            protocol: 6,
        };
        let flow = FlowInspect::new(&program(), &tuple, false);
        let (memory, pool) = (StreamMemory::new(4 * HELD, HELD), Pool::default());
        let mut guarded = Guarded { talk, flow, memory, pool };
        for (way, frame) in [0, 1, 0].into_iter().zip(guarded.talk.open()) {
            guarded.shows(if way == 0 { Direction::Original } else { Direction::Reply }, &frame);
        }
        guarded
    }

    /// Whether the frame goes on; `None` where the flow has ended.
    fn shows(&mut self, direction: Direction, frame: &[u8]) -> Option<bool> {
        let offload = Offload { checksum: Checksum::Verified, ..Offload::default() };
        let mut packet = Packet::new(self.pool.copy(frame)?, PortId(1), offload);
        let parsed = packet.parse();
        let flow = weir_filter::detect::FlowFacts::default();
        let seen = Seen { now: Instant::ZERO, direction, established: true, flow, depth: 1 << 20, resumed: false };
        let mut findings = Findings::default();
        if let (Ok(()), Some(flow)) = (parsed, &mut self.flow) {
            flow.inspect(seen, &packet, &mut self.memory, &mut findings);
        }
        self.pool.give(packet.buffer);
        // Buffers grow by doubling, so what is taken may be twice what is held.
        assert!(self.memory.used <= 8 * HELD, "{} bytes are held", self.memory.used);
        match findings.judgement {
            Judgement::Pass => Some(true),
            Judgement::Conflict | Judgement::Limit | Judgement::Wait => Some(false),
            Judgement::Drop | Judgement::Reject | Judgement::Deny | Judgement::Infected => None,
        }
    }
}

fn run(input: &[u8]) {
    let mut guarded = Guarded::new();
    let mut receivers = [Receiver::default(), Receiver::default()];
    let start = guarded.talk.next;
    let mut rest = input;
    while let [what, high, low, length, after @ ..] = rest {
        let side = usize::from(what & 1);
        let way = if side == 0 { Direction::Original } else { Direction::Reply };
        let place = u32::from(u16::from_be_bytes([*high, *low])) % 2048;
        let length = usize::from(*length);
        let (data, next) = if what & 2 == 0 {
            ((place..).take(length).map(own).collect(), after)
        } else {
            let (said, next) = after.split_at(length.min(after.len()));
            (said.to_vec(), next)
        };
        rest = next;
        if what & 4 != 0 {
            receivers[1 - side].read = receivers[1 - side].check();
        }
        let acknowledged = start[1 - side].wrapping_add(receivers[1 - side].read);
        let flags = if what & 8 != 0 { ACK | what >> 4 } else { ACK };
        if flags & 0x06 != 0 {
            // What resets or begins anew is looked at by the state machine before.
            continue;
        }
        let frame = guarded.talk.segment(way, flags, start[side].wrapping_add(place), acknowledged, &data);
        match guarded.shows(way, &frame) {
            Some(true) => receivers[side].takes(place, &data),
            Some(false) => {}
            None => break,
        }
        receivers[side].check();
    }
    if let Some(flow) = &mut guarded.flow {
        flow.release(&mut guarded.memory);
    }
    assert_eq!(guarded.memory.used, 0, "all memory is given back");
}
