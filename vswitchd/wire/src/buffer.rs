//! Buffers and the pool they come from.
//!
//! Two classes, both contiguous: one frame, and one super-segment (what TSO hands over). The pool is filled up to its
//! limits and never beyond: when it is empty, [`Pool::take`] says so and the caller counts a drop
//! ([`DropReason::NoBuffer`](crate::DropReason::NoBuffer)). A buffer goes back with [`Pool::give`]; the pool knows how
//! many are out, so a lost buffer shows in a test.

/// Bytes kept free before a frame: room for a virtio-net header and two VLAN tags.
pub const HEADROOM: usize = 64;
/// A frame buffer holds frames up to this many bytes.
pub const FRAME_MAX: usize = 2048 - HEADROOM;
/// A super-segment buffer holds frames up to this many bytes: 64 KiB of IP and the Ethernet header with two tags.
pub const SUPER_MAX: usize = 65536 + 64;

/// A frame's bytes, with free room before and after them.
#[derive(Debug)]
pub struct Buffer {
    data: Box<[u8]>,
    /// Where the frame starts, and in the upper half where it ends. In one word: a processor that has to read both right after
    /// one of them was written would wait for that write.
    span: u64,
}

const fn span(start: usize, end: usize) -> u64 {
    start as u64 | (end as u64) << 32
}

/// Of a buffer without a frame.
const EMPTY: u64 = span(HEADROOM, HEADROOM);

impl Buffer {
    fn with_size(size: usize) -> Buffer {
        Buffer { data: vec![0; size].into_boxed_slice(), span: EMPTY }
    }

    #[inline]
    fn start(&self) -> usize {
        self.span as u32 as usize
    }

    #[inline]
    fn end(&self) -> usize {
        (self.span >> 32) as usize
    }

    /// The frame.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.data[self.start()..self.end()]
    }

    /// The frame, to be changed in place.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let (start, end) = (self.start(), self.end());
        &mut self.data[start..end]
    }

    /// Length of the frame.
    #[inline]
    pub fn len(&self) -> usize {
        self.end() - self.start()
    }

    /// No bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start() == self.end()
    }

    /// The longest frame that fits when it starts after the usual headroom.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.data.len() - HEADROOM
    }

    /// Empties the buffer and gives the whole room of a frame to be written; [`Buffer::set_len`] says how much was.
    #[inline]
    pub fn room(&mut self) -> &mut [u8] {
        self.span = EMPTY;
        &mut self.data[HEADROOM..]
    }

    /// Sets the frame's length, cut to what the room holds.
    #[inline]
    pub fn set_len(&mut self, len: usize) {
        let start = self.start();
        self.span = span(start, (start + len).min(self.data.len()));
    }

    /// The free bytes behind the frame, to be written; [`Buffer::extend`] says how many were.
    #[inline]
    pub fn tail(&mut self) -> &mut [u8] {
        let end = self.end();
        self.data.get_mut(end..).unwrap_or_default()
    }

    /// Makes the frame `n` bytes longer at its end, at most by what is free.
    #[inline]
    pub fn extend(&mut self, n: usize) {
        self.span = span(self.start(), (self.end() + n).min(self.data.len()));
    }

    /// Fills the buffer with a copy of `frame`; `false` (and an empty buffer) where it does not fit.
    #[inline]
    pub fn fill(&mut self, frame: &[u8]) -> bool {
        let room = self.room();
        match room.get_mut(..frame.len()) {
            Some(to) => {
                to.copy_from_slice(frame);
                self.set_len(frame.len());
                true
            }
            None => false,
        }
    }

    /// Makes the frame `n` bytes longer at its front; `false` where the headroom is used up.
    #[inline]
    pub fn grow_front(&mut self, n: usize) -> bool {
        match self.start().checked_sub(n) {
            Some(start) => {
                self.span = span(start, self.end());
                true
            }
            None => false,
        }
    }

    /// Makes the frame `n` bytes shorter at its front, at most down to nothing.
    #[inline]
    pub fn shrink_front(&mut self, n: usize) {
        self.span = span((self.start() + n).min(self.end()), self.end());
    }
}

/// How many buffers of each class a pool may hand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// Frame buffers, 2 KiB each.
    pub frames: usize,
    /// Super-segment buffers, 64 KiB each.
    pub supers: usize,
}

impl Default for PoolLimits {
    fn default() -> PoolLimits {
        PoolLimits { frames: 16384, supers: 1024 }
    }
}

/// The buffers of one worker. Buffers are made when first wanted, so an idle switch holds none.
#[derive(Debug)]
pub struct Pool {
    frames: Class,
    supers: Class,
}

#[derive(Debug)]
struct Class {
    free: Vec<Buffer>,
    out: usize,
    limit: usize,
    size: usize,
}

impl Class {
    fn new(limit: usize, size: usize) -> Class {
        Class { free: Vec::with_capacity(limit), out: 0, limit, size }
    }

    #[inline]
    fn take(&mut self) -> Option<Buffer> {
        if let Some(buffer) = self.free.pop() {
            self.out += 1;
            return Some(buffer);
        }
        if self.out < self.limit {
            self.out += 1;
            return Some(Buffer::with_size(self.size));
        }
        None
    }

    fn adopt(&mut self, other: Class) {
        self.out += other.out;
        let room = self.limit.saturating_sub(self.free.len());
        self.free.extend(other.free.into_iter().take(room));
    }

    #[inline]
    fn give(&mut self, buffer: Buffer) {
        self.out = self.out.saturating_sub(1);
        if self.free.len() < self.limit {
            self.free.push(buffer);
        }
    }
}

impl Default for Pool {
    fn default() -> Pool {
        Pool::new(PoolLimits::default())
    }
}

impl Pool {
    /// An empty pool that will hand out up to `limits` buffers.
    pub fn new(limits: PoolLimits) -> Pool {
        Pool {
            frames: Class::new(limits.frames, HEADROOM + FRAME_MAX),
            supers: Class::new(limits.supers, HEADROOM + SUPER_MAX),
        }
    }

    /// Takes over the buffers of another pool: those that are out come back here. More may be out than this pool hands
    /// out by itself, until they do.
    pub fn adopt(&mut self, other: Pool) {
        self.frames.adopt(other.frames);
        self.supers.adopt(other.supers);
    }

    /// An empty buffer for a frame of `len` bytes: `None` where the class is used up or no class is that large.
    #[inline]
    pub fn take(&mut self, len: usize) -> Option<Buffer> {
        if len <= FRAME_MAX {
            self.frames.take()
        } else if len <= SUPER_MAX {
            self.supers.take()
        } else {
            None
        }
    }

    /// A buffer with a copy of `frame`.
    #[inline]
    pub fn copy(&mut self, frame: &[u8]) -> Option<Buffer> {
        let mut buffer = self.take(frame.len())?;
        buffer.fill(frame);
        Some(buffer)
    }

    /// Takes a buffer back.
    // Where it is called, a buffer would be put together in memory and read in other pieces than it was written in.
    #[inline(always)]
    pub fn give(&mut self, buffer: Buffer) {
        let Buffer { data, .. } = buffer;
        let class = if data.len() == self.frames.size { &mut self.frames } else { &mut self.supers };
        class.give(Buffer { data, span: EMPTY });
    }

    /// Buffers handed out and not given back.
    pub fn outstanding(&self) -> usize {
        self.frames.out + self.supers.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_hands_out_its_limit_and_no_more() {
        let mut pool = Pool::new(PoolLimits { frames: 2, supers: 1 });
        let (a, b) = (pool.take(FRAME_MAX).unwrap(), pool.take(0).unwrap());
        assert!(pool.take(60).is_none());
        let large = pool.take(FRAME_MAX + 1).unwrap();
        assert!(pool.take(SUPER_MAX).is_none() && pool.take(SUPER_MAX + 1).is_none());
        assert_eq!((large.capacity(), pool.outstanding()), (SUPER_MAX, 3));
        [a, b, large].into_iter().for_each(|buffer| pool.give(buffer));
        assert_eq!(pool.outstanding(), 0);
        assert!(pool.take(SUPER_MAX).is_some() && pool.take(FRAME_MAX).is_some());
    }

    #[test]
    fn a_buffer_comes_back_empty_and_with_its_whole_room() {
        let mut pool = Pool::new(PoolLimits { frames: 1, supers: 0 });
        let mut buffer = pool.copy(b"frame").unwrap();
        buffer.shrink_front(3);
        assert_eq!(buffer.bytes(), b"me");
        pool.give(buffer);
        let mut buffer = pool.take(1).unwrap();
        assert!(buffer.is_empty());
        assert_eq!(buffer.room().len(), FRAME_MAX);
    }

    #[test]
    fn growing_stops_at_the_headroom_and_shrinking_at_nothing() {
        let mut pool = Pool::default();
        let mut buffer = pool.copy(&[1; 10]).unwrap();
        assert!(buffer.grow_front(HEADROOM) && !buffer.grow_front(1));
        assert_eq!(buffer.len(), 10 + HEADROOM);
        buffer.shrink_front(1000);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_frame_grows_at_its_end_by_what_is_free() {
        let mut pool = Pool::default();
        let mut buffer = pool.copy(&[1; 10]).unwrap();
        buffer.tail()[..2].copy_from_slice(&[2, 3]);
        buffer.extend(2);
        assert_eq!(buffer.bytes()[9..], [1, 2, 3]);
        assert_eq!(buffer.tail().len(), FRAME_MAX - 12);
        buffer.extend(usize::from(u16::MAX));
        assert_eq!((buffer.len(), buffer.tail().len()), (FRAME_MAX, 0));
    }

    #[test]
    fn a_frame_that_does_not_fit_leaves_the_buffer_empty() {
        let mut pool = Pool::default();
        let mut buffer = pool.copy(&[1; 10]).unwrap();
        assert!(!buffer.fill(&[2; FRAME_MAX + 1]));
        assert!(buffer.is_empty());
        buffer.set_len(FRAME_MAX + 5);
        assert_eq!(buffer.len(), FRAME_MAX);
    }
}
