//! Rules to a program, one by one.
//!
//! A rule as it was read is long: its text, names and what it says of itself are as many bytes again as what detection
//! needs of it. So each is compiled as soon as it was read and then forgotten, and a set of many thousand rules is
//! loaded in little more memory than it has when it is in use.

use std::collections::BTreeMap;

use weir_ids_rules::diagnostic::Kind as Diagnosis;
use weir_ids_rules::rule::{Action, Condition};
use weir_ids_rules::{Diagnostic, Rule, RuleSet, Source, Summary, Variables, read};

use super::compiled::Compiled;
use super::fast::{self, Fast, Place};
use super::group::InPayload;
use super::marks::{self, MarkNames};
use super::program::{Program, ProgramSettings};
use super::sets;
use crate::decode::Event;

/// Texts that were read and compiled.
#[derive(Debug)]
pub struct Compilation {
    /// The program.
    pub program: Program,
    /// What became of the texts.
    pub summary: Summary,
    /// What is wrong with the texts.
    pub problems: Vec<Diagnostic>,
    /// Rules that are understood, but not compiled.
    pub uncompiled: Vec<Diagnostic>,
    /// The rules that name sets or lists in files, for [`sets::Sets::new`].
    pub naming: Vec<Rule>,
}

impl Program {
    /// Reads rules and compiles them for detection. A rule that cannot be compiled (an expression that is no
    /// expression) is left out and has a diagnostic; the others are used.
    pub fn read(sources: &[Source<'_>], variables: &Variables, settings: &ProgramSettings) -> Compilation {
        let mut compiler = Compiler::new(settings);
        let mut naming = BTreeMap::new();
        let (summary, problems) = read(sources, variables, &mut |place, rule| {
            compiler.take(place, &rule);
            if sets::are_named_by(&rule) {
                naming.insert(place, rule);
            } else {
                naming.remove(&place);
            }
        });
        let (program, uncompiled) = compiler.finish();
        Compilation { program, summary, problems, uncompiled, naming: naming.into_values().collect() }
    }

    /// As [`Program::read`], of rules that were read before.
    pub fn compile(set: &RuleSet, settings: &ProgramSettings) -> (Program, Vec<Diagnostic>) {
        let mut compiler = Compiler::new(settings);
        set.rules().iter().enumerate().for_each(|(place, rule)| compiler.take(place, rule));
        compiler.finish()
    }
}

/// Takes rules and makes a program of them.
struct Compiler<'s> {
    settings: &'s ProgramSettings,
    names: MarkNames,
    /// By the places of the rules.
    rules: Vec<Made>,
}

/// What became of a rule: they are large, and many.
type Made = Result<Box<Ready>, Box<Diagnostic>>;

/// A rule that waits for the others.
struct Ready {
    order: (usize, [u8; 3], u8),
    compiled: Compiled,
    fast: Option<Fast>,
    in_payload: Option<Fast>,
    placed: Option<Fast>,
}

impl Ready {
    fn new(rule: &Rule, names: &mut MarkNames, settings: &ProgramSettings) -> Made {
        if let Some(name) = unknown_event(rule) {
            let message = format!("the event '{name}' is not known");
            return Err(Box::new(rule.diagnose(Diagnosis::Value, 0..1, message, String::new())));
        }
        let compiled = Compiled::new(rule, names).map_err(|(at, message)| {
            let message = format!("the expression does not compile: {message}");
            Box::new(rule.diagnose(Diagnosis::Pattern, at, message, String::new()))
        })?;
        let fast = fast::choose(rule);
        let in_payload = match &fast {
            Some(fast) if fast.place == Place::Payload => Some(fast.clone()),
            _ => fast::choose_in_payload(rule),
        };
        let (order, placed) = (order(rule, settings), fast::choose_placed(rule));
        Ok(Box::new(Ready { order, compiled, fast, in_payload, placed }))
    }
}

impl Compiler<'_> {
    fn new(settings: &ProgramSettings) -> Compiler<'_> {
        Compiler { settings, names: MarkNames::default(), rules: Vec::new() }
    }

    /// Takes a rule, in place of an older one where its place is taken.
    fn take(&mut self, place: usize, rule: &Rule) {
        let ready = Ready::new(rule, &mut self.names, self.settings);
        match self.rules.get_mut(place) {
            Some(older) => *older = ready,
            None => self.rules.push(ready),
        }
    }

    fn finish(self) -> (Program, Vec<Diagnostic>) {
        let mut diagnostics = Vec::new();
        let mut ready = Vec::with_capacity(self.rules.len());
        for rule in self.rules {
            match rule {
                Ok(rule) => ready.push(rule),
                Err(diagnostic) => diagnostics.push(*diagnostic),
            }
        }
        ready.sort_by_key(|rule| rule.order);
        let count = ready.len();
        let mut compiled = Vec::with_capacity(count);
        let [mut fast, mut in_payload, mut placed] = [const { Vec::new() }; 3];
        for rule in ready {
            compiled.push(rule.compiled);
            fast.push(rule.fast);
            in_payload.push(rule.in_payload);
            placed.push(rule.placed);
        }
        let found = InPayload { fast: &in_payload, placed: &placed };
        (Program::of(compiled, &fast, &found, self.names), diagnostics)
    }
}

/// An event of the decoder or of streams that the rule asks for and that there is not.
fn unknown_event(rule: &Rule) -> Option<String> {
    rule.conditions.iter().find_map(|condition| {
        let name = match condition {
            Condition::DecodeEvent(name) | Condition::EngineEvent(name) => name.clone(),
            Condition::StreamEvent(name) => format!("stream.{name}"),
            _ => return None,
        };
        Event::from_name(&name).is_none().then_some(name)
    })
}

/// The order in which rules act.
fn order(rule: &Rule, settings: &ProgramSettings) -> (usize, [u8; 3], u8) {
    let action = match rule.action {
        Action::Pass => "pass",
        Action::Drop => "drop",
        Action::Reject(_) => "reject",
        Action::Alert | Action::Config => "alert",
    };
    let place = settings.action_order.iter().position(|&named| named == action).unwrap_or(4);
    (place, marks::rank(rule), rule.priority)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = concat!(
        "alert tcp any any -> any any (msg:\"one\"; content:\"first\"; sid:1; rev:1;)\n",
        "alert http any any -> any any (http.host; dataset:isset,known,type string; sid:2; rev:1;)\n",
        "alert dns any any -> any any (dns.query; dataset:isset,known,type string; sid:3; rev:1;)\n",
        "drop tcp any any -> any any (msg:\"other\"; content:\"second\"; sid:1; rev:2;)\n",
        "alert dns any any -> any any (dns.query; content:\"third\"; sid:3; rev:2;)\n",
        "alert tcp any any -> any any (pcre:\"/(/\"; sid:4; rev:1;)\n",
        "alert tcp any any -> any any (content:\"fourth\"; sid:4; rev:2;)\n",
        "alert tcp any any -> any any (decode-event:nothing.at_all; sid:5;)\n",
    );

    #[test]
    fn rules_that_are_compiled_as_they_are_read_make_the_same_program() {
        let sources = [Source { name: "t", text: TEXT }];
        let (variables, settings) = (Variables::default(), ProgramSettings::default());
        let read = Program::read(&sources, &variables, &settings);
        let (set, problems) = RuleSet::parse(&sources, &variables);
        let (program, uncompiled) = Program::compile(&set, &settings);
        assert_eq!((read.problems, read.summary), (problems, set.summary()));
        assert_eq!(read.uncompiled, uncompiled);
        assert_eq!(read.program.describe(), program.describe());
        let told = |program: &Program, n| program.signature(n).map(|s| (s.sid, s.rev, s.msg.clone()));
        for number in 0..5 {
            assert_eq!(told(&read.program, number), told(&program, number), "rule {number}");
        }
    }

    #[test]
    fn an_older_revision_leaves_nothing_behind() {
        let sources = [Source { name: "t", text: TEXT }];
        let read = Program::read(&sources, &Variables::default(), &ProgramSettings::default());
        assert_eq!(read.summary.replaced, 3, "{:?}", read.problems);
        let named: Vec<u32> = read.naming.iter().map(|rule| rule.sid).collect();
        assert_eq!(named, [2], "the newer rule 3 names no set");
        let refused: Vec<_> = read.uncompiled.iter().map(|problem| problem.sid).collect();
        assert_eq!(refused, [Some(5)], "the newer rule 4 compiles");
        assert_eq!(read.program.rule_count(), 4);
        assert_eq!(read.program.signature(0).map(|rule| (rule.sid, rule.rev)), Some((1, 2)), "a drop acts first");
    }
}
