//! Headers of QUIC packets (RFC 8999, RFC 9000, 17; RFC 9369, 3.2) and the frames of Initial packets.

use crate::app::read::Reader;

/// QUIC 1 (RFC 9000).
pub const VERSION_1: u32 = 1;
/// QUIC 2 (RFC 9369).
pub const VERSION_2: u32 = 0x6b33_43cf;

/// Kind of a long header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first packets.
    Initial,
    /// Data before the handshake.
    ZeroRtt,
    /// The handshake, encrypted.
    Handshake,
    /// The server asks the client to begin anew.
    Retry,
}

/// A long header as far as all versions agree.
#[derive(Clone, Copy, Debug)]
pub struct Header<'b> {
    /// What follows.
    pub kind: Kind,
    /// Version.
    pub version: u32,
    /// Destination connection identifier.
    pub destination: &'b [u8],
}

/// Versions of Google's that are in the clear.
const GOOGLE: std::ops::RangeInclusive<u32> = 0x5130_3339..=0x5130_3436;

fn is_known(version: u32) -> bool {
    matches!(version, VERSION_1 | VERSION_2 | 0xff00_0017..=0xff00_0022) || GOOGLE.contains(&version)
}

impl<'b> Header<'b> {
    /// Reads a header, and the token of an Initial packet. `None`: no long header of a version that is known.
    pub fn read(reader: &mut Reader<'b>) -> Option<Header<'b>> {
        let first = reader.u8()?;
        if first & 0x80 == 0 {
            return Header::public(first, reader);
        }
        let version = reader.be32()?;
        if !is_known(version) {
            return None;
        }
        if GOOGLE.contains(&version) {
            // One byte has the lengths of both identifiers, 0 or 8 bytes; four bytes of a number follow.
            let lengths = reader.u8()?;
            let size = |nibble: u8| if nibble == 0 { 0 } else { usize::from(nibble) + 3 };
            let destination = reader.take(size(lengths >> 4))?;
            reader.take(size(lengths & 0xf))?;
            reader.be32()?;
            return Some(Header { kind: Kind::Initial, version, destination });
        }
        let destination = identifier(reader)?;
        identifier(reader)?;
        let kind = match (first >> 4 & 3, version) {
            (1, VERSION_2) => Kind::Initial,
            (2, VERSION_2) => Kind::ZeroRtt,
            (3, VERSION_2) => Kind::Handshake,
            (0, VERSION_2) => Kind::Retry,
            (0, _) => Kind::Initial,
            (1, _) => Kind::ZeroRtt,
            (2, _) => Kind::Handshake,
            _ => Kind::Retry,
        };
        if kind == Kind::Initial {
            let token = variable(reader)?;
            reader.take(usize::try_from(token).ok()?)?;
        }
        Some(Header { kind, version, destination })
    }

    /// The version that is known with which bytes begin as a long header does.
    pub fn announced(bytes: &[u8]) -> Option<u32> {
        let mut reader = Reader::new(bytes);
        reader.u8().filter(|first| first & 0x80 != 0)?;
        reader.be32().filter(|&version| is_known(version) && !GOOGLE.contains(&version))
    }

    /// The header of Google's versions up to 43: flags, identifier, version, number.
    fn public(flags: u8, reader: &mut Reader<'b>) -> Option<Header<'b>> {
        if flags & 0x01 == 0 || flags & 0x08 == 0 {
            return None;
        }
        let destination = reader.take(8)?;
        let version = reader.be32()?;
        if !(0x5130_3339..=0x5130_3433).contains(&version) {
            return None;
        }
        reader.take([1, 2, 4, 6].get(usize::from(flags >> 4 & 3)).copied()?)?;
        Some(Header { kind: Kind::Initial, version, destination })
    }

    /// It is of a version of Google's.
    pub fn is_google(&self) -> bool {
        GOOGLE.contains(&self.version)
    }
}

fn identifier<'b>(reader: &mut Reader<'b>) -> Option<&'b [u8]> {
    let length = reader.u8().filter(|&length| length <= 20)?;
    reader.take(usize::from(length))
}

/// A number of one to eight bytes (RFC 9000, 16).
pub fn variable(reader: &mut Reader<'_>) -> Option<u64> {
    let first = reader.u8()?;
    let rest = (1usize << (first >> 6)) - 1;
    let bytes = reader.take(rest)?;
    Some(bytes.iter().fold(u64::from(first & 0x3f), |value, &byte| value << 8 | u64::from(byte)))
}

/// Offsets and bytes of the CRYPTO frames of an Initial packet's payload, up to the first frame that cannot be there.
pub fn crypto_frames(plain: &[u8]) -> Vec<(u64, &[u8])> {
    let mut reader = Reader::new(plain);
    let mut found = Vec::new();
    while let Some(kind) = reader.u8() {
        let read = match kind {
            0 | 1 => Some(()),
            2 | 3 => acknowledgement(&mut reader, kind),
            6 => crypto(&mut reader).map(|piece| found.push(piece)),
            _ => None,
        };
        if read.is_none() {
            break;
        }
    }
    found
}

fn crypto<'b>(reader: &mut Reader<'b>) -> Option<(u64, &'b [u8])> {
    let offset = variable(reader)?;
    let length = variable(reader)?;
    Some((offset, reader.take(usize::try_from(length).ok()?)?))
}

fn acknowledgement(reader: &mut Reader<'_>, kind: u8) -> Option<()> {
    variable(reader)?;
    variable(reader)?;
    let ranges = variable(reader)?;
    variable(reader)?;
    for _ in 0..ranges {
        variable(reader)?;
        variable(reader)?;
    }
    if kind == 3 {
        variable(reader)?;
        variable(reader)?;
        variable(reader)?;
    }
    Some(())
}

/// A version as EVE writes it.
pub fn version_name(version: u32) -> String {
    if GOOGLE.contains(&version) {
        return String::from_utf8_lossy(&version.to_be_bytes()).into_owned();
    }
    // RFC 9369, 3.1; the first version has no name but its number.
    if version == 0x6b33_43cf { "v2".to_owned() } else { format!("{version:x}") }
}
