//! The ways of one burst: what the packets between the same two addresses have in common is found once.
//!
//! Most packets of a burst follow others between the same addresses. A way remembers what the door of the switch said
//! to the first of them and where the bridge sends it, and takes the counting of the others together. It lives for one
//! burst and holds only while nothing the answers rest on can have changed: as soon as a packet with another source
//! comes in, or one that takes the long way, what follows asks anew. So the tables stand as if every packet had asked.
//!
//! Of packets to a router the way knows the interface; their next hops are found once for each destination
//! ([`crate::router::short`]), and what is changed in each of them when it leaves is noted as an [`Edit`].

use weir_filter::FlowName;
use weir_wire::{InterfaceId, Packet, PortId, SwitchId, Template, Vid};

use crate::bridge::{Bridge, Destination, Port};
use crate::router::Routers;
use crate::router::short::{Edit, NextHops};
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
    /// The interface of the router that they are sent to.
    door: Option<InterfaceId>,
    /// Where they go and how they leave; `None` until it was asked for, or where it is not one port.
    to: Option<(PortId, Tagging)>,
    resolved: bool,
    /// Its packets may pass elsewhere once their flow is settled.
    fast: bool,
    /// Packets that came in and were not counted one by one, and their bytes.
    received: [u64; 2],
}

/// The ways of one burst.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    all: Vec<Path>,
    /// Next hops of packets that are routed.
    pub hops: NextHops,
    /// What is to be changed in the packets of the run at hand where they are routed: one for those that follow each other
    /// in one flow.
    pub edits: Vec<Edit>,
    /// Packets for outside addresses, whose binding is to be looked for.
    pub bound: Vec<Bound>,
    /// The names of the packets' flows; those that follow each other in one flow share theirs.
    pub names: Vec<FlowName>,
    /// Many of the packets begin their flows.
    pub opens_many: bool,
    /// In so many bursts yet some packets are likely to be read by inspection.
    pub reading: u32,
    /// Those from here on have the same source, and nothing has been learned since the first of them.
    fresh: usize,
    /// The packet that came in last, where it followed one of its own flow.
    last: Option<Last>,
    /// The hash of the one that came in last; 0 where it has none.
    last_hash: u64,
}

/// A packet for an outside address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// Its place in the burst.
    pub at: usize,
    /// Under this hash its binding is looked for.
    pub hash: u64,
    /// It is of the same flow as the one before it here, whose name it shares.
    pub again: bool,
}

/// A packet, for those of the same flow that follow it.
#[derive(Debug)]
struct Last {
    template: Template,
    port: PortId,
    path: usize,
    name: Known,
}

/// What is known of a packet's flow.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Known {
    /// Its name, among [`Paths::names`], and its hash.
    Name(u32, u64),
    /// That it is for an outside address: the hash of its binding, its place among those, and its name.
    Outside(u64, usize, u32),
}

impl Known {
    fn hash(&self) -> u64 {
        match self {
            Known::Name(_, hash) | Known::Outside(hash, _, _) => *hash,
        }
    }
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

    /// The way of a packet that follows another one of its flow, and its flow's name; an empty one yet of one for an outside
    /// address, which is put among the others. `at` is its place in the burst. Finds its headers, counts it and gives it its
    /// VLAN and its hash.
    #[inline]
    pub fn follow(&mut self, at: usize, packet: &mut Packet) -> Option<(u32, u32, SwitchId)> {
        let last = self.last.as_mut().filter(|last| last.path >= self.fresh && last.port == packet.port)?;
        if !packet.parse_like(&last.template) {
            return None;
        }
        let path = self.all.get_mut(last.path)?;
        path.received[0] += 1;
        path.received[1] += packet.len() as u64;
        packet.vid = path.vid;
        let name = match &mut last.name {
            Known::Name(name, hash) => {
                packet.hash = *hash;
                *name
            }
            Known::Outside(hash, place, name) => {
                let again = *place + 1 == self.bound.len();
                *place = self.bound.len();
                self.bound.push(Bound { at, hash: *hash, again });
                packet.hash = 0;
                if !again {
                    // It is looked up anew, and what comes of it written anew.
                    self.names.push(FlowName::default());
                    *name = (self.names.len() - 1) as u32;
                }
                *name
            }
        };
        Some((last.path as u32, name, path.switch))
    }

    /// Makes the last of the names one that is empty; its number.
    #[inline]
    pub fn new_name(&mut self) -> u32 {
        self.names.push(FlowName::default());
        (self.names.len() - 1) as u32
    }

    /// Notes a packet of a common kind, whose headers and way were found, for those that follow it. Only the second one in a
    /// row is worth it.
    #[inline]
    pub fn note(&mut self, packet: &Packet, path: usize, name: Known) {
        let hash = name.hash();
        if std::mem::replace(&mut self.last_hash, hash) == hash && hash != 0 {
            let port = packet.port;
            self.last = packet.template().map(|template| Last { template, port, path, name });
        }
    }

    /// A way of its own for a packet that was admitted and counted.
    pub fn begin(&mut self, packet: &Packet, switch: SwitchId, door: Option<InterfaceId>) -> usize {
        let addresses: Addresses = packet.bytes().first_chunk().copied().unwrap_or_default();
        let (port, vid, at) = (packet.port, packet.vid, self.all.len());
        let follows = |path: &Path| path.port == port && path.addresses[6..] == addresses[6..];
        if !self.all.get(self.fresh..).unwrap_or(&[]).last().is_some_and(follows) {
            self.fresh = at;
        }
        let (to, received) = (None, [0; 2]);
        self.all.push(Path { addresses, port, vid, switch, door, to, resolved: false, fast: false, received });
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

    /// The interface of the router that the packets of this way are sent to.
    #[inline]
    pub fn door(&self, at: usize) -> Option<InterfaceId> {
        self.all.get(at)?.door
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
                // Each frame to an unknown address is weighed by itself.
                Ok(_) if bridge.special.unknown && bridge.is_unknown(now_s, packet, path.switch) => None,
                // Who hears a packet to a group depends on more than its addresses, and what routers hear is no port's.
                Ok(Destination::Port(to, tagging)) if to != PortId::LOCAL && !packet.dst_mac().is_multicast() => {
                    Some((to, tagging))
                }
                Ok(Destination::Port(..) | Destination::Flood) | Err(_) => None,
            };
            let may_pass = |id: PortId| bridge.port(id).is_some_and(Port::lets_pass);
            let may_go = !path.switch.is_appliance() && !packet.dst_mac().is_multicast();
            path.fast = may_go && path.to.is_some_and(|(to, _)| may_pass(path.port) && may_pass(to));
        }
        path.to
    }

    /// Packets of this way may pass elsewhere once their flow is settled.
    #[inline]
    pub fn is_fast(&self, at: usize) -> bool {
        self.all.get(at).is_some_and(|path| path.fast)
    }

    /// Takes what was counted together into the accounts of ports and interfaces, and forgets all.
    pub fn settle(&mut self, bridge: &mut Bridge, routers: &mut Routers) {
        for path in self.all.drain(..) {
            if let Some(port) = bridge.port_mut(path.port) {
                port.counters.received += path.received[0];
                port.counters.received_bytes += path.received[1];
            }
        }
        self.names.clear();
        self.hops.settle(routers);
        self.fresh = 0;
        (self.last, self.last_hash) = (None, 0);
    }
}
