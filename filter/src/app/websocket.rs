//! WebSocket (RFC 6455) after its upgrade from HTTP, with compression by message (RFC 7692).
//!
//! A transaction is a message: the frames of a fragmented one are put together. Of a message [`MESSAGE`] bytes are kept,
//! before and after decompression; the rest is passed over.

use flate2::{Decompress, FlushDecompress};
use weir_ids_rules::{AppProtocol, Buffer, Field};

use super::read::Reader;
use super::{
    Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Provides, Settings, Transaction, Transactions,
};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

/// Bytes of a message that are kept.
const MESSAGE: usize = 64 << 10;

/// First byte of a frame: last of its message, compressed, type.
mod first {
    pub const FIN: u8 = 0x80;
    pub const COMPRESSED: u8 = 0x40;
    pub const OPCODE: u8 = 0x0f;
}

/// A message.
#[derive(Debug)]
pub struct Message {
    way: Direction,
    flags: u8,
    opcode: u8,
    mask: Option<u32>,
    payload: Vec<u8>,
    complete: bool,
}

/// State of one direction.
#[derive(Debug, Default)]
struct Side {
    /// The message that goes on.
    message: Option<Message>,
    /// What is left of a frame, and where its mask stands.
    left: u64,
    masked: u64,
    last: bool,
    /// A control frame between the fragments of a message.
    control: Option<Message>,
    window: Option<Box<Decompress>>,
    inflated: Vec<u8>,
}

#[derive(Debug, Default)]
struct WebSocket {
    list: List<Message>,
    sides: [Side; 2],
}

fn start(_settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    Box::new(WebSocket::default())
}

impl Side {
    /// Reads a frame's head. `None`: more bytes are needed.
    fn head(&mut self, way: Direction, reader: &mut Reader<'_>) -> Option<()> {
        let (flags, second) = (reader.u8()?, reader.u8()?);
        let left = match second & 0x7f {
            126 => u64::from(reader.be16()?),
            127 => reader.be64()?,
            short => u64::from(short),
        };
        let mask = if second & 0x80 != 0 { Some(reader.be32()?) } else { None };
        self.left = left;
        self.masked = 0;
        self.last = flags & first::FIN != 0;
        let opcode = flags & first::OPCODE;
        let fresh = Message { way, flags, opcode, mask, payload: Vec::new(), complete: false };
        match (opcode, &mut self.message) {
            (8.., _) => self.control = Some(fresh),
            (0, Some(message)) => message.mask = mask,
            (_, _) => self.message = Some(fresh),
        }
        Some(())
    }

    /// Takes bytes of the frame; the message, once it is complete.
    fn body(&mut self, reader: &mut Reader<'_>) -> Option<Message> {
        let bytes = reader.take_up_to(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= bytes.len() as u64;
        let message = self.control.as_mut().or(self.message.as_mut())?;
        let mask = message.mask.map(u32::to_be_bytes);
        let room = MESSAGE.saturating_sub(message.payload.len());
        for (nth, byte) in bytes.iter().take(room).enumerate() {
            let at = (self.masked as usize).wrapping_add(nth) % 4;
            let key = mask.and_then(|mask| mask.get(at).copied()).unwrap_or(0);
            message.payload.push(byte ^ key);
        }
        self.masked = self.masked.wrapping_add(bytes.len() as u64);
        if self.left > 0 {
            return None;
        }
        let done = match self.control.take() {
            Some(control) => Some(control),
            None if self.last => self.message.take(),
            None => None,
        };
        let mut done = done?;
        if done.flags & first::COMPRESSED != 0 {
            self.inflate(&mut done);
        }
        done.complete = true;
        Some(done)
    }

    /// Undoes the compression, whose window may span messages. What cannot be undone stays as it is.
    fn inflate(&mut self, message: &mut Message) {
        let window = self.window.get_or_insert_with(|| Box::new(Decompress::new(false)));
        message.payload.extend_from_slice(&[0, 0, 0xff, 0xff]);
        self.inflated.clear();
        self.inflated.reserve(MESSAGE);
        if window.decompress_vec(&message.payload, &mut self.inflated, FlushDecompress::Sync).is_ok() {
            message.payload.clone_from(&self.inflated);
        } else {
            self.window = None;
        }
    }
}

impl Parser for WebSocket {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::WebSocket
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        let mut reader = Reader::new(input.bytes);
        let Some(side) = self.sides.get_mut(way as usize) else { return Fed::Failed };
        while !reader.is_empty() {
            let used = input.bytes.len() - reader.len();
            if side.left == 0 {
                let mut ahead = reader;
                if side.head(way, &mut ahead).is_none() {
                    return Fed::Wait { used, need: reader.len() + 1 };
                }
                reader = ahead;
            }
            let Some(message) = side.body(&mut reader) else { continue };
            if self.list.count() >= context.settings.transactions_of(AppProtocol::WebSocket) {
                self.list.anomaly(Anomaly("websocket.too_many_messages"));
                return Fed::Failed;
            }
            let skipped = message.payload.len() >= MESSAGE;
            self.list.push(message);
            if skipped {
                self.list.anomaly(Anomaly("websocket.skip_end_of_payload"));
            }
        }
        Fed::Used(input.bytes.len())
    }

    fn transactions(&self) -> &dyn Transactions {
        &self.list
    }

    fn transactions_mut(&mut self) -> &mut dyn Transactions {
        &mut self.list
    }
}

impl Transaction for Message {
    fn progress(&self, _way: Direction) -> u8 {
        u8::from(self.complete)
    }

    fn complete(&self, _way: Direction) -> u8 {
        1
    }

    fn only(&self) -> Option<Direction> {
        Some(self.way)
    }

    fn buffer<'t>(&'t self, buffer: Buffer, way: Direction, nth: usize, _: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        (buffer == Buffer::WebSocketPayload && way == self.way && nth == 0).then_some(self.payload.as_slice())
    }

    fn number(&self, field: Field, way: Direction, nth: usize) -> Option<u64> {
        if way != self.way || nth > 0 {
            return None;
        }
        match field {
            Field::WebSocketOpcode => Some(self.opcode.into()),
            Field::WebSocketFlags => Some(u64::from(self.flags & 0xf0)),
            Field::WebSocketMask => self.mask.map(u64::from),
            _ => None,
        }
    }

    fn log(&self, json: &mut Json<'_>) {
        json.flag("fin", self.flags & first::FIN != 0);
        if let Some(mask) = self.mask {
            json.number("mask", mask);
        }
        match self.opcode {
            0 => json.text("opcode", "continuation"),
            1 => json.text("opcode", "text"),
            2 => json.text("opcode", "binary"),
            8 => json.text("opcode", "connection_close"),
            9 => json.text("opcode", "ping"),
            10 => json.text("opcode", "pong"),
            other => json.text("opcode", &format!("unknown-{other}")),
        };
        if self.opcode == 1 {
            json.bytes("payload_printable", &self.payload);
        }
    }
}

/// After the upgrade anything may be a frame that uses a known type and no reserved bits.
fn probe(_way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    match bytes {
        [] => Probe::More,
        [flags, ..] if flags & 0x30 == 0 && matches!(flags & first::OPCODE, 0..=2 | 8..=10) => Probe::Yes,
        _ => Probe::No,
    }
}

/// WebSocket. It is never found by itself: HTTP hands over to it.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::WebSocket,
    tcp: true,
    udp: false,
    ports: &[],
    patterns: &[],
    probe,
    on_ports_only: true,
    start,
    buffers: &[
        Provides::new(Buffer::WebSocketPayload, Direction::Original, 1),
        Provides::new(Buffer::WebSocketPayload, Direction::Reply, 1),
    ],
    hooks: &[],
};

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::app::exercise::{Talk, all_cuts, run, storm};

    fn frame(flags: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let masked = if mask.is_some() { 0x80 } else { 0 };
        let mut out = match payload.len() {
            short @ 0..=125 => vec![flags, short as u8 | masked],
            long => [&[flags, 126 | masked][..], &(long as u16).to_be_bytes()].concat(),
        };
        let mask = mask.inspect(|mask| out.extend(mask)).unwrap_or_default();
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        out
    }

    fn script() -> Vec<u8> {
        let mut coder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        coder.write_all(b"TOGGLE TOGGLE").unwrap();
        coder.flush().unwrap();
        let packed = coder.get_ref().clone();
        [
            frame(0x01, Some([1, 2, 3, 4]), b"hel"),
            frame(0x89, None, b"ping"),
            frame(0x80, Some([9, 8, 7, 6]), b"lo"),
            frame(0xc2, None, packed.strip_suffix(&[0, 0, 0xff, 0xff]).unwrap()),
            frame(0x82, None, &[7; 300]),
        ]
        .concat()
    }

    #[test]
    fn messages_are_the_same_in_any_cut() {
        let bytes = script();
        let shown = all_cuts(start, &Settings::default(), &[(Direction::Original, &bytes)]);
        assert!(shown.contains("\"opcode\":\"text\",\"payload_printable\":\"hello\""), "{shown}");
        let talk = run(start, &Settings::default(), &[(Direction::Original, &bytes)], 0);
        let payload = |nth| talk.value(nth, Buffer::WebSocketPayload, Direction::Original, 0).unwrap();
        assert_eq!((payload(0), payload(1)), (b"ping".to_vec(), b"hello".to_vec()));
        assert_eq!(payload(2), b"TOGGLE TOGGLE");
        assert_eq!(talk.number(0, Field::WebSocketOpcode, Direction::Original, 0), Some(9));
        assert_eq!(payload(3).len(), 300);
    }

    #[test]
    fn of_a_long_message_the_beginning_is_kept() {
        let mut talk = Talk::new(start, Settings::default());
        let mut bytes = vec![0x82, 127, 0, 0, 0, 0, 0, 0x20, 0, 0];
        bytes.extend(vec![1; 0x20_0000]);
        bytes.chunks(40_000).for_each(|part| talk.say(Direction::Reply, part, false));
        let payload = talk.value(0, Buffer::WebSocketPayload, Direction::Reply, 0).unwrap();
        assert_eq!(payload.len(), MESSAGE);
    }

    #[test]
    fn storms_break_nothing() {
        let bytes = script();
        storm(start, &Settings::default(), &[(Direction::Original, &bytes)], 3000);
    }
}
