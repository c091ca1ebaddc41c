//! Messages of PostgreSQL's protocol as values (PostgreSQL's manual, "Message Formats").

use crate::app::read::Reader;

/// Parameters or fields of one message.
const FIELDS: usize = 64;

/// What the client says.
#[derive(Debug)]
pub enum Asked {
    /// TLS or GSS encryption is asked for.
    Tls,
    /// A session begins.
    Startup {
        /// Version of the protocol.
        version: u32,
        /// Names and values.
        parameters: Vec<(Vec<u8>, Vec<u8>)>,
    },
    /// Another session's query is to be given up.
    Cancel {
        /// Its process.
        process: u32,
        /// Its key.
        secret: u32,
    },
    /// A password.
    Password,
    /// SASL begins.
    SaslInitial {
        /// Mechanism.
        mechanism: Vec<u8>,
        /// Its first message.
        parameter: Vec<u8>,
    },
    /// SASL goes on.
    Sasl(Vec<u8>),
    /// A query.
    Query(Vec<u8>),
    /// The session ends.
    Terminate,
}

/// What the server says.
#[derive(Debug)]
pub enum Answer {
    /// Whether TLS is accepted.
    Tls {
        /// It is.
        accepted: bool,
    },
    /// How to log in, or that it went well (0).
    Authentication {
        /// Kind.
        kind: u32,
        /// What follows it.
        data: Vec<u8>,
    },
    /// A parameter of the session.
    Parameter(Vec<u8>, Vec<u8>),
    /// What cancels a query of this session.
    Key {
        /// Process.
        process: u32,
        /// Key.
        secret: u32,
    },
    /// Columns of the rows that follow.
    Columns(u16),
    /// Rows.
    Rows {
        /// How many.
        count: u64,
        /// Bytes of all their values.
        size: u64,
    },
    /// What a query did.
    Complete(Vec<u8>),
    /// An error or a notice: fields by type.
    Notice(Vec<(u8, Vec<u8>)>),
    /// Something that other sessions announce.
    Notification {
        /// Their process.
        process: u32,
        /// Channel.
        channel: Vec<u8>,
        /// Text.
        payload: Vec<u8>,
    },
    /// The next query may come.
    Ready,
}

/// A text that ends with zero.
fn text<'b>(reader: &mut Reader<'b>) -> Option<&'b [u8]> {
    let end = memchr::memchr(0, reader.rest())?;
    let text = reader.take(end)?;
    reader.u8()?;
    Some(text)
}

/// A body that is one text.
fn whole(body: &[u8]) -> Vec<u8> {
    body.strip_suffix(&[0]).unwrap_or(body).to_vec()
}

/// Names and values.
pub fn parameters(body: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut reader = Reader::new(body);
    let mut list = Vec::new();
    while list.len() < FIELDS {
        let (Some(name), Some(value)) = (text(&mut reader), text(&mut reader)) else { break };
        list.push((name.to_vec(), value.to_vec()));
    }
    list
}

/// A message of the client's. `sasl`: 1 when the server asks for SASL, 2 when it goes on. `None`: not told of.
pub fn asked(kind: u8, body: &[u8], sasl: u8) -> Option<Asked> {
    Some(match kind {
        b'Q' => Asked::Query(whole(body)),
        b'X' => Asked::Terminate,
        b'p' if sasl == 1 => {
            let mut reader = Reader::new(body);
            let mechanism = text(&mut reader)?.to_vec();
            reader.be32()?;
            Asked::SaslInitial { mechanism, parameter: reader.rest().to_vec() }
        }
        b'p' if sasl == 2 => Asked::Sasl(body.to_vec()),
        b'p' => Asked::Password,
        _ => return None,
    })
}

/// A message of the server's. `None`: not told of.
pub fn answer(kind: u8, body: &[u8]) -> Option<Answer> {
    let mut reader = Reader::new(body);
    Some(match kind {
        b'R' => Answer::Authentication { kind: reader.be32()?, data: reader.rest().to_vec() },
        b'S' => Answer::Parameter(text(&mut reader)?.to_vec(), text(&mut reader)?.to_vec()),
        b'K' => Answer::Key { process: reader.be32()?, secret: reader.be32()? },
        b'T' => Answer::Columns(reader.be16()?),
        b'C' => Answer::Complete(whole(body)),
        b'Z' => Answer::Ready,
        b'A' => Answer::Notification {
            process: reader.be32()?,
            channel: text(&mut reader)?.to_vec(),
            payload: text(&mut reader)?.to_vec(),
        },
        b'E' | b'N' => {
            let mut fields = Vec::new();
            while let (true, Some(field)) = (fields.len() < FIELDS, reader.u8().filter(|&field| field != 0)) {
                let Some(value) = text(&mut reader) else { break };
                fields.push((field, value.to_vec()));
            }
            Answer::Notice(fields)
        }
        _ => return None,
    })
}
