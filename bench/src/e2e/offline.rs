//! Engines that inspect a capture, one after the other: ours as `weir-replay` runs it, and Suricata. Each has one thread, on the
//! same core, with the same rules, variables and limits; only alerts are written.
//!
//! The figure is by the CPU time of the thread that inspects, from the first frame on: reading the capture is in it, loading the
//! rules is not.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use weir_ids_rules::Variables;

use super::Failure;
use super::captures::{self, Written};
use super::distance::Distance;
use super::run::Row;
use super::scenario::Scenario;
use super::switches::{Kind, SWITCH_CORE};
use super::trial::{Effort, Figure, Outcome, summary};

/// Names the page that some conversations of a capture ask for.
const MARK: &str = "alert http any any -> any any (msg:\"the page that has to be told of\"; flow:established,to_server; \
                    http.uri; content:\"/marked-by-the-bench\"; startswith; sid:9990002;)\n";
/// How an alert of it begins in EVE.
const TOLD: &str = "\"signature_id\":9990002,";

/// Suricata's configuration behind the variables: alerts only, and the limits that are ours without being told.
const CONFIG: &str = "outputs:
  - eve-log: {enabled: yes, filetype: regular, filename: eve.json, types: [alert, drop]}
logging:
  default-log-level: notice
  outputs:
    - console: {enabled: yes}
stats: {enabled: no}
flow: {memcap: 1gb}
stream: {memcap: 1gb, reassembly: {memcap: 1gb, depth: 1mb}}
";

/// What was measured in one pass over the capture.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Pass {
    cpu_seconds: f64,
    frames: u64,
    peak_bytes: u64,
    load_seconds: f64,
    rules: u64,
}

/// Where the capture and what belongs to it are; removed with its value.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // It lies where temporary files do.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Measures engines in turns; a row for each.
pub fn measure(scenario: &Scenario, kinds: &[Kind], effort: Effort, binaries: &Path) -> Vec<Row> {
    let row = |kind: &Kind, outcome| Row { scenario: scenario.clone(), switch: kind.name(), outcome };
    let (folder, written) = match prepare(scenario) {
        Ok(prepared) => prepared,
        Err(why) => return kinds.iter().map(|kind| row(kind, Err(why.clone()))).collect(),
    };
    let mut passes: Vec<Result<Vec<Pass>, Failure>> = kinds
        .iter()
        .map(|kind| kind.missing().map_or(Ok(Vec::new()), |missing| Err(format!("skipped: {missing}"))))
        .collect();
    for _ in 0..effort.runs.max(1) {
        for (kind, passes) in kinds.iter().zip(&mut passes) {
            let Ok(list) = passes else { continue };
            match pass(kind, &folder.0, written, binaries) {
                Ok(pass) => list.push(pass),
                Err(why) => *passes = Err(why),
            }
        }
    }
    let rows = kinds.iter().zip(passes).map(|(kind, passes)| row(kind, passes.map(|passes| outcome(&passes, written))));
    rows.collect()
}

/// The capture, the rules and the configuration in a folder of their own.
fn prepare(scenario: &Scenario) -> Result<(Folder, Written), Failure> {
    let said = scenario.capture.ok_or("no capture is named")?;
    let folder = Folder(std::env::temp_dir().join(format!("weir-bench-{}-{}", std::process::id(), scenario.name)));
    let at = |e: std::io::Error| format!("{}: {e}", folder.0.display());
    fs::create_dir_all(&folder.0).map_err(at)?;
    let mut rules = String::new();
    for path in &scenario.rule_files {
        rules += &fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        rules.push('\n');
    }
    if let (Some(set), []) = (scenario.inspect.as_deref(), scenario.rule_files.as_slice()) {
        rules += weir_ids_rules::builtin(set).unwrap_or_default();
    }
    fs::write(folder.0.join("all.rules"), rules + "\n" + MARK).map_err(at)?;
    fs::write(folder.0.join("suricata.yaml"), suricata_config()).map_err(at)?;
    let written = captures::write(&folder.0.join("capture.pcap"), said, scenario.flows)?;
    Ok((folder, written))
}

/// Suricata's configuration, with the variables that rules of ours have.
fn suricata_config() -> String {
    let Variables { addresses, ports, .. } = Variables::default();
    let list = |values: &BTreeMap<String, String>| -> String {
        values.iter().map(|(name, value)| format!("    {name}: \"{value}\"\n")).collect()
    };
    let (addresses, ports) = (list(&addresses), list(&ports));
    format!("%YAML 1.1\n---\nvars:\n  address-groups:\n{addresses}  port-groups:\n{ports}{CONFIG}")
}

/// One pass over the capture; what an engine leaves out or does not tell is an error.
fn pass(kind: &Kind, folder: &Path, written: Written, binaries: &Path) -> Result<Pass, Failure> {
    let told = folder.join("told");
    let _ = fs::remove_dir_all(&told);
    fs::create_dir_all(&told).map_err(|e| format!("{}: {e}", told.display()))?;
    let pass = match kind {
        Kind::Weir => replay(folder, &told, binaries)?,
        Kind::Suricata => suricata(folder, &told)?,
        _ => return Err(format!("{} inspects no captures", kind.name())),
    };
    let eve = fs::read_to_string(told.join("eve.json")).unwrap_or_default();
    let alerts = eve.lines().filter(|line| line.contains(TOLD)).count() as u64;
    if alerts != written.marked {
        return Err(format!("of {} requests that a rule names, {alerts} were told of", written.marked));
    }
    if pass.frames != written.frames {
        return Err(format!("of {} frames {} were read", written.frames, pass.frames));
    }
    Ok(pass)
}

/// A program on the switch's core.
fn program(path: &Path, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &SWITCH_CORE.to_string()]).arg(path).args(arguments).current_dir(folder);
    command
}

fn replay(folder: &Path, told: &Path, binaries: &Path) -> Result<Pass, Failure> {
    let binaries = binaries.canonicalize().map_err(|e| format!("{}: {e}", binaries.display()))?;
    let mut command = program(
        &binaries.join("weir-replay"),
        folder,
        &[
            "--rules",
            "all.rules",
            "--pcap",
            "capture.pcap",
            "--set",
            "outputs.eve-log.types=[alert,drop]",
            "--set",
            "checksum=none",
            "--lenient",
            "--stats",
        ],
    );
    let output = command.arg("--out").arg(told).output().map_err(|e| format!("weir-replay: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let Some(line) = text.lines().find_map(|line| line.strip_prefix("stats: ")) else {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("weir-replay: {}", said.lines().next_back().unwrap_or("no word")));
    };
    let number = |name: &str| {
        let field = line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        field.and_then(|value| value.parse::<f64>().ok()).ok_or_else(|| format!("weir-replay: no {name} in \"{line}\""))
    };
    Ok(Pass {
        cpu_seconds: number("cpu_s")?,
        frames: number("packets")? as u64,
        peak_bytes: number("peak_kib")? as u64 * 1024,
        load_seconds: number("load_s")?,
        rules: number("rules")? as u64,
    })
}

fn suricata(folder: &Path, told: &Path) -> Result<Pass, Failure> {
    let arguments =
        ["-c", "suricata.yaml", "-r", "capture.pcap", "-S", "all.rules", "-k", "none", "--runmode", "single", "-v"];
    let mut command = program(Path::new("suricata"), folder, &arguments);
    let begin = Instant::now();
    let child = command.arg("-l").arg(told).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.map_err(|e| format!("suricata: {e}"))?;
    let (mut pass, mut last) = (Pass::default(), String::new());
    for line in child.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
        let line = line.map_err(|e| format!("suricata: {e}"))?;
        if line.contains("Engine started") {
            pass.load_seconds = begin.elapsed().as_secs_f64();
        } else if line.contains("Stopping engine") || line.contains("Signal Received") {
            // The thread is still there, and has nothing left to do.
            pass.cpu_seconds = pass.cpu_seconds.max(worker_seconds(child.id()));
            pass.peak_bytes = pass.peak_bytes.max(peak_bytes(child.id()));
        }
        pass.rules = number_before(&line, " rules successfully loaded").unwrap_or(pass.rules);
        pass.frames = number_before(&line, " packets, ").unwrap_or(pass.frames);
        last = line;
    }
    let status = child.wait().map_err(|e| format!("suricata: {e}"))?;
    if !status.success() || pass.cpu_seconds == 0.0 {
        return Err(format!("suricata: {status}; it said last: {last}"));
    }
    Ok(pass)
}

/// The number that stands before some words.
fn number_before(line: &str, words: &str) -> Option<u64> {
    line.split_once(words)?.0.rsplit(' ').next()?.parse().ok()
}

/// CPU seconds of the thread that inspects, "W#01".
fn worker_seconds(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten().map(|task| task.path());
    let nanos = tasks.filter_map(|task| {
        fs::read_to_string(task.join("comm")).ok().filter(|name| name.starts_with("W#"))?;
        fs::read_to_string(task.join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok()
    });
    nanos.sum::<u64>() as f64 / 1e9
}

/// Most memory that was resident.
fn peak_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn outcome(passes: &[Pass], written: Written) -> Outcome {
    let figure = |pass: &Pass| Figure {
        value: written.bytes as f64 * 8.0 / pass.cpu_seconds,
        cpu_ns: pass.cpu_seconds * 1e9 / written.frames.max(1) as f64,
        tail_ns: [0.0; 2],
    };
    let mut figures: Vec<Figure> = passes.iter().map(figure).collect();
    let most = |of: fn(&Pass) -> f64| passes.iter().map(of).fold(0.0, f64::max);
    let mut loads: Vec<f64> = passes.iter().map(|pass| pass.load_seconds).collect();
    loads.sort_by(f64::total_cmp);
    Outcome {
        engine: Some(Engine {
            peak_mib: most(|pass| pass.peak_bytes as f64) / f64::from(1 << 20),
            load_seconds: loads.get(loads.len() / 2).copied().unwrap_or(0.0),
            rules: passes.first().map_or(0, |pass| pass.rules),
        }),
        distance: Distance::Unknown,
        ..summary(&mut figures)
    }
}

/// What an engine takes beside CPU time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Engine {
    /// Most memory that was resident, in MiB.
    pub peak_mib: f64,
    /// Until it is ready, in seconds; the median.
    pub load_seconds: f64,
    /// Rules that it took.
    pub rules: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_before_their_words() {
        let line = "Info: detect: 1 rule files processed. 19711 rules successfully loaded, 1 rules failed";
        assert_eq!(number_before(line, " rules successfully loaded"), Some(19711));
        assert_eq!(number_before("Notice: pcap: read 1 file, 550764 packets, 42 bytes", " packets, "), Some(550_764));
        assert_eq!(number_before("nothing", " packets, "), None);
    }

    #[test]
    fn the_slowest_passes_do_not_count_and_memory_is_the_most() {
        let pass = |cpu_seconds, peak_bytes| Pass { cpu_seconds, frames: 10, peak_bytes, load_seconds: 2.0, rules: 3 };
        let written = Written { frames: 10, bytes: 1000, marked: 1 };
        let outcome = outcome(&[pass(1.0, 1 << 20), pass(8.0, 3 << 20), pass(2.0, 2 << 20)], written);
        assert_eq!((outcome.median, outcome.least, outcome.most), (4000.0, 1000.0, 8000.0));
        assert_eq!(outcome.engine, Some(Engine { peak_mib: 3.0, load_seconds: 2.0, rules: 3 }));
    }
}
