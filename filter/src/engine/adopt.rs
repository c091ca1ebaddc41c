//! Two engines become one: the flows of the other go on here, with their verdicts, connections and inspection.
//!
//! Both judge by the same policy. What is found by a flow's place is found by its new one. What waits for a verdict on a
//! file is looked at again; fragments of datagrams that are not whole are given up. Forgotten are what is remembered of
//! sources that may scan, of what was told lately and of where time went, and the values that rules have put in sets there.

use weir_wire::{DropReason, Instant, Packet, PortId};

use super::Engine;
use crate::flow::Memo;

impl Engine {
    /// Takes over what another engine has. Packets that are given up are handed to `dropped` with their reason.
    pub fn adopt(&mut self, now: Instant, mut other: Engine, mut dropped: impl FnMut(Packet, DropReason)) {
        other.fragments.expire(Instant(u64::MAX));
        other.fragments.given_up(|(packet, reason)| dropped(packet, reason));
        self.holding.adopt(&mut other.holding);
        self.memory.adopt(&mut other.memory);
        self.adopt_flows(now, &mut other);
        for (place, half_open) in (0..).zip(other.quotas.all_half_open()) {
            self.quotas.add_half_open(PortId(place), *half_open);
        }
        if self.policy.epoch() == other.policy.epoch() {
            for (mine, theirs) in self.counters.iter_mut().zip(&other.counters) {
                mine.hits += theirs.hits;
                mine.packets += theirs.packets;
                mine.bytes += theirs.bytes;
                mine.last = mine.last.max(theirs.last);
            }
        }
        if let (Some(mine), Some(theirs)) = (&mut self.shadow, &other.shadow) {
            mine.merge(theirs);
        }
        self.proxies.adopt(&other.proxies);
        self.started = [self.started, other.started].into_iter().flatten().min();
        // Flows of ports that went away there are to end here.
        let places = self.table.places();
        self.sweeps.extend(other.sweeps.iter().map(|sweep| sweep.over(places)));
        other.teller.events.drain().for_each(|event| self.teller.keep(event));
    }

    fn adopt_flows(&mut self, now: Instant, other: &mut Engine) {
        let programs: Vec<(u32, u32)> =
            other.programs.numbers().iter().copied().zip(self.programs.numbers().iter().copied()).collect();
        let timeouts = self.policy.settings().timeouts;
        for slot in 0..other.table.places() {
            if other.table.at(slot).number == 0 {
                continue;
            }
            let mut flow = other.table.remove(slot);
            if flow.program != 0 {
                // A rule set of an earlier policy has no number here: the flow's next packet asks for another one.
                let known = programs.iter().find(|(theirs, _)| *theirs == flow.program);
                flow.program = known.map_or(u32::MAX, |(_, mine)| *mine);
            }
            // Places of others mean nothing here.
            (flow.away, flow.memos) = ([0; 2], [Memo::default(); 2]);
            let due = flow.last.after(flow.idle(&timeouts));
            match self.table.adopt(now, due, flow) {
                Ok(here) => {
                    if let Some(splice) = other.proxies.take_splice(slot) {
                        self.proxies.put_splice(here, splice);
                    }
                }
                Err(mut flow) => {
                    if let Some(mut inspect) = flow.inspect.take() {
                        inspect.release(&mut self.memory);
                    }
                    self.teller.flow_ended(now, &flow, "evicted");
                }
            }
        }
    }

    /// Flows that begin from here on have numbers above this one, so that those of several engines differ.
    pub fn number_flows_from(&mut self, number: u64) {
        self.table.number_from(number);
    }
}
