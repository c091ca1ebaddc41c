//! Records of DCE/RPC (C706, chapter 12), connection-oriented: the header and the bodies that are of interest.

use crate::app::read::{Order, Reader};

/// Length of the header that all records have.
pub const HEADER: usize = 16;
/// Interfaces of one bind that are read.
pub const INTERFACES: usize = 256;

/// Kinds of records.
pub mod kind {
    #![allow(missing_docs)]
    pub const REQUEST: u8 = 0;
    pub const RESPONSE: u8 = 2;
    pub const FAULT: u8 = 3;
    pub const BIND: u8 = 11;
    pub const BIND_ACK: u8 = 12;
    pub const BIND_NAK: u8 = 13;
    pub const ALTER: u8 = 14;
    pub const ALTER_RESPONSE: u8 = 15;
    pub const AUTH3: u8 = 16;
    pub const CANCEL: u8 = 18;
    pub const ORPHANED: u8 = 19;
    pub const LAST: u8 = 20;
}

/// The first fragment of a message.
pub const FIRST: u8 = 1;
/// The last one.
pub const LAST: u8 = 2;
/// An object's identifier stands before the data.
const OBJECT: u8 = 0x80;

/// The name of a kind in EVE.
pub fn kind_name(kind: u8) -> &'static str {
    const NAMES: [&str; 21] = [
        "REQUEST",
        "PING",
        "RESPONSE",
        "FAULT",
        "WORKING",
        "NOCALL",
        "REJECT",
        "ACK",
        "CL_CANCEL",
        "FACK",
        "CANCEL_ACK",
        "BIND",
        "BINDACK",
        "BINDNAK",
        "ALTER_CONTEXT",
        "ALTER_CONTEXT_RESP",
        "AUTH3",
        "SHUTDOWN",
        "CO_CANCEL",
        "ORPHANED",
        "RTS",
    ];
    NAMES.get(usize::from(kind)).copied().unwrap_or("UNKNOWN")
}

/// The header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Minor version; the major one is 5.
    pub minor: u8,
    /// Kind of record.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Order of numbers.
    pub order: Order,
    /// Length of the record with its header.
    pub length: usize,
    /// Length of the credentials at its end.
    pub auth_length: usize,
    /// Number of the call.
    pub call: u32,
}

impl Header {
    /// Reads one. `None`: too short, not version 5, or shorter than itself.
    pub fn read(bytes: &[u8]) -> Option<Header> {
        let mut reader = Reader::new(bytes);
        let [major, minor, kind, flags, drep, drep_float, _, _] = reader.array()?;
        if major != 5 || minor > 1 || drep & 0xee != 0 || drep_float > 3 {
            return None;
        }
        let order = if drep & 0x10 == 0 { Order::Big } else { Order::Little };
        let length = usize::from(reader.u16(order)?);
        let auth_length = usize::from(reader.u16(order)?);
        let call = reader.u32(order)?;
        (length >= HEADER).then_some(Header { minor, kind, flags, order, length, auth_length, call })
    }

    /// Whether a client sends this kind.
    pub fn is_from_client(&self) -> bool {
        matches!(self.kind, kind::REQUEST | kind::BIND | kind::ALTER | kind::AUTH3 | kind::CANCEL | kind::ORPHANED)
    }

    /// The body of a record of this header.
    pub fn body<'b>(&self, record: &'b [u8]) -> &'b [u8] {
        record.get(HEADER..self.length.min(record.len())).unwrap_or_default()
    }

    /// Without the credentials and their padding.
    fn without_auth<'b>(&self, body: &'b [u8]) -> &'b [u8] {
        // The trailer's head has eight bytes; the third of them counts the padding before it (C706, 13.2.6).
        let Some(trailer) = self.auth_length.checked_add(8).filter(|_| self.auth_length > 0) else { return body };
        let Some((data, auth)) = body.len().checked_sub(trailer).and_then(|at| body.split_at_checked(at)) else {
            return body;
        };
        let padding = usize::from(auth.get(2).copied().unwrap_or_default());
        data.get(..data.len().saturating_sub(padding)).unwrap_or_default()
    }
}

/// A request's fixed part and its data.
#[derive(Clone, Copy, Debug)]
pub struct Request<'b> {
    /// Which of the interfaces agreed on.
    pub context: u16,
    /// The procedure.
    pub opnum: u16,
    /// Its arguments.
    pub stub: &'b [u8],
}

impl<'b> Request<'b> {
    /// Reads one.
    pub fn read(header: &Header, body: &'b [u8]) -> Option<Request<'b>> {
        let mut reader = Reader::new(body);
        reader.u32(header.order)?;
        let context = reader.u16(header.order)?;
        let opnum = reader.u16(header.order)?;
        if header.flags & OBJECT != 0 {
            reader.take(16)?;
        }
        Some(Request { context, opnum, stub: header.without_auth(reader.rest()) })
    }
}

/// The data of a response.
pub fn response_stub<'b>(header: &Header, body: &'b [u8]) -> Option<&'b [u8]> {
    let mut reader = Reader::new(body);
    reader.take(8)?;
    Some(header.without_auth(reader.rest()))
}

/// An interface that a client asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// As it is written: the first byte is the first pair of digits.
    pub uuid: [u8; 16],
    /// Major version.
    pub major: u16,
    /// Minor version.
    pub minor: u16,
    /// Number that requests name it by.
    pub context: u16,
    /// The call that asked for it.
    pub call: u32,
    /// It was asked for in the first fragment.
    pub first_fragment: bool,
    /// What the server said: result and reason.
    pub answer: Option<(u16, u16)>,
}

/// The interfaces of a bind. `None`: it is cut short.
pub fn bind(header: &Header, body: &[u8]) -> Option<Vec<Interface>> {
    let mut reader = Reader::new(body);
    reader.take(8)?;
    let [count, _, _, _] = reader.array()?;
    let mut list = Vec::new();
    for _ in 0..count {
        let context = reader.u16(header.order)?;
        let [syntaxes, _] = reader.array()?;
        let uuid = uuid(reader.array()?, header.order);
        let major = reader.u16(header.order)?;
        let minor = reader.u16(header.order)?;
        reader.take(usize::from(syntaxes) * 20)?;
        let first_fragment = header.flags & FIRST != 0;
        if list.len() < INTERFACES {
            list.push(Interface { uuid, major, minor, context, call: header.call, first_fragment, answer: None });
        }
    }
    Some(list)
}

/// Results and reasons of an answer to a bind. `None`: it is cut short.
pub fn bind_answers(header: &Header, body: &[u8]) -> Option<Vec<(u16, u16)>> {
    let mut reader = Reader::new(body);
    reader.take(8)?;
    let address = usize::from(reader.u16(header.order)?);
    reader.take(address)?;
    // Padding up to a multiple of four, counted with the length field.
    reader.take((4 - (address + 2) % 4) % 4)?;
    let [count, _, _, _] = reader.array()?;
    (0..count)
        .map(|_| {
            let answer = (reader.u16(header.order)?, reader.u16(header.order)?);
            reader.take(20).map(|_| answer)
        })
        .collect()
}

/// The order in which an identifier is written.
pub fn uuid(bytes: [u8; 16], order: Order) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
    let [i, j, k, l, m, n, o, p] = rest;
    match order {
        Order::Big => bytes,
        Order::Little => [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p],
    }
}

/// The text of an identifier.
pub fn uuid_text(uuid: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (nth, byte) in uuid.iter().enumerate() {
        if matches!(nth, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    text
}
