//! The flows of a capture: found by key in one probe as a rule, aged by the packets' own time, bounded.

use weir_wire::Instant;

use super::flow::{Flow, Reason};
use super::key::Key;
use crate::prefetch::Lines;

/// Slots that one packet looks at for flows whose time is over.
const SWEEP: usize = 2;
/// Places in which a flow that is foreseen is looked for.
const NEAR: usize = 4;
/// Slots among which a flow is chosen to give way where the table is full.
const CANDIDATES: usize = 16;

/// Flows by key.
#[derive(Debug)]
pub struct Table {
    /// Places: a tag of the hash and the slot; zero is empty.
    index: Vec<u64>,
    slots: Vec<Option<Box<Flow>>>,
    /// When each slot's flow is over, in nanoseconds.
    deadlines: Vec<u64>,
    /// Which slots' flows end without more ado.
    resting: Vec<bool>,
    free: Vec<u32>,
    /// Where a flow was found last.
    recent: Slot,
    cursor: usize,
    seed: u64,
    limit: usize,
    /// Flows that gave way to new ones.
    pub evicted: u64,
}

/// A slot of the table.
pub type Slot = u32;

impl Table {
    /// An empty table for at most `limit` flows.
    pub fn new(limit: usize, seed: u64) -> Table {
        Table {
            index: vec![0; 1 << 12],
            slots: Vec::new(),
            deadlines: Vec::new(),
            resting: Vec::new(),
            free: Vec::new(),
            recent: 0,
            cursor: 0,
            seed,
            limit: limit.clamp(1, 1 << 24),
            evicted: 0,
        }
    }

    /// Flows.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The key's hash.
    #[inline]
    pub fn hash(&self, key: &Key) -> u64 {
        key.hash(self.seed)
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        (hash as usize) & (self.index.len() - 1)
    }

    /// The slot of the flow with this key.
    #[inline]
    pub fn find(&self, key: &Key, hash: u64) -> Option<Slot> {
        let mut place = self.home(hash);
        loop {
            let entry = *self.index.get(place)?;
            if entry == 0 {
                return None;
            }
            if entry >> 32 == hash >> 32 {
                let slot = (entry as u32).wrapping_sub(1);
                if self.slots.get(slot as usize)?.as_ref().is_some_and(|flow| flow.key == *key) {
                    return Some(slot);
                }
            }
            place = (place + 1) & (self.index.len() - 1);
        }
    }

    /// The same; of packets that follow one another most are of one flow, and for these nothing is looked up.
    #[inline]
    pub fn find_anew(&mut self, key: &Key) -> Option<Slot> {
        if self.get(self.recent).is_none_or(|flow| flow.key != *key) {
            self.recent = self.find(key, self.hash(key))?;
        }
        Some(self.recent)
    }

    /// The flow of a slot has got a packet, and is over later.
    #[inline]
    pub fn postpone(&mut self, slot: Slot, deadline: Instant) {
        self.deadlines.get_mut(slot as usize).into_iter().for_each(|time| *time = deadline.0);
    }

    /// Asks for the place where a flow with this hash is looked for first.
    #[inline]
    pub fn ask_bucket(&self, hash: u64, lines: Lines) {
        self.index.get(self.home(hash)).into_iter().for_each(|place| lines.ask(place));
    }

    /// The slot of a flow that may have this hash, which is asked for.
    #[inline]
    pub fn ask_slot(&self, hash: u64, lines: Lines) -> Option<Slot> {
        let mut near = self.index.iter().skip(self.home(hash)).take(NEAR);
        let entry = near.find(|&&entry| entry != 0 && entry >> 32 == hash >> 32)?;
        let slot = (*entry as u32).wrapping_sub(1);
        self.slots.get(slot as usize).into_iter().for_each(|slot| lines.ask(slot));
        self.deadlines.get(slot as usize).into_iter().for_each(|deadline| lines.ask(deadline));
        Some(slot)
    }

    /// Asks for the flow of a slot.
    #[inline]
    pub fn ask_flow(&self, slot: Slot, lines: Lines) {
        self.get(slot).into_iter().for_each(|flow| lines.ask(flow));
    }

    /// The flow of a slot.
    #[inline]
    pub fn get(&self, slot: Slot) -> Option<&Flow> {
        self.slots.get(slot as usize)?.as_deref()
    }

    /// The same, to change it.
    #[inline]
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Flow> {
        self.slots.get_mut(slot as usize)?.as_deref_mut()
    }

    /// Takes the flow out of its slot for a while; it goes back with [`Table::put`].
    #[inline]
    pub fn borrow(&mut self, slot: Slot) -> Option<Box<Flow>> {
        self.slots.get_mut(slot as usize)?.take()
    }

    /// Puts back what [`Table::borrow`] took.
    #[inline]
    pub fn put(&mut self, slot: Slot, flow: Box<Flow>, deadline: Instant) {
        let at = slot as usize;
        let places = (self.slots.get_mut(at), self.deadlines.get_mut(at), self.resting.get_mut(at));
        if let (Some(place), Some(time), Some(rests)) = places {
            (*time, *rests) = (deadline.0, flow.rests);
            *place = Some(flow);
        }
    }

    /// When the flow of a slot is over.
    #[inline]
    pub fn deadline(&self, slot: Slot) -> Instant {
        Instant(self.deadlines.get(slot as usize).copied().unwrap_or(u64::MAX))
    }

    /// Adds a flow that is not there; the one that gave way for it.
    pub fn insert(&mut self, flow: Box<Flow>, deadline: Instant) -> (Slot, Option<Box<Flow>>) {
        let gone = if self.len() >= self.limit { self.give_way() } else { None };
        if self.index.len() < (self.len() + 1) * 2 {
            self.grow();
        }
        let hash = flow.key.hash(self.seed);
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                self.deadlines.push(u64::MAX);
                self.resting.push(false);
                (self.slots.len() - 1) as Slot
            }
        };
        self.put(slot, flow, deadline);
        self.link(hash, slot);
        (slot, gone)
    }

    fn link(&mut self, hash: u64, slot: Slot) {
        let mut place = self.home(hash);
        while self.index.get(place).is_some_and(|&entry| entry != 0) {
            place = (place + 1) & (self.index.len() - 1);
        }
        if let Some(entry) = self.index.get_mut(place) {
            *entry = hash >> 32 << 32 | u64::from(slot + 1);
        }
    }

    fn grow(&mut self) {
        let size = self.index.len() * 2;
        self.index = vec![0; size];
        for slot in 0..self.slots.len() {
            let hash = self.slots.get(slot).and_then(Option::as_ref).map(|flow| flow.key.hash(self.seed));
            if let Some(hash) = hash {
                self.link(hash, slot as Slot);
            }
        }
    }

    /// Removes the flow of a slot.
    pub fn remove(&mut self, slot: Slot) -> Option<Box<Flow>> {
        let flow = self.borrow(slot)?;
        self.unlink(flow.key.hash(self.seed), slot);
        if let Some(time) = self.deadlines.get_mut(slot as usize) {
            *time = u64::MAX;
        }
        self.free.push(slot);
        Some(flow)
    }

    /// Takes an entry out of the index and moves those up that were pushed past it.
    fn unlink(&mut self, hash: u64, slot: Slot) {
        let mask = self.index.len() - 1;
        let wanted = hash >> 32 << 32 | u64::from(slot + 1);
        let mut place = self.home(hash);
        while self.index.get(place).is_some_and(|&entry| entry != 0 && entry != wanted) {
            place = (place + 1) & mask;
        }
        let mut hole = place;
        loop {
            place = (place + 1) & mask;
            let entry = self.index.get(place).copied().unwrap_or(0);
            if entry == 0 {
                break;
            }
            let other = (entry as u32).wrapping_sub(1) as usize;
            let home = match self.slots.get(other).and_then(Option::as_ref) {
                Some(flow) => self.home(flow.key.hash(self.seed)),
                None => continue,
            };
            // It may move into the hole where its home is not between the hole and its place.
            if place.wrapping_sub(home) & mask >= place.wrapping_sub(hole) & mask {
                if let Some(to) = self.index.get_mut(hole) {
                    *to = entry;
                }
                hole = place;
            }
        }
        if let Some(entry) = self.index.get_mut(hole) {
            *entry = 0;
        }
    }

    /// A flow whose time is over, among the next few slots.
    #[inline]
    pub fn sweep(&mut self, now: Instant) -> Option<Box<Flow>> {
        for _ in 0..SWEEP.min(self.deadlines.len()) {
            self.cursor = if self.cursor + 1 >= self.deadlines.len() { 0 } else { self.cursor + 1 };
            if self.deadlines.get(self.cursor).is_some_and(|&deadline| deadline < now.0) {
                return self.remove(self.cursor as Slot);
            }
        }
        None
    }

    /// Of some slots, the flow that would be over first.
    fn give_way(&mut self) -> Option<Box<Flow>> {
        let count = self.deadlines.len();
        let start = self.cursor;
        let candidates = (0..CANDIDATES.min(count)).map(|i| (start + i) % count);
        let first = candidates.min_by_key(|&slot| self.deadlines.get(slot).copied().unwrap_or(u64::MAX))?;
        self.cursor = (start + CANDIDATES) % count;
        self.evicted += 1;
        let mut flow = self.remove(first as Slot)?;
        flow.reason = Reason::Forced;
        Some(flow)
    }

    /// All slots in use, in order.
    #[cfg(test)]
    pub fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        let used: Vec<Slot> = (0..self.slots.len() as Slot)
            .filter(|&slot| self.slots.get(slot as usize).is_some_and(Option::is_some))
            .collect();
        used.into_iter()
    }

    /// Takes out all flows.
    pub fn take(&mut self) -> Taken {
        self.index.fill(0);
        self.deadlines.clear();
        self.free.clear();
        Taken { slots: std::mem::take(&mut self.slots), resting: std::mem::take(&mut self.resting) }
    }
}

/// All flows of a table.
#[derive(Debug, Default)]
pub struct Taken {
    slots: Vec<Option<Box<Flow>>>,
    resting: Vec<bool>,
}

impl Taken {
    /// The flows in the order of their slots; without `all` those alone of which there is more to do at their end.
    pub fn ending(&mut self, all: bool) -> impl Iterator<Item = &mut Flow> {
        let slots = self.slots.iter_mut().zip(&self.resting);
        slots.filter(move |&(_, &rests)| all || !rests).filter_map(|(slot, _)| slot.as_deref_mut())
    }
}
