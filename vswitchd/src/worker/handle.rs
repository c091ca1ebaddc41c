//! The control side's end of the workers: changes and questions.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use weir_fabric::nat::bindings::Room;
use weir_fabric::router::RouteTable;
use weir_fabric::{Fabric, Step};
use weir_filter::Policy;
use weir_ports::Port;
use weir_ports::xdp::fast_path;
use weir_wire::{Epoch, Instant, InterfaceId, PortId, Vid};

use super::fleet::Fleet;
use super::network::{Blank, Network};
use super::{
    Carriage, FastPaths, Membership, NetworkId, NetworkStats, Object, PortTable, Settings, WorkerReport, WorkerStats,
};

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
    /// Networks that become part of this one.
    pub adopt: Vec<Adopted>,
    /// Of all ports that have rates, what they may carry.
    pub carriages: Vec<(PortId, Carriage)>,
    /// Pairs of ports that are each other's other side.
    pub wires: Vec<[PortId; 2]>,
    /// Ports toward which segments are not joined.
    pub no_gro: Vec<PortId>,
    /// Room for the bindings of the first router that translates.
    pub room: Option<Room>,
    /// The policy compiled for the state after the change.
    pub policy: Arc<Policy>,
}

impl Transaction {
    /// Another policy and nothing else; it takes all rates and wires away.
    pub fn of(policy: Arc<Policy>) -> Transaction {
        Transaction {
            steps: Vec::new(),
            add_ports: Vec::new(),
            remove_ports: Vec::new(),
            adopt: Vec::new(),
            carriages: Vec::new(),
            wires: Vec::new(),
            no_gro: Vec::new(),
            room: None,
            policy,
        }
    }
}

/// Ports on their way to another network.
pub type Released = Vec<(PortId, Box<dyn Port>)>;

/// A network on its way into another one.
pub struct Adopted(pub(super) Box<Network>);

/// What a transaction leaves for the control thread to free.
#[derive(Default)]
pub struct Applied {
    /// The policy that runs.
    pub epoch: Epoch,
    /// The ports that were taken out.
    pub removed: Vec<Box<dyn Port>>,
    /// The policies that ran before, one for each network.
    pub old_policies: Vec<Arc<Policy>>,
    /// The route tables that were replaced.
    pub old_tables: Vec<Arc<RouteTable>>,
    /// Room for bindings that was not needed, or was outgrown.
    pub old_rooms: Vec<Room>,
    /// Flows that passed in the kernel were revoked.
    pub revoked: bool,
}

impl Applied {
    /// Adds what a change of another network has left.
    pub fn merge(&mut self, other: Applied) {
        self.epoch = self.epoch.max(other.epoch);
        self.removed.extend(other.removed);
        self.old_policies.extend(other.old_policies);
        self.old_tables.extend(other.old_tables);
        self.old_rooms.extend(other.old_rooms);
        self.revoked |= other.revoked;
    }
}

/// A worker has ended; the daemon is on its way down.
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
    /// The network that is looked at.
    pub network: NetworkId,
    /// Its fabric.
    pub fabric: &'a mut Fabric,
    /// Its ports.
    pub ports: &'a mut PortTable,
    /// Its counters.
    pub stats: NetworkStats,
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

impl Outgoing {
    /// The interface that it is about.
    fn interface(&self) -> InterfaceId {
        match self {
            Outgoing::Put { interface, .. } | Outgoing::Probe { interface, .. } => *interface,
            Outgoing::Answer { to: (interface, _, _), .. } => *interface,
        }
    }
}

/// A question, to be run on a network.
pub(super) type Question = Box<dyn FnOnce(&mut View<'_>) + Send>;

/// What becomes of a question to a network that has become part of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// It is dropped: the other network is asked too.
    Skip,
    /// The other network is asked.
    Follow,
}

/// What is asked of a network.
pub(super) enum Task {
    Apply(Box<Transaction>, oneshot::Sender<Applied>),
    Ask(Question, Absent),
    Send(Vec<Outgoing>),
    /// Go to another worker.
    Move(usize, oneshot::Sender<bool>),
    /// Let these ports go, which another network is to have.
    Release(Vec<PortId>, oneshot::Sender<Released>),
    /// Leave, to become part of another network.
    Leave(NetworkId, oneshot::Sender<Adopted>),
}

/// What the control side sends, and workers to each other.
pub(super) enum Command {
    For(NetworkId, Task),
    /// A network begins here.
    Make(Box<Blank>),
    /// A network comes from another worker.
    Take(Box<Network>),
    Report(oneshot::Sender<WorkerReport>),
    Verdict,
    Stop,
}

/// The control side's end of the workers.
#[derive(Clone)]
pub struct Handle {
    fleet: Arc<Fleet>,
    settings: Arc<Settings>,
}

impl Handle {
    pub(super) fn new(fleet: Arc<Fleet>, settings: Settings) -> Handle {
        Handle { fleet, settings: Arc::new(settings) }
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.fleet.len()
    }

    /// The CPUs that they run on, by worker.
    pub fn cpus(&self) -> &[usize] {
        &self.settings.cpus
    }

    /// Applies a change of the first network between two bursts.
    ///
    /// # Errors
    /// [`Gone`] where the worker has ended.
    pub async fn apply(&self, transaction: Transaction) -> Result<Applied, Gone> {
        self.apply_parts([(NetworkId::FIRST, transaction)]).await
    }

    /// Applies changes of several networks, each between two bursts of its worker. Each packet belongs to one network, so
    /// that each is judged by one policy, also while some networks have theirs and others are about to.
    ///
    /// # Errors
    /// [`Gone`] where a worker has ended.
    pub async fn apply_parts(
        &self,
        parts: impl IntoIterator<Item = (NetworkId, Transaction)>,
    ) -> Result<Applied, Gone> {
        let mut parts: Vec<_> = parts.into_iter().collect();
        for (network, transaction) in &mut parts {
            self.make_room(*network, transaction).await?;
        }
        let mut answers = Vec::new();
        for (network, transaction) in parts {
            let (reply, answer) = oneshot::channel();
            self.send(network, Task::Apply(Box::new(transaction), reply))?;
            answers.push(answer);
        }
        let mut all = Applied::default();
        for answer in answers {
            all.merge(answer.await.map_err(|_| Gone)?);
        }
        if all.revoked {
            // A program may be at work on a frame that it found leave for before. It is waited for here, so that nothing
            // passes under the old policy once the caller has its answer.
            let settled = tokio::task::spawn_blocking(fast_path::settle).await;
            if !matches!(settled, Ok(Ok(()))) {
                tokio::time::sleep(AT_WORK).await;
            }
        }
        Ok(all)
    }

    /// Takes ports out of a network, to be added to another one. What comes in by them waits meanwhile; their flows end.
    ///
    /// # Errors
    /// [`Gone`] where its worker has ended.
    pub async fn release_ports(&self, network: NetworkId, ports: Vec<PortId>) -> Result<Released, Gone> {
        let (reply, answer) = oneshot::channel();
        self.send(network, Task::Release(ports, reply))?;
        answer.await.map_err(|_| Gone)
    }

    /// Takes a network from its worker, to become part of another one by [`Transaction::adopt`]. Its packets wait
    /// meanwhile.
    ///
    /// # Errors
    /// [`Gone`] where its worker has ended.
    pub async fn take_network(&self, network: NetworkId, into: NetworkId) -> Result<Adopted, Gone> {
        let (reply, answer) = oneshot::channel();
        self.send(network, Task::Leave(into, reply))?;
        answer.await.map_err(|_| Gone)
    }

    /// Begins a network without anything in it at a worker.
    ///
    /// # Errors
    /// [`Gone`] where the worker has ended.
    pub async fn make_network(&self, network: NetworkId, worker: usize) -> Result<(), Gone> {
        let settings = Arc::clone(&self.settings);
        // Large tables take time to make.
        let blank = tokio::task::spawn_blocking(move || Blank::new(network, &settings)).await.map_err(|_| Gone)?;
        self.fleet.set_home(network, worker);
        self.fleet.set_part_of(network, None);
        self.fleet.send(worker, Command::Make(Box::new(blank))).map_err(|_| Gone)
    }

    /// Hands a network to another worker between two bursts. Whether it is there.
    ///
    /// # Errors
    /// [`Gone`] where its worker has ended.
    pub async fn move_network(&self, network: NetworkId, worker: usize) -> Result<bool, Gone> {
        let (reply, answer) = oneshot::channel();
        self.send(network, Task::Move(worker, reply))?;
        answer.await.map_err(|_| Gone)
    }

    /// The worker that has a network.
    pub fn worker_of(&self, network: NetworkId) -> usize {
        self.fleet.home(network)
    }

    /// Which network has what.
    pub fn membership(&self) -> Arc<Membership> {
        self.fleet.membership()
    }

    /// Says which network has what from here on.
    pub fn set_membership(&self, membership: Membership) {
        self.fleet.set_membership(membership);
    }

    /// Runs `question` on the network that has `object`, between two turns of its worker. Its traffic waits meanwhile:
    /// keep it short and bounded.
    ///
    /// # Errors
    /// [`Gone`] where the worker has ended.
    pub async fn ask_of<T: Send + 'static>(
        &self,
        object: impl Into<Object>,
        question: impl FnOnce(&mut View<'_>) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let network = self.membership().of(object);
        self.put(network, Absent::Follow, question)?.await.map_err(|_| Gone)
    }

    /// Runs `question` on one network.
    ///
    /// # Errors
    /// [`Gone`] where its worker has ended, or where there is no such network.
    pub async fn ask_network<T: Send + 'static>(
        &self,
        network: NetworkId,
        question: impl FnOnce(&mut View<'_>) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        self.put(network, Absent::Follow, question)?.await.map_err(|_| Gone)
    }

    /// Runs `question` on each of `objects`, where it is; those of one network between the same two turns. The answers, in
    /// the same order.
    ///
    /// # Errors
    /// [`Gone`] where a worker has ended.
    pub async fn ask_each<O: Into<Object> + Copy + Send + 'static, T: Send + 'static>(
        &self,
        objects: &[O],
        question: impl Fn(&mut View<'_>, O) -> T + Clone + Send + 'static,
    ) -> Result<Vec<T>, Gone> {
        let membership = self.membership();
        let mut by_network: BTreeMap<NetworkId, Vec<(usize, O)>> = BTreeMap::new();
        for (place, &object) in objects.iter().enumerate() {
            by_network.entry(membership.of(object)).or_default().push((place, object));
        }
        let mut asked = Vec::new();
        for (network, here) in by_network {
            let question = question.clone();
            let all = move |view: &mut View<'_>| -> Vec<(usize, T)> {
                here.into_iter().map(|(place, object)| (place, question(view, object))).collect()
            };
            asked.push(self.put(network, Absent::Follow, all)?);
        }
        let mut answers = Vec::with_capacity(objects.len());
        for answer in asked {
            answers.extend(answer.await.map_err(|_| Gone)?);
        }
        answers.sort_unstable_by_key(|(place, _)| *place);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    /// Runs `question` on every network, as [`Handle::ask_of`] does; the answers, in order of the networks' numbers. One is
    /// missing where a network becomes a part of another one meanwhile.
    ///
    /// # Errors
    /// [`Gone`] where a worker has ended.
    pub async fn ask_all<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut View<'_>) -> T + Clone + Send + 'static,
    ) -> Result<Vec<T>, Gone> {
        let membership = self.membership();
        let mut asked = Vec::new();
        for network in membership.networks() {
            asked.push((network, self.put(network, Absent::Skip, question.clone())?));
        }
        let mut answers = Vec::with_capacity(asked.len());
        for (network, answer) in asked {
            match answer.await {
                Ok(answer) => answers.push(answer),
                Err(_) if self.fleet.part_of(network).is_some() => {}
                Err(_) => return Err(Gone),
            }
        }
        Ok(answers)
    }

    fn put<T: Send + 'static>(
        &self,
        network: NetworkId,
        absent: Absent,
        question: impl FnOnce(&mut View<'_>) -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, Gone> {
        let (reply, answer) = oneshot::channel();
        let question = Box::new(move |view: &mut View<'_>| {
            // Nobody listens any more where the caller was cancelled; the answer is not needed then.
            drop(reply.send(question(view)));
        });
        self.send(network, Task::Ask(question, absent))?;
        Ok(answer)
    }

    /// The workers as they stand.
    ///
    /// # Errors
    /// [`Gone`] where one has ended.
    pub async fn reports(&self) -> Result<Vec<WorkerReport>, Gone> {
        let mut answers = Vec::new();
        for worker in 0..self.fleet.len() {
            let (reply, answer) = oneshot::channel();
            self.fleet.send(worker, Command::Report(reply)).map_err(|_| Gone)?;
            answers.push(answer);
        }
        let mut reports = Vec::new();
        for answer in answers {
            reports.push(answer.await.map_err(|_| Gone)?);
        }
        Ok(reports)
    }

    /// What all workers have counted together.
    ///
    /// # Errors
    /// [`Gone`] where one has ended.
    pub async fn stats(&self) -> Result<WorkerStats, Gone> {
        let mut all = WorkerStats::default();
        self.reports().await?.iter().for_each(|report| all.merge(&report.stats));
        Ok(all)
    }

    /// Sends frames of the services, in order. Nothing is waited for; the services answer no more than they are asked.
    ///
    /// # Errors
    /// [`Gone`] where the worker has ended.
    pub fn send_out(&self, frames: Vec<Outgoing>) -> Result<(), Gone> {
        let membership = self.membership();
        let mut by_network: Vec<(NetworkId, Vec<Outgoing>)> = Vec::new();
        for frame in frames {
            let network = membership.of(frame.interface());
            match by_network.iter_mut().find(|(known, _)| *known == network) {
                Some((_, frames)) => frames.push(frame),
                None => by_network.push((network, vec![frame])),
            }
        }
        by_network.into_iter().try_for_each(|(network, frames)| self.send(network, Task::Send(frames)))
    }

    /// Tells the workers that a verdict on a file has come.
    pub fn verdict_came(&self) {
        // A worker that has ended holds nothing back.
        (0..self.fleet.len()).for_each(|worker| drop(self.fleet.send(worker, Command::Verdict)));
    }

    /// Asks the workers to end. Their threads can be joined afterwards.
    pub fn stop(&self) {
        // A worker that has ended already needs no stopping.
        (0..self.fleet.len()).for_each(|worker| drop(self.fleet.send(worker, Command::Stop)));
    }

    fn send(&self, network: NetworkId, task: Task) -> Result<(), Gone> {
        self.fleet.send_to(network, Command::For(network, task))
    }
}
