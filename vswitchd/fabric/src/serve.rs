//! The routers' own services: which interfaces serve what, and the packets for whoever speaks for them.
//!
//! DHCP, DHCPv6, DNS and metadata are spoken outside the datapath, by a thread of the daemon. A packet for one of them passes the
//! guard like any other; where it would be delivered to a router that serves it, it is *punted*: put in a queue of
//! [`PUNTS_MAX`] that the worker empties after each burst. What finds no room, or comes from a port at more than
//! [`PUNT_RATE`] a second, is dropped as `service-limit`, so that one guest cannot crowd out the others.
//!
//! Answers come back in two ways. Frames of DHCP are of our own making and enter at stop 7 ([`Fabric::put`]). Packets of
//! UDP and TCP belong to flows that guests have opened: they enter at stop 4 as the other direction of these, so that
//! connections have both their sides and inspection reads the answers too ([`Fabric::answer`]).

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_filter::{Cleared, Entered, Inspected, Why};
use weir_wire::build::packet as parsed;
use weir_wire::numbers::{PROTOCOL_TCP, PROTOCOL_UDP};
use weir_wire::{
    DropReason, Fragment, Headers, Instant, InterfaceId, L3, MacAddr, Packet, Pool, PortId, SwitchId, Vid,
};

use crate::router::limit::Bucket;
use crate::stages::Walk;
use crate::{Egress, Fabric};

/// Packets that wait to be taken by the services at most.
pub const PUNTS_MAX: usize = 512;
/// Packets a second that one port may send to the services.
pub const PUNT_RATE: u64 = 500;
/// Packets that one port may send to the services at once.
pub const PUNT_BURST: u32 = 200;
/// Addresses that are asked after for the services at once.
const PROBES_MAX: usize = 64;

/// Where guests ask for metadata: the addresses that clouds have made customary.
pub const METADATA: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(169, 254, 169, 254), Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254));

const DNS: u16 = 53;
const HTTP: u16 = 80;
const DHCP_SERVER: u16 = 67;
const DHCP6_SERVER: u16 = 547;

/// What an interface serves its network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Serves {
    /// DHCP, UDP port 67 over IPv4.
    pub dhcp: bool,
    /// DHCPv6, UDP port 547 over IPv6.
    pub dhcp6: bool,
    /// DNS, UDP and TCP port 53.
    pub dns: bool,
    /// Metadata, TCP port 80 of the addresses [`METADATA`], which are to be among the interface's.
    pub metadata: bool,
}

/// A service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// DHCP for IPv4.
    Dhcp,
    /// DHCP for IPv6.
    Dhcp6,
    /// Names.
    Dns,
    /// What guests are to know of themselves.
    Metadata,
}

impl Serves {
    fn has(self, service: Service) -> bool {
        match service {
            Service::Dhcp => self.dhcp,
            Service::Dhcp6 => self.dhcp6,
            Service::Dns => self.dns,
            Service::Metadata => self.metadata,
        }
    }
}

/// A packet for a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Punt {
    /// Whom it is for.
    pub service: Service,
    /// The interface that serves.
    pub interface: InterfaceId,
    /// The port that it came in by.
    pub port: PortId,
    /// The VLAN that it came in.
    pub vid: Vid,
    /// The frame as it came; long ones whole, checksums perhaps to be completed.
    pub frame: Vec<u8>,
    /// Where its headers stand.
    pub headers: Headers,
}

/// Which interfaces serve what, and what waits.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    /// By interface.
    interfaces: Vec<Serves>,
    punts: VecDeque<Punt>,
    /// By port, made when it first asks.
    buckets: Vec<Option<Bucket>>,
    /// Addresses asked after for the services, and who has them.
    probes: VecDeque<(InterfaceId, IpAddr, Option<MacAddr>)>,
}

impl Serving {
    /// Replaces what all interfaces serve.
    pub fn set(&mut self, served: Vec<(InterfaceId, Serves)>) {
        self.interfaces.clear();
        for (id, serves) in served {
            let at = usize::from(id.0);
            if at >= self.interfaces.len() {
                self.interfaces.resize(at + 1, Serves::default());
            }
            if let Some(slot) = self.interfaces.get_mut(at) {
                *slot = serves;
            }
        }
    }

    /// Takes in what others serve and what waits for the services, as far as there is room.
    pub fn adopt(&mut self, other: Serving) {
        if self.interfaces.len() < other.interfaces.len() {
            self.interfaces.resize(other.interfaces.len(), Serves::default());
        }
        for (mine, theirs) in self.interfaces.iter_mut().zip(other.interfaces) {
            if theirs != Serves::default() {
                *mine = theirs;
            }
        }
        let room = PUNTS_MAX.saturating_sub(self.punts.len());
        self.punts.extend(other.punts.into_iter().take(room));
    }

    /// What an interface serves.
    pub fn of(&self, id: InterfaceId) -> Serves {
        self.interfaces.get(usize::from(id.0)).copied().unwrap_or_default()
    }

    /// Somebody answered for an address.
    pub fn told(&mut self, id: InterfaceId, address: IpAddr, mac: MacAddr) {
        let asked = self.probes.iter_mut().filter(|probe| (probe.0, probe.1) == (id, address));
        asked.for_each(|probe| probe.2 = Some(mac));
    }

    fn may_punt(&mut self, now: Instant, port: PortId) -> bool {
        let at = usize::from(port.0);
        if at >= self.buckets.len() {
            self.buckets.resize_with(at + 1, || None);
        }
        let Some(slot) = self.buckets.get_mut(at) else { return false };
        self.punts.len() < PUNTS_MAX && slot.get_or_insert(Bucket::new(PUNT_RATE, PUNT_BURST)).take(now)
    }
}

/// The service that a packet is for, by its ports, and of HTTP by its destination.
pub(crate) fn service_of(packet: &Packet) -> Option<Service> {
    if packet.headers.fragment != Fragment::No {
        return None;
    }
    let port =
        packet.transport().get(2..4).and_then(|port| port.first_chunk()).map(|port| u16::from_be_bytes(*port))?;
    match (packet.headers.l3_kind, packet.headers.protocol, port) {
        (L3::Ipv4, PROTOCOL_UDP, DHCP_SERVER) => Some(Service::Dhcp),
        (L3::Ipv6, PROTOCOL_UDP, DHCP6_SERVER) => Some(Service::Dhcp6),
        (L3::Ipv4 | L3::Ipv6, PROTOCOL_UDP | PROTOCOL_TCP, DNS) => Some(Service::Dns),
        (L3::Ipv4 | L3::Ipv6, PROTOCOL_TCP, HTTP) => {
            let to = packet.addresses().map(|(_, to)| to);
            (to == Some(METADATA.0.into()) || to == Some(METADATA.1.into())).then_some(Service::Metadata)
        }
        _ => None,
    }
}

/// Whether a packet to everybody, or to a group, asks for a DHCP server.
pub(crate) fn asks_for_addresses(packet: &Packet) -> bool {
    let for_servers = matches!(service_of(packet), Some(Service::Dhcp | Service::Dhcp6));
    for_servers
        && match packet.addresses() {
            Some((_, IpAddr::V4(to))) => to.is_broadcast(),
            // All_DHCP_Relay_Agents_and_Servers (RFC 8415, 7.1).
            Some((_, IpAddr::V6(to))) => to.segments() == [0xff02, 0, 0, 0, 0, 0, 1, 2],
            None => false,
        }
}

impl Walk<'_> {
    /// Takes a packet for a service that interface `at` (or, for packets to all, any interface of the network) serves.
    /// What nobody serves comes back.
    pub(crate) fn punt(&mut self, packet: Packet, at: Option<InterfaceId>) -> Option<Packet> {
        let Some(service) = service_of(&packet) else { return Some(packet) };
        let interface = at.filter(|id| self.serving.of(*id).has(service)).or_else(|| {
            // Of a packet to a router's own address the interface is known.
            let here = self.bridge.port(packet.port).map(|port| port.config.switch).filter(|_| at.is_none())?;
            let mut doors = self.routers.doors_of(here, packet.vid);
            doors.find(|door| self.serving.of(door.interface).has(service)).map(|door| door.interface)
        });
        let Some(interface) = interface else { return Some(packet) };
        if !self.serving.may_punt(self.now, packet.port) {
            self.end(packet, Why::reason(DropReason::ServiceLimit));
            return None;
        }
        let (port, vid, headers) = (packet.port, packet.vid, packet.headers);
        let frame = packet.bytes().to_vec();
        self.serving.punts.push_back(Punt { service, interface, port, vid, frame, headers });
        self.counters(port).delivered += 1;
        self.pool.give(packet.buffer);
        None
    }

    /// The switch and VLAN of an interface, and whether `port` leads there.
    fn place_of(&self, interface: InterfaceId, port: PortId) -> Option<(SwitchId, Vid, bool)> {
        let config = &self.routers.interface(interface)?.config;
        let near = self.bridge.port(port).is_some_and(|port| port.config.switch == config.switch);
        Some((config.switch, config.vid, near))
    }

    fn put_frame(&mut self, interface: InterfaceId, port: Option<PortId>, frame: &[u8]) {
        let Some((switch, vid, _)) = self.place_of(interface, PortId::LOCAL) else { return };
        let near = port.filter(|port| self.place_of(interface, *port).is_some_and(|(_, _, near)| near));
        match near {
            None => self.put(switch, vid, frame),
            Some(port) => {
                let Some(mut packet) = parsed(frame, PortId::LOCAL, self.pool) else { return };
                packet.vid = vid;
                self.counters(PortId::LOCAL).originated += 1;
                self.send(port, Cleared::originate(packet));
            }
        }
    }

    fn answer_frame(&mut self, (interface, port, vid): (InterfaceId, PortId, Vid), frame: &[u8]) {
        let zone = self.routers.interface(interface).and_then(|i| self.routers.router(i.router)).map(|r| r.zone);
        let Some(zone) = zone else { return };
        let Some(mut packet) = parsed(frame, PortId::LOCAL, self.pool) else { return };
        packet.vid = vid;
        self.counters(PortId::LOCAL).originated += 1;
        let departure = self.bridge.port(port).ok_or(DropReason::PortUnbound).and_then(|to| {
            // It goes back by the door that the question came to, which may be that of another router.
            self.routers.door(to.config.switch, vid, packet.src_mac()).ok_or(DropReason::NotRouted)?;
            to.departure(vid)
        });
        let tagging = match departure {
            Ok(tagging) => tagging,
            Err(reason) => return self.end(packet, Why::reason(reason)),
        };
        match self.enter(packet, zone) {
            Entered::Go(packet, ticket) => match self.engine.inspect(self.now, packet, ticket, port, self.pool) {
                Inspected::Forward(cleared) => self.leave(port, tagging, cleared),
                Inspected::Dropped(packet, why) => self.end(packet, why),
                Inspected::Wait(packet, _) => self.cannot_wait(packet),
            },
            Entered::Held => {}
            Entered::Dropped(packet, why) => self.end(packet, why),
        }
    }
}

impl Fabric {
    /// Packets for the services wait.
    pub fn has_punts(&self) -> bool {
        !self.serving.punts.is_empty()
    }

    /// The packet for the services that has waited longest.
    pub fn take_punt(&mut self) -> Option<Punt> {
        self.serving.punts.pop_front()
    }

    /// Sends a frame of a service's own making into the network of an interface: by `port` where that leads there, else
    /// to wherever its destination is.
    pub fn put(
        &mut self,
        now: Instant,
        (interface, port): (InterfaceId, Option<PortId>),
        frame: &[u8],
        pool: &mut Pool,
        out: &mut Egress,
    ) {
        let mut walk = self.walk(now, pool, out);
        walk.put_frame(interface, port, frame);
        walk.send_originated();
    }

    /// Sends an IP packet of a service back to where its question came from: `(interface, port, vid)` as in the
    /// [`Punt`]. It belongs to the flow of the question.
    pub fn answer(
        &mut self,
        now: Instant,
        to: (InterfaceId, PortId, Vid),
        frame: &[u8],
        pool: &mut Pool,
        out: &mut Egress,
    ) {
        let mut walk = self.walk(now, pool, out);
        walk.answer_frame(to, frame);
        walk.send_originated();
    }

    /// Asks the network of an interface who has an address; [`Fabric::probed`] tells who answered since.
    pub fn probe(
        &mut self,
        now: Instant,
        (interface, address): (InterfaceId, IpAddr),
        pool: &mut Pool,
        out: &mut Egress,
    ) {
        if self.serving.probes.len() >= PROBES_MAX {
            self.serving.probes.pop_front();
        }
        self.serving.probes.push_back((interface, address, None));
        self.routers.emissions.push(crate::router::Emission::Ask(interface, address, None));
        self.walk(now, pool, out).send_originated();
    }

    /// Who answered for an address that was asked after; it is forgotten then.
    pub fn probed(&mut self, interface: InterfaceId, address: IpAddr) -> Option<MacAddr> {
        let at = self.serving.probes.iter().position(|probe| (probe.0, probe.1) == (interface, address))?;
        self.serving.probes.remove(at)?.2
    }
}
