//! What the daemon does by the clock: it tells of its counters, saves the sets that rules fill, and makes the policy anew
//! where a schedule opens or closes.
//!
//! The intervals are settings, read anew each second, so that a change of the state takes effect at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};
use weir_filter::detect::sets::Sets;
use weir_wire::{DropCounters, PortId};

use crate::balance::{Balancer, Loads, shares};
use crate::commit::Controller;
use crate::eve::{self, Clocks, Feed, Figures};
use crate::worker::{Gone, View, WorkerReport};

/// How often it is looked whether something is due.
const TICK: Duration = Duration::from_secs(1);

/// Runs until the worker is gone.
pub async fn run(controller: Arc<Controller>, feed: Feed) {
    let started = Instant::now();
    let (mut told, mut saved) = (started, started);
    let mut balance = Balance::default();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        if let Err(refusal) = controller.renew().await {
            tracing::error!("the policy could not be made anew for the present time, and stays as it is: {refusal}");
        }
        let snapshot = controller.snapshot();
        let settings = &snapshot.config.settings;
        if controller.worker().workers() > 1 {
            balance.look(&controller).await;
        }
        let due =
            |last: Instant, seconds: u32| seconds > 0 && last.elapsed() >= Duration::from_secs(u64::from(seconds));
        if due(told, settings.eve.stats_s) {
            told = Instant::now();
            if settings.eve.tells("stats") && tell(&controller, &feed, started).await.is_err() {
                return;
            }
        }
        if due(saved, settings.save_sets_s) {
            saved = Instant::now();
            save(&controller).await;
        }
    }
}

/// Looks at what workers have to do, and evens it out.
#[derive(Default)]
struct Balance {
    before: Option<(Instant, Vec<WorkerReport>)>,
    balancer: Balancer,
}

impl Balance {
    async fn look(&mut self, controller: &Controller) {
        // Where a worker has ended the daemon does too.
        let Ok(after) = controller.worker().reports().await else { return };
        let now = Instant::now();
        let Some((then, before)) = self.before.replace((now, after.clone())) else { return };
        let current = controller.snapshot();
        let settings = &current.config.settings;
        if settings.inspection.cpu_budget.is_some() {
            for (network, share) in shares(&before, &after) {
                let set = controller.worker().ask_network(network, move |view| view.fabric.budget().set_share(share));
                // It may have become a part of another one.
                let _ = set.await;
            }
        }
        if !settings.rebalance {
            return;
        }
        let loads = Loads::between(&before, &after, now - then);
        let Some((network, worker)) = self.balancer.look(&loads, &controller.held()) else { return };
        match controller.rebalance(network, worker).await {
            Ok(true) => {
                let names = controller.snapshot();
                let name = names.networks.name(network).unwrap_or("(empty)");
                tracing::info!(worker, "network {name} goes to a worker that has less to do");
            }
            Ok(false) => {}
            Err(refusal) => tracing::warn!("a network cannot go to worker {worker}: {refusal}"),
        }
    }
}

async fn tell(controller: &Controller, feed: &Feed, started: Instant) -> Result<(), Gone> {
    let ids: Vec<PortId> = controller.snapshot().ids.ports().map(|(_, id)| id).collect();
    let of_networks = controller.worker().ask_all(move |view| figures(view, &ids)).await?;
    let mut figures = Figures::default();
    of_networks.iter().for_each(|more| figures.add(more));
    let figures = Figures { worker: controller.worker().stats().await?, ..figures };
    feed.tell(eve::stats_line(&Figures { uptime: started.elapsed(), files: feed.files(), ..figures }, &Clocks::now()));
    Ok(())
}

fn figures(view: &mut View<'_>, ids: &[PortId]) -> Figures {
    let (mut drops, mut bytes) = (DropCounters::default(), 0);
    for &id in ids {
        let (port, _) = view.ports.counters(id).unwrap_or_default();
        bytes += port.rx_bytes;
        drops.merge(&port.rx_dropped);
        drops.merge(&port.tx_dropped);
        if let Some(fabric) = view.fabric.counters(id) {
            drops.merge(&fabric.dropped);
        }
    }
    let engine = view.fabric.engine();
    Figures {
        files: (0, 0),
        uptime: Duration::ZERO,
        totals: view.fabric.totals(),
        bytes,
        flows: engine.flow_count() as u64,
        drops,
        inspection: engine.inspection(),
        worker: Default::default(),
    }
}

/// Saves the sets that rules have asked to be saved; what fails is told and tried again the next time.
pub async fn save(controller: &Controller) {
    let snapshot = controller.snapshot();
    if !snapshot.policy.programs().iter().any(|(_, program)| program.sets().are_saved()) {
        return;
    }
    // What files hold is shared: only what rules have changed is copied while traffic waits.
    let Ok(sets) = controller.worker().ask_all(|view| view.fabric.engine().sets().clone()).await else { return };
    if let Err(error) = tokio::task::spawn_blocking(move || write(&sets)).await {
        tracing::error!("the sets could not be saved: {error}; please report this");
    }
}

/// Each network has its own values: a file has those of all of them.
fn write(sets: &[Sets]) {
    let mut files: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in sets.iter().flat_map(Sets::saves) {
        files.entry(path).or_default().extend(text.lines().map(str::to_owned));
    }
    for (path, lines) in files {
        let text: String = lines.into_iter().flat_map(|line| [line, "\n".to_owned()]).collect();
        if let Err(error) = replace(Path::new(path), &text) {
            tracing::error!("{path}: the set cannot be saved: {error}");
        }
    }
}

/// Puts a file in place whole: who reads it meanwhile sees the old one or the new one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    fs::write(&name, text)?;
    fs::rename(&name, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_set_is_replaced_whole() {
        let folder = std::env::temp_dir().join(format!("weir-keeper-{}", std::process::id()));
        let path = folder.join("deep/seen.lst");
        replace(&path, "one\n").expect("written");
        replace(&path, "two\n").expect("written");
        assert_eq!(fs::read_to_string(&path).expect("there"), "two\n");
        assert_eq!(fs::read_dir(path.parent().expect("has one")).expect("there").count(), 1);
        fs::remove_dir_all(&folder).expect("removed");
    }
}
