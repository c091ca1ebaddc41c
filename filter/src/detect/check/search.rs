//! The search through a rule's conditions, with ways back.

use weir_ids_rules::rule::{ByteJump, Capture, IsDataAt, Position, Value};

use super::number::{self, Source};
use super::{Element, Outcome, Room, Test, VALUES, asn1, entropy};
use crate::detect::literal::Literal;
use crate::detect::transform::base64;
use crate::inspect::pcre::{Expression, Found};

/// Bytes searched that count as one step.
const STRIDE: usize = 64;
/// Steps that a check may take whatever the text's length.
const STEPS: usize = 10_000;

/// Checks all `elements` on `text`.
pub fn run(elements: &[Element], text: &[u8], room: &mut Room) -> Outcome {
    let all = STEPS.saturating_add(text.len().saturating_mul(4));
    let values = room.values;
    let mut search = Search { text, budget: all, values, room };
    let step = search.run(elements, 0);
    let (left, values) = (search.budget, search.values);
    room.values = values;
    room.work = room.work.saturating_add((all - left) as u64);
    match step {
        Step::Match => Outcome::Match,
        Step::Elsewhere | Step::Never => Outcome::NoMatch,
        Step::Exhausted => Outcome::Undecided,
    }
}

/// What the rest of the conditions answers to one place of the condition before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Match,
    /// Not from here; perhaps from a later place.
    Elsewhere,
    /// From no place.
    Never,
    Exhausted,
}

struct Search<'t, 'r> {
    text: &'t [u8],
    budget: usize,
    values: [u64; VALUES],
    room: &'r mut Room,
}

/// A condition that fails: another place of the one before can only help where it is placed by that.
fn failed(relative: bool) -> Step {
    if relative { Step::Elsewhere } else { Step::Never }
}

impl Search<'_, '_> {
    /// Takes `cost` from the budget; `false` where it is used up.
    fn spend(&mut self, cost: usize) -> bool {
        let left = self.budget.checked_sub(cost);
        self.budget = left.unwrap_or(0);
        left.is_some()
    }

    fn value(&self, value: Value) -> i64 {
        match value {
            Value::Number(n) => n,
            Value::Variable(index) => {
                let taken = self.values.get(usize::from(index)).copied().unwrap_or(0);
                i64::try_from(taken).unwrap_or(i64::MAX)
            }
        }
    }

    fn is_variable(value: Value) -> bool {
        matches!(value, Value::Variable(_))
    }

    /// Whether the conditions hold, with `previous` the end of the match before them.
    fn run(&mut self, elements: &[Element], previous: usize) -> Step {
        let Some((element, rest)) = elements.split_first() else { return Step::Match };
        if !self.spend(1) {
            return Step::Exhausted;
        }
        let next = |holds: bool, relative: bool, search: &mut Self| {
            if holds { search.run(rest, previous) } else { failed(relative) }
        };
        match &element.test {
            Test::Content { literal, negated: true, ends_with, position } => {
                let there = self.is_there(literal, *ends_with, *position, previous);
                // Where it is to be absent may depend on numbers taken before, as its place does.
                next(!there, depends(*position), self)
            }
            Test::Content { literal, negated: false, ends_with: true, position } => {
                let (area, _) = self.area(*position, previous);
                let ends = area.end == self.text.len() && literal.ends(self.text.get(area).unwrap_or(&[]));
                if ends { self.run(rest, self.text.len()) } else { failed(depends(*position)) }
            }
            Test::Content { literal, negated: false, ends_with: false, position } => {
                self.content(literal, *position, element.next_relative, rest, previous)
            }
            Test::Pcre { expression, negated, relative, captures } => {
                self.pcre((expression, captures), (*negated, *relative, element.next_relative), rest, previous)
            }
            Test::IsDataAt(is) => {
                let holds = self.is_data_at(is, previous);
                next(holds, is.relative || Self::is_variable(is.offset), self)
            }
            Test::Size(bounds) => next(bounds.contains(self.text.len() as u64), false, self),
            Test::Compare(test) => {
                let holds = self.source(previous).test(test);
                next(holds, true, self)
            }
            Test::Jump(jump) => match self.jump(jump, previous).map(|place| self.run(rest, place)) {
                // From a later place it may not go as far.
                None | Some(Step::Never) => Step::Elsewhere,
                Some(step) => step,
            },
            Test::Extract(extract) => match self.source(previous).extract(extract) {
                Some((value, end)) => self.keep(extract.variable, value, rest, end),
                None => Step::Elsewhere,
            },
            Test::Compute(math) => match self.source(previous).math(math) {
                Some((value, end)) => self.keep(math.variable, value, rest, end),
                None => Step::Elsewhere,
            },
            Test::Base64 { decode, inner } => {
                let from = decode.offset as usize + if decode.relative { previous } else { 0 };
                let text = self.text.get(from..).unwrap_or(&[]);
                if self.base64(text, decode.bytes, inner) { self.run(rest, previous) } else { Step::Elsewhere }
            }
            Test::Asn1(asked) => next(asn1::holds(asked, self.text, previous), asked.relative, self),
            Test::Entropy(entropy) => next(entropy::holds(entropy, self.text), false, self),
            Test::DataSet(set) => {
                let holds = self.room.ask(set, self.text);
                next(holds, false, self)
            }
            Test::Reputation(set) => next(self.room.sets.score(set, self.text), false, self),
        }
    }

    fn keep(&mut self, variable: u8, value: u64, rest: &[Element], end: usize) -> Step {
        if let Some(slot) = self.values.get_mut(usize::from(variable)) {
            *slot = value;
        }
        // The number may differ at another place, so that what hangs on it may hold there.
        match self.run(rest, end) {
            Step::Never => Step::Elsewhere,
            step => step,
        }
    }

    fn source(&self, previous: usize) -> Source<'_> {
        Source { text: self.text, previous, values: &self.values, little: self.room.dce_little }
    }

    /// The bytes in which a content must lie, and whether they have an end of their own.
    fn area(&self, position: Position, previous: usize) -> (std::ops::Range<usize>, bool) {
        let all = self.text.len();
        let place = |n: i64| usize::try_from(n).unwrap_or(0);
        let (start, end) = match position {
            Position::Absolute { offset, depth } => {
                let start = place(self.value(offset));
                (start, depth.map(|d| start.saturating_add(place(self.value(d)))))
            }
            Position::Relative { distance, within } => {
                // The end is counted from the true point, also where that lies before the text.
                let point = (previous as i64).saturating_add(self.value(distance));
                (place(point), within.map(|w| place(point.saturating_add(self.value(w)))))
            }
        };
        let stop = end.unwrap_or(all).min(all);
        (start.min(stop)..stop, end.is_some())
    }

    fn is_there(&self, literal: &Literal, ends_with: bool, position: Position, previous: usize) -> bool {
        let (area, _) = self.area(position, previous);
        let text = self.text.get(area.clone()).unwrap_or(&[]);
        if ends_with { area.end == self.text.len() && literal.ends(text) } else { literal.find(text).is_some() }
    }

    fn content(
        &mut self,
        literal: &Literal,
        position: Position,
        next_relative: bool,
        rest: &[Element],
        previous: usize,
    ) -> Step {
        let (area, bounded) = self.area(position, previous);
        // Where the area has no end, a later start sees only what was seen from this one.
        let exhausted_area = failed(depends(position) && (bounded || has_variable(position)));
        let mut from = area.start;
        loop {
            let found = self.text.get(from..area.end).and_then(|text| literal.find(text));
            if !self.spend(1 + found.unwrap_or(area.end.saturating_sub(from)) / STRIDE) {
                return Step::Exhausted;
            }
            let Some(hit) = found else { return exhausted_area };
            let end = from + hit + literal.len();
            let step = self.run(rest, end);
            match step {
                Step::Match | Step::Exhausted | Step::Never => return step,
                // What follows does not depend on this content's place.
                Step::Elsewhere if !next_relative => return failed(has_variable(position)),
                Step::Elsewhere => from += hit + 1,
            }
        }
    }

    fn pcre(
        &mut self,
        (expression, captures): (&Expression, &[Capture]),
        (negated, relative, next_relative): (bool, bool, bool),
        rest: &[Element],
        previous: usize,
    ) -> Step {
        let start = if relative { previous.min(self.text.len()) } else { 0 };
        let whole = self.text;
        let text = whole.get(start..).unwrap_or(&[]);
        let mut from = 0;
        loop {
            if !self.spend(1 + text.len().saturating_sub(from) / STRIDE) {
                return Step::Exhausted;
            }
            match (expression.find(text, from), negated) {
                (Found::Undecided, _) => return Step::Exhausted,
                (Found::Nowhere, true) => return self.run(rest, previous),
                (Found::At(..), true) => return failed(relative),
                // What looks only ahead sees from a later place nothing that it did not see from this one.
                (Found::Nowhere, false) => return failed(relative && !expression.looks_ahead()),
                (Found::At(first, last), false) => match self.run(rest, start + last) {
                    Step::Elsewhere if next_relative => from = first + 1,
                    // A match that begins later may end earlier.
                    Step::Never if rest.iter().any(is_relative_expression) => from = first + 1,
                    Step::Elsewhere => return Step::Never,
                    Step::Match => {
                        if !captures.is_empty() {
                            let groups = expression.groups(text, from);
                            for (capture, group) in captures.iter().zip(groups) {
                                let bytes = group.and_then(|(first, last)| text.get(first..last));
                                self.room.keep(capture, bytes.unwrap_or(&[]));
                            }
                        }
                        return Step::Match;
                    }
                    step @ (Step::Never | Step::Exhausted) => return step,
                },
            }
        }
    }

    fn is_data_at(&self, is: &IsDataAt, previous: usize) -> bool {
        let offset = usize::try_from(self.value(is.offset)).unwrap_or(usize::MAX);
        let there =
            if is.relative { previous.saturating_add(offset) <= self.text.len() } else { offset < self.text.len() };
        there != is.negated
    }

    /// The place that a jump goes to; `None` where there is no number, or no such place.
    fn jump(&self, jump: &ByteJump, previous: usize) -> Option<usize> {
        let length = usize::try_from(self.value(jump.bytes)).ok()?;
        let source = self.source(previous);
        let start = source.start(self.value(jump.offset), jump.relative)?;
        let (read, end) = match length {
            0 if !number::is_text(jump.number) => (0, start),
            _ => {
                let (value, used) = source.read(start, length, jump.number)?;
                (number::masked(value, jump.bitmask), start + used)
            }
        };
        let mut distance = i64::try_from(read).ok()?.checked_mul(i64::from(jump.multiplier))?;
        if jump.align {
            distance = distance.checked_add(3)? & !3;
        }
        distance = distance.checked_add(self.value(jump.post_offset))?;
        let base = match (jump.from_beginning, jump.from_end) {
            (true, _) => 0,
            (_, true) => self.text.len(),
            (false, false) => end,
        };
        let place = usize::try_from((base as i64).checked_add(distance)?).ok()?;
        (place < self.text.len()).then_some(place)
    }

    /// Whether a text is base64 and its bytes satisfy `inner`.
    fn base64(&mut self, text: &[u8], most: Option<u32>, inner: &[Element]) -> bool {
        let mut bytes = Vec::new();
        base64::decode(text, most, Default::default(), &mut bytes);
        if bytes.is_empty() || !self.spend(1 + text.len() / STRIDE) {
            return false;
        }
        if inner.is_empty() {
            return true;
        }
        let mut search = Search { text: &bytes, budget: self.budget, values: self.values, room: &mut *self.room };
        let step = search.run(inner, 0);
        self.budget = search.budget;
        step == Step::Match
    }
}

fn is_relative_expression(element: &Element) -> bool {
    matches!(element.test, Test::Pcre { relative: true, .. })
}

/// Whether the place of a content depends on what was found before.
fn depends(position: Position) -> bool {
    matches!(position, Position::Relative { .. }) || has_variable(position)
}

/// Whether the place of a content is computed from numbers taken before.
pub fn has_variable(position: Position) -> bool {
    let (first, second) = match position {
        Position::Absolute { offset, depth } => (offset, depth),
        Position::Relative { distance, within } => (distance, within),
    };
    let variable = |value: Value| matches!(value, Value::Variable(_));
    variable(first) || second.is_some_and(variable)
}
