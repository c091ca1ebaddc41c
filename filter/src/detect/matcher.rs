//! Many patterns at once: which of a group's fast patterns stand in the bytes.
//!
//! Most bytes of traffic are in no pattern, so the search is a filter: of each pattern some bytes in a row are entered
//! in bitmaps by their hash, and only where bytes of the text hit these, patterns are compared. Of patterns of seven
//! bytes or more only every fourth place of the text is looked at ([`grams`]). For shorter ones every place is: they are
//! entered by four bytes, or by two ([`table`]), and [`super::shorts`] says of many places at once where it is worth to
//! look; where there are no more than [`FEW`] patterns, all are entered there. The windows are those that
//! ordinary traffic is least likely to have ([`super::commonness`]). Patterns that can only lie in a few places are not
//! searched for but looked for there ([`super::placed`]).
//!
//! The search keeps no state: to find patterns that began in earlier bytes it looks at as many bytes less one behind
//! the new ones as its longest pattern has. Windows are looked up with letters in either case; what is compared last is
//! the pattern as it is to stand there.
//!
//! Cost is in proportion to the text: patterns are entered where few others are, and no place is compared with more
//! than [`CROWD`] of them of each kind of window, or the set is refused and the caller does without a filter.

mod brief;
mod grams;
mod instructions;
mod table;
#[cfg(test)]
mod tests;

use super::fast::Area;
use super::placed::Placed;
use super::shorts::Shorts;
use super::shorts::wide::Wide;

use brief::{BRIEF, Pairs};
use grams::{Grams, Noted};
use instructions::{Instructions, Plain, Vectors};
use table::FOLDS;
pub use table::{CROWD, Entries, Table, hash, key, pairs_from};

/// Patterns up to which the filter in front of short ones serves all of them. No crowd of them is too large.
const FEW: usize = CROWD;
/// Bytes of text in a block: the places worth comparing are noted for all of it before the first is compared.
pub const BLOCK: usize = 256;
/// Bytes of a row, which are looked up at once.
pub const ROW: usize = 64;
/// Bytes that are loaded at a place, at most.
pub const LOAD: usize = 8;

/// A pattern to be searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern<'p> {
    /// In lower case where case does not count.
    pub bytes: &'p [u8],
    /// It may stand there in either case.
    pub caseless: bool,
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
    grams: Grams,
    /// Patterns of four to six bytes.
    fours: Table,
    /// Patterns of fewer.
    pairs: Table,
    /// There are patterns of fewer than seven bytes that are searched for.
    has_shorts: bool,
    /// In front of `fours` and `pairs` in texts of few bytes, where there are such patterns.
    pairs_of_shorts: Option<Box<Pairs>>,
    /// The same in others, where the processor can.
    shorts: Option<Box<[Shorts]>>,
    /// The same for larger vectors.
    wide: Option<Box<[Wide]>>,
    placed: Placed,
    vectors: Vectors,
}

/// The bytes of all patterns, one behind the other.
#[derive(Debug, Default)]
pub struct Literals {
    bytes: Vec<u8>,
    list: Vec<Literal>,
}

/// Where a pattern begins and ends.
#[derive(Clone, Copy, Debug)]
struct Literal {
    from: u32,
    to: u32,
    caseless: bool,
}

impl Literals {
    fn new(patterns: &[Pattern<'_>]) -> Literals {
        let mut literals = Literals::default();
        for pattern in patterns {
            let from = literals.bytes.len() as u32;
            literals.bytes.extend_from_slice(pattern.bytes);
            literals.list.push(Literal { from, to: literals.bytes.len() as u32, caseless: pattern.caseless });
        }
        literals
    }

    /// The end of a pattern that stands at `start` of `text` and ends behind `fresh`.
    #[inline]
    pub fn stands(&self, number: u32, text: &[u8], start: usize, fresh: usize) -> Option<usize> {
        let &Literal { from, to, caseless } = self.list.get(number as usize)?;
        let pattern = self.bytes.get(from as usize..to as usize)?;
        let end = start.checked_add(pattern.len())?;
        let there = text.get(start..end).filter(|_| end > fresh)?;
        let stands = if caseless { there.eq_ignore_ascii_case(pattern) } else { there == pattern };
        stands.then_some(end)
    }

    fn memory(&self) -> usize {
        self.bytes.capacity() + self.list.capacity() * size_of::<Literal>()
    }
}

impl Matcher {
    /// A search for `patterns`, numbered from 0. `None` where there are none, one is empty, or too many are alike.
    pub fn new(patterns: &[Pattern<'_>]) -> Option<Matcher> {
        Matcher::with_few(patterns, FEW, Vectors::best())
    }

    /// The same, where so many patterns are few, with these instructions.
    fn with_few(patterns: &[Pattern<'_>], few: usize, vectors: Vectors) -> Option<Matcher> {
        if patterns.is_empty() || patterns.iter().any(|pattern| pattern.bytes.is_empty()) {
            return None;
        }
        let (placed, searched) = Placed::new(patterns);
        let (mut grams, mut fours, mut pairs) = (grams::Entries::default(), Entries::default(), Entries::default());
        let mut short = Vec::new();
        let mut longest = 0;
        // A filter for few lets so little through that the windows of long patterns would only cost more.
        let few = searched.len() <= few && vectors.are_there();
        for &number in &searched {
            let Some(&Pattern { bytes, caseless, .. }) = patterns.get(number as usize) else { continue };
            longest = longest.max(bytes.len());
            let offset = match bytes.len() {
                grams::SHORTEST.. if !few => {
                    grams.enter(number, bytes);
                    continue;
                }
                4.. => fours.enter_one(number, bytes, 4),
                2.. => pairs.enter_one(number, bytes, 2),
                // One byte is entered with every byte that may follow it.
                _ => pairs.enter_byte(number, bytes),
            };
            // What is found by its last two bytes may have anything behind them.
            short.push((bytes.get(offset..bytes.len().min(offset + 4)).unwrap_or_default(), caseless));
        }
        let (fours, pairs) = (fours.table()?, pairs.table()?);
        Some(Matcher {
            has_shorts: !short.is_empty(),
            pairs_of_shorts: (!short.is_empty()).then(|| Pairs::of([&fours, &pairs])),
            shorts: vectors.are_small().then(|| Shorts::of_all(&short)).flatten(),
            wide: vectors.are_large().then(|| Wide::of_all(&short)).flatten(),
            literals: Literals::new(patterns),
            longest,
            grams: grams.tables()?,
            fours,
            pairs,
            placed,
            vectors,
        })
    }

    /// Tells `hit` each pattern that stands in `text` and ends behind `fresh`, by number, with the index behind its
    /// last byte; in no order. `starts` are the places that a pattern's area is counted from, each once.
    #[inline]
    pub fn scan(&self, text: &[u8], fresh: usize, starts: &[usize], mut hit: impl FnMut(usize, usize)) {
        self.look(text, fresh, starts, &mut hit);
    }

    /// The same, once for all: what is searched for differs, and the code should stay in the processor's cache.
    #[inline(never)]
    fn look(&self, text: &[u8], fresh: usize, starts: &[usize], hit: &mut dyn FnMut(usize, usize)) {
        self.placed.look(&self.literals, text, fresh, starts, hit);
        let first = fresh.saturating_sub(self.longest.saturating_sub(1));
        if first < text.len() && self.longest > 0 {
            let search = Searched { text, first, fresh };
            if text.len() - first <= BRIEF { self.search_briefly(search, hit) } else { self.search(search, hit) }
        }
    }

    /// With vector instructions where the processor has them.
    fn search(&self, search: Searched<'_>, hit: &mut dyn FnMut(usize, usize)) {
        match self.vectors {
            Vectors::None => self.run(search, Plain, hit),
            #[cfg(target_arch = "x86_64")]
            Vectors::V3(vectors) => vectors.vectorize(Search { matcher: self, search, instructions: vectors, hit }),
            #[cfg(target_arch = "x86_64")]
            Vectors::V4(vectors) => vectors.vectorize(Search { matcher: self, search, instructions: vectors, hit }),
        }
    }

    #[inline(always)]
    fn run(&self, search: Searched<'_>, instructions: impl Instructions, hit: &mut dyn FnMut(usize, usize)) {
        let mut padded = Padded { bytes: [0; BLOCK + LOAD], from: usize::MAX };
        if !self.grams.is_empty() {
            let (mut base, mut noted) = (search.first, Noted::new(search.first));
            while let Some((block, length)) = search.block(base, &mut padded) {
                if noted.is_full(base) {
                    self.grams.compare(&mut noted, &self.literals, search, hit);
                    noted = Noted::new(base);
                }
                let bits = instructions.grams(&self.grams, block, length.div_ceil(ROW));
                noted.add(base, bits & first_bits(length.div_ceil(4)));
                base += BLOCK;
            }
            self.grams.compare(&mut noted, &self.literals, search, hit);
        }
        if self.has_shorts {
            let mut base = search.first;
            while let Some(block) = search.block(base, &mut padded) {
                self.find_shorts(block, base, search, instructions, hit);
                base += BLOCK;
            }
        }
    }

    /// Finds the shorter patterns.
    #[inline(always)]
    fn find_shorts(
        &self,
        (block, length): (&[u8; BLOCK + LOAD], usize),
        base: usize,
        search: Searched<'_>,
        instructions: impl Instructions,
        hit: &mut dyn FnMut(usize, usize),
    ) {
        let mut noted = instructions.shorts(self, block, length);
        for (from, row) in (0..BLOCK).step_by(ROW).zip(&mut noted) {
            *row &= first_bits(length.saturating_sub(from));
        }
        if noted == [0; BLOCK / ROW] {
            return;
        }
        let has_pairs = !self.pairs.is_empty();
        let mut worth = Queue::default();
        for (from, mut row) in (0..BLOCK).step_by(ROW).zip(noted) {
            while row != 0 {
                let place = from + row.trailing_zeros() as usize;
                row &= row - 1;
                let key = load(block, place);
                worth.push_if(self.fours.may_have(key) | (has_pairs && self.pairs.may_have(key & 0xffff)), place);
            }
        }
        for place in worth.places() {
            let key = load(block, place);
            self.compare(&self.fours, key, base + place, search, hit);
            self.compare(&self.pairs, key & 0xffff, base + place, search, hit);
        }
    }

    /// Compares the patterns entered in a table with a key that stands at `at`.
    #[inline(never)]
    fn compare(&self, table: &Table, key: u32, at: usize, search: Searched<'_>, hit: &mut dyn FnMut(usize, usize)) {
        for entry in table.of(key).iter().filter(|entry| entry.key == key) {
            let Some(start) = entry.start(search.text, at) else { continue };
            if let Some(end) = self.literals.stands(entry.pattern, search.text, start, search.fresh) {
                hit(entry.pattern as usize, end);
            }
        }
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        let tables = [&self.fours, &self.pairs].map(Table::memory);
        let pairs = self.pairs_of_shorts.as_ref().map_or(0, |_| size_of::<Pairs>());
        self.literals.memory() + self.placed.memory() + self.grams.memory() + tables.iter().sum::<usize>() + pairs
    }
}

/// What is searched: from `first` on, for patterns that end behind `fresh`.
#[derive(Clone, Copy)]
struct Searched<'t> {
    text: &'t [u8],
    first: usize,
    fresh: usize,
}

/// The last bytes of a text with zeros behind them. What these seem to complete is compared with the text.
struct Padded {
    bytes: [u8; BLOCK + LOAD],
    /// Where in the text they begin.
    from: usize,
}

impl<'t> Searched<'t> {
    /// The block that begins at `base`, and how many of its bytes are text.
    #[inline(always)]
    fn block<'b>(self, base: usize, padded: &'b mut Padded) -> Option<(&'b [u8; BLOCK + LOAD], usize)>
    where
        't: 'b,
    {
        let rest = self.text.get(base..).filter(|rest| !rest.is_empty())?;
        if let Some(block) = rest.first_chunk() {
            return Some((block, BLOCK));
        }
        if padded.from != base {
            *padded = Padded { bytes: [0; BLOCK + LOAD], from: base };
            padded.bytes.get_mut(..rest.len()).into_iter().for_each(|to| to.copy_from_slice(rest));
        }
        Some((&padded.bytes, rest.len().min(BLOCK)))
    }
}

/// The four bytes at a place of a block, folded.
#[inline(always)]
fn load(block: &[u8; BLOCK + LOAD], place: usize) -> u32 {
    let four: Option<&[u8; 4]> = block.get(place..).and_then(<[u8]>::first_chunk);
    four.map_or(0, |&four| u32::from_le_bytes(four)) | FOLDS
}

/// The lowest `count` bits.
#[inline(always)]
pub fn first_bits(count: usize) -> u64 {
    if count < 64 { (1 << count) - 1 } else { u64::MAX }
}

/// Places of a block, collected without a branch.
struct Queue {
    places: [u8; BLOCK],
    count: usize,
}

impl Default for Queue {
    #[inline(always)]
    fn default() -> Queue {
        Queue { places: [0; BLOCK], count: 0 }
    }
}

impl Queue {
    #[inline(always)]
    fn push_if(&mut self, wanted: bool, place: usize) {
        self.places.get_mut(self.count).into_iter().for_each(|slot| *slot = place as u8);
        self.count += usize::from(wanted);
    }

    #[inline(always)]
    fn places(&self) -> impl Iterator<Item = usize> {
        self.places.iter().take(self.count).map(|&place| usize::from(place))
    }
}

/// A search with vector instructions.
#[cfg(target_arch = "x86_64")]
struct Search<'s, I> {
    matcher: &'s Matcher,
    search: Searched<'s>,
    instructions: I,
    hit: &'s mut dyn FnMut(usize, usize),
}

#[cfg(target_arch = "x86_64")]
impl<I: Instructions> pulp::NullaryFnOnce for Search<'_, I> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.matcher.run(self.search, self.instructions, self.hit);
    }
}
