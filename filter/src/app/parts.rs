//! A file that is read or written in parts, which may come in any order and more than once.

use std::collections::BTreeMap;

use super::file::{Files, Hashed, Limits};

/// Parts that wait for the bytes before them.
const WAITING: usize = 64;
/// Bytes of those.
const WAITING_BYTES: usize = 1 << 20;

/// What may wait for the bytes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Parts.
    pub parts: usize,
    /// Their bytes.
    pub bytes: usize,
}

impl Default for Room {
    fn default() -> Room {
        Room { parts: WAITING, bytes: WAITING_BYTES }
    }
}

/// Of what too much waited, so that bytes between were given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// Parts.
    Parts,
    /// Bytes.
    Bytes,
}

/// A file in parts.
#[derive(Debug)]
pub struct Parts {
    /// The one file, for rules.
    pub files: Files,
    /// Bytes handed on: the place that the next one has.
    next: u64,
    waiting: BTreeMap<u64, Vec<u8>>,
    waiting_bytes: usize,
    room: Room,
}

impl Parts {
    /// A file of this name without any part.
    pub fn new(name: &[u8], hashed: Hashed) -> Parts {
        let mut files = Files::default();
        files.open(name, Limits::default(), hashed);
        Parts { files, next: 0, waiting: BTreeMap::new(), waiting_bytes: 0, room: Room::default() }
    }

    /// The same with no more room than this.
    pub fn within(mut self, room: Room) -> Parts {
        self.room = Room { parts: room.parts.min(WAITING), bytes: room.bytes.min(WAITING_BYTES) };
        self
    }

    /// Whether a part would come over bytes that were handed on.
    pub fn overlaps(&self, at: u64) -> bool {
        at < self.next
    }

    /// Bytes at a place. What was handed on stays; what lies ahead waits, as far as there is room.
    pub fn put(&mut self, at: u64, bytes: &[u8]) -> Option<Excess> {
        if at > self.next {
            return self.wait(at, bytes);
        }
        self.append(at, bytes);
        while let Some((&at, _)) = self.waiting.first_key_value().filter(|(at, _)| **at <= self.next) {
            let Some(bytes) = self.waiting.remove(&at) else { break };
            self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes.len());
            self.append(at, &bytes);
        }
        None
    }

    fn append(&mut self, at: u64, bytes: &[u8]) {
        let seen = usize::try_from(self.next.saturating_sub(at)).unwrap_or(usize::MAX);
        let Some(fresh) = bytes.get(seen..) else { return };
        if let Some(file) = self.files.current() {
            file.append(fresh);
        }
        self.next = self.next.saturating_add(fresh.len() as u64);
    }

    fn wait(&mut self, at: u64, bytes: &[u8]) -> Option<Excess> {
        self.waiting_bytes = self.waiting_bytes.saturating_add(bytes.len());
        if let Some(before) = self.waiting.insert(at, bytes.to_vec()) {
            self.waiting_bytes = self.waiting_bytes.saturating_sub(before.len());
        }
        let excess = if self.waiting.len() > self.room.parts {
            Some(Excess::Parts)
        } else {
            (self.waiting_bytes > self.room.bytes).then_some(Excess::Bytes)
        };
        // Too much waits: the bytes between are given up.
        while self.waiting.len() > self.room.parts || self.waiting_bytes > self.room.bytes {
            self.jump();
        }
        excess
    }

    /// Goes on with the first part that waits, behind a hole.
    fn jump(&mut self) {
        let Some((at, bytes)) = self.waiting.pop_first() else { return };
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes.len());
        if at > self.next {
            if let Some(file) = self.files.current() {
                file.gap(at - self.next);
            }
            self.next = at;
        }
        self.append(at, &bytes);
    }

    /// The file was closed.
    pub fn close(&mut self) {
        while !self.waiting.is_empty() {
            self.jump();
        }
        if let Some(file) = self.files.current() {
            file.close();
        }
    }

    /// The connection ended.
    pub fn cut_off(&mut self) {
        while !self.waiting.is_empty() {
            self.jump();
        }
        if let Some(file) = self.files.current() {
            file.truncate();
        }
    }
}
