//! Shared memory that is taken away while we use it.
//!
//! Whoever gave us a file to map can make it shorter afterwards; touching the missing pages raises SIGBUS, which ends
//! the process. A seal (F_SEAL_SHRINK) forbids that, but not every honest front end sets one (User Mode Linux maps a
//! plain file, huge pages can run out), so it cannot be demanded. Instead a handler for SIGBUS looks whether the address
//! lies in a mapping registered here, puts anonymous zero pages in the place of the whole mapping, and marks it as cut.
//! The interrupted access goes on with zeros; the owner sees the mark at its next turn and closes the connection.
//!
//! # Safety model
//! The handler runs on the thread that touched the memory. It uses atomics, `mmap` and `sigaction` only, allocates and
//! locks nothing, and keeps `errno`. A mapping is registered before its first use and unregistered before it is
//! unmapped, both by its owner, so the handler never replaces memory that belongs to somebody else. A SIGBUS elsewhere
//! goes to the handler that was installed before ours.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::fd::check;

/// Mappings that can be guarded at a time, in the whole process.
pub const MAPPINGS_MAX: usize = 4096;

struct Slot {
    /// 0: free; [`CLAIMED`]: being filled; else the address of the mapping.
    start: AtomicUsize,
    len: AtomicUsize,
    cut: AtomicBool,
}

const CLAIMED: usize = 1;

static SLOTS: [Slot; MAPPINGS_MAX] =
    [const { Slot { start: AtomicUsize::new(0), len: AtomicUsize::new(0), cut: AtomicBool::new(false) } };
        MAPPINGS_MAX];

/// Counts the mappings that were cut, so that owners need to look at one number only.
static CUTS: AtomicU64 = AtomicU64::new(0);

/// The handler in force before ours. Set once, before ours is installed.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();
static INSTALLED: OnceLock<bool> = OnceLock::new();

/// How many mappings were cut so far, in the whole process.
#[inline]
pub fn cuts() -> u64 {
    CUTS.load(Ordering::Relaxed)
}

/// Keeps one mapping registered.
#[derive(Debug)]
pub struct Guard(&'static Slot);

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("start", &self.start).field("len", &self.len).field("cut", &self.cut).finish()
    }
}

impl Guard {
    /// Registers the mapping of `len` bytes at `start`. The caller owns it, and drops the guard before it unmaps.
    ///
    /// # Errors
    /// Out of slots (`ENOSPC`), or the handler cannot be installed.
    pub fn new(start: usize, len: usize) -> io::Result<Guard> {
        if !*INSTALLED.get_or_init(install) {
            return Err(io::Error::other("the handler for SIGBUS cannot be installed"));
        }
        for slot in &SLOTS {
            if slot.start.compare_exchange(0, CLAIMED, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                slot.len.store(len, Ordering::Relaxed);
                slot.cut.store(false, Ordering::Relaxed);
                slot.start.store(start, Ordering::Release);
                return Ok(Guard(slot));
            }
        }
        Err(io::Error::from_raw_os_error(libc::ENOSPC))
    }

    /// The memory was taken away; what is mapped reads as zeros.
    pub fn is_cut(&self) -> bool {
        self.0.cut.load(Ordering::Relaxed)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.start.store(0, Ordering::Release);
    }
}

fn install() -> bool {
    // SAFETY: sigaction is a plain structure for which zeros are a valid value.
    let mut previous: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: only reads the present handler into `previous`.
    if check(unsafe { libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut previous) }).is_err() {
        return false;
    }
    if PREVIOUS.set(previous).is_err() {
        return false;
    }
    // SAFETY: as above.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_sigbus as extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: `action` is complete, and the handler keeps to what a handler may do (see the module's head).
    check(unsafe { libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut()) }).is_ok()
}

extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel hands over a valid siginfo_t; for SIGBUS it holds the address.
    let address = unsafe { (*info).si_addr() } as usize;
    // SAFETY: errno belongs to this thread.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let kept = unsafe { *errno };
    let repaired = repair(address);
    // SAFETY: as above.
    unsafe { *errno = kept };
    if !repaired {
        hand_on(signal, info, context);
    }
}

/// Replaces the registered mapping around `address` by zeros; `false` where there is none.
fn repair(address: usize) -> bool {
    for slot in &SLOTS {
        let start = slot.start.load(Ordering::Acquire);
        let len = slot.len.load(Ordering::Relaxed);
        if start <= CLAIMED || address < start || address - start >= len {
            continue;
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
        // SAFETY: the range is a mapping that its owner registered and still holds; the new one is as long and as
        // accessible, and the contents were the other side's to change at any time.
        let mapped = unsafe { libc::mmap(start as *mut libc::c_void, len, protection, flags, -1, 0) };
        if mapped == libc::MAP_FAILED {
            return false;
        }
        slot.cut.store(true, Ordering::Relaxed);
        CUTS.fetch_add(1, Ordering::Relaxed);
        return true;
    }
    false
}

/// Not ours: calls the previous handler, or restores the default so that the repeated fault ends the process.
fn hand_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let previous = PREVIOUS.get();
    match previous.map(|p| (p.sa_sigaction, p.sa_flags & libc::SA_SIGINFO != 0)) {
        Some((handler, true)) if handler != libc::SIG_DFL && handler != libc::SIG_IGN => {
            // SAFETY: with SA_SIGINFO the field holds a function of this type.
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        Some((handler, false)) if handler != libc::SIG_DFL && handler != libc::SIG_IGN => {
            // SAFETY: without SA_SIGINFO the field holds a function of this type.
            let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
        _ => {
            // SAFETY: restores the default action; takes no memory of ours.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
}
