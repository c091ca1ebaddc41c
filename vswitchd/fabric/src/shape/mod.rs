//! Bandwidth as a resource: what leaves by a port is held to its rate, and shared out among those who want it.
//!
//! A port with a rate has a [`Shaper`] between the fabric and the port. It keeps a queue for each port that sends to it.
//! Whoever has not used up its guarantee goes first; what is left goes by weight; a peak stops a sender even where there
//! is room. A group of senders may have a share of its own ([`GroupShare`]): it counts as one sender. So ten guests with a guarantee of a tenth each get all of an idle uplink and their tenth of a busy one.
//!
//! Order: among the senders that may go, the one whose turn is the oldest (start-time fair queueing: each sender has a
//! virtual time that grows by bytes over weight, and a sender that comes back starts at the present one).
//!
//! Limits: a sender's queue holds [`QUEUE_TIME_MS`] of the port's rate, [`QUEUE_MIN`] to [`QUEUE_MAX`] bytes, and at
//! most [`QUEUE_PACKETS`] packets; what comes beyond is dropped as `rate-limit` and counted.

mod bucket;
mod class;

use std::collections::VecDeque;

use weir_wire::{Instant, Packet, Pool, PortId, Segmentation};

pub use bucket::{BURST_MIN, Bucket, Limit};
pub use class::GroupShare;

use class::Class;

/// Time that a full queue takes to drain at the port's rate.
pub const QUEUE_TIME_MS: u64 = 20;
/// The least that a sender's queue holds, in bytes.
pub const QUEUE_MIN: u64 = 256 << 10;
/// The most that a sender's queue holds, in bytes: many senders must not take all buffers there are.
pub const QUEUE_MAX: u64 = 2 << 20;
/// The most packets that a sender's queue holds.
pub const QUEUE_PACKETS: usize = 1024;

/// A sender's share of the ports it sends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Bits a second it gets however many others want the port; 0 for none.
    pub guarantee: u64,
    /// Bits a second it gets at most, though there be room; 0 for no such limit.
    pub peak: u64,
    /// Its part of what is left, in relation to the others'; from 1 on.
    pub weight: u32,
}

impl Default for Share {
    fn default() -> Share {
        Share { guarantee: 0, peak: 0, weight: 1 }
    }
}

/// What one sender has waiting.
#[derive(Debug)]
struct Queue {
    share: Share,
    guarantee: Bucket,
    peak: Bucket,
    /// The group whose share it has a part of.
    class: Option<usize>,
    waiting: VecDeque<Packet>,
    bytes: u64,
    /// Virtual time at which its next packet starts.
    start: u64,
}

impl Queue {
    fn new(share: Share, now: Instant) -> Queue {
        Queue {
            share,
            guarantee: Bucket::new(Limit::bits(share.guarantee), now),
            peak: Bucket::new(Limit::bits(share.peak), now),
            class: None,
            waiting: VecDeque::new(),
            bytes: 0,
            start: 0,
        }
    }

    fn is_guaranteed(&self) -> bool {
        self.share.guarantee > 0 && self.guarantee.is_open()
    }
}

/// The bytes and frames that a packet will be on a wire: of a super-segment, those it will be cut into, so that it has
/// no advantage over frames. Headers count with their usual length.
pub fn on_wire(packet: &Packet) -> (u64, u64) {
    let bytes = packet.len() as u64;
    let (size, headers) = match packet.offload.segmentation {
        Segmentation::None => return (bytes, 1),
        Segmentation::Tcp4 { size, .. } => (size, 66),
        Segmentation::Tcp6 { size, .. } => (size, 86),
        Segmentation::Udp { size } => (size, 42),
        Segmentation::Fragments { size, .. } => (size, 34),
    };
    let frames = bytes.saturating_sub(headers).div_ceil(u64::from(size.max(1))).max(1);
    (bytes + (frames - 1) * headers, frames)
}

/// What leaves by one port.
#[derive(Debug)]
pub struct Shaper {
    bucket: Bucket,
    /// By the sender's port; absent where it never sent.
    queues: Vec<Option<Box<Queue>>>,
    shares: Vec<(PortId, Share)>,
    classes: Vec<Class>,
    /// Senders with something waiting.
    active: Vec<u16>,
    /// Virtual time: the start of the packet that left last.
    present: u64,
    held: usize,
    dropped: u64,
}

impl Shaper {
    /// A port of that rate. `shares`: of the senders that have one of their own.
    pub fn new(limit: Limit, shares: Vec<(PortId, Share)>, now: Instant) -> Shaper {
        Shaper {
            bucket: Bucket::new(limit, now),
            queues: Vec::new(),
            shares,
            classes: Vec::new(),
            active: Vec::new(),
            present: 0,
            held: 0,
            dropped: 0,
        }
    }

    /// Takes another rate and other shares; what waits goes on waiting under them.
    pub fn set(&mut self, limit: Limit, shares: Vec<(PortId, Share)>, now: Instant) {
        self.bucket.set_limit(limit, now);
        self.shares = shares;
        for index in 0..self.queues.len() {
            let share = self.share_of(PortId(index as u16));
            if let Some(Some(queue)) = self.queues.get_mut(index) {
                queue.share = share;
                queue.guarantee.set_limit(Limit::bits(share.guarantee), now);
                queue.peak.set_limit(Limit::bits(share.peak), now);
            }
        }
    }

    /// Takes other shares of groups; those that stay as they are go on where they were.
    pub fn set_groups(&mut self, groups: Vec<GroupShare>, now: Instant) {
        let mut before = std::mem::take(&mut self.classes);
        // Which of them stay: turns among the members of one that is new begin at the same place.
        let mut stay = Vec::with_capacity(groups.len());
        for wanted in groups {
            let known = before.iter().position(|class| class.is(&wanted));
            stay.push(known.is_some());
            self.classes.push(known.map_or_else(|| Class::new(wanted, now), |at| before.swap_remove(at)));
        }
        self.classes.iter_mut().for_each(|class| class.active = 0);
        let present = self.present;
        for index in 0..self.queues.len() {
            let class = self.class_of(PortId(index as u16));
            let Some(Some(queue)) = self.queues.get_mut(index) else { continue };
            let was = std::mem::replace(&mut queue.class, class);
            match class.and_then(|at| self.classes.get_mut(at).zip(stay.get(at))) {
                Some((class, stays)) => {
                    queue.start = if *stays { queue.start } else { class.present };
                    if !queue.waiting.is_empty() {
                        class.wake(present);
                    }
                }
                None if was.is_some() => queue.start = present,
                None => {}
            }
        }
    }

    fn class_of(&self, sender: PortId) -> Option<usize> {
        self.classes.iter().position(|class| class.has(sender))
    }

    fn share_of(&self, sender: PortId) -> Share {
        self.shares.iter().find(|(port, _)| *port == sender).map(|&(_, share)| share).unwrap_or_default()
    }

    /// Packets that wait.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Packets dropped so far because a queue was full.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes packets for the port, emptying `packets`. What finds its queue full goes back to the pool.
    pub fn accept(&mut self, now: Instant, packets: &mut Vec<Packet>, pool: &mut Pool) {
        let rate = self.bucket.limit().bits;
        let room = (rate / 8 / 1000 * QUEUE_TIME_MS).clamp(QUEUE_MIN, QUEUE_MAX);
        for packet in packets.drain(..) {
            let (sender, bytes) = (packet.port, packet.len() as u64);
            let index = usize::from(sender.0);
            if index >= self.queues.len() {
                self.queues.resize_with(index + 1, || None);
            }
            if self.queues.get(index).is_some_and(Option::is_none) {
                let fresh = Queue { class: self.class_of(sender), ..Queue::new(self.share_of(sender), now) };
                if let Some(slot) = self.queues.get_mut(index) {
                    *slot = Some(Box::new(fresh));
                }
            }
            let present = self.present;
            let Some(Some(queue)) = self.queues.get_mut(index) else { continue };
            if queue.waiting.len() >= QUEUE_PACKETS || (queue.bytes > 0 && queue.bytes + bytes > room) {
                self.dropped += 1;
                pool.give(packet.buffer);
                continue;
            }
            if queue.waiting.is_empty() {
                match queue.class.and_then(|at| self.classes.get_mut(at)) {
                    Some(class) => {
                        class.wake(present);
                        queue.start = queue.start.max(class.present);
                    }
                    None => queue.start = queue.start.max(present),
                }
                self.active.push(sender.0);
            }
            queue.bytes += bytes;
            queue.waiting.push_back(packet);
            self.held += 1;
        }
    }

    /// Appends to `out` what may leave at `now`.
    pub fn release(&mut self, now: Instant, out: &mut Vec<Packet>) {
        self.release_within(now, out, &mut [], &[]);
    }

    /// The same where the port shares rates with others: `through` are its places among these.
    pub fn release_within(&mut self, now: Instant, out: &mut Vec<Packet>, rates: &mut [Bucket], through: &[usize]) {
        if self.held == 0 {
            return;
        }
        self.bucket.refill(now);
        for &at in through {
            rates.get_mut(at).into_iter().for_each(|rate| rate.refill(now));
        }
        for &sender in &self.active {
            if let Some(Some(queue)) = self.queues.get_mut(usize::from(sender)) {
                queue.guarantee.refill(now);
                queue.peak.refill(now);
            }
        }
        self.classes.iter_mut().for_each(|class| class.refill(now));
        let is_open = |rates: &[Bucket]| through.iter().all(|&at| rates.get(at).is_none_or(Bucket::is_open));
        while self.bucket.is_open() && is_open(rates) {
            let Some(at) = self.next() else { return };
            let Some(&sender) = self.active.get(at) else { return };
            let Some(Some(queue)) = self.queues.get_mut(usize::from(sender)) else { return };
            let Some(packet) = queue.waiting.pop_front() else { return };
            let (bytes, frames) = on_wire(&packet);
            queue.bytes = queue.bytes.saturating_sub(packet.len() as u64);
            let mut class = queue.class.and_then(|at| self.classes.get_mut(at));
            self.present = self.present.max(class.as_ref().map_or(queue.start, |class| class.start));
            let is_paid = queue.is_guaranteed();
            if let Some(class) = &mut class {
                class.take((bytes, frames), queue.start, is_paid);
            }
            if is_paid {
                queue.guarantee.take(bytes, frames);
            } else {
                // What the guarantee has paid for does not count against the sender's turn.
                queue.start += (bytes << 8) / u64::from(queue.share.weight.max(1));
            }
            queue.peak.take(bytes, frames);
            if let Some(class) = class.filter(|_| queue.waiting.is_empty()) {
                class.active = class.active.saturating_sub(1);
            }
            self.bucket.take(bytes, frames);
            for &at in through {
                rates.get_mut(at).into_iter().for_each(|rate| rate.take(bytes, frames));
            }
            self.held -= 1;
            if queue.waiting.is_empty() {
                self.active.swap_remove(at);
            }
            out.push(packet);
        }
    }

    /// Which of the active senders goes next; `None` where all of them are at their peak.
    fn next(&self) -> Option<usize> {
        let turn = |(at, sender): (usize, &u16)| {
            let queue = self.queues.get(usize::from(*sender))?.as_ref()?;
            let class = queue.class.and_then(|at| self.classes.get(at));
            let is_open = queue.peak.is_open() && class.is_none_or(|class| class.peak.is_open());
            let is_guaranteed = queue.is_guaranteed() || class.is_some_and(Class::is_guaranteed);
            // Among all of them it is the group's turn, among its members the sender's.
            let turn = class.map_or(queue.start, |class| class.start);
            is_open.then_some((!is_guaranteed, turn, queue.start, *sender, at))
        };
        self.active.iter().enumerate().filter_map(turn).min().map(|(.., at)| at)
    }

    /// When something that waits may leave; `None` where nothing waits.
    pub fn due(&self) -> Option<Instant> {
        if self.held == 0 {
            return None;
        }
        let peaks = self.active.iter().filter_map(|&sender| {
            let queue = self.queues.get(usize::from(sender))?.as_ref()?;
            let class = queue.class.and_then(|at| self.classes.get(at));
            Some(class.map_or(queue.peak.opens(), |class| queue.peak.opens().max(class.peak.opens())))
        });
        Some(peaks.min()?.max(self.bucket.opens()))
    }

    /// Gives everything that waits back to the pool, counted as dropped: the port is going away.
    pub fn clear(&mut self, pool: &mut Pool) {
        for queue in self.queues.iter_mut().flatten() {
            self.dropped += queue.waiting.len() as u64;
            queue.waiting.drain(..).for_each(|packet| pool.give(packet.buffer));
            queue.bytes = 0;
        }
        self.active.clear();
        self.classes.iter_mut().for_each(|class| class.active = 0);
        self.held = 0;
    }
}

#[cfg(test)]
mod tests;
