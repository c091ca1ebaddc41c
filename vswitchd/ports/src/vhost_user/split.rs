//! A split virtqueue as the device sees it (virtio 1.2, 2.7): indices, entries, notifications.
//!
//! # Safety model
//! *Who owns what:* the driver owns the descriptor table and the available ring, we own the used ring; each side reads
//! the other's part while it changes. *Reads:* every field is read once, by a volatile or atomic read, into a local that
//! is then checked; nothing read here is read again. *Bounds:* the three areas were proven to lie in one mapping each
//! when the [`SplitRing`] was made, entries are addressed by an index masked with the size (a power of two), and descriptor
//! indices are compared with the size. *Fences:* the driver's index is loaded with acquire before the entries it
//! covers, our index is stored with release after the entries it covers; between publishing and asking whether to
//! notify, and between asking for notifications and looking for work, stands a full fence (2.7.10, 2.7.13), since a
//! store must not pass a later load there. *Life:* the pointers live as long as the guest memory they came from; the
//! session drops every ring before it changes the memory.
//!
//! A hostile driver can make us see any index, length and address. The worst it gets is its own ring stopped
//! ([`RingFault`]) or its own frames dropped.

use std::sync::atomic::{AtomicU16, Ordering, fence};

use super::copy::{LINE, prefetch, prefetch_write};
use super::descriptor::{self, Descriptor};
use super::dirty_log::DirtyLog;
use super::features::{self, Agreed};
use super::memory::GuestMemory;
use super::message::RingAddress;
use super::virtqueue::{Completions, RingFault, SIZE_MAX, SetupFault, Virtqueue};

/// In the available ring's flags: the driver wants no interrupt.
const NO_INTERRUPT: u16 = 1;
/// In the used ring's flags: we want no kick.
const NO_NOTIFY: u16 = 1;

/// Writes completions of one burst; see [`Completions`].
#[derive(Debug)]
pub struct SplitCompletions<'a> {
    ring: &'a mut SplitRing,
    used: *mut u16,
    mask: usize,
    next: u16,
}

impl Completions for SplitCompletions<'_> {
    #[inline]
    fn put(&mut self, head: u16, len: u32) {
        let slot = usize::from(self.next) & self.mask;
        let entry = u64::from(head).to_le() | (u64::from(len) << 32).to_le();
        // SAFETY: `slot` is below the size, so the entry lies in the used ring of the ring that is borrowed meanwhile. It
        // is aligned to 4 only.
        unsafe { self.used.add(2 + 4 * slot).cast::<u64>().write_unaligned(entry) };
        self.next = self.next.wrapping_add(1);
    }
}

impl Drop for SplitCompletions<'_> {
    #[inline]
    fn drop(&mut self) {
        self.ring.next_used = self.next;
    }
}

/// Bytes of an entry of the used ring.
const USED_LEN: usize = 8;

/// A running ring.
#[derive(Debug)]
pub struct SplitRing {
    descriptors: *const u8,
    available: *mut u16,
    used: *mut u16,
    /// The size less one. Wide, so that reading it never touches a field that was just written: the processor would
    /// have to wait for that write.
    mask: usize,
    size: u16,
    event_idx: bool,
    indirect: bool,
    /// The next available entry we take.
    next_available: u16,
    /// Entries known to be there, from `next_available` on.
    known: u16,
    /// The next used entry we write.
    next_used: u16,
    /// The used index as the driver sees it.
    published: u16,
    /// The used index when we last decided whether to notify; `None` before the first time.
    signalled: Option<u16>,
    /// Guest address of the used ring, where its writes are logged.
    log: Option<u64>,
    /// Heads that an earlier back end took and did not give back.
    again: Vec<u16>,
    in_order: bool,
    /// The region of guest memory used last.
    hint: usize,
}

// SAFETY: the pointers lead to guest memory, which is not bound to a thread; the ring has one owner at a time.
unsafe impl Send for SplitRing {}

impl SplitRing {
    /// A ring of `size` entries at `address`, that goes on at available entry `next_available`. Its used index is
    /// what the used ring says.
    ///
    /// # Errors
    /// [`SetupFault`] where it does not lie in `memory`.
    pub fn new(
        memory: &GuestMemory,
        address: RingAddress,
        size: u32,
        next_available: u16,
        agreed: Agreed,
    ) -> Result<SplitRing, SetupFault> {
        if !size.is_power_of_two() || size > SIZE_MAX {
            return Err(SetupFault::Size(size));
        }
        let n = size as usize;
        let area = |at: u64, len: usize, alignment: usize| {
            let host = memory.translate_user(at, len).ok_or(SetupFault::Outside(at))?;
            if (host as usize).is_multiple_of(alignment) { Ok(host) } else { Err(SetupFault::Alignment(at)) }
        };
        let mut ring = SplitRing {
            descriptors: area(address.descriptors, n * descriptor::LEN, 16)?,
            available: area(address.available, 6 + 2 * n, 2)?.cast(),
            used: area(address.used, 6 + 8 * n, 4)?.cast(),
            mask: n - 1,
            size: size as u16,
            event_idx: agreed.has(features::EVENT_IDX),
            indirect: agreed.has(features::INDIRECT_DESC),
            next_available,
            known: 0,
            next_used: 0,
            published: 0,
            signalled: None,
            log: address.logged.then_some(address.log),
            again: Vec::new(),
            in_order: agreed.has(features::IN_ORDER),
            hint: 0,
        };
        // SAFETY: the used ring was proven to lie in guest memory.
        ring.next_used = u16::from_le(unsafe { ring.used.add(1).read_volatile() });
        ring.published = ring.next_used;
        ring.suppress_kicks(None);
        Ok(ring)
    }

    /// The next available entry we take: where the ring goes on after a stop.
    pub fn base(&self) -> u32 {
        u32::from(self.next_available)
    }

    /// Where it stands, for people.
    pub fn describe(&self) -> String {
        format!("at {}, {} used", self.next_available, self.published)
    }

    /// The used index as the driver sees it.
    pub fn used_index(&self) -> u16 {
        self.published
    }

    /// Lets the ring go on at another available entry.
    pub fn seek(&mut self, next_available: u16) {
        self.next_available = next_available;
        self.known = 0;
    }

    /// Takes chains again that were taken before a crash, in this order, before any other.
    pub fn take_again(&mut self, heads: Vec<u16>) {
        self.again = heads;
        self.again.reverse();
    }

    #[inline]
    fn driver_index(&self) -> u16 {
        // SAFETY: the available ring was proven to lie in guest memory, aligned to 2; the other side stores the index
        // as a whole.
        u16::from_le(unsafe { AtomicU16::from_ptr(self.available.add(1)) }.load(Ordering::Acquire))
    }

    /// The descriptor at `index`.
    #[inline]
    fn descriptor(&self, index: u16) -> Result<Descriptor, RingFault> {
        if usize::from(index) > self.mask {
            return Err(RingFault::DescriptorIndex { index, size: self.size });
        }
        // SAFETY: `index` is below the size, so the entry lies in the table, whose alignment was checked.
        Ok(unsafe { Descriptor::read(self.descriptors.add(usize::from(index) * descriptor::LEN)) })
    }

    #[cold]
    fn log_used(&self, log: &DirtyLog, base: u64) {
        let entries = self.next_used.wrapping_sub(self.published).min(self.size);
        let first = self.published & (self.size - 1);
        let until_end = entries.min(self.size - first);
        let at = |slot: u16| base.wrapping_add(4 + 8 * u64::from(slot));
        log.mark(at(first), 8 * usize::from(until_end));
        log.mark(at(0), 8 * usize::from(entries - until_end));
        log.mark(base, 4);
    }

    /// Whether the driver wants to be notified of what was published since the last call.
    #[inline]
    pub fn wants_interrupt(&mut self) -> bool {
        if self.signalled == Some(self.published) {
            return false;
        }
        fence(Ordering::SeqCst);
        let before = self.signalled.replace(self.published);
        if !self.event_idx {
            // SAFETY: the available ring was proven to lie in guest memory.
            let flags = u16::from_le(unsafe { self.available.read_volatile() });
            return flags & NO_INTERRUPT == 0;
        }
        // SAFETY: the used_event field follows the entries, inside the proven area.
        let event = u16::from_le(unsafe { self.available.add(2 + usize::from(self.size)).read_volatile() });
        before.is_none_or(|before| crossed(event, self.published, before))
    }

    /// Asks for kicks, then looks again: `true` where entries wait already.
    ///
    /// # Errors
    /// [`RingFault::IndexJump`].
    pub fn request_kicks(&mut self, log: Option<&DirtyLog>) -> Result<bool, RingFault> {
        self.announce(self.next_available, 0, log);
        fence(Ordering::SeqCst);
        Ok(self.waiting(self.size)? > 0)
    }

    /// Asks not to be kicked. With EVENT_IDX the stale index does that by itself: the driver kicks when it crosses the
    /// index, and that is behind it (once in 65536 entries it is crossed again, which does no harm).
    pub fn suppress_kicks(&mut self, log: Option<&DirtyLog>) {
        let behind = self.next_available.wrapping_sub(1);
        self.announce(behind, NO_NOTIFY, log);
    }

    fn announce(&mut self, event: u16, flags: u16, log: Option<&DirtyLog>) {
        let (at, value) = if self.event_idx { (2 + 4 * usize::from(self.size), event) } else { (0, flags) };
        // SAFETY: the flags and the avail_event field behind the entries lie inside the proven area.
        unsafe { self.used.add(at).write_volatile(value.to_le()) };
        if let (Some(log), Some(base)) = (log, self.log) {
            log.mark(base.wrapping_add(2 * at as u64), 2);
        }
    }
}

impl Virtqueue for SplitRing {
    type Completions<'a> = SplitCompletions<'a>;

    const IN_PLACE: bool = false;

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
        self.in_order
    }

    #[inline]
    fn has_again(&self) -> bool {
        !self.again.is_empty()
    }

    #[inline]
    fn next_again(&mut self) -> Option<u16> {
        self.again.pop()
    }

    #[inline]
    fn waiting(&mut self, wanted: u16) -> Result<u16, RingFault> {
        if self.known < wanted {
            let ahead = self.driver_index().wrapping_sub(self.next_available);
            if ahead > self.size {
                return Err(RingFault::IndexJump { ahead, size: self.size });
            }
            self.known = ahead;
        }
        Ok(self.known)
    }

    #[inline]
    fn look(&mut self, most: u16, mut each: impl FnMut(u16, Descriptor) -> bool) -> Result<(), RingFault> {
        let most = self.waiting(most)?.min(most);
        // The guest has just written them: all lines are on their way before the first is waited for. What heads say now
        // is a hint; each is read once more, and checked then.
        for head in (0..most).map_while(|ahead| self.head(ahead).ok()) {
            prefetch(self.descriptors.wrapping_add(usize::from(head) * descriptor::LEN));
        }
        // So are those in which it will read that they are used.
        for ahead in (0..most).step_by(LINE / USED_LEN) {
            let slot = usize::from(self.next_used.wrapping_add(ahead)) & self.mask;
            prefetch_write(self.used.wrapping_add(2 + 4 * slot).cast());
        }
        for ahead in 0..most {
            let head = self.head(ahead)?;
            if !each(head, self.descriptor(head)?) {
                break;
            }
        }
        Ok(())
    }

    #[inline]
    fn head(&self, ahead: u16) -> Result<u16, RingFault> {
        let slot = usize::from(self.next_available.wrapping_add(ahead)) & self.mask;
        // SAFETY: `slot` is below the size, so the entry lies in the available ring.
        let head = u16::from_le(unsafe { self.available.add(2 + slot).read_volatile() });
        if usize::from(head) <= self.mask {
            Ok(head)
        } else {
            Err(RingFault::DescriptorIndex { index: head, size: self.size })
        }
    }

    #[inline]
    fn first(&mut self, head: u16) -> Result<Descriptor, RingFault> {
        self.descriptor(head)
    }

    #[inline]
    fn following(&self, before: Descriptor, _: usize) -> Result<Descriptor, RingFault> {
        self.descriptor(before.next)
    }

    #[inline]
    fn entries(&self, _: u16) -> u16 {
        1
    }

    #[inline]
    fn take(&mut self, n: u16) {
        self.next_available = self.next_available.wrapping_add(n);
        self.known = self.known.saturating_sub(n);
    }

    #[inline]
    fn completing(&mut self) -> SplitCompletions<'_> {
        SplitCompletions { used: self.used, mask: self.mask, next: self.next_used, ring: self }
    }

    #[inline]
    fn publish(&mut self, log: Option<&DirtyLog>) {
        if self.next_used == self.published {
            return;
        }
        if let (Some(log), Some(base)) = (log, self.log) {
            self.log_used(log, base);
        }
        // SAFETY: the used ring was proven to lie in guest memory, aligned to 4.
        unsafe { AtomicU16::from_ptr(self.used.add(1)) }.store(self.next_used.to_le(), Ordering::Release);
        self.published = self.next_used;
    }
}

/// Whether going from `before` to `now` passed the entry `event` (virtio 1.2, 2.7.10.1, `vring_need_event`).
#[inline]
pub(super) fn crossed(event: u16, now: u16, before: u16) -> bool {
    now.wrapping_sub(event).wrapping_sub(1) < now.wrapping_sub(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_index_is_crossed_once_also_around_the_wrap() {
        assert!(crossed(4, 5, 4));
        assert!(crossed(4, 9, 4));
        assert!(!crossed(5, 5, 4));
        assert!(!crossed(3, 5, 4));
        assert!(crossed(0xffff, 0, 0xffff));
        assert!(!crossed(0, 0, 0xffff));
        assert!(crossed(0xfffe, 3, 0xfff0));
    }
}
