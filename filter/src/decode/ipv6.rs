//! IPv6: header and what follows. Extension headers are walked in `extension`.

use std::net::Ipv6Addr;

use super::{Event, Inner, Source, View, Walk, addresses, extension, half, icmp, tcp, tunnel, udp};

/// An IPv6 packet (RFC 8200).
#[inline]
pub(super) fn decode<'p>(walk: &mut Walk<'_>, view: &mut View<'p>, bytes: &'p [u8]) {
    if !walk.enter(view) {
        return;
    }
    let Some((fixed, rest)) = bytes.split_first_chunk::<40>() else {
        view.events.set(Event::Ipv6PacketTooSmall);
        return;
    };
    if fixed[0] >> 4 != 6 {
        view.events.set(Event::Ipv6WrongIpVersion);
        return;
    }
    let length = usize::from(half(fixed, 4));
    let Some(rest) = rest.get(..length) else {
        view.events.set(Event::Ipv6TruncPacket);
        return;
    };
    view.ip = bytes.get(..40).unwrap_or_default();
    let address = |at: usize| {
        let octets: [u8; 16] = fixed.get(at..).and_then(|b| b.first_chunk()).copied().unwrap_or_default();
        Ipv6Addr::from(octets).into()
    };
    view.tuple = Some(addresses(address(8), address(24), fixed[6]));
    match fixed[6] {
        0 | 43 | 44 | 50 | 51 | 59 | 60 | 135 | 139 | 140 => extension::walk(walk, view, bytes, rest, fixed[6]),
        protocol => upper(walk, view, protocol, rest),
    }
}

/// What an IPv6 packet carries after its extension headers.
#[inline]
pub(super) fn upper<'p>(walk: &mut Walk<'_>, view: &mut View<'p>, protocol: u8, rest: &'p [u8]) {
    view.payload = rest;
    if let Some(tuple) = &mut view.tuple {
        tuple.protocol = protocol;
    }
    match protocol {
        6 => tcp::decode(walk, view, rest),
        17 => udp::decode(walk, view, rest),
        58 => icmp::decode_v6(walk, view, rest),
        132 => udp::sctp(view, rest),
        47 => tunnel::gre(walk, view, rest),
        50 => udp::fixed(view, rest, 8, Event::EspPacketTooSmall),
        4 => inside(walk, view, rest, 4),
        41 => inside(walk, view, rest, 6),
        1 => view.events.set(Event::Ipv6Icmpv4),
        59 => {}
        _ => view.events.set(Event::Ipv6UnknownNextHeader),
    }
}

/// IP within IPv6 (RFC 2473).
fn inside(walk: &mut Walk<'_>, view: &mut View<'_>, rest: &[u8], version: u8) {
    let four = version == 4;
    let (kind, shortest) = if four { (0x0800, 20) } else { (0x86dd, 40) };
    if rest.len() < shortest {
        view.events.set(if four { Event::Ipv6Ipv4InIpv6TooSmall } else { Event::Ipv6Ipv6InIpv6TooSmall });
    } else if rest.first().is_none_or(|byte| byte >> 4 != version) {
        view.events.set(if four { Event::Ipv6Ipv4InIpv6WrongVersion } else { Event::Ipv6Ipv6InIpv6WrongVersion });
    } else {
        view.sound = true;
        walk.inner(view, Source::Ipv6, Inner::EtherType(kind), rest);
    }
}
