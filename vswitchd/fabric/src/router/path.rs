//! Where a router sends a packet: addresses that may be routed, the longest prefix, one of several ways, and on through
//! further routers of ours. Asks for nothing and changes nothing.

use std::net::IpAddr;

use weir_wire::build::IcmpError;
use weir_wire::{DropReason, InterfaceId, L3, Packet};

use super::config::{NextHop, Prefix, Target};
use super::neighbor::Found;
use super::{Routers, is_link_local};

/// Routers of ours that a packet may pass on its way; more is a loop.
pub const ROUTERS_MAX: u8 = 16;

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// To the router itself, which it reaches by this interface.
    Local(InterfaceId),
    /// Out by this interface.
    Out {
        /// The interface.
        interface: InterfaceId,
        /// The neighbour there.
        next: IpAddr,
        /// Routers passed: what the TTL is reduced by.
        hops: u8,
        /// Every packet goes there that came in by the same interface for the same destination.
        serves_all: bool,
    },
}

/// Why it goes nowhere, what the sender is told, and the interface that tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The reason that is counted.
    pub reason: DropReason,
    /// What the sender is told.
    pub error: Option<IcmpError>,
    /// By which interface the packet reached the router that refuses it.
    pub at: InterfaceId,
}

/// The fields of a packet that routing reads.
struct Facts {
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
}

impl Routers {
    /// Where a packet goes that came in by interface `from`.
    #[inline]
    pub(crate) fn path(&self, from: InterfaceId, packet: &Packet) -> Result<Path, Refused> {
        let refused = |reason| Refused { reason, error: None, at: from };
        let facts = facts(packet).map_err(refused)?;
        let (mut at, mut hops, mut serves_all) = (from, 0, true);
        loop {
            match self.step(at, packet, &facts, hops, &mut serves_all)? {
                Step::Here => return Ok(Path::Local(at)),
                Step::Out(interface, next) => return Ok(Path::Out { interface, next, hops: hops + 1, serves_all }),
                Step::On(peer) => {
                    (at, hops) = (peer, hops + 1);
                    if hops >= ROUTERS_MAX {
                        return Err(refused(DropReason::HopLimit));
                    }
                }
            }
        }
    }

    /// One router's decision on a packet that reached it by interface `at`, after `hops` others.
    #[inline]
    fn step(
        &self,
        at: InterfaceId,
        packet: &Packet,
        facts: &Facts,
        hops: u8,
        serves_all: &mut bool,
    ) -> Result<Step, Refused> {
        let refuse = |reason, error: Option<IcmpError>| Refused { reason, error, at };
        let interface = self.interface(at).ok_or(refuse(DropReason::NotRouted, None))?;
        let router = self.router(interface.router).ok_or(refuse(DropReason::NotRouted, None))?;
        if is_link_local(&facts.destination) {
            // Link-local addresses mean something on their link only.
            let ours = interface.addresses.iter().any(|a| a.prefix.address == facts.destination);
            return if ours { Ok(Step::Here) } else { Err(refuse(DropReason::Martian, None)) };
        }
        let destination = Prefix::routed(&router.nat64, facts.destination);
        let target = router.table.lookup(destination);
        if target == Some(&Target::Local) {
            return Ok(Step::Here);
        }
        if is_link_local(&facts.source) {
            return Err(refuse(DropReason::Martian, Some(IcmpError::BeyondScope)));
        }
        if facts.ttl <= hops + 1 {
            return Err(refuse(DropReason::HopLimit, Some(IcmpError::TimeExceeded)));
        }
        *serves_all &= router.policies.is_empty();
        let target = self.by_policy(router, at, packet).map(|(_, target)| target).or(target);
        let way = match target {
            Some(Target::Via(ways)) => {
                *serves_all &= ways.len() == 1;
                self.choose(ways, destination, packet.hash)
            }
            Some(Target::Local) => return Ok(Step::Here),
            Some(Target::Edge) => return Err(refuse(DropReason::Martian, None)),
            Some(Target::Blackhole) => return Err(refuse(DropReason::RouteRefused, None)),
            Some(Target::Unreachable) => {
                return Err(refuse(DropReason::RouteRefused, Some(IcmpError::HostUnreachable)));
            }
            Some(Target::Prohibit) => return Err(refuse(DropReason::RouteRefused, Some(IcmpError::Prohibited))),
            None => None,
        };
        let way = way.ok_or(refuse(DropReason::NoRoute, Some(IcmpError::NoRoute)))?;
        let next = way.gateway.unwrap_or(destination);
        let exit = self.interface(way.interface).ok_or(refuse(DropReason::NoRoute, Some(IcmpError::NoRoute)))?;
        Ok(match exit.peers.iter().find(|(address, _)| *address == next) {
            Some(&(_, peer)) => Step::On(peer),
            None => Step::Out(way.interface, next),
        })
    }

    /// One of several ways, by the flow's hash; the next one where its neighbour is known not to answer.
    #[inline]
    fn choose<'a>(&self, ways: &'a [NextHop], destination: IpAddr, hash: u64) -> Option<&'a NextHop> {
        if let [only] = ways {
            return Some(only);
        }
        // The upper half of the hash, spread over the ways by multiplication.
        let at = ((hash >> 32) * ways.len() as u64) >> 32;
        let turned = ways.iter().cycle().skip(at as usize).take(ways.len());
        let answers = |way: &&NextHop| {
            let next = way.gateway.unwrap_or(destination);
            self.neighbors.peek(way.interface, next) != Some(Found::Unreachable)
        };
        turned.clone().find(answers).or_else(|| turned.clone().next())
    }
}

/// One router's decision.
enum Step {
    Here,
    Out(InterfaceId, IpAddr),
    On(InterfaceId),
}

/// Reads a packet; refuses addresses that no router passes on (RFC 1812, 5.3.7; RFC 4291, 2.5 and 2.7) and packets
/// that want to choose their way (RFC 7126, 4.3 and 4.4; RFC 5095).
#[inline]
fn facts(packet: &Packet) -> Result<Facts, DropReason> {
    let (source, destination) = packet.addresses().ok_or(DropReason::NotRouted)?;
    let ttl = match packet.headers.l3_kind {
        L3::Ipv4 => {
            let header = packet.ipv4().ok_or(DropReason::NotRouted)?;
            if header[0] & 15 > 5 && is_source_routed(packet) {
                return Err(DropReason::SourceRoute);
            }
            header[8]
        }
        L3::Ipv6 => {
            let header = packet.ipv6().ok_or(DropReason::NotRouted)?;
            if header[6] != packet.headers.protocol && has_routing_header(packet) {
                return Err(DropReason::SourceRoute);
            }
            header[7]
        }
        L3::Arp | L3::Other => return Err(DropReason::NotRouted),
    };
    let fine = match (source, destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let [first, ..] = from.octets();
            let [first_to, ..] = to.octets();
            // 0/8 is "this network", 127/8 the host itself, 224/4 groups, 240/4 reserved.
            !matches!(first, 0 | 127 | 224..) && !matches!(first_to, 0 | 127 | 224..)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let bad = |a: std::net::Ipv6Addr| a.is_unspecified() || a.is_loopback() || a.is_multicast();
            !bad(from) && !bad(to)
        }
        _ => false,
    };
    if fine { Ok(Facts { source, destination, ttl }) } else { Err(DropReason::Martian) }
}

/// Loose or strict source route (RFC 791, 3.1).
fn is_source_routed(packet: &Packet) -> bool {
    let network = packet.network();
    let end = usize::from(network.first().copied().unwrap_or(0) & 15) * 4;
    let mut options = network.get(20..end).unwrap_or(&[]);
    loop {
        options = match *options {
            [] | [0, ..] => return false,
            [131 | 137, ..] => return true,
            [1, ref rest @ ..] => rest,
            [_, length, ..] if length >= 2 => options.get(usize::from(length)..).unwrap_or(&[]),
            _ => return false,
        };
    }
}

/// A routing header of type 0 with segments left (RFC 5095).
fn has_routing_header(packet: &Packet) -> bool {
    use weir_wire::numbers::*;
    let network = packet.network();
    let Some(mut next) = network.get(6).copied() else { return false };
    let mut rest = network.get(40..).unwrap_or(&[]);
    while let &[following, length, kind, left, ..] = rest {
        let size = match next {
            PROTOCOL_ROUTING if kind == 0 && left > 0 => return true,
            PROTOCOL_HOP_BY_HOP | PROTOCOL_ROUTING | PROTOCOL_DESTINATION_OPTIONS => (usize::from(length) + 1) * 8,
            PROTOCOL_FRAGMENT => 8,
            _ => return false,
        };
        next = following;
        rest = rest.get(size..).unwrap_or(&[]);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::build::{Ends, packet, udp};
    use weir_wire::{Pool, PortId};

    fn read(source: &str, destination: &str) -> Result<(), DropReason> {
        let ends =
            Ends { source: source.parse().unwrap(), destination: destination.parse().unwrap(), ..Ends::ipv4(1, 2) };
        let packet = packet(&udp(ends, (1, 2), b"x"), PortId(1), &mut Pool::default()).unwrap();
        facts(&packet).map(drop)
    }

    #[test]
    fn addresses_that_no_router_passes_on_are_refused() {
        assert_eq!(read("10.0.0.1", "10.0.0.2"), Ok(()));
        assert_eq!(read("fd00::1", "2001:db8::1"), Ok(()));
        for (source, destination) in [
            ("0.0.0.0", "10.0.0.2"),
            ("127.0.0.1", "10.0.0.2"),
            ("224.0.0.1", "10.0.0.2"),
            ("255.255.255.255", "10.0.0.2"),
            ("10.0.0.1", "127.0.0.1"),
            ("10.0.0.1", "224.0.0.5"),
            ("10.0.0.1", "255.255.255.255"),
            ("::", "fd00::2"),
            ("::1", "fd00::2"),
            ("ff02::1", "fd00::2"),
            ("fd00::1", "ff05::2"),
            ("fd00::1", "::1"),
        ] {
            assert_eq!(read(source, destination), Err(DropReason::Martian), "{source} to {destination}");
        }
    }

    #[test]
    fn packets_that_choose_their_way_are_refused() {
        let frame = udp(Ends::ipv4(1, 2), (1, 2), b"x");
        let with = |options: &[u8]| {
            let mut frame = [&frame[..34], options, &frame[34..]].concat();
            frame[14] = 0x40 | (5 + options.len() as u8 / 4);
            let total = (frame.len() - 14) as u16;
            frame[16..18].copy_from_slice(&total.to_be_bytes());
            frame[24..26].fill(0);
            let sum = !weir_wire::checksum::sum(&frame[14..34 + options.len()]).fold();
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
            facts(&packet(&frame, PortId(1), &mut Pool::default()).unwrap()).map(drop)
        };
        assert_eq!(with(&[1, 1, 1, 0]), Ok(()));
        assert_eq!(with(&[1, 131, 7, 4, 10, 0, 0, 9]), Err(DropReason::SourceRoute));
        assert_eq!(with(&[148, 4, 0, 0, 137, 7, 4, 10, 0, 0, 9, 0]), Err(DropReason::SourceRoute));
    }
}
