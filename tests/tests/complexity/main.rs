//! What a stranger's bytes can cost: eight times the input costs about eight times the work, for every parser, for
//! streams and fragments in any order, for rule text, transforms, decompression, mail and patterns.
//!
//! Processor time of the thread is measured, the least of several runs, with a wide margin; what it finds by mistake on
//! a busy machine is measured again.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod contents;
mod measure;
mod order;
mod parsers;
mod rule_text;

use std::sync::Arc;

use weir_filter::app;
use weir_filter::capture::{Capture, Options, Settings};
use weir_filter::decode::Link;
use weir_filter::detect::{Program, ProgramSettings, Shared};
use weir_filter::inspect::Direction;
use weir_ids_rules::{RuleSet, Source, Variables};
use weir_tests::conversation::Conversation;
use weir_wire::Instant;

/// Compiles rules.
fn program(text: &str) -> Arc<Program> {
    let (rules, problems) = RuleSet::parse(&[Source { name: "test", text }], &Variables::default());
    assert!(problems.is_empty(), "{}", problems[0]);
    let (program, problems) = Program::compile(&rules, &ProgramSettings::default());
    assert!(problems.is_empty(), "{}", problems[0]);
    Arc::new(program)
}

/// The rules of the starter set, which ask for something of nearly every protocol.
fn starter() -> Arc<Program> {
    program(weir_ids_rules::builtin("starter").unwrap())
}

/// Shows frames to the engine, one a millisecond.
fn inspect(program: &Arc<Program>, ips: bool, frames: &[Vec<u8>]) {
    let options = [("checksum", "none"), ("stream.reassembly.depth", "0")];
    let options = Options(options.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    let settings = Settings::from_options(&options, ips);
    let mut capture = Capture::new(settings, Arc::clone(program), Shared::new(app::Settings::default(), ips));
    let mut lines = String::new();
    for (nth, frame) in frames.iter().enumerate() {
        capture.frame(Link::Ethernet, frame, Instant::from_millis(nth as u64), &mut lines);
        lines.clear();
    }
    capture.finish(&mut lines);
}

/// A connection in which each side says something, in segments of a size.
fn connection(port: u16, said: &[(Direction, Vec<u8>)], segment: usize) -> Vec<Vec<u8>> {
    let mut talk = Conversation::new(40_000, port);
    let mut frames = talk.open().to_vec();
    for (way, bytes) in said {
        for piece in bytes.chunks(segment) {
            frames.extend(talk.say(*way, piece));
        }
    }
    frames.extend(talk.close());
    frames
}

/// So many bytes of this, over and over.
fn cycle(unit: &[u8], size: usize) -> Vec<u8> {
    unit.iter().copied().cycle().take(size).collect()
}
