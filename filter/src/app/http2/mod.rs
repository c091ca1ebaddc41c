//! HTTP/2 in the clear (RFC 9113), with DNS over it (RFC 8484).
//!
//! Each stream is a transaction; so is each frame about the connection. DATA is handed on as it comes, other frames are
//! waited for up to [`FRAME`] bytes. A header block may be cut over frames up to [`FRAGMENTS`] bytes. At most [`STREAMS`]
//! streams are alive: another one ends the parsing. What HPACK may hold is said in [`hpack`].

use weir_ids_rules::{AppProtocol, Buffer};

use super::read::Reader;
use super::{Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Settings, Transactions};
use crate::event::Tuple;
use crate::inspect::Direction;

mod content;
mod frame;
pub mod hpack;
mod log;
mod stream;
mod table;
#[cfg(test)]
pub(crate) mod tests;

use frame::{Head, flag, kind};
use stream::{Half, Stream, progress};

/// Bytes of a frame that is not DATA.
const FRAME: usize = 64 << 10;

/// Bytes of a header block over all its frames.
const FRAGMENTS: usize = 100 << 10;

/// Streams and frames about the connection that are alive.
const STREAMS: usize = 1024;

/// Bytes of a DNS message.
const DNS: usize = 65535;

/// What the client says first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A header block that is not complete.
#[derive(Debug)]
struct Fragment {
    stream: u32,
    ends_stream: bool,
    bytes: Vec<u8>,
}

/// A DATA frame that is not complete.
#[derive(Debug)]
struct Data {
    stream: u32,
    left: usize,
    padding: usize,
    ends_stream: bool,
}

/// State of one direction.
#[derive(Debug, Default)]
struct Side {
    decoder: hpack::Decoder,
    fragment: Option<Fragment>,
    data: Option<Data>,
    skip: usize,
}

#[derive(Debug)]
struct Http2 {
    list: List<Stream>,
    sides: [Side; 2],
    greeted: bool,
    dns: bool,
    /// Highest stream numbers, of even and of odd ones.
    highest: [u32; 2],
}

fn start(_settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    let sides = [Side::default(), Side::default()];
    Box::new(Http2 { list: List::default(), sides, greeted: false, dns: false, highest: [0; 2] })
}

/// Why the parsing of a direction stops for the time being.
enum Stop {
    /// So many bytes are needed.
    Need(usize),
    /// It cannot go on.
    Broken(&'static str),
}

impl Parser for Http2 {
    fn protocol(&self) -> AppProtocol {
        if self.dns { AppProtocol::Doh2 } else { AppProtocol::Http2 }
    }

    fn inherit(&mut self, said: &[(Buffer, Vec<u8>)]) {
        self.upgraded(said);
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        let mut reader = Reader::new(input.bytes);
        if way == Direction::Original && !self.greeted && !reader.is_empty() {
            match input.bytes.strip_prefix(PREFACE) {
                Some(rest) => reader = Reader::new(rest),
                None if PREFACE.starts_with(input.bytes) => return Fed::Wait { used: 0, need: PREFACE.len() },
                None => {
                    self.anomaly("http2.invalid_client_magic");
                    return Fed::Failed;
                }
            }
            self.greeted = true;
        }
        let mut fed = Fed::Used(input.bytes.len());
        while !reader.is_empty() {
            match self.step(way, &mut reader, context.settings) {
                Ok(()) => {}
                Err(Stop::Need(need)) => {
                    fed = Fed::Wait { used: input.bytes.len() - reader.len(), need };
                    break;
                }
                Err(Stop::Broken(name)) => {
                    self.anomaly(name);
                    return Fed::Failed;
                }
            }
        }
        if input.end {
            self.list.iter_mut().for_each(|stream| finish(stream.half_mut(way)));
        }
        fed
    }

    fn transactions(&self) -> &dyn Transactions {
        &self.list
    }

    fn transactions_mut(&mut self) -> &mut dyn Transactions {
        &mut self.list
    }
}

/// Nothing follows in a direction.
fn finish(half: &mut Half) {
    if half.progress < progress::COMPLETE {
        half.progress = progress::COMPLETE;
        half.files.list.iter_mut().for_each(super::file::File::truncate);
    }
}

impl Http2 {
    /// Takes what is left of a frame, or another one.
    fn step(&mut self, way: Direction, reader: &mut Reader<'_>, settings: &Settings) -> Result<(), Stop> {
        let side = self.side(way);
        let skipped = reader.take_up_to(side.skip).len();
        side.skip -= skipped;
        if let Some(data) = &mut side.data {
            let bytes = reader.take_up_to(data.left);
            data.left -= bytes.len();
            let (stream, left, padding, ends) = (data.stream, data.left, data.padding, data.ends_stream);
            self.body(way, stream, bytes, settings);
            if left == 0 {
                let side = self.side(way);
                side.data = None;
                side.skip = padding;
                if ends {
                    self.end_stream(way, stream);
                }
            }
            return Ok(());
        }
        if reader.is_empty() {
            return Ok(());
        }
        let mut ahead = *reader;
        let head = Head::read(&mut ahead).ok_or(Stop::Need(Head::LENGTH))?;
        if head.kind == kind::DATA {
            return self.data(way, head, reader, ahead);
        }
        if head.kind == kind::SETTINGS && head.length == 0 {
            // An acknowledgment says nothing.
            *reader = ahead;
            return Ok(());
        }
        if head.length > FRAME {
            if matches!(head.kind, kind::HEADERS | kind::CONTINUATION | kind::PUSH_PROMISE) {
                return Err(Stop::Broken("http2.reassembly_limit_reached"));
            }
            self.anomaly("http2.long_frame_data");
            *reader = ahead;
            self.side(way).skip = head.length;
            return Ok(());
        }
        let payload = ahead.take(head.length).ok_or(Stop::Need(Head::LENGTH + head.length))?;
        *reader = ahead;
        self.frame(way, head, payload, settings)
    }

    fn data<'b>(
        &mut self,
        way: Direction,
        head: Head,
        reader: &mut Reader<'b>,
        mut ahead: Reader<'b>,
    ) -> Result<(), Stop> {
        let mut left = head.length;
        let mut padding = 0;
        if head.has(flag::PADDED) && left > 0 {
            padding = usize::from(ahead.u8().ok_or(Stop::Need(Head::LENGTH + 1))?);
            left -= 1;
            if padding > left {
                self.anomaly("http2.invalid_frame_data");
                padding = left;
            }
        }
        *reader = ahead;
        if head.stream == 0 {
            self.anomaly("http2.data_stream_zero");
        }
        if let Some(stream) = self.stream(way, head) {
            stream.half_mut(way).note(head.kind);
        }
        let ends_stream = head.has(flag::END_STREAM);
        left -= padding;
        if left == 0 && ends_stream {
            self.end_stream(way, head.stream);
        }
        let side = self.side(way);
        match left {
            0 => side.skip = padding,
            _ => side.data = Some(Data { stream: head.stream, left, padding, ends_stream }),
        }
        Ok(())
    }

    fn frame(&mut self, way: Direction, head: Head, payload: &[u8], settings: &Settings) -> Result<(), Stop> {
        if head.kind > kind::CONTINUATION {
            // Other types are to be ignored (RFC 9113, 4.1).
            return Ok(());
        }
        let side = self.side(way);
        if side.fragment.as_ref().is_some_and(|held| head.kind != kind::CONTINUATION || held.stream != head.stream) {
            side.fragment = None;
            self.anomaly("http2.invalid_frame_data");
        }
        let Some(stream) = self.stream(way, head) else {
            let headers = matches!(head.kind, kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION);
            return if headers && self.list.count() >= STREAMS {
                Err(Stop::Broken("http2.too_many_streams"))
            } else {
                self.headers_of_nobody(way, head, payload, settings)
            };
        };
        let half = stream.half_mut(way);
        half.note(head.kind);
        let intact = frame::note(head, payload, half);
        if head.kind == kind::RST_STREAM {
            // What the other side has sent meanwhile is still told.
            finish(half);
        }
        if !intact {
            self.anomaly(match head.kind {
                // Those of a fixed size (RFC 9113, 6).
                kind::PRIORITY | kind::RST_STREAM | kind::GOAWAY | kind::WINDOW_UPDATE => "http2.invalid_frame_length",
                _ => "http2.invalid_frame_data",
            });
            return Ok(());
        }
        self.headers_of_nobody(way, head, payload, settings)
    }

    /// Header blocks keep the decoder in step even where their stream is forgotten.
    fn headers_of_nobody(
        &mut self,
        way: Direction,
        head: Head,
        payload: &[u8],
        settings: &Settings,
    ) -> Result<(), Stop> {
        let Some(part) = frame::block(head, payload) else { return Ok(()) };
        let ends_stream = head.kind == kind::HEADERS && head.has(flag::END_STREAM);
        let side = self.side(way);
        let fragment =
            side.fragment.get_or_insert_with(|| Fragment { stream: head.stream, ends_stream, bytes: Vec::new() });
        if fragment.bytes.len() + part.len() > FRAGMENTS {
            return Err(Stop::Broken("http2.reassembly_limit_reached"));
        }
        fragment.bytes.extend_from_slice(part);
        if !head.has(flag::END_HEADERS) {
            return Ok(());
        }
        let Some(fragment) = side.fragment.take() else { return Ok(()) };
        let block = match side.decoder.block(&fragment.bytes) {
            Ok(block) => block,
            Err(hpack::Refusal::Overflow) => return Err(Stop::Broken("http2.header_integer_overflow")),
            Err(_) => return Err(Stop::Broken("http2.invalid_header")),
        };
        if block.cut {
            self.anomaly("http2.reassembly_limit_reached");
        }
        self.headers(way, fragment.stream, block, settings);
        if fragment.ends_stream {
            self.end_stream(way, fragment.stream);
        }
        Ok(())
    }

    /// The stream that a frame is about. `None`: it is forgotten, or one too many.
    fn stream(&mut self, way: Direction, head: Head) -> Option<&mut Stream> {
        let number = self.list.next_number();
        if head.stream == 0 {
            if self.list.count() >= STREAMS {
                return None;
            }
            let mut stream = Stream::new(0, number);
            stream.shows_dns = self.dns;
            stream.client.progress = progress::COMPLETE;
            stream.server.progress = progress::COMPLETE;
            self.list.push(stream);
            return self.list.last_mut();
        }
        let live = self.list.iter_mut().rev().any(|stream| stream.id == head.stream);
        if !live {
            let highest = self.highest.get_mut(head.stream as usize & 1)?;
            let begins = head.kind == kind::HEADERS && (way == Direction::Original || head.stream & 1 == 0);
            let reused = head.stream <= *highest;
            if (reused && !begins) || self.list.count() >= STREAMS {
                return None;
            }
            *highest = (*highest).max(head.stream);
            let mut stream = Stream::new(head.stream, number);
            stream.shows_dns = self.dns;
            self.list.push(stream);
            if reused {
                self.anomaly("http2.stream_id_reuse");
            }
        }
        self.list.iter_mut().rev().find(|stream| stream.id == head.stream)
    }

    fn side(&mut self, way: Direction) -> &mut Side {
        match (way, &mut self.sides) {
            (Direction::Original, [side, _]) | (Direction::Reply, [_, side]) => side,
        }
    }

    fn anomaly(&mut self, name: &'static str) {
        self.list.anomaly(Anomaly(name));
    }
}

fn probe(way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    if way == Direction::Original {
        return match bytes {
            _ if bytes.starts_with(PREFACE) => Probe::Yes,
            _ if PREFACE.starts_with(bytes) => Probe::More,
            _ => Probe::No,
        };
    }
    // A server begins with SETTINGS: so many settings of six bytes, no flags, stream 0.
    match bytes {
        [0, _, length, kind::SETTINGS, 0, 0, 0, 0, 0, ..] if length % 6 == 0 => Probe::Yes,
        [] | [0] | [0, _] | [0, _, _] | [0, _, _, kind::SETTINGS] => Probe::More,
        [0, _, _, kind::SETTINGS, rest @ ..] if rest.len() < 5 && rest.iter().all(|&byte| byte == 0) => Probe::More,
        _ => Probe::No,
    }
}

/// HTTP/2.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Http2,
    tcp: true,
    udp: false,
    ports: &[],
    patterns: &[(Direction::Original, 0, b"PRI * HTTP/2.0")],
    probe,
    on_ports_only: false,
    start,
    buffers: stream::BUFFERS,
    hooks: &[
        ("request_headers", Direction::Original, progress::HEADERS),
        ("request_complete", Direction::Original, progress::COMPLETE),
        ("response_headers", Direction::Reply, progress::HEADERS),
        ("response_complete", Direction::Reply, progress::COMPLETE),
    ],
};

/// HTTP/2 once DNS was found in it: the same parser.
pub const DOH2: Description = Description {
    protocol: AppProtocol::Doh2,
    patterns: &[],
    probe: |_, _, _| Probe::No,
    on_ports_only: true,
    ..DESCRIPTION
};
