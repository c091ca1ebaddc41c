//! A rule set as policies hold it.

use std::sync::Arc;

use weir_ids_rules::{Diagnostic, RuleSet};

use crate::detect::sets::Sets;
use crate::detect::{Program, ProgramSettings};
use crate::event::Signature;

/// A rule set (text of the rule language) compiled for inspection. Made once per text, shared by policies.
#[derive(Debug, Default)]
pub struct RuleSetProgram {
    program: Arc<Program>,
    sets: Sets,
}

impl RuleSetProgram {
    /// Compiles rules. A rule that cannot be compiled (an expression that is no expression) is left out and has a
    /// diagnostic; the others are used.
    pub fn compile(set: &RuleSet) -> (RuleSetProgram, Vec<Diagnostic>) {
        let (program, diagnostics) = Program::compile(set, &ProgramSettings::default());
        (RuleSetProgram::new(program, Sets::default()), diagnostics)
    }

    /// A program that was compiled before, with the sets its rules name.
    pub fn new(program: Program, sets: Sets) -> RuleSetProgram {
        RuleSetProgram { program: Arc::new(program), sets }
    }

    /// The sets that its rules name, as their files have them.
    pub fn sets(&self) -> &Sets {
        &self.sets
    }

    /// Rules in use.
    pub fn rule_count(&self) -> usize {
        self.program.rule_count()
    }

    /// Whether a rule wants files stored.
    pub fn stores_files(&self) -> bool {
        self.program.stores_files()
    }

    /// Bytes of memory that the searches for fast patterns take.
    pub fn search_memory(&self) -> usize {
        self.program.search_memory()
    }

    /// The group of the rule of a number, and what it says of itself.
    pub fn rule(&self, number: u32) -> Option<(&'static str, &Signature)> {
        Some((self.program.group(number)?, self.program.signature(number)?))
    }

    pub(super) fn program(&self) -> &Arc<Program> {
        &self.program
    }
}
