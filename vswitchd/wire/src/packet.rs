//! One frame we own, and where its headers stand.
//!
//! [`Packet::parse`] runs once per packet (stop 3 of its walk) and proves the lengths; afterwards the accessors cannot
//! fail on a well-formed packet and answer `None` on one that lacks the header asked for. Padding behind the IP
//! datagram is kept in the frame but belongs to no header ([`Headers::end`]).

use crate::plain::{self, Template};
use crate::{Buffer, DropReason, MacAddr, Offload, Pool, PortId, Vid, parse};

/// The network-layer kind of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum L3 {
    /// Anything without its own variant.
    #[default]
    Other,
    /// ARP for IPv4 over Ethernet (RFC 826).
    Arp,
    /// IPv4 (RFC 791).
    Ipv4,
    /// IPv6 (RFC 8200).
    Ipv6,
}

/// Whether an IP packet is a piece of a larger datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fragment {
    /// A whole datagram (an IPv6 atomic fragment counts as whole, RFC 6946).
    #[default]
    No,
    /// The piece with offset 0 of a longer datagram.
    First,
    /// A later piece; it has no L4 header.
    Later,
}

/// The outermost 802.1Q tag of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// VLAN identifier; 0 is a priority tag.
    pub vid: Vid,
    /// Priority code point and drop eligibility, as the upper four bits of the TCI.
    pub pcp_dei: u8,
}

/// What one pass over the headers found. Offsets are bytes from the start of the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// The network layer's kind.
    pub l3_kind: L3,
    /// Piece of a larger datagram?
    pub fragment: Fragment,
    /// The protocol behind all IP headers (IANA protocol number); 0 for frames without IP.
    pub protocol: u8,
    /// TCP's flags byte (CWR..FIN); 0 without TCP.
    pub tcp_flags: u8,
    /// EtherType behind the outermost tag; values below 0x600 are 802.3 lengths.
    pub ether_type: u16,
    /// The outermost 802.1Q tag that stands in the frame.
    pub tag: Option<Tag>,
    /// Network header.
    pub l3: u16,
    /// Transport header; 0 where there is none (later fragments, frames without IP). Protocols other than TCP, UDP and
    /// ICMP have `payload` at the same place.
    pub l4: u16,
    /// First byte behind the transport header; equals `end` where nothing follows. For a later fragment the first byte
    /// of its data, for frames without IP or ARP the first byte behind the EtherType.
    pub payload: u16,
    /// End of the IP datagram (frame length for other frames); padding follows.
    pub end: u32,
}

/// The part of a frame that was left where it came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// Bytes of it; 0 where the frame stands in its buffer whole.
    pub len: u32,
    /// What its origin knows it by.
    pub slot: u32,
}

/// Where packets come from that bring their first bytes only. The rest stays there until the end of the turn.
pub trait Origin {
    /// Brings the rest of a packet, so that its buffer holds it whole. `false` where no buffer is free or the rest is
    /// gone; the packet stays as it was.
    fn fill(&self, packet: &mut Packet, pool: &mut Pool) -> bool;

    /// Copies the rest of a packet to `to`, which is as long; the packet stays as it was. `false` where it is gone.
    fn copy_rest(&self, packet: &Packet, to: &mut [u8]) -> bool;
}

/// The origin of packets that are whole.
#[derive(Clone, Copy, Debug)]
pub struct Nowhere;

impl Origin for Nowhere {
    fn fill(&self, packet: &mut Packet, _: &mut Pool) -> bool {
        packet.is_whole()
    }

    fn copy_rest(&self, _: &Packet, to: &mut [u8]) -> bool {
        to.is_empty()
    }
}

/// One frame, its marks, and where it stands on its way.
///
/// A long frame may come in with its first bytes only ([`Packet::rest`]): what those say is judged and rewritten, and
/// whoever wants to see more has the packet made whole first ([`Origin::fill`]). The accessors know only what stands in
/// the buffer.
#[derive(Debug)]
pub struct Packet {
    /// The bytes, from the Ethernet header on.
    pub buffer: Buffer,
    /// What follows them and is still where it came from.
    pub rest: Rest,
    /// What is left to finish.
    pub offload: Offload,
    /// The port it came in by.
    pub port: PortId,
    /// The VLAN it belongs to on its switch; set by the bridge on arrival, 0 until then.
    pub vid: Vid,
    /// Symmetric hash of the flow it belongs to; set at stop 4, 0 for frames without a flow.
    pub hash: u64,
    /// Where the headers stand; valid after [`Packet::parse`].
    pub headers: Headers,
}

impl Packet {
    /// A packet that came in by `port`, not parsed yet.
    #[inline]
    pub fn new(buffer: Buffer, port: PortId, offload: Offload) -> Packet {
        Packet { buffer, rest: Rest::default(), offload, port, vid: Vid(0), hash: 0, headers: Headers::default() }
    }

    /// The frame.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.bytes()
    }

    /// Length of the frame, with the part that is not in the buffer.
    #[inline]
    pub fn len(&self) -> usize {
        self.buffer.len() + self.rest.len as usize
    }

    /// All of its bytes are in the buffer.
    #[inline]
    pub fn is_whole(&self) -> bool {
        self.rest.len == 0
    }

    /// A frame without bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Destination MAC; zero on a frame too short to have one.
    #[inline]
    pub fn dst_mac(&self) -> MacAddr {
        self.bytes().first_chunk().map_or(MacAddr::ZERO, |&m| MacAddr(m))
    }

    /// Source MAC; zero on a frame too short to have one.
    #[inline]
    pub fn src_mac(&self) -> MacAddr {
        self.bytes().get(6..).and_then(<[u8]>::first_chunk).map_or(MacAddr::ZERO, |&m| MacAddr(m))
    }

    /// The bytes behind the transport header, without Ethernet padding.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.bytes().get(self.headers.payload as usize..self.headers.end as usize).unwrap_or(&[])
    }

    /// The transport header and what follows it, without Ethernet padding; empty where there is none.
    #[inline]
    pub fn transport(&self) -> &[u8] {
        if self.headers.l4 == 0 {
            return &[];
        }
        self.bytes().get(self.headers.l4 as usize..self.headers.end as usize).unwrap_or(&[])
    }

    /// The network header and what follows it, without Ethernet padding.
    #[inline]
    pub fn network(&self) -> &[u8] {
        self.bytes().get(self.headers.l3 as usize..self.headers.end as usize).unwrap_or(&[])
    }

    /// A second packet with the same bytes and marks, of a whole one; `None` where the pool is empty.
    #[inline]
    pub fn duplicate(&self, pool: &mut Pool) -> Option<Packet> {
        let buffer = pool.copy(self.bytes())?;
        let Packet { offload, port, vid, hash, headers, .. } = *self;
        Some(Packet { buffer, rest: Rest::default(), offload, port, vid, hash, headers })
    }
}

/// Why a frame could not be parsed; a subset of [`DropReason`].
pub type Malformed = DropReason;

impl Packet {
    /// Finds the headers and proves their lengths against each other and against the marks.
    ///
    /// # Errors
    /// The reason under which the frame is to be dropped; its headers then mean nothing.
    #[inline]
    pub fn parse(&mut self) -> Result<(), Malformed> {
        parse::headers(self.buffer.bytes(), self.offload, &mut self.headers)
    }

    /// Finds the headers of the most common kinds of frames, as [`Packet::parse`] does, at a fraction of its cost:
    /// untagged whole TCP and UDP datagrams without IP options or extension headers. `false` says nothing about the
    /// frame; it is for `parse` then.
    #[inline]
    pub fn parse_common(&mut self) -> bool {
        plain::headers(self.buffer.bytes(), self.len(), self.offload, &mut self.headers).is_some()
    }

    /// What [`Packet::parse_common`] has found in this packet, for those that follow it. `None` for kinds that are not held
    /// against each other.
    #[inline]
    pub fn template(&self) -> Option<Template> {
        Template::new(self.buffer.bytes(), &self.headers).filter(|_| self.offload == Offload::default())
    }

    /// Finds the headers of a packet that is of the same flow and way as the template's, as [`Packet::parse_common`] does.
    /// `false` says nothing about the packet.
    #[inline]
    pub fn parse_like(&mut self, template: &Template) -> bool {
        if self.offload != Offload::default() {
            return false;
        }
        template.apply(self.buffer.bytes(), self.len(), &mut self.headers).is_some()
    }
}
