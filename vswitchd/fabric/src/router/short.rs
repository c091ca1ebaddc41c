//! The short way of routed packets: the next hop of a destination is found once a burst, a binding of address
//! translation once for each packet, and a packet of a settled flow is changed where it lies.
//!
//! What is found holds until a packet takes the long way, which may teach the tables something else: a route, a
//! neighbour or a binding that changes takes effect at the next burst at the latest, as it does for everybody else. The
//! short way decides what the long one ([`super::walk`]) would; where it is not sure it leaves the packet alone.
//!
//! Limit: one entry for each packet of a burst.

use std::net::IpAddr;

use weir_filter::{Carried, FlowName, Why};
use weir_wire::numbers::ETHERTYPE_IPV4;
use weir_wire::{InterfaceId, Packet, PortId};

use super::Routers;
use super::hop::Hop;
use super::neighbor::Found;
use super::path::Path;
use crate::bridge::Destination;
use crate::nat::ends::{End, Side};
use crate::nat::{Exit, Rename, Renaming};
use crate::path::Paths;
use crate::router::walk::Departure;
use crate::run::Run;
use crate::stages::{Lane, Walk};
use crate::vlan::Tagging;

/// Entries by a few bits of the destination.
const SLOTS: usize = 64;

/// The next hop of the packets of one way to one destination.
#[derive(Debug)]
struct NextHop {
    path: usize,
    destination: IpAddr,
    hop: Hop,
    exit: Exit,
    to: PortId,
    /// Packets that took it.
    passed: u64,
}

/// The next hops of one burst.
#[derive(Debug)]
pub(crate) struct NextHops {
    all: Vec<NextHop>,
    /// By bits of the destination: the place of the last one found, plus one.
    slots: [u16; SLOTS],
    /// The flow that took one last, its way, and the place of that next hop.
    latest: Option<(FlowName, usize, usize)>,
}

impl Default for NextHops {
    fn default() -> NextHops {
        NextHops { all: Vec::new(), slots: [0; SLOTS], latest: None }
    }
}

/// What routers do in a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    /// They route.
    Plain,
    /// One at least translates.
    Edge,
}

/// What is changed in a packet when it leaves a router.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edit {
    hop: usize,
    /// Its outside name.
    source: Option<Rename>,
}

fn slot(destination: IpAddr) -> usize {
    let word = match destination {
        IpAddr::V4(v4) => u32::from(v4),
        IpAddr::V6(v6) => (u128::from(v6) >> 64) as u32 ^ u128::from(v6) as u32,
    };
    (word.wrapping_mul(0x9e37_79b1) >> 26) as usize & (SLOTS - 1)
}

impl NextHops {
    fn find(&self, path: usize, destination: IpAddr) -> Option<usize> {
        let at = usize::from(*self.slots.get(slot(destination))?).checked_sub(1)?;
        let known = self.all.get(at)?;
        (known.path == path && known.destination == destination).then_some(at)
    }

    fn add(&mut self, hop: NextHop, serves_all: bool) -> usize {
        let at = self.all.len();
        if serves_all
            && let Some(slot) = self.slots.get_mut(slot(hop.destination))
            && let Ok(place) = u16::try_from(at + 1)
        {
            *slot = place;
        }
        self.all.push(hop);
        at
    }

    /// What was found may not be true any more.
    pub fn forget(&mut self) {
        self.latest = None;
        if !self.all.is_empty() {
            self.slots = [0; SLOTS];
        }
    }

    /// Takes what was counted together into the accounts of the interfaces, and forgets all.
    pub fn settle(&mut self, routers: &mut Routers) {
        if self.all.is_empty() {
            return;
        }
        for NextHop { exit, passed, .. } in self.all.drain(..) {
            let mut count = |id: InterfaceId, count: fn(&mut super::InterfaceCounters) -> &mut u64| {
                if let Some(interface) = routers.interface_mut(id) {
                    *count(&mut interface.counters) += passed;
                }
            };
            count(exit.from, |counters| &mut counters.received);
            count(exit.to, |counters| &mut counters.forwarded);
        }
        self.slots = [0; SLOTS];
        self.latest = None;
    }

    /// Makes a packet one that leaves its router.
    #[inline]
    pub fn edit(&self, edit: Edit, packet: &mut Packet) {
        if let Some(source) = edit.source {
            source.apply(packet);
        }
        if let Some(known) = self.all.get(edit.hop) {
            known.hop.rewrite(packet);
        }
    }
}

/// TTL or hop limit of a packet that [`Packet::parse_common`] has parsed.
#[inline]
fn ttl(packet: &Packet) -> u8 {
    let at = if packet.headers.ether_type == ETHERTYPE_IPV4 { 22 } else { 21 };
    packet.bytes().get(at).copied().unwrap_or(0)
}

impl Walk<'_> {
    /// Stops 4 to 6 for a packet of a settled flow to a router: adds its leave to the run, and what is changed in it.
    /// `false` says nothing about the packet.
    #[inline]
    pub(crate) fn carry_routed(
        &mut self,
        packet: &Packet,
        (lane, zone): (&Lane, Zone),
        paths: &mut Paths,
        run: &mut Run,
    ) -> bool {
        let Some(name) = paths.names.get(lane.name as usize).copied() else { return false };
        let name = &name;
        let Some(at) = self.next_hop((lane.path as usize, name), packet, paths) else { return false };
        let Some(next) = paths.hops.all.get_mut(at) else { return false };
        let joins = run.leaves.is_empty() || run.to == next.to && run.leaves.len() == paths.edits.len();
        if !joins || ttl(packet) <= next.hop.hops || !next.hop.takes(packet) {
            return false;
        }
        let (nat, exit, to, mut renaming) = (&*self.nat, next.exit, next.to, Renaming::None);
        let carried = self.engine.carry_if(self.now, packet, name, to, &mut run.leaves, |memo| {
            if zone == Zone::Edge {
                renaming = nat.recall(memo, &exit, packet);
            }
            renaming != Renaming::Unknown
        });
        let source = match carried {
            Carried::On => self.nat.rename(self.now, renaming, packet.headers.tcp_flags),
            Carried::First => match self.begin_routed(packet, (name, zone), (&exit, to), run) {
                Some(source) => source,
                None => return false,
            },
            Carried::Unsettled => return false,
        };
        run.to = to;
        next.passed += 1;
        paths.edits.push(Edit { hop: at, source: source.map(|source| Rename::new(packet, Side::Source, source)) });
        true
    }

    /// Stops 4 to 6 for the first packet of a flow that leaves by this exit: adds its leave; its name outside, where it has
    /// another one there. `None` says nothing about the packet, unless the run says why it ends.
    #[inline(never)]
    fn begin_routed(
        &mut self,
        packet: &Packet,
        (name, zone): (&FlowName, Zone),
        (exit, to): (&Exit, PortId),
        run: &mut Run,
    ) -> Option<Option<End>> {
        let plainly = zone == Zone::Plain || self.nat.names_plainly() && packet.headers.ether_type == ETHERTYPE_IPV4;
        if !plainly || !packet.is_whole() || self.check_first_hop(packet).is_err() {
            return None;
        }
        let begun = self.engine.begin_flow(self.now, packet, (exit.zone, name), to, self.pool, &mut run.leaves);
        let named = begun.and_then(|()| {
            if zone == Zone::Plain {
                return Ok(None);
            }
            let timeouts = &self.engine.policy().settings().timeouts;
            let named = self.nat.outward_first(self.now, exit, packet, timeouts);
            named.map_err(|reason| {
                // It had its leave, and cannot be named.
                run.leaves.withdraw();
                Why::reason(reason)
            })
        });
        self.tell_shortage((packet.port, packet.vid));
        match named {
            Ok(source) => {
                run.began = true;
                Some(source)
            }
            Err(why) => {
                if let Some(interface) = self.routers.interface_mut(exit.from) {
                    interface.counters.received += 1;
                }
                run.refused = Some(why);
                None
            }
        }
    }

    /// Where packets of this way to this destination go, if that is one port and no question is open.
    #[inline]
    fn next_hop(&mut self, (path, name): (usize, &FlowName), packet: &Packet, paths: &mut Paths) -> Option<usize> {
        if let Some((flow, way, at)) = &paths.hops.latest
            && *way == path
            && flow == name
        {
            return Some(*at);
        }
        let (_, destination) = packet.addresses()?;
        match paths.hops.find(path, destination) {
            Some(at) => {
                paths.hops.latest = (name.hash() != 0).then_some((*name, path, at));
                Some(at)
            }
            None => self.find_next_hop(path, packet, destination, paths),
        }
    }

    #[inline(never)]
    fn find_next_hop(&mut self, path: usize, packet: &Packet, destination: IpAddr, paths: &mut Paths) -> Option<usize> {
        let from = paths.door(path)?;
        let Ok(Path::Out { interface, next, hops, serves_all }) = self.routers.path(from, packet) else { return None };
        if next.is_ipv4() != destination.is_ipv4() {
            // Its version changes.
            return None;
        }
        let key = (interface, next);
        let Found::At(mac) = self.routers.neighbors.find(self.now, key, &mut self.routers.emissions) else {
            return None;
        };
        let Departure { hop, exit } = self.departure(from, key, mac, hops)?;
        let target = self.bridge.toward(self.now_s, packet.port, (hop.switch, hop.vid), mac, self.to);
        let Ok(Destination::Port(to, Tagging::Untagged)) = target else { return None };
        Some(paths.hops.add(NextHop { path, destination, hop, exit, to, passed: 0 }, serves_all))
    }
}
