//! DCE/RPC over UDP (C706, 12.5): each packet has the whole header, with interface and procedure.

use weir_ids_rules::{AppProtocol, Buffer, Field};

use super::call::{Call, STUB};
use super::record::{Interface, kind, kind_name, uuid, uuid_text};
use crate::app::read::{Order, Reader};
use crate::app::{Context, Fed, Input, List, Parser, Probe, Transaction, Transactions};
use crate::inspect::Direction;
use crate::json::Json;

const LAST_FRAGMENT: u8 = 2;
const FRAGMENT: u8 = 4;

struct Header<'b> {
    kind: u8,
    flags: u8,
    order: Order,
    interface: [u8; 16],
    activity: [u8; 16],
    version: u32,
    sequence: u32,
    opnum: u16,
    stub: &'b [u8],
}

impl<'b> Header<'b> {
    fn read(bytes: &'b [u8]) -> Option<Header<'b>> {
        let mut reader = Reader::new(bytes);
        let [version, kind, flags, flags2, drep, drep_float, _, _] = reader.array()?;
        if version != 4 || kind > 10 || flags2 & 0xfc != 0 || drep & 0xee != 0 || drep_float > 3 {
            return None;
        }
        let order = if drep & 0x10 == 0 { Order::Big } else { Order::Little };
        reader.take(16)?;
        let interface = uuid(reader.array()?, order);
        let activity = uuid(reader.array()?, order);
        reader.take(4)?;
        let version = reader.u32(order)?;
        let sequence = reader.u32(order)?;
        let opnum = reader.u16(order)?;
        reader.take(4)?;
        let length = usize::from(reader.u16(order)?);
        reader.take(4)?;
        let stub = reader.take_up_to(length);
        Some(Header { kind, flags, order, interface, activity, version, sequence, opnum, stub })
    }

    fn is_last(&self) -> bool {
        self.flags & FRAGMENT == 0 || self.flags & LAST_FRAGMENT != 0
    }
}

/// Whether a datagram is one.
pub(super) fn probe(bytes: &[u8]) -> Probe {
    if Header::read(bytes).is_some() { Probe::Yes } else { Probe::No }
}

/// A parser for a new flow.
pub(super) fn start() -> Box<dyn Parser> {
    Box::new(Connectionless::default())
}

#[derive(Debug, Default)]
struct Connectionless {
    list: List<Datagrams>,
}

/// A call with its answer.
#[derive(Debug, Default)]
struct Datagrams {
    call: Call,
    activity: [u8; 16],
    done: [bool; 2],
}

impl Parser for Connectionless {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Dcerpc
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        let Some(header) = Header::read(input.bytes) else { return Fed::Failed };
        let same = |datagrams: &Datagrams| {
            datagrams.call.id == header.sequence && datagrams.activity == header.activity && !datagrams.is_done(way)
        };
        let found = self.list.iter_mut().any(|datagrams| same(datagrams));
        if !found && self.list.count() < context.settings.transactions_of(AppProtocol::Dcerpc) {
            let call = Call { id: header.sequence, order: header.order, ..Call::default() };
            self.list.push(Datagrams { call, activity: header.activity, done: [false, false] });
        }
        if let Some(datagrams) = self.list.iter_mut().rev().find(|datagrams| same(datagrams)) {
            datagrams.take(way, &header);
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

impl Datagrams {
    fn is_done(&self, way: Direction) -> bool {
        let [asked, answered] = self.done;
        if way == Direction::Original { asked } else { answered }
    }

    fn take(&mut self, way: Direction, header: &Header<'_>) {
        self.call.add(way, header.stub);
        let [asked, answered] = &mut self.done;
        match way {
            Direction::Original => {
                self.call.request = Some(header.kind);
                self.call.opnum = header.opnum;
                let major = u16::try_from(header.version & 0xffff).unwrap_or_default();
                let minor = u16::try_from(header.version >> 16).unwrap_or_default();
                let uuid = header.interface;
                // The interface needs no agreement: the request names it.
                let answer = Some((0, 0));
                let interface = Interface { uuid, major, minor, first_fragment: true, answer, ..Interface::default() };
                self.call.interfaces = std::sync::Arc::new(vec![interface]);
                *asked = header.is_last();
            }
            Direction::Reply => {
                self.call.response = Some(header.kind);
                *asked = true;
                *answered = header.is_last();
            }
        }
    }
}

impl Transaction for Datagrams {
    fn progress(&self, way: Direction) -> u8 {
        u8::from(self.is_done(way))
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
        let ([asked, answered], [request, response]) = (&self.call.stub, self.call.fragments);
        json.text("request", self.call.request.map_or("REQUEST_LOST", kind_name));
        if self.call.request == Some(kind::REQUEST) {
            json.nested("req", |json| {
                json.number("opnum", self.call.opnum).number("frag_cnt", request);
                json.number("stub_data_size", asked.len().min(STUB) as i128);
            });
        }
        json.text("response", self.call.response.map_or("UNREPLIED", kind_name));
        if self.call.response == Some(kind::RESPONSE) {
            json.nested("res", |json| {
                json.number("frag_cnt", response).number("stub_data_size", answered.len() as i128);
            });
        }
        json.text("activityuuid", &uuid_text(&self.activity)).number("seqnum", self.call.id);
        json.text("rpc_version", "4.0");
    }
}
