//! A packet of one IP version made one of the other (RFC 7915): the header is replaced, the transport header stays but
//! for its checksum, and echo messages change their types. ICMP errors are in `family_errors`.
//!
//! Extension headers and IPv4 options are left out; fragments come here put together, and their mark goes on with them.
//! An IPv4 packet that may be cut is cut for 1280 bytes at most, since nobody on an IPv6 way would.

use std::net::{Ipv4Addr, Ipv6Addr};

use weir_wire::numbers::*;
use weir_wire::{Checksum, Fragment, L3, Packet, Segmentation, checksum};

/// The length of both headers.
const V4: usize = 20;
const V6: usize = 40;
/// Ethernet with three tags.
const L3_MAX: usize = 26;
/// Every IPv6 link takes packets of this length (RFC 8200, 5).
const MTU_LEAST: u16 = 1280;
/// IPv4 packets up to this length may be cut on their way (RFC 7915, 5.1).
const MAY_BE_CUT: usize = 1260;

/// An IPv4 header, with its checksum.
pub(super) fn header_v4(ends: (Ipv4Addr, Ipv4Addr), protocol: u8, ttl: u8, total: u16, id: Option<u16>) -> [u8; V4] {
    let (mut header, [high, low]) = ([0; V4], total.to_be_bytes());
    // Without an identification it must not be cut.
    let ([id_high, id_low], flags) = id.map_or(([0, 0], 0x40), |id| (id.to_be_bytes(), 0));
    header[..10].copy_from_slice(&[0x45, 0, high, low, id_high, id_low, flags, 0, ttl, protocol]);
    header[12..16].copy_from_slice(&ends.0.octets());
    header[16..].copy_from_slice(&ends.1.octets());
    let sum = !checksum::sum(&header).fold();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

/// An IPv6 header.
pub(super) fn header_v6(ends: (Ipv6Addr, Ipv6Addr), protocol: u8, hop_limit: u8, length: u16) -> [u8; V6] {
    let (mut header, [high, low]) = ([0; V6], length.to_be_bytes());
    header[..8].copy_from_slice(&[0x60, 0, 0, 0, high, low, protocol, hop_limit]);
    header[8..24].copy_from_slice(&ends.0.octets());
    header[24..].copy_from_slice(&ends.1.octets());
    header
}

/// The protocol in the other version.
pub(super) fn other_protocol(protocol: u8) -> u8 {
    match protocol {
        PROTOCOL_ICMP => PROTOCOL_ICMPV6,
        PROTOCOL_ICMPV6 => PROTOCOL_ICMP,
        other => other,
    }
}

/// The type of an echo message in the other version.
fn other_echo(kind: u8) -> Option<u8> {
    Some(match kind {
        ICMP_ECHO_REQUEST => ICMPV6_ECHO_REQUEST,
        ICMP_ECHO_REPLY => ICMPV6_ECHO_REPLY,
        ICMPV6_ECHO_REQUEST => ICMP_ECHO_REQUEST,
        ICMPV6_ECHO_REPLY => ICMP_ECHO_REPLY,
        _ => return None,
    })
}

/// Makes a whole, parsed IPv6 packet one of IPv4 between these ends. `id` names it where it may be cut. `None` where it
/// cannot be one; it means nothing then.
pub(super) fn to_v4(packet: &mut Packet, ends: (Ipv4Addr, Ipv4Addr), id: u16) -> Option<()> {
    let (l3, l4, end) = places(packet, L3::Ipv6)?;
    let total = u16::try_from(V4 + end.checked_sub(l4)?).ok()?;
    let header: [u8; V6] = *packet.bytes().get(l3..)?.first_chunk()?;
    let class = header[0] << 4 | header[1] >> 4;
    let protocol = other_protocol(packet.headers.protocol);
    // What is put together from fragments may be cut again under the name it had.
    let cut = matches!(packet.offload.segmentation, Segmentation::Fragments { .. });
    let name = (cut || usize::from(total) <= MAY_BE_CUT).then_some(id);
    let mut new = header_v4(ends, protocol, header[7], total, name);
    let sum = u16::from_be_bytes([new[10], new[11]]);
    let sum = checksum::update(sum, 0x4500, u16::from_be_bytes([0x45, class]));
    new[1] = class;
    new[10..12].copy_from_slice(&sum.to_be_bytes());
    replace_header(packet, (l3, l4), &new, ETHERTYPE_IPV4)?;
    let pseudo = checksum::pseudo_ipv4(ends.0.octets(), ends.1.octets(), protocol, u32::from(total) - V4 as u32);
    let mut old = checksum::sum(header.get(8..)?);
    if packet.headers.protocol == PROTOCOL_ICMPV6 {
        old = checksum::Sum::default();
    }
    packet.offload.segmentation = match packet.offload.segmentation {
        Segmentation::Tcp6 { size, ecn } => Segmentation::Tcp4 { size, ecn },
        Segmentation::Fragments { size, .. } => {
            Segmentation::Fragments { size: size.saturating_sub((V6 - V4) as u16), id: id.into() }
        }
        other @ (Segmentation::None | Segmentation::Tcp4 { .. } | Segmentation::Udp { .. }) => other,
    };
    let new = checksum::sum(&ends.0.octets()).and(checksum::sum(&ends.1.octets()));
    finish(packet, (l3 + V4, end - l4), (old, new), pseudo)
}

/// Makes a whole, parsed IPv4 packet one of IPv6 between these ends.
pub(super) fn to_v6(packet: &mut Packet, ends: (Ipv6Addr, Ipv6Addr)) -> Option<()> {
    let (l3, l4, end) = places(packet, L3::Ipv4)?;
    let length = u16::try_from(end.checked_sub(l4)?).ok()?;
    let header: [u8; V4] = *packet.bytes().get(l3..)?.first_chunk()?;
    let protocol = other_protocol(packet.headers.protocol);
    let mut new = header_v6(ends, protocol, header[8], length);
    (new[0], new[1]) = (0x60 | header[1] >> 4, header[1] << 4);
    replace_header(packet, (l3, l4), &new, ETHERTYPE_IPV6)?;
    let pseudo = checksum::pseudo_ipv6(&ends.0.octets(), &ends.1.octets(), protocol, length.into());
    let mut old = checksum::sum(header.get(12..)?);
    if packet.headers.protocol == PROTOCOL_ICMP {
        old = checksum::Sum::default();
    }
    let id = u32::from(u16::from_be_bytes([header[4], header[5]]));
    packet.offload.segmentation = match packet.offload.segmentation {
        Segmentation::Tcp4 { size, ecn } => Segmentation::Tcp6 { size, ecn },
        Segmentation::Fragments { size, id } => Segmentation::Fragments { size: size.clamp(1, MTU_LEAST), id },
        Segmentation::None if header[6] & 0x40 == 0 && usize::from(length) + V6 > usize::from(MTU_LEAST) => {
            Segmentation::Fragments { size: MTU_LEAST, id }
        }
        other @ (Segmentation::None | Segmentation::Tcp6 { .. } | Segmentation::Udp { .. }) => other,
    };
    let new = checksum::sum(&ends.0.octets()).and(checksum::sum(&ends.1.octets()));
    finish(packet, (l3 + V6, end - l4), (old, new), pseudo)
}

/// Where the headers stand and the packet ends, of a whole packet of this version.
fn places(packet: &Packet, kind: L3) -> Option<(usize, usize, usize)> {
    let headers = &packet.headers;
    let whole = headers.l3_kind == kind && headers.fragment == Fragment::No && headers.l4 > headers.l3;
    (whole && packet.is_whole()).then_some((headers.l3.into(), headers.l4.into(), headers.end as usize))
}

/// Puts another IP header before the transport header, and cuts off what stands behind the packet.
fn replace_header(packet: &mut Packet, (l3, l4): (usize, usize), header: &[u8], ether_type: u16) -> Option<()> {
    let end = packet.headers.end as usize;
    packet.buffer.set_len(end);
    let room = l3 + header.len();
    let mut before = [0; L3_MAX];
    before.get_mut(..l3)?.copy_from_slice(packet.bytes().get(..l3)?);
    match room.checked_sub(l4) {
        Some(more) => packet.buffer.grow_front(more).then_some(())?,
        None => packet.buffer.shrink_front(l4 - room),
    }
    let frame = packet.buffer.bytes_mut();
    frame.get_mut(..l3)?.copy_from_slice(before.get(..l3)?);
    frame.get_mut(l3.checked_sub(2)?..l3)?.copy_from_slice(&ether_type.to_be_bytes());
    frame.get_mut(l3..room)?.copy_from_slice(header);
    if let Checksum::Partial { start, .. } = &mut packet.offload.checksum {
        *start = u16::try_from(room).ok()?;
    }
    Some(())
}

/// Brings the transport checksum up to date, from the sum of the old addresses to that of the new ones, and reads the
/// headers again.
fn finish(
    packet: &mut Packet,
    (l4, length): (usize, usize),
    (old, new): (checksum::Sum, checksum::Sum),
    pseudo: checksum::Sum,
) -> Option<()> {
    let partial = matches!(packet.offload.checksum, Checksum::Partial { .. });
    let protocol = packet.headers.protocol;
    let transport = packet.buffer.bytes_mut().get_mut(l4..l4 + length)?;
    let at = match protocol {
        PROTOCOL_TCP => Some(16),
        PROTOCOL_UDP => Some(6),
        PROTOCOL_ICMP | PROTOCOL_ICMPV6 => {
            let kind = transport.first_mut()?;
            *kind = other_echo(*kind)?;
            Some(2)
        }
        _ => None,
    };
    if let Some(at) = at {
        let stands = u16::from_be_bytes(*transport.get(at..)?.first_chunk()?);
        let is_icmp = matches!(protocol, PROTOCOL_ICMP | PROTOCOL_ICMPV6);
        let value = if partial {
            pseudo.fold()
        } else if is_icmp || protocol == PROTOCOL_UDP && stands == 0 {
            transport.get_mut(at..)?.first_chunk_mut::<2>()?.fill(0);
            // ICMP for IPv4 has no pseudo-header.
            let pseudo = if protocol == PROTOCOL_ICMPV6 { checksum::Sum::default() } else { pseudo };
            !pseudo.and(checksum::sum(transport)).fold()
        } else {
            let sum = checksum::sum(&(!stands).to_be_bytes()).and(new);
            let sum = sum.and(checksum::sum(&(!old.fold()).to_be_bytes()));
            !sum.fold()
        };
        let value = if protocol == PROTOCOL_UDP && value == 0 && !partial { 0xffff } else { value };
        transport.get_mut(at..)?.first_chunk_mut::<2>()?.copy_from_slice(&value.to_be_bytes());
    }
    packet.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use weir_wire::build::{EchoKind, Ends, icmp_echo, packet, tagged, tcp, udp};
    use weir_wire::checksum::{finish_partial, make_partial, verify_l4};
    use weir_wire::{Pool, PortId, TcpFields};

    use super::*;

    fn ends4() -> (Ipv4Addr, Ipv4Addr) {
        (Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(192, 0, 2, 33))
    }

    fn ends6() -> (Ipv6Addr, Ipv6Addr) {
        ("64:ff9b::c000:221".parse().unwrap(), "fd00::2".parse().unwrap())
    }

    fn messages(ends: Ends) -> Vec<Vec<u8>> {
        let fields = TcpFields { source_port: 9, destination_port: 80, flags: 2, ..TcpFields::default() };
        vec![
            udp(ends, (5, 6), b"odd"),
            tcp(ends, fields, &[2, 4, 5, 0xb4], b"data"),
            icmp_echo(ends, EchoKind::Request, 7, 1, b"x"),
            icmp_echo(ends, EchoKind::Reply, 7, 1, b"x"),
            tagged(&udp(ends, (5, 6), b"even"), 9, 0),
        ]
    }

    fn check(frame: &[u8], partial: bool) {
        let mut packet = packet(frame, PortId(1), &mut Pool::default()).unwrap();
        let had_ports = packet.ports();
        let payload = packet.payload().to_vec();
        let partial = partial && make_partial(&mut packet);
        let v4 = packet.headers.l3_kind == L3::Ipv4;
        if v4 {
            to_v6(&mut packet, ends6()).unwrap();
        } else {
            to_v4(&mut packet, ends4(), 77).unwrap();
        }
        if partial {
            assert!(finish_partial(&mut packet));
            packet.offload.checksum = Checksum::Complete;
        }
        packet.parse().unwrap();
        assert!(verify_l4(&packet), "{had_ports:?}, partial: {partial}");
        let (source, destination): (IpAddr, IpAddr) =
            if v4 { (ends6().0.into(), ends6().1.into()) } else { (ends4().0.into(), ends4().1.into()) };
        assert_eq!(packet.addresses(), Some((source, destination)));
        assert_eq!((packet.ports(), packet.payload()), (had_ports, &payload[..]));
    }

    #[test]
    fn packets_keep_what_they_say_in_the_other_version() {
        for ends in [Ends::ipv4(1, 2), Ends::ipv6(1, 2)] {
            for frame in messages(ends) {
                check(&frame, false);
                check(&frame, true);
            }
        }
    }

    #[test]
    fn a_datagram_without_a_checksum_gets_one() {
        let mut frame = udp(Ends::ipv4(1, 2), (1, 2), b"x");
        frame[40..42].fill(0);
        check(&frame, false);
    }

    #[test]
    fn long_packets_may_be_cut_as_before() {
        let mut pool = Pool::default();
        let mut frame = udp(Ends::ipv4(1, 2), (1, 2), &[0; 1400]);
        // It does not say that it must not be cut.
        let sum = checksum::update(u16::from_be_bytes([frame[24], frame[25]]), 0x4000, 0);
        frame[20] = 0;
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        let mut long = packet(&frame, PortId(1), &mut pool).unwrap();
        to_v6(&mut long, ends6()).unwrap();
        assert!(matches!(long.offload.segmentation, Segmentation::Fragments { size: 1280, .. }));
        let mut long = packet(&udp(Ends::ipv6(1, 2), (1, 2), &[0; 1400]), PortId(1), &mut pool).unwrap();
        to_v4(&mut long, ends4(), 77).unwrap();
        assert_eq!(long.ipv4().unwrap()[6] & 0x40, 0x40, "a long one must not be cut");
        let mut short = packet(&udp(Ends::ipv6(1, 2), (1, 2), &[0; 10]), PortId(1), &mut pool).unwrap();
        to_v4(&mut short, ends4(), 77).unwrap();
        assert_eq!(short.ipv4().unwrap()[4..8], [0, 77, 0, 0], "a short one may");
    }
}
