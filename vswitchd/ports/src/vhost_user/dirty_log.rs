//! The dirty log of live migration: one bit for each page of guest memory that we wrote.
//!
//! The log is shared memory of the front end, which reads and clears it while we set bits; so bits are set with atomic
//! operations on bytes. Pages beyond the log's end are not logged: the front end chose its size.
//!
//! # Safety model
//! The only writes go to `page / 8` bytes behind the mapping's start, checked against its length at each use.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU8, Ordering};

use super::memory::{Mapping, MemoryFault};

/// Bytes that one bit stands for (VHOST_LOG_PAGE).
const PAGE: u64 = 4096;

/// A mapped dirty log.
#[derive(Debug)]
pub struct DirtyLog {
    mapping: Mapping,
}

impl DirtyLog {
    /// Maps the log.
    ///
    /// # Errors
    /// [`MemoryFault`] where size or offset do not fit the file.
    pub fn new(fd: BorrowedFd<'_>, offset: u64, size: u64) -> Result<DirtyLog, MemoryFault> {
        Ok(DirtyLog { mapping: Mapping::new(fd, offset, size)? })
    }

    /// Marks the pages of `len` bytes at guest address `guest`.
    pub fn mark(&self, guest: u64, len: usize) {
        if len == 0 {
            return;
        }
        let last = guest.saturating_add(len as u64 - 1) / PAGE;
        for page in guest / PAGE..=last {
            let byte = page / 8;
            if byte >= self.mapping.len() as u64 {
                return;
            }
            // SAFETY: `byte` is inside the mapping, which this value owns; the other side uses the byte as a byte too.
            let bits = unsafe { AtomicU8::from_ptr(self.mapping.start().add(byte as usize)) };
            bits.fetch_or(1 << (page % 8), Ordering::Release);
        }
    }

    /// The log's memory was taken away.
    pub fn is_cut(&self) -> bool {
        self.mapping.is_cut()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;

    use super::*;
    use crate::vhost_user::shared::memory_file;

    fn contents(fd: &std::os::fd::OwnedFd) -> Vec<u8> {
        let mut file = std::fs::File::from(fd.try_clone().unwrap());
        let mut bytes = Vec::new();
        std::io::Seek::rewind(&mut file).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn every_page_that_is_touched_is_marked() {
        let fd = memory_file(4096).unwrap();
        let log = DirtyLog::new(fd.as_fd(), 0, 4).unwrap();
        log.mark(0, 1);
        log.mark(0x1fff, 2);
        log.mark(9 * 0x1000, 0x1000);
        log.mark(5 * 0x1000, 0);
        assert_eq!(contents(&fd)[..4], [0b111, 0b10, 0, 0]);
    }

    #[test]
    fn pages_beyond_the_log_are_left_out() {
        let fd = memory_file(4096).unwrap();
        let log = DirtyLog::new(fd.as_fd(), 0, 1).unwrap();
        log.mark(7 * 0x1000, 0x2000);
        log.mark(u64::MAX, 10);
        log.mark(u64::MAX - 5, usize::MAX);
        let bytes = contents(&fd);
        assert_eq!(bytes[0], 0x80);
        assert!(bytes[1..].iter().all(|&b| b == 0));
    }

    #[test]
    fn a_log_whose_offset_and_size_wrap_is_refused() {
        let fd = memory_file(4096).unwrap();
        assert!(DirtyLog::new(fd.as_fd(), u64::MAX - 4095, 8192).is_err());
        assert!(DirtyLog::new(fd.as_fd(), 4096, u64::MAX).is_err());
        assert!(DirtyLog::new(fd.as_fd(), 0, 8192).is_err());
        assert!(DirtyLog::new(fd.as_fd(), 0, 0).is_err());
    }
}
