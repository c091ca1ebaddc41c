//! Whether a packet that begins a flow could be judged at present: what a probe of an appliance asks.

use weir_wire::{DropReason, Instant, Packet, Pool, PortId, SwitchId};

use super::{Engine, Entered};
use crate::policy::{Subject, TRUSTED};

/// Bytes of a stream that there must be room for: a full segment on an Ethernet.
const SEGMENT: usize = 1460;

impl Engine {
    /// Takes a parsed packet through stop 4 and to the policy, as the first of its flow that came in by its port and goes
    /// to `to`, and asks whether there would be room for the flow and, where flows are inspected, for its stream. Nothing is
    /// counted, told, or remembered, and no flow is ended for it. A port that has used up its own share is no failure.
    ///
    /// # Errors
    /// Why nothing could be said about such a packet. A refusal by the policy is no error: it is judged then.
    pub fn probe(
        &mut self,
        now: Instant,
        packet: Packet,
        (switch, to): (SwitchId, PortId),
        pool: &mut Pool,
    ) -> Result<(), DropReason> {
        let packet = match self.enter(now, packet, switch, pool) {
            Entered::Go(packet, _) => packet,
            Entered::Held => return Err(DropReason::FragmentLimit),
            Entered::Dropped(packet, why) => {
                pool.give(packet.buffer);
                return Err(why.reason);
            }
        };
        let decision = self.policy.judge(&Subject::of_packet(&packet, switch, to));
        let port = packet.port;
        pool.give(packet.buffer);
        if self.table.is_full() && self.table.victim_for(port).is_none() {
            return Err(DropReason::FlowTableFull);
        }
        // Of a packet that is refused nothing more is asked, but the next may be one that is not.
        let inspects = decision.refuses() || decision.program.is_some_and(|program| program != TRUSTED);
        if inspects && !self.policy.programs().is_empty() && !self.memory.has_room_for(port, SEGMENT) {
            return Err(DropReason::StreamLimit);
        }
        Ok(())
    }
}
