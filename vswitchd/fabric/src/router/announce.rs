//! Addresses of our own, told to their networks: asked for once before they are claimed (RFC 5227; RFC 4862, 5.4), then
//! announced twice, so that hosts and switches know where they are.
//!
//! An address answers from the start. Where somebody else has it, which only the time between question and claim can
//! show, it is given up. Later claims of others are answered with an announcement at most every [`DEFEND_EVERY`], and
//! counted: a guest cannot take an address from a router that has it.

use std::net::IpAddr;
use std::time::Duration;

use weir_wire::{Instant, InterfaceId, MacAddr};

use super::{Emission, Routers};

/// How long others have to say that an address is theirs.
const PROBE_FOR: Duration = Duration::from_secs(1);
/// Time between the two announcements.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(2);
/// Time between two answers to false claims.
pub const DEFEND_EVERY: Duration = Duration::from_secs(1);

/// How far an interface is with its addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// They are to be asked for.
    New,
    /// They were; others may object.
    Asked,
    /// They were announced once.
    Announced,
    /// They are known.
    #[default]
    Settled,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Announcing {
    stage: Stage,
    next: Instant,
    defended: Instant,
}

impl Announcing {
    /// The interface has come, or has other addresses.
    pub fn begin(&mut self, now: Instant) {
        (self.stage, self.next) = (Stage::New, now);
    }
}

impl Routers {
    /// Says what is due; returns when the next is.
    pub(crate) fn announce(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for (index, interface) in self.interfaces.iter_mut().enumerate() {
            let Some(interface) = interface else { continue };
            let id = InterfaceId(index as u16);
            let announcing = &mut interface.announcing;
            if announcing.stage != Stage::Settled && announcing.next <= now {
                let ours = interface.addresses.iter().filter(|a| !a.duplicate).map(|a| a.prefix.address);
                let (stage, pause) = match announcing.stage {
                    Stage::New => (Stage::Asked, PROBE_FOR),
                    Stage::Asked => (Stage::Announced, ANNOUNCE_AGAIN),
                    Stage::Announced | Stage::Settled => (Stage::Settled, Duration::ZERO),
                };
                let asks = announcing.stage == Stage::New;
                let say = |address| if asks { Emission::Probe(id, address) } else { Emission::Announce(id, address) };
                self.emissions.extend(ours.map(say));
                (announcing.stage, announcing.next) = (stage, now.after(pause));
            }
            let due = (announcing.stage != Stage::Settled).then_some(announcing.next);
            next = [next, due].into_iter().flatten().min();
        }
        next
    }

    /// Somebody with this MAC claims, or wants, an address of ours.
    pub(crate) fn contest(&mut self, now: Instant, id: InterfaceId, address: IpAddr, mac: MacAddr) {
        let Some(interface) = self.interface_mut(id).filter(|interface| interface.config.mac != mac) else { return };
        interface.counters.conflicts += 1;
        let announcing = &mut interface.announcing;
        if announcing.stage == Stage::Asked {
            let ours = interface.addresses.iter_mut().filter(|a| a.prefix.address == address);
            ours.for_each(|a| a.duplicate = true);
            return;
        }
        if now.since(announcing.defended) >= DEFEND_EVERY || announcing.defended == Instant::ZERO {
            announcing.defended = now;
            self.emissions.push(Emission::Announce(id, address));
        }
    }
}
