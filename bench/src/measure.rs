//! Time and allocations of a step that is repeated.

use std::time::{Duration, Instant};

/// What one case cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// The case's name.
    pub case: String,
    /// What was counted: packets, mostly.
    pub count: u64,
    /// Nanoseconds for each, in the round in the middle.
    pub median_ns: f64,
    /// Nanoseconds for each, in the fastest round.
    pub best_ns: f64,
    /// Allocations in all rounds.
    pub allocations: u64,
}

/// A case: its step does some work and says how much of it was done and how long it took.
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
        self.round(&mut step);
        let (mut times, mut count, mut allocations) = (Vec::with_capacity(self.rounds), 0, 0);
        for _ in 0..self.rounds {
            let (mut done, mut took) = (0, Duration::ZERO);
            let info = allocation_counter::measure(|| (done, took) = self.round(&mut step));
            allocations += info.count_total;
            count += done;
            times.push(took.as_nanos() as f64 / done.max(1) as f64);
        }
        times.sort_unstable_by(f64::total_cmp);
        let median_ns = times.get(times.len() / 2).copied().unwrap_or(0.0);
        let best_ns = times.first().copied().unwrap_or(0.0);
        Figure { case: case.to_owned(), count, median_ns, best_ns, allocations }
    }

    fn round(&self, step: &mut impl FnMut() -> (u64, Duration)) -> (u64, Duration) {
        let (mut done, mut took) = (0, Duration::ZERO);
        let start = Instant::now();
        while start.elapsed() < self.length {
            let (n, time) = step();
            done += n;
            took += time;
        }
        (done, took)
    }
}

/// The time a piece of work takes.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}
