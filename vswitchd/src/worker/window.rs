//! How long to poll before going to sleep.

use std::time::Duration;

use weir_wire::Instant;

/// The window starts with this after a window of nothing.
pub(super) const SHORTEST_WINDOW: Duration = Duration::from_micros(2);

/// The time to poll before going to sleep. It grows while packets follow each other closely enough that polling would
/// have met them, and shrinks when it did not pay.
pub(super) struct Window {
    pub length: Duration,
    longest: Duration,
}

impl Window {
    pub fn new(longest: Duration) -> Window {
        Window { length: longest.min(SHORTEST_WINDOW), longest }
    }

    pub fn adapt(&mut self, ready: bool, slept: Instant, woke: Instant) {
        if ready || woke.since(slept) < self.longest {
            self.length = (self.length * 2).max(SHORTEST_WINDOW).min(self.longest);
        } else {
            self.length = (self.length / 2).max(SHORTEST_WINDOW.min(self.longest));
        }
    }
}
