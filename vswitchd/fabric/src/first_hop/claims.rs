//! What a frame claims: the addresses that its sender says are its own.
//!
//! Reads headers whose lengths the parser has proven, and the options of neighbour discovery (RFC 4861, 4.6) up to
//! [`OPTIONS_MAX`] of them. Nothing here knows any binding.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_wire::numbers::{PROTOCOL_ICMPV6, PROTOCOL_UDP};
use weir_wire::{DropReason, L3, MacAddr, Packet};

/// Options of a message of neighbour discovery that are looked at; one with more is no guest's.
const OPTIONS_MAX: usize = 16;
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOR_SOLICITATION: u8 = 135;
const NEIGHBOR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
/// RFC 792 and RFC 1256.
const ICMP_REDIRECT: u8 = 5;
const ICMP_ROUTER_ADVERTISEMENT: u8 = 9;
const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;

/// Addresses that the sender of a frame says are its own, each with the reason for which it is dropped where it is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Claims {
    /// The source address.
    pub source: Option<(IpAddr, DropReason)>,
    /// The address that it advertises.
    pub target: Option<(IpAddr, DropReason)>,
}

/// The ports of DHCP and DHCPv6.
const DHCP_SERVER: u16 = 67;
const DHCP_CLIENT: u16 = 68;
const DHCP6_CLIENT: u16 = 546;
const DHCP6_SERVER: u16 = 547;

/// Whether a parsed packet is one of DHCP's or DHCPv6's.
#[inline]
pub(crate) fn is_dhcp(packet: &Packet) -> bool {
    packet.headers.protocol == PROTOCOL_UDP
        && packet.ports().is_some_and(|(from, to)| {
            let known = |port| matches!(port, DHCP_SERVER | DHCP_CLIENT | DHCP6_CLIENT | DHCP6_SERVER);
            known(from) || known(to)
        })
}

/// What a host does beside speaking for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Roles {
    pub router: bool,
    pub dhcp_server: bool,
}

/// Reads what a frame of a guest in these roles claims.
///
/// # Errors
/// Why no such guest may send it, whatever its addresses are.
pub(super) fn read(packet: &Packet, roles: Roles) -> Result<Claims, DropReason> {
    match packet.headers.l3_kind {
        L3::Arp => arp(packet),
        L3::Ipv4 => ipv4(packet, roles),
        L3::Ipv6 => ipv6(packet, roles),
        L3::Other => Ok(Claims::default()),
    }
}

fn arp(packet: &Packet) -> Result<Claims, DropReason> {
    let body = packet.network().first_chunk::<28>().ok_or(DropReason::SpoofedArp)?;
    let [.., a, b, c, d, e, f, s0, s1, s2, s3, _, _, _, _, _, _, _, _, _, _] = *body;
    if MacAddr([a, b, c, d, e, f]) != packet.src_mac() {
        return Err(DropReason::SpoofedArp);
    }
    let sender = Ipv4Addr::new(s0, s1, s2, s3);
    // A probe has no sender (RFC 5227).
    let source = (!sender.is_unspecified()).then_some((sender.into(), DropReason::SpoofedArp));
    Ok(Claims { source, target: None })
}

fn ipv4(packet: &Packet, roles: Roles) -> Result<Claims, DropReason> {
    let Some((source, _)) = packet.addresses() else { return Ok(Claims::default()) };
    if matches!(packet.icmp(), Some((ICMP_REDIRECT | ICMP_ROUTER_ADVERTISEMENT, _))) && !roles.router {
        return Err(DropReason::RogueRouter);
    }
    if is_dhcp(packet) && roles.dhcp_server {
        if source.is_unspecified() {
            return Ok(Claims::default());
        }
    } else if is_dhcp(packet) {
        // RFC 2131, 2: op 1 is what a client says; its hardware address stands at byte 28.
        let message = packet.payload();
        if packet.ports().is_some_and(|(from, _)| from == DHCP_SERVER) || message.first() != Some(&1) {
            return Err(DropReason::RogueDhcp);
        }
        if message.get(28..34).is_none_or(|mac| mac != packet.src_mac().0) {
            return Err(DropReason::SpoofedMac);
        }
        if source.is_unspecified() {
            return Ok(Claims::default());
        }
    }
    if source.is_multicast() || source == IpAddr::V4(Ipv4Addr::BROADCAST) || source.is_loopback() {
        return Err(DropReason::SpoofedAddress);
    }
    // IGMP's hosts without an address yet send from none (RFC 3376, 4.2.13).
    if source.is_unspecified() {
        return if packet.headers.protocol == 2 { Ok(Claims::default()) } else { Err(DropReason::SpoofedAddress) };
    }
    Ok(Claims { source: Some((source, DropReason::SpoofedAddress)), target: None })
}

fn ipv6(packet: &Packet, roles: Roles) -> Result<Claims, DropReason> {
    let Some((IpAddr::V6(source), _)) = packet.addresses() else { return Ok(Claims::default()) };
    if source.is_multicast() || source.is_loopback() {
        return Err(DropReason::SpoofedAddress);
    }
    if is_dhcp(packet) && !roles.dhcp_server && packet.ports().is_some_and(|(from, _)| from == DHCP6_SERVER) {
        return Err(DropReason::RogueDhcp);
    }
    let mut claims = Claims::default();
    if packet.headers.protocol == PROTOCOL_ICMPV6 {
        claims.target = discovery(packet, roles)?;
    }
    if source.is_unspecified() {
        // Duplicate address detection, and reports of groups before it is over (RFC 4862, 5.4; RFC 3590).
        return if packet.headers.protocol == PROTOCOL_ICMPV6 { Ok(claims) } else { Err(DropReason::SpoofedAddress) };
    }
    let reason = if claims.target.is_some() { DropReason::SpoofedNeighbor } else { DropReason::SpoofedAddress };
    claims.source = Some((source.into(), reason));
    Ok(claims)
}

/// The address that a message of neighbour discovery advertises.
fn discovery(packet: &Packet, roles: Roles) -> Result<Option<(IpAddr, DropReason)>, DropReason> {
    let message = packet.transport();
    let (options, target) = match message.first() {
        Some(&ROUTER_ADVERTISEMENT | &REDIRECT) if roles.router => return Ok(None),
        Some(&ROUTER_ADVERTISEMENT | &REDIRECT) => return Err(DropReason::RogueRouter),
        Some(&ROUTER_SOLICITATION) => (8, false),
        Some(&NEIGHBOR_SOLICITATION) => (24, false),
        Some(&NEIGHBOR_ADVERTISEMENT) => (24, true),
        Some(_) | None => return Ok(None),
    };
    let mut rest = message.get(options..).ok_or(DropReason::SpoofedNeighbor)?;
    for _ in 0..OPTIONS_MAX {
        let (Some(&kind), Some(&length)) = (rest.first(), rest.get(1)) else { break };
        let option = rest.get(..usize::from(length) * 8).filter(|option| !option.is_empty());
        let option = option.ok_or(DropReason::SpoofedNeighbor)?;
        let names_another = option.get(2..8).is_none_or(|mac| mac != packet.src_mac().0);
        if matches!(kind, SOURCE_LINK_LAYER | TARGET_LINK_LAYER) && names_another {
            return Err(DropReason::SpoofedNeighbor);
        }
        rest = rest.get(option.len()..).unwrap_or(&[]);
    }
    if !rest.is_empty() {
        return Err(DropReason::SpoofedNeighbor);
    }
    if !target {
        return Ok(None);
    }
    let address = message.get(8..).and_then(<[u8]>::first_chunk::<16>).ok_or(DropReason::SpoofedNeighbor)?;
    Ok(Some((Ipv6Addr::from(*address).into(), DropReason::SpoofedNeighbor)))
}
