//! One direction of a flow: the rules for its packets and its stream, and those that wait for more of the stream.
//!
//! A rule on a stream is checked on its recent bytes: those in [`StreamBytes::text`]. `offset`, `depth` and the like
//! are counted from three places, and one that fits is enough: the start of the stream, the start of what this
//! direction has said since the other one spoke, the first fresh byte. A rule fires once for the same bytes.
//!
//! Limits: [`PENDING`] rules wait; where there are more, the recent bytes are searched anew with each step instead. The
//! checks of [`OWED`] rules are put off until a transaction may take them, as long as their bytes are at hand. Of
//! [`FIRED`] rules the place is remembered where they fired last.

use weir_ids_rules::AppProtocol;
use weir_wire::numbers::PROTOCOL_TCP;

use super::check::{Outcome, Room};
use super::compiled::{Compiled, Kind};
use super::group::WINDOW;
use super::groups::Selection;
use super::later::Later;
use super::nets::Between;
use super::program::Program;
use super::scratch::{Candidate, Round};
use super::{Direction, Look, StreamBytes};
use crate::event::Tuple;

/// Places of a stream that conditions count from.
const STARTS: usize = 3;
const PENDING: usize = 64;
const OWED: usize = 64;
const FIRED: usize = 64;
/// Rules on transactions of which it is remembered that their payload's part has matched.
const HITS: usize = 1024;

/// What a flow speaks, as far as it decides which rules on payloads concern it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// It is not known yet.
    Unknown,
    Protocol(AppProtocol),
    /// It was looked for in vain.
    Nothing,
    /// What follows is encrypted: payloads are looked at no more.
    Sealed(AppProtocol),
}

/// One direction of a flow.
#[derive(Debug, Default)]
pub struct Side {
    /// The groups of its ports.
    ports: Selection,
    /// Those, and that of what the flow speaks.
    pub selection: Selection,
    /// From where to where its packets go.
    pub between: Between,
    pub wants_stream: bool,
    pub wants_packets: bool,
    /// Payloads are encrypted, and only rules that ask nothing of them are judged.
    pub sealed: bool,
    /// A rule may take packets without payload.
    pub asks_bare: bool,
    /// What the application layer had read, and how many rules' payloads had matched, when transactions were judged last
    /// with a packet.
    pub judged: Option<(u64, usize)>,
    /// Rules on addresses alone were asked.
    pub ends_done: bool,
    pub lookback: usize,
    /// Transactions that have come to their end here, by how far the newest is.
    pub transactions: u64,
    /// One has since rules on payloads looked last.
    pub concluded: bool,
    /// Bytes wait for rules on payloads to look at them.
    pub waits: bool,
    /// Where this direction began to talk after the other one.
    pub turn: u64,
    /// Rules whose fast pattern was seen, but not the rest; with the place of the pattern's end.
    pending: Vec<(u32, u64)>,
    /// Rules whose payload is checked once a transaction may take them; with the place of the pattern's end.
    owed: Vec<(u32, u64)>,
    /// The bytes before this place are searched anew with each step while they are at hand.
    search_again: u64,
    /// Rules that fired, with the place up to which they have been told.
    fired: Vec<(u32, u64)>,
    /// Rules on transactions whose payload's part has matched, sorted.
    pub payload_hits: Vec<u32>,
}

/// Bytes of a stream with the place of the first.
#[derive(Clone, Copy)]
struct Recent<'v> {
    bytes: &'v [u8],
    from: u64,
}

impl<'v> Recent<'v> {
    /// The bytes from `place` on; `None` where it is not in view.
    fn since(self, place: u64) -> Option<&'v [u8]> {
        let skip = usize::try_from(place.checked_sub(self.from)?).ok()?;
        self.bytes.get(skip..).filter(|bytes| !bytes.is_empty())
    }
}

impl Side {
    /// `tuple` is that of the packets that go this way.
    pub fn new(program: &Program, tuple: &Tuple, way: Direction) -> Side {
        let mut side = Side::default();
        side.begin(program, tuple, way);
        side
    }

    /// Takes the rules for a direction of which nothing was seen.
    pub fn begin(&mut self, program: &Program, tuple: &Tuple, way: Direction) {
        let concerns = |number| program.rule(number).is_some_and(|rule| rule.takes_ends(tuple));
        self.between = program.nets.between(tuple);
        self.ports = program.groups.select(concerns, (tuple, self.between), way);
        self.speaks(program, (tuple, way), &Spoken::Unknown);
    }

    /// Takes the rules that concern the direction, given what the flow speaks.
    pub fn speaks(&mut self, program: &Program, (tuple, way): (&Tuple, Direction), spoken: &Spoken) {
        let app = match *spoken {
            Spoken::Protocol(app) | Spoken::Sealed(app) => {
                program.groups.of_app(app, tuple.protocol, way, self.between)
            }
            Spoken::Unknown | Spoken::Nothing => None,
        };
        self.selection = program.groups.join(self.ports, app);
        self.sealed = matches!(spoken, Spoken::Sealed(_));
        (self.wants_stream, self.wants_packets, self.lookback) = (false, false, 0);
        let concerns = |&number: &u32| program.rule(number).is_some_and(|rule| rule.takes_ends(tuple));
        let mut unsearched = program.groups.of(self.selection).flat_map(|group| &group.of_packet(0).always);
        // Datagrams without a payload are few, and judged like all others.
        self.asks_bare = tuple.protocol != PROTOCOL_TCP || unsearched.any(concerns);
        if self.sealed {
            self.wants_packets = program.groups.of(self.selection).any(|group| group.plain.iter().any(concerns));
            return;
        }
        if *spoken == Spoken::Unknown && program.groups.has_app(tuple.protocol, way, self.between) {
            // What it will speak may bring rules of its own.
            (self.wants_stream, self.wants_packets, self.lookback) = (true, true, WINDOW);
        }
        for group in program.groups.of(self.selection) {
            self.wants_stream |= group.needs.stream;
            self.wants_packets |= group.needs.packets;
            self.lookback = self.lookback.max(group.needs.lookback as usize);
        }
    }

    /// The direction `old` goes on under another program, which has searched nothing yet. `renumber` tells the new
    /// number of a rule.
    pub fn take_over(&mut self, old: &mut Side, renumber: &impl Fn(u32) -> Option<u32>) {
        (self.turn, self.ends_done) = (old.turn, old.ends_done);
        self.fired = old.fired.iter().filter_map(|&(rule, place)| Some((renumber(rule)?, place))).collect();
        self.payload_hits = old.payload_hits.iter().filter_map(|&rule| renumber(rule)).collect();
        self.payload_hits.sort_unstable();
        self.search_again = u64::MAX;
    }

    /// The bytes at hand are searched again with the next ones.
    pub fn search_anew(&mut self) {
        self.search_again = u64::MAX;
    }

    /// The payload's part of a rule on transactions has matched. `false` where there is no room to remember it.
    pub fn hit(&mut self, rule: u32) -> bool {
        match self.payload_hits.binary_search(&rule) {
            Ok(_) => true,
            Err(_) if self.payload_hits.len() >= HITS => false,
            Err(place) => {
                self.payload_hits.insert(place, rule);
                true
            }
        }
    }

    /// Puts off the check of a rule found in the stream until later bytes. `false` where it must be checked now.
    pub fn put_off(&mut self, rule: &Compiled, found: &Candidate) -> bool {
        // Where places are counted from the fresh bytes, later ones are others.
        if found.packet || rule.anchored {
            return false;
        }
        let Some(place) = found.place else { return true };
        self.owed.retain(|&(number, _)| number != found.rule);
        let room = self.owed.len() < OWED;
        if room {
            self.owed.push((found.rule, place));
        }
        room
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

    /// Whether a rule on packets is worth judging on this payload.
    pub fn may_take(&self, program: &Program, payload: &[u8], room: &mut Room) -> bool {
        if self.sealed || !self.wants_packets {
            return self.wants_packets;
        }
        room.work += 1 + payload.len() as u64 / 64;
        program.groups.may_take(self.selection, payload)
    }

    /// Makes candidates of the rules worth checking on the fresh bytes. `packet`: they are a packet's payload too, which is
    /// not searched by itself where that of streams does it.
    pub fn find(&mut self, program: &Program, stream: &StreamBytes<'_>, packet: Option<&[u8]>, round: &mut Round) {
        let first = if self.search_again > stream.at { 0 } else { stream.fresh };
        let mut places = [0; STARTS];
        let starts = self.starts(stream, &mut places);
        for group in program.groups.of(self.selection) {
            let joined = packet.is_some_and(|payload| group.is_joined(payload.len()));
            group.find(stream.text, first, starts, |rule, end| {
                let in_both = || program.rule(rule).is_some_and(|rule| rule.kind == Kind::PacketAndStream);
                if joined && (end.is_none() || in_both()) {
                    round.add(rule);
                }
                if let Some(end) = end {
                    round.add_stream(rule, Some(stream.at + end as u64));
                }
            });
            for &rule in group.always() {
                round.add_stream(rule, None);
            }
        }
        if self.search_again == u64::MAX {
            self.search_again = stream.at + stream.fresh as u64;
        }
        self.revive(program, stream, round);
        self.owed.retain(|&(_, place)| place > stream.at);
        self.owed.iter().for_each(|&(number, place)| round.add_stream(number, Some(place)));
    }

    /// The indices in the text that places are counted from, each once: those that are in view of the first fresh byte,
    /// of where this direction began to talk, and of the start of the stream.
    fn starts<'p>(&self, stream: &StreamBytes<'_>, places: &'p mut [usize; STARTS]) -> &'p [usize] {
        let mut count = 0;
        for place in [stream.at + stream.fresh as u64, self.turn, 0] {
            let Some(start) = place.checked_sub(stream.at).and_then(|start| usize::try_from(start).ok()) else {
                continue;
            };
            if start < stream.text.len() && !places.iter().take(count).any(|&known| known == start) {
                if let Some(slot) = places.get_mut(count) {
                    *slot = start;
                }
                count += 1;
            }
        }
        places.get(..count).unwrap_or_default()
    }

    /// Makes those rules candidates again that wait for more bytes and may find them in the fresh ones.
    fn revive(&mut self, program: &Program, stream: &StreamBytes<'_>, round: &mut Round) {
        self.pending.retain(|&(_, place)| place > stream.at);
        for &(number, place) in &self.pending {
            let Some(rule) = program.rule(number) else { continue };
            let wanted = match &rule.later {
                Later::Nothing => false,
                Later::Anything => true,
                Later::Literals(literals) => literals.iter().any(|literal| {
                    let behind = stream.fresh.saturating_sub(literal.len().saturating_sub(1));
                    stream.text.get(behind..).is_some_and(|text| literal.find(text).is_some())
                }),
            };
            if wanted {
                round.add_stream(number, Some(place));
            }
        }
    }

    /// Checks one rule's payload on the stream. A rule that counts places from the payload's start is tried from the
    /// first fresh byte, from where this direction began to talk, and from the start of the stream; others on all
    /// recent bytes.
    pub fn check(
        &mut self,
        (rule, number, place): (&Compiled, u32, Option<u64>),
        stream: &StreamBytes<'_>,
        room: &mut Room,
    ) -> Outcome {
        let Some(check) = &rule.payload else { return Outcome::NoMatch };
        let told = self.fired.iter().find(|&&(n, _)| n == number).map_or(0, |&(_, place)| place);
        let recent = Recent { bytes: stream.text, from: stream.at };
        let outcome = if rule.anchored {
            let starts = [stream.at + stream.fresh as u64, self.turn, 0];
            let mut outcome = Outcome::NoMatch;
            for (i, &start) in starts.iter().enumerate() {
                let tried = starts.iter().take(i).any(|&before| before == start);
                let Some(text) = recent.since(start).filter(|_| !tried && start >= told) else { continue };
                match check.run(text, room) {
                    Outcome::Match => {
                        outcome = Outcome::Match;
                        break;
                    }
                    Outcome::Undecided => outcome = Outcome::Undecided,
                    Outcome::NoMatch => {}
                }
            }
            outcome
        } else {
            // What a passive observer looks at at once has what is forbidden, or has not, whatever came before.
            let fresh = stream.text.get(stream.fresh..).filter(|_| check.forbids && stream.look != Look::Now);
            match fresh.map(|fresh| check.run(fresh, room)) {
                Some(Outcome::Match) => Outcome::Match,
                _ => recent.since(recent.from.max(told)).map_or(Outcome::NoMatch, |text| check.run(text, room)),
            }
        };
        self.pending.retain(|&(n, _)| n != number || place.is_none());
        self.owed.retain(|&(n, _)| n != number);
        if outcome == Outcome::NoMatch {
            self.wait(rule, number, place);
        }
        outcome
    }

    /// Lets a rule wait whose fast pattern stands at `place`, where more bytes may complete it.
    fn wait(&mut self, rule: &Compiled, number: u32, place: Option<u64>) {
        let Some(place) = place.filter(|_| !matches!(rule.later, Later::Nothing)) else { return };
        if self.pending.len() < PENDING {
            self.pending.push((number, place));
        } else {
            self.search_again = self.search_again.max(place);
        }
    }
}
