//! `vswitchctl inspect`: what inspection costs, and who uses it.

use std::collections::HashMap;
use std::time::Duration;

use clap::Subcommand;
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::{Table, bytes, count, duration_ms, print, print_json};

/// What inspection costs, and who uses it.
#[derive(Subcommand)]
pub enum Command {
    /// The account since the daemon's start: processor time, flows given up, use by port, rule set and rule (of rules as
    /// one burst of 61 says).
    Show,
    /// Who uses the processor for inspection now, the greediest first, again and again until interrupted.
    Top {
        /// Milliseconds between two looks.
        #[arg(long, value_name = "MILLISECONDS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(100..=3_600_000))]
        interval: u32,
        /// Stop after so many looks.
        #[arg(long, short = 'n', value_name = "LOOKS")]
        number: Option<u32>,
    },
}

/// Runs the command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.inspection().await?;
    let mut before = client.get(v1::GetInspectionRequest {}).await?.into_inner();
    let (interval, number) = match command {
        Command::Show => {
            return match format {
                Format::Json => print_json(&before),
                Format::Table => print(&account(&before)),
            };
        }
        Command::Top { interval, number } => (interval, number),
    };
    let mut looks = 0;
    while number.is_none_or(|number| looks < number) {
        tokio::time::sleep(Duration::from_millis(u64::from(interval))).await;
        let after = client.get(v1::GetInspectionRequest {}).await?.into_inner();
        match format {
            Format::Json => {
                let line = serde_json::to_string(&after).map_err(|e| Failure::refused(e.to_string()))?;
                print(&format!("{line}\n"))?;
            }
            Format::Table => print(&top(&before, &after))?,
        }
        before = after;
        looks += 1;
    }
    Ok(())
}

/// Hundredths of a percent of a core as text.
fn share(ns: u64, elapsed_ns: u64) -> String {
    let hundredths = u128::from(ns) * 10_000 / u128::from(elapsed_ns.max(1));
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

fn budget(status: &v1::InspectionStatus) -> String {
    match status.budget_ns {
        0 => "no budget".to_owned(),
        ns => format!("budget {} of a core", share(ns, 1_000_000_000)),
    }
}

fn account(status: &v1::InspectionStatus) -> String {
    let mut text = format!(
        "inspection: {} of CPU time, {}, stage {}\n{} packets refused for want of budget\n",
        duration_ms(status.spent_ns / 1_000_000),
        budget(status),
        status.stage,
        status.refused,
    );
    for (title, uses) in [("PORT", &status.ports), ("RULE SET", &status.rule_sets)] {
        let mut table = Table::new(&[title, ">PACKETS", ">BYTES", ">CPU TIME"]);
        for of in uses {
            table.row(vec![of.name.clone(), count(of.packets), bytes(of.bytes), duration_ms(of.ns / 1_000_000)]);
        }
        if !table.is_empty() {
            text += &format!("\n{}", table.text());
        }
    }
    for (title, uses) in [("RULE GROUP", &status.rule_groups), ("RULE", &status.rules)] {
        let mut table = Table::new(&[title, ">CHECKS", ">MATCHES", ">CPU TIME", "SET", "MESSAGE"]);
        for of in uses.iter().take(2 * RULES) {
            let name = if of.sid == 0 { of.group.clone() } else { of.sid.to_string() };
            let (checks, matches, took) = (count(of.checks), count(of.matches), duration_ms(of.ns / 1_000_000));
            table.row(vec![name, checks, matches, took, of.rule_set.clone(), of.msg.clone()]);
        }
        if !table.is_empty() {
            text += &format!("\n{}", table.text());
        }
    }
    if !status.shed.is_empty() {
        let mut table = Table::new(&[">FLOWS GIVEN UP", "STAGE", "MEANING"]);
        for shed in &status.shed {
            table.row(vec![shed.count.to_string(), shed.name.clone(), shed.meaning.clone()]);
        }
        text += &format!("\n{}", table.text());
    }
    text
}

/// Who used what between two looks.
fn top(before: &v1::InspectionStatus, after: &v1::InspectionStatus) -> String {
    let elapsed = after.monotonic_ns.saturating_sub(before.monotonic_ns);
    let given_up = |status: &v1::InspectionStatus| status.shed.iter().map(|shed| shed.count).sum::<u64>();
    let mut text = format!(
        "inspection {} of a core, {}, stage {}, {} flows given up, {} packets refused\n",
        share(after.spent_ns.saturating_sub(before.spent_ns), elapsed),
        budget(after),
        after.stage,
        given_up(after).saturating_sub(given_up(before)),
        after.refused.saturating_sub(before.refused),
    );
    for (title, old, new) in [("PORT", &before.ports, &after.ports), ("RULE SET", &before.rule_sets, &after.rule_sets)]
    {
        let old: HashMap<&str, &v1::InspectionUse> = old.iter().map(|of| (of.name.as_str(), of)).collect();
        let none = v1::InspectionUse::default();
        let mut rows: Vec<(u64, Vec<String>)> = Vec::new();
        for of in new {
            let old = old.get(of.name.as_str()).copied().unwrap_or(&none);
            let ns = of.ns.saturating_sub(old.ns);
            let rate = |new: u64, old: u64| {
                let change = u128::from(new.saturating_sub(old)) * 1_000_000_000 / u128::from(elapsed.max(1));
                u64::try_from(change).unwrap_or(u64::MAX)
            };
            let (packets, bits) = (rate(of.packets, old.packets), rate(of.bytes, old.bytes).saturating_mul(8));
            rows.push((ns, vec![of.name.clone(), share(ns, elapsed), count(packets), count(bits)]));
        }
        rows.sort_by(|(a, _), (b, _)| b.cmp(a));
        let mut table = Table::new(&[title, ">CPU", ">PACKETS /S", ">BIT/S"]);
        rows.into_iter().for_each(|(_, row)| table.row(row));
        if !table.is_empty() {
            text += &table.text();
        }
    }
    for (title, old, new) in
        [("RULE GROUP", &before.rule_groups, &after.rule_groups), ("RULE", &before.rules, &after.rules)]
    {
        text += &rules_top(title, old, new, elapsed);
    }
    text + "\n"
}

/// Rules shown at one look.
const RULES: usize = 10;

/// The rules, or groups of them, that took most between two looks.
fn rules_top(title: &str, old: &[v1::RuleUse], new: &[v1::RuleUse], elapsed: u64) -> String {
    let key = |of: &v1::RuleUse| (of.rule_set.clone(), of.group.clone(), of.sid);
    let old: HashMap<_, u64> = old.iter().map(|of| (key(of), of.ns)).collect();
    let taken = |of: &v1::RuleUse| of.ns.saturating_sub(old.get(&key(of)).copied().unwrap_or(0));
    let mut rows: Vec<(u64, &v1::RuleUse)> = new.iter().map(|of| (taken(of), of)).filter(|(ns, _)| *ns > 0).collect();
    rows.sort_by_key(|(ns, _)| std::cmp::Reverse(*ns));
    let mut table = Table::new(&[title, ">CPU", "SET", "MESSAGE"]);
    for (ns, of) in rows.into_iter().take(RULES) {
        let name = if of.sid == 0 { of.group.clone() } else { of.sid.to_string() };
        table.row(vec![name, share(ns, elapsed), of.rule_set.clone(), of.msg.clone()]);
    }
    if table.is_empty() { String::new() } else { table.text() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(at_ms: u64, vm1_ms: u64, vm2_ms: u64) -> v1::InspectionStatus {
        let of =
            |name: &str, ms: u64| v1::InspectionUse { name: name.into(), ns: ms * 1_000_000, ..Default::default() };
        v1::InspectionStatus {
            monotonic_ns: at_ms * 1_000_000,
            budget_ns: 30_000_000,
            spent_ns: (vm1_ms + vm2_ms) * 1_000_000,
            stage: "depth".into(),
            ports: vec![of("vm1", vm1_ms), of("vm2", vm2_ms)],
            ..Default::default()
        }
    }

    #[test]
    fn the_greediest_port_comes_first() {
        let text = top(&status(0, 50, 0), &status(1000, 60, 20));
        assert!(text.starts_with("inspection 3.00 % of a core, budget 3.00 % of a core, stage depth"), "{text}");
        let order: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(order, ["inspection", "PORT", "vm2", "vm1"]);
        assert!(text.contains("2.00 %") && text.contains("1.00 %"), "{text}");
    }
}
