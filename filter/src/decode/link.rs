//! Link layers of captures: Ethernet, raw IP, null, PPP, Cisco HDLC, Linux cooked.

use super::tags::network;
use super::{Event, View, Walk, half, ipv4, ipv6};

/// How the frames of a capture begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// Ethernet.
    #[default]
    Ethernet,
    /// The host's address family in four bytes (BSD loopback).
    Null,
    /// The same in network order (OpenBSD loopback).
    Loop,
    /// IP.
    Raw,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// PPP.
    Ppp,
    /// Cisco HDLC.
    Chdlc,
    /// Linux cooked, version 1.
    Sll,
    /// Linux cooked, version 2.
    Sll2,
}

impl Link {
    /// By LINKTYPE, and by those numbers of DLT_RAW that files have besides.
    pub fn from_number(number: u32) -> Option<Link> {
        Some(match number {
            0 => Link::Null,
            1 => Link::Ethernet,
            9 => Link::Ppp,
            12 | 14 | 101 => Link::Raw,
            104 => Link::Chdlc,
            108 => Link::Loop,
            113 => Link::Sll,
            228 => Link::Ipv4,
            229 => Link::Ipv6,
            276 => Link::Sll2,
            _ => return None,
        })
    }

    /// The number and the name that EVE writes (`packet_info`).
    pub fn number_and_name(self) -> (u32, &'static str) {
        match self {
            Link::Ethernet => (1, "EN10MB"),
            Link::Null => (0, "NULL"),
            Link::Loop => (108, "LOOP"),
            Link::Raw => (12, "RAW"),
            Link::Ipv4 => (228, "IPV4"),
            Link::Ipv6 => (229, "IPV6"),
            Link::Ppp => (9, "PPP"),
            Link::Chdlc => (104, "C_HDLC"),
            Link::Sll => (113, "LINUX_SLL"),
            Link::Sll2 => (276, "LINUX_SLL2"),
        }
    }
}

/// Begins with a frame of this link.
#[inline]
pub(super) fn start<'p>(walk: &mut Walk<'_>, view: &mut View<'p>, link: Link, bytes: &'p [u8]) {
    match link {
        Link::Ethernet => ethernet(walk, view, bytes),
        Link::Null | Link::Loop => null(walk, view, bytes),
        Link::Raw => raw(walk, view, bytes),
        Link::Ipv4 => ipv4::decode(walk, view, bytes),
        Link::Ipv6 => ipv6::decode(walk, view, bytes),
        Link::Ppp => ppp(walk, view, bytes),
        Link::Chdlc => match bytes.split_first_chunk::<4>() {
            Some((&[_, _, high, low], rest)) => network(walk, view, u16::from_be_bytes([high, low]), rest),
            None => view.events.set(Event::ChdlcPacketTooSmall),
        },
        Link::Sll => match bytes.split_at_checked(16) {
            Some((header, rest)) => network(walk, view, half(header, 14), rest),
            None => view.events.set(Event::SllPacketTooSmall),
        },
        Link::Sll2 => match bytes.split_at_checked(20) {
            Some((header, rest)) => network(walk, view, half(header, 0), rest),
            None => view.events.set(Event::Sll2PacketTooSmall),
        },
    }
}

/// Ethernet II; with a length in place of a type it is nothing that is looked into.
#[inline]
pub(super) fn ethernet<'p>(walk: &mut Walk<'_>, view: &mut View<'p>, bytes: &'p [u8]) {
    if !walk.enter(view) {
        return;
    }
    let Some((header, rest)) = bytes.split_at_checked(14) else {
        view.events.set(Event::EthernetPacketTooSmall);
        return;
    };
    view.ethernet = header;
    network(walk, view, half(header, 12), rest);
}

/// BSD's loopback: AF_INET, or one of the numbers that AF_INET6 has on some system, in the host's byte order.
fn null<'p>(walk: &mut Walk<'_>, view: &mut View<'p>, bytes: &'p [u8]) {
    let Some((family, rest)) = bytes.split_first_chunk::<4>() else {
        view.events.set(Event::LtnullPacketTooSmall);
        return;
    };
    match u32::from_le_bytes(*family).min(u32::from_be_bytes(*family)) {
        2 => ipv4::decode(walk, view, rest),
        10 | 24 | 28 | 30 => ipv6::decode(walk, view, rest),
        _ => view.events.set(Event::LtnullUnsupportedType),
    }
}

/// IP of either version.
fn raw<'p>(walk: &mut Walk<'_>, view: &mut View<'p>, bytes: &'p [u8]) {
    match bytes.first().map(|byte| byte >> 4) {
        Some(4) => ipv4::decode(walk, view, bytes),
        Some(6) => ipv6::decode(walk, view, bytes),
        Some(_) => view.events.set(Event::IprawInvalidIpVersion),
        None => view.events.set(Event::Ipv4PacketTooSmall),
    }
}

/// PPP (RFC 1661), with or without the address and control bytes of HDLC framing (RFC 1662); the protocol may be
/// compressed to one byte.
pub(super) fn ppp<'p>(walk: &mut Walk<'_>, view: &mut View<'p>, bytes: &'p [u8]) {
    if !walk.enter(view) {
        return;
    }
    let bytes = bytes.strip_prefix(&[0xff, 0x03]).unwrap_or(bytes);
    let (protocol, rest) = match bytes {
        [first, rest @ ..] if first & 1 == 1 => (u16::from(*first), rest),
        [first, second, rest @ ..] => (u16::from_be_bytes([*first, *second]), rest),
        [] | [_] => {
            view.events.set(Event::PppPacketTooSmall);
            return;
        }
    };
    ppp_protocol(walk, view, protocol, rest);
}

/// What PPP carries, by its protocol number.
pub(super) fn ppp_protocol<'p>(walk: &mut Walk<'_>, view: &mut View<'p>, protocol: u16, rest: &'p [u8]) {
    match protocol {
        0x0021 if rest.len() < 20 => view.events.set(Event::PppIpv4PacketTooSmall),
        0x0021 => ipv4::decode(walk, view, rest),
        // Van Jacobson's uncompressed header: IPv4, whose protocol field holds a connection number.
        0x002f if rest.len() < 20 => view.events.set(Event::PppVjuPacketTooSmall),
        0x002f => ipv4::decode(walk, view, rest),
        0x0057 if rest.len() < 40 => view.events.set(Event::PppIpv6PacketTooSmall),
        0x0057 => ipv6::decode(walk, view, rest),
        0x0281 => network(walk, view, 0x8847, rest),
        // Known ones that carry nothing to look into: control and compression protocols, AppleTalk, IPX, OSI …
        0x0023
        | 0x0025
        | 0x0027
        | 0x0029
        | 0x002b
        | 0x002d
        | 0x0031
        | 0x0033
        | 0x0035
        | 0x004d
        | 0x006f
        | 0x00fb
        | 0x00fd
        | 0x0201..=0x0207
        | 0x8021..=0x8057
        | 0x80fb
        | 0x80fd
        | 0xc021..=0xc227
        | 0xc281 => view.events.set(Event::PppUnsupportedProtocol),
        _ => view.events.set(Event::PppWrongType),
    }
}
