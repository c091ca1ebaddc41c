//! Rules that ask for more bytes than they allow.

use std::ops::Range;

use crate::diagnostic::Fault;
use crate::parser::Draft;
use crate::rule::{Bounds, Condition, Match, Position, Section, Value};

/// The largest size that bounds allow; `None` where they set no upper limit that matters.
fn largest(bounds: Bounds) -> Option<u64> {
    (!bounds.negated && bounds.max < u64::from(u16::MAX)).then_some(bounds.max)
}

/// The bytes that contents need at the least, taken one behind the other: the first counts as it is, further ones where
/// they are placed by the one before. Beside it the largest offset.
fn needed(section: &Section) -> (i64, i64) {
    let (mut total, mut offset_max, mut first) = (0, 0, true);
    let mut highest = 0;
    for m in &section.matches {
        let Match::Content(content) = m else { continue };
        let length = content.bytes.len() as i64;
        match content.position {
            Position::Absolute { offset, .. } => {
                let offset = offset.number().unwrap_or(0);
                if !content.negated {
                    offset_max = offset_max.max(offset);
                    highest = highest.max(offset + length);
                }
                if first && !content.negated {
                    total = length;
                }
            }
            Position::Relative { distance, within } => {
                let distance = distance.number().unwrap_or(0);
                let reach = match (content.negated, within.and_then(Value::number)) {
                    // One that must not be there in so many bytes needs them to be there.
                    (true, Some(within)) if within != length => within,
                    (true, _) => continue,
                    (false, _) => length,
                };
                total += distance + reach;
                highest = highest.max(total);
            }
        }
        first = false;
    }
    (total.max(highest), offset_max)
}

/// `bsize` and `urilen` against the contents of their buffer.
pub(super) fn check_sizes(section: &Section, places: &[Range<usize>]) -> Result<(), Fault> {
    for (m, place) in section.matches.iter().zip(places) {
        let Match::Size(bounds) = m else { continue };
        let Some(most) = largest(*bounds) else { continue };
        let (need, _) = needed(section);
        if need > most as i64 {
            let message = format!("the contents need {need} bytes, the size allows {most}");
            return Err(Draft::conflict(place.clone(), message).remedy("it could never match"));
        }
    }
    Ok(())
}

/// `dsize` against the contents of the payload.
pub(super) fn check_payload(draft: &Draft) -> Result<(), Fault> {
    let size = draft.rule.conditions.iter().find_map(|c| match c {
        Condition::PayloadSize(bounds) => largest(*bounds),
        _ => None,
    });
    let (Some(most), Some(payload)) = (size, draft.rule.payload()) else { return Ok(()) };
    let (need, _) = needed(payload);
    if need > most as i64 {
        let message = format!("the contents need {need} bytes of payload, 'dsize' allows {most}");
        return Err(Draft::conflict(0..1, message).remedy("it could never match"));
    }
    Ok(())
}
