//! QUIC as far as it can be read by anybody: the hellos in Initial packets (RFC 9000, RFC 9001, version 2 of RFC 9369, the
//! drafts from 23 on), and the hello of Google's versions before encryption (Q039 to Q046).
//!
//! Keys of Initial packets come from the client's first connection identifier. Each direction's CRYPTO bytes are put
//! together up to [`HELLO`] bytes, at most [`PIECES`] pieces of them out of order. A hello is a transaction. With both
//! hellos, or [`PACKETS`] packets without one, the flow is finished.

use std::borrow::Cow;

use weir_ids_rules::{AppProtocol, Buffer};

use super::read::Reader;
use super::tls::fingerprint::{Carrier, ja3, ja3s, ja4, md5_hex};
use super::tls::hello::Hello;
use super::{
    Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Provides, Settings, Transaction, Transactions,
};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

mod crypto;
mod google;
mod packet;
#[cfg(test)]
pub(crate) mod tests;

use crypto::Keys;
use packet::{Header, Kind};

/// Bytes of a hello.
const HELLO: usize = 64 << 10;

/// Pieces of a hello that wait for those before them.
const PIECES: usize = 32;

/// Packets that are looked at while no hello is complete.
const PACKETS: u32 = 64;

/// What one side says at first.
#[derive(Debug)]
pub struct Greeting {
    way: Direction,
    version: u32,
    hello: Option<Hello>,
    /// JA3 or JA3S.
    fingerprint: String,
    google: Option<google::Hello>,
}

/// The CRYPTO bytes of a direction.
#[derive(Debug, Default)]
struct Crypto {
    bytes: Vec<u8>,
    waiting: Vec<(u64, Vec<u8>)>,
    done: bool,
}

impl Crypto {
    /// Adds a piece; says whether bytes in order came.
    fn add(&mut self, offset: u64, bytes: &[u8]) -> bool {
        let here = self.bytes.len() as u64;
        if offset > here {
            let held: usize = self.waiting.iter().map(|(_, piece)| piece.len()).sum();
            if self.waiting.len() < PIECES && held + bytes.len() <= HELLO && offset < HELLO as u64 {
                self.waiting.push((offset, bytes.to_vec()));
            }
            return false;
        }
        self.append(offset, bytes);
        while let Some(next) = self.waiting.iter().position(|(offset, _)| *offset <= self.bytes.len() as u64) {
            let (offset, piece) = self.waiting.swap_remove(next);
            self.append(offset, &piece);
        }
        true
    }

    fn append(&mut self, offset: u64, bytes: &[u8]) {
        let known = usize::try_from(self.bytes.len() as u64 - offset).unwrap_or(usize::MAX);
        let room = HELLO.saturating_sub(self.bytes.len());
        let fresh = bytes.get(known..).unwrap_or_default();
        self.bytes.extend_from_slice(fresh.get(..room).unwrap_or(fresh));
    }

    /// Type and body of the first message, once it is complete.
    fn message(&self) -> Option<(u8, &[u8])> {
        let mut reader = Reader::new(&self.bytes);
        let (kind, length) = (reader.u8()?, reader.be24()?);
        Some((kind, reader.take(length as usize)?))
    }
}

#[derive(Debug, Default)]
struct Quic {
    list: List<Greeting>,
    keys: Option<Keys>,
    sides: [Crypto; 2],
    packets: u32,
}

fn start(_settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    Box::new(Quic::default())
}

impl Quic {
    /// One packet of a datagram. `None`: nothing that follows it can be read.
    fn packet(&mut self, way: Direction, reader: &mut Reader<'_>) -> Option<()> {
        let whole = reader.rest();
        let Some(header) = Header::read(reader) else {
            // The header of a version that is known is cut short, or lies about a length.
            if let Some(version) =
                Header::announced(whole).filter(|_| !self.sides.get(way as usize).is_none_or(|s| s.done))
            {
                self.note(way, version, "quic.error_on_header");
            }
            return None;
        };
        if header.is_google() {
            let hello = google::hello(&header, reader.rest());
            self.google(way, &header, hello);
            return None;
        }
        if header.kind == Kind::Retry {
            // The client begins anew, with an identifier that the server chose.
            self.keys = None;
            return None;
        }
        let length = usize::try_from(packet::variable(reader)?).ok()?;
        let before = whole.len() - reader.len();
        let body = reader.take(length)?;
        if header.kind != Kind::Initial {
            return Some(());
        }
        if way == Direction::Original && self.keys.is_none() {
            self.keys = Keys::new(header.version, header.destination);
        }
        let head = whole.get(..before)?;
        let Some(mut plain) = self.keys.as_ref().and_then(|keys| keys.open(way, head, body)) else {
            if !self.sides.get(way as usize)?.done {
                self.note(way, header.version, "quic.failed_decrypt");
            }
            return Some(());
        };
        self.frames(way, header.version, std::mem::take(&mut plain));
        Some(())
    }

    fn frames(&mut self, way: Direction, version: u32, plain: Vec<u8>) {
        let Some(side) = self.sides.get_mut(way as usize).filter(|side| !side.done) else { return };
        let (mut came, mut beyond) = (false, false);
        for (offset, bytes) in packet::crypto_frames(&plain) {
            beyond |= offset.saturating_add(bytes.len() as u64) > HELLO as u64;
            came |= side.add(offset, bytes);
        }
        if beyond {
            self.note(way, version, "quic.crypto_frag_too_long");
        }
        let Some(side) = self.sides.get_mut(way as usize) else { return };
        if !came {
            return;
        }
        let Some((kind, body)) = side.message() else { return };
        let hello = match (way, kind) {
            (Direction::Original, 1) => Hello::client(body),
            (Direction::Reply, 2) => Hello::server(body),
            _ => None,
        };
        side.done = true;
        side.bytes = Vec::new();
        side.waiting = Vec::new();
        let Some(hello) = hello else { return self.note(way, version, "quic.error_on_data") };
        let fingerprint = match way {
            Direction::Original => ja3(&hello),
            Direction::Reply => ja3s(&hello),
        };
        self.list.push(Greeting { way, version, hello: Some(hello), fingerprint, google: None });
    }

    fn google(&mut self, way: Direction, header: &Header<'_>, hello: Option<google::Hello>) {
        if self.list.count() < 8 && (hello.is_some() || self.list.count() == 0) {
            let google = hello;
            self.list.push(Greeting { way, version: header.version, hello: None, fingerprint: String::new(), google });
        }
    }

    /// What is odd belongs to a transaction: where there is none in its direction, one that knows the version alone.
    fn note(&mut self, way: Direction, version: u32, name: &'static str) {
        if self.list.last_mut().is_none_or(|newest| newest.way != way) {
            self.list.push(Greeting { way, version, hello: None, fingerprint: String::new(), google: None });
        }
        self.list.anomaly(Anomaly(name));
    }
}

impl Parser for Quic {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Quic
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, _context: &mut Context<'_>) -> Fed {
        self.packets += 1;
        let done = self.sides.iter().all(|side| side.done);
        if done || self.packets > PACKETS {
            return Fed::Finished;
        }
        let mut reader = Reader::new(input.bytes);
        while !reader.is_empty() && self.packet(way, &mut reader).is_some() {}
        Fed::Used(input.bytes.len())
    }

    fn transactions(&self) -> &dyn Transactions {
        &self.list
    }

    fn transactions_mut(&mut self) -> &mut dyn Transactions {
        &mut self.list
    }
}

impl Transaction for Greeting {
    fn progress(&self, _way: Direction) -> u8 {
        1
    }

    fn complete(&self, _way: Direction) -> u8 {
        1
    }

    fn special(&self, keyword: &str, _argument: &str, way: Direction) -> Option<bool> {
        let asked = keyword == crate::content::watch::ENCRYPTED_HELLO && way == self.way;
        asked.then(|| self.hello.as_ref().is_some_and(Hello::is_encrypted))
    }

    fn only(&self) -> Option<Direction> {
        Some(self.way)
    }

    fn buffer<'t>(&'t self, buffer: Buffer, way: Direction, nth: usize, work: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        if way != self.way {
            return None;
        }
        let google = self.google.as_ref();
        let asks = way == Direction::Original && self.hello.is_some();
        match buffer {
            Buffer::TlsAlpn => return self.hello.as_ref()?.alpns.get(nth).map(Vec::as_slice),
            _ if nth > 0 => return None,
            Buffer::QuicVersion => work.extend_from_slice(&self.version.to_be_bytes()),
            Buffer::QuicSni | Buffer::TlsSni => {
                let sni = self.hello.as_ref().and_then(|hello| hello.sni.as_deref());
                return sni.or_else(|| google.and_then(|hello| hello.sni.as_deref()));
            }
            Buffer::QuicUserAgent => return google?.user_agent.as_deref(),
            Buffer::QuicCyuString => *work = google?.cyu.clone().into_bytes(),
            Buffer::QuicCyuHash => *work = md5_hex(google?.cyu.as_bytes()).into_bytes(),
            Buffer::Ja3String | Buffer::Ja3Hash | Buffer::Ja4Hash if !asks => return None,
            Buffer::Ja3sString | Buffer::Ja3sHash if asks || self.hello.is_none() => return None,
            Buffer::Ja3String | Buffer::Ja3sString => return Some(self.fingerprint.as_bytes()),
            Buffer::Ja3Hash | Buffer::Ja3sHash => *work = md5_hex(self.fingerprint.as_bytes()).into_bytes(),
            Buffer::Ja4Hash => *work = ja4(self.hello.as_ref()?, Carrier::Quic).into_bytes(),
            _ => return None,
        }
        Some(work)
    }

    fn log(&self, json: &mut Json<'_>) {
        json.text("version", &packet::version_name(self.version));
        if let Some(google) = &self.google {
            google.log(json);
        }
        let Some(hello) = &self.hello else { return };
        if let Some(sni) = &hello.sni {
            json.bytes("sni", sni);
        }
        let name = if self.way == Direction::Original { "ja3" } else { "ja3s" };
        json.nested(name, |json| {
            json.text("hash", &md5_hex(self.fingerprint.as_bytes())).text("string", &self.fingerprint);
        });
        if self.way == Direction::Original {
            json.text("ja4", &ja4(hello, Carrier::Quic));
        }
        if !hello.extensions.is_empty() {
            json.array("extensions", |list| {
                for &number in &hello.extensions {
                    list.item(|json| extension(number, hello, json));
                }
            });
        }
    }
}

fn extension(number: u16, hello: &Hello, json: &mut Json<'_>) {
    if let Some(name) = extension_name(number) {
        json.text("name", name);
    }
    json.number("type", number);
    let values: Vec<Cow<'_, [u8]>> = match number {
        0 => hello.sni.iter().map(|name| name.into()).collect(),
        13 => hello.signatures.iter().map(|kind| kind.to_string().into_bytes().into()).collect(),
        16 => hello.alpns.iter().map(|name| name.into()).collect(),
        43 => hello.versions.iter().map(|&version| version_name(version).into_bytes().into()).collect(),
        _ => Vec::new(),
    };
    if !values.is_empty() {
        json.array("values", |list| {
            values.iter().for_each(|value| {
                list.item_bytes(value);
            });
        });
    }
}

/// A version of TLS as an extension's value; others by their number.
fn version_name(version: u16) -> String {
    match version {
        0x0300 => "Ssl30".to_owned(),
        0x0301..=0x0304 => format!("Tls1{}", version - 0x0301),
        0x7f12..=0x7f17 => format!("Tls13Draft{}", version & 0xff),
        _ => version.to_string(),
    }
}

/// Names of TLS's extensions (IANA, TLS ExtensionType Values).
fn extension_name(number: u16) -> Option<&'static str> {
    Some(match number {
        0 => "server_name",
        1 => "max_fragment_length",
        2 => "client_certificate_url",
        3 => "trusted_ca_keys",
        4 => "truncated_hmac",
        5 => "status_request",
        6 => "user_mapping",
        7 => "client_authz",
        8 => "server_authz",
        9 => "cert_type",
        10 => "supported_groups",
        11 => "ec_point_formats",
        12 => "srp",
        13 => "signature_algorithms",
        14 => "use_srtp",
        15 => "heartbeat",
        16 => "alpn",
        17 => "status_request_v2",
        18 => "signed_certificate_timestamp",
        19 => "client_certificate_type",
        20 => "server_certificate_type",
        21 => "padding",
        22 => "encrypt_then_mac",
        23 => "extended_master_secret",
        24 => "token_binding",
        25 => "cached_info",
        35 => "session_ticket",
        41 => "pre_shared_key",
        42 => "early_data",
        43 => "supported_versions",
        44 => "cookie",
        45 => "psk_key_exchange_modes",
        47 => "certificate_authorities",
        48 => "oid_filters",
        49 => "post_handshake_auth",
        50 => "signature_algorithms_cert",
        51 => "key_share",
        57 => "quic_transport_parameters",
        0x3374 => "next_protocol_negotiation",
        0xff01 => "renegotiation_info",
        0xffce => "encrypted_server_name",
        _ => return None,
    })
}

fn probe(_way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    let mut reader = Reader::new(bytes);
    match Header::read(&mut reader) {
        Some(header) if header.is_google() || header.kind == Kind::Initial => Probe::Yes,
        _ => Probe::No,
    }
}

const fn asked(buffer: Buffer) -> Provides {
    Provides::new(buffer, Direction::Original, 1)
}

/// QUIC.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Quic,
    tcp: false,
    udp: true,
    ports: &[443, 80],
    patterns: &[],
    probe,
    on_ports_only: false,
    start,
    buffers: &[
        asked(Buffer::QuicVersion),
        Provides::new(Buffer::QuicVersion, Direction::Reply, 1),
        asked(Buffer::QuicSni),
        asked(Buffer::TlsSni),
        asked(Buffer::TlsAlpn),
        asked(Buffer::QuicUserAgent),
        asked(Buffer::QuicCyuString),
        asked(Buffer::QuicCyuHash),
        asked(Buffer::Ja3String),
        asked(Buffer::Ja3Hash),
        asked(Buffer::Ja4Hash),
        Provides::new(Buffer::Ja3sString, Direction::Reply, 1),
        Provides::new(Buffer::Ja3sHash, Direction::Reply, 1),
    ],
    hooks: &[],
};
