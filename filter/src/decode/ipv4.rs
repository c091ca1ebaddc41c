//! IPv4: header, options, fragments, and what follows.

use super::{Event, Inner, Source, View, Walk, defrag, half, icmp, tcp, tunnel, tuple_v4, udp};

/// An IPv4 packet (RFC 791).
#[inline]
pub(super) fn decode<'p>(walk: &mut Walk<'_>, view: &mut View<'p>, bytes: &'p [u8]) {
    if !walk.enter(view) {
        return;
    }
    let Some(fixed) = bytes.first_chunk::<20>() else {
        view.events.set(Event::Ipv4PacketTooSmall);
        return;
    };
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    let problem = if fixed[0] >> 4 != 4 {
        Some(Event::Ipv4WrongIpVersion)
    } else if header_len < 20 {
        Some(Event::Ipv4HeaderLenTooSmall)
    } else if total < header_len {
        Some(Event::Ipv4LenSmallerThanHeaderLen)
    } else if bytes.len() < total {
        Some(Event::Ipv4TruncPacket)
    } else {
        None
    };
    if let Some(problem) = problem {
        view.events.set(problem);
        return;
    }
    let (Some(header), Some(rest)) = (bytes.get(..header_len), bytes.get(header_len..total)) else { return };
    view.ip = header;
    // Hosts drop what has options that do not fit, whatever follows.
    if header_len > 20 && !options(view, header.get(20..).unwrap_or_default()) {
        return;
    }
    view.tuple = Some(tuple_v4(fixed));
    if walk.settings.checksums && !weir_wire::checksum::sum(header).is_valid() {
        view.checksums.bad_ip = true;
    }
    let fragment = u16::from_be_bytes([fixed[6], fixed[7]]);
    if fragment & 0x3fff != 0 {
        return fragments(walk, view, fixed, rest);
    }
    protocol(walk, view, fixed[9], rest);
}

/// What an IPv4 packet carries.
#[inline]
fn protocol<'p>(walk: &mut Walk<'_>, view: &mut View<'p>, protocol: u8, rest: &'p [u8]) {
    view.payload = rest;
    match protocol {
        6 => tcp::decode(walk, view, rest),
        17 => udp::decode(walk, view, rest),
        1 => icmp::decode_v4(walk, view, rest),
        132 => udp::sctp(view, rest),
        47 => tunnel::gre(walk, view, rest),
        2 => udp::fixed(view, rest, 8, Event::IgmpPacketTooSmall),
        50 => udp::fixed(view, rest, 8, Event::EspPacketTooSmall),
        4 => {
            view.sound = true;
            walk.inner(view, Source::Ipv4, Inner::EtherType(0x0800), rest);
        }
        41 => {
            view.sound = true;
            walk.inner(view, Source::Ipv4, Inner::EtherType(0x86dd), rest);
        }
        58 => view.events.set(Event::Ipv4Icmpv6),
        _ => {}
    }
}

fn fragments(walk: &mut Walk<'_>, view: &mut View<'_>, fixed: &[u8; 20], rest: &[u8]) {
    view.fragment = true;
    let field = u16::from_be_bytes([fixed[6], fixed[7]]);
    let piece = defrag::Piece {
        offset: u32::from(field & 0x1fff) * 8,
        more: field & 0x2000 != 0,
        id: u32::from(half(fixed, 4)),
        header: view.ip,
        next_at: 9,
        next: fixed[9],
        data: rest,
    };
    if let Some(whole) = walk.defrag.add(view, &piece) {
        walk.whole(view, &whole);
    }
}

/// Options (RFC 791, 3.1): each must fit and hold what its kind wants. `false` where one does not fit.
fn options(view: &mut View<'_>, options: &[u8]) -> bool {
    if !options.len().is_multiple_of(8) {
        view.events.set(Event::Ipv4OptionPadRequired);
    }
    let mut seen = [0u64; 4];
    let mut rest = options;
    while let Some((&kind, after)) = rest.split_first() {
        match kind {
            0 => return true,
            1 => rest = after,
            _ => {
                let Some(&length) = after.first() else {
                    view.events.set(Event::Ipv4OptionEolRequired);
                    return true;
                };
                let Some((option, after)) = rest.split_at_checked(usize::from(length)).filter(|_| length >= 2) else {
                    view.events.set(Event::Ipv4OptionInvalidLen);
                    return false;
                };
                if let Some(problem) = option_problem(kind, option, &mut seen) {
                    view.events.set(problem);
                }
                rest = after;
            }
        }
    }
    true
}

/// What is wrong with one option of at least two bytes.
fn option_problem(kind: u8, option: &[u8], seen: &mut [u64; 4]) -> Option<Event> {
    let known = matches!(kind, 7 | 25 | 68 | 130 | 131 | 133 | 134 | 136 | 137 | 148);
    if !known {
        return Some(Event::Ipv4OptionInvalid);
    }
    if let Some(word) = seen.get_mut(usize::from(kind) / 64) {
        let bit = 1 << (kind % 64);
        if *word & bit != 0 {
            return Some(Event::Ipv4OptionDuplicate);
        }
        *word |= bit;
    }
    let pointer = usize::from(option.get(2).copied().unwrap_or(0));
    let bad_length = |wanted: usize| (option.len() != wanted).then_some(Event::Ipv4OptionInvalidLen);
    match kind {
        25 => bad_length(8),
        130 => bad_length(11),
        136 | 148 => bad_length(4),
        7 | 131 | 137 if option.len() < 3 => Some(Event::Ipv4OptionInvalidLen),
        7 | 131 | 137 => {
            let wrong = pointer < 4 || !pointer.is_multiple_of(4) || pointer > option.len() + 1;
            wrong.then_some(Event::Ipv4OptionMalformed)
        }
        68 if option.len() < 4 => Some(Event::Ipv4OptionInvalidLen),
        68 => {
            let record = if matches!(option.get(3).map(|f| f & 0x0f), Some(1 | 3)) { 8 } else { 4 };
            let wrong = pointer < 5 || !(pointer - 5).is_multiple_of(record) || pointer > option.len() + 1;
            wrong.then_some(Event::Ipv4OptionMalformed)
        }
        134 if option.len() < 8 => Some(Event::Ipv4OptionInvalidLen),
        134 => cipso_problem(option.get(6..).unwrap_or_default()),
        _ => None,
    }
}

/// CIPSO's tags: of one of the kinds that are defined, and each within the option.
fn cipso_problem(mut tags: &[u8]) -> Option<Event> {
    while let [kind, length, ..] = *tags {
        let length = usize::from(length);
        if !matches!(kind, 1 | 2 | 5 | 6 | 7) || length < 4 || length > tags.len() {
            return Some(Event::Ipv4OptionMalformed);
        }
        tags = tags.get(length..).unwrap_or_default();
    }
    (!tags.is_empty()).then_some(Event::Ipv4OptionMalformed)
}
