//! One direction of a flow: its stream, and the rules that wait for more of it.

use weir_ids_rules::rule::FlowState;
use weir_wire::Packet;

use super::compiled::{Compiled, Later};
use super::flow::groups;
use super::group::WINDOW;
use super::program::{RuleSetProgram, Selection};
use super::scratch::{Matched, Scratch};
use super::stream::Stream;
use super::verify::{self, Element, Outcome};
use super::{Direction, Seen};
use crate::event::Tuple;

/// Rules that one direction may have waiting for more bytes. Where there are more, the recent bytes are searched anew
/// with each segment instead.
const PENDING: usize = 64;
/// Rules of which one direction remembers where they fired last.
const FIRED: usize = 64;
/// Urgent bytes among the recent bytes. A direction that sends more is refused.
const URGENT: usize = 64;

/// One direction of a flow.
#[derive(Debug, Default)]
pub struct Side {
    pub selection: Selection,
    /// There are rules for its stream.
    pub wants_stream: bool,
    /// There are rules for its packets.
    pub wants_packets: bool,
    /// There are rules that look at its addresses, and they have not been asked yet.
    pub wants_once: bool,
    pub lookback: usize,
    pub stream: Stream,
    /// Where this direction began to talk after the other one.
    pub turn: u64,
    /// Rules whose fast pattern was seen, but not the rest; with the place of the pattern's end.
    pending: Vec<(u32, u64)>,
    /// The bytes before this place are searched anew with each segment while they are at hand.
    search_again: u64,
    /// Rules that fired, with the place up to which they have been told.
    fired: Vec<(u32, u64)>,
    /// Places of urgent bytes, which an application may or may not find among the others (RFC 6093, 2).
    urgent: Vec<u64>,
}

/// What is asked of the bytes that became readable.
#[derive(Clone, Copy)]
pub struct Question<'q> {
    pub program: &'q RuleSetProgram,
    pub seen: &'q Seen,
    /// Of the packet.
    pub tuple: &'q Tuple,
    /// The bytes that became readable.
    pub from: u64,
    pub to: u64,
}

/// Recent bytes of a stream as an application may read them.
struct View<'v> {
    bytes: &'v [u8],
    /// Place of the first byte.
    from: u64,
    /// Places that the view leaves out.
    without: &'v [u64],
}

impl View<'_> {
    /// The bytes from `place` on; `None` where it is not in view.
    fn since(&self, place: u64) -> Option<&[u8]> {
        let left_out = self.without.iter().filter(|&&at| (self.from..place).contains(&at)).count();
        let skip = usize::try_from(place.checked_sub(self.from)?).ok()?.checked_sub(left_out)?;
        self.bytes.get(skip..).filter(|bytes| !bytes.is_empty())
    }
}

impl Side {
    /// `tuple` is that of the packets that go this way.
    pub fn new(program: &RuleSetProgram, tuple: &Tuple, direction: Direction) -> Side {
        let mut side = Side { selection: program.select(tuple, direction), ..Side::default() };
        for group in groups(program, side.selection) {
            side.wants_stream |= !group.stream.is_empty();
            side.wants_packets |= !group.packet.is_empty();
            side.wants_once |= !group.once.is_empty();
            side.lookback = side.lookback.max(group.lookback);
        }
        side
    }

    /// The direction `old` goes on under another program, which has searched nothing yet.
    pub fn take_over(&mut self, old: &mut Side) {
        self.stream = std::mem::take(&mut old.stream);
        if !old.wants_stream || !self.wants_stream {
            // What an untracked stream has passed on is not known, so it is taken up where it stands.
            self.stream.forget();
            return;
        }
        self.turn = old.turn;
        self.urgent = std::mem::take(&mut old.urgent);
        self.search_again = self.stream.next();
    }

    /// Nothing of this direction can match any more.
    pub fn is_done(&self, depth: u64) -> bool {
        let end = self.stream.start().saturating_add(depth);
        let streamed = !self.wants_stream
            || (self.stream.is_known() && self.stream.next() >= end && self.stream.is_acknowledged());
        streamed && !self.wants_packets && !self.wants_once
    }

    /// Notes the urgent byte that a segment starting at `seq` names: the one before its urgent pointer. `false` where
    /// there are too many.
    pub fn mark_urgent(&mut self, seq: u32, packet: &Packet) -> bool {
        let pointer = packet.transport().get(18..).and_then(<[u8]>::first_chunk).map_or(0, |&b| u16::from_be_bytes(b));
        let Some(place) = self.stream.place(seq.wrapping_add(u32::from(pointer)).wrapping_sub(1)) else { return true };
        let oldest = self.stream.next().saturating_sub(WINDOW as u64);
        self.urgent.retain(|&known| known >= oldest);
        if pointer == 0 || place < oldest || self.urgent.contains(&place) {
            return true;
        }
        if self.urgent.len() >= URGENT {
            return false;
        }
        self.urgent.push(place);
        true
    }

    /// A rule has been told of the bytes up to `place`; it fires again for later ones only.
    pub fn remember(&mut self, rule: u32, place: u64) {
        if let Some(known) = self.fired.iter_mut().find(|(number, _)| *number == rule) {
            known.1 = place;
            return;
        }
        if self.fired.len() >= FIRED {
            self.fired.remove(0);
        }
        self.fired.push((rule, place));
    }

    /// Searches the bytes that became readable. `false` where a rule that refuses could not be decided.
    pub fn search_grown(&mut self, question: Question<'_>, scratch: &mut Scratch) -> bool {
        let Question { program, from, to, .. } = question;
        let (_, recent_from) = self.stream.bytes(from.saturating_sub(WINDOW as u64));
        scratch.begin_round(program.rule_count());
        self.find_candidates(program, from, recent_from, scratch);
        self.revive(program, from, recent_from, scratch);
        let mut text = std::mem::take(&mut scratch.text);
        let mut decided = self.check_candidates(question, recent_from, None, scratch);
        if self.urgent.iter().any(|place| (recent_from..to).contains(place)) {
            // The same bytes once more, as an application reads them that has the urgent ones apart.
            let places = (recent_from..to).zip(self.stream.bytes(recent_from).0);
            text.clear();
            text.extend(places.filter(|(place, _)| !self.urgent.contains(place)).map(|(_, &byte)| byte));
            scratch.begin_round(program.rule_count());
            for group in groups(program, self.selection) {
                group.stream.find(&text, 0, |rule, _| scratch.add(rule, None));
            }
            decided &= self.check_candidates(question, recent_from, Some(&text), scratch);
        }
        scratch.text = text;
        decided
    }

    /// Makes the rules candidates whose fast pattern ends in the bytes from `from` on.
    fn find_candidates(&mut self, program: &RuleSetProgram, from: u64, recent_from: u64, scratch: &mut Scratch) {
        let first = if self.search_again > recent_from { recent_from } else { from };
        let (text, _) = self.stream.bytes(recent_from);
        scratch.work += 1 + (self.stream.next() - first) / 64;
        for group in groups(program, self.selection) {
            group.stream.find(text, (first - recent_from) as usize, |rule, end| {
                scratch.add(rule, end.map(|end| recent_from + end as u64));
            });
        }
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

    /// Checks the candidates on the recent bytes of the stream, or on `text`, which are these without urgent ones.
    fn check_candidates(
        &mut self,
        question: Question<'_>,
        recent_from: u64,
        text: Option<&[u8]>,
        scratch: &mut Scratch,
    ) -> bool {
        let Question { program, seen, tuple, from, to } = question;
        let mut decided = true;
        for candidate in &scratch.candidates {
            let Some(rule) = program.rule(candidate.rule) else { continue };
            // What an application reads from a stream, it reads once the connection is established.
            let state = rule.flow.state == FlowState::Established || rule.takes_state(seen);
            if !state || !rule.takes_ends(tuple) {
                continue;
            }
            let view = match text {
                None => View { bytes: self.stream.bytes(recent_from).0, from: recent_from, without: &[] },
                Some(bytes) => View { bytes, from: recent_from, without: &self.urgent },
            };
            let outcome = self.check(rule, candidate.rule, from, &view, &mut scratch.work);
            self.pending.retain(|&(number, _)| number != candidate.rule || candidate.place.is_none());
            match outcome {
                Outcome::Match => scratch.matched.push(Matched { rule: candidate.rule, stream: Some(to) }),
                Outcome::NoMatch => self.wait(rule, candidate.rule, candidate.place),
                Outcome::Undecided => decided &= !rule.signature.blocked,
            }
        }
        decided
    }

    /// Lets a rule wait whose fast pattern stands at `place`, where more bytes may complete it.
    fn wait(&mut self, rule: &Compiled, number: u32, place: Option<u64>) {
        let Some(place) = place.filter(|_| rule.later != Later::Nothing) else { return };
        if self.pending.len() < PENDING {
            self.pending.push((number, place));
        } else {
            self.search_again = self.search_again.max(place);
        }
    }

    /// Checks one rule. A rule that counts places from the payload's start is tried from the start of the segment,
    /// from where this direction began to talk, and from the start of the stream; others on all recent bytes.
    fn check(&self, rule: &Compiled, number: u32, from: u64, view: &View<'_>, work: &mut u64) -> Outcome {
        let told = self.fired.iter().find(|&&(n, _)| n == number).map_or(0, |&(_, place)| place);
        if !rule.anchored {
            return view
                .since(view.from.max(told))
                .map_or(Outcome::NoMatch, |text| verify::check(&rule.elements, text, work));
        }
        let mut outcome = Outcome::NoMatch;
        let starts = [from, self.turn, self.stream.start()];
        for (i, &start) in starts.iter().enumerate() {
            let tried = starts.iter().take(i).any(|&before| before == start);
            let Some(text) = view.since(start).filter(|_| !tried && start >= told) else { continue };
            match verify::check(&rule.elements, text, work) {
                Outcome::Match => return Outcome::Match,
                Outcome::Undecided => outcome = Outcome::Undecided,
                Outcome::NoMatch => {}
            }
        }
        outcome
    }
}
