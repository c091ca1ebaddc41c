//! What each rule costs: how often it is checked, how often it matches, the work and the time that takes.
//!
//! Kept only where somebody asks for it; the clock is the caller's. The searches for fast patterns are shared by many
//! rules and belong to none of them: what is counted begins when a rule is a candidate.

/// What one rule has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Times it was checked.
    pub checks: u64,
    /// Times it matched, told or not.
    pub matches: u64,
    /// Steps of its searches, of about 64 bytes each.
    pub steps: u64,
    /// Time it took, in nanoseconds.
    pub nanoseconds: u64,
}

impl Cost {
    /// So many times as much.
    #[must_use]
    pub fn times(self, factor: u64) -> Cost {
        let by = |count: u64| count.saturating_mul(factor);
        Cost {
            checks: by(self.checks),
            matches: by(self.matches),
            steps: by(self.steps),
            nanoseconds: by(self.nanoseconds),
        }
    }
}

/// What all rules of a program have cost.
#[derive(Debug)]
pub struct Profile {
    clock: fn() -> u64,
    /// By the program that the rules are of.
    costs: Vec<(u32, Vec<Cost>)>,
    /// The place of the program whose rules are checked.
    current: usize,
}

/// The state of things when a check began.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    time: u64,
    work: u64,
    matched: usize,
}

impl Profile {
    /// Nothing counted yet; `clock` gives nanoseconds.
    pub fn new(clock: fn() -> u64) -> Profile {
        Profile { clock, costs: vec![(0, Vec::new())], current: 0 }
    }

    /// The rules that are checked from now on are those of this program; at first they are those of number 0.
    pub fn turn_to(&mut self, program: u32) {
        self.current = match self.costs.iter().position(|&(known, _)| known == program) {
            Some(at) => at,
            None => {
                self.costs.push((program, Vec::new()));
                self.costs.len() - 1
            }
        };
    }

    /// Forgets the rules of all other programs.
    pub fn retain(&mut self, programs: &[u32]) {
        self.costs.retain(|(program, _)| *program == 0 || programs.contains(program));
        self.current = 0;
    }

    /// A check begins.
    pub fn begin(&self, work: u64, matched: usize) -> Begun {
        Begun { time: (self.clock)(), work, matched }
    }

    /// The check of a rule has ended.
    pub fn end(&mut self, rule: u32, begun: Begun, work: u64, matched: usize) {
        let now = (self.clock)();
        let index = rule as usize;
        let Some((_, costs)) = self.costs.get_mut(self.current) else { return };
        if costs.len() <= index {
            costs.resize(index + 1, Cost::default());
        }
        let Some(cost) = costs.get_mut(index) else { return };
        cost.checks += 1;
        cost.matches += matched.saturating_sub(begun.matched) as u64;
        cost.steps += work.saturating_sub(begun.work);
        cost.nanoseconds += now.saturating_sub(begun.time);
    }

    /// Numbers of rules with what they cost, dearest first; those that were never checked are left out.
    pub fn costs(&self) -> Vec<(u32, Cost)> {
        self.costs_of(0)
    }

    /// The same of the rules of one program.
    pub fn costs_of(&self, program: u32) -> Vec<(u32, Cost)> {
        let costs = self.costs.iter().filter(|(known, _)| *known == program).flat_map(|(_, costs)| costs);
        let all = (0u32..).zip(costs).filter(|(_, cost)| cost.checks > 0);
        let mut all: Vec<(u32, Cost)> = all.map(|(rule, cost)| (rule, *cost)).collect();
        all.sort_by_key(|(rule, cost)| (std::cmp::Reverse(cost.nanoseconds), std::cmp::Reverse(cost.steps), *rule));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dearest_rule_comes_first_and_an_unused_one_not_at_all() {
        let mut profile = Profile::new(|| 0);
        let begun = profile.begin(10, 1);
        profile.end(0, begun, 11, 1);
        profile.end(2, begun, 30, 2);
        profile.end(2, begun, 30, 1);
        let wanted = [
            (2, Cost { checks: 2, matches: 1, steps: 40, nanoseconds: 0 }),
            (0, Cost { checks: 1, matches: 0, steps: 1, nanoseconds: 0 }),
        ];
        assert_eq!(profile.costs(), wanted);
        profile.turn_to(7);
        profile.end(2, begun, 20, 1);
        assert_eq!(profile.costs_of(7), [(2, Cost { checks: 1, matches: 0, steps: 10, nanoseconds: 0 })]);
        assert_eq!(profile.costs(), wanted, "rules of another program are others");
        profile.retain(&[8]);
        assert!(profile.costs_of(7).is_empty());
    }
}
