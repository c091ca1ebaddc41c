//! Many patterns at once: which of a group's fast patterns stand in the bytes.
//!
//! Most bytes of traffic are in no pattern, so the search is a filter: of each pattern some bytes in a row are entered
//! in a bitmap by their hash, and only where bytes of the text hit the bitmap, patterns are compared. Patterns of seven
//! bytes or more are entered by four windows of four bytes, one byte apart, so that only every fourth place of the text
//! is looked at. For shorter ones every place is: they are entered by four bytes, or by two, and [`super::shorts`] says
//! of many places at once where it is worth to look. The windows are those that ordinary traffic is least likely to
//! have ([`super::commonness`]). Patterns that can only lie in a few places are not searched for but looked for there
//! ([`super::placed`]).
//!
//! The search keeps no state: to find patterns that began in earlier bytes it looks at as many bytes less one behind
//! the new ones as its longest pattern has. Letters match in either case; verification looks closer.
//!
//! Cost is in proportion to the text: patterns are entered where few others are, and no place is compared with more
//! than [`CROWD`] of them of each kind of window, or the set is refused and the caller does without a filter.

use super::commonness;
use super::fast::Area;
use super::placed::Placed;
use super::shorts::{Places, Shorts};

/// Patterns that share a window at most.
pub const CROWD: usize = 64;
/// Case folding, and the same for each byte of eight: what `|` with a space does to letters.
const FOLD: u64 = 0x2020_2020_2020_2020;
/// Bytes of text in a block: the places worth comparing are noted for all of it before the first is compared.
pub const BLOCK: usize = 256;
/// Places in a block at which bytes are loaded, and how many at each.
const WORDS: usize = BLOCK / 4;
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
    shorts: Option<Shorts>,
    placed: Placed,
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
                    grams.enter_row(number, bytes, 4, 4);
                    continue;
                }
                4.. => fours.enter_row(number, bytes, 4, 1),
                2.. => pairs.enter_row(number, bytes, 2, 1),
                // One byte is entered with every byte that may follow it.
                _ => pairs.enter_byte(number, bytes),
            };
            // What is found by its last two bytes may have anything behind them.
            short.push(bytes.get(offset..bytes.len().min(offset + 4)).unwrap_or_default());
        }
        Some(Matcher {
            shorts: Shorts::new(&short),
            literals: Literals::new(patterns),
            longest,
            grams: grams.table()?,
            fours: fours.table()?,
            pairs: pairs.table()?,
            placed,
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
                    let key = load(block.get(place..).unwrap_or_default()) | FOLD;
                    self.compare(&self.grams, key as u32, at + place, search, hit);
                }
            }
            if SHORTS {
                for (nth, mut noted) in self.note_shorts(block, 4 * words).into_iter().enumerate() {
                    while noted != 0 {
                        let place = 32 * nth + noted.trailing_zeros() as usize;
                        noted &= noted - 1;
                        let key = (load(block.get(place..).unwrap_or_default()) | FOLD) as u32;
                        if self.fours.bit(key) & 1 != 0 {
                            self.compare(&self.fours, key, at + place, search, hit);
                        }
                        if self.pairs.bit(key & 0xffff) & 1 != 0 {
                            self.compare(&self.pairs, key & 0xffff, at + place, search, hit);
                        }
                    }
                }
            }
            at += BLOCK;
        }
    }

    /// Of the first `words` words of a block a bit each: whether a pattern may be entered for it. There is no branch:
    /// that cannot be foretold.
    #[inline(always)]
    fn note_grams(&self, block: &[u8; BLOCK + LOAD], words: usize) -> u64 {
        let mut noted = 0;
        for nth in 0..words {
            let word = load(block.get(4 * nth..).unwrap_or_default()) | FOLD;
            noted |= (self.grams.bit(word as u32) & 1) << nth;
        }
        noted
    }

    /// Of the first `places` places of a block a bit each: whether a short pattern may be entered for it.
    #[inline(always)]
    fn note_shorts(&self, block: &[u8; BLOCK + LOAD], places: usize) -> Places {
        if let Some(shorts) = &self.shorts {
            return shorts.note(block, places);
        }
        let mut noted = Places::default();
        for (nth, noted) in noted.iter_mut().enumerate().take(places.div_ceil(32)) {
            for bit in 0..32 {
                let key = (load(block.get(32 * nth + bit..).unwrap_or_default()) | FOLD) as u32;
                *noted |= ((self.fours.bit(key) | self.pairs.bit(key & 0xffff)) as u32 & 1) << bit;
            }
        }
        noted
    }

    /// Compares the patterns entered in a table with a key that stands at `at` of the area.
    #[inline(never)]
    fn compare(&self, table: &Table, key: u32, at: usize, search: Searched<'_>, hit: &mut impl FnMut(usize, usize)) {
        for entry in table.of(key).iter().filter(|entry| entry.key == key) {
            let Some(start) = (search.first + at).checked_sub(entry.offset as usize) else { continue };
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

/// The first eight bytes.
#[inline(always)]
fn load(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |&bytes| u64::from_le_bytes(bytes))
}

/// One way of entering patterns: by the hash of some bytes.
#[derive(Debug, Default)]
pub struct Table {
    /// A bit for each value of the upper bits of a hash that an entry has.
    bits: Vec<u64>,
    shift: u32,
    /// Where the entries of each bucket start; one more than there are buckets.
    starts: Vec<u32>,
    bucket_shift: u32,
    entries: Vec<Entry>,
}

/// Where some bytes stand in a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The bytes, folded.
    pub key: u32,
    pub pattern: u32,
    /// Index of the first of them in the pattern.
    pub offset: u32,
}

/// Spreads the bits of a key; the upper ones are good (Knuth's multiplicative hash).
#[inline(always)]
pub fn hash(key: u32) -> u32 {
    key.wrapping_mul(0x9e37_79b1)
}

impl Table {
    /// Nothing is entered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The lowest bit is 1 where a key may be entered.
    #[inline(always)]
    pub fn bit(&self, key: u32) -> u64 {
        let index = (hash(key) >> self.shift) as usize;
        self.bits.get(index >> 6).map_or(0, |word| word >> (index & 63))
    }

    /// The entries with this key, and some with others.
    #[inline(always)]
    pub fn of(&self, key: u32) -> &[Entry] {
        let bucket = (hash(key) >> self.bucket_shift) as usize;
        let bounds = self.starts.get(bucket..).and_then(<[u32]>::first_chunk::<2>);
        bounds.and_then(|&[from, to]| self.entries.get(from as usize..to as usize)).unwrap_or(&[])
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.bits.len() * 8 + self.starts.len() * 4 + self.entries.capacity() * size_of::<Entry>()
    }
}

/// Entries on their way into a table.
#[derive(Default)]
pub struct Entries {
    list: Vec<Entry>,
    /// How many have each key, by its hash: where that is another's too, more.
    crowds: Vec<u16>,
}

/// Bits of the hashes by which crowds are counted.
const CROWD_BITS: u32 = 14;

/// The key of up to four bytes.
pub fn key(bytes: &[u8]) -> u32 {
    let mut four = [0; 4];
    four.iter_mut().zip(bytes).for_each(|(to, &from)| *to = from | FOLD as u8);
    u32::from_le_bytes(four)
}

impl Entries {
    /// How many patterns are entered with this key, at most.
    pub fn crowd(&self, key: u32) -> usize {
        self.crowds.get((hash(key) >> (32 - CROWD_BITS)) as usize).map_or(0, |&crowd| usize::from(crowd))
    }

    /// Enters the bytes at `offset` of a pattern.
    pub fn enter(&mut self, key: u32, pattern: u32, offset: usize) {
        if self.crowds.is_empty() {
            self.crowds = vec![0; 1 << CROWD_BITS];
        }
        if let Some(crowd) = self.crowds.get_mut((hash(key) >> (32 - CROWD_BITS)) as usize) {
            *crowd = crowd.saturating_add(1);
        }
        self.list.push(Entry { key, pattern, offset: offset as u32 });
    }

    /// The offset at which windows of `width` bytes, that many in a row, are the best to be found by: few share them,
    /// and traffic rarely has them.
    fn best(&self, pattern: &[u8], width: usize, windows: usize) -> usize {
        let cost = |offset: usize| {
            let places = (offset..offset + windows).filter_map(|at| pattern.get(at..at + width));
            places.fold(0, |sum: usize, window| {
                let crowd = self.crowd(key(window));
                sum + crowd * 16 + if crowd >= CROWD { 1 << 20 } else { 0 } + commonness::of(window) as usize
            })
        };
        let last = pattern.len().saturating_sub(width + windows - 1);
        (0..=last).min_by_key(|&offset| cost(offset)).unwrap_or(0)
    }

    /// Enters windows in a row, one byte apart: one of them stands where the search looks. Gives the first's offset.
    fn enter_row(&mut self, number: u32, pattern: &[u8], width: usize, windows: usize) -> usize {
        let offset = self.best(pattern, width, windows);
        for at in offset..offset + windows {
            self.enter(key(pattern.get(at..at + width).unwrap_or(&[])), number, at);
        }
        offset
    }

    fn enter_byte(&mut self, number: u32, pattern: &[u8]) -> usize {
        for pair in pairs_from(pattern) {
            self.enter(pair, number, 0);
        }
        0
    }

    /// The table; `None` where too many entries have the same key.
    pub fn table(mut self) -> Option<Table> {
        if self.list.is_empty() {
            return Some(Table { shift: 31, bucket_shift: 31, ..Table::default() });
        }
        self.list.sort_by_key(|entry| (hash(entry.key), entry.key));
        if self.list.chunk_by(|one, other| one.key == other.key).any(|alike| alike.len() > CROWD) {
            return None;
        }
        let bits = (self.list.len() * 64).next_power_of_two().ilog2().clamp(10, 18);
        let buckets = (self.list.len() * 2).next_power_of_two().ilog2().clamp(1, 20);
        let mut table = Table {
            bits: vec![0; 1 << (bits - 6)],
            shift: 32 - bits,
            starts: Vec::with_capacity((1 << buckets) + 1),
            bucket_shift: 32 - buckets,
            entries: Vec::new(),
        };
        for entry in &self.list {
            let index = (hash(entry.key) >> table.shift) as usize;
            if let Some(word) = table.bits.get_mut(index >> 6) {
                *word |= 1 << (index & 63);
            }
        }
        let mut before = 0;
        for bucket in 0..=1u64 << buckets {
            let rest = self.list.get(before..).unwrap_or_default();
            before += rest.iter().take_while(|e| u64::from(hash(e.key) >> table.bucket_shift) < bucket).count();
            table.starts.push(before as u32);
        }
        self.list.shrink_to_fit();
        table.entries = self.list;
        Some(table)
    }
}

/// The keys of all pairs of bytes that may stand where a pattern of one byte or more begins.
pub fn pairs_from(pattern: &[u8]) -> Vec<u32> {
    match pattern {
        [] => Vec::new(),
        // Folding leaves 128 values of the byte behind it.
        &[only] => (0..=u8::MAX).filter(|b| b & FOLD as u8 != 0).map(|next| key(&[only, next])).collect(),
        &[first, second, ..] => vec![key(&[first, second])],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aho_corasick::AhoCorasick;

    struct Random(u32);

    impl Random {
        fn below(&mut self, n: u32) -> u32 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 17;
            self.0 ^= self.0 << 5;
            self.0 % n
        }

        fn bytes(&mut self, length: u32, alphabet: &[u8]) -> Vec<u8> {
            (0..length).map(|_| alphabet[self.below(alphabet.len() as u32) as usize]).collect()
        }
    }

    /// What Aho and Corasick's automaton finds.
    fn oracle(patterns: &[Vec<u8>], text: &[u8], fresh: usize) -> Vec<(usize, usize)> {
        let automaton = AhoCorasick::builder().ascii_case_insensitive(true).build(patterns).unwrap();
        let hits = automaton.find_overlapping_iter(text).map(|m| (m.pattern().as_usize(), m.end()));
        let mut hits: Vec<_> = hits.filter(|&(_, end)| end > fresh).collect();
        hits.sort_unstable();
        hits
    }

    /// A search for patterns that may lie anywhere.
    fn anywhere(patterns: &[Vec<u8>]) -> Option<Matcher> {
        let lower: Vec<Vec<u8>> = patterns.iter().map(|pattern| pattern.to_ascii_lowercase()).collect();
        let all: Vec<Pattern<'_>> = lower.iter().map(|bytes| Pattern { bytes, area: Area::ALL }).collect();
        Matcher::new(&all)
    }

    fn found(matcher: &Matcher, text: &[u8], fresh: usize) -> Vec<(usize, usize)> {
        let mut hits = Vec::new();
        matcher.scan(text, fresh, &[0], |pattern, end| hits.push((pattern, end)));
        hits.sort_unstable();
        hits
    }

    #[test]
    fn it_finds_what_an_automaton_finds() {
        let mut random = Random(77);
        for round in 0..2000 {
            let alphabet: &[u8] = if round % 2 == 0 { b"aAbB" } else { b"abc@`[{\x00\x20\xffXYZ" };
            let shortest = [1, 2, 5][round % 3];
            let patterns: Vec<Vec<u8>> = (0..1 + random.below(6))
                .map(|_| {
                    let n = shortest + random.below(9);
                    random.bytes(n, alphabet)
                })
                .collect();
            let n = random.below(60);
            let text = random.bytes(n, alphabet);
            let Some(matcher) = anywhere(&patterns) else { panic!("{patterns:?}") };
            let fresh = random.below(n + 1) as usize;
            let expected = oracle(&patterns, &text, fresh);
            assert_eq!(found(&matcher, &text, fresh), expected, "{patterns:?} in {text:?} from {fresh}");
        }
    }

    #[test]
    fn patterns_with_few_places_are_found_there_and_nowhere_else() {
        let mut random = Random(9);
        for round in 0..2000 {
            let bytes: Vec<Vec<u8>> = (0..1 + random.below(8))
                .map(|_| {
                    let n = 1 + random.below(5);
                    random.bytes(n, b"ab\x00 ")
                })
                .collect();
            let patterns: Vec<Pattern<'_>> = bytes
                .iter()
                .map(|bytes| {
                    let from = random.below(6);
                    let to = from + bytes.len() as u32 + random.below(40);
                    Pattern { bytes, area: Area { from, to } }
                })
                .collect();
            let n = random.below(40);
            let text = random.bytes(n, b"abAB\x00 ");
            let starts = [0, random.below(n + 1) as usize];
            let fresh = random.below(n + 1) as usize;
            let matcher = Matcher::new(&patterns).unwrap();
            let mut hits = Vec::new();
            matcher.scan(&text, fresh, &starts, |pattern, end| hits.push((pattern, end)));
            for (number, end) in oracle(&bytes, &text, fresh) {
                let Pattern { bytes, area } = patterns[number];
                let fits = |start: &usize| {
                    let (from, to) = (start + area.from as usize, start + area.to as usize);
                    end - bytes.len() >= from && end <= to
                };
                let placed = area.to - area.from - (bytes.len() as u32) < 32;
                assert!(!starts.iter().any(&fits) || hits.contains(&(number, end)), "{round} {patterns:?} {text:?}");
                assert!(!placed || starts.iter().any(fits) || !hits.contains(&(number, end)), "{round} {patterns:?}");
            }
        }
    }

    #[test]
    fn cut_anywhere_each_hit_is_told_once() {
        let patterns = [b"abcd".to_vec(), b"bc".to_vec(), b"CDabcdE".to_vec(), b"x".to_vec()];
        let text = b"xABCDabcdabcdex";
        let matcher = anywhere(&patterns).unwrap();
        let whole = found(&matcher, text, 0);
        assert_eq!(whole, oracle(&patterns, text, 0));
        for cut in 0..=text.len() {
            let behind = cut.saturating_sub(matcher.longest - 1);
            let mut parts = found(&matcher, &text[..cut], 0);
            let second = found(&matcher, &text[behind..], cut - behind);
            parts.extend(second.into_iter().map(|(p, end)| (p, end + behind)));
            parts.sort_unstable();
            assert_eq!(parts, whole, "{cut}");
        }
    }

    #[test]
    fn thousands_of_patterns_are_found_too() {
        let mut random = Random(5);
        let patterns: Vec<Vec<u8>> = (0..5000)
            .map(|_| {
                let n = 4 + random.below(20);
                random.bytes(n, b"abcdefghijklmnopqrstuvwxyz/.=0123456789")
            })
            .collect();
        let matcher = anywhere(&patterns).unwrap();
        let mut text = random.bytes(20_000, b"abcdefghijklmnopqrstuvwxyz/.=0123456789 ");
        for i in 0..100 {
            let at = random.below(19_000) as usize;
            let pattern = &patterns[i * 50];
            text[at..at + pattern.len()].copy_from_slice(&pattern.to_ascii_uppercase());
        }
        let hits = found(&matcher, &text, 0);
        assert_eq!(hits, oracle(&patterns, &text, 0));
        assert!(hits.len() > 50);
    }

    #[test]
    fn patterns_that_are_too_much_alike_are_refused() {
        // Folding takes a zero for a space.
        let alike: Vec<Vec<u8>> = (0..=u8::MAX).map(|i| (0..8).map(|bit| (i >> bit & 1) << 5).collect()).collect();
        assert!(anywhere(&alike).is_none());
        assert!(Matcher::new(&[]).is_none());
        assert!(anywhere(&[vec![]]).is_none());
    }
}
