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
    queues: Vec<Queue>,
    /// Ports that were given something, in the order in which they were, since it was last asked for.
    waiting: Vec<PortId>,
    /// How many of them were told.
    told: usize,
}

#[derive(Debug, Default)]
struct Queue {
    packets: Vec<Packet>,
    /// It stands among those that wait.
    listed: bool,
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
            self.queues.resize_with(index + 1, Queue::default);
        }
        match self.queues.get_mut(index) {
            Some(queue) if queue.packets.len() < EGRESS_LIMIT => {
                queue.packets.push(packet.into_packet());
                list(&mut self.waiting, port, queue);
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
        if !queue.packets.is_empty() || burst.len() > EGRESS_LIMIT || !leaves.cover(burst.len()) {
            return false;
        }
        std::mem::swap(&mut queue.packets, burst);
        list(&mut self.waiting, port, queue);
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
        self.queues.get_mut(usize::from(port.0)).map(|queue| &mut queue.packets).filter(|queue| !queue.is_empty())
    }

    /// The next port that something is queued for, in the order in which ports were given something; each is told once.
    #[inline]
    pub fn next_waiting(&mut self) -> Option<PortId> {
        while let Some(&port) = self.waiting.get(self.told) {
            self.told += 1;
            if let Some(queue) = self.queues.get_mut(usize::from(port.0)) {
                queue.listed = false;
                if !queue.packets.is_empty() {
                    return Some(port);
                }
            }
        }
        self.waiting.clear();
        self.told = 0;
        None
    }
}

#[inline]
fn list(waiting: &mut Vec<PortId>, port: PortId, queue: &mut Queue) {
    if !std::mem::replace(&mut queue.listed, true) {
        waiting.push(port);
    }
}

#[cfg(test)]
mod tests {
    use weir_wire::buffer::PoolLimits;
    use weir_wire::{Offload, Pool};

    use super::*;

    #[test]
    fn ports_are_told_once_in_the_order_in_which_they_were_given_something() {
        let (mut pool, mut out) = (Pool::new(PoolLimits::default()), Egress::default());
        let mut give = |out: &mut Egress, port| {
            let packet = Packet::new(pool.copy(&[0; 60]).unwrap(), PortId(0), Offload::default());
            out.push(PortId(port), Cleared::originate(packet)).unwrap();
        };
        for port in [7, 2, 7] {
            give(&mut out, port);
        }
        assert_eq!(out.next_waiting(), Some(PortId(7)));
        out.queue(PortId(7)).unwrap().clear();
        // Given something again, it is told again.
        give(&mut out, 7);
        assert_eq!(out.next_waiting(), Some(PortId(2)));
        out.queue(PortId(2)).unwrap().clear();
        assert_eq!((out.next_waiting(), out.queue(PortId(7)).unwrap().len()), (Some(PortId(7)), 1));
        out.queue(PortId(7)).unwrap().clear();
        assert_eq!(out.next_waiting(), None);
        // What was emptied by others is passed over.
        give(&mut out, 3);
        out.queue(PortId(3)).unwrap().clear();
        assert_eq!(out.next_waiting(), None);
    }
}
