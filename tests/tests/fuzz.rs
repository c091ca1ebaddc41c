//! Every fuzz target over its corpus and a bounded number of seeded mutations.

#![allow(clippy::unwrap_used)]

use weir_tests::fuzz::{
    Target, app, capture, descriptor_chain, eve, packet, rule_text, run, stream, transforms, vhost_message,
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

/// Any text as a desired state: what is accepted is printed as a text that says the same.
#[test]
fn config() {
    fn parse(input: &[u8]) {
        let text = String::from_utf8_lossy(input);
        match vswitchd::config::Config::parse(&text) {
            Ok(config) => {
                // Whether the names in it fit together is another question; asking it must be safe too.
                let _ = config.check();
                let printed = config.to_toml().unwrap();
                assert_eq!(vswitchd::config::Config::parse(&printed), Ok(config), "{printed}");
            }
            Err(e) => assert!(!e.to_string().is_empty()),
        }
    }
    run(&Target { name: "config", run: parse, longest: 4096, one_in: 20 });
}
