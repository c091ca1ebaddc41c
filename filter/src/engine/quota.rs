//! What guests may open: flows, new flows a second and half-open connections, of ports and of groups of ports.
//!
//! Counted is who opens. A guest at its limit loses its own new flows, nobody else's; each refusal is counted by reason,
//! and told once in [`QUIET`] for each account and limit. How many connections wait half-open toward each port is counted
//! too, for the SYN proxy and for telling of floods.

use std::time::Duration;

use weir_wire::{DropReason, Instant, PortId};

use super::Engine;
use crate::event::Notice;
use crate::flow::key::Key;
use crate::flow::tcp::Phase;
use crate::flow::{Flow, UNKNOWN_PORT};
use crate::policy::{Policy, Quota};

/// How long a limit that was met is not told again.
const QUIET: Duration = Duration::from_secs(10);

/// What the ports of an account have open.
#[derive(Debug, Default)]
struct Standing {
    flows: u32,
    half_open: u32,
    /// New flows that may still come, in thousandths.
    credit: u64,
    filled: Instant,
    /// Until when each limit is not told again: flows, new flows, half-open.
    quiet: [Instant; 3],
}

impl Standing {
    /// Fills the credit up for the time that has passed.
    fn fill(&mut self, now: Instant, a_second: u32) {
        let full = u64::from(a_second) * 1000;
        let passed = u64::try_from(now.since(self.filled).as_micros()).unwrap_or(u64::MAX);
        let new = passed.saturating_mul(u64::from(a_second)) / 1000;
        if new > 0 {
            self.credit = self.credit.saturating_add(new).min(full);
            self.filled = now;
        }
    }
}

/// A flow that is to begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening<'a> {
    pub key: &'a Key,
    /// The port that opens it.
    pub owner: PortId,
    /// It will wait half-open.
    pub half_open: bool,
}

/// What is open, by account and by port.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    /// As the policy's accounts.
    accounts: Vec<Standing>,
    /// Half-open connections that a port has opened, and that others have opened toward it.
    half_open: Vec<[u32; 2]>,
}

impl Quotas {
    /// Half-open connections of a port: that it has opened, that were opened toward it.
    pub fn half_open(&self, port: PortId) -> [u32; 2] {
        self.half_open.get(usize::from(port.0)).copied().unwrap_or_default()
    }

    /// Ports toward which connections are half-open, and how many.
    pub fn toward(&self) -> impl Iterator<Item = (PortId, u32)> {
        self.half_open.iter().enumerate().map(|(port, &[_, toward])| (PortId(port as u16), toward))
    }

    /// Half-open connections of all ports, by number.
    pub fn all_half_open(&self) -> &[[u32; 2]] {
        &self.half_open
    }

    /// A port has so many more.
    pub fn add_half_open(&mut self, port: PortId, [opened, toward]: [u32; 2]) {
        if opened + toward > 0
            && let Some(known) = self.port(port)
        {
            *known = [known[0] + opened, known[1] + toward];
        }
    }

    fn port(&mut self, port: PortId) -> Option<&mut [u32; 2]> {
        if port == UNKNOWN_PORT {
            return None;
        }
        let index = usize::from(port.0);
        if index >= self.half_open.len() {
            self.half_open.resize(index + 1, [0; 2]);
        }
        self.half_open.get_mut(index)
    }
}

impl Engine {
    /// Takes the accounts of a policy: what they have open is counted anew, credit is kept by name.
    pub(super) fn take_accounts(&mut self, old: &Policy, new: &Policy) {
        let mut kept = std::mem::take(&mut self.quotas.accounts);
        for account in new.accounts().list() {
            let before = old.accounts().list().iter().position(|known| known.name == account.name);
            let before = before.and_then(|at| kept.get_mut(at)).map(std::mem::take);
            let fresh = || Standing { credit: u64::from(account.quota.new_flows) * 1000, ..Standing::default() };
            let mut standing = before.unwrap_or_else(fresh);
            (standing.flows, standing.half_open) = (0, 0);
            for &port in &account.ports {
                standing.flows = standing.flows.saturating_add(self.table.opened_by(port) as u32);
                standing.half_open = standing.half_open.saturating_add(self.quotas.half_open(port)[0]);
            }
            self.quotas.accounts.push(standing);
        }
    }

    /// Whether a port may open another flow. A port at its own limit of flows gives up one that nobody has answered, where
    /// it has one.
    #[inline]
    pub(super) fn within_quota(&mut self, now: Instant, flow: &Opening<'_>) -> Result<(), DropReason> {
        if self.policy.accounts().of(flow.owner).is_empty() { Ok(()) } else { self.within_accounts(now, flow) }
    }

    fn within_accounts(&mut self, now: Instant, flow: &Opening<'_>) -> Result<(), DropReason> {
        let policy = std::sync::Arc::clone(&self.policy);
        let accounts = policy.accounts();
        let places = accounts.of(flow.owner);
        let opens_half = flow.half_open;
        for &place in places {
            let place = usize::from(place);
            let (Some(account), Some(standing)) = (accounts.list().get(place), self.quotas.accounts.get_mut(place))
            else {
                continue;
            };
            let Quota { flows, new_flows, half_open } = account.quota;
            standing.fill(now, new_flows);
            let refused = if new_flows > 0 && standing.credit < 1000 {
                Some((1, DropReason::FlowRate, new_flows))
            } else if half_open > 0 && opens_half && standing.half_open >= half_open {
                Some((2, DropReason::HalfOpenLimit, half_open))
            } else if flows > 0 && standing.flows >= flows {
                Some((0, DropReason::FlowQuota, flows))
            } else {
                None
            };
            let Some((which, reason, limit)) = refused else { continue };
            if reason == DropReason::FlowQuota
                && let [_] = account.ports.as_slice()
                && let Some(victim) = self.table.own_victim(flow.owner)
            {
                self.end(victim, "evicted");
                continue;
            }
            self.tell_limit(now, flow, place, (which, limit));
            return Err(reason);
        }
        for &place in places {
            if let Some(standing) = self.quotas.accounts.get_mut(usize::from(place)) {
                standing.credit = standing.credit.saturating_sub(1000);
            }
        }
        Ok(())
    }

    fn tell_limit(&mut self, now: Instant, flow: &Opening<'_>, place: usize, (which, limit): (usize, u32)) {
        let Some(account) = self.policy.accounts().list().get(place) else { return };
        let Some(standing) = self.quotas.accounts.get_mut(place) else { return };
        let Some(quiet) = standing.quiet.get_mut(which).filter(|quiet| now >= **quiet) else { return };
        *quiet = now.after(QUIET);
        let (kind, what) = match which {
            0 => ("quota-flows", "flows"),
            1 => ("quota-new-flows", "new flows a second"),
            _ => ("quota-half-open", "half-open connections"),
        };
        let text = format!("{} is at its limit of {limit} {what}; more are dropped", account.name);
        let (switch, vid) = (flow.key.switch(), flow.key.vid());
        let number = Some(u64::from(limit));
        self.teller.notice(Notice { vid, number, ..Notice::new(now, kind, switch, flow.owner, text) });
    }

    /// A flow has begun.
    #[inline]
    pub(super) fn quota_begins(&mut self, slot: u32) {
        let flow = self.table.at_mut(slot);
        let half = is_half_open(&flow.key, || flow.tcp.phase());
        let (owner, responder) = (flow.owner, flow.ports[1]);
        flow.half_open = half;
        if half {
            self.half_open(owner, responder, 1);
        }
        for &place in self.policy.accounts().of(owner) {
            if let Some(standing) = self.quotas.accounts.get_mut(usize::from(place)) {
                standing.flows = standing.flows.saturating_add(1);
            }
        }
    }

    /// A flow is half-open no more.
    #[cold]
    pub(super) fn half_closed(&mut self, slot: u32) {
        let flow = self.table.at_mut(slot);
        if std::mem::take(&mut flow.half_open) {
            let (owner, responder) = (flow.owner, flow.ports[1]);
            self.half_open(owner, responder, -1);
        }
    }

    /// A flow has ended.
    pub(super) fn quota_ends(&mut self, flow: &Flow) {
        if flow.half_open {
            self.half_open(flow.owner, flow.ports[1], -1);
        }
        for &place in self.policy.accounts().of(flow.owner) {
            if let Some(standing) = self.quotas.accounts.get_mut(usize::from(place)) {
                standing.flows = standing.flows.saturating_sub(1);
            }
        }
    }

    /// The responder's port of a flow is another one.
    pub(super) fn half_open_moves(&mut self, before: PortId, after: PortId) {
        for (port, by) in [(before, -1), (after, 1)] {
            if let Some([_, toward]) = self.quotas.port(port) {
                *toward = toward.saturating_add_signed(by);
            }
        }
    }

    fn half_open(&mut self, owner: PortId, responder: PortId, by: i32) {
        if let Some([opened, _]) = self.quotas.port(owner) {
            *opened = opened.saturating_add_signed(by);
        }
        if let Some([_, toward]) = self.quotas.port(responder) {
            *toward = toward.saturating_add_signed(by);
        }
        for &place in self.policy.accounts().of(owner) {
            if let Some(standing) = self.quotas.accounts.get_mut(usize::from(place)) {
                standing.half_open = standing.half_open.saturating_add_signed(by);
            }
        }
    }

    /// A line for each account that another flow of a port would count in.
    pub(super) fn accounts_of(&self, now: Instant, port: PortId) -> Vec<String> {
        let accounts = self.policy.accounts();
        let line = |&place: &u16| {
            let place = usize::from(place);
            let (account, standing) = (accounts.list().get(place)?, self.quotas.accounts.get(place)?);
            let Quota { flows, new_flows, half_open } = account.quota;
            let mut filled = Standing { credit: standing.credit, filled: standing.filled, ..Standing::default() };
            filled.fill(now, new_flows);
            let mut parts = Vec::new();
            if flows > 0 {
                parts.push(format!("{} of {flows} flows", standing.flows));
            }
            if half_open > 0 {
                parts.push(format!("{} of {half_open} half-open connections", standing.half_open));
            }
            if new_flows > 0 {
                parts.push(format!("room for {} more of {new_flows} a second", filled.credit / 1000));
            }
            Some(format!("quota: {} has {}", account.name, parts.join(", ")))
        };
        accounts.of(port).iter().filter_map(line).collect()
    }

    /// Flows that a port has open, connections of these that wait half-open, and those that wait toward it.
    pub fn opened(&self, port: PortId) -> (usize, u32, u32) {
        let [opened, toward] = self.quotas.half_open(port);
        (self.table.opened_by(port), opened, toward)
    }
}

/// Whether a flow waits half-open whose connection is in this phase.
pub(super) fn is_half_open(key: &Key, phase: impl FnOnce() -> Phase) -> bool {
    key.is_tcp() && phase() == Phase::Handshake
}
