//! Single fields of a parsed packet. Each answers `None` where the packet lacks the header.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::numbers::*;
use crate::{Fragment, L3, Packet};

/// The fixed part of a TCP header, as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFields {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// CWR..FIN.
    pub flags: u8,
    /// Window, not scaled.
    pub window: u16,
}

impl TcpFields {
    /// All of `flags` are set.
    #[inline]
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }
}

impl Packet {
    /// The fixed IPv4 header.
    #[inline]
    pub fn ipv4(&self) -> Option<&[u8; 20]> {
        if self.headers.l3_kind == L3::Ipv4 { self.network().first_chunk() } else { None }
    }

    /// The fixed IPv6 header.
    #[inline]
    pub fn ipv6(&self) -> Option<&[u8; 40]> {
        if self.headers.l3_kind == L3::Ipv6 { self.network().first_chunk() } else { None }
    }

    /// Source and destination address of an IP packet.
    #[inline]
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        if let Some(&[.., a, b, c, d, e, f, g, h]) = self.ipv4() {
            return Some((Ipv4Addr::new(a, b, c, d).into(), Ipv4Addr::new(e, f, g, h).into()));
        }
        let (source, destination) = self.ipv6()?.get(8..)?.split_first_chunk::<16>()?;
        Some((Ipv6Addr::from(*source).into(), Ipv6Addr::from(*destination.first_chunk::<16>()?).into()))
    }

    /// Source and destination port of a TCP or UDP packet.
    #[inline]
    pub fn ports(&self) -> Option<(u16, u16)> {
        if !matches!(self.headers.protocol, PROTOCOL_TCP | PROTOCOL_UDP) {
            return None;
        }
        let &[a, b, c, d] = self.transport().first_chunk()?;
        Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
    }

    /// The TCP header's numbers.
    #[inline]
    pub fn tcp(&self) -> Option<TcpFields> {
        if self.headers.protocol != PROTOCOL_TCP {
            return None;
        }
        let h = self.transport().first_chunk::<20>()?;
        Some(TcpFields {
            source_port: u16::from_be_bytes([h[0], h[1]]),
            destination_port: u16::from_be_bytes([h[2], h[3]]),
            seq: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
            ack: u32::from_be_bytes([h[8], h[9], h[10], h[11]]),
            flags: h[13],
            window: u16::from_be_bytes([h[14], h[15]]),
        })
    }

    /// The TCP options, end-of-list padding included; empty without TCP.
    #[inline]
    pub fn tcp_options(&self) -> &[u8] {
        if self.headers.protocol != PROTOCOL_TCP || self.headers.l4 == 0 {
            return &[];
        }
        self.bytes().get(usize::from(self.headers.l4) + 20..usize::from(self.headers.payload)).unwrap_or(&[])
    }

    /// Type and code of an ICMP or ICMPv6 packet.
    #[inline]
    pub fn icmp(&self) -> Option<(u8, u8)> {
        match (self.headers.protocol, self.headers.l3_kind) {
            (PROTOCOL_ICMP, L3::Ipv4) | (PROTOCOL_ICMPV6, L3::Ipv6) => {
                let &[kind, code] = self.transport().first_chunk()?;
                Some((kind, code))
            }
            _ => None,
        }
    }

    /// A whole IP packet, or the first piece of one: it has a transport header.
    #[inline]
    pub fn has_transport(&self) -> bool {
        self.headers.l4 != 0 && self.headers.fragment != Fragment::Later
    }
}
