//! NAT64 (RFC 6146): hosts that have IPv6 alone reach IPv4 servers by a prefix that stands for all of them.
//!
//! A binding joins the host's IPv6 end to a port of an IPv4 address, as a masquerade does, and stands among the others:
//! the same port is never given twice. Towards the guard the flow is one of IPv6, between the host and the server behind
//! the prefix; packets change their version at the edge, beyond stops 4 and 7, errors with what they quote.

use std::net::{IpAddr, Ipv4Addr};

use weir_filter::spec::Timeouts;
use weir_wire::numbers::*;
use weir_wire::{DropReason, Instant, InterfaceId, L3, Packet, SwitchId, checksum};

use super::bindings::{Names, Way};
use super::ends::{End, Ends, Side, asking_side, read, write};
use super::errors::{QUOTE, Quoted, quoted};
use super::family::{header_v4, header_v6, other_protocol, to_v4, to_v6};
use super::prefix::{embed, extract};
use super::{Exit, Nat, Terms};
use crate::router::Prefix;

/// What is sent to its prefix goes to IPv4 servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat64 {
    /// The prefix: 32, 40, 48, 56, 64 or 96 bits (RFC 6052, 2.2).
    pub prefix: Prefix,
    /// The interface by which the IPv4 world is reached.
    pub interface: InterfaceId,
    /// The IPv4 address that hosts have there; no other NAT64 of the zone has it.
    pub address: IpAddr,
    /// Ports that are given.
    pub ports: std::ops::RangeInclusive<u16>,
    /// Bindings of one inside address at most; 0 for no limit of its own.
    pub limit_each: u32,
}

/// Bytes of a quote that are passed on: all that an error may quote in either version.
const QUOTED_MAX: usize = 1232 - 40;

impl Nat {
    fn nat64(&self, zone: SwitchId, is_it: impl Fn(&&Nat64) -> bool) -> Option<&Nat64> {
        let edges = self.edges.iter().filter(|edge| edge.zone == zone);
        edges.flat_map(|edge| &edge.config.nat64).find(is_it)
    }

    /// The IPv4 address that an IPv6 destination stands for, and the NAT64 that says so.
    fn beyond(&self, zone: SwitchId, destination: IpAddr) -> Option<(&Nat64, Ipv4Addr)> {
        let found = self.nat64(zone, |n| extract(n.prefix, destination).is_some())?;
        Some((found, extract(found.prefix, destination)?))
    }

    /// Makes a packet to a NAT64's address one to the IPv6 host that it is for; `None` where it is for none.
    pub(super) fn inward64(&mut self, now: Instant, zone: SwitchId, packet: &mut Packet, ends: &Ends) -> Option<()> {
        let Ends { protocol, source, destination } = *ends;
        let prefix = self.nat64(zone, |n| n.address == destination.0)?.prefix;
        let IpAddr::V4(server) = source.0 else { return None };
        let at = (zone.0, protocol, destination, source);
        let names = self.bindings.pass(now, Way::In, at, packet.headers.tcp_flags)?;
        let IpAddr::V6(host) = names.inside.0 else { return None };
        to_v6(packet, (embed(prefix, server)?, host))?;
        write(packet, Side::Destination, names.inside)
    }

    /// Makes an IPv6 packet that leaves for the IPv4 world one of IPv4; `None` where it does not.
    pub(super) fn outward64(
        &mut self,
        now: Instant,
        exit: &Exit,
        packet: &mut Packet,
        timeouts: &Timeouts,
    ) -> Option<Result<(), DropReason>> {
        let (_, destination) = packet.addresses()?;
        let (by, server) = self.beyond(exit.zone, destination)?;
        let terms = Terms {
            interface: by.interface,
            address: Some(by.address),
            ports: by.ports.clone(),
            endpoint_independent: false,
            limit_each: by.limit_each,
            ports_each: 0,
        };
        Some(self.leave64(now, exit.zone, packet, (server, terms), timeouts))
    }

    fn leave64(
        &mut self,
        now: Instant,
        zone: SwitchId,
        packet: &mut Packet,
        (server, by): (Ipv4Addr, Terms),
        timeouts: &Timeouts,
    ) -> Result<(), DropReason> {
        let Some(ends) = read(packet) else {
            return self.error_out64(zone, packet).ok_or(DropReason::NotRouted);
        };
        let remote: End = (server.into(), ends.destination.1);
        let ends = Ends { protocol: other_v4(ends.protocol), source: ends.source, destination: remote };
        let at = (zone.0, ends.protocol, ends.source, remote);
        let names = match self.bindings.pass(now, Way::Out, at, packet.headers.tcp_flags) {
            Some(names) => names,
            None => self.name(now, zone, &ends, &by, timeouts)?,
        };
        self.rename64(packet, &names, server).ok_or(DropReason::NotRouted)
    }

    fn rename64(&mut self, packet: &mut Packet, names: &Names, server: Ipv4Addr) -> Option<()> {
        let IpAddr::V4(outside) = names.outside.0 else { return None };
        self.identification = self.identification.wrapping_add(1);
        to_v4(packet, (outside, server), self.identification)?;
        write(packet, Side::Source, names.outside)
    }

    /// The IPv4 server that a destination stands for, and the address by which it is reached.
    pub(super) fn traced_beyond(&self, zone: SwitchId, destination: IpAddr) -> Option<(Ipv4Addr, IpAddr)> {
        self.beyond(zone, destination).map(|(by, server)| (server, by.address))
    }

    /// A packet of our own to a server in the IPv4 world.
    pub(super) fn reply64(&mut self, zone: SwitchId, packet: &mut Packet) -> Option<()> {
        let (_, destination) = packet.addresses()?;
        let (_, server) = self.beyond(zone, destination)?;
        let Some(ends) = read(packet) else { return self.error_out64(zone, packet) };
        let at = (zone.0, other_v4(ends.protocol), ends.source, (server.into(), ends.destination.1));
        let names = self.bindings.find(Way::Out, at)?;
        self.rename64(packet, &names, server)
    }

    /// An ICMP error from the IPv4 world about what a host sent there.
    pub(super) fn error_in64(&self, zone: SwitchId, packet: &mut Packet) -> Option<()> {
        let Quoted { protocol, source, destination, transport } = quoted(packet)?;
        let (IpAddr::V4(sender), receiver) = packet.addresses()? else { return None };
        let prefix = self.nat64(zone, |n| n.address == receiver)?.prefix;
        let names = self.bindings.find(Way::In, (zone.0, protocol, source, destination))?;
        let (IpAddr::V6(host), IpAddr::V4(server)) = (names.inside.0, destination.0) else { return None };
        let head = error_v6(packet.transport().first_chunk()?)?;
        let quote = packet.transport().get(QUOTE + transport..)?;
        let length = u16::try_from(quote.len()).ok()?;
        let inner = header_v6((host, embed(prefix, server)?), other_protocol(protocol), 64, length);
        let quote = named_quote(quote, protocol, Side::Source, names.inside.1)?;
        let ends = (embed(prefix, sender)?, host);
        let mut message = [&head[..], &inner, &quote].concat();
        let pseudo = checksum::pseudo_ipv6(&ends.0.octets(), &ends.1.octets(), PROTOCOL_ICMPV6, message.len() as u32);
        let sum = !pseudo.and(checksum::sum(&message)).fold();
        message.get_mut(2..4)?.copy_from_slice(&sum.to_be_bytes());
        let outer = header_v6(ends, PROTOCOL_ICMPV6, ttl(packet)?, u16::try_from(message.len()).ok()?);
        replace(packet, &outer, &message, ETHERTYPE_IPV6)
    }

    /// An ICMPv6 error, of a host or of our own, about what came from the IPv4 world.
    fn error_out64(&self, zone: SwitchId, packet: &mut Packet) -> Option<()> {
        let Quoted { protocol, source, destination, transport } = quoted(packet)?;
        let (_, receiver) = packet.addresses()?;
        let (by, reader) = self.beyond(zone, receiver)?;
        let server = extract(by.prefix, source.0)?;
        let protocol = other_v4(protocol);
        let at = (zone.0, protocol, destination, (server.into(), source.1));
        let outside = self.bindings.find(Way::Out, at)?.outside;
        let (IpAddr::V4(host), IpAddr::V4(own)) = (outside.0, by.address) else { return None };
        let head = error_v4(packet.transport().first_chunk()?)?;
        let quote = packet.transport().get(QUOTE + transport..)?;
        let inner = header_v4((server, host), protocol, 64, u16::try_from(20 + quote.len()).ok()?, None);
        let quote = named_quote(quote, protocol, Side::Destination, outside.1)?;
        let mut message = [&head[..], &inner, &quote].concat();
        // RFC 1812, 4.3.2.3.
        message.truncate(548);
        let sum = !checksum::sum(&message).fold();
        message.get_mut(2..4)?.copy_from_slice(&sum.to_be_bytes());
        let total = u16::try_from(20 + message.len()).ok()?;
        let outer = header_v4((own, reader), PROTOCOL_ICMP, ttl(packet)?, total, None);
        replace(packet, &outer, &message, ETHERTYPE_IPV4)
    }
}

/// The protocol as bindings to the IPv4 world have it.
fn other_v4(protocol: u8) -> u8 {
    if protocol == PROTOCOL_ICMPV6 { PROTOCOL_ICMP } else { protocol }
}

fn ttl(packet: &Packet) -> Option<u8> {
    packet.ipv4().map(|header| header[8]).or_else(|| packet.ipv6().map(|header| header[7]))
}

/// A quoted transport header in the other version, with another name of one of its ends.
fn named_quote(quote: &[u8], protocol: u8, side: Side, port: u16) -> Option<Vec<u8>> {
    let mut quote = quote.get(..QUOTED_MAX).unwrap_or(quote).to_vec();
    let at = match (protocol, side) {
        (PROTOCOL_TCP | PROTOCOL_UDP, Side::Source) => 0,
        (PROTOCOL_TCP | PROTOCOL_UDP, Side::Destination) => 2,
        (PROTOCOL_ICMP, _) => {
            let kind = quote.first_mut()?;
            let (v4, other) = match *kind {
                ICMP_ECHO_REQUEST => (true, ICMPV6_ECHO_REQUEST),
                ICMP_ECHO_REPLY => (true, ICMPV6_ECHO_REPLY),
                ICMPV6_ECHO_REQUEST => (false, ICMP_ECHO_REQUEST),
                ICMPV6_ECHO_REPLY => (false, ICMP_ECHO_REPLY),
                _ => return None,
            };
            let asks = asking_side(v4, *kind)?;
            *kind = other;
            if asks != side {
                return Some(quote);
            }
            4
        }
        _ => return Some(quote),
    };
    quote.get_mut(at..at + 2)?.copy_from_slice(&port.to_be_bytes());
    Some(quote)
}

/// The head of an ICMPv6 error that says what an ICMP error says (RFC 7915, 4.2), without its checksum.
fn error_v6(head: &[u8; 8]) -> Option<[u8; 8]> {
    let [kind, code, _, _, _, _, high, low] = *head;
    let mtu = u32::from(u16::from_be_bytes([high, low]));
    let (kind, code, word) = match (kind, code) {
        (3, 2) => (4, 1, 6),
        (3, 3) => (1, 4, 0),
        // A router that does not know the way to say it (RFC 1191, 5) leaves the least.
        (3, 4) => (2, 0, if mtu == 0 { 1280 } else { (mtu + 20).max(1280) }),
        (3, 9 | 10 | 13 | 15) => (1, 1, 0),
        (3, 14) => return None,
        (3, _) => (1, 0, 0),
        (11, code @ (0 | 1)) => (3, code, 0),
        _ => return None,
    };
    let [a, b, c, d] = u32::to_be_bytes(word);
    Some([kind, code, 0, 0, a, b, c, d])
}

/// The head of an ICMP error that says what an ICMPv6 error says (RFC 7915, 5.2), without its checksum.
fn error_v4(head: &[u8; 8]) -> Option<[u8; 8]> {
    let [kind, code, _, _, a, b, c, d] = *head;
    let (kind, code, mtu) = match (kind, code) {
        (1, 1) => (3, 10, 0),
        (1, 4) => (3, 3, 0),
        (1, _) => (3, 1, 0),
        (2, _) => {
            let mtu = u32::from_be_bytes([a, b, c, d]).saturating_sub(20);
            (3, 4, u16::try_from(mtu).unwrap_or(u16::MAX))
        }
        (3, code @ (0 | 1)) => (11, code, 0),
        (4, 1) => (3, 2, 0),
        _ => return None,
    };
    let [high, low] = mtu.to_be_bytes();
    Some([kind, code, 0, 0, 0, 0, high, low])
}

/// Puts another packet behind the Ethernet header.
fn replace(packet: &mut Packet, header: &[u8], message: &[u8], ether_type: u16) -> Option<()> {
    let l3 = usize::from(packet.headers.l3);
    let mut frame = packet.bytes().get(..l3)?.to_vec();
    frame.get_mut(l3.checked_sub(2)?..)?.copy_from_slice(&ether_type.to_be_bytes());
    frame.extend_from_slice(header);
    frame.extend_from_slice(message);
    let fits = packet.headers.l3_kind != L3::Other && packet.buffer.fill(&frame);
    packet.offload = weir_wire::Offload::default();
    fits.then_some(())?;
    packet.parse().ok()
}

impl Prefix {
    /// What a destination is to the routes of a router with these NAT64 prefixes.
    pub(crate) fn routed(prefixes: &[Prefix], destination: IpAddr) -> IpAddr {
        let beyond = prefixes.iter().find_map(|prefix| extract(*prefix, destination));
        beyond.map_or(destination, IpAddr::V4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_the_same_in_both_versions() {
        for (v4, v6) in [
            ([3, 0, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]),
            ([3, 3, 0, 0, 0, 0, 0, 0], [1, 4, 0, 0, 0, 0, 0, 0]),
            ([3, 13, 0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 0]),
            ([3, 4, 0, 0, 0, 0, 5, 0xdc], [2, 0, 0, 0, 0, 0, 5, 0xf0]),
            ([11, 0, 0, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            assert_eq!(error_v6(&v4), Some(v6));
        }
        assert_eq!(error_v4(&[2, 0, 0, 0, 0, 0, 5, 0xf0]), Some([3, 4, 0, 0, 0, 0, 5, 0xdc]));
        assert_eq!(error_v4(&[1, 4, 0, 0, 0, 0, 0, 0]), Some([3, 3, 0, 0, 0, 0, 0, 0]));
        assert_eq!(error_v6(&[5, 0, 0, 0, 0, 0, 0, 0]), None, "redirects end here");
    }
}
