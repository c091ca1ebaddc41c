//! One packet as detection sees it: every layer found, lengths proven, with the oddities met on the way.
//!
//! A captured frame may hold several packets (tunnels): the outer one first, then what it carries.

use weir_wire::Instant;

use crate::event::Tuple;

/// A packet, decoded. Slices lie within the frame, or within a datagram put together from fragments.
#[derive(Clone, Copy, Debug)]
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
    /// TCP fields, where it is TCP.
    pub tcp: Option<Tcp>,
    /// Checksums hold, as far as there are any.
    pub checksums: Checksums,
    /// It was put together from fragments.
    pub reassembled: bool,
    /// It came inside a tunnel of so many layers.
    pub depth: u8,
    /// Decoder events, as bits of [`Event`].
    pub events: Events,
}

/// Fields of a TCP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Flags, CWR..FIN.
    pub flags: u8,
    /// Window as it stands in the header.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
}

/// Whether checksums hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksums {
    /// The IPv4 header's is wrong.
    pub bad_ip: bool,
    /// The transport's is wrong.
    pub bad_transport: bool,
}

/// Decoder events of one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    words: [u64; 4],
}

impl Events {
    /// Notes an event.
    pub fn set(&mut self, event: Event) {
        let number = event as usize;
        if let Some(word) = self.words.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    /// Whether an event was noted.
    pub fn has(&self, event: Event) -> bool {
        self.words.get(event as usize / 64).is_some_and(|word| word >> (event as usize % 64) & 1 == 1)
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.words == [0; 4]
    }

    /// Adds those of another packet.
    pub fn add(&mut self, other: &Events) {
        self.words.iter_mut().zip(other.words).for_each(|(word, more)| *word |= more);
    }
}

/// What a decoder can find odd, by the names that `decode-event` and `stream-event` use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Event {
    /// `ipv4.pkt_too_small`
    Ipv4PacketTooSmall,
}

impl Event {
    /// The event of this name in the rule language.
    pub fn from_name(name: &str) -> Option<Event> {
        match name {
            "ipv4.pkt_too_small" => Some(Event::Ipv4PacketTooSmall),
            _ => None,
        }
    }
}
