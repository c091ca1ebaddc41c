//! The commands of SMB 2 and 3 (MS-SMB2, 2.2).

use super::auth::{Session, without_zeros};
use super::pipe::{Carrier, is_service, looks_like_call};
use super::record2::{self, Piece, Record, command};
use super::transaction::{Create, Kind, Negotiation, Status, TreeConnect};
use super::{Fid, Key, Smb, Stream, Tree, names};
use crate::app::{Anomaly, Settings};
use crate::inspect::Direction;

const PENDING: u32 = 0x103;
const OVERFLOW: u32 = 0x8000_0005;
const END_OF_FILE: u32 = 0xc000_0011;
const TRANSCEIVE: u32 = 0x0011_c017;
/// Dialects of a negotiation.
const DIALECTS: usize = 64;
/// "The file that this chain is about".
const SAME_FILE: Fid = Fid::Long([0xff; 16]);

fn key(record: &Record<'_>) -> Key {
    Key { session: record.session, tree: record.tree, message: record.message }
}

/// Records of reads and writes, and of single properties, make no transaction of their own.
fn is_followed(command: u16) -> bool {
    !matches!(command, command::READ | command::WRITE | command::GET_INFO | command::SET_INFO)
}

impl Smb {
    /// Records, chained. `None`: there is none.
    pub(super) fn record2(&mut self, way: Direction, bytes: &[u8], settings: &Settings) -> Option<()> {
        self.state.header = None;
        let mut rest = bytes;
        let mut before: Option<Record<'_>> = None;
        let mut created = None;
        loop {
            let mut record = Record::read(rest)?;
            if let Some(before) = before.filter(|_| record.related) {
                record.session = if record.session == u64::MAX { before.session } else { record.session };
                record.tree = if record.tree == u32::MAX { before.tree } else { record.tree };
            }
            if record.command == command::CREATE {
                created = Some(record.message);
            }
            let read = match way {
                Direction::Original => self.request2(&record, created, settings),
                Direction::Reply => self.response2(&record, settings),
            };
            if read.is_none() {
                if self.list.count() == 0 {
                    self.begin(2, record.command, key(&record), Kind::Generic, settings);
                }
                self.list.anomaly(Anomaly("smb.malformed_data"));
            }
            // The next one lies ahead: a chain has an end.
            rest = match record.next {
                0 => return Some(()),
                next => rest.get(next..)?,
            };
            before = Some(record);
            if rest.is_empty() {
                return Some(());
            }
            // Padding behind the last one is no record.
            if rest.iter().take(4).all(|&byte| byte == 0) {
                return Some(());
            }
        }
    }

    /// The start of a long record.
    pub(super) fn partial2(&mut self, way: Direction, bytes: &[u8], settings: &Settings) -> Option<()> {
        self.state.header = None;
        let record = Record::read(bytes).filter(|record| record.next == 0)?;
        if self.is_pipe(key(&record)) == Some(true) {
            return None;
        }
        let piece = match (record.command, way) {
            (command::WRITE, Direction::Original) => record2::write_request(&record)?,
            (command::READ, Direction::Reply) if record.status == 0 => record2::read_response(&record)?,
            _ => return None,
        };
        if piece.data.is_empty() {
            return None;
        }
        match way {
            Direction::Original => self.write2(&record, piece, None, settings),
            Direction::Reply => self.read2(&record, piece, settings),
        }
        Some(())
    }

    /// A command of the client. `created`: the message that opens the file of the chain. `None`: it is broken.
    fn request2(&mut self, record: &Record<'_>, created: Option<u64>, settings: &Settings) -> Option<()> {
        let key = key(record);
        let chained = |fid: Fid| match created {
            Some(message) if fid == SAME_FILE => Fid::Short(u16::MAX, message),
            _ => fid,
        };
        let stray = matches!(record.command, command::CREATE | command::TREE_DISCONNECT) && self.is_stray(key);
        let kind = match record.command {
            command::NEGOTIATE => negotiate_request(record)?,
            command::SESSION_SETUP => return self.session_request2(record, settings),
            command::TREE_CONNECT => {
                let mut body = record.body()?;
                body.le16()?;
                let (at, length) = (usize::from(body.le16()?), usize::from(body.le16()?));
                let path = without_zeros(record.at(at, length));
                let share = path;
                Kind::Tree(Box::new(TreeConnect { share, ..TreeConnect::default() }))
            }
            command::TREE_DISCONNECT => {
                self.state.trees.remove(&(key.session, key.tree));
                Kind::Generic
            }
            command::CREATE => {
                let (disposition, options, name) = record2::create_request(record)?;
                let name = without_zeros(name);
                self.state.creating.insert(Key { tree: 0, ..key }, name.clone());
                self.state.names.insert(Fid::Short(u16::MAX, record.message), name.clone());
                let (delete_on_close, directory) = (options & 0x1000 != 0, options & 1 != 0);
                Kind::Create(Box::new(Create { name, disposition, delete_on_close, directory, ..Create::default() }))
            }
            command::CLOSE => {
                let fid = chained(record2::close_request(record)?);
                self.state.meant.insert(key, fid);
                self.close(fid, Direction::Original);
                Kind::Generic
            }
            command::READ => {
                let (fid, offset, length) = record2::read_request(record)?;
                if self.bounds(Direction::Reply).are_exceeded(length) {
                    self.list.anomaly(Anomaly("smb.read_request_too_large"));
                    return Some(());
                }
                self.state.reading.insert(key, (chained(fid), offset));
                return Some(());
            }
            command::WRITE => {
                self.write2(record, record2::write_request(record)?, created, settings);
                return Some(());
            }
            command::IOCTL => return self.ioctl_request(record, settings),
            command::SET_INFO => match self.set_info(record, chained)? {
                Some(kind) => kind,
                None => return Some(()),
            },
            other if is_followed(other) => Kind::Generic,
            _ => return Some(()),
        };
        if matches!(kind, Kind::Negotiate(_)) && self.find_by(2, command::NEGOTIATE, |_| true).is_some() {
            return Some(());
        }
        self.begin(2, record.command, key, kind, settings)?.asked();
        if stray {
            self.list.anomaly(Anomaly("smb.tree_id_not_found"));
        }
        Some(())
    }

    /// Whether a conversation that was seen from its beginning names a share that it never connected to.
    pub(super) fn is_stray(&self, key: Key) -> bool {
        let named = key.tree != 0 && key.tree != u32::MAX;
        named && self.state.dialect.is_some() && self.state.trees.get(&(key.session, key.tree)).is_none()
    }

    fn session_request2(&mut self, record: &Record<'_>, settings: &Settings) -> Option<()> {
        let mut body = record.body()?;
        body.take(10)?;
        let (at, length) = (usize::from(body.le16()?), usize::from(body.le16()?));
        let mut session = Session::default();
        let odd = session.read_blob(record.at(at, length)).err();
        let kind = Kind::Session(Box::new(session));
        self.begin(2, command::SESSION_SETUP, key(record), kind, settings)?.asked();
        if let Some(odd) = odd {
            self.list.anomaly(odd.event());
        }
        Some(())
    }

    fn set_info(&mut self, record: &Record<'_>, chained: impl Fn(Fid) -> Fid) -> Option<Option<Kind>> {
        let (class, level, fid, data) = record2::set_info(record)?;
        let fid = chained(fid);
        let name = self.state.names.get(&fid).cloned().unwrap_or_else(|| b"<unknown>".to_vec());
        let mut data = crate::app::read::Reader::new(data);
        Some(match (class, level) {
            (1, 10) => {
                data.take(16)?;
                let length = usize::try_from(data.le32()?).ok()?;
                let to = without_zeros(data.take_up_to(length));
                Some(Kind::Rename { fid: Some(fid), from: name, to })
            }
            (1, 13) => {
                let delete = data.u8()? != 0;
                let (subcommand, level) = (u16::from(class), u16::from(level));
                Some(Kind::SetInfo { fid: Some(fid), name, subcommand, level, delete })
            }
            _ => None,
        })
    }

    /// Whether data of a file's number belongs to a pipe.
    fn carries_calls(&mut self, key: Key, fid: Fid, data: &[u8]) -> Carries {
        let named = self.state.names.get(&fid).is_some_and(|name| is_service(name));
        let known = self.state.names.get(&fid).is_some();
        match self.is_pipe(key) {
            Some(true) if named || looks_like_call(data) || self.state.pipes.get(&(fid, 0)).is_some() => Carries::Calls,
            Some(true) => Carries::Nothing,
            Some(false) => Carries::File,
            None if named || (!known && looks_like_call(data)) => Carries::Calls,
            None => Carries::File,
        }
    }

    fn write2(&mut self, record: &Record<'_>, piece: Piece<'_>, created: Option<u64>, settings: &Settings) {
        let Some(mut fid) = piece.fid else { return };
        if self.bounds(Direction::Original).are_exceeded(piece.length) {
            self.list.anomaly(Anomaly("smb.write_request_too_large"));
            return;
        }
        if let Some(message) = created.filter(|_| fid == SAME_FILE) {
            fid = Fid::Short(u16::MAX, message);
        }
        let key = key(record);
        match self.carries_calls(key, fid, piece.data) {
            Carries::Calls => {
                let carrier = Carrier { version: 2, command: record.command, key, fid };
                self.pipe_data(Direction::Original, carrier, piece.data, Status::Nt(record.status), settings);
            }
            Carries::File => {
                let stream = Stream { fid, offset: piece.offset, left: u64::from(piece.length) };
                self.file_piece(Direction::Original, (2, record.command, key), stream, piece.data, settings);
            }
            Carries::Nothing => {}
        }
    }

    fn read2(&mut self, record: &Record<'_>, piece: Piece<'_>, settings: &Settings) {
        let key = key(record);
        let Some((fid, offset)) = self.state.reading.remove(&key) else { return };
        if self.bounds(Direction::Reply).are_exceeded(piece.length) {
            self.list.anomaly(Anomaly("smb.read_response_too_large"));
            return;
        }
        let partial = self.state.pipes.get(&(fid, Direction::Reply as u8)).is_some();
        match self.carries_calls(key, fid, piece.data) {
            Carries::File => {
                let stream = Stream { fid, offset, left: u64::from(piece.length) };
                self.file_piece(Direction::Reply, (2, record.command, key), stream, piece.data, settings);
            }
            Carries::Nothing if !partial => {}
            Carries::Calls | Carries::Nothing => {
                let carrier = Carrier { version: 2, command: record.command, key, fid };
                self.pipe_data(Direction::Reply, carrier, piece.data, Status::Nt(record.status), settings);
            }
        }
    }

    fn ioctl_request(&mut self, record: &Record<'_>, settings: &Settings) -> Option<()> {
        let (function, fid, data) = record2::ioctl(record)?;
        let key = key(record);
        if function == TRANSCEIVE && self.carries_calls(key, fid, data) == Carries::Calls {
            self.state.meant.insert(key, fid);
            let carrier = Carrier { version: 2, command: command::IOCTL, key, fid };
            self.pipe_data(Direction::Original, carrier, data, Status::Nt(0), settings);
            return Some(());
        }
        self.begin(2, command::IOCTL, key, Kind::Ioctl(function), settings)?.asked();
        Some(())
    }

    /// An answer of the server. `None`: it is broken.
    fn response2(&mut self, record: &Record<'_>, settings: &Settings) -> Option<()> {
        let key = key(record);
        let status = Status::Nt(record.status);
        match record.command {
            command::NEGOTIATE => return self.negotiate_response2(record),
            command::SESSION_SETUP => {
                let same = |known: Key| known.message == key.message;
                if let Some(tx) = self.find_by(2, command::SESSION_SETUP, same) {
                    tx.answered(Some(status));
                    tx.key.session = key.session;
                    tx.shown = (key.session, key.tree);
                }
                return Some(());
            }
            command::TREE_CONNECT => return self.tree_response2(record),
            command::CREATE if record.status == 0 => self.create_response2(record)?,
            command::READ => match record.status {
                0 | OVERFLOW => self.read2(record, record2::read_response(record)?, settings),
                END_OF_FILE => {
                    if let Some((fid, _)) = self.state.reading.remove(&key) {
                        self.close(fid, Direction::Reply);
                    }
                }
                _ => {}
            },
            command::CLOSE => {
                if let Some(fid) = self.state.meant.remove(&key) {
                    self.close(fid, Direction::Reply);
                }
            }
            command::IOCTL => {
                if let Some(fid) = self.state.meant.remove(&key).filter(|_| record.status != PENDING) {
                    if matches!(record.status, 0 | OVERFLOW) {
                        let (_, _, data) = record2::ioctl(record)?;
                        let carrier = Carrier { version: 2, command: command::IOCTL, key, fid };
                        self.pipe_data(Direction::Reply, carrier, data, status, settings);
                    }
                    return Some(());
                }
            }
            _ => {}
        }
        if record.status != PENDING
            && let Some(tx) =
                self.find_by(2, record.command, |known| (known.session, known.message) == (key.session, key.message))
        {
            tx.answered(Some(status));
        }
        Some(())
    }

    fn negotiate_response2(&mut self, record: &Record<'_>) -> Option<()> {
        let mut body = record.body()?;
        body.le16()?;
        let dialect = body.le16()?;
        body.le16()?;
        let guid = body.array()?;
        body.take(8)?;
        let (max_read, max_write) = (body.le32()?, body.le32()?);
        let dialect: std::sync::Arc<str> = names::dialect(dialect).into();
        self.agree(max_read, max_write);
        self.state.dialect = Some(dialect.clone());
        // A negotiation of SMB 1 may be answered by SMB 2.
        let version = if self.find_by(2, command::NEGOTIATE, |_| true).is_some() { (2, 0) } else { (1, 0x72) };
        let Some(tx) = self.find_by(version.0, version.1, |_| true) else { return Some(()) };
        tx.answered(Some(Status::Nt(record.status)));
        tx.dialect = Some(dialect);
        if let Kind::Negotiate(negotiation) = &mut tx.kind {
            (negotiation.max_read, negotiation.max_write) = (max_read, max_write);
            negotiation.server_guid = Some(guid);
        }
        self.note_agreed();
        Some(())
    }

    fn tree_response2(&mut self, record: &Record<'_>) -> Option<()> {
        let key = key(record);
        let same = |known: Key| (known.session, known.message) == (key.session, key.message);
        let share_type = if record.status == 0 { record.body()?.u8() } else { None };
        let Some(tx) = self.find_by(2, command::TREE_CONNECT, same) else { return Some(()) };
        tx.answered(Some(Status::Nt(record.status)));
        let (Some(share_type), Kind::Tree(tree)) = (share_type, &mut tx.kind) else { return Some(()) };
        (tree.share_type, tree.pipe) = (share_type, share_type == 2);
        tx.key = key;
        tx.shown = (key.session, key.tree);
        let known = Tree { name: tree.share.clone(), pipe: tree.pipe };
        self.state.trees.insert((key.session, key.tree), known);
        Some(())
    }

    fn create_response2(&mut self, record: &Record<'_>) -> Option<()> {
        let (times, size, fid) = record2::create_response(record)?;
        let key = key(record);
        if let Some(name) = self.state.creating.remove(&Key { tree: 0, ..key }) {
            self.state.names.insert(fid, name);
        }
        if let Some(tx) = self.find(2, command::CREATE, key)
            && let Kind::Create(create) = &mut tx.kind
        {
            (create.times, create.size, create.fid) = (times, size, Some(fid));
        }
        Some(())
    }
}

/// What the bytes of a file's number are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carries {
    Calls,
    File,
    Nothing,
}

fn negotiate_request(record: &Record<'_>) -> Option<Kind> {
    let mut body = record.body()?;
    let count = usize::from(body.le16()?);
    body.take(8)?;
    let client_guid = Some(body.array()?);
    body.take(8)?;
    let mut dialects = Vec::new();
    for _ in 0..count.min(DIALECTS) {
        dialects.push(names::dialect(body.le16()?).into_bytes());
    }
    Some(Kind::Negotiate(Box::new(Negotiation { dialects, client_guid, ..Negotiation::default() })))
}
