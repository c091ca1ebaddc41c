//! Guest memory: regions of a shared file, mapped, and the translation of guest addresses into ours.
//!
//! The front end describes the guest's memory as up to [`SLOTS_MAX`] regions, each a piece of a file that it shares by
//! descriptor. Ring addresses come in the front end's own addresses, everything in descriptors in guest physical ones.
//!
//! # Safety model
//! The other side writes this memory at any time, so no Rust reference to it is ever made: bytes are copied by raw
//! pointer, and fields of rings are read once, volatile or atomic. What [`GuestMemory`] hands out are raw pointers with
//! lengths that were proven to lie in one mapping; they are valid as long as the [`GuestMemory`] they came from, and
//! every holder is told before a region goes. A region is accepted only if it neither wraps nor overlaps and its file
//! is memory (tmpfs, hugetlbfs: a page fault must not wait for somebody's file server) and long enough; a file that is
//! cut short afterwards is what [`super::sigbus`] is for.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use super::message::RegionInfo;
use super::sigbus;
use crate::fd::check;

/// Regions of one guest at most.
pub const SLOTS_MAX: usize = 64;

/// Why a piece of memory was not accepted.
#[derive(Debug)]
pub enum MemoryFault {
    /// No bytes.
    Empty,
    /// An address or the offset wraps around.
    Wraps(RegionInfo),
    /// It overlaps another region.
    Overlap(RegionInfo),
    /// More than [`SLOTS_MAX`] regions.
    TooMany,
    /// The descriptor is not a file in memory; the number of its file system, 0 for no regular file.
    NotMemory(i64),
    /// The file ends before the region.
    BeyondFile {
        /// What the region needs.
        needed: u64,
        /// What there is.
        length: u64,
    },
    /// The kernel refused to map it.
    Map(io::Error),
}

impl fmt::Display for MemoryFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemoryFault::Empty => write!(f, "a memory region is empty"),
            MemoryFault::Wraps(r) => {
                write!(f, "the memory region at {:#x} of {:#x} bytes wraps around", r.guest, r.size)
            }
            MemoryFault::Overlap(r) => write!(f, "the memory region at {:#x} overlaps another", r.guest),
            MemoryFault::TooMany => write!(f, "more than {SLOTS_MAX} memory regions"),
            MemoryFault::NotMemory(0) => write!(f, "the memory's descriptor is no regular file"),
            MemoryFault::NotMemory(kind) => {
                write!(f, "the memory's file is on a file system of type {kind:#x}, not on tmpfs or hugetlbfs")
            }
            MemoryFault::BeyondFile { needed, length } => {
                write!(f, "the memory's file has {length:#x} bytes where {needed:#x} are needed")
            }
            MemoryFault::Map(error) => write!(f, "the memory cannot be mapped: {error}"),
        }
    }
}

/// A piece of a shared file, mapped for reading and writing.
#[derive(Debug)]
pub struct Mapping {
    /// Of the whole mapping, which starts at a page.
    base: NonNull<u8>,
    mapped: usize,
    /// Where the wanted piece starts in it.
    skip: usize,
    len: usize,
    /// Dropped before the mapping goes; see `Drop`.
    guard: Option<sigbus::Guard>,
}

// SAFETY: the mapping is owned by this value alone, and the memory behind it is not bound to a thread.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `fd` from `offset` on.
    ///
    /// # Errors
    /// See [`MemoryFault`].
    pub fn new(fd: BorrowedFd<'_>, offset: u64, len: u64) -> Result<Mapping, MemoryFault> {
        if len == 0 {
            return Err(MemoryFault::Empty);
        }
        let page = page_size(fd)?;
        let wraps = || MemoryFault::Wraps(RegionInfo { offset, size: len, ..RegionInfo::default() });
        let end = offset.checked_add(len).filter(|&end| i64::try_from(end).is_ok()).ok_or_else(wraps)?;
        let start = offset & !(page - 1);
        let mapped = (end - start).checked_next_multiple_of(page).ok_or_else(wraps)?;
        let (mapped, len) = match (usize::try_from(mapped), usize::try_from(len)) {
            (Ok(mapped), Ok(len)) => (mapped, len),
            _ => return Err(wraps()),
        };
        let length = file_length(fd)?;
        if length < end {
            return Err(MemoryFault::BeyondFile { needed: end, length });
        }
        let base = map_shared(fd, start, mapped).map_err(MemoryFault::Map)?;
        let mut mapping = Mapping { base, mapped, skip: (offset - start) as usize, len, guard: None };
        mapping.guard = Some(sigbus::Guard::new(base.as_ptr() as usize, mapped).map_err(MemoryFault::Map)?);
        Ok(mapping)
    }

    /// Its first byte.
    #[inline]
    pub fn start(&self) -> *mut u8 {
        // SAFETY: `skip` lies inside the mapping.
        unsafe { self.base.as_ptr().add(self.skip) }
    }

    /// Its length.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never true; a mapping has bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The file was cut short and zeros stand in its place.
    pub fn is_cut(&self) -> bool {
        self.guard.as_ref().is_some_and(sigbus::Guard::is_cut)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.guard = None;
        // SAFETY: the range is the mapping made in `new`; pointers into it end with this value (see the module's head).
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.mapped) };
    }
}

/// Maps shared pages of `fd`; nothing is read in beforehand. Guest memory stays out of core dumps.
fn map_shared(fd: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
    // SAFETY: no address is asked for, so no existing mapping is touched.
    let base =
        unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, fd.as_raw_fd(), offset as libc::off_t) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the range was just mapped. The call is advice; its failure changes nothing.
    unsafe { libc::madvise(base, len, libc::MADV_DONTDUMP) };
    NonNull::new(base.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
}

const TMPFS: i64 = 0x0102_1994;
const HUGETLBFS: i64 = 0x9584_58f6;
const RAMFS: i64 = 0x8584_58f6;

/// The page size of the file system that `fd` is on, which must be one in memory.
fn page_size(fd: BorrowedFd<'_>) -> Result<u64, MemoryFault> {
    // SAFETY: statfs is a plain structure for which zeros are a valid value.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` is writable.
    check(unsafe { libc::fstatfs(fd.as_raw_fd(), &mut stat) }).map_err(MemoryFault::Map)?;
    let kind = stat.f_type as i64 & 0xffff_ffff;
    let size = match kind {
        HUGETLBFS => stat.f_bsize as u64,
        TMPFS | RAMFS => 4096,
        _ => return Err(MemoryFault::NotMemory(kind)),
    };
    if size.is_power_of_two() { Ok(size) } else { Err(MemoryFault::NotMemory(kind)) }
}

/// The length of the regular file `fd`.
fn file_length(fd: BorrowedFd<'_>) -> Result<u64, MemoryFault> {
    // SAFETY: stat is a plain structure for which zeros are a valid value.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` is writable.
    check(unsafe { libc::fstat(fd.as_raw_fd(), &mut stat) }).map_err(MemoryFault::Map)?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(MemoryFault::NotMemory(0));
    }
    Ok(u64::try_from(stat.st_size).unwrap_or(0))
}

#[derive(Debug)]
struct Region {
    guest: u64,
    user: u64,
    size: u64,
    offset: u64,
    mapping: Mapping,
}

impl Region {
    fn new(info: RegionInfo, fd: BorrowedFd<'_>) -> Result<Region, MemoryFault> {
        if info.size == 0 {
            return Err(MemoryFault::Empty);
        }
        if info.guest.checked_add(info.size).is_none() || info.user.checked_add(info.size).is_none() {
            return Err(MemoryFault::Wraps(info));
        }
        let mapping = Mapping::new(fd, info.offset, info.size)?;
        let RegionInfo { guest, size, user, offset } = info;
        Ok(Region { guest, user, size, offset, mapping })
    }

    fn is(&self, info: RegionInfo) -> bool {
        (self.guest, self.size, self.user, self.offset) == (info.guest, info.size, info.user, info.offset)
    }

    fn overlaps(&self, info: RegionInfo) -> bool {
        let meets = |a: u64, b: u64| a < b.saturating_add(info.size) && b < a.saturating_add(self.size);
        meets(self.guest, info.guest) || meets(self.user, info.user)
    }

    /// Bytes from `address` to the end of the region, and where they are; `None` outside.
    #[inline]
    fn from(&self, start: u64, address: u64) -> Option<(*mut u8, usize)> {
        let offset = address.wrapping_sub(start);
        if offset >= self.size {
            return None;
        }
        // SAFETY: `offset` is below the region's size, which is the mapping's length.
        let host = unsafe { self.mapping.start().add(offset as usize) };
        Some((host, (self.size - offset) as usize))
    }
}

/// One region, as it is searched for each frame of a burst. What it finds is valid as long as the memory it is of.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    guest: u64,
    size: u64,
    host: *mut u8,
}

impl Window {
    /// `len` bytes at guest address `guest`, all in this region.
    #[inline]
    pub fn find(&self, guest: u64, len: u32) -> Option<*mut u8> {
        let offset = guest.wrapping_sub(self.guest);
        let room = self.size.checked_sub(offset)?;
        (u64::from(len) <= room && room > 0).then(|| self.host.wrapping_add(offset as usize))
    }
}

/// The memory of one guest.
#[derive(Debug, Default)]
pub struct GuestMemory {
    regions: Vec<Region>,
}

impl GuestMemory {
    /// No memory.
    pub fn new() -> GuestMemory {
        GuestMemory::default()
    }

    /// Maps and adds a region. One that is there already stays as it is: QEMU (7.2) adds each region once for every
    /// queue pair.
    ///
    /// # Errors
    /// See [`MemoryFault`]; the memory stays as it was.
    pub fn add(&mut self, info: RegionInfo, fd: &OwnedFd) -> Result<(), MemoryFault> {
        use std::os::fd::AsFd;
        if self.regions.iter().any(|r| r.is(info)) {
            return Ok(());
        }
        if self.regions.len() >= SLOTS_MAX {
            return Err(MemoryFault::TooMany);
        }
        if self.regions.iter().any(|r| r.overlaps(info)) {
            return Err(MemoryFault::Overlap(info));
        }
        self.regions.push(Region::new(info, fd.as_fd())?);
        Ok(())
    }

    /// Removes and unmaps a region, if it is there: it, too, is asked for once for every queue pair. Nobody may hold
    /// pointers into it.
    pub fn remove(&mut self, info: RegionInfo) {
        self.regions.retain(|r| !r.is(RegionInfo { offset: r.offset, ..info }));
    }

    /// How many regions there are.
    pub fn len(&self) -> usize {
        self.regions.len()
    }

    /// No memory.
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// Bytes in all regions.
    pub fn size(&self) -> u64 {
        self.regions.iter().fold(0u64, |sum, r| sum.saturating_add(r.size))
    }

    /// Some of the memory was taken away.
    pub fn is_cut(&self) -> bool {
        self.regions.iter().any(|r| r.mapping.is_cut())
    }

    /// The region of this number; without one a window that holds nothing.
    #[inline]
    pub fn window(&self, hint: usize) -> Window {
        match self.regions.get(hint) {
            Some(region) => Window { guest: region.guest, size: region.size, host: region.mapping.start() },
            None => Window { guest: 0, size: 0, host: std::ptr::null_mut() },
        }
    }

    /// `len` bytes at guest address `guest`, all in one region. `hint` is the region used last.
    #[inline]
    pub fn translate(&self, guest: u64, len: usize, hint: &mut usize) -> Option<*mut u8> {
        let (host, room) = self.locate(guest, hint)?;
        (len <= room).then_some(host)
    }

    /// The bytes from guest address `guest` to the end of its region.
    #[inline]
    pub fn locate(&self, guest: u64, hint: &mut usize) -> Option<(*mut u8, usize)> {
        if let Some(region) = self.regions.get(*hint)
            && let Some(found) = region.from(region.guest, guest)
        {
            return Some(found);
        }
        self.search(guest, hint)
    }

    #[cold]
    fn search(&self, guest: u64, hint: &mut usize) -> Option<(*mut u8, usize)> {
        for (index, region) in self.regions.iter().enumerate() {
            if let Some(found) = region.from(region.guest, guest) {
                *hint = index;
                return Some(found);
            }
        }
        None
    }

    /// `len` bytes at address `user` of the front end's process, all in one region.
    pub fn translate_user(&self, user: u64, len: usize) -> Option<*mut u8> {
        let found = self.regions.iter().find_map(|r| r.from(r.user, user))?;
        (len <= found.1).then_some(found.0)
    }

    /// The guest address of what stands at address `user` of the front end's process.
    pub fn guest_of(&self, user: u64) -> Option<u64> {
        let region = self.regions.iter().find(|r| r.from(r.user, user).is_some())?;
        region.guest.checked_add(user - region.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fd::owned;

    pub(crate) fn memfd(len: u64) -> OwnedFd {
        // SAFETY: the name is a C string.
        let fd = owned(unsafe { libc::memfd_create(c"weir-test".as_ptr(), libc::MFD_CLOEXEC) }).unwrap();
        set_len(&fd, len);
        fd
    }

    fn set_len(fd: &OwnedFd, len: u64) {
        // SAFETY: takes no memory.
        check(unsafe { libc::ftruncate(fd.as_raw_fd(), len as libc::off_t) }).unwrap();
    }

    fn region(guest: u64, size: u64) -> RegionInfo {
        RegionInfo { guest, size, user: guest, offset: 0 }
    }

    #[test]
    fn translation_ends_where_the_region_ends() {
        let mut memory = GuestMemory::new();
        memory.add(region(0x10000, 0x2000), &memfd(0x2000)).unwrap();
        let mut hint = 0;
        let start = memory.translate(0x10000, 0x2000, &mut hint).unwrap();
        assert_eq!(memory.translate(0x11fff, 1, &mut hint), Some(start.wrapping_add(0x1fff)));
        for (guest, len) in
            [(0x10000, 0x2001), (0x11fff, 2), (0x12000, 1), (0xffff, 1), (u64::MAX, 1), (0x10001, usize::MAX)]
        {
            assert_eq!(memory.translate(guest, len, &mut hint), None, "{guest:#x} {len:#x}");
            assert_eq!(memory.window(0).find(guest, u32::try_from(len).unwrap_or(u32::MAX)), None, "{guest:#x}");
        }
        assert_eq!(memory.window(0).find(0x10000, 0x2000), Some(start));
        assert_eq!(memory.window(0).find(0x11fff, 1), Some(start.wrapping_add(0x1fff)));
        assert_eq!(memory.window(1).find(0, 0), None);
    }

    #[test]
    fn a_second_region_is_found_and_remembered() {
        let mut memory = GuestMemory::new();
        memory.add(region(0, 0x1000), &memfd(0x1000)).unwrap();
        memory.add(region(0x100000, 0x1000), &memfd(0x1000)).unwrap();
        let mut hint = 0;
        assert!(memory.translate(0x100010, 16, &mut hint).is_some());
        assert_eq!(hint, 1);
        assert!(memory.translate(0x10, 16, &mut hint).is_some());
        assert_eq!(hint, 0);
    }

    #[test]
    fn regions_that_are_empty_wrap_or_overlap_are_refused() {
        let fd = memfd(0x4000);
        let mut memory = GuestMemory::new();
        memory.add(region(0x10000, 0x2000), &fd).unwrap();
        assert!(matches!(memory.add(region(0, 0), &fd), Err(MemoryFault::Empty)));
        assert!(matches!(memory.add(region(u64::MAX - 0xfff, 0x2000), &fd), Err(MemoryFault::Wraps(_))));
        let wrapping_offset = RegionInfo { offset: u64::MAX - 0xfff, ..region(0, 0x2000) };
        assert!(matches!(memory.add(wrapping_offset, &fd), Err(MemoryFault::Wraps(_))));
        for (guest, size) in [(0xf000, 0x2000), (0x10000, 0x1000), (0x10000, 0x3000), (0x11fff, 0x2000)] {
            assert!(matches!(memory.add(region(guest, size), &fd), Err(MemoryFault::Overlap(_))), "{guest:#x}");
        }
        let same_user = RegionInfo { user: 0x10000, ..region(0x40000, 0x1000) };
        assert!(matches!(memory.add(same_user, &fd), Err(MemoryFault::Overlap(_))));
        assert_eq!(memory.len(), 1);
    }

    #[test]
    fn a_region_is_added_and_removed_as_often_as_there_are_queue_pairs() {
        let fd = memfd(0x2000);
        let mut memory = GuestMemory::new();
        for _ in 0..3 {
            memory.add(region(0x10000, 0x2000), &fd).unwrap();
        }
        assert_eq!(memory.len(), 1);
        for _ in 0..3 {
            memory.remove(RegionInfo { offset: 0x1000, ..region(0x10000, 0x2000) });
            assert!(memory.is_empty());
        }
    }

    #[test]
    fn a_region_larger_than_its_file_is_refused() {
        let mut memory = GuestMemory::new();
        let huge = region(0, 1 << 46);
        assert!(matches!(memory.add(huge, &memfd(0x1000)), Err(MemoryFault::BeyondFile { .. })));
        let behind = RegionInfo { offset: 0x1000, ..region(0, 0x1000) };
        assert!(matches!(memory.add(behind, &memfd(0x1000)), Err(MemoryFault::BeyondFile { .. })));
    }

    #[test]
    fn only_files_in_memory_are_mapped() {
        let mut memory = GuestMemory::new();
        let null = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        assert!(matches!(memory.add(region(0, 0x1000), &null), Err(MemoryFault::NotMemory(_))));
        let proc = OwnedFd::from(std::fs::File::open("/proc/self/maps").unwrap());
        assert!(matches!(memory.add(region(0, 0x1000), &proc), Err(MemoryFault::NotMemory(_))));
    }

    #[test]
    fn an_offset_within_a_page_is_mapped_from_the_page_on() {
        let fd = memfd(0x3000);
        let whole = Mapping::new(std::os::fd::AsFd::as_fd(&fd), 0, 0x3000).unwrap();
        let part = Mapping::new(std::os::fd::AsFd::as_fd(&fd), 0x1010, 0x100).unwrap();
        // SAFETY: both pointers lie in mappings that live until the end of the test.
        unsafe {
            whole.start().add(0x1010).write_volatile(0x5a);
            assert_eq!(part.start().read_volatile(), 0x5a);
        }
    }

    #[test]
    fn memory_that_is_cut_short_reads_as_zeros_and_is_noticed() {
        let fd = memfd(0x4000);
        let mut memory = GuestMemory::new();
        memory.add(region(0, 0x4000), &fd).unwrap();
        let at = memory.translate(0x3000, 1, &mut 0).unwrap();
        // SAFETY: `at` lies in a mapping that lives until the end of the test.
        unsafe { at.write_volatile(7) };
        assert!(!memory.is_cut());
        set_len(&fd, 0x1000);
        // SAFETY: as above; the page is gone, which the guard catches.
        assert_eq!(unsafe { at.read_volatile() }, 0);
        assert!(memory.is_cut());
    }
}
