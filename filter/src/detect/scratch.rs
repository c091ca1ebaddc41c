//! Lists that one step fills and the next one fills again, so that none is allocated once warm.

use super::Direction;
use super::check::Room;
use super::judge_tx::Work;
use super::profile::{Begun, Profile};
use super::prospect::Header;

/// A rule to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    pub rule: u32,
    /// Where in the stream its fast pattern was seen last; `None` for a rule without one.
    pub place: Option<u64>,
    /// It was found in the stream.
    pub stream: bool,
    /// It was found in the packet.
    pub packet: bool,
}

/// A rule that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matched {
    pub rule: u32,
    /// The stream up to this place.
    pub stream: Option<u64>,
    /// A transaction: which parser's, and its number.
    pub transaction: Option<(usize, u64)>,
    /// The direction in which it matched.
    pub way: Direction,
}

impl Matched {
    /// A match of a rule on a packet.
    pub fn new(rule: u32, way: Direction) -> Matched {
        Matched { rule, stream: None, transaction: None, way }
    }
}

/// The lists.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Rules to be judged.
    pub round: Round,
    /// Rules that matched.
    pub matched: Vec<Matched>,
    /// Room in which a transaction builds a buffer.
    pub work: Work,
    /// The header of a request or response.
    pub header: Header,
    /// Room for checks.
    pub room: Room,
    /// What rules cost, where somebody asks.
    pub profile: Option<Box<Profile>>,
}

impl Scratch {
    /// A check begins.
    #[inline]
    pub fn begin(&self) -> Option<Begun> {
        self.profile.as_ref().map(|profile| profile.begin(self.room.work, self.matched.len()))
    }

    /// The check of a rule has ended.
    #[inline]
    pub fn end(&mut self, rule: u32, begun: Option<Begun>) {
        if let (Some(profile), Some(begun)) = (&mut self.profile, begun) {
            profile.end(rule, begun, self.room.work, self.matched.len());
        }
    }
}

/// The rules to be judged together, each once.
#[derive(Debug, Default)]
pub struct Round {
    /// For each rule the round it was made a candidate in, and its place in `candidates`.
    marks: Vec<(u32, u32)>,
    number: u32,
    candidates: Vec<Candidate>,
}

impl Round {
    /// Empties the candidates; up to `rules` rules can be made candidates.
    pub fn begin(&mut self, rules: usize) {
        self.candidates.clear();
        if self.marks.len() < rules {
            self.marks.resize(rules, (0, 0));
        }
        self.number = self.number.wrapping_add(1);
        if self.number == 0 {
            // After 2^32 rounds the old marks could be taken for fresh ones.
            self.marks.fill((0, 0));
            self.number = 1;
        }
    }

    fn candidate(&mut self, rule: u32) -> Option<&mut Candidate> {
        let mark = self.marks.get_mut(rule as usize)?;
        if mark.0 != self.number {
            *mark = (self.number, self.candidates.len() as u32);
            self.candidates.push(Candidate { rule, place: None, stream: false, packet: false });
        }
        self.candidates.get_mut(mark.1 as usize)
    }

    /// Makes `rule` a candidate for the stream, once in a round; a later place replaces an earlier one.
    pub fn add_stream(&mut self, rule: u32, place: Option<u64>) {
        if let Some(candidate) = self.candidate(rule) {
            candidate.place = candidate.place.max(place);
            candidate.stream = true;
        }
    }

    /// Makes `rule` a candidate for the packet or transaction.
    pub fn add(&mut self, rule: u32) {
        if let Some(candidate) = self.candidate(rule) {
            candidate.packet = true;
        }
    }

    /// Puts the candidates in the order in which rules act. No more can be added before the next round begins.
    pub fn sort(&mut self) {
        self.candidates.sort_unstable_by_key(|candidate| candidate.rule);
    }

    /// The nth candidate.
    #[inline]
    pub fn get(&self, nth: usize) -> Option<Candidate> {
        self.candidates.get(nth).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_a_candidate_once_a_round() {
        let mut round = Round::default();
        round.begin(3);
        round.add_stream(2, Some(5));
        round.add_stream(2, Some(9));
        round.add(1);
        round.add(2);
        round.add_stream(7, None);
        round.sort();
        let found: Vec<_> = round.candidates.iter().map(|c| (c.rule, c.place, c.stream, c.packet)).collect();
        assert_eq!(found, [(1, None, false, true), (2, Some(9), true, true)]);
        round.number = u32::MAX;
        round.begin(3);
        round.add(2);
        assert_eq!(round.candidates.len(), 1);
    }
}
