//! Link frames of DNP3 (IEEE 1815, 9): a header with its checksum, then blocks of sixteen bytes with theirs.

use crate::app::read::Reader;
use crate::json::Json;

/// The header of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    length: u8,
    control: u8,
    /// Whom it is for.
    pub destination: u16,
    /// Whom it is from.
    pub source: u16,
}

/// Why there is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// So many bytes are needed.
    Need(usize),
    /// It is odd.
    Odd(&'static str),
}

/// Bytes of a block without its checksum.
const BLOCK: usize = 16;

impl Link {
    /// Bytes of a header.
    pub const LENGTH: usize = 10;

    /// Reads a header.
    pub fn read(reader: &mut Reader<'_>) -> Result<Link, Refusal> {
        let bytes: [u8; Link::LENGTH] = reader.array().ok_or(Refusal::Need(Link::LENGTH))?;
        let [start, again, length, control, d1, d2, s1, s2, c1, c2] = bytes;
        if [start, again] != [0x05, 0x64] {
            return Err(Refusal::Odd("dnp3.malformed"));
        }
        if checksum(&[start, again, length, control, d1, d2, s1, s2]) != u16::from_le_bytes([c1, c2]) {
            return Err(Refusal::Odd("dnp3.bad_link_crc"));
        }
        let link =
            Link { length, control, destination: u16::from_le_bytes([d1, d2]), source: u16::from_le_bytes([s1, s2]) };
        // Control and addresses count, and user data has a transport header.
        if length < 5 || (link.has_user_data() && length < 6) {
            return Err(Refusal::Odd("dnp3.len_too_small"));
        }
        Ok(link)
    }

    /// Bytes of the blocks that follow, with their checksums.
    pub fn blocks(&self) -> usize {
        let data = usize::from(self.length).saturating_sub(5);
        data + 2 * data.div_ceil(BLOCK)
    }

    /// The master sent it.
    pub const fn is_from_master(&self) -> bool {
        self.control & 0x80 != 0
    }

    /// It carries a part of a fragment.
    pub const fn has_user_data(&self) -> bool {
        matches!((self.control & 0x40 != 0, self.control & 0xf), (true, 3 | 4))
    }

    /// Writes the control byte's parts.
    pub fn log_control(&self, json: &mut Json<'_>) {
        json.flag("dir", self.control & 0x80 != 0).flag("pri", self.control & 0x40 != 0);
        json.flag("fcb", self.control & 0x20 != 0).flag("fcv", self.control & 0x10 != 0);
        json.number("function_code", self.control & 0xf);
    }
}

/// The data of blocks without their checksums; `None` when one is wrong.
pub fn user_data(blocks: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::with_capacity(blocks.len());
    for block in blocks.chunks(BLOCK + 2) {
        let (bytes, sum) = block.split_last_chunk()?;
        if checksum(bytes) != u16::from_le_bytes(*sum) {
            return None;
        }
        data.extend_from_slice(bytes);
    }
    Some(data)
}

/// The checksum of IEEE 1815: polynomial 0x3d65, reflected, inverted.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u16;
    for byte in bytes {
        sum ^= u16::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xa6bc } else { sum >> 1 };
        }
    }
    !sum
}
