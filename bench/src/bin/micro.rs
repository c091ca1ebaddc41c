//! Prints what a packet costs, step by step. Arguments: a part of a case's name, to run only those; `--record`, to
//! append the figures to the records.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use weir_bench::measure::Rounds;
use weir_bench::record::Setting;
use weir_bench::{Figure, cases};

fn main() -> ExitCode {
    let (flags, names): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    if let Some(unknown) = flags.iter().find(|flag| *flag != "--record") {
        eprintln!("unknown option {unknown}; there is --record");
        return ExitCode::from(2);
    }
    let wanted = names.first().map_or("", String::as_str);
    let mut figures = Vec::new();
    println!("{:32} {:>10} {:>10} {:>8} {:>12}", "", "ns/packet", "best", "Mpps", "allocations");
    let outcome = cases::run(&Rounds::default(), wanted, |figure| {
        let Figure { case, median_ns, best_ns, allocations, .. } = &figure;
        println!("{case:32} {median_ns:>10.1} {best_ns:>10.1} {:>8.2} {allocations:>12}", 1000.0 / median_ns);
        figures.push(figure);
    });
    if let Err(wrong) = outcome {
        eprintln!("{wrong}");
        return ExitCode::FAILURE;
    }
    if !flags.is_empty() {
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
