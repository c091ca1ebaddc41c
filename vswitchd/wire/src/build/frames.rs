//! Whole frames as byte vectors: announcements, and the traffic of tests.
//!
//! Payloads are cut to what the length fields can state. Checksums are complete.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{ArpEthIpv4Packet, ArpOperation, IpFragOffset, Ipv4Header, Ipv6Header};

use crate::numbers::*;
use crate::{L3, MacAddr, Offload, Packet, Pool, PortId, TcpFields, checksum, parse};

/// Hop limit of what we send.
pub(super) const TTL: u8 = 64;
/// Longest transport part that every IP header made here can state.
const TRANSPORT_MAX: usize = 65535 - 60;

/// The two ends of a packet. Addresses of one family; a mixed pair is written as IPv6 with the IPv4 one mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Source MAC.
    pub source_mac: MacAddr,
    /// Destination MAC.
    pub destination_mac: MacAddr,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
}

impl Ends {
    /// From host `from` to host `to` of 10.0.0.0/24, whose MACs are 02:00:00:00:00:XX.
    pub const fn ipv4(from: u8, to: u8) -> Ends {
        Ends {
            source_mac: MacAddr([2, 0, 0, 0, 0, from]),
            destination_mac: MacAddr([2, 0, 0, 0, 0, to]),
            source: IpAddr::V4(Ipv4Addr::new(10, 0, 0, from)),
            destination: IpAddr::V4(Ipv4Addr::new(10, 0, 0, to)),
        }
    }

    /// The same over IPv6, in fd00::/64.
    pub const fn ipv6(from: u8, to: u8) -> Ends {
        Ends {
            source: IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, from as u16)),
            destination: IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, to as u16)),
            ..Ends::ipv4(from, to)
        }
    }

    /// The way back.
    pub const fn reversed(self) -> Ends {
        Ends {
            source_mac: self.destination_mac,
            destination_mac: self.source_mac,
            source: self.destination,
            destination: self.source,
        }
    }

    fn is_ipv4(&self) -> bool {
        self.source.is_ipv4() && self.destination.is_ipv4()
    }
}

/// An IP header of 20 or 40 bytes.
pub(super) struct IpHeader {
    bytes: [u8; 40],
    len: usize,
}

impl IpHeader {
    /// A header without options; IPv4 with "don't fragment" and identification 0 (RFC 6864).
    pub(super) fn new(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> IpHeader {
        let mut header = IpHeader { bytes: [0; 40], len: 40 };
        if let (IpAddr::V4(source), IpAddr::V4(destination)) = (source, destination) {
            let mut ipv4 = Ipv4Header {
                total_len: (length + 20) as u16,
                time_to_live: TTL,
                protocol: protocol.into(),
                source: source.octets(),
                destination: destination.octets(),
                ..Ipv4Header::default()
            };
            ipv4.header_checksum = ipv4.calc_header_checksum();
            header.len = 20;
            header.bytes.iter_mut().zip(ipv4.to_bytes()).for_each(|(to, from)| *to = from);
            return header;
        }
        let mapped = |address| match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        header.bytes = Ipv6Header {
            payload_length: length as u16,
            next_header: protocol.into(),
            hop_limit: TTL,
            source: mapped(source),
            destination: mapped(destination),
            ..Ipv6Header::default()
        }
        .to_bytes();
        header
    }

    fn set_hop_limit(&mut self, hop_limit: u8) {
        if self.len == 40 {
            self.bytes[7] = hop_limit;
            return;
        }
        // The TTL shares its word with the protocol, and the checksum follows.
        let [old, protocol, high, low] = [self.bytes[8], self.bytes[9], self.bytes[10], self.bytes[11]];
        let (before, after) = (u16::from_be_bytes([old, protocol]), u16::from_be_bytes([hop_limit, protocol]));
        let [high, low] = checksum::update(u16::from_be_bytes([high, low]), before, after).to_be_bytes();
        (self.bytes[8], self.bytes[10], self.bytes[11]) = (hop_limit, high, low);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// The fixed TCP header with a checksum of zero; `options` is the length of the options that follow.
pub(super) fn tcp_header(fields: &TcpFields, options: usize) -> [u8; 20] {
    let mut header = [0; 20];
    header[0..2].copy_from_slice(&fields.source_port.to_be_bytes());
    header[2..4].copy_from_slice(&fields.destination_port.to_be_bytes());
    header[4..8].copy_from_slice(&fields.seq.to_be_bytes());
    header[8..12].copy_from_slice(&fields.ack.to_be_bytes());
    header[12] = ((5 + options.min(40) / 4) as u8) << 4;
    header[13] = fields.flags;
    header[14..16].copy_from_slice(&fields.window.to_be_bytes());
    header
}

/// A frame with an IP packet of this protocol; a TCP, UDP or ICMP checksum in `transport` is filled in.
pub fn ip(ends: Ends, protocol: u8, transport: &[&[u8]]) -> Vec<u8> {
    ip_with_hop_limit(ends, protocol, TTL, transport)
}

/// The same with this TTL or hop limit.
pub fn ip_with_hop_limit(ends: Ends, protocol: u8, hop_limit: u8, transport: &[&[u8]]) -> Vec<u8> {
    let length = transport.iter().map(|part| part.len()).sum::<usize>().min(TRANSPORT_MAX);
    let mut header = IpHeader::new(ends.source, ends.destination, protocol, length);
    header.set_hop_limit(hop_limit);
    let ether_type = if ends.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
    let mut frame = ethernet(ends.source_mac, ends.destination_mac, ether_type);
    frame.extend_from_slice(header.bytes());
    let end = frame.len() + length;
    transport.iter().for_each(|part| frame.extend_from_slice(part));
    frame.truncate(end);
    if let Some(headers) = parse::plain(&frame) {
        checksum::fill(&mut frame, &headers);
    }
    frame
}

fn ethernet(source: MacAddr, destination: MacAddr, ether_type: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(128);
    frame.extend_from_slice(&destination.0);
    frame.extend_from_slice(&source.0);
    frame.extend_from_slice(&ether_type.to_be_bytes());
    frame
}

/// A UDP datagram; `ports` are source and destination.
pub fn udp(ends: Ends, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let payload = payload.get(..TRANSPORT_MAX - 8).unwrap_or(payload);
    let (source, destination) = (ports.0.to_be_bytes(), ports.1.to_be_bytes());
    let length = (payload.len() as u16 + 8).to_be_bytes();
    ip(ends, PROTOCOL_UDP, &[&source, &destination, &length, &[0, 0], payload])
}

/// A TCP segment; `options` are as they stand in the header, a multiple of four bytes, 40 at most.
pub fn tcp(ends: Ends, fields: TcpFields, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let options = options.get(..options.len().min(40) & !3).unwrap_or(&[]);
    ip(ends, PROTOCOL_TCP, &[&tcp_header(&fields, options.len()), options, payload])
}

/// Which half of a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EchoKind {
    /// Asks.
    Request,
    /// Answers.
    Reply,
}

/// An ICMP or ICMPv6 echo message.
pub fn icmp_echo(ends: Ends, kind: EchoKind, id: u16, seq: u16, payload: &[u8]) -> Vec<u8> {
    let (protocol, number) = match (kind, ends.is_ipv4()) {
        (EchoKind::Request, true) => (PROTOCOL_ICMP, 8),
        (EchoKind::Reply, true) => (PROTOCOL_ICMP, 0),
        (EchoKind::Request, false) => (PROTOCOL_ICMPV6, 128),
        (EchoKind::Reply, false) => (PROTOCOL_ICMPV6, 129),
    };
    ip(ends, protocol, &[&[number, 0, 0, 0], &id.to_be_bytes(), &seq.to_be_bytes(), payload])
}

/// What an ARP packet wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArpKind {
    /// Who has the target address? Sent to everybody.
    Request,
    /// The sender has it. Sent to the target.
    Reply,
}

/// An ARP packet (RFC 826). The target's MAC is not sent in a request.
pub fn arp(kind: ArpKind, sender: (MacAddr, Ipv4Addr), target: (MacAddr, Ipv4Addr)) -> Vec<u8> {
    let (operation, destination, target_mac) = match kind {
        ArpKind::Request => (ArpOperation::REQUEST, MacAddr::BROADCAST, MacAddr::ZERO),
        ArpKind::Reply => (ArpOperation::REPLY, target.0, target.0),
    };
    let body = ArpEthIpv4Packet {
        operation,
        sender_mac: sender.0.0,
        sender_ipv4: sender.1.octets(),
        target_mac: target_mac.0,
        target_ipv4: target.1.octets(),
    };
    let mut frame = ethernet(sender.0, destination, ETHERTYPE_ARP);
    frame.extend_from_slice(&body.to_bytes());
    frame
}

/// The RARP request by which a host says where it is after a move, as QEMU sends it: 60 bytes, to everybody.
pub fn rarp(mac: MacAddr) -> Vec<u8> {
    let body = ArpEthIpv4Packet {
        operation: ArpOperation(3),
        sender_mac: mac.0,
        sender_ipv4: [0; 4],
        target_mac: mac.0,
        target_ipv4: [0; 4],
    };
    let mut frame = ethernet(mac, MacAddr::BROADCAST, ETHERTYPE_RARP);
    frame.extend_from_slice(&body.to_bytes());
    frame.resize(60, 0);
    frame
}

/// `frame` with an 802.1Q tag before its EtherType.
pub fn tagged(frame: &[u8], vid: u16, pcp_dei: u8) -> Vec<u8> {
    let (macs, rest) = frame.split_at_checked(12).unwrap_or((frame, &[]));
    let tci = (u16::from(pcp_dei) << 12) | (vid & 0xfff);
    [macs, &ETHERTYPE_VLAN.to_be_bytes(), &tci.to_be_bytes(), rest].concat()
}

/// The fragments of an IP frame, in order, each an IP packet of at most `size` bytes with identification `id`; the
/// frame alone where it is no whole IP packet or has IPv4 options. IPv6 fragment headers go right behind the fixed
/// header.
pub fn fragments(frame: &[u8], size: usize, id: u32) -> Vec<Vec<u8>> {
    let Some(headers) = parse::plain(frame) else { return vec![frame.to_vec()] };
    let l3 = usize::from(headers.l3);
    let fixed = match headers.l3_kind {
        L3::Ipv4 if frame.get(l3) == Some(&0x45) => 20,
        L3::Ipv6 => 40,
        L3::Ipv4 | L3::Arp | L3::Other => return vec![frame.to_vec()],
    };
    let head_len = if fixed == 20 { 20 } else { 48 };
    let Some((before, data)) = frame.get(..headers.end as usize).and_then(|f| f.split_at_checked(l3 + fixed)) else {
        return vec![frame.to_vec()];
    };
    let room = size.saturating_sub(head_len).max(8) & !7;
    let last = data.len().saturating_sub(1) / room;
    let piece = |(index, chunk): (usize, &[u8])| {
        let place = Piece { offset: index * room, more: index < last, id };
        let header = before.get(l3..).unwrap_or(&[]);
        let head = if fixed == 20 { place.ipv4(header, chunk.len()) } else { place.ipv6(header, chunk.len()) };
        [before.get(..l3).unwrap_or(&[]), &head, chunk].concat()
    };
    data.chunks(room).enumerate().map(piece).collect()
}

/// A fragment's place in its datagram.
struct Piece {
    offset: usize,
    more: bool,
    id: u32,
}

impl Piece {
    fn ipv4(&self, header: &[u8], length: usize) -> Vec<u8> {
        let Ok((mut ipv4, _)) = Ipv4Header::from_slice(header) else { return header.to_vec() };
        ipv4.total_len = (20 + length) as u16;
        ipv4.dont_fragment = false;
        ipv4.more_fragments = self.more;
        ipv4.identification = self.id as u16;
        ipv4.fragment_offset = IpFragOffset::try_new((self.offset / 8) as u16).unwrap_or_default();
        ipv4.header_checksum = ipv4.calc_header_checksum();
        ipv4.to_bytes().to_vec()
    }

    fn ipv6(&self, header: &[u8], length: usize) -> Vec<u8> {
        let Ok((mut ipv6, _)) = Ipv6Header::from_slice(header) else { return header.to_vec() };
        let next = ipv6.next_header.0;
        ipv6.next_header = PROTOCOL_FRAGMENT.into();
        ipv6.payload_length = (8 + length) as u16;
        let [high, low] = (self.offset as u16 | u16::from(self.more)).to_be_bytes();
        let [a, b, c, d] = self.id.to_be_bytes();
        [&ipv6.to_bytes()[..], &[next, 0, high, low, a, b, c, d]].concat()
    }
}

/// `frame` in a buffer of `pool`, parsed, as if it came in by `port`; `None` where the pool is empty or the frame is
/// malformed.
pub fn packet(frame: &[u8], port: PortId, pool: &mut Pool) -> Option<Packet> {
    let mut packet = Packet::new(pool.copy(frame)?, port, Offload::default());
    if packet.parse().is_err() {
        pool.give(packet.buffer);
        return None;
    }
    Some(packet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    #[test]
    fn etherparse_reads_what_was_built() {
        let fields = TcpFields { source_port: 80, destination_port: 4000, seq: 7, ack: 9, flags: TCP_SYN, window: 512 };
        for ends in [Ends::ipv4(1, 2), Ends::ipv6(1, 2)] {
            let frame = tagged(&tcp(ends, fields, &[2, 4, 5, 0xb4], b"hello"), 42, 3);
            let read = SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(TransportSlice::Tcp(segment)) = &read.transport else { panic!("no TCP in {frame:x?}") };
            assert_eq!((segment.source_port(), segment.destination_port(), segment.window_size()), (80, 4000, 512));
            assert_eq!((segment.sequence_number(), segment.acknowledgment_number(), segment.syn()), (7, 9, true));
            assert_eq!((segment.options(), segment.payload()), (&[2, 4, 5, 0xb4][..], &b"hello"[..]));
            assert_eq!(read.vlan_ids().to_vec(), [etherparse::VlanId::try_new(42).unwrap()]);
        }
    }

    #[test]
    fn fragments_carry_the_whole_datagram() {
        let data: Vec<u8> = (0..3000u32).map(|n| n as u8).collect();
        for ends in [Ends::ipv4(1, 2), Ends::ipv6(1, 2)] {
            let frame = udp(ends, (1, 2), &data);
            let pieces = fragments(&frame, 1280, 77);
            let mut seen = Vec::new();
            for piece in &pieces {
                let read = SlicedPacket::from_ethernet(piece).unwrap();
                let payload = match &read.net {
                    Some(NetSlice::Ipv4(v4)) => v4.payload().payload,
                    Some(NetSlice::Ipv6(v6)) => v6.payload().payload,
                    _ => panic!("no IP"),
                };
                seen.extend_from_slice(payload);
                assert!(read.is_ip_payload_fragmented() && piece.len() <= 1294);
            }
            assert_eq!((pieces.len(), &seen[..]), (3, &frame[frame.len() - 3008..]));
        }
    }

    #[test]
    fn a_payload_beyond_64_kib_is_cut() {
        assert!(parse::plain(&udp(Ends::ipv4(1, 2), (1, 2), &[0; 70_000])).is_some());
    }
}
