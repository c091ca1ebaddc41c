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

/// A fragment's place in its datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentFields {
    /// Identification; 16 bits over IPv4.
    pub id: u32,
    /// Where its data stand in the datagram's, in bytes.
    pub offset: u16,
    /// More fragments follow.
    pub more: bool,
    /// Over IPv6, where the fragment header begins; 0 over IPv4. From the start of the frame, as all offsets.
    pub header: u16,
    /// Over IPv6, where the next-header field stands that names the fragment header; 0 over IPv4.
    pub named_at: u16,
}

impl Packet {
    /// The place of a fragment, or of an atomic one (RFC 6946); `None` where there is no fragment header, or over IPv4
    /// for a whole datagram. Over IPv6 the data begin 8 bytes behind `header`, over IPv4 behind the IP header.
    pub fn fragment_fields(&self) -> Option<FragmentFields> {
        if let Some(header) = self.ipv4() {
            let place = u16::from_be_bytes([header[6], header[7]]);
            return (self.headers.fragment != Fragment::No).then(|| FragmentFields {
                id: u32::from(u16::from_be_bytes([header[4], header[5]])),
                // Thirteen bits of units of eight bytes.
                offset: place << 3,
                more: place & 0x2000 != 0,
                ..FragmentFields::default()
            });
        }
        let l3 = usize::from(self.headers.l3);
        let (mut named_at, mut at, mut next) = (l3 + 6, l3 + 40, self.ipv6()?[6]);
        // Parsing has bounded this walk; a changed frame ends it at its end.
        while next != PROTOCOL_FRAGMENT {
            let &[following, length] = self.bytes().get(at..).and_then(<[u8]>::first_chunk)?;
            let size = match next {
                PROTOCOL_HOP_BY_HOP | PROTOCOL_ROUTING | PROTOCOL_DESTINATION_OPTIONS => (usize::from(length) + 1) * 8,
                PROTOCOL_AH => (usize::from(length) + 2) * 4,
                _ => return None,
            };
            (named_at, at, next) = (at, at + size, following);
        }
        let &[_, _, high, low, a, b, c, d] = self.bytes().get(at..).and_then(<[u8]>::first_chunk)?;
        let place = u16::from_be_bytes([high, low]);
        Some(FragmentFields {
            id: u32::from_be_bytes([a, b, c, d]),
            offset: place & !7,
            more: place & 1 != 0,
            header: u16::try_from(at).ok()?,
            named_at: u16::try_from(named_at).ok()?,
        })
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{self, EchoKind, Ends};
    use crate::{Pool, PortId};

    #[test]
    fn fields_of_another_protocol_are_none() {
        let mut pool = Pool::default();
        let ping =
            build::packet(&build::icmp_echo(Ends::ipv6(1, 2), EchoKind::Request, 1, 2, b"x"), PortId(1), &mut pool);
        let ping = ping.unwrap();
        assert_eq!((ping.icmp(), ping.tcp(), ping.ports(), ping.ipv4()), (Some((128, 0)), None, None, None));
        assert_eq!(ping.addresses(), Some((Ends::ipv6(1, 2).source, Ends::ipv6(1, 2).destination)));
        let empty = build::packet(&[0; 14], PortId(1), &mut pool).unwrap();
        assert_eq!(
            (empty.addresses(), empty.icmp(), empty.tcp_options(), empty.has_transport()),
            (None, None, &[][..], false)
        );
    }

    #[test]
    fn fragments_know_their_place() {
        let mut pool = Pool::default();
        for (ends, id) in [(Ends::ipv4(1, 2), 0x5678), (Ends::ipv6(1, 2), 0x1234_5678)] {
            let whole = build::udp(ends, (1, 2), &[0; 3000]);
            assert_eq!(build::packet(&whole, PortId(1), &mut pool).unwrap().fragment_fields(), None);
            let mut offset = 0;
            let pieces = build::fragments(&whole, 1280, 0x1234_5678);
            for (index, piece) in pieces.iter().enumerate() {
                let piece = build::packet(piece, PortId(1), &mut pool).unwrap();
                let fields = piece.fragment_fields().unwrap();
                let (header, named_at) = if ends.source.is_ipv4() { (0, 0) } else { (54, 20) };
                let more = index + 1 < pieces.len();
                assert_eq!(fields, FragmentFields { id, offset, more, header, named_at });
                let data = if header == 0 { 34 } else { 62 };
                offset += (piece.headers.end - data) as u16;
            }
        }
    }
}
