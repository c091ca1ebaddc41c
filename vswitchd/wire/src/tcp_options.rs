//! Options of TCP segments: those that a SYN agrees on (MSS, window scale, SACK, timestamps), read and written.
//!
//! Reading is lenient, as hosts are: what is malformed ends the list, and what stands before it counts. An option that
//! is there twice counts as it stands first. Nothing here can panic.

/// Options are no longer than this (RFC 9293, 3.1: a header of 60 bytes).
pub const TCP_OPTIONS_MAX: usize = 40;
/// RFC 7323, 2.3: larger shifts count as this one.
pub const SCALE_MAX: u8 = 14;

const END: u8 = 0;
const NOTHING: u8 = 1;
const MSS: u8 = 2;
const SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
pub(crate) const SACK: u8 = 5;
pub(crate) const TIMESTAMPS: u8 = 8;

/// What a segment says beside its numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// The largest segment that its sender takes, in bytes (RFC 9293, 3.7.1).
    pub mss: Option<u16>,
    /// Windows of its sender count so many times doubled, 14 at most (RFC 7323, 2).
    pub scale: Option<u8>,
    /// Its sender takes selective acknowledgments (RFC 2018, 2).
    pub sack_permitted: bool,
    /// Its sender's time, and the one it heard last from the other side (RFC 7323, 3).
    pub timestamps: Option<(u32, u32)>,
}

impl TcpOptions {
    /// The options of a header, without its first 20 bytes.
    pub fn of(options: &[u8]) -> TcpOptions {
        let mut found = TcpOptions::default();
        for (kind, at, length) in places(options) {
            let data = options.get(at..at + length).unwrap_or(&[]);
            match (kind, data) {
                (MSS, &[a, b]) => found.mss = found.mss.or(Some(u16::from_be_bytes([a, b]))),
                (SCALE, &[shift]) => found.scale = found.scale.or(Some(shift.min(SCALE_MAX))),
                (SACK_PERMITTED, []) => found.sack_permitted = true,
                (TIMESTAMPS, &[a, b, c, d, e, f, g, h]) => {
                    let both = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
                    found.timestamps = found.timestamps.or(Some(both));
                }
                _ => {}
            }
        }
        found
    }

    /// The options as bytes, in the order and with the padding that most hosts use; a multiple of four.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(TCP_OPTIONS_MAX);
        if let Some(mss) = self.mss {
            bytes.extend([MSS, 4]);
            bytes.extend(mss.to_be_bytes());
        }
        if self.sack_permitted {
            bytes.extend([SACK_PERMITTED, 2]);
        }
        if let Some((value, echo)) = self.timestamps {
            if !self.sack_permitted {
                bytes.extend([NOTHING; 2]);
            }
            bytes.extend([TIMESTAMPS, 10]);
            bytes.extend(value.to_be_bytes());
            bytes.extend(echo.to_be_bytes());
        } else if self.sack_permitted {
            bytes.extend([NOTHING; 2]);
        }
        if let Some(shift) = self.scale {
            bytes.extend([NOTHING, SCALE, 3, shift.min(SCALE_MAX)]);
        }
        bytes
    }
}

/// The options one by one: kind, where its data begins, bytes of data.
pub(crate) fn places(options: &[u8]) -> impl Iterator<Item = (u8, usize, usize)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            match *options.get(at..)? {
                [] | [END, ..] => return None,
                [NOTHING, ..] => at += 1,
                [kind, length, ..] => {
                    let length = usize::from(length);
                    let begin = at;
                    at += length;
                    return (length >= 2 && at <= options.len()).then(|| (kind, begin + 2, length - 2));
                }
                [_] => return None,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for mss in [None, Some(1460)] {
            for scale in [None, Some(0), Some(14)] {
                for sack_permitted in [false, true] {
                    for timestamps in [None, Some((7, u32::MAX))] {
                        let options = TcpOptions { mss, scale, sack_permitted, timestamps };
                        let bytes = options.bytes();
                        assert!(bytes.len().is_multiple_of(4) && bytes.len() <= TCP_OPTIONS_MAX, "{options:?}");
                        assert_eq!(TcpOptions::of(&bytes), options);
                    }
                }
            }
        }
        let all = TcpOptions { mss: Some(1), scale: Some(2), sack_permitted: true, timestamps: Some((3, 4)) };
        assert_eq!(all.bytes().len(), 20);
    }

    #[test]
    fn what_is_malformed_ends_the_list() {
        let read = |bytes: &[u8]| TcpOptions::of(bytes);
        assert_eq!(read(&[3, 3, 200]).scale, Some(SCALE_MAX));
        assert_eq!(read(&[2, 4, 5, 180, 2, 4, 0, 1]).mss, Some(1460), "the first counts");
        assert_eq!(read(&[2, 4, 5, 180, 3, 0, 7]).scale, None, "a length of nothing");
        assert_eq!(read(&[2, 4, 5, 180, 0, 3, 3, 7]).scale, None, "behind the end");
        assert_eq!(read(&[2, 3, 5]), TcpOptions::default(), "an MSS of one byte");
        for cut in 0..10 {
            assert_eq!(read(&[8, 10, 0, 0, 0, 1, 0, 0, 0, 2][..cut]), TcpOptions::default());
        }
        for byte in 0..=255 {
            read(&[byte; 40]);
        }
    }
}
