//! `vswitchctl replay`: inspects a capture by rules, without the daemon. The program that does it stands beside this one.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;

use crate::failure::Failure;

/// The program that inspects captures.
const PROGRAM: &str = "weir-replay";

/// Arguments of `weir-replay`, as they are.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub struct Replay {
    /// --rules FILE... --pcap FILE --out DIRECTORY [--mode ids|ips] [--conf FILE] [--set NAME=VALUE]... [--stats]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// Becomes that program.
pub fn run(replay: Replay) -> Result<(), Failure> {
    become_replay(replay.arguments)
}

/// The same with these arguments.
pub fn become_replay(arguments: Vec<OsString>) -> Result<(), Failure> {
    let own = std::env::current_exe().map_err(|e| Failure::usage(format!("cannot find the own program: {e}")))?;
    let program = own.with_file_name(PROGRAM);
    let error = Command::new(&program).args(arguments).exec();
    Err(Failure::usage(format!("{}: {error}", program.display())))
}
