//! `content` and the modifiers that speak of the content before them.

use super::number;
use crate::diagnostic::{Fault, Kind};
use crate::lexer::{Piece, RuleOption};
use crate::limits;
use crate::parser::Draft;
use crate::rule::{Content, FastPattern, Match, Position};

pub(super) fn content(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = option.required()?;
    let (negated, quoted) = match value.strip_prefix("!") {
        Some(rest) => (true, rest.trim()),
        None => (false, value),
    };
    if !quoted.text.starts_with('"') {
        return Err(Fault::new(Kind::Value, quoted.range(), "the content is not in quotes"));
    }
    let bytes = decode(quoted.unquote()?)?;
    if bytes.is_empty() {
        return Err(Fault::new(Kind::Value, value.range(), "the content is empty"));
    }
    if bytes.len() > limits::CONTENT_BYTES {
        let message = format!("the content is {} bytes long; the limit is {}", bytes.len(), limits::CONTENT_BYTES);
        return Err(Fault::new(Kind::Limit, value.range(), message));
    }
    let content = Content {
        bytes,
        negated,
        nocase: false,
        position: Position::ANYWHERE,
        ends_with: false,
        fast_pattern: FastPattern::Unsaid,
    };
    draft.add_match(Match::Content(content), value)
}

/// The bytes that a content's text stands for: `|41 42|` is hexadecimal, `\` protects `;`, `:`, `"` and itself.
fn decode(text: Piece<'_>) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::with_capacity(text.text.len());
    let mut input = text.text.bytes().enumerate();
    while let Some((i, byte)) = input.next() {
        let here = text.at + i..text.at + i + 1;
        match byte {
            b'|' => decode_hex(&mut input, text.at + i, &mut bytes)?,
            b'\\' => match input.next() {
                Some((_, c @ (b';' | b':' | b'"' | b'\\'))) => bytes.push(c),
                _ => {
                    return Err(Fault::new(Kind::Value, here, "only ; : \" and \\ can be escaped in a content")
                        .remedy("write other bytes in hexadecimal: |0d 0a|"));
                }
            },
            b'"' => {
                return Err(Fault::new(Kind::Value, here, "a quote within a content must be escaped")
                    .remedy("write \\\" or |22|"));
            }
            other => bytes.push(other),
        }
    }
    Ok(bytes)
}

/// Reads up to the closing bar. White space may stand anywhere between digits.
fn decode_hex(input: &mut impl Iterator<Item = (usize, u8)>, at: usize, bytes: &mut Vec<u8>) -> Result<(), Fault> {
    let mut high: Option<u8> = None;
    let mut width = 1;
    let fault = |width: usize, message: &str| {
        Fault::new(Kind::Value, at..at + width, message).remedy("hexadecimal is written in pairs of digits: |0d 0a|")
    };
    for (_, byte) in input {
        width += 1;
        let digit = match byte {
            b'|' if high.is_some() => return Err(fault(width, "a hexadecimal pair lacks its second digit")),
            b'|' => return Ok(()),
            b' ' | b'\t' => continue,
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => return Err(fault(width, "this is not hexadecimal")),
        };
        match high.take() {
            Some(h) => bytes.push(h << 4 | digit),
            None => high = Some(digit),
        }
    }
    Err(fault(width, "the closing '|' is missing"))
}

impl Draft {
    /// Adds a condition on the payload.
    pub(super) fn add_match(&mut self, m: Match, place: Piece<'_>) -> Result<(), Fault> {
        if self.rule.matches.len() == limits::MATCHES {
            let message = format!("more than {} conditions on the payload", limits::MATCHES);
            return Err(Fault::new(Kind::Limit, place.range(), message));
        }
        self.rule.matches.push(m);
        self.match_places.push(place.range());
        Ok(())
    }

    /// The content that a modifier speaks of.
    fn last_content(&mut self, option: RuleOption<'_>) -> Result<&mut Content, Fault> {
        let last = self.rule.matches.iter_mut().rev().find_map(|m| match m {
            Match::Content(content) => Some(content),
            Match::Pcre(_) | Match::IsDataAt(_) | Match::Size(_) => None,
        });
        last.ok_or_else(|| {
            let message = format!("'{}' has no content before it", option.name.text);
            Fault::new(Kind::Conflict, option.name.range(), message).remedy("put it behind the content it speaks of")
        })
    }
}

pub(super) fn nocase(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    option.no_value()?;
    let content = draft.last_content(option)?;
    if content.nocase {
        return Err(Draft::conflict(option.name.range(), "'nocase' is given twice for one content"));
    }
    content.nocase = true;
    Ok(())
}

pub(super) fn rawbytes(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    option.no_value()?;
    // Payload bytes are always the raw ones here.
    draft.last_content(option).map(|_| ())
}

/// The value of a modifier that is a number. Names of variables (`byte_extract`) are not.
fn modifier_number(option: RuleOption<'_>, min: i64, max: i64) -> Result<i64, Fault> {
    let value = option.required()?;
    if value.text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        let message = format!("'{}' by a variable is not supported", option.name.text);
        return Err(Fault::new(Kind::UnsupportedValue, value.range(), message)
            .subject(format!("{} by variable", option.name.text)));
    }
    number(value, min, max)
}

fn both_ways(option: RuleOption<'_>) -> Fault {
    Draft::conflict(
        option.name.range(),
        "a content is placed either by offset, depth and startswith, or by distance and within",
    )
    .remedy("drop one of the two")
}

pub(super) fn offset(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = modifier_number(option, 0, limits::REACH.into())? as u32;
    match &mut draft.last_content(option)?.position {
        Position::Absolute { offset, .. } => {
            if *offset != 0 {
                return Err(Draft::conflict(option.name.range(), "'offset' is given twice for one content"));
            }
            *offset = value;
            Ok(())
        }
        Position::Relative { .. } => Err(both_ways(option)),
    }
}

pub(super) fn depth(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = modifier_number(option, 1, limits::REACH.into())? as u32;
    let content = draft.last_content(option)?;
    if (value as usize) < content.bytes.len() {
        let message = format!("the depth is smaller than the content, which has {} bytes", content.bytes.len());
        return Err(Draft::conflict(option.name.range(), message).remedy("it could never match"));
    }
    match &mut content.position {
        Position::Absolute { depth: Some(_), .. } => {
            Err(Draft::conflict(option.name.range(), "'depth' or 'startswith' is given twice for one content"))
        }
        Position::Absolute { depth, .. } => {
            *depth = Some(value);
            Ok(())
        }
        Position::Relative { .. } => Err(both_ways(option)),
    }
}

/// The relative position of the last content, turned from "anywhere" where nothing else was said of it.
fn relative<'d>(draft: &'d mut Draft, option: RuleOption<'_>) -> Result<(&'d mut i32, &'d mut Option<u32>), Fault> {
    let position = &mut draft.last_content(option)?.position;
    if *position == Position::ANYWHERE {
        *position = Position::Relative { distance: 0, within: None };
    }
    match position {
        Position::Relative { distance, within } => Ok((distance, within)),
        Position::Absolute { .. } => Err(both_ways(option)),
    }
}

pub(super) fn distance(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let reach = i64::from(limits::REACH);
    let value = modifier_number(option, -reach, reach)? as i32;
    let (distance, _) = relative(draft, option)?;
    if *distance != 0 {
        return Err(Draft::conflict(option.name.range(), "'distance' is given twice for one content"));
    }
    *distance = value;
    Ok(())
}

pub(super) fn within(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = modifier_number(option, 1, limits::REACH.into())? as u32;
    let length = draft.last_content(option)?.bytes.len();
    if (value as usize) < length {
        let message = format!("'within' is smaller than the content, which has {length} bytes");
        return Err(Draft::conflict(option.name.range(), message).remedy("it could never match"));
    }
    let (_, within) = relative(draft, option)?;
    if within.is_some() {
        return Err(Draft::conflict(option.name.range(), "'within' is given twice for one content"));
    }
    *within = Some(value);
    Ok(())
}

pub(super) fn startswith(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    option.no_value()?;
    let content = draft.last_content(option)?;
    if content.position != Position::ANYWHERE {
        return Err(Draft::conflict(option.name.range(), "'startswith' excludes offset, depth, distance and within"));
    }
    content.position = Position::Absolute { offset: 0, depth: Some(content.bytes.len() as u32) };
    Ok(())
}

pub(super) fn endswith(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    option.no_value()?;
    let content = draft.last_content(option)?;
    if content.ends_with {
        return Err(Draft::conflict(option.name.range(), "'endswith' is given twice for one content"));
    }
    content.ends_with = true;
    Ok(())
}

pub(super) fn fast_pattern(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let content = draft.last_content(option)?;
    if content.fast_pattern != FastPattern::Unsaid {
        return Err(Draft::conflict(option.name.range(), "'fast_pattern' is given twice for one content"));
    }
    content.fast_pattern = match option.value {
        None => FastPattern::Whole,
        Some(value) if value.text == "only" => FastPattern::Only,
        Some(value) => {
            let Some((offset, length)) = value.split_once(',') else {
                return Err(Fault::new(
                    Kind::Value,
                    value.range(),
                    "'fast_pattern' takes nothing, only, or offset,length",
                ));
            };
            let offset = number(offset.trim(), 0, limits::CONTENT_BYTES as i64)? as u16;
            let length = number(length.trim(), 1, limits::CONTENT_BYTES as i64)? as u16;
            if usize::from(offset) + usize::from(length) > content.bytes.len() {
                let message = format!("this reaches beyond the content's {} bytes", content.bytes.len());
                return Err(Draft::conflict(value.range(), message));
            }
            FastPattern::Part { offset, length }
        }
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Result<Vec<u8>, Fault> {
        decode(Piece::new(text, 0))
    }

    #[test]
    fn contents_are_decoded() {
        assert_eq!(bytes("ab|41 4243|c").unwrap(), b"abABCc");
        assert_eq!(bytes(r#"\;\:\"\\"#).unwrap(), br#";:"\"#);
        assert_eq!(bytes("||x").unwrap(), b"x");
        assert_eq!(bytes("ä").unwrap(), "ä".as_bytes());
    }

    #[test]
    fn malformed_contents_are_refused_at_their_place() {
        assert_eq!(bytes("ab|41").unwrap_err().at.start, 2);
        assert_eq!(bytes("ab|4|").unwrap_err().at.start, 2);
        assert_eq!(bytes("|zz|").unwrap_err().kind, Kind::Value);
        assert_eq!(bytes(r"a\n").unwrap_err().at, 1..2);
        assert!(bytes(r"a\").is_err());
        assert!(bytes("a\"b").is_err());
    }
}
