//! The control side's end of a worker: changes and questions.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use tokio::sync::oneshot;
use weir_fabric::router::RouteTable;
use weir_fabric::{Fabric, Step};
use weir_filter::Policy;
use weir_ports::Port;
use weir_ports::event::EventFd;
use weir_ports::xdp::fast_path;
use weir_wire::{Epoch, Instant, InterfaceId, PortId, Vid};

use super::{Carriage, FastPaths, PortTable, WorkerStats};

/// The longest time that a program in the kernel can be at work on a frame, where the kernel cannot be asked.
const AT_WORK: Duration = Duration::from_millis(20);

/// A change that is applied whole, between two bursts.
pub struct Transaction {
    /// Changes of the fabric, in order.
    pub steps: Vec<Step>,
    /// Ports that were opened for it.
    pub add_ports: Vec<(PortId, Box<dyn Port>)>,
    /// Ports that go.
    pub remove_ports: Vec<PortId>,
    /// Of all ports that have rates, what they may carry.
    pub carriages: Vec<(PortId, Carriage)>,
    /// Pairs of ports that are each other's other side.
    pub wires: Vec<[PortId; 2]>,
    /// The policy compiled for the state after the change.
    pub policy: Arc<Policy>,
}

/// What a transaction leaves for the control thread to free.
pub struct Applied {
    /// The policy that runs.
    pub epoch: Epoch,
    /// The ports that were taken out.
    pub removed: Vec<Box<dyn Port>>,
    /// The policy that ran before.
    pub old_policy: Arc<Policy>,
    /// The route tables that were replaced.
    pub old_tables: Vec<Arc<RouteTable>>,
    /// Flows that passed in the kernel were revoked.
    pub revoked: bool,
}

/// The worker has ended; the daemon is on its way down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the datapath worker has ended; the daemon is shutting down")
    }
}

impl std::error::Error for Gone {}

/// What a question may look at.
pub struct View<'a> {
    /// The time of the turn.
    pub now: Instant,
    /// The fabric.
    pub fabric: &'a mut Fabric,
    /// The ports.
    pub ports: &'a mut PortTable,
    /// The worker's own counters.
    pub stats: WorkerStats,
    pub(super) fast_paths: &'a FastPaths,
}

impl View<'_> {
    /// Directions of flows that come in by a port, and that leave by it, in the kernel.
    pub fn passing(&self, port: PortId) -> (usize, usize) {
        self.fast_paths.count(port)
    }
}

/// What a service wants sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// A frame into the network of an interface: by a port, or to wherever its destination is.
    Put {
        /// The interface.
        interface: InterfaceId,
        /// The port, where it is known.
        port: Option<PortId>,
        /// The frame, untagged.
        frame: Vec<u8>,
    },
    /// An IP packet of a guest's flow with the router: interface, port and VLAN of its question.
    Answer {
        /// Where the question came from.
        to: (InterfaceId, PortId, Vid),
        /// The frame, untagged.
        frame: Vec<u8>,
    },
    /// Ask the network of an interface who has an address.
    Probe {
        /// The interface.
        interface: InterfaceId,
        /// The address.
        address: IpAddr,
    },
}

/// A question, to be run on the worker.
pub(super) type Question = Box<dyn FnOnce(&mut View<'_>) + Send>;

/// What the control side sends.
pub(super) enum Command {
    Apply(Box<Transaction>, oneshot::Sender<Applied>),
    Ask(Question),
    Send(Vec<Outgoing>),
    Verdict,
    Stop,
}

/// The control side's end of a worker.
#[derive(Clone)]
pub struct Handle {
    commands: Sender<Command>,
    bell: Arc<Bell>,
}

/// Tells the worker that commands wait, asleep or not.
pub(super) struct Bell {
    pub rung: AtomicBool,
    pub wake: EventFd,
}

impl Bell {
    pub fn new() -> io::Result<Bell> {
        Ok(Bell { rung: AtomicBool::new(false), wake: EventFd::new()? })
    }
}

impl Handle {
    pub(super) fn new(bell: Arc<Bell>) -> (Handle, Receiver<Command>) {
        let (commands, inbox) = mpsc::channel();
        (Handle { commands, bell }, inbox)
    }

    /// Applies a change between two bursts.
    ///
    /// # Errors
    /// [`Gone`] where the worker has ended.
    pub async fn apply(&self, transaction: Transaction) -> Result<Applied, Gone> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Apply(Box::new(transaction), reply))?;
        let applied = answer.await.map_err(|_| Gone)?;
        if applied.revoked {
            // A program may be at work on a frame that it found leave for before. It is waited for here, so that nothing
            // passes under the old policy once the caller has its answer.
            let settled = tokio::task::spawn_blocking(fast_path::settle).await;
            if !matches!(settled, Ok(Ok(()))) {
                tokio::time::sleep(AT_WORK).await;
            }
        }
        Ok(applied)
    }

    /// Runs `question` on the worker between two turns. Traffic waits meanwhile: keep it short and bounded.
    ///
    /// # Errors
    /// [`Gone`] where the worker has ended.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut View<'_>) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Ask(Box::new(move |view| {
            // Nobody listens any more where the caller was cancelled; the answer is not needed then.
            drop(reply.send(question(view)));
        })))?;
        answer.await.map_err(|_| Gone)
    }

    /// Sends frames of the services, in order. Nothing is waited for; the services answer no more than they are asked.
    ///
    /// # Errors
    /// [`Gone`] where the worker has ended.
    pub fn send_out(&self, frames: Vec<Outgoing>) -> Result<(), Gone> {
        if frames.is_empty() { Ok(()) } else { self.send(Command::Send(frames)) }
    }

    /// Tells the worker that a verdict on a file has come.
    pub fn verdict_came(&self) {
        // A worker that has ended holds nothing back.
        let _ = self.send(Command::Verdict);
    }

    /// Asks the worker to end. Its thread can be joined afterwards.
    pub fn stop(&self) {
        // A worker that has ended already needs no stopping.
        let _ = self.send(Command::Stop);
    }

    fn send(&self, command: Command) -> Result<(), Gone> {
        self.commands.send(command).map_err(|_| Gone)?;
        if !self.bell.rung.swap(true, Ordering::AcqRel) {
            self.bell.wake.signal();
        }
        Ok(())
    }
}
