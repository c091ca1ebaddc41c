//! Every fuzz target over its corpus and a bounded number of seeded mutations.

use weir_tests::fuzz::{packet, rule_text, run};

#[test]
fn packet() {
    run(&packet::TARGET);
}

#[test]
fn rule_text() {
    run(&rule_text::TARGET);
}
