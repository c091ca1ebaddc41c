//! How much there is: `isdataat`, `dsize`, `bsize`, `urilen`, `bufferlen`, `entropy`.

use super::{bounds, exclusive_bounds, required, value_or_variable};
use crate::diagnostic::{Fault, Kind};
use crate::lexer::{Piece, RuleOption};
use crate::parser::Draft;
use crate::rule::{Bounds, Condition, Entropy, IsDataAt, Match};
use crate::{AppProtocol, Buffer, limits};

pub(super) fn isdataat(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let whole = required(option)?;
    let (negated, value) = match whole.strip_prefix("!") {
        Some(rest) => (true, rest.trim()),
        None => (false, whole),
    };
    let mut parts = value.split(',').map(Piece::trim);
    let place = parts.next().unwrap_or(value);
    let offset = value_or_variable(draft, place, 0, limits::REACH.into())?;
    let mut relative = false;
    for part in parts {
        match part.text {
            "relative" => relative = true,
            "rawbytes" => {}
            other => {
                return Err(Fault::new(
                    Kind::Value,
                    part.range(),
                    format!("'{other}' is neither relative nor rawbytes"),
                ));
            }
        }
    }
    draft.add_relative(Match::IsDataAt(IsDataAt { offset, relative, negated }), whole)
}

pub(super) fn dsize(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    if draft.rule.conditions.iter().any(|c| matches!(c, Condition::PayloadSize(_))) {
        return Err(Draft::conflict(option.name.range(), "'dsize' is given twice"));
    }
    let bounds = exclusive_bounds(required(option)?, limits::REACH.into())?;
    draft.rule.conditions.push(Condition::PayloadSize(bounds));
    Ok(())
}

pub(super) fn bsize(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    if !draft.is_sticky() {
        return Err(Draft::conflict(option.name.range(), "'bsize' needs a sticky buffer before it")
            .remedy("dsize speaks of the payload"));
    }
    let bounds = exclusive_bounds(value, u32::MAX.into())?;
    draft.add_match(Match::Size(bounds), value)
}

/// Snort 3's `bufferlen`: the length of the buffer that holds, or of what is left of it.
pub(super) fn bufferlen(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let (text, relative) = match value.split_once(',') {
        Some((text, word)) if word.trim().text == "relative" => (text.trim(), true),
        Some((_, word)) => return Err(Fault::new(Kind::Value, word.range(), "this is not 'relative'")),
        None => (value, false),
    };
    if relative {
        return Err(Fault::new(Kind::UnsupportedValue, value.range(), "'bufferlen' relative is not supported")
            .subject("bufferlen:relative"));
    }
    let bounds = bounds_of_snort(text)?;
    draft.add_match(Match::Size(bounds), value)
}

/// Snort 3's ranges: `a<>b` excludes both, `a<=>b` includes both.
fn bounds_of_snort(text: Piece<'_>) -> Result<Bounds, Fault> {
    match text.text.split_once("<=>") {
        Some((low, high)) => {
            let low = super::number(Piece::new(low, text.at).trim(), 0, u32::MAX.into())? as u64;
            let high = super::number(Piece::new(high, text.at).trim(), 0, u32::MAX.into())? as u64;
            Ok(Bounds { min: low, max: high, negated: false })
        }
        None => bounds(text, u32::MAX.into()),
    }
}

/// `urilen`: the length of the request's URI, as normalized or as sent.
pub(super) fn urilen(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let (text, buffer) = match value.split_once(',') {
        Some((text, word)) => match word.trim().text {
            "raw" => (text.trim(), Buffer::HttpUriRaw),
            "norm" => (text.trim(), Buffer::HttpUri),
            _ => return Err(Fault::new(Kind::Value, word.range(), "this is neither 'raw' nor 'norm'")),
        },
        None => (value, Buffer::HttpUri),
    };
    let bounds = exclusive_bounds(text, u16::MAX.into())?;
    super::app::needs_protocol(draft, &[AppProtocol::Http1, AppProtocol::Http2], option)?;
    draft.add_to_buffer(buffer, Match::Size(bounds), value)
}

/// `entropy: [bytes N,] [offset N,] value OP NUMBER`.
pub(super) fn entropy(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let whole = required(option)?;
    let (mut bytes, mut offset, mut bits) = (None, 0, None);
    for part in whole.split(',').map(Piece::trim) {
        let (key, rest) = part.text.split_once(char::is_whitespace).unwrap_or((part.text, ""));
        let rest = Piece::new(rest, part.at + part.text.len() - rest.len()).trim();
        match key {
            "bytes" => bytes = Some(super::number(rest, 0, u32::MAX.into())? as u32).filter(|&n| n > 0),
            "offset" => offset = super::number(rest, 0, u32::MAX.into())? as u32,
            "value" => bits = Some(micro_bits(rest)?),
            _ => bits = Some(micro_bits(part)?),
        }
    }
    let micro_bits = bits.ok_or_else(|| Fault::new(Kind::Value, whole.range(), "'entropy' needs a value"))?;
    draft.add_match(Match::Entropy(Entropy { bytes, offset, micro_bits }), whole)
}

/// A comparison with bits per byte, in millionths.
fn micro_bits(text: Piece<'_>) -> Result<Bounds, Fault> {
    const MOST: u64 = 8_000_000;
    let bad = || Fault::new(Kind::Value, text.range(), "this is not a comparison with a number from 0 to 8");
    let read = |digits: &str| -> Result<u64, Fault> {
        let value: f64 = digits.trim().parse().map_err(|_| bad())?;
        if (0.0..=8.0).contains(&value) { Ok((value * 1e6).round() as u64) } else { Err(bad()) }
    };
    let between = |min: u64, max: u64| Bounds { min, max, negated: false };
    let t = text.text;
    if let Some(rest) = t.strip_prefix("<=") {
        return Ok(between(0, read(rest)?));
    }
    if let Some(rest) = t.strip_prefix(">=") {
        return Ok(between(read(rest)?, MOST));
    }
    if let Some(rest) = t.strip_prefix("!=").or_else(|| t.strip_prefix('!')) {
        let value = read(rest)?;
        return Ok(Bounds { min: value, max: value, negated: true });
    }
    if let Some((low, high)) = t.split_once("<>").or_else(|| t.split_once('-')) {
        return Ok(between(read(low)?.saturating_add(1), read(high)?.saturating_sub(1)));
    }
    if let Some(rest) = t.strip_prefix('<') {
        return Ok(between(0, read(rest)?.checked_sub(1).ok_or_else(bad)?));
    }
    if let Some(rest) = t.strip_prefix('>') {
        return Ok(between(read(rest)?.saturating_add(1), MOST));
    }
    let value = read(t.strip_prefix('=').unwrap_or(t))?;
    Ok(between(value, value))
}
