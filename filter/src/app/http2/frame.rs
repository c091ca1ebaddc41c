//! Frames of HTTP/2 (RFC 9113, 4 and 6).

use super::stream::Half;
use crate::app::read::Reader;

/// Types of frames.
pub mod kind {
    /// Bytes of a body.
    pub const DATA: u8 = 0;
    /// The beginning of headers.
    pub const HEADERS: u8 = 1;
    /// Weight of a stream.
    pub const PRIORITY: u8 = 2;
    /// End of a stream.
    pub const RST_STREAM: u8 = 3;
    /// Settings of the connection.
    pub const SETTINGS: u8 = 4;
    /// Headers of a request that the server foresees.
    pub const PUSH_PROMISE: u8 = 5;
    /// End of the connection.
    pub const GOAWAY: u8 = 7;
    /// Room for more data.
    pub const WINDOW_UPDATE: u8 = 8;
    /// More headers.
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flag {
    /// The direction of the stream ends.
    pub const END_STREAM: u8 = 0x1;
    /// The headers end.
    pub const END_HEADERS: u8 = 0x4;
    /// There is padding.
    pub const PADDED: u8 = 0x8;
    /// There is a priority.
    pub const PRIORITY: u8 = 0x20;
}

/// The head of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Bytes that follow it.
    pub length: usize,
    /// What it is.
    pub kind: u8,
    flags: u8,
    /// The stream; 0 for the connection.
    pub stream: u32,
}

impl Head {
    /// Bytes of a head.
    pub const LENGTH: usize = 9;

    /// One about the connection, without flags.
    pub const fn of(kind: u8, length: usize) -> Head {
        Head { length, kind, flags: 0, stream: 0 }
    }

    /// Reads one.
    pub fn read(reader: &mut Reader<'_>) -> Option<Head> {
        let length = reader.be24()? as usize;
        let (kind, flags, stream) = (reader.u8()?, reader.u8()?, reader.be32()? & 0x7fff_ffff);
        Some(Head { length, kind, flags, stream })
    }

    /// Whether a flag is set.
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The part of a header block in a frame; `None` where it has none.
pub fn block(head: Head, payload: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(payload);
    if head.kind == kind::CONTINUATION {
        return Some(payload);
    }
    if !matches!(head.kind, kind::HEADERS | kind::PUSH_PROMISE) {
        return None;
    }
    let padding = if head.has(flag::PADDED) { usize::from(reader.u8()?) } else { 0 };
    if head.kind == kind::PUSH_PROMISE {
        reader.be32()?;
    } else if head.has(flag::PRIORITY) {
        reader.take(5)?;
    }
    let rest = reader.rest();
    rest.get(..rest.len().checked_sub(padding)?)
}

/// Notes what a frame says besides headers. `false`: it is malformed.
pub fn note(head: Head, payload: &[u8], half: &mut Half) -> bool {
    let mut reader = Reader::new(payload);
    match head.kind {
        kind::HEADERS => {
            if head.has(flag::PADDED) && reader.u8().is_none() {
                return false;
            }
            if head.has(flag::PRIORITY) {
                let (Some(_), Some(weight)) = (reader.be32(), reader.u8()) else { return false };
                Half::add(&mut half.priorities, weight);
            }
            block(head, payload).is_some()
        }
        kind::PRIORITY => {
            let (Some(_), Some(weight)) = (reader.be32(), reader.u8()) else { return false };
            Half::add(&mut half.priorities, weight);
            reader.is_empty()
        }
        kind::RST_STREAM => {
            half.error = reader.be32();
            half.error.is_some() && reader.is_empty()
        }
        kind::GOAWAY => {
            reader.be32();
            half.error = reader.be32();
            half.error.is_some()
        }
        kind::SETTINGS => {
            while let (Some(id), Some(value)) = (reader.be16(), reader.be32()) {
                Half::add(&mut half.settings, (id, value));
            }
            reader.is_empty() && payload.len().is_multiple_of(6)
        }
        kind::WINDOW_UPDATE => {
            let Some(window) = reader.be32() else { return false };
            Half::add(&mut half.windows, window & 0x7fff_ffff);
            reader.is_empty()
        }
        kind::PUSH_PROMISE => block(head, payload).is_some(),
        _ => true,
    }
}
