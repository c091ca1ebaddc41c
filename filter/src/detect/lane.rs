//! Rules that look at the same bytes, and the search for those of them that are worth judging.

use std::collections::HashMap;

use super::fast::Area;
use super::matcher::{Matcher, Pattern};

/// Rules with their fast patterns.
#[derive(Debug, Default)]
pub struct Lane {
    matcher: Option<Matcher>,
    /// Where the rules of each pattern begin in `rules`; one more than there are patterns.
    starts: Box<[u32]>,
    rules: Box<[u32]>,
    /// Rules without a fast pattern: judged each time.
    pub always: Box<[u32]>,
}

impl Lane {
    /// Tells `add` the rules whose fast pattern stands in `text` and ends behind index `fresh`, with the index behind
    /// its last byte. Places are counted from each of `starts`.
    #[inline]
    pub fn find(&self, text: &[u8], fresh: usize, starts: &[usize], mut add: impl FnMut(u32, usize)) {
        if let Some(matcher) = &self.matcher {
            matcher.scan(text, fresh, starts, |pattern, end| {
                let bounds = self.starts.get(pattern..).and_then(<[u32]>::first_chunk::<2>);
                let rules = bounds.and_then(|&[from, to]| self.rules.get(from as usize..to as usize));
                rules.unwrap_or_default().iter().for_each(|&rule| add(rule, end));
            });
        }
    }

    /// Whether the fast pattern of any rule stands in `text`.
    #[inline]
    pub fn finds(&self, text: &[u8]) -> bool {
        let mut found = false;
        if let Some(matcher) = &self.matcher {
            matcher.scan(text, 0, &[0], |_, _| found = true);
        }
        found
    }

    /// The lane of `rules`; `fast` gives the pattern of a rule by which it is found here, if any.
    pub fn new<'p>(rules: &[u32], fast: impl Fn(u32) -> Option<Pattern<'p>>) -> Lane {
        let mut numbers: HashMap<Pattern<'p>, usize> = HashMap::new();
        let mut patterns: Vec<Pattern<'p>> = Vec::new();
        let mut found: Vec<(usize, u32)> = Vec::new();
        let mut always = Vec::new();
        for &rule in rules {
            let Some(pattern) = fast(rule) else {
                always.push(rule);
                continue;
            };
            // Of those that are searched for anywhere, one search serves all rules.
            let open = pattern.area.to == u32::MAX;
            let pattern = if open { Pattern { area: Area::ALL, ..pattern } } else { pattern };
            let number = *numbers.entry(pattern).or_insert_with(|| {
                patterns.push(pattern);
                patterns.len() - 1
            });
            found.push((number, rule));
        }
        let Some(matcher) = Matcher::new(&patterns) else {
            // Too many patterns that are alike: every rule is judged each time rather than none.
            return Lane { always: rules.into(), ..Lane::default() };
        };
        found.sort_unstable();
        let starts = (0..=patterns.len()).map(|n| found.partition_point(|&(number, _)| number < n) as u32).collect();
        let rules = found.into_iter().map(|(_, rule)| rule).collect();
        Lane { matcher: Some(matcher), starts, rules, always: always.into() }
    }

    /// Rules are found by their fast patterns here.
    pub fn is_searched(&self) -> bool {
        self.matcher.is_some()
    }

    /// Whether a rule is found by its fast pattern here.
    pub fn searches(&self, rule: u32) -> bool {
        self.rules.contains(&rule)
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        let lists = (self.starts.len() + self.rules.len() + self.always.len()) * size_of::<u32>();
        lists + self.matcher.as_ref().map_or(0, Matcher::memory)
    }
}
