//! What people are told when a router runs short of ports, bindings, or a guest of its share.
//!
//! Each refusal is counted ([`NatCounters`](super::NatCounters)); of those of one kind at one place only the first is
//! told, and after [`TELL_EVERY`] the next with how many were refused meanwhile. A place is an interface, and of a
//! guest's share the guest. Limit: [`PLACES`] places; while all of them were told of lately, others are only counted.

use std::net::IpAddr;
use std::time::Duration;

use weir_filter::event::{Event, Notice, Tuple};
use weir_wire::numbers::*;
use weir_wire::{Instant, InterfaceId, PortId, SwitchId, Vid};

use super::bindings::{ANYBODY, BINDINGS_MAX};
use super::ends::Ends;
use super::{Nat, Terms};
use crate::stages::Walk;

/// The same is told of a place again after this time.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Places that are remembered.
const PLACES: usize = 64;

/// What there is too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scarce {
    /// Ports of the outside address, towards this remote end.
    Ports,
    /// Blocks of ports, of which each guest has one.
    Blocks,
    /// What one inside address may have.
    Share,
    /// Room for bindings.
    Room,
    /// An outside address of the flow's IP version.
    Address,
}

/// Where it is scarce: of a share, for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    scarce: Scarce,
    interface: Option<InterfaceId>,
    guest: Option<IpAddr>,
}

#[derive(Debug)]
struct Told {
    place: Place,
    at: Instant,
    /// Refused since.
    refused: u64,
}

/// One that is to be told.
#[derive(Debug)]
struct Shortage {
    place: Place,
    zone: SwitchId,
    ends: Ends,
    /// Refused since it was told the last time.
    refused: u64,
    text: String,
}

/// What was told, and what is to be.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    told: Vec<Told>,
    waiting: Option<Box<Shortage>>,
}

impl Alarms {
    /// How many were refused at a place since it was told of; `None` where that was lately, or where there is no room.
    fn is_due(&mut self, now: Instant, place: Place) -> Option<u64> {
        if let Some(told) = self.told.iter_mut().find(|told| told.place == place) {
            if now.since(told.at) < TELL_EVERY {
                told.refused += 1;
                return None;
            }
            told.at = now;
            return Some(std::mem::take(&mut told.refused));
        }
        let fresh = Told { place, at: now, refused: 0 };
        if self.told.len() < PLACES {
            self.told.push(fresh);
            return Some(0);
        }
        let old = self.told.iter_mut().find(|told| now.since(told.at) >= TELL_EVERY)?;
        *old = fresh;
        Some(0)
    }
}

impl Nat {
    /// A flow was refused.
    #[cold]
    pub(super) fn run_short(
        &mut self,
        now: Instant,
        scarce: Scarce,
        (zone, ends): (SwitchId, &Ends),
        by: Option<&Terms>,
    ) {
        let own = scarce == Scarce::Share || scarce == Scarce::Ports && by.is_some_and(|by| by.ports_each > 0);
        let guest = own.then_some(ends.source.0);
        let place = Place { scarce, interface: by.map(|by| by.interface), guest };
        let Some(refused) = self.alarms.is_due(now, place) else { return };
        let text = text(scarce, ends, by);
        self.alarms.waiting = Some(Box::new(Shortage { place, zone, ends: *ends, refused, text }));
    }
}

/// What there is too little of, and what can be done about it.
fn text(scarce: Scarce, ends: &Ends, by: Option<&Terms>) -> String {
    let protocol = match ends.protocol {
        PROTOCOL_TCP => "tcp".to_owned(),
        PROTOCOL_UDP => "udp".to_owned(),
        PROTOCOL_ICMP => "icmp".to_owned(),
        PROTOCOL_ICMPV6 => "icmpv6".to_owned(),
        other => format!("protocol {other}"),
    };
    let (guest, remote) = (ends.source.0, ends.destination);
    match (scarce, by) {
        (Scarce::Ports, Some(by)) if by.ports_each > 0 => format!(
            "{guest} has used up the {} ports that are its own; its next {protocol} flow was refused. Raise ports_each, or \
             look at what the guest does: vswitchctl nat bindings",
            by.ports_each
        ),
        (Scarce::Blocks, Some(by)) => format!(
            "all blocks of {} ports belong to other guests; a {protocol} flow of {guest} was refused. Lower ports_each, widen \
             the masquerade's ports, or spread its guests over outside addresses by masquerades with from",
            by.ports_each
        ),
        (Scarce::Ports, Some(by)) => {
            let (first, last) = (by.ports.start(), by.ports.end());
            let outside = by.address.map(|address| address.to_string()).unwrap_or_default();
            let whom = if by.endpoint_independent || remote == ANYBODY {
                String::new()
            } else {
                format!(" towards {} port {}", remote.0, remote.1)
            };
            format!(
                "no port is free: {protocol} flows{whom} have taken those of {first}-{last} of {outside} that are tried; a \
                 flow of {guest} was refused. Widen the masquerade's ports, bound its guests with limit_each, or spread \
                 them over outside addresses by masquerades with from; vswitchctl nat bindings shows who has them"
            )
        }
        (Scarce::Share, Some(by)) => format!(
            "{guest} has its share of {} flows; its next {protocol} flow was refused. Raise limit_each where that is too \
             few, or look at what the guest does: vswitchctl nat bindings",
            by.limit_each
        ),
        (Scarce::Address, _) => {
            let version = if remote.0.is_ipv4() { "IPv4" } else { "IPv6" };
            format!("{guest} was refused: the interface has no {version} address that its flows could bear; add one")
        }
        (Scarce::Room | Scarce::Ports | Scarce::Blocks | Scarce::Share, _) => format!(
            "all {BINDINGS_MAX} bindings are in use; a {protocol} flow of {guest} was refused. Bound the guests with \
             limit_each, or shorten settings.timeouts; vswitchctl nat bindings shows who has them"
        ),
    }
}

impl Scarce {
    /// The kind of the notice.
    const fn kind(self) -> &'static str {
        match self {
            Scarce::Ports | Scarce::Blocks => "nat-exhausted",
            Scarce::Share => "nat-limit",
            Scarce::Room => "nat-full",
            Scarce::Address => "nat-no-address",
        }
    }
}

impl Walk<'_> {
    /// Tells people of what translation has just run short of, if it has. `from` is the port of the packet at hand.
    #[inline]
    pub(crate) fn tell_shortage(&mut self, from: (PortId, Vid)) {
        if let Some(shortage) = self.nat.alarms.waiting.take() {
            self.tell_of(*shortage, from);
        }
    }

    #[cold]
    fn tell_of(&mut self, shortage: Shortage, (port, vid): (PortId, Vid)) {
        let Shortage { place, zone, ends, refused, mut text } = shortage;
        if refused > 0 {
            text.push_str(&format!(" ({refused} more were refused since this was told last)"));
        }
        let tuple = Tuple {
            source: ends.source.0,
            destination: ends.destination.0,
            source_port: ends.source.1,
            destination_port: ends.destination.1,
            protocol: ends.protocol,
        };
        let (interface, tuple) = (place.interface, Some(tuple));
        let told = Notice::new(self.now, place.scarce.kind(), zone, port, text);
        let notice = Notice { vid, interface, tuple, ..told };
        self.engine.events().push(Event::Notice(Box::new(notice)));
    }
}
