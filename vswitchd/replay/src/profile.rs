//! `profile`: what the rules cost on a capture.

use std::io;
use std::sync::OnceLock;
use std::time::Instant;

use serde_json::json;
use weir_filter::capture::Capture;
use weir_filter::detect::{Cost, Program};

use crate::arguments::Arguments;
use crate::run::{self, Failure, Fault};
use crate::{options, rules};

/// Nanoseconds since the first call.
fn clock() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// One rule with what it has cost.
struct Row<'p> {
    sid: u32,
    msg: &'p str,
    cost: Cost,
}

/// Inspects the capture and prints what each rule has cost, dearest first.
///
/// # Errors
/// Where rules or capture cannot be read.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let options = options::read(arguments)?;
    let (program, sets) = rules::load(arguments, &options)?;
    let prepare = |capture: &mut Capture| capture.shared_mut().profile_with(clock);
    let capture = run::inspect(arguments, &options, (&program, &sets), &mut io::sink(), prepare);
    let capture = capture.map_err(|fault| match fault {
        Fault::In(text) => Failure::file(&arguments.pcap, &text),
        Fault::Out(error) => Failure::Io(error.to_string()),
    })?;
    let costs = capture.shared().profile().map(|profile| profile.costs()).unwrap_or_default();
    let rows = rows(&program, &costs);
    let all = rows.iter().fold((0u64, 0u64), |(n, time), row| (n + row.cost.checks, time + row.cost.nanoseconds));
    let shown = rows.get(..arguments.limit).unwrap_or(&rows);
    if arguments.json {
        println!("{}", as_json(shown, all, program.rule_count()));
    } else {
        print!("{}", table(shown));
        println!(
            "{} rules of {} were checked, {} times in {} us",
            rows.len(),
            program.rule_count(),
            all.0,
            all.1 / 1000
        );
    }
    Ok(())
}

fn rows<'p>(program: &'p Program, costs: &[(u32, Cost)]) -> Vec<Row<'p>> {
    let row = |&(number, cost): &(u32, Cost)| {
        program.signature(number).map(|signature| Row { sid: signature.sid, msg: &signature.msg, cost })
    };
    costs.iter().filter_map(row).collect()
}

fn as_json(rows: &[Row<'_>], (checks, time): (u64, u64), rules: usize) -> serde_json::Value {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "sid": row.sid,
                "msg": row.msg,
                "checks": row.cost.checks,
                "matches": row.cost.matches,
                "steps": row.cost.steps,
                "ns": row.cost.nanoseconds,
                "ns_per_check": row.cost.nanoseconds / row.cost.checks.max(1),
            })
        })
        .collect();
    json!({ "rules_in_force": rules, "checks": checks, "ns": time, "rules": rows })
}

fn table(rows: &[Row<'_>]) -> String {
    let mut text = format!(
        "{:>10} {:>10} {:>9} {:>10} {:>10} {:>8}  MSG\n",
        "SID", "CHECKS", "MATCHES", "STEPS", "US", "NS/CHECK"
    );
    for row in rows {
        let Cost { checks, matches, steps, nanoseconds } = row.cost;
        text += &format!(
            "{:>10} {checks:>10} {matches:>9} {steps:>10} {:>10} {:>8}  {}\n",
            row.sid,
            nanoseconds / 1000,
            nanoseconds / checks.max(1),
            row.msg
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_the_cost_of_a_check() {
        let cost = Cost { checks: 4, matches: 1, steps: 9, nanoseconds: 8000 };
        let rows = [Row { sid: 7, msg: "m", cost }];
        assert!(
            table(&rows).ends_with("         7          4         1          9          8     2000  m\n"),
            "{}",
            table(&rows)
        );
        assert_eq!(as_json(&rows, (4, 8000), 1)["rules"][0]["ns_per_check"], 2000);
    }
}
