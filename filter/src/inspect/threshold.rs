//! How often a rule's match is told: `threshold` and `detection_filter`.
//!
//! Counts are kept for all flows of an engine, by rule and by the addresses it tracks. The table is bounded; when it is
//! full of counts that still run, a match that has none is told as if the rule had no threshold.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use weir_ids_rules::rule::{Threshold, ThresholdKind, Track};
use weir_wire::Instant;

use crate::event::{Signature, Tuple};

/// Counts kept at a time.
const COUNTS: usize = 65_536;

/// What a threshold makes of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is told and acts.
    Tell,
    /// It acts, but it has been told often enough.
    Silent,
    /// It does not count as a match yet.
    Ignore,
}

/// Rule by `gid` and `sid`, and the addresses tracked.
type Key = (u32, u32, Option<IpAddr>, Option<IpAddr>);

#[derive(Clone, Copy, Debug)]
struct Count {
    start: Instant,
    matches: u32,
    seconds: u32,
}

/// The counts of one engine.
#[derive(Debug, Default)]
pub struct Thresholds {
    counts: BTreeMap<Key, Count>,
    swept: Instant,
}

impl Thresholds {
    /// Counts a match of the rule by a packet with this tuple.
    pub fn count(&mut self, now: Instant, threshold: Threshold, rule: &Signature, packet: &Tuple) -> Verdict {
        let (source, destination) = match threshold.track {
            Track::Source => (Some(packet.source), None),
            Track::Destination => (None, Some(packet.destination)),
            Track::Both => (Some(packet.source), Some(packet.destination)),
            Track::Rule | Track::Flow => (None, None),
        };
        let key = (rule.gid, rule.sid, source, destination);
        let Some(count) = self.find(now, key, threshold.seconds) else { return Verdict::Tell };
        count.matches = count.matches.saturating_add(1);
        let reached = count.matches >= threshold.count;
        match threshold.kind {
            ThresholdKind::Limit if count.matches > threshold.count => Verdict::Silent,
            ThresholdKind::Limit => Verdict::Tell,
            ThresholdKind::Threshold if reached => {
                count.matches = 0;
                Verdict::Tell
            }
            ThresholdKind::Both if count.matches == threshold.count => Verdict::Tell,
            ThresholdKind::Both if reached => Verdict::Silent,
            ThresholdKind::Filter if count.matches > threshold.count => Verdict::Tell,
            ThresholdKind::Threshold | ThresholdKind::Both | ThresholdKind::Filter | ThresholdKind::Backoff => {
                Verdict::Ignore
            },
        }
    }

    /// The running count of `key`, begun anew where its time is over; `None` where the table is full.
    fn find(&mut self, now: Instant, key: Key, seconds: u32) -> Option<&mut Count> {
        if self.counts.len() >= COUNTS && !self.counts.contains_key(&key) {
            // Looking through a full table is worth it once a second.
            if now.since(self.swept) >= Duration::from_secs(1) {
                self.swept = now;
                self.counts.retain(|_, count| !count.is_over(now));
            }
            if self.counts.len() >= COUNTS {
                return None;
            }
        }
        let fresh = Count { start: now, matches: 0, seconds };
        let count = self.counts.entry(key).or_insert(fresh);
        if count.is_over(now) {
            *count = fresh;
        }
        Some(count)
    }
}

impl Count {
    fn is_over(&self, now: Instant) -> bool {
        now.since(self.start) >= Duration::from_secs(self.seconds.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::*;

    fn signature(sid: u32) -> Signature {
        Signature { gid: 1, sid, rev: 1, severity: 1, ..Signature::default() }
    }

    fn tuple(last: u32) -> Tuple {
        let address = |n| IpAddr::from(std::net::Ipv4Addr::from_bits(n));
        Tuple { source: address(last), destination: address(1), source_port: 1, destination_port: 2, protocol: 17 }
    }

    /// The verdicts on matches at these seconds, with a count of 2 in 10 seconds.
    #[track_caller]
    fn check(kind: ThresholdKind, seconds: &[u64], expected: &[Verdict]) {
        let threshold = Threshold { kind, track: Track::Source, count: 2, seconds: 10, multiplier: 0 };
        let mut table = Thresholds::default();
        let verdicts: Vec<_> =
            seconds.iter().map(|&s| table.count(Instant::from_secs(s), threshold, &signature(1), &tuple(9))).collect();
        assert_eq!(verdicts, expected);
    }

    #[test]
    fn each_kind_counts_in_its_way() {
        let seconds = [100, 101, 102, 103, 104, 110, 111, 112];
        check(ThresholdKind::Limit, &seconds, &[Tell, Tell, Silent, Silent, Silent, Tell, Tell, Silent]);
        check(ThresholdKind::Threshold, &seconds, &[Ignore, Tell, Ignore, Tell, Ignore, Ignore, Tell, Ignore]);
        check(ThresholdKind::Both, &seconds, &[Ignore, Tell, Silent, Silent, Silent, Ignore, Tell, Silent]);
        check(ThresholdKind::Filter, &seconds, &[Ignore, Ignore, Tell, Tell, Tell, Ignore, Ignore, Tell]);
    }

    #[test]
    fn sources_and_rules_are_counted_apart() {
        let threshold = Threshold { kind: ThresholdKind::Limit, track: Track::Source, count: 1, seconds: 10, multiplier: 0 };
        let mut table = Thresholds::default();
        let mut count = |sid, source| table.count(Instant::ZERO, threshold, &signature(sid), &tuple(source));
        assert_eq!([count(1, 1), count(1, 2), count(2, 1), count(1, 1)], [Tell, Tell, Tell, Silent]);
    }

    #[test]
    fn a_full_table_tells_rather_than_forgets_and_empties_with_time() {
        let threshold = Threshold { kind: ThresholdKind::Both, track: Track::Source, count: 2, seconds: 10, multiplier: 0 };
        let mut table = Thresholds::default();
        let mut count =
            |second, source| table.count(Instant::from_secs(second), threshold, &signature(1), &tuple(source));
        for source in 0..COUNTS as u32 {
            assert_eq!(count(100, source), Ignore);
        }
        assert_eq!(count(100, u32::MAX), Tell);
        assert_eq!(count(100, 5), Tell);
        assert_eq!(count(111, u32::MAX), Ignore);
        assert_eq!(table.counts.len(), 1);
    }
}
