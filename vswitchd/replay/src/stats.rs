//! Figures of a run: processor time and peak memory as the kernel tells them.

use std::fs;

use weir_filter::capture::Counters;

/// What a run took.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Seconds of processor time for the captures.
    pub cpu: f64,
    /// Seconds to read and compile the rules.
    pub load: f64,
    /// Rules in use.
    pub rules: usize,
    /// How often the capture was inspected.
    pub rounds: u64,
    /// What was counted in the last round.
    pub counters: Counters,
}

/// Processor time of this process so far, in seconds.
pub fn cpu_seconds() -> f64 {
    // On CPU time in nanoseconds is the first number (Documentation/scheduler/sched-stats.rst).
    let text = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

/// Most memory that was resident, in KiB.
fn peak_kib() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Prints them in one line.
pub fn print(figures: &Figures) {
    let Figures { cpu, load, rules, rounds, counters } = figures;
    let (packets, bytes) = (counters.packets * rounds, counters.bytes * rounds);
    println!(
        "stats: cpu_s={cpu:.3} packets={packets} bytes={bytes} flows={} alerts={} dropped={} gbit_s={:.3} mpps={:.3} \
         peak_kib={} load_s={load:.3} rules={rules}",
        counters.flows,
        counters.alerts,
        counters.dropped,
        bytes as f64 * 8.0 / cpu / 1e9,
        packets as f64 / cpu / 1e6,
        peak_kib(),
    );
}
