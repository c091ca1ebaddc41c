//! The order of a packet's stops, 3 to 7, once.
//!
//! A burst goes through in passes. The first parses and admits every packet and names its flow. A short one asks the
//! guard to read what it will look up, with nothing in between, so that the cache misses of one burst overlap instead of
//! standing in line. The last takes each packet to its end: out by [`Egress`], waiting in the guard as a fragment, or
//! dropped with a reason. Each packet is finished before the next one is looked up, because what the guard says of the
//! first may end the flow of the second.
//!
//! Packets of the common kinds share what they have in common with others of the burst ([`Paths`]) and pass stops 4 to 6
//! in one step where their flow is settled ([`Engine::carry`]), begins ([`Engine::begin_flow`]) or is read by inspection
//! ([`Engine::carry_read`]). All others take the long way, and so does a packet that turns out not to be as simple as it
//! looked.
//!
//! Everything that ends is counted in exactly one place: [`Walk::leave`], [`Walk::end`], where it is delivered to a
//! router (`router/local.rs`), or the numbers of fragments, of packets to unknown neighbours and of those that await the
//! verdict on a file, which are held.

use weir_filter::{Cleared, Engine, Entered, FlowName, Inspected, Ticket, Why};
use weir_wire::{DropReason, Fragment, Instant, Nowhere, Origin, Packet, Pool, PortId, SwitchId};

use crate::bridge::{Bridge, Destination, Kind, Parsed};
use crate::egress::Egress;
use crate::first_hop::{Bindings, is_dhcp};
use crate::nat::Nat;
use crate::path::{Bound, Known, Paths};
use crate::rewrite::rewrite;
use crate::router::{Routers, is_routable};
use crate::serve::Serving;
use crate::vlan::Tagging;
use crate::{Fabric, Strays, coarse};

/// Where more than one of this many packets begins a flow, what the others need to begin theirs is read beforehand.
const MANY: usize = 4;

/// What the door of a switch says.
pub(crate) type Admission = Result<SwitchId, DropReason>;

/// What the first pass leaves for the last. A few plain fields, which are written where they stay: a value that is put together
/// in one place and moved to another is read in one piece just after it was written in several, and the processor waits for it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lane {
    pub onward: Onward,
    /// The switch it is on; of those that were admitted.
    pub switch: SwitchId,
    /// Its way among [`Paths`]; of packets of a common kind.
    pub path: u32,
    /// The name of its flow among [`Paths::names`]; of packets of a common kind.
    pub name: u32,
    /// Inspection reads it, as far as that can be seen.
    pub is_read: bool,
}

/// How a packet goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Onward {
    /// It is of a common kind.
    Common,
    /// The same in a zone whose routers translate. The flow has no name where no binding gives the packet its inside
    /// destination.
    Edge,
    /// Any other that was admitted.
    #[default]
    Long,
    /// It may not come in.
    Refused(DropReason),
    /// It was for the switch itself, which has read it.
    Taken,
}

impl Lane {
    /// Of a packet of a common kind.
    #[inline]
    pub fn common(&mut self, is_edge: bool, switch: SwitchId, path: u32, name: u32) {
        self.onward = if is_edge { Onward::Edge } else { Onward::Common };
        self.switch = switch;
        self.path = path;
        self.name = name;
    }

    /// It is of the flow and way of another, which came in before it with none between that is not.
    #[inline]
    pub fn follows(&self, other: &Lane) -> bool {
        self.name == other.name && self.onward == other.onward
    }

    fn long(&mut self, switch: SwitchId) {
        self.onward = Onward::Long;
        self.switch = switch;
    }

    /// Of a packet that was not admitted.
    fn outside(&mut self, onward: Onward) {
        self.onward = onward;
    }
}

impl Fabric {
    /// Moves one burst of whole packets through the switch and empties it. Never blocks, never reads a clock.
    pub fn process(&mut self, now: Instant, burst: &mut Vec<Packet>, pool: &mut Pool, out: &mut Egress) {
        self.process_from(&Nowhere, now, burst, pool, out);
    }

    /// The same for packets of which some may have left their rest at `origin`. Those that leave still have, all others
    /// were made whole before anybody looked at them.
    pub fn process_from(
        &mut self,
        origin: &dyn Origin,
        now: Instant,
        burst: &mut Vec<Packet>,
        pool: &mut Pool,
        out: &mut Egress,
    ) {
        let mut mirrors = self.mirrors.begin_turn();
        if let Some(mirrors) = &mut mirrors {
            mirrors.begin(&self.bridge, burst, origin, pool, out);
        }
        let mut lanes = std::mem::take(&mut self.lanes);
        let mut paths = std::mem::take(&mut self.paths);
        let mut walk = self.walk(now, pool, out);
        lanes.clear();
        lanes.resize(burst.len(), Lane::default());
        for (at, (packet, lane)) in burst.iter_mut().zip(&mut lanes).enumerate() {
            walk.arrive(at, packet, lane, &mut paths, origin);
        }
        if !paths.bound.is_empty() {
            walk.translate_burst(burst, &lanes, &mut paths);
        }
        let begin = walk.engine.fetch(&mut paths.names, burst.first().map(|packet| packet.port));
        paths.opens_many = begin * MANY > burst.len();
        if lanes.first().is_some_and(|lane| lane.onward == Onward::Edge) {
            walk.nat.touch_remembered(walk.engine.remembered(&paths.names));
        }
        walk.bring_read(burst, &mut lanes, &mut paths, origin);
        walk.cross(burst, &lanes, &mut paths, origin);
        paths.settle(walk.bridge, walk.routers);
        if !walk.routers.is_quiet() {
            // A neighbour in use is asked again.
            walk.send_originated();
        }
        self.lanes = lanes;
        self.paths = paths;
        if let Some(mirrors) = mirrors {
            self.end_mirrors(now, mirrors, origin, pool, out);
        }
    }

    pub(crate) fn walk<'a>(&'a mut self, now: Instant, pool: &'a mut Pool, out: &'a mut Egress) -> Walk<'a> {
        Walk {
            now,
            now_s: coarse(now),
            engine: &mut self.engine,
            bridge: &mut self.bridge,
            routers: &mut self.routers,
            nat: &mut self.nat,
            serving: &mut self.serving,
            own_id: self.own_id,
            strays: &mut self.strays,
            bindings: &mut self.bindings,
            to: &mut self.to,
            replies: &mut self.replies,
            pool,
            out,
        }
    }
}

/// What a packet meets on its way.
pub(crate) struct Walk<'a> {
    pub now: Instant,
    pub now_s: u32,
    pub engine: &'a mut Engine,
    pub bridge: &'a mut Bridge,
    pub routers: &'a mut Routers,
    pub nat: &'a mut Nat,
    pub serving: &'a mut Serving,
    /// What tells our own probes from those of others.
    pub own_id: u64,
    pub strays: &'a mut Strays,
    pub bindings: &'a mut Bindings,
    pub to: &'a mut Vec<PortId>,
    pub replies: &'a mut Vec<(PortId, Cleared)>,
    pub pool: &'a mut Pool,
    pub out: &'a mut Egress,
}

impl Walk<'_> {
    /// Stop 3, the door of the switch, and the name of the flow.
    #[inline]
    fn arrive(&mut self, at: usize, packet: &mut Packet, lane: &mut Lane, paths: &mut Paths, origin: &dyn Origin) {
        if let Some((path, name, switch)) = paths.follow(at, packet) {
            return lane.common(switch.is_zone() && !self.nat.is_idle(), switch, path, name);
        }
        self.arrive_first(at, packet, lane, paths, origin)
    }

    /// The same for a packet that is not of the flow of the one before it.
    #[inline]
    fn arrive_first(
        &mut self,
        at: usize,
        packet: &mut Packet,
        lane: &mut Lane,
        paths: &mut Paths,
        origin: &dyn Origin,
    ) {
        // What goes to many is looked at more closely, and what goes through a tunnel changes at the door.
        let special = self.bridge.special;
        let closely = packet.dst_mac().is_multicast() || special.tunnels && self.bridge.is_tunnel(packet.port);
        if closely || !packet.parse_common() {
            return self.arrive_closely(packet, lane, paths, origin);
        }
        let path = match paths.find(packet) {
            Some(path) => path,
            None => match self.admit(packet, Parsed::Yes) {
                Ok(switch) => {
                    let door = if switch.is_zone() { self.entrance(packet) } else { None };
                    paths.begin(packet, switch, door)
                }
                Err(reason) => {
                    paths.interrupt();
                    return lane.outside(Onward::Refused(reason));
                }
            },
        };
        if special.marks {
            self.bridge.mark(packet);
        }
        let switch = paths.switch(path);
        if self.bindings.guarded > 0 && is_dhcp(packet) {
            // Every one of them is looked at.
            paths.interrupt();
            return match packet.is_whole() || origin.fill(packet, self.pool) {
                true => lane.long(switch),
                false => lane.outside(Onward::Refused(DropReason::NoBuffer)),
            };
        }
        let is_edge = switch.is_zone() && !self.nat.is_idle();
        let inward = if is_edge { self.nat.inward_hash(switch, packet) } else { 0 };
        let name = paths.new_name();
        let known = match paths.names.last_mut() {
            Some(room) if inward == 0 => {
                self.engine.name(packet, switch, room);
                Known::Name(name, packet.hash)
            }
            _ => Known::Outside(inward, paths.bound.len(), name),
        };
        if !special.marks {
            paths.note(packet, path, known);
        }
        if inward != 0 {
            paths.bound.push(Bound { at, hash: inward, again: false });
        }
        lane.common(is_edge, switch, path as u32, name)
    }

    /// The same for a packet that is of no common kind: it takes the long way.
    fn arrive_closely(&mut self, packet: &mut Packet, lane: &mut Lane, paths: &mut Paths, origin: &dyn Origin) {
        paths.interrupt();
        if !packet.is_whole() && !origin.fill(packet, self.pool) {
            return lane.outside(self.bring_nothing(packet));
        }
        match self.admit(packet, Parsed::No) {
            Ok(switch) => {
                if self.bridge.special.marks {
                    self.bridge.mark(packet);
                }
                self.engine.prepare(packet, switch);
                paths.names.push(FlowName::of_hash(packet.hash));
                lane.long(switch)
            }
            Err(DropReason::ReservedAddress) if self.takes(packet) => lane.outside(Onward::Taken),
            Err(reason) => lane.outside(Onward::Refused(reason)),
        }
    }

    /// A packet that cannot be made whole.
    #[cold]
    fn bring_nothing(&mut self, packet: &Packet) -> Onward {
        let counters = self.counters(packet.port);
        counters.received += 1;
        counters.received_bytes += packet.len() as u64;
        Onward::Refused(DropReason::NoBuffer)
    }

    /// The door of the switch: headers, VLAN, source address.
    fn admit(&mut self, packet: &mut Packet, parsed: Parsed) -> Admission {
        let mut admission = self.bridge.arrive(self.now_s, packet, parsed);
        if self.bridge.moved.is_some() || packet.dst_mac().is_multicast() {
            admission = self.look(packet, admission);
        }
        // What is sent to a router's MAC leaves the switch here.
        if let Ok(switch) = admission
            && let Some(door) = self.routers.door(switch, packet.vid, packet.dst_mac())
            && is_routable(packet)
        {
            return Ok(door.zone);
        }
        if admission == Err(DropReason::SpoofedMac) {
            self.tell_spoofed_mac(packet);
        }
        if admission == Err(DropReason::PortUnbound) && self.bridge.port(packet.port).is_none() {
            self.strays.counters.received += 1;
            self.strays.counters.received_bytes += packet.len() as u64;
        }
        admission
    }

    /// Stops 4 to 7 for a burst that was parsed and admitted.
    fn cross(&mut self, burst: &mut Vec<Packet>, lanes: &[Lane], paths: &mut Paths, origin: &dyn Origin) {
        let mut run = self.run(burst, lanes, paths);
        let (count, bytes) = (run.leaves.len(), run.bytes);
        if count == burst.len() {
            paths.hops.edit_all(paths.edits.drain(..), burst);
            if self.out.push_all(run.to, burst, &mut run.leaves) {
                self.count_sent(run.to, count as u64, bytes);
                return self.send_what_began(run.began);
            }
        }
        let mut at = 0;
        let mut rest = burst.drain(..);
        loop {
            at += run.leaves.len();
            let (began, refused) = (run.began, run.refused.take());
            self.send_run(run, rest.by_ref(), paths);
            self.send_what_began(began);
            let (Some(mut packet), Some(lane)) = (rest.next(), lanes.get(at)) else { return };
            match lane.onward {
                _ if let Some(why) = refused => {
                    self.end(packet, why);
                    self.send_originated();
                }
                Onward::Common | Onward::Edge if !packet.is_whole() && !origin.fill(&mut packet, self.pool) => {
                    self.end(packet, Why::reason(DropReason::NoBuffer));
                }
                Onward::Common | Onward::Edge | Onward::Long => self.forward(packet, lane.switch),
                Onward::Refused(reason) => self.end(packet, Why::reason(reason)),
                Onward::Taken => self.taken(packet),
            }
            paths.hops.forget();
            at += 1;
            run = self.run(rest.as_slice(), lanes.get(at..).unwrap_or(&[]), paths);
        }
    }

    pub(crate) fn count_sent(&mut self, to: PortId, packets: u64, bytes: u64) {
        let counters = self.counters(to);
        counters.sent += packets;
        counters.sent_bytes += bytes;
    }

    /// Stops 4 to 7, and whatever of our own the packet has caused.
    #[inline(never)]
    fn forward(&mut self, packet: Packet, switch: SwitchId) {
        // Fragments are looked at when they are whole: in pieces they can hide what they say.
        if packet.headers.fragment == Fragment::No
            && let Err(reason) = self.check_first_hop(&packet)
        {
            return self.refuse_first_hop(packet, reason);
        }
        self.pass(packet, switch);
        if self.engine.has_released() {
            self.release_waiting();
        }
        self.send_originated();
    }

    /// Stops 4 to 7 of a packet on a switch or in a zone of routers.
    #[inline]
    pub(crate) fn pass(&mut self, packet: Packet, switch: SwitchId) {
        if switch.is_zone() && !self.nat.is_idle() {
            return self.pass_translated(packet, switch);
        }
        if switch.is_appliance() {
            return self.pass_appliance(packet, switch);
        }
        match self.enter(packet, switch) {
            Entered::Go(packet, ticket) if switch.is_zone() => self.route(packet, ticket),
            Entered::Go(packet, ticket) => self.decide(packet, ticket, switch),
            Entered::Held => {}
            Entered::Dropped(packet, why) => self.end(packet, why),
        }
    }

    /// Stop 4: the flow, or the wait for other fragments.
    #[inline]
    pub(crate) fn enter(&mut self, packet: Packet, switch: SwitchId) -> Entered {
        if packet.headers.fragment == Fragment::No {
            return self.engine.enter(self.now, packet, switch, self.pool);
        }
        let (port, before) = (packet.port, self.engine.held());
        let entered = self.engine.enter(self.now, packet, switch, self.pool);
        let gone = (before + usize::from(matches!(entered, Entered::Held))).saturating_sub(self.engine.held()) as u64;
        match &entered {
            // The packet that came out is made of this fragment and of those that no longer wait.
            Entered::Go(whole, _) => self.counters(whole.port).merged += gone,
            // Those that waited ended with this one, or made room for it.
            Entered::Dropped(_, why) => self.counters(port).dropped.add(why.reason, gone),
            Entered::Held => self.counters(port).dropped.add(DropReason::FragmentLimit, gone),
        }
        match entered {
            Entered::Go(whole, ticket) => match self.check_first_hop(&whole) {
                Ok(()) => Entered::Go(whole, ticket),
                Err(reason) => {
                    self.engine.tell_refusal_without_flow(self.now, &whole, switch, reason);
                    Entered::Dropped(whole, Why::reason(reason))
                }
            },
            ended @ (Entered::Held | Entered::Dropped(..)) => ended,
        }
    }

    /// Stops 5 and 6: the destination, and whether the packet may go there.
    #[inline]
    fn decide(&mut self, packet: Packet, ticket: Ticket, switch: SwitchId) {
        if self.bridge.special.suppresses {
            if let Some((packet, ticket)) = self.suppress(packet, ticket, switch) {
                self.decide_on(packet, ticket, switch);
            }
            return;
        }
        self.decide_on(packet, ticket, switch);
    }

    #[inline]
    fn decide_on(&mut self, packet: Packet, ticket: Ticket, switch: SwitchId) {
        if self.bridge.special.unknown
            && self.bridge.is_unknown(self.now_s, &packet, switch)
            && let Err(reason) = self.weather(&packet, Kind::Unicast)
        {
            return self.end(packet, Why::reason(reason));
        }
        match self.bridge.resolve(self.now_s, &packet, switch, self.to) {
            Ok(Destination::Port(to, tagging)) => match self.engine.inspect(self.now, packet, ticket, to, self.pool) {
                Inspected::Forward(cleared) => self.leave(to, tagging, cleared),
                Inspected::Dropped(packet, why) => self.end(packet, why),
                Inspected::Wait(packet, wait) => self.wait(packet, wait),
            },
            Ok(Destination::Flood) => self.flood(packet, ticket, None),
            Err(reason) => self.end(packet, Why::reason(reason)),
        }
    }

    /// Stop 7 for a port that was not asked yet.
    pub(crate) fn send(&mut self, to: PortId, cleared: Cleared) {
        if to == PortId::LOCAL {
            return self.deliver(cleared);
        }
        let vid = cleared.packet().vid;
        match self.bridge.port(to).ok_or(DropReason::PortUnbound).and_then(|port| port.departure(vid)) {
            Ok(tagging) => self.leave(to, tagging, cleared),
            Err(reason) => self.end(cleared.into_packet(), Why::reason(reason)),
        }
    }

    /// Stop 7: the packet as it leaves by `to`.
    #[inline]
    pub(crate) fn leave(&mut self, to: PortId, tagging: Tagging, mut cleared: Cleared) {
        if to == PortId::LOCAL {
            return self.deliver(cleared);
        }
        self.snoop_leases(cleared.packet(), to);
        if tagging == Tagging::Through {
            return self.go_through(to, cleared);
        }
        if let Err(reason) = rewrite(cleared.rewrite(), tagging) {
            return self.end(cleared.into_packet(), Why::reason(reason));
        }
        let bytes = cleared.packet().len() as u64;
        match self.out.push(to, cleared) {
            Ok(()) => {
                let counters = self.counters(to);
                counters.sent += 1;
                counters.sent_bytes += bytes;
            }
            Err(packet) => self.end(packet, Why::reason(DropReason::EgressLimit)),
        }
    }

    /// Packets of our own enter at stop 7. They count for the port whose packet caused them.
    #[inline]
    pub fn send_originated(&mut self) {
        self.engine.originated(|to, cleared| self.replies.push((to, cleared)));
        while !(self.replies.is_empty() && self.routers.is_quiet()) {
            let mut replies = std::mem::take(self.replies);
            for (to, mut cleared) in replies.drain(..) {
                self.counters(cleared.packet().port).originated += 1;
                self.translate_reply(&mut cleared);
                match self.entrance(cleared.packet()) {
                    Some(_) => self.route_own(cleared),
                    None => self.send(to, cleared),
                }
            }
            *self.replies = replies;
            self.catch_up();
            self.engine.originated(|to, cleared| self.replies.push((to, cleared)));
        }
    }
}
