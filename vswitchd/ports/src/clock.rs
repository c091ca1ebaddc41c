//! The clocks of the process, and the CPU a thread runs on. Only the worker and the control plane use them; the core
//! gets time as an argument.

use std::io;
use std::time::Duration;

use weir_wire::Instant;

use crate::fd::check;

/// Time since the host started, without jumps (CLOCK_MONOTONIC). About 25 ns, without entering the kernel.
#[inline]
pub fn monotonic() -> Instant {
    let ts = read(libc::CLOCK_MONOTONIC);
    Instant((ts.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(ts.tv_nsec as u64))
}

/// CPU time the calling thread has used (CLOCK_THREAD_CPUTIME_ID). A system call.
pub fn thread_cpu_time() -> Duration {
    let ts = read(libc::CLOCK_THREAD_CPUTIME_ID);
    Duration::new(ts.tv_sec as u64, ts.tv_nsec as u32)
}

/// Binds the calling thread to one CPU.
///
/// # Errors
/// `EINVAL` where the CPU does not exist or the process may not use it.
pub fn pin_to_cpu(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: all-zero is a valid, empty set; `cpu` lies within the set's size.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        set
    };
    // SAFETY: `set` is valid for the size given; 0 is the calling thread.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) }).map(drop)
}

/// Has timers of the calling thread end when they are set to, rather than up to 50 µs later (PR_SET_TIMERSLACK).
pub fn be_punctual() {
    // SAFETY: takes numbers only. It cannot fail; if it did, timers would end later.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1000 as libc::c_ulong) };
}

/// Both clocks exist on every Linux, so the call cannot fail; if it did, time would stand at zero.
#[inline]
fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `ts` is valid for the call.
    unsafe { libc::clock_gettime(clock, &mut ts) };
    ts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_be_bound_to_a_cpu_that_exists_only() {
        std::thread::scope(|s| {
            s.spawn(|| {
                assert_eq!(pin_to_cpu(1 << 20).unwrap_err().raw_os_error(), Some(libc::EINVAL));
                // SAFETY: sched_getcpu takes no arguments.
                let here = unsafe { libc::sched_getcpu() } as usize;
                pin_to_cpu(here).unwrap();
            });
        });
    }

    #[test]
    fn both_clocks_run_forward() {
        let (wall, cpu) = (monotonic(), thread_cpu_time());
        assert!(wall > Instant::ZERO);
        while thread_cpu_time() == cpu {}
        assert!(monotonic() > wall);
    }
}
