//! What the door of a switch would say of a packet: first-hop security, and rates of what goes to many.

use weir_wire::{DropReason, Packet, SwitchId};

use crate::first_hop::{Place, Would};
use crate::{Fabric, coarse};

impl Fabric {
    /// What first-hop security would say; nothing where the port is trusted.
    ///
    /// # Errors
    /// Why the packet would end.
    pub(super) fn trace_first_hop(
        &self,
        now: weir_wire::Instant,
        packet: &Packet,
        switch: SwitchId,
        lines: &mut Vec<String>,
    ) -> Result<(), DropReason> {
        let Some(port) = self.bridge.port(packet.port) else { return Ok(()) };
        let Some(guard) = &port.config.guard else {
            lines.push("3 first hop: the port is trusted".to_owned());
            return Ok(());
        };
        if !self.bridge.may_use_mac(coarse(now), packet, switch) {
            return Err(DropReason::SpoofedMac);
        }
        let is_router = |place: Place| {
            let mut doors = self.routers.doors_on(place.0).iter().filter(|door| door.vid == place.1);
            doors.any(|door| self.routers.interface(door.interface).is_some_and(|found| found.has(place.2)))
        };
        for (address, would) in self.bindings.would(coarse(now), packet, switch, guard, is_router)? {
            lines.push(match would {
                Would::Hold(origin) => format!("3 first hop: {address} is bound to the port ({})", origin.label()),
                Would::Learn => format!("3 first hop: {address} is nobody's yet, and would be bound to the port"),
                Would::Share => format!("3 first hop: {address} is shared between guests"),
                Would::Forward => format!("3 first hop: {address} is another host's, which the port forwards for"),
            });
        }
        Ok(())
    }
}
