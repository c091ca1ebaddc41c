//! Tunnels: GRE (RFC 2784, 2890, 2637), ERSPAN, VXLAN (RFC 7348), Geneve (RFC 8926), Teredo (RFC 4380).

use super::{Event, Inner, Source, View, Walk, half, ipv6, tags, word};

/// ERSPAN of type II.
pub(super) const ERSPAN_2: u16 = 0x88be;
/// ERSPAN of type III.
pub(super) const ERSPAN_3: u16 = 0x22eb;
const PPP: u16 = 0x880b;
const BRIDGED: u16 = 0x6558;

const CHECKSUM: u16 = 0x8000;
const ROUTING: u16 = 0x4000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
const STRICT: u16 = 0x0800;
const RECURSION: u16 = 0x0700;
const ACKNOWLEDGMENT: u16 = 0x0080;

/// GRE of either version.
pub(super) fn gre<'p>(walk: &mut Walk<'_>, view: &mut View<'p>, bytes: &'p [u8]) {
    if !walk.enter(view) {
        return;
    }
    if bytes.len() < 4 {
        view.events.set(Event::GrePacketTooSmall);
        return;
    }
    let (flags, kind) = (half(bytes, 0), half(bytes, 2));
    let length = match flags & 7 {
        0 => version_0(view, bytes, flags),
        1 => version_1(view, bytes, flags, kind),
        _ => {
            view.events.set(Event::GreWrongVersion);
            return;
        }
    };
    let Some((header, payload)) = length.and_then(|length| bytes.split_at_checked(length)) else { return };
    (view.transport, view.payload, view.sound) = (header, payload, true);
    match kind {
        kind if tags::is_erspan(kind) => erspan(walk, view, payload, kind, flags & SEQUENCE != 0),
        BRIDGED => walk.inner(view, Source::Gre, Inner::Ethernet, payload),
        PPP => walk.inner(view, Source::Gre, Inner::EtherType(PPP), payload),
        0x0800 | 0x86dd | 0x8100 | 0x88a8 | 0x8847 | 0x8848 => {
            walk.inner(view, Source::Gre, Inner::EtherType(kind), payload)
        }
        _ => {}
    }
}

/// The header's length in version 0.
fn version_0(view: &mut View<'_>, bytes: &[u8], flags: u16) -> Option<usize> {
    if flags & RECURSION != 0 {
        view.events.set(Event::GreVersion0Recursion);
        return None;
    }
    if flags & 0x00f8 != 0 {
        view.events.set(Event::GreVersion0Flags);
        return None;
    }
    let mut length = 4;
    length += if flags & (CHECKSUM | ROUTING) != 0 { 4 } else { 0 };
    length += if flags & KEY != 0 { 4 } else { 0 };
    length += if flags & SEQUENCE != 0 { 4 } else { 0 };
    if length > bytes.len() {
        view.events.set(Event::GreVersion0HeaderTooBig);
        return None;
    }
    if flags & ROUTING != 0 { routed(view, bytes, length) } else { Some(length) }
}

/// Where the header ends after its source route entries (RFC 1701): family, offset, length; an empty one is the last.
fn routed(view: &mut View<'_>, bytes: &[u8], mut length: usize) -> Option<usize> {
    // Each turn uses four bytes at least.
    loop {
        let Some(entry) = bytes.get(length..length + 4) else {
            view.events.set(Event::GreVersion0MalformedSreHeader);
            return None;
        };
        length += 4;
        let size = usize::from(entry.get(3).copied().unwrap_or(0));
        if half(entry, 0) == 0 && size == 0 {
            return Some(length);
        }
        length += size;
        if length > bytes.len() {
            view.events.set(Event::GreVersion0MalformedSreHeader);
            return None;
        }
    }
}

/// The header's length in version 1, which carries PPP.
fn version_1(view: &mut View<'_>, bytes: &[u8], flags: u16, kind: u16) -> Option<usize> {
    let problem = if flags & CHECKSUM != 0 {
        Some(Event::GreVersion1Checksum)
    } else if flags & ROUTING != 0 {
        Some(Event::GreVersion1Route)
    } else if flags & STRICT != 0 {
        Some(Event::GreVersion1Ssr)
    } else if flags & RECURSION != 0 {
        Some(Event::GreVersion1Recursion)
    } else if flags & 0x0078 != 0 {
        Some(Event::GreVersion1Flags)
    } else if kind != PPP {
        Some(Event::GreVersion1WrongProtocol)
    } else if flags & KEY == 0 {
        Some(Event::GreVersion1NoKey)
    } else {
        None
    };
    if let Some(problem) = problem {
        view.events.set(problem);
        return None;
    }
    let length = 8 + if flags & SEQUENCE != 0 { 4 } else { 0 } + if flags & ACKNOWLEDGMENT != 0 { 4 } else { 0 };
    if length > bytes.len() {
        view.events.set(Event::GreVersion1HeaderTooBig);
        return None;
    }
    Some(length)
}

/// A mirrored frame. Without GRE's sequence number it is type I, which has no header of its own.
fn erspan(walk: &mut Walk<'_>, view: &mut View<'_>, payload: &[u8], kind: u16, numbered: bool) {
    if !numbered && kind == ERSPAN_2 {
        return walk.inner(view, Source::Gre, Inner::Ethernet, payload);
    }
    let (version, length) = (half(payload, 0) >> 12, if kind == ERSPAN_2 { 8 } else { 12 });
    let Some(frame) = payload.get(length..) else {
        view.events.set(Event::ErspanHeaderTooSmall);
        return;
    };
    // Type II says 1, type III says 2.
    if version != if kind == ERSPAN_2 { 1 } else { 2 } {
        view.events.set(Event::ErspanUnsupportedVersion);
        return;
    }
    let more = if kind == ERSPAN_3 && half(payload, 10) & 1 == 1 { 8 } else { 0 };
    walk.inner(view, Source::Gre, Inner::Ethernet, frame.get(more..).unwrap_or_default());
}

/// VXLAN over UDP: eight bytes of header with the flag of a valid network identifier.
pub(super) fn vxlan(walk: &mut Walk<'_>, view: &mut View<'_>) {
    let Some((header, frame)) = view.payload.split_first_chunk::<8>() else { return };
    if header[0] & 0x08 == 0 || frame.len() < 14 {
        return;
    }
    match half(frame, 12) {
        0x0800 | 0x86dd | 0x8100 | 0x88a8 | 0x0806 | 0x8864 | 0x8863 => {
            walk.inner(view, Source::Vxlan, Inner::Ethernet, frame)
        }
        _ => view.events.set(Event::VxlanUnknownPayloadType),
    }
}

/// Geneve over UDP.
pub(super) fn geneve(walk: &mut Walk<'_>, view: &mut View<'_>) {
    let Some(&[first, _, high, low, ..]) = view.payload.first_chunk::<8>() else { return };
    if first >> 6 != 0 {
        return;
    }
    let Some(inside) = view.payload.get(8 + usize::from(first & 0x3f) * 4..) else { return };
    match u16::from_be_bytes([high, low]) {
        BRIDGED => walk.inner(view, Source::Geneve, Inner::Ethernet, inside),
        kind @ (0x0800 | 0x86dd | 0x0806) => walk.inner(view, Source::Geneve, Inner::EtherType(kind), inside),
        _ => view.events.set(Event::GeneveUnknownPayloadType),
    }
}

/// Teredo over UDP: IPv6, with headers of authentication and origin before it. The ports are anybody's, so what does
/// not look like IPv6 of exactly this length is none.
pub(super) fn teredo(walk: &mut Walk<'_>, view: &mut View<'_>) {
    let mut rest = view.payload;
    if half(rest, 0) == 1 && rest.len() >= 4 {
        let (client, auth) = (half(rest, 2) >> 8, half(rest, 2) & 0xff);
        let Some(after) = rest.get(13 + usize::from(client) + usize::from(auth)..) else { return };
        rest = after;
    }
    if rest.len() >= 8 && half(rest, 0) == 0 {
        rest = rest.get(8..).unwrap_or_default();
    }
    let length = usize::from(half(rest, 4));
    if rest.len() < 40 || word(rest, 0) >> 28 != 6 || rest.len() != 40 + length {
        return;
    }
    let next = rest.get(6).copied().unwrap_or(59);
    let known = matches!(next, 0 | 4 | 6 | 17 | 41 | 43 | 44 | 47 | 50 | 51 | 58 | 59 | 60 | 132);
    if !known {
        return;
    }
    let mut inner = View {
        time: view.time,
        frame: rest,
        link: super::Link::Raw,
        depth: view.depth.saturating_add(1),
        source: Source::Teredo,
        outer: view.outer.or(view.tuple),
        ..View::default()
    };
    ipv6::decode(walk, &mut inner, rest);
    view.opened = inner.tuple.is_some();
    walk.emit(&mut inner);
}
