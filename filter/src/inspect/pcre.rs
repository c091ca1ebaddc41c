//! Regular expressions.
//!
//! `regex` comes first: its time is linear in the text whatever the expression. What it cannot express (look-around,
//! back-references, possessive quantifiers) goes to PCRE2 with a limit on its work. An expression that runs into the
//! limit has not been decided; [`Found::Undecided`] says so, and the caller does not take it for "no match".
//!
//! Of a rule set's thousands of expressions traffic asks few, and most memory and time of loading would go into them:
//! loading lets PCRE2 judge whether each is one, and the engine is built when the expression is first asked. That takes
//! tens of microseconds, once, and [`SIZE_LIMIT`] bounds what it may take.

use std::borrow::Cow;
use std::sync::OnceLock;

use weir_ids_rules::rule::{Pcre, PcreFlags};

/// Steps that PCRE2 may take on one search.
const MATCH_LIMIT: u32 = 20_000;
/// Bytes that a compiled `regex` may take, and its lazily built automaton as well.
const SIZE_LIMIT: usize = 2 << 20;

/// An expression that was found to be one.
#[derive(Debug)]
pub struct Expression {
    pattern: Box<str>,
    flags: PcreFlags,
    looks_ahead: bool,
    /// Built when it is first asked.
    engine: OnceLock<Engine>,
}

#[derive(Debug)]
enum Engine {
    /// Linear time.
    Linear(Box<regex::bytes::Regex>),
    /// Backtracking, with a limit.
    Backtracking(Box<pcre2::bytes::Regex>),
    /// There was not enough memory.
    Missing,
}

impl Engine {
    fn build(pattern: &str, flags: PcreFlags) -> Engine {
        match linear(pattern, flags) {
            Some(regex) => Engine::Linear(Box::new(regex)),
            None => match backtracking(pattern, flags, Jit::IfAvailable) {
                Ok(regex) => Engine::Backtracking(Box::new(regex)),
                Err(_) => Engine::Missing,
            },
        }
    }
}

/// What a search came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The match's start and end.
    At(usize, usize),
    /// There is none.
    Nowhere,
    /// The limit was reached first.
    Undecided,
}

impl Expression {
    /// Finds `pcre` to be an expression.
    ///
    /// # Errors
    /// The message of PCRE2.
    pub fn compile(pcre: &Pcre) -> Result<Expression, String> {
        backtracking(&pcre.pattern, pcre.flags, Jit::Never)?;
        let looks_ahead = looks_ahead(&pcre.pattern, pcre.flags);
        Ok(Expression {
            pattern: pcre.pattern.as_str().into(),
            flags: pcre.flags,
            looks_ahead,
            engine: OnceLock::new(),
        })
    }

    /// Whether a match hangs on nothing before its start: a text that has none has none from any later place on.
    pub fn looks_ahead(&self) -> bool {
        self.looks_ahead
    }

    /// How many groups an expression has.
    ///
    /// # Errors
    /// The message of PCRE2.
    pub fn groups_of(pcre: &Pcre) -> Result<usize, String> {
        Ok(backtracking(&pcre.pattern, pcre.flags, Jit::Never)?.captures_len().saturating_sub(1))
    }

    fn engine(&self) -> &Engine {
        self.engine.get_or_init(|| Engine::build(&self.pattern, self.flags))
    }

    /// The first match in `text` that starts at `from` or behind it. `text` starts where `^` matches.
    #[inline]
    pub fn find(&self, text: &[u8], from: usize) -> Found {
        if from > text.len() {
            return Found::Nowhere;
        }
        match self.engine() {
            Engine::Linear(regex) => match regex.find_at(text, from) {
                Some(m) => Found::At(m.start(), m.end()),
                None => Found::Nowhere,
            },
            Engine::Backtracking(regex) => match regex.find_at(text, from) {
                Ok(Some(m)) => Found::At(m.start(), m.end()),
                Ok(None) => Found::Nowhere,
                Err(_) => Found::Undecided,
            },
            Engine::Missing => Found::Undecided,
        }
    }
}

impl Expression {
    /// Where the groups of the first match in `text` at or behind `from` stand, in their order; those that took no part
    /// are missing.
    pub fn groups(&self, text: &[u8], from: usize) -> Vec<Option<(usize, usize)>> {
        match self.engine() {
            Engine::Linear(regex) => match regex.captures_at(text, from) {
                Some(found) => found.iter().skip(1).map(|group| group.map(|g| (g.start(), g.end()))).collect(),
                None => Vec::new(),
            },
            Engine::Backtracking(regex) => {
                let mut places = regex.capture_locations();
                match regex.captures_read_at(&mut places, text, from) {
                    Ok(Some(_)) => (1..places.len()).map(|group| places.get(group)).collect(),
                    Ok(None) | Err(_) => Vec::new(),
                }
            }
            Engine::Missing => Vec::new(),
        }
    }

    /// Where the first group of the first match in `text` stands; `None` without a match or a group.
    pub fn first_group(&self, text: &[u8]) -> Option<(usize, usize)> {
        match self.engine() {
            Engine::Linear(regex) => {
                let group = regex.captures(text)?.get(1)?;
                Some((group.start(), group.end()))
            }
            Engine::Backtracking(regex) => {
                let captures = regex.captures(text).ok()??;
                let group = captures.get(1)?;
                Some((group.start(), group.end()))
            }
            Engine::Missing => None,
        }
    }
}

/// Whether nothing in an expression asks what is before a match. Where it is not plain to see, the answer is no.
fn looks_ahead(pattern: &str, flags: PcreFlags) -> bool {
    let mut bytes = pattern.bytes().peekable();
    let mut before = 0;
    while let Some(byte) = bytes.next() {
        let looks_back = match byte {
            // Boundaries, the start of the text, where the search began, what is kept out of the match.
            b'\\' => bytes.next().is_none_or(|escaped| b"bBAGK".contains(&escaped)),
            // In a class it is the sign of its contrary.
            b'^' => before != b'[',
            // Verbs, and with `(?<` what is to stand before.
            b'*' => before == b'(',
            b'<' => before == b'?',
            _ => false,
        };
        if looks_back {
            return false;
        }
        before = if byte == b'\\' { 0 } else { byte };
    }
    !flags.anchored && !flags.extended
}

/// The expression for the linear engine, where that can express it within its limit.
fn linear(pattern: &str, flags: PcreFlags) -> Option<regex::bytes::Regex> {
    let pattern = translate(pattern, flags)?;
    let built = regex::bytes::RegexBuilder::new(&pattern)
        .unicode(false)
        .case_insensitive(flags.caseless)
        .dot_matches_new_line(flags.dotall)
        .multi_line(flags.multiline)
        .swap_greed(flags.ungreedy)
        .size_limit(SIZE_LIMIT)
        .dfa_size_limit(SIZE_LIMIT)
        .build();
    built.ok()
}

/// Whether machine code is made of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Jit {
    Never,
    IfAvailable,
}

fn backtracking(source: &str, flags: PcreFlags, jit: Jit) -> Result<pcre2::bytes::Regex, String> {
    let PcreFlags { caseless, dotall, multiline, extended, anchored, dollar_end_only, ungreedy } = flags;
    // Settings that the crate has no switch for are written into the expression.
    let mut pattern = format!("(*LIMIT_MATCH={MATCH_LIMIT})(*LIMIT_DEPTH={MATCH_LIMIT})");
    if ungreedy {
        pattern.push_str("(?U)");
    }
    if anchored {
        pattern.push_str("\\A");
    }
    let close = if dollar_end_only { Cow::Owned(translate_dollar(source)) } else { Cow::Borrowed(source) };
    pattern.push_str("(?:");
    pattern.push_str(&close);
    // A comment at the end of an extended expression must not swallow the parenthesis.
    pattern.push_str(if extended { "\n)" } else { ")" });
    pcre2::bytes::RegexBuilder::new()
        .caseless(caseless)
        .dotall(dotall)
        .multi_line(multiline)
        .extended(extended)
        .jit_if_available(jit == Jit::IfAvailable)
        .build(&pattern)
        .map_err(|error| error.to_string())
}

/// `E`: the dollar signs outside classes become `\z`.
fn translate_dollar(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let (mut in_class, mut escaped) = (false, false);
    for c in pattern.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' if !in_class => in_class = true,
            ']' => in_class = false,
            '$' if !in_class => {
                out.push_str("\\z");
                continue;
            }
            _ => {}
        }
        out.push(c);
    }
    out
}

/// The expression in the syntax of `regex`; `None` where the two differ in what they would match.
fn translate(pattern: &str, flags: PcreFlags) -> Option<String> {
    if flags.extended {
        return None;
    }
    let mut out = String::with_capacity(pattern.len() + 16);
    if flags.anchored {
        out.push_str("\\A");
    }
    out.push_str("(?:");
    let mut chars = pattern.chars().peekable();
    let mut after_quantifier = false;
    while let Some(c) = chars.next() {
        let was_quantifier = std::mem::take(&mut after_quantifier);
        match c {
            '\\' => translate_escape(chars.next()?, &mut out)?,
            '[' => translate_class(&mut chars, &mut out)?,
            // A second plus makes a quantifier possessive.
            '+' if was_quantifier => return None,
            '*' | '+' | '?' | '}' => {
                after_quantifier = true;
                out.push(c);
            }
            // Without `m`, the dollar sign also matches before a line feed at the very end.
            '$' if !flags.multiline && !flags.dollar_end_only => match chars.peek() {
                None | Some(')' | '|') => out.push_str("(?:\\n?\\z)"),
                Some(_) => return None,
            },
            '$' if flags.dollar_end_only && !flags.multiline => out.push_str("\\z"),
            '(' if chars.peek() == Some(&'*') => return None,
            _ if !c.is_ascii() => return None,
            _ => out.push(c),
        }
    }
    out.push(')');
    Some(out)
}

/// Copies an escape sequence that means the same to both.
fn translate_escape(c: char, out: &mut String) -> Option<()> {
    match c {
        'd' | 'D' | 'w' | 'W' | 's' | 'S' | 'b' | 'B' | 'A' | 'z' | 'n' | 'r' | 't' | 'f' | 'a' | 'x' => {
            out.extend(['\\', c]);
        }
        '<' => out.push_str("\\x3c"),
        '>' => out.push_str("\\x3e"),
        _ if c.is_ascii_punctuation() => {
            if regex_syntax_needs_escape(c) {
                out.push('\\');
            }
            out.push(c);
        }
        _ => return None,
    }
    Some(())
}

fn regex_syntax_needs_escape(c: char) -> bool {
    matches!(
        c,
        '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$' | '#' | '&' | '-' | '~'
    )
}

/// Copies a class up to its closing bracket, protecting what only `regex` takes for a set operation.
fn translate_class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) -> Option<()> {
    out.push('[');
    if chars.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    if chars.next_if_eq(&']').is_some() {
        out.push_str("\\]");
    }
    loop {
        match chars.next()? {
            ']' => break,
            '[' => {
                if matches!(chars.peek(), Some(':' | '.' | '=')) {
                    return None;
                }
                out.push_str("\\[");
            }
            '\\' => {
                let c = chars.next()?;
                // Within a class `\b` is the backspace.
                if c == 'b' {
                    out.push_str("\\x08");
                } else if matches!(c, 'B' | 'A' | 'z') {
                    return None;
                } else {
                    translate_escape(c, out)?;
                }
            }
            c @ ('&' | '~') => out.extend(['\\', c]),
            '-' => {
                if chars.peek() == Some(&'-') {
                    return None;
                }
                out.push('-');
            }
            c if !c.is_ascii() => return None,
            c => out.push(c),
        }
    }
    out.push(']');
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(pattern: &str, flags: PcreFlags) -> Expression {
        Expression::compile(&Pcre {
            pattern: pattern.into(),
            negated: false,
            relative: false,
            flags,
            captures: Vec::new(),
            at: 0,
        })
        .unwrap()
    }

    /// The same search by PCRE2, which says what is right.
    fn reference(pattern: &str, flags: PcreFlags, text: &[u8]) -> Found {
        let engine = Engine::Backtracking(Box::new(backtracking(pattern, flags, Jit::IfAvailable).unwrap()));
        Expression { pattern: pattern.into(), flags, looks_ahead: false, engine: engine.into() }.find(text, 0)
    }

    #[test]
    fn both_engines_find_the_same() {
        let patterns = [
            r"^GET\s+/[a-z]{1,5}\.php$",
            r"a[^\]]b",
            r"[]a]+",
            r"[a&&b]",
            r"\<\>",
            r"x\/y",
            r"[\w\-.]+@",
            r"\x41\x2e",
            r"a$|b$",
            r"(foo|ba+?)\d",
            r"[[ab]c",
            r"\bcat\b",
            r"[a~~b]",
            r"a.b",
            r"[^\r\n]{3,}",
            r"(?i)AbC",
            r"[+--]",
            r"a++b",
            r"(a+)+$",
            r"(.)\1",
            r"foo(?!bar)",
            r"[[:alpha:]]{2}",
            r"a{,3}b",
            r"[\x00-\x1f]",
        ];
        let texts: [&[u8]; 13] = [
            b"GET  /abc.php\n",
            b"a[b",
            b"]]a",
            b"a&b",
            b"<>",
            b"x/y",
            b"z-.@",
            b"A.",
            b"xb\n",
            b"ba7 foobar foo",
            b"a\nb aab cat",
            b"ABC\r\nabc\x01",
            b"a{,3}b --+",
        ];
        for pattern in patterns {
            for text in texts {
                for bits in 0..16 {
                    let flags = PcreFlags {
                        caseless: bits & 1 > 0,
                        dotall: bits & 2 > 0,
                        multiline: bits & 4 > 0,
                        ungreedy: bits & 8 > 0,
                        ..PcreFlags::default()
                    };
                    let right = reference(pattern, flags, text);
                    let found = compile(pattern, flags).find(text, 0);
                    let same = match (found, right) {
                        // A dollar sign here swallows the last line feed, there it does not.
                        (Found::At(a, b), Found::At(c, d)) => a == c && (b == d || text.get(d..b) == Some(b"\n")),
                        (a, b) => a == b,
                    };
                    assert!(same, "{pattern} {flags:?} {text:?}: {found:?}, not {right:?}");
                }
            }
        }
    }

    #[test]
    fn expressions_go_to_the_linear_engine_where_it_can_express_them() {
        let linear = |p| matches!(compile(p, PcreFlags::default()).engine(), Engine::Linear(_));
        assert!(linear(r"^GET [^\r\n]+\.php\?id=\d+"));
        assert!(!linear(r"(.)\1"));
        assert!(!linear(r"foo(?!bar)"));
        assert!(!linear(r"a*+a"));
    }

    #[test]
    fn anchors_and_the_very_end_are_honoured() {
        let anchored = PcreFlags { anchored: true, ..PcreFlags::default() };
        assert_eq!(compile("b", anchored).find(b"ab", 0), Found::Nowhere);
        assert_eq!(compile(r"(b)\1", anchored).find(b"abb", 0), Found::Nowhere);
        let end = PcreFlags { dollar_end_only: true, ..PcreFlags::default() };
        assert_eq!(compile("b$", end).find(b"ab\n", 0), Found::Nowhere);
        assert_eq!(compile(r"(b)\1$", end).find(b"abb\n", 0), Found::Nowhere);
        assert_eq!(compile("b$", PcreFlags::default()).find(b"ab\n", 0), Found::At(1, 3));
    }

    #[test]
    fn a_search_that_reaches_the_limit_is_undecided() {
        let text = [&[b'a'; 60][..], b"!"].concat();
        assert_eq!(compile(r"^(a+)+(?!x)$", PcreFlags::default()).find(&text, 0), Found::Undecided);
    }

    #[test]
    fn nonsense_is_refused() {
        for pattern in ["(", "[", "a)", "*", r"\"] {
            let pcre = Pcre {
                pattern: pattern.into(),
                negated: false,
                relative: false,
                flags: PcreFlags::default(),
                captures: Vec::new(),
                at: 0,
            };
            assert!(Expression::compile(&pcre).is_err(), "{pattern}");
        }
    }
}
