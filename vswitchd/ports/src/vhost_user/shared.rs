//! Files in memory that are shared with the other side by descriptor.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::fd::{check, owned};

/// A file of `len` zero bytes in memory, which nobody can make shorter.
///
/// # Errors
/// Whatever memfd_create(2), ftruncate(2) or fcntl(2) report.
pub fn memory_file(len: u64) -> io::Result<OwnedFd> {
    let fd = memory_file_unsealed(len)?;
    // SAFETY: takes no memory.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) })?;
    Ok(fd)
}

/// A file of `len` zero bytes in memory, which its holders can make shorter.
///
/// # Errors
/// Whatever memfd_create(2) or ftruncate(2) report.
pub fn memory_file_unsealed(len: u64) -> io::Result<OwnedFd> {
    create(len, 0)
}

/// Bytes of the huge pages that [`memory_file_huge`] is made of.
pub const HUGE_PAGE: u64 = 2 << 20;

/// A file of at least `len` zero bytes in huge pages, of which the system must have some free.
///
/// # Errors
/// Whatever memfd_create(2) or ftruncate(2) report.
pub fn memory_file_huge(len: u64) -> io::Result<OwnedFd> {
    create(len.next_multiple_of(HUGE_PAGE), libc::MFD_HUGETLB | libc::MFD_HUGE_2MB)
}

fn create(len: u64, kind: libc::c_uint) -> io::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | kind;
    // SAFETY: the name is a C string.
    let fd = owned(unsafe { libc::memfd_create(c"weir".as_ptr(), flags) })?;
    set_len(&fd, len)?;
    Ok(fd)
}

/// Makes a file shorter or longer.
///
/// # Errors
/// Whatever ftruncate(2) reports.
pub fn set_len(fd: &OwnedFd, len: u64) -> io::Result<()> {
    let len = libc::off_t::try_from(len).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    // SAFETY: takes no memory.
    check(unsafe { libc::ftruncate(fd.as_raw_fd(), len) }).map(drop)
}
