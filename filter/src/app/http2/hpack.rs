//! Decoding of header blocks (RFC 7541).
//!
//! The dynamic table keeps [`TABLE`] bytes at most, whatever the peer asks for. A block gives at most [`BLOCK`] bytes of
//! headers: a reference of one byte may stand for thousands, so what goes beyond is decoded for the table's sake, not kept.

use std::collections::VecDeque;
use std::sync::Arc;

use super::table::{STATIC, decode};
use crate::app::read::Reader;

/// Bytes of the dynamic table, counted as the standard does.
pub const TABLE: usize = 64 << 10;

/// Bytes of headers that a block gives.
pub const BLOCK: usize = 256 << 10;

/// Bytes of one name or value.
const TEXT: usize = 64 << 10;

/// A header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Its name, lower case as the protocol demands.
    pub name: Arc<[u8]>,
    /// Its value.
    pub value: Arc<[u8]>,
}

impl Header {
    fn cost(&self) -> usize {
        self.name.len() + self.value.len() + 32
    }
}

/// Why a block cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It ends within a header.
    Short,
    /// A number is too large.
    Overflow,
    /// An index names no header.
    Index,
    /// Bytes are no Huffman code.
    Huffman,
}

/// What a block holds.
#[derive(Debug, Default)]
pub struct Block {
    /// Headers in order.
    pub headers: Vec<Header>,
    /// Sizes that the table was set to.
    pub sizes: Vec<u64>,
    /// Headers were left out for want of room.
    pub cut: bool,
}

/// The decoder of one direction.
#[derive(Debug)]
pub struct Decoder {
    entries: VecDeque<Header>,
    used: usize,
    limit: usize,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder { entries: VecDeque::new(), used: 0, limit: 4096 }
    }
}

impl Decoder {
    /// Decodes a whole block.
    pub fn block(&mut self, bytes: &[u8]) -> Result<Block, Refusal> {
        let mut reader = Reader::new(bytes);
        let mut block = Block::default();
        let mut room = BLOCK;
        while let Some(&first) = reader.rest().first() {
            if first & 0xe0 == 0x20 {
                let size = number(&mut reader, 5)?;
                self.limit = usize::try_from(size).unwrap_or(TABLE).min(TABLE);
                self.evict(0);
                if block.sizes.len() < 16 {
                    block.sizes.push(size);
                }
                continue;
            }
            let header = self.header(first, &mut reader)?;
            match room.checked_sub(header.cost()) {
                Some(left) => {
                    room = left;
                    block.headers.push(header);
                }
                None => block.cut = true,
            }
        }
        Ok(block)
    }

    fn header(&mut self, first: u8, reader: &mut Reader<'_>) -> Result<Header, Refusal> {
        if first & 0x80 != 0 {
            let index = number(reader, 7)?;
            return self.indexed(index).ok_or(Refusal::Index);
        }
        let (bits, kept) = if first & 0x40 != 0 { (6, true) } else { (4, false) };
        let index = number(reader, bits)?;
        let name = match index {
            0 => text(reader)?,
            _ => self.indexed(index).ok_or(Refusal::Index)?.name,
        };
        let header = Header { name, value: text(reader)? };
        if kept {
            self.keep(&header);
        }
        Ok(header)
    }

    fn indexed(&self, index: u64) -> Option<Header> {
        let index = usize::try_from(index).ok()?.checked_sub(1)?;
        match STATIC.get(index) {
            Some((name, value)) => Some(Header { name: name.as_bytes().into(), value: value.as_bytes().into() }),
            None => self.entries.get(index - STATIC.len()).cloned(),
        }
    }

    fn keep(&mut self, header: &Header) {
        let cost = header.cost();
        self.evict(cost);
        if cost <= self.limit {
            self.used += cost;
            self.entries.push_front(header.clone());
        }
    }

    /// Forgets the oldest until there is room.
    fn evict(&mut self, wanted: usize) {
        while self.used + wanted > self.limit {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.used -= oldest.cost();
        }
    }
}

/// A number whose first `bits` bits end the first byte (RFC 7541, 5.1).
fn number(reader: &mut Reader<'_>, bits: u32) -> Result<u64, Refusal> {
    let full = (1u64 << bits) - 1;
    let start = u64::from(reader.u8().ok_or(Refusal::Short)?) & full;
    if start < full {
        return Ok(start);
    }
    let mut value = full;
    for shift in (0..32).step_by(7) {
        let byte = reader.u8().ok_or(Refusal::Short)?;
        value += u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Refusal::Overflow)
}

fn text(reader: &mut Reader<'_>) -> Result<Arc<[u8]>, Refusal> {
    let coded = reader.rest().first().ok_or(Refusal::Short)? & 0x80 != 0;
    let length = number(reader, 7)?;
    let bytes = usize::try_from(length).ok().and_then(|length| reader.take(length)).ok_or(Refusal::Short)?;
    if !coded {
        return Ok(bytes.get(..TEXT).unwrap_or(bytes).into());
    }
    let mut out = Vec::with_capacity(bytes.len() * 8 / 5);
    decode(bytes, TEXT, &mut out).ok_or(Refusal::Huffman)?;
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(block: &Block) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        block.headers.iter().map(|header| (text(&header.name), text(&header.value))).collect()
    }

    #[test]
    fn the_requests_of_the_standard_are_decoded() {
        // RFC 7541, C.4.1 and C.4.2: Huffman code and the dynamic table.
        let mut decoder = Decoder::default();
        let first = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        let block = decoder.block(first).unwrap();
        assert_eq!(pairs(&block).last().unwrap(), &(":authority".into(), "www.example.com".into()));
        let second = b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf";
        let block = decoder.block(second).unwrap();
        assert_eq!(
            pairs(&block)[3..],
            [(":authority".into(), "www.example.com".into()), ("cache-control".into(), "no-cache".into())]
        );
        assert_eq!(decoder.used, 110);
    }

    #[test]
    fn references_to_a_large_entry_do_not_fill_memory() {
        let mut decoder = Decoder::default();
        let mut bytes = vec![0x40, 1, b'x', 0x7f, 0x81, 0x1e];
        bytes.extend([b'y'; 3968]);
        bytes.extend([0xbe; 60_000]);
        let block = decoder.block(&bytes).unwrap();
        assert!(block.cut && block.headers.len() < 100, "{}", block.headers.len());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.block(&[0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80]).unwrap_err(), Refusal::Overflow);
        assert_eq!(decoder.block(&[0xbe]).unwrap_err(), Refusal::Index);
        assert_eq!(decoder.block(&[0x80]).unwrap_err(), Refusal::Index);
        assert_eq!(decoder.block(&[0x40, 5, b'a']).unwrap_err(), Refusal::Short);
        assert_eq!(decoder.block(&[0x3f, 0xe1, 0x1f]).unwrap().sizes, [4096]);
    }
}
