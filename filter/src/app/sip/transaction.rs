//! A request or a response, as rules and EVE see it.

use weir_ids_rules::Buffer;

use super::sdp::Sdp;
use super::{HEAD, HEADERS, head_length, is_sdp};
use crate::app::read::line;
use crate::app::{Anomaly, Transaction};
use crate::inspect::Direction;
use crate::json::Json;

/// The parts of a start line.
#[derive(Debug)]
pub(super) enum Start {
    Request { method: Box<[u8]>, uri: Box<[u8]>, version: Box<[u8]> },
    Response { version: Box<[u8]>, code: Box<[u8]>, reason: Box<[u8]> },
}

/// Name and value.
type Header = (Box<[u8]>, Box<[u8]>);

/// One message.
#[derive(Debug)]
pub(super) struct Message {
    way: Direction,
    pub(super) start: Start,
    line: Box<[u8]>,
    headers: Vec<Header>,
    sdp: Option<Box<Sdp>>,
}

impl Message {
    /// Reads one: start line, headers, body.
    pub(super) fn read(way: Direction, bytes: &[u8]) -> Result<Message, Anomaly> {
        let incomplete = Anomaly("sip.incomplete_data");
        let invalid = Anomaly("sip.invalid_data");
        let (text, length) = line(bytes.get(..HEAD).unwrap_or(bytes)).ok_or(incomplete)?;
        let start = start_line(text).ok_or(invalid)?;
        let head = head_length(bytes).ok_or(incomplete)?;
        let headers = headers(bytes.get(length..head).unwrap_or_default());
        let mut message = Message { way, start, line: text.into(), headers, sdp: None };
        let body = bytes.get(head..).unwrap_or_default();
        let described = message.values(b"content-type", b"c").next().is_some_and(is_sdp);
        if described && !body.is_empty() {
            message.sdp = Sdp::read(body).map(Box::new);
        }
        Ok(message)
    }

    /// Values of the headers of a name or its short form.
    fn values<'m>(&'m self, name: &'static [u8], short: &'static [u8]) -> impl Iterator<Item = &'m [u8]> {
        let is = move |header: &[u8]| {
            header.eq_ignore_ascii_case(name) || (!short.is_empty() && header.eq_ignore_ascii_case(short))
        };
        self.headers.iter().filter(move |(header, _)| is(header)).map(|(_, value)| &value[..])
    }
}

fn start_line(text: &[u8]) -> Option<Start> {
    let mut parts = text.splitn(3, |&byte| byte == b' ');
    let (first, second, third) = (parts.next()?, parts.next()?, parts.next().unwrap_or_default());
    if first.starts_with(b"SIP/") {
        let digits = second.len() == 3 && second.iter().all(u8::is_ascii_digit);
        return digits.then(|| Start::Response { version: first.into(), code: second.into(), reason: third.into() });
    }
    let token = !first.is_empty() && first.iter().all(|byte| byte.is_ascii_alphabetic() || b"-_.".contains(byte));
    let version = third.starts_with(b"SIP/");
    (token && version).then(|| Start::Request { method: first.into(), uri: second.into(), version: third.into() })
}

/// Headers; lines that begin with a blank continue the one before.
fn headers(mut rest: &[u8]) -> Vec<Header> {
    let mut list: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    while let Some((text, length)) = line(rest) {
        rest = rest.get(length..).unwrap_or_default();
        if let (Some(b' ' | b'\t'), Some((_, value))) = (text.first(), list.last_mut()) {
            value.push(b' ');
            value.extend_from_slice(text.trim_ascii());
            continue;
        }
        let Some(at) = memchr::memchr(b':', text) else { continue };
        let (name, value) = text.split_at(at);
        if list.len() < HEADERS {
            list.push((name.trim_ascii().to_vec(), value.get(1..).unwrap_or_default().trim_ascii().to_vec()));
        }
    }
    list.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

impl Transaction for Message {
    fn progress(&self, _way: Direction) -> u8 {
        1
    }

    fn complete(&self, _way: Direction) -> u8 {
        1
    }

    fn only(&self) -> Option<Direction> {
        Some(self.way)
    }

    fn shown_with_packet(&self) -> bool {
        true
    }

    fn buffer<'t>(&'t self, buffer: Buffer, way: Direction, nth: usize, _work: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        if way != self.way {
            return None;
        }
        let once = |value: &'t [u8]| (nth == 0).then_some(value);
        match (buffer, &self.start) {
            (Buffer::SipMethod, Start::Request { method, .. }) => once(method),
            (Buffer::SipUri, Start::Request { uri, .. }) => once(uri),
            (Buffer::SipProtocol, Start::Request { version, .. } | Start::Response { version, .. }) => once(version),
            (Buffer::SipStatCode, Start::Response { code, .. }) => once(code),
            (Buffer::SipStatMessage, Start::Response { reason, .. }) => once(reason),
            (Buffer::SipRequestLine, Start::Request { .. }) => once(&self.line),
            (Buffer::SipResponseLine, Start::Response { .. }) => once(&self.line),
            (Buffer::SipFrom, _) => self.values(b"from", b"f").nth(nth),
            (Buffer::SipTo, _) => self.values(b"to", b"t").nth(nth),
            (Buffer::SipVia, _) => self.values(b"via", b"v").nth(nth),
            (Buffer::SipUserAgent, _) => self.values(b"user-agent", b"").nth(nth),
            (Buffer::SipContentType, _) => self.values(b"content-type", b"c").nth(nth),
            (Buffer::SipContentLength, _) => self.values(b"content-length", b"l").nth(nth),
            (buffer, _) => self.sdp.as_ref()?.value(buffer, nth),
        }
    }

    fn log(&self, json: &mut Json<'_>) {
        match &self.start {
            Start::Request { method, uri, version } => {
                json.bytes("method", method).bytes("uri", uri).bytes("version", version);
                json.bytes("request_line", &self.line);
            }
            Start::Response { version, code, reason } => {
                json.bytes("version", version).bytes("code", code).bytes("reason", reason);
                json.bytes("response_line", &self.line);
            }
        }
        if let Some(sdp) = &self.sdp {
            json.nested("sdp", |json| sdp.log(json));
        }
    }
}
