//! The flows of the last day, for those who ask what another policy would have made of them.
//!
//! A ring in memory of [`KEPT`] flows that ended and packets that the policy refused: what is oldest, or older than
//! [`AGE`], goes. A full ring takes about 12 MiB. An orderly end of the daemon keeps it for the next start
//! ([`kept_flows`](crate::kept_flows)).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use weir_filter::Event;
use weir_filter::event::Tuple;
use weir_wire::{DropReason, Epoch, Instant, PortId, SwitchId, Vid};

/// Flows that are remembered.
pub const KEPT: usize = 131_072;
/// How long they are remembered.
pub const AGE: Duration = Duration::from_secs(86_400);

/// A flow, or a refused packet of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// When it began.
    pub start: Instant,
    /// Its last packet.
    pub last: Instant,
    /// The policy under which it was told: its numbers of ports and switches are of that state.
    pub epoch: Epoch,
    /// Where.
    pub switch: SwitchId,
    /// VLAN.
    pub vid: Vid,
    /// The initiator's tuple.
    pub tuple: Tuple,
    /// The initiator's port, and the responder's where it is known.
    pub ports: (PortId, Option<PortId>),
    /// Packets of both ways.
    pub packets: u64,
}

/// The ring. Shared by the thread that takes events and those that ask.
#[derive(Clone, Debug, Default)]
pub struct FlowLog(Arc<Mutex<VecDeque<Recorded>>>);

impl FlowLog {
    /// Keeps what an event, told under the policy `epoch`, says of a flow.
    pub fn note(&self, event: &Event, epoch: Epoch) {
        let Some(recorded) = Recorded::of(event, epoch) else { return };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while kept.len() >= KEPT || kept.front().is_some_and(|old| recorded.last.since(old.last) > AGE) {
            kept.pop_front();
        }
        kept.push_back(recorded);
    }

    /// Takes up flows that were remembered before the start, oldest first; what came since is newer.
    pub fn take_up(&self, flows: Vec<Recorded>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = KEPT.saturating_sub(kept.len());
        for recorded in flows.into_iter().rev().take(room) {
            kept.push_front(recorded);
        }
    }

    /// What is remembered of the time since `from`, oldest first.
    pub fn since(&self, from: Instant) -> Vec<Recorded> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().filter(|recorded| recorded.last >= from).copied().collect()
    }
}

impl Recorded {
    fn of(event: &Event, epoch: Epoch) -> Option<Recorded> {
        match event {
            Event::Flow(record) => Some(Recorded {
                start: record.start,
                last: record.last,
                epoch,
                switch: record.switch,
                vid: record.vid,
                tuple: record.tuple,
                ports: (record.in_port, record.out_port),
                packets: record.packets.iter().sum(),
            }),
            Event::Drop { scene, reason: DropReason::Policy | DropReason::PolicyReject, .. } => Some(Recorded {
                start: scene.time,
                last: scene.time,
                epoch,
                switch: scene.switch,
                vid: scene.vid,
                tuple: scene.tuple?,
                ports: (scene.in_port, scene.out_port),
                packets: 1,
            }),
            Event::Drop { .. }
            | Event::Alert { .. }
            | Event::Record { .. }
            | Event::File(_)
            | Event::Allow { .. }
            | Event::Shed { .. }
            | Event::Content { .. }
            | Event::Virus { .. }
            | Event::Notice(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::MacAddr;

    fn refused(second: u64) -> Event {
        let tuple = Tuple {
            source: [10, 0, 0, 1].into(),
            destination: [10, 0, 0, 2].into(),
            source_port: 1,
            destination_port: 2,
            protocol: 6,
        };
        let scene = weir_filter::event::Scene {
            time: Instant::from_secs(second),
            switch: SwitchId(0),
            vid: Vid(0),
            in_port: PortId(1),
            out_port: None,
            source_mac: MacAddr::default(),
            destination_mac: MacAddr::default(),
            tuple: Some(tuple),
            flow: 0,
            packet: Box::default(),
            length: 60,
        };
        Event::Drop { scene, reason: DropReason::Policy, rule: None, signature: None }
    }

    #[test]
    fn a_day_is_remembered_and_no_more_than_there_is_room_for() {
        let log = FlowLog::default();
        for second in [1, 2, 86_402] {
            log.note(&refused(second), Epoch(1));
        }
        assert_eq!(log.since(Instant::ZERO).len(), 2);
        assert_eq!(log.since(Instant::from_secs(3)).len(), 1);
        for _ in 0..KEPT + 10 {
            log.note(&refused(90_000), Epoch(1));
        }
        assert_eq!(log.since(Instant::ZERO).len(), KEPT);
    }

    #[test]
    fn what_was_remembered_before_the_start_is_older_than_what_came_since() {
        let (log, before) = (FlowLog::default(), FlowLog::default());
        log.note(&refused(50), Epoch(2));
        [10, 20].into_iter().for_each(|second| before.note(&refused(second), Epoch(1)));
        log.take_up(before.since(Instant::ZERO));
        let seconds: Vec<u64> = log.since(Instant::ZERO).iter().map(|r| r.last.0 / 1_000_000_000).collect();
        assert_eq!(seconds, [10, 20, 50]);
    }
}
