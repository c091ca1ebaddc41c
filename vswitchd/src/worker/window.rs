//! How long to poll before going to sleep, and when to be awake again.
//!
//! After the last packet the worker polls for a *window*, which grows while packets follow each other closely enough that
//! polling would have met them. What waking takes is learned from timers and taken off, so that a machine that wakes
//! slowly does not look like one on which packets come far apart.
//!
//! Packets that come too far apart for the window but at a steady *pace* are slept for and met awake: a timer ends the
//! sleep a little before the next one is due. If it does not come the worker sleeps on, and is woken by it as by any other.
//! The time that is polled for one packet is bounded by the longest window either way.

use std::time::Duration;

use weir_wire::Instant;

/// The window starts with this after a window of nothing.
pub(super) const SHORTEST_WINDOW: Duration = Duration::from_micros(2);
/// No machine is believed to take longer to wake: what is later than that was held up.
const WAKING_MAX: u64 = 100_000;
/// Packets further apart than so many of the longest windows are not waited for awake.
const PACE_WINDOWS: u64 = 40;
/// Weights of the newest gap and of its distance from the average, one of so many parts (as of round trips, RFC 6298).
const GAP_MEMORY: u64 = 8;
const DEVIATION_MEMORY: u64 = 4;

/// The time to poll before going to sleep.
pub(super) struct Window {
    pub length: Duration,
    longest: Duration,
    /// Nanoseconds from a timer's end to the first instruction behind it, on average.
    waking: u64,
    pace: Pace,
    /// Until when a packet is expected that we woke for.
    expected: Instant,
}

/// How far packets are apart, in nanoseconds.
#[derive(Debug, Default)]
struct Pace {
    last: Instant,
    gap: u64,
    deviation: u64,
}

impl Window {
    pub fn new(longest: Duration) -> Window {
        Window {
            length: longest.min(SHORTEST_WINDOW),
            longest,
            waking: 0,
            pace: Pace::default(),
            expected: Instant::ZERO,
        }
    }

    /// Whether to go to sleep, where nothing has come since `last`.
    #[inline]
    pub fn is_over(&self, now: Instant, last: Instant) -> bool {
        now.since(last) >= self.length && now >= self.expected
    }

    /// Something has come in.
    #[inline]
    pub fn arrived(&mut self, now: Instant) {
        self.pace.arrived(now, self.longest.as_nanos() as u64);
        self.expected = Instant::ZERO;
    }

    /// When to wake ahead of the next packet; `None` where nobody can tell when it comes, or it is too near or too far.
    pub fn wake_ahead(&self, now: Instant) -> Option<Instant> {
        let longest = self.longest.as_nanos() as u64;
        let Pace { last, gap, deviation } = self.pace;
        let around = 2 * deviation + SHORTEST_WINDOW.as_nanos() as u64;
        if gap > longest * PACE_WINDOWS || around > longest {
            return None;
        }
        let ahead = gap.checked_sub(around + self.waking)?;
        let at = last.after(Duration::from_nanos(ahead));
        // A sleep that ends before one can fall asleep is none.
        (at > now.after(SHORTEST_WINDOW)).then_some(at)
    }

    /// Woken by the timer at `woke` that was set to `due`, for a packet that is expected or for anything else.
    pub fn timer_ended(&mut self, due: Instant, woke: Instant, ahead: Option<Instant>) {
        let late = (woke.since(due).as_nanos() as u64).min(WAKING_MAX);
        // One that was held up says little of the others.
        let late = if self.waking == 0 { late } else { late.min(2 * self.waking) };
        self.waking = if self.waking == 0 { late } else { self.waking - self.waking / 8 + late / 8 };
        if ahead == Some(due) {
            let Pace { last, gap, deviation } = self.pace;
            let late_by = 2 * deviation + SHORTEST_WINDOW.as_nanos() as u64;
            self.expected = last.after(Duration::from_nanos(gap + late_by)).min(woke.after(self.longest));
        }
    }

    /// Woken by something else, or something was `ready` before falling asleep. What counts is how long after the last
    /// packet that was, whatever part of it was polled.
    pub fn adapt(&mut self, ready: bool, woke: Instant) {
        // Where it seems to take too long for a timer to pay, no timer tells that it does not any more: so it is forgotten.
        self.waking -= self.waking / 128;
        let apart = woke.since(self.pace.last).saturating_sub(Duration::from_nanos(self.waking));
        if ready || apart < self.longest {
            self.length = (self.length * 2).max(SHORTEST_WINDOW).min(self.longest);
        } else {
            self.length = (self.length / 2).max(SHORTEST_WINDOW.min(self.longest));
        }
    }
}

impl Pace {
    /// A gap that is far off moves the averages by no more than one that is `most` off: a pause is no change of pace.
    #[inline]
    fn arrived(&mut self, now: Instant, most: u64) {
        let gap = now.since(self.last).as_nanos() as u64;
        let off = gap.abs_diff(self.gap).min(most);
        self.deviation = self.deviation - self.deviation / DEVIATION_MEMORY + off / DEVIATION_MEMORY;
        self.gap = if gap > self.gap { self.gap + off / GAP_MEMORY } else { self.gap - off / GAP_MEMORY };
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_micros(50);

    /// A window that has seen packets so far apart, in microseconds, the last one at the time returned.
    fn after(gaps: impl IntoIterator<Item = u64>) -> (Window, Instant) {
        let (mut window, mut now) = (Window::new(LONGEST), Instant(1_000_000));
        window.timer_ended(Instant(0), Instant(20_000), None);
        for gap in gaps {
            now = now.after(Duration::from_micros(gap));
            window.arrived(now);
        }
        (window, now)
    }

    #[test]
    fn what_waking_takes_is_not_held_against_packets() {
        let mut window = Window::new(LONGEST);
        window.timer_ended(Instant(0), Instant(30_000), None);
        for _ in 0..10 {
            window.adapt(false, Instant(70_000));
        }
        assert_eq!(window.length, LONGEST, "forty microseconds apart");
        for _ in 0..10 {
            window.adapt(false, Instant(90_000));
        }
        assert_eq!(window.length, SHORTEST_WINDOW, "sixty apart");
    }

    #[test]
    fn a_steady_pace_is_met_awake_and_slept_for_in_between() {
        let (mut window, last) = after([100; 100]);
        let at = window.wake_ahead(last).expect("the next one is due in 100 µs");
        assert!((last.after(Duration::from_micros(70))..last.after(Duration::from_micros(80))).contains(&at), "{at:?}");
        window.timer_ended(at, at.after(Duration::from_micros(20)), Some(at));
        let due = last.after(Duration::from_micros(100));
        assert!(!window.is_over(due, last), "awake when it is due");
        assert!(window.is_over(due.after(LONGEST), last), "but not for ever");
        assert_eq!(window.wake_ahead(due.after(LONGEST)), None, "one that did not come is not waited for again");
        window.arrived(due);
        assert!(window.is_over(due.after(SHORTEST_WINDOW), due));
    }

    #[test]
    fn what_held_up_the_first_timers_is_forgotten() {
        let (mut window, mut now) = after([]);
        for _ in 0..8 {
            window.timer_ended(Instant(0), Instant(1_000_000), None);
        }
        for n in 0..2000 {
            now = now.after(Duration::from_micros(100));
            window.arrived(now);
            if window.wake_ahead(now).is_some() {
                assert!(n > 16, "once the pace is known");
                return;
            }
            window.adapt(false, now);
        }
        panic!("it is never tried again");
    }

    #[test]
    fn a_pause_does_not_make_a_pace_unsteady_for_long() {
        let (window, last) = after([100; 100].into_iter().chain([5000]).chain([100; 10]));
        assert!(window.wake_ahead(last).is_some());
        let (window, last) = after([100; 100].into_iter().chain([5000]));
        assert!(window.wake_ahead(last).is_none_or(|at| at < last.after(Duration::from_micros(80))), "but for a while");
    }

    #[test]
    fn packets_without_a_pace_or_too_far_apart_are_slept_for() {
        let (window, last) = after((0..100).map(|n| if n % 2 == 0 { 20 } else { 180 }));
        assert_eq!(window.wake_ahead(last), None);
        let (window, last) = after([5000; 1000]);
        assert_eq!(window.wake_ahead(last), None);
    }

    #[test]
    fn who_never_polls_never_wakes_ahead() {
        let (mut window, last) = after([100; 100]);
        window.longest = Duration::ZERO;
        assert_eq!(window.wake_ahead(last), None);
    }
}
