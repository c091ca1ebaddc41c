//! Rules that may concern one kind of flow in one direction, with the search for their fast patterns.

use std::collections::HashMap;

use super::compiled::{Compiled, Later, Scope};
use super::matcher::Matcher;

/// Bytes of a stream that stay at hand behind what has been matched, where a rule may need them.
pub const WINDOW: usize = 16 << 10;

/// Rules of one scope, and how to find those worth checking.
#[derive(Debug, Default)]
pub struct Lane {
    pub matcher: Option<Matcher>,
    /// The rules of each pattern, by the pattern's number.
    pub by_pattern: Vec<Box<[u32]>>,
    /// Rules without a fast pattern: checked each time.
    pub always: Box<[u32]>,
}

impl Lane {
    pub fn is_empty(&self) -> bool {
        self.by_pattern.is_empty() && self.always.is_empty()
    }

    /// Tells `add` the rules worth checking on `text`, of which the bytes from `fresh` on are new; with the index behind
    /// the last byte of their fast pattern.
    pub fn find(&self, text: &[u8], fresh: usize, mut add: impl FnMut(u32, Option<usize>)) {
        if let Some(matcher) = &self.matcher {
            matcher.scan(text, fresh, |pattern, end| {
                for &rule in self.by_pattern.get(pattern).into_iter().flatten() {
                    add(rule, Some(end));
                }
            });
        }
        for &rule in &self.always {
            add(rule, None);
        }
    }

    fn new(rules: &[u32], fast: &[Option<Vec<u8>>]) -> Lane {
        let mut numbers: HashMap<&[u8], usize> = HashMap::new();
        let mut patterns: Vec<Vec<u8>> = Vec::new();
        let mut by_pattern: Vec<Vec<u32>> = Vec::new();
        let mut always = Vec::new();
        for &rule in rules {
            let Some(Some(bytes)) = fast.get(rule as usize) else {
                always.push(rule);
                continue;
            };
            let number = *numbers.entry(bytes).or_insert_with(|| {
                patterns.push(bytes.clone());
                by_pattern.push(Vec::new());
                patterns.len() - 1
            });
            if let Some(of_pattern) = by_pattern.get_mut(number) {
                of_pattern.push(rule);
            }
        }
        match Matcher::new(&patterns) {
            Some(matcher) => Lane {
                matcher: Some(matcher),
                by_pattern: by_pattern.into_iter().map(Vec::into_boxed_slice).collect(),
                always: always.into(),
            },
            // Too many patterns that are alike: every rule is checked each time rather than none.
            None => Lane { matcher: None, by_pattern: Vec::new(), always: rules.into() },
        }
    }
}

/// The rules of one group.
#[derive(Debug, Default)]
pub struct Group {
    /// Checked on the stream.
    pub stream: Lane,
    /// Checked on each packet.
    pub packet: Lane,
    /// Checked once.
    pub once: Box<[u32]>,
    /// All of them.
    pub rules: Box<[u32]>,
    /// Bytes of a stream that the rules may need behind what has been matched.
    pub lookback: usize,
}

impl Group {
    /// Builds the group of `rules` for TCP (`has_stream`) or for another protocol, where each packet is a text by
    /// itself. `fast` holds the fast pattern of each rule in lower case.
    pub fn new(rules: &[u32], all: &[Compiled], fast: &[Option<Vec<u8>>], has_stream: bool) -> Group {
        let (mut stream, mut packet, mut once) = (Vec::new(), Vec::new(), Vec::new());
        let mut lookback = 0;
        for &number in rules {
            let Some(rule) = all.get(number as usize) else { continue };
            match rule.scope {
                Scope::Stream if has_stream => {
                    stream.push(number);
                    lookback = lookback.max(needs_behind(rule));
                }
                Scope::Stream | Scope::Packet => packet.push(number),
                Scope::Once => once.push(number),
            }
        }
        Group {
            stream: Lane::new(&stream, fast),
            packet: Lane::new(&packet, fast),
            once: once.into(),
            rules: rules.into(),
            lookback,
        }
    }
}

/// Bytes behind the newest one that a check of the rule may look at.
fn needs_behind(rule: &Compiled) -> usize {
    match rule.elements.as_ref() {
        [only] if rule.later == Later::Nothing && !rule.anchored => only.span().unwrap_or(WINDOW),
        _ => WINDOW,
    }
}
