//! So many of something at once, filled up again in time.

use weir_wire::Instant;

#[derive(Debug)]
pub(crate) struct Bucket {
    tokens: u32,
    burst: u32,
    /// Nanoseconds a token.
    interval: u64,
    filled: Instant,
}

impl Bucket {
    /// A full bucket of `burst`, filled up by `rate` a second.
    pub const fn new(rate: u64, burst: u32) -> Bucket {
        Bucket { tokens: burst, burst, interval: 1_000_000_000 / rate, filled: Instant::ZERO }
    }

    /// Takes a token where there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let new = now.0.saturating_sub(self.filled.0) / self.interval;
        if new > 0 {
            let new_tokens = u32::try_from(new).unwrap_or(u32::MAX);
            self.tokens = self.tokens.saturating_add(new_tokens).min(self.burst);
            self.filled = Instant(self.filled.0.saturating_add(new.saturating_mul(self.interval)));
        }
        let left = self.tokens.checked_sub(1);
        self.tokens = left.unwrap_or(0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate() {
        let mut bucket = Bucket::new(10, 3);
        let taken = |bucket: &mut Bucket, now| (0..10).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, Instant::from_secs(5)), 3);
        assert_eq!(taken(&mut bucket, Instant::from_millis(5050)), 0);
        assert_eq!(taken(&mut bucket, Instant::from_millis(5100)), 1);
        assert_eq!(taken(&mut bucket, Instant::from_secs(100)), 3);
    }
}
