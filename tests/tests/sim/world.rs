//! The network: hosts, their links, the fabric between them, and time that goes from one event to the next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use weir_fabric::{Egress, Fabric, PortConfig, Step, SwitchConfig};
use weir_filter::{Limits, Policy};
use weir_wire::buffer::PoolLimits;
use weir_wire::{DropReason, Instant, Packet, Pool, PortId, SwitchId};

use crate::chance::Chance;
use crate::host::Host;
use crate::link::{Forger, Frame, Link};

/// A host and how it hangs on the switch.
pub struct Place {
    pub host: Host,
    pub link: Link,
    /// Who lies on the cable towards the port.
    pub forger: Forger,
    /// When the host's stack next wants to be called.
    wakes: Option<Instant>,
}

/// Which way a frame is on its cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    ToPort,
    ToHost,
}

/// A frame on a cable; ordered by when it arrives, then by when it was sent.
struct Transit {
    at: Instant,
    order: u64,
    place: usize,
    way: Way,
    frame: Frame,
}

impl PartialEq for Transit {
    fn eq(&self, other: &Transit) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Transit {}

impl PartialOrd for Transit {
    fn partial_cmp(&self, other: &Transit) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Transit {
    fn cmp(&self, other: &Transit) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// The whole of it.
pub struct World {
    pub now: Instant,
    pub chance: Chance,
    pub fabric: Fabric,
    pub pool: Pool,
    pub places: Vec<Place>,
    out: Egress,
    transit: BinaryHeap<Reverse<Transit>>,
    order: u64,
    tick: Option<Instant>,
    /// A hash of every frame that left the fabric, with its time and port.
    pub trace: u64,
}

/// The one switch.
pub const SWITCH: SwitchId = SwitchId(0);

/// The port of the host at `place`; hosts are numbered from 1 as well.
pub fn port(place: usize) -> PortId {
    PortId(place as u16 + 1)
}

impl World {
    /// An empty network of this seed.
    pub fn new(seed: u64) -> World {
        let limits = Limits { flows: 1024, fragments: 256, stream_bytes: 4 << 20, ..Limits::default() };
        let mut fabric = Fabric::new(limits, seed);
        fabric.apply(Instant::ZERO, Step::SetSwitch(SWITCH, SwitchConfig::default()));
        World {
            now: Instant::ZERO,
            chance: Chance::new(seed),
            fabric,
            pool: Pool::new(PoolLimits { frames: 8192, supers: 1024 }),
            places: Vec::new(),
            out: Egress::default(),
            transit: BinaryHeap::new(),
            order: 0,
            tick: None,
            trace: 0xcbf2_9ce4_8422_2325,
        }
    }

    /// Adds a host with a card for IP packets of `mtu` bytes; returns its place.
    pub fn add(&mut self, mtu: usize, link: Link, config: PortConfig) -> usize {
        let place = self.places.len();
        let seed = self.chance.any();
        self.fabric
            .apply(self.now, Step::SetPort(port(place), PortConfig { switch: SWITCH, learning: true, ..config }));
        let host = Host::new(place as u8 + 1, mtu, seed);
        self.places.push(Place { host, link, forger: Forger::default(), wakes: Some(Instant::ZERO) });
        place
    }

    /// Installs a policy between two bursts.
    pub fn install(&mut self, policy: Policy) {
        drop(self.fabric.install(Arc::new(policy)));
    }

    /// Puts a frame on a cable, with the faults of the cable.
    fn send(&mut self, place: usize, way: Way, frame: Frame) {
        let faults = self.places[place].link.faults;
        if self.chance.per_mille(faults.loss) {
            return;
        }
        let mut delay_us = 50 + self.chance.below(200);
        if self.chance.per_mille(faults.reorder) {
            delay_us += self.chance.below(20_000);
        }
        if self.chance.per_mille(faults.duplication) {
            let later = delay_us + self.chance.below(3000);
            self.travel(place, way, frame.clone(), later);
        }
        if self.chance.per_mille(faults.replay) {
            let later = delay_us + self.chance.below(2_000_000);
            self.travel(place, way, frame.clone(), later);
        }
        // Who sits on the cable can lie towards the fabric; what the fabric put out is what is tested.
        if way == Way::ToPort
            && faults.forgery > 0
            && let Some(forged) = self.places[place].forger.forge(&frame, &mut self.chance, &mut self.pool)
            && self.chance.per_mille(faults.forgery)
        {
            let when = self.chance.below(2 * delay_us);
            self.travel(place, way, forged, when);
        }
        self.travel(place, way, frame, delay_us);
    }

    fn travel(&mut self, place: usize, way: Way, frame: Frame, delay_us: u64) {
        self.order += 1;
        let at = self.now.after(Duration::from_micros(delay_us));
        self.transit.push(Reverse(Transit { at, order: self.order, place, way, frame }));
    }

    /// Lets the host at `place` work, and takes what it sends.
    pub fn wake(&mut self, place: usize) {
        let at = &mut self.places[place];
        at.wakes = at.host.poll(self.now);
        for bytes in std::mem::take(&mut at.host.card.sent) {
            let link = self.places[place].link;
            for frame in link.leave_host(&bytes, &mut self.chance, &mut self.pool) {
                self.send(place, Way::ToPort, frame);
            }
        }
    }

    /// Goes on to the next event and lets it happen; `false` when nothing is left to happen before `end`.
    pub fn step(&mut self, end: Instant) -> bool {
        let wakes = self.places.iter().filter_map(|place| place.wakes);
        let arrives = self.transit.peek().map(|Reverse(transit)| transit.at);
        let Some(next) = wakes.chain(arrives).chain(self.tick).min().filter(|next| *next <= end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(next);
        let mut burst = Vec::new();
        while let Some(Reverse(first)) = self.transit.peek()
            && first.at <= self.now
        {
            let Some(Reverse(transit)) = self.transit.pop() else { break };
            match transit.way {
                Way::ToHost => {
                    let place = &mut self.places[transit.place];
                    place.host.card.received.push_back(transit.frame.bytes);
                    place.wakes = Some(self.now);
                }
                Way::ToPort => {
                    // A card without a free buffer loses the frame, as a real one does.
                    let Some(buffer) = self.pool.copy(&transit.frame.bytes) else { continue };
                    burst.push(Packet::new(buffer, port(transit.place), transit.frame.offload));
                }
            }
        }
        if !burst.is_empty() {
            self.fabric.process(self.now, &mut burst, &mut self.pool, &mut self.out);
        }
        if self.tick.is_none_or(|tick| tick <= self.now) {
            // A fabric that asks for now is asked again a little later, so that time goes on; and what comes in between
            // may be due before what it answered.
            let (soon, late) = (self.now.after(Duration::from_millis(1)), self.now.after(Duration::from_secs(1)));
            let next = self.fabric.tick(self.now, &mut self.pool, &mut self.out);
            self.tick = Some(next.unwrap_or(late).clamp(soon, late));
        }
        self.deliver();
        for place in 0..self.places.len() {
            if self.places[place].wakes.is_some_and(|wakes| wakes <= self.now) {
                self.wake(place);
            }
        }
        true
    }

    /// Takes what the fabric put out to its cables.
    fn deliver(&mut self) {
        for place in 0..self.places.len() {
            let Some(queue) = self.out.queue(port(place)) else { continue };
            for packet in std::mem::take(queue) {
                self.note(place, packet.bytes());
                let link = self.places[place].link;
                for bytes in link.reach_host(packet, &mut self.pool) {
                    self.send(place, Way::ToHost, Frame { bytes, offload: Default::default() });
                }
            }
        }
    }

    fn note(&mut self, place: usize, bytes: &[u8]) {
        let head = [&self.now.0.to_be_bytes()[..], &[place as u8]].concat();
        for byte in head.iter().chain(bytes) {
            self.trace = (self.trace ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// What each port's packets were dropped for, for a failure's message.
    pub fn dropped(&self) -> Vec<Vec<(DropReason, u64)>> {
        let counters = (0..self.places.len()).filter_map(|place| self.fabric.counters(port(place)));
        counters.map(|counters| counters.dropped.nonzero().collect()).collect()
    }

    /// How many packets ended for this reason.
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        let counters = (0..self.places.len()).filter_map(|place| self.fabric.counters(port(place)));
        counters.map(|counters| counters.dropped.get(reason)).sum()
    }

    /// Lets all that waits age out, then holds the fabric to its promises.
    pub fn end(&mut self) {
        let end = self.now.after(Duration::from_secs(120));
        while self.step(end) {}
        let totals = self.fabric.totals();
        assert_eq!(totals.arrived(), totals.accounted(), "something vanished: {totals:?}");
        assert_eq!(totals.held, 0, "fragments wait for ever: {totals:?}");
        assert_eq!(self.pool.outstanding(), 0, "buffers were lost: {totals:?}");
    }
}
