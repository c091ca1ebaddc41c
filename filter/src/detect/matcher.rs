//! Many patterns at once: which of a group's fast patterns stand in the bytes.
//!
//! Most bytes of traffic are in no pattern, so the search is a filter: of each pattern some bytes in a row are entered
//! in bitmaps by their hash ([`table`]), and only where bytes of the text hit these, patterns are compared. Patterns of
//! seven bytes or more are entered by four windows of four bytes, one for each remainder of its place by four, so that
//! only every fourth place of the text is looked at. For shorter ones every place is: they are entered by four bytes, or
//! by two, and [`super::shorts`] says of many places at once where it is worth to look. The windows are those that
//! ordinary traffic is least likely to have ([`super::commonness`]). Patterns that can only lie in a few places are not
//! searched for but looked for there ([`super::placed`]).
//!
//! The search keeps no state: to find patterns that began in earlier bytes it looks at as many bytes less one behind
//! the new ones as its longest pattern has. Letters match in either case; verification looks closer.
//!
//! Cost is in proportion to the text: patterns are entered where few others are, and no place is compared with more
//! than [`CROWD`] of them of each kind of window, or the set is refused and the caller does without a filter.

mod table;
#[cfg(test)]
mod tests;

use super::fast::Area;
use super::placed::Placed;
use super::shorts::{Places, Shorts};

pub use table::{CROWD, Entries, FOLD, Table, hash, key, pairs_from};
use table::{FOLDS, LARGE, MIDDLE, SMALL, index_bits};

/// Bytes of text in a block: the places worth comparing are noted for all of it before the first is compared.
pub const BLOCK: usize = 256;
/// Places in a block at which bytes are loaded, and how many at each.
const WORDS: usize = BLOCK / 4;
/// Bytes that are looked up at a time.
const ROW: usize = 64;
pub const LOAD: usize = 8;
/// Patterns of so many bytes have four windows of four.
const GRAMS: usize = 7;

/// A pattern to be searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern<'p> {
    /// In lower case.
    pub bytes: &'p [u8],
    /// Where it must lie in a text.
    pub area: Area,
}

/// The search for one group's patterns.
#[derive(Debug)]
pub struct Matcher {
    literals: Literals,
    /// Bytes of the longest pattern that is searched for.
    longest: usize,
    /// Patterns of seven bytes or more, at every fourth place.
    grams: Table,
    /// Patterns of four to six bytes.
    fours: Table,
    /// Patterns of fewer.
    pairs: Table,
    /// In front of `fours` and `pairs`, where the processor can.
    shorts: Option<Box<[Shorts]>>,
    placed: Placed,
    #[cfg(target_arch = "x86_64")]
    vectors: Option<pulp::x86::V3>,
}

/// The bytes of all patterns, one behind the other.
#[derive(Debug, Default)]
pub struct Literals {
    bytes: Vec<u8>,
    /// Where each pattern begins and ends.
    bounds: Vec<(u32, u32)>,
}

impl Literals {
    fn new(patterns: &[Pattern<'_>]) -> Literals {
        let mut literals = Literals::default();
        for pattern in patterns {
            let start = literals.bytes.len() as u32;
            literals.bytes.extend_from_slice(pattern.bytes);
            literals.bounds.push((start, literals.bytes.len() as u32));
        }
        literals
    }

    /// A pattern by its number.
    #[inline]
    pub fn get(&self, number: u32) -> &[u8] {
        let bounds = self.bounds.get(number as usize);
        bounds.and_then(|&(from, to)| self.bytes.get(from as usize..to as usize)).unwrap_or_default()
    }

    /// The end of a pattern that stands at `start` of `text` and ends behind `fresh`.
    #[inline]
    pub fn stands(&self, number: u32, text: &[u8], start: usize, fresh: usize) -> Option<usize> {
        let pattern = self.get(number);
        let end = start.checked_add(pattern.len())?;
        let there = text.get(start..end).filter(|_| end > fresh)?;
        there.eq_ignore_ascii_case(pattern).then_some(end)
    }

    fn memory(&self) -> usize {
        self.bytes.capacity() + self.bounds.capacity() * size_of::<(u32, u32)>()
    }
}

impl Matcher {
    /// A search for `patterns`, numbered from 0. `None` where there are none, one is empty, or too many are alike.
    pub fn new(patterns: &[Pattern<'_>]) -> Option<Matcher> {
        if patterns.is_empty() || patterns.iter().any(|pattern| pattern.bytes.is_empty()) {
            return None;
        }
        let (placed, searched) = Placed::new(patterns);
        let (mut grams, mut fours, mut pairs) = (Entries::default(), Entries::default(), Entries::default());
        let mut short = Vec::new();
        let mut longest = 0;
        for &number in &searched {
            let Some(Pattern { bytes, .. }) = patterns.get(number as usize) else { continue };
            longest = longest.max(bytes.len());
            let offset = match bytes.len() {
                GRAMS.. => {
                    grams.enter_four(number, bytes);
                    continue;
                }
                4.. => fours.enter_one(number, bytes, 4),
                2.. => pairs.enter_one(number, bytes, 2),
                // One byte is entered with every byte that may follow it.
                _ => pairs.enter_byte(number, bytes),
            };
            // What is found by its last two bytes may have anything behind them.
            short.push(bytes.get(offset..bytes.len().min(offset + 4)).unwrap_or_default());
        }
        Some(Matcher {
            shorts: Shorts::of_all(&short),
            literals: Literals::new(patterns),
            longest,
            grams: grams.table()?,
            fours: fours.table()?,
            pairs: pairs.table()?,
            placed,
            #[cfg(target_arch = "x86_64")]
            vectors: pulp::x86::V3::try_new(),
        })
    }

    /// Tells `hit` each pattern that stands in `text` and ends behind `fresh`, by number, with the index behind its
    /// last byte; in no order. `starts` are the places that a pattern's area is counted from, each once.
    #[inline]
    pub fn scan(&self, text: &[u8], fresh: usize, starts: &[usize], mut hit: impl FnMut(usize, usize)) {
        self.placed.look(&self.literals, text, fresh, starts, &mut hit);
        let first = fresh.saturating_sub(self.longest.saturating_sub(1));
        let area = text.get(first..).unwrap_or(&[]);
        let search = Searched { text, first, fresh };
        match (self.grams.is_empty(), self.fours.is_empty() && self.pairs.is_empty()) {
            (true, true) => {}
            (false, true) => self.run::<true, false>(area, search, &mut hit),
            (true, false) => self.run::<false, true>(area, search, &mut hit),
            (false, false) => self.run::<true, true>(area, search, &mut hit),
        }
    }

    fn run<const GRAMS: bool, const SHORTS: bool>(
        &self,
        area: &[u8],
        search: Searched<'_>,
        hit: &mut impl FnMut(usize, usize),
    ) {
        let mut at = 0;
        while let Some(rest) = area.get(at..).filter(|rest| !rest.is_empty()) {
            let mut padded;
            let (block, words) = match rest.first_chunk() {
                Some(block) => (block, WORDS),
                // The last bytes have zeros behind them; what these seem to complete is compared with the text.
                None => {
                    padded = [0; BLOCK + LOAD];
                    padded.iter_mut().zip(rest).for_each(|(to, &from)| *to = from);
                    (&padded, rest.len().div_ceil(4).min(WORDS))
                }
            };
            if GRAMS {
                let mut noted = self.note_grams(block, words);
                while noted != 0 {
                    let place = 4 * noted.trailing_zeros() as usize;
                    noted &= noted - 1;
                    let key = load(block, place);
                    if self.grams.may_have_more(key) {
                        self.compare(&self.grams, key, at + place, search, hit);
                    }
                }
            }
            if SHORTS {
                for (nth, mut noted) in self.note_shorts(block, 4 * words).into_iter().enumerate() {
                    while noted != 0 {
                        let place = 32 * nth + noted.trailing_zeros() as usize;
                        noted &= noted - 1;
                        let key = load(block, place);
                        if self.fours.may_have(key) {
                            self.compare(&self.fours, key, at + place, search, hit);
                        }
                        if self.pairs.may_have(key & 0xffff) {
                            self.compare(&self.pairs, key & 0xffff, at + place, search, hit);
                        }
                    }
                }
            }
            at += BLOCK;
        }
    }

    /// Of the first `words` words of a block a bit each: whether a pattern may be entered for it.
    #[inline(always)]
    fn note_grams(&self, block: &[u8; BLOCK + LOAD], words: usize) -> u64 {
        let bits = self.grams.bits.as_slice();
        let noted = if let Some(bits) = bits.first_chunk::<LARGE>() {
            self.run_note(NoteGrams { bits, block, words })
        } else if let Some(bits) = bits.first_chunk::<MIDDLE>() {
            self.run_note(NoteGrams { bits, block, words })
        } else {
            bits.first_chunk::<SMALL>().map_or(0, |bits| self.run_note(NoteGrams { bits, block, words }))
        };
        // What is behind the text is nothing.
        if words < WORDS { noted & ((1 << words) - 1) } else { noted }
    }

    /// With vector instructions where the processor has them.
    #[inline(always)]
    fn run_note<const N: usize>(&self, note: NoteGrams<'_, N>) -> u64 {
        #[cfg(target_arch = "x86_64")]
        if let Some(vectors) = self.vectors {
            return vectors.vectorize(note);
        }
        note.look()
    }

    /// Of the first `places` places of a block a bit each: whether a short pattern may be entered for it.
    #[inline(always)]
    fn note_shorts(&self, block: &[u8; BLOCK + LOAD], places: usize) -> Places {
        let mut noted = Places::default();
        if let Some(shorts) = &self.shorts {
            for shorts in shorts {
                let some = shorts.note(block, places);
                noted.iter_mut().zip(some).for_each(|(noted, some)| *noted |= some);
            }
            return noted;
        }
        for (nth, noted) in noted.iter_mut().enumerate().take(places.div_ceil(32)) {
            for bit in 0..32 {
                let key = load(block, 32 * nth + bit);
                *noted |= u32::from(self.fours.may_have(key) || self.pairs.may_have(key & 0xffff)) << bit;
            }
        }
        noted
    }

    /// Compares the patterns entered in a table with a key that stands at `at` of the area.
    #[inline(never)]
    fn compare(&self, table: &Table, key: u32, at: usize, search: Searched<'_>, hit: &mut impl FnMut(usize, usize)) {
        let at = search.first + at;
        for entry in table.of(key).iter().filter(|entry| entry.key == key) {
            let Some(start) = entry.start(search.text, at) else { continue };
            if let Some(end) = self.literals.stands(entry.pattern, search.text, start, search.fresh) {
                hit(entry.pattern as usize, end);
            }
        }
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        let tables = [&self.grams, &self.fours, &self.pairs].map(Table::memory);
        self.literals.memory() + self.placed.memory() + tables.iter().sum::<usize>()
    }
}

/// What is searched: from `first` on, for patterns that end behind `fresh`.
#[derive(Clone, Copy)]
struct Searched<'t> {
    text: &'t [u8],
    first: usize,
    fresh: usize,
}

/// The four bytes at a place of a block, folded.
#[inline(always)]
fn load(block: &[u8; BLOCK + LOAD], place: usize) -> u32 {
    let four: Option<&[u8; 4]> = block.get(place..).and_then(<[u8]>::first_chunk);
    four.map_or(0, |&four| u32::from_le_bytes(four)) | FOLDS
}

/// Looks up the words of a block in a bitmap of `N` words. There is no branch: that cannot be foretold.
struct NoteGrams<'n, const N: usize> {
    bits: &'n [u32; N],
    block: &'n [u8; BLOCK + LOAD],
    words: usize,
}

impl<const N: usize> NoteGrams<'_, N> {
    #[inline(always)]
    fn look(self) -> u64 {
        let mut noted = 0;
        let rows = self.block.as_chunks::<ROW>().0.iter().take(self.words.div_ceil(ROW / 4));
        for (nth, row) in rows.enumerate() {
            let mut places = [0; ROW / 4];
            for (place, word) in places.iter_mut().zip(row.as_chunks::<4>().0) {
                *place = hash(u32::from_le_bytes(*word) | FOLDS) >> (32 - index_bits(N));
            }
            let row = places.iter().rev().fold(0, |noted, place| {
                let word = self.bits.get((place >> 5) as usize & (N - 1)).copied().unwrap_or(0);
                noted << 1 | u64::from(word >> (place & 31) & 1)
            });
            noted |= row << (ROW / 4 * nth);
        }
        noted
    }
}

#[cfg(target_arch = "x86_64")]
impl<const N: usize> pulp::NullaryFnOnce for NoteGrams<'_, N> {
    type Output = u64;

    #[inline(always)]
    fn call(self) -> u64 {
        self.look()
    }
}
