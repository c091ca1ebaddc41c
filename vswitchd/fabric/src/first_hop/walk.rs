//! The checks of the first hop on a packet's way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_filter::Why;
use weir_wire::build::neighbor::solicitation;
use weir_wire::build::{ArpKind, arp};
use weir_wire::{DropReason, L3, MacAddr, Packet, PortId, SwitchId};

use super::claims::Roles;
use super::claims::{self, is_dhcp};
use super::{Aside, BindingEntry, GuardConfig, Place, Would, dhcp};
use crate::bridge::Bridge;
use crate::stages::Walk;
use crate::{Fabric, coarse};

impl Bridge {
    /// Whether a guarded port may use this source MAC: not where it is known behind another port that has a link.
    #[inline]
    pub fn may_use_mac(&self, now_s: u32, packet: &Packet, switch: SwitchId) -> bool {
        let guard = self.port(packet.port).and_then(|port| port.config.guard.as_ref());
        if let Some(stated) = guard.and_then(|guard| guard.allows_mac(packet.src_mac())) {
            return stated;
        }
        let known = self.switch(switch).and_then(|switch| switch.fdb.lookup(now_s, packet.vid, packet.src_mac()));
        known.is_none_or(|port| {
            port == packet.port || !self.port(port).is_some_and(|port| port.link && !port.config.down)
        })
    }
}

impl Walk<'_> {
    /// Whether a packet may come in by its port; what it says of addresses is learned.
    ///
    /// # Errors
    /// Why it may not.
    #[inline]
    pub(crate) fn check_first_hop(&mut self, packet: &Packet) -> Result<(), DropReason> {
        if self.bindings.guarded == 0 {
            return Ok(());
        }
        let Some(port) = self.bridge.port(packet.port) else { return Ok(()) };
        let switch = port.config.switch;
        if switch.is_appliance() || port.patch.is_some() {
            return Ok(());
        }
        match &port.config.guard {
            Some(guard) => {
                let routers = &*self.routers;
                let is_router = |place: Place| {
                    let mut doors = routers.doors_on(place.0).iter().filter(|door| door.vid == place.1);
                    doors.any(|door| routers.interface(door.interface).is_some_and(|found| found.has(place.2)))
                };
                let checked = self.bindings.check(self.now_s, packet, switch, guard, is_router);
                if let Some(aside) = self.bindings.aside.take() {
                    self.follow_claim(packet, aside);
                }
                checked
            }
            None => {
                if packet.headers.l3_kind == L3::Arp || packet.icmp().is_some() {
                    self.bindings.overhear(self.now_s, packet, switch);
                }
                Ok(())
            }
        }
    }

    /// Asks the holder of an address that another claims, or tells that it has moved.
    #[cold]
    fn follow_claim(&mut self, packet: &Packet, aside: Aside) {
        let ((switch, vid, address), mac) = match aside {
            Aside::Moved(place, from) => {
                let text = format!("{} has moved from port {} to port {}", place.2, from.0, packet.port.0);
                return self.notice("address-moved", packet.port, (place.1, Some(from), Some(packet.src_mac())), text);
            }
            Aside::Ask(place, _) => (place, self.bridge.switch(place.0).map(|switch| switch.mac)),
        };
        let (Some(mac), Some(holder)) = (mac, self.bindings.get(self.now_s, (switch, vid, address))) else { return };
        let frame = match address {
            IpAddr::V4(address) => arp(ArpKind::Request, (mac, Ipv4Addr::UNSPECIFIED), (MacAddr::ZERO, address)),
            IpAddr::V6(address) => solicitation((mac, Ipv6Addr::UNSPECIFIED), address, None),
        };
        self.emit_into(holder.port, vid, &frame);
    }

    /// Tells of a MAC that a guest may not use.
    #[cold]
    pub(crate) fn tell_spoofed_mac(&mut self, packet: &Packet) {
        let (mac, switch) = (packet.src_mac(), self.bridge.port(packet.port).map(|port| port.config.switch));
        let known = switch.and_then(|switch| self.bridge.switch(switch)?.fdb.lookup(self.now_s, packet.vid, mac));
        let other = known.filter(|&port| port != PortId::LOCAL && port != packet.port);
        let text = match other {
            Some(port) => format!("{mac} is behind port {}", port.0),
            None => format!("{mac} is not one of the port's"),
        };
        self.notice(DropReason::SpoofedMac.label(), packet.port, (packet.vid, other, Some(mac)), text);
    }

    /// A packet that a guest may not send: it is told of, and ends.
    pub(crate) fn refuse_first_hop(&mut self, packet: Packet, reason: DropReason) {
        let switch = self.bridge.port(packet.port).map_or(SwitchId(u16::MAX), |port| port.config.switch);
        self.engine.tell_refusal_without_flow(self.now, &packet, switch, reason);
        self.end(packet, Why::reason(reason));
    }

    /// Reads the leases that a server sends to a guarded port.
    #[inline]
    pub(crate) fn snoop_leases(&mut self, packet: &Packet, to: PortId) {
        if self.bindings.guarded == 0 || !is_dhcp(packet) {
            return;
        }
        let Some(switch) = self.bridge.port(to).map(|port| port.config.switch) else { return };
        for grant in dhcp::grants(packet) {
            let known = self.bridge.switch(switch).and_then(|s| s.fdb.lookup(self.now_s, packet.vid, grant.mac));
            if known == Some(to) && self.bridge.port(to).is_some_and(|port| port.config.guard.is_some()) {
                let place = (switch, packet.vid, grant.address);
                self.bindings.lease(self.now_s, place, (to, grant.mac), grant.seconds);
            }
        }
    }
}

impl super::Bindings {
    fn check(
        &mut self,
        now_s: u32,
        packet: &Packet,
        switch: SwitchId,
        guard: &GuardConfig,
        is_router: impl Fn(Place) -> bool,
    ) -> Result<(), DropReason> {
        let claims = claims::read(packet, Roles { router: guard.router, dhcp_server: guard.dhcp_server })?;
        let who: (PortId, MacAddr) = (packet.port, packet.src_mac());
        for (address, reason) in [claims.source, claims.target].into_iter().flatten() {
            let place = (switch, packet.vid, address);
            if is_router(place) {
                return Err(reason);
            }
            // What a router forwards comes from addresses that are not its own.
            if guard.router && reason == DropReason::SpoofedAddress {
                if self.is_anothers(now_s, place, who.0) && !guard.shared.contains(&address) {
                    return Err(reason);
                }
                continue;
            }
            self.claim(now_s, place, who, guard, reason)?;
        }
        Ok(())
    }

    /// What [`Bindings::check`](super::Bindings::check) would say of each address that a packet claims. Learns nothing.
    pub(crate) fn would(
        &self,
        now_s: u32,
        packet: &Packet,
        switch: SwitchId,
        guard: &GuardConfig,
        is_router: impl Fn(Place) -> bool,
    ) -> Result<Vec<(IpAddr, Would)>, DropReason> {
        let claims = claims::read(packet, Roles { router: guard.router, dhcp_server: guard.dhcp_server })?;
        let mut all = Vec::new();
        for (address, reason) in [claims.source, claims.target].into_iter().flatten() {
            let place = (switch, packet.vid, address);
            if is_router(place) {
                return Err(reason);
            }
            let shared = guard.shared.contains(&address);
            let known = self.get(now_s, place);
            let would = match known {
                _ if shared => Would::Share,
                Some(binding) if guard.router && reason == DropReason::SpoofedAddress => {
                    if binding.port != packet.port {
                        return Err(reason);
                    }
                    Would::Hold(binding.origin)
                }
                None if guard.router && reason == DropReason::SpoofedAddress => Would::Forward,
                Some(binding) => match self.is_held(&binding, (packet.port, packet.src_mac())) {
                    true => Would::Hold(binding.origin),
                    false => return Err(reason),
                },
                None if guard.learn || guard.addresses.contains(&address) => Would::Learn,
                None => return Err(reason),
            };
            all.push((address, would));
        }
        Ok(all)
    }

    /// What a trusted port says of addresses.
    fn overhear(&mut self, now_s: u32, packet: &Packet, switch: SwitchId) {
        let Ok(claims) = claims::read(packet, Roles { router: true, dhcp_server: true }) else { return };
        let stated = if packet.headers.l3_kind == L3::Arp { claims.source } else { claims.target };
        if let Some((address, _)) = stated {
            self.hear(now_s, (switch, packet.vid, address), (packet.port, packet.src_mac()));
        }
    }
}

impl Fabric {
    /// Bindings of addresses to ports, in order of switch, VLAN and address; `limit` at most, and how many there are.
    pub fn bindings(&self, limit: usize) -> (Vec<BindingEntry>, usize) {
        (self.bindings.list(limit), self.bindings.len())
    }

    /// Forgets the binding of an address; `false` where there is none.
    pub fn forget_binding(&mut self, place: Place) -> bool {
        self.bindings.forget(place)
    }

    /// The guarded ports have changed: gives them their addresses.
    pub(crate) fn set_guards(&mut self, changed: PortId) {
        self.bindings.guarded = self.bridge.ports.iter().flatten().filter(|port| port.config.guard.is_some()).count();
        self.bindings.forget_port(changed);
        let Some(port) = self.bridge.port(changed) else { return };
        let crate::config::PortConfig { switch, guard: Some(guard), vlan, .. } = &port.config else { return };
        // On a trunk an address is bound in the VLAN where it is first used.
        if let crate::config::VlanMode::Access(vid) = vlan {
            guard.addresses.iter().for_each(|address| self.bindings.give((*switch, *vid, *address), changed));
        }
    }

    /// The binding of an address as it stands at `now`.
    pub fn binding(&self, now: weir_wire::Instant, place: Place) -> Option<super::Binding> {
        self.bindings.get(coarse(now), place)
    }
}
