//! Memory that is shared with the kernel.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// A mapping, unmapped when dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread; whoever owns the value owns the addresses.
unsafe impl Send for Mapping {}
// SAFETY: a shared mapping gives addresses only; whoever goes there says what else does.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Zeroed pages of our own.
    pub(super) fn anonymous(len: usize) -> io::Result<Mapping> {
        Mapping::new(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE, -1, 0)
    }

    /// Pages of the kernel's behind `fd`.
    pub(super) fn of(fd: BorrowedFd<'_>, len: usize, offset: libc::off_t) -> io::Result<Mapping> {
        Mapping::new(len, libc::MAP_SHARED | libc::MAP_POPULATE, fd.as_raw_fd(), offset)
    }

    fn new(len: usize, flags: libc::c_int, fd: libc::c_int, offset: libc::off_t) -> io::Result<Mapping> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses an address range that is free.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { start, len })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The address of `len` bytes at `offset`, aligned for `T`; none where they do not lie in the mapping.
    pub(super) fn at<T>(&self, offset: usize, len: usize) -> Option<NonNull<T>> {
        let end = offset.checked_add(len)?;
        if end > self.len {
            return None;
        }
        // SAFETY: `offset` lies within the mapping.
        let place = unsafe { self.start.add(offset) }.cast::<T>();
        place.is_aligned().then_some(place)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is ours, and whatever points into it goes with its owner.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_outside_the_mapping_or_askew_are_refused() {
        let map = Mapping::anonymous(4096).unwrap();
        assert!(map.at::<u64>(4088, 8).is_some());
        assert!(map.at::<u64>(4096, 8).is_none());
        assert!(map.at::<u64>(4092, 4).is_none());
        assert!(map.at::<u8>(usize::MAX, 2).is_none());
        assert_eq!(map.len(), 4096);
    }
}
