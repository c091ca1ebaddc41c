//! The codes of a block as tables: the next bits name an entry, which tells what the code stands for and how long it is.
//! Codes longer than a table's bits have a table of their own behind it.

/// An entry stands for a literal: in its upper half.
pub const LITERAL: u32 = 1 << 7;
/// An entry stands for neither a literal nor a number.
pub const OTHER: u32 = 1 << 6;
/// No code has these bits.
pub const INVALID: u32 = OTHER | 1 << 5;
/// The end of a block; with the length of its code.
pub const END: u32 = OTHER | 1 << 4;
/// Where the least number stands in an entry; below it how many bits are added, and the length of the code.
pub const COPY: u32 = 12;

/// Bits of the table of literals and lengths.
pub const LITERAL_BITS: u32 = 10;
/// Bits of the table of distances.
pub const DISTANCE_BITS: u32 = 9;
/// Bits of the table of lengths of codes.
const LENGTH_BITS: u32 = 7;
/// Bits of a code at most.
const LONGEST: usize = 15;
/// Entries that tables with those behind them have at most: 1332 and 594 (zlib's `enough`), and what makes an index fit.
const LITERALS: usize = 2048;
const DISTANCES: usize = 1024;
/// Least length of a symbol, and bits added.
const COPIES: [(u16, u8); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];

/// The codes of a block.
#[derive(Debug)]
pub struct Codes {
    literals: Box<[u32; LITERALS]>,
    distances: Box<[u32; DISTANCES]>,
}

/// Whether codes leave bits without a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gaps {
    /// Not allowed.
    No,
    /// Where there is one code, of one bit, or none.
    OfOne,
}

impl Codes {
    /// No codes.
    pub fn new() -> Codes {
        Codes { literals: Box::new([INVALID; LITERALS]), distances: Box::new([INVALID; DISTANCES]) }
    }

    /// The literal or length that the bits begin with.
    #[inline(always)]
    pub fn literal(&self, bits: u64) -> u32 {
        self.literals[bits as usize % (1 << LITERAL_BITS)]
    }

    /// The same of a code that is longer than the table's bits; others as they are.
    #[inline(always)]
    pub fn longer_literal(&self, entry: u32, bits: u64) -> u32 {
        if entry & (INVALID | END) != OTHER {
            entry
        } else {
            self.literals[behind(entry, bits, LITERAL_BITS) % LITERALS]
        }
    }

    /// The distance that the bits begin with.
    #[inline(always)]
    pub fn distance(&self, bits: u64) -> u32 {
        let entry = self.distances[bits as usize % (1 << DISTANCE_BITS)];
        if entry & (INVALID | END) != OTHER {
            entry
        } else {
            self.distances[behind(entry, bits, DISTANCE_BITS) % DISTANCES]
        }
    }

    /// The length of a code that the bits begin with.
    pub fn length(&self, bits: u64) -> u32 {
        self.literals[bits as usize % (1 << LENGTH_BITS)]
    }

    /// The codes of fixed blocks.
    pub fn fix(&mut self) {
        let mut lengths = [8; 288];
        lengths.iter_mut().skip(144).take(112).for_each(|length| *length = 9);
        lengths.iter_mut().skip(256).take(24).for_each(|length| *length = 7);
        // They are codes.
        let _ = build(&lengths, self.literals.as_mut_slice(), LITERAL_BITS, Gaps::No, literal);
        let _ = build(&[5; 32], self.distances.as_mut_slice(), DISTANCE_BITS, Gaps::No, distance);
    }

    /// The codes for lengths of codes. `false`: they are none.
    pub fn for_lengths(&mut self, lengths: &[u8]) -> bool {
        build(lengths, self.literals.as_mut_slice(), LENGTH_BITS, Gaps::No, |symbol| u32::from(symbol) << 16)
    }

    /// The codes of a block. `false`: they are none.
    pub fn of_block(&mut self, literals: &[u8], distances: &[u8]) -> bool {
        build(literals, self.literals.as_mut_slice(), LITERAL_BITS, Gaps::OfOne, literal)
            && build(distances, self.distances.as_mut_slice(), DISTANCE_BITS, Gaps::OfOne, distance)
    }
}

/// Where the entry of a longer code stands.
#[inline(always)]
fn behind(entry: u32, bits: u64, table: u32) -> usize {
    (entry >> COPY) as usize + (bits >> table) as usize % (1 << (entry >> 8 & 15))
}

fn literal(symbol: u16) -> u32 {
    match symbol {
        0..256 => LITERAL | u32::from(symbol) << 16,
        256 => END,
        _ => number(COPIES.get(usize::from(symbol - 257)).copied()),
    }
}

fn distance(symbol: u16) -> u32 {
    let extra = (symbol / 2).saturating_sub(1);
    let least = if symbol < 4 { symbol + 1 } else { ((2 + symbol % 2) << extra.min(13)) + 1 };
    number(Some((least, extra as u8)).filter(|_| symbol < 30))
}

fn number(of: Option<(u16, u8)>) -> u32 {
    of.map_or(INVALID, |(least, extra)| u32::from(least) << COPY | u32::from(extra) << 8)
}

/// Fills a table with the codes that these lengths make (RFC 1951, 3.2.2). `false`: they make none.
fn build(lengths: &[u8], table: &mut [u32], bits: u32, gaps: Gaps, entry: impl Fn(u16) -> u32) -> bool {
    let mut counts = [0u16; LONGEST + 1];
    lengths.iter().for_each(|&length| counts[usize::from(length) % 16] += 1);
    counts[0] = 0;
    let longest = counts.iter().rposition(|&count| count > 0).unwrap_or(0);
    let mut left = 1i32;
    let mut starts = [0u16; LONGEST + 2];
    for (length, &count) in counts.iter().enumerate().skip(1) {
        left = (left << 1) - i32::from(count);
        if left < 0 {
            return false;
        }
        starts[length + 1] = starts[length] + count;
    }
    if left > 0 && (gaps == Gaps::No || longest > 1) {
        return false;
    }
    let root = 1usize << bits;
    table.iter_mut().take(root).for_each(|slot| *slot = INVALID);
    // The symbols in the order of their codes.
    let mut sorted = [0u16; 288];
    for (symbol, &length) in (0u16..).zip(lengths).filter(|&(_, &length)| length > 0) {
        let start = &mut starts[usize::from(length) % 16];
        sorted.get_mut(usize::from(*start)).into_iter().for_each(|slot| *slot = symbol);
        *start += 1;
    }
    let (mut code, mut next, mut sub) = (0u32, root, (usize::MAX, 0, 0));
    let mut symbols = sorted.iter();
    for length in 1..=longest as u32 {
        code <<= 1;
        for nth in 0..counts[length as usize % 16] {
            let Some(&symbol) = symbols.next() else { return false };
            let reversed = (code.reverse_bits() >> (32 - length)) as usize;
            let whole = entry(symbol);
            let whole = if whole == INVALID { INVALID } else { whole | length };
            if length <= bits {
                spread(table, reversed..root, 1 << length, whole);
            } else {
                let low = reversed % root;
                if sub.0 != low {
                    let more = more_bits(&counts, bits, length - bits, nth);
                    sub = (low, next, more);
                    next += 1 << more;
                    let pointer = OTHER | (sub.1 as u32) << COPY | more << 8;
                    table.get_mut(low).into_iter().for_each(|slot| *slot = pointer);
                }
                spread(table, sub.1 + (reversed >> bits)..sub.1 + (1 << sub.2), 1 << (length - bits), whole);
            }
            code += 1;
        }
    }
    true
}

/// Writes an entry at every place that ends in its code.
fn spread(table: &mut [u32], places: std::ops::Range<usize>, step: usize, entry: u32) {
    let table = table.get_mut(places).unwrap_or_default();
    table.iter_mut().step_by(step).for_each(|slot| *slot = entry);
}

/// Bits of the table behind, for codes of which the first has so many bits more than the table before, and is the
/// `nth` of its length: as many as fill it.
fn more_bits(counts: &[u16; LONGEST + 1], bits: u32, mut more: u32, nth: u16) -> u32 {
    let of = |length: u32| counts.get(length as usize).copied();
    let mut left = (1i32 << more) - i32::from(of(bits + more).unwrap_or(0) - nth);
    while left > 0 {
        let Some(count) = of(bits + more + 1) else { break };
        more += 1;
        left = (left << 1) - i32::from(count);
    }
    more
}
