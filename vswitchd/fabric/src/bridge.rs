//! Stop 5: a learning bridge for each switch and VLAN (IEEE 802.1Q-2022, 8.6 to 8.8), and the tables it reads.
//!
//! Addresses are learned for each VLAN by itself (independent learning). A frame is admitted by the port it comes in
//! by, then sent to the port its destination was learned on, or flooded. What floods can be switched off by kind.
//! Frames to the link-local group addresses (STP, LACP, LLDP, 802.1X) end here as the standard wants: they speak to
//! the bridge at the other end of a link, and this one speaks none of these protocols.

use weir_wire::numbers::{NEIGHBOR_ADVERTISEMENT, ROUTER_SOLICITATION};
use weir_wire::{DropReason, L3, MacAddr, Packet, PortId, SwitchId, Vid};

use crate::config::{Flood, PortConfig, SwitchConfig};
use crate::counters::PortCounters;
use crate::fdb::{Fdb, Source};
use crate::serve::asks_for_addresses;
use crate::vlan::{Tagging, Vlans};
use crate::why::Drops;

/// A port as the switch sees it.
#[derive(Debug)]
pub(crate) struct Port {
    pub config: PortConfig,
    pub vlans: Vlans,
    /// Frames can flow, says the worker.
    pub link: bool,
    pub counters: PortCounters,
    pub drops: Drops,
}

impl Port {
    /// Why no packet can leave by this port, where none can.
    #[inline]
    fn barred(&self) -> Option<DropReason> {
        match (self.config.down, self.link) {
            (true, _) => Some(DropReason::PortDown),
            (false, false) => Some(DropReason::LinkDown),
            (false, true) => None,
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

    /// How a packet of `vid` leaves by this port.
    ///
    /// # Errors
    /// Why it cannot.
    #[inline]
    pub fn departure(&self, vid: Vid) -> Result<Tagging, DropReason> {
        match (self.barred(), self.vlans.tagging(vid)) {
            (Some(reason), _) => Err(reason),
            (None, Tagging::NoMember) => Err(DropReason::VlanNotAllowed),
            (None, tagging) => Ok(tagging),
        }
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
}

impl Switch {
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
        packet.vid = port.admit(packet)?;
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
            Source::Welcome => Ok(id),
            Source::Elsewhere => Err(DropReason::SourceMacElsewhere),
        }
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
        let switch = self.switch(switch).ok_or(DropReason::PortUnbound)?;
        let mac = packet.dst_mac();
        let flood = match Kind::of(mac) {
            Kind::Broadcast => switch.config.broadcast,
            Kind::Multicast => switch.config.multicast,
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

    /// Every other port of the VLAN that can take the packet.
    fn flood(&self, packet: &Packet, switch: &Switch, to: &mut Vec<PortId>) -> Result<Destination, DropReason> {
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
