//! Which end of which conversation is known outside by another name.
//!
//! A binding says that `inside` is `outside` to `remote`, or to everybody where the mapping is independent of the
//! remote end (RFC 4787, 4.1). It serves both ways and lives as long as a flow of its kind. Limit: [`BINDINGS_MAX`];
//! at the limit one of a few that were never answered, or idle for their time, makes room.
//!
//! A binding stands in the index twice, once for each way: under its place times two for what goes out, one more for
//! what comes in. A burst first has what it will look up read ([`Bindings::touch`]), so that its cache misses overlap.

mod ahead;
mod binding;
mod room;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use weir_filter::flow::index::Index;
use weir_filter::spec::Timeouts;
use weir_wire::Instant;

use super::ends::End;
use super::ftp::Ftp;
use crate::router::neighbor::Seeded;
pub(super) use binding::Binding;
pub use room::Room;

/// Bindings of all routers.
pub const BINDINGS_MAX: usize = 1 << 20;
/// How many are looked at to find one that makes room.
const LOOKED_AT: usize = 32;
/// How many are looked at in a tick.
const SWEPT_PER_TICK: usize = 4096;

/// Parts in which bindings are counted that come unforeseen.
const SECTIONS: usize = 1024;

/// The remote end of a binding that holds for all.
pub(super) const ANYBODY: End = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Where a binding is looked for: zone, protocol, the end that bears another name beyond the router, the remote end.
pub(super) type At = (u16, u8, End, End);

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
    /// Where packets that go this way look for it.
    fn at(&self, way: Way) -> At {
        let end = match way {
            Way::Out => self.inside,
            Way::In => self.outside,
        };
        (self.zone, self.protocol, end, self.remote)
    }
}

/// Which way a packet goes through a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Out = 0,
    In = 1,
}

/// Both halves of a 128-bit product, folded: one multiplication mixes two words well (as wyhash and foldhash do).
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// An address and a port in two words.
#[inline]
fn words((address, port): End) -> (u64, u64) {
    match address {
        IpAddr::V4(v4) => (u64::from(u32::from(v4)), u64::from(port) | 1 << 32),
        IpAddr::V6(v6) => {
            let wide = u128::from(v6);
            ((wide >> 64) as u64, wide as u64 ^ u64::from(port) << 40)
        }
    }
}

/// The place of a look-up in the index. Never zero.
#[inline]
pub(super) fn hash(seed: u64, way: Way, at: At) -> u64 {
    let (zone, protocol, end, remote) = at;
    let ((a, b), (c, d)) = (words(end), words(remote));
    let kind = u64::from(zone) << 16 | u64::from(protocol) << 8 | way as u64;
    let (k, l) = (seed ^ 0x9e37_79b9_7f4a_7c15, seed.rotate_left(32) ^ 0xa076_1d64_78bd_642f);
    fold(fold(a ^ k, b ^ l) ^ kind ^ l, fold(c ^ l, d ^ k) ^ k).max(1)
}

/// What is known of few bindings.
#[derive(Debug, Default)]
struct Note {
    /// The only remote address that it lets in, where it holds for all remote ends.
    expects: Option<IpAddr>,
    /// A conversation that speaks of addresses.
    ftp: Option<Box<Ftp>>,
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
    index: Index,
    seed: u64,
    all: Vec<Binding>,
    /// Of each of them the hashes of its look-ups, by way.
    hashes: Vec<[u64; 2]>,
    /// What is known of few of them, by place.
    notes: HashMap<u32, Note, Seeded>,
    free: Vec<u32>,
    /// Bindings that hold for all remote ends.
    open: usize,
    /// Bindings of each inside address.
    owners: HashMap<(u16, IpAddr), u32, Seeded>,
    hand: usize,
    /// Counts bindings that came.
    made: u32,
    /// The place of the one that came last.
    newest: u32,
    /// Counts those that no masquerade made, which flows may have that stood before: by a part of the hash of what goes out.
    unforeseen: [u32; SECTIONS],
    /// The same of those that hold for all remote ends.
    for_all: u32,
}

impl Bindings {
    pub fn new(seed: u64) -> Bindings {
        Bindings {
            index: Index::new(2 * BINDINGS_MAX),
            seed,
            all: Vec::new(),
            hashes: Vec::new(),
            notes: HashMap::with_hasher(Seeded(seed ^ 3)),
            free: Vec::new(),
            open: 0,
            owners: HashMap::with_hasher(Seeded(seed ^ 1)),
            hand: 0,
            made: 0,
            newest: 0,
            unforeseen: [0; SECTIONS],
            for_all: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }

    /// The hash of a look-up.
    #[inline]
    pub fn hash(&self, way: Way, at: At) -> u64 {
        hash(self.seed, way, at)
    }

    /// The hash of the look-up of a binding.
    #[inline]
    pub fn hash_of(&self, way: Way, names: &Names) -> u64 {
        self.hash(way, names.at(way))
    }

    /// Bindings of an inside address.
    pub fn of(&self, zone: u16, inside: IpAddr) -> u32 {
        self.owners.get(&(zone, inside)).copied().unwrap_or(0)
    }

    /// The binding of `end`, inside or outside according to the way, towards `remote`.
    pub fn find(&self, way: Way, at: At) -> Option<Names> {
        self.place(way, at, self.hash(way, at)).and_then(|place| self.names(place))
    }

    /// The same for a packet that passes: the binding stays in use. `flags` are TCP's.
    pub fn pass(&mut self, now: Instant, way: Way, at: At, flags: u8) -> Option<Names> {
        let place = self.place(way, at, self.hash(way, at))?;
        self.pass_at(now, way, place, flags).map(|binding| binding.names())
    }

    /// The same for a binding whose place is known.
    #[inline]
    pub fn pass_at(&mut self, now: Instant, way: Way, place: u32, flags: u8) -> Option<&Binding> {
        let binding = self.all.get_mut(place as usize).filter(|binding| binding.is_taken())?;
        binding.pass(now, way, flags);
        Some(binding)
    }

    /// The binding at this place.
    #[inline]
    pub fn get(&self, place: u32) -> Option<&Binding> {
        self.all.get(place as usize).filter(|binding| binding.is_taken())
    }

    /// Bindings with the only remote address that each lets in, and whether the numbers of its stream were moved.
    pub fn known(&self) -> impl Iterator<Item = (&Binding, Option<IpAddr>, bool)> {
        let places = (0..).zip(&self.all).filter(|(_, binding)| binding.is_taken());
        places.map(|(place, binding)| {
            let note = self.note(place);
            let moves = note.and_then(|note| note.ftp.as_ref()).is_some_and(|ftp| ftp.moves());
            (binding, note.and_then(|note| note.expects), moves)
        })
    }

    /// What is known of the binding at this place beyond itself.
    fn note(&self, place: u32) -> Option<&Note> {
        self.get(place).filter(|binding| binding.is_noted())?;
        self.notes.get(&place)
    }

    /// The same, to be changed: from here on there is something.
    fn note_mut(&mut self, place: u32) -> Option<&mut Note> {
        self.all.get_mut(place as usize).filter(|binding| binding.is_taken())?.note();
        Some(self.notes.entry(place).or_default())
    }

    /// The place of a binding whose look-up has this hash.
    #[inline]
    pub fn place(&self, way: Way, at: At, hash: u64) -> Option<u32> {
        let exact = self.exact(way, at, hash);
        if exact.is_some() || self.open == 0 {
            return exact;
        }
        let (zone, protocol, end, remote) = at;
        let any = (zone, protocol, end, ANYBODY);
        let place = self.exact(way, any, self.hash(way, any))?;
        let expects = self.note(place).and_then(|note| note.expects);
        expects.is_none_or(|only| only == remote.0).then_some(place)
    }

    #[inline]
    fn exact(&self, way: Way, at: At, hash: u64) -> Option<u32> {
        let is_it = |slot: u32| {
            slot & 1 == way as u32 && self.all.get(slot as usize / 2).is_some_and(|binding| binding.is_at(way, &at))
        };
        self.index.find(hash, is_it).map(|slot| slot / 2)
    }

    /// A conversation that speaks of addresses has the binding at this place.
    #[inline]
    pub fn is_attended(&self, place: u32) -> bool {
        self.note(place).is_some_and(|note| note.ftp.is_some())
    }

    /// The binding at this place is that of packets which go this way between these ends, and it alone decides about them:
    /// it holds for this remote end, and nobody attends to its conversation.
    #[inline]
    pub fn decides(&self, place: u32, way: Way, at: &At) -> bool {
        self.all.get(place as usize).is_some_and(|binding| binding.is_at(way, at) && !binding.is_noted())
    }

    /// The part in which a binding is counted whose look-up for what goes out has this hash.
    #[inline]
    pub fn section(hash: u64) -> u32 {
        (hash >> 32) as u32 % SECTIONS as u32
    }

    /// Counts the bindings of a part, and those for all remote ends, that flows may have which stood before.
    #[inline]
    pub fn unforeseen(&self, section: u32) -> u32 {
        self.unforeseen[section as usize % SECTIONS].wrapping_add(self.for_all)
    }

    /// The place of the binding that came last.
    #[inline]
    pub fn newest(&self) -> u32 {
        self.newest
    }

    /// Counts bindings that came.
    #[inline]
    pub fn made(&self) -> u32 {
        self.made
    }

    /// Attends to the conversation of a binding.
    pub fn attend(&mut self, names: &Names) {
        let at = names.at(Way::Out);
        let place = self.exact(Way::Out, at, self.hash(Way::Out, at));
        if let Some(note) = place.and_then(|place| self.note_mut(place)) {
            note.ftp = Some(Box::default());
        }
    }

    /// What is remembered of a conversation that is attended to.
    pub fn ftp(&mut self, way: Way, at: At) -> Option<&mut Ftp> {
        let place = self.place(way, at, self.hash(way, at))?;
        self.get(place).filter(|binding| binding.is_noted())?;
        self.notes.get_mut(&place)?.ftp.as_deref_mut()
    }

    /// Adds a binding for a connection that is expected from this address; `false` where there is no room.
    pub fn expect(&mut self, now: Instant, names: Names, from: IpAddr, timeouts: &Timeouts) -> bool {
        if !self.add(now, names, Way::Out, timeouts) {
            return false;
        }
        let at = names.at(Way::Out);
        let place = self.exact(Way::Out, at, self.hash(Way::Out, at));
        if let Some(note) = place.and_then(|place| self.note_mut(place)) {
            note.expects = Some(from);
        }
        true
    }

    /// A binding that was just added is one that was kept: used then, by both sides. `false` removes it, since its time is
    /// over.
    pub fn take_up(
        &mut self,
        names: &Names,
        used: Instant,
        expects: Option<IpAddr>,
        (now, timeouts): (Instant, &Timeouts),
    ) -> bool {
        let at = names.at(Way::Out);
        let Some(place) = self.exact(Way::Out, at, self.hash(Way::Out, at)) else { return false };
        if expects.is_some()
            && let Some(note) = self.note_mut(place)
        {
            note.expects = expects;
        }
        let Some(binding) = self.all.get_mut(place as usize) else { return false };
        binding.set_used(used);
        let stands = !binding.is_over(now, timeouts);
        if !stands {
            self.remove(place as usize);
        }
        stands
    }

    /// Whether these names can be given: nobody inside or outside has them, or has not used them for their time.
    pub fn is_free(&mut self, now: Instant, names: &Names, timeouts: &Timeouts) -> bool {
        let mut is_free = |way| self.is_free_by(way, (names, self.hash_of(way, names)), now, timeouts);
        is_free(Way::Out) && is_free(Way::In)
    }

    /// The same of one side, where the hash of that look-up is known.
    #[inline]
    pub fn is_free_by(&mut self, way: Way, (names, hash): (&Names, u64), now: Instant, timeouts: &Timeouts) -> bool {
        let Some(place) = self.exact(way, names.at(way), hash) else { return true };
        let over = self.get(place).is_some_and(|binding| binding.is_over(now, timeouts));
        if over {
            self.remove(place as usize);
        }
        over
    }

    /// Adds a binding whose names are free; `false` where there is no room.
    pub fn add(&mut self, now: Instant, names: Names, way: Way, timeouts: &Timeouts) -> bool {
        let hashes = [Way::Out, Way::In].map(|way| self.hash_of(way, &names));
        let [out, _] = hashes;
        let count = &mut self.unforeseen[Bindings::section(out) as usize];
        *count = count.wrapping_add(1);
        self.add_known(now, (&names, hashes), way, timeouts)
    }

    /// The same for the first packet of a flow that a masquerade names, where the hashes of its look-ups are known.
    pub fn add_known(
        &mut self,
        now: Instant,
        (names, hashes): (&Names, [u64; 2]),
        way: Way,
        timeouts: &Timeouts,
    ) -> bool {
        if self.len() >= BINDINGS_MAX && !self.make_room(now, timeouts) {
            return false;
        }
        let place = self.free.last().copied().unwrap_or(self.all.len() as u32);
        if !self.enlist(place, hashes) {
            return false;
        }
        self.made = self.made.wrapping_add(1);
        self.newest = place;
        if self.free.pop().is_none() {
            self.all.push(Binding::default());
            self.hashes.push(hashes);
        }
        self.all[place as usize].write(names, now, way);
        self.hashes[place as usize] = hashes;
        if names.remote == ANYBODY {
            self.open += 1;
            self.for_all = self.for_all.wrapping_add(1);
        }
        *self.owners.entry((names.zone, names.inside.0)).or_default() += 1;
        true
    }

    /// Puts a binding into the index under both ways; `false` leaves the index as it was.
    fn enlist(&mut self, place: u32, [out, back]: [u64; 2]) -> bool {
        let all = &self.hashes;
        let hash_of = |slot: u32| match all.get(slot as usize / 2) {
            Some(hashes) if slot / 2 != place => hashes[slot as usize & 1],
            // The one that is being put there.
            Some(_) | None => out,
        };
        if self.index.insert(out, place * 2, hash_of).is_err() {
            return false;
        }
        if self.index.insert(back, place * 2 + 1, hash_of).is_err() {
            self.index.remove(out, place * 2);
            return false;
        }
        true
    }

    /// Forgets what was not used for its time; a part of all each call.
    pub fn tick(&mut self, now: Instant, timeouts: &Timeouts) {
        for _ in 0..SWEPT_PER_TICK.min(self.all.len()) {
            self.hand = (self.hand + 1) % self.all.len().max(1);
            if self.get(self.hand as u32).is_some_and(|binding| binding.is_over(now, timeouts)) {
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
        let show =
            |b: &Binding| BindingEntry { names: b.names(), idle_s: b.idle(now).as_secs(), answered: b.is_answered() };
        self.all.iter().filter(|binding| binding.is_taken()).map(show).take(limit).collect()
    }

    fn make_room(&mut self, now: Instant, timeouts: &Timeouts) -> bool {
        for _ in 0..LOOKED_AT {
            self.hand = (self.hand + 1) % self.all.len().max(1);
            let Some(binding) = self.get(self.hand as u32) else { continue };
            if !binding.is_answered() || binding.is_over(now, timeouts) {
                self.remove(self.hand);
                return true;
            }
        }
        false
    }

    /// The names of the binding at this place.
    #[inline]
    pub fn names(&self, place: u32) -> Option<Names> {
        self.get(place).map(Binding::names)
    }

    fn remove(&mut self, place: usize) {
        let Some(binding) = self.all.get_mut(place).filter(|binding| binding.is_taken()).map(std::mem::take) else {
            return;
        };
        let (names, hashes) = (binding.names(), self.hashes[place]);
        for way in [Way::Out, Way::In] {
            self.index.remove(hashes[way as usize & 1], place as u32 * 2 + way as u32);
        }
        if binding.is_noted() {
            self.notes.remove(&(place as u32));
        }
        self.open -= usize::from(names.remote == ANYBODY);
        let owner = (names.zone, names.inside.0);
        if let Some(count) = self.owners.get_mut(&owner) {
            *count -= 1;
            if *count == 0 {
                self.owners.remove(&owner);
            }
        }
        self.free.push(place as u32);
    }
}
