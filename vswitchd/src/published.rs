//! What the rest of the control side may know of the state that runs: a snapshot, replaced whole after each change.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use weir_filter::Policy;
use weir_wire::{Epoch, PortId, RuleId, SwitchId};

use crate::config::Config;
use crate::rule_sets::Loaded;
use crate::state::Ids;

/// The state that runs.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The desired state, which is made.
    pub config: Config,
    /// The numbers of its names.
    pub ids: Ids,
    /// Grows with each change.
    pub revision: u64,
    /// The policy's number.
    pub epoch: Epoch,
    /// The policy.
    pub policy: Arc<Policy>,
    /// The rule sets by name.
    pub rule_sets: Vec<(String, Arc<Loaded>)>,
    switch_names: HashMap<u16, String>,
    port_names: HashMap<u16, String>,
}

impl Snapshot {
    /// A snapshot with its names sorted by number.
    pub fn new(
        config: Config,
        ids: Ids,
        revision: u64,
        policy: Arc<Policy>,
        rule_sets: Vec<(String, Arc<Loaded>)>,
    ) -> Snapshot {
        let switch_names = ids.switches().map(|(name, id)| (id.0, name.to_owned())).collect();
        let port_names = ids.ports().map(|(name, id)| (id.0, name.to_owned())).collect();
        Snapshot { config, ids, revision, epoch: policy.epoch(), policy, rule_sets, switch_names, port_names }
    }

    /// A port's name; its number where it is gone.
    pub fn port_name(&self, id: PortId) -> String {
        self.port_names.get(&id.0).cloned().unwrap_or_else(|| format!("#{}", id.0))
    }

    /// A switch's name; its number where it is gone.
    pub fn switch_name(&self, id: SwitchId) -> String {
        self.switch_names.get(&id.0).cloned().unwrap_or_else(|| format!("#{}", id.0))
    }

    /// A rule's name.
    pub fn rule_name(&self, id: RuleId) -> &str {
        self.policy.rule_name(id)
    }
}

/// Where the snapshot stands. Shared by the threads of the control side; the worker never sees it.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<RwLock<Arc<Snapshot>>>);

impl Board {
    /// The snapshot.
    pub fn read(&self) -> Arc<Snapshot> {
        // The lock guards one pointer, which is whole whatever a thread that panicked did.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the snapshot.
    pub fn publish(&self, snapshot: Snapshot) {
        let fresh = Arc::new(snapshot);
        let old = std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), fresh);
        drop(old);
    }
}
