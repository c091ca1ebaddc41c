//! Stories: packets between three hosts behind ports 1, 2 and 3 of switch 1, and what becomes of each.

mod budget;
mod carriers;
mod carry;
mod change;
mod content;
mod decided;
mod evasion;
mod files;
mod fragments;
mod limits;
mod names;
mod odd;
mod plain;
mod quota;
mod replies;
mod shadow;
mod sites;
mod storm;
mod suspects;
mod syn_proxy;
mod tcp;
mod trusted;
mod verdict;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use weir_wire::numbers::*;
use weir_wire::{DropReason, Epoch, Instant, Packet, Pool, PortId, SwitchId};

use super::{Carried, Engine, Entered, FlowName, Inspected, Leaves, Limits, Why};
use crate::event::Event;
use crate::policy::{Policy, spec};
use crate::testing::{A4, B4, Frame, Seg};
use spec::{Action, Rule, Side, Spec};

pub const SWITCH: SwitchId = SwitchId(1);
/// The ports of hosts A, B and C.
pub const A: u16 = 1;
pub const B: u16 = 2;
pub const C: u16 = 3;

/// What became of a packet.
pub type Fate = Result<(), DropReason>;

pub const POLICY: Fate = Err(DropReason::Policy);

/// A segment that was forwarded: source and destination port, number, payload.
pub struct Heard {
    pub ports: (u16, u16),
    pub seq: u32,
    pub payload: Vec<u8>,
}

/// An engine and its surroundings.
pub struct World {
    pub engine: Engine,
    pub pool: Pool,
    pub now: Instant,
    /// Why the last packet was dropped.
    pub why: Option<Why>,
    /// What became of packets that were held back, in order.
    pub later: Vec<Fate>,
    /// What was forwarded of TCP, where somebody wants to know.
    pub heard: Option<Vec<Heard>>,
    epoch: u64,
    hurries: bool,
    goes_on: bool,
}

/// A policy for one switch with hosts A (group "web"), B (group "db") and C.
pub fn spec(default: Action, rules: Vec<Rule>) -> Spec {
    let port =
        |id, name: &str, group: &str| spec::Port { id: PortId(id), name: name.into(), groups: vec![group.into()] };
    Spec {
        switches: vec![spec::Switch { id: SWITCH, name: "lan".into(), default, inspect: None }],
        ports: vec![port(A, "a", "web"), port(B, "b", "db"), port(C, "c", "other")],
        rules,
        ..Spec::default()
    }
}

/// A rule from group "web" to group "db" for this protocol and destination port.
pub fn web_to_db(action: Action, protocol: u8, port: u16) -> Rule {
    Rule {
        name: format!("web-db-{protocol}-{port}"),
        action,
        from: Side { groups: vec!["web".into()], ..Side::default() },
        to: Side { groups: vec!["db".into()], ..Side::default() },
        protocols: vec![protocol],
        destination_ports: if port == 0 { vec![] } else { vec![port..=port] },
        ..Rule::default()
    }
}

impl World {
    pub fn new(spec: &Spec) -> World {
        World::with_limits(spec, Limits { flows: 1000, ..Limits::default() })
    }

    pub fn with_limits(spec: &Spec, limits: Limits) -> World {
        let mut world = World {
            engine: Engine::new(limits, 7),
            pool: Pool::default(),
            now: Instant::from_secs(1000),
            why: None,
            later: vec![],
            heard: None,
            epoch: 0,
            hurries: false,
            goes_on: false,
        };
        world.install(spec);
        world
    }

    pub fn install(&mut self, spec: &Spec) {
        self.epoch += 1;
        let policy = Policy::compile(spec, Epoch(self.epoch)).unwrap();
        self.engine.install(Arc::new(policy));
    }

    pub fn pass_time(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
    }

    /// Sends a frame from one port to another.
    pub fn send(&mut self, frame: &Frame, from: u16, to: u16) -> Fate {
        let packet = frame.packet_in(from, &mut self.pool);
        self.send_packet(packet, to)
    }

    /// The short way where it is open, as the fabric goes; every other packet goes the long way all the same, and no
    /// story may be able to tell.
    pub fn send_packet(&mut self, packet: Packet, to: u16) -> Fate {
        let mut packet = packet;
        self.hurries = !self.hurries;
        match if self.hurries { self.hurry(&mut packet, to) } else { None } {
            Some(Ok(())) => {
                self.hear(&packet);
                self.pool.give(packet.buffer);
                Ok(())
            }
            Some(Err(why)) => self.dropped(packet, why),
            None => self.send_long(packet, to),
        }
    }

    fn name(&self, packet: &mut Packet) -> FlowName {
        let mut name = FlowName::default();
        self.engine.name(packet, SWITCH, &mut name);
        name
    }

    /// Whether a packet passes the short way.
    pub fn carry(&mut self, packet: &mut Packet, to: u16) -> bool {
        if !packet.parse_common() {
            return false;
        }
        let (name, mut leaves) = (self.name(packet), Leaves::default());
        let carried = self.engine.carry(self.now, packet, &name, PortId(to), &mut leaves) == Carried::On;
        assert_eq!(leaves.cover(1), carried);
        carried
    }

    /// What becomes of a packet that the short way has read; `None` where it is not for it to read.
    pub fn reads(&mut self, frame: &Frame, from: u16, to: u16) -> Option<Fate> {
        let mut packet = frame.packet_in(from, &mut self.pool);
        assert!(packet.parse_common());
        let (name, mut leaves, to) = (self.name(&mut packet), Leaves::default(), PortId(to));
        let said = self.engine.carry(self.now, &packet, &name, to, &mut leaves);
        let fate = (said == Carried::Read)
            .then(|| self.engine.carry_read(self.now, &packet, (SWITCH, &name), to, &mut self.pool, &mut leaves));
        assert_eq!(leaves.cover(1), matches!(fate, Some(Ok(()))));
        self.pool.give(packet.buffer);
        fate.map(|fate| fate.map_err(|why| why.reason))
    }

    /// What the short way says of a packet, if anything: settled flows, first packets, and what is read.
    fn hurry(&mut self, packet: &mut Packet, to: u16) -> Option<Result<(), Why>> {
        if !packet.parse_common() {
            return None;
        }
        let (name, mut leaves, to) = (self.name(packet), Leaves::default(), PortId(to));
        let fate = match self.engine.carry(self.now, packet, &name, to, &mut leaves) {
            Carried::On => Ok(()),
            Carried::Answer => {
                assert!(self.engine.carry_answer(self.now, packet, &name, &mut leaves));
                Ok(())
            }
            Carried::First => {
                self.engine.begin_flow(self.now, packet, (SWITCH, &name), to, &mut self.pool, &mut leaves).map(drop)
            }
            Carried::Read => self.engine.carry_read(self.now, packet, (SWITCH, &name), to, &mut self.pool, &mut leaves),
            Carried::Unsettled => return None,
        };
        assert_eq!(leaves.cover(1), fate.is_ok());
        Some(fate)
    }

    fn send_long(&mut self, mut packet: Packet, to: u16) -> Fate {
        self.engine.prepare(&mut packet, SWITCH);
        let (packet, ticket) = match self.engine.enter(self.now, packet, SWITCH, &mut self.pool) {
            Entered::Go(packet, ticket) => (packet, ticket),
            Entered::Held => panic!("held"),
            Entered::Dropped(packet, why) => return self.dropped(packet, why),
        };
        let fate = match self.engine.inspect(self.now, packet, ticket, PortId(to), &mut self.pool) {
            Inspected::Forward(cleared) => {
                let packet = cleared.into_packet();
                self.hear(&packet);
                self.pool.give(packet.buffer);
                Ok(())
            }
            Inspected::Dropped(packet, why) => self.dropped(packet, why),
            Inspected::Wait(packet, wait) => {
                if let Err(packet) = self.engine.hold(packet, wait) {
                    self.pool.give(packet.buffer);
                }
                Err(DropReason::AwaitsVerdict)
            }
        };
        if self.engine.has_released() && !self.goes_on {
            self.go_on();
        }
        fate
    }

    fn hear(&mut self, packet: &Packet) {
        let Some(heard) = &mut self.heard else { return };
        if let (Some(tcp), Some(ports)) = (packet.tcp(), packet.ports()) {
            heard.push(Heard { ports, seq: tcp.seq, payload: packet.payload().to_vec() });
        }
    }

    /// Lets packets go on that wait no more.
    pub fn go_on(&mut self) {
        self.goes_on = true;
        while let Some(released) = self.engine.take_released() {
            let fate = match released.ends {
                Some(reason) => self.dropped(released.packet, Why::reason(reason)),
                None => {
                    let to = if released.packet.port == PortId(A) { B } else { A };
                    self.send_long(released.packet, to)
                }
            };
            self.engine.resumed();
            self.later.push(fate);
        }
        self.goes_on = false;
    }

    /// Sends a frame to several ports; returns those that get it.
    pub fn flood(&mut self, frame: &Frame, from: u16, to: &[u16]) -> Result<Vec<u16>, DropReason> {
        let packet = frame.packet_in(from, &mut self.pool);
        let Entered::Go(packet, ticket) = self.engine.enter(self.now, packet, SWITCH, &mut self.pool) else { panic!() };
        let mut ports: Vec<PortId> = to.iter().map(|&port| PortId(port)).collect();
        let mut refused = 0;
        match self.engine.inspect_flood(self.now, packet, ticket, &mut ports, &mut refused, &mut self.pool) {
            Inspected::Forward(cleared) => {
                self.pool.give(cleared.into_packet().buffer);
                assert_eq!(refused + ports.len(), to.len());
                Ok(ports.iter().map(|port| port.0).collect())
            }
            Inspected::Dropped(packet, why) => self.dropped(packet, why).map(|()| vec![]),
            Inspected::Wait(..) => panic!("a copy waits"),
        }
    }

    fn dropped<T>(&mut self, packet: Packet, why: Why) -> Result<T, DropReason> {
        self.pool.give(packet.buffer);
        let reason = why.reason;
        self.why = Some(why);
        Err(reason)
    }

    /// Lets time do its work; returns the reasons of fragments given up.
    pub fn tick(&mut self) -> Vec<DropReason> {
        let (mut reasons, mut packets) = (vec![], vec![]);
        while self.engine.tick(self.now, |packet, reason| {
            reasons.push(reason);
            packets.push(packet);
        }) == Some(self.now)
        {}
        packets.into_iter().for_each(|packet| self.pool.give(packet.buffer));
        reasons
    }

    /// Packets of our own: where they leave, and their bytes.
    pub fn replies(&mut self) -> Vec<(u16, Packet)> {
        let mut replies = vec![];
        self.engine.originated(|port, cleared| replies.push((port.0, cleared.into_packet())));
        replies
    }

    /// The events in short: kind, reason or state, and flow.
    pub fn events(&mut self) -> Vec<String> {
        let short = |event: Event| match event {
            Event::Alert { signature, .. } => format!("alert {}", signature.sid),
            Event::Record { kind, .. } => (*kind).to_owned(),
            Event::Drop { reason, .. } => format!("drop {}", reason.label()),
            Event::Allow { rule, .. } => format!("allow {}", rule.0),
            Event::Shed { stage, .. } => format!("shed {}", stage.name()),
            Event::Content { finding, .. } => format!("content {} {}", finding.rule, finding.host),
            Event::File(handed) => format!("file of {} bytes", handed.file().size),
            Event::Notice(notice) => format!("notice {}", notice.kind),
            Event::Virus { finding, .. } => format!("virus {} {}", finding.name, finding.protocol),
            Event::Flow(record) => format!("flow {} {}", record.state, record.reason),
        };
        self.engine.events().drain().map(short).collect()
    }

    /// A TCP handshake from A to B.
    pub fn handshake(&mut self, from: u16, source_port: u16, to: u16, port: u16) -> Fate {
        let hosts = [A4, B4, crate::testing::C4];
        let (a, b) = (hosts[usize::from(from) - 1], hosts[usize::from(to) - 1]);
        self.send(&seg(a, source_port, b, port, TCP_SYN, 100, 0, b""), from, to)?;
        self.send(&seg(b, port, a, source_port, TCP_SYN | TCP_ACK, 500, 101, b""), to, from)?;
        self.send(&seg(a, source_port, b, port, TCP_ACK, 101, 501, b""), from, to)
    }
}

/// A TCP segment.
#[allow(clippy::too_many_arguments, reason = "the numbers of a segment in the order of its header")]
pub fn seg(s: IpAddr, sp: u16, d: IpAddr, dp: u16, flags: u8, seq: u32, ack: u32, data: &[u8]) -> Frame {
    Frame::segment(s, sp, d, dp, Seg { flags, seq, ack, data, ..Seg::default() })
}
