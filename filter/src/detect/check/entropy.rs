//! `entropy`: how evenly the bytes of a buffer are spread (Shannon, bits per byte).

use weir_ids_rules::rule::Entropy;

/// Whether the entropy of the bytes lies within the bounds. No bytes have none.
pub fn holds(entropy: &Entropy, text: &[u8]) -> bool {
    let Some(text) = text.get(entropy.offset as usize..) else { return false };
    let text = match entropy.bytes {
        Some(bytes) => match text.get(..bytes as usize) {
            Some(text) => text,
            None => return false,
        },
        None => text,
    };
    entropy.micro_bits.contains(micro_bits(text))
}

fn micro_bits(text: &[u8]) -> u64 {
    let mut counts = [0u32; 256];
    for byte in text {
        counts[usize::from(*byte)] += 1;
    }
    let total = text.len().max(1) as f64;
    let share = |count: &u32| {
        let p = f64::from(*count) / total;
        -p * p.log2()
    };
    let bits: f64 = counts.iter().filter(|count| **count > 0).map(share).sum();
    (bits * 1e6).round().max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_bytes_have_eight_bits_and_equal_ones_none() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(micro_bits(&all), 8_000_000);
        assert_eq!(micro_bits(b"aaaa"), 0);
        assert_eq!(micro_bits(b"abab"), 1_000_000);
        assert_eq!(micro_bits(b""), 0);
    }
}
