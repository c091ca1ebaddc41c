//! Appliances: the guard as a device of its own, put between ports or switches.
//!
//! - A *wire* joins two ports. What comes in by one leaves by the other as it is: tags, MACs, BPDUs and LLDP pass, and
//!   nothing is learned. To both sides the daemon is a piece of cable.
//! - *Inline*, it joins two switches of the fabric. Each knows the addresses of the other as behind the appliance.
//! - A *hairpin* has one port: what comes in with one VLAN leaves by the same port with another, and back.
//! - One that *listens* has ports that copies come in by. Nothing ever leaves.
//!
//! What passes an appliance belongs to it as what is routed belongs to routers: policy and inspection see the
//! appliance's name in place of a switch's, and the true ports. A packet between two joined switches is judged once, by
//! the appliance; copies of what is sent to everybody are judged by the switch they come from too.
//!
//! An appliance that is bypassed lets everything pass unseen. One that fails open does so with packets that cannot be
//! judged for want of room in a table, and with all of them for [`OPEN_FOR`] where these are more than a tenth of a
//! second's packets ([`Health`]), or while probes of our own do not come through ([`probe`]). Appliances at most:
//! [`APPLIANCES_MAX`].

mod health;
pub mod probe;
mod walk;

use std::time::Duration;

use weir_wire::{DropReason, Instant, Packet, PortId, SwitchId, Vid};

use crate::Fabric;
use crate::bridge::{Bridge, Destination, Kind, Port, Switch};
use crate::config::{Flood, PortConfig};
use crate::fdb::Source;
use crate::multicast::{Reach, RouterPort};
use crate::vlan::Tagging;
pub use health::Health;
use probe::Probes;
pub use probe::{ProbeStatus, Probing};

/// Appliances at most.
pub const APPLIANCES_MAX: usize = 64;
/// How long an appliance that failed open lets everything pass before it tries again.
pub const OPEN_FOR: Duration = Duration::from_secs(10);

/// What an appliance stands between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arms {
    /// Two ports.
    Wire([PortId; 2]),
    /// Two switches. What is joined must be no ring.
    Inline([SwitchId; 2]),
    /// VLANs of one port, in pairs; no VLAN is in two of them.
    Hairpin(PortId, Vec<(Vid, Vid)>),
    /// Nothing: it gets copies.
    Listen,
}

/// What to do with packets that cannot be judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Drop them.
    #[default]
    Closed,
    /// Let them pass.
    Open,
}

/// An appliance's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplianceConfig {
    /// What it stands between.
    pub arms: Arms,
    /// Packets that cannot be judged.
    pub on_failure: OnFailure,
    /// Everything passes unseen.
    pub bypass: bool,
    /// Nothing passes.
    pub down: bool,
    /// Probes that pass it.
    pub probing: Probing,
}

/// What an appliance counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApplianceCounters {
    /// Packets that were judged and let pass, but for those of settled flows.
    pub passed: u64,
    /// Packets that were judged and refused.
    pub refused: u64,
    /// Packets that passed unseen because of a bypass.
    pub bypassed: u64,
    /// Packets that could not be judged and passed.
    pub failed_open: u64,
    /// Packets that could not be judged and were dropped.
    pub failed_closed: u64,
    /// Times that it failed open as a whole.
    pub failures: u64,
}

/// How an appliance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It judges.
    Guarding,
    /// It judges copies and tells what it finds.
    Listening,
    /// It cannot judge much of what comes, and drops that.
    FailedClosed,
    /// It cannot judge, and everything passes.
    FailedOpen,
    /// Everything passes, as the operator wants.
    Bypassed,
    /// Nothing passes, as the operator wants.
    Down,
}

impl Standing {
    /// Packets are judged.
    pub fn judges(self) -> bool {
        match self {
            Standing::Guarding | Standing::Listening | Standing::FailedClosed => true,
            Standing::FailedOpen | Standing::Bypassed | Standing::Down => false,
        }
    }

    /// A word for people.
    pub const fn label(self) -> &'static str {
        match self {
            Standing::Guarding => "guarding",
            Standing::Listening => "listening",
            Standing::FailedClosed => "failed-closed",
            Standing::FailedOpen => "failed-open",
            Standing::Bypassed => "bypassed",
            Standing::Down => "down",
        }
    }
}

/// An appliance as it stands.
#[derive(Clone, Copy, Debug)]
pub struct ApplianceStatus {
    /// How.
    pub standing: Standing,
    /// What it counted.
    pub counters: ApplianceCounters,
    /// What its probes say.
    pub probe: ProbeStatus,
}

/// An appliance of the fabric.
#[derive(Debug)]
pub(crate) struct Appliance {
    pub config: ApplianceConfig,
    pub counters: ApplianceCounters,
    pub health: Health,
    pub probes: Probes,
}

impl Appliance {
    fn is_failing(&self, now: Instant) -> bool {
        self.health.is_failing(now) || self.probes.is_failing()
    }

    pub fn standing(&self, now: Instant) -> Standing {
        match &self.config {
            ApplianceConfig { down: true, .. } => Standing::Down,
            ApplianceConfig { bypass: true, .. } => Standing::Bypassed,
            ApplianceConfig { arms: Arms::Listen, .. } => Standing::Listening,
            ApplianceConfig { on_failure: OnFailure::Open, .. } if self.is_failing(now) => Standing::FailedOpen,
            ApplianceConfig { .. } if self.is_failing(now) => Standing::FailedClosed,
            ApplianceConfig { .. } => Standing::Guarding,
        }
    }

    /// The VLAN that a hairpin sends what came with `vid` out with.
    fn turned(&self, vid: Vid) -> Option<Vid> {
        let Arms::Hairpin(_, pairs) = &self.config.arms else { return None };
        pairs.iter().find_map(|&(a, b)| match vid {
            vid if vid == a => Some(b),
            vid if vid == b => Some(a),
            _ => None,
        })
    }
}

/// A packet between two switches that an appliance joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crossing {
    pub appliance: SwitchId,
    /// The switch that it goes to, and the appliance's end there.
    pub to: SwitchId,
    pub end: PortId,
}

/// The end of an appliance on the first or second of the switches that it joins.
fn end(appliance: SwitchId, side: usize) -> PortId {
    PortId(PortId::FIRST_PATCH.saturating_add((appliance.appliance().unwrap_or(0) * 2 + side) as u16))
}

/// The other end of the same appliance. [`PortId::FIRST_PATCH`] is even.
fn other_end(end: PortId) -> PortId {
    PortId(end.0 ^ 1)
}

impl Bridge {
    #[inline]
    pub fn appliance(&self, id: SwitchId) -> Option<&Appliance> {
        self.appliances.get(id.appliance()?)?.as_deref()
    }

    #[inline]
    pub fn appliance_mut(&mut self, id: SwitchId) -> Option<&mut Appliance> {
        self.appliances.get_mut(id.appliance()?)?.as_deref_mut()
    }

    /// The first of the ports that belong to an appliance.
    pub fn first_of(&self, id: SwitchId) -> Option<PortId> {
        let belongs = |port: &Option<Box<Port>>| port.as_ref().is_some_and(|port| port.config.switch == id);
        self.ports.iter().position(belongs).map(|index| PortId(index as u16))
    }

    /// Whether an appliance stands between this switch and another.
    pub fn is_joined(&self, switch: SwitchId) -> bool {
        let joins = |found: &Appliance| matches!(&found.config.arms, Arms::Inline(sides) if sides.contains(&switch));
        self.appliances.iter().flatten().any(|found| joins(found))
    }

    /// The VLAN by which an appliance tells the flows of a packet apart that came in by one of its ports.
    ///
    /// # Errors
    /// Why it may not come in.
    #[inline]
    pub fn admit_to_appliance(&self, packet: &Packet, id: SwitchId) -> Result<Vid, DropReason> {
        let found = self.appliance(id).ok_or(DropReason::PortUnbound)?;
        if found.config.down || self.port(packet.port).is_none_or(|port| port.config.down) {
            return Err(DropReason::PortDown);
        }
        let vid = packet.headers.tag.map_or(Vid(0), |tag| tag.vid);
        match found.config.arms {
            // Both ways of a flow have the lower number.
            Arms::Hairpin(..) => found.turned(vid).map(|other| other.min(vid)).ok_or(DropReason::VlanNotAllowed),
            Arms::Wire(_) | Arms::Listen | Arms::Inline(_) => Ok(vid),
        }
    }

    /// The appliance between the switch that a packet is on and the one where its receiver is.
    pub fn crossing(&self, now_s: u32, packet: &Packet, on: SwitchId) -> Option<Crossing> {
        let mac = packet.dst_mac();
        if mac.is_multicast() {
            return None;
        }
        self.through(self.switch(on).filter(|switch| switch.is_joined)?.fdb.lookup(now_s, packet.vid, mac)?)
    }

    /// Where one comes out who goes in at this end of an appliance.
    pub fn through(&self, near: PortId) -> Option<Crossing> {
        let appliance = self.port(near)?.patch?;
        let Arms::Inline(sides) = self.appliance(appliance)?.config.arms else { return None };
        let side = usize::from(near == end(appliance, 0));
        Some(Crossing { appliance, to: *sides.get(side)?, end: end(appliance, side) })
    }

    /// What a packet on a switch belongs to: the switch, or the appliance between it and its receiver's, which then
    /// knows its sender.
    ///
    /// # Errors
    /// Its sender's address is configured elsewhere over there.
    pub fn cross(&mut self, now_s: u32, packet: &Packet, on: SwitchId) -> Result<SwitchId, DropReason> {
        let Some(crossing) = self.crossing(now_s, packet, on) else { return Ok(on) };
        self.introduce(now_s, packet, crossing)?;
        Ok(crossing.appliance)
    }

    /// Tells the switch at the other side of an appliance where a packet's sender is.
    ///
    /// # Errors
    /// Its address is configured elsewhere there.
    pub fn introduce(&mut self, now_s: u32, packet: &Packet, crossing: Crossing) -> Result<(), DropReason> {
        let Some(switch) = self.switch_mut(crossing.to) else { return Err(DropReason::NoDestination) };
        match switch.fdb.learn(now_s, packet.vid, packet.src_mac(), crossing.end, 0) {
            Source::Welcome | Source::Moved(_) => Ok(()),
            Source::Elsewhere => Err(DropReason::SourceMacElsewhere),
        }
    }

    /// Stop 5 for what belongs to an appliance.
    pub fn resolve_beyond(
        &self,
        now_s: u32,
        packet: &Packet,
        id: SwitchId,
        to: &mut Vec<PortId>,
    ) -> Result<Destination, DropReason> {
        let found = self.appliance(id).ok_or(DropReason::PortUnbound)?;
        let leave = |port: PortId| match self.port(port) {
            Some(port) => port.barred().map_or(Ok(()), Err),
            None => Err(DropReason::NoDestination),
        };
        match &found.config.arms {
            Arms::Wire([a, b]) => {
                let other = if packet.port == *a { *b } else { *a };
                leave(other)?;
                let tagging = if packet.headers.tag.is_some() { Tagging::AsItIs } else { Tagging::Untagged };
                Ok(Destination::Port(other, tagging))
            }
            Arms::Hairpin(port, _) => {
                leave(*port)?;
                let vid = packet.headers.tag.and_then(|tag| found.turned(tag.vid)).ok_or(DropReason::VlanNotAllowed)?;
                Ok(Destination::Port(*port, Tagging::Retagged(vid)))
            }
            Arms::Listen => Ok(Destination::Port(PortId::LOCAL, Tagging::Through)),
            Arms::Inline(sides) => {
                let on = self.port(packet.port).ok_or(DropReason::PortUnbound)?.config.switch;
                let side = usize::from(sides.first() == Some(&on));
                let far = *sides.get(side).ok_or(DropReason::NoDestination)?;
                self.resolve_on(now_s, packet, (far, end(id, side)), to)
            }
        }
    }

    /// Stop 5 on a switch for a packet that comes out of an appliance there.
    pub fn resolve_on(
        &self,
        now_s: u32,
        packet: &Packet,
        (on, from): (SwitchId, PortId),
        to: &mut Vec<PortId>,
    ) -> Result<Destination, DropReason> {
        if let Some(reason) = self.port(from).map_or(Some(DropReason::PortUnbound), |port| port.barred()) {
            return Err(reason);
        }
        let switch = self.switch(on).ok_or(DropReason::NoDestination)?;
        let mac = packet.dst_mac();
        let flood = match Kind::of(mac) {
            Kind::Broadcast => switch.config.broadcast,
            Kind::Multicast if switch.hears(packet) => switch.config.multicast,
            Kind::Multicast => match switch.snooping.as_ref().map_or(Reach::All, |known| known.reach(now_s, packet)) {
                Reach::All => switch.config.multicast,
                Reach::Some(members) => return self.join_on(packet, (switch, from), members, to),
                Reach::Routers => return self.join_on(packet, (switch, from), &[], to),
            },
            Kind::Unicast => match switch.fdb.lookup(now_s, packet.vid, mac) {
                Some(PortId::LOCAL) => return Ok(Destination::Port(PortId::LOCAL, Tagging::Through)),
                Some(port) if port == from => return Err(DropReason::SamePort),
                Some(port) => {
                    let found = self.port(port).ok_or(DropReason::NoDestination)?;
                    return found.departure(packet.vid).map(|tagging| Destination::Port(port, tagging));
                }
                None => switch.config.unknown_unicast,
            },
        };
        to.clear();
        if flood == Flood::Flood {
            let takes = |port: PortId| self.port(port).is_some_and(|port| port.departure(packet.vid).is_ok());
            to.extend(switch.members.iter().copied().filter(|&port| port != from && takes(port)));
        }
        if switch.hears(packet) {
            to.push(PortId::LOCAL);
        }
        self.those(packet, to)
    }

    /// The ports on a switch that have joined a group, and those with routers, for what comes out of an appliance there.
    fn join_on(
        &self,
        packet: &Packet,
        (switch, from): (&Switch, PortId),
        members: &[(PortId, u32)],
        to: &mut Vec<PortId>,
    ) -> Result<Destination, DropReason> {
        let routers = switch.snooping.iter().flat_map(|snooping| snooping.routers(packet.vid));
        to.clear();
        to.extend(members.iter().map(|&(port, _)| port).chain(routers).filter(|&port| port != from));
        to.sort_unstable();
        to.dedup();
        if to.is_empty() {
            return Err(DropReason::MulticastUnregistered);
        }
        to.retain(|&port| self.port(port).is_some_and(|port| port.departure(packet.vid).is_ok()));
        self.those(packet, to)
    }

    /// These ports as a destination.
    fn those(&self, packet: &Packet, to: &[PortId]) -> Result<Destination, DropReason> {
        match *to {
            [] => Err(DropReason::NoDestination),
            [PortId::LOCAL] => Ok(Destination::Port(PortId::LOCAL, Tagging::Through)),
            [only] => {
                let port = self.port(only).ok_or(DropReason::NoDestination)?;
                port.departure(packet.vid).map(|tagging| Destination::Port(only, tagging))
            }
            [_, _, ..] => Ok(Destination::Flood),
        }
    }
}

impl Fabric {
    pub(crate) fn set_appliance(&mut self, now: Instant, id: SwitchId, config: ApplianceConfig) {
        let Some(index) = id.appliance().filter(|index| *index < APPLIANCES_MAX) else { return };
        if self.bridge.appliances.len() <= index {
            self.bridge.appliances.resize_with(index + 1, || None);
        }
        let before = self.bridge.appliance(id).map(|found| found.config.clone());
        if before.as_ref().is_some_and(|before| before.arms != config.arms) {
            self.remove_appliance(now, id);
        }
        if config.bypass && before.is_some_and(|before| !before.bypass) {
            // What is seen of their packets from here on has gaps.
            self.engine.forget_switch(now, id);
        }
        let (arms, down) = (config.arms.clone(), config.down);
        match self.bridge.appliance_mut(id) {
            Some(found) => found.config = config,
            None => {
                let (counters, health, probes) = Default::default();
                let fresh = Appliance { config, counters, health, probes };
                if let Some(slot) = self.bridge.appliances.get_mut(index) {
                    *slot = Some(Box::new(fresh));
                }
            }
        }
        if let Arms::Inline(sides) = arms {
            for (side, switch) in sides.into_iter().enumerate() {
                let port = end(id, side);
                // Who wants a group may be beyond it, and to block it would part the switches.
                let (multicast_router, may_block) = (RouterPort::Always, false);
                let config = PortConfig { switch, down, multicast_router, may_block, ..PortConfig::default() };
                self.set_port(now, port, config);
                if let Some(port) = self.bridge.port_mut(port) {
                    port.patch = Some(id);
                }
            }
            self.tell_joined();
        }
    }

    pub(crate) fn remove_appliance(&mut self, now: Instant, id: SwitchId) {
        let slot = id.appliance().and_then(|index| self.bridge.appliances.get_mut(index));
        let Some(old) = slot.and_then(Option::take) else { return };
        if let Arms::Inline(_) = old.config.arms {
            (0..2).for_each(|side| self.remove_port(now, end(id, side)));
            self.tell_joined();
        }
        self.engine.forget_switch(now, id);
    }

    fn tell_joined(&mut self) {
        for index in 0..self.bridge.switches.len() {
            let is_joined = self.bridge.is_joined(SwitchId(index as u16));
            if let Some(Some(switch)) = self.bridge.switches.get_mut(index) {
                switch.is_joined = is_joined;
            }
        }
    }
}
