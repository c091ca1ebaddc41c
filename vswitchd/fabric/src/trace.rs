//! What would become of one frame, stop by stop, in words. Changes nothing: no address is learned, no flow made,
//! nothing counted. It asks the same functions that the walk in [`stages`](crate::stages) asks.

mod door;
mod link;

use weir_wire::buffer::PoolLimits;
use weir_wire::{DropReason, Instant, InterfaceId, L3, Offload, Packet, Pool, PortId, SwitchId};

use crate::bridge::{Destination, Kind};
use crate::multicast::Reach;
use crate::nat::Exit;
use crate::rewrite::rewrite;
use crate::router::is_routable;
use crate::router::neighbor::Found;
use crate::router::path::Path;
use crate::vlan::Tagging;
use crate::{Fabric, coarse};

impl Fabric {
    /// The walk of a frame that comes in by `port`, one line or more a stop, to its end. Ports, switches and zones of
    /// routers stand as "port 2" and "switch 0", so that a reader who knows their names can put them in.
    pub fn trace(&self, now: Instant, port: PortId, frame: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        if let Err(reason) = self.follow(now, port, frame, &mut lines) {
            lines.push(format!("dropped: {}. {}", reason.label(), reason.meaning()));
        }
        lines
    }

    fn follow(&self, now: Instant, port: PortId, frame: &[u8], lines: &mut Vec<String>) -> Result<(), DropReason> {
        let mut pool = Pool::new(PoolLimits { frames: 1, supers: 1 });
        let buffer = pool.copy(frame).ok_or(DropReason::TooLong)?;
        let mut packet = Packet::new(buffer, port, Offload::default());
        lines.push(format!("3 arrives by port {}: {} bytes", port.0, packet.len()));
        packet.parse()?;
        lines.push(format!("3 {}", headers(&packet)));
        let port = self.bridge.port(port).ok_or(DropReason::PortUnbound)?;
        let switch = port.config.switch;
        if switch.is_appliance() {
            packet.vid = self.bridge.admit_to_appliance(&packet, switch)?;
            return self.follow_appliance(now, &packet, switch, lines);
        }
        packet.vid = port.admit(&packet)?;
        self.bridge.switch(switch).ok_or(DropReason::PortUnbound)?;
        lines.push(format!("3 belongs to switch {}, {}", switch.0, vlan(packet.vid.0)));
        self.source(now, &packet, switch, lines)?;
        if self.bindings.guarded > 0 {
            self.trace_first_hop(now, &packet, switch, lines)?;
        }
        if let Some(door) = self.routers.door(switch, packet.vid, packet.dst_mac())
            && is_routable(&packet)
        {
            let (from, zone) = (door.interface, door.zone);
            return self.follow_routed(now, packet, from, zone, lines);
        }
        if let Some(crossing) = self.bridge.crossing(coarse(now), &packet, switch) {
            return self.follow_appliance(now, &packet, crossing.appliance, lines);
        }
        let mut to = Vec::new();
        match self.bridge.resolve(coarse(now), &packet, switch, &mut to)? {
            Destination::Port(only, _) => to = vec![only],
            Destination::Flood => {}
        }
        lines.push(format!("5 {} {}", self.destination(now, &packet, switch), ports(&to)));
        for port in to {
            let decided = self.engine.trace(now, &packet, switch, port);
            lines.extend(decided.into_iter().map(|line| format!("6 to port {}: {line}", port.0)));
            lines.push(self.departure(&packet, port));
        }
        Ok(())
    }

    /// The walk of a packet through an appliance.
    fn follow_appliance(
        &self,
        now: Instant,
        packet: &Packet,
        appliance: SwitchId,
        lines: &mut Vec<String>,
    ) -> Result<(), DropReason> {
        lines.push(format!("3 passes the appliance switch {}", appliance.0));
        let Some(standing) = self.bridge.appliance(appliance).map(|found| found.standing(now)) else {
            return Err(DropReason::PortUnbound);
        };
        lines.push(format!("4 the appliance is {}", standing.label()));
        let mut to = Vec::new();
        match self.bridge.resolve(coarse(now), packet, appliance, &mut to)? {
            Destination::Port(only, _) => to = vec![only],
            Destination::Flood => {}
        }
        lines.push(format!("5 goes on to {}", ports(&to)));
        for port in to {
            if !standing.judges() {
                lines.push(format!("6 to port {}: passes without being judged", port.0));
                continue;
            }
            let decided = self.engine.trace(now, packet, appliance, port);
            lines.extend(decided.into_iter().map(|line| format!("6 to port {}: {line}", port.0)));
        }
        Ok(())
    }

    /// The walk of a packet that came to a router by interface `from`.
    fn follow_routed(
        &self,
        now: Instant,
        mut packet: Packet,
        from: InterfaceId,
        zone: SwitchId,
        lines: &mut Vec<String>,
    ) -> Result<(), DropReason> {
        lines.push(format!("3 is for the router there: zone of switch {}", zone.0));
        lines.extend(self.nat.trace_inward(zone, &mut packet));
        self.engine.prepare(&mut packet, zone);
        let path = self.routers.path(from, &packet).map_err(|refused| {
            if let Some(error) = refused.error {
                lines.push(format!("5 the sender is told: {error:?}"));
            }
            refused.reason
        })?;
        let Path::Out { interface, next, hops, .. } = path else {
            lines.push("5 the router itself".to_owned());
            let decided = self.engine.trace(now, &packet, zone, PortId::LOCAL);
            lines.extend(decided.into_iter().map(|line| format!("6 to the router: {line}")));
            return Ok(());
        };
        let Some(config) = self.routers.interface(interface).map(|interface| &interface.config) else {
            return Err(DropReason::NoRoute);
        };
        let (switch, vid) = (config.switch, config.vid);
        let left = self.traced_exit(from, (interface, next)).map(|exit| self.nat.trace_outward(&exit, &packet));
        let router = self.routers.interface(from).and_then(|interface| self.routers.router(interface.router));
        if let Some((policy, _)) = router.and_then(|router| self.routers.by_policy(router, from, &packet)) {
            lines.push(format!("5 policy route \"{}\" decides", policy.name));
        }
        lines.push(format!("5 neighbour {next} on switch {}, {}, past {hops} routers", switch.0, vlan(vid.0)));
        let mac = match self.routers.neighbors.peek(interface, next) {
            Some(Found::At(mac)) => mac,
            Some(Found::Unreachable) => return Err(DropReason::NeighborUnresolved),
            Some(Found::Asked | Found::NoRoom) | None => {
                lines.push(format!("5 the MAC of {next} is not known: it is asked for, and the packet waits"));
                return Ok(());
            }
        };
        let mut to = Vec::new();
        if let Destination::Port(only, _) = self.bridge.toward(coarse(now), packet.port, (switch, vid), mac, &mut to)? {
            to = vec![only];
        }
        lines.push(format!("5 {mac} is behind {}", ports(&to)));
        for port in to {
            let decided = self.engine.trace(now, &packet, zone, port);
            lines.extend(decided.into_iter().map(|line| format!("6 to port {}: {line}", port.0)));
            if let Some(renamed) = left.clone().transpose()? {
                lines.extend(renamed);
            }
            packet.vid = vid;
            lines.push(self.departure(&packet, port));
        }
        Ok(())
    }

    /// Where a packet leaves a router, as far as translation cares; `None` where nothing is translated.
    fn traced_exit(&self, from: InterfaceId, (to, next): (InterfaceId, std::net::IpAddr)) -> Option<Exit> {
        let leaves = self.routers.interface(to).filter(|_| !self.nat.is_idle())?;
        let (zone, router) = (self.routers.router(leaves.router)?.zone, leaves.router);
        Some(Exit { zone, router, from, to, own: leaves.source_for(next), opens: true })
    }

    /// What the address table thinks of the source.
    fn source(
        &self,
        now: Instant,
        packet: &Packet,
        switch: SwitchId,
        lines: &mut Vec<String>,
    ) -> Result<(), DropReason> {
        let mac = packet.src_mac();
        let entries = self.fdb(now, switch);
        let known = entries.iter().find(|entry| entry.vid == packet.vid && entry.mac == mac);
        let here = |port: PortId| if port == packet.port { "here".to_owned() } else { format!("on port {}", port.0) };
        lines.push(match known {
            Some(entry) if entry.is_static => format!("3 source {mac} is configured {}", here(entry.port)),
            Some(entry) => format!("3 source {mac} was last seen {} {} s ago", here(entry.port), entry.age_s),
            None => format!("3 source {mac} is not known"),
        });
        match known {
            Some(entry) if entry.is_static && entry.port != packet.port => Err(DropReason::SourceMacElsewhere),
            Some(_) | None => Ok(()),
        }
    }

    /// Why the packet goes where it goes.
    fn destination(&self, now: Instant, packet: &Packet, switch: SwitchId) -> String {
        let mac = packet.dst_mac();
        let known = self.bridge.switch(switch).and_then(|s| s.fdb.lookup(coarse(now), packet.vid, mac));
        match (Kind::of(mac), known) {
            (Kind::Broadcast, _) => "broadcast, flooded to".to_owned(),
            (Kind::Multicast, _) => {
                let snooping = self.bridge.switch(switch).and_then(|switch| switch.snooping.as_ref());
                match snooping.map(|known| known.reach(coarse(now), packet)) {
                    Some(Reach::Some(_)) => format!("multicast {mac}, to members and routers on"),
                    Some(Reach::Routers) => format!("multicast {mac}, a report, to routers on"),
                    Some(Reach::All) | None => format!("multicast {mac}, flooded to"),
                }
            }
            (Kind::Unicast, Some(_)) => format!("destination {mac} is behind"),
            (Kind::Unicast, None) => format!("destination {mac} is not known, flooded to"),
        }
    }

    /// How the packet leaves by a port, where the guard lets it.
    fn departure(&self, packet: &Packet, to: PortId) -> String {
        let mut pool = Pool::new(PoolLimits { frames: 1, supers: 1 });
        let mut leave = || {
            let tagging = self.bridge.port(to).ok_or(DropReason::PortUnbound)?.departure(packet.vid)?;
            // What goes through an appliance is not sent yet.
            if tagging != Tagging::Through {
                rewrite(&mut packet.duplicate(&mut pool).ok_or(DropReason::NoBuffer)?, tagging)?;
            }
            Ok::<Tagging, DropReason>(tagging)
        };
        match leave() {
            Ok(Tagging::Tagged | Tagging::TaggedAs(_)) => {
                format!("7 to port {}: with the tag of VLAN {}", to.0, packet.vid.0)
            }
            Ok(Tagging::Inner) => {
                format!("7 to port {}: without the tag of VLAN {}, with those behind it", to.0, packet.vid.0)
            }
            Ok(Tagging::Untagged | Tagging::NoMember) => format!("7 to port {}: without a tag", to.0),
            Ok(Tagging::AsItIs) => format!("7 to port {}: as it is", to.0),
            Ok(Tagging::Retagged(vid)) => format!("7 to port {}: with the tag of VLAN {}", to.0, vid.0),
            Ok(Tagging::Through) => format!("7 through the appliance at port {}", to.0),
            Err(reason) => format!("7 to port {}: dropped: {}. {}", to.0, reason.label(), reason.meaning()),
        }
    }
}

fn vlan(vid: u16) -> String {
    if vid == 0 { "no VLAN".to_owned() } else { format!("VLAN {vid}") }
}

fn ports(to: &[PortId]) -> String {
    to.iter().map(|port| format!("port {}", port.0)).collect::<Vec<_>>().join(", ")
}

/// The headers in one line.
fn headers(packet: &Packet) -> String {
    let found = &packet.headers;
    let tag = found.tag.map_or("untagged".to_owned(), |tag| format!("tag VLAN {}", tag.vid.0));
    let (source, destination) = (packet.src_mac(), packet.dst_mac());
    let ethernet = format!("{source} > {destination}, {tag}");
    match (found.l3_kind, packet.addresses()) {
        (L3::Ipv4 | L3::Ipv6, Some((from, to))) => {
            let ports = packet.ports().map_or(String::new(), |(from, to)| format!(", ports {from} > {to}"));
            let icmp = packet.icmp().map_or(String::new(), |(kind, code)| format!(", type {kind} code {code}"));
            format!("{ethernet}, {from} > {to}, protocol {}{ports}{icmp}", found.protocol)
        }
        (L3::Arp, _) => format!("{ethernet}, ARP"),
        _ => format!("{ethernet}, EtherType {:#06x}", found.ether_type),
    }
}
