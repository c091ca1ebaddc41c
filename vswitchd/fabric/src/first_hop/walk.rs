//! The checks of the first hop on a packet's way.

use weir_filter::Why;
use weir_wire::{DropReason, L3, MacAddr, Packet, PortId, SwitchId};

use super::claims::{self, is_dhcp};
use super::{BindingEntry, GuardConfig, Place, dhcp};
use crate::bridge::Bridge;
use crate::stages::Walk;
use crate::{Fabric, coarse};

impl Bridge {
    /// Whether a guarded port may use this source MAC: not where it is known behind another port that has a link.
    #[inline]
    pub fn may_use_mac(&self, now_s: u32, packet: &Packet, switch: SwitchId) -> bool {
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
                self.bindings.check(self.now_s, packet, switch, guard, is_router)
            }
            None => {
                if packet.headers.l3_kind == L3::Arp || packet.icmp().is_some() {
                    self.bindings.overhear(self.now_s, packet, switch);
                }
                Ok(())
            }
        }
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
        let claims = claims::read(packet)?;
        let who: (PortId, MacAddr) = (packet.port, packet.src_mac());
        for (address, reason) in [claims.source, claims.target].into_iter().flatten() {
            let place = (switch, packet.vid, address);
            if is_router(place) {
                return Err(reason);
            }
            self.claim(now_s, place, who, guard, reason)?;
        }
        Ok(())
    }

    /// What a trusted port says of addresses.
    fn overhear(&mut self, now_s: u32, packet: &Packet, switch: SwitchId) {
        let Ok(claims) = claims::read(packet) else { return };
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
        self.bindings.forget_port(changed, false);
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
