//! The ports a worker owns.

use weir_ports::{Counters, Port};
use weir_wire::{DropReason, Instant, PortId};

use super::shaping::Shaping;

/// The ports a worker owns.
#[derive(Default)]
pub struct PortTable {
    slots: Vec<Option<Slot>>,
    active: Vec<PortId>,
}

/// A port and what the worker remembers of it.
pub(super) struct Slot {
    pub port: Box<dyn Port>,
    /// Its link, as the fabric was told.
    pub link: bool,
    /// It received or sent since its last flush.
    pub touched: bool,
    /// Turns since it last brought something in.
    pub idle: u32,
    /// When it last brought something in, or told of something.
    pub heard: Instant,
    /// It is armed, and has no turn until it tells of something.
    pub dozes: bool,
    /// What holds it to its rates, where it has any.
    pub shaping: Option<Box<Shaping>>,
}

impl PortTable {
    /// A port by its number.
    pub fn get(&self, id: PortId) -> Option<&dyn Port> {
        self.slots.get(usize::from(id.0))?.as_ref().map(|slot| &*slot.port)
    }

    /// What a port has counted, with what could not be sent because of its rate; and the packets that wait for it.
    pub fn counters(&self, id: PortId) -> Option<(Counters, usize)> {
        let slot = self.slots.get(usize::from(id.0))?.as_ref()?;
        let mut counters = slot.port.counters().clone();
        let (held, dropped) = slot.shaping.as_ref().map_or((0, 0), |shaping| shaping.counted());
        counters.tx_dropped.add(DropReason::RateLimit, dropped);
        Some((counters, held))
    }

    /// The ports there are, in order of their numbers.
    pub fn ids(&self) -> &[PortId] {
        &self.active
    }

    /// Ports that have no turn until they tell of something.
    pub fn dozing(&self) -> usize {
        self.slots.iter().flatten().filter(|slot| slot.dozes).count()
    }

    pub(super) fn entries(&mut self) -> impl Iterator<Item = (PortId, &mut Slot)> {
        let numbered = (0..).map(PortId).zip(self.slots.iter_mut());
        numbered.filter_map(|(id, slot)| Some((id, slot.as_mut()?)))
    }

    pub(super) fn slot(&mut self, id: PortId) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(id.0))?.as_mut()
    }

    /// A port and, where it is another one, the port `from`.
    pub(super) fn with_origin(&mut self, id: PortId, from: Option<PortId>) -> Option<(&mut Slot, Option<&dyn Port>)> {
        match from {
            Some(from) if from != id => {
                let [slot, origin] = self.slots.get_disjoint_mut([usize::from(id.0), usize::from(from.0)]).ok()?;
                Some((slot.as_mut()?, origin.as_ref().map(|origin| &*origin.port)))
            }
            _ => Some((self.slot(id)?, None)),
        }
    }

    pub(super) fn insert(&mut self, id: PortId, port: Box<dyn Port>) -> Option<Box<dyn Port>> {
        let index = usize::from(id.0);
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        let Some(slot) = self.slots.get_mut(index) else { return Some(port) };
        let shaping = slot.as_mut().and_then(|old| old.shaping.take());
        let old = slot.replace(Slot {
            port,
            link: false,
            touched: false,
            idle: 0,
            heard: Instant::ZERO,
            dozes: false,
            shaping,
        });
        if let Err(at) = self.active.binary_search(&id) {
            self.active.insert(at, id);
        }
        old.map(|slot| slot.port)
    }

    /// Takes all ports out, with what is remembered of them.
    pub(super) fn take(&mut self) -> Vec<(PortId, Slot)> {
        self.active.clear();
        let numbered = (0..).map(PortId).zip(std::mem::take(&mut self.slots));
        numbered.filter_map(|(id, slot)| Some((id, slot?))).collect()
    }

    /// Puts a port in with what is remembered of it, in the place of none.
    pub(super) fn put(&mut self, id: PortId, slot: Slot) {
        let index = usize::from(id.0);
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        if let (Some(place), Err(at)) = (self.slots.get_mut(index), self.active.binary_search(&id)) {
            *place = Some(slot);
            self.active.insert(at, id);
        }
    }

    pub(super) fn remove(&mut self, id: PortId) -> Option<Slot> {
        self.active.retain(|&p| p != id);
        self.slots.get_mut(usize::from(id.0))?.take()
    }
}
