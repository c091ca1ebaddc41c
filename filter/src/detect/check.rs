//! The full check of what a rule asks of one buffer: a packet's payload, the recent bytes of a stream, a part of a
//! transaction.
//!
//! Conditions are taken in the order of the rule. One that is placed by the end of the one before may be tried at each
//! place where that one matches; the others are independent of each other, so they are searched for once. Numbers that
//! `byte_extract` and `byte_math` take hold from there on. Work is bounded in proportion to the text; a check that
//! needs more is [`Outcome::Undecided`], which is not "no match".

mod asn1;
mod entropy;
mod number;
mod search;

use weir_ids_rules::Rule;
use weir_ids_rules::rule::{
    Asn1, Base64Decode, Bounds, ByteExtract, ByteJump, ByteMath, ByteTest, Capture, CaptureInto, DataSet, Entropy,
    IsDataAt, Match, Pcre, Position, Reputations, Section,
};

use super::compiled::Refusal;
use super::literal::Literal;
use super::sets::Sets;
use super::transform::Transforms;
use crate::inspect::pcre::Expression;

/// Numbers that one rule takes from buffers at most.
const VALUES: usize = weir_ids_rules::limits::VARIABLES;

/// One condition, compiled.
#[derive(Debug)]
struct Element {
    test: Test,
    /// One of the next conditions is placed by the end of this one.
    next_relative: bool,
}

/// What a condition asks.
#[derive(Debug)]
enum Test {
    Content { literal: Box<Literal>, negated: bool, ends_with: bool, position: Position },
    Pcre { expression: Box<Expression>, negated: bool, relative: bool, captures: Box<[Capture]> },
    IsDataAt(IsDataAt),
    Size(Bounds),
    Compare(Box<ByteTest>),
    Jump(Box<ByteJump>),
    Extract(ByteExtract),
    Compute(Box<ByteMath>),
    Base64 { decode: Box<Base64Decode>, inner: Box<[Element]> },
    Asn1(Asn1),
    Entropy(Entropy),
    DataSet(Box<DataSet>),
    Reputation(Box<Reputations>),
}

impl Test {
    /// Whether it may hold at a place where it did not while only the first `seen` bytes were there.
    fn may_gain(&self, bytes: &[u8], seen: usize) -> bool {
        match self {
            // Absence is lost with more bytes, not gained.
            Test::Content { negated: true, position, .. } => search::has_variable(*position),
            Test::Content { ends_with: true, .. } => true,
            Test::Content { literal, position, .. } => {
                let from = seen.saturating_sub(literal.len().saturating_sub(1));
                search::has_variable(*position) || bytes.get(from..).is_some_and(|tail| literal.find(tail).is_some())
            }
            Test::IsDataAt(is) => !is.negated,
            Test::Pcre { .. }
            | Test::Size(_)
            | Test::Compare(_)
            | Test::Jump(_)
            | Test::Extract(_)
            | Test::Compute(_)
            | Test::Base64 { .. }
            | Test::Asn1(_)
            | Test::Entropy(_)
            | Test::DataSet(_)
            | Test::Reputation(_) => true,
        }
    }
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

/// Room for checks, what they share, and the work they took.
#[derive(Debug, Default)]
pub struct Room {
    /// Steps of about 64 bytes.
    pub work: u64,
    /// Where transforms build their results.
    pub buffers: [Vec<u8>; 2],
    /// Sets of values, and what is known of each value.
    pub sets: Sets,
    /// Numbers of DCE/RPC have their least significant byte first.
    pub dce_little: bool,
    /// What sets know of values found: the rule by `gid` and `sid`, and a member of its alert's "context" as JSON.
    /// Emptied before each step.
    pub contexts: Vec<((u32, u32), String)>,
    /// The rule that is checked.
    owner: (u32, u32),
    /// Numbers that the rule took, from this buffer or those before it.
    values: [u64; VALUES],
}

/// Members of contexts kept in one step.
const CONTEXTS: usize = 64;

impl Room {
    /// The members that sets add to an alert of this rule, as JSON without braces; mostly empty.
    pub fn alert_members(&self, gid: u32, sid: u32) -> String {
        let mut text = String::new();
        for (_, member) in self.contexts.iter().filter(|(owner, _)| *owner == (gid, sid)) {
            text.push_str(if text.is_empty() { "\"context\":{" } else { "," });
            text.push_str(member);
        }
        if !text.is_empty() {
            text.push('}');
        }
        text
    }

    /// Keeps the bytes of a group for the alert of the rule that is checked. Groups for flows and packets are not kept:
    /// nothing shows them.
    fn keep(&mut self, capture: &Capture, bytes: &[u8]) {
        if capture.into != CaptureInto::Alert || self.contexts.len() >= CONTEXTS {
            return;
        }
        let mut member = String::new();
        super::sets::write_member(&capture.name, bytes, &mut member);
        self.contexts.push((self.owner, member));
    }

    /// Asks a set of a buffer's bytes, and keeps what it knows of them.
    fn ask(&mut self, set: &DataSet, bytes: &[u8]) -> bool {
        let mut member = String::new();
        let holds = self.sets.ask(set, bytes, &mut member);
        if !member.is_empty() && self.contexts.len() < CONTEXTS {
            self.contexts.push((self.owner, member));
        }
        holds
    }
}

fn changes_sets(elements: &[Element]) -> bool {
    elements.iter().any(|element| match &element.test {
        Test::DataSet(_) => true,
        Test::Base64 { inner, .. } => changes_sets(inner),
        _ => false,
    })
}

/// What one section of a rule asks of the bytes of its buffer.
#[derive(Debug)]
pub struct Check {
    transforms: Transforms,
    elements: Box<[Element]>,
    /// Something must not be there.
    pub forbids: bool,
    /// The rule, by `gid` and `sid`.
    owner: (u32, u32),
}

impl Check {
    /// Compiles a section.
    ///
    /// # Errors
    /// Of an expression that does not compile: its place in the rule's text, and why.
    pub fn compile(rule: &Rule, section: &Section) -> Result<Check, Refusal> {
        let transforms = Transforms::try_compile(&section.transforms)?;
        let elements = compile(&section.matches)?;
        let forbids = elements.iter().any(|element| {
            matches!(element.test, Test::Content { negated: true, .. } | Test::Pcre { negated: true, .. })
        });
        Ok(Check { transforms, elements, forbids, owner: (rule.gid, rule.sid) })
    }

    /// Whether asking may change sets of values.
    pub fn changes_sets(&self) -> bool {
        changes_sets(&self.elements)
    }

    /// Whether all of it holds for `bytes`.
    pub fn run(&self, bytes: &[u8], room: &mut Room) -> Outcome {
        if room.owner != self.owner {
            (room.owner, room.values) = (self.owner, [0; VALUES]);
        }
        if self.transforms.is_empty() {
            return search::run(&self.elements, bytes, room);
        }
        let mut buffers = std::mem::take(&mut room.buffers);
        let outcome = match self.transforms.make(bytes, &mut buffers) {
            Some(text) => {
                room.work += bytes.len() as u64 / 64;
                search::run(&self.elements, text, room)
            }
            None => Outcome::NoMatch,
        };
        room.buffers = buffers;
        outcome
    }

    /// Whether it may hold for bytes of which it did not hold for the first `seen`, which have only grown. So a rule
    /// that waits for the rest of a body is not searched through again with each small piece that brings none of its
    /// contents.
    pub fn may_gain(&self, bytes: &[u8], seen: usize) -> bool {
        !self.transforms.is_empty() || self.elements.iter().any(|element| element.test.may_gain(bytes, seen))
    }

    /// It is one literal that must be there, anywhere.
    pub fn is_one_literal(&self) -> bool {
        let anywhere = |test: &Test| match test {
            Test::Content { negated, ends_with, position, .. } => {
                !negated && !ends_with && *position == Position::ANYWHERE
            }
            _ => false,
        };
        self.transforms.is_empty() && matches!(self.elements.as_ref(), [only] if anywhere(&only.test))
    }
}

fn compile(matches: &[Match]) -> Result<Box<[Element]>, Refusal> {
    let mut elements = Vec::with_capacity(matches.len());
    for (i, m) in matches.iter().enumerate() {
        let following = matches.get(i + 1..).unwrap_or(&[]);
        elements.push(Element { test: compile_match(m)?, next_relative: decides_place(following) });
    }
    Ok(elements.into())
}

fn compile_match(m: &Match) -> Result<Test, Refusal> {
    Ok(match m {
        Match::Content(c) => Test::Content {
            literal: Box::new(Literal::new(&c.bytes, c.nocase)),
            negated: c.negated,
            ends_with: c.ends_with,
            position: c.position,
        },
        Match::Pcre(pcre) => {
            let expression = Box::new(compile_pcre(pcre)?);
            Test::Pcre {
                expression,
                negated: pcre.negated,
                relative: pcre.relative,
                captures: pcre.captures.clone().into(),
            }
        }
        Match::IsDataAt(is) => Test::IsDataAt(*is),
        Match::Size(bounds) => Test::Size(*bounds),
        Match::ByteTest(test) => Test::Compare(Box::new(*test)),
        Match::ByteJump(jump) => Test::Jump(Box::new(*jump)),
        Match::ByteExtract(extract) => Test::Extract(*extract),
        Match::ByteMath(math) => Test::Compute(Box::new(*math)),
        Match::Base64(decode) => {
            let inner = compile(&decode.matches)?;
            let decode = Base64Decode { matches: Vec::new(), ..*decode };
            Test::Base64 { decode: Box::new(decode), inner }
        }
        Match::Asn1(asked) => Test::Asn1(*asked),
        Match::Entropy(entropy) => Test::Entropy(*entropy),
        Match::DataSet(set) => Test::DataSet(Box::new(set.clone())),
        Match::Reputation(set) => Test::Reputation(Box::new(set.clone())),
    })
}

fn compile_pcre(pcre: &Pcre) -> Result<Expression, Refusal> {
    let at = pcre.at as usize;
    Expression::compile(pcre).map_err(|message| (at..at + pcre.pattern.len().max(1), message))
}

/// Whether one of the conditions up to the next that has a place of its own is placed by the one before, or computes
/// with what was read there.
fn decides_place(following: &[Match]) -> bool {
    for m in following {
        if m.is_relative() {
            return true;
        }
        match m {
            Match::Content(c) if !c.negated => return false,
            Match::Pcre(p) if !p.negated => return false,
            Match::ByteJump(_) | Match::ByteExtract(_) | Match::ByteMath(_) => return false,
            Match::Content(_)
            | Match::Pcre(_)
            | Match::IsDataAt(_)
            | Match::Size(_)
            | Match::ByteTest(_)
            | Match::Base64(_)
            | Match::Asn1(_)
            | Match::Entropy(_)
            | Match::DataSet(_)
            | Match::Reputation(_) => {}
        }
    }
    false
}

#[cfg(test)]
mod tests;
