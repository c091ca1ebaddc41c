//! An allocator that asks for huge pages under large blocks.
//!
//! A table of a million flows is spread over a quarter of a gigabyte and read at random: with pages of 4 KiB each lookup
//! also misses the TLB, and the page table after it. Where the system lets programs ask (transparent huge pages in mode
//! `madvise` or `always`), blocks of [`LARGE`] bytes and more get pages of 2 MiB. Elsewhere nothing changes. Memory that
//! is not touched still costs nothing; what is touched comes in steps of 2 MiB.
//!
//! Such pages cannot be had where memory is in pieces, as on hosts that have run for long. After [`use_reserved`], large
//! blocks come from the pages that the administrator has set aside (`vm.nr_hugepages`), as far as these suffice; what a
//! block may need is then taken from them whether it is touched or not. The kernel clears such a page when it is touched
//! first, which takes as long as opening thousands of flows there: what is made inside of [`touched`] has its pages cleared
//! at once, at some gigabytes a second.
//!
//! ```
//! use weir_ports::huge_pages::HugePages;
//!
//! #[global_allocator]
//! static ALLOCATOR: HugePages = HugePages;
//!
//! let table: Vec<u64> = Vec::with_capacity(1 << 20);
//! assert!(table.is_empty());
//! ```
//!
//! # Safety model
//! A block is the system allocator's, and gets advice about whole pages inside of it, or a mapping of its own. Mappings
//! are noted by their address in a table of fixed size before anybody has it, and taken out of it before they end; what
//! stands there is never handed to the system allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Blocks of this many bytes and more are advised.
pub const LARGE: usize = 4 << 20;
/// Bytes of a huge page.
const PAGE: usize = 2 << 20;

/// Blocks from reserved pages at a time; further ones are the system's.
const MAPPINGS: usize = 64;

/// Bytes of a block that are cleared ahead of their use; what lies behind waits for it, so that a start is not held up for long.
const TOUCHED_MAX: usize = 1 << 30;

/// Whether large blocks come from reserved pages.
static RESERVED: AtomicBool = AtomicBool::new(false);
/// Addresses of blocks that do; 0 where a place is free.
static MAPPED: [AtomicUsize; MAPPINGS] = [const { AtomicUsize::new(0) }; MAPPINGS];

/// Takes large blocks from the system's reserved huge pages from here on.
pub fn use_reserved() {
    RESERVED.store(true, Ordering::Relaxed);
}

thread_local! {
    /// Blocks of this thread are touched when they are made.
    static TOUCHES: Cell<bool> = const { Cell::new(false) };
}

/// Makes something whose large blocks, where they are of reserved pages, are there to be used without waiting. Not for
/// threads that forward packets.
pub fn touched<T>(make: impl FnOnce() -> T) -> T {
    let before = TOUCHES.replace(true);
    let made = make();
    TOUCHES.set(before);
    made
}

/// The system's allocator, with huge pages under large blocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct HugePages;

// SAFETY: a call is the system allocator's, with the caller's arguments, or is about a mapping that holds the whole layout
// and is aligned to 2 MiB; the advice changes no contents.
unsafe impl GlobalAlloc for HugePages {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= LARGE
            && let Some(block) = map(layout)
        {
            return block;
        }
        // SAFETY: the caller keeps the contract.
        advised(unsafe { System.alloc(layout) }, layout.size())
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= LARGE
            && let Some(block) = map(layout)
        {
            return block;
        }
        // SAFETY: as above.
        advised(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.size() >= LARGE && is_mapped(block) {
            // SAFETY: the caller vouches for the new size; the old block is as long as the smaller of both, and the new one
            // is another.
            return unsafe {
                let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                if !new.is_null() {
                    std::ptr::copy_nonoverlapping(block, new, size.min(layout.size()));
                    self.dealloc(block, layout);
                }
                new
            };
        }
        // SAFETY: as above.
        advised(unsafe { System.realloc(block, layout, size) }, size)
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if layout.size() >= LARGE && unmap(block, layout.size()) {
            return;
        }
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) };
    }
}

/// A block of reserved pages, of zeros; `None` where none are wanted, or not enough are left.
#[cold]
fn map(layout: Layout) -> Option<*mut u8> {
    if !RESERVED.load(Ordering::Relaxed) || layout.align() > PAGE {
        return None;
    }
    let place =
        MAPPED.iter().find(|place| place.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok())?;
    let len = layout.size().checked_next_multiple_of(PAGE);
    let block = len.map_or(libc::MAP_FAILED, |len| {
        let (protection, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: no address is asked for, so no existing mapping is touched. Without MAP_NORESERVE the pages are set aside
        // for this mapping at once, so that none can be missing when it is touched.
        unsafe {
            libc::mmap(std::ptr::null_mut(), len, protection, kind | libc::MAP_HUGETLB | libc::MAP_HUGE_2MB, -1, 0)
        }
    });
    if block == libc::MAP_FAILED {
        place.store(0, Ordering::Release);
        return None;
    }
    if TOUCHES.get() {
        // SAFETY: the range lies inside of the mapping that was just made. A kernel that does not know the call, or has no page,
        // leaves them to their first use.
        unsafe { libc::madvise(block, layout.size().min(TOUCHED_MAX), libc::MADV_POPULATE_WRITE) };
    }
    place.store(block as usize, Ordering::Release);
    Some(block.cast())
}

#[cold]
fn is_mapped(block: *mut u8) -> bool {
    MAPPED.iter().any(|place| place.load(Ordering::Acquire) == block as usize)
}

/// Gives a block of reserved pages back; `false` where it is none.
#[cold]
fn unmap(block: *mut u8, size: usize) -> bool {
    let Some(place) = MAPPED.iter().find(|place| place.load(Ordering::Acquire) == block as usize) else { return false };
    // The address is given up first: once the mapping has ended somebody else may get the same one.
    place.store(0, Ordering::Release);
    // SAFETY: the mapping was made by `map` with this size, and its only owner gives it back.
    unsafe { libc::munmap(block.cast(), size.next_multiple_of(PAGE)) };
    true
}

/// Advises the whole huge pages inside of a block, if it is a large one.
#[inline]
fn advised(block: *mut u8, size: usize) -> *mut u8 {
    if size >= LARGE && !block.is_null() {
        advise(block, size);
    }
    block
}

#[cold]
fn advise(block: *mut u8, size: usize) {
    let skip = (block as usize).next_multiple_of(PAGE) - block as usize;
    let len = size.saturating_sub(skip) & !(PAGE - 1);
    // SAFETY: the range lies inside of the block. The call is advice; its failure changes nothing.
    unsafe { libc::madvise(block.wrapping_add(skip).cast(), len, libc::MADV_HUGEPAGE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_reserved_pages_are_noted_and_given_back() {
        let layout = Layout::from_size_align(LARGE + 12345, 64).unwrap();
        assert_eq!(map(layout), None, "nobody asked for them");
        use_reserved();
        for round in 0..2 * MAPPINGS {
            // SAFETY: as below. Where no pages are reserved the blocks are the system's.
            unsafe {
                let block = HugePages.alloc_zeroed(layout);
                assert!(!block.is_null() && (block as usize).is_multiple_of(64));
                block.add(LARGE).write(7);
                let block = HugePages.realloc(block, layout, 2 * LARGE);
                assert_eq!((block.add(LARGE).read(), block.read()), (7, 0), "round {round}");
                HugePages.dealloc(block, Layout::from_size_align(2 * LARGE, 64).unwrap());
                assert!(!is_mapped(block));
            }
        }
        touched_pages_are_there_before_their_use(layout);
        RESERVED.store(false, Ordering::Relaxed);
    }

    /// Where pages are reserved on this machine.
    fn touched_pages_are_there_before_their_use(layout: Layout) {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("HugetlbPages:")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
        };
        let before = resident();
        // SAFETY: as above.
        let block = touched(|| unsafe { HugePages.alloc(layout) });
        if is_mapped(block) {
            assert_eq!(resident() - before, layout.size().next_multiple_of(PAGE));
        }
        // SAFETY: as above.
        unsafe { HugePages.dealloc(block, layout) };
        assert!(!TOUCHES.get(), "others' blocks wait for their use");
    }

    #[test]
    fn blocks_of_all_sizes_can_be_used_grown_and_given_back() {
        for size in [1, 4096, LARGE - 1, LARGE, LARGE + 12345, 3 * LARGE] {
            let layout = Layout::from_size_align(size, 64).unwrap();
            // SAFETY: the size is not zero; the block is used inside its bounds and given back with its layout.
            unsafe {
                let block = HugePages.alloc_zeroed(layout);
                assert!(!block.is_null() && (block as usize).is_multiple_of(64));
                assert_eq!((block.read(), block.add(size - 1).read()), (0, 0));
                block.add(size - 1).write(7);
                let block = HugePages.realloc(block, layout, size + LARGE);
                assert_eq!(block.add(size - 1).read(), 7);
                HugePages.dealloc(block, Layout::from_size_align(size + LARGE, 64).unwrap());
            }
        }
    }
}
