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
    /// Allocations there may be: for events told to people, for connections whose inspection begins.
    pub excused: u64,
}

impl Figure {
    /// Allocations that nothing excuses.
    pub fn unexcused(&self) -> u64 {
        self.allocations.saturating_sub(self.excused)
    }
}

/// What one step did and cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Step {
    /// What was counted: packets, mostly.
    pub count: u64,
    /// How long it took.
    pub time: Duration,
    /// Allocations it made.
    pub allocations: u64,
    /// Allocations it may make.
    pub excused: u64,
}

impl Step {
    /// Adds what another one did and cost.
    pub fn add(&mut self, other: Step) {
        self.count += other.count;
        self.time += other.time;
        self.allocations += other.allocations;
        self.excused += other.excused;
    }
}

/// How long a case is measured.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// How often a figure is taken.
    pub rounds: usize,
    /// How long each round lasts at least.
    pub length: Duration,
    /// One round of exactly so many steps in place of all that, for a tool that counts what the program does.
    pub steps: Option<usize>,
}

impl Default for Rounds {
    fn default() -> Rounds {
        Rounds { rounds: 9, length: Duration::from_millis(60), steps: None }
    }
}

impl Rounds {
    /// Repeats `step`, after one round to warm up.
    pub fn measure(&self, case: &str, mut step: impl FnMut() -> Step) -> Figure {
        if let Some(count) = self.steps {
            return counted(case, count, step);
        }
        let mut steps = Vec::with_capacity(STEPS);
        self.round(&mut step, &mut steps);
        let (mut figures, mut sum) = (Vec::with_capacity(self.rounds), Step::default());
        for _ in 0..self.rounds {
            steps.clear();
            sum.add(self.round(&mut step, &mut steps));
            figures.push(median(&mut steps));
        }
        let median_ns = median(&mut figures);
        let best_ns = figures.first().copied().unwrap_or(0.0);
        let Step { count, allocations, excused, .. } = sum;
        Figure { case: case.to_owned(), count, median_ns, best_ns, allocations, excused }
    }

    fn round(&self, step: &mut impl FnMut() -> Step, steps: &mut Vec<f64>) -> Step {
        let mut sum = Step::default();
        let start = Instant::now();
        while start.elapsed() < self.length && steps.len() < STEPS {
            let done = step();
            steps.push(done.time.as_nanos() as f64 / done.count.max(1) as f64);
            sum.add(done);
        }
        sum
    }
}

/// Exactly so many steps.
fn counted(case: &str, steps: usize, mut step: impl FnMut() -> Step) -> Figure {
    let mut sum = Step::default();
    (0..steps).for_each(|_| sum.add(step()));
    let Step { count, time, allocations, excused } = sum;
    let mean = time.as_nanos() as f64 / count.max(1) as f64;
    Figure { case: case.to_owned(), count, median_ns: mean, best_ns: mean, allocations, excused }
}

/// Sorts the figures; returns the one in the middle.
fn median(figures: &mut [f64]) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}

/// Does a piece of work that counts for `count`; returns its result and what it cost.
pub fn timed<T>(count: u64, work: impl FnOnce() -> T) -> (T, Step) {
    let (mut result, mut time) = (None, Duration::ZERO);
    let info = allocation_counter::measure(|| {
        let start = Instant::now();
        let done = work();
        time = start.elapsed();
        result = Some(done);
    });
    match result {
        Some(result) => (result, Step { count, time, allocations: info.count_total, excused: 0 }),
        None => unreachable!("the work was done"),
    }
}
