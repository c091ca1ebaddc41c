//! Time as an argument. The worker reads the clock once per turn and hands the value down.

use core::time::Duration;

/// Nanoseconds since some start that never moves (CLOCK_MONOTONIC in the daemon, zero in a simulation).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// The start of time.
    pub const ZERO: Instant = Instant(0);

    /// `n` seconds after the start.
    pub const fn from_secs(n: u64) -> Instant {
        Instant(n.saturating_mul(1_000_000_000))
    }

    /// `n` milliseconds after the start.
    pub const fn from_millis(n: u64) -> Instant {
        Instant(n.saturating_mul(1_000_000))
    }

    /// The time from `earlier` to `self`; zero where `earlier` is later.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// `self` moved on by `d`, held at the end of time.
    pub fn after(self, d: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}
