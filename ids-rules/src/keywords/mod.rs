//! The options of a rule: one file a family, one function a keyword.

mod content;
mod flow;
mod meta;
mod packet;
mod pcre;
mod size;
mod threshold;

use crate::diagnostic::{Fault, Kind};
use crate::lexer::{Piece, RuleOption};
use crate::parser::Draft;
use crate::rule::Bounds;

type Apply = fn(&mut Draft, RuleOption<'_>) -> Result<(), Fault>;

/// Every keyword there is.
const KEYWORDS: &[(&str, Apply)] = &[
    ("msg", meta::msg),
    ("sid", meta::sid),
    ("gid", meta::gid),
    ("rev", meta::rev),
    ("classtype", meta::classtype),
    ("priority", meta::priority),
    ("reference", meta::reference),
    ("metadata", meta::metadata),
    ("target", meta::target),
    ("noalert", meta::noalert),
    ("flow", flow::flow),
    ("flowbits", flow::flowbits),
    ("content", content::content),
    ("nocase", content::nocase),
    ("rawbytes", content::rawbytes),
    ("offset", content::offset),
    ("depth", content::depth),
    ("distance", content::distance),
    ("within", content::within),
    ("startswith", content::startswith),
    ("endswith", content::endswith),
    ("fast_pattern", content::fast_pattern),
    ("pcre", pcre::pcre),
    ("isdataat", size::isdataat),
    ("dsize", size::dsize),
    ("bsize", size::bsize),
    ("flags", packet::flags),
    ("tcp.flags", packet::flags),
    ("seq", packet::seq),
    ("tcp.seq", packet::seq),
    ("ack", packet::ack),
    ("tcp.ack", packet::ack),
    ("window", packet::window),
    ("tcp.window", packet::window),
    ("ttl", packet::ttl),
    ("id", packet::id),
    ("ip_proto", packet::ip_proto),
    ("sameip", packet::sameip),
    ("itype", packet::itype),
    ("icode", packet::icode),
    ("icmp_id", packet::icmp_id),
    ("icmp_seq", packet::icmp_seq),
    ("threshold", threshold::threshold),
    ("detection_filter", threshold::detection_filter),
];

/// Applies one option to the rule.
pub(crate) fn apply(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let name = option.name;
    match KEYWORDS.iter().find(|(keyword, _)| *keyword == name.text) {
        Some((_, apply)) => apply(draft, option),
        None => {
            let message = format!("the keyword '{}' is not supported", name.text);
            Err(Fault::new(Kind::UnsupportedKeyword, name.range(), message)
                .subject(name.text)
                .remedy("write the rule without it, or leave the rule out"))
        }
    }
}

impl<'a> RuleOption<'a> {
    /// The option's value; a fault where it has none.
    fn required(self) -> Result<Piece<'a>, Fault> {
        self.value.filter(|v| !v.text.is_empty()).ok_or_else(|| {
            Fault::new(Kind::Value, self.name.range(), format!("'{}' needs a value", self.name.text))
                .subject(self.name.text)
        })
    }

    /// Makes sure that the option has no value.
    fn no_value(self) -> Result<(), Fault> {
        match self.value {
            None => Ok(()),
            Some(value) => Err(Fault::new(Kind::Value, value.range(), format!("'{}' takes no value", self.name.text))
                .subject(self.name.text)),
        }
    }
}

/// A number that must lie in `min..=max`.
fn number(value: Piece<'_>, min: i64, max: i64) -> Result<i64, Fault> {
    value.text.parse::<i64>().ok().filter(|n| (min..=max).contains(n)).ok_or_else(|| {
        Fault::new(Kind::Value, value.range(), format!("'{}' is not a number from {min} to {max}", value.text))
    })
}

/// `n`, `<n`, `>n`, `<=n`, `>=n`, `!n`, `n-m`, `n<>m` (both excluded), with every value at most `max`.
fn bounds(value: Piece<'_>, max: u64) -> Result<Bounds, Fault> {
    let read = |piece: Piece<'_>| number(piece.trim(), 0, i64::try_from(max).unwrap_or(i64::MAX)).map(|n| n as u64);
    let empty = || Fault::new(Kind::Value, value.range(), "no value can match this");
    let exactly = |min: u64, max: u64| Ok(Bounds { min, max, negated: false });
    if let Some(rest) = value.strip_prefix("<=") {
        return exactly(0, read(rest)?);
    }
    if let Some(rest) = value.strip_prefix(">=") {
        return exactly(read(rest)?, max);
    }
    if let Some(rest) = value.strip_prefix("<") {
        return exactly(0, read(rest)?.checked_sub(1).ok_or_else(empty)?);
    }
    if let Some(rest) = value.strip_prefix(">") {
        return exactly(read(rest)?.saturating_add(1), max.max(1))
            .and_then(|b| if b.min > max { Err(empty()) } else { Ok(b) });
    }
    if let Some(rest) = value.strip_prefix("!") {
        let n = read(rest)?;
        return Ok(Bounds { min: n, max: n, negated: true });
    }
    if let Some((low, high)) = value.text.split_once("<>") {
        let low_piece = Piece::new(low, value.at);
        let high_piece = Piece::new(high, value.at + low.len() + 2);
        let (low, high) = (read(low_piece)?, read(high_piece)?);
        if high < low.saturating_add(2) {
            return Err(empty());
        }
        return exactly(low + 1, high - 1);
    }
    if let Some((low, high)) = value.split_once('-') {
        let low = if low.trim().text.is_empty() { 0 } else { read(low)? };
        let high = if high.trim().text.is_empty() { max } else { read(high)? };
        if low > high {
            return Err(empty());
        }
        return exactly(low, high);
    }
    let n = read(value.strip_prefix("=").unwrap_or(value))?;
    exactly(n, n)
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
        check("<7", 0, 6);
        check(">7", 8, 255);
        check("<=7", 0, 7);
        check(">=7", 7, 255);
        check("3<>7", 4, 6);
        check("3-7", 3, 7);
        check("-7", 0, 7);
        check("3-", 3, 255);
        assert!(!bounds(Piece::new("!7", 0), 255).unwrap().contains(7));
        for text in ["", "<0", ">255", "256", "7<>8", "7-3", "x", "3<>", "--"] {
            assert!(bounds(Piece::new(text, 0), 255).is_err(), "{text}");
        }
    }

    #[test]
    fn keywords_are_named_once() {
        for (i, (name, _)) in KEYWORDS.iter().enumerate() {
            assert!(KEYWORDS[i + 1..].iter().all(|(other, _)| other != name), "{name}");
        }
    }
}
