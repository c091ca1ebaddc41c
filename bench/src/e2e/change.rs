//! Changes of the configuration while frames pass: how long they keep packets waiting, and that none is lost.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::Failure;
use super::guests::Guests;
use super::switches::Switch;
use super::trial::{Figure, check};

/// Changes the configuration once while traffic flows. The figure is what the worker says of itself; the tail is that
/// of all frames meanwhile, which the machine's other work may have made longer.
///
/// # Errors
/// Where the change is refused, or frames are lost.
pub(super) fn measure(
    guests: &mut Guests,
    switch: &Switch,
    time: Duration,
    (binaries, run): (&Path, usize),
) -> Result<Figure, Failure> {
    let file = if run.is_multiple_of(2) { "changed.toml" } else { "weir.toml" };
    let path = switch.folder().join(file).display().to_string();
    let before = worker(switch, binaries)?;
    let child = vswitchctl(switch, binaries, &["apply", &path])?;
    let mut counted = guests.run(time);
    finished(child, "apply")?;
    // A busy machine may keep the switch from its core for long.
    guests.settle(&mut counted, Duration::from_millis(300));
    check(&counted)?;
    let after = worker(switch, binaries)?;
    // What finds the receiver's ring full is the receiver's loss.
    let lost = (after.dropped - before.dropped, counted.lost().saturating_sub(after.ring_full - before.ring_full));
    if lost != (0, 0) {
        return Err(format!("{} frames were dropped during the change, {} vanished", lost.0, lost.1));
    }
    if after.changes != before.changes + 1 {
        return Err(format!("{} changes were taken over, one was made", after.changes - before.changes));
    }
    let tail_ns = [counted.latency.value_at_quantile(0.999) as f64, counted.latency.max() as f64];
    Ok(Figure { value: after.paused_ns as f64, cpu_ns: 0.0, tail_ns })
}

/// What the switch says of itself.
#[derive(Debug)]
struct Worker {
    /// Changes taken over.
    changes: u64,
    /// How long the last one kept packets waiting.
    paused_ns: u64,
    /// Packets that ended in the fabric.
    dropped: u64,
    /// Packets that found a guest's ring full.
    ring_full: u64,
}

fn worker(switch: &Switch, binaries: &Path) -> Result<Worker, Failure> {
    let said = finished(vswitchctl(switch, binaries, &["--json", "stats"])?, "stats")?;
    let stats: Value = serde_json::from_str(&said).map_err(|e| format!("vswitchctl stats: {e}"))?;
    let of = |path: &str| {
        let value = stats.pointer(path).ok_or_else(|| format!("vswitchctl stats has no {path}"))?;
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        number.ok_or_else(|| format!("vswitchctl stats: {path} is {value}"))
    };
    let counts = stats.pointer("/drops").and_then(Value::as_array).into_iter().flatten();
    let full = counts.filter(|count| count.get("name").and_then(Value::as_str) == Some("tx-full"));
    Ok(Worker {
        changes: of("/worker/changes")?,
        paused_ns: of("/worker/change_ns")?,
        dropped: of("/totals/dropped")?,
        ring_full: full.filter_map(|count| count.get("count")?.as_u64()).sum(),
    })
}

pub(super) fn vswitchctl(switch: &Switch, binaries: &Path, arguments: &[&str]) -> Result<Child, Failure> {
    Command::new(binaries.join("vswitchctl"))
        .arg("--socket")
        .arg(format!("unix:{}", switch.folder().join("control").display()))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("vswitchctl: {e}"))
}

pub(super) fn finished(child: Child, what: &str) -> Result<String, Failure> {
    let output = child.wait_with_output().map_err(|e| format!("vswitchctl {what}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("vswitchctl {what}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
