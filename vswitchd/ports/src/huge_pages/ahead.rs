//! Touches blocks of reserved pages before they are needed.
//!
//! Tables are used from their beginning, a page each few thousand flows. Whoever touches a page first waits until the kernel
//! has cleared it, and in a virtual machine until its host has found one: flows were opened at half the speed until all places
//! had been used once. The pages are taken anyway, so nothing is lost where they are touched early; a thread of its own
//! does it, from the first page to the last. Where the kernel cannot (before 5.14), or there is no such thread, the pages are
//! touched as they are used.
//!
//! The thread has the usual priority: while it clears a page it holds one of a few locks of the kernel that everybody's huge
//! pages share, and one that gave way to others kept a program that polls on the same core waiting for seconds.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Thread;

use super::{PAGE, UNTOUCHED};

static TOUCHER: OnceLock<Option<Thread>> = OnceLock::new();

/// Starts the thread, once.
pub(super) fn start() {
    TOUCHER.get_or_init(|| {
        let thread = std::thread::Builder::new().name("huge-pages".to_owned()).spawn(touch_for_ever);
        thread.ok().map(|handle| handle.thread().clone())
    });
}

/// A block has come. Takes no memory and no lock, since it is called while somebody asks for memory.
pub(super) fn wake() {
    if let Some(Some(thread)) = TOUCHER.get() {
        thread.unpark();
    }
}

fn touch_for_ever() {
    loop {
        UNTOUCHED.iter().for_each(|untouched| while untouched.touch_next() {});
        std::thread::park();
    }
}

/// The pages of a block that are still to be touched.
pub(super) struct Untouched {
    /// The address of the first of them.
    next: AtomicUsize,
    end: AtomicUsize,
}

impl Untouched {
    pub(super) const fn nothing() -> Untouched {
        Untouched { next: AtomicUsize::new(0), end: AtomicUsize::new(0) }
    }

    /// The pages at these addresses, in place of others.
    pub(super) fn set(&self, pages: Range<usize>) {
        self.end.store(0, Ordering::Release);
        self.next.store(pages.start, Ordering::Release);
        self.end.store(pages.end, Ordering::Release);
    }

    /// Touches the next page; `false` where there is none.
    pub(super) fn touch_next(&self) -> bool {
        let next = self.next.load(Ordering::Acquire);
        if next >= self.end.load(Ordering::Acquire) {
            return false;
        }
        // SAFETY: the call changes the contents of no memory: whatever stands at the address, of the block or of whoever got
        // its place a moment ago, is only made present; where nothing does, or the kernel does not know the call, it fails.
        let touched = unsafe { libc::madvise(next as *mut libc::c_void, PAGE, libc::MADV_POPULATE_WRITE) } == 0;
        // Unless the block has been given back meanwhile.
        let after = if touched { next + PAGE } else { usize::MAX };
        let _ = self.next.compare_exchange(next, after, Ordering::AcqRel, Ordering::Acquire);
        true
    }
}
