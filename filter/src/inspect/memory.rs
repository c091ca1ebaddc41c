//! What all flows of one engine share: the bytes of streams held, their bounds, and room to work in.

use std::ops::RangeInclusive;
use std::sync::Arc;

use weir_wire::{Instant, PortId};

use super::told::Store;
use crate::app::Settings;
use crate::app::http1::Options;
use crate::capture::announced::Announced;
use crate::decode::Decoder;
use crate::detect::Shared;
use crate::detect::sets::Sets;
use crate::event::Tells;

/// Buffers of streams that have ended which are kept for others, of so many bytes each.
const SPARES: usize = 64;
const SPARE: RangeInclusive<usize> = 4 << 10..=64 << 10;

/// The bytes of stream data held for all flows of one engine, and their bounds. While more than half of all is held, a
/// port may not hold more than its share, so that what one guest leaves unread takes no memory from the others.
#[derive(Debug)]
pub struct StreamMemory {
    /// Bytes held at present.
    pub used: usize,
    /// Bound for all flows.
    pub limit: usize,
    /// Bound for one direction of one flow.
    pub per_direction: usize,
    /// Packets refused because a rule that drops could not be decided within its bound on work.
    pub undecided: u64,
    /// Steps that searches and checks have taken, of about 64 bytes each.
    pub work: u64,
    /// Alerts.
    pub alerts: u64,
    /// Bytes held by the port that sent them.
    by_port: Vec<usize>,
    /// Ports that hold something.
    holders: usize,
    /// What detection keeps for all flows.
    pub(super) shared: Shared,
    /// Bytes of a stream without its urgent ones.
    pub(super) text: Vec<u8>,
    /// Buffers of streams that have ended.
    spares: Vec<Vec<u8>>,
    /// What is told beside bare alerts.
    tells: Tells,
    /// Somebody reads what flows speak.
    is_read: bool,
    /// Flows that others have announced.
    pub(super) announced: Announced,
    /// Takes packets apart for rules on what is odd about them.
    pub(super) decoder: Option<Box<Decoder>>,
    /// The parsers' settings for flows whose files are searched, and those that they were made of.
    scanning: Option<(Arc<Settings>, Arc<Settings>)>,
}

impl StreamMemory {
    /// Nothing held; bounds in bytes, for all flows and for one direction of one.
    pub fn new(limit: usize, per_direction: usize) -> StreamMemory {
        // Bodies are judged part by part: what waited for its minimum would be delivered before.
        let http = Options { inline: true, ..Options::default() };
        StreamMemory {
            used: 0,
            limit,
            per_direction,
            undecided: 0,
            work: 0,
            alerts: 0,
            by_port: Vec::new(),
            holders: 0,
            // Digests are computed where a rule or the operator asks for them: see `renew`.
            shared: Shared::new(Settings { http, hash_files: false, ..Settings::default() }, true),
            text: Vec::new(),
            spares: Vec::new(),
            tells: Tells::default(),
            is_read: true,
            announced: Announced::default(),
            decoder: None,
            scanning: None,
        }
    }

    /// Takes up the sets of new rule sets, and what is told from now on. `stores`: a rule wants files stored. A set that was there before, by name, keeps
    /// what rules have put into it.
    pub fn renew<'s>(&mut self, sets: impl Iterator<Item = &'s Sets>, tells: Tells, stores: bool) {
        let mut fresh = Sets::default();
        sets.for_each(|sets| fresh.join(sets));
        let digests = tells.digests || fresh.has_lists();
        let old = std::mem::take(self.shared.sets());
        fresh.take_over(old);
        *self.shared.sets() = fresh;
        self.tells = tells;
        let keep_files = if stores { tells.stored_bytes } else { 0 };
        if (self.shared.settings.hash_files, self.shared.settings.keep_files) != (digests, keep_files) {
            let settings = Settings { hash_files: digests, keep_files, ..Settings::clone(&self.shared.settings) };
            self.shared.settings = Arc::new(settings);
        }
    }

    /// Whether anybody reads what flows speak, transactions and files: where nobody does, none is written.
    pub fn set_read(&mut self, is_read: bool) {
        self.is_read = is_read;
    }

    /// What is told beside bare alerts, and read.
    pub(super) fn tells(&self) -> Tells {
        if self.is_read { self.tells } else { Tells { transactions: false, files: false, ..self.tells } }
    }

    /// The sets that rules ask and fill, as they stand.
    pub fn sets(&self) -> &Sets {
        self.shared.known_sets()
    }

    /// Takes over what the flows of another one hold and have announced, with what was counted. The bounds may be passed
    /// until flows end.
    pub fn adopt(&mut self, other: &mut StreamMemory) {
        for (port, held) in (0..).zip(std::mem::take(&mut other.by_port)) {
            self.change(PortId(port), 0, held);
        }
        self.undecided += other.undecided;
        self.work += other.work;
        self.alerts += other.alerts;
        self.shared.overflows += other.shared.overflows;
        self.announced.adopt(&mut other.announced);
    }

    /// Matches that were not judged further for want of room.
    pub fn overflows(&self) -> u64 {
        self.shared.overflows
    }

    /// What takes files that are to be stored; `None` where none is.
    pub(super) fn store(&self) -> Option<Store> {
        let shared = &self.shared;
        (shared.settings.keep_files > 0).then(|| Store { kept: Arc::clone(shared.kept()), limit: shared.keep_limit })
    }

    /// So many files found no room on their way to be stored.
    pub(crate) fn refuse_files(&mut self, count: u64) {
        self.shared.keeps_refused += count;
    }

    /// Files that were not stored for want of room.
    pub fn files_refused(&self) -> u64 {
        self.shared.keeps_refused
    }

    /// The parsers' settings for flows whose files are searched.
    pub(super) fn scanning(&mut self) -> Arc<Settings> {
        let plain = &self.shared.settings;
        match &self.scanning {
            Some((of, scanning)) if Arc::ptr_eq(of, plain) => Arc::clone(scanning),
            _ => {
                let scanning = Arc::new(Settings { scan_files: true, ..Settings::clone(plain) });
                self.scanning = Some((Arc::clone(plain), Arc::clone(&scanning)));
                scanning
            }
        }
    }

    /// Where what each rule costs is counted.
    pub(crate) fn profile(&mut self) -> &mut Option<Box<crate::detect::Profile>> {
        self.shared.profile_mut()
    }

    /// Takes up what parsers have announced.
    pub(super) fn announce(&mut self, now: Instant) {
        if !self.shared.expectations.is_empty() {
            self.announced.add(self.shared.expectations.drain(..), now);
        }
    }

    /// Whether what rules refuse is refused, or only told of.
    pub fn set_enforced(&mut self, enforced: bool) {
        self.shared.inline = enforced;
    }

    /// Whether a direction that holds `live` bytes sent by `port` may hold `more`.
    pub(super) fn has_room(&self, port: PortId, live: usize, more: usize) -> bool {
        let (all, own) = (self.used.saturating_add(more), self.held_by(port).saturating_add(more));
        live.saturating_add(more) <= self.per_direction
            && all <= self.limit
            && (all <= self.limit / 2 || own <= self.limit / (self.holders + 1))
    }

    /// Whether a direction that holds nothing and is sent by `port` may hold so much.
    pub fn has_room_for(&self, port: PortId, bytes: usize) -> bool {
        self.has_room(port, 0, bytes)
    }

    /// A buffer for a stream that begins, at hand still and large enough for most where one has been given.
    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        self.spares.pop().unwrap_or_default()
    }

    /// Takes the buffer of a stream that has ended.
    pub(super) fn give_buffer(&mut self, mut buffer: Vec<u8>) {
        if self.spares.len() < SPARES && SPARE.contains(&buffer.capacity()) {
            buffer.clear();
            self.spares.push(buffer);
        }
    }

    /// Bytes held that this port sent.
    pub fn held_by(&self, port: PortId) -> usize {
        self.by_port.get(usize::from(port.0)).copied().unwrap_or(0)
    }

    /// What a direction sent by `port` holds has changed.
    pub(super) fn change(&mut self, port: PortId, before: usize, after: usize) {
        self.used = self.used.saturating_sub(before).saturating_add(after);
        let index = usize::from(port.0);
        if self.by_port.len() <= index {
            self.by_port.resize(index + 1, 0);
        }
        let Some(held) = self.by_port.get_mut(index) else { return };
        let held_before = *held;
        *held = held.saturating_sub(before).saturating_add(after);
        match (held_before, *held) {
            (0, 1..) => self.holders += 1,
            (1.., 0) => self.holders = self.holders.saturating_sub(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PortId = PortId(3);
    const B: PortId = PortId(900);

    #[test]
    fn a_few_buffers_of_common_sizes_are_used_again() {
        let mut memory = StreamMemory::new(1000, 600);
        assert_eq!(memory.take_buffer().capacity(), 0);
        for size in [0, 100, 64 << 20] {
            memory.give_buffer(Vec::with_capacity(size));
        }
        assert_eq!(memory.take_buffer().capacity(), 0, "neither small ones nor large ones");
        (0..2 * SPARES).for_each(|_| memory.give_buffer(vec![7; 8 << 10]));
        let again = (0..).map_while(|_| Some(memory.take_buffer()).filter(|buffer| buffer.capacity() > 0));
        let again: Vec<Vec<u8>> = again.collect();
        assert_eq!(again.len(), SPARES);
        assert!(again.iter().all(Vec::is_empty));
    }

    #[test]
    fn one_port_may_fill_half_and_leaves_the_rest_to_others() {
        let mut memory = StreamMemory::new(1000, 600);
        memory.change(A, 0, 500);
        assert!(!memory.has_room(A, 0, 1));
        assert!(memory.has_room(B, 0, 300));
        memory.change(B, 0, 300);
        assert!(!memory.has_room(B, 0, 100));
        memory.change(A, 500, 0);
        assert!(memory.has_room(B, 0, 100));
        memory.change(B, 300, 0);
        assert_eq!((memory.used, memory.holders, memory.held_by(B)), (0, 0, 0));
        assert!(!memory.has_room(A, 590, 20));
        assert!(!memory.has_room(A, 0, 1001));
    }
}
