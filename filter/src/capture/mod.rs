//! Inspection of captures: frames in, EVE lines out.
//!
//! The same detection as on live traffic, behind a flow table and a stream engine with the semantics that rules for
//! Suricata expect of captures: passive, data is inspected when its receiver has acknowledged it; inline, as it comes.
//! Time is that of the packets, so the same capture gives the same lines.
//!
//! Bounds: flows (the one that would end first gives way), bytes held for reassembly by direction and together,
//! fragments, announced flows.

mod ahead;
mod alone;
pub(crate) mod announced;
mod datagram;
mod flow;
mod key;
mod session;
mod settings;
mod stream;
mod table;
mod tcp;
mod tell;
/// Why a packet that rules refuse is dropped.
fn rules(findings: &Findings) -> &'static str {
    if findings.by_rate { "threshold detection_filter" } else { "rules" }
}

#[cfg(test)]
mod tests;

use std::sync::Arc;

use weir_ids_rules::rule::RejectTo;
use weir_wire::Instant;

use crate::decode::{self, Decoder, Link, View};
use crate::detect::{Findings, FlowVerdict, Inspection, Program, Shared, Step, StreamBytes, Verdict};
use crate::event::{StoredFile, Tuple};
use crate::inspect::Direction;

use ahead::Ahead;
use announced::Announced;
use flow::{Action, Exception, Flow, Reason, State};
use key::Key;
use table::{Slot, Table, Taken};
use tell::Teller;

pub use ahead::FRAMES as FORESEEN;
pub(crate) use flow::reversed;
pub use key::{counterpart_v4, counterpart_v6};
pub use settings::{Options, Overlap, Policy, Settings, StreamSettings, Timeouts, Urgent, size};

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames.
    pub frames: u64,
    /// Bytes of frames.
    pub bytes: u64,
    /// Packets, tunnelled ones and those from fragments too.
    pub packets: u64,
    /// Flows.
    pub flows: u64,
    /// Alerts.
    pub alerts: u64,
    /// Packets dropped.
    pub dropped: u64,
    /// Segments not kept for want of room.
    pub segments_refused: u64,
}

/// Inspects one capture.
#[derive(Debug)]
pub struct Capture {
    decoder: Decoder,
    core: Core,
    ahead: Ahead,
}

/// All but the decoder, which lends packets to it.
#[derive(Debug)]
struct Core {
    settings: Settings,
    program: Arc<Program>,
    /// Without rules, for flows that are followed but not judged.
    no_rules: Arc<Program>,
    shared: Shared,
    flows: Table,
    /// Those of a capture that has ended: what they hold is given back with the capture, not one by one.
    ended: Taken,
    announced: Announced,
    counters: Counters,
    findings: Findings,
    teller: Teller,
    next_flow: u64,
    reassembly: usize,
    /// What is worth looking at though no rule can match.
    watch: Watch,
    /// Of the packet at hand it is known that a rule may take it.
    asked: bool,
    /// The TCP packet at hand counts as one of an established connection.
    established: bool,
}

/// What must be looked at though no rule can match.
#[derive(Clone, Copy, Debug)]
struct Watch {
    /// What flows speak, though no rule asks for it.
    unasked: bool,
    /// Bytes of such flows.
    bytes: bool,
}

impl Watch {
    fn new(settings: &Settings, program: &Program, shared: &Shared) -> Watch {
        let told = settings.kinds.hears_flows() || shared.store_all;
        Watch {
            unasked: told || settings.app_error != Policy::Ignore || settings.stream.bypass,
            bytes: told || program.watches_oddities(),
        }
    }
}

/// What became of a packet so far.
#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    /// It is dropped for this reason.
    dropped: Option<&'static str>,
    /// Rules are not to see it.
    unseen: bool,
    /// With it bytes of the other side turned out to be lost.
    lost: bool,
}

/// What is shown to a flow's inspection.
#[derive(Clone, Copy, Debug)]
struct Show<'s> {
    way: Direction,
    packet: bool,
    stream: Option<StreamBytes<'s>>,
    established: bool,
    end: bool,
}

impl Capture {
    /// A capture that is judged by these rules.
    pub fn new(mut settings: Settings, program: Arc<Program>, mut shared: Shared) -> Capture {
        settings.decode.checksums |= settings.checksums_asked && program.compares_checksums();
        shared.errors_hide = settings.app_error != Policy::Ignore;
        let decoder = Decoder::new(settings.decode.clone());
        let teller = Teller::new(settings.kinds.clone());
        let core = Core {
            flows: Table::new(settings.flows, settings.seed),
            ended: Taken::default(),
            watch: Watch::new(&settings, &program, &shared),
            settings,
            program,
            no_rules: Arc::new(Program::default()),
            shared,
            announced: Announced::default(),
            counters: Counters::default(),
            findings: Findings::default(),
            teller,
            next_flow: 0,
            reassembly: 0,
            asked: false,
            established: false,
        };
        Capture { decoder, core, ahead: Ahead::new() }
    }

    /// A frame of Ethernet that comes next, or up to [`FORESEEN`] frames from here on: what it will need is asked for.
    #[inline]
    pub fn foresee(&mut self, frame: &[u8]) {
        self.ahead.see(frame, &self.core.flows);
    }

    /// Inspects a frame and adds what is to be told to `lines`, each with its end of line.
    pub fn frame(&mut self, link: Link, bytes: &[u8], time: Instant, lines: &mut String) {
        let Capture { decoder, core, .. } = self;
        core.counters.frames += 1;
        core.counters.bytes += bytes.len() as u64;
        core.teller.begin(core.counters.frames, lines);
        core.asked = false;
        let datagram = if link == Link::Ethernet { decoder.datagram(bytes) } else { None };
        match datagram {
            Some(datagram) => core.datagram(&datagram, bytes, time),
            None => decoder.decode(link, bytes, time, &mut |view| core.packet(view, None)),
        }
        if let Some(mut flow) = core.flows.sweep(time) {
            core.end(&mut flow, Reason::Timeout, time);
        }
        core.teller.take(lines);
    }

    /// The capture has ended: flows end, what is left is inspected and told.
    pub fn finish(&mut self, lines: &mut String) {
        let core = &mut self.core;
        core.teller.begin(0, lines);
        let all = core.teller.hears_ends();
        let mut flows = core.flows.take();
        for flow in flows.ending(all) {
            let time = flow.last;
            core.end(flow, Reason::Shutdown, time);
        }
        core.teller.take(lines);
        core.ended = flows;
    }

    /// There are files that rules want stored.
    #[inline]
    pub fn has_stored(&self) -> bool {
        !self.core.teller.stored.is_empty()
    }

    /// Files that rules want stored, since the last call.
    pub fn take_stored(&mut self) -> Vec<StoredFile> {
        std::mem::take(&mut self.core.teller.stored)
    }

    /// What all flows share.
    pub fn shared(&self) -> &Shared {
        &self.core.shared
    }

    /// The same, to be prepared before the first frame.
    pub fn shared_mut(&mut self) -> &mut Shared {
        &mut self.core.shared
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        Counters { alerts: self.core.teller.alerts, ..self.core.counters }
    }
}

impl Core {
    /// A packet; `key` names its flow, where that is known.
    #[inline(never)]
    fn packet(&mut self, view: &View<'_>, key: Option<(Key, bool)>) -> decode::Taken {
        self.counters.packets += 1;
        self.teller.decode_anomalies(view);
        let named = view.tuple.filter(|_| view.sound && !view.fragment);
        let slot = named.and_then(|tuple| self.slot(&tuple, view, key));
        let fate = match slot {
            Some((slot, from_low)) => self.of_flow(slot, from_low, view),
            None => self.of_none(view),
        };
        if fate.dropped.is_some() && self.settings.ips {
            self.counters.dropped += 1;
            return decode::Taken::Refused;
        }
        decode::Taken::Passed
    }

    /// The packet's flow, found or made.
    #[inline]
    fn slot(&mut self, tuple: &Tuple, view: &View<'_>, key: Option<(Key, bool)>) -> Option<(Slot, bool)> {
        let is_error = tuple.protocol == 1 && matches!(tuple.source_port, 3 | 4 | 5 | 11 | 12);
        if is_error {
            // An error belongs to the flow of the packet it quotes, and comes against its direction.
            let quoted = view.quoted.filter(|_| tuple.source_port == 3)?;
            let (key, from_low) = Key::of(&quoted, view, self.settings.vlan_tracking);
            let hash = self.flows.hash(&key);
            return self.flows.find(&key, hash).map(|slot| (slot, !from_low));
        }
        let (key, from_low) = key.unwrap_or_else(|| Key::of(tuple, view, self.settings.vlan_tracking));
        if let Some(slot) = self.flows.find_anew(&key) {
            let over = self.flows.deadline(slot) < view.time;
            let reused = !over && self.is_reused(slot, from_low, view);
            if !over && !reused {
                return Some((slot, from_low));
            }
            if let Some(mut old) = self.flows.remove(slot) {
                self.end(&mut old, if over { Reason::Timeout } else { Reason::Reused }, view.time);
            }
        }
        let expected = self.announced.take(tuple, view.time);
        let inspection = Inspection::new(&self.program, &mut self.shared, tuple, false, expected.as_ref());
        let mut flow = self.new_flow(key, tuple, from_low, view);
        flow.inspection = Some(inspection);
        let deadline = flow.deadline(&self.settings.timeouts);
        let (slot, gone) = self.flows.insert(flow, deadline);
        if let Some(mut gone) = gone {
            self.end(&mut gone, Reason::Forced, view.time);
        }
        Some((slot, from_low))
    }

    #[inline(never)]
    fn new_flow(&mut self, key: Key, tuple: &Tuple, from_low: bool, view: &View<'_>) -> Box<Flow> {
        self.next_flow += 1;
        self.counters.flows += 1;
        let mut macs = None;
        if let Some(header) = view.ethernet.first_chunk::<12>() {
            let &[a, b, c, d, e, f, g, h, i, j, k, l] = header;
            macs = Some([[g, h, i, j, k, l], [a, b, c, d, e, f]]);
        }
        let facts =
            crate::detect::FlowFacts { start: view.time, id: self.next_flow, ..crate::detect::FlowFacts::default() };
        Box::new(Flow {
            key,
            id: self.next_flow,
            tuple: *tuple,
            low_initiates: from_low,
            vlan: view.vlan,
            vlans: view.vlans,
            macs,
            facts,
            last: view.time,
            state: State::New,
            action: Action::None,
            dropped_for: None,
            exception: None,
            alerted: false,
            reason: Reason::Shutdown,
            settled: false,
            unheard: [None; 2],
            rests: false,
            uninspected: false,
            transactions: 0,
            session: None,
            inspection: None,
            brief: None,
        })
    }

    /// A packet that belongs to a flow.
    fn of_flow(&mut self, slot: Slot, from_low: bool, view: &View<'_>) -> Fate {
        let Some(mut flow) = self.flows.borrow(slot) else { return Fate::default() };
        let mut way = flow.way(from_low);
        flow.unheard = [None; 2];
        if let Some(brief) = flow.brief.take() {
            flow.inspection = Some(brief.inspection(&self.program, &flow.tuple, &mut self.shared));
        }
        flow.count(way, view.frame.len(), view.time);
        let mut fate = Fate::default();
        if view.inner_refused && self.settings.ips {
            fate.dropped = Some("tunnel packet drop");
        }
        if flow.state == State::Bypassed {
            fate.unseen = true;
        } else if flow.action == Action::Drop && self.settings.ips {
            fate.dropped = Some(flow.dropped_for.unwrap_or("flow drop"));
            flow.see_refused(view.tcp.as_ref(), way);
        } else if view.tcp.is_some() {
            fate = self.tcp(&mut flow, view, &mut way, fate);
        } else if view.tuple.is_some_and(|tuple| tuple.protocol != flow.tuple.protocol) {
            self.about(&mut flow, view, way, &mut fate);
        } else {
            flow.settle_state();
            let show = self.whole_packet(&flow, way);
            self.judge(&mut flow, view, &show, &mut fate);
        }
        self.after(&mut flow, view, way, &fate);
        let deadline = flow.deadline(&self.settings.timeouts);
        self.flows.put(slot, flow, deadline);
        fate
    }

    /// Shows a packet, or bytes of a stream, to the flow's inspection, and takes what came of it.
    fn judge(&mut self, flow: &mut Flow, view: &View<'_>, show: &Show<'_>, fate: &mut Fate) {
        if flow.settled && view.events.is_empty() && !self.shared.tags_hosts() {
            self.findings = Findings::default();
            return;
        }
        let &Show { way, packet, stream, established, end } = show;
        let alone = packet && stream.is_none() && !end && !self.asked;
        let seen = flow.inspection.as_ref().filter(|_| alone);
        if seen.is_some_and(|seen| seen.passes_over(view, (way, established), &mut self.shared)) {
            self.teller.of_packet(Some(flow));
            self.findings = Findings::default();
            return;
        }
        let Some(mut inspection) = flow.inspection.take() else { return };
        if stream.is_some_and(|bytes| bytes.at == 0 && bytes.fresh == 0) {
            // What announces a flow may be acknowledged, and read, only after the flow began.
            if let Some(expectation) = self.announced.take(&flow.tuple, view.time) {
                inspection.expect(&expectation, &mut self.shared);
            }
        }
        let step = Step { view, way, packet, established, stream, flow: &flow.facts, end };
        self.teller.of_packet(Some(flow));
        inspection.step(&step, &mut self.shared, &mut self.findings, &mut self.teller);
        self.teller.settle(flow);
        // Without rules on what flows speak, an inspection settles though somebody is to be told of that.
        let heard = !self.watch.unasked || (self.program.follows_protocols() && !flow.uninspected);
        flow.settled = self.findings.settled && heard;
        flow.rests = flow.session.is_none() && inspection.is_at_rest();
        flow.inspection = Some(inspection);
        self.take_findings(flow, fate);
        if !self.shared.expectations.is_empty() {
            self.announced.add(self.shared.expectations.drain(..), view.time);
        }
    }

    /// A whole packet without a stream.
    fn whole_packet(&self, flow: &Flow, way: Direction) -> Show<'static> {
        let established = match &flow.session {
            Some(_) => self.established,
            None => flow.tuple.protocol != 6 && flow.state == State::Established,
        };
        Show { way, packet: true, stream: None, established, end: false }
    }

    fn take_findings(&mut self, flow: &mut Flow, fate: &mut Fate) {
        let findings = &mut self.findings;
        flow.alerted |= findings.alerts > 0;
        if findings.reversed {
            flow.swap();
            if let Some(session) = &mut flow.session {
                session.swap();
            }
        }
        match findings.verdict {
            Verdict::Drop | Verdict::Reject(_) if self.settings.ips => {
                fate.dropped.get_or_insert(rules(findings));
                if self.teller.decided.is_none() {
                    self.teller.decided = findings.decided_by.clone();
                }
            }
            Verdict::Accept | Verdict::Pass | Verdict::Drop | Verdict::Reject(_) => {}
        }
        match findings.flow {
            Some(FlowVerdict::Drop) => flow.action = Action::Drop,
            Some(FlowVerdict::Pass) if flow.action == Action::None => flow.action = Action::Pass,
            Some(FlowVerdict::Pass) | None => {}
        }
        let released = findings.released || findings.bypass && self.settings.stream.bypass;
        let app_error = findings.app_error;
        self.teller.alerts_done(fate.dropped.is_some(), self.findings.verdict);
        if released {
            flow.state = State::Bypassed;
        }
        if app_error {
            self.exception(flow, Exception::AppError, self.settings.app_error, fate);
        }
    }

    /// An exception was met: its policy is carried out.
    #[cold]
    fn exception(&mut self, flow: &mut Flow, exception: Exception, policy: Policy, fate: &mut Fate) {
        flow.exception.get_or_insert((exception, policy));
        let reason = match exception {
            Exception::Midstream => "stream midstream",
            Exception::AppError => "applayer error",
        };
        match policy {
            Policy::Ignore => {}
            Policy::DropPacket | Policy::DropFlow | Policy::Reject => {
                fate.unseen = true;
                fate.dropped.get_or_insert(reason);
                if policy == Policy::Reject {
                    self.teller.reject = Some(RejectTo::Source);
                }
                if policy != Policy::DropPacket {
                    flow.action = Action::Drop;
                    flow.dropped_for = Some("exception policy flow drop");
                }
            }
            Policy::PassPacket => fate.unseen = true,
            Policy::PassFlow | Policy::Bypass => {
                fate.unseen = true;
                flow.action = Action::Pass;
                if policy == Policy::Bypass {
                    flow.state = State::Bypassed;
                } else if !std::mem::replace(&mut flow.uninspected, true) && exception == Exception::Midstream {
                    let tuple = flow.tuple;
                    flow.settled = false;
                    flow.inspection = Some(Inspection::new(&self.no_rules, &mut self.shared, &tuple, true, None));
                }
            }
        }
    }

    /// What is told of a packet when all is decided.
    fn after(&mut self, flow: &mut Flow, view: &View<'_>, way: Direction, fate: &Fate) {
        if let Some(reason) = fate.dropped.filter(|_| self.settings.ips) {
            flow.facts.dropped = true;
            let decided = self.teller.decided.take();
            self.teller.dropped(view, Some(flow), way, reason, decided.as_deref());
        }
        self.teller.decided = None;
    }

    /// A flow ends: what waits is inspected, then it is told of.
    #[inline(never)]
    fn end(&mut self, flow: &mut Flow, reason: Reason, now: Instant) {
        if flow.reason == Reason::Shutdown {
            flow.reason = reason;
        }
        let number = self.teller.number.take();
        if flow.state != State::Bypassed && !(flow.action == Action::Drop && self.settings.ips) {
            self.flush(flow);
        }
        self.teller.flow_line(flow, now);
        self.teller.number = number;
        self.reassembly = self.reassembly.saturating_sub(flow.session.as_ref().map_or(0, |session| session.memory()));
    }
}
