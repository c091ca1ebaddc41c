//! What stands between a link's header and IP: VLAN and other tags, MPLS, PPPoE, ARP, service headers.

use super::link::{ethernet, ppp, ppp_protocol};
use super::{Event, View, Walk, half, ipv4, ipv6, tunnel, word};

/// VLAN tags that are told apart.
const VLANS: u8 = 3;

/// What an EtherType names.
#[inline]
pub(super) fn network<'p>(walk: &mut Walk<'_>, view: &mut View<'p>, kind: u16, bytes: &'p [u8]) {
    match kind {
        0x0800 => ipv4::decode(walk, view, bytes),
        0x86dd => ipv6::decode(walk, view, bytes),
        0x8100 | 0x88a8 | 0x9100 => vlan(walk, view, bytes),
        0x88e7 => backbone(walk, view, bytes),
        0x8926 => tag(walk, view, bytes, 6, 4, Event::VntagHeaderTooSmall),
        0x893f => tag(walk, view, bytes, 8, 6, Event::EtagHeaderTooSmall),
        0x8847 | 0x8848 => mpls(walk, view, bytes),
        0x8863 => discovery(view, bytes),
        0x8864 => session(walk, view, bytes),
        // Cisco's fabric path: a whole frame after two more bytes of ours.
        0x8903 if bytes.len() < 2 => view.events.set(Event::DcePacketTooSmall),
        0x8903 => ethernet(walk, view, bytes.get(2..).unwrap_or_default()),
        0x894f => service_header(walk, view, bytes),
        0x0806 => arp(view, bytes),
        0x6558 => ethernet(walk, view, bytes),
        0x880b => ppp(walk, view, bytes),
        // Lengths (IEEE 802.3), and protocols that are known and not looked into.
        0..=0x05ff | 0x8035 | 0x809b | 0x80f3 | 0x8137 | 0x8808 | 0x8809 | 0x888e | 0x88cc | 0x9000 => {}
        _ if view.vlans > 0 => view.events.set(Event::VlanUnknownType),
        _ => view.events.set(Event::EthernetUnknownEthertype),
    }
}

/// IEEE 802.1Q and 802.1ad.
fn vlan<'p>(walk: &mut Walk<'_>, view: &mut View<'p>, bytes: &'p [u8]) {
    if !walk.enter(view) {
        return;
    }
    let Some((&[high, low, kind_high, kind_low], rest)) = bytes.split_first_chunk::<4>() else {
        view.events.set(Event::VlanHeaderTooSmall);
        return;
    };
    if view.vlans >= VLANS {
        view.events.set(Event::VlanTooManyLayers);
        return;
    }
    if let Some(slot) = view.vlan.get_mut(usize::from(view.vlans)) {
        *slot = u16::from_be_bytes([high, low]) & 0x0fff;
    }
    view.vlans += 1;
    network(walk, view, u16::from_be_bytes([kind_high, kind_low]), rest);
}

/// IEEE 802.1ah: a service tag, then the customer's Ethernet header.
fn backbone<'p>(walk: &mut Walk<'_>, view: &mut View<'p>, bytes: &'p [u8]) {
    match bytes.split_at_checked(18) {
        Some((header, rest)) if walk.enter(view) => network(walk, view, half(header, 16), rest),
        Some(_) => {}
        None => view.events.set(Event::BackboneTagHeaderTooSmall),
    }
}

/// A tag of `length` bytes with the next EtherType at `at`.
fn tag<'p>(walk: &mut Walk<'_>, view: &mut View<'p>, bytes: &'p [u8], length: usize, at: usize, short: Event) {
    match bytes.split_at_checked(length) {
        Some((header, rest)) if walk.enter(view) => network(walk, view, half(header, at), rest),
        Some(_) => {}
        None => view.events.set(short),
    }
}

/// MPLS (RFC 3032): labels down to the bottom of the stack; what follows is guessed from its first half byte.
fn mpls<'p>(walk: &mut Walk<'_>, view: &mut View<'p>, bytes: &'p [u8]) {
    if !walk.enter(view) {
        return;
    }
    let mut bytes = bytes;
    let label = loop {
        let Some((_, rest)) = bytes.split_first_chunk::<4>() else {
            view.events.set(Event::MplsHeaderTooSmall);
            return;
        };
        let entry = word(bytes, 0);
        bytes = rest;
        if entry & 0x100 != 0 {
            break entry >> 12;
        }
    };
    match label {
        0 => return ipv4::decode(walk, view, bytes),
        2 => return ipv6::decode(walk, view, bytes),
        // RFC 3032: never at the bottom of the stack, never on the wire, not given out.
        1 => return view.events.set(Event::MplsBadLabelRouterAlert),
        3 => return view.events.set(Event::MplsBadLabelImplicitNull),
        4..=15 => return view.events.set(Event::MplsBadLabelReserved),
        _ => {}
    }
    if bytes.len() < 4 {
        view.events.set(Event::MplsPacketTooSmall);
        return;
    }
    match bytes.first().map_or(0xf, |byte| byte >> 4) {
        // A control word, and after it Ethernet (RFC 4448).
        0 => ethernet(walk, view, bytes.get(4..).unwrap_or_default()),
        4 => ipv4::decode(walk, view, bytes),
        6 => ipv6::decode(walk, view, bytes),
        _ if bytes.len() > 14 && matches!(half(bytes, 12), 0x0800 | 0x86dd | 0x8100 | 0x0806) => {
            ethernet(walk, view, bytes)
        }
        _ => view.events.set(Event::MplsUnknownPayloadType),
    }
}

/// PPPoE's discovery stage (RFC 2516): its tags must fit.
fn discovery(view: &mut View<'_>, bytes: &[u8]) {
    let Some((&[_, code, _, _, high, low], rest)) = bytes.split_first_chunk::<6>() else {
        view.events.set(Event::PppoePacketTooSmall);
        return;
    };
    if !matches!(code, 0x07 | 0x09 | 0x19 | 0x65 | 0xa7) {
        view.events.set(Event::PppoeWrongCode);
        return;
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    let Some(mut tags) = rest.get(..length) else {
        view.events.set(Event::PppoeMalformedTags);
        return;
    };
    // Four bytes at least are used each time.
    while let Some((_, rest)) = tags.split_first_chunk::<4>() {
        let (kind, length) = (half(tags, 0), usize::from(half(tags, 2)));
        match rest.get(length..) {
            Some(_) if kind == 0 => return,
            Some(rest) => tags = rest,
            None => {
                view.events.set(Event::PppoeMalformedTags);
                return;
            }
        }
    }
}

/// PPPoE's session stage.
fn session<'p>(walk: &mut Walk<'_>, view: &mut View<'p>, bytes: &'p [u8]) {
    if !walk.enter(view) {
        return;
    }
    let Some((&[_, code, _, _, high, low], rest)) = bytes.split_first_chunk::<6>() else {
        view.events.set(Event::PppoePacketTooSmall);
        return;
    };
    if code != 0 {
        view.events.set(Event::PppoeWrongCode);
        return;
    }
    // The length counts the PPP protocol.
    let length = usize::from(u16::from_be_bytes([high, low]));
    match rest.get(..length).unwrap_or(rest) {
        // A protocol of one byte is odd (RFC 1661, 2).
        [p, rest @ ..] if p & 1 == 1 => ppp_protocol(walk, view, u16::from(*p), rest),
        [p, q, rest @ ..] => ppp_protocol(walk, view, u16::from_be_bytes([*p, *q]), rest),
        _ => view.events.set(Event::PppoePacketTooSmall),
    }
}

/// The network service header (RFC 8300).
fn service_header<'p>(walk: &mut Walk<'_>, view: &mut View<'p>, bytes: &'p [u8]) {
    if !walk.enter(view) {
        return;
    }
    let Some(&[first, second, kind, protocol, ..]) = bytes.first_chunk::<8>() else {
        view.events.set(Event::NshHeaderTooSmall);
        return;
    };
    let length = usize::from(second & 0x3f) * 4;
    if first >> 6 != 0 {
        view.events.set(Event::NshUnsupportedVersion);
    } else if length < 8 || length >= bytes.len() || (kind & 0x0f == 1 && length != 24) {
        view.events.set(Event::NshBadHeaderLength);
    } else if kind & 0x0f == 0 {
        view.events.set(Event::NshReservedType);
    } else if !matches!(kind & 0x0f, 1 | 2) {
        view.events.set(Event::NshUnsupportedType);
    } else {
        let rest = bytes.get(length..).unwrap_or_default();
        match protocol {
            1 => ipv4::decode(walk, view, rest),
            2 => ipv6::decode(walk, view, rest),
            3 => ethernet(walk, view, rest),
            5 => mpls(walk, view, rest),
            _ => view.events.set(Event::NshUnknownPayload),
        }
    }
}

/// ARP for IPv4 over Ethernet (RFC 826): looked at for what is odd only.
fn arp(view: &mut View<'_>, bytes: &[u8]) {
    let Some(header) = bytes.get(..28) else {
        view.events.set(Event::ArpPacketTooSmall);
        return;
    };
    let (hardware, protocol, sizes, operation) = (half(header, 0), half(header, 2), half(header, 4), half(header, 6));
    if hardware != 1 {
        view.events.set(Event::ArpUnsupportedHardware);
    } else if protocol != 0x0800 {
        view.events.set(Event::ArpUnsupportedProtocol);
    } else if sizes >> 8 != 6 {
        view.events.set(Event::ArpInvalidHardwareSize);
    } else if sizes & 0xff != 4 {
        view.events.set(Event::ArpInvalidProtocolSize);
    } else if !(1..=10).contains(&operation) {
        view.events.set(Event::ArpUnsupportedOpcode);
    }
}

/// GRE's and ERSPAN's payloads name EtherTypes as well.
pub(super) fn is_erspan(kind: u16) -> bool {
    matches!(kind, tunnel::ERSPAN_2 | tunnel::ERSPAN_3)
}
