//! Figures as records: a number without machine, commit, command and date says nothing.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Figure;

/// Where and of what the figures are.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Name of the host, as a folder is named.
    pub host: String,
    /// Processor and kernel.
    pub machine: String,
    /// Commit, with a plus sign where files were changed since.
    pub commit: String,
    /// Day, as in 2026-01-31 (UTC).
    pub date: String,
    /// What was run.
    pub command: String,
}

impl Setting {
    /// The setting of this run of the micro benchmarks.
    pub fn here() -> Setting {
        Setting::here_as("cargo run --release -p weir-bench --bin micro --")
    }

    /// The setting of this run, of a program that is called so.
    pub fn here_as(program: &str) -> Setting {
        let word = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let cpu = word("/proc/cpuinfo");
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let model = model.map_or("unknown CPU", |(_, model)| model).to_owned();
        let host: String = word("/proc/sys/kernel/hostname");
        let host = host.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
        let args: Vec<String> = std::env::args().skip(1).collect();
        Setting {
            host,
            machine: format!("{model}, Linux {}", word("/proc/sys/kernel/osrelease")),
            commit: commit(),
            date: today(),
            command: format!("{program} {}", args.join(" ")).trim().to_owned(),
        }
    }

    /// Appends the figures to `bench/records/<host>/<date>.csv`; returns the file.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn append(&self, figures: &[Figure]) -> io::Result<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("records").join(&self.host);
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}.csv", self.date));
        let is_new = !path.exists();
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        if is_new {
            writeln!(file, "date,commit,machine,command,case,count,median_ns,best_ns,allocations,excused")?;
        }
        for Figure { case, count, median_ns, best_ns, allocations, excused } in figures {
            let Setting { date, commit, machine, command, .. } = self;
            writeln!(
                file,
                "{date},{commit},\"{machine}\",\"{command}\",\"{case}\",{count},{median_ns:.2},{best_ns:.2},{allocations},{excused}"
            )?;
        }
        Ok(path)
    }
}

/// Cycles a nanosecond of the first processor, as the kernel says now; 0 where it does not.
pub fn gigahertz() -> f64 {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("cpu MHz")?.split_once(": "));
    line.and_then(|(_, megahertz)| megahertz.trim().parse::<f64>().ok()).map_or(0.0, |megahertz| megahertz / 1e3)
}

fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| !text.is_empty());
    match git(&["rev-parse", "--short", "HEAD"]) {
        Some(commit) if !commit.is_empty() => commit + if changed { "+" } else { "" },
        _ => "unknown".to_owned(),
    }
}

/// The day in UTC, from the days since 1970 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn today() -> String {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400);
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}
