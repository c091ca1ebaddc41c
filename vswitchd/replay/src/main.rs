//! Inspects a capture with the guard's rules and writes what it finds as EVE JSON.
//!
//! `weir-replay --rules FILE… --pcap FILE --out DIRECTORY [--mode ids|ips] [--conf FILE] [--set key=value]…`
//!
//! The same detection as in the switch; the same capture gives the same lines. Exit status: 0 when the capture was
//! inspected, 1 when something could not be read or written or `check` found rules to refuse, 2 when the arguments or the
//! rules are wrong.
#![forbid(unsafe_code)]

mod arguments;
mod check;
mod explain;
mod known;
mod options;
mod profile;
mod rules;
mod run;
mod stats;

use std::process::ExitCode;

use arguments::Task;
use weir_ports::huge_heap::{self, HugeHeap};

/// Flows and rules lie all over the heap.
#[global_allocator]
static ALLOCATOR: HugeHeap = HugeHeap;

fn main() -> ExitCode {
    huge_heap::prepare();
    let arguments = match arguments::parse(std::env::args_os().skip(1)) {
        Ok(arguments::Parsed::Run(arguments)) => arguments,
        Ok(arguments::Parsed::Help) => {
            println!("{}", arguments::HELP);
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("weir-replay: {message}\n\n{}", arguments::HELP);
            return ExitCode::from(2);
        }
    };
    let done = match arguments.task {
        Task::Replay => run::run(&arguments),
        Task::Check => check::run(&arguments),
        Task::Explain(sid) => explain::run(&arguments, sid),
        Task::Profile => profile::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("weir-replay: {failure}");
            ExitCode::from(failure.status())
        }
    }
}
