//! Frames whose first bytes only were taken: where the rest of each stands in the guest's memory, and which chains are
//! not given back yet.
//!
//! AF_XDP ports keep theirs here as well: a queue's number stands for the ring, a chunk's for the head of a chain, and
//! nobody but us writes there meanwhile.
//!
//! The driver may not use a chain again before it is completed, so a well-behaved guest leaves the rest alone; what
//! another one writes there meanwhile reaches the receiver as it is at the time of the copy, and nothing has been
//! concluded from it: whoever wants to look at it has it copied first ([`Port::fill`](crate::Port::fill)).
//!
//! Where a ring's chains must be given back in the order in which they came, those behind a held one are held too.
//!
//! # Limits
//! Frames are held for one turn of the port at most, and no more than it received in it.
//!
//! # Safety model
//! The pieces were proven to be guest memory and are valid while it is mapped. The port forgets them before it serves
//! any message, which is when memory changes, and before it drops a session.

use weir_wire::{Packet, Pool, Rest};

use super::chain::Segment;
use super::receive::gather;

/// The first bytes of a long frame that are taken: all headers of the common kinds fit.
pub const HEAD: usize = 128;
/// Frames longer than this are held; for shorter ones a copy more costs less than the bookkeeping.
pub const HOLD_OVER: usize = 384;

/// A frame.
#[derive(Clone, Copy, Debug)]
struct Frame {
    first: u32,
    count: u32,
    len: u32,
}

/// The frames of one turn.
#[derive(Debug, Default)]
pub struct Held {
    pieces: Vec<Segment>,
    frames: Vec<Frame>,
    /// Ring and head of chains to be given back.
    chains: Vec<(u16, u16)>,
}

// SAFETY: the pointers lead to guest memory, which is not bound to a thread; see the module's head for their life.
unsafe impl Send for Held {}

impl Held {
    /// Nothing is held.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    /// Holds a chain of the ring `ring` that starts at `head`, and a frame whose rest of `len` bytes stands in `pieces`.
    /// Returns the frame's number.
    #[inline]
    pub fn hold(&mut self, ring: u16, head: u16, pieces: impl Iterator<Item = Segment>, len: u32) -> u32 {
        let first = self.pieces.len() as u32;
        self.pieces.extend(pieces);
        let count = self.pieces.len() as u32 - first;
        self.chains.push((ring, head));
        self.frames.push(Frame { first, count, len });
        self.frames.len() as u32 - 1
    }

    /// Holds a chain whose frame was taken whole, behind others that are held.
    #[inline]
    pub fn follow(&mut self, ring: u16, head: u16) {
        self.chains.push((ring, head));
    }

    /// Where the rest of `len` bytes of a frame stands; `None` where no such frame is held.
    #[inline]
    pub fn rest(&self, slot: u32, len: u32) -> Option<&[Segment]> {
        let frame = self.frames.get(slot as usize).filter(|frame| frame.len == len)?;
        self.pieces.get(frame.first as usize..(frame.first + frame.count) as usize)
    }

    /// Makes a packet whole; see [`Port::fill`](crate::Port::fill). Only the rest is read: the first bytes stay what
    /// they were judged by.
    pub fn fill(&self, packet: &mut Packet, pool: &mut Pool) -> bool {
        let len = packet.rest.len as usize;
        if len == 0 {
            return true;
        }
        let Some(pieces) = self.rest(packet.rest.slot, packet.rest.len) else { return false };
        if packet.buffer.tail().len() < len {
            let Some(mut larger) = pool.take(packet.len()) else { return false };
            larger.fill(packet.bytes());
            pool.give(std::mem::replace(&mut packet.buffer, larger));
        }
        let copied = packet.buffer.tail().get_mut(..len).is_some_and(|to| gather(pieces, to));
        if copied {
            packet.buffer.extend(len);
            packet.rest = Rest::default();
        }
        copied
    }

    /// Copies the rest of a packet; see [`Port::copy_rest`](crate::Port::copy_rest).
    pub fn copy_rest(&self, packet: &Packet, to: &mut [u8]) -> bool {
        let pieces = self.rest(packet.rest.slot, packet.rest.len).filter(|_| to.len() == packet.rest.len as usize);
        pieces.is_some_and(|pieces| gather(pieces, to))
    }

    /// The chains that are held, in the order they came.
    pub fn chains(&self) -> &[(u16, u16)] {
        &self.chains
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.frames.clear();
        self.chains.clear();
    }
}
