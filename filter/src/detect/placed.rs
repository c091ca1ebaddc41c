//! Patterns that can only lie in a few places of a text: at its start, behind a header of known length.
//!
//! They are often short, and would be found everywhere if they were searched for. Instead the two bytes at each place
//! where one may begin are looked up; the cost of a text is that of a few loads, however long it is.
//!
//! Limits: a pattern that may begin in more than [`PLACES`] places is searched for like others, and so is one that
//! would make a place the [`SPOTS`]th, or that begins like [`CROWD`] others in the same place.

use super::matcher::{CROWD, Entries, Literals, Pattern, Table, key, pairs_from};

/// Places in which one pattern may begin.
const PLACES: u32 = 32;
/// Places looked at in a text.
const SPOTS: usize = 96;

/// The patterns of one search that lie in a few places.
#[derive(Debug, Default)]
pub struct Placed {
    /// Places at which a pattern may begin, counted from the text's start; sorted.
    spots: Box<[Spot]>,
    /// By place and the two bytes there.
    table: Table,
    /// No pattern ends farther from the start than this.
    reach: usize,
}

/// A place at which patterns may begin.
#[derive(Clone, Copy, Debug)]
struct Spot {
    at: u16,
    /// The lower five bits of bytes that they begin with, and of those behind.
    first: u32,
    second: u32,
}

/// The bit that a byte has among the lower five bits of bytes, in either case.
#[inline(always)]
fn bit(byte: u8) -> u32 {
    1 << (byte & 31)
}

impl Placed {
    /// Takes those of `patterns` that lie in few places; gives the numbers of the others.
    pub fn new(patterns: &[Pattern<'_>]) -> (Placed, Vec<u32>) {
        let (mut entries, mut spots, mut others) = (Entries::default(), Vec::<Spot>::new(), Vec::new());
        let mut reach = 0;
        for (number, pattern) in (0u32..).zip(patterns) {
            let Some(places) = places(pattern) else {
                others.push(number);
                continue;
            };
            let pairs = pairs_from(pattern.bytes);
            let keys = || places.clone().flat_map(|spot| pairs.iter().map(move |&pair| at_spot(spot, pair)));
            let fresh = places.clone().filter(|&at| !spots.iter().any(|spot| spot.at == at)).count();
            if spots.len() + fresh > SPOTS || keys().any(|key| entries.crowd(key) >= CROWD) {
                others.push(number);
                continue;
            }
            keys().for_each(|key| entries.enter(key, number));
            for at in places {
                reach = reach.max(usize::from(at) + pattern.bytes.len());
                let known = spots.iter().position(|spot| spot.at == at).unwrap_or_else(|| {
                    spots.push(Spot { at, first: 0, second: 0 });
                    spots.len() - 1
                });
                if let Some(spot) = spots.get_mut(known) {
                    spot.first |= pattern.bytes.first().map_or(u32::MAX, |&byte| bit(byte));
                    spot.second |= pattern.bytes.get(1).map_or(u32::MAX, |&byte| bit(byte));
                }
            }
        }
        spots.sort_unstable_by_key(|spot| spot.at);
        // No key has more than a crowd, so there is a table.
        let table = entries.table().unwrap_or_default();
        (Placed { spots: spots.into(), table, reach }, others)
    }

    /// Tells `hit` each pattern that stands in its place from one of `starts` on and ends behind `fresh`.
    #[inline]
    pub fn look(
        &self,
        literals: &Literals,
        text: &[u8],
        fresh: usize,
        starts: &[usize],
        hit: &mut impl FnMut(usize, usize),
    ) {
        if self.spots.is_empty() {
            return;
        }
        for &start in starts {
            let Some(area) = text.get(start..).filter(|_| start + self.reach > fresh) else { continue };
            for entry_at in self.worth_a_look(area).of() {
                let Some((at, key)) = self.key_at(area, entry_at) else { continue };
                for entry in self.table.of(key).iter().filter(|entry| entry.key == key) {
                    if let Some(end) = literals.stands(entry.pattern, text, start + at, fresh) {
                        hit(entry.pattern as usize, end);
                    }
                }
            }
        }
    }

    /// The place of a spot in a text, and the key of what stands there; `None` behind the text's end.
    #[inline(always)]
    fn key_at(&self, area: &[u8], spot: usize) -> Option<(usize, u32)> {
        let spot = self.spots.get(spot)?;
        let at = usize::from(spot.at);
        let (&byte, next) = (area.get(at)?, area.get(at + 1).copied().unwrap_or(0));
        Some((at, at_spot(spot.at, key(&[byte, next]))))
    }

    /// The spots of a text where a pattern may begin. What stands there cannot be foretold, so that there is no branch by
    /// it: first the bytes are asked, then the table.
    #[inline]
    fn worth_a_look(&self, area: &[u8]) -> Places {
        let (mut likely, mut worth) = (Places::default(), Places::default());
        for (nth, spot) in self.spots.iter().enumerate() {
            let at = usize::from(spot.at);
            let Some(&byte) = area.get(at) else { break };
            let next = area.get(at + 1).copied().unwrap_or(0);
            likely.push_if((spot.first & bit(byte) != 0) & (spot.second & bit(next) != 0), nth);
        }
        for nth in likely.of() {
            let key = self.key_at(area, nth).map_or(0, |(_, key)| key);
            worth.push_if(self.table.may_have(key), nth);
        }
        worth
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        size_of_val::<[Spot]>(&self.spots) + self.table.memory()
    }
}

/// Numbers of spots, collected without a branch.
struct Places {
    list: [u8; SPOTS],
    count: usize,
}

impl Default for Places {
    #[inline(always)]
    fn default() -> Places {
        Places { list: [0; SPOTS], count: 0 }
    }
}

impl Places {
    #[inline(always)]
    fn push_if(&mut self, wanted: bool, spot: usize) {
        self.list.get_mut(self.count).into_iter().for_each(|slot| *slot = spot as u8);
        self.count += usize::from(wanted);
    }

    #[inline(always)]
    fn of(&self) -> impl Iterator<Item = usize> {
        self.list.iter().take(self.count).map(|&spot| usize::from(spot))
    }
}

fn at_spot(spot: u16, pair: u32) -> u32 {
    u32::from(spot) << 16 | pair & 0xffff
}

/// Whether a pattern may begin in few places only.
pub fn is_placed(pattern: &Pattern<'_>) -> bool {
    places(pattern).is_some()
}

/// The places at which a pattern may begin, where they are few.
fn places(pattern: &Pattern<'_>) -> Option<std::ops::RangeInclusive<u16>> {
    let length = u32::try_from(pattern.bytes.len()).ok()?;
    let last = pattern.area.to.checked_sub(length)?;
    let count = last.checked_sub(pattern.area.from)?.checked_add(1)?;
    let (first, last) = (u16::try_from(pattern.area.from).ok()?, u16::try_from(last).ok()?);
    (count <= PLACES).then_some(first..=last)
}
