//! Application protocols: which one a flow speaks, its messages as transactions, their parts for rules, their log lines.
//!
//! A parser gets the bytes of a direction in order, as they come, and makes transactions of them. Detection reads the
//! parts of transactions ([`Transaction::buffer`], [`Transaction::number`]) as soon as they are complete enough
//! ([`Provides::ready`]). The core ([`App`]) finds out the protocol, keeps bytes that a parser could not use yet, and
//! forgets transactions that are finished, inspected and logged.
//!
//! Hostile input: a parser never panics, holds bounded memory (every list has a limit and an [`Anomaly`] at it), and
//! spends time linear in the bytes it gets, however they are cut.

use std::fmt::Debug;

use weir_ids_rules::{AppProtocol, Buffer, Field};
use weir_wire::Instant;

use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

pub mod asn1;
pub mod bittorrent;
pub mod core;
pub mod dcerpc;
pub mod decompress;
pub mod dhcp;
pub mod dnp3;
pub mod dns;
pub mod enip;
#[cfg(test)]
mod exercise;
pub mod file;
pub mod ftp;
mod growing;
mod hash;
pub mod http1;
pub mod http2;
pub mod ike;
pub mod imap;
pub mod krb5;
pub mod ldap;
pub mod lines;
mod list;
pub mod mime;
pub mod modbus;
pub mod mqtt;
pub mod nfs;
pub mod ntp;
pub mod parts;
pub mod pgsql;
pub mod pop3;
mod probe;
pub mod quic;
pub mod rdp;
pub mod read;
pub mod recent;
pub mod rfb;
pub mod sip;
pub mod smb;
pub mod smtp;
pub mod snmp;
pub mod ssh;
pub mod telnet;
pub mod tftp;
pub mod tls;
pub mod websocket;

pub use core::{App, Chunk, Found, Identity, Outcome};
use file::{Content, Files};
pub use list::List;

/// Bytes of one direction that a parser is given.
#[derive(Clone, Copy, Debug)]
pub struct Input<'b> {
    /// In order, beginning with the first byte that the parser has not used.
    pub bytes: &'b [u8],
    /// The direction ends after these bytes.
    pub end: bool,
    /// When the packet that brought the last of them was seen.
    pub time: Instant,
}

/// What a parser made of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fed {
    /// It used so many bytes (all of them, or fewer where the rest must wait for more bytes).
    Used(usize),
    /// It used `used` bytes and has no use for the rest before there are `need` of them; saves looking at them again.
    Wait {
        /// Bytes used.
        used: usize,
        /// Bytes, counted after those used, before another try is worth it.
        need: usize,
    },
    /// This is not the protocol, or broken beyond repair: the flow is parsed no further.
    Failed,
    /// The rest of the flow says nothing that a rule could ask (encrypted): the flow is parsed no further.
    Finished,
    /// It used so many bytes; what follows belongs to another protocol, to be found out (`None`) or known.
    Upgrade {
        /// Bytes used.
        used: usize,
        /// The protocol that follows.
        to: Option<AppProtocol>,
    },
}

/// What all parsers of a worker share and read.
#[derive(Debug)]
pub struct Context<'c> {
    /// Limits and choices.
    pub settings: &'c Settings,
    /// The initiator's tuple.
    pub tuple: &'c Tuple,
    /// What other flows are to expect: the data connections of FTP and the like.
    pub expectations: &'c mut Vec<Expectation>,
}

/// A flow that was announced in another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Its initiator and responder; the source port may be 0 for "any".
    pub tuple: Tuple,
    /// What it will carry.
    pub protocol: AppProtocol,
    /// Name and command, handed to its parser (FTP: the file's name).
    pub label: Box<[u8]>,
    /// Number for the parser (FTP: the command, as `ftpdata_command` compares it).
    pub command: u8,
}

/// Limits and choices of the parsers; names follow Suricata's configuration where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of a request body that are inspected.
    pub request_body_limit: u64,
    /// Bytes of a response body that are inspected.
    pub response_body_limit: u64,
    /// Layers of compression undone.
    pub decompression_layers: u8,
    /// Bytes that decompression may make of one body.
    pub decompressed_limit: u64,
    /// Live transactions of one flow.
    pub transactions: usize,
    /// The same of protocols that have their own number.
    pub transactions_by: Vec<(AppProtocol, usize)>,
    /// Bytes of a direction kept for a parser that cannot use them yet.
    pub pending: usize,
    /// Protocols not parsed.
    pub disabled: Vec<AppProtocol>,
    /// Protocols not parsed over one transport: 6 (TCP) or 17 (UDP).
    pub disabled_over: Vec<(AppProtocol, u8)>,
    /// Ports at which a protocol is looked for besides its own.
    pub more_ports: Vec<(AppProtocol, u16)>,
    /// Settings of single protocols by their dotted names, for those that nothing else reads.
    pub named: std::collections::BTreeMap<String, String>,
    /// Hashes are computed of files.
    pub hash_files: bool,
    /// Bytes of files are handed to the virus check.
    pub scan_files: bool,
    /// Bytes of each file that are kept until it is known whether rules want it stored; 0: none.
    pub keep_files: usize,
    /// Choices of HTTP/1.
    pub http: http1::Options,
    /// The same of servers that have their own.
    pub http_servers: http1::Servers,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            request_body_limit: 100 << 10,
            response_body_limit: 100 << 10,
            decompression_layers: 2,
            decompressed_limit: 10 << 20,
            transactions: 256,
            transactions_by: Vec::new(),
            pending: 128 << 10,
            disabled: Vec::new(),
            disabled_over: Vec::new(),
            more_ports: Vec::new(),
            named: std::collections::BTreeMap::new(),
            hash_files: true,
            scan_files: false,
            keep_files: 0,
            http: http1::Options::default(),
            http_servers: http1::Servers::default(),
        }
    }
}

impl Settings {
    /// Live transactions of one flow of this protocol.
    pub fn transactions_of(&self, protocol: AppProtocol) -> usize {
        let own = self.transactions_by.iter().find(|(of, _)| *of == protocol);
        own.map_or(self.transactions, |(_, number)| *number)
    }
}

/// A protocol's parser: state of one flow.
pub trait Parser: Debug + Send {
    /// The protocol; may become more exact as bytes come.
    fn protocol(&self) -> AppProtocol;

    /// Takes bytes of one direction. Called again with the bytes left over and those that came since.
    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed;

    /// The flow was announced in another one.
    fn expected(&mut self, _expectation: &Expectation) {}

    /// The flow was handed over by another parser, whose newest transaction said this.
    fn inherit(&mut self, _said: &[(Buffer, Vec<u8>)]) {}

    /// The flow is not handed over to the protocol that [`Fed::Upgrade`] named: it goes on with this one.
    fn refuse_upgrade(&mut self) {}

    /// So many bytes of the direction were lost. `false`: the parser cannot go on.
    fn gap(&mut self, _way: Direction, _bytes: u64, _context: &mut Context<'_>) -> bool {
        false
    }

    /// So many transactions have passed that were told nobody of ([`App::resume`]).
    fn passed(&mut self, _transactions: u64) {}

    /// The live transactions, oldest first.
    fn transactions(&self) -> &dyn Transactions;

    /// The live transactions, to be marked and forgotten.
    fn transactions_mut(&mut self) -> &mut dyn Transactions;

    /// Anomalies of the flow that belong to no transaction, since the last call.
    fn take_anomalies(&mut self) -> Vec<Anomaly> {
        self.transactions_mut().take_stray()
    }
}

/// Something the protocol does not allow, by the name that `app-layer-event` uses ("http.request_field_too_long").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anomaly(pub &'static str);

/// A list of transactions. [`List`] is the one implementation; the trait hides the protocol's type from detection.
pub trait Transactions: Debug {
    /// How many are live.
    fn len(&self) -> usize;
    /// The nth of the live ones.
    fn get(&self, nth: usize) -> Option<(&Mark, &dyn Transaction)>;
    /// The nth, to be marked and its files moved on.
    fn get_mut(&mut self, nth: usize) -> Option<(&mut Mark, &mut dyn Transaction)>;
    /// Forgets the nth.
    fn remove(&mut self, nth: usize);
    /// Anomalies that were met while there was no transaction, since the last call.
    fn take_stray(&mut self) -> Vec<Anomaly>;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What detection and logging remember of a transaction. Owned by the list, written by them.
#[derive(Debug, Default)]
pub struct Mark {
    /// Number of the transaction in its flow, from 0.
    pub number: u64,
    /// What detection remembers, by direction.
    pub detection: [crate::detect::TxMemory; 2],
    /// Its log line was written.
    pub logged: bool,
    /// The content filter has judged the site that it names.
    pub judged: bool,
    /// Anomalies met in it.
    pub anomalies: Vec<Anomaly>,
    /// Anomalies already told.
    pub told: usize,
}

impl Mark {
    /// Notes an anomaly, once.
    pub fn note(&mut self, anomaly: Anomaly) {
        if self.anomalies.len() < 64 && !self.anomalies.contains(&anomaly) {
            self.anomalies.push(anomaly);
        }
    }
}

/// One message with its answer, or whatever else the protocol calls a unit.
pub trait Transaction: Debug {
    /// How far a direction is, on the protocol's own scale from 0 on. It never goes back.
    fn progress(&self, way: Direction) -> u8;

    /// The progress at which a direction is complete.
    fn complete(&self, way: Direction) -> u8;

    /// The nth value of a buffer, in the direction; `None` where there is no such value (a buffer with one value has
    /// it at 0). `work` is room to build it in, empty when called; an empty value is `Some(&[])`.
    fn buffer<'t>(&'t self, buffer: Buffer, way: Direction, nth: usize, work: &'t mut Vec<u8>) -> Option<&'t [u8]>;

    /// The nth value of a number.
    fn number(&self, _field: Field, _way: Direction, _nth: usize) -> Option<u64> {
        None
    }

    /// Files that the direction carries: bodies, attachments, transfers.
    fn files(&self, _way: Direction) -> Option<&Files> {
        None
    }

    /// The same, to be moved on.
    fn files_mut(&mut self, _way: Direction) -> Option<&mut Files> {
        None
    }

    /// A buffer that grows while rules look at it (`http.response_body`): what [`Transaction::buffer`] shows is its
    /// window, and the rules look at it each time the window has something new. Files need not be named here.
    fn grown(&self, _buffer: Buffer, _way: Direction) -> Option<&Content> {
        None
    }

    /// Rules have looked at all windows of a direction: files and other growing buffers move on.
    fn mark_inspected(&mut self, way: Direction) {
        if let Some(files) = self.files_mut(way) {
            files.list.iter_mut().for_each(|file| file.content.mark_inspected());
        }
    }

    /// Conditions that no buffer or number expresses (`dcerpc.iface`, `ssl_version`): answers by keyword and argument.
    fn special(&self, _keyword: &str, _argument: &str, _way: Direction) -> Option<bool> {
        None
    }

    /// Writes what EVE shows of it, into the object named after the protocol (`"http": {...}`).
    fn log(&self, json: &mut Json<'_>);

    /// Writes the objects that EVE shows beside the one named after the protocol (`"email": {...}`, `"rpc": {...}`).
    fn log_beside(&self, _json: &mut Json<'_>) {}

    /// EVE writes an event of its own for it.
    fn is_logged(&self) -> bool {
        true
    }

    /// The one direction it has, for messages that stand alone (DNS): rules are not judged on it in the other one.
    fn only(&self) -> Option<Direction> {
        None
    }

    /// The direction in which EVE shows its event: most protocols show that of the flow.
    fn shown_in(&self) -> Direction {
        self.only().unwrap_or(Direction::Original)
    }

    /// EVE shows its event in the direction of the packet that brings it about instead: where streams are read as they
    /// are acknowledged, that of the side that acknowledges.
    fn shown_with_packet(&self) -> bool {
        false
    }
}

/// A buffer that a protocol's transactions have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provides {
    /// The buffer.
    pub buffer: Buffer,
    /// The direction in which it is said.
    pub way: Direction,
    /// The progress from which on it is complete (or grows, for bodies).
    pub ready: u8,
}

impl Provides {
    /// For tables.
    pub const fn new(buffer: Buffer, way: Direction, ready: u8) -> Provides {
        Provides { buffer, way, ready }
    }
}

/// How a protocol is found, and what it has. Each protocol's module has one in [`PROTOCOLS`].
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// The protocol.
    pub protocol: AppProtocol,
    /// It runs over TCP.
    pub tcp: bool,
    /// It runs over UDP.
    pub udp: bool,
    /// Server ports on which [`Description::probe`] is asked first; on others it is asked after the patterns.
    pub ports: &'static [u16],
    /// Patterns at the start of a direction that suggest it: direction, offset up to which it may stand, bytes.
    pub patterns: &'static [(Direction, u16, &'static [u8])],
    /// Looks at the first bytes of a direction.
    pub probe: fn(way: Direction, bytes: &[u8], tuple: &Tuple) -> Probe,
    /// The probe is asked on its `ports` only; elsewhere a pattern must name the protocol first.
    pub on_ports_only: bool,
    /// A parser for a new flow.
    pub start: fn(settings: &Settings, tuple: &Tuple) -> Box<dyn Parser>,
    /// Buffers.
    pub buffers: &'static [Provides],
    /// Names of the states of the rule language's hooks (`tls:client_hello_done`), with direction and progress.
    pub hooks: &'static [(&'static str, Direction, u8)],
}

/// What a probe says of the first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It is this protocol.
    Yes,
    /// It is this protocol, but the bytes come from the responder's side: the flow was met the wrong way round.
    Reversed,
    /// It is not.
    No,
    /// More bytes are needed.
    More,
}

/// All protocols that can be parsed.
pub const PROTOCOLS: &[&Description] = &[
    &http1::DESCRIPTION,
    &dns::DESCRIPTION,
    &dns::MDNS,
    &dns::LLMNR,
    &tls::DESCRIPTION,
    &ssh::DESCRIPTION,
    &smtp::DESCRIPTION,
    &ftp::DESCRIPTION,
    &ftp::data::DESCRIPTION,
    &telnet::DESCRIPTION,
    &tftp::DESCRIPTION,
    &dcerpc::DESCRIPTION,
    &smb::DESCRIPTION,
    &sip::DESCRIPTION,
    &krb5::DESCRIPTION,
    &mqtt::DESCRIPTION,
    &pgsql::DESCRIPTION,
    &rfb::DESCRIPTION,
    &http2::DESCRIPTION,
    &http2::DOH2,
    &quic::DESCRIPTION,
    &ldap::DESCRIPTION,
    &websocket::DESCRIPTION,
    &enip::DESCRIPTION,
    &nfs::DESCRIPTION,
    &ike::DESCRIPTION,
    &rdp::DESCRIPTION,
    &pop3::DESCRIPTION,
    &imap::DESCRIPTION,
    &dnp3::DESCRIPTION,
    &snmp::DESCRIPTION,
    &ntp::DESCRIPTION,
    &dhcp::DESCRIPTION,
    &modbus::DESCRIPTION,
    &bittorrent::DESCRIPTION,
];
