//! Rings driven for speed: frames stand ready in their buffers, and only what changes is written.
//!
//! A guest that measures must not be what is measured. A loaded ring sends a frame by putting its number into the
//! available ring, or its descriptor into a packed ring; a drained one looks at what has come where it lies. Frames take
//! one descriptor each.

use std::sync::atomic::Ordering;

use super::packed::Part;
use super::{Direction, Queue, WRITE};
use crate::vhost_user::net_header;

impl Queue {
    /// Writes a frame into each buffer of a sending queue, behind this virtio-net header: `fill` is given the
    /// buffer's number and its room and returns the frame's length. `false` on a queue that has been used already, or
    /// receives.
    pub fn load_frames(
        &mut self,
        marks: &[u8; net_header::LEN],
        mut fill: impl FnMut(u16, &mut [u8]) -> usize,
    ) -> bool {
        if self.direction == Direction::Receive || self.free.len() != usize::from(self.place.size) {
            return false;
        }
        let header = self.agreed.header_len();
        for id in 0..self.place.size {
            let room = (self.place.buffer_len as usize).saturating_sub(header);
            let len = {
                let buffer = self.buffer(id);
                buffer.iter_mut().zip(marks.iter().take(header)).for_each(|(to, from)| *to = *from);
                fill(id, buffer.get_mut(header..).unwrap_or_default()).min(room)
            };
            self.describe_loaded(id, (header + len) as u32);
        }
        true
    }

    /// On a split ring the descriptor stands ready; on a packed one it is written each time.
    fn describe_loaded(&mut self, id: u16, len: u32) {
        if let Some(loaded) = self.loaded.get_mut(usize::from(id)) {
            *loaded = len;
        }
        if self.packed.is_none() {
            self.describe(self.descriptor_at(id), self.place.buffer(id), len, 0, 0);
        }
    }

    /// Makes up to `limit` loaded frames available whose buffers the back end has given back, or none where fewer than
    /// `least` buffers are there: guests send in bursts. `touch` may change each before it goes. Shows them, and kicks
    /// where that is wanted. Returns how many.
    pub fn send_loaded(&mut self, least: usize, limit: usize, mut touch: impl FnMut(&mut [u8])) -> usize {
        self.take_back();
        if self.free.len() < least {
            return 0;
        }
        let header = self.agreed.header_len();
        let mut sent = 0;
        while sent < limit {
            let Some(id) = self.free.pop() else { break };
            touch(self.buffer(id).get_mut(header..).unwrap_or_default());
            self.put_loaded(id);
            sent += 1;
        }
        if sent > 0 {
            self.flush();
        }
        sent
    }

    #[inline]
    fn put_loaded(&mut self, id: u16) {
        let len = self.loaded.get(usize::from(id)).copied().unwrap_or(0);
        let part = Part { address: self.place.buffer(id), len, flags: 0 };
        match &mut self.packed {
            Some(packed) => packed.put_one(id, part),
            None => self.put_entry(id),
        }
    }

    /// Puts a descriptor that stands ready into a split ring's available ring.
    #[inline]
    fn put_entry(&mut self, id: u16) {
        let slot = u64::from(self.next_available & (self.place.size - 1));
        self.store_relaxed(self.place.available + 4 + 2 * slot, id);
        self.next_available = self.next_available.wrapping_add(1);
    }

    fn take_back(&mut self) {
        if let Some(packed) = &mut self.packed {
            while self.free.len() < usize::from(self.place.size)
                && let Some((id, _)) = packed.next_done()
            {
                self.free.push(id);
            }
            return;
        }
        let used = self.used_index();
        while self.next_used != used {
            let (id, _) = self.used_entry();
            if self.free.len() < usize::from(self.place.size) {
                self.free.push(id);
            }
        }
    }

    /// Hands up to `limit` frames that have come to `each`, where they lie, and makes their buffers available again.
    /// Frames of several buffers come piece by piece. Returns how many.
    pub fn drain_frames(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> usize {
        if self.packed.is_some() {
            return self.drain_packed(limit, each);
        }
        let (used, header) = (self.used_index(), self.agreed.header_len());
        let mut count = 0;
        while self.next_used != used && count < limit {
            let (id, len) = self.used_entry();
            each(self.buffer(id).get(header..(len as usize).max(header)).unwrap_or_default());
            self.put_entry(id);
            count += 1;
        }
        if count > 0 {
            self.flush();
        }
        count
    }

    fn drain_packed(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> usize {
        let (header, room) = (self.agreed.header_len(), self.place.buffer_len);
        let mut count = 0;
        while count < limit
            && let Some((id, len)) = self.next_done()
        {
            each(self.buffer(id).get(header..(len.min(room) as usize).max(header)).unwrap_or_default());
            let part = Part { address: self.place.buffer(id), len: room, flags: WRITE };
            if let Some(packed) = &mut self.packed {
                packed.put_one(id, part);
            }
            count += 1;
        }
        if count > 0 {
            self.flush();
        }
        count
    }

    /// The next used entry, which is known to be there.
    fn used_entry(&mut self) -> (u16, u32) {
        let slot = u64::from(self.next_used & (self.place.size - 1));
        // SAFETY: see `at`; entries are aligned to 8 from 4 on, so each half is aligned to 4.
        let (id, len) = unsafe {
            let at = self.at(self.place.used + 4 + 8 * slot).cast::<u32>();
            (at.read_volatile(), at.add(1).read_volatile())
        };
        self.next_used = self.next_used.wrapping_add(1);
        (u32::from_le(id) as u16 & (self.place.size - 1), u32::from_le(len).min(self.place.buffer_len))
    }

    fn store_relaxed(&self, guest: u64, value: u16) {
        // SAFETY: see `at`; all 16-bit fields are aligned. The index that shows the entry is stored with Release.
        unsafe { std::sync::atomic::AtomicU16::from_ptr(self.at(guest).cast()) }
            .store(value.to_le(), Ordering::Relaxed);
    }

    /// The buffer of a descriptor that is in our hands.
    fn buffer(&mut self, id: u16) -> &mut [u8] {
        let at = self.at(self.place.buffer(id % self.place.size));
        // SAFETY: the buffer of a valid id lies in the queue's part of the mapping, and the borrow of the queue keeps
        // us from a second one. The back end has no business in a buffer that is in our hands; were a hostile one to
        // write there, the bytes would be garbage, which is all that a measurement makes of them.
        unsafe { std::slice::from_raw_parts_mut(at, self.place.buffer_len as usize) }
    }
}

const _: () = assert!(net_header::LEN == 12, "the header that a frame stands behind");
