//! One flow under inspection: what happens to a packet, in order.
//!
//! 1. TCP: the segment's bytes join the stream ([`Stream`]); acknowledged bytes are given up.
//! 2. The bytes that became readable are searched for fast patterns, and the rules found are checked on the recent
//!    bytes of the stream.
//! 3. Rules that look at packets are checked on this one.
//! 4. The rules that matched act, in their order.

use std::sync::Arc;

use weir_ids_rules::rule::Action;
use weir_wire::Packet;
use weir_wire::numbers::{PROTOCOL_TCP, PROTOCOL_UDP, TCP_ACK, TCP_RST, TCP_SYN, TCP_URG};

use super::compiled::BitOp;
use super::group::{Group, Lane};
use super::program::{RuleSetProgram, Selection};
use super::scratch::{Matched, Scratch};
use super::side::{Question, Side};
use super::stream::Taken;
use super::threshold::Verdict;
use super::verify::{self, Outcome};
use super::{Direction, Findings, Judgement, Seen, StreamMemory};
use crate::event::Tuple;

/// Inspection state of one flow.
#[derive(Debug)]
pub struct FlowInspect {
    program: Arc<RuleSetProgram>,
    /// The initiator's.
    tuple: Tuple,
    sides: [Side; 2],
    /// The flow's bits, 64 a word.
    bits: Box<[u64]>,
    /// The direction that sent payload last.
    talker: Option<Direction>,
    /// A `pass` rule let the flow through.
    passed: bool,
    /// A rule that refuses could not be decided on bytes of a stream, so none of it goes on.
    undecided: bool,
}

impl FlowInspect {
    /// State for a flow whose initiator sends `tuple`; `None` where no rule of `program` can ever match it (the flow
    /// is settled from the start). `midstream`: the flow's start was not seen.
    pub fn new(program: &Arc<RuleSetProgram>, tuple: &Tuple, midstream: bool) -> Option<Box<FlowInspect>> {
        let mut sides =
            [Direction::Original, Direction::Reply].map(|way| Side::new(program, &oriented(tuple, way), way));
        if sides.iter().all(|side| side.selection.is_empty()) {
            return None;
        }
        if midstream {
            sides.iter_mut().for_each(|side| side.stream.join_late());
        }
        let bits = vec![0; program.bit_count().div_ceil(64)].into();
        let program = Arc::clone(program);
        Some(Box::new(FlowInspect {
            program,
            tuple: *tuple,
            sides,
            bits,
            talker: None,
            passed: false,
            undecided: false,
        }))
    }

    /// Inspects one packet; fills `findings`, which the caller has cleared. Allocates nothing once warm where nothing
    /// matches.
    pub fn inspect(&mut self, seen: Seen, packet: &Packet, memory: &mut StreamMemory, findings: &mut Findings) {
        if self.passed || self.undecided {
            findings.settled = self.passed;
            findings.judgement = if self.passed { Judgement::Pass } else { Judgement::Limit };
            return;
        }
        let mut scratch = std::mem::take(&mut memory.scratch);
        scratch.matched.clear();
        let judgement = self.search(&seen, packet, memory, &mut scratch);
        match judgement {
            Judgement::Conflict | Judgement::Limit => findings.judgement = judgement,
            Judgement::Pass | Judgement::Drop | Judgement::Reject => {
                self.act(&seen, memory, &mut scratch, findings);
                let side = &mut self.sides[seen.direction as usize];
                side.stream.trim(side.lookback, memory);
                findings.settled = self.passed || self.sides.iter().all(|side| side.is_done(seen.depth));
            }
        }
        memory.work = memory.work.saturating_add(std::mem::take(&mut scratch.work));
        memory.scratch = scratch;
    }

    /// Takes a new policy's program: the matcher's state belongs to the old one and is dropped, the stream's position
    /// and the bytes held stay, and the recent ones are searched by the new rules too. Returns `false` where nothing
    /// of the new program can match (the flow is settled).
    pub fn replace_program(&mut self, program: &Arc<RuleSetProgram>) -> bool {
        for direction in [Direction::Original, Direction::Reply] {
            let side = &mut self.sides[direction as usize];
            let mut fresh = Side::new(program, &oriented(&self.tuple, direction), direction);
            fresh.take_over(side);
            *side = fresh;
        }
        self.bits = vec![0; program.bit_count().div_ceil(64)].into();
        self.program = Arc::clone(program);
        (self.passed, self.undecided) = (false, false);
        self.sides.iter().any(|side| !side.selection.is_empty())
    }

    /// Gives the bytes held back to `memory`; called when the flow ends.
    pub fn release(&mut self, memory: &mut StreamMemory) {
        for side in &mut self.sides {
            side.stream.release(memory);
        }
    }

    /// Finds the rules that match; anything but `Pass` refuses the packet before they act.
    fn search(&mut self, seen: &Seen, packet: &Packet, memory: &mut StreamMemory, scratch: &mut Scratch) -> Judgement {
        let mut judgement = Judgement::Pass;
        if self.tuple.protocol == PROTOCOL_TCP {
            judgement = self.search_stream(seen, packet, memory, scratch);
            if judgement != Judgement::Pass {
                return judgement;
            }
        }
        let tuple = oriented(&self.tuple, seen.direction);
        let program = Arc::clone(&self.program);
        let side = &mut self.sides[seen.direction as usize];
        let once = std::mem::take(&mut side.wants_once);
        for group in groups(&program, side.selection) {
            let numbers = group.once.iter().filter(|_| once);
            for (&number, rule) in numbers.filter_map(|n| Some((n, program.rule(*n)?))) {
                if rule.takes_ends(&tuple) {
                    scratch.matched.push(Matched { rule: number, stream: None });
                }
            }
            if !group.packet.is_empty() && !search_packet(&program, &group.packet, seen, &tuple, packet, scratch) {
                memory.undecided += 1;
                judgement = Judgement::Limit;
            }
        }
        judgement
    }

    /// Takes a TCP segment into its stream and searches what became readable.
    fn search_stream(
        &mut self,
        seen: &Seen,
        packet: &Packet,
        memory: &mut StreamMemory,
        scratch: &mut Scratch,
    ) -> Judgement {
        let Some(tcp) = packet.tcp() else { return Judgement::Pass };
        let tuple = oriented(&self.tuple, seen.direction);
        let payload = packet.payload();
        let [original, reply] = &mut self.sides;
        let (side, other) = match seen.direction {
            Direction::Original => (original, reply),
            Direction::Reply => (reply, original),
        };
        if tcp.has(TCP_ACK) && !tcp.has(TCP_RST) && other.wants_stream {
            if other.stream.is_known() {
                other.stream.acknowledge(tcp.ack, memory);
                other.stream.trim(other.lookback, memory);
            } else {
                other.stream.begin(tcp.ack, false);
            }
        }
        if !payload.is_empty() {
            let turned = self.talker.replace(seen.direction) != Some(seen.direction);
            side.turn = if turned { side.stream.next() } else { side.turn };
        }
        if !side.wants_stream || tcp.has(TCP_RST) {
            return Judgement::Pass;
        }
        let first = tcp.seq.wrapping_add(u32::from(tcp.has(TCP_SYN)));
        if tcp.has(TCP_SYN) {
            side.stream.syn(tcp.seq);
        } else if !side.stream.is_known() {
            side.stream.begin(first, true);
        }
        side.turn = side.turn.max(side.stream.start());
        side.stream.belongs_to(packet.port, memory);
        if tcp.has(TCP_URG) && !side.mark_urgent(first, packet) {
            return Judgement::Limit;
        }
        match side.stream.take(first, payload, side.stream.start().saturating_add(seen.depth), memory) {
            Taken::Nothing => Judgement::Pass,
            Taken::Conflict => Judgement::Conflict,
            Taken::Limit => Judgement::Limit,
            Taken::Grown { from, to } => {
                let question = Question { program: &self.program, seen, tuple: &tuple, from, to };
                if side.search_grown(question, scratch) {
                    Judgement::Pass
                } else {
                    // The stream has these bytes now: a repetition would pass for old.
                    self.undecided = true;
                    memory.undecided += 1;
                    Judgement::Limit
                }
            }
        }
    }

    /// Lets the rules that matched act, in their order.
    fn act(&mut self, seen: &Seen, memory: &mut StreamMemory, scratch: &mut Scratch, findings: &mut Findings) {
        if scratch.matched.is_empty() {
            return;
        }
        scratch.matched.sort_unstable_by_key(|m| m.rule);
        let program = Arc::clone(&self.program);
        let tuple = oriented(&self.tuple, seen.direction);
        for &Matched { rule: number, stream } in &scratch.matched {
            let Some(rule) = program.rule(number) else { continue };
            if !self.apply_bits(&rule.bits) {
                continue;
            }
            if let Some(place) = stream {
                self.sides[seen.direction as usize].remember(number, place);
            }
            let verdict = match rule.threshold {
                Some(threshold) => memory.thresholds.count(seen.now, threshold, &rule.signature, &tuple),
                None => Verdict::Tell,
            };
            if verdict == Verdict::Ignore {
                continue;
            }
            match rule.action {
                Action::Pass => {
                    // A pass on the stream or on the addresses speaks of the flow, one on a packet of the packet.
                    self.passed = stream.is_some() || rule.elements.is_empty();
                    return;
                }
                Action::Drop => findings.judgement = Judgement::Drop,
                Action::Reject(_) if findings.judgement != Judgement::Drop => findings.judgement = Judgement::Reject,
                Action::Reject(_) | Action::Alert | Action::Config => {}
            }
            // A rule that refuses the packet is named even where it would be silent: a drop has a reason.
            let told = verdict == Verdict::Tell && !rule.noalert;
            if told || rule.signature.blocked {
                findings.matched.push(Arc::clone(&rule.signature));
            }
        }
    }

    /// Checks the flow bits a rule asks for, then changes those it sets. `false` where the rule does not match.
    fn apply_bits(&mut self, ops: &[BitOp]) -> bool {
        let bits = &mut self.bits;
        let is_set = |bits: &[u64], n: u32| bits.get(n as usize / 64).is_some_and(|word| word >> (n % 64) & 1 == 1);
        let asked = ops.iter().all(|op| match op {
            BitOp::IsSet(any) => any.iter().any(|&n| is_set(bits, n)),
            BitOp::IsNotSet(none) => !none.iter().any(|&n| is_set(bits, n)),
            BitOp::Set(_) | BitOp::Unset(_) | BitOp::Toggle(_) => true,
        });
        if !asked {
            return false;
        }
        for op in ops {
            let (number, change): (u32, fn(u64, u64) -> u64) = match *op {
                BitOp::Set(n) => (n, |word, bit| word | bit),
                BitOp::Unset(n) => (n, |word, bit| word & !bit),
                BitOp::Toggle(n) => (n, |word, bit| word ^ bit),
                BitOp::IsSet(_) | BitOp::IsNotSet(_) => continue,
            };
            if let Some(word) = bits.get_mut(number as usize / 64) {
                *word = change(*word, 1 << (number % 64));
            }
        }
        true
    }
}

/// The tuple of a packet that goes this way in a flow whose initiator sends `tuple`.
fn oriented(tuple: &Tuple, direction: Direction) -> Tuple {
    let t = *tuple;
    // ICMP has a type and a code there, which do not change places.
    let ported = matches!(t.protocol, PROTOCOL_TCP | PROTOCOL_UDP);
    match direction {
        Direction::Original => t,
        Direction::Reply => Tuple {
            source: t.destination,
            destination: t.source,
            source_port: if ported { t.destination_port } else { t.source_port },
            destination_port: if ported { t.source_port } else { t.destination_port },
            protocol: t.protocol,
        },
    }
}

pub fn groups(program: &RuleSetProgram, selection: Selection) -> impl Iterator<Item = &Group> {
    selection.0.into_iter().flatten().filter_map(|number| program.group(number))
}

/// Checks the rules of a lane on one packet. `false` where a rule that refuses could not be decided.
fn search_packet(
    program: &RuleSetProgram,
    lane: &Lane,
    seen: &Seen,
    tuple: &Tuple,
    packet: &Packet,
    scratch: &mut Scratch,
) -> bool {
    let payload = packet.payload();
    scratch.begin_round(program.rule_count());
    scratch.work += 1 + payload.len() as u64 / 64;
    lane.find(payload, 0, |rule, _| scratch.add(rule, None));
    let mut decided = true;
    for candidate in &scratch.candidates {
        let Some(rule) = program.rule(candidate.rule) else { continue };
        if !rule.takes_state(seen) || !rule.takes_packet(packet) || !rule.takes_ends(tuple) {
            continue;
        }
        match verify::check(&rule.elements, payload, &mut scratch.work) {
            Outcome::Match => scratch.matched.push(Matched { rule: candidate.rule, stream: None }),
            Outcome::NoMatch => {}
            Outcome::Undecided => decided &= !rule.signature.blocked,
        }
    }
    decided
}
