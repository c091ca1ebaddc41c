//! The end of packets that do not leave: counted, remembered, their buffers given back.

use weir_filter::{Wait, Why};
use weir_wire::{DropReason, Packet, PortId};

use crate::PortCounters;
use crate::stages::Walk;

impl Walk<'_> {
    /// A packet's end without leaving.
    #[inline(never)]
    pub fn end(&mut self, packet: Packet, why: Why) {
        self.counters(packet.port).dropped.count(why.reason);
        if let Some(switch) = self.bridge.port(packet.port).map(|port| port.config.switch) {
            self.engine.look_at_refused(self.now, &packet, switch, why.reason);
        }
        self.remember(&packet, why);
        self.pool.give(packet.buffer);
    }

    /// A packet that may not leave before a file is judged.
    #[cold]
    pub(crate) fn wait(&mut self, packet: Packet, wait: Wait) {
        if let Err(packet) = self.engine.hold(packet, wait) {
            self.cannot_wait(packet);
        }
    }

    /// The same where it cannot be let wait: its sender repeats it.
    #[cold]
    pub(crate) fn cannot_wait(&mut self, packet: Packet) {
        self.end(packet, Why::reason(DropReason::AwaitsVerdict));
    }

    /// What waited for verdicts and waits no more goes on from stop 4, in the order in which it came.
    #[cold]
    pub(crate) fn release_waiting(&mut self) {
        while let Some(released) = self.engine.take_released() {
            match released.ends {
                Some(reason) => self.end(released.packet, Why::reason(reason)),
                None => self.pass(released.packet, released.switch),
            }
            self.engine.resumed();
        }
    }

    /// The end of a copy that was not made.
    pub(crate) fn lose(&mut self, packet: &Packet, reason: DropReason) {
        self.counters(packet.port).dropped.count(reason);
        self.remember(packet, Why::reason(reason));
    }

    pub(crate) fn remember(&mut self, packet: &Packet, why: Why) {
        let sequence = self.strays.next_sequence();
        let drops = match self.bridge.port_mut(packet.port) {
            Some(port) => &mut port.drops,
            None => &mut self.strays.drops,
        };
        drops.record(self.now, sequence, packet.port, why, packet.bytes());
    }

    #[inline]
    pub(crate) fn counters(&mut self, port: PortId) -> &mut PortCounters {
        match self.bridge.port_mut(port) {
            Some(port) => &mut port.counters,
            None => &mut self.strays.counters,
        }
    }
}
