//! The content filter: which sites a guest may visit, by the names it says on its way there.
//!
//! A name is met where the initiator says it: the host and path of an HTTP request, the server name of a TLS or QUIC
//! handshake, a question to the DNS. It is judged by [`rules`] against [`list`]s before the bytes that complete it go
//! on; a denial refuses those bytes, ends the connection, and tells the initiator in its own protocol ([`answers`]).
//! Each request of a connection is judged for itself, so that one site of a server is refused and its neighbour is not.
//!
//! Limits: a flow keeps a few words; lists are shared by all flows and bounded when they are read; an HTTP request is
//! judged by at most [`watch::HOSTS`] hosts.

pub mod answers;
pub mod list;
pub mod name;
pub mod rules;
pub mod table;
pub mod watch;

pub use crate::detect::sets::geo::Database as Places;
pub use list::List;
pub use rules::{Action, Content, Match, Rule, Site, Spec, Who};
pub use watch::{Denial, Finding, Watch};

/// Where a name was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request of HTTP.
    Http,
    /// The server name of a TLS handshake.
    Tls,
    /// The server name of a QUIC handshake.
    Quic,
    /// A question to the DNS, or a name that its answer leads to (CNAME).
    Dns,
    /// No name: the address of the server at the flow's first packet.
    Address,
}

impl Kind {
    /// The name in events and settings.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Http => "http",
            Kind::Tls => "tls",
            Kind::Quic => "quic",
            Kind::Dns => "dns",
            Kind::Address => "address",
        }
    }
}

/// How an initiator is told that it was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A page with status 403, then the end of the connection. HTTP/1 only; HTTP/2 is reset.
    Page,
    /// A reset to both sides (of datagrams: ICMP).
    Reset,
    /// "No such name".
    Nxdomain,
    /// The address of the sinkhole; "no such name" where none of the family is set.
    Sinkhole,
    /// Nothing: the packet is dropped.
    Silence,
}

impl Answer {
    /// The usual one.
    pub const fn usual(kind: Kind) -> Answer {
        match kind {
            Kind::Http => Answer::Page,
            Kind::Tls | Kind::Address => Answer::Reset,
            Kind::Dns => Answer::Nxdomain,
            // A client that hears nothing tries TCP.
            Kind::Quic => Answer::Silence,
        }
    }

    /// Whether it can be given where a name was met.
    pub const fn fits(self, kind: Kind) -> bool {
        match self {
            Answer::Page => matches!(kind, Kind::Http),
            Answer::Nxdomain | Answer::Sinkhole => matches!(kind, Kind::Dns),
            Answer::Reset | Answer::Silence => true,
        }
    }
}
