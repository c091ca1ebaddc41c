//! The clocks of the process. Only the worker and the control plane read them; the core gets time as an argument.

use std::time::Duration;

use weir_wire::Instant;

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
    fn both_clocks_run_forward() {
        let (wall, cpu) = (monotonic(), thread_cpu_time());
        assert!(wall > Instant::ZERO);
        while thread_cpu_time() == cpu {}
        assert!(monotonic() > wall);
    }
}
