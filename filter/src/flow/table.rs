//! All flows of an engine: found by their key, counted by the port that opened them, asked in time whether they may
//! stay.
//!
//! Room for the limit is reserved at the start and never more; memory that no flow has used yet is not touched. A
//! place in the table is named by its number and a generation, so a name that was kept too long finds nothing instead
//! of another flow.
//!
//! What is needed to find, to order and to forget flows stands beside them, in 32 bytes each: a flow that comes or goes
//! does not touch its neighbours, and those that are to go next are known without looking at them.

use weir_wire::{Instant, PortId};

use super::expire::Wheel;
use super::index::{Full, Index};
use super::key::{Key, Seed};
use super::list::{Link, Linked, List, Which};
use super::{Flow, Memo, Standing};
use crate::prefetch::Lines;

/// Flows looked at for the one that was silent longest.
const LOOKS: usize = 16;

/// Whether a packet's connection will be needed with its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsTcp {
    /// It is TCP.
    Yes,
    /// It is not.
    No,
}

/// A place of the table where a flow may stand: what [`Table::warm`] has found by the hash alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hint {
    /// The place, plus one; 0 where there is none. A whole word, so that what holds it is copied in whole words.
    place: u64,
}

/// The flows that one port has opened.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    unanswered: List,
    ending: List,
    answered: List,
}

impl Share {
    fn list(&mut self, standing: Standing) -> &mut List {
        match standing {
            Standing::Unanswered => &mut self.unanswered,
            Standing::Ending => &mut self.ending,
            Standing::Answered => &mut self.answered,
        }
    }

    fn len(&self) -> usize {
        self.unanswered.len() + self.ending.len() + self.answered.len()
    }
}

/// What the table itself knows of a flow: half a cache line.
#[derive(Clone, Copy, Debug, Default)]
struct Post {
    owner_link: Link,
    timer_link: Link,
    /// The slot of the timer wheel that it stands in.
    timer_at: u64,
    hash: u64,
}

impl Linked for Post {
    #[inline]
    fn link(&mut self, which: Which) -> &mut Link {
        match which {
            Which::Owner => &mut self.owner_link,
            Which::Timer => &mut self.timer_link,
        }
    }
}

/// The table.
#[derive(Debug)]
pub struct Table {
    flows: Vec<Flow>,
    /// One for each of `flows`.
    posts: Vec<Post>,
    free: Vec<u32>,
    index: Index,
    wheel: Wheel,
    shares: Vec<Share>,
    seed: Seed,
    limit: usize,
    numbers: u64,
    lines: Lines,
}

impl Table {
    /// An empty table for up to `limit` flows.
    pub fn new(limit: usize, seed: u64) -> Table {
        let limit = limit.clamp(1, u32::MAX as usize / 2);
        Table {
            flows: Vec::with_capacity(limit),
            posts: Vec::with_capacity(limit),
            free: Vec::new(),
            index: Index::new(limit),
            wheel: Wheel::default(),
            shares: Vec::new(),
            seed: Seed::new(seed),
            limit,
            numbers: 0,
            lines: Lines::default(),
        }
    }

    /// Flows in it.
    pub fn len(&self) -> usize {
        self.flows.len() - self.free.len()
    }

    /// None is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// No room is left.
    pub fn is_full(&self) -> bool {
        self.len() >= self.limit
    }

    /// The hash of a key in this table.
    #[inline]
    pub fn hash(&self, key: &Key) -> u64 {
        key.hash(&self.seed)
    }

    /// Asks for the index where these hashes most likely stand: before [`Table::warm`], so that the processor waits for many of
    /// them at the same time.
    #[inline]
    pub fn touch(&self, hashes: impl Iterator<Item = u64>) {
        hashes.for_each(|hash| self.index.touch(hash));
    }

    /// Finds places by hashes, and reads the flows there as far as packets will need them, with their connections where it
    /// is TCP. The steps are short and have no branch on what they read. Returns how many have no place.
    #[inline]
    pub fn warm<'h>(&self, wanted: impl Iterator<Item = (u64, IsTcp, &'h mut Hint)>) -> usize {
        let (seen, missing) = wanted.fold((0, 0), |(seen, missing), (hash, tcp, hint)| {
            let candidate = self.index.candidate(hash);
            hint.place = candidate.map_or(0, |slot| u64::from(slot) + 1);
            let missing = missing + usize::from(candidate.is_none());
            match self.flows.get(candidate.unwrap_or(0) as usize) {
                Some(flow) => {
                    let connection = if tcp == IsTcp::Yes { flow.tcp.first_word() } else { 0 };
                    (seen ^ flow.generation ^ flow.packets[0] as u32 ^ connection, missing)
                }
                None => (seen, missing),
            }
        });
        std::hint::black_box(seen);
        missing
    }

    /// What the caller remembers of the flows at places that [`Table::warm`] has found.
    #[inline]
    pub fn memos(&self, hints: impl Iterator<Item = Hint>) -> impl Iterator<Item = &[Memo; 2]> {
        hints.filter_map(|hint| self.flows.get(hint.place.checked_sub(1)? as usize)).map(|flow| &flow.memos)
    }

    /// Flows that can still be added.
    #[inline]
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.len())
    }

    /// Asks for what will be needed to end the flows that this port gives up next.
    #[inline(never)]
    pub fn warm_victims(&self, port: PortId, count: usize) {
        let Some(share) = self.shares.get(usize::from(port.0)) else { return };
        let mut next = share.unanswered.first();
        for _ in 0..count {
            let Some(post) = next.and_then(|slot| self.posts.get(slot as usize)) else { break };
            self.index.touch(post.hash);
            if let Some(flow) = next.and_then(|slot| self.flows.get(slot as usize)) {
                self.lines.ask(flow);
            }
            next = post.owner_link.next();
        }
    }

    /// Asks for what will be needed to end the flows at so many places.
    #[inline(never)]
    pub fn warm_leaving(&self, from: u32, count: u32) {
        let places = self.posts.get(from as usize..).unwrap_or_default();
        places.iter().take(count as usize).for_each(|post| self.index.touch_both(post.hash));
    }

    /// The flow of this key.
    #[inline]
    pub fn find(&self, key: &Key, hash: u64) -> Option<u32> {
        self.index.find(hash, |slot| self.flows.get(slot as usize).is_some_and(|flow| flow.key == *key))
    }

    /// The flow of this key, where it stands in the place that was found by its hash.
    #[inline]
    pub fn find_at(&self, key: &Key, hint: Hint) -> Option<u32> {
        let slot = hint.place.checked_sub(1)? as u32;
        // A place that is free has no key that a packet has.
        self.flows.get(slot as usize).filter(|flow| flow.key == *key).map(|_| slot)
    }

    /// The flow at this place, while it is still the same.
    #[inline]
    pub fn get(&self, slot: u32, generation: u32) -> Option<&Flow> {
        self.flows.get(slot as usize).filter(|flow| flow.generation == generation)
    }

    /// The flow at a place that [`Table::find`] or [`Table::get`] has just named.
    #[inline]
    pub fn at(&self, slot: u32) -> &Flow {
        &self.flows[slot as usize]
    }

    /// The same, to be changed.
    #[inline]
    pub fn at_mut(&mut self, slot: u32) -> &mut Flow {
        &mut self.flows[slot as usize]
    }

    /// The next flow has the number after this one.
    pub fn number_from(&mut self, number: u64) {
        self.numbers = number;
    }

    /// Adds a flow of another table under a key that is not there yet; it keeps its number.
    ///
    /// # Errors
    /// The flow, where there is no room.
    pub fn adopt(&mut self, now: Instant, due: Instant, flow: Flow) -> Result<u32, Box<Flow>> {
        let hash = self.hash(&flow.key);
        match self.reserve(hash) {
            Ok(slot) => Ok(self.seat(now, due, (slot, hash), |place| *place = flow)),
            Err(Full) => Err(Box::new(flow)),
        }
    }

    /// Adds a flow under a key that is not there yet, whose hash this is, and gives it its number. `fill` writes it where it
    /// stands, over what a flow is by default. It is asked again at `due`.
    ///
    /// # Errors
    /// [`Full`] where there is no room.
    #[inline]
    pub fn add(&mut self, now: Instant, due: Instant, hash: u64, fill: impl FnOnce(&mut Flow)) -> Result<u32, Full> {
        let slot = self.reserve(hash)?;
        self.numbers += 1;
        let number = self.numbers;
        Ok(self.seat(now, due, (slot, hash), |flow| {
            fill(flow);
            flow.number = number;
        }))
    }

    /// The place of the next flow, found by this hash from here on.
    #[inline]
    fn reserve(&mut self, hash: u64) -> Result<u32, Full> {
        if self.is_full() {
            return Err(Full);
        }
        let slot = self.free.last().copied().unwrap_or(self.flows.len() as u32);
        let posts = &self.posts;
        self.index.insert(hash, slot, |other| posts[other as usize].hash)?;
        Ok(slot)
    }

    /// Puts a flow in the place that was reserved for it. What stands there is none: it is written once.
    #[inline]
    fn seat(&mut self, now: Instant, due: Instant, (slot, hash): (u32, u64), fill: impl FnOnce(&mut Flow)) -> u32 {
        let post = Post { hash, ..Post::default() };
        if self.free.pop().is_some() {
            self.posts[slot as usize] = post;
        } else {
            self.flows.push(Flow::default());
            self.posts.push(post);
        }
        let flow = &mut self.flows[slot as usize];
        let generation = flow.generation;
        fill(flow);
        flow.generation = generation;
        let (owner, standing) = (flow.owner, flow.standing);
        share(&mut self.shares, owner).list(standing).push(&mut self.posts, Which::Owner, slot);
        self.schedule(now, slot, due);
        slot
    }

    #[inline]
    fn schedule(&mut self, now: Instant, slot: u32, due: Instant) {
        self.posts[slot as usize].timer_at = self.wheel.add(&mut self.posts, slot, now, due);
    }

    /// Takes a flow out.
    pub fn remove(&mut self, slot: u32) -> Flow {
        let Post { hash, timer_at, .. } = self.posts[slot as usize];
        self.index.remove(hash, slot);
        let Flow { owner, standing, generation, .. } = *self.at(slot);
        share(&mut self.shares, owner).list(standing).remove(&mut self.posts, Which::Owner, slot);
        self.wheel.remove(&mut self.posts, slot, timer_at);
        self.free.push(slot);
        // No name of this place that anybody holds has this generation.
        let empty = Flow { generation: generation.wrapping_add(1), ..Flow::default() };
        std::mem::replace(self.at_mut(slot), empty)
    }

    /// Moves a flow among those of its port.
    pub fn set_standing(&mut self, slot: u32, standing: Standing) {
        let (owner, old) = (self.at(slot).owner, self.at(slot).standing);
        if standing != old {
            let share = share(&mut self.shares, owner);
            share.list(old).remove(&mut self.posts, Which::Owner, slot);
            share.list(standing).push(&mut self.posts, Which::Owner, slot);
            self.at_mut(slot).standing = standing;
        }
    }

    /// Asks a flow earlier where it would be asked too late for `due`.
    pub fn hasten(&mut self, now: Instant, slot: u32, due: Instant) {
        if self.wheel.is_late(self.posts[slot as usize].timer_at, due) {
            self.postpone(now, slot, due);
        }
    }

    /// Asks a flow again at `due`.
    pub fn postpone(&mut self, now: Instant, slot: u32, due: Instant) {
        let at = self.posts[slot as usize].timer_at;
        self.wheel.remove(&mut self.posts, slot, at);
        self.schedule(now, slot, due);
    }

    /// A flow to be asked whether it may stay; the caller removes or postpones it.
    pub fn due(&mut self, now: Instant) -> Option<u32> {
        self.wheel.due(now).map(|(slot, _)| slot)
    }

    /// When the next flow is to be asked.
    pub fn next_due(&self) -> Option<Instant> {
        self.wheel.next()
    }

    /// Flows that a port has opened.
    pub fn opened_by(&self, port: PortId) -> usize {
        self.shares.get(usize::from(port.0)).map_or(0, Share::len)
    }

    /// A flow that a port gives up for another of its own: an unanswered one, else one that is ending.
    pub fn own_victim(&mut self, port: PortId) -> Option<u32> {
        let share = self.shares.get(usize::from(port.0))?;
        share.unanswered.first().or(share.ending.first())
    }

    /// A flow that makes room for one of `port` in a full table: of the port that has opened most. Where that is `port`
    /// itself it pays with what it can spare; another port pays with any flow, the longest silent of a few at the end.
    pub fn victim_for(&mut self, port: PortId) -> Option<u32> {
        let (mut heaviest, mut most) = (port, self.opened_by(port));
        // Whoever has opened more than half of all has opened most.
        let others = if most > self.len() / 2 { &[] } else { self.shares.as_slice() };
        for (number, share) in others.iter().enumerate() {
            if share.len() > most {
                (heaviest, most) = (PortId(number as u16), share.len());
            }
        }
        match self.own_victim(heaviest) {
            Some(slot) => Some(slot),
            None if heaviest == port => None,
            None => self.longest_silent(heaviest),
        }
    }

    fn longest_silent(&self, port: PortId) -> Option<u32> {
        let first = self.shares.get(usize::from(port.0))?.answered.first()?;
        let (mut oldest, mut here) = (first, first);
        for _ in 1..LOOKS {
            let Some(next) = self.posts[here as usize].owner_link.next() else { break };
            here = next;
            if self.at(here).last < self.at(oldest).last {
                oldest = here;
            }
        }
        Some(oldest)
    }

    /// Places that hold or held flows.
    pub fn places(&self) -> u32 {
        self.flows.len() as u32
    }

    /// The flows, in order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &Flow> {
        self.range(0, u32::MAX)
    }

    /// The flows in the places from `start` up to `end`.
    pub fn range(&self, start: u32, end: u32) -> impl Iterator<Item = &Flow> {
        let end = (end as usize).min(self.flows.len());
        let places = self.flows.get(start as usize..end).unwrap_or(&[]);
        places.iter().filter(|flow| flow.number != 0)
    }
}

fn share(shares: &mut Vec<Share>, port: PortId) -> &mut Share {
    let index = usize::from(port.0);
    if index >= shares.len() {
        shares.resize(index + 1, Share::default());
    }
    &mut shares[index]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_wire::{SwitchId, Vid};

    use super::*;
    use crate::flow::key::{Ends, Within};

    const NOW: Instant = Instant::from_secs(5);

    fn key(n: u32) -> Key {
        let ends = Ends::v4([10, 0, 0, 1], [10, 0, 0, 2]);
        Key::new(SwitchId((n >> 16) as u16), Vid(0), ends, Within::Udp(n as u16, 53)).0
    }

    fn add(table: &mut Table, n: u32, owner: u16) -> Result<u32, Full> {
        add_until(table, n, owner, Duration::from_secs(1))
    }

    fn add_until(table: &mut Table, n: u32, owner: u16, stay: Duration) -> Result<u32, Full> {
        let hash = table.hash(&key(n));
        table.add(NOW, NOW.after(stay), hash, |flow| (flow.key, flow.owner) = (key(n), PortId(owner)))
    }

    #[test]
    fn a_place_used_again_does_not_answer_to_its_old_name() {
        let mut table = Table::new(10, 1);
        let slot = add(&mut table, 1, 0).unwrap();
        let generation = table.at(slot).generation;
        assert_eq!(table.get(slot, generation).map(|f| f.number), Some(1));
        table.remove(slot);
        assert!(table.get(slot, generation).is_none());
        assert_eq!(table.find(&key(1), table.hash(&key(1))), None);
        assert_eq!(add(&mut table, 2, 0), Ok(slot));
        assert!(table.get(slot, generation).is_none());
        assert_eq!(table.at(slot).number, 2);
    }

    #[test]
    fn a_hint_finds_the_flow_that_stands_there_now_and_no_other() {
        let mut table = Table::new(4, 1);
        let (first, second) = (table.hash(&key(1)), table.hash(&key(2)));
        let slot = add(&mut table, 1, 0).unwrap();
        let [mut hint, mut none] = [Hint::default(); 2];
        assert_eq!(table.warm([(first, IsTcp::Yes, &mut hint), (second, IsTcp::No, &mut none)].into_iter()), 1);
        assert_eq!(table.find_at(&key(1), hint), Some(slot));
        assert_eq!((table.find_at(&key(2), hint), table.find_at(&key(1), none)), (None, None));
        table.remove(slot);
        assert_eq!(table.find_at(&key(1), hint), None);
        assert_eq!(add(&mut table, 2, 0), Ok(slot));
        assert_eq!((table.find_at(&key(1), hint), table.find_at(&key(2), hint)), (None, Some(slot)));
    }

    #[test]
    fn the_limit_holds() {
        let mut table = Table::new(100, 1);
        for n in 0..100 {
            add(&mut table, n, 0).unwrap();
        }
        assert_eq!(add(&mut table, 100, 0), Err(Full));
        assert_eq!((table.len(), table.opened_by(PortId(0))), (100, 100));
        table.remove(50);
        add(&mut table, 100, 1).unwrap();
        assert_eq!((table.opened_by(PortId(0)), table.opened_by(PortId(1))), (99, 1));
    }

    #[test]
    fn the_port_with_most_flows_pays_and_unanswered_flows_first() {
        let mut table = Table::new(12, 1);
        for n in 0..8 {
            add(&mut table, n, 1).unwrap();
            table.set_standing(n, if n == 5 { Standing::Ending } else { Standing::Answered });
            table.at_mut(n).last = Instant(u64::from(100 - n));
        }
        for n in 8..12 {
            add(&mut table, n, 2).unwrap();
        }
        // Port 1 has most: first what is ending, then what was silent longest, for another port.
        assert_eq!(table.victim_for(PortId(3)), Some(5));
        table.remove(5);
        assert_eq!(table.victim_for(PortId(3)), Some(7));
        // For itself it gives up nothing that is answered.
        assert_eq!(table.victim_for(PortId(1)), None);
        assert_eq!(table.own_victim(PortId(2)), Some(8));
    }

    #[test]
    fn a_flow_is_due_when_it_was_put_and_can_be_hastened() {
        let mut table = Table::new(10, 1);
        let slot = add_until(&mut table, 1, 0, Duration::from_secs(100)).unwrap();
        let soon = NOW.after(Duration::from_secs(10));
        assert_eq!(table.due(soon), None);
        table.hasten(soon, slot, soon.after(Duration::from_secs(200)));
        assert!(table.next_due().unwrap() < NOW.after(Duration::from_secs(101)));
        table.hasten(soon, slot, soon.after(Duration::from_secs(1)));
        assert!(table.next_due().unwrap() < soon.after(Duration::from_secs(2)));
        assert_eq!(table.due(soon.after(Duration::from_secs(2))), Some(slot));
    }
}
