//! The virus check as it is wanted.

use serde::{Deserialize, Serialize};

use super::check::Problems;
use super::settings::OnFailure;
use super::values::one_or_many;

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
            ..weir_filter::scan::Limits::default()
        }
    }
}

impl super::Config {
    pub(super) fn check_virus(&self, problems: &mut Problems) {
        let virus = &self.virus;
        for file in virus.signatures.iter().filter(|file| !file.starts_with('/')) {
            problems.add(format!("virus: signatures: \"{file}\" must be absolute"));
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
        ] {
            problems.unless((least..=most).contains(&value), || {
                format!("virus: {field} = {value} is outside {least} to {most}")
            });
        }
    }
}
