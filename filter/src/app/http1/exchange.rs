//! A request and its response: what rules and logs see of them.

use weir_ids_rules::Buffer;

use super::line::{Method, Version};
use super::message::{Message, Progress, Span};
use super::multipart::disposition_name;
use super::range;
use crate::app::file::{Content, Files};
use crate::app::{Provides, Transaction};
use crate::inspect::Direction;
use crate::json::Json;

/// The path that stands for a request that was not seen.
pub const UNSEEN: &[u8] = b"/libhtp::request_uri_not_seen";

/// A request and its response.
#[derive(Debug, Default)]
pub struct Exchange {
    /// The request.
    pub request: Message,
    /// The response.
    pub response: Message,
    /// The request's method.
    pub method: Method,
    /// Its method as it stands there.
    pub method_name: Span,
    /// Its target as it stands there.
    pub uri: Span,
    /// Its version as it stands there.
    pub request_protocol: Span,
    /// The same, understood.
    pub request_version: Version,
    /// It has no version: HTTP/0.9.
    pub is_09: bool,
    /// Path, query and fragment as a server reads them.
    pub normal_uri: Span,
    /// Bytes of [`Exchange::normal_uri`] that are the path.
    pub path_length: usize,
    /// There is a path, be nothing left of it.
    pub has_path: bool,
    /// The host of the target or of the Host field, lower case and without port.
    pub host: Option<Span>,
    /// The host of the target, as it stands there.
    pub raw_host: Option<Span>,
    /// The port, where one is named.
    pub port: Option<u16>,
    /// The response's version as it stands there.
    pub response_protocol: Span,
    /// Its status as it stands there.
    pub status_text: Span,
    /// Its status.
    pub status: Option<u16>,
    /// Its reason.
    pub status_message: Option<Span>,
    /// An interim response came.
    pub continued: bool,
    /// The request line is known, or was not seen and stands for one.
    pub has_uri: bool,
}

impl Exchange {
    /// The message of a direction.
    pub fn message(&self, way: Direction) -> &Message {
        match way {
            Direction::Original => &self.request,
            Direction::Reply => &self.response,
        }
    }

    /// The path, as a server reads it.
    pub fn path(&self) -> &[u8] {
        self.request.get(self.normal_uri).get(..self.path_length).unwrap_or_default()
    }

    /// The name under which a response's body is a file; it may be empty.
    pub fn response_name(&self) -> Option<&[u8]> {
        let named = self.response.field(b"content-disposition").and_then(disposition_name);
        named.or_else(|| self.has_path.then(|| self.path()))
    }
}

const TO_SERVER: Direction = Direction::Original;
const TO_CLIENT: Direction = Direction::Reply;
const LINE: u8 = Progress::Headers as u8;
const FIELDS: u8 = Progress::Body as u8;

/// What rules can look at, and from which progress on.
pub const BUFFERS: &[Provides] = &[
    Provides::new(Buffer::HttpMethod, TO_SERVER, LINE),
    Provides::new(Buffer::HttpUri, TO_SERVER, LINE),
    Provides::new(Buffer::HttpUriRaw, TO_SERVER, LINE),
    Provides::new(Buffer::HttpRequestLine, TO_SERVER, LINE),
    Provides::new(Buffer::HttpProtocol, TO_SERVER, LINE),
    Provides::new(Buffer::HttpHost, TO_SERVER, FIELDS),
    Provides::new(Buffer::HttpHostRaw, TO_SERVER, FIELDS),
    Provides::new(Buffer::HttpHeader, TO_SERVER, FIELDS),
    Provides::new(Buffer::HttpHeaderRaw, TO_SERVER, FIELDS),
    Provides::new(Buffer::HttpHeaderNames, TO_SERVER, FIELDS),
    Provides::new(Buffer::HttpStart, TO_SERVER, FIELDS),
    Provides::new(Buffer::HttpCookie, TO_SERVER, FIELDS),
    Provides::new(Buffer::HttpUserAgent, TO_SERVER, FIELDS),
    Provides::new(Buffer::HttpReferer, TO_SERVER, FIELDS),
    Provides::new(Buffer::HttpAccept, TO_SERVER, FIELDS),
    Provides::new(Buffer::HttpAcceptLanguage, TO_SERVER, FIELDS),
    Provides::new(Buffer::HttpAcceptEncoding, TO_SERVER, FIELDS),
    Provides::new(Buffer::HttpConnection, TO_SERVER, FIELDS),
    Provides::new(Buffer::HttpContentType, TO_SERVER, FIELDS),
    Provides::new(Buffer::HttpContentLength, TO_SERVER, FIELDS),
    Provides::new(Buffer::HttpRequestHeader, TO_SERVER, FIELDS),
    Provides::new(Buffer::HttpRequestBody, TO_SERVER, FIELDS),
    Provides::new(Buffer::FileData, TO_SERVER, FIELDS),
    Provides::new(Buffer::FileName, TO_SERVER, FIELDS),
    Provides::new(Buffer::HttpResponseLine, TO_CLIENT, LINE),
    Provides::new(Buffer::HttpProtocol, TO_CLIENT, LINE),
    Provides::new(Buffer::HttpStatCode, TO_CLIENT, LINE),
    Provides::new(Buffer::HttpStatMessage, TO_CLIENT, LINE),
    Provides::new(Buffer::HttpHeader, TO_CLIENT, FIELDS),
    Provides::new(Buffer::HttpHeaderRaw, TO_CLIENT, FIELDS),
    Provides::new(Buffer::HttpHeaderNames, TO_CLIENT, FIELDS),
    Provides::new(Buffer::HttpStart, TO_CLIENT, FIELDS),
    Provides::new(Buffer::HttpCookie, TO_CLIENT, FIELDS),
    Provides::new(Buffer::HttpConnection, TO_CLIENT, FIELDS),
    Provides::new(Buffer::HttpContentType, TO_CLIENT, FIELDS),
    Provides::new(Buffer::HttpContentLength, TO_CLIENT, FIELDS),
    Provides::new(Buffer::HttpLocation, TO_CLIENT, FIELDS),
    Provides::new(Buffer::HttpServer, TO_CLIENT, FIELDS),
    Provides::new(Buffer::HttpResponseHeader, TO_CLIENT, FIELDS),
    Provides::new(Buffer::HttpResponseBody, TO_CLIENT, FIELDS),
    Provides::new(Buffer::FileData, TO_CLIENT, FIELDS),
    Provides::new(Buffer::FileName, TO_CLIENT, FIELDS),
];

/// The states that rules can name.
pub const HOOKS: &[(&str, Direction, u8)] = &[
    ("request_started", TO_SERVER, 0),
    ("request_line", TO_SERVER, 1),
    ("request_headers", TO_SERVER, 2),
    ("request_body", TO_SERVER, 3),
    ("request_trailer", TO_SERVER, 4),
    ("request_complete", TO_SERVER, 5),
    ("response_started", TO_CLIENT, 0),
    ("response_line", TO_CLIENT, 1),
    ("response_headers", TO_CLIENT, 2),
    ("response_body", TO_CLIENT, 3),
    ("response_trailer", TO_CLIENT, 4),
    ("response_complete", TO_CLIENT, 5),
];

/// Buffers that are the value of one field.
fn field_of(buffer: Buffer, way: Direction) -> Option<&'static [u8]> {
    let request = way == Direction::Original;
    let name: &[u8] = match buffer {
        Buffer::HttpUserAgent => b"user-agent",
        Buffer::HttpReferer => b"referer",
        Buffer::HttpAccept => b"accept",
        Buffer::HttpAcceptLanguage => b"accept-language",
        Buffer::HttpAcceptEncoding => b"accept-encoding",
        Buffer::HttpConnection => b"connection",
        Buffer::HttpContentType => b"content-type",
        Buffer::HttpContentLength => b"content-length",
        Buffer::HttpLocation => b"location",
        Buffer::HttpServer => b"server",
        Buffer::HttpCookie if request => b"cookie",
        Buffer::HttpCookie => b"set-cookie",
        _ => return None,
    };
    Some(name)
}

impl Transaction for Exchange {
    fn progress(&self, way: Direction) -> u8 {
        self.message(way).progress as u8
    }

    fn complete(&self, _way: Direction) -> u8 {
        Progress::Complete as u8
    }

    fn buffer<'t>(&'t self, buffer: Buffer, way: Direction, nth: usize, work: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        let message = self.message(way);
        let header_way = match way {
            Direction::Original => Buffer::HttpRequestHeader,
            Direction::Reply => Buffer::HttpResponseHeader,
        };
        if buffer == header_way {
            let (name, value) = message.nth(nth)?;
            write_field(work, name, value, b"");
            return Some(work);
        }
        if nth > 0 {
            return None;
        }
        if let Some(name) = field_of(buffer, way) {
            return message.field(name);
        }
        match (buffer, way) {
            (Buffer::HttpHeader, _) => write_fields(message, way, work),
            (Buffer::HttpHeaderRaw, _) => Some(message.raw_fields()).filter(|raw| !raw.is_empty()),
            (Buffer::HttpHeaderNames, _) => write_names(message, work),
            (Buffer::HttpStart, _) => write_start(message, work),
            (Buffer::HttpRequestBody, Direction::Original) | (Buffer::HttpResponseBody, Direction::Reply) => {
                Some(message.body.content()).filter(|content| content.size() > 0).map(|content| content.recent().0)
            }
            (_, Direction::Original) => self.request_buffer(buffer),
            (_, Direction::Reply) => self.response_buffer(buffer),
        }
    }

    fn grown(&self, buffer: Buffer, way: Direction) -> Option<&Content> {
        match (buffer, way) {
            (Buffer::HttpRequestBody, Direction::Original) => Some(self.request.body.content()),
            (Buffer::HttpResponseBody, Direction::Reply) => Some(self.response.body.content()),
            _ => None,
        }
    }

    fn mark_inspected(&mut self, way: Direction) {
        match way {
            Direction::Original => self.request.body.mark_inspected(),
            Direction::Reply => self.response.body.mark_inspected(),
        }
    }

    fn files(&self, way: Direction) -> Option<&Files> {
        Some(&self.message(way).body.files)
    }

    fn files_mut(&mut self, way: Direction) -> Option<&mut Files> {
        match way {
            Direction::Original => Some(&mut self.request.body.files),
            Direction::Reply => Some(&mut self.response.body.files),
        }
    }

    fn log(&self, json: &mut Json<'_>) {
        self.log_request(json);
        self.log_response(json);
    }
}

impl Exchange {
    fn request_buffer(&self, buffer: Buffer) -> Option<&[u8]> {
        let request = &self.request;
        let line = |span: Span| Some(request.get(span)).filter(|bytes| !bytes.is_empty());
        match buffer {
            Buffer::HttpMethod => line(self.method_name),
            // Of a request that was not seen only the name that stands for its URI is known.
            Buffer::HttpUri if self.has_uri => line(request.line).and_then(|_| line(self.normal_uri)),
            Buffer::HttpUriRaw if self.has_uri => line(self.uri),
            Buffer::HttpRequestLine => line(request.line),
            Buffer::HttpProtocol => line(self.request_protocol),
            Buffer::HttpHost => self.host.map(|span| request.get(span)),
            Buffer::HttpHostRaw => self.raw_host.map(|span| request.get(span)).or_else(|| request.field(b"host")),
            _ => None,
        }
    }

    fn response_buffer(&self, buffer: Buffer) -> Option<&[u8]> {
        let response = &self.response;
        let line = |span: Span| Some(response.get(span)).filter(|bytes| !bytes.is_empty());
        match buffer {
            Buffer::HttpResponseLine => line(response.line),
            Buffer::HttpProtocol => line(self.response_protocol),
            Buffer::HttpStatCode => line(self.status_text),
            Buffer::HttpStatMessage => self.status_message.map(|span| response.get(span)),
            _ => None,
        }
    }

    fn log_request(&self, json: &mut Json<'_>) {
        let request = &self.request;
        if let Some(host) = self.host {
            json.bytes("hostname", request.get(host));
        }
        if let Some(port) = self.port {
            json.number("http_port", port);
        }
        if self.has_uri {
            json.bytes("url", request.get(self.uri));
        }
        if let Some(agent) = request.field(b"user-agent") {
            json.bytes("http_user_agent", agent);
        }
        if let Some(forwarded) = request.field(b"x-forwarded-for") {
            json.bytes("xff", forwarded);
        }
    }

    fn log_response(&self, json: &mut Json<'_>) {
        let (request, response) = (&self.request, &self.response);
        if let Some(kind) = response.field(b"content-type") {
            json.bytes("http_content_type", kind.split(|&byte| byte == b';').next().unwrap_or(kind));
        }
        if let Some(range) = response.field(b"content-range") {
            json.nested("content_range", |json| {
                json.bytes("raw", range);
                let read = range::read(range).unwrap_or_default();
                for (name, number) in [("start", read.first), ("end", read.last), ("size", read.whole)] {
                    if let Some(number) = number {
                        json.number(name, number);
                    }
                }
            });
        }
        if let Some(referer) = request.field(b"referer") {
            json.bytes("http_refer", referer);
        }
        let method = request.get(self.method_name);
        if !method.is_empty() {
            json.bytes("http_method", method);
        }
        let protocol = request.get(self.request_protocol);
        if !protocol.is_empty() {
            json.bytes("protocol", protocol);
        }
        if let Some(status) = self.status {
            json.number("status", status);
        } else if !response.get(self.status_text).is_empty() {
            json.bytes("status_string", response.get(self.status_text));
        }
        if let Some(location) = response.field(b"location") {
            json.bytes("redirect", location);
        }
        json.number("length", response.body.length);
    }
}

fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8], end: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(end);
}

/// All fields but cookies, one a line.
fn write_fields<'w>(message: &Message, way: Direction, work: &'w mut Vec<u8>) -> Option<&'w [u8]> {
    if message.count() == 0 {
        return None;
    }
    let cookie: &[u8] = match way {
        Direction::Original => b"cookie",
        Direction::Reply => b"set-cookie",
    };
    for (name, value) in message.fields() {
        if !name.eq_ignore_ascii_case(cookie) {
            write_field(work, name, value, b"\r\n");
        }
    }
    Some(work)
}

/// The names of all fields, between empty lines.
fn write_names<'w>(message: &Message, work: &'w mut Vec<u8>) -> Option<&'w [u8]> {
    if message.count() == 0 {
        return None;
    }
    work.extend_from_slice(b"\r\n");
    for (name, _) in message.fields() {
        work.extend_from_slice(name);
        work.extend_from_slice(b"\r\n");
    }
    work.extend_from_slice(b"\r\n");
    Some(work)
}

/// First line and fields, as they would be sent.
fn write_start<'w>(message: &Message, work: &'w mut Vec<u8>) -> Option<&'w [u8]> {
    let line = message.get(message.line);
    if line.is_empty() {
        return None;
    }
    work.extend_from_slice(line);
    work.extend_from_slice(b"\r\n");
    for (name, value) in message.fields() {
        write_field(work, name, value, b"\r\n");
    }
    work.extend_from_slice(b"\r\n");
    Some(work)
}
