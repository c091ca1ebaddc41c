//! Many patterns at once: which of a group's fast patterns stand in the bytes.
//!
//! The automaton is stepped by hand, so that its state is kept from one segment to the next and a pattern is found
//! however the stream is cut. Patterns match in either case; verification looks closer. Small groups get a DFA, large
//! ones a contiguous NFA, which is slower and takes a small part of the memory.

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::{Anchored, dfa, nfa};

/// Bytes of patterns up to which a DFA is built; it takes some 300 bytes of memory for each.
const DFA_PATTERN_BYTES: usize = 64 << 10;

/// The automaton of one group.
#[derive(Debug)]
pub struct Matcher {
    engine: Engine,
    start: StateID,
}

#[derive(Debug)]
enum Engine {
    Dfa(Box<dfa::DFA>),
    Nfa(Box<nfa::contiguous::NFA>),
}

/// Where the automaton stands between two segments.
#[derive(Clone, Copy, Debug)]
pub struct Place(StateID);

impl Matcher {
    /// An automaton for `patterns`, numbered from 0; `None` where there are none, or too many for one automaton.
    pub fn new(patterns: &[Vec<u8>]) -> Option<Matcher> {
        if patterns.is_empty() {
            return None;
        }
        let bytes: usize = patterns.iter().map(Vec::len).sum();
        let mut noncontiguous = nfa::noncontiguous::NFA::builder();
        let noncontiguous = noncontiguous.ascii_case_insensitive(true).prefilter(false).build(patterns).ok()?;
        let dfa = (bytes <= DFA_PATTERN_BYTES)
            .then(|| dfa::DFA::builder().prefilter(false).build_from_noncontiguous(&noncontiguous).ok())
            .flatten();
        let engine = match dfa {
            Some(dfa) => Engine::Dfa(Box::new(dfa)),
            None => {
                let mut builder = nfa::contiguous::NFA::builder();
                Engine::Nfa(Box::new(builder.prefilter(false).build_from_noncontiguous(&noncontiguous).ok()?))
            }
        };
        let start = match &engine {
            Engine::Dfa(dfa) => dfa.start_state(Anchored::No).ok()?,
            Engine::Nfa(nfa) => nfa.start_state(Anchored::No).ok()?,
        };
        Some(Matcher { engine, start })
    }

    /// Where the automaton stands before the first byte.
    pub fn start(&self) -> Place {
        Place(self.start)
    }

    /// Goes on over `bytes`; tells `hit` each pattern that ends in them (by number) with the index behind its last
    /// byte.
    #[inline]
    pub fn scan(&self, place: &mut Place, bytes: &[u8], hit: impl FnMut(usize, usize)) {
        match &self.engine {
            Engine::Dfa(dfa) => step(dfa.as_ref(), place, bytes, hit),
            Engine::Nfa(nfa) => step(nfa.as_ref(), place, bytes, hit),
        }
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        match &self.engine {
            Engine::Dfa(dfa) => dfa.memory_usage(),
            Engine::Nfa(nfa) => nfa.memory_usage(),
        }
    }
}

#[inline]
fn step(automaton: &impl Automaton, place: &mut Place, bytes: &[u8], mut hit: impl FnMut(usize, usize)) {
    let mut state = place.0;
    for (i, &byte) in bytes.iter().enumerate() {
        state = automaton.next_state(Anchored::No, state, byte);
        if automaton.is_special(state) && automaton.is_match(state) {
            for index in 0..automaton.match_len(state) {
                hit(automaton.match_pattern(state, index).as_usize(), i + 1);
            }
        }
    }
    place.0 = state;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_found_at_every_split_in_either_case_and_overlapping() {
        let patterns = [b"abcd".to_vec(), b"bc".to_vec(), b"cDa".to_vec()];
        let text = b"xABCDabcdabc";
        let matcher = Matcher::new(&patterns).unwrap();
        let mut whole = Vec::new();
        matcher.scan(&mut matcher.start(), text, |p, end| whole.push((p, end)));
        for (pattern, bytes) in patterns.iter().enumerate() {
            for end in bytes.len()..=text.len() {
                let there = text[end - bytes.len()..end].eq_ignore_ascii_case(bytes);
                assert_eq!(whole.contains(&(pattern, end)), there, "{pattern} at {end}");
            }
        }
        for split in 0..=text.len() {
            let (mut place, mut parts) = (matcher.start(), Vec::new());
            matcher.scan(&mut place, &text[..split], |p, end| parts.push((p, end)));
            matcher.scan(&mut place, &text[split..], |p, end| parts.push((p, split + end)));
            assert_eq!(parts, whole, "{split}");
        }
    }
}
