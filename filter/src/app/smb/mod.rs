//! SMB 1 (MS-CIFS), 2 and 3 (MS-SMB2) over TCP, direct or with NetBIOS sessions (RFC 1002, 4.3).
//!
//! A transaction is a command with its answer, or a file that is read or written, from its first bytes to its close.
//! Calls of DCE/RPC in named pipes are transactions too. Encrypted records are passed over.
//!
//! Limits: records up to [`RECORD`] bytes are read whole; of longer ones only the bytes of files are read, as they
//! come, and the others are passed over and told. Each table of names and places has [`ENTRIES`] entries, the oldest
//! are forgotten. A file waits for at most 64 parts, or 1 MiB, that came before their turn.

mod auth;
mod bounds;
mod log;
mod names;
mod one;
mod pipe;
mod record1;
mod record2;
#[cfg(test)]
pub(crate) mod tests;
mod transaction;
mod transfer;
mod two;

use std::sync::Arc;

use weir_ids_rules::{AppProtocol, Buffer};

use super::dcerpc::record::Interface;
use super::parts::Parts;
use super::read::Reader;
use super::recent::Recent;
use super::{Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Provides, Settings, Transactions};
use crate::event::Tuple;
use crate::inspect::Direction;
use bounds::Bounds;
use transaction::{Kind, Tx};
use transfer::Transfer;

/// Longest record that is read whole.
const RECORD: usize = 120 << 10;
/// Bytes of a long record that are enough to know what it carries.
const PARTIAL: usize = 512;
/// Entries of a table.
const ENTRIES: usize = 1024;

/// How it is found and what its transactions have.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Smb,
    tcp: true,
    udp: false,
    ports: &[445, 139],
    patterns: &[
        (Direction::Original, 4, b"\xffSMB"),
        (Direction::Reply, 4, b"\xffSMB"),
        (Direction::Original, 4, b"\xfeSMB"),
        (Direction::Reply, 4, b"\xfeSMB"),
        (Direction::Original, 4, b"\xfdSMB"),
        (Direction::Reply, 4, b"\xfdSMB"),
    ],
    probe,
    on_ports_only: true,
    start,
    buffers: &[
        Provides::new(Buffer::SmbNamedPipe, Direction::Original, 1),
        Provides::new(Buffer::SmbShare, Direction::Original, 1),
        Provides::new(Buffer::SmbNtlmsspUser, Direction::Original, 1),
        Provides::new(Buffer::SmbNtlmsspDomain, Direction::Original, 1),
        Provides::new(Buffer::DcerpcStubData, Direction::Original, 1),
        Provides::new(Buffer::DcerpcStubData, Direction::Reply, 1),
        Provides::new(Buffer::FileData, Direction::Original, 0),
        Provides::new(Buffer::FileData, Direction::Reply, 0),
        Provides::new(Buffer::FileName, Direction::Original, 0),
        Provides::new(Buffer::FileName, Direction::Reply, 0),
    ],
    hooks: &[],
};

/// A session's request, or a record with one of the three marks.
fn probe(way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    let mut reader = Reader::new(bytes);
    let (Some(kind), Some(length)) = (reader.u8(), reader.be24()) else { return Probe::More };
    match kind {
        // The names of a NetBIOS session come before the first record.
        0x81 if length == 68 => Probe::Yes,
        0x82 if length == 0 => Probe::Yes,
        0 => match reader.array::<4>() {
            Some([0xfd..=0xff, b'S', b'M', b'B']) => side(way, reader.rest(), bytes),
            Some(_) => Probe::No,
            None => Probe::More,
        },
        _ => Probe::No,
    }
}

/// Whether the header says that the bytes come from the other side.
fn side(way: Direction, rest: &[u8], bytes: &[u8]) -> Probe {
    let from_server = match bytes.get(4) {
        Some(0xff) => rest.get(5).map(|flags| flags & 0x80 != 0),
        Some(0xfe) => rest.get(12).map(|flags| flags & 1 != 0),
        _ => Some(way == Direction::Reply),
    };
    match from_server {
        Some(from_server) if from_server == (way == Direction::Reply) => Probe::Yes,
        Some(_) => Probe::Reversed,
        None => Probe::More,
    }
}

fn start(settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    Box::new(Smb { list: List::default(), sides: Default::default(), state: State::new(settings) })
}

/// What tells an open file from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fid {
    /// SMB 1: a number of a session.
    Short(u16, u64),
    /// SMB 2.
    Long([u8; 16]),
}

impl Fid {
    fn text(&self) -> String {
        match self {
            Fid::Short(number, _) => format!("{number:04x}"),
            Fid::Long([a, b, c, d, e, f, g, h, rest @ ..]) => {
                let [i, j, k, l, m, n, o, p] = *rest;
                let swapped = [*d, *c, *b, *a, *f, *e, *h, *g, j, i, l, k, p, o, n, m];
                super::dcerpc::record::uuid_text(&swapped)
            }
        }
    }
}

/// Session, tree and number of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    session: u64,
    tree: u32,
    message: u64,
}

/// A share that was connected to.
#[derive(Clone, Debug)]
struct Tree {
    name: Vec<u8>,
    pipe: bool,
}

/// What later records refer to.
#[derive(Debug)]
struct State {
    next_id: u64,
    /// User and tree of the record of SMB 1 at hand.
    header: Option<(u64, u32)>,
    dialect: Option<Arc<str>>,
    reads: Bounds,
    writes: Bounds,
    trees: Recent<(u64, u32), Tree>,
    names: Recent<Fid, Vec<u8>>,
    /// Names of files that are being opened.
    creating: Recent<Key, Vec<u8>>,
    /// Files and places that are being read.
    reading: Recent<Key, (Fid, u64)>,
    /// Files that other commands of SMB 1 name.
    meant: Recent<Key, Fid>,
    /// Parts of records in pipes.
    pipes: Recent<(Fid, u8), Vec<u8>>,
    interfaces: Arc<Vec<Interface>>,
}

impl State {
    fn new(settings: &Settings) -> State {
        State {
            next_id: 1,
            header: None,
            dialect: None,
            reads: Bounds::new(settings, "read"),
            writes: Bounds::new(settings, "write"),
            trees: Recent::new(ENTRIES),
            names: Recent::new(ENTRIES),
            creating: Recent::new(ENTRIES),
            reading: Recent::new(ENTRIES),
            meant: Recent::new(ENTRIES),
            pipes: Recent::new(16),
            interfaces: Arc::default(),
        }
    }
}

/// One direction.
#[derive(Debug, Default)]
struct Side {
    /// Bytes of a record that nobody asks for.
    skip: u64,
    /// The bytes of a file that follow.
    stream: Option<Stream>,
    /// After a loss the next record is looked for.
    lost: bool,
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    fid: Fid,
    offset: u64,
    left: u64,
}

#[derive(Debug)]
struct Smb {
    list: List<Tx>,
    sides: [Side; 2],
    state: State,
}

impl Parser for Smb {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Smb
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        let mut used = 0;
        while let Some(rest) = input.bytes.get(used..).filter(|rest| !rest.is_empty()) {
            match self.step(way, rest, context.settings) {
                Step::Used(0) => break,
                Step::Used(count) => used += count,
                Step::Need(need) => return Fed::Wait { used, need },
                Step::Failed => {
                    self.list.anomaly(Anomaly("smb.malformed_data"));
                    return Fed::Failed;
                }
            }
        }
        if input.end {
            self.cut_off(way);
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

impl Smb {
    fn side(&mut self, way: Direction) -> &mut Side {
        let [asks, answers] = &mut self.sides;
        if way == Direction::Original { asks } else { answers }
    }

    /// What the next bytes are: the rest of something, or a record.
    fn step(&mut self, way: Direction, rest: &[u8], settings: &Settings) -> Step {
        let side = self.side(way);
        if let Some(stream) = side.stream.take() {
            let count = usize::try_from(stream.left).unwrap_or(usize::MAX).min(rest.len());
            let left = stream.left - count as u64;
            if left > 0 {
                let offset = stream.offset.saturating_add(count as u64);
                side.stream = Some(Stream { fid: stream.fid, offset, left });
            }
            if let Some(file) = self.transfer(stream.fid, way) {
                let excess = file.parts.put(stream.offset, rest.get(..count).unwrap_or_default());
                self.note_excess(way, excess);
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

    /// Looks for the start of a record after a loss.
    fn find_record(&mut self, way: Direction, rest: &[u8]) -> Step {
        let marks = memchr::memmem::find_iter(rest, b"SMB");
        let start = marks
            .filter_map(|at| at.checked_sub(5))
            .find(|&start| matches!(rest.get(start..start + 5), Some([0, _, _, _, 0xfd..=0xff])));
        match start {
            Some(start) => {
                self.side(way).lost = false;
                if start == 0 { Step::Need(4) } else { Step::Used(start) }
            }
            None => Step::Used(rest.len().saturating_sub(8)),
        }
    }

    /// A record with its frame.
    fn framed(&mut self, way: Direction, rest: &[u8], settings: &Settings) -> Step {
        let mut reader = Reader::new(rest);
        let (Some(kind), Some(length)) = (reader.u8(), reader.be24()) else { return Step::Need(4) };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        match kind {
            0 => {}
            // Sessions' requests and answers, keep-alives.
            0x81..=0x85 => {
                self.side(way).skip = length as u64;
                return Step::Used(4);
            }
            _ => return Step::Failed,
        }
        let whole = length.saturating_add(4);
        if let Some(record) = reader.take(length) {
            return match self.record(way, record, settings) {
                Some(()) => Step::Used(whole),
                None => Step::Failed,
            };
        }
        let part = reader.rest();
        if rest.len() < PARTIAL {
            return Step::Need(PARTIAL.min(whole));
        }
        if self.partial(way, part, settings).is_some() {
            // The bytes of the file go to their place as they come; padding behind them is skipped.
            let behind = (length as u64).saturating_sub(part.len() as u64);
            let side = self.side(way);
            let carried = side.stream.map_or(0, |stream| stream.left);
            side.skip = behind.saturating_sub(carried);
            return Step::Used(rest.len());
        }
        if length <= RECORD {
            return Step::Need(whole);
        }
        self.list.anomaly(Anomaly("smb.record_overflow"));
        self.side(way).skip = (length - part.len()) as u64;
        Step::Used(rest.len())
    }

    /// A whole record. `None`: it is none.
    fn record(&mut self, way: Direction, record: &[u8], settings: &Settings) -> Option<()> {
        // Which bit says that it is an answer (MS-CIFS 2.2.3.1, MS-SMB2 2.2.1).
        let (read, answers) = match record.first_chunk::<4>() {
            Some(b"\xffSMB") => (self.record1(way, record, settings), record.get(9).map(|flags| flags & 0x80 != 0)),
            Some(b"\xfeSMB") => (self.record2(way, record, settings), record.get(16).map(|flags| flags & 1 != 0)),
            Some(b"\xfdSMB" | b"\xfcSMB") => return Some(()),
            Some(_) => return None,
            // An empty record says nothing.
            None => return Some(()),
        };
        match (way, answers) {
            (Direction::Original, Some(true)) => self.list.anomaly(Anomaly("smb.response_to_server")),
            (Direction::Reply, Some(false)) => self.list.anomaly(Anomaly("smb.request_to_client")),
            (Direction::Original | Direction::Reply, _) => {}
        }
        read
    }

    /// The start of a long record that carries bytes of a file; those that are still to come are left to the stream.
    /// `None`: it carries something else.
    fn partial(&mut self, way: Direction, part: &[u8], settings: &Settings) -> Option<()> {
        match part.first_chunk::<4>()? {
            b"\xffSMB" => self.partial1(way, part, settings),
            b"\xfeSMB" => self.partial2(way, part, settings),
            _ => None,
        }
    }

    /// Begins a transaction; where there are too many, the oldest that is open is given up for it.
    fn begin(&mut self, version: u8, command: u16, key: Key, kind: Kind, settings: &Settings) -> Option<&mut Tx> {
        if self.list.count() >= settings.transactions_of(AppProtocol::Smb) {
            if let Some((mark, oldest)) = self.list.marked_mut().find(|(_, tx)| tx.done != [true, true]) {
                mark.note(Anomaly("smb.too_many_transactions"));
                oldest.answered(None);
                if let Kind::File(file) = &mut oldest.kind {
                    file.parts.cut_off();
                }
            }
            if self.list.count() >= settings.transactions_of(AppProtocol::Smb).saturating_mul(2) {
                return None;
            }
        }
        let dialect = self.state.dialect.clone();
        let id = self.state.next_id;
        self.state.next_id += 1;
        let (session, tree) = self.state.header.unwrap_or((key.session, key.tree));
        let shown = match (&kind, version) {
            // Whom and where it concerns is still to be agreed upon. A transfer by SMB 1 stands for many records.
            (Kind::Negotiate(_), _) | (Kind::File(_), 1) => (0, 0),
            (Kind::Tree(_), _) => (session, 0),
            _ => (session, tree),
        };
        self.list.push(Tx { id, version, command, status: None, key, shown, kind, done: [false, false], dialect });
        self.list.last_mut()
    }

    /// The open transaction of a command.
    fn find(&mut self, version: u8, command: u16, key: Key) -> Option<&mut Tx> {
        self.find_by(version, command, |known| known == key)
    }

    /// The same, where the key only has to fit.
    fn find_by(&mut self, version: u8, command: u16, fits: impl Fn(Key) -> bool) -> Option<&mut Tx> {
        let same = |tx: &Tx| {
            (tx.version, tx.command) == (version, command)
                && tx.done != [true, true]
                && !matches!(tx.kind, Kind::File(_) | Kind::Call(_))
                && fits(tx.key)
        };
        self.list.iter_mut().find(|tx| same(tx))
    }

    /// The open transfer of a file.
    fn transfer(&mut self, fid: Fid, way: Direction) -> Option<&mut Transfer> {
        let tx = self.list.iter_mut().rev().find(|tx| tx.is_transfer(fid, way))?;
        match &mut tx.kind {
            Kind::File(file) => Some(file),
            _ => None,
        }
    }

    /// Bytes of a file, of which more may follow; begins its transfer where there is none.
    fn file_piece(&mut self, way: Direction, at: (u8, u16, Key), stream: Stream, data: &[u8], settings: &Settings) {
        let (version, command, key) = at;
        if self.transfer(stream.fid, way).is_none() {
            let unknown = || if version == 1 || way == Direction::Reply { b"<unknown>".to_vec() } else { Vec::new() };
            let name = self.state.names.get(&stream.fid).cloned().unwrap_or_else(unknown);
            let share = self.state.trees.get(&(key.session, key.tree)).map(|tree| tree.name.clone());
            let parts = Parts::new(&name, settings.hashed()).within(self.bounds(way).room);
            let file = Transfer { fid: stream.fid, name, share: share.unwrap_or_default(), way, parts };
            let key = Key { message: 0, ..key };
            if self.begin(version, command, key, Kind::File(Box::new(file)), settings).is_none() {
                return;
            }
        }
        let Some(file) = self.transfer(stream.fid, way) else { return };
        let overlaps = file.parts.overlaps(stream.offset);
        let excess = file.parts.put(stream.offset, data);
        self.note_excess(way, excess);
        if overlaps {
            self.list.anomaly(Anomaly("smb.file_overlap"));
        }
        let left = stream.left.saturating_sub(data.len() as u64);
        if left > 0 {
            let offset = stream.offset.saturating_add(data.len() as u64);
            self.side(way).stream = Some(Stream { fid: stream.fid, offset, left });
        }
    }

    /// A file was closed in a direction: its transfer is complete.
    fn close(&mut self, fid: Fid, way: Direction) {
        if let Some(tx) = self.list.iter_mut().find(|tx| tx.is_transfer(fid, way)) {
            if let Kind::File(file) = &mut tx.kind {
                file.parts.close();
            }
            tx.answered(Some(transaction::Status::Nt(0)));
        }
    }

    /// Whether a tree is that of the pipes; `None` where its connect was not seen.
    fn is_pipe(&self, key: Key) -> Option<bool> {
        self.state.trees.get(&(key.session, key.tree)).map(|tree| tree.pipe)
    }

    /// The direction ended.
    fn cut_off(&mut self, way: Direction) {
        for tx in self.list.iter_mut() {
            if let Kind::File(file) = &mut tx.kind
                && file.way == way
                && tx.done != [true, true]
            {
                file.parts.cut_off();
                tx.answered(None);
            }
        }
    }
}
