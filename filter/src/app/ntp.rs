//! NTP (RFC 5905): each message is a transaction.

use weir_ids_rules::{AppProtocol, Buffer, Field};

use super::{
    Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Provides, Settings, Transaction, Transactions,
};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

/// Bytes of the shortest message: control messages have twelve, others forty-eight.
const CONTROL: usize = 12;

/// A message.
#[derive(Debug)]
pub struct Message {
    way: Direction,
    version: u8,
    mode: u8,
    stratum: u8,
    reference: [u8; 4],
}

#[derive(Debug, Default)]
struct Ntp {
    list: List<Message>,
}

fn start(_settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    Box::new(Ntp::default())
}

fn read(bytes: &[u8], way: Direction) -> Option<Message> {
    let [first, stratum, ..] = bytes else { return None };
    let (version, mode) = (first >> 3 & 7, first & 7);
    let needed = if matches!(mode, 6 | 7) { CONTROL } else { 48 };
    if !(3..=4).contains(&version) || bytes.len() < needed {
        return None;
    }
    let reference = bytes.get(12..16).and_then(|bytes| bytes.first_chunk().copied()).unwrap_or_default();
    Some(Message { way, version, mode, stratum: *stratum, reference })
}

impl Parser for Ntp {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Ntp
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        if input.bytes.is_empty() {
            return Fed::Used(0);
        }
        match read(input.bytes, way) {
            Some(message) if self.list.count() < context.settings.transactions_of(AppProtocol::Ntp) => {
                self.list.push(message);
                Fed::Used(input.bytes.len())
            }
            Some(_) => Fed::Failed,
            None => {
                self.list.anomaly(Anomaly("ntp.malformed_data"));
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

    fn buffer<'t>(&'t self, buffer: Buffer, way: Direction, nth: usize, _: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        (buffer == Buffer::NtpReferenceId && way == self.way && nth == 0).then_some(&self.reference)
    }

    fn number(&self, field: Field, way: Direction, nth: usize) -> Option<u64> {
        if way != self.way || nth > 0 {
            return None;
        }
        match field {
            Field::NtpMode => Some(self.mode.into()),
            Field::NtpStratum => Some(self.stratum.into()),
            Field::NtpVersion => Some(self.version.into()),
            _ => None,
        }
    }

    fn log(&self, json: &mut Json<'_>) {
        json.number("version", self.version).number("mode", self.mode).number("stratum", self.stratum);
        json.hex("reference_id", &self.reference, ":");
    }

    fn is_logged(&self) -> bool {
        false
    }
}

fn probe(_way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    if read(bytes, Direction::Original).is_some() { Probe::Yes } else { Probe::No }
}

/// NTP.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Ntp,
    tcp: false,
    udp: true,
    ports: &[123],
    patterns: &[],
    probe,
    on_ports_only: true,
    start,
    buffers: &[
        Provides::new(Buffer::NtpReferenceId, Direction::Original, 1),
        Provides::new(Buffer::NtpReferenceId, Direction::Reply, 1),
    ],
    hooks: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::exercise::{run, storm, tuple};

    fn message() -> Vec<u8> {
        let mut bytes = vec![0x23, 2];
        bytes.resize(48, 0);
        bytes
    }

    #[test]
    fn messages_are_found_by_version_and_length() {
        let bytes = message();
        assert_eq!(probe(Direction::Original, &bytes, &tuple(17)), Probe::Yes);
        assert_eq!(probe(Direction::Original, &bytes[..47], &tuple(17)), Probe::No);
        assert_eq!(probe(Direction::Original, b"\x26\x06\0\0\0\0\0\0\0\0\0\0", &tuple(17)), Probe::Yes);
        let talk = run(start, &Settings::default(), &[(Direction::Original, &bytes)], 0);
        assert!(talk.shown().starts_with("{\"version\":4,\"mode\":3,\"stratum\":2"), "{}", talk.shown());
    }

    #[test]
    fn storms_break_nothing() {
        storm(start, &Settings::default(), &[(Direction::Original, &message())], 500);
    }
}
