//! `vswitchctl rules`: rule files, read here without the daemon.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;
use weir_ids_rules::{Diagnostic, RuleSet, Severity, Source, Variables};

use crate::Format;
use crate::failure::Failure;
use crate::replay;
use crate::table::{print, print_json};

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
        Command::Check { files, limit } => check(&files, limit, format),
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

/// A problem for programs.
#[derive(Serialize)]
struct Problem<'a> {
    severity: &'static str,
    kind: &'static str,
    source: &'a str,
    line: u32,
    column: u32,
    sid: Option<u32>,
    message: &'a str,
    remedy: &'a str,
}

#[derive(Serialize)]
struct Report<'a> {
    loaded: usize,
    refused: usize,
    replaced: usize,
    warnings: usize,
    problems: Vec<Problem<'a>>,
}

fn severity(diagnostic: &Diagnostic) -> &'static str {
    match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn check(files: &[PathBuf], limit: usize, format: Format) -> Result<(), Failure> {
    let mut texts = Vec::new();
    for file in files {
        let bytes = std::fs::read(file).map_err(|e| Failure::refused(format!("{}: {e}", file.display())))?;
        texts.push((file.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
    }
    let sources: Vec<Source<'_>> = texts.iter().map(|(name, text)| Source { name, text }).collect();
    let (rules, diagnostics) = RuleSet::parse(&sources, &Variables::default());
    let summary = rules.summary();
    if format == Format::Json {
        let problems = diagnostics.iter().take(limit).map(|d| Problem {
            severity: severity(d),
            kind: d.kind.label(),
            source: &d.source,
            line: d.line,
            column: d.column,
            sid: d.sid,
            message: &d.message,
            remedy: &d.remedy,
        });
        print_json(&Report {
            loaded: summary.loaded,
            refused: summary.refused,
            replaced: summary.replaced,
            warnings: summary.warnings,
            problems: problems.collect(),
        })?;
    } else {
        let shown: String = diagnostics.iter().take(limit).map(|d| format!("{d}\n\n")).collect();
        let more = diagnostics.len().saturating_sub(limit);
        let rest = if more > 0 { format!("... and {more} more problems (--limit)\n") } else { String::new() };
        print(&format!("{shown}{rest}{summary}\n"))?;
    }
    match summary.refused {
        0 => Ok(()),
        refused => Err(Failure::refused(format!("{refused} rules would be refused"))),
    }
}
