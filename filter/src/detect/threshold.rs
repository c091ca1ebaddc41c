//! How often a rule's match is told: `threshold`, `detection_filter`, `rate_filter` and `suppress`.
//!
//! Counts are kept for all flows of a worker, by rule and by what it tracks. The table is bounded; when it is full of
//! counts that still run, a match that has none is told as if the rule had no threshold. Ports that `unique_on` counts
//! are remembered, [`PORTS`] of all counts together; where there is no room for another one, each match counts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use weir_ids_rules::AddressSet;
use weir_ids_rules::rule::{Action, Threshold, ThresholdKind, Track, UniqueOn};
use weir_wire::Instant;

use crate::event::{Signature, Tuple};

/// Counts kept at a time.
const COUNTS: usize = 65_536;
/// Ports remembered at a time.
const PORTS: usize = 1 << 20;

/// What a threshold makes of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is told and acts.
    Tell,
    /// It acts, but it has been told often enough.
    Silent,
    /// It neither acts nor is told.
    Ignore,
}

/// `suppress`: matches that are not told.
#[derive(Clone, Debug)]
pub struct Suppression {
    /// Whose address: `Source`, `Destination`, `Both` for either; `Rule` for all matches.
    pub track: Track,
    /// The addresses.
    pub addresses: std::sync::Arc<AddressSet>,
}

impl Suppression {
    /// Whether a match by a packet with this tuple is not told.
    pub fn holds(&self, packet: &Tuple) -> bool {
        match self.track {
            Track::Source => self.addresses.contains(packet.source),
            Track::Destination => self.addresses.contains(packet.destination),
            Track::Both => self.addresses.contains(packet.source) || self.addresses.contains(packet.destination),
            Track::Rule | Track::Flow => true,
        }
    }
}

/// `rate_filter`: another action when there are many matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateFilter {
    /// What is counted together.
    pub track: Track,
    /// Matches that are allowed in the time.
    pub count: u32,
    /// The time.
    pub seconds: u32,
    /// The action taken beyond that.
    pub action: Action,
    /// Seconds for which it is taken.
    pub timeout: u32,
}

/// Kinds of counts: of thresholds, and of rate filters.
const MATCHES: u8 = 0;
const RATES: u8 = 1;

/// Rule by `gid` and `sid`, kind of count, flow, and the addresses tracked.
type Key = (u32, u32, u8, u64, Option<IpAddr>, Option<IpAddr>);

#[derive(Debug)]
struct Count {
    start: Instant,
    matches: u32,
    seconds: u32,
    /// Backoff: the match that is told next. Rate filter: 1 while the other action is taken.
    next: u32,
    /// Rate filter: since when the other action is taken.
    since: Instant,
    /// Ports of the matches that were counted, in order, where the same one counts once.
    ports: Vec<u16>,
}

/// The counts of one worker.
#[derive(Debug, Default)]
pub struct Thresholds {
    counts: BTreeMap<Key, Count>,
    swept: Instant,
    /// Ports that counts remember.
    ports: usize,
}

impl Thresholds {
    /// Counts a match of the rule by a packet with this tuple in this flow.
    pub fn count(&mut self, now: Instant, threshold: &Threshold, of: (&Signature, &Tuple, u64)) -> Verdict {
        let key = key(threshold.track, of, MATCHES);
        // A backoff has no time after which it begins anew.
        let seconds = if threshold.kind == ThresholdKind::Backoff { u32::MAX } else { threshold.seconds };
        let room = self.ports < PORTS;
        let Some(count) = self.find(now, key, seconds) else { return Verdict::Tell };
        let port = threshold.unique_on.and_then(|unique| port(unique, of.1));
        let fresh = port.is_none_or(|port| count.sees(port, room));
        count.matches = count.matches.saturating_add(u32::from(fresh));
        let verdict = count.verdict(threshold);
        self.ports += usize::from(fresh && room && port.is_some());
        verdict
    }

    /// Counts a match for a rate filter; the action to be taken in place of the rule's own.
    pub fn rate(&mut self, now: Instant, filter: &RateFilter, of: (&Signature, &Tuple, u64)) -> Option<Action> {
        let key = key(filter.track, of, RATES);
        let seconds = Duration::from_secs(filter.seconds.into());
        // The count begins anew below; the entry is kept for as long as the other action may be taken, where room is short.
        let count = self.find(now, key, filter.seconds.saturating_add(filter.timeout))?;
        if count.next == 1 {
            // Matches of this time are not counted, nor is the one that finds it over.
            // Its length is told in whole seconds.
            let [now, since] = [now, count.since].map(|time| time.since(Instant::ZERO).as_secs());
            if now.saturating_sub(since) <= u64::from(filter.timeout) {
                return Some(filter.action);
            }
            count.next = 0;
            return None;
        }
        if count.matches > 0 && now.since(count.start) > seconds {
            (count.start, count.matches) = (now, 0);
        }
        count.matches = count.matches.saturating_add(1);
        if count.matches <= filter.count {
            return None;
        }
        (count.next, count.since) = (1, now);
        Some(filter.action)
    }

    /// The running count of `key`, that of a threshold begun anew where its time is over; `None` where the table is full.
    fn find(&mut self, now: Instant, key: Key, seconds: u32) -> Option<&mut Count> {
        if self.counts.len() >= COUNTS && !self.counts.contains_key(&key) {
            // Looking through a full table is worth it once a second.
            if now.since(self.swept) >= Duration::from_secs(1) {
                self.swept = now;
                self.counts.retain(|_, count| !count.is_over(now));
                self.ports = self.counts.values().map(|count| count.ports.len()).sum();
            }
            if self.counts.len() >= COUNTS {
                return None;
            }
        }
        let fresh = || Count { start: now, matches: 0, seconds, next: 0, since: now, ports: Vec::new() };
        let count = self.counts.entry(key).or_insert_with(fresh);
        if key.2 == MATCHES && count.is_over(now) {
            self.ports = self.ports.saturating_sub(count.ports.len());
            *count = fresh();
        }
        Some(count)
    }
}

/// The port that tells a match apart from others; none of protocols without ports.
fn port(unique_on: UniqueOn, packet: &Tuple) -> Option<u16> {
    matches!(packet.protocol, 6 | 17 | 132).then_some(match unique_on {
        UniqueOn::SourcePort => packet.source_port,
        UniqueOn::DestinationPort => packet.destination_port,
    })
}

fn key(track: Track, (rule, packet, flow): (&Signature, &Tuple, u64), kind: u8) -> Key {
    let (flow, source, destination) = match track {
        Track::Source => (0, Some(packet.source), None),
        Track::Destination => (0, None, Some(packet.destination)),
        // The pair is the same in both directions.
        Track::Both => (0, Some(packet.source.min(packet.destination)), Some(packet.source.max(packet.destination))),
        Track::Rule => (0, None, None),
        Track::Flow => (flow, None, None),
    };
    (rule.gid, rule.sid, kind, flow, source, destination)
}

impl Count {
    /// Whether a port is another one than those seen; it is remembered where there is room.
    fn sees(&mut self, port: u16, room: bool) -> bool {
        let Err(at) = self.ports.binary_search(&port) else { return false };
        if room {
            self.ports.insert(at, port);
        }
        true
    }

    /// What the newest match comes to.
    fn verdict(&mut self, threshold: &Threshold) -> Verdict {
        let reached = self.matches >= threshold.count;
        match threshold.kind {
            ThresholdKind::Limit if self.matches > threshold.count => Verdict::Silent,
            ThresholdKind::Limit => Verdict::Tell,
            ThresholdKind::Threshold if reached => {
                self.matches = 0;
                Verdict::Tell
            }
            ThresholdKind::Both if self.matches == threshold.count => Verdict::Tell,
            ThresholdKind::Both if reached => Verdict::Silent,
            ThresholdKind::Filter if self.matches > threshold.count => Verdict::Tell,
            ThresholdKind::Backoff => {
                let next = if self.next == 0 { threshold.count } else { self.next };
                if self.matches < next {
                    return if self.next == 0 { Verdict::Ignore } else { Verdict::Silent };
                }
                self.next = next.saturating_mul(threshold.multiplier.max(1)).max(next.saturating_add(1));
                Verdict::Tell
            }
            ThresholdKind::Threshold | ThresholdKind::Both | ThresholdKind::Filter => Verdict::Ignore,
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        now.since(self.start.max(self.since)) > Duration::from_secs(self.seconds.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::*;

    fn signature(sid: u32) -> Signature {
        Signature { gid: 1, sid, ..Signature::default() }
    }

    fn tuple(last: u32) -> Tuple {
        let address = |n| IpAddr::from(std::net::Ipv4Addr::from_bits(n));
        Tuple { source: address(last), destination: address(1), source_port: 1, destination_port: 2, protocol: 17 }
    }

    /// The verdicts on matches at these seconds, with a count of 2 in 10 seconds.
    #[track_caller]
    fn check(kind: ThresholdKind, seconds: &[u64], expected: &[Verdict]) {
        let threshold = Threshold { kind, track: Track::Source, count: 2, seconds: 10, multiplier: 2, unique_on: None };
        let mut table = Thresholds::default();
        let verdicts: Vec<_> = seconds
            .iter()
            .map(|&s| table.count(Instant::from_secs(s), &threshold, (&signature(1), &tuple(9), 0)))
            .collect();
        assert_eq!(verdicts, expected);
    }

    #[test]
    fn each_kind_counts_in_its_way() {
        let seconds = [100, 101, 102, 103, 104, 111, 112, 113];
        check(ThresholdKind::Limit, &seconds, &[Tell, Tell, Silent, Silent, Silent, Tell, Tell, Silent]);
        check(ThresholdKind::Threshold, &seconds, &[Ignore, Tell, Ignore, Tell, Ignore, Ignore, Tell, Ignore]);
        check(ThresholdKind::Both, &seconds, &[Ignore, Tell, Silent, Silent, Silent, Ignore, Tell, Silent]);
        check(ThresholdKind::Filter, &seconds, &[Ignore, Ignore, Tell, Tell, Tell, Ignore, Ignore, Tell]);
        check(ThresholdKind::Backoff, &seconds, &[Ignore, Tell, Silent, Tell, Silent, Silent, Silent, Tell]);
    }

    #[test]
    fn the_same_port_counts_once_where_ports_are_counted() {
        let (kind, track) = (ThresholdKind::Filter, Track::Source);
        let threshold = |unique_on| Threshold { kind, track, count: 2, seconds: 10, multiplier: 0, unique_on };
        let told = |unique_on, ports: &[(u64, u16)], protocol| {
            let mut table = Thresholds::default();
            let mut count = |(second, port)| {
                let packet = Tuple { destination_port: port, protocol, ..tuple(9) };
                table.count(Instant::from_secs(second), &threshold(unique_on), (&signature(1), &packet, 0)) == Tell
            };
            ports.iter().map(|&at| count(at)).collect::<Vec<bool>>()
        };
        let ports = [(1, 80), (2, 80), (3, 81), (4, 80), (5, 443), (6, 80), (20, 443), (21, 443)];
        let (yes, no) = (true, false);
        let destination = Some(UniqueOn::DestinationPort);
        assert_eq!(told(destination, &ports, 6), [no, no, no, no, yes, yes, no, no]);
        assert_eq!(told(Some(UniqueOn::SourcePort), &ports, 6), [no; 8], "one source port");
        assert_eq!(told(None, &ports, 6), [no, no, yes, yes, yes, yes, no, no]);
        assert_eq!(told(destination, &ports, 1), told(None, &ports, 1), "ICMP has no ports");
    }

    #[test]
    fn ports_are_remembered_within_bounds_and_forgotten_with_their_count() {
        let unique_on = Some(UniqueOn::DestinationPort);
        let threshold = Threshold {
            kind: ThresholdKind::Filter,
            track: Track::Source,
            count: u32::MAX,
            seconds: 10,
            multiplier: 0,
            unique_on,
        };
        let mut table = Thresholds::default();
        let scan = |table: &mut Thresholds, second, source: u32| {
            for port in 0..=u16::MAX {
                let packet = Tuple { destination_port: port, ..tuple(source) };
                table.count(Instant::from_secs(second), &threshold, (&signature(1), &packet, 0));
            }
        };
        (0..20).for_each(|source| scan(&mut table, 1, source));
        assert_eq!(table.ports, PORTS);
        scan(&mut table, 100, 0);
        assert_eq!(table.ports, PORTS - 1, "its own ports made room for all but the first");
        assert_eq!(table.ports, table.counts.values().map(|count| count.ports.len()).sum::<usize>());
    }

    #[test]
    fn beyond_the_rate_the_other_action_is_taken_until_the_timeout() {
        let filter = RateFilter { track: Track::Rule, count: 2, seconds: 10, action: Action::Drop, timeout: 20 };
        let mut table = Thresholds::default();
        let mut at = |second| table.rate(Instant::from_secs(second), &filter, (&signature(1), &tuple(9), 0));
        let drop = Some(Action::Drop);
        assert_eq!([at(100), at(101), at(102), at(120), at(122)], [None, None, drop, drop, drop]);
        // The time is over, the next match begins a count of its own.
        assert_eq!([at(123), at(124), at(125), at(126), at(140)], [None, None, None, drop, drop]);
        assert_eq!([at(900), at(901), at(902), at(903)], [None, None, None, drop], "however late it is found over");
    }

    #[test]
    fn sources_and_rules_are_counted_apart() {
        let threshold = Threshold {
            kind: ThresholdKind::Limit,
            track: Track::Source,
            count: 1,
            seconds: 10,
            multiplier: 0,
            unique_on: None,
        };
        let mut table = Thresholds::default();
        let mut count = |sid, source| table.count(Instant::ZERO, &threshold, (&signature(sid), &tuple(source), 0));
        assert_eq!([count(1, 1), count(1, 2), count(2, 1), count(1, 1)], [Tell, Tell, Tell, Silent]);
    }

    #[test]
    fn a_full_table_tells_rather_than_forgets_and_empties_with_time() {
        let threshold = Threshold {
            kind: ThresholdKind::Both,
            track: Track::Source,
            count: 2,
            seconds: 10,
            multiplier: 0,
            unique_on: None,
        };
        let mut table = Thresholds::default();
        let mut count =
            |second, source| table.count(Instant::from_secs(second), &threshold, (&signature(1), &tuple(source), 0));
        for source in 0..COUNTS as u32 {
            assert_eq!(count(100, source), Ignore);
        }
        assert_eq!(count(100, u32::MAX), Tell);
        assert_eq!(count(100, 5), Tell);
        assert_eq!(count(111, u32::MAX), Ignore);
        assert_eq!(table.counts.len(), 1);
    }
}
