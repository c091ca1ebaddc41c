//! The probe of an appliance: a packet of our own that comes in by one of its ends and is to come out by the other.
//!
//! Each time it is due, a datagram between addresses that nobody has (RFC 7600) is taken through stops 3 to 6, now by one
//! end, now by the other, up to the place where it would leave: parsed, looked up, asked about at the policy, with room
//! for its flow and its stream. It never leaves, opens no flow, and moves no counter but the probe's.
//!
//! It is *missed* where the guard could say nothing about such a packet for want of room, or where the thread that
//! forwards came to it later than it should have: the guard runs there, so an overloaded or stuck one is seen so. Missed
//! as often in a row as the settings say, the appliance has failed, until as many are answered in a row. Where an end is
//! down or has no link the guard is well, but nothing could pass: then it is degraded, and does not fail.
//!
//! What this cannot see is what lies beyond the ends: whoever is there need not send a frame of ours back.

use std::time::Duration;

use weir_filter::Event;
use weir_filter::event::Notice;
use weir_wire::{DropReason, Instant, Offload, Packet, PortId, SwitchId, Vid, checksum};

use super::{Appliance, Arms, OnFailure, end};
use crate::stages::Walk;

/// The least time between two probes of an appliance.
pub const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// How an appliance is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probing {
    /// The time between two probes, [`INTERVAL_MIN`] at least; zero: none.
    pub interval: Duration,
    /// Probes that are come to later than this are missed.
    pub within: Duration,
    /// So many missed in a row are a failure, and so many answered in a row its end.
    pub misses: u32,
}

impl Default for Probing {
    fn default() -> Probing {
        Probing { interval: Duration::from_secs(1), within: Duration::from_millis(250), misses: 3 }
    }
}

/// How an appliance is, as its probes say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pulse {
    /// It is not probed, or has not been yet.
    #[default]
    Unknown,
    /// The last one was answered.
    Up,
    /// Some were missed, or an end has no link.
    Degraded,
    /// Too many were missed.
    Failed,
}

impl Pulse {
    /// A word for people.
    pub const fn label(self) -> &'static str {
        match self {
            Pulse::Unknown => "unknown",
            Pulse::Up => "up",
            Pulse::Degraded => "degraded",
            Pulse::Failed => "failed",
        }
    }
}

/// What became of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It came to the other end in time.
    Answered,
    /// It was come to so much later than it was due.
    Late(Duration),
    /// Nothing could be said about it.
    Unjudged(DropReason),
    /// An end is not to be had: nothing to do with the guard.
    NoWay(DropReason),
}

impl Outcome {
    fn is_missed(self) -> bool {
        matches!(self, Outcome::Late(_) | Outcome::Unjudged(_))
    }

    fn text(self) -> String {
        match self {
            Outcome::Answered => "it was answered".into(),
            Outcome::Late(by) => format!("the guard came to it {} ms late", by.as_millis()),
            Outcome::Unjudged(reason) => format!("it could not be judged: {}", reason.label()),
            Outcome::NoWay(reason) => format!("an end is not to be had: {}", reason.label()),
        }
    }
}

/// The probes of one appliance.
#[derive(Clone, Copy, Debug, Default)]
pub struct Probes {
    due: Option<Instant>,
    pulse: Pulse,
    last: Option<Outcome>,
    /// Missed in a row, or since it failed answered in a row.
    run: u32,
    sent: u64,
    missed: u64,
}

/// What is known by the probes of an appliance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeStatus {
    /// How it is.
    pub pulse: Pulse,
    /// The last one.
    pub last: Option<Outcome>,
    /// Probes.
    pub sent: u64,
    /// Those that were missed.
    pub missed: u64,
}

impl ProbeStatus {
    /// What the last probe says, for people; empty where there was none.
    pub fn reason(&self) -> String {
        self.last.map_or_else(String::new, Outcome::text)
    }
}

impl Probes {
    /// Whether one is due, and how late it is; `None` where none is.
    fn is_due(&mut self, now: Instant, probing: &Probing) -> Option<Duration> {
        if probing.interval.is_zero() {
            *self = Probes::default();
            return None;
        }
        let interval = probing.interval.max(INTERVAL_MIN);
        let Some(due) = self.due else {
            self.due = Some(now.after(interval));
            return None;
        };
        if now < due {
            return None;
        }
        // Those that were slept through are one, and late.
        self.due = Some(now.after(interval));
        Some(now.since(due))
    }

    /// Takes what became of one; whether the appliance is otherwise than before.
    fn note(&mut self, outcome: Outcome, probing: &Probing) -> bool {
        let before = self.pulse;
        self.sent += 1;
        self.missed += u64::from(outcome.is_missed());
        self.last = Some(outcome);
        let misses = probing.misses.max(1);
        let counts = outcome.is_missed() != (before == Pulse::Failed);
        self.run = if counts { self.run.saturating_add(1) } else { 0 };
        let turns = self.run >= misses;
        self.pulse = match (before, outcome) {
            (Pulse::Failed, _) if !turns => Pulse::Failed,
            (Pulse::Failed, Outcome::Answered) | (_, Outcome::Answered) => Pulse::Up,
            (Pulse::Failed, _) => Pulse::Degraded,
            (_, _) if turns => Pulse::Failed,
            (_, _) => Pulse::Degraded,
        };
        if (self.pulse == Pulse::Failed) != (before == Pulse::Failed) {
            self.run = 0;
        }
        before != self.pulse && before != Pulse::Unknown || self.pulse == Pulse::Failed && before == Pulse::Unknown
    }

    /// Too many were missed.
    pub fn is_failing(&self) -> bool {
        self.pulse == Pulse::Failed
    }

    /// What is known.
    pub fn status(&self) -> ProbeStatus {
        ProbeStatus { pulse: self.pulse, last: self.last, sent: self.sent, missed: self.missed }
    }
}

impl Walk<'_> {
    /// Probes the appliances that are due for it; returns when the next is.
    pub(crate) fn tick_appliances(&mut self) -> Option<Instant> {
        let mut next = None;
        for index in 0..self.bridge.appliances.len() {
            let id = SwitchId(SwitchId::FIRST_APPLIANCE.saturating_add(index as u16));
            let now = self.now;
            let Some(found) = self.bridge.appliance_mut(id) else { continue };
            let probing = if found.config.down {
                Probing { interval: Duration::ZERO, ..found.config.probing }
            } else {
                found.config.probing
            };
            let late = found.probes.is_due(now, &probing);
            let (side, due) = (found.probes.sent as usize % 2, found.probes.due);
            next = [next, due].into_iter().flatten().min();
            if let Some(late) = late {
                let outcome = match self.probe(id, side) {
                    Outcome::Answered if late > probing.within => Outcome::Late(late),
                    other => other,
                };
                self.note_probe(id, outcome, &probing);
            }
        }
        next
    }

    /// Takes a probe in by one end, as far as the other.
    fn probe(&mut self, id: SwitchId, side: usize) -> Outcome {
        let Some(found) = self.bridge.appliance(id) else { return Outcome::NoWay(DropReason::PortUnbound) };
        let Some((from, to, vid)) = ends(found, id, side, self.bridge.first_of(id)) else {
            return Outcome::NoWay(DropReason::PortUnbound);
        };
        for port in [from, to].into_iter().filter(|port| *port != PortId::LOCAL) {
            match self.bridge.port(port).map(|port| port.barred()) {
                Some(None) => {}
                Some(Some(reason)) => return Outcome::NoWay(reason),
                None => return Outcome::NoWay(DropReason::PortUnbound),
            }
        }
        let Some(buffer) = self.pool.copy(&datagram()) else { return Outcome::Unjudged(DropReason::NoBuffer) };
        let mut packet = Packet::new(buffer, from, Offload::default());
        if let Err(reason) = packet.parse() {
            self.pool.give(packet.buffer);
            return Outcome::Unjudged(reason);
        }
        packet.vid = vid;
        match self.engine.probe(self.now, packet, (id, to), self.pool) {
            Ok(()) => Outcome::Answered,
            Err(reason) => Outcome::Unjudged(reason),
        }
    }

    fn note_probe(&mut self, id: SwitchId, outcome: Outcome, probing: &Probing) {
        let Some(found) = self.bridge.appliance_mut(id) else { return };
        if !found.probes.note(outcome, probing) {
            return;
        }
        found.counters.failures += u64::from(found.probes.is_failing());
        let passes = what_passes(found.config.on_failure);
        let (kind, text) = match found.probes.pulse {
            Pulse::Failed => {
                let missed = probing.misses.max(1);
                ("appliance-failed", format!("{missed} probes in a row were missed: {}; {passes}", outcome.text()))
            }
            Pulse::Degraded => ("appliance-degraded", format!("a probe did not come through: {}", outcome.text())),
            Pulse::Up | Pulse::Unknown => ("appliance-up", "probes come through".to_owned()),
        };
        self.tell_of_appliance(id, kind, text);
    }

    /// Packets could not be judged, so many that the appliance has failed.
    #[cold]
    pub(super) fn tell_failure(&mut self, id: SwitchId) {
        let passes = self.bridge.appliance(id).map_or("", |found| what_passes(found.config.on_failure));
        let text = format!("a tenth of a second's packets or more could not be judged for want of room; {passes}");
        self.tell_of_appliance(id, "appliance-failed", text);
    }

    fn tell_of_appliance(&mut self, id: SwitchId, kind: &'static str, text: String) {
        let first = self.bridge.first_of(id);
        let found = self.bridge.appliance(id).and_then(|found| ends(found, id, 0, first));
        let (port, other) = found.map_or((PortId::LOCAL, None), |(from, to, _)| (from, Some(to)));
        let other_port = other.filter(|other| *other != port && *other != PortId::LOCAL);
        let notice = Notice { other_port, ..Notice::new(self.now, kind, id, port, text) };
        self.engine.events().push(Event::Notice(Box::new(notice)));
    }
}

fn what_passes(on_failure: OnFailure) -> &'static str {
    match on_failure {
        OnFailure::Open => "everything passes",
        OnFailure::Closed => "what cannot be judged is dropped",
    }
}

/// Where a probe comes in, where it is to come out, and its VLAN. `first`: a port of the appliance, where there is one.
fn ends(found: &Appliance, id: SwitchId, side: usize, first: Option<PortId>) -> Option<(PortId, PortId, Vid)> {
    match &found.config.arms {
        Arms::Wire([a, b]) => Some(if side == 0 { (*a, *b, Vid(0)) } else { (*b, *a, Vid(0)) }),
        Arms::Inline(_) => Some((end(id, side), end(id, 1 - side), Vid(0))),
        Arms::Hairpin(port, pairs) => pairs.first().map(|(a, b)| (*port, *port, *a.min(b))),
        Arms::Listen => first.map(|port| (port, PortId::LOCAL, Vid(0))),
    }
}

/// Port 9 throws away what it gets (RFC 863), at an address that is nobody's (RFC 7600, 3).
fn datagram() -> [u8; 60] {
    const MACS: [u8; 12] = [2, 0x57, 0, 0, 0, 1, 2, 0x57, 0, 0, 0, 2];
    const HEAD: [u8; 30] =
        [8, 0, 0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 0, 8, 192, 0, 0, 8, 0, 9, 0, 9, 0, 26, 0, 0];
    let mut frame = [0; 60];
    frame[..12].copy_from_slice(&MACS);
    frame[12..42].copy_from_slice(&HEAD);
    let sum = !checksum::sum(&frame[14..34]).fold();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBING: Probing =
        Probing { interval: Duration::from_secs(1), within: Duration::from_millis(100), misses: 2 };

    #[test]
    fn so_many_missed_are_a_failure_and_so_many_answered_its_end() {
        let (missed, no_way) = (Outcome::Unjudged(DropReason::FlowTableFull), Outcome::NoWay(DropReason::LinkDown));
        let mut probes = Probes::default();
        let story = [
            (Outcome::Answered, Pulse::Up, false),
            (missed, Pulse::Degraded, true),
            (Outcome::Answered, Pulse::Up, true),
            (missed, Pulse::Degraded, true),
            (Outcome::Late(Duration::from_secs(1)), Pulse::Failed, true),
            (missed, Pulse::Failed, false),
            (Outcome::Answered, Pulse::Failed, false),
            (missed, Pulse::Failed, false),
            (Outcome::Answered, Pulse::Failed, false),
            (Outcome::Answered, Pulse::Up, true),
            (no_way, Pulse::Degraded, true),
            (no_way, Pulse::Degraded, false),
            (no_way, Pulse::Degraded, false),
            (Outcome::Answered, Pulse::Up, true),
        ];
        for (at, (outcome, pulse, told)) in story.into_iter().enumerate() {
            assert_eq!((probes.note(outcome, &PROBING), probes.pulse), (told, pulse), "{at}: {outcome:?}");
        }
        assert_eq!((probes.sent, probes.missed), (14, 5));
    }

    #[test]
    fn probes_are_due_one_by_one_and_tell_how_late_they_are() {
        let (mut probes, at) = (Probes::default(), Instant::from_millis);
        assert_eq!(probes.is_due(at(5000), &PROBING), None);
        assert_eq!(probes.is_due(at(5999), &PROBING), None);
        assert_eq!(probes.is_due(at(6001), &PROBING), Some(Duration::from_millis(1)));
        assert_eq!(probes.is_due(at(9501), &PROBING), Some(Duration::from_millis(2500)));
        assert_eq!(probes.is_due(at(9502), &PROBING), None, "those between are one");
        assert_eq!(probes.is_due(at(20_000), &Probing { interval: Duration::ZERO, ..PROBING }), None);
        assert_eq!(probes.due, None);
    }

    #[test]
    fn the_probe_is_a_datagram_that_parses() {
        let mut pool = weir_wire::Pool::default();
        let mut packet = Packet::new(pool.copy(&datagram()).expect("room"), PortId(1), Offload::default());
        packet.parse().expect("parses");
        assert_eq!((packet.headers.protocol, packet.ports()), (17, Some((9, 9))));
    }
}
