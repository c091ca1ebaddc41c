//! TCP's header and options (RFC 9293, 7323, 2018, 7413, 2385, 5925).

use super::{Event, View, Walk, half, pseudo, set_ports, word};

/// Fields of a TCP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Flags, CWR..FIN.
    pub flags: u8,
    /// Window as it stands in the header.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Options.
    pub options: Options,
}

/// Options of a TCP header, as far as somebody asks for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Maximum segment size.
    pub mss: Option<u16>,
    /// Window scale.
    pub window_scale: Option<u8>,
    /// Timestamp and its echo.
    pub timestamps: Option<(u32, u32)>,
    /// Selective acknowledgment is permitted.
    pub sack_permitted: bool,
    /// A fast open request or cookie: so many bytes of cookie.
    pub fast_open: Option<u8>,
    /// An MD5 signature or authentication option.
    pub signed: bool,
}

/// TCP's flags by name.
#[allow(missing_docs, reason = "the names are those of RFC 9293")]
pub mod flag {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
    pub const URG: u8 = 0x20;
    pub const ECE: u8 = 0x40;
    pub const CWR: u8 = 0x80;
}

/// A TCP segment.
#[inline]
pub(super) fn decode<'p>(walk: &mut Walk<'_>, view: &mut View<'p>, bytes: &'p [u8]) {
    view.transport = bytes;
    view.payload = &[];
    let Some(fixed) = bytes.first_chunk::<20>() else {
        view.events.set(Event::TcpPacketTooSmall);
        return;
    };
    let header_len = usize::from(fixed[12] >> 4) * 4;
    let Some((header, payload)) = bytes.split_at_checked(header_len) else {
        view.events.set(Event::TcpHeaderLenTooSmall);
        return;
    };
    if header_len < 20 {
        view.events.set(Event::TcpInvalidOptionLen);
        return;
    }
    (view.transport, view.payload, view.sound) = (header, payload, true);
    set_ports(view, half(fixed, 0), half(fixed, 2));
    view.tcp = Some(Tcp {
        seq: word(fixed, 4),
        ack: word(fixed, 8),
        flags: fixed[13],
        window: half(fixed, 14),
        urgent: half(fixed, 18),
        options: if header_len > 20 { options(view, header.get(20..).unwrap_or_default()) } else { Options::default() },
    });
    if walk.settings.checksums {
        let whole = pseudo(view, bytes.len()).map(|sum| sum.and(weir_wire::checksum::sum(bytes)));
        view.checksums.bad_transport = !whole.is_some_and(|sum| sum.is_valid());
    }
}

fn options(view: &mut View<'_>, bytes: &[u8]) -> Options {
    let mut found = Options::default();
    // The usual one of segments with data: two fillers, then timestamps.
    if let &[1, 1, 8, 10, a, b, c, d, e, f, g, h] = bytes {
        found.timestamps = Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])));
        return found;
    }
    let mut seen = 0u64;
    let mut rest = bytes;
    while let Some((&kind, after)) = rest.split_first() {
        if kind == 0 {
            break;
        }
        if kind == 1 {
            rest = after;
            continue;
        }
        let Some(&length) = after.first() else { break };
        let Some((option, after)) = rest.split_at_checked(usize::from(length)).filter(|_| length >= 2) else {
            view.events.set(Event::TcpOptionInvalidLen);
            break;
        };
        option_into(view, &mut found, &mut seen, option);
        rest = after;
    }
    found
}

/// Takes one option of two bytes at least; the first of a kind counts.
fn option_into(view: &mut View<'_>, found: &mut Options, seen: &mut u64, option: &[u8]) {
    let (kind, length) = (option.first().copied().unwrap_or(0), option.len());
    let fits = match kind {
        2 => length == 4,
        3 => length == 3,
        4 => length == 2,
        // An empty record of selective acknowledgments says nothing, and is seen in practice.
        5 => length == 2 || ((10..=34).contains(&length) && (length - 2).is_multiple_of(8)),
        8 => length == 10,
        19 => length == 18,
        29 => length >= 4,
        34 => length == 2 || ((6..=18).contains(&length) && length.is_multiple_of(2)),
        253 | 254 => length >= 4,
        _ => return,
    };
    if !fits {
        view.events.set(Event::TcpOptionInvalidLen);
        return;
    }
    if kind < 64 {
        if *seen >> kind & 1 == 1 {
            view.events.set(Event::TcpOptionDuplicate);
            return;
        }
        *seen |= 1 << kind;
    }
    match kind {
        2 => found.mss = Some(half(option, 2)),
        3 => found.window_scale = option.get(2).copied(),
        4 => found.sack_permitted = true,
        8 => found.timestamps = Some((word(option, 2), word(option, 6))),
        19 | 29 => found.signed = true,
        34 => found.fast_open = Some((length - 2) as u8),
        // Fast open before it had a number of its own (RFC 7413, 4.1.1).
        254 if half(option, 2) == 0xf989 => found.fast_open = Some((length - 4) as u8),
        _ => {}
    }
}
