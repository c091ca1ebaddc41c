//! Numbers and comparisons with them, as options write them.

use crate::diagnostic::{Fault, Kind};
use crate::lexer::Piece;
use crate::rule::Bounds;

/// A number that must lie in `min..=max`; hexadecimal behind `0x`.
pub(crate) fn number(value: Piece<'_>, min: i64, max: i64) -> Result<i64, Fault> {
    let parsed = match value.text.strip_prefix("0x").or_else(|| value.text.strip_prefix("0X")) {
        Some(digits) if !digits.starts_with(['+', '-']) => i64::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None => value.text.parse::<i64>().ok(),
    };
    parsed.filter(|n| (min..=max).contains(n)).ok_or_else(|| {
        Fault::new(Kind::Value, value.range(), format!("'{}' is not a number from {min} to {max}", value.text))
    })
}

/// A number up to `max`, with a unit of bytes (`kb`, `mb`, `gb`, also `KiB`) or none.
pub(crate) fn size(value: Piece<'_>, max: u64) -> Result<u64, Fault> {
    let text = value.text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1u64),
        "kb" | "k" | "kib" => Some(1 << 10),
        "mb" | "m" | "mib" => Some(1 << 20),
        "gb" | "g" | "gib" => Some(1 << 30),
        _ => None,
    };
    let parsed = number.parse::<u64>().ok().zip(factor).and_then(|(n, f)| n.checked_mul(f));
    parsed.filter(|&n| n <= max).ok_or_else(|| {
        Fault::new(Kind::Value, value.range(), format!("'{}' is not a size of at most {max} bytes", value.text))
    })
}

/// How the two ends of a range written `a-b` count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dash {
    Included,
    Excluded,
}

/// A number up to `max`, which may count `kb`, `mb` or `gb`.
fn counted(value: Piece<'_>, max: u64) -> Result<u64, Fault> {
    match value.text.ends_with(['b', 'B']) && !value.text.starts_with("0x") {
        true if value.text.starts_with(|c: char| c.is_ascii_digit()) => size(value, max),
        _ => number(value, 0, i64::try_from(max).unwrap_or(i64::MAX)).map(|n| n as u64),
    }
}

/// `n`, `<n`, `>n`, `<=n`, `>=n`, `!n`, `n<>m` (both excluded), `n-m` (both included), with every value at most `max`.
pub(crate) fn bounds(value: Piece<'_>, max: u64) -> Result<Bounds, Fault> {
    read_bounds(value, max, Dash::Included)
}

/// The same, but `n-m` excludes both too, as the newer keywords have it, and `!` may stand before `n-m`.
pub(crate) fn exclusive_bounds(value: Piece<'_>, max: u64) -> Result<Bounds, Fault> {
    read_bounds(value, max, Dash::Excluded)
}

fn read_bounds(value: Piece<'_>, max: u64, dash: Dash) -> Result<Bounds, Fault> {
    let value = value.trim();
    let read = |piece: Piece<'_>| counted(piece.trim(), max);
    let empty = || Fault::new(Kind::Value, value.range(), "no value can match this");
    let exactly = |min: u64, max: u64| Ok(Bounds { min, max, negated: false });
    if let Some(rest) = value.strip_prefix("!=").or_else(|| value.strip_prefix("!")) {
        let inner = read_bounds(rest, max, dash)?;
        return Ok(Bounds { negated: true, ..inner });
    }
    if let Some(rest) = value.strip_prefix("<=") {
        return exactly(0, read(rest)?);
    }
    if let Some(rest) = value.strip_prefix(">=") {
        return exactly(read(rest)?, max);
    }
    if let Some((low, high)) = value.text.split_once("<>") {
        let low_piece = Piece::new(low, value.at);
        let high_piece = Piece::new(high, value.at + low.len() + 2);
        return between(read(low_piece)?, read(high_piece)?).ok_or_else(empty);
    }
    if let Some(rest) = value.strip_prefix("<") {
        return exactly(0, read(rest)?.checked_sub(1).ok_or_else(empty)?);
    }
    if let Some(rest) = value.strip_prefix(">") {
        let min = read(rest)?.saturating_add(1);
        return if min > max { Err(empty()) } else { exactly(min, max) };
    }
    if let Some((low, high)) = value.split_once('-') {
        if dash == Dash::Excluded {
            return between(read(low)?, read(high)?).ok_or_else(empty);
        }
        let low = if low.trim().text.is_empty() { 0 } else { read(low)? };
        let high = if high.trim().text.is_empty() { max } else { read(high)? };
        return if low > high { Err(empty()) } else { exactly(low, high) };
    }
    let n = read(value.strip_prefix("=").unwrap_or(value))?;
    exactly(n, n)
}

/// What lies between two numbers, neither included; there must be something.
fn between(low: u64, high: u64) -> Option<Bounds> {
    (high >= low.checked_add(2)?).then(|| Bounds { min: low + 1, max: high - 1, negated: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_in_every_form() {
        let check = |text, min, max| {
            let b = bounds(Piece::new(text, 0), 255).unwrap();
            assert_eq!((b.min, b.max, b.negated), (min, max, false), "{text}");
        };
        check("7", 7, 7);
        check("=7", 7, 7);
        check("0x10", 16, 16);
        check("<7", 0, 6);
        check(">7", 8, 255);
        check("> 7", 8, 255);
        check("<=7", 0, 7);
        check(">=7", 7, 255);
        check("3<>7", 4, 6);
        check("3-7", 3, 7);
        check("-7", 0, 7);
        check("3-", 3, 255);
        let sized = exclusive_bounds(Piece::new(">2kb", 0), 1 << 20).unwrap();
        assert_eq!((sized.min, sized.max), (2049, 1 << 20));
        let outside = exclusive_bounds(Piece::new("!3<>7", 0), 255).unwrap();
        assert!(outside.contains(3) && !outside.contains(4) && outside.contains(7));
        assert!(!bounds(Piece::new("!7", 0), 255).unwrap().contains(7));
        let newer = exclusive_bounds(Piece::new("3-7", 0), 255).unwrap();
        assert_eq!((newer.min, newer.max), (4, 6));
        for text in ["", "<0", ">255", "256", "7<>8", "7-3", "x", "3<>", "--", "0x-1", "1kb", "!"] {
            assert!(bounds(Piece::new(text, 0), 255).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size(Piece::new("10kb", 0), 1 << 40).unwrap(), 10 << 10);
        assert_eq!(size(Piece::new("2 GiB", 0), 1 << 40).unwrap(), 2 << 30);
        assert!(size(Piece::new("2x", 0), 1 << 40).is_err());
        assert!(size(Piece::new("99999999999gb", 0), u64::MAX).is_err());
    }
}
