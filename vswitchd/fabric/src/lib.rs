//! The switch: where a packet goes and what is rewritten.
//!
//! Pure computation, like the guard: no clock, no I/O, no lock. The order of a packet's stops stands in `stages`.
//!
//! Every table is bounded: addresses by [`SwitchConfig::fdb_limit`], what routers keep as told in [`router`], packets on their way out by
//! [`egress::EGRESS_LIMIT`] a port, remembered drops by [`why::REMEMBERED`] a port. Once warm, moving packets
//! allocates nothing. Nothing a frame contains can make this crate panic.
//!
//! ```
//! use weir_fabric::{Egress, Fabric, PortConfig, Step, SwitchConfig};
//! use weir_wire::{Instant, Offload, Packet, Pool, PortId, SwitchId};
//!
//! let mut fabric = Fabric::new(Default::default(), 1);
//! fabric.apply(Instant::ZERO, Step::SetSwitch(SwitchId(0), SwitchConfig::default()));
//! for port in [1, 2] {
//!     fabric.apply(Instant::ZERO, Step::SetPort(PortId(port), PortConfig::default()));
//! }
//! let (mut pool, mut out) = (Pool::default(), Egress::default());
//! let frame = [[0xff; 6], [2, 0, 0, 0, 0, 1], [0x88, 0xb5, 0, 0, 0, 0]].concat();
//! let mut burst = vec![Packet::new(pool.copy(&frame).unwrap(), PortId(1), Offload::default())];
//! fabric.process(Instant::ZERO, &mut burst, &mut pool, &mut out);
//! assert_eq!(out.queue(PortId(2)).unwrap()[0].bytes(), frame);
//! ```
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::sync::Arc;

use weir_filter::engine::Shadow;
use weir_filter::engine::budget::Budget;
use weir_filter::event::FlowRecord;
use weir_filter::{Cleared, Engine, Event, Limits, Policy, Why};
use weir_wire::{Instant, InterfaceId, Nowhere, Pool, PortId, RouterId, SwitchId};

mod adopt;
pub mod appliance;
mod away;
mod bridge;
pub mod config;
pub mod counters;
pub mod egress;
mod ends;
pub mod fdb;
pub mod first_hop;
mod flood;
mod gate;
pub mod lldp;
pub mod loops;
pub mod lpm;
pub mod mirror;
pub mod multicast;
pub mod nat;
mod path;
mod rewrite;
pub mod router;
mod run;
pub mod serve;
pub mod shape;
mod stages;
mod steps;
pub mod storm;
pub mod suppress;
mod trace;
mod vlan;
pub mod why;

pub use config::{Flood, PortConfig, Step, SwitchConfig, VlanMode};
pub use counters::{PortCounters, Totals};
pub use egress::Egress;
pub use fdb::{FdbEntry, FdbStats};
pub use weir_filter::Offer;
pub use why::LastDrop;

use appliance::{ApplianceStatus, Standing};
use bridge::Bridge;
use first_hop::Bindings;
use mirror::Mirrors;
use nat::bindings::{BindingEntry, Room};
use nat::{Nat, NatCounters};
use path::Paths;
use router::neighbor::{Found, NeighborEntry};
use router::{InterfaceStatus, RouteTable, Routers};
use serve::Serving;
use stages::Lane;
use why::Drops;

/// Addresses that age out in one tick; the next tick follows at once where more are due.
const AGED_PER_TICK: usize = 4096;

/// The switches of one worker, and their guard.
#[derive(Debug)]
pub struct Fabric {
    engine: Engine,
    bridge: Bridge,
    routers: Routers,
    nat: Nat,
    serving: Serving,
    strays: Strays,
    bindings: Bindings,
    seed: u64,
    /// What tells our own probes from those of others.
    own_id: u64,
    mirrors: Mirrors,
    // Room used again by every burst.
    lanes: Vec<Lane>,
    paths: Paths,
    to: Vec<PortId>,
    replies: Vec<(PortId, Cleared)>,
}

/// What belongs to no port that exists: counters of ports that were removed, packets of ports that were never added.
#[derive(Debug)]
pub(crate) struct Strays {
    counters: PortCounters,
    drops: Drops,
    sequence: u64,
}

impl Strays {
    /// The place of the next drop among all.
    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

/// Seconds since the start of time: the grain of ageing.
pub(crate) fn coarse(now: Instant) -> u32 {
    (now.0 / 1_000_000_000) as u32
}

impl Fabric {
    /// A fabric without switches. `seed` keys the hashes.
    pub fn new(limits: Limits, seed: u64) -> Fabric {
        Fabric {
            engine: Engine::new(limits, seed),
            bridge: Bridge::default(),
            routers: Routers::new(seed),
            nat: Nat::new(seed),
            serving: Serving::default(),
            strays: Strays { counters: PortCounters::default(), drops: Drops::new(), sequence: 0 },
            bindings: Bindings::default(),
            seed,
            own_id: mixed(seed ^ 0x6c6f_6f70),
            mirrors: Mirrors::default(),
            lanes: Vec::new(),
            paths: Paths::default(),
            to: Vec::new(),
            replies: Vec::new(),
        }
    }

    /// Ages the tables; returns when it next wants to be called. Packets of our own that this causes go to `out`.
    pub fn tick(&mut self, now: Instant, pool: &mut Pool, out: &mut Egress) -> Option<Instant> {
        let now_s = coarse(now);
        let mut mirrors = self.mirrors.begin_turn();
        if let Some(mirrors) = &mut mirrors {
            mirrors.begin(&self.bridge, &mut [], &Nowhere, pool, out);
        }
        let mut next = None;
        for switch in self.bridge.switches.iter_mut().flatten() {
            switch.fdb.age(now_s, AGED_PER_TICK);
            if let Some(suppression) = &mut switch.suppression {
                suppression.age(now_s);
            }
            let due = switch.fdb.next_age_s().map(|at_s| Instant::from_secs(u64::from(at_s)));
            next = earlier(next, due);
        }
        let mut given_up = Vec::new();
        let engine = self.engine.tick(now, |packet, reason| given_up.push((packet, reason)));
        let mut walk = self.walk(now, pool, out);
        for (packet, reason) in given_up {
            walk.end(packet, Why::reason(reason));
        }
        walk.release_waiting();
        let switches = walk.tick_switches();
        let routers = walk.tick_routers();
        walk.tick_nat();
        let appliances = walk.tick_appliances();
        walk.send_originated();
        if let Some(mirrors) = mirrors {
            self.end_mirrors(now, mirrors, &Nowhere, pool, out);
        }
        earlier(earlier(earlier(next, switches), earlier(engine, routers)), appliances)
    }

    /// Looks at what waits for verdicts on files, some of which have come: what may go on is sent, what may not ends.
    pub fn look_at_held(&mut self, now: Instant, pool: &mut Pool, out: &mut Egress) {
        let mut mirrors = self.mirrors.begin_turn();
        if let Some(mirrors) = &mut mirrors {
            mirrors.begin(&self.bridge, &mut [], &Nowhere, pool, out);
        }
        self.engine.look_at_held(now);
        let mut walk = self.walk(now, pool, out);
        walk.release_waiting();
        walk.send_originated();
        if let Some(mirrors) = mirrors {
            self.end_mirrors(now, mirrors, &Nowhere, pool, out);
        }
    }

    /// Takes a new policy; returns the old one so that its owner can free it.
    pub fn install(&mut self, policy: Arc<Policy>) -> Arc<Policy> {
        self.engine.install(policy)
    }

    /// Puts a candidate beside the policy; `None` takes it away. Returns the one before so that its owner can free it.
    pub fn load_shadow(&mut self, now: Instant, shadow: Option<Box<Shadow>>) -> Option<Box<Shadow>> {
        self.engine.load_shadow(now, shadow)
    }

    /// Puts a candidate that was compiled again in the place of the one before, which is returned.
    pub fn renew_shadow(&mut self, policy: Arc<Policy>) -> Arc<Policy> {
        self.engine.renew_shadow(policy)
    }

    /// What was counted for a port; `None` where there is none.
    pub fn counters(&self, port: PortId) -> Option<&PortCounters> {
        self.bridge.port(port).map(|port| &port.counters)
    }

    /// What was counted for packets of no port: of ports removed since, or never added.
    pub fn stray_counters(&self) -> &PortCounters {
        &self.strays.counters
    }

    /// Both sides of the sum over all that was ever counted. They are equal between any two calls.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals { held: (self.engine.held() + self.routers.held()) as u64, ..Totals::default() };
        totals.add(&self.strays.counters);
        self.bridge.ports.iter().flatten().for_each(|port| totals.add(&port.counters));
        totals
    }

    /// Addresses of a switch, in order of VLAN and address.
    pub fn fdb(&self, now: Instant, switch: SwitchId) -> Vec<FdbEntry> {
        self.bridge.switch(switch).map_or(Vec::new(), |switch| switch.fdb.entries(coarse(now)))
    }

    /// What a switch's address table has done; `None` where there is no such switch.
    pub fn fdb_stats(&self, switch: SwitchId) -> Option<FdbStats> {
        self.bridge.switch(switch).map(|switch| switch.fdb.stats())
    }

    /// An interface of a router as it stands; `None` where there is no such interface.
    pub fn router_interface(&self, id: InterfaceId) -> Option<InterfaceStatus> {
        let interface = self.routers.interface(id)?;
        let (config, addresses) = (interface.config.clone(), interface.addresses.clone());
        Some(InterfaceStatus { router: interface.router, config, addresses, counters: interface.counters })
    }

    /// An appliance as it stands; `None` where there is none of that number.
    pub fn appliance(&self, now: Instant, id: SwitchId) -> Option<ApplianceStatus> {
        let found = self.bridge.appliance(id)?;
        let standing: Standing = found.standing(now);
        Some(ApplianceStatus { standing, counters: found.counters, probe: found.probes.status() })
    }

    /// The neighbours of all routers, in order of interface and address.
    pub fn neighbors(&self, now: Instant) -> Vec<NeighborEntry> {
        self.routers.neighbors.list(now)
    }

    /// Bindings of address translation as they stand, `limit` at most; how many there are, and what was counted.
    pub fn nat(&self, now: Instant, limit: usize) -> (Vec<BindingEntry>, usize, NatCounters) {
        (self.nat.list(now, limit), self.nat.len(), self.nat.counters)
    }

    /// What is known of one neighbour; `None` where nothing is.
    pub fn neighbor(&self, interface: InterfaceId, address: IpAddr) -> Option<Found> {
        self.routers.neighbors.peek(interface, address)
    }

    /// A router's routes; `None` where there is no such router.
    pub fn routes(&self, id: RouterId) -> Option<Arc<RouteTable>> {
        self.routers.router(id).map(|router| Arc::clone(&router.table))
    }

    /// Takes the tables that changes have replaced: a large one takes time to free, which its owner has.
    pub fn retired_tables(&mut self) -> Vec<Arc<RouteTable>> {
        std::mem::take(&mut self.routers.retired)
    }

    /// The last drops, oldest first; of one port, or of all.
    pub fn last_drops(&self, port: Option<PortId>) -> Vec<LastDrop> {
        let mut all = Vec::new();
        self.strays.drops.collect(&mut all);
        self.bridge.ports.iter().flatten().for_each(|port| port.drops.collect(&mut all));
        all.retain(|(_, drop)| port.is_none_or(|port| port == drop.port));
        all.sort_unstable_by_key(|(sequence, _)| *sequence);
        all.into_iter().map(|(_, drop)| drop).collect()
    }

    /// Ends all flows with their records, before the worker ends.
    pub fn shutdown(&mut self, now: Instant) {
        self.engine.shutdown(now);
    }

    /// Ends the flows that `chosen` accepts; returns how many.
    pub fn kill_flows(&mut self, now: Instant, chosen: impl FnMut(&FlowRecord) -> bool) -> usize {
        self.engine.kill_flows(now, chosen)
    }

    /// Something waits to be told to people. Cheap: asked once a turn.
    pub fn has_events(&self) -> bool {
        !self.engine.waiting_events().is_empty()
    }

    /// Events that wait to be told to people.
    pub fn events_waiting(&self) -> usize {
        self.engine.waiting_events().len()
    }

    /// Events lost for lack of room.
    pub fn events_lost(&self) -> u64 {
        self.engine.waiting_events().lost()
    }

    /// Hands over what is to be told to people.
    pub fn drain_events(&mut self, each: impl FnMut(Event)) {
        self.engine.events().drain().for_each(each);
    }

    /// Some flows are inspected: by rules, for their files, or for the sites that they name.
    #[inline]
    pub fn inspects(&self) -> bool {
        let policy = self.engine.policy();
        !policy.programs().is_empty() || policy.scan().database.is_some() || !policy.content().is_idle()
    }

    /// What inspection costs, to be charged by whoever measures.
    pub fn budget(&mut self) -> &mut Budget {
        self.engine.budget_mut()
    }

    /// There is room for all bindings of translations.
    pub fn has_room_for_bindings(&self) -> bool {
        self.nat.has_room()
    }

    /// Uses room for bindings that was made elsewhere, and returns what it had before; otherwise the first router that
    /// translates takes it.
    pub fn use_room_for_bindings(&mut self, room: Room) -> Room {
        self.nat.use_room(room)
    }

    /// Whether anybody reads what flows speak: where nobody does, the guard does not write it.
    pub fn set_read(&mut self, is_read: bool) {
        self.engine.set_read(is_read);
    }

    /// The guard, to be looked at rule by rule by whoever measures.
    pub fn sample(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// The guard, to be asked for flows and counters.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}

/// SplitMix64's finish: a number that says nothing of the one it was made of.
pub(crate) fn mixed(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
