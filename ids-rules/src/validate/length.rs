//! Rules that ask for more bytes than they allow.

use std::ops::Range;

use crate::diagnostic::Fault;
use crate::parser::Draft;
use crate::rule::{Bounds, Condition, Match, Position, Section, Value};

/// The largest size that bounds allow; `None` where they set no upper limit that matters.
fn largest(bounds: Bounds) -> Option<u64> {
    (!bounds.negated && bounds.max < u64::from(u16::MAX)).then_some(bounds.max)
}

/// The bytes that contents need at the least, taken one behind the other: the first counts wherever it is, further ones
/// where they are placed by the one before. One that must not be there needs room to be looked for: as the first one as
/// many bytes as it has, behind others those of its `distance` and `within`.
fn needed(section: &Section) -> i64 {
    let contents = section.matches.iter().filter_map(|m| match m {
        Match::Content(content) => Some(content),
        _ => None,
    });
    let (mut total, mut farthest, mut looked_at) = (0, 0, 0);
    for (nth, content) in contents.enumerate() {
        let length = content.bytes.len() as i64;
        match content.position {
            Position::Absolute { offset, .. } if nth == 0 => {
                total = length;
                farthest = offset.number().unwrap_or(0);
            }
            Position::Absolute { .. } => {}
            Position::Relative { distance, within } => {
                let distance = distance.number().unwrap_or(0);
                let within = within.and_then(Value::number).unwrap_or(0);
                if content.negated && nth > 0 {
                    // What follows stands behind the last that is there.
                    looked_at = looked_at.max(total + distance + within);
                } else {
                    total += distance + length;
                }
            }
        }
    }
    (total + farthest).max(looked_at)
}

/// `bsize` and `urilen` against the contents of their buffer.
pub(super) fn check_sizes(section: &Section, places: &[Range<usize>]) -> Result<(), Fault> {
    for (m, place) in section.matches.iter().zip(places) {
        let Match::Size(bounds) = m else { continue };
        let Some(most) = largest(*bounds) else { continue };
        let need = needed(section);
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
    let need = needed(payload);
    if need > most as i64 {
        let message = format!("the contents need {need} bytes of payload, 'dsize' allows {most}");
        return Err(Draft::conflict(0..1, message).remedy("it could never match"));
    }
    Ok(())
}
