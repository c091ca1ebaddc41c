//! Shares that several senders have together: a group counts as one among those that want the port, and its members share
//! what it gets by their own guarantees and weights.

use weir_wire::{Instant, PortId};

use super::{Bucket, Limit, Share};

/// What a group of senders gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupShare {
    /// Of all of them together.
    pub share: Share,
    /// The senders; each is in one group at most.
    pub members: Vec<PortId>,
}

/// A group at a port.
#[derive(Debug)]
pub(super) struct Class {
    wanted: GroupShare,
    pub guarantee: Bucket,
    pub peak: Bucket,
    /// Virtual time at which its next packet starts, among the groups and single senders.
    pub start: u64,
    /// Virtual time among its members.
    pub present: u64,
    /// Members with something waiting.
    pub active: usize,
}

impl Class {
    pub fn new(wanted: GroupShare, now: Instant) -> Class {
        Class {
            guarantee: Bucket::new(Limit::bits(wanted.share.guarantee), now),
            peak: Bucket::new(Limit::bits(wanted.share.peak), now),
            wanted,
            start: 0,
            present: 0,
            active: 0,
        }
    }

    pub fn is(&self, wanted: &GroupShare) -> bool {
        self.wanted == *wanted
    }

    pub fn has(&self, sender: PortId) -> bool {
        self.wanted.members.contains(&sender)
    }

    pub fn refill(&mut self, now: Instant) {
        if self.active > 0 {
            self.guarantee.refill(now);
            self.peak.refill(now);
        }
    }

    pub fn is_guaranteed(&self) -> bool {
        self.wanted.share.guarantee > 0 && self.guarantee.is_open()
    }

    /// One of its members has something to send.
    pub fn wake(&mut self, present: u64) {
        if self.active == 0 {
            self.start = self.start.max(present);
        }
        self.active += 1;
    }

    /// A packet of one of its members leaves, which the member's own guarantee may have paid for.
    pub fn take(&mut self, (bytes, frames): (u64, u64), turn: u64, is_paid: bool) {
        self.present = self.present.max(turn);
        if self.is_guaranteed() {
            self.guarantee.take(bytes, frames);
        } else if !is_paid {
            self.start += (bytes << 8) / u64::from(self.wanted.share.weight.max(1));
        }
        self.peak.take(bytes, frames);
    }
}
