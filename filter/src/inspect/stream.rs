//! One direction of a TCP connection: its bytes in order, and the memory of what was let through.
//!
//! "First data wins, enforced on the wire": bytes are kept until the receiver has acknowledged them, in order or ahead
//! of order, and any later copy of the same place must be equal, or its segment is refused. Bytes ahead of order go
//! on to the receiver; they are not matched until the gap before them is filled, which is before any application can
//! read them: the segment that fills the gap is judged by all the bytes it makes readable.
//!
//! Limits: bytes kept by direction and in all ([`StreamMemory`]); pieces ahead of order. At a limit the segment is
//! refused; its sender repeats it.
//!
//! Places in the stream are 64-bit and count from [`ORIGIN`], so that sequence numbers may wrap, and so that there is
//! room below for bytes older than the first one seen.

use weir_wire::numbers::{TCP_FIN, TCP_RST, TCP_SYN};
use weir_wire::{Packet, PortId};

use super::StreamMemory;

/// The place of the first byte after the SYN, or of the first byte seen.
pub const ORIGIN: u64 = 1 << 33;

/// Pieces ahead of order that one direction may have.
const PIECES: usize = 256;

/// Memory that a piece takes besides its bytes.
const PIECE_OVERHEAD: usize = 64;

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// No byte became readable: it is empty, old, or ahead of order.
    Nothing,
    /// These places became readable; [`Stream::bytes`] has them.
    Grown { from: u64, to: u64 },
    /// It contradicts bytes that were let through before it.
    Conflict,
    /// There is no memory for it.
    Limit,
}

/// Bytes ahead of order.
#[derive(Debug)]
struct Piece {
    start: u64,
    bytes: Vec<u8>,
}

impl Piece {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub struct Stream {
    /// The sequence number of [`ORIGIN`]; `None` until the direction was seen.
    origin: Option<u32>,
    /// The origin was taken from the middle of a connection, and nothing is acknowledged yet.
    movable: bool,
    /// The connection was there before the stream was watched: the receiver may have bytes that were not seen.
    joined: bool,
    /// The first place of the stream.
    start: u64,
    /// The first place not readable yet.
    next: u64,
    /// The receiver has everything before this place.
    acked: u64,
    /// Place of the first byte kept in order.
    kept_from: u64,
    /// The bytes kept, behind those given up at `head`.
    kept: Vec<u8>,
    head: usize,
    /// Sorted by place; they neither overlap nor touch `next`.
    ahead: Vec<Piece>,
    /// Memory taken for `kept` and `ahead`, as told to [`StreamMemory`] under this port.
    charged: usize,
    port: PortId,
}

impl Stream {
    /// Whether the direction's sequence numbers are known.
    pub fn is_known(&self) -> bool {
        self.origin.is_some()
    }

    /// The first place of the stream.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The first place that is not readable yet.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Bytes of the stream that are readable, or were.
    pub fn length(&self) -> u64 {
        self.next - self.start
    }

    /// Whether the packet ends the direction: it has the FIN that follows the last readable byte.
    pub fn ends_with(&self, packet: &Packet) -> bool {
        let Some(tcp) = packet.tcp().filter(|tcp| tcp.has(TCP_FIN) && !tcp.has(TCP_RST)) else { return false };
        let first = tcp.seq.wrapping_add(u32::from(tcp.has(TCP_SYN)));
        let end = self.place(first).and_then(|place| place.checked_add(packet.payload().len() as u64));
        end == Some(self.next)
    }

    /// Whether everything readable has been acknowledged.
    pub fn is_acknowledged(&self) -> bool {
        self.acked >= self.next
    }

    /// The kept bytes from `place` on, or from the oldest kept one; and the place of the first of them.
    pub fn bytes(&self, place: u64) -> (&[u8], u64) {
        let from = place.clamp(self.kept_from, self.next);
        let skip = self.head + (from - self.kept_from) as usize;
        (self.kept.get(skip..).unwrap_or(&[]), from)
    }

    /// The connection was there before the stream is watched, whatever is seen of it first.
    pub fn join_late(&mut self) {
        self.joined = true;
    }

    /// The direction starts with this SYN.
    pub fn syn(&mut self, seq: u32) {
        let unused = self.next == self.start && self.ahead.is_empty();
        if self.origin.is_none() || unused {
            self.begin(seq.wrapping_add(1), false);
        }
    }

    /// Reads its state and the end of what is kept. The result means nothing.
    #[inline]
    pub fn touch(&self) -> u64 {
        self.next ^ self.head as u64 ^ u64::from(self.kept.last().copied().unwrap_or(0))
    }

    /// The port its sender is behind, which the memory it takes counts for.
    pub fn belongs_to(&mut self, port: PortId, memory: &mut StreamMemory) {
        if self.port != port {
            memory.change(self.port, self.charged, 0);
            self.port = port;
            memory.change(self.port, 0, self.charged);
        }
    }

    /// Takes up a direction whose SYN was not seen.
    pub fn begin(&mut self, seq: u32, movable: bool) {
        self.origin = Some(seq);
        self.movable = movable;
        (self.start, self.next, self.acked, self.kept_from) = (ORIGIN, ORIGIN, ORIGIN, ORIGIN);
    }

    /// The place of a sequence number, by its distance from the newest place.
    pub fn place(&self, seq: u32) -> Option<u64> {
        let newest = self.origin?.wrapping_add(self.next.wrapping_sub(ORIGIN) as u32);
        self.next.checked_add_signed(i64::from(seq.wrapping_sub(newest) as i32))
    }

    /// The receiver has everything before `ack`. Honoured for data that was seen.
    pub fn acknowledge(&mut self, ack: u32, memory: &mut StreamMemory) {
        let Some(place) = self.place(ack) else { return };
        if self.movable && place < self.start && !self.move_start(place, memory) {
            return;
        }
        if self.joined && place > self.next {
            self.skip(place, memory);
        }
        if place > self.acked {
            self.acked = place.min(self.next);
        }
        self.movable = false;
    }

    /// The receiver has bytes that passed before the stream was watched. Its sender will not repeat them, so the stream
    /// goes on behind them, at the latest with the first piece that was seen.
    fn skip(&mut self, place: u64, memory: &mut StreamMemory) {
        self.next = self.ahead.first().map_or(place, |piece| place.min(piece.start));
        self.kept.clear();
        self.head = 0;
        self.kept_from = self.next;
        self.charge(memory);
    }

    /// The receiver still waits for bytes before the first one seen: the stream starts there, and what is kept is
    /// ahead of order. `false` where that is too far back.
    fn move_start(&mut self, place: u64, memory: &mut StreamMemory) -> bool {
        if self.start - place > memory.per_direction as u64 {
            return false;
        }
        let bytes = self.kept.split_off(self.head.min(self.kept.len()));
        if !bytes.is_empty() {
            self.ahead.insert(0, Piece { start: self.kept_from, bytes });
        }
        self.kept = Vec::new();
        self.head = 0;
        (self.start, self.next, self.acked, self.kept_from) = (place, place, place, place);
        self.charge(memory);
        true
    }

    /// Takes a segment's bytes, where they are to be inspected: those before place `limit`.
    pub fn take(&mut self, seq: u32, payload: &[u8], limit: u64, memory: &mut StreamMemory) -> Taken {
        // Pieces that a skip has made readable are searched with the segment that follows.
        let from = self.next;
        if self.ahead.first().is_some_and(|piece| piece.start <= self.next) {
            self.join();
        }
        match self.take_segment(seq, payload, limit, memory) {
            Taken::Nothing | Taken::Grown { .. } if self.next > from => {
                Taken::Grown { from: from.max(self.kept_from), to: self.next }
            }
            taken => taken,
        }
    }

    fn take_segment(&mut self, seq: u32, payload: &[u8], limit: u64, memory: &mut StreamMemory) -> Taken {
        let Some(mut start) = self.place(seq) else { return Taken::Nothing };
        if self.movable && start < self.start && !self.move_start(start, memory) {
            return Taken::Limit;
        }
        let mut payload = payload;
        // What the receiver has, it will not read again; what is beyond the limit is not inspected.
        if start < self.acked {
            let old = usize::try_from(self.acked - start).unwrap_or(usize::MAX).min(payload.len());
            payload = payload.get(old..).unwrap_or(&[]);
            start += old as u64;
        }
        let room = usize::try_from(limit.saturating_sub(start)).unwrap_or(usize::MAX);
        payload = payload.get(..room.min(payload.len())).unwrap_or(&[]);
        if payload.is_empty() {
            return Taken::Nothing;
        }
        // Passed over by a skip and never seen: the receiver may still read it, so it cannot be let through unread.
        if start < self.kept_from {
            return Taken::Limit;
        }
        if !self.agrees(start, payload) {
            return Taken::Conflict;
        }
        let end = start + payload.len() as u64;
        if end <= self.next {
            return Taken::Nothing;
        }
        if start > self.next {
            return self.keep_ahead(start, payload, memory);
        }
        let fresh = payload.get((self.next - start) as usize..).unwrap_or(&[]);
        if !self.has_room(fresh.len(), memory) {
            return Taken::Limit;
        }
        let from = self.next;
        if self.kept.capacity() == 0 {
            self.kept = memory.take_buffer();
        }
        self.append(fresh);
        self.join();
        self.charge(memory);
        Taken::Grown { from, to: self.next }
    }

    /// Whether `payload` at `start` is equal to everything let through at its place that the receiver may still read.
    fn agrees(&self, start: u64, payload: &[u8]) -> bool {
        let same = |place: u64, bytes: &[u8]| {
            let from = start.max(place);
            let end = (start + payload.len() as u64).min(place + bytes.len() as u64);
            from >= end
                || payload.get((from - start) as usize..(end - start) as usize)
                    == bytes.get((from - place) as usize..(end - place) as usize)
        };
        let (kept, place) = self.bytes(start);
        if start < self.next && !same(place, kept) {
            return false;
        }
        let first = self.ahead.partition_point(|piece| piece.end() <= start);
        let end = start + payload.len() as u64;
        self.ahead.iter().skip(first).take_while(|piece| piece.start < end).all(|piece| same(piece.start, &piece.bytes))
    }

    /// Keeps those bytes of an out-of-order segment that no piece has.
    fn keep_ahead(&mut self, start: u64, payload: &[u8], memory: &mut StreamMemory) -> Taken {
        // A gap that nobody fills was filled before the stream was watched; what still comes for it is refused.
        if self.joined && self.ahead.len() >= PIECES {
            self.skip(u64::MAX, memory);
            (self.start, self.movable) = (self.next, false);
            self.join();
        }
        // Pieces take half of the room at most, and leave the rest to the segment that fills the gap before them: else
        // it would be refused for ever, and nothing could be acknowledged.
        let ahead = payload.len() + self.ahead.iter().map(|piece| piece.bytes.len()).sum::<usize>();
        let full = self.ahead.len() >= PIECES || ahead > memory.per_direction / 2;
        if full || !self.has_room(payload.len() + PIECE_OVERHEAD, memory) {
            return Taken::Limit;
        }
        let end = start + payload.len() as u64;
        let mut at = start;
        let mut index = self.ahead.partition_point(|piece| piece.end() <= start);
        while at < end {
            let (gap_end, after) = match self.ahead.get(index) {
                Some(piece) if piece.start < end => (piece.start, piece.end()),
                Some(_) | None => (end, end),
            };
            if gap_end > at {
                let bytes = payload.get((at - start) as usize..(gap_end - start) as usize).unwrap_or(&[]).to_vec();
                self.ahead.insert(index, Piece { start: at, bytes });
                index += 1;
            }
            at = after.max(at);
            index += 1;
        }
        self.charge(memory);
        Taken::Nothing
    }

    fn append(&mut self, bytes: &[u8]) {
        // Moving what is kept to the front pays when at least as much has been given up; else the buffer grows.
        let live = self.kept.len().saturating_sub(self.head);
        if self.head >= live && self.kept.len() + bytes.len() > self.kept.capacity() {
            self.kept.drain(..self.head);
            self.head = 0;
        }
        self.kept.extend_from_slice(bytes);
        self.next += bytes.len() as u64;
    }

    /// Appends the pieces that touch what is readable.
    fn join(&mut self) {
        let (mut count, mut end) = (0, self.next);
        for piece in &self.ahead {
            if piece.start > end {
                break;
            }
            end = end.max(piece.end());
            count += 1;
        }
        if count == 0 {
            return;
        }
        let rest = self.ahead.split_off(count);
        for piece in std::mem::replace(&mut self.ahead, rest) {
            let old = self.next.saturating_sub(piece.start) as usize;
            self.append(piece.bytes.get(old..).unwrap_or(&[]));
        }
    }

    /// Gives up bytes that the receiver has and that no rule may need: all but the last `lookback`.
    pub fn trim(&mut self, lookback: usize, memory: &mut StreamMemory) {
        let keep = self.acked.min(self.next.saturating_sub(lookback as u64)).max(self.kept_from);
        self.head += (keep - self.kept_from) as usize;
        self.kept_from = keep;
        let live = self.kept.len().saturating_sub(self.head);
        if live == 0 {
            self.kept.clear();
            self.head = 0;
        } else if self.head >= live && self.head >= 4096 {
            self.kept.drain(..self.head);
            self.head = 0;
        }
        if self.kept.capacity() > 64 << 10 && live < self.kept.capacity() / 4 {
            self.kept.drain(..self.head);
            self.head = 0;
            self.kept.shrink_to(live * 2);
        }
        self.charge(memory);
    }

    /// Whether `more` bytes may be kept.
    fn has_room(&self, more: usize, memory: &StreamMemory) -> bool {
        let live = self.kept.len().saturating_sub(self.head) + self.ahead.iter().map(|p| p.bytes.len()).sum::<usize>();
        memory.has_room(self.port, live, more)
    }

    /// Tells `memory` what is taken.
    fn charge(&mut self, memory: &mut StreamMemory) {
        let ahead: usize = self.ahead.iter().map(|p| p.bytes.capacity() + PIECE_OVERHEAD).sum();
        let taken = self.kept.capacity() + ahead;
        // Most segments find the room that there is.
        if taken != self.charged {
            memory.change(self.port, self.charged, taken);
            self.charged = taken;
        }
    }

    /// Forgets everything but what memory was taken, which is given back with the next change.
    pub fn forget(&mut self) {
        *self = Stream { charged: self.charged, port: self.port, joined: true, ..Stream::default() };
    }

    /// Gives everything back.
    pub fn release(&mut self, memory: &mut StreamMemory) {
        memory.give_buffer(std::mem::take(&mut self.kept));
        self.ahead = Vec::new();
        self.head = 0;
        self.kept_from = self.next;
        self.charge(memory);
    }
}
