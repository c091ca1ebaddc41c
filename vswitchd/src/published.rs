//! What the rest of the control side may know of the state that runs: a snapshot, replaced whole after each change, and
//! the names of the states before it.
//!
//! The datapath speaks in numbers, and what it tells may be older than the latest change: an event that waited, a flow
//! that was judged long ago. So the names of each state are kept by epoch, [`NAMES_KEPT`] of them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use weir_filter::Policy;
use weir_wire::{Epoch, Instant, InterfaceId, PortId, RuleId, SwitchId};

use crate::config::Config;
use crate::networks::Networks;
use crate::rule_sets::Loaded;
use crate::state::{Ids, Zones};

/// States whose names are remembered.
const NAMES_KEPT: usize = 64;

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
    /// The content lists and the database of places.
    pub content: crate::content::Files,
    /// The signatures of the virus check.
    pub virus: crate::virus::Loaded,
    /// Its names.
    pub names: Arc<Names>,
    /// Which of its objects form a network.
    pub networks: Networks,
}

/// What the numbers of one state stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The state's policy.
    pub epoch: Epoch,
    /// When it was handed to the worker.
    pub since: Instant,
    switches: HashMap<u16, String>,
    ports: HashMap<u16, String>,
    interfaces: HashMap<u16, String>,
    rules: Vec<String>,
}

impl Names {
    /// The names of a state.
    pub fn of(config: &Config, ids: &Ids, epoch: Epoch, since: Instant) -> Names {
        // No port can have this name.
        let local = (PortId::LOCAL.0, "(router)".to_owned());
        let ends = ids.ends(config).map(|(id, name)| (id.0, name));
        Names {
            epoch,
            since,
            switches: ids
                .switches()
                .map(|(name, id)| (id.0, name.to_owned()))
                .chain(Zones::of(config, ids).names())
                .chain(ids.appliances().map(|(name, id)| (id.0, name.to_owned())))
                .collect(),
            ports: ids.ports().map(|(name, id)| (id.0, name.to_owned())).chain([local]).chain(ends).collect(),
            interfaces: ids.interfaces().map(|(router, name, id)| (id.0, format!("{router}/{name}"))).collect(),
            rules: config.rules.iter().map(|rule| rule.name.clone()).chain(config.implied_rules()).collect(),
        }
    }

    /// A port's name; its number where it is of another state.
    pub fn port(&self, id: PortId) -> String {
        self.ports.get(&id.0).cloned().unwrap_or_else(|| format!("#{}", id.0))
    }

    /// An interface's name, with its router's before a slash.
    pub fn interface(&self, id: InterfaceId) -> String {
        self.interfaces.get(&id.0).cloned().unwrap_or_else(|| format!("#{}", id.0))
    }

    /// A switch's name, or that of the routers that share a zone; its number where it is of another state.
    pub fn switch(&self, id: SwitchId) -> String {
        self.switches.get(&id.0).cloned().unwrap_or_else(|| format!("#{}", id.0))
    }

    /// The zones of routers, by name.
    pub fn zones(&self) -> impl Iterator<Item = (&str, u16)> {
        let zones = self.switches.iter().filter(|(id, _)| SwitchId(**id).is_zone());
        zones.map(|(id, name)| (name.as_str(), *id))
    }

    /// A switch's number, or that of routers that share a zone.
    pub fn switch_id(&self, name: &str) -> Option<SwitchId> {
        self.switches.iter().find(|(_, known)| *known == name).map(|(&id, _)| SwitchId(id))
    }

    /// A rule's name.
    pub fn rule(&self, id: RuleId) -> String {
        if id == RuleId::DEFAULT {
            return "default".into();
        }
        self.rules.get(id.0 as usize).cloned().unwrap_or_else(|| format!("#{}", id.0))
    }

    /// A rule's number.
    pub fn rule_id(&self, name: &str) -> Option<RuleId> {
        if name == "default" {
            return Some(RuleId::DEFAULT);
        }
        let index = self.rules.iter().position(|rule| rule == name)?;
        u32::try_from(index).ok().map(RuleId)
    }
}

/// Where the snapshot stands. Shared by the threads of the control side; the worker never sees it.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    snapshot: RwLock<Arc<Snapshot>>,
    /// Oldest first.
    names: RwLock<VecDeque<Arc<Names>>>,
}

// Both locks guard values that are whole whatever a thread that panicked did, so poison is no harm.
impl Board {
    /// The snapshot.
    pub fn read(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes the names of a state known before the worker has it, so that nothing it tells finds them missing.
    pub fn announce(&self, names: Arc<Names>) {
        let mut kept = self.0.names.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == NAMES_KEPT {
            kept.pop_front();
        }
        kept.push_back(names);
    }

    /// Replaces the snapshot.
    pub fn publish(&self, snapshot: Snapshot) {
        let fresh = Arc::new(snapshot);
        let old = std::mem::replace(&mut *self.0.snapshot.write().unwrap_or_else(PoisonError::into_inner), fresh);
        drop(old);
    }

    /// The names of the state of `epoch`; those of the oldest that is remembered where it is older still.
    pub fn names(&self, epoch: Epoch) -> Arc<Names> {
        self.find(|names| names.epoch == epoch)
    }

    /// The names of the state that ran at `time`, as far as the control side knows: a change takes a moment from here
    /// to the worker.
    pub fn names_at(&self, time: Instant) -> Arc<Names> {
        self.find(|names| names.since <= time)
    }

    /// All names that are remembered, oldest first.
    pub fn all_names(&self) -> Vec<Arc<Names>> {
        self.0.names.read().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn find(&self, wanted: impl Fn(&Names) -> bool) -> Arc<Names> {
        let kept = self.0.names.read().unwrap_or_else(PoisonError::into_inner);
        kept.iter().rev().find(|names| wanted(names)).or_else(|| kept.front()).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(epoch: u64, rules: &[&str]) -> Arc<Names> {
        let rules = rules.iter().map(|r| (*r).to_owned()).collect();
        Arc::new(Names { epoch: Epoch(epoch), since: Instant::from_secs(epoch), rules, ..Names::default() })
    }

    #[test]
    fn numbers_are_read_by_the_state_they_are_of() {
        let board = Board::default();
        assert_eq!(board.names(Epoch(1)).rule(RuleId(0)), "#0");
        board.announce(names(1, &["web"]));
        board.announce(names(2, &["ping", "web"]));
        assert_eq!(board.names(Epoch(1)).rule(RuleId(0)), "web");
        assert_eq!(board.names(Epoch(2)).rule(RuleId(0)), "ping");
        assert_eq!(board.names_at(Instant::from_millis(1999)).epoch, Epoch(1));
        assert_eq!(board.names_at(Instant::from_millis(2000)).epoch, Epoch(2));
        assert_eq!(board.names(Epoch(2)).rule(RuleId::DEFAULT), "default");
        assert_eq!(board.names(Epoch(2)).rule_id("web"), Some(RuleId(1)));
    }

    #[test]
    fn a_bounded_number_of_states_is_remembered() {
        let board = Board::default();
        (0..200).for_each(|epoch| board.announce(names(epoch, &[])));
        assert_eq!(board.all_names().len(), NAMES_KEPT);
        assert_eq!(board.names(Epoch(3)).epoch, Epoch(200 - NAMES_KEPT as u64));
    }
}
