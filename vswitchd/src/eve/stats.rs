//! The daemon's counters as an event: the members of Suricata's `stats` that mean the same here, and our own beside them.

use std::time::Duration;

use weir_fabric::Totals;
use weir_filter::engine::InspectionCounters;
use weir_filter::eve::{Head, head};
use weir_wire::{DropCounters, Instant};

use super::{Clocks, Line};
use crate::worker::WorkerStats;

/// What is told.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Time since the daemon's start.
    pub uptime: Duration,
    /// Packets by their fate.
    pub totals: Totals,
    /// Bytes that came in.
    pub bytes: u64,
    /// Flows in the table.
    pub flows: u64,
    /// Packets dropped, by reason.
    pub drops: DropCounters,
    /// Of inspection.
    pub inspection: InspectionCounters,
    /// Of the worker.
    pub worker: WorkerStats,
    /// Files stored, and files that were not.
    pub files: (u64, u64),
}

impl Figures {
    /// Adds what another network has counted; not what all have together.
    pub fn add(&mut self, other: &Figures) {
        self.totals.merge(&other.totals);
        self.bytes += other.bytes;
        self.flows += other.flows;
        self.drops.merge(&other.drops);
        self.inspection.stream_bytes += other.inspection.stream_bytes;
        self.inspection.alerts += other.inspection.alerts;
        self.inspection.undecided += other.inspection.undecided;
        self.inspection.overflows += other.inspection.overflows;
        self.inspection.sets_refused += other.inspection.sets_refused;
        self.inspection.files_refused += other.inspection.files_refused;
    }
}

/// Writes the event.
pub fn line(figures: &Figures, clocks: &Clocks) -> Line {
    let mut eve = String::with_capacity(1024);
    let mut json = head(&mut eve, &Head::new("stats", Instant(clocks.wall_ns)));
    json.nested("stats", |json| {
        let Figures { totals, inspection, worker, .. } = figures;
        json.number("uptime", figures.uptime.as_secs());
        json.nested("capture", |json| {
            json.number("kernel_packets", totals.received).number("kernel_drops", 0u8);
        });
        json.nested("decoder", |json| {
            json.number("pkts", totals.received).number("bytes", figures.bytes);
        });
        json.nested("flow", |json| {
            json.number("active", figures.flows);
        });
        json.nested("tcp", |json| {
            json.number("reassembly_memuse", inspection.stream_bytes);
        });
        json.nested("detect", |json| {
            json.number("alert", inspection.alerts).number("undecided", inspection.undecided);
            json.number("overflows", inspection.overflows).number("sets_refused", inspection.sets_refused);
        });
        json.nested("file_store", |json| {
            json.number("stored", figures.files.0).number("lost", figures.files.1 + inspection.files_refused);
        });
        json.nested("ips", |json| {
            json.number("accepted", totals.sent).number("blocked", totals.dropped);
            json.nested("drop_reason", |json| {
                for (reason, packets) in figures.drops.nonzero() {
                    json.number(reason.label(), packets);
                }
            });
        });
        json.nested("worker", |json| {
            json.number("turns", worker.turns).number("sleeps", worker.sleeps).number("cpu_ns", worker.cpu_ns);
            json.number("buffers", worker.buffers).number("events_lost", worker.events_lost);
        });
    });
    json.end();
    let (in_port, out_port) = (String::new(), String::new());
    Line { number: 0, kind: "stats", wall_ns: clocks.wall_ns, in_port, out_port, eve }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_told_as_readers_of_eve_know_them() {
        let figures = Figures {
            uptime: Duration::from_secs(61),
            totals: Totals { received: 10, sent: 8, dropped: 2, ..Totals::default() },
            inspection: InspectionCounters { alerts: 3, ..InspectionCounters::default() },
            ..Figures::default()
        };
        let line = line(&figures, &Clocks { monotonic: Instant::ZERO, wall_ns: 1_700_000_000_000_000_000 });
        let value: serde_json::Value = serde_json::from_str(&line.eve).expect("is JSON");
        assert_eq!((&value["event_type"], &value["stats"]["uptime"]), (&"stats".into(), &61.into()));
        assert_eq!(value["stats"]["decoder"]["pkts"], 10);
        assert_eq!((&value["stats"]["ips"]["blocked"], &value["stats"]["detect"]["alert"]), (&2.into(), &3.into()));
    }
}
