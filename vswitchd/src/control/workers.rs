//! `weir.v1.Workers`.

use std::time::{Duration, Instant};

use tonic::{Request, Response, Status};
use weir_proto::v1;
use weir_proto::v1::workers_server::Workers;

use super::Service;
use crate::balance::Loads;
use crate::commit::{Terms, homes};
use crate::published::Snapshot;
use crate::refusal::Refusal;
use crate::worker::{NetworkId, NetworkReport, WorkerReport};

/// For how long workers are looked at where nobody says.
const LOOK_MS: u32 = 500;
/// For how long at most.
const LOOK_MS_MAX: u32 = 10_000;

#[tonic::async_trait]
impl Workers for Service {
    async fn show(
        &self,
        request: Request<v1::ShowWorkersRequest>,
    ) -> Result<Response<v1::ShowWorkersResponse>, Status> {
        let look_ms = match request.into_inner().look_ms {
            0 => LOOK_MS,
            ms if ms <= LOOK_MS_MAX => ms,
            ms => return Err(Refusal::invalid(format!("look_ms = {ms} is above {LOOK_MS_MAX}")).into()),
        };
        let begun = Instant::now();
        let before = self.controller.worker().reports().await.map_err(Refusal::from)?;
        tokio::time::sleep(Duration::from_millis(u64::from(look_ms))).await;
        let after = self.controller.worker().reports().await.map_err(Refusal::from)?;
        let look = Look { before, after, time: begun.elapsed() };
        let snapshot = self.controller.snapshot();
        let cpus = self.controller.worker().cpus();
        let workers = (0..look.after.len()).map(|worker| look.worker(worker, cpus, &snapshot)).collect();
        Ok(Response::new(v1::ShowWorkersResponse { workers, rebalance: snapshot.config.settings.rebalance }))
    }

    async fn r#move(&self, request: Request<v1::MoveNetworkRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::MoveNetworkRequest { network: name, worker } = request.into_inner();
        let snapshot = self.controller.snapshot();
        let network = named(&snapshot, &name)?;
        let workers = self.controller.worker().workers();
        let worker = worker.map(|worker| u16::try_from(worker).unwrap_or(u16::MAX));
        if let Some(worker) = worker.filter(|worker| usize::from(*worker) >= workers) {
            let message = format!(
                "worker {worker}: there are {workers}, numbered from 0; settings.workers says how many the daemon starts with"
            );
            return Err(Refusal::invalid(message).into());
        }
        let of = snapshot.networks.name(network).unwrap_or(&name).to_owned();
        let networks = snapshot.networks.clone();
        let outcome = self.controller.change(Terms::default(), move |config| {
            // Whatever held the network before does so no more.
            config.settings.worker_of.retain(|name, _| networks.of_any(name) != Some(network));
            config.settings.worker_of.extend(worker.map(|worker| (of, worker)));
            Ok(())
        });
        let outcome = outcome.await?;
        Ok(Response::new(outcome.into()))
    }
}

/// The network that something of this name is in.
fn named(snapshot: &Snapshot, name: &str) -> Result<NetworkId, Refusal> {
    let names = || snapshot.ids.switches().map(|(name, _)| name).chain(snapshot.ids.appliances().map(|(name, _)| name));
    snapshot.networks.of_any(name).ok_or_else(|| Refusal::not_found("network", name, names()))
}

/// Workers at the beginning and at the end of a moment.
struct Look {
    before: Vec<WorkerReport>,
    after: Vec<WorkerReport>,
    time: Duration,
}

impl Look {
    fn rate(&self, before: u64, after: u64) -> u64 {
        let ms = u64::try_from(self.time.as_millis()).unwrap_or(u64::MAX).max(1);
        after.saturating_sub(before).saturating_mul(1000) / ms
    }

    fn worker(&self, worker: usize, cpus: &[usize], snapshot: &Snapshot) -> v1::WorkerStatus {
        let loads = Loads::between(&self.before, &self.after, self.time);
        let now = self.after.get(worker).cloned().unwrap_or_default();
        let then = self.before.get(worker).map(|report| report.stats).unwrap_or_default();
        let held = homes(&snapshot.config, &snapshot.networks).unwrap_or_default();
        let known = |id: NetworkId| self.before.iter().flat_map(|report| &report.networks).find(|n| n.id == id);
        let network = |network: &NetworkReport| {
            let (members, ports) = snapshot.networks.members(network.id);
            let packets = known(network.id).map_or(0, |before| before.stats.packets);
            let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
            v1::NetworkStatus {
                name: members.first().map_or_else(String::new, |name| (*name).to_owned()),
                id: u32::from(network.id.0),
                load: loads.networks.get(&network.id).map_or(0, |(_, load)| *load as u32),
                packets_per_s: self.rate(packets, network.stats.packets),
                flows: network.flows as u64,
                held: held.contains_key(&network.id),
                members: owned(members),
                ports: owned(ports),
            }
        };
        let per_s = |before: u64, after: u64| self.rate(before, after);
        // Networks that come or go take their packets along.
        let networks: Vec<v1::NetworkStatus> = now.networks.iter().map(network).collect();
        v1::WorkerStatus {
            worker: worker as u32,
            cpu: cpus.get(worker).map(|cpu| *cpu as u32),
            load: loads.workers.get(worker).map_or(0, |load| *load as u32),
            packets_per_s: networks.iter().map(|network| network.packets_per_s).sum(),
            sleeps_per_s: per_s(then.sleeps, now.stats.sleeps),
            packets: now.stats.packets,
            turns: now.stats.turns,
            empty_turns: now.stats.empty_turns,
            sleeps: now.stats.sleeps,
            cpu_ns: now.stats.cpu_ns,
            busy_ns: now.stats.busy_ns,
            // What has nothing is nobody's business.
            networks: networks.into_iter().filter(|network| !network.name.is_empty()).collect(),
        }
    }
}
