//! Any frames to the whole engine for captures, with the starter rules: decoder, defragmentation, streams, parsers,
//! detection, events.
//!
//! An input is a row of frames, each with two bytes of length before it; the mode comes from the first byte.

use std::sync::{Arc, OnceLock};

use weir_filter::app;
use weir_filter::capture::{Capture, Options, Settings};
use weir_filter::decode::Link;
use weir_filter::detect::{Program, ProgramSettings, Shared};
use weir_ids_rules::{RuleSet, Source, Variables};
use weir_wire::Instant;

use super::Target;

/// The target.
pub const TARGET: Target = Target { name: "capture", run, longest: 16_384, one_in: 20 };

fn program() -> Arc<Program> {
    static PROGRAM: OnceLock<Arc<Program>> = OnceLock::new();
    let compile = || {
        let text = weir_ids_rules::builtin("starter").unwrap_or_default();
        let (rules, _) = RuleSet::parse(&[Source { name: "starter", text }], &Variables::default());
        Arc::new(Program::compile(&rules, &ProgramSettings::default()).0)
    };
    Arc::clone(PROGRAM.get_or_init(compile))
}

fn run(input: &[u8]) {
    let ips = input.first().is_some_and(|byte| byte & 1 == 1);
    let options = Options([("stream.midstream".to_owned(), "true".to_owned())].into());
    let settings = Settings::from_options(&options, ips);
    let mut capture = Capture::new(settings, program(), Shared::new(app::Settings::default(), ips));
    let (mut lines, mut rest, mut time) = (String::new(), input, 0);
    while let [high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]) & 0x7ff).min(after.len());
        let (frame, next) = after.split_at(length);
        (rest, time) = (next, time + 1);
        capture.frame(Link::Ethernet, frame, Instant::from_secs(time), &mut lines);
    }
    capture.finish(&mut lines);
    for line in lines.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "what is written is JSON: {line}");
    }
}
