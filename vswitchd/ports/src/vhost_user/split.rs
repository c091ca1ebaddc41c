//! A split virtqueue as the device sees it (virtio 1.2, 2.7): indices, entries, notifications.
//!
//! # Safety model
//! *Who owns what:* the driver owns the descriptor table and the available ring, we own the used ring; each side reads
//! the other's part while it changes. *Reads:* every field is read once, by a volatile or atomic read, into a local that
//! is then checked; nothing read here is read again. *Bounds:* the three areas were proven to lie in one mapping each
//! when the [`Ring`] was made, entries are addressed by an index masked with the size (a power of two), and descriptor
//! indices are compared with the size. *Fences:* the driver's index is loaded with acquire before the entries it
//! covers, our index is stored with release after the entries it covers; between publishing and asking whether to
//! notify, and between asking for notifications and looking for work, stands a full fence (2.7.10, 2.7.13), since a
//! store must not pass a later load there. *Life:* the pointers live as long as the guest memory they came from; the
//! session drops every ring before it changes the memory.
//!
//! A hostile driver can make us see any index, length and address. The worst it gets is its own ring stopped
//! ([`RingFault`]) or its own frames dropped.

use std::fmt;
use std::sync::atomic::{AtomicU16, Ordering, fence};

use super::dirty_log::DirtyLog;
use super::features::{self, Agreed};
use super::memory::GuestMemory;
use super::message::RingAddress;

/// The largest ring (virtio 1.2, 2.7).
pub const SIZE_MAX: u32 = 32768;

const DESCRIPTOR_LEN: usize = 16;
const FLAG_NEXT: u16 = 1;
const FLAG_WRITE: u16 = 2;
const FLAG_INDIRECT: u16 = 4;
/// In the available ring's flags: the driver wants no interrupt.
const NO_INTERRUPT: u16 = 1;
/// In the used ring's flags: we want no kick.
const NO_NOTIFY: u16 = 1;

/// A ring that broke a rule beyond repair: it is stopped until the front end sets it up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingFault {
    /// More entries announced than the ring has.
    IndexJump {
        /// How far the driver's index is ahead of ours.
        ahead: u16,
        /// Entries of the ring.
        size: u16,
    },
    /// A descriptor index outside the table.
    DescriptorIndex {
        /// The index.
        index: u16,
        /// Entries of the table.
        size: u16,
    },
    /// A chain that is longer than the ring, and so comes back to itself.
    Loop,
}

impl fmt::Display for RingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RingFault::IndexJump { ahead, size } => {
                write!(f, "the driver's index is {ahead} ahead of ours on a ring of {size}")
            }
            RingFault::DescriptorIndex { index, size } => {
                write!(f, "descriptor index {index} on a ring of {size}")
            }
            RingFault::Loop => write!(f, "a descriptor chain loops"),
        }
    }
}

/// A ring that cannot be used as it was set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupFault {
    /// The size is not a power of two of at most [`SIZE_MAX`].
    Size(u32),
    /// An area does not lie in guest memory, whole and in one region.
    Outside(u64),
    /// An area's address is not aligned as it must be (16, 2 and 4 bytes).
    Alignment(u64),
}

impl fmt::Display for SetupFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetupFault::Size(size) => write!(f, "ring size {size} is not a power of two up to {SIZE_MAX}"),
            SetupFault::Outside(address) => write!(f, "the ring at {address:#x} is outside the guest's memory"),
            SetupFault::Alignment(address) => write!(f, "the ring at {address:#x} is not aligned"),
        }
    }
}

/// A descriptor, read once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Guest physical address.
    pub address: u64,
    /// Bytes.
    pub len: u32,
    flags: u16,
    /// The next one of the chain, where [`Descriptor::has_next`].
    pub next: u16,
}

impl Descriptor {
    /// Reads a descriptor at `at`.
    ///
    /// # Safety
    /// `at` points to 16 readable bytes, aligned to 8.
    #[inline]
    pub unsafe fn read(at: *const u8) -> Descriptor {
        let at = at.cast::<u64>();
        // SAFETY: the caller vouches for 16 bytes and their alignment.
        let (address, rest) = unsafe { (at.read_volatile(), at.add(1).read_volatile()) };
        Descriptor {
            address: u64::from_le(address),
            len: u64::from_le(rest) as u32,
            flags: (u64::from_le(rest) >> 32) as u16,
            next: (u64::from_le(rest) >> 48) as u16,
        }
    }

    /// The chain goes on.
    #[inline]
    pub fn has_next(self) -> bool {
        self.flags & FLAG_NEXT != 0
    }

    /// For us to write; else to read.
    #[inline]
    pub fn is_writable(self) -> bool {
        self.flags & FLAG_WRITE != 0
    }

    /// It holds a table of descriptors.
    #[inline]
    pub fn is_indirect(self) -> bool {
        self.flags & FLAG_INDIRECT != 0
    }

    /// One buffer for us to read, no more to the chain.
    #[inline]
    pub fn is_lone_readable(self) -> bool {
        self.flags & (FLAG_NEXT | FLAG_WRITE | FLAG_INDIRECT) == 0
    }

    /// One buffer for us to write, no more to the chain.
    #[inline]
    pub fn is_lone_writable(self) -> bool {
        self.flags & (FLAG_NEXT | FLAG_WRITE | FLAG_INDIRECT) == FLAG_WRITE
    }
}

/// Writes completions of one burst: the ring's numbers stay in registers until it is dropped.
#[derive(Debug)]
pub struct Completions<'a> {
    ring: &'a mut Ring,
    used: *mut u16,
    mask: usize,
    next: u16,
}

impl Completions<'_> {
    /// See [`Ring::complete`].
    #[inline]
    pub fn put(&mut self, head: u16, len: u32) {
        let slot = usize::from(self.next) & self.mask;
        let entry = u64::from(head).to_le() | (u64::from(len) << 32).to_le();
        // SAFETY: `slot` is below the size, so the entry lies in the used ring of the ring that is borrowed meanwhile. It
        // is aligned to 4 only.
        unsafe { self.used.add(2 + 4 * slot).cast::<u64>().write_unaligned(entry) };
        self.next = self.next.wrapping_add(1);
    }
}

impl Drop for Completions<'_> {
    #[inline]
    fn drop(&mut self) {
        self.ring.next_used = self.next;
    }
}

/// A running ring.
#[derive(Debug)]
pub struct Ring {
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
    /// The region of guest memory used last.
    pub hint: usize,
}

// SAFETY: the pointers lead to guest memory, which is not bound to a thread; the ring has one owner at a time.
unsafe impl Send for Ring {}

impl Ring {
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
    ) -> Result<Ring, SetupFault> {
        if !size.is_power_of_two() || size > SIZE_MAX {
            return Err(SetupFault::Size(size));
        }
        let n = size as usize;
        let area = |at: u64, len: usize, alignment: usize| {
            let host = memory.translate_user(at, len).ok_or(SetupFault::Outside(at))?;
            if (host as usize).is_multiple_of(alignment) { Ok(host) } else { Err(SetupFault::Alignment(at)) }
        };
        let mut ring = Ring {
            descriptors: area(address.descriptors, n * DESCRIPTOR_LEN, 16)?,
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
            hint: 0,
        };
        // SAFETY: the used ring was proven to lie in guest memory.
        ring.next_used = u16::from_le(unsafe { ring.used.add(1).read_volatile() });
        ring.published = ring.next_used;
        ring.suppress_kicks(None);
        Ok(ring)
    }

    /// Entries.
    #[inline]
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Indirect tables were agreed on.
    #[inline]
    pub fn indirect(&self) -> bool {
        self.indirect
    }

    /// The next available entry we take: where the ring goes on after a stop.
    pub fn next_available(&self) -> u16 {
        self.next_available
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

    /// Chains wait to be taken again.
    #[inline]
    pub fn has_again(&self) -> bool {
        !self.again.is_empty()
    }

    /// The next chain to be taken again. Without a crash before there is none.
    #[inline]
    pub fn next_again(&mut self) -> Option<u16> {
        self.again.pop()
    }

    /// Entries that wait. The driver's index is read only when fewer than `wanted` are known to be there.
    ///
    /// # Errors
    /// [`RingFault::IndexJump`].
    #[inline]
    pub fn waiting(&mut self, wanted: u16) -> Result<u16, RingFault> {
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
    fn driver_index(&self) -> u16 {
        // SAFETY: the available ring was proven to lie in guest memory, aligned to 2; the other side stores the index
        // as a whole.
        u16::from_le(unsafe { AtomicU16::from_ptr(self.available.add(1)) }.load(Ordering::Acquire))
    }

    /// The descriptor at which the chain of the waiting entry `ahead` of the next starts. The entry must be one that
    /// [`Ring::waiting`] reported.
    ///
    /// # Errors
    /// [`RingFault::DescriptorIndex`].
    #[inline]
    pub fn head(&self, ahead: u16) -> Result<u16, RingFault> {
        let slot = usize::from(self.next_available.wrapping_add(ahead)) & self.mask;
        // SAFETY: `slot` is below the size, so the entry lies in the available ring.
        let head = u16::from_le(unsafe { self.available.add(2 + slot).read_volatile() });
        if usize::from(head) <= self.mask {
            Ok(head)
        } else {
            Err(RingFault::DescriptorIndex { index: head, size: self.size })
        }
    }

    /// The descriptor at `index`.
    ///
    /// # Errors
    /// [`RingFault::DescriptorIndex`].
    #[inline]
    pub fn descriptor(&self, index: u16) -> Result<Descriptor, RingFault> {
        if usize::from(index) > self.mask {
            return Err(RingFault::DescriptorIndex { index, size: self.size });
        }
        // SAFETY: `index` is below the size, so the entry lies in the table, whose alignment was checked.
        Ok(unsafe { Descriptor::read(self.descriptors.add(usize::from(index) * DESCRIPTOR_LEN)) })
    }

    /// Takes `n` waiting entries; they must have been reported by [`Ring::waiting`].
    #[inline]
    pub fn take(&mut self, n: u16) {
        self.next_available = self.next_available.wrapping_add(n);
        self.known = self.known.saturating_sub(n);
    }

    /// Gives the chain that starts at `head` back, with `len` bytes written to it. The driver sees it after
    /// [`Ring::publish`].
    #[inline]
    pub fn complete(&mut self, head: u16, len: u32) {
        let slot = usize::from(self.next_used) & self.mask;
        let entry = u64::from(head).to_le() | (u64::from(len) << 32).to_le();
        // SAFETY: `slot` is below the size, so the entry lies in the used ring. It is aligned to 4 only.
        unsafe { self.used.add(2 + 4 * slot).cast::<u64>().write_unaligned(entry) };
        self.next_used = self.next_used.wrapping_add(1);
    }

    /// A writer for the completions of a burst.
    #[inline]
    pub fn completing(&mut self) -> Completions<'_> {
        Completions { used: self.used, mask: self.mask, next: self.next_used, ring: self }
    }

    /// Shows the driver what was completed.
    #[inline]
    pub fn publish(&mut self, log: Option<&DirtyLog>) {
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

/// Whether going from `before` to `now` passed the entry `event` (virtio 1.2, 2.7.10.1, `vring_need_event`).
#[inline]
fn crossed(event: u16, now: u16, before: u16) -> bool {
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
