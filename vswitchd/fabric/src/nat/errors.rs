//! ICMP errors: what they quote is translated with them (RFC 5508, 4.2). An error speaks of a packet to the one who sent
//! it, so coming in its receiver and the quoted source are the same outside end, going out its sender may be anybody on
//! the way, but the quoted destination is the inside end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_wire::numbers::*;
use weir_wire::{L3, Packet, SwitchId, checksum};

use super::Nat;
use super::bindings::Way;
use super::ends::{End, Side, asking_side, write_address};

/// Where the quoted packet begins, from the ICMP header.
pub(super) const QUOTE: usize = 8;

/// The ends of a packet that an error quotes, and where its transport header stands in the quote.
pub(super) struct Quoted {
    pub protocol: u8,
    pub source: End,
    pub destination: End,
    pub transport: usize,
}

fn is_error(v4: bool, kind: u8) -> bool {
    if v4 { matches!(kind, 3 | 4 | 11 | 12) } else { (1..128).contains(&kind) }
}

/// Reads the quote of an ICMP error; fragments behind the first and IPv6 extension headers are not looked into.
pub(super) fn quoted(packet: &Packet) -> Option<Quoted> {
    let icmp = packet.transport();
    let v4 = packet.headers.l3_kind == L3::Ipv4;
    if !is_error(v4, *icmp.first()?) {
        return None;
    }
    let quote = icmp.get(QUOTE..)?;
    let (protocol, source, destination, transport): (u8, IpAddr, IpAddr, usize) = if v4 {
        let header = quote.first_chunk::<20>()?;
        let [.., a, b, c, d, e, f, g, h] = *header;
        if u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0 {
            return None;
        }
        let length = usize::from(header[0] & 15) * 4;
        (header[9], Ipv4Addr::new(a, b, c, d).into(), Ipv4Addr::new(e, f, g, h).into(), length)
    } else {
        let header = quote.first_chunk::<40>()?;
        let source = Ipv6Addr::from(*header.get(8..)?.first_chunk::<16>()?);
        let destination = Ipv6Addr::from(*header.get(24..)?.first_chunk::<16>()?);
        (header[6], source.into(), destination.into(), 40)
    };
    let behind = quote.get(transport..)?;
    let (from, to) = match protocol {
        PROTOCOL_TCP | PROTOCOL_UDP => {
            let &[a, b, c, d] = behind.first_chunk()?;
            (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
        }
        PROTOCOL_ICMP | PROTOCOL_ICMPV6 => {
            let &[kind, _, _, _, high, low] = behind.first_chunk()?;
            let id = u16::from_be_bytes([high, low]);
            match asking_side(v4, kind)? {
                Side::Source => (id, 0),
                Side::Destination => (0, id),
            }
        }
        _ => (0, 0),
    };
    Some(Quoted { protocol, source: (source, from), destination: (destination, to), transport })
}

impl Nat {
    /// An error from outside about a packet that left with an outside name.
    pub(super) fn error_inward(&self, zone: SwitchId, packet: &mut Packet) -> Option<()> {
        let quoted = quoted(packet)?;
        let (_, receiver) = packet.addresses()?;
        if receiver != quoted.source.0 {
            return None;
        }
        let inside = self.inside_name(zone, &quoted)?;
        if inside.0.is_ipv6() != receiver.is_ipv6() {
            return self.error_in64(zone, packet);
        }
        rename(packet, &quoted, Side::Source, inside)?;
        readdress(packet, Side::Destination, inside.0)?;
        complete(packet)
    }

    /// An error from inside, or of our own, about a packet that came in under an outside name.
    pub(super) fn error_outward(&self, zone: SwitchId, packet: &mut Packet) -> Option<()> {
        let quoted = quoted(packet)?;
        let (sender, _) = packet.addresses()?;
        let Quoted { protocol, source, destination, .. } = quoted;
        let names = self.bindings.find(Way::Out, (zone.0, protocol, destination, source));
        let outside = match names {
            Some(names) => names.outside,
            None => {
                let joined = self.joined_inside(zone, destination.0, None)?;
                (joined.outside, destination.1)
            }
        };
        rename(packet, &quoted, Side::Destination, outside)?;
        if sender == destination.0 {
            readdress(packet, Side::Source, outside.0)?;
        }
        complete(packet)
    }

    fn inside_name(&self, zone: SwitchId, quoted: &Quoted) -> Option<End> {
        let Quoted { protocol, source, destination, .. } = *quoted;
        if let Some(names) = self.bindings.find(Way::In, (zone.0, protocol, source, destination)) {
            return Some(names.inside);
        }
        let joined = self.joined_outside(zone, source.0)?;
        Some((joined.inside, source.1))
    }
}

/// Gives an end of the quoted packet another name. Its own transport checksum is left: nobody can check it against a
/// quote.
fn rename(packet: &mut Packet, quoted: &Quoted, side: Side, to: End) -> Option<()> {
    let (l4, kind) = (usize::from(packet.headers.l4), packet.headers.l3_kind);
    let quote = packet.buffer.bytes_mut().get_mut(l4 + QUOTE..)?;
    write_address(quote, kind, side, to.0)?;
    let behind = quote.get_mut(quoted.transport..)?;
    let at = match (quoted.protocol, side) {
        (PROTOCOL_TCP | PROTOCOL_UDP, Side::Source) => 0,
        (PROTOCOL_TCP | PROTOCOL_UDP, Side::Destination) => 2,
        (PROTOCOL_ICMP | PROTOCOL_ICMPV6, _) => match asking_side(kind == L3::Ipv4, *behind.first()?)? {
            asks if asks == side => 4,
            Side::Source | Side::Destination => return Some(()),
        },
        _ => return Some(()),
    };
    behind.get_mut(at..)?.first_chunk_mut::<2>()?.copy_from_slice(&to.1.to_be_bytes());
    Some(())
}

/// Gives the error itself another address.
fn readdress(packet: &mut Packet, side: Side, to: IpAddr) -> Option<()> {
    let (l3, kind) = (usize::from(packet.headers.l3), packet.headers.l3_kind);
    write_address(packet.buffer.bytes_mut().get_mut(l3..)?, kind, side, to).map(drop)
}

/// Computes the checksum of an ICMP message anew.
fn complete(packet: &mut Packet) -> Option<()> {
    let (l4, end) = (usize::from(packet.headers.l4), packet.headers.end as usize);
    let pseudo = match packet.addresses()? {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let length = u32::try_from(end.checked_sub(l4)?).ok()?;
            checksum::pseudo_ipv6(&source.octets(), &destination.octets(), PROTOCOL_ICMPV6, length)
        }
        _ => checksum::Sum::default(),
    };
    let message = packet.buffer.bytes_mut().get_mut(l4..end)?;
    message.get_mut(2..4)?.fill(0);
    let sum = !pseudo.and(checksum::sum(message)).fold();
    message.get_mut(2..4)?.copy_from_slice(&sum.to_be_bytes());
    Some(())
}
