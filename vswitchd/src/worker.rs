//! The turn: a thread that owns networks and their ports.
//!
//! A turn reads the clock once, takes what control has handed over, and gives each network its turn: a burst from each
//! port, moved through the fabric and sent. Without traffic the worker polls for a short window that adapts to the load,
//! then arms every port's notifications and sleeps in one `epoll_wait`: an idle switch costs nothing.
//!
//! Workers share nothing that they write to while packets pass: a network is wholly one worker's ([`network`]). It goes
//! to another worker as one box, by the other's inbox ([`Handle::move_network`]).
//!
//! Control reaches workers through [`Handle`] only: a [`Transaction`] is applied whole between two bursts, a question
//! runs between two turns. Nothing on the walk is locked or shared; whatever is slow to free (ports, policies) goes back
//! to the thread that asked.

mod apply;
mod commands;
mod doze;
mod fast_path;
mod fleet;
mod group_rates;
mod handle;
mod links;
mod membership;
mod meter;
mod network;
mod port_table;
mod punts;
mod report;
mod room;
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
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc as queue;
use weir_fabric::mirror::Handed;
use weir_fabric::serve::Punt;
use weir_filter::{Event, Limits};
use weir_ports::clock;
use weir_ports::event::Epoll;
use weir_ports::xdp::fast_path::FastPath;
use weir_wire::buffer::PoolLimits;
use weir_wire::{Epoch, Instant, PortId};

use crate::mirror::BATCHES;
use crate::readers::Readers;

use doze::Watch;
use fast_path::{FastPaths, Places};
use fleet::Fleet;
pub use fleet::{NETWORKS_MAX, NetworkId};
pub use group_rates::GroupRate;
use handle::Command;
pub use handle::{Applied, Gone, Handle, Outgoing, Transaction, View};
pub use membership::{Membership, Object};
use network::{Blank, Network, Outlets, TURNS_OF_IDLE};
pub use port_table::PortTable;
use port_table::Slot;
pub use report::{NetworkReport, NetworkStats, WorkerReport, WorkerStats};
pub use shaping::Carriage;
use window::Window;

/// Workers there may be.
pub const WORKERS_MAX: usize = 64;
/// Where a worker has several networks, one turn of so many is measured.
const TURNS_MEASURED: u64 = 8;
/// Batches of events that may wait for the control side.
const EVENT_BATCHES: usize = 256;
/// Packets that may wait for the services; more wait in the fabric.
const PUNTS_WAITING: usize = 256;
/// The token of the wake-up descriptor among the ports' in epoll.
const WAKE: u64 = u64::MAX;
/// How often, and how long, a worker sleeps before it begins, to find out what waking takes.
const WAKINGS: usize = 8;
const WAKING: Duration = Duration::from_micros(100);
/// The longest sleep; links and timers are looked at that often at least.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// How workers run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many there are, 1 to [`WORKERS_MAX`].
    pub workers: usize,
    /// Bounds of the guard's tables, of each network.
    pub limits: Limits,
    /// Bounds of the buffer pool, of each network.
    pub pool: PoolLimits,
    /// Keys the hashes; random for each start.
    pub seed: u64,
    /// The longest time spent polling after the last packet before going to sleep.
    pub poll_window: Duration,
    /// Never sleep.
    pub always_poll: bool,
    /// Pin the threads to these CPUs, by worker; those beyond the list run on any.
    pub cpus: Vec<usize>,
    /// Where AF_XDP ports let settled flows pass in the kernel.
    pub fast_path: Arc<FastPath>,
    /// Who reads what flows speak.
    pub readers: Readers,
    /// A router of the first state translates: the first network has the room for it before it forwards.
    pub translates: bool,
}

/// Events of a few turns, under one policy.
#[derive(Debug)]
pub struct Batch {
    /// The policy that ran; ports, switches and rules have the numbers of its time.
    pub epoch: Epoch,
    /// The events, oldest first.
    pub events: Vec<Event>,
}

/// Workers that run.
pub struct Started {
    /// To talk to them.
    pub handle: Handle,
    /// What they have to tell, in batches, of each network oldest first.
    pub events: Receiver<Batch>,
    /// Packets for the services of routers.
    pub punts: queue::Receiver<Punt>,
    /// Copies of mirrors for files and the host.
    pub mirrored: Receiver<Handed>,
    /// Their threads; they end after [`Handle::stop`] with their last counters.
    pub threads: Vec<JoinHandle<WorkerStats>>,
    /// Names a worker that has ended by a panic, with its networks.
    pub crashed: queue::Receiver<usize>,
}

/// Starts the workers. The first has one network, which is empty.
///
/// # Errors
/// Where a thread or one of its descriptors cannot be made.
pub fn start(settings: Settings) -> io::Result<Started> {
    let workers = settings.workers.clamp(1, WORKERS_MAX);
    let (events_out, events) = mpsc::sync_channel(EVENT_BATCHES);
    let (services_out, punts) = queue::channel(PUNTS_WAITING);
    let (mirrors_out, mirrored) = mpsc::sync_channel(BATCHES);
    let places = Arc::new(Places::default());
    let readers = settings.readers.clone();
    let outlets = Outlets { events: events_out, services: services_out, mirrors: mirrors_out, places, readers };
    let (crash, crashed) = queue::channel(WORKERS_MAX);
    let (fleet, inboxes) = Fleet::new(workers)?;
    let fleet = Arc::new(fleet);
    let handle = Handle::new(Arc::clone(&fleet), settings.clone());
    let first = Network::new(Blank::new(NetworkId::FIRST, &settings), &settings, &outlets);
    let mut networks = vec![Box::new(first)];
    let mut threads = Vec::with_capacity(workers);
    for (index, inbox) in inboxes.into_iter().enumerate() {
        let mut worker = Worker::new(index, &settings, &fleet, (inbox, outlets.clone()))?;
        worker.networks.append(&mut networks);
        let alarm = Alarm { index, crash: crash.clone() };
        let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            let _alarm = alarm;
            worker.run()
        })?;
        threads.push(thread);
    }
    Ok(Started { handle, events, punts, mirrored, threads, crashed })
}

/// Tells of a worker that panics.
struct Alarm {
    index: usize,
    crash: queue::Sender<usize>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Where nobody listens the daemon is on its way down.
            let _ = self.crash.try_send(self.index);
        }
    }
}

struct Worker {
    index: usize,
    settings: Settings,
    networks: Vec<Box<Network>>,
    fleet: Arc<Fleet>,
    outlets: Outlets,
    epoll: Epoll,
    tokens: Vec<u64>,
    /// When the ports that say nothing are looked after.
    watch: Watch,
    inbox: Receiver<Command>,
    stats: WorkerStats,
    window: Window,
    stopping: bool,
}

impl Worker {
    fn new(
        index: usize,
        settings: &Settings,
        fleet: &Arc<Fleet>,
        (inbox, outlets): (Receiver<Command>, Outlets),
    ) -> io::Result<Worker> {
        let epoll = Epoll::new()?;
        epoll.add(fleet.bell(index).wake.as_fd(), WAKE)?;
        Ok(Worker {
            index,
            networks: Vec::new(),
            outlets,
            fleet: Arc::clone(fleet),
            epoll,
            tokens: Vec::new(),
            watch: Watch::default(),
            inbox,
            stats: WorkerStats::default(),
            window: Window::new(settings.poll_window),
            settings: settings.clone(),
            stopping: false,
        })
    }

    fn run(mut self) -> WorkerStats {
        if let Some(&cpu) = self.settings.cpus.get(self.index)
            && let Err(error) = clock::pin_to_cpu(cpu)
        {
            tracing::warn!("worker {} cannot be pinned to CPU {cpu}: {error}; it runs on any", self.index);
        }
        clock::be_punctual();
        self.learn_waking();
        let mut last_work = clock::monotonic();
        let mut busy_since = None;
        loop {
            let now = clock::monotonic();
            if let Some(since) = busy_since.take() {
                self.stats.busy_ns += now.since(since).as_nanos() as u64;
            }
            let received = self.turn(now);
            if self.stopping {
                break;
            }
            if received > 0 {
                (last_work, busy_since) = (now, Some(now));
                self.window.arrived(now);
            } else if !self.settings.always_poll && self.window.is_over(now, last_work) {
                self.sleep(now);
                last_work = clock::monotonic();
            } else {
                std::hint::spin_loop();
            }
        }
        self.take_late_networks();
        let now = clock::monotonic();
        self.networks.iter_mut().for_each(|network| network.end(now));
        self.report().stats
    }

    /// Finds out what waking takes here, before there is anything to do.
    fn learn_waking(&mut self) {
        let mut tokens = std::mem::take(&mut self.tokens);
        for _ in 0..WAKINGS {
            let due = clock::monotonic().after(WAKING);
            // What rings meanwhile rings on.
            if self.epoll.wait(&mut tokens, Some(WAKING)).is_err() || !tokens.is_empty() {
                break;
            }
            self.window.timer_ended(due, clock::monotonic(), None);
        }
        tokens.clear();
        self.tokens = tokens;
    }

    /// One turn; returns how many packets came in.
    fn turn(&mut self, now: Instant) -> usize {
        if self.fleet.bell(self.index).rung.load(Ordering::Relaxed) {
            self.take_commands(now);
        }
        self.listen(now);
        let received = match self.networks.as_mut_slice() {
            [only] => only.turn(now),
            _ => self.turn_of_many(now),
        };
        if !self.tokens.is_empty() {
            self.take_events(now);
        }
        if received == 0 {
            self.stats.empty_turns += 1;
        }
        self.watch.is_busy = received > 0;
        self.stats.turns += 1;
        received
    }

    /// While some networks are busy, the others have their turn now and then, so that many idle ones cost the busy ones
    /// little. One turn of [`TURNS_MEASURED`] is measured, so that it is known what each network takes.
    fn turn_of_many(&mut self, now: Instant) -> usize {
        let all =
            self.stats.turns.is_multiple_of(TURNS_OF_IDLE) || !self.networks.iter().any(|network| network.is_busy);
        let measured = self.stats.turns.is_multiple_of(TURNS_MEASURED);
        let (mut received, mut begun) = (0, now);
        for network in &mut self.networks {
            if !all && network.idles() {
                continue;
            }
            let packets = network.turn(now);
            received += packets;
            if measured {
                let ended = clock::monotonic();
                if packets > 0 {
                    network.measured(ended.since(begun), packets);
                }
                begun = ended;
            }
        }
        received
    }

    /// Turns all notifications on, looks once more, and sleeps until something comes.
    fn sleep(&mut self, now: Instant) {
        let mut ready = self.fleet.bell(self.index).rung.load(Ordering::Acquire);
        let ahead = self.window.wake_ahead(now);
        let mut wake = ahead.unwrap_or(Instant(u64::MAX)).min(now.after(LONGEST_SLEEP));
        for network in &mut self.networks {
            let (network_ready, due) = network.arm(now, &self.epoll);
            ready |= network_ready;
            wake = wake.min(due);
        }
        let mut tokens = std::mem::take(&mut self.tokens);
        tokens.clear();
        if !ready {
            self.stats.sleeps += 1;
            if let Err(error) = self.epoll.wait(&mut tokens, Some(wake.since(now))) {
                tracing::error!("worker {} cannot sleep: {error}; it polls", self.index);
            }
        }
        let woke = clock::monotonic();
        if !ready && tokens.is_empty() && woke >= wake {
            self.window.timer_ended(wake, woke, ahead);
        }
        if ahead.is_none_or(|ahead| ahead != wake) {
            self.window.adapt(ready, woke);
        }
        self.tokens = tokens;
        // What woke us is served before anything else is looked after: its sender waits.
        self.rouse(woke);
        self.networks.iter_mut().for_each(|network| network.disarm(&self.epoll));
    }
}

/// Lets a port wake the worker.
fn hear(epoll: &Epoll, id: PortId, slot: &Slot) {
    if let Err(error) = epoll.add(slot.port.event_fd(), u64::from(id.0)) {
        tracing::error!("port {} cannot wake the worker: {error}", id.0);
    }
}
