//! Prints what a packet costs, step by step.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use weir_bench::measure::Rounds;
use weir_bench::record::{self, Setting};
use weir_bench::{Figure, cases};

/// Measure what a packet costs on each part of its way.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Options {
    /// Only cases whose name contains this [default: all].
    #[arg(default_value = "", hide_default_value = true)]
    name: String,
    /// Append the figures to bench/records.
    #[arg(long)]
    record: bool,
    /// Do exactly this many steps, once, and print how much they did: for a tool that counts instructions.
    #[arg(long, value_name = "COUNT", conflicts_with = "record")]
    steps: Option<usize>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let (mut figures, gigahertz) = (Vec::new(), record::gigahertz());
    if options.steps.is_none() {
        println!("{:32} {:>10} {:>10} {:>8} {:>8} {:>12}", "", "ns/packet", "best", "cycles", "Mpps", "allocations");
    }
    let outcome = cases::run(&Rounds { steps: options.steps, ..Rounds::default() }, &options.name, |figure| {
        let Figure { case, count, median_ns, best_ns, allocations, .. } = &figure;
        match options.steps {
            Some(_) => println!("{case}\t{count}"),
            None => {
                let (cycles, rate) = (median_ns * gigahertz, 1000.0 / median_ns);
                println!("{case:32} {median_ns:>10.1} {best_ns:>10.1} {cycles:>8.0} {rate:>8.2} {allocations:>12}");
            }
        }
        figures.push(figure);
    });
    if let Err(wrong) = outcome {
        eprintln!("{wrong}");
        return ExitCode::FAILURE;
    }
    if options.steps.is_some() {
        // Nothing is warm in so few steps: allocations say nothing.
        return ExitCode::SUCCESS;
    }
    if options.record {
        match Setting::here().append(&figures) {
            Ok(path) => println!("recorded in {}", path.display()),
            Err(error) => {
                eprintln!("cannot record: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    match figures.iter().find(|figure| figure.unexcused() > 0) {
        Some(figure) => {
            let Figure { case, allocations, count, excused, .. } = figure;
            eprintln!("\"{case}\" allocates: {allocations} times in {count} packets, of which {excused} are excused");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}
