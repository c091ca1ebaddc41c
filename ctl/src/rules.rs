//! `vswitchctl rules`: rule files, read without the daemon. What asks the engine is done by the program beside this one.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Subcommand;

use crate::Format;
use crate::failure::Failure;
use crate::replay;
use crate::table::print;

/// What can be done with rule files.
#[derive(Subcommand)]
pub enum Command {
    /// Read rule files and say what is wrong with them. Exit status 1 where a rule would be refused.
    Check {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Show at most this many problems.
        #[arg(long, value_name = "NUMBER", default_value_t = 100)]
        limit: usize,
    },
    /// Tell when a rule is judged, what is searched for first and why, where it stands, and what it may cost.
    Explain {
        /// The `sid` of the rule.
        sid: u32,
        /// The files.
        #[arg(long = "rules", value_name = "FILE", required = true, num_args = 1..)]
        rules: Vec<PathBuf>,
    },
    /// Tell what rules cost on a capture: checks, matches, steps and time of each, dearest first.
    Profile {
        /// The files.
        #[arg(long = "rules", value_name = "FILE", required = true, num_args = 1..)]
        rules: Vec<PathBuf>,
        /// The capture: pcap or pcapng.
        #[arg(long, value_name = "FILE")]
        pcap: PathBuf,
        /// Show so many rules.
        #[arg(long, value_name = "NUMBER", default_value_t = 20)]
        limit: usize,
    },
    /// Print a rule set that comes with the daemon.
    Builtin {
        /// Its name; their names where absent.
        name: Option<String>,
    },
}

/// Runs a command.
pub fn run(command: Command, format: Format) -> Result<(), Failure> {
    match command {
        Command::Check { files, limit } => {
            hand_over(["check".into()], &files, vec!["--limit".into(), limit.to_string().into()], format)
        }
        Command::Explain { sid, rules } => {
            hand_over(["explain".into(), sid.to_string().into()], &rules, Vec::new(), format)
        }
        Command::Profile { rules, pcap, limit } => {
            let more = ["--pcap".into(), pcap.into(), "--limit".into(), limit.to_string().into()];
            hand_over(["profile".into()], &rules, more.into(), format)
        }
        Command::Builtin { name: None } => print(&format!("{}\n", weir_ids_rules::BUILTIN_NAMES.join("\n"))),
        Command::Builtin { name: Some(name) } => match weir_ids_rules::builtin(&name) {
            Some(text) => print(text),
            None => Err(Failure::refused(format!(
                "there is no builtin rule set \"{name}\"; there are: {}",
                weir_ids_rules::BUILTIN_NAMES.join(", ")
            ))),
        },
    }
}

/// Becomes the program that knows the engine.
fn hand_over<const N: usize>(
    task: [OsString; N],
    rules: &[PathBuf],
    more: Vec<OsString>,
    format: Format,
) -> Result<(), Failure> {
    let mut arguments: Vec<OsString> = task.into();
    arguments.push("--rules".into());
    arguments.extend(rules.iter().map(|path| path.clone().into()));
    arguments.extend(more);
    if format == Format::Json {
        arguments.push("--json".into());
    }
    replay::become_replay(arguments)
}
