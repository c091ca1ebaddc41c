//! Fuzz targets as plain functions, and what drives them: corpora that replay, and seeded mutation of them.
//!
//! A target takes any bytes and panics where the code under test breaks a promise. `tests/tests/fuzz.rs` runs each in
//! the ordinary test run: every file of its corpus below `tests/fuzz/corpus`, then `WEIR_FUZZ_ITERS` mutations (by
//! default [`ITERATIONS`]) from the seed `WEIR_FUZZ_SEED`. A failure prints the seed and the input's file; moved to
//! the corpus, that file is a regression test. `tests/fuzz/README.md` says how to run them for long.

pub mod app;
pub mod capture;
pub mod descriptor_chain;
pub mod eve;
mod mutate;
pub mod packet;
pub mod rule_text;
pub mod stream;
pub mod transforms;
pub mod vhost_message;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use mutate::Mutator;

/// Mutated inputs of one target in the ordinary test run.
pub const ITERATIONS: u64 = 100_000;
const SEED: u64 = 0x7e17;

/// A function that must take any bytes.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Takes an input; panics where a promise is broken.
    pub run: fn(&[u8]),
    /// The longest input that is made.
    pub longest: usize,
    /// Of [`ITERATIONS`], one in so many is run in the ordinary test run: for targets that take their time.
    pub one_in: u64,
}

/// All targets of this crate.
pub const TARGETS: &[Target] = &[
    app::TARGET,
    capture::TARGET,
    descriptor_chain::TARGET,
    eve::TARGET,
    packet::TARGET,
    rule_text::TARGET,
    stream::TARGET,
    transforms::TARGET,
    vhost_message::TARGET,
];

/// An input that takes more of a processor is told of: something in it costs too much.
const SLOW: Duration = Duration::from_secs(2);

/// Runs mutations of a target's corpus for so long, on from `seed`; returns how many there were.
pub fn run_for(target: &Target, time: Duration, seed: u64) -> u64 {
    let inputs = corpus(target.name).into_iter().map(|(_, input)| input).collect();
    let mut mutator = Mutator::new(seed, inputs, target.longest);
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < time {
        let (input, started) = (mutator.next_input(), Instant::now());
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(&input))) {
            println!("{}", keep(target, &input, seed, count));
            resume_unwind(panic);
        }
        // On a busy machine much time passes in which nothing is done; then it is done again, and counted.
        if started.elapsed() > SLOW {
            let before = processor_time();
            (target.run)(&input);
            let spent = processor_time().saturating_sub(before);
            if spent > SLOW {
                println!("{spent:?}: {}", keep(target, &input, seed, count));
            }
        }
        count += 1;
    }
    count
}

/// Time that this thread has had of a processor.
fn processor_time() -> Duration {
    // The kernel brings the number up to date where a thread gives the processor up.
    std::thread::yield_now();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(told.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0))
}

/// Writes an input to a file, and says where.
fn keep(target: &Target, input: &[u8], seed: u64, iteration: u64) -> String {
    let path = std::env::temp_dir().join(format!("weir-fuzz-{}-{seed}-{iteration}", target.name));
    let kept = std::fs::write(&path, input);
    format!("seed {seed}, mutation {iteration}; the input is in {} ({kept:?})", path.display())
}

/// Runs a target over its corpus and over mutations of it.
pub fn run(target: &Target) {
    let corpus = corpus(target.name);
    for (path, input) in &corpus {
        if let Err(panic) = catch_unwind(|| (target.run)(input)) {
            println!("the input is {}", path.display());
            resume_unwind(panic);
        }
    }
    let seed = number("WEIR_FUZZ_SEED").unwrap_or(SEED);
    let iterations = number("WEIR_FUZZ_ITERS").unwrap_or(ITERATIONS / target.one_in);
    println!("{}: {} inputs of the corpus, {iterations} mutations, seed {seed}", target.name, corpus.len());
    let inputs: Vec<Vec<u8>> = corpus.into_iter().map(|(_, input)| input).collect();
    let mut mutator = Mutator::new(seed, inputs, target.longest);
    for iteration in 0..iterations {
        let input = mutator.next_input();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(&input))) {
            println!("{}", keep(target, &input, seed, iteration));
            resume_unwind(panic);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The files of a target's corpus in the order of their names.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths.into_iter().filter_map(|path| std::fs::read(&path).ok().map(|input| (path, input))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_panics_is_reported() {
        fn refuse(input: &[u8]) {
            assert!(input.is_empty() || input[0] != 0xff, "found");
        }
        let target = Target { name: "refused", run: refuse, longest: 64, one_in: 1 };
        assert!(catch_unwind(|| run(&target)).is_err());
        let kept: Vec<_> =
            std::fs::read_dir(std::env::temp_dir()).unwrap().flatten().map(|entry| entry.path()).collect();
        let kept = kept.iter().filter(|path| path.to_string_lossy().contains("weir-fuzz-refused-"));
        assert!(kept.map(|path| std::fs::remove_file(path).unwrap()).count() > 0, "the input is kept");
    }
}
