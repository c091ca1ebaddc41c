//! What the C library's allocator does with memory that was freed.
//!
//! Inspection holds bytes of connections for a moment, in buffers that grow to some hundred kilobytes. By itself the
//! allocator gives those back to the kernel at once, and each that follows begins with pages that have to be cleared. So some
//! of it is kept at hand; larger blocks still go back when they are freed.

/// Bytes at the end of a thread's heap that are kept.
const KEPT: usize = 64 << 20;
/// Blocks of so many bytes and more have a mapping of their own, which goes back to the kernel.
const MAPPED: usize = 2 << 20;

/// Has freed memory kept at hand, within bounds. To be called before there are other threads.
pub fn keep_at_hand() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [(libc::M_TRIM_THRESHOLD, KEPT), (libc::M_MMAP_THRESHOLD, MAPPED)] {
        // SAFETY: the call takes two numbers; one that it does not like changes nothing.
        unsafe { libc::mallopt(parameter, value as libc::c_int) };
    }
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_env = "gnu")]
    fn blocks_of_connections_lie_in_the_heap_and_large_ones_apart() {
        super::keep_at_hand();
        // SAFETY: the call only reads the allocator's own counters.
        let mapped = || unsafe { libc::mallinfo2() }.hblks;
        let before = mapped();
        let block = vec![0xa5_u8; 400 << 10];
        assert_eq!(mapped(), before);
        let large = vec![0xa5_u8; 4 << 20];
        assert_eq!((mapped(), block.len(), large.len()), (before + 1, 400 << 10, 4 << 20));
    }
}
