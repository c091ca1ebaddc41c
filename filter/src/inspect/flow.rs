//! One flow under inspection: what happens to a packet, in order.
//!
//! 1. TCP: the segment's bytes join the stream ([`Stream`]); acknowledged bytes are given up.
//! 2. The bytes that became readable are searched for fast patterns, and the rules found are checked on the recent
//!    bytes of the stream.
//! 3. Rules that look at packets are checked on this one.
//! 4. The rules that matched act, in their order.

use std::sync::Arc;

use weir_ids_rules::rule::{Action, FlowState};
use weir_wire::Packet;
use weir_wire::numbers::{PROTOCOL_TCP, PROTOCOL_UDP, TCP_ACK, TCP_RST, TCP_SYN};

use super::compiled::{BitOp, Compiled, Later};
use super::group::{Group, Lane, WINDOW};
use super::matcher::Place;
use super::program::{RuleSetProgram, Selection};
use super::scratch::{Matched, Scratch};
use super::stream::{Stream, Taken};
use super::threshold::Verdict;
use super::verify::{self, Element, Outcome};
use super::{Direction, Findings, Judgement, Seen, StreamMemory};
use crate::event::Tuple;

/// Rules that one direction may have waiting for more bytes. Where there are more, the recent bytes are searched anew
/// with each segment instead.
const PENDING: usize = 64;
/// Rules of which one direction remembers where they fired last.
const FIRED: usize = 64;

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
}

/// One direction of a flow.
#[derive(Debug, Default)]
struct Side {
    selection: Selection,
    /// There are rules for its stream.
    wants_stream: bool,
    /// There are rules for its packets.
    wants_packets: bool,
    /// There are rules that look at its addresses, and they have not been asked yet.
    wants_once: bool,
    lookback: usize,
    stream: Stream,
    /// Where the automaton of each group stands.
    places: [Option<Place>; 2],
    /// Rules whose fast pattern was seen, but not the rest; with the place of the pattern's end.
    pending: Vec<(u32, u64)>,
    /// The bytes before this place are searched anew with each segment while they are at hand.
    search_again: u64,
    /// Rules that fired, with the place up to which they have been told.
    fired: Vec<(u32, u64)>,
    /// Where this direction began to talk after the other one.
    turn: u64,
}

impl FlowInspect {
    /// State for a flow whose initiator sends `tuple`; `None` where no rule of `program` can ever match it (the flow
    /// is settled from the start). `midstream`: the flow's start was not seen.
    pub fn new(program: &Arc<RuleSetProgram>, tuple: &Tuple, midstream: bool) -> Option<Box<FlowInspect>> {
        // A stream whose SYN is not seen starts with its first segment, however that came about.
        let _ = midstream;
        let sides = [Direction::Original, Direction::Reply].map(|way| Side::new(program, &oriented(tuple, way), way));
        if sides.iter().all(|side| side.selection.is_empty()) {
            return None;
        }
        let bits = vec![0; program.bit_count().div_ceil(64)].into();
        let program = Arc::clone(program);
        Some(Box::new(FlowInspect { program, tuple: *tuple, sides, bits, talker: None, passed: false }))
    }

    /// Inspects one packet; fills `findings`, which the caller has cleared. Allocates nothing once warm where nothing
    /// matches.
    pub fn inspect(&mut self, seen: Seen, packet: &Packet, memory: &mut StreamMemory, findings: &mut Findings) {
        if self.passed {
            findings.settled = true;
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
        memory.scratch = scratch;
    }

    /// Takes a new policy's program: the matcher's state belongs to the old one and is dropped, the stream's position
    /// and the bytes held stay, and the recent ones are searched by the new rules too. Returns `false` where nothing
    /// of the new program can match (the flow is settled).
    pub fn replace_program(&mut self, program: &Arc<RuleSetProgram>) -> bool {
        for direction in [Direction::Original, Direction::Reply] {
            let side = &mut self.sides[direction as usize];
            let mut fresh = Side::new(program, &oriented(&self.tuple, direction), direction);
            if side.wants_stream && fresh.wants_stream {
                fresh.stream = std::mem::take(&mut side.stream);
                fresh.turn = side.turn;
                fresh.search_again = fresh.stream.next();
                fresh.catch_up(program);
            } else {
                // What an untracked stream has passed on is not known, so it is taken up where it stands.
                fresh.stream = std::mem::take(&mut side.stream);
                fresh.stream.forget();
            }
            *side = fresh;
        }
        self.bits = vec![0; program.bit_count().div_ceil(64)].into();
        self.program = Arc::clone(program);
        self.passed = false;
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
        match side.stream.take(first, payload, side.stream.start().saturating_add(seen.depth), memory) {
            Taken::Nothing => Judgement::Pass,
            Taken::Conflict => Judgement::Conflict,
            Taken::Limit => Judgement::Limit,
            Taken::Grown { from, to } => {
                if side.search_grown(&self.program, seen, &tuple, from, to, scratch) {
                    Judgement::Pass
                } else {
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
                Action::Reject(_) | Action::Alert => {}
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

fn groups(program: &RuleSetProgram, selection: Selection) -> impl Iterator<Item = &Group> {
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
    if let Some(matcher) = &lane.matcher {
        matcher.scan(&mut matcher.start(), payload, |pattern, _| {
            for &rule in lane.by_pattern.get(pattern).into_iter().flatten() {
                scratch.add(rule, None);
            }
        });
    }
    lane.always.iter().for_each(|&rule| scratch.add(rule, None));
    let mut decided = true;
    for candidate in &scratch.candidates {
        let Some(rule) = program.rule(candidate.rule) else { continue };
        if !rule.takes_state(seen) || !rule.takes_packet(packet) || !rule.takes_ends(tuple) {
            continue;
        }
        match verify::check(&rule.elements, payload) {
            Outcome::Match => scratch.matched.push(Matched { rule: candidate.rule, stream: None }),
            Outcome::NoMatch => {}
            Outcome::Undecided => decided &= !rule.signature.blocked,
        }
    }
    decided
}

impl Side {
    /// `tuple` is that of the packets that go this way.
    fn new(program: &RuleSetProgram, tuple: &Tuple, direction: Direction) -> Side {
        let mut side = Side { selection: program.select(tuple, direction), ..Side::default() };
        for (group, place) in groups(program, side.selection).zip(&mut side.places) {
            side.wants_stream |= !group.stream.is_empty();
            side.wants_packets |= !group.packet.is_empty();
            side.wants_once |= !group.once.is_empty();
            side.lookback = side.lookback.max(group.lookback);
            *place = group.stream.matcher.as_ref().map(super::matcher::Matcher::start);
        }
        side
    }

    /// Nothing of this direction can match any more.
    fn is_done(&self, depth: u64) -> bool {
        let end = self.stream.start().saturating_add(depth);
        let streamed = !self.wants_stream
            || (self.stream.is_known() && self.stream.next() >= end && self.stream.is_acknowledged());
        streamed && !self.wants_packets && !self.wants_once
    }

    /// Runs the automata over the bytes at hand, for their state only.
    fn catch_up(&mut self, program: &RuleSetProgram) {
        for (group, place) in groups(program, self.selection).zip(&mut self.places) {
            if let (Some(matcher), Some(place)) = (&group.stream.matcher, place) {
                matcher.scan(place, self.stream.bytes(0).0, |_, _| {});
            }
        }
    }

    /// Searches the bytes from `from` to `to`, which became readable. `false` where a rule that refuses could not be
    /// decided.
    fn search_grown(
        &mut self,
        program: &RuleSetProgram,
        seen: &Seen,
        tuple: &Tuple,
        from: u64,
        to: u64,
        scratch: &mut Scratch,
    ) -> bool {
        scratch.begin_round(program.rule_count());
        let oldest = from.saturating_sub(WINDOW as u64);
        let (recent, recent_from) = self.stream.bytes(oldest);
        let again = self.search_again > recent_from;
        for (group, place) in groups(program, self.selection).zip(&mut self.places) {
            let lane = &group.stream;
            if let (Some(matcher), Some(place)) = (&lane.matcher, place) {
                let (bytes, mut anew) = (self.stream.bytes(from).0, matcher.start());
                // Searching anew goes over the same bytes too, so that one pass serves both.
                let (bytes, first, at) =
                    if again { (recent, recent_from, &mut anew) } else { (bytes, from, &mut *place) };
                matcher.scan(at, bytes, |pattern, end| {
                    for &rule in lane.by_pattern.get(pattern).into_iter().flatten() {
                        scratch.add(rule, Some(first + end as u64));
                    }
                });
                if again {
                    *place = anew;
                }
            }
            lane.always.iter().for_each(|&rule| scratch.add(rule, None));
        }
        self.revive(program, from, recent_from, scratch);
        self.check_candidates(program, seen, tuple, (from, to), recent_from, scratch)
    }

    /// Makes those rules candidates again that wait for more bytes and may find them in the new ones.
    fn revive(&mut self, program: &RuleSetProgram, from: u64, recent_from: u64, scratch: &mut Scratch) {
        let stream = &self.stream;
        self.pending.retain(|&(_, place)| place > recent_from);
        for &(number, place) in &self.pending {
            let Some(rule) = program.rule(number) else { continue };
            let wanted = match rule.later {
                Later::Nothing => false,
                Later::Anything => true,
                Later::Literal => rule.elements.iter().flat_map(Element::completing).any(|literal| {
                    let behind = literal.len().saturating_sub(1) as u64;
                    literal.find(stream.bytes(from.saturating_sub(behind)).0).is_some()
                }),
            };
            if wanted {
                scratch.add(number, Some(place));
            }
        }
    }

    /// Checks the candidates on the recent bytes of the stream.
    fn check_candidates(
        &mut self,
        program: &RuleSetProgram,
        seen: &Seen,
        tuple: &Tuple,
        (from, to): (u64, u64),
        recent_from: u64,
        scratch: &mut Scratch,
    ) -> bool {
        let mut decided = true;
        for candidate in &scratch.candidates {
            let Some(rule) = program.rule(candidate.rule) else { continue };
            // What an application reads from a stream, it reads once the connection is established.
            let state = rule.flow.state == FlowState::Established || rule.takes_state(seen);
            if !state || !rule.takes_ends(tuple) {
                continue;
            }
            self.pending.retain(|&(number, _)| number != candidate.rule);
            match self.check(rule, candidate.rule, from, recent_from) {
                Outcome::Match => scratch.matched.push(Matched { rule: candidate.rule, stream: Some(to) }),
                Outcome::NoMatch => {
                    if let Some(place) = candidate.place.filter(|_| rule.later != Later::Nothing) {
                        if self.pending.len() < PENDING {
                            self.pending.push((candidate.rule, place));
                        } else {
                            self.search_again = self.search_again.max(place);
                        }
                    }
                }
                Outcome::Undecided => decided &= !rule.signature.blocked,
            }
        }
        decided
    }

    /// Checks one rule. A rule that counts places from the payload's start is tried from the start of the segment,
    /// from where this direction began to talk, and from the start of the stream; others on all recent bytes.
    fn check(&self, rule: &Compiled, number: u32, from: u64, recent_from: u64) -> Outcome {
        let told = self.fired.iter().find(|&&(n, _)| n == number).map_or(0, |&(_, place)| place);
        if !rule.anchored {
            return verify::check(&rule.elements, self.stream.bytes(recent_from.max(told)).0);
        }
        let mut outcome = Outcome::NoMatch;
        let starts = [from, self.turn, self.stream.start()];
        for (i, &start) in starts.iter().enumerate() {
            let tried = starts.iter().take(i).any(|&before| before == start);
            if tried || start < recent_from || start < told || start >= self.stream.next() {
                continue;
            }
            match verify::check(&rule.elements, self.stream.bytes(start).0) {
                Outcome::Match => return Outcome::Match,
                Outcome::Undecided => outcome = Outcome::Undecided,
                Outcome::NoMatch => {}
            }
        }
        outcome
    }

    /// A rule has been told of the bytes up to `place`; it fires again for later ones only.
    fn remember(&mut self, rule: u32, place: u64) {
        if let Some(known) = self.fired.iter_mut().find(|(number, _)| *number == rule) {
            known.1 = place;
            return;
        }
        if self.fired.len() >= FIRED {
            self.fired.remove(0);
        }
        self.fired.push((rule, place));
    }
}
