//! Results of system calls as Rust values.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// A system call's result: negative is `errno`.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// As [`check`], for calls that return `long` or `ssize_t`.
pub(crate) fn check_long(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Takes ownership of the descriptor that a system call has just made for us; negative is `errno`.
pub(crate) fn owned(result: RawFd) -> io::Result<OwnedFd> {
    let fd = check(result)?;
    // SAFETY: the kernel returned `fd` from a call that makes a descriptor, and nobody else has seen the number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
