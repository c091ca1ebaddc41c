//! Which part of a rule is searched for first.

use weir_ids_rules::Buffer;
use weir_ids_rules::rule::{
    Absent, Content, FastPattern, FlowDirection, Match, Position, Rule, Section, Transform, Value,
};

use super::commonness;
use super::compiled::is_packet_header;
use super::matcher::Pattern;
use super::placed;

/// Bytes of a fast pattern at most; longer contents are searched for by their last bytes, so that the hit comes when
/// the content is complete.
const LONGEST: usize = 32;

/// The bytes to search for first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fast {
    /// In lower case where case does not count.
    pub bytes: Vec<u8>,
    /// They may stand there in either case.
    pub caseless: bool,
    /// They are the last bytes of their content.
    pub is_end: bool,
    /// Where they must lie in the text.
    pub area: Area,
    /// Where they are searched for.
    pub place: Place,
}

/// The places in a text that a pattern must lie between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Area {
    /// It begins here or farther behind.
    pub from: u32,
    /// It ends here or before.
    pub to: u32,
}

impl Area {
    /// Anywhere.
    pub const ALL: Area = Area { from: 0, to: u32::MAX };

    /// Where the bytes from `first` to `last` of a content lie. A place that hangs on a number taken from the text, or
    /// on another match, is not known.
    fn of(content: &Content, first: usize, last: usize) -> Area {
        let Position::Absolute { offset: Value::Number(offset), depth } = content.position else { return Area::ALL };
        let place = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let offset = usize::try_from(offset).unwrap_or(0);
        let from = place(offset.saturating_add(first));
        let behind = content.bytes.len().saturating_sub(last);
        match depth {
            None => Area { from, ..Area::ALL },
            Some(Value::Number(depth)) => {
                let end = offset.saturating_add(usize::try_from(depth).unwrap_or(0));
                Area { from, to: place(end.saturating_sub(behind)) }
            }
            Some(Value::Variable(_)) => Area { from, ..Area::ALL },
        }
    }
}

impl Fast {
    /// What is searched for.
    pub fn pattern(&self) -> Pattern<'_> {
        Pattern { bytes: &self.bytes, caseless: self.caseless, area: self.area }
    }
}

/// Where a fast pattern is searched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The payload.
    Payload,
    /// A buffer of a transaction, after these transforms.
    Text {
        /// The buffer.
        buffer: Buffer,
        /// What is made of it first.
        transforms: Box<[Transform]>,
        /// Its direction, where the rule says so.
        way: Option<FlowDirection>,
    },
}

/// The rule's fast pattern: the one it names, or the best of the contents that must be there, those of transactions
/// before those of the payload. `None` where there are none.
pub fn choose(rule: &Rule) -> Option<Fast> {
    let all = || rule.sections.iter().filter(|section| is_searched(section)).flat_map(must_contain);
    let contents = || all().map(|(section, content)| (section, content, fast(content, place(section))));
    let best = || contents().max_by_key(|(section, _, fast)| (!section.buffer.is_payload(), strength(fast)));
    let named = contents().find(|(_, content, _)| content.fast_pattern != FastPattern::Unsaid);
    // One that is found everywhere is no help, though the rule names it.
    let named = named.filter(|(_, _, fast)| {
        fast.bytes.len() >= NAMED || !is_weak(fast) || best().is_none_or(|(_, _, best)| is_weak(&best))
    });
    named.or_else(best).map(|(_, _, fast)| fast)
}

/// The best of the payload's contents, for a rule that is searched for elsewhere but looks at the payload as well.
pub fn choose_in_payload(rule: &Rule) -> Option<Fast> {
    let contents = rule.sections.iter().filter(|s| s.buffer.is_payload() && is_searched(s)).flat_map(must_contain);
    contents.map(|(_, content)| fast(content, Place::Payload)).max_by_key(strength)
}

/// The best of the payload's contents that can only lie in a few places, and that ordinary traffic does not have: in a
/// packet it is looked for there at no cost, however long the packet is.
pub fn choose_placed(rule: &Rule) -> Option<Fast> {
    let contents = rule.sections.iter().filter(|s| s.buffer.is_payload() && is_searched(s)).flat_map(must_contain);
    let ordinary = |bytes: &[u8]| (2..5).contains(&bytes.len()) && commonness::is_ordinary(bytes);
    let rare = |bytes: &[u8]| bytes.len() < 5 || bytes.windows(4).any(|window| !ordinary(window));
    contents
        .map(|(_, content)| fast(content, Place::Payload))
        .filter(|fast| placed::is_placed(&fast.pattern()) && !ordinary(&fast.bytes) && rare(&fast.bytes))
        .max_by_key(strength)
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

fn place(section: &Section) -> Place {
    if section.buffer.is_payload() {
        return Place::Payload;
    }
    Place::Text { buffer: section.buffer, transforms: section.transforms.as_slice().into(), way: section.direction }
}

fn fast(content: &Content, place: Place) -> Fast {
    let all = content.bytes.as_slice();
    let (first, last) = match content.fast_pattern {
        FastPattern::Part { offset, length } => (usize::from(offset), usize::from(offset) + usize::from(length)),
        _ => (0, all.len()),
    };
    let (first, last) = if last > all.len() || first >= last { (0, all.len()) } else { (first, last) };
    let first = first.max(last.saturating_sub(LONGEST));
    let bytes = all.get(first..last).unwrap_or(all);
    let bytes = if content.nocase { bytes.to_ascii_lowercase() } else { bytes.to_vec() };
    let (is_end, area) = (last == all.len(), Area::of(content, first, last));
    Fast { bytes, caseless: content.nocase, is_end, area, place }
}

/// Bytes of a pattern that is to be searched for everywhere, at least.
const SEARCHABLE: usize = 4;

/// The same of one that the rule names.
const NAMED: usize = 3;

/// It is short, and may stand anywhere.
fn is_weak(fast: &Fast) -> bool {
    fast.bytes.len() < SEARCHABLE && !placed::is_placed(&fast.pattern())
}

/// How well a pattern tells traffic apart: rare bytes count more, repeated ones little, and windows of four bytes that
/// ordinary traffic does not have most.
fn strength(fast: &Fast) -> u32 {
    let mut seen = [false; 256];
    let bytes = fast.bytes.iter().fold(0, |sum, &byte| {
        // In either case: that is how it is searched for.
        let byte = byte.to_ascii_lowercase();
        let repeated = std::mem::replace(&mut seen[usize::from(byte)], true);
        sum + match byte {
            _ if repeated => 1,
            b'a'..=b'z' => 3,
            0 | b' ' | b'0'..=b'9' | b'\r' | b'\n' | 0xff => 2,
            _ => 5,
        }
    });
    let rare = fast.bytes.windows(4).filter(|window| !commonness::is_ordinary(window)).count() as u32;
    let strength = bytes + 4 * rare.min(6);
    if is_weak(fast) { strength / 4 } else { strength }
}
