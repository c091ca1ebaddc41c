//! Packets that leave by several ports: judged once for all, copied for each.

use weir_filter::{Cleared, Inspected, Ticket, Why};
use weir_wire::{DropReason, Packet};

use crate::router::walk::Departure;
use crate::stages::Walk;

impl Walk<'_> {
    /// Stop 6 for several destinations, and the copies. A copy that was refused or found no buffer counts as made and
    /// dropped, so that the sum stays exact.
    pub(crate) fn flood(&mut self, packet: Packet, ticket: Ticket, departure: Option<&Departure>) {
        let (port, wanted, mut refused) = (packet.port, self.to.len(), 0);
        let inspected = self.engine.inspect_flood(self.now, packet, ticket, self.to, &mut refused, self.pool);
        let mut cleared = match inspected {
            Inspected::Forward(cleared) => cleared,
            Inspected::Dropped(packet, why) => return self.end(packet, why),
            Inspected::Wait(packet, _) => return self.cannot_wait(packet),
        };
        if let Some(departure) = departure
            && let Err(reason) = self.depart(&mut cleared, departure)
        {
            return self.end(cleared.into_packet(), Why::reason(reason));
        }
        let counters = self.counters(port);
        counters.copied += wanted as u64 - 1;
        counters.dropped.add(DropReason::Policy, refused as u64);
        if refused > 0 {
            self.remember(cleared.packet(), Why::reason(DropReason::Policy));
        }
        self.spread(cleared);
    }

    /// Copies of a packet for all ports that were found; they are counted as copied already.
    pub(crate) fn spread(&mut self, cleared: Cleared) {
        let mut to = std::mem::take(self.to);
        if let Some(last) = to.pop() {
            for &port in &to {
                match cleared.duplicate(self.pool) {
                    Some(copy) => self.send(port, copy),
                    None => self.lose(cleared.packet(), DropReason::NoBuffer),
                }
            }
            self.send(last, cleared);
        }
        *self.to = to;
    }
}
