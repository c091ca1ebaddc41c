//! `tag`: packets after a match that are told as well, of the same session or of a host.
//!
//! Tags of hosts are kept for all flows of a worker; their table is bounded: when it is full, a host is not tagged.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use weir_ids_rules::rule::{Tag, TagMetric, TagOf};
use weir_wire::Instant;

use crate::event::Tuple;

/// Hosts tagged at a time.
const HOSTS: usize = 4096;

/// What is left of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tagged {
    metric: TagMetric,
    left: u64,
    since: Instant,
    /// The packet that matched is not told again.
    fresh: bool,
}

impl Tagged {
    fn new(tag: &Tag, now: Instant) -> Tagged {
        Tagged { metric: tag.metric, left: tag.count.into(), since: now, fresh: true }
    }

    /// Whether a packet is told; `None` where the tag is over.
    fn take(&mut self, now: Instant, bytes: u64) -> Option<bool> {
        if std::mem::take(&mut self.fresh) {
            return Some(false);
        }
        match self.metric {
            TagMetric::Packets => self.left = self.left.checked_sub(1)?,
            TagMetric::Bytes if self.left == 0 => return None,
            TagMetric::Bytes => self.left = self.left.saturating_sub(bytes),
            TagMetric::Seconds if now.since(self.since) > Duration::from_secs(self.left) => return None,
            TagMetric::Seconds => {}
        }
        Some(true)
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
                session.get_or_insert(Tagged::new(tag, now));
                return;
            }
            TagOf::Source => packet.source,
            TagOf::Destination => packet.destination,
        };
        if self.hosts.len() < HOSTS || self.hosts.contains_key(&host) {
            self.hosts.entry(host).or_insert(Tagged::new(tag, now));
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
    fn so_many_packets_after_the_match_are_told() {
        let tuple = Tuple {
            source: IpAddr::from([1, 1, 1, 1]),
            destination: IpAddr::from([2, 2, 2, 2]),
            source_port: 1,
            destination_port: 2,
            protocol: 6,
        };
        let (mut tags, mut session) = (HostTags::default(), None);
        let tag = Tag { of: TagOf::Session, count: 2, metric: TagMetric::Packets };
        tags.set(&tag, &tuple, Instant::ZERO, &mut session);
        let told: Vec<bool> = (0..5).map(|_| tags.tells(&tuple, Instant::ZERO, 60, &mut session)).collect();
        assert_eq!(told, [false, true, true, false, false]);
        assert_eq!(session, None);
    }
}
