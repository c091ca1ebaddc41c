//! A packed virtqueue as the device sees it (virtio 1.2, 2.8): one ring of descriptors that both sides write.
//!
//! The driver makes a descriptor available, and we say that it is used, by flags in the descriptor itself; which value of
//! the flags means what changes each time around the ring (the *wrap counters*). A used descriptor names its buffer by
//! id and takes the place of the first one of its chain, so chains have to be given back in the order in which they came:
//! otherwise the notice of one would be written over the descriptor of another that is still with us. What lies between
//! our used position and the driver's then comes again by itself after a crash.
//!
//! With IN_ORDER, one used descriptor stands for all of a burst from the guest: that of the last chain, in the place of
//! the first (2.8.6: the driver skips those between).
//!
//! # Safety model
//! *Who owns what:* a descriptor is the driver's until its flags say available, then ours until they say used. *Reads:*
//! the half of a descriptor that holds the flags is read whole, by one atomic load with acquire; when it says available,
//! descriptor and chain are read once more, once each, into values of ours, and nothing is concluded from the first
//! reading but that they are there. *Writes:* a used descriptor is one store of eight bytes. Of a burst the first one
//! is stored last, with release: the driver goes in order and sees none of them before it sees that. *Bounds:* the
//! three areas were proven to lie in one mapping each when the [`PackedRing`] was made; places in the ring are compared
//! with the size; ids too, though nothing of ours is addressed by them. *Fences and life:* as in [`super::split`].

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use super::chain::DESCRIPTORS_MAX;
use super::copy::{LINE, prefetch_write};
use super::descriptor::{self, Descriptor};
use super::dirty_log::DirtyLog;
use super::features::{self, Agreed};
use super::inflight::Note;
use super::memory::GuestMemory;
use super::message::RingAddress;
use super::position::{AVAILABLE, EVENT_ALWAYS, EVENT_AT, EVENT_NEVER, Position, USED};
use super::virtqueue::{Completions, RingFault, SIZE_MAX, SetupFault, Virtqueue};

/// For the device to write; on a used descriptor: its length counts.
const WRITE: u16 = 2;
const EVENT_LEN: usize = 4;
/// What is remembered of a chain between its being looked at and its being completed.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    id: u16,
    entries: u16,
}

/// How far completing has come.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// Where the next used descriptor goes.
    next: Position,
    /// The first used descriptor that the driver has not been shown: its place, and the half with the flags.
    first: Option<(u16, u64)>,
}

/// Writes completions of one burst; see [`Completions`].
#[derive(Debug)]
pub struct PackedCompletions<'a> {
    descriptors: *mut u8,
    size: u16,
    in_order: bool,
    taken: &'a [Taken],
    now: Progress,
    progress: &'a mut Progress,
}

impl Completions for PackedCompletions<'_> {
    #[inline]
    fn put(&mut self, head: u16, len: u32) {
        let Taken { id, entries } = self.taken.get(usize::from(head)).copied().unwrap_or_default();
        let Position { slot, .. } = self.now.next;
        let flags = self.now.next.used() | if len > 0 { WRITE } else { 0 };
        let half = u64::from(len) | u64::from(id) << 32 | u64::from(flags) << 48;
        self.now.next = self.now.next.after(entries, self.size);
        match &mut self.now.first {
            None => self.now.first = Some((slot, half)),
            // What a guest sent has no length to be told: the last one tells of all.
            Some((_, first)) if self.in_order && len == 0 && *first as u32 == 0 => {
                *first = *first & !(0xffff << 32) | u64::from(id) << 32;
            }
            Some(_) => {
                // SAFETY: the place is below the size of the ring that is borrowed meanwhile, so the half lies in its area;
                // it is aligned to 8.
                let place = unsafe { AtomicU64::from_ptr(half_at(self.descriptors, slot)) };
                place.store(half.to_le(), Ordering::Relaxed);
            }
        }
    }
}

impl Drop for PackedCompletions<'_> {
    #[inline]
    fn drop(&mut self) {
        *self.progress = self.now;
    }
}

/// The half of a descriptor that has its flags.
///
/// # Safety
/// `slot` is below the size of the ring at `descriptors`.
#[inline]
unsafe fn half_at(descriptors: *mut u8, slot: u16) -> *mut u64 {
    // SAFETY: the caller vouches for the place.
    unsafe { descriptors.add(usize::from(slot) * descriptor::LEN + 8).cast() }
}

/// A running ring.
#[derive(Debug)]
pub struct PackedRing {
    descriptors: *mut u8,
    driver_event: *mut u8,
    device_event: *mut u8,
    size: u16,
    event_idx: bool,
    indirect: bool,
    in_order: bool,
    /// The next descriptor we take.
    next_available: Position,
    /// Descriptors known to be available, from `next_available` on.
    known: u16,
    /// The place behind them.
    seen: Position,
    progress: Progress,
    /// Where the driver has been shown used descriptors to.
    published: Position,
    /// The used position when we last decided whether to notify; `None` before the first time.
    signalled: Option<Position>,
    /// Something was published since.
    news: bool,
    /// By the place of the first descriptor.
    taken: Vec<Taken>,
    /// The chain that was last looked at, where it has more than one descriptor.
    chain: Vec<Descriptor>,
    /// Guest address of the descriptors and of our event area, where writes are logged.
    log: Option<(u64, u64)>,
    /// Where the place is noted for the next back end.
    note: Option<Note>,
    hint: usize,
}

// SAFETY: the pointers lead to guest memory, which is not bound to a thread; the ring has one owner at a time.
unsafe impl Send for PackedRing {}

impl PackedRing {
    /// A ring of `size` entries at `address`, that goes on at `base`: in the lower half where it takes, in the upper one
    /// where it gives back. Front ends that have only half a word for it leave the upper one out, and both are the same.
    ///
    /// # Errors
    /// [`SetupFault`] where it does not lie in `memory`, or `base` not in it.
    pub fn new(
        memory: &GuestMemory,
        address: RingAddress,
        size: u32,
        base: u32,
        agreed: Agreed,
    ) -> Result<PackedRing, SetupFault> {
        if size == 0 || size > SIZE_MAX {
            return Err(SetupFault::Size(size));
        }
        let n = size as usize;
        let area = |at: u64, len: usize, alignment: usize| {
            let host = memory.translate_user(at, len).ok_or(SetupFault::Outside(at))?;
            if (host as usize).is_multiple_of(alignment) { Ok(host) } else { Err(SetupFault::Alignment(at)) }
        };
        let next_available = Position::unpack(base as u16);
        let next_used = if base >> 16 == 0 { next_available } else { Position::unpack((base >> 16) as u16) };
        for position in [next_available, next_used] {
            if u32::from(position.slot) >= size {
                return Err(SetupFault::Position(position.slot));
            }
        }
        let mut ring = PackedRing {
            descriptors: area(address.descriptors, n * descriptor::LEN, 16)?,
            driver_event: area(address.available, EVENT_LEN, 4)?,
            device_event: area(address.used, EVENT_LEN, 4)?,
            size: size as u16,
            event_idx: agreed.has(features::EVENT_IDX),
            indirect: agreed.has(features::INDIRECT_DESC),
            in_order: agreed.has(features::IN_ORDER),
            next_available,
            known: 0,
            seen: next_available,
            progress: Progress { next: next_used, first: None },
            published: next_used,
            signalled: None,
            news: false,
            taken: vec![Taken::default(); n],
            chain: Vec::new(),
            log: memory.guest_of(address.descriptors).filter(|_| address.logged).map(|at| (at, address.log)),
            note: None,
            hint: 0,
        };
        ring.suppress_kicks(None);
        Ok(ring)
    }

    /// Goes on where an earlier back end has come to, if it noted that, and notes it from now on. Everything is given back
    /// in its order, so that what it had taken beyond that stands in the ring as it did.
    pub(super) fn keep(&mut self, note: Note) {
        if let Some([before, now]) = note.found {
            // Did the driver see what was noted before it was shown?
            let half = u64::from_le(self.half(before.slot).load(Ordering::Acquire));
            let was_shown = (half >> 48) as u16 & (AVAILABLE | USED) == before.used();
            let at = if was_shown { now } else { before };
            (self.next_available, self.seen, self.published, self.progress.next) = (at, at, at, at);
        }
        note.will_be(self.published);
        note.is(self.published);
        self.note = Some(note);
        self.suppress_kicks(None);
    }

    /// Where it goes on after a stop: where it takes in the lower half, where it gives back in the upper one.
    pub fn base(&self) -> u32 {
        u32::from(self.next_available.pack()) | u32::from(self.published.pack()) << 16
    }

    /// Where it stands, for people.
    pub fn describe(&self) -> String {
        format!("packed, at {}, used to {}", self.next_available.slot, self.published.slot)
    }

    /// The half of the descriptor in a place, which is below the size, that has its flags.
    #[inline]
    fn half(&self, slot: u16) -> &AtomicU64 {
        // SAFETY: every caller's `slot` is below the size; halves are aligned to 8, and both sides use this one as a whole.
        unsafe { AtomicU64::from_ptr(half_at(self.descriptors, slot)) }
    }

    #[inline]
    fn is_available(&self, at: Position) -> bool {
        let half = u64::from_le(self.half(at.slot).load(Ordering::Acquire));
        (half >> 48) as u16 & (AVAILABLE | USED) == at.available()
    }

    /// The descriptor in a place, which is below the size.
    #[inline]
    fn read(&self, slot: u16) -> Descriptor {
        // SAFETY: the place lies in the ring's area, whose alignment was checked.
        unsafe { Descriptor::read_packed(self.descriptors.add(usize::from(slot) * descriptor::LEN)) }
    }

    /// Reads a chain of several descriptors to its end; its id and how many they are. Those that no chain may have are
    /// counted and not kept.
    #[cold]
    fn read_chain(&mut self, slot: u16, first: Descriptor) -> Result<Taken, RingFault> {
        self.chain.clear();
        self.chain.push(first);
        let (mut at, mut last) = (Position { slot, wrap: true }, first);
        for entries in 1..=self.size {
            if !last.has_next() {
                return Ok(Taken { id: last.next, entries });
            }
            at = at.after(1, self.size);
            last = self.read(at.slot);
            if self.chain.len() <= DESCRIPTORS_MAX {
                self.chain.push(last);
            }
        }
        Err(RingFault::Loop)
    }

    #[cold]
    fn log_used(&self, log: &DirtyLog, descriptors: u64) {
        let (from, to) = (usize::from(self.published.slot), usize::from(self.progress.next.slot));
        let at = |slot: usize| descriptors.wrapping_add((slot * descriptor::LEN) as u64);
        if self.published.wrap == self.progress.next.wrap {
            log.mark(at(from), (to - from.min(to)) * descriptor::LEN);
        } else {
            log.mark(at(from), (usize::from(self.size) - from) * descriptor::LEN);
            log.mark(at(0), to * descriptor::LEN);
        }
    }

    /// See [`Ring::wants_interrupt`](super::virtqueue::Ring::wants_interrupt).
    #[inline]
    pub fn wants_interrupt(&mut self) -> bool {
        if !std::mem::take(&mut self.news) {
            return false;
        }
        fence(Ordering::SeqCst);
        let before = self.signalled.replace(self.published);
        // SAFETY: the driver's event area was proven to lie in guest memory, aligned to 4.
        let event = u32::from_le(unsafe { AtomicU32::from_ptr(self.driver_event.cast()) }.load(Ordering::Relaxed));
        match (event >> 16) as u16 {
            EVENT_NEVER => false,
            EVENT_AT if self.event_idx => {
                before.is_none_or(|before| self.published.passed(event as u16, before, self.size))
            }
            _ => true,
        }
    }

    /// See [`Ring::request_kicks`](super::virtqueue::Ring::request_kicks).
    ///
    /// # Errors
    /// None of this kind of ring.
    pub fn request_kicks(&mut self, log: Option<&DirtyLog>) -> Result<bool, RingFault> {
        let flags = if self.event_idx { EVENT_AT } else { EVENT_ALWAYS };
        self.announce(flags, log);
        fence(Ordering::SeqCst);
        Ok(self.waiting(1)? > 0)
    }

    /// See [`Ring::suppress_kicks`](super::virtqueue::Ring::suppress_kicks).
    pub fn suppress_kicks(&mut self, log: Option<&DirtyLog>) {
        self.announce(EVENT_NEVER, log);
    }

    fn announce(&mut self, flags: u16, log: Option<&DirtyLog>) {
        let event = u32::from(self.next_available.pack()) | u32::from(flags) << 16;
        // SAFETY: our event area was proven to lie in guest memory, aligned to 4.
        unsafe { AtomicU32::from_ptr(self.device_event.cast()) }.store(event.to_le(), Ordering::Relaxed);
        if let (Some(log), Some((_, at))) = (log, self.log) {
            log.mark(at, EVENT_LEN);
        }
    }
}

impl Virtqueue for PackedRing {
    type Completions<'a> = PackedCompletions<'a>;

    const IN_PLACE: bool = true;

    #[inline]
    fn size(&self) -> u16 {
        self.size
    }

    #[inline]
    fn indirect(&self) -> bool {
        self.indirect
    }

    #[inline]
    fn hint(&mut self) -> &mut usize {
        &mut self.hint
    }

    #[inline]
    fn keeps_order(&self) -> bool {
        true
    }

    #[inline]
    fn has_again(&self) -> bool {
        false
    }

    #[inline]
    fn next_again(&mut self) -> Option<u16> {
        None
    }

    #[inline]
    fn waiting(&mut self, wanted: u16) -> Result<u16, RingFault> {
        let wanted = wanted.min(self.size);
        while self.known < wanted && self.is_available(self.seen) {
            self.known += 1;
            self.seen = self.seen.after(1, self.size);
        }
        Ok(self.known)
    }

    #[inline]
    fn look(&mut self, most: u16, mut each: impl FnMut(u16, Descriptor) -> bool) -> Result<(), RingFault> {
        let mut slot = self.next_available.slot;
        let mut expected = self.next_available.available();
        let most = most.min(self.size);
        // The guest has just written them, and they will be written as used: all lines are on their way before the first
        // is waited for.
        for ahead in (0..most).step_by(LINE / descriptor::LEN) {
            let slot = self.next_available.after(ahead, self.size).slot;
            prefetch_write(self.descriptors.wrapping_add(usize::from(slot) * descriptor::LEN));
        }
        for _ in 0..most {
            let half = u64::from_le(self.half(slot).load(Ordering::Acquire));
            let (flags, id) = ((half >> 48) as u16, (half >> 32) as u16);
            if flags & (AVAILABLE | USED) != expected {
                break;
            }
            // SAFETY: the place lies in the ring's area, whose alignment was checked.
            let address = u64::from_le(unsafe {
                self.descriptors.add(usize::from(slot) * descriptor::LEN).cast::<u64>().read_volatile()
            });
            let descriptor = Descriptor { address, len: half as u32, flags, next: id };
            // A chain's id stands in its last descriptor; it is read, whole, by `first`.
            let goes_on = descriptor.has_next();
            if id >= self.size && !goes_on {
                return Err(RingFault::DescriptorIndex { index: id, size: self.size });
            }
            if let Some(place) = self.taken.get_mut(usize::from(slot)) {
                *place = Taken { id, entries: 1 };
            }
            if !each(slot, descriptor) || goes_on {
                break;
            }
            slot += 1;
            if slot == self.size {
                (slot, expected) = (0, expected ^ (AVAILABLE | USED));
            }
        }
        Ok(())
    }

    #[inline]
    fn head(&self, ahead: u16) -> Result<u16, RingFault> {
        Ok(self.next_available.after(ahead, self.size).slot)
    }

    #[inline]
    fn first(&mut self, head: u16) -> Result<Descriptor, RingFault> {
        if head >= self.size {
            return Err(RingFault::DescriptorIndex { index: head, size: self.size });
        }
        let first = self.read(head);
        let taken = if first.has_next() { self.read_chain(head, first)? } else { Taken { id: first.next, entries: 1 } };
        if taken.id >= self.size {
            return Err(RingFault::DescriptorIndex { index: taken.id, size: self.size });
        }
        if let Some(place) = self.taken.get_mut(usize::from(head)) {
            *place = taken;
        }
        Ok(first)
    }

    #[inline]
    fn following(&self, _: Descriptor, count: usize) -> Result<Descriptor, RingFault> {
        self.chain.get(count).copied().ok_or(RingFault::Loop)
    }

    #[inline]
    fn entries(&self, head: u16) -> u16 {
        self.taken.get(usize::from(head)).map_or(1, |taken| taken.entries)
    }

    #[inline]
    fn take(&mut self, n: u16) {
        self.next_available = self.next_available.after(n, self.size);
        match self.known.checked_sub(n) {
            Some(left) => self.known = left,
            // A chain whose later descriptors do not say that they are available.
            None => (self.known, self.seen) = (0, self.next_available),
        }
    }

    #[inline]
    fn completing(&mut self) -> PackedCompletions<'_> {
        PackedCompletions {
            descriptors: self.descriptors,
            size: self.size,
            in_order: self.in_order,
            taken: &self.taken,
            now: self.progress,
            progress: &mut self.progress,
        }
    }

    #[inline]
    fn publish(&mut self, log: Option<&DirtyLog>) {
        let Some((slot, half)) = self.progress.first.take() else { return };
        if let (Some(log), Some((descriptors, _))) = (log, self.log) {
            self.log_used(log, descriptors);
        }
        if let Some(note) = &self.note {
            note.will_be(self.progress.next);
        }
        self.half(slot).store(half.to_le(), Ordering::Release);
        self.published = self.progress.next;
        if let Some(note) = &self.note {
            note.is(self.published);
        }
        self.news = true;
    }
}
