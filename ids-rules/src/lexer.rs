//! Text to rules' texts, and a rule's text to its header and options. Offsets are bytes of the rule's text.

use std::borrow::Cow;
use std::ops::Range;

use crate::diagnostic::{Fault, Kind};
use crate::limits;

/// One rule's text: a line, or several joined by backslashes at their ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Logical<'a> {
    /// The text without line ends.
    pub text: Cow<'a, str>,
    /// Line number of the first line, from 1.
    pub line: u32,
    /// Where in `text` each further line starts.
    pub breaks: Vec<usize>,
}

impl Logical<'_> {
    /// The line that byte `at` of the text stands on: its number, its text, and the byte it starts at.
    pub(crate) fn line_of(&self, at: usize) -> (u32, &str, usize) {
        let index = self.breaks.partition_point(|&start| start <= at);
        let start = index.checked_sub(1).and_then(|i| self.breaks.get(i)).copied().unwrap_or(0);
        let end = self.breaks.get(index).copied().unwrap_or(self.text.len());
        (self.line.saturating_add(index as u32), self.text.get(start..end).unwrap_or(""), start)
    }
}

/// The rules' texts of a source, without comments and empty lines.
pub(crate) fn logical_lines(text: &str) -> impl Iterator<Item = Logical<'_>> {
    let mut lines = text.lines().zip(1u32..);
    std::iter::from_fn(move || {
        let (first, line) = lines.find(|(l, _)| {
            let l = l.trim_start();
            !l.is_empty() && !l.starts_with('#')
        })?;
        let Some(mut open) = first.strip_suffix('\\') else {
            return Some(Logical { text: Cow::Borrowed(first), line, breaks: Vec::new() });
        };
        let (mut joined, mut breaks) = (String::new(), Vec::new());
        loop {
            joined.push_str(open);
            let Some((next, _)) = lines.next() else { break };
            breaks.push(joined.len());
            match next.strip_suffix('\\') {
                Some(rest) => open = rest,
                None => {
                    joined.push_str(next);
                    break;
                }
            }
        }
        Some(Logical { text: Cow::Owned(joined), line, breaks })
    })
}

/// A piece of a rule's text and where it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub text: &'a str,
    pub at: usize,
}

impl<'a> Piece<'a> {
    pub(crate) fn new(text: &'a str, at: usize) -> Piece<'a> {
        Piece { text, at }
    }

    /// The bytes it covers; at least one, so that a caret can be shown.
    pub(crate) fn range(self) -> Range<usize> {
        self.at..self.at + self.text.len().max(1)
    }

    pub(crate) fn trim(self) -> Piece<'a> {
        let text = self.text.trim_start();
        Piece { text: text.trim_end(), at: self.at + self.text.len() - text.len() }
    }

    /// What follows `prefix`, where it starts with it.
    pub(crate) fn strip_prefix(self, prefix: &str) -> Option<Piece<'a>> {
        Some(Piece { text: self.text.strip_prefix(prefix)?, at: self.at + prefix.len() })
    }

    /// What precedes `suffix`, where it ends with it.
    pub(crate) fn strip_suffix(self, suffix: &str) -> Option<Piece<'a>> {
        Some(Piece { text: self.text.strip_suffix(suffix)?, at: self.at })
    }

    /// The two sides of the first `separator`.
    pub(crate) fn split_once(self, separator: char) -> Option<(Piece<'a>, Piece<'a>)> {
        let (a, b) = self.text.split_once(separator)?;
        Some((Piece { text: a, at: self.at }, Piece { text: b, at: self.at + a.len() + separator.len_utf8() }))
    }

    /// The pieces between `separator`s.
    pub(crate) fn split(self, separator: char) -> impl Iterator<Item = Piece<'a>> {
        let base = self.text.as_ptr() as usize;
        self.text
            .split(separator)
            .map(move |text| Piece { text, at: self.at + (text.as_ptr() as usize).saturating_sub(base) })
    }

    /// The text within its quotes; the piece itself where it has none.
    pub(crate) fn unquote(self) -> Result<Piece<'a>, Fault> {
        let Some(open) = self.strip_prefix("\"") else { return Ok(self) };
        match open.text.strip_suffix('"').filter(|inner| !ends_in_escape(inner)) {
            Some(inner) => Ok(Piece { text: inner, at: open.at }),
            None => Err(Fault::new(Kind::Syntax, self.range(), "the closing quote is missing")
                .remedy("a ';' within quotes is written \\; (in a content also |3b|), a '\"' is written \\\" or |22|")),
        }
    }
}

/// Whether the last character is escaped by an odd number of backslashes before it, so that a quote after it is text.
fn ends_in_escape(text: &str) -> bool {
    text.bytes().rev().take_while(|&b| b == b'\\').count() % 2 == 1
}

/// One option of a rule: a keyword with or without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RuleOption<'a> {
    pub name: Piece<'a>,
    pub value: Option<Piece<'a>>,
}

/// Cuts a rule's text into its header and the text between the parentheses.
pub(crate) fn split_rule(text: &str) -> Result<(Piece<'_>, Piece<'_>), Fault> {
    let whole = Piece::new(text, 0).trim();
    if text.len() > limits::RULE_BYTES {
        let message = format!("the rule is {} bytes long; the limit is {}", text.len(), limits::RULE_BYTES);
        return Err(Fault::new(Kind::Limit, 0..1, message));
    }
    let Some((header, rest)) = whole.split_once('(') else {
        return Err(Fault::new(Kind::Syntax, whole.range(), "the options in parentheses are missing")
            .remedy("a rule reads: action protocol source port -> destination port (options)"));
    };
    let Some(options) = rest.text.strip_suffix(')') else {
        let end = rest.at + rest.text.len();
        return Err(Fault::new(Kind::Syntax, end.saturating_sub(1)..end, "the closing parenthesis is missing")
            .remedy("end the rule with ;)"));
    };
    Ok((header.trim(), Piece::new(options, rest.at)))
}

/// Cuts the text between the parentheses into options. A semicolon ends an option unless a backslash stands before it.
pub(crate) fn split_options(options: Piece<'_>) -> Result<Vec<RuleOption<'_>>, Fault> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (i, byte) in options.text.bytes().enumerate() {
        if escaped {
            escaped = false;
        } else if byte == b'\\' {
            escaped = true;
        } else if byte == b';' {
            let option = Piece::new(options.text.get(start..i).unwrap_or(""), options.at + start).trim();
            start = i + 1;
            if found.len() == limits::OPTIONS {
                let message = format!("more than {} options", limits::OPTIONS);
                return Err(Fault::new(Kind::Limit, option.range(), message));
            }
            found.push(split_option(option)?);
        }
    }
    let rest = Piece::new(options.text.get(start..).unwrap_or(""), options.at + start).trim();
    if !rest.text.is_empty() {
        return Err(Fault::new(Kind::Syntax, rest.range(), "the last option does not end in ';'")
            .remedy("end each option with ';'"));
    }
    Ok(found)
}

fn split_option(option: Piece<'_>) -> Result<RuleOption<'_>, Fault> {
    let (name, value) = match option.split_once(':') {
        Some((name, value)) => (name.trim(), Some(value.trim())),
        None => (option, None),
    };
    if name.text.is_empty() || !name.text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
    {
        return Err(Fault::new(Kind::Syntax, name.range(), "this is not a keyword")
            .remedy("is a ';' within quotes before it? it is written \\; or, in a content, |3b|"));
    }
    Ok(RuleOption { name, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_empty_lines_are_passed_over_and_lines_counted() {
        let lines: Vec<_> = logical_lines("# a\n\n  # b\nrule one\r\n\nrule two").collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].line, lines[0].text.as_ref()), (4, "rule one"));
        assert_eq!((lines[1].line, lines[1].text.as_ref()), (6, "rule two"));
    }

    #[test]
    fn a_backslash_at_the_end_joins_lines_and_places_are_found_again() {
        let lines: Vec<_> = logical_lines("x\nab\\\n cd\\\nef\ngh\\").collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[1].text, "ab cdef");
        assert_eq!(lines[1].line_of(0), (2, "ab", 0));
        assert_eq!(lines[1].line_of(3), (3, " cd", 2));
        assert_eq!(lines[1].line_of(6), (4, "ef", 5));
        assert_eq!(lines[1].line_of(700), (4, "ef", 5));
        assert_eq!(lines[2].text, "gh");
    }

    #[test]
    fn semicolons_end_options_unless_escaped() {
        let options = split_options(Piece::new(r#"msg:"a\;b" ; nocase; sid:1;"#, 10)).unwrap();
        assert_eq!(options.len(), 3);
        assert_eq!(options[0].value.unwrap().text, r#""a\;b""#);
        assert_eq!(options[1], RuleOption { name: Piece::new("nocase", 23), value: None });
        assert_eq!(options[2].name.at, 31);
    }

    #[test]
    fn quotes_must_be_closed_and_an_escaped_quote_closes_nothing() {
        assert_eq!(Piece::new(r#""ab""#, 5).unquote().unwrap(), Piece::new("ab", 6));
        assert_eq!(Piece::new(r#""ab\\""#, 0).unquote().unwrap().text, r"ab\\");
        assert!(Piece::new(r#""ab\""#, 0).unquote().is_err());
        assert!(Piece::new("\"", 0).unquote().is_err());
    }
}
