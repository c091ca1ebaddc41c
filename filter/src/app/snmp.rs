//! SNMP 1, 2c and 3 (RFC 1157, RFC 3416, RFC 3412): community or user, and the kind of what is asked.
//!
//! Each message is a transaction. Of its variables [`VARIABLES`] names are told.

use weir_ids_rules::{AppProtocol, Buffer, Field};

use super::read::Reader;
use super::{
    Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Provides, Settings, Transaction, Transactions,
};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

/// Variables of a message.
const VARIABLES: usize = 64;

/// A message.
#[derive(Debug, Default)]
pub struct Message {
    way: Direction,
    /// 1, 2 or 3.
    version: u8,
    community: Option<Vec<u8>>,
    user: Option<Vec<u8>>,
    pdu: Option<u8>,
    error: Option<u64>,
    variables: Vec<String>,
    trap: Option<(String, u64, Vec<u8>)>,
    encrypted: bool,
}

#[derive(Debug, Default)]
struct Snmp {
    list: List<Message>,
    /// That of the first message.
    version: Option<u8>,
}

fn start(_settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    Box::new(Snmp::default())
}

/// Tags of BER.
mod tag {
    pub const INTEGER: u8 = 0x02;
    pub const OCTETS: u8 = 0x04;
    pub const OBJECT: u8 = 0x06;
    pub const SEQUENCE: u8 = 0x30;
}

/// The next element: its tag and its content.
fn element<'b>(reader: &mut Reader<'b>) -> Option<(u8, &'b [u8])> {
    let (tag, first) = (reader.u8()?, reader.u8()?);
    let length = match first {
        0..=0x7f => usize::from(first),
        0x81..=0x84 => {
            let bytes = reader.take(usize::from(first & 0x7f))?;
            bytes.iter().fold(0usize, |length, &byte| length << 8 | usize::from(byte))
        }
        _ => return None,
    };
    Some((tag, reader.take(length)?))
}

fn tagged<'b>(reader: &mut Reader<'b>, wanted: u8) -> Option<&'b [u8]> {
    element(reader).filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
}

fn number(reader: &mut Reader<'_>) -> Option<u64> {
    let bytes = tagged(reader, tag::INTEGER)?;
    (bytes.len() <= 8).then(|| bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

/// An object identifier in dots.
fn object(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut value = 0u64;
    let mut first = true;
    for &byte in bytes.iter().take(128) {
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if std::mem::take(&mut first) {
            let top = (value / 40).min(2);
            out = format!("{top}.{}", value - top * 40);
        } else {
            out.push_str(&format!(".{value}"));
        }
        value = 0;
    }
    out
}

impl Message {
    fn read(bytes: &[u8], way: Direction) -> Option<Message> {
        let mut outer = Reader::new(bytes);
        let mut reader = Reader::new(tagged(&mut outer, tag::SEQUENCE)?);
        let mut message = Message { way, ..Message::default() };
        match number(&mut reader)? {
            0 => message.version = 1,
            1 => message.version = 2,
            3 => message.version = 3,
            _ => return None,
        }
        if message.version == 3 {
            message.third(&mut reader)?;
        } else {
            message.community = Some(tagged(&mut reader, tag::OCTETS)?.to_vec());
            message.pdu(&mut reader)?;
        }
        Some(message)
    }

    /// Version 3: header, security parameters with the user, scoped PDU or its encrypted form.
    fn third(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        tagged(reader, tag::SEQUENCE)?;
        let mut security = Reader::new(tagged(reader, tag::OCTETS)?);
        if let Some(content) = tagged(&mut security, tag::SEQUENCE) {
            let mut content = Reader::new(content);
            let engine = tagged(&mut content, tag::OCTETS);
            let clock = (number(&mut content), number(&mut content));
            if let (Some(_), (Some(_), Some(_))) = (engine, clock) {
                self.user = tagged(&mut content, tag::OCTETS).map(<[u8]>::to_vec);
            }
        }
        match element(reader)? {
            (tag::SEQUENCE, scoped) => {
                let mut scoped = Reader::new(scoped);
                tagged(&mut scoped, tag::OCTETS)?;
                tagged(&mut scoped, tag::OCTETS)?;
                self.pdu(&mut scoped)
            }
            _ => {
                self.encrypted = true;
                Some(())
            }
        }
    }

    fn pdu(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let (kind, content) = element(reader)?;
        let kind = kind.checked_sub(0xa0).filter(|kind| *kind <= 8)?;
        self.pdu = Some(kind);
        let mut content = Reader::new(content);
        if kind == 4 {
            let enterprise = object(tagged(&mut content, tag::OBJECT)?);
            let (_, address) = element(&mut content)?;
            let generic = number(&mut content)?;
            self.trap = Some((enterprise, generic, address.to_vec()));
            element(&mut content)?;
            element(&mut content)?;
        } else {
            number(&mut content)?;
            self.error = number(&mut content);
            number(&mut content)?;
        }
        let mut list = Reader::new(tagged(&mut content, tag::SEQUENCE)?);
        while let Some(pair) = tagged(&mut list, tag::SEQUENCE) {
            if self.variables.len() < VARIABLES {
                self.variables.push(object(tagged(&mut Reader::new(pair), tag::OBJECT)?));
            }
        }
        Some(())
    }
}

impl Parser for Snmp {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Snmp
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        if input.bytes.is_empty() {
            return Fed::Used(0);
        }
        match Message::read(input.bytes, way) {
            Some(mut message) if self.list.count() < context.settings.transactions_of(AppProtocol::Snmp) => {
                let version = *self.version.get_or_insert(message.version);
                let other = std::mem::replace(&mut message.version, version) != version;
                self.list.push(message);
                if other {
                    self.list.anomaly(Anomaly("snmp.version_mismatch"));
                }
                Fed::Used(input.bytes.len())
            }
            Some(_) => Fed::Failed,
            None => {
                self.list.anomaly(Anomaly("snmp.malformed_data"));
                Fed::Failed
            }
        }
    }

    fn transactions(&self) -> &dyn Transactions {
        &self.list
    }

    fn transactions_mut(&mut self) -> &mut dyn Transactions {
        &mut self.list
    }
}

const KINDS: [&str; 9] = [
    "get_request",
    "get_next_request",
    "response",
    "set_request",
    "trap_v1",
    "get_bulk_request",
    "inform_request",
    "trap_v2",
    "report",
];

/// RFC 1157, 4.1.1.
const ERRORS: [&str; 6] = ["NoError", "TooBig", "NoSuchName", "BadValue", "ReadOnly", "GenErr"];

/// RFC 1157, 4.1.6.
const TRAPS: [&str; 7] =
    ["coldStart", "warmStart", "linkDown", "linkUp", "authenticationFailure", "egpNeighborLoss", "enterpriseSpecific"];

/// The name of a number, or the number with what it is of.
fn name_of(names: &[&str], number: u64, of: &str) -> String {
    let name = usize::try_from(number).ok().and_then(|at| names.get(at));
    name.map_or_else(|| format!("{of}({number} / 0x{number:x})"), |name| (*name).to_owned())
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

    fn buffer<'t>(&'t self, buffer: Buffer, way: Direction, nth: usize, _: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        match buffer {
            _ if nth > 0 || way != self.way => None,
            Buffer::SnmpCommunity => self.community.as_deref(),
            Buffer::SnmpUsm => self.user.as_deref(),
            _ => None,
        }
    }

    fn number(&self, field: Field, way: Direction, nth: usize) -> Option<u64> {
        match field {
            _ if nth > 0 || way != self.way => None,
            Field::SnmpVersion => Some(self.version.into()),
            Field::SnmpPduType => self.pdu.map(u64::from),
            Field::SnmpTrapType => self.trap.as_ref().map(|(_, generic, _)| *generic),
            _ => None,
        }
    }

    fn log(&self, json: &mut Json<'_>) {
        json.number("version", self.version);
        if self.encrypted {
            json.text("pdu_type", "encrypted");
        } else if let Some(name) = self.pdu.and_then(|kind| KINDS.get(usize::from(kind))) {
            json.text("pdu_type", name);
        }
        if let Some(error) = self.error.filter(|&error| error != 0) {
            json.text("error", &name_of(&ERRORS, error, "ErrorStatus"));
        }
        if let Some((enterprise, generic, address)) = &self.trap {
            json.text("trap_type", &name_of(&TRAPS, *generic, "TrapType")).text("trap_oid", enterprise);
            if let Ok(address) = <[u8; 4]>::try_from(address.as_slice()) {
                json.text("trap_address", &std::net::Ipv4Addr::from(address).to_string());
            }
        }
        if !self.variables.is_empty() {
            json.array("vars", |list| {
                self.variables.iter().for_each(|name| {
                    list.item_bytes(name.as_bytes());
                });
            });
        }
        if let Some(community) = &self.community {
            json.bytes("community", community);
        }
        if let Some(user) = &self.user {
            json.bytes("usm", user);
        }
    }
}

fn probe(_way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    if Message::read(bytes, Direction::Original).is_some() { Probe::Yes } else { Probe::No }
}

macro_rules! both {
    ($($buffer:ident)*) => { &[
        $(Provides::new(Buffer::$buffer, Direction::Original, 1), Provides::new(Buffer::$buffer, Direction::Reply, 1)),*
    ] };
}

/// SNMP.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Snmp,
    tcp: false,
    udp: true,
    ports: &[161, 162],
    patterns: &[],
    probe,
    on_ports_only: true,
    start,
    buffers: both!(SnmpCommunity SnmpUsm),
    hooks: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::exercise::{run, storm};

    const GET: &[u8] = b"\x30\x26\x02\x01\x01\x04\x06public\xa0\x19\x02\x01\x05\x02\x01\x00\x02\x01\x00\
        \x30\x0e\x30\x0c\x06\x08\x2b\x06\x01\x02\x01\x01\x01\x00\x05\x00";

    #[test]
    fn a_request_is_told() {
        let talk = run(start, &Settings::default(), &[(Direction::Original, GET)], 0);
        assert_eq!(talk.value(0, Buffer::SnmpCommunity, Direction::Original, 0), Some(b"public".to_vec()));
        assert_eq!(talk.number(0, Field::SnmpVersion, Direction::Original, 0), Some(2));
        let told =
            "{\"version\":2,\"pdu_type\":\"get_request\",\"vars\":[\"1.3.6.1.2.1.1.1.0\"],\"community\":\"public\"}";
        assert!(talk.shown().starts_with(told), "{}", talk.shown());
    }

    #[test]
    fn errors_and_traps_have_names() {
        let mut failed = GET.to_vec();
        (failed[13], failed[20]) = (0xa2, 2);
        let shown = run(start, &Settings::default(), &[(Direction::Reply, &failed)], 0).shown();
        assert!(shown.contains("\"pdu_type\":\"response\",\"error\":\"NoSuchName\""), "{shown}");
        let trap = b"\x30\x23\x02\x01\0\x04\x06public\xa4\x16\x06\x03\x2b\x06\x01\x40\x04\x7f\0\0\x01\x02\x01\x03\x02\x01\0\x43\x01\0\x30\0";
        let talk = run(start, &Settings::default(), &[(Direction::Original, trap)], 0);
        assert_eq!(talk.number(0, Field::SnmpTrapType, Direction::Original, 0), Some(3));
        assert_eq!(name_of(&TRAPS, 3, "TrapType"), "linkUp");
        assert_eq!(name_of(&TRAPS, 9, "TrapType"), "TrapType(9 / 0x9)");
    }

    #[test]
    fn a_flow_has_the_version_of_its_first_message() {
        let mut other = GET.to_vec();
        let at = other.windows(3).position(|three| three[..2] == [2, 1]).unwrap() + 2;
        other[at] ^= 1;
        let shown = |second: &[u8]| {
            let script = [(Direction::Original, GET), (Direction::Reply, second)];
            run(start, &Settings::default(), &script, 0).shown()
        };
        assert!(!shown(GET).contains("version_mismatch"));
        let told = shown(&other);
        assert!(told.contains("snmp.version_mismatch"), "{told}");
        let versions: Vec<&str> = told.lines().filter_map(|line| line.split(',').next()).collect();
        assert_eq!(versions[0], versions[1], "{told}");
    }

    #[test]
    fn storms_break_nothing() {
        storm(start, &Settings::default(), &[(Direction::Original, GET)], 3000);
    }
}
