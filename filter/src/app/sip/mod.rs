//! SIP (RFC 3261) over UDP and TCP, and the sessions that it describes (SDP, RFC 8866).
//!
//! Each request and each response is a transaction of its own.
//!
//! Limits: start line and headers of a message have at most [`HEAD`] bytes, of a body [`BODY`] bytes are read (the
//! rest is skipped), [`HEADERS`] headers are kept.

mod sdp;
#[cfg(test)]
mod tests;
mod transaction;

use weir_ids_rules::{AppProtocol, Buffer};

use super::read::{decimal, line, starts_with_lower};
use super::{Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Provides, Settings, Transactions};
use crate::event::Tuple;
use crate::inspect::Direction;
use transaction::{Message, Start};

/// Bytes of start line and headers.
const HEAD: usize = 32 << 10;
/// Bytes of a body that are read.
const BODY: usize = 64 << 10;
/// Headers kept.
const HEADERS: usize = 256;

const METHODS: &[&str] = &[
    "ACK",
    "BYE",
    "CANCEL",
    "INFO",
    "INVITE",
    "MESSAGE",
    "NOTIFY",
    "OPTIONS",
    "PRACK",
    "PUBLISH",
    "REFER",
    "REGISTER",
    "SUBSCRIBE",
    "UPDATE",
];

macro_rules! both {
    ($($buffer:ident)*) => {
        &[$(Provides::new(Buffer::$buffer, Direction::Original, 0), Provides::new(Buffer::$buffer, Direction::Reply, 0)),*]
    };
}

/// How it is found and what its transactions have.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Sip,
    tcp: true,
    udp: true,
    ports: &[5060, 5061],
    patterns: &[
        (Direction::Original, 0, b"ACK "),
        (Direction::Original, 0, b"BYE "),
        (Direction::Original, 0, b"CANCEL "),
        (Direction::Original, 0, b"INFO "),
        (Direction::Original, 0, b"INVITE "),
        (Direction::Original, 0, b"MESSAGE "),
        (Direction::Original, 0, b"NOTIFY "),
        (Direction::Original, 0, b"OPTIONS "),
        (Direction::Original, 0, b"PRACK "),
        (Direction::Original, 0, b"PUBLISH "),
        (Direction::Original, 0, b"REFER "),
        (Direction::Original, 0, b"REGISTER "),
        (Direction::Original, 0, b"SUBSCRIBE "),
        (Direction::Original, 0, b"UPDATE "),
        (Direction::Original, 0, b"SIP/2.0 "),
        (Direction::Reply, 0, b"SIP/2.0 "),
    ],
    probe,
    on_ports_only: true,
    start,
    buffers: both!(
        SipMethod SipUri SipProtocol SipStatCode SipStatMessage SipRequestLine SipResponseLine SipFrom SipTo SipVia
        SipUserAgent SipContentType SipContentLength SdpOrigin SdpSessionName SdpSessionInfo SdpUri SdpEmail
        SdpPhoneNumber SdpConnectionData SdpBandwidth SdpTime SdpRepeatTime SdpTimezone SdpEncryptionKey SdpAttribute
        SdpMediaMedia SdpMediaInfo SdpMediaConnectionData SdpMediaEncryptionKey
    ),
    hooks: &[],
};

/// A start line of SIP.
fn probe(_way: Direction, bytes: &[u8], tuple: &Tuple) -> Probe {
    if bytes.starts_with(b"SIP/2.0 ") {
        return Probe::Yes;
    }
    let method = METHODS
        .iter()
        .find(|method| bytes.strip_prefix(method.as_bytes()).is_some_and(|behind| behind.first() == Some(&b' ')));
    if method.is_none() {
        let possible = |start: &[u8]| bytes.len() <= start.len() && start.starts_with(bytes);
        let possible = possible(b"SIP/2.0 ") || METHODS.iter().any(|method| possible(method.as_bytes()));
        return if possible && tuple.protocol == 6 { Probe::More } else { Probe::No };
    }
    match line(bytes) {
        // HTTP and RTSP have methods of these names too.
        Some((text, _)) if text.ends_with(b"SIP/2.0") => Probe::Yes,
        Some(_) => Probe::No,
        None if bytes.len() < 1024 && tuple.protocol == 6 => Probe::More,
        None => Probe::No,
    }
}

fn start(_settings: &Settings, tuple: &Tuple) -> Box<dyn Parser> {
    Box::new(Sip { datagrams: tuple.protocol == 17, ..Sip::default() })
}

#[derive(Debug, Default)]
struct Sip {
    list: List<Message>,
    datagrams: bool,
    /// Bytes of a body that are not read, by direction.
    skip: [u64; 2],
}

impl Parser for Sip {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Sip
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        if self.datagrams {
            let read = self.datagram(way, input.bytes, context.settings);
            return if read { Fed::Used(input.bytes.len()) } else { Fed::Failed };
        }
        let mut used = 0;
        loop {
            let rest = input.bytes.get(used..).unwrap_or_default();
            let [asked, answered] = &mut self.skip;
            let skip = if way == Direction::Original { asked } else { answered };
            let skipped = usize::try_from(*skip).unwrap_or(usize::MAX).min(rest.len());
            *skip -= skipped as u64;
            used += skipped;
            let rest = rest.get(skipped..).unwrap_or_default();
            // Empty lines between messages keep the connection open (RFC 5626).
            let blank = rest.iter().take_while(|&&byte| byte == b'\r' || byte == b'\n').count();
            used += blank;
            let rest = rest.get(blank..).unwrap_or_default();
            if rest.is_empty() {
                return Fed::Used(used);
            }
            let Some(head) = head_length(rest) else {
                return if rest.len() > HEAD { Fed::Failed } else { Fed::Used(used) };
            };
            let body = content_length(rest.get(..head).unwrap_or_default());
            let kept = usize::try_from(body).unwrap_or(usize::MAX).min(BODY);
            let Some(message) = rest.get(..head.saturating_add(kept)) else {
                return Fed::Wait { used, need: head.saturating_add(kept) };
            };
            self.datagram(way, message, context.settings);
            used += message.len();
            let [asked, answered] = &mut self.skip;
            *(if way == Direction::Original { asked } else { answered }) = body.saturating_sub(kept as u64);
        }
    }

    fn transactions(&self) -> &dyn Transactions {
        &self.list
    }

    fn transactions_mut(&mut self) -> &mut dyn Transactions {
        &mut self.list
    }
}

impl Sip {
    /// One message. `false`: it is none, or one that this side does not send.
    fn datagram(&mut self, way: Direction, bytes: &[u8], settings: &Settings) -> bool {
        if self.list.count() >= settings.transactions_of(AppProtocol::Sip) {
            return true;
        }
        match Message::read(way, bytes) {
            Ok(message) if message.start.fits(way) => {
                self.list.push(message);
                return true;
            }
            Ok(_) => self.list.anomaly(Anomaly("sip.invalid_data")),
            Err(anomaly) => self.list.anomaly(anomaly),
        }
        false
    }
}

impl Start {
    /// Clients ask and servers answer.
    fn fits(&self, way: Direction) -> bool {
        match self {
            Start::Request { .. } => way == Direction::Original,
            Start::Response { .. } => way == Direction::Reply,
        }
    }
}

/// The length of start line and headers with the empty line. `None`: there is none yet.
fn head_length(bytes: &[u8]) -> Option<usize> {
    let window = bytes.get(..HEAD).unwrap_or(bytes);
    let mut from = 0;
    while let Some((text, length)) = line(window.get(from..)?) {
        from += length;
        if text.is_empty() {
            return Some(from);
        }
    }
    None
}

/// What the header `Content-Length` says; 0 without one.
fn content_length(head: &[u8]) -> u64 {
    let mut rest = head;
    while let Some((text, length)) = line(rest) {
        rest = rest.get(length..).unwrap_or_default();
        let Some(at) = memchr::memchr(b':', text) else { continue };
        let (name, value) = text.split_at(at);
        let name = name.trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"l") {
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            return decimal(value).map_or(0, |(number, _)| number);
        }
    }
    0
}

/// Whether a media type is that of a session's description.
fn is_sdp(content_type: &[u8]) -> bool {
    starts_with_lower(content_type.trim_ascii(), b"application/sdp")
}
