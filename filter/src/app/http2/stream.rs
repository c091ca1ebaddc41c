//! One stream of HTTP/2 as a transaction: a request and its answer, or a message about the connection (stream 0).

use weir_ids_rules::{Buffer, Field};

use super::hpack::Header;
use super::log;
use crate::app::decompress::Decompressor;
use crate::app::dns;
use crate::app::file::{Content, Files};
use crate::app::{Provides, Transaction};
use crate::inspect::Direction;
use crate::json::Json;

/// How far a direction is.
pub(super) mod progress {
    /// Its headers are complete.
    pub const HEADERS: u8 = 1;
    /// All of it is there.
    pub const COMPLETE: u8 = 2;
}

/// Values of one kind that are kept of a direction.
const VALUES: usize = 64;

/// One direction of a stream.
#[derive(Debug, Default)]
pub(super) struct Half {
    pub headers: Vec<Header>,
    /// Bit n: a frame of type n was seen.
    pub frames: u32,
    pub priorities: Vec<u8>,
    pub windows: Vec<u32>,
    pub settings: Vec<(u16, u32)>,
    pub sizes: Vec<u64>,
    pub error: Option<u32>,
    pub progress: u8,
    pub files: Files,
    pub decompressor: Option<Decompressor>,
    pub body_begun: bool,
    /// The body of a DNS message, until it is complete.
    pub carried: Option<Vec<u8>>,
    pub dns: Option<Box<dns::Exchange<'static>>>,
}

impl Half {
    pub(super) fn note(&mut self, kind: u8) {
        if kind < 32 {
            self.frames |= 1 << kind;
        }
    }

    pub(super) fn add<T>(list: &mut Vec<T>, value: T) {
        if list.len() < VALUES {
            list.push(value);
        }
    }

    /// The first value of a header.
    pub(super) fn value(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers.iter().find(|header| &*header.name == name.as_bytes());
        found.map(|header| &*header.value)
    }

    /// The last value of a header: of a status that which is not a hint.
    pub(super) fn last(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers.iter().rfind(|header| &*header.name == name.as_bytes());
        found.map(|header| &*header.value)
    }

    /// All values of a header, joined by ", ".
    fn joined<'w>(&'w self, name: &str, work: &'w mut Vec<u8>) -> Option<&'w [u8]> {
        let mut values = self.headers.iter().filter(|header| &*header.name == name.as_bytes());
        let first = values.next()?;
        let Some(second) = values.next() else { return Some(&first.value) };
        work.extend_from_slice(&first.value);
        for header in std::iter::once(second).chain(values) {
            work.extend_from_slice(b", ");
            work.extend_from_slice(&header.value);
        }
        Some(work)
    }

    fn content(&self) -> Option<&Content> {
        self.files.list.first().map(|file| &file.content)
    }
}

/// A stream.
#[derive(Debug)]
pub struct Stream {
    pub(super) id: u32,
    pub(super) client: Half,
    pub(super) server: Half,
    /// Number of the transaction, for DNS in EVE.
    pub(super) number: u64,
    /// DNS was found in the connection: EVE shows DNS, with HTTP beside it.
    pub(super) shows_dns: bool,
}

impl Stream {
    pub(super) fn new(id: u32, number: u64) -> Stream {
        Stream { id, client: Half::default(), server: Half::default(), number, shows_dns: false }
    }

    pub(super) fn half(&self, way: Direction) -> &Half {
        match way {
            Direction::Original => &self.client,
            Direction::Reply => &self.server,
        }
    }

    pub(super) fn half_mut(&mut self, way: Direction) -> &mut Half {
        match way {
            Direction::Original => &mut self.client,
            Direction::Reply => &mut self.server,
        }
    }
}

/// The name in lower case, without user and port, as servers compare it.
fn host(name: &[u8], work: &mut Vec<u8>) {
    let name = match memchr::memchr(b'@', name) {
        Some(at) => name.get(at + 1..).unwrap_or_default(),
        None => name,
    };
    let end = memchr::memchr(b':', name).unwrap_or(name.len());
    work.extend(name.iter().take(end).map(u8::to_ascii_lowercase));
}

fn line(work: &mut Vec<u8>, header: &Header) {
    work.extend_from_slice(&header.name);
    work.extend_from_slice(b": ");
    work.extend_from_slice(&header.value);
}

/// The header that a buffer shows, where it shows one.
fn named(buffer: Buffer, way: Direction) -> Option<&'static str> {
    use Buffer as B;
    let client = way == Direction::Original;
    Some(match buffer {
        B::HttpUri | B::HttpUriRaw if client => ":path",
        B::HttpMethod if client => ":method",
        B::HttpUserAgent if client => "user-agent",
        B::HttpReferer if client => "referer",
        B::HttpAccept if client => "accept",
        B::HttpAcceptLanguage if client => "accept-language",
        B::HttpAcceptEncoding if client => "accept-encoding",
        B::HttpConnection => "connection",
        B::HttpContentType => "content-type",
        B::HttpContentLength => "content-length",
        B::HttpStatCode if !client => ":status",
        B::HttpLocation if !client => "location",
        B::HttpServer if !client => "server",
        B::HttpCookie if client => "cookie",
        B::HttpCookie => "set-cookie",
        _ => return None,
    })
}

impl Stream {
    /// Buffers that are put together.
    fn built<'t>(&'t self, buffer: Buffer, way: Direction, work: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        let half = self.half(way);
        match buffer {
            Buffer::HttpProtocol => return Some(b"HTTP/2"),
            Buffer::HttpStatMessage if way == Direction::Reply => return Some(b""),
            Buffer::HttpHost | Buffer::HttpHostRaw if way == Direction::Original => {
                let name = half.value(":authority").or_else(|| half.value("host"))?;
                if buffer == Buffer::HttpHostRaw {
                    return Some(name);
                }
                host(name, work);
            }
            Buffer::HttpRequestLine if way == Direction::Original => {
                let (method, path) = (half.value(":method")?, half.value(":path")?);
                *work = [method, b" ", path, b" HTTP/2\r\n"].concat();
            }
            Buffer::HttpResponseLine if way == Direction::Reply => {
                *work = [b"HTTP/2 ", half.value(":status")?, b"\r\n"].concat();
            }
            Buffer::HttpHeaderNames if !half.headers.is_empty() => {
                work.extend_from_slice(b"\r\n");
                for header in &half.headers {
                    work.extend_from_slice(&header.name);
                    work.extend_from_slice(b"\r\n");
                }
                work.extend_from_slice(b"\r\n");
            }
            Buffer::HttpHeader | Buffer::HttpHeaderRaw if !half.headers.is_empty() => {
                let all = buffer == Buffer::HttpHeaderRaw;
                for header in &half.headers {
                    if all || !matches!(&*header.name, b"cookie" | b"set-cookie") {
                        line(work, header);
                        work.extend_from_slice(b"\r\n");
                    }
                }
            }
            _ => return None,
        }
        Some(work)
    }
}

impl Transaction for Stream {
    fn progress(&self, way: Direction) -> u8 {
        self.half(way).progress
    }

    fn complete(&self, _way: Direction) -> u8 {
        progress::COMPLETE
    }

    fn buffer<'t>(&'t self, buffer: Buffer, way: Direction, nth: usize, work: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        let half = self.half(way);
        match buffer {
            Buffer::Http2HeaderName => return half.headers.get(nth).map(|header| &*header.name),
            Buffer::HttpRequestHeader | Buffer::HttpResponseHeader => {
                let right = (buffer == Buffer::HttpRequestHeader) == (way == Direction::Original);
                line(work, half.headers.get(nth).filter(|_| right)?);
                return Some(work);
            }
            Buffer::DnsQuery
            | Buffer::DnsQueriesName
            | Buffer::DnsAnswersName
            | Buffer::DnsAuthoritiesName
            | Buffer::DnsAdditionalsName
            | Buffer::DnsResponseName => return half.dns.as_ref()?.buffer(buffer, way, nth, work),
            _ if nth > 0 => return None,
            Buffer::HttpRequestBody | Buffer::HttpResponseBody => {
                let right = (buffer == Buffer::HttpRequestBody) == (way == Direction::Original);
                return half.content().filter(|_| right)?.window().map(|(bytes, _)| bytes);
            }
            _ => {}
        }
        match named(buffer, way) {
            Some(name) => half.joined(name, work),
            None => self.built(buffer, way, work),
        }
    }

    fn number(&self, field: Field, way: Direction, nth: usize) -> Option<u64> {
        let half = self.half(way);
        match field {
            Field::Http2FrameType => (0..32u64).filter(|kind| half.frames >> kind & 1 == 1).nth(nth),
            Field::Http2Priority => half.priorities.get(nth).map(|&value| value.into()),
            Field::Http2Window => half.windows.get(nth).map(|&value| value.into()),
            Field::Http2SizeUpdate => half.sizes.get(nth).copied(),
            Field::Http2ErrorCode => half.error.filter(|_| nth == 0).map(u64::from),
            _ => half.dns.as_ref()?.number(field, way, nth),
        }
    }

    fn files(&self, way: Direction) -> Option<&Files> {
        Some(&self.half(way).files)
    }

    fn files_mut(&mut self, way: Direction) -> Option<&mut Files> {
        Some(&mut self.half_mut(way).files)
    }

    fn grown(&self, buffer: Buffer, way: Direction) -> Option<&Content> {
        match (buffer, way) {
            (Buffer::HttpRequestBody, Direction::Original) | (Buffer::HttpResponseBody, Direction::Reply) => {
                self.half(way).content()
            }
            _ => None,
        }
    }

    fn special(&self, keyword: &str, argument: &str, way: Direction) -> Option<bool> {
        match keyword {
            "http2.settings" => Some(log::setting_is(&self.half(way).settings, argument)),
            "http2.errorcode" => Some(self.half(way).error.is_some_and(|error| log::error_is(error, argument))),
            "http2.frametype" => {
                let kind = log::frame_number(argument)?;
                Some(self.half(way).frames >> kind & 1 == 1)
            }
            _ => None,
        }
    }

    fn log(&self, json: &mut Json<'_>) {
        // The answer repeats the question.
        match self.server.dns.as_ref().or(self.client.dns.as_ref()) {
            Some(dns) if self.shows_dns => dns.log(json),
            Some(_) | None if self.shows_dns => {}
            Some(_) | None => log::http(self, json),
        }
    }

    fn log_beside(&self, json: &mut Json<'_>) {
        if self.shows_dns {
            json.nested("http", |json| log::http(self, json));
        }
    }

    fn is_logged(&self) -> bool {
        let told = |half: &Half| {
            !half.headers.is_empty() || !half.settings.is_empty() || half.error.is_some() || !half.priorities.is_empty()
        };
        match self.shows_dns {
            true => self.client.dns.is_some() || self.server.dns.is_some(),
            false => told(&self.client) || told(&self.server),
        }
    }
}

const fn head(buffer: Buffer, way: Direction) -> Provides {
    Provides::new(buffer, way, progress::HEADERS)
}

macro_rules! heads {
    ($way:ident: $($buffer:ident)*) => { &[$(head(Buffer::$buffer, Direction::$way)),*] };
}

const ASKED: &[Provides] = heads!(Original:
    HttpUri HttpUriRaw HttpMethod HttpUserAgent HttpReferer HttpAccept HttpAcceptLanguage HttpAcceptEncoding
    HttpConnection HttpContentType HttpContentLength HttpCookie HttpProtocol HttpHost HttpHostRaw HttpRequestLine
    HttpHeaderNames HttpHeader HttpHeaderRaw Http2HeaderName HttpRequestHeader HttpRequestBody FileData FileName
    DnsQuery DnsQueriesName DnsAnswersName DnsAuthoritiesName DnsAdditionalsName);
const ANSWERED: &[Provides] = heads!(Reply:
    HttpStatCode HttpStatMessage HttpLocation HttpServer HttpConnection HttpContentType HttpContentLength HttpCookie
    HttpProtocol HttpResponseLine HttpHeaderNames HttpHeader HttpHeaderRaw Http2HeaderName HttpResponseHeader
    HttpResponseBody FileData FileName DnsQueriesName DnsAnswersName DnsAuthoritiesName DnsAdditionalsName DnsResponseName);

/// All buffers. Those of DNS are complete when the direction is.
pub(super) const BUFFERS: &[Provides] = &buffers();

const fn buffers() -> [Provides; ASKED.len() + ANSWERED.len()] {
    let mut all = [head(Buffer::HttpUri, Direction::Original); ASKED.len() + ANSWERED.len()];
    let mut at = 0;
    while at < all.len() {
        let mut one = if at < ASKED.len() { ASKED[at] } else { ANSWERED[at - ASKED.len()] };
        if matches!(
            one.buffer,
            Buffer::DnsQuery
                | Buffer::DnsQueriesName
                | Buffer::DnsAnswersName
                | Buffer::DnsAuthoritiesName
                | Buffer::DnsAdditionalsName
                | Buffer::DnsResponseName
        ) {
            one.ready = progress::COMPLETE;
        }
        all[at] = one;
        at += 1;
    }
    all
}
