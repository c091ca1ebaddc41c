//! What workers and networks count of themselves.

use super::{NetworkId, Worker, clock};

/// What a network counts of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkStats {
    /// Turns taken.
    pub turns: u64,
    /// Packets received.
    pub packets: u64,
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
    /// Nanoseconds of the turns that were measured, which had packets.
    pub measured_ns: u64,
    /// Their packets.
    pub measured_packets: u64,
    /// The longest that anything control wanted kept packets waiting, in nanoseconds.
    pub longest_pause_ns: u64,
}

/// What a worker counts of itself, with the sum of its networks.
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
    /// Time of the turns that had packets, in nanoseconds.
    pub busy_ns: u64,
    /// Events lost because the control side was slow, or because too many came in one turn.
    pub events_lost: u64,
    /// The epoch of the policy that runs, the lowest of all networks'.
    pub epoch: u64,
    /// Buffers in use.
    pub buffers: u64,
    /// Changes of the configuration taken over.
    pub changes: u64,
    /// Nanoseconds for which the last change kept packets of a network waiting.
    pub change_ns: u64,
    /// The longest that anything control wanted kept packets waiting, in nanoseconds.
    pub longest_pause_ns: u64,
}

impl WorkerStats {
    /// Adds those of a network.
    fn add(&mut self, of: &NetworkStats) {
        self.packets += of.packets;
        self.events_lost += of.events_lost;
        self.epoch = if self.epoch == 0 { of.epoch } else { self.epoch.min(of.epoch) };
        self.buffers += of.buffers;
        self.changes = self.changes.max(of.changes);
        self.change_ns = self.change_ns.max(of.change_ns);
        self.longest_pause_ns = self.longest_pause_ns.max(of.longest_pause_ns);
    }

    /// Adds those of another worker.
    pub fn merge(&mut self, other: &WorkerStats) {
        self.turns += other.turns;
        self.empty_turns += other.empty_turns;
        self.packets += other.packets;
        self.sleeps += other.sleeps;
        self.cpu_ns += other.cpu_ns;
        self.busy_ns += other.busy_ns;
        self.events_lost += other.events_lost;
        self.epoch =
            if self.epoch == 0 || other.epoch == 0 { self.epoch.max(other.epoch) } else { self.epoch.min(other.epoch) };
        self.buffers += other.buffers;
        self.changes = self.changes.max(other.changes);
        self.change_ns = self.change_ns.max(other.change_ns);
        self.longest_pause_ns = self.longest_pause_ns.max(other.longest_pause_ns);
    }
}

/// A network as it stands on its worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkReport {
    /// Its number.
    pub id: NetworkId,
    /// Its counters.
    pub stats: NetworkStats,
    /// Its ports.
    pub ports: usize,
    /// Its flows.
    pub flows: usize,
    /// Nanoseconds that inspection has taken.
    pub inspection_ns: u64,
}

/// A worker as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerReport {
    /// Its counters.
    pub stats: WorkerStats,
    /// The networks that it has, in order of their numbers.
    pub networks: Vec<NetworkReport>,
}

impl Worker {
    /// The worker as it stands.
    pub(super) fn report(&self) -> WorkerReport {
        let report = |network: &super::Network| NetworkReport {
            id: network.id,
            stats: network.stats(),
            ports: network.ports.ids().len(),
            flows: network.fabric.engine().flow_count(),
            inspection_ns: network.fabric.engine().budget().spent_ns(),
        };
        let mut networks: Vec<NetworkReport> = self.networks.iter().map(|network| report(network)).collect();
        networks.sort_unstable_by_key(|network| network.id);
        let cpu_ns = clock::thread_cpu_time().as_nanos() as u64;
        let mut stats = WorkerStats { cpu_ns, packets: self.stats.packets, ..self.stats };
        networks.iter().for_each(|network| stats.add(&network.stats));
        WorkerReport { stats, networks }
    }
}
