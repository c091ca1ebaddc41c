//! Keywords that compare a number of the application protocol: `dns.opcode:4`, `mqtt.type:CONNECT`.

use super::{app, exclusive_bounds, number, required};
use crate::Field;
use crate::diagnostic::{Fault, Kind};
use crate::lexer::{Piece, RuleOption};
use crate::parser::Draft;
use crate::rule::{Bounds, Comparison, Nth, NumberTest};

mod names;

use names::{Names, names};

/// Applies a keyword that compares a number; `None` where it names none.
pub(super) fn apply(draft: &mut Draft, option: RuleOption<'_>) -> Option<Result<(), Fault>> {
    let field = Field::from_keyword(option.name.text)?;
    Some(compare(draft, field, option))
}

fn compare(draft: &mut Draft, field: Field, option: RuleOption<'_>) -> Result<(), Fault> {
    app::needs_protocol(draft, field.protocols(), option)?;
    let value = required(option)?;
    let mut add = |field, comparison, nth| draft.rule.numbers.push(NumberTest { field, comparison, nth });
    match field {
        Field::MqttFlags | Field::MqttConnectFlags | Field::WebSocketFlags | Field::Dnp3Indicators => {
            add(field, bits(value, field)?, Nth::Any);
        }
        Field::DcerpcOpnum | Field::NfsProcedure | Field::NfsVersion => add(field, list(value, field)?, Nth::Any),
        Field::CipService => {
            // The older form adds a class and an attribute: `cip_service:75,1,3`.
            let fields = [Field::CipService, Field::EnipCipClass, Field::EnipCipAttribute];
            let parts: Vec<Piece<'_>> = value.split(',').map(Piece::trim).collect();
            if parts.len() > fields.len() {
                return Err(Fault::new(Kind::Value, value.range(), "cip_service reads: SERVICE[,CLASS[,ATTRIBUTE]]"));
            }
            for (field, part) in fields.into_iter().zip(parts) {
                add(field, one(part, field)?, Nth::Any);
            }
        }
        _ => {
            let (text, nth) = split_index(value)?;
            add(field, one(text, field)?, nth);
        }
    }
    Ok(())
}

/// `VALUE,INDEX`: which of several values must satisfy the comparison.
fn split_index(value: Piece<'_>) -> Result<(Piece<'_>, Nth), Fault> {
    let Some((text, index)) = value.split_once(',') else { return Ok((value, Nth::Any)) };
    let index = index.trim();
    let nth = match index.text {
        "any" => Nth::Any,
        "all" => Nth::All,
        "all1" => Nth::AllOfSome,
        other if other.starts_with("nb") || other.starts_with("count") => {
            let rest = index.strip_prefix("nb").or_else(|| index.strip_prefix("count")).unwrap_or(index);
            Nth::Count(exclusive_bounds(rest.trim(), u32::MAX.into())?)
        }
        other if other.starts_with("oob_or") => {
            let rest = index.strip_prefix("oob_or").unwrap_or(index).trim();
            Nth::AtOrMissing(number(rest, -1000, 1000)? as i32)
        }
        _ => Nth::At(number(index, -1000, 1000)? as i32),
    };
    Ok((text.trim(), nth))
}

/// One comparison: bounds, or a name.
fn one(value: Piece<'_>, field: Field) -> Result<Comparison, Fault> {
    if let Some(Names { list, .. }) = names(field) {
        let (negated, word) = match value.strip_prefix("!") {
            Some(rest) => (true, rest.trim()),
            None => (false, value),
        };
        if let Some((_, bounds)) = list.iter().find(|(name, _)| name.eq_ignore_ascii_case(word.text)) {
            return Ok(Comparison::Within(Bounds { negated, ..*bounds }));
        }
    }
    if let Some((mask, bits)) = value.strip_prefix("&").and_then(|rest| rest.split_once('=')) {
        return masked(value, mask, bits);
    }
    if let Some(mask) = value.strip_prefix("&") {
        return Ok(Comparison::AnyBit { mask: number(mask.trim(), 0, i64::MAX)? as u64, negated: false });
    }
    if let Some(mask) = value.strip_prefix("!&") {
        return Ok(Comparison::AnyBit { mask: number(mask.trim(), 0, i64::MAX)? as u64, negated: true });
    }
    exclusive_bounds(value, field.max()).map(Comparison::Within)
}

/// `&MASK=BITS` and `&MASK!=BITS`: some bits of the number.
fn masked(value: Piece<'_>, mask: Piece<'_>, bits: Piece<'_>) -> Result<Comparison, Fault> {
    let mask = mask.trim();
    let (negated, mask) = match mask.strip_suffix("!") {
        Some(rest) => (true, rest.trim()),
        None => (false, mask),
    };
    let read = |piece: Piece<'_>| number(piece.trim(), 0, i64::MAX).map(|n| n as u64);
    let (mask, bits) = (read(mask)?, read(bits)?);
    if bits & !mask != 0 {
        return Err(Fault::new(Kind::Value, value.range(), "the mask hides bits that are asked for"));
    }
    Ok(Comparison::Bits { mask, bits, negated })
}

/// `1,3-5,>40`: one of several.
fn list(value: Piece<'_>, field: Field) -> Result<Comparison, Fault> {
    let mut alternatives = Vec::new();
    let value = value.unquote()?;
    for part in value.split(',').map(Piece::trim) {
        // In lists the ends of a range are among them.
        let read = match field {
            Field::DcerpcOpnum => super::bounds(part, field.max()).map(Comparison::Within)?,
            _ => one(part, field)?,
        };
        match read {
            Comparison::Within(bounds) if alternatives.len() < crate::limits::BITS_OF_OPTION => {
                alternatives.push(bounds)
            }
            _ => return Err(Fault::new(Kind::Value, part.range(), "this has no place in a list, or it is too long")),
        }
    }
    match alternatives.as_slice() {
        [only] => Ok(Comparison::Within(*only)),
        _ => Ok(Comparison::OneOf(alternatives)),
    }
}

/// Names of bits between commas, `!` before those that must not be set; or a number with `&`.
fn bits(value: Piece<'_>, field: Field) -> Result<Comparison, Fault> {
    let Some(Names { list, .. }) = names(field) else { return one(value, field) };
    let plain = value.text.trim_start_matches(['!', '&', '=', ' ']);
    if plain.starts_with(|c: char| c.is_ascii_digit()) || value.text.starts_with('&') {
        return one(value, field);
    }
    let (mut mask, mut bits) = (0, 0);
    for part in value.split(',').map(Piece::trim) {
        let (negated, word) = match part.strip_prefix("!") {
            Some(rest) => (true, rest.trim()),
            None => (false, part),
        };
        let found = list.iter().find(|(name, _)| name.eq_ignore_ascii_case(word.text));
        let (_, bit) = found.ok_or_else(|| Fault::new(Kind::Value, word.range(), "this flag is not known"))?;
        mask |= bit.min;
        if !negated {
            bits |= bit.min;
        }
    }
    // The indications of DNP3 are alternatives.
    if field == Field::Dnp3Indicators {
        return Ok(Comparison::AnyBit { mask, negated: false });
    }
    Ok(Comparison::Bits { mask, bits, negated: false })
}
