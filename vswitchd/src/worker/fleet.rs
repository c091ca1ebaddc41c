//! All workers as they know of each other: how each is reached, and which of them has which network.
//!
//! Commands for a network go to the worker that is said to have it. A network may have moved on meanwhile; the worker
//! that had it passes the command on, behind the network itself, so that no command is lost. Whoever does not wait for an
//! answer may see two commands change places while the network moves. Nothing here is touched while packets pass.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, PoisonError, RwLock};

use weir_ports::event::EventFd;

use super::handle::Command;
use super::{Gone, Membership};

/// Networks there may be.
pub const NETWORKS_MAX: usize = 256;
/// A network that has been taken into none.
const ITSELF: u16 = u16::MAX;

/// A network's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(pub u16);

impl NetworkId {
    /// The network that is there from the start.
    pub const FIRST: NetworkId = NetworkId(0);
}

/// Tells a worker that commands wait, asleep or not.
pub(super) struct Bell {
    pub rung: AtomicBool,
    pub wake: EventFd,
}

/// How a worker is reached.
struct End {
    commands: Sender<Command>,
    bell: Bell,
}

/// Where a network is.
struct Home {
    worker: AtomicU16,
    /// The network that it has become a part of.
    part_of: AtomicU16,
}

/// All workers.
pub(super) struct Fleet {
    ends: Vec<End>,
    homes: Vec<Home>,
    /// Of the control side; workers do not ask it.
    membership: RwLock<Arc<Membership>>,
}

impl Fleet {
    /// So many workers, with their inboxes. All networks are said to be at the first.
    pub fn new(workers: usize) -> io::Result<(Fleet, Vec<Receiver<Command>>)> {
        let (mut ends, mut inboxes) = (Vec::new(), Vec::new());
        for _ in 0..workers {
            let (commands, inbox) = mpsc::channel();
            ends.push(End { commands, bell: Bell { rung: AtomicBool::new(false), wake: EventFd::new()? } });
            inboxes.push(inbox);
        }
        let home = |_| Home { worker: AtomicU16::new(0), part_of: AtomicU16::new(ITSELF) };
        let homes = (0..NETWORKS_MAX).map(home).collect();
        Ok((Fleet { ends, homes, membership: RwLock::default() }, inboxes))
    }

    /// How many workers there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// A worker's bell; the first one's where there is no such worker.
    pub fn bell(&self, worker: usize) -> &Bell {
        &self.ends[worker.min(self.ends.len() - 1)].bell
    }

    /// The worker that has a network, as far as it is known.
    pub fn home(&self, network: NetworkId) -> usize {
        self.homes.get(usize::from(network.0)).map_or(0, |home| usize::from(home.worker.load(Ordering::Acquire)))
    }

    /// A network is with this worker, or on its way there.
    pub fn set_home(&self, network: NetworkId, worker: usize) {
        if let Some(home) = self.homes.get(usize::from(network.0)) {
            home.worker.store(worker as u16, Ordering::Release);
        }
    }

    /// A network becomes a part of another one; `None`: it stands for itself.
    pub fn set_part_of(&self, network: NetworkId, whole: Option<NetworkId>) {
        if let Some(home) = self.homes.get(usize::from(network.0)) {
            home.part_of.store(whole.map_or(ITSELF, |whole| whole.0), Ordering::Release);
        }
    }

    /// The network that another one has become a part of.
    pub fn part_of(&self, network: NetworkId) -> Option<NetworkId> {
        let whole = self.homes.get(usize::from(network.0))?.part_of.load(Ordering::Acquire);
        (whole != ITSELF).then_some(NetworkId(whole))
    }

    /// Which network has what.
    pub fn membership(&self) -> Arc<Membership> {
        // It is replaced whole: a thread that panicked has left no half of one.
        Arc::clone(&self.membership.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says which network has what from here on.
    pub fn set_membership(&self, membership: Membership) {
        *self.membership.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(membership);
    }

    /// Puts a command into a worker's inbox.
    pub fn send(&self, worker: usize, command: Command) -> Result<(), Box<Command>> {
        let Some(end) = self.ends.get(worker) else { return Err(Box::new(command)) };
        end.commands.send(command).map_err(|refused| Box::new(refused.0))?;
        if !end.bell.rung.swap(true, Ordering::AcqRel) {
            end.bell.wake.signal();
        }
        Ok(())
    }

    /// Puts a command for a network into the inbox of the worker that has it.
    pub fn send_to(&self, network: NetworkId, command: Command) -> Result<(), Gone> {
        self.send(self.home(network), command).map_err(|_| Gone)
    }
}
