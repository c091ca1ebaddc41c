//! Messages of MQTT as values (MQTT 5.0, 2 and 3).

use crate::app::read::Reader;

/// Types of messages.
pub mod kind {
    pub const UNASSIGNED: u8 = 0;
    pub const CONNECT: u8 = 1;
    pub const CONNACK: u8 = 2;
    pub const PUBLISH: u8 = 3;
    pub const PUBACK: u8 = 4;
    pub const PUBREC: u8 = 5;
    pub const PUBREL: u8 = 6;
    pub const PUBCOMP: u8 = 7;
    pub const SUBSCRIBE: u8 = 8;
    pub const SUBACK: u8 = 9;
    pub const UNSUBSCRIBE: u8 = 10;
    pub const UNSUBACK: u8 = 11;
    pub const DISCONNECT: u8 = 14;
    pub const AUTH: u8 = 15;
}

/// Topics of a message.
const TOPICS: usize = 100;

/// The head of a message.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub kind: u8,
    /// DUP (8), QoS (6), RETAIN (1).
    pub flags: u8,
    /// Bytes that follow.
    pub length: usize,
}

impl Head {
    pub const fn qos(&self) -> u8 {
        self.flags >> 1 & 3
    }
}

/// Why a head cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Short,
    Bad,
}

pub fn head(reader: &mut Reader<'_>) -> Result<Head, Refusal> {
    let first = reader.u8().ok_or(Refusal::Short)?;
    let length = variable(reader)?;
    Ok(Head { kind: first >> 4, flags: first & 0xf, length })
}

/// A number of one to four bytes, seven bits each, the lowest first.
pub fn variable(reader: &mut Reader<'_>) -> Result<usize, Refusal> {
    let mut value = 0;
    for shift in [0, 7, 14, 21] {
        let byte = reader.u8().ok_or(Refusal::Short)?;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Refusal::Bad)
}

/// What CONNECT says.
#[derive(Debug, Default)]
pub struct Connect {
    pub protocol: Vec<u8>,
    pub version: u8,
    pub flags: u8,
    pub client_id: Vec<u8>,
    pub will_topic: Option<Vec<u8>>,
    pub will_message: Option<Vec<u8>>,
    pub will_properties: Option<Vec<u8>>,
    pub username: Option<Vec<u8>>,
    pub password: Option<Vec<u8>>,
}

/// A message. What its type does not have is empty.
#[derive(Debug, Default)]
pub struct Message {
    pub kind: u8,
    pub flags: u8,
    pub id: Option<u16>,
    /// Reason code; return code of CONNACK.
    pub reason: Option<u8>,
    /// Properties as they stand.
    pub properties: Option<Vec<u8>>,
    /// Topics with the quality of service asked for.
    pub topics: Vec<(Vec<u8>, u8)>,
    /// Codes of SUBACK and UNSUBACK.
    pub codes: Vec<u8>,
    /// What is published.
    pub text: Vec<u8>,
    pub session_present: bool,
    pub connect: Option<Box<Connect>>,
    /// It was too long and has so many bytes.
    pub skipped: Option<u32>,
}

impl Message {
    pub const fn qos(&self) -> u8 {
        self.flags >> 1 & 3
    }

    pub fn empty(head: Head) -> Message {
        Message { kind: head.kind, flags: head.flags, ..Message::default() }
    }

    /// Reads what follows a head. `None`: malformed.
    pub fn read(head: Head, body: &[u8], version: u8) -> Option<Message> {
        let mut message = Message::empty(head);
        let mut reader = Reader::new(body);
        let modern = version == 5;
        match head.kind {
            kind::CONNECT => message.connect(&mut reader)?,
            kind::CONNACK => {
                message.session_present = reader.u8()? & 1 == 1;
                message.reason = Some(reader.u8()?);
                message.tail(&mut reader, modern)?;
            }
            kind::PUBLISH => {
                message.topics.push((text(&mut reader)?, 0));
                if head.qos() > 0 {
                    message.id = Some(reader.be16()?);
                }
                message.tail(&mut reader, modern)?;
                message.text = reader.rest().to_vec();
            }
            kind::PUBACK | kind::PUBREC | kind::PUBREL | kind::PUBCOMP => {
                message.id = Some(reader.be16()?);
                message.reason = reader.u8();
                let told = modern && !reader.is_empty();
                message.tail(&mut reader, told)?;
            }
            kind::SUBSCRIBE | kind::UNSUBSCRIBE => {
                message.id = Some(reader.be16()?);
                message.tail(&mut reader, modern)?;
                while !reader.is_empty() && message.topics.len() < TOPICS {
                    let topic = text(&mut reader)?;
                    let options = if head.kind == kind::SUBSCRIBE { reader.u8()? } else { 0 };
                    message.topics.push((topic, options));
                }
            }
            kind::SUBACK | kind::UNSUBACK => {
                message.id = Some(reader.be16()?);
                message.tail(&mut reader, modern)?;
                message.codes = reader.rest().to_vec();
            }
            kind::DISCONNECT | kind::AUTH => {
                message.reason = match (modern, body.len()) {
                    // A reason without properties counts as none: both may be left out only together.
                    (true, 0 | 1) => Some(0),
                    _ => reader.u8(),
                };
                if modern && body.len() <= 1 {
                    return Some(message);
                }
                let told = modern && !reader.is_empty();
                message.tail(&mut reader, told)?;
            }
            _ => {}
        }
        Some(message)
    }

    fn tail(&mut self, reader: &mut Reader<'_>, has_properties: bool) -> Option<()> {
        if has_properties {
            self.properties = Some(properties(reader)?);
        }
        Some(())
    }

    fn connect(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let mut connect = Connect { protocol: text(reader)?, ..Connect::default() };
        connect.version = reader.u8()?;
        connect.flags = reader.u8()?;
        reader.be16()?;
        if connect.version == 5 {
            self.properties = Some(properties(reader)?);
        }
        connect.client_id = text(reader)?;
        if connect.flags & 0x4 != 0 {
            if connect.version == 5 {
                connect.will_properties = Some(properties(reader)?);
            }
            connect.will_topic = Some(text(reader)?);
            connect.will_message = Some(text(reader)?);
        }
        if connect.flags & 0x80 != 0 {
            connect.username = Some(text(reader)?);
        }
        if connect.flags & 0x40 != 0 {
            connect.password = Some(text(reader)?);
        }
        self.connect = Some(Box::new(connect));
        Some(())
    }
}

fn text(reader: &mut Reader<'_>) -> Option<Vec<u8>> {
    let length = reader.be16()?;
    reader.take(usize::from(length)).map(<[u8]>::to_vec)
}

fn properties(reader: &mut Reader<'_>) -> Option<Vec<u8>> {
    let length = variable(reader).ok()?;
    reader.take(length).map(<[u8]>::to_vec)
}
