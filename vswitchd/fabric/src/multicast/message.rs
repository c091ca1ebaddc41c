//! What hosts and routers say about groups: IGMP versions 1 to 3 (RFC 1112, 2236, 3376), MLD versions 1 and 2 (RFC
//! 2710, 3810), and the hellos by which multicast routers are known (PIM, RFC 7761).
//!
//! Read from inspected-to-be packets of guests: every length is checked, a message is taken only where its TTL says that
//! it comes from the same link and its checksum is right. Of a report at most [`RECORDS`] records are read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_wire::numbers::*;
use weir_wire::{Fragment, L3, Packet, checksum};

/// Group records of one report that are read; real reports that fit a frame have some 180, usual ones a few.
pub const RECORDS: usize = 192;

/// What one message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Somebody asks who is in a group, or in any.
    Query {
        /// Who asks.
        source: IpAddr,
        /// The group; `None` for all.
        group: Option<IpAddr>,
        /// How long hosts may take to answer, in seconds, rounded up.
        response_s: u32,
    },
    /// A host says which groups it joins (`true`) or leaves.
    Report(Vec<(IpAddr, bool)>),
    /// A multicast router says that it is there.
    Hello,
    /// It is none that can be believed.
    Broken,
}

/// Whether a packet is about groups: IGMP, MLD or PIM.
pub(crate) fn is_about_groups(packet: &Packet) -> bool {
    match (packet.headers.l3_kind, packet.headers.protocol) {
        (L3::Ipv4, PROTOCOL_IGMP) | (L3::Ipv4 | L3::Ipv6, PROTOCOL_PIM) => true,
        (L3::Ipv6, PROTOCOL_ICMPV6) => {
            matches!(packet.icmp(), Some((MLD_QUERY | MLD_REPORT | MLD_DONE | MLD_REPORT_V2, _)))
        }
        _ => false,
    }
}

/// Whether a packet is a host's report or leave, which only routers want.
pub(crate) fn is_report(packet: &Packet) -> bool {
    match packet.headers.l3_kind {
        L3::Ipv4 if packet.headers.protocol == PROTOCOL_IGMP => {
            matches!(packet.transport().first(), Some(0x12 | 0x16 | 0x17 | 0x22))
        }
        L3::Ipv6 => matches!(packet.icmp(), Some((MLD_REPORT | MLD_DONE | MLD_REPORT_V2, _))),
        L3::Ipv4 | L3::Arp | L3::Other => false,
    }
}

/// Reads a message; `None` where the packet is about something else. The packet must be parsed and whole.
pub(crate) fn read(packet: &Packet) -> Option<Message> {
    if !is_about_groups(packet) {
        return None;
    }
    let body = packet.transport();
    let read = match (packet.headers.l3_kind, packet.headers.protocol) {
        _ if packet.headers.fragment != Fragment::No => None,
        (_, PROTOCOL_PIM) => (body.first().map(|first| first & 0x0f) == Some(0)).then_some(Message::Hello),
        (L3::Ipv4, _) => igmp(packet, body),
        (L3::Ipv6, _) => mld(packet, body),
        (L3::Arp | L3::Other, _) => None,
    };
    Some(read.unwrap_or(Message::Broken))
}

fn igmp(packet: &Packet, body: &[u8]) -> Option<Message> {
    let header = packet.network().first_chunk::<20>()?;
    let source = Ipv4Addr::from(*header.get(12..)?.first_chunk::<4>()?);
    if header[8] != 1 || !checksum::sum(body).is_valid() {
        return None;
    }
    let &[kind, code, _, _, a, b, c, d] = body.first_chunk::<8>()?;
    let group = Ipv4Addr::new(a, b, c, d);
    let one = |joins| group.is_multicast().then(|| Message::Report(vec![(group.into(), joins)]));
    match kind {
        0x11 => {
            let tenths = if body.len() >= 12 { float8(code) } else { u32::from(code) };
            // Version 1 states none and means ten seconds.
            let response_s = if code == 0 && body.len() < 12 { 10 } else { tenths.div_ceil(10) };
            let group = (!group.is_unspecified()).then_some(IpAddr::V4(group));
            Some(Message::Query { source: source.into(), group, response_s })
        }
        0x12 | 0x16 => one(true),
        0x17 => one(false),
        0x22 => records(body, |address: &[u8; 4]| Ipv4Addr::from(*address).into()),
        _ => None,
    }
}

fn mld(packet: &Packet, body: &[u8]) -> Option<Message> {
    let header = packet.network().first_chunk::<40>()?;
    let source = Ipv6Addr::from(*header.get(8..)?.first_chunk::<16>()?);
    let near = source.is_unspecified() || source.segments()[0] & 0xffc0 == 0xfe80;
    if header[7] != 1 || !near || !checksum::verify_l4(packet) {
        return None;
    }
    let group = |body: &[u8]| Some(Ipv6Addr::from(*body.get(8..)?.first_chunk::<16>()?));
    let one = |joins| {
        let group = group(body)?;
        group.is_multicast().then(|| Message::Report(vec![(group.into(), joins)]))
    };
    match *body.first()? {
        MLD_QUERY if !source.is_unspecified() => {
            let code = u32::from(u16::from_be_bytes([*body.get(4)?, *body.get(5)?]));
            let millis = if body.len() >= 28 { float16(code) } else { code };
            let group = group(body)?;
            let group = (!group.is_unspecified()).then_some(IpAddr::V6(group));
            Some(Message::Query { source: source.into(), group, response_s: millis.div_ceil(1000) })
        }
        MLD_REPORT => one(true),
        MLD_DONE => one(false),
        MLD_REPORT_V2 => records(body, |address: &[u8; 16]| Ipv6Addr::from(*address).into()),
        _ => None,
    }
}

/// The group records of a report (RFC 3376, 4.2; RFC 3810, 5.2, the same but for the length of addresses).
fn records<const N: usize>(body: &[u8], address: impl Fn(&[u8; N]) -> IpAddr) -> Option<Message> {
    let count = usize::from(u16::from_be_bytes([*body.get(6)?, *body.get(7)?]));
    let (mut rest, mut changes) = (body.get(8..)?, Vec::new());
    for _ in 0..count.min(RECORDS) {
        let &[kind, auxiliary, high, low] = rest.first_chunk::<4>()?;
        let sources = usize::from(u16::from_be_bytes([high, low]));
        let group = address(rest.get(4..)?.first_chunk::<N>()?);
        rest = rest.get(4 + N + sources * N + usize::from(auxiliary) * 4..)?;
        if !group.is_multicast() {
            return None;
        }
        // Sources are not told apart: whoever wants some of a group gets the group.
        match (kind, sources) {
            (2 | 4, _) | (1 | 3 | 5, 1..) => changes.push((group, true)),
            (1 | 3, 0) => changes.push((group, false)),
            (5 | 6, _) => {}
            _ => return None,
        }
    }
    Some(Message::Report(changes))
}

/// IGMPv3's number with three bits of exponent (RFC 3376, 4.1.1).
fn float8(code: u8) -> u32 {
    match code {
        0..128 => u32::from(code),
        128.. => (u32::from(code & 15) | 16) << (u32::from(code >> 4 & 7) + 3),
    }
}

/// MLDv2's number with three bits of exponent (RFC 3810, 5.1.3).
fn float16(code: u32) -> u32 {
    if code < 32768 { code } else { (code & 0xfff | 0x1000) << ((code >> 12 & 7) + 3) }
}
