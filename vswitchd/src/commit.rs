//! One change of the state as one transaction: check, compile, open, apply, publish.
//!
//! Whatever fails on the way, everything opened for it is closed and nothing has changed: the worker hears of a change
//! only when nothing of it can fail any more.

use std::sync::Arc;

use tokio::sync::Mutex;
use weir_filter::Policy;
use weir_ports::Port;
use weir_wire::{Epoch, PortId};

use crate::config::Config;
use crate::open::Opener;
use crate::plan::{Change, plan};
use crate::published::{Board, Snapshot};
use crate::refusal::Refusal;
use crate::rule_sets::{Cache, Loaded};
use crate::state::{self, Ids};
use crate::store::Store;
use crate::worker::{Handle, Transaction};

/// The one place where the state changes.
pub struct Controller {
    worker: Handle,
    board: Board,
    opener: Box<dyn Opener>,
    state: Mutex<State>,
}

/// What belongs to the change that is being made; its lock makes changes come one after the other.
struct State {
    rule_sets: Cache,
    store: Option<Store>,
    epoch: Epoch,
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

/// Whether a change is made or only planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Make it.
    Commit,
    /// Check it, compile it, say what would change.
    DryRun,
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
    warnings: Vec<String>,
}

impl Controller {
    /// A controller of a worker with an empty fabric. `store` keeps the state over restarts.
    pub fn new(worker: Handle, board: Board, opener: Box<dyn Opener>, store: Option<Store>) -> Controller {
        let state = State { rule_sets: Cache::default(), store, epoch: Epoch(0) };
        Controller { worker, board, opener, state: Mutex::new(state) }
    }

    /// The worker.
    pub fn worker(&self) -> &Handle {
        &self.worker
    }

    /// The state that runs.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.board.read()
    }

    /// Makes the state what `edit` makes of it.
    ///
    /// # Errors
    /// What `edit` refuses, or the reason why the state it asks for cannot be; nothing has changed then.
    pub async fn change(
        &self,
        mode: Mode,
        edit: impl FnOnce(&mut Config) -> Result<(), Refusal>,
    ) -> Result<Outcome, Refusal> {
        self.change_if(mode, 0, edit).await
    }

    /// As [`Controller::change`], but only where the state's number is still `revision`; 0 stands for any.
    ///
    /// # Errors
    /// As [`Controller::change`], and where the state was changed by someone else meanwhile.
    pub async fn change_if(
        &self,
        mode: Mode,
        revision: u64,
        edit: impl FnOnce(&mut Config) -> Result<(), Refusal>,
    ) -> Result<Outcome, Refusal> {
        let mut state = self.state.lock().await;
        let current = self.board.read();
        if revision != 0 && revision != current.revision {
            return Err(Refusal::state(format!(
                "the state has revision {} by now, not {revision}; look at it again (vswitchctl show --config)",
                current.revision
            )));
        }
        let mut desired = current.config.clone();
        edit(&mut desired)?;
        let prepared = prepare(&mut state, &current, desired).await?;
        let lines: Vec<String> = prepared.changes.iter().map(ToString::to_string).collect();
        let mut outcome = Outcome {
            epoch: current.epoch.0,
            revision: current.revision,
            changes: lines,
            warnings: prepared.warnings.clone(),
        };
        if mode == Mode::DryRun || prepared.changes.is_empty() {
            return Ok(outcome);
        }
        outcome.revision += 1;
        outcome.epoch = self.commit(&mut state, &current, prepared, &outcome.warnings).await?;
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
        let Prepared { desired, ids, changes, policy, rule_sets, .. } = prepared;
        // From here on an early return drops what was opened, which closes it.
        let add_ports = self.open_ports(&changes, &desired, &ids)?;
        let remove_ports: Vec<PortId> = changes
            .iter()
            .filter_map(|change| match change {
                Change::RemovePort(name) => current.ids.port(name),
                _ => None,
            })
            .collect();
        let steps = state::steps(&changes, &desired, &current.ids, &ids);
        if let Some(store) = &state.store {
            store.save(&desired)?;
        }
        let transaction = Transaction { steps, add_ports, remove_ports, policy: Arc::clone(&policy) };
        let applied = self.worker.apply(transaction).await?;
        state.epoch = applied.epoch;
        let revision = current.revision + 1;
        self.board.publish(Snapshot::new(desired, ids, revision, policy, rule_sets));
        for change in &changes {
            tracing::info!(revision, epoch = applied.epoch.0, "{change}");
        }
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        // Closing ports and freeing a large policy takes time that neither the worker nor the caller should give.
        tokio::task::spawn_blocking(move || drop((applied.removed, applied.old_policy)));
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

async fn prepare(state: &mut State, current: &Snapshot, desired: Config) -> Result<Prepared, Refusal> {
    desired.check().map_err(|problems| Refusal::invalid(problems.join("\n")))?;
    let changes = plan(&current.config, &desired);
    refuse_in_place(current, &desired, &changes)?;
    let ids = current.ids.after(&desired);
    let mut warnings = Vec::new();
    let mut rule_sets = Vec::new();
    for set in &desired.rule_sets {
        let loaded = state.rule_sets.load(set).await?;
        warnings.extend(loaded.warning(&set.name));
        rule_sets.push((set.name.clone(), loaded));
    }
    state.rule_sets.retain(&rule_sets);
    let mut spec = state::spec(&desired, &ids);
    spec.rule_sets = rule_sets.iter().map(|(name, loaded)| (name.clone(), Arc::clone(&loaded.program))).collect();
    let epoch = Epoch(state.epoch.0 + 1);
    let compiled = tokio::task::spawn_blocking(move || Policy::compile(&spec, epoch)).await;
    let policy = compiled
        .map_err(|e| Refusal::internal(format!("the policy compiler failed: {e}; please report this")))?
        .map_err(|errors| Refusal::invalid(errors.0.join("\n")))?;
    Ok(Prepared { desired, ids, changes, policy: Arc::new(policy), rule_sets, warnings })
}

/// Changes that a running daemon cannot make.
fn refuse_in_place(current: &Snapshot, desired: &Config, changes: &[Change]) -> Result<(), Refusal> {
    // The first state is the one the worker was started with.
    if current.revision > 0 && current.config.settings.limits != desired.settings.limits {
        return Err(Refusal::state(
            "settings.limits: the tables have their size from the start of the daemon; restart vswitchd with the changed \
             state",
        ));
    }
    for change in changes {
        let Change::ReplacePort(name, _) = change else { continue };
        let resource = |config: &Config| config.port(name).and_then(|p| p.attachment().ok()?.resource());
        if let (Some(old), Some(new)) = (resource(&current.config), resource(desired))
            && old == new
        {
            return Err(Refusal::state(format!(
                "port {name}: {old} is in use with other settings, and cannot be opened twice; delete the port and add \
                 it again"
            )));
        }
    }
    Ok(())
}
