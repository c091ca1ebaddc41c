//! IPv6 extension headers (RFC 8200, 4; RFC 4302; RFC 6275; RFC 5533).

use super::{Event, View, Walk, defrag, half, ipv6, word};

/// Which headers were met.
#[derive(Default)]
struct Met {
    hop_by_hop: bool,
    routing: bool,
    auth: bool,
    fragment: bool,
    destination: u8,
}

/// Walks the headers after the fixed one. `packet` begins with that, `rest` follows it.
pub(super) fn walk<'p>(walk: &mut Walk<'_>, view: &mut View<'p>, packet: &'p [u8], rest: &'p [u8], first: u8) {
    let mut met = Met::default();
    let (mut next, mut rest) = (first, rest);
    // Where the number of the header at hand stands in the packet.
    let mut next_at = 6;
    // Each turn uses eight bytes at least.
    loop {
        let at = 40 + (usize::from(half(packet, 4)) - rest.len().min(usize::from(half(packet, 4))));
        view.ip = packet.get(..at).unwrap_or(packet);
        if let Some(tuple) = &mut view.tuple {
            tuple.protocol = next;
        }
        if next == 59 {
            if !rest.is_empty() {
                view.events.set(Event::Ipv6DataAfterNoneHeader);
            }
            return;
        }
        if !matches!(next, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140) {
            if rest.len() < 2 {
                view.events.set(Event::Ipv6TruncExt);
                return;
            }
            return ipv6::upper(walk, view, next, rest);
        }
        let Some(&[following, length]) = rest.first_chunk::<2>() else {
            view.events.set(Event::Ipv6TruncExt);
            return;
        };
        let size = match next {
            44 => 8,
            51 => 12 + usize::from(length).saturating_sub(1) * 4,
            _ => 8 + usize::from(length) * 8,
        };
        let Some((header, after)) = rest.split_at_checked(size) else {
            view.events.set(Event::Ipv6TruncExt);
            return;
        };
        if next == 44 {
            if length != 0 {
                view.events.set(Event::Ipv6FragmentHeaderNonZeroReservedField);
            }
            if !met.fragment {
                met.fragment = true;
                if is_fragment(view, header, rest) {
                    let cut =
                        Cut { unfragmentable: packet.get(..at).unwrap_or_default(), next_at, header, data: after };
                    return fragment(walk, view, &cut);
                }
            } else {
                view.events.set(Event::Ipv6ExtDupFragmentHeader);
            }
        } else {
            look(view, &mut met, next, header);
        }
        (next, rest, next_at) = (following, after, at);
    }
}

/// Whether the fragment header cuts anything; one that does not is odd (an atomic fragment, RFC 6946).
fn is_fragment(view: &mut View<'_>, header: &[u8], rest: &[u8]) -> bool {
    let field = half(header, 2);
    if field & 0xfff9 == 0 {
        view.events.set(Event::Ipv6ExtUselessFragmentHeader);
        return false;
    }
    if field & 1 != 0 && !rest.len().is_multiple_of(8) {
        view.events.set(Event::Ipv6FragmentInvalidLength);
    }
    true
}

/// A fragment within its packet.
struct Cut<'p> {
    unfragmentable: &'p [u8],
    next_at: usize,
    header: &'p [u8],
    data: &'p [u8],
}

fn fragment(walk: &mut Walk<'_>, view: &mut View<'_>, cut: &Cut<'_>) {
    view.fragment = true;
    let field = half(cut.header, 2);
    let piece = defrag::Piece {
        offset: u32::from(field & 0xfff8),
        more: field & 1 != 0,
        id: word(cut.header, 4),
        header: cut.unfragmentable,
        next_at: cut.next_at,
        next: cut.header.first().copied().unwrap_or(59),
        data: cut.data,
    };
    if let Some(whole) = walk.defrag.add(view, &piece) {
        walk.whole(view, &whole);
    }
}

/// What is odd about a header that is skipped.
fn look(view: &mut View<'_>, met: &mut Met, kind: u8, header: &[u8]) {
    match kind {
        0 if std::mem::replace(&mut met.hop_by_hop, true) => view.events.set(Event::Ipv6ExtDupHopByHop),
        43 if std::mem::replace(&mut met.routing, true) => view.events.set(Event::Ipv6ExtDupRoutingHeader),
        43 if header.get(2) == Some(&0) => view.events.set(Event::Ipv6RoutingHeaderType0),
        // Before a routing header and at the end: twice is allowed.
        60 if met.destination >= 2 => view.events.set(Event::Ipv6ExtDupDestination),
        0 | 60 => {
            met.destination += u8::from(kind == 60);
            options(view, kind, header.get(2..).unwrap_or_default());
        }
        51 => {
            if half(header, 2) != 0 {
                view.events.set(Event::Ipv6ExtAuthReservedNotNull);
            }
            if std::mem::replace(&mut met.auth, true) {
                view.events.set(Event::Ipv6ExtDupAuth);
            }
        }
        _ => {}
    }
}

/// Options of a hop-by-hop or destination header.
fn options(view: &mut View<'_>, kind: u8, options: &[u8]) {
    let (mut padding, mut others) = (0, 0);
    let mut rest = options;
    while let Some((&option, after)) = rest.split_first() {
        if option == 0 {
            padding += 1;
            rest = after;
            continue;
        }
        let Some((&length, data)) = after.split_first() else {
            view.events.set(Event::Ipv6ExtInvalidOptionLen);
            return;
        };
        let Some(after) = data.get(usize::from(length)..) else {
            view.events.set(Event::Ipv6ExtInvalidOptionLen);
            return;
        };
        // Router alert (RFC 2711), jumbo payload (RFC 2675), home address (RFC 6275).
        let shortest = match option {
            1 => {
                padding += 1;
                if length == 0 {
                    view.events.set(Event::Ipv6ZeroLenPadn);
                }
                0
            }
            0x05 => 2,
            0xc2 => 4,
            0xc9 => 16,
            _ => {
                let unknown = if kind == 0 {
                    Event::Ipv6HopOptionsUnknownOption
                } else {
                    Event::Ipv6DestinationOptionsUnknownOption
                };
                view.events.set(unknown);
                0
            }
        };
        if length < shortest {
            view.events.set(Event::Ipv6ExtInvalidOptionLen);
            return;
        }
        others += u32::from(!matches!(option, 1 | 0xc2));
        rest = after;
    }
    if padding > 0 && others == 0 {
        let only = if kind == 0 { Event::Ipv6HopOptionsOnlyPadding } else { Event::Ipv6DestinationOptionsOnlyPadding };
        view.events.set(only);
    }
}
