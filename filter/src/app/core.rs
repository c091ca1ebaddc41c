//! The application layer of one flow: finds out the protocol, feeds the parser, keeps what a parser cannot use yet.
//!
//! The protocol is looked for in both directions on their own, on any port. Until it is known the bytes of a direction
//! wait here; when one direction tells it, the bytes that came first are parsed first. A parser may hand the flow over
//! to another protocol (STARTTLS, CONNECT, upgrades): then the next bytes of either direction tell anew.
//!
//! Limits: [`Settings::pending`](super::Settings::pending) bytes wait in a direction; beyond that the flow is parsed no
//! further and [`DETECTION_SKIPPED`] or the outcome [`Outcome::Error`] says so. Probes see the first
//! [`PROBED`](super::probe::PROBED) bytes of a direction only, so the cost of finding out is bounded as well.

use weir_ids_rules::{AppProtocol, Buffer};
use weir_wire::Instant;

use super::probe::{self, Evidence, Guess};
use super::{Anomaly, Context, Fed, Input, PROTOCOLS, Parser, Transactions};
use crate::event::Tuple;
use crate::inspect::Direction;

pub use identity::{Found, Identity};
use pending::Pending;
pub use resume::unkept;

/// The directions speak different protocols.
pub const MISMATCH: Anomaly = Anomaly("APPLAYER_MISMATCH_PROTOCOL_BOTH_DIRECTIONS");
/// The side that should have spoken second spoke first.
pub const WRONG_DIRECTION: Anomaly = Anomaly("APPLAYER_WRONG_DIRECTION_FIRST_DATA");
/// Only one direction tells the protocol.
pub const ONE_DIRECTION: Anomaly = Anomaly("APPLAYER_DETECT_PROTOCOL_ONLY_ONE_DIRECTION");
/// Too many bytes came without telling a protocol.
pub const DETECTION_SKIPPED: Anomaly = Anomaly("APPLAYER_PROTO_DETECTION_SKIPPED");
/// After STARTTLS came something else.
pub const NO_TLS: Anomaly = Anomaly("APPLAYER_NO_TLS_AFTER_STARTTLS");
/// A handed over flow speaks another protocol than was agreed.
pub const UNEXPECTED: Anomaly = Anomaly("APPLAYER_UNEXPECTED_PROTOCOL");

/// Bytes of a direction after which an unknown protocol is given up while the other direction is silent.
const ONE_SIDED: usize = 100_000;
/// Bytes after which a flow that was handed over must have told its protocol.
const CHANGE_DEPTH: usize = 4096;

/// Bytes of one direction of a TCP stream, in order.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'b> {
    /// The new bytes.
    pub bytes: &'b [u8],
    /// Bytes lost before them.
    pub gap: u64,
    /// The direction ends after them.
    pub end: bool,
    /// When the packet that brought them was seen.
    pub time: Instant,
}

/// What came of bytes that were handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well, or nothing is looked at any more.
    Going,
    /// The flow was met the wrong way round: its sides were swapped here, and must be swapped by the owner.
    Reversed,
    /// The parser could not go on (`app-layer.error-policy` says what is to be done).
    Error,
    /// Nothing that follows can be understood (encrypted): the flow may bypass inspection.
    Finished,
}

/// One direction.
#[derive(Debug, Default)]
struct Side {
    /// Bytes not used yet.
    pending: Pending,
    /// Bytes that must be there before the parser is asked again.
    need: usize,
    /// All bytes that came.
    seen: u64,
    /// It has ended, and the parser was told.
    ended: bool,
    evidence: Evidence,
}

/// What a flow says, and in which protocol.
#[derive(Debug)]
pub struct App {
    identity: Identity,
    tuple: Tuple,
    midstream: bool,
    sides: [Side; 2],
    parser: Option<Box<dyn Parser>>,
    former: Vec<Box<dyn Parser>>,
    /// The direction that spoke first, until a parser got bytes.
    first: Option<Direction>,
    parsing: bool,
    /// Nothing more is parsed.
    over: bool,
    changing: bool,
    /// The bytes that told the next protocol are being parsed.
    switching: bool,
    anomalies: Vec<Anomaly>,
    /// How often parsers were given something: since the last time nothing has changed in transactions where it is
    /// the same.
    revision: u64,
    /// What the newest request said when the flow was handed over.
    said: Vec<(Buffer, Vec<u8>)>,
}

fn other(way: Direction) -> Direction {
    match way {
        Direction::Original => Direction::Reply,
        Direction::Reply => Direction::Original,
    }
}

/// Whether a protocol may begin in a direction: of those named here only the initiator speaks first. A response of
/// HTTP whose request was lost is read all the same.
fn may_begin(protocol: AppProtocol, way: Direction) -> bool {
    use AppProtocol as P;
    let asks_first = matches!(
        protocol,
        P::Tls | P::Dns | P::Mdns | P::Llmnr | P::Ntp | P::Tftp | P::Ike | P::Dhcp | P::Snmp | P::Rdp
    );
    !asks_first || way == Direction::Original
}

/// Bytes of the files of transactions.
fn memory_of(all: &dyn Transactions) -> usize {
    let mut bytes = 0;
    for (_, transaction) in (0..all.len()).filter_map(|nth| all.get(nth)) {
        for way in [Direction::Original, Direction::Reply] {
            let files = transaction.files(way).map_or(&[][..], |files| files.list.as_slice());
            bytes += files.iter().map(|file| file.content.memory()).sum::<usize>();
        }
    }
    bytes
}

impl App {
    /// A flow of which nothing was seen. `midstream`: its start was missed.
    pub fn new(tuple: &Tuple, midstream: bool) -> App {
        App {
            identity: Identity::default(),
            tuple: *tuple,
            midstream,
            sides: [Side::default(), Side::default()],
            parser: None,
            former: Vec::new(),
            first: None,
            parsing: false,
            over: false,
            changing: false,
            switching: false,
            anomalies: Vec::new(),
            revision: 0,
            said: Vec::new(),
        }
    }

    /// A number that changes whenever a transaction may have changed.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The flow was announced by another one: its protocol is known from the start.
    pub fn expect(&mut self, expectation: &super::Expectation, context: &mut Context<'_>) {
        let protocol = expectation.protocol;
        self.revision += 1;
        let (to_server, to_client) = (Found::Protocol(protocol), Found::Protocol(protocol));
        self.identity = Identity { flow: to_server, to_server, to_client, ..self.identity };
        self.start_parser(protocol, context);
        if let Some(parser) = &mut self.parser {
            parser.expected(expectation);
        }
    }

    /// Reads what bytes that go this way will need. The result means nothing.
    #[inline]
    pub fn touch(&self, way: Direction) -> u64 {
        let pending = self.sides.get(way as usize).map_or(0, |side| side.seen ^ side.pending.start().len() as u64);
        pending ^ self.revision ^ u64::from(self.over)
    }

    /// What it speaks.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Parsers whose transactions are alive: those of protocols that the flow spoke before, then the present one.
    pub fn parsers(&self) -> usize {
        self.former.len() + usize::from(self.parser.is_some())
    }

    /// The nth of them.
    pub fn parser(&self, nth: usize) -> Option<&dyn Parser> {
        match self.former.get(nth) {
            Some(parser) => Some(parser.as_ref()),
            None if nth == self.former.len() => self.parser.as_deref(),
            None => None,
        }
    }

    /// The nth of them, to mark its transactions.
    pub fn parser_mut(&mut self, nth: usize) -> Option<&mut (dyn Parser + 'static)> {
        let formers = self.former.len();
        match self.former.get_mut(nth) {
            Some(parser) => Some(parser.as_mut()),
            None if nth == formers => self.parser.as_deref_mut(),
            None => None,
        }
    }

    /// Forgets parsers of earlier protocols that have no transactions left.
    pub fn forget_former(&mut self) {
        self.former.retain(|parser| !parser.transactions().is_empty());
    }

    /// Anomalies of protocol detection since the last call; those of parsers are asked of them.
    pub fn take_anomalies(&mut self) -> Vec<Anomaly> {
        std::mem::take(&mut self.anomalies)
    }

    /// Bytes that it holds: those that parsers cannot use yet, and those of files and bodies that are looked at.
    pub fn memory(&self) -> usize {
        let waiting = self.sides.iter().map(|side| side.pending.memory()).sum::<usize>();
        let parsers = self.former.iter().map(AsRef::as_ref).chain(self.parser.as_deref());
        waiting + parsers.map(|parser| memory_of(parser.transactions())).sum::<usize>()
    }

    /// Whether bytes still have a use.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Somebody reads the flow, whose protocol is known.
    pub fn is_reading(&self) -> bool {
        self.parser.is_some() && !self.over
    }

    /// Bytes of a direction wait for more, which the parser cannot use yet.
    pub fn waits(&self, way: Direction) -> bool {
        let [original, reply] = &self.sides;
        let side = match way {
            Direction::Original => original,
            Direction::Reply => reply,
        };
        !side.pending.is_empty()
    }

    /// Takes bytes of a direction of a TCP stream.
    pub fn feed(&mut self, way: Direction, chunk: Chunk<'_>, context: &mut Context<'_>) -> Outcome {
        if self.over {
            return Outcome::Going;
        }
        self.revision += 1;
        if chunk.gap > 0 {
            let outcome = self.gap(way, chunk.gap, context);
            if self.over || outcome != Outcome::Going {
                return outcome;
            }
        }
        if chunk.bytes.is_empty() && !chunk.end {
            return Outcome::Going;
        }
        if !chunk.bytes.is_empty() && self.first.is_none() {
            self.first = Some(way);
        }
        self.side(way).seen += chunk.bytes.len() as u64;
        if self.identity.side(way) != Found::Unknown && !self.changing {
            return self.parse(way, chunk, context);
        }
        if !self.keep(way, chunk.bytes, context) {
            self.anomaly(DETECTION_SKIPPED);
            return self.give_up();
        }
        self.find(way, chunk.end, chunk.time, context)
    }

    /// Takes a datagram.
    pub fn feed_datagram(&mut self, way: Direction, bytes: &[u8], time: Instant, context: &mut Context<'_>) -> Outcome {
        if self.over || bytes.is_empty() {
            return Outcome::Going;
        }
        self.revision += 1;
        let mut way = way;
        let mut outcome = Outcome::Going;
        if self.identity.side(way) == Found::Unknown {
            let (found, reversed) = self.guess_datagram(way, bytes, context);
            *self.identity.side_mut(way) = found;
            let opposite = self.identity.side(other(way));
            match (found.protocol(), opposite.protocol()) {
                (Some(ours), Some(theirs)) if ours != theirs => self.anomaly(MISMATCH),
                (Some(_), None) => self.identity.flow = found,
                (None, None) => self.identity.flow = Found::Failed,
                (None, Some(_)) => *self.identity.side_mut(way) = opposite,
                (Some(_), Some(_)) => {}
            }
            if reversed && opposite == Found::Unknown {
                self.reverse();
                way = other(way);
                outcome = Outcome::Reversed;
            }
            if let (None, Some(protocol)) = (&self.parser, self.identity.flow.protocol()) {
                self.start_parser(protocol, context);
            }
            self.over = self.identity.to_server == Found::Failed && self.identity.to_client == Found::Failed;
        }
        let Some(parser) = &mut self.parser else { return outcome };
        match parser.feed(way, Input { bytes, end: true, time }, context) {
            Fed::Used(_) | Fed::Wait { .. } | Fed::Upgrade { .. } => outcome,
            Fed::Failed if outcome == Outcome::Going => Outcome::Error,
            Fed::Failed => outcome,
            Fed::Finished => {
                self.over = true;
                Outcome::Finished
            }
        }
    }

    /// Whether the payload of a datagram may tell something.
    pub fn hears_datagrams(&self, way: Direction) -> bool {
        !self.over && (self.parser.is_some() || self.identity.side(way) == Found::Unknown)
    }

    fn guess_datagram(&self, way: Direction, bytes: &[u8], context: &Context<'_>) -> (Found, bool) {
        let mut evidence = Evidence::default();
        match probe::guess(way, bytes, &self.tuple, &mut evidence, context.settings, true) {
            Guess::Is(protocol) => (Found::Protocol(protocol), false),
            Guess::Reversed(protocol) => (Found::Protocol(protocol), true),
            Guess::Unknown => (Found::Failed, false),
        }
    }

    fn side(&mut self, way: Direction) -> &mut Side {
        match (way, &mut self.sides) {
            (Direction::Original, [side, _]) | (Direction::Reply, [_, side]) => side,
        }
    }

    fn anomaly(&mut self, anomaly: Anomaly) {
        if self.anomalies.len() < 16 {
            self.anomalies.push(anomaly);
        }
    }

    fn gap(&mut self, way: Direction, bytes: u64, context: &mut Context<'_>) -> Outcome {
        if self.changing || (self.identity.side(way) == Found::Unknown && self.identity.flow == Found::Unknown) {
            return self.give_up();
        }
        if self.identity.side(way) == Found::Unknown {
            *self.identity.side_mut(way) = Found::Failed;
        }
        let side = self.side(way);
        let lost = bytes.saturating_add(side.pending.len() as u64);
        side.pending.whole().clear();
        side.need = 0;
        let Some(parser) = &mut self.parser else { return Outcome::Going };
        if parser.gap(way, lost, context) {
            return Outcome::Going;
        }
        self.give_up();
        Outcome::Error
    }

    /// Hands bytes to the parser, with those kept.
    fn parse(&mut self, way: Direction, chunk: Chunk<'_>, context: &mut Context<'_>) -> Outcome {
        let Some(mut parser) = self.parser.take() else { return Outcome::Going };
        self.parsing = true;
        let time = chunk.time;
        let limit = context.settings.pending;
        let side = self.side(way);
        if side.ended {
            self.parser = Some(parser);
            return Outcome::Going;
        }
        side.ended = chunk.end;
        let fed = if side.pending.is_empty() {
            let fed = parser.feed(way, Input { bytes: chunk.bytes, end: chunk.end, time }, context);
            let rest = chunk.bytes.get(side.note(fed, chunk.bytes.len())..).unwrap_or_default();
            side.pending.whole().extend_from_slice(rest);
            fed
        } else {
            let pending = side.pending.whole();
            pending.extend_from_slice(chunk.bytes);
            if pending.len() < side.need && !chunk.end && pending.len() <= limit {
                self.parser = Some(parser);
                return Outcome::Going;
            }
            let fed = parser.feed(way, Input { bytes: pending, end: chunk.end, time }, context);
            let given = pending.len();
            let used = side.note(fed, given);
            side.pending.whole().drain(..used);
            fed
        };
        let overfull = side.pending.len() > limit;
        self.refine(parser.protocol());
        self.parser = Some(parser);
        self.after(way, fed, chunk, overfull, context)
    }

    /// Acts on what the parser said.
    fn after(
        &mut self,
        way: Direction,
        fed: Fed,
        chunk: Chunk<'_>,
        overfull: bool,
        context: &mut Context<'_>,
    ) -> Outcome {
        match fed {
            Fed::Used(_) | Fed::Wait { .. } if overfull => {
                self.give_up();
                Outcome::Error
            }
            Fed::Used(_) | Fed::Wait { .. } => Outcome::Going,
            Fed::Failed => {
                self.give_up();
                Outcome::Error
            }
            Fed::Finished => {
                self.give_up();
                Outcome::Finished
            }
            // A protocol that a flow is just being handed to cannot hand it on.
            Fed::Upgrade { .. } if self.switching => {
                self.parser.iter_mut().for_each(|parser| parser.refuse_upgrade());
                Outcome::Going
            }
            Fed::Upgrade { to, .. } => {
                self.changing = true;
                self.said = self.parser.as_deref().map(find::newest_request).unwrap_or_default();
                self.identity.expected = to;
                self.side(way).ended = false;
                // Bytes that either side sent ahead tell the protocol.
                for way in [way, other(way)] {
                    if self.changing && !self.side(way).pending.is_empty() {
                        let outcome = self.find(way, chunk.end, chunk.time, context);
                        if self.over || outcome != Outcome::Going {
                            return outcome;
                        }
                    }
                }
                Outcome::Going
            }
        }
    }

    /// Makes the parser of a protocol the present one.
    fn start_parser(&mut self, protocol: AppProtocol, context: &Context<'_>) {
        if let Some(before) = self.parser.take()
            && !before.transactions().is_empty()
            && self.former.len() < 4
        {
            self.former.push(before);
        }
        let description = PROTOCOLS.iter().find(|description| description.protocol == protocol);
        self.parser = description.map(|description| (description.start)(context.settings, &self.tuple));
        if let Some(parser) = self.parser.as_mut().filter(|_| !self.said.is_empty()) {
            parser.inherit(&std::mem::take(&mut self.said));
        }
    }

    /// Swaps the sides: who was taken for the initiator is the responder.
    fn reverse(&mut self) {
        let Identity { to_server, to_client, .. } = self.identity;
        (self.identity.to_server, self.identity.to_client) = (to_client, to_server);
        self.sides.swap(0, 1);
        self.first = self.first.map(other);
        let tuple = &mut self.tuple;
        std::mem::swap(&mut tuple.source, &mut tuple.destination);
        std::mem::swap(&mut tuple.source_port, &mut tuple.destination_port);
    }
}

impl Side {
    /// Remembers what the parser waits for; says how many of the bytes it used.
    fn note(&mut self, fed: Fed, given: usize) -> usize {
        let (used, need) = match fed {
            Fed::Used(used) | Fed::Upgrade { used, .. } => (used, 0),
            Fed::Wait { used, need } => (used, need),
            Fed::Failed | Fed::Finished => (given, 0),
        };
        self.need = need;
        used.min(given)
    }
}

mod find;
mod identity;
mod pending;
mod resume;
#[cfg(test)]
mod tests;
