//! How much of a connection is seen: some of its segments may pass elsewhere for a while.

use super::segment::{SCALE_MAX, Segment};
use super::{FIN, FIN_ACKED, Peer, Tcp};
use crate::inspect::Direction;

/// How much of a connection's segments is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sight {
    /// All.
    #[default]
    Full,
    /// Some pass elsewhere: sequence numbers mean nothing.
    Partial,
    /// All again, but the numbers are from before.
    Stale,
}

impl Tcp {
    /// From here on segments may pass that are not shown to us: windows are not looked at.
    pub fn look_away(&mut self) {
        self.sight = Sight::Partial;
    }

    /// All segments are shown to us again. The next one says where its window stands, as if the connection were picked up
    /// in its midst.
    pub fn look_again(&mut self) {
        if self.sight == Sight::Partial {
            self.sight = Sight::Stale;
        }
    }

    /// Some of its segments pass unseen.
    #[inline]
    pub fn is_partly_seen(&self) -> bool {
        self.sight == Sight::Partial
    }

    /// Takes both sides' numbers from a segment alone. What is known of FINs and scales stays.
    pub(super) fn begin_again(&mut self, direction: Direction, segment: &Segment) {
        if self.sight == Sight::Stale {
            self.sight = Sight::Full;
        }
        let again = |peer: &Peer, end: u32, max_end: u32| {
            let scale = if peer.scale > SCALE_MAX { 0 } else { peer.scale };
            let flags = peer.flags & (FIN | FIN_ACKED);
            Peer { end, max_end, max_window: u32::from(u16::MAX) << scale, max_ack: 0, flags, ..*peer }
        };
        let (here, there) = self.sides(direction);
        *here = again(here, segment.seq, segment.end());
        *there = again(there, segment.ack, segment.ack);
    }
}
