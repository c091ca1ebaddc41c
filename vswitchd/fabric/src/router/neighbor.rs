//! The MACs of neighbours: asked for when they are needed, believed for a while, asked for again.
//!
//! A packet to a neighbour that is not known waits while it is asked for, once a second, [`TRIES`] times; then the
//! packet ends and the neighbour counts as unreachable for [`FAILED_FOR`]. A neighbour in use that has not been heard
//! of for [`REACHABLE_FOR`] is asked again by its MAC while packets go on to it, so that one that moved or went is
//! noticed (RFC 4861, 7.3, with the states that matter here).
//!
//! Limits: [`NEIGHBORS_MAX`] neighbours and [`NEIGHBORS_EACH`] on one interface, at which one of a few that are looked at
//! makes room, unless all are in use; [`HELD_MAX`]
//! packets wait in all and [`HELD_EACH`] for one neighbour, the next is dropped; [`ASKS_A_SECOND`] questions, those
//! beyond come a second later.

mod entry;
mod hasher;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use weir_wire::{Instant, InterfaceId, MacAddr, Packet};

use super::Emission;
use super::detour::WATCH_EVERY;
use super::limit::Bucket;
use entry::{Entry, State};
pub(crate) use hasher::Seeded;

/// Neighbours of all routers.
pub const NEIGHBORS_MAX: usize = 16384;
/// Neighbours on one interface, so that one network cannot take the room of the others.
pub const NEIGHBORS_EACH: usize = 4096;
/// Packets that wait for neighbours, in all.
pub const HELD_MAX: usize = 1024;
/// Packets that wait for one neighbour.
pub const HELD_EACH: usize = 16;
/// Questions a second, and as many at once.
pub const ASKS_A_SECOND: u64 = 1000;
/// How often a neighbour is asked for before it counts as unreachable.
pub const TRIES: u8 = 3;
/// Time between two questions.
pub const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long a neighbour is believed without hearing of it.
pub const REACHABLE_FOR: Duration = Duration::from_secs(30);
/// How long an unreachable neighbour is not asked for again.
pub const FAILED_FOR: Duration = Duration::from_secs(3);
/// How many neighbours are looked at to find one that makes room.
const LOOKED_AT: usize = 64;

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It has this MAC.
    At(MacAddr),
    /// It is being asked for; the packet may wait ([`Neighbors::hold`]).
    Asked,
    /// It has not answered lately.
    Unreachable,
    /// There is no room to ask for it.
    NoRoom,
}

type Key = (InterfaceId, IpAddr);

/// Why an address is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It answered us, or asked us: it is taken in if it was not known.
    Directly,
    /// It told everybody: what is known of it is corrected.
    InPassing,
}

/// A neighbour, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighborEntry {
    /// The interface it is reached by.
    pub interface: InterfaceId,
    /// Its address.
    pub address: IpAddr,
    /// Its MAC, where it is known.
    pub mac: Option<MacAddr>,
    /// "static", "reachable", "stale", "probing", "resolving" or "failed".
    pub state: &'static str,
    /// Seconds since it was last heard of, or first asked for.
    pub age_s: u64,
    /// Packets that wait for it.
    pub held: usize,
}

/// The neighbours of all interfaces.
#[derive(Debug)]
pub struct Neighbors {
    places: HashMap<Key, u32, Seeded>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// Places of those that are being asked for; others may stand here too, until the next look.
    busy: Vec<u32>,
    /// Which places stand in `busy`.
    listed: Vec<bool>,
    /// Neighbours of each interface.
    counts: Vec<u32>,
    /// Where the search for room goes on.
    hand: usize,
    held: usize,
    asks: Bucket,
}

impl Neighbors {
    /// No neighbours. `seed` keys the hash.
    pub fn new(seed: u64) -> Neighbors {
        Neighbors {
            places: HashMap::with_hasher(Seeded(seed)),
            entries: Vec::new(),
            free: Vec::new(),
            busy: Vec::new(),
            listed: Vec::new(),
            counts: Vec::new(),
            hand: 0,
            held: 0,
            asks: Bucket::new(ASKS_A_SECOND, ASKS_A_SECOND as u32),
        }
    }

    /// Packets that wait.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Neighbours that are not configured.
    pub fn learned(&self) -> usize {
        self.entries.iter().flatten().filter(|entry| entry.state != State::Static).count()
    }

    /// What is known, without asking.
    pub fn peek(&self, interface: InterfaceId, address: IpAddr) -> Option<Found> {
        let entry = self.entry(*self.places.get(&(interface, address))?)?;
        Some(match (entry.state, entry.mac) {
            (State::Failed(_), _) => Found::Unreachable,
            (_, Some(mac)) => Found::At(mac),
            (_, None) => Found::Asked,
        })
    }

    /// Where a packet to a neighbour goes. Asks for it where that is due.
    #[inline]
    pub(crate) fn find(&mut self, now: Instant, key: Key, say: &mut Vec<Emission>) -> Found {
        let Some(&place) = self.places.get(&key) else { return self.begin(now, key, say) };
        let Some(entry) = self.entries.get_mut(place as usize).and_then(Option::as_mut) else { return Found::NoRoom };
        entry.used = now;
        match (entry.state, entry.mac) {
            (State::Reachable, Some(mac)) if now.since(entry.heard) < REACHABLE_FOR => Found::At(mac),
            (State::Static | State::Probing { .. }, Some(mac)) => Found::At(mac),
            (State::Reachable, Some(mac)) => {
                self.ask(now, place, State::Probing { tries: 0, next: now }, say);
                Found::At(mac)
            }
            (State::Failed(until), _) if now < until => Found::Unreachable,
            (State::Resolving { .. }, _) => Found::Asked,
            (State::Static | State::Reachable | State::Probing { .. } | State::Failed(_), _) => {
                self.ask(now, place, State::Resolving { tries: 0, next: now }, say);
                Found::Asked
            }
        }
    }

    /// Whether a neighbour answers that is looked after: asks for it where it has not been heard of for a while, whether or
    /// not packets go to it. `None` while it has time to answer.
    pub(crate) fn watch(&mut self, now: Instant, key: Key, say: &mut Vec<Emission>) -> Option<bool> {
        let Some(&place) = self.places.get(&key) else {
            self.begin(now, key, say);
            return None;
        };
        let entry = self.entries.get_mut(place as usize).and_then(Option::as_mut)?;
        entry.used = now;
        match entry.state {
            State::Static => Some(true),
            State::Reachable => {
                if now.since(entry.heard) >= WATCH_EVERY {
                    self.ask(now, place, State::Probing { tries: 0, next: now }, say);
                }
                Some(true)
            }
            State::Probing { .. } | State::Resolving { .. } => None,
            State::Failed(_) => {
                self.ask(now, place, State::Resolving { tries: 0, next: now }, say);
                Some(false)
            }
        }
    }

    /// Lets a packet wait for a neighbour that is being asked for; it comes back where there is no room.
    pub(crate) fn hold(&mut self, key: Key, packet: Packet) -> Result<(), Packet> {
        let place = self.places.get(&key).copied();
        let entry = place.and_then(|place| self.entries.get_mut(place as usize)).and_then(Option::as_mut);
        match entry {
            Some(entry) if entry.waiting.len() < HELD_EACH && self.held < HELD_MAX => {
                entry.waiting.push(packet);
                self.held += 1;
                Ok(())
            }
            Some(_) | None => Err(packet),
        }
    }

    /// A neighbour told its MAC; returns the packets that waited for it.
    pub(crate) fn hear(&mut self, now: Instant, key: Key, mac: MacAddr, how: Heard) -> Vec<Packet> {
        let known = self.places.get(&key).copied();
        let place = match (known, how) {
            (Some(place), _) => place,
            (None, Heard::InPassing) => return Vec::new(),
            // No packet goes to it yet: it is the first to make room.
            (None, Heard::Directly) => match self.add(Instant::ZERO, key) {
                Some(place) => place,
                None => return Vec::new(),
            },
        };
        let Some(entry) = self.entries.get_mut(place as usize).and_then(Option::as_mut) else { return Vec::new() };
        if entry.state == State::Static {
            return Vec::new();
        }
        // Something said in passing does not prove that our packets reach it: only a changed MAC is taken from it.
        if how == Heard::Directly || entry.mac != Some(mac) {
            (entry.mac, entry.state, entry.heard) = (Some(mac), State::Reachable, now);
        }
        let waiting = std::mem::take(&mut entry.waiting);
        self.held -= waiting.len();
        waiting
    }

    /// Asks again for those that did not answer; those that will not be asked again are given up, with the packets that
    /// waited for them. Returns when the next question is due.
    pub(crate) fn tick(
        &mut self,
        now: Instant,
        say: &mut Vec<Emission>,
        given_up: &mut Vec<Packet>,
    ) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut busy = std::mem::take(&mut self.busy);
        busy.retain(|&place| {
            let due = self.look_after(now, place, say, given_up);
            next = [next, due].into_iter().flatten().min();
            if due.is_none() {
                self.list_place(place, false);
            }
            due.is_some()
        });
        self.busy = busy;
        next
    }

    /// Looks after one that is being asked for; returns when the next look is due, if it still is.
    fn look_after(
        &mut self,
        now: Instant,
        place: u32,
        say: &mut Vec<Emission>,
        given_up: &mut Vec<Packet>,
    ) -> Option<Instant> {
        let entry = self.entries.get_mut(place as usize).and_then(Option::as_mut)?;
        let (tries, next, resolving) = match entry.state {
            State::Resolving { tries, next } => (tries, next, true),
            State::Probing { tries, next } => (tries, next, false),
            State::Static | State::Reachable | State::Failed(_) => return None,
        };
        if now < next {
            return Some(next);
        }
        if tries >= TRIES {
            // One that stopped answering is asked for anew by the next packet to it.
            entry.mac = None;
            entry.state = State::Failed(if resolving { now.after(FAILED_FOR) } else { now });
            let waiting = std::mem::take(&mut entry.waiting);
            self.held -= waiting.len();
            given_up.extend(waiting);
            return None;
        }
        let (key, to) = (entry.key, entry.mac);
        let due = now.after(ASK_EVERY);
        let tries = if self.asks.take(now) {
            say.push(Emission::Ask(key.0, key.1, to));
            tries + 1
        } else {
            tries
        };
        let entry = self.entries.get_mut(place as usize).and_then(Option::as_mut)?;
        entry.state =
            if resolving { State::Resolving { tries, next: due } } else { State::Probing { tries, next: due } };
        Some(due)
    }

    /// The configured neighbours of an interface; those that were and are no longer are forgotten. Returns the packets
    /// that waited for one of them.
    pub(crate) fn set_static(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        wanted: &[(IpAddr, MacAddr)],
    ) -> Vec<Packet> {
        let gone = |entry: &Entry| {
            entry.state == State::Static
                && entry.key.0 == interface
                && wanted.iter().all(|(address, _)| *address != entry.key.1)
        };
        let mut waiting = self.forget_where(gone);
        for &(address, mac) in wanted {
            let key = (interface, address);
            let place = self.places.get(&key).copied().or_else(|| self.add(now, key));
            let entry = place.and_then(|place| self.entries.get_mut(place as usize)).and_then(Option::as_mut);
            let Some(entry) = entry else { continue };
            (entry.mac, entry.state, entry.heard) = (Some(mac), State::Static, now);
            self.held -= entry.waiting.len();
            waiting.append(&mut entry.waiting);
        }
        waiting
    }

    /// Forgets all neighbours, of one interface or of all; returns the packets that waited for them.
    pub(crate) fn forget(&mut self, interface: Option<InterfaceId>) -> Vec<Packet> {
        self.forget_where(|entry| interface.is_none_or(|wanted| wanted == entry.key.0))
    }

    /// As [`Neighbors::forget`], but for those that are configured.
    pub(crate) fn flush(&mut self, interface: Option<InterfaceId>) -> Vec<Packet> {
        self.forget_where(|entry| entry.state != State::Static && interface.is_none_or(|wanted| wanted == entry.key.0))
    }

    /// Takes in what another one knows of neighbours that have answered, and of those that are configured. Returns the
    /// packets that wait there: who they are for is asked for anew.
    pub(crate) fn adopt(&mut self, now: Instant, other: Neighbors) -> Vec<Packet> {
        let mut waiting = Vec::new();
        for entry in other.entries.into_iter().flatten() {
            let known = match (entry.state, entry.mac) {
                (State::Static, Some(_)) => Some((State::Static, now)),
                (State::Reachable | State::Probing { .. }, Some(_)) => Some((State::Reachable, entry.heard)),
                (State::Static | State::Reachable | State::Probing { .. }, None)
                | (State::Resolving { .. } | State::Failed(_), _) => None,
            };
            if let Some((state, heard)) = known
                && let Some(place) = self.add(entry.used, entry.key)
                && let Some(mine) = self.entries.get_mut(place as usize).and_then(Option::as_mut)
            {
                (mine.mac, mine.state, mine.heard) = (entry.mac, state, heard);
            }
            waiting.extend(entry.waiting);
        }
        waiting
    }

    /// All neighbours, in order of interface and address.
    pub fn list(&self, now: Instant) -> Vec<NeighborEntry> {
        let mut all: Vec<NeighborEntry> = self.entries.iter().flatten().map(|entry| entry.show(now)).collect();
        all.sort_unstable_by_key(|entry| (entry.interface, entry.address));
        all
    }

    /// The first packet to a neighbour that is not known.
    fn begin(&mut self, now: Instant, key: Key, say: &mut Vec<Emission>) -> Found {
        let Some(place) = self.add(now, key) else { return Found::NoRoom };
        self.ask(now, place, State::Resolving { tries: 0, next: now }, say);
        Found::Asked
    }

    /// Begins to ask for a neighbour.
    fn ask(&mut self, now: Instant, place: u32, state: State, say: &mut Vec<Emission>) {
        if let Some(entry) = self.entries.get_mut(place as usize).and_then(Option::as_mut) {
            entry.state = state;
        }
        // Others that are not asked for any more leave the list at the next tick.
        if !self.list_place(place, true) {
            self.busy.push(place);
        }
        self.look_after(now, place, say, &mut Vec::new());
    }

    /// Notes whether a place stands in the list; returns whether it did.
    fn list_place(&mut self, place: u32, stands: bool) -> bool {
        self.listed.get_mut(place as usize).is_some_and(|listed| std::mem::replace(listed, stands))
    }

    fn add(&mut self, now: Instant, key: Key) -> Option<u32> {
        let here = usize::from(key.0.0);
        if here >= self.counts.len() {
            self.counts.resize(here + 1, 0);
        }
        if self.counts.get(here).is_some_and(|count| *count as usize >= NEIGHBORS_EACH) {
            self.make_room(now, Some(key.0))?;
        } else if self.places.len() >= NEIGHBORS_MAX {
            self.make_room(now, None)?;
        }
        let place = self.free.pop().unwrap_or(self.entries.len() as u32);
        if place as usize >= self.entries.len() {
            self.entries.push(None);
            self.listed.push(false);
        }
        *self.entries.get_mut(place as usize)? = Some(Entry::new(key, now));
        self.places.insert(key, place);
        if let Some(count) = self.counts.get_mut(here) {
            *count += 1;
        }
        Some(place)
    }

    /// The least useful of the next few makes room, of one interface or of all; none where all of them are in use.
    fn make_room(&mut self, now: Instant, of: Option<InterfaceId>) -> Option<()> {
        let mut least: Option<(u64, usize)> = None;
        for _ in 0..LOOKED_AT {
            self.hand = (self.hand + 1) % self.entries.len().max(1);
            let Some(entry) = self.entries.get(self.hand).and_then(Option::as_ref) else { continue };
            if of.is_none_or(|interface| interface == entry.key.0)
                && let Some(worth) = entry.worth(now)
                && least.is_none_or(|(other, _)| worth < other)
            {
                least = Some((worth, self.hand));
            }
        }
        let (_, place) = least?;
        self.take_out(place);
        Some(())
    }

    fn forget_where(&mut self, wanted: impl Fn(&Entry) -> bool) -> Vec<Packet> {
        let mut waiting = Vec::new();
        for place in 0..self.entries.len() {
            if self.entries.get(place).and_then(Option::as_ref).is_some_and(&wanted) {
                waiting.extend(self.take_out(place));
            }
        }
        waiting
    }

    fn take_out(&mut self, place: usize) -> Vec<Packet> {
        let Some(entry) = self.entries.get_mut(place).and_then(Option::take) else { return Vec::new() };
        self.places.remove(&entry.key);
        if let Some(count) = self.counts.get_mut(usize::from(entry.key.0.0)) {
            *count = count.saturating_sub(1);
        }
        self.free.push(place as u32);
        self.held -= entry.waiting.len();
        entry.waiting
    }

    fn entry(&self, place: u32) -> Option<&Entry> {
        self.entries.get(place as usize)?.as_ref()
    }
}

#[cfg(test)]
mod tests;
