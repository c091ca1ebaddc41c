//! Frames for the tests of this crate, written field by field, and their way into packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_wire::numbers::*;
use weir_wire::{MacAddr, Offload, Packet, Pool, PortId};

pub const A4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
pub const B4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
pub const C4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3));
pub const A6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
pub const B6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));

/// The MAC of the host with this address: its last byte.
pub fn mac(address: IpAddr) -> MacAddr {
    let last = match address {
        IpAddr::V4(a) => a.octets()[3],
        IpAddr::V6(a) => a.octets()[15],
    };
    MacAddr([2, 0, 0, 0, 0, last])
}

/// A frame's bytes.
#[derive(Clone, Debug)]
pub struct Frame {
    pub bytes: Vec<u8>,
}

/// The numbers of a TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct Seg<'a> {
    pub flags: u8,
    pub seq: u32,
    pub ack: u32,
    pub window: u16,
    pub options: &'a [u8],
    pub data: &'a [u8],
}

impl Default for Seg<'_> {
    fn default() -> Self {
        Seg { flags: TCP_SYN, seq: 0, ack: 0, window: 65535, options: &[], data: &[] }
    }
}

impl Frame {
    /// An IP packet with this payload; checksums of the transport are as given.
    pub fn ip(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Frame {
        let mut bytes = mac(destination).0.to_vec();
        bytes.extend_from_slice(&mac(source).0);
        match (source, destination) {
            (IpAddr::V4(s), IpAddr::V4(d)) => {
                bytes.extend_from_slice(&[8, 0]);
                let total = (20 + payload.len()) as u16;
                let mut header = vec![0x45, 0, (total >> 8) as u8, total as u8, 0x12, 0x34, 0, 0, 64, protocol, 0, 0];
                header.extend_from_slice(&s.octets());
                header.extend_from_slice(&d.octets());
                bytes.extend_from_slice(&header);
            }
            (IpAddr::V6(s), IpAddr::V6(d)) => {
                bytes.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
                bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
                bytes.extend_from_slice(&[protocol, 64]);
                bytes.extend_from_slice(&s.octets());
                bytes.extend_from_slice(&d.octets());
            }
            mixed => panic!("{mixed:?}"),
        }
        bytes.extend_from_slice(payload);
        let mut frame = Frame { bytes };
        frame.fix_ip();
        frame
    }

    /// An IPv4 fragment: `offset` in bytes.
    pub fn fragment4(
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
        id: u16,
        offset: u16,
        more: bool,
        data: &[u8],
    ) -> Frame {
        let mut frame = Frame::ip(source, destination, protocol, data);
        frame.bytes[18..20].copy_from_slice(&id.to_be_bytes());
        let field = (offset / 8) | if more { 0x2000 } else { 0 };
        frame.bytes[20..22].copy_from_slice(&field.to_be_bytes());
        frame.fix_ip();
        frame
    }

    /// An IPv6 fragment: `offset` in bytes.
    pub fn fragment6(
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
        id: u32,
        offset: u16,
        more: bool,
        data: &[u8],
    ) -> Frame {
        let mut payload = vec![protocol, 0];
        payload.extend_from_slice(&(offset & 0xfff8 | u16::from(more)).to_be_bytes());
        payload.extend_from_slice(&id.to_be_bytes());
        payload.extend_from_slice(data);
        Frame::ip(source, destination, PROTOCOL_FRAGMENT, &payload)
    }

    pub fn udp(source: IpAddr, source_port: u16, destination: IpAddr, destination_port: u16, data: &[u8]) -> Frame {
        let mut payload = source_port.to_be_bytes().to_vec();
        payload.extend_from_slice(&destination_port.to_be_bytes());
        payload.extend_from_slice(&((8 + data.len()) as u16).to_be_bytes());
        payload.extend_from_slice(&[0, 0]);
        payload.extend_from_slice(data);
        Frame::with_checksum(source, destination, PROTOCOL_UDP, payload, 6)
    }

    /// A SYN.
    pub fn tcp(source: IpAddr, source_port: u16, destination: IpAddr, destination_port: u16) -> Frame {
        Frame::segment(source, source_port, destination, destination_port, Seg::default())
    }

    pub fn segment(
        source: IpAddr,
        source_port: u16,
        destination: IpAddr,
        destination_port: u16,
        seg: Seg<'_>,
    ) -> Frame {
        let mut payload = source_port.to_be_bytes().to_vec();
        payload.extend_from_slice(&destination_port.to_be_bytes());
        payload.extend_from_slice(&seg.seq.to_be_bytes());
        payload.extend_from_slice(&seg.ack.to_be_bytes());
        let header_len = 20 + seg.options.len();
        assert_eq!(header_len % 4, 0);
        payload.extend_from_slice(&[(header_len as u8 / 4) << 4, seg.flags]);
        payload.extend_from_slice(&seg.window.to_be_bytes());
        payload.extend_from_slice(&[0; 4]);
        payload.extend_from_slice(seg.options);
        payload.extend_from_slice(seg.data);
        Frame::with_checksum(source, destination, PROTOCOL_TCP, payload, 16)
    }

    /// An ICMP or ICMPv6 message with 8 bytes of data.
    pub fn icmp(source: IpAddr, destination: IpAddr, kind: u8, code: u8, id: u16) -> Frame {
        let mut payload = vec![kind, code, 0, 0];
        payload.extend_from_slice(&id.to_be_bytes());
        payload.extend_from_slice(&[0, 1]);
        payload.extend_from_slice(b"pingpong");
        let protocol = if source.is_ipv4() { PROTOCOL_ICMP } else { PROTOCOL_ICMPV6 };
        Frame::with_checksum(source, destination, protocol, payload, 2)
    }

    /// An ICMP error that quotes the IP packet of `about` (all of it).
    pub fn icmp_error(source: IpAddr, destination: IpAddr, kind: u8, code: u8, about: &Frame) -> Frame {
        let mut payload = vec![kind, code, 0, 0, 0, 0, 0, 0];
        payload.extend_from_slice(&about.bytes[14..]);
        let protocol = if source.is_ipv4() { PROTOCOL_ICMP } else { PROTOCOL_ICMPV6 };
        Frame::with_checksum(source, destination, protocol, payload, 2)
    }

    /// An ARP request.
    pub fn arp(source: IpAddr, target: IpAddr) -> Frame {
        let (IpAddr::V4(s), IpAddr::V4(t)) = (source, target) else { panic!("ARP is for IPv4") };
        let mut bytes = vec![0xff; 6];
        bytes.extend_from_slice(&mac(source).0);
        bytes.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        bytes.extend_from_slice(&mac(source).0);
        bytes.extend_from_slice(&s.octets());
        bytes.extend_from_slice(&[0; 6]);
        bytes.extend_from_slice(&t.octets());
        Frame { bytes }
    }

    fn with_checksum(source: IpAddr, destination: IpAddr, protocol: u8, mut payload: Vec<u8>, at: usize) -> Frame {
        let sum = transport_sum(source, destination, protocol, &payload);
        payload[at..at + 2].copy_from_slice(&(!sum).to_be_bytes());
        Frame::ip(source, destination, protocol, &payload)
    }

    /// Writes the IPv4 header checksum.
    pub fn fix_ip(&mut self) {
        if self.bytes[12..14] != [8, 0] {
            return;
        }
        self.bytes[24..26].fill(0);
        let sum = ones(0, &self.bytes[14..34]);
        self.bytes[24..26].copy_from_slice(&(!sum).to_be_bytes());
    }

    /// The frame as a parsed packet that came in by this port.
    pub fn packet(&self, port: u16) -> Packet {
        self.packet_in(port, &mut Pool::default())
    }

    /// The same with a buffer of this pool.
    pub fn packet_in(&self, port: u16, pool: &mut Pool) -> Packet {
        let buffer = pool.copy(&self.bytes).expect("a buffer");
        let mut packet = Packet::new(buffer, PortId(port), Offload::default());
        packet.parse().unwrap_or_else(|reason| panic!("{reason:?}: {:02x?}", self.bytes));
        packet
    }
}

fn ones(start: u32, bytes: &[u8]) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// The folded sum of pseudo-header and payload; none for ICMP over IPv4.
pub fn transport_sum(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> u16 {
    let mut pseudo = Vec::new();
    match (source, destination) {
        (IpAddr::V4(s), IpAddr::V4(d)) if protocol != PROTOCOL_ICMP => {
            pseudo.extend_from_slice(&s.octets());
            pseudo.extend_from_slice(&d.octets());
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            pseudo.extend_from_slice(&s.octets());
            pseudo.extend_from_slice(&d.octets());
        }
        _ => return ones(0, payload),
    }
    let start = u32::from(ones(0, &pseudo)) + u32::from(protocol) + payload.len() as u32;
    ones(start, payload)
}
