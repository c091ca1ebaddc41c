//! Rules on a payload together with a request or response of HTTP: whether the latter can still come.
//!
//! Such a rule is searched for in a buffer of the transaction, and its part on the payload, which may be dear, is worth
//! checking only where a live transaction has what is searched for, or may come to have it. Bytes are parsed before they
//! are judged, so the transaction that they belong to is among the live ones. Until then the check is put off, as long as
//! the bytes are at hand.

use weir_ids_rules::rule::{Arrow, Rule};
use weir_ids_rules::{AppProtocol, Buffer};

use super::Direction;
use super::compiled::Compiled;
use super::fast::{self, Place};
use super::literal::Literal;
use super::transactions::{Has, TxTables};
use crate::app::{App, Transaction};

/// Live transactions that are looked at; where there are more, the payload is checked.
const LIVE: usize = 4;

/// What a rule is searched for in a buffer of a transaction.
#[derive(Debug)]
pub struct Sought {
    buffer: Buffer,
    literal: Literal,
}

impl Sought {
    /// Of a rule that looks at a payload too; `None` where it is not searched for in a transaction, or in what is made
    /// of a buffer.
    pub fn of(rule: &Rule) -> Option<Box<Sought>> {
        rule.payload()?;
        let fast = fast::choose(rule)?;
        match &fast.place {
            Place::Text { buffer, transforms, way: None } if transforms.is_empty() => {
                Some(Box::new(Sought { buffer: *buffer, literal: Literal::new(&fast.bytes, fast.caseless) }))
            }
            Place::Text { .. } | Place::Payload => None,
        }
    }

    /// Whether the transaction of a number has it in this direction, or may come to have it.
    fn may_be_in(
        &self,
        (number, transaction): (u64, &dyn Transaction),
        (has, way): (&Has, Direction),
        header: &mut Header,
    ) -> bool {
        let Some(ready) = has.ready(self.buffer, way) else { return false };
        if transaction.progress(way) < ready || !is_plain(self.buffer) {
            return true;
        }
        if self.buffer == Buffer::HttpHeader {
            return self.literal.find(header.of(number, transaction, way)).is_some();
        }
        let mut work = Vec::new();
        let value = transaction.buffer(self.buffer, way, 0, &mut work);
        value.is_some_and(|bytes| self.literal.find(bytes).is_some())
    }
}

/// The fields of a message put together, for all rules of a step that are searched for there.
#[derive(Debug, Default)]
pub struct Header {
    bytes: Vec<u8>,
    number: Option<u64>,
}

impl Header {
    /// The next step begins: more fields may have come.
    pub fn forget(&mut self) {
        self.number = None;
    }

    fn of(&mut self, number: u64, transaction: &dyn Transaction, way: Direction) -> &[u8] {
        if self.number.replace(number) != Some(number) {
            self.bytes.clear();
            // It is built in these bytes, where there is one.
            let _built = transaction.buffer(Buffer::HttpHeader, way, 0, &mut self.bytes);
        }
        &self.bytes
    }
}

/// A buffer of HTTP/1 with one value at most, which loses nothing once it is there.
fn is_plain(buffer: Buffer) -> bool {
    use Buffer as B;
    matches!(
        buffer,
        B::HttpMethod
            | B::HttpUri
            | B::HttpUriRaw
            | B::HttpRequestLine
            | B::HttpHost
            | B::HttpHostRaw
            | B::HttpHeader
            | B::HttpHeaderRaw
            | B::HttpCookie
            | B::HttpUserAgent
            | B::HttpReferer
            | B::HttpAccept
            | B::HttpContentType
            | B::HttpLocation
            | B::HttpServer
            | B::HttpStatCode
            | B::HttpStatMessage
    )
}

/// Whether a transaction of the flow may take a rule whose payload is at hand, in bytes that go this way.
pub fn may_come(rule: &Compiled, app: &App, tables: &TxTables, way: Direction, header: &mut Header) -> bool {
    let Some(sought) = rule.sought.as_ref().filter(|_| rule.arrow != Arrow::Transaction) else { return true };
    let (Some(parser), 1) = (app.parser(0), app.parsers()) else { return app.parsers() > 0 || !app.is_over() };
    let Some(has) = tables.has(parser.protocol()) else { return true };
    let all = parser.transactions();
    if parser.protocol() != AppProtocol::Http1 || app.waits(way) || all.is_empty() || all.len() > LIVE {
        return true;
    }
    let mut live = (0..all.len()).filter_map(|nth| all.get(nth));
    live.any(|(mark, transaction)| sought.may_be_in((mark.number, transaction), (has, way), header))
}
