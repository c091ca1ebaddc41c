use std::collections::BTreeMap;

use weir_wire::{Instant, Offload, Packet, Pool, PortId};

use super::{GroupShare, Limit, QUEUE_MIN, QUEUE_PACKETS, Shaper, Share};

const GBIT: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;

/// A port whose senders offer packets for as long as they are awake.
struct Bench {
    shaper: Shaper,
    pool: Pool,
    now: Instant,
    sent: BTreeMap<u16, u64>,
}

impl Bench {
    fn new(limit: Limit, shares: &[(u16, Share)]) -> Bench {
        let shares = shares.iter().map(|&(port, share)| (PortId(port), share)).collect();
        let shaper = Shaper::new(limit, shares, Instant::ZERO);
        Bench { shaper, pool: Pool::default(), now: Instant::ZERO, sent: BTreeMap::new() }
    }

    fn packet(&mut self, sender: u16, bytes: usize) -> Packet {
        let buffer = self.pool.copy(&vec![0xa5; bytes]).unwrap();
        Packet::new(buffer, PortId(sender), Offload::default())
    }

    /// Lets `ms` milliseconds pass, in which each of `awake` (sender, bytes a packet) always has more to send.
    fn run(&mut self, ms: u64, awake: &[(u16, usize)]) {
        let end = Instant(self.now.0 + ms * MILLISECOND);
        while self.now < end {
            for &(sender, bytes) in awake {
                let mut burst: Vec<Packet> = (0..8).map(|_| self.packet(sender, bytes)).collect();
                self.shaper.accept(self.now, &mut burst, &mut self.pool);
            }
            let mut out = Vec::new();
            self.shaper.release(self.now, &mut out);
            for packet in out {
                *self.sent.entry(packet.port.0).or_default() += packet.len() as u64 * 8;
                self.pool.give(packet.buffer);
            }
            self.now = Instant(self.now.0 + MILLISECOND / 50);
        }
    }

    /// Bits a second that each sender got since the last time.
    fn rates(&mut self, ms: u64) -> BTreeMap<u16, f64> {
        std::mem::take(&mut self.sent)
            .into_iter()
            .map(|(sender, bits)| (sender, bits as f64 * 1000.0 / ms as f64))
            .collect()
    }
}

fn near(got: f64, wanted: f64) -> bool {
    (got / wanted - 1.0).abs() < 0.05
}

#[test]
fn guests_get_their_peak_when_others_sleep_and_their_guarantee_when_all_wake() {
    let share = Share { guarantee: GBIT, peak: 3 * GBIT, weight: 1 };
    let shares: Vec<(u16, Share)> = (1..=10).map(|guest| (guest, share)).collect();
    let mut bench = Bench::new(Limit::bits(10 * GBIT), &shares);
    bench.run(20, &[(4, 1500)]);
    bench.rates(20);
    bench.run(50, &[(4, 1500)]);
    let alone = bench.rates(50);
    assert!(near(alone[&4], 3.0 * GBIT as f64), "{alone:?}");
    let all: Vec<(u16, usize)> = (1..=10).map(|guest| (guest, if guest % 2 == 0 { 1500 } else { 700 })).collect();
    bench.run(20, &all);
    bench.rates(20);
    bench.run(100, &all);
    let rates = bench.rates(100);
    for guest in 1..=10 {
        assert!(near(rates[&guest], GBIT as f64), "guest {guest}: {rates:?}");
    }
}

#[test]
fn what_is_left_over_the_guarantees_goes_by_weight() {
    let shares = [
        (1, Share { guarantee: 2 * GBIT, peak: 0, weight: 1 }),
        (2, Share { guarantee: 0, peak: 0, weight: 3 }),
        (3, Share { guarantee: 0, peak: 0, weight: 1 }),
    ];
    let mut bench = Bench::new(Limit::bits(7 * GBIT), &shares);
    let all = [(1, 1500), (2, 1500), (3, 64 * 1024 - 1)];
    bench.run(20, &all);
    bench.rates(20);
    bench.run(200, &all);
    let rates = bench.rates(200);
    for (sender, wanted) in [(1, 3.0), (2, 3.0), (3, 1.0)] {
        assert!(near(rates[&sender], wanted * GBIT as f64), "sender {sender}: {rates:?}");
    }
}

#[test]
fn the_rate_of_the_port_is_held_and_used_up() {
    let mut bench = Bench::new(Limit::bits(GBIT), &[]);
    bench.run(50, &[(1, 1500)]);
    bench.rates(50);
    bench.run(200, &[(1, 1500)]);
    let rates = bench.rates(200);
    assert!(near(rates[&1], GBIT as f64), "{rates:?}");
    bench.shaper.set(Limit::bits(GBIT / 4), Vec::new(), bench.now);
    bench.run(50, &[(1, 1500)]);
    bench.rates(50);
    bench.run(200, &[(1, 1500)]);
    let rates = bench.rates(200);
    assert!(near(rates[&1], GBIT as f64 / 4.0), "changed live: {rates:?}");
}

#[test]
fn a_sender_that_comes_back_gets_no_credit_for_its_pause() {
    let mut bench = Bench::new(Limit::bits(2 * GBIT), &[]);
    bench.run(200, &[(1, 1500)]);
    bench.rates(200);
    bench.run(20, &[(1, 1500), (2, 1500)]);
    let rates = bench.rates(20);
    assert!((rates[&1] / rates[&2] - 1.0).abs() < 0.4, "{rates:?}");
}

#[test]
fn queues_are_bounded_and_what_does_not_fit_is_counted() {
    let mut bench = Bench::new(Limit::bits(1000), &[]);
    let mut burst: Vec<Packet> = (0..2000).map(|_| bench.packet(1, 64)).collect();
    burst.extend((0..10).map(|_| bench.packet(2, 60_000)).collect::<Vec<_>>());
    bench.shaper.accept(Instant::ZERO, &mut burst, &mut bench.pool);
    let fit = QUEUE_MIN as usize / 60_000;
    assert_eq!(bench.shaper.held(), QUEUE_PACKETS + fit);
    assert_eq!(bench.shaper.dropped() as usize, 2010 - QUEUE_PACKETS - fit);
    bench.shaper.clear(&mut bench.pool);
    assert_eq!((bench.shaper.held(), bench.pool.outstanding()), (0, 0));
    assert_eq!((bench.shaper.dropped(), bench.shaper.due()), (2010, None));
}

#[test]
fn it_says_when_it_wants_to_be_asked_again() {
    let mut bench = Bench::new(Limit { bits: 8_000_000, packets: 0, burst: 0 }, &[]);
    // The burst first, and one packet more.
    let mut burst: Vec<Packet> = (0..70).map(|_| bench.packet(1, 1000)).collect();
    bench.shaper.accept(Instant::ZERO, &mut burst, &mut bench.pool);
    let mut out = Vec::new();
    bench.shaper.release(Instant::ZERO, &mut out);
    assert_eq!(out.len(), 66, "64 KiB and what goes into debt");
    let due = bench.shaper.due().unwrap();
    let before = Instant(due.0 - 1000);
    bench.shaper.release(before, &mut out);
    assert_eq!(out.len(), 66);
    bench.shaper.release(due, &mut out);
    assert_eq!(out.len(), 67);
    out.drain(..).for_each(|packet| bench.pool.give(packet.buffer));
    bench.shaper.clear(&mut bench.pool);
    assert_eq!(bench.pool.outstanding(), 0);
}

fn group(share: Share, members: &[u16]) -> GroupShare {
    GroupShare { share, members: members.iter().map(|&port| PortId(port)).collect() }
}

/// What each of these senders gets of a busy port, in Gbit/s.
fn busy(bench: &mut Bench, awake: &[u16]) -> Vec<f64> {
    let all: Vec<(u16, usize)> = awake.iter().map(|&sender| (sender, 1500)).collect();
    bench.run(30, &all);
    bench.rates(30);
    bench.run(200, &all);
    let rates = bench.rates(200);
    awake.iter().map(|sender| rates.get(sender).copied().unwrap_or(0.0) / GBIT as f64).collect()
}

#[test]
fn a_group_counts_as_one_sender_however_many_it_has() {
    let mut bench = Bench::new(Limit::bits(8 * GBIT), &[]);
    bench.shaper.set_groups(vec![group(Share::default(), &[1, 2, 3])], bench.now);
    let rates = busy(&mut bench, &[1, 2, 3, 4]);
    for (got, wanted) in rates.iter().zip([4.0 / 3.0, 4.0 / 3.0, 4.0 / 3.0, 4.0]) {
        assert!(near(*got, wanted), "{rates:?}");
    }
    // One of it alone has all that the group has.
    let rates = busy(&mut bench, &[2, 4]);
    assert!(near(rates[0], 4.0) && near(rates[1], 4.0), "{rates:?}");
    // Changed while they send: three parts to one.
    bench.shaper.set_groups(vec![group(Share { weight: 3, ..Share::default() }, &[1, 2, 3])], bench.now);
    let rates = busy(&mut bench, &[1, 2, 3, 4]);
    for (got, wanted) in rates.iter().zip([2.0, 2.0, 2.0, 2.0]) {
        assert!(near(*got, wanted), "{rates:?}");
    }
    bench.shaper.set_groups(Vec::new(), bench.now);
    let rates = busy(&mut bench, &[1, 2, 3, 4]);
    assert!(rates.iter().all(|rate| near(*rate, 2.0)), "each for itself: {rates:?}");
}

#[test]
fn a_group_has_its_guarantee_and_its_peak_and_its_members_theirs() {
    let member = Share { guarantee: GBIT, peak: 0, weight: 1 };
    let mut bench = Bench::new(Limit::bits(10 * GBIT), &[(1, member)]);
    let tenant = Share { guarantee: 6 * GBIT, peak: 7 * GBIT, weight: 1 };
    bench.shaper.set_groups(vec![group(tenant, &[1, 2])], bench.now);
    // Ten others want the port too: the group has its six, of which one is the first member's before they share.
    let others: Vec<u16> = (1..=12).collect();
    let rates = busy(&mut bench, &others);
    let of_group = rates[0] + rates[1];
    assert!(of_group > 5.9 && of_group < 6.9, "{rates:?}");
    assert!(rates[0] >= 0.95 && rates[1] >= 0.95, "{rates:?}");
    // Alone it is stopped at its peak.
    let rates = busy(&mut bench, &[1, 2]);
    assert!(near(rates[0] + rates[1], 7.0), "{rates:?}");
    assert!(bench.shaper.due().is_some());
}
