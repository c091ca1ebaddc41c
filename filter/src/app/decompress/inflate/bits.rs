//! Bytes as bits, and the numbers that they make.

use super::codes::COPY;

/// Bytes that go in, bit by bit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bits {
    /// The next bits, from the lowest on; above them zeros, or bits that will be added again.
    pub held: u64,
    /// How many there are.
    pub count: u32,
}

impl Bits {
    /// Takes bytes while there is room for them: 56 bits are there, or all.
    #[inline(always)]
    pub fn fill(&mut self, input: &mut &[u8]) {
        if let Some(eight) = input.first_chunk::<8>() {
            self.held |= u64::from_le_bytes(*eight) << self.count;
            *input = input.get((63 - self.count as usize) / 8..).unwrap_or_default();
            self.count |= 56;
        } else {
            self.fill_slowly(input);
        }
    }

    #[cold]
    fn fill_slowly(&mut self, input: &mut &[u8]) {
        // Bits above the count may be those of bytes that are added yet.
        self.held &= (1 << self.count) - 1;
        while let Some((&byte, rest)) = input.split_first().filter(|_| self.count < 56) {
            self.held |= u64::from(byte) << self.count;
            self.count += 8;
            *input = rest;
        }
    }

    /// The next bits, which stay.
    #[inline(always)]
    pub fn peek(&self, count: u32) -> u64 {
        self.held & ((1 << count) - 1)
    }

    /// Passes so many over, that are there.
    #[inline(always)]
    pub fn drop(&mut self, count: u32) {
        self.held >>= count;
        self.count -= count;
    }

    /// So many bits, where they are there.
    pub fn take(&mut self, count: u32) -> Option<u64> {
        let bits = self.peek(count);
        (self.count >= count).then(|| {
            self.drop(count);
            bits
        })
    }
}

/// Bits of a code with those of its number.
#[inline(always)]
pub fn needed(entry: u32) -> u32 {
    (entry & 15) + (entry >> 8 & 15)
}

/// Takes a code and the bits behind it: a length or a distance.
#[inline(always)]
pub fn number(bits: &mut Bits, entry: u32) -> usize {
    bits.drop(entry & 15);
    let extra = entry >> 8 & 15;
    let number = (entry >> COPY) as usize + bits.peek(extra) as usize;
    bits.drop(extra);
    number
}
