//! The virus check: files on their way are searched for digests and signatures before their last bytes are delivered.
//!
//! The parsers hand the bytes of files (bodies of HTTP, attachments of mail, transfers of FTP, SMB and NFS) to a
//! [`Scanner`] each, codings undone. It follows them with bounded state: digests, the ends of all signatures at once,
//! and the members of archives ([`container`]). A finding refuses the segment that completes it, and the flow ends, so
//! that no application has a complete infected file.
//!
//! Another program may be asked beside ([`remote`]). The segment that ends a file about which it has not answered is
//! held back, and all that follow; where a file ends only with its connection, so is its last segment at any time, since
//! it may be the end ([`pending`]).
//!
//! Limits: [`Limits`]; what reaches one is let through or refused as [`Limits::closed`] says, and told either way.

pub mod container;
pub mod database;
pub mod logic;
pub mod pattern;
pub mod pending;
pub mod remote;
pub mod resume;
pub mod scanner;
pub mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use weir_wire::{PortId, SwitchId};

use crate::spec::OnFailure;
pub use database::Database;
pub use scanner::{Outcome, Scanner};
pub use watch::Scan;

/// Bounds of the work on one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a file that are searched; the rest of a longer one meets the limit.
    pub file_bytes: u64,
    /// Bytes that all archives in a file may unfold to.
    pub unfolded_bytes: u64,
    /// How many times its own size a file may unfold to, beyond the first megabyte.
    pub ratio: u64,
    /// Archives within archives.
    pub depth: u8,
    /// Members of archives in one file.
    pub members: u32,
    /// Files searched at one time on one flow.
    pub files_per_flow: usize,
    /// The same on all flows together.
    pub files: usize,
    /// What meets a limit, or cannot be read, is refused; otherwise it passes.
    pub closed: bool,
    /// Archives that cannot be opened (encrypted, unknown methods) are refused; otherwise they are searched as they stand.
    pub refuse_opaque: bool,
    /// Parts of files (HTTP ranges) are refused, but for the first and what joins it in order, which is searched as one
    /// file; otherwise other parts are searched by themselves.
    pub refuse_parts: bool,
    /// How long what ends a file is held back for a verdict; then it is a file that could not be judged.
    pub hold: Duration,
    /// How long the last segment of a file is held back that ends with its connection. Where its sender pauses for
    /// longer it is delivered; the end of the connection is not, where the file turns out to be infected.
    pub hold_tail: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            file_bytes: 256 << 20,
            unfolded_bytes: 512 << 20,
            ratio: 250,
            depth: 4,
            members: 10_000,
            files_per_flow: 32,
            files: 2048,
            closed: true,
            refuse_opaque: false,
            refuse_parts: false,
            hold: Duration::from_secs(15),
            hold_tail: Duration::from_millis(500),
        }
    }
}

/// The virus check of a policy.
#[derive(Debug, Default)]
pub struct Policy {
    /// What is searched for; nothing: no flow is checked.
    pub database: Option<Arc<Database>>,
    /// Bounds.
    pub limits: Limits,
    /// Who is asked beside; `None`: nobody.
    pub remote: Option<Arc<remote::Remote>>,
    /// Only flows on these switches; empty: all.
    pub switches: Vec<SwitchId>,
    /// Only flows from or to these ports; empty: all.
    pub ports: Vec<PortId>,
    /// What becomes of flows with files where the budget of processor time is used up and their policy rule says
    /// nothing: their packets are refused, or they are searched no more.
    pub overload: OnFailure,
    /// Counts since the policy was made.
    pub counts: Counts,
    /// Files that are searched at present.
    pub open: AtomicUsize,
    /// Files of which a part was searched.
    pub resumable: resume::Resumable,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Counts {
    files: AtomicU64,
    bytes: AtomicU64,
    infected: AtomicU64,
    limited: AtomicU64,
}

impl Counts {
    pub(super) fn file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn infected(&self) {
        self.infected.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn limited(&self) {
        self.limited.fetch_add(1, Ordering::Relaxed);
    }

    /// Files, bytes, infections, and files that met a limit.
    pub fn read(&self) -> [u64; 4] {
        [&self.files, &self.bytes, &self.infected, &self.limited].map(|count| count.load(Ordering::Relaxed))
    }
}

/// A place among the files that are searched at one time.
#[derive(Debug)]
pub struct Place(Arc<Policy>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Policy {
    /// Takes a place; `None` where all are taken.
    pub(super) fn place(self: &Arc<Policy>) -> Option<Place> {
        let place = Place(Arc::clone(self));
        // One that is beyond the limit is given back at once.
        (self.open.fetch_add(1, Ordering::Relaxed) < self.limits.files).then_some(place)
    }

    /// Whether the end of a file has to be known before it may be delivered.
    fn judges_at_the_end(&self) -> bool {
        self.remote.is_some() || self.database.as_ref().is_some_and(|database| database.kinds.contains(&true))
    }

    /// Whether flows between these ports of this switch are checked.
    pub fn concerns(&self, switch: SwitchId, ports: [PortId; 2]) -> bool {
        self.database.is_some()
            && (self.switches.is_empty() || self.switches.contains(&switch))
            && (self.ports.is_empty() || ports.iter().any(|port| self.ports.contains(port)))
    }
}

/// A file that is infected, or met a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The signature's name, or what limit it met.
    pub name: String,
    /// The file's name, where it has one.
    pub file: String,
    /// Bytes of it so far.
    pub size: u64,
    /// It is infected; otherwise it met a limit.
    pub infected: bool,
    /// It is refused.
    pub blocked: bool,
    /// The protocol that carried it.
    pub protocol: &'static str,
}
