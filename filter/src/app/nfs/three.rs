//! The procedures of NFS 2 and 3, and the operations of NFS 4 that name or carry files.

use super::rpc::{Call, Reply, opaque};
use super::transaction::Kind;
use super::{Asked, Begun, Nfs, Stream};
use crate::app::read::Reader;
use crate::app::{Anomaly, Settings};
use crate::inspect::Direction;

/// Bytes of a name or a handle that are kept.
const NAME: usize = 1024;
/// Entries of a directory that are read.
const ENTRIES: usize = 4096;
/// Operations of a compound that are read.
const OPERATIONS: usize = 64;

/// Procedures of NFS 3.
mod v3 {
    pub(super) const LOOKUP: u32 = 3;
    pub(super) const READ: u32 = 6;
    pub(super) const WRITE: u32 = 7;
    pub(super) const CREATE: u32 = 8;
    pub(super) const MKDIR: u32 = 9;
    pub(super) const REMOVE: u32 = 12;
    pub(super) const RMDIR: u32 = 13;
    pub(super) const RENAME: u32 = 14;
    pub(super) const READDIRPLUS: u32 = 17;
    pub(super) const COMMIT: u32 = 21;
}

/// Procedures of NFS 2.
mod v2 {
    pub(super) const LOOKUP: u32 = 4;
    pub(super) const READ: u32 = 6;
    pub(super) const WRITE: u32 = 8;
    pub(super) const CREATE: u32 = 9;
    pub(super) const REMOVE: u32 = 10;
    pub(super) const RENAME: u32 = 11;
    pub(super) const MKDIR: u32 = 14;
    pub(super) const RMDIR: u32 = 15;
}

/// Operations of NFS 4.
mod v4 {
    pub(super) const CLOSE: u32 = 4;
    pub(super) const COMMIT: u32 = 5;
    pub(super) const LOOKUP: u32 = 15;
    pub(super) const PUTFH: u32 = 22;
    pub(super) const READ: u32 = 25;
    pub(super) const REMOVE: u32 = 28;
    pub(super) const WRITE: u32 = 38;
}

/// Whether a call carries bytes of a file.
pub(super) fn is_write(call: &Call<'_>) -> bool {
    matches!((call.version, call.procedure), (3, v3::WRITE) | (2, v2::WRITE))
}

/// Whether the answer to a call carries bytes of a file.
pub(super) fn was_read(asked: &Asked) -> bool {
    matches!((asked.version, asked.procedure), (2 | 3, v3::READ))
}

fn kept(bytes: &[u8]) -> Vec<u8> {
    bytes.get(..NAME).unwrap_or(bytes).to_vec()
}

/// A file's handle.
fn handle(reader: &mut Reader<'_>, version: u32) -> Option<Vec<u8>> {
    if version == 2 { reader.take(32).map(kept) } else { opaque(reader).map(kept) }
}

/// Bytes of a file as far as they are there, and how many there are to be.
fn data<'b>(reader: &mut Reader<'b>) -> Option<(u64, &'b [u8])> {
    let length = u64::from(reader.be32()?);
    Some((length, reader.take_up_to(usize::try_from(length).ok()?)))
}

/// Skips attributes that may be missing (RFC 1813, 2.6).
fn attributes(reader: &mut Reader<'_>) -> Option<()> {
    if reader.be32()? != 0 {
        reader.take(84)?;
    }
    Some(())
}

impl Nfs {
    /// A call; how many bytes of a file follow.
    pub(super) fn call(&mut self, call: &Call<'_>, settings: &Settings) -> u64 {
        if !(2..=4).contains(&call.version) {
            self.list.anomaly(Anomaly("nfs.non_existing_version"));
            return 0;
        }
        let read = if call.version == 4 { self.compound(call, settings) } else { self.procedure(call, settings) };
        read.unwrap_or_else(|| {
            self.list.anomaly(Anomaly("nfs.malformed_data"));
            0
        })
    }

    fn procedure(&mut self, call: &Call<'_>, settings: &Settings) -> Option<u64> {
        let mut reader = Reader::new(call.arguments);
        let (version, procedure) = (call.version, call.procedure);
        let credentials = call.credentials.clone();
        let mut asked = Asked { version, procedure, credentials, ..Asked::default() };
        let mut kind = Kind::Plain;
        if procedure != 0 {
            asked.handle = handle(&mut reader, version)?;
        }
        match (version, procedure) {
            (3, v3::LOOKUP | v3::CREATE | v3::MKDIR | v3::REMOVE | v3::RMDIR | v3::RENAME)
            | (2, v2::LOOKUP | v2::CREATE | v2::MKDIR | v2::REMOVE | v2::RMDIR | v2::RENAME) => {
                asked.name = opaque(&mut reader).map(kept)?;
                if matches!((version, procedure), (3, v3::RENAME) | (2, v2::RENAME)) {
                    handle(&mut reader, version)?;
                    kind = Kind::Rename(opaque(&mut reader).map(kept)?);
                }
            }
            (3, v3::READ) => asked.offset = reader.be64()?,
            (2, v2::READ) => asked.offset = u64::from(reader.be32()?),
            _ => {}
        }
        if asked.name.is_empty() {
            asked.name = self.names.get(&asked.handle).cloned().unwrap_or_default();
        }
        let left = match (version, procedure) {
            (3, v3::WRITE) => {
                asked.offset = reader.be64()?;
                reader.be32()?;
                let stable = reader.be32()?;
                self.write(call, &asked, &mut reader, stable == 2, settings)?
            }
            (2, v2::WRITE) => {
                reader.be32()?;
                asked.offset = u64::from(reader.be32()?);
                reader.be32()?;
                self.write(call, &asked, &mut reader, false, settings)?
            }
            (3, v3::COMMIT) => {
                if let Some(tx) = self.transfer(&asked.handle, Direction::Original) {
                    tx.last_call(call.xid);
                    tx.also(procedure);
                    tx.close();
                }
                0
            }
            (2 | 3, v3::READ) => 0,
            _ => {
                self.begin(Begun { xid: call.xid, asked: &asked, credentials: &call.credentials }, kind, settings)?
                    .asked();
                0
            }
        };
        self.asked.insert(call.xid, asked);
        Some(left)
    }

    fn write(
        &mut self,
        call: &Call<'_>,
        asked: &Asked,
        reader: &mut Reader<'_>,
        last: bool,
        settings: &Settings,
    ) -> Option<u64> {
        let (left, bytes) = data(reader)?;
        let stream = Stream { handle: asked.handle.clone(), offset: asked.offset, left, last };
        let begun = Begun { xid: call.xid, asked, credentials: &call.credentials };
        Some(self.piece(Direction::Original, begun, stream, bytes, settings))
    }

    /// COMPOUND (RFC 7530, 16.2): the operations up to the first that is not read.
    fn compound(&mut self, call: &Call<'_>, settings: &Settings) -> Option<u64> {
        let credentials = call.credentials.clone();
        let mut asked = Asked { version: 4, procedure: call.procedure, credentials, ..Asked::default() };
        let mut reader = Reader::new(call.arguments);
        let r = &mut reader;
        let (mut main, mut others) = (None, Vec::new());
        if call.procedure == 1 {
            opaque(r)?;
            r.be32()?;
            for _ in 0..r.be32()?.min(OPERATIONS as u32) {
                let number = r.be32()?;
                others.push(number);
                match number {
                    // Attributes, the current handle, places of handles, sessions.
                    9 => skip_words(r)?,
                    10 | 24 | 23 | 31 | 32 | 16 => {}
                    3 => drop(r.be32()?),
                    53 => drop(r.take(32)?),
                    v4::PUTFH => asked.handle = opaque(r).map(kept)?,
                    v4::LOOKUP | v4::REMOVE => {
                        asked.name = opaque(r).map(kept)?;
                        main = Some(number);
                    }
                    v4::READ => {
                        r.take(16)?;
                        asked.offset = r.be64()?;
                        r.be32()?;
                        asked.procedure = number;
                    }
                    v4::WRITE => {
                        r.take(16)?;
                        asked.offset = r.be64()?;
                        let stable = r.be32()?;
                        asked.procedure = number;
                        self.named(&mut asked);
                        self.write(call, &asked, r, stable == 2, settings)?;
                        r.take_up_to((4 - r.len() % 4) % 4);
                    }
                    v4::COMMIT | v4::CLOSE => {
                        r.take(if number == v4::CLOSE { 20 } else { 12 })?;
                        for way in [Direction::Original, Direction::Reply] {
                            if let Some(tx) = self.transfer(&asked.handle, way) {
                                tx.also(number);
                                tx.close();
                            }
                        }
                        main = Some(number);
                    }
                    other => {
                        main = Some(other);
                        break;
                    }
                }
            }
        }
        self.named(&mut asked);
        if let Some(main) = main.filter(|_| !matches!(asked.procedure, v4::READ | v4::WRITE)) {
            asked.procedure = main;
            let begun = Begun { xid: call.xid, asked: &asked, credentials: &call.credentials };
            let tx = self.begin(begun, Kind::Plain, settings)?;
            tx.asked();
            others.iter().filter(|&&other| other != main).for_each(|&other| tx.also(other));
        }
        self.asked.insert(call.xid, asked);
        Some(0)
    }

    fn named(&self, asked: &mut Asked) {
        if asked.name.is_empty() {
            asked.name = self.names.get(&asked.handle).cloned().unwrap_or_default();
        }
    }

    /// An answer; how many bytes of a file follow.
    pub(super) fn reply(&mut self, reply: &Reply<'_>, settings: &Settings) -> u64 {
        let Some(asked) = self.asked.remove(&reply.xid) else { return 0 };
        let mut reader = Reader::new(reply.results);
        let status = reader.be32().unwrap_or_default();
        let good = reply.state == 0 && status == 0;
        let mut given = None;
        let read = match (asked.version, asked.procedure) {
            (3, v3::LOOKUP) | (2, v2::LOOKUP) if good => {
                given = handle(&mut reader, asked.version);
                given.as_ref().map(|_| 0)
            }
            (3, v3::CREATE) if good => match reader.be32() {
                Some(0) => Some(0),
                _ => {
                    given = handle(&mut reader, 3);
                    given.as_ref().map(|_| 0)
                }
            },
            (3, v3::READDIRPLUS) if good => self.directory(&mut reader).map(|()| 0),
            (2 | 3, v3::READ) if good => self.read_reply(reply, &asked, &mut reader, settings),
            (4, v4::READ) if good => self.compound_reply(reply, &asked, &mut reader, settings),
            _ => Some(0),
        };
        if read.is_none() {
            self.list.anomaly(Anomaly("nfs.malformed_data"));
        }
        if let Some(handle) = &given {
            self.names.insert(handle.clone(), asked.name.clone());
        }
        let waits = |tx: &super::Tx| tx.xid == reply.xid && !tx.is_file();
        if let Some(tx) = self.list.iter_mut().rev().find(|tx| waits(tx)) {
            tx.answered(reply.state, status);
            // It is about the file that was found, not about where it was looked for.
            tx.handle = given.unwrap_or_else(|| std::mem::take(&mut tx.handle));
        }
        read.unwrap_or_default()
    }

    fn read_reply(
        &mut self,
        reply: &Reply<'_>,
        asked: &Asked,
        reader: &mut Reader<'_>,
        settings: &Settings,
    ) -> Option<u64> {
        let (last, (left, bytes)) = if asked.version == 2 {
            // Version 2 has no sign of the end, but tells how long the file is (RFC 1094, 2.3.5).
            reader.take(20)?;
            let size = u64::from(reader.be32()?);
            reader.take(44)?;
            let (left, bytes) = data(reader)?;
            (asked.offset.saturating_add(left) >= size, (left, bytes))
        } else {
            attributes(reader)?;
            reader.be32()?;
            (reader.be32()? != 0, data(reader)?)
        };
        self.read_piece(reply, asked, left, bytes, last, settings)
    }

    /// The bytes of READ in the answer to a compound that begins with PUTFH, as clients write it.
    fn compound_reply(
        &mut self,
        reply: &Reply<'_>,
        asked: &Asked,
        reader: &mut Reader<'_>,
        settings: &Settings,
    ) -> Option<u64> {
        opaque(reader)?;
        for _ in 0..reader.be32()?.min(OPERATIONS as u32) {
            let (number, status) = (reader.be32()?, reader.be32()?);
            match number {
                _ if status != 0 => return Some(0),
                v4::PUTFH | 24 => {}
                53 => drop(reader.take(36)?),
                v4::READ => {
                    let last = reader.be32()? != 0;
                    let (left, bytes) = data(reader)?;
                    return self.read_piece(reply, asked, left, bytes, last, settings);
                }
                _ => return Some(0),
            }
        }
        Some(0)
    }

    fn read_piece(
        &mut self,
        reply: &Reply<'_>,
        asked: &Asked,
        left: u64,
        bytes: &[u8],
        last: bool,
        settings: &Settings,
    ) -> Option<u64> {
        let stream = Stream { handle: asked.handle.clone(), offset: asked.offset, left, last };
        let begun = Begun { xid: reply.xid, asked, credentials: &asked.credentials };
        Some(self.piece(Direction::Reply, begun, stream, bytes, settings))
    }

    /// Names and handles in a directory.
    fn directory(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        attributes(reader)?;
        reader.take(8)?;
        for _ in 0..ENTRIES {
            if reader.be32()? == 0 {
                return Some(());
            }
            reader.be64()?;
            let name = opaque(reader).map(kept)?;
            reader.be64()?;
            attributes(reader)?;
            if reader.be32()? != 0 {
                let handle = opaque(reader).map(kept)?;
                self.names.insert(handle, name);
            }
        }
        Some(())
    }
}

/// A list of words with its length before it.
fn skip_words(reader: &mut Reader<'_>) -> Option<()> {
    let count = usize::try_from(reader.be32()?).ok()?;
    reader.take(count.checked_mul(4)?).map(drop)
}
