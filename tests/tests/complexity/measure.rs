//! What work costs: processor time of this thread, and how it grows.

use std::time::Duration;

/// How often a cost that looks too high is measured again.
const REPEATS: usize = 4;

/// What costs less than this is not looked at: the clock and the caches would be measured.
const NOTHING: Duration = Duration::from_millis(8);

/// The larger input is so many times the smaller.
pub const GROWTH: usize = 8;

/// Its cost may be so many times that of the smaller; quadratic work costs 64 times as much.
const MOST: u32 = 22;

fn processor_time() -> Duration {
    // The kernel brings the number up to date where a thread gives the processor up.
    std::thread::yield_now();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(told.split(' ').next().unwrap().parse().unwrap())
}

/// The time that it takes.
fn cost(work: &mut impl FnMut()) -> Duration {
    let before = processor_time();
    work();
    processor_time().saturating_sub(before)
}

/// Cases that cost too much; empty is good.
#[derive(Debug, Default)]
pub struct Verdicts {
    bad: Vec<String>,
    /// Cases that were measured.
    measured: usize,
}

impl Verdicts {
    /// Measures `work` of a size and of [`GROWTH`] times that. `prepare` makes the input, which costs nothing.
    ///
    /// Between the two a limit may be met, beyond which each piece costs more, or is told of: then the step after that
    /// is measured too, and is the one that counts.
    pub fn linear<I>(&mut self, name: &str, size: usize, prepare: impl Fn(usize) -> I, work: impl Fn(&I)) {
        self.measured += 1;
        let mut told = String::new();
        for size in [size, size * GROWTH] {
            let (part, whole) = (prepare(size), prepare(size * GROWTH));
            let (mut small, mut large) = (Duration::MAX, Duration::MAX);
            for _ in 0..REPEATS {
                small = small.min(cost(&mut || work(&part)));
                large = large.min(cost(&mut || work(&whole)));
                if large < NOTHING || large < small * MOST {
                    return;
                }
            }
            told += &format!("; {small:?} for {size}, {large:?} for {GROWTH} times that");
        }
        self.bad.push(format!("{name}{told}"));
    }

    /// Fails with all that was bad.
    #[track_caller]
    pub fn check(self) {
        assert!(self.measured > 0);
        assert!(self.bad.is_empty(), "cost grows faster than input:\n  {}", self.bad.join("\n  "));
    }
}

#[test]
fn quadratic_work_is_found_and_linear_work_is_not() {
    let walk = |input: &Vec<u8>| input.iter().fold(0u64, |sum, &byte| std::hint::black_box(sum + u64::from(byte)));
    let mut verdicts = Verdicts::default();
    verdicts.linear(
        "once",
        200_000,
        |size| vec![1; size],
        |input| {
            std::hint::black_box(walk(input));
        },
    );
    assert!(verdicts.bad.is_empty(), "{:?}", verdicts.bad);
    let squared = |input: &Vec<u8>| {
        std::hint::black_box(input.iter().map(|_| walk(input)).sum::<u64>());
    };
    verdicts.linear("squared", 1000, |size| vec![1; size], squared);
    assert_eq!(verdicts.bad.len(), 1);
}
