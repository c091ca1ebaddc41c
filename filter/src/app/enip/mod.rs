//! EtherNet/IP and CIP (ODVA, volumes 1 and 2), over TCP and UDP.
//!
//! A transaction is a request with its response; what comes alone is one too. A message has at most 64 KiB (its length
//! field). Of CIP, services packed into one message are looked into one level deep.

use weir_ids_rules::{AppProtocol, Buffer, Field};

use super::read::Reader;
use super::{
    Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Provides, Settings, Transaction, Transactions,
};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

mod cip;
mod message;

use cip::Service;
use message::{Message, Payload};

/// The port of explicit messages.
const PORT: u16 = 44818;

/// A request with its response.
#[derive(Debug, Default)]
pub struct Exchange {
    request: Option<Message>,
    response: Option<Message>,
}

#[derive(Debug, Default)]
struct Enip {
    list: List<Exchange>,
}

fn start(_settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    Box::new(Enip::default())
}

impl Enip {
    fn take(&mut self, way: Direction, message: Message, limit: usize) {
        let invalid = message.invalid;
        let exchange = Exchange::default();
        let room = self.list.count() < limit;
        match way {
            Direction::Original => {
                if room {
                    self.list.push(Exchange { request: Some(message), ..exchange });
                }
            }
            Direction::Reply => {
                let asked = self.list.iter_mut().find(|exchange| {
                    exchange.response.is_none() && exchange.request.as_ref().is_some_and(|asked| asked.fits(&message))
                });
                match asked {
                    Some(asked) => asked.response = Some(message),
                    None if room => {
                        self.list.push(Exchange { response: Some(message), ..exchange });
                    }
                    None => {}
                }
            }
        }
        if invalid {
            self.list.anomaly(Anomaly("enip.invalid_pdu"));
        }
    }
}

impl Parser for Enip {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Enip
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        let mut reader = Reader::new(input.bytes);
        while !reader.is_empty() {
            let used = input.bytes.len() - reader.len();
            match Message::read(&mut reader) {
                Ok(message) => self.take(way, message, context.settings.transactions_of(AppProtocol::Enip)),
                Err(need) => return Fed::Wait { used, need },
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

impl Exchange {
    fn side(&self, way: Direction) -> Option<&Message> {
        match way {
            Direction::Original => self.request.as_ref(),
            Direction::Reply => self.response.as_ref(),
        }
    }
}

impl Transaction for Exchange {
    fn progress(&self, way: Direction) -> u8 {
        // A response without its request has no other side to wait for.
        u8::from(self.side(way).is_some() || self.request.is_none())
    }

    fn complete(&self, _way: Direction) -> u8 {
        1
    }

    fn buffer<'t>(&'t self, buffer: Buffer, way: Direction, nth: usize, _: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        match (buffer, &self.side(way)?.payload) {
            (Buffer::EnipProductName, Payload::Identity(identity)) if nth == 0 => Some(&identity.name),
            (Buffer::EnipServiceName, Payload::Services(services)) if nth == 0 => Some(&services.name),
            _ => None,
        }
    }

    fn number(&self, field: Field, way: Direction, nth: usize) -> Option<u64> {
        let message = self.side(way)?;
        let request = way == Direction::Original;
        if let Payload::Cip(service) = &message.payload {
            let values: Option<Vec<u64>> = match field {
                Field::CipService => Some(service.all(|service| vec![service.number.into()])),
                Field::EnipCipClass if request => Some(service.all(|service| service.segments(8))),
                Field::EnipCipInstance if request => Some(service.all(|service| service.segments(9))),
                Field::EnipCipAttribute if request => Some(service.all(Service::attributes)),
                Field::EnipCipStatus if !request => Some(service.all(|service| service.status.into_iter().collect())),
                Field::EnipCipExtendedStatus if !request => {
                    Some(service.all(|service| service.extended.into_iter().collect()))
                }
                _ => None,
            };
            if let Some(values) = values {
                return values.get(nth).copied();
            }
        }
        if nth > 0 {
            return None;
        }
        match field {
            Field::EnipCommand => Some(message.command.into()),
            Field::EnipStatus => Some(message.status.into()),
            _ => message.payload.number(field),
        }
    }

    fn log(&self, json: &mut Json<'_>) {
        for (name, message) in [("request", &self.request), ("response", &self.response)] {
            if let Some(message) = message {
                json.nested(name, |json| message.log(json));
            }
        }
    }
}

fn probe(way: Direction, bytes: &[u8], tuple: &Tuple) -> Probe {
    let mut reader = Reader::new(bytes);
    let (Some(command), Some(_), Some(_), Some(status), Some(_), Some(options)) =
        (reader.le16(), reader.le16(), reader.le32(), reader.le32(), reader.le64(), reader.le32())
    else {
        return if tuple.protocol == 6 { Probe::More } else { Probe::No };
    };
    if message::command_name(command).is_none() || message::status_name(status).is_none() || options != 0 {
        return Probe::No;
    }
    let from_server = tuple.source_port == PORT && tuple.destination_port != PORT;
    if way == Direction::Original && from_server { Probe::Reversed } else { Probe::Yes }
}

/// EtherNet/IP.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Enip,
    tcp: true,
    udp: true,
    ports: &[PORT],
    patterns: &[],
    probe,
    on_ports_only: true,
    start,
    buffers: &[
        Provides::new(Buffer::EnipProductName, Direction::Reply, 1),
        Provides::new(Buffer::EnipServiceName, Direction::Reply, 1),
    ],
    hooks: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::exercise::{all_cuts, run, storm};

    fn message(command: u16, body: &[u8]) -> Vec<u8> {
        let mut out = command.to_le_bytes().to_vec();
        out.extend((body.len() as u16).to_le_bytes());
        out.extend([0; 20]);
        out.extend(body);
        out
    }

    fn unconnected(cip: &[u8]) -> Vec<u8> {
        let mut body = vec![0; 6];
        body.extend([2, 0, 0, 0, 0, 0, 0xb2, 0]);
        body.extend((cip.len() as u16).to_le_bytes());
        body.extend(cip);
        message(0x6f, &body)
    }

    fn identity() -> Vec<u8> {
        let mut item = vec![1, 0];
        item.extend([0; 16]);
        item.extend([1, 0, 12, 0, 58, 0, 4, 3, 0x30, 0, 0x8e, 0x4d, 0x52, 0, 4]);
        item.extend(b"1756\x03");
        let mut body = vec![1, 0, 0x0c, 0];
        body.extend((item.len() as u16).to_le_bytes());
        body.extend(item);
        message(0x63, &body)
    }

    fn script() -> Vec<(Direction, Vec<u8>)> {
        // Two services in one: get attribute 5 of class 1, instance 1; get all of class 2.
        let inner = [&[0x0e, 3, 0x20, 1, 0x24, 1, 0x30, 5][..], &[0x01, 1, 0x20, 2]].concat();
        let packed = [&[0x0a, 2, 0x20, 2, 0x24, 1, 2, 0, 6, 0, 14, 0][..], &inner].concat();
        vec![
            (Direction::Original, message(0x63, &[])),
            (Direction::Reply, identity()),
            (Direction::Original, unconnected(&packed)),
            (Direction::Reply, unconnected(&[0x8e, 0, 4, 1, 0x34, 0x12])),
        ]
    }

    fn borrowed(script: &[(Direction, Vec<u8>)]) -> Vec<(Direction, &[u8])> {
        script.iter().map(|(way, bytes)| (*way, &bytes[..])).collect()
    }

    #[test]
    fn exchanges_are_the_same_in_any_cut() {
        let script = script();
        let shown = all_cuts(start, &Settings::default(), &borrowed(&script));
        assert_eq!(shown.lines().count(), 2, "{shown}");
        let talk = run(start, &Settings::default(), &borrowed(&script), 0);
        assert_eq!(talk.value(0, Buffer::EnipProductName, Direction::Reply, 0), Some(b"1756".to_vec()));
        let number = |nth, field, way, value| talk.number(nth, field, way, value);
        assert_eq!(number(0, Field::EnipRevision, Direction::Reply, 0), Some(0x403));
        assert_eq!(number(0, Field::EnipSerial, Direction::Reply, 0), Some(0x524d8e));
        assert_eq!(number(0, Field::EnipState, Direction::Reply, 0), Some(3));
        assert_eq!(number(1, Field::CipService, Direction::Original, 1), Some(0x0e));
        assert_eq!(number(1, Field::EnipCipAttribute, Direction::Original, 0), Some(5));
        assert_eq!(number(1, Field::EnipCipClass, Direction::Original, 2), Some(2));
        assert_eq!(number(1, Field::EnipCipStatus, Direction::Reply, 0), Some(4));
        assert_eq!(number(1, Field::EnipCipExtendedStatus, Direction::Reply, 0), Some(0x1234));
    }

    #[test]
    fn storms_break_nothing() {
        let script = script();
        storm(start, &Settings::default(), &borrowed(&script), 3000);
    }
}
