//! To the guest: packets go into chains of its receive ring.
//!
//! With MRG_RXBUF a frame may span several chains, and the header says how many (virtio 1.2, 5.1.6.4); without, one
//! chain must hold it. First the chains are found and checked, then header and frame are written and the chains
//! completed; where there are too few, nothing was taken and the frame is dropped.
//!
//! # Safety model
//! See [`super::split`]. Nothing is written outside pieces that were proven to be guest memory.

use weir_wire::{DropReason, Packet};

use super::chain::{ChainFault, Direction, Segment, Segments};
use super::copy::{copy, prefetch};
use super::dirty_log::DirtyLog;
use super::features::{self, Agreed};
use super::memory::GuestMemory;
use super::net_header;
use super::split::{Ring, RingFault};

/// Frames whose places are brought near in advance.
const AHEAD: usize = 64;
/// Chains that one frame may span; 64 KiB need 43 of the smallest buffers that Linux posts.
const CHAINS_MAX: u16 = 256;

/// Chains that one frame goes into, and how many bytes each has.
#[derive(Debug, Default)]
pub struct Chains(Vec<(u16, u32)>);

impl Chains {
    /// Room for as many as one frame may take.
    pub fn new() -> Chains {
        Chains(Vec::with_capacity(CHAINS_MAX as usize))
    }
}

/// Why a packet did not go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendFault {
    /// The ring is to be stopped.
    Ring(RingFault),
    /// Only this packet is lost.
    Drop(DropReason),
}

impl From<RingFault> for SendFault {
    fn from(fault: RingFault) -> SendFault {
        SendFault::Ring(fault)
    }
}

/// What sending needs of the session.
pub struct Sink<'a> {
    /// The guest's memory.
    pub memory: &'a GuestMemory,
    /// What was agreed on.
    pub agreed: Agreed,
    /// The log of migration.
    pub log: Option<&'a DirtyLog>,
    /// Room to collect pieces.
    pub segments: &'a mut Segments,
    /// Room to collect chains.
    pub chains: &'a mut Chains,
}

impl Sink<'_> {
    /// Brings near where the next `count` frames will probably go. What is read here is a hint and is read again.
    pub fn prepare(&mut self, ring: &mut Ring, count: usize) {
        let count = count.min(AHEAD) as u16;
        // A fault shows again when the ring is used.
        let waiting = ring.waiting(count).unwrap_or(0).min(count);
        for ahead in 0..waiting {
            let Ok(descriptor) = ring.head(ahead).and_then(|head| ring.descriptor(head)) else { return };
            if let Some((host, _)) = self.memory.locate(descriptor.address, &mut ring.hint) {
                prefetch(host);
                prefetch(host.wrapping_add(64));
            }
        }
    }

    /// Puts one packet into the ring; the driver sees it after [`Ring::publish`].
    ///
    /// # Errors
    /// [`SendFault`].
    #[inline]
    pub fn send(&mut self, ring: &mut Ring, packet: &Packet) -> Result<(), SendFault> {
        while let Some(head) = ring.next_again() {
            // Empty buffers that an earlier back end held: the driver posts them anew.
            ring.complete(head, 0);
        }
        if ring.waiting(1)? == 0 {
            return Err(SendFault::Drop(DropReason::TxFull));
        }
        let total = self.agreed.header_len() + packet.len();
        let head = ring.head(0)?;
        let descriptor = ring.descriptor(head)?;
        if descriptor.is_lone_writable()
            && descriptor.len as usize >= total
            && let Some(host) = self.memory.translate(descriptor.address, total, &mut ring.hint)
        {
            if self.agreed.header_len() == net_header::LEN && self.log.is_none() {
                let (first, last) = net_header::pack(packet, self.agreed, 1);
                let frame = packet.bytes();
                // SAFETY: `total` bytes at `host` were proven to be guest memory; header and frame are ours.
                unsafe {
                    host.cast::<u64>().write_unaligned(first.to_le());
                    host.add(8).cast::<u32>().write_unaligned(last.to_le());
                    copy(frame.as_ptr(), host.add(net_header::LEN), frame.len());
                }
            } else {
                self.write(&[Segment { host, len: total, guest: descriptor.address }], packet, 1);
            }
            ring.take(1);
            ring.complete(head, total as u32);
            return Ok(());
        }
        self.send_chains(ring, packet, total)
    }

    fn send_chains(&mut self, ring: &mut Ring, packet: &Packet, total: usize) -> Result<(), SendFault> {
        self.segments.clear();
        self.chains.0.clear();
        let most = if self.agreed.has(features::MRG_RXBUF) { CHAINS_MAX } else { 1 };
        let mut left = total;
        for count in 0..most {
            if ring.waiting(count + 1)? <= count {
                return Err(SendFault::Drop(DropReason::TxFull));
            }
            let head = ring.head(count)?;
            let first = ring.descriptor(head)?;
            match self.segments.add_chain(ring, self.memory, first, Direction::ToGuest) {
                Ok(room) => {
                    let used = room.min(left);
                    self.chains.0.push((head, used as u32));
                    left -= used;
                }
                Err(ChainFault::Ring(fault)) => return Err(SendFault::Ring(fault)),
                Err(ChainFault::Chain) => return self.give_up(ring, head),
            }
            if left == 0 {
                break;
            }
        }
        if left > 0 {
            return Err(SendFault::Drop(DropReason::TxTooLong));
        }
        let count = self.chains.0.len() as u16;
        self.write(self.segments.get(), packet, count);
        ring.take(count);
        for &(head, len) in &self.chains.0 {
            ring.complete(head, len);
        }
        Ok(())
    }

    /// A bad chain would stand in the way for ever: it and the good ones before it go back empty.
    #[cold]
    fn give_up(&mut self, ring: &mut Ring, bad: u16) -> Result<(), SendFault> {
        self.chains.0.push((bad, 0));
        ring.take(self.chains.0.len() as u16);
        for &(head, _) in &self.chains.0 {
            ring.complete(head, 0);
        }
        Err(SendFault::Drop(DropReason::BadDescriptor))
    }

    /// Writes header and frame into `segments`, which have room for both.
    #[inline]
    fn write(&self, segments: &[Segment], packet: &Packet, buffers: u16) {
        let header = net_header::write(packet, self.agreed, buffers);
        let header = header.get(..self.agreed.header_len()).unwrap_or(&header);
        let mut cursor = Cursor { segments, skip: 0, log: self.log };
        cursor.write(header);
        cursor.write(packet.bytes());
    }
}

/// Writes through pieces of guest memory, one after the other.
struct Cursor<'a> {
    segments: &'a [Segment],
    /// Bytes of the first piece that were written.
    skip: usize,
    log: Option<&'a DirtyLog>,
}

impl Cursor<'_> {
    /// Writes `from` whole, or as much as there is room.
    #[inline]
    fn write(&mut self, mut from: &[u8]) {
        while let Some((segment, rest)) = self.segments.split_first() {
            let n = from.len().min(segment.len - self.skip);
            // SAFETY: `skip + n` is at most the piece's length, which was proven to lie in guest memory; `from` is
            // ours, so the two do not overlap.
            unsafe { copy(from.as_ptr(), segment.host.add(self.skip), n) };
            if let Some(log) = self.log {
                log.mark(segment.guest.wrapping_add(self.skip as u64), n);
            }
            let (_, left) = from.split_at(n);
            from = left;
            if from.is_empty() {
                self.skip += n;
                return;
            }
            self.segments = rest;
            self.skip = 0;
        }
    }
}
