//! A rule as a typed value: what [`RuleSet::parse`](crate::RuleSet::parse) makes of a line of text.

use std::sync::Arc;

use crate::{AddressSet, PortSet};

/// What happens when a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Let it through and look no further.
    Pass,
    /// Drop it and end the flow.
    Drop,
    /// Drop it, end the flow, and tell whom [`RejectTo`] names.
    Reject(RejectTo),
    /// Tell people.
    Alert,
}

/// Who is told of a reject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RejectTo {
    /// The sender of the packet that matched.
    Source,
    /// Its receiver.
    Destination,
    /// Both.
    Both,
}

/// The protocol in a rule's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `ip`: any IP packet.
    Ip,
    /// `tcp`: the stream, or the packets where an option looks at packets.
    Tcp,
    /// `tcp-pkt`: the payload of single TCP packets only.
    TcpPacket,
    /// `tcp-stream`: the TCP stream only.
    TcpStream,
    /// `udp`
    Udp,
    /// `icmp`: ICMP and ICMPv6.
    Icmp,
    /// `icmpv4`
    Icmpv4,
    /// `icmpv6`
    Icmpv6,
}

/// One side of a rule's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Addresses.
    pub addresses: Arc<AddressSet>,
    /// Ports.
    pub ports: Arc<PortSet>,
}

/// Which way a rule's header reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrow {
    /// `->`
    Forward,
    /// `<>`: either side may be the source.
    Both,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Action.
    pub action: Action,
    /// Protocol.
    pub protocol: Protocol,
    /// Left side of the arrow.
    pub source: Endpoint,
    /// The arrow.
    pub arrow: Arrow,
    /// Right side of the arrow.
    pub destination: Endpoint,
    /// `gid`; 1 where absent.
    pub gid: u32,
    /// `sid`, never 0.
    pub sid: u32,
    /// `rev`; 0 where absent.
    pub rev: u32,
    /// `msg`
    pub msg: String,
    /// `classtype`
    pub classtype: String,
    /// `priority`, or that of the classtype; 1 (highest) to 255.
    pub priority: u8,
    /// `reference`: system and id.
    pub references: Vec<(String, String)>,
    /// `metadata`: keys and values.
    pub metadata: Vec<(String, String)>,
    /// `target`
    pub target: Option<Target>,
    /// `noalert` or `flowbits:noalert`: act, but tell nobody.
    pub noalert: bool,
    /// `flow`
    pub flow: Flow,
    /// Conditions on the headers of single packets.
    pub conditions: Vec<Condition>,
    /// Conditions on the payload, in the order of the text.
    pub matches: Vec<Match>,
    /// `flowbits`
    pub flowbits: Vec<FlowBit>,
    /// `threshold` or `detection_filter`
    pub threshold: Option<Threshold>,
    /// Where the rule stands.
    pub origin: Origin,
}

/// Where a rule stands, so that later stages can point at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Name of the source.
    pub source: Arc<str>,
    /// Line of the rule's first character, from 1.
    pub line: u32,
    /// The rule's text, continuation lines joined.
    pub text: Arc<str>,
}

/// `target`: which side of the rule is the victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// `src_ip`
    Source,
    /// `dest_ip`
    Destination,
}

/// `flow`: what the packet's flow must be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Which way the packet must go.
    pub direction: Option<FlowDirection>,
    /// What state the flow must be in.
    pub state: FlowState,
    /// `only_stream`: match the reassembled stream only.
    pub only_stream: bool,
    /// `no_stream`: match single packets only.
    pub no_stream: bool,
}

/// `to_server`/`from_client` or `to_client`/`from_server`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowDirection {
    /// From the initiator.
    ToServer,
    /// From the responder.
    ToClient,
}

/// The state part of `flow`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlowState {
    /// Not mentioned, or `stateless`.
    #[default]
    Any,
    /// `established`
    Established,
    /// `not_established`
    NotEstablished,
}

/// A comparison with one or two numbers; both ends of a range are excluded where the language excludes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Smallest value that matches.
    pub min: u64,
    /// Largest value that matches.
    pub max: u64,
    /// The bounds say what does not match.
    pub negated: bool,
}

impl Bounds {
    /// Whether `value` is within the bounds.
    #[inline]
    pub const fn contains(self, value: u64) -> bool {
        (self.min <= value && value <= self.max) != self.negated
    }
}

/// How `flags` compares the TCP flags with its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagsMode {
    /// Exactly these.
    Exact,
    /// `+`: these and perhaps others.
    All,
    /// `*`: any of these.
    Any,
    /// `!`: not exactly these.
    Not,
}

/// A condition on a packet's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `flags`: TCP flags under a mask.
    Flags {
        /// How to compare.
        mode: FlagsMode,
        /// The flags, as they stand in the header (CWR..FIN).
        flags: u8,
        /// Flags that are looked at.
        mask: u8,
    },
    /// `dsize`: payload bytes of the packet.
    PayloadSize(Bounds),
    /// `ttl`: TTL or hop limit.
    Ttl(Bounds),
    /// `itype`
    IcmpType(Bounds),
    /// `icode`
    IcmpCode(Bounds),
    /// `icmp_id`
    IcmpId(u16),
    /// `icmp_seq`
    IcmpSequence(u16),
    /// `seq`
    Sequence(u32),
    /// `ack`
    Acknowledgment(u32),
    /// `window`: TCP window as it stands in the header.
    Window {
        /// The value.
        value: u16,
        /// It must differ.
        negated: bool,
    },
    /// `id`: IPv4 identification.
    IpId(u16),
    /// `ip_proto`
    IpProtocol(Bounds),
    /// `sameip`: source and destination address are equal.
    SameIp,
}

/// A condition on the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// `content`
    Content(Content),
    /// `pcre`
    Pcre(Pcre),
    /// `isdataat`
    IsDataAt(IsDataAt),
    /// `bsize`: bytes of the payload.
    Size(Bounds),
}

impl Match {
    /// Whether its place is counted from the end of the match before it.
    pub fn is_relative(&self) -> bool {
        match self {
            Match::Content(c) => matches!(c.position, Position::Relative { .. }),
            Match::Pcre(p) => p.relative,
            Match::IsDataAt(i) => i.relative,
            Match::Size(_) => false,
        }
    }
}

/// A string of bytes that must, or must not, be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The bytes, never empty.
    pub bytes: Vec<u8>,
    /// `!`: it must not be there.
    pub negated: bool,
    /// `nocase`: ASCII letters match in either case.
    pub nocase: bool,
    /// Where it must be.
    pub position: Position,
    /// `endswith`: it must end where the payload ends.
    pub ends_with: bool,
    /// `fast_pattern`
    pub fast_pattern: FastPattern,
}

/// Where a content must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Counted from the payload's start.
    Absolute {
        /// First byte looked at.
        offset: u32,
        /// Bytes looked at from `offset` on; all where absent.
        depth: Option<u32>,
    },
    /// Counted from the end of the match before it.
    Relative {
        /// Bytes to go on (or back) from there.
        distance: i32,
        /// The content must end within so many bytes from that point; anywhere where absent.
        within: Option<u32>,
    },
}

impl Position {
    /// Anywhere.
    pub const ANYWHERE: Position = Position::Absolute { offset: 0, depth: None };
}

/// What `fast_pattern` says of a content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FastPattern {
    /// Not mentioned: the engine chooses.
    #[default]
    Unsaid,
    /// Search for this content first.
    Whole,
    /// `only`: that it is there is enough, wherever it is.
    Only,
    /// Search for a part of this content first.
    Part {
        /// First byte of the part.
        offset: u16,
        /// Its length.
        length: u16,
    },
}

/// A regular expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pcre {
    /// The expression between its slashes.
    pub pattern: String,
    /// `!`: it must not match.
    pub negated: bool,
    /// `R`: start at the end of the match before.
    pub relative: bool,
    /// `i`, `s`, `m`, `x`, `A`, `E`, `G`.
    pub flags: PcreFlags,
    /// Where in the rule's text the expression starts, in bytes.
    pub at: u32,
}

/// The modifiers of an expression that change how it matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PcreFlags {
    /// `i`
    pub caseless: bool,
    /// `s`: the dot matches a line feed.
    pub dotall: bool,
    /// `m`: `^` and `$` match at line ends.
    pub multiline: bool,
    /// `x`: white space in the expression means nothing.
    pub extended: bool,
    /// `A`: match at the start only.
    pub anchored: bool,
    /// `E`: `$` matches at the very end only.
    pub dollar_end_only: bool,
    /// `G`: quantifiers are lazy unless marked.
    pub ungreedy: bool,
}

/// `isdataat`: whether there are bytes at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsDataAt {
    /// The place.
    pub offset: u32,
    /// Counted from the end of the match before.
    pub relative: bool,
    /// `!`: there must be none.
    pub negated: bool,
}

/// A mark that rules leave on a flow for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlowBit {
    /// Set them when the rule matches.
    Set(String),
    /// Take it away when the rule matches.
    Unset(String),
    /// Turn it over when the rule matches.
    Toggle(String),
    /// Match only where one of these is set (`|` between names).
    IsSet(Vec<String>),
    /// Match only where none of these is set.
    IsNotSet(Vec<String>),
}

/// `threshold` and `detection_filter`: how often a match is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// How the count is used.
    pub kind: ThresholdKind,
    /// What is counted together.
    pub track: Track,
    /// How many.
    pub count: u32,
    /// In how many seconds.
    pub seconds: u32,
}

/// How a threshold's count is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThresholdKind {
    /// Tell the first `count` in the time.
    Limit,
    /// Tell each `count`th in the time.
    Threshold,
    /// Tell once in the time, after `count`.
    Both,
    /// `detection_filter`: match only after `count` in the time.
    Filter,
}

/// What a threshold counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// `by_src`
    Source,
    /// `by_dst`
    Destination,
    /// `by_both`
    Both,
    /// `by_rule`
    Rule,
}
