//! A connection, one packet at a time.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use weir_ids_rules::{RuleSet, Source, Variables};
use weir_wire::numbers::*;
use weir_wire::{Instant, Offload, Packet, Pool, PortId};

use crate::detect::FlowFacts;
use crate::event::Tuple;
use crate::inspect::{Direction, Findings, FlowInspect, Judgement, RuleSetProgram, Seen, StreamMemory};

pub const CLIENT: Direction = Direction::Original;
pub const SERVER: Direction = Direction::Reply;

pub fn program(text: &str) -> Arc<RuleSetProgram> {
    let (set, problems) = RuleSet::parse(&[Source { name: "test", text }], &Variables::default());
    assert!(problems.is_empty(), "{}", problems[0]);
    let (program, problems) = RuleSetProgram::compile(&set);
    assert!(problems.is_empty(), "{}", problems[0]);
    Arc::new(program)
}

/// One flow with its inspection.
pub struct Conversation {
    pub tuple: Tuple,
    pub flow: Option<Box<FlowInspect>>,
    pub memory: StreamMemory,
    pub depth: u64,
    pub established: bool,
    pub facts: FlowFacts,
    pub now: Instant,
    /// Sequence numbers of the two SYNs.
    pub isn: [u32; 2],
    pool: Pool,
}

/// What came of one packet.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    pub judgement: Judgement,
    pub sids: Vec<u32>,
    pub settled: bool,
}

impl Told {
    #[track_caller]
    pub fn is(&self, judgement: Judgement, sids: &[u32]) {
        assert_eq!((self.judgement, self.sids.as_slice()), (judgement, sids));
    }

    #[track_caller]
    pub fn passes(&self) {
        self.is(Judgement::Pass, &[]);
    }
}

impl Conversation {
    pub fn new(program: &Arc<RuleSetProgram>, protocol: u8, port: u16) -> Conversation {
        let tuple = Tuple {
            source: Ipv4Addr::new(10, 0, 0, 1).into(),
            destination: Ipv4Addr::new(10, 0, 0, 2).into(),
            source_port: 40000,
            destination_port: port,
            protocol,
        };
        Conversation {
            tuple,
            flow: FlowInspect::new(program, &tuple, false),
            memory: StreamMemory::new(1 << 24, 1 << 20),
            depth: 1 << 20,
            established: true,
            facts: FlowFacts::default(),
            now: Instant::ZERO,
            isn: [1000, 5000],
            pool: Pool::default(),
        }
    }

    /// A TCP connection to this port that was there before it is watched.
    pub fn late(program: &Arc<RuleSetProgram>, port: u16) -> Conversation {
        let mut c = Conversation::new(program, PROTOCOL_TCP, port);
        c.flow = FlowInspect::new(program, &c.tuple, true);
        c
    }

    /// A TCP connection to this port, its handshake done.
    pub fn tcp(program: &Arc<RuleSetProgram>, port: u16) -> Conversation {
        Conversation::tcp_from(program, port, [1000, 5000])
    }

    pub fn tcp_from(program: &Arc<RuleSetProgram>, port: u16, isn: [u32; 2]) -> Conversation {
        let mut c = Conversation::new(program, PROTOCOL_TCP, port);
        c.isn = isn;
        c.established = false;
        c.segment(CLIENT, TCP_SYN, isn[0], 0, b"");
        c.segment(SERVER, TCP_SYN | TCP_ACK, isn[1], isn[0].wrapping_add(1), b"");
        c.segment(CLIENT, TCP_ACK, isn[0].wrapping_add(1), isn[1].wrapping_add(1), b"");
        c.established = true;
        c
    }

    /// Other rules from here on; whether any of them concerns it.
    pub fn replace(&mut self, program: &Arc<RuleSetProgram>) -> bool {
        self.flow.as_mut().unwrap().replace_program(program, (None, None), &mut self.memory)
    }

    /// Data at this offset of the direction's stream, with an acknowledgment of nothing.
    pub fn data(&mut self, direction: Direction, offset: u32, data: &[u8]) -> Told {
        let [own, other] = self.numbers(direction);
        self.segment(direction, TCP_ACK | TCP_PSH, own.wrapping_add(1 + offset), other.wrapping_add(1), data)
    }

    /// This direction acknowledges so many bytes of the other one.
    pub fn ack(&mut self, direction: Direction, bytes: u32) -> Told {
        let [own, other] = self.numbers(direction);
        self.segment(direction, TCP_ACK, own.wrapping_add(1), other.wrapping_add(1 + bytes), b"")
    }

    fn numbers(&self, direction: Direction) -> [u32; 2] {
        let [a, b] = self.isn;
        if direction == CLIENT { [a, b] } else { [b, a] }
    }

    pub fn segment(&mut self, direction: Direction, flags: u8, seq: u32, ack: u32, data: &[u8]) -> Told {
        let mut l4 = Vec::new();
        let (source, destination) = self.ports(direction);
        l4.extend_from_slice(&source.to_be_bytes());
        l4.extend_from_slice(&destination.to_be_bytes());
        l4.extend_from_slice(&seq.to_be_bytes());
        l4.extend_from_slice(&ack.to_be_bytes());
        l4.extend_from_slice(&[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        l4.extend_from_slice(data);
        self.packet(direction, &l4)
    }

    pub fn datagram(&mut self, direction: Direction, data: &[u8]) -> Told {
        let (source, destination) = self.ports(direction);
        let mut l4 = source.to_be_bytes().to_vec();
        l4.extend_from_slice(&destination.to_be_bytes());
        l4.extend_from_slice(&((data.len() + 8) as u16).to_be_bytes());
        l4.extend_from_slice(&[0, 0]);
        l4.extend_from_slice(data);
        self.packet(direction, &l4)
    }

    fn ports(&self, direction: Direction) -> (u16, u16) {
        let t = self.tuple;
        if direction == CLIENT { (t.source_port, t.destination_port) } else { (t.destination_port, t.source_port) }
    }

    /// A packet with this transport header and payload.
    pub fn packet(&mut self, direction: Direction, l4: &[u8]) -> Told {
        let frame = frame(&self.tuple, direction, l4);
        let mut packet = Packet::new(self.pool.copy(&frame).unwrap(), PortId(1), Offload::default());
        packet.parse().unwrap();
        let flow = self.facts;
        let seen =
            Seen { now: self.now, direction, established: self.established, flow, depth: self.depth, resumed: false };
        let mut findings = Findings::default();
        if let Some(flow) = &mut self.flow {
            flow.inspect(seen, &packet, &mut self.memory, &mut findings);
        }
        self.pool.give(packet.buffer);
        let sids = findings.matched.iter().map(|s| s.sid).collect();
        Told { judgement: findings.judgement, sids, settled: findings.settled }
    }
}

/// An Ethernet frame with IPv4.
fn frame(tuple: &Tuple, direction: Direction, l4: &[u8]) -> Vec<u8> {
    let (IpAddr::V4(mut source), IpAddr::V4(mut destination)) = (tuple.source, tuple.destination) else { panic!() };
    if direction == SERVER {
        std::mem::swap(&mut source, &mut destination);
    }
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    frame.extend_from_slice(&((l4.len() + 20) as u16).to_be_bytes());
    frame.extend_from_slice(&[0, 1, 0, 0, 64, tuple.protocol, 0, 0]);
    frame.extend_from_slice(&source.octets());
    frame.extend_from_slice(&destination.octets());
    let mut sum: u32 = frame[14..34].chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], c[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    frame.extend_from_slice(l4);
    frame
}
