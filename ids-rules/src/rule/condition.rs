//! Conditions on a packet and its flow, apart from their bytes.

use super::Nth;
use crate::AppProtocol;

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

/// How `fragbits` compares the bits of an IPv4 header with its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FragmentMode {
    /// Exactly these.
    Exact,
    /// `+`: these and perhaps others.
    All,
    /// `*`: any of these.
    Any,
    /// `!`: none of these.
    None,
}

/// Bits of `fragbits`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentBits {
    /// `M`
    pub more: bool,
    /// `D`
    pub dont: bool,
    /// `R`
    pub reserved: bool,
}

/// Whose traffic a flow's counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directed {
    /// `toserver`
    ToServer,
    /// `toclient`
    ToClient,
    /// `either`: one of the two.
    Either,
    /// `both`: the sum, or each for packets and bytes of a flow as the keyword has it.
    Both,
}

/// Whose stream `stream_size` looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamSide {
    /// `server`
    Server,
    /// `client`
    Client,
    /// `both`: each of them.
    Both,
    /// `either`: one of them.
    Either,
}

/// A header with a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summed {
    /// IPv4's own header.
    Ipv4,
    /// TCP in IPv4, or in IPv6.
    Tcp {
        /// In IPv6.
        v6: bool,
    },
    /// UDP in IPv4, or in IPv6.
    Udp {
        /// In IPv6.
        v6: bool,
    },
    /// ICMP in IPv4, or ICMPv6.
    Icmp {
        /// ICMPv6.
        v6: bool,
    },
}

/// Which side's address is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostSide {
    /// `src`
    Source,
    /// `dst`
    Destination,
    /// `both`: each must match.
    Both,
    /// `any`: one must match.
    Any,
}

/// When `app-layer-protocol` asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpWay {
    /// `direction` (the default): what the packet's own direction speaks.
    Direction,
    /// `either`: what either direction speaks.
    Either,
    /// `to_server`
    ToServer,
    /// `to_client`
    ToClient,
    /// `final`: after a change of protocol, the last one.
    Final,
    /// `original`: the one before the change.
    Original,
}

/// `iprep`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reputation {
    /// Whose.
    pub side: HostSide,
    /// The category's short name.
    pub category: String,
    /// Its score, 0 to 127; `None` for `isset`/`isnotset`, by `negated` of the bounds otherwise.
    pub score: Option<Bounds>,
    /// `isnotset`: there must be no score.
    pub unset: bool,
}

/// A condition on a packet or its flow.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// `tos`
    Tos(Bounds),
    /// `itype`
    IcmpType(Bounds),
    /// `icode`
    IcmpCode(Bounds),
    /// `icmp_id`
    IcmpId(u16),
    /// `icmp_seq`
    IcmpSequence(u16),
    /// `icmpv6.mtu`
    Icmpv6Mtu(Bounds),
    /// `igmp.type`
    IgmpType(Bounds),
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
    /// `tcp.mss`
    TcpMss(Bounds),
    /// `tcp.wscale`
    TcpWindowScale(Bounds),
    /// `id`: IPv4 identification.
    IpId(u16),
    /// `ipv4-csum`, `tcpv4-csum`, …: whether a checksum holds. Where checksums are not looked at, all hold.
    Checksum {
        /// Of which header.
        of: Summed,
        /// It must hold, or must not.
        valid: bool,
    },
    /// `rpc`: the packet is a call of ONC RPC (RFC 5531).
    Rpc {
        /// Number of the program.
        program: u32,
        /// Its version; any where absent.
        version: Option<u32>,
        /// Number of the procedure; any where absent.
        procedure: Option<u32>,
    },
    /// `l3_proto`: IPv4 (`false`) or IPv6 (`true`).
    IpVersion {
        /// It must be IPv6.
        v6: bool,
    },
    /// `ip_proto`
    IpProtocol(Bounds),
    /// `sameip`: source and destination address are equal.
    SameIp,
    /// `fragbits`
    FragmentBits {
        /// How to compare.
        mode: FragmentMode,
        /// The bits.
        bits: FragmentBits,
    },
    /// `fragoffset`: in units of 8 bytes.
    FragmentOffset(Bounds),
    /// `ipopts`: an IPv4 option of this number; `None` for `any`.
    IpOption(Option<u8>),
    /// `vlan.id`
    VlanId {
        /// The identifier.
        id: Bounds,
        /// Which tag, outermost first, negative from the innermost.
        layer: Nth,
    },
    /// `vlan.layers`: how many tags there are.
    VlanLayers(Bounds),
    /// `decode-event`, by name.
    DecodeEvent(String),
    /// `stream-event`, by name without `stream.`.
    StreamEvent(String),
    /// `engine-event` of other kinds, by name.
    EngineEvent(String),
    /// `app-layer-protocol`
    AppProtocol {
        /// The protocol; `None` for `failed`.
        protocol: Option<AppProtocol>,
        /// `http`: either version.
        any_http: bool,
        /// `unknown`: not found out yet.
        unknown: bool,
        /// It must be another.
        negated: bool,
        /// Which of a flow's answers is asked.
        way: TcpWay,
    },
    /// `flow.age`: seconds.
    FlowAge(Bounds),
    /// `flow.pkts`, `flow.pkts_toserver`, `flow.pkts_toclient`
    FlowPackets(Directed, Bounds),
    /// `flow.bytes`, …
    FlowBytes(Directed, Bounds),
    /// `flow.elephant`
    FlowElephant(Directed),
    /// `stream_size`
    StreamSize(StreamSide, Bounds),
    /// `geoip`: country codes.
    GeoIp {
        /// Whose.
        side: HostSide,
        /// Codes of two letters.
        countries: Vec<String>,
        /// It must be none of them.
        negated: bool,
    },
    /// `iprep`
    Reputation(Reputation),
    /// `bypass`: the flow is looked at no further once the rule matches. It always holds.
    Bypass,
}
