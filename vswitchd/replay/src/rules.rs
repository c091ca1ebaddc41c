//! Rule files to a program.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_filter::capture::Options;
use weir_filter::detect::sets::Sets;
use weir_filter::detect::{Adjustment, Compilation, Program};
use weir_ids_rules::adjustment;
use weir_ids_rules::{Diagnostic, Rule, RuleSet, Severity, Source, Summary};

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
    let texts = texts(arguments)?;
    let compilation = Program::read(&sources(&texts), &options::variables(options), &options::program(options));
    drop(texts);
    let Compilation { mut program, summary, problems, uncompiled: mut more, naming } = compilation;
    let (mut sets, unread) = sets(&naming);
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
        return Err(Failure::usage(format!("{count} rules cannot be used; {summary}")));
    }
    if count > 0 {
        eprintln!("weir-replay: {count} rules cannot be used and are left out; {summary}");
    }
    Ok((Arc::new(program), sets))
}

/// How many rules would load, and what is wrong with them: all that reading, compiling and the files of sets bring up.
///
/// # Errors
/// Where a file cannot be read.
pub fn checked(arguments: &Arguments, options: &Options) -> Result<(Summary, Vec<Diagnostic>), Failure> {
    let texts = texts(arguments)?;
    let read = Program::read(&sources(&texts), &options::variables(options), &options::program(options));
    let Compilation { mut summary, mut problems, uncompiled, naming, .. } = read;
    let (_, unread) = sets(&naming);
    for problem in uncompiled.into_iter().chain(unread) {
        (summary.loaded, summary.refused) = (summary.loaded.saturating_sub(1), summary.refused + 1);
        problems.push(problem);
    }
    Ok((summary, problems))
}

/// The rules as they were written, those that can be read.
///
/// # Errors
/// Where a file cannot be read.
pub fn as_written(arguments: &Arguments, options: &Options) -> Result<RuleSet, Failure> {
    let (set, _) = RuleSet::parse(&sources(&texts(arguments)?), &options::variables(options));
    Ok(set)
}

/// The names and texts of the rule files.
fn texts(arguments: &Arguments) -> Result<Vec<(String, String)>, Failure> {
    let read = |path: &PathBuf| {
        let bytes = fs::read(path).map_err(|e| Failure::file(path, &e))?;
        // Rules are ASCII with bytes of their own in comments and messages.
        let text = String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
        Ok((path.display().to_string(), text))
    };
    arguments.rules.iter().map(read).collect()
}

fn sources(texts: &[(String, String)]) -> Vec<Source<'_>> {
    texts.iter().map(|(name, text)| Source { name, text }).collect()
}

/// The sets that rules name, from files beside the rules.
fn sets(rules: &[Rule]) -> (Sets, Vec<Diagnostic>) {
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
