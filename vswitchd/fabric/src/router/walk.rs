//! The stops of a packet that is routed. It comes from stop 4 with its flow, which belongs to a zone; it goes to stop 6
//! with the ports of the switch it is routed to, and what stop 7 changes.

use std::net::IpAddr;

use weir_filter::{Cleared, Entered, Inspected, Ticket, Why};
use weir_wire::build::neighbor::{advertisement, solicitation};
use weir_wire::build::{ArpKind, IcmpError, arp, packet as parsed};
use weir_wire::{DropReason, Fragment, Instant, InterfaceId, MacAddr, Packet, PortId, SwitchId, Vid};

use super::hop::{Fit, Hop};
use super::neighbor::Found;
use super::path::{Path, Refused};
use super::{Emission, Interface, link_local};
use crate::bridge::Destination;
use crate::nat::Exit;
use crate::stages::Walk;

/// How a packet leaves a router.
#[derive(Debug)]
pub(crate) struct Departure {
    pub hop: Hop,
    pub exit: Exit,
}

impl Walk<'_> {
    /// The interface whose MAC a packet was sent to.
    pub(crate) fn entrance(&self, packet: &Packet) -> Option<InterfaceId> {
        let switch = self.bridge.port(packet.port)?.config.switch;
        self.routers.door(switch, packet.vid, packet.dst_mac()).map(|door| door.interface)
    }

    /// Stops 5 to 7 of a packet in a zone.
    #[inline]
    pub(crate) fn route(&mut self, packet: Packet, ticket: Ticket) {
        let Some(from) = self.entrance(&packet) else { return self.end(packet, Why::reason(DropReason::NotRouted)) };
        if let Some(interface) = self.routers.interface_mut(from) {
            interface.counters.received += 1;
        }
        match self.routers.path(from, &packet) {
            Ok(Path::Out { interface, next, hops, .. }) => self.seek(packet, ticket, from, (interface, next), hops),
            Ok(Path::Local(at)) => match self.engine.inspect(self.now, packet, ticket, PortId::LOCAL, self.pool) {
                Inspected::Forward(cleared) => self.deliver_to(Some(at), cleared),
                Inspected::Dropped(packet, why) => self.end(packet, why),
                Inspected::Wait(packet, _) => self.cannot_wait(packet),
            },
            Err(refused) => self.turn_away(packet, refused),
        }
    }

    /// Ends a packet that cannot be routed and tells its sender.
    fn turn_away(&mut self, packet: Packet, refused: Refused) {
        let Refused { reason, error, at } = refused;
        let reply = error.and_then(|error| self.routers.error(self.now, at, &packet, error, self.pool));
        self.replies.extend(reply.map(|reply| (packet.port, Cleared::originate(reply))));
        self.end(packet, Why::reason(reason));
    }

    /// Finds the neighbour that a packet goes to, or lets it wait.
    fn seek(&mut self, packet: Packet, ticket: Ticket, from: InterfaceId, key: (InterfaceId, IpAddr), hops: u8) {
        let refused = |reason, error| Refused { reason, error, at: from };
        match self.routers.neighbors.find(self.now, key, &mut self.routers.emissions) {
            Found::At(mac) => match self.departure(from, key, mac, hops) {
                Some(departure) => self.go(packet, ticket, departure),
                None => self.end(packet, Why::reason(DropReason::NoRoute)),
            },
            Found::Asked => match self.routers.neighbors.hold(key, packet) {
                Ok(()) => {
                    // It comes again when the neighbour has answered.
                    if let Some(interface) = self.routers.interface_mut(from) {
                        interface.counters.received -= 1;
                    }
                }
                Err(packet) => self.end(packet, Why::reason(DropReason::NeighborLimit)),
            },
            Found::Unreachable => {
                let error = Some(IcmpError::HostUnreachable);
                self.turn_away(packet, refused(DropReason::NeighborUnresolved, error));
            }
            Found::NoRoom => self.end(packet, Why::reason(DropReason::NeighborLimit)),
        }
    }

    pub(crate) fn departure(
        &self,
        from: InterfaceId,
        (to, next): (InterfaceId, IpAddr),
        mac: MacAddr,
        hops: u8,
    ) -> Option<Departure> {
        let (entrance, exit) = (self.routers.interface(from)?, self.routers.interface(to)?);
        let clamps = entrance.config.clamp_mss || exit.config.clamp_mss;
        let clamp = clamps.then_some(entrance.config.mtu.min(exit.config.mtu));
        let config = &exit.config;
        let (switch, vid, source, mtu) = (config.switch, config.vid, config.mac, config.mtu);
        let hop = Hop { switch, vid, source, destination: mac, hops, mtu, clamp };
        let (zone, router) = (self.routers.router(exit.router)?.zone, exit.router);
        let own = if self.nat.is_idle() { None } else { exit.source_for(next) };
        Some(Departure { hop, exit: Exit { zone, router, from, to, own, opens: true } })
    }

    /// Stop 7 of a packet that leaves a router: its outside name, its next hop.
    pub(crate) fn depart(&mut self, cleared: &mut Cleared, departure: &Departure) -> Result<(), DropReason> {
        let Departure { hop, exit } = departure;
        if !self.nat.is_idle() {
            let timeouts = &self.engine.policy().settings().timeouts;
            let left = self.nat.outward(self.now, exit, cleared.rewrite(), timeouts);
            self.tell_shortage((cleared.packet().port, cleared.packet().vid));
            left?;
        }
        hop.rewrite(cleared.rewrite());
        Ok(())
    }

    /// Sends a packet on its way: to the port where its neighbour is, if the guard lets it.
    fn go(&mut self, mut packet: Packet, ticket: Ticket, mut departure: Departure) {
        let Departure { hop, exit } = &mut departure;
        exit.opens = !ticket.is_reply();
        let Exit { from, to: leaves_by, .. } = *exit;
        if hop.fit(&mut packet) == Fit::TooBig {
            let error = Some(IcmpError::TooBig(hop.mtu));
            return self.turn_away(packet, Refused { reason: DropReason::PathMtu, error, at: from });
        }
        let destination = self.bridge.toward(self.now_s, packet.port, (hop.switch, hop.vid), hop.destination, self.to);
        match destination {
            Ok(Destination::Port(to, tagging)) => match self.engine.inspect(self.now, packet, ticket, to, self.pool) {
                Inspected::Forward(mut cleared) => {
                    if let Err(reason) = self.depart(&mut cleared, &departure) {
                        return self.end(cleared.into_packet(), Why::reason(reason));
                    }
                    self.leave(to, tagging, cleared);
                }
                Inspected::Dropped(packet, why) => return self.end(packet, why),
                Inspected::Wait(packet, wait) => {
                    // It comes again.
                    if let Some(interface) = self.routers.interface_mut(from) {
                        interface.counters.received -= 1;
                    }
                    return self.wait(packet, wait);
                }
            },
            Ok(Destination::Flood) => self.flood(packet, ticket, Some(&departure)),
            Err(reason) => return self.end(packet, Why::reason(reason)),
        }
        if let Some(interface) = self.routers.interface_mut(leaves_by) {
            interface.counters.forwarded += 1;
        }
    }

    /// Stops 4 to 7 of a packet in a zone whose routers translate. Fragments have no ports: they are translated once
    /// they are whole, and then looked up by the name that they have inside.
    pub(crate) fn pass_translated(&mut self, mut packet: Packet, zone: SwitchId) {
        let whole = packet.headers.fragment == Fragment::No;
        if whole {
            self.translate(&mut packet, zone);
        }
        let mut entered = self.enter(packet, zone);
        if let Entered::Go(together, _) = &mut entered
            && !whole
            && self.translate(together, zone)
            && let Entered::Go(together, _) = entered
        {
            entered = self.enter(together, zone);
        }
        match entered {
            Entered::Go(packet, ticket) => self.route(packet, ticket),
            Entered::Held => {}
            Entered::Dropped(packet, why) => self.end(packet, why),
        }
    }

    /// Gives a packet its inside destination; `true` where it has another one than before.
    fn translate(&mut self, packet: &mut Packet, zone: SwitchId) -> bool {
        let timeouts = &self.engine.policy().settings().timeouts;
        let changed = self.nat.inward(self.now, zone, packet, timeouts);
        self.tell_shortage((packet.port, packet.vid));
        if changed {
            // The hash was that of the outside name.
            packet.hash = 0;
        }
        changed
    }

    /// Gives a packet of our own the names that its receiver knows.
    pub(crate) fn translate_reply(&mut self, cleared: &mut Cleared) {
        if self.nat.is_idle() {
            return;
        }
        let packet = cleared.packet();
        let Some(switch) = self.bridge.port(packet.port).map(|port| port.config.switch) else { return };
        // It goes back from a router's MAC, or on to one.
        let door = |mac| self.routers.door(switch, packet.vid, mac);
        let Some(zone) = door(packet.src_mac()).or_else(|| door(packet.dst_mac())).map(|door| door.zone) else {
            return;
        };
        self.nat.reply(zone, cleared.rewrite());
    }

    /// Ages the bindings of address translation.
    pub(crate) fn tick_nat(&mut self) {
        let timeouts = &self.engine.policy().settings().timeouts;
        self.nat.tick(self.now, timeouts);
    }

    /// A packet of the guard's own that is to go where the packet went that caused it, through routers. It ends where
    /// its way is not known: what it would say can be said again.
    pub(crate) fn route_own(&mut self, cleared: Cleared) {
        match self.entrance(cleared.packet()) {
            Some(from) => drop(self.route_own_from(from, cleared)),
            None => self.end(cleared.into_packet(), Why::reason(DropReason::NeighborUnresolved)),
        }
    }

    /// The same for a packet that begins at an interface of a router, which asks for neighbours it does not know.
    /// `false` where it has ended here.
    pub(crate) fn route_own_from(&mut self, from: InterfaceId, mut cleared: Cleared) -> bool {
        let found = self.routers.path(from, cleared.packet());
        let way = match found {
            Ok(Path::Out { interface, next, hops, .. }) => Some((interface, next, hops)),
            Ok(Path::Local(..)) | Err(_) => None,
        };
        let way = way.and_then(|(interface, next, hops)| {
            let known = self.routers.neighbors.find(self.now, (interface, next), &mut self.routers.emissions);
            let Found::At(mac) = known else { return None };
            self.departure(from, (interface, next), mac, hops).map(|departure| departure.hop)
        });
        let Some(hop) = way else {
            self.end(cleared.into_packet(), Why::reason(DropReason::NeighborUnresolved));
            return false;
        };
        if hop.fit(cleared.rewrite()) == Fit::TooBig {
            self.end(cleared.into_packet(), Why::reason(DropReason::PathMtu));
            return false;
        }
        let port = cleared.packet().port;
        match self.bridge.toward(self.now_s, port, (hop.switch, hop.vid), hop.destination, self.to) {
            Ok(Destination::Port(to, tagging)) => {
                hop.rewrite(cleared.rewrite());
                self.leave(to, tagging, cleared);
                true
            }
            Ok(Destination::Flood) => {
                self.end(cleared.into_packet(), Why::reason(DropReason::NoDestination));
                false
            }
            Err(reason) => {
                self.end(cleared.into_packet(), Why::reason(reason));
                false
            }
        }
    }

    /// Says what waits to be said, and sends packets on whose neighbour has answered.
    pub(crate) fn catch_up(&mut self) {
        while !(self.routers.emissions.is_empty() && self.routers.released.is_empty()) {
            let emissions = std::mem::take(&mut self.routers.emissions);
            emissions.into_iter().for_each(|emission| self.say(emission));
            let released = std::mem::take(&mut self.routers.released);
            for packet in released {
                self.resume(packet);
            }
        }
    }

    /// A packet that waited goes on from stop 4: its flow, its route and the policy are looked at as they are.
    fn resume(&mut self, packet: Packet) {
        let Some(switch) = self.bridge.port(packet.port).map(|port| port.config.switch) else {
            return self.end(packet, Why::reason(DropReason::PortUnbound));
        };
        match self.routers.door(switch, packet.vid, packet.dst_mac()).map(|door| door.zone) {
            Some(zone) => self.pass(packet, zone),
            None => self.end(packet, Why::reason(DropReason::NotRouted)),
        }
    }

    /// What the routers do as time passes; returns when the next is due.
    pub(crate) fn tick_routers(&mut self) -> Option<Instant> {
        let mut given_up = Vec::new();
        let routers = &mut *self.routers;
        let due = routers.neighbors.tick(self.now, &mut routers.emissions, &mut given_up);
        for packet in given_up {
            let refused = self.entrance(&packet).map(|at| {
                let error = Some(IcmpError::HostUnreachable);
                Refused { reason: DropReason::NeighborUnresolved, error, at }
            });
            match refused {
                Some(refused) => self.turn_away(packet, refused),
                None => self.end(packet, Why::reason(DropReason::NeighborUnresolved)),
            }
        }
        for (packet, reason) in std::mem::take(&mut self.routers.orphans) {
            self.end(packet, Why::reason(reason));
        }
        for (switch, vid, frame) in std::mem::take(&mut self.routers.farewells) {
            self.put(switch, vid, &frame);
        }
        let watched = self.tick_detours();
        let (announced, told) = (self.routers.announce(self.now), self.routers.advertise(self.now));
        [due, watched, announced, told].into_iter().flatten().min()
    }

    fn say(&mut self, emission: Emission) {
        let (Emission::Ask(id, ..) | Emission::Probe(id, _) | Emission::Announce(id, _) | Emission::Advertise(id, _)) =
            emission;
        let Some(interface) = self.routers.interface(id) else { return };
        let Some(frame) = frame(interface, emission) else { return };
        let (switch, vid) = (interface.config.switch, interface.config.vid);
        self.put(switch, vid, &frame);
    }

    /// Puts a frame of ours into a VLAN of a switch.
    pub(crate) fn put(&mut self, switch: SwitchId, vid: Vid, frame: &[u8]) {
        let Some(mut packet) = parsed(frame, PortId::LOCAL, self.pool) else { return };
        packet.vid = vid;
        self.counters(PortId::LOCAL).originated += 1;
        self.send_from(switch, Cleared::originate(packet));
    }

    /// Puts a packet of ours on a switch.
    fn send_from(&mut self, switch: SwitchId, cleared: Cleared) {
        let (vid, mac) = (cleared.packet().vid, cleared.packet().dst_mac());
        match self.bridge.toward(self.now_s, PortId::LOCAL, (switch, vid), mac, self.to) {
            Ok(Destination::Port(to, tagging)) => self.leave(to, tagging, cleared),
            Ok(Destination::Flood) => {
                self.counters(PortId::LOCAL).copied += self.to.len() as u64 - 1;
                self.spread(cleared);
            }
            Err(reason) => self.end(cleared.into_packet(), Why::reason(reason)),
        }
    }
}

/// The frame that says it.
fn frame(interface: &Interface, emission: Emission) -> Option<Vec<u8>> {
    let mac = interface.config.mac;
    let nobody = std::net::Ipv4Addr::UNSPECIFIED;
    Some(match emission {
        Emission::Ask(_, IpAddr::V4(target), to) => {
            let IpAddr::V4(own) = interface.source_for(target.into())? else { return None };
            let mut frame = arp(ArpKind::Request, (mac, own), (MacAddr::ZERO, target));
            if let (Some(to), Some(destination)) = (to, frame.first_chunk_mut::<6>()) {
                *destination = to.0;
            }
            frame
        }
        Emission::Ask(_, IpAddr::V6(target), to) => solicitation((mac, link_local(mac)), target, to),
        Emission::Probe(_, IpAddr::V4(own)) => arp(ArpKind::Request, (mac, nobody), (MacAddr::ZERO, own)),
        Emission::Probe(_, IpAddr::V6(own)) => solicitation((mac, std::net::Ipv6Addr::UNSPECIFIED), own, None),
        Emission::Announce(_, IpAddr::V4(own)) => arp(ArpKind::Request, (mac, own), (MacAddr::ZERO, own)),
        Emission::Announce(_, IpAddr::V6(own)) => advertisement((mac, own), None),
        Emission::Advertise(_, to) => interface.advertisement_frame(to)?,
    })
}
