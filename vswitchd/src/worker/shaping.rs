//! What a port may carry: the rates of both directions between the port and the fabric.
//!
//! What comes in is limited by not looking: a guest's frames wait in its own ring, and none is lost. What goes out waits
//! in the queues of a [`Shaper`], which shares the rate out among the ports that send here.

use weir_fabric::shape::{Bucket, Limit, Shaper, Share, on_wire};
use weir_wire::{Instant, Packet, Pool, PortId};

/// What a port may carry, as the control side wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carriage {
    /// From the port into the fabric.
    pub inward: Limit,
    /// Out of the fabric to the port.
    pub outward: Limit,
    /// How those that send to the port share its rate.
    pub shares: Vec<(PortId, Share)>,
}

impl Carriage {
    /// Nothing is limited.
    pub fn is_free(&self) -> bool {
        self.inward.is_none() && self.outward.is_none()
    }
}

/// What holds a port to its rates.
#[derive(Debug)]
pub(super) struct Shaping {
    inward: Bucket,
    outward: Option<Shaper>,
    /// Counted by a shaper that is no longer.
    dropped_before: u64,
    /// Packets that may leave.
    pub ready: Vec<Packet>,
    /// The port's notifications are off while it may bring nothing in.
    pub is_unheard: bool,
}

impl Shaping {
    pub(super) fn new(carriage: Carriage, now: Instant) -> Shaping {
        let mut shaping = Shaping {
            inward: Bucket::new(carriage.inward, now),
            outward: None,
            dropped_before: 0,
            ready: Vec::new(),
            is_unheard: false,
        };
        shaping.set(carriage, now);
        shaping
    }

    /// Takes other rates. What waits at an outward rate that is lifted becomes ready at once.
    pub(super) fn set(&mut self, carriage: Carriage, now: Instant) {
        self.inward.set_limit(carriage.inward, now);
        if carriage.outward.is_none() {
            if let Some(mut shaper) = self.outward.take() {
                shaper.set(Limit::default(), Vec::new(), now);
                shaper.release(now, &mut self.ready);
                self.dropped_before += shaper.dropped();
            }
            return;
        }
        match &mut self.outward {
            Some(shaper) => shaper.set(carriage.outward, carriage.shares, now),
            None => self.outward = Some(Shaper::new(carriage.outward, carriage.shares, now)),
        }
    }

    /// Whether the port may bring something in.
    pub(super) fn may_receive(&mut self, now: Instant) -> bool {
        self.room(now, 1) > 0
    }

    /// How many frames the port may bring in, at most `most`.
    pub(super) fn room(&mut self, now: Instant, most: usize) -> usize {
        self.inward.refill(now);
        self.inward.room(most)
    }

    /// The port has brought these in.
    pub(super) fn received(&mut self, packets: &[Packet]) {
        for packet in packets {
            let (bytes, frames) = on_wire(packet);
            self.inward.take(bytes, frames);
        }
    }

    /// Takes whole packets for the port, emptying `packets`; those that may leave are `ready`.
    pub(super) fn accept(&mut self, now: Instant, packets: &mut Vec<Packet>, pool: &mut Pool) {
        match &mut self.outward {
            Some(shaper) => {
                shaper.accept(now, packets, pool);
                shaper.release(now, &mut self.ready);
            }
            None => self.ready.append(packets),
        }
    }

    /// Whether packets wait that may leave now; they are `ready` then.
    pub(super) fn release(&mut self, now: Instant) -> bool {
        if let Some(shaper) = &mut self.outward {
            shaper.release(now, &mut self.ready);
        }
        !self.ready.is_empty()
    }

    /// Packets that wait, and packets dropped so far because they could not.
    pub(super) fn counted(&self) -> (usize, u64) {
        let (held, dropped) = self.outward.as_ref().map_or((0, 0), |shaper| (shaper.held(), shaper.dropped()));
        (held + self.ready.len(), self.dropped_before + dropped)
    }

    /// When there is something to do, also where nothing comes in.
    pub(super) fn due(&self) -> Option<Instant> {
        let outward = self.outward.as_ref().and_then(Shaper::due);
        let inward = (!self.inward.is_open()).then(|| self.inward.opens());
        match (outward, inward) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Gives what waits back to the pool: the port is going.
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        if let Some(shaper) = &mut self.outward {
            shaper.clear(pool);
        }
        self.ready.drain(..).for_each(|packet| pool.give(packet.buffer));
    }
}
