//! The ways of one burst: what the packets between the same two addresses have in common is found once.
//!
//! Most packets of a burst follow others between the same addresses. A way remembers what the door of the switch said
//! to the first of them and where the bridge sends it, and takes the counting of the others together. It lives for one
//! burst and holds only while nothing the answers rest on can have changed: as soon as a packet with another source
//! comes in, or one that takes the long way, what follows asks anew. So the tables stand as if every packet had asked.

use weir_wire::{Packet, PortId, SwitchId, Vid};

use crate::bridge::{Bridge, Destination};
use crate::vlan::Tagging;

/// Ways between which a packet's own is looked for; with more at a time it asks anew.
const LOOKED_AT: usize = 4;

/// Both addresses as they stand in the frame: destination, then source.
type Addresses = [u8; 12];

/// What packets between two addresses have in common.
#[derive(Debug)]
pub(crate) struct Path {
    addresses: Addresses,
    port: PortId,
    vid: Vid,
    switch: SwitchId,
    /// Where they go and how they leave; `None` until it was asked for, or where it is not one port.
    to: Option<(PortId, Tagging)>,
    resolved: bool,
    /// Packets that came in and were not counted one by one, and their bytes.
    received: [u64; 2],
    /// Packets put out and not counted one by one, and their bytes.
    sent: [u64; 2],
}

/// The ways of one burst.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    all: Vec<Path>,
    /// Those from here on have the same source, and nothing has been learned since the first of them.
    fresh: usize,
}

impl Paths {
    /// The way of a packet whose headers are known to carry no tag. Counts the packet and gives it its VLAN.
    #[inline]
    pub fn find(&mut self, packet: &mut Packet) -> Option<usize> {
        let addresses: &Addresses = packet.bytes().first_chunk()?;
        let from = self.fresh.max(self.all.len().saturating_sub(LOOKED_AT));
        let is_it = |path: &Path| path.addresses == *addresses && path.port == packet.port;
        let at = from + self.all.get(from..)?.iter().rposition(is_it)?;
        let bytes = packet.len() as u64;
        let path = self.all.get_mut(at)?;
        path.received[0] += 1;
        path.received[1] += bytes;
        packet.vid = path.vid;
        Some(at)
    }

    /// A way of its own for a packet that was admitted and counted.
    pub fn begin(&mut self, packet: &Packet, switch: SwitchId) -> usize {
        let addresses: Addresses = packet.bytes().first_chunk().copied().unwrap_or_default();
        let (port, vid, at) = (packet.port, packet.vid, self.all.len());
        let follows = |path: &Path| path.port == port && path.addresses[6..] == addresses[6..];
        if !self.all.get(self.fresh..).unwrap_or(&[]).last().is_some_and(follows) {
            self.fresh = at;
        }
        let (received, sent) = ([0; 2], [0; 2]);
        self.all.push(Path { addresses, port, vid, switch, to: None, resolved: false, received, sent });
        at
    }

    /// A packet was admitted the long way: what comes after it asks anew.
    pub fn interrupt(&mut self) {
        self.fresh = self.all.len();
    }

    /// The switch that the packets of this way are on.
    #[inline]
    pub fn switch(&self, at: usize) -> SwitchId {
        self.all.get(at).map_or(SwitchId(0), |path| path.switch)
    }

    /// The port that the packets of this way go to, where it is one, and how they leave. `packet` is one of them.
    #[inline]
    pub fn destination(
        &mut self,
        at: usize,
        packet: &Packet,
        now_s: u32,
        bridge: &Bridge,
        room: &mut Vec<PortId>,
    ) -> Option<(PortId, Tagging)> {
        let path = self.all.get_mut(at)?;
        if !path.resolved {
            path.resolved = true;
            path.to = match bridge.resolve(now_s, packet, path.switch, room) {
                Ok(Destination::Port(to, tagging)) => Some((to, tagging)),
                Ok(Destination::Flood) | Err(_) => None,
            };
        }
        path.to
    }

    /// Counts a packet of this way that was put out.
    #[inline]
    pub fn count_sent(&mut self, at: usize, bytes: u64) {
        if let Some(path) = self.all.get_mut(at) {
            path.sent[0] += 1;
            path.sent[1] += bytes;
        }
    }

    /// Takes what was counted together into the ports' accounts, and forgets all.
    pub fn settle(&mut self, bridge: &mut Bridge) {
        for path in self.all.drain(..) {
            if let Some(port) = bridge.port_mut(path.port) {
                port.counters.received += path.received[0];
                port.counters.received_bytes += path.received[1];
            }
            if let Some((to, _)) = path.to
                && let Some(port) = bridge.port_mut(to)
            {
                port.counters.sent += path.sent[0];
                port.counters.sent_bytes += path.sent[1];
            }
        }
        self.fresh = 0;
    }
}
