//! How flows come and go: room in the table, time, ports that go away, people who end them.

use std::time::Duration;

use weir_wire::{DropReason, Instant, Packet, PortId, SwitchId};

use super::Engine;
use crate::event::FlowRecord;
use crate::flow::Flow;

/// Flows that are asked in one tick whether they may stay.
const ASKS: usize = 2048;
/// Places of the table that are looked at in one tick for flows of a port that went away.
const SWEEP: u32 = 16_384;

/// Places whose flows are looked for at once in the index, before they end one by one.
const AHEAD: u32 = 32;

/// Whose flows are searched for.
#[derive(Clone, Copy, Debug)]
enum Of {
    /// A port that went away.
    Port(PortId),
    /// A switch whose flows are forgotten.
    Switch(SwitchId),
}

/// A search for flows that are to end, spread over ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    of: Of,
    next: u32,
    end: u32,
    /// Flows that came later are not meant.
    before: Instant,
}

impl Sweep {
    /// The same search from the start, over so many places.
    pub fn over(&self, places: u32) -> Sweep {
        Sweep { next: 0, end: places, ..*self }
    }
}

impl Engine {
    /// Finds room for a flow of this port, found by this hash, and adds it as `fill` writes it. A port at its quota, or a full table, gives up another flow where there is
    /// one that may go.
    #[inline]
    pub(super) fn admit(
        &mut self,
        now: Instant,
        (port, hash, idle): (PortId, u64, Duration),
        fill: impl FnOnce(&mut Flow),
    ) -> Result<u32, DropReason> {
        if self.flows_per_port > 0 && self.table.opened_by(port) >= self.flows_per_port {
            let victim = self.table.own_victim(port).ok_or(DropReason::FlowQuota)?;
            self.end(victim, "evicted");
        }
        if self.table.is_full() {
            let victim = self.table.victim_for(port).ok_or(DropReason::FlowTableFull)?;
            self.end(victim, "evicted");
        }
        self.table.add(now, now.after(idle), hash, fill).map_err(|_| DropReason::FlowTableFull)
    }

    /// Flows that a port can open before others have to go.
    pub(super) fn room_of(&self, port: PortId) -> usize {
        let of_all = self.table.room();
        if self.flows_per_port == 0 {
            return of_all;
        }
        of_all.min(self.flows_per_port.saturating_sub(self.table.opened_by(port)))
    }

    /// Ends a flow: its record is told, its memory given back.
    pub(super) fn end(&mut self, slot: u32, reason: &'static str) {
        self.recall(slot);
        self.holding.forget((slot, self.table.at(slot).generation), DropReason::FlowBlocked);
        let mut flow = self.table.remove(slot);
        self.shadow_ends(&flow);
        self.quota_ends(&flow);
        self.suspect_ends(&flow);
        self.proxies.forget(slot);
        self.count_end(&flow);
        let now = self.last_tick.max(flow.last);
        self.finish(now, &mut flow);
        if let Some(mut inspect) = flow.inspect.take() {
            inspect.release(&mut self.memory);
        }
        if !flow.recorded {
            self.teller.flow_ended(now, &flow, reason);
        }
    }

    /// Ages the tables a little; returns when it next wants to be called. Packets given up (fragments that timed out)
    /// are handed to `dropped` with their reason so that the fabric counts them.
    pub fn tick(&mut self, now: Instant, mut dropped: impl FnMut(Packet, DropReason)) -> Option<Instant> {
        if self.started.is_none() {
            self.started = Some(now);
        }
        self.last_tick = now;
        self.fragments.expire(now);
        self.fragments.given_up(|(packet, reason)| dropped(packet, reason));
        let mut asked = 0;
        while asked < ASKS
            && let Some(slot) = self.table.due(now)
        {
            asked += 1;
            let flow = self.table.at(slot);
            let until = flow.last.after(flow.idle(&self.policy.settings().timeouts));
            if until <= now {
                let reason = if flow.state() == "closed" { "closed" } else { "timeout" };
                self.end(slot, reason);
            } else {
                self.suspect_stays(now, slot);
                self.table.postpone(now, slot, until);
            }
        }
        self.sweep();
        self.look_over(now);
        self.look_at_held(now);
        let walks = self.walk_shadow();
        if asked == ASKS || !self.sweeps.is_empty() || walks {
            return Some(now);
        }
        [self.table.next_due(), self.fragments.next_due(), self.holding.next_due()].into_iter().flatten().min()
    }

    /// Ends all flows of a port that went away. Large tables are searched over the ticks that follow.
    pub fn port_removed(&mut self, now: Instant, port: PortId) {
        self.sweeps.push(Sweep { of: Of::Port(port), next: 0, end: self.table.places(), before: now });
        self.sweep();
    }

    /// Ends all flows of a switch: what follows is met anew. Large tables are searched over the ticks that follow.
    pub fn forget_switch(&mut self, now: Instant, switch: SwitchId) {
        self.sweeps.push(Sweep { of: Of::Switch(switch), next: 0, end: self.table.places(), before: now });
        self.sweep();
    }

    fn sweep(&mut self) {
        let Some(sweep) = self.sweeps.last_mut() else { return };
        let (of, before, start) = (sweep.of, sweep.before, sweep.next);
        let end = sweep.end.min(start.saturating_add(SWEEP));
        sweep.next = end;
        if end == sweep.end {
            self.sweeps.pop();
        }
        for slot in start..end {
            if slot.is_multiple_of(AHEAD) {
                self.table.warm_leaving(slot, AHEAD);
            }
            let flow = self.table.at(slot);
            if flow.number == 0 || flow.start > before {
                continue;
            }
            match of {
                Of::Port(port) if flow.ports.contains(&port) || flow.owner == port => self.end(slot, "port-removed"),
                Of::Switch(switch) if flow.key.switch() == switch => self.end(slot, "forgotten"),
                Of::Port(_) | Of::Switch(_) => {}
            }
        }
    }

    /// Ends all flows with their records; called before the worker ends.
    pub fn shutdown(&mut self, now: Instant) {
        let _: Instant = now;
        for slot in 0..self.table.places() {
            if slot.is_multiple_of(AHEAD) {
                self.table.warm_leaving(slot, AHEAD);
            }
            if self.table.at(slot).number != 0 {
                self.end(slot, "shutdown");
            }
        }
    }

    /// Ends the flows that `chosen` accepts; returns how many. Their packets are dropped for the time that flows ended
    /// by a verdict are remembered, so that a connection does not come back with its next packet.
    pub fn kill_flows(&mut self, now: Instant, mut chosen: impl FnMut(&FlowRecord) -> bool) -> usize {
        let mut killed = 0;
        for slot in 0..self.table.places() {
            let flow = self.table.at(slot);
            if flow.number == 0 || flow.blocked || !chosen(&flow.record("killed")) {
                continue;
            }
            self.teller.flow_ended(now, flow, "killed");
            self.table.at_mut(slot).recorded = true;
            self.block(now, slot);
            killed += 1;
        }
        killed
    }
}
