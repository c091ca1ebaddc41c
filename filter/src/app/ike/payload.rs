//! Header and payloads of IKE messages (RFC 2408, 3; RFC 7296, 3).

use super::{PAYLOADS, TRANSFORMS};
use crate::app::read::Reader;

/// The header of a message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Header {
    pub initiator: [u8; 8],
    pub responder: [u8; 8],
    next: u8,
    pub major: u8,
    pub minor: u8,
    pub exchange: u8,
    flags: u8,
    pub message: u32,
    pub length: u32,
}

impl Header {
    /// Reads a header of version 1 or 2.
    pub fn read(reader: &mut Reader<'_>) -> Option<Header> {
        let (initiator, responder) = (reader.array()?, reader.array()?);
        let (next, version, exchange, flags) = (reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?);
        let (message, length) = (reader.be32()?, reader.be32()?);
        let (major, minor) = (version >> 4, version & 0xf);
        let header = Header { initiator, responder, next, major, minor, exchange, flags, message, length };
        matches!(major, 1 | 2).then_some(header)
    }

    /// The initiator of the association sent it (version 2).
    pub const fn is_initiator(&self) -> bool {
        self.flags & 0x08 != 0
    }

    /// Its payloads are encrypted (version 1).
    pub const fn is_encrypted(&self) -> bool {
        self.flags & 0x01 != 0
    }
}

/// A transform of a proposal.
#[derive(Debug, Default)]
pub struct Transform {
    /// Kind of the algorithm (version 2).
    pub kind: u8,
    /// The algorithm.
    pub id: u16,
    /// Attributes by number.
    pub attributes: Vec<(u16, Vec<u8>)>,
}

/// What one side offers or chooses.
#[derive(Debug, Default)]
pub struct Proposal {
    /// 1 IKE, 2 AH, 3 ESP.
    pub protocol: u8,
    pub transforms: Vec<Transform>,
}

impl Proposal {
    /// What is weak in a proposal of version 2.
    pub fn weaknesses(&self) -> Vec<&'static str> {
        let mut found = Vec::new();
        for Transform { kind, id, .. } in &self.transforms {
            match (kind, id) {
                (1, 1..=9 | 11) => found.push("ike.weak_crypto_enc"),
                (2, 0) | (4, 0) => found.push("ike.invalid_proposal"),
                (2, 1 | 2) => found.push("ike.weak_crypto_prf"),
                (3, 1..=7) => found.push("ike.weak_crypto_auth"),
                (4, 1 | 2 | 5 | 22) => found.push("ike.weak_crypto_dh"),
                (1..=5, _) => {}
                _ => found.push("ike.unknown_proposal"),
            }
        }
        let has = |test: fn(&Transform) -> bool| self.transforms.iter().any(test);
        if !has(|transform| transform.kind == 4) {
            found.push("ike.weak_crypto_no_dh");
        }
        if self.protocol == 2 {
            found.push("ike.no_encryption");
        }
        let sealed = has(|transform| transform.kind == 1 && matches!(transform.id, 14..=16 | 18..=20 | 28));
        if !has(|transform| transform.kind == 3 && transform.id != 0) && !sealed {
            found.push("ike.weak_crypto_no_auth");
        }
        found
    }
}

/// A message.
#[derive(Debug, Default)]
pub struct Message {
    pub header: Header,
    /// What the header and each payload name as the next one.
    pub payloads: Vec<u8>,
    pub proposals: Vec<Proposal>,
    pub key_exchange: Vec<u8>,
    pub nonce: Vec<u8>,
    pub vendors: Vec<Vec<u8>>,
    pub notified: Vec<u16>,
    pub doi: Option<u32>,
    pub odd: Vec<&'static str>,
}

/// Kinds of payloads.
mod kind {
    pub const NONE: u8 = 0;
    pub const SA_1: u8 = 1;
    pub const PROPOSAL_1: u8 = 2;
    pub const TRANSFORM_1: u8 = 3;
    pub const KEY_EXCHANGE_1: u8 = 4;
    pub const NONCE_1: u8 = 10;
    pub const VENDOR_1: u8 = 13;
    pub const SA_2: u8 = 33;
    pub const KEY_EXCHANGE_2: u8 = 34;
    pub const NONCE_2: u8 = 40;
    pub const NOTIFY_2: u8 = 41;
    pub const VENDOR_2: u8 = 43;
    pub const ENCRYPTED_2: u8 = 46;
}

impl Message {
    /// Reads the payloads behind a header, as far as they are whole.
    pub fn read(header: Header, body: &[u8]) -> Message {
        let mut message = Message { header, ..Message::default() };
        if header.major == 1 && header.is_encrypted() {
            message.payloads.push(header.next);
            return message;
        }
        let mut reader = Reader::new(body);
        let mut next = header.next;
        while next != kind::NONE && message.payloads.len() < PAYLOADS {
            let (Some(following), Some(_), Some(length)) = (reader.u8(), reader.u8(), reader.be16()) else {
                message.odd.push("ike.malformed_data");
                break;
            };
            let Some(bytes) = usize::from(length).checked_sub(4).and_then(|length| reader.take(length)) else {
                message.odd.push("ike.malformed_data");
                break;
            };
            message.payloads.push(following);
            message.payload(next, bytes);
            if next == kind::ENCRYPTED_2 {
                break;
            }
            next = following;
        }
        if next == kind::NONE && !reader.is_empty() {
            message.odd.push("ike.payload_extra_data");
        }
        message.payloads.insert(0, header.next);
        if header.major == 1 {
            message.payloads_of_one();
        }
        message
    }

    /// Each kind of payload once, with those that stand in others.
    fn payloads_of_one(&mut self) {
        if self.payloads.len() > 1 {
            self.payloads.retain(|&kind| kind != kind::NONE);
        }
        if !self.proposals.is_empty() {
            self.payloads.push(kind::PROPOSAL_1);
        }
        if self.proposals.iter().any(|proposal| !proposal.transforms.is_empty()) {
            self.payloads.push(kind::TRANSFORM_1);
        }
        let mut known = Vec::new();
        self.payloads.retain(|kind| {
            let new = !known.contains(kind);
            known.push(*kind);
            new
        });
    }

    fn payload(&mut self, kind: u8, bytes: &[u8]) {
        match kind {
            kind::SA_1 => {
                let mut reader = Reader::new(bytes);
                self.doi = reader.be32();
                reader.be32();
                self.proposals_of(reader);
            }
            kind::SA_2 => self.proposals_of(Reader::new(bytes)),
            kind::KEY_EXCHANGE_1 => self.key_exchange = bytes.to_vec(),
            kind::KEY_EXCHANGE_2 => self.key_exchange = bytes.get(4..).unwrap_or_default().to_vec(),
            kind::NONCE_1 | kind::NONCE_2 => self.nonce = bytes.to_vec(),
            kind::VENDOR_1 | kind::VENDOR_2 => self.vendors.push(bytes.to_vec()),
            kind::NOTIFY_2 => {
                let mut reader = Reader::new(bytes);
                if let (Some(_), Some(kind)) = (reader.be16(), reader.be16()) {
                    self.notified.push(kind);
                }
            }
            _ => {}
        }
    }

    fn proposals_of(&mut self, mut reader: Reader<'_>) {
        let mut room = TRANSFORMS;
        while !reader.is_empty() && room > 0 {
            let Some((proposal, used)) = proposal(&mut reader, self.header.major, room) else {
                self.odd.push("ike.malformed_data");
                return;
            };
            room = room.saturating_sub(used.max(1));
            self.proposals.push(proposal);
        }
    }
}

fn proposal(reader: &mut Reader<'_>, major: u8, room: usize) -> Option<(Proposal, usize)> {
    let (_, _, length) = (reader.u8()?, reader.u8()?, reader.be16()?);
    let mut body = Reader::new(reader.take(usize::from(length).checked_sub(4)?)?);
    let (_, protocol, spi, count) = (body.u8()?, body.u8()?, body.u8()?, body.u8()?);
    body.take(usize::from(spi))?;
    let mut proposal = Proposal { protocol, transforms: Vec::new() };
    for _ in 0..usize::from(count).min(room) {
        proposal.transforms.push(transform(&mut body, major)?);
    }
    let used = proposal.transforms.len();
    Some((proposal, used))
}

fn transform(reader: &mut Reader<'_>, major: u8) -> Option<Transform> {
    let (_, _, length) = (reader.u8()?, reader.u8()?, reader.be16()?);
    let mut body = Reader::new(reader.take(usize::from(length).checked_sub(4)?)?);
    let kind = body.u8()?;
    let mut transform = Transform { kind, ..Transform::default() };
    if major == 1 {
        // Number and identifier of the transform, two bytes reserved.
        transform.id = body.u8()?.into();
        body.be16()?;
    } else {
        body.u8()?;
        transform.id = body.be16()?;
    }
    while let (Some(kind), Some(value)) = (body.be16(), body.be16()) {
        let bytes =
            if kind & 0x8000 != 0 { value.to_be_bytes().to_vec() } else { body.take_up_to(value.into()).to_vec() };
        transform.attributes.push((kind & 0x7fff, bytes));
    }
    Some(transform)
}

/// The number that an attribute's bytes are, where they are no more than eight.
pub fn number(bytes: &[u8]) -> Option<u64> {
    let fits = !bytes.is_empty() && bytes.len() <= 8;
    fits.then(|| bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}
