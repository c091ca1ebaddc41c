//! Finding out the protocol of a TCP flow, and starting its parser with the bytes that came so far.

use super::{
    App, CHANGE_DEPTH, Chunk, DETECTION_SKIPPED, Found, MISMATCH, NO_TLS, ONE_DIRECTION, ONE_SIDED, Outcome, Pending,
    UNEXPECTED, WRONG_DIRECTION, may_begin, other,
};
use crate::app::probe::{self, Evidence, Guess};
use crate::app::{Context, Parser};
use crate::inspect::Direction;
use weir_ids_rules::{AppProtocol, Buffer};
use weir_wire::Instant;

/// Headers of a request that are handed over.
const HEADERS: usize = 64;

/// What the newest transaction asked for, for the parser of another protocol that answers it.
pub(super) fn newest_request(parser: &dyn Parser) -> Vec<(Buffer, Vec<u8>)> {
    let list = parser.transactions();
    let Some((_, newest)) = list.len().checked_sub(1).and_then(|nth| list.get(nth)) else { return Vec::new() };
    let value = |buffer: Buffer, nth: usize| {
        let mut work = Vec::new();
        Some((buffer, newest.buffer(buffer, Direction::Original, nth, &mut work)?.to_vec()))
    };
    let line = [Buffer::HttpMethod, Buffer::HttpUriRaw, Buffer::HttpHostRaw];
    let said = line.into_iter().filter_map(|buffer| value(buffer, 0));
    let said = said.chain((0..HEADERS).map_while(|nth| value(Buffer::HttpRequestHeader, nth)));
    said.collect()
}

impl App {
    /// The parser has found out more exactly what is spoken (DNS in HTTP/2).
    pub(super) fn refine(&mut self, spoken: AppProtocol) {
        let Some(before) = self.identity.flow.protocol().filter(|&before| before != spoken) else { return };
        let exactly = |found: &mut Found| {
            if *found == Found::Protocol(before) {
                *found = Found::Protocol(spoken);
            }
        };
        exactly(&mut self.identity.flow);
        exactly(&mut self.identity.to_server);
        exactly(&mut self.identity.to_client);
        self.identity.original.get_or_insert(before);
    }

    /// Keeps bytes until the protocol is known. `false`: too many.
    pub(super) fn keep(&mut self, way: Direction, bytes: &[u8], context: &Context<'_>) -> bool {
        let limit = context.settings.pending;
        let side = self.side(way);
        if side.pending.len() + bytes.len() > limit.max(2 * ONE_SIDED) {
            return false;
        }
        side.pending.put_aside(bytes);
        true
    }

    /// Looks for the protocol in the bytes that wait in a direction.
    pub(super) fn find(&mut self, way: Direction, end: bool, time: Instant, context: &mut Context<'_>) -> Outcome {
        if self.changing {
            return self.find_next(way, end, time, context);
        }
        match self.guess(way, end, context) {
            // What the parser has refined already looks like its beginning from the other side.
            Guess::Is(protocol) if self.identity.original == Some(protocol) => {
                self.found(way, self.identity.flow.protocol().unwrap_or(protocol), end, time, context)
            }
            Guess::Is(protocol) => self.found(way, protocol, end, time, context),
            Guess::Reversed(protocol) => {
                if !self.midstream || self.identity.side(other(way)) != Found::Unknown {
                    return self.found(way, protocol, end, time, context);
                }
                self.reverse();
                match self.found(other(way), protocol, end, time, context) {
                    Outcome::Going | Outcome::Reversed | Outcome::Finished => Outcome::Reversed,
                    Outcome::Error => Outcome::Error,
                }
            }
            Guess::Unknown => self.not_found(way, end, time, context),
        }
    }

    fn guess(&mut self, way: Direction, end: bool, context: &Context<'_>) -> Guess {
        let tuple = self.tuple;
        let side = self.side(way);
        let guess = probe::guess(way, side.pending.start(), &tuple, &mut side.evidence, context.settings, end);
        if guess == Guess::Unknown && self.midstream && self.identity.side(other(way)) == Found::Unknown {
            return self.guess_backwards(way, context);
        }
        guess
    }

    /// A flow met in its middle may have been met the wrong way round: the patterns of the other direction are tried.
    fn guess_backwards(&mut self, way: Direction, context: &Context<'_>) -> Guess {
        let tuple = self.tuple;
        let pending = self.side(way).pending.start();
        match probe::pattern(other(way), pending, &tuple, context.settings) {
            Some(protocol) => Guess::Reversed(protocol),
            None => Guess::Unknown,
        }
    }

    /// A direction told its protocol.
    fn found(
        &mut self,
        way: Direction,
        protocol: AppProtocol,
        end: bool,
        time: Instant,
        context: &mut Context<'_>,
    ) -> Outcome {
        let ours = Found::Protocol(protocol);
        let theirs = self.identity.side(other(way));
        *self.identity.side_mut(way) = ours;
        match theirs {
            Found::Protocol(before) if before != protocol => {
                self.anomaly(MISMATCH);
                // Bytes already parsed decide; without any the responder is believed.
                self.identity.flow = if !self.parsing && way == Direction::Reply { ours } else { theirs };
            }
            Found::Protocol(_) | Found::Unknown | Found::Failed => self.identity.flow = ours,
        }
        let Some(protocol) = self.identity.flow.protocol() else { return Outcome::Going };
        if !self.parsing {
            let first = self.first.unwrap_or(way);
            // Of a flow met in its middle the first bytes may have been missed.
            if !self.midstream && !may_begin(protocol, first) {
                self.anomaly(WRONG_DIRECTION);
                return self.give_up();
            }
            self.start_parser(protocol, context);
        }
        // What came first is parsed first, even where it did not tell the protocol itself.
        if let Some(first) = self.first
            && first != way
            && !self.parsing
            && self.identity.side(first) == Found::Unknown
        {
            let outcome = self.release(first, false, time, context);
            if self.over || outcome != Outcome::Going {
                return outcome;
            }
            self.settle_opposite(first);
        }
        self.release(way, end, time, context)
    }

    /// The other direction's bytes were parsed without having told a protocol.
    fn settle_opposite(&mut self, way: Direction) {
        let side = self.side(way);
        if side.evidence.is_done() {
            self.anomaly(ONE_DIRECTION);
            *self.identity.side_mut(way) = Found::Failed;
        }
    }

    /// Hands the bytes that wait in a direction to the parser.
    fn release(&mut self, way: Direction, end: bool, time: Instant, context: &mut Context<'_>) -> Outcome {
        let bytes = self.side(way).pending.take();
        self.parse(way, Chunk { bytes: &bytes, gap: 0, end, time }, context)
    }

    /// A direction does not tell its protocol, or not yet.
    fn not_found(&mut self, way: Direction, end: bool, time: Instant, context: &mut Context<'_>) -> Outcome {
        let done = self.side(way).evidence.is_done();
        if self.midstream && done && way == Direction::Original && self.identity.flow == Found::Unknown {
            return self.give_up();
        }
        let Found::Protocol(protocol) = self.identity.side(other(way)) else {
            return self.check_limits();
        };
        if !self.parsing && !may_begin(protocol, way) {
            return self.give_up();
        }
        if !done && !end {
            return Outcome::Going;
        }
        // A direction that ended before it could tell is not odd.
        if done {
            self.anomaly(ONE_DIRECTION);
            *self.identity.side_mut(way) = Found::Failed;
        }
        self.release(way, end, time, context)
    }

    /// Neither direction has told a protocol: whether to go on waiting.
    fn check_limits(&mut self) -> Outcome {
        let [original, reply] = &self.sides;
        let sizes = (original.pending.len(), reply.pending.len());
        let done = (original.evidence.is_done(), reply.evidence.is_done());
        if done.0 && done.1 {
            // What ended early is unknown; what told nothing is known to be none.
            let unknown = original.evidence.is_cut_short() || reply.evidence.is_cut_short();
            return if unknown { self.stop() } else { self.give_up() };
        }
        let skipped = sizes.0.max(sizes.1) > 2 * ONE_SIDED
            || (done.0 && sizes.0 > ONE_SIDED && sizes.1 == 0)
            || (done.1 && sizes.1 > ONE_SIDED && sizes.0 == 0)
            || (done.1 && sizes.1 > ONE_SIDED && original.evidence.probes_done())
            || (done.0 && sizes.0 > ONE_SIDED && reply.evidence.probes_done());
        if skipped {
            self.anomaly(DETECTION_SKIPPED);
            return self.give_up();
        }
        Outcome::Going
    }

    /// Looks for the protocol that a flow was handed over to.
    fn find_next(&mut self, way: Direction, end: bool, time: Instant, context: &mut Context<'_>) -> Outcome {
        let expected = self.identity.expected;
        let agreed = expected.filter(|&protocol| self.agrees(protocol, way, context));
        let guess = match agreed {
            Some(protocol) => Guess::Is(protocol),
            None => {
                self.side(way).evidence = Evidence::default();
                self.guess(way, end, context)
            }
        };
        let (Guess::Is(protocol) | Guess::Reversed(protocol)) = guess else {
            if end || self.side(way).pending.len() >= CHANGE_DEPTH {
                return self.give_up();
            }
            return Outcome::Going;
        };
        self.changing = false;
        self.identity.original = self.identity.flow.protocol();
        let found = Found::Protocol(protocol);
        self.identity.flow = found;
        (self.identity.to_server, self.identity.to_client) = (Found::Unknown, Found::Unknown);
        *self.identity.side_mut(way) = found;
        self.sides.iter_mut().for_each(|side| {
            side.evidence = Evidence::default();
            side.need = 0;
        });
        if let Some(expected) = expected
            && expected != protocol
        {
            self.anomaly(UNEXPECTED);
            if expected == AppProtocol::Tls {
                self.anomaly(NO_TLS);
            }
        }
        self.start_parser(protocol, context);
        self.switching = true;
        let outcome = self.release(way, end, time, context);
        self.switching = false;
        if self.over || outcome != Outcome::Going || self.side(other(way)).pending.is_empty() {
            return outcome;
        }
        self.find(other(way), false, time, context)
    }

    /// Whether the bytes that wait look like the protocol that was agreed on.
    fn agrees(&mut self, protocol: AppProtocol, way: Direction, context: &Context<'_>) -> bool {
        let tuple = self.tuple;
        probe::agrees(protocol, way, self.side(way).pending.whole(), &tuple, context.settings)
    }

    /// Nothing more is parsed, since nothing more comes.
    fn stop(&mut self) -> Outcome {
        self.over = true;
        self.sides.iter_mut().for_each(|side| side.pending = Pending::default());
        Outcome::Going
    }

    /// Nothing more is parsed.
    pub(super) fn give_up(&mut self) -> Outcome {
        if self.identity.flow == Found::Unknown {
            self.identity.flow = Found::Failed;
        }
        for side in [&mut self.identity.to_server, &mut self.identity.to_client] {
            if *side == Found::Unknown {
                *side = Found::Failed;
            }
        }
        self.stop()
    }
}
