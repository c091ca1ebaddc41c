//! MD5, SHA-1 and SHA-256 of bytes that come in parts.

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The three hashes that rules and EVE know.
#[derive(Debug, Default)]
pub struct Hashes {
    md5: Md5,
    sha1: Sha1,
    sha256: Sha256,
    done: Option<([u8; 16], [u8; 20], [u8; 32])>,
}

impl Hashes {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.sha1.update(bytes);
        self.sha256.update(bytes);
    }

    /// No more bytes follow.
    pub fn finish(&mut self) {
        let md5 = std::mem::take(&mut self.md5).finalize().into();
        let sha1 = std::mem::take(&mut self.sha1).finalize().into();
        let sha256 = std::mem::take(&mut self.sha256).finalize().into();
        self.done = Some((md5, sha1, sha256));
    }

    /// MD5, once finished.
    pub fn md5(&self) -> Option<&[u8]> {
        self.done.as_ref().map(|(md5, _, _)| &md5[..])
    }

    /// SHA-1, once finished.
    pub fn sha1(&self) -> Option<&[u8]> {
        self.done.as_ref().map(|(_, sha1, _)| &sha1[..])
    }

    /// SHA-256, once finished.
    pub fn sha256(&self) -> Option<&[u8]> {
        self.done.as_ref().map(|(_, _, sha256)| &sha256[..])
    }
}
