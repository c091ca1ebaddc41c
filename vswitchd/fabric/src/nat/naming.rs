//! Outside names for flows that begin: which masquerade names them, and which port is free.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use weir_filter::spec::Timeouts;
use weir_wire::{DropReason, Instant, InterfaceId, SwitchId};

use super::alarm::Scarce;
use super::bindings::{ANYBODY, Names, Way};
use super::ends::{End, Ends};
use super::{Exit, Masquerade, Nat, TRIES};

/// What a name is given by.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// The interface that flows leave by.
    pub interface: InterfaceId,
    /// The outside address; `None` where none suits the source.
    pub address: Option<IpAddr>,
    /// Ports that are given.
    pub ports: RangeInclusive<u16>,
    /// One port for an inside end, whoever it speaks to.
    pub endpoint_independent: bool,
    /// Bindings of one inside address at most; 0 for no limit.
    pub limit_each: u32,
    /// Ports that each inside address has for itself; 0: all share them.
    pub ports_each: u16,
}

impl Terms {
    fn of(masquerade: &Masquerade, address: Option<IpAddr>) -> Terms {
        let Masquerade { interface, endpoint_independent, limit_each, ports_each, .. } = *masquerade;
        Terms { interface, address, ports: masquerade.ports.clone(), endpoint_independent, limit_each, ports_each }
    }
}

impl Nat {
    /// The outside name of a packet between ends that no binding names: for the first packet of a flow one is made where
    /// a masquerade wants it.
    ///
    /// # Errors
    /// Why it has none and must not leave.
    pub(super) fn named_anew(
        &mut self,
        now: Instant,
        exit: &Exit,
        ends: &Ends,
        timeouts: &Timeouts,
    ) -> Result<Option<End>, DropReason> {
        let source = ends.source;
        if let Some(joined) = self.joined_inside(exit.zone, source.0, Some(exit.to)) {
            return Ok(Some((joined.outside, source.1)));
        }
        if !exit.opens {
            return Ok(None);
        }
        if let Some(outside) = self.tftp_answer(now, exit.zone, ends, timeouts) {
            return Ok(Some(outside));
        }
        let Some(terms) = self.terms(exit, ends) else { return Ok(None) };
        self.name(now, exit.zone, ends, &terms, timeouts).map(|names| Some(names.outside))
    }

    /// The configured masquerade of a flow that leaves so.
    fn covering(&self, exit: &Exit, source: IpAddr) -> Option<&Masquerade> {
        let config = self.edges.iter().find(|edge| edge.router == exit.router).map(|edge| &edge.config);
        let covers = |m: &&Masquerade| {
            m.interface == exit.to && (m.from.is_empty() || m.from.iter().any(|network| network.contains(source)))
        };
        config.and_then(|config| config.masquerades.iter().find(covers))
    }

    /// Whether the first packet of a flow is masqueraded that leaves so.
    pub(super) fn is_masqueraded(&self, exit: &Exit, ends: &Ends) -> bool {
        self.covering(exit, ends.source.0).is_some() || exit.from == exit.to && self.came_by_outside(exit, ends)
    }

    /// Whether a packet's destination was reached by an outside name.
    fn came_by_outside(&self, exit: &Exit, ends: &Ends) -> bool {
        let Ends { protocol, source, destination } = *ends;
        self.bindings.find(Way::Out, (exit.zone.0, protocol, destination, source)).is_some()
    }

    /// The terms for a flow's first packet: those of a configured masquerade, or of one for a host that reached its
    /// neighbour by an outside address.
    pub(super) fn terms(&self, exit: &Exit, ends: &Ends) -> Option<Terms> {
        if let Some(found) = self.covering(exit, ends.source.0) {
            let same_family = found.addresses.iter().copied().find(|a| a.is_ipv4() == ends.source.0.is_ipv4());
            return Some(Terms::of(found, same_family.or(exit.own)));
        }
        let back = exit.from == exit.to && self.came_by_outside(exit, ends);
        back.then(|| Terms::of(&Masquerade { interface: exit.to, ..Masquerade::default() }, exit.own))
    }

    /// Finds a port for a flow that no binding names, and binds it.
    pub(super) fn name(
        &mut self,
        now: Instant,
        zone: SwitchId,
        ends: &Ends,
        by: &Terms,
        timeouts: &Timeouts,
    ) -> Result<Names, DropReason> {
        let Ends { protocol, source, destination } = *ends;
        let Some(address) = by.address.filter(|a| a.is_ipv4() == destination.0.is_ipv4()) else {
            self.run_short(now, Scarce::Address, (zone, ends), Some(by));
            return Err(DropReason::NatExhausted);
        };
        if by.limit_each > 0 && self.bindings.of(zone.0, source.0) >= by.limit_each {
            self.counters.over_limit += 1;
            self.run_short(now, Scarce::Share, (zone, ends), Some(by));
            return Err(DropReason::NatLimit);
        }
        let remote = if by.endpoint_independent { ANYBODY } else { destination };
        let named = |port| Names { zone: zone.0, protocol, inside: source, outside: (address, port), remote };
        let Some(ports) = self.ports(zone, address, source.0, by) else {
            self.counters.exhausted += 1;
            self.run_short(now, Scarce::Blocks, (zone, ends), Some(by));
            return Err(DropReason::NatExhausted);
        };
        // What has no ports has one name only.
        let others = if source.1 == 0 && destination.1 == 0 { None } else { Some(ports) };
        let Some((names, hashes)) = self.free_name((now, timeouts), others, named) else {
            self.counters.exhausted += 1;
            self.run_short(now, Scarce::Ports, (zone, ends), Some(by));
            return Err(DropReason::NatExhausted);
        };
        if !self.bindings.add_known(now, (&names, hashes), Way::Out, timeouts) {
            self.counters.full += 1;
            self.run_short(now, Scarce::Room, (zone, ends), Some(by));
            return Err(DropReason::NatExhausted);
        }
        self.counters.made += 1;
        self.attend(&names);
        self.expect_tftp(now, &names, destination.0, timeouts);
        Ok(names)
    }

    /// The first free one of the names of a flow: by its own port, or else by others of these ports, in an order of its own;
    /// by its own alone where there are none. With the hashes of its look-ups.
    fn free_name(
        &mut self,
        (now, timeouts): (Instant, &Timeouts),
        ports: Option<RangeInclusive<u16>>,
        named: impl Fn(u16) -> Names,
    ) -> Option<(Names, [u64; 2])> {
        let any = named(0);
        let Names { inside, remote, .. } = any;
        // Inside it is looked for by the same, whatever its name outside.
        let out = self.bindings.hash_of(Way::Out, &any);
        let mut is_free = |port| {
            let names = named(port);
            let back = self.bindings.hash_of(Way::In, &names);
            let mut free = |way, hash| self.bindings.is_free_by(way, (&names, hash), now, timeouts);
            // No binding names the flow, so only its outside name can be somebody's, unless it is to be known by all.
            let is_free = free(Way::In, back) && (remote != ANYBODY || free(Way::Out, out));
            is_free.then_some((names, [out, back]))
        };
        if ports.as_ref().is_none_or(|ports| ports.contains(&inside.1))
            && let Some(named) = is_free(inside.1)
        {
            return Some(named);
        }
        let ports = ports?;
        let (first, last) = (u32::from(*ports.start()), u32::from(*ports.end()));
        let count = (last + 1).saturating_sub(first).max(1);
        let start = (self.hash.hash_one((inside, remote)) % u64::from(count)) as u32;
        (0..TRIES.min(count)).map(|n| (first + (start + n) % count) as u16).find_map(is_free)
    }

    /// The ports that a masquerade has for an inside address; `None` where all are others'.
    fn ports(&mut self, zone: SwitchId, address: IpAddr, guest: IpAddr, by: &Terms) -> Option<RangeInclusive<u16>> {
        if by.ports_each == 0 {
            return Some(by.ports.clone());
        }
        let (bindings, hash) = (&self.bindings, self.hash.hash_one(guest));
        let lives = |owner| bindings.of(zone.0, owner) > 0;
        self.blocks.of((zone.0, address, guest), (&by.ports, by.ports_each), hash, lives)
    }
}
