//! DNP3 over TCP (IEEE 1815): link frames, the fragments they carry, and the headers of their objects.
//!
//! Each application fragment is a transaction. A fragment has at most [`FRAGMENT`] bytes; [`UNANSWERED`] requests without
//! a response are a flood, with which the parsing ends. Of a fragment's points the first [`object::SHOWN`] are told.

use weir_ids_rules::{AppProtocol, Buffer, Field};

use super::read::Reader;
use super::{
    Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Provides, Settings, Transaction, Transactions,
};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

mod link;
mod object;
mod point;
#[cfg(test)]
mod tests;

use link::Link;
use object::Object;

/// Bytes of a fragment.
const FRAGMENT: usize = 8192;

/// Requests without a response.
const UNANSWERED: u32 = 32;

/// A fragment.
#[derive(Debug)]
pub struct Fragment {
    way: Direction,
    link: Link,
    /// Control, function and what follows.
    bytes: Vec<u8>,
    objects: Vec<Object>,
    /// All objects could be read.
    complete: bool,
}

/// What a direction has put together.
#[derive(Debug, Default)]
struct Side {
    bytes: Vec<u8>,
    next: u8,
    open: bool,
}

#[derive(Debug, Default)]
struct Dnp3 {
    list: List<Fragment>,
    sides: [Side; 2],
    unanswered: u32,
}

fn start(_settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    Box::new(Dnp3::default())
}

/// Function codes.
mod function {
    pub const CONFIRM: u8 = 0;
    pub const RESPONSE: u8 = 129;
    pub const UNSOLICITED: u8 = 130;
}

impl Dnp3 {
    /// Takes a link frame's user data: a transport header and a part of a fragment. An error ends the parsing.
    fn transport(&mut self, way: Direction, link: Link, data: &[u8], limit: usize) -> Result<(), &'static str> {
        let Some((&header, part)) = data.split_first() else { return Ok(()) };
        let Some(side) = self.sides.get_mut(way as usize) else { return Ok(()) };
        let (last, first, sequence) = (header & 0x80 != 0, header & 0x40 != 0, header & 0x3f);
        if first {
            side.bytes.clear();
            side.open = true;
        } else if !side.open || sequence != side.next {
            // A part is missing: what was put together is worth nothing.
            side.open = false;
            return Ok(());
        }
        side.next = (sequence + 1) & 0x3f;
        if side.bytes.len() + part.len() > FRAGMENT {
            side.open = false;
            side.bytes = Vec::new();
            self.push(way, link, Vec::new());
            return Err("dnp3.too_long_reassembly");
        }
        side.bytes.extend_from_slice(part);
        if !last {
            return Ok(());
        }
        side.open = false;
        let bytes = std::mem::take(&mut side.bytes);
        if bytes.len() < 2 {
            self.push(way, link, bytes);
            return Err("dnp3.malformed");
        }
        if self.list.count() >= limit {
            return Err("dnp3.flooded");
        }
        self.push(way, link, bytes);
        self.count_answers(way)
    }

    fn push(&mut self, way: Direction, link: Link, bytes: Vec<u8>) {
        let (objects, odd) = object::read(behind_header(&bytes));
        let complete = odd.is_none();
        self.list.push(Fragment { way, link, bytes, objects, complete });
        if let Some(name) = odd {
            self.list.anomaly(Anomaly(name));
        }
    }

    fn count_answers(&mut self, way: Direction) -> Result<(), &'static str> {
        let Some(newest) = self.list.last_mut() else { return Ok(()) };
        match (way, newest.function()) {
            (Direction::Original, Some(function::CONFIRM)) => {}
            (Direction::Original, _) => self.unanswered += 1,
            (Direction::Reply, _) => self.unanswered = self.unanswered.saturating_sub(1),
        }
        if self.unanswered > UNANSWERED { Err("dnp3.flooded") } else { Ok(()) }
    }

    /// Notes what is odd in a frame that carries no fragment.
    fn note(&mut self, name: &'static str) {
        self.list.anomaly(Anomaly(name));
    }
}

impl Parser for Dnp3 {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Dnp3
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        let mut reader = Reader::new(input.bytes);
        while !reader.is_empty() {
            let used = input.bytes.len() - reader.len();
            let mut ahead = reader;
            let link = match Link::read(&mut ahead) {
                Ok(link) => link,
                Err(link::Refusal::Need(need)) => return Fed::Wait { used, need },
                Err(link::Refusal::Odd(name)) => {
                    self.note(name);
                    return Fed::Failed;
                }
            };
            let Some(blocks) = ahead.take(link.blocks()) else {
                return Fed::Wait { used, need: Link::LENGTH + link.blocks() };
            };
            reader = ahead;
            // Frames without user data keep the link alive.
            if !link.has_user_data() {
                continue;
            }
            let Some(data) = link::user_data(blocks) else {
                self.note("dnp3.bad_transport_crc");
                continue;
            };
            if let Err(name) = self.transport(way, link, &data, context.settings.transactions_of(AppProtocol::Dnp3)) {
                self.note(name);
                return Fed::Failed;
            }
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

/// The objects of a fragment: what follows control and function, and the indications of a response.
fn behind_header(bytes: &[u8]) -> &[u8] {
    let at = match bytes.get(1) {
        Some(&(function::RESPONSE | function::UNSOLICITED)) => 4,
        _ => 2,
    };
    bytes.get(at..).unwrap_or_default()
}

impl Fragment {
    fn function(&self) -> Option<u8> {
        self.bytes.get(1).copied()
    }

    /// Internal indications of a response.
    fn indications(&self) -> Option<u16> {
        match self.function()? {
            function::RESPONSE | function::UNSOLICITED => {
                let pair = self.bytes.get(2..4)?.first_chunk()?;
                Some(u16::from_be_bytes(*pair))
            }
            _ => None,
        }
    }
}

impl Transaction for Fragment {
    fn progress(&self, _way: Direction) -> u8 {
        1
    }

    fn complete(&self, _way: Direction) -> u8 {
        1
    }

    fn only(&self) -> Option<Direction> {
        Some(self.way)
    }

    fn shown_in(&self) -> Direction {
        Direction::Original
    }

    fn buffer<'t>(&'t self, buffer: Buffer, way: Direction, nth: usize, _: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        (buffer == Buffer::Dnp3Data && way == self.way && nth == 0).then_some(self.bytes.as_slice())
    }

    fn number(&self, field: Field, way: Direction, nth: usize) -> Option<u64> {
        if way != self.way || nth > 0 {
            return None;
        }
        match field {
            Field::Dnp3Function => self.function().map(u64::from),
            Field::Dnp3Indicators => self.indications().map(u64::from),
            _ => None,
        }
    }

    fn special(&self, keyword: &str, argument: &str, way: Direction) -> Option<bool> {
        if keyword != "dnp3.obj" || way != self.way {
            return None;
        }
        let (group, variation) = argument.split_once(',')?;
        let (group, variation) = (group.trim().parse().ok()?, variation.trim().parse().ok()?);
        Some(self.objects.iter().any(|object| object.group == group && object.variation == variation))
    }

    fn log(&self, json: &mut Json<'_>) {
        let kind = match (self.way, self.function()) {
            (Direction::Original, _) => "request",
            (Direction::Reply, Some(function::UNSOLICITED)) => "unsolicited_response",
            (Direction::Reply, _) => "response",
        };
        json.text("type", kind);
        json.nested("control", |json| self.link.log_control(json));
        json.number("src", self.link.source).number("dst", self.link.destination);
        json.nested("application", |json| {
            let control = self.bytes.first().copied().unwrap_or(0);
            json.nested("control", |json| {
                json.flag("fir", control & 0x80 != 0).flag("fin", control & 0x40 != 0);
                json.flag("con", control & 0x20 != 0).flag("uns", control & 0x10 != 0);
                json.number("sequence", control & 0xf);
            });
            json.number("function_code", self.function().unwrap_or(0));
            let (bytes, mut room) = (behind_header(&self.bytes), object::SHOWN);
            if !self.objects.is_empty() {
                json.array("objects", |list| {
                    self.objects.iter().for_each(|object| {
                        list.item(|json| object.log(bytes, &mut room, json));
                    });
                });
            }
            json.flag("complete", self.complete);
        });
        if let Some(bits) = self.indications() {
            json.nested("iin", |json| {
                let mut set = INDICATIONS.iter().filter(|(bit, _)| bits & bit != 0).peekable();
                if set.peek().is_some() {
                    json.array("indicators", |list| {
                        set.for_each(|(_, name)| {
                            list.item_bytes(name.as_bytes());
                        });
                    });
                }
            });
        }
    }
}

/// Internal indications, the first byte high.
const INDICATIONS: &[(u16, &str)] = &[
    (0x8000, "device_restart"),
    (0x4000, "device_trouble"),
    (0x2000, "local_control"),
    (0x1000, "need_time"),
    (0x0800, "class_3_events"),
    (0x0400, "class_2_events"),
    (0x0200, "class_1_events"),
    (0x0100, "all_stations"),
    (0x0080, "reserved_1"),
    (0x0040, "reserved_2"),
    (0x0020, "config_corrupt"),
    (0x0010, "already_executing"),
    (0x0008, "event_buffer_overflow"),
    (0x0004, "parameter_error"),
    (0x0002, "object_unknown"),
    (0x0001, "no_func_code_support"),
];

fn probe(way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    match Link::read(&mut Reader::new(bytes)) {
        // Bit 7 of the control tells that the master sent it.
        Ok(link) if (way == Direction::Original) == link.is_from_master() => Probe::Yes,
        Ok(_) => Probe::Reversed,
        Err(link::Refusal::Need(_)) if bytes.len() < 2 || bytes.starts_with(&[0x05, 0x64]) => Probe::More,
        Err(_) => Probe::No,
    }
}

/// DNP3.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Dnp3,
    tcp: true,
    udp: false,
    ports: &[20000],
    patterns: &[],
    probe,
    on_ports_only: true,
    start,
    buffers: &[
        Provides::new(Buffer::Dnp3Data, Direction::Original, 1),
        Provides::new(Buffer::Dnp3Data, Direction::Reply, 1),
    ],
    hooks: &[],
};
