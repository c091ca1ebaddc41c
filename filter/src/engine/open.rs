//! The first packet of a flow.

use weir_wire::checksum::verify_l4;
use weir_wire::numbers::{TCP_FIN, TCP_RST, TCP_SYN};
use weir_wire::{DropReason, Instant, Packet, SwitchId};

use super::pass::{Passing, Refusal};
use super::policy::ports_after;
use super::{Engine, Exits};
use crate::flow::key::Key;
use crate::flow::tcp::{Segment, Tcp};
use crate::flow::{Flow, UNKNOWN_PORT};
use crate::inspect::Direction::{self, Original, Reply};
use crate::policy::{Decision, Subject};
use crate::spec::{Action, Mode};
use crate::suspects::Who;

/// How a first packet meets its flow.
struct Start {
    /// The connection it opens; `None` where it is to be picked up in its midst.
    tcp: Option<Tcp>,
    /// The ways the packet may be going, the likelier first.
    ways: &'static [Direction],
}

impl Start {
    fn is_midstream(&self) -> bool {
        self.tcp.is_none()
    }
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
        self.open(p, key, from_low, accepts)
    }

    /// A packet of no known flow. `accepts`: a connection whose SYN went before and is accepted by this packet.
    #[inline(never)]
    pub(super) fn open(
        &mut self,
        p: &mut Passing<'_, '_>,
        key: Key,
        from_low: bool,
        accepts: Option<Tcp>,
    ) -> Result<(), Refusal> {
        if accepts.is_none() && self.takes_cookie(p, &key, from_low)? {
            return Err(DropReason::SynProxied.into());
        }
        let start = self.start(p.now, p.packet, &key, accepts)?;
        let (decision, way) = self.admitted(p, &key, from_low, &start)?;
        let source = key.tuple(from_low == (way == Original)).source;
        if self.is_blocked(p.now, p.switch, p.packet.port, source) {
            return Err(DropReason::SourceBlocked.into());
        }
        if accepts.is_none() && self.answers_syn(p, &key, from_low) {
            return Err(DropReason::SynProxied.into());
        }
        self.begin(p, (key, from_low), start, (decision, way))
    }

    /// The same for a SYN of our own, in the name of a client whose handshake is complete.
    pub(super) fn open_for_client(&mut self, p: &mut Passing<'_, '_>, key: Key, from_low: bool) -> Result<(), Refusal> {
        let start = self.start(p.now, p.packet, &key, None)?;
        let judged = self.admitted(p, &key, from_low, &start)?;
        self.begin(p, (key, from_low), start, judged)
    }

    /// A flow that may be begins.
    fn begin(
        &mut self,
        p: &mut Passing<'_, '_>,
        (key, from_low): (Key, bool),
        start: Start,
        (decision, way): (Decision, Direction),
    ) -> Result<(), Refusal> {
        let tcp = match (start.tcp, Segment::of(p.packet)) {
            (Some(tcp), _) => tcp,
            (None, Some(segment)) => Tcp::pick_up(way, &segment)?,
            (None, None) => Tcp::default(),
        };
        let flow = Flow {
            key,
            tcp,
            decision,
            initiator_is_low: from_low == (way == Original),
            midstream: start.is_midstream(),
            owner: p.packet.port,
            ports: ports_after([UNKNOWN_PORT; 2], way, p.packet.port, &p.exits),
            epoch: self.policy.epoch(),
            start: p.now,
            last: p.now,
            ..Flow::default()
        };
        self.within_quota(p.now, &flow)?;
        let slot = self.admit(p.now, flow)?;
        self.shadow_stands(slot);
        self.quota_begins(slot);
        self.suspect_begins(p.now, slot);
        self.inspect_with(slot, decision, None);
        let flow = self.table.at(slot);
        if let Some(class) = self.overload_class(flow)
            && let Some(stage) = self.budget.leaves_out(flow.number, class)
        {
            self.shed(p, slot, stage);
        }
        let flow = self.table.at(slot);
        if decision.log {
            self.teller.allow(p.now, p.packet, (p.switch, flow.number), p.exits.sole(), decision.rule);
        }
        if flow.inspect.is_some() {
            if !verify_l4(p.packet) {
                return Err(Refusal::of(slot, DropReason::BadL4Checksum));
            }
            self.content(p, slot, way, start.is_midstream())?;
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
    ) -> Result<(Decision, Direction), Refusal> {
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
                    self.count_passed(p.now, &along(subject, way, p));
                    return Ok((decision, way));
                }
                Err(decision) => refusal = refusal.or(Some(decision)),
            }
        }
        let decision = refusal.unwrap_or_default();
        if let (Some(candidate), Some(&way)) = (candidate, start.ways.first()) {
            self.note_shadow(p, (&of(way), way), (decision, candidate), 1);
        }
        self.count_packet(p.now, decision.rule, p.packet.len());
        if decision.action == Action::Reject {
            self.replies.refuse(p.now, p.packet, p.pool);
        }
        if let Some(&way) = start.ways.first().filter(|_| !start.is_midstream()) {
            let subject = of(way);
            if let Some(tuple) = subject.tuple {
                let who = Who { switch: p.switch, port: p.packet.port, address: tuple.source };
                self.came_to_nothing(p.now, who, &tuple);
            }
        }
        Err(Refusal { why: decision.why(), slot: None, wait: None })
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
            return Ok(Start { tcp: accepts, ways: &[Reply] });
        }
        if !key.is_tcp() {
            return Ok(Start { tcp: Some(Tcp::default()), ways: &[Original] });
        }
        let segment = Segment::of(packet).ok_or(DropReason::TcpState)?;
        if segment.flags & (TCP_SYN | TCP_FIN | TCP_RST) != 0 && !verify_l4(packet) {
            return Err(DropReason::BadL4Checksum);
        }
        if segment.is_open() {
            return Ok(Start { tcp: Some(Tcp::open(&segment)), ways: &[Original] });
        }
        if !self.takes_up(now, key.switch()) {
            return Err(DropReason::TcpMidstream);
        }
        Tcp::pick_up(Original, &segment)?;
        // Servers have the lower port, as a rule.
        let from_server = packet.ports().is_some_and(|(source, destination)| source < destination);
        Ok(Start { tcp: None, ways: if from_server { &[Reply, Original] } else { &[Original, Reply] } })
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
