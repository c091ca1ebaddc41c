//! The end of a turn: what came out of the fabric goes to the ports, and each port that was touched is flushed once.
//!
//! Only ports that have something are visited, so that a turn costs nothing for the others.

use weir_ports::Port;
use weir_wire::{Instant, Packet, Pool, PortId};

use super::network::Network;
use super::port_table::Slot;

impl Network {
    /// Hands what came out of the fabric to the ports. Packets that are not whole came in by `from`.
    pub(super) fn transmit(&mut self, now: Instant, from: Option<PortId>) {
        while let Some(id) = self.egress.next_waiting() {
            let Some(queue) = self.egress.queue(id) else { continue };
            let Some((slot, origin)) = self.ports.with_origin(id, from) else {
                queue.drain(..).for_each(|packet| self.pool.give(packet.buffer));
                continue;
            };
            match origin {
                _ if slot.shaping.is_some() => hold(now, slot, origin, queue, &mut self.pool),
                Some(origin) => slot.port.tx_from(origin, &mut self.pool, queue),
                None => {
                    let port = &mut slot.port;
                    queue.iter_mut().filter(|packet| !packet.is_whole()).for_each(|packet| {
                        // What finds no buffer is dropped, and counted, where it is to be sent.
                        port.fill(packet, &mut self.pool);
                    });
                    port.tx(&mut self.pool, queue);
                }
            }
            touch(&mut self.touched, id, slot);
        }
    }

    /// Sends what had to wait for a port's rate and may leave; returns how many packets.
    pub(super) fn release_held(&mut self, now: Instant) -> usize {
        if !self.is_shaped {
            return 0;
        }
        let mut released = 0;
        for index in self.order(self.ports.ids().len()) {
            let Some(&id) = self.ports.ids().get(index) else { continue };
            let Some(slot) = self.ports.slot(id) else { continue };
            let Some(shaping) = slot.shaping.as_mut() else { continue };
            if shaping.release(&mut self.rates, now) {
                released += shaping.ready.len();
                slot.port.tx(&mut self.pool, &mut shaping.ready);
                touch(&mut self.touched, id, slot);
            }
        }
        released
    }

    /// Publishes what the turn has done to the other sides, once a port.
    pub(super) fn flush(&mut self) {
        for id in self.touched.drain(..) {
            if let Some(slot) = self.ports.slot(id) {
                slot.touched = false;
                slot.port.flush();
            }
        }
    }
}

/// The port is to be flushed at the end of the turn.
#[inline]
pub(super) fn touch(touched: &mut Vec<PortId>, id: PortId, slot: &mut Slot) {
    if !std::mem::replace(&mut slot.touched, true) {
        touched.push(id);
    }
}

/// Hands packets to a port that is held to a rate. What waits must be whole: its origin lets go of the rest.
fn hold(now: Instant, slot: &mut Slot, origin: Option<&dyn Port>, queue: &mut Vec<Packet>, pool: &mut Pool) {
    for packet in queue.iter_mut().filter(|packet| !packet.is_whole()) {
        // What finds no buffer is dropped, and counted, where it is to be sent.
        origin.unwrap_or(&*slot.port).fill(packet, pool);
    }
    let Some(shaping) = &mut slot.shaping else { return };
    shaping.accept(now, queue, pool);
    slot.port.tx(pool, &mut shaping.ready);
}
