//! One change of the state as one transaction: check, compile, open, apply, publish.
//!
//! Whatever fails on the way, everything opened for it is closed and nothing has changed: the worker hears of a change
//! only when nothing of it can fail any more.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use weir_fabric::Step;
use weir_filter::Policy;
use weir_ports::{Port, clock};
use weir_wire::{Epoch, PortId};

use crate::config::{self, Config, Limits};
use crate::content;
use crate::mirror::Outlets;
use crate::open::Opener;
use crate::plan::{Change, plan};
use crate::published::{Board, Names, Snapshot};
use crate::reach;
use crate::refusal::Refusal;
use crate::rule_sets::{Cache, Loaded};
use crate::services::Services;
use crate::state::{self, Facts, Ids};
use crate::store::Store;
use crate::virus;
use crate::wall_clock::host_clock;
use crate::worker::{Handle, Transaction};

mod networks;
mod renew;
mod shadow;
mod spread;

pub use networks::homes;
use networks::removed_ports;
pub use renew::WallClock;
use renew::compile;

/// How long hosts that are watched have for an answer, the pause between two questions, and how many they may miss.
const WATCH_EVERY: Duration = Duration::from_millis(700);
const WATCH_PAUSE: Duration = Duration::from_millis(300);
const WATCH_MISSES: u32 = 3;

/// The one place where the state changes.
pub struct Controller {
    worker: Handle,
    board: Board,
    opener: Box<dyn Opener>,
    /// What mirrors write to.
    outlets: Outlets,
    /// What the worker was started with.
    limits: Limits,
    services: Services,
    clock: WallClock,
    state: Mutex<State>,
}

/// What belongs to the change that is being made; its lock makes changes come one after the other.
struct State {
    rule_sets: Cache,
    store: Option<Store>,
    epoch: Epoch,
    trial: Option<Trial>,
    /// The candidate as it was compiled last.
    shadow: Option<Arc<Policy>>,
    /// What the policy that runs was compiled for.
    facts: Facts,
}

/// What a change led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The policy that runs.
    pub epoch: u64,
    /// The state's number.
    pub revision: u64,
    /// What was changed, in order.
    pub changes: Vec<String>,
    /// What deserves a look.
    pub warnings: Vec<String>,
}

/// How a change is to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Check it, compile it, say what would change; make nothing.
    pub dry_run: bool,
    /// Refuse where the state has another number by now; 0: any.
    pub if_revision: u64,
    /// Undo it unless it is confirmed within this time.
    pub trial: Option<Duration>,
}

/// A state that is undone unless it is confirmed. Until then no other change is made, and it is not stored, so that a
/// restart undoes it too.
struct Trial {
    revision: u64,
    before: Config,
}

/// Ports that were opened for a change, which dropping closes.
type Opened = Vec<(PortId, Box<dyn Port>)>;

/// A change that is checked and compiled and cannot be refused any more but for its ports.
struct Prepared {
    desired: Config,
    ids: Ids,
    changes: Vec<Change>,
    policy: Arc<Policy>,
    rule_sets: Vec<(String, Arc<Loaded>)>,
    content: content::Files,
    virus: virus::Loaded,
    warnings: Vec<String>,
    facts: Facts,
}

impl Controller {
    /// A controller of a worker with an empty fabric, which was started with `limits`. `store` keeps the state over
    /// restarts.
    pub fn new(
        worker: Handle,
        board: Board,
        opener: Box<dyn Opener>,
        store: Option<Store>,
        limits: Limits,
    ) -> Controller {
        let facts = Facts::default();
        let state = State { rule_sets: Cache::default(), store, epoch: Epoch(0), trial: None, shadow: None, facts };
        Controller {
            worker,
            board,
            opener,
            outlets: Outlets::default(),
            limits,
            services: Services::default(),
            clock: host_clock(),
            state: Mutex::new(state),
        }
    }

    /// The same with these services of routers.
    #[must_use]
    pub fn serving(self, services: Services) -> Controller {
        Controller { services, ..self }
    }

    /// The same with this clock in place of the host's.
    #[must_use]
    pub fn by_clock(self, clock: WallClock) -> Controller {
        Controller { clock, ..self }
    }

    /// The services of routers.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// What mirrors write to; the thread that writes needs it.
    pub fn outlets(&self) -> &Outlets {
        &self.outlets
    }

    /// The worker.
    pub fn worker(&self) -> &Handle {
        &self.worker
    }

    /// The state that runs.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.board.read()
    }

    /// The states that ran, with their names.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Makes the state what `edit` makes of it.
    ///
    /// # Errors
    /// What `edit` refuses, or the reason why the state it asks for cannot be; nothing has changed then.
    pub async fn change(
        self: &Arc<Controller>,
        terms: Terms,
        edit: impl FnOnce(&mut Config) -> Result<(), Refusal> + Send + 'static,
    ) -> Result<Outcome, Refusal> {
        // A caller that goes away must not leave a change half made: the transaction is a task of its own.
        let controller = Arc::clone(self);
        let task = tokio::spawn(async move { controller.transact(terms, edit).await });
        task.await.map_err(|e| Refusal::internal(format!("the transaction failed: {e}; please report this")))?
    }

    /// Keeps a state that was on trial.
    ///
    /// # Errors
    /// Where none is, or another one.
    pub async fn confirm(self: &Arc<Controller>, revision: u64) -> Result<Outcome, Refusal> {
        let mut state = self.state.lock().await;
        let current = self.board.read();
        match &state.trial {
            Some(trial) if revision == 0 || trial.revision == revision => {}
            Some(trial) => {
                return Err(Refusal::state(format!("revision {} is on trial, not {revision}", trial.revision)));
            }
            None => return Err(Refusal::state("no state is on trial; it may have been undone already")),
        }
        if let Some(store) = &state.store {
            store.save(&current.config)?;
        }
        state.trial = None;
        tracing::info!(revision = current.revision, "the state on trial is kept");
        Ok(Outcome { epoch: current.epoch.0, revision: current.revision, ..Outcome::default() })
    }

    async fn transact(
        self: &Arc<Controller>,
        terms: Terms,
        edit: impl FnOnce(&mut Config) -> Result<(), Refusal>,
    ) -> Result<Outcome, Refusal> {
        let mut state = self.state.lock().await;
        let current = self.board.read();
        if let Some(trial) = &state.trial {
            return Err(Refusal::state(format!(
                "revision {} is on trial; confirm it first (vswitchctl confirm) or wait until it is undone",
                trial.revision
            )));
        }
        if terms.if_revision != 0 && terms.if_revision != current.revision {
            return Err(Refusal::state(format!(
                "the state has revision {} by now, not {}; look at it again (vswitchctl show --config)",
                current.revision, terms.if_revision
            )));
        }
        let mut desired = current.config.clone();
        edit(&mut desired)?;
        if let Some(within) = terms.trial.filter(|_| !terms.dry_run) {
            let before = current.config.clone();
            state.trial = Some(Trial { revision: current.revision + 1, before });
            let outcome = self.make(&mut state, &current, desired, terms).await;
            match &outcome {
                Ok(outcome) if !outcome.changes.is_empty() => self.undo_later(outcome.revision, within),
                Ok(_) | Err(_) => state.trial = None,
            }
            return outcome;
        }
        self.make(&mut state, &current, desired, terms).await
    }

    /// Undoes the state on trial when its time is over, if it is still the one.
    fn undo_later(self: &Arc<Controller>, revision: u64, within: Duration) {
        let controller = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(within).await;
            controller.undo(revision, "it was not confirmed").await;
        });
    }

    async fn undo(&self, revision: u64, why: &str) {
        let mut state = self.state.lock().await;
        let Some(trial) = state.trial.take_if(|trial| trial.revision == revision) else { return };
        tracing::warn!(revision, "the state on trial is undone: {why}");
        let current = self.board.read();
        if let Err(refusal) = self.make(&mut state, &current, trial.before, Terms::default()).await {
            tracing::error!("the state on trial cannot be undone and stays: {refusal}");
        }
    }

    /// Undoes the state on trial as soon as one of `hosts`, which answered before, does not answer pings from `netns`
    /// any more.
    pub fn watch_over(self: &Arc<Controller>, revision: u64, hosts: Vec<IpAddr>, netns: Option<String>) {
        let controller = Arc::clone(self);
        tokio::spawn(async move {
            let mut missed = vec![0; hosts.len()];
            while controller.is_on_trial(revision).await {
                let (asked, netns) = (hosts.clone(), netns.clone());
                let answers = move || reach::answering(&asked, netns.as_deref(), WATCH_EVERY);
                let answered = match tokio::task::spawn_blocking(answers).await {
                    Ok(Ok(answered)) => answered,
                    Ok(Err(_)) | Err(_) => Vec::new(),
                };
                for (host, missed) in hosts.iter().zip(&mut missed) {
                    *missed = if answered.contains(host) { 0 } else { *missed + 1 };
                    if *missed >= WATCH_MISSES {
                        return controller.undo(revision, &format!("{host} does not answer any more")).await;
                    }
                }
                tokio::time::sleep(WATCH_PAUSE).await;
            }
        });
    }

    async fn is_on_trial(&self, revision: u64) -> bool {
        self.state.lock().await.trial.as_ref().is_some_and(|trial| trial.revision == revision)
    }

    async fn make(
        &self,
        state: &mut State,
        current: &Snapshot,
        desired: Config,
        terms: Terms,
    ) -> Result<Outcome, Refusal> {
        if desired.settings.limits != self.limits {
            return Err(Refusal::state(
                "settings.limits: the tables have their size from the start of the daemon; restart vswitchd with the changed \
                 state",
            ));
        }
        self.refuse_other_workers(&desired)?;
        let mut desired = desired;
        let unfit = shadow::leave_behind(current, &mut desired);
        let facts = self.facts(&desired);
        let mut prepared = prepare(state, current, desired, facts, &self.worker).await?;
        prepared.warnings.extend(unfit);
        let candidate = shadow::candidate(current, &mut prepared).await?;
        let mut outcome = Outcome {
            epoch: current.epoch.0,
            revision: current.revision,
            changes: prepared.changes.iter().map(ToString::to_string).collect(),
            warnings: prepared.warnings.clone(),
        };
        if terms.dry_run || prepared.changes.is_empty() {
            return Ok(outcome);
        }
        outcome.revision += 1;
        outcome.epoch = self.commit(state, current, prepared, &outcome.warnings).await?;
        self.set_shadow(state, current, candidate).await?;
        Ok(outcome)
    }

    /// Opens, stores, applies, publishes. Returns the epoch.
    async fn commit(
        &self,
        state: &mut State,
        current: &Snapshot,
        prepared: Prepared,
        warnings: &[String],
    ) -> Result<u64, Refusal> {
        let Prepared { desired, ids, changes, policy, rule_sets, content, virus, facts, .. } = prepared;
        // From here on an early return drops what was opened, which closes it.
        let add_ports = self.open_ports(&changes, &desired, &ids)?;
        let regrouped = current.networks.after(&desired, self.networks_max());
        homes(&desired, &regrouped.networks)?;
        let remove_ports = removed_ports(&changes, current, &regrouped);
        let outlets = self.outlets.open(&desired)?;
        let mut steps = state::steps(&changes, &desired, &current.ids, &ids);
        if !(desired.mirrors.is_empty() && current.config.mirrors.is_empty()) {
            // What they look at may have changed with any port.
            steps.push(Step::SetMirrors(state::mirrors(&desired, &ids, &outlets)));
        }
        if let Some(store) = state.store.as_ref().filter(|_| state.trial.is_none()) {
            store.save(&desired)?;
        }
        let names = Arc::new(Names::of(&desired, &ids, policy.epoch(), clock::monotonic()));
        self.board.announce(Arc::clone(&names));
        let carriages = state::carriages(&desired, &ids);
        let wires = state::wires(&desired, &ids);
        let no_gro = state::no_gro(&desired, &ids);
        let whole = Transaction::of(Arc::clone(&policy));
        let whole = Transaction { steps, add_ports, remove_ports, carriages, wires, no_gro, ..whole };
        let applied = self.apply(whole, (current, &changes), &regrouped, (&desired, &ids)).await?;
        self.send_home(&desired, &regrouped.networks).await?;
        self.outlets.keep(&outlets);
        state.epoch = applied.epoch;
        state.facts = facts;
        let revision = current.revision + u64::from(!changes.is_empty());
        let (config, epoch) = (desired, applied.epoch);
        let networks = regrouped.networks;
        self.board.publish(Snapshot {
            config,
            ids,
            revision,
            epoch,
            policy,
            rule_sets,
            content,
            virus,
            names,
            networks,
        });
        for change in &changes {
            tracing::info!(revision, epoch = applied.epoch.0, "{change}");
        }
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        // Closing ports and freeing a large policy takes time that the worker should not give. The caller waits for the
        // ports, so that what they held is free when the answer comes.
        let (removed, old) = (applied.removed, (applied.old_policies, applied.old_tables));
        let closed = tokio::task::spawn_blocking(move || drop(removed)).await;
        tokio::task::spawn_blocking(move || drop(old));
        if let Err(error) = closed {
            tracing::error!("a port could not be closed: {error}; please report this");
        }
        Ok(applied.epoch.0)
    }

    fn open_ports(&self, changes: &[Change], desired: &Config, ids: &Ids) -> Result<Opened, Refusal> {
        let mut opened = Vec::new();
        for change in changes {
            let (Change::AddPort(name) | Change::ReplacePort(name, _)) = change else { continue };
            let (Some(id), Some(port)) = (ids.port(name), desired.port(name)) else { continue };
            opened.push((id, self.opener.open(port)?));
        }
        Ok(opened)
    }
}

async fn prepare(
    state: &mut State,
    current: &Snapshot,
    desired: Config,
    facts: Facts,
    worker: &Handle,
) -> Result<Prepared, Refusal> {
    desired.check().map_err(|problems| Refusal::invalid(problems.join("\n")))?;
    let mut changes = plan(&current.config, &desired);
    refuse_held(current, &desired, &changes)?;
    let ids = current.ids.after(&desired);
    let mut warnings = Vec::new();
    let mut rule_sets = Vec::new();
    for set in &desired.rule_sets {
        let loaded = state.rule_sets.load(set).await?;
        warnings.extend(loaded.warning(&set.name));
        // The files of a set can change while its settings stay.
        let before = current.rule_sets.iter().find(|(name, _)| *name == set.name);
        if before.is_some_and(|(_, old)| old.digest != loaded.digest) && current.config.rule_set(&set.name) == Some(set)
        {
            changes.push(Change::ReloadRuleSet(set.name.clone()));
        }
        rule_sets.push((set.name.clone(), loaded));
    }
    state.rule_sets.retain(&rule_sets);
    let lists = content::load(&desired.content, &current.content).await?;
    for (name, loaded) in &lists.lists {
        warnings.extend(loaded.warning(name));
        let before = current.content.lists.iter().find(|(known, _)| known == name);
        let same_files = current.config.content.lists == desired.content.lists;
        if same_files && before.is_some_and(|(_, old)| old.digest != loaded.digest) {
            changes.push(Change::ReloadContent(name.clone()));
        }
    }
    let signatures =
        virus::load(&desired.virus, &current.virus).await?.asking(&desired.virus, &current.virus, worker)?;
    warnings.extend(signatures.warning());
    if current.config.virus == desired.virus && signatures.digest != current.virus.digest {
        changes.push(Change::ReloadVirus);
    }
    let epoch = Epoch(state.epoch.0 + 1);
    let policy = compile(&desired, &ids, &facts, (&rule_sets, &lists, &signatures), &current.policy, epoch).await?;
    Ok(Prepared { desired, ids, changes, policy, rule_sets, content: lists, virus: signatures, warnings, facts })
}

/// Attachments that somebody else holds cannot be opened.
fn refuse_held(current: &Snapshot, desired: &Config, changes: &[Change]) -> Result<(), Refusal> {
    let resource = |port: &config::Port| port.attachment().ok()?.resource();
    let held: HashMap<String, &str> =
        current.config.ports.iter().filter_map(|p| Some((resource(p)?, p.name.as_str()))).collect();
    for change in changes {
        let (Change::AddPort(name) | Change::ReplacePort(name, _)) = change else { continue };
        let Some(wanted) = desired.port(name).and_then(resource) else { continue };
        let holder = held.get(&wanted);
        if let Some(holder) = holder {
            return Err(Refusal::state(format!(
                "port {name}: {wanted} is held by port {}, and cannot be opened twice; delete that port first, then \
                 try again",
                holder
            )));
        }
    }
    Ok(())
}
