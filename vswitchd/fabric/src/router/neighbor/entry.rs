//! One neighbour.

use std::time::Duration;

use weir_wire::{Instant, MacAddr, Packet};

use super::{Key, NeighborEntry, REACHABLE_FOR};

/// A neighbour to which a packet went so lately does not make room for another.
const IN_USE_FOR: Duration = Duration::from_secs(60);

/// How far we are with a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Configured: never asked for, never forgotten.
    Static,
    /// It was heard of.
    Reachable,
    /// It is asked for by everybody; packets wait.
    Resolving {
        /// How often it was.
        tries: u8,
        /// When again.
        next: Instant,
    },
    /// It is asked by its MAC; packets go on to it.
    Probing {
        /// How often it was.
        tries: u8,
        /// When again.
        next: Instant,
    },
    /// It did not answer, and is not asked again before this time.
    Failed(Instant),
}

#[derive(Debug)]
pub(super) struct Entry {
    pub key: Key,
    pub mac: Option<MacAddr>,
    pub state: State,
    /// When it was last heard of, or first asked for.
    pub heard: Instant,
    /// When a packet last went to it.
    pub used: Instant,
    pub waiting: Vec<Packet>,
}

impl Entry {
    pub fn new(key: Key, now: Instant) -> Entry {
        Entry { key, mac: None, state: State::Failed(now), heard: now, used: now, waiting: Vec::new() }
    }

    /// How much would be lost with it; `None` where it must stay.
    pub fn worth(&self, now: Instant) -> Option<u64> {
        match self.state {
            State::Static => None,
            _ if !self.waiting.is_empty() => None,
            State::Reachable | State::Probing { .. } if now.since(self.used) < IN_USE_FOR => None,
            State::Failed(_) => Some(0),
            State::Resolving { .. } => Some(1),
            State::Reachable | State::Probing { .. } => Some(self.used.0.max(2)),
        }
    }

    pub fn show(&self, now: Instant) -> NeighborEntry {
        let age = now.since(self.heard);
        let state = match self.state {
            State::Static => "static",
            State::Reachable if age < REACHABLE_FOR => "reachable",
            State::Reachable => "stale",
            State::Resolving { .. } => "resolving",
            State::Probing { .. } => "probing",
            State::Failed(_) => "failed",
        };
        NeighborEntry {
            interface: self.key.0,
            address: self.key.1,
            mac: self.mac,
            state,
            age_s: age.as_secs(),
            held: self.waiting.len(),
        }
    }
}
