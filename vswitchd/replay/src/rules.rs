//! Rule files to a program.

use std::fs;
use std::sync::Arc;

use weir_filter::capture::Options;
use weir_filter::detect::Program;
use weir_ids_rules::{RuleSet, Severity, Source};

use crate::arguments::Arguments;
use crate::options;
use crate::run::Failure;

/// Complaints that are printed; the rest is counted.
const SHOWN: usize = 20;

/// Reads and compiles the rules.
///
/// # Errors
/// Where a file cannot be read; and where a rule cannot be used, unless that is allowed.
pub fn load(arguments: &Arguments, options: &Options) -> Result<Arc<Program>, Failure> {
    let mut texts = Vec::new();
    for path in &arguments.rules {
        let bytes = fs::read(path).map_err(|e| Failure::file(path, &e))?;
        // Rules are ASCII with bytes of their own in comments and messages.
        texts.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
    }
    let sources: Vec<Source<'_>> = texts.iter().map(|(name, text)| Source { name, text }).collect();
    let (set, problems) = RuleSet::parse(&sources, &options::variables(options));
    let (program, more) = Program::compile(&set, &options::program(options));
    let errors = problems.iter().filter(|p| p.severity == Severity::Error).chain(&more);
    let count = errors.clone().count();
    if count > 0 && (!arguments.lenient || arguments.stats) {
        for problem in errors.take(SHOWN) {
            eprintln!("{problem}");
        }
    }
    if count > 0 && !arguments.lenient {
        return Err(Failure::usage(format!("{count} rules cannot be used; {}", set.summary())));
    }
    Ok(Arc::new(program))
}
