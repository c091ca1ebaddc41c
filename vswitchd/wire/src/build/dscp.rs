//! The DSCP of a packet (RFC 2474), changed in place; ECN stays, and the checksum of IPv4 follows (RFC 1624).

use crate::{L3, Packet, checksum};

/// Gives a packet a DSCP, 0 to 63; `false` where it is no IP packet. The packet must be parsed.
#[inline]
pub fn set_dscp(packet: &mut Packet, dscp: u8) -> bool {
    let (l3, kind) = (usize::from(packet.headers.l3), packet.headers.l3_kind);
    let Some(header) = packet.buffer.bytes_mut().get_mut(l3..) else { return false };
    match kind {
        L3::Ipv4 => {
            let Some(header) = header.first_chunk_mut::<12>() else { return false };
            let before = u16::from_be_bytes([header[0], header[1]]);
            header[1] = dscp << 2 | header[1] & 3;
            let after = u16::from_be_bytes([header[0], header[1]]);
            let sum = checksum::update(u16::from_be_bytes([header[10], header[11]]), before, after);
            [header[10], header[11]] = sum.to_be_bytes();
            true
        }
        // Version, traffic class and flow label: the class lies across two bytes. No checksum covers it.
        L3::Ipv6 => {
            let Some([first, second]) = header.first_chunk_mut::<2>() else { return false };
            *first = *first & 0xf0 | dscp >> 2 & 0x0f;
            *second = *second & 0x3f | dscp << 6;
            true
        }
        L3::Arp | L3::Other => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{Ends, packet, udp};
    use crate::{Pool, PortId};

    #[test]
    fn the_dscp_is_set_and_ecn_and_checksums_stay_right() {
        let mut pool = Pool::default();
        for ends in [Ends::ipv4(1, 2), Ends::ipv6(1, 2)] {
            let mut subject = packet(&udp(ends, (1, 2), b"data"), PortId(1), &mut pool).unwrap();
            // Congestion experienced, in either version's place.
            let at = usize::from(subject.headers.l3);
            let congested = if subject.headers.l3_kind == L3::Ipv4 { 3 } else { 0x30 };
            subject.buffer.bytes_mut()[at + 1] |= congested;
            let before = subject.bytes().to_vec();
            for dscp in [46, 0, 63, 10] {
                assert!(set_dscp(&mut subject, dscp));
                let (a, b) = (subject.bytes()[at], subject.bytes()[at + 1]);
                let class = if a >> 4 == 4 { b } else { a << 4 | b >> 4 };
                assert_eq!((class >> 2, class & 3), (dscp, 3));
            }
            assert!(set_dscp(&mut subject, 0));
            assert_eq!(subject.bytes(), before, "and back");
            pool.give(subject.buffer);
        }
        let mut other = packet(&[0; 60], PortId(1), &mut pool).unwrap();
        assert!(!set_dscp(&mut other, 1));
    }

    #[test]
    fn a_marked_packet_parses_as_before() {
        let mut pool = Pool::default();
        let mut subject = packet(&udp(Ends::ipv4(1, 2), (1, 2), b"data"), PortId(1), &mut pool).unwrap();
        let headers = subject.headers;
        assert!(set_dscp(&mut subject, 46));
        assert_eq!(subject.parse(), Ok(()), "the header's checksum is right");
        assert_eq!(subject.headers, headers);
    }
}
