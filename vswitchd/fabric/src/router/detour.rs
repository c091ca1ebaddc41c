//! Gateways of policy routes that are looked after: appliances in one arm of a router, which packets go around when they
//! are gone.
//!
//! Each gateway of a policy route that fails open is asked for whether or not packets go there: once it has not been heard
//! of for [`WATCH_EVERY`], it has [`TRIES`](super::neighbor::TRIES) seconds to answer. One that does not answer counts as
//! lost until it answers again. A policy route that fails open is passed over while all of its gateways are lost; one that
//! fails closed is not. At the start nobody is lost.
//!
//! Limits: as many gateways as policy routes name; each is asked once a second at most.

use std::net::IpAddr;
use std::time::Duration;

use weir_filter::Event;
use weir_filter::event::Notice;
use weir_wire::{Instant, InterfaceId, PortId};

use super::{NextHop, PolicyRoute, Routers, Take, Target};
use crate::stages::Walk;

/// How long a gateway is believed without hearing of it.
pub(super) const WATCH_EVERY: Duration = Duration::from_secs(2);
/// How often gateways are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watch {
    key: (InterfaceId, IpAddr),
    lost: bool,
}

/// The gateways that are looked after.
#[derive(Debug, Default)]
pub(crate) struct Detours {
    watched: Vec<Watch>,
    next: Instant,
}

impl Detours {
    /// Looks after the gateways of these policy routes; what is known of those that stay, stays.
    pub fn set<'p>(&mut self, policies: impl Iterator<Item = &'p PolicyRoute>) {
        let ways = policies.filter(|policy| policy.fail_open && !policy.bypass).flat_map(|policy| match &policy.take {
            Take::Target(Target::Via(ways)) => ways.as_slice(),
            Take::Target(_) | Take::Table(_) | Take::Main => &[],
        });
        let mut keys: Vec<_> = ways.filter_map(|way| Some((way.interface, way.gateway?))).collect();
        keys.sort_unstable();
        keys.dedup();
        let before = std::mem::take(&mut self.watched);
        let was_lost = |key| before.iter().any(|watch| watch.key == key && watch.lost);
        self.watched = keys.into_iter().map(|key| Watch { key, lost: was_lost(key) }).collect();
        self.next = Instant::ZERO;
    }

    /// Looks after those of others too.
    pub fn adopt(&mut self, other: Detours) {
        self.watched.extend(other.watched);
        self.watched.sort_unstable_by_key(|watch| watch.key);
        self.next = Instant::ZERO;
    }

    /// Whether all of these ways are by gateways that are lost.
    pub fn are_lost(&self, ways: &[NextHop]) -> bool {
        let lost = |way: &NextHop| {
            let key = way.gateway.map(|gateway| (way.interface, gateway));
            self.watched.iter().any(|watch| Some(watch.key) == key && watch.lost)
        };
        !ways.is_empty() && ways.iter().all(lost)
    }
}

impl Routers {
    /// The gateways of all policy routes may be others.
    pub(super) fn watch_gateways(&mut self) {
        let all = self.routers.iter().flatten();
        self.detours.set(all.flat_map(|router| router.policies.iter()));
    }

    /// Asks for the gateways; hands those that are lost or back to `changed`, and returns when the next look is due.
    fn look_at_gateways(
        &mut self,
        now: Instant,
        mut changed: impl FnMut((InterfaceId, IpAddr), bool),
    ) -> Option<Instant> {
        if self.detours.watched.is_empty() {
            return None;
        }
        if now >= self.detours.next {
            self.detours.next = now.after(LOOK_EVERY);
            for watch in &mut self.detours.watched {
                if let Some(answers) = self.neighbors.watch(now, watch.key, &mut self.emissions)
                    && answers == watch.lost
                {
                    watch.lost = !answers;
                    changed(watch.key, watch.lost);
                }
            }
        }
        Some(self.detours.next)
    }
}

impl Walk<'_> {
    /// Looks after the gateways of policy routes that fail open.
    pub(crate) fn tick_detours(&mut self) -> Option<Instant> {
        let mut changed = Vec::new();
        let next = self.routers.look_at_gateways(self.now, |key, lost| changed.push((key, lost)));
        for ((interface, address), lost) in changed {
            let Some(config) = self.routers.interface(interface).map(|found| &found.config) else { continue };
            let (kind, text) = match lost {
                true => {
                    ("gateway-lost", format!("{address} does not answer: policy routes that fail open go around it"))
                }
                false => ("gateway-back", format!("{address} answers again: policy routes lead to it")),
            };
            let notice = Notice::new(self.now, kind, config.switch, PortId::LOCAL, text);
            let notice = Notice { vid: config.vid, interface: Some(interface), source: Some(address), ..notice };
            self.engine.events().push(Event::Notice(Box::new(notice)));
        }
        next
    }
}
