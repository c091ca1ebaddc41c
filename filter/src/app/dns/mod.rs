//! DNS over UDP and TCP (RFC 1035), multicast DNS (RFC 6762), LLMNR (RFC 4795).
//!
//! Each message is a transaction of its own, in its direction: questions and answers are not paired. Over TCP each message
//! has a length before it, and the parser waits until it is there whole (64 KiB at most).

use std::ops::Deref;
use std::sync::OnceLock;

use smallvec::SmallVec;
use weir_ids_rules::{AppProtocol, Buffer, Field};

use super::read::Reader;
use super::{Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Provides, Transaction, Transactions};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

mod log;
mod message;
#[cfg(test)]
mod tests;
mod types;

use message::{Data, Header, Message, Outline, Record, Text};

/// What is found odd, as rules name it after the protocol's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Odd {
    MalformedData,
    NotARequest,
    NotAResponse,
    ZFlagSet,
    InvalidOpcode,
    NameTooLong,
    InfiniteLoop,
    TooManyLabels,
    InvalidAdditionals,
    InvalidAuthorities,
}

macro_rules! names {
    ($odd:expr, $protocol:literal) => {
        match $odd {
            Odd::MalformedData => concat!($protocol, ".malformed_data"),
            Odd::NotARequest => concat!($protocol, ".not_a_request"),
            Odd::NotAResponse => concat!($protocol, ".not_a_response"),
            Odd::ZFlagSet => concat!($protocol, ".z_flag_set"),
            Odd::InvalidOpcode => concat!($protocol, ".invalid_opcode"),
            Odd::NameTooLong => concat!($protocol, ".name_too_long"),
            Odd::InfiniteLoop => concat!($protocol, ".infinite_loop"),
            Odd::TooManyLabels => concat!($protocol, ".too_many_labels"),
            Odd::InvalidAdditionals => concat!($protocol, ".invalid_additionals"),
            Odd::InvalidAuthorities => concat!($protocol, ".invalid_authorities"),
        }
    };
}

impl Odd {
    fn anomaly(self, protocol: AppProtocol) -> Anomaly {
        Anomaly(match protocol {
            AppProtocol::Mdns => names!(self, "mdns"),
            AppProtocol::Llmnr => names!(self, "llmnr"),
            _ => names!(self, "dns"),
        })
    }
}

/// Bytes of a message that are kept without a place of their own.
const SHORT: usize = 96;

/// One message.
#[derive(Debug)]
pub struct Exchange<'m> {
    protocol: AppProtocol,
    way: Direction,
    number: u64,
    outline: Outline,
    bytes: Bytes<'m>,
    /// What it says, read when that is first asked for.
    said: OnceLock<Box<Said>>,
}

/// The bytes of a message.
#[derive(Debug)]
enum Bytes<'m> {
    Kept(SmallVec<[u8; SHORT]>),
    Lent(&'m [u8]),
}

impl Deref for Bytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Kept(bytes) => bytes,
            Bytes::Lent(bytes) => bytes,
        }
    }
}

/// The parts of a message.
#[derive(Debug, Default)]
struct Said {
    message: Message,
    /// Names of an answer: of its questions, of its records and in their data. Gathered when they are first asked for.
    response_names: OnceLock<Names>,
}

impl Exchange<'_> {
    fn new(protocol: AppProtocol, way: Direction, number: u64, (outline, bytes): (Outline, &[u8])) -> Self {
        let bytes = Bytes::Kept(SmallVec::from_slice(bytes));
        Exchange { protocol, way, number, outline, bytes, said: OnceLock::new() }
    }

    fn said(&self) -> &Said {
        self.said.get_or_init(|| {
            // What could be read through can be read.
            let message = Message::read(&self.bytes).unwrap_or_default();
            Box::new(Said { message, ..Said::default() })
        })
    }

    fn response_name(&self, nth: usize) -> Option<&[u8]> {
        if !self.is_response() {
            return None;
        }
        let said = self.said();
        let names = said.response_names.get_or_init(|| response_names(&said.message));
        names.get(nth).map(|&name| said.message.text(name))
    }

    /// It answers. Among many listeners the message tells, otherwise its direction.
    fn is_response(&self) -> bool {
        if multicast(self.protocol) { self.outline.header.is_response() } else { self.way == Direction::Reply }
    }

    fn section(&self, nth: usize, at: usize) -> Option<&[u8]> {
        // Records are asked for by few rules, and most messages have none in most sections.
        self.outline.header.counts.get(nth + 1).filter(|&&count| count > 0)?;
        let message = &self.said().message;
        let record = message.sections.get(nth)?.get(at)?;
        Some(message.text(record.name))
    }

    /// The name of a question. That of the first is put into `work` alone, since it is asked for of every question.
    fn question<'t>(&'t self, at: usize, work: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        if at >= usize::from(self.outline.header.counts[0]) {
            return None;
        }
        if at == 0 && self.said.get().is_none() {
            message::first_name(&self.bytes, work)?;
            return Some(work);
        }
        let message = &self.said().message;
        message.questions.get(at).map(|question| message.text(question.name))
    }
}

/// Names of an answer; most have few.
type Names = SmallVec<[Text; 6]>;

fn response_names(message: &Message) -> Names {
    let questions = message.questions.iter().map(|question| question.name);
    let records = message.sections.iter().flatten().flat_map(|record: &Record| {
        let said = match record.data {
            Data::Name(name) => Some(name),
            Data::Soa { mname, .. } => Some(mname),
            Data::Srv { target, .. } => Some(target),
            Data::Address(_) | Data::Bytes(_) | Data::Sshfp { .. } | Data::Options(_) | Data::Other => None,
        };
        [Some(record.name), said].into_iter().flatten()
    });
    questions.chain(records).collect()
}

/// What came of a message's bytes.
enum Outcome {
    Message(Outline),
    /// Not a DNS header: passed over in a datagram, the end of a stream.
    NoHeader,
    Refused(Odd),
}

fn read(bytes: &[u8], way: Direction, protocol: AppProtocol) -> Outcome {
    let mut reader = Reader::new(bytes);
    let Some(header) = Header::read(&mut reader, bytes.len()) else { return Outcome::NoHeader };
    match Outline::read(header, reader, bytes) {
        None => Outcome::Refused(Odd::MalformedData),
        Some(_) if !multicast(protocol) && way == Direction::Original && header.is_response() => {
            Outcome::Refused(Odd::NotARequest)
        }
        Some(outline) => Outcome::Message(outline),
    }
}

/// Questions and answers go the same way, to many.
const fn multicast(protocol: AppProtocol) -> bool {
    matches!(protocol, AppProtocol::Mdns | AppProtocol::Llmnr)
}

/// What is odd in a message that could be read.
fn oddities(outline: &Outline, way: Direction, protocol: AppProtocol) -> impl Iterator<Item = Odd> + use<> {
    let Outline { header, odd } = *outline;
    [
        (!multicast(protocol) && way == Direction::Reply && !header.is_response(), Odd::NotAResponse),
        (header.flags & 0x40 != 0, Odd::ZFlagSet),
        (header.opcode() >= 7, Odd::InvalidOpcode),
        (odd.name_too_long, Odd::NameTooLong),
        (odd.infinite_loop, Odd::InfiniteLoop),
        (odd.too_many_labels, Odd::TooManyLabels),
        (odd.invalid_additionals, Odd::InvalidAdditionals),
        (odd.invalid_authorities, Odd::InvalidAuthorities),
    ]
    .into_iter()
    .filter_map(|(is, odd)| is.then_some(odd))
}

/// A DNS message that came in another protocol (DNS over HTTPS); `None` where it is none.
pub(super) fn carried(bytes: &[u8], way: Direction, number: u64) -> Option<Exchange<'static>> {
    match read(bytes, way, AppProtocol::Dns) {
        Outcome::Message(outline) => Some(Exchange::new(AppProtocol::Dns, way, number, (outline, bytes))),
        Outcome::NoHeader | Outcome::Refused(_) => None,
    }
}

/// A message of DNS that came in a datagram and is not odd, for as long as that is at hand.
pub fn unkept(bytes: &[u8], way: Direction) -> Option<Exchange<'_>> {
    let protocol = AppProtocol::Dns;
    let Outcome::Message(outline) = read(bytes, way, protocol) else { return None };
    let is_odd = oddities(&outline, way, protocol).next().is_some();
    (!is_odd).then(|| Exchange { protocol, way, number: 0, outline, bytes: Bytes::Lent(bytes), said: OnceLock::new() })
}

/// State of one flow.
#[derive(Debug)]
struct Dns {
    protocol: AppProtocol,
    stream: bool,
    list: List<Exchange<'static>>,
    made: u64,
    lost: [bool; 2],
}

impl Dns {
    fn boxed(protocol: AppProtocol, tuple: &Tuple) -> Box<dyn Parser> {
        let stream = tuple.protocol == TCP;
        Box::new(Dns { protocol, stream, list: List::default(), made: 0, lost: [false; 2] })
    }

    /// Takes one message. `false`: the flow cannot go on.
    fn message(&mut self, bytes: &[u8], way: Direction, context: &Context<'_>) -> bool {
        match read(bytes, way, self.protocol) {
            Outcome::NoHeader => !self.stream,
            Outcome::Refused(odd) => {
                self.list.anomaly(odd.anomaly(self.protocol));
                false
            }
            Outcome::Message(outline) => {
                if self.list.count() >= context.settings.transactions_of(self.protocol) {
                    return false;
                }
                let protocol = self.protocol;
                self.list.push(Exchange::new(protocol, way, self.made, (outline, bytes)));
                self.made += 1;
                for odd in oddities(&outline, way, protocol) {
                    self.list.anomaly(odd.anomaly(protocol));
                }
                true
            }
        }
    }

    fn stream(&mut self, way: Direction, bytes: &[u8], context: &Context<'_>) -> Fed {
        let mut reader = Reader::new(bytes);
        if std::mem::take(&mut self.lost[way as usize]) {
            match probe_stream(way, bytes, context.tuple) {
                Probe::Yes | Probe::Reversed | Probe::More => {}
                Probe::No => {
                    self.lost[way as usize] = true;
                    return Fed::Used(bytes.len());
                }
            }
        }
        loop {
            let used = bytes.len() - reader.len();
            let Some(length) = reader.be16() else { return Fed::Wait { used, need: 2 } };
            let length = usize::from(length);
            match reader.take(length) {
                Some([]) => {}
                Some(message) if self.message(message, way, context) => {}
                Some(_) => return Fed::Failed,
                None => return Fed::Wait { used, need: length + 2 },
            }
            if reader.is_empty() {
                return Fed::Used(bytes.len());
            }
        }
    }
}

impl Parser for Dns {
    fn protocol(&self) -> AppProtocol {
        self.protocol
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        if input.bytes.is_empty() {
            Fed::Used(0)
        } else if self.stream {
            self.stream(way, input.bytes, context)
        } else if self.message(input.bytes, way, context) {
            Fed::Used(input.bytes.len())
        } else {
            Fed::Failed
        }
    }

    fn gap(&mut self, way: Direction, _bytes: u64, _context: &mut Context<'_>) -> bool {
        self.lost[way as usize] = true;
        true
    }

    fn passed(&mut self, transactions: u64) {
        self.made += transactions;
        self.list.pass(transactions);
    }

    fn transactions(&self) -> &dyn Transactions {
        &self.list
    }

    fn transactions_mut(&mut self) -> &mut dyn Transactions {
        &mut self.list
    }
}

impl Transaction for Exchange<'_> {
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
        match buffer {
            Buffer::DnsQuery if way == Direction::Original => self.question(nth, work),
            Buffer::DnsQueriesName | Buffer::MdnsQueriesName => self.question(nth, work),
            Buffer::DnsAnswersName | Buffer::MdnsAnswersName => self.section(0, nth),
            Buffer::DnsAuthoritiesName | Buffer::MdnsAuthoritiesName => self.section(1, nth),
            Buffer::DnsAdditionalsName | Buffer::MdnsAdditionalsName => self.section(2, nth),
            Buffer::DnsResponseName | Buffer::MdnsResponseName => self.response_name(nth),
            _ => None,
        }
    }

    fn number(&self, field: Field, way: Direction, nth: usize) -> Option<u64> {
        if way != self.way {
            return None;
        }
        let once = |number: u16| (nth == 0).then_some(u64::from(number));
        match field {
            Field::DnsOpcode => once(self.outline.header.opcode()),
            Field::DnsRcode => once(self.outline.header.rcode()),
            Field::DnsRrtype => match way {
                Direction::Original => self.said().message.questions.get(nth).map(|asked| asked.rrtype.into()),
                Direction::Reply => self.said().message.sections[0].get(nth).map(|record| record.rrtype.into()),
            },
            _ => None,
        }
    }

    fn log(&self, json: &mut Json<'_>) {
        let kind = if self.is_response() { "response" } else { "request" };
        let message = &self.said().message;
        if self.protocol == AppProtocol::Mdns {
            json.text("type", kind).number("id", message.header.id);
        } else {
            json.number("version", 3).text("type", kind);
            json.number("tx_id", self.number).number("id", message.header.id);
        }
        log::flags(message, json);
        log::body(message, json);
    }

    fn is_logged(&self) -> bool {
        // EVE has no event for LLMNR.
        self.protocol != AppProtocol::Llmnr
    }
}

const TCP: u8 = 6;

fn probe(way: Direction, bytes: &[u8], tuple: &Tuple) -> Probe {
    if tuple.protocol == TCP {
        return probe_stream(way, bytes, tuple);
    }
    probe_message(way, bytes, bytes.len())
}

fn probe_stream(way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    let mut reader = Reader::new(bytes);
    match reader.be16() {
        Some(length) => probe_message(way, reader.rest(), usize::from(length)),
        None => Probe::More,
    }
}

/// `length` is that of the message, of which `bytes` may be the beginning.
fn probe_message(way: Direction, bytes: &[u8], length: usize) -> Probe {
    if length < 12 {
        return Probe::No;
    }
    let bytes = bytes.get(..length).unwrap_or(bytes);
    let mut reader = Reader::new(bytes);
    let Some(header) = Header::read(&mut reader, length) else {
        return if bytes.len() < 12 { Probe::More } else { Probe::No };
    };
    let expected = (way == Direction::Reply) == header.is_response();
    if expected { Probe::Yes } else { Probe::Reversed }
}

fn probe_multicast(_way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    match Header::read(&mut Reader::new(bytes), bytes.len()) {
        Some(_) => Probe::Yes,
        None => Probe::No,
    }
}

const BOTH: [Direction; 2] = [Direction::Original, Direction::Reply];

/// The names of both directions, and those of one alone.
const BUFFERS: &[Provides] = &[
    Provides::new(Buffer::DnsQuery, BOTH[0], 1),
    Provides::new(Buffer::DnsQueriesName, BOTH[0], 1),
    Provides::new(Buffer::DnsQueriesName, BOTH[1], 1),
    Provides::new(Buffer::DnsAnswersName, BOTH[0], 1),
    Provides::new(Buffer::DnsAnswersName, BOTH[1], 1),
    Provides::new(Buffer::DnsAuthoritiesName, BOTH[0], 1),
    Provides::new(Buffer::DnsAuthoritiesName, BOTH[1], 1),
    Provides::new(Buffer::DnsAdditionalsName, BOTH[0], 1),
    Provides::new(Buffer::DnsAdditionalsName, BOTH[1], 1),
    Provides::new(Buffer::DnsResponseName, BOTH[1], 1),
];

const MDNS_BUFFERS: &[Provides] = &[
    Provides::new(Buffer::MdnsQueriesName, BOTH[0], 1),
    Provides::new(Buffer::MdnsQueriesName, BOTH[1], 1),
    Provides::new(Buffer::MdnsAnswersName, BOTH[0], 1),
    Provides::new(Buffer::MdnsAnswersName, BOTH[1], 1),
    Provides::new(Buffer::MdnsAuthoritiesName, BOTH[0], 1),
    Provides::new(Buffer::MdnsAuthoritiesName, BOTH[1], 1),
    Provides::new(Buffer::MdnsAdditionalsName, BOTH[0], 1),
    Provides::new(Buffer::MdnsAdditionalsName, BOTH[1], 1),
    Provides::new(Buffer::MdnsResponseName, BOTH[0], 1),
    Provides::new(Buffer::MdnsResponseName, BOTH[1], 1),
];

const DNS: Description = Description {
    protocol: AppProtocol::Dns,
    tcp: true,
    udp: true,
    ports: &[53],
    patterns: &[],
    probe,
    on_ports_only: true,
    start: |_, tuple| Dns::boxed(AppProtocol::Dns, tuple),
    buffers: BUFFERS,
    hooks: &[("request_complete", Direction::Original, 1), ("response_complete", Direction::Reply, 1)],
};

/// DNS.
pub const DESCRIPTION: Description = DNS;

/// Multicast DNS.
pub const MDNS: Description = Description {
    protocol: AppProtocol::Mdns,
    tcp: false,
    ports: &[5353],
    probe: probe_multicast,
    start: |_, tuple| Dns::boxed(AppProtocol::Mdns, tuple),
    buffers: MDNS_BUFFERS,
    hooks: &[],
    ..DNS
};

/// Link-local multicast name resolution.
pub const LLMNR: Description = Description {
    protocol: AppProtocol::Llmnr,
    tcp: false,
    ports: &[5355],
    probe: probe_multicast,
    start: |_, tuple| Dns::boxed(AppProtocol::Llmnr, tuple),
    hooks: &[],
    ..DNS
};
