//! A connection that carries data.

use super::{DATA, NO_DATA, Outcome, Segment, Session, State, after, not_before};
use crate::decode::tcp::flag::{ACK, FIN, RST, SYN};
use crate::decode::{Event, Events};
use crate::inspect::Direction;

impl Session {
    /// Takes a segment that is just what comes next, as nearly all are: it begins where the sender has left off, lies within
    /// the window, acknowledges what was sent, and nothing about it is odd. `false` where it is another, and must be looked
    /// at more closely.
    #[inline]
    pub(super) fn follows(&mut self, segment: &Segment<'_>) -> bool {
        let tcp = segment.tcp;
        let plain = self.state == State::Established && tcp.flags & (SYN | FIN | RST | ACK) == ACK;
        let whole = !self.oneside && !self.midstream;
        let stamp = tcp.options.timestamps.filter(|_| self.timestamps).map(|(stamp, _)| stamp);
        let (sender, receiver) = self.ends(segment.way);
        let end = segment.end();
        let next = plain && whole && tcp.seq == sender.next_seq && not_before(tcp.seq, sender.last_ack);
        let fits = segment.len() == 0 || not_before(sender.next_win, end);
        let on_time = match (stamp, sender.stamp) {
            (Some(stamp), Some((last, _))) => not_before(stamp, last),
            (_, None) | (None, _) => true,
        };
        let follows = next && fits && on_time && not_before(receiver.next_seq, tcp.ack);
        if follows {
            sender.next_seq = end;
            self.note_ack(segment);
        }
        follows
    }

    pub(super) fn established(&mut self, segment: &Segment<'_>, events: &mut Events) -> Outcome {
        if segment.has(RST) {
            return if self.reset_fits(segment, events) { self.reset(segment) } else { Outcome::Refused };
        }
        if segment.has(SYN | ACK) {
            return self.syn_ack_late(segment, events);
        }
        if segment.has(SYN) {
            let event = match segment.way {
                Direction::Reply => Event::StreamEstablishedSynToclient,
                Direction::Original if segment.tcp.seq != self.sides[0].isn => Event::StreamEstablishedSynResendDiffSeq,
                Direction::Original => Event::StreamEstablishedSynResend,
            };
            events.set(event);
            return Outcome::Refused;
        }
        if !self.stamp_fits(segment, events) {
            return Outcome::Refused;
        }
        if segment.has(FIN) {
            return self.first_fin(segment, events);
        }
        if segment.has(ACK) { self.data(segment, events) } else { NO_DATA }
    }

    fn syn_ack_late(&mut self, segment: &Segment<'_>, events: &mut Events) -> Outcome {
        let [client, server] = &self.sides;
        let event = if segment.way == Direction::Original {
            Event::StreamEstablishedSynAckToserver
        } else if segment.tcp.ack != client.isn.wrapping_add(1) && !self.fast_open {
            Event::StreamEstablishedSynAckResendWithDifferentAck
        } else if segment.tcp.seq != server.isn {
            Event::StreamEstablishedSynAckResendWithDiffSeq
        } else if self.confirmed {
            Event::StreamEstablishedSynAckResend
        } else {
            return NO_DATA;
        };
        events.set(event);
        Outcome::Refused
    }

    fn data(&mut self, segment: &Segment<'_>, events: &mut Events) -> Outcome {
        if !self.ack_fits(segment, events) {
            events.set(Event::StreamEstablishedInvalidAck);
            return Outcome::Refused;
        }
        let lenient = self.midstream || self.oneside;
        let (sender, _) = self.ends(segment.way);
        let (seq, end) = (segment.tcp.seq, segment.end());
        if !not_before(end, sender.last_ack) {
            if segment.len() > 0 && !lenient {
                events.set(Event::StreamEstablishedPacketBeforeLastAck);
                return Outcome::Refused;
            }
            // An old acknowledgment, or a side that was met in its middle.
            return if lenient { self.fits(segment) } else { Outcome::Skipped };
        }
        if after(end, sender.next_win) && !lenient && segment.len() > 0 && sender.window > 0 {
            events.set(Event::StreamEstablishedPacketOutOfWindow);
            return Outcome::Refused;
        }
        if segment.len() > 0 && before_or_at(end, sender.next_seq) {
            events.set(Event::StreamPacketRetransmission);
        }
        if seq == sender.next_seq
            || (!not_before(seq, sender.next_seq) && after(end, sender.next_seq))
            || after(sender.last_ack, sender.next_seq)
        {
            sender.next_seq = end;
        }
        self.fits(segment)
    }

    fn fits(&mut self, segment: &Segment<'_>) -> Outcome {
        self.note_ack(segment);
        DATA
    }

    /// The first FIN: the client's leads to CLOSE_WAIT, the server's to FIN_WAIT1.
    fn first_fin(&mut self, segment: &Segment<'_>, events: &mut Events) -> Outcome {
        if !self.ack_fits(segment, events) {
            events.set(Event::StreamFinInvalidAck);
            return Outcome::Refused;
        }
        let lenient = self.midstream || self.oneside;
        let beyond = self.oneside && self.fin_limit.is_some_and(|limit| after(segment.tcp.seq, limit));
        let (sender, _) = self.ends(segment.way);
        let seq = segment.tcp.seq;
        let limit = sender.last_ack.wrapping_add(sender.window.max(1));
        let outside = !not_before(seq, sender.last_ack) && !not_before(segment.end(), sender.next_seq);
        if beyond || !lenient && (outside || after(seq, limit) && after(seq, sender.next_seq)) {
            events.set(Event::StreamFinOutOfWindow);
            return Outcome::Refused;
        }
        self.fin(segment);
        self.note_ack(segment);
        DATA
    }

    /// Notes a FIN that was believed, while data may flow the other way.
    pub(super) fn fin(&mut self, segment: &Segment<'_>) {
        self.state = match segment.way {
            Direction::Original => State::CloseWait,
            Direction::Reply => State::FinWait1,
        };
        let (sender, _) = self.ends(segment.way);
        sender.finished = true;
        if not_before(segment.end(), sender.next_seq) {
            sender.next_seq = segment.end().wrapping_add(1);
        }
    }
}

/// `a` lies before `b` or at it.
fn before_or_at(a: u32, b: u32) -> bool {
    !after(a, b)
}

#[cfg(test)]
mod tests {
    use super::super::{Session, StreamSettings};
    use super::*;
    use crate::capture::Settings;
    use crate::decode::Tcp;
    use crate::decode::tcp::Options;
    use weir_wire::Instant;

    /// The same for a seed, and nearly random.
    fn chance(seed: &mut u64, of: u64) -> u64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) % of
    }

    /// A segment of either side that mostly follows, and sometimes is anything.
    fn segment(session: &Session, seed: &mut u64) -> (Tcp, usize, Direction) {
        let way = if chance(seed, 2) == 0 { Direction::Original } else { Direction::Reply };
        let (sender, receiver) = match way {
            Direction::Original => (&session.sides[0], &session.sides[1]),
            Direction::Reply => (&session.sides[1], &session.sides[0]),
        };
        let near = |value: u32, seed: &mut u64| match chance(seed, 12) {
            0 => value.wrapping_sub(chance(seed, 3000) as u32),
            1 => value.wrapping_add(chance(seed, 90_000) as u32),
            _ => value,
        };
        let (seq, ack) = (near(sender.next_seq, seed), near(receiver.next_seq, seed));
        let stamp = sender.stamp.map_or(0, |(last, _)| last);
        let timestamps = (chance(seed, 5) > 0).then(|| (near(stamp.wrapping_add(1), seed), 0));
        let flags = match chance(seed, 400) {
            0 => SYN,
            1 => RST | ACK,
            2 => FIN | ACK,
            3 => 0,
            _ => ACK,
        };
        let window = chance(seed, 4) as u16 * 16_000;
        let options = Options { timestamps, ..Options::default() };
        let length = chance(seed, 3) as usize * 700;
        (Tcp { seq, ack, flags, window, urgent: 0, options }, length, way)
    }

    #[test]
    fn a_segment_that_follows_does_what_it_does_where_it_is_looked_at_closely() {
        let settings: StreamSettings = Settings::from_options(&crate::capture::Options::default(), false).stream;
        let mut followed = 0;
        for run in 0..60 {
            let mut seed = run;
            let (mut quick, mut close) = (opened(run % 2 == 0), opened(run % 2 == 0));
            for time in 0..400 {
                let (tcp, length, way) = segment(&close, &mut seed);
                let data = [7; 1400];
                let segment = Segment { tcp: &tcp, data: &data[..length], way, time: Instant(time) };
                let (mut told, mut expected) = (Events::default(), Events::default());
                let outcome = quick.segment(&segment, &settings, &mut told);
                close.flags |= tcp.flags;
                close.sides[super::super::side(way)].flags |= tcp.flags;
                followed += u32::from(outcome == DATA);
                assert_eq!(outcome, close.any_segment(&segment, &settings, &mut expected), "{run} {time} {tcp:?}");
                assert_eq!((told, format!("{quick:?}")), (expected, format!("{close:?}")), "{run} {time} {tcp:?}");
            }
        }
        assert!(followed > 5000, "{followed}");
    }

    /// A connection of which the handshake was seen, near the end of the number space.
    fn opened(stamps: bool) -> Session {
        let settings: StreamSettings = Settings::from_options(&crate::capture::Options::default(), false).stream;
        let timestamps = stamps.then_some((1, 0));
        let options = Options { timestamps, ..Options::default() };
        let (client, server) = (u32::MAX - 9000, 77);
        let tcp = |seq, ack, flags| Tcp { seq, ack, flags, window: 60_000, urgent: 0, options };
        let at = |tcp, way| Segment { tcp, data: &[], way, time: Instant::ZERO };
        let syn = tcp(client, 0, SYN);
        let mut events = Events::default();
        let mut session = *Session::from_syn(&at(&syn, Direction::Original));
        let answer = tcp(server, client.wrapping_add(1), SYN | ACK);
        session.segment(&at(&answer, Direction::Reply), &settings, &mut events);
        let last = tcp(client.wrapping_add(1), server + 1, ACK);
        session.segment(&at(&last, Direction::Original), &settings, &mut events);
        assert_eq!((session.state, session.timestamps, events.is_empty()), (State::Established, stamps, true));
        session
    }
}
