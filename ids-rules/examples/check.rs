//! Reads rule files and says what is wrong with them: `cargo run -p weir-ids-rules --example check -- FILE...`
//! With `-s` only the sums by reason.

use std::collections::BTreeMap;
use std::process::ExitCode;

use weir_ids_rules::{RuleSet, Source, Variables};

fn main() -> ExitCode {
    let (flags, files): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|a| a.starts_with('-'));
    let mut texts = Vec::new();
    for file in &files {
        match std::fs::read(file) {
            Ok(bytes) => texts.push(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) => {
                eprintln!("{file}: {error}");
                return ExitCode::from(2);
            }
        }
    }
    let sources: Vec<Source<'_>> = files.iter().zip(&texts).map(|(name, text)| Source { name, text }).collect();
    let begin = std::time::Instant::now();
    let (set, problems) = RuleSet::parse(&sources, &Variables::default());
    let took = begin.elapsed();
    let mut sums: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for problem in &problems {
        *sums.entry((problem.kind.label(), &problem.subject)).or_default() += 1;
        if !flags.contains(&"-s".to_owned()) {
            println!("{problem}\n");
        }
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
    for ((kind, subject), n) in sums {
        println!("{n:7}  {kind} {subject}");
    }
    println!("{} in {took:?}", set.summary());
    if set.summary().refused > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
