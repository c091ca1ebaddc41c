//! Which end of which conversation is known outside by another name.
//!
//! A binding says that `inside` is `outside` to `remote`, or to everybody where the mapping is independent of the
//! remote end (RFC 4787, 4.1). It serves both ways and lives as long as a flow of its kind. Limit: [`BINDINGS_MAX`];
//! at the limit one of a few that were never answered, or idle for their time, makes room.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use weir_filter::spec::Timeouts;
use weir_wire::Instant;
use weir_wire::numbers::*;

use super::ends::End;
use crate::router::neighbor::Seeded;

/// Bindings of all routers.
pub const BINDINGS_MAX: usize = 1 << 18;
/// How many are looked at to find one that makes room.
const LOOKED_AT: usize = 32;
/// How many are looked at in a tick.
const SWEPT_PER_TICK: usize = 4096;

/// The remote end of a binding that holds for all.
pub(super) const ANYBODY: End = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A conversation's place among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    zone: u16,
    protocol: u8,
    outward: bool,
    end: End,
    remote: End,
}

/// What names a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// The zone of the router.
    pub zone: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// The end as it is.
    pub inside: End,
    /// The end as it is known.
    pub outside: End,
    /// To whom; [`ANYBODY`] for all.
    pub remote: End,
}

impl Names {
    fn keys(&self) -> [Key; 2] {
        let Names { zone, protocol, inside, outside, remote } = *self;
        let key = |outward, end| Key { zone, protocol, outward, end, remote };
        [key(true, inside), key(false, outside)]
    }
}

/// Which way a packet goes through a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Out = 0,
    In = 1,
}

#[derive(Clone, Copy, Debug)]
struct Binding {
    names: Names,
    used: Instant,
    /// Packets went out, and in.
    heard: [bool; 2],
    /// A TCP end of it has finished, by FIN or RST.
    finished: [bool; 2],
}

impl Binding {
    fn idle(&self, timeouts: &Timeouts) -> Duration {
        let answered = self.heard == [true; 2];
        match self.names.protocol {
            PROTOCOL_TCP if self.finished == [true; 2] => timeouts.tcp_closing,
            PROTOCOL_TCP if answered => timeouts.tcp_established,
            PROTOCOL_TCP => timeouts.tcp_handshake,
            PROTOCOL_UDP if answered => timeouts.udp_stream,
            PROTOCOL_UDP => timeouts.udp_single,
            PROTOCOL_ICMP | PROTOCOL_ICMPV6 => timeouts.icmp,
            _ => timeouts.other,
        }
    }

    fn is_over(&self, now: Instant, timeouts: &Timeouts) -> bool {
        now.since(self.used) >= self.idle(timeouts)
    }
}

/// A binding, for people.
#[derive(Clone, Copy, Debug)]
pub struct BindingEntry {
    /// Its names.
    pub names: Names,
    /// Seconds since a packet used it.
    pub idle_s: u64,
    /// Packets have gone both ways.
    pub answered: bool,
}

/// All bindings.
#[derive(Debug)]
pub(super) struct Bindings {
    places: HashMap<Key, u32, Seeded>,
    all: Vec<Option<Binding>>,
    free: Vec<u32>,
    /// Bindings that hold for all remote ends.
    open: usize,
    /// Bindings of each inside address.
    owners: HashMap<(u16, IpAddr), u32, Seeded>,
    hand: usize,
}

impl Bindings {
    pub fn new(seed: u64) -> Bindings {
        Bindings {
            places: HashMap::with_hasher(Seeded(seed)),
            all: Vec::new(),
            free: Vec::new(),
            open: 0,
            owners: HashMap::with_hasher(Seeded(seed ^ 1)),
            hand: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.places.len() / 2
    }

    /// Bindings of an inside address.
    pub fn of(&self, zone: u16, inside: IpAddr) -> u32 {
        self.owners.get(&(zone, inside)).copied().unwrap_or(0)
    }

    /// The binding of `end`, inside or outside according to the way, towards `remote`.
    pub fn find(&self, zone: u16, protocol: u8, way: Way, end: End, remote: End) -> Option<Names> {
        self.place(zone, protocol, way, end, remote).and_then(|place| self.names(place))
    }

    /// The same for a packet that passes: the binding stays in use. `flags` are TCP's.
    pub fn pass(&mut self, now: Instant, way: Way, at: (u16, u8, End, End), flags: u8) -> Option<Names> {
        let (zone, protocol, end, remote) = at;
        let place = self.place(zone, protocol, way, end, remote)?;
        let binding = self.all.get_mut(place as usize)?.as_mut()?;
        binding.used = now;
        let is_tcp = protocol == PROTOCOL_TCP;
        if let (Some(heard), Some(finished)) =
            (binding.heard.get_mut(way as usize), binding.finished.get_mut(way as usize))
        {
            *heard = true;
            *finished |= is_tcp && flags & (TCP_FIN | TCP_RST) != 0;
        }
        if is_tcp && flags & TCP_RST != 0 {
            binding.finished = [true; 2];
        }
        if is_tcp && flags & (TCP_SYN | TCP_ACK) == TCP_SYN {
            // Another connection between the same ends.
            binding.finished = [false; 2];
        }
        Some(binding.names)
    }

    fn place(&self, zone: u16, protocol: u8, way: Way, end: End, remote: End) -> Option<u32> {
        let outward = way == Way::Out;
        let exact = self.places.get(&Key { zone, protocol, outward, end, remote });
        let open = || {
            let any = Key { zone, protocol, outward, end, remote: ANYBODY };
            if self.open == 0 { None } else { self.places.get(&any) }
        };
        exact.or_else(open).copied()
    }

    /// Whether these names can be given: nobody inside or outside has them, or has not used them for their time.
    pub fn is_free(&mut self, now: Instant, names: &Names, timeouts: &Timeouts) -> bool {
        for key in names.keys() {
            let Some(&place) = self.places.get(&key) else { continue };
            let over = self.all.get(place as usize).and_then(Option::as_ref).is_some_and(|b| b.is_over(now, timeouts));
            if !over {
                return false;
            }
            self.remove(place as usize);
        }
        true
    }

    /// Adds a binding whose names are free; `false` where there is no room.
    pub fn add(&mut self, now: Instant, names: Names, way: Way, timeouts: &Timeouts) -> bool {
        if self.len() >= BINDINGS_MAX && !self.make_room(now, timeouts) {
            return false;
        }
        let place = self.free.pop().unwrap_or(self.all.len() as u32);
        if place as usize >= self.all.len() {
            self.all.push(None);
        }
        let mut heard = [false; 2];
        if let Some(heard) = heard.get_mut(way as usize) {
            *heard = true;
        }
        if let Some(slot) = self.all.get_mut(place as usize) {
            *slot = Some(Binding { names, used: now, heard, finished: [false; 2] });
        }
        for key in names.keys() {
            self.places.insert(key, place);
        }
        self.open += usize::from(names.remote == ANYBODY);
        *self.owners.entry((names.zone, names.inside.0)).or_default() += 1;
        true
    }

    /// Forgets what was not used for its time; a part of all each call.
    pub fn tick(&mut self, now: Instant, timeouts: &Timeouts) {
        for _ in 0..SWEPT_PER_TICK.min(self.all.len()) {
            self.hand = (self.hand + 1) % self.all.len().max(1);
            let binding = self.all.get(self.hand).and_then(Option::as_ref);
            if binding.is_some_and(|binding| binding.is_over(now, timeouts)) {
                self.remove(self.hand);
            }
        }
    }

    /// Forgets the bindings that `chosen` accepts; returns how many.
    pub fn forget(&mut self, chosen: impl Fn(&Names) -> bool) -> usize {
        let before = self.len();
        for place in 0..self.all.len() {
            if self.names(place as u32).is_some_and(|names| chosen(&names)) {
                self.remove(place);
            }
        }
        before - self.len()
    }

    /// Bindings as they stand, `limit` at most.
    pub fn list(&self, now: Instant, limit: usize) -> Vec<BindingEntry> {
        let show = |b: &Binding| BindingEntry {
            names: b.names,
            idle_s: now.since(b.used).as_secs(),
            answered: b.heard == [true; 2],
        };
        self.all.iter().flatten().map(show).take(limit).collect()
    }

    fn make_room(&mut self, now: Instant, timeouts: &Timeouts) -> bool {
        for _ in 0..LOOKED_AT {
            self.hand = (self.hand + 1) % self.all.len().max(1);
            let Some(binding) = self.all.get(self.hand).and_then(Option::as_ref) else { continue };
            if binding.heard != [true; 2] || binding.is_over(now, timeouts) {
                self.remove(self.hand);
                return true;
            }
        }
        false
    }

    fn names(&self, place: u32) -> Option<Names> {
        self.all.get(place as usize)?.as_ref().map(|binding| binding.names)
    }

    fn remove(&mut self, place: usize) {
        let Some(binding) = self.all.get_mut(place).and_then(Option::take) else { return };
        for key in binding.names.keys() {
            self.places.remove(&key);
        }
        self.open -= usize::from(binding.names.remote == ANYBODY);
        let owner = (binding.names.zone, binding.names.inside.0);
        if let Some(count) = self.owners.get_mut(&owner) {
            *count -= 1;
            if *count == 0 {
                self.owners.remove(&owner);
            }
        }
        self.free.push(place as u32);
    }
}
