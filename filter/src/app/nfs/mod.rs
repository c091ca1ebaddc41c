//! NFS 2 (RFC 1094), 3 (RFC 1813) and 4 (RFC 7530) over TCP and UDP, in calls of ONC RPC (RFC 5531).
//!
//! A transaction is a call with its answer, or a file that is read or written, from its first bytes to its end.
//!
//! Limits: records up to [`RECORD`] bytes are read whole; of longer ones only the bytes of files are read, as they
//! come. Each table of names and calls has [`ENTRIES`] entries, the oldest are forgotten.

mod log;
mod rpc;
#[cfg(test)]
mod tests;
mod three;
mod transaction;

use weir_ids_rules::{AppProtocol, Buffer};

use super::parts::Parts;
use super::read::Reader;
use super::recent::Recent;
use super::{Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Provides, Settings, Transactions};
use crate::event::Tuple;
use crate::inspect::Direction;
use rpc::{Call, Credentials, Reply};
use transaction::{Kind, Transfer, Tx};

/// Longest record that is read whole.
const RECORD: usize = 120 << 10;
/// Bytes of a long record that are enough to know what it carries.
const PARTIAL: usize = 512;
/// Entries of a table.
const ENTRIES: usize = 1024;
/// Number of the program (RFC 1813, 1).
const PROGRAM: u32 = 100_003;

/// How it is found and what its transactions have.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Nfs,
    tcp: true,
    udp: true,
    ports: &[2049],
    patterns: &[],
    probe,
    on_ports_only: true,
    start,
    buffers: &[
        Provides::new(Buffer::FileData, Direction::Original, 0),
        Provides::new(Buffer::FileData, Direction::Reply, 0),
        Provides::new(Buffer::FileName, Direction::Original, 0),
        Provides::new(Buffer::FileName, Direction::Reply, 0),
    ],
    hooks: &[],
};

/// A call of the program, or an answer to one.
fn probe(way: Direction, bytes: &[u8], tuple: &Tuple) -> Probe {
    let mut reader = Reader::new(bytes);
    if tuple.protocol == 6 {
        match reader.be32() {
            Some(mark) if mark & 0x7fff_ffff >= 16 => {}
            Some(_) => return Probe::No,
            None => return Probe::More,
        }
    }
    let more = if tuple.protocol == 6 { Probe::More } else { Probe::No };
    let body = reader.rest();
    let mut head = Reader::new(body);
    let (Some(_), Some(kind)) = (head.be32(), head.be32()) else { return more };
    let from = match kind {
        0 => match (head.be32(), head.be32(), head.be32()) {
            (Some(2), Some(PROGRAM), Some(2..=4)) => Direction::Original,
            (Some(2), Some(PROGRAM), None) | (Some(2), None, None) | (None, None, None) => return more,
            _ => return Probe::No,
        },
        1 => match (head.be32(), head.be32(), head.be32()) {
            (Some(0), Some(0..=6), Some(0..=400)) | (Some(1), Some(0..=1), Some(_)) => Direction::Reply,
            (_, _, None) => return more,
            _ => return Probe::No,
        },
        _ => return Probe::No,
    };
    if from == way { Probe::Yes } else { Probe::Reversed }
}

fn start(_settings: &Settings, tuple: &Tuple) -> Box<dyn Parser> {
    Box::new(Nfs { datagrams: tuple.protocol == 17, ..Nfs::default() })
}

/// A call whose answer is awaited.
#[derive(Clone, Debug, Default)]
struct Asked {
    version: u32,
    procedure: u32,
    handle: Vec<u8>,
    name: Vec<u8>,
    offset: u64,
    credentials: Credentials,
}

/// One direction.
#[derive(Debug, Default)]
struct Side {
    skip: u64,
    stream: Option<Stream>,
    lost: bool,
}

/// The bytes of a file that follow.
#[derive(Clone, Debug)]
struct Stream {
    handle: Vec<u8>,
    offset: u64,
    left: u64,
    /// The file ends with them.
    last: bool,
}

#[derive(Debug)]
struct Nfs {
    list: List<Tx>,
    datagrams: bool,
    sides: [Side; 2],
    asked: Recent<u32, Asked>,
    names: Recent<Vec<u8>, Vec<u8>>,
    next_id: u64,
}

impl Default for Nfs {
    fn default() -> Nfs {
        Nfs {
            list: List::default(),
            datagrams: false,
            sides: Default::default(),
            asked: Recent::new(ENTRIES),
            names: Recent::new(ENTRIES),
            next_id: 1,
        }
    }
}

impl Parser for Nfs {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Nfs
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        if self.datagrams {
            if self.record(way, input.bytes, context.settings).is_none() {
                self.list.anomaly(Anomaly("nfs.malformed_data"));
            }
            return Fed::Used(input.bytes.len());
        }
        let mut used = 0;
        while let Some(rest) = input.bytes.get(used..).filter(|rest| !rest.is_empty()) {
            match self.step(way, rest, context.settings) {
                Step::Used(0) => break,
                Step::Used(count) => used += count,
                Step::Need(need) => return Fed::Wait { used, need },
                Step::Failed => {
                    self.list.anomaly(Anomaly("nfs.malformed_data"));
                    return Fed::Failed;
                }
            }
        }
        if input.end {
            for tx in self.list.iter_mut().filter(|tx| !tx.is_done()) {
                tx.cut_off(way);
            }
        }
        Fed::Used(used)
    }

    fn gap(&mut self, way: Direction, bytes: u64, _context: &mut Context<'_>) -> bool {
        let side = self.side(way);
        let skipped = side.skip.min(bytes);
        side.skip -= skipped;
        let mut left = bytes - skipped;
        if let Some(stream) = &mut side.stream {
            let lost = stream.left.min(left);
            stream.offset = stream.offset.saturating_add(lost);
            stream.left -= lost;
            left -= lost;
        }
        side.lost |= left > 0;
        true
    }

    fn transactions(&self) -> &dyn Transactions {
        &self.list
    }

    fn transactions_mut(&mut self) -> &mut dyn Transactions {
        &mut self.list
    }
}

enum Step {
    Used(usize),
    Need(usize),
    Failed,
}

impl Nfs {
    fn side(&mut self, way: Direction) -> &mut Side {
        let [asks, answers] = &mut self.sides;
        if way == Direction::Original { asks } else { answers }
    }

    fn step(&mut self, way: Direction, rest: &[u8], settings: &Settings) -> Step {
        if let Some(mut stream) = self.side(way).stream.take() {
            let count = usize::try_from(stream.left).unwrap_or(usize::MAX).min(rest.len());
            let bytes = rest.get(..count).unwrap_or_default();
            stream.left -= count as u64;
            let complete = stream.left == 0 && stream.last;
            if let Some(tx) = self.transfer(&stream.handle, way) {
                tx.put(stream.offset, bytes, complete);
            }
            stream.offset = stream.offset.saturating_add(count as u64);
            if stream.left > 0 {
                self.side(way).stream = Some(stream);
            }
            if count > 0 {
                return Step::Used(count);
            }
        }
        let side = self.side(way);
        if side.skip > 0 {
            let count = usize::try_from(side.skip).unwrap_or(usize::MAX).min(rest.len());
            side.skip -= count as u64;
            return Step::Used(count);
        }
        if side.lost {
            return self.find_record(way, rest);
        }
        self.framed(way, rest, settings)
    }

    /// Looks for the start of a call or an answer after a loss: four bytes at a time, as the format has it.
    fn find_record(&mut self, way: Direction, rest: &[u8]) -> Step {
        let tuple_of_tcp = |bytes: &[u8]| {
            let mut reader = Reader::new(bytes);
            let mark = reader.be32()?;
            reader.be32()?;
            let (kind, version, program) = (reader.be32()?, reader.be32()?, reader.be32()?);
            let call = kind == 0 && version == 2 && program == PROGRAM && way == Direction::Original;
            let reply = kind == 1 && version == 0 && program <= 6 && way == Direction::Reply;
            Some(mark & 0x8000_0000 != 0 && (call || reply))
        };
        for start in 0..rest.len() {
            match tuple_of_tcp(rest.get(start..).unwrap_or_default()) {
                Some(true) => {
                    self.side(way).lost = false;
                    return if start == 0 { Step::Need(4) } else { Step::Used(start) };
                }
                Some(false) => {}
                None => return Step::Used(start),
            }
        }
        Step::Used(rest.len())
    }

    /// A record with its mark (RFC 5531, 11).
    fn framed(&mut self, way: Direction, rest: &[u8], settings: &Settings) -> Step {
        let mut reader = Reader::new(rest);
        let Some(mark) = reader.be32() else { return Step::Need(4) };
        let length = usize::try_from(mark & 0x7fff_ffff).unwrap_or(usize::MAX);
        let whole = length.saturating_add(4);
        if let Some(record) = reader.take(length) {
            // Pieces of a call in several fragments are not put together; they are rare.
            return match self.record(way, record, settings) {
                Some(_) => Step::Used(whole),
                None => Step::Failed,
            };
        }
        let part = reader.rest();
        if rest.len() < PARTIAL {
            return Step::Need(PARTIAL.min(whole));
        }
        let carries = match way {
            Direction::Original => rpc::Call::read(part).is_some_and(|call| three::is_write(&call)),
            Direction::Reply => {
                let asked = Reader::new(part).be32().and_then(|xid| self.asked.get(&xid));
                asked.is_some_and(three::was_read)
            }
        };
        if carries && let Some(left) = self.record(way, part, settings) {
            self.side(way).skip = ((length - part.len()) as u64).saturating_sub(left);
            return Step::Used(rest.len());
        }
        if length <= RECORD {
            return Step::Need(whole);
        }
        self.side(way).skip = (length - part.len()) as u64;
        Step::Used(rest.len())
    }

    /// A record, or the start of one that carries bytes of a file: how many of them are still to come. `None`: it is
    /// none.
    fn record(&mut self, way: Direction, record: &[u8], settings: &Settings) -> Option<u64> {
        match way {
            Direction::Original => {
                let call = Call::read(record)?;
                if call.program == PROGRAM {
                    return Some(self.call(&call, settings));
                }
            }
            Direction::Reply => {
                let reply = Reply::read(record)?;
                return Some(self.reply(&reply, settings));
            }
        }
        Some(0)
    }

    /// Begins a transaction; where there are too many, the oldest that is open is given up for it.
    fn begin(&mut self, call: Begun<'_>, kind: Kind, settings: &Settings) -> Option<&mut Tx> {
        if self.list.count() >= settings.transactions_of(AppProtocol::Nfs) {
            if let Some((mark, oldest)) = self.list.marked_mut().find(|(_, tx)| !tx.is_done()) {
                mark.note(Anomaly("nfs.too_many_transactions"));
                oldest.give_up();
            }
            if self.list.count() >= settings.transactions_of(AppProtocol::Nfs).saturating_mul(2) {
                return None;
            }
        }
        let id = self.next_id;
        self.next_id += 1;
        let Begun { xid, asked, credentials } = call;
        self.list.push(Tx::new(id, xid, asked, credentials, kind));
        self.list.last_mut()
    }

    /// The open transfer of a file.
    fn transfer(&mut self, handle: &[u8], way: Direction) -> Option<&mut Tx> {
        self.list.iter_mut().rev().find(|tx| !tx.is_done() && tx.is_transfer(handle, way))
    }

    /// Bytes of a file, of which more may follow: how many.
    fn piece(&mut self, way: Direction, begun: Begun<'_>, stream: Stream, data: &[u8], settings: &Settings) -> u64 {
        let xid = begun.xid;
        let first = self.transfer(&stream.handle, way).is_none();
        if first {
            let parts = Parts::new(&begun.asked.name, settings.hashed());
            let kind = Kind::File(Box::new(Transfer { way, parts, chunks: 0, last_xid: xid }));
            if self.begin(begun, kind, settings).is_none() {
                return 0;
            }
        }
        let left = stream.left.saturating_sub(data.len() as u64);
        let Some(tx) = self.transfer(&stream.handle, way) else { return 0 };
        // Of a write those count that follow the first.
        if !first || way == Direction::Reply {
            tx.next_chunk(xid);
        }
        tx.put(stream.offset, data, stream.last && left == 0);
        if left > 0 {
            let offset = stream.offset.saturating_add(data.len() as u64);
            self.side(way).stream = Some(Stream { offset, left, ..stream });
        }
        left
    }
}

/// What a transaction begins with.
struct Begun<'c> {
    xid: u32,
    asked: &'c Asked,
    credentials: &'c Credentials,
}
