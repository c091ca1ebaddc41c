//! The rule's header as values.

use std::sync::Arc;

use crate::{AddressSet, AppProtocol, PortSet};

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
    /// Change how the flow or transaction is treated, as the rule's `config` says; nobody is told.
    Config,
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
    /// `ip`: any packet of IP.
    Ip,
    /// `ipv4`
    Ipv4,
    /// `ipv6`
    Ipv6,
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
    /// `sctp`
    Sctp,
    /// `igmp`
    Igmp,
    /// `gre`
    Gre,
    /// `esp`
    Esp,
    /// `ah`
    Ah,
    /// `pkthdr`: any packet, those that are not IP or are broken as well; decoder events are asked with it.
    PacketHeader,
    /// `ether`: any frame.
    Ether,
    /// `arp`
    Arp,
    /// `http`: HTTP of either version.
    Http,
    /// An application protocol.
    App(AppProtocol),
}

impl Protocol {
    /// Whether the header names an application protocol, and a flow that speaks `spoken` fits it. `false` for the
    /// others. DNS is found in DNS over HTTP as well, HTTP/2 under it, DCE/RPC in SMB.
    pub fn takes_app(self, spoken: AppProtocol) -> bool {
        use AppProtocol::{Dcerpc, Dns, Doh2, Http1, Http2, Smb};
        match self {
            Protocol::Http => matches!(spoken, Http1 | Http2 | Doh2),
            Protocol::App(wanted) => {
                wanted == spoken
                    || matches!((wanted, spoken), (Dns | Http2, Doh2) | (Dcerpc, Smb) | (Doh2, Dns | Http2))
            }
            _ => false,
        }
    }

    /// Whether the header names an application protocol.
    pub fn is_app(self) -> bool {
        matches!(self, Protocol::Http | Protocol::App(_))
    }
}

/// A state that a rule is judged at: the part of the header's protocol behind the colon.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hook {
    /// The name: `request_started`, `client_hello_done`, `flow_start`, `all` …
    pub name: String,
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
    /// `=>`: both directions of a transaction; the left side is the one that begins it.
    Transaction,
}
