//! Patterns by the hash of a few of their bytes.
//!
//! Most bytes of traffic hit nothing, so what says so lies close: a bitmap that fits the first cache. What passes is
//! asked of a second, larger one, by another hash. Only then an entry is read, and it holds four more bytes of its
//! pattern, so that the pattern itself, which lies elsewhere, is compared where it is likely to stand.

use crate::detect::commonness;

/// Patterns that share a window at most.
pub const CROWD: usize = 64;
/// Case folding.
pub const FOLD: u8 = 0x20;
/// Words of the largest first bitmap; 32 KiB.
const LARGE: usize = 8192;
/// Words of the middle one.
const MIDDLE: usize = 2048;
/// Words of the small one.
const SMALL: usize = 128;
/// Words of the smallest, for keys that are asked seldom: a line of the processor's caches.
const LINE: usize = 16;
/// Bytes of a pattern among which windows are chosen.
const CHOICE: usize = 256;
/// An entry without four more bytes.
const ALONE: i16 = i16::MIN;

/// One way of entering patterns: by the hash of some bytes.
#[derive(Debug, Default)]
pub struct Table {
    /// A bit for each value of the upper bits of a hash that an entry has: as many words as one of the sizes above.
    bits: Vec<u32>,
    /// The same by the upper bits of another hash.
    more: Vec<u32>,
    /// Where the entries of each bucket start; one more than there are buckets.
    starts: Vec<u32>,
    bucket_shift: u32,
    entries: Vec<Entry>,
}

/// A pattern by some of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The bytes, folded.
    pub key: u32,
    pub pattern: u32,
    anchor: Anchor,
}

impl Entry {
    /// The start of the pattern in `text` where the entry's bytes stand at `at`; `None` where its other bytes do not
    /// stand where they should.
    #[inline(always)]
    pub fn start(&self, text: &[u8], at: usize) -> Option<usize> {
        self.anchor.start(text, at)
    }
}

/// Where some bytes stand in a pattern, and four others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Four other bytes of the pattern, folded.
    second: u32,
    /// Index of the first of the bytes in the pattern.
    offset: u16,
    /// From there to the four others; [`ALONE`] where there are none.
    delta: i16,
}

impl Anchor {
    /// Of bytes that begin their pattern and have none of it beside them.
    const FIRST: Anchor = Anchor { second: 0, offset: 0, delta: ALONE };

    /// Of those at `at` alone.
    fn alone(at: usize) -> Anchor {
        Anchor { offset: at as u16, ..Anchor::FIRST }
    }

    /// Of those at `at`, with four at one end of the pattern: the one that is farther away.
    pub fn with_an_end(pattern: &[u8], at: usize) -> Anchor {
        let last = pattern.len().saturating_sub(4);
        let other = if at > last.saturating_sub(at) { 0 } else { last };
        let second = key(pattern.get(other..other + 4).unwrap_or_default());
        Anchor { second, offset: at as u16, delta: other as i16 - at as i16 }
    }

    /// The start of the pattern in `text` where the bytes stand at `at`; `None` where the others do not stand where they
    /// should.
    #[inline(always)]
    pub fn start(self, text: &[u8], at: usize) -> Option<usize> {
        let start = at.checked_sub(usize::from(self.offset))?;
        if self.delta == ALONE {
            return Some(start);
        }
        let other = at.checked_add_signed(isize::from(self.delta))?;
        let bytes: &[u8; 4] = text.get(other..)?.first_chunk()?;
        (u32::from_le_bytes(*bytes) | FOLDS == self.second).then_some(start)
    }
}

/// Spreads the bits of a key; the upper ones are good (Knuth's multiplicative hash).
#[inline(always)]
pub fn hash(key: u32) -> u32 {
    key.wrapping_mul(0x9e37_79b1)
}

/// The same with other results.
#[inline(always)]
fn hash_more(key: u32) -> u32 {
    (key ^ key >> 15).wrapping_mul(0x85eb_ca6b)
}

impl Table {
    /// No pattern is entered.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a key may be entered.
    #[inline(always)]
    pub fn may_have(&self, key: u32) -> bool {
        is_set(&self.bits, hash(key)) && self.may_have_more(key)
    }

    /// Whether a key whose bit is set may be entered all the same.
    #[inline(always)]
    pub fn may_have_more(&self, key: u32) -> bool {
        is_set(&self.more, hash_more(key))
    }

    /// The entries with this key, and some with others.
    #[inline(always)]
    pub fn of(&self, key: u32) -> &[Entry] {
        let bucket = (hash(key) >> self.bucket_shift) as usize;
        let bounds = self.starts.get(bucket..).and_then(<[u32]>::first_chunk::<2>);
        bounds.and_then(|&[from, to]| self.entries.get(from as usize..to as usize)).unwrap_or(&[])
    }

    /// What is entered.
    pub fn keys(&self) -> impl Iterator<Item = u32> {
        self.entries.iter().map(|entry| entry.key)
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        (self.bits.len() + self.more.len() + self.starts.len()) * 4 + self.entries.capacity() * size_of::<Entry>()
    }
}

/// The bit that the upper bits of a hash name; `words` has a power of two of them, or none.
#[inline(always)]
pub fn is_set(words: &[u32], hash: u32) -> bool {
    let index = hash >> (27 - words.len().checked_ilog2().unwrap_or(0));
    words.get((index >> 5) as usize).is_some_and(|word| word >> (index & 31) & 1 == 1)
}

pub fn set(words: &mut [u32], hash: u32) {
    let index = hash >> (27 - words.len().checked_ilog2().unwrap_or(0));
    if let Some(word) = words.get_mut((index >> 5) as usize) {
        *word |= 1 << (index & 31);
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
/// Case folding of four bytes.
pub const FOLDS: u32 = u32::from_le_bytes([FOLD; 4]);

/// The key of up to four bytes.
pub fn key(bytes: &[u8]) -> u32 {
    let mut four = [0; 4];
    four.iter_mut().zip(bytes).for_each(|(to, &from)| *to = from | FOLD);
    u32::from_le_bytes(four)
}

impl Entries {
    /// How many patterns are entered with this key, at most.
    pub fn crowd(&self, key: u32) -> usize {
        self.crowds.get((hash(key) >> (32 - CROWD_BITS)) as usize).map_or(0, |&crowd| usize::from(crowd))
    }

    /// Enters bytes of a pattern that have none of it beside them.
    pub fn enter(&mut self, key: u32, pattern: u32) {
        self.push(Entry { key, pattern, anchor: Anchor::FIRST });
    }

    fn push(&mut self, entry: Entry) {
        if self.crowds.is_empty() {
            self.crowds = vec![0; 1 << CROWD_BITS];
        }
        if let Some(crowd) = self.crowds.get_mut((hash(entry.key) >> (32 - CROWD_BITS)) as usize) {
            *crowd = crowd.saturating_add(1);
        }
        self.list.push(entry);
    }

    /// Of some offsets that at which a window of `width` bytes is the best to be found by: few patterns share it, and
    /// traffic rarely has it.
    fn best(&self, pattern: &[u8], width: usize, offsets: impl Iterator<Item = usize>) -> usize {
        let cost = |offset: &usize| {
            let window = pattern.get(*offset..offset + width).unwrap_or_default();
            let crowd = self.crowd(key(window));
            crowd * 16 + if crowd >= CROWD { 1 << 20 } else { 0 } + commonness::of(window) as usize
        };
        offsets.min_by_key(cost).unwrap_or(0)
    }

    /// Enters the best window of `width` bytes. Gives its offset.
    pub fn enter_one(&mut self, number: u32, pattern: &[u8], width: usize) -> usize {
        let last = pattern.len().min(CHOICE).saturating_sub(width);
        let at = self.best(pattern, width, 0..=last);
        let choice = pattern.get(..CHOICE).unwrap_or(pattern);
        let anchor = if width == 4 && last > 0 { Anchor::with_an_end(choice, at) } else { Anchor::alone(at) };
        self.push(Entry { key: key(pattern.get(at..at + width).unwrap_or_default()), pattern: number, anchor });
        at
    }

    /// Enters one byte, with each that may follow it.
    pub fn enter_byte(&mut self, number: u32, pattern: &[u8]) -> usize {
        for pair in pairs_from(pattern) {
            self.enter(pair, number);
        }
        0
    }

    /// The table; `None` where too many entries have the same key.
    pub fn table(self) -> Option<Table> {
        let wanted = self.list.len() * 2;
        let words = [SMALL, MIDDLE].into_iter().find(|&words| wanted <= words).unwrap_or(LARGE);
        let more = wanted.next_power_of_two().clamp(SMALL, 1 << 15);
        self.table_of(words, more)
    }

    /// The same for keys of which few are asked of a text: it lets a little more through, and lies in a few lines of the
    /// processor's caches, which each text would else have to bring there.
    pub fn close_table(self) -> Option<Table> {
        let words = (self.list.len() / 2).next_power_of_two().clamp(LINE, LARGE);
        self.table_of(words, words)
    }

    fn table_of(mut self, words: usize, more: usize) -> Option<Table> {
        if self.list.is_empty() {
            return Some(Table { bits: vec![0; LINE], bucket_shift: 31, ..Table::default() });
        }
        self.list.sort_by_key(|entry| (hash(entry.key), entry.key));
        if self.list.chunk_by(|one, other| one.key == other.key).any(|alike| alike.len() > CROWD) {
            return None;
        }
        let buckets = self.list.len().next_power_of_two().ilog2().clamp(1, 20);
        let mut table = Table {
            bits: vec![0; words],
            more: vec![0; more],
            starts: Vec::with_capacity((1 << buckets) + 1),
            bucket_shift: 32 - buckets,
            entries: Vec::new(),
        };
        for entry in &self.list {
            set(&mut table.bits, hash(entry.key));
            set(&mut table.more, hash_more(entry.key));
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
        &[only] => (0..=u8::MAX).filter(|b| b & FOLD != 0).map(|next| key(&[only, next])).collect(),
        &[first, second, ..] => vec![key(&[first, second])],
    }
}
