//! The forwarding database of one switch: which address is behind which port.
//!
//! A [`table`] sized once from the limit to a load of a quarter, so that it neither grows nor stalls: eight cells bound
//! every search, whatever addresses a guest makes up. Each port has a list of its learned addresses by last use
//! ([`lists`]). Time is coarse: an address is moved to the front of its list at most once a second, so a busy address
//! costs one comparison a packet.
//!
//! At the limit the longest unused address of the port that holds the most makes room: whoever floods the table with
//! addresses displaces his own. Static addresses count against no limit, never age, and are found by the same search.

mod lists;
mod table;

use weir_wire::{MacAddr, PortId, Vid};

use lists::Lists;
use table::Table;

/// More than this is not stored, whatever the configuration says: 4 Mi addresses (about 400 MiB).
const LIMIT_MAX: usize = 1 << 22;
/// Cells for each address.
const CELLS: usize = 4;
/// Ports that are remembered for having lost an address.
const LOST_MAX: usize = 16;
/// Marks a value as static.
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
    /// The same, and it was behind another port before.
    Moved(PortId),
    /// It is configured on another port.
    Elsewhere,
}

#[derive(Debug)]
pub(crate) struct Fdb {
    table: Table,
    lists: Lists,
    /// Cells of static addresses.
    statics: Vec<usize>,
    ageing_s: u32,
    stats: FdbStats,
    lost: Lost,
}

/// Ports at which an address was lost, where somebody wants to know.
#[derive(Debug, Default)]
struct Lost {
    wanted: bool,
    ports: Vec<PortId>,
    /// There were more.
    more: bool,
}

impl Lost {
    fn note(&mut self, port: PortId) {
        if !self.wanted || self.ports.contains(&port) {
            return;
        }
        if self.ports.len() < LOST_MAX {
            self.ports.push(port);
        } else {
            self.more = true;
        }
    }
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

impl Fdb {
    /// An empty table for up to `limit` learned addresses besides `statics` configured ones.
    pub fn new(seed: u64, limit: usize, statics: usize, ageing_s: u32) -> Fdb {
        let limit = limit.min(LIMIT_MAX);
        let table = Table::new(seed, (limit + statics.min(LIMIT_MAX)) * CELLS);
        let lists = Lists::new(table.cells());
        Fdb {
            table,
            lists,
            statics: Vec::new(),
            ageing_s,
            stats: FdbStats { limit, ..FdbStats::default() },
            lost: Lost::default(),
        }
    }

    pub fn stats(&self) -> FdbStats {
        self.stats
    }

    /// Cells fit this many addresses of both kinds at the load the table is made for.
    pub fn room(&self) -> usize {
        self.table.cells() / CELLS
    }

    pub fn set_ageing(&mut self, ageing_s: u32) {
        self.ageing_s = ageing_s;
    }

    /// The port behind which an address is.
    #[inline]
    pub fn lookup(&self, now_s: u32, vid: Vid, mac: MacAddr) -> Option<PortId> {
        let value = self.table.value(self.table.find(key(vid, mac))?);
        (value & STATIC != 0 || !self.is_old(now_s, value)).then_some(port_of(value))
    }

    /// Whether `mac` may send from `port`.
    #[inline]
    pub fn check(&self, vid: Vid, mac: MacAddr, port: PortId) -> Source {
        match self.table.find(key(vid, mac)).map(|cell| self.table.value(cell)) {
            Some(value) if value & STATIC != 0 && port_of(value) != port => Source::Elsewhere,
            Some(_) | None => Source::Welcome,
        }
    }

    /// Learns that `mac` sends from `port`, of which at most `port_limit` addresses are learned (0: as many as fit).
    #[inline]
    pub fn learn(&mut self, now_s: u32, vid: Vid, mac: MacAddr, port: PortId, port_limit: usize) -> Source {
        let key = key(vid, mac);
        let Some(cell) = self.table.find(key) else {
            self.add(now_s, key, port, port_limit);
            return Source::Welcome;
        };
        let known = self.table.value(cell);
        if known == value(now_s, port) {
            return Source::Welcome;
        }
        if known & STATIC != 0 {
            return if port_of(known) == port { Source::Welcome } else { Source::Elsewhere };
        }
        let before = port_of(known);
        let moves = before != port && !self.is_old(now_s, known);
        if before != port {
            self.stats.moves += u64::from(moves);
            self.lost.note(before);
            self.make_room_on(port, port_limit);
        }
        self.lists.unlink(cell, before);
        self.table.set_value(cell, value(now_s, port));
        self.lists.link(cell, port);
        if moves { Source::Moved(before) } else { Source::Welcome }
    }

    /// Keeps a source address from ageing that sends from `port` without being shown; one that is elsewhere by now stays
    /// there.
    pub fn keep(&mut self, now_s: u32, vid: Vid, mac: MacAddr, port: PortId, port_limit: usize) {
        let known = self.table.find(key(vid, mac)).map(|cell| port_of(self.table.value(cell)));
        if known.is_none_or(|known| known == port) {
            self.learn(now_s, vid, mac, port, port_limit);
        }
    }

    /// Remembers from here on at which ports addresses are lost, or no longer.
    pub fn watch(&mut self, wanted: bool) {
        if self.lost.wanted != wanted {
            self.lost = Lost { wanted, ..Lost::default() };
        }
    }

    /// Puts into `ports` those at which an address was lost since the last call. `true`: there were more.
    pub fn take_lost(&mut self, ports: &mut Vec<PortId>) -> bool {
        ports.append(&mut self.lost.ports);
        std::mem::take(&mut self.lost.more)
    }

    /// Configures an address; `false` where eight others stand in its place and the table must be made larger.
    pub fn set_static(&mut self, vid: Vid, mac: MacAddr, port: PortId) -> bool {
        let key = key(vid, mac);
        if let Some(cell) = self.table.find(key) {
            self.remove(cell);
        }
        let Some(cell) = self.place(key) else { return false };
        self.table.set(cell, key, value(0, port) | STATIC);
        self.statics.push(cell);
        true
    }

    /// Forgets what was learned from a port.
    pub fn flush_port(&mut self, port: PortId) {
        // Also where all its addresses are static: it may have been blocked.
        self.lost.note(port);
        while let Some(cell) = self.lists.oldest(port) {
            self.remove(cell);
        }
    }

    /// Forgets what was learned.
    pub fn flush(&mut self) {
        for port in self.lists.ports() {
            self.flush_port(port);
        }
    }

    /// Forgets up to `budget` addresses whose time is over.
    pub fn age(&mut self, now_s: u32, budget: usize) {
        let mut budget = budget;
        for port in self.lists.ports() {
            while let Some(cell) = self.lists.oldest(port) {
                if budget == 0 || !self.is_old(now_s, self.table.value(cell)) {
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
        let oldest = self.lists.ports().filter_map(|port| self.lists.oldest(port));
        oldest.map(|cell| stamp_of(self.table.value(cell)).saturating_add(self.ageing_s)).min()
    }

    /// All addresses, in order of VLAN and address.
    pub fn entries(&self, now_s: u32) -> Vec<FdbEntry> {
        let learned = self.lists.ports().flat_map(|port| self.lists.cells(port));
        let cells = self.statics.iter().copied().chain(learned).map(|cell| self.table.get(cell));
        let valid = cells.filter(|&(_, value)| value & STATIC != 0 || !self.is_old(now_s, value));
        let entry = |(key, value): (u64, u64)| {
            let (vid, mac) = unpack(key);
            let is_static = value & STATIC != 0;
            let age_s = if is_static { 0 } else { now_s.saturating_sub(stamp_of(value)) };
            FdbEntry { vid, mac, port: port_of(value), is_static, age_s }
        };
        let mut entries: Vec<FdbEntry> = valid.map(entry).collect();
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

    fn add(&mut self, now_s: u32, key: u64, port: PortId, port_limit: usize) {
        if self.stats.limit == 0 {
            return;
        }
        self.make_room_on(port, port_limit);
        if self.stats.learned >= self.stats.limit {
            self.evict(self.lists.longest().and_then(|port| self.lists.oldest(port)));
        }
        // Eight static addresses in its place: it stays unknown, and is flooded to.
        let Some(cell) = self.place(key) else { return };
        self.table.set(cell, key, value(now_s, port));
        self.lists.link(cell, port);
        self.stats.learned += 1;
    }

    /// Keeps a port within its own limit when it is about to get one address more.
    fn make_room_on(&mut self, port: PortId, port_limit: usize) {
        if port_limit != 0 && self.lists.count(port) >= port_limit {
            self.evict(self.lists.oldest(port));
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
        if let Some(cell) = self.table.places(key).find(|&cell| self.table.is_free(cell)) {
            return Some(cell);
        }
        let learned = self.table.places(key).filter(|&cell| self.table.value(cell) & STATIC == 0);
        let oldest = learned.min_by_key(|&cell| stamp_of(self.table.value(cell)));
        self.evict(oldest);
        oldest
    }

    fn remove(&mut self, cell: usize) {
        let value = self.table.value(cell);
        self.lost.note(port_of(value));
        if value & STATIC == 0 {
            self.lists.unlink(cell, port_of(value));
            self.stats.learned -= 1;
        } else {
            self.statics.retain(|&other| other != cell);
        }
        self.table.set(cell, 0, 0);
    }
}
