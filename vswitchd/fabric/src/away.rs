//! Settled flows whose packets pass between two ports without coming to us: what the switch adds to what the guard says
//! of them (`weir_filter::engine`, `away`).
//!
//! Such packets must need nothing of the switch but the way: both ports carry the VLAN untagged and have no setting that
//! wants to see each packet. The address they go to must stay where it is: as soon as one is lost at a port, by moving or
//! ageing or because the port's link goes, the port is named in [`Fabric::lost_ports`], and its flows must come back.
//! What passed counts as received and sent, and keeps the sender's address from ageing.

use weir_filter::Offer;
use weir_wire::{Instant, PortId};

use crate::bridge::Port;
use crate::config::PortConfig;
use crate::{Fabric, coarse};

impl Port {
    /// Packets may pass by this port without being shown to us. A setting that needs every packet says no here.
    pub(crate) fn lets_pass(&self) -> bool {
        // Storms are of frames to many, loops and bridges behind a port block it, LLDP and groups have no settled flows.
        let PortConfig {
            switch,
            vlan: _,
            isolated: _,
            down,
            learning: _,
            fdb_limit: _,
            tag_type,
            storm: _,
            bpdu_guard: _,
            may_block: _,
            lldp: _,
            multicast_router: _,
            dscp,
            guard,
        } = &self.config;
        // What passes an appliance, or comes from a guest that is held to its addresses, is ours to look at.
        let watched = guard.is_some() || self.patch.is_some() || switch.is_appliance();
        self.fast && !watched && !down && tag_type.is_none() && dscp.is_none() && self.blocked.is_none()
    }
}

impl Fabric {
    /// Packets between two ports that say so may pass elsewhere once their flow is settled; its directions are then
    /// offered.
    pub fn set_fast(&mut self, port: PortId, fast: bool) {
        // A mirror copies each packet.
        let fast = fast && self.mirrors.stats().is_empty();
        if let Some(port) = self.bridge.port_mut(port) {
            port.fast = fast;
        }
        let any = self.bridge.ports.iter().flatten().any(|port| port.fast);
        for switch in self.bridge.switches.iter_mut().flatten() {
            switch.fdb.watch(any);
        }
    }

    /// Directions of flows that may be handed over, each for once.
    pub fn take_offers(&mut self, into: &mut Vec<Offer>) {
        self.engine.take_offers(into);
    }

    /// Something is offered.
    #[inline]
    pub fn has_offers(&self) -> bool {
        self.engine.has_offers()
    }

    /// Packets like those offered pass elsewhere from here on. `false` where the flow has changed meanwhile.
    pub fn hand_over(&mut self, offer: &Offer, place: u32) -> bool {
        self.engine.hand_over(offer.flow, offer.direction, place)
    }

    /// Counts packets that have passed elsewhere, the last at `last`.
    pub fn passed(&mut self, now: Instant, offer: &Offer, packets: u64, bytes: u64, last: Instant) {
        self.engine.passed(offer.flow, offer.direction, packets, bytes, last);
        let strays = &mut self.strays.counters;
        let from = self.bridge.port_mut(offer.from);
        let learns = from.as_ref().is_some_and(|port| port.config.learning && port.link);
        let limit = from.as_ref().map_or(0, |port| port.config.fdb_limit);
        let received = from.map_or(&mut *strays, |port| &mut port.counters);
        received.received += packets;
        received.received_bytes += bytes;
        let sent = self.bridge.port_mut(offer.to).map_or(strays, |port| &mut port.counters);
        sent.sent += packets;
        sent.sent_bytes += bytes;
        if learns && let Some(switch) = self.bridge.switch_mut(offer.switch) {
            switch.fdb.keep(coarse(now), offer.vid, offer.source(), offer.from, limit);
        }
    }

    /// All packets of the direction come to us again.
    pub fn take_back(&mut self, offer: &Offer) {
        self.engine.take_back(offer.flow, offer.direction);
    }

    /// Places that are to be shut at once wait.
    #[inline]
    pub fn has_recalled(&self) -> bool {
        self.engine.has_recalled()
    }

    /// The places that are to be shut at once; some may be named again.
    pub fn recalled(&mut self) -> impl Iterator<Item = u32> {
        self.engine.recalled()
    }

    /// Puts into `ports` those at which an address was lost since the last call. `true`: too many to be named, all may be.
    pub fn lost_ports(&mut self, ports: &mut Vec<PortId>) -> bool {
        let mut all = false;
        for switch in self.bridge.switches.iter_mut().flatten() {
            all |= switch.fdb.take_lost(ports);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use weir_filter::Limits;
    use weir_wire::{MacAddr, SwitchId, Vid};

    use super::*;
    use crate::loops::{BlockCause, Blocked};
    use crate::mirror::filter::Filter;
    use crate::mirror::{MirrorConfig, Sink};
    use crate::{Step, SwitchConfig};

    const PORT: PortId = PortId(0);

    fn fabric_with(config: PortConfig) -> Fabric {
        let mut fabric = Fabric::new(Limits::default(), 1);
        fabric.apply(Instant::ZERO, Step::SetSwitch(SwitchId(0), SwitchConfig::default()));
        fabric.apply(Instant::ZERO, Step::SetPort(PORT, config));
        fabric.set_fast(PORT, true);
        fabric
    }

    fn lets_pass(fabric: &Fabric) -> bool {
        fabric.bridge.port(PORT).is_some_and(Port::lets_pass)
    }

    #[test]
    fn a_port_whose_settings_concern_each_packet_lets_none_pass() {
        assert!(lets_pass(&fabric_with(PortConfig::default())));
        assert!(!lets_pass(&fabric_with(PortConfig { down: true, ..PortConfig::default() })));
        assert!(!lets_pass(&fabric_with(PortConfig { dscp: Some(46), ..PortConfig::default() })));
        assert!(!lets_pass(&fabric_with(PortConfig { tag_type: Some(0x88a8), ..PortConfig::default() })));
        let mut fabric = fabric_with(PortConfig::default());
        fabric.set_fast(PORT, false);
        assert!(!lets_pass(&fabric));
    }

    #[test]
    fn with_a_mirror_every_packet_is_seen() {
        let mut fabric = fabric_with(PortConfig::default());
        let mirror = MirrorConfig {
            name: "m".into(),
            sources: Vec::new(),
            vids: Vec::new(),
            filter: Filter::default(),
            one_of: 0,
            snap: 0,
            sink: Sink::Handed(1),
        };
        fabric.apply(Instant::ZERO, Step::SetMirrors(vec![mirror]));
        fabric.set_fast(PORT, true);
        assert!(!lets_pass(&fabric));
    }

    #[test]
    fn a_blocked_port_lets_none_pass_and_forgetting_it_names_it_even_without_learned_addresses() {
        let mut fabric = fabric_with(PortConfig::default());
        let mut lost = Vec::new();
        assert!(!fabric.lost_ports(&mut lost));
        lost.clear();
        if let Some(port) = fabric.bridge.port_mut(PORT) {
            port.blocked = Some(Blocked { cause: BlockCause::Bpdu, until: None });
        }
        assert!(!lets_pass(&fabric));
        if let Some(switch) = fabric.bridge.switch_mut(SwitchId(0)) {
            switch.forget(PORT);
        }
        assert!(!fabric.lost_ports(&mut lost));
        assert_eq!(lost, [PORT]);
    }

    #[test]
    fn an_address_that_moves_names_the_port_it_was_at() {
        let mut fabric = fabric_with(PortConfig::default());
        fabric.apply(Instant::ZERO, Step::SetPort(PortId(1), PortConfig::default()));
        let (mac, mut lost) = (MacAddr([2, 0, 0, 0, 0, 7]), Vec::new());
        let fdb = &mut fabric.bridge.switch_mut(SwitchId(0)).unwrap().fdb;
        fdb.learn(1, Vid(0), mac, PORT, 0);
        fdb.take_lost(&mut lost);
        lost.clear();
        fdb.keep(2, Vid(0), mac, PORT, 0);
        assert!(!fdb.take_lost(&mut lost) && lost.is_empty());
        fdb.learn(3, Vid(0), mac, PortId(1), 0);
        assert!(!fdb.take_lost(&mut lost));
        assert_eq!(lost, [PORT]);
        // It is not called back by what passed before.
        fdb.keep(4, Vid(0), mac, PORT, 0);
        lost.clear();
        assert!(!fdb.take_lost(&mut lost) && lost.is_empty());
    }
}
