//! Lists that one packet's inspection fills and the next one's fills again, so that none is allocated once warm.

/// A rule to be checked.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    pub rule: u32,
    /// Where in the stream its fast pattern was seen last; `None` for a rule without one.
    pub place: Option<u64>,
}

/// A rule whose payload conditions hold.
#[derive(Clone, Copy, Debug)]
pub struct Matched {
    pub rule: u32,
    /// On the stream up to this place, rather than on the packet.
    pub stream: Option<u64>,
}

/// The lists.
#[derive(Debug, Default)]
pub struct Scratch {
    /// For each rule the round it was made a candidate in, and its place in `candidates`.
    marks: Vec<(u32, u32)>,
    round: u32,
    pub candidates: Vec<Candidate>,
    pub matched: Vec<Matched>,
    /// Steps that searches and checks have taken.
    pub work: u64,
    /// Stream bytes without the urgent ones.
    pub text: Vec<u8>,
}

impl Scratch {
    /// Empties the candidates; up to `rules` rules can be made candidates.
    pub fn begin_round(&mut self, rules: usize) {
        self.candidates.clear();
        if self.marks.len() < rules {
            self.marks.resize(rules, (0, 0));
        }
        self.round = self.round.wrapping_add(1);
        if self.round == 0 {
            // After 2^32 rounds the old marks could be taken for fresh ones.
            self.marks.fill((0, 0));
            self.round = 1;
        }
    }

    /// Makes `rule` a candidate, once in a round; a later place replaces an earlier one.
    pub fn add(&mut self, rule: u32, place: Option<u64>) {
        let Some(mark) = self.marks.get_mut(rule as usize) else { return };
        if mark.0 == self.round {
            if let Some(candidate) = self.candidates.get_mut(mark.1 as usize) {
                candidate.place = candidate.place.max(place);
            }
            return;
        }
        *mark = (self.round, self.candidates.len() as u32);
        self.candidates.push(Candidate { rule, place });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_a_candidate_once_a_round() {
        let mut scratch = Scratch::default();
        scratch.begin_round(3);
        scratch.add(2, Some(5));
        scratch.add(2, Some(9));
        scratch.add(7, None);
        assert_eq!(scratch.candidates.len(), 1);
        assert_eq!(scratch.candidates[0].place, Some(9));
        scratch.round = u32::MAX;
        scratch.begin_round(3);
        scratch.add(2, None);
        assert_eq!(scratch.candidates.len(), 1);
    }
}
