//! Content-Range (RFC 9110, 14.4): which part of a whole a body is.

/// What the field says. A unit is not asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The first byte.
    pub first: Option<u64>,
    /// The last byte.
    pub last: Option<u64>,
    /// Bytes of the whole.
    pub whole: Option<u64>,
}

/// The first byte, the last and the number of all.
pub type Part = (u64, u64, Option<u64>);

/// Reads `bytes 1-2/3`, `bytes 1-2/*` and `bytes */3`.
pub fn read(value: &[u8]) -> Option<Range> {
    let value = blanks(value);
    let unit = value.iter().take_while(|&&byte| byte != b' ').count();
    let text = blanks(value.get(unit..)?);
    if let Some(rest) = text.strip_prefix(b"*/") {
        let (whole, _) = number(rest)?;
        return Some(Range { whole: Some(whole), ..Range::default() });
    }
    let (first, rest) = number(text)?;
    let (last, rest) = number(rest.strip_prefix(b"-")?)?;
    let rest = rest.strip_prefix(b"/")?;
    let whole = if rest.starts_with(b"*") { None } else { Some(number(rest)?.0) };
    Some(Range { first: Some(first), last: Some(last), whole })
}

/// Whether the field cannot be read, or what it says cannot be.
pub fn is_invalid(value: &[u8]) -> bool {
    match read(value) {
        Some(Range { first: Some(first), last: Some(last @ 1..), whole: Some(whole @ 1..) }) => {
            first > last || last >= whole
        }
        Some(_) => false,
        None => true,
    }
}

/// The part of a file that a body is, as the most lenient receiver reads it: one that joins parts looks for the first
/// number, and for little else.
pub fn part(value: &[u8]) -> Option<Part> {
    let at = value.iter().position(|byte| byte.is_ascii_digit() || *byte == b'*')?;
    let (first, rest) = number(value.get(at..)?)?;
    let after = |mark: &[u8], rest: &[u8]| {
        number(rest.trim_ascii_start().strip_prefix(mark)?.trim_ascii_start()).map(|(n, rest)| (n, rest.len()))
    };
    let (last, left) = after(b"-", rest).unwrap_or((first, rest.len()));
    let whole = after(b"/", rest.get(rest.len() - left..)?);
    Some((first, last, whole.map(|(number, _)| number)))
}

fn blanks(bytes: &[u8]) -> &[u8] {
    let count = bytes.iter().take_while(|&&byte| byte == b' ').count();
    bytes.get(count..).unwrap_or_default()
}

/// A number of 63 bits and what follows it.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = bytes.split_at_checked(digits)?;
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    i64::try_from(number).ok()?;
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_with_any_unit() {
        let range = |first, last, whole| Some(Range { first, last, whole });
        assert_eq!(read(b"bytes 1-2/30"), range(Some(1), Some(2), Some(30)));
        assert_eq!(read(b" items  1-2/*"), range(Some(1), Some(2), None));
        assert_eq!(read(b"bytes */30"), range(None, None, Some(30)));
        for none in [&b"1-2/30"[..], b"bytes=1-2/30", b"bytes 1-/30", b"bytes -2/30", b"bytes 1-2", b"bytes 1-2/x", b""]
        {
            assert_eq!(read(none), None, "{none:?}");
        }
        assert_eq!(read(b"bytes 1-2/99999999999999999999"), None);
    }

    #[test]
    fn what_cannot_be_is_told() {
        for fine in
            [&b"bytes 1-2/30"[..], b"bytes 0-28/30", b"bytes 0-29/30", b"bytes 1-2/*", b"bytes */30", b"bytes 0-0/30"]
        {
            assert!(!is_invalid(fine), "{fine:?}");
        }
        for invalid in [&b"bytes 2-1/30"[..], b"bytes 1-30/30", b"bytes", b"x"] {
            assert!(is_invalid(invalid), "{invalid:?}");
        }
    }

    #[test]
    fn a_part_is_one_however_it_is_written() {
        let cases = [
            (&b"bytes 1-2/30"[..], (1, 2, Some(30))),
            (b"bytes 100-199/*", (100, 199, None)),
            (b"bytes 0-0/30", (0, 0, Some(30))),
            (b"bytes=5 - 7 / 9", (5, 7, Some(9))),
            (b"5-7", (5, 7, None)),
            (b"bytes 30-", (30, 30, None)),
            (b"bytes 9-5/x", (9, 5, None)),
        ];
        for (value, expected) in cases {
            assert_eq!(part(value), Some(expected), "{value:?}");
        }
        for none in [&b"bytes */30"[..], b"bytes", b"", b"bytes 99999999999999999999-2/3"] {
            assert_eq!(part(none), None, "{none:?}");
        }
    }
}
