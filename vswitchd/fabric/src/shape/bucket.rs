//! A token bucket that counts bits and packets and may go into debt.

use std::time::Duration;

use weir_wire::Instant;

/// What may pass in a second. Zero stands for "no limit".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Bits of frames, from the Ethernet header on.
    pub bits: u64,
    /// Frames; a super-segment counts as the frames it will be cut into.
    pub packets: u64,
    /// Bytes that may pass at once after a pause; 0 for what passes in 10 ms, at least [`BURST_MIN`].
    pub burst: u64,
}

/// The least burst, in bytes: one super-segment passes whole in any case.
pub const BURST_MIN: u64 = 64 << 10;
/// The pause whose tokens are the usual burst.
const BURST_TIME_MS: u64 = 10;
const NANOS: u128 = 1_000_000_000;

impl Limit {
    /// So many bits a second.
    pub const fn bits(bits: u64) -> Limit {
        Limit { bits, packets: 0, burst: 0 }
    }

    /// Nothing is limited.
    pub const fn is_none(self) -> bool {
        self.bits == 0 && self.packets == 0
    }

    fn burst_bits(self) -> u64 {
        let usual = (self.bits / 1000).saturating_mul(BURST_TIME_MS);
        let wanted = if self.burst == 0 { usual } else { self.burst.saturating_mul(8) };
        wanted.max(BURST_MIN * 8)
    }

    fn burst_packets(self) -> u64 {
        (self.packets / 1000).saturating_mul(BURST_TIME_MS).max(64)
    }
}

/// Tokens for a [`Limit`]. A frame passes while there are any, however long it is; its debt is waited off afterwards, so
/// that the mean holds for frames of all sizes.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    limit: Limit,
    bits: Tokens,
    packets: Tokens,
}

/// One kind of tokens, in billionths, so that no rate loses a fraction.
#[derive(Clone, Copy, Debug)]
struct Tokens {
    rate: u64,
    most: i128,
    there: i128,
    at: Instant,
}

impl Tokens {
    fn new(rate: u64, burst: u64, now: Instant) -> Tokens {
        let most = i128::from(burst) * NANOS as i128;
        Tokens { rate, most, there: most, at: now }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.since(self.at).as_nanos() as i128;
        self.at = self.at.max(now);
        self.there = (self.there + passed * i128::from(self.rate)).min(self.most);
    }

    fn take(&mut self, n: u64) {
        self.there -= i128::from(n) * NANOS as i128;
    }

    /// How long until there is a token, counted from the last refill.
    fn wait(&self) -> Duration {
        if self.rate == 0 || self.there > 0 {
            return Duration::ZERO;
        }
        let nanos = (1 - self.there).div_euclid(i128::from(self.rate)) + 1;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Bucket {
    /// A full bucket.
    pub fn new(limit: Limit, now: Instant) -> Bucket {
        Bucket {
            limit,
            bits: Tokens::new(limit.bits, limit.burst_bits(), now),
            packets: Tokens::new(limit.packets, limit.burst_packets(), now),
        }
    }

    /// The limit it stands for.
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// Takes another limit; what was used up stays used up.
    pub fn set_limit(&mut self, limit: Limit, now: Instant) {
        if limit == self.limit {
            return;
        }
        self.refill(now);
        let fresh = Bucket::new(limit, now);
        let (bits, packets) = (self.bits.there, self.packets.there);
        let was = self.limit;
        *self = fresh;
        if was.bits > 0 {
            self.bits.there = bits.min(self.bits.most);
        }
        if was.packets > 0 {
            self.packets.there = packets.min(self.packets.most);
        }
    }

    /// Puts in what has come since the last time.
    #[inline]
    pub fn refill(&mut self, now: Instant) {
        if self.limit.bits > 0 {
            self.bits.refill(now);
        }
        if self.limit.packets > 0 {
            self.packets.refill(now);
        }
    }

    /// Whether a frame may pass.
    #[inline]
    pub fn is_open(&self) -> bool {
        (self.limit.bits == 0 || self.bits.there > 0) && (self.limit.packets == 0 || self.packets.there > 0)
    }

    /// How many frames of any size may pass without a debt of more than one of them; at most `most`.
    pub fn room(&self, most: usize) -> usize {
        if !self.is_open() {
            return 0;
        }
        let whole = |tokens: i128, each: u64| usize::try_from(tokens / (i128::from(each) * NANOS as i128)).unwrap_or(0);
        let bits = if self.limit.bits > 0 { whole(self.bits.there, BURST_MIN * 8) } else { most };
        let packets = if self.limit.packets > 0 { whole(self.packets.there, 64) } else { most };
        bits.min(packets).saturating_add(1).min(most)
    }

    /// Takes the tokens of `frames` frames with `bytes` bytes in all.
    #[inline]
    pub fn take(&mut self, bytes: u64, frames: u64) {
        if self.limit.bits > 0 {
            self.bits.take(bytes.saturating_mul(8));
        }
        if self.limit.packets > 0 {
            self.packets.take(frames);
        }
    }

    /// When a frame may pass, counted from the last refill: then or later.
    pub fn opens(&self) -> Instant {
        let at = if self.limit.bits > 0 { self.bits.at } else { self.packets.at };
        let bits = if self.limit.bits > 0 { self.bits.wait() } else { Duration::ZERO };
        let packets = if self.limit.packets > 0 { self.packets.wait() } else { Duration::ZERO };
        at.after(bits.max(packets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends frames of `bytes` as soon as the bucket lets them; returns how many pass within a second.
    fn frames_in_a_second(limit: Limit, bytes: u64) -> u64 {
        let mut bucket = Bucket::new(limit, Instant::ZERO);
        // The burst after the pause is not part of the rate.
        while bucket.is_open() {
            bucket.take(bytes, 1);
        }
        let (mut now, mut frames) = (Instant::ZERO, 0);
        while now < Instant::from_secs(1) {
            bucket.refill(now);
            if bucket.is_open() {
                bucket.take(bytes, 1);
                frames += 1;
            } else {
                assert!(bucket.opens() > now, "it opens later, not at once");
                now = bucket.opens();
            }
        }
        frames
    }

    #[test]
    fn the_mean_holds_for_frames_of_all_sizes() {
        for bytes in [64, 1500, 65_000] {
            let sent = frames_in_a_second(Limit::bits(800_000_000), bytes) * bytes * 8;
            let off = (sent as f64 / 800e6 - 1.0).abs();
            assert!(off < 0.01, "{bytes}-byte frames: {sent} bits");
        }
    }

    #[test]
    fn packets_are_limited_whatever_their_size() {
        let limit = Limit { bits: 0, packets: 10_000, burst: 0 };
        let sent = frames_in_a_second(limit, 64);
        assert!((9_990..=10_010).contains(&sent), "{sent}");
    }

    #[test]
    fn the_slowest_rates_do_not_lose_their_fractions() {
        let sent = frames_in_a_second(Limit::bits(8_000), 10);
        assert!((99..=101).contains(&sent), "{sent}");
    }

    #[test]
    fn a_burst_of_the_largest_frames_makes_a_debt_of_one() {
        let mut bucket = Bucket::new(Limit::bits(800_000_000), Instant::ZERO);
        let room = bucket.room(64);
        assert!(room > 1 && room < 64, "{room}");
        bucket.take((room as u64 - 1) * BURST_MIN, room as u64 - 1);
        assert!(bucket.is_open());
        bucket.take(BURST_MIN, 1);
        assert_eq!(bucket.room(64), if bucket.is_open() { 1 } else { 0 });
        assert_eq!(Bucket::new(Limit::default(), Instant::ZERO).room(64), 64);
    }

    #[test]
    fn a_changed_limit_keeps_the_debt() {
        let mut bucket = Bucket::new(Limit::bits(1_000_000), Instant::ZERO);
        bucket.take(1 << 20, 1);
        assert!(!bucket.is_open());
        bucket.set_limit(Limit::bits(2_000_000), Instant::ZERO);
        assert!(!bucket.is_open(), "changing the rate is no way out of it");
        assert!(bucket.opens() > Instant::from_secs(3));
        bucket.set_limit(Limit::default(), Instant::ZERO);
        assert!(bucket.is_open());
    }
}
