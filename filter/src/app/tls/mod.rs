//! TLS and SSL: the handshake as far as it is in the clear (RFC 5246, RFC 8446, SSL 2 and 3).
//!
//! Records are taken whole; handshake messages are put together over records, each up to [`MESSAGE`] bytes (longer ones
//! are passed over and noted). A connection is one transaction. Once both sides encrypt, nothing is left that rules could
//! ask, and the flow is finished, unless `encryption-handling` is `full`.

use weir_ids_rules::AppProtocol;

use super::read::Reader;
use super::{Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Settings, Transactions};
use crate::event::Tuple;
use crate::inspect::Direction;

pub(super) mod certificate;
pub(super) mod fingerprint;
mod handshake;
pub(super) mod hello;
mod log;
#[cfg(test)]
pub(crate) mod tests;
mod transaction;

use handshake::Messages;
use transaction::Connection;

/// Bytes of a handshake message that are put together.
pub const MESSAGE: usize = 128 << 10;

/// Bytes of a record (RFC 5246, 6.2.3, with room for expansion).
const RECORD: usize = (1 << 14) + 2048;

/// Content types of records (RFC 8446, 5.1; RFC 6520).
mod content {
    pub const CHANGE_CIPHER_SPEC: u8 = 20;
    pub const ALERT: u8 = 21;
    pub const HANDSHAKE: u8 = 22;
    pub const APPLICATION_DATA: u8 = 23;
    pub const HEARTBEAT: u8 = 24;
}

/// When the parser stops looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encrypted {
    /// At the end of the handshake.
    Stop,
    /// Never: records are followed to the end.
    Follow,
}

#[derive(Debug)]
struct Tls {
    list: List<Connection>,
    encrypted: Encrypted,
    messages: [Messages; 2],
    started: bool,
    /// SSL 2 is spoken in a direction.
    old: [bool; 2],
    /// A direction has sent application data.
    data: [bool; 2],
    /// Bytes of a direction were lost: where records begin is not known any more.
    lost: [bool; 2],
    /// Who sent the last encrypted heartbeat that waits for its answer, and the bytes of its record.
    beat: Option<(Direction, usize)>,
}

fn start(settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    let handling = settings.named.get("app-layer.protocols.tls.encryption-handling").map(String::as_str);
    let encrypted = match handling {
        Some("full") => Encrypted::Follow,
        _ => Encrypted::Stop,
    };
    Box::new(Tls {
        list: List::default(),
        encrypted,
        messages: [Messages::default(), Messages::default()],
        started: false,
        old: [false; 2],
        data: [false; 2],
        lost: [false; 2],
        beat: None,
    })
}

/// What follows from a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Record,
    Broken,
    Finished,
}

impl Parser for Tls {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Tls
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, _context: &mut Context<'_>) -> Fed {
        if !self.started {
            self.started = true;
            self.list.push(Connection::default());
        }
        if let Some(connection) = self.list.last_mut() {
            connection.seen_at(input.time);
        }
        let fed = match self.lost {
            [true, _] if way == Direction::Original => Fed::Used(input.bytes.len()),
            [_, true] if way == Direction::Reply => Fed::Used(input.bytes.len()),
            _ => self.records(way, input.bytes),
        };
        if input.end && matches!(fed, Fed::Used(_) | Fed::Wait { .. }) {
            self.close(way);
        }
        fed
    }

    fn gap(&mut self, way: Direction, _bytes: u64, _context: &mut Context<'_>) -> bool {
        self.lost[way as usize] = true;
        self.close(way);
        true
    }

    fn transactions(&self) -> &dyn Transactions {
        &self.list
    }

    fn transactions_mut(&mut self) -> &mut dyn Transactions {
        &mut self.list
    }
}

impl Tls {
    fn records(&mut self, way: Direction, bytes: &[u8]) -> Fed {
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let used = bytes.len() - reader.len();
            let before = reader;
            if is_v2(way, reader.rest()) || self.old[way as usize] {
                match self.record_v2(way, &mut reader) {
                    Some(Next::Record) => continue,
                    Some(Next::Broken) => return Fed::Failed,
                    Some(Next::Finished) => return self.finish(),
                    None => return Fed::Wait { used, need: before.len() + 1 },
                }
            }
            let (Some(kind), Some(version), Some(length)) = (reader.u8(), reader.be16(), reader.be16()) else {
                return Fed::Wait { used, need: 5 };
            };
            if let Some(next) = self.refuse(way, kind, version, length) {
                return next;
            }
            let Some(record) = reader.take(usize::from(length)) else {
                if self.is_over(way, kind) {
                    return self.finish();
                }
                return Fed::Wait { used, need: usize::from(length) + 5 };
            };
            match self.record(way, kind, record) {
                Next::Record => {}
                Next::Broken => return Fed::Failed,
                Next::Finished => return self.finish(),
            }
        }
        Fed::Used(bytes.len())
    }

    /// What is wrong with a record's header.
    fn refuse(&mut self, way: Direction, kind: u8, version: u16, length: u16) -> Option<Fed> {
        if !(content::CHANGE_CIPHER_SPEC..=content::HEARTBEAT).contains(&kind) {
            self.anomaly("tls.invalid_record_type");
            return Some(Fed::Failed);
        }
        if version >> 8 != 3 && version >> 8 != 0x7f {
            self.anomaly("tls.invalid_record_version");
            return Some(Fed::Failed);
        }
        if usize::from(length) > RECORD {
            self.anomaly("tls.invalid_record_length");
            return Some(Fed::Failed);
        }
        if let Some(connection) = self.list.last_mut() {
            connection.record_version(way, version);
        }
        None
    }

    /// Whether application data of both sides was seen after a handshake.
    fn is_over(&mut self, way: Direction, kind: u8) -> bool {
        if kind != content::APPLICATION_DATA {
            return false;
        }
        self.data[way as usize] = true;
        let Some(connection) = self.list.last_mut() else { return true };
        connection.encrypts(way);
        self.encrypted == Encrypted::Stop && connection.both_encrypt(self.data)
    }

    fn record(&mut self, way: Direction, kind: u8, record: &[u8]) -> Next {
        let over = self.is_over(way, kind);
        let Some(connection) = self.list.last_mut() else { return Next::Finished };
        match kind {
            content::CHANGE_CIPHER_SPEC => connection.change_cipher(way),
            content::HANDSHAKE if !connection.is_encrypted(way) => return self.handshake(way, record),
            content::HANDSHAKE => {}
            content::ALERT => {
                if !connection.is_encrypted(way) && !matches!(record, [1 | 2, _]) {
                    self.anomaly("tls.invalid_alert");
                } else if matches!(record, [2, _]) {
                    connection.alerted(way);
                }
            }
            content::HEARTBEAT => self.heartbeat(way, record),
            _ if over => return Next::Finished,
            _ => {}
        }
        Next::Record
    }

    fn handshake(&mut self, way: Direction, record: &[u8]) -> Next {
        let Some(connection) = self.list.last_mut() else { return Next::Finished };
        let [original, reply] = &mut self.messages;
        let messages = match way {
            Direction::Original => original,
            Direction::Reply => reply,
        };
        let mut odd = Vec::new();
        messages.add(record, |kind, body| connection.message(way, kind, body, &mut odd));
        let too_long = std::mem::take(&mut messages.too_long);
        if too_long {
            odd.push(Anomaly("tls.handshake_invalid_length"));
        }
        // Where a message cannot be read, what follows it is not to be trusted either.
        let broken = odd.iter().any(|odd| is_fatal(odd.0));
        if broken {
            odd.push(Anomaly("tls.invalid_handshake_message"));
            odd.push(Anomaly("tls.invalid_ssl_record"));
        }
        odd.into_iter().for_each(|odd| {
            self.list.anomaly(odd);
        });
        if broken { Next::Broken } else { Next::Record }
    }

    /// A heartbeat whose announced length exceeds its record reads the other side's memory (CVE-2014-0160). Of one that is
    /// encrypted only the lengths can be seen: an answer repeats what was asked, and one that is longer holds more.
    fn heartbeat(&mut self, way: Direction, record: &[u8]) {
        let encrypted = self.list.last_mut().is_some_and(|connection| connection.is_encrypted(way));
        self.anomaly("tls.heartbeat_message");
        if encrypted {
            match self.beat.take() {
                Some((asker, length)) if asker != way => {
                    if record.len() > length {
                        self.anomaly("tls.dataleak_heartbeat_mismatch");
                    }
                }
                _ => self.beat = Some((way, record.len())),
            }
            return;
        }
        let mut reader = Reader::new(record);
        let (Some(kind), Some(length)) = (reader.u8(), reader.be16()) else { return };
        if !matches!(kind, 1 | 2) {
            self.anomaly("tls.invalid_heartbeat_message");
        } else if usize::from(length) + 3 + 16 > record.len() {
            self.anomaly("tls.overflow_heartbeat_message");
        }
    }

    /// One record of SSL 2. `None`: more bytes are needed.
    fn record_v2(&mut self, way: Direction, reader: &mut Reader<'_>) -> Option<Next> {
        let mut ahead = *reader;
        let first = ahead.be16()?;
        let (length, padding) = match first & 0x8000 {
            0 => (usize::from(first & 0x3fff), usize::from(ahead.u8()?)),
            _ => (usize::from(first & 0x7fff), 0),
        };
        let record = ahead.take(length)?;
        *reader = ahead;
        let record = record.get(..record.len().saturating_sub(padding)).unwrap_or_default();
        let Some((&kind, body)) = record.split_first() else {
            self.anomaly("tls.invalid_sslv2_header");
            return Some(Next::Broken);
        };
        let connection = self.list.last_mut()?;
        Some(match (way, kind) {
            (Direction::Original, 1) => match hello::Hello::client_v2(body) {
                Some(hello) => {
                    // The server's answer tells whether SSL 2 goes on.
                    connection.client_v2(hello);
                    Next::Record
                }
                None => Next::Broken,
            },
            (Direction::Reply, 4) => {
                connection.server_v2(body);
                self.old = [true; 2];
                Next::Record
            }
            _ if self.old == [true; 2] => Next::Finished,
            _ => {
                self.anomaly("tls.invalid_sslv2_header");
                Next::Broken
            }
        })
    }

    fn anomaly(&mut self, name: &'static str) {
        self.list.anomaly(Anomaly(name));
    }

    fn finish(&mut self) -> Fed {
        if let Some(connection) = self.list.last_mut() {
            connection.finish(Direction::Original);
            connection.finish(Direction::Reply);
        }
        Fed::Finished
    }

    fn close(&mut self, way: Direction) {
        if let Some(connection) = self.list.last_mut() {
            connection.finish(way);
        }
    }
}

/// Whether what is odd in a handshake message means that it could not be read.
fn is_fatal(name: &str) -> bool {
    name == "tls.handshake_invalid_length" || name == "tls.invalid_certificate" || name.starts_with("tls.certificate_")
}

/// Whether bytes look like a record of SSL 2 that begins a connection.
fn is_v2(way: Direction, bytes: &[u8]) -> bool {
    let kind = match way {
        Direction::Original => 1,
        Direction::Reply => 4,
    };
    matches!(bytes, [0x80..=0xff, _, found, ..] if *found == kind)
}

fn probe(way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    match (way, bytes) {
        (Direction::Original, [content::HANDSHAKE, 3, 0..=4, ..]) => Probe::Yes,
        (Direction::Reply, [content::ALERT..=content::APPLICATION_DATA, 3, 0..=4, ..]) => Probe::Yes,
        (_, [content::ALERT..=content::APPLICATION_DATA] | [content::ALERT..=content::APPLICATION_DATA, 3]) => {
            Probe::More
        }
        (_, [0x80..=0xff] | [0x80..=0xff, _]) => Probe::More,
        // The version of SSL 2's hello stands behind its type.
        (Direction::Original, [0x80..=0xff, _, 1, 0, 2, ..] | [0x80..=0xff, _, 1, 3, 0..=4, ..]) => Probe::Yes,
        (Direction::Original, [0x80..=0xff, _, 1] | [0x80..=0xff, _, 1, 0 | 3]) => Probe::More,
        (Direction::Reply, [0x80..=0xff, _, 4, _, _, 0, 2, ..]) => Probe::Yes,
        _ => Probe::No,
    }
}

const ASKS: Direction = Direction::Original;
const ANSWERS: Direction = Direction::Reply;

/// TLS.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Tls,
    tcp: true,
    udp: false,
    ports: &[443],
    patterns: &[
        (ASKS, 0, &[content::HANDSHAKE, 3]),
        (ANSWERS, 0, &[content::HANDSHAKE, 3]),
        (ANSWERS, 0, &[content::ALERT, 3]),
        (ANSWERS, 0, &[content::APPLICATION_DATA, 3]),
    ],
    probe,
    on_ports_only: false,
    start,
    buffers: transaction::BUFFERS,
    hooks: transaction::HOOKS,
};
