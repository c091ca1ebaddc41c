//! One rule, compiled: everything but the search for its fast pattern.

use std::net::IpAddr;
use std::sync::Arc;

use weir_ids_rules::rule::{
    Action, Arrow, Condition, Content, Endpoint, FlagsMode, Flow, FlowDirection, FlowState, Match, Position, Protocol,
    Threshold,
};
use weir_ids_rules::{Rule, classification};
use weir_wire::Packet;
use weir_wire::numbers::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};

use super::fast_pattern;
use super::literal::Literal;
use super::pcre::Expression;
use super::verify::{Element, Test};
use super::{Direction, Seen};
use crate::event::{Signature, Tuple};

/// What a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The reassembled stream.
    Stream,
    /// Each packet by itself.
    Packet,
    /// Addresses alone: once for each direction of a flow.
    Once,
}

/// A rule ready to be checked.
#[derive(Debug)]
pub struct Compiled {
    pub signature: Arc<Signature>,
    pub action: Action,
    pub noalert: bool,
    pub scope: Scope,
    pub protocol: Protocol,
    pub source: Endpoint,
    pub destination: Endpoint,
    pub arrow: Arrow,
    pub flow: Flow,
    pub conditions: Box<[Condition]>,
    pub elements: Box<[Element]>,
    /// Some condition is counted from the payload's start.
    pub anchored: bool,
    /// Bytes not seen yet may complete a match whose fast pattern has been seen.
    pub later: Later,
    pub bits: Box<[BitOp]>,
    pub threshold: Option<Threshold>,
}

/// What can complete a match once its fast pattern has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Later {
    /// Nothing: it is complete or it is not.
    Nothing,
    /// A content, or the ending of an expression.
    Literal,
    /// Any byte.
    Anything,
}

/// A mark on the flow, by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BitOp {
    Set(u32),
    Unset(u32),
    Toggle(u32),
    IsSet(Box<[u32]>),
    IsNotSet(Box<[u32]>),
}

impl Compiled {
    /// Compiles what stands in the rule; `bits` have been numbered by the caller.
    ///
    /// # Errors
    /// The place in the rule's text of an expression that does not compile, and why.
    pub fn new(rule: &Rule, bits: Box<[BitOp]>) -> Result<Compiled, (std::ops::Range<usize>, String)> {
        if !rule.is_plain() || !rule.flowints.is_empty() || !rule.xbits.is_empty() {
            return Err((0..1, "this engine inspects packets and payloads only".to_owned()));
        }
        let matches = payload(rule);
        let mut elements = Vec::with_capacity(matches.len());
        for (i, m) in matches.iter().enumerate() {
            let following = matches.get(i + 1..).unwrap_or(&[]);
            elements.push(Element { test: compile_match(m)?, next_relative: decides_place(following) });
        }
        let blocked = matches!(rule.action, Action::Drop | Action::Reject(_));
        let category = classification::find(&rule.classtype).map_or(rule.classtype.as_str(), |c| c.meaning);
        Ok(Compiled {
            signature: Arc::new(Signature {
                gid: rule.gid,
                sid: rule.sid,
                rev: rule.rev,
                msg: rule.msg.clone(),
                category: category.to_owned(),
                severity: rule.priority,
                blocked,
                ..Signature::default()
            }),
            action: rule.action,
            noalert: rule.noalert,
            scope: scope(rule),
            protocol: rule.protocol,
            source: rule.source.clone(),
            destination: rule.destination.clone(),
            arrow: rule.arrow,
            flow: rule.flow,
            conditions: rule.conditions.clone().into(),
            anchored: matches.iter().any(is_anchored),
            later: later(rule, &elements),
            elements: elements.into(),
            bits,
            threshold: rule.threshold,
        })
    }

    /// Whether packets of this IP protocol can match.
    pub fn takes_protocol(&self, protocol: u8) -> bool {
        match self.protocol {
            Protocol::Ip => true,
            Protocol::Tcp | Protocol::TcpPacket | Protocol::TcpStream => protocol == PROTOCOL_TCP,
            Protocol::Udp => protocol == PROTOCOL_UDP,
            Protocol::Icmp => matches!(protocol, PROTOCOL_ICMP | PROTOCOL_ICMPV6),
            Protocol::Icmpv4 => protocol == PROTOCOL_ICMP,
            Protocol::Icmpv6 => protocol == PROTOCOL_ICMPV6,
            _ => false,
        }
    }

    /// Whether packets that go this way in their flow can match.
    pub fn takes_direction(&self, direction: Direction) -> bool {
        match self.flow.direction {
            None => true,
            Some(FlowDirection::ToServer) => direction == Direction::Original,
            Some(FlowDirection::ToClient) => direction == Direction::Reply,
        }
    }

    /// Whether the header fits a packet from `source` to `destination`.
    pub fn takes_ends(&self, packet: &Tuple) -> bool {
        let ports = matches!(packet.protocol, PROTOCOL_TCP | PROTOCOL_UDP);
        let fits = |end: &Endpoint, address: IpAddr, port: u16| {
            (end.ports.is_any() || (ports && end.ports.contains(port))) && end.addresses.contains(address)
        };
        let forward = fits(&self.source, packet.source, packet.source_port)
            && fits(&self.destination, packet.destination, packet.destination_port);
        forward
            || (self.arrow == Arrow::Both
                && fits(&self.destination, packet.source, packet.source_port)
                && fits(&self.source, packet.destination, packet.destination_port))
    }

    /// Whether the flow's state fits.
    pub fn takes_state(&self, seen: &Seen) -> bool {
        match self.flow.state {
            FlowState::Any | FlowState::Stateless => true,
            FlowState::Established => seen.established,
            FlowState::NotEstablished => !seen.established,
        }
    }

    /// Whether all conditions on the packet's headers hold.
    pub fn takes_packet(&self, packet: &Packet) -> bool {
        self.conditions.iter().all(|condition| holds(condition, packet))
    }
}

/// What the rule asks of the payload.
pub(super) fn payload(rule: &Rule) -> &[Match] {
    rule.payload().map_or(&[], |section| &section.matches)
}

fn compile_match(m: &Match) -> Result<Test, (std::ops::Range<usize>, String)> {
    Ok(match m {
        Match::Content(Content { bytes, negated, nocase, position, ends_with, .. }) => Test::Content {
            literal: Box::new(Literal::new(bytes, *nocase)),
            negated: *negated,
            ends_with: *ends_with,
            position: *position,
        },
        Match::Pcre(pcre) => {
            let at = pcre.at as usize;
            let expression =
                Expression::compile(pcre).map_err(|message| (at..at + pcre.pattern.len().max(1), message))?;
            Test::Pcre { expression, negated: pcre.negated, relative: pcre.relative }
        }
        Match::IsDataAt(is) => Test::IsDataAt(*is),
        Match::Size(bounds) => Test::Size(*bounds),
        _ => return Err((0..1, "this engine cannot compute with the payload".to_owned())),
    })
}

/// Whether one of the conditions up to the next that has a place of its own is placed by the one before.
fn decides_place(following: &[Match]) -> bool {
    for m in following {
        if m.is_relative() {
            return true;
        }
        match m {
            Match::Content(c) if !c.negated => return false,
            Match::Pcre(p) if !p.negated => return false,
            _ => {}
        }
    }
    false
}

fn scope(rule: &Rule) -> Scope {
    let tcp = matches!(rule.protocol, Protocol::Tcp | Protocol::TcpStream | Protocol::Ip);
    let sized = payload(rule).iter().any(|m| matches!(m, Match::Size(_)));
    if payload(rule).is_empty() {
        let addresses_only = rule.protocol == Protocol::Ip
            && rule.conditions.is_empty()
            && rule.flow == Flow::default()
            && rule.source.ports.is_any()
            && rule.destination.ports.is_any()
            && rule.flowbits.is_empty()
            && rule.threshold.is_none();
        return if addresses_only { Scope::Once } else { Scope::Packet };
    }
    if tcp && rule.conditions.is_empty() && !rule.flow.no_stream && !sized { Scope::Stream } else { Scope::Packet }
}

fn is_anchored(m: &Match) -> bool {
    match m {
        Match::Content(c) => {
            matches!(c.position, Position::Absolute { offset, depth } if offset.known() > 0 || depth.is_some())
        }
        Match::IsDataAt(is) => !is.relative,
        // With `m` a caret speaks of lines, not of the payload's start.
        Match::Pcre(p) => {
            let caret = p.pattern.starts_with('^') || p.pattern.contains("(^") || p.pattern.contains("|^");
            !p.relative && (p.flags.anchored || p.pattern.contains("\\A") || (caret && !p.flags.multiline))
        }
        _ => true,
    }
}

/// More bytes can bring what must be there; what must not be there, they only make less likely to be absent.
fn later(rule: &Rule, elements: &[Element]) -> Later {
    let mut positive = 0;
    for element in elements {
        match &element.test {
            Test::Content { negated: false, .. } => positive += 1,
            Test::Pcre { negated: false, expression, .. } if expression.endings().is_empty() => return Later::Anything,
            Test::Pcre { negated: false, .. } => positive += 1,
            Test::IsDataAt(is) if !is.negated => return Later::Anything,
            Test::Size(_) => return Later::Anything,
            Test::Content { .. } | Test::Pcre { .. } | Test::IsDataAt(_) => {}
        }
    }
    // A fast pattern that is not its content's end is seen before the content is complete.
    let complete = fast_pattern::choose(rule).is_some_and(|fast| fast.is_end);
    if positive > 1 || !complete { Later::Literal } else { Later::Nothing }
}

fn holds(condition: &Condition, packet: &Packet) -> bool {
    let ttl = || packet.ipv4().map(|h| h[8]).or_else(|| packet.ipv6().map(|h| h[7]));
    let icmp_word = |at: usize| {
        packet.icmp()?;
        packet.transport().get(at..)?.first_chunk::<2>().map(|&b| u16::from_be_bytes(b))
    };
    match *condition {
        Condition::Flags { mode, flags, mask } => packet.tcp().is_some_and(|tcp| {
            let there = tcp.flags & mask;
            match mode {
                FlagsMode::Exact => there == flags & mask,
                FlagsMode::All => there & flags == flags,
                FlagsMode::Any => there & flags != 0,
                FlagsMode::Not => there & flags != flags,
            }
        }),
        Condition::PayloadSize(bounds) => bounds.contains(packet.payload().len() as u64),
        Condition::Ttl(bounds) => ttl().is_some_and(|ttl| bounds.contains(ttl.into())),
        Condition::IcmpType(bounds) => packet.icmp().is_some_and(|(kind, _)| bounds.contains(kind.into())),
        Condition::IcmpCode(bounds) => packet.icmp().is_some_and(|(_, code)| bounds.contains(code.into())),
        Condition::IcmpId(id) => icmp_word(4) == Some(id),
        Condition::IcmpSequence(sequence) => icmp_word(6) == Some(sequence),
        Condition::Sequence(seq) => packet.tcp().is_some_and(|tcp| tcp.seq == seq),
        Condition::Acknowledgment(ack) => packet.tcp().is_some_and(|tcp| tcp.ack == ack),
        Condition::Window { value, negated } => packet.tcp().is_some_and(|tcp| (tcp.window == value) != negated),
        Condition::IpId(id) => packet.ipv4().is_some_and(|h| u16::from_be_bytes([h[4], h[5]]) == id),
        Condition::IpProtocol(bounds) => bounds.contains(packet.headers.protocol.into()),
        Condition::SameIp => packet.addresses().is_some_and(|(source, destination)| source == destination),
        _ => false,
    }
}
