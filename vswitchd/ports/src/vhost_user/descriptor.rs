//! A descriptor of either kind of ring, read once (virtio 1.2, 2.7.5 and 2.8.5): 16 bytes that name a buffer.
//!
//! Both kinds begin with address and length. A split ring's goes on with flags and the next descriptor's index, a packed
//! ring's with the buffer's id and flags; the flags that matter to whoever reads a buffer are the same bits.

/// Bytes of a descriptor.
pub const LEN: usize = 16;

/// The chain goes on.
const NEXT: u16 = 1;
/// For the device to write.
const WRITE: u16 = 2;
/// It names a table of descriptors.
const INDIRECT: u16 = 4;

/// A descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Guest physical address.
    pub address: u64,
    /// Bytes.
    pub len: u32,
    /// As they stand in the ring.
    pub flags: u16,
    /// Split ring: the next one of the chain, where [`Descriptor::has_next`]. Packed ring: the buffer's id.
    pub next: u16,
}

impl Descriptor {
    /// Reads one of a split ring, or of a split ring's table, at `at`.
    ///
    /// # Safety
    /// `at` points to 16 readable bytes, aligned to 8.
    #[inline]
    pub unsafe fn read(at: *const u8) -> Descriptor {
        let at = at.cast::<u64>();
        // SAFETY: the caller vouches for 16 bytes and their alignment.
        let (address, rest) = unsafe { (at.read_volatile(), at.add(1).read_volatile()) };
        let rest = u64::from_le(rest);
        let (flags, next) = ((rest >> 32) as u16, (rest >> 48) as u16);
        Descriptor { address: u64::from_le(address), len: rest as u32, flags, next }
    }

    /// Reads one of a packed ring, or of a packed ring's table, at `at`.
    ///
    /// # Safety
    /// As for [`Descriptor::read`].
    #[inline]
    pub unsafe fn read_packed(at: *const u8) -> Descriptor {
        // SAFETY: the caller vouches for it.
        let read = unsafe { Descriptor::read(at) };
        Descriptor { flags: read.next, next: read.flags, ..read }
    }

    /// The chain goes on.
    #[inline]
    pub fn has_next(self) -> bool {
        self.flags & NEXT != 0
    }

    /// For us to write; else to read.
    #[inline]
    pub fn is_writable(self) -> bool {
        self.flags & WRITE != 0
    }

    /// It holds a table of descriptors.
    #[inline]
    pub fn is_indirect(self) -> bool {
        self.flags & INDIRECT != 0
    }

    /// One buffer for us to read, no more to the chain.
    #[inline]
    pub fn is_lone_readable(self) -> bool {
        self.flags & (NEXT | WRITE | INDIRECT) == 0
    }

    /// One buffer for us to write, no more to the chain.
    #[inline]
    pub fn is_lone_writable(self) -> bool {
        self.flags & (NEXT | WRITE | INDIRECT) == WRITE
    }

    /// As an entry of a packed ring's table, where flags other than the direction mean nothing (virtio 1.2, 2.8.7).
    #[inline]
    pub fn as_entry(self) -> Descriptor {
        Descriptor { flags: self.flags & WRITE, ..self }
    }
}
