//! BitTorrent's distributed hash table over UDP (BEP 5): each message is a transaction.
//!
//! Values are read up to [`DEPTH`] levels of lists and dictionaries.

use weir_ids_rules::{AppProtocol, Buffer};

use super::read::{Reader, decimal};
use super::{Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Settings, Transaction, Transactions};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

/// Levels of values.
const DEPTH: u8 = 8;

/// Entries of a message that are told, each of the message itself or of what is asked or answered.
const ENTRIES: usize = 32;

/// A message: names with their texts and numbers, those of inner dictionaries behind the name of the outer one.
#[derive(Debug, Default)]
pub struct Message {
    way: Direction,
    entries: Vec<(Vec<u8>, Vec<u8>, Value)>,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Text(Vec<u8>),
    Number(u64),
}

#[derive(Debug, Default)]
struct Dht {
    list: List<Message>,
}

fn start(_settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    Box::new(Dht::default())
}

/// A text: its length in decimal, a colon, its bytes.
fn text<'b>(reader: &mut Reader<'b>) -> Option<&'b [u8]> {
    let (length, rest) = decimal(reader.rest())?;
    let digits = reader.len() - rest.len();
    reader.take(digits)?;
    if reader.u8()? != b':' {
        return None;
    }
    reader.take(usize::try_from(length).ok()?)
}

/// A number behind its "i": decimal, then "e". A sign is passed over.
fn number(reader: &mut Reader<'_>) -> Option<u64> {
    if reader.rest().first() == Some(&b'-') {
        reader.u8();
    }
    let (value, rest) = decimal(reader.rest())?;
    let digits = reader.len() - rest.len();
    reader.take(digits)?;
    (reader.u8()? == b'e').then_some(value)
}

impl Message {
    /// Reads a dictionary behind its "d".
    fn dictionary(&mut self, reader: &mut Reader<'_>, outer: &[u8], depth: u8) -> Option<()> {
        loop {
            if reader.rest().first()? == &b'e' {
                reader.u8();
                return Some(());
            }
            let name = text(reader)?.to_vec();
            self.value(reader, outer, &name, depth)?;
        }
    }

    fn value(&mut self, reader: &mut Reader<'_>, outer: &[u8], name: &[u8], depth: u8) -> Option<()> {
        if depth == 0 {
            return None;
        }
        let value = match reader.rest().first()? {
            b'd' => {
                reader.u8();
                return self.dictionary(reader, name, depth - 1);
            }
            b'l' => {
                reader.u8();
                while reader.rest().first()? != &b'e' {
                    self.value(reader, name, name, depth - 1)?;
                }
                reader.u8();
                return Some(());
            }
            b'i' => {
                reader.u8();
                Value::Number(number(reader)?)
            }
            _ => Value::Text(text(reader)?.to_vec()),
        };
        if self.entries.len() < ENTRIES {
            self.entries.push((outer.to_vec(), name.to_vec(), value));
        }
        Some(())
    }

    fn read(bytes: &[u8], way: Direction) -> Option<Message> {
        let mut message = Message { way, entries: Vec::new() };
        let mut reader = Reader::new(bytes);
        if reader.u8()? != b'd' {
            return None;
        }
        message.dictionary(&mut reader, b"", DEPTH)?;
        Some(message)
    }

    fn entry(&self, outer: &[u8], name: &[u8]) -> Option<&Value> {
        let found = self.entries.iter().find(|(holder, known, _)| holder == outer && known == name);
        found.map(|(_, _, value)| value)
    }

    fn log_part(&self, outer: &[u8], json: &mut Json<'_>) {
        for (_, name, value) in self.entries.iter().filter(|(holder, _, _)| holder == outer) {
            let name = String::from_utf8_lossy(name);
            match value {
                Value::Text(bytes) => json.hex(&name, bytes, ""),
                Value::Number(number) => json.number(&name, *number),
            };
        }
    }
}

impl Parser for Dht {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::BitTorrentDht
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        if input.bytes.is_empty() {
            return Fed::Used(0);
        }
        match Message::read(input.bytes, way) {
            Some(message) if self.list.count() < context.settings.transactions_of(AppProtocol::BitTorrentDht) => {
                self.list.push(message);
                Fed::Used(input.bytes.len())
            }
            Some(_) => Fed::Failed,
            None => {
                self.list.anomaly(Anomaly("bittorrent_dht.malformed_packet"));
                Fed::Failed
            }
        }
    }

    fn transactions(&self) -> &dyn Transactions {
        &self.list
    }

    fn transactions_mut(&mut self) -> &mut dyn Transactions {
        &mut self.list
    }
}

impl Transaction for Message {
    fn progress(&self, _way: Direction) -> u8 {
        1
    }

    fn complete(&self, _way: Direction) -> u8 {
        1
    }

    fn only(&self) -> Option<Direction> {
        Some(self.way)
    }

    fn buffer<'t>(&'t self, _: Buffer, _: Direction, _: usize, _: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        None
    }

    fn log(&self, json: &mut Json<'_>) {
        if let Some(Value::Text(kind)) = self.entry(b"", b"q") {
            json.bytes("request_type", kind);
            json.nested("request", |json| self.log_part(b"a", json));
        }
        if self.entry(b"r", b"id").is_some() {
            json.nested("response", |json| self.log_part(b"r", json));
        }
        let (code, said) = (self.entry(b"e", b"e"), self.entries.iter().rfind(|(holder, _, _)| holder == b"e"));
        if let (Some(Value::Number(code)), Some((_, _, Value::Text(said)))) = (code, said) {
            json.nested("error", |json| {
                json.number("num", *code).bytes("msg", said);
            });
        }
        for (name, key) in [("transaction_id", b"t"), ("client_version", b"v")] {
            if let Some(Value::Text(bytes)) = self.entry(b"", key) {
                json.hex(name, bytes, "");
            }
        }
    }
}

/// How messages begin: a question, an answer, an answer with an address, an error.
const STARTS: [&[u8]; 4] = [b"d1:ad2:id20:", b"d1:rd2:id20:", b"d2:ip", b"d1:el"];

fn probe(_way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    let begins = STARTS.iter().any(|start| bytes.starts_with(start));
    if begins { Probe::Yes } else { Probe::No }
}

/// BitTorrent's hash table.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::BitTorrentDht,
    tcp: false,
    udp: true,
    ports: &[],
    patterns: &[],
    probe,
    on_ports_only: false,
    start,
    buffers: &[],
    hooks: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::exercise::{run, storm, tuple};

    const PING: &[u8] = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";

    #[test]
    fn a_question_is_told() {
        assert_eq!(probe(Direction::Original, PING, &tuple(17)), Probe::Yes);
        assert_eq!(probe(Direction::Original, b"d1:ad2:id20:short", &tuple(17)), Probe::Yes);
        assert_eq!(probe(Direction::Original, b"d1:xd2:id20:short", &tuple(17)), Probe::No);
        let talk = run(start, &Settings::default(), &[(Direction::Original, PING)], 0);
        let shown = talk.shown();
        assert!(shown.starts_with("{\"request_type\":\"ping\",\"request\":{\"id\":\"6162"), "{shown}");
        assert!(shown.contains("\"transaction_id\":\"6161\""), "{shown}");
    }

    #[test]
    fn an_error_has_a_number_and_a_text() {
        let error = b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee";
        let talk = run(start, &Settings::default(), &[(Direction::Reply, error)], 0);
        let told = "{\"error\":{\"num\":201,\"msg\":\"A Generic Error Ocurred\"},\"transaction_id\":\"6161\"}";
        assert!(talk.shown().starts_with(told), "{}", talk.shown());
    }

    #[test]
    fn nests_and_storms_break_nothing() {
        let deep = [&b"d1:a"[..], &[b'l'; 5000]].concat();
        assert!(Message::read(&deep, Direction::Original).is_none());
        storm(start, &Settings::default(), &[(Direction::Original, PING)], 3000);
    }
}
