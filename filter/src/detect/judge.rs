//! Rules judged on a packet and on the stream: which of those worth judging match, in the order in which they act.

use weir_ids_rules::rule::Protocol;
use weir_wire::numbers::PROTOCOL_TCP;

use super::asks::{self, Facts};
use super::check::Outcome;
use super::compiled::{Compiled, Kind};
use super::frames::{self, Framer};
use super::marks::{FlowMarks, HostMarks, Marks};
use super::program::Program;
use super::prospect;
use super::scratch::{Candidate, Matched, Scratch};
use super::side::Side;
use super::{Direction, Step, StreamBytes, View};
use crate::app::App;
use crate::event::Tuple;
use weir_ids_rules::Buffer;

/// What rules are judged with.
#[derive(Debug)]
pub struct Judge<'j> {
    pub program: &'j Program,
    pub facts: Facts<'j>,
    pub marks: &'j mut FlowMarks,
    pub hosts: &'j mut HostMarks,
    pub scratch: &'j mut Scratch,
    /// Rules on the protocol alone that have matched in the flow.
    pub known: &'j mut Vec<(u32, Direction)>,
    /// A rule that refuses could not be decided within its bound on work.
    pub undecided: bool,
    /// Rules that were not judged further for want of room.
    pub overflows: u64,
}

impl<'j> Judge<'j> {
    /// A rule finds no room to wait in.
    pub fn overflow(&mut self, rule: &Compiled) {
        self.overflows += 1;
        self.undecided |= rule.blocks();
    }

    /// Judges something of the other direction: `step` and `tuple` are those of a packet that goes there.
    pub fn turned(&mut self, tuple: &Tuple, step: &Step<'_>, judge: impl FnOnce(&mut Judge<'_>)) {
        let facts = Facts { tuple, step, between: self.facts.between.turned(), ..self.facts };
        let mut turned = Judge {
            program: self.program,
            facts,
            marks: self.marks,
            hosts: self.hosts,
            scratch: self.scratch,
            known: self.known,
            undecided: false,
            overflows: 0,
        };
        judge(&mut turned);
        let (undecided, overflows) = (turned.undecided, turned.overflows);
        self.undecided |= undecided;
        self.overflows += overflows;
    }

    /// The marks that a rule on a packet can see.
    fn marks(&mut self) -> Marks<'_> {
        Marks {
            now: self.facts.step.view.time,
            tuple: self.facts.tuple,
            flow: self.marks,
            hosts: self.hosts,
            transaction: None,
        }
    }

    /// Whether all that a rule asks apart from bytes holds.
    pub fn takes(&mut self, rule: &Compiled) -> bool {
        self.takes_flow(rule)
            && rule.takes_ends(self.facts.tuple)
            && self.asks(rule)
            && (rule.wants.is_empty() || self.marks().satisfy(&rule.wants))
    }

    fn asks(&self, rule: &Compiled) -> bool {
        rule.asks.iter().all(|ask| ask.holds(&self.facts, &self.scratch.room.sets))
    }

    /// Whether the flow's direction, state and protocol fit.
    fn takes_flow(&self, rule: &Compiled) -> bool {
        let step = self.facts.step;
        rule.takes_direction(step.way)
            && rule.takes_state(step.established)
            && rule.flow.fragments.is_none_or(|wanted| wanted == step.view.reassembled)
            && (!rule.protocol.is_app() || self.speaks(rule.protocol))
    }

    /// The flow speaks it; of a connection that is not established nothing is believed.
    fn speaks(&self, protocol: Protocol) -> bool {
        let step = self.facts.step;
        (step.established || step.end || self.facts.tuple.protocol != PROTOCOL_TCP)
            && self.facts.identity.flow.protocol().is_some_and(|spoken| protocol.takes_app(spoken))
    }

    /// A rule matched: it leaves its marks, and waits for the verdict.
    fn matched(&mut self, rule: &Compiled, matched: Matched) {
        if !rule.acts.is_empty() {
            self.marks().apply(&rule.acts);
        }
        self.scratch.matched.push(matched);
    }

    /// Judges the rules on addresses alone.
    #[inline(never)]
    pub fn ends(&mut self) {
        for &number in self.program.ends.between(self.facts.between, self.facts.tuple.protocol) {
            let Some(rule) = self.program.rule(number) else { continue };
            if rule.takes_protocol(class_of(self.facts.tuple.protocol)) && self.takes(rule) {
                self.matched(rule, Matched::new(number, self.facts.step.way));
            }
        }
    }

    /// Judges the rules on oddities of decoding.
    #[inline(never)]
    pub fn oddities(&mut self) {
        for &number in &self.program.oddities {
            let Some(rule) = self.program.rule(number) else { continue };
            if self.asks(rule) && self.takes(rule) {
                self.matched(rule, Matched::new(number, self.facts.step.way));
            }
        }
    }

    /// Judges the rules of the side's groups on the packet and on the stream of the step.
    pub fn packet_and_stream(&mut self, side: &mut Side, app: &App) {
        let step = self.facts.step;
        // What a flow speaks may become known with its last bytes, and no packet follows.
        let late = step.end && !step.packet && self.facts.found;
        let stream = step.stream.as_ref().and_then(StreamBytes::looked_at);
        let stream = stream.as_ref().filter(|s| side.wants_stream && s.text.len() > s.fresh);
        self.find(side, late, stream);
        self.scratch.header.forget();
        let mut next = 0;
        while let Some(candidate) = self.scratch.round.get(next) {
            next += 1;
            let Some(rule) = self.program.rule(candidate.rule) else { continue };
            let untimely = rule.kind == Kind::ProtocolOnly && !self.facts.found;
            if untimely || (late && !candidate.stream && !of_protocol(rule)) {
                continue;
            }
            let begun = self.scratch.begin();
            if self.takes(rule) && self.headers(rule) && (self.may_come(rule, app) || !side.put_off(rule, &candidate)) {
                self.check(side, rule, candidate, stream);
            }
            self.scratch.end(candidate.rule, begun);
        }
    }

    /// Whether a transaction may yet take a rule whose payload is at hand.
    fn may_come(&mut self, rule: &Compiled, app: &App) -> bool {
        let tables = &self.program.transactions;
        prospect::may_come(rule, app, tables, self.facts.step.way, &mut self.scratch.header)
    }

    /// Makes candidates of the rules worth judging. `late`: on the packet, though there is none.
    fn find(&mut self, side: &mut Side, late: bool, stream: Option<&StreamBytes<'_>>) {
        let (program, step) = (self.program, self.facts.step);
        let payload = step.view.payload;
        let Scratch { round, room, .. } = &mut *self.scratch;
        round.begin(program.rule_count());
        // A segment in order is searched once.
        let in_order = |s: &&StreamBytes<'_>| step.packet && s.text.get(s.fresh..) == Some(payload);
        let segment = stream.filter(in_order).map(|_| payload);
        if (step.packet || late) && side.sealed {
            let plain = program.groups.of(side.selection).flat_map(|group| &group.plain);
            plain.for_each(|&rule| round.add(rule));
        } else if (step.packet || late) && side.wants_packets {
            for group in program.groups.of(side.selection) {
                let lane = group.of_packet(payload.len());
                if !segment.is_some_and(|payload| group.is_joined(payload.len())) {
                    lane.find(payload, 0, &[0], |rule, _| round.add(rule));
                }
                lane.always.iter().for_each(|&rule| round.add(rule));
            }
            room.work += 1 + payload.len() as u64 / 64;
        }
        if step.packet && side.wants_stream && step.view.loose {
            // What is in no stream says nothing to rules that look at streams alone.
            let mut add = |rule| match program.rule(rule) {
                Some(compiled) if compiled.streams_only() => {}
                Some(_) | None => round.add(rule),
            };
            for group in program.groups.of(side.selection) {
                group.find(payload, 0, &[0], |rule, end| {
                    if end.is_some() {
                        add(rule);
                    }
                });
                group.always().iter().for_each(|&rule| add(rule));
            }
        }
        if let Some(stream) = stream {
            side.find(program, stream, segment, round);
            room.work += 1 + (stream.text.len() - stream.fresh) as u64 / 64;
        }
        round.sort();
    }

    /// Judges the rules on frames on those that the bytes of the step complete.
    #[inline(never)]
    pub fn frames(&mut self, framer: &mut Framer) {
        let (step, identity) = (self.facts.step, self.facts.identity);
        let spoken = identity.flow.protocol();
        match (&step.stream, spoken) {
            (Some(stream), _) => {
                let fresh = stream.text.get(stream.fresh..).unwrap_or_default();
                let place = stream.at + stream.text.len() as u64;
                framer.stream(spoken, step.way, (fresh, stream.gap > 0), &mut |name, bytes| {
                    self.frame(name, bytes, Some(place));
                });
            }
            (None, Some(protocol)) if step.packet && self.facts.tuple.protocol != PROTOCOL_TCP => {
                frames::datagram(protocol, step.way, step.view.payload, &mut |name, bytes| {
                    self.frame(name, bytes, None);
                });
            }
            (None, _) => {}
        }
    }

    fn frame(&mut self, name: &str, bytes: &[u8], stream: Option<u64>) {
        self.scratch.room.work += 1 + bytes.len() as u64 / 64;
        for &number in &self.program.frames {
            let Some(rule) = self.program.rule(number) else { continue };
            if !rule.frames.iter().all(|(wanted, _)| **wanted == *name) {
                continue;
            }
            let begun = self.scratch.begin();
            let mut all = true;
            for (_, check) in &rule.frames {
                match check.run(bytes, &mut self.scratch.room) {
                    Outcome::Match => {}
                    Outcome::NoMatch => all = false,
                    Outcome::Undecided => {
                        self.undecided |= rule.blocks();
                        all = false;
                    }
                }
            }
            if all && self.takes(rule) && self.headers(rule) {
                self.matched(rule, Matched { stream, ..Matched::new(number, self.facts.step.way) });
            }
            self.scratch.end(number, begun);
        }
    }

    /// Checks a candidate's payload, and takes note of a match.
    #[inline(never)]
    fn check(&mut self, side: &mut Side, rule: &Compiled, found: Candidate, stream: Option<&StreamBytes<'_>>) {
        let step = self.facts.step;
        let (mut outcome, mut on_stream) = (Outcome::NoMatch, None);
        if let (true, Some(stream)) = (found.stream, stream) {
            outcome = side.check((rule, found.rule, found.place), stream, &mut self.scratch.room);
            on_stream = Some(stream.at + stream.text.len() as u64);
        }
        if outcome != Outcome::Match && found.packet {
            on_stream = None;
            outcome = match &rule.payload {
                None => Outcome::Match,
                // Where there is nothing, nothing is missing either.
                Some(_) if step.view.payload.is_empty() => Outcome::NoMatch,
                Some(check) => check.run(step.view.payload, &mut self.scratch.room),
            };
        }
        match outcome {
            Outcome::NoMatch => {}
            Outcome::Undecided => self.undecided |= rule.blocks(),
            Outcome::Match if rule.kind == Kind::Transaction => {
                if !side.hit(found.rule) {
                    self.overflow(rule);
                }
            }
            Outcome::Match if rule.kind == Kind::ProtocolOnly && self.was_told(rule, found.rule) => {}
            Outcome::Match => {
                if rule.kind == Kind::ProtocolOnly {
                    self.known.push((found.rule, step.way));
                }
                if let Some(place) = on_stream {
                    side.remember(found.rule, place);
                }
                self.matched(rule, Matched { stream: on_stream, ..Matched::new(found.rule, step.way) });
            }
        }
    }

    /// Whether a rule on the protocol alone has matched: in this direction, or, where it asks of the flow, in any.
    fn was_told(&self, rule: &Compiled, number: u32) -> bool {
        let way = self.facts.step.way;
        self.known.iter().any(|&(told, at)| told == number && (at == way || !asks::of_direction(&rule.asks)))
    }

    /// Whether the packet's headers have the bytes that the rule wants there.
    pub fn headers(&mut self, rule: &Compiled) -> bool {
        rule.headers.iter().all(|(buffer, check)| {
            header(self.facts.step.view, self.facts.tuple, *buffer).is_some_and(|(bytes, used)| {
                let bytes = bytes.get(..used).unwrap_or_default();
                !bytes.is_empty() && check.run(bytes, &mut self.scratch.room) == Outcome::Match
            })
        })
    }

    /// Notes a match on a transaction.
    pub fn matched_transaction(
        &mut self,
        rule: &Compiled,
        number: u32,
        transaction: (usize, u64),
        bits: &mut Vec<u64>,
    ) {
        if !rule.acts.is_empty() {
            Marks { transaction: Some(bits), ..self.marks() }.apply(&rule.acts);
        }
        self.scratch
            .matched
            .push(Matched { transaction: Some(transaction), ..Matched::new(number, self.facts.step.way) });
    }

    /// As [`Judge::takes`], for a rule on a transaction, which may have bits of its own.
    pub fn takes_transaction(&mut self, rule: &Compiled, bits: &mut Vec<u64>) -> bool {
        let step = self.facts.step;
        rule.takes_state(step.established)
            && rule.takes_ends(self.facts.tuple)
            && self.asks(rule)
            && (rule.wants.is_empty() || Marks { transaction: Some(bits), ..self.marks() }.satisfy(&rule.wants))
    }
}

/// Whether all that a rule asks for is what the flow speaks.
fn of_protocol(rule: &Compiled) -> bool {
    matches!(rule.kind, Kind::App | Kind::ProtocolOnly)
}

/// The class of a protocol: itself, or 0 where it has none of its own.
pub fn class_of(protocol: u8) -> u8 {
    match protocol {
        6 | 17 | 1 | 58 => protocol,
        _ => 0,
    }
}

/// The bytes of a packet's header in a buffer of room for an address, with how many they are.
fn header<'v>(view: &'v View<'_>, tuple: &Tuple, buffer: Buffer) -> Option<(std::borrow::Cow<'v, [u8]>, usize)> {
    use std::borrow::Cow;
    let address = |address: std::net::IpAddr| match address {
        std::net::IpAddr::V4(v4) => Cow::Owned(v4.octets().to_vec()),
        std::net::IpAddr::V6(v6) => Cow::Owned(v6.octets().to_vec()),
    };
    let version = view.ip.first().map(|byte| byte >> 4);
    let of =
        |protocol: u8| view.tuple.filter(|tuple| tuple.protocol == protocol).map(|_| Cow::Borrowed(view.transport));
    let bytes = match buffer {
        Buffer::Ipv4Header if version == Some(4) => Cow::Borrowed(view.ip),
        Buffer::Ipv6Header if version == Some(6) => Cow::Borrowed(view.ip),
        Buffer::TcpHeader => of(6)?,
        Buffer::UdpHeader => of(17)?,
        Buffer::Icmpv4Header => of(1)?,
        Buffer::Icmpv6Header => of(58)?,
        Buffer::IgmpHeader => of(2)?,
        Buffer::EtherHeader => Cow::Borrowed(view.ethernet),
        // The packet at hand may be the one that acknowledges what is looked at.
        Buffer::SourceIp => address(tuple.source),
        Buffer::DestinationIp => address(tuple.destination),
        _ => return None,
    };
    let length = bytes.len();
    Some((bytes, length))
}

/// The tuple of a packet that goes this way in a flow whose initiator sends `tuple`.
pub fn oriented(tuple: &Tuple, way: Direction) -> Tuple {
    let t = *tuple;
    // ICMP has a type and a code there, which do not change places.
    let ported = matches!(t.protocol, 6 | 17 | 132);
    match way {
        Direction::Original => t,
        Direction::Reply => Tuple {
            source: t.destination,
            destination: t.source,
            source_port: if ported { t.destination_port } else { t.source_port },
            destination_port: if ported { t.source_port } else { t.destination_port },
            protocol: t.protocol,
        },
    }
}
