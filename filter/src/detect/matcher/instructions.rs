//! What the search does with many bytes at once: with the vector instructions that the processor has, or one by one.

use super::grams::{Grams, PLACES};
use super::{BLOCK, LOAD, Matcher, ROW, load};

/// The vector instructions that there are.
#[derive(Clone, Copy, Debug)]
pub enum Vectors {
    /// None that are of use.
    None,
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    V3(pulp::x86::V3),
    /// AVX-512, on processors that do not slow down for it.
    #[cfg(target_arch = "x86_64")]
    V4(pulp::x86::V4),
}

impl Vectors {
    /// The best that the processor has.
    #[cfg(target_arch = "x86_64")]
    pub fn best() -> Vectors {
        // The first processors with large vectors, which run slower where these are used, lack this part of them.
        let is_later = std::arch::is_x86_feature_detected!("avx512vbmi");
        match (pulp::x86::V4::try_new().filter(|_| is_later), pulp::x86::V3::try_new()) {
            (Some(large), _) => Vectors::V4(large),
            (None, Some(small)) => Vectors::V3(small),
            (None, None) => Vectors::None,
        }
    }

    /// The best that the processor has.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn best() -> Vectors {
        Vectors::None
    }

    /// There are some.
    pub fn are_there(self) -> bool {
        !matches!(self, Vectors::None)
    }

    /// They are of 32 bytes.
    pub fn are_small(self) -> bool {
        self.are_there() && !self.are_large()
    }

    /// They are of 64 bytes.
    pub fn are_large(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return matches!(self, Vectors::V4(_));
        #[cfg(not(target_arch = "x86_64"))]
        false
    }
}

/// What the search does with many bytes at once.
pub trait Instructions: Copy {
    /// Of the words of a block's first `rows` rows a bit each: whether a window may be entered for it.
    fn grams(self, grams: &Grams, block: &[u8; BLOCK + LOAD], rows: usize) -> u64;

    /// Of the first `length` places of a block a bit each, by rows: whether a short pattern may be entered for it. What
    /// is said of places behind them means nothing.
    fn shorts(self, matcher: &Matcher, block: &[u8; BLOCK + LOAD], length: usize) -> [u64; BLOCK / ROW];
}

/// One after the other.
#[derive(Clone, Copy)]
pub struct Plain;

impl Instructions for Plain {
    #[inline(always)]
    fn grams(self, grams: &Grams, block: &[u8; BLOCK + LOAD], rows: usize) -> u64 {
        grams.note(block, rows, |words, masks| {
            words.iter().zip(&masks).rev().fold(0, |bits, (word, mask)| bits << 1 | u64::from(word == mask))
        })
    }

    #[inline(always)]
    fn shorts(self, matcher: &Matcher, block: &[u8; BLOCK + LOAD], length: usize) -> [u64; BLOCK / ROW] {
        let mut noted = [0; BLOCK / ROW];
        for place in 0..length {
            let key = load(block, place);
            let may_have = matcher.fours.may_have(key) || matcher.pairs.may_have(key & 0xffff);
            let row = noted.get_mut(place / ROW);
            row.into_iter().for_each(|row| *row |= u64::from(may_have) << (place % ROW));
        }
        noted
    }
}

#[cfg(target_arch = "x86_64")]
impl Instructions for pulp::x86::V3 {
    #[inline(always)]
    fn grams(self, grams: &Grams, block: &[u8; BLOCK + LOAD], rows: usize) -> u64 {
        use std::arch::x86_64::__m256i;
        let halves = |all: [u32; PLACES]| pulp::cast::<[u32; PLACES], [__m256i; 2]>(all);
        let bits = |words, masks| {
            let equal = self.avx2._mm256_cmpeq_epi32(words, masks);
            self.avx._mm256_movemask_ps(self.avx._mm256_castsi256_ps(equal)) as u8
        };
        grams.note(block, rows, |words, masks| {
            let ([low, high], [mask_low, mask_high]) = (halves(words), halves(masks));
            u64::from(bits(low, mask_low)) | u64::from(bits(high, mask_high)) << 8
        })
    }

    #[inline(always)]
    fn shorts(self, matcher: &Matcher, block: &[u8; BLOCK + LOAD], length: usize) -> [u64; BLOCK / ROW] {
        let Some(filters) = &matcher.shorts else { return Plain.shorts(matcher, block, length) };
        let mut noted = [0; BLOCK / ROW];
        for (row, from) in noted.iter_mut().zip((0..length).step_by(ROW)) {
            for filter in filters {
                *row |= u64::from(filter.note(self, block, from));
                if length - from > ROW / 2 {
                    *row |= u64::from(filter.note(self, block, from + ROW / 2)) << (ROW / 2);
                }
            }
        }
        noted
    }
}

#[cfg(target_arch = "x86_64")]
impl Instructions for pulp::x86::V4 {
    #[inline(always)]
    fn grams(self, grams: &Grams, block: &[u8; BLOCK + LOAD], rows: usize) -> u64 {
        grams_with_small(*self, grams, block, rows)
    }

    #[inline(always)]
    fn shorts(self, matcher: &Matcher, block: &[u8; BLOCK + LOAD], length: usize) -> [u64; BLOCK / ROW] {
        let Some(filters) = &matcher.wide else { return Plain.shorts(matcher, block, length) };
        let mut noted = [0; BLOCK / ROW];
        for filter in filters {
            filter.note(self, block, length.div_ceil(ROW), &mut noted);
        }
        noted
    }
}

/// With the smaller vectors. Words of a table are looked up one by one there; where the compiler may use larger vectors,
/// it gathers them, which is slower.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
fn grams_with_small(vectors: pulp::x86::V3, grams: &Grams, block: &[u8; BLOCK + LOAD], rows: usize) -> u64 {
    struct Note<'n>(pulp::x86::V3, &'n Grams, &'n [u8; BLOCK + LOAD], usize);
    impl pulp::NullaryFnOnce for Note<'_> {
        type Output = u64;

        #[inline(always)]
        fn call(self) -> u64 {
            let Note(vectors, grams, block, rows) = self;
            vectors.grams(grams, block, rows)
        }
    }
    vectors.vectorize(Note(vectors, grams, block, rows))
}
