//! IKE 1 and 2 (RFC 2408, RFC 2409, RFC 7296), as far as it is not encrypted.
//!
//! Each message is a transaction of its own. A message has at most [`PAYLOADS`] payloads and [`TRANSFORMS`] transforms
//! that are looked at.

use weir_ids_rules::{AppProtocol, Buffer, Field};

use super::read::Reader;
use super::tls::fingerprint::hex;
use super::{
    Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Provides, Settings, Transaction, Transactions,
};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

mod names;
mod payload;
#[cfg(test)]
mod tests;

use payload::{Header, Message, Proposal};

/// Payloads of a message.
const PAYLOADS: usize = 64;

/// Transforms of a message.
const TRANSFORMS: usize = 128;

/// What both messages of the flow have said.
#[derive(Clone, Debug, Default)]
struct Said {
    key_exchange: Vec<u8>,
    nonce: Vec<u8>,
}

/// A message.
#[derive(Debug)]
pub struct Exchange {
    way: Direction,
    message: Message,
    client: Said,
    server: Said,
    agreed: Agreed,
}

/// What the responder has chosen so far.
#[derive(Clone, Debug, Default)]
struct Agreed {
    /// Domain of interpretation (version 1).
    doi: Option<u32>,
    /// Attributes (version 1).
    chosen: Vec<(u16, Vec<u8>)>,
    /// Algorithms by kind (version 2), in the order of [`KINDS`].
    algorithms: [u16; 5],
}

/// Kinds of algorithms as EVE shows them, with those that nobody has chosen.
const KINDS: [(u8, u16); 5] = [(1, 11), (3, 0), (2, 0), (4, 0), (5, 0)];

#[derive(Debug)]
struct Ike {
    list: List<Exchange>,
    client: Said,
    server: Said,
    agreed: Agreed,
}

fn start(_settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    let agreed = Agreed { algorithms: KINDS.map(|(_, id)| id), ..Agreed::default() };
    Box::new(Ike { list: List::default(), client: Said::default(), server: Said::default(), agreed })
}

impl Parser for Ike {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Ike
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        if input.bytes.is_empty() {
            return Fed::Used(0);
        }
        let mut reader = Reader::new(input.bytes);
        let Some(header) = Header::read(&mut reader) else {
            self.list.anomaly(Anomaly("ike.malformed_data"));
            return Fed::Failed;
        };
        if self.list.count() >= context.settings.transactions_of(AppProtocol::Ike) {
            return Fed::Failed;
        }
        let message = Message::read(header, reader.rest());
        let said = match way {
            Direction::Original => &mut self.client,
            Direction::Reply => &mut self.server,
        };
        if !message.key_exchange.is_empty() {
            said.key_exchange.clone_from(&message.key_exchange);
        }
        if !message.nonce.is_empty() {
            said.nonce.clone_from(&message.nonce);
        }
        self.agreed.note(way, &message);
        let mut odd: Vec<&'static str> = message.odd.clone();
        // A server chooses one of what it was offered: a proposal, in version 1 a transform of it.
        let offers = if message.header.major == 1 {
            message.proposals.iter().map(|proposal| proposal.transforms.len()).sum()
        } else {
            message.proposals.len()
        };
        if way == Direction::Reply && offers > 1 {
            odd.push("ike.multiple_server_proposal");
        }
        if message.header.major == 2 {
            odd.extend(message.proposals.iter().flat_map(Proposal::weaknesses));
        }
        let (client, server, agreed) = (self.client.clone(), self.server.clone(), self.agreed.clone());
        self.list.push(Exchange { way, message, client, server, agreed });
        for name in odd {
            self.list.anomaly(Anomaly(name));
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

impl Transaction for Exchange {
    fn progress(&self, _way: Direction) -> u8 {
        1
    }

    fn complete(&self, _way: Direction) -> u8 {
        1
    }

    fn only(&self) -> Option<Direction> {
        Some(self.way)
    }

    fn buffer<'t>(&'t self, buffer: Buffer, way: Direction, nth: usize, work: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        if way != self.way {
            return None;
        }
        let message = &self.message;
        let bytes = match buffer {
            Buffer::IkeVendor => message.vendors.get(nth)?,
            _ if nth > 0 => return None,
            Buffer::IkeInitSpi => &message.header.initiator[..],
            Buffer::IkeRespSpi => &message.header.responder[..],
            // Payloads are asked for as they are, what identifies something in hexadecimal digits.
            Buffer::IkeKeyExchangePayload => return some(&message.key_exchange),
            Buffer::IkeNoncePayload => return some(&message.nonce),
            _ => return None,
        };
        *work = hex(bytes).into_bytes();
        Some(work)
    }

    fn number(&self, field: Field, way: Direction, nth: usize) -> Option<u64> {
        if way != self.way || nth > 0 {
            return None;
        }
        let length = |bytes: &[u8]| (!bytes.is_empty()).then_some(bytes.len() as u64);
        match field {
            Field::IkeExchangeType => Some(self.message.header.exchange.into()),
            Field::IkeKeyExchangeLength => length(&self.message.key_exchange),
            Field::IkeNonceLength => length(&self.message.nonce),
            _ => None,
        }
    }

    fn special(&self, keyword: &str, argument: &str, way: Direction) -> Option<bool> {
        if keyword != "ike.chosen_sa_attribute" || (way, self.way) != (Direction::Reply, Direction::Reply) {
            return None;
        }
        let (name, value) = argument.split_once('=')?;
        let value: u64 = value.trim().parse().ok()?;
        let mut transforms = self.message.proposals.iter().flat_map(|one| &one.transforms);
        Some(transforms.next()?.attributes.iter().any(|(kind, bytes)| {
            names::attribute(*kind).is_some_and(|known| known == name.trim()) && payload::number(bytes) == Some(value)
        }))
    }

    fn log(&self, json: &mut Json<'_>) {
        let header = &self.message.header;
        json.number("version_major", header.major).number("version_minor", header.minor);
        json.hex("init_spi", &header.initiator, "").hex("resp_spi", &header.responder, "");
        json.number("message_id", header.message).number("exchange_type", header.exchange);
        if header.major == 1 {
            if let Some(name) = names::exchange(header.exchange) {
                json.text("exchange_type_verbose", name);
            }
            attributes(&self.agreed.chosen, json);
        } else if header.is_initiator() {
            json.text("role", "initiator");
        } else {
            json.text("role", "responder");
            for ((kind, _), id) in KINDS.iter().zip(self.agreed.algorithms) {
                if let Some(name) = names::transform_kind(*kind) {
                    json.text(name, &names::algorithm(*kind, id));
                }
            }
        }
        json.array("payload", |list| {
            for name in self.message.payloads.iter().filter_map(|&kind| names::payload(kind, header.major)) {
                list.item_bytes(name.as_bytes());
            }
        });
        match header.major {
            1 => json.nested("ikev1", |json| self.log_one(json)),
            _ => json.nested("ikev2", |json| {
                json.number("errors", self.message.notified.iter().filter(|&&kind| kind < 16384).count() as u64);
                if !self.message.notified.is_empty() {
                    json.array("notify", |list| {
                        for &kind in &self.message.notified {
                            list.item_bytes(names::notification(kind).as_bytes());
                        }
                    });
                }
            }),
        };
    }
}

impl Agreed {
    fn note(&mut self, way: Direction, message: &Message) {
        self.doi = message.doi.or(self.doi);
        let mut transforms = message.proposals.iter().flat_map(|one| &one.transforms).peekable();
        if way == Direction::Original || transforms.peek().is_none() {
            return;
        }
        if let (1, Some(first)) = (message.header.major, transforms.peek()) {
            self.chosen.clone_from(&first.attributes);
            return;
        }
        for transform in transforms {
            let places = KINDS.iter().zip(&mut self.algorithms);
            for (_, place) in places.filter(|((kind, _), _)| *kind == transform.kind) {
                *place = transform.id;
            }
        }
    }
}

fn some(bytes: &[u8]) -> Option<&[u8]> {
    (!bytes.is_empty()).then_some(bytes)
}

fn attributes(list: &[(u16, Vec<u8>)], json: &mut Json<'_>) {
    for (kind, bytes) in list {
        let Some(name) = names::attribute(*kind) else { continue };
        let raw = format!("{name}_raw");
        match payload::number(bytes) {
            Some(number) => {
                json.text(name, &names::attribute_value(*kind, number)).number(&raw, number);
            }
            None => {
                json.hex(&raw, bytes, "");
            }
        }
    }
}

impl Exchange {
    fn log_one(&self, json: &mut Json<'_>) {
        if let Some(doi) = self.agreed.doi {
            json.number("doi", doi);
        }
        json.flag("encrypted_payloads", self.message.header.is_encrypted());
        if self.message.header.is_encrypted() {
            return;
        }
        let transforms: Vec<_> = self.message.proposals.iter().flat_map(|proposal| &proposal.transforms).collect();
        for (name, said, way) in
            [("client", &self.client, Direction::Original), ("server", &self.server, Direction::Reply)]
        {
            json.nested(name, |json| {
                for (name, bytes) in [("key_exchange_payload", &said.key_exchange), ("nonce_payload", &said.nonce)] {
                    if !bytes.is_empty() {
                        json.hex(name, bytes, "").number(&format!("{name}_length"), bytes.len() as u64);
                    }
                }
                if way == Direction::Original && self.way == way && !transforms.is_empty() {
                    json.array("proposals", |list| {
                        for transform in &transforms {
                            list.item(|json| attributes(&transform.attributes, json));
                        }
                    });
                }
            });
        }
        if !self.message.vendors.is_empty() {
            json.array("vendor_ids", |list| {
                for vendor in &self.message.vendors {
                    list.item_bytes(hex(vendor).as_bytes());
                }
            });
        }
    }
}

fn probe(_way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    let Some(header) = Header::read(&mut Reader::new(bytes)) else { return Probe::No };
    let fits = match header.major {
        1 => true,
        _ => header.minor == 0 && matches!(header.exchange, 34..=37) && header.length as usize == bytes.len(),
    };
    if fits { Probe::Yes } else { Probe::No }
}

/// IKE.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Ike,
    tcp: false,
    udp: true,
    ports: &[500],
    patterns: &[],
    probe,
    on_ports_only: true,
    start,
    buffers: &[
        Provides::new(Buffer::IkeInitSpi, Direction::Original, 1),
        Provides::new(Buffer::IkeVendor, Direction::Original, 1),
        Provides::new(Buffer::IkeRespSpi, Direction::Reply, 1),
        Provides::new(Buffer::IkeKeyExchangePayload, Direction::Original, 1),
        Provides::new(Buffer::IkeKeyExchangePayload, Direction::Reply, 1),
        Provides::new(Buffer::IkeNoncePayload, Direction::Original, 1),
        Provides::new(Buffer::IkeNoncePayload, Direction::Reply, 1),
    ],
    hooks: &[],
};
