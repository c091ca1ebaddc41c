//! A change on all networks at once: those that come are made first, those that join leave their workers, ports change
//! sides, and then each network has its part.

use std::collections::{BTreeMap, BTreeSet};

use weir_wire::PortId;

use super::Controller;
use super::spread::{self, Places, Spread};
use crate::config::Config;
use crate::networks::{Networks, Regrouped};
use crate::plan::Change;
use crate::published::Snapshot;
use crate::refusal::Refusal;
use crate::state::Ids;
use crate::worker::{Applied, NETWORKS_MAX, NetworkId, Transaction};

impl Controller {
    /// Makes a change on all networks. Those that come are made first, those that join leave their workers.
    pub(super) async fn apply(
        &self,
        whole: Transaction,
        (current, changes): (&Snapshot, &[Change]),
        regrouped: &Regrouped,
        (desired, ids): (&Config, &Ids),
    ) -> Result<Applied, Refusal> {
        let (before, after) = (self.worker.membership(), regrouped.networks.membership(desired, ids));
        let staying = staying_ports(changes, current, ids);
        let places = Places { before: &before, after: &after, joined: &regrouped.joined };
        let Spread { mut parts, moving } = spread::spread(whole, &staying, places);
        for &network in &regrouped.fresh {
            self.worker.make_network(network, self.lightest_worker(&current.networks)).await?;
        }
        for &(from, into) in &regrouped.joined {
            let adopted = self.worker.take_network(from, into).await?;
            parts.entry(into).and_modify(|part| part.adopt.push(adopted));
        }
        self.worker.set_membership(after);
        // A port that goes to another network is out of one before it is in the other.
        for (port, from, to) in moving {
            let released = self.worker.release_ports(from, vec![port]).await?;
            parts.entry(to).and_modify(|part| part.add_ports.extend(released));
        }
        Ok(self.worker.apply_parts(parts).await?)
    }

    /// Threads are started once.
    pub(super) fn refuse_other_workers(&self, desired: &Config) -> Result<(), Refusal> {
        let settings = &desired.settings;
        let cpus = self.worker.cpus();
        if settings.workers.count() == self.worker.workers()
            && (settings.worker_cpus.is_empty() || settings.worker_cpus == cpus)
        {
            return Ok(());
        }
        Err(Refusal::state(
            "settings.workers, settings.worker_cpus: workers are started with the daemon; restart vswitchd with the changed \
             state",
        ))
    }

    /// Networks that are held to a worker, which no load moves.
    pub fn held(&self) -> BTreeSet<NetworkId> {
        let current = self.snapshot();
        homes(&current.config, &current.networks).unwrap_or_default().into_keys().collect()
    }

    /// Hands a network to another worker, unless a change is being made, which may want it elsewhere.
    pub async fn rebalance(&self, network: NetworkId, worker: usize) -> Result<bool, Refusal> {
        let Ok(_state) = self.state.try_lock() else { return Ok(false) };
        if self.held().contains(&network) {
            return Ok(false);
        }
        Ok(self.worker.move_network(network, worker).await?)
    }

    /// Brings the networks that are held to a worker there.
    ///
    /// # Errors
    /// Where one is held to two.
    pub(super) async fn send_home(&self, desired: &Config, networks: &Networks) -> Result<(), Refusal> {
        for (network, worker) in homes(desired, networks)? {
            if self.worker.worker_of(network) != worker {
                self.worker.move_network(network, worker).await?;
            }
        }
        Ok(())
    }

    /// Networks there may be: where there is one worker, all are one.
    pub(super) fn networks_max(&self) -> usize {
        if self.worker.workers() == 1 { 1 } else { NETWORKS_MAX }
    }

    /// The worker whose networks have the fewest ports.
    fn lightest_worker(&self, networks: &Networks) -> usize {
        let mut ports = vec![0; self.worker.workers()];
        for network in self.worker.membership().networks() {
            if let Some(count) = ports.get_mut(self.worker.worker_of(network)) {
                // A network counts also where it has no port yet.
                *count += networks.members(network).1.len() + 1;
            }
        }
        (0..ports.len()).min_by_key(|worker| ports[*worker]).unwrap_or(0)
    }
}

/// The networks that are held to a worker, and to which.
///
/// # Errors
/// Where one is held to two.
pub fn homes(config: &Config, networks: &Networks) -> Result<BTreeMap<NetworkId, usize>, Refusal> {
    let mut homes: BTreeMap<NetworkId, (usize, &String)> = BTreeMap::new();
    for (name, &worker) in &config.settings.worker_of {
        let Some(network) = networks.of_any(name) else { continue };
        let (known, other) = *homes.entry(network).or_insert((usize::from(worker), name));
        if known != usize::from(worker) {
            return Err(Refusal::state(format!(
                "settings.worker_of: {name} and {other} are one network, and cannot stay with workers {worker} and {known}; \
                 take one of them out"
            )));
        }
    }
    Ok(homes.into_iter().map(|(network, (worker, _))| (network, worker)).collect())
}

/// The ports that are taken out of their networks.
pub(super) fn removed_ports(changes: &[Change], current: &Snapshot, regrouped: &Regrouped) -> Vec<PortId> {
    let moves = |name: &str| current.networks.of_port(name) != regrouped.networks.of_port(name);
    let removed = |change: &Change| match change {
        Change::RemovePort(name) => current.ids.port(name),
        // Where it stays in its network the new attachment takes the place of the old one.
        Change::ReplacePort(name, _) if moves(name) => current.ids.port(name),
        _ => None,
    };
    changes.iter().filter_map(removed).collect()
}

/// The ports that are there before and after a change with the same attachment.
fn staying_ports(changes: &[Change], current: &Snapshot, ids: &Ids) -> Vec<PortId> {
    let replaced = |name: &str| changes.iter().any(|c| matches!(c, Change::ReplacePort(other, _) if other == name));
    let before = current.ids.ports().filter(|(name, id)| ids.port(name) == Some(*id) && !replaced(name));
    before.map(|(_, id)| id).collect()
}
