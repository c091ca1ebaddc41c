//! One file under search: its digests, its signatures, and what it holds where it is an archive.
//!
//! Bytes are read once, in order. State: three digests, one automaton's state, the last [`SPAN`] bytes, the parts that
//! were found, and a scanner for the archive's current member.

use std::sync::Arc;

use aho_corasick::Anchored;
use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::nfa::contiguous::NFA;
use md5::{Digest as _, Md5};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use super::Limits;
use super::container::Container;
use super::database::Database;
use super::pattern::SPAN;

/// Parts found of signatures that are not complete, and counts of them.
const FOUND: usize = 512;
/// Bytes of a file by which its kind is known.
const HEAD: usize = 16;
/// Steps of comparison for each byte, and to begin with.
const STEPS: u64 = 32;
const STEPS_FREE: u64 = 1 << 20;

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing so far.
    Clean,
    /// A signature of this name.
    Infected(String),
    /// It cannot be searched further, for this reason.
    Limit(&'static str),
}

/// What an archive and its members use up together.
#[derive(Debug)]
pub struct Budget {
    /// The limits.
    pub limits: Limits,
    /// Bytes of the outermost file.
    pub outer: u64,
    /// Bytes that archives unfolded to.
    pub unfolded: u64,
    /// Members of archives.
    pub members: u32,
}

impl Budget {
    /// Takes unfolded bytes; `false` beyond the limits.
    pub fn unfold(&mut self, bytes: usize) -> bool {
        self.unfolded = self.unfolded.saturating_add(bytes as u64);
        let allowed = (1u64 << 20).saturating_add(self.outer.saturating_mul(self.limits.ratio));
        self.unfolded <= self.limits.unfolded_bytes.min(allowed)
    }
}

/// A file under search.
#[derive(Debug)]
pub struct Scanner {
    budget: Budget,
    file: Search,
    outcome: Outcome,
    place: Option<super::Place>,
    /// What was searched begins where the file begins.
    pub from_start: bool,
}

impl Scanner {
    /// A search of a new file.
    pub fn new(database: &Arc<Database>, limits: Limits) -> Scanner {
        let budget = Budget { limits, outer: 0, unfolded: 0, members: 0 };
        Scanner { budget, file: Search::new(database, 0), outcome: Outcome::Clean, place: None, from_start: true }
    }

    /// Holds a place among the files that are searched at one time.
    pub fn hold(&mut self, place: super::Place) {
        self.place = Some(place);
    }

    /// Gives the place back.
    pub fn let_go(&mut self) {
        self.place = None;
    }

    /// Searches the next bytes.
    pub fn update(&mut self, bytes: &[u8]) -> &Outcome {
        if self.outcome == Outcome::Clean {
            self.budget.outer = self.budget.outer.saturating_add(bytes.len() as u64);
            self.outcome = if self.budget.outer > self.budget.limits.file_bytes {
                Outcome::Limit("the file is too long")
            } else {
                self.file.update(bytes, &mut self.budget)
            };
        }
        &self.outcome
    }

    /// The file is complete (`whole`), or ended early.
    pub fn finish(&mut self, whole: bool) -> &Outcome {
        if self.outcome == Outcome::Clean {
            self.outcome = self.file.finish(whole, &mut self.budget);
        }
        &self.outcome
    }

    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.budget.outer
    }
}

/// A file, or a member of an archive.
pub struct Search {
    database: Arc<Database>,
    depth: u8,
    size: u64,
    head: Vec<u8>,
    digests: (Option<Md5>, Option<Context>, Option<Context>),
    state: StateID,
    /// The state it began with.
    start: StateID,
    recent: Vec<u8>,
    /// Of parts of several pieces: the part, its next piece, and where the last one ended.
    begun: Vec<(u32, u32, u64)>,
    /// Parts that were found, and how often.
    found: Vec<(u32, u32)>,
    work: u64,
    container: Option<Box<Container>>,
}

impl std::fmt::Debug for Search {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Search").field("size", &self.size).field("depth", &self.depth).finish_non_exhaustive()
    }
}

impl Search {
    /// A search of a file that is so deep within others.
    pub fn new(database: &Arc<Database>, depth: u8) -> Search {
        let [md5, sha1, sha256] = database.kinds;
        let digests = (
            md5.then(Md5::new),
            sha1.then(|| Context::new(&SHA1_FOR_LEGACY_USE_ONLY)),
            sha256.then(|| Context::new(&SHA256)),
        );
        // An automaton that searches everywhere has a state to begin with.
        let start = database.search.as_ref().and_then(|search| search.start_state(Anchored::No).ok());
        Search {
            database: Arc::clone(database),
            depth,
            size: 0,
            head: Vec::new(),
            digests,
            state: start.unwrap_or_default(),
            start: start.unwrap_or_default(),
            recent: Vec::new(),
            begun: Vec::new(),
            found: Vec::new(),
            work: 0,
            container: None,
        }
    }

    /// Searches the next bytes.
    pub fn update(&mut self, bytes: &[u8], budget: &mut Budget) -> Outcome {
        let want = HEAD.saturating_sub(self.head.len());
        self.head.extend_from_slice(bytes.get(..want.min(bytes.len())).unwrap_or_default());
        let (md5, sha1, sha256) = &mut self.digests;
        md5.iter_mut().for_each(|context| context.update(bytes));
        sha1.iter_mut().chain(sha256).for_each(|context| context.update(bytes));
        if let Some(search) = self.database.search.clone()
            && let Some(outcome) = self.search(&search, bytes)
        {
            return outcome;
        }
        self.size = self.size.saturating_add(bytes.len() as u64);
        let keep = self.recent.len().saturating_add(bytes.len()).saturating_sub(SPAN);
        if keep > 0 {
            self.recent.drain(..keep.min(self.recent.len()));
        }
        let from = bytes.len().saturating_sub(SPAN);
        self.recent.extend_from_slice(bytes.get(from..).unwrap_or_default());
        let (database, depth) = (Arc::clone(&self.database), self.depth);
        self.container.get_or_insert_with(|| Box::new(Container::new(&database, depth))).update(bytes, budget)
    }

    /// The file ended.
    pub fn finish(&mut self, whole: bool, budget: &mut Budget) -> Outcome {
        if let Some(container) = &mut self.container {
            match container.finish(whole, budget) {
                Outcome::Clean => {}
                outcome => return outcome,
            }
        }
        if let Some(name) = self.complete(true) {
            return Outcome::Infected(name);
        }
        if !whole {
            return Outcome::Clean;
        }
        let (md5, sha1, sha256) = std::mem::take(&mut self.digests);
        let md5 = md5.map(|context| context.finalize().to_vec());
        let sha = sha1.into_iter().chain(sha256).map(|context| context.finish().as_ref().to_vec());
        let found =
            md5.into_iter().chain(sha).find_map(|digest| self.database.digest(&digest, self.size).map(str::to_owned));
        found.map_or(Outcome::Clean, Outcome::Infected)
    }

    fn search(&mut self, search: &NFA, bytes: &[u8]) -> Option<Outcome> {
        let database = Arc::clone(&self.database);
        let mut state = self.state;
        let mut next = 0;
        loop {
            if state == self.start {
                // Most bytes begin nothing; they are passed over without the automaton.
                let begins = |&byte: &u8| database.firsts.get(usize::from(byte)).is_none_or(|&first| first);
                let Some(skip) = bytes.get(next..).and_then(|rest| rest.iter().position(begins)) else { break };
                next += skip;
            }
            let at = next;
            let Some(&byte) = bytes.get(at) else { break };
            next += 1;
            state = search.next_state(Anchored::No, state, byte);
            if !search.is_special(state) || !search.is_match(state) {
                continue;
            }
            for nth in 0..search.match_len(state) {
                let piece = search.match_pattern(state, nth).as_usize();
                if let Some(name) = self.hit(&database, piece, bytes, at + 1) {
                    self.state = state;
                    return Some(Outcome::Infected(name));
                }
            }
            if self.work > STEPS_FREE.saturating_add(self.size.saturating_add(at as u64).saturating_mul(STEPS)) {
                return Some(Outcome::Limit("the signatures take too many steps"));
            }
        }
        self.state = state;
        None
    }

    /// The end of a piece stands before `end` of `bytes`.
    fn hit(&mut self, database: &Database, piece: usize, bytes: &[u8], end: usize) -> Option<String> {
        self.work += 1;
        let (piece, part_number, place) = database.pieces.get(piece)?;
        let part = database.parts.get(*part_number as usize)?;
        let signature = database.signatures.get(part.signature as usize)?;
        if !signature.target.takes(&self.head) {
            return None;
        }
        let last_end = match place {
            0 => 0,
            _ => self.begun.iter().find(|(number, next, _)| number == part_number && next == place)?.2,
        };
        // What the piece may span: the recent bytes, then these.
        let here = bytes.get(..end)?;
        let joined;
        let text = if here.len() >= piece.span.1 {
            here.get(here.len() - piece.span.1..)?
        } else {
            let before = piece.span.1 - here.len();
            let from = self.recent.len().saturating_sub(before);
            joined = [self.recent.get(from..)?, here].concat();
            self.work += joined.len() as u64 / 16;
            &joined[..]
        };
        let base = self.size.saturating_add(end as u64).saturating_sub(text.len() as u64);
        let fits = |at: usize| {
            let begin = base.saturating_add(at as u64);
            let in_offset = *place > 0 || (part.offset.least..=part.offset.most).contains(&begin);
            in_offset && begin >= last_end
        };
        piece.begins(text, fits, &mut self.work)?;
        let ended = self.size.saturating_add(end as u64);
        if place + 1 < part.pieces {
            let entry = (*part_number, place + 1, ended);
            // The first end is the best one: everything that follows a later one follows it too.
            if !self.begun.iter().any(|(number, next, _)| (*number, *next) == (entry.0, entry.1))
                && self.begun.len() < FOUND
            {
                self.begun.push(entry);
            }
            return None;
        }
        let full = self.found.len() >= FOUND;
        let known = self.found.iter().position(|(number, _)| number == part_number);
        if let Some(at) = known {
            self.found.get_mut(at).into_iter().for_each(|(_, count)| *count = count.saturating_add(1));
        } else if full {
            return None;
        } else {
            self.found.push((*part_number, 1));
        }
        self.is_complete(database, part.signature, false).then(|| signature.name.clone())
    }

    /// Whether a signature's condition is true and stays so; at the end, whether it is true.
    fn is_complete(&self, database: &Database, number: u32, at_end: bool) -> bool {
        let Some(signature) = database.signatures.get(number as usize) else { return false };
        let sized = signature.size != (0, u64::MAX);
        if !at_end && (sized || !signature.logic.is_lasting()) {
            return false;
        }
        let count = |part: usize| {
            let of = |(found, _): &&(u32, u32)| {
                database.parts.get(*found as usize).is_some_and(|p| p.signature == number && p.number as usize == part)
            };
            self.found.iter().find(of).map_or(0, |(_, count)| *count)
        };
        let fits = !at_end || (signature.size.0..=signature.size.1).contains(&self.size);
        fits && signature.logic.is_true(&count)
    }

    /// A signature that is true at the end only.
    fn complete(&self, at_end: bool) -> Option<String> {
        let database = &self.database;
        let of = |(part, _): &(u32, u32)| database.parts.get(*part as usize).map(|part| part.signature);
        let mut signatures = self.found.iter().filter_map(of);
        let found = signatures.find(|&number| self.is_complete(database, number, at_end))?;
        database.signatures.get(found as usize).map(|signature| signature.name.clone())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The test file of anti-virus programs, put together so that this source is none.
    pub fn eicar() -> Vec<u8> {
        [&b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR"[..], b"-STANDARD-ANTIVIRUS", b"-TEST-FILE!$H+H*"].concat()
    }

    pub fn scan(database: &Arc<Database>, text: &[u8], size: usize) -> Outcome {
        let mut scanner = Scanner::new(database, Limits::default());
        for piece in text.chunks(size) {
            if *scanner.update(piece) != Outcome::Clean {
                break;
            }
        }
        scanner.finish(true).clone()
    }

    fn infected(name: &str) -> Outcome {
        Outcome::Infected(name.into())
    }

    #[test]
    fn the_test_file_is_found_however_it_is_cut() {
        let database = Arc::new(Database::builtin());
        let text = [b"before ".as_slice(), &eicar(), b" after"].concat();
        for size in 1..=text.len() {
            assert_eq!(scan(&database, &text, size), infected("Eicar-Test-Signature"), "pieces of {size}");
        }
        let last = eicar().len() - 1;
        assert_eq!(scan(&database, &eicar()[..last], 7), Outcome::Clean);
    }

    #[test]
    fn body_and_logical_signatures_are_found_at_their_places() {
        let files = [
            ("a.ndb", "At.Ten:0:10:61626364\nGap:0:*:7879{2-5}7a7a\nStar:0:*:5151*5252\nOnly.Pe:1:*:70707070\n"),
            (
                "a.ldb",
                "Both;Target:0;0&1;31313131;32323232\nNot;Target:0;0&1=0;33333333;34343434\nCase;Target:0;0;6d6e6f70::i\n",
            ),
        ];
        let database = Arc::new(Database::read(files.into_iter()));
        assert!(database.refused.is_empty(), "{:?}", database.refused);
        for (text, outcome) in [
            (&b"0123456789abcd"[..], infected("At.Ten")),
            (b"012345678abcd", Outcome::Clean),
            (b"..xy...zz", infected("Gap")),
            (b"..xy......zz", Outcome::Clean),
            (b"QQ and much later RR", infected("Star")),
            (b"RR before QQ", Outcome::Clean),
            (b"pppp", Outcome::Clean),
            (b"MZ pppp", infected("Only.Pe")),
            (b"1111 2222", infected("Both")),
            (b"2222 1111", infected("Both")),
            (b"1111", Outcome::Clean),
            (b"3333", infected("Not")),
            (b"3333 4444", Outcome::Clean),
            (b"MnOp", infected("Case")),
        ] {
            for size in 1..=text.len() {
                assert_eq!(
                    scan(&database, text, size),
                    outcome,
                    "{:?} in pieces of {size}",
                    String::from_utf8_lossy(text)
                );
            }
        }
    }

    #[test]
    fn digests_are_compared_at_the_end_of_a_whole_file() {
        let line = "900150983cd24fb0d6963f7d28e17f72:3:Abc.MD5\n";
        let database = Arc::new(Database::read([("a.hdb", line)].into_iter()));
        assert_eq!(scan(&database, b"abc", 1), infected("Abc.MD5"));
        assert_eq!(scan(&database, b"abcd", 1), Outcome::Clean);
        let mut part = Scanner::new(&database, Limits::default());
        part.update(b"abc");
        assert_eq!(*part.finish(false), Outcome::Clean, "a part of a file has no digest");
    }

    #[test]
    fn hostile_files_meet_a_limit_instead_of_taking_time() {
        let line = format!("Slow:0:*:{}6262\n", "61{0-100}".repeat(18));
        let database = Arc::new(Database::read([("a.ndb", line.as_str())].into_iter()));
        let text = [&[b'a'; 1000][..], b"bb"].concat().repeat(2000);
        let mut scanner = Scanner::new(&database, Limits::default());
        scanner.update(&text);
        assert_ne!(*scanner.finish(true), Outcome::Clean);
        let limits = Limits { file_bytes: 100, ..Limits::default() };
        assert_eq!(*Scanner::new(&database, limits).update(&[0; 101]), Outcome::Limit("the file is too long"));
    }
}
