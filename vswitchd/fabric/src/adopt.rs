//! Two fabrics become one: what joins their switches may come then. Nothing of either is met anew.
//!
//! The numbers of ports, switches, routers, interfaces and appliances are the daemon's, so that none is in both; their
//! tables are keyed by the same seed. Ports and switches come as they are, with their addresses, counters and last drops.
//! Flows go on with their verdicts, connections and inspection; bindings of address translation over which both sides
//! have spoken stand, as they do over an orderly restart; neighbours that have answered are known. Packets that wait for
//! a neighbour begin again at stop 4; fragments of datagrams that are not whole end, counted.

use weir_filter::Why;
use weir_wire::{Instant, Pool};

use crate::bridge::Bridge;
use crate::egress::Egress;
use crate::nat::{Nat, NatCounters};
use crate::router::Routers;
use crate::{Fabric, Strays};

/// Puts what is in `from` in the same places of `into`, which are empty.
fn move_slots<T>(into: &mut Vec<Option<T>>, from: Vec<Option<T>>) {
    if into.len() < from.len() {
        into.resize_with(from.len(), || None);
    }
    for (place, slot) in into.iter_mut().zip(from) {
        if slot.is_some() {
            *place = slot;
        }
    }
}

impl Fabric {
    /// Takes in all of another fabric that was made with the same seed and judges by the same policy. Packets that cannot
    /// wait any longer end; what is to be said because of that goes to `out`.
    pub fn adopt(&mut self, now: Instant, other: Fabric, pool: &mut Pool, out: &mut Egress) {
        let kept = other.keep_bindings(now);
        let Fabric { engine, bridge, routers, nat, serving, strays, bindings, mirrors, .. } = other;
        self.bridge.adopt(bridge);
        self.routers.adopt(now, routers);
        self.nat.adopt(nat, &self.routers);
        self.serving.adopt(serving);
        self.strays.adopt(strays);
        self.bindings.adopt(bindings);
        self.mirrors.adopt(mirrors);
        self.restore_bindings(now, &kept);
        let mut given_up = Vec::new();
        self.engine.adopt(now, engine, |packet, reason| given_up.push((packet, reason)));
        let mut walk = self.walk(now, pool, out);
        for (packet, reason) in given_up {
            walk.end(packet, Why::reason(reason));
        }
        walk.release_waiting();
        walk.send_originated();
    }

    /// Numbers flows from here on, so that those of several fabrics differ.
    pub fn number_flows_from(&mut self, number: u64) {
        self.engine.number_flows_from(number);
    }
}

impl Bridge {
    fn adopt(&mut self, other: Bridge) {
        move_slots(&mut self.switches, other.switches);
        move_slots(&mut self.ports, other.ports);
        move_slots(&mut self.appliances, other.appliances);
        self.look_for_special();
    }
}

impl Routers {
    fn adopt(&mut self, now: Instant, other: Routers) {
        move_slots(&mut self.routers, other.routers);
        move_slots(&mut self.interfaces, other.interfaces);
        self.released.extend(self.neighbors.adopt(now, other.neighbors));
        self.emissions.extend(other.emissions);
        self.released.extend(other.released);
        self.farewells.extend(other.farewells);
        self.orphans.extend(other.orphans);
        self.retired.extend(other.retired);
        self.detours.adopt(other.detours);
        self.rebuild();
    }
}

impl Nat {
    /// Without its bindings, which are put back like those of before a restart.
    fn adopt(&mut self, other: Nat, routers: &Routers) {
        let Nat { edges, counters, .. } = other;
        for edge in edges {
            self.set(edge.router, edge.zone, edge.config, routers.addresses_of(edge.router));
        }
        self.counters.add(&counters);
    }
}

impl NatCounters {
    /// Adds those of others.
    pub fn add(&mut self, other: &NatCounters) {
        self.made += other.made;
        self.exhausted += other.exhausted;
        self.over_limit += other.over_limit;
        self.full += other.full;
    }
}

impl Strays {
    fn adopt(&mut self, other: Strays) {
        self.counters.merge(&other.counters);
        self.sequence = self.sequence.max(other.sequence);
    }
}
