//! Packets for the services of routers on their way out of the worker, and what the services have made on its way in.

use tokio::sync::mpsc::error::TrySendError;
use weir_wire::Instant;

use super::Outgoing;
use super::network::Network;

impl Network {
    /// Hands packets for the services over. What finds no room waits in the fabric, which is bounded.
    pub(super) fn hand_over_punts(&mut self) {
        while self.fabric.has_punts() {
            match self.outlets.services.try_reserve() {
                Ok(room) => {
                    if let Some(punt) = self.fabric.take_punt() {
                        room.send(punt);
                    }
                }
                Err(TrySendError::Full(())) => return,
                // Nobody serves any more: the daemon is on its way down.
                Err(TrySendError::Closed(())) => drop(self.fabric.take_punt()),
            }
        }
    }

    /// Sends what the services have made.
    pub(super) fn send_for_services(&mut self, now: Instant, frames: Vec<Outgoing>) {
        let (fabric, pool, egress) = (&mut self.fabric, &mut self.pool, &mut self.egress);
        for outgoing in frames {
            match outgoing {
                Outgoing::Put { interface, port, frame } => fabric.put(now, (interface, port), &frame, pool, egress),
                Outgoing::Answer { to, frame } => fabric.answer(now, to, &frame, pool, egress),
                Outgoing::Probe { interface, address } => fabric.probe(now, (interface, address), pool, egress),
            }
        }
        self.transmit(now, None);
        self.flush();
    }
}
