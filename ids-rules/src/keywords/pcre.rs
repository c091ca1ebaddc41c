//! `pcre`: a regular expression between slashes, with its modifiers.

use crate::diagnostic::{Fault, Kind};
use crate::lexer::RuleOption;
use crate::limits;
use crate::parser::Draft;
use crate::rule::{Match, Pcre, PcreFlags};

pub(super) fn pcre(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = option.required()?;
    let (negated, quoted) = match value.strip_prefix("!") {
        Some(rest) => (true, rest.trim()),
        None => (false, value),
    };
    if !quoted.text.starts_with('"') {
        return Err(Fault::new(Kind::Value, quoted.range(), "the expression is not in quotes"));
    }
    let inner = quoted.unquote()?;
    let form = || {
        Fault::new(Kind::Value, inner.range(), "the expression does not stand between two slashes")
            .remedy("write pcre:\"/expression/modifiers\"")
    };
    let start = inner.strip_prefix("/").ok_or_else(form)?;
    let end = start.text.rfind('/').ok_or_else(form)?;
    let (pattern, modifiers) = (start.text.get(..end).unwrap_or(""), start.text.get(end + 1..).unwrap_or(""));
    if pattern.is_empty() {
        return Err(Fault::new(Kind::Value, inner.range(), "the expression is empty"));
    }
    if pattern.len() > limits::PCRE_BYTES {
        let message = format!("the expression is {} bytes long; the limit is {}", pattern.len(), limits::PCRE_BYTES);
        return Err(Fault::new(Kind::Limit, inner.range(), message));
    }
    let mut found =
        Pcre { pattern: unescape(pattern), negated, relative: false, flags: PcreFlags::default(), at: start.at as u32 };
    for (i, modifier) in modifiers.char_indices() {
        let flags = &mut found.flags;
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
            other => {
                let at = start.at + end + 1 + i;
                let message = format!("the modifier '{other}' is not supported: only the payload can be searched");
                return Err(Fault::new(Kind::UnsupportedValue, at..at + other.len_utf8(), message)
                    .subject(format!("pcre/{other}"))
                    .remedy("one of i s m x A E G R"));
            }
        }
    }
    draft.add_match(Match::Pcre(found), value)
}

/// Takes away the backslash that protects a semicolon or a quote from the rule's own syntax; all others belong to the
/// expression.
fn unescape(pattern: &str) -> String {
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
