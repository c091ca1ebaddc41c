//! Changes of the fabric: switches and ports come, change and go between two bursts.

use weir_wire::{Instant, MacAddr, PortId, SwitchId, Vid};

use crate::bridge::{Port, Switch};
use crate::config::{PortConfig, Step, SwitchConfig};
use crate::counters::PortCounters;
use crate::fdb::Fdb;
use crate::lldp::Lldp;
use crate::loops::{Flaps, Probes};
use crate::multicast::{RouterPort, Snooping};
use crate::nat::NatConfig;
use crate::router::Door;
use crate::serve::Serving;
use crate::storm::Storm;
use crate::vlan::Vlans;
use crate::why::Drops;
use crate::{Fabric, coarse, mixed};

impl Fabric {
    /// Makes one change.
    pub fn apply(&mut self, now: Instant, step: Step) {
        match step {
            Step::SetSwitch(id, config) => self.set_switch(now, id, config),
            Step::RemoveSwitch(id) => {
                if let Some(slot) = self.bridge.switches.get_mut(usize::from(id.0)) {
                    *slot = None;
                }
            }
            Step::SetPort(id, config) => self.set_port(now, id, config),
            Step::RemovePort(id) => self.remove_port(now, id),
            Step::FlushFdb(id) => {
                if let Some(switch) = self.bridge.switch_mut(id) {
                    switch.fdb.flush();
                }
            }
            Step::SetRouter(id, config) => {
                let (zone, nat) = (config.zone, config.nat.clone());
                let doors = self.routers.doors.clone();
                self.routers.set(now, id, config);
                self.nat.set(id, zone, nat, self.routers.addresses_of(id));
                // Most changes are of routes, which switches need not know.
                if self.routers.doors != doors {
                    self.tell_switches(now);
                }
                self.tell_givers();
            }
            Step::RemoveRouter(id) => {
                self.routers.remove(id);
                self.nat.set(id, SwitchId(SwitchId::FIRST_ZONE), NatConfig::default(), Vec::new());
                self.tell_switches(now);
            }
            Step::SetMirrors(wanted) => self.mirrors.set(wanted),
            Step::SetAppliance(id, config) => self.set_appliance(now, id, config),
            Step::RemoveAppliance(id) => self.remove_appliance(now, id),
            Step::FlushNat => drop(self.nat.flush()),
            Step::FlushNeighbors(id) => drop(self.routers.flush_neighbors(Some(id))),
            Step::SetServed(served) => {
                self.serving.set(served);
                self.tell_givers();
            }
        }
    }

    /// A port's link went up or down. Down forgets the addresses learned there.
    pub fn set_link(&mut self, port: PortId, up: bool) {
        let Some(state) = self.bridge.port_mut(port) else { return };
        state.link = up;
        state.lldp.announce_soon(Instant::ZERO);
        if !up {
            state.lldp.forget();
        }
        let switch = state.config.switch;
        if !up {
            self.bindings.link_lost(port);
        }
        let Some(switch) = self.bridge.switch_mut(switch) else { return };
        if !up {
            switch.forget(port);
        } else if let Some(snooping) = &mut switch.snooping {
            snooping.ask_soon(Instant::ZERO);
        }
    }

    fn set_switch(&mut self, now: Instant, id: SwitchId, config: SwitchConfig) {
        let index = usize::from(id.0);
        if index >= self.bridge.switches.len() {
            self.bridge.switches.resize_with(index + 1, || None);
        }
        let ports = self.bridge.ports.iter().enumerate();
        let members = ports
            .filter(|(_, port)| port.as_ref().is_some_and(|port| port.config.switch == id))
            .map(|(index, _)| PortId(index as u16))
            .collect();
        let Some(slot) = self.bridge.switches.get_mut(index) else { return };
        let doors = self.routers.doors_on(id);
        let (listeners, givers) = (listeners(doors), givers(doors, &self.serving));
        let mut old = slot.take();
        let known = old.as_mut().and_then(|old| old.snooping.take());
        let suppression = old.as_mut().and_then(|old| old.suppression.take()).unwrap_or_default();
        let suppression = config.suppress.then_some(suppression);
        let fdb = match old {
            None => table(self.seed, &config, doors, None, coarse(now)),
            Some(old) if needs_new_table(&old.config, &config) => {
                table(self.seed, &config, doors, Some(&old.fdb), coarse(now))
            }
            Some(mut old) => {
                old.fdb.set_ageing(config.ageing_s);
                old.fdb
            }
        };
        let (mac, is_joined) = (self.bridge_mac(id), self.bridge.is_joined(id));
        let switch = Switch {
            snooping: None,
            suppression,
            flaps: Flaps::default(),
            probes: Probes::default(),
            mac,
            config,
            members,
            fdb,
            listeners,
            givers,
            is_joined,
        };
        let Some(slot) = self.bridge.switches.get_mut(index) else { return };
        *slot = Some(switch);
        self.bridge.look_for_special();
        self.set_snooping(now, id, known);
    }

    /// The switch's own MAC: locally administered, another for each switch and each fabric.
    fn bridge_mac(&self, id: SwitchId) -> MacAddr {
        let [.., a, b, c, d, e] = mixed(self.seed ^ u64::from(id.0) << 32).to_be_bytes();
        MacAddr([0x02, a, b, c, d, e])
    }

    /// Goes on with what was known of groups, where the switch still snoops.
    fn set_snooping(&mut self, now: Instant, id: SwitchId, known: Option<Box<Snooping>>) {
        let Some(switch) = self.bridge.switch_mut(id) else { return };
        let Some(config) = switch.config.snooping else { return };
        let mut snooping = match known {
            Some(mut known) => {
                known.set(config, now);
                known
            }
            None => Box::new(Snooping::new(config, switch.mac, now)),
        };
        let members = switch.members.clone();
        for port in members {
            let router = self.bridge.port(port).map_or(RouterPort::Learn, |port| port.config.multicast_router);
            snooping.set_port(port, router);
        }
        if let Some(switch) = self.bridge.switch_mut(id) {
            switch.snooping = Some(snooping);
        }
    }

    /// Switches know the MACs of routers as addresses that nobody else may use.
    fn tell_switches(&mut self, now: Instant) {
        for (index, switch) in self.bridge.switches.iter_mut().enumerate() {
            let Some(switch) = switch else { continue };
            let doors = self.routers.doors_on(SwitchId(index as u16));
            let known = |door: &Door| switch.fdb.lookup(coarse(now), door.vid, door.mac) == Some(PortId::LOCAL);
            let statics = switch.fdb.entries(coarse(now)).iter().filter(|entry| entry.port == PortId::LOCAL).count();
            if doors.len() != statics || !doors.iter().all(known) {
                switch.fdb = table(self.seed, &switch.config, doors, Some(&switch.fdb), coarse(now));
                switch.listeners = listeners(doors);
            }
        }
    }

    /// Switches know in which VLANs routers give addresses.
    fn tell_givers(&mut self) {
        for (index, switch) in self.bridge.switches.iter_mut().enumerate() {
            if let Some(switch) = switch {
                switch.givers = givers(self.routers.doors_on(SwitchId(index as u16)), &self.serving);
            }
        }
    }

    pub(crate) fn set_port(&mut self, now: Instant, id: PortId, config: PortConfig) {
        let index = usize::from(id.0);
        if index >= self.bridge.ports.len() {
            self.bridge.ports.resize_with(index + 1, || None);
        }
        let vlans = Vlans::new(&config.vlan);
        let Some(slot) = self.bridge.ports.get_mut(index) else { return };
        let switch = config.switch;
        let (storm, router) = (config.storm, config.multicast_router);
        let wanted = (config.switch, config.guard.clone(), config.vlan.clone());
        let old = match slot {
            Some(port) => {
                port.vlans = vlans;
                if port.config.lldp != config.lldp {
                    port.lldp.announce_soon(now);
                }
                if port.config.storm != storm {
                    port.storm = Storm::new(storm, now);
                }
                Some(std::mem::replace(&mut port.config, config))
            }
            None => {
                let (counters, drops, storm) = (PortCounters::default(), Drops::new(), Storm::new(storm, now));
                let (lldp, blocked, told) = (Lldp::default(), None, None);
                let (patch, fast) = (None, false);
                let port = Port { config, vlans, link: true, fast, counters, drops, storm, lldp, blocked, told, patch };
                *slot = Some(Box::new(port));
                None
            }
        };
        self.bridge.look_for_special();
        let was = old.as_ref().map(|old: &PortConfig| (old.switch, old.guard.clone(), old.vlan.clone()));
        if was.as_ref() != Some(&wanted) {
            self.set_guards(id);
        }
        // What was learned under other settings may be out of reach now: it is learned again, or flooded to.
        if let Some(old) = old {
            self.leave(id, old.switch);
        }
        if let Some(switch) = self.bridge.switch_mut(switch)
            && let Err(at) = switch.members.binary_search(&id)
        {
            switch.members.insert(at, id);
        }
        if let Some(snooping) = self.bridge.switch_mut(switch).and_then(|switch| switch.snooping.as_deref_mut()) {
            snooping.set_port(id, router);
        }
    }

    pub(crate) fn remove_port(&mut self, now: Instant, id: PortId) {
        let slot = self.bridge.ports.get_mut(usize::from(id.0));
        let Some(port) = slot.and_then(Option::take) else { return };
        self.strays.counters.merge(&port.counters);
        self.leave(id, port.config.switch);
        self.bridge.look_for_special();
        self.set_guards(id);
        self.engine.port_removed(now, id);
    }

    /// A port is on this switch no longer.
    fn leave(&mut self, id: PortId, switch: SwitchId) {
        if let Some(switch) = self.bridge.switch_mut(switch) {
            switch.members.retain(|&member| member != id);
            switch.forget(id);
        }
    }
}

/// The VLANs of doors, in order.
fn listeners(doors: &[Door]) -> Vec<Vid> {
    let mut vids: Vec<Vid> = doors.iter().map(|door| door.vid).collect();
    vids.dedup();
    vids
}

/// The VLANs of doors behind which addresses are given, in order.
fn givers(doors: &[Door], serving: &Serving) -> Vec<Vid> {
    let gives = |door: &&Door| {
        let serves = serving.of(door.interface);
        serves.dhcp || serves.dhcp6
    };
    let mut vids: Vec<Vid> = doors.iter().filter(gives).map(|door| door.vid).collect();
    vids.dedup();
    vids
}

/// Whether the table's size or its static addresses change.
fn needs_new_table(old: &SwitchConfig, new: &SwitchConfig) -> bool {
    old.fdb_limit != new.fdb_limit || old.static_macs != new.static_macs
}

/// A table with the configured addresses, made larger until all of them fit, and with what was learned before.
fn table(seed: u64, config: &SwitchConfig, doors: &[Door], old: Option<&Fdb>, now_s: u32) -> Fdb {
    let own = doors.iter().map(|door| (door.vid, door.mac, PortId::LOCAL));
    let fixed: Vec<_> = config.static_macs.iter().copied().chain(own).collect();
    let mut statics = fixed.len();
    let mut fdb = loop {
        let mut fdb = Fdb::new(seed, config.fdb_limit, statics, config.ageing_s);
        if fixed.iter().all(|&(vid, mac, port)| fdb.set_static(vid, mac, port)) {
            break fdb;
        }
        statics = fdb.room() + 1;
    };
    if let Some(old) = old {
        fdb.adopt(now_s, old);
    }
    fdb
}
