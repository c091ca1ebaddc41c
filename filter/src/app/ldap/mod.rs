//! LDAP (RFC 4511) over TCP and UDP.
//!
//! A transaction is a request with its responses. After StartTLS was accepted, TLS follows.
//!
//! Limits: messages of at most [`MESSAGE`] bytes, [`RESPONSES`] responses to a request; lists and values in them are
//! kept as far as [`message`] says.

mod log;
mod message;
#[cfg(test)]
mod tests;

use weir_ids_rules::{AppProtocol, Buffer, Field};

use super::Transactions;
use super::asn1::{self, Length};
use super::{Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Provides, Settings, Transaction};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;
use message::{Body, Message, operation};

/// Longest message.
const MESSAGE: u64 = 120 << 10;
/// Responses kept of a request.
const RESPONSES: usize = 256;
/// The request that TLS follows (RFC 4511, 4.14).
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

/// How it is found and what its transactions have.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Ldap,
    tcp: true,
    udp: true,
    ports: &[389, 3268],
    patterns: &[],
    probe,
    on_ports_only: true,
    start,
    buffers: &[
        Provides::new(Buffer::LdapRequestDn, Direction::Original, 0),
        Provides::new(Buffer::LdapRequestAttributeType, Direction::Original, 0),
        Provides::new(Buffer::LdapResponsesDn, Direction::Reply, 1),
        Provides::new(Buffer::LdapResponsesMessage, Direction::Reply, 1),
        Provides::new(Buffer::LdapResponsesAttributeType, Direction::Reply, 1),
    ],
    hooks: &[],
};

fn probe(way: Direction, bytes: &[u8], tuple: &Tuple) -> Probe {
    match message::head(bytes) {
        message::Head::Operation(tag) if operation::is_known(tag) => {
            let side = if operation::is_request(tag) { Direction::Original } else { Direction::Reply };
            if side == way { Probe::Yes } else { Probe::Reversed }
        }
        message::Head::Operation(_) | message::Head::Other => Probe::No,
        message::Head::More if tuple.protocol == 6 => Probe::More,
        message::Head::More => Probe::No,
    }
}

fn start(_settings: &Settings, tuple: &Tuple) -> Box<dyn Parser> {
    Box::new(Ldap { datagrams: tuple.protocol == 17, ..Ldap::default() })
}

#[derive(Debug, Default)]
struct Ldap {
    list: List<Exchange>,
    datagrams: bool,
}

/// A request with its responses.
#[derive(Debug, Default)]
struct Exchange {
    request: Option<Message>,
    responses: Vec<Message>,
    done: bool,
}

impl Parser for Ldap {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Ldap
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        let mut used = 0;
        while let Some(rest) = input.bytes.get(used..).filter(|rest| !rest.is_empty()) {
            let whole = match asn1::length(rest) {
                Length::Whole(whole) if whole <= MESSAGE => usize::try_from(whole).unwrap_or(usize::MAX),
                Length::More => return self.short(Fed::Used(used), input.bytes.len()),
                Length::Whole(_) | Length::Unknown => {
                    self.list.anomaly(Anomaly("ldap.invalid_data"));
                    return Fed::Failed;
                }
            };
            let Some(bytes) = rest.get(..whole) else {
                return self.short(Fed::Wait { used, need: whole }, input.bytes.len());
            };
            let Some(message) = Message::read(bytes) else {
                self.list.anomaly(Anomaly("ldap.invalid_data"));
                return Fed::Failed;
            };
            used += whole;
            let tls = match way {
                Direction::Original => self.request(message, context.settings),
                Direction::Reply => self.response(message, context.settings),
            };
            if tls {
                return Fed::Upgrade { used, to: Some(AppProtocol::Tls) };
            }
        }
        Fed::Used(used)
    }

    fn transactions(&self) -> &dyn Transactions {
        &self.list
    }

    fn transactions_mut(&mut self) -> &mut dyn Transactions {
        &mut self.list
    }
}

impl Ldap {
    /// Bytes are missing: they come later, but not in a datagram.
    fn short(&mut self, wait: Fed, all: usize) -> Fed {
        if !self.datagrams {
            return wait;
        }
        self.list.anomaly(Anomaly("ldap.incomplete_data"));
        Fed::Used(all)
    }

    fn begin(&mut self, exchange: Exchange, settings: &Settings) {
        if self.list.count() >= settings.transactions_of(AppProtocol::Ldap)
            && let Some((mark, oldest)) = self.list.marked_mut().find(|(_, exchange)| !exchange.done)
        {
            oldest.done = true;
            mark.note(Anomaly("ldap.too_many_transactions"));
        }
        if self.list.count() < settings.transactions_of(AppProtocol::Ldap).saturating_mul(2) {
            self.list.push(exchange);
        }
    }

    fn request(&mut self, message: Message, settings: &Settings) -> bool {
        let done = matches!(message.operation, operation::UNBIND | operation::ABANDON);
        self.begin(Exchange { request: Some(message), responses: Vec::new(), done }, settings);
        false
    }

    /// A response; whether TLS follows it.
    fn response(&mut self, message: Message, settings: &Settings) -> bool {
        let done = operation::is_last_response(message.operation);
        let asked = |exchange: &Exchange| exchange.request.as_ref().is_some_and(|request| request.id == message.id);
        let Some(exchange) = self.list.iter_mut().rev().find(|exchange| asked(exchange)) else {
            let unasked = message.operation != operation::EXTENDED_RESPONSE;
            self.begin(Exchange { request: None, responses: vec![message], done: true }, settings);
            if unasked {
                self.list.anomaly(Anomaly("ldap.request_not_found"));
            }
            return false;
        };
        exchange.done |= done;
        let secure =
            matches!(&exchange.request, Some(Message { body: Body::Extended { name, .. }, .. }) if name == START_TLS);
        let tls = secure && message.code() == Some(0);
        if exchange.responses.len() < RESPONSES {
            exchange.responses.push(message);
        }
        tls
    }
}

impl Transaction for Exchange {
    fn progress(&self, _way: Direction) -> u8 {
        u8::from(self.done)
    }

    fn complete(&self, _way: Direction) -> u8 {
        1
    }

    fn buffer<'t>(&'t self, buffer: Buffer, _way: Direction, nth: usize, _work: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        let request = self.request.as_ref();
        match buffer {
            Buffer::LdapRequestDn if nth == 0 => request?.dn(),
            Buffer::LdapRequestAttributeType => request?.attribute(nth),
            Buffer::LdapResponsesDn => self.responses.iter().filter_map(Message::dn).nth(nth),
            Buffer::LdapResponsesMessage => self.responses.iter().filter_map(Message::diagnostic).nth(nth),
            Buffer::LdapResponsesAttributeType => {
                let mut nth = nth;
                for response in &self.responses {
                    let count = response.attributes();
                    if nth < count {
                        return response.attribute(nth);
                    }
                    nth -= count;
                }
                None
            }
            _ => None,
        }
    }

    fn number(&self, field: Field, way: Direction, nth: usize) -> Option<u64> {
        let asked = way == Direction::Original;
        match field {
            _ if asked != (field == Field::LdapRequestOperation) => None,
            Field::LdapRequestOperation if nth == 0 => {
                self.request.as_ref().map(|request| u64::from(request.operation))
            }
            Field::LdapResponsesOperation => self.responses.get(nth).map(|response| u64::from(response.operation)),
            Field::LdapResponsesCount if nth == 0 => Some(self.responses.len() as u64),
            Field::LdapResponsesResultCode => self.responses.iter().filter_map(Message::code).nth(nth),
            _ => None,
        }
    }

    fn log(&self, json: &mut Json<'_>) {
        if let Some(request) = &self.request {
            json.nested("request", |json| {
                json.number("message_id", request.id);
                log::write(request, json);
            });
        }
        if !self.responses.is_empty() {
            json.array("responses", |json| {
                for response in &self.responses {
                    json.item(|json| {
                        if self.request.is_none() {
                            json.number("message_id", response.id);
                        }
                        log::write(response, json);
                    });
                }
            });
        }
    }
}
