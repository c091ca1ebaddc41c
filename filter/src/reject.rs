//! What the guard answers to those it refuses: TCP resets and ICMP "administratively prohibited".
//!
//! Answers are built from the packet that caused them, leave by the port of whom they are for, and are limited in
//! number: whoever sends faster than [`RATE`] refused packets a second gets no answer to the rest.

use weir_wire::build::{
    Reset, Toward, Unreachable, datagram_back, datagram_instead, last_segment, reset, reset_numbers, shift_seq,
    unreachable,
};
use weir_wire::{Instant, Packet, Pool, PortId};

use crate::engine::Cleared;

/// Answers a second.
pub const RATE: u64 = 1000;
/// Answers at once.
pub const BURST: u64 = 200;

/// Segments of our own that wait at once.
const OWN_MAX: usize = 4096;

/// A number of things that may happen at once, filled up again in time.
#[derive(Debug)]
pub struct Bucket {
    tokens: u64,
    burst: u64,
    /// Nanoseconds a token.
    interval: u64,
    filled: Instant,
}

impl Bucket {
    /// A full bucket.
    pub const fn new(rate: u64, burst: u64) -> Bucket {
        Bucket { tokens: burst, burst, interval: 1_000_000_000 / rate, filled: Instant::ZERO }
    }

    /// Takes a token where there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let new = now.0.saturating_sub(self.filled.0) / self.interval;
        if new > 0 {
            self.tokens = self.tokens.saturating_add(new).min(self.burst);
            self.filled = Instant(self.filled.0.saturating_add(new.saturating_mul(self.interval)));
        }
        let left = self.tokens.checked_sub(1);
        self.tokens = left.unwrap_or(0);
        left.is_some()
    }
}

/// Answers that wait to be sent.
#[derive(Debug)]
pub struct Replies {
    waiting: Vec<(PortId, Cleared)>,
    bucket: Bucket,
}

impl Default for Replies {
    fn default() -> Replies {
        Replies { waiting: Vec::with_capacity(BURST as usize), bucket: Bucket::new(RATE, BURST) }
    }
}

impl Replies {
    /// Tells the sender of `packet` that it was refused.
    pub fn refuse(&mut self, now: Instant, packet: &Packet, pool: &mut Pool) {
        let to = packet.port;
        match reset_numbers(packet, Toward::Sender) {
            Some(numbers) => self.push(now, to, || reset(packet, Toward::Sender, numbers, pool)),
            None => self.push(now, to, || unreachable(packet, Unreachable::Prohibited, pool)),
        }
    }

    /// Ends the connection of `packet` at its receiver, behind port `to`, which expects these numbers next.
    pub fn reset_receiver(
        &mut self,
        now: Instant,
        packet: &Packet,
        to: PortId,
        (seq, ack): (u32, u32),
        pool: &mut Pool,
    ) {
        self.push(now, to, || reset(packet, Toward::Receiver, Reset { seq, ack: Some(ack) }, pool));
    }

    /// Says this to the sender of a TCP segment in its receiver's name, and ends the connection.
    pub fn say_last(&mut self, now: Instant, packet: &Packet, payload: &[u8], pool: &mut Pool) {
        self.push(now, packet.port, || last_segment(packet, payload, pool));
    }

    /// Answers a datagram in its receiver's name.
    pub fn answer(&mut self, now: Instant, packet: &Packet, payload: &[u8], pool: &mut Pool) {
        self.push(now, packet.port, || datagram_back(packet, payload, pool));
    }

    /// Sends a datagram of another content in a packet's place, by the port that the packet was going to.
    pub fn instead(&mut self, now: Instant, to: PortId, (packet, payload): (&Packet, &[u8]), pool: &mut Pool) {
        self.push(now, to, || datagram_instead(packet, payload, pool));
    }

    /// A segment of our own that is part of a connection, and answers a packet: as many as come, [`OWN_MAX`] at once.
    pub fn push_own(&mut self, to: PortId, make: impl FnOnce() -> Option<Packet>) {
        if self.waiting.len() < OWN_MAX
            && let Some(packet) = make()
        {
            self.waiting.push((to, Cleared::originate(packet)));
        }
    }

    /// The same for one that is made already.
    pub fn push_made(&mut self, to: PortId, packet: Packet, pool: &mut Pool) {
        if self.waiting.len() < OWN_MAX {
            self.waiting.push((to, Cleared::originate(packet)));
        } else {
            pool.give(packet.buffer);
        }
    }

    /// Those that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Moves the sequence numbers of those that wait for `to`, from the `first` on.
    pub fn shift(&mut self, first: usize, to: PortId, by: u32) {
        for (port, cleared) in self.waiting.iter_mut().skip(first) {
            if *port == to {
                shift_seq(cleared.rewrite(), by);
            }
        }
    }

    fn push(&mut self, now: Instant, to: PortId, make: impl FnOnce() -> Option<Packet>) {
        if self.waiting.len() < BURST as usize
            && self.bucket.take(now)
            && let Some(packet) = make()
        {
            self.waiting.push((to, Cleared::originate(packet)));
        }
    }

    /// Takes the answers, oldest first.
    pub fn drain(&mut self) -> std::vec::Drain<'_, (PortId, Cleared)> {
        self.waiting.drain(..)
    }

    /// None waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{A4, B4, Frame};

    #[test]
    fn the_bucket_holds_its_burst_and_fills_at_its_rate() {
        let mut bucket = Bucket::new(10, 3);
        let start = Instant::from_secs(100);
        assert_eq!((0..10).filter(|_| bucket.take(start)).count(), 3);
        assert_eq!((0..10).filter(|_| bucket.take(start.after(std::time::Duration::from_millis(210)))).count(), 2);
        assert_eq!((0..10).filter(|_| bucket.take(Instant::from_secs(1000))).count(), 3);
    }

    #[test]
    fn answers_are_limited() {
        let mut pool = Pool::default();
        let mut replies = Replies::default();
        let packet = Frame::tcp(A4, 1, B4, 2).packet_in(7, &mut pool);
        for _ in 0..10 * BURST {
            replies.refuse(Instant::from_secs(1), &packet, &mut pool);
        }
        assert_eq!(replies.drain().count(), BURST as usize);
        replies.refuse(Instant::from_secs(1), &packet, &mut pool);
        assert!(replies.is_empty());
        replies.refuse(Instant::from_secs(2), &packet, &mut pool);
        assert_eq!(replies.drain().map(|(to, _)| to).collect::<Vec<_>>(), [PortId(7)]);
    }
}
