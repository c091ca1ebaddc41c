//! `tag`: packets after a match that are told as well, of the same session or of a host.
//!
//! Tags of hosts are kept for all flows of a worker; their table is bounded: when it is full, a host is not tagged.

use std::collections::BTreeMap;
use std::net::IpAddr;

use weir_ids_rules::rule::{Tag, TagMetric, TagOf};
use weir_wire::Instant;

use crate::event::Tuple;

/// Hosts tagged at a time.
const HOSTS: usize = 4096;

/// Matches that begin a tag anew.
const AGAIN: u8 = 10;

/// What is left of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tagged {
    metric: TagMetric,
    /// How much is told, the packet that matched counted.
    count: u64,
    used: u64,
    since: Instant,
    /// The packet that matched is not told again.
    fresh: bool,
    /// Matches that began it anew.
    again: u8,
}

impl Tagged {
    fn new(tag: &Tag, now: Instant) -> Tagged {
        Tagged { metric: tag.metric, count: tag.count.into(), used: 0, since: now, fresh: true, again: 0 }
    }

    /// A rule has matched again: it counts from here, a few times.
    fn renew(&mut self, now: Instant) {
        if self.again < AGAIN {
            (self.used, self.since, self.again) = (0, now, self.again + 1);
        }
    }

    /// Whether a packet is told; `None` where the tag is over.
    fn take(&mut self, now: Instant, bytes: u64) -> Option<bool> {
        let over = match self.metric {
            TagMetric::Packets | TagMetric::Bytes => {
                self.used = self.used.saturating_add(if self.metric == TagMetric::Packets { 1 } else { bytes });
                self.used > self.count
            }
            // Whole seconds are compared, as with ages of flows.
            TagMetric::Seconds => {
                let [now, since] = [now, self.since].map(|time| time.since(Instant::ZERO).as_secs());
                now.saturating_sub(since) > self.count
            }
        };
        (!over).then(|| !std::mem::take(&mut self.fresh))
    }
}

/// Tags of hosts.
#[derive(Debug, Default)]
pub struct HostTags {
    hosts: BTreeMap<IpAddr, Tagged>,
}

impl HostTags {
    /// No host is tagged.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// A rule with this tag matched a packet with this tuple.
    pub fn set(&mut self, tag: &Tag, packet: &Tuple, now: Instant, session: &mut Option<Tagged>) {
        let host = match tag.of {
            TagOf::Session => {
                match session {
                    Some(known) => known.renew(now),
                    None => *session = Some(Tagged::new(tag, now)),
                }
                return;
            }
            TagOf::Source => packet.source,
            TagOf::Destination => packet.destination,
        };
        let room = self.hosts.len() < HOSTS;
        match self.hosts.get_mut(&host) {
            Some(known) => known.renew(now),
            None if room => {
                self.hosts.insert(host, Tagged::new(tag, now));
            }
            None => {}
        }
    }

    /// Whether a packet of so many bytes is told.
    pub fn tells(&mut self, packet: &Tuple, now: Instant, bytes: u64, session: &mut Option<Tagged>) -> bool {
        let mut tells = false;
        if let Some(tag) = session {
            match tag.take(now, bytes) {
                Some(told) => tells |= told,
                None => *session = None,
            }
        }
        if self.is_empty() {
            return tells;
        }
        for host in [packet.source, packet.destination] {
            match self.hosts.get_mut(&host).map(|tag| tag.take(now, bytes)) {
                Some(Some(told)) => tells |= told,
                Some(None) => {
                    self.hosts.remove(&host);
                }
                None => {}
            }
        }
        tells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_packets_are_told_with_the_one_that_matched() {
        let tuple = Tuple {
            source: IpAddr::from([1, 1, 1, 1]),
            destination: IpAddr::from([2, 2, 2, 2]),
            source_port: 1,
            destination_port: 2,
            protocol: 6,
        };
        let (mut tags, mut session) = (HostTags::default(), None);
        let mut told = |metric, count| {
            tags.set(&Tag { of: TagOf::Session, count, metric }, &tuple, Instant::from_secs(7), &mut session);
            let told: Vec<bool> =
                (7..12).map(|second| tags.tells(&tuple, Instant::from_secs(second), 60, &mut session)).collect();
            assert_eq!(session, None);
            told
        };
        assert_eq!(told(TagMetric::Packets, 3), [false, true, true, false, false]);
        assert_eq!(told(TagMetric::Bytes, 130), [false, true, false, false, false]);
        assert_eq!(told(TagMetric::Bytes, 10), [false; 5]);
        assert_eq!(told(TagMetric::Seconds, 2), [false, true, true, false, false]);
        let tag = Tag { of: TagOf::Source, count: 2, metric: TagMetric::Packets };
        let told: Vec<bool> = (0..4)
            .map(|nth| {
                if nth < 2 {
                    tags.set(&tag, &tuple, Instant::ZERO, &mut session);
                }
                tags.tells(&tuple, Instant::ZERO, 60, &mut session)
            })
            .collect();
        assert_eq!(told, [false, true, true, false], "a match begins it anew");
    }
}
