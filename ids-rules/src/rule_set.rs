//! Texts to rules: the whole of a rule set, with everything that is wrong with it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Excerpt, Fault, Kind, Severity};
use crate::header::HeaderParser;
use crate::lexer::{Logical, logical_lines};
use crate::parser::{Parsed, parse_rule};
use crate::rule::Rule;
use crate::{Variables, limits};

/// A text with rules, and the name by which diagnostics call it.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// File name, or what else the person knows it by.
    pub name: &'a str,
    /// The text.
    pub text: &'a str,
}

/// Rules that were understood, in the order of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSet {
    rules: Vec<Rule>,
    summary: Summary,
}

/// How many rules there were and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rules loaded.
    pub loaded: usize,
    /// Rules refused.
    pub refused: usize,
    /// Older revisions that a newer one replaced.
    pub replaced: usize,
    /// Rules that are for another engine, by their `requires`.
    pub passed_over: usize,
    /// Warnings about rules that were loaded.
    pub warnings: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { loaded, refused, replaced, passed_over, warnings } = self;
        write!(
            f,
            "{loaded} rules loaded, {refused} refused, {replaced} replaced by newer revisions, {warnings} warnings"
        )?;
        if *passed_over > 0 { write!(f, ", {passed_over} for other engines") } else { Ok(()) }
    }
}

impl RuleSet {
    /// Reads all `sources`. A rule that cannot be used is left out and has a diagnostic of [`Severity::Error`]; the
    /// others are loaded. Of two rules with the same `gid` and `sid` the one with the higher `rev` is kept.
    pub fn parse(sources: &[Source<'_>], variables: &Variables) -> (RuleSet, Vec<Diagnostic>) {
        let mut rules: Vec<Rule> = Vec::new();
        let (summary, diagnostics) = read(sources, variables, &mut |place, rule| match rules.get_mut(place) {
            Some(older) => *older = rule,
            None => rules.push(rule),
        });
        (RuleSet { rules, summary }, diagnostics)
    }

    /// As [`RuleSet::parse`], but whole or not at all: one refused rule refuses the set.
    ///
    /// # Errors
    /// All diagnostics, where one of them is an error.
    pub fn parse_strict(
        sources: &[Source<'_>],
        variables: &Variables,
    ) -> Result<(RuleSet, Vec<Diagnostic>), Vec<Diagnostic>> {
        let (set, diagnostics) = RuleSet::parse(sources, variables);
        if set.summary.refused > 0 { Err(diagnostics) } else { Ok((set, diagnostics)) }
    }

    /// The rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What became of the text.
    pub fn summary(&self) -> Summary {
        self.summary
    }
}

/// As [`RuleSet::parse`], but gives each rule away as soon as it was read, so that no more than one of them need be held:
/// `take` is told its place among the rules of the set, from 0 on. The place of an older revision is told again with the
/// rule that replaces it.
pub fn read(
    sources: &[Source<'_>],
    variables: &Variables,
    take: &mut dyn FnMut(usize, Rule),
) -> (Summary, Vec<Diagnostic>) {
    let mut reader = Reader {
        headers: HeaderParser::new(variables),
        take,
        known: HashMap::new(),
        diagnostics: Vec::new(),
        summary: Summary::default(),
    };
    for source in sources {
        reader.read(source);
    }
    let Reader { known, diagnostics, mut summary, .. } = reader;
    summary.loaded = known.len();
    (summary, diagnostics)
}

impl Rule {
    /// A diagnostic about this rule, for stages after parsing (an expression that does not compile). `at` is the
    /// place in [`Origin::text`](crate::rule::Origin), in bytes.
    pub fn diagnose(&self, kind: Kind, at: std::ops::Range<usize>, message: String, remedy: String) -> Diagnostic {
        let fault = Fault { kind, at, subject: String::new(), message, remedy };
        let text: &str = &self.origin.text;
        let logical = Logical { text: text.into(), line: self.origin.line, breaks: Vec::new() };
        diagnostic(Severity::Error, &fault, &self.origin.source, &logical, Some(self.sid))
    }
}

struct Reader<'v, 't> {
    headers: HeaderParser<'v>,
    take: &'t mut dyn FnMut(usize, Rule),
    /// The rules that were given away, by `gid` and `sid`.
    known: HashMap<(u32, u32), Known>,
    diagnostics: Vec<Diagnostic>,
    summary: Summary,
}

/// A rule that was given away.
struct Known {
    place: usize,
    rev: u32,
    source: Arc<str>,
    line: u32,
}

impl Reader<'_, '_> {
    fn read(&mut self, source: &Source<'_>) {
        let name: Arc<str> = Arc::from(source.name);
        for logical in logical_lines(source.text) {
            match parse_rule(&logical, &name, &mut self.headers) {
                Ok(Parsed::PassedOver) => self.summary.passed_over += 1,
                Ok(Parsed::Rule(rule, warnings)) => {
                    for fault in warnings {
                        self.summary.warnings += 1;
                        self.tell(Severity::Warning, &fault, &name, &logical, Some(rule.sid));
                    }
                    self.keep(*rule, &name, &logical);
                }
                Err((fault, sid)) => self.refuse(&fault, &name, &logical, sid),
            }
        }
    }

    fn keep(&mut self, rule: Rule, source: &Arc<str>, logical: &Logical<'_>) {
        let sid = rule.sid;
        if self.known.len() >= limits::RULES {
            let fault = Fault::new(Kind::Limit, 0..1, format!("more than {} rules", limits::RULES));
            return self.refuse(&fault, source, logical, Some(sid));
        }
        let place = self.known.len();
        let known = |place| Known { place, rev: rule.rev, source: rule.origin.source.clone(), line: rule.origin.line };
        match self.known.entry((rule.gid, rule.sid)) {
            Entry::Vacant(entry) => {
                entry.insert(known(place));
                (self.take)(place, rule);
            }
            Entry::Occupied(mut entry) => {
                let older = entry.get();
                if rule.rev > older.rev {
                    let place = older.place;
                    entry.insert(known(place));
                    self.summary.replaced += 1;
                    (self.take)(place, rule);
                    return;
                }
                let Known { source: by, line, rev, .. } = older;
                let message = format!("sid {sid} is taken by {by}:{line} with rev {rev}, which is not older");
                let fault = Fault::new(Kind::Duplicate, 0..1, message).remedy("choose another sid, or a higher rev");
                self.refuse(&fault, source, logical, Some(sid));
            }
        }
    }

    fn refuse(&mut self, fault: &Fault, source: &Arc<str>, logical: &Logical<'_>, sid: Option<u32>) {
        self.summary.refused += 1;
        self.tell(Severity::Error, fault, source, logical, sid);
    }

    fn tell(&mut self, severity: Severity, fault: &Fault, source: &str, logical: &Logical<'_>, sid: Option<u32>) {
        if self.diagnostics.len() < limits::DIAGNOSTICS {
            self.diagnostics.push(diagnostic(severity, fault, source, logical, sid));
        }
    }
}

fn diagnostic(severity: Severity, fault: &Fault, source: &str, logical: &Logical<'_>, sid: Option<u32>) -> Diagnostic {
    let (line, text, start) = logical.line_of(fault.at.start);
    let at = fault.at.start.saturating_sub(start)..fault.at.end.saturating_sub(start);
    let excerpt = Excerpt::around(text, at);
    Diagnostic {
        severity,
        kind: fault.kind,
        subject: fault.subject.clone(),
        message: fault.message.clone(),
        remedy: fault.remedy.clone(),
        source: source.to_owned(),
        line,
        column: excerpt.column,
        width: excerpt.width,
        sid,
        excerpt: excerpt.text,
        caret: excerpt.caret,
    }
}
