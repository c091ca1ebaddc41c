//! Where files are stored that rules with `filestore` want.

use serde::{Deserialize, Serialize};

use super::check::Problems;

/// The longest file that can be kept whole until it is known whether it is to be stored.
const FILE_MOST: u64 = 64 << 20;

/// Files of live traffic that rules want stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileStore {
    /// The directory; empty: no file is stored.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub directory: String,
    /// So many of the first bytes of a file are stored.
    pub file_bytes: u64,
    /// Bytes of all files in the directory, beyond which no more are stored.
    pub total_bytes: u64,
}

impl Default for FileStore {
    fn default() -> FileStore {
        FileStore { directory: String::new(), file_bytes: 10 << 20, total_bytes: 1 << 30 }
    }
}

impl FileStore {
    /// Bytes that inspection keeps of a file; 0: none.
    pub fn kept(&self) -> usize {
        if self.directory.is_empty() { 0 } else { usize::try_from(self.file_bytes).unwrap_or(usize::MAX) }
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        problems.unless(self.directory.is_empty() || self.directory.starts_with('/'), || {
            format!("settings.file_store: directory \"{}\" does not begin with '/'", self.directory.escape_default())
        });
        problems.unless((1..=FILE_MOST).contains(&self.file_bytes), || {
            format!("settings.file_store: file_bytes = {} is outside 1 to {FILE_MOST}", self.file_bytes)
        });
        problems.unless(self.total_bytes >= self.file_bytes, || {
            format!("settings.file_store: total_bytes = {} is less than file_bytes", self.total_bytes)
        });
    }
}
