//! The full check of a rule's payload conditions on one text: a packet's payload, or the recent bytes of a stream.
//!
//! Conditions are taken in the order of the rule. One that is placed by the end of the one before may be tried at each
//! place where that one matches; the others are independent of each other, so they are searched for once. Work is
//! bounded in proportion to the text; a check that needs more is [`Outcome::Undecided`], which is not "no match".

use weir_ids_rules::Rule;
use weir_ids_rules::rule::{Bounds, IsDataAt, Match, Position, Section, Value};

use super::compiled::Refusal;
use super::literal::Literal;
use super::transform::Transforms;
use crate::inspect::pcre::{Expression, Found};

/// One condition, compiled.
#[derive(Debug)]
struct Element {
    pub test: Test,
    /// The next condition is placed by the end of this one.
    pub next_relative: bool,
}

/// What a condition asks.
#[derive(Debug)]
enum Test {
    Content { literal: Box<Literal>, negated: bool, ends_with: bool, position: Position },
    Pcre { expression: Expression, negated: bool, relative: bool },
    IsDataAt(IsDataAt),
    Size(Bounds),
}

/// What the check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All conditions hold.
    Match,
    /// They do not.
    NoMatch,
    /// The bound on work was reached first.
    Undecided,
}

/// Bytes searched that count as one step.
const STRIDE: usize = 64;

/// Checks all `elements` on `text`; adds the steps it took to `work`.
fn check(elements: &[Element], text: &[u8], work: &mut u64) -> Outcome {
    let all = 10_000usize.saturating_add(text.len().saturating_mul(4));
    let mut search = Search { text, budget: all };
    let step = search.run(elements, 0);
    *work = work.saturating_add((all - search.budget) as u64);
    match step {
        Step::Match => Outcome::Match,
        Step::Elsewhere | Step::Never => Outcome::NoMatch,
        Step::Exhausted => Outcome::Undecided,
    }
}

/// What the rest of the conditions answers to one place of the condition before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Match,
    /// Not from here; perhaps from a later place.
    Elsewhere,
    /// From no place.
    Never,
    Exhausted,
}

struct Search<'t> {
    text: &'t [u8],
    budget: usize,
}

impl Search<'_> {
    /// Takes `cost` from the budget; `false` where it is used up.
    fn spend(&mut self, cost: usize) -> bool {
        let left = self.budget.checked_sub(cost);
        self.budget = left.unwrap_or(0);
        left.is_some()
    }

    fn run(&mut self, elements: &[Element], previous: usize) -> Step {
        let Some((element, rest)) = elements.split_first() else { return Step::Match };
        if !self.spend(1) {
            return Step::Exhausted;
        }
        match &element.test {
            Test::Content { literal, negated: true, ends_with, position } => {
                let (area, _) = self.area(*position, previous);
                let text = self.text.get(area.clone()).unwrap_or(&[]);
                let there = if *ends_with {
                    area.end == self.text.len() && literal.ends(text)
                } else {
                    literal.find(text).is_some()
                };
                if there { failed(*position) } else { self.run(rest, previous) }
            }
            Test::Content { literal, negated: false, ends_with: true, position } => {
                let (area, _) = self.area(*position, previous);
                let ends = area.end == self.text.len() && literal.ends(self.text.get(area).unwrap_or(&[]));
                if ends { self.run(rest, self.text.len()) } else { failed(*position) }
            }
            Test::Content { literal, negated: false, ends_with: false, position } => {
                self.content(literal, *position, element.next_relative, rest, previous)
            }
            Test::Pcre { expression, negated, relative } => {
                let start = if *relative { previous } else { 0 };
                self.pcre(expression, *negated, start, element.next_relative, rest, previous)
            }
            Test::IsDataAt(is) => {
                let there = if is.relative {
                    previous.saturating_add(number(is.offset)) <= self.text.len()
                } else {
                    (number(is.offset)) < self.text.len()
                };
                match (there != is.negated, is.relative) {
                    (true, _) => self.run(rest, previous),
                    (false, true) => Step::Elsewhere,
                    (false, false) => Step::Never,
                }
            }
            Test::Size(bounds) => {
                if bounds.contains(self.text.len() as u64) {
                    self.run(rest, previous)
                } else {
                    Step::Never
                }
            }
        }
    }

    /// The bytes in which a content must lie, and whether they have an end of their own.
    fn area(&self, position: Position, previous: usize) -> (std::ops::Range<usize>, bool) {
        let all = self.text.len();
        let (start, end) = match position {
            Position::Absolute { offset, depth } => {
                let start = number(offset);
                (start, depth.map(|d| start.saturating_add(number(d))))
            }
            Position::Relative { distance, within } => {
                let start = previous.saturating_add_signed(signed(distance) as isize);
                // The end is counted from the true point, also where that lies before the text.
                let point = previous as i64 + signed(distance);
                (start, within.map(|w| usize::try_from(point + signed(w)).unwrap_or(0)))
            }
        };
        let stop = end.unwrap_or(all).min(all);
        (start.min(stop)..stop, end.is_some())
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
        let relative = matches!(position, Position::Relative { .. });
        // Where the area has no end, a later start sees only what was seen from this one.
        let exhausted_area = if relative && bounded { Step::Elsewhere } else { Step::Never };
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
                Step::Elsewhere if !next_relative => return Step::Never,
                Step::Elsewhere => from += hit + 1,
            }
        }
    }

    fn pcre(
        &mut self,
        expression: &Expression,
        negated: bool,
        start: usize,
        next_relative: bool,
        rest: &[Element],
        previous: usize,
    ) -> Step {
        let text = self.text.get(start..).unwrap_or(&[]);
        let fail = if start > 0 { Step::Elsewhere } else { Step::Never };
        let mut from = 0;
        loop {
            if !self.spend(1 + text.len().saturating_sub(from) / STRIDE) {
                return Step::Exhausted;
            }
            match (expression.find(text, from), negated) {
                (Found::Undecided, _) => return Step::Exhausted,
                (Found::Nowhere, true) => return self.run(rest, previous),
                (Found::At(..), true) | (Found::Nowhere, false) => return fail,
                (Found::At(first, last), false) => match self.run(rest, start + last) {
                    Step::Elsewhere if next_relative => from = first + 1,
                    Step::Elsewhere => return Step::Never,
                    step => return step,
                },
            }
        }
    }
}

/// A content that fails at its place.
fn failed(position: Position) -> Step {
    match position {
        Position::Relative { .. } => Step::Elsewhere,
        Position::Absolute { .. } => Step::Never,
    }
}

fn signed(value: Value) -> i64 {
    value.number().unwrap_or(0)
}

fn number(value: Value) -> usize {
    usize::try_from(signed(value)).unwrap_or(0)
}

/// Room for checks, and the work they took.
#[derive(Debug, Default)]
pub struct Room {
    /// Steps of about 64 bytes.
    pub work: u64,
    /// Where transforms build their results.
    pub buffers: [Vec<u8>; 2],
}

/// What one section of a rule asks of the bytes of its buffer.
#[derive(Debug)]
pub struct Check {
    transforms: Transforms,
    elements: Box<[Element]>,
}

impl Check {
    /// Compiles a section.
    ///
    /// # Errors
    /// Of an expression that does not compile: its place in the rule's text, and why.
    pub fn compile(_rule: &Rule, section: &Section) -> Result<Check, Refusal> {
        let mut elements = Vec::with_capacity(section.matches.len());
        for (i, m) in section.matches.iter().enumerate() {
            let next_relative = section.matches.get(i + 1).is_some_and(Match::is_relative);
            let test = match m {
                Match::Content(c) => Test::Content {
                    literal: Box::new(Literal::new(&c.bytes, c.nocase)),
                    negated: c.negated,
                    ends_with: c.ends_with,
                    position: c.position,
                },
                Match::Pcre(pcre) => {
                    let at = pcre.at as usize;
                    let expression = Expression::compile(pcre).map_err(|m| (at..at + pcre.pattern.len().max(1), m))?;
                    Test::Pcre { expression, negated: pcre.negated, relative: pcre.relative }
                }
                Match::IsDataAt(is) => Test::IsDataAt(*is),
                Match::Size(bounds) => Test::Size(*bounds),
                _ => continue,
            };
            elements.push(Element { test, next_relative });
        }
        Ok(Check { transforms: Transforms::compile(&section.transforms), elements: elements.into() })
    }

    /// Whether all of it holds for `bytes`.
    pub fn run(&self, bytes: &[u8], room: &mut Room) -> Outcome {
        let mut outcome = Outcome::NoMatch;
        let mut work = 0;
        self.transforms.apply(bytes, room, |text| outcome = check(&self.elements, text, &mut work));
        room.work += work;
        outcome
    }

    /// It is one literal that must be there, anywhere.
    pub fn is_one_literal(&self) -> bool {
        matches!(self.elements.as_ref(), [Element { test: Test::Content { negated: false, .. }, .. }])
    }
}
