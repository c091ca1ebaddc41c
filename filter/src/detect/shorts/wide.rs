//! The same with the larger vectors of newer processors (AVX-512): sixty-four places at a time.
//!
//! A table of sixty-four entries is looked up at once, so a byte is looked up by its lower six bits, not by halves, and
//! an entry has sixteen buckets. That tells upper case from lower case, and letters apart, of which halves of bytes say
//! little. Places are looked up in pairs: words of two bytes give the even ones, shifted by one byte the odd ones.

use super::{WIDTH, shares};
use crate::detect::matcher::{BLOCK, LOAD, ROW};

/// Patterns of one filter at most.
const MOST: usize = 96;
/// Filters that are looked through one behind the other at most.
const FILTERS: usize = 8;
const BUCKETS: usize = 16;
/// What bytes are told apart by: their lower six bits.
const CLASSES: usize = 64;

/// The filter: for each byte the buckets that have a pattern with a byte of that class there.
#[derive(Debug)]
pub struct Wide {
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
    buckets: [[u16; CLASSES]; WIDTH],
}

impl Wide {
    /// Filters for patterns, of which [`WIDTH`] bytes are given, and whether they may stand in either case; `None` where
    /// there are none, or more than the filters would leave much out of.
    pub fn of_all(patterns: &[(&[u8], bool)]) -> Option<Box<[Wide]>> {
        let mut sorted = patterns.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.is_empty() || sorted.len() > FILTERS * MOST {
            return None;
        }
        let each = sorted.len().div_ceil(sorted.len().div_ceil(MOST));
        Some(sorted.chunks(each).map(Wide::new).collect())
    }

    /// A filter for some of them, which are sorted: neighbours begin alike, and share a bucket.
    fn new(patterns: &[(&[u8], bool)]) -> Wide {
        let mut wide = Wide { buckets: [[0; CLASSES]; WIDTH] };
        let class = |bytes: &[u8]| bytes.len().saturating_sub(2).min(2);
        let of = |wanted: usize| patterns.iter().filter(move |(bytes, _)| class(bytes) == wanted);
        let counts = [0, 1, 2].map(|class| of(class).count());
        let mut first = 0;
        for (class, share) in shares(counts, BUCKETS).into_iter().enumerate() {
            for (nth, &(bytes, caseless)) in of(class).enumerate() {
                let count = counts.get(class).copied().unwrap_or(0).max(1);
                wide.enter(bytes, caseless, 1 << (first + nth * share / count));
            }
            first += share;
        }
        wide
    }

    /// Puts a pattern in a bucket; the bytes that it does not have may be anything.
    fn enter(&mut self, pattern: &[u8], caseless: bool, bucket: u16) {
        for (nth, buckets) in self.buckets.iter_mut().enumerate() {
            let mut enter = |byte: u8| {
                let slot = buckets.get_mut(usize::from(byte) % CLASSES);
                slot.into_iter().for_each(|slot| *slot |= bucket);
            };
            match pattern.get(nth) {
                Some(byte) if caseless => {
                    enter(byte.to_ascii_lowercase());
                    enter(byte.to_ascii_uppercase());
                }
                Some(&byte) => enter(byte),
                None => buckets.iter_mut().for_each(|slot| *slot |= bucket),
            }
        }
    }

    /// Adds the places at which a pattern may begin, of a block's first `rows` rows.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub fn note(
        &self,
        vectors: pulp::x86::V4,
        block: &[u8; BLOCK + LOAD],
        rows: usize,
        noted: &mut [u64; BLOCK / ROW],
    ) {
        use std::arch::x86_64::__m512i;
        let (avx, words) = (vectors.avx512f, vectors.avx512bw);
        let tables: [[__m512i; 2]; WIDTH] = self.buckets.map(pulp::cast);
        let look = |nth: usize, classes: __m512i| {
            let [low, high] = tables[nth];
            words._mm512_permutex2var_epi16(low, classes, high)
        };
        let one = avx._mm512_set1_epi16(1);
        for (nth, noted) in noted.iter_mut().take(rows).enumerate() {
            let bytes = |from: usize| {
                let row = block.get(nth * ROW + from..).and_then(<[u8]>::first_chunk::<ROW>);
                pulp::cast::<[u8; ROW], __m512i>(row.copied().unwrap_or([0; ROW]))
            };
            let (first, third, fifth) = (bytes(0), bytes(2), bytes(4));
            let (second, fourth) = (words._mm512_srli_epi16::<8>(first), words._mm512_srli_epi16::<8>(third));
            let buckets = |at: [__m512i; WIDTH]| {
                let [first, second, third, fourth] = at;
                avx._mm512_and_si512(
                    avx._mm512_and_si512(look(0, first), look(1, second)),
                    avx._mm512_and_si512(look(2, third), look(3, fourth)),
                )
            };
            let (even, odd) = (buckets([first, second, third, fourth]), buckets([second, third, fourth, fifth]));
            // A byte each that is not zero where there are buckets.
            let even = words._mm512_min_epu16(even, one);
            let odd = words._mm512_slli_epi16::<8>(words._mm512_min_epu16(odd, one));
            let both = avx._mm512_or_si512(even, odd);
            *noted |= words._mm512_test_epi8_mask(both, both);
        }
    }
}
