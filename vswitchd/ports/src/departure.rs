//! The last step before a port sends: what the port cannot take is finished, what it cannot carry is refused.
//!
//! Every port sends through here, so that counting is the same for all: one packet of the fabric counts once, as sent
//! or as one drop, however many frames it was cut into.

use weir_wire::{Capabilities, DropReason, Offload, Packet, Pool, Segmentation};

use crate::Counters;

/// Ethernet header and two VLAN tags: what a frame may have beside the L3 packet that the MTU speaks of.
pub(crate) const L2_MAX: usize = 14 + 8;

/// What one port takes, and room to finish what it does not.
#[derive(Debug)]
pub(crate) struct Departure {
    capabilities: Capabilities,
    mtu: u32,
}

impl Departure {
    pub(crate) fn new(capabilities: Capabilities, mtu: u32) -> Departure {
        Departure { capabilities, mtu }
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    pub(crate) fn mtu(&self) -> u32 {
        self.mtu
    }

    /// Sends `packets` through `put`, which says why a frame could not be sent. Empties `packets`; all buffers go
    /// back to `pool`.
    pub(crate) fn send(
        &mut self,
        pool: &mut Pool,
        packets: &mut Vec<Packet>,
        counters: &mut Counters,
        mut put: impl FnMut(&[u8], Offload) -> Result<(), DropReason>,
    ) {
        for packet in packets.drain(..) {
            let sent = if !self.capabilities.accepts(packet.offload) {
                Err(DropReason::TxOffload)
            } else if self.too_long(&packet) {
                Err(DropReason::TxTooLong)
            } else {
                put(packet.bytes(), packet.offload)
            };
            match sent {
                Ok(()) => {
                    counters.tx_packets += 1;
                    counters.tx_bytes += packet.len() as u64;
                }
                Err(reason) => counters.tx_dropped.count(reason),
            }
            pool.give(packet.buffer);
        }
    }

    fn too_long(&self, packet: &Packet) -> bool {
        packet.offload.segmentation == Segmentation::None && packet.len() > self.mtu as usize + L2_MAX
    }
}
