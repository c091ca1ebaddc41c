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

/// The field is no range, or one that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

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

/// The part that a body is; none where it is the whole, or nothing, or the whole's length is not told.
///
/// # Errors
/// Where the field cannot be read or what it says cannot be.
pub fn part(value: &[u8]) -> Result<Option<Part>, Invalid> {
    let range = read(value).ok_or(Invalid)?;
    match (range.first, range.last, range.whole) {
        (_, Some(0) | None, _) | (_, _, Some(0) | None) | (None, _, _) => Ok(None),
        (Some(0), Some(last), Some(whole)) if last + 1 == whole => Ok(None),
        (Some(first), Some(last), Some(whole)) if first > last || last >= whole => Err(Invalid),
        (Some(first), Some(last), whole) => Ok(Some((first, last, whole))),
    }
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
    fn a_part_is_less_than_the_whole() {
        assert_eq!(part(b"bytes 1-2/30"), Ok(Some((1, 2, Some(30)))));
        assert_eq!(part(b"bytes 0-28/30"), Ok(Some((0, 28, Some(30)))));
        for whole in [&b"bytes 0-29/30"[..], b"bytes 1-2/*", b"bytes */30", b"bytes 0-0/30"] {
            assert_eq!(part(whole), Ok(None), "{whole:?}");
        }
        for invalid in [&b"bytes 2-1/30"[..], b"bytes 1-30/30", b"bytes", b"x"] {
            assert_eq!(part(invalid), Err(Invalid), "{invalid:?}");
        }
    }
}
