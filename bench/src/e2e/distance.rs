//! How far the switch's core and the guests' are from each other.
//!
//! A line of memory that one core has written takes its time to the other: some 25 ns where they share a cache, some 150 ns
//! where they do not. A virtual machine's processors are moved between the two by its host every few seconds or minutes,
//! and what a switch carries halves or doubles with it. So the distance is measured around each stretch, and only figures
//! of one distance are compared.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use weir_ports::clock;

use super::switches::SWITCH_CORE;

/// Cores whose word there and back takes less than this share a cache.
const NEAR: Duration = Duration::from_nanos(150);
/// Words there and back that are timed together, and how often; the fastest counts.
const WORDS: u32 = 300;
const TRIES: u32 = 5;
/// Whoever waits longer has a core that does something else.
const LONGEST: Duration = Duration::from_millis(50);

/// Where the two cores are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// They share a cache.
    Near,
    /// They do not.
    Far,
    /// They moved meanwhile, or it cannot be told.
    Unknown,
}

impl Distance {
    /// Of a stretch between two measurements.
    pub fn between(before: Option<Duration>, after: Option<Duration>) -> Distance {
        match (before.map(|time| time < NEAR), after.map(|time| time < NEAR)) {
            (Some(true), Some(true)) => Distance::Near,
            (Some(false), Some(false)) => Distance::Far,
            _ => Distance::Unknown,
        }
    }

    /// What tables and records say.
    pub fn name(self) -> &'static str {
        match self {
            Distance::Near => "near",
            Distance::Far => "far",
            Distance::Unknown => "",
        }
    }
}

/// The time that a word takes from the calling thread's core to the switch's and back; `None` where that core is busy.
pub fn there_and_back() -> Option<Duration> {
    let word = AtomicU64::new(0);
    // The other thread answers each odd number by the next one.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if clock::pin_to_cpu(SWITCH_CORE).is_err() {
                return;
            }
            for turn in 0..u64::from(WORDS * TRIES) {
                if !wait_for(&word, 2 * turn + 1) {
                    return;
                }
                word.store(2 * turn + 2, Ordering::Release);
            }
        });
        let mut best: Option<Duration> = None;
        for attempt in 0..TRIES {
            let begin = Instant::now();
            for turn in attempt * WORDS..(attempt + 1) * WORDS {
                let turn = u64::from(turn);
                word.store(2 * turn + 1, Ordering::Release);
                if !wait_for(&word, 2 * turn + 2) {
                    return None;
                }
            }
            let time = begin.elapsed() / WORDS;
            best = Some(best.map_or(time, |best| best.min(time)));
        }
        best
    })
}

/// Waits until the other side has written `value`; `false` where it does not.
fn wait_for(word: &AtomicU64, value: u64) -> bool {
    let begin = Instant::now();
    loop {
        for _ in 0..10_000 {
            if word.load(Ordering::Acquire) == value {
                return true;
            }
            spin_loop();
        }
        if begin.elapsed() > LONGEST {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_count_for_a_distance_that_stayed() {
        let [near, far] = [50, 300].map(|nanos| Some(Duration::from_nanos(nanos)));
        assert_eq!(Distance::between(near, near), Distance::Near);
        assert_eq!(Distance::between(far, far), Distance::Far);
        for (before, after) in [(near, far), (far, near), (None, near), (far, None)] {
            assert_eq!(Distance::between(before, after), Distance::Unknown);
        }
    }

    #[test]
    fn a_word_that_does_not_come_is_not_waited_for_for_ever() {
        assert!(!wait_for(&AtomicU64::new(0), 1));
        assert!(wait_for(&AtomicU64::new(1), 1));
    }
}
