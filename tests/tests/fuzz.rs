//! Every fuzz target over its corpus and a bounded number of seeded mutations.

#![allow(clippy::unwrap_used)]

#[path = "../fuzz/config.rs"]
mod config;

use weir_tests::fuzz::{
    app, capture, descriptor_chain, eve, packet, rule_text, run, stream, transforms, vhost_message,
};

#[test]
fn app() {
    run(&app::TARGET);
}

#[test]
fn capture() {
    run(&capture::TARGET);
}

#[test]
fn eve() {
    run(&eve::TARGET);
}

#[test]
fn stream() {
    run(&stream::TARGET);
}

#[test]
fn transforms() {
    run(&transforms::TARGET);
}

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

#[test]
fn desired_state() {
    run(&config::TARGET);
}
