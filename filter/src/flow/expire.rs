//! When flows are forgotten: a wheel of coarse slots, each a list of flows.
//!
//! A packet does not move its flow in the wheel; when a slot's time comes, each of its flows is asked how long it may
//! stay, and goes to the slot of that time. So a flow costs one look for each [`HORIZON`] it lives, and a step costs at
//! most the looks it is given. Flows end up to one slot late, never early.

use std::time::Duration;

use weir_wire::Instant;

use super::list::{Linked, List, Which};

/// Slots of the wheel.
const SLOTS: usize = 1024;
/// A slot's width as a power of two of nanoseconds: 268 ms.
const WIDTH_BITS: u32 = 28;
/// The longest time that the wheel knows; flows that may stay longer are asked again then.
pub const HORIZON: Duration = Duration::from_nanos((SLOTS as u64 - 1) << WIDTH_BITS);

/// The wheel.
#[derive(Debug)]
pub struct Wheel {
    slots: Box<[List]>,
    /// Which slots hold flows.
    filled: [u64; SLOTS / 64],
    /// The slot number, counted from the start of time, up to which all flows were asked.
    done: u64,
    len: usize,
}

impl Default for Wheel {
    fn default() -> Wheel {
        Wheel { slots: vec![List::default(); SLOTS].into_boxed_slice(), filled: [0; SLOTS / 64], done: 0, len: 0 }
    }
}

/// The number of the slot that is due when `time` has passed for sure.
#[inline]
fn number(time: Instant) -> u64 {
    (time.0 >> WIDTH_BITS) + 1
}

impl Wheel {
    /// Puts a flow where it is asked again at `due`, or at the horizon; returns its slot's number.
    pub fn add<T: Linked>(&mut self, items: &mut [T], slot: u32, now: Instant, due: Instant) -> u64 {
        if self.len == 0 {
            // Nothing was asked while nothing was there.
            self.done = self.done.max(number(now) - 1);
        }
        let first = self.done + 1;
        let at = number(due).clamp(first, first + SLOTS as u64 - 2);
        let index = (at % SLOTS as u64) as usize;
        self.slots[index].push(items, Which::Timer, slot);
        self.filled[index / 64] |= 1 << (index % 64);
        self.len += 1;
        at
    }

    /// Takes a flow out of the slot of this number.
    pub fn remove<T: Linked>(&mut self, items: &mut [T], slot: u32, at: u64) {
        let index = (at % SLOTS as u64) as usize;
        let list = &mut self.slots[index];
        list.remove(items, Which::Timer, slot);
        if list.is_empty() {
            self.filled[index / 64] &= !(1 << (index % 64));
        }
        self.len -= 1;
    }

    /// Whether a flow in the slot of number `at` would be asked too late for `due`.
    #[inline]
    pub fn is_late(&self, at: u64, due: Instant) -> bool {
        number(due) < at
    }

    /// A flow whose slot has passed, and the slot's number. The caller takes it out or moves it; what stays is given
    /// again.
    pub fn due(&mut self, now: Instant) -> Option<(u32, u64)> {
        let passed = now.0 >> WIDTH_BITS;
        while let Some(at) = self.next_filled().filter(|&at| at <= passed) {
            let index = (at % SLOTS as u64) as usize;
            if let Some(slot) = self.slots[index].first() {
                return Some((slot, at));
            }
            self.done = at;
        }
        self.done = self.done.max(passed);
        None
    }

    /// When the next flow has to be asked.
    pub fn next(&self) -> Option<Instant> {
        self.next_filled().map(|at| Instant(at << WIDTH_BITS))
    }

    fn next_filled(&self) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        // At most all words once, and the first one twice.
        let mut at = self.done + 1;
        let end = at + SLOTS as u64;
        while at < end {
            let index = (at % SLOTS as u64) as usize;
            let rest = self.filled[index / 64] >> (index % 64);
            if rest != 0 {
                return Some(at + u64::from(rest.trailing_zeros()));
            }
            at += 64 - (index as u64 % 64);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::list::Link;

    #[derive(Default)]
    struct Item(Link);

    impl Linked for Item {
        fn link(&mut self, _: Which) -> &mut Link {
            &mut self.0
        }
    }

    fn items(n: usize) -> Vec<Item> {
        (0..n).map(|_| Item::default()).collect()
    }

    #[test]
    fn a_flow_is_asked_after_its_time_and_within_one_slot() {
        for seconds in [0, 1, 5, 100, 270] {
            let mut items = items(1);
            let mut wheel = Wheel::default();
            let now = Instant::from_secs(1_000);
            let due = now.after(Duration::from_secs(seconds));
            let at = wheel.add(&mut items, 0, now, due);
            let next = wheel.next().unwrap();
            assert!(next > due && next.since(due) <= Duration::from_nanos(1 << WIDTH_BITS), "{seconds}");
            assert_eq!(wheel.due(due), None);
            assert_eq!(wheel.due(next), Some((0, at)));
            wheel.remove(&mut items, 0, at);
            assert_eq!((wheel.due(next), wheel.next()), (None, None));
        }
    }

    #[test]
    fn longer_times_are_asked_at_the_horizon() {
        let mut items = items(1);
        let mut wheel = Wheel::default();
        let now = Instant::from_secs(7);
        wheel.add(&mut items, 0, now, now.after(Duration::from_secs(86_400)));
        let next = wheel.next().unwrap();
        assert!(next.since(now) <= HORIZON && next.since(now) > HORIZON / 2);
    }

    #[test]
    fn flows_come_in_the_order_of_their_time_over_many_turns_of_the_wheel() {
        let mut items = items(3);
        let mut wheel = Wheel::default();
        let mut now = Instant::from_secs(0);
        let mut asked = [0u32; 3];
        let period = [1u64, 17, 200].map(Duration::from_secs);
        for (slot, &p) in period.iter().enumerate() {
            wheel.add(&mut items, slot as u32, now, now.after(p));
        }
        while now < Instant::from_secs(2_000) {
            now = wheel.next().unwrap().max(now);
            while let Some((slot, at)) = wheel.due(now) {
                wheel.remove(&mut items, slot, at);
                asked[slot as usize] += 1;
                wheel.add(&mut items, slot, now, now.after(period[slot as usize]));
            }
        }
        assert!((1500..=2000).contains(&asked[0]), "{asked:?}");
        assert!((100..=117).contains(&asked[1]) && (9..=10).contains(&asked[2]), "{asked:?}");
    }

    #[test]
    fn a_pause_longer_than_the_wheel_loses_nobody() {
        let mut items = items(2);
        let mut wheel = Wheel::default();
        let now = Instant::from_secs(10);
        wheel.add(&mut items, 0, now, now.after(Duration::from_secs(3)));
        wheel.add(&mut items, 1, now, now.after(Duration::from_secs(250)));
        let late = Instant::from_secs(5_000);
        for _ in 0..2 {
            let (slot, at) = wheel.due(late).unwrap();
            wheel.remove(&mut items, slot, at);
        }
        assert_eq!(wheel.due(late), None);
    }
}
