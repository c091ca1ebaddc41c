//! What a router answers to packets that it cannot pass on: ICMP errors that bear its own address (RFC 1812, 4.3.3;
//! RFC 4443, 3), quoting the packet.

use core::net::IpAddr;

use super::frames::IpHeader;
use super::replies::{ICMP_MAX, ICMPV6_MAX, Toward, may_be_answered, originate};
use crate::numbers::*;
use crate::{L3, Packet, Pool};

/// Why a router does not pass a packet on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// No route leads there: ICMP 3/0, ICMPv6 1/0.
    NoRoute,
    /// The destination, or the next router, does not answer: ICMP 3/1, ICMPv6 1/3.
    HostUnreachable,
    /// Nobody speaks this protocol here: ICMP 3/2; ICMPv6 4/1, pointing to the field of the fixed header.
    ProtocolUnreachable,
    /// Nobody listens on this port: ICMP 3/3, ICMPv6 1/4.
    PortUnreachable,
    /// Administratively prohibited: ICMP 3/13, ICMPv6 1/1.
    Prohibited,
    /// Beyond the scope of the source address: ICMPv6 1/2; ICMP 3/1.
    BeyondScope,
    /// The packet is longer than the next link takes, in bytes of IP packet: ICMP 3/4, ICMPv6 2/0.
    TooBig(u32),
    /// The TTL or hop limit is used up: ICMP 11/0, ICMPv6 3/0.
    TimeExceeded,
}

impl IcmpError {
    /// The ICMP header but for its checksum.
    fn v4(self) -> [u8; 8] {
        let (kind, code, mtu) = match self {
            IcmpError::NoRoute => (3, 0, 0),
            IcmpError::HostUnreachable | IcmpError::BeyondScope => (3, 1, 0),
            IcmpError::ProtocolUnreachable => (3, 2, 0),
            IcmpError::PortUnreachable => (3, 3, 0),
            IcmpError::Prohibited => (3, 13, 0),
            IcmpError::TooBig(mtu) => (3, 4, u16::try_from(mtu).unwrap_or(u16::MAX)),
            IcmpError::TimeExceeded => (11, 0, 0),
        };
        let [high, low] = mtu.to_be_bytes();
        [kind, code, 0, 0, 0, 0, high, low]
    }

    /// The ICMPv6 header but for its checksum.
    fn v6(self) -> [u8; 8] {
        let (kind, code, word) = match self {
            IcmpError::NoRoute => (1, 0, 0),
            IcmpError::Prohibited => (1, 1, 0),
            IcmpError::BeyondScope => (1, 2, 0),
            IcmpError::HostUnreachable => (1, 3, 0),
            IcmpError::PortUnreachable => (1, 4, 0),
            IcmpError::TooBig(mtu) => (2, 0, mtu),
            IcmpError::TimeExceeded => (3, 0, 0),
            // The next-header field stands at byte 6.
            IcmpError::ProtocolUnreachable => (4, 1, 6),
        };
        let [a, b, c, d] = word.to_be_bytes();
        [kind, code, 0, 0, a, b, c, d]
    }
}

/// An ICMP error from `source` to the sender of `packet`, which leaves as the packet came: the same tags, the MACs
/// turned round. `None` where none may be sent (RFC 1122 3.2.2, RFC 4443 2.4 e), where the family of `source` is not the
/// packet's, and where the pool is empty.
pub fn icmp_error(packet: &Packet, source: IpAddr, error: IcmpError, pool: &mut Pool) -> Option<Packet> {
    if !may_be_answered(packet) {
        return None;
    }
    let (sender, _) = packet.addresses()?;
    let (protocol, header, quote_max) = match (packet.headers.l3_kind, source) {
        (L3::Ipv4, IpAddr::V4(_)) => (PROTOCOL_ICMP, error.v4(), ICMP_MAX - 28),
        (L3::Ipv6, IpAddr::V6(_)) => (PROTOCOL_ICMPV6, error.v6(), ICMPV6_MAX - 48),
        _ => return None,
    };
    let quote = packet.network();
    let quote = quote.get(..quote_max).unwrap_or(quote);
    let network = IpHeader::new(source, sender, protocol, header.len() + quote.len());
    originate(packet, Toward::Sender, &[network.bytes(), &header, quote], pool)
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::super::frames::{Ends, packet, tcp, udp};
    use super::*;
    use crate::{PortId, TcpFields, checksum};

    fn check(ends: Ends, source: IpAddr, error: IcmpError, expected: (u8, u8)) -> Packet {
        let mut pool = Pool::default();
        let cause = packet(&udp(ends, (5, 6), &[7; 1400]), PortId(3), &mut pool).unwrap();
        let reply = icmp_error(&cause, source, error, &mut pool).unwrap();
        assert_eq!(reply.icmp(), Some(expected));
        assert_eq!(reply.addresses(), Some((source, ends.source)));
        assert_eq!((reply.src_mac(), reply.dst_mac()), (ends.destination_mac, ends.source_mac));
        assert!(checksum::verify_l4(&reply));
        assert!(cause.network().starts_with(&reply.transport()[8..]), "it quotes the packet");
        reply
    }

    #[test]
    fn each_error_has_its_type_and_code_and_the_address_of_the_router() {
        let router = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254));
        let router6: IpAddr = "fd00::fe".parse().unwrap();
        for (error, v4, v6) in [
            (IcmpError::NoRoute, (3, 0), (1, 0)),
            (IcmpError::HostUnreachable, (3, 1), (1, 3)),
            (IcmpError::ProtocolUnreachable, (3, 2), (4, 1)),
            (IcmpError::PortUnreachable, (3, 3), (1, 4)),
            (IcmpError::Prohibited, (3, 13), (1, 1)),
            (IcmpError::TimeExceeded, (11, 0), (3, 0)),
            (IcmpError::TooBig(1280), (3, 4), (2, 0)),
        ] {
            let four = check(Ends::ipv4(1, 2), router, error, v4);
            assert!(four.network().len() <= ICMP_MAX);
            let six = check(Ends::ipv6(1, 2), router6, error, v6);
            assert!(six.network().len() <= ICMPV6_MAX);
            if let IcmpError::TooBig(mtu) = error {
                assert_eq!(four.transport()[6..8], (mtu as u16).to_be_bytes());
                assert_eq!(six.transport()[4..8], mtu.to_be_bytes());
            }
        }
    }

    #[test]
    fn errors_are_not_answered_and_families_do_not_mix() {
        let mut pool = Pool::default();
        let ends = Ends::ipv4(1, 2);
        let cause = packet(&tcp(ends, TcpFields::default(), &[], &[]), PortId(1), &mut pool).unwrap();
        let router = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254));
        let error = icmp_error(&cause, router, IcmpError::NoRoute, &mut pool).unwrap();
        assert!(icmp_error(&error, router, IcmpError::NoRoute, &mut pool).is_none());
        assert!(icmp_error(&cause, "fd00::1".parse().unwrap(), IcmpError::NoRoute, &mut pool).is_none());
    }
}
