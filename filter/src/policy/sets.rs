//! Sets of rules as rows of bits, and the tables that name a row for a value.
//!
//! Equal rows are kept once. Row 0 is the set of all rules; it needs no looking at.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Words that are looked at together; rows are padded to a multiple.
pub(super) const BLOCK: usize = 8;
/// Bytes that all rows of a policy may take.
pub(super) const ROWS_MAX_BYTES: usize = 256 << 20;

/// The number of a row.
pub(super) type Row = u32;
/// All rules.
pub(super) const ALL: Row = 0;

/// The rows of a policy.
#[derive(Debug, Default)]
pub(super) struct Rows {
    words: usize,
    bits: Vec<u64>,
}

impl Rows {
    /// The words of a row.
    #[inline]
    pub fn get(&self, row: Row) -> &[u64] {
        let start = row as usize * self.words;
        self.bits.get(start..start + self.words).unwrap_or(&[])
    }

    /// Bytes of all rows.
    pub fn bytes(&self) -> usize {
        self.bits.len() * 8
    }
}

/// A set of rules in the making.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Set(Vec<u64>);

impl Set {
    pub fn add(&mut self, rule: usize) {
        if let Some(word) = self.0.get_mut(rule / 64) {
            *word |= 1 << (rule % 64);
        }
    }

    pub fn remove(&mut self, rule: usize) {
        if let Some(word) = self.0.get_mut(rule / 64) {
            *word &= !(1 << (rule % 64));
        }
    }

    /// The rules of either.
    pub fn or(&self, other: &Set) -> Set {
        Set(self.0.iter().zip(&other.0).map(|(a, b)| a | b).collect())
    }

    /// The rules of both.
    pub fn and(&self, other: &Set) -> Set {
        Set(self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect())
    }
}

/// Makes rows, keeping equal ones once.
#[derive(Debug)]
pub(super) struct Maker {
    rows: Rows,
    known: HashMap<u64, Vec<Row>, BuildHasherDefault<DefaultHasher>>,
    rules: usize,
    full: bool,
}

impl Maker {
    pub fn new(rules: usize) -> Maker {
        let words = rules.div_ceil(64 * BLOCK) * BLOCK;
        let mut maker = Maker { rows: Rows { words, bits: Vec::new() }, known: HashMap::default(), rules, full: false };
        let mut all = maker.empty();
        (0..rules).for_each(|rule| all.add(rule));
        maker.row(&all);
        maker
    }

    /// A set without rules.
    pub fn empty(&self) -> Set {
        Set(vec![0; self.rows.words])
    }

    /// The set of the rules that `chosen` names.
    pub fn set(&self, chosen: impl Fn(usize) -> bool) -> Set {
        let mut set = self.empty();
        (0..self.rules).filter(|&rule| chosen(rule)).for_each(|rule| set.add(rule));
        set
    }

    /// The row of a set.
    pub fn row(&mut self, set: &Set) -> Row {
        if self.full {
            return ALL;
        }
        let mut hasher = DefaultHasher::new();
        set.hash(&mut hasher);
        let rows = self.known.entry(hasher.finish()).or_default();
        if let Some(&row) = rows.iter().find(|&&row| self.rows.get(row) == set.0) {
            return row;
        }
        if self.rows.bytes() + set.0.len() * 8 > ROWS_MAX_BYTES {
            self.full = true;
            return ALL;
        }
        let row = self.rows.bits.len().checked_div(self.rows.words).unwrap_or(0) as Row;
        self.rows.bits.extend_from_slice(&set.0);
        rows.push(row);
        row
    }

    /// The rows; `None` where they would take more than [`ROWS_MAX_BYTES`].
    pub fn finish(self) -> Option<Rows> {
        (!self.full).then_some(self.rows)
    }
}

/// A number that rules state ranges of.
pub(super) trait Value: Copy + Ord {
    const FIRST: Self;
    fn next(self) -> Option<Self>;
}

macro_rules! value {
    ($($t:ty),+) => {$(
        impl Value for $t {
            const FIRST: $t = 0;
            fn next(self) -> Option<$t> {
                self.checked_add(1)
            }
        }
    )+};
}

value!(u8, u16, u32, u128);

/// Ranges of values, both ends included, of one rule.
pub(super) type Ranges<T> = Vec<(T, T)>;

/// Values, cut into intervals within which the same rules match.
#[derive(Debug)]
pub(super) struct Intervals<T> {
    /// First values of the intervals, the first of all in front.
    starts: Vec<T>,
    rows: Vec<Row>,
}

impl<T> Default for Intervals<T> {
    fn default() -> Intervals<T> {
        Intervals { starts: Vec::new(), rows: Vec::new() }
    }
}

impl<T: Value> Intervals<T> {
    /// The intervals of rules that state ranges. `open` are the rules that state none and match every value.
    pub fn new(maker: &mut Maker, open: &Set, ranges: Vec<(usize, Ranges<T>)>) -> Intervals<T> {
        // (value, rule, whether it begins here)
        let mut edges: Vec<(T, usize, bool)> = Vec::new();
        for (rule, ranges) in ranges {
            for (first, last) in merged(ranges) {
                edges.push((first, rule, true));
                edges.extend(last.next().map(|end| (end, rule, false)));
            }
        }
        edges.sort_unstable();
        let mut set = open.clone();
        let mut intervals = Intervals { starts: vec![T::FIRST], rows: Vec::new() };
        for edges in edges.chunk_by(|a, b| a.0 == b.0) {
            if let Some(&(start, ..)) = edges.first().filter(|edge| edge.0 != T::FIRST) {
                intervals.rows.push(maker.row(&set));
                intervals.starts.push(start);
            }
            for &(_, rule, begins) in edges {
                if begins { set.add(rule) } else { set.remove(rule) }
            }
        }
        intervals.rows.push(maker.row(&set));
        intervals
    }

    /// The same rules match every value.
    #[inline]
    pub fn is_one(&self) -> bool {
        self.rows.len() <= 1
    }

    /// The rules that match this value.
    #[inline]
    pub fn get(&self, value: T) -> Row {
        if self.rows.len() == 1 {
            return self.rows[0];
        }
        let behind = self.starts.partition_point(|&start| start <= value);
        self.rows.get(behind.wrapping_sub(1)).copied().unwrap_or(ALL)
    }
}

/// Ranges that touch or overlap become one, so that each rule begins and ends in turns.
fn merged<T: Value>(mut ranges: Ranges<T>) -> Ranges<T> {
    ranges.sort_unstable();
    let mut merged: Ranges<T> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if before.1.next().is_none_or(|next| first <= next) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_answer_as_the_ranges_do() {
        let ranges: Vec<(usize, Ranges<u8>)> = vec![
            (0, vec![(0, 10), (5, 20), (21, 30)]),
            (2, vec![(255, 255), (0, 0)]),
            (3, vec![(0, 255)]),
            (4, vec![(10, 10), (12, 12)]),
        ];
        let mut maker = Maker::new(6);
        let open = maker.set(|rule| rule == 5);
        let intervals = Intervals::new(&mut maker, &open, ranges.clone());
        let rows = maker.finish().unwrap();
        for value in 0..=255u8 {
            let expected = ranges.iter().filter(|(_, r)| r.iter().any(|&(a, b)| (a..=b).contains(&value)));
            let expected = expected.fold(1u64 << 5, |bits, (rule, _)| bits | 1 << rule);
            assert_eq!(rows.get(intervals.get(value))[0], expected, "{value}");
        }
    }

    #[test]
    fn equal_sets_share_a_row_and_all_rules_are_row_zero() {
        let mut maker = Maker::new(100);
        let all = maker.set(|_| true);
        let odd = maker.set(|rule| rule % 2 == 1);
        assert_eq!((maker.row(&all), maker.row(&odd), maker.row(&odd), maker.row(&all)), (ALL, 1, 1, ALL));
        assert_eq!(maker.finish().unwrap().bytes(), 2 * BLOCK * 8);
    }
}
