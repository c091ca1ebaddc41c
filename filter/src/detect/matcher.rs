//! Many patterns at once: which of a group's fast patterns stand in the bytes.
//!
//! Most bytes of traffic are in no pattern, so the search is a filter: of each pattern four bytes in a row are entered
//! in a bitmap by their hash, and only where four bytes of the text hit the bitmap, patterns are compared. Where all
//! patterns have five bytes or more, two such windows of each are entered, one byte apart, and only every other place
//! of the text is looked at. Shorter patterns are entered by two bytes in a second bitmap.
//!
//! The search keeps no state: to find patterns that began in earlier bytes it looks at [`Matcher::longest`] bytes less
//! one behind the new ones. Letters match in either case; verification looks closer.
//!
//! Cost is in proportion to the text: patterns are entered where few others are, and no place is compared with more
//! than [`CROWD`] of them, or the set is refused and the caller does without a filter.

use super::literal::frequency;

/// Patterns that share a window at most.
const CROWD: usize = 64;
/// Case folding, and the same for each byte of eight: what `|` with a space does to letters.
const FOLD: u64 = 0x2020_2020_2020_2020;
/// Patterns shorter than this are entered by two bytes.
const LONG: usize = 5;

/// The search for one group's patterns.
#[derive(Debug)]
pub struct Matcher {
    /// In lower case.
    patterns: Vec<Box<[u8]>>,
    longest: usize,
    windows: Table,
    pairs: Table,
}

/// One way of entering patterns: by the hash of some bytes.
#[derive(Debug, Default)]
struct Table {
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
struct Entry {
    /// The bytes, folded.
    key: u32,
    pattern: u32,
    /// Index of the first of them in the pattern.
    offset: u32,
}

impl Matcher {
    /// A search for `patterns`, numbered from 0. `None` where there are none, one is empty, or too many are alike.
    pub fn new(patterns: &[Vec<u8>]) -> Option<Matcher> {
        if patterns.is_empty() || patterns.iter().any(Vec::is_empty) {
            return None;
        }
        let patterns: Vec<Box<[u8]>> = patterns.iter().map(|p| p.to_ascii_lowercase().into()).collect();
        let (mut windows, mut pairs) = (Entries::default(), Entries::default());
        for (number, pattern) in (0u32..).zip(&patterns) {
            match pattern.len() {
                LONG.. => windows.enter_window(number, pattern),
                2.. => pairs.enter_pair(number, pattern),
                // One byte is entered with every byte that may follow it.
                _ => pairs.enter_byte(number, pattern),
            }
        }
        let longest = patterns.iter().map(|p| p.len()).max()?;
        Some(Matcher { windows: windows.table()?, pairs: pairs.table()?, patterns, longest })
    }

    /// Bytes of the longest pattern.
    #[cfg(test)]
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Tells `hit` each pattern that stands in `text` and ends behind `fresh`, by number, with the index behind its
    /// last byte; in no order.
    #[inline]
    pub fn scan(&self, text: &[u8], fresh: usize, mut hit: impl FnMut(usize, usize)) {
        let first = fresh.saturating_sub(self.longest - 1);
        match (self.windows.entries.is_empty(), self.pairs.entries.is_empty()) {
            (false, true) => self.run::<true, false>(text, first, fresh, &mut hit),
            (true, false) => self.run::<false, true>(text, first, fresh, &mut hit),
            (false, false) | (true, true) => self.run::<true, true>(text, first, fresh, &mut hit),
        }
    }

    /// Eight bytes are loaded at every fourth place.
    fn run<const WINDOWS: bool, const PAIRS: bool>(
        &self,
        text: &[u8],
        first: usize,
        fresh: usize,
        hit: &mut impl FnMut(usize, usize),
    ) {
        let area = text.get(first..).unwrap_or(&[]);
        let mut at = first;
        for eight in area.windows(8).step_by(4) {
            let word = eight.first_chunk().map_or(0, |&bytes| u64::from_le_bytes(bytes));
            if self.may_stand::<WINDOWS, PAIRS>(word) {
                self.compare::<WINDOWS, PAIRS>(word, text, at, fresh, hit);
            }
            at += 4;
        }
        // The last bytes, with nothing behind them.
        while at < text.len() {
            let mut bytes = [0; 8];
            let rest = text.get(at..).unwrap_or(&[]);
            bytes.iter_mut().zip(rest).for_each(|(to, &from)| *to = from);
            self.compare::<WINDOWS, PAIRS>(u64::from_le_bytes(bytes), text, at, fresh, hit);
            at += 4;
        }
    }

    /// Whether a pattern may be entered for one of the four places that `word` starts with.
    #[inline(always)]
    fn may_stand<const WINDOWS: bool, const PAIRS: bool>(&self, word: u64) -> bool {
        let word = word | FOLD;
        let mut found = 0;
        if WINDOWS {
            found |= self.windows.bit(word as u32) | self.windows.bit((word >> 16) as u32);
        }
        if PAIRS {
            for shift in [0, 8, 16, 24] {
                found |= self.pairs.bit((word >> shift) as u32 & 0xffff);
            }
        }
        found != 0
    }

    /// Compares the patterns entered for the four places from `at` on.
    #[inline(never)]
    fn compare<const WINDOWS: bool, const PAIRS: bool>(
        &self,
        word: u64,
        text: &[u8],
        at: usize,
        fresh: usize,
        hit: &mut impl FnMut(usize, usize),
    ) {
        let word = word | FOLD;
        let windows = [0, 2].map(|place| (place, self.windows.of((word >> (8 * place)) as u32)));
        let pairs = [0, 1, 2, 3].map(|place| (place, self.pairs.of((word >> (8 * place)) as u32 & 0xffff)));
        let windows = windows.into_iter().filter(|_| WINDOWS);
        for (place, entry) in
            windows.chain(pairs.into_iter().filter(|_| PAIRS)).flat_map(|(p, e)| e.map(move |e| (p, e)))
        {
            let Some(pattern) = self.patterns.get(entry.pattern as usize) else { continue };
            let Some(start) = (at + place).checked_sub(entry.offset as usize) else { continue };
            let end = start + pattern.len();
            if end > fresh && text.get(start..end).is_some_and(|there| there.eq_ignore_ascii_case(pattern)) {
                hit(entry.pattern as usize, end);
            }
        }
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        let table = |t: &Table| t.bits.len() * 8 + t.starts.len() * 4 + t.entries.len() * size_of::<Entry>();
        let patterns: usize = self.patterns.iter().map(|p| p.len() + size_of::<Box<[u8]>>()).sum();
        patterns + table(&self.windows) + table(&self.pairs)
    }
}

/// Spreads the bits of a key; the upper ones are good (Knuth's multiplicative hash).
#[inline(always)]
fn hash(key: u32) -> u32 {
    key.wrapping_mul(0x9e37_79b1)
}

impl Table {
    #[inline(always)]
    fn bit(&self, key: u32) -> u64 {
        let index = (hash(key) >> self.shift) as usize;
        self.bits.get(index >> 6).map_or(0, |word| word >> (index & 63) & 1)
    }

    /// The entries with this key.
    fn of(&self, key: u32) -> impl Iterator<Item = Entry> {
        let bucket = (hash(key) >> self.bucket_shift) as usize;
        let bounds = self.starts.get(bucket..).and_then(<[u32]>::first_chunk::<2>);
        let entries = bounds.and_then(|&[from, to]| self.entries.get(from as usize..to as usize)).unwrap_or(&[]);
        entries.iter().copied().filter(move |entry| entry.key == key)
    }
}

/// Entries on their way into a table.
#[derive(Default)]
struct Entries {
    list: Vec<Entry>,
    /// How many have each key.
    crowd: std::collections::HashMap<u32, usize>,
}

/// The key of up to four bytes.
fn key(bytes: &[u8]) -> u32 {
    let mut four = [0; 4];
    four.iter_mut().zip(bytes).for_each(|(to, &from)| *to = from | FOLD as u8);
    u32::from_le_bytes(four)
}

impl Entries {
    fn enter(&mut self, pattern: u32, offset: usize, bytes: &[u8]) {
        let key = key(bytes);
        *self.crowd.entry(key).or_default() += 1;
        self.list.push(Entry { key, pattern, offset: offset as u32 });
    }

    /// The offset at which `span` bytes of the pattern are the best to be found by: few share them, and they are rare.
    fn best(&self, pattern: &[u8], width: usize, span: usize) -> usize {
        let cost = |offset: usize| {
            let places = offset..=offset + span - width;
            let keys = places.filter_map(|at| pattern.get(at..at + width)).map(key);
            let crowd: usize = keys.map(|key| self.crowd.get(&key).copied().unwrap_or(0)).sum();
            let common = pattern.get(offset..offset + span).unwrap_or(&[]);
            (crowd, common.iter().map(|&b| u32::from(frequency(b))).sum::<u32>())
        };
        (0..=pattern.len().saturating_sub(span)).min_by_key(|&offset| cost(offset)).unwrap_or(0)
    }

    /// Two windows of four, one byte apart: one of them stands at an even distance from where the search began.
    fn enter_window(&mut self, number: u32, pattern: &[u8]) {
        let offset = self.best(pattern, 4, LONG);
        for at in [offset, offset + 1] {
            self.enter(number, at, pattern.get(at..at + 4).unwrap_or(&[]));
        }
    }

    fn enter_pair(&mut self, number: u32, pattern: &[u8]) {
        let offset = self.best(pattern, 2, 2);
        self.enter(number, offset, pattern.get(offset..offset + 2).unwrap_or(&[]));
    }

    fn enter_byte(&mut self, number: u32, pattern: &[u8]) {
        let Some(&byte) = pattern.first() else { return };
        // Folding leaves 128 values of the byte behind it.
        for next in (0..=u8::MAX).filter(|b| b & FOLD as u8 != 0) {
            self.enter(number, 0, &[byte, next]);
        }
    }

    fn table(mut self) -> Option<Table> {
        if self.list.is_empty() {
            return Some(Table { shift: 31, bucket_shift: 31, ..Table::default() });
        }
        if self.crowd.values().any(|&n| n > CROWD) {
            return None;
        }
        let bits = (self.list.len() * 32).next_power_of_two().ilog2().clamp(15, 21);
        let buckets = (self.list.len() * 2).next_power_of_two().ilog2().clamp(1, 20);
        let mut table = Table {
            bits: vec![0; 1 << (bits - 6)],
            shift: 32 - bits,
            starts: Vec::with_capacity((1 << buckets) + 1),
            bucket_shift: 32 - buckets,
            entries: Vec::new(),
        };
        self.list.sort_by_key(|entry| hash(entry.key));
        for entry in &self.list {
            let index = (hash(entry.key) >> table.shift) as usize;
            if let Some(word) = table.bits.get_mut(index >> 6) {
                *word |= 1 << (index & 63);
            }
        }
        for bucket in 0..=1u64 << buckets {
            let before = self.list.partition_point(|e| u64::from(hash(e.key) >> table.bucket_shift) < bucket);
            table.starts.push(before as u32);
        }
        table.entries = self.list;
        Some(table)
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

    fn found(matcher: &Matcher, text: &[u8], fresh: usize) -> Vec<(usize, usize)> {
        let mut hits = Vec::new();
        matcher.scan(text, fresh, |pattern, end| hits.push((pattern, end)));
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
            let Some(matcher) = Matcher::new(&patterns) else { panic!("{patterns:?}") };
            let fresh = random.below(n + 1) as usize;
            let expected = oracle(&patterns, &text, fresh);
            assert_eq!(found(&matcher, &text, fresh), expected, "{patterns:?} in {text:?} from {fresh}");
        }
    }

    #[test]
    fn cut_anywhere_each_hit_is_told_once() {
        let patterns = [b"abcd".to_vec(), b"bc".to_vec(), b"CDabcdE".to_vec(), b"x".to_vec()];
        let text = b"xABCDabcdabcdex";
        let matcher = Matcher::new(&patterns).unwrap();
        let whole = found(&matcher, text, 0);
        assert_eq!(whole, oracle(&patterns, text, 0));
        for cut in 0..=text.len() {
            let behind = cut.saturating_sub(matcher.longest() - 1);
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
        let matcher = Matcher::new(&patterns).unwrap();
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
        assert!(Matcher::new(&alike).is_none());
        assert!(Matcher::new(&[]).is_none());
        assert!(Matcher::new(&[vec![]]).is_none());
    }
}
