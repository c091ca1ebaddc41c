//! From the guest: chains of its transmit ring become packets.
//!
//! A frame is copied once, into a buffer of ours, and its chain is completed at once; so a frame is either ours whole or
//! counted as dropped. The common case, header and frame in one descriptor, is looked at first.
//!
//! # Safety model
//! See [`super::split`]. Copies end at the lengths that were proven, not at lengths read again.

use weir_wire::{DropReason, Offload, Packet, Pool, PortId};

use super::chain::{ChainFault, Direction, Segment, Segments};
use super::copy::{copy, prefetch};
use super::dirty_log::DirtyLog;
use super::features::Agreed;
use super::memory::GuestMemory;
use super::net_header;
use super::split::{Descriptor, Ring, RingFault};
use crate::{Counters, no_buffer};

/// Entries that are looked at, and whose frames are brought near, before the first of them is copied.
const AHEAD: usize = 32;

/// An entry that was looked at.
#[derive(Clone, Copy, Default)]
struct Staged {
    head: u16,
    descriptor: Descriptor,
    /// The frame, where the chain is one buffer in one region.
    host: Option<*mut u8>,
}

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
        let fresh = burst.get(before..).unwrap_or(&[]);
        self.counters.rx_packets += fresh.len() as u64;
        self.counters.rx_bytes += fresh.iter().map(|packet| packet.len() as u64).sum::<u64>();
        result.map(|()| fresh.len())
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
            let staged = self.look(ring, head)?;
            self.frame(ring, staged, id, pool, burst)?;
            room -= 1;
        }
        while room > 0 {
            let mut staged = [Staged::default(); AHEAD];
            let waiting = ring.waiting(room)?.min(room).min(AHEAD as u16);
            if waiting == 0 {
                break;
            }
            let (count, fault) = self.stage(ring, waiting, &mut staged);
            for staged in staged.iter().take(count) {
                self.frame(ring, *staged, id, pool, burst)?;
                ring.take(1);
            }
            fault?;
            room -= count as u16;
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

    /// Looks at the next `count` entries and brings their frames near. How many are good, and why no more are.
    fn stage(&mut self, ring: &mut Ring, count: u16, staged: &mut [Staged; AHEAD]) -> (usize, Result<(), RingFault>) {
        for (ahead, slot) in (0..count).zip(staged.iter_mut()) {
            match ring.head(ahead).and_then(|head| self.look(ring, head)) {
                Ok(found) => *slot = found,
                Err(fault) => return (usize::from(ahead), Err(fault)),
            }
        }
        (usize::from(count), Ok(()))
    }

    /// Reads the first descriptor of a chain, once.
    #[inline]
    fn look(&mut self, ring: &mut Ring, head: u16) -> Result<Staged, RingFault> {
        let descriptor = ring.descriptor(head)?;
        let mut host = None;
        if descriptor.is_lone_readable() {
            host = self.memory.translate(descriptor.address, descriptor.len as usize, &mut ring.hint);
            if let Some(host) = host {
                prefetch(host);
                prefetch(host.wrapping_add(64));
            }
        }
        Ok(Staged { head, descriptor, host })
    }

    /// Takes the frame of a chain and completes it.
    #[inline]
    fn frame(
        &mut self,
        ring: &mut Ring,
        staged: Staged,
        id: PortId,
        pool: &mut Pool,
        burst: &mut Vec<Packet>,
    ) -> Result<(), RingFault> {
        let Staged { head, descriptor, host } = staged;
        let len = descriptor.len as usize;
        let result = match host {
            Some(host) if len >= net_header::LEN && self.agreed.header_len() == net_header::LEN => {
                self.copy_lone(host, len, id, pool, burst)
            }
            Some(host) => {
                let lone = [Segment { host, len, guest: descriptor.address }];
                self.copy(&lone, len, id, pool).map(|packet| burst.push(packet))
            }
            None => {
                self.segments.clear();
                match self.segments.add_chain(ring, self.memory, descriptor, Direction::FromGuest) {
                    Ok(total) => self.copy(self.segments.get(), total, id, pool).map(|packet| burst.push(packet)),
                    Err(ChainFault::Ring(fault)) => return Err(fault),
                    Err(ChainFault::Chain) => Err(DropReason::BadDescriptor),
                }
            }
        };
        if let Err(reason) = result {
            self.counters.rx_dropped.count(reason);
        }
        ring.complete(head, 0);
        Ok(())
    }

    /// Copies header and frame out of one buffer of `len` bytes, at least a header: what most frames come in.
    #[inline]
    fn copy_lone(
        &self,
        host: *mut u8,
        len: usize,
        id: PortId,
        pool: &mut Pool,
        burst: &mut Vec<Packet>,
    ) -> Result<(), DropReason> {
        let frame_len = len - net_header::LEN;
        // SAFETY: `len` bytes at `host` were proven to be guest memory.
        let header = unsafe { host.cast::<[u8; net_header::LEN]>().read_unaligned() };
        let offload = if net_header::is_plain(&header) {
            None
        } else {
            Some(net_header::read(&header, self.agreed, frame_len).map_err(|_| DropReason::BadOffload)?)
        };
        let Some(mut buffer) = pool.take(frame_len) else { return Err(no_buffer(frame_len)) };
        if let Some(to) = buffer.room().get_mut(..frame_len) {
            // SAFETY: as above; `to` is ours and has the length of the frame.
            unsafe { copy(host.add(net_header::LEN), to.as_mut_ptr(), frame_len) };
        }
        buffer.set_len(frame_len);
        // Two pushes, so that the common packet is made where it is to be and not moved there in pieces.
        match offload {
            None => burst.push(Packet::new(buffer, id, Offload::default())),
            Some(offload) => burst.push(Packet::new(buffer, id, offload)),
        }
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
            unsafe { copy(segment.host.add(self.skip), to.as_mut_ptr(), n) };
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
