//! Conditions on the headers of one packet.

use weir_ids_rules::rule::{Bounds, Condition, FlagsMode, FragmentBits, FragmentMode, Nth, Summed};
use weir_wire::numbers::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};

use crate::decode::View;

/// Whether bounds on the size of payloads take packets without any: a size that is not meant asks for some.
pub fn takes_none(bounds: Bounds) -> bool {
    !bounds.negated && bounds.min == 0
}

/// Whether the condition holds. Those on flows, events and addresses' repute are answered elsewhere and do not hold
/// here.
pub fn holds(condition: &Condition, view: &View<'_>) -> bool {
    match condition {
        Condition::Flags { mode, flags, mask } => view.tcp.is_some_and(|tcp| {
            let (there, flags) = (tcp.flags & mask, flags & mask);
            match mode {
                FlagsMode::Exact => there == flags,
                FlagsMode::All => there & flags == flags,
                FlagsMode::Any => there & flags != 0,
                FlagsMode::Not => there & flags != flags,
            }
        }),
        Condition::Sequence(seq) => view.tcp.is_some_and(|tcp| tcp.seq == *seq),
        Condition::Acknowledgment(ack) => view.tcp.is_some_and(|tcp| tcp.ack == *ack),
        Condition::Window { value, negated } => view.tcp.is_some_and(|tcp| (tcp.window == *value) != *negated),
        Condition::TcpMss(bounds) => {
            let mss = view.tcp.and_then(|tcp| tcp.options.mss);
            mss.is_some_and(|mss| bounds.contains(mss.into()))
        }
        Condition::TcpWindowScale(bounds) => {
            let scale = view.tcp.and_then(|tcp| tcp.options.window_scale);
            scale.is_some_and(|scale| bounds.contains(scale.into()))
        }
        Condition::PayloadSize(bounds) => {
            bounds.contains(view.payload.len() as u64) && (!view.payload.is_empty() || takes_none(*bounds))
        }
        Condition::IcmpType(_)
        | Condition::IcmpCode(_)
        | Condition::IcmpId(_)
        | Condition::IcmpSequence(_)
        | Condition::Icmpv6Mtu(_) => icmp(condition, view),
        Condition::IgmpType(bounds) => {
            protocol(view) == Some(IGMP) && view.transport.first().is_some_and(|kind| bounds.contains((*kind).into()))
        }
        Condition::Ttl(_)
        | Condition::Tos(_)
        | Condition::IpId(_)
        | Condition::IpProtocol(_)
        | Condition::SameIp
        | Condition::FragmentBits { .. }
        | Condition::FragmentOffset(_)
        | Condition::IpOption(_) => ip(condition, view),
        Condition::Checksum { of, valid } => checksum(view, *of) == Some(*valid),
        Condition::Rpc { program, version, procedure } => rpc(view, *program, *version, *procedure),
        Condition::IpVersion { v6 } => view.ip.first().is_some_and(|first| first >> 4 == if *v6 { 6 } else { 4 }),
        Condition::VlanId { id, layer } => vlan(view, *id, *layer),
        Condition::VlanLayers(bounds) => bounds.contains(view.vlans.into()),
        // It changes what follows, not whether the rule matches.
        Condition::Bypass => true,
        Condition::DecodeEvent(_)
        | Condition::StreamEvent(_)
        | Condition::EngineEvent(_)
        | Condition::AppProtocol { .. }
        | Condition::FlowAge(_)
        | Condition::FlowPackets(..)
        | Condition::FlowBytes(..)
        | Condition::FlowElephant(_)
        | Condition::StreamSize(..)
        | Condition::GeoIp { .. }
        | Condition::Reputation(_) => false,
    }
}

const IGMP: u8 = 2;

fn protocol(view: &View<'_>) -> Option<u8> {
    view.tuple.map(|tuple| tuple.protocol)
}

fn is_v4(view: &View<'_>) -> bool {
    view.ip.first().is_some_and(|first| first >> 4 == 4)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk::<2>().map(|pair| u16::from_be_bytes(*pair))
}

/// Whether a header's checksum holds; `None` where there is no such header.
fn checksum(view: &View<'_>, of: Summed) -> Option<bool> {
    let wanted = match of {
        Summed::Ipv4 => return is_v4(view).then_some(!view.checksums.bad_ip),
        Summed::Tcp { v6 } => (v6, PROTOCOL_TCP),
        Summed::Udp { v6 } => (v6, PROTOCOL_UDP),
        Summed::Icmp { v6: false } => (false, PROTOCOL_ICMP),
        Summed::Icmp { v6: true } => (true, PROTOCOL_ICMPV6),
    };
    let there = !view.transport.is_empty() && (!is_v4(view), protocol(view)?) == wanted;
    there.then_some(!view.checksums.bad_transport)
}

/// Whether the packet is a call of ONC RPC (RFC 5531, 9) to a procedure; over TCP a record's mark stands before it.
fn rpc(view: &View<'_>, program: u32, version: Option<u32>, procedure: Option<u32>) -> bool {
    let start = match protocol(view) {
        Some(PROTOCOL_TCP) => 4,
        Some(PROTOCOL_UDP) => 0,
        _ => return false,
    };
    let word = |nth: usize| {
        let bytes = view.payload.get(start + nth * 4..)?.first_chunk::<4>()?;
        Some(u32::from_be_bytes(*bytes))
    };
    let fits = |nth: usize, wanted: Option<u32>| wanted.is_none_or(|wanted| word(nth) == Some(wanted));
    // Identifier, kind (0 is a call), version of RPC, program, its version, procedure.
    word(5).is_some()
        && word(1) == Some(0)
        && word(2) == Some(2)
        && word(3) == Some(program)
        && fits(4, version)
        && fits(5, procedure)
}

fn icmp(condition: &Condition, view: &View<'_>) -> bool {
    let is_icmp = matches!(protocol(view), Some(PROTOCOL_ICMP | PROTOCOL_ICMPV6));
    let v6 = protocol(view) == Some(PROTOCOL_ICMPV6);
    let header = if is_icmp { view.transport } else { &[] };
    let byte = |at: usize, bounds: &Bounds| header.get(at).is_some_and(|byte| bounds.contains((*byte).into()));
    // Messages that carry an identifier and a sequence number (RFC 792, RFC 4443).
    let numbered = match header.first() {
        Some(kind) if v6 => matches!(kind, 128 | 129),
        Some(kind) => matches!(kind, 0 | 8 | 13..=18),
        None => false,
    };
    match condition {
        Condition::IcmpType(bounds) => byte(0, bounds),
        Condition::IcmpCode(bounds) => byte(1, bounds),
        Condition::IcmpId(id) => numbered && half(header, 4) == Some(*id),
        Condition::IcmpSequence(sequence) => numbered && half(header, 6) == Some(*sequence),
        Condition::Icmpv6Mtu(bounds) => {
            let mtu = header.get(4..).and_then(|rest| rest.first_chunk::<4>()).map(|word| u32::from_be_bytes(*word));
            v6 && header.first() == Some(&2) && mtu.is_some_and(|mtu| bounds.contains(mtu.into()))
        }
        _ => false,
    }
}

fn ip(condition: &Condition, view: &View<'_>) -> bool {
    let v4 = is_v4(view);
    let field = |at4: usize, at6: usize| view.ip.get(if v4 { at4 } else { at6 }).copied();
    match condition {
        Condition::Ttl(bounds) => field(8, 7).is_some_and(|ttl| bounds.contains(ttl.into())),
        Condition::Tos(bounds) => {
            let tos = match (v4, view.ip) {
                (true, ip) => ip.get(1).copied(),
                // The traffic class lies across the first two bytes.
                (false, [first, second, ..]) => Some(first << 4 | second >> 4),
                (false, _) => None,
            };
            tos.is_some_and(|tos| bounds.contains(tos.into()))
        }
        Condition::IpId(id) => v4 && half(view.ip, 4) == Some(*id),
        Condition::IpProtocol(bounds) => match protocol(view) {
            Some(protocol) => bounds.contains(protocol.into()),
            None => false,
        },
        Condition::SameIp => view.tuple.is_some_and(|tuple| tuple.source == tuple.destination),
        Condition::FragmentBits { mode, bits } => {
            v4 && half(view.ip, 6).is_some_and(|word| fragment_bits(*mode, *bits, (word >> 13) as u8))
        }
        Condition::FragmentOffset(bounds) => {
            v4 && half(view.ip, 6).is_some_and(|word| bounds.contains((word & 0x1fff).into()))
        }
        Condition::IpOption(wanted) => v4 && has_option(view.ip, *wanted),
        _ => false,
    }
}

/// `there`: reserved, don't fragment, more fragments, from the highest bit down (RFC 791, 3.1).
fn fragment_bits(mode: FragmentMode, bits: FragmentBits, there: u8) -> bool {
    let wanted = u8::from(bits.more) | u8::from(bits.dont) << 1 | u8::from(bits.reserved) << 2;
    match mode {
        FragmentMode::Exact => there == wanted,
        FragmentMode::All => there & wanted == wanted,
        FragmentMode::Any => there & wanted != 0,
        FragmentMode::None => there & wanted == 0,
    }
}

/// Walks the options of an IPv4 header.
fn has_option(header: &[u8], wanted: Option<u8>) -> bool {
    let length = header.first().map_or(0, |first| usize::from(first & 0xf) * 4);
    let mut rest = header.get(20..length.min(header.len())).unwrap_or(&[]);
    while let Some(&kind) = rest.first() {
        if wanted.is_none_or(|wanted| wanted == kind) {
            return true;
        }
        let length = match (kind, rest.get(1)) {
            (0, _) => return false,
            (1, _) => 1,
            (_, Some(&length)) if length >= 2 => usize::from(length),
            (_, _) => return false,
        };
        rest = rest.get(length..).unwrap_or(&[]);
    }
    false
}

fn vlan(view: &View<'_>, id: Bounds, layer: Nth) -> bool {
    let tags = view.vlan.get(..usize::from(view.vlans).min(view.vlan.len())).unwrap_or(&[]);
    let fits = |tag: &u16| id.contains((*tag).into());
    match layer {
        Nth::Any => tags.iter().any(fits),
        Nth::All | Nth::AllOfSome => !tags.is_empty() && tags.iter().all(fits),
        Nth::At(n) | Nth::AtOrMissing(n) if n >= 0 => tags.get(n.unsigned_abs() as usize).is_some_and(fits),
        Nth::At(n) | Nth::AtOrMissing(n) => {
            tags.len().checked_sub(n.unsigned_abs() as usize).and_then(|at| tags.get(at)).is_some_and(fits)
        }
        Nth::Count(bounds) => bounds.contains(tags.len() as u64),
    }
}
