//! The search of texts of a few bytes: most datagrams of some protocols, methods, names of hosts.
//!
//! There vectors are mostly empty, and to make them ready costs more than the bytes do one by one. Two bytes at each place
//! are asked of a bitmap of the pairs that the entered bytes of short patterns begin with; only where one stands there the
//! tables are asked.

use super::table::{FOLD, hash};
use super::{FOLDS, Matcher, Searched, Table, first_bits};

/// Bytes to be looked at in a short text, at most.
pub const BRIEF: usize = 48;
/// Words of the bitmap.
const WORDS: usize = 256;

/// Case folding of eight bytes.
const FOLDED: u64 = u64::from_le_bytes([FOLD; 8]);

/// The first two bytes, folded, of what is entered for short patterns.
#[derive(Debug)]
pub struct Pairs([u64; WORDS]);

impl Pairs {
    /// Those of the tables.
    pub fn of(tables: [&Table; 2]) -> Box<Pairs> {
        let mut pairs = Box::new(Pairs([0; WORDS]));
        for key in tables.into_iter().flat_map(Table::keys) {
            let (word, bit) = place(key & 0xffff);
            pairs.0.get_mut(word).into_iter().for_each(|word| *word |= 1 << bit);
        }
        pairs
    }

    /// Whether one of them may stand in a text of no more than [`BRIEF`] bytes. Behind its last byte anything may follow.
    #[inline(always)]
    fn may_stand(&self, text: &[u8]) -> bool {
        self.fold(text, |found, asked, _| found | asked) & 1 != 0
    }

    /// The places of such a text at which one of them may stand, a bit each.
    #[inline(never)]
    fn places(&self, text: &[u8]) -> u64 {
        self.fold(text, |places, asked, at| places | (asked & 1) << at) & first_bits(text.len())
    }

    /// Gathers what [`Pairs::ask`] says of each place, and of some behind the text.
    #[inline(always)]
    fn fold(&self, text: &[u8], gather: impl Fn(u64, u64, u32) -> u64) -> u64 {
        let mut padded = [[0; 8]; BRIEF / 8 + 1];
        let bytes = padded.as_flattened_mut().get_mut(..text.len());
        bytes.into_iter().for_each(|bytes| bytes.copy_from_slice(text));
        let mut gathered = 0;
        // No branch hangs on a place.
        let eights = padded.iter().zip(padded.iter().skip(1)).take(text.len().div_ceil(8));
        for (from, (eight, behind)) in (0..).step_by(8).zip(eights) {
            let eight = u64::from_le_bytes(*eight) | FOLDED;
            let behind = u64::from(behind[0] | FOLD) << 8;
            for nth in 0..7 {
                gathered = gather(gathered, self.ask((eight >> (8 * nth)) as u32 & 0xffff), from + nth);
            }
            gathered = gather(gathered, self.ask((eight >> 56 | behind) as u32), from + 7);
        }
        gathered
    }

    /// The lowest bit tells whether two bytes are there.
    #[inline(always)]
    fn ask(&self, pair: u32) -> u64 {
        let (word, bit) = place(pair);
        self.0[word % WORDS] >> bit
    }
}

/// The word and the bit of two bytes.
#[inline(always)]
fn place(pair: u32) -> (usize, u32) {
    let spread = hash(pair);
    ((spread >> (32 - WORDS.ilog2())) as usize, spread >> (26 - WORDS.ilog2()) & 63)
}

impl Matcher {
    /// Finds the patterns that are not placed in a text of few bytes.
    pub(super) fn search_briefly(&self, search: Searched<'_>, hit: &mut dyn FnMut(usize, usize)) {
        let Some(rest) = search.text.get(search.first..) else { return };
        if !self.grams.is_empty() {
            // A window of which a part lies behind the text is of no pattern that stands in it.
            for (nth, four) in rest.as_chunks::<4>().0.iter().enumerate() {
                if self.grams.may_have(u32::from_le_bytes(*four) | FOLDS) {
                    let at = search.first + 4 * nth;
                    self.grams.compare_one(at, &self.literals, search, hit);
                }
            }
        }
        let Some(pairs) = &self.pairs_of_shorts else { return };
        // Most texts have none at all, which is told sooner.
        let mut places = if pairs.may_stand(rest) { pairs.places(rest) } else { 0 };
        while places != 0 {
            self.find_at(search.first + places.trailing_zeros() as usize, search, hit);
            places &= places - 1;
        }
    }

    /// Finds the short patterns of which the entered bytes stand at a place.
    #[inline(never)]
    fn find_at(&self, at: usize, search: Searched<'_>, hit: &mut dyn FnMut(usize, usize)) {
        let mut four = [0; 4];
        four.iter_mut().zip(search.text.get(at..).unwrap_or_default()).for_each(|(to, &byte)| *to = byte);
        let key = u32::from_le_bytes(four) | FOLDS;
        if self.fours.may_have(key) {
            self.compare(&self.fours, key, at, search, hit);
        }
        if self.pairs.may_have(key & 0xffff) {
            self.compare(&self.pairs, key & 0xffff, at, search, hit);
        }
    }
}
