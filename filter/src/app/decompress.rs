//! Undoes the content codings of bodies (gzip, deflate, br, lzma), several on top of each other, as bytes come.
//!
//! What claims to be one coding may be another: browsers try, so this does. Each layer starts with the coding that was
//! named; where the first bytes do not fit, the others are tried with the same bytes; where none fits, the bytes pass as
//! they are. Bytes that came out before an error count; after it the rest is ignored.
//!
//! Limits: [`Limits::bomb`] bytes out, unless they are less than [`RATIO`] times the bytes that went in; a layer keeps
//! [`HEAD`] bytes to try again with. Brotli's window is the 16 MiB of its format at most, allocated as it is named.

use std::io::Write;

use brotli_decompressor::DecompressorWriter;
use flate2::{Decompress, FlushDecompress};

mod gzip;
mod inflate;

use gzip::Header;
use inflate::{Inflate, Went};

/// Bytes out for one byte in, beyond which a body is a bomb.
pub const RATIO: u64 = 2048;
/// Bytes kept to try another coding with.
const HEAD: usize = 4096;
/// Bytes handed on at a time.
const STEP: usize = 16 << 10;
/// Bytes behind a member of gzip: checksum and length.
const TRAILER: u8 = 8;
/// Members of gzip that are undone.
const MEMBERS: u16 = 1024;
/// Memory that LZMA may ask for.
const LZMA_MEMORY: usize = 1 << 20;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 1951.
    Deflate,
    /// RFC 1950.
    Zlib,
    /// RFC 7932.
    Brotli,
    /// LZMA with its own header.
    Lzma,
}

/// What is to be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes out after which the ratio is looked at.
    pub bomb: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bomb: 1 << 20 }
    }
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Well, or as well as can be.
    Going,
    /// Too much came out: nothing more will.
    Bomb,
}

/// What was wrong with a body's codings; the worst of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Bytes did not fit the coding that was named for them.
    Broken,
    /// They ask for more memory than they get.
    Memory,
}

/// Layers of codings, undone one after the other.
#[derive(Debug)]
pub struct Decompressor {
    layers: Vec<Layer>,
    limits: Limits,
    taken: u64,
    given: u64,
    dead: bool,
}

impl Decompressor {
    /// For codings in the order in which they were applied.
    pub fn new(codings: &[Coding], limits: Limits) -> Decompressor {
        let layers = codings.iter().rev().map(|&coding| Layer::new(coding)).collect();
        Decompressor { layers, limits, taken: 0, given: 0, dead: false }
    }

    /// Takes bytes; `sink` is given what comes out.
    pub fn write(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) -> Status {
        if self.dead {
            return Status::Going;
        }
        self.taken = self.taken.saturating_add(bytes.len() as u64);
        let (limit, given) = (self.limits.bomb.max(self.taken.saturating_mul(RATIO)), &mut self.given);
        let mut count = |bytes: &[u8]| {
            if *given > limit {
                return false;
            }
            *given = given.saturating_add(bytes.len() as u64);
            sink(bytes);
            true
        };
        if pass(&mut self.layers, bytes, &mut count) {
            return Status::Going;
        }
        self.dead = true;
        Status::Bomb
    }

    /// What was wrong so far.
    pub fn fault(&self) -> Fault {
        self.layers.iter().map(|layer| layer.fault).max().unwrap_or_default()
    }

    /// No more bytes follow: what the layers still hold comes out.
    pub fn finish(&mut self, sink: &mut dyn FnMut(&[u8])) {
        for nth in 0..self.layers.len() {
            let (this, after) = self.layers.split_at_mut(nth + 1);
            let Some(layer) = this.last_mut() else { break };
            let mut rest = Vec::new();
            layer.finish(&mut rest);
            pass(after, &rest, &mut |bytes| {
                sink(bytes);
                true
            });
        }
    }
}

/// Passes bytes through layers. `false`: the sink takes no more.
fn pass(layers: &mut [Layer], bytes: &[u8], sink: &mut dyn FnMut(&[u8]) -> bool) -> bool {
    match layers.split_first_mut() {
        Some((layer, after)) => layer.write(bytes, &mut |out| pass(after, out, sink)),
        None => sink(bytes),
    }
}

/// One coding that is being undone.
#[derive(Debug)]
struct Layer {
    coding: Coding,
    engine: Engine,
    /// Bytes taken while nothing came out.
    head: Vec<u8>,
    produced: bool,
    tries: u8,
    fault: Fault,
}

enum Engine {
    /// How many members have ended, too.
    Gzip(Header, Box<Inflate>, u16),
    /// Bytes left of what follows a member of gzip; another may come, as many clients undo them.
    GzipTail(u8, Box<Inflate>, u16),
    Deflate(Box<Inflate>),
    Zlib(Box<Decompress>),
    Brotli(Box<DecompressorWriter<Vec<u8>>>),
    Lzma(Box<lzma_rs::decompress::Stream<Vec<u8>>>),
    /// Bytes pass as they are.
    Through,
    /// The end was reached, or an error met: what follows is ignored.
    Done,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Engine::Gzip(..) | Engine::GzipTail(..) => "Gzip",
            Engine::Deflate(_) => "Deflate",
            Engine::Zlib(_) => "Zlib",
            Engine::Brotli(_) => "Brotli",
            Engine::Lzma(_) => "Lzma",
            Engine::Through => "Through",
            Engine::Done => "Done",
        })
    }
}

/// What one step of an engine came to.
enum Step {
    /// All bytes were used.
    All,
    /// The sink takes no more.
    Stopped,
    /// The coding's end was reached.
    End,
    /// The bytes are not of this coding.
    Error,
}

impl Engine {
    fn new(coding: Coding) -> Engine {
        match coding {
            Coding::Gzip => Engine::Gzip(Header::default(), Box::new(Inflate::new()), 0),
            Coding::Deflate => Engine::Deflate(Box::new(Inflate::new())),
            Coding::Zlib => Engine::Zlib(Box::new(Decompress::new(true))),
            Coding::Brotli => Engine::Brotli(Box::new(DecompressorWriter::new(Vec::new(), STEP))),
            Coding::Lzma => {
                let options = lzma_rs::decompress::Options { memlimit: Some(LZMA_MEMORY), ..Default::default() };
                Engine::Lzma(Box::new(lzma_rs::decompress::Stream::new_with_options(&options, Vec::new())))
            }
        }
    }

    fn write(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8]) -> bool) -> Step {
        match self {
            Engine::Gzip(..) | Engine::GzipTail(..) => self.members(bytes, sink),
            Engine::Deflate(inflate) => inflate.write(bytes, sink).0.into(),
            Engine::Zlib(inflate) => inflate_into(inflate, bytes, sink),
            Engine::Brotli(writer) => {
                let went = writer.write_all(bytes).and_then(|()| writer.flush());
                let out = std::mem::take(writer.get_mut());
                written(went.is_ok(), &out, sink)
            }
            Engine::Lzma(stream) => {
                let went = stream.write_all(bytes);
                let out = stream.get_output_mut().map(std::mem::take).unwrap_or_default();
                written(went.is_ok(), &out, sink)
            }
            Engine::Through if sink(bytes) => Step::All,
            Engine::Through => Step::Stopped,
            Engine::Done => Step::All,
        }
    }
}

impl Engine {
    /// Members of gzip, one behind the other.
    fn members(&mut self, mut bytes: &[u8], sink: &mut dyn FnMut(&[u8]) -> bool) -> Step {
        loop {
            match std::mem::replace(self, Engine::Done) {
                Engine::Gzip(mut header, mut inflate, ended) => {
                    let Some(used) = header.skip(bytes) else { return Step::Error };
                    bytes = bytes.get(used..).unwrap_or_default();
                    let (went, used) = inflate.write(bytes, sink);
                    if went != Went::End {
                        *self = Engine::Gzip(header, inflate, ended);
                        return went.into();
                    }
                    bytes = bytes.get(used..).unwrap_or_default();
                    *self = Engine::GzipTail(TRAILER, inflate, ended.saturating_add(1));
                }
                Engine::GzipTail(left, mut inflate, ended) => {
                    let skipped = usize::from(left).min(bytes.len());
                    bytes = bytes.get(skipped..).unwrap_or_default();
                    match bytes.first() {
                        None => {
                            let left = left.saturating_sub(u8::try_from(skipped).unwrap_or(u8::MAX));
                            *self = Engine::GzipTail(left, inflate, ended);
                            return Step::All;
                        }
                        Some(0x1f) if ended < MEMBERS => {
                            inflate.reset();
                            *self = Engine::Gzip(Header::default(), inflate, ended);
                        }
                        Some(_) => return Step::End,
                    }
                }
                other @ (Engine::Deflate(_)
                | Engine::Zlib(_)
                | Engine::Brotli(_)
                | Engine::Lzma(_)
                | Engine::Through
                | Engine::Done) => {
                    *self = other;
                    return Step::All;
                }
            }
        }
    }
}

fn written(well: bool, out: &[u8], sink: &mut dyn FnMut(&[u8]) -> bool) -> Step {
    if !out.is_empty() && !sink(out) {
        return Step::Stopped;
    }
    if well { Step::All } else { Step::Error }
}

fn inflate_into(inflate: &mut Decompress, mut bytes: &[u8], sink: &mut dyn FnMut(&[u8]) -> bool) -> Step {
    let mut out = [0u8; STEP];
    loop {
        let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
        let went = inflate.decompress(bytes, &mut out, FlushDecompress::Sync);
        let used = usize::try_from(inflate.total_in() - before_in).unwrap_or(usize::MAX);
        let made = usize::try_from(inflate.total_out() - before_out).unwrap_or(usize::MAX);
        let fresh = out.get(..made).unwrap_or_default();
        if !fresh.is_empty() && !sink(fresh) {
            return Step::Stopped;
        }
        bytes = bytes.get(used..).unwrap_or_default();
        match went {
            Err(_) => return Step::Error,
            Ok(flate2::Status::StreamEnd) => return Step::End,
            Ok(flate2::Status::Ok | flate2::Status::BufError) => {
                // Where there was room left, all that the bytes stand for has come out.
                if (bytes.is_empty() && made < STEP) || (made == 0 && used == 0) {
                    return Step::All;
                }
            }
        }
    }
}

impl From<Went> for Step {
    fn from(went: Went) -> Step {
        match went {
            Went::All => Step::All,
            Went::Stopped => Step::Stopped,
            Went::End => Step::End,
            Went::Error => Step::Error,
        }
    }
}

impl Layer {
    fn new(coding: Coding) -> Layer {
        Layer { coding, engine: Engine::new(coding), head: Vec::new(), produced: false, tries: 0, fault: Fault::None }
    }

    /// Takes bytes. `false`: the sink takes no more.
    fn write(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let keep = !self.produced && self.head.len() < HEAD && !matches!(self.engine, Engine::Through | Engine::Done);
        if keep {
            self.head.extend_from_slice(bytes);
        }
        let step = self.step(bytes, sink);
        if matches!(step, Step::Error) {
            self.fault = self.fault.max(self.reason());
        }
        match step {
            Step::All => true,
            Step::Stopped => false,
            Step::End => {
                self.engine = Engine::Done;
                true
            }
            Step::Error if self.produced => {
                self.engine = Engine::Done;
                true
            }
            Step::Error => self.retry(sink),
        }
    }

    /// Why the coding that was named does not fit.
    fn reason(&self) -> Fault {
        // LZMA's header has the size of its dictionary behind a byte. A smaller one always fits.
        let asked = self.head.get(1..5).and_then(|size| size.first_chunk()).map_or(0, |&size| u32::from_le_bytes(size));
        let memory = self.coding == Coding::Lzma && asked as usize > LZMA_MEMORY;
        if memory { Fault::Memory } else { Fault::Broken }
    }

    fn step(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8]) -> bool) -> Step {
        let produced = &mut self.produced;
        self.engine.write(bytes, &mut |out| {
            *produced = true;
            sink(out)
        })
    }

    /// Tries the other codings with the bytes so far, then lets them pass.
    fn retry(&mut self, sink: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let head = std::mem::take(&mut self.head);
        while self.tries < 3 {
            self.tries += 1;
            self.coding = match self.coding {
                Coding::Gzip | Coding::Lzma | Coding::Brotli => Coding::Deflate,
                Coding::Deflate => Coding::Zlib,
                Coding::Zlib => Coding::Gzip,
            };
            self.engine = Engine::new(self.coding);
            match self.step(&head, sink) {
                Step::All => {
                    self.head = head;
                    return true;
                }
                Step::Stopped => return false,
                Step::End => {
                    self.engine = Engine::Done;
                    return true;
                }
                Step::Error if self.produced => {
                    self.engine = Engine::Done;
                    return true;
                }
                Step::Error => {}
            }
        }
        self.engine = Engine::Through;
        sink(&head)
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        match std::mem::replace(&mut self.engine, Engine::Done) {
            Engine::Lzma(stream) => out.extend(stream.finish().unwrap_or_default()),
            Engine::Brotli(mut writer) => {
                // An error at the end changes nothing: what came out, came out.
                let _ = writer.close();
                out.append(writer.get_mut());
            }
            Engine::Gzip(..)
            | Engine::GzipTail(..)
            | Engine::Deflate(_)
            | Engine::Zlib(_)
            | Engine::Through
            | Engine::Done => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn undo(codings: &[Coding], bytes: &[u8], step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut decompressor = Decompressor::new(codings, Limits::default());
        for part in bytes.chunks(step) {
            decompressor.write(part, &mut |bytes| out.extend_from_slice(bytes));
        }
        decompressor.finish(&mut |bytes| out.extend_from_slice(bytes));
        out
    }

    fn text() -> Vec<u8> {
        (0..5000u32).flat_map(|n| format!("line {n}, ").into_bytes()).collect()
    }

    #[test]
    fn whatever_is_claimed_is_undone_however_it_is_cut() {
        let text = text();
        for bytes in [gzip(&text), deflate(&text), zlib(&text)] {
            for claim in [Coding::Gzip, Coding::Deflate, Coding::Zlib] {
                for step in [1, 7, 100_000] {
                    assert!(undo(&[claim], &bytes, step) == text, "{claim:?} in steps of {step}");
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_its_name_is_told() {
        let text = text();
        let fault = |coding: Coding, bytes: &[u8]| {
            let mut decompressor = Decompressor::new(&[coding], Limits::default());
            decompressor.write(bytes, &mut |_| {});
            decompressor.fault()
        };
        assert_eq!(fault(Coding::Gzip, &gzip(&text)), Fault::None);
        assert_eq!(fault(Coding::Deflate, &deflate(&text)), Fault::None);
        assert_eq!(fault(Coding::Deflate, &zlib(&text)), Fault::Broken);
        assert_eq!(fault(Coding::Gzip, b"plain text"), Fault::Broken);
        // A stored block, then one of a kind that there is not.
        let broken = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0xfa, 0xff][..], b"hello\x07"].concat();
        assert_eq!(fault(Coding::Gzip, &broken), Fault::Broken);
        // A dictionary of 8 MiB, of which more is used than there is room for.
        let mut large = Vec::new();
        lzma_rs::lzma_compress(&mut &vec![7; 2 * LZMA_MEMORY][..], &mut large).unwrap();
        assert_eq!(fault(Coding::Lzma, &large), Fault::Memory);
    }

    #[test]
    fn layers_are_undone_from_the_last() {
        let text = text();
        assert!(undo(&[Coding::Deflate, Coding::Gzip], &gzip(&deflate(&text)), 50) == text);
    }

    #[test]
    fn bytes_of_no_coding_pass() {
        assert_eq!(undo(&[Coding::Gzip], b"<html>plain</html>", 3), b"<html>plain</html>");
    }

    #[test]
    fn a_cut_or_broken_body_gives_what_it_can() {
        let text = text();
        let mut bytes = gzip(&text);
        bytes.truncate(bytes.len() / 2);
        let half = undo(&[Coding::Gzip], &bytes, 100);
        assert!(half.len() > 1000 && text.starts_with(&half));
        let mut bytes = gzip(&text);
        let middle = bytes.len() / 2;
        bytes[middle..].fill(0xff);
        assert!(undo(&[Coding::Gzip], &bytes, 100).len() > 1000);
    }

    #[test]
    fn members_of_gzip_are_undone_one_behind_the_other() {
        let bytes = [gzip(b"one, "), gzip(b"two"), b"what follows is no member".to_vec()].concat();
        for step in [1, 3, 1000] {
            assert_eq!(undo(&[Coding::Gzip], &bytes, step), b"one, two", "in steps of {step}");
        }
        let many = gzip(b"x").repeat(3000);
        assert_eq!(undo(&[Coding::Gzip], &many, 1400).len(), usize::from(MEMBERS));
    }

    #[test]
    fn a_header_with_all_its_parts_is_skipped() {
        let body = deflate(b"hello");
        let mut bytes = vec![0x1f, 0x8b, 8, 0x1f, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(b"\x03\x00xyzname\0comment\0\x11\x22");
        bytes.extend_from_slice(&body);
        for step in [1, 1000] {
            assert_eq!(undo(&[Coding::Gzip], &bytes, step), b"hello");
        }
    }

    #[test]
    fn a_bomb_is_stopped() {
        let bytes = gzip(&vec![0u8; 50 << 20]);
        let twice = gzip(&bytes);
        let mut out = 0;
        let mut decompressor = Decompressor::new(&[Coding::Gzip, Coding::Gzip], Limits::default());
        let status = decompressor.write(&twice, &mut |bytes| out += bytes.len());
        assert_eq!(status, Status::Bomb);
        assert!(out < 4 << 20);
    }
}
