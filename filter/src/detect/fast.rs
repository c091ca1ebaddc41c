//! Which part of a rule is searched for first.

use weir_ids_rules::Buffer;
use weir_ids_rules::rule::{Absent, Content, FastPattern, FlowDirection, Match, Rule, Section, Transform};

use super::compiled::is_packet_header;

/// Bytes of a fast pattern at most; longer contents are searched for by their last bytes, so that the hit comes when
/// the content is complete.
const LONGEST: usize = 32;

/// The bytes to search for first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fast<'r> {
    /// In lower case.
    pub bytes: Vec<u8>,
    /// They are the last bytes of their content.
    pub is_end: bool,
    /// Where they are searched for.
    pub place: Place<'r>,
}

/// Where a fast pattern is searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'r> {
    /// The payload.
    Payload,
    /// A buffer of a transaction, after these transforms.
    Text {
        /// The buffer.
        buffer: Buffer,
        /// What is made of it first.
        transforms: &'r [Transform],
        /// Its direction, where the rule says so.
        way: Option<FlowDirection>,
    },
}

/// The rule's fast pattern: the one it names, or the best of the contents that must be there, those of transactions
/// before those of the payload. `None` where there are none.
pub fn choose(rule: &Rule) -> Option<Fast<'_>> {
    let contents = || rule.sections.iter().filter(|section| is_searched(section)).flat_map(must_contain);
    let named = contents().find(|(_, content)| content.fast_pattern != FastPattern::Unsaid);
    let best = || contents().max_by_key(|(section, content)| (!section.buffer.is_payload(), strength(&content.bytes)));
    named.or_else(best).map(|(section, content)| {
        let (bytes, is_end) = part(content);
        Fast { bytes: bytes.to_ascii_lowercase(), is_end, place: place(section) }
    })
}

/// The best of the payload's contents, for a rule that is searched for elsewhere but looks at the payload as well.
pub fn choose_in_payload(rule: &Rule) -> Option<Fast<'_>> {
    let contents = rule.sections.iter().filter(|s| s.buffer.is_payload() && is_searched(s)).flat_map(must_contain);
    contents.max_by_key(|(_, content)| strength(&content.bytes)).map(|(_, content)| {
        let (bytes, is_end) = part(content);
        Fast { bytes: bytes.to_ascii_lowercase(), is_end, place: Place::Payload }
    })
}

fn is_searched(section: &Section) -> bool {
    !is_packet_header(section.buffer) && section.absent != Some(Absent::OrElse) && section.frame.is_none()
}

fn must_contain(section: &Section) -> impl Iterator<Item = (&Section, &Content)> {
    section.matches.iter().filter_map(move |m| match m {
        Match::Content(content) if !content.negated => Some((section, content)),
        _ => None,
    })
}

fn place(section: &Section) -> Place<'_> {
    if section.buffer.is_payload() {
        return Place::Payload;
    }
    Place::Text { buffer: section.buffer, transforms: &section.transforms, way: section.direction }
}

fn part(content: &Content) -> (&[u8], bool) {
    let all = content.bytes.as_slice();
    if let FastPattern::Part { offset, length } = content.fast_pattern {
        let (first, end) = (usize::from(offset), usize::from(offset) + usize::from(length));
        if let Some(bytes) = all.get(first..end).and_then(|part| part.get(part.len().saturating_sub(LONGEST)..)) {
            return (bytes, end == all.len());
        }
    }
    (all.get(all.len().saturating_sub(LONGEST)..).unwrap_or(all), true)
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
