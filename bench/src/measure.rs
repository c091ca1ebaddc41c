//! Time and allocations of a step that is repeated.

use std::time::{Duration, Instant};

/// Steps of one round that are remembered.
const STEPS: usize = 1 << 16;

/// What one case cost. Each round's figure is the median of its steps (bursts, mostly), so that a step during which
/// the machine did something else does not count.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// The case's name.
    pub case: String,
    /// What was counted: packets, mostly.
    pub count: u64,
    /// Nanoseconds for each, in the round in the middle.
    pub median_ns: f64,
    /// Nanoseconds for each, in the best round.
    pub best_ns: f64,
    /// Allocations in all rounds.
    pub allocations: u64,
}

/// How long a case is measured.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// How often a figure is taken.
    pub rounds: usize,
    /// How long each round lasts at least.
    pub length: Duration,
}

impl Default for Rounds {
    fn default() -> Rounds {
        Rounds { rounds: 9, length: Duration::from_millis(60) }
    }
}

impl Rounds {
    /// Repeats `step`, which returns how much it did and the time that took, after one round to warm up.
    pub fn measure(&self, case: &str, mut step: impl FnMut() -> (u64, Duration)) -> Figure {
        let mut steps = Vec::with_capacity(STEPS);
        self.round(&mut step, &mut steps);
        let (mut figures, mut count, mut allocations) = (Vec::with_capacity(self.rounds), 0, 0);
        for _ in 0..self.rounds {
            steps.clear();
            let info = allocation_counter::measure(|| count += self.round(&mut step, &mut steps));
            allocations += info.count_total;
            figures.push(median(&mut steps));
        }
        let median_ns = median(&mut figures);
        let best_ns = figures.first().copied().unwrap_or(0.0);
        Figure { case: case.to_owned(), count, median_ns, best_ns, allocations }
    }

    fn round(&self, step: &mut impl FnMut() -> (u64, Duration), steps: &mut Vec<f64>) -> u64 {
        let mut count = 0;
        let start = Instant::now();
        while start.elapsed() < self.length && steps.len() < STEPS {
            let (done, took) = step();
            count += done;
            steps.push(took.as_nanos() as f64 / done.max(1) as f64);
        }
        count
    }
}

/// Sorts the figures; returns the one in the middle.
fn median(figures: &mut [f64]) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}

/// The time a piece of work takes.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}
