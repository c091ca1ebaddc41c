//! Policy routes: where packets go by more than their destination. A router asks them in order, before its table but
//! after its own addresses; the first that fits and has an answer decides.
//!
//! A packet that comes from the very next hop that a policy route names is not sent back there: an appliance on one
//! interface gets the packets of both ways and returns them to the same router, which then sends them on.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use weir_wire::numbers::{PROTOCOL_TCP, PROTOCOL_UDP};
use weir_wire::{InterfaceId, Packet, PortId};

use super::neighbor::Found;
use super::{NextHop, Prefix, RouteTable, Router, Routers, Target};

/// A policy route. Of each kind, what is empty fits all.
#[derive(Clone, Debug, Default)]
pub struct PolicyRoute {
    /// Its name, for people.
    pub name: String,
    /// Networks that packets come from.
    pub from: Vec<Prefix>,
    /// Networks that packets go to.
    pub to: Vec<Prefix>,
    /// Interfaces that packets come in by.
    pub interfaces: Vec<InterfaceId>,
    /// Ports that packets come from, in order; `None` fits all.
    pub ports: Option<Vec<PortId>>,
    /// IP protocol numbers.
    pub protocols: Vec<u8>,
    /// Source ports of TCP and UDP.
    pub source_ports: Vec<RangeInclusive<u16>>,
    /// Destination ports of TCP and UDP.
    pub destination_ports: Vec<RangeInclusive<u16>>,
    /// Packets of the other way fit too: those that would fit with their ends exchanged. These may come by any
    /// interface and any port.
    pub both_ways: bool,
    /// What becomes of them.
    pub take: Take,
    /// Where none of its gateways answers, it is passed over; otherwise packets end there.
    pub fail_open: bool,
    /// It is passed over.
    pub bypass: bool,
}

/// What becomes of packets that a policy route fits.
#[derive(Clone, Debug, Default)]
pub enum Take {
    /// This, as of a route.
    Target(Target),
    /// What another table says; where it has no route, the next policy route is asked.
    Table(Arc<RouteTable>),
    /// What the router's own table says, whatever policy routes follow.
    #[default]
    Main,
}

/// What policy routes look at.
struct Ends {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ports: Option<(u16, u16)>,
}

impl Ends {
    /// Headers stand in the buffer also of packets that left their rest where it is.
    fn of(packet: &Packet) -> Option<Ends> {
        let (source, destination) = packet.addresses()?;
        let protocol = packet.headers.protocol;
        let transport = packet.bytes().get(usize::from(packet.headers.l4)..).unwrap_or(&[]);
        let ports = match (protocol, transport.first_chunk()) {
            (PROTOCOL_TCP | PROTOCOL_UDP, Some(&[a, b, c, d])) => {
                Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
            }
            _ => None,
        };
        Some(Ends { source, destination, protocol, ports })
    }

    fn reversed(&self) -> Ends {
        let Ends { source, destination, protocol, ports } = *self;
        Ends { source: destination, destination: source, protocol, ports: ports.map(|(s, d)| (d, s)) }
    }
}

fn within(networks: &[Prefix], address: IpAddr) -> bool {
    networks.is_empty() || networks.iter().any(|network| network.contains(address))
}

fn among(ranges: &[RangeInclusive<u16>], port: Option<u16>) -> bool {
    ranges.is_empty() || port.is_some_and(|port| ranges.iter().any(|range| range.contains(&port)))
}

impl PolicyRoute {
    fn fits_ends(&self, ends: &Ends) -> bool {
        within(&self.from, ends.source)
            && within(&self.to, ends.destination)
            && (self.protocols.is_empty() || self.protocols.contains(&ends.protocol))
            && among(&self.source_ports, ends.ports.map(|(source, _)| source))
            && among(&self.destination_ports, ends.ports.map(|(_, destination)| destination))
    }

    fn fits(&self, at: InterfaceId, port: PortId, ends: &Ends) -> bool {
        let came_so = (self.interfaces.is_empty() || self.interfaces.contains(&at))
            && self.ports.as_ref().is_none_or(|ports| ports.binary_search(&port).is_ok());
        came_so && self.fits_ends(ends) || self.both_ways && self.fits_ends(&ends.reversed())
    }
}

impl Routers {
    /// What the policy routes of a router say of a packet that came to it by interface `at`, and which one; `None`
    /// leaves it to the router's table.
    pub(crate) fn by_policy<'a>(
        &self,
        router: &'a Router,
        at: InterfaceId,
        packet: &Packet,
    ) -> Option<(&'a PolicyRoute, &'a Target)> {
        if router.policies.is_empty() {
            return None;
        }
        let ends = Ends::of(packet)?;
        for policy in router.policies.iter().filter(|policy| !policy.bypass && policy.fits(at, packet.port, &ends)) {
            let target = match &policy.take {
                Take::Target(Target::Via(ways)) if policy.fail_open && self.detours.are_lost(ways) => None,
                Take::Target(Target::Via(ways)) if self.comes_from(ways, packet) => None,
                Take::Target(target) => Some(target),
                Take::Table(table) => table.lookup(ends.destination),
                Take::Main => return None,
            };
            if let Some(target) = target {
                return Some((policy, target));
            }
        }
        None
    }

    /// Whether one of these next hops sent the packet.
    fn comes_from(&self, ways: &[NextHop], packet: &Packet) -> bool {
        let sender = Some(Found::At(packet.src_mac()));
        let is_it = |way: &NextHop| way.gateway.is_some_and(|by| self.neighbors.peek(way.interface, by) == sender);
        ways.iter().any(is_it)
    }
}
