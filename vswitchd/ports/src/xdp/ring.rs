//! The four rings that an AF_XDP socket shares with the kernel (Documentation/networking/af_xdp.rst).
//!
//! **Safety.** Each ring has one producer and one consumer. Where we produce (fill, transmit), the producer index is
//! ours: entries are written first, then the index is stored with Release. Where we consume (receive, completion), the
//! kernel's index is loaded with Acquire before entries are read, and ours is stored with Release once their places may
//! be used again. Indices run over 32 bits and wrap; a place is `index & mask`, so it lies in the ring whatever the
//! index is, and the number of entries is held to the ring's size. The kernel's word is not needed to stay in bounds.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use super::mapping::Mapping;

/// What the kernel puts into the flags word when it wants a system call to go on.
const NEED_WAKEUP: u32 = libc::XDP_RING_NEED_WAKEUP;

/// One ring's shared words and entries.
#[derive(Debug)]
struct Shared<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    size: u32,
    /// Keeps the addresses above valid.
    _map: Mapping,
}

// SAFETY: the addresses lie in the mapping that moves with them; the kernel does not care which thread uses a ring, and
// `&mut` in all calls that write keeps it to one at a time.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T: Copy> Shared<T> {
    /// `size` is a power of two.
    fn new(map: Mapping, offsets: &libc::xdp_ring_offset, size: u32) -> io::Result<Shared<T>> {
        let word = |offset: u64| map.at::<AtomicU32>(usize::try_from(offset).ok()?, size_of::<AtomicU32>());
        let find = || {
            let entries = map.at(usize::try_from(offsets.desc).ok()?, size as usize * size_of::<T>())?;
            Some((word(offsets.producer)?, word(offsets.consumer)?, word(offsets.flags)?, entries))
        };
        let (producer, consumer, flags, entries) = find()
            .filter(|_| size.is_power_of_two())
            .ok_or_else(|| io::Error::other("the kernel's ring is too small"))?;
        Ok(Shared { producer, consumer, flags, entries, size, _map: map })
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: valid and aligned for the mapping's life, and only ever accessed as an atomic.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as for the producer.
        unsafe { self.consumer.as_ref() }
    }

    fn needs_wakeup(&self) -> bool {
        // SAFETY: as for the producer.
        unsafe { self.flags.as_ref() }.load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }

    fn place(&self, index: u32) -> NonNull<T> {
        // SAFETY: masked, the index is below `size`, and `size` entries lie in the mapping.
        unsafe { self.entries.add((index & (self.size - 1)) as usize) }
    }
}

/// Maps the pages of one ring.
pub(super) fn map<T>(
    fd: BorrowedFd<'_>,
    offsets: &libc::xdp_ring_offset,
    size: u32,
    page: libc::off_t,
) -> io::Result<Mapping> {
    let start = usize::try_from(offsets.desc).map_err(io::Error::other)?;
    Mapping::of(fd, start + size as usize * size_of::<T>(), page)
}

/// A ring that we fill.
#[derive(Debug)]
pub(super) struct Producer<T> {
    shared: Shared<T>,
    /// Entries written so far.
    written: u32,
    /// Entries the kernel had taken when we last looked.
    taken: u32,
}

impl<T: Copy> Producer<T> {
    pub(super) fn new(map: Mapping, offsets: &libc::xdp_ring_offset, size: u32) -> io::Result<Producer<T>> {
        let shared = Shared::new(map, offsets, size)?;
        let (written, taken) = (shared.producer().load(Ordering::Relaxed), shared.consumer().load(Ordering::Acquire));
        Ok(Producer { shared, written, taken })
    }

    /// Whether `n` entries fit.
    pub(super) fn has_room(&mut self, n: u32) -> bool {
        if self.room() < n {
            self.taken = self.shared.consumer().load(Ordering::Acquire);
        }
        self.room() >= n
    }

    fn room(&self) -> u32 {
        self.shared.size.saturating_sub(self.written.wrapping_sub(self.taken))
    }

    /// Writes an entry that the kernel does not see yet; `false` where the ring is full.
    pub(super) fn push(&mut self, entry: T) -> bool {
        if !self.has_room(1) {
            return false;
        }
        // SAFETY: the place is ours: the kernel reads entries between its index and the published one only.
        unsafe { self.shared.place(self.written).write(entry) };
        self.written = self.written.wrapping_add(1);
        true
    }

    /// Shows the kernel what was written.
    pub(super) fn publish(&mut self) {
        self.shared.producer().store(self.written, Ordering::Release);
    }

    /// Entries that the kernel has not taken yet.
    pub(super) fn pending(&self) -> u32 {
        self.written.wrapping_sub(self.shared.consumer().load(Ordering::Acquire)).min(self.shared.size)
    }

    /// Whether the kernel waits for a system call to look at the ring.
    pub(super) fn needs_wakeup(&self) -> bool {
        self.shared.needs_wakeup()
    }
}

/// A ring that the kernel fills.
#[derive(Debug)]
pub(super) struct Consumer<T> {
    shared: Shared<T>,
    /// Entries read so far.
    read: u32,
    /// Entries the kernel had written when we last looked.
    written: u32,
}

impl<T: Copy> Consumer<T> {
    pub(super) fn new(map: Mapping, offsets: &libc::xdp_ring_offset, size: u32) -> io::Result<Consumer<T>> {
        let shared = Shared::new(map, offsets, size)?;
        let read = shared.consumer().load(Ordering::Relaxed);
        Ok(Consumer { shared, read, written: read })
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.read == self.shared.producer().load(Ordering::Acquire)
    }

    /// Reads the next entry. Its place is not given back before [`Consumer::release`].
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.read == self.written {
            // No more than a ring's worth is believed at once; the caller bounds how often it asks.
            self.look();
            if self.read == self.written {
                return None;
            }
        }
        // SAFETY: the kernel has written this entry before it published it, and leaves it alone until it is released.
        let entry = unsafe { self.shared.place(self.read).read() };
        self.read = self.read.wrapping_add(1);
        Some(entry)
    }

    /// Finds out how many entries wait.
    pub(super) fn look(&mut self) {
        let written = self.shared.producer().load(Ordering::Acquire);
        self.written = self.read.wrapping_add(written.wrapping_sub(self.read).min(self.shared.size));
    }

    /// The entry that is read `ahead` entries after the next one, as far as we know already that it is there.
    #[inline]
    pub(super) fn peek(&self, ahead: u32) -> Option<T> {
        if self.written.wrapping_sub(self.read) <= ahead {
            return None;
        }
        // SAFETY: as of `pop`.
        Some(unsafe { self.shared.place(self.read.wrapping_add(ahead)).read() })
    }

    /// Gives the places of all entries read so far back to the kernel.
    pub(super) fn release(&mut self) {
        self.shared.consumer().store(self.read, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFSETS: libc::xdp_ring_offset = libc::xdp_ring_offset { producer: 0, consumer: 64, flags: 128, desc: 192 };

    /// Both ends of one ring, with indices that start at `index`.
    fn ring(size: u32, index: u32) -> (Producer<u64>, Consumer<u64>) {
        let memory = std::fs::File::from(memory_file());
        memory.set_len(4096).unwrap();
        let side = || Mapping::of(std::os::fd::AsFd::as_fd(&memory), 4096, 0).unwrap();
        let shared = Shared::<u64>::new(side(), &OFFSETS, size).unwrap();
        shared.producer().store(index, Ordering::Relaxed);
        shared.consumer().store(index, Ordering::Relaxed);
        (Producer::new(side(), &OFFSETS, size).unwrap(), Consumer::new(side(), &OFFSETS, size).unwrap())
    }

    fn memory_file() -> std::os::fd::OwnedFd {
        // SAFETY: the name is a valid string.
        crate::fd::owned(unsafe { libc::memfd_create(c"ring".as_ptr(), libc::MFD_CLOEXEC) }).unwrap()
    }

    #[test]
    fn entries_cross_in_order_where_the_indices_wrap() {
        let (mut to, mut from) = ring(8, u32::MAX - 3);
        for round in 0..5u64 {
            assert!((0..8).all(|i| to.push(round * 8 + i)));
            assert!(!to.push(99), "the ring is full");
            assert_eq!(from.pop(), None, "nothing is seen before it is published");
            to.publish();
            assert_eq!(to.pending(), 8);
            for i in 0..8 {
                assert_eq!(from.pop(), Some(round * 8 + i));
            }
            assert_eq!(from.pop(), None);
            assert!(!to.has_room(1), "places come back with the release");
            from.release();
            assert!(to.has_room(8) && from.is_empty());
        }
    }

    #[test]
    fn an_index_far_ahead_leads_neither_out_of_the_ring_nor_to_room_that_is_not_there() {
        let (to, mut from) = ring(8, 0);
        to.shared.producer().store(1 << 30, Ordering::Release);
        assert!((0..100).all(|_| from.pop() == Some(0)), "entries of the ring, again and again");
        let (mut to, from) = ring(8, 0);
        assert!((0..8).all(|i| to.push(i)));
        from.shared.consumer().store(1 << 30, Ordering::Release);
        assert!(!to.push(8));
        assert_eq!(to.pending(), 8);
    }

    #[test]
    fn entries_can_be_looked_at_before_they_are_read() {
        let (mut to, mut from) = ring(8, u32::MAX - 1);
        assert!((0..3).all(|i| to.push(i)));
        to.publish();
        assert_eq!(from.peek(0), None, "not known yet");
        from.look();
        assert_eq!(from.peek(2), Some(2));
        assert_eq!(from.pop(), Some(0));
        assert_eq!((from.peek(0), from.peek(1), from.peek(2)), (Some(1), Some(2), None));
        assert_eq!(from.pop(), Some(1));
    }

    #[test]
    fn a_ring_that_does_not_fit_its_pages_is_refused() {
        let map = || Mapping::anonymous(4096).unwrap();
        assert!(Producer::<u64>::new(map(), &OFFSETS, 1024).is_err());
        assert!(Producer::<u64>::new(map(), &OFFSETS, 7).is_err());
        assert!(Consumer::<u64>::new(map(), &libc::xdp_ring_offset { producer: 1 << 40, ..OFFSETS }, 8).is_err());
    }
}
