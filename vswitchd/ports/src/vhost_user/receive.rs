//! From the guest: chains of its transmit ring become packets.
//!
//! A frame is copied once, into a buffer of ours, and its chain is completed at once; so a frame is either ours whole or
//! counted as dropped. The common case, header and frame in one descriptor, is looked at first.
//!
//! # Safety model
//! See [`super::split`]. Copies end at the lengths that were proven, not at lengths read again.

use weir_wire::{DropReason, Packet, Pool, PortId};

use super::chain::{ChainFault, Direction, Segment, Segments};
use super::dirty_log::DirtyLog;
use super::features::Agreed;
use super::memory::GuestMemory;
use super::net_header;
use super::split::{Ring, RingFault};
use crate::{Counters, no_buffer};

/// What receiving needs of the session.
pub struct Source<'a> {
    /// The guest's memory.
    pub memory: &'a GuestMemory,
    /// What was agreed on.
    pub agreed: Agreed,
    /// The log of migration.
    pub log: Option<&'a DirtyLog>,
    /// Room to collect pieces.
    pub segments: &'a mut Segments,
    /// The port's counters.
    pub counters: &'a mut Counters,
}

impl Source<'_> {
    /// Takes up to `room` frames from `ring`.
    ///
    /// # Errors
    /// [`RingFault`] where the ring is to be stopped. Frames before the fault are in `burst` and completed.
    pub fn burst(
        &mut self,
        ring: &mut Ring,
        id: PortId,
        pool: &mut Pool,
        burst: &mut Vec<Packet>,
        room: usize,
    ) -> Result<usize, RingFault> {
        let before = burst.len();
        let result = self.frames(ring, id, pool, burst, room);
        ring.publish(self.log);
        result.map(|()| burst.len() - before)
    }

    fn frames(
        &mut self,
        ring: &mut Ring,
        id: PortId,
        pool: &mut Pool,
        burst: &mut Vec<Packet>,
        room: usize,
    ) -> Result<(), RingFault> {
        let mut room = u16::try_from(room).unwrap_or(u16::MAX);
        while room > 0
            && let Some(head) = ring.next_again()
        {
            self.frame(ring, head, id, pool, burst)?;
            room -= 1;
        }
        for _ in 0..ring.waiting(room)?.min(room) {
            let head = ring.head(0)?;
            self.frame(ring, head, id, pool, burst)?;
            ring.take(1);
        }
        Ok(())
    }

    /// Completes up to `room` frames unread: a ring that is disabled must be drained (vhost-user, "Ring states").
    ///
    /// # Errors
    /// [`RingFault`].
    pub fn discard(&mut self, ring: &mut Ring, room: usize) -> Result<(), RingFault> {
        let room = u16::try_from(room).unwrap_or(u16::MAX);
        while let Some(head) = ring.next_again() {
            ring.complete(head, 0);
            self.counters.rx_dropped.count(DropReason::LinkDown);
        }
        for _ in 0..ring.waiting(room)?.min(room) {
            let head = ring.head(0)?;
            ring.take(1);
            ring.complete(head, 0);
            self.counters.rx_dropped.count(DropReason::LinkDown);
        }
        ring.publish(self.log);
        Ok(())
    }

    /// Takes the frame of the chain at `head` and completes it.
    #[inline]
    fn frame(
        &mut self,
        ring: &mut Ring,
        head: u16,
        id: PortId,
        pool: &mut Pool,
        burst: &mut Vec<Packet>,
    ) -> Result<(), RingFault> {
        let descriptor = ring.descriptor(head)?;
        let len = descriptor.len as usize;
        self.segments.clear();
        let lone = if descriptor.is_lone_readable() {
            self.memory.translate(descriptor.address, len, &mut ring.hint)
        } else {
            None
        };
        let taken = match lone {
            Some(host) => self.copy(&[Segment { host, len, guest: descriptor.address }], len, id, pool),
            None => match self.segments.add_chain(ring, self.memory, head, Direction::FromGuest) {
                Ok(total) => self.copy(self.segments.get(), total, id, pool),
                Err(ChainFault::Ring(fault)) => return Err(fault),
                Err(ChainFault::Chain) => Err(DropReason::BadDescriptor),
            },
        };
        match taken {
            Ok(packet) => {
                self.counters.rx_packets += 1;
                self.counters.rx_bytes += packet.len() as u64;
                burst.push(packet);
            }
            Err(reason) => self.counters.rx_dropped.count(reason),
        }
        ring.complete(head, 0);
        Ok(())
    }

    /// Copies header and frame out of `segments`, which hold `total` bytes.
    #[inline]
    fn copy(&self, segments: &[Segment], total: usize, id: PortId, pool: &mut Pool) -> Result<Packet, DropReason> {
        let header_len = self.agreed.header_len();
        let frame_len = total.checked_sub(header_len).ok_or(DropReason::BadDescriptor)?;
        let mut header = [0u8; net_header::LEN];
        let mut cursor = Cursor { segments, skip: 0 };
        match header.get_mut(..header_len) {
            Some(to) => cursor.read(to),
            None => return Err(DropReason::BadDescriptor),
        }
        let offload = net_header::read(&header, self.agreed, frame_len).map_err(|_| DropReason::BadOffload)?;
        let Some(mut buffer) = pool.take(frame_len) else { return Err(no_buffer(frame_len)) };
        if let Some(to) = buffer.room().get_mut(..frame_len) {
            cursor.read(to);
        }
        buffer.set_len(frame_len);
        Ok(Packet::new(buffer, id, offload))
    }
}

/// Reads through pieces of guest memory, one after the other.
struct Cursor<'a> {
    segments: &'a [Segment],
    /// Bytes of the first piece that were read.
    skip: usize,
}

impl Cursor<'_> {
    /// Fills `to`; the pieces must have that many bytes left. The rest of `to` stays as it is otherwise.
    #[inline]
    fn read(&mut self, mut to: &mut [u8]) {
        while let Some((segment, rest)) = self.segments.split_first() {
            let n = to.len().min(segment.len - self.skip);
            // SAFETY: `skip + n` is at most the piece's length, which was proven to lie in guest memory; `to` is ours,
            // so the two do not overlap.
            unsafe { std::ptr::copy_nonoverlapping(segment.host.add(self.skip), to.as_mut_ptr(), n) };
            let (_, left) = to.split_at_mut(n);
            to = left;
            if to.is_empty() {
                self.skip += n;
                return;
            }
            self.segments = rest;
            self.skip = 0;
        }
    }
}
