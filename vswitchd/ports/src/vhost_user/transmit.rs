//! To the guest: packets go into chains of its receive ring.
//!
//! With MRG_RXBUF a frame may span several chains, and the header says how many (virtio 1.2, 5.1.6.4); without, one
//! chain must hold it. First the chains are found and checked, then header and frame are written and the chains
//! completed; where there are too few, nothing was taken and the frame is dropped. The common case, one descriptor for
//! the whole frame, goes through in bursts. The rest of a long frame is copied from the memory of the guest that sent
//! it.
//!
//! # Safety model
//! See [`super::split`] and [`super::packed`]. Nothing is written outside pieces that were proven to be guest memory.

use weir_wire::{DropReason, Packet};

use super::chain::{ChainFault, Direction, Segment, Segments};
use super::copy::{bring_near, bring_near_to_write, copy, copy_between};
use super::dirty_log::DirtyLog;
use super::features::{self, Agreed};
use super::memory::GuestMemory;
use super::net_header;
use super::virtqueue::{Completions, RingFault, Virtqueue};

/// Frames whose places are looked up in advance.
const AHEAD: usize = 64;
/// Places that are on their way near while one is written. Where the guest's core shares no cache with ours, each takes 300 ns;
/// with fewer of them at a time a frame waits for its place.
const NEAR: usize = 32;
/// Bytes of each place that are brought near in any case: header and a short frame.
const BROUGHT: usize = 128;
/// Chains that one frame may span; 64 KiB need 43 of the smallest buffers that Linux posts.
const CHAINS_MAX: u16 = 256;

/// A descriptor that was looked at.
#[derive(Clone, Copy)]
struct Staged {
    host: *mut u8,
    len: u32,
    head: u16,
}

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
    /// Puts the packets at the front that need nothing special into the ring, one buffer each: those that `takes`
    /// accepts and whose rest, if they have one, `rest` finds. Returns how many; what stands behind them is for
    /// [`Sink::send`].
    ///
    /// # Errors
    /// [`RingFault`] where the ring is to be stopped. Nothing was put in then.
    pub fn send_plain<'r, R: Virtqueue>(
        &mut self,
        ring: &mut R,
        packets: &[Packet],
        takes: impl Fn(&Packet) -> bool,
        rest: impl Fn(&Packet) -> Option<&'r [Segment]>,
    ) -> Result<usize, RingFault> {
        if self.agreed.header_len() != net_header::LEN || self.log.is_some() || ring.has_again() {
            return Ok(0);
        }
        let wanted = packets.len().min(AHEAD) as u16;
        let mut staged = [Staged { host: std::ptr::null_mut(), len: 0, head: 0 }; AHEAD];
        let staged = self.stage(ring, wanted, &mut staged)?;
        let mut sent = 0;
        let mut done = ring.completing();
        for (at, (packet, &Staged { host, len, head })) in packets.iter().zip(staged).enumerate() {
            if let Some(place) = staged.get(at + NEAR) {
                bring_near_to_write(place.host, BROUGHT);
            }
            if let (Some(next), Some(place)) = (packets.get(at + 1), staged.get(at + 1))
                && !next.is_whole()
            {
                // Long ones come from memory that nobody has looked at: the next one comes while this one is copied.
                let there = place.host.wrapping_add(BROUGHT);
                bring_near_to_write(there, next.len().saturating_sub(BROUGHT));
                rest(next).into_iter().flatten().for_each(|piece| bring_near(piece.host, piece.len));
            }
            let total = net_header::LEN + packet.len();
            let pieces = if packet.is_whole() { Some(&[][..]) } else { rest(packet) };
            let (Some(pieces), true, true) = (pieces, (len as usize) >= total, takes(packet)) else { break };
            let (first, last) = net_header::pack(packet, self.agreed, 1);
            let frame = packet.bytes();
            // SAFETY: `len` bytes at `host`, and so `total`, were proven to be guest memory; header and frame are ours.
            unsafe {
                host.cast::<u64>().write_unaligned(first.to_le());
                host.add(8).cast::<u32>().write_unaligned(last.to_le());
                copy(frame.as_ptr(), host.add(net_header::LEN), frame.len());
            }
            if !pieces.is_empty() {
                let to = Segment { host, len: total, guest: 0 };
                Cursor { segments: &[to], skip: net_header::LEN + frame.len(), log: None }.write_pieces(pieces);
            }
            done.put(head, total as u32);
            sent += 1;
        }
        drop(done);
        ring.take(sent as u16);
        Ok(sent)
    }

    /// Reads the next descriptors, once, up to the first that is not one buffer in the region used last.
    #[inline]
    fn stage<'s, R: Virtqueue>(
        &self,
        ring: &mut R,
        most: u16,
        staged: &'s mut [Staged; AHEAD],
    ) -> Result<&'s [Staged], RingFault> {
        let window = self.memory.window(*ring.hint());
        let mut slots = staged.iter_mut();
        let mut count = 0;
        ring.look(most, |head, descriptor| {
            let host = window.find(descriptor.address, descriptor.len).filter(|_| descriptor.is_lone_writable());
            let (Some(host), Some(slot)) = (host, slots.next()) else { return false };
            *slot = Staged { host, len: descriptor.len, head };
            if count < NEAR {
                bring_near_to_write(host, BROUGHT);
            }
            count += 1;
            true
        })?;
        Ok(staged.get(..count).unwrap_or(&[]))
    }

    /// Puts one packet into the ring, its own bytes and then those in `rest`; the driver sees it after
    /// [`Ring::publish`].
    ///
    /// # Errors
    /// [`SendFault`].
    #[inline]
    pub fn send<R: Virtqueue>(&mut self, ring: &mut R, packet: &Packet, rest: &[Segment]) -> Result<(), SendFault> {
        while let Some(head) = ring.next_again() {
            // Empty buffers that an earlier back end held: the driver posts them anew.
            ring.complete(head, 0);
        }
        if ring.waiting(1)? == 0 {
            return Err(SendFault::Drop(DropReason::TxFull));
        }
        let total = self.agreed.header_len() + packet.len();
        let head = ring.head(0)?;
        let descriptor = ring.first(head)?;
        if descriptor.is_lone_writable()
            && descriptor.len as usize >= total
            && let Some(host) = self.memory.translate(descriptor.address, total, ring.hint())
        {
            self.write(&[Segment { host, len: total, guest: descriptor.address }], packet, rest, 1);
            ring.take(1);
            ring.complete(head, total as u32);
            return Ok(());
        }
        self.send_chains(ring, packet, rest, total)
    }

    fn send_chains<R: Virtqueue>(
        &mut self,
        ring: &mut R,
        packet: &Packet,
        rest: &[Segment],
        total: usize,
    ) -> Result<(), SendFault> {
        self.segments.clear();
        self.chains.0.clear();
        let most = if self.agreed.has(features::MRG_RXBUF) { CHAINS_MAX } else { 1 };
        let (mut left, mut entries) = (total, 0);
        for _ in 0..most {
            if ring.waiting(entries + 1)? <= entries {
                return Err(SendFault::Drop(DropReason::TxFull));
            }
            let head = ring.head(entries)?;
            let first = ring.first(head)?;
            entries += ring.entries(head);
            match self.segments.add_chain(ring, self.memory, first, Direction::ToGuest) {
                Ok(room) => {
                    let used = room.min(left);
                    self.chains.0.push((head, used as u32));
                    left -= used;
                }
                Err(ChainFault::Ring(fault)) => return Err(SendFault::Ring(fault)),
                Err(ChainFault::Chain) => return self.give_up(ring, head, entries),
            }
            if left == 0 {
                break;
            }
        }
        if left > 0 {
            return Err(SendFault::Drop(DropReason::TxTooLong));
        }
        let count = self.chains.0.len() as u16;
        self.write(self.segments.get(), packet, rest, count);
        ring.take(entries);
        for &(head, len) in &self.chains.0 {
            ring.complete(head, len);
        }
        Ok(())
    }

    /// A bad chain would stand in the way for ever: it and the good ones before it go back empty.
    #[cold]
    fn give_up<R: Virtqueue>(&mut self, ring: &mut R, bad: u16, entries: u16) -> Result<(), SendFault> {
        self.chains.0.push((bad, 0));
        ring.take(entries);
        for &(head, _) in &self.chains.0 {
            ring.complete(head, 0);
        }
        Err(SendFault::Drop(DropReason::BadDescriptor))
    }

    /// Writes header and frame into `segments`, which have room for both.
    #[inline]
    fn write(&self, segments: &[Segment], packet: &Packet, rest: &[Segment], buffers: u16) {
        let header = net_header::write(packet, self.agreed, buffers);
        let header = header.get(..self.agreed.header_len()).unwrap_or(&header);
        let mut cursor = Cursor { segments, skip: 0, log: self.log };
        cursor.write(header);
        cursor.write(packet.bytes());
        cursor.write_pieces(rest);
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
    fn write(&mut self, from: &[u8]) {
        // SAFETY: a slice of ours, which guest memory does not overlap.
        unsafe { self.write_raw(from.as_ptr(), from.len()) };
    }

    /// Writes what stands in pieces of guest memory.
    fn write_pieces(&mut self, pieces: &[Segment]) {
        for piece in pieces {
            // SAFETY: the piece was proven to be memory of the guest that sent it. Where that is the receiver as well
            // and the two overlap, see `copy_between`.
            unsafe { self.write_raw(piece.host, piece.len) };
        }
    }

    /// # Safety
    /// `len` bytes at `from` are readable.
    #[inline]
    unsafe fn write_raw(&mut self, mut from: *const u8, mut len: usize) {
        while let Some((segment, rest)) = self.segments.split_first() {
            let n = len.min(segment.len - self.skip);
            // SAFETY: `skip + n` is at most the piece's length, which was proven to lie in guest memory; `n` is at most
            // what is readable at `from`.
            unsafe { copy_between(from, segment.host.add(self.skip), n) };
            if let Some(log) = self.log {
                log.mark(segment.guest.wrapping_add(self.skip as u64), n);
            }
            from = from.wrapping_add(n);
            len -= n;
            if len == 0 {
                self.skip += n;
                return;
            }
            self.segments = rest;
            self.skip = 0;
        }
    }
}
