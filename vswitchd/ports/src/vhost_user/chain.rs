//! Descriptor chains: the buffers a driver made available as one, found and checked.
//!
//! A chain runs through a split ring's descriptor table by `next`, through successive places of a packed ring, or through a
//! table of its own that one descriptor names (indirect; virtio 1.2, 2.7.5.3 and 2.8.7). Each descriptor is read once; the walk ends with pieces of memory proven to be the
//! guest's. A buffer may span regions that follow each other without a gap and then becomes several pieces.
//!
//! # Safety model
//! See [`super::split`] and [`super::packed`]. The walk is bounded by the ring's size and [`DESCRIPTORS_MAX`]; an indirect table may not hold
//! another.

use super::descriptor::{self, Descriptor};
use super::memory::GuestMemory;
use super::virtqueue::{RingFault, Virtqueue};

/// Descriptors walked for one frame at most, in all its chains; what a driver needs for 64 KiB is far less.
pub const DESCRIPTORS_MAX: usize = 1024;

/// A piece of guest memory, proven to be one.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Where it is for us. Valid as long as the guest memory it was found in.
    pub host: *mut u8,
    /// Bytes.
    pub len: usize,
    /// Where it is for the guest, for the dirty log.
    pub guest: u64,
}

/// Pieces of memory, kept between packets so that finding them allocates nothing.
#[derive(Debug, Default)]
pub struct Segments {
    pieces: Vec<Segment>,
    /// Descriptors walked since the last [`Segments::clear`].
    walked: usize,
}

// SAFETY: the pointers lead to guest memory, which is not bound to a thread; between packets there are none.
unsafe impl Send for Segments {}

/// Which way a chain's buffers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The driver wrote them and we read.
    FromGuest,
    /// We write them.
    ToGuest,
}

/// Why a chain cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainFault {
    /// The whole ring cannot be trusted any more.
    Ring(RingFault),
    /// Only this chain is bad: an address outside memory, a wrong direction, a bad table, too many descriptors.
    Chain,
}

impl From<RingFault> for ChainFault {
    fn from(fault: RingFault) -> ChainFault {
        ChainFault::Ring(fault)
    }
}

impl Segments {
    /// No pieces.
    pub fn new() -> Segments {
        Segments { pieces: Vec::with_capacity(DESCRIPTORS_MAX), walked: 0 }
    }

    /// Forgets all pieces.
    #[inline]
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.walked = 0;
    }

    /// The pieces, in order.
    #[inline]
    pub fn get(&self) -> &[Segment] {
        &self.pieces
    }

    /// Adds the pieces of the chain that starts with `first`, which was read already; returns how many bytes they have
    /// together.
    ///
    /// # Errors
    /// [`ChainFault`]; then some pieces may have been added.
    pub fn add_chain<R: Virtqueue>(
        &mut self,
        ring: &mut R,
        memory: &GuestMemory,
        first: Descriptor,
        direction: Direction,
    ) -> Result<usize, ChainFault> {
        let mut total = 0usize;
        let mut descriptor = first;
        for count in 1.. {
            if descriptor.is_indirect() {
                // A table ends the chain it stands in (2.7.5.3.1).
                if descriptor.has_next() {
                    return Err(ChainFault::Chain);
                }
                return Ok(total + self.add_table(ring, memory, descriptor, direction)?);
            }
            total += self.add_buffer(ring.hint(), memory, descriptor, direction)?;
            if !descriptor.has_next() {
                break;
            }
            if count >= usize::from(ring.size()) {
                return Err(RingFault::Loop.into());
            }
            descriptor = ring.following(descriptor, count)?;
        }
        Ok(total)
    }

    fn add_table<R: Virtqueue>(
        &mut self,
        ring: &mut R,
        memory: &GuestMemory,
        table: Descriptor,
        direction: Direction,
    ) -> Result<usize, ChainFault> {
        let len = table.len as usize;
        if !ring.indirect() || len == 0 || !len.is_multiple_of(16) || len / 16 > DESCRIPTORS_MAX {
            return Err(ChainFault::Chain);
        }
        let start = memory.translate(table.address, len, ring.hint()).ok_or(ChainFault::Chain)?;
        if !(start as usize).is_multiple_of(8) {
            return Err(ChainFault::Chain);
        }
        let entries = len / descriptor::LEN;
        let mut total = 0usize;
        if R::IN_PLACE {
            // Entries follow each other and are all of the chain (2.8.7).
            for index in 0..entries {
                // SAFETY: `index` is inside the table, which was translated whole; its alignment was checked.
                let descriptor = unsafe { Descriptor::read_packed(start.add(index * descriptor::LEN)) };
                total += self.add_buffer(ring.hint(), memory, descriptor.as_entry(), direction)?;
            }
            return Ok(total);
        }
        let mut index = 0usize;
        for _ in 0..entries {
            if index >= entries {
                return Err(ChainFault::Chain);
            }
            // SAFETY: as above.
            let descriptor = unsafe { Descriptor::read(start.add(index * descriptor::LEN)) };
            if descriptor.is_indirect() {
                return Err(ChainFault::Chain);
            }
            total += self.add_buffer(ring.hint(), memory, descriptor, direction)?;
            if !descriptor.has_next() {
                return Ok(total);
            }
            index = usize::from(descriptor.next);
        }
        // More steps than entries: the table's chain loops, which harms nobody but this chain.
        Err(ChainFault::Chain)
    }

    fn add_buffer(
        &mut self,
        hint: &mut usize,
        memory: &GuestMemory,
        buffer: Descriptor,
        direction: Direction,
    ) -> Result<usize, ChainFault> {
        self.walked += 1;
        if self.walked > DESCRIPTORS_MAX || buffer.is_writable() != (direction == Direction::ToGuest) {
            return Err(ChainFault::Chain);
        }
        let len = buffer.len as usize;
        let (mut guest, mut left) = (buffer.address, len);
        while left > 0 {
            let (host, room) = memory.locate(guest, hint).ok_or(ChainFault::Chain)?;
            let piece = left.min(room);
            self.pieces.push(Segment { host, len: piece, guest });
            left -= piece;
            if left > 0 {
                guest = guest.checked_add(piece as u64).ok_or(ChainFault::Chain)?;
            }
        }
        Ok(len)
    }
}
