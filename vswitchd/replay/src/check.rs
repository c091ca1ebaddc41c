//! `check`: what is wrong with rules, as the engine that is to run them sees it.

use serde_json::json;
use weir_ids_rules::{Diagnostic, Severity, Summary};

use crate::arguments::Arguments;
use crate::run::Failure;
use crate::{options, rules};

/// Says what is wrong with the rules, and how many of them load.
///
/// # Errors
/// Where rules cannot be read, or one would be refused.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let options = options::read(arguments)?;
    let (summary, problems) = rules::checked(arguments, &options)?;
    if arguments.json {
        println!("{}", as_json(&summary, &problems, arguments.limit));
    } else {
        problems.iter().take(arguments.limit).for_each(|problem| println!("{problem}\n"));
        let more = problems.len().saturating_sub(arguments.limit);
        if more > 0 {
            println!("... and {more} more problems (--limit)");
        }
        println!("{summary}");
    }
    match summary.refused {
        0 => Ok(()),
        refused => Err(Failure::refused(format!("{refused} rules would be refused"))),
    }
}

fn as_json(summary: &Summary, problems: &[Diagnostic], limit: usize) -> serde_json::Value {
    let problem = |d: &Diagnostic| {
        json!({
            "severity": match d.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            "kind": d.kind.label(),
            "source": d.source.as_ref() as &str,
            "line": d.line,
            "column": d.column,
            "sid": d.sid,
            "message": d.message,
            "remedy": d.remedy,
        })
    };
    json!({
        "loaded": summary.loaded,
        "refused": summary.refused,
        "replaced": summary.replaced,
        "warnings": summary.warnings,
        "problems": problems.iter().take(limit).map(problem).collect::<Vec<_>>(),
    })
}
