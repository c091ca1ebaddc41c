//! What names a flow: addresses, ports, protocol, VLANs, depth of tunnels; the same for both directions.

use std::net::{IpAddr, Ipv4Addr};

use weir_wire::numbers::{PROTOCOL_TCP, PROTOCOL_UDP};

use crate::decode::View;
use crate::decode::datagram::Datagram;
use crate::event::Tuple;

/// A flow's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    low: u128,
    high: u128,
    /// Ports of the low and the high end.
    ports: u32,
    /// Protocol, depth, VLANs, family.
    rest: u64,
}

/// Both halves of a 128-bit product, folded: one multiplication mixes two words well.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

#[inline]
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

impl Key {
    /// The key of a packet with this tuple, and whether its source is the low end.
    #[inline]
    pub fn of(tuple: &Tuple, view: &View<'_>, by_vlan: bool) -> (Key, bool) {
        let (source, destination) = (number(tuple.source), number(tuple.destination));
        let (sport, dport) = ports(tuple);
        let mut rest = u64::from(tuple.protocol) | u64::from(view.depth) << 8;
        rest |= u64::from(tuple.source.is_ipv6()) << 16;
        if by_vlan && view.vlans > 0 {
            let [a, b, c] = view.vlan;
            rest |= u64::from(a) << 20 | u64::from(b) << 32 | u64::from(c) << 44;
        }
        Key::between((source, sport), (destination, dport), rest)
    }

    /// The key of a datagram that came in no tunnel and without tags, and whether its source is the low end.
    #[inline]
    pub fn of_datagram(datagram: &Datagram<'_>) -> (Key, bool) {
        Key::v4(datagram.source, datagram.destination, PROTOCOL_UDP)
    }

    /// The same of two ends with IPv4.
    #[inline]
    fn v4(source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16), protocol: u8) -> (Key, bool) {
        let end = |(address, port): (Ipv4Addr, u16)| u64::from(u32::from(address)) << 16 | u64::from(port);
        let (source, destination) = (end(source), end(destination));
        let (low, high) = (source.min(destination), source.max(destination));
        let ports = (low as u32) << 16 | high as u32 & 0xffff;
        let (low, high) = ((low >> 16).into(), (high >> 16).into());
        (Key { low, high, ports, rest: protocol.into() }, source <= destination)
    }

    /// The key of two ends, and whether the first is the low one.
    #[inline]
    fn between(source: (u128, u16), destination: (u128, u16), rest: u64) -> (Key, bool) {
        let from_low = source <= destination;
        let ((low, first), (high, second)) = if from_low { (source, destination) } else { (destination, source) };
        (Key { low, high, ports: u32::from(first) << 16 | u32::from(second), rest }, from_low)
    }

    /// The key that a frame seems to have, and whether its source is the low end: one of Ethernet that carries TCP or UDP
    /// over IPv4 with no more than it must.
    #[inline]
    pub fn glance(frame: &[u8]) -> Option<(Key, bool)> {
        let header: &[u8; 38] = frame.first_chunk()?;
        let [.., 8, 0, 0x45, _, _, _, _, _, more, place, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3, p, o, q, r] =
            *header
        else {
            return None;
        };
        let whole = more & 0x3f == 0 && place == 0;
        if !whole || !matches!(protocol, PROTOCOL_TCP | PROTOCOL_UDP) {
            return None;
        }
        let end = |address: [u8; 4], port: [u8; 2]| (address.into(), u16::from_be_bytes(port));
        Some(Key::v4(end([s0, s1, s2, s3], [p, o]), end([d0, d1, d2, d3], [q, r]), protocol))
    }

    /// A place to look for it. The seed keeps strangers from choosing keys that meet in one place.
    #[inline]
    pub fn hash(&self, seed: u64) -> u64 {
        let halves = |n: u128| ((n >> 64) as u64, n as u64);
        let ((low_upper, low_lower), (high_upper, high_lower)) = (halves(self.low), halves(self.high));
        let low = fold(low_upper ^ seed, low_lower ^ 0x9e37_79b9_7f4a_7c15);
        let high = fold(high_upper ^ 0xbf58_476d_1ce4_e5b9, high_lower ^ seed.rotate_left(32));
        fold(low ^ u64::from(self.ports) ^ 0x94d0_49bb_1331_11eb, high ^ self.rest ^ seed)
    }
}

/// The numbers that stand for ports. ICMP queries and their answers are one flow: an answer's type names its query. Of
/// ICMPv6 messages of other codes are other flows.
#[inline]
fn ports(tuple: &Tuple) -> (u16, u16) {
    match tuple.protocol {
        1 => (tuple.source_port, counterpart_v4(tuple.source_port).unwrap_or(0)),
        58 => {
            let code = tuple.destination_port << 8;
            (tuple.source_port | code, counterpart_v6(tuple.source_port).unwrap_or(0))
        }
        _ => (tuple.source_port, tuple.destination_port),
    }
}

/// The ICMP type that answers, or is answered by, a type.
pub fn counterpart_v4(kind: u16) -> Option<u16> {
    Some(match kind {
        0 => 8,
        8 => 0,
        9 => 10,
        10 => 9,
        13 | 15 | 17 | 33 | 35 | 37 => kind + 1,
        14 | 16 | 18 | 34 | 36 | 38 => kind - 1,
        _ => return None,
    })
}

/// The same for ICMPv6.
pub fn counterpart_v6(kind: u16) -> Option<u16> {
    Some(match kind {
        128 | 133 | 135 | 139 | 144 => kind + 1,
        129 | 134 | 136 | 140 | 145 => kind - 1,
        130 => 131,
        131 => 130,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(source: [u8; 4], sport: u16, destination: [u8; 4], dport: u16, protocol: u8) -> Tuple {
        Tuple {
            source: source.into(),
            destination: destination.into(),
            source_port: sport,
            destination_port: dport,
            protocol,
        }
    }

    #[test]
    fn a_frame_at_a_glance_has_the_key_that_it_has_when_it_is_decoded() {
        let mut frame = [0; 60];
        let ip =
            [8, 0, 0x45, 0, 0, 46, 1, 2, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 9, 10, 0, 0, 2, 0x30, 0x39, 0, 53, 0, 26];
        frame[12..40].copy_from_slice(&ip);
        let mut decoder = crate::decode::Decoder::new(crate::decode::Settings::default());
        let mut keys = Vec::new();
        let mut look = |view: &View<'_>| {
            keys.extend(view.tuple.map(|tuple| Key::of(&tuple, view, true)));
            crate::decode::Taken::Passed
        };
        decoder.decode(crate::decode::Link::Ethernet, &frame, weir_wire::Instant::ZERO, &mut look);
        assert_eq!(keys, [Key::glance(&frame).unwrap()]);
        let decoder = crate::decode::Decoder::new(crate::decode::Settings { checksums: false, ..Default::default() });
        let ends =
            [[10, 0, 0, 1], [10, 0, 0, 2], [9, 200, 0, 3]].map(|address| [(address, 53), (address, 40_000)]).concat();
        for &(source, sport) in &ends {
            for &(destination, dport) in &ends {
                frame[26..30].copy_from_slice(&source);
                frame[30..34].copy_from_slice(&destination);
                frame[34..36].copy_from_slice(&u16::to_be_bytes(sport));
                frame[36..38].copy_from_slice(&u16::to_be_bytes(dport));
                let key = Key::of_datagram(&decoder.datagram(&frame).unwrap());
                let same = Key::of(&tuple(source, sport, destination, dport, 17), &View::default(), true);
                assert_eq!(key, same, "{source:?} {sport} {destination:?} {dport}");
            }
        }
        for (place, value) in [(12, 0x81), (14, 0x46), (20, 0x20), (21, 1), (23, 1)] {
            let mut other = frame;
            other[place] = value;
            assert_eq!(Key::glance(&other), None, "{place}");
        }
        assert_eq!(Key::glance(&frame[..37]), None);
    }

    #[test]
    fn both_directions_have_one_key_and_different_flows_have_not() {
        let view = View::default();
        let (there, from_low) = Key::of(&tuple([10, 0, 0, 1], 5, [10, 0, 0, 2], 80, 6), &view, true);
        let (back, back_low) = Key::of(&tuple([10, 0, 0, 2], 80, [10, 0, 0, 1], 5, 6), &view, true);
        assert_eq!(there, back);
        assert_ne!(from_low, back_low);
        assert_eq!(there.hash(7), back.hash(7));
        let (ping, _) = Key::of(&tuple([10, 0, 0, 1], 8, [10, 0, 0, 2], 0, 1), &view, true);
        let (pong, _) = Key::of(&tuple([10, 0, 0, 2], 0, [10, 0, 0, 1], 0, 1), &view, true);
        assert_eq!(ping, pong);
        let tagged = View { vlans: 1, vlan: [9, 0, 0], ..view };
        assert_ne!(Key::of(&tuple([10, 0, 0, 1], 5, [10, 0, 0, 2], 80, 6), &tagged, true).0, there);
        assert_eq!(Key::of(&tuple([10, 0, 0, 1], 5, [10, 0, 0, 2], 80, 6), &tagged, false).0, there);
        assert_ne!(Key::of(&tuple([10, 0, 0, 1], 5, [10, 0, 0, 2], 80, 17), &view, true).0, there);
    }
}
