//! The filter in front of short patterns, with vector instructions: thirty-two places of the text at a
//! time.
//!
//! Patterns are put in eight buckets. For each of four bytes in a row, and each half of such a byte, sixteen entries
//! say which buckets have a pattern with that half there; what all eight say together are the buckets that may have a
//! pattern there. (The method is known as Teddy.) Where the processor has no AVX2 there is no such filter, and
//! [`super::matcher`] looks the bytes up one by one.

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

/// The filter.
#[derive(Debug)]
pub struct Shorts {
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
    lower: [Halves; WIDTH],
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
    upper: [Halves; WIDTH],
}

impl Shorts {
    /// Filters for patterns, of which [`WIDTH`] bytes in lower case are given; `None` where there are none, more than
    /// the filters would leave much out of, or no vector instructions.
    pub fn of_all(patterns: &[&[u8]]) -> Option<Box<[Shorts]>> {
        let mut sorted = patterns.to_vec();
        sorted.sort_unstable_by_key(|bytes| (bytes.len(), *bytes));
        sorted.dedup();
        if sorted.is_empty() || sorted.len() > FILTERS * MOST {
            return None;
        }
        let each = sorted.len().div_ceil(sorted.len().div_ceil(MOST));
        sorted.chunks(each).map(Shorts::new).collect()
    }

    /// A filter for some of them, sorted; `None` without vector instructions.
    fn new(sorted: &[&[u8]]) -> Option<Shorts> {
        let mut shorts = Shorts { lower: [[0; 32]; WIDTH], upper: [[0; 32]; WIDTH] };
        if cfg!(not(target_arch = "x86_64")) {
            return None;
        }
        // Those that say less have buckets of their own.
        let few = sorted.iter().filter(|bytes| bytes.len() < 3).count();
        let some = sorted.iter().filter(|bytes| bytes.len() == 3).count();
        let kept = usize::from(few > 0) + usize::from(some > 0);
        for (nth, bytes) in sorted.iter().enumerate() {
            let bucket = match bytes.len() {
                0..3 => 0,
                3 => kept - 1,
                _ => kept + (nth - few - some) * (BUCKETS - kept) / (sorted.len() - few - some),
            };
            shorts.enter(bytes, 1 << bucket);
        }
        Some(shorts)
    }

    fn enter(&mut self, bytes: &[u8], bucket: u8) {
        for (nth, (lower, upper)) in self.lower.iter_mut().zip(&mut self.upper).enumerate() {
            match bytes.get(nth).map(|byte| byte | FOLD) {
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
        let mut buckets = avx._mm256_set1_epi8(-1);
        for (nth, (lower, upper)) in self.lower.iter().zip(&self.upper).enumerate() {
            let Some(&bytes) = block.get(at + nth..).and_then(<[u8]>::first_chunk::<32>) else { continue };
            let bytes = avx2._mm256_or_si256(pulp::cast::<[u8; 32], __m256i>(bytes), fold);
            let low = avx2._mm256_and_si256(bytes, half);
            let low = avx2._mm256_shuffle_epi8(pulp::cast::<Halves, __m256i>(*lower), low);
            let high = avx2._mm256_and_si256(avx2._mm256_srli_epi16::<4>(bytes), half);
            let high = avx2._mm256_shuffle_epi8(pulp::cast::<Halves, __m256i>(*upper), high);
            buckets = avx2._mm256_and_si256(buckets, avx2._mm256_and_si256(low, high));
        }
        let none = avx2._mm256_cmpeq_epi8(buckets, avx._mm256_setzero_si256());
        !avx2._mm256_movemask_epi8(none) as u32
    }
}
