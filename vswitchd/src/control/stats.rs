//! `weir.v1.Stats`.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::IntervalStream;
use tonic::{Request, Response, Status};
use weir_fabric::Totals;
use weir_proto::v1;
use weir_proto::v1::stats_server::Stats;
use weir_wire::{DropCounters, PortId};

use super::convert::drops;
use super::ports::{all_drops, counted, counters};
use super::{Answers, Service};
use crate::eve::Clocks;
use crate::refusal::Refusal;

/// Milliseconds between two snapshots of a stream.
const INTERVAL_MS: std::ops::RangeInclusive<u32> = 100..=3_600_000;

#[tonic::async_trait]
impl Stats for Service {
    async fn get(&self, _: Request<v1::GetStatsRequest>) -> Result<Response<v1::StatsSnapshot>, Status> {
        Ok(Response::new(self.measure().await?))
    }

    type WatchStream = Answers<v1::StatsSnapshot>;

    async fn watch(&self, request: Request<v1::WatchStatsRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let asked = match request.into_inner().interval_ms {
            0 => 1000,
            ms if INTERVAL_MS.contains(&ms) => ms,
            ms => {
                return Err(Refusal::invalid(format!("interval_ms = {ms} is outside 100 to 3600000")).into());
            }
        };
        let mut ticks = interval(Duration::from_millis(u64::from(asked)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let service = self.clone();
        let snapshots = IntervalStream::new(ticks).then(move |_| {
            let service = service.clone();
            async move { service.measure().await.ok() }
        });
        // No answer from the worker means that the daemon is on its way down.
        Ok(Response::new(self.until_stopped(snapshots.map_while(|snapshot| snapshot))))
    }
}

impl Service {
    async fn measure(&self) -> Result<v1::StatsSnapshot, Refusal> {
        let snapshot = self.controller.snapshot();
        let ids: Vec<PortId> = snapshot.ids.ports().map(|(_, id)| id).collect();
        let membership = self.controller.worker().membership();
        let asked = self.controller.worker().ask_all(move |view| {
            // Ports and totals of a network are of one moment.
            let here = ids.iter().enumerate().filter(|(_, id)| membership.of(**id) == view.network);
            let ports: Vec<_> = here.map(|(place, &id)| (place, counted(view, id))).collect();
            let engine = view.fabric.engine();
            (ports, engine.flow_count() as u64, view.fabric.totals())
        });
        let (mut ports, mut flows, mut totals) = (Vec::new(), 0, Totals::default());
        for (here, count, of_network) in asked.await? {
            ports.extend(here);
            flows += count;
            totals.merge(&of_network);
        }
        ports.sort_unstable_by_key(|(place, _)| *place);
        let ports: Vec<_> = ports.into_iter().map(|(_, counted)| counted).collect();
        let worker = self.controller.worker().stats().await?;
        let mut dropped = DropCounters::default();
        ports.iter().for_each(|counted| dropped.merge(&all_drops(counted)));
        let clocks = Clocks::now();
        let (events_written, unwritten) = self.feed.counters();
        Ok(v1::StatsSnapshot {
            monotonic_ns: clocks.monotonic.0,
            wall_ns: clocks.wall_ns,
            uptime_ns: u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX),
            version: env!("CARGO_PKG_VERSION").into(),
            epoch: worker.epoch,
            revision: snapshot.revision,
            ports: snapshot
                .ids
                .ports()
                .zip(&ports)
                .map(|((name, _), counted)| v1::PortStats {
                    name: name.to_owned(),
                    link: counted.link,
                    counters: Some(counters(counted)),
                })
                .collect(),
            worker: Some(v1::WorkerStats {
                changes: worker.changes,
                change_ns: worker.change_ns,
                longest_pause_ns: worker.longest_pause_ns,
                turns: worker.turns,
                empty_turns: worker.empty_turns,
                packets: worker.packets,
                sleeps: worker.sleeps,
                cpu_ns: worker.cpu_ns,
                events_lost: worker.events_lost,
                buffers: worker.buffers,
            }),
            flows,
            fragments_held: totals.held,
            totals: Some(v1::Totals {
                received: totals.received,
                originated: totals.originated,
                copied: totals.copied,
                sent: totals.sent,
                held: totals.held,
                merged: totals.merged,
                dropped: totals.dropped,
                delivered: totals.delivered,
            }),
            drops: drops(&dropped),
            events_written,
            events_lost: worker.events_lost + unwritten,
        })
    }
}
