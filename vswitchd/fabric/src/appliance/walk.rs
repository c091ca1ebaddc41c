//! The stops of a packet that passes an appliance.

use weir_filter::{Cleared, Entered, Inspected, Ticket, Why};
use weir_wire::{DropReason, Packet, PortId, SwitchId};

use super::health::is_failure;
use super::{Crossing, OnFailure, Standing, other_end};
use crate::bridge::Destination;
use crate::router::is_routable;
use crate::stages::Walk;

impl Walk<'_> {
    /// Stops 4 to 7 of a packet that came in by a port of an appliance, or goes from one of the switches that it joins
    /// straight to the other.
    pub(crate) fn pass_appliance(&mut self, packet: Packet, id: SwitchId) {
        match self.standing(id) {
            Standing::Listening => self.listen(packet, id),
            Standing::Down => self.end(packet, Why::reason(DropReason::PortDown)),
            Standing::Bypassed | Standing::FailedOpen => {
                let destination = self.bridge.resolve(self.now_s, &packet, id, self.to);
                self.wave_through(packet, id, None, destination);
            }
            Standing::Guarding | Standing::FailedClosed => match self.enter(packet, id) {
                Entered::Go(packet, ticket) => {
                    let destination = self.bridge.resolve(self.now_s, &packet, id, self.to);
                    self.judge_crossing(packet, ticket, id, None, destination);
                }
                Entered::Held => {}
                Entered::Dropped(packet, why) => self.refused_by(packet, why, id, None),
            },
        }
    }

    /// The way of a packet that left a switch by an end of an appliance: it was judged by the switch, and is judged anew.
    pub(crate) fn go_through(&mut self, near: PortId, cleared: Cleared) {
        let mut packet = cleared.into_packet();
        let Some(crossing) = self.bridge.through(near) else {
            return self.end(packet, Why::reason(DropReason::NoDestination));
        };
        if let Err(reason) = self.bridge.introduce(self.now_s, &packet, crossing) {
            return self.end(packet, Why::reason(reason));
        }
        // Its flow has another name here.
        packet.hash = 0;
        let (id, out) = (crossing.appliance, (crossing.to, crossing.end));
        match self.standing(id) {
            Standing::Down | Standing::Listening => self.end(packet, Why::reason(DropReason::PortDown)),
            Standing::Bypassed | Standing::FailedOpen => {
                let destination = self.bridge.resolve_on(self.now_s, &packet, out, self.to);
                self.wave_through(packet, id, Some(crossing), destination);
            }
            Standing::Guarding | Standing::FailedClosed => match self.enter(packet, id) {
                Entered::Go(packet, ticket) => {
                    let destination = self.bridge.resolve_on(self.now_s, &packet, out, self.to);
                    self.judge_crossing(packet, ticket, id, Some(crossing), destination);
                }
                Entered::Held => {}
                Entered::Dropped(packet, why) => self.refused_by(packet, why, id, Some(crossing)),
            },
        }
    }

    fn standing(&self, id: SwitchId) -> Standing {
        self.bridge.appliance(id).map_or(Standing::Down, |found| found.standing(self.now))
    }

    /// Stops 6 and 7.
    fn judge_crossing(
        &mut self,
        packet: Packet,
        ticket: Ticket,
        id: SwitchId,
        crossing: Option<Crossing>,
        destination: Result<Destination, DropReason>,
    ) {
        match destination {
            Ok(Destination::Port(to, tagging)) => match self.engine.inspect(self.now, packet, ticket, to, self.pool) {
                Inspected::Forward(cleared) => {
                    self.note(id, true, |counters| &mut counters.passed);
                    match to {
                        PortId::LOCAL => self.come_out(id, crossing, cleared),
                        _ => self.leave(to, tagging, cleared),
                    }
                }
                Inspected::Dropped(packet, why) => self.refused_by(packet, why, id, crossing),
                // What was flooded by a switch before it came here would be flooded again.
                Inspected::Wait(packet, _) if crossing.is_some() => self.cannot_wait(packet),
                Inspected::Wait(packet, wait) => self.wait(packet, wait),
            },
            Ok(Destination::Flood) => {
                self.note(id, true, |counters| &mut counters.passed);
                self.tell_routers(&packet, ticket, id, crossing);
                self.flood(packet, ticket, None);
            }
            Err(reason) => self.end(packet, Why::reason(reason)),
        }
    }

    /// The copy of a flooded packet that the routers of the other side get: it comes in there by the appliance's end.
    fn tell_routers(&mut self, packet: &Packet, ticket: Ticket, id: SwitchId, crossing: Option<Crossing>) {
        let before = self.to.len();
        self.to.retain(|&port| port != PortId::LOCAL);
        if self.to.len() == before {
            return;
        }
        let Some(copy) = packet.duplicate(self.pool) else { return };
        self.counters(copy.port).copied += 1;
        let to = std::mem::take(self.to);
        match self.engine.inspect(self.now, copy, ticket, PortId::LOCAL, self.pool) {
            Inspected::Forward(cleared) => self.come_out(id, crossing, cleared),
            Inspected::Dropped(copy, why) => self.end(copy, why),
            Inspected::Wait(copy, _) => self.cannot_wait(copy),
        }
        *self.to = to;
    }

    /// A packet that the guard does not let pass: it ends, unless nothing could be said of it and the operator wants it
    /// to pass then.
    fn refused_by(&mut self, packet: Packet, why: Why, id: SwitchId, crossing: Option<Crossing>) {
        if !is_failure(why.reason) {
            self.note(id, true, |counters| &mut counters.refused);
            return self.end(packet, why);
        }
        let opens = self.bridge.appliance(id).is_some_and(|found| found.config.on_failure == OnFailure::Open);
        if !opens {
            self.note(id, false, |counters| &mut counters.failed_closed);
            return self.end(packet, why);
        }
        self.note(id, false, |counters| &mut counters.failed_open);
        let destination = match crossing {
            Some(crossing) => self.bridge.resolve_on(self.now_s, &packet, (crossing.to, crossing.end), self.to),
            None => self.bridge.resolve(self.now_s, &packet, id, self.to),
        };
        self.send_unseen(packet, id, crossing, destination);
    }

    /// A packet of an appliance that is bypassed.
    fn wave_through(
        &mut self,
        packet: Packet,
        id: SwitchId,
        crossing: Option<Crossing>,
        destination: Result<Destination, DropReason>,
    ) {
        if let Some(found) = self.bridge.appliance_mut(id) {
            match found.config.bypass {
                true => found.counters.bypassed += 1,
                false => found.counters.failed_open += 1,
            }
        }
        self.send_unseen(packet, id, crossing, destination);
    }

    fn send_unseen(
        &mut self,
        packet: Packet,
        id: SwitchId,
        crossing: Option<Crossing>,
        destination: Result<Destination, DropReason>,
    ) {
        match destination {
            Ok(Destination::Port(PortId::LOCAL, _)) => {
                let cleared = self.engine.waive(self.now, packet, id);
                self.come_out(id, crossing, cleared);
            }
            Ok(Destination::Port(to, tagging)) => {
                let cleared = self.engine.waive(self.now, packet, id);
                self.leave(to, tagging, cleared);
            }
            Ok(Destination::Flood) => {
                self.counters(packet.port).copied += self.to.len() as u64 - 1;
                let cleared = self.engine.waive(self.now, packet, id);
                self.spread(cleared);
            }
            Err(reason) => self.end(packet, Why::reason(reason)),
        }
    }

    /// A packet for the routers of the switch at the other side: it comes in there by the appliance's end.
    fn come_out(&mut self, id: SwitchId, crossing: Option<Crossing>, mut cleared: Cleared) {
        let found = || {
            let (packet, now_s) = (cleared.packet(), self.now_s);
            let on = self.bridge.port(packet.port)?.config.switch;
            self.bridge.crossing(now_s, packet, on).filter(|crossing| crossing.appliance == id)
        };
        let Some(crossing) = crossing.or_else(found) else { return self.deliver(cleared) };
        let bytes = cleared.packet().len() as u64;
        let packet = cleared.rewrite();
        packet.port = crossing.end;
        packet.hash = 0;
        // Out of the fabric by one end and in by the other.
        let counters = self.counters(other_end(crossing.end));
        counters.sent += 1;
        counters.sent_bytes += bytes;
        let counters = self.counters(crossing.end);
        counters.received += 1;
        counters.received_bytes += bytes;
        let packet = cleared.packet();
        match self.routers.door(crossing.to, packet.vid, packet.dst_mac()) {
            Some(door) if is_routable(packet) => {
                let zone = door.zone;
                self.pass(cleared.into_packet(), zone);
            }
            Some(_) | None => self.deliver(cleared),
        }
    }

    /// A copy that is inspected and goes nowhere. What the guard would say to its sender is not said.
    fn listen(&mut self, packet: Packet, id: SwitchId) {
        let port = packet.port;
        match self.enter(packet, id) {
            Entered::Go(packet, ticket) => {
                match self.engine.inspect(self.now, packet, ticket, PortId::LOCAL, self.pool) {
                    Inspected::Forward(cleared) => {
                        self.note(id, true, |counters| &mut counters.passed);
                        self.counters(port).delivered += 1;
                        self.pool.give(cleared.into_packet().buffer);
                    }
                    Inspected::Dropped(packet, why) => {
                        let judged = !is_failure(why.reason);
                        self.note(id, judged, |counters| &mut counters.refused);
                        self.end(packet, why);
                    }
                    Inspected::Wait(packet, _) => self.cannot_wait(packet),
                }
            }
            Entered::Held => {}
            Entered::Dropped(packet, why) => self.end(packet, why),
        }
        let pool = &mut *self.pool;
        self.engine.originated(|_, cleared| pool.give(cleared.into_packet().buffer));
    }

    fn note(&mut self, id: SwitchId, judged: bool, counter: impl FnOnce(&mut super::ApplianceCounters) -> &mut u64) {
        let now = self.now;
        let Some(found) = self.bridge.appliance_mut(id) else { return };
        *counter(&mut found.counters) += 1;
        if found.health.note(now, judged) {
            found.counters.failures += 1;
            self.tell_failure(id);
        }
    }
}
