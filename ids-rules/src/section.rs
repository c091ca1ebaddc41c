//! Which buffer the matches of a rule belong to, while its text is read.
//!
//! A sticky buffer (`http.uri;`) holds for all matches behind it, until the next one or `pkt_data`. A modifier
//! (`http_uri;`) moves the content before it. Matches of one buffer make one [`Section`], however often the rule comes
//! back to it; a buffer with several values begins a section of its own each time.

use std::ops::Range;

use crate::Buffer;
use crate::diagnostic::{Fault, Kind};
use crate::lexer::{Piece, RuleOption};
use crate::limits;
use crate::parser::Draft;
use crate::rule::{Content, FlowDirection, Match, Section, Transform};

/// Where the next match goes, and where the last one went.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    /// The sticky buffer that holds, with its transforms; the payload where there is none.
    sticky: Option<Sticky>,
    /// Section and number of the last match.
    last: Option<(usize, usize)>,
    /// Section and number of the `base64_decode` whose result `base64_data` looks at.
    base64: Option<(usize, usize)>,
    /// Matches go to the result of that `base64_decode`.
    in_base64: bool,
    /// Where `base64_data` stands, while nothing has been asked of it.
    pub base64_unused: Option<Range<usize>>,
    /// Direction that a rule for both (`=>`) names for the buffers that follow.
    pub direction: Option<FlowDirection>,
    /// Matches so far.
    count: usize,
    /// Modifiers given for the last content.
    modifiers: Vec<&'static str>,
}

#[derive(Clone, Debug)]
struct Sticky {
    buffer: Buffer,
    frame: Option<String>,
    transforms: Vec<Transform>,
    /// The section, once it has a match.
    section: Option<usize>,
    /// Where the keyword stands.
    at: Range<usize>,
}

impl Draft {
    /// A sticky buffer begins.
    pub(crate) fn begin_buffer(
        &mut self,
        buffer: Buffer,
        frame: Option<String>,
        at: Range<usize>,
    ) -> Result<(), Fault> {
        self.end_buffer()?;
        self.cursor.sticky = Some(Sticky { buffer, frame, transforms: Vec::new(), section: None, at });
        Ok(())
    }

    /// `pkt_data`: the payload again.
    pub(crate) fn begin_payload(&mut self) -> Result<(), Fault> {
        self.end_buffer()
    }

    /// `base64_data`: the result of the last `base64_decode`.
    pub(crate) fn begin_base64(&mut self, option: RuleOption<'_>) -> Result<(), Fault> {
        self.end_buffer()?;
        if self.cursor.base64.is_none() {
            return Err(Draft::conflict(option.name.range(), "'base64_data' has no 'base64_decode' before it"));
        }
        self.cursor.in_base64 = true;
        self.cursor.base64_unused = Some(option.name.range());
        Ok(())
    }

    fn end_buffer(&mut self) -> Result<(), Fault> {
        self.cursor.in_base64 = false;
        match self.cursor.sticky.take() {
            Some(Sticky { section: None, at, buffer, .. }) => {
                let message = format!("nothing is asked of the buffer '{}'", buffer.name());
                Err(Draft::conflict(at, message).remedy("put a content or the like behind it"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The sticky buffer that holds.
    pub(crate) fn sticky(&self) -> Option<Buffer> {
        self.cursor.sticky.as_ref().map(|sticky| sticky.buffer)
    }

    /// Whether matches belong to a sticky buffer (`base64_data` is one).
    pub(crate) fn is_sticky(&self) -> bool {
        self.cursor.sticky.is_some() || self.cursor.in_base64
    }

    /// A transform for the buffer that has just been named.
    pub(crate) fn add_transform(&mut self, transform: Transform, at: Range<usize>) -> Result<(), Fault> {
        match &mut self.cursor.sticky {
            // Behind what is asked of the plain bytes, a transform begins what is asked of those it makes.
            Some(sticky) if sticky.section.is_none() || sticky.transforms.is_empty() => {
                sticky.section = None;
                if sticky.transforms.len() == limits::TRANSFORMS {
                    let message = format!("more than {} transforms", limits::TRANSFORMS);
                    return Err(Fault::new(Kind::Limit, at, message));
                }
                sticky.transforms.push(transform);
                Ok(())
            }
            Some(_) => Err(Draft::conflict(at, "a transform stands between its buffer and what is asked of it")
                .remedy("put it directly behind the buffer's keyword")),
            None => Err(Draft::conflict(at, "a transform needs a sticky buffer before it")),
        }
    }

    /// All mentions of the same bytes are one section, unless the buffer has several values.
    fn section_for(&mut self, sticky: &Sticky) -> usize {
        let direction = self.cursor.direction;
        let single = !sticky.buffer.has_several_values();
        let same = |s: &Section| {
            single
                && s.buffer == sticky.buffer
                && s.frame == sticky.frame
                && s.transforms == sticky.transforms
                && s.direction == direction
        };
        if let Some(found) = self.rule.sections.iter().position(same) {
            return found;
        }
        self.rule.sections.push(Section {
            buffer: sticky.buffer,
            frame: sticky.frame.clone(),
            transforms: sticky.transforms.clone(),
            matches: Vec::new(),
            absent: None,
            direction,
        });
        self.places.push(Vec::new());
        self.rule.sections.len() - 1
    }

    /// The section that matches go to, made where need be.
    pub(crate) fn current_section(&mut self) -> usize {
        if let Some(mut sticky) = self.cursor.sticky.take() {
            let section = sticky.section.unwrap_or_else(|| self.section_for(&sticky));
            sticky.section = Some(section);
            self.cursor.sticky = Some(sticky);
            return section;
        }
        let at = 0..1;
        self.section_for(&Sticky { buffer: Buffer::Payload, frame: None, transforms: Vec::new(), section: None, at })
    }

    /// Adds a condition on the bytes of the current buffer.
    pub(crate) fn add_match(&mut self, m: Match, place: Piece<'_>) -> Result<(), Fault> {
        let section = match self.cursor.base64 {
            Some((section, _)) if self.cursor.in_base64 => section,
            Some(_) | None => self.current_section(),
        };
        self.add_to(section, m, place)
    }

    /// Adds one that, without a sticky buffer, belongs where the match before it does, because it starts at its end.
    pub(crate) fn add_relative(&mut self, m: Match, place: Piece<'_>) -> Result<(), Fault> {
        match self.cursor.last {
            Some((section, _)) if !self.is_sticky() && m.is_relative() => self.add_to(section, m, place),
            Some(_) | None => self.add_match(m, place),
        }
    }

    /// Adds one to the buffer that a legacy letter or keyword names.
    pub(crate) fn add_to_buffer(&mut self, buffer: Buffer, m: Match, place: Piece<'_>) -> Result<(), Fault> {
        let at = place.range();
        let section = self.section_for(&Sticky { buffer, frame: None, transforms: Vec::new(), section: None, at });
        self.add_to(section, m, place)
    }

    fn add_to(&mut self, section: usize, m: Match, place: Piece<'_>) -> Result<(), Fault> {
        if self.cursor.count == limits::MATCHES {
            let message = format!("more than {} conditions on buffers", limits::MATCHES);
            return Err(Fault::new(Kind::Limit, place.range(), message));
        }
        self.cursor.count += 1;
        self.cursor.modifiers.clear();
        if self.cursor.in_base64 {
            self.cursor.base64_unused = None;
            if let Some(inner) = self.base64_matches() {
                inner.push(m);
                return Ok(());
            }
        }
        let is_base64 = matches!(m, Match::Base64(_));
        let (Some(target), Some(places)) = (self.rule.sections.get_mut(section), self.places.get_mut(section)) else {
            return Ok(());
        };
        target.matches.push(m);
        places.push(place.range());
        let here = Some((section, target.matches.len() - 1));
        self.cursor.last = here;
        if is_base64 {
            self.cursor.base64 = here;
        }
        Ok(())
    }

    fn base64_matches(&mut self) -> Option<&mut Vec<Match>> {
        let (section, number) = self.cursor.base64?;
        match self.rule.sections.get_mut(section)?.matches.get_mut(number)? {
            Match::Base64(decode) => Some(&mut decode.matches),
            _ => None,
        }
    }

    /// The content that a modifier speaks of: the last one, within the sticky buffer where there is one.
    pub(crate) fn last_content(&mut self, option: RuleOption<'_>) -> Result<&mut Content, Fault> {
        let none = || {
            let message = format!("'{}' has no content before it", option.name.text);
            Fault::new(Kind::Conflict, option.name.range(), message).remedy("put it behind the content it speaks of")
        };
        let matches = if self.cursor.in_base64 {
            self.base64_matches().ok_or_else(none)?
        } else {
            let section = match (&self.cursor.sticky, self.cursor.last) {
                (Some(sticky), _) => sticky.section,
                (None, last) => last.map(|(section, _)| section),
            };
            &mut self.rule.sections.get_mut(section.ok_or_else(none)?).ok_or_else(none)?.matches
        };
        let last = matches.iter_mut().rev().find_map(|m| match m {
            Match::Content(content) => Some(content),
            _ => None,
        });
        last.ok_or_else(none)
    }

    /// The last content of the payload.
    pub(crate) fn last_payload_content(&mut self, option: RuleOption<'_>) -> Result<&mut Content, Fault> {
        let payload = self.rule.sections.iter_mut().filter(|s| s.buffer == Buffer::Payload && s.transforms.is_empty());
        let last = payload.flat_map(|s| &mut s.matches).rfind(|m| matches!(m, Match::Content(_)));
        match last {
            Some(Match::Content(content)) => Ok(content),
            _ => {
                let message = format!("'{}' has no content of the payload before it", option.name.text);
                Err(Draft::conflict(option.name.range(), message))
            }
        }
    }

    /// Notes a modifier of the last content; one given twice contradicts itself.
    pub(crate) fn note_modifier(&mut self, option: RuleOption<'_>) -> Result<(), Fault> {
        const ONCE: &[&str] = &["offset", "depth", "distance", "within", "nocase", "startswith", "endswith"];
        let Some(&name) = ONCE.iter().find(|known| **known == option.name.text) else { return Ok(()) };
        // An offset of zero places a content as well, though it moves nothing.
        if matches!(name, "startswith" | "distance" | "within") && self.cursor.modifiers.contains(&"offset") {
            let message = format!("a content that has 'offset' takes no '{name}'");
            return Err(Draft::conflict(option.name.range(), message).remedy("drop one of the two"));
        }
        if self.cursor.modifiers.contains(&name) {
            let message = format!("'{name}' is given twice for one content");
            return Err(Draft::conflict(option.name.range(), message));
        }
        self.cursor.modifiers.push(name);
        Ok(())
    }

    /// Whether a match that has a place stands in the sections of a buffer.
    pub(crate) fn has_place(&self, buffer: Buffer) -> bool {
        let sections = self.rule.sections.iter().filter(|s| s.buffer == buffer);
        let placed = |m: &Match| matches!(m, Match::Content(_) | Match::Pcre(_) | Match::ByteJump(_));
        sections.flat_map(|s| &s.matches).any(placed)
    }

    /// A modifier (`http_uri`) moves the last content of the payload to its buffer.
    pub(crate) fn move_last_content(&mut self, buffer: Buffer, option: RuleOption<'_>) -> Result<(), Fault> {
        if self.is_sticky() {
            let message = format!("'{}' moves a content of the payload, but a sticky buffer holds", option.name.text);
            return Err(Draft::conflict(option.name.range(), message).remedy("put pkt_data before the content"));
        }
        let none = || {
            let message = format!("'{}' has no content before it", option.name.text);
            Fault::new(Kind::Conflict, option.name.range(), message).remedy("put it behind the content it speaks of")
        };
        let is_payload = |s: &Section| s.buffer == Buffer::Payload && s.transforms.is_empty();
        let from = self.rule.sections.iter().position(is_payload).ok_or_else(none)?;
        let (source, places) = match (self.rule.sections.get_mut(from), self.places.get_mut(from)) {
            (Some(section), Some(places)) => (&mut section.matches, places),
            _ => return Err(none()),
        };
        let at = source.iter().rposition(|m| matches!(m, Match::Content(_))).ok_or_else(none)?;
        if matches!(source.get(at), Some(Match::Content(c)) if c.replace.is_some()) {
            return Err(Draft::conflict(option.name.range(), "'replace' is for contents of the payload"));
        }
        if matches!(source.get(at), Some(Match::Content(c)) if c.raw) {
            return Err(Draft::conflict(option.name.range(), "'rawbytes' is for contents of the payload"));
        }
        let moved = source.remove(at);
        let place = places.remove(at);
        let sticky = Sticky { buffer, frame: None, transforms: Vec::new(), section: None, at: place.clone() };
        let to = self.section_for(&sticky);
        if let (Some(section), Some(places)) = (self.rule.sections.get_mut(to), self.places.get_mut(to)) {
            section.matches.push(moved);
            places.push(place);
            self.cursor.last = Some((to, section.matches.len() - 1));
        }
        Ok(())
    }

    /// The end of the text: nothing may be left open, and sections that lost all their matches go.
    pub(crate) fn finish_sections(&mut self) -> Result<(), Fault> {
        self.end_buffer()?;
        if let Some(at) = self.cursor.base64_unused.take() {
            return Err(Draft::conflict(at, "nothing is asked of 'base64_data'"));
        }
        let kept = |s: &Section| !s.matches.is_empty() || s.absent.is_some();
        let mut keep = self.rule.sections.iter().map(kept).collect::<Vec<_>>().into_iter();
        self.places.retain(|_| keep.next().unwrap_or(true));
        self.rule.sections.retain(kept);
        Ok(())
    }

    /// The variable of this name, which must have been taken before.
    pub(crate) fn variable(&self, name: Piece<'_>) -> Result<u8, Fault> {
        self.rule.variables.iter().position(|known| known == name.text).map(|i| i as u8).ok_or_else(|| {
            Fault::new(
                Kind::Value,
                name.range(),
                format!("no 'byte_extract' or 'byte_math' before it takes '{}'", name.text),
            )
            .remedy("write a number, or put the byte_extract first")
        })
    }

    /// The variable of this name, made where it is new.
    pub(crate) fn new_variable(&mut self, name: Piece<'_>) -> Result<u8, Fault> {
        let bad = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        if name.text.is_empty() || name.text.contains(bad) || !name.text.contains(|c: char| c.is_ascii_alphabetic()) {
            return Err(Fault::new(Kind::Value, name.range(), "this is not the name of a variable"));
        }
        if let Some(known) = self.rule.variables.iter().position(|known| known == name.text) {
            return Ok(known as u8);
        }
        if self.rule.variables.len() == limits::VARIABLES {
            return Err(Fault::new(Kind::Limit, name.range(), format!("more than {} variables", limits::VARIABLES)));
        }
        self.rule.variables.push(name.text.to_owned());
        Ok((self.rule.variables.len() - 1) as u8)
    }
}
