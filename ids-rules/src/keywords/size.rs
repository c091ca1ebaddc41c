//! How much payload there is: `isdataat`, `dsize`, `bsize`.

use super::{bounds, number};
use crate::diagnostic::{Fault, Kind};
use crate::lexer::RuleOption;
use crate::limits;
use crate::parser::Draft;
use crate::rule::{Condition, IsDataAt, Match};

pub(super) fn isdataat(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let whole = option.required()?;
    let (negated, value) = match whole.strip_prefix("!") {
        Some(rest) => (true, rest.trim()),
        None => (false, whole),
    };
    let mut parts = value.split(',').map(|p| p.trim());
    let place = parts.next().unwrap_or(value);
    if place.text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return Err(Fault::new(Kind::UnsupportedValue, place.range(), "'isdataat' by a variable is not supported")
            .subject("isdataat by variable"));
    }
    let offset = number(place, 0, limits::REACH.into())? as u32;
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
    draft.add_match(Match::IsDataAt(IsDataAt { offset, relative, negated }), whole)
}

pub(super) fn dsize(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    if draft.rule.conditions.iter().any(|c| matches!(c, Condition::PayloadSize(_))) {
        return Err(Draft::conflict(option.name.range(), "'dsize' is given twice"));
    }
    let bounds = bounds(option.required()?, limits::REACH.into())?;
    draft.rule.conditions.push(Condition::PayloadSize(bounds));
    Ok(())
}

pub(super) fn bsize(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = option.required()?;
    let bounds = bounds(value, u32::MAX.into())?;
    draft.add_match(Match::Size(bounds), value)
}
