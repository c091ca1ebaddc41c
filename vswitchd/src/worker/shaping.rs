//! What a port may carry: the rates of both directions between the port and the fabric.
//!
//! What comes in is limited by not looking: a guest's frames wait in its own ring, and none is lost. What goes out waits
//! in the queues of a [`Shaper`], which shares the rate out among the ports that send here.

use weir_fabric::shape::{Bucket, GroupShare, Limit, Shaper, Share, on_wire};
use weir_wire::{Instant, Packet, Pool, PortId};

use super::group_rates::{GroupRate, GroupRates};

/// What a port may carry, as the control side wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carriage {
    /// From the port into the fabric.
    pub inward: Limit,
    /// Out of the fabric to the port.
    pub outward: Limit,
    /// How those that send to the port share its rate.
    pub shares: Vec<(PortId, Share)>,
    /// And groups of them together.
    pub group_shares: Vec<GroupShare>,
    /// Rates that it shares with other ports.
    pub groups: Vec<GroupRate>,
}

impl Carriage {
    /// Nothing is limited.
    pub fn is_free(&self) -> bool {
        self.inward.is_none() && self.outward.is_none() && self.groups.is_empty()
    }
}

/// What holds a port to its rates.
#[derive(Debug)]
pub(super) struct Shaping {
    port: PortId,
    inward: Bucket,
    outward: Option<Shaper>,
    /// Its places among the shared rates.
    through: Vec<usize>,
    /// Counted by a shaper that is no longer.
    dropped_before: u64,
    /// Packets that may leave.
    pub ready: Vec<Packet>,
    /// The port's notifications are off while it may bring nothing in.
    pub is_unheard: bool,
}

impl Shaping {
    pub(super) fn new(port: PortId, carriage: Carriage, rates: &GroupRates, now: Instant) -> Shaping {
        let mut shaping = Shaping {
            port,
            inward: Bucket::new(carriage.inward, now),
            outward: None,
            through: Vec::new(),
            dropped_before: 0,
            ready: Vec::new(),
            is_unheard: false,
        };
        shaping.set(carriage, rates, now);
        shaping
    }

    /// Takes other rates. What waits at an outward rate that is lifted becomes ready at once.
    pub(super) fn set(&mut self, carriage: Carriage, rates: &GroupRates, now: Instant) {
        self.inward.set_limit(carriage.inward, now);
        self.through = carriage.groups.iter().filter_map(|group| rates.place(&group.name)).collect();
        if carriage.outward.is_none() && !rates.hold_outward(&self.through) {
            if let Some(mut shaper) = self.outward.take() {
                shaper.set(Limit::default(), Vec::new(), now);
                shaper.release(now, &mut self.ready);
                self.dropped_before += shaper.dropped();
            }
            return;
        }
        let shaper = match &mut self.outward {
            Some(shaper) => {
                shaper.set(carriage.outward, carriage.shares, now);
                shaper
            }
            None => self.outward.insert(Shaper::new(carriage.outward, carriage.shares, now)),
        };
        shaper.set_groups(carriage.group_shares, now);
    }

    /// Whether the port may bring something in.
    pub(super) fn may_receive(&mut self, rates: &mut GroupRates, now: Instant) -> bool {
        self.open(rates, now, 1) > 0
    }

    /// How many frames the port may bring in, at most `most`; none while it is the turn of others.
    pub(super) fn room(&mut self, rates: &mut GroupRates, now: Instant, most: usize) -> usize {
        match self.open(rates, now, most) {
            0 => 0,
            room if rates.may_receive(&self.through, self.port) => room,
            _ => 0,
        }
    }

    fn open(&mut self, rates: &mut GroupRates, now: Instant, most: usize) -> usize {
        self.inward.refill(now);
        rates.room(&self.through, now, self.inward.room(most))
    }

    /// The port has brought these in.
    pub(super) fn received(&mut self, rates: &mut GroupRates, packets: &[Packet]) {
        let mut all = 0;
        for packet in packets {
            let (bytes, frames) = on_wire(packet);
            self.inward.take(bytes, frames);
            rates.received(&self.through, bytes, frames);
            all += bytes;
        }
        rates.went(&self.through, self.port, (all, 0));
    }

    /// Takes whole packets for the port, emptying `packets`; those that may leave are `ready`.
    pub(super) fn accept(&mut self, now: Instant, packets: &mut Vec<Packet>, pool: &mut Pool) {
        match &mut self.outward {
            Some(shaper) => {
                shaper.accept(now, packets, pool);
                // Ports that share a rate take turns at it, at the end of the worker's.
                if self.through.is_empty() {
                    shaper.release(now, &mut self.ready);
                }
            }
            None => self.ready.append(packets),
        }
    }

    /// Whether packets wait that may leave now; they are `ready` then.
    pub(super) fn release(&mut self, rates: &mut GroupRates, now: Instant) -> bool {
        if let Some(shaper) = &mut self.outward
            && shaper.held() > 0
            && rates.may_send(&self.through, self.port, now)
        {
            let before = self.ready.len();
            shaper.release_within(now, &mut self.ready, &mut rates.outward, &self.through);
            let sent = self.ready.get(before..).unwrap_or(&[]).iter().map(|packet| on_wire(packet).0).sum();
            rates.went(&self.through, self.port, (0, sent));
        }
        !self.ready.is_empty()
    }

    /// Packets that wait, and packets dropped so far because they could not.
    pub(super) fn counted(&self) -> (usize, u64) {
        let (held, dropped) = self.outward.as_ref().map_or((0, 0), |shaper| (shaper.held(), shaper.dropped()));
        (held + self.ready.len(), self.dropped_before + dropped)
    }

    /// When there is something to do, also where nothing comes in.
    pub(super) fn due(&self, rates: &GroupRates) -> Option<Instant> {
        let outward = self.outward.as_ref().and_then(Shaper::due);
        let outward = outward.map(|at| rates.outward_opens(&self.through).map_or(at, |opens| at.max(opens)));
        let inward = (!self.inward.is_open()).then(|| self.inward.opens());
        let inward = [inward, rates.inward_opens(&self.through)].into_iter().flatten().max();
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
