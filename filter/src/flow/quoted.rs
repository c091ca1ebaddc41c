//! The packet that an ICMP error quotes (RFC 792, RFC 4443 2.4): its addresses, ports and sequence number.
//!
//! Errors come from anywhere, so every length is checked; nothing here can fail but by answering `None`.

use weir_wire::numbers::*;

use super::key::{self, Ends, Within};

/// Extension headers that are walked in a quoted IPv6 packet.
const EXTENSIONS_MAX: usize = 8;
/// Bytes of an ICMP header before what it quotes.
const ICMP_HEADER: usize = 8;

/// What an error says of the packet that caused it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quoted {
    pub ends: Ends,
    pub within: Within,
    pub seq: Option<u32>,
}

/// Whether an ICMP message is an error, which quotes a packet; a redirect of ICMP is one, ICMPv6's belongs to neighbour
/// discovery and is none.
#[inline]
pub(super) fn is_error(icmp: &[u8], v6: bool) -> bool {
    match icmp.first() {
        Some(&kind) if v6 => kind < 128,
        Some(&kind) => matches!(kind, 3 | 4 | 5 | 11 | 12),
        None => false,
    }
}

/// The packet quoted behind the header of an ICMP error.
pub(super) fn packet(icmp: &[u8], v6: bool) -> Option<Quoted> {
    let quoted = icmp.get(ICMP_HEADER..)?;
    let (ends, protocol, transport) = if v6 { ipv6(quoted)? } else { ipv4(quoted)? };
    let (within, seq) = match (protocol, v6) {
        (PROTOCOL_TCP, _) => {
            let &[a, b, c, d, e, f, g, h] = transport.first_chunk()?;
            let ports = Within::Tcp(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            (ports, Some(u32::from_be_bytes([e, f, g, h])))
        }
        (PROTOCOL_UDP, _) => {
            let &[a, b, c, d] = transport.first_chunk()?;
            (Within::Udp(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])), None)
        }
        // RFC 1122 3.2.2, RFC 4443 2.4: no error is sent about an error.
        (PROTOCOL_ICMP, false) | (PROTOCOL_ICMPV6, true) => (key::query(transport, v6)?, None),
        (other, _) => (Within::Other(other), None),
    };
    Some(Quoted { ends, within, seq })
}

fn ipv4(quoted: &[u8]) -> Option<(Ends, u8, &[u8])> {
    let fixed = quoted.first_chunk::<20>()?;
    let header_len = usize::from(fixed[0] & 15) * 4;
    // A later fragment has no ports to go by.
    let later = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x1fff != 0;
    if fixed[0] >> 4 != 4 || header_len < 20 || later {
        return None;
    }
    let &[.., a, b, c, d, e, f, g, h] = fixed;
    Some((Ends::v4([a, b, c, d], [e, f, g, h]), fixed[9], quoted.get(header_len..)?))
}

fn ipv6(quoted: &[u8]) -> Option<(Ends, u8, &[u8])> {
    let (fixed, mut rest) = quoted.split_first_chunk::<40>()?;
    if fixed[0] >> 4 != 6 {
        return None;
    }
    let (source, after) = fixed.get(8..)?.split_first_chunk::<16>()?;
    let ends = Ends::v6(source, after.first_chunk()?);
    let mut protocol = fixed[6];
    for _ in 0..EXTENSIONS_MAX {
        let size = match protocol {
            PROTOCOL_HOP_BY_HOP | PROTOCOL_ROUTING | PROTOCOL_DESTINATION_OPTIONS => {
                (usize::from(*rest.get(1)?) + 1) * 8
            }
            PROTOCOL_AH => (usize::from(*rest.get(1)?) + 2) * 4,
            PROTOCOL_FRAGMENT => {
                let &[_, _, high, low] = rest.first_chunk()?;
                if u16::from_be_bytes([high, low]) & 0xfff8 != 0 {
                    return None;
                }
                8
            }
            _ => return Some((ends, protocol, rest)),
        };
        protocol = *rest.first()?;
        rest = rest.get(size..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{A4, A6, B4, B6, Frame};

    #[test]
    fn a_quote_cut_anywhere_is_refused_or_read_whole() {
        for (a, b, v6) in [(A4, B4, false), (A6, B6, true)] {
            let error = Frame::icmp_error(b, a, if v6 { 1 } else { 3 }, 0, &Frame::tcp(a, 1000, b, 80));
            let packet = error.packet(1);
            let icmp = packet.transport();
            let whole = super::packet(icmp, v6).unwrap();
            assert_eq!((whole.within, whole.seq), (Within::Tcp(1000, 80), Some(0)));
            let enough = ICMP_HEADER + if v6 { 40 } else { 20 } + 8;
            for length in 0..icmp.len() {
                assert_eq!(super::packet(&icmp[..length], v6).is_some(), length >= enough, "{length}");
            }
        }
    }

    #[test]
    fn a_quoted_later_fragment_or_error_names_no_flow() {
        let mut fragment = Frame::tcp(A4, 1000, B4, 80);
        fragment.bytes[14 + 7] = 3;
        let error = Frame::icmp_error(B4, A4, 3, 0, &fragment);
        assert!(super::packet(error.packet(1).transport(), false).is_none());
        let nested = Frame::icmp_error(A4, B4, 3, 0, &Frame::icmp_error(B4, A4, 3, 0, &Frame::tcp(A4, 1, B4, 2)));
        assert!(super::packet(nested.packet(1).transport(), false).is_none());
    }
}
