//! What a process asks of the kernel for itself: a CPU for a thread, larger limits.

use std::io;

use crate::fd::check;

/// A resource limit of the process (getrlimit(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes that may be locked in memory; kernels before 5.11 charge AF_XDP and BPF memory to it.
    LockedMemory,
    /// Open descriptors.
    OpenFiles,
}

/// Binds the calling thread to one CPU.
///
/// # Errors
/// `EINVAL` where the CPU does not exist or the process may not use it.
pub fn pin_thread(cpu: usize) -> io::Result<()> {
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

/// Raises a limit as far as it goes: without bound where the process may, else to the hard limit. Returns the limit
/// that holds afterwards.
pub fn raise_limit(limit: Limit) -> io::Result<u64> {
    let (resource, wanted) = match limit {
        Limit::LockedMemory => (libc::RLIMIT_MEMLOCK, libc::RLIM_INFINITY),
        // The kernel refuses more than fs.nr_open; this is its default.
        Limit::OpenFiles => (libc::RLIMIT_NOFILE, 1 << 20),
    };
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `now` is valid for the call.
    check(unsafe { libc::getrlimit(resource, &mut now) })?;
    if now.rlim_cur >= wanted {
        return Ok(now.rlim_cur);
    }
    let full = libc::rlimit { rlim_cur: wanted, rlim_max: wanted.max(now.rlim_max) };
    // SAFETY: `full` is valid for the call.
    if check(unsafe { libc::setrlimit(resource, &full) }).is_ok() {
        return Ok(wanted);
    }
    now.rlim_cur = now.rlim_max;
    // SAFETY: `now` is valid for the call.
    check(unsafe { libc::setrlimit(resource, &now) })?;
    Ok(now.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_be_bound_to_a_cpu_that_exists_only() {
        std::thread::scope(|s| {
            s.spawn(|| {
                assert_eq!(pin_thread(1 << 20).unwrap_err().raw_os_error(), Some(libc::EINVAL));
                // SAFETY: sched_getcpu takes no arguments.
                let here = unsafe { libc::sched_getcpu() } as usize;
                pin_thread(here).unwrap();
            });
        });
    }

    #[test]
    fn limits_never_go_down() {
        let once = raise_limit(Limit::OpenFiles).unwrap();
        assert!(raise_limit(Limit::OpenFiles).unwrap() >= once);
    }
}
