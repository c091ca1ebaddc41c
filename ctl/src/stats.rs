//! `vswitchctl stats`.

use std::collections::HashMap;

use clap::Args;
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::{Table, bytes, count, duration_ms, print, print_json};

/// Counters of ports, drops and the worker.
#[derive(Args)]
pub struct Stats {
    /// Go on, with rates, until interrupted.
    #[arg(long, short)]
    watch: bool,
    /// Milliseconds between two looks.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(100..=3_600_000))]
    interval: u32,
}

/// Runs the command.
pub async fn run(stats: Stats, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.stats().await?;
    if !stats.watch {
        let snapshot = client.get(v1::GetStatsRequest {}).await?.into_inner();
        return match format {
            Format::Json => print_json(&snapshot),
            Format::Table => print(&text(&snapshot)),
        };
    }
    let mut stream = client.watch(v1::WatchStatsRequest { interval_ms: stats.interval }).await?.into_inner();
    let mut before: Option<v1::StatsSnapshot> = None;
    while let Some(snapshot) = stream.message().await? {
        match (format, &before) {
            (Format::Json, _) => {
                let line = serde_json::to_string(&snapshot).map_err(|e| Failure::refused(e.to_string()))?;
                print(&format!("{line}\n"))?;
            }
            (Format::Table, Some(before)) => print(&rates(before, &snapshot))?,
            (Format::Table, None) => {}
        }
        before = Some(snapshot);
    }
    Ok(())
}

fn sum(counts: &[v1::Count]) -> u64 {
    counts.iter().map(|c| c.count).sum()
}

fn all_drops(counters: &v1::PortCounters) -> u64 {
    sum(&counters.rx_dropped) + sum(&counters.dropped) + sum(&counters.tx_dropped)
}

fn text(snapshot: &v1::StatsSnapshot) -> String {
    let worker = snapshot.worker.unwrap_or_default();
    let totals = snapshot.totals.unwrap_or_default();
    let mut text = format!(
        "vswitchd {}, up {}, revision {}, epoch {}\n\
         flows {}, packets held {}, buffers in use {}, events {} ({} lost)\n\
         worker: {} packets in {} turns, {} sleeps, {} of CPU time\n\
         changes {}; packets waited {} µs for the last, {} µs at most for anything asked\n\
         received {} + originated {} + copied {} = sent {} + delivered {} + held {} + merged {} + dropped {}\n\n",
        snapshot.version,
        duration_ms(snapshot.uptime_ns / 1_000_000),
        snapshot.revision,
        snapshot.epoch,
        snapshot.flows,
        snapshot.fragments_held,
        worker.buffers,
        snapshot.events_written,
        snapshot.events_lost,
        count(worker.packets),
        count(worker.turns),
        count(worker.sleeps),
        duration_ms(worker.cpu_ns / 1_000_000),
        worker.changes,
        worker.change_ns / 1_000,
        worker.longest_pause_ns / 1_000,
        totals.received,
        totals.originated,
        totals.copied,
        totals.sent,
        totals.delivered,
        totals.held,
        totals.merged,
        totals.dropped,
    );
    let mut table = Table::new(&["PORT", "LINK", ">RX", ">RX BYTES", ">TX", ">TX BYTES", ">DROPS"]);
    for port in &snapshot.ports {
        let counters = port.counters.clone().unwrap_or_default();
        table.row(vec![
            port.name.clone(),
            if port.link { "up" } else { "down" }.into(),
            count(counters.rx_packets),
            bytes(counters.rx_bytes),
            count(counters.tx_packets),
            bytes(counters.tx_bytes),
            count(all_drops(&counters)),
        ]);
    }
    if !table.is_empty() {
        text += &table.text();
    }
    if !snapshot.drops.is_empty() {
        let mut drops = Table::new(&[">DROPS", "REASON", "MEANING"]);
        for drop in &snapshot.drops {
            drops.row(vec![drop.count.to_string(), drop.name.clone(), drop.meaning.clone()]);
        }
        text += &format!("\n{}", drops.text());
    }
    text
}

/// What happened between two looks, a second.
fn rates(before: &v1::StatsSnapshot, after: &v1::StatsSnapshot) -> String {
    let elapsed_ns = after.monotonic_ns.saturating_sub(before.monotonic_ns).max(1);
    let rate = |a: u64, b: u64| {
        let change = u128::from(b.saturating_sub(a)) * 1_000_000_000 / u128::from(elapsed_ns);
        u64::try_from(change).unwrap_or(u64::MAX)
    };
    let old: HashMap<&str, &v1::PortCounters> =
        before.ports.iter().filter_map(|p| Some((p.name.as_str(), p.counters.as_ref()?))).collect();
    let mut table = Table::new(&["PORT", "LINK", ">RX /S", ">RX BIT/S", ">TX /S", ">TX BIT/S", ">DROPS /S"]);
    let none = v1::PortCounters::default();
    for port in &after.ports {
        let new = port.counters.clone().unwrap_or_default();
        let old = old.get(port.name.as_str()).copied().unwrap_or(&none);
        table.row(vec![
            port.name.clone(),
            if port.link { "up" } else { "down" }.into(),
            count(rate(old.rx_packets, new.rx_packets)),
            count(rate(old.rx_bytes, new.rx_bytes).saturating_mul(8)),
            count(rate(old.tx_packets, new.tx_packets)),
            count(rate(old.tx_bytes, new.tx_bytes).saturating_mul(8)),
            count(rate(all_drops(old), all_drops(&new))),
        ]);
    }
    let cpu = |s: &v1::StatsSnapshot| s.worker.map_or(0, |w| w.cpu_ns);
    // Nanoseconds of work a second, in thousandths of a core.
    let per_mille = rate(cpu(before), cpu(after)) / 1_000_000;
    format!("{}flows {}, worker {}.{} % of a core\n\n", table.text(), after.flows, per_mille / 10, per_mille % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(ns: u64, rx: u64) -> v1::StatsSnapshot {
        let counters = v1::PortCounters { rx_packets: rx, rx_bytes: rx * 100, ..Default::default() };
        v1::StatsSnapshot {
            monotonic_ns: ns,
            ports: vec![v1::PortStats { name: "vm1".into(), link: true, counters: Some(counters) }],
            worker: Some(v1::WorkerStats { cpu_ns: ns / 4, ..Default::default() }),
            ..Default::default()
        }
    }

    #[test]
    fn rates_are_a_second_whatever_the_interval() {
        let text = rates(&snapshot(0, 10), &snapshot(500_000_000, 1010));
        let line = text.lines().nth(1).expect("a port");
        assert_eq!(line.split_whitespace().collect::<Vec<_>>()[..5], ["vm1", "up", "2.00", "k", "1.60"]);
        assert!(text.contains("worker 25.0 % of a core"), "{text}");
    }
}
