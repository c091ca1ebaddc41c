//! What the door of a switch looks at beyond headers and addresses: frames to many, addresses that move, and frames that
//! speak to the switch itself. And what a switch says by itself as time passes: probes, queries, LLDP.
//!
//! None of it is asked of a frame to one address that stays where it is, so the short way does not meet it.

use std::time::Duration;

use weir_filter::Cleared;
use weir_filter::event::{Event, Notice};
use weir_wire::build::packet as parsed;
use weir_wire::{DropReason, Instant, MacAddr, Packet, PortId, SwitchId, Vid};

use crate::bridge::{Destination, Kind};
use crate::loops::{BlockCause, Blocked, Move, PROBE_MAC, is_bpdu, probe, read_probe};
use crate::stages::{Admission, Walk};
use crate::storm::Weather;
use crate::vlan::Tagging;
use crate::{Fabric, coarse, lldp};

/// The same is told of a port again after this time.
const TELL_EVERY: Duration = Duration::from_secs(10);

impl Walk<'_> {
    /// Looks at a packet that the door has judged, and at what its source address did.
    ///
    /// # Errors
    /// Why it may not come in, whatever the door said.
    #[inline(never)]
    pub(crate) fn look(&mut self, packet: &Packet, admission: Admission) -> Admission {
        if let Some(moved) = self.bridge.moved.take() {
            self.moved(moved);
            if self.bridge.port(packet.port).is_some_and(|port| port.blocked.is_some()) {
                return Err(DropReason::PortBlocked);
            }
        }
        if !packet.dst_mac().is_multicast() || matches!(admission, Err(DropReason::PortBlocked)) {
            return admission;
        }
        let guarded = self.bridge.port(packet.port).is_some_and(|port| port.config.bpdu_guard);
        if guarded && is_bpdu(packet) {
            self.block(packet.port, BlockCause::Bpdu, None);
            return Err(DropReason::BpduGuard);
        }
        if packet.dst_mac() == PROBE_MAC && read_probe(self.own_id, packet).is_some() {
            return Err(DropReason::ReservedAddress);
        }
        let switch = admission?;
        self.weather(packet, Kind::of(packet.dst_mac()))?;
        if let Some(snooping) = self.bridge.switch_mut(switch).and_then(|switch| switch.snooping.as_deref_mut()) {
            snooping.hear(self.now, packet);
        }
        Ok(switch)
    }

    /// Whether a frame to many is too much for the port it came in by.
    ///
    /// # Errors
    /// The kind of storm it belongs to.
    pub(crate) fn weather(&mut self, packet: &Packet, kind: Kind) -> Result<(), DropReason> {
        let now = self.now;
        let Some(storm) = self.bridge.port_mut(packet.port).and_then(|port| port.storm.as_deref_mut()) else {
            return Ok(());
        };
        match storm.meet(now, kind, packet) {
            Weather::Fair => Ok(()),
            Weather::Storm { reason, begins } => {
                if begins {
                    let text = format!("storm control drops: {}", reason.meaning());
                    self.notice(reason.label(), packet.port, (packet.vid, None, None), text);
                }
                Err(reason)
            }
        }
    }

    /// Whether a frame that may not be forwarded is for the switch itself, which takes it.
    pub(crate) fn takes(&mut self, packet: &Packet) -> bool {
        if packet.dst_mac() == PROBE_MAC {
            let origin = read_probe(self.own_id, packet);
            if let Some((_, origin)) = origin {
                self.heard_probe(packet, origin);
            }
            return origin.is_some();
        }
        let now = self.now;
        let Some(port) = self.bridge.port_mut(packet.port) else { return false };
        if !port.config.lldp.receive || port.blocked.is_some() || !lldp::is_lldp(packet) {
            return false;
        }
        let body = packet.bytes().get(usize::from(packet.headers.l3)..).unwrap_or(&[]);
        port.lldp.hear(now, body)
    }

    /// The end of a frame that the switch has taken for itself.
    pub(crate) fn taken(&mut self, packet: Packet) {
        self.counters(packet.port).delivered += 1;
        self.pool.give(packet.buffer);
    }

    fn heard_probe(&mut self, packet: &Packet, origin: PortId) {
        let (port, block) = (packet.port, self.loop_guard(packet.port).is_some_and(|guard| guard.block));
        if block && port.0 >= origin.0 {
            return self.block(port, BlockCause::Loop, Some(origin));
        }
        let text = format!("a probe that left by port {} came back: there is a loop", origin.0);
        self.notice("loop", port, (packet.vid, Some(origin), None), text);
    }

    fn moved(&mut self, moved: Move) {
        let now_s = self.now_s;
        let Some(switch) = self.bridge.switch_mut(moved.switch) else { return };
        let guard = switch.config.loop_guard;
        let Some(home) = switch.flaps.moved(now_s, &guard, &moved) else { return };
        let away = if home == moved.to { moved.from } else { moved.to };
        let text = format!(
            "{} has moved between ports {} times within {} s: a loop, or two hosts with one address",
            moved.mac, guard.moves, guard.within_s
        );
        if let Some(port) = self.bridge.port_mut(away) {
            port.told = None;
        }
        self.notice("mac-flap", away, (moved.vid, Some(home), Some(moved.mac)), text);
        if guard.block {
            self.block(away, BlockCause::Flap, Some(home));
        }
    }

    fn loop_guard(&self, port: PortId) -> Option<&crate::loops::LoopGuard> {
        let switch = self.bridge.port(port)?.config.switch;
        Some(&self.bridge.switch(switch)?.config.loop_guard)
    }

    /// Blocks a port, or tells why it would be.
    fn block(&mut self, id: PortId, cause: BlockCause, other: Option<PortId>) {
        let recover_s = self.loop_guard(id).map_or(0, |guard| guard.recover_s);
        let now = self.now;
        let Some(port) = self.bridge.port_mut(id) else { return };
        if port.blocked.is_some() {
            return;
        }
        if !port.config.may_block {
            let text = format!("{}; the port is one that is not blocked", cause.meaning());
            return self.notice(cause.label(), id, (Vid(0), other, None), text);
        }
        let until = (recover_s != 0).then(|| now.after(Duration::from_secs(u64::from(recover_s))));
        port.blocked = Some(Blocked { cause, until });
        port.told = None;
        let switch = port.config.switch;
        if let Some(switch) = self.bridge.switch_mut(switch) {
            switch.forget(id);
        }
        let opens = if until.is_some() { format!("for {recover_s} s") } else { "until it is cleared".into() };
        self.notice("port-blocked", id, (Vid(0), other, None), format!("{}; blocked {opens}", cause.meaning()));
    }

    pub(crate) fn notice(
        &mut self,
        kind: &'static str,
        port: PortId,
        (vid, other_port, mac): (Vid, Option<PortId>, Option<MacAddr>),
        text: String,
    ) {
        let time = self.now;
        let Some(state) = self.bridge.port_mut(port) else { return };
        if state.told.is_some_and(|(told, at)| told == kind && time.since(at) < TELL_EVERY) {
            return;
        }
        state.told = Some((kind, time));
        let switch = state.config.switch;
        let notice = Notice { vid, other_port, mac, ..Notice::new(time, kind, switch, port, text) };
        self.engine.events().push(Event::Notice(Box::new(notice)));
    }

    /// What the switches do as time passes; returns when the next is due.
    pub(crate) fn tick_switches(&mut self) -> Option<Instant> {
        let opened = self.open_ports();
        let spoken = self.speak();
        let asked = self.ask();
        [opened, spoken, asked].into_iter().flatten().min()
    }

    /// Opens blocked ports whose time is over.
    fn open_ports(&mut self) -> Option<Instant> {
        let (now, mut next) = (self.now, None);
        for index in 0..self.bridge.ports.len() {
            let id = PortId(index as u16);
            let Some(port) = self.bridge.port_mut(id) else { continue };
            let Some(until) = port.blocked.and_then(|blocked| blocked.until) else { continue };
            if until > now {
                next = [next, Some(until)].into_iter().flatten().min();
                continue;
            }
            port.blocked = None;
            self.notice("port-opened", id, (Vid(0), None, None), "the time for which it was blocked is over".into());
        }
        next
    }

    /// Probes and LLDP.
    fn speak(&mut self) -> Option<Instant> {
        let (now, mut next) = (self.now, None);
        let mut frames: Vec<(PortId, Vec<u8>)> = Vec::new();
        for (index, switch) in self.bridge.switches.iter_mut().enumerate() {
            let (Some(switch), id) = (switch, SwitchId(index as u16)) else { continue };
            if switch.probes.are_due(now, &switch.config.loop_guard) {
                let frame = |&port: &PortId| (port, probe(self.own_id, id, port, switch.mac));
                frames.extend(switch.members.iter().map(frame));
            }
            next = [next, switch.probes.next(&switch.config.loop_guard)].into_iter().flatten().min();
        }
        for (index, port) in self.bridge.ports.iter_mut().enumerate() {
            let Some(port) = port else { continue };
            let speaks = port.config.lldp.send.as_ref().filter(|_| port.link && !port.config.down);
            if let Some(frame) = speaks
                && port.lldp.is_due(now)
            {
                frames.push((PortId(index as u16), frame.to_vec()));
            }
            let due = port.lldp.age(now, speaks.map(|_| ()));
            next = [next, due].into_iter().flatten().min();
        }
        frames.iter().for_each(|(port, frame)| self.emit(*port, frame));
        next
    }

    /// Multicast queries.
    fn ask(&mut self) -> Option<Instant> {
        let (now, mut next, mut asked) = (self.now, None, Vec::new());
        for index in 0..self.bridge.switches.len() {
            let id = SwitchId(index as u16);
            let vids = self.bridge.own_vids(id);
            let Some(snooping) = self.bridge.switch_mut(id).and_then(|switch| switch.snooping.as_deref_mut()) else {
                continue;
            };
            let due = snooping.tick(now, &vids, &mut asked);
            next = [next, due].into_iter().flatten().min();
            for (vid, port, frame) in asked.drain(..) {
                match port {
                    Some(port) => self.emit_into(port, vid, &frame),
                    None => self.flood_own(id, vid, &frame),
                }
            }
        }
        next
    }

    /// A frame of ours by one port, without a tag.
    fn emit(&mut self, port: PortId, frame: &[u8]) {
        // Nothing is plugged into the ends of appliances within the fabric.
        if self.bridge.port(port).is_some_and(|port| port.patch.is_none() && port.barred().is_none()) {
            self.put_out(port, Tagging::Untagged, Vid(0), frame);
        }
    }

    /// A frame of ours in a VLAN, by one port.
    pub(crate) fn emit_into(&mut self, port: PortId, vid: Vid, frame: &[u8]) {
        if let Some(Ok(tagging)) = self.bridge.port(port).map(|port| port.departure(vid)) {
            self.put_out(port, tagging, vid, frame);
        }
    }

    fn put_out(&mut self, port: PortId, tagging: Tagging, vid: Vid, frame: &[u8]) {
        let Some(mut packet) = parsed(frame, PortId::LOCAL, self.pool) else { return };
        packet.vid = vid;
        self.counters(PortId::LOCAL).originated += 1;
        self.leave(port, tagging, Cleared::originate(packet));
    }

    /// A frame of ours to everybody in a VLAN.
    fn flood_own(&mut self, switch: SwitchId, vid: Vid, frame: &[u8]) {
        let mac = MacAddr::BROADCAST;
        let found = self.bridge.toward(self.now_s, PortId::LOCAL, (switch, vid), mac, self.to);
        let (Ok(found), Some(mut packet)) = (found, parsed(frame, PortId::LOCAL, self.pool)) else { return };
        packet.vid = vid;
        self.counters(PortId::LOCAL).originated += 1;
        let cleared = Cleared::originate(packet);
        match found {
            Destination::Port(to, tagging) => self.leave(to, tagging, cleared),
            Destination::Flood => {
                self.counters(PortId::LOCAL).copied += self.to.len() as u64 - 1;
                self.spread(cleared);
            }
        }
    }
}

impl Fabric {
    /// Why a port is blocked, where it is.
    pub fn blocked(&self, port: PortId) -> Option<Blocked> {
        self.bridge.port(port)?.blocked
    }

    /// Opens a port that was blocked; returns why it was.
    pub fn clear_port(&mut self, port: PortId) -> Option<Blocked> {
        self.bridge.port_mut(port)?.blocked.take()
    }

    /// What a switch knows about multicast groups; `None` where it does not snoop.
    pub fn snooping(&self, now: Instant, switch: SwitchId) -> Option<crate::multicast::SnoopingState> {
        let vids = self.bridge.own_vids(switch);
        Some(self.bridge.switch(switch)?.snooping.as_ref()?.state(coarse(now), &vids))
    }

    /// The LLDP neighbours of a port, and what was counted.
    pub fn lldp(&self, port: PortId) -> Option<(Vec<lldp::Heard>, lldp::LldpStats)> {
        let port = self.bridge.port(port)?;
        Some((port.lldp.neighbors().to_vec(), port.lldp.stats))
    }
}
