//! What the fabric counts, and the sum that shows that nothing vanished.
//!
//! Each counter moves where the thing happens, and each packet ends in exactly one of them. A copy for flooding counts
//! as `copied` when it is wanted, also where it then finds no buffer or no leave to go: that end is a drop.

use weir_wire::DropCounters;

/// What the fabric counted for one port.
#[derive(Clone, Debug, Default)]
pub struct PortCounters {
    /// Packets that came in.
    pub received: u64,
    /// Bytes that came in.
    pub received_bytes: u64,
    /// Copies made of its packets for flooding, beyond the first.
    pub copied: u64,
    /// Fragments of it that became part of a whole packet (a datagram of n counts n - 1).
    pub merged: u64,
    /// Packets of our own caused by it (resets, ICMP errors, answers of routers).
    pub originated: u64,
    /// Packets of it that routers of this fabric took for themselves (address resolution, echo requests).
    pub delivered: u64,
    /// Packets put out to this port.
    pub sent: u64,
    /// Bytes put out to this port.
    pub sent_bytes: u64,
    /// Packets that came in by this port and ended here, by reason.
    pub dropped: DropCounters,
}

impl PortCounters {
    /// Adds another port's counters to these.
    pub fn merge(&mut self, other: &PortCounters) {
        self.received += other.received;
        self.received_bytes += other.received_bytes;
        self.copied += other.copied;
        self.merged += other.merged;
        self.originated += other.originated;
        self.delivered += other.delivered;
        self.sent += other.sent;
        self.sent_bytes += other.sent_bytes;
        self.dropped.merge(&other.dropped);
    }
}

/// Both sides of the fabric's sum: `received + originated + copied = sent + delivered + held + merged + dropped`, over
/// all ports there are and ever were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Packets that came in.
    pub received: u64,
    /// Packets of our own.
    pub originated: u64,
    /// Copies for flooding.
    pub copied: u64,
    /// Packets put out.
    pub sent: u64,
    /// Packets that routers of this fabric took for themselves.
    pub delivered: u64,
    /// Fragments, and packets to neighbours that are asked for, that wait.
    pub held: u64,
    /// Fragments that became part of a whole packet.
    pub merged: u64,
    /// Packets that ended here.
    pub dropped: u64,
}

impl Totals {
    /// What came into being: the left side of the sum.
    pub fn arrived(&self) -> u64 {
        self.received + self.originated + self.copied
    }

    /// What became of it: the right side of the sum.
    pub fn accounted(&self) -> u64 {
        self.sent + self.delivered + self.held + self.merged + self.dropped
    }

    /// Adds those of another fabric.
    pub fn merge(&mut self, other: &Totals) {
        self.received += other.received;
        self.originated += other.originated;
        self.copied += other.copied;
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.held += other.held;
        self.merged += other.merged;
        self.dropped += other.dropped;
    }

    pub(crate) fn add(&mut self, port: &PortCounters) {
        self.received += port.received;
        self.originated += port.originated;
        self.delivered += port.delivered;
        self.copied += port.copied;
        self.sent += port.sent;
        self.merged += port.merged;
        self.dropped += port.dropped.total();
    }
}
