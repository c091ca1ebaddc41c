//! The handshake: SYN, SYN/ACK, ACK, their repetitions, fast open, and connections met in their middle.

use super::{DATA, NO_DATA, Outcome, Segment, Session, State, after, not_before};
use crate::capture::settings::StreamSettings;
use crate::decode::tcp::flag::{ACK, FIN, RST, SYN};
use crate::decode::{Event, Events};
use crate::inspect::Direction;
use weir_wire::Instant;

/// A window scale beyond this is read as this (RFC 7323, 2.3).
const SCALE_MAX: u8 = 14;

/// What the first segment of a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// A SYN: a connection begins.
    Syn,
    /// A SYN/ACK: the SYN was missed.
    SynAck,
    /// Anything else that may belong to a connection.
    Middle,
    /// The end of a connection that was not seen.
    Fin,
    /// A reset of what is not there.
    Rst,
    /// It belongs to none.
    None,
}

/// What a SYN says of its sender.
#[derive(Clone, Copy, Debug)]
pub(super) struct Syn {
    isn: u32,
    scale: u8,
    stamp: Option<(u32, Instant)>,
    window: u32,
}

/// Looks at a segment that has no connection yet. `midstream`: connections are taken up in their middle.
pub fn first(segment: &Segment<'_>, midstream: bool, events: &mut Events) -> First {
    let flags = segment.tcp.flags;
    if flags & RST != 0 {
        events.set(Event::StreamRstButNoSession);
        First::Rst
    } else if flags & FIN != 0 && (segment.data.is_empty() || flags & SYN != 0 || !midstream) {
        events.set(Event::StreamFinButNoSession);
        First::Fin
    } else if flags & (SYN | ACK) == SYN | ACK {
        First::SynAck
    } else if flags & SYN != 0 {
        First::Syn
    } else if flags & ACK != 0 {
        First::Middle
    } else {
        First::None
    }
}

impl Session {
    /// A connection that begins with this SYN.
    pub fn from_syn(segment: &Segment<'_>) -> Box<Session> {
        let mut session = Box::new(Session { state: State::SynSent, flags: segment.tcp.flags, ..Session::default() });
        let options = &segment.tcp.options;
        session.fast_open = options.fast_open.is_some();
        session.timestamps = options.timestamps.is_some();
        let fast_open = session.fast_open;
        let (client, server) = session.ends(segment.way);
        client.set_isn(segment.tcp.seq);
        client.flags = segment.tcp.flags;
        client.scale = options.window_scale.unwrap_or(0).min(SCALE_MAX);
        client.stamp = options.timestamps.map(|(stamp, _)| (stamp, segment.time));
        client.window = u32::from(u16::MAX);
        if fast_open {
            client.next_seq = client.next_seq.wrapping_add(segment.len());
        }
        server.window = segment.tcp.window.into();
        session
    }

    /// A connection whose SYN was missed; the sender of the SYN/ACK is the server.
    pub fn from_syn_ack(segment: &Segment<'_>) -> Box<Session> {
        let mut session = Box::new(Session {
            state: State::SynRecv,
            midstream: true,
            from_syn_ack: true,
            flags: segment.tcp.flags,
            ..Session::default()
        });
        session.timestamps = segment.tcp.options.timestamps.is_some();
        let (server, client) = session.ends(Direction::Reply);
        server.set_isn(segment.tcp.seq);
        server.flags = segment.tcp.flags;
        server.scale = segment.tcp.options.window_scale.unwrap_or(0).min(SCALE_MAX);
        server.stamp = segment.tcp.options.timestamps.map(|(stamp, _)| (stamp, segment.time));
        client.set_isn(segment.tcp.ack.wrapping_sub(1));
        client.scale = SCALE_MAX;
        client.window = segment.tcp.window.into();
        client.next_win = client.last_ack.wrapping_add(client.window);
        server.window = u32::from(u16::MAX);
        server.next_win = server.last_ack.wrapping_add(server.window);
        session
    }

    /// A connection met in its middle.
    pub fn from_middle(segment: &Segment<'_>, oneside: bool) -> Box<Session> {
        let mut session = Box::new(Session {
            state: State::Established,
            midstream: true,
            oneside,
            confirmed: true,
            flags: segment.tcp.flags,
            ..Session::default()
        });
        session.timestamps = segment.tcp.options.timestamps.is_some();
        let (sender, receiver) = session.ends(segment.way);
        sender.set_isn(segment.tcp.seq.wrapping_sub(1));
        sender.flags = segment.tcp.flags;
        // How windows are scaled was said in the handshake: the largest scale refuses nothing that may be right.
        sender.scale = SCALE_MAX;
        receiver.scale = SCALE_MAX;
        sender.window = u32::from(u16::MAX) << SCALE_MAX;
        sender.next_win = sender.last_ack.wrapping_add(sender.window);
        sender.next_seq = segment.end();
        receiver.set_isn(segment.tcp.ack.wrapping_sub(1));
        receiver.window = u32::from(segment.tcp.window) << SCALE_MAX;
        receiver.next_win = receiver.last_ack.wrapping_add(receiver.window);
        if oneside {
            sender.last_ack = segment.end();
        }
        session.note_stamp(segment);
        if segment.has(FIN) {
            session.fin(segment);
        }
        session
    }

    pub(super) fn syn_sent(
        &mut self,
        segment: &Segment<'_>,
        settings: &StreamSettings,
        events: &mut Events,
    ) -> Outcome {
        if segment.has(RST) {
            return self.reset_of_syn(segment, events);
        }
        if segment.has(SYN | ACK) {
            return self.syn_ack(segment, events);
        }
        if segment.has(SYN) {
            return self.syn_again(segment, settings, events);
        }
        if segment.has(ACK) && settings.async_oneside && segment.way == Direction::Original {
            return self.one_side(segment, events);
        }
        NO_DATA
    }

    fn reset_of_syn(&mut self, segment: &Segment<'_>, events: &mut Events) -> Outcome {
        let [client, _] = &self.sides;
        let believed = match segment.way {
            Direction::Original => true,
            // It must answer the SYN (RFC 9293, 3.10.7.3).
            Direction::Reply => {
                !segment.has(ACK) || (after(segment.tcp.ack, client.isn) && !after(segment.tcp.ack, client.next_seq))
            }
        };
        if !believed {
            events.set(Event::StreamPacketInvalidAck);
            events.set(Event::StreamRstInvalidAck);
            return Outcome::Refused;
        }
        self.reset(segment)
    }

    fn syn_again(&mut self, segment: &Segment<'_>, settings: &StreamSettings, events: &mut Events) -> Outcome {
        if segment.way == Direction::Reply {
            // Both have sent SYN (RFC 9293, 3.5).
            self.crossed = true;
            let [client, server] = &mut self.sides;
            server.set_isn(segment.tcp.seq);
            server.scale = segment.tcp.options.window_scale.unwrap_or(0).min(SCALE_MAX);
            server.stamp = segment.tcp.options.timestamps.map(|(stamp, _)| (stamp, segment.time));
            client.window = segment.tcp.window.into();
            return NO_DATA;
        }
        let [client, server] = &mut self.sides;
        let isn = segment.tcp.seq;
        if isn == client.isn || self.syns.iter().any(|syn| syn.isn == isn) {
            return NO_DATA;
        }
        if self.syns.len() >= usize::from(settings.syns) {
            events.set(Event::StreamHandshakeSynFlood);
        } else if client.bytes.next() == 0 {
            // The server answers the one that reaches it.
            self.syns.push(Syn { isn: client.isn, scale: client.scale, stamp: client.stamp, window: server.window });
            self.take_syn(Syn {
                isn,
                scale: segment.tcp.options.window_scale.unwrap_or(0).min(SCALE_MAX),
                stamp: segment.tcp.options.timestamps.map(|(stamp, _)| (stamp, segment.time)),
                window: segment.tcp.window.into(),
            });
        }
        NO_DATA
    }

    fn take_syn(&mut self, syn: Syn) {
        let [client, server] = &mut self.sides;
        client.set_isn(syn.isn);
        (client.scale, client.stamp, server.window) = (syn.scale, syn.stamp, syn.window);
    }

    /// Of several SYNs the one counts that a SYN/ACK answers.
    fn settle_syns(&mut self, ack: u32) {
        let answered = self.syns.iter().find(|syn| syn.isn.wrapping_add(1) == ack).copied();
        if let Some(syn) = answered.filter(|_| ack != self.sides[0].next_seq) {
            self.take_syn(syn);
        }
        if answered.is_some() || ack == self.sides[0].next_seq {
            self.syns = Vec::new();
        }
    }

    fn syn_ack(&mut self, segment: &Segment<'_>, events: &mut Events) -> Outcome {
        let (seq, ack) = (segment.tcp.seq, segment.tcp.ack);
        if segment.way == Direction::Reply && !self.syns.is_empty() {
            self.settle_syns(ack);
        }
        let [client, server] = &mut self.sides;
        if segment.way == Direction::Original {
            if !self.crossed {
                events.set(Event::StreamHandshakeSynAckInWrongDirection);
                return Outcome::Refused;
            }
            if ack != server.isn.wrapping_add(1) {
                events.set(Event::StreamCrossedSynAckWithWrongAck);
                return Outcome::Refused;
            }
            if seq != client.isn {
                events.set(Event::StreamCrossedSynAckWithWrongSyn);
                return Outcome::Refused;
            }
            self.state = State::SynRecv;
            return NO_DATA;
        }
        let only_syn = ack == client.isn.wrapping_add(1);
        if self.fast_open && ack != client.next_seq && only_syn {
            // The data with the SYN was not taken; the client will send it again.
            events.set(Event::StreamHandshakeSynAckTfoDataIgnored);
            client.next_seq = ack;
            client.bytes = super::Bytes::default();
        } else if ack != client.next_seq && !only_syn {
            events.set(Event::StreamHandshakeSynAckWithWrongAck);
            return Outcome::Refused;
        }
        self.take_syn_ack(segment);
        self.state = State::SynRecv;
        // With fast open the server may send data at once.
        if self.fast_open { DATA } else { NO_DATA }
    }

    /// What a SYN/ACK says of the server.
    fn take_syn_ack(&mut self, segment: &Segment<'_>) {
        let options = &segment.tcp.options;
        self.timestamps &= options.timestamps.is_some();
        let [client, server] = &mut self.sides;
        server.set_isn(segment.tcp.seq);
        server.next_seq = server.next_seq.wrapping_add(segment.len());
        server.scale = options.window_scale.unwrap_or(0).min(SCALE_MAX);
        if options.window_scale.is_none() {
            client.scale = 0;
        }
        server.stamp = options.timestamps.map(|(stamp, _)| (stamp, segment.time));
        client.window = segment.tcp.window.into();
        client.last_ack = segment.tcp.ack;
        client.next_win = client.last_ack.wrapping_add(client.window);
        server.next_win = server.last_ack.wrapping_add(server.window);
    }

    /// The client goes on without an answer having been seen.
    fn one_side(&mut self, segment: &Segment<'_>, events: &mut Events) -> Outcome {
        let [client, server] = &mut self.sides;
        if segment.tcp.seq != client.next_seq {
            events.set(Event::StreamHandshakeAsyncWrongSeq);
            return Outcome::Refused;
        }
        self.oneside = true;
        self.fin_limit = Some(segment.tcp.seq.wrapping_add(segment.tcp.window.into()));
        server.set_isn(segment.tcp.ack.wrapping_sub(1));
        server.next_win = server.last_ack.wrapping_add(server.window);
        client.window = u32::from(u16::MAX) << SCALE_MAX;
        client.next_win = client.next_seq.wrapping_add(client.window);
        client.next_seq = segment.end();
        self.state = State::Established;
        self.note_ack(segment);
        DATA
    }

    pub(super) fn syn_recv(
        &mut self,
        segment: &Segment<'_>,
        settings: &StreamSettings,
        events: &mut Events,
    ) -> Outcome {
        if segment.has(RST) {
            return if self.reset_fits(segment, events) { self.reset(segment) } else { Outcome::Refused };
        }
        if segment.has(SYN | ACK) {
            return self.syn_ack_again(segment, settings, events);
        }
        if segment.has(SYN) {
            let event = match segment.way {
                Direction::Reply => Event::StreamHandshakeSynToclientOnSynRecv,
                Direction::Original if segment.tcp.seq != self.sides[0].isn => {
                    Event::StreamHandshakeSynResendDiffSeqOnSynRecv
                }
                Direction::Original => return NO_DATA,
            };
            events.set(event);
            return Outcome::Refused;
        }
        if !segment.has(ACK) {
            return NO_DATA;
        }
        if segment.has(FIN) && !self.last_ack_fits(segment) {
            events.set(Event::StreamFinInvalidAck);
            return Outcome::Refused;
        }
        self.handshake_ack(segment, settings, events)
    }

    fn syn_ack_again(&mut self, segment: &Segment<'_>, settings: &StreamSettings, events: &mut Events) -> Outcome {
        let (seq, ack) = (segment.tcp.seq, segment.tcp.ack);
        let [client, server] = &self.sides;
        if segment.way == Direction::Original {
            events.set(Event::StreamHandshakeSynAckToserverOnSynRecv);
            return Outcome::Refused;
        }
        if ack != client.isn.wrapping_add(1) && ack != client.last_ack && ack != client.next_seq {
            events.set(Event::StreamHandshakeSynAckResendWithDifferentAck);
            return Outcome::Refused;
        }
        if seq == server.isn {
            return NO_DATA;
        }
        events.set(Event::StreamHandshakeSynAckResendWithDiffSeq);
        if self.others >= settings.syn_acks {
            events.set(Event::StreamHandshakeSynAckFlood);
            return Outcome::Refused;
        }
        // Which of them the client has believed, its ACK will say.
        self.others += 1;
        let scale = segment.tcp.options.window_scale.unwrap_or(0).min(SCALE_MAX);
        self.other = Some((seq, ack, scale, segment.tcp.window));
        NO_DATA
    }

    fn last_ack_fits(&self, segment: &Segment<'_>) -> bool {
        let [client, server] = &self.sides;
        match segment.way {
            Direction::Original => !after(segment.tcp.ack, server.next_seq) && not_before(segment.tcp.ack, server.isn),
            Direction::Reply => !after(segment.tcp.ack, client.next_win) && not_before(segment.tcp.ack, client.isn),
        }
    }

    /// The ACK that completes the handshake, or data in its place.
    fn handshake_ack(&mut self, segment: &Segment<'_>, settings: &StreamSettings, events: &mut Events) -> Outcome {
        if let Some((isn, ..)) = self.other
            && segment.way == Direction::Original
            && segment.tcp.ack == isn.wrapping_add(1)
            && segment.tcp.ack != self.sides[1].isn.wrapping_add(1)
        {
            let scale = self.other.take().map_or(0, |(_, _, scale, _)| scale);
            let [_, server] = &mut self.sides;
            server.set_isn(isn);
            server.scale = scale;
        }
        if self.crossed && segment.way == Direction::Reply {
            if segment.tcp.seq != self.sides[1].next_seq {
                events.set(Event::StreamCrossedWrongSeq);
                return Outcome::Refused;
            }
            if !self.ack_fits(segment, events) {
                events.set(Event::StreamCrossedInvalidAck);
                return Outcome::Refused;
            }
            return self.complete(segment);
        }
        if !self.stamp_fits(segment, events) {
            return Outcome::Refused;
        }
        let [client, server] = &self.sides;
        let (seq, ack) = (segment.tcp.seq, segment.tcp.ack);
        if segment.way == Direction::Reply && !self.from_syn_ack {
            if settings.inline && !segment.data.is_empty() && !self.fast_open && seq == server.next_seq {
                // Data from the server before the client's ACK: nobody sends that but who wants to be missed.
                events.set(Event::StreamHandshakeAckDataInject);
                return Outcome::Refused;
            }
            let missed = self.fast_open || (ack == client.next_seq || after(ack, client.isn.wrapping_add(1)));
            if !missed || seq != server.next_seq {
                events.set(Event::StreamHandshakeAckInWrongDir);
                return Outcome::Refused;
            }
            return self.complete(segment);
        }
        let from_server = segment.way == Direction::Reply;
        let (sender, receiver) = if from_server { (server, client) } else { (client, server) };
        let ack_is_right = !after(ack, receiver.next_seq.max(receiver.next_seq)) && after(ack, receiver.isn);
        if seq == sender.next_seq && (ack_is_right || self.midstream) {
            return self.complete(segment);
        }
        if seq == sender.next_seq {
            events.set(Event::StreamHandshakeRightSeqWrongAckEvasion);
            return Outcome::Refused;
        }
        // The ACK itself was missed, or comes with what the client sends again.
        let in_window =
            not_before(seq, sender.isn) && !after(seq, sender.next_seq.wrapping_add(sender.window.max(65_535)));
        if in_window && ack_is_right {
            return self.complete(segment);
        }
        events.set(Event::StreamHandshakeWrongSeqWrongAck);
        Outcome::Refused
    }

    fn complete(&mut self, segment: &Segment<'_>) -> Outcome {
        self.state = State::Established;
        self.confirmed = true;
        self.note_ack(segment);
        let (sender, _) = self.ends(segment.way);
        if after(segment.end(), sender.next_seq) && !after(segment.tcp.seq, sender.next_seq) {
            sender.next_seq = segment.end();
        }
        if segment.has(FIN) {
            self.fin(segment);
        }
        DATA
    }
}
