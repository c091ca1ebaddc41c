//! The virus check as it is wanted.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_filter::scan::remote::Terms;

use super::check::Problems;
use super::settings::OnFailure;
use super::values::one_or_many;
use crate::clamd;

/// Bytes of one file that may wait for clamd; more hold the file up.
const CLAMD_WAITING: usize = 4 << 20;
/// The same of all files; beyond it a file is not judged.
const CLAMD_WAITING_IN_ALL: usize = 128 << 20;

/// The virus check: files in flows are searched before their last bytes are delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Virus {
    /// Files are checked, by the built-in signature and those of `signatures`.
    pub enabled: bool,
    /// Signature files: ClamAV's .hdb, .hsb, .ndb, .ldb, or one digest a line.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub signatures: Vec<String>,
    /// Only flows on these switches; empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub switches: Vec<String>,
    /// Only flows from or to ports of these groups; empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub groups: Vec<String>,
    /// What meets a limit, or cannot be read.
    pub on_limit: OnFailure,
    /// Bytes of a file.
    pub file_bytes: u64,
    /// Bytes that archives in one file unfold to.
    pub unfolded_bytes: u64,
    /// How many times its size a file unfolds to.
    pub ratio: u64,
    /// Archives within archives.
    pub depth: u8,
    /// Members of archives in one file.
    pub members: u32,
    /// Archives that cannot be opened are refused.
    pub refuse_opaque: bool,
    /// Parts of files (HTTP ranges) are refused.
    pub refuse_parts: bool,
    /// Flows with files, where the budget of processor time is used up and their policy rule does not say.
    pub on_overload: OnFailure,
    /// How long what ends a file is held back for a verdict.
    pub hold_ms: u64,
    /// How long the last segment of a file is held back that only the end of its connection ends.
    pub hold_tail_ms: u64,
    /// A clamd that is asked beside: the path of its socket, or address:port; empty: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub clamd: String,
    /// Files that it is asked about at one time.
    pub clamd_connections: usize,
    /// Bytes of a file that it is sent.
    pub clamd_bytes: u64,
    /// The longest silence of clamd, and of a file on its way to it.
    pub clamd_timeout_s: u64,
    /// Files that clamd cannot be asked about.
    pub on_clamd_failure: OnFailure,
}

impl Default for Virus {
    fn default() -> Virus {
        let of = weir_filter::scan::Limits::default();
        Virus {
            enabled: false,
            signatures: Vec::new(),
            switches: Vec::new(),
            groups: Vec::new(),
            on_limit: OnFailure::Closed,
            file_bytes: of.file_bytes,
            unfolded_bytes: of.unfolded_bytes,
            ratio: of.ratio,
            depth: of.depth,
            members: of.members,
            refuse_opaque: of.refuse_opaque,
            refuse_parts: of.refuse_parts,
            on_overload: OnFailure::Closed,
            hold_ms: of.hold.as_millis() as u64,
            hold_tail_ms: of.hold_tail.as_millis() as u64,
            clamd: String::new(),
            clamd_connections: 4,
            clamd_bytes: 25 << 20,
            clamd_timeout_s: 30,
            on_clamd_failure: OnFailure::Closed,
        }
    }
}

impl Virus {
    /// The bounds as the guard takes them.
    pub fn limits(&self) -> weir_filter::scan::Limits {
        weir_filter::scan::Limits {
            file_bytes: self.file_bytes,
            unfolded_bytes: self.unfolded_bytes,
            ratio: self.ratio,
            depth: self.depth,
            members: self.members,
            closed: self.on_limit == OnFailure::Closed,
            refuse_opaque: self.refuse_opaque,
            refuse_parts: self.refuse_parts,
            hold: Duration::from_millis(self.hold_ms),
            hold_tail: Duration::from_millis(self.hold_tail_ms),
            ..weir_filter::scan::Limits::default()
        }
    }

    /// How clamd is asked; `None` where it is not, or where its address is none.
    pub fn clamd_settings(&self) -> Option<clamd::Settings> {
        Some(clamd::Settings {
            address: self.clamd.parse().ok()?,
            connections: self.clamd_connections,
            timeout: Duration::from_secs(self.clamd_timeout_s),
            terms: Terms {
                file_bytes: self.clamd_bytes,
                waiting: CLAMD_WAITING,
                waiting_in_all: CLAMD_WAITING_IN_ALL,
                closed: self.on_clamd_failure == OnFailure::Closed,
            },
        })
    }
}

impl super::Config {
    pub(super) fn check_virus(&self, problems: &mut Problems) {
        let virus = &self.virus;
        for file in virus.signatures.iter().filter(|file| !file.starts_with('/')) {
            problems.add(format!("virus: signatures: \"{file}\" must be absolute"));
        }
        if let Some(wrong) = (!virus.clamd.is_empty()).then(|| virus.clamd.parse::<clamd::Address>().err()).flatten() {
            problems.add(format!("virus: clamd: {wrong}"));
        }
        for switch in &virus.switches {
            let known = self.switch(switch).is_some() || self.router(switch).is_some();
            problems.unless(known, || format!("virus: there is no switch or router \"{switch}\""));
        }
        for (field, value, least, most) in [
            ("file_bytes", virus.file_bytes, 1 << 10, 1 << 40),
            ("unfolded_bytes", virus.unfolded_bytes, 1 << 10, 1 << 40),
            ("ratio", virus.ratio, 1, 1 << 20),
            ("depth", u64::from(virus.depth), 0, 16),
            ("members", u64::from(virus.members), 1, 1 << 24),
            ("hold_ms", virus.hold_ms, 100, 120_000),
            ("hold_tail_ms", virus.hold_tail_ms, 0, 10_000),
            ("clamd_connections", virus.clamd_connections as u64, 1, 64),
            ("clamd_bytes", virus.clamd_bytes, 1 << 10, 4 << 30),
            ("clamd_timeout_s", virus.clamd_timeout_s, 1, 600),
        ] {
            problems.unless((least..=most).contains(&value), || {
                format!("virus: {field} = {value} is outside {least} to {most}")
            });
        }
    }
}
