//! Which part of a rule is searched for first.

use weir_ids_rules::Rule;
use weir_ids_rules::rule::{Content, FastPattern, Match};

/// Bytes of a fast pattern at most; longer contents are searched for by their last bytes, so that the hit comes when
/// the content is complete.
const LONGEST: usize = 32;

/// The bytes to search for first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fast<'r> {
    pub bytes: &'r [u8],
    /// They are the last bytes of their content.
    pub is_end: bool,
}

/// The rule's fast pattern: the one it names, or the best of the contents that must be there. `None` where there are
/// none.
pub fn choose(rule: &Rule) -> Option<Fast<'_>> {
    let contents = || {
        super::compiled::payload(rule).iter().filter_map(|m| match m {
            Match::Content(content) if !content.negated => Some(content),
            _ => None,
        })
    };
    let named = contents().find(|c| c.fast_pattern != FastPattern::Unsaid);
    named.or_else(|| contents().max_by_key(|c| strength(&c.bytes))).map(part)
}

fn part(content: &Content) -> Fast<'_> {
    let all = content.bytes.as_slice();
    if let FastPattern::Part { offset, length } = content.fast_pattern {
        let (first, end) = (usize::from(offset), usize::from(offset) + usize::from(length));
        if let Some(bytes) = all.get(first..end).and_then(|part| part.get(part.len().saturating_sub(LONGEST)..)) {
            return Fast { bytes, is_end: end == all.len() };
        }
    }
    Fast { bytes: all.get(all.len().saturating_sub(LONGEST)..).unwrap_or(all), is_end: true }
}

/// How well a pattern tells traffic apart: rare bytes count more, repeated ones little.
fn strength(bytes: &[u8]) -> u32 {
    let mut seen = [false; 256];
    bytes.iter().take(LONGEST).fold(0, |sum, &byte| {
        let repeated = std::mem::replace(&mut seen[usize::from(byte)], true);
        sum + match byte {
            _ if repeated => 1,
            b'a'..=b'z' | b'A'..=b'Z' => 3,
            0 | b' ' | b'0'..=b'9' | b'\r' | b'\n' | 0xff => 2,
            _ => 5,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_ids_rules::{RuleSet, Source, Variables};

    #[track_caller]
    fn check(options: &str, bytes: &[u8], is_end: bool) {
        let text = format!("alert tcp any any -> any any ({options} sid:1;)");
        let (set, problems) = RuleSet::parse(&[Source { name: "t", text: &text }], &Variables::default());
        assert!(problems.is_empty(), "{}", problems[0]);
        assert_eq!(choose(&set.rules()[0]), Some(Fast { bytes, is_end }));
    }

    #[test]
    fn the_named_one_wins_then_the_strongest() {
        check(r#"content:"abc"; content:"longer one";"#, b"longer one", true);
        check(r#"content:"aaaaaaaa"; content:"xyzw";"#, b"xyzw", true);
        check(r#"content:"abc"; fast_pattern; content:"longer one";"#, b"abc", true);
        check(r#"content:"abcdef"; fast_pattern:1,3;"#, b"bcd", false);
        check(r#"content:!"never this one"; content:"ab";"#, b"ab", true);
    }

    #[test]
    fn of_a_long_content_the_end_is_taken() {
        let long = "0123456789abcdefghijABCDEFGHIJ!?=+-_/";
        check(&format!(r#"content:"{long}";"#), &long.as_bytes()[long.len() - LONGEST..], true);
    }
}
