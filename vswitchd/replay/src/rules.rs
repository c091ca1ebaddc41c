//! Rule files to a program.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use weir_filter::capture::Options;
use weir_filter::detect::sets::Sets;
use weir_filter::detect::{Adjustment, Program};
use weir_ids_rules::adjustment;
use weir_ids_rules::{Diagnostic, RuleSet, Severity, Source};

use crate::arguments::Arguments;
use crate::options;
use crate::run::Failure;

/// Complaints that are printed; the rest is counted.
const SHOWN: usize = 20;

/// Reads and compiles the rules.
///
/// # Errors
/// Where a file cannot be read; and where a rule cannot be used, unless that is allowed.
pub fn load(arguments: &Arguments, options: &Options) -> Result<(Arc<Program>, Sets), Failure> {
    let (_, program, sets) = load_with_text(arguments, options)?;
    Ok((program, sets))
}

/// As [`load`], with the rules as they were written.
///
/// # Errors
/// As [`load`].
pub fn load_with_text(arguments: &Arguments, options: &Options) -> Result<(RuleSet, Arc<Program>, Sets), Failure> {
    let mut texts = Vec::new();
    for path in &arguments.rules {
        let bytes = fs::read(path).map_err(|e| Failure::file(path, &e))?;
        // Rules are ASCII with bytes of their own in comments and messages.
        texts.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
    }
    let sources: Vec<Source<'_>> = texts.iter().map(|(name, text)| Source { name, text }).collect();
    let (set, problems) = RuleSet::parse(&sources, &options::variables(options));
    let (mut program, mut more) = Program::compile(&set, &options::program(options));
    let (mut sets, unread) = sets(&set);
    more.extend(unread);
    reputations(&mut sets, options)?;
    if let Some(path) = options.get("geoip.database").or_else(|| options.get("geoip-database")) {
        let bytes = fs::read(path).map_err(|e| Failure::file(Path::new(path), &e))?;
        sets.add_places(bytes).map_err(|e| Failure::usage(format!("{path}: {e}")))?;
    }
    adjust(&mut program, options)?;
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
    if count > 0 {
        eprintln!("weir-replay: {count} rules cannot be used and are left out; {}", set.summary());
    }
    Ok((set, Arc::new(program), sets))
}

/// The sets that rules name, from files beside the rules.
fn sets(rules: &RuleSet) -> (Sets, Vec<Diagnostic>) {
    let mut read = |file: &str, source: &str| {
        let beside = Path::new(source).parent().map(|folder| folder.join(file));
        beside.and_then(|path| fs::read(path).ok()).or_else(|| fs::read(file).ok())
    };
    Sets::new(rules, &mut read)
}

/// Takes up the reputation of addresses, where the options name its files.
fn reputations(sets: &mut Sets, options: &Options) -> Result<(), Failure> {
    let Some(categories) = options.get("reputation-categories-file") else { return Ok(()) };
    let folder = options.get("default-reputation-path").map(Path::new);
    let read = |name: &str| {
        let path = folder.map_or_else(|| Path::new(name).to_owned(), |folder| folder.join(name));
        fs::read(&path).map_err(|e| Failure::file(&path, &e))
    };
    let categories = read(categories)?;
    for file in options.get("reputation-files").unwrap_or_default().split(',') {
        sets.add_reputation(&categories, &read(file.trim().trim_matches(['[', ']']))?);
    }
    Ok(())
}

/// Changes rules as a `threshold.config` says.
fn adjust(program: &mut Program, options: &Options) -> Result<(), Failure> {
    let Some(path) = options.get("threshold-file") else { return Ok(()) };
    let text = fs::read_to_string(path).map_err(|e| Failure::file(Path::new(path), &e))?;
    let (found, problems) = adjustment::parse(&Source { name: path, text: &text }, &options::variables(options));
    problems.iter().take(SHOWN).for_each(|problem| eprintln!("{problem}"));
    for adjustment in found {
        program.adjust(adjustment.gid, adjustment.sid, &Adjustment::from(adjustment.change));
    }
    Ok(())
}
