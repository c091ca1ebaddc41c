//! Records of SMB 1 (MS-CIFS): the header, and blocks of words and bytes.

use super::auth::without_zeros;
use super::transaction::Status;
use crate::app::read::Reader;

/// Length of the header; offsets in blocks count from its start.
pub(super) const HEADER: usize = 32;
/// No further command follows.
const NONE: u8 = 0xff;

/// The header, with the whole record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'b> {
    pub(super) command: u8,
    pub(super) status: Status,
    pub(super) unicode: bool,
    /// The process, which tells sessions apart.
    pub(super) session: u64,
    pub(super) user: u16,
    pub(super) tree: u32,
    pub(super) message: u64,
    pub(super) bytes: &'b [u8],
}

impl<'b> Record<'b> {
    pub(super) fn read(bytes: &'b [u8]) -> Option<Record<'b>> {
        let mut reader = Reader::new(bytes);
        if reader.array()? != *b"\xffSMB" {
            return None;
        }
        let command = reader.u8()?;
        let status: [u8; 4] = reader.array()?;
        reader.u8()?;
        let flags = reader.le16()?;
        let process_high = reader.le16()?;
        reader.take(10)?;
        let tree = u32::from(reader.le16()?);
        let process = reader.le16()?;
        let user = reader.le16()?;
        let message = u64::from(reader.le16()?);
        let [class, _, low, high] = status;
        let status = match flags & 0x4000 {
            0 => Status::Dos(class, u16::from_le_bytes([low, high])),
            _ => Status::Nt(u32::from_le_bytes(status)),
        };
        let session = u64::from(process_high) << 16 | u64::from(process);
        Some(Record { command, status, unicode: flags & 0x8000 != 0, session, user, tree, message, bytes })
    }

    /// The blocks of the record: the first command, which may have neither words nor bytes, then those chained to it.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (u8, Block<'b>)> + use<'b> {
        let (bytes, unicode) = (self.bytes, self.unicode);
        let mut next = Some((self.command, HEADER));
        std::iter::from_fn(move || {
            let (command, at) = next.take()?;
            let block = match Block::read(bytes, at, unicode) {
                None if at == HEADER => Block { words: &[], data: &[], at, record: bytes, unicode },
                read => read?,
            };
            if is_chained(command)
                && let [follows, _, low, high, ..] = block.words
            {
                let further = usize::from(u16::from_le_bytes([*low, *high]));
                // Only ahead: a chain has an end.
                next = Some((*follows, further)).filter(|_| *follows != NONE && further > at);
            }
            Some((command, block))
        })
    }
}

/// Commands whose words begin with the next command ("AndX").
fn is_chained(command: u8) -> bool {
    matches!(command, 0x24 | 0x2d | 0x2e | 0x2f | 0x73 | 0x74 | 0x75 | 0xa2)
}

/// Words and bytes of one command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block<'b> {
    pub(super) words: &'b [u8],
    pub(super) data: &'b [u8],
    /// Where the data begins in the record.
    at: usize,
    record: &'b [u8],
    unicode: bool,
}

impl<'b> Block<'b> {
    fn read(record: &'b [u8], at: usize, unicode: bool) -> Option<Block<'b>> {
        let mut reader = Reader::new(record.get(at..)?);
        let count = usize::from(reader.u8()?) * 2;
        let words = reader.take(count)?;
        let length = usize::from(reader.le16()?);
        let data = reader.take_up_to(length);
        Some(Block { words, data, at: at + 3 + count, record, unicode })
    }

    /// The words as numbers.
    pub(super) fn numbers(&self) -> Reader<'b> {
        Reader::new(self.words)
    }

    /// Bytes at a place of the record, as many of them as are there.
    pub(super) fn at(&self, offset: usize, length: usize) -> &'b [u8] {
        let rest = self.record.get(offset..).unwrap_or_default();
        rest.get(..length).unwrap_or(rest)
    }

    /// Texts, one after the other, from a place of the data on.
    pub(super) fn texts(&self, from: usize) -> Texts<'b> {
        Texts { rest: self.data.get(from..).unwrap_or_default(), at: self.at + from, unicode: self.unicode }
    }
}

/// Texts that end with a zero; those of two bytes a letter begin at even places.
pub(super) struct Texts<'b> {
    rest: &'b [u8],
    at: usize,
    unicode: bool,
}

impl Texts<'_> {
    /// The next one, in the record's encoding, without zeros.
    pub(super) fn next(&mut self) -> Vec<u8> {
        if !self.unicode {
            return self.narrow();
        }
        let padding = self.at % 2;
        self.skip(padding);
        let units = self.rest.chunks_exact(2).take_while(|unit| **unit != [0, 0]).count();
        let text = without_zeros(self.rest.get(..units * 2).unwrap_or_default());
        self.skip(units * 2 + 2);
        text
    }

    /// The next one, one byte a letter whatever the record says.
    pub(super) fn narrow(&mut self) -> Vec<u8> {
        let end = memchr::memchr(0, self.rest).unwrap_or(self.rest.len());
        let text = without_zeros(self.rest.get(..end).unwrap_or_default());
        self.skip(end + 1);
        text
    }

    /// Letters at even places, up to so many bytes.
    pub(super) fn counted(&mut self, bytes: usize) -> Vec<u8> {
        if self.unicode {
            self.skip(self.at % 2);
        }
        without_zeros(self.rest.get(..bytes).unwrap_or(self.rest))
    }

    pub(super) fn skip(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
        self.at = self.at.saturating_add(count);
    }
}

/// The parts of TRANSACTION and TRANSACTION2 (MS-CIFS, 2.2.4.33 and 46).
#[derive(Clone, Copy, Debug)]
pub(super) struct Trans<'b> {
    pub(super) setup: &'b [u8],
    pub(super) parameters: &'b [u8],
    pub(super) data: &'b [u8],
}

impl<'b> Trans<'b> {
    pub(super) fn request(block: &Block<'b>) -> Option<Trans<'b>> {
        let mut words = block.numbers();
        words.take(18)?;
        Trans::rest(block, &mut words)
    }

    pub(super) fn response(block: &Block<'b>) -> Option<Trans<'b>> {
        let mut words = block.numbers();
        words.take(6)?;
        let parameters = Trans::part(block, &mut words)?;
        words.le16()?;
        let data = Trans::part(block, &mut words)?;
        Some(Trans { setup: &[], parameters, data })
    }

    fn rest(block: &Block<'b>, words: &mut Reader<'b>) -> Option<Trans<'b>> {
        let parameters = Trans::part(block, words)?;
        let data = Trans::part(block, words)?;
        let [count, _] = words.array()?;
        let setup = words.take(usize::from(count) * 2)?;
        Some(Trans { setup, parameters, data })
    }

    fn part(block: &Block<'b>, words: &mut Reader<'b>) -> Option<&'b [u8]> {
        let length = usize::from(words.le16()?);
        let at = usize::from(words.le16()?);
        Some(block.at(at, length))
    }
}
