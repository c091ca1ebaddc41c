//! The hello of Google's QUIC before encryption: tags and values (QUIC Crypto, "CHLO"), and its fingerprint CYU.

use super::super::read::Reader;
use super::packet::Header;
use crate::app::tls::fingerprint::md5_hex;
use crate::json::Json;

/// Tags of a hello.
const TAGS: u16 = 256;

/// What a client says.
#[derive(Debug, Default)]
pub struct Hello {
    /// The name asked for.
    pub sni: Option<Vec<u8>>,
    /// The client's own name.
    pub user_agent: Option<Vec<u8>>,
    /// Version and tags: "46,PAD-SNI-…".
    pub cyu: String,
}

/// Reads the hello of a packet's payload: a hash of twelve bytes, then a STREAM frame with the message.
pub fn hello(header: &Header<'_>, payload: &[u8]) -> Option<Hello> {
    let mut reader = Reader::new(payload.get(12..)?);
    let kind = reader.u8().filter(|kind| kind & 0x80 != 0)?;
    // Stream identifier of one to four bytes, offset of none or two to eight, length where it is said.
    reader.take(usize::from(kind & 3) + 1)?;
    let offset = usize::from(kind >> 2 & 7);
    reader.take(if offset == 0 { 0 } else { offset + 1 })?;
    if kind & 0x20 != 0 {
        reader.be16()?;
    }
    if reader.take(4)? != b"CHLO" {
        return None;
    }
    let count = reader.le16().filter(|&count| count <= TAGS)?;
    reader.le16()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push((reader.take(4)?, reader.le32()? as usize));
    }
    let values = reader.rest();
    let version = header.version.to_be_bytes();
    let digits = String::from_utf8_lossy(version.get(2..).unwrap_or_default()).into_owned();
    let mut hello = Hello { cyu: digits + ",", ..Hello::default() };
    let mut from = 0;
    for (nth, (tag, to)) in entries.into_iter().enumerate() {
        let value = values.get(from..to).map(<[u8]>::to_vec);
        match tag {
            b"SNI\0" => hello.sni = value,
            b"UAID" => hello.user_agent = value,
            _ => {}
        }
        if nth > 0 {
            hello.cyu.push('-');
        }
        hello.cyu.push_str(String::from_utf8_lossy(tag).trim_end_matches('\0'));
        from = to;
    }
    Some(hello)
}

impl Hello {
    /// Writes what EVE shows of it.
    pub fn log(&self, json: &mut Json<'_>) {
        for (name, value) in [("sni", &self.sni), ("ua", &self.user_agent)] {
            if let Some(value) = value {
                json.bytes(name, value);
            }
        }
        json.array("cyu", |list| {
            list.item(|json| {
                json.text("hash", &md5_hex(self.cyu.as_bytes())).text("string", &self.cyu);
            });
        });
    }
}
