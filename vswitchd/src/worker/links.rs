//! Links that go up and down, and the wires that pass this on.

use weir_wire::{Instant, PortId};

use super::PortTable;
use super::network::Network;

impl Network {
    /// Tells the fabric which links went up or down, before anything is sent their way.
    pub(super) fn look_at_links(&mut self, now: Instant) {
        let mut changed = false;
        for (id, slot) in self.ports.entries() {
            let link = slot.port.link();
            if link != slot.link {
                slot.link = link;
                self.fabric.set_link(id, link);
                self.fast_paths.shut_port(now, id);
                // There may be something to say to whoever is there.
                self.next_tick = Instant::ZERO;
                changed = true;
            }
        }
        if changed {
            self.fast_paths.ask_devices(now, &mut self.fabric, &mut self.ports);
            self.pass_links_on();
        }
    }

    /// What is at one end of a wire sees whether the other end has a link.
    fn pass_links_on(&mut self) {
        for &[a, b] in &self.wires {
            let link = |ports: &mut PortTable, id| ports.slot(id).is_some_and(|slot| slot.link);
            let links = [link(&mut self.ports, a), link(&mut self.ports, b)];
            for (id, up) in [(a, links[1]), (b, links[0])] {
                if let Some(slot) = self.ports.slot(id) {
                    slot.port.set_carrier(up);
                }
            }
        }
    }

    /// Ports that are no end of a wire any more have their carrier back.
    pub(super) fn set_wires(&mut self, wires: Vec<[PortId; 2]>) {
        let before = std::mem::replace(&mut self.wires, wires);
        for id in before.into_iter().flatten() {
            if !self.wires.iter().flatten().any(|&other| other == id)
                && let Some(slot) = self.ports.slot(id)
            {
                slot.port.set_carrier(true);
            }
        }
        self.pass_links_on();
    }
}
