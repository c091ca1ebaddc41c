//! An allocator that asks for huge pages under the whole heap of a program that works in one thread.
//!
//! Who follows many flows by many rules reads all over the heap: with pages of 4 KiB much of the time goes into misses of
//! the TLB, and into the faults that small pages come by. Where the system lets programs ask (transparent huge pages in
//! mode `madvise`), the heap gets pages of 2 MiB as it grows, which it does in steps of [`STEP`]. Elsewhere nothing
//! changes. Memory is not given back to the system before the program ends. Blocks that have a mapping of their own, and
//! those of the C library's arenas for further threads, are left as they are.
//!
//! ```
//! use weir_ports::huge_heap::{HugeHeap, prepare};
//!
//! #[global_allocator]
//! static ALLOCATOR: HugeHeap = HugeHeap;
//!
//! prepare();
//! assert_eq!(vec![7u8; 100].len(), 100);
//! ```
//!
//! # Safety model
//! All blocks are the system allocator's. Beside that there is advice about the pages of the heap, which changes no
//! contents, and whose failure changes nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that the heap grows by at least.
pub const STEP: usize = 8 << 20;
/// Blocks of so many bytes and more have mappings of their own.
const MAPPED: usize = 32 << 20;
/// Bytes of a small page, by which advice is given.
const PAGE: usize = 4 << 10;

/// The end of the part of the heap that was asked for; 0 before the first time.
static ASKED: AtomicUsize = AtomicUsize::new(0);

/// Lets the heap grow in large steps, so that whole huge pages lie in it before they are touched.
pub fn prepare() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in
        [(libc::M_TOP_PAD, STEP), (libc::M_MMAP_THRESHOLD, MAPPED), (libc::M_TRIM_THRESHOLD, i32::MAX as usize)]
    {
        // SAFETY: the call takes two numbers; one that it does not like changes nothing.
        unsafe { libc::mallopt(parameter, value as libc::c_int) };
    }
}

/// The system's allocator, with huge pages under its heap.
#[derive(Clone, Copy, Debug, Default)]
pub struct HugeHeap;

// SAFETY: each call is the system allocator's, with the caller's arguments; the advice changes no contents.
unsafe impl GlobalAlloc for HugeHeap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        asked(unsafe { System.alloc(layout) }, layout.size())
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        asked(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        asked(unsafe { System.realloc(block, layout, size) }, size)
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) };
    }
}

/// A block, after huge pages were asked for where it is the first in a new part of the heap.
#[inline]
fn asked(block: *mut u8, size: usize) -> *mut u8 {
    if (block as usize).wrapping_add(size) > ASKED.load(Ordering::Relaxed) {
        ask(block as usize);
    }
    block
}

#[cold]
fn ask(block: usize) {
    // SAFETY: a change by nothing tells where the heap ends.
    let end = unsafe { libc::sbrk(0) } as usize;
    if block == 0 || block >= end {
        return;
    }
    let from = match ASKED.swap(end, Ordering::Relaxed) {
        0 => block,
        before => before.min(end),
    } & !(PAGE - 1);
    let length = (end - from) & !(PAGE - 1);
    // SAFETY: the call is advice about the program's own pages, where there are any; its failure changes nothing.
    unsafe { libc::madvise(std::ptr::without_provenance_mut(from), length, libc::MADV_HUGEPAGE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_all_sizes_can_be_used_grown_and_given_back() {
        prepare();
        for size in [1, 4096, STEP - 1, STEP, STEP + 12345, 2 * MAPPED] {
            let layout = Layout::from_size_align(size, 64).unwrap();
            // SAFETY: the size is not zero; the block is used inside its bounds and given back with its layout.
            unsafe {
                let block = HugeHeap.alloc_zeroed(layout);
                assert!(!block.is_null() && (block as usize).is_multiple_of(64));
                assert_eq!((block.read(), block.add(size - 1).read()), (0, 0));
                block.add(size - 1).write(7);
                let block = HugeHeap.realloc(block, layout, size + STEP);
                assert_eq!(block.add(size - 1).read(), 7);
                HugeHeap.dealloc(block, Layout::from_size_align(size + STEP, 64).unwrap());
            }
        }
    }
}
