//! Modbus/TCP (Modbus Application Protocol 1.1b3, Messaging on TCP/IP 1.0b).
//!
//! A transaction is a request with the response of the same number. A message has at most 260 bytes.

use weir_ids_rules::{AppProtocol, Buffer};

use super::read::Reader;
use super::{Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Settings, Transaction, Transactions};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

mod asked;
mod log;
mod message;
#[cfg(test)]
mod tests;

use message::Message;

/// Requests without a response.
const UNANSWERED: usize = 500;

/// A request with its response.
#[derive(Debug, Default)]
pub struct Exchange {
    number: u64,
    request: Option<Message>,
    response: Option<Message>,
}

#[derive(Debug, Default)]
struct Modbus {
    list: List<Exchange>,
}

fn start(_settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    Box::new(Modbus::default())
}

impl Modbus {
    fn take(&mut self, way: Direction, message: Message) -> bool {
        let odd: Vec<&'static str> = message.oddities(way).collect();
        let number = self.list.next_number();
        match way {
            Direction::Original => {
                if self.list.count() >= UNANSWERED {
                    self.list.anomaly(Anomaly("modbus.flooded"));
                    return false;
                }
                self.list.push(Exchange { number, request: Some(message), response: None });
                odd.into_iter().for_each(|name| {
                    self.list.anomaly(Anomaly(name));
                });
            }
            Direction::Reply => {
                let asked = self.list.marked_mut().find(|(_, exchange)| {
                    let fits = exchange.request.as_ref().is_some_and(|request| request.id == message.id);
                    fits && exchange.response.is_none()
                });
                if let Some((mark, exchange)) = asked {
                    let differs = exchange.request.as_ref().is_some_and(|request| !message.answers(request));
                    exchange.response = Some(message);
                    odd.into_iter().for_each(|name| mark.note(Anomaly(name)));
                    if differs {
                        mark.note(Anomaly("modbus.value_mismatch"));
                    }
                } else if self.list.count() < UNANSWERED {
                    self.list.push(Exchange { number, request: None, response: Some(message) });
                    self.list.anomaly(Anomaly("modbus.unsolicited_response"));
                }
            }
        }
        true
    }
}

impl Parser for Modbus {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Modbus
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, _context: &mut Context<'_>) -> Fed {
        let mut reader = Reader::new(input.bytes);
        while !reader.is_empty() {
            let used = input.bytes.len() - reader.len();
            match Message::read(&mut reader) {
                Ok(message) => {
                    if !self.take(way, message) {
                        return Fed::Failed;
                    }
                }
                Err(message::Refusal::Need(need)) => return Fed::Wait { used, need },
                Err(message::Refusal::Bad) => {
                    self.list.anomaly(Anomaly("modbus.invalid_length"));
                    return Fed::Failed;
                }
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

impl Transaction for Exchange {
    fn progress(&self, way: Direction) -> u8 {
        match way {
            Direction::Original => 1,
            Direction::Reply => u8::from(self.response.is_some()),
        }
    }

    fn complete(&self, _way: Direction) -> u8 {
        1
    }

    fn buffer<'t>(&'t self, _: Buffer, _: Direction, _: usize, _: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        None
    }

    fn special(&self, keyword: &str, argument: &str, way: Direction) -> Option<bool> {
        // Rules ask about requests.
        let request = self.request.as_ref().filter(|_| keyword == "modbus" && way == Direction::Original)?;
        Some(asked::holds(request, argument))
    }

    fn log(&self, json: &mut Json<'_>) {
        json.number("id", self.number + 1);
        let sides = [("request", &self.request, Direction::Original), ("response", &self.response, Direction::Reply)];
        for (name, message, way) in sides {
            if let Some(message) = message {
                json.nested(name, |json| log::write(message, way, json));
            }
        }
    }
}

fn probe(_way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    match Message::read(&mut Reader::new(bytes)) {
        Ok(message) if message.protocol == 0 => Probe::Yes,
        Ok(_) | Err(message::Refusal::Bad) => Probe::No,
        Err(message::Refusal::Need(_)) => match bytes {
            [_, _, 0, 0, ..] if bytes.len() >= 8 => Probe::Yes,
            _ if bytes.len() >= 8 => Probe::No,
            _ => Probe::More,
        },
    }
}

/// Modbus.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Modbus,
    tcp: true,
    udp: false,
    ports: &[502],
    patterns: &[],
    probe,
    on_ports_only: true,
    start,
    buffers: &[],
    hooks: &[],
};
