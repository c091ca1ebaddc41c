//! Packets that are held back until a file they bring the end of is judged.
//!
//! They are kept as they came, whole, in the order in which they came, and go on from stop 4 as any packet does, where
//! the flow's inspection says whether they may pass. What their sender repeats meanwhile is dropped: it is here.
//! Acknowledgements without data are not held, so that the other direction goes on.
//!
//! Limits: packets and buffers by flow, by port and in all ([`Bounds`]), flows; what finds no room is dropped, and its sender
//! repeats it. The time is bounded by whoever says that they wait.

use std::collections::{BTreeMap, VecDeque};

use weir_wire::{DropReason, Instant, Packet, PortId, SwitchId};

use super::Engine;
use crate::inspect::{Direction, Hold};

/// Bounds of what is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Packets of one flow.
    pub packets: usize,
    /// Bytes of their buffers.
    pub bytes: usize,
    /// Packets of all flows.
    pub packets_in_all: usize,
    /// Bytes of their buffers.
    pub bytes_in_all: usize,
    /// Flows.
    pub flows: usize,
    /// Packets that came in by one port, so that none takes all the room.
    pub packets_of_port: usize,
    /// Bytes of their buffers.
    pub bytes_of_port: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            packets: 256,
            bytes: 1 << 20,
            packets_in_all: 4096,
            bytes_in_all: 24 << 20,
            flows: 4096,
            packets_of_port: 2048,
            bytes_of_port: 12 << 20,
        }
    }
}

/// Leave to hold a packet back; only the guard gives it.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    flow: (u32, u32),
    switch: SwitchId,
    way: Direction,
    hold: Hold,
}

/// A packet that is held.
#[derive(Debug)]
struct Held {
    packet: Packet,
    wait: Wait,
}

/// A packet that waits no more.
#[derive(Debug)]
pub struct Released {
    /// The packet.
    pub packet: Packet,
    /// What it belongs to.
    pub switch: SwitchId,
    /// Why it ends; otherwise it goes on.
    pub ends: Option<DropReason>,
}

/// All that is held.
#[derive(Debug, Default)]
pub(super) struct Holding {
    bounds: Bounds,
    flows: BTreeMap<(u32, u32), Vec<Held>>,
    released: VecDeque<Released>,
    packets: usize,
    bytes: usize,
    /// Packets and bytes of each port that something is held of.
    of_ports: BTreeMap<PortId, (usize, usize)>,
    /// The packet at hand was held.
    pub resuming: bool,
}

/// What a packet takes of the buffers.
fn cost(packet: &Packet) -> usize {
    if packet.len() <= 2048 { 2048 } else { 64 << 10 }
}

impl Holding {
    /// Packets that are held, and that wait to go on.
    pub fn count(&self) -> usize {
        self.packets + self.released.len()
    }

    /// Packets of a direction of a flow are held.
    #[inline]
    pub fn holds(&self, flow: (u32, u32), way: Direction) -> bool {
        !self.flows.is_empty() && self.flows.get(&flow).is_some_and(|held| held.iter().any(|h| h.wait.way == way))
    }

    fn has_room(&self, flow: (u32, u32), port: PortId, more: usize) -> bool {
        let Bounds { packets, bytes, packets_in_all, bytes_in_all, flows, packets_of_port, bytes_of_port } =
            self.bounds;
        let (of_port, bytes_held) = self.of_ports.get(&port).copied().unwrap_or_default();
        let own = self.flows.get(&flow);
        let held: usize = own.into_iter().flatten().map(|held| cost(&held.packet)).sum();
        (own.is_some() || self.flows.len() < flows)
            && own.map_or(0, Vec::len) < packets
            && held + more <= bytes
            && of_port < packets_of_port
            && bytes_held + more <= bytes_of_port
            && self.packets < packets_in_all
            && self.bytes + more <= bytes_in_all
    }

    /// Holds a packet back; gives it back where it is held already, or finds no room.
    fn hold(&mut self, packet: Packet, wait: Wait) -> Result<(), Packet> {
        let Hold { begin, end, gate, .. } = wait.hold;
        let same = |held: &Held| {
            let known = held.wait.hold;
            held.wait.way == wait.way && begin >= known.begin && end <= known.end
        };
        let known = self.flows.get(&wait.flow).is_some_and(|held| held.iter().any(same));
        if known || !self.has_room(wait.flow, packet.port, cost(&packet)) {
            return Err(packet);
        }
        self.packets += 1;
        self.bytes += cost(&packet);
        let of_port = self.of_ports.entry(packet.port).or_default();
        *of_port = (of_port.0 + 1, of_port.1 + cost(&packet));
        self.flows.entry(wait.flow).or_default().push(Held { packet, wait });
        // What lies before the gate waits no more.
        self.release(wait.flow, |held| held.way == wait.way && held.hold.end <= gate, None);
        Ok(())
    }

    /// Lets those packets of a flow go that are chosen.
    fn release(&mut self, flow: (u32, u32), chosen: impl Fn(&Wait) -> bool, ends: Option<DropReason>) {
        let Some(held) = self.flows.get_mut(&flow) else { return };
        let mut gone = Vec::new();
        let mut at = 0;
        while let Some(one) = held.get(at) {
            if chosen(&one.wait) { gone.push(held.remove(at)) } else { at += 1 }
        }
        if held.is_empty() {
            self.flows.remove(&flow);
        }
        for Held { packet, wait } in gone {
            self.packets -= 1;
            self.bytes -= cost(&packet);
            if let Some(of_port) = self.of_ports.get_mut(&packet.port) {
                *of_port = (of_port.0.saturating_sub(1), of_port.1.saturating_sub(cost(&packet)));
                if of_port.0 == 0 {
                    self.of_ports.remove(&packet.port);
                }
            }
            self.released.push_back(Released { packet, switch: wait.switch, ends });
        }
    }

    /// A flow has ended: what is held of it ends too.
    pub fn forget(&mut self, flow: (u32, u32), reason: DropReason) {
        if !self.flows.is_empty() {
            self.release(flow, |_| true, Some(reason));
        }
    }

    /// Takes over what another one holds: it waits no more, and waits again where it has to.
    pub fn adopt(&mut self, other: &mut Holding) {
        let flows: Vec<(u32, u32)> = other.flows.keys().copied().collect();
        flows.into_iter().for_each(|flow| other.release(flow, |_| true, None));
        self.released.append(&mut other.released);
    }

    /// Another policy may say another thing about all of it.
    pub fn hurry(&mut self) {
        self.flows.values_mut().flatten().for_each(|held| held.wait.hold.until = Instant::ZERO);
    }

    /// When it is to be looked at again.
    pub fn next_due(&self) -> Option<Instant> {
        if !self.released.is_empty() {
            return Some(Instant::ZERO);
        }
        self.flows.values().flatten().map(|held| held.wait.hold.until).min()
    }
}

impl Engine {
    /// Leave to hold back the packet that inspection has just said it of.
    pub(super) fn wait_of(&self, slot: u32, switch: SwitchId, way: Direction, hold: Hold) -> Wait {
        Wait { flow: (slot, self.table.at(slot).generation), switch, way, hold }
    }

    /// Holds a packet back for which there is leave.
    ///
    /// # Errors
    /// The packet, where it is a copy of one that is held, or finds no room; it is to be dropped as
    /// [`DropReason::AwaitsVerdict`].
    pub fn hold(&mut self, packet: Packet, wait: Wait) -> Result<(), Packet> {
        self.holding.hold(packet, wait)
    }

    /// Packets wait no more.
    #[inline]
    pub fn has_released(&self) -> bool {
        !self.holding.released.is_empty()
    }

    /// Looks whether what is held may go on: a verdict has come, its time is over, or its flow is gone.
    pub fn look_at_held(&mut self, now: Instant) {
        let (table, holding) = (&self.table, &mut self.holding);
        let flows: Vec<(u32, u32)> = holding.flows.keys().copied().collect();
        for flow in flows {
            match table.get(flow.0, flow.1) {
                Some(found) if found.inspect.as_ref().is_none_or(|inspect| inspect.has_news(now)) => {
                    holding.release(flow, |_| true, None);
                }
                Some(_) => holding.release(flow, |wait| wait.hold.until <= now, None),
                None => holding.forget(flow, DropReason::FlowBlocked),
            }
        }
    }

    /// The packet that has waited longest of those that wait no more. Until [`Engine::resumed`] what goes through stop 6
    /// is taken for it.
    pub fn take_released(&mut self) -> Option<Released> {
        let released = self.holding.released.pop_front()?;
        self.holding.resuming = released.ends.is_none();
        Some(released)
    }

    /// The packet has gone its way.
    pub fn resumed(&mut self) {
        self.holding.resuming = false;
    }
}

#[cfg(test)]
mod tests {
    use weir_wire::{Offload, Pool};

    use super::*;

    fn hold(holding: &mut Holding, pool: &mut Pool, port: u16, flow: u32) -> bool {
        let packet = Packet::new(pool.copy(&[0; 60]).unwrap(), PortId(port), Offload::default());
        let hold = Hold { begin: 0, end: 1, gate: 0, until: Instant::ZERO };
        let wait = Wait { flow: (flow, 1), switch: SwitchId(0), way: Direction::Original, hold };
        holding.hold(packet, wait).is_ok()
    }

    #[test]
    fn no_port_takes_all_the_room_and_what_goes_gives_it_back() {
        let (mut pool, mut holding) = (Pool::default(), Holding::default());
        holding.bounds = Bounds { packets_of_port: 4, ..Bounds::default() };
        let held = (0..9).filter(|&flow| hold(&mut holding, &mut pool, 1, flow)).count();
        assert_eq!(held, 4);
        assert!(hold(&mut holding, &mut pool, 2, 20), "another port has room");
        holding.forget((0, 1), DropReason::FlowBlocked);
        assert!(hold(&mut holding, &mut pool, 1, 21) && !hold(&mut holding, &mut pool, 1, 22));
        (1..22).for_each(|flow| holding.forget((flow, 1), DropReason::FlowBlocked));
        assert!(holding.of_ports.is_empty() && holding.packets == 0 && holding.bytes == 0);
    }
}
