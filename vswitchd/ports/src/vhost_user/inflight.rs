//! Shared memory in which a back end notes the descriptors it has taken and not given back (INFLIGHT_SHMFD).
//!
//! It lets the next back end, after a crash, take them again. We complete every chain in the turn in which we take it
//! and in the ring's order, so nothing has to be noted: whatever lies between the used index and the driver's index
//! comes again by itself. What is kept here is the protocol: the memory is made, handed over and taken back, and the
//! notes of a back end that did complete out of order are honoured when a ring starts.
//!
//! Layout (vhost-user, "Inflight I/O tracking"): for each queue 16 bytes (features u64, version u16, entries u16, head
//! of the last batch u16, used index u16), then 16 bytes an entry (in flight u8, padding, next u16, counter u64).
//!
//! # Safety model
//! The front end holds the same memory and writes it at will. Every field is read once, every index checked against the
//! entries there are; the worst it gets is a wrong list of its own descriptors.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::memory::{Mapping, MemoryFault};
use super::message::InflightInfo;
use super::shared::memory_file;
use super::virtqueue::SIZE_MAX;

const HEADER_LEN: usize = 16;
const ENTRY_LEN: usize = 16;
const ALIGNMENT: usize = 64;
const VERSION_AT: usize = 8;
const ENTRIES_AT: usize = 10;
const LAST_HEAD_AT: usize = 12;
const USED_AT: usize = 14;

/// The memory, mapped.
#[derive(Debug)]
pub struct Inflight {
    mapping: Mapping,
    queues: u16,
    queue_size: u16,
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

fn queue_len(queue_size: u16) -> usize {
    (HEADER_LEN + ENTRY_LEN * usize::from(queue_size)).next_multiple_of(ALIGNMENT)
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
pub fn create(info: InflightInfo, queues_max: u16) -> Result<(InflightInfo, OwnedFd), InflightFault> {
    check(info, queues_max)?;
    let size = queue_len(info.queue_size) as u64 * u64::from(info.queues);
    let file = memory_file(size).map_err(InflightFault::Io)?;
    Ok((InflightInfo { size, offset: 0, ..info }, file))
}

impl Inflight {
    /// Maps the memory that SET_INFLIGHT_FD hands over.
    ///
    /// # Errors
    /// [`InflightFault`].
    pub fn new(info: InflightInfo, queues_max: u16, fd: &OwnedFd) -> Result<Inflight, InflightFault> {
        check(info, queues_max)?;
        if info.size < queue_len(info.queue_size) as u64 * u64::from(info.queues) {
            return Err(InflightFault::Numbers(info));
        }
        let mapping = Mapping::new(fd.as_fd(), info.offset, info.size).map_err(InflightFault::Memory)?;
        Ok(Inflight { mapping, queues: info.queues, queue_size: info.queue_size })
    }

    /// The memory was taken away.
    pub fn is_cut(&self) -> bool {
        self.mapping.is_cut()
    }

    /// The heads that an earlier back end took from `ring` and did not give back, oldest first. `used` is the used
    /// index as the driver sees it, `size` the ring's size. The notes are cleared.
    pub fn recover(&self, ring: u16, used: u16, size: u16) -> Vec<u16> {
        if ring >= self.queues {
            return Vec::new();
        }
        let base = queue_len(self.queue_size) * usize::from(ring);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn info(queues: u16, queue_size: u16) -> InflightInfo {
        InflightInfo { size: 0, offset: 0, queues, queue_size }
    }

    fn note(inflight: &Inflight, ring: usize, head: usize, counter: u64) {
        let at = queue_len(inflight.queue_size) * ring + HEADER_LEN + ENTRY_LEN * head;
        inflight.set_u8(at, 1);
        for (i, byte) in counter.to_ne_bytes().into_iter().enumerate() {
            inflight.set_u8(at + 8 + i, byte);
        }
    }

    fn mapped() -> Inflight {
        let (reply, fd) = create(info(2, 256), 2).unwrap();
        Inflight::new(reply, 2, &fd).unwrap()
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
            assert!(create(info(queues, size), 2).is_err(), "{queues} {size}");
        }
        let (reply, fd) = create(info(2, 256), 2).unwrap();
        for bad in [
            InflightInfo { size: 64, ..reply },
            InflightInfo { size: u64::MAX, ..reply },
            InflightInfo { offset: u64::MAX - 4095, ..reply },
            InflightInfo { offset: 4096, ..reply },
            InflightInfo { queue_size: 512, ..reply },
            InflightInfo { queues: 300, ..reply },
        ] {
            assert!(Inflight::new(bad, 2, &fd).is_err(), "{bad:?}");
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
