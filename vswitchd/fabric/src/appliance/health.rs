//! Whether an appliance can do its work: the probe that decides about failing open.
//!
//! The guard runs in the thread that forwards, so it cannot be dead while packets pass. What it can be is out of room:
//! packets that nothing can be said of because a table is full. These are counted by the second.

use weir_wire::{DropReason, Instant};

use super::OPEN_FOR;

/// Packets that could not be judged, in a second, below which nothing is concluded.
const LEAST: u64 = 10;
/// The part of all packets that they must be.
const PART: u64 = 10;
const SECOND_NS: u64 = 1_000_000_000;

/// What was seen lately.
#[derive(Clone, Copy, Debug, Default)]
pub struct Health {
    second: u64,
    seen: u64,
    unjudged: u64,
    failing_until: Option<Instant>,
}

impl Health {
    /// A packet was judged, or could not be. `true` where the appliance begins to fail with it.
    pub fn note(&mut self, now: Instant, judged: bool) -> bool {
        let second = now.0 / SECOND_NS;
        if second != self.second {
            (self.second, self.seen, self.unjudged) = (second, 0, 0);
        }
        self.seen += 1;
        self.unjudged += u64::from(!judged);
        let fails = self.unjudged >= LEAST && self.unjudged.saturating_mul(PART) >= self.seen;
        let begins = fails && !self.is_failing(now);
        if fails {
            self.failing_until = Some(now.after(OPEN_FOR));
        }
        begins
    }

    /// It cannot do its work.
    pub fn is_failing(&self, now: Instant) -> bool {
        self.failing_until.is_some_and(|until| now < until)
    }
}

/// Whether a packet was dropped because nothing could be said of it, rather than because of what it is.
pub(super) fn is_failure(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::FlowTableFull
            | DropReason::FlowQuota
            | DropReason::FragmentLimit
            | DropReason::StreamLimit
            | DropReason::NoBuffer
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_a_seconds_packets_decides() {
        let mut health = Health::default();
        for n in 0..200 {
            assert!(!health.note(Instant::from_millis(n), n % 11 != 10), "one in eleven is less");
        }
        assert!(!health.is_failing(Instant::from_millis(200)));
        let begins: Vec<bool> = (0..12).map(|n| health.note(Instant::from_millis(2000 + n), false)).collect();
        assert_eq!(begins.iter().filter(|begins| **begins).count(), 1, "it begins once");
        assert!(health.is_failing(Instant::from_secs(3)));
        assert!(!health.is_failing(Instant::from_secs(13)), "it tries again");
    }
}
