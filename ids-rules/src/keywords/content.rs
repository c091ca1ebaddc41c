//! `content` and the modifiers that speak of the content before them.

use super::{no_value, number, required};
use crate::diagnostic::{Fault, Kind};
use crate::lexer::{Piece, RuleOption};
use crate::limits;
use crate::parser::Draft;
use crate::rule::{Content, FastPattern, Match, Position, Value};

pub(super) fn content(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let (content, value) = read(option)?;
    let (modifiers, value) = value;
    draft.add_match(Match::Content(content), value)?;
    // Snort 3 writes the modifiers behind the content, with commas between them.
    let Some(modifiers) = modifiers else { return Ok(()) };
    for part in modifiers.split(',').map(Piece::trim) {
        let (name, rest) = part.text.split_once(char::is_whitespace).unwrap_or((part.text, ""));
        let rest = Piece::new(rest, part.at + part.text.len() - rest.len()).trim();
        let value = Some(rest).filter(|rest| !rest.text.is_empty());
        apply_modifier(draft, RuleOption { name: Piece::new(name, part.at), value })?;
    }
    Ok(())
}

fn apply_modifier(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    draft.note_modifier(option)?;
    match option.name.text {
        "nocase" => nocase(draft, option),
        "rawbytes" => rawbytes(draft, option),
        "offset" => offset(draft, option),
        "depth" => depth(draft, option),
        "distance" => distance(draft, option),
        "within" => within(draft, option),
        "fast_pattern" => fast_pattern(draft, option),
        // Which part is searched for first changes no result.
        "fast_pattern_offset" | "fast_pattern_length" => Ok(()),
        other => Err(Fault::new(Kind::UnsupportedValue, option.name.range(), format!("'{other}' is not a modifier"))
            .subject(format!("content:{other}"))),
    }
}

/// The content itself, what stands behind its quotes, and the place of the whole.
#[allow(clippy::type_complexity)] // One caller takes it apart at once.
fn read<'t>(option: RuleOption<'t>) -> Result<(Content, (Option<Piece<'t>>, Piece<'t>)), Fault> {
    let value = required(option)?;
    let (negated, quoted) = match value.strip_prefix("!") {
        Some(rest) => (true, rest.trim()),
        None => (false, value),
    };
    if !quoted.text.starts_with('"') {
        return Err(Fault::new(Kind::Value, quoted.range(), "the content is not in quotes"));
    }
    let (quoted, modifiers) = split_modifiers(quoted);
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
        starts_with: false,
        ends_with: false,
        fast_pattern: FastPattern::Unsaid,
        raw: false,
        replace: None,
    };
    Ok((content, (modifiers, value)))
}

/// Cuts `"abc",nocase,depth 3` behind the closing quote; a text without that form stays whole.
fn split_modifiers(quoted: Piece<'_>) -> (Piece<'_>, Option<Piece<'_>>) {
    let mut escaped = false;
    for (i, byte) in quoted.text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => {
                let rest = quoted.text.get(i + 1..).unwrap_or("");
                let after = Piece::new(rest, quoted.at + i + 1).trim();
                return match after.strip_prefix(",") {
                    Some(modifiers) => {
                        (Piece::new(quoted.text.get(..=i).unwrap_or(""), quoted.at), Some(modifiers.trim()))
                    }
                    None => (quoted, None),
                };
            }
            _ => {}
        }
    }
    (quoted, None)
}

/// Whether modifiers stand behind a content's quotes, as in Snort 3's dialect.
pub(super) fn has_modifiers(value: Piece<'_>) -> bool {
    let quoted = value.strip_prefix("!").unwrap_or(value).trim();
    quoted.text.starts_with('"') && split_modifiers(quoted).1.is_some()
}

/// The bytes that a content's text stands for: `|41 42|` is hexadecimal, `\` protects `;`, `:`, `"` and itself.
pub(super) fn decode(text: Piece<'_>) -> Result<Vec<u8>, Fault> {
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

/// `uricontent`: a content of the URI.
pub(super) fn uricontent(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let (content, (_, value)) = read(option)?;
    super::app::needs_protocol(draft, &[crate::AppProtocol::Http1, crate::AppProtocol::Http2], option)?;
    draft.add_to_buffer(crate::Buffer::HttpUri, Match::Content(content), value)
}

pub(super) fn nocase(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    no_value(option)?;
    let content = draft.last_content(option)?;
    if content.nocase {
        return Err(Draft::conflict(option.name.range(), "'nocase' is given twice for one content"));
    }
    content.nocase = true;
    Ok(())
}

pub(super) fn rawbytes(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    no_value(option)?;
    // Payload bytes are always the raw ones here.
    if draft.is_sticky() {
        return Err(Draft::conflict(option.name.range(), "'rawbytes' is for contents of the payload"));
    }
    let content = draft.last_payload_content(option)?;
    if std::mem::replace(&mut content.raw, true) {
        return Err(twice(option));
    }
    Ok(())
}

/// The value of a modifier: a number, or a variable taken before.
fn modifier_value(draft: &Draft, option: RuleOption<'_>, min: i64, max: i64) -> Result<Value, Fault> {
    super::value_or_variable(draft, required(option)?, min, max)
}

fn both_ways(option: RuleOption<'_>) -> Fault {
    Draft::conflict(
        option.name.range(),
        "a content is placed either by offset, depth and startswith, or by distance and within",
    )
    .remedy("drop one of the two")
}

fn twice(option: RuleOption<'_>) -> Fault {
    Draft::conflict(option.name.range(), format!("'{}' is given twice for one content", option.name.text))
}

pub(super) fn offset(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = modifier_value(draft, option, 0, limits::REACH.into())?;
    let content = draft.last_content(option)?;
    if content.starts_with {
        return Err(Draft::conflict(option.name.range(), "'startswith' excludes offset, depth, distance and within"));
    }
    match &mut content.position {
        Position::Absolute { offset, .. } => {
            if *offset != Value::Number(0) {
                return Err(twice(option));
            }
            *offset = value;
            Ok(())
        }
        Position::Relative { .. } => Err(both_ways(option)),
    }
}

pub(super) fn depth(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = modifier_value(draft, option, 1, limits::REACH.into())?;
    let content = draft.last_content(option)?;
    if value.number().is_some_and(|n| n < content.bytes.len() as i64) {
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
fn relative<'d>(draft: &'d mut Draft, option: RuleOption<'_>) -> Result<(&'d mut Value, &'d mut Option<Value>), Fault> {
    let content = draft.last_content(option)?;
    if content.fast_pattern == FastPattern::Only {
        return Err(Draft::conflict(option.name.range(), "a content that is 'fast_pattern:only' has no place"));
    }
    let position = &mut content.position;
    if *position == Position::ANYWHERE {
        *position = Position::Relative { distance: Value::Number(0), within: None };
    }
    match position {
        Position::Relative { distance, within } => Ok((distance, within)),
        Position::Absolute { .. } => Err(both_ways(option)),
    }
}

pub(super) fn distance(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let reach = i64::from(limits::RELATIVE_REACH);
    let value = modifier_value(draft, option, -reach, reach)?;
    let (distance, _) = relative(draft, option)?;
    if *distance != Value::Number(0) {
        return Err(twice(option));
    }
    *distance = value;
    Ok(())
}

pub(super) fn within(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = modifier_value(draft, option, 1, limits::RELATIVE_REACH.into())?;
    let length = draft.last_content(option)?.bytes.len();
    if value.number().is_some_and(|n| n < length as i64) {
        let message = format!("'within' is smaller than the content, which has {length} bytes");
        return Err(Draft::conflict(option.name.range(), message).remedy("it could never match"));
    }
    let (_, within) = relative(draft, option)?;
    if within.is_some() {
        return Err(twice(option));
    }
    *within = Some(value);
    Ok(())
}

pub(super) fn startswith(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    no_value(option)?;
    let content = draft.last_content(option)?;
    if content.position != Position::ANYWHERE {
        return Err(Draft::conflict(option.name.range(), "'startswith' excludes offset, depth, distance and within"));
    }
    content.starts_with = true;
    content.position =
        Position::Absolute { offset: Value::Number(0), depth: Some(Value::Number(content.bytes.len() as i64)) };
    Ok(())
}

pub(super) fn endswith(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    no_value(option)?;
    let content = draft.last_content(option)?;
    if content.ends_with {
        return Err(twice(option));
    }
    content.ends_with = true;
    Ok(())
}

pub(super) fn fast_pattern(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let content = draft.last_content(option)?;
    if content.fast_pattern != FastPattern::Unsaid {
        return Err(twice(option));
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

/// `replace`: other bytes, as many, in the content's place.
pub(super) fn replace(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let bytes = decode(value.unquote()?)?;
    if draft.is_sticky() {
        return Err(Draft::conflict(option.name.range(), "'replace' is for contents of the payload"));
    }
    let content = draft.last_content(option)?;
    if bytes.len() != content.bytes.len() || content.negated {
        let message = format!("the replacement must have {} bytes, and the content be there", content.bytes.len());
        return Err(Draft::conflict(value.range(), message));
    }
    content.replace = Some(bytes);
    draft.warnings.push(
        Fault::new(Kind::UnsupportedValue, option.name.range(), "packets are not rewritten: 'replace' has no effect")
            .subject("replace"),
    );
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
