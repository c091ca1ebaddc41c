//! Results as a table, as JSON and as records.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::offline::Engine;
use super::run::{Row, ratio};
use super::scenario::Kind;
use super::trial::Outcome;
use crate::record::Setting;

/// The figure of a row with its unit.
pub fn figure(row: &Row) -> String {
    match &row.outcome {
        Err(why) => why.clone(),
        Ok(outcome) => match row.scenario.kind {
            Kind::Latency => {
                let [p99, p999] = outcome.tail_ns;
                format!("p50 {:.1} µs, p99 {:.1}, p99.9 {:.1}", outcome.median / 1e3, p99 / 1e3, p999 / 1e3)
            }
            Kind::Stream => {
                let [median, least, most] = [outcome.median, outcome.least, outcome.most].map(|value| value / 1e9);
                format!("{median:.2} Gbit/s ({least:.2}-{most:.2}), {:.0} ns CPU a full frame", outcome.cpu_ns)
            }
            Kind::Mix => {
                let Outcome { median, least, most, cpu_ns, .. } = outcome;
                format!("{median:.2} % of the host for 1 Gbit/s ({least:.2}-{most:.2}), {cpu_ns:.0} ns CPU a frame")
            }
            Kind::Capture => {
                let [median, least, most] = [outcome.median, outcome.least, outcome.most].map(|value| value / 1e9);
                let beside = outcome.engine.map_or(String::new(), |engine| {
                    let Engine { peak_mib, load_seconds, rules } = engine;
                    format!(", {peak_mib:.0} MiB, {rules} rules in {load_seconds:.1} s")
                });
                format!(
                    "{median:.2} Gbit/s of CPU time ({least:.2}-{most:.2}), {:.0} ns a frame{beside}",
                    outcome.cpu_ns
                )
            }
            Kind::Idle => format!("{:.3} % of a core ({:.3}-{:.3})", outcome.median, outcome.least, outcome.most),
            Kind::Change => {
                let [p999, longest] = outcome.tail_ns.map(|value| value / 1e3);
                let [median, least, most] = [outcome.median, outcome.least, outcome.most].map(|value| value / 1e3);
                format!(
                    "{median:.0} µs without forwarding ({least:.0}-{most:.0}); frames meanwhile: p99.9 {p999:.0} µs, \
                     longest {longest:.0}, none dropped"
                )
            }
            Kind::BackToBack => format!("{:.0} frames ({:.0}-{:.0})", outcome.median, outcome.least, outcome.most),
            Kind::Addresses => format!("{:.0} addresses ({:.0}-{:.0})", outcome.median, outcome.least, outcome.most),
            Kind::Rate | Kind::NoLoss | Kind::NewFlows | Kind::Bursts => {
                let [median, least, most] = [outcome.median, outcome.least, outcome.most].map(|value| value / 1e6);
                let gbit = outcome.median * row.scenario.mean_frame() * 8.0 / 1e9;
                format!(
                    "{median:.2} Mpps ({least:.2}-{most:.2}), {gbit:.1} Gbit/s, {:.0} ns CPU a frame",
                    outcome.cpu_ns
                )
            }
        },
    }
}

/// How far the cores were from each other.
pub fn cores(row: &Row) -> &'static str {
    row.outcome.as_ref().map_or("", |outcome| outcome.distance.name())
}

/// The goals: what was wanted, and what came out.
pub fn goals(rows: &[Row]) -> Vec<String> {
    // What cannot be measured here is no goal missed.
    let ours = || rows.iter().filter(|row| row.switch == "weir" && row.scenario.missing().is_none());
    let limits = ours().filter_map(|row| {
        let (limit, name) = (row.scenario.limit?, &row.scenario.name);
        if row.scenario.kind == Kind::Mix {
            return Some(added(rows, row, limit));
        }
        Some(match &row.outcome {
            Ok(o) if o.median <= limit => format!("{name}: {:.3}, wanted at most {limit}: reached", o.median),
            Ok(o) => format!("{name}: {:.3}, wanted at most {limit}: missed", o.median),
            Err(_) => format!("{name}: no figure, wanted at most {limit}"),
        })
    });
    let beside = ours().flat_map(|row| row.scenario.goals.iter().map(move |goal| (row, goal))).map(|(row, goal)| {
        let name = &row.scenario.name;
        match ratio(rows, name, &goal.peer) {
            Some(got) => {
                let verdict = if got >= goal.ratio { "reached" } else { "missed" };
                format!("{name}: {got:.2} × {}, wanted {:.2}: {verdict}", goal.peer, goal.ratio)
            }
            None => format!("{name}: no figure beside {}, wanted {:.2}", goal.peer, goal.ratio),
        }
    });
    limits.chain(beside).collect()
}

/// What inspection adds to plain forwarding, and what it may.
fn added(rows: &[Row], row: &Row, limit: f64) -> String {
    let name = &row.scenario.name;
    let plain = rows.iter().find(|other| other.scenario.name == *name && other.switch == "weir:plain");
    let medians = (row.outcome.as_ref().ok(), plain.and_then(|plain| plain.outcome.as_ref().ok()));
    let (Some(ours), Some(plain)) = medians else { return format!("{name}: no figure, wanted at most {limit}") };
    let added = ours.median - plain.median;
    let verdict = if added <= limit { "reached" } else { "missed" };
    format!("{name}: inspection adds {added:.2} % of the host, wanted at most {limit}: {verdict}")
}

/// All of it as JSON.
pub fn json(rows: &[Row], setting: &Setting) -> Value {
    let Setting { host, machine, commit, date, command } = setting;
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let mut value = json!({ "scenario": row.scenario.name, "about": row.scenario.about, "switch": row.switch });
            if let Some(object) = value.as_object_mut() {
                match &row.outcome {
                    Ok(o) => object.extend([
                        ("median".to_owned(), json!(o.median)),
                        ("least".to_owned(), json!(o.least)),
                        ("most".to_owned(), json!(o.most)),
                        ("cpu_ns".to_owned(), json!(o.cpu_ns)),
                        ("tail_ns".to_owned(), json!(o.tail_ns)),
                        ("cores".to_owned(), json!(o.distance.name())),
                        ("peak_mib".to_owned(), json!(o.engine.map(|engine| engine.peak_mib))),
                        ("load_seconds".to_owned(), json!(o.engine.map(|engine| engine.load_seconds))),
                        ("rules".to_owned(), json!(o.engine.map(|engine| engine.rules))),
                    ]),
                    Err(why) => object.extend([("error".to_owned(), json!(why))]),
                }
            }
            value
        })
        .collect();
    json!({ "host": host, "machine": machine, "commit": commit, "date": date, "command": command, "rows": rows, })
}

/// Appends the rows that have a figure to `records/<host>/<date>-switch.csv`; returns the file.
///
/// # Errors
/// Where it cannot be written.
pub fn record(rows: &[Row], setting: &Setting, folder: &Path) -> io::Result<PathBuf> {
    let folder = folder.join(&setting.host);
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{}-switch.csv", setting.date));
    let is_new = !path.exists();
    let mut text = String::new();
    if is_new {
        text.push_str("date,commit,machine,command,scenario,switch,median,least,most,cpu_ns,p99_ns,p999_ns,cores\n");
    }
    for row in rows {
        let Ok(o) = &row.outcome else { continue };
        let Setting { date, commit, machine, command, .. } = setting;
        let (name, switch, [p99, p999]) = (&row.scenario.name, row.switch, o.tail_ns);
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{date},{commit},\"{machine}\",\"{command}\",{name},{switch},{},{},{},{:.1},{p99:.0},{p999:.0},{}",
            amount(o.median),
            amount(o.least),
            amount(o.most),
            o.cpu_ns,
            o.distance.name()
        );
    }
    OpenOptions::new().create(true).append(true).open(&path)?.write_all(text.as_bytes())?;
    Ok(path)
}

/// Rates are large and need no fraction, shares of a core are small.
fn amount(value: f64) -> String {
    if value < 1000.0 { format!("{value:.3}") } else { format!("{value:.0}") }
}
