//! SSH 1 and 2 before encryption (RFC 4253): the banners, and the key exchange's offers with their HASSH fingerprints.
//!
//! A connection is one transaction. Records are passed over as they come, except the first KEXINIT of a side, which is
//! put together up to [`KEXINIT`] bytes. With NEWKEYS of both sides the flow is finished.

use weir_ids_rules::{AppProtocol, Buffer};

use super::read::{Reader, line};
use super::tls::fingerprint::md5_hex;
use super::{
    Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Provides, Settings, Transaction, Transactions,
};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

#[cfg(test)]
mod tests;

/// Bytes of a banner that are waited for.
const BANNER: usize = 256;

/// Bytes of a KEXINIT that are put together; of a longer one no fingerprint is made.
const KEXINIT: usize = 64 << 10;

/// Message numbers (RFC 4253, 12).
mod message {
    pub const KEXINIT: u8 = 20;
    pub const NEWKEYS: u8 = 21;
}

/// How far a side is.
mod progress {
    pub const BANNER: u8 = 1;
    pub const OFFERED: u8 = 2;
    pub const ENCRYPTED: u8 = 3;
}

/// One side of a connection.
#[derive(Debug, Default)]
struct Side {
    progress: u8,
    /// The banner was cut: what is left of its line is passed over.
    long_banner: bool,
    /// Bytes of a record that are still to be passed over.
    skip: usize,
    /// Bytes were lost: where records begin is not known any more.
    lost: bool,
    protocol: Vec<u8>,
    software: Vec<u8>,
    /// The offers that HASSH is made of.
    offers: Vec<u8>,
}

/// A connection.
#[derive(Debug, Default)]
pub struct Connection {
    client: Side,
    server: Side,
}

impl Connection {
    fn side(&self, way: Direction) -> &Side {
        match way {
            Direction::Original => &self.client,
            Direction::Reply => &self.server,
        }
    }

    fn side_mut(&mut self, way: Direction) -> &mut Side {
        match way {
            Direction::Original => &mut self.client,
            Direction::Reply => &mut self.server,
        }
    }

    fn is_encrypted(&self) -> bool {
        self.client.progress >= progress::ENCRYPTED && self.server.progress >= progress::ENCRYPTED
    }
}

impl Side {
    /// Takes a banner without its line's end. `false`: it is none.
    fn banner(&mut self, text: &[u8]) -> bool {
        let Some(rest) = text.strip_prefix(b"SSH-") else { return false };
        let Some(dash) = memchr::memchr(b'-', rest) else { return false };
        let (protocol, software) = rest.split_at(dash);
        self.protocol = protocol.to_vec();
        let software = software.get(1..).unwrap_or_default();
        let end = software.iter().position(|byte| b" \r\n".contains(byte)).unwrap_or(software.len());
        self.software = software.get(..end).unwrap_or_default().to_vec();
        self.progress = progress::BANNER;
        true
    }

    /// Takes a KEXINIT's body behind its number: a cookie, then lists by commas.
    fn offered(&mut self, body: &[u8], way: Direction) {
        let mut reader = Reader::new(body);
        let mut lists: [&[u8]; 8] = [&[]; 8];
        if reader.take(16).is_none() {
            return;
        }
        for list in &mut lists {
            let Some(taken) = reader.be32().and_then(|length| reader.take(length as usize)) else { return };
            *list = taken;
        }
        let [kex, _, to_server, to_client, mac_to_server, mac_to_client, zip_to_server, zip_to_client] = lists;
        let parts = match way {
            Direction::Original => [kex, to_server, mac_to_server, zip_to_server],
            Direction::Reply => [kex, to_client, mac_to_client, zip_to_client],
        };
        self.offers = parts.join(&b';');
        self.progress = self.progress.max(progress::OFFERED);
    }
}

#[derive(Debug)]
struct Ssh {
    list: List<Connection>,
    started: bool,
}

fn start(_settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    Box::new(Ssh { list: List::default(), started: false })
}

/// What came of a step.
enum Step {
    Done,
    Wait(usize),
    /// Odd, but the reading goes on.
    Note(&'static str),
    /// The reading ends.
    Odd(&'static str),
}

impl Ssh {
    fn banner(side: &mut Side, reader: &mut Reader<'_>) -> Step {
        let bytes = reader.rest();
        let Some((text, length)) = line(bytes) else {
            if side.long_banner {
                reader.take(bytes.len());
                return Step::Done;
            }
            if bytes.len() < BANNER {
                return Step::Wait(bytes.len() + 1);
            }
            if !side.banner(bytes.get(..BANNER).unwrap_or(bytes)) {
                return Step::Odd("ssh.invalid_banner");
            }
            side.long_banner = true;
            reader.take(bytes.len());
            return Step::Note("ssh.long_banner");
        };
        reader.take(length);
        if std::mem::take(&mut side.long_banner) {
            return Step::Done;
        }
        match side.banner(text) {
            false => Step::Odd("ssh.invalid_banner"),
            true if text.len() >= BANNER => Step::Note("ssh.long_banner"),
            true => Step::Done,
        }
    }

    /// One record, or what there is of it.
    fn record(side: &mut Side, reader: &mut Reader<'_>, way: Direction) -> Step {
        let skipped = reader.take_up_to(side.skip).len();
        side.skip -= skipped;
        if side.progress >= progress::ENCRYPTED {
            // What follows the new keys is encrypted, in this direction at once.
            reader.take_up_to(usize::MAX);
        }
        if reader.is_empty() {
            return Step::Done;
        }
        let mut ahead = *reader;
        let (Some(length), Some(padding), Some(kind)) = (ahead.be32(), ahead.u8(), ahead.u8()) else {
            return Step::Wait(6);
        };
        let length = length as usize;
        if !(2..=256 << 20).contains(&length) {
            return Step::Odd("ssh.invalid_record");
        }
        if kind == message::KEXINIT && side.offers.is_empty() && length <= KEXINIT {
            let Some(record) = ahead.take(length - 2) else { return Step::Wait(length + 4) };
            let body = record.len().saturating_sub(usize::from(padding));
            side.offered(record.get(..body).unwrap_or_default(), way);
            *reader = ahead;
            return Step::Done;
        }
        if kind == message::KEXINIT && side.offers.is_empty() {
            side.skip = length - 2;
            *reader = ahead;
            return Step::Note("ssh.long_kex_record");
        }
        if kind == message::NEWKEYS {
            side.progress = progress::ENCRYPTED;
        }
        side.skip = length - 2;
        *reader = ahead;
        Step::Done
    }
}

impl Parser for Ssh {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Ssh
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, _context: &mut Context<'_>) -> Fed {
        if !std::mem::replace(&mut self.started, true) {
            self.list.push(Connection::default());
        }
        let mut reader = Reader::new(input.bytes);
        while !reader.is_empty() {
            let Some(connection) = self.list.last_mut() else { return Fed::Finished };
            let side = connection.side_mut(way);
            if side.lost {
                break;
            }
            let step = if side.progress < progress::BANNER || side.long_banner {
                Ssh::banner(side, &mut reader)
            } else {
                Ssh::record(side, &mut reader, way)
            };
            match step {
                Step::Done if connection.is_encrypted() => return Fed::Finished,
                Step::Done => {}
                Step::Wait(need) => return Fed::Wait { used: input.bytes.len() - reader.len(), need },
                Step::Note(name) => {
                    self.list.anomaly(Anomaly(name));
                }
                Step::Odd(name) => {
                    self.list.anomaly(Anomaly(name));
                    return Fed::Failed;
                }
            }
        }
        Fed::Used(input.bytes.len())
    }

    fn gap(&mut self, way: Direction, bytes: u64, _context: &mut Context<'_>) -> bool {
        let Some(connection) = self.list.last_mut() else { return false };
        let side = connection.side_mut(way);
        match usize::try_from(bytes).ok().and_then(|bytes| side.skip.checked_sub(bytes)) {
            Some(left) if left > 0 => side.skip = left,
            _ => side.lost = true,
        }
        true
    }

    fn transactions(&self) -> &dyn Transactions {
        &self.list
    }

    fn transactions_mut(&mut self) -> &mut dyn Transactions {
        &mut self.list
    }
}

impl Transaction for Connection {
    fn progress(&self, way: Direction) -> u8 {
        self.side(way).progress
    }

    fn complete(&self, _way: Direction) -> u8 {
        progress::ENCRYPTED
    }

    fn buffer<'t>(&'t self, buffer: Buffer, way: Direction, nth: usize, work: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        let side = self.side(way);
        let offers = |side: &'t Side| (!side.offers.is_empty()).then_some(side.offers.as_slice());
        match buffer {
            _ if nth > 0 => None,
            Buffer::SshProto => (!side.protocol.is_empty()).then_some(side.protocol.as_slice()),
            Buffer::SshSoftware => (!side.software.is_empty()).then_some(side.software.as_slice()),
            Buffer::SshHasshString => offers(&self.client),
            Buffer::SshHasshServerString => offers(&self.server),
            Buffer::SshHassh | Buffer::SshHasshServer => {
                let client = buffer == Buffer::SshHassh;
                let offers = offers(if client { &self.client } else { &self.server })?;
                *work = md5_hex(offers).into_bytes();
                Some(work)
            }
            _ => None,
        }
    }

    fn special(&self, keyword: &str, argument: &str, way: Direction) -> Option<bool> {
        let side = self.side(way);
        let argument = argument.trim().trim_matches('"').as_bytes();
        match keyword {
            // "2_compat" asks for a side that speaks version 2, which it may announce as 1.99.
            "ssh.protoversion" if argument == b"2_compat" => {
                Some(side.protocol.starts_with(b"2") || side.protocol == b"1.99")
            }
            "ssh.protoversion" => Some(side.protocol == argument),
            "ssh.softwareversion" => Some(memchr::memmem::find(&side.software, argument).is_some()),
            _ => None,
        }
    }

    fn log(&self, json: &mut Json<'_>) {
        for (name, side) in [("client", &self.client), ("server", &self.server)] {
            if side.progress < progress::BANNER {
                continue;
            }
            json.nested(name, |json| {
                json.bytes("proto_version", &side.protocol);
                if !side.software.is_empty() {
                    json.bytes("software_version", &side.software);
                }
                if !side.offers.is_empty() {
                    json.nested("hassh", |json| {
                        json.text("hash", &md5_hex(&side.offers)).bytes("string", &side.offers);
                    });
                }
            });
        }
    }

    fn is_logged(&self) -> bool {
        self.client.progress >= progress::BANNER || self.server.progress >= progress::BANNER
    }
}

fn probe(_way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    let tag = b"SSH-";
    match bytes.get(..tag.len()) {
        Some(start) if start == tag => Probe::Yes,
        Some(_) => Probe::No,
        None if tag.starts_with(bytes) => Probe::More,
        None => Probe::No,
    }
}

const fn both(buffer: Buffer, way: Direction) -> Provides {
    Provides::new(buffer, way, progress::BANNER)
}

/// SSH.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Ssh,
    tcp: true,
    udp: false,
    ports: &[22],
    patterns: &[(Direction::Original, 0, b"SSH-"), (Direction::Reply, 0, b"SSH-")],
    probe,
    on_ports_only: false,
    start,
    buffers: &[
        both(Buffer::SshProto, Direction::Original),
        both(Buffer::SshProto, Direction::Reply),
        both(Buffer::SshSoftware, Direction::Original),
        both(Buffer::SshSoftware, Direction::Reply),
        Provides::new(Buffer::SshHassh, Direction::Original, progress::OFFERED),
        Provides::new(Buffer::SshHasshString, Direction::Original, progress::OFFERED),
        Provides::new(Buffer::SshHasshServer, Direction::Reply, progress::OFFERED),
        Provides::new(Buffer::SshHasshServerString, Direction::Reply, progress::OFFERED),
    ],
    hooks: &[
        ("request_banner_done", Direction::Original, progress::BANNER),
        ("response_banner_done", Direction::Reply, progress::BANNER),
    ],
};
