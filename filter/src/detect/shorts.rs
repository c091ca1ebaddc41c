//! The filter in front of short patterns, with vector instructions: thirty-two places of the text at a
//! time.
//!
//! Patterns are put in eight buckets. For each of four bytes in a row, and each half of such a byte, sixteen entries
//! say which buckets have a pattern with that half there; what all eight say together are the buckets that may have a
//! pattern there. (The method is known as Teddy.) Text has few upper halves, so that buckets of many patterns would let
//! much of it through: the patterns are put in buckets twice, by what they begin with and by what they end in, and a
//! place counts where both let it through. Newer processors have a sharper one ([`wide`]). Where the processor has no AVX2
//! there is no such filter, and [`super::matcher`] looks the bytes up one by one.

pub mod wide;

use super::matcher::{BLOCK, LOAD};

/// Bytes of a pattern that are looked at.
const WIDTH: usize = 4;
/// Case folding.
const FOLD: u8 = 0x20;
const BUCKETS: usize = 8;
/// Patterns of one filter at most.
const MOST: usize = 128;
/// Filters that are looked through one behind the other at most.
const FILTERS: usize = 6;

/// Buckets by the half of a byte; twice, since vectors are looked up by halves.
type Halves = [u8; 32];

/// The filter: for each byte what either way of putting patterns in buckets says of its lower and its upper half.
#[derive(Debug)]
pub struct Shorts {
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
    halves: [[[Halves; 2]; 2]; WIDTH],
}

/// How many of the buckets each of some classes of patterns gets, by their numbers of patterns; those that say less
/// need more.
fn shares(counts: [usize; 3], buckets: usize) -> [usize; 3] {
    let mut shares = counts.map(|count| usize::from(count > 0));
    while shares.iter().sum::<usize>() < buckets {
        let crowd = |class: &usize| {
            let of = |list: [usize; 3]| list.get(*class).copied().unwrap_or(0);
            (of(counts) * of([4, 2, 1]) * 64).checked_div(of(shares)).unwrap_or(0)
        };
        let fullest = (0..shares.len()).max_by_key(crowd);
        fullest.and_then(|class| shares.get_mut(class)).into_iter().for_each(|share| *share += 1);
    }
    shares
}

impl Shorts {
    /// Filters for patterns, of which [`WIDTH`] bytes are given, and whether they may stand in either case; `None` where there are none, more than
    /// the filters would leave much out of, or no vector instructions.
    pub fn of_all(patterns: &[(&[u8], bool)]) -> Option<Box<[Shorts]>> {
        let mut sorted: Vec<&[u8]> = patterns.iter().map(|&(bytes, _)| bytes).collect();
        sorted.sort_unstable_by_key(|bytes| (bytes.len(), *bytes));
        sorted.dedup();
        if sorted.is_empty() || sorted.len() > FILTERS * MOST {
            return None;
        }
        let each = sorted.len().div_ceil(sorted.len().div_ceil(MOST));
        sorted.chunks(each).map(Shorts::new).collect()
    }

    /// A filter for some of them; `None` without vector instructions.
    fn new(patterns: &[&[u8]]) -> Option<Shorts> {
        if cfg!(not(target_arch = "x86_64")) {
            return None;
        }
        let mut shorts = Shorts { halves: [[[[0; 32]; 2]; 2]; WIDTH] };
        let class = |bytes: &[u8]| bytes.len().saturating_sub(2).min(2);
        let mut classes: [Vec<Vec<u8>>; 3] = Default::default();
        for bytes in patterns {
            if let Some(list) = classes.get_mut(class(bytes)) {
                list.push(bytes.iter().take(WIDTH).map(|byte| byte | FOLD).collect());
            }
        }
        let shares = shares([0, 1, 2].map(|class| classes.get(class).map_or(0, Vec::len)), BUCKETS);
        let mut first = 0;
        for (list, share) in classes.iter_mut().zip(shares) {
            let count = list.len();
            for way in 0..2 {
                // By what they begin with, then by what they end in.
                list.sort_unstable_by(|a, b| if way == 0 { a.cmp(b) } else { a.iter().rev().cmp(b.iter().rev()) });
                for (nth, bytes) in list.iter().enumerate() {
                    shorts.enter(way, bytes, 1 << (first + nth * share / count));
                }
            }
            first += share;
        }
        Some(shorts)
    }

    /// Puts a pattern's folded bytes in a bucket; what it does not have may be anything.
    fn enter(&mut self, way: usize, bytes: &[u8], bucket: u8) {
        for (nth, ways) in self.halves.iter_mut().enumerate() {
            let Some([lower, upper]) = ways.get_mut(way) else { continue };
            match bytes.get(nth) {
                Some(byte) => {
                    lower.iter_mut().skip(usize::from(byte & 15)).step_by(16).for_each(|slot| *slot |= bucket);
                    upper.iter_mut().skip(usize::from(byte >> 4)).step_by(16).for_each(|slot| *slot |= bucket);
                }
                None => lower.iter_mut().chain(upper).for_each(|slot| *slot |= bucket),
            }
        }
    }

    /// The places at which a pattern may begin, of thirty-two from `at` on in a block.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub fn note(&self, vectors: pulp::x86::V3, block: &[u8; BLOCK + LOAD], at: usize) -> u32 {
        use std::arch::x86_64::__m256i;
        let (avx, avx2) = (vectors.avx, vectors.avx2);
        let (half, fold) = (avx._mm256_set1_epi8(15), avx._mm256_set1_epi8(FOLD as i8));
        let mut buckets = [avx._mm256_set1_epi8(-1); 2];
        for (nth, ways) in self.halves.iter().enumerate() {
            let Some(&bytes) = block.get(at + nth..).and_then(<[u8]>::first_chunk::<32>) else { continue };
            let bytes = avx2._mm256_or_si256(pulp::cast::<[u8; 32], __m256i>(bytes), fold);
            let low = avx2._mm256_and_si256(bytes, half);
            let high = avx2._mm256_and_si256(avx2._mm256_srli_epi16::<4>(bytes), half);
            for (buckets, [lower, upper]) in buckets.iter_mut().zip(ways) {
                let lower = avx2._mm256_shuffle_epi8(pulp::cast::<Halves, __m256i>(*lower), low);
                let upper = avx2._mm256_shuffle_epi8(pulp::cast::<Halves, __m256i>(*upper), high);
                *buckets = avx2._mm256_and_si256(*buckets, avx2._mm256_and_si256(lower, upper));
            }
        }
        let ([first, last], zero) = (buckets, avx._mm256_setzero_si256());
        let none = avx2._mm256_or_si256(avx2._mm256_cmpeq_epi8(first, zero), avx2._mm256_cmpeq_epi8(last, zero));
        !avx2._mm256_movemask_epi8(none) as u32
    }
}
