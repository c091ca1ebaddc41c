//! A network: switches, ports and whatever joins them, with all their state. The unit that workers own.
//!
//! Nothing of a network is known to another one, so that the workers of two networks share nothing they write to. A
//! network is one box: handing it to another worker between two bursts takes its ports, tables, flows, buffers and what
//! waits along, and copies nothing.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use tokio::sync::mpsc as punt_queue;
use weir_fabric::mirror::Handed;
use weir_fabric::nat::bindings::Room;
use weir_fabric::serve::Punt;
use weir_fabric::{Egress, Fabric};
use weir_ports::event::Epoll;
use weir_ports::{Armed, FromPort, huge_pages};
use weir_wire::{Epoch, Instant, Packet, Pool, PortId};

use crate::readers::Readers;

use super::fast_path::{FastPaths, Places};
use super::group_rates::GroupRates;
use super::meter::Meter;
use super::sending::touch;
use super::{Batch, LONGEST_SLEEP, NetworkId, NetworkStats, PortTable, Settings, hear};

/// Packets taken from one port before the next port has its turn.
const BURST: usize = 64;
/// Turns without a packet after which a port counts as idle.
const IDLE_AFTER: u32 = 64;
/// While others are busy, idle ports and all links are looked at once in so many turns.
pub(super) const TURNS_OF_IDLE: u64 = 16;
/// So many events are handed over without waiting for more.
const EVENTS_AT_ONCE: usize = 512;
/// While packets come in, events wait this long for others: each batch wakes a thread, which takes some 40 µs of the
/// worker where the thread shares its processor.
const EVENTS_WAIT: Duration = Duration::from_millis(10);
/// While packets come in, the tables are aged at least this often.
const TICK: Duration = Duration::from_secs(1);

/// Bits of a flow's number below those of the network that it began in: readers of JSON are sure of 53 in all.
const NUMBER_BITS: u32 = 40;

/// Where networks hand over what others work on.
#[derive(Clone, Debug)]
pub(super) struct Outlets {
    pub events: SyncSender<Batch>,
    pub services: punt_queue::Sender<Punt>,
    pub mirrors: SyncSender<Handed>,
    /// Where settled flows pass in the kernel.
    pub places: Arc<Places>,
    /// Who reads what flows speak.
    pub readers: Readers,
}

/// A network before it has a worker: its tables are made by whoever asks for it, since large ones take time.
pub(super) struct Blank {
    pub id: NetworkId,
    pub fabric: Fabric,
    pub pool: Pool,
}

impl Blank {
    pub fn new(id: NetworkId, settings: &Settings) -> Blank {
        let (fabric, pool) = huge_pages::touched(|| {
            let mut fabric = Fabric::new(settings.limits, settings.seed);
            if settings.translates && id == NetworkId::FIRST {
                fabric.use_room_for_bindings(Room::take());
            }
            (fabric, Pool::new(settings.pool))
        });
        let mut blank = Blank { id, fabric, pool };
        blank.fabric.number_flows_from(u64::from(id.0) << NUMBER_BITS);
        blank
    }
}

/// A network and its ports.
pub(super) struct Network {
    pub id: NetworkId,
    pub fabric: Fabric,
    pub pool: Pool,
    pub ports: PortTable,
    pub egress: Egress,
    /// Rates that ports share.
    pub rates: GroupRates,
    burst: Vec<Packet>,
    /// The ports that are not idle, as the last turn that looked at all of them has found.
    rota: Vec<PortId>,
    /// Ports to be flushed at the end of the turn.
    pub touched: Vec<PortId>,
    /// The last turn brought something in.
    pub is_busy: bool,
    /// Some port has a rate.
    pub is_shaped: bool,
    pub outlets: Outlets,
    pub stats: NetworkStats,
    pub wires: Vec<[PortId; 2]>,
    pub fast_paths: FastPaths,
    meter: Meter,
    pub next_tick: Instant,
    /// When events were last handed over.
    last_told: Instant,
    /// It is on its way to another worker since.
    departed: Option<Instant>,
}

impl Network {
    /// A network without ports.
    pub fn new(blank: Blank, settings: &Settings, outlets: &Outlets) -> Network {
        let Blank { id, fabric, pool } = blank;
        Network {
            id,
            fabric,
            pool,
            fast_paths: FastPaths::new(Arc::clone(&settings.fast_path), Arc::clone(&outlets.places)),
            meter: Meter::default(),
            ports: PortTable::default(),
            egress: Egress::default(),
            rates: GroupRates::default(),
            burst: Vec::with_capacity(BURST),
            rota: Vec::new(),
            touched: Vec::new(),
            is_busy: false,
            is_shaped: false,
            outlets: outlets.clone(),
            stats: NetworkStats::default(),
            wires: Vec::new(),
            next_tick: Instant::ZERO,
            last_told: Instant::ZERO,
            departed: None,
        }
    }

    /// One turn; returns how many packets came in.
    pub fn turn(&mut self, now: Instant) -> usize {
        self.fabric.set_read(self.outlets.readers.any());
        let mut received = self.serve_ports(now);
        received += self.release_held(now);
        self.fast_paths.turn(now, &mut self.fabric, &mut self.ports);
        if now >= self.next_tick {
            self.tick(now);
        }
        if received > 0 {
            // What came in may want the fabric's attention before what the last tick knew of.
            self.next_tick = self.next_tick.min(now.after(TICK));
            self.flush();
        }
        if self.fabric.has_events() && !(received > 0 && self.events_may_wait(now)) {
            self.last_told = now;
            self.tell();
        }
        self.hand_over_punts();
        self.hand_over_mirrored();
        self.stats.turns += 1;
        self.stats.packets += received as u64;
        received
    }

    /// Serves the ports that have their turn. Between two turns that look at all of them come some that pass over those
    /// which had nothing for long, so that many idle ports cost the busy ones little.
    fn serve_ports(&mut self, now: Instant) -> usize {
        let mut received = 0;
        if self.is_busy && !self.stats.turns.is_multiple_of(TURNS_OF_IDLE) {
            for index in self.order(self.rota.len()) {
                received += self.rota.get(index).copied().map_or(0, |id| self.serve(now, id));
            }
        } else {
            self.look_at_links(now);
            for index in self.order(self.ports.ids().len()) {
                received += self.ports.ids().get(index).copied().map_or(0, |id| self.serve(now, id));
            }
            self.rota.clear();
            self.rota.extend(
                self.ports.entries().filter(|(_, slot)| slot.idle < IDLE_AFTER && !slot.dozes).map(|(id, _)| id),
            );
        }
        self.is_busy = received > 0;
        received
    }

    /// The places of so many ports in the order of this turn. Where ports share a rate it is another one each turn, in
    /// which any of two comes first as often as the other, so that none takes all of it.
    pub fn order(&self, ports: usize) -> impl Iterator<Item = usize> + use<> {
        let (mut first, mut stride) = (0, 1);
        if !self.rates.is_empty() && ports > 1 {
            let dice = (self.stats.turns.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24) as usize;
            first = dice % ports;
            stride = 1 + dice / ports % (ports - 1);
            if !are_coprime(stride, ports) {
                stride = if dice & 1 == 0 { 1 } else { ports - 1 };
            }
        }
        let mut next = first;
        (0..ports).map(move |_| {
            let place = next;
            next += stride;
            if next >= ports {
                next -= ports;
            }
            place
        })
    }

    /// Stops 1 to 8 for one burst of one port.
    fn serve(&mut self, now: Instant, id: PortId) -> usize {
        let Some(slot) = self.ports.slot(id).filter(|slot| !slot.dozes) else { return 0 };
        let room = slot.shaping.as_mut().map_or(BURST, |shaping| shaping.room(&mut self.rates, now, BURST));
        if room == 0 {
            return 0;
        }
        let received = slot.port.rx_parts(id, &mut self.pool, &mut self.burst, room);
        if received == 0 {
            slot.idle = slot.idle.saturating_add(1);
            return 0;
        }
        slot.idle = 0;
        slot.heard = now;
        if let Some(shaping) = &mut slot.shaping {
            shaping.received(&mut self.rates, &self.burst);
        }
        touch(&mut self.touched, id, slot);
        let origin = FromPort(&*slot.port);
        let running = self.meter.begin(&mut self.fabric);
        self.fabric.process_from(&origin, now, &mut self.burst, &mut self.pool, &mut self.egress);
        self.meter.end(running, &mut self.fabric, (id, received));
        self.transmit(now, Some(id));
        if let Some(slot) = self.ports.slot(id) {
            slot.port.release();
        }
        received
    }

    fn tick(&mut self, now: Instant) {
        let next = self.fabric.tick(now, &mut self.pool, &mut self.egress);
        self.next_tick = next.unwrap_or(now.after(LONGEST_SLEEP));
        self.transmit(now, None);
        self.flush();
    }

    /// Nothing came in at the last turn, and nothing is to be done by the clock that others' turns could not wait for.
    pub fn idles(&self) -> bool {
        !self.is_busy && !self.is_shaped
    }

    /// A turn with so many packets took so long.
    pub fn measured(&mut self, took: Duration, packets: usize) {
        self.stats.measured_ns += took.as_nanos() as u64;
        self.stats.measured_packets += packets as u64;
    }

    /// Packets waited so long for what control wanted.
    pub fn paused(&mut self, pause: Duration) {
        self.stats.longest_pause_ns = self.stats.longest_pause_ns.max(pause.as_nanos() as u64);
    }

    /// Turns the notifications of all ports on. Returns whether something has come in the meantime, and when there is
    /// something to do where nothing comes.
    pub fn arm(&mut self, now: Instant, epoll: &Epoll) -> (bool, Instant) {
        let mut wake = self.fast_paths.due().map_or(self.next_tick, |due| due.min(self.next_tick));
        let mut ready = false;
        for (_, slot) in self.ports.entries().filter(|(_, slot)| !slot.dozes) {
            // A port that may bring nothing in would only wake us.
            let may_receive = slot.shaping.as_mut().is_none_or(|shaping| shaping.may_receive(&mut self.rates, now));
            if let Some(shaping) = &mut slot.shaping {
                wake = shaping.due(&self.rates).map_or(wake, |due| wake.min(due));
                shaping.is_unheard = !may_receive && epoll.remove(slot.port.event_fd()).is_ok();
            }
            ready |= may_receive && slot.port.arm() == Armed::Ready;
        }
        (ready, wake)
    }

    /// Turns them off.
    pub fn disarm(&mut self, epoll: &Epoll) {
        for (id, slot) in self.ports.entries().filter(|(_, slot)| !slot.dozes) {
            slot.port.disarm();
            if slot.shaping.as_mut().is_some_and(|shaping| std::mem::take(&mut shaping.is_unheard)) {
                hear(epoll, id, slot);
            }
        }
    }

    /// Its ports may wake this worker.
    pub fn arrive(&mut self, now: Instant, epoll: &Epoll) {
        self.ports.entries().for_each(|(id, slot)| hear(epoll, id, slot));
        if let Some(since) = self.departed.take() {
            self.paused(now.since(since));
        }
        self.next_tick = now;
        // What came in meanwhile is looked for at every port.
        self.is_busy = false;
    }

    /// Its ports wake this worker no more.
    pub fn depart(&mut self, now: Instant, epoll: &Epoll) {
        self.departed = Some(now);
        for (_, slot) in self.ports.entries() {
            // It is in no other one; what cannot be removed was never added, which was told.
            drop(epoll.remove(slot.port.event_fd()));
        }
    }

    /// Hands over what waits to be told, and takes back what passes in the kernel.
    pub fn settle(&mut self, now: Instant) {
        self.fast_paths.end(now, &mut self.fabric, &mut self.ports);
        self.tell();
        self.hand_over_punts();
        self.hand_over_mirrored();
    }

    /// Ends all flows and tells of them, before the worker ends.
    pub fn end(&mut self, now: Instant) {
        self.fast_paths.end(now, &mut self.fabric, &mut self.ports);
        self.fabric.shutdown(now);
        self.tell();
    }

    /// What was counted.
    pub fn stats(&self) -> NetworkStats {
        NetworkStats {
            buffers: self.pool.outstanding() as u64,
            events_lost: self.stats.events_lost + self.fabric.events_lost(),
            ..self.stats
        }
    }

    /// More events are likely to come before anybody misses those that wait.
    fn events_may_wait(&self, now: Instant) -> bool {
        self.fabric.events_waiting() < EVENTS_AT_ONCE && now.since(self.last_told) < EVENTS_WAIT
    }

    /// Sends the events off; what finds no room is counted.
    pub fn tell(&mut self) {
        let waiting = self.fabric.events_waiting();
        if waiting == 0 {
            return;
        }
        let mut batch = Batch { epoch: Epoch(self.stats.epoch), events: Vec::with_capacity(waiting) };
        self.fabric.drain_events(|event| batch.events.push(event));
        if let Err(TrySendError::Full(lost) | TrySendError::Disconnected(lost)) = self.outlets.events.try_send(batch) {
            self.stats.events_lost += lost.events.len() as u64;
        }
    }

    /// Hands copies for files and the host over; what finds no room is the mirrors' loss.
    fn hand_over_mirrored(&mut self) {
        let Some(handed) = self.fabric.drain_mirrored() else { return };
        if let Err(TrySendError::Full(lost) | TrySendError::Disconnected(lost)) = self.outlets.mirrors.try_send(handed)
        {
            self.fabric.lose_mirrored(&lost);
        }
    }
}

/// Whether two numbers have no divisor in common.
fn are_coprime(a: usize, b: usize) -> bool {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}
