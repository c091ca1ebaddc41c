//! Patterns of seven bytes or more, by the hashes of few of their bytes, at every fourth place of a text.
//!
//! Of each pattern four windows of four bytes are entered, one for each remainder of its place by four, so that wherever
//! the pattern stands, one of its windows stands where the search looks. What says that no window stands at a place lies
//! close: two bits of one word in a table that leaves room in the first cache. Ordinary traffic has many of the windows
//! all the same, so a window is entered with the two bytes behind and before it as well, where there are, and only where all
//! six or eight stand an entry is read and its pattern compared.

use super::table::{Anchor, FOLDS, hash, key};
use super::{BLOCK, LOAD, Literals, ROW, Searched};
use crate::detect::commonness;

/// Bytes of a pattern at least.
pub const SHORTEST: usize = 7;
/// Patterns that share six bytes at most.
const CROWD: usize = super::CROWD;
/// Bytes of a pattern among which windows are chosen.
const CHOICE: usize = 256;
/// Words of the second table.
const SIXES: [usize; 2] = [64, 1 << 14];
/// Words of the first table: so many that few of their bits are set, but no more than the first cache has room for.
pub const SIZES: [usize; 3] = [128, 1024, 4096];
/// Places of a row.
pub const PLACES: usize = ROW / 4;
/// Bits by which patterns that share a window are counted.
const CROWD_BITS: u32 = 14;

/// The windows of all patterns.
#[derive(Debug, Default)]
pub struct Grams {
    /// Of each window two bits of a word are set.
    bits: Vec<u32>,
    /// Of each hash of six or eight bytes two bits of the word that its window chooses: what a place is asked about lies
    /// in one line.
    sixes: Vec<u64>,
    /// Where the entries of each bucket start; one more than there are buckets.
    starts: Vec<u32>,
    shift: u32,
    entries: Vec<Entry>,
}

/// A window of a pattern.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Of the six or eight bytes.
    hash: u32,
    pattern: u32,
    /// Where the window begins in the pattern.
    anchor: Anchor,
}

/// Eight bytes, folded: a window between the two before and the two behind it.
#[derive(Clone, Copy)]
struct Around(u64);

impl Around {
    /// What stands around the window at `at`; bytes beyond the text's ends count as zeros.
    #[inline(always)]
    fn of(text: &[u8], at: usize) -> Around {
        let eight: Option<&[u8; 8]> = at.checked_sub(2).and_then(|from| text.get(from..)).and_then(<[u8]>::first_chunk);
        match eight {
            Some(&eight) => Around::folded(eight),
            None => Around::at_an_end(text, at),
        }
    }

    #[cold]
    fn at_an_end(text: &[u8], at: usize) -> Around {
        let mut eight = [0; 8];
        for (nth, byte) in eight.iter_mut().enumerate() {
            *byte = (at + nth).checked_sub(2).and_then(|place| text.get(place)).copied().unwrap_or(0);
        }
        Around::folded(eight)
    }

    #[inline(always)]
    fn folded(eight: [u8; 8]) -> Around {
        Around(u64::from_le_bytes(eight) | u64::from(FOLDS) << 32 | u64::from(FOLDS))
    }

    /// The word of the second table, of so many.
    #[inline(always)]
    fn word(self, words: usize) -> usize {
        let window = (self.0 >> 16) as u32;
        (window.wrapping_mul(0xc2b2_ae35) >> 16) as usize & words.wrapping_sub(1)
    }

    /// The hashes by which a pattern may be entered.
    #[inline(always)]
    fn hashes(self) -> [u32; 3] {
        [self.whole(), self.before(), self.behind()]
    }

    /// The hash of the window with the bytes before it.
    #[inline(always)]
    fn before(self) -> u32 {
        ((self.0 << 16).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
    }

    /// The hash of the window with the bytes on both sides.
    #[inline(always)]
    fn whole(self) -> u32 {
        (self.0.wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32) as u32
    }

    /// The hash of the window with the bytes behind it.
    #[inline(always)]
    fn behind(self) -> u32 {
        ((self.0 & !0xffff).wrapping_mul(0xc2b2_ae3d_27d4_eb4f) >> 32) as u32
    }
}

/// Two bits of a word of the second table.
#[inline(always)]
fn pair(hash: u32) -> u64 {
    1 << (hash >> 26) | 1 << (hash >> 20 & 63)
}

/// Word of the first table, and bits in it, of a key.
#[inline(always)]
fn place(key: u32, words: usize) -> (u32, u32) {
    let hash = hash(key);
    let (index, first) = (hash >> (32 - words.ilog2()), hash >> (27 - words.ilog2()) & 31);
    (index, 1 << first | 1 << (key.wrapping_mul(0x85eb_ca6b) >> 27))
}

impl Grams {
    /// No pattern is entered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Of the words of a block's first `rows` rows a bit each: whether a window may be entered for it. Each size is written
    /// out: what a library function calls may be compiled apart, without the caller's vector instructions.
    #[inline(always)]
    pub fn note(
        &self,
        block: &[u8; BLOCK + LOAD],
        rows: usize,
        equal: impl Fn([u32; PLACES], [u32; PLACES]) -> u64,
    ) -> u64 {
        let bits = self.bits.as_slice();
        if let Some(bits) = bits.first_chunk::<{ SIZES[2] }>() {
            note(bits, block, rows, equal)
        } else if let Some(bits) = bits.first_chunk::<{ SIZES[1] }>() {
            note(bits, block, rows, equal)
        } else if let Some(bits) = bits.first_chunk::<{ SIZES[0] }>() {
            note(bits, block, rows, equal)
        } else {
            0
        }
    }

    /// Whether a window may be entered for a word.
    #[inline(always)]
    pub fn may_have(&self, key: u32) -> bool {
        let (index, mask) = place(key, self.bits.len().max(2));
        self.bits.get(index as usize).is_some_and(|word| word & mask == mask)
    }

    /// Compares the patterns that have a window at a place, with what stands around it.
    pub fn compare_one(&self, at: usize, literals: &Literals, search: Searched<'_>, hit: &mut dyn FnMut(usize, usize)) {
        let ways = self.ways(search.text, at);
        if ways != 0 {
            self.compare_at(at, ways, literals, search, hit);
        }
    }

    /// Under which of its three hashes a pattern may be entered for a window that stands at `at`, a bit each.
    #[inline(always)]
    fn ways(&self, text: &[u8], at: usize) -> u8 {
        let around = Around::of(text, at);
        let word = self.sixes.get(around.word(self.sixes.len())).copied().unwrap_or(0);
        // All are asked: which one says no cannot be foretold.
        let [whole, before, behind] = around.hashes().map(|hash| u8::from(word & pair(hash) == pair(hash)));
        whole | before << 1 | behind << 2
    }

    /// Compares the patterns that have a window at one of the noted places, with what stands around it.
    #[inline(always)]
    pub fn compare(
        &self,
        noted: &mut Noted,
        literals: &Literals,
        search: Searched<'_>,
        hit: &mut dyn FnMut(usize, usize),
    ) {
        let mut worth = 0;
        for nth in 0..noted.count {
            let place = noted.places.get(nth).copied().unwrap_or(0);
            let ways = self.ways(search.text, noted.from + 4 * usize::from(place));
            // Kept in front of those that are still to be asked.
            noted.places.get_mut(worth).into_iter().for_each(|slot| *slot = place << 3 | u16::from(ways));
            worth += usize::from(ways != 0);
        }
        for &place in noted.places.iter().take(worth) {
            self.compare_at(noted.from + 4 * usize::from(place >> 3), place as u8 & 7, literals, search, hit);
        }
    }

    #[inline(never)]
    fn compare_at(
        &self,
        at: usize,
        mut ways: u8,
        literals: &Literals,
        search: Searched<'_>,
        hit: &mut dyn FnMut(usize, usize),
    ) {
        let hashes = Around::of(search.text, at).hashes();
        while let Some(&hash) = hashes.get(ways.trailing_zeros() as usize) {
            ways &= ways - 1;
            let bounds = self.starts.get((hash >> self.shift) as usize..).and_then(<[u32]>::first_chunk::<2>);
            let entries = bounds.and_then(|&[from, to]| self.entries.get(from as usize..to as usize));
            for entry in entries.unwrap_or_default().iter().filter(|entry| entry.hash == hash) {
                let Some(start) = entry.anchor.start(search.text, at) else { continue };
                if let Some(end) = literals.stands(entry.pattern, search.text, start, search.fresh) {
                    hit(entry.pattern as usize, end);
                }
            }
        }
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        (self.bits.len() + 2 * self.sixes.len() + self.starts.len()) * 4 + self.entries.capacity() * size_of::<Entry>()
    }
}

/// Places of a text at which the first table has a window. They are asked further many at a time, so that what has to
/// come from farther caches comes at once, and no branch hangs on it.
pub struct Noted {
    /// In words behind `from`.
    places: [u16; NOTED + ROOM],
    count: usize,
    from: usize,
}

/// Places that are noted before they are asked.
const NOTED: usize = 64;
/// Places that a block adds at most, and those that are written without need.
const ROOM: usize = BLOCK / 4 + STEP;
/// Places that are written at once.
const STEP: usize = 4;
/// Bytes of text from the first block to the last of which places are noted.
const REACH: usize = 4 << 12;

impl Noted {
    /// Of a text from `from` on.
    #[inline(always)]
    pub fn new(from: usize) -> Noted {
        Noted { places: [0; NOTED + ROOM], count: 0, from }
    }

    /// Adds those of a block that begins at `base`, [`REACH`] behind the first at most: a bit each for every fourth.
    #[inline(always)]
    pub fn add(&mut self, base: usize, mut bits: u64) {
        let (mut at, words) = (self.count, ((base - self.from) / 4) as u16);
        self.count += bits.count_ones() as usize;
        // How many there are cannot be foretold; that they are few can.
        while let Some(slots) = self.places.get_mut(at..).and_then(<[u16]>::first_chunk_mut::<STEP>) {
            for slot in slots {
                *slot = words.wrapping_add(bits.trailing_zeros() as u16);
                bits &= bits.wrapping_sub(1);
            }
            if bits == 0 {
                break;
            }
            at += STEP;
        }
    }

    /// They are to be asked before those of a block that begins at `base` are added.
    #[inline(always)]
    pub fn is_full(&self, base: usize) -> bool {
        self.count >= NOTED || base - self.from > REACH
    }
}

/// Looks up the words of a block in a table of `N` words. There is no branch: that cannot be foretold.
#[inline(always)]
fn note<const N: usize>(
    bits: &[u32; N],
    block: &[u8; BLOCK + LOAD],
    rows: usize,
    equal: impl Fn([u32; PLACES], [u32; PLACES]) -> u64,
) -> u64 {
    let mut noted = 0;
    for (nth, row) in block.as_chunks::<ROW>().0.iter().take(rows).enumerate() {
        let (mut words, mut masks) = ([0; PLACES], [0; PLACES]);
        for ((index, mask), four) in words.iter_mut().zip(&mut masks).zip(row.as_chunks::<4>().0) {
            (*index, *mask) = place(u32::from_le_bytes(*four) | FOLDS, N);
        }
        // By way of memory: to take the indices out of a vector one by one costs more.
        let mut words = std::hint::black_box(words);
        for word in &mut words {
            *word = bits.get(*word as usize & (N - 1)).copied().unwrap_or(0);
        }
        for (word, mask) in words.iter_mut().zip(&masks) {
            *word &= mask;
        }
        noted |= equal(words, masks) << (PLACES * nth);
    }
    noted
}

/// Windows on their way into the tables.
#[derive(Default)]
pub struct Entries {
    list: Vec<(u32, Entry)>,
    /// How many patterns have each window, by its hash: where that is another's too, more.
    crowds: Vec<u16>,
}

impl Entries {
    fn crowd(&mut self, window: &[u8]) -> Option<&mut u16> {
        if self.crowds.is_empty() {
            self.crowds = vec![0; 1 << CROWD_BITS];
        }
        self.crowds.get_mut((hash(key(window)) >> (32 - CROWD_BITS)) as usize)
    }

    /// Enters a pattern of [`SHORTEST`] bytes or more: for each remainder the window that traffic and other patterns
    /// have least.
    pub fn enter(&mut self, number: u32, pattern: &[u8]) {
        let choice = pattern.get(..CHOICE).unwrap_or(pattern);
        let last = choice.len().saturating_sub(4);
        for remainder in 0..4 {
            let mut best = (u32::MAX, remainder);
            for at in (remainder..=last).step_by(4) {
                let window = choice.get(at..at + 4).unwrap_or_default();
                let crowd = self.crowd(window).map_or(0, |crowd| u32::from(*crowd));
                best = best.min((crowd * 16 + commonness::in_prose(window), at));
            }
            let at = best.1;
            let window = choice.get(at..at + 4).unwrap_or_default();
            self.crowd(window).into_iter().for_each(|crowd| *crowd = crowd.saturating_add(1));
            let around = Around::of(choice, at);
            // One of the two is there, since there are seven bytes.
            let hash = match (at.checked_sub(2), choice.len() >= at + 6) {
                (Some(_), true) => around.whole(),
                (Some(_), false) => around.before(),
                (None, _) => around.behind(),
            };
            self.list.push((key(window), Entry { hash, pattern: number, anchor: Anchor::with_an_end(choice, at) }));
        }
    }

    /// The tables; `None` where too many patterns share six bytes.
    pub fn tables(mut self) -> Option<Grams> {
        let count = self.list.len();
        if count == 0 {
            return Some(Grams { shift: 31, ..Grams::default() });
        }
        self.list.sort_by_key(|(_, entry)| entry.hash);
        if self.list.chunk_by(|(_, one), (_, other)| one.hash == other.hash).any(|alike| alike.len() > CROWD) {
            return None;
        }
        let words = SIZES.into_iter().find(|&words| count <= words).unwrap_or(SIZES[2]);
        let buckets = count.next_power_of_two().ilog2().clamp(1, 20);
        let mut grams = Grams {
            bits: vec![0; words],
            sixes: vec![0; (count.next_power_of_two() / 4).clamp(SIXES[0], SIXES[1])],
            starts: Vec::with_capacity((1 << buckets) + 1),
            shift: 32 - buckets,
            entries: self.list.iter().map(|&(_, entry)| entry).collect(),
        };
        for &(key, entry) in &self.list {
            let (index, mask) = place(key, words);
            grams.bits.get_mut(index as usize).into_iter().for_each(|word| *word |= mask);
            let word = Around(u64::from(key) << 16).word(grams.sixes.len());
            grams.sixes.get_mut(word).into_iter().for_each(|word| *word |= pair(entry.hash));
        }
        let mut before = 0;
        for bucket in 0..=1u64 << buckets {
            let rest = grams.entries.get(before..).unwrap_or_default();
            before += rest.iter().take_while(|entry| u64::from(entry.hash >> grams.shift) < bucket).count();
            grams.starts.push(before as u32);
        }
        Some(grams)
    }
}
