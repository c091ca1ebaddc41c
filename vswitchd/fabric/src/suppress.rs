//! Address resolution that a switch answers itself, so that it need not ask everybody (as RFC 9161 has it for ARP and
//! neighbour discovery).
//!
//! A switch that is told to notes what hosts say of their own addresses in ARP and neighbour discovery, after the checks
//! of the first hop. It answers who asks all for an address only where it surely knows who has it: the owner has said so
//! within [`VALID_S`], or first-hop security has bound the address; its MAC stands in the address table behind that very
//! port; nobody else claims the address; the asker may reach the port, by isolation and by policy. Everything else is
//! flooded as if there were no such thing. Addresses of routers on the switch are asked of these alone.
//!
//! A host that looks whether an address is free (RFC 5227, RFC 4862, 5.4) is told where another has used it within
//! [`PROBE_S`], and never about an address of its own. Of IPv6 only advertisements are noted, since an answer must say
//! whether the host is a router.
//!
//! Limits: [`KNOWN_MAX`] addresses a switch, [`PORT_MAX`] a port; what finds no room is counted and flooded. What is known
//! goes with its port's link, its place in the address table, or its time.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Bound;

use weir_filter::Inspected;
use weir_wire::build::neighbor::{Says, host_advertisement, says, tells_router};
use weir_wire::build::{ArpKind, arp};
use weir_wire::{L3, MacAddr, Packet, PortId, SwitchId, Vid};

use crate::stages::Walk;
use weir_filter::Ticket;

/// Addresses that a switch knows at most.
pub const KNOWN_MAX: usize = 65_536;
/// Addresses behind one port at most.
pub const PORT_MAX: u32 = 4096;
/// Seconds for which an owner's word holds.
pub const VALID_S: u32 = 300;
/// Seconds for which it holds against a host that wants the address for itself.
pub const PROBE_S: u32 = 60;
/// Seconds for which an address is not answered for after two hosts have claimed it.
const CONTESTED_S: u32 = 60;
/// Addresses looked at in a tick.
const SWEPT_PER_TICK: usize = 1024;

/// What a switch has done about address resolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SuppressCounters {
    /// Addresses that are known.
    pub known: u64,
    /// Questions answered.
    pub answered: u64,
    /// Questions for routers that only these heard.
    pub to_router: u64,
    /// Questions flooded because nobody was known for sure.
    pub flooded: u64,
    /// Times that another claimed an address.
    pub contested: u64,
    /// Addresses that found no room.
    pub full: u64,
}

type Place = (Vid, IpAddr);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    mac: MacAddr,
    port: PortId,
    /// It forwards for others, as its advertisements say.
    router: bool,
    seen_s: u32,
    /// Until then nobody is believed to have it.
    contested_s: u32,
}

/// What one switch knows.
#[derive(Debug, Default)]
pub(crate) struct Suppression {
    all: BTreeMap<Place, Known>,
    of_port: BTreeMap<PortId, u32>,
    /// Where the next tick goes on.
    hand: Option<Place>,
    pub counters: SuppressCounters,
}

/// What a host has said of an address of its own.
#[derive(Clone, Copy, Debug)]
struct Claim {
    mac: MacAddr,
    port: PortId,
    /// As an advertisement says; `None` where it was none.
    router: Option<bool>,
}

impl Suppression {
    /// Notes a claim. `stands` says whether the owner that is known is still where it was.
    fn note(&mut self, now_s: u32, place: Place, claim: Claim, stands: bool) {
        let Claim { mac, port, router } = claim;
        if let Some(known) = self.all.get_mut(&place) {
            let recent = now_s.saturating_sub(known.seen_s) < VALID_S;
            if known.mac != mac && stands && recent {
                known.contested_s = now_s.saturating_add(CONTESTED_S);
                self.counters.contested += 1;
                return;
            }
            if known.mac == mac && known.port == port {
                known.seen_s = now_s;
                known.router = router.unwrap_or(known.router);
                return;
            }
            self.take(place);
        }
        let Some(router) = router.or(place.1.is_ipv4().then_some(false)) else { return };
        let count = self.of_port.entry(port).or_default();
        if self.all.len() >= KNOWN_MAX || *count >= PORT_MAX {
            self.counters.full += 1;
            return;
        }
        *count += 1;
        self.all.insert(place, Known { mac, port, router, seen_s: now_s, contested_s: 0 });
    }

    /// Who surely has an address, as far as words go.
    fn owner(&self, now_s: u32, place: Place, within_s: u32) -> Option<Known> {
        let known = self.all.get(&place)?;
        (now_s.saturating_sub(known.seen_s) < within_s && now_s >= known.contested_s).then_some(*known)
    }

    fn take(&mut self, place: Place) {
        let Some(old) = self.all.remove(&place) else { return };
        if let Some(count) = self.of_port.get_mut(&old.port) {
            *count -= 1;
            if *count == 0 {
                self.of_port.remove(&old.port);
            }
        }
    }

    /// Forgets what is behind a port.
    pub fn forget(&mut self, port: PortId) {
        self.all.retain(|_, known| known.port != port);
        self.of_port.remove(&port);
    }

    /// Forgets what is too old to be of use; a part each call.
    pub fn age(&mut self, now_s: u32) {
        let from = self.hand.map_or(Bound::Unbounded, Bound::Excluded);
        let seen: Vec<(Place, u32)> = self
            .all
            .range((from, Bound::Unbounded))
            .take(SWEPT_PER_TICK)
            .map(|(place, k)| (*place, k.seen_s))
            .collect();
        self.hand = seen.last().filter(|_| seen.len() == SWEPT_PER_TICK).map(|(place, _)| *place);
        for (place, seen_s) in seen {
            if now_s.saturating_sub(seen_s) >= VALID_S {
                self.take(place);
            }
        }
    }

    /// What was counted.
    pub fn counted(&self) -> SuppressCounters {
        SuppressCounters { known: self.all.len() as u64, ..self.counters }
    }
}

impl Walk<'_> {
    /// Listens to what a packet says of addresses, and answers it where that can be done. `None` where that was its end.
    pub(crate) fn suppress(&mut self, packet: Packet, ticket: Ticket, id: SwitchId) -> Option<(Packet, Ticket)> {
        let suppresses = self.bridge.switch(id).is_some_and(|switch| switch.suppression.is_some());
        let resolves = packet.headers.l3_kind == L3::Arp || packet.icmp().is_some();
        let Some(said) = says(&packet).filter(|_| suppresses && resolves) else { return Some((packet, ticket)) };
        match said {
            Says::Has { address, mac, .. } => {
                self.hear_owner(id, &packet, (address, mac), tells_router(&packet));
                Some((packet, ticket))
            }
            Says::Asks { sender, mac, target } => {
                if !sender.is_unspecified() {
                    self.hear_owner(id, &packet, (sender, mac), None);
                }
                if !packet.dst_mac().is_multicast() {
                    return Some((packet, ticket));
                }
                let to = match self.surely(id, &packet, sender, target) {
                    Some(to) => to,
                    None => {
                        self.count_question(id, |counters| &mut counters.flooded);
                        return Some((packet, ticket));
                    }
                };
                self.answer(packet, ticket, id, (sender, mac, target), to);
                None
            }
        }
    }

    fn hear_owner(&mut self, id: SwitchId, packet: &Packet, (address, mac): (IpAddr, MacAddr), router: Option<bool>) {
        // Who speaks in another's name is none to be quoted.
        if mac != packet.src_mac() || address.is_unspecified() || address.is_multicast() || address.is_loopback() {
            return;
        }
        let (now_s, place) = (self.now_s, (packet.vid, address));
        let known = self.bridge.switch(id).and_then(|s| s.suppression.as_ref()?.all.get(&place).copied());
        let stands = known.is_some_and(|known| self.stands(id, packet.vid, known.mac, known.port));
        let claim = Claim { mac, port: packet.port, router };
        if let Some(suppression) = self.bridge.switch_mut(id).and_then(|switch| switch.suppression.as_deref_mut()) {
            suppression.note(now_s, place, claim, stands);
        }
    }

    /// Whether a MAC is behind a port that works.
    fn stands(&self, id: SwitchId, vid: Vid, mac: MacAddr, port: PortId) -> bool {
        let found = self.bridge.switch(id).and_then(|switch| switch.fdb.lookup(self.now_s, vid, mac));
        found == Some(port) && self.bridge.port(port).is_some_and(|port| port.barred().is_none())
    }

    /// Who surely has `target`: the port, and what an answer says. Without an answer the port gives it itself.
    fn surely(
        &self,
        id: SwitchId,
        packet: &Packet,
        sender: IpAddr,
        target: IpAddr,
    ) -> Option<(PortId, Option<(MacAddr, bool)>)> {
        let (vid, mut doors) = (packet.vid, self.routers.doors_on(id).iter());
        let has = |door: &crate::router::Door| {
            door.vid == vid && self.routers.interface(door.interface).is_some_and(|found| found.has(target))
        };
        if doors.any(has) {
            return Some((PortId::LOCAL, None));
        }
        let switch = self.bridge.switch(id)?;
        let within_s = if sender.is_unspecified() { PROBE_S } else { VALID_S };
        let said = switch.suppression.as_ref()?.owner(self.now_s, (vid, target), within_s);
        let bound = self.bindings.get(self.now_s, (id, vid, target));
        let (port, mac, router) = match (said, bound) {
            // What the first hop knows is what holds.
            (Some(said), Some(bound)) => {
                let agrees = said.port == bound.port && (bound.mac == MacAddr::ZERO || bound.mac == said.mac);
                agrees.then_some((said.port, said.mac, said.router))?
            }
            (Some(said), None) => (said.port, said.mac, said.router),
            // A guest that is guarded is no router.
            (None, Some(bound)) if bound.mac != MacAddr::ZERO && !sender.is_unspecified() => {
                (bound.port, bound.mac, false)
            }
            (None, _) => return None,
        };
        let (owner, asker) = (self.bridge.port(port)?, self.bridge.port(packet.port)?);
        let apart = owner.config.isolated && asker.config.isolated;
        let beyond = owner.patch.is_some() || asker.patch.is_some();
        let fine = port != packet.port && mac != packet.src_mac() && !apart && !beyond;
        (fine && self.stands(id, vid, mac, port)).then_some((port, Some((mac, router))))
    }

    /// Answers a question in the owner's name, if the owner might have been asked.
    fn answer(
        &mut self,
        packet: Packet,
        ticket: Ticket,
        id: SwitchId,
        (sender, mac, target): (IpAddr, MacAddr, IpAddr),
        (to, owner): (PortId, Option<(MacAddr, bool)>),
    ) {
        let cleared = match self.engine.inspect(self.now, packet, ticket, to, self.pool) {
            Inspected::Forward(cleared) => cleared,
            Inspected::Dropped(packet, why) => return self.end(packet, why),
            Inspected::Wait(packet, _) => return self.cannot_wait(packet),
        };
        let Some((own, router)) = owner else {
            self.count_question(id, |counters| &mut counters.to_router);
            return self.deliver(cleared);
        };
        let packet = cleared.into_packet();
        let frame = match (target, sender) {
            (IpAddr::V4(target), IpAddr::V4(sender)) => arp(ArpKind::Reply, (own, target), (mac, sender)),
            (IpAddr::V6(target), IpAddr::V6(sender)) => {
                let asker = (sender != Ipv6Addr::UNSPECIFIED).then_some((mac, sender));
                host_advertisement((own, target), router, asker)
            }
            _ => return self.delivered(packet),
        };
        self.count_question(id, |counters| &mut counters.answered);
        self.reply(&packet, &frame);
        self.delivered(packet);
    }

    fn count_question(&mut self, id: SwitchId, counter: fn(&mut SuppressCounters) -> &mut u64) {
        if let Some(suppression) = self.bridge.switch_mut(id).and_then(|switch| switch.suppression.as_deref_mut()) {
            *counter(&mut suppression.counters) += 1;
        }
    }
}

impl crate::Fabric {
    /// What a switch has done about address resolution; `None` where it leaves that to its hosts.
    pub fn suppression(&self, switch: SwitchId) -> Option<SuppressCounters> {
        Some(self.bridge.switch(switch)?.suppression.as_ref()?.counted())
    }
}
