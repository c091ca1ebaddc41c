//! The forwarding database of one switch: which address is behind which port.
//!
//! A table of buckets of four cells, sized once from the limit to a load of a quarter, so that it neither grows nor
//! stalls. An address may stand in two buckets, named by a keyed hash: eight cells bound every search, whatever
//! addresses a guest makes up. Each port has a list of its learned addresses by last use, which makes ageing, eviction
//! and flushing steps of constant cost. Time is coarse: an address is moved to the front of its list at most once a
//! second, so a busy address costs one comparison a packet.
//!
//! At the limit the longest unused address of the port that holds the most makes room: whoever floods the table with
//! addresses displaces his own. Static addresses count against no limit, never age, and are found by the same search.

use weir_wire::{MacAddr, PortId, Vid};

/// Cells of a bucket.
const WAYS: usize = 4;
/// More than this is not stored, whatever the configuration says: 4 Mi addresses (about 400 MiB).
const LIMIT_MAX: usize = 1 << 22;
/// Marks a cell as static.
const STATIC: u64 = 1 << 16;

/// A learned or static address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdbEntry {
    /// VLAN.
    pub vid: Vid,
    /// Address.
    pub mac: MacAddr,
    /// Port.
    pub port: PortId,
    /// Configured, not learned.
    pub is_static: bool,
    /// Seconds since it was last seen; 0 for static ones.
    pub age_s: u32,
}

/// What a switch's forwarding database has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FdbStats {
    /// Addresses learned and not forgotten.
    pub learned: usize,
    /// Learned addresses at most.
    pub limit: usize,
    /// Learned addresses that appeared behind another port.
    pub moves: u64,
    /// Learned addresses that made room for another before their time.
    pub evicted: u64,
    /// Learned addresses that aged out.
    pub aged: u64,
}

/// What the database knows of a source address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// It may send from here.
    Welcome,
    /// It is configured on another port.
    Elsewhere,
}

/// Addresses of one port by last use. Cells are named by their number plus one; 0 is none.
#[derive(Clone, Copy, Debug, Default)]
struct List {
    newest: u32,
    oldest: u32,
    count: u32,
}

/// Neighbours of a cell in its port's list.
const NEWER: usize = 0;
const OLDER: usize = 1;

#[derive(Debug)]
pub(crate) struct Fdb {
    /// Four keys, then their four values. Plain numbers, so that the allocator hands out untouched zero pages.
    buckets: Vec<[u64; 2 * WAYS]>,
    links: Vec<[u32; 2]>,
    lists: Vec<List>,
    mask: usize,
    secret: [u64; 2],
    ageing_s: u32,
    stats: FdbStats,
}

/// MAC and VLAN as one number that is never 0: the zero address is no source and is not configured.
#[inline]
fn key(vid: Vid, mac: MacAddr) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    let [v, w] = vid.0.to_be_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, v, w])
}

fn unpack(key: u64) -> (Vid, MacAddr) {
    let [a, b, c, d, e, f, v, w] = key.to_be_bytes();
    (Vid(u16::from_be_bytes([v, w])), MacAddr([a, b, c, d, e, f]))
}

#[inline]
fn value(stamp_s: u32, port: PortId) -> u64 {
    u64::from(stamp_s) << 32 | u64::from(port.0)
}

#[inline]
fn port_of(value: u64) -> PortId {
    PortId(value as u16)
}

#[inline]
fn stamp_of(value: u64) -> u32 {
    (value >> 32) as u32
}

/// One step of SplitMix64: two secrets from one seed.
fn secrets(seed: u64) -> [u64; 2] {
    [1u64, 2].map(|n| {
        let mut z = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

impl Fdb {
    /// An empty table for up to `limit` learned addresses besides `statics` configured ones.
    pub fn new(seed: u64, limit: usize, statics: usize, ageing_s: u32) -> Fdb {
        let limit = limit.min(LIMIT_MAX);
        let cells = (limit + statics.min(LIMIT_MAX)).max(16).next_power_of_two() * 4;
        Fdb {
            buckets: vec![[0; 2 * WAYS]; cells / WAYS],
            links: vec![[0; 2]; cells],
            lists: Vec::new(),
            mask: cells / WAYS - 1,
            secret: secrets(seed),
            ageing_s,
            stats: FdbStats { limit, ..FdbStats::default() },
        }
    }

    pub fn stats(&self) -> FdbStats {
        self.stats
    }

    /// Cells fit this many addresses of both kinds at the load the table is made for.
    pub fn room(&self) -> usize {
        self.links.len() / 4
    }

    pub fn set_ageing(&mut self, ageing_s: u32) {
        self.ageing_s = ageing_s;
    }

    /// The port behind which an address is.
    #[inline]
    pub fn lookup(&self, now_s: u32, vid: Vid, mac: MacAddr) -> Option<PortId> {
        let value = self.value_at(self.find(key(vid, mac))?);
        (value & STATIC != 0 || !self.is_old(now_s, value)).then_some(port_of(value))
    }

    /// Whether `mac` may send from `port`.
    #[inline]
    pub fn check(&self, vid: Vid, mac: MacAddr, port: PortId) -> Source {
        match self.find(key(vid, mac)).map(|cell| self.value_at(cell)) {
            Some(value) if value & STATIC != 0 && port_of(value) != port => Source::Elsewhere,
            Some(_) | None => Source::Welcome,
        }
    }

    /// Learns that `mac` sends from `port`, of which at most `port_limit` addresses are learned (0: as many as fit).
    #[inline]
    pub fn learn(&mut self, now_s: u32, vid: Vid, mac: MacAddr, port: PortId, port_limit: usize) -> Source {
        let key = key(vid, mac);
        let Some(cell) = self.find(key) else {
            self.add(now_s, key, port, port_limit);
            return Source::Welcome;
        };
        let known = self.value_at(cell);
        if known == value(now_s, port) {
            return Source::Welcome;
        }
        if known & STATIC != 0 {
            return if port_of(known) == port { Source::Welcome } else { Source::Elsewhere };
        }
        if port_of(known) != port {
            self.stats.moves += u64::from(!self.is_old(now_s, known));
            self.make_room_on(port, port_limit);
        }
        self.unlink(cell);
        self.set_value(cell, value(now_s, port));
        self.link(cell, port);
        Source::Welcome
    }

    /// Configures an address; `false` where eight others stand in its place and the table must be made larger.
    pub fn set_static(&mut self, vid: Vid, mac: MacAddr, port: PortId) -> bool {
        let key = key(vid, mac);
        if let Some(cell) = self.find(key) {
            self.remove(cell);
        }
        let Some(cell) = self.place(key) else { return false };
        self.set(cell, key, value(0, port) | STATIC);
        true
    }

    /// Forgets what was learned from a port.
    pub fn flush_port(&mut self, port: PortId) {
        while let Some(cell) = self.oldest(port) {
            self.remove(cell);
        }
    }

    /// Forgets what was learned.
    pub fn flush(&mut self) {
        for port in 0..self.lists.len() {
            self.flush_port(PortId(port as u16));
        }
    }

    /// Forgets up to `budget` addresses whose time is over.
    pub fn age(&mut self, now_s: u32, budget: usize) {
        let mut budget = budget;
        for port in 0..self.lists.len() {
            while let Some(cell) = self.oldest(PortId(port as u16)) {
                if budget == 0 || !self.is_old(now_s, self.value_at(cell)) {
                    break;
                }
                self.remove(cell);
                self.stats.aged += 1;
                budget -= 1;
            }
        }
    }

    /// The second at which the next address ages out.
    pub fn next_age_s(&self) -> Option<u32> {
        if self.ageing_s == 0 {
            return None;
        }
        let oldest = (0..self.lists.len()).filter_map(|port| self.oldest(PortId(port as u16)));
        oldest.map(|cell| stamp_of(self.value_at(cell)).saturating_add(self.ageing_s)).min()
    }

    /// All addresses, in order of VLAN and address.
    pub fn entries(&self, now_s: u32) -> Vec<FdbEntry> {
        let cells = self.buckets.iter().flat_map(|bucket| {
            let (keys, values) = bucket.split_at(WAYS);
            keys.iter().zip(values).filter(|(key, _)| **key != 0)
        });
        let valid = cells.filter(|(_, value)| **value & STATIC != 0 || !self.is_old(now_s, **value));
        let mut entries: Vec<FdbEntry> = valid
            .map(|(&key, &value)| {
                let (vid, mac) = unpack(key);
                let is_static = value & STATIC != 0;
                let age_s = if is_static { 0 } else { now_s.saturating_sub(stamp_of(value)) };
                FdbEntry { vid, mac, port: port_of(value), is_static, age_s }
            })
            .collect();
        entries.sort_unstable_by_key(|entry| (entry.vid, entry.mac));
        entries
    }

    /// Learns again what another table had learned, oldest first. For a table made anew with other limits.
    pub fn adopt(&mut self, now_s: u32, old: &Fdb) {
        let mut entries = old.entries(now_s);
        entries.retain(|entry| !entry.is_static);
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.age_s));
        for FdbEntry { vid, mac, port, age_s, .. } in entries {
            self.learn(now_s - age_s, vid, mac, port, 0);
        }
        let FdbStats { learned, limit, .. } = self.stats;
        self.stats = FdbStats { learned, limit, ..old.stats };
    }

    #[inline]
    fn is_old(&self, now_s: u32, value: u64) -> bool {
        self.ageing_s != 0 && now_s.saturating_sub(stamp_of(value)) >= self.ageing_s
    }

    /// The two buckets of a key, by a folded multiplication with secrets.
    #[inline]
    fn homes(&self, key: u64) -> [usize; 2] {
        let wide = u128::from(key ^ self.secret[0]) * u128::from(self.secret[1] | 1);
        let hash = (wide as u64) ^ ((wide >> 64) as u64);
        [hash as usize & self.mask, (hash >> 32) as usize & self.mask]
    }

    #[inline]
    fn find(&self, key: u64) -> Option<usize> {
        for home in self.homes(key) {
            let keys = self.buckets.get(home).and_then(|bucket| bucket.first_chunk::<WAYS>())?;
            if let Some(way) = keys.iter().position(|&k| k == key) {
                return Some(home * WAYS + way);
            }
        }
        None
    }

    #[inline]
    fn value_at(&self, cell: usize) -> u64 {
        self.buckets.get(cell / WAYS).and_then(|b| b.get(WAYS + cell % WAYS)).copied().unwrap_or(0)
    }

    #[inline]
    fn set_value(&mut self, cell: usize, value: u64) {
        if let Some(place) = self.buckets.get_mut(cell / WAYS).and_then(|b| b.get_mut(WAYS + cell % WAYS)) {
            *place = value;
        }
    }

    fn set(&mut self, cell: usize, key: u64, value: u64) {
        if let Some(place) = self.buckets.get_mut(cell / WAYS).and_then(|b| b.get_mut(cell % WAYS)) {
            *place = key;
        }
        self.set_value(cell, value);
    }

    fn add(&mut self, now_s: u32, key: u64, port: PortId, port_limit: usize) {
        if self.stats.limit == 0 {
            return;
        }
        self.make_room_on(port, port_limit);
        if self.stats.learned >= self.stats.limit {
            let fullest = (0..self.lists.len()).max_by_key(|&p| self.lists.get(p).map_or(0, |list| list.count));
            self.evict(fullest.and_then(|port| self.oldest(PortId(port as u16))));
        }
        // Eight static addresses in its place: it stays unknown, and is flooded to.
        let Some(cell) = self.place(key) else { return };
        self.set(cell, key, value(now_s, port));
        self.link(cell, port);
        self.stats.learned += 1;
    }

    /// Keeps a port within its own limit when it is about to get one address more.
    fn make_room_on(&mut self, port: PortId, port_limit: usize) {
        let count = self.lists.get(usize::from(port.0)).map_or(0, |list| list.count as usize);
        if port_limit != 0 && count >= port_limit {
            self.evict(self.oldest(port));
        }
    }

    fn evict(&mut self, cell: Option<usize>) {
        if let Some(cell) = cell {
            self.remove(cell);
            self.stats.evicted += 1;
        }
    }

    /// A free cell for a key: the longest unused of its eight is evicted where none is free.
    fn place(&mut self, key: u64) -> Option<usize> {
        let cells = self.homes(key).map(|home| home * WAYS..(home + 1) * WAYS);
        let free = |cell: &usize| self.buckets.get(cell / WAYS).and_then(|b| b.get(cell % WAYS)) == Some(&0);
        if let Some(cell) = cells.clone().into_iter().flatten().find(free) {
            return Some(cell);
        }
        let learned = cells.into_iter().flatten().filter(|&cell| self.value_at(cell) & STATIC == 0);
        let oldest = learned.min_by_key(|&cell| stamp_of(self.value_at(cell)));
        self.evict(oldest);
        oldest
    }

    fn remove(&mut self, cell: usize) {
        if self.value_at(cell) & STATIC == 0 {
            self.unlink(cell);
            self.stats.learned -= 1;
        }
        self.set(cell, 0, 0);
    }

    fn oldest(&self, port: PortId) -> Option<usize> {
        let oldest = self.lists.get(usize::from(port.0))?.oldest;
        (oldest as usize).checked_sub(1)
    }

    /// Puts a cell at the newest end of a port's list.
    fn link(&mut self, cell: usize, port: PortId) {
        let index = usize::from(port.0);
        if index >= self.lists.len() {
            self.lists.resize(index + 1, List::default());
        }
        let name = cell as u32 + 1;
        let Some(list) = self.lists.get_mut(index) else { return };
        let next = std::mem::replace(&mut list.newest, name);
        list.count += 1;
        if next == 0 {
            list.oldest = name;
        }
        self.set_neighbour(name, NEWER, 0);
        self.set_neighbour(name, OLDER, next);
        self.set_neighbour(next, NEWER, name);
    }

    /// Takes a cell out of the list of the port its value names.
    fn unlink(&mut self, cell: usize) {
        let Some(&[newer, older]) = self.links.get(cell) else { return };
        let index = usize::from(port_of(self.value_at(cell)).0);
        if let Some(list) = self.lists.get_mut(index) {
            list.count = list.count.saturating_sub(1);
            if newer == 0 {
                list.newest = older;
            }
            if older == 0 {
                list.oldest = newer;
            }
        }
        self.set_neighbour(newer, OLDER, older);
        self.set_neighbour(older, NEWER, newer);
    }

    fn set_neighbour(&mut self, name: u32, side: usize, to: u32) {
        let cell = (name as usize).checked_sub(1).and_then(|cell| self.links.get_mut(cell));
        if let Some(place) = cell.and_then(|links| links.get_mut(side)) {
            *place = to;
        }
    }
}
