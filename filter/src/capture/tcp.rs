//! TCP packets of captures: connections taken up, segments placed, bytes handed on.

use std::net::IpAddr;

use weir_ids_rules::AppProtocol;

use super::flow::{Action, Exception, Flow, State};
use super::session::handshake::{First, first};
use super::session::{Outcome, Segment, Session, Side, side};
use super::settings::{Policy, Urgent};
use super::stream::{Manner, Ready, Rules};
use super::table::Slot;
use super::{Core, Fate, Show};
use crate::decode::tcp::flag::{ACK, SYN, URG};
use crate::decode::{Event, Events, Link, Source, View};
use crate::detect::{Findings, Look, StreamBytes};
use crate::inspect::Direction;

/// The other way.
fn other(way: Direction) -> Direction {
    match way {
        Direction::Original => Direction::Reply,
        Direction::Reply => Direction::Original,
    }
}

/// What is done with a segment, beside judging its packet.
struct Taken {
    /// It carries on with a connection.
    session: bool,
    /// It does not fit its connection.
    refused: bool,
    /// Its data belongs to the stream.
    data: bool,
}

impl Core {
    /// A SYN, or SYN/ACK, of another connection between the same ports.
    #[inline]
    pub(super) fn is_reused(&mut self, slot: Slot, from_low: bool, view: &View<'_>) -> bool {
        view.tcp.as_ref().is_some_and(|tcp| tcp.flags & SYN != 0) && self.begins_anew(slot, from_low, view)
    }

    #[inline(never)]
    fn begins_anew(&mut self, slot: Slot, from_low: bool, view: &View<'_>) -> bool {
        let Some(tcp) = &view.tcp else { return false };
        let Some(flow) = self.flows.get_mut(slot) else { return false };
        let way = flow.way(from_low);
        let Some(session) = &flow.session else { return false };
        let answers = tcp.flags & ACK != 0;
        let again = session.sides.get(side(way)).is_some_and(|sender| sender.isn == tcp.seq && sender.flags & SYN != 0);
        let over = session.state >= super::session::State::LastAck && session.state != super::session::State::CloseWait
            || session.state == super::session::State::TimeWait;
        !answers && !again && over
    }

    /// A TCP packet of a flow.
    pub(super) fn tcp(&mut self, flow: &mut Flow, view: &View<'_>, way: &mut Direction, mut fate: Fate) -> Fate {
        let Some(tcp) = &view.tcp else { return fate };
        self.findings.reversed = false;
        // The checksum of IPv4's header is the routers' business; hosts' TCP looks at its own.
        let bad = view.checksums.bad_transport;
        if bad && self.settings.stream.checksum_validation {
            // Its receiver would not read it; as a packet it is there all the same.
            self.established = flow.session.as_ref().is_some_and(|session| session.is_established());
            let show = self.whole_packet(flow, *way);
            let view = View { loose: !view.payload.is_empty(), ..*view };
            self.judge(flow, &view, &show, &mut fate);
            return fate;
        }
        let mut events = Events::default();
        let mut segment = Segment { tcp, data: view.payload, way: *way, time: view.time };
        let was = flow.session.as_ref().is_some_and(|session| session.is_established());
        let known = flow.session.is_some() || self.settings.stream.inline;
        let taken = self.segment(flow, &mut segment, &mut events, &mut fate);
        *way = segment.way;
        // The ACK that completes the handshake is not a packet of an established connection, unless it has data; nor is,
        // to a passive observer, the first that is seen of a connection.
        let is = flow.session.as_ref().is_some_and(|session| session.is_established());
        self.established = was || (is && known && !view.payload.is_empty());
        self.update_state(flow);
        if taken.refused && self.settings.ips && self.settings.stream.drop_invalid && fate.dropped.is_none() {
            fate.dropped = Some("stream error");
        }
        if !events.is_empty() {
            self.teller.stream_anomalies(&events);
        }
        if flow.state == State::Bypassed || (fate.dropped.is_some() && !taken.refused) {
            return fate;
        }
        let in_stream = taken.session && taken.data;
        if in_stream && fate.dropped.is_none() && !view.payload.is_empty() {
            let placed = self.place(flow, &segment, &mut fate);
            if !placed.is_empty() {
                self.teller.stream_anomalies(&placed);
                events.add(&placed);
            }
        }
        let loose = !view.payload.is_empty() && !in_stream;
        if events.is_empty() && !loose {
            self.inspect(flow, view, segment.way, &mut fate);
        } else {
            let view = View { events: joined(&view.events, &events), loose: loose || view.loose, ..*view };
            self.inspect(flow, &view, segment.way, &mut fate);
        }
        fate
    }

    /// Takes a segment into its connection, or takes up a connection with it.
    #[inline]
    fn segment(&mut self, flow: &mut Flow, segment: &mut Segment<'_>, events: &mut Events, fate: &mut Fate) -> Taken {
        let stream = &self.settings.stream;
        if let Some(session) = &mut flow.session {
            let outcome = session.segment(segment, stream, events);
            return Taken {
                session: true,
                refused: outcome == Outcome::Refused,
                data: outcome == Outcome::Fits { data: true },
            };
        }
        let nothing = Taken { session: false, refused: false, data: false };
        if flow.action == Action::Pass && flow.exception.is_some() && !stream.midstream {
            fate.unseen = true;
            return nothing;
        }
        self.first_segment(flow, segment, events, fate)
    }

    /// Takes up a connection with a segment.
    #[inline(never)]
    fn first_segment(
        &mut self,
        flow: &mut Flow,
        segment: &mut Segment<'_>,
        events: &mut Events,
        fate: &mut Fate,
    ) -> Taken {
        let nothing = Taken { session: false, refused: false, data: false };
        match first(segment, self.settings.stream.midstream, events) {
            First::None => nothing,
            First::Rst => Taken { refused: true, ..nothing },
            First::Fin => {
                let policy = self.settings.stream.midstream_policy;
                self.exception(flow, Exception::Midstream, policy, fate);
                Taken { refused: fate.dropped.is_none() && flow.action != Action::Pass, ..nothing }
            }
            First::Syn => {
                let session = Session::from_syn(segment);
                let data = session.is_fast_open();
                flow.session = Some(session);
                Taken { session: true, refused: false, data }
            }
            kind @ (First::SynAck | First::Middle) => self.midstream(flow, kind, segment, fate),
        }
    }

    /// A connection whose start was not seen.
    #[cold]
    fn midstream(&mut self, flow: &mut Flow, kind: First, segment: &mut Segment<'_>, fate: &mut Fate) -> Taken {
        let (policy, oneside) = (self.settings.stream.midstream_policy, self.settings.stream.async_oneside);
        let taken_up = self.settings.stream.midstream || (oneside && kind == First::SynAck);
        self.exception(flow, Exception::Midstream, policy, fate);
        let nothing = Taken { session: false, refused: false, data: false };
        let stopped = matches!(policy, Policy::DropFlow | Policy::DropPacket | Policy::Reject | Policy::Bypass);
        if !taken_up || stopped {
            return nothing;
        }
        fate.unseen = false;
        if kind == First::SynAck {
            if segment.way == Direction::Original {
                // Who answers is the server.
                flow.swap();
                segment.way = Direction::Reply;
                self.renew(flow);
            }
            flow.session = Some(Session::from_syn_ack(segment));
            return Taken { session: true, refused: false, data: false };
        }
        flow.session = Some(Session::from_middle(segment, oneside));
        self.renew(flow);
        Taken { session: true, refused: false, data: true }
    }

    /// The inspection of a flow of which nothing was inspected begins anew.
    fn renew(&mut self, flow: &mut Flow) {
        let program = if flow.uninspected { &self.no_rules } else { &self.program };
        let tuple = flow.tuple;
        flow.settled = false;
        flow.inspection = Some(crate::detect::Inspection::new(program, &mut self.shared, &tuple, true, None));
    }

    fn update_state(&mut self, flow: &mut Flow) {
        use super::session::State as Tcp;
        let Some(session) = &flow.session else { return };
        if flow.state == State::Bypassed {
            return;
        }
        flow.state = match session.state {
            Tcp::None | Tcp::SynSent | Tcp::SynRecv => State::New,
            Tcp::Established | Tcp::FinWait1 | Tcp::FinWait2 | Tcp::CloseWait | Tcp::Closing => State::Established,
            Tcp::TimeWait | Tcp::LastAck | Tcp::Closed => State::Closed,
        };
        let [client, server] = &session.sides;
        flow.facts.stream_bytes = [client.sent(), server.sent()];
    }

    /// How bytes for a receiver are taken.
    fn manner(&self, receiver: IpAddr) -> Manner {
        let stream = &self.settings.stream;
        Manner { inline: stream.inline, overlap: stream.overlap.of(receiver), depth: stream.depth, held: stream.held }
    }

    /// Places a segment's data in its stream; what is odd about it.
    fn place(&mut self, flow: &mut Flow, segment: &Segment<'_>, fate: &mut Fate) -> Events {
        let mut events = Events::default();
        let receiver = flow.tuple_of(segment.way).destination;
        let Some(session) = &mut flow.session else { return events };
        let before = session.memory();
        let Some(sender) = session.sides.get_mut(side(segment.way)) else { return events };
        // A SYN takes a number of its own, before its data.
        let seq = segment.tcp.seq.wrapping_add(u32::from(segment.tcp.flags & SYN != 0));
        let (mut place, mut data) = (sender.place(seq), segment.data);
        if place.is_none() {
            // It begins before the stream does: what lies within counts.
            let before = sender.base.wrapping_sub(seq) as usize;
            data = data.get(before..).unwrap_or_default();
            place = Some(0).filter(|_| !data.is_empty() && before < 1 << 20);
        }
        let Some(place) = place else {
            events.set(Event::StreamReassemblySegmentBeforeBaseSeq);
            return events;
        };
        if segment.tcp.flags & URG != 0 && segment.tcp.urgent > 0 {
            let at = place + u64::from(segment.tcp.urgent) - 1;
            match self.settings.stream.urgent {
                Urgent::Inline => {}
                Urgent::Drop => {
                    fate.dropped.get_or_insert("stream urgent");
                    return events;
                }
                Urgent::Gap => return events,
                Urgent::OutOfBand => {
                    if !sender.bytes.leave_out(at) {
                        events.set(Event::StreamReassemblyUrgentOutOfBandLimitReached);
                    }
                }
            }
        }
        if self.reassembly > self.settings.stream.memory {
            events.set(Event::StreamReassemblyInsertMemcap);
            self.counters.segments_refused += 1;
            return events;
        }
        if flow.settled && !self.watch.bytes && sender.bytes.pass(place, data.len()) {
            self.reassembly = (self.reassembly + session.memory()).saturating_sub(before);
            return events;
        }
        let mut manner = self.manner(receiver);
        if flow.inspection.as_ref().is_some_and(|i| is_unlimited(i.app().protocol)) {
            manner.depth = 0;
        }
        // Inline, bytes are handed on at once: old is what the receiver has acknowledged.
        let acknowledged = sender.place(sender.last_ack).unwrap_or(0);
        let placed = sender.bytes.take(place, data, &manner);
        if placed.conflicts {
            events.set(Event::StreamReassemblyOverlapDifferentData);
        }
        if placed.old && place + data.len() as u64 <= acknowledged {
            events.set(Event::StreamReassemblySegmentBeforeBaseSeq);
        }
        if placed.depth {
            events.set(Event::StreamReassemblyDepthReached);
        }
        if placed.no_room {
            events.set(Event::StreamReassemblyInsertLimit);
            self.counters.segments_refused += 1;
        }
        self.reassembly = (self.reassembly + session.memory()).saturating_sub(before);
        events
    }

    /// Hands on what may be read by now, then judges the packet.
    #[inline(never)]
    fn inspect(&mut self, flow: &mut Flow, view: &View<'_>, way: Direction, fate: &mut Fate) {
        let inline = self.settings.stream.inline;
        if flow.session.is_none() {
            if !fate.unseen {
                let show = self.whole_packet(flow, way);
                self.judge(flow, view, &show, fate);
            }
            return;
        }
        let passed = self.passes(flow, view);
        if passed {
            self.findings = Findings::default();
        } else {
            self.hand_on(flow, view, way, fate);
        }
        let closed = flow.session.as_ref().is_some_and(|session| session.state == super::session::State::Closed);
        if closed {
            for way in [Direction::Original, Direction::Reply] {
                if !inline && !passed {
                    self.deliver(flow, view, way, Upto::All, false, fate);
                }
            }
            self.release(flow);
        }
    }

    /// Nobody wants to look at what the connection carries, and none of it waits: there is nothing to hand on.
    #[inline]
    fn passes(&self, flow: &Flow, view: &View<'_>) -> bool {
        let idle = |session: &Session| session.sides.iter().all(|side| side.bytes.is_idle());
        flow.settled
            && !self.watch.bytes
            && view.events.is_empty()
            && !self.shared.tags_hosts()
            && flow.session.as_deref().is_some_and(idle)
    }

    /// Hands on what may be read by now of both directions, and has the packet judged with that of its own.
    fn hand_on(&mut self, flow: &mut Flow, view: &View<'_>, way: Direction, fate: &mut Fate) {
        let inline = self.settings.stream.inline;
        if !inline {
            self.deliver(flow, view, other(way), Upto::Acknowledged, false, fate);
        }
        let told;
        let view = if std::mem::take(&mut fate.lost) {
            told = View { events: with(&view.events, Event::StreamReassemblySeqGap), ..*view };
            &told
        } else {
            view
        };
        // The flow may have turned out to be the other way round.
        let way = if self.findings.reversed && !inline { other(way) } else { way };
        self.findings.reversed = false;
        let upto = if inline { Upto::All } else { Upto::Acknowledged };
        if !self.deliver(flow, view, way, upto, true, fate) && !fate.unseen {
            let show = self.whole_packet(flow, way);
            self.judge(flow, view, &show, fate);
        }
    }

    /// A connection is over: what it took for its bytes serves the next ones, long before the flow is forgotten.
    fn release(&mut self, flow: &mut Flow) {
        let Some(session) = &mut flow.session else { return };
        let before = session.memory();
        session.sides.iter_mut().for_each(|side| side.bytes.release());
        self.reassembly = (self.reassembly + session.memory()).saturating_sub(before);
    }

    /// Hands bytes of a direction on. Whether there were any.
    fn deliver(
        &mut self,
        flow: &mut Flow,
        view: &View<'_>,
        way: Direction,
        upto: Upto,
        packet: bool,
        fate: &mut Fate,
    ) -> bool {
        let read = |session: &Session| session.sides.get(side(way)).is_some_and(Side::is_read);
        let unread = |session: &mut Box<Session>| upto != Upto::Acknowledged || !read(session);
        let Some(mut session) = flow.session.take_if(unread) else { return false };
        let established = self.established;
        let closing = is_closing(session.state);
        let lookback = flow.inspection.as_ref().map_or(0, |inspection| inspection.lookback());
        let inline = self.settings.stream.inline;
        let depth = self.settings.stream.depth;
        let manner = self.manner(flow.tuple_of(way).destination);
        let mut any = false;
        // Each turn hands on the bytes up to the next hole.
        loop {
            let before = session.memory();
            let Some(sender) = session.sides.get_mut(side(way)) else { break };
            let begun = sender.bytes.given() > 0;
            // What is lost takes with it what waits before it.
            let before_gap = sender.bytes.first_held().is_some() && sender.bytes.waiting() > 0;
            let (place, lost) =
                if before_gap { (sender.bytes.given(), false) } else { sender.readable(upto, depth, &manner) };
            let ends = sender.ends_at(place, upto);
            let waiting = sender.bytes.waiting();
            let lookback = lookback + waiting;
            let ready = sender.bytes.ready(place, lookback);
            // A flow that is given up once it is encrypted is looked at before.
            let hurry = closing || self.settings.stream.bypass;
            let must = before_gap || upto != Upto::Acknowledged || hurry;
            let looks = |waiting: usize| must || flow.inspection.as_ref().is_some_and(|i| i.looks(way, waiting));
            // What comes with a SYN is looked at once the connection stands.
            let looks = !inline
                && (packet && !any && established || must)
                && looks(waiting + ready.map_or(0, |r| r.text.len() - r.fresh));
            if ready.is_none() && !ends && !(looks && waiting > 0) {
                break;
            }
            let Ready { text, at, fresh, gap } = ready.unwrap_or_else(|| sender.bytes.known(lookback));
            let look = match inline {
                true => Look::Now,
                false if looks => Look::From(fresh.saturating_sub(waiting)),
                false => Look::Later,
            };
            let stream = StreamBytes { text, at, fresh, gap, end: ends, look };
            let reads = !begun || flow.inspection.as_ref().is_some_and(|seen| seen.layer().is_reading());
            let of_loss = (lost && reads).then(|| self.loss(view, packet, fate));
            let view = of_loss.as_ref().unwrap_or(view);
            let show =
                Show { way, packet: packet && !any && !fate.unseen, stream: Some(stream), established, end: false };
            self.judge(flow, view, &show, fate);
            any = true;
            let Some(sender) = session.sides.get_mut(side(way)) else { break };
            sender.ended |= ends;
            sender.bytes.handed_on(place, lookback, if look == Look::Later { Rules::Wait } else { Rules::Looked });
            self.reassembly = (self.reassembly + session.memory()).saturating_sub(before);
            if self.findings.reversed {
                session.swap();
                break;
            }
        }
        flow.session = Some(session);
        any
    }

    /// Bytes that somebody would have read were lost: tells of it with the packet that shows it.
    #[cold]
    fn loss<'v>(&mut self, view: &View<'v>, packet: bool, fate: &mut Fate) -> View<'v> {
        if view.source != Source::Flush {
            self.teller.stream_anomalies(&with(&Events::default(), Event::StreamReassemblySeqGap));
        }
        fate.lost = !packet;
        View { events: with(&view.events, Event::StreamReassemblySeqGap), ..*view }
    }

    /// The flow ends: hands on what waits, then tells its inspection.
    pub(super) fn flush(&mut self, flow: &mut Flow) {
        if flow.rests || flow.session.is_none() && flow.inspection.as_ref().is_none_or(|seen| seen.is_at_rest()) {
            return;
        }
        let (mut fate, state) = (Fate::default(), flow.state);
        self.established = flow.session.as_ref().is_some_and(|session| session.is_established());
        for way in [Direction::Original, Direction::Reply] {
            let view = flushing(flow, way);
            self.deliver(flow, &view, way, Upto::Everything, false, &mut fate);
        }
        for way in [Direction::Original, Direction::Reply] {
            let view = flushing(flow, way);
            let show = Show { end: true, packet: false, ..self.whole_packet(flow, way) };
            self.judge(flow, &view, &show, &mut fate);
        }
        // There is nothing left to be passed over (`bypass`).
        flow.state = state;
    }
}

/// A packet that stands for the end of a flow.
fn flushing(flow: &Flow, way: Direction) -> View<'static> {
    View { time: flow.last, tuple: Some(flow.tuple_of(way)), source: Source::Flush, link: Link::Raw, ..View::default() }
}

/// Little more will come.
fn is_closing(state: super::session::State) -> bool {
    use super::session::State::{CloseWait, Closed, Closing, LastAck};
    matches!(state, LastAck | CloseWait | Closing | Closed)
}

/// Protocols whose streams are followed to their end.
fn is_unlimited(protocol: Option<AppProtocol>) -> bool {
    matches!(protocol, Some(AppProtocol::Smb | AppProtocol::Pgsql))
}

/// Up to where bytes are handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upto {
    /// What the receiver has acknowledged.
    Acknowledged,
    /// All that follows one another.
    All,
    /// All, and holes are given up.
    Everything,
}

fn joined(one: &Events, other: &Events) -> Events {
    let mut all = *one;
    all.add(other);
    all
}

fn with(events: &Events, event: Event) -> Events {
    let mut all = *events;
    all.set(event);
    all
}
