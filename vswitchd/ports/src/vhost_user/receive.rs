//! From the guest: chains of its transmit ring become packets.
//!
//! A frame is copied once, into a buffer of ours, and its chain is completed at once; of a long one only the first bytes
//! are copied, and its chain is held ([`super::held`]). Either way a frame is ours or counted as dropped. The common
//! case, header and frame in one descriptor and nothing asked for, goes through in bursts: all descriptors are read first,
//! and frames brought near some time before they are copied.
//!
//! # Safety model
//! See [`super::split`] and [`super::packed`]. Copies end at the lengths that were proven, not at lengths read again.

use weir_wire::buffer::SUPER_MAX;
use weir_wire::{DropReason, Offload, Packet, Pool, PortId, Rest};

use super::chain::{ChainFault, Direction, Segment, Segments};
use super::copy::{copy, prefetch};
use super::dirty_log::DirtyLog;
use super::features::Agreed;
use super::held::{HEAD, HOLD_OVER, Held};
use super::memory::{GuestMemory, Window};
use super::net_header;
use super::virtqueue::{Completions, RingFault, Virtqueue};
use crate::{Counters, no_buffer};

/// Entries that are looked at before the first of their frames is copied.
const AHEAD: usize = 64;
/// Frames that are on their way near while one is copied. Buffers of drivers often start at multiples of 2 KiB, and of such
/// the first cache holds sixteen.
const NEAR: usize = 12;

/// An entry that was looked at.
#[derive(Clone, Copy)]
struct Staged {
    /// The frame, where the chain is one buffer in the region used last; else null.
    host: *mut u8,
    len: u32,
    head: u16,
}

const NOT_STAGED: Staged = Staged { host: std::ptr::null_mut(), len: 0, head: 0 };

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
    /// What is not given back at once.
    pub held: &'a mut Held,
    /// Frames longer than this are held.
    pub hold_over: usize,
    /// The ring's place among the session's.
    pub index: u16,
    /// The port's counters.
    pub counters: &'a mut Counters,
}

impl Source<'_> {
    /// Takes up to `room` frames from `ring`.
    ///
    /// # Errors
    /// [`RingFault`] where the ring is to be stopped. Frames before the fault are in `burst` and completed.
    pub fn burst<R: Virtqueue>(
        &mut self,
        ring: &mut R,
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

    fn frames<R: Virtqueue>(
        &mut self,
        ring: &mut R,
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
        while room > 0 {
            let mut staged = [NOT_STAGED; AHEAD];
            let window = self.memory.window(*ring.hint());
            let (count, fault) = stage(ring, window, room.min(AHEAD as u16), &mut staged);
            if count == 0 {
                return fault;
            }
            let mut left = staged.get(..count).unwrap_or(&staged);
            while let Some(&Staged { head, .. }) = left.first() {
                let done = self.plain(ring, left, id, pool, burst);
                ring.take(done as u16);
                if done == 0 {
                    let entries = self.frame(ring, head, id, pool, burst)?;
                    ring.take(entries);
                }
                left = left.get(done.max(1)..).unwrap_or(&[]);
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
    pub fn discard<R: Virtqueue>(&mut self, ring: &mut R, room: usize) -> Result<(), RingFault> {
        let room = u16::try_from(room).unwrap_or(u16::MAX);
        while let Some(head) = ring.next_again() {
            ring.complete(head, 0);
            self.counters.rx_dropped.count(DropReason::LinkDown);
        }
        let mut left = ring.waiting(room)?.min(room);
        while left > 0 {
            let head = ring.head(0)?;
            ring.first(head)?;
            let entries = ring.entries(head);
            ring.take(entries);
            ring.complete(head, 0);
            self.counters.rx_dropped.count(DropReason::LinkDown);
            left = left.saturating_sub(entries);
        }
        ring.publish(self.log);
        Ok(())
    }

    /// Takes the frames at the front of `staged` that are what most are; how many.
    #[inline]
    fn plain<R: Virtqueue>(
        &mut self,
        ring: &mut R,
        staged: &[Staged],
        id: PortId,
        pool: &mut Pool,
        burst: &mut Vec<Packet>,
    ) -> usize {
        if self.agreed.header_len() != net_header::LEN {
            return 0;
        }
        // Behind a frame that is held nothing is given back before it, where order matters.
        let keeps_order = ring.keeps_order();
        let mut waits = keeps_order && !self.held.is_empty();
        let mut done = ring.completing();
        burst.reserve(staged.len());
        for (count, &Staged { host, len, head }) in staged.iter().enumerate() {
            if let Some(next) = staged.get(count + NEAR) {
                next.bring_near();
            }
            if host.is_null() || (len as usize) < net_header::LEN {
                return count;
            }
            // SAFETY: `len` bytes at `host` were proven to be guest memory, and a header is not longer.
            let header = unsafe { host.cast::<[u8; net_header::LEN]>().read_unaligned() };
            if !net_header::is_plain(&header) {
                return count;
            }
            let whole = len as usize - net_header::LEN;
            if whole > SUPER_MAX {
                return count;
            }
            let here = if whole > self.hold_over { HEAD } else { whole };
            let Some(mut buffer) = pool.take(here) else {
                self.counters.rx_dropped.count(DropReason::NoBuffer);
                if waits {
                    self.held.follow(self.index, head)
                } else {
                    done.put(head, 0)
                }
                continue;
            };
            let frame = host.wrapping_add(net_header::LEN);
            if let Some(to) = buffer.room().get_mut(..here) {
                // SAFETY: as above; `to` is ours, has this length, and is no longer than the frame.
                unsafe { copy(frame, to.as_mut_ptr(), here) };
            }
            buffer.set_len(here);
            let mut rest = Rest::default();
            if whole > self.hold_over {
                let len = (whole - HEAD) as u32;
                let piece = Segment { host: frame.wrapping_add(HEAD), len: len as usize, guest: 0 };
                rest = Rest { len, slot: self.held.hold(self.index, head, std::iter::once(piece), len) };
                waits = keeps_order;
            } else if waits {
                self.held.follow(self.index, head);
            } else {
                done.put(head, 0);
            }
            push(burst, Packet { rest, ..Packet::new(buffer, id, Offload::default()) });
        }
        staged.len()
    }

    /// Takes the frame of any chain, and completes it or holds it. Returns how many entries it spans.
    fn frame<R: Virtqueue>(
        &mut self,
        ring: &mut R,
        head: u16,
        id: PortId,
        pool: &mut Pool,
        burst: &mut Vec<Packet>,
    ) -> Result<u16, RingFault> {
        self.segments.clear();
        let first = ring.first(head)?;
        let taken = match self.segments.add_chain(ring, self.memory, first, Direction::FromGuest) {
            Ok(total) => self.take(head, total, id, pool),
            Err(ChainFault::Ring(fault)) => return Err(fault),
            Err(ChainFault::Chain) => Err(DropReason::BadDescriptor),
        };
        let held = taken.as_ref().is_ok_and(|packet| !packet.is_whole());
        match taken {
            Ok(packet) => burst.push(packet),
            Err(reason) => self.counters.rx_dropped.count(reason),
        }
        if !held {
            if ring.keeps_order() && !self.held.is_empty() {
                self.held.follow(self.index, head);
            } else {
                ring.complete(head, 0);
            }
        }
        Ok(ring.entries(head))
    }

    /// Copies header and frame out of the pieces that were collected, `total` bytes, or the first bytes of a long frame.
    fn take(&mut self, head: u16, total: usize, id: PortId, pool: &mut Pool) -> Result<Packet, DropReason> {
        let header_len = self.agreed.header_len();
        let whole = total.checked_sub(header_len).ok_or(DropReason::BadDescriptor)?;
        let mut header = [0u8; net_header::LEN];
        let mut cursor = Cursor { segments: self.segments.get(), skip: 0 };
        match header.get_mut(..header_len) {
            Some(to) => cursor.read(to),
            None => return Err(DropReason::BadDescriptor),
        }
        let offload = net_header::read(&header, self.agreed, whole).map_err(|_| DropReason::BadOffload)?;
        let hold = whole > self.hold_over && whole <= SUPER_MAX;
        let here = if hold { HEAD } else { whole };
        let Some(mut buffer) = pool.take(here) else { return Err(no_buffer(here)) };
        if let Some(to) = buffer.room().get_mut(..here) {
            cursor.read(to);
        }
        buffer.set_len(here);
        let mut packet = Packet::new(buffer, id, offload);
        if hold {
            let rest = (whole - HEAD) as u32;
            let slot = self.held.hold(self.index, head, cursor.left(), rest);
            packet.rest = Rest { len: rest, slot };
        }
        Ok(packet)
    }
}

/// Adds a packet, for which there is room, where it will stand: one that is made elsewhere and moved is read in larger pieces
/// than it was written in, for which processors wait.
#[inline]
fn push(burst: &mut Vec<Packet>, packet: Packet) {
    match burst.spare_capacity_mut().first_mut() {
        Some(place) => {
            place.write(packet);
            // SAFETY: one place more holds a packet.
            unsafe { burst.set_len(burst.len() + 1) };
        }
        None => burst.push(packet),
    }
}

impl Staged {
    /// Brings the frame near, where it is known.
    #[inline]
    fn bring_near(&self) {
        prefetch(self.host);
        prefetch(self.host.wrapping_add(64));
        if self.len as usize > HOLD_OVER {
            // Header and first bytes reach into a third line.
            prefetch(self.host.wrapping_add(128));
        }
    }
}

/// Looks at up to `most` entries that wait; each descriptor is read once. How many are good, and why no more are.
#[inline]
fn stage<R: Virtqueue>(
    ring: &mut R,
    window: Window,
    most: u16,
    staged: &mut [Staged; AHEAD],
) -> (usize, Result<(), RingFault>) {
    let mut slots = staged.iter_mut();
    let result = ring.look(most, |head, descriptor| {
        let Some(slot) = slots.next() else { return false };
        *slot = Staged { head, ..NOT_STAGED };
        if descriptor.is_lone_readable()
            && let Some(host) = window.find(descriptor.address, descriptor.len)
        {
            *slot = Staged { host, len: descriptor.len, head };
            if slots.len() >= AHEAD - NEAR {
                slot.bring_near();
            }
        }
        true
    });
    let left = slots.len();
    (AHEAD - left, result)
}

/// Copies the rest of a frame out of its pieces; `false` where they are shorter than `to`.
pub(crate) fn gather(pieces: &[Segment], to: &mut [u8]) -> bool {
    let there = pieces.iter().fold(0usize, |sum, piece| sum.saturating_add(piece.len));
    if there < to.len() {
        return false;
    }
    Cursor { segments: pieces, skip: 0 }.read(to);
    true
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

    /// The pieces that were not read.
    fn left(&self) -> impl Iterator<Item = Segment> + '_ {
        let skip = self.skip;
        let pieces = self.segments.iter().enumerate().map(move |(index, &piece)| {
            let skip = if index == 0 { skip } else { 0 };
            Segment { host: piece.host.wrapping_add(skip), len: piece.len - skip, guest: 0 }
        });
        pieces.filter(|piece| piece.len > 0)
    }
}
