//! Shared memory in which a back end notes the descriptors it has taken and not given back (INFLIGHT_SHMFD).
//!
//! It lets the next back end, after a crash, take them again. We complete every chain in the turn in which we take it
//! and in the ring's order, so nothing has to be noted: whatever lies between the used index and the driver's index
//! comes again by itself. What is kept here is the protocol: the memory is made, handed over and taken back, and the
//! notes of a back end that did complete out of order are honoured when a ring starts.
//!
//! Of a packed ring, which only its device knows the place of, the place is noted: the next back end goes on there.
//!
//! Layout (vhost-user, "Inflight I/O tracking"): for each queue 16 bytes (features u64, version u16, entries u16, head
//! of the last batch u16, used index u16), then 16 bytes an entry (in flight u8, padding, next u16, counter u64). For each
//! queue of packed rings 32 bytes (features u64, version u16, entries u16, heads of lists of free entries, now and before,
//! u16 each, used index now and before u16, its wrap counter now and before u8), then 32 bytes an entry, of which none is
//! ever in flight: what another back end left there is not taken again.
//!
//! # Safety model
//! The front end holds the same memory and writes it at will. Every field is read once, every index checked against the
//! entries there are; the worst it gets is a wrong list of its own descriptors.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::memory::{Mapping, MemoryFault};
use super::message::InflightInfo;
use super::position::Position;
use super::shared::memory_file;
use super::virtqueue::SIZE_MAX;

const HEADER_LEN: usize = 16;
const ENTRY_LEN: usize = 16;
const ALIGNMENT: usize = 64;
const VERSION_AT: usize = 8;
const ENTRIES_AT: usize = 10;
const LAST_HEAD_AT: usize = 12;
const USED_AT: usize = 14;
const PACKED_HEADER_LEN: usize = 32;
const PACKED_ENTRY_LEN: usize = 32;
const PACKED_USED_AT: usize = 16;
const PACKED_USED_BEFORE_AT: usize = 18;
const PACKED_WRAP_AT: usize = 20;
const PACKED_WRAP_BEFORE_AT: usize = 21;

/// The memory, mapped.
#[derive(Debug)]
pub struct Inflight {
    mapping: Mapping,
    queues: u16,
    queue_size: u16,
    layout: Layout,
}

/// Which kind of rings it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Split.
    Split,
    /// Packed.
    Packed,
}

/// The front end's numbers do not fit.
#[derive(Debug)]
pub enum InflightFault {
    /// More queues than the port has, or a ring size that does not exist, or too little memory for them.
    Numbers(InflightInfo),
    /// It cannot be mapped.
    Memory(MemoryFault),
    /// It cannot be made.
    Io(io::Error),
}

impl std::fmt::Display for InflightFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            InflightFault::Numbers(info) => write!(
                f,
                "memory for descriptors in flight of {} queues of {} in {} bytes",
                info.queues, info.queue_size, info.size
            ),
            InflightFault::Memory(fault) => write!(f, "memory for descriptors in flight: {fault}"),
            InflightFault::Io(error) => write!(f, "memory for descriptors in flight: {error}"),
        }
    }
}

fn queue_len(queue_size: u16, layout: Layout) -> usize {
    let (header, entry) = match layout {
        Layout::Split => (HEADER_LEN, ENTRY_LEN),
        Layout::Packed => (PACKED_HEADER_LEN, PACKED_ENTRY_LEN),
    };
    (header + entry * usize::from(queue_size)).next_multiple_of(ALIGNMENT)
}

fn check(info: InflightInfo, queues_max: u16) -> Result<(), InflightFault> {
    let size_fits = info.queue_size > 0 && u32::from(info.queue_size) <= SIZE_MAX;
    if info.queues == 0 || info.queues > queues_max || !size_fits {
        return Err(InflightFault::Numbers(info));
    }
    Ok(())
}

/// Makes the memory for GET_INFLIGHT_FD: what to reply, and the file to send along.
///
/// # Errors
/// [`InflightFault`].
pub fn create(info: InflightInfo, queues_max: u16, layout: Layout) -> Result<(InflightInfo, OwnedFd), InflightFault> {
    check(info, queues_max)?;
    let size = queue_len(info.queue_size, layout) as u64 * u64::from(info.queues);
    let file = memory_file(size).map_err(InflightFault::Io)?;
    Ok((InflightInfo { size, offset: 0, ..info }, file))
}

impl Inflight {
    /// Maps the memory that SET_INFLIGHT_FD hands over.
    ///
    /// # Errors
    /// [`InflightFault`].
    pub fn new(info: InflightInfo, queues_max: u16, layout: Layout, fd: &OwnedFd) -> Result<Inflight, InflightFault> {
        check(info, queues_max)?;
        if info.size < queue_len(info.queue_size, layout) as u64 * u64::from(info.queues) {
            return Err(InflightFault::Numbers(info));
        }
        let mapping = Mapping::new(fd.as_fd(), info.offset, info.size).map_err(InflightFault::Memory)?;
        Ok(Inflight { mapping, queues: info.queues, queue_size: info.queue_size, layout })
    }

    /// The memory was taken away.
    pub fn is_cut(&self) -> bool {
        self.mapping.is_cut()
    }

    /// The heads that an earlier back end took from `ring` and did not give back, oldest first. `used` is the used
    /// index as the driver sees it, `size` the ring's size. The notes are cleared.
    pub fn recover(&self, ring: u16, used: u16, size: u16) -> Vec<u16> {
        if ring >= self.queues || self.layout != Layout::Split {
            return Vec::new();
        }
        let base = queue_len(self.queue_size, self.layout) * usize::from(ring);
        let first_time = self.u16(base + VERSION_AT) == 0;
        self.set_u16(base + VERSION_AT, 1);
        self.set_u16(base + ENTRIES_AT, self.queue_size);
        let entries = usize::from(self.queue_size.min(size));
        if !first_time && self.u16(base + USED_AT) != used {
            // The last batch was published but not taken out of the notes before the crash.
            let last = usize::from(self.u16(base + LAST_HEAD_AT));
            if last < entries {
                self.set_u8(base + HEADER_LEN + ENTRY_LEN * last, 0);
            }
        }
        self.set_u16(base + USED_AT, used);
        let mut heads = Vec::new();
        for index in 0..entries {
            let at = base + HEADER_LEN + ENTRY_LEN * index;
            if self.u8(at) != 0 && !first_time {
                heads.push((self.u64(at + 8), index as u16));
            }
            self.set_u8(at, 0);
        }
        heads.sort_unstable();
        heads.into_iter().map(|(_, head)| head).collect()
    }

    /// Where the place of the packed ring `ring` of `size` entries is noted; `None` where there is no room for it. The
    /// caller lets go of it before this value goes.
    pub(super) fn note(&self, ring: u16, size: u16) -> Option<Note> {
        if ring >= self.queues || size > self.queue_size || self.layout != Layout::Packed {
            return None;
        }
        let base = queue_len(self.queue_size, self.layout) * usize::from(ring);
        let known = self.u16(base + VERSION_AT) != 0;
        self.set_u16(base + VERSION_AT, 1);
        self.set_u16(base + ENTRIES_AT, self.queue_size);
        let at = |slot: usize, wrap: usize| Position { slot: self.u16(base + slot), wrap: self.u8(base + wrap) != 0 };
        let now = at(PACKED_USED_AT, PACKED_WRAP_AT);
        let before = at(PACKED_USED_BEFORE_AT, PACKED_WRAP_BEFORE_AT);
        let found = (known && now.slot < size && before.slot < size).then_some([before, now]);
        Some(Note { header: self.at(base, PACKED_HEADER_LEN)?, found })
    }

    fn at(&self, offset: usize, len: usize) -> Option<*mut u8> {
        let end = offset.checked_add(len)?;
        // SAFETY: the offset was just compared with the mapping's length.
        (end <= self.mapping.len()).then(|| unsafe { self.mapping.start().add(offset) })
    }

    fn u8(&self, offset: usize) -> u8 {
        // SAFETY: `at` proved the byte to be inside the mapping.
        self.at(offset, 1).map_or(0, |at| unsafe { at.read_volatile() })
    }

    fn u16(&self, offset: usize) -> u16 {
        u16::from_ne_bytes([self.u8(offset), self.u8(offset + 1)])
    }

    fn u64(&self, offset: usize) -> u64 {
        u64::from_ne_bytes(std::array::from_fn(|i| self.u8(offset + i)))
    }

    fn set_u8(&self, offset: usize, value: u8) {
        if let Some(at) = self.at(offset, 1) {
            // SAFETY: `at` proved the byte to be inside the mapping.
            unsafe { at.write_volatile(value) };
        }
    }

    fn set_u16(&self, offset: usize, value: u16) {
        let [first, second] = value.to_ne_bytes();
        self.set_u8(offset, first);
        self.set_u8(offset + 1, second);
    }
}

/// Where a packed ring's place is noted. It is written before the driver is shown used descriptors and after, so that the
/// next back end can tell by the descriptors which of the two holds.
#[derive(Debug)]
pub(super) struct Note {
    header: *mut u8,
    /// What an earlier back end noted: before and after its last showing.
    pub found: Option<[Position; 2]>,
}

impl Note {
    /// The driver is about to be shown what is used up to `position`.
    pub fn will_be(&self, position: Position) {
        self.write(position, PACKED_USED_AT, PACKED_WRAP_AT);
    }

    /// It was shown.
    pub fn is(&self, position: Position) {
        self.write(position, PACKED_USED_BEFORE_AT, PACKED_WRAP_BEFORE_AT);
    }

    fn write(&self, position: Position, slot: usize, wrap: usize) {
        // SAFETY: `note` proved the header to be inside the mapping, and whoever holds this lets go of it first. The front
        // end chose where the mapping starts, so nothing is said of alignment.
        unsafe {
            self.header.add(slot).cast::<[u8; 2]>().write_volatile(position.slot.to_ne_bytes());
            self.header.add(wrap).write_volatile(u8::from(position.wrap));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(queues: u16, queue_size: u16) -> InflightInfo {
        InflightInfo { size: 0, offset: 0, queues, queue_size }
    }

    fn note(inflight: &Inflight, ring: usize, head: usize, counter: u64) {
        let at = queue_len(inflight.queue_size, Layout::Split) * ring + HEADER_LEN + ENTRY_LEN * head;
        inflight.set_u8(at, 1);
        for (i, byte) in counter.to_ne_bytes().into_iter().enumerate() {
            inflight.set_u8(at + 8 + i, byte);
        }
    }

    fn mapped() -> Inflight {
        let (reply, fd) = create(info(2, 256), 2, Layout::Split).unwrap();
        Inflight::new(reply, 2, Layout::Split, &fd).unwrap()
    }

    #[test]
    fn fresh_memory_holds_nothing() {
        let inflight = mapped();
        assert!(inflight.recover(0, 0, 256).is_empty());
        assert!(inflight.recover(1, 7, 256).is_empty());
    }

    #[test]
    fn what_was_taken_comes_back_in_its_order_and_once() {
        let inflight = mapped();
        inflight.recover(1, 10, 256);
        note(&inflight, 1, 3, 30);
        note(&inflight, 1, 200, 20);
        note(&inflight, 1, 5, 10);
        assert_eq!(inflight.recover(1, 10, 256), [5, 200, 3]);
        assert!(inflight.recover(1, 10, 256).is_empty());
    }

    #[test]
    fn a_batch_that_was_published_is_not_taken_again() {
        let inflight = mapped();
        inflight.recover(0, 10, 256);
        note(&inflight, 0, 4, 1);
        note(&inflight, 0, 6, 2);
        inflight.set_u16(LAST_HEAD_AT, 4);
        assert_eq!(inflight.recover(0, 11, 256), [6]);
    }

    #[test]
    fn hostile_numbers_are_refused_or_ignored() {
        for (queues, size) in [(3, 256), (0, 256), (2, 0), (2, 40000), (65535, 65535)] {
            assert!(create(info(queues, size), 2, Layout::Split).is_err(), "{queues} {size}");
        }
        let (reply, fd) = create(info(2, 256), 2, Layout::Split).unwrap();
        for bad in [
            InflightInfo { size: 64, ..reply },
            InflightInfo { size: u64::MAX, ..reply },
            InflightInfo { offset: u64::MAX - 4095, ..reply },
            InflightInfo { offset: 4096, ..reply },
            InflightInfo { queue_size: 512, ..reply },
            InflightInfo { queues: 300, ..reply },
        ] {
            assert!(Inflight::new(bad, 2, Layout::Split, &fd).is_err(), "{bad:?}");
        }
        let inflight = mapped();
        inflight.recover(0, 0, 256);
        inflight.set_u16(LAST_HEAD_AT, 65535);
        note(&inflight, 0, 255, 1);
        // A smaller ring than the notes were made for: entries outside it do not exist.
        assert!(inflight.recover(0, 1, 128).is_empty());
        assert!(inflight.recover(200, 0, 256).is_empty());
    }
}
