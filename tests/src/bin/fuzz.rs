//! Runs a fuzz target for long: `fuzz TARGET [SECONDS [SEED]]`; `all` runs each for so many seconds.
//!
//! An input that panics, or takes more than two seconds of a processor, is written to a file; `tests/fuzz/README.md` says what to do
//! with it.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_tests::fuzz::{TARGETS, run_for};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<u64>().ok());
    let name = arguments.first().map_or("", String::as_str);
    let chosen: Vec<_> = TARGETS.iter().filter(|target| name == "all" || target.name == name).collect();
    if chosen.is_empty() {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("usage: fuzz TARGET|all [SECONDS [SEED]]; targets: {}", names.join(", "));
        return ExitCode::from(2);
    }
    let seconds = Duration::from_secs(number(1).unwrap_or(60));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_secs());
    let seed = number(2).unwrap_or(now);
    for target in chosen {
        let count = run_for(target, seconds, seed);
        println!("{}: {count} inputs in {} s from seed {seed}", target.name, seconds.as_secs());
    }
    ExitCode::SUCCESS
}
