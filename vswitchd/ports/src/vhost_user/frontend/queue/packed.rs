//! A packed virtqueue as the driver sees it (virtio 1.2, 2.8): the other end of [`crate::vhost_user::packed`].
//!
//! Chains go into the ring one after the other and come back by their ids. Of what is made available between two showings
//! the first descriptor's flags are written last, so that the device sees all or nothing. With IN_ORDER the device may
//! name the last of several chains alone; those before it are handed out as if it had named each.
//!
//! # Safety model
//! As for [`super::Queue`]. Ids and lengths from used descriptors are compared with what there is before use.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::vhost_user::descriptor;
use crate::vhost_user::features::{self, Agreed};
use crate::vhost_user::position::{AVAILABLE, EVENT_ALWAYS, EVENT_AT, EVENT_NEVER, Position, USED};

/// One buffer of a chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// Guest physical address.
    pub address: u64,
    /// Bytes.
    pub len: u32,
    /// Direction and kind; that the chain goes on is put in where it does.
    pub flags: u16,
}

const NEXT: u16 = 1;

/// A ring and what its driver knows of it.
#[derive(Debug)]
pub(super) struct PackedDriver {
    descriptors: *mut u8,
    driver_event: *mut u8,
    device_event: *mut u8,
    size: u16,
    event_idx: bool,
    in_order: bool,
    /// Where the next descriptor goes.
    next: Position,
    /// Where the device was shown descriptors to.
    shown: Position,
    /// The first descriptor that it was not shown: its place and the half with the flags.
    first: Option<(u16, u64)>,
    /// Where the next used descriptor comes.
    done: Position,
    /// The last chain of a batch that is being handed out, and its length.
    batch: Option<(u16, u32)>,
    /// Places that a chain takes, by its id.
    spans: Vec<u16>,
    /// The id of the chain that starts in a place.
    starts: Vec<u16>,
}

impl PackedDriver {
    /// A ring whose areas stand where these pointers say.
    pub fn new(areas: [*mut u8; 3], size: u16, agreed: Agreed) -> PackedDriver {
        let [descriptors, driver_event, device_event] = areas;
        PackedDriver {
            descriptors,
            driver_event,
            device_event,
            size,
            event_idx: agreed.has(features::EVENT_IDX),
            in_order: agreed.has(features::IN_ORDER),
            next: Position::START,
            shown: Position::START,
            first: None,
            done: Position::START,
            batch: None,
            spans: vec![1; usize::from(size)],
            starts: vec![0; usize::from(size)],
        }
    }

    fn at(&self, slot: u16) -> *mut u64 {
        // SAFETY: places are below the size, so the descriptor lies in the ring, which the queue laid out.
        unsafe { self.descriptors.add(usize::from(slot) * descriptor::LEN).cast() }
    }

    fn half(&self, slot: u16) -> &AtomicU64 {
        // SAFETY: see `at`; halves are aligned to 8, and both sides use this one as a whole.
        unsafe { AtomicU64::from_ptr(self.at(slot).add(1)) }
    }

    /// Makes a chain available; the device sees it after [`PackedDriver::show`]. There must be room in the ring.
    pub fn put(&mut self, id: u16, parts: &[Part]) {
        set(&mut self.spans, id, parts.len() as u16);
        set(&mut self.starts, self.next.slot, id);
        for (count, part) in parts.iter().enumerate() {
            let more = if count + 1 < parts.len() { NEXT } else { 0 };
            self.write(id, Part { flags: part.flags | more, ..*part });
        }
    }

    /// Makes a chain of one buffer available.
    #[inline]
    pub fn put_one(&mut self, id: u16, part: Part) {
        set(&mut self.starts, self.next.slot, id);
        self.write(id, part);
    }

    #[inline]
    fn write(&mut self, id: u16, part: Part) {
        let Position { slot, .. } = self.next;
        let flags = part.flags | self.next.available();
        let half = u64::from(part.len) | u64::from(id) << 32 | u64::from(flags) << 48;
        // SAFETY: see `at`.
        unsafe { self.at(slot).write_volatile(part.address.to_le()) };
        if self.first.is_none() {
            self.first = Some((slot, half));
        } else {
            self.half(slot).store(half.to_le(), Ordering::Relaxed);
        }
        self.next = self.next.after(1, self.size);
    }

    /// Shows the device what was made available; `false` where that is nothing.
    pub fn show(&mut self) -> bool {
        let Some((slot, half)) = self.first.take() else { return false };
        self.half(slot).store(half.to_le(), Ordering::Release);
        true
    }

    /// Whether the device wants to be kicked for what was shown since the last call.
    pub fn wants_kick(&mut self) -> bool {
        fence(Ordering::SeqCst);
        let before = std::mem::replace(&mut self.shown, self.next);
        // SAFETY: the event areas were laid out by the queue, aligned to 4.
        let event = u32::from_le(unsafe { AtomicU32::from_ptr(self.device_event.cast()) }.load(Ordering::Relaxed));
        match (event >> 16) as u16 {
            EVENT_NEVER => false,
            EVENT_AT if self.event_idx => self.next.passed(event as u16, before, self.size),
            _ => true,
        }
    }

    /// Asks for a call at the next used descriptor (or not), then says whether there is one already.
    pub fn request_call(&mut self, wanted: bool) -> bool {
        let flags = match wanted {
            false => EVENT_NEVER,
            true if self.event_idx => EVENT_AT,
            true => EVENT_ALWAYS,
        };
        let event = u32::from(self.done.pack()) | u32::from(flags) << 16;
        // SAFETY: as in `wants_kick`.
        unsafe { AtomicU32::from_ptr(self.driver_event.cast()) }.store(event.to_le(), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.used(self.done).is_some()
    }

    /// Id and length of the used descriptor in a place; `None` where there is none.
    #[inline]
    fn used(&self, at: Position) -> Option<(u16, u32)> {
        let half = u64::from_le(self.half(at.slot).load(Ordering::Acquire));
        let is_used = (half >> 48) as u16 & (AVAILABLE | USED) == at.used();
        is_used.then_some(((half >> 32) as u16 % self.size, half as u32))
    }

    /// The next chain that came back: its id and how much was written.
    #[inline]
    pub fn next_done(&mut self) -> Option<(u16, u32)> {
        let (last, len) = match self.batch.take() {
            Some(batch) => batch,
            None => self.used(self.done)?,
        };
        // Those before the last of a batch were used whole.
        let front = self.starts.get(usize::from(self.done.slot)).copied().unwrap_or(last);
        let (id, len) = if self.in_order && front != last {
            self.batch = Some((last, len));
            (front, u32::MAX)
        } else {
            (last, len)
        };
        self.done = self.done.after(self.span(id), self.size);
        Some((id, len))
    }

    #[inline]
    fn span(&self, id: u16) -> u16 {
        self.spans.get(usize::from(id)).copied().unwrap_or(1)
    }

    /// Where the device has come to, as SET_VRING_BASE says it: behind all that it has used.
    pub fn base(&self) -> u32 {
        let (mut at, mut last) = (self.done, self.batch.map(|(last, _)| last));
        for _ in 0..self.size {
            let Some(batch) = last.or_else(|| self.used(at).map(|(id, _)| id)) else { break };
            let front = self.starts.get(usize::from(at.slot)).copied().unwrap_or(batch);
            let id = if self.in_order { front } else { batch };
            last = (id != batch).then_some(batch);
            at = at.after(self.span(id), self.size);
        }
        u32::from(at.pack()) | u32::from(at.pack()) << 16
    }
}

#[inline]
fn set(list: &mut [u16], at: u16, value: u16) {
    if let Some(place) = list.get_mut(usize::from(at)) {
        *place = value;
    }
}
