//! A virtqueue as the driver sees it: the other end of [`super::super::split`] (virtio 1.2, 2.7), or with [`packed`] of
//! [`super::super::packed`].
//!
//! Each descriptor has a buffer of its own. A frame to be sent takes as many as it needs, chained or listed in an
//! indirect table; chains that wait for frames are made once and posted again and again.
//!
//! # Safety model
//! All areas lie in the front end's own mapping, which outlives the queue; they were laid out here. Ids and lengths
//! from the used ring are compared with what there is before use.

mod packed;
mod pump;

use std::io;
use std::sync::atomic::{AtomicU16, Ordering, fence};

use super::super::features::{self, Agreed};
use super::super::net_header;
use crate::event::EventFd;
use packed::{PackedDriver, Part};

/// Which way frames go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the guest.
    Receive,
    /// From the guest.
    Send,
}

/// How a frame to be sent stands in descriptors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// The header directly before the frame.
    #[default]
    Together,
    /// The header in a descriptor of its own.
    Apart,
    /// In an indirect table, the header in a descriptor of its own.
    Indirect,
}

/// Entries of an indirect table.
const TABLE_LEN: usize = 64;
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// Where the parts of a ring stand, in guest addresses.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Entries.
    pub size: u16,
    /// The first byte of everything.
    pub start: u64,
    /// Descriptor table.
    pub descriptors: u64,
    /// Available ring.
    pub available: u64,
    /// Used ring.
    pub used: u64,
    /// Indirect tables, one a descriptor.
    pub tables: u64,
    /// Buffers, one a descriptor.
    pub buffers: u64,
    /// Bytes of each buffer.
    pub buffer_len: u32,
}

impl Place {
    pub(super) fn new(start: u64, size: u16, buffer_len: u32) -> Place {
        let n = u64::from(size);
        let page = |at: u64| at.next_multiple_of(4096);
        let available = page(start + 16 * n);
        let used = page(available + 6 + 2 * n);
        let tables = page(used + 6 + 8 * n);
        let buffers = page(tables + 16 * TABLE_LEN as u64 * n);
        Place { size, start, descriptors: start, available, used, tables, buffers, buffer_len }
    }

    pub(super) fn len(size: u16, buffer_len: u32) -> u64 {
        let place = Place::new(0, size, buffer_len);
        (place.buffers + u64::from(size) * u64::from(buffer_len)).next_multiple_of(4096)
    }

    /// The guest address of the buffer of descriptor `id`.
    pub fn buffer(&self, id: u16) -> u64 {
        self.buffers + u64::from(id) * u64::from(self.buffer_len)
    }
}

/// A ring and its driver.
#[derive(Debug)]
pub struct Queue {
    place: Place,
    /// The byte at [`Place::start`].
    host: *mut u8,
    direction: Direction,
    layout: Layout,
    agreed: Agreed,
    chain: u16,
    /// Descriptors that are free.
    free: Vec<u16>,
    /// For each descriptor in use, the next one of its frame; itself at the end.
    links: Vec<u16>,
    next_available: u16,
    shown: u16,
    next_used: u16,
    posted: bool,
    frame: Vec<u8>,
    /// The ring, where it is packed; then the indices above mean nothing.
    packed: Option<PackedDriver>,
    /// The chain that is being made, and the descriptors whose buffers are its.
    parts: Vec<Part>,
    ids: Vec<u16>,
    /// Bytes that stand ready in each buffer.
    loaded: Vec<u32>,
    kick: EventFd,
    call: EventFd,
    error: EventFd,
}

// SAFETY: the pointer leads into a mapping that is not bound to a thread.
unsafe impl Send for Queue {}

impl Queue {
    pub(super) fn new(
        place: Place,
        host: *mut u8,
        direction: Direction,
        layout: Layout,
        chain: u16,
    ) -> io::Result<Queue> {
        Ok(Queue {
            place,
            host,
            direction,
            layout,
            agreed: Agreed::default(),
            chain: chain.clamp(1, place.size),
            free: (0..place.size).rev().collect(),
            links: (0..place.size).collect(),
            next_available: 0,
            shown: 0,
            next_used: 0,
            posted: false,
            frame: Vec::with_capacity(1 << 17),
            packed: None,
            parts: Vec::new(),
            ids: Vec::new(),
            loaded: vec![0; usize::from(place.size)],
            kick: EventFd::new()?,
            call: EventFd::new()?,
            error: EventFd::new()?,
        })
    }

    pub(super) fn agree(&mut self, agreed: Agreed) {
        self.agreed = agreed;
        let Place { descriptors, available, used, size, .. } = self.place;
        let areas = [descriptors, available, used].map(|area| self.at(area));
        // A driver that meets another back end goes on with the ring that it has.
        let known = self.packed.take();
        self.packed =
            agreed.has(features::RING_PACKED).then(|| known.unwrap_or(PackedDriver::new(areas, size, agreed)));
    }

    /// Where it stands.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Signalled by the back end when it wants us to look.
    pub fn call(&self) -> &EventFd {
        &self.call
    }

    /// Signalled by the back end when it has stopped the ring.
    pub fn error(&self) -> &EventFd {
        &self.error
    }

    /// Signalled by us when we want the back end to look.
    pub fn kick(&self) -> &EventFd {
        &self.kick
    }

    /// Where the back end has come to, as SET_VRING_BASE says it: all that it has not used comes again.
    pub fn base(&self) -> u32 {
        self.packed.as_ref().map_or_else(|| u32::from(self.used_index()), PackedDriver::base)
    }

    /// The used index of a split ring, as the back end has published it.
    pub fn used_index(&self) -> u16 {
        self.load(self.place.used + 2)
    }

    fn at(&self, guest: u64) -> *mut u8 {
        // SAFETY: only addresses of the queue's own layout are asked for; they lie in its part of the mapping.
        unsafe { self.host.add((guest - self.place.start) as usize) }
    }

    fn load(&self, guest: u64) -> u16 {
        // SAFETY: see `at`; all 16-bit fields are aligned.
        u16::from_le(unsafe { AtomicU16::from_ptr(self.at(guest).cast()) }.load(Ordering::Acquire))
    }

    fn store(&self, guest: u64, value: u16) {
        // SAFETY: as above.
        unsafe { AtomicU16::from_ptr(self.at(guest).cast()) }.store(value.to_le(), Ordering::Release);
    }

    /// Writes a descriptor at a guest address in the descriptor table or an indirect table.
    fn describe(&self, at: u64, address: u64, len: u32, flags: u16, next: u16) {
        let rest = u64::from(len) | u64::from(flags) << 32 | u64::from(next) << 48;
        let to = self.at(at).cast::<u64>();
        // SAFETY: see `at`; tables are aligned to 16.
        unsafe {
            to.write_volatile(address.to_le());
            to.add(1).write_volatile(rest.to_le());
        }
    }

    fn descriptor_at(&self, id: u16) -> u64 {
        self.place.descriptors + 16 * u64::from(id)
    }

    /// Makes one entry available; the back end sees it after [`Queue::show`]. On a packed ring: the receiving chain that
    /// starts at `head`.
    pub fn offer(&mut self, head: u16) {
        if let Some(packed) = &mut self.packed {
            self.parts.clear();
            let (place, last) = (self.place, head.saturating_add(self.chain).min(self.place.size));
            let part = |id| Part { address: place.buffer(id), len: place.buffer_len, flags: WRITE };
            self.parts.extend((head..last).map(part));
            return packed.put(head, &self.parts);
        }
        let slot = u64::from(self.next_available & (self.place.size - 1));
        self.store(self.place.available + 4 + 2 * slot, head);
        self.next_available = self.next_available.wrapping_add(1);
    }

    /// Shows the back end what was made available.
    pub fn show(&mut self) {
        if let Some(packed) = &mut self.packed {
            packed.show();
            return;
        }
        self.store(self.place.available + 2, self.next_available);
    }

    /// Shows what was made available, and kicks where the back end wants it.
    pub fn flush(&mut self) {
        if let Some(packed) = &mut self.packed {
            if packed.show() && packed.wants_kick() {
                self.kick.signal();
            }
            return;
        }
        if self.shown == self.next_available {
            return;
        }
        self.show();
        fence(Ordering::SeqCst);
        let wanted = if self.agreed.has(features::EVENT_IDX) {
            let event = self.load(self.place.used + 4 + 8 * u64::from(self.place.size));
            self.next_available.wrapping_sub(event).wrapping_sub(1) < self.next_available.wrapping_sub(self.shown)
        } else {
            self.load(self.place.used) & 1 == 0
        };
        self.shown = self.next_available;
        if wanted {
            self.kick.signal();
        }
    }

    /// Asks for a call at the next used entry (or not), then says whether there are used entries already.
    pub fn request_call(&mut self, wanted: bool) -> bool {
        if let Some(packed) = &mut self.packed {
            return packed.request_call(wanted);
        }
        if self.agreed.has(features::EVENT_IDX) {
            let event = if wanted { self.next_used } else { self.next_used.wrapping_sub(1) };
            self.store(self.place.available + 4 + 2 * u64::from(self.place.size), event);
        } else {
            self.store(self.place.available, u16::from(!wanted));
        }
        fence(Ordering::SeqCst);
        self.used_index() != self.next_used
    }

    /// Posts all chains of a receiving queue, once.
    pub(super) fn post(&mut self) {
        if self.direction == Direction::Send || self.posted {
            return;
        }
        self.posted = true;
        for head in (0..self.place.size).step_by(usize::from(self.chain)) {
            if self.place.size - head < self.chain {
                break;
            }
            for id in head..head + self.chain {
                if self.packed.is_some() {
                    break;
                }
                let last = id + 1 == head + self.chain;
                let flags = if last { WRITE } else { WRITE | NEXT };
                self.describe(self.descriptor_at(id), self.place.buffer(id), self.place.buffer_len, flags, id + 1);
            }
            self.offer(head);
        }
        self.flush();
    }

    /// Takes back what the back end is done with.
    pub fn reap(&mut self) -> usize {
        let mut count = 0;
        while let Some((id, _)) = self.next_done() {
            let mut id = id;
            for _ in 0..self.place.size {
                self.free.push(id);
                let next = self.links.get(usize::from(id)).copied().unwrap_or(id);
                if next == id {
                    break;
                }
                id = next;
            }
            count += 1;
        }
        count
    }

    /// The next used entry: a head and how much was written.
    pub fn next_done(&mut self) -> Option<(u16, u32)> {
        if let Some(packed) = &mut self.packed {
            return packed.next_done();
        }
        if self.used_index() == self.next_used {
            return None;
        }
        let slot = u64::from(self.next_used & (self.place.size - 1));
        let at = self.at(self.place.used + 4 + 8 * slot).cast::<u32>();
        // SAFETY: see `at`; entries are aligned to 4.
        let (id, len) = unsafe { (at.read_volatile(), at.add(1).read_volatile()) };
        self.next_used = self.next_used.wrapping_add(1);
        Some((u32::from_le(id) as u16 & (self.place.size - 1), u32::from_le(len)))
    }

    /// Queues a frame; `false` where there are too few descriptors.
    pub fn send(&mut self, header: &[u8; net_header::LEN], frame: &[u8]) -> bool {
        let header = header.get(..self.agreed.header_len()).unwrap_or(header);
        let buffer_len = self.place.buffer_len as usize;
        let first = if self.layout == Layout::Together { header.len() + frame.len() } else { header.len() };
        let needed = if self.layout == Layout::Together {
            first.div_ceil(buffer_len)
        } else {
            1 + frame.len().div_ceil(buffer_len)
        };
        if self.free.len() < needed {
            self.reap();
        }
        if self.free.len() < needed || needed > TABLE_LEN {
            return false;
        }
        let mut pieces = Pieces { header, frame, together: self.layout == Layout::Together };
        self.parts.clear();
        self.ids.clear();
        for _ in 0..needed {
            let Some(id) = self.free.pop() else { return false };
            let address = self.place.buffer(id);
            let len = pieces.put(self.at(address), buffer_len);
            self.parts.push(Part { address, len, flags: 0 });
            self.ids.push(id);
        }
        let Some(&head) = self.ids.first() else { return false };
        let mut next = head;
        for at in (0..needed).rev() {
            let id = self.ids.get(at).copied().unwrap_or(head);
            self.link(id, if at + 1 == needed { id } else { next });
            next = id;
        }
        self.make_available(head);
        true
    }

    /// Makes the chain of the collected parts available.
    fn make_available(&mut self, head: u16) {
        let is_packed = self.packed.is_some();
        if self.layout == Layout::Indirect {
            for (step, part) in self.parts.iter().enumerate() {
                let more = !is_packed && step + 1 < self.parts.len();
                let (flags, next) = if more { (NEXT, step as u16 + 1) } else { (0, 0) };
                self.describe(self.table_at(head, step), part.address, part.len, flags, next);
            }
            let len = 16 * self.parts.len() as u32;
            self.parts.clear();
            self.parts.push(Part { address: self.table_at(head, 0), len, flags: INDIRECT });
        }
        if let Some(packed) = &mut self.packed {
            return packed.put(head, &self.parts);
        }
        for (step, (part, id)) in self.parts.iter().zip(&self.ids).enumerate() {
            let next = self.ids.get(step + 1).filter(|_| step + 1 < self.parts.len());
            let flags = part.flags | if next.is_some() { NEXT } else { 0 };
            self.describe(self.descriptor_at(*id), part.address, part.len, flags, next.copied().unwrap_or(0));
        }
        self.offer(head);
    }

    fn table_at(&self, head: u16, entry: usize) -> u64 {
        self.place.tables + 16 * (TABLE_LEN * usize::from(head) + entry) as u64
    }

    fn link(&mut self, from: u16, to: u16) {
        if let Some(link) = self.links.get_mut(usize::from(from)) {
            *link = to;
        }
    }

    /// Hands each frame that has come to `each` and posts its buffers again.
    pub fn receive(&mut self, mut each: impl FnMut(&[u8; net_header::LEN], &[u8])) -> usize {
        let mut count = 0;
        while let Some((head, len)) = self.next_done() {
            self.frame.clear();
            self.collect(head, len as usize);
            let mut header = [0; net_header::LEN];
            let header_len = self.agreed.header_len();
            if let (Some(to), Some(from)) = (header.get_mut(..header_len), self.frame.get(..header_len)) {
                to.copy_from_slice(from);
            }
            let buffers = if header_len == 12 { u16::from_le_bytes([header[10], header[11]]) } else { 1 };
            for _ in 1..buffers {
                let Some((head, len)) = self.next_done() else { break };
                self.collect(head, len as usize);
            }
            each(&header, self.frame.get(header_len..).unwrap_or(&[]));
            count += 1;
        }
        if count > 0 {
            self.flush();
        }
        count
    }

    /// Adds `len` bytes of the chain at `head` to the frame and posts the chain again.
    fn collect(&mut self, head: u16, len: usize) {
        let mut left = len.min(usize::from(self.chain) * self.place.buffer_len as usize);
        for id in head..head.saturating_add(self.chain).min(self.place.size) {
            let n = left.min(self.place.buffer_len as usize);
            let from = self.at(self.place.buffer(id));
            // SAFETY: the buffer of a valid id lies in the queue's part of the mapping, and `n` is within it. Nobody
            // else writes it between the used entry and its being posted again; were a hostile back end to do so, the
            // bytes would be garbage.
            self.frame.extend_from_slice(unsafe { std::slice::from_raw_parts(from, n) });
            left -= n;
        }
        self.offer(head);
    }
}

/// A header and a frame on their way into buffers.
struct Pieces<'a> {
    header: &'a [u8],
    frame: &'a [u8],
    together: bool,
}

impl Pieces<'_> {
    /// Fills one buffer of `room` bytes at `to`; returns how much.
    fn put(&mut self, to: *mut u8, room: usize) -> u32 {
        let mut filled = 0;
        if !self.header.is_empty() {
            let n = self.header.len().min(room);
            // SAFETY: `to` has `room` bytes, which are the queue's own.
            unsafe { std::ptr::copy_nonoverlapping(self.header.as_ptr(), to, n) };
            self.header = &[];
            filled = n;
            if !self.together {
                return filled as u32;
            }
        }
        let n = self.frame.len().min(room - filled);
        // SAFETY: as above; `filled + n` is at most `room`.
        unsafe { std::ptr::copy_nonoverlapping(self.frame.as_ptr(), to.add(filled), n) };
        self.frame = self.frame.get(n..).unwrap_or(&[]);
        (filled + n) as u32
    }
}
