//! Stop 5: a learning bridge for each switch and VLAN (IEEE 802.1Q-2022, 8.6 to 8.8), and the tables it reads.
//!
//! Addresses are learned for each VLAN by itself (independent learning). A frame is admitted by the port it comes in
//! by, then sent to the port its destination was learned on, or flooded. What floods can be switched off by kind.
//! Frames to the link-local group addresses (STP, LACP, LLDP, 802.1X) end here as the standard wants: they speak to
//! the bridge at the other end of a link. Of these protocols this one speaks LLDP ([`lldp`](crate::lldp)).

use weir_wire::build::{push_tag_of, set_dscp, tag_type};
use weir_wire::numbers::{NEIGHBOR_ADVERTISEMENT, ROUTER_SOLICITATION};
use weir_wire::{DropReason, Instant, L3, MacAddr, Packet, PortId, SwitchId, Tag, Vid};

use crate::appliance::Appliance;
use crate::config::{Flood, PortConfig, SwitchConfig};
use crate::counters::PortCounters;
use crate::fdb::{Fdb, Source};
use crate::lldp::Lldp;
use crate::loops::{Blocked, Flaps, Move, Probes};
use crate::multicast::{Reach, Snooping};
use crate::serve::asks_for_addresses;
use crate::storm::Storm;
use crate::suppress::Suppression;
use crate::vlan::{Tagging, Vlans};
use crate::why::Drops;

/// A port as the switch sees it.
#[derive(Debug)]
pub(crate) struct Port {
    pub config: PortConfig,
    pub vlans: Vlans,
    /// Frames can flow, says the worker.
    pub link: bool,
    /// Its device can forward by itself, says the worker.
    pub fast: bool,
    pub counters: PortCounters,
    pub drops: Drops,
    /// What it may send to many.
    pub storm: Option<Box<Storm>>,
    pub lldp: Lldp,
    /// The loop guard has blocked it.
    pub blocked: Option<Blocked>,
    /// What people were told of it last.
    pub told: Option<(&'static str, Instant)>,
    /// It is the end of an appliance that joins its switch to another: who stands there.
    pub patch: Option<SwitchId>,
}

impl Port {
    /// Why no packet can leave by this port, where none can.
    #[inline]
    pub fn barred(&self) -> Option<DropReason> {
        match (self.config.down, self.link, self.blocked) {
            (true, ..) => Some(DropReason::PortDown),
            (false, false, _) => Some(DropReason::LinkDown),
            (false, true, Some(_)) => Some(DropReason::PortBlocked),
            (false, true, None) => None,
        }
    }

    /// The VLAN of a parsed packet that comes in by this port.
    ///
    /// # Errors
    /// Why it may not come in.
    #[inline]
    pub fn admit(&self, packet: &Packet) -> Result<Vid, DropReason> {
        if self.config.down {
            return Err(DropReason::PortDown);
        }
        if self.blocked.is_some() {
            return Err(DropReason::PortBlocked);
        }
        if let (Some(wanted), Vlans::Trunk { .. }) = (self.config.tag_type, &self.vlans)
            && tag_type(packet).is_some_and(|found| found != wanted)
        {
            return Err(DropReason::VlanNotAllowed);
        }
        let vid = self.vlans.classify(packet.headers.tag.as_ref()).ok_or(DropReason::VlanNotAllowed)?;
        let source = packet.src_mac();
        if source.is_multicast() || source == MacAddr::ZERO {
            return Err(DropReason::BadSourceMac);
        }
        if packet.dst_mac().is_reserved() {
            return Err(DropReason::ReservedAddress);
        }
        Ok(vid)
    }

    /// The VLAN of a packet, whether or not it may come in.
    pub fn classify(&self, packet: &Packet) -> Option<Vid> {
        self.vlans.classify(packet.headers.tag.as_ref())
    }

    /// How a packet of `vid` leaves by this port.
    ///
    /// # Errors
    /// Why it cannot.
    #[inline]
    pub fn departure(&self, vid: Vid) -> Result<Tagging, DropReason> {
        match (self.barred(), self.vlans.tagging(vid)) {
            (Some(reason), _) => Err(reason),
            (None, _) if self.patch.is_some() => Ok(Tagging::Through),
            (None, Tagging::NoMember) => Err(DropReason::VlanNotAllowed),
            (None, Tagging::Tagged) => Ok(self.config.tag_type.map_or(Tagging::Tagged, Tagging::TaggedAs)),
            (None, tagging) => Ok(tagging),
        }
    }

    /// The tag that a frame gets which comes in by this port and goes through a tunnel; `false` where there is no room.
    fn tunnel(&self, packet: &mut Packet) -> bool {
        let Vlans::Tunnel(vid) = self.vlans else { return true };
        let pcp_dei = packet.headers.tag.map_or(0, |tag| tag.pcp_dei);
        let ether_type = self.config.tag_type.unwrap_or(weir_wire::numbers::ETHERTYPE_SERVICE_VLAN);
        push_tag_of(packet, ether_type, Tag { vid, pcp_dei })
    }
}

/// A switch: its settings, its ports, its addresses.
#[derive(Debug)]
pub(crate) struct Switch {
    pub config: SwitchConfig,
    /// In order of their numbers.
    pub members: Vec<PortId>,
    pub fdb: Fdb,
    /// VLANs in which routers listen, in order.
    pub listeners: Vec<Vid>,
    /// VLANs in which routers give addresses, in order.
    pub givers: Vec<Vid>,
    /// What is known of multicast groups, where that is wanted.
    pub snooping: Option<Box<Snooping>>,
    /// What is known of who has which address, where the switch answers for hosts.
    pub suppression: Option<Box<Suppression>>,
    pub flaps: Flaps,
    pub probes: Probes,
    /// The switch's own MAC.
    pub mac: MacAddr,
    /// Appliances stand between this switch and others.
    pub is_joined: bool,
}

impl Switch {
    /// Forgets what was learned from a port.
    pub fn forget(&mut self, port: PortId) {
        self.fdb.flush_port(port);
        if let Some(snooping) = &mut self.snooping {
            snooping.forget(port);
        }
        if let Some(suppression) = &mut self.suppression {
            suppression.forget(port);
        }
    }

    /// Whether routers on this switch want a packet that is sent to many: address resolution, and
    /// where they give addresses, requests for these.
    #[inline]
    pub fn hears(&self, packet: &Packet) -> bool {
        !self.listeners.is_empty()
            && packet.port != PortId::LOCAL
            && self.listeners.binary_search(&packet.vid).is_ok()
            && (packet.headers.l3_kind == L3::Arp
                || packet.headers.l3_kind == L3::Ipv6
                    && matches!(packet.icmp(), Some((ROUTER_SOLICITATION..=NEIGHBOR_ADVERTISEMENT, _)))
                || self.givers.binary_search(&packet.vid).is_ok() && asks_for_addresses(packet))
    }
}

/// VLANs of one switch into which it speaks by itself.
const OWN_VIDS: usize = 64;

/// Whether a packet's headers are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// They are.
    Yes,
    /// Not yet.
    No,
}

/// What resolving found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// One port, by which it leaves like this.
    Port(PortId, Tagging),
    /// The ports in the list that was filled.
    Flood,
}

/// The kind of a destination address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Unicast,
    Broadcast,
    Multicast,
}

impl Kind {
    #[inline]
    pub fn of(mac: MacAddr) -> Kind {
        match mac {
            MacAddr::BROADCAST => Kind::Broadcast,
            mac if mac.is_multicast() => Kind::Multicast,
            _ => Kind::Unicast,
        }
    }
}

/// All switches and ports, by number.
#[derive(Debug, Default)]
pub(crate) struct Bridge {
    pub switches: Vec<Option<Switch>>,
    pub ports: Vec<Option<Box<Port>>>,
    /// The address that the door has just seen move.
    pub moved: Option<Move>,
    /// Ports of which something is wanted that the short way does not do.
    pub special: Special,
    /// By their place among the numbers of appliances.
    pub appliances: Vec<Option<Box<Appliance>>>,
}

/// What some port wants of every packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Special {
    /// Tunnels put a tag on what comes in.
    pub tunnels: bool,
    /// Packets are marked as they come in.
    pub marks: bool,
    /// Frames to unknown addresses are held to a rate.
    pub unknown: bool,
    /// Address resolution is answered.
    pub suppresses: bool,
}

impl Bridge {
    #[inline]
    pub fn port(&self, id: PortId) -> Option<&Port> {
        self.ports.get(usize::from(id.0))?.as_deref()
    }

    #[inline]
    pub fn port_mut(&mut self, id: PortId) -> Option<&mut Port> {
        self.ports.get_mut(usize::from(id.0))?.as_deref_mut()
    }

    #[inline]
    pub fn switch(&self, id: SwitchId) -> Option<&Switch> {
        self.switches.get(usize::from(id.0))?.as_ref()
    }

    #[inline]
    pub fn switch_mut(&mut self, id: SwitchId) -> Option<&mut Switch> {
        self.switches.get_mut(usize::from(id.0))?.as_mut()
    }

    /// The door of the switch: counts a packet that came in, parses it where that was not done, gives it its VLAN and
    /// learns its source. Returns the switch it is on.
    ///
    /// # Errors
    /// Why it may not come in.
    #[inline]
    pub fn arrive(&mut self, now_s: u32, packet: &mut Packet, parsed: Parsed) -> Result<SwitchId, DropReason> {
        let port = self.ports.get_mut(usize::from(packet.port.0)).and_then(Option::as_deref_mut);
        let port = port.ok_or(DropReason::PortUnbound)?;
        port.counters.received += 1;
        port.counters.received_bytes += packet.len() as u64;
        match parsed {
            Parsed::Yes => {}
            Parsed::No => packet.parse()?,
        }
        if port.config.switch.is_appliance() {
            let id = port.config.switch;
            packet.vid = self.admit_to_appliance(packet, id)?;
            return Ok(id);
        }
        packet.vid = port.admit(packet)?;
        if port.config.guard.is_some() {
            let on = port.config.switch;
            if !self.may_use_mac(now_s, packet, on) {
                return Err(DropReason::SpoofedMac);
            }
        }
        let port = self.ports.get_mut(usize::from(packet.port.0)).and_then(Option::as_deref_mut);
        let port = port.ok_or(DropReason::PortUnbound)?;
        let PortConfig { switch: id, learning, fdb_limit, .. } = port.config;
        let switch = self.switches.get_mut(usize::from(id.0)).and_then(Option::as_mut);
        let fdb = &mut switch.ok_or(DropReason::PortUnbound)?.fdb;
        let source = packet.src_mac();
        // A burst may come in just before its port's link is seen to be down: nothing is behind that port any more.
        let found = if learning && port.link {
            fdb.learn(now_s, packet.vid, source, packet.port, fdb_limit)
        } else {
            fdb.check(packet.vid, source, packet.port)
        };
        match found {
            Source::Welcome => {}
            Source::Moved(from) => {
                self.moved = Some(Move { switch: id, vid: packet.vid, mac: source, from, to: packet.port });
            }
            Source::Elsewhere => return Err(DropReason::SourceMacElsewhere),
        }
        if !port.tunnel(packet) {
            return Err(DropReason::TooLong);
        }
        if self.switch(id).is_some_and(|switch| switch.is_joined) { self.cross(now_s, packet, id) } else { Ok(id) }
    }

    /// Whether a port puts a tag on what comes in.
    pub fn is_tunnel(&self, port: PortId) -> bool {
        self.port(port).is_some_and(|port| matches!(port.vlans, Vlans::Tunnel(_)))
    }

    /// Gives a packet the DSCP of the port it came in by, where that has one.
    pub fn mark(&self, packet: &mut Packet) {
        if let Some(dscp) = self.port(packet.port).and_then(|port| port.config.dscp) {
            set_dscp(packet, dscp);
        }
    }

    /// Finds out anew what some port wants of every packet.
    pub fn look_for_special(&mut self) {
        let ports = || self.ports.iter().flatten();
        self.special = Special {
            tunnels: ports().any(|port| matches!(port.vlans, Vlans::Tunnel(_))),
            marks: ports().any(|port| port.config.dscp.is_some()),
            unknown: ports().any(|port| port.storm.as_ref().is_some_and(|storm| storm.watches_unknown())),
            suppresses: self.switches.iter().flatten().any(|switch| switch.config.suppress),
        };
    }

    /// Whether a packet goes to one address that its switch does not know.
    pub fn is_unknown(&self, now_s: u32, packet: &Packet, switch: SwitchId) -> bool {
        let (mac, vid) = (packet.dst_mac(), packet.vid);
        self.switch(switch).is_some_and(|switch| !mac.is_multicast() && switch.fdb.lookup(now_s, vid, mac).is_none())
    }

    /// VLANs into which a switch speaks by itself: those of untagged frames at its ports.
    pub fn own_vids(&self, id: SwitchId) -> Vec<Vid> {
        let members = self.switch(id).map_or(&[][..], |switch| &switch.members);
        let own = members.iter().filter_map(|&port| self.port(port)?.vlans.own());
        let mut vids: Vec<Vid> = own.collect();
        vids.sort_unstable();
        vids.dedup();
        vids.truncate(OWN_VIDS);
        vids
    }

    /// Stop 5: where a packet goes. Fills `to` with the ports for [`Destination::Flood`]. Changes nothing else.
    #[inline]
    pub fn resolve(
        &self,
        now_s: u32,
        packet: &Packet,
        switch: SwitchId,
        to: &mut Vec<PortId>,
    ) -> Result<Destination, DropReason> {
        let Some(switch) = self.switch(switch) else { return self.resolve_beyond(now_s, packet, switch, to) };
        let mac = packet.dst_mac();
        let flood = match Kind::of(mac) {
            Kind::Broadcast => switch.config.broadcast,
            // What routers of this fabric want to hear is not for those alone who have joined a group.
            Kind::Multicast if switch.hears(packet) => switch.config.multicast,
            Kind::Multicast => match switch.snooping.as_ref().map_or(Reach::All, |known| known.reach(now_s, packet)) {
                Reach::All => switch.config.multicast,
                Reach::Some(members) => return self.group(packet, switch, members, to),
                Reach::Routers => {
                    // Nobody else wants it; the switch itself has heard it.
                    let found = self.group(packet, switch, &[], to);
                    let own = Destination::Port(PortId::LOCAL, Tagging::Untagged);
                    return found.or_else(|reason| if to.is_empty() { Ok(own) } else { Err(reason) });
                }
            },
            Kind::Unicast => match switch.fdb.lookup(now_s, packet.vid, mac) {
                Some(port) => return self.known(packet, port),
                None => switch.config.unknown_unicast,
            },
        };
        match flood {
            Flood::Drop if switch.hears(packet) => Ok(Destination::Port(PortId::LOCAL, Tagging::Untagged)),
            Flood::Drop => Err(DropReason::NoDestination),
            Flood::Flood => self.flood(packet, switch, to),
        }
    }

    /// Stop 5 of what leaves a router, or of the fabric's own packets, into a VLAN of a switch: the port where `mac` is,
    /// or in `to` all ports of the VLAN.
    pub fn toward(
        &self,
        now_s: u32,
        from: PortId,
        (switch, vid): (SwitchId, Vid),
        mac: MacAddr,
        to: &mut Vec<PortId>,
    ) -> Result<Destination, DropReason> {
        let isolated = self.port(from).is_some_and(|port| port.config.isolated && port.config.switch == switch);
        let switch = self.switch(switch).ok_or(DropReason::NoDestination)?;
        if !mac.is_multicast() {
            match switch.fdb.lookup(now_s, vid, mac) {
                Some(id) => {
                    let port = self.port(id).ok_or(DropReason::NoDestination)?;
                    if isolated && port.config.isolated {
                        return Err(DropReason::Isolated);
                    }
                    return port.departure(vid).map(|tagging| Destination::Port(id, tagging));
                }
                None if switch.config.unknown_unicast == Flood::Drop => return Err(DropReason::NoDestination),
                None => {}
            }
        }
        let takes = |id: &PortId| {
            self.port(*id).is_some_and(|port| port.departure(vid).is_ok() && !(isolated && port.config.isolated))
        };
        to.clear();
        to.extend(switch.members.iter().copied().filter(takes));
        match **to {
            [] => Err(DropReason::NoDestination),
            [only] => {
                let port = self.port(only).ok_or(DropReason::NoDestination)?;
                port.departure(vid).map(|tagging| Destination::Port(only, tagging))
            }
            [_, _, ..] => Ok(Destination::Flood),
        }
    }

    /// A destination that was learned or configured. A configured one may be out of reach.
    #[inline]
    fn known(&self, packet: &Packet, to: PortId) -> Result<Destination, DropReason> {
        if to == packet.port {
            return Err(DropReason::SamePort);
        }
        if to == PortId::LOCAL {
            // Packets to be routed do not come here: this is address resolution, or nothing for a router.
            return match packet.headers.l3_kind {
                L3::Arp => Ok(Destination::Port(to, Tagging::Untagged)),
                L3::Ipv4 | L3::Ipv6 if Kind::of(packet.dst_mac()) != Kind::Unicast => {
                    Ok(Destination::Port(to, Tagging::Untagged))
                }
                L3::Ipv4 | L3::Ipv6 | L3::Other => Err(DropReason::NotRouted),
            };
        }
        let (Some(from), Some(port)) = (self.port(packet.port), self.port(to)) else {
            return Err(DropReason::NoDestination);
        };
        if port.config.switch != from.config.switch {
            return Err(DropReason::NoDestination);
        }
        if port.config.isolated && from.config.isolated {
            return Err(DropReason::Isolated);
        }
        port.departure(packet.vid).map(|tagging| Destination::Port(to, tagging))
    }

    /// The ports among `members` and those with routers that can take the packet.
    fn group(
        &self,
        packet: &Packet,
        switch: &Switch,
        members: &[(PortId, u32)],
        to: &mut Vec<PortId>,
    ) -> Result<Destination, DropReason> {
        let isolated = self.port(packet.port).is_some_and(|port| port.config.isolated);
        let routers = switch.snooping.iter().flat_map(|snooping| snooping.routers(packet.vid));
        to.clear();
        to.extend(members.iter().map(|&(port, _)| port).chain(routers));
        to.sort_unstable();
        to.dedup();
        let wanted = to.len();
        to.retain(|&id| {
            let port = self.port(id).filter(|port| port.departure(packet.vid).is_ok());
            id != packet.port && port.is_some_and(|port| !(isolated && port.config.isolated))
        });
        match **to {
            [] if wanted == 0 => Err(DropReason::MulticastUnregistered),
            [] => Err(DropReason::NoDestination),
            [only] => self.known(packet, only),
            [_, _, ..] => Ok(Destination::Flood),
        }
    }

    /// Every other port of the VLAN that can take the packet.
    pub fn flood(&self, packet: &Packet, switch: &Switch, to: &mut Vec<PortId>) -> Result<Destination, DropReason> {
        let isolated = self.port(packet.port).is_some_and(|port| port.config.isolated);
        let mut held_back = false;
        to.clear();
        for &id in switch.members.iter().filter(|&&id| id != packet.port) {
            let Some(port) = self.port(id).filter(|port| port.departure(packet.vid).is_ok()) else { continue };
            if isolated && port.config.isolated {
                held_back = true;
            } else {
                to.push(id);
            }
        }
        if switch.hears(packet) {
            to.push(PortId::LOCAL);
        }
        match **to {
            [] if held_back => Err(DropReason::Isolated),
            [] => Err(DropReason::NoDestination),
            [only] => self.known(packet, only),
            [_, _, ..] => Ok(Destination::Flood),
        }
    }
}
