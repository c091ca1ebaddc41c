//! Messages of Modbus/TCP.

use crate::app::read::Reader;
use crate::inspect::Direction;

/// A message.
#[derive(Debug)]
pub struct Message {
    /// Number of the exchange.
    pub id: u16,
    /// 0 for Modbus.
    pub protocol: u16,
    /// The device.
    pub unit: u8,
    /// Function, with bit 7 for an exception.
    pub function: u8,
    /// What follows the function.
    pub data: Vec<u8>,
}

/// Why there is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// So many bytes are needed.
    Need(usize),
    /// Its length cannot be.
    Bad,
}

/// Places and values that a function reads or writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First place.
    pub address: u16,
    /// How many.
    pub count: u16,
}

impl Message {
    /// Takes a message.
    pub fn read(reader: &mut Reader<'_>) -> Result<Message, Refusal> {
        let mut ahead = *reader;
        let (Some(id), Some(protocol), Some(length)) = (ahead.be16(), ahead.be16(), ahead.be16()) else {
            return Err(Refusal::Need(6));
        };
        if !(2..=254).contains(&length) {
            return Err(Refusal::Bad);
        }
        let Some([unit, function, data @ ..]) = ahead.take(usize::from(length)) else {
            return Err(Refusal::Need(6 + usize::from(length)));
        };
        *reader = ahead;
        Ok(Message { id, protocol, unit: *unit, function: *function, data: data.to_vec() })
    }

    /// The word at a place of the data.
    pub fn word(&self, at: usize) -> Option<u16> {
        self.data.get(at..at + 2)?.first_chunk().map(|&pair| u16::from_be_bytes(pair))
    }

    /// What a request reads.
    pub fn reads(&self) -> Option<Span> {
        match self.function {
            1..=4 | 23 => Some(Span { address: self.word(0)?, count: self.word(2)? }),
            _ => None,
        }
    }

    /// What a request writes.
    pub fn writes(&self) -> Option<Span> {
        match self.function {
            5 | 6 | 22 => Some(Span { address: self.word(0)?, count: 1 }),
            15 | 16 => Some(Span { address: self.word(0)?, count: self.word(2)? }),
            23 => Some(Span { address: self.word(4)?, count: self.word(6)? }),
            _ => None,
        }
    }

    /// The nth value that a request writes.
    pub fn written(&self, nth: u16) -> Option<u16> {
        let nth = usize::from(nth);
        match self.function {
            5 => self.word(2).map(|value| u16::from(value == 0xff00)),
            6 | 22 => self.word(2),
            15 => self.data.get(5 + nth / 8).map(|byte| u16::from(byte >> (nth % 8) & 1)),
            16 => self.word(5 + 2 * nth),
            23 => self.word(9 + 2 * nth),
            _ => None,
        }
    }

    /// What a rule calls subfunction: of diagnostics and of the encapsulated interface.
    pub fn subfunction(&self) -> Option<u16> {
        match self.function {
            8 => self.word(0),
            43 => self.data.first().map(|&kind| kind.into()),
            _ => None,
        }
    }

    /// Whether a response says what its request asked for.
    pub fn answers(&self, request: &Message) -> bool {
        match self.function {
            function if function & 0x80 != 0 => function & 0x7f == request.function,
            5 | 6 | 22 => self.function == request.function && self.data == request.data,
            15 | 16 => self.function == request.function && self.data.get(..4) == request.data.get(..4),
            function => function == request.function,
        }
    }

    /// What is odd in a message.
    pub fn oddities(&self, way: Direction) -> impl Iterator<Item = &'static str> {
        let request = way == Direction::Original;
        let function = self.function & 0x7f;
        let limit = match self.function {
            1 | 2 => 2000,
            3 | 4 => 125,
            _ => u16::MAX,
        };
        let bad_read = self.reads().is_some_and(|span| span.count == 0 || span.count > limit);
        let bad_coil = self.function == 5 && !matches!(self.word(2), Some(0 | 0xff00));
        let exception = self.function & 0x80 != 0 && !request;
        let found = [
            (self.protocol != 0, "modbus.invalid_protocol_id"),
            // 1 to 247 name devices; 0 and 255 are for all, or for whoever has the connection.
            (matches!(self.unit, 248..=254), "modbus.invalid_unit_identifier"),
            (function == 0 || (request && self.function & 0x80 != 0), "modbus.invalid_function_code"),
            (request && (bad_read || bad_coil), "modbus.invalid_value"),
            (exception && !matches!(self.data.first(), Some(1..=6 | 8 | 10 | 11)), "modbus.invalid_exception_code"),
        ];
        found.into_iter().filter_map(|(is, name)| is.then_some(name))
    }
}
