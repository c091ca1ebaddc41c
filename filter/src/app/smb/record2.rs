//! Records of SMB 2 and 3 (MS-SMB2, 2.2).

use super::Fid;
use crate::app::read::Reader;

/// Length of the header; offsets in bodies count from its start.
pub(super) const HEADER: usize = 64;
const RESPONSE: u32 = 1;
const ASYNC: u32 = 2;
const RELATED: u32 = 4;

/// Commands that are looked into.
pub(super) mod command {
    pub(in super::super) const NEGOTIATE: u16 = 0;
    pub(in super::super) const SESSION_SETUP: u16 = 1;
    pub(in super::super) const TREE_CONNECT: u16 = 3;
    pub(in super::super) const TREE_DISCONNECT: u16 = 4;
    pub(in super::super) const CREATE: u16 = 5;
    pub(in super::super) const CLOSE: u16 = 6;
    pub(in super::super) const READ: u16 = 8;
    pub(in super::super) const WRITE: u16 = 9;
    pub(in super::super) const IOCTL: u16 = 11;
    pub(in super::super) const GET_INFO: u16 = 16;
    pub(in super::super) const SET_INFO: u16 = 17;
}

/// One record, of several that may be chained.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'b> {
    pub(super) command: u16,
    pub(super) status: u32,
    pub(super) is_response: bool,
    /// It goes on with what the record before it in the chain began.
    pub(super) related: bool,
    pub(super) message: u64,
    pub(super) tree: u32,
    pub(super) session: u64,
    /// From the header to the end of this record.
    pub(super) bytes: &'b [u8],
    /// Where the next one begins; 0 for none.
    pub(super) next: usize,
}

impl<'b> Record<'b> {
    pub(super) fn read(bytes: &'b [u8]) -> Option<Record<'b>> {
        let mut reader = Reader::new(bytes);
        if reader.array()? != *b"\xfeSMB" {
            return None;
        }
        reader.take(4)?;
        let status = reader.le32()?;
        let command = reader.le16()?;
        reader.le16()?;
        let flags = reader.le32()?;
        let next = usize::try_from(reader.le32()?).ok()?;
        let message = reader.le64()?;
        reader.le32()?;
        let tree = if flags & ASYNC == 0 { reader.le32()? } else { reader.le32().map(|_| 0)? };
        let session = reader.le64()?;
        reader.take(16)?;
        let bytes = match next {
            0 => bytes,
            _ => bytes.get(..next).filter(|_| next >= HEADER)?,
        };
        let (is_response, related) = (flags & RESPONSE != 0, flags & RELATED != 0);
        Some(Record { command, status, is_response, related, message, tree, session, bytes, next })
    }

    /// The body, behind its size field.
    pub(super) fn body(&self) -> Option<Reader<'b>> {
        let mut reader = Reader::new(self.bytes.get(HEADER..)?);
        reader.le16()?;
        Some(reader)
    }

    /// Bytes at a place of the record, as many of them as are there.
    pub(super) fn at(&self, offset: usize, length: usize) -> &'b [u8] {
        let rest = self.bytes.get(offset..).unwrap_or_default();
        rest.get(..length).unwrap_or(rest)
    }
}

/// A piece of a file that is written, or that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'b> {
    pub(super) fid: Option<Fid>,
    pub(super) offset: u64,
    pub(super) length: u32,
    /// As much of it as the record holds.
    pub(super) data: &'b [u8],
}

/// WRITE (2.2.21).
pub(super) fn write_request<'b>(record: &Record<'b>) -> Option<Piece<'b>> {
    let mut body = record.body()?;
    let at = usize::from(body.le16()?);
    let length = body.le32()?;
    let offset = body.le64()?;
    let fid = Some(Fid::Long(body.array()?));
    let data = record.at(at, usize::try_from(length).ok()?);
    Some(Piece { fid, offset, length, data })
}

/// The answer to READ (2.2.20); of which file and from where, the request said.
pub(super) fn read_response<'b>(record: &Record<'b>) -> Option<Piece<'b>> {
    let mut body = record.body()?;
    let [at, _] = body.array()?;
    let length = body.le32()?;
    let data = record.at(usize::from(at), usize::try_from(length).ok()?);
    Some(Piece { fid: None, offset: 0, length, data })
}

/// READ (2.2.19): file, place, length.
pub(super) fn read_request(record: &Record<'_>) -> Option<(Fid, u64, u32)> {
    let mut body = record.body()?;
    body.take(2)?;
    let length = body.le32()?;
    let offset = body.le64()?;
    Some((Fid::Long(body.array()?), offset, length))
}

/// CREATE (2.2.13): disposition, options, name.
pub(super) fn create_request<'b>(record: &Record<'b>) -> Option<(u32, u32, &'b [u8])> {
    let mut body = record.body()?;
    body.take(34)?;
    let disposition = body.le32()?;
    let options = body.le32()?;
    let at = usize::from(body.le16()?);
    let length = usize::from(body.le16()?);
    Some((disposition, options, record.at(at, length)))
}

/// The answer to CREATE (2.2.14): times, size, file.
pub(super) fn create_response(record: &Record<'_>) -> Option<([u32; 4], u64, Fid)> {
    let mut body = record.body()?;
    body.take(6)?;
    let mut times = [0; 4];
    for time in &mut times {
        *time = unix_time(body.le64()?);
    }
    body.le64()?;
    let size = body.le64()?;
    body.take(8)?;
    Some((times, size, Fid::Long(body.array()?)))
}

/// CLOSE (2.2.15).
pub(super) fn close_request(record: &Record<'_>) -> Option<Fid> {
    let mut body = record.body()?;
    body.take(6)?;
    Some(Fid::Long(body.array()?))
}

/// IOCTL and its answer (2.2.31, 2.2.32): function, file, data.
pub(super) fn ioctl<'b>(record: &Record<'b>) -> Option<(u32, Fid, &'b [u8])> {
    let mut body = record.body()?;
    body.le16()?;
    let function = body.le32()?;
    let fid = Fid::Long(body.array()?);
    let (in_at, in_length) = (body.le32()?, body.le32()?);
    let (at, length) = if record.is_response { (body.le32()?, body.le32()?) } else { (in_at, in_length) };
    Some((function, fid, record.at(usize::try_from(at).ok()?, usize::try_from(length).ok()?)))
}

/// SET_INFO (2.2.39): class, level, file, data.
pub(super) fn set_info<'b>(record: &Record<'b>) -> Option<(u8, u8, Fid, &'b [u8])> {
    let mut body = record.body()?;
    let [class, level] = body.array()?;
    let length = usize::try_from(body.le32()?).ok()?;
    let at = usize::from(body.le16()?);
    body.take(6)?;
    let fid = Fid::Long(body.array()?);
    Some((class, level, fid, record.at(at, length)))
}

/// Seconds since 1970 of a time in steps of 100 ns since 1601.
pub(super) fn unix_time(time: u64) -> u32 {
    u32::try_from((time / 10_000_000).saturating_sub(11_644_473_600)).unwrap_or_default()
}
