//! Any options of a rule over any body: transforms, and what is asked of what they make.
//!
//! An input is a line of options, which stand behind `http.request_body`, and the body of a request.

use std::sync::Arc;

use weir_filter::app;
use weir_filter::capture::{Capture, Options, Settings};
use weir_filter::decode::Link;
use weir_filter::detect::{Program, ProgramSettings, Shared};
use weir_filter::inspect::Direction;
use weir_ids_rules::{RuleSet, Source, Variables};
use weir_wire::Instant;

use super::Target;
use crate::conversation::Conversation;

/// The target.
pub const TARGET: Target = Target { name: "transforms", run, longest: 4096, one_in: 10 };

fn run(input: &[u8]) {
    let end = input.iter().position(|&byte| byte == b'\n').unwrap_or(input.len());
    let options = String::from_utf8_lossy(&input[..end]);
    let body = input.get(end..).unwrap_or_default();
    let text = format!("alert http any any -> any any (http.request_body; {options} sid:1;)");
    let (rules, problems) = RuleSet::parse(&[Source { name: "fuzz", text: &text }], &Variables::default());
    assert!(rules.rules().len() + problems.len() > 0 || !text.contains("sid:1;)"), "neither taken nor refused");
    let program = Arc::new(Program::compile(&rules, &ProgramSettings::default()).0);
    if program.rule_count() == 0 {
        return;
    }
    let options = Options([("checksum".to_owned(), "none".to_owned())].into());
    let settings = Settings::from_options(&options, true);
    let mut capture = Capture::new(settings, program, Shared::new(app::Settings::default(), true));
    let mut talk = Conversation::new(40_000, 80);
    let mut frames = talk.open().to_vec();
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    frames.extend(talk.say(Direction::Original, &[head.as_bytes(), body].concat()));
    let mut lines = String::new();
    for frame in frames {
        capture.frame(Link::Ethernet, &frame, Instant::ZERO, &mut lines);
    }
    capture.finish(&mut lines);
}
