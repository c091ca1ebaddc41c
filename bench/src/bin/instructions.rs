//! Counts what packets cost in instructions and compares with `bench/instructions.toml`.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use weir_bench::instructions::{Ledger, compiler};

/// Count the instructions that a packet costs, and compare with what it did cost. Needs valgrind, and `micro` built
/// beside this program.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Options {
    /// Write what was counted to bench/instructions.toml.
    #[arg(long)]
    update: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("instructions: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.toml");
    let before = Ledger::read(&path)?;
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let micro = own.with_file_name("micro");
    if !micro.exists() {
        return Err(format!("{} is missing: cargo build -p weir-bench --bins", micro.display()));
    }
    let now = before.count_again(&micro, compiler()?)?;
    for (case, was) in now.cases.iter().zip(&before.cases) {
        println!("{:40} {:>8.0}   was {:>8.0}", case.name, case.instructions, was.instructions);
    }
    if options.update {
        std::fs::write(&path, now.text()).map_err(|e| format!("{}: {e}", path.display()))?;
        return Ok(true);
    }
    if now.rustc != before.rustc {
        println!("counted with rustc {}, recorded with {}: not comparable", now.rustc, before.rustc);
        return Ok(true);
    }
    let exceeded = before.exceeded_by(&now);
    exceeded.iter().for_each(|line| println!("{line}"));
    Ok(exceeded.is_empty())
}
