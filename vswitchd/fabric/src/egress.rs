//! Packets on their way out: the end of the pure part of the walk.
//!
//! One queue a port, emptied by the worker each turn. Queues are bounded: a port that many others send to in one turn
//! must not pin the pool.

use weir_filter::{Cleared, Leaves};
use weir_wire::{Packet, PortId};

/// Packets that one port may be given in one turn; the rest is dropped as `egress-limit`.
pub const EGRESS_LIMIT: usize = 1024;

/// Packets on their way out, by port.
#[derive(Debug, Default)]
pub struct Egress {
    queues: Vec<Vec<Packet>>,
}

impl Egress {
    /// Queues a packet for a port. Nothing uninspected fits.
    ///
    /// # Errors
    /// The packet, where [`EGRESS_LIMIT`] packets wait for the port already.
    #[inline]
    pub fn push(&mut self, port: PortId, packet: Cleared) -> Result<(), Packet> {
        let index = usize::from(port.0);
        if index >= self.queues.len() {
            self.queues.resize_with(index + 1, Vec::new);
        }
        match self.queues.get_mut(index) {
            Some(queue) if queue.len() < EGRESS_LIMIT => {
                queue.push(packet.into_packet());
                Ok(())
            }
            _ => Err(packet.into_packet()),
        }
    }

    /// Queues a whole burst for a port that has nothing queued, and empties it; nothing is moved. `false` leaves all as
    /// it was: the port has something queued, or not every packet was given leave.
    #[inline]
    pub fn push_all(&mut self, port: PortId, burst: &mut Vec<Packet>, leaves: &mut Leaves) -> bool {
        let Some(queue) = self.queues.get_mut(usize::from(port.0)) else { return false };
        if !queue.is_empty() || burst.len() > EGRESS_LIMIT || !leaves.cover(burst.len()) {
            return false;
        }
        std::mem::swap(queue, burst);
        true
    }

    /// Queues packets that were given leave for a port. What comes back found no room.
    pub fn push_run(&mut self, port: PortId, packets: impl Iterator<Item = Packet>, leaves: Leaves) -> Vec<Packet> {
        let mut refused = Vec::new();
        for cleared in leaves.clear(packets) {
            refused.extend(self.push(port, cleared).err());
        }
        refused
    }

    /// The packets for a port, where there are any; the worker hands them to the port, which empties the queue.
    #[inline]
    pub fn queue(&mut self, port: PortId) -> Option<&mut Vec<Packet>> {
        self.queues.get_mut(usize::from(port.0)).filter(|queue| !queue.is_empty())
    }
}
