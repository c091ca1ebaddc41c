//! Memory asked for before it is needed.
//!
//! A read whose result nobody needs yet does as much, but it stays in the processor's window of open instructions until
//! it is served, and few fit: so many lines can be under way at once, and no more. What is only asked for is not waited for.

/// Bytes of a line of the processor's caches.
const LINE: usize = 64;
/// Bytes asked for at once, at most: those behind are foreseen by the processor itself.
const BYTES: usize = 2 << 10;

/// Asks the processor for lines of memory; does nothing where it cannot be asked.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    #[cfg(target_arch = "x86_64")]
    vectors: Option<pulp::x86::V3>,
}

impl Default for Lines {
    fn default() -> Lines {
        Lines {
            #[cfg(target_arch = "x86_64")]
            vectors: pulp::x86::V3::try_new(),
        }
    }
}

impl Lines {
    /// All of a value's lines.
    #[inline(always)]
    pub fn ask<T: ?Sized>(self, value: &T) {
        self.ask_from(std::ptr::from_ref(value).cast(), size_of_val(value));
    }

    /// The lines of bytes from `from` on, and those of the room behind them that `more` bytes will take.
    #[inline]
    pub fn ask_bytes(self, bytes: &[u8], from: usize, more: usize) {
        let count = (bytes.len().saturating_sub(from) + more).min(BYTES);
        if count > 0 {
            self.ask_from(bytes.as_ptr().wrapping_add(from), count);
        }
    }

    #[inline(always)]
    fn ask_from(self, start: *const u8, count: usize) {
        #[cfg(target_arch = "x86_64")]
        if let Some(vectors) = self.vectors {
            for offset in (0..count).step_by(LINE) {
                let line = start.wrapping_add(offset).cast();
                vectors.sse._mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line);
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (start, count);
    }
}
