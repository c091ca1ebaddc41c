//! FTP (RFC 959, 2228, 2428): commands with their replies, and the data connections that they announce.
//!
//! One transaction is one command with the replies to it; a reply that no command waits for is one of its own. A
//! `RETR`, `STOR`, `APPE` or `STOU` after `PORT`, `PASV` and the like announces its data connection; [`data`] reads that one.
//!
//! Limits: [`LINE`] bytes of a line, [`REPLIES`] lines of reply to a command, `ftp.max-tx` transactions; the flow is
//! parsed no further beyond those, which is told.

mod command;
pub mod data;
#[cfg(test)]
mod tests;
mod transaction;

use std::net::IpAddr;

use weir_ids_rules::{AppProtocol, Buffer};

use super::Transactions;
use super::lines::{Lines, Next};
use super::read::starts_with_lower;
use super::{Anomaly, Context, Description, Expectation, Fed, Input, List, Parser, Probe, Provides, Settings};
use crate::event::Tuple;
use crate::inspect::Direction;
use command::Command;
use transaction::{COMPLETE, Exchange};

/// Bytes of a line that are read.
const LINE: usize = 4096;
/// Lines of reply kept of a command.
const REPLIES: usize = 128;
/// Transactions at the same time, unless configured.
const TRANSACTIONS: usize = 1024;
/// Bytes of a file's name.
const NAME: usize = 1024;

/// How FTP is found and what its transactions have.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Ftp,
    tcp: true,
    udp: false,
    ports: &[21],
    patterns: &[
        (Direction::Reply, 0, b"220 ("),
        (Direction::Original, 0, b"FEAT"),
        (Direction::Original, 0, b"USER "),
        (Direction::Original, 0, b"PASS "),
        (Direction::Original, 0, b"PORT "),
    ],
    probe,
    on_ports_only: true,
    start,
    buffers: &[
        Provides::new(Buffer::FtpCommand, Direction::Original, 0),
        Provides::new(Buffer::FtpCommandData, Direction::Original, 0),
        Provides::new(Buffer::FtpReply, Direction::Reply, COMPLETE),
        Provides::new(Buffer::FtpCompletionCode, Direction::Reply, COMPLETE),
    ],
    hooks: &[],
};

/// The server's greeting or the client's first command. POP3 says `USER` as well, but its server greets otherwise.
fn probe(way: Direction, bytes: &[u8], tuple: &Tuple) -> Probe {
    let on_port = tuple.destination_port == 21 || tuple.source_port == 21;
    let starts: &[&[u8]] = match way {
        Direction::Original => &[b"user ", b"pass ", b"port ", b"feat", b"auth tls"],
        Direction::Reply if on_port => &[b"220 ", b"220-"],
        Direction::Reply => &[b"220 ("],
    };
    if way == Direction::Original && tuple.destination_port == 110 {
        return Probe::No;
    }
    if starts.iter().any(|start| starts_with_lower(bytes, start)) {
        return Probe::Yes;
    }
    let possible = starts.iter().any(|start| bytes.len() < start.len() && starts_with_lower(start, bytes));
    if possible { Probe::More } else { Probe::No }
}

fn start(settings: &Settings, tuple: &Tuple) -> Box<dyn Parser> {
    let limit = settings.named.get("app-layer.protocols.ftp.max-tx").and_then(|text| text.parse().ok());
    Box::new(Ftp { limit: limit.unwrap_or(TRANSACTIONS), tuple: *tuple, ..Ftp::default() })
}

/// Where the next data connection will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announced {
    /// The server comes to this port of the client.
    Active(u16),
    /// The client comes to this port of the server.
    Passive(u16),
}

#[derive(Debug)]
struct Ftp {
    list: List<Exchange>,
    lines: [Lines; 2],
    limit: usize,
    tuple: Tuple,
    /// The last command.
    command: Option<Command>,
    /// What follows the last `PORT` or `EPRT`.
    port_line: Vec<u8>,
    announced: Option<Announced>,
}

impl Default for Ftp {
    fn default() -> Ftp {
        let nowhere = IpAddr::from([0, 0, 0, 0]);
        let tuple = Tuple { source: nowhere, destination: nowhere, source_port: 0, destination_port: 0, protocol: 6 };
        Ftp {
            list: List::default(),
            lines: Default::default(),
            limit: TRANSACTIONS,
            tuple,
            command: None,
            port_line: Vec::new(),
            announced: None,
        }
    }
}

/// What to do after a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Go,
    Fail,
    Tls,
}

impl Parser for Ftp {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Ftp
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        let mut used = 0;
        while let Some(rest) = input.bytes.get(used..).filter(|rest| !rest.is_empty()) {
            let [asks, answers] = &mut self.lines;
            let lines = if way == Direction::Original { asks } else { answers };
            let (text, cut) = match lines.next(rest, LINE) {
                Next::Line { text, used: length, cut } => {
                    used += length;
                    (text, cut)
                }
                Next::Rest(length) => {
                    used += length;
                    continue;
                }
                Next::Open => break,
            };
            let then = match way {
                Direction::Original => self.request(text, cut, context),
                Direction::Reply => self.reply(text, cut),
            };
            match then {
                Then::Go => {}
                Then::Fail => return Fed::Failed,
                Then::Tls => return Fed::Upgrade { used, to: Some(AppProtocol::Tls) },
            }
        }
        Fed::Used(used)
    }

    fn transactions(&self) -> &dyn Transactions {
        &self.list
    }

    fn transactions_mut(&mut self) -> &mut dyn Transactions {
        &mut self.list
    }
}

impl Ftp {
    /// A line of the client. One that begins with no command known is left alone.
    fn request(&mut self, text: &[u8], cut: bool, context: &mut Context<'_>) -> Then {
        self.command = Command::at_start(text);
        let Some(command) = self.command else { return Then::Go };
        if !self.begin(Some(command)) {
            return Then::Fail;
        }
        if let Some((mark, exchange)) = self.list.marked_mut().next_back() {
            exchange.request = text.get(command.name().len()..).unwrap_or_default().trim_ascii().to_vec();
            exchange.request_cut = cut;
            let address = command::address(text.get(4..).unwrap_or_default());
            exchange.bounce =
                command.name() == "PORT" && address.is_some_and(|address| IpAddr::from(address) != self.tuple.source);
            if cut {
                mark.note(Anomaly("ftp.request_command_too_long"));
            }
        }
        match command.name() {
            "PORT" | "EPRT" => self.port_line = text.get(4..).unwrap_or_default().to_vec(),
            "RETR" => self.announce(text, data::RETRIEVE, context),
            "STOR" | "APPE" => self.announce(text, data::STORE, context),
            // The server names the file.
            "STOU" => self.announce(b"STOU (unique)", data::STORE, context),
            "LIST" | "NLST" => self.announce(b"", data::LISTING, context),
            _ => {}
        }
        Then::Go
    }

    /// Begins a transaction; too many at once are told, and end the parsing.
    fn begin(&mut self, command: Option<Command>) -> bool {
        if self.list.count() > self.limit {
            self.list.anomaly(Anomaly("ftp.too_many_transactions"));
            return false;
        }
        self.list.push(Exchange { command, ..Exchange::default() });
        true
    }

    /// Tells of the data connection that carries a file.
    fn announce(&mut self, text: &[u8], command: u8, context: &mut Context<'_>) {
        let name = text.get(5..).unwrap_or_default().trim_ascii();
        let Some(announced) = self.announced.take() else { return };
        if name.is_empty() && command != data::LISTING {
            return;
        }
        let (source, destination, port) = match announced {
            Announced::Active(port) => (self.tuple.destination, self.tuple.source, port),
            Announced::Passive(port) => (self.tuple.source, self.tuple.destination, port),
        };
        let tuple = Tuple { source, destination, source_port: 0, destination_port: port, protocol: 6 };
        let label = name.get(..NAME).unwrap_or(name).into();
        context.expectations.push(Expectation { tuple, protocol: AppProtocol::FtpData, label, command });
    }

    /// A line of the server.
    fn reply(&mut self, text: &[u8], cut: bool) -> Then {
        let open = self.list.iter_mut().any(|exchange| !exchange.done);
        if !open && self.list.count() == 0 && !self.begin(None) {
            return Then::Fail;
        }
        let mut then = Then::Go;
        let announced = match self.command.map(Command::name) {
            Some("AUTH TLS") if text.starts_with(b"234 ") => {
                then = Then::Tls;
                None
            }
            Some("EPRT") => command::extended_port(&self.port_line).map(Announced::Active),
            Some("PORT") => command::port(&self.port_line).map(Announced::Active),
            Some("PASV") if text.starts_with(b"227 ") => command::passive(text).map(Announced::Passive),
            Some("EPSV") if text.starts_with(b"229 ") => command::extended_passive(text).map(Announced::Passive),
            _ => None,
        };
        let mut list = self.list.marked_mut();
        let found = if open { list.find(|(_, exchange)| !exchange.done) } else { list.next_back() };
        let Some((mark, exchange)) = found else { return Then::Fail };
        if announced.is_some() {
            self.announced = announced;
            exchange.announced = announced;
        }
        if cut {
            exchange.reply_cut = true;
            mark.note(Anomaly("ftp.response_command_too_long"));
        }
        let text = text.trim_ascii_end();
        if !text.is_empty() && exchange.replies.len() < REPLIES {
            exchange.replies.push(text.to_vec());
        }
        // 1yz: the command is under way, another reply follows (RFC 959, 4.2).
        let preliminary = matches!(text, [b'1', b'0'..=b'9', b'0'..=b'9', b' ', ..]);
        if !preliminary {
            exchange.done = true;
        }
        then
    }
}
