//! TFTP (RFC 1350): the requests to read and to write. The blocks of a file go between other ports.

use weir_ids_rules::{AppProtocol, Buffer};

use super::read::Reader;
use super::{Context, Description, Fed, Input, List, Parser, Probe, Settings, Transaction, Transactions};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

const READ: u16 = 1;
const WRITE: u16 = 2;
/// Acknowledges options (RFC 2347).
const LAST: u16 = 6;
/// Bytes of a file's name that are kept.
const NAME: usize = 255;

/// How it is found and what its transactions have.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Tftp,
    tcp: false,
    udp: true,
    ports: &[69],
    patterns: &[],
    probe,
    on_ports_only: true,
    start,
    buffers: &[],
    hooks: &[],
};

fn probe(_way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    match Reader::new(bytes).be16() {
        Some(READ..=LAST) if bytes.len() >= 4 => Probe::Yes,
        Some(_) | None => Probe::No,
    }
}

fn start(_settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    Box::new(Tftp::default())
}

#[derive(Debug, Default)]
struct Tftp {
    list: List<Request>,
}

impl Parser for Tftp {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Tftp
    }

    fn feed(&mut self, _way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        if let Some(request) = Request::read(input.bytes)
            && self.list.count() < context.settings.transactions_of(AppProtocol::Tftp)
        {
            self.list.push(request);
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

/// A request to read or to write a file.
#[derive(Debug)]
struct Request {
    packet: &'static str,
    file: Box<[u8]>,
    mode: &'static str,
}

impl Request {
    fn read(bytes: &[u8]) -> Option<Request> {
        let mut reader = Reader::new(bytes);
        let packet = match reader.be16()? {
            READ => "read",
            WRITE => "write",
            _ => return None,
        };
        let mut texts = reader.rest().split(|&byte| byte == 0);
        let (file, mode) = (texts.next()?, texts.next()?);
        let modes = ["netascii", "mail", "octet"];
        let mode = modes.into_iter().find(|known| mode.eq_ignore_ascii_case(known.as_bytes()))?;
        Some(Request { packet, file: file.get(..NAME).unwrap_or(file).into(), mode })
    }
}

impl Transaction for Request {
    fn progress(&self, _way: Direction) -> u8 {
        1
    }

    fn complete(&self, _way: Direction) -> u8 {
        1
    }

    fn buffer<'t>(&'t self, _: Buffer, _way: Direction, _nth: usize, _work: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        None
    }

    fn log(&self, json: &mut Json<'_>) {
        json.text("packet", self.packet).bytes("file", &self.file).text("mode", self.mode);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::exercise::{run, storm};

    const ASK: &[u8] = b"\0\x01rfc.txt\0OCTET\0";

    #[test]
    fn requests_are_transactions_and_blocks_are_not() {
        let script = [(Direction::Original, ASK), (Direction::Reply, &b"\0\x03\0\x01data"[..])];
        let shown = run(start, &Settings::default(), &script, 0).shown();
        assert_eq!(shown, "{\"packet\":\"read\",\"file\":\"rfc.txt\",\"mode\":\"octet\"} [] 1/1 1/1\n");
        storm(start, &Settings::default(), &script, 500);
    }

    #[test]
    fn requests_with_an_unknown_mode_are_none() {
        assert!(Request::read(b"\0\x02f\0what\0").is_none());
        assert!(Request::read(b"\0\x02f").is_none());
    }

    #[test]
    fn probes_know_the_codes() {
        let tuple = crate::app::exercise::tuple(17);
        assert_eq!(probe(Direction::Original, ASK, &tuple), Probe::Yes);
        assert_eq!(probe(Direction::Original, b"\0\x09ab", &tuple), Probe::No);
    }
}
