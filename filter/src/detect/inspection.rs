//! One flow under inspection: its application layer and what rules remember of it.
//!
//! A step goes in this order: the application layer is fed; rules on addresses, on the packet and on the stream are
//! judged, then those on transactions; what matched is decided on and told; transactions that are finished are logged
//! and forgotten.

mod brief;
mod config;
mod quiet;
mod replace;
mod store;
mod tell;
mod wait;

use std::sync::Arc;

use weir_ids_rules::AppProtocol;
use weir_wire::numbers::{PROTOCOL_TCP, PROTOCOL_UDP};

use super::asks::Facts;
use super::frames::Framer;
use super::judge::{Judge, oriented};
use super::judge_tx::{self, TxView};
use super::marks::FlowMarks;
use super::side::{Side, Spoken};
use super::tags::Tagged;
use super::variables::Variables;
use super::verdict;
use super::{AppFacts, Direction, Findings, FlowVerdict, Look, Program, Scene, Shared, Sink, Step};
use crate::app::core::{Found, Outcome};
use crate::app::{Anomaly, App, Chunk, Context, Expectation};
use crate::event::Tuple;

pub use brief::Brief;
pub use quiet::Unheard;

/// Inspection state of one flow.
#[derive(Debug)]
pub struct Inspection {
    program: Arc<Program>,
    /// The initiator's.
    tuple: Tuple,
    app: App,
    sides: [Side; 2],
    marks: FlowMarks,
    /// The direction that sent payload last.
    talker: Option<Direction>,
    /// What a direction speaks has become known, and no packet that goes its way was judged since.
    found: [bool; 2],
    /// What the sides know of it.
    spoken: Spoken,
    /// Rules on the protocol alone that have matched, and in which direction.
    known: Vec<(u32, Direction)>,
    /// The verdict on the flow.
    verdict: Option<FlowVerdict>,
    /// What protocol detection met.
    events: Vec<Anomaly>,
    tag: Option<Tagged>,
    /// Cuts the streams into frames, where rules ask for them.
    framer: Option<Box<Framer>>,
    /// The handshake was complete at the last step.
    established: bool,
    /// What `filestore` keeps of its files.
    keeping: Option<Box<store::Keeping>>,
}

impl Inspection {
    /// State for a flow whose initiator sends `tuple`. `midstream`: its start was not seen.
    pub fn start(program: &Arc<Program>, tuple: &Tuple, midstream: bool) -> Box<Inspection> {
        let mut inspection = Box::new(Inspection {
            program: Arc::clone(program),
            tuple: *tuple,
            app: App::new(tuple, midstream),
            sides: [Side::default(), Side::default()],
            marks: FlowMarks::default(),
            talker: None,
            found: [false; 2],
            spoken: Spoken::Unknown,
            known: Vec::new(),
            verdict: None,
            events: Vec::new(),
            tag: None,
            framer: (!program.frames.is_empty() && !midstream).then(Box::default),
            established: false,
            keeping: None,
        });
        // They are long, and are written where they stay.
        for way in [Direction::Original, Direction::Reply] {
            inspection.sides[way as usize].begin(program, &oriented(tuple, way), way);
        }
        inspection
    }

    /// State for one packet of which only what is odd is judged.
    pub fn of_oddity(program: &Arc<Program>, tuple: &Tuple) -> Box<Inspection> {
        let mut inspection = Inspection::start(program, tuple, false);
        for side in &mut inspection.sides {
            (side.ends_done, side.wants_packets, side.wants_stream) = (true, false, false);
        }
        inspection
    }

    /// Rules on addresses alone are not asked.
    pub fn skip_ends(&mut self) {
        self.sides.iter_mut().for_each(|side| side.ends_done = true);
    }

    /// As [`Inspection::start`]; `expected` is what another flow announced of it.
    pub fn new(
        program: &Arc<Program>,
        shared: &mut Shared,
        tuple: &Tuple,
        midstream: bool,
        expected: Option<&Expectation>,
    ) -> Box<Inspection> {
        let mut inspection = Inspection::start(program, tuple, midstream);
        if let Some(expectation) = expected {
            inspection.expect(expectation, shared);
        }
        inspection
    }

    /// Another flow announced this one: what it speaks is known before its first byte.
    pub fn expect(&mut self, expectation: &Expectation, shared: &mut Shared) {
        let Shared { settings, expectations, .. } = shared;
        let mut context = Context { settings, tuple: &self.tuple, expectations };
        self.app.expect(expectation, &mut context);
    }

    /// Rules ask for what is odd about packets.
    pub fn watches_oddities(&self) -> bool {
        self.program.watches_oddities()
    }

    /// Bytes of streams have a use.
    pub fn wants_stream(&self) -> bool {
        self.program.follows_protocols() || self.sides.iter().any(|side| side.wants_stream)
    }

    /// Packets are judged by themselves.
    pub fn wants_packets(&self) -> bool {
        self.sides.iter().any(|side| side.wants_packets || !side.ends_done && !self.program.ends.is_empty())
    }

    /// Judges the rules on a stream as an application may read it otherwise; the application layer is left as it is.
    pub fn look_again(&mut self, step: &Step<'_>, shared: &mut Shared, findings: &mut Findings, sink: &mut dyn Sink) {
        *findings = Findings::default();
        if self.verdict.is_none() {
            self.detect(step, false, shared, findings);
            self.tell(step, shared, findings, sink);
            self.verdict = findings.flow;
        }
    }

    /// Bytes of a stream that are to be given again before the fresh ones, where they are at hand.
    pub fn lookback(&self) -> usize {
        self.sides.iter().map(|side| side.lookback).max().unwrap_or(0)
    }

    /// Its application layer.
    pub fn layer(&self) -> &App {
        &self.app
    }

    /// The same, to take something out of it.
    pub fn layer_mut(&mut self) -> &mut App {
        &mut self.app
    }

    /// What the flow speaks.
    pub fn app(&self) -> AppFacts {
        let identity = self.app.identity();
        AppFacts {
            protocol: identity.flow.protocol(),
            // Nobody looks for one in other protocols.
            failed: identity.flow == Found::Failed && matches!(self.tuple.protocol, PROTOCOL_TCP | PROTOCOL_UDP),
            by_way: [identity.to_server.protocol(), identity.to_client.protocol()],
            original: identity.original,
            expected: identity.expected,
        }
    }

    /// The initiator's tuple.
    pub fn tuple(&self) -> &Tuple {
        &self.tuple
    }

    /// What rules have set in the flow.
    pub fn variables(&self) -> Variables<'_> {
        Variables::new(&self.marks, &self.program)
    }

    /// Inspects a step. Allocates nothing once warm where nothing matches.
    pub fn step(&mut self, step: &Step<'_>, shared: &mut Shared, findings: &mut Findings, sink: &mut dyn Sink) {
        *findings = Findings::default();
        let (before, revision) = (*self.app.identity(), self.app.revision());
        let mut step = *step;
        let outcome = self.feed(&step, shared, findings);
        if outcome == Outcome::Reversed {
            step.way = opposite(step.way);
        }
        sink.heard(&mut self.app, step.way, findings.app_error);
        match step.stream.map(|stream| stream.look) {
            Some(Look::Later) => self.conclude(step.way),
            Some(Look::From(_)) => self.sides[step.way as usize].concluded = false,
            Some(Look::Now) | None => {}
        }
        let after = *self.app.identity();
        let [to_server, to_client] = &mut self.found;
        *to_server |= before.to_server != after.to_server;
        *to_client |= before.to_client != after.to_client;
        let found = match step.way {
            _ if !step.packet && !step.end => false,
            _ if step.end => *to_server || *to_client,
            Direction::Original => std::mem::take(to_server),
            Direction::Reply => std::mem::take(to_client),
        };
        if step.established && !std::mem::replace(&mut self.established, true) {
            // What came before (data of a SYN) was nothing yet to rules on established flows.
            self.sides.iter_mut().for_each(Side::search_anew);
            self.judge_anew();
        }
        self.speak(false);
        if self.app.revision() != revision {
            self.hear(&step, sink);
        }
        let hidden = findings.app_error && shared.errors_hide;
        if self.verdict.is_none() && !hidden && self.shows_rules(&step) {
            self.detect(&step, found, shared, findings);
            self.tell(&step, shared, findings, sink);
            self.store(shared);
            self.configure(shared);
            if self.verdict.is_none() {
                self.verdict = findings.flow;
            }
        }
        // The last messages of a handshake of TLS are encrypted themselves.
        let sealed = outcome == Outcome::Finished && after.flow == Found::Protocol(AppProtocol::Tls);
        if sealed || step.stream.is_some_and(|stream| matches!(stream.look, Look::From(_))) {
            self.sides[step.way as usize].waits = false;
        }
        // The packet that ended the handshake was looked at; those behind it are not.
        self.speak(outcome == Outcome::Finished);
        if step.packet {
            // What detection of the protocol found odd concerns the packet that brought it about.
            self.events.clear();
        }
        self.tell_tagged(&step, shared, sink);
        self.keep(shared);
        self.log(&step, shared.settings.keep_files > 0, sink);
        findings.settled = self.is_settled();
    }

    /// Whether a step shows rules anything: bytes that wait for more, without a packet of their own, are parsed only.
    fn shows_rules(&self, step: &Step<'_>) -> bool {
        let looked_at = step.stream.is_none_or(|stream| stream.look != Look::Later);
        step.packet || step.end || looked_at || self.framer.is_some()
    }

    /// Rules are asked again about the transactions that there are.
    #[inline(never)]
    fn judge_anew(&mut self) {
        for nth in 0..self.app.parsers() {
            let Some(parser) = self.app.parser_mut(nth) else { continue };
            let all = parser.transactions_mut();
            for index in 0..all.len() {
                let Some((mark, _)) = all.get_mut(index) else { continue };
                mark.detection.iter_mut().for_each(|memory| memory.renumber(&Some));
            }
        }
    }

    /// Takes the rules for what the flow speaks, where that has changed. `finished`: its parser has come to the end.
    fn speak(&mut self, finished: bool) {
        let spoken = match self.app.identity().flow {
            _ if matches!(self.spoken, Spoken::Sealed(_)) => self.spoken,
            // All that follows is encrypted.
            Found::Protocol(app @ (AppProtocol::Tls | AppProtocol::Ssh)) if finished => Spoken::Sealed(app),
            Found::Unknown => Spoken::Unknown,
            Found::Protocol(app) => Spoken::Protocol(app),
            Found::Failed => Spoken::Nothing,
        };
        let changed = std::mem::replace(&mut self.spoken, spoken) != spoken;
        if changed || matches!(spoken, Spoken::Sealed(_)) {
            self.choose(spoken, changed);
        }
    }

    /// Chooses the rules for what the flow speaks.
    #[inline(never)]
    fn choose(&mut self, spoken: Spoken, changed: bool) {
        for way in [Direction::Original, Direction::Reply] {
            let side = &mut self.sides[way as usize];
            // What came before the encryption, and waits, is looked at yet.
            let late = matches!(spoken, Spoken::Sealed(_)) && !side.sealed;
            if (changed || late) && !(late && side.waits) {
                side.speaks(&self.program, (&oriented(&self.tuple, way), way), &spoken);
            }
        }
    }

    /// Nothing is left to match or to tell: no rule on packets or streams concerns the flow, its application layer has
    /// nothing more to say, and its packets are not tagged.
    pub fn is_settled(&self) -> bool {
        let idle = |side: &Side| !side.wants_stream && !side.wants_packets;
        let live = (0..self.app.parsers()).filter_map(|nth| self.app.parser(nth));
        let over = self.app.is_over() && live.map(|parser| parser.transactions()).all(|all| all.is_empty());
        let app = !self.program.follows_protocols() || over;
        app && self.tag.is_none() && !self.wants_packets() && self.sides.iter().all(idle)
    }

    /// The end of a flow of datagrams changes nothing: its transactions are judged and told, and so is what it speaks.
    pub fn is_at_rest(&self) -> bool {
        let mut live = (0..self.app.parsers()).filter_map(|nth| self.app.parser(nth));
        self.tuple.protocol != PROTOCOL_TCP && self.found == [false; 2] && live.all(|p| p.transactions().is_empty())
    }

    /// Feeds the application layer.
    fn feed(&mut self, step: &Step<'_>, shared: &mut Shared, findings: &mut Findings) -> Outcome {
        let Shared { settings, expectations, .. } = shared;
        let mut context = Context { settings, tuple: &self.tuple, expectations };
        let time = step.view.time;
        let outcome = match &step.stream {
            Some(stream) => {
                let fresh = stream.text.get(stream.fresh..).unwrap_or_default();
                if !fresh.is_empty() && self.talker.replace(step.way) != Some(step.way) {
                    self.sides[step.way as usize].turn = stream.at + stream.fresh as u64;
                }
                let chunk = Chunk { bytes: fresh, gap: stream.gap, end: stream.end || step.end, time };
                self.app.feed(step.way, chunk, &mut context)
            }
            None if step.packet && self.tuple.protocol != PROTOCOL_TCP => {
                self.app.feed_datagram(step.way, step.view.payload, time, &mut context)
            }
            None => Outcome::Going,
        };
        match outcome {
            Outcome::Going => {}
            Outcome::Reversed => {
                self.reverse();
                findings.reversed = true;
            }
            Outcome::Error => findings.app_error = true,
            Outcome::Finished => findings.bypass = true,
        }
        outcome
    }

    /// Who was taken for the initiator is the responder.
    #[cold]
    fn reverse(&mut self) {
        self.tuple = oriented(&self.tuple, Direction::Reply);
        for way in [Direction::Original, Direction::Reply] {
            self.sides[way as usize] = Side::new(&self.program, &oriented(&self.tuple, way), way);
        }
        // The sides are made anew, and know nothing.
        self.spoken = Spoken::Unknown;
        self.talker = self.talker.map(opposite);
    }

    fn scene<'s>(&'s self, step: &'s Step<'s>) -> Scene<'s> {
        Scene { step, tuple: &self.tuple, app: self.app(), variables: self.variables() }
    }

    /// Judges the rules.
    fn detect(&mut self, step: &Step<'_>, found: bool, shared: &mut Shared, findings: &mut Findings) {
        let program: &Program = &self.program;
        let tuple = oriented(&self.tuple, step.way);
        let identity = *self.app.identity();
        let between = self.sides[step.way as usize].between;
        let facts = Facts { step, tuple: &tuple, between, identity: &identity, found, events: &self.events };
        shared.scratch.matched.clear();
        shared.scratch.room.contexts.clear();
        let mut judge = Judge {
            program,
            facts,
            marks: &mut self.marks,
            hosts: &mut shared.hosts,
            scratch: &mut shared.scratch,
            known: &mut self.known,
            undecided: false,
            overflows: 0,
        };
        let side = &mut self.sides[step.way as usize];
        if step.packet && !std::mem::replace(&mut side.ends_done, true) {
            judge.ends();
        }
        if step.packet && !step.view.events.is_empty() {
            judge.oddities();
        }
        if side.wants_packets || side.wants_stream {
            judge.packet_and_stream(side, &self.app);
        }
        if let Some(framer) = &mut self.framer {
            judge.frames(framer);
        }
        // What was acknowledged is judged with the next packet that goes its way, as a passive observer sees it.
        if step.packet || step.end {
            transactions(&mut self.app, &mut judge, step, &side.payload_hits);
            side.judged = Some((self.app.revision(), side.payload_hits.len()));
        }
        findings.undecided = judge.undecided;
        shared.overflows += judge.overflows;
        let sinks = (findings, &mut shared.told);
        let (thresholds, limit) = (&mut shared.thresholds, shared.alerts_per_packet);
        sinks.1.clear();
        let matched = &mut shared.scratch.matched;
        if !matched.is_empty() {
            verdict::decide(program, &facts, thresholds, matched, limit, sinks);
        }
    }
}

/// Judges the rules on the transactions of the step's direction; at the end of the flow on those of both.
fn transactions(app: &mut App, judge: &mut Judge<'_>, step: &Step<'_>, hits: &[u32]) {
    let tuple = *judge.facts.tuple;
    let turned = (oriented(&tuple, Direction::Reply), Step { way: opposite(step.way), ..*step });
    let over = app.is_over();
    let now = (app.revision(), hits.len());
    for nth in 0..app.parsers() {
        let Some(parser) = app.parser_mut(nth) else { continue };
        let protocol = parser.protocol();
        let all = parser.transactions_mut();
        for index in 0..all.len() {
            let Some((mark, transaction)) = all.get_mut(index) else { continue };
            let only = transaction.only();
            for way in [step.way, opposite(step.way)] {
                if only.is_some_and(|only| only != way) || (way != step.way && !step.end) {
                    continue;
                }
                let known = mark.detection.get_mut(way as usize).map(|memory| memory.judged.replace(now));
                if known == Some(Some(now)) && !step.end {
                    // Nothing has come since that a rule could ask.
                    continue;
                }
                let view = TxView { protocol, transaction, way, parser: nth, end: step.end, over };
                if way == step.way {
                    judge_tx::judge(judge, &view, mark, hits);
                } else {
                    judge.turned(&turned.0, &turned.1, |judge| judge_tx::judge(judge, &view, mark, &[]));
                }
                transaction.mark_inspected(way);
            }
        }
    }
}

fn opposite(way: Direction) -> Direction {
    match way {
        Direction::Original => Direction::Reply,
        Direction::Reply => Direction::Original,
    }
}
