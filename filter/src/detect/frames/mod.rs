//! Frames: the units that protocols cut their streams into (`frame:tls.pdu`), found by their lengths.
//!
//! One [`Framer`] belongs to each flow while the program has rules on frames. It keeps the bytes of a unit that is not
//! complete, up to [`LONGEST`] in a direction; of a longer one the first bytes are looked at and the rest is passed over.
//! Where bytes are lost, or are no units, nothing more is cut in that direction.

mod unit;

use weir_ids_rules::AppProtocol;

use super::Direction;
use unit::{Cut, Sort, Stage, Unit};

/// Bytes of a frame that are looked at.
const LONGEST: usize = 64 << 10;

/// The frames of one flow.
#[derive(Debug, Default)]
pub struct Framer {
    sides: [Side; 2],
}

#[derive(Debug, Default)]
struct Side {
    /// Bytes of units that are not complete, or whose protocol is not known.
    held: Vec<u8>,
    /// Bytes of a long unit that are still to be passed over.
    skip: usize,
    stage: Stage,
    lost: bool,
}

impl Framer {
    /// Takes bytes of a stream, `gap` of them lost before; tells each frame that they complete, with its name.
    pub fn stream(
        &mut self,
        protocol: Option<AppProtocol>,
        way: Direction,
        (bytes, gap): (&[u8], bool),
        each: &mut dyn FnMut(&str, &[u8]),
    ) {
        let side = &mut self.sides[way as usize];
        side.lost |= gap;
        if side.lost {
            side.held = Vec::new();
            return;
        }
        let skipped = side.skip.min(bytes.len());
        side.skip -= skipped;
        side.held.extend_from_slice(bytes.get(skipped..).unwrap_or_default());
        if let Some(protocol) = protocol {
            side.cut(protocol, way, each);
        }
        if side.held.len() > LONGEST {
            (side.lost, side.held) = (true, Vec::new());
        }
    }
}

impl Side {
    fn cut(&mut self, protocol: AppProtocol, way: Direction, each: &mut dyn FnMut(&str, &[u8])) {
        let mut used = 0;
        loop {
            let rest = self.held.get(used..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            let before = self.stage;
            let unit = match unit::first(protocol, way, &mut self.stage, rest) {
                Cut::Unit(unit) => unit,
                Cut::More => break,
                Cut::Never => {
                    (self.lost, self.held) = (true, Vec::new());
                    return;
                }
            };
            let seen = unit.length.min(LONGEST);
            let Some(bytes) = rest.get(..seen) else {
                // It is cut again when the rest has come.
                self.stage = before;
                break;
            };
            tell(protocol, way, &unit, bytes, each);
            used += seen;
            let beyond = unit.length - seen;
            let passed = beyond.min(self.held.len() - used);
            used += passed;
            self.skip = beyond - passed;
        }
        self.held.drain(..used);
    }
}

/// Tells the frames of one datagram.
pub fn datagram(protocol: AppProtocol, way: Direction, bytes: &[u8], each: &mut dyn FnMut(&str, &[u8])) {
    match protocol {
        AppProtocol::Dns => each("dns.pdu", bytes),
        AppProtocol::Sip => sip(way, bytes, each),
        AppProtocol::BitTorrentDht => each("bittorrent-dht.packet", bytes),
        AppProtocol::Nfs => each("nfs.rpc.pdu", bytes),
        _ => {}
    }
}

/// The frames of a message of SIP: first line, headers, body.
fn sip(way: Direction, bytes: &[u8], each: &mut dyn FnMut(&str, &[u8])) {
    each("sip.pdu", bytes);
    let line_end = memchr::memmem::find(bytes, b"\r\n").map_or(bytes.len(), |at| at + 2);
    let head_end = memchr::memmem::find(bytes, b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let (line, headers, body) = match way {
        Direction::Original => ("sip.request_line", "sip.request.headers", "sip.request.body"),
        Direction::Reply => ("sip.response_line", "sip.response.headers", "sip.response.body"),
    };
    for (name, range) in [(line, 0..line_end), (headers, line_end..head_end), (body, head_end..bytes.len())] {
        let part = bytes.get(range).unwrap_or_default();
        if !part.is_empty() {
            each(name, part);
        }
    }
}

/// Tells the frames of a unit of a stream: all of it, its header, what follows that.
fn tell(protocol: AppProtocol, way: Direction, unit: &Unit, bytes: &[u8], each: &mut dyn FnMut(&str, &[u8])) {
    use AppProtocol as P;
    let (header, data) = bytes.split_at(unit.header.min(bytes.len()));
    let mut three =
        |names: [&str; 3]| [bytes, header, data].iter().zip(names).for_each(|(part, name)| each(name, part));
    match (protocol, unit.sort) {
        (_, Sort::Nothing) => {}
        (P::Tls, _) => three(["tls.pdu", "tls.hdr", "tls.data"]),
        (P::Dns, _) => each("dns.pdu", data),
        (P::Smb, _) => {
            three(["smb.nbss.pdu", "smb.nbss.hdr", "smb.nbss.data"]);
            smb(data, each);
        }
        (P::Mqtt, _) => three(["mqtt.pdu", "mqtt.header", "mqtt.data"]),
        (P::Modbus, _) => each("modbus.pdu", bytes),
        (P::Enip, _) => three(["enip.pdu", "enip.hdr", "enip.data"]),
        (P::Dcerpc, _) => three(["dcerpc.pdu", "dcerpc.hdr", "dcerpc.data"]),
        (P::Http2, _) => three(["http2.pdu", "http2.hdr", "http2.data"]),
        (P::Ldap, _) => each("ldap.pdu", bytes),
        (P::Nfs, _) => each("nfs.rpc.pdu", bytes),
        (P::Pgsql, _) => each("pgsql.pdu", bytes),
        (P::WebSocket, _) => three(["websocket.pdu", "websocket.header", "websocket.data"]),
        (P::Ssh, _) => three(["ssh.record.pdu", "ssh.record.hdr", "ssh.record.data"]),
        (P::Dnp3, _) => each("dnp3.pdu", bytes),
        (P::Pop3, _) => each("pop3.pdu", bytes),
        (P::Http1, _) => {
            let [one, other] = match way {
                Direction::Original => ["http.request", "http1.request"],
                Direction::Reply => ["http.response", "http1.response"],
            };
            each(one, bytes);
            each(other, bytes);
        }
        (P::Smtp, Sort::Data) => each("smtp.data", bytes),
        (P::Smtp, _) if way == Direction::Original => each("smtp.command_line", line(bytes)),
        (P::Smtp, _) => each("smtp.response_line", line(bytes)),
        (P::Ftp, _) if way == Direction::Original => each("ftp.request_line", line(bytes)),
        (P::Ftp, _) => each("ftp.response_line", line(bytes)),
        _ => {}
    }
}

/// A line without its end.
fn line(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii_end()
}

/// The message in a record of NetBIOS: the versions tell themselves apart by their first byte.
fn smb(bytes: &[u8], each: &mut dyn FnMut(&str, &[u8])) {
    let (names, header) = match bytes {
        [0xff, b'S', b'M', b'B', ..] => (["smb.smb1.pdu", "smb.smb1.hdr", "smb.smb1.data"], 32),
        [0xfe, b'S', b'M', b'B', ..] => (["smb.smb2.pdu", "smb.smb2.hdr", "smb.smb2.data"], 64),
        [0xfd, b'S', b'M', b'B', ..] => (["smb.smb3.pdu", "smb.smb3.hdr", "smb.smb3.data"], 52),
        _ => return,
    };
    let (head, data) = bytes.split_at(header.min(bytes.len()));
    [bytes, head, data].iter().zip(names).for_each(|(part, name)| each(name, part));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frames of a stream that comes in pieces of this size.
    fn frames(protocol: AppProtocol, way: Direction, bytes: &[u8], size: usize) -> Vec<(String, Vec<u8>)> {
        let (mut framer, mut found) = (Framer::default(), Vec::new());
        for piece in bytes.chunks(size) {
            framer.stream(Some(protocol), way, (piece, false), &mut |name, bytes| {
                found.push((name.to_owned(), bytes.to_vec()));
            });
        }
        found
    }

    #[test]
    fn frames_are_the_same_however_the_stream_is_cut() {
        let cases: [(AppProtocol, Direction, &[u8], usize); 9] = [
            (AppProtocol::Tls, Direction::Original, b"\x16\x03\x01\x00\x02ab\x17\x03\x03\x00\x01c", 6),
            (AppProtocol::Dns, Direction::Reply, b"\x00\x03abc\x00\x01d", 2),
            (AppProtocol::Smb, Direction::Original, b"\x00\x00\x00\x05\xffSMBx", 6),
            (AppProtocol::Mqtt, Direction::Original, b"\x10\x02ab\xc0\x00", 6),
            (
                AppProtocol::Http2,
                Direction::Original,
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x01\x04\x00\x00\x00\x00\x00z",
                3,
            ),
            (AppProtocol::Ssh, Direction::Reply, b"SSH-2.0-x\r\n\x00\x00\x00\x04\x02\x14ab", 3),
            (AppProtocol::Smtp, Direction::Original, b"HELO a\r\nDATA\r\nbody\r\n.\r\nQUIT\r\n", 5),
            (
                AppProtocol::Http1,
                Direction::Original,
                b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n",
                4,
            ),
            (AppProtocol::Ldap, Direction::Original, b"\x30\x02ab\x30\x81\x01c", 2),
        ];
        for (protocol, way, bytes, count) in cases {
            let whole = frames(protocol, way, bytes, bytes.len());
            assert_eq!(whole.len(), count, "{protocol:?}: {whole:?}");
            for size in 1..bytes.len() {
                assert_eq!(frames(protocol, way, bytes, size), whole, "{protocol:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn of_a_long_frame_the_beginning_is_seen_and_the_next_one_is_found() {
        let mut bytes = vec![0x00, 0x01, 0x40, 0x00];
        bytes.resize(4 + 0x1_4000, b'x');
        bytes.extend(b"\x00\x00\x00\x01y");
        let found = frames(AppProtocol::Smb, Direction::Original, &bytes, 1460);
        let sizes: Vec<usize> = found.iter().filter(|(name, _)| name == "smb.nbss.pdu").map(|(_, b)| b.len()).collect();
        assert_eq!(sizes, [LONGEST, 5]);
    }

    #[test]
    fn any_bytes_are_cut_within_bounds() {
        let mut state = 7u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        for &protocol in AppProtocol::ALL {
            for way in [Direction::Original, Direction::Reply] {
                let mut framer = Framer::default();
                for _ in 0..200 {
                    let bytes: Vec<u8> = (0..random()).map(|_| random() & 0x8f).collect();
                    framer
                        .stream(Some(protocol), way, (&bytes, false), &mut |_, bytes| assert!(bytes.len() <= LONGEST));
                    datagram(protocol, way, &bytes, &mut |_, _| {});
                }
                assert!(framer.sides.iter().all(|side| side.held.len() <= LONGEST));
            }
        }
    }
}
