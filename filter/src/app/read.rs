//! Reading numbers and pieces from the front of untrusted bytes: each read checks and takes in one step.

/// Bytes of which the front is taken piece by piece. A read that does not fit takes nothing and answers `None`.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    /// Reads from the start of `bytes`.
    pub const fn new(bytes: &'b [u8]) -> Reader<'b> {
        Reader { rest: bytes }
    }

    /// What is left.
    pub const fn rest(&self) -> &'b [u8] {
        self.rest
    }

    /// How many bytes are left.
    pub const fn len(&self) -> usize {
        self.rest.len()
    }

    /// Whether none is left.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// The next `count` bytes, or as many as there are.
    pub fn take_up_to(&mut self, count: usize) -> &'b [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// The next bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// Two bytes, the high one first.
    pub fn be16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Three bytes, the highest first.
    pub fn be24(&mut self) -> Option<u32> {
        self.array().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// Four bytes, the highest first.
    pub fn be32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes, the highest first.
    pub fn be64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// Two bytes, the low one first.
    pub fn le16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes, the lowest first.
    pub fn le32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes, the lowest first.
    pub fn le64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Two bytes in the order said.
    pub fn u16(&mut self, order: Order) -> Option<u16> {
        match order {
            Order::Little => self.le16(),
            Order::Big => self.be16(),
        }
    }

    /// Four bytes in the order said.
    pub fn u32(&mut self, order: Order) -> Option<u32> {
        match order {
            Order::Little => self.le32(),
            Order::Big => self.be32(),
        }
    }
}

/// Which byte of a number comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The low one.
    #[default]
    Little,
    /// The high one.
    Big,
}

/// The line that `bytes` begin with: without its end (LF or CR LF), and its length with it. `None`: no LF yet.
pub fn line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let at = memchr::memchr(b'\n', bytes)?;
    let text = bytes.get(..at)?;
    Some((text.strip_suffix(b"\r").unwrap_or(text), at + 1))
}

/// Whether `text` begins with `start`, which is lower case, whatever the case of `text`.
pub fn starts_with_lower(text: &[u8], start: &[u8]) -> bool {
    text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

/// A decimal number at the start of `text`, and what follows it. `None`: no digit, or above 2^64.
pub fn decimal(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = text.split_at(digits);
    if number.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for digit in number {
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    Some((value, rest))
}

/// A number of bytes as settings write it, with "kb" or "mb" behind it or not.
pub fn size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let (number, unit) = decimal(text.as_bytes())?;
    let factor = match unit.trim_ascii() {
        b"" | b"b" => 1,
        b"k" | b"kb" | b"kib" => 1 << 10,
        b"m" | b"mb" | b"mib" => 1 << 20,
        _ => return None,
    };
    number.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_does_not_fit_takes_nothing() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.be32(), None);
        assert_eq!(reader.be24(), Some(0x01_02_03));
        assert_eq!(reader.u8(), None);
        assert!(reader.is_empty());
    }

    #[test]
    fn lines_end_with_lf_or_cr_lf() {
        assert_eq!(line(b"one\r\ntwo"), Some((&b"one"[..], 5)));
        assert_eq!(line(b"one\ntwo"), Some((&b"one"[..], 4)));
        assert_eq!(line(b"\r"), None);
    }

    #[test]
    fn decimals_do_not_overflow() {
        assert_eq!(decimal(b"12 x"), Some((12, &b" x"[..])));
        assert_eq!(decimal(b"99999999999999999999"), None);
        assert_eq!(decimal(b"x"), None);
    }
}
