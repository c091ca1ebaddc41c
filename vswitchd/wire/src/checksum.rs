//! The Internet checksum (RFC 1071): sums, pseudo-headers, completion and verification.
//!
//! The ones' complement sum does not depend on the order of the bytes in a word, so words are summed as they lie in
//! memory and the result is swapped once at the end (RFC 1071, 2 (B)).

/// A ones' complement sum that is not folded yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The sum of both. The bytes of all but the last part must be even in number.
    #[inline]
    pub fn and(self, other: Sum) -> Sum {
        let (sum, carry) = self.0.overflowing_add(other.0);
        Sum(sum + u64::from(carry))
    }

    /// The sum in 16 bits, in host order, not complemented.
    #[inline]
    pub fn fold(self) -> u16 {
        let mut sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        sum = (sum >> 32) + (sum & 0xffff_ffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        u16::from_be(sum as u16)
    }

    /// Whether bytes that hold their own checksum sum up to what they must.
    #[inline]
    pub fn is_valid(self) -> bool {
        self.fold() == 0xffff
    }
}

/// The sum of a few bytes of known number, a multiple of four.
#[inline]
pub(crate) fn sum_fixed<const N: usize>(bytes: &[u8; N]) -> Sum {
    Sum(bytes.as_chunks::<4>().0.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum())
}

/// The sum of `bytes`; an odd last byte is the upper half of its word.
pub fn sum(bytes: &[u8]) -> Sum {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut total: u64 = words.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum();
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    total += u64::from(u32::from_ne_bytes(last));
    Sum(total)
}
