//! Measures switches side by side: ours, and peers that are installed. `bench/run` builds it and runs it.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use weir_bench::e2e::run::run;
use weir_bench::e2e::scenario::Scenario;
use weir_bench::e2e::switches::Kind;
use weir_bench::e2e::trial::{self, Effort};
use weir_bench::e2e::{Failure, plot, report, table};
use weir_bench::foreign;
use weir_bench::record::Setting;

/// Measure switches side by side, one core for the switch and one for the guests.
///
/// Each scenario is a file in bench/scenarios. Peers that are not installed are named and skipped. Needs root for
/// huge pages and priorities, and two cores. Scenarios that inspect with rules of others take them from the file or
/// folder that BENCH_RULES names.
#[derive(Parser)]
#[command(name = "bench/run", version, max_term_width = 100)]
struct Options {
    /// List the scenarios and do nothing.
    #[arg(long)]
    list: bool,
    /// Only scenarios whose name contains this; may be given several times.
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// Peers to measure beside ours.
    #[arg(
        long,
        value_name = "PEERS",
        value_delimiter = ',',
        default_value = "testpmd,ovs-dpdk:l2,ovs-dpdk:sleep,ovs-dpdk:ct,bridge:nft,suricata,weir:plain,weir:no-gro,xdp-patch,ring-patch"
    )]
    against: Vec<String>,
    /// Inspect with the rules of this file in place of the starter rules.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Seconds of a timed stretch.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Timed stretches of which the median counts.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Seconds to wait, before each scenario, until both cores share a cache: the host of a virtual machine moves them.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    near: f64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Write a bar chart to this file (SVG).
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Append the figures to bench/records.
    #[arg(long)]
    record: bool,
    /// Write the last records of each scenario into the README's table, and do nothing else.
    #[arg(long)]
    readme: bool,
    /// Folder of the built vswitchd [usually: this program's].
    #[arg(long, value_name = "FOLDER")]
    binaries: Option<PathBuf>,
}

fn main() -> ExitCode {
    match bench(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &Options) -> Result<(), Failure> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut scenarios = Scenario::all(&home.join("scenarios"))?;
    if options.readme {
        let path = home.join("../README.md");
        let at = |e: std::io::Error| format!("{}: {e}", path.display());
        let text = std::fs::read_to_string(&path).map_err(at)?;
        let text = table::put(&text, &home.join("records"), &scenarios)?;
        return std::fs::write(&path, text).map_err(at);
    }
    scenarios.retain(|s| options.scenario.is_empty() || options.scenario.iter().any(|name| s.name.contains(name)));
    if let Some(path) = &options.rules {
        let path = path.canonicalize().map_err(|e| format!("{}: {e}", path.display()))?;
        scenarios.iter_mut().for_each(|scenario| scenario.rule_files = vec![path.clone()]);
    } else {
        let files = foreign::files()?;
        scenarios.iter_mut().filter(|s| s.foreign).for_each(|scenario| scenario.rule_files.clone_from(&files));
    }
    if options.list {
        scenarios.iter().for_each(|scenario| println!("{:24} {}", scenario.name, scenario.about));
        return Ok(());
    }
    if scenarios.is_empty() {
        return Err("no scenario has such a name; see --list".to_owned());
    }
    let against = options.against.iter().map(|name| {
        Kind::from_name(name).ok_or_else(|| {
            format!("--against {name}: use testpmd, ovs-dpdk:l2, ovs-dpdk:sleep, ovs-dpdk:ct, bridge:nft, suricata, weir:plain, weir:no-gro, xdp-patch, ring-patch")
        })
    });
    let against: Vec<Kind> = against.collect::<Result<_, _>>()?;
    let binaries = match &options.binaries {
        Some(folder) => folder.clone(),
        None => {
            let own = std::env::current_exe().map_err(|e| e.to_string())?;
            own.parent().map(Path::to_owned).unwrap_or_default()
        }
    };
    if !binaries.join("vswitchd").exists() {
        return Err(format!("{} has no vswitchd; build it, or use bench/run", binaries.display()));
    }
    let _pages = HugePages::ask(2048);
    trial::pin()?;
    let seconds = |wanted: f64, least| Duration::from_secs_f64(wanted.clamp(least, 600.0));
    let (time, wait) = (seconds(options.seconds, 0.05), seconds(options.near, 0.0));
    let effort = Effort { time, runs: options.runs, wait };
    let rows = run(&scenarios, &against, effort, &binaries, |row| {
        if !options.json {
            println!("{:24} {:14} {:4} {}", row.scenario.name, row.switch, report::cores(row), report::figure(row));
        }
    });
    let setting = Setting::here_as("bench/run");
    if options.json {
        println!("{:#}", report::json(&rows, &setting));
    } else {
        report::goals(&rows).iter().for_each(|line| println!("{line}"));
    }
    if let Some(path) = &options.plot {
        let title = format!("{}, {} ({})", setting.machine, setting.date, setting.commit);
        std::fs::write(path, plot::svg(&rows, &title)).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    if options.record {
        let path = report::record(&rows, &setting, &home.join("records")).map_err(|e| format!("cannot record: {e}"))?;
        println!("recorded in {}", path.display());
    }
    Ok(())
}

/// Huge pages for the peers and the guests, given back at the end.
struct HugePages {
    before: Option<String>,
}

const PAGES: &str = "/proc/sys/vm/nr_hugepages";

impl HugePages {
    /// Asks for at least `wanted`. Whoever does not get them measures without.
    fn ask(wanted: u32) -> HugePages {
        let before = std::fs::read_to_string(PAGES).ok();
        let enough = before.as_ref().and_then(|text| text.trim().parse::<u32>().ok()).is_some_and(|n| n >= wanted);
        if enough || std::fs::write(PAGES, wanted.to_string()).is_err() {
            return HugePages { before: None };
        }
        HugePages { before }
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // Nothing else can be done about it at the end.
            let _ = std::fs::write(PAGES, before);
        }
    }
}
