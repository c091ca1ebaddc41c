//! Archives opened as they stream by: gzip, zip and tar, each member a file of its own, archives within archives too.
//!
//! Zip members are read by their local headers, stored or deflated; what stands before the first header (programs that
//! unpack themselves) is not skipped. A member that cannot be opened (encrypted, other methods, stored without a length)
//! is passed over where its length is known, ends the reading of the archive where it is not, or is refused
//! ([`super::Limits::refuse_opaque`]): its bytes are searched as they stand, but not what they hold.
//!
//! Limits: [`super::Limits`]. Memory: one inflater of about 45 KiB for each archive within an archive.

use std::sync::Arc;

use flate2::{Decompress, FlushDecompress, Status};

use super::database::Database;
use super::scanner::{Budget, Outcome, Search};

/// A block of a tar.
const BLOCK: usize = 512;
/// The longest header that is put together: a gzip header with its name. That of a zip is read in parts.
const HEADER: usize = 8 << 10;
/// Bytes that come out of the inflater at once.
const CHUNK: usize = 16 << 10;

/// An archive, or a file that is none.
pub struct Container {
    database: Arc<Database>,
    depth: u8,
    /// Bytes that are needed together, as far as they came.
    pending: Vec<u8>,
    state: State,
    member: Option<Box<Search>>,
}

enum State {
    /// Its first bytes are being looked at.
    Unknown,
    /// It is no archive, or cannot be read further.
    Plain,
    /// A gzip member's header.
    GzipHead,
    /// A local header of a zip.
    ZipHead,
    /// So many bytes of name and extra field, then the member.
    ZipSkip { left: u64, then: Method },
    /// A deflated member; of gzip 8 bytes follow it, of zip perhaps a descriptor.
    Inflate { inflater: Box<Decompress>, gzip: bool },
    /// So many bytes of a member as it stands, then so many to be skipped.
    Stored { left: u64, padding: u64, tar: bool },
    /// So many bytes to be skipped, then a header.
    Skip { left: u64, tar: bool },
    /// A header of a tar.
    TarHead,
    /// Bytes between zip members: a descriptor, until the next signature.
    ZipGap,
}

#[derive(Clone, Copy)]
enum Method {
    Stored(u64),
    Deflated,
}

/// How a step went on.
enum Step {
    /// The same bytes are looked at in another state.
    Again,
    /// It used so many bytes.
    Used(usize),
    /// It needs so many bytes together.
    Need(usize),
    /// The search is over.
    Done(Outcome),
}

impl Container {
    /// A file at this depth.
    pub fn new(database: &Arc<Database>, depth: u8) -> Container {
        Container { database: Arc::clone(database), depth, pending: Vec::new(), state: State::Unknown, member: None }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8], budget: &mut Budget) -> Outcome {
        self.run(bytes, false, budget)
    }

    /// The file ended.
    pub fn finish(&mut self, whole: bool, budget: &mut Budget) -> Outcome {
        match self.run(&[], true, budget) {
            Outcome::Clean => {}
            outcome => return outcome,
        }
        match self.member.take() {
            // A member that is cut off is no whole file.
            Some(mut member) => member.finish(whole && matches!(self.state, State::Plain), budget),
            None => Outcome::Clean,
        }
    }

    fn run(&mut self, bytes: &[u8], end: bool, budget: &mut Budget) -> Outcome {
        // Headers are put together from bytes that may come one by one; what members hold is passed on as it is.
        let mut joined = std::mem::take(&mut self.pending);
        let mut rest = bytes;
        if !joined.is_empty() {
            joined.extend_from_slice(bytes);
            rest = &joined;
        }
        while !rest.is_empty() && !matches!(self.state, State::Plain) {
            match self.step(rest, end, budget) {
                Step::Again => {}
                Step::Used(0) => break,
                Step::Used(used) => rest = rest.get(used..).unwrap_or_default(),
                Step::Need(need) if need > HEADER => return Outcome::Limit("an archive's header is too long"),
                Step::Need(_) => {
                    self.pending = rest.to_vec();
                    break;
                }
                Step::Done(outcome) => return outcome,
            }
        }
        Outcome::Clean
    }

    /// The archive cannot be opened.
    fn opaque(&mut self, budget: &Budget) -> Step {
        if budget.limits.refuse_opaque {
            return Step::Done(Outcome::Limit("an archive that cannot be opened"));
        }
        self.plain();
        Step::Again
    }

    fn plain(&mut self) {
        self.state = State::Plain;
        self.pending = Vec::new();
    }

    fn step(&mut self, bytes: &[u8], end: bool, budget: &mut Budget) -> Step {
        if bytes.is_empty() {
            return Step::Used(0);
        }
        match &mut self.state {
            State::Plain => Step::Used(bytes.len()),
            State::Unknown => self.recognise(bytes, end),
            State::GzipHead => self.gzip_head(bytes, budget),
            State::ZipHead => self.zip_head(bytes, budget),
            State::TarHead => self.tar_head(bytes, budget),
            State::ZipSkip { left, then } => {
                let used = take(left, bytes);
                if *left > 0 {
                    return Step::Used(used);
                }
                self.state = match *then {
                    Method::Stored(left) => State::Stored { left, padding: 0, tar: false },
                    Method::Deflated => State::Inflate { inflater: Box::new(Decompress::new(false)), gzip: false },
                };
                Step::Used(used)
            }
            State::Skip { left, tar } => {
                let used = take(left, bytes);
                if *left == 0 {
                    self.state = if *tar { State::TarHead } else { State::GzipHead };
                }
                Step::Used(used)
            }
            State::Stored { left, padding, tar } => {
                let used = take(left, bytes);
                let (ended, padding, tar) = (*left == 0, *padding, *tar);
                match self.feed(bytes.get(..used).unwrap_or_default(), budget) {
                    Outcome::Clean if !ended => return Step::Used(used),
                    Outcome::Clean => {}
                    outcome => return Step::Done(outcome),
                }
                self.state = match (tar, padding) {
                    (false, _) => State::ZipGap,
                    (true, 0) => State::TarHead,
                    (true, left) => State::Skip { left, tar: true },
                };
                self.end_member(used, budget)
            }
            State::ZipGap => self.zip_gap(bytes),
            State::Inflate { .. } => self.inflate(bytes, budget),
        }
    }

    fn recognise(&mut self, bytes: &[u8], end: bool) -> Step {
        const ZIP: &[u8] = b"PK\x03\x04";
        const GZIP: &[u8] = b"\x1f\x8b\x08";
        let begins = |magic: &[u8]| bytes.starts_with(magic) || (!end && magic.starts_with(bytes));
        if bytes.starts_with(ZIP) {
            self.state = State::ZipHead;
        } else if bytes.starts_with(GZIP) {
            self.state = State::GzipHead;
        } else if begins(ZIP) || begins(GZIP) {
            return Step::Need(4);
        } else if bytes.get(257..262) == Some(b"ustar") {
            self.state = State::TarHead;
        } else if bytes.len() >= 262 || end {
            self.plain();
        } else {
            return Step::Need(262);
        }
        Step::Again
    }

    fn gzip_head(&mut self, bytes: &[u8], budget: &mut Budget) -> Step {
        let Some(&[0x1f, 0x8b, 8, flags, ..]) = bytes.first_chunk::<10>() else {
            if bytes.len() < 10 {
                return Step::Need(10);
            }
            self.plain();
            return Step::Again;
        };
        let mut at = 10;
        if flags & 4 != 0 {
            let Some(&[low, high]) = bytes.get(at..).and_then(<[u8]>::first_chunk) else { return Step::Need(at + 2) };
            at += 2 + usize::from(u16::from_le_bytes([low, high]));
        }
        // The file's name, then a comment, each ending in a zero.
        for flag in [8, 16] {
            if flags & flag != 0 {
                let Some(length) = bytes.get(at..).and_then(|text| text.iter().position(|&b| b == 0)) else {
                    return Step::Need(bytes.len() + 1);
                };
                at += length + 1;
            }
        }
        at += if flags & 2 != 0 { 2 } else { 0 };
        if bytes.len() < at {
            return Step::Need(at);
        }
        self.state = State::Inflate { inflater: Box::new(Decompress::new(false)), gzip: true };
        self.begin_member(at, budget)
    }

    fn zip_head(&mut self, bytes: &[u8], budget: &mut Budget) -> Step {
        let Some(head) = bytes.first_chunk::<30>() else { return Step::Need(30) };
        if !head.starts_with(b"PK\x03\x04") {
            // The directory: all members were seen.
            self.plain();
            return Step::Again;
        }
        let word = |at: usize| head.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |&b| u16::from_le_bytes(b));
        let long = |at: usize| head.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |&b| u32::from_le_bytes(b));
        let (flags, method, size) = (word(6), word(8), u64::from(long(18)));
        let left = u64::from(word(26)) + u64::from(word(28));
        let sized = flags & 8 == 0 && size < u64::from(u32::MAX);
        let then = match method {
            _ if (flags & 1 != 0 || !matches!(method, 0 | 8)) && sized && !budget.limits.refuse_opaque => {
                // What follows it can be read.
                self.state = State::ZipSkip { left: left.saturating_add(size), then: Method::Stored(0) };
                if left.saturating_add(size) == 0 {
                    self.state = State::ZipGap;
                }
                return Step::Used(30);
            }
            _ if flags & 1 != 0 => return self.opaque(budget),
            8 => Method::Deflated,
            // Without its length a stored member has no end; with the Zip64 mark it stands elsewhere.
            0 if sized => Method::Stored(size),
            _ => return self.opaque(budget),
        };
        self.state = match (left, then) {
            (0, Method::Stored(left)) => State::Stored { left, padding: 0, tar: false },
            (0, Method::Deflated) => State::Inflate { inflater: Box::new(Decompress::new(false)), gzip: false },
            (left, then) => State::ZipSkip { left, then },
        };
        self.begin_member(30, budget)
    }

    /// Goes on to the next header of a zip: behind a member there may be a descriptor of 12 to 24 bytes.
    fn zip_gap(&mut self, bytes: &[u8]) -> Step {
        match bytes.iter().position(|&b| b == b'P') {
            Some(0) if bytes.len() < 4 => Step::Need(4),
            Some(0) if bytes.starts_with(b"PK\x03\x04") => {
                self.state = State::ZipHead;
                Step::Again
            }
            Some(0) if bytes.starts_with(b"PK\x01\x02") => {
                self.plain();
                Step::Used(bytes.len())
            }
            Some(0) => Step::Used(1),
            Some(at) => Step::Used(at),
            None => Step::Used(bytes.len()),
        }
    }

    fn tar_head(&mut self, bytes: &[u8], budget: &mut Budget) -> Step {
        let Some(head) = bytes.first_chunk::<BLOCK>() else { return Step::Need(BLOCK) };
        if head.get(257..262) != Some(b"ustar") {
            self.plain();
            return Step::Used(BLOCK);
        }
        let field = head.get(124..136).unwrap_or_default();
        let digits = field.iter().skip_while(|&&b| b == b' ').take_while(|b| (b'0'..=b'7').contains(b));
        let octal = digits.fold(0u64, |sum, &b| sum.saturating_mul(8).saturating_add(u64::from(b - b'0')));
        // Sizes beyond 8 GiB are written in binary, marked by the first bit.
        let binary = field.last_chunk::<8>().map_or(0, |&b| u64::from_be_bytes(b));
        let size = if field.first().is_some_and(|&b| b & 0x80 != 0) { binary } else { octal };
        let padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        let is_file = matches!(head.get(156), Some(b'0' | 0 | b'7'));
        self.state = match (is_file && size > 0, size) {
            (true, left) => State::Stored { left, padding, tar: true },
            (false, 0) => State::TarHead,
            (false, size) => State::Skip { left: size.saturating_add(padding), tar: true },
        };
        if is_file && size > 0 { self.begin_member(BLOCK, budget) } else { Step::Used(BLOCK) }
    }

    fn begin_member(&mut self, used: usize, budget: &mut Budget) -> Step {
        budget.members += 1;
        if budget.members > budget.limits.members {
            return Step::Done(Outcome::Limit("too many members in archives"));
        }
        if self.depth >= budget.limits.depth {
            return Step::Done(Outcome::Limit("too many archives within archives"));
        }
        self.member = Some(Box::new(Search::new(&self.database, self.depth + 1)));
        // An empty member ends at once.
        if matches!(self.state, State::Stored { left: 0, .. }) {
            self.state = State::ZipGap;
            return self.end_member(used, budget);
        }
        Step::Used(used)
    }

    fn end_member(&mut self, used: usize, budget: &mut Budget) -> Step {
        match self.member.take().map_or(Outcome::Clean, |mut member| member.finish(true, budget)) {
            // An empty member took nothing, but the next state has something to look at.
            Outcome::Clean if used == 0 => Step::Again,
            Outcome::Clean => Step::Used(used),
            outcome => Step::Done(outcome),
        }
    }

    fn feed(&mut self, bytes: &[u8], budget: &mut Budget) -> Outcome {
        if !budget.unfold(bytes.len()) {
            return Outcome::Limit("archives unfold to too much");
        }
        self.member.as_mut().map_or(Outcome::Clean, |member| member.update(bytes, budget))
    }

    fn inflate(&mut self, bytes: &[u8], budget: &mut Budget) -> Step {
        let mut room = vec![0; CHUNK];
        let mut used = 0;
        loop {
            let State::Inflate { inflater, gzip } = &mut self.state else { return Step::Used(used) };
            let (before_in, before_out, gzip) = (inflater.total_in(), inflater.total_out(), *gzip);
            let rest = bytes.get(used..).unwrap_or_default();
            let status = inflater.decompress(rest, &mut room, FlushDecompress::None);
            used += (inflater.total_in() - before_in) as usize;
            let made = (inflater.total_out() - before_out) as usize;
            match self.feed(room.get(..made).unwrap_or_default(), budget) {
                Outcome::Clean => {}
                outcome => return Step::Done(outcome),
            }
            match status {
                Ok(Status::StreamEnd) => {
                    self.state = if gzip { State::Skip { left: 8, tar: false } } else { State::ZipGap };
                    return self.end_member(used, budget);
                }
                Ok(_) if made == 0 || (used >= bytes.len() && made < CHUNK) => {
                    return Step::Used(used.max(1).min(bytes.len()));
                }
                Ok(_) => {}
                Err(_) => {
                    self.plain();
                    return Step::Used(bytes.len());
                }
            }
        }
    }
}

/// Takes of what is left as many bytes as there are.
fn take(left: &mut u64, bytes: &[u8]) -> usize {
    let used = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    *left -= used as u64;
    used
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::Limits;
    use super::super::scanner::tests::{eicar, scan};
    use super::super::{Scanner, scanner};
    use super::*;

    fn infected() -> Outcome {
        scanner::Outcome::Infected("Eicar-Test-Signature".into())
    }

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    pub fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::GzBuilder::new().filename("a.bin").write(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zip(members: &[(&str, &[u8], bool)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, bytes, deflate) in members {
            let body = if *deflate { deflated(bytes) } else { bytes.to_vec() };
            let (flags, size) = if *deflate { (8u16, 0) } else { (0, body.len() as u32) };
            out.extend_from_slice(b"PK\x03\x04\x14\0");
            out.extend_from_slice(&flags.to_le_bytes());
            out.extend_from_slice(&if *deflate { 8u16 } else { 0 }.to_le_bytes());
            out.extend_from_slice(&[0; 8]);
            out.extend_from_slice(&size.to_le_bytes());
            out.extend_from_slice(&size.to_le_bytes());
            out.extend_from_slice(&(name.len() as u16).to_le_bytes());
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(&body);
            if *deflate {
                out.extend_from_slice(b"PK\x07\x08");
                out.extend_from_slice(&[7; 12]);
            }
        }
        out.extend_from_slice(b"PK\x01\x02");
        out.extend_from_slice(&[0; 42]);
        out
    }

    fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, bytes) in members {
            let mut head = [0u8; 512];
            head[..name.len()].copy_from_slice(name.as_bytes());
            head[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
            head[156] = b'0';
            head[257..262].copy_from_slice(b"ustar");
            out.extend_from_slice(&head);
            out.extend_from_slice(bytes);
            out.resize(out.len().div_ceil(512) * 512, 0);
        }
        out.resize(out.len() + 1024, 0);
        out
    }

    #[test]
    fn members_of_archives_are_searched_however_they_are_cut() {
        let (bad, good) = (eicar(), vec![b'x'; 700]);
        let archives = [
            gzip(&bad),
            zip(&[("good", &good, true), ("bad", &bad, true)]),
            zip(&[("good", &good, false), ("empty", b"", false), ("bad", &bad, true)]),
            tar(&[("good", &good), ("empty", b""), ("bad", &bad)]),
            gzip(&tar(&[("good", &good), ("inner.zip", &zip(&[("bad", &bad, true)]))])),
            [gzip(&good), gzip(&bad)].concat(),
        ];
        let database = Arc::new(Database::builtin());
        for (number, archive) in archives.iter().enumerate() {
            for size in [1, 2, 3, 7, 100, archive.len()] {
                assert_eq!(scan(&database, archive, size), infected(), "archive {number} in pieces of {size}");
            }
        }
        let clean = [gzip(&good), zip(&[("a", &good, true), ("b", &good, false)]), tar(&[("a", &good)])];
        for archive in &clean {
            assert_eq!(scan(&database, archive, 11), Outcome::Clean);
        }
    }

    #[test]
    fn digests_of_members_are_compared() {
        let database = Arc::new(Database::read([("a.hdb", "900150983cd24fb0d6963f7d28e17f72:3:Abc\n")].into_iter()));
        for archive in [gzip(b"abc"), zip(&[("a", b"abc", true)]), zip(&[("a", b"abc", false)]), tar(&[("a", b"abc")])]
        {
            assert_eq!(scan(&database, &archive, 5), Outcome::Infected("Abc".into()));
        }
    }

    #[test]
    fn bombs_meet_a_limit() {
        let database = Arc::new(Database::builtin());
        let mut nested = eicar();
        for _ in 0..6 {
            nested = gzip(&nested);
        }
        assert_eq!(scan(&database, &nested, 100), Outcome::Limit("too many archives within archives"));
        let bomb = gzip(&gzip(&vec![0; 64 << 20]));
        assert_eq!(scan(&database, &bomb, 1000), Outcome::Limit("archives unfold to too much"));
        let many: Vec<(&str, &[u8], bool)> = vec![("a", b"", false); 200];
        let mut few = Scanner::new(&database, Limits { members: 100, ..Limits::default() });
        assert_eq!(*few.update(&zip(&many)), Outcome::Limit("too many members in archives"));
    }

    #[test]
    fn broken_archives_do_no_harm() {
        let database = Arc::new(Database::builtin());
        let archive = gzip(&tar(&[("a", &[b'x'; 600]), ("b", &zip(&[("c", &[b'y'; 900], true)]))]));
        for at in 0..archive.len() {
            let mut broken = archive.clone();
            broken[at] ^= 0x55;
            scan(&database, &broken, 33);
            scan(&database, &archive[..at], 33);
        }
    }
}
