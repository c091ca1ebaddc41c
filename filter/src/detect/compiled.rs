//! One rule, compiled: everything but the search for its fast pattern.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use weir_ids_rules::rule::{
    Absent, Action, AppTest, Arrow, Condition, Config, Content, Endpoint, FileStore, FileTest, Flow, FlowDirection,
    FlowState, Match, NumberTest, Position, Protocol, Section, Tag, Threshold, Value,
};
use weir_ids_rules::{Buffer, Rule};
use weir_wire::numbers::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};

use super::Direction;
use super::asks::{self, Ask};
use super::check::Check;
use super::fast::{self, Place};
use super::later::Later;
use super::marks::{Act, Mark, MarkNames};
use super::prospect::Sought;
use super::threshold::{RateFilter, Suppression};
use crate::app::PROTOCOLS;
use crate::event::{Signature, Tuple};

/// What a rule looks at. It decides when the rule is judged, and whether its verdict is one on the whole flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Addresses and ports alone: the first packet of each direction of a flow.
    Ends,
    /// The application protocol alone, by `app-layer-protocol`: the packet that makes it known.
    ProtocolOnly,
    /// Oddities of decoding alone.
    Oddities,
    /// Each packet by itself.
    Packet,
    /// The stream, and packets by themselves too.
    PacketAndStream,
    /// The reassembled stream.
    Stream,
    /// Packets of flows that speak an application protocol.
    App,
    /// Transactions of an application protocol.
    Transaction,
    /// Frames of an application protocol.
    Frame,
}

impl Kind {
    /// Whether a verdict holds for the rest of the flow. `stateful`: it matched in a stream or a transaction.
    pub fn judges_flow(self, stateful: bool) -> bool {
        match self {
            Kind::Ends | Kind::ProtocolOnly | Kind::App | Kind::Transaction | Kind::Frame => true,
            Kind::PacketAndStream | Kind::Stream => stateful,
            Kind::Oddities | Kind::Packet => false,
        }
    }
}

/// One thing that a rule asks of a transaction.
#[derive(Debug)]
pub enum Part {
    /// Bytes of a buffer.
    Text(Box<Text>),
    /// A number.
    Number(NumberTest),
    /// Something odd happened in it.
    Event(Box<str>),
    /// It has come to a state: name of the hook, and how its progress compares.
    State(Box<str>, std::cmp::Ordering),
    /// A hook of the rule's header: the state is reached.
    Hook(Box<str>),
    /// What the transaction answers itself.
    Named { keyword: &'static str, argument: Box<str>, negated: bool },
    /// One file satisfies all of these.
    Files(Box<[FileTest]>),
    /// The payload of the stream or packet matched.
    Payload,
}

/// Bytes of a buffer of a transaction, and what is asked of them.
#[derive(Debug)]
pub struct Text {
    pub buffer: Buffer,
    pub check: Check,
    pub absent: Option<Absent>,
    /// The buffer's direction, for rules on both directions.
    pub way: Option<Direction>,
}

/// A rule ready to be judged.
#[derive(Debug)]
pub struct Compiled {
    pub signature: Arc<Signature>,
    pub action: Action,
    /// People are told of a match.
    pub tells: bool,
    /// A flow that matches is inspected no more (`bypass`).
    pub releases: bool,
    pub kind: Kind,
    pub protocol: Protocol,
    pub source: Endpoint,
    pub destination: Endpoint,
    pub arrow: Arrow,
    pub flow: Flow,
    pub asks: Box<[Ask]>,
    /// Marks that must be there, or not.
    pub wants: Box<[Mark]>,
    /// What a match leaves behind.
    pub acts: Box<[Act]>,
    /// The payload's section.
    pub payload: Option<Check>,
    /// Some condition of the payload is counted from its start.
    pub anchored: bool,
    /// What can complete a match of the payload once its fast pattern was seen.
    pub later: Later,
    /// What it is searched for in transactions, where it looks at the payload too.
    pub sought: Option<Box<Sought>>,
    /// Headers of packets.
    pub headers: Box<[(Buffer, Check)]>,
    pub parts: Box<[Part]>,
    /// One frame satisfies all of these: its name, and what is asked of its bytes.
    pub frames: Box<[(Box<str>, Check)]>,
    /// A part looks at files: the rule may match again for another file of the transaction.
    pub on_files: bool,
    pub threshold: Option<Threshold>,
    pub suppressions: Box<[Suppression]>,
    pub rate: Option<RateFilter>,
    pub tags: Box<[Tag]>,
    /// Which files a match stores.
    pub store: Option<FileStore>,
    /// What a match changes of the log.
    pub config: Option<Config>,
}

/// Why a rule could not be compiled: the place in its text, and the reason.
pub type Refusal = (Range<usize>, String);

impl Compiled {
    /// Compiles what stands in the rule; `names` numbers what rules name.
    ///
    /// # Errors
    /// Of an expression that does not compile.
    pub fn new(rule: &Rule, names: &mut MarkNames) -> Result<Compiled, Refusal> {
        let mut payload = None;
        let (mut headers, mut parts, mut frames) = (Vec::new(), Vec::new(), Vec::new());
        for section in &rule.sections {
            let check = Check::compile(rule, section)?;
            if section.buffer.is_payload() {
                payload = Some(check);
            } else if let Some(name) = &section.frame {
                frames.push((name.as_str().into(), check));
            } else if is_packet_header(section.buffer) {
                headers.push((section.buffer, check));
            } else {
                let way = section.direction.map(way_of);
                parts.push(Part::Text(Box::new(Text { buffer: section.buffer, check, absent: section.absent, way })));
            }
        }
        add_parts(rule, &mut parts);
        let on_files = parts.iter().any(|part| match part {
            Part::Text(text) => matches!(text.buffer, Buffer::FileData | Buffer::FileName | Buffer::FileMagic),
            Part::Files(_) => true,
            _ => false,
        });
        if payload.is_some() && !parts.is_empty() {
            // It is asked first: nothing is cheaper.
            parts.insert(0, Part::Payload);
        }
        if !frames.is_empty() && (!parts.is_empty() || payload.is_some()) {
            return Err((0..1, "what is asked of a frame cannot be asked together with other buffers".to_owned()));
        }
        let (wants, acts) = super::marks::compile(rule, names);
        let fast =
            fast::choose(rule).filter(|fast| fast.place == Place::Payload).or_else(|| fast::choose_in_payload(rule));
        Ok(Compiled {
            signature: Arc::new(signature(rule)),
            action: rule.action,
            tells: tells(rule),
            releases: rule.conditions.contains(&Condition::Bypass),
            kind: if frames.is_empty() { kind(rule, !parts.is_empty()) } else { Kind::Frame },
            protocol: rule.protocol,
            source: rule.source.clone(),
            destination: rule.destination.clone(),
            arrow: rule.arrow,
            flow: rule.flow,
            asks: asks::compile(rule),
            wants,
            acts,
            payload,
            anchored: rule.payload().is_some_and(|section| section.matches.iter().any(is_anchored)),
            later: Later::of(rule, fast.as_ref()),
            sought: Sought::of(rule),
            headers: headers.into(),
            parts: parts.into(),
            frames: frames.into(),
            on_files,
            threshold: rule.threshold,
            suppressions: Box::default(),
            rate: None,
            tags: rule.tags.clone().into(),
            store: rule.filestore,
            config: rule.config,
        })
    }

    /// Whether packets of this IP protocol can match; 0 stands for protocols without a class of their own.
    pub fn takes_protocol(&self, protocol: u8) -> bool {
        match self.protocol {
            Protocol::Ip | Protocol::Ipv4 | Protocol::Ipv6 | Protocol::PacketHeader => true,
            Protocol::Tcp | Protocol::TcpPacket | Protocol::TcpStream => protocol == PROTOCOL_TCP,
            Protocol::Udp => protocol == PROTOCOL_UDP,
            Protocol::Icmp => matches!(protocol, PROTOCOL_ICMP | PROTOCOL_ICMPV6),
            Protocol::Icmpv4 => protocol == PROTOCOL_ICMP,
            Protocol::Icmpv6 => protocol == PROTOCOL_ICMPV6,
            Protocol::Sctp | Protocol::Igmp | Protocol::Gre | Protocol::Esp | Protocol::Ah => protocol == 0,
            Protocol::Http => protocol == PROTOCOL_TCP,
            Protocol::App(app) => PROTOCOLS
                .iter()
                .filter(|d| Protocol::App(app).takes_app(d.protocol))
                .any(|d| (d.tcp && protocol == PROTOCOL_TCP) || (d.udp && protocol == PROTOCOL_UDP)),
            Protocol::Ether | Protocol::Arp => false,
        }
    }

    /// Whether a packet of exactly this IP protocol number and version fits, beyond [`Compiled::takes_protocol`].
    pub fn takes_number(&self, tuple: &Tuple) -> bool {
        match self.protocol {
            // Frames of other protocols have no addresses.
            Protocol::Ip => tuple.protocol != 0 || !tuple.source.is_unspecified(),
            Protocol::Ipv4 => tuple.source.is_ipv4(),
            Protocol::Ipv6 => tuple.source.is_ipv6(),
            Protocol::Sctp => tuple.protocol == 132,
            Protocol::Igmp => tuple.protocol == 2,
            Protocol::Gre => tuple.protocol == 47,
            Protocol::Esp => tuple.protocol == 50,
            Protocol::Ah => tuple.protocol == 51,
            _ => true,
        }
    }

    /// Whether packets that go this way in their flow can match.
    pub fn takes_direction(&self, direction: Direction) -> bool {
        self.arrow == Arrow::Transaction || self.flow.direction.is_none_or(|wanted| way_of(wanted) == direction)
    }

    /// Whether the header fits a packet from `source` to `destination`.
    pub fn takes_ends(&self, packet: &Tuple) -> bool {
        let ports = matches!(packet.protocol, PROTOCOL_TCP | PROTOCOL_UDP | 132);
        let fits = |end: &Endpoint, address: IpAddr, port: u16| {
            (end.ports.is_any() || (ports && end.ports.contains(port))) && end.addresses.contains(address)
        };
        let forward = fits(&self.source, packet.source, packet.source_port)
            && fits(&self.destination, packet.destination, packet.destination_port);
        let backward = || {
            fits(&self.destination, packet.source, packet.source_port)
                && fits(&self.source, packet.destination, packet.destination_port)
        };
        (forward || (self.arrow != Arrow::Forward && backward())) && self.takes_number(packet)
    }

    /// It looks at streams alone, never at single packets.
    pub fn streams_only(&self) -> bool {
        self.protocol == Protocol::TcpStream || self.flow.only_stream
    }

    /// Whether the flow's state fits.
    pub fn takes_state(&self, established: bool) -> bool {
        match self.flow.state {
            FlowState::Any | FlowState::Stateless => true,
            FlowState::Established => established,
            FlowState::NotEstablished => !established,
        }
    }

    /// Whether the rule refuses packets.
    pub fn blocks(&self) -> bool {
        matches!(self.action, Action::Drop | Action::Reject(_))
    }
}

/// The direction of a flow that the rule language means.
pub fn way_of(direction: FlowDirection) -> Direction {
    match direction {
        FlowDirection::ToServer => Direction::Original,
        FlowDirection::ToClient => Direction::Reply,
    }
}

/// Whether people are told of a match. A `pass` is told of where it says `alert` only.
fn tells(rule: &Rule) -> bool {
    match rule.action {
        Action::Config => false,
        Action::Pass => rule.alert && !rule.noalert,
        Action::Alert | Action::Drop | Action::Reject(_) => !rule.noalert,
    }
}

fn signature(rule: &Rule) -> Signature {
    Signature {
        gid: rule.gid,
        sid: rule.sid,
        rev: rule.rev,
        msg: rule.msg.clone(),
        category: rule.category.clone(),
        severity: rule.priority,
        blocked: matches!(rule.action, Action::Drop | Action::Reject(_)),
        action: Some(rule.action),
        metadata: rule.metadata.clone().into(),
        references: rule.references.clone().into(),
        target: rule.target,
    }
}

/// Parts other than texts.
fn add_parts(rule: &Rule, parts: &mut Vec<Part>) {
    parts.extend(rule.numbers.iter().cloned().map(Part::Number));
    for test in &rule.app {
        parts.push(match test {
            // Of the flow, not of a transaction: see `Ask`.
            AppTest::Event(name) if is_flow_event(name) => continue,
            AppTest::Event(name) => Part::Event(name.as_str().into()),
            AppTest::State { name, comparison } => Part::State(name.as_str().into(), *comparison),
            AppTest::Named { keyword, argument, negated, .. } => {
                Part::Named { keyword, argument: argument.as_str().into(), negated: *negated }
            }
        });
    }
    // What is to be stored must be there.
    if !rule.files.is_empty() || rule.filestore.is_some() {
        parts.push(Part::Files(rule.files.clone().into()));
    }
    if let Some(hook) = &rule.hook
        && rule.protocol.is_app()
    {
        parts.push(Part::Hook(hook.name.as_str().into()));
    }
}

/// Whether an `app-layer-event` is one of the flow's protocol detection.
pub fn is_flow_event(name: &str) -> bool {
    name.get(..9).is_some_and(|start| start.eq_ignore_ascii_case("applayer_"))
}

/// Whether a buffer is a header of a packet.
pub fn is_packet_header(buffer: Buffer) -> bool {
    use Buffer as B;
    matches!(
        buffer,
        B::Ipv4Header
            | B::Ipv6Header
            | B::TcpHeader
            | B::UdpHeader
            | B::EtherHeader
            | B::Icmpv4Header
            | B::Icmpv6Header
            | B::IgmpHeader
            | B::SourceIp
            | B::DestinationIp
    )
}

fn kind(rule: &Rule, has_parts: bool) -> Kind {
    let plain_flow = rule.flow.state == FlowState::Any && !rule.flow.only_stream && !rule.flow.no_stream;
    let plain_flow = plain_flow && rule.flow.fragments.is_none();
    let (payload, app) = (rule.payload(), rule.protocol.is_app());
    // Addresses are those of all packets that go one way.
    let is_address = |buffer| matches!(buffer, Buffer::SourceIp | Buffer::DestinationIp);
    let is_header = |buffer| is_packet_header(buffer) && !(payload.is_some() && is_address(buffer));
    let headers = rule.sections.iter().any(|section| is_header(section.buffer));
    let flow_events = rule.app.iter().any(|test| matches!(test, AppTest::Event(name) if is_flow_event(name)));
    if has_parts {
        return Kind::Transaction;
    }
    if let (Some(section), false) = (payload, headers) {
        return payload_kind(rule, section);
    }
    if headers || flow_events {
        return Kind::Packet;
    }
    if app {
        return Kind::App;
    }
    let all = |fits: fn(&Condition) -> bool| rule.conditions.iter().all(fits);
    if !rule.conditions.is_empty() && plain_flow && all(|c| matches!(c, Condition::AppProtocol { .. })) {
        return Kind::ProtocolOnly;
    }
    let odd =
        |c: &Condition| matches!(c, Condition::DecodeEvent(_) | Condition::StreamEvent(_) | Condition::EngineEvent(_));
    if rule.conditions.iter().any(odd) {
        return Kind::Oddities;
    }
    let ends = all(|c| matches!(c, Condition::IpProtocol(_) | Condition::GeoIp { .. } | Condition::Reputation(_)));
    let sets = super::marks::only_sets(rule) && rule.flowints.is_empty();
    if ends
        && sets
        && plain_flow
        && rule.flow.direction.is_none()
        && rule.hook.is_none()
        && !is_any_frame(rule.protocol)
    {
        return Kind::Ends;
    }
    Kind::Packet
}

fn is_any_frame(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Ether | Protocol::Arp)
}

/// Where a rule on the payload looks: a condition on packets, or on what is counted with them, ties it to packets; a
/// place counted from the start, or a size, may be met in either.
fn payload_kind(rule: &Rule, section: &Section) -> Kind {
    let of_flow = |c: &Condition| {
        matches!(
            c,
            Condition::AppProtocol { .. }
                | Condition::FlowElephant(_)
                | Condition::StreamSize(..)
                | Condition::GeoIp { .. }
                | Condition::Reputation(_)
                | Condition::Bypass
        )
    };
    let may_stream = match rule.protocol {
        Protocol::Tcp | Protocol::TcpStream | Protocol::Ip | Protocol::Ipv4 | Protocol::Ipv6 | Protocol::Http => true,
        Protocol::App(_) => PROTOCOLS.iter().any(|d| d.tcp && rule.protocol.takes_app(d.protocol)),
        _ => false,
    };
    if rule.protocol == Protocol::TcpStream || rule.flow.only_stream {
        return Kind::Stream;
    }
    if !may_stream || rule.flow.no_stream || !rule.conditions.iter().all(of_flow) {
        return Kind::Packet;
    }
    let placed = |m: &Match| {
        matches!(m, Match::Content(Content { position: Position::Absolute { offset, depth }, .. })
            if *offset != Value::Number(0) || depth.is_some())
    };
    let sized = section.matches.iter().any(|m| matches!(m, Match::Size(_)));
    if section.matches.iter().any(placed) || sized { Kind::PacketAndStream } else { Kind::Stream }
}

fn is_anchored(m: &Match) -> bool {
    match m {
        Match::Content(c) => match c.position {
            Position::Absolute { offset, depth } => offset != Value::Number(0) || depth.is_some(),
            Position::Relative { .. } => false,
        },
        Match::IsDataAt(is) => !is.relative,
        // With `m` a caret speaks of lines, not of the payload's start.
        Match::Pcre(p) => {
            let caret = p.pattern.starts_with('^') || p.pattern.contains("(^") || p.pattern.contains("|^");
            !p.relative && (p.flags.anchored || p.pattern.contains("\\A") || (caret && !p.flags.multiline))
        }
        Match::ByteTest(b) => !b.relative,
        Match::ByteJump(b) => !b.relative,
        Match::ByteExtract(b) => !b.relative,
        Match::ByteMath(b) => !b.relative,
        Match::Base64(b) => !b.relative,
        Match::Asn1(a) => !a.relative,
        Match::Size(_) | Match::Entropy(_) | Match::DataSet(_) | Match::Reputation(_) => true,
    }
}
