//! Changes of the fabric: switches and ports come, change and go between two bursts.

use weir_wire::{Instant, PortId, SwitchId, Vid};

use crate::bridge::{Port, Switch};
use crate::config::{PortConfig, Step, SwitchConfig};
use crate::counters::PortCounters;
use crate::fdb::Fdb;
use crate::nat::NatConfig;
use crate::router::Door;
use crate::serve::Serving;
use crate::vlan::Vlans;
use crate::why::Drops;
use crate::{Fabric, coarse};

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
            Step::SetPort(id, config) => self.set_port(id, config),
            Step::RemovePort(id) => self.remove_port(now, id),
            Step::FlushFdb(id) => {
                if let Some(switch) = self.bridge.switch_mut(id) {
                    switch.fdb.flush();
                }
            }
            Step::SetRouter(id, config) => {
                let (zone, nat) = (config.zone, config.nat.clone());
                self.routers.set(now, id, config);
                self.nat.set(id, zone, nat, self.routers.addresses_of(id));
                self.tell_switches(now);
                self.tell_givers();
            }
            Step::RemoveRouter(id) => {
                self.routers.remove(id);
                self.nat.set(id, SwitchId(SwitchId::FIRST_ZONE), NatConfig::default(), Vec::new());
                self.tell_switches(now);
            }
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
        let switch = state.config.switch;
        if !up && let Some(switch) = self.bridge.switch_mut(switch) {
            switch.fdb.flush_port(port);
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
        let fdb = match slot.take() {
            None => table(self.seed, &config, doors, None, coarse(now)),
            Some(old) if needs_new_table(&old.config, &config) => {
                table(self.seed, &config, doors, Some(&old.fdb), coarse(now))
            }
            Some(mut old) => {
                old.fdb.set_ageing(config.ageing_s);
                old.fdb
            }
        };
        *slot = Some(Switch { config, members, fdb, listeners, givers });
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

    fn set_port(&mut self, id: PortId, config: PortConfig) {
        let index = usize::from(id.0);
        if index >= self.bridge.ports.len() {
            self.bridge.ports.resize_with(index + 1, || None);
        }
        let vlans = Vlans::new(&config.vlan);
        let Some(slot) = self.bridge.ports.get_mut(index) else { return };
        let switch = config.switch;
        let old = match slot {
            Some(port) => {
                port.vlans = vlans;
                Some(std::mem::replace(&mut port.config, config))
            }
            None => {
                let (counters, drops) = (PortCounters::default(), Drops::new());
                *slot = Some(Box::new(Port { config, vlans, link: true, counters, drops }));
                None
            }
        };
        // What was learned under other settings may be out of reach now: it is learned again, or flooded to.
        if let Some(old) = old {
            self.leave(id, old.switch);
        }
        if let Some(switch) = self.bridge.switch_mut(switch)
            && let Err(at) = switch.members.binary_search(&id)
        {
            switch.members.insert(at, id);
        }
    }

    fn remove_port(&mut self, now: Instant, id: PortId) {
        let slot = self.bridge.ports.get_mut(usize::from(id.0));
        let Some(port) = slot.and_then(Option::take) else { return };
        self.strays.counters.merge(&port.counters);
        self.leave(id, port.config.switch);
        self.engine.port_removed(now, id);
    }

    /// A port is on this switch no longer.
    fn leave(&mut self, id: PortId, switch: SwitchId) {
        if let Some(switch) = self.bridge.switch_mut(switch) {
            switch.members.retain(|&member| member != id);
            switch.fdb.flush_port(id);
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
