//! An allocator that asks for huge pages under large blocks.
//!
//! A table of a million flows is spread over a quarter of a gigabyte and read at random: with pages of 4 KiB each lookup
//! also misses the TLB, and the page table after it. Where the system lets programs ask (transparent huge pages in mode
//! `madvise` or `always`), blocks of [`LARGE`] bytes and more get pages of 2 MiB. Elsewhere nothing changes. Memory that
//! is not touched still costs nothing; what is touched comes in steps of 2 MiB.
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
//! All memory is the system allocator's; this only gives advice about whole pages inside of blocks that it made.

use std::alloc::{GlobalAlloc, Layout, System};

/// Blocks of this many bytes and more are advised.
pub const LARGE: usize = 4 << 20;
/// Bytes of a huge page.
const PAGE: usize = 2 << 20;

/// The system's allocator, with huge pages under large blocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct HugePages;

// SAFETY: every call is the system allocator's, with the caller's arguments; the advice changes no contents.
unsafe impl GlobalAlloc for HugePages {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        advised(unsafe { System.alloc(layout) }, layout.size())
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        advised(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        advised(unsafe { System.realloc(block, layout, size) }, size)
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) };
    }
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
