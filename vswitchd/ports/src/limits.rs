//! Larger limits for the process.

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
    fn limits_never_go_down() {
        let once = raise_limit(Limit::OpenFiles).unwrap();
        assert!(raise_limit(Limit::OpenFiles).unwrap() >= once);
    }
}
