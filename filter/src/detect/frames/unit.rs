//! Where the units of a protocol begin and end, by their own lengths, for `frame`.
//!
//! Nothing is understood here beyond what a unit's length takes; hostile lengths cost nothing but the unit.

use weir_ids_rules::AppProtocol;

use crate::inspect::Direction;

/// A unit at the beginning of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Bytes of all of it.
    pub length: usize,
    /// Bytes of its header.
    pub header: usize,
    /// What it is, as far as its frames' names depend on that.
    pub sort: Sort,
}

/// Sorts of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// What the protocol usually has.
    Usual,
    /// It is no frame, and passed over.
    Nothing,
    /// A line of a conversation.
    Line,
    /// Lines of content.
    Data,
}

/// What can be said of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A unit begins here; it may be longer than the bytes.
    Unit(Unit),
    /// More bytes are needed to tell.
    More,
    /// The protocol has no units that are known, or these are none.
    Never,
}

/// What a direction has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// The beginning of the conversation is over.
    pub begun: bool,
    /// Content follows, not commands.
    pub data: bool,
}

fn usual(length: usize, header: usize) -> Cut {
    Cut::Unit(Unit { length: length.max(header).max(1), header, sort: Sort::Usual })
}

fn be16(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.first_chunk().map(|&b| usize::from(u16::from_be_bytes(b)))
}

fn le16(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.first_chunk().map(|&b| usize::from(u16::from_le_bytes(b)))
}

fn be24(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.first_chunk().map(|&[a, b, c]| u32::from_be_bytes([0, a, b, c]) as usize)
}

fn be32(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.first_chunk().map(|&b| u32::from_be_bytes(b) as usize)
}

/// The first unit of a stream's bytes.
pub fn first(protocol: AppProtocol, way: Direction, stage: &mut Stage, bytes: &[u8]) -> Cut {
    use AppProtocol as P;
    let of = |length: Option<usize>, header: usize| length.map_or(Cut::More, |length| usual(length + header, header));
    match protocol {
        P::Tls => of(be16(bytes, 3), 5),
        P::Dns => of(be16(bytes, 0), 2),
        P::Smb => of(be24(bytes, 1), 4),
        P::Modbus => of(be16(bytes, 4), 6),
        P::Enip => of(le16(bytes, 2), 24),
        P::Nfs => of(be32(bytes, 0).map(|mark| mark & 0x7fff_ffff), 4),
        P::Dcerpc => {
            let little = bytes.get(4).is_some_and(|byte| byte & 0x10 != 0);
            let length = if little { le16(bytes, 8) } else { be16(bytes, 8) };
            length.map_or(Cut::More, |length| usual(length, 16))
        }
        P::Http2 if way == Direction::Original && !stage.begun => magic(stage, bytes),
        P::Http2 => of(be24(bytes, 0), 9),
        P::Mqtt => mqtt(bytes),
        P::Ldap => ldap(bytes),
        P::Pgsql => pgsql(way, stage, bytes),
        P::WebSocket => websocket(bytes),
        P::Ssh if !stage.begun => {
            let end = line(bytes, Sort::Nothing);
            stage.begun = matches!(end, Cut::Unit(_));
            end
        }
        P::Ssh => be32(bytes, 0).map_or(Cut::More, |length| usual(length.saturating_add(4), 6)),
        P::Smtp => smtp(way, stage, bytes),
        P::Ftp | P::Pop3 => line(bytes, Sort::Line),
        P::Http1 => http(bytes),
        P::Dnp3 => dnp3(bytes),
        P::Sip => Cut::Never,
        _ => Cut::Never,
    }
}

/// The preface of HTTP/2 (RFC 9113, 3.4).
fn magic(stage: &mut Stage, bytes: &[u8]) -> Cut {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    if bytes.len() < PREFACE.len() && PREFACE.starts_with(bytes) {
        return Cut::More;
    }
    stage.begun = true;
    let length = if bytes.starts_with(PREFACE) {
        PREFACE.len()
    } else {
        return be24(bytes, 0).map_or(Cut::More, |n| usual(n + 9, 9));
    };
    Cut::Unit(Unit { length, header: 0, sort: Sort::Nothing })
}

/// A fixed header with a length of up to four bytes of seven bits (MQTT 5.0, 1.5.5).
fn mqtt(bytes: &[u8]) -> Cut {
    let mut length = 0usize;
    for (i, &byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return usual(length + i + 2, i + 2);
        }
    }
    if bytes.len() >= 5 { Cut::Never } else { Cut::More }
}

/// A sequence with a definite length (X.690, 8.1.3).
fn ldap(bytes: &[u8]) -> Cut {
    match bytes {
        [0x30, short @ 0..=0x7f, ..] => usual(usize::from(*short) + 2, 2),
        [0x30, 0x81, a, ..] => usual(usize::from(*a) + 3, 3),
        [0x30, 0x82, a, b, ..] => usual(usize::from(u16::from_be_bytes([*a, *b])) + 4, 4),
        [0x30, 0x83, a, b, c, ..] => usual(u32::from_be_bytes([0, *a, *b, *c]) as usize + 5, 5),
        [0x30, 0x84, a, b, c, d, ..] => usual((u32::from_be_bytes([*a, *b, *c, *d]) as usize).saturating_add(6), 6),
        [] | [0x30] | [0x30, 0x81..=0x84, ..] => Cut::More,
        _ => Cut::Never,
    }
}

/// The client's first messages have no type.
fn pgsql(way: Direction, stage: &mut Stage, bytes: &[u8]) -> Cut {
    if way == Direction::Original && !stage.begun {
        let (Some(length), Some(version)) = (be32(bytes, 0), be32(bytes, 4)) else { return Cut::More };
        stage.begun = version >> 16 == 3;
        return usual(length, 4);
    }
    if way == Direction::Reply && !stage.begun {
        stage.begun = true;
        if let [b'S' | b'N'] = bytes {
            return usual(1, 1);
        }
    }
    be32(bytes, 1).map_or(Cut::More, |length| usual(length.saturating_add(1), 5))
}

/// RFC 6455, 5.2.
fn websocket(bytes: &[u8]) -> Cut {
    let Some(&second) = bytes.get(1) else { return Cut::More };
    let mask = if second & 0x80 != 0 { 4 } else { 0 };
    let (length, header) = match second & 0x7f {
        126 => (be16(bytes, 2), 4),
        127 => (be32(bytes, 2).zip(be32(bytes, 6)).map(|(high, low)| if high == 0 { low } else { usize::MAX / 2 }), 10),
        short => (Some(usize::from(short)), 2),
    };
    length.map_or(Cut::More, |length| usual(length.saturating_add(header + mask), header + mask))
}

/// Up to and with the end of a line.
fn line(bytes: &[u8], sort: Sort) -> Cut {
    match memchr::memchr(b'\n', bytes) {
        Some(end) => Cut::Unit(Unit { length: end + 1, header: 0, sort }),
        None => Cut::More,
    }
}

/// Commands are lines; after DATA lines of content follow, up to a lone dot.
fn smtp(way: Direction, stage: &mut Stage, bytes: &[u8]) -> Cut {
    if way == Direction::Reply {
        return line(bytes, Sort::Line);
    }
    let Some(end) = memchr::memchr(b'\n', bytes) else { return Cut::More };
    let text = bytes.get(..end).unwrap_or_default().trim_ascii_end();
    let sort = if stage.data { Sort::Data } else { Sort::Line };
    stage.data = if stage.data { text != b"." } else { text.eq_ignore_ascii_case(b"data") };
    Cut::Unit(Unit { length: end + 1, header: 0, sort })
}

/// A head, and a body where its length is said.
fn http(bytes: &[u8]) -> Cut {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4) else { return Cut::More };
    let head = bytes.get(..end).unwrap_or_default();
    let mut lines = head.split(|&byte| byte == b'\n');
    let body = lines.find_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = (line.get(..colon)?, line.get(colon + 1..)?);
        let value =
            std::str::from_utf8(value.trim_ascii()).ok().filter(|_| name.eq_ignore_ascii_case(b"content-length"));
        value?.parse::<usize>().ok()
    });
    usual(end.saturating_add(body.unwrap_or(0)), end)
}

/// A link frame: ten bytes with their checksum, then blocks of sixteen with theirs (IEEE 1815, 9).
fn dnp3(bytes: &[u8]) -> Cut {
    match bytes {
        [0x05, 0x64, length, ..] => {
            let data = usize::from(*length).saturating_sub(5);
            usual(10 + data + 2 * data.div_ceil(16), 10)
        }
        [] | [0x05] | [0x05, 0x64] => Cut::More,
        _ => Cut::Never,
    }
}
