//! What all flows of one worker share: settings, counts of thresholds, marks of hosts, room to work in.

use std::sync::Arc;

use crate::app::{Expectation, Settings};

/// What all flows of one worker share.
#[derive(Debug)]
pub struct Shared {
    /// Limits and choices of the application parsers.
    pub settings: Arc<Settings>,
    /// Packets can be refused: `drop` and `reject` take effect.
    pub inline: bool,
    /// Alerts of one packet that are told at most (`packet-alert-max`).
    pub alerts_per_packet: usize,
    /// Flows that application parsers announced since they were last taken away.
    pub expectations: Vec<Expectation>,
    /// Steps that searches and checks have taken, of about 64 bytes each.
    pub work: u64,
}

impl Shared {
    /// Nothing counted or marked yet.
    pub fn new(settings: Settings, inline: bool) -> Shared {
        Shared { settings: Arc::new(settings), inline, alerts_per_packet: 15, expectations: Vec::new(), work: 0 }
    }
}
