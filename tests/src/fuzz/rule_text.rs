//! Any text as rules: read, and what was understood compiled and asked about.

use weir_ids_rules::{RuleSet, Severity, Source, Variables};

use super::Target;

/// The target.
pub const TARGET: Target = Target { name: "rule_text", run, longest: 4096, one_in: 4 };

fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let source = Source { name: "fuzz.rules", text: &text };
    let (rules, diagnostics) = RuleSet::parse(&[source], &Variables::default());
    assert_eq!(rules.rules().len(), rules.summary().loaded);
    for diagnostic in &diagnostics {
        assert!(!diagnostic.to_string().is_empty());
    }
    let refused = diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
    assert!(refused >= rules.summary().refused.min(1), "a refusal says why");
}
