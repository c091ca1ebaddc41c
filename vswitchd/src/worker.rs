//! The turn: the one thread that owns the fabric and its ports.
//!
//! A turn reads the clock once, takes what control has handed over, receives a burst from each port, moves it through
//! the fabric and sends what came out. Without traffic the worker polls for a short window that adapts to the load,
//! then arms every port's notifications and sleeps in one `epoll_wait`: an idle switch costs nothing.
//!
//! Control reaches the worker through [`Handle`] only: a [`Transaction`] is applied whole between two bursts, a question
//! runs between two turns. Nothing on the walk is locked or shared; whatever is slow to free (ports, policies) goes back
//! to the thread that asked.

mod commands;
mod fast_path;
mod group_rates;
mod handle;
mod links;
mod meter;
mod port_table;
mod punts;
mod sending;
mod shaping;
#[cfg(test)]
mod tests;
mod turns;
mod window;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc as punt_queue;
use weir_fabric::mirror::Handed;
use weir_fabric::serve::Punt;
use weir_fabric::{Egress, Fabric};
use weir_filter::{Event, Limits};
use weir_ports::event::Epoll;
use weir_ports::xdp::fast_path::FastPath;
use weir_ports::{Armed, FromPort, clock};
use weir_wire::buffer::PoolLimits;
use weir_wire::{Epoch, Instant, Packet, Pool, PortId};

use crate::mirror::BATCHES;

use fast_path::FastPaths;
pub use group_rates::GroupRate;
use group_rates::GroupRates;
pub use handle::{Applied, Gone, Handle, Outgoing, Transaction, View};
use handle::{Bell, Command};
use meter::Meter;
pub use port_table::PortTable;
use port_table::Slot;
use sending::touch;
pub use shaping::Carriage;
use window::Window;

/// Packets taken from one port before the next port has its turn.
const BURST: usize = 64;
/// Turns without a packet after which a port counts as idle.
const IDLE_AFTER: u32 = 64;
/// While others are busy, idle ports and all links are looked at once in so many turns.
const TURNS_OF_IDLE: u64 = 16;
/// Batches of events that may wait for the control side.
const EVENT_BATCHES: usize = 256;
/// So many events are handed over without waiting for more.
const EVENTS_AT_ONCE: usize = 512;
/// While packets come in, events wait this long for others: each batch wakes a thread.
const EVENTS_WAIT: Duration = Duration::from_millis(1);
/// Packets that may wait for the services; more wait in the fabric.
const PUNTS_WAITING: usize = 256;
/// The token of the wake-up descriptor among the ports' in epoll.
const WAKE: u64 = u64::MAX;
/// While packets come in, the tables are aged at least this often.
const TICK: Duration = Duration::from_secs(1);
/// The longest sleep; links and timers are looked at that often at least.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// How a worker runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bounds of the guard's tables.
    pub limits: Limits,
    /// Bounds of the buffer pool.
    pub pool: PoolLimits,
    /// Keys the hashes; random for each start.
    pub seed: u64,
    /// The longest time spent polling after the last packet before going to sleep.
    pub poll_window: Duration,
    /// Never sleep.
    pub always_poll: bool,
    /// Pin the thread to this CPU.
    pub cpu: Option<usize>,
    /// Where AF_XDP ports let settled flows pass in the kernel.
    pub fast_path: Arc<FastPath>,
}

/// What the worker counts of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerStats {
    /// Turns taken.
    pub turns: u64,
    /// Turns that found no packet.
    pub empty_turns: u64,
    /// Packets received.
    pub packets: u64,
    /// Times it went to sleep.
    pub sleeps: u64,
    /// CPU time of the thread, in nanoseconds.
    pub cpu_ns: u64,
    /// Events lost because the control side was slow, or because too many came in one turn.
    pub events_lost: u64,
    /// The epoch of the policy that runs.
    pub epoch: u64,
    /// Buffers in use.
    pub buffers: u64,
    /// Changes of the configuration taken over.
    pub changes: u64,
    /// Nanoseconds for which the last change kept packets waiting.
    pub change_ns: u64,
    /// The longest that anything control wanted kept packets waiting, in nanoseconds.
    pub longest_pause_ns: u64,
}

/// Events of a few turns, under one policy.
#[derive(Debug)]
pub struct Batch {
    /// The policy that ran; ports, switches and rules have the numbers of its time.
    pub epoch: Epoch,
    /// The events, oldest first.
    pub events: Vec<Event>,
}

/// A worker that runs.
pub struct Started {
    /// To talk to it.
    pub handle: Handle,
    /// What it has to tell, in batches, oldest first.
    pub events: Receiver<Batch>,
    /// Packets for the services of routers.
    pub punts: punt_queue::Receiver<Punt>,
    /// Copies of mirrors for files and the host.
    pub mirrored: Receiver<Handed>,
    /// Its thread; ends after [`Handle::stop`] with its last counters.
    pub thread: JoinHandle<WorkerStats>,
}

/// Starts a worker with an empty fabric.
///
/// # Errors
/// Where the thread or one of its descriptors cannot be made.
pub fn start(settings: Settings) -> io::Result<Started> {
    let bell = Arc::new(Bell::new()?);
    let (handle, inbox) = Handle::new(Arc::clone(&bell));
    let (outbox, events) = mpsc::sync_channel(EVENT_BATCHES);
    let (for_services, punts) = punt_queue::channel(PUNTS_WAITING);
    let (for_mirrors, mirrored) = mpsc::sync_channel(BATCHES);
    let epoll = Epoll::new()?;
    epoll.add(bell.wake.as_fd(), WAKE)?;
    let worker = Worker {
        fabric: Fabric::new(settings.limits, settings.seed),
        pool: Pool::new(settings.pool),
        window: Window::new(settings.poll_window),
        fast_paths: FastPaths::new(Arc::clone(&settings.fast_path)),
        meter: Meter::default(),
        settings,
        ports: PortTable::default(),
        egress: Egress::default(),
        rates: GroupRates::default(),
        burst: Vec::with_capacity(BURST),
        rota: Vec::new(),
        touched: Vec::new(),
        is_busy: false,
        is_shaped: false,
        epoll,
        tokens: Vec::new(),
        bell,
        inbox,
        outbox,
        for_services,
        for_mirrors,
        stats: WorkerStats::default(),
        wires: Vec::new(),
        next_tick: Instant::ZERO,
        last_told: Instant::ZERO,
        stopping: false,
    };
    let thread = std::thread::Builder::new().name("worker-0".into()).spawn(move || worker.run())?;
    Ok(Started { handle, events, punts, mirrored, thread })
}

struct Worker {
    settings: Settings,
    fabric: Fabric,
    pool: Pool,
    ports: PortTable,
    egress: Egress,
    /// Rates that ports share.
    rates: GroupRates,
    burst: Vec<Packet>,
    /// The ports that are not idle, as the last turn that looked at all of them has found.
    rota: Vec<PortId>,
    /// Ports to be flushed at the end of the turn.
    touched: Vec<PortId>,
    /// The last turn brought something in.
    is_busy: bool,
    /// Some port has a rate.
    is_shaped: bool,
    epoll: Epoll,
    tokens: Vec<u64>,
    bell: Arc<Bell>,
    inbox: Receiver<Command>,
    outbox: SyncSender<Batch>,
    for_services: punt_queue::Sender<Punt>,
    for_mirrors: SyncSender<Handed>,
    stats: WorkerStats,
    wires: Vec<[PortId; 2]>,
    window: Window,
    fast_paths: FastPaths,
    meter: Meter,
    next_tick: Instant,
    /// When events were last handed over.
    last_told: Instant,
    stopping: bool,
}

impl Worker {
    fn run(mut self) -> WorkerStats {
        if let Some(cpu) = self.settings.cpu
            && let Err(error) = clock::pin_to_cpu(cpu)
        {
            tracing::warn!("the worker cannot be pinned to CPU {cpu}: {error}; it runs on any");
        }
        let mut last_work = clock::monotonic();
        loop {
            let now = clock::monotonic();
            let received = self.turn(now);
            if self.stopping {
                break;
            }
            if received > 0 {
                last_work = now;
            } else if !self.settings.always_poll && now.since(last_work) >= self.window.length {
                self.sleep(now);
                last_work = clock::monotonic();
            } else {
                std::hint::spin_loop();
            }
        }
        let now = clock::monotonic();
        self.fast_paths.end(now, &mut self.fabric, &mut self.ports);
        self.fabric.shutdown(now);
        self.tell();
        self.stats()
    }

    /// One turn; returns how many packets came in.
    fn turn(&mut self, now: Instant) -> usize {
        if self.bell.rung.load(Ordering::Relaxed) {
            self.take_commands(now);
        }
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
        } else {
            self.stats.empty_turns += 1;
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
            self.rota.extend(self.ports.entries().filter(|(_, slot)| slot.idle < IDLE_AFTER).map(|(id, _)| id));
        }
        self.is_busy = received > 0;
        received
    }

    /// The places of so many ports in the order of this turn. Where ports share a rate it is another one each turn, in
    /// which any of two comes first as often as the other, so that none takes all of it.
    fn order(&self, ports: usize) -> impl Iterator<Item = usize> + use<> {
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
        let Some(slot) = self.ports.slot(id) else { return 0 };
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

    /// More events are likely to come before anybody misses those that wait.
    fn events_may_wait(&self, now: Instant) -> bool {
        self.fabric.events_waiting() < EVENTS_AT_ONCE && now.since(self.last_told) < EVENTS_WAIT
    }

    /// Sends the events off; what finds no room is counted.
    fn tell(&mut self) {
        let waiting = self.fabric.events_waiting();
        if waiting == 0 {
            return;
        }
        let mut batch = Batch { epoch: Epoch(self.stats.epoch), events: Vec::with_capacity(waiting) };
        self.fabric.drain_events(|event| batch.events.push(event));
        if let Err(TrySendError::Full(lost) | TrySendError::Disconnected(lost)) = self.outbox.try_send(batch) {
            self.stats.events_lost += lost.events.len() as u64;
        }
    }

    /// Hands copies for files and the host over; what finds no room is the mirrors' loss.
    fn hand_over_mirrored(&mut self) {
        let Some(handed) = self.fabric.drain_mirrored() else { return };
        if let Err(TrySendError::Full(lost) | TrySendError::Disconnected(lost)) = self.for_mirrors.try_send(handed) {
            self.fabric.lose_mirrored(&lost);
        }
    }

    /// Turns all notifications on, looks once more, and sleeps until something comes.
    fn sleep(&mut self, now: Instant) {
        let mut ready = self.bell.rung.load(Ordering::Acquire);
        let mut wake = self.fast_paths.due().map_or(self.next_tick, |due| due.min(self.next_tick));
        for (_, slot) in self.ports.entries() {
            // A port that may bring nothing in would only wake us.
            let may_receive = slot.shaping.as_mut().is_none_or(|shaping| shaping.may_receive(&mut self.rates, now));
            if let Some(shaping) = &mut slot.shaping {
                wake = shaping.due(&self.rates).map_or(wake, |due| wake.min(due));
                shaping.is_unheard = !may_receive && self.epoll.remove(slot.port.event_fd()).is_ok();
            }
            ready |= may_receive && slot.port.arm() == Armed::Ready;
        }
        let mut tokens = std::mem::take(&mut self.tokens);
        tokens.clear();
        if !ready {
            self.stats.sleeps += 1;
            let timeout = wake.since(now).min(LONGEST_SLEEP);
            if let Err(error) = self.epoll.wait(&mut tokens, Some(timeout)) {
                tracing::error!("the worker cannot sleep: {error}; it polls");
            }
        }
        self.window.adapt(ready, now, clock::monotonic());
        for &token in &tokens {
            if token == WAKE {
                self.bell.wake.drain();
            }
            let Ok(id) = u16::try_from(token) else { continue };
            if let Some(slot) = self.ports.slot(PortId(id)) {
                slot.port.on_event();
            }
        }
        self.tokens = tokens;
        for (id, slot) in self.ports.entries() {
            slot.port.disarm();
            if slot.shaping.as_mut().is_some_and(|shaping| std::mem::take(&mut shaping.is_unheard)) {
                hear(&self.epoll, id, slot);
            }
        }
    }

    fn stats(&self) -> WorkerStats {
        WorkerStats {
            cpu_ns: clock::thread_cpu_time().as_nanos() as u64,
            buffers: self.pool.outstanding() as u64,
            events_lost: self.stats.events_lost + self.fabric.events_lost(),
            ..self.stats
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

/// Lets a port wake the worker.
fn hear(epoll: &Epoll, id: PortId, slot: &Slot) {
    if let Err(error) = epoll.add(slot.port.event_fd(), u64::from(id.0)) {
        tracing::error!("port {} cannot wake the worker: {error}", id.0);
    }
}
