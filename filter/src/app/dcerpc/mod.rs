//! DCE/RPC over TCP (connection-oriented) and UDP (connectionless); C706, chapter 12. SMB uses the same records.
//!
//! One transaction is one call with its answer, or one bind with its answer. Fragments of a call are joined.
//!
//! Limits: a record has at most 64 KiB by its format, the data of a call [`call::STUB`] bytes, a flow
//! [`Settings::transactions`] calls and [`record::INTERFACES`] interfaces at a time; calls beyond are not followed.

pub(super) mod call;
pub(super) mod record;
#[cfg(test)]
pub(super) mod tests;
mod udp;

use std::sync::Arc;

use weir_ids_rules::{AppProtocol, Buffer, Field};

use super::{Context, Description, Fed, Input, List, Parser, Probe, Provides, Settings, Transaction, Transactions};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;
use call::{Call, Layout};
use record::{Header, Interface, Request, kind};

/// How it is found and what its transactions have.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Dcerpc,
    tcp: true,
    udp: true,
    ports: &[135],
    patterns: &[
        (Direction::Original, 0, b"\x05\x00"),
        (Direction::Reply, 0, b"\x05\x00"),
        (Direction::Original, 0, b"\x04\x00"),
        (Direction::Reply, 0, b"\x04\x00"),
        (Direction::Original, 0, b"\x04\x02"),
        (Direction::Reply, 0, b"\x04\x02"),
    ],
    probe,
    on_ports_only: true,
    start,
    buffers: &[
        Provides::new(Buffer::DcerpcStubData, Direction::Original, 1),
        Provides::new(Buffer::DcerpcStubData, Direction::Reply, 1),
    ],
    hooks: &[],
};

fn probe(way: Direction, bytes: &[u8], tuple: &Tuple) -> Probe {
    if tuple.protocol == 17 {
        return udp::probe(bytes);
    }
    if bytes.len() < record::HEADER {
        return if bytes.first().is_none_or(|&major| major == 5) { Probe::More } else { Probe::No };
    }
    match Header::read(bytes).filter(|header| header.kind <= kind::LAST) {
        Some(header) if header.is_from_client() == (way == Direction::Original) => Probe::Yes,
        Some(_) => Probe::Reversed,
        None => Probe::No,
    }
}

fn start(_settings: &Settings, tuple: &Tuple) -> Box<dyn Parser> {
    if tuple.protocol == 17 { udp::start() } else { Box::new(Dcerpc::default()) }
}

#[derive(Debug, Default)]
struct Dcerpc {
    list: List<Flowing>,
    interfaces: Arc<Vec<Interface>>,
    /// After a loss the next record is looked for.
    lost: [bool; 2],
}

/// A call on a connection of its own.
#[derive(Debug, Default)]
struct Flowing {
    call: Call,
    minor: u8,
    done: [bool; 2],
}

impl Parser for Dcerpc {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Dcerpc
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        let mut used = 0;
        while let Some(rest) = input.bytes.get(used..).filter(|rest| !rest.is_empty()) {
            let [asked, answered] = &mut self.lost;
            let lost = if way == Direction::Original { asked } else { answered };
            if *lost {
                let Some(at) = memchr::memmem::find(rest, b"\x05\x00") else {
                    return Fed::Used(input.bytes.len().saturating_sub(1).max(used));
                };
                *lost = false;
                used += at;
                continue;
            }
            if rest.len() < record::HEADER {
                return Fed::Wait { used, need: record::HEADER };
            }
            let Some(header) = Header::read(rest) else { return Fed::Failed };
            let Some(record) = rest.get(..header.length) else {
                return Fed::Wait { used, need: header.length };
            };
            if self.record(&header, header.body(record), context.settings).is_none() {
                return Fed::Failed;
            }
            used += header.length;
        }
        Fed::Used(used)
    }

    fn gap(&mut self, way: Direction, _bytes: u64, _context: &mut Context<'_>) -> bool {
        let [asked, answered] = &mut self.lost;
        *(if way == Direction::Original { asked } else { answered }) = true;
        true
    }

    fn transactions(&self) -> &dyn Transactions {
        &self.list
    }

    fn transactions_mut(&mut self) -> &mut dyn Transactions {
        &mut self.list
    }
}

impl Dcerpc {
    /// A whole record. `None`: it is broken.
    fn record(&mut self, header: &Header, body: &[u8], settings: &Settings) -> Option<()> {
        match header.kind {
            kind::BIND | kind::ALTER => {
                let asked = record::bind(header, body)?;
                agree(&mut self.interfaces, asked, header.kind);
                let interfaces = self.interfaces.clone();
                if let Some(flowing) = self.begin(header, settings) {
                    flowing.call.request = Some(header.kind);
                    flowing.call.interfaces = interfaces;
                    flowing.call.fragments = [1, 0];
                    flowing.done = [true, false];
                }
            }
            kind::BIND_ACK | kind::ALTER_RESPONSE => {
                answer(&mut self.interfaces, header.call, &record::bind_answers(header, body)?);
                let interfaces = self.interfaces.clone();
                for flowing in self.list.iter_mut() {
                    flowing.call.interfaces = interfaces.clone();
                }
                let asked = if header.kind == kind::BIND_ACK { kind::BIND } else { kind::ALTER };
                self.respond(header, |request| request == asked, true, settings);
            }
            kind::BIND_NAK => self.respond(header, |request| request == kind::BIND, true, settings),
            kind::REQUEST => self.request(header, Request::read(header, body)?, settings),
            kind::RESPONSE => {
                let stub = record::response_stub(header, body)?;
                let last = header.flags & record::LAST != 0;
                self.respond(header, |request| request == kind::REQUEST, last, settings);
                if let Some(flowing) = self.find(header.call, |request| request.is_none_or(|r| r == kind::REQUEST)) {
                    flowing.call.add(Direction::Reply, stub);
                }
            }
            kind::FAULT => self.respond(header, |request| request == kind::REQUEST, true, settings),
            known if known <= kind::LAST => {}
            _ => return None,
        }
        Some(())
    }

    fn request(&mut self, header: &Header, request: Request<'_>, settings: &Settings) {
        let last = header.flags & record::LAST != 0;
        let interfaces = self.interfaces.clone();
        let open = |flowing: &Flowing| {
            flowing.call.id == header.call
                && flowing.call.request == Some(kind::REQUEST)
                && flowing.done == [false, false]
        };
        let first = header.flags & record::FIRST != 0;
        if first || !self.list.iter_mut().any(|flowing| open(flowing)) {
            let Some(flowing) = self.begin(header, settings) else { return };
            flowing.call.request = Some(kind::REQUEST);
            flowing.call.opnum = request.opnum;
            flowing.call.context = request.context;
            flowing.call.interfaces = interfaces;
        }
        let Some(flowing) = self.list.iter_mut().rev().find(|flowing| open(flowing)) else { return };
        flowing.call.add(Direction::Original, request.stub);
        let [asked, _] = &mut flowing.done;
        *asked = last;
    }

    fn begin(&mut self, header: &Header, settings: &Settings) -> Option<&mut Flowing> {
        if self.list.count() >= settings.transactions_of(AppProtocol::Dcerpc) {
            return None;
        }
        let call = Call { id: header.call, order: header.order, ..Call::default() };
        self.list.push(Flowing { call, minor: header.minor, done: [false, false] });
        self.list.last_mut()
    }

    /// The newest call of a number whose answer is not complete.
    fn find(&mut self, id: u32, fits: impl Fn(Option<u8>) -> bool) -> Option<&mut Flowing> {
        self.list.iter_mut().rev().find(|flowing| flowing.call.id == id && fits(flowing.call.request))
    }

    /// An answer of a kind; where its request was lost it is a transaction of its own.
    fn respond(&mut self, header: &Header, fits: impl Fn(u8) -> bool, last: bool, settings: &Settings) {
        let found = self.find(header.call, |request| request.is_none_or(&fits)).is_some();
        if !found && self.begin(header, settings).is_none() {
            return;
        }
        let Some(flowing) = self.find(header.call, |request| request.is_none_or(&fits)) else { return };
        flowing.call.response = Some(header.kind);
        if header.kind != kind::RESPONSE {
            let [_, count] = &mut flowing.call.fragments;
            *count = 1;
        }
        flowing.done = [true, last];
    }
}

/// Notes the interfaces that a bind asks for; a bind begins anew, an alter adds.
pub fn agree(interfaces: &mut Arc<Vec<Interface>>, asked: Vec<Interface>, kind: u8) {
    let list = Arc::make_mut(interfaces);
    if kind == kind::BIND {
        list.clear();
    }
    for interface in asked {
        // A number asked for again means the new interface.
        list.retain(|known| known.context != interface.context);
        if list.len() < record::INTERFACES {
            list.push(interface);
        }
    }
}

/// Notes the server's answers to the interfaces that a call asked for, in order.
pub fn answer(interfaces: &mut Arc<Vec<Interface>>, call: u32, answers: &[(u16, u16)]) {
    let asked = Arc::make_mut(interfaces).iter_mut().filter(|interface| interface.call == call);
    for (interface, answer) in asked.zip(answers) {
        interface.answer = Some(*answer);
    }
}

impl Transaction for Flowing {
    fn progress(&self, way: Direction) -> u8 {
        let [asked, answered] = self.done;
        u8::from(if way == Direction::Original { asked } else { answered })
    }

    fn complete(&self, _way: Direction) -> u8 {
        1
    }

    fn buffer<'t>(&'t self, buffer: Buffer, way: Direction, nth: usize, _work: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        (buffer == Buffer::DcerpcStubData && nth == 0).then(|| self.call.data(way)).flatten()
    }

    fn number(&self, field: Field, _way: Direction, nth: usize) -> Option<u64> {
        (field == Field::DcerpcOpnum && nth == 0).then(|| self.call.procedure().map(u64::from)).flatten()
    }

    fn special(&self, keyword: &str, argument: &str, _way: Direction) -> Option<bool> {
        self.call.special(keyword, argument)
    }

    fn log(&self, json: &mut Json<'_>) {
        self.call.log(json, Layout::Alone);
        json.text("rpc_version", &format!("5.{}", self.minor));
    }
}
