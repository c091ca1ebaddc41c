//! One packet as detection sees it: every layer found, lengths proven, with the oddities met on the way.
//!
//! A captured frame may hold several packets (tunnels, datagrams put together from fragments): [`Decoder::decode`] hands
//! each to its caller, what is inside before what it came in. Depth is bounded by [`Settings::layers`]; fragments are held by
//! [`defrag::Defrag`], which has its own bounds. No byte from outside is read without its length being proven; what
//! does not fit ends the walk with an [`Event`].

pub mod datagram;
pub mod defrag;
mod event;
mod extension;
mod icmp;
mod ipv4;
mod ipv6;
mod link;
mod tags;
pub mod tcp;
#[cfg(test)]
mod tests;
mod tunnel;
mod udp;

use std::net::{IpAddr, Ipv4Addr};

use weir_wire::Instant;

use crate::event::Tuple;

pub use event::{Event, Events};
pub use link::Link;
pub use tcp::{Options, Tcp};

/// Headers of one frame that are followed, tunnels and tags included.
pub const LAYERS: u8 = 16;

/// A packet, decoded. Slices lie within the frame, or within a datagram put together from fragments.
#[derive(Clone, Copy, Debug, Default)]
pub struct View<'p> {
    /// When it was seen.
    pub time: Instant,
    /// Addresses and ports; ICMP has type and code in place of ports. `None` without IP.
    pub tuple: Option<Tuple>,
    /// Ethernet header of the frame, 14 bytes; empty where the link has none.
    pub ethernet: &'p [u8],
    /// VLAN identifiers, outermost first; as many as `vlans` says.
    pub vlan: [u16; 3],
    /// VLAN tags.
    pub vlans: u8,
    /// IPv4 header with options, or IPv6 header with extension headers; empty without IP.
    pub ip: &'p [u8],
    /// Header of TCP (with options), UDP, ICMP, ICMPv6, IGMP or another protocol; may be short or empty where it is bad.
    pub transport: &'p [u8],
    /// What the transport carries; for IP protocols without a known header, what IP carries.
    pub payload: &'p [u8],
    /// The whole packet from the outermost header of this packet on (what EVE's `packet` shows).
    pub frame: &'p [u8],
    /// What `frame` begins with.
    pub link: Link,
    /// TCP fields, where it is TCP.
    pub tcp: Option<Tcp>,
    /// Checksums hold, as far as there are any.
    pub checksums: Checksums,
    /// It was put together from fragments.
    pub reassembled: bool,
    /// It is a fragment, and so has no transport of its own.
    pub fragment: bool,
    /// Its headers are sound up to the transport, so that it may belong to a flow.
    pub sound: bool,
    /// It came inside a tunnel of so many layers.
    pub depth: u8,
    /// Where it came from.
    pub source: Source,
    /// The outermost packet's tuple, where this one came in a tunnel.
    pub outer: Option<Tuple>,
    /// For an ICMP error: the tuple of the packet it quotes.
    pub quoted: Option<Tuple>,
    /// Its payload is part of no stream, so that rules on streams look at it by itself. Said by stream engines.
    pub loose: bool,
    /// What it carries was handed on as a packet by itself, and so is no payload of this one.
    pub opened: bool,
    /// A packet that came inside this one was refused.
    pub inner_refused: bool,
    /// Decoder events, as bits of [`Event`].
    pub events: Events,
}

/// Where a packet came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// It is the frame itself.
    #[default]
    Wire,
    /// From fragments.
    Defrag,
    /// Out of GRE (or ERSPAN).
    Gre,
    /// Out of IPv4.
    Ipv4,
    /// Out of IPv6.
    Ipv6,
    /// Out of Teredo.
    Teredo,
    /// Out of VXLAN.
    Vxlan,
    /// Out of Geneve.
    Geneve,
    /// Made by the stream engine to hand on what is left.
    Flush,
}

impl Source {
    /// The name that EVE gives it (`pkt_src`).
    pub fn name(self) -> &'static str {
        match self {
            Source::Wire => "wire/pcap",
            Source::Defrag => "defrag",
            Source::Gre => "gre tunnel",
            Source::Ipv4 => "ipv4 tunnel",
            Source::Ipv6 => "ipv6 tunnel",
            Source::Teredo => "teredo tunnel",
            Source::Vxlan => "vxlan encapsulation",
            Source::Geneve => "geneve encapsulation",
            Source::Flush => "stream (flow timeout)",
        }
    }
}

/// Whether checksums hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksums {
    /// The IPv4 header's is wrong.
    pub bad_ip: bool,
    /// The transport's is wrong.
    pub bad_transport: bool,
}

/// Choices of the decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Checksums are computed.
    pub checksums: bool,
    /// UDP ports of VXLAN.
    pub vxlan: Vec<u16>,
    /// UDP ports of Geneve.
    pub geneve: Vec<u16>,
    /// UDP ports of Teredo; empty turns it off.
    pub teredo: Vec<u16>,
    /// How fragments are put together.
    pub defrag: defrag::Settings,
    /// Headers that may stand in each other; [`LAYERS`] unless it is set.
    pub layers: u8,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            checksums: true,
            vxlan: vec![4789],
            geneve: vec![6081],
            teredo: vec![3544],
            defrag: defrag::Settings::default(),
            layers: LAYERS,
        }
    }
}

/// Takes frames apart. Holds the fragments that wait for others.
#[derive(Debug)]
pub struct Decoder {
    settings: Settings,
    defrag: defrag::Defrag,
    tunnels: datagram::Tunnels,
}

/// What the receiver of a packet did with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It may go on.
    Passed,
    /// It is refused; so is the frame it came in.
    Refused,
}

impl Decoder {
    /// Nothing is held yet.
    pub fn new(settings: Settings) -> Decoder {
        Decoder {
            defrag: defrag::Defrag::new(settings.defrag.clone()),
            tunnels: datagram::Tunnels::new(&settings),
            settings,
        }
    }

    /// Hands each packet of a frame to `sink`, the innermost first.
    pub fn decode(&mut self, link: Link, frame: &[u8], time: Instant, sink: &mut dyn FnMut(&View<'_>) -> Taken) {
        let Decoder { settings, defrag, .. } = self;
        let mut walk = Walk { settings, defrag, sink, layers: 0, refused: false };
        let mut view = View { time, frame, link, ..View::default() };
        link::start(&mut walk, &mut view, link, frame);
        walk.emit(&mut view);
    }

    /// What waits for more fragments.
    pub fn defrag(&self) -> &defrag::Defrag {
        &self.defrag
    }
}

/// One frame being taken apart.
struct Walk<'w> {
    settings: &'w Settings,
    defrag: &'w mut defrag::Defrag,
    sink: &'w mut dyn FnMut(&View<'_>) -> Taken,
    layers: u8,
    refused: bool,
}

impl Walk<'_> {
    /// Counts a header; `false` where there are too many.
    #[inline]
    fn enter(&mut self, view: &mut View<'_>) -> bool {
        self.layers = self.layers.saturating_add(1);
        if self.layers > self.settings.layers {
            view.events.set(Event::TooManyLayers);
            view.sound = false;
            return false;
        }
        true
    }

    #[inline]
    fn emit(&mut self, view: &mut View<'_>) {
        view.inner_refused = self.refused;
        if view.opened {
            view.payload = &[];
        }
        if (self.sink)(view) == Taken::Refused {
            self.refused = true;
        }
    }

    /// Decodes what a packet carries as a packet of its own.
    fn inner(&mut self, outer: &mut View<'_>, source: Source, kind: Inner, bytes: &[u8]) {
        let mut view = View {
            time: outer.time,
            ethernet: outer.ethernet,
            frame: bytes,
            link: Link::Raw,
            depth: outer.depth.saturating_add(1),
            source,
            outer: outer.outer.or(outer.tuple),
            ..View::default()
        };
        match kind {
            Inner::Ethernet => {
                view.link = Link::Ethernet;
                link::ethernet(self, &mut view, bytes);
            }
            Inner::EtherType(kind) => tags::network(self, &mut view, kind, bytes),
        }
        outer.opened = view.tuple.is_some();
        self.emit(&mut view);
    }

    /// Decodes a datagram that fragments made.
    fn whole(&mut self, last: &View<'_>, bytes: &[u8]) {
        let mut view = View {
            time: last.time,
            ethernet: last.ethernet,
            vlan: last.vlan,
            vlans: last.vlans,
            frame: bytes,
            link: Link::Raw,
            depth: last.depth,
            source: Source::Defrag,
            outer: last.outer,
            reassembled: true,
            ..View::default()
        };
        match bytes.first().map(|byte| byte >> 4) {
            Some(4) => ipv4::decode(self, &mut view, bytes),
            _ => ipv6::decode(self, &mut view, bytes),
        }
        self.emit(&mut view);
    }
}

/// What a tunnel carries.
#[derive(Clone, Copy, Debug)]
enum Inner {
    Ethernet,
    EtherType(u16),
}

/// A tuple without ports.
fn addresses(source: IpAddr, destination: IpAddr, protocol: u8) -> Tuple {
    Tuple { source, destination, source_port: 0, destination_port: 0, protocol }
}

/// The tuple of an IPv4 header.
fn tuple_v4(header: &[u8; 20]) -> Tuple {
    let &[_, _, _, _, _, _, _, _, _, protocol, _, _, a, b, c, d, e, f, g, h] = header;
    addresses(Ipv4Addr::new(a, b, c, d).into(), Ipv4Addr::new(e, f, g, h).into(), protocol)
}

/// Puts ports into the view's tuple.
#[inline]
fn set_ports(view: &mut View<'_>, source: u16, destination: u16) {
    if let Some(tuple) = &mut view.tuple {
        tuple.source_port = source;
        tuple.destination_port = destination;
    }
}

/// The pseudo-header's sum of the view's packet for a transport of so many bytes.
fn pseudo(view: &View<'_>, length: usize) -> Option<weir_wire::checksum::Sum> {
    let tuple = view.tuple?;
    let length = u32::try_from(length).ok()?;
    Some(match (tuple.source, tuple.destination) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            weir_wire::checksum::pseudo_ipv4(s.octets(), d.octets(), tuple.protocol, length)
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            weir_wire::checksum::pseudo_ipv6(&s.octets(), &d.octets(), tuple.protocol, length)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    })
}

/// Two bytes in network order at `at`; 0 where there are none.
#[inline]
fn half(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u16::from_be_bytes(*b))
}

/// Four bytes in network order at `at`; 0 where there are none.
#[inline]
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_be_bytes(*b))
}
