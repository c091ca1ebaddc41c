//! Many addresses behind one guest: shown to the switch, and then asked for (RFC 2889, 5.7 and 5.8).
//!
//! The second guest sends a frame from each address to the first, which then sends one to each. A frame to an address that the
//! switch does not know is flooded, and so reaches the third guest, which counts it.

use std::time::{Duration, Instant};

use super::guests::Guests;

/// Nothing more comes after so long.
const QUIET: Duration = Duration::from_millis(20);
/// Who cannot send for so long, never will.
const STUCK: Duration = Duration::from_secs(5);
/// Frames taken from a ring at once.
const AT_ONCE: usize = 64;

/// What became of one frame an address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reached {
    /// Frames that the right guest got.
    pub arrived: u64,
    /// Frames that the third guest got, too.
    pub flooded: u64,
}

/// An address of many, locally administered.
fn address(number: u32) -> [u8; 6] {
    let [a, b, c, d] = number.to_be_bytes();
    [0x06, 0x5e, a, b, c, d]
}

impl Guests {
    /// The second guest sends a frame from each address to the first.
    pub fn show_addresses(&mut self, count: u32, rate: u64) -> Reached {
        self.one_each(count, rate, 1, 6)
    }

    /// The first guest sends a frame to each address.
    pub fn ask_addresses(&mut self, count: u32, rate: u64) -> Reached {
        self.one_each(count, rate, 0, 0)
    }

    /// `from` sends a frame for each address, which stands in it at `at`.
    fn one_each(&mut self, count: u32, rate: u64, from: usize, at: usize) -> Reached {
        self.drop_waiting();
        let (mut reached, mut next, begin) = (Reached::default(), 0, Instant::now());
        let mut last = begin;
        while next < count || last.elapsed() < QUIET {
            let due = (begin.elapsed().as_secs_f64() * rate as f64) as u64;
            let room = due.min(u64::from(count)).saturating_sub(u64::from(next)).min(AT_ONCE as u64);
            let sent = self.sending(from).map_or(0, |queue| {
                queue.send_loaded(1, room as usize, |frame| {
                    if let Some(place) = frame.get_mut(at..at + 6) {
                        place.copy_from_slice(&address(next));
                    }
                    next += 1;
                })
            });
            let of_ours = |frame: &[u8]| u64::from(frame.get(at..at + 2) == Some(&address(0)[..2]));
            let mut got = Reached::default();
            if let Some(queue) = self.receiving(1 - from) {
                queue.drain_frames(AT_ONCE, |frame| got.arrived += of_ours(frame));
            }
            if let Some(queue) = self.bystander() {
                queue.drain_frames(AT_ONCE, |frame| got.flooded += of_ours(frame));
            }
            reached.arrived += got.arrived;
            reached.flooded += got.flooded;
            if sent > 0 || got.arrived + got.flooded > 0 {
                last = Instant::now();
            }
            if last.elapsed() > STUCK {
                break;
            }
        }
        reached
    }

    /// Forgets what waits in the rings.
    fn drop_waiting(&mut self) {
        for number in 0..2 {
            if let Some(queue) = self.receiving(number) {
                while queue.drain_frames(AT_ONCE, |_| {}) > 0 {}
            }
        }
        if let Some(queue) = self.bystander() {
            while queue.drain_frames(AT_ONCE, |_| {}) > 0 {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_differ_and_are_of_hosts() {
        let all: std::collections::BTreeSet<_> = (0..70_000).map(address).collect();
        assert_eq!(all.len(), 70_000);
        assert!(all.iter().all(|address| address[0] & 3 == 2), "unicast, locally administered");
    }
}
