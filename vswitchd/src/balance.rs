//! Which network should go to another worker, by what each of them takes. Pure: reports in, a move out.
//!
//! Workers are looked at once a second. A move is made only where it helps: the worker that has most to do is busy for [`BUSY`] of its time or more, and
//! without the network the busier of the two has [`GAIN`] less than it had. It has to look so for [`PATIENCE`] looks in a
//! row; after a move nothing moves for [`REST`] looks, and the network that moved stays for [`STAY`]. So networks do not go
//! back and forth, whatever the load does. Networks that are held to a worker stay.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::worker::{NetworkId, NetworkReport, WorkerReport};

/// Below this a worker has time enough, in thousandths.
const BUSY: u64 = 600;
/// What a move must bring, in thousandths.
const GAIN: u64 = 100;
/// Looks in a row that say the same.
const PATIENCE: u32 = 3;
/// Looks after a move before the next.
const REST: u32 = 5;
/// Looks for which a network that has moved stays where it is.
const STAY: u64 = 60;

/// What workers and networks take, in thousandths of a worker's time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loads {
    /// By worker.
    pub workers: Vec<u64>,
    /// By network: its worker and its load.
    pub networks: BTreeMap<NetworkId, (usize, u64)>,
}

impl Loads {
    /// What was taken between two looks, so long after each other.
    pub fn between(before: &[WorkerReport], after: &[WorkerReport], time: Duration) -> Loads {
        let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1);
        let mut loads = Loads::default();
        let known: BTreeMap<NetworkId, NetworkReport> =
            before.iter().flat_map(|worker| &worker.networks).map(|network| (network.id, *network)).collect();
        for (index, worker) in after.iter().enumerate() {
            let then = before.get(index).map_or(0, |then| then.stats.busy_ns);
            let busy = (worker.stats.busy_ns.saturating_sub(then).saturating_mul(1000) / time_ns).min(1000);
            loads.workers.push(busy);
            let costs: Vec<u64> = worker.networks.iter().map(|network| cost(known.get(&network.id), network)).collect();
            let all: u64 = costs.iter().sum();
            for (network, cost) in worker.networks.iter().zip(costs) {
                let load = if all == 0 { 0 } else { (u128::from(busy) * u128::from(cost) / u128::from(all)) as u64 };
                loads.networks.insert(network.id, (index, load));
            }
        }
        loads
    }

    /// The move that helps most, where one does.
    fn best_move(&self, stays: impl Fn(NetworkId) -> bool) -> Option<(NetworkId, usize)> {
        let (hot, &most) = self.workers.iter().enumerate().max_by_key(|(_, load)| **load)?;
        let (cool, &least) = self.workers.iter().enumerate().min_by_key(|(_, load)| **load)?;
        if most < BUSY {
            return None;
        }
        let here =
            self.networks.iter().filter(|(network, (worker, load))| *worker == hot && *load > 0 && !stays(**network));
        let after = |load: u64| (most - load.min(most)).max(least + load);
        let (network, (_, load)) = here.min_by_key(|(_, (_, load))| after(*load))?;
        (after(*load) + GAIN <= most).then_some((*network, cool))
    }
}

/// How the budget of inspection is shared out, in thousandths: a quarter evenly, so that none that begins is without, and
/// the rest by what each network has used of late, so that those that use all they have come to have the same.
pub fn shares(before: &[WorkerReport], after: &[WorkerReport]) -> Vec<(NetworkId, u64)> {
    let networks = |reports: &[WorkerReport]| -> BTreeMap<NetworkId, u64> {
        reports.iter().flat_map(|worker| &worker.networks).map(|network| (network.id, network.inspection_ns)).collect()
    };
    let (before, after) = (networks(before), networks(after));
    let used = |id: &NetworkId, now: u64| u128::from(now.saturating_sub(before.get(id).copied().unwrap_or(0)));
    let all: u128 = after.iter().map(|(id, now)| used(id, *now)).sum();
    let count = after.len().max(1) as u64;
    let share = |(id, now): (&NetworkId, &u64)| match all {
        0 => (*id, 1000 / count),
        all => (*id, 250 / count + (used(id, *now) * 750 / all) as u64),
    };
    after.iter().map(share).collect()
}

/// What a network took, in nanoseconds as the turns that were measured say.
fn cost(before: Option<&NetworkReport>, after: &NetworkReport) -> u64 {
    let then = before.map(|before| before.stats).unwrap_or_default();
    let packets = after.stats.packets.saturating_sub(then.packets);
    let ns = after.stats.measured_ns.saturating_sub(then.measured_ns);
    match after.stats.measured_packets.saturating_sub(then.measured_packets) {
        // Alone on its worker it is not measured, and need not be.
        0 => packets,
        measured => (u128::from(ns) * u128::from(packets) / u128::from(measured)) as u64,
    }
}

/// Remembers what earlier looks have said.
#[derive(Debug, Default)]
pub struct Balancer {
    wanted: Option<(NetworkId, usize)>,
    times: u32,
    rest: u32,
    looks: u64,
    /// When networks have moved.
    moved: BTreeMap<NetworkId, u64>,
}

impl Balancer {
    /// The move to be made after a look. `held`: networks that stay where they are.
    pub fn look(&mut self, loads: &Loads, held: &BTreeSet<NetworkId>) -> Option<(NetworkId, usize)> {
        self.looks += 1;
        self.moved.retain(|_, at| *at + STAY > self.looks);
        if self.rest > 0 {
            self.rest -= 1;
            return None;
        }
        let found = loads.best_move(|network| held.contains(&network) || self.moved.contains_key(&network));
        self.times = if found.is_some() && found == self.wanted { self.times + 1 } else { 1 };
        self.wanted = found;
        let (network, worker) = found.filter(|_| self.times >= PATIENCE)?;
        (self.times, self.wanted, self.rest) = (0, None, REST);
        self.moved.insert(network, self.looks);
        Some((network, worker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::{NetworkStats, WorkerStats};

    fn loads(workers: &[u64], networks: &[(u16, usize, u64)]) -> Loads {
        let networks = networks.iter().map(|&(id, worker, load)| (NetworkId(id), (worker, load)));
        Loads { workers: workers.to_vec(), networks: networks.collect() }
    }

    fn looks(balancer: &mut Balancer, loads: &Loads, times: usize) -> Vec<(NetworkId, usize)> {
        (0..times).filter_map(|_| balancer.look(loads, &BTreeSet::new())).collect()
    }

    #[test]
    fn the_network_moves_that_evens_out_best_and_only_after_patience() {
        let uneven = loads(&[950, 50], &[(0, 0, 500), (1, 0, 430), (2, 0, 20), (3, 1, 50)]);
        let mut balancer = Balancer::default();
        assert_eq!(looks(&mut balancer, &uneven, 2), []);
        assert_eq!(looks(&mut balancer, &uneven, 1), [(NetworkId(1), 1)]);
        assert_eq!(looks(&mut balancer, &uneven, REST as usize), [], "then it rests");
    }

    #[test]
    fn what_does_not_help_is_not_done() {
        for still in [
            // One network has all: it would only take its load along.
            loads(&[1000, 0], &[(0, 0, 1000)]),
            // There is time enough.
            loads(&[590, 0], &[(0, 0, 300), (1, 0, 290)]),
            // Even enough.
            loads(&[700, 650], &[(0, 0, 350), (1, 0, 350), (2, 1, 650)]),
            loads(&[], &[]),
        ] {
            assert_eq!(looks(&mut Balancer::default(), &still, 20), [], "{still:?}");
        }
    }

    #[test]
    fn what_is_held_or_has_just_moved_stays() {
        let uneven = loads(&[900, 0], &[(0, 0, 450), (1, 0, 450)]);
        let mut balancer = Balancer::default();
        let held = BTreeSet::from([NetworkId(0), NetworkId(1)]);
        assert_eq!((0..20).filter_map(|_| balancer.look(&uneven, &held)).count(), 0);
        let back = loads(&[0, 900], &[(0, 1, 450), (1, 1, 450)]);
        let moves: Vec<_> = (0..40)
            .filter_map(|look| balancer.look(if look % 2 == 0 { &uneven } else { &back }, &BTreeSet::new()))
            .collect();
        assert_eq!(moves, [], "a load that jumps about is waited for");
        let first = looks(&mut balancer, &uneven, STAY as usize);
        let distinct: BTreeSet<NetworkId> = first.iter().map(|(network, _)| *network).collect();
        assert_eq!(first.len(), distinct.len(), "no network twice within a minute: {first:?}");
    }

    #[test]
    fn the_budget_follows_use_and_leaves_something_for_all() {
        let at = |ns: [u64; 3]| {
            let network =
                |(id, inspection_ns)| NetworkReport { id: NetworkId(id), inspection_ns, ..Default::default() };
            vec![WorkerReport { networks: (0..).zip(ns).map(network).collect(), ..WorkerReport::default() }]
        };
        let of =
            |before, after| -> Vec<u64> { shares(&at(before), &at(after)).iter().map(|(_, share)| *share).collect() };
        assert_eq!(of([5, 5, 5], [5, 5, 5]), [333; 3]);
        assert_eq!(of([0; 3], [300, 100, 0]), [83 + 562, 83 + 187, 83]);
        // Two that use all that they have come to have the same.
        let mut has = [900, 100, 0];
        for _ in 0..40 {
            has = of([0; 3], has).try_into().expect("three");
            has[2] = 0;
        }
        assert!(has[0].abs_diff(has[1]) < 10, "{has:?}");
        assert!(of([0; 3], has).iter().sum::<u64>() <= 1000);
    }

    #[test]
    fn loads_are_shares_of_the_time_between_two_looks() {
        let network = |id, packets, measured_ns, measured_packets| NetworkReport {
            id: NetworkId(id),
            stats: NetworkStats { packets, measured_ns, measured_packets, ..NetworkStats::default() },
            ..NetworkReport::default()
        };
        let worker =
            |busy_ns, networks| WorkerReport { stats: WorkerStats { busy_ns, ..WorkerStats::default() }, networks };
        let before = [worker(0, vec![network(0, 0, 0, 0), network(1, 0, 0, 0)]), worker(5, vec![network(2, 10, 0, 0)])];
        let after = [
            worker(800_000_000, vec![network(0, 1000, 30_000, 100), network(1, 1000, 10_000, 100)]),
            worker(100_000_005, vec![network(2, 5010, 0, 0)]),
        ];
        let found = Loads::between(&before, &after, Duration::from_secs(1));
        assert_eq!(found, loads(&[800, 100], &[(0, 0, 600), (1, 0, 200), (2, 1, 100)]));
    }
}
