//! What names a flow: its two ends, without regard to direction, and where it was seen.
//!
//! Both directions of a conversation have one key: the ends stand in the order of their addresses and ports, and
//! [`Belongs::Flow`] says which of them sent this packet. The zone (switch and VLAN, or the routers it passes) keeps
//! equal addresses apart. IPv4 and IPv6 flows never meet, also where an IPv6 address maps an IPv4 one. A query of ICMP
//! (echo, timestamp, ...) is named by its identifier, its kind and the end that asks, so that two hosts that ping each
//! other have two flows.
//!
//! An ICMP error belongs to the flow of the packet it quotes. What has neither (neighbour discovery, MLD, IGMP, ARP)
//! has no flow: it is judged by the rules alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_wire::numbers::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};
use weir_wire::{L3, Packet, SwitchId, Vid};

use super::quoted;
use crate::event::Tuple;

const OTHER: u64 = 0;
const TCP: u64 = 1;
const UDP: u64 = 2;
/// An ICMP query of the end that stands first.
const LOW_ASKS: u64 = 3;
/// An ICMP query of the end that stands second.
const HIGH_ASKS: u64 = 4;
/// Added to the class for IPv6.
const V6: u64 = 5;

const IGMP: u8 = 2;

/// The name of a flow, 40 bytes: two addresses in order, then switch (16 bits), VLAN (12), class (4) and both ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    low: [u64; 2],
    high: [u64; 2],
    rest: u64,
}

/// Keys the hash, so that nobody outside can choose addresses that meet in one bucket.
#[derive(Clone, Copy, Debug)]
pub struct Seed([u64; 4]);

impl Seed {
    /// Four words from one (SplitMix64).
    pub fn new(seed: u64) -> Seed {
        let mut state = seed;
        Seed([(); 4].map(|()| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }))
    }
}

/// Both halves of a 128-bit product, folded: one multiplication mixes two words well (as wyhash and foldhash do).
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// The flow a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belongs {
    /// To the flow of its own addresses.
    Flow {
        /// The flow's name.
        key: Key,
        /// The first end of the key sent it.
        from_low: bool,
        /// It may open the flow: `false` for the reply to an ICMP query.
        opens: bool,
    },
    /// It is an ICMP error about a packet of this flow.
    Error {
        /// The flow's name.
        key: Key,
        /// The first end of the key sent the packet that is quoted.
        quoted_from_low: bool,
        /// The sequence number that is quoted, for TCP.
        seq: Option<u32>,
    },
    /// It is an ICMP error that quotes nothing usable, or is sent to somebody else than the quoted sender.
    BrokenError,
    /// To none.
    None,
}

/// The two ends of a packet, addresses as they stand in keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub source: [u64; 2],
    pub destination: [u64; 2],
    pub v6: bool,
}

impl Ends {
    pub(super) fn v4(source: [u8; 4], destination: [u8; 4]) -> Ends {
        let wide = |a| [0, u64::from(u32::from_be_bytes(a))];
        Ends { source: wide(source), destination: wide(destination), v6: false }
    }

    pub(super) fn v6(source: &[u8; 16], destination: &[u8; 16]) -> Ends {
        let wide = |a: &[u8; 16]| {
            let n = u128::from_be_bytes(*a);
            [(n >> 64) as u64, n as u64]
        };
        Ends { source: wide(source), destination: wide(destination), v6: true }
    }

    fn of(packet: &Packet) -> Option<Ends> {
        match packet.headers.l3_kind {
            L3::Ipv4 => {
                let &[.., a, b, c, d, e, f, g, h] = packet.ipv4()?;
                Some(Ends::v4([a, b, c, d], [e, f, g, h]))
            }
            L3::Ipv6 => {
                let (source, rest) = packet.ipv6()?.get(8..)?.split_first_chunk::<16>()?;
                Some(Ends::v6(source, rest.first_chunk()?))
            }
            L3::Arp | L3::Other => None,
        }
    }
}

/// What names a packet's flow beside its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    /// Ports.
    Tcp(u16, u16),
    /// Ports.
    Udp(u16, u16),
    /// A query: identifier and the query's type.
    Ask(u16, u8),
    /// The answer to one.
    Answer(u16, u8),
    /// The protocol number.
    Other(u8),
}

impl Key {
    /// The key of a packet between `ends`, and whether the first end of the key sent it.
    pub(super) fn new(switch: SwitchId, vid: Vid, ends: Ends, within: Within) -> (Key, bool) {
        let Ends { source, destination, v6 } = ends;
        let (from_low, class, ports) = match within {
            Within::Tcp(s, d) => ordered(source, destination, s, d, TCP),
            Within::Udp(s, d) => ordered(source, destination, s, d, UDP),
            Within::Other(protocol) => (source <= destination, OTHER, u64::from(protocol)),
            Within::Ask(id, kind) | Within::Answer(id, kind) => {
                let from_low = source <= destination;
                let low_asks = from_low == matches!(within, Within::Ask(..));
                (from_low, if low_asks { LOW_ASKS } else { HIGH_ASKS }, u64::from(kind) << 16 | u64::from(id))
            }
        };
        let (low, high) = if from_low { (source, destination) } else { (destination, source) };
        let class = class + if v6 { V6 } else { 0 };
        // The two ways of a routed flow come from different VLANs.
        let vid = if switch.is_zone() { 0 } else { vid.0 & 0xfff };
        let zone = u64::from(switch.0) << 48 | u64::from(vid) << 36;
        (Key { low, high, rest: zone | class << 32 | ports }, from_low)
    }

    /// Its place in the table. Never zero.
    #[inline]
    pub fn hash(&self, seed: &Seed) -> u64 {
        let [a, b, c, d] = seed.0;
        let low = fold(self.low[0] ^ a, self.low[1] ^ b);
        let high = fold(self.high[0] ^ b, self.high[1] ^ c);
        fold(low ^ self.rest ^ d, high ^ c).max(1)
    }

    /// Its words.
    pub(crate) fn words(&self) -> [u64; 5] {
        let ([a, b], [c, d]) = (self.low, self.high);
        [a, b, c, d, self.rest]
    }

    /// The switch it was seen on.
    pub fn switch(&self) -> SwitchId {
        SwitchId((self.rest >> 48) as u16)
    }

    /// The VLAN it was seen on.
    pub fn vid(&self) -> Vid {
        Vid((self.rest >> 36) as u16 & 0xfff)
    }

    /// It names ports of TCP or UDP.
    #[inline]
    pub(crate) fn has_ports(&self) -> bool {
        matches!(self.class().0, TCP | UDP)
    }

    /// The address of its first end (`true`) or of the second.
    #[inline]
    pub(crate) fn end(&self, low: bool) -> IpAddr {
        address(if low { self.low } else { self.high }, self.class().1)
    }

    fn class(&self) -> (u64, bool) {
        let class = self.rest >> 32 & 15;
        if class >= V6 { (class - V6, true) } else { (class, false) }
    }

    /// It is a TCP connection.
    #[inline]
    pub fn is_tcp(&self) -> bool {
        self.class().0 == TCP
    }

    /// The IP protocol number.
    pub fn protocol(&self) -> u8 {
        match self.class() {
            (TCP, _) => PROTOCOL_TCP,
            (UDP, _) => PROTOCOL_UDP,
            (LOW_ASKS | HIGH_ASKS, false) => PROTOCOL_ICMP,
            (LOW_ASKS | HIGH_ASKS, true) => PROTOCOL_ICMPV6,
            _ => self.rest as u8,
        }
    }

    /// The tuple of a packet sent by the first end (`true`) or the second. Both ways of an ICMP query have the query's
    /// type in place of the source port and 0 in place of the destination port.
    pub fn tuple(&self, from_low: bool) -> Tuple {
        let (class, v6) = self.class();
        let (low, high) = (address(self.low, v6), address(self.high, v6));
        let (low_port, high_port) = match class {
            TCP | UDP => ((self.rest >> 16) as u16, self.rest as u16),
            _ => (0, 0),
        };
        let ((source, source_port), (destination, destination_port)) =
            if from_low { ((low, low_port), (high, high_port)) } else { ((high, high_port), (low, low_port)) };
        let source_port = match class {
            LOW_ASKS | HIGH_ASKS => (self.rest >> 16) as u16,
            _ => source_port,
        };
        Tuple { source, destination, source_port, destination_port, protocol: self.protocol() }
    }
}

fn address(words: [u64; 2], v6: bool) -> IpAddr {
    let [high, low] = words;
    if v6 { Ipv6Addr::from(u128::from(high) << 64 | u128::from(low)).into() } else { Ipv4Addr::from(low as u32).into() }
}

#[inline]
fn ordered(source: [u64; 2], destination: [u64; 2], s: u16, d: u16, class: u64) -> (bool, u64, u64) {
    let from_low = (source, s) <= (destination, d);
    let (low, high) = if from_low { (s, d) } else { (d, s) };
    (from_low, class, u64::from(low) << 16 | u64::from(high))
}

/// The flow that a parsed packet belongs to, on this switch.
#[inline]
pub fn belongs(packet: &Packet, switch: SwitchId) -> Belongs {
    let Some(ends) = Ends::of(packet) else { return Belongs::None };
    let within = match (packet.headers.protocol, ends.v6) {
        (PROTOCOL_TCP, _) => packet.ports().map(|(s, d)| Within::Tcp(s, d)),
        (PROTOCOL_UDP, _) => packet.ports().map(|(s, d)| Within::Udp(s, d)),
        (PROTOCOL_ICMP, false) | (PROTOCOL_ICMPV6, true) => {
            let icmp = packet.transport();
            if quoted::is_error(icmp, ends.v6) {
                return error(packet, switch, ends);
            }
            query(icmp, ends.v6)
        }
        (IGMP, false) => None,
        (protocol, _) => Some(Within::Other(protocol)),
    };
    let Some(within) = within else { return Belongs::None };
    let (key, from_low) = Key::new(switch, packet.vid, ends, within);
    Belongs::Flow { key, from_low, opens: !matches!(within, Within::Answer(..)) }
}

/// The same for a packet that [`Packet::parse_common`] has parsed: its headers stand in known places. `None` where they
/// do not.
#[inline]
pub fn common(packet: &Packet, switch: SwitchId) -> Option<(Key, bool)> {
    let headers = &packet.headers;
    let class = if headers.protocol == PROTOCOL_TCP { TCP } else { UDP };
    let vid = if switch.is_zone() { 0 } else { packet.vid.0 & 0xfff };
    let zone = u64::from(switch.0) << 48 | u64::from(vid) << 36;
    if headers.l3_kind == L3::Ipv4 {
        let frame: &[u8; 38] = packet.bytes().first_chunk()?;
        let [.., a, b, c, d, e, f, g, h, sh, sl, dh, dl] = *frame;
        let source = u64::from(u32::from_be_bytes([a, b, c, d]));
        let destination = u64::from(u32::from_be_bytes([e, f, g, h]));
        let (s, d) = (u16::from_be_bytes([sh, sl]), u16::from_be_bytes([dh, dl]));
        let from_low = source << 16 | u64::from(s) <= destination << 16 | u64::from(d);
        let (low, high) = if from_low { (source, destination) } else { (destination, source) };
        let (first, second) = if from_low { (s, d) } else { (d, s) };
        let rest = zone | class << 32 | u64::from(first) << 16 | u64::from(second);
        return Some((Key { low: [0, low], high: [0, high], rest }, from_low));
    }
    let frame: &[u8; 58] = packet.bytes().first_chunk()?;
    let (addresses, ports) = frame.get(22..)?.split_first_chunk::<32>()?;
    let (source, destination) = addresses.split_first_chunk::<16>()?;
    let ends = Ends::v6(source, destination.first_chunk()?);
    let &[sh, sl, dh, dl] = ports.first_chunk()?;
    let (s, d) = (u16::from_be_bytes([sh, sl]), u16::from_be_bytes([dh, dl]));
    let within = if class == TCP { Within::Tcp(s, d) } else { Within::Udp(s, d) };
    Some(Key::new(switch, packet.vid, ends, within))
}

/// The query that an ICMP message asks or answers (RFC 792, RFC 950, RFC 4443, RFC 4620).
pub(super) fn query(icmp: &[u8], v6: bool) -> Option<Within> {
    let &[kind, _, _, _, high, low] = icmp.first_chunk()?;
    let id = u16::from_be_bytes([high, low]);
    match (v6, kind) {
        (false, 8 | 13 | 15 | 17) | (true, 128 | 139) => Some(Within::Ask(id, kind)),
        (false, 0) => Some(Within::Answer(id, 8)),
        (false, 14 | 16 | 18) => Some(Within::Answer(id, kind - 1)),
        (true, 129 | 140) => Some(Within::Answer(id, kind - 1)),
        _ => None,
    }
}

fn error(packet: &Packet, switch: SwitchId, outer: Ends) -> Belongs {
    match quoted::packet(packet.transport(), outer.v6) {
        // The error goes to whoever sent what it quotes; anything else was made up.
        Some(quoted) if quoted.ends.source == outer.destination => {
            let (key, quoted_from_low) = Key::new(switch, packet.vid, quoted.ends, quoted.within);
            Belongs::Error { key, quoted_from_low, seq: quoted.seq }
        }
        _ => Belongs::BrokenError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{A4, A6, B4, B6, Frame};

    const SWITCH: SwitchId = SwitchId(3);

    fn flow(frame: Frame) -> (Key, bool, bool) {
        match belongs(&frame.packet(1), SWITCH) {
            Belongs::Flow { key, from_low, opens } => (key, from_low, opens),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_directions_have_one_key() {
        for (a, b) in [(A4, B4), (A6, B6), (A4, A4)] {
            let (there, from_low, _) = flow(Frame::udp(a, 5000, b, 53, b""));
            let (back, back_from_low, _) = flow(Frame::udp(b, 53, a, 5000, b""));
            assert_eq!(there, back);
            assert_ne!(from_low, back_from_low);
            assert_eq!(there.tuple(from_low).source_port, 5000);
            assert_eq!(there.tuple(from_low).source, a);
            assert_eq!(there.tuple(back_from_low).source, b);
        }
    }

    #[test]
    fn common_packets_have_the_key_of_the_general_way() {
        for (a, b) in [(A4, B4), (B4, A4), (A6, B6), (B6, A6), (A4, A4)] {
            for frame in [Frame::udp(a, 5000, b, 53, b"x"), Frame::udp(a, 53, b, 5000, b""), Frame::tcp(a, 1, b, 1)] {
                let mut packet = frame.packet(1);
                packet.vid = Vid(9);
                let Belongs::Flow { key, from_low, .. } = belongs(&packet, SWITCH) else { panic!() };
                assert!(packet.parse_common());
                assert_eq!(common(&packet, SWITCH), Some((key, from_low)));
            }
        }
    }

    #[test]
    fn switch_vlan_protocol_family_and_ports_keep_flows_apart() {
        let (base, ..) = flow(Frame::udp(A4, 1, B4, 2, b""));
        let mut tagged = Frame::udp(A4, 1, B4, 2, b"").packet(1);
        tagged.vid = Vid(7);
        let Belongs::Flow { key: on_vlan, .. } = belongs(&tagged, SWITCH) else { panic!() };
        let Belongs::Flow { key: on_switch, .. } = belongs(&Frame::udp(A4, 1, B4, 2, b"").packet(1), SwitchId(4))
        else {
            panic!()
        };
        let (tcp, ..) = flow(Frame::tcp(A4, 1, B4, 2));
        let (ports, ..) = flow(Frame::udp(A4, 2, B4, 1, b""));
        let mapped = |a: IpAddr| match a {
            IpAddr::V4(a) => IpAddr::V6(Ipv6Addr::from(u128::from(u32::from(a)))),
            a => a,
        };
        let (v6, ..) = flow(Frame::udp(mapped(A4), 1, mapped(B4), 2, b""));
        let keys = [base, on_vlan, on_switch, tcp, ports, v6];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys.iter().skip(i + 1).all(|b| a != b), "{a:?}");
        }
        assert_eq!((on_vlan.vid(), on_vlan.switch()), (Vid(7), SWITCH));
    }

    #[test]
    fn two_hosts_that_ping_each_other_have_two_flows() {
        let (ask, from_low, opens) = flow(Frame::icmp(A4, B4, 8, 0, 77));
        let (answer, answer_from_low, answer_opens) = flow(Frame::icmp(B4, A4, 0, 0, 77));
        assert_eq!(ask, answer);
        assert_ne!(from_low, answer_from_low);
        assert!(opens && !answer_opens);
        assert_ne!(ask, flow(Frame::icmp(B4, A4, 8, 0, 77)).0);
        assert_eq!(ask.protocol(), PROTOCOL_ICMP);
        assert_eq!(flow(Frame::icmp(A6, B6, 128, 0, 9)).0, flow(Frame::icmp(B6, A6, 129, 0, 9)).0);
    }

    #[test]
    fn discovery_and_group_membership_have_no_flow() {
        for kind in [133, 134, 135, 136, 137, 130, 143] {
            assert_eq!(belongs(&Frame::icmp(A6, B6, kind, 0, 0).packet(1), SWITCH), Belongs::None, "{kind}");
        }
        assert_eq!(belongs(&Frame::ip(A4, B4, IGMP, &[0x16; 8]).packet(1), SWITCH), Belongs::None);
        assert_eq!(belongs(&Frame::arp(A4, B4).packet(1), SWITCH), Belongs::None);
    }

    #[test]
    fn an_error_belongs_to_the_flow_it_quotes() {
        for (a, b, kind) in [(A4, B4, 3), (A6, B6, 1)] {
            let sent = Frame::udp(a, 5000, b, 53, b"hello");
            let (key, from_low, _) = flow(sent.clone());
            let error = Frame::icmp_error(b, a, kind, 1, &sent);
            let expected = Belongs::Error { key, quoted_from_low: from_low, seq: None };
            assert_eq!(belongs(&error.packet(2), SWITCH), expected);
            let elsewhere = Frame::icmp_error(b, b, kind, 1, &sent);
            assert_eq!(belongs(&elsewhere.packet(2), SWITCH), Belongs::BrokenError);
        }
    }
}
