//! Every fuzz target over its corpus and a bounded number of seeded mutations.

use weir_tests::fuzz::{descriptor_chain, packet, rule_text, run, vhost_message};

#[test]
fn packet() {
    run(&packet::TARGET);
}

#[test]
fn rule_text() {
    run(&rule_text::TARGET);
}

#[test]
fn vhost_message() {
    run(&vhost_message::TARGET);
}

#[test]
fn descriptor_chain() {
    run(&descriptor_chain::TARGET);
}
