//! `pcre`: a regular expression between slashes, with its modifiers.

use super::required;
use crate::diagnostic::{Fault, Kind};
use crate::lexer::{Piece, RuleOption};
use crate::parser::Draft;
use crate::rule::{Capture, CaptureInto, Match, Pcre, PcreFlags};
use crate::{AppProtocol, Buffer, limits};

/// The letters that name a buffer.
const LETTERS: &[(char, Buffer)] = &[
    ('U', Buffer::HttpUri),
    ('I', Buffer::HttpUriRaw),
    ('P', Buffer::HttpRequestBody),
    ('Q', Buffer::FileData),
    ('H', Buffer::HttpHeader),
    ('D', Buffer::HttpHeaderRaw),
    ('M', Buffer::HttpMethod),
    ('C', Buffer::HttpCookie),
    ('S', Buffer::HttpStatCode),
    ('Y', Buffer::HttpStatMessage),
    ('V', Buffer::HttpUserAgent),
    ('W', Buffer::HttpHost),
    ('Z', Buffer::HttpHostRaw),
];

pub(super) fn pcre(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let (negated, quoted) = match value.strip_prefix("!") {
        Some(rest) => (true, rest.trim()),
        None => (false, value),
    };
    // An expression between slashes is taken without quotes as well.
    let inner = if quoted.text.starts_with('/') { quoted } else { quoted.unquote()? };
    let form = || {
        Fault::new(Kind::Value, inner.range(), "the expression does not stand between two slashes")
            .remedy("write pcre:\"/expression/modifiers\"")
    };
    let start = inner.strip_prefix("/").ok_or_else(form)?;
    let end = start.text.rfind('/').ok_or_else(form)?;
    let (pattern, rest) = (start.text.get(..end).unwrap_or(""), start.text.get(end + 1..).unwrap_or(""));
    if pattern.is_empty() {
        return Err(Fault::new(Kind::Value, inner.range(), "the expression is empty"));
    }
    if pattern.len() > limits::PCRE_BYTES {
        let message = format!("the expression is {} bytes long; the limit is {}", pattern.len(), limits::PCRE_BYTES);
        return Err(Fault::new(Kind::Limit, inner.range(), message));
    }
    let (letters, captures) = rest.split_once(',').map_or((rest, None), |(l, c)| (l, Some(c)));
    let captures = match captures {
        Some(text) => read_captures(Piece::new(text, start.at + end + 1 + letters.len() + 1))?,
        None => Vec::new(),
    };
    let mut found = Pcre {
        pattern: unescape(pattern),
        negated,
        relative: false,
        flags: PcreFlags::default(),
        captures,
        at: start.at as u32,
    };
    let buffer = modifiers(&mut found, Piece::new(letters.trim_end(), start.at + end + 1))?;
    named_groups(&mut found);
    place(draft, option, buffer, found, value)
}

/// Puts the expression where its letters, the sticky buffer, or neither say.
fn place(
    draft: &mut Draft,
    option: RuleOption<'_>,
    buffer: Option<Buffer>,
    found: Pcre,
    value: Piece<'_>,
) -> Result<(), Fault> {
    let relative = found.relative;
    let target = buffer.or(draft.sticky()).unwrap_or(Buffer::Payload);
    if relative && !draft.is_sticky() && !draft.has_place(target) {
        return Err(Draft::conflict(
            value.range(),
            "'R' counts from a match before it in the same buffer, and there is none",
        ));
    }
    let Some(buffer) = buffer else { return draft.add_match(Match::Pcre(found), value) };
    if draft.sticky() == Some(buffer) {
        return draft.add_match(Match::Pcre(found), value);
    }
    if draft.is_sticky() {
        return Err(Draft::conflict(
            value.range(),
            "the expression names a buffer by its letter, but a sticky buffer holds",
        )
        .remedy("leave the letter out, or put pkt_data before it"));
    }
    if buffer == Buffer::HttpHost && found.flags.caseless {
        return Err(Draft::conflict(value.range(), "host names are compared in lower case: 'i' has no place here")
            .remedy("leave the 'i' out"));
    }
    super::app::needs_protocol(draft, &[AppProtocol::Http1, AppProtocol::Http2], option)?;
    draft.add_to_buffer(buffer, Match::Pcre(found), value)
}

fn modifiers(found: &mut Pcre, letters: Piece<'_>) -> Result<Option<Buffer>, Fault> {
    let mut buffer = None;
    for (i, modifier) in letters.text.char_indices() {
        let flags = &mut found.flags;
        let at = letters.at + i..letters.at + i + modifier.len_utf8();
        match modifier {
            'i' => flags.caseless = true,
            's' => flags.dotall = true,
            'm' => flags.multiline = true,
            'x' => flags.extended = true,
            'A' => flags.anchored = true,
            'E' => flags.dollar_end_only = true,
            'G' => flags.ungreedy = true,
            'R' => found.relative = true,
            // Raw bytes are what the payload is, and the match limit always holds.
            'B' | 'O' => {}
            other => match LETTERS.iter().find(|(letter, _)| *letter == other) {
                Some((_, named)) if buffer.is_none() => buffer = Some(*named),
                Some(_) => return Err(Draft::conflict(at, "the expression names two buffers")),
                None => {
                    let message = format!("the modifier '{other}' is not known");
                    return Err(Fault::new(Kind::UnsupportedValue, at, message)
                        .subject(format!("pcre/{other}"))
                        .remedy("one of i s m x A E G R B O and the buffers' letters"));
                }
            },
        }
    }
    Ok(buffer)
}

/// `flow:name,pkt:other`: what becomes of the groups.
fn read_captures(text: Piece<'_>) -> Result<Vec<Capture>, Fault> {
    let mut captures = Vec::new();
    for part in text.split(',').map(Piece::trim) {
        let Some((into, name)) = part.split_once(':') else {
            return Err(Fault::new(Kind::Value, part.range(), "a group is kept by flow:NAME, pkt:NAME or alert:NAME"));
        };
        let into = match into.trim().text {
            "flow" => CaptureInto::Flow,
            "pkt" => CaptureInto::Packet,
            "alert" => CaptureInto::Alert,
            _ => return Err(Fault::new(Kind::Value, into.range(), "a group is kept by flow:, pkt: or alert:")),
        };
        if captures.len() == limits::CAPTURES || name.trim().text.is_empty() {
            return Err(Fault::new(Kind::Value, name.range(), "a group's name is missing, or there are too many"));
        }
        captures.push(Capture { into, name: name.trim().text.to_owned() });
    }
    Ok(captures)
}

/// Groups named `flow_x` and `pkt_x` in the expression itself are kept too.
fn named_groups(found: &mut Pcre) {
    if !found.captures.is_empty() || !found.pattern.contains("(?P<") {
        return;
    }
    let mut named = Vec::new();
    for part in found.pattern.split("(?P<").skip(1) {
        let Some((name, _)) = part.split_once('>') else { continue };
        let kept = [("flow_", CaptureInto::Flow), ("pkt_", CaptureInto::Packet), ("alert_", CaptureInto::Alert)];
        for (prefix, into) in kept {
            if let Some(name) = name.strip_prefix(prefix) {
                named.push(Capture { into, name: name.to_owned() });
            }
        }
    }
    named.truncate(limits::CAPTURES);
    found.captures = named;
}

/// Takes away the backslash that protects a semicolon or a quote from the rule's own syntax; all others belong to the
/// expression.
pub(super) fn unescape(pattern: &str) -> String {
    let mut plain = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some(next @ (';' | '"')) => plain.push(next),
            Some(next) => plain.extend(['\\', next]),
            None => plain.push('\\'),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_escapes_of_the_rules_own_syntax_go() {
        assert_eq!(unescape(r#"a\;b\"c\\\;d\."#), r#"a;b"c\\;d\."#);
        assert_eq!(unescape("x\\"), "x\\");
    }
}
