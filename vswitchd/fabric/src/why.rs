//! The last packets that were dropped, by port: the answer to "why does this not arrive?" without a capture.
//!
//! Always on, so the price is paid by every drop: one copy of at most [`HEAD`] bytes into a ring made with the port.

use weir_filter::Why;
use weir_wire::{DropReason, Instant, PortId};

/// Drops remembered for each port; the oldest makes room.
pub const REMEMBERED: usize = 64;
/// Bytes kept of each.
pub const HEAD: usize = 64;

/// A packet that was dropped lately.
#[derive(Clone, Debug)]
pub struct LastDrop {
    /// When.
    pub time: Instant,
    /// The port it came in by.
    pub port: PortId,
    /// Why.
    pub why: Why,
    /// Its first bytes.
    pub head: Box<[u8]>,
    /// Its whole length.
    pub length: u32,
}

/// The last drops of one port.
#[derive(Debug)]
pub(crate) struct Drops {
    ring: Vec<Record>,
    next: usize,
}

#[derive(Clone, Debug)]
struct Record {
    time: Instant,
    /// Place among all drops of the fabric, from 1 on: many share one time. 0 is a place of the ring not used yet.
    sequence: u64,
    port: PortId,
    why: Why,
    head: [u8; HEAD],
    length: u32,
}

impl Drops {
    pub fn new() -> Drops {
        let why = Why::reason(DropReason::NoBuffer);
        let unused = Record { time: Instant::ZERO, sequence: 0, port: PortId(0), why, head: [0; HEAD], length: 0 };
        Drops { ring: vec![unused; REMEMBERED], next: 0 }
    }

    /// Remembers a drop in place of the oldest.
    pub fn record(&mut self, time: Instant, sequence: u64, port: PortId, why: Why, frame: &[u8]) {
        let Some(oldest) = self.ring.get_mut(self.next) else { return };
        self.next = (self.next + 1) % REMEMBERED;
        oldest.time = time;
        oldest.sequence = sequence;
        oldest.port = port;
        oldest.why = why;
        oldest.length = frame.len() as u32;
        match frame.first_chunk() {
            Some(head) => oldest.head = *head,
            None => oldest.head.iter_mut().zip(frame).for_each(|(to, from)| *to = *from),
        }
    }

    /// Adds what is remembered to `all`, with its place among all drops.
    pub fn collect(&self, all: &mut Vec<(u64, LastDrop)>) {
        all.extend(self.ring.iter().filter(|record| record.sequence > 0).map(|record| {
            let kept = HEAD.min(record.length as usize);
            let head = record.head.get(..kept).unwrap_or(&[]).into();
            let Record { time, port, length, .. } = *record;
            (record.sequence, LastDrop { time, port, why: record.why.clone(), head, length })
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_last_and_their_first_bytes() {
        let mut drops = Drops::new();
        for n in 1..REMEMBERED as u64 + 4 {
            drops.record(Instant(n), n, PortId(1), Why::reason(DropReason::Policy), &vec![n as u8; n as usize]);
        }
        let mut all = Vec::new();
        drops.collect(&mut all);
        all.sort_by_key(|(sequence, _)| *sequence);
        assert_eq!(all.len(), REMEMBERED);
        assert_eq!(all[0].0, 4);
        assert_eq!(*all[0].1.head, [4, 4, 4, 4]);
        let (_, last) = all.last().unwrap();
        assert_eq!((last.length as usize, last.head.len()), (REMEMBERED + 3, HEAD));
    }
}
