//! The commands of SMB 1 (MS-CIFS, 2.2.4).

use super::auth::{Session, without_zeros};
use super::pipe::{Carrier, is_service, looks_like_call};
use super::record1::{Block, Record, Trans};
use super::record2::unix_time;
use super::transaction::{Create, Kind, Negotiation, Status, TreeConnect};
use super::{Fid, Key, Smb, Stream, Tree};
use crate::app::read::Reader;
use crate::app::{Anomaly, Settings};
use crate::inspect::Direction;

const CLOSE: u8 = 0x04;
const RENAME: u8 = 0x07;
const WRITE: u8 = 0x0b;
const LOCKING: u8 = 0x24;
const TRANS: u8 = 0x25;
const WRITE_AND_CLOSE: u8 = 0x2c;
const READ_ANDX: u8 = 0x2e;
const WRITE_ANDX: u8 = 0x2f;
const TRANS2: u8 = 0x32;
const TRANS2_SECONDARY: u8 = 0x33;
const TREE_DISCONNECT: u8 = 0x71;
const NEGOTIATE: u8 = 0x72;
const SESSION_SETUP: u8 = 0x73;
const TREE_CONNECT: u8 = 0x75;
const NT_CREATE: u8 = 0xa2;
const NT_CANCEL: u8 = 0xa4;
/// Dialects of a negotiation.
const DIALECTS: usize = 64;

/// Bytes for a place in a file.
struct Piece<'b> {
    fid: u16,
    offset: u64,
    length: u64,
    data: &'b [u8],
}

/// WRITE_ANDX (2.2.4.43), WRITE (2.2.4.12), WRITE_AND_CLOSE (2.2.4.40).
fn write_request<'b>(command: u8, block: &Block<'b>) -> Option<Piece<'b>> {
    let mut words = block.numbers();
    if command != WRITE_ANDX {
        let fid = words.le16()?;
        let length = words.le16()?;
        let offset = u64::from(words.le32()?);
        // A format byte and a length, or one byte of padding, come first.
        let data = block.data.get(if command == WRITE { 3 } else { 1 }..)?;
        let data = data.get(..usize::from(length)).unwrap_or(data);
        return Some(Piece { fid, offset, length: u64::from(length), data });
    }
    words.take(4)?;
    let fid = words.le16()?;
    let low = words.le32()?;
    words.take(8)?;
    let (length_high, length, at) = (words.le16()?, words.le16()?, words.le16()?);
    let high = words.le32().unwrap_or_default();
    let length = u64::from(length_high) << 16 | u64::from(length);
    let data = block.at(usize::from(at), usize::try_from(length).ok()?);
    Some(Piece { fid, offset: u64::from(high) << 32 | u64::from(low), length, data })
}

/// The answer to READ_ANDX (2.2.4.42).
fn read_response<'b>(block: &Block<'b>) -> Option<Piece<'b>> {
    let mut words = block.numbers();
    words.take(10)?;
    let (length, at, length_high) = (words.le16()?, words.le16()?, words.le16()?);
    let length = u64::from(length_high) << 16 | u64::from(length);
    let data = block.at(usize::from(at), usize::try_from(length).ok()?);
    Some(Piece { fid: 0, offset: 0, length, data })
}

/// RENAME (2.2.4.8): both names, each behind a byte that says so.
fn rename_request(block: &Block<'_>) -> Option<Kind> {
    let mut texts = block.texts(1);
    let from = texts.next();
    texts.skip(1);
    let to = texts.next();
    (!to.is_empty()).then_some(Kind::Rename { fid: None, from, to })
}

fn key(record: &Record<'_>) -> Key {
    Key { session: record.session, tree: record.tree, message: record.message }
}

impl Smb {
    /// A whole record. `None`: it is none.
    pub(super) fn record1(&mut self, way: Direction, bytes: &[u8], settings: &Settings) -> Option<()> {
        let record = Record::read(bytes)?;
        self.state.header = Some((record.user.into(), record.tree));
        for (command, block) in record.blocks() {
            let read = match way {
                Direction::Original => self.request1(command, &record, &block, settings),
                Direction::Reply => self.response1(command, &record, &block, settings),
            };
            if read.is_none() {
                if self.list.count() == 0 {
                    self.begin(1, u16::from(command), key(&record), Kind::Generic, settings);
                }
                self.list.anomaly(Anomaly("smb.malformed_data"));
            }
        }
        Some(())
    }

    /// The start of a long record.
    pub(super) fn partial1(&mut self, way: Direction, bytes: &[u8], settings: &Settings) -> Option<()> {
        let record = Record::read(bytes)?;
        let (command, block) = record.blocks().next()?;
        if self.is_pipe(key(&record)) == Some(true) {
            return None;
        }
        let piece = match (command, way) {
            (WRITE_ANDX, Direction::Original) => write_request(command, &block)?,
            (READ_ANDX, Direction::Reply) => read_response(&block)?,
            _ => return None,
        };
        if piece.data.is_empty() {
            return None;
        }
        match way {
            Direction::Original => self.write1(command, &record, piece, settings),
            Direction::Reply => self.read1(&record, piece, settings),
        }
        Some(())
    }

    /// A command of the client. `None`: it is broken.
    fn request1(&mut self, command: u8, record: &Record<'_>, block: &Block<'_>, settings: &Settings) -> Option<()> {
        let key = key(record);
        let mut words = block.numbers();
        let stray = matches!(command, NT_CREATE | TREE_DISCONNECT) && self.is_stray(key);
        let kind = match command {
            READ_ANDX => {
                words.take(4)?;
                let fid = Fid::Short(words.le16()?, record.session);
                let low = words.le32()?;
                words.take(10)?;
                let high = words.le32().unwrap_or_default();
                self.state.reading.insert(key, (fid, u64::from(high) << 32 | u64::from(low)));
                return Some(());
            }
            WRITE_ANDX => {
                self.write1(command, record, write_request(command, block)?, settings);
                return Some(());
            }
            WRITE | WRITE_AND_CLOSE => {
                self.write1(command, record, write_request(command, block)?, settings);
                Kind::Generic
            }
            TRANS => return self.trans_request(record, block, settings),
            TRANS2 => return self.trans2_request(record, block, settings),
            NEGOTIATE => return self.negotiate_request(record, block, settings),
            SESSION_SETUP => return self.session_request(record, block, settings),
            TREE_CONNECT => {
                words.take(6)?;
                let password = usize::from(words.le16()?);
                let mut texts = block.texts(password);
                let path = texts.next();
                // Without the first of the two backslashes.
                let share = path.get(1..).filter(|rest| !rest.is_empty()).map_or(path.clone(), <[u8]>::to_vec);
                let asked_service = Some(texts.narrow());
                Kind::Tree(Box::new(TreeConnect { share, asked_service, ..TreeConnect::default() }))
            }
            NT_CREATE => self.create_request1(record, block)?,
            RENAME => rename_request(block)?,
            TREE_DISCONNECT => {
                self.state.trees.remove(&(key.session, key.tree));
                Kind::Generic
            }
            CLOSE => {
                let fid = Fid::Short(words.le16()?, record.session);
                self.state.meant.insert(key, fid);
                self.close(fid, Direction::Original);
                Kind::Generic
            }
            _ => Kind::Generic,
        };
        let tx = self.begin(1, u16::from(command), key, kind, settings)?;
        tx.asked();
        if matches!(command, NT_CANCEL | TRANS2_SECONDARY | LOCKING) {
            tx.answered(None);
        }
        if stray {
            self.list.anomaly(Anomaly("smb.tree_id_not_found"));
        }
        Some(())
    }

    fn create_request1(&mut self, record: &Record<'_>, block: &Block<'_>) -> Option<Kind> {
        let mut words = block.numbers();
        words.take(5)?;
        let length = usize::from(words.le16()?);
        words.take(28)?;
        let disposition = words.le32()?;
        let options = words.le32()?;
        let name = block.texts(0).counted(length);
        self.state.creating.insert(key(record), name.clone());
        let (delete_on_close, directory) = (options & 0x1000 != 0, options & 1 != 0);
        Some(Kind::Create(Box::new(Create { name, disposition, delete_on_close, directory, ..Create::default() })))
    }

    fn negotiate_request(&mut self, record: &Record<'_>, block: &Block<'_>, settings: &Settings) -> Option<()> {
        let mut malformed = false;
        let mut dialects = Vec::new();
        for dialect in block.data.split(|&byte| byte == 0).filter(|part| !part.is_empty()).take(DIALECTS) {
            let [2, name @ ..] = dialect else {
                malformed = true;
                continue;
            };
            malformed |= name.is_empty();
            dialects.push(name.to_vec());
        }
        if self.find_by(1, u16::from(NEGOTIATE), |_| true).is_some() {
            self.list.anomaly(Anomaly("smb.duplicate_negotiate"));
            return Some(());
        }
        let kind = Kind::Negotiate(Box::new(Negotiation { dialects, ..Negotiation::default() }));
        self.begin(1, u16::from(NEGOTIATE), key(record), kind, settings)?.asked();
        if malformed {
            self.list.anomaly(Anomaly("smb.negotiate_malformed_dialects"));
        }
        Some(())
    }

    fn session_request(&mut self, record: &Record<'_>, block: &Block<'_>, settings: &Settings) -> Option<()> {
        let mut words = block.numbers();
        words.take(14)?;
        let first = usize::from(words.le16()?);
        let mut session = Session::default();
        let mut odd = None;
        let mut texts = if block.words.len() == 24 {
            // Extended security: the length was that of a blob.
            odd = session.read_blob(block.data.get(..first).unwrap_or(block.data)).err();
            block.texts(first)
        } else {
            let second = usize::from(words.le16()?);
            let mut texts = block.texts(first.saturating_add(second));
            texts.next();
            texts.next();
            texts
        };
        session.client = Some((texts.next(), texts.next()));
        let kind = Kind::Session(Box::new(session));
        self.begin(1, u16::from(SESSION_SETUP), key(record), kind, settings)?.asked();
        if let Some(odd) = odd {
            self.list.anomaly(odd.event());
        }
        Some(())
    }

    fn write1(&mut self, command: u8, record: &Record<'_>, piece: Piece<'_>, settings: &Settings) {
        let (key, fid) = (key(record), Fid::Short(piece.fid, record.session));
        let unknown = self.state.names.get(&fid).is_none();
        let pipe = self.is_pipe(key).unwrap_or_else(|| unknown && looks_like_call(piece.data));
        if pipe {
            let carrier = Carrier { version: 1, command: u16::from(command), key, fid };
            self.pipe_data(Direction::Original, carrier, piece.data, record.status, settings);
            return;
        }
        let stream = Stream { fid, offset: piece.offset, left: piece.length };
        self.file_piece(Direction::Original, (1, u16::from(WRITE_ANDX), key), stream, piece.data, settings);
        if command == WRITE_AND_CLOSE {
            self.close(fid, Direction::Original);
        }
    }

    fn read1(&mut self, record: &Record<'_>, piece: Piece<'_>, settings: &Settings) {
        let key = key(record);
        let Some((fid, offset)) = self.state.reading.remove(&key) else { return };
        let unknown = self.state.names.get(&fid).is_none();
        let pipe = self.is_pipe(key).unwrap_or_else(|| unknown && looks_like_call(piece.data));
        if pipe {
            let carrier = Carrier { version: 1, command: u16::from(READ_ANDX), key, fid };
            self.pipe_data(Direction::Reply, carrier, piece.data, record.status, settings);
            return;
        }
        let stream = Stream { fid, offset, left: piece.length };
        self.file_piece(Direction::Reply, (1, u16::from(READ_ANDX), key), stream, piece.data, settings);
    }

    /// TRANSACTION to a named pipe (2.2.5.6).
    fn trans_request(&mut self, record: &Record<'_>, block: &Block<'_>, settings: &Settings) -> Option<()> {
        let trans = Trans::request(block)?;
        let mut setup = Reader::new(trans.setup);
        if let (Some(0x26), Some(number)) = (setup.le16(), setup.le16()) {
            let (key, fid) = (key(record), Fid::Short(number, record.session));
            self.state.meant.insert(key, fid);
            let named = self.state.names.get(&fid).is_some_and(|name| is_service(name));
            if named || looks_like_call(trans.data) {
                let carrier = Carrier { version: 1, command: u16::from(TRANS), key, fid };
                self.pipe_data(Direction::Original, carrier, trans.data, record.status, settings);
            }
        }
        Some(())
    }

    /// TRANSACTION2 that sets what a file is called or what becomes of it (2.2.6.7, 2.2.6.9).
    fn trans2_request(&mut self, record: &Record<'_>, block: &Block<'_>, settings: &Settings) -> Option<()> {
        let trans = Trans::request(block)?;
        let mut parameters = Reader::new(trans.parameters);
        let subcommand = Reader::new(trans.setup).le16()?;
        let (level, name, fid) = match subcommand {
            6 => {
                let level = parameters.le16()?;
                parameters.take(4)?;
                (level, without_zeros(parameters.rest()), None)
            }
            8 => {
                let fid = Fid::Short(parameters.le16()?, record.session);
                let known = self.state.names.get(&fid).cloned();
                (parameters.le16()?, known.unwrap_or_else(|| b"<unknown>".to_vec()), Some(fid))
            }
            _ => return Some(()),
        };
        let mut data = Reader::new(trans.data);
        let kind = match level {
            1013 => Kind::SetInfo { fid, name, subcommand, level, delete: data.u8()? != 0 },
            1010 => {
                data.take(8)?;
                let length = usize::try_from(data.le32()?).ok()?;
                Kind::Rename { fid, from: name, to: without_zeros(data.take_up_to(length)) }
            }
            _ => return Some(()),
        };
        self.begin(1, u16::from(TRANS2), key(record), kind, settings)?.asked();
        Some(())
    }

    /// An answer of the server. `None`: it is broken.
    fn response1(&mut self, command: u8, record: &Record<'_>, block: &Block<'_>, settings: &Settings) -> Option<()> {
        let (key, status) = (key(record), record.status);
        let good = status == Status::Nt(0) || status == Status::Dos(0, 0);
        let mut words = block.numbers();
        match command {
            READ_ANDX => {
                if good && block.words.len() >= 24 {
                    self.read1(record, read_response(block)?, settings);
                }
                return Some(());
            }
            TRANS => {
                let Some(fid) = self.state.meant.remove(&key) else { return Some(()) };
                if good || status == Status::Nt(0x8000_0005) {
                    let data = Trans::response(block)?.data;
                    let carrier = Carrier { version: 1, command: u16::from(TRANS), key, fid };
                    self.pipe_data(Direction::Reply, carrier, data, status, settings);
                }
                return Some(());
            }
            CLOSE => {
                if let Some(fid) = self.state.meant.remove(&key) {
                    self.close(fid, Direction::Reply);
                }
            }
            NEGOTIATE => return self.negotiate_response(record, block),
            SESSION_SETUP => {
                let mut texts = match block.words.len() {
                    8.. => {
                        words.take(6)?;
                        block.texts(usize::from(words.le16()?))
                    }
                    _ => block.texts(0),
                };
                let host = (texts.next(), texts.next());
                let header = self.state.header;
                let tx = self.find_by(1, u16::from(SESSION_SETUP), |known| known.message == key.message)?;
                tx.shown = header.unwrap_or(tx.shown);
                if let Kind::Session(session) = &mut tx.kind {
                    session.server = Some(host).filter(|_| !block.data.is_empty());
                }
                tx.answered(Some(status));
                return Some(());
            }
            TREE_CONNECT => return self.tree_response1(record, block, good),
            NT_CREATE if good => self.create_response1(record, block)?,
            _ => {}
        }
        if let Some(tx) = self.find(1, u16::from(command), key) {
            tx.answered(Some(status));
        }
        Some(())
    }

    fn negotiate_response(&mut self, record: &Record<'_>, block: &Block<'_>) -> Option<()> {
        let index = usize::from(block.numbers().le16()?);
        let guid = block.data.first_chunk().copied().filter(|_| block.words.len() == 34);
        let Some(tx) = self.find_by(1, u16::from(NEGOTIATE), |_| true) else { return Some(()) };
        tx.answered(Some(record.status));
        let Kind::Negotiate(negotiation) = &mut tx.kind else { return Some(()) };
        negotiation.server_guid = guid;
        match negotiation.dialects.get(index) {
            Some(dialect) => {
                let dialect: std::sync::Arc<str> = String::from_utf8_lossy(dialect).into();
                tx.dialect = Some(dialect.clone());
                self.state.dialect = Some(dialect);
            }
            None => {
                self.list.anomaly(Anomaly("smb.negotiate_malformed_dialects"));
            }
        }
        Some(())
    }

    fn tree_response1(&mut self, record: &Record<'_>, block: &Block<'_>, good: bool) -> Option<()> {
        let key = key(record);
        let service = block.texts(0).narrow();
        let same = |known: Key| (known.session, known.message) == (key.session, key.message);
        let header = self.state.header;
        let Some(tx) = self.find_by(1, u16::from(TREE_CONNECT), same) else { return Some(()) };
        tx.answered(Some(record.status));
        if !good {
            return Some(());
        }
        tx.shown = header.unwrap_or(tx.shown);
        tx.key = key;
        let Kind::Tree(tree) = &mut tx.kind else { return Some(()) };
        tree.pipe = service == b"IPC";
        tree.service = Some(service);
        let known = Tree { name: tree.share.clone(), pipe: tree.pipe };
        self.state.trees.insert((key.session, key.tree), known);
        Some(())
    }

    fn create_response1(&mut self, record: &Record<'_>, block: &Block<'_>) -> Option<()> {
        let mut words = block.numbers();
        words.take(5)?;
        let fid = Fid::Short(words.le16()?, record.session);
        words.le32()?;
        let mut times = [0; 4];
        for time in &mut times {
            *time = unix_time(words.le64()?);
        }
        words.take(12)?;
        let size = words.le64()?;
        if let Some(name) = self.state.creating.remove(&key(record)) {
            self.state.names.insert(fid, name);
        }
        if let Some(tx) = self.find(1, u16::from(NT_CREATE), key(record))
            && let Kind::Create(create) = &mut tx.kind
        {
            (create.times, create.size, create.fid) = (times, size, Some(fid));
        }
        Some(())
    }
}
