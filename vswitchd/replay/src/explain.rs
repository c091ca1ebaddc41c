//! `explain`: what becomes of a rule.

use serde_json::json;
use weir_filter::detect::Explanation;

use crate::arguments::Arguments;
use crate::run::Failure;
use crate::{options, rules};

/// Explains the rules with this `sid`.
///
/// # Errors
/// Where rules cannot be read, or there is no such rule in force.
pub fn run(arguments: &Arguments, sid: u32) -> Result<(), Failure> {
    let options = options::read(arguments)?;
    let (program, _) = rules::load(arguments, &options)?;
    let set = rules::as_written(arguments, &options)?;
    let named: Vec<_> = set.rules().iter().filter(|rule| rule.sid == sid).collect();
    if named.is_empty() {
        return Err(Failure::usage(format!(
            "no rule with sid {sid} is in force; vswitchctl rules check FILE says which are refused, and why"
        )));
    }
    for rule in named {
        let Some(told) = program.explain(rule) else {
            return Err(Failure::usage(format!("rule {sid} was refused when it was compiled")));
        };
        let place = format!("{}:{}", rule.origin.source, rule.origin.line);
        if arguments.json {
            println!("{}", as_json(sid, &rule.msg, &place, &told));
        } else {
            print!("{}", text(sid, &rule.msg, &place, &told));
        }
    }
    Ok(())
}

fn as_json(sid: u32, msg: &str, place: &str, told: &Explanation) -> serde_json::Value {
    json!({
        "sid": sid,
        "msg": msg,
        "place": place,
        "judged": told.judged,
        "needs": told.needs,
        "fast_pattern": told.fast_pattern,
        "searched_in": told.place,
        "why": told.why,
        "groups": told.groups,
        "cost": {
            "checks_per_mib": told.checks_per_mib,
            "steps_per_check": told.steps_per_check,
        },
    })
}

fn text(sid: u32, msg: &str, place: &str, told: &Explanation) -> String {
    let list = |items: &[String]| match items {
        [] => "nothing else".to_owned(),
        _ => items.join("\n              "),
    };
    let pattern = match told.fast_pattern.as_str() {
        "" => "none".to_owned(),
        bytes => format!("\"{bytes}\" in {}", told.place),
    };
    format!(
        "rule          {sid} \"{msg}\" ({place})\n\
         judged        {}\n\
         needs         {}\n\
         fast pattern  {pattern}\n\
         because       {}\n\
         stands in     {}\n\
         cost          about {} checks in a MiB of what it looks at, {} steps each\n",
        told.judged,
        list(&told.needs),
        told.why,
        list(&told.groups),
        told.checks_per_mib,
        told.steps_per_check,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_every_part_of_it() {
        let told = Explanation {
            judged: "on the reassembled stream",
            fast_pattern: "abc".to_owned(),
            place: "payload".to_owned(),
            why: "it is the only content".to_owned(),
            groups: vec!["group 1".to_owned(), "group 2".to_owned()],
            checks_per_mib: 5,
            steps_per_check: 2,
            ..Explanation::default()
        };
        let text = text(7, "m", "f:1", &told);
        for wanted in
            ["7 \"m\" (f:1)", "needs         nothing else", "\"abc\" in payload", "about 5 checks", "group 1\n"]
        {
            assert!(text.contains(wanted), "{wanted} in {text}");
        }
    }
}
