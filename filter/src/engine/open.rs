//! The first packet of a flow.

use std::net::IpAddr;

use weir_wire::checksum::verify_l4;
use weir_wire::numbers::{TCP_FIN, TCP_RST, TCP_SYN};
use weir_wire::{DropReason, Instant, Packet, PortId, SwitchId};

use super::pass::{Passing, Refusal};
use super::policy::ports_after;
use super::quota::{Opening, is_half_open};
use super::{Engine, Exits};
use crate::event::Tuple;
use crate::flow::key::Key;
use crate::flow::tcp::{Phase, Segment, Tcp};
use crate::flow::{Flow, UNKNOWN_PORT, Ways, idle};
use crate::inspect::Direction::{self, Original, Reply};
use crate::policy::{Decision, Subject};
use crate::spec::{Action, Mode};
use crate::suspects::Who;

/// How a first packet meets its flow.
struct Start {
    /// The connection it opens; `None` of what is not TCP, or to be picked up in its midst.
    tcp: Option<Tcp>,
    /// Its start was not seen.
    midstream: bool,
    /// The ways the packet may be going, the likelier first.
    ways: &'static [Direction],
}

/// What the policy has said of a first packet that may pass.
struct Admitted {
    decision: Decision,
    /// The way it goes.
    way: Direction,
}

/// Who opens a flow whose first packet the first end of the key sent, or the second, and which goes this way.
#[inline]
fn opener(key: &Key, from_low: bool, way: Direction) -> IpAddr {
    key.end(from_low == (way == Original))
}

impl Engine {
    /// Another connection between the ends of an old one.
    #[cold]
    pub(super) fn open_anew(
        &mut self,
        p: &mut Passing<'_, '_>,
        slot: u32,
        direction: Direction,
        accepts: Option<Tcp>,
    ) -> Result<(), Refusal> {
        let Flow { key, initiator_is_low, .. } = *self.table.at(slot);
        let from_low = initiator_is_low == (direction == Original);
        self.end(slot, "closed");
        self.open(p, key, from_low, accepts).map(drop)
    }

    /// A packet of no known flow. `accepts`: a connection whose SYN went before and is accepted by this packet. Returns the
    /// place of the flow that it has opened.
    #[inline(never)]
    pub(super) fn open(
        &mut self,
        p: &mut Passing<'_, '_>,
        key: Key,
        from_low: bool,
        accepts: Option<Tcp>,
    ) -> Result<u32, Refusal> {
        let proxied = accepts.is_none() && self.policy.accounts().has_proxies();
        if proxied && self.takes_cookie(p, &key, from_low)? {
            return Err(DropReason::SynProxied.into());
        }
        let start = self.start(p.now, p.packet, &key, accepts)?;
        let admitted = self.admitted(p, &key, from_low, &start)?;
        if self.is_blocked(p.now, p.switch, p.packet.port, opener(&key, from_low, admitted.way)) {
            return Err(DropReason::SourceBlocked.into());
        }
        if proxied && self.answers_syn(p, &key, from_low) {
            return Err(DropReason::SynProxied.into());
        }
        self.begin(p, (&key, from_low), &start, admitted)
    }

    /// The same for a SYN of our own, in the name of a client whose handshake is complete.
    pub(super) fn open_for_client(&mut self, p: &mut Passing<'_, '_>, key: Key, from_low: bool) -> Result<(), Refusal> {
        let start = self.start(p.now, p.packet, &key, None)?;
        let admitted = self.admitted(p, &key, from_low, &start)?;
        self.begin(p, (&key, from_low), &start, admitted).map(drop)
    }

    /// A flow that may be begins; returns its place.
    fn begin(
        &mut self,
        p: &mut Passing<'_, '_>,
        (key, from_low): (&Key, bool),
        start: &Start,
        Admitted { decision, way }: Admitted,
    ) -> Result<u32, Refusal> {
        let midstream = start.midstream;
        let picked_up = match Segment::of(p.packet).filter(|_| midstream) {
            Some(segment) => Some(Tcp::pick_up(way, &segment)?),
            None => None,
        };
        let tcp = start.tcp.as_ref().or(picked_up.as_ref());
        let phase = || tcp.map_or(Phase::Handshake, Tcp::phase);
        let owner = p.packet.port;
        self.within_quota(p.now, &Opening { key, owner, half_open: is_half_open(key, phase) })?;
        // Nobody looks into it, and its first packet says nothing but that it is there: it is settled as it is written.
        let is_plain = way == Original
            && !midstream
            && decision.dscp.is_none()
            && !self.may_look(decision)
            && self.proxies.is_idle();
        let ports = ports_after([UNKNOWN_PORT; 2], way, owner, &p.exits);
        let (now, epoch, length) = (p.now, self.policy.epoch(), p.packet.len() as u64);
        let idle = idle(key, phase, false, &self.policy.settings().timeouts);
        let hash = if p.packet.hash == 0 { self.table.hash(key) } else { p.packet.hash };
        debug_assert_eq!(hash, self.table.hash(key), "the packet is of this flow");
        let slot = self.admit(now, (owner, hash, idle), |flow| {
            flow.key = *key;
            flow.decision = decision;
            if let Some(tcp) = tcp {
                flow.tcp = *tcp;
            }
            flow.initiator_is_low = from_low == (way == Original);
            (flow.midstream, flow.owner, flow.ports) = (midstream, owner, ports);
            (flow.epoch, flow.start, flow.last) = (epoch, now, now);
            if is_plain {
                (flow.packets[0], flow.bytes[0]) = (1, length);
                flow.settled = Ways::of([true; 2]);
            }
        })?;
        self.shadow_stands(slot);
        self.quota_begins(slot);
        let address = opener(key, from_low, way);
        self.suspect_begins(now, Who { switch: key.switch(), port: owner, address }, key.protocol());
        if decision.log {
            let number = self.table.at(slot).number;
            self.teller.allow(now, p.packet, (p.switch, number), p.exits.sole(), decision.rule);
        }
        if !is_plain {
            self.look_at_first(p, slot, (decision, way), midstream)?;
        }
        Ok(slot)
    }

    /// The first packet of a flow that was added: what looks into it, and what it does to its flow.
    fn look_at_first(
        &mut self,
        p: &mut Passing<'_, '_>,
        slot: u32,
        (decision, way): (Decision, Direction),
        midstream: bool,
    ) -> Result<(), Refusal> {
        self.inspect_with(slot, decision, None);
        let flow = self.table.at(slot);
        if let Some(class) = self.overload_class(flow)
            && let Some(stage) = self.budget.leaves_out(flow.number, class)
        {
            self.shed(p, slot, stage);
        }
        if self.table.at(slot).inspect.is_some() {
            if !verify_l4(p.packet) {
                return Err(Refusal::of(slot, DropReason::BadL4Checksum));
            }
            self.content(p, slot, way, midstream)?;
        }
        self.move_on(p, slot, way, None);
        Ok(())
    }

    /// The policy's word on a first packet, and the way it goes by that word.
    fn admitted(
        &mut self,
        p: &mut Passing<'_, '_>,
        key: &Key,
        from_low: bool,
        start: &Start,
    ) -> Result<Admitted, Refusal> {
        if let (Exits::One(to), [Original]) = (&p.exits, start.ways)
            && self.shadow.is_none()
            && !self.policy.hands_on()
        {
            let decision = self.word(p, (key, from_low), *to);
            if decision.refuses() {
                return Err(self.refused(p, decision, Some(key.tuple(from_low))));
            }
            self.count(p.now, decision.rule);
            return Ok(Admitted { decision, way: Original });
        }
        self.admitted_by_any_way(p, key, from_low, start)
    }

    /// The policy's word on a packet that goes to this port and opens its flow, which the first end of the key opens or the
    /// second. Nothing is counted.
    #[inline]
    fn word(&mut self, p: &Passing<'_, '_>, (key, from_low): (&Key, bool), to: PortId) -> Decision {
        let from = p.packet.port;
        let words = self.policy.words(p.packet, p.switch, (key, from_low), [from, to]);
        if let Some(decision) = self.decided.known(&self.policy, &words) {
            return decision;
        }
        let subject = Subject::of_flow(p.packet, p.switch, key.tuple(from_low), Original);
        let decision = self.policy.judge(&subject.between([from, to]));
        self.decided.remember(&words, decision);
        decision
    }

    /// The same with everybody's word, by each way that it may be going, and for each port.
    #[inline(never)]
    fn admitted_by_any_way(
        &mut self,
        p: &mut Passing<'_, '_>,
        key: &Key,
        from_low: bool,
        start: &Start,
    ) -> Result<Admitted, Refusal> {
        let of = |way: Direction| Subject::of_flow(p.packet, p.switch, key.tuple(from_low == (way == Original)), way);
        let candidate = self.candidate(start, &p.exits, of);
        let mut refusal: Option<Decision> = None;
        for &way in start.ways {
            let subject = of(way);
            match self.judge(subject, way, &mut p.exits) {
                Ok(decision) => {
                    self.count(p.now, decision.rule);
                    if let Some(candidate) = candidate {
                        self.note_shadow(p, (&subject, way), (decision, candidate), 0);
                    }
                    self.count_passed(p.now, || along(subject, way, p));
                    return Ok(Admitted { decision, way });
                }
                Err(decision) => refusal = refusal.or(Some(decision)),
            }
        }
        let decision = refusal.unwrap_or_default();
        if let (Some(candidate), Some(&way)) = (candidate, start.ways.first()) {
            self.note_shadow(p, (&of(way), way), (decision, candidate), 1);
        }
        let opens = start.ways.first().filter(|_| !start.midstream);
        Err(self.refused(p, decision, opens.map(|&way| key.tuple(from_low == (way == Original)))))
    }

    /// A first packet may not leave; `opens` is what it was to open, where its start was seen.
    fn refused(&mut self, p: &mut Passing<'_, '_>, decision: Decision, opens: Option<Tuple>) -> Refusal {
        self.count_packet(p.now, decision.rule, p.packet.len());
        if decision.action == Action::Reject {
            self.replies.refuse(p.now, p.packet, p.pool);
        }
        if let Some(tuple) = opens {
            let who = Who { switch: p.switch, port: p.packet.port, address: tuple.source };
            self.came_to_nothing(p.now, who, &tuple);
        }
        Refusal { why: decision.why(), slot: None, wait: None }
    }

    /// The candidate's word on a first packet, by the same ways as the policy's.
    fn candidate(&self, start: &Start, exits: &Exits<'_>, of: impl Fn(Direction) -> Subject) -> Option<Decision> {
        self.shadow.as_ref()?;
        let mut refusal = None;
        for &way in start.ways {
            let decision = self.shadow_word(&of(way), way, exits)?;
            if !decision.refuses() {
                return Some(decision);
            }
            refusal = refusal.or(Some(decision));
        }
        refusal
    }

    /// How the packet meets its flow, before anybody asked whether it may.
    fn start(&self, now: Instant, packet: &Packet, key: &Key, accepts: Option<Tcp>) -> Result<Start, DropReason> {
        if accepts.is_some() {
            return Ok(Start { tcp: accepts, midstream: false, ways: &[Reply] });
        }
        if !key.is_tcp() {
            return Ok(Start { tcp: None, midstream: false, ways: &[Original] });
        }
        let segment = Segment::of(packet).ok_or(DropReason::TcpState)?;
        if segment.flags & (TCP_SYN | TCP_FIN | TCP_RST) != 0 && !verify_l4(packet) {
            return Err(DropReason::BadL4Checksum);
        }
        if segment.is_open() {
            return Ok(Start { tcp: Some(Tcp::open(&segment)), midstream: false, ways: &[Original] });
        }
        if !self.takes_up(now, key.switch()) {
            return Err(DropReason::TcpMidstream);
        }
        Tcp::pick_up(Original, &segment)?;
        // Servers have the lower port, as a rule.
        let from_server = packet.ports().is_some_and(|(source, destination)| source < destination);
        let ways: &[Direction] = if from_server { &[Reply, Original] } else { &[Original, Reply] };
        Ok(Start { tcp: None, midstream: true, ways })
    }

    /// Whether connections are taken up in their midst: for a while after the start, and after packets of their switch
    /// passed unseen; always where nothing can be refused.
    pub(super) fn takes_up(&self, now: Instant, switch: SwitchId) -> bool {
        let grace = self.policy.settings().midstream_grace;
        let unseen = self.waivers.last(switch).max(self.started).unwrap_or(now);
        now.since(unseen) < grace || self.policy.mode(switch) == Mode::Listen
    }
}

/// The subject with the ports of the packet's way, as far as it leaves by one.
fn along(subject: Subject, way: Direction, p: &Passing<'_, '_>) -> Subject {
    let to = p.exits.sole().unwrap_or(UNKNOWN_PORT);
    let ends = [subject.from, to];
    subject.between(if way == Original { ends } else { [to, subject.from] })
}
