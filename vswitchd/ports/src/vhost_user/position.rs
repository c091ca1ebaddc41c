//! A place in a packed ring, and the flags that it gives to descriptors (virtio 1.2, 2.8.1 and 2.8.10).
//!
//! Both sides count places around the ring and turn a *wrap counter* over each time. A descriptor's two flags are compared with
//! that: which values mean available and which mean used changes with every round.

use super::split::crossed;

/// Equal to the driver's wrap counter where the descriptor is available.
pub(super) const AVAILABLE: u16 = 1 << 7;
/// Different from it then; equal to it, as [`AVAILABLE`] is, where it is used.
pub(super) const USED: u16 = 1 << 15;

/// Event suppression (2.8.10): notifications are wanted, not wanted, or wanted at one place.
pub(super) const EVENT_ALWAYS: u16 = 0;
pub(super) const EVENT_NEVER: u16 = 1;
pub(super) const EVENT_AT: u16 = 2;
/// The wrap counter beside a place of 15 bits.
const WRAP: u16 = 1 << 15;

/// A place in the ring and the wrap counter that goes with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The place.
    pub slot: u16,
    /// The wrap counter: `true` the first time around.
    pub wrap: bool,
}

impl Position {
    /// The first place, the first time around.
    pub const START: Position = Position { slot: 0, wrap: true };

    /// From the form in which messages and events have it.
    #[inline]
    pub fn unpack(packed: u16) -> Position {
        Position { slot: packed & !WRAP, wrap: packed & WRAP != 0 }
    }

    /// The place in 15 bits, the wrap counter in the 16th.
    #[inline]
    pub fn pack(self) -> u16 {
        self.slot | if self.wrap { WRAP } else { 0 }
    }

    /// `n` places on, at most once around a ring of `size`.
    #[inline]
    #[must_use]
    pub fn after(self, n: u16, size: u16) -> Position {
        let slot = u32::from(self.slot) + u32::from(n);
        match slot.checked_sub(u32::from(size)) {
            Some(beyond) => Position { slot: beyond as u16, wrap: !self.wrap },
            None => Position { slot: slot as u16, ..self },
        }
    }

    /// Whether going from `before` to here, at most once around, passed the place `event`, with its wrap counter.
    #[inline]
    pub fn passed(self, event: u16, before: Position, size: u16) -> bool {
        let event = Position::unpack(event);
        let back = |position: Position| if position.wrap == self.wrap { 0 } else { size };
        crossed(
            event.slot.wrapping_sub(back(event)),
            self.slot,
            before.slot.wrapping_sub(if self.slot <= before.slot { size } else { 0 }),
        )
    }

    /// The flags of a descriptor that is used here.
    #[inline]
    pub fn used(self) -> u16 {
        if self.wrap { AVAILABLE | USED } else { 0 }
    }

    /// The flags of a descriptor that is available here.
    #[inline]
    pub fn available(self) -> u16 {
        if self.wrap { AVAILABLE } else { USED }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(slot: u16, wrap: bool) -> Position {
        Position { slot, wrap }
    }

    #[test]
    fn a_position_goes_around_rings_of_any_size() {
        assert_eq!(Position::START.after(3, 4), at(3, true));
        assert_eq!(at(3, true).after(1, 4), at(0, false));
        assert_eq!(at(2, false).after(4, 5), at(1, true));
        assert_eq!(at(32767, true).after(32768, 32768), at(32767, false));
        for packed in [0, 0x8000, 0x7fff, 0xffff, 0x8003] {
            assert_eq!(Position::unpack(packed).pack(), packed);
        }
    }

    /// Against counting: positions are numbers that do not wrap, and an event is passed where it lies in the stretch.
    #[test]
    fn an_event_is_passed_where_its_place_lies_in_the_stretch() {
        for size in [1u16, 2, 3, 7, 256] {
            let position = |number: u32| {
                let size = u32::from(size);
                at((number % size) as u16, (number / size).is_multiple_of(2))
            };
            for start in 0..3 * u32::from(size) {
                for steps in 1..=u32::from(size).min(9) {
                    for event in start.saturating_sub(u32::from(size) - 1)..=start + steps {
                        let passed = (start..start + steps).contains(&event);
                        let now = position(start + steps);
                        // A place that was passed a whole round ago looks like the one to come.
                        if event + u32::from(size) > start + steps {
                            let said = now.passed(position(event).pack(), position(start), size);
                            assert_eq!(said, passed, "{size}: {start}+{steps}, {event}");
                        }
                    }
                }
            }
        }
    }
}
