//! TAP devices: the kernel's own network stack, or a container's, on the far side of a file descriptor.
//!
//! Frames come and go one system call each, with a virtio-net header before them, so partial checksums and
//! super-segments of the kernel's TCP pass whole ([`vnet_header`]). What the kernel may hand over is
//! always stated (TUNSETOFFLOAD): a persistent device otherwise keeps what its last owner agreed to.
//!
//! A read scatters into a frame buffer and, behind it, a super-segment buffer; an ordinary frame therefore costs no
//! large buffer, and a large one only a copy of its first part. An empty read costs as much as a third of a full one, so
//! a queue that was empty is left alone for a few turns while the worker polls; asleep, the worker is woken by epoll.
//!
//! **Safety.** The only memory shared with the kernel is what one `readv` or `writev` call is given, for the length of
//! the call. The device may be taken down, renamed, moved or deleted at any time by others: every call may fail, and a
//! failure is counted and looked into, never more.

mod device;
mod queue;

use std::os::fd::{AsFd, BorrowedFd};

use weir_wire::{Capabilities, DropReason, MacAddr, Packet, Pool, PortId};

use crate::departure::Departure;
use crate::event::Epoll;
use crate::netdev::{LinkWatch, Netdev};
use crate::{Armed, Counters, Port, PortError, Status, discard, fill_all};
use queue::{Queue, Received};

/// Empty reads are skipped for at most this many turns.
const BACKOFF_MAX: u8 = 7;
/// A port that is polled looks for changes of its device once in so many turns.
const TURNS_BETWEEN_LOOKS: u32 = 1024;

/// A TAP device to make or to attach to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapConfig {
    /// The device's name, 1 to 15 characters.
    pub name: String,
    /// Namespace to make it in, by name or path; the daemon's own for `None`.
    pub netns: Option<String>,
    /// Namespace to move it to once it is made.
    pub move_to_netns: Option<String>,
    /// Queues, 1 to 256.
    pub queues: u16,
    /// Largest L3 packet in bytes; as it is for `None`.
    pub mtu: Option<u32>,
    /// MAC address of the kernel's side; as it is for `None`.
    pub mac: Option<MacAddr>,
    /// The device outlives the port. Otherwise it goes with it, unless it was persistent before.
    pub persist: bool,
    /// The kernel may hand over partial checksums and super-segments. Worth a factor of ten in TCP throughput.
    pub offloads: bool,
}

impl TapConfig {
    /// A device of that name in the daemon's namespace with one queue and offloads, gone when the port goes.
    pub fn new(name: impl Into<String>) -> TapConfig {
        TapConfig {
            name: name.into(),
            netns: None,
            move_to_netns: None,
            queues: 1,
            mtu: None,
            mac: None,
            persist: false,
            offloads: true,
        }
    }
}

/// The fabric's side of a TAP device.
#[derive(Debug)]
pub struct TapPort {
    config: TapConfig,
    queues: Vec<Queue>,
    device: Netdev,
    watch: LinkWatch,
    epoll: Epoll,
    departure: Departure,
    counters: Counters,
    link: bool,
    /// The carrier that the kernel's side was last given.
    carrier: bool,
    /// The device was deleted under us; only a new port brings it back.
    gone: bool,
    problem: String,
    turns: u32,
    next: usize,
}

impl TapPort {
    /// Makes the device, or attaches to the one there is, and brings it up.
    ///
    /// # Errors
    /// `Denied` without CAP_NET_ADMIN, `Busy` where somebody else has the device, `Invalid` for settings the kernel
    /// refuses, `NotFound` without /dev/net/tun or the namespace.
    pub fn open(config: TapConfig) -> Result<TapPort, PortError> {
        let made = device::make(&config)?;
        let epoll = Epoll::new().map_err(|e| PortError::os(object(&config), "cannot make an epoll instance", e))?;
        let watch = made.device.watch()?;
        for (token, fd) in made.queues.iter().map(Queue::as_fd).chain([watch.as_fd()]).enumerate().collect::<Vec<_>>() {
            epoll.add(fd, token as u64).map_err(|e| PortError::os(object(&config), "cannot wait for it", e))?;
        }
        let mut port = TapPort {
            departure: Departure::new(made.capabilities, 1500),
            config,
            queues: made.queues,
            device: made.device,
            watch,
            epoll,
            counters: Counters::default(),
            link: false,
            carrier: true,
            gone: false,
            problem: String::new(),
            turns: 0,
            next: 0,
        };
        port.look();
        Ok(port)
    }

    /// The kernel's side of the device, to be looked at or changed.
    pub fn device(&self) -> &Netdev {
        &self.device
    }

    /// Finds out what became of the device.
    fn look(&mut self) {
        self.turns = 0;
        if self.gone {
            return;
        }
        if let Some(place) = device::follow(&self.queues, &self.device) {
            self.device = place.device;
            // The old watch leaves epoll as it is closed; nobody else holds it.
            self.watch = place.watch;
            let token = self.queues.len() as u64;
            if let Err(e) = self.epoll.add(self.watch.as_fd(), token) {
                self.problem = format!("cannot watch the device in its new namespace: {e}");
            }
        }
        match self.device.state() {
            Ok(state) => {
                self.link = state.up;
                self.problem = if state.up {
                    String::new()
                } else {
                    format!("the device is down; \"ip link set {} up\"", self.device.name())
                };
            }
            Err(e) => {
                self.link = false;
                self.problem = format!("the device cannot be found: {e}");
            }
        }
        if let Ok(mtu) = self.device.mtu() {
            self.departure.set_mtu(mtu);
        }
    }

    fn device_deleted(&mut self) {
        self.gone = true;
        self.link = false;
        self.problem = "the device was deleted; remove the port and add it again".to_owned();
        for queue in &self.queues {
            // A deleted device is readable for ever. It may be out of the set already; either way it is quiet then.
            drop(self.epoll.remove(queue.as_fd()));
        }
    }

    /// A polled worker never sleeps, so news of the device are looked for once in a while.
    fn look_sometimes(&mut self) {
        self.turns += 1;
        if self.turns >= TURNS_BETWEEN_LOOKS {
            self.turns = 0;
            if self.watch.drain() {
                self.look();
            }
        }
    }

    fn read_queue(&mut self, index: usize, id: PortId, pool: &mut Pool, burst: &mut Vec<Packet>, room: usize) -> usize {
        let Some(queue) = self.queues.get_mut(index) else { return 0 };
        if queue.is_resting() {
            return 0;
        }
        let before = burst.len();
        // Frames that are dropped take their share of the room too, so that a turn ends.
        for _ in 0..room {
            match queue.receive(pool) {
                Received::Frame(buffer, offload) => {
                    self.counters.rx_packets += 1;
                    self.counters.rx_bytes += buffer.len() as u64;
                    burst.push(Packet::new(buffer, id, offload));
                }
                Received::Refused(reason) => self.counters.rx_dropped.count(reason),
                Received::Nothing => {
                    queue.rest(BACKOFF_MAX);
                    break;
                }
                Received::Deleted => {
                    self.device_deleted();
                    break;
                }
            }
        }
        burst.len() - before
    }

    /// Sends packets; those that are not whole have their rest at `origin`.
    fn put_out(&mut self, origin: Option<&dyn Port>, pool: &mut Pool, packets: &mut Vec<Packet>) {
        if !self.link {
            discard(pool, packets, &mut self.counters, DropReason::LinkDown);
            return;
        }
        self.departure.join(origin, pool, packets, &mut self.counters);
        if let Some(origin) = origin {
            // What was joined was copied where it is to stand; what is left is wanted whole.
            fill_all(origin, pool, packets, |_| false);
        }
        let count = self.queues.len() as u64;
        let (queues, mut failed) = (&mut self.queues, false);
        self.departure.send(pool, packets, &mut self.counters, |packet| {
            let Some(queue) = queues.get((packet.hash % count.max(1)) as usize) else {
                return Err(DropReason::LinkDown);
            };
            let sent = queue.send(packet);
            failed |= sent == Err(DropReason::LinkDown);
            sent
        });
        if failed {
            self.look();
        }
    }
}

fn object(config: &TapConfig) -> String {
    format!("tap {}", config.name)
}

impl Port for TapPort {
    fn rx(&mut self, id: PortId, pool: &mut Pool, burst: &mut Vec<Packet>, room: usize) -> usize {
        self.look_sometimes();
        let mut taken = 0;
        let count = self.queues.len();
        for step in 0..count {
            if self.gone || taken >= room {
                break;
            }
            let index = (self.next + step) % count;
            taken += self.read_queue(index, id, pool, burst, room - taken);
        }
        self.next = (self.next + 1) % count.max(1);
        taken
    }

    fn tx(&mut self, pool: &mut Pool, packets: &mut Vec<Packet>) {
        self.put_out(None, pool, packets);
    }

    fn tx_from(&mut self, origin: &dyn Port, pool: &mut Pool, packets: &mut Vec<Packet>) {
        self.put_out(Some(origin), pool, packets);
    }

    fn set_gro(&mut self, on: bool) {
        self.departure.set_gro(on);
    }

    fn flush(&mut self) {
        // Every frame was handed over by its own system call.
    }

    fn arm(&mut self) -> Armed {
        // epoll is level-triggered: what waits already ends the sleep at once.
        Armed::Idle
    }

    fn disarm(&mut self) {
        self.queues.iter_mut().for_each(Queue::wake);
    }

    fn may_doze(&self) -> bool {
        true
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    fn on_event(&mut self) {
        if self.watch.drain() {
            self.look();
        }
    }

    fn set_carrier(&mut self, up: bool) {
        if self.gone || std::mem::replace(&mut self.carrier, up) == up {
            return;
        }
        if let Err(e) = device::set_carrier(&self.config, &self.queues, up) {
            self.problem = e.to_string();
        }
    }

    fn link(&self) -> bool {
        self.link
    }

    fn capabilities(&self) -> Capabilities {
        self.departure.capabilities()
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn status(&self) -> Status {
        let own = || "the daemon's".to_owned();
        let ns = self.config.move_to_netns.clone().or_else(|| self.config.netns.clone()).unwrap_or_else(own);
        let lifetime = if self.config.persist { "persistent" } else { "gone with the port" };
        let mac = self.device.mac().map_or_else(|e| e.to_string(), |mac| mac.to_string());
        Status {
            link: self.link,
            kind: "tap",
            mode: format!("device {} in namespace {ns}, {} queue(s)", self.device.name(), self.queues.len()),
            problem: self.problem.clone(),
            mtu: self.departure.mtu(),
            details: vec![
                ("device".into(), self.device.name().to_owned()),
                ("namespace".into(), ns),
                ("mac".into(), mac),
                ("queues".into(), self.queues.len().to_string()),
                ("offloads".into(), device::describe(self.capabilities())),
                ("gro".into(), self.departure.describe_gro()),
                ("lifetime".into(), lifetime.into()),
            ],
        }
    }
}
