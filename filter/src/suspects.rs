//! Who scans and who floods: a bounded table of sources that open flows nobody answers.
//!
//! A source is an address behind a port on a switch. What fails of it (refused by a rule, reset, unreachable, never
//! answered) leaves a mark in two sketches of 256 bits, for ports and for hosts: the number of bits tells how many
//! different ones there were, whatever came twice. New flows are counted by the second against those that are answered,
//! so a busy client of servers that answer is no suspect. The table holds [`SOURCES`] sources in sets of [`WAYS`]; a
//! source that finds its set full takes the place of the one that was silent longest, and blocked ones stay.

use std::net::IpAddr;
use std::time::Duration;

use weir_wire::{Instant, PortId, SwitchId};

/// Sources that are remembered.
pub const SOURCES: usize = 2048;
/// Sources of a set.
const WAYS: usize = 4;
/// How long a finding about a source is not told again.
const QUIET: Duration = Duration::from_secs(30);
/// Bits of a sketch.
const BITS: u32 = 256;
/// Different ports or hosts that a sketch can tell from more.
pub const DISTINCT_MAX: u32 = 500;

/// What counts as a scan or a flood. 0 switches a thing off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detection {
    /// Different ports that fail within the window: a scan of ports.
    pub ports: u32,
    /// Different hosts: a scan of hosts.
    pub hosts: u32,
    /// How long failures are added up.
    pub window: Duration,
    /// New flows a second that nobody answers, of one source: TCP, UDP, ICMP.
    pub rates: [u32; 3],
    /// Half-open connections toward one port of a switch: a flood by however many sources.
    pub half_open: u32,
    /// How long a source that was found may open nothing; zero: it is only told of.
    pub block: Duration,
}

impl Default for Detection {
    fn default() -> Detection {
        Detection {
            ports: 50,
            hosts: 50,
            window: Duration::from_secs(60),
            rates: [500; 3],
            half_open: 1000,
            block: Duration::ZERO,
        }
    }
}

/// A source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// The switch.
    pub switch: SwitchId,
    /// The port that it is behind.
    pub port: PortId,
    /// Its address.
    pub address: IpAddr,
}

/// What a source does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It tries ports.
    PortScan,
    /// It tries hosts.
    HostScan,
    /// It opens TCP connections that nobody answers.
    SynFlood,
    /// It sends UDP that nobody answers.
    UdpFlood,
    /// It sends ICMP queries that nobody answers.
    IcmpFlood,
}

impl Kind {
    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            Kind::PortScan => "port-scan",
            Kind::HostScan => "host-scan",
            Kind::SynFlood => "syn-flood",
            Kind::UdpFlood => "udp-flood",
            Kind::IcmpFlood => "icmp-flood",
        }
    }
}

/// What flows are made of, as far as floods go: a place in [`Detection::rates`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP queries.
    Icmp,
}

impl Class {
    fn flood(self) -> Kind {
        match self {
            Class::Tcp => Kind::SynFlood,
            Class::Udp => Kind::UdpFlood,
            Class::Icmp => Kind::IcmpFlood,
        }
    }
}

/// A source was found doing something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Who.
    pub who: Who,
    /// What.
    pub kind: Kind,
    /// Different ports or hosts; new flows a second of floods.
    pub number: u32,
    /// How long it took.
    pub within: Duration,
    /// It may open nothing until then.
    pub blocked_until: Option<Instant>,
}

/// Bits that different values leave.
#[derive(Clone, Copy, Debug, Default)]
struct Sketch([u64; 4]);

impl Sketch {
    /// Leaves the mark of a value; whether there was none like it.
    fn add(&mut self, hash: u64) -> bool {
        let bit = 1 << (hash & 63);
        let Some(word) = self.0.get_mut((hash >> 6 & 3) as usize) else { return false };
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    fn ones(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// How many different values left these bits, about (linear counting: Whang and others, 1990).
    fn distinct(&self) -> u32 {
        let zeros = (BITS - self.ones()).max(1);
        (f64::from(BITS) * (f64::from(BITS) / f64::from(zeros)).ln()).round() as u32
    }
}

/// What is remembered of a source.
#[derive(Clone, Copy, Debug)]
struct Source {
    who: Who,
    last: Instant,
    since: Instant,
    ports: Sketch,
    hosts: Sketch,
    /// Different ports and hosts, as the sketches tell.
    seen: [u32; 2],
    second: Instant,
    begun: [u32; 3],
    answered: [u32; 3],
    quiet: [Instant; 5],
    blocked_until: Instant,
}

/// The sources.
#[derive(Debug)]
pub struct Suspects {
    sources: Box<[Option<Source>]>,
    seed: u64,
    /// The place of the source that was asked for last: floods come from one after the other.
    latest: usize,
    /// Until when any source is blocked: saves the look-up for most.
    blocks_until: Instant,
    evicted: u64,
}

impl Suspects {
    /// None. `seed` keys the places.
    pub fn new(seed: u64) -> Suspects {
        Suspects {
            sources: vec![None; SOURCES].into_boxed_slice(),
            seed,
            blocks_until: Instant::ZERO,
            evicted: 0,
            latest: 0,
        }
    }

    /// Sources that made room for others.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Whether a source may open nothing.
    #[inline]
    pub fn is_blocked(&self, now: Instant, who: &Who) -> bool {
        now < self.blocks_until && self.find(who).is_some_and(|source| now < source.blocked_until)
    }

    /// The sources that are blocked, each with the time until when.
    pub fn blocked(&self, now: Instant) -> Vec<(Who, Instant)> {
        let sources = self.sources.iter().flatten().filter(|source| now < source.blocked_until);
        sources.map(|source| (source.who, source.blocked_until)).collect()
    }

    /// A flow of a source began.
    pub fn begun(&mut self, now: Instant, who: Who, class: Class, detection: &Detection) -> Option<Finding> {
        let place = class as usize;
        let rate = detection.rates.get(place).copied().unwrap_or(0);
        let source = self.source(now, who);
        let elapsed = now.since(source.second);
        let mut found = None;
        if elapsed >= Duration::from_secs(1) {
            let count = |list: &[u32; 3]| list.get(place).copied().unwrap_or(0);
            let unanswered = u64::from(count(&source.begun).saturating_sub(count(&source.answered)));
            let a_second =
                unanswered.saturating_mul(1000) / u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
            if rate > 0 && a_second >= u64::from(rate) {
                found = Some((u32::try_from(a_second).unwrap_or(u32::MAX), elapsed));
            }
            (source.second, source.begun, source.answered) = (now, [0; 3], [0; 3]);
        }
        if let Some(begun) = source.begun.get_mut(place) {
            *begun = begun.saturating_add(1);
        }
        let (number, within) = found?;
        self.find_out(now, who, class.flood(), (number, within), detection)
    }

    /// A flow of a source was answered.
    pub fn answered(&mut self, who: &Who, class: Class) {
        if let Some(source) = self.find_mut(who)
            && let Some(answered) = source.answered.get_mut(class as usize)
        {
            *answered = answered.saturating_add(1);
        }
    }

    /// What a source tried at a host and port came to nothing.
    pub fn failed(
        &mut self,
        now: Instant,
        who: Who,
        (host, port): (IpAddr, u16),
        detection: &Detection,
    ) -> Option<Finding> {
        let (seed, limits) = (self.seed, [detection.ports, detection.hosts]);
        let source = self.source(now, who);
        if now.since(source.since) > detection.window {
            (source.since, source.ports, source.hosts) = (now, Sketch::default(), Sketch::default());
            source.seen = [0; 2];
        }
        // Most failures of a source that has many of them are like others before.
        if source.ports.add(mixed(seed ^ u64::from(port))) {
            source.seen[0] = source.ports.distinct();
        }
        if source.hosts.add(mixed(seed ^ word(host))) {
            source.seen[1] = source.hosts.distinct();
        }
        let within = now.since(source.since);
        let which = [Kind::PortScan, Kind::HostScan].into_iter().zip(source.seen).zip(limits);
        let over = which.filter(|&((_, seen), limit)| limit > 0 && seen >= limit);
        let (kind, number) = over.map(|(found, _)| found).max_by_key(|&(_, seen)| seen)?;
        if source.quiet.get(kind as usize).is_some_and(|&until| now < until) {
            return None;
        }
        self.find_out(now, who, kind, (number, within), detection)
    }

    /// Takes note of a flow that goes on unanswered at this rate of packets a second.
    pub fn pours(
        &mut self,
        now: Instant,
        who: Who,
        class: Class,
        a_second: u64,
        detection: &Detection,
    ) -> Option<Finding> {
        let rate = detection.rates.get(class as usize).copied().unwrap_or(0);
        if rate == 0 || a_second < u64::from(rate) {
            return None;
        }
        let number = u32::try_from(a_second).unwrap_or(u32::MAX);
        self.source(now, who);
        self.find_out(now, who, class.flood(), (number, Duration::from_secs(1)), detection)
    }

    /// Tells and blocks, unless that was done lately.
    fn find_out(
        &mut self,
        now: Instant,
        who: Who,
        kind: Kind,
        (number, within): (u32, Duration),
        detection: &Detection,
    ) -> Option<Finding> {
        let source = self.find_mut(&who)?;
        let quiet = source.quiet.get_mut(kind as usize).filter(|quiet| now >= **quiet)?;
        // A source that goes on behind its block is blocked again at once.
        *quiet = now.after(if detection.block.is_zero() { QUIET } else { detection.block });
        let blocked_until = (!detection.block.is_zero()).then(|| now.after(detection.block));
        if let Some(until) = blocked_until {
            source.blocked_until = until;
            // What is found after the block is found anew.
            (source.ports, source.hosts) = (Sketch::default(), Sketch::default());
            source.seen = [0; 2];
            self.blocks_until = self.blocks_until.max(until);
        }
        Some(Finding { who, kind, number, within, blocked_until })
    }

    fn set(&self, who: &Who) -> std::ops::Range<usize> {
        let place = u64::from(who.switch.0) << 16 | u64::from(who.port.0);
        let set = mixed(self.seed ^ word(who.address) ^ mixed(place)) as usize % (SOURCES / WAYS);
        set * WAYS..(set + 1) * WAYS
    }

    fn find(&self, who: &Who) -> Option<&Source> {
        self.sources.get(self.set(who))?.iter().flatten().find(|source| source.who == *who)
    }

    fn find_mut(&mut self, who: &Who) -> Option<&mut Source> {
        let set = self.set(who);
        self.sources.get_mut(set)?.iter_mut().flatten().find(|source| source.who == *who)
    }

    /// The source's place, another's where it has none.
    fn source(&mut self, now: Instant, who: Who) -> &mut Source {
        let is_it = |place: Option<&Option<Source>>| matches!(place, Some(Some(source)) if source.who == who);
        if !is_it(self.sources.get(self.latest)) {
            let set = self.set(&who);
            self.latest = match set.clone().find(|&at| is_it(self.sources.get(at))) {
                Some(at) => at,
                None => self.make_room(now, set),
            };
        }
        let source = self.sources[self.latest].get_or_insert_with(|| Source::new(now, who));
        source.last = now;
        source
    }

    /// A place of a set that is empty, or becomes empty by that.
    fn make_room(&mut self, now: Instant, set: std::ops::Range<usize>) -> usize {
        let oldest = |at: &usize| match self.sources.get(*at) {
            Some(Some(source)) => (now < source.blocked_until, source.last),
            _ => (false, Instant::ZERO),
        };
        let at = set.clone().min_by_key(oldest).unwrap_or(set.start);
        if self.sources[at].take().is_some() {
            self.evicted += 1;
        }
        at
    }
}

impl Source {
    fn new(now: Instant, who: Who) -> Source {
        Source {
            who,
            last: now,
            since: now,
            ports: Sketch::default(),
            hosts: Sketch::default(),
            seen: [0; 2],
            second: now,
            begun: [0; 3],
            answered: [0; 3],
            quiet: [Instant::ZERO; 5],
            blocked_until: Instant::ZERO,
        }
    }
}

fn word(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => u64::from(u32::from(v4)),
        IpAddr::V6(v6) => {
            let n = u128::from(v6);
            mixed((n >> 64) as u64) ^ n as u64
        }
    }
}

/// SplitMix64's finish.
fn mixed(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(n: u32) -> Who {
        Who { switch: SwitchId(1), port: PortId(2), address: IpAddr::V4(n.into()) }
    }

    fn at_ms(ms: u64) -> Instant {
        Instant::from_millis(1_000_000 + ms)
    }

    fn host(n: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + n).into())
    }

    #[test]
    fn different_ports_are_a_scan_and_the_same_again_is_none() {
        let (mut suspects, detection) = (Suspects::new(5), Detection::default());
        for n in 0..10_000u64 {
            assert_eq!(suspects.failed(at_ms(n), who(1), (host(1), (n % 20) as u16), &detection), None);
        }
        let found = (0..60u64).find_map(|n| suspects.failed(at_ms(n), who(2), (host(1), n as u16 + 1), &detection));
        let found = found.expect("it scans");
        assert_eq!((found.kind, found.who, found.blocked_until), (Kind::PortScan, who(2), None));
        assert!((45..=55).contains(&found.number), "{}", found.number);
        let found = (0..60).find_map(|n| suspects.failed(at_ms(n.into()), who(3), (host(n), 443), &detection));
        assert_eq!(found.map(|found| found.kind), Some(Kind::HostScan));
        // Slowly enough, it is none.
        let slow = (0..1000u64).find_map(|n| suspects.failed(at_ms(n * 2000), who(4), (host(1), n as u16), &detection));
        assert_eq!(slow, None);
    }

    #[test]
    fn flows_that_are_answered_are_no_flood() {
        let (mut suspects, detection) = (Suspects::new(5), Detection::default());
        let mut found = [0, 0];
        for n in 0..5000u64 {
            found[0] += u32::from(suspects.begun(at_ms(n), who(1), Class::Tcp, &detection).is_some());
            suspects.answered(&who(1), Class::Tcp);
            found[1] += u32::from(suspects.begun(at_ms(n), who(2), Class::Udp, &detection).is_some());
        }
        // Once within the time that it is not told again.
        assert_eq!(found, [0, 1]);
    }

    #[test]
    fn a_blocked_source_opens_nothing_for_its_time_and_keeps_its_place() {
        let detection = Detection { block: Duration::from_secs(10), ..Detection::default() };
        let mut suspects = Suspects::new(5);
        let found = (0..60u64).find_map(|n| suspects.failed(at_ms(0), who(9), (host(1), n as u16), &detection));
        assert_eq!(found.and_then(|found| found.blocked_until), Some(at_ms(10_000)));
        for n in 0..100_000 {
            suspects.begun(at_ms(1), who(n + 100), Class::Tcp, &detection);
        }
        assert!(suspects.evicted() > 90_000);
        assert!(suspects.is_blocked(at_ms(9_999), &who(9)) && !suspects.is_blocked(at_ms(10_000), &who(9)));
        assert!(!suspects.is_blocked(at_ms(5), &who(100)));
        assert_eq!(suspects.blocked(at_ms(5)), [(who(9), at_ms(10_000))]);
    }

    #[test]
    fn the_sketch_tells_how_many_there_were() {
        for n in [1u32, 10, 50, 100, 200, DISTINCT_MAX] {
            let mut sketch = Sketch::default();
            let new = (0..n).filter(|&value| sketch.add(mixed(u64::from(value)))).count();
            assert_eq!(new as u32, sketch.ones());
            let distinct = sketch.distinct();
            assert!(distinct.abs_diff(n) <= n / 5 + 1, "{distinct} for {n}");
        }
    }
}
