//! Files that transactions carry, and bodies in general: bytes that grow while rules look at them.
//!
//! A [`Content`] keeps the bytes that are still to be inspected, and a stretch before them so that a pattern which
//! crosses two packets is found. A [`File`] is a content with a name, hashes and an end.
//!
//! Limits: a content keeps at most `minimum + window` bytes besides those that came since the last inspection, stops
//! keeping at its limit, and says so; a direction has at most [`FILES`] files.

use super::growing;
use super::hash::Hashes;

/// Files of one direction of a transaction; those beyond are counted only.
pub const FILES: usize = 64;

/// Silent files of one direction of a transaction that the virus check has not judged yet.
pub const SILENT: usize = 256;

/// Bytes of a file's name that are kept.
pub const NAME: usize = 4096;

/// How much of a body is kept and when rules look at it. Names follow Suricata's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes inspected; 0 for all.
    pub limit: u64,
    /// Rules wait for so many bytes (or the end).
    pub minimum: u64,
    /// Bytes that are looked at together, at least.
    pub window: u64,
    /// Rules look at every part as it comes: inline, a part must be judged before it is delivered.
    pub at_once: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { limit: 0, minimum: 32 << 10, window: 4 << 10, at_once: false }
    }
}

/// Bytes that grow while rules look at them.
#[derive(Debug, Default)]
pub struct Content {
    bytes: Vec<u8>,
    base: u64,
    size: u64,
    inspected: u64,
    limits: Limits,
    closed: bool,
    looked: bool,
}

impl Content {
    /// An empty one.
    pub fn new(limits: Limits) -> Content {
        Content { limits, ..Content::default() }
    }

    /// Adds bytes. Beyond the limit they are counted, not kept.
    pub fn append(&mut self, bytes: &[u8]) {
        let room = match self.limits.limit {
            0 => bytes.len(),
            limit => usize::try_from(limit.saturating_sub(self.size)).unwrap_or(usize::MAX).min(bytes.len()),
        };
        self.size = self.size.saturating_add(bytes.len() as u64);
        if !self.closed {
            growing::extend(&mut self.bytes, bytes.get(..room).unwrap_or_default());
        }
    }

    /// So many bytes are missing here. What comes later is not looked at together with what came before.
    pub fn gap(&mut self, bytes: u64) {
        self.size = self.size.saturating_add(bytes);
        self.base = self.size;
        self.bytes.clear();
    }

    /// No more bytes follow.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// No more bytes follow, or none are kept any more.
    pub fn is_closed(&self) -> bool {
        self.closed || self.is_limited()
    }

    /// The limit ended the keeping of bytes.
    pub fn is_limited(&self) -> bool {
        self.limits.limit != 0 && self.size >= self.limits.limit
    }

    /// Bytes seen, kept or not.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// End of the bytes kept, counted from the start.
    pub fn end(&self) -> u64 {
        self.base.saturating_add(self.bytes.len() as u64)
    }

    /// How many bytes of the window rules have looked at before.
    pub fn seen(&self) -> usize {
        let seen = self.inspected.saturating_sub(self.from().max(self.base));
        usize::try_from(seen).unwrap_or(usize::MAX)
    }

    /// What rules should look at, and its place; `None` while they should wait, or when all was seen.
    pub fn window(&self) -> Option<(&[u8], u64)> {
        let end = self.end();
        let enough = self.limits.at_once || self.is_closed() || end >= self.limits.minimum;
        let unseen = end > self.inspected || (self.closed && !self.looked && end > 0);
        if !enough || !unseen { None } else { Some(self.recent()) }
    }

    /// The same without regard to what was seen: for a rule whose other parts have come true only now.
    pub fn recent(&self) -> (&[u8], u64) {
        let from = self.from();
        let skip = usize::try_from(from.saturating_sub(self.base)).unwrap_or(usize::MAX);
        (self.bytes.get(skip..).unwrap_or_default(), from.max(self.base))
    }

    /// Where the window begins.
    fn from(&self) -> u64 {
        // Part by part, each look goes back only so far: else the first parts would be looked at again and again.
        if self.limits.at_once && self.inspected > self.limits.window {
            return self.inspected.saturating_sub((self.limits.window / 4).max(4 << 10));
        }
        if self.inspected <= self.limits.minimum {
            return self.base;
        }
        let fresh = self.end().saturating_sub(self.inspected);
        let before = if fresh < self.limits.window { self.limits.window - fresh } else { self.limits.window / 4 };
        self.inspected.saturating_sub(before)
    }

    /// Rules have looked at the window. Bytes that no later window begins with are forgotten.
    pub fn mark_inspected(&mut self) {
        if self.window().is_none() {
            return;
        }
        self.inspected = self.end();
        self.looked = self.closed;
        // What comes next is looked at together with what this leaves.
        let keep = if self.limits.at_once { self.from() } else { self.inspected.saturating_sub(self.limits.window) };
        if (self.inspected <= self.limits.minimum && !self.limits.at_once) || keep <= self.base {
            return;
        }
        // In large steps, so that the moving of bytes costs a constant per byte.
        let drop = usize::try_from(keep - self.base).unwrap_or(usize::MAX).min(self.bytes.len());
        if drop >= self.bytes.len() / 2 {
            self.bytes.drain(..drop);
            self.base += drop as u64;
        }
    }

    /// Bytes of memory taken.
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// Forgets the bytes, keeps the counts.
    pub fn free(&mut self) {
        self.base = self.end();
        self.bytes = Vec::new();
    }
}

/// Files of one direction of a transaction.
#[derive(Debug, Default)]
pub struct Files {
    /// In the order in which they began.
    pub list: Vec<File>,
    /// Bytes that are no files for rules and people, such as the text of a mail, but are for the virus check, which takes
    /// out what it has judged.
    pub silent: Vec<File>,
    /// Files not kept for want of room in the list.
    pub refused: u64,
    /// That files were refused was told.
    pub told: bool,
}

impl Files {
    /// Begins a file. `None` when the list is full.
    pub fn open(&mut self, name: &[u8], limits: Limits, hashed: Hashed) -> Option<&mut File> {
        if self.list.len() >= FILES {
            self.refused += 1;
            return None;
        }
        let name = name.get(..NAME).unwrap_or(name).to_vec();
        let hashes = hashed.hashes.then(Box::default);
        let tap = hashed.scanned.then(Vec::new);
        let kept = (hashed.kept > 0).then(|| Kept { limit: hashed.kept, ..Kept::default() });
        let content = Content::new(limits);
        self.list.push(File { name, content, hashes, tap, kept, announced: true, ..File::default() });
        self.list.last_mut()
    }

    /// The bytes of this name that the virus check alone is handed, begun where none are open. `None` where it wants none, or
    /// too many of them wait for it.
    pub fn silent(&mut self, name: &'static [u8], hashed: Hashed) -> Option<&mut File> {
        let known = self.silent.iter().rposition(|file| file.name == name && file.state == State::Open);
        if let Some(known) = known {
            return self.silent.get_mut(known);
        }
        if !hashed.scanned {
            return None;
        }
        if self.silent.len() >= SILENT {
            self.refused += 1;
            return None;
        }
        let mut content = Content::default();
        // Its bytes are counted and not kept.
        content.close();
        self.silent.push(File { name: name.to_vec(), content, tap: Some(Vec::new()), ..File::default() });
        self.silent.last_mut()
    }

    /// No more bytes of this name follow.
    pub fn close_silent(&mut self, name: &[u8]) {
        let open = self.silent.iter_mut().filter(|file| file.name == name);
        open.for_each(File::close);
    }

    /// The newest file, if it is still open.
    pub fn current(&mut self) -> Option<&mut File> {
        self.list.last_mut().filter(|file| file.state == State::Open)
    }
}

/// What is made of a file besides what rules look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hashed {
    /// MD5, SHA-1 and SHA-256 are computed.
    pub hashes: bool,
    /// Its bytes are handed to the virus check.
    pub scanned: bool,
    /// So many of its first bytes are kept for `filestore`.
    pub kept: usize,
}

impl Hashed {
    /// Nothing.
    pub const NO: Hashed = Hashed { hashes: false, scanned: false, kept: 0 };
}

impl super::Settings {
    /// What is made of files.
    pub fn hashed(&self) -> Hashed {
        let hashes = self.hash_files || self.keep_files > 0;
        Hashed { hashes, scanned: self.scan_files, kept: self.keep_files }
    }
}

/// One file.
#[derive(Debug, Default)]
pub struct File {
    /// Its name, as the protocol says it.
    pub name: Vec<u8>,
    /// Its bytes.
    pub content: Content,
    /// How it stands.
    pub state: State,
    /// Bytes are missing in it.
    pub gaps: bool,
    /// First and last byte and whole length, where it is a part of a larger file.
    pub range: Option<(u64, u64, Option<u64>)>,
    /// It is a file for people, with a `fileinfo` of its own. `false`: a body without a name, for rules only.
    pub announced: bool,
    /// Why its bytes are not what an application will see: a coding that is not undone, or too much that comes out.
    pub opaque: Option<&'static str>,
    /// It has no length: only the end of its connection ends it.
    pub open_ended: bool,
    /// Its `fileinfo` was written.
    pub logged: bool,
    /// A rule wants it stored, and its bytes are kept: the number that it is stored under.
    pub stored: Option<u32>,
    /// Hash rules have looked at it: its hashes are complete and were compared.
    pub hashes_checked: bool,
    hashes: Option<Box<Hashes>>,
    /// Bytes that the virus check has not seen; `None` where it wants no more.
    tap: Option<Vec<u8>>,
    /// Its bytes for `filestore`, as long as they are kept.
    kept: Option<Kept>,
    /// Its search, once it has begun.
    pub scanner: Option<Box<crate::scan::Scanner>>,
    /// What another program is asked about it.
    pub question: Option<Box<crate::scan::remote::Question>>,
}

impl File {
    /// The virus check wants nothing of it, or nothing more.
    pub fn is_scanned(&self) -> bool {
        self.tap.is_none()
    }

    /// The bytes that the virus check has not seen.
    pub fn take_tap(&mut self) -> Vec<u8> {
        self.tap.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Gives the room of those bytes back, to be filled again.
    pub fn give_tap(&mut self, mut room: Vec<u8>) {
        room.clear();
        self.tap = Some(room);
    }

    /// The virus check has judged it.
    pub fn end_scan(&mut self) {
        (self.tap, self.scanner, self.question) = (None, None, None);
    }

    /// Bytes kept for `filestore`.
    pub fn kept(&self) -> Option<&[u8]> {
        self.kept.as_ref().map(|kept| kept.bytes.as_slice())
    }

    /// They are kept no more, and the file is not stored.
    pub fn give_up_kept(&mut self) {
        (self.kept, self.stored) = (None, None);
    }

    /// A rule wants it stored, which it can be where its bytes are kept. `number` is that of the file stored last.
    pub fn store(&mut self, number: &mut u32) {
        if self.kept.is_some() && self.stored.is_none() {
            *number = number.wrapping_add(1);
            self.stored = Some(*number);
        }
    }

    /// Adds bytes.
    pub fn append(&mut self, bytes: &[u8]) {
        if self.state != State::Open {
            return;
        }
        self.content.append(bytes);
        if let Some(kept) = &mut self.kept {
            let room = kept.limit.saturating_sub(kept.bytes.len()).min(bytes.len());
            kept.bytes.extend_from_slice(bytes.get(..room).unwrap_or_default());
        }
        if let Some(tap) = &mut self.tap {
            tap.extend_from_slice(bytes);
        }
        if let Some(hashes) = &mut self.hashes {
            hashes.update(bytes);
        }
    }

    /// Bytes are missing: the file goes on with a hole, without hashes.
    pub fn gap(&mut self, bytes: u64) {
        self.content.gap(bytes);
        self.gaps = true;
        self.hashes = None;
        self.give_up_kept();
    }

    /// It is complete.
    pub fn close(&mut self) {
        if self.state == State::Open {
            self.state = if self.gaps { State::Truncated } else { State::Closed };
            self.content.close();
            if let Some(hashes) = &mut self.hashes {
                hashes.finish();
            }
        }
    }

    /// It ended early.
    pub fn truncate(&mut self) {
        if self.state == State::Open {
            self.state = State::Truncated;
            self.content.close();
            self.hashes = None;
        }
    }

    /// Bytes seen.
    pub fn size(&self) -> u64 {
        self.content.size()
    }

    /// MD5, once it is complete.
    pub fn md5(&self) -> Option<&[u8]> {
        self.hashes.as_ref().and_then(|hashes| hashes.md5())
    }

    /// SHA-1, once it is complete.
    pub fn sha1(&self) -> Option<&[u8]> {
        self.hashes.as_ref().and_then(|hashes| hashes.sha1())
    }

    /// SHA-256, once it is complete.
    pub fn sha256(&self) -> Option<&[u8]> {
        self.hashes.as_ref().and_then(|hashes| hashes.sha256())
    }

    /// Its ending after the last dot of its name, as `fileext` compares it; empty without one.
    pub fn extension(&self) -> &[u8] {
        let dot = self.name.iter().rposition(|&byte| byte == b'.');
        dot.and_then(|dot| self.name.get(dot + 1..)).unwrap_or_default()
    }
}

/// The first bytes of a file, kept until it is known whether it is to be stored.
#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    limit: usize,
}

/// How a file stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// More is expected.
    #[default]
    Open,
    /// It is complete.
    Closed,
    /// It ended early, or bytes are missing.
    Truncated,
}

impl State {
    /// The name in EVE.
    pub const fn name(self) -> &'static str {
        match self {
            State::Open | State::Truncated => "TRUNCATED",
            State::Closed => "CLOSED",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(limit: u64, minimum: u64, window: u64) -> Content {
        Content::new(Limits { limit, minimum, window, at_once: false })
    }

    #[test]
    fn rules_wait_for_the_minimum_or_the_end() {
        let mut content = content(0, 10, 4);
        content.append(b"12345");
        assert_eq!(content.window(), None);
        content.close();
        assert_eq!(content.window(), Some((&b"12345"[..], 0)));
        content.mark_inspected();
        assert_eq!(content.window(), None);
    }

    #[test]
    fn a_later_window_begins_before_the_new_bytes() {
        let mut content = content(0, 4, 8);
        content.append(b"0123456789");
        assert_eq!((content.window(), content.seen()), (Some((&b"0123456789"[..], 0)), 0));
        content.mark_inspected();
        content.append(b"ab");
        assert_eq!((content.window(), content.seen()), (Some((&b"456789ab"[..], 4)), 6));
        content.mark_inspected();
        content.append(b"ABCDEFGHIJKLM");
        assert_eq!(content.window(), Some((&b"abABCDEFGHIJKLM"[..], 10)));
    }

    #[test]
    fn inline_every_part_is_looked_at_as_it_comes() {
        let mut content = Content::new(Limits { limit: 0, minimum: 40 << 10, window: 16 << 10, at_once: true });
        let mut looked_at = 0;
        for nth in 0..100 {
            content.append(&[b'x'; 1000]);
            let (bytes, at) = content.window().unwrap();
            assert_eq!(at + bytes.len() as u64, 1000 * (nth + 1));
            looked_at += bytes.len();
            content.mark_inspected();
            assert!(content.bytes.len() <= 16 << 10, "{} bytes kept", content.bytes.len());
        }
        assert!(looked_at < 800_000, "{looked_at} bytes looked at");
    }

    #[test]
    fn memory_stays_at_the_window() {
        let mut content = content(0, 100, 50);
        for _ in 0..10_000 {
            content.append(&[0xa5; 30]);
            content.mark_inspected();
            assert!(content.bytes.len() <= 250);
        }
        assert_eq!(content.size(), 300_000);
    }

    #[test]
    fn a_limit_ends_the_window_and_not_the_count() {
        let mut content = content(8, 100, 50);
        content.append(b"0123456789");
        assert!(content.is_limited());
        assert_eq!(content.window(), Some((&b"01234567"[..], 0)));
        content.mark_inspected();
        content.append(b"more");
        assert_eq!((content.window(), content.size()), (None, 14));
    }

    #[test]
    fn hashes_are_those_of_the_whole_file() {
        let mut files = Files::default();
        let file = files.open(b"a.tar.gz", Limits::default(), Hashed { hashes: true, ..Hashed::NO }).unwrap();
        file.append(b"a");
        file.append(b"bc");
        assert_eq!(file.md5(), None);
        file.close();
        let hex: String = file.md5().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(file.sha1().unwrap().first(), Some(&0xa9));
        assert_eq!(file.sha256().unwrap().first(), Some(&0xba));
        assert_eq!(file.extension(), b"gz");
    }

    #[test]
    fn a_file_with_a_hole_has_no_hashes() {
        let mut files = Files::default();
        let file = files.open(b"x", Limits::default(), Hashed { hashes: true, ..Hashed::NO }).unwrap();
        file.append(b"a");
        file.gap(5);
        file.append(b"b");
        file.close();
        assert_eq!((file.state, file.md5(), file.size()), (State::Truncated, None, 7));
    }
}
