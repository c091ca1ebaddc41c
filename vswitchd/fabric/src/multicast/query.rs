//! The queries of a switch that asks by itself who is in which group: IGMPv3 and MLDv2, which hosts of older versions
//! take for their own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_wire::numbers::*;
use weir_wire::{MacAddr, checksum};

/// How many queries may be lost before somebody is forgotten (RFC 3376, 8.1).
pub const ROBUSTNESS: u8 = 2;

/// How a querier asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asking {
    pub mac: MacAddr,
    pub response_s: u32,
    pub interval_s: u32,
}

/// The group MAC of an address (RFC 1112, 6.4; RFC 2464, 7).
pub(crate) fn group_mac(group: IpAddr) -> MacAddr {
    match group {
        IpAddr::V4(group) => {
            let [_, b, c, d] = group.octets();
            MacAddr([0x01, 0x00, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(group) => {
            let [.., a, b, c, d] = group.octets();
            MacAddr([0x33, 0x33, a, b, c, d])
        }
    }
}

/// The frame that asks everybody, or those in `group`.
pub(crate) fn igmp(asking: Asking, source: Ipv4Addr, group: Option<Ipv4Addr>) -> Vec<u8> {
    let to = group.unwrap_or(Ipv4Addr::new(224, 0, 0, 1));
    let tenths = (asking.response_s * 10).clamp(1, 127) as u8;
    let mut body = vec![0x11, tenths, 0, 0];
    body.extend(group.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
    body.extend([ROBUSTNESS, asking.interval_s.min(127) as u8, 0, 0]);
    seal(&mut body, 2, checksum::sum(&[]));
    // Version and six words, for the router alert option (RFC 2113); precedence "internetwork control".
    let mut header = vec![0x46, 0xc0, 0, 36, 0, 0, 0x40, 0, 1, PROTOCOL_IGMP, 0, 0];
    header.extend(source.octets());
    header.extend(to.octets());
    header.extend([0x94, 4, 0, 0]);
    seal(&mut header, 10, checksum::sum(&[]));
    frame(asking.mac, to.into(), ETHERTYPE_IPV4, &[&header, &body])
}

/// The same for IPv6.
pub(crate) fn mld(asking: Asking, group: Option<Ipv6Addr>) -> Vec<u8> {
    let to = group.unwrap_or(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
    let source = link_local(asking.mac);
    let millis = (asking.response_s * 1000).clamp(1, 32767) as u16;
    let mut body = vec![MLD_QUERY, 0, 0, 0];
    body.extend(millis.to_be_bytes());
    body.extend([0, 0]);
    body.extend(group.unwrap_or(Ipv6Addr::UNSPECIFIED).octets());
    body.extend([ROBUSTNESS, asking.interval_s.min(127) as u8, 0, 0]);
    let length = body.len() as u32;
    seal(&mut body, 2, checksum::pseudo_ipv6(&source.octets(), &to.octets(), PROTOCOL_ICMPV6, length));
    // Hop-by-hop options: router alert for MLD (RFC 2711), and padding.
    let options = [PROTOCOL_ICMPV6, 0, 5, 2, 0, 0, 1, 0];
    let payload = (options.len() + body.len()) as u16;
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(payload.to_be_bytes());
    header.extend([PROTOCOL_HOP_BY_HOP, 1]);
    header.extend(source.octets());
    header.extend(to.octets());
    frame(asking.mac, to.into(), ETHERTYPE_IPV6, &[&header, &options, &body])
}

/// The address that a MAC has on its link (RFC 4291, appendix A).
pub(crate) fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// Puts the checksum of `bytes` at `at`.
fn seal(bytes: &mut [u8], at: usize, pseudo: checksum::Sum) {
    let sum = !pseudo.and(checksum::sum(bytes)).fold();
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
}

fn frame(source: MacAddr, to: IpAddr, ether_type: u16, parts: &[&[u8]]) -> Vec<u8> {
    let mut frame = [&group_mac(to).0[..], &source.0, &ether_type.to_be_bytes()].concat();
    parts.iter().for_each(|part| frame.extend_from_slice(part));
    // The least of an Ethernet frame.
    frame.resize(frame.len().max(60), 0);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::multicast::message::{Message, read};
    use weir_wire::build::packet;
    use weir_wire::{Pool, PortId};

    /// A frame, whom it is from, the group that it asks for, and the MAC that it goes to.
    type Case = (Vec<u8>, IpAddr, Option<IpAddr>, [u8; 6]);

    #[test]
    fn queries_are_what_hosts_and_other_queriers_understand() {
        let mac = MacAddr([2, 0, 0, 0, 0, 9]);
        let asking = Asking { mac, response_s: 10, interval_s: 125 };
        let (v4, v6) = (Ipv4Addr::new(239, 1, 2, 3), Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0, 7));
        let own = Ipv4Addr::new(10, 0, 0, 1);
        let table: [Case; 4] = [
            (igmp(asking, own, None), own.into(), None, [1, 0, 0x5e, 0, 0, 1]),
            (igmp(asking, own, Some(v4)), own.into(), Some(v4.into()), [1, 0, 0x5e, 1, 2, 3]),
            (mld(asking, None), link_local(mac).into(), None, [0x33, 0x33, 0, 0, 0, 1]),
            (mld(asking, Some(v6)), link_local(mac).into(), Some(v6.into()), [0x33, 0x33, 0, 0, 0, 7]),
        ];
        let mut pool = Pool::default();
        for (frame, source, group, destination) in table {
            let mut subject = packet(&frame, PortId(1), &mut pool).expect("a frame");
            assert_eq!(subject.parse(), Ok(()));
            assert_eq!(read(&subject), Some(Message::Query { source, group, response_s: 10 }));
            assert_eq!(subject.dst_mac(), MacAddr(destination));
        }
    }
}
