//! Patterns that can only lie in a few places of a text: at its start, behind a header of known length.
//!
//! They are often short, and would be found everywhere if they were searched for. Instead the two bytes at each place
//! where one may begin are looked up; the cost of a text is that of a few loads, however long it is. The first [`NEAR`]
//! places, where most such patterns lie, are asked with vector instructions where the processor has them.
//!
//! Limits: a pattern that may begin in more than [`PLACES`] places is searched for like others, and so is one that
//! would make a place the [`SPOTS`]th, or that begins like [`CROWD`] others in the same place.

use super::matcher::{CROWD, Entries, Literals, Pattern, Table, first_bits, key, pairs_from};

/// Places in which one pattern may begin.
const PLACES: u32 = 32;
/// Places looked at in a text.
const SPOTS: usize = 96;

/// Places that are asked at once.
const NEAR: usize = 64;
/// Of them so many in one vector.
const LANES: usize = 8;

/// The patterns of one search that lie in a few places.
#[derive(Debug, Default)]
pub struct Placed {
    /// Places at which a pattern may begin, counted from the text's start; sorted.
    spots: Box<[Spot]>,
    /// By place and the two bytes there.
    table: Table,
    /// No pattern ends farther from the start than this.
    reach: usize,
    /// The first places, all at once.
    near: Option<Near>,
    /// Spots that lie there.
    near_spots: usize,
}

/// What the first places of a text are asked, each by itself; nothing begins where a mask is empty.
#[derive(Debug)]
struct Near {
    /// Of so many places each the masks of the byte there and of the one behind, up to the last that is asked.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
    masks: Vec<[[u32; LANES]; 2]>,
    #[cfg(target_arch = "x86_64")]
    vectors: pulp::x86::V3,
}

impl Near {
    /// `None` without vector instructions, or where a loop over the spots is as fast.
    #[cfg(target_arch = "x86_64")]
    fn new(spots: &[Spot]) -> Option<Near> {
        let vectors = pulp::x86::V3::try_new().filter(|_| spots.len() > LANES)?;
        let last = spots.iter().map(|spot| usize::from(spot.at)).max()?;
        let mut masks = vec![[[0; LANES]; 2]; last / LANES + 1];
        for spot in spots {
            let at = usize::from(spot.at);
            let Some(masks) = masks.get_mut(at / LANES) else { continue };
            for (masks, mask) in masks.iter_mut().zip([spot.first, spot.second]) {
                masks.get_mut(at % LANES).into_iter().for_each(|slot| *slot = mask);
            }
        }
        Some(Near { masks, vectors })
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn new(_spots: &[Spot]) -> Option<Near> {
        None
    }

    /// Of the places that are asked a bit each: whether a pattern may begin there. Nothing is said of those behind the text,
    /// which has so many bytes.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn likely(&self, text: &[u8; NEAR + LANES], length: usize) -> u64 {
        let masks = self.masks.get(..length.div_ceil(LANES)).unwrap_or(&self.masks);
        self.vectors.vectorize(Likely { masks, vectors: self.vectors, text })
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn likely(&self, _text: &[u8; NEAR + LANES], _length: usize) -> u64 {
        u64::MAX
    }
}

/// The question with vector instructions.
#[cfg(target_arch = "x86_64")]
struct Likely<'n> {
    masks: &'n [[[u32; LANES]; 2]],
    vectors: pulp::x86::V3,
    text: &'n [u8; NEAR + LANES],
}

#[cfg(target_arch = "x86_64")]
impl pulp::NullaryFnOnce for Likely<'_> {
    type Output = u64;

    #[inline(always)]
    fn call(self) -> u64 {
        use std::arch::x86_64::{__m128i, __m256i};
        let pulp::x86::V3 { avx, avx2, .. } = self.vectors;
        let masks = |masks: [u32; LANES]| pulp::cast::<[u32; LANES], __m256i>(masks);
        let lower = avx._mm256_set1_epi32(31);
        let bytes = |eight: u64| {
            let eight = pulp::cast::<[u64; 2], __m128i>([eight, 0]);
            avx2._mm256_and_si256(avx2._mm256_cvtepu8_epi32(eight), lower)
        };
        let eights = self.text.as_chunks::<LANES>().0;
        let mut likely = 0;
        let places = self.masks.iter().zip(eights).zip(eights.iter().skip(1));
        for (nth, ((&[first, second], &here), &behind)) in places.enumerate() {
            let (here, behind) = (u64::from_le_bytes(here), u64::from_le_bytes(behind));
            let first = avx2._mm256_srlv_epi32(masks(first), bytes(here));
            let second = avx2._mm256_srlv_epi32(masks(second), bytes(here >> 8 | behind << 56));
            let both = avx2._mm256_slli_epi32::<31>(avx2._mm256_and_si256(first, second));
            likely |= u64::from(avx._mm256_movemask_ps(avx._mm256_castsi256_ps(both)) as u8) << (nth * LANES);
        }
        likely
    }
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
        let near_spots = spots.partition_point(|spot| usize::from(spot.at) < NEAR);
        let near = Near::new(spots.get(..near_spots).unwrap_or_default());
        // No key has more than a crowd, so there is a table.
        let table = entries.close_table().unwrap_or_default();
        (Placed { spots: spots.into(), table, reach, near, near_spots }, others)
    }

    /// Tells `hit` each pattern that stands in its place from one of `starts` on and ends behind `fresh`.
    pub fn look(
        &self,
        literals: &Literals,
        text: &[u8],
        fresh: usize,
        starts: &[usize],
        hit: &mut dyn FnMut(usize, usize),
    ) {
        if self.spots.is_empty() {
            return;
        }
        for &start in starts {
            let Some(area) = text.get(start..).filter(|_| start + self.reach > fresh) else { continue };
            for at in self.worth_a_look(area).of() {
                let Some(key) = key_at(area, at) else { continue };
                for entry in self.table.of(key).iter().filter(|entry| entry.key == key) {
                    if let Some(end) = literals.stands(entry.pattern, text, start + at, fresh) {
                        hit(entry.pattern as usize, end);
                    }
                }
            }
        }
    }

    /// The places of a text where a pattern may begin: first the bytes are asked, then the table.
    #[inline]
    fn worth_a_look(&self, area: &[u8]) -> Places {
        let mut worth = Places::default();
        let mut from = 0;
        if let Some(near) = &self.near {
            from = self.near_spots;
            let mut padded;
            let mut places = match area.first_chunk() {
                Some(text) => near.likely(text, text.len()),
                None => {
                    padded = [0; NEAR + LANES];
                    padded.get_mut(..area.len()).into_iter().for_each(|to| to.copy_from_slice(area));
                    near.likely(&padded, area.len()) & first_bits(area.len())
                }
            };
            while places != 0 {
                let at = places.trailing_zeros() as usize;
                places &= places - 1;
                worth.push_if(self.table.may_have(key_at(area, at).unwrap_or(0)), at);
            }
        }
        for spot in self.spots.get(from..).unwrap_or_default() {
            let at = usize::from(spot.at);
            let Some(&byte) = area.get(at) else { break };
            let next = area.get(at + 1).copied().unwrap_or(0);
            if (spot.first & bit(byte) != 0) & (spot.second & bit(next) != 0) {
                worth.push_if(self.table.may_have(key_at(area, at).unwrap_or(0)), at);
            }
        }
        worth
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        let near = self.near.as_ref().map_or(0, |near| near.masks.capacity() * size_of::<[[u32; LANES]; 2]>());
        size_of_val::<[Spot]>(&self.spots) + self.table.memory() + near
    }
}

/// The key of what stands at a place of a text; `None` behind its end.
#[inline(always)]
fn key_at(area: &[u8], at: usize) -> Option<u32> {
    let (&byte, next) = (area.get(at)?, area.get(at + 1).copied().unwrap_or(0));
    Some(at_spot(at as u16, key(&[byte, next])))
}

/// Places of a text, collected without a branch.
struct Places {
    list: [u16; SPOTS],
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
    fn push_if(&mut self, wanted: bool, at: usize) {
        self.list.get_mut(self.count).into_iter().for_each(|slot| *slot = at as u16);
        self.count += usize::from(wanted);
    }

    #[inline(always)]
    fn of(&self) -> impl Iterator<Item = usize> {
        self.list.iter().take(self.count).map(|&at| usize::from(at))
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
