//! ICMP (RFC 792) and ICMPv6 (RFC 4443 and its extensions): what is odd, and what errors quote.

use std::net::Ipv6Addr;

use super::{Event, View, Walk, addresses, half, pseudo, set_ports, tuple_v4};
use crate::event::Tuple;

/// An ICMP message.
#[inline]
pub(super) fn decode_v4<'p>(walk: &mut Walk<'_>, view: &mut View<'p>, bytes: &'p [u8]) {
    view.transport = bytes;
    view.payload = &[];
    let Some(&[kind, code, ..]) = bytes.first_chunk::<8>() else {
        view.events.set(Event::Icmpv4PacketTooSmall);
        return;
    };
    set_ports(view, kind.into(), code.into());
    let (header, rest) = bytes.split_at_checked(8).unwrap_or_default();
    (view.transport, view.payload, view.sound) = (header, rest, true);
    if walk.settings.checksums {
        view.checksums.bad_transport = !weir_wire::checksum::sum(bytes).is_valid();
    }
    match kind {
        0 | 8 | 15 | 16 if code != 0 => view.events.set(Event::Icmpv4UnknownCode),
        13 | 14 => {
            if code != 0 {
                view.events.set(Event::Icmpv4UnknownCode);
            }
            // Three times follow (RFC 792).
            if rest.len() < 12 {
                view.events.set(Event::Icmpv4Ipv4TruncPacket);
            }
        }
        0 | 8 | 9 | 10 | 15..=18 => {}
        3 | 4 | 5 | 11 | 12 => {
            let codes = match kind {
                3 => 16,
                4 => 1,
                5 => 4,
                11 => 2,
                _ => 3,
            };
            if code >= codes {
                view.events.set(Event::Icmpv4UnknownCode);
            }
            quoted_v4(view, rest);
        }
        _ => view.events.set(Event::Icmpv4UnknownType),
    }
}

/// The IPv4 packet that an error quotes.
fn quoted_v4(view: &mut View<'_>, quoted: &[u8]) {
    let Some((fixed, _)) = quoted.split_first_chunk::<20>() else {
        if !quoted.is_empty() {
            view.events.set(Event::Icmpv4Ipv4TruncPacket);
        }
        return;
    };
    if fixed[0] >> 4 != 4 {
        view.events.set(Event::Icmpv4Ipv4UnknownVersion);
        return;
    }
    let Some(rest) = quoted.get(usize::from(fixed[0] & 0x0f) * 4..).filter(|_| fixed[0] & 0x0f >= 5) else {
        view.events.set(Event::Icmpv4Ipv4TruncPacket);
        return;
    };
    view.quoted = quoted_ports(tuple_v4(fixed), rest);
}

/// Ports of a quoted packet; `None` where it names no flow.
fn quoted_ports(mut tuple: Tuple, rest: &[u8]) -> Option<Tuple> {
    let start = rest.first_chunk::<4>()?;
    (tuple.source_port, tuple.destination_port) = match tuple.protocol {
        6 | 17 | 132 => (half(start, 0), half(start, 2)),
        1 | 58 => (start[0].into(), start[1].into()),
        _ => return None,
    };
    Some(tuple)
}

/// An ICMPv6 message.
#[inline]
pub(super) fn decode_v6<'p>(walk: &mut Walk<'_>, view: &mut View<'p>, bytes: &'p [u8]) {
    view.transport = bytes;
    view.payload = &[];
    let Some(&[kind, code, ..]) = bytes.first_chunk::<8>() else {
        view.events.set(Event::Icmpv6PacketTooSmall);
        return;
    };
    set_ports(view, kind.into(), code.into());
    let (header, rest) = bytes.split_at_checked(8).unwrap_or_default();
    (view.transport, view.payload, view.sound) = (header, rest, true);
    if walk.settings.checksums {
        let whole = pseudo(view, bytes.len()).map(|sum| sum.and(weir_wire::checksum::sum(bytes)));
        view.checksums.bad_transport = !whole.is_some_and(|sum| sum.is_valid());
    }
    match kind {
        1..=4 => {
            let codes = [8, 1, 2, 4].get(usize::from(kind) - 1).copied().unwrap_or(0);
            if code >= codes {
                view.events.set(Event::Icmpv6UnknownCode);
            }
            quoted_v6(view, rest);
        }
        128 | 129 | 133..=137 | 141..=143 | 148 | 149 | 151..=153 | 157 | 158 if code != 0 => {
            view.events.set(Event::Icmpv6UnknownCode)
        }
        // Queries about listeners never leave the link (RFC 2710, 3).
        130..=132 => {
            if code != 0 {
                view.events.set(Event::Icmpv6UnknownCode);
            }
            if view.ip.get(7).is_some_and(|&hops| hops != 1) {
                view.events.set(Event::Icmpv6MldMessageWithInvalidHl);
            }
        }
        128..=158 => {}
        100 | 101 | 200 | 201 => view.events.set(Event::Icmpv6ExperimentationType),
        0 | 5..=99 | 102..=126 | 159..=199 | 202..=254 => view.events.set(Event::Icmpv6UnassignedType),
        127 | 255 => view.events.set(Event::Icmpv6UnknownType),
    }
}

/// The IPv6 packet that an error quotes.
fn quoted_v6(view: &mut View<'_>, quoted: &[u8]) {
    let Some((fixed, rest)) = quoted.split_first_chunk::<40>() else {
        view.events.set(Event::Icmpv6Ipv6TruncPacket);
        return;
    };
    if fixed[0] >> 4 != 6 {
        view.events.set(Event::Icmpv6Ipv6UnknownVersion);
        return;
    }
    let address = |at: usize| {
        let octets: [u8; 16] = fixed.get(at..).and_then(|b| b.first_chunk()).copied().unwrap_or_default();
        Ipv6Addr::from(octets).into()
    };
    view.quoted = quoted_ports(addresses(address(8), address(24), fixed[6]), rest);
}
