//! Copies between guest memory and ours, and hints to have it at hand.
//!
//! Most frames are short, and for those a call into the general routine costs as much as the copy. Short copies run in
//! blocks of 32 bytes, the last one overlapping the one before; a byte that the other side changes meanwhile may be read
//! twice and the later value stays, which is as good as any: nothing has been concluded from it yet.
//!
//! # Safety model
//! The functions do what they are told; the callers prove the lengths.

/// Copies up to this length are made in place.
const SHORT_MAX: usize = 256;
const BLOCK: usize = 32;

/// Copies `len` bytes.
///
/// # Safety
/// `from` is readable and `to` writable for `len` bytes, and they do not overlap.
#[inline]
pub unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    if !(BLOCK..=SHORT_MAX).contains(&len) {
        // SAFETY: the caller vouches for it.
        unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
        return;
    }
    let block = |at: usize| {
        // SAFETY: `at + BLOCK` is at most `len`.
        unsafe {
            to.add(at).cast::<[u8; BLOCK]>().write_unaligned(from.add(at).cast::<[u8; BLOCK]>().read_unaligned())
        };
    };
    let last = len - BLOCK;
    let mut at = 0;
    while at < last {
        block(at);
        at += BLOCK;
    }
    block(last);
}

/// Copies `len` bytes between places that guests choose, and that may overlap where two guests share memory.
///
/// # Safety
/// `from` is readable and `to` writable for `len` bytes.
#[inline]
pub unsafe fn copy_between(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller vouches for it.
    unsafe { std::ptr::copy(from, to, len) };
}

/// Asks for the memory at `at` to be brought near; harmless for any address.
#[inline]
pub fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which touches no memory as far as the program can tell.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// The same for memory that will be written.
#[inline]
pub fn prefetch_write(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which touches no memory as far as the program can tell; processors without it take it for a hint
    // to do nothing.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Bytes that are brought near of one piece: a frame of the usual length.
const NEAR_MAX: usize = 1536;
/// A cache line.
pub const LINE: usize = 64;

/// Asks for a piece of memory that will be read.
#[inline]
pub fn bring_near(at: *const u8, len: usize) {
    (0..len.min(NEAR_MAX)).step_by(LINE).for_each(|offset| prefetch(at.wrapping_add(offset)));
}

/// The same for a piece that will be written.
#[inline]
pub fn bring_near_to_write(at: *const u8, len: usize) {
    (0..len.min(NEAR_MAX)).step_by(LINE).for_each(|offset| prefetch_write(at.wrapping_add(offset)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_copied_whole_and_no_further() {
        let from: Vec<u8> = (0..600u16).map(|i| (i % 251) as u8).collect();
        for len in 0..=600 {
            let mut to = vec![0xa5u8; 640];
            // SAFETY: both are long enough.
            unsafe { copy(from.as_ptr(), to.as_mut_ptr(), len) };
            assert_eq!(to[..len], from[..len]);
            assert!(to[len..].iter().all(|&b| b == 0xa5), "{len}");
            let mut moved = from.clone();
            // SAFETY: both lie in `moved`.
            unsafe { copy_between(moved.as_ptr(), moved.as_mut_ptr().add(600 - len), len) };
            assert_eq!(moved[600 - len..], from[..len]);
        }
    }
}
