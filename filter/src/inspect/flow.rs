//! One flow that is followed: what happens to a packet, in order.
//!
//! 1. TCP: the segment's bytes join the stream ([`Stream`]); acknowledged bytes are given up.
//! 2. The packet, and the bytes that became readable, are judged by the rules ([`Inspection`]).
//! 3. What they decided is what becomes of the packet.

mod watched;

use std::sync::Arc;

use weir_ids_rules::AppProtocol;
use weir_ids_rules::rule::Action;
use weir_wire::numbers::{PROTOCOL_TCP, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, TCP_URG};
use weir_wire::{Instant, Packet, PortId};

use super::program::RuleSetProgram;
use super::stream::{Stream, Taken};
use super::told::{Beside, Told};
use super::urgent::Urgent;
use super::{Direction, Findings, Hold, Judgement, Seen, StreamMemory};
use crate::content::Watch;
use crate::decode::{Events, Tcp, View};
use crate::detect::{self, FlowFacts, FlowVerdict, Inspection, Look, Step, StreamBytes, Verdict, oriented};
use crate::event::Tuple;
use crate::scan::Scan;
pub use watched::Watched;

/// Inspection state of a flow that is followed.
#[derive(Debug)]
pub struct Followed {
    inspection: Box<Inspection>,
    /// The initiator's.
    tuple: Tuple,
    sides: [Side; 2],
    /// There are rules for what streams carry.
    wants_stream: bool,
    /// A `pass` rule let the flow through.
    passed: bool,
    /// A rule that refuses could not be decided on bytes of a stream, so none of it goes on.
    undecided: bool,
    /// Directions of which all has been seen that is wanted, see [`Followed::is_through`].
    through: [bool; 2],
    /// The content filter's part, while sites may still be named.
    watch: Option<Box<Watch>>,
    /// The virus check's part, while files may still come.
    scan: Option<Box<Scan>>,
    /// Bytes that the application layer holds, as told to [`StreamMemory`] under this port.
    layer: (PortId, usize),
    /// Its first bytes were read.
    heard: bool,
}

/// One direction.
#[derive(Debug, Default)]
struct Side {
    stream: Stream,
    /// Urgent bytes among the recent ones.
    urgent: Urgent,
}

impl Followed {
    /// State with this inspection for a flow whose initiator sends `tuple`. `midstream`: the flow's start was not seen.
    pub fn with(inspection: Box<Inspection>, tuple: &Tuple, midstream: bool, (watch, scan): Watched) -> Followed {
        let wants_stream = inspection.wants_stream() || watch.is_some() || scan.is_some();
        let mut sides = [Side::default(), Side::default()];
        if midstream {
            sides.iter_mut().for_each(|side| side.stream.join_late());
        }
        Followed {
            inspection,
            tuple: *tuple,
            sides,
            wants_stream,
            passed: false,
            undecided: false,
            through: [false; 2],
            watch,
            scan,
            layer: (PortId::default(), 0),
            heard: midstream,
        }
    }

    /// Inspects one packet; fills `findings`, which the caller has cleared. Allocates nothing once warm where nothing
    /// matches.
    pub fn inspect(&mut self, seen: Seen, packet: &Packet, memory: &mut StreamMemory, findings: &mut Findings) {
        let refused = self.scan.as_mut().is_some_and(|scan| scan.settle(seen.now, &mut findings.files));
        self.look(seen, packet, memory, findings);
        if refused && !matches!(findings.judgement, Judgement::Drop | Judgement::Reject | Judgement::Deny) {
            findings.judgement = Judgement::Infected;
        }
    }

    fn look(&mut self, seen: Seen, packet: &Packet, memory: &mut StreamMemory, findings: &mut Findings) {
        if self.undecided || (self.passed && !self.is_watched()) {
            findings.settled = self.passed;
            findings.judgement = if self.passed { Judgement::Pass } else { Judgement::Limit };
            return;
        }
        if self.through.get(seen.direction as usize) == Some(&true) && is_plain(packet) {
            return;
        }
        let mut seen = seen;
        if self.scan.is_some() {
            // A file is searched to its end.
            seen.depth = u64::MAX;
        }
        if let Some(watch) = self.watch.as_deref_mut() {
            // A connection names sites as long as it lasts.
            seen.depth = u64::MAX;
            findings.denial = watch.address(&mut findings.content);
            if findings.denial.is_some() {
                findings.judgement = Judgement::Deny;
                return;
            }
        }
        let mut grown = None;
        if self.tuple.protocol == PROTOCOL_TCP && self.wants_stream {
            match self.take(&seen, packet, memory) {
                Taken::Nothing => {}
                Taken::Conflict => findings.judgement = Judgement::Conflict,
                Taken::Limit => findings.judgement = Judgement::Limit,
                Taken::Grown { from, to } => grown = Some((from, to)),
            }
            if findings.judgement != Judgement::Pass {
                return;
            }
        }
        if grown.is_some() && !std::mem::replace(&mut self.heard, true) && self.speaks().is_none() {
            // Many connections are opened first and announced then.
            self.expect(memory, seen.now);
        }
        // What was held back was judged when it came, and its bytes are those of then.
        if !seen.resumed || grown.is_some() {
            self.judge(&seen, packet, grown, memory, findings);
        }
        if grown.is_some() || self.layer.1 > 0 {
            self.charge(packet.port, self.inspection.layer().memory(), memory);
        }
        if findings.judgement == Judgement::Pass {
            findings.hold = self.hold(&seen, packet, grown, findings);
            if findings.hold.is_some() {
                findings.judgement = Judgement::Wait;
            }
        }
        let lookback = self.inspection.lookback();
        if let Some(side) = self.sides.get_mut(seen.direction as usize) {
            side.stream.trim(lookback, memory);
        }
        if self.watch.as_ref().is_some_and(|watch| watch.is_done(self.inspection.layer())) {
            self.watch = None;
        }
        if self.scan.as_ref().is_some_and(|scan| scan.is_done(self.inspection.layer())) {
            self.scan = None;
        }
        findings.settled = !self.is_watched() && (self.passed || self.is_settled(&seen));
        self.through = self.ways_through(&seen);
    }

    /// The directions (initiator's, responder's) whose plain segments need not be shown to it: their streams have been
    /// inspected to the depth, and neither side waits to hear that its bytes have arrived.
    #[inline]
    pub fn is_through(&self) -> [bool; 2] {
        self.through
    }

    fn ways_through(&self, seen: &Seen) -> [bool; 2] {
        let quiet = |side: &Side| side.stream.is_known() && side.stream.is_acknowledged();
        let may = self.tuple.protocol == PROTOCOL_TCP && self.wants_stream && !self.undecided && !self.is_watched();
        if !may || !self.sides.iter().all(quiet) {
            return [false; 2];
        }
        [0, 1].map(|way: usize| self.sides.get(way).is_some_and(|side| is_beyond(side, seen.depth)))
    }

    /// Reads what a packet that goes this way will need. The result means nothing.
    #[inline]
    pub fn touch(&self, way: Direction) -> u64 {
        let streams = self.sides.iter().fold(0, |seen, side| seen ^ side.stream.touch());
        streams ^ self.layer.1 as u64 ^ self.inspection.touch(way)
    }

    /// Streams that went on unseen are taken up where they stand.
    fn take_up(&mut self) {
        for (side, through) in self.sides.iter_mut().zip(std::mem::take(&mut self.through)) {
            if through {
                side.stream.forget();
            }
        }
    }

    /// Takes a new policy's program: what the rules remember belongs to the old one and is dropped, the stream's
    /// position and the bytes held stay, and the recent ones are searched by the new rules too. Returns `false` where
    /// nothing of the new program can match (the flow is settled).
    pub fn replace_program(&mut self, program: &Arc<RuleSetProgram>, watched: Watched) -> bool {
        self.inspection.replace_program(program.program());
        self.take_watched(watched);
        self.take_up();
        let wants = self.inspection.wants_stream() || self.is_watched();
        let wanted = std::mem::replace(&mut self.wants_stream, wants);
        if !wanted || !self.wants_stream {
            // What an untracked stream has passed on is not known, so it is taken up where it stands.
            self.sides.iter_mut().for_each(|side| side.stream.forget());
        }
        (self.passed, self.undecided) = (false, false);
        self.is_watched() || program.program().concerns(&self.tuple)
    }

    /// Where a segment stands whose delivery has to wait for the verdict on a file.
    fn hold(
        &mut self,
        seen: &Seen,
        packet: &Packet,
        grown: Option<(u64, u64)>,
        findings: &mut Findings,
    ) -> Option<Hold> {
        let scan = self.scan.as_deref_mut()?;
        let stream = &self.sides.get(seen.direction as usize)?.stream;
        let tcp = packet.tcp().filter(|tcp| !tcp.has(TCP_RST))?;
        let begin = stream.place(tcp.seq.wrapping_add(u32::from(tcp.has(TCP_SYN))))?;
        let end = begin.checked_add(packet.payload().len() as u64)?.checked_add(u64::from(tcp.has(TCP_FIN)))?;
        let from = grown.map_or(stream.next(), |(from, _)| from);
        let gate = scan.gate(seen.now, seen.direction, from, grown.is_some())?;
        findings.gated = true;
        let readable = begin <= stream.next() || !gate.tail;
        (end > gate.place && end > begin && readable).then_some(Hold {
            begin,
            end,
            gate: gate.place,
            until: gate.until,
        })
    }

    /// What the flow speaks, where that is known.
    pub fn speaks(&self) -> Option<AppProtocol> {
        self.inspection.app().protocol
    }

    /// The flow was announced in another one.
    pub fn expect(&mut self, memory: &mut StreamMemory, now: Instant) {
        if let Some(expectation) = memory.announced.take(&self.tuple, now) {
            self.inspection.expect(&expectation, &mut memory.shared);
        }
    }

    /// The flow ends: what waits for more is judged as it is, and told of. `flow` is what is known of it.
    pub fn finish(&mut self, now: Instant, flow: FlowFacts, memory: &mut StreamMemory, findings: &mut Findings) {
        if self.passed || self.undecided {
            return;
        }
        let tells = memory.tells();
        for way in [Direction::Original, Direction::Reply] {
            let tuple = oriented(&self.tuple, way);
            let view = View { time: now, tuple: Some(tuple), sound: true, ..View::default() };
            let step =
                Step { view: &view, way, packet: false, established: true, stream: None, flow: &flow, end: true };
            let (mut found, store) = (detect::Findings::default(), memory.store());
            self.inspection.step(
                &step,
                &mut memory.shared,
                &mut found,
                &mut Told { findings, tells, beside: Beside::default(), store },
            );
        }
        memory.shared.expectations.clear();
    }

    /// Gives the bytes held back to `memory`; called when the flow ends.
    pub fn release(&mut self, memory: &mut StreamMemory) {
        for side in &mut self.sides {
            side.stream.release(memory);
        }
        self.charge(PortId::default(), 0, memory);
    }

    /// The connection is over, its flow is remembered for a while yet: gives back what both sides have acknowledged.
    pub fn give_back(&mut self, memory: &mut StreamMemory) {
        for side in self.sides.iter_mut().filter(|side| side.stream.is_acknowledged()) {
            side.stream.release(memory);
        }
    }

    /// Tells `memory` what the application layer holds; it counts for the port that sent last.
    fn charge(&mut self, port: PortId, bytes: usize, memory: &mut StreamMemory) {
        let (before, held) = std::mem::replace(&mut self.layer, (port, bytes));
        if (before, held) == (port, bytes) {
            return;
        }
        memory.change(before, held, 0);
        memory.change(port, 0, bytes);
    }

    /// Nothing of the flow can match any more.
    fn is_settled(&self, seen: &Seen) -> bool {
        if self.inspection.is_settled() {
            return true;
        }
        let done = |side: &Side| side.stream.is_known() && is_beyond(side, seen.depth) && side.stream.is_acknowledged();
        self.tuple.protocol == PROTOCOL_TCP && !self.inspection.wants_packets() && self.sides.iter().all(done)
    }

    /// Takes a TCP segment into its stream.
    fn take(&mut self, seen: &Seen, packet: &Packet, memory: &mut StreamMemory) -> Taken {
        let Some(tcp) = packet.tcp() else { return Taken::Nothing };
        let lookback = self.inspection.lookback();
        let [original, reply] = &mut self.sides;
        let (side, other) = match seen.direction {
            Direction::Original => (original, reply),
            Direction::Reply => (reply, original),
        };
        if tcp.has(TCP_ACK) && !tcp.has(TCP_RST) {
            if other.stream.is_known() {
                other.stream.acknowledge(tcp.ack, memory);
                other.stream.trim(lookback, memory);
            } else {
                other.stream.begin(tcp.ack, false);
            }
        }
        if tcp.has(TCP_RST) {
            return Taken::Nothing;
        }
        let first = tcp.seq.wrapping_add(u32::from(tcp.has(TCP_SYN)));
        if tcp.has(TCP_SYN) {
            side.stream.syn(tcp.seq);
        } else if !side.stream.is_known() {
            side.stream.begin(first, true);
        }
        side.stream.belongs_to(packet.port, memory);
        if tcp.has(TCP_URG) && !side.urgent.mark(&side.stream, first, packet) {
            return Taken::Limit;
        }
        side.stream.take(first, packet.payload(), side.stream.start().saturating_add(seen.depth), memory)
    }

    /// What is odd about a packet, where rules ask for that.
    fn oddities(&self, seen: &Seen, packet: &Packet, memory: &mut StreamMemory) -> Events {
        let asked = self.inspection.watches_oddities();
        if asked { memory.oddities(seen.now, packet.bytes()).0 } else { Events::default() }
    }

    /// Has the packet, and what became readable, judged.
    fn judge(
        &mut self,
        seen: &Seen,
        packet: &Packet,
        grown: Option<(u64, u64)>,
        memory: &mut StreamMemory,
        findings: &mut Findings,
    ) {
        let (way, lookback) = (seen.direction, self.inspection.lookback() as u64);
        let tuple = oriented(&self.tuple, way);
        let view = View { events: self.oddities(seen, packet, memory), ..view_of(seen, packet, &tuple) };
        let Some(side) = self.sides.get(way as usize) else { return };
        let start = side.stream.start();
        let end = self.wants_stream && side.stream.ends_with(packet);
        let grown_from = grown.map(|(from, _)| from).or_else(|| end.then(|| side.stream.next()));
        let stream = grown_from.map(|from| bytes_from(side, (from, lookback), end));
        let alone = stream.is_none() && !self.is_watched();
        if alone && self.inspection.passes_over(&view, (way, seen.established), &mut memory.shared) {
            memory.work = memory.shared.work();
            return;
        }
        let stream_bytes = [0, 1].map(|side: usize| self.sides.get(side).map_or(0, |side| side.stream.length()));
        let facts = FlowFacts { stream_bytes, ..seen.flow };
        let (tells, store, mut found) = (memory.tells(), memory.store(), detect::Findings::default());
        let step =
            Step { view: &view, way, packet: true, established: seen.established, stream, flow: &facts, end: false };
        // Counted references are dear where every packet takes one.
        let plain = self.scan.is_some().then(|| {
            let scanning = memory.scanning();
            std::mem::replace(&mut memory.shared.settings, scanning)
        });
        let shared = &mut memory.shared;
        let says = grown.is_some() || (packet.tcp().is_none() && !packet.payload().is_empty());
        let (watch, scan) = (self.watch.as_deref_mut(), self.scan.as_deref_mut());
        let mut told = Told { findings, tells, beside: Beside { watch, scan, says, infected: false }, store };
        self.inspection.step(&step, shared, &mut found, &mut told);
        let infected = told.beside.infected;
        if let Some(plain) = plain {
            memory.shared.settings = plain;
        }
        memory.announce(seen.now);
        conclude(&found, findings);
        self.passed |= found.flow == Some(FlowVerdict::Pass) || found.released;
        let mut undecided = found.undecided;
        if let (Some((_, to)), Some(stream)) = (grown, &stream)
            && side.urgent.is_among(start + stream.at, to)
        {
            // The same bytes once more, as an application reads them that has the urgent ones apart.
            let mut text = std::mem::take(&mut memory.text);
            let left_out = side.urgent.leave_out(start + stream.at, stream.text, &mut text);
            let stream = StreamBytes { text: &text, at: stream.at + left_out, fresh: 0, end: false, ..*stream };
            let again = Step { stream: Some(stream), packet: false, ..step };
            let mut told = Told { findings, tells, beside: Beside::default(), store: None };
            self.inspection.look_again(&again, &mut memory.shared, &mut found, &mut told);
            conclude(&found, findings);
            undecided |= found.undecided;
            memory.text = text;
        }
        if undecided {
            // The stream has these bytes now: a repetition would pass for old.
            self.undecided = grown.is_some();
            memory.undecided += 1;
            if findings.judgement == Judgement::Pass {
                findings.judgement = Judgement::Limit;
            }
        }
        outrank(findings, infected);
        memory.work = memory.shared.work();
    }
}

/// Sites that are denied and files that are infected outrank what rules let pass.
fn outrank(findings: &mut Findings, infected: bool) {
    if findings.denial.is_some() && matches!(findings.judgement, Judgement::Pass | Judgement::Limit) {
        findings.judgement = Judgement::Deny;
    }
    if infected && !matches!(findings.judgement, Judgement::Drop | Judgement::Reject | Judgement::Deny) {
        findings.judgement = Judgement::Infected;
    }
}

/// Whether a packet is a segment that opens and ends nothing.
fn is_plain(packet: &Packet) -> bool {
    packet.tcp().is_some_and(|tcp| tcp.flags & (TCP_SYN | TCP_ACK | TCP_FIN | TCP_RST) == TCP_ACK)
}

/// Whether a direction's stream has been inspected to the depth.
fn is_beyond(side: &Side, depth: u64) -> bool {
    side.stream.next() >= side.stream.start().saturating_add(depth)
}

/// Adds what the rules decided to what is to be done.
pub(super) fn conclude(found: &detect::Findings, findings: &mut Findings) {
    let Some(rule) = found.decided_by.as_ref() else { return };
    match found.verdict {
        Verdict::Accept | Verdict::Pass => return,
        Verdict::Drop | Verdict::Reject(_) => {}
    }
    // Among a drop and a reject, that which comes first decides.
    let judgement = if rule.action == Some(Action::Drop) { Judgement::Drop } else { Judgement::Reject };
    if !matches!(findings.judgement, Judgement::Drop | Judgement::Reject) {
        findings.judgement = judgement;
    }
    // A rule that refuses the packet is named even where it would be silent: a drop has a reason.
    if !findings.matched.iter().any(|told| Arc::ptr_eq(told, rule)) {
        findings.matched.insert(0, Arc::clone(rule));
    }
}

/// What became readable at a place, with so many bytes before it.
fn bytes_from(side: &Side, (from, lookback): (u64, u64), end: bool) -> StreamBytes<'_> {
    let (text, at) = side.stream.bytes(from.saturating_sub(lookback));
    let fresh = usize::try_from(from.saturating_sub(at)).unwrap_or(usize::MAX).min(text.len());
    StreamBytes { text, at: at.saturating_sub(side.stream.start()), fresh, gap: 0, end, look: Look::Now }
}

/// The packet as detection sees it.
fn view_of<'p>(seen: &Seen, packet: &'p Packet, tuple: &Tuple) -> View<'p> {
    let (transport, payload) = (packet.transport(), packet.payload());
    let header = transport.len().saturating_sub(payload.len());
    let network = packet.network();
    let ip = network.get(..network.len().saturating_sub(transport.len())).unwrap_or_default();
    let tcp = packet.tcp().map(|tcp| Tcp {
        seq: tcp.seq,
        ack: tcp.ack,
        flags: tcp.flags,
        window: tcp.window,
        options: crate::decode::Options::default(),
        urgent: transport.get(18..).and_then(<[u8]>::first_chunk).map_or(0, |&bytes| u16::from_be_bytes(bytes)),
    });
    View {
        time: seen.now,
        tuple: Some(*tuple),
        ethernet: packet.bytes().get(..14).unwrap_or_default(),
        ip,
        transport: transport.get(..header).unwrap_or_default(),
        payload,
        frame: packet.bytes(),
        tcp,
        sound: true,
        ..View::default()
    }
}
