//! The short way of routed packets: the next hop of a destination is found once a burst, what address translation changes
//! once for the packets of a flow that follow each other, and a packet of a settled flow is changed where it lies.
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
use crate::nat::{Exit, Inward, Rename, Renaming};
use crate::path::{Bound, Paths};
use crate::router::walk::Departure;
use crate::run::Run;
use crate::stages::{Lane, Onward, Walk};
use crate::vlan::Tagging;

/// Entries by a few bits of the destination.
const SLOTS: usize = 64;

/// The next hop of the packets of one way to one destination.
#[derive(Debug)]
pub(crate) struct NextHop {
    path: usize,
    destination: IpAddr,
    hop: Hop,
    exit: Exit,
    to: PortId,
    /// Packets that took it.
    pub passed: u64,
}

impl NextHop {
    /// A packet leaves by it as it is: its time is not over, and it is not too long.
    #[inline]
    pub fn lets(&self, packet: &Packet) -> bool {
        ttl(packet) > self.hop.hops && self.hop.takes(packet)
    }
}

/// The next hops of one burst.
#[derive(Debug)]
pub(crate) struct NextHops {
    all: Vec<NextHop>,
    /// By bits of the destination: the place of the last one found, plus one.
    slots: [u16; SLOTS],
}

impl Default for NextHops {
    fn default() -> NextHops {
        NextHops { all: Vec::new(), slots: [0; SLOTS] }
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

/// What is changed in packets of one flow when they leave a router.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edit {
    /// How many follow each other that it is for.
    pub packets: u32,
    hop: u32,
    /// Their outside name.
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
    }

    /// Makes a packet one that leaves its router.
    #[inline]
    pub fn edit(&self, edit: &Edit, packet: &mut Packet) {
        let Some(NextHop { hop, .. }) = self.all.get(edit.hop as usize) else { return };
        match &edit.source {
            Some(source) => source.apply_leaving(packet, hop),
            None => hop.rewrite(packet),
        }
    }

    /// The same for all packets of a burst, in which the edits stand for one part after the other.
    #[inline]
    pub fn edit_all(&self, edits: impl Iterator<Item = Edit>, burst: &mut [Packet]) {
        let mut rest = burst.iter_mut();
        for edit in edits {
            rest.by_ref().take(edit.packets as usize).for_each(|packet| self.edit(&edit, packet));
        }
    }

    /// The last of the edits, and the next hop it is for.
    #[inline]
    pub fn last_of<'a>(&'a mut self, edits: &'a mut [Edit]) -> Option<(&'a mut Edit, &'a mut NextHop)> {
        let edit = edits.last_mut()?;
        let next = self.all.get_mut(edit.hop as usize)?;
        Some((edit, next))
    }
}

/// TTL or hop limit of a packet that [`Packet::parse_common`] has parsed.
#[inline]
fn ttl(packet: &Packet) -> u8 {
    let at = if packet.headers.ether_type == ETHERTYPE_IPV4 { 22 } else { 21 };
    packet.bytes().get(at).copied().unwrap_or(0)
}

impl Walk<'_> {
    /// Gives the packets of a burst that come to routers which translate their inside destinations, as far as bindings
    /// are known, and names their flows.
    pub(crate) fn translate_burst(&mut self, burst: &mut [Packet], lanes: &[Lane], paths: &mut Paths) {
        self.nat.touch(&paths.bound);
        let mut before: Option<(Inward, u64)> = None;
        let Paths { bound, names, .. } = paths;
        for Bound { at, hash, again } in bound.drain(..) {
            let (Some(packet), Some(lane)) = (burst.get_mut(at), lanes.get(at)) else { continue };
            let Some(name) = names.get_mut(lane.name as usize).filter(|_| lane.onward == Onward::Edge) else {
                continue;
            };
            if again && let Some((inward, hash)) = &before {
                if self.nat.inward_again(self.now, packet, inward) {
                    packet.hash = *hash;
                }
                continue;
            }
            before = self.nat.inward_known(self.now, lane.switch, packet, hash).map(|inward| {
                self.engine.name(packet, lane.switch, name);
                (inward, packet.hash)
            });
        }
    }

    /// Stops 4 to 6 for a packet of a settled flow to a router: adds its leave to the run, and what is changed in it.
    /// `false` says nothing about the packet. `behind` are those that came in after it.
    #[inline]
    pub(crate) fn carry_routed(
        &mut self,
        (packet, behind): (&Packet, &[Packet]),
        (lane, zone): (&Lane, Zone),
        paths: &mut Paths,
        run: &mut Run,
    ) -> bool {
        let Some(at) = self.next_hop(lane.path as usize, packet, paths) else { return false };
        let Paths { names, hops, edits, opens_many, .. } = paths;
        let Some(name) = names.get(lane.name as usize) else { return false };
        let Some(next) = hops.all.get_mut(at) else { return false };
        let joins = run.leaves.is_empty() || run.to == next.to && run.routed;
        if !joins || !next.lets(packet) {
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
            Carried::Answer => {
                if !self.carry_answer(packet, name, run) {
                    return false;
                }
                self.nat.rename(self.now, renaming, packet.headers.tcp_flags)
            }
            Carried::First => {
                if zone == Zone::Edge && *opens_many && !run.began {
                    self.nat.touch_first(&exit, behind);
                }
                match self.begin_routed(packet, (name, zone), (&exit, to), run) {
                    Some(source) => source,
                    None => return false,
                }
            }
            Carried::Read | Carried::Unsettled => return false,
        };
        (run.to, run.routed) = (to, true);
        next.passed += 1;
        let source = source.map(|source| Rename::new(packet, Side::Source, source));
        edits.push(Edit { packets: 1, hop: at as u32, source });
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
        let named = begun.and_then(|begun| {
            if zone == Zone::Plain {
                return Ok(None);
            }
            let timeouts = &self.engine.policy().settings().timeouts;
            let named = self.nat.outward_first(self.now, exit, packet, timeouts);
            named
                .map(|(source, memo)| {
                    *self.engine.memo_of(begun) = memo;
                    source
                })
                .map_err(|reason| {
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
    fn next_hop(&mut self, path: usize, packet: &Packet, paths: &mut Paths) -> Option<usize> {
        let (_, destination) = packet.addresses()?;
        let known = paths.hops.find(path, destination);
        known.or_else(|| self.find_next_hop(path, packet, destination, paths))
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
