//! Storm control: how much of what goes to many a port may send into its switch.
//!
//! Broadcast, multicast and frames to unknown addresses are held to a rate each, in bits and in frames a second, so that
//! a loop or a broken guest behind one port does not take the others along. What is too much is dropped, never delayed,
//! and counted by its kind. A burst may pass at once, as of any rate: 64 frames, or 64 KiB.

use std::time::Duration;

use weir_wire::{DropReason, Instant, Packet};

use crate::bridge::Kind;
use crate::shape::{Bucket, Limit, on_wire};

/// A storm is told again when it comes back after this pause.
pub const PAUSE: Duration = Duration::from_secs(10);

/// What a port may send to many, by kind; no limit where nothing is stated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StormLimits {
    /// Frames to everybody.
    pub broadcast: Limit,
    /// Frames to groups.
    pub multicast: Limit,
    /// Frames to addresses that the switch does not know.
    pub unknown: Limit,
}

impl StormLimits {
    /// Nothing is limited.
    pub fn is_none(&self) -> bool {
        self.broadcast.is_none() && self.multicast.is_none() && self.unknown.is_none()
    }
}

/// What a port has sent to many lately.
#[derive(Debug)]
pub(crate) struct Storm {
    limits: StormLimits,
    broadcast: Bucket,
    multicast: Bucket,
    unknown: Bucket,
    /// The last frame that was too much.
    last: Option<Instant>,
}

/// What storm control says of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// It may pass.
    Fair,
    /// It is too much.
    Storm {
        /// Its kind.
        reason: DropReason,
        /// The first after a pause: to be told.
        begins: bool,
    },
}

impl Storm {
    /// Full buckets; `None` where nothing is limited.
    pub fn new(limits: StormLimits, now: Instant) -> Option<Box<Storm>> {
        if limits.is_none() {
            return None;
        }
        let bucket = |limit| Bucket::new(limit, now);
        let (broadcast, multicast, unknown) =
            (bucket(limits.broadcast), bucket(limits.multicast), bucket(limits.unknown));
        Some(Box::new(Storm { limits, broadcast, multicast, unknown, last: None }))
    }

    /// Frames to unknown addresses are limited.
    pub fn watches_unknown(&self) -> bool {
        !self.limits.unknown.is_none()
    }

    /// Takes account of a frame of this kind; unicast stands for unicast to an unknown address.
    pub fn meet(&mut self, now: Instant, kind: Kind, packet: &Packet) -> Weather {
        let (bucket, reason) = match kind {
            Kind::Broadcast => (&mut self.broadcast, DropReason::StormBroadcast),
            Kind::Multicast => (&mut self.multicast, DropReason::StormMulticast),
            Kind::Unicast => (&mut self.unknown, DropReason::StormUnknown),
        };
        bucket.refill(now);
        if bucket.is_open() {
            let (bytes, frames) = on_wire(packet);
            bucket.take(bytes, frames);
            return Weather::Fair;
        }
        let begins = self.last.is_none_or(|last| now.since(last) >= PAUSE);
        self.last = Some(now);
        Weather::Storm { reason, begins }
    }
}
