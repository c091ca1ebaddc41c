//! Hands settled flows between AF_XDP ports to the kernel, and takes them back.
//!
//! The fabric offers a direction of a flow, both ports have a [`Lane`](weir_ports::xdp::fast_path::Lane) that reach each
//! other and no rate to keep: then its frames are sent by the XDP program, and we only read what passed, several times a
//! second. A place is shut by one store as soon as anything stands otherwise: the flow ends or is judged again, its
//! destination is lost, a link goes, any change is applied. What is shut rests until no program can be at work on it;
//! then the last counts are taken, and the flow may be offered again.
//!
//! Bounds: [`PLACES`] directions at a time, of which [`FORGOTTEN`] are cleared a turn; without room a flow stays with us.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use weir_fabric::{Fabric, Offer};
use weir_ports::xdp::fast_path::{FastPath, PLACES, Passage, Passed};
use weir_wire::{Instant, PortId};

use super::PortTable;

/// How often counts are read while flows are in the kernel.
const LOOK: Duration = Duration::from_millis(250);
/// A flow without frames comes back after this time, so that an idle switch has nothing to read.
const IDLE: Duration = Duration::from_secs(10);
/// From the shutting of a place to its last counts: much longer than a program takes.
const REST: Duration = Duration::from_millis(100);
/// How often devices are asked what they can do.
const ASK_DEVICES: Duration = Duration::from_secs(1);
/// Places cleared in one turn, at two system calls each.
const FORGOTTEN: usize = 32;

/// What was handed over at a place.
#[derive(Debug)]
struct Handed {
    offer: Offer,
    passage: Passage,
    counted: Passed,
    since: Instant,
    open: bool,
}

/// The places of all networks, of which each is one network's at a time. The lock is taken where a flow is handed over or
/// given back, which are system calls anyway.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Free>);

#[derive(Debug, Default)]
struct Free {
    returned: Vec<u32>,
    next: u32,
}

impl Places {
    /// A place that nobody has; `None` where there is none.
    fn take(&self) -> Option<u32> {
        // Whatever a thread that panicked did, the list is whole.
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.returned.pop().or_else(|| {
            let fresh = free.next;
            free.next = (fresh + 1).min(PLACES);
            (fresh < PLACES).then_some(fresh)
        })
    }

    fn give(&self, place: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).returned.push(place);
    }
}

/// All that was handed over.
#[derive(Debug)]
pub(super) struct FastPaths {
    shared: Arc<FastPath>,
    free: Arc<Places>,
    /// By place.
    places: Vec<Option<Handed>>,
    resting: VecDeque<(Instant, u32)>,
    /// Places of networks that have become part of this one, which nothing is counted of any more.
    left: VecDeque<(Instant, u32, Passage)>,
    open: usize,
    next_look: Instant,
    next_ask: Instant,
    /// Some port takes part.
    wanted: bool,
    offers: Vec<Offer>,
    lost: Vec<PortId>,
}

impl FastPaths {
    pub(super) fn new(shared: Arc<FastPath>, free: Arc<Places>) -> FastPaths {
        FastPaths {
            shared,
            free,
            places: Vec::new(),
            resting: VecDeque::new(),
            left: VecDeque::new(),
            open: 0,
            next_look: Instant::ZERO,
            next_ask: Instant::ZERO,
            wanted: false,
            offers: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// Tells the fabric which ports take part as things stand.
    pub(super) fn ask_devices(&mut self, now: Instant, fabric: &mut Fabric, ports: &mut PortTable) {
        self.wanted = false;
        for (id, slot) in ports.entries() {
            let fast = slot.shaping.is_none() && slot.port.lane().is_some();
            fabric.set_fast(id, fast);
            self.wanted |= fast;
        }
        self.next_ask = now.after(ASK_DEVICES);
    }

    /// What there is to do in a turn. Cheap where nothing is.
    #[inline]
    pub(super) fn turn(&mut self, now: Instant, fabric: &mut Fabric, ports: &mut PortTable) {
        if self.wanted || !self.resting.is_empty() || !self.left.is_empty() {
            self.work(now, fabric, ports);
        }
    }

    fn work(&mut self, now: Instant, fabric: &mut Fabric, ports: &mut PortTable) {
        if self.open > 0 {
            self.shut_what_was_lost(now, fabric);
            if now >= self.next_look {
                self.look(now, fabric, ports);
            }
        }
        self.clear_rested(now, fabric, ports);
        if fabric.has_offers() {
            if now >= self.next_ask {
                self.ask_anew(now, fabric, ports);
            }
            self.accept(now, fabric, ports);
        }
    }

    /// Shuts the places of flows that the guard wants to see, and of ports that have lost an address.
    pub(super) fn shut_what_was_lost(&mut self, now: Instant, fabric: &mut Fabric) {
        if fabric.has_recalled() {
            let recalled: Vec<u32> = fabric.recalled().collect();
            recalled.into_iter().for_each(|place| self.shut(now, place));
        }
        let mut lost = std::mem::take(&mut self.lost);
        if fabric.lost_ports(&mut lost) {
            self.shut_all(now);
        }
        lost.drain(..).for_each(|port| self.shut_port(now, port));
        self.lost = lost;
    }

    fn accept(&mut self, now: Instant, fabric: &mut Fabric, ports: &mut PortTable) {
        let mut offers = std::mem::take(&mut self.offers);
        fabric.take_offers(&mut offers);
        for offer in offers.drain(..) {
            if let Some(passage) = passage(&offer, ports) {
                self.hand_over(now, fabric, offer, passage);
            }
        }
        self.offers = offers;
    }

    fn hand_over(&mut self, now: Instant, fabric: &mut Fabric, offer: Offer, passage: Passage) {
        let Some(place) = self.free.take() else { return };
        if place as usize >= self.places.len() {
            self.places.resize_with(place as usize + 1, || None);
        }
        if !fabric.hand_over(&offer, place) {
            self.free.give(place);
            return;
        }
        if self.shared.open(place, &passage).is_err() {
            fabric.take_back(&offer);
            self.free.give(place);
            return;
        }
        if let Some(slot) = self.places.get_mut(place as usize) {
            *slot = Some(Handed { offer, passage, counted: Passed::default(), since: now, open: true });
        }
        if self.open == 0 {
            self.next_look = now.after(LOOK);
        }
        self.open += 1;
    }

    /// Reads what passed, lets go of what is idle, and asks the devices now and then.
    pub(super) fn look(&mut self, now: Instant, fabric: &mut Fabric, ports: &mut PortTable) {
        for place in 0..self.places.len() as u32 {
            self.read(now, place, fabric, ports);
            let idle = |handed: &Handed| {
                let last = Instant(handed.counted.last_ns).max(handed.since);
                handed.open && now.since(last) >= IDLE
            };
            if self.places.get(place as usize).and_then(Option::as_ref).is_some_and(idle) {
                self.shut(now, place);
            }
        }
        self.next_look = now.after(LOOK);
        if now >= self.next_ask {
            self.ask_anew(now, fabric, ports);
        }
    }

    /// Shuts what the devices no longer allow.
    fn ask_anew(&mut self, now: Instant, fabric: &mut Fabric, ports: &mut PortTable) {
        ports.entries().for_each(|(_, slot)| slot.port.look_at_lane());
        self.ask_devices(now, fabric, ports);
        let places = self.places.iter().zip(0u32..).filter_map(|(handed, place)| Some((handed.as_ref()?, place)));
        let changed = places.filter(|(handed, _)| handed.open && passage(&handed.offer, ports) != Some(handed.passage));
        let changed: Vec<u32> = changed.map(|(_, place)| place).collect();
        changed.into_iter().for_each(|place| self.shut(now, place));
    }

    /// Takes what passed since the last time into all accounts.
    fn read(&mut self, now: Instant, place: u32, fabric: &mut Fabric, ports: &mut PortTable) {
        let Some(Some(handed)) = self.places.get_mut(place as usize) else { return };
        let passed = self.shared.passed(place);
        let more = Passed {
            packets: passed.packets.wrapping_sub(handed.counted.packets),
            bytes: passed.bytes.wrapping_sub(handed.counted.bytes),
            last_ns: passed.last_ns,
        };
        handed.counted = passed;
        if more.packets == 0 {
            return;
        }
        fabric.passed(now, &handed.offer, more.packets, more.bytes, Instant(more.last_ns).min(now));
        if let Some(slot) = ports.slot(handed.offer.from) {
            slot.port.passed(more, Passed::default());
        }
        if let Some(slot) = ports.slot(handed.offer.to) {
            slot.port.passed(Passed::default(), more);
        }
    }

    fn shut(&mut self, now: Instant, place: u32) {
        let Some(Some(handed)) = self.places.get_mut(place as usize) else { return };
        if std::mem::take(&mut handed.open) {
            self.shared.shut(place);
            self.open -= 1;
            self.resting.push_back((now.after(REST), place));
        }
    }

    /// Shuts all places; whether there were any.
    pub(super) fn shut_all(&mut self, now: Instant) -> bool {
        let any = self.open > 0;
        if any {
            (0..self.places.len() as u32).for_each(|place| self.shut(now, place));
        }
        any
    }

    /// Shuts the places of a port's flows.
    pub(super) fn shut_port(&mut self, now: Instant, port: PortId) {
        if self.open == 0 {
            return;
        }
        let of_port = |handed: &Handed| handed.offer.from == port || handed.offer.to == port;
        for place in 0..self.places.len() as u32 {
            if self.places.get(place as usize).and_then(Option::as_ref).is_some_and(of_port) {
                self.shut(now, place);
            }
        }
    }

    /// Takes the last counts of places that have rested, and gives their flows back.
    fn clear_rested(&mut self, now: Instant, fabric: &mut Fabric, ports: &mut PortTable) {
        if let Some((_, place, passage)) = self.left.pop_front_if(|(due, ..)| *due <= now) {
            self.shared.forget(place, &passage);
            self.free.give(place);
        }
        for _ in 0..FORGOTTEN {
            let Some(&(_, place)) = self.resting.front().filter(|(due, _)| *due <= now) else { return };
            self.resting.pop_front();
            self.read(now, place, fabric, ports);
            if let Some(handed) = self.places.get_mut(place as usize).and_then(Option::take) {
                self.shared.forget(place, &handed.passage);
                fabric.take_back(&handed.offer);
                self.free.give(place);
            }
        }
    }

    /// Reads everything for the last time, before the worker ends.
    pub(super) fn end(&mut self, now: Instant, fabric: &mut Fabric, ports: &mut PortTable) {
        self.shut_all(now);
        for place in 0..self.places.len() as u32 {
            self.read(now, place, fabric, ports);
        }
    }

    /// Takes over the places of another network that rest: their flows were given back, only the places wait.
    pub(super) fn adopt(&mut self, other: FastPaths) {
        self.left.extend(other.left);
        for (due, place) in other.resting {
            if let Some(Some(handed)) = other.places.get(place as usize) {
                self.left.push_back((due, place, handed.passage));
            }
        }
    }

    /// Whether anything is or was just handed over, so that counts may be behind.
    pub(super) fn is_busy(&self) -> bool {
        self.open > 0 || !self.resting.is_empty()
    }

    /// When there is something to do, also where nothing comes in.
    pub(super) fn due(&self) -> Option<Instant> {
        let look = (self.open > 0).then_some(self.next_look);
        let left = self.left.front().map(|&(due, ..)| due);
        let rested = self.resting.front().map(|&(due, _)| due).into_iter().chain(left).min();
        match (look, rested) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Directions of flows that come in by a port, or leave by it, in the kernel.
    pub(super) fn count(&self, port: PortId) -> (usize, usize) {
        let open = || self.places.iter().flatten().filter(|handed| handed.open);
        (open().filter(|h| h.offer.from == port).count(), open().filter(|h| h.offer.to == port).count())
    }
}

/// How a direction would pass, where its ports allow it.
fn passage(offer: &Offer, ports: &mut PortTable) -> Option<Passage> {
    let mut lane = |id: PortId| {
        let slot = ports.slot(id)?;
        slot.port.lane().filter(|_| slot.shaping.is_none())
    };
    let (from, to) = (lane(offer.from)?, lane(offer.to)?);
    from.reaches(&to).then_some(Passage {
        from: from.device,
        to: to.device,
        addresses: offer.addresses,
        ends: offer.ends,
        ports: offer.ports,
        protocol: offer.protocol,
        longest: to.longest.min(from.longest),
    })
}
