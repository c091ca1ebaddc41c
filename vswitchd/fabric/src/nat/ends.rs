//! The two ends of a packet, as address translation reads and writes them. Checksums are brought up to date by what has
//! changed (RFC 1624), finished or not.

use std::net::IpAddr;

use weir_wire::numbers::*;
use weir_wire::{Checksum, L3, Packet, checksum};

/// An address and a port; the identifier of an ICMP query stands for the port of the end that asks. 0 where there is
/// none.
pub type End = (IpAddr, u16);

/// What a packet says of its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    /// IP protocol number.
    pub protocol: u8,
    /// Where it is from.
    pub source: End,
    /// Where it goes.
    pub destination: End,
}

/// One of the ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where it is from.
    Source,
    /// Where it goes.
    Destination,
}

/// Which end has the identifier of an ICMP query, if the message is one (RFC 792, RFC 4443).
pub(super) fn asking_side(v4: bool, kind: u8) -> Option<Side> {
    match (v4, kind) {
        (true, 8 | 13 | 17) | (false, 128) => Some(Side::Source),
        (true, 0 | 14 | 18) | (false, 129) => Some(Side::Destination),
        _ => None,
    }
}

/// The ends of a whole, parsed packet; `None` where it is no IP packet, or an ICMP message that is no query.
pub fn read(packet: &Packet) -> Option<Ends> {
    let (source, destination) = packet.addresses()?;
    let protocol = packet.headers.protocol;
    let (from, to) = match protocol {
        PROTOCOL_TCP | PROTOCOL_UDP => packet.ports()?,
        PROTOCOL_ICMP | PROTOCOL_ICMPV6 => {
            let &[kind, _, _, _, high, low] = packet.transport().first_chunk()?;
            let id = u16::from_be_bytes([high, low]);
            match asking_side(source.is_ipv4(), kind)? {
                Side::Source => (id, 0),
                Side::Destination => (0, id),
            }
        }
        _ => (0, 0),
    };
    Some(Ends { protocol, source: (source, from), destination: (destination, to) })
}

/// A checksum field on its way to what it must be. A partial one holds the plain sum of addresses and length.
struct Field {
    value: u16,
    partial: bool,
}

impl Field {
    fn replace(&mut self, old: &[u8], new: &[u8]) {
        for (old, new) in old.as_chunks::<2>().0.iter().zip(new.as_chunks::<2>().0) {
            let (old, new) = (u16::from_be_bytes(*old), u16::from_be_bytes(*new));
            self.value = match self.partial {
                false => checksum::update(self.value, old, new),
                true => !checksum::update(!self.value, old, new),
            };
        }
    }
}

/// Gives a whole, parsed packet another end; its family stays. `None` where the packet is not what its headers say.
pub fn write(packet: &mut Packet, side: Side, to: End) -> Option<()> {
    let (l3, l4) = (usize::from(packet.headers.l3), usize::from(packet.headers.l4));
    let (kind, protocol) = (packet.headers.l3_kind, packet.headers.protocol);
    let partial = matches!(packet.offload.checksum, Checksum::Partial { .. });
    let frame = packet.buffer.bytes_mut();
    let (old, new) = write_address(frame.get_mut(l3..)?, kind, side, to.0)?;
    let transport = frame.get_mut(l4..)?;
    let (port_at, sum_at, pseudo) = match (protocol, side) {
        (PROTOCOL_TCP, Side::Source) => (Some(0), 16, true),
        (PROTOCOL_TCP, Side::Destination) => (Some(2), 16, true),
        (PROTOCOL_UDP, Side::Source) => (Some(0), 6, true),
        (PROTOCOL_UDP, Side::Destination) => (Some(2), 6, true),
        (PROTOCOL_ICMP | PROTOCOL_ICMPV6, _) => {
            let v4 = kind == L3::Ipv4;
            let asks = asking_side(v4, *transport.first()?) == Some(side);
            (asks.then_some(4), 2, !v4)
        }
        _ => return Some(()),
    };
    let stands = u16::from_be_bytes(*transport.get(sum_at..)?.first_chunk()?);
    let mut field = Field { value: stands, partial };
    if pseudo {
        let length = if kind == L3::Ipv4 { 4 } else { 16 };
        field.replace(old.get(..length)?, new.get(..length)?);
    }
    if let Some(at) = port_at {
        let port = transport.get_mut(at..)?.first_chunk_mut::<2>()?;
        let before = std::mem::replace(port, to.1.to_be_bytes());
        if !partial {
            field.replace(&before, &to.1.to_be_bytes());
        }
    }
    // RFC 768: a UDP datagram over IPv4 may have no checksum, and zero is not one.
    let none = protocol == PROTOCOL_UDP && stands == 0 && !partial;
    let value = if protocol == PROTOCOL_UDP && field.value == 0 && !partial { 0xffff } else { field.value };
    if !none {
        transport.get_mut(sum_at..)?.first_chunk_mut::<2>()?.copy_from_slice(&value.to_be_bytes());
    }
    Some(())
}

/// Replaces an address in an IP header; returns the bytes before and after, the first 4 or all 16 of which count.
pub(super) fn write_address(network: &mut [u8], kind: L3, side: Side, to: IpAddr) -> Option<([u8; 16], [u8; 16])> {
    let (mut old, mut new) = ([0; 16], [0; 16]);
    match (kind, to) {
        (L3::Ipv4, IpAddr::V4(to)) => {
            let header = network.first_chunk_mut::<20>()?;
            let at = if side == Side::Source { 12 } else { 16 };
            let field = header.get_mut(at..)?.first_chunk_mut::<4>()?;
            old.first_chunk_mut::<4>()?.copy_from_slice(field);
            *field = to.octets();
            new.first_chunk_mut::<4>()?.copy_from_slice(field);
            let mut sum = Field { value: u16::from_be_bytes([header[10], header[11]]), partial: false };
            sum.replace(old.get(..4)?, new.get(..4)?);
            header[10..12].copy_from_slice(&sum.value.to_be_bytes());
        }
        (L3::Ipv6, IpAddr::V6(to)) => {
            let at = if side == Side::Source { 8 } else { 24 };
            let field = network.get_mut(at..)?.first_chunk_mut::<16>()?;
            (old, *field, new) = (*field, to.octets(), to.octets());
        }
        _ => return None,
    }
    Some((old, new))
}

#[cfg(test)]
mod tests {
    use weir_wire::build::{self, EchoKind, icmp_echo, packet, tcp, udp};
    use weir_wire::checksum::{finish_partial, make_partial, verify_l4};
    use weir_wire::{Pool, PortId, TcpFields};

    use super::*;

    fn check(frame: &[u8], side: Side, to: End, partial: bool) {
        let mut packet = packet(frame, PortId(1), &mut Pool::default()).unwrap();
        if partial {
            assert!(make_partial(&mut packet));
        }
        let before = read(&packet).unwrap();
        write(&mut packet, side, to).unwrap();
        if partial {
            assert!(finish_partial(&mut packet));
            packet.offload.checksum = Checksum::Complete;
        }
        packet.parse().expect("the header checksum is right");
        assert!(verify_l4(&packet), "the checksum is right");
        let after = read(&packet).unwrap();
        let changed = match side {
            Side::Source => Ends { source: to, ..before },
            Side::Destination => Ends { destination: to, ..before },
        };
        assert_eq!(after, changed);
    }

    #[test]
    fn either_end_is_replaced_and_the_checksums_stay_right() {
        for (ends, address) in [
            (build::Ends::ipv4(1, 2), "203.0.113.9".parse::<IpAddr>().unwrap()),
            (build::Ends::ipv6(1, 2), "2001:db8::9".parse().unwrap()),
        ] {
            let fields = TcpFields { source_port: 1000, destination_port: 80, flags: 2, ..TcpFields::default() };
            for side in [Side::Source, Side::Destination] {
                for partial in [false, true] {
                    check(&tcp(ends, fields, &[], b"abc"), side, (address, 40_000), partial);
                    check(&udp(ends, (1000, 53), b"abcd"), side, (address, 40_000), partial);
                }
            }
            check(&icmp_echo(ends, EchoKind::Request, 7, 1, b"x"), Side::Source, (address, 99), false);
            check(&icmp_echo(ends, EchoKind::Reply, 7, 1, b"x"), Side::Destination, (address, 99), false);
        }
    }

    #[test]
    fn a_datagram_without_a_checksum_stays_without() {
        let mut frame = udp(build::Ends::ipv4(1, 2), (1, 2), b"x");
        frame[40..42].fill(0);
        let mut packet = packet(&frame, PortId(1), &mut Pool::default()).unwrap();
        write(&mut packet, Side::Source, ("203.0.113.9".parse().unwrap(), 5)).unwrap();
        assert_eq!(packet.transport()[6..8], [0, 0]);
        packet.parse().unwrap();
    }
}
