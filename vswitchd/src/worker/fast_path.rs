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
use std::sync::Arc;
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

/// All that was handed over.
#[derive(Debug)]
pub(super) struct FastPaths {
    shared: Arc<FastPath>,
    places: Vec<Option<Handed>>,
    free: Vec<u32>,
    resting: VecDeque<(Instant, u32)>,
    open: usize,
    next_look: Instant,
    next_ask: Instant,
    /// Some port takes part.
    wanted: bool,
    offers: Vec<Offer>,
    lost: Vec<PortId>,
}

impl FastPaths {
    pub(super) fn new(shared: Arc<FastPath>) -> FastPaths {
        FastPaths {
            shared,
            places: Vec::new(),
            free: Vec::new(),
            resting: VecDeque::new(),
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
        if self.wanted || !self.resting.is_empty() {
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
        let fresh = self.places.len() as u32;
        let Some(place) = self.free.pop().or((fresh < PLACES).then_some(fresh)) else { return };
        if place == fresh {
            self.places.push(None);
        }
        if !fabric.hand_over(&offer, place) {
            self.free.push(place);
            return;
        }
        if self.shared.open(place, &passage).is_err() {
            fabric.take_back(&offer);
            self.free.push(place);
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
        for _ in 0..FORGOTTEN {
            let Some(&(_, place)) = self.resting.front().filter(|(due, _)| *due <= now) else { return };
            self.resting.pop_front();
            self.read(now, place, fabric, ports);
            if let Some(handed) = self.places.get_mut(place as usize).and_then(Option::take) {
                self.shared.forget(place, &handed.passage);
                fabric.take_back(&handed.offer);
                self.free.push(place);
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

    /// Whether anything is or was just handed over, so that counts may be behind.
    pub(super) fn is_busy(&self) -> bool {
        self.open > 0 || !self.resting.is_empty()
    }

    /// When there is something to do, also where nothing comes in.
    pub(super) fn due(&self) -> Option<Instant> {
        let look = (self.open > 0).then_some(self.next_look);
        let rested = self.resting.front().map(|&(due, _)| due);
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
