//! SYN cookies: a handshake answered without remembering anything (Bernstein 1996; RFC 4987, 3.6).
//!
//! The cookie is the sequence number of the SYN-ACK: 27 bits of SipHash-2-4 over the connection's name, the client's
//! sequence number, the time and the MSS, then two bits of the time and three of the MSS. It is believed for 64 to 128
//! seconds. The key comes from outside.
//!
//! What the cookie has no room for, a client with timestamps remembers for us: the lowest bits of the time that it is told,
//! and echoes, are its window scale, whether it takes SACK, and the scale that it was told ([`Agreed`]). Clients
//! without timestamps get neither of these. The bits are not signed: a client that changes them harms itself alone.

use weir_wire::Instant;
use weir_wire::tcp_options::SCALE_MAX;

/// Seconds of a time slot.
const SLOT_S: u64 = 64;
/// The MSS values that a cookie can carry, ascending (RFC 9293, 3.7.1: 536 and 1220 where nothing is said).
const MSS: [u16; 8] = [536, 1220, 1300, 1380, 1432, 1440, 1460, 8940];

/// Bits of a timestamp that tell of something else than the time.
const AGREED_BITS: u32 = 9;
/// No window scale.
const NONE: u32 = 15;

/// What was agreed on with a client beside the MSS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    /// The client's window scale.
    pub theirs: Option<u8>,
    /// The one that it was told; there is none without the other.
    pub told: Option<u8>,
    /// Both take selective acknowledgments.
    pub sack: bool,
}

impl Agreed {
    /// A time in milliseconds, to half a second, that says this.
    pub fn stamp(self, now: Instant) -> u32 {
        let scale = |shift: Option<u8>| shift.map_or(NONE, |shift| u32::from(shift.min(SCALE_MAX)));
        let bits = scale(self.theirs) | u32::from(self.sack) << 4 | scale(self.told) << 5;
        ((now.0 / 1_000_000) as u32) >> AGREED_BITS << AGREED_BITS | bits
    }

    /// What such a time says.
    pub fn of(stamp: u32) -> Agreed {
        let scale = |bits: u32| (bits != NONE).then_some(bits as u8);
        match (scale(stamp & 15), scale(stamp >> 5 & 15)) {
            (Some(theirs), Some(told)) => Agreed { theirs: Some(theirs), told: Some(told), sack: stamp >> 4 & 1 == 1 },
            (None, _) | (_, None) => Agreed { theirs: None, told: None, sack: stamp >> 4 & 1 == 1 },
        }
    }
}

/// Makes cookies and believes its own.
#[derive(Clone, Debug)]
pub struct Cookies {
    key: [u64; 2],
}

/// What is bound into a cookie: the words of the connection's name, and the client's sequence number.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'b> {
    /// The connection's name and direction.
    pub words: &'b [u64],
    /// The client's sequence number.
    pub seq: u32,
}

impl Cookies {
    /// Cookies under this key.
    pub fn new(key: [u64; 2]) -> Cookies {
        Cookies { key }
    }

    /// The cookie for a client that offers this MSS.
    pub fn make(&self, now: Instant, bound: Bound<'_>, mss: u16) -> u32 {
        let index = MSS.iter().rposition(|&known| known <= mss).unwrap_or(0);
        self.cookie(bound, slot(now), index)
    }

    /// The MSS of a cookie that we have made lately for this connection; `None` for everything else.
    pub fn check(&self, now: Instant, bound: Bound<'_>, cookie: u32) -> Option<u16> {
        let index = (cookie & 7) as usize;
        let current = slot(now);
        let believed =
            [current, current.wrapping_sub(1)].into_iter().find(|slot| (slot & 3) as u32 == cookie >> 3 & 3)?;
        if self.cookie(bound, believed, index) != cookie {
            return None;
        }
        MSS.get(index).copied()
    }

    fn cookie(&self, bound: Bound<'_>, slot: u64, index: usize) -> u32 {
        let last = [slot, u64::from(bound.seq) << 8 | index as u64];
        let hash = sip(self.key, bound.words.iter().chain(&last).copied());
        (hash as u32 & !31) | (slot as u32 & 3) << 3 | (index as u32 & 7)
    }
}

fn slot(now: Instant) -> u64 {
    now.0 / (SLOT_S * 1_000_000_000)
}

/// SipHash-2-4 of whole words (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012).
fn sip([k0, k1]: [u64; 2], words: impl Iterator<Item = u64>) -> u64 {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let mut count = 0u64;
    for word in words {
        count += 1;
        compress(&mut v, word);
    }
    // The last word holds the length in its highest byte and the bytes that are left over: none.
    compress(&mut v, (count * 8) << 56);
    v[2] ^= 0xff;
    (0..4).for_each(|_| round(&mut v));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn compress(v: &mut [u64; 4], word: u64) {
    v[3] ^= word;
    round(v);
    round(v);
    v[0] ^= word;
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_siphash() {
        // The reference implementation's vectors for the key 00 01 .. 0f and the inputs 00 .. 07 and none.
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        assert_eq!(sip(key, [].into_iter()), 0x726f_db47_dd0e_0e31);
        assert_eq!(sip(key, [0x0706_0504_0302_0100].into_iter()), 0x93f5_f579_9a93_2462);
    }

    #[test]
    fn a_cookie_is_believed_for_its_connection_and_its_time_only() {
        let cookies = Cookies::new([1, 2]);
        let words = [3, 4, 5];
        let bound = Bound { words: &words, seq: 77 };
        for second in [0, 63, 64, 1000] {
            let now = Instant::from_secs(second);
            for (offered, kept) in [(0, 536), (536, 536), (1459, 1440), (1460, 1460), (9000, 8940)] {
                let cookie = cookies.make(now, bound, offered);
                assert_eq!(cookies.check(now, bound, cookie), Some(kept));
                assert_eq!(cookies.check(Instant::from_secs(second + 63), bound, cookie), Some(kept));
                assert_eq!(cookies.check(Instant::from_secs(second + 129), bound, cookie), None);
                assert_eq!(cookies.check(now, Bound { seq: 78, ..bound }, cookie), None);
                assert_eq!(cookies.check(now, Bound { words: &[3, 4, 6], ..bound }, cookie), None);
                assert_eq!(Cookies::new([1, 3]).check(now, bound, cookie), None);
            }
        }
    }

    #[test]
    fn a_time_says_what_was_agreed_on() {
        for theirs in [None, Some(0), Some(14)] {
            for told in [None, Some(0), Some(7)] {
                for sack in [false, true] {
                    let agreed = Agreed { theirs, told, sack };
                    let both = theirs.is_some() && told.is_some();
                    let kept = if both { agreed } else { Agreed { theirs: None, told: None, sack } };
                    assert_eq!(Agreed::of(agreed.stamp(Instant::from_secs(5))), kept);
                }
            }
        }
        let at = |s| Agreed::default().stamp(Instant::from_secs(s));
        assert!(at(1) < at(2) && at(2) - at(1) <= 1024, "it is a time");
    }

    #[test]
    fn few_guesses_are_right() {
        let cookies = Cookies::new([9, 9]);
        let bound = Bound { words: &[1], seq: 1 };
        let right =
            (0..200_000u32).filter(|n| cookies.check(Instant::ZERO, bound, n.wrapping_mul(0x9e37_79b9)).is_some());
        assert!(right.count() <= 1);
    }
}
