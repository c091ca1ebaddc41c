//! Rule sets from their source to a program, each text compiled once.
//!
//! Compiling a large set takes seconds, so it runs on a thread of its own, and a set whose text and variables are the
//! same as before is not compiled again, whatever it is called.

mod files;

use std::sync::Arc;
use std::time::Instant;

use ring::digest;
use weir_filter::detect::{Adjustment, Compilation, Program, ProgramSettings};
use weir_filter::policy::RuleSetProgram;
use weir_ids_rules::{Diagnostic, Severity, Source, Variables, adjustment, builtin};

use files::Files;

use crate::config;
use crate::refusal::Refusal;

/// Diagnostics that are kept of a set.
const DIAGNOSTICS_KEPT: usize = 100;

/// A rule set, read and compiled.
#[derive(Debug, Default)]
pub struct Loaded {
    /// For the policy.
    pub program: Arc<RuleSetProgram>,
    /// Rules in force.
    pub rules: usize,
    /// Rules that were refused.
    pub refused: usize,
    /// The first of what is wrong with it.
    pub diagnostics: Vec<String>,
    /// SHA-256 of text, names, variables and of all files that it was made of, in hexadecimal digits.
    pub digest: String,
    /// The same of what is known before a rule is read.
    text_digest: String,
    /// Files that its rules named, and what they held.
    named: files::Seen,
    /// Time it took to read and compile, in milliseconds.
    pub compile_ms: u64,
}

impl Loaded {
    /// What an operator should know of a set with refused rules.
    pub fn warning(&self, name: &str) -> Option<String> {
        (self.refused > 0).then(|| {
            format!(
                "rule_set {name}: {} rules are in force, {} were refused; see vswitchctl ruleset show {name}",
                self.rules, self.refused
            )
        })
    }
}

/// The rule sets that are in use, by what they were made from.
#[derive(Debug, Default)]
pub struct Cache {
    loaded: Vec<Arc<Loaded>>,
}

impl Cache {
    /// Reads and compiles a set, or finds it.
    ///
    /// # Errors
    /// Where a source cannot be read, or the set is strict and a rule of it was refused.
    pub async fn load(&mut self, set: &config::RuleSet) -> Result<Arc<Loaded>, Refusal> {
        let (set, known) = (set.clone(), self.loaded.clone());
        let loaded = tokio::task::spawn_blocking(move || load(&set, &known))
            .await
            .map_err(|e| Refusal::internal(format!("the rule compiler failed: {e}; please report this")))??;
        if !self.loaded.iter().any(|l| l.digest == loaded.digest) {
            self.loaded.push(Arc::clone(&loaded));
        }
        Ok(loaded)
    }

    /// Forgets what is not in `used`, and what a refused change may have left.
    pub fn retain(&mut self, used: &[(String, Arc<Loaded>)]) {
        self.loaded.retain(|l| used.iter().any(|(_, u)| Arc::ptr_eq(u, l)));
    }
}

/// Reads and compiles a set; changes nothing.
///
/// # Errors
/// As [`Cache::load`].
pub fn load(set: &config::RuleSet, known: &[Arc<Loaded>]) -> Result<Arc<Loaded>, Refusal> {
    let started = Instant::now();
    let texts = read(set)?;
    let files = Files::read(set)?;
    let text_digest = digest_of(set, &texts, &files);
    if let Some(loaded) = known.iter().find(|l| l.text_digest == text_digest && l.named.is_as_it_was()) {
        return Ok(Arc::clone(loaded));
    }
    let sources: Vec<Source<'_>> = texts.iter().map(|(name, text)| Source { name, text }).collect();
    let variables = variables(set, &files);
    let compilation = Program::read(&sources, &variables, &ProgramSettings::default());
    let Compilation { mut program, summary, problems: mut diagnostics, uncompiled, naming } = compilation;
    let mut named = files::Seen::default();
    let (sets, unread) = files.sets(set, &naming, &mut named)?;
    let errors = |all: &[Diagnostic]| all.iter().filter(|d| d.severity == Severity::Error).count();
    let refused = summary.refused + errors(&uncompiled);
    diagnostics.extend(uncompiled);
    diagnostics.extend(unread);
    if let (Some(name), Some(text)) = (&set.thresholds, &files.thresholds) {
        diagnostics.extend(adjust(&mut program, &Source { name, text }, &variables));
    }
    let program = RuleSetProgram::new(program, sets);
    let digest = named.digest(&text_digest);
    let shown: Vec<String> = diagnostics.iter().take(DIAGNOSTICS_KEPT).map(ToString::to_string).collect();
    if set.strict && refused > 0 {
        let first = shown.first().map_or("", String::as_str);
        return Err(Refusal::invalid(format!(
            "rule_set {}: {refused} rules were refused and the set is strict; the first:\n{first}",
            set.name
        )));
    }
    Ok(Arc::new(Loaded {
        rules: program.rule_count(),
        program: Arc::new(program),
        refused,
        diagnostics: shown,
        digest,
        text_digest,
        named,
        compile_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    }))
}

/// The names and texts of a set's sources.
fn read(set: &config::RuleSet) -> Result<Vec<(String, String)>, Refusal> {
    let name = &set.name;
    if let Some(wanted) = &set.builtin {
        let text = builtin(wanted).ok_or_else(|| {
            let there = weir_ids_rules::BUILTIN_NAMES.join(", ");
            Refusal::invalid(format!("rule_set {name}: there is no builtin set \"{wanted}\"; there are: {there}"))
        })?;
        return Ok(vec![(format!("builtin:{wanted}"), text.to_owned())]);
    }
    if let Some(text) = &set.text {
        return Ok(vec![(name.clone(), text.clone())]);
    }
    let mut room = files::BYTES;
    // Rules of all ages are around, some of them in Latin-1: what is not UTF-8 is for the parser to refuse.
    set.files.iter().map(|file| Ok((file.clone(), files::text(name, file, &mut room)?))).collect()
}

/// Changes rules as a `threshold.config` says.
fn adjust(program: &mut Program, source: &Source<'_>, variables: &Variables) -> Vec<Diagnostic> {
    let (found, problems) = adjustment::parse(source, variables);
    for adjustment in found {
        program.adjust(adjustment.gid, adjustment.sid, &Adjustment::from(adjustment.change));
    }
    problems
}

/// The usual variables and the set's own. A name that is known as a port variable, or ends in `_PORTS`, is one.
fn variables(set: &config::RuleSet, files: &Files) -> Variables {
    let mut variables = Variables { classes: Arc::clone(&files.classes), ..Variables::default() };
    for (name, value) in &set.variables {
        let is_port = variables.ports.contains_key(name) || name.ends_with("_PORTS");
        let table = if is_port { &mut variables.ports } else { &mut variables.addresses };
        table.insert(name.clone(), value.clone());
    }
    variables
}

fn digest_of(set: &config::RuleSet, texts: &[(String, String)], files: &Files) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    let variables = set.variables.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    for (name, text) in texts.iter().map(|(n, t)| (n.as_str(), t.as_str())).chain(variables) {
        for part in [name, text] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
    }
    context.update(&[u8::from(set.strict)]);
    context.update(files.digest.as_ref());
    hexadecimal(&context.finish())
}

fn hexadecimal(digest: &digest::Digest) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> config::RuleSet {
        config::RuleSet { name: "local".into(), text: Some(text.into()), ..config::RuleSet::default() }
    }

    const GOOD: &str = "alert tcp any any -> any any (msg:\"a\"; content:\"x\"; sid:1;)\n";

    #[test]
    fn a_bad_rule_is_refused_and_the_rest_is_in_force() {
        let loaded =
            load(&set(&format!("{GOOD}alert tcp any any -> any any (nonsense; sid:2;)\n")), &[]).expect("loads");
        assert_eq!((loaded.rules, loaded.refused), (1, 1));
        assert!(loaded.diagnostics[0].contains("local:2:"), "{:?}", loaded.diagnostics);
        assert!(loaded.warning("local").expect("has one").contains("1 were refused"));
    }

    #[test]
    fn a_strict_set_is_refused_whole() {
        let strict = config::RuleSet { strict: true, ..set("alert tcp any any -> any any (nonsense; sid:2;)\n") };
        let error = load(&strict, &[]).expect_err("is refused").message;
        assert!(error.contains("rule_set local: 1 rules were refused"), "{error}");
    }

    #[test]
    fn the_same_text_is_compiled_once() {
        let first = load(&set(GOOD), &[]).expect("loads");
        let again = load(&set(GOOD), &[Arc::clone(&first)]).expect("loads");
        assert!(Arc::ptr_eq(&first, &again));
        let mut other = set(GOOD);
        other.variables.insert("HOME_NET".into(), "any".into());
        assert!(!Arc::ptr_eq(&first, &load(&other, &[Arc::clone(&first)]).expect("loads")));
    }

    #[test]
    fn a_missing_file_and_an_unknown_builtin_are_named() {
        let files = config::RuleSet { name: "f".into(), files: vec!["/nowhere/x.rules".into()], ..Default::default() };
        assert!(load(&files, &[]).expect_err("no file").message.contains("rule_set f: /nowhere/x.rules: No such file"));
        let builtin = config::RuleSet { name: "b".into(), builtin: Some("all".into()), ..Default::default() };
        assert!(load(&builtin, &[]).expect_err("no set").message.contains("there are: starter"));
    }

    #[test]
    fn the_starter_set_loads_whole() {
        let starter = config::RuleSet { name: "s".into(), builtin: Some("starter".into()), ..Default::default() };
        let loaded = load(&starter, &[]).expect("loads");
        assert_eq!((loaded.refused, &loaded.diagnostics), (0, &Vec::new()));
        assert!(loaded.rules > 0);
    }
}
