//! A change of the configuration, made on a network between two bursts.

use weir_fabric::Step;
use weir_ports::Port;
use weir_ports::event::Epoll;
use weir_wire::{Instant, PortId};

use super::handle::{Adopted, Released};
use super::network::Network;
use super::shaping::Shaping;
use super::{Applied, Carriage, Transaction, hear};

impl Network {
    /// Makes a change between two bursts; nothing of it can fail.
    pub fn apply(&mut self, now: Instant, transaction: Transaction, epoll: &Epoll) -> Applied {
        // Not one frame passes under the old policy once the new one stands.
        let revoked = self.fast_paths.shut_all(now);
        let mut removed = Vec::new();
        let old_rooms = transaction.room.map(|room| self.fabric.use_room_for_bindings(room)).into_iter().collect();
        for Adopted(other) in transaction.adopt {
            self.adopt(now, *other, epoll);
        }
        let added: Vec<PortId> = transaction.add_ports.iter().map(|&(id, _)| id).collect();
        for (id, port) in transaction.add_ports {
            removed.extend(self.ports.insert(id, port));
            if let Some(slot) = self.ports.slot(id) {
                hear(epoll, id, slot);
            }
        }
        for step in transaction.steps {
            self.fabric.apply(now, step);
        }
        // The fabric takes a port for one with a link until it hears otherwise.
        for id in added {
            self.fabric.set_link(id, false);
        }
        for id in transaction.remove_ports {
            removed.extend(self.take_out(id, epoll));
        }
        self.set_carriages(now, transaction.carriages);
        self.set_wires(transaction.wires);
        for (id, slot) in self.ports.entries() {
            slot.port.set_gro(!transaction.no_gro.contains(&id));
        }
        // What the steps have ended was of the policy before.
        self.tell();
        let epoch = transaction.policy.epoch();
        let old_policy = self.fabric.install(transaction.policy);
        self.stats.epoch = epoch.0;
        self.next_tick = now;
        // Ports that came are to be found at once, with their links: whoever is told that the change is made may ask.
        self.is_busy = false;
        self.look_at_links(now);
        self.fast_paths.ask_devices(now, &mut self.fabric, &mut self.ports);
        let (old_policies, old_tables) = (vec![old_policy], self.fabric.retired_tables());
        Applied { epoch, removed, old_policies, old_tables, old_rooms, revoked }
    }

    /// Lets ports go, which another network is to have.
    pub fn release_ports(&mut self, now: Instant, ports: &[PortId], epoll: &Epoll) -> Released {
        ports.iter().for_each(|&id| self.fast_paths.shut_port(now, id));
        let release = |id: &PortId| {
            self.fabric.apply(now, Step::RemovePort(*id));
            Some((*id, self.take_out(*id, epoll)?))
        };
        ports.iter().filter_map(release).collect()
    }

    fn take_out(&mut self, id: PortId, epoll: &Epoll) -> Option<Box<dyn Port>> {
        let mut slot = self.ports.remove(id)?;
        // The kernel drops a closed descriptor from epoll by itself, but this one is closed later, or not at all.
        drop(epoll.remove(slot.port.event_fd()));
        if let Some(shaping) = &mut slot.shaping {
            shaping.clear(&mut self.pool);
        }
        Some(slot.port)
    }

    /// Takes in all of another network. The change that follows in the same breath sets rates and wires anew.
    fn adopt(&mut self, now: Instant, other: Network, epoll: &Epoll) {
        let Network { fabric, pool, mut ports, rates, fast_paths, stats, .. } = other;
        self.pool.adopt(pool);
        self.rates.adopt(rates);
        for (id, slot) in ports.take() {
            self.ports.put(id, slot);
            if let Some(slot) = self.ports.slot(id) {
                hear(epoll, id, slot);
            }
        }
        self.fabric.adopt(now, fabric, &mut self.pool, &mut self.egress);
        self.transmit(now, None);
        self.flush();
        self.fast_paths.adopt(fast_paths);
        self.stats.packets += stats.packets;
        self.stats.events_lost += stats.events_lost;
    }

    /// Holds ports to their rates; those that are not named have none.
    fn set_carriages(&mut self, now: Instant, mut carriages: Vec<(PortId, Carriage)>) {
        self.rates.set(now, carriages.iter().flat_map(|(_, carriage)| &carriage.groups));
        for (id, slot) in self.ports.entries() {
            let at = carriages.iter().position(|(port, _)| *port == id);
            let wanted = at.map(|at| carriages.swap_remove(at).1).unwrap_or_default();
            match &mut slot.shaping {
                Some(shaping) => shaping.set(wanted, &self.rates, now),
                None if wanted.is_free() => {}
                None => slot.shaping = Some(Box::new(Shaping::new(id, wanted, &self.rates, now))),
            }
        }
        self.is_shaped = self.ports.entries().any(|(_, slot)| slot.shaping.is_some());
    }
}
