//! Kerberos 5 (RFC 4120) over UDP and TCP: who asks whom for a ticket, and the errors.
//!
//! Each message is a transaction of its own, but an answer is shown with what its request asked for. Tickets are not
//! decrypted. Limits: messages over TCP have at most [`MESSAGE`] bytes, names [`NAMES`] parts.

mod names;

use weir_ids_rules::{AppProtocol, Buffer, Field};

use names::{encryption_name, error_name};

use super::Transactions;
use super::asn1::{self, SEQUENCE};
use super::read::Reader;
use super::{Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Provides, Settings, Transaction};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

/// Longest message over TCP.
const MESSAGE: u32 = 120 << 10;
/// Parts of a name.
const NAMES: usize = 16;

const AS_REQUEST: u8 = 10;
const TGS_REQUEST: u8 = 12;
const AP_REQUEST: u8 = 14;
const ERROR: u8 = 30;

/// How it is found and what its transactions have.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Krb5,
    tcp: true,
    udp: true,
    ports: &[88],
    patterns: &[],
    probe,
    on_ports_only: true,
    start,
    buffers: &[
        Provides::new(Buffer::Krb5Cname, Direction::Reply, 0),
        Provides::new(Buffer::Krb5Sname, Direction::Reply, 0),
        Provides::new(Buffer::Krb5Cname, Direction::Original, 0),
        Provides::new(Buffer::Krb5Sname, Direction::Original, 0),
    ],
    hooks: &[],
};

/// A message's tag, and its version behind it.
fn probe(_way: Direction, bytes: &[u8], tuple: &Tuple) -> Probe {
    let mut reader = Reader::new(bytes);
    if tuple.protocol == 6 {
        match reader.be32() {
            Some(4..=MESSAGE) => {}
            Some(_) => return Probe::No,
            None => return Probe::More,
        }
    }
    let Some(&tag) = reader.rest().first() else { return Probe::More };
    if !matches!(tag & 0x1f, 10..=22 | 25..=30) || tag & 0xe0 != 0x60 {
        return Probe::No;
    }
    // Tag and length of the message, of its sequence, of the version; the version is 5.
    let head = reader.rest().get(..24).unwrap_or(reader.rest());
    let version = [&b"\x02\x01\x05"[..]].iter().any(|mark| memchr::memmem::find(head, mark).is_some());
    match version {
        true => Probe::Yes,
        false if head.len() < 16 && tuple.protocol == 6 => Probe::More,
        false => Probe::No,
    }
}

fn start(_settings: &Settings, tuple: &Tuple) -> Box<dyn Parser> {
    Box::new(Kerberos { datagrams: tuple.protocol == 17, ..Kerberos::default() })
}

#[derive(Debug, Default)]
struct Kerberos {
    list: List<Message>,
    datagrams: bool,
    /// Kind of the last request, for the answer.
    asked: Option<u8>,
}

impl Parser for Kerberos {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Krb5
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        if self.datagrams {
            self.message(way, input.bytes, context.settings);
            return Fed::Used(input.bytes.len());
        }
        let mut used = 0;
        loop {
            let mut reader = Reader::new(input.bytes.get(used..).unwrap_or_default());
            let Some(length) = reader.be32() else { return Fed::Wait { used, need: 4 } };
            if length > MESSAGE {
                return Fed::Failed;
            }
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let Some(message) = reader.take(length) else { return Fed::Wait { used, need: length.saturating_add(4) } };
            self.message(way, message, context.settings);
            used += length + 4;
        }
    }

    fn transactions(&self) -> &dyn Transactions {
        &self.list
    }

    fn transactions_mut(&mut self) -> &mut dyn Transactions {
        &mut self.list
    }
}

impl Kerberos {
    fn message(&mut self, way: Direction, bytes: &[u8], settings: &Settings) {
        if self.list.count() >= settings.transactions_of(AppProtocol::Krb5) {
            return;
        }
        let Some(message) = Message::read(way, bytes, self.asked) else {
            self.list.anomaly(Anomaly("krb5.malformed_data"));
            return;
        };
        if way == Direction::Original {
            self.asked = Some(message.kind);
        }
        let weak = message.encryption.is_some_and(is_weak);
        self.list.push(message);
        if weak {
            self.list.anomaly(Anomaly("krb5.weak_encryption"));
        }
    }
}

/// All kinds of encryption but AES and Camellia are broken or too short (RFC 8429).
fn is_weak(kind: i64) -> bool {
    !matches!(kind, 17..=20 | 25 | 26)
}

#[derive(Debug, Default)]
struct Message {
    way: Direction,
    kind: u8,
    /// Kind of the request that an error answers.
    asked: Option<u8>,
    cname: Option<Vec<Vec<u8>>>,
    sname: Option<Vec<Vec<u8>>>,
    realm: Option<Vec<u8>>,
    encryption: Option<i64>,
    ticket_encryption: Option<i64>,
    error: Option<i64>,
}

/// Parts of a name (RFC 4120, 5.2.2).
fn name(content: &[u8]) -> Option<Vec<Vec<u8>>> {
    let sequence = asn1::find(content, SEQUENCE)?;
    let strings = asn1::find(asn1::find(sequence, 0xa1)?, SEQUENCE)?;
    Some(asn1::elements(strings).take(NAMES).map(|part| part.content.to_vec()).collect())
}

fn number(content: &[u8], tag: u8) -> Option<i64> {
    asn1::find(asn1::find(content, tag)?, asn1::INTEGER).and_then(asn1::integer)
}

/// A text in a field.
fn text(content: &[u8], tag: u8) -> Option<Vec<u8>> {
    let field = asn1::find(content, tag)?;
    asn1::elements(field).next().map(|text| text.content.to_vec())
}

impl Message {
    fn read(way: Direction, bytes: &[u8], asked: Option<u8>) -> Option<Message> {
        let outer = asn1::next(&mut Reader::new(bytes))?;
        let kind = outer.tag & 0x1f;
        let fields = asn1::find(outer.content, SEQUENCE)?;
        let mut message = Message { way, kind, ..Message::default() };
        let named = |fields: &[u8], tag| asn1::find(fields, tag).and_then(name);
        match kind {
            AS_REQUEST | TGS_REQUEST => {
                let body = asn1::find(asn1::find(fields, 0xa4)?, SEQUENCE)?;
                message.cname = named(body, 0xa1);
                message.realm = text(body, 0xa2);
                message.sname = named(body, 0xa3);
            }
            11 | 13 => {
                message.realm = text(fields, 0xa3);
                message.cname = named(fields, 0xa4);
                let ticket = asn1::find(asn1::find(fields, 0xa5)?, 0x61)?;
                let ticket = asn1::find(ticket, SEQUENCE)?;
                message.sname = named(ticket, 0xa2);
                message.ticket_encryption =
                    asn1::find(asn1::find(ticket, 0xa3)?, SEQUENCE).and_then(|data| number(data, 0xa0));
                message.encryption =
                    asn1::find(asn1::find(fields, 0xa6)?, SEQUENCE).and_then(|data| number(data, 0xa0));
            }
            ERROR => {
                message.error = number(fields, 0xa6);
                message.cname = named(fields, 0xa8);
                // The client's, not that of the service.
                message.realm = text(fields, 0xa7);
                message.sname = named(fields, 0xaa);
                message.asked = asked;
            }
            _ => {}
        }
        Some(message)
    }
}

fn joined(name: &[Vec<u8>]) -> Vec<u8> {
    name.join(&b'/')
}

fn kind_name(kind: u8) -> &'static str {
    match kind {
        10 => "KRB_AS_REQ",
        11 => "KRB_AS_REP",
        12 => "KRB_TGS_REQ",
        13 => "KRB_TGS_REP",
        14 => "KRB_AP_REQ",
        15 => "KRB_AP_REP",
        16 => "KRB_RESERVED16",
        17 => "KRB_RESERVED17",
        20 => "KRB_SAFE",
        21 => "KRB_PRIV",
        22 => "KRB_CRED",
        30 => "KRB_ERROR",
        _ => "UNKNOWN",
    }
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

    fn buffer<'t>(&'t self, buffer: Buffer, _way: Direction, nth: usize, _work: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        let name = match buffer {
            Buffer::Krb5Cname => self.cname.as_ref()?,
            Buffer::Krb5Sname => self.sname.as_ref()?,
            _ => return None,
        };
        name.get(nth).map(|part| &part[..])
    }

    fn number(&self, field: Field, _way: Direction, nth: usize) -> Option<u64> {
        match field {
            _ if nth > 0 => None,
            Field::Krb5MsgType => Some(u64::from(self.kind)),
            Field::Krb5ErrorCode => self.error.and_then(|code| u64::try_from(code).ok()),
            _ => None,
        }
    }

    fn special(&self, keyword: &str, argument: &str, _way: Direction) -> Option<bool> {
        match keyword {
            "krb5.ticket_encryption" => {
                let kind = self.ticket_encryption?;
                let (negated, argument) = match argument.strip_prefix('!') {
                    Some(rest) => (true, rest.trim()),
                    None => (false, argument),
                };
                Some(match argument {
                    "weak" => is_weak(kind) != negated,
                    list => {
                        negated
                            != list
                                .split([',', ' '])
                                .map(str::trim)
                                .any(|one| encryption_name(kind) == one || one.parse() == Ok(kind))
                    }
                })
            }
            _ => None,
        }
    }

    fn log(&self, json: &mut Json<'_>) {
        json.text("msg_type", kind_name(self.kind));
        if let Some(code) = self.error {
            json.text("failed_request", self.asked.map_or("UNKNOWN", kind_name));
            json.text("error_code", &error_name(code));
        }
        let texts = [("cname", &self.cname), ("sname", &self.sname)];
        for (key, name) in texts {
            match name {
                Some(name) => json.bytes(key, &joined(name)),
                None => json.text(key, "<empty>"),
            };
            if key == "cname" {
                match &self.realm {
                    Some(realm) => json.bytes("realm", realm),
                    None => json.text("realm", "<empty>"),
                };
            }
        }
        json.text("encryption", &self.encryption.map_or("<none>".to_owned(), encryption_name));
        json.flag("weak_encryption", self.encryption.is_some_and(is_weak));
        if let Some(kind) = self.ticket_encryption {
            json.text("ticket_encryption", &encryption_name(kind));
            json.flag("ticket_weak_encryption", is_weak(kind));
        }
    }
}

/// For whom a ticket is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ticket {
    /// The realm.
    pub realm: Vec<u8>,
    /// Parts of the service's name.
    pub names: Vec<Vec<u8>>,
}

/// The ticket in an AP-REQ that lies somewhere in a blob (GSS-API wraps it in several ways).
pub fn ticket_in(blob: &[u8]) -> Option<Ticket> {
    let tag = 0x60 | AP_REQUEST;
    let candidates = memchr::memchr_iter(tag, blob).take(64);
    candidates.filter_map(|at| ticket(blob.get(at..)?)).next()
}

fn ticket(bytes: &[u8]) -> Option<Ticket> {
    let outer = asn1::next(&mut Reader::new(bytes))?;
    let fields = asn1::find(outer.content, SEQUENCE)?;
    if number(fields, 0xa0) != Some(5) {
        return None;
    }
    let ticket = asn1::find(asn1::find(asn1::find(fields, 0xa3)?, 0x61)?, SEQUENCE)?;
    Some(Ticket { realm: text(ticket, 0xa1)?, names: asn1::find(ticket, 0xa2).and_then(name)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::exercise::{all_cuts, run, storm};

    fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let mut out = vec![tag];
        match content.len() {
            0..=127 => out.push(content.len() as u8),
            length => out.extend_from_slice(&[0x82, (length >> 8) as u8, length as u8]),
        }
        out.extend_from_slice(&content);
        out
    }

    fn int(value: u8) -> Vec<u8> {
        tlv(2, &[&[value]])
    }

    fn name_of(parts: &[&str]) -> Vec<u8> {
        let strings: Vec<Vec<u8>> = parts.iter().map(|part| tlv(0x1b, &[part.as_bytes()])).collect();
        let strings = tlv(0x30, &[&strings.concat()]);
        tlv(0x30, &[&tlv(0xa0, &[&int(1)]), &tlv(0xa1, &[&strings])])
    }

    fn request() -> Vec<u8> {
        let body = tlv(
            0x30,
            &[
                &tlv(0xa1, &[&name_of(&["me"])]),
                &tlv(0xa2, &[&tlv(0x1b, &[b"REALM"])]),
                &tlv(0xa3, &[&name_of(&["krbtgt", "REALM"])]),
                &tlv(0xa8, &[&tlv(0x30, &[&int(18), &int(23)])]),
            ],
        );
        tlv(0x6a, &[&tlv(0x30, &[&tlv(0xa1, &[&int(5)]), &tlv(0xa2, &[&int(10)]), &tlv(0xa4, &[&body])])])
    }

    fn sealed(kind: u8) -> Vec<u8> {
        tlv(0x30, &[&tlv(0xa0, &[&int(kind)]), &tlv(0xa2, &[&tlv(4, &[b"secret"])])])
    }

    fn ticket_bytes() -> Vec<u8> {
        tlv(
            0x61,
            &[&tlv(
                0x30,
                &[
                    &tlv(0xa0, &[&int(5)]),
                    &tlv(0xa1, &[&tlv(0x1b, &[b"REALM"])]),
                    &tlv(0xa2, &[&name_of(&["cifs", "host"])]),
                    &tlv(0xa3, &[&sealed(23)]),
                ],
            )],
        )
    }

    fn reply() -> Vec<u8> {
        tlv(
            0x6b,
            &[&tlv(
                0x30,
                &[
                    &tlv(0xa0, &[&int(5)]),
                    &tlv(0xa1, &[&int(11)]),
                    &tlv(0xa3, &[&tlv(0x1b, &[b"REALM"])]),
                    &tlv(0xa4, &[&name_of(&["me"])]),
                    &tlv(0xa5, &[&ticket_bytes()]),
                    &tlv(0xa6, &[&sealed(18)]),
                ],
            )],
        )
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        [&(message.len() as u32).to_be_bytes()[..], message].concat()
    }

    #[test]
    fn messages_are_transactions() {
        let realm = tlv(0x1b, &[b"SERVICE"]);
        let error = [&tlv(0xa0, &[&int(5)])[..], &tlv(0xa6, &[&int(25)]), &tlv(0xa9, &[&realm])].concat();
        let error = tlv(0x7e, &[&tlv(0x30, &[&error])]);
        let (request, reply, error) = (framed(&request()), framed(&reply()), framed(&error));
        let script = [
            (Direction::Original, &request[..]),
            (Direction::Reply, &error[..]),
            (Direction::Original, &request[..]),
            (Direction::Reply, &reply[..]),
        ];
        let shown = all_cuts(start, &Settings::default(), &script);
        let lines: Vec<_> = shown.lines().collect();
        assert!(
            lines[0].contains(r#""msg_type":"KRB_AS_REQ","cname":"me","realm":"REALM","sname":"krbtgt/REALM""#),
            "{shown}"
        );
        assert!(lines[1].contains(r#""realm":"<empty>""#), "{shown}");
        assert!(
            lines[1].contains(r#""failed_request":"KRB_AS_REQ","error_code":"KDC_ERR_PREAUTH_REQUIRED""#),
            "{shown}"
        );
        assert!(lines[3].contains(r#""sname":"cifs/host","encryption":"aes256-cts-hmac-sha1-96","weak_encryption":false,"ticket_encryption":"rc4-hmac","ticket_weak_encryption":true"#), "{shown}");
        let talk = run(start, &Settings::default(), &script, 0);
        assert_eq!(talk.number(3, Field::Krb5MsgType, Direction::Reply, 0), Some(11));
        let list = talk.parser.transactions();
        let encrypts = |how| list.get(3).unwrap().1.special("krb5.ticket_encryption", how, Direction::Reply);
        assert_eq!([encrypts("weak"), encrypts("!weak")], [Some(true), Some(false)]);
        assert_eq!([encrypts("18 23"), encrypts("!18,23")], [Some(true), Some(false)]);
        assert_eq!(talk.number(1, Field::Krb5ErrorCode, Direction::Reply, 0), Some(25));
        assert_eq!(talk.value(3, Buffer::Krb5Sname, Direction::Reply, 1).as_deref(), Some(&b"host"[..]));
        storm(start, &Settings::default(), &script, 3000);
    }

    #[test]
    fn a_ticket_is_found_in_a_blob() {
        let request = tlv(
            0x6e,
            &[&tlv(0x30, &[&tlv(0xa0, &[&int(5)]), &tlv(0xa1, &[&int(14)]), &tlv(0xa3, &[&ticket_bytes()])])],
        );
        let blob = [&b"\x60\x82spnego n"[..], &request].concat();
        let ticket = ticket_in(&blob).unwrap();
        assert_eq!((&ticket.realm[..], ticket.names.len()), (&b"REALM"[..], 2));
        assert_eq!(ticket_in(b"nnnnn"), None);
    }

    #[test]
    fn probes_look_for_the_version() {
        let (tcp, udp) = (crate::app::exercise::tuple(6), crate::app::exercise::tuple(17));
        assert_eq!(probe(Direction::Original, &request(), &udp), Probe::Yes);
        assert_eq!(probe(Direction::Original, &framed(&request()), &tcp), Probe::Yes);
        assert_eq!(probe(Direction::Original, b"\0\0", &tcp), Probe::More);
        assert_eq!(probe(Direction::Original, b"GET / HTTP/1.1\r\n", &tcp), Probe::No);
    }
}
