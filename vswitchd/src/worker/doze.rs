//! Ports that say nothing: they are asked to tell when something comes, and passed over until they do.
//!
//! Asking a silent guest costs a few cache misses, each turn, for each of them. A port that has brought nothing in for
//! [`DOZE_AFTER`] is armed as before a sleep and *dozes*: it has no turn until its descriptor is readable. While others are
//! busy the descriptors of all that doze are asked about together, once in [`LISTEN_EVERY`], whatever their number; and
//! each port has a turn once in [`LOOK_EVERY`] all the same, so that one that does not tell loses time and nothing else.

use std::time::Duration;

use weir_ports::Armed;
use weir_wire::{Instant, PortId};

use super::network::Network;
use super::port_table::Slot;
use super::{WAKE, Worker};

/// How long a port says nothing before it dozes.
const DOZE_AFTER: Duration = Duration::from_millis(10);
/// How often ports that doze are listened to while others are busy.
const LISTEN_EVERY: Duration = Duration::from_micros(50);
/// The same while nobody is, and the worker polls.
const LISTEN_EVERY_IDLE: Duration = Duration::from_micros(5);
/// How often they have a turn without having told.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// When the ports that doze are looked after.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The last turn brought something in.
    pub is_busy: bool,
    next_listen: Instant,
    next_look: Instant,
    /// Ports that doze.
    dozing: usize,
}

/// Whether ports that doze have a turn without having told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Yes,
    No,
}

impl Slot {
    /// It has its turns again.
    fn rouse(&mut self, now: Instant) {
        self.heard = now;
        if std::mem::take(&mut self.dozes) {
            self.port.disarm();
        }
    }

    /// Lets it doze where it has nothing; `false` where it goes on having turns.
    fn lull(&mut self, now: Instant) -> bool {
        if self.shaping.is_some() || !self.port.may_doze() || now.since(self.heard) < DOZE_AFTER {
            return false;
        }
        if self.port.arm() == Armed::Ready {
            self.port.disarm();
            self.heard = now;
            return false;
        }
        self.dozes = true;
        true
    }
}

impl Network {
    /// Lets ports doze that have become silent; returns how many doze.
    fn lull(&mut self, now: Instant, look: Look) -> usize {
        let mut dozing = 0;
        for (_, slot) in self.ports.entries() {
            if look == Look::Yes && slot.dozes {
                let heard = slot.heard;
                slot.rouse(now);
                // One turn, and it dozes on.
                slot.heard = heard;
            } else if slot.dozes || slot.lull(now) {
                dozing += 1;
            }
        }
        dozing
    }
}

impl Worker {
    /// Hears those that doze, and lets those doze that have become silent.
    #[inline]
    pub(super) fn listen(&mut self, now: Instant) {
        if now >= self.watch.next_listen {
            self.watch.next_listen = now.after(if self.watch.is_busy { LISTEN_EVERY } else { LISTEN_EVERY_IDLE });
            self.look_after_silent(now);
        }
    }

    fn look_after_silent(&mut self, now: Instant) {
        if self.watch.dozing > 0 && self.tokens.is_empty() {
            let mut tokens = std::mem::take(&mut self.tokens);
            // What cannot be heard has its turn by and by.
            if self.epoll.wait(&mut tokens, Some(Duration::ZERO)).is_err() {
                tokens.clear();
            }
            // The others are looked after in their turns.
            let mut dozes = |id| self.slot(PortId(id)).is_some_and(|slot| slot.dozes);
            tokens.retain(|&token| token == WAKE || u16::try_from(token).is_ok_and(&mut dozes));
            self.tokens = tokens;
            self.take_events(now);
        }
        let look = if now >= self.watch.next_look { Look::Yes } else { Look::No };
        if look == Look::Yes {
            self.watch.next_look = now.after(LOOK_EVERY);
        }
        self.watch.dozing = self.networks.iter_mut().map(|network| network.lull(now, look)).sum();
    }

    fn slot(&mut self, id: PortId) -> Option<&mut Slot> {
        self.networks.iter_mut().find_map(|network| network.ports.slot(id))
    }

    /// After a sleep: the ports of which epoll has said something have their turn, and nobody needs to be heard at once.
    pub(super) fn rouse(&mut self, now: Instant) {
        let tokens = std::mem::take(&mut self.tokens);
        for &token in &tokens {
            if let Ok(id) = u16::try_from(token)
                && let Some(slot) = self.slot(PortId(id))
            {
                slot.rouse(now);
            }
        }
        self.tokens = tokens;
        self.watch.next_listen = now.after(LISTEN_EVERY_IDLE);
    }

    /// Tells the ports what epoll has said, and empties it.
    pub(super) fn take_events(&mut self, now: Instant) {
        let mut tokens = std::mem::take(&mut self.tokens);
        for token in tokens.drain(..) {
            if token == WAKE {
                self.fleet.bell(self.index).wake.drain();
            }
            if let Ok(id) = u16::try_from(token)
                && let Some(slot) = self.slot(PortId(id))
            {
                slot.port.on_event();
                slot.rouse(now);
            }
        }
        self.tokens = tokens;
    }
}
