//! TCP streams of text through the guard, in segments and super-segments, with and without a rule set.

use std::sync::Arc;

use weir_filter::policy::RuleSetProgram;
use weir_filter::spec::{Rule, Spec};
use weir_ids_rules::{RuleSet, Source, Variables, builtin};
use weir_wire::build::frames::{Ends, tcp};
use weir_wire::numbers::{TCP_ACK, TCP_PSH, TCP_SYN};
use weir_wire::{Offload, Packet, Pool, PortId, Segmentation, TcpFields, checksum};

use crate::cases::{all_sent, few_rules};
use crate::fabric::Bench;
use crate::measure::{Figure, Rounds, Step};

/// What a TCP segment carries on a link of 1500 bytes.
const SEGMENT: u16 = 1448;
/// Bytes of data in one connection: well below the depth to which streams are inspected.
const CONNECTION: usize = 384 << 10;
/// Allocations that the inspection of a connection may make: when it begins, and while its buffers grow to their size.
const PER_CONNECTION: u64 = 24;
/// Window scale 7, so that a window of 65535 means 8 MiB.
const SCALE: [u8; 4] = [3, 3, 7, 1];

/// Bytes of data after which inspection has seen what it wants of a connection: the depth, and some more.
const DEPTH: usize = (1 << 20) + (192 << 10);
/// Segments in which those bytes are sent, where they are not what is measured.
const AHEAD: usize = 32 << 10;

/// What looks at the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inspected {
    /// Nothing but the firewall.
    No,
    /// The starter rules.
    Starter,
    /// The starter rules have looked at all they want: the connection is settled.
    Settled,
}

/// What looks, and what is sent.
type Sent = (Inspected, Text);

/// One connection after the other, each sending text in segments of `length` bytes; the cost is that of the segments
/// with data.
pub(crate) fn stream(rounds: &Rounds, name: &str, length: usize, sent: Sent) -> Result<Figure, String> {
    let (inspected, kind) = sent;
    let rules = (inspected != Inspected::No).then_some("starter");
    let mut bench = Bench::new(2, &policy(rules)?)?;
    let text = text(kind);
    let (mut pool, mut port) = (Pool::default(), 1024u16);
    let figure = rounds.measure(name, || {
        port = port.wrapping_add(1).max(1024);
        let ahead = if inspected == Inspected::Settled { DEPTH } else { 0 };
        let mut connection = Connection { port, sent: 1, end: ahead };
        for (frame, from) in connection.handshake() {
            bench.add(&frame, from);
            bench.run();
        }
        let mut sum = Step { excused: PER_CONNECTION, ..Step::default() };
        connection.send(&mut bench, &mut pool, &text, AHEAD);
        connection.end += CONNECTION;
        sum.add(connection.send(&mut bench, &mut pool, &text, length));
        sum
    });
    all_sent(name, &bench)?;
    Ok(figure)
}

/// A policy that lets TCP pass and inspects it.
fn policy(rules: Option<&str>) -> Result<Spec, String> {
    let mut policy = few_rules();
    let rule = Rule { name: "tcp".into(), protocols: vec![6], inspect: rules.map(str::to_owned), ..Rule::default() };
    policy.rules.push(rule);
    if let Some(name) = rules {
        let text = builtin(name).ok_or_else(|| format!("there is no rule set \"{name}\""))?;
        let (set, problems) = RuleSet::parse(&[Source { name, text }], &Variables::default());
        let (program, late) = RuleSetProgram::compile(&set);
        if let Some(problem) = problems.iter().chain(&late).next() {
            return Err(problem.to_string());
        }
        policy.rule_sets.push((name.to_owned(), Arc::new(program)));
    }
    Ok(policy)
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// Words of logs and pages.
    Plain,
    /// The same, one word in four being what some rule looks for first: a sender who wants to cost us time.
    Baiting,
}

const PLAIN: [&str; 12] = [
    "the ",
    "request ",
    "content ",
    "<div class=\"item\">",
    "server\r\n",
    "user ",
    "system ",
    "data=",
    "Accept: */*\r\n",
    "0123456789 ",
    "{ return x; } ",
    "language ",
];
const BAIT: [&str; 4] = ["http://", "passwd ", "script ", "/bin/"];

/// Words for one connection, drawn from a fixed seed.
fn text(kind: Text) -> Vec<u8> {
    let bait = if kind == Text::Baiting { &BAIT } else { &["page ", "index ", "table ", "column "] };
    let words: Vec<&str> = PLAIN.iter().chain(bait).copied().collect();
    let mut state = 1u64;
    let mut text = Vec::with_capacity(CONNECTION * 2);
    while text.len() < CONNECTION {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.extend_from_slice(words.get((state >> 60) as usize).map_or(b"", |word| word.as_bytes()));
    }
    text
}

/// The initiator's side of a connection.
struct Connection {
    port: u16,
    sent: u32,
    /// Bytes of data that may be sent.
    end: usize,
}

impl Connection {
    fn fields(&self, flags: u8) -> TcpFields {
        TcpFields { source_port: self.port, destination_port: 80, seq: self.sent, ack: 1, flags, window: 65535 }
    }

    /// The three segments that open it, each with the port it comes in by.
    fn handshake(&self) -> [(Vec<u8>, u16); 3] {
        let there = Ends::ipv4(1, 2);
        let syn = TcpFields { seq: 0, ack: 0, ..self.fields(TCP_SYN) };
        [
            (tcp(there, syn, &SCALE, &[]), 1),
            (self.answer(TCP_SYN | TCP_ACK), 2),
            (tcp(there, self.fields(TCP_ACK), &[], &[]), 1),
        ]
    }

    /// What the other side says: it has everything, and room for more.
    fn answer(&self, flags: u8) -> Vec<u8> {
        let opens = flags & TCP_SYN != 0;
        let fields = TcpFields {
            source_port: 80,
            destination_port: self.port,
            seq: u32::from(!opens),
            ack: self.sent,
            flags,
            window: 65535,
        };
        tcp(Ends::ipv4(2, 1), fields, if opens { &SCALE } else { &[] }, &[])
    }

    /// Sends segments of a length up to the end, each burst after the other side has said that it has everything;
    /// returns the cost of the segments.
    fn send(&mut self, bench: &mut Bench, pool: &mut Pool, text: &[u8], length: usize) -> Step {
        let mut sum = Step::default();
        while self.sent as usize + length <= self.end {
            bench.add(&self.answer(TCP_ACK), 2);
            bench.run();
            while bench.waiting() < 16
                && let Some(packet) = self.next(text, length, pool)
            {
                bench.add_packet(&packet);
                pool.give(packet.buffer);
            }
            sum.add(bench.run());
        }
        bench.add(&self.answer(TCP_ACK), 2);
        bench.run();
        sum
    }

    /// The next segment with data; one that is longer than a link carries is marked to be cut.
    fn next(&mut self, text: &[u8], length: usize, pool: &mut Pool) -> Option<Packet> {
        let sent = self.sent as usize - 1;
        if sent + length > self.end {
            return None;
        }
        let start = sent % (CONNECTION - length);
        let frame = tcp(Ends::ipv4(1, 2), self.fields(TCP_ACK | TCP_PSH), &[], text.get(start..start + length)?);
        self.sent += length as u32;
        let mut packet = Packet::new(pool.copy(&frame)?, PortId(1), Offload::default());
        packet.parse().ok()?;
        if length > usize::from(SEGMENT) {
            checksum::make_partial(&mut packet);
            packet.offload.segmentation = Segmentation::Tcp4 { size: SEGMENT, ecn: false };
        }
        Some(packet)
    }
}
