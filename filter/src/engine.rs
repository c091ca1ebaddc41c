//! Stops 4 and 6 of a packet's walk: the flow it belongs to, and what the policy and the rules say of it.

mod adopt;
mod aside;
mod away;
pub mod budget;
mod carry;
mod content;
mod decided;
mod deny;
mod end;
mod enter;
mod exits;
mod hold;
mod open;
mod pass;
mod policy;
mod probe;
mod quota;
pub mod sample;
mod shadow;
mod splice;
mod suspects;
mod syn_proxy;
mod tell;
mod trace;
mod waive;

use std::sync::Arc;

use weir_wire::{DropReason, Epoch, Instant, Packet, Pool, PortId, RuleId, SwitchId};

use crate::event::{Events, FlowRecord, Signature};
use crate::flow::table::Table;
use crate::frag::Fragments;
use crate::inspect::{Direction, Findings, StreamMemory};
use crate::policy::Policy;
use crate::reject::Replies;
use away::Away;
pub use away::{FlowPlace, Offer};
use budget::Budget;
pub use carry::{Begun, Carried, FlowName, Leaves};
use decided::Decided;
use end::Sweep;
use exits::Exits;
use hold::Holding;
pub use hold::{Released, Wait};
use policy::Programs;
use quota::Quotas;
use sample::Sampling;
pub use shadow::Shadow;
use suspects::Prowlers;
use syn_proxy::SynProxies;
pub use syn_proxy::SynProxyCounters;
use tell::Teller;
use waive::Waivers;

/// Bounds of the engine's tables, set when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Flows in all.
    pub flows: usize,
    /// Flows that one port may open; 0 for a fair share chosen by the engine.
    pub flows_per_port: usize,
    /// Bytes of stream data held for reassembly and comparison, in all.
    pub stream_bytes: usize,
    /// The same for one direction of one flow.
    pub stream_bytes_per_flow: usize,
    /// Fragments waiting.
    pub fragments: usize,
    /// Events waiting for the worker.
    pub events: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            flows: 1 << 20,
            flows_per_port: 0,
            stream_bytes: 256 << 20,
            stream_bytes_per_flow: 512 << 10,
            fragments: 4096,
            events: 4096,
        }
    }
}

/// A packet that may leave. Its makers are [`Engine::inspect`], [`Engine::inspect_flood`], [`Engine::waive`] where the
/// operator has said that an appliance is passed by, and [`Cleared::originate`].
#[derive(Debug)]
pub struct Cleared(Packet);

impl Cleared {
    /// A packet of our own making (a reset, an ICMP error, an announcement).
    pub fn originate(packet: Packet) -> Cleared {
        Cleared(packet)
    }

    /// Another copy of an inspected packet, for flooding; `None` where the pool is empty.
    pub fn duplicate(&self, pool: &mut Pool) -> Option<Cleared> {
        self.0.duplicate(pool).map(Cleared)
    }

    /// The packet, to be read.
    pub fn packet(&self) -> &Packet {
        &self.0
    }

    /// The packet, for the fields that stop 7 rewrites.
    pub fn rewrite(&mut self) -> &mut Packet {
        &mut self.0
    }

    /// The packet, on its way out.
    pub fn into_packet(self) -> Packet {
        self.0
    }
}

/// A packet's place in the flow table between stops 4 and 6. Used up by inspection.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    switch: SwitchId,
    place: Place,
}

impl Ticket {
    /// The packet goes the way of its flow's responder.
    pub fn is_reply(&self) -> bool {
        matches!(self.place, Place::Known { direction: Direction::Reply, .. })
    }
}

/// Where a packet stands. A place in the table is checked again before use.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// In a flow that is known.
    Known { slot: u32, generation: u32, direction: Direction },
    /// In a flow that is not.
    New,
    /// An ICMP error about a packet that went this way in a flow.
    Error { slot: u32, generation: u32, quoted: Direction },
    /// In no flow.
    Alone,
}

/// What stop 4 made of a packet.
#[derive(Debug)]
pub enum Entered {
    /// It goes on; fragments go on as one packet, put together.
    Go(Packet, Ticket),
    /// It is a fragment and waits for the others.
    Held,
    /// It ends here.
    Dropped(Packet, Why),
}

/// Why a packet ends.
#[derive(Clone, Debug)]
pub struct Why {
    /// The reason that is counted.
    pub reason: DropReason,
    /// The policy rule that decided, where one did.
    pub rule: Option<RuleId>,
    /// The inspection rule that decided, where one did.
    pub signature: Option<Arc<Signature>>,
}

impl Why {
    /// A reason without a rule.
    pub const fn reason(reason: DropReason) -> Why {
        Why { reason, rule: None, signature: None }
    }
}

/// What stop 6 made of a packet.
#[derive(Debug)]
pub enum Inspected {
    /// It may leave.
    Forward(Cleared),
    /// It ends here. Replies to the sender, where there are any, wait in [`Engine::originated`].
    Dropped(Packet, Why),
    /// It is to wait ([`Engine::hold`]) until a file is judged that it brings the end of. Whoever cannot let it wait drops
    /// it as [`DropReason::AwaitsVerdict`]: its sender repeats it.
    Wait(Packet, Wait),
}

/// The guard of one worker.
#[derive(Debug)]
pub struct Engine {
    policy: Arc<Policy>,
    decided: Decided,
    programs: Programs,
    /// The first policy of those since which the content filter has had rules.
    watched_from: Epoch,
    counters: Vec<RuleCounter>,
    table: Table,
    flows_per_port: usize,
    fragments: Fragments,
    memory: StreamMemory,
    findings: Findings,
    replies: Replies,
    teller: Teller,
    sweeps: Vec<Sweep>,
    budget: Budget,
    away: Away,
    /// The first time it was told of.
    started: Option<Instant>,
    /// The time of the last tick.
    last_tick: Instant,
    waivers: Waivers,
    /// The DSCP that the packet at hand gets, where its rule wants one.
    mark: Option<u8>,
    /// A candidate beside the policy.
    shadow: Option<Box<Shadow>>,
    quotas: Quotas,
    prowlers: Prowlers,
    proxies: SynProxies,
    /// Some rule of the policy marks packets.
    marks: bool,
    holding: Holding,
    sampling: Sampling,
}

impl Engine {
    /// An engine with empty tables and an empty policy that allows everything. `seed` keys the hashes.
    pub fn new(limits: Limits, seed: u64) -> Engine {
        Engine {
            policy: Arc::new(Policy::default()),
            decided: Decided::default(),
            programs: Programs::default(),
            watched_from: Epoch::default(),
            counters: vec![RuleCounter::default()],
            table: Table::new(limits.flows, seed),
            flows_per_port: limits.flows_per_port,
            fragments: Fragments::new(limits.fragments),
            memory: StreamMemory::new(limits.stream_bytes, limits.stream_bytes_per_flow),
            findings: Findings::default(),
            replies: Replies::default(),
            teller: Teller::new(limits.events),
            sweeps: Vec::new(),
            budget: Budget::default(),
            away: Away::default(),
            started: None,
            last_tick: Instant::ZERO,
            waivers: Waivers::default(),
            mark: None,
            shadow: None,
            quotas: Quotas::default(),
            prowlers: Prowlers::new(seed),
            proxies: SynProxies::new(seed),
            marks: false,
            holding: Holding::default(),
            sampling: Sampling::default(),
        }
    }

    /// Takes a new policy; returns the old one so that its owner can free it. Flows are judged again at their next
    /// packet. Rules that were there before go on with their counters, where the policy was made to follow the one that
    /// it replaces ([`Policy::follow`]); those of others begin at nothing.
    pub fn install(&mut self, policy: Arc<Policy>) -> Arc<Policy> {
        self.programs.renumber(&self.policy, &policy);
        let sets = policy.programs().iter().map(|(_, program)| program.sets());
        let stores = policy.programs().iter().any(|(_, program)| program.stores_files());
        self.memory.renew(sets, policy.settings().tells, stores);
        self.budget.set_terms(policy.settings().cpu_budget);
        self.budget.retain_programs(self.programs.numbers());
        let looks = |policy: &Policy| [!policy.content().is_idle(), policy.scan().database.is_some()];
        let [old, new] = [looks(&self.policy), looks(&policy)];
        if old.iter().zip(new).any(|(old, new)| new && !old) {
            self.watched_from = policy.epoch();
        }
        let before = Arc::clone(&self.policy);
        self.take_accounts(&before, &policy);
        self.marks = policy.marks();
        let mut counters = vec![RuleCounter::default(); policy.rules() + 1];
        if policy.follows(self.policy.epoch()) {
            for (old, counter) in self.counters.iter().enumerate() {
                let number = policy.successor(RuleId(old as u32), self.policy.rules());
                if let Some(place) = number.and_then(|number| counters.get_mut(number)) {
                    *place = *counter;
                }
            }
        }
        self.counters = counters;
        self.decided.forget();
        self.holding.hurry();
        self.renew_sample();
        std::mem::replace(&mut self.policy, policy)
    }

    /// Stop 6, for a packet with one destination.
    #[inline]
    pub fn inspect(&mut self, now: Instant, packet: Packet, ticket: Ticket, to: PortId, pool: &mut Pool) -> Inspected {
        self.pass(now, packet, ticket, Exits::One(to), pool)
    }

    /// Stop 6, for a packet that goes to several ports: judges it for each, takes those out of `to` that may not have
    /// it (returning how many in `refused`), and inspects its content once. `Dropped` when none is left.
    pub fn inspect_flood(
        &mut self,
        now: Instant,
        packet: Packet,
        ticket: Ticket,
        to: &mut Vec<PortId>,
        refused: &mut usize,
        pool: &mut Pool,
    ) -> Inspected {
        self.pass(now, packet, ticket, Exits::Many { ports: to, refused }, pool)
    }

    /// Packets of our own that wait to be sent (resets, ICMP errors), each with the port it leaves by.
    #[inline]
    pub fn originated(&mut self, mut send: impl FnMut(PortId, Cleared)) {
        if !self.replies.is_empty() {
            self.replies.drain().for_each(|(port, packet)| send(port, packet));
        }
    }

    /// What inspection has counted.
    pub fn inspection(&self) -> InspectionCounters {
        InspectionCounters {
            alerts: self.memory.alerts,
            stream_bytes: self.memory.used as u64,
            undecided: self.memory.undecided,
            overflows: self.memory.overflows(),
            sets_refused: self.memory.sets().refused,
            files_refused: self.memory.files_refused(),
        }
    }

    /// The sets that inspection rules ask and fill, as they stand.
    pub fn sets(&self) -> &crate::detect::sets::Sets {
        self.memory.sets()
    }

    /// What waits to be told to people, to be looked at.
    pub fn waiting_events(&self) -> &Events {
        &self.teller.events
    }

    /// What waits to be told to people.
    pub fn events(&mut self) -> &mut Events {
        &mut self.teller.events
    }

    /// Up to `limit` flows of those that `wanted` accepts, as they stand.
    pub fn flows(&self, limit: usize, mut wanted: impl FnMut(&FlowRecord) -> bool) -> Vec<FlowRecord> {
        self.table.iter().map(|flow| flow.record("")).filter(|record| wanted(record)).take(limit).collect()
    }

    /// As [`Engine::flows`], but looks at `places` places of the table from `start` on: for tables too large to be
    /// looked through between two bursts. Returns where to go on; `None` at the end. Flows that come or go meanwhile
    /// may be missed.
    pub fn flows_from(
        &self,
        start: u32,
        places: u32,
        mut wanted: impl FnMut(&FlowRecord) -> bool,
    ) -> (Vec<FlowRecord>, Option<u32>) {
        let end = start.saturating_add(places.max(1));
        let records =
            self.table.range(start, end).map(|flow| flow.record("")).filter(|record| wanted(record)).collect();
        (records, (end < self.table.places()).then_some(end))
    }

    /// Packets that wait: fragments, and what awaits the verdict on a file (part of the fabric's sum: received = sent +
    /// held + dropped).
    pub fn held(&self) -> usize {
        self.fragments.held() + self.holding.count()
    }

    /// Flows in the table.
    pub fn flow_count(&self) -> usize {
        self.table.len()
    }

    /// What each rule of the installed policy has decided, in the policy's order; the default action last. What flows
    /// carry that have not ended is found by [`Engine::carried_by_rules`].
    pub fn rule_counters(&self) -> &[RuleCounter] {
        &self.counters
    }

    /// Adds what flows in the table have carried to `carried`, packets and bytes by the number of the rule that lets them
    /// pass, the default last, as [`Engine::rule_counters`] does; looks at `places` places from `start` on. Returns where
    /// to go on; `None` at the end.
    pub fn carried_by_rules(&self, start: u32, places: u32, carried: &mut Vec<[u64; 2]>) -> Option<u32> {
        carried.resize(self.counters.len(), [0; 2]);
        let end = start.saturating_add(places.max(1));
        let epoch = self.policy.epoch();
        for flow in self.table.range(start, end).filter(|flow| flow.epoch == epoch && !flow.decision.refuses()) {
            let last = carried.len() - 1;
            if let Some([packets, bytes]) = carried.get_mut((flow.decision.rule.0 as usize).min(last)) {
                *packets += flow.packets.iter().sum::<u64>();
                *bytes += flow.bytes.iter().sum::<u64>();
            }
        }
        (end < self.table.places()).then_some(end)
    }

    /// What inspection costs and gives up.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The same, to be charged by whoever measures.
    pub fn budget_mut(&mut self) -> &mut Budget {
        &mut self.budget
    }

    /// Whether anybody reads what flows speak: where nobody does, it is not written. Alerts, anomalies and ends of flows are
    /// told all the same.
    pub fn set_read(&mut self, is_read: bool) {
        self.memory.set_read(is_read);
    }

    /// What inspection with each rule set took, by the rule set's name.
    pub fn usage_of_programs(&self) -> Vec<(String, budget::Usage)> {
        let names = self.policy.programs().iter().map(|(name, _)| name).zip(self.programs.numbers());
        let named = |number| names.clone().find(|&(_, &known)| known == number).map(|(name, _)| name.clone());
        self.budget.of_programs().filter_map(|(number, usage)| Some((named(number)?, usage))).collect()
    }

    /// The policy that judges.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }
}

/// What inspection has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InspectionCounters {
    /// Alerts.
    pub alerts: u64,
    /// Bytes of streams that are held now.
    pub stream_bytes: u64,
    /// Packets refused because a rule that refuses could not be decided within its bound on work.
    pub undecided: u64,
    /// Matches that were not judged further for want of room.
    pub overflows: u64,
    /// Values that found no room in the sets.
    pub sets_refused: u64,
    /// Files that rules want stored, for which there was no room.
    pub files_refused: u64,
}

/// How often a rule decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleCounter {
    /// Flows (or frames without a flow) it decided.
    pub hits: u64,
    /// Packets of flows that it let pass and that have ended; packets without a flow, and first packets that it refused.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When it last decided.
    pub last: Instant,
}

#[cfg(test)]
mod tests;
