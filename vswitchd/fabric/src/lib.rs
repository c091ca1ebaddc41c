//! The switch: where a packet goes and what is rewritten.
//!
//! Pure computation, like the guard: no clock, no I/O, no lock. The order of a packet's stops stands in `stages`.
#![forbid(unsafe_code)]

use std::sync::Arc;

use weir_filter::{Cleared, Engine, Event, Limits, Policy, Why};
use weir_wire::{DropCounters, Instant, MacAddr, Packet, Pool, PortId, SwitchId, Vid};

/// What to do with a kind of frame that has no single destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flood {
    /// Send it to every other port of the VLAN.
    #[default]
    Flood,
    /// Drop it.
    Drop,
}

/// How a port's frames belong to VLANs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VlanMode {
    /// All frames belong to one VLAN and carry no tag; `Vid(0)` is the untagged LAN of a switch without VLANs.
    /// Tagged frames are dropped, but for priority tags and the VLAN's own.
    Access(Vid),
    /// Tagged frames of the VLANs in `allowed`; untagged ones belong to `native` or are dropped where there is none.
    Trunk {
        /// Allowed VLANs as inclusive ranges.
        allowed: Vec<(Vid, Vid)>,
        /// VLAN of untagged frames, both ways.
        native: Option<Vid>,
    },
}

impl Default for VlanMode {
    fn default() -> VlanMode {
        VlanMode::Access(Vid(0))
    }
}

/// A switch's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchConfig {
    /// Learned addresses are forgotten after this many seconds without a frame.
    pub ageing_s: u32,
    /// Learned addresses at most, in all; the longest unused makes room for a new one.
    pub fdb_limit: usize,
    /// Unknown unicast.
    pub unknown_unicast: Flood,
    /// Broadcast.
    pub broadcast: Flood,
    /// Multicast.
    pub multicast: Flood,
    /// Static addresses.
    pub static_macs: Vec<(Vid, MacAddr, PortId)>,
}

impl Default for SwitchConfig {
    fn default() -> SwitchConfig {
        SwitchConfig {
            ageing_s: 300,
            fdb_limit: 65536,
            unknown_unicast: Flood::Flood,
            broadcast: Flood::Flood,
            multicast: Flood::Flood,
            static_macs: Vec::new(),
        }
    }
}

/// A port's settings, as the fabric sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortConfig {
    /// The switch it is on.
    pub switch: SwitchId,
    /// Its VLANs.
    pub vlan: VlanMode,
    /// Isolated ports do not exchange frames with each other.
    pub isolated: bool,
    /// Administratively down.
    pub down: bool,
    /// Learn addresses from it.
    pub learning: bool,
    /// Learned addresses at most on this port; 0 for no limit of its own.
    pub fdb_limit: usize,
}

/// One change of the fabric. Changes are planned and checked by the control plane; here they cannot fail.
#[derive(Clone, Debug)]
pub enum Step {
    /// Adds a switch or changes its settings.
    SetSwitch(SwitchId, SwitchConfig),
    /// Removes a switch; its ports must be gone.
    RemoveSwitch(SwitchId),
    /// Adds a port or changes its settings.
    SetPort(PortId, PortConfig),
    /// Removes a port with its addresses and flows.
    RemovePort(PortId),
    /// Forgets learned addresses of a switch.
    FlushFdb(SwitchId),
}

/// What the fabric counted for one port.
#[derive(Clone, Debug, Default)]
pub struct PortCounters {
    /// Packets that came in.
    pub received: u64,
    /// Bytes that came in.
    pub received_bytes: u64,
    /// Copies made of its packets for flooding, beyond the first.
    pub copied: u64,
    /// Fragments of it that became part of a whole packet (a datagram of n counts n - 1).
    pub merged: u64,
    /// Packets of our own caused by it (resets, ICMP errors).
    pub originated: u64,
    /// Packets put out to this port.
    pub sent: u64,
    /// Bytes put out to this port.
    pub sent_bytes: u64,
    /// Packets that came in by this port and ended here, by reason.
    pub dropped: DropCounters,
}

/// A learned or static address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdbEntry {
    /// VLAN.
    pub vid: Vid,
    /// Address.
    pub mac: MacAddr,
    /// Port.
    pub port: PortId,
    /// Configured, not learned.
    pub is_static: bool,
    /// Seconds since it was last seen; 0 for static ones.
    pub age_s: u32,
}

/// A packet that was dropped lately.
#[derive(Clone, Debug)]
pub struct LastDrop {
    /// When.
    pub time: Instant,
    /// The port it came in by.
    pub port: PortId,
    /// Why.
    pub why: Why,
    /// Its first bytes.
    pub head: Box<[u8]>,
    /// Its whole length.
    pub length: u32,
}

/// Packets on their way out, by port.
#[derive(Debug, Default)]
pub struct Egress {
    queues: Vec<Vec<Packet>>,
}

impl Egress {
    /// Queues a packet for a port. Nothing uninspected fits.
    pub fn push(&mut self, port: PortId, packet: Cleared) {
        let index = usize::from(port.0);
        if index >= self.queues.len() {
            self.queues.resize_with(index + 1, Vec::new);
        }
        self.queues[index].push(packet.into_packet());
    }

    /// The packets for a port; the worker hands them to [`Port::tx`], which empties the queue.
    pub fn queue(&mut self, port: PortId) -> Option<&mut Vec<Packet>> {
        self.queues.get_mut(usize::from(port.0)).filter(|q| !q.is_empty())
    }
}

/// The switches of one worker, and their guard.
#[derive(Debug)]
pub struct Fabric {
    engine: Engine,
}

impl Fabric {
    /// A fabric without switches. `seed` keys the hashes.
    pub fn new(limits: Limits, seed: u64) -> Fabric {
        Fabric { engine: Engine::new(limits, seed) }
    }

    /// Moves one burst through the switch and empties it. Never blocks, never reads a clock.
    pub fn process(&mut self, now: Instant, burst: &mut Vec<Packet>, pool: &mut Pool, out: &mut Egress) {
        let _ = (now, out);
        for packet in burst.drain(..) {
            pool.give(packet.buffer);
        }
    }

    /// Ages the tables; returns when it next wants to be called. Buffers of packets given up go back to `pool`;
    /// packets of our own go to `out`.
    pub fn tick(&mut self, now: Instant, pool: &mut Pool, out: &mut Egress) -> Option<Instant> {
        let _ = (now, pool, out);
        None
    }

    /// Ends all flows with their records, before the worker ends.
    pub fn shutdown(&mut self, now: Instant) {
        let _ = now;
    }

    /// Takes a new policy; returns the old one so that its owner can free it.
    pub fn install(&mut self, policy: Arc<Policy>) -> Arc<Policy> {
        self.engine.install(policy)
    }

    /// Makes one change.
    pub fn apply(&mut self, now: Instant, step: Step) {
        let _ = (now, step);
    }

    /// A port's link went up or down. Down forgets the addresses learned there.
    pub fn set_link(&mut self, port: PortId, up: bool) {
        let _ = (port, up);
    }

    /// What was counted for a port.
    pub fn counters(&self, port: PortId) -> Option<&PortCounters> {
        let _ = port;
        None
    }

    /// Addresses of a switch, in order of VLAN and address.
    pub fn fdb(&self, now: Instant, switch: SwitchId) -> Vec<FdbEntry> {
        let _ = (now, switch);
        Vec::new()
    }

    /// The last drops, oldest first; of one port, or of all.
    pub fn last_drops(&self, port: Option<PortId>) -> Vec<LastDrop> {
        let _ = port;
        Vec::new()
    }

    /// Something waits to be told to people. Cheap: asked once a turn.
    pub fn has_events(&self) -> bool {
        false
    }

    /// Events lost for lack of room.
    pub fn events_lost(&self) -> u64 {
        0
    }

    /// Hands over what is to be told to people.
    pub fn drain_events(&mut self, each: impl FnMut(Event)) {
        self.engine.events().drain().for_each(each);
    }

    /// The guard, to be asked for flows and counters.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}
