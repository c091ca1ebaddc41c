//! Decompressing transforms. What is broken gives what came before the break; a limit ends the work.

use flate2::{Decompress, FlushDecompress};

/// gzip (RFC 1952).
pub fn gunzip(bytes: &[u8], limit: u32, out: &mut Vec<u8>) {
    if let Some(body) = behind_header(bytes) {
        inflate(Decompress::new(false), body, limit, out);
    }
}

/// zlib (RFC 1950).
pub fn zlib(bytes: &[u8], limit: u32, out: &mut Vec<u8>) {
    inflate(Decompress::new(true), bytes, limit, out);
}

fn inflate(mut state: Decompress, bytes: &[u8], limit: u32, out: &mut Vec<u8>) {
    let begin = out.len();
    let limit = limit as usize;
    // A text grows a thousandfold at the most, and `decompress_vec` fills what there is room for.
    out.reserve(limit.min(bytes.len().saturating_mul(1032)));
    // A broken text has given what it could.
    if state.decompress_vec(bytes, out, FlushDecompress::Finish).is_err() {
        return out.truncate(begin);
    }
    out.truncate(begin + limit);
}

/// The bytes behind a gzip header, with its optional fields.
fn behind_header(bytes: &[u8]) -> Option<&[u8]> {
    let (fixed, mut rest) = bytes.split_first_chunk::<10>()?;
    if fixed.get(..3)? != [0x1f, 0x8b, 8] {
        return None;
    }
    let flags = *fixed.get(3)?;
    if flags & 4 > 0 {
        let (length, after) = rest.split_first_chunk::<2>()?;
        rest = after.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    // Name and comment end in a zero byte.
    for _ in 0..(flags >> 3 & 1) + (flags >> 4 & 1) {
        let end = memchr::memchr(0, rest)?;
        rest = rest.get(end + 1..)?;
    }
    if flags & 2 > 0 { rest.get(2..) } else { Some(rest) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn both_forms_are_undone_up_to_the_limit() {
        let text = b"a text that is compressed, a text that is compressed";
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gz.write_all(text).unwrap();
        let mut out = Vec::new();
        gunzip(&gz.finish().unwrap(), 1000, &mut out);
        assert_eq!(out, text);
        let mut z = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        z.write_all(text).unwrap();
        let packed = z.finish().unwrap();
        let mut out = Vec::new();
        zlib(&packed, 6, &mut out);
        assert_eq!(out, b"a text");
        let mut out = Vec::new();
        gunzip(&packed, 6, &mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn a_bomb_is_cut_at_the_limit() {
        let mut z = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        z.write_all(&vec![0; 4 << 20]).unwrap();
        let mut out = Vec::new();
        zlib(&z.finish().unwrap(), 1000, &mut out);
        assert_eq!(out.len(), 1000);
    }
}
