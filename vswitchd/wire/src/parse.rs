//! One pass over the headers of a frame: where they stand, and proof that their lengths agree (stop 3 of a packet's
//! walk).
//!
//! What cannot be read with certainty is refused, since a packet that the receiver reads differently from us has not
//! been inspected. Limits: three VLAN tags, [`EXTENSIONS_MAX`] IPv6 extension headers. No bytes make it panic, and it
//! allocates nothing.

use crate::checksum;
use crate::numbers::*;
use crate::packet::{Fragment, Headers, L3, Tag};
use crate::{Checksum, DropReason, Offload, Segmentation, Vid};

/// VLAN tags that may stand before the network header.
const TAGS_MAX: usize = 3;
/// IPv6 extension headers that are walked. RFC 8200 names six kinds; real packets carry two at most.
pub const EXTENSIONS_MAX: usize = 8;

/// Finds the headers of `frame`, checked against each other and against the marks in `offload`.
///
/// They are written in place, field by field: a value put together here and copied out would be read back in wider
/// pieces than it was written, which stalls store forwarding and doubles the cost of this stop.
#[inline]
pub(crate) fn headers(frame: &[u8], offload: Offload, found: &mut Headers) -> Result<(), DropReason> {
    let end = u32::try_from(frame.len()).map_err(|_| DropReason::TooLong)?;
    *found = Headers { end, ..Headers::default() };
    let ether_type = ethernet(frame, found)?;
    match ether_type {
        ETHERTYPE_IPV4 => ipv4(frame, offload, found)?,
        ETHERTYPE_IPV6 => ipv6(frame, offload, found)?,
        ETHERTYPE_ARP => arp(frame, found)?,
        _ => found.payload = found.l3,
    }
    let plain = matches!(offload.checksum, Checksum::Complete | Checksum::Verified)
        && matches!(offload.segmentation, Segmentation::None);
    if plain { Ok(()) } else { marks(offload, found) }
}

/// The headers of a frame that has no marks.
pub(crate) fn plain(frame: &[u8]) -> Option<Headers> {
    let mut found = Headers::default();
    headers(frame, Offload::default(), &mut found).ok().map(|()| found)
}

/// The big-endian number at `at`.
#[inline]
fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map(|&b| u16::from_be_bytes(b))
}

/// Ethernet II or 802.3, and the tags; returns the EtherType behind all tags. Values below 0x600 are 802.3 lengths.
#[inline]
fn ethernet(frame: &[u8], found: &mut Headers) -> Result<u16, DropReason> {
    let ether_type = be16(frame, 12).ok_or(DropReason::TruncatedEthernet)?;
    found.l3 = 14;
    found.ether_type = ether_type;
    if is_tag(ether_type) { tags(frame, found) } else { Ok(ether_type) }
}

#[inline]
fn is_tag(ether_type: u16) -> bool {
    matches!(ether_type, ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN | ETHERTYPE_STACKED_VLAN)
}

fn tags(frame: &[u8], found: &mut Headers) -> Result<u16, DropReason> {
    for depth in 0..TAGS_MAX {
        let at = usize::from(found.l3);
        let tci = be16(frame, at).ok_or(DropReason::BadVlanTag)?;
        let inner = be16(frame, at + 2).ok_or(DropReason::BadVlanTag)?;
        // IEEE 802.1Q-2022, table 9-2: 0xfff is reserved and must not be sent.
        if tci & 0xfff == 0xfff {
            return Err(DropReason::BadVlanTag);
        }
        if depth == 0 {
            found.tag = Some(Tag { vid: Vid(tci & 0xfff), pcp_dei: (tci >> 12) as u8 });
            found.ether_type = inner;
        }
        found.l3 += 4;
        if !is_tag(inner) {
            return Ok(inner);
        }
    }
    Err(DropReason::BadVlanTag)
}

fn arp(frame: &[u8], found: &mut Headers) -> Result<(), DropReason> {
    let body = frame.get(usize::from(found.l3)..).and_then(<[u8]>::first_chunk::<28>).ok_or(DropReason::BadArp)?;
    // Ethernet, IPv4, and the lengths of their addresses.
    if body[..6] != [0, 1, 8, 0, 6, 4] {
        return Err(DropReason::BadArp);
    }
    found.l3_kind = L3::Arp;
    found.payload = found.l3 + 28;
    Ok(())
}

/// The length an IP header states, or the frame's where a super-segment is too long for the header's field.
#[inline]
fn stated_or_super(stated: u16, available: usize, offload: Offload) -> usize {
    let cut_later = matches!(
        offload.segmentation,
        Segmentation::Tcp4 { .. } | Segmentation::Tcp6 { .. } | Segmentation::Udp { .. }
    );
    if stated == 0 && cut_later && available > usize::from(u16::MAX) { available } else { usize::from(stated) }
}

#[inline]
fn ipv4(frame: &[u8], offload: Offload, found: &mut Headers) -> Result<(), DropReason> {
    let l3 = usize::from(found.l3);
    let packet = frame.get(l3..).unwrap_or(&[]);
    let fixed = packet.first_chunk::<20>().ok_or(DropReason::BadIpv4)?;
    let header_len = usize::from(fixed[0] & 15) * 4;
    let total = stated_or_super(u16::from_be_bytes([fixed[2], fixed[3]]), packet.len(), offload);
    if fixed[0] >> 4 != 4 || header_len < 20 || total < header_len || total > packet.len() {
        return Err(DropReason::BadIpv4);
    }
    let sum = match packet.get(20..header_len) {
        None | Some([]) => checksum::sum_fixed(fixed),
        Some(options) => checksum::sum_fixed(fixed).and(checksum::sum(options)),
    };
    if !sum.is_valid() {
        return Err(DropReason::BadIpv4Checksum);
    }
    found.l3_kind = L3::Ipv4;
    found.end = (l3 + total) as u32;
    found.protocol = fixed[9];
    // Bit 13 is MF, below it the offset (RFC 791, 3.1).
    let pieces = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x3fff;
    found.fragment = match pieces {
        0 => Fragment::No,
        0x2000 => Fragment::First,
        _ => Fragment::Later,
    };
    transport(frame, l3 + header_len, found)
}

#[inline]
fn ipv6(frame: &[u8], offload: Offload, found: &mut Headers) -> Result<(), DropReason> {
    let l3 = usize::from(found.l3);
    let packet = frame.get(l3..).unwrap_or(&[]);
    let fixed = packet.first_chunk::<40>().ok_or(DropReason::BadIpv6)?;
    let available = packet.len() - 40;
    let length = stated_or_super(u16::from_be_bytes([fixed[4], fixed[5]]), available, offload);
    if fixed[0] >> 4 != 6 || length > available {
        return Err(DropReason::BadIpv6);
    }
    found.l3_kind = L3::Ipv6;
    found.end = (l3 + 40 + length) as u32;
    found.protocol = fixed[6];
    let mut at = l3 + 40;
    if is_extension(found.protocol) {
        at = extensions(frame.get(..l3 + 40 + length).unwrap_or(&[]), at, found)?;
    }
    transport(frame, at, found)
}

#[inline]
fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        PROTOCOL_HOP_BY_HOP | PROTOCOL_ROUTING | PROTOCOL_FRAGMENT | PROTOCOL_AH | PROTOCOL_DESTINATION_OPTIONS
    )
}

/// Walks the extension headers from `at` on; returns where the transport header (or a later fragment's data) begins.
fn extensions(datagram: &[u8], mut at: usize, found: &mut Headers) -> Result<usize, DropReason> {
    let mut fragment_seen = false;
    for depth in 0..EXTENSIONS_MAX {
        let &[next, length, high, low] = datagram.get(at..).and_then(<[u8]>::first_chunk).ok_or(DropReason::BadIpv6)?;
        let size = match found.protocol {
            // RFC 8200, 4.1: hop-by-hop options stand right behind the IPv6 header.
            PROTOCOL_HOP_BY_HOP if depth > 0 => return Err(DropReason::BadIpv6),
            PROTOCOL_FRAGMENT => 8,
            PROTOCOL_AH => (usize::from(length) + 2) * 4,
            _ => (usize::from(length) + 1) * 8,
        };
        if at + size > datagram.len() {
            return Err(DropReason::BadIpv6);
        }
        if found.protocol == PROTOCOL_FRAGMENT {
            // A fragment of a fragment is nothing a host sends.
            if fragment_seen {
                return Err(DropReason::BadIpv6);
            }
            fragment_seen = true;
            found.fragment = match u16::from_be_bytes([high, low]) & 0xfff9 {
                0 => Fragment::No,
                1 => Fragment::First,
                _ => Fragment::Later,
            };
        }
        found.protocol = next;
        at += size;
        if found.fragment == Fragment::Later || !is_extension(next) {
            return Ok(at);
        }
    }
    Err(DropReason::BadIpv6)
}

/// The transport header at `at`. A first fragment must hold it whole (RFC 1858, RFC 7112).
#[inline]
fn transport(frame: &[u8], at: usize, found: &mut Headers) -> Result<(), DropReason> {
    let here = u16::try_from(at).map_err(|_| DropReason::BadIpv6)?;
    found.payload = here;
    if found.fragment == Fragment::Later {
        return Ok(());
    }
    found.l4 = here;
    let segment = frame.get(at..found.end as usize).unwrap_or(&[]);
    let header_len = match (found.protocol, found.l3_kind) {
        (PROTOCOL_TCP, _) => {
            let header = segment.first_chunk::<20>().ok_or(DropReason::BadTcp)?;
            let header_len = usize::from(header[12] >> 4) * 4;
            if header_len < 20 || header_len > segment.len() {
                return Err(DropReason::BadTcp);
            }
            found.tcp_flags = header[13];
            header_len
        }
        (PROTOCOL_UDP, _) => udp(segment, found)?,
        (PROTOCOL_ICMP, L3::Ipv4) | (PROTOCOL_ICMPV6, L3::Ipv6) => {
            segment.first_chunk::<8>().ok_or(DropReason::BadIcmp)?;
            8
        }
        (PROTOCOL_NO_NEXT, L3::Ipv6) => segment.len(),
        _ => 0,
    };
    found.payload = here.saturating_add(header_len as u16);
    Ok(())
}

/// RFC 768: the length counts header and data. A shorter one than IP's leaves bytes that the receiver ignores (or, RFC
/// 9868, reads as options); they stay in the payload so that they are inspected too.
#[inline]
fn udp(segment: &[u8], found: &Headers) -> Result<usize, DropReason> {
    let header = segment.first_chunk::<8>().ok_or(DropReason::BadUdp)?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    // A super-segment beyond 64 KiB has no length to state. Only one can be that long: `stated_or_super`.
    let unstated = length == 0 && segment.len() > usize::from(u16::MAX);
    let whole = found.fragment == Fragment::No;
    if (length < 8 && !unstated) || (whole && length > segment.len()) {
        return Err(DropReason::BadUdp);
    }
    Ok(8)
}

/// Whether the marks can be true of these headers: they come from a guest, and what is finished by them is finished
/// where they say.
pub(crate) fn marks(offload: Offload, found: &Headers) -> Result<(), DropReason> {
    if let Checksum::Partial { start, offset } = offload.checksum {
        let field = match found.protocol {
            PROTOCOL_TCP => TCP_CHECKSUM_AT,
            PROTOCOL_UDP => UDP_CHECKSUM_AT,
            _ => return Err(DropReason::BadOffload),
        };
        if found.l4 == 0 || found.fragment != Fragment::No || start != found.l4 || offset != field {
            return Err(DropReason::BadOffload);
        }
    }
    let partial = matches!(offload.checksum, Checksum::Partial { .. });
    let whole = found.fragment == Fragment::No && found.l4 != 0;
    let fits = match offload.segmentation {
        Segmentation::None => true,
        Segmentation::Tcp4 { size, .. } => {
            size > 0 && partial && found.l3_kind == L3::Ipv4 && found.protocol == PROTOCOL_TCP
        }
        Segmentation::Tcp6 { size, .. } => {
            size > 0 && partial && found.l3_kind == L3::Ipv6 && found.protocol == PROTOCOL_TCP
        }
        Segmentation::Udp { size } => size > 0 && partial && found.protocol == PROTOCOL_UDP,
        Segmentation::Fragments { size, .. } => size > 0 && whole,
    };
    if fits { Ok(()) } else { Err(DropReason::BadOffload) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::Ends;
    use crate::checksum::sum;

    const MACS: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

    /// An Ethernet frame of these parts.
    fn frame(parts: &[&[u8]]) -> Vec<u8> {
        let mut frame = MACS.to_vec();
        parts.iter().for_each(|part| frame.extend_from_slice(part));
        frame
    }

    /// An IPv4 header of 20 bytes with a right checksum.
    fn ipv4_header(protocol: u8, payload: usize, pieces: u16) -> Vec<u8> {
        let total = (20 + payload) as u16;
        let mut header = vec![0x45, 0, (total >> 8) as u8, total as u8, 0, 1, (pieces >> 8) as u8, pieces as u8, 64];
        header.extend_from_slice(&[protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        let checksum = !sum(&header).fold();
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header
    }

    const UDP: [u8; 12] = [0, 53, 0, 54, 0, 12, 0, 0, b'a', b'b', b'c', b'd'];

    fn parse_marked(frame: &[u8], offload: Offload) -> Result<Headers, DropReason> {
        let mut found = Headers::default();
        headers(frame, offload, &mut found).map(|()| found)
    }

    fn parse(frame: &[u8]) -> Result<Headers, DropReason> {
        parse_marked(frame, Offload::default())
    }

    #[test]
    fn udp_over_ipv4_behind_two_tags_with_padding() {
        let mut bytes = frame(&[&[0x88, 0xa8, 0x60, 7, 0x81, 0, 0, 8, 8, 0], &ipv4_header(17, 12, 0x4000), &UDP]);
        let end = bytes.len() as u32;
        bytes.extend_from_slice(&[0; 9]);
        let found = parse(&bytes).unwrap();
        assert_eq!(found.tag, Some(Tag { vid: Vid(7), pcp_dei: 6 }));
        assert_eq!((found.ether_type, found.l3_kind, found.protocol), (0x8100, L3::Ipv4, 17));
        assert_eq!((found.l3, found.l4, found.payload, found.end), (22, 42, 50, end));
    }

    #[test]
    fn four_tags_are_refused() {
        let tag = [0x81, 0, 0, 5];
        let bytes = frame(&[&tag, &tag, &tag, &tag, &[8, 0], &ipv4_header(17, 12, 0), &UDP]);
        assert_eq!(parse(&bytes), Err(DropReason::BadVlanTag));
    }

    #[test]
    fn a_later_fragment_has_no_transport_header() {
        let bytes = frame(&[&[8, 0], &ipv4_header(6, 12, 0x2001), &UDP]);
        let found = parse(&bytes).unwrap();
        assert_eq!((found.fragment, found.l4, found.payload, found.end), (Fragment::Later, 0, 34, 46));
    }

    #[test]
    fn ipv6_extension_headers_are_walked_and_atomic_fragments_are_whole() {
        let ipv6 = |length: u8, next: u8| {
            let mut header = vec![0x60, 0, 0, 0, 0, length, next, 64];
            header.resize(40, 1);
            header
        };
        let atomic = [17, 0, 0, 0, 0, 0, 0, 9];
        let first = [17, 0, 0, 1, 0, 0, 0, 9];
        let hop = [44, 0, 1, 4, 0, 0, 0, 0];
        let bytes = frame(&[&[0x86, 0xdd], &ipv6(28, 0), &hop, &atomic, &UDP]);
        let found = parse(&bytes).unwrap();
        assert_eq!((found.fragment, found.protocol, found.l4, found.payload), (Fragment::No, 17, 70, 78));
        let found = parse(&frame(&[&[0x86, 0xdd], &ipv6(28, 0), &hop, &first, &UDP])).unwrap();
        assert_eq!(found.fragment, Fragment::First);
        let twice = [44, 0, 0, 1, 0, 0, 0, 9];
        let bytes = frame(&[&[0x86, 0xdd], &ipv6(28, 44), &twice, &atomic, &UDP]);
        assert_eq!(parse(&bytes), Err(DropReason::BadIpv6));
    }

    #[test]
    fn partial_marks_must_name_the_transport_checksum() {
        let bytes = frame(&[&[8, 0], &ipv4_header(17, 12, 0), &UDP]);
        let mark = |start, offset| Offload { checksum: Checksum::Partial { start, offset }, ..Offload::default() };
        assert!(parse_marked(&bytes, mark(34, 6)).is_ok());
        for wrong in [mark(34, 16), mark(33, 6), mark(0, 40), mark(65535, 65535)] {
            assert_eq!(parse_marked(&bytes, wrong), Err(DropReason::BadOffload));
        }
        let tcp4 = Offload { segmentation: Segmentation::Tcp4 { size: 1, ecn: false }, ..mark(34, 6) };
        assert_eq!(parse_marked(&bytes, tcp4), Err(DropReason::BadOffload));
    }

    #[test]
    fn every_truncation_of_a_valid_frame_is_refused() {
        let bytes = frame(&[&[0x81, 0, 0, 5, 8, 0], &ipv4_header(17, 12, 0), &UDP]);
        assert!(parse(&bytes).is_ok());
        for length in 0..bytes.len() {
            assert!(parse(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    /// A valid frame with some bytes changed.
    fn changed(frame: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
        let mut frame = frame.to_vec();
        changes.iter().for_each(|&(at, byte)| frame[at] = byte);
        frame
    }

    #[test]
    fn each_broken_header_has_its_reason() {
        use crate::build::{self, ArpKind, EchoKind};
        let host = |n: u8| (crate::MacAddr([2, 0, 0, 0, 0, n]), [10, 0, 0, n].into());
        let arp = build::arp(ArpKind::Request, host(1), host(2));
        let tcp = build::tcp(Ends::ipv6(1, 2), crate::TcpFields::default(), &[], b"");
        let udp = build::udp(Ends::ipv6(1, 2), (1, 2), b"data");
        let udp4 = build::udp(Ends::ipv4(1, 2), (1, 2), b"data");
        let ping = build::icmp_echo(Ends::ipv6(1, 2), EchoKind::Request, 1, 1, b"");
        let cases = [
            (udp4[..13].to_vec(), DropReason::TruncatedEthernet),
            (changed(&udp4, &[(12, 0x81), (13, 0), (14, 0x0f), (15, 0xff)]), DropReason::BadVlanTag),
            (changed(&udp4, &[(14, 0x44)]), DropReason::BadIpv4),
            (changed(&udp4, &[(14, 0x65)]), DropReason::BadIpv4),
            (changed(&udp4, &[(17, 19)]), DropReason::BadIpv4),
            (changed(&udp4, &[(17, 33)]), DropReason::BadIpv4),
            (changed(&udp4, &[(22, 63)]), DropReason::BadIpv4Checksum),
            (changed(&udp, &[(14, 0x40)]), DropReason::BadIpv6),
            (changed(&udp, &[(19, 13)]), DropReason::BadIpv6),
            (changed(&tcp, &[(66, 0x40)]), DropReason::BadTcp),
            (changed(&tcp, &[(66, 0x60)]), DropReason::BadTcp),
            (changed(&tcp, &[(19, 19)]), DropReason::BadTcp),
            (changed(&udp, &[(59, 7)]), DropReason::BadUdp),
            (changed(&udp, &[(59, 13)]), DropReason::BadUdp),
            (changed(&udp, &[(19, 7)]), DropReason::BadUdp),
            (changed(&ping, &[(19, 7)]), DropReason::BadIcmp),
            (changed(&arp, &[(18, 8)]), DropReason::BadArp),
            (arp[..41].to_vec(), DropReason::BadArp),
        ];
        for (frame, reason) in cases {
            assert_eq!(parse(&frame), Err(reason), "{frame:x?}");
        }
    }

    #[test]
    fn a_short_udp_length_leaves_the_rest_in_the_payload() {
        let udp = crate::build::udp(Ends::ipv6(1, 2), (1, 2), b"data");
        let found = parse(&changed(&udp, &[(59, 9)])).unwrap();
        assert_eq!((found.payload, found.end), (62, 66));
    }
}
