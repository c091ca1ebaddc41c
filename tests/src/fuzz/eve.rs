//! Any conversation of any protocol, whole, with every kind of event: each line that is written is JSON, has its type
//! and its time, and is not longer than what was said allows.
//!
//! An input is that of the target `app`: a line that names the protocol, then pieces with direction and length.

use std::sync::{Arc, OnceLock};

use weir_filter::app::{self, PROTOCOLS};
use weir_filter::capture::{Capture, Options, Settings};
use weir_filter::decode::Link;
use weir_filter::detect::{Program, ProgramSettings, Shared};
use weir_filter::inspect::Direction;
use weir_ids_rules::{RuleSet, Source, Variables};
use weir_wire::Instant;

use super::Target;
use crate::conversation::Conversation;

/// The target.
pub const TARGET: Target = Target { name: "eve", run, longest: 8192, one_in: 20 };

/// Bytes of a line besides those that repeat what was said.
const LINE: usize = 64 << 10;

/// Something to tell of every flow.
const RULES: &str = "alert ip any any -> any any (msg:\"any\"; metadata:a b; sid:1;)\n\
                     alert tcp any any -> any any (flow:established,to_server; msg:\"\\\"said\\\"\"; sid:2;)\n";

fn program() -> Arc<Program> {
    static PROGRAM: OnceLock<Arc<Program>> = OnceLock::new();
    let compile = || {
        let (rules, _) = RuleSet::parse(&[Source { name: "fuzz", text: RULES }], &Variables::default());
        Arc::new(Program::compile(&rules, &ProgramSettings::default()).0)
    };
    Arc::clone(PROGRAM.get_or_init(compile))
}

fn run(input: &[u8]) {
    let end = input.iter().position(|&byte| byte == b'\n').unwrap_or(0);
    let name = String::from_utf8_lossy(&input[..end]);
    let description = PROTOCOLS.iter().find(|description| description.protocol.name() == name);
    let (port, tcp) = description.map_or((80, true), |d| (d.ports.first().copied().unwrap_or(80), d.tcp));
    let mut talk = Conversation::new(40_000, port);
    let mut frames = if tcp { talk.open().to_vec() } else { Vec::new() };
    let mut rest = input.get(end + 1..).unwrap_or_default();
    while let [way, high, low, after @ ..] = rest {
        let way = if *way == b'<' { Direction::Reply } else { Direction::Original };
        let (piece, next) = after.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(after.len()));
        rest = next;
        if tcp { frames.extend(talk.say(way, piece)) } else { frames.push(talk.datagram(way, piece)) }
    }
    let options = Options([("checksum".to_owned(), "none".to_owned())].into());
    let settings = Settings::from_options(&options, false);
    let mut capture = Capture::new(settings, program(), Shared::new(app::Settings::default(), false));
    let mut lines = String::new();
    for (nth, frame) in frames.iter().enumerate() {
        capture.frame(Link::Ethernet, frame, Instant::from_millis(nth as u64), &mut lines);
    }
    capture.finish(&mut lines);
    for line in lines.lines() {
        assert!(line.len() <= LINE + 8 * input.len(), "a line of {} bytes", line.len());
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        assert!(value.get("event_type").is_some() && value.get("timestamp").is_some(), "not an event: {line}");
    }
}
