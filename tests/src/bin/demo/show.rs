//! The demo's story on the terminal: numbered steps, what was seen, whether it is what was promised.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;

use weir_tests::lab::Failure;

/// The story so far.
#[derive(Debug)]
pub struct Story {
    step: u32,
    failures: u32,
    start: Instant,
    colour: bool,
}

impl Story {
    /// Its beginning.
    pub fn new() -> Story {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Story { step: 0, failures: 0, start: Instant::now(), colour }
    }

    /// The next step.
    pub fn step(&mut self, title: &str) {
        self.step += 1;
        println!("\n{}", self.paint("1", &format!("{}. {title}", self.step)));
    }

    /// What is being done.
    pub fn say(&self, text: impl Display) {
        println!("   {text}");
        // Without a terminal the lines would otherwise come all at once, at the end.
        let _ = std::io::stdout().flush();
    }

    /// Something shown to the operator as it is: a table, a command and its output.
    pub fn quote(&self, text: &str) {
        for line in text.lines() {
            println!("     {}", self.paint("2", line));
        }
    }

    /// What was promised, and whether it is so.
    pub fn check(&mut self, is_so: bool, promise: impl Display) {
        let mark = if is_so { self.paint("32", "✓") } else { self.paint("31", "✗") };
        self.failures += u32::from(!is_so);
        println!("   {mark} {promise}");
    }

    /// A step that could not be done.
    pub fn failed(&mut self, why: &Failure) {
        self.check(false, why);
    }

    /// The end: what came of it.
    pub fn end(self) -> ExitCode {
        let seconds = self.start.elapsed().as_secs();
        if self.failures == 0 {
            println!("\n{} in {seconds} s.", self.paint("32", "Everything did what it says"));
            return ExitCode::SUCCESS;
        }
        println!("\n{} in {seconds} s.", self.paint("31", &format!("{} promises were not kept", self.failures)));
        ExitCode::FAILURE
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
