//! What all flows of one worker share: settings, counts of thresholds, marks of hosts, room to work in.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::marks::HostMarks;
use super::scratch::Scratch;
use super::tags::HostTags;
use super::threshold::Thresholds;
use super::verdict::Told;
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
    /// An alert on a packet names the flow's transaction, where there is one only (`detect.guess-applayer-tx`).
    pub guess_transaction: bool,
    /// Where the application parser fails on a packet, no rule sees the packet: what becomes of it is a policy's to say.
    pub errors_hide: bool,
    /// Flows that application parsers announced since they were last taken away.
    pub expectations: Vec<Expectation>,
    /// Every file is stored, whatever rules say, as far as files are kept.
    pub store_all: bool,
    /// Bytes of files that may be kept for `filestore` at one time, of all flows.
    pub keep_limit: usize,
    /// Flows whose files were not kept for want of room.
    pub keeps_refused: u64,
    /// Files stored so far.
    pub(super) stored: u32,
    /// Bytes of files that are kept.
    pub(super) kept: Arc<AtomicUsize>,
    pub(super) thresholds: Thresholds,
    pub(super) hosts: HostMarks,
    pub(super) tags: HostTags,
    pub(super) scratch: Scratch,
    pub(super) told: Vec<Told>,
    /// Matches that were not judged further for want of room.
    pub overflows: u64,
}

impl Shared {
    /// How many bytes of files are kept, those on their way to a disk among them.
    pub(crate) fn kept(&self) -> &Arc<AtomicUsize> {
        &self.kept
    }

    /// Nothing counted or marked yet.
    pub fn new(settings: Settings, inline: bool) -> Shared {
        Shared {
            settings: Arc::new(settings),
            inline,
            alerts_per_packet: 15,
            guess_transaction: false,
            errors_hide: false,
            expectations: Vec::new(),
            store_all: false,
            keep_limit: 256 << 20,
            keeps_refused: 0,
            stored: 0,
            kept: Arc::default(),
            thresholds: Thresholds::default(),
            hosts: HostMarks::default(),
            tags: HostTags::default(),
            scratch: Scratch::default(),
            told: Vec::new(),
            overflows: 0,
        }
    }

    /// Packets of some hosts are told, whatever their flows.
    #[inline]
    pub fn tags_hosts(&self) -> bool {
        !self.tags.is_empty()
    }

    /// The sets that rules ask and fill.
    pub fn sets(&mut self) -> &mut super::sets::Sets {
        &mut self.scratch.room.sets
    }

    /// Counts from now on what each rule costs; `clock` gives nanoseconds.
    pub fn profile_with(&mut self, clock: fn() -> u64) {
        self.scratch.profile = Some(Box::new(super::Profile::new(clock)));
    }

    /// Where what each rule costs is counted, to be put in and taken out.
    pub fn profile_mut(&mut self) -> &mut Option<Box<super::Profile>> {
        &mut self.scratch.profile
    }

    /// What each rule has cost, where that is counted.
    pub fn profile(&self) -> Option<&super::Profile> {
        self.scratch.profile.as_deref()
    }

    /// The same, to be looked at.
    pub fn known_sets(&self) -> &super::sets::Sets {
        &self.scratch.room.sets
    }

    /// Steps that searches and checks have taken, of about 64 bytes each.
    pub fn work(&self) -> u64 {
        self.scratch.room.work
    }
}
