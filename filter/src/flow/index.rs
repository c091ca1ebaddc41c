//! From a hash to a flow's place in the table: buckets of eight, two choices, growth one bucket at a time.
//!
//! A bucket is one cache line: eight 16-bit tags, eight places, and of each what says where it goes when the bucket is split:
//! no split reads what the places stand for. A flow stands in one of two buckets that its hash
//! names: in the first, where that had room when it came, so that most are found by reading one line. Where both are
//! full, another flow moves to its other bucket, and what does not find room even so goes to a small stash. The number
//! of buckets grows with the flows by *linear hashing* (Litwin, 1980): each step splits one bucket in two, so no packet
//! ever waits for a table to be rebuilt, and a switch with few flows touches little memory. The room for all buckets is
//! reserved at the start, but untouched pages cost nothing. It does not shrink. A hash chosen by strangers cannot
//! overfill it: the hash is keyed.

use crate::prefetch::Lines;

/// Places in a bucket.
const WAYS: usize = 8;
/// Flows a bucket, on average, beyond which one more is split. Buckets that wait for their split hold up to twice as
/// many as the others, hence half of the places.
const FILL: usize = WAYS / 2;
/// Flows that found no room in their buckets.
const STASH: usize = 64;

/// One cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
struct Bucket {
    /// Place + 1; 0 where empty.
    slots: [u32; WAYS],
    /// Upper bits of the hash, one in each byte pair of two words, so that four are compared at once.
    tags: [u64; 2],
    /// Of the half of the hash that names this bucket the bits from [`HOMES`] on: one of them says which of two buckets is
    /// the flow's when this one is split.
    homes: [u16; WAYS],
}

/// The lowest bit of a hash's half that buckets hold, and the first that they do not.
const HOMES: std::ops::Range<u32> = 8..24;

/// One in each byte pair.
const ONES: u64 = 0x0001_0001_0001_0001;
/// The highest bit of each byte pair.
const TOPS: u64 = 0x8000_8000_8000_8000;

/// The pairs of `tags` that are equal to the pairs of `wanted`, by their highest bits. One above an equal pair may be
/// marked too.
#[inline]
fn equal(tags: u64, wanted: u64) -> u64 {
    let differ = tags ^ wanted;
    differ.wrapping_sub(ONES) & !differ & TOPS
}

impl Bucket {
    /// The ways whose tag probably is this one, as bits. Tags of empty ways may fit too.
    #[inline]
    fn fitting(&self, tag: u16) -> u32 {
        let wanted = u64::from(tag) * ONES;
        // Gathers the four highest bits in the uppermost four.
        let bits = |word: u64| ((equal(word, wanted) >> 15).wrapping_mul(0x1000_2000_4000_8000) >> 60) as u32;
        let [low, high] = self.tags;
        bits(low) | bits(high) << 4
    }

    /// The way in which this place stands.
    #[inline]
    fn way_of(&self, tag: u16, slot: u32) -> Option<usize> {
        let mut ways = self.fitting(tag);
        while ways != 0 {
            let way = ways.trailing_zeros() as usize & (WAYS - 1);
            if self.slots[way] == slot + 1 {
                return Some(way);
            }
            ways &= ways - 1;
        }
        None
    }

    /// The first way that is empty. Looks at all of them: which one it is cannot be guessed.
    #[inline]
    fn empty_way(&self) -> Option<usize> {
        let empty = self.slots.iter().rev().fold(0, |ways, &slot| ways << 1 | u32::from(slot == 0));
        (empty != 0).then(|| empty.trailing_zeros() as usize & (WAYS - 1))
    }

    fn set(&mut self, way: usize, (tag, home): (u16, u16), slot: u32) {
        self.slots[way] = slot + 1;
        self.homes[way] = home;
        let shift = way % 4 * 16;
        let word = &mut self.tags[way / 4];
        *word = *word & !(0xffff << shift) | u64::from(tag) << shift;
    }
}

/// No bucket and no stash place is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The index.
#[derive(Debug)]
pub struct Index {
    buckets: Vec<Bucket>,
    /// The largest power of two that is not above the number of buckets, less one.
    mask: u32,
    limit: usize,
    len: usize,
    stash: Vec<(u64, u32)>,
    lines: Lines,
}

#[inline]
fn tag(hash: u64) -> u16 {
    (hash >> 48) as u16
}

impl Index {
    /// An index for up to `flows` flows.
    pub fn new(flows: usize) -> Index {
        let limit = flows.div_ceil(FILL).max(2);
        let mut buckets = Vec::with_capacity(limit);
        buckets.push(Bucket::default());
        buckets.push(Bucket::default());
        Index { buckets, mask: 1, limit, len: 0, stash: Vec::with_capacity(STASH), lines: Lines::default() }
    }

    /// Both buckets of a hash.
    #[inline]
    fn pair(&self, hash: u64) -> [usize; 2] {
        [self.address(hash as u32), self.address((hash >> 32) as u32)]
    }

    /// Linear hashing: one bit more for the buckets that are split already.
    #[inline]
    fn address(&self, hash: u32) -> usize {
        let wide = (hash & (self.mask << 1 | 1)) as usize;
        if wide < self.buckets.len() { wide } else { (hash & self.mask) as usize }
    }

    #[inline]
    fn bucket(&self, at: usize) -> &Bucket {
        &self.buckets[at]
    }

    /// Asks for the bucket in which a hash most likely stands, so that the caches hold it when it is wanted.
    #[inline]
    pub fn touch(&self, hash: u64) {
        self.lines.ask(self.bucket(self.address(hash as u32)));
    }

    /// Asks for both buckets of a hash, for what most likely stands in none of them and will be added.
    #[inline]
    pub fn touch_both(&self, hash: u64) {
        self.pair(hash).into_iter().for_each(|at| self.lines.ask(self.bucket(at)));
    }

    /// The first place whose tag fits this hash; reads the second bucket where the first has none.
    ///
    /// There is no branch on what is read: a processor that guesses wrong waits for the memory it guessed about, and
    /// the lookups of a burst would stand in line. `None` is a choice among values.
    #[inline]
    pub fn candidate(&self, hash: u64) -> Option<u32> {
        let [first, second] = self.pair(hash);
        let in_first = self.bucket(first).fitting(tag(hash)) != 0;
        let bucket = self.bucket(std::hint::select_unpredictable(in_first, first, second));
        let ways = bucket.fitting(tag(hash));
        let place = bucket.slots[ways.trailing_zeros() as usize & (WAYS - 1)];
        std::hint::select_unpredictable(ways == 0, 0, place).checked_sub(1)
    }

    /// The place under this hash that `is_it` accepts.
    #[inline]
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        for at in self.pair(hash) {
            let bucket = self.bucket(at);
            let mut ways = bucket.fitting(tag(hash));
            while ways != 0 {
                if let Some(slot) = bucket.slots[ways.trailing_zeros() as usize & (WAYS - 1)].checked_sub(1)
                    && is_it(slot)
                {
                    return Some(slot);
                }
                ways &= ways - 1;
            }
        }
        if self.stash.is_empty() {
            return None;
        }
        self.stash.iter().find(|&&(stashed, slot)| stashed == hash && is_it(slot)).map(|&(_, slot)| slot)
    }

    /// Adds a place. `hash_of` tells the hash of a place that is in the index already.
    ///
    /// # Errors
    /// [`Full`] where nothing is free; the index is unchanged then.
    pub fn insert(&mut self, hash: u64, slot: u32, hash_of: impl Fn(u32) -> u64) -> Result<(), Full> {
        if self.len >= self.buckets.len() * FILL && self.buckets.len() < self.limit {
            self.split(&hash_of);
        }
        if !self.place(hash, slot) && !self.displace(hash, slot, &hash_of) {
            if self.stash.len() >= STASH {
                return Err(Full);
            }
            self.stash.push((hash, slot));
        }
        self.len += 1;
        Ok(())
    }

    /// Takes a place out.
    pub fn remove(&mut self, hash: u64, slot: u32) {
        for at in self.pair(hash) {
            let bucket = &mut self.buckets[at];
            if let Some(way) = bucket.way_of(tag(hash), slot) {
                bucket.slots[way] = 0;
                self.len -= 1;
                if let Some((hash, slot)) = self.stash.pop()
                    && !self.place(hash, slot)
                {
                    self.stash.push((hash, slot));
                }
                return;
            }
        }
        if let Some(at) = self.stash.iter().position(|&(_, s)| s == slot) {
            self.stash.swap_remove(at);
            self.len -= 1;
        }
    }

    /// Into the first bucket that has room; `false` where both are full.
    fn place(&mut self, hash: u64, slot: u32) -> bool {
        self.pair(hash).into_iter().any(|at| self.put(at, hash, slot))
    }

    /// Into one of its buckets; `false` where that is full.
    #[inline]
    fn put(&mut self, at: usize, hash: u64, slot: u32) -> bool {
        let Some(way) = self.buckets[at].empty_way() else { return false };
        let home = self.home(at, hash);
        self.buckets[at].set(way, (tag(hash), home), slot);
        true
    }

    /// What a bucket holds of the half of the hash that names it.
    #[inline]
    fn home(&self, at: usize, hash: u64) -> u16 {
        let half = if self.address(hash as u32) == at { hash as u32 } else { (hash >> 32) as u32 };
        (half >> HOMES.start) as u16
    }

    /// Moves one flow of a full bucket to its other bucket, and takes its place.
    fn displace(&mut self, hash: u64, slot: u32, hash_of: &impl Fn(u32) -> u64) -> bool {
        for at in self.pair(hash) {
            for way in 0..WAYS {
                let Some(other) = self.buckets[at].slots[way].checked_sub(1) else {
                    continue;
                };
                let other_hash = hash_of(other);
                let [a, b] = self.pair(other_hash);
                let to = if a == at { b } else { a };
                if to != at && self.put(to, other_hash, other) {
                    let home = self.home(at, hash);
                    self.buckets[at].set(way, (tag(hash), home), slot);
                    return true;
                }
            }
        }
        false
    }

    /// Splits the next bucket in two.
    fn split(&mut self, hash_of: &impl Fn(u32) -> u64) {
        let new = self.buckets.len();
        let level = self.mask as usize + 1;
        let (old, bit) = (new - level, level.trailing_zeros());
        self.buckets.push(Bucket::default());
        if self.buckets.len() == level * 2 {
            self.mask = self.mask << 1 | 1;
        }
        if !HOMES.contains(&bit) {
            return self.share_out(old, new, hash_of);
        }
        let (all, rest) = self.buckets.split_at_mut(new);
        let (from, to) = (&mut all[old], &mut rest[0]);
        // Each goes to the same way, without a branch: which of them move cannot be guessed.
        (to.tags, to.homes) = (from.tags, from.homes);
        for (way, home) in to.homes.iter().enumerate() {
            let moves = u32::from(home >> (bit - HOMES.start) & 1).wrapping_neg();
            to.slots[way] = from.slots[way] & moves;
            from.slots[way] &= !moves;
        }
    }

    /// The same where buckets do not hold the bit that says so: the table is very small or very large.
    #[cold]
    fn share_out(&mut self, old: usize, new: usize, hash_of: &impl Fn(u32) -> u64) {
        for way in 0..WAYS {
            let Some(slot) = self.buckets[old].slots[way].checked_sub(1) else {
                continue;
            };
            let hash = hash_of(slot);
            if self.pair(hash).contains(&old) {
                // Maybe by its other half from here on.
                self.buckets[old].homes[way] = self.home(old, hash);
            } else {
                self.buckets[old].slots[way] = 0;
                self.put(new, hash, slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::key::Seed;

    /// Well mixed and different for each n.
    fn hash(n: u32) -> u64 {
        let mut x = u64::from(n).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    #[test]
    fn every_flow_is_found_at_every_size_on_the_way_to_the_limit() {
        let limit = 20_000;
        let mut index = Index::new(limit);
        for n in 0..limit as u32 {
            index.insert(hash(n), n, hash).unwrap();
            if n % 97 == 0 || n < 200 {
                assert!((0..=n).all(|m| index.find(hash(m), |slot| slot == m) == Some(m)), "{n}");
            }
        }
        assert!(index.stash.len() < STASH / 4, "{}", index.stash.len());
        assert_eq!(index.find(hash(1 << 30), |_| true), None);
    }

    #[test]
    fn what_is_removed_is_gone_and_its_room_is_used_again() {
        let limit = 5_000;
        let mut index = Index::new(limit);
        (0..limit as u32).for_each(|n| index.insert(hash(n), n, hash).unwrap());
        for round in 1..20u32 {
            for n in 0..limit as u32 {
                let old = n + (round - 1) * limit as u32;
                index.remove(hash(old), old);
                assert_eq!(index.find(hash(old), |slot| slot == old), None);
                let new = n + round * limit as u32;
                index.insert(hash(new), new, hash).unwrap();
            }
            assert_eq!(index.len, limit);
        }
        assert_eq!(index.buckets.len(), index.limit);
    }

    #[test]
    fn equal_hashes_fill_two_buckets_and_the_stash_and_are_then_refused() {
        let mut index = Index::new(1 << 16);
        let same = |_| 0x1234_5678_9abc_def1;
        let room = (0..1000).take_while(|&n| index.insert(same(n), n, same).is_ok()).count();
        assert_eq!(room, 2 * WAYS + STASH);
        assert_eq!(index.find(same(0), |slot| slot == 70), Some(70));
        (0..room as u32).for_each(|n| index.remove(same(n), n));
        assert_eq!(index.len, 0);
    }

    #[test]
    fn every_way_is_found_by_its_tag() {
        let mut bucket = Bucket::default();
        for way in 0..WAYS {
            bucket.set(way, (0x8000 + 0x101 * way as u16, 7), 1);
        }
        for way in 0..WAYS {
            assert_ne!(bucket.fitting(0x8000 + 0x101 * way as u16) & 1 << way, 0);
        }
        assert_eq!(bucket.fitting(0x1234), 0);
    }

    #[test]
    fn seeds_give_different_words() {
        let (a, b) = (format!("{:?}", Seed::new(1)), format!("{:?}", Seed::new(2)));
        assert_ne!(a, b);
    }
}
