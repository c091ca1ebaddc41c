//! What is found, as lines of EVE.

use std::sync::Arc;

use weir_ids_rules::rule::{Action as RuleAction, RejectTo};
use weir_wire::Instant;

use super::flow::{Action, Flow};
use crate::app::file::File;
use crate::app::{Anomaly, Mark, Transaction};
use crate::decode::{Event, Events, Source, View};
use crate::detect::{Alert, Marked, Scene, Sink, Verdict};
use crate::eve;
use crate::eve::kinds::Kinds;
use crate::event::{Signature, StoredFile, Tuple};
use crate::inspect::Direction;
use crate::json::Json;

/// Writes the lines of one frame.
#[derive(Debug, Default)]
pub struct Teller {
    /// The frame's number; `None` where no frame brings the lines about.
    pub number: Option<u64>,
    /// The rule that had the packet dropped.
    pub decided: Option<Arc<Signature>>,
    /// Alerts told.
    pub alerts: u64,
    /// Files to be stored.
    pub stored: Vec<StoredFile>,
    kinds: Kinds,
    lines: String,
    /// Alerts whose verdict is not known yet: lines without their end, and the protocol number.
    open: Vec<(String, u8)>,
    /// Who is answered for the packet at hand.
    pub reject: Option<RejectTo>,
    transactions: u64,
    /// Time and addresses of the packet at hand, for anomalies of its stream.
    at: Option<(Instant, Option<Tuple>)>,
    flow: u64,
    vlan: [u16; 3],
    vlans: u8,
}

impl Teller {
    /// A teller that writes events of these kinds.
    pub fn new(kinds: Kinds) -> Teller {
        Teller { kinds, ..Teller::default() }
    }

    /// Begins with a frame; number 0 where there is none.
    pub fn begin(&mut self, number: u64, lines: &mut String) {
        self.number = Some(number).filter(|&number| number > 0);
        std::mem::swap(&mut self.lines, lines);
    }

    /// Gives the lines back.
    pub fn take(&mut self, lines: &mut String) {
        std::mem::swap(&mut self.lines, lines);
    }

    /// The packet at hand belongs to this flow.
    #[inline]
    pub fn of_packet(&mut self, flow: Option<&Flow>) {
        if let Some(flow) = flow {
            (self.flow, self.vlan, self.vlans) = (flow.id, flow.vlan, flow.vlans);
        } else {
            (self.flow, self.vlans) = (0, 0);
        }
        self.transactions = 0;
    }

    /// The packet at hand belongs to this flow, and brings nothing.
    #[inline]
    pub fn passes_by(&mut self, flow: &Flow) {
        (self.reject, self.decided) = (None, None);
        self.of_packet(Some(flow));
    }

    /// What was counted belongs to this flow.
    #[inline]
    pub fn settle(&mut self, flow: &mut Flow) {
        flow.transactions += self.transactions;
        self.transactions = 0;
    }

    fn head<'h>(&self, kind: &'h str, time: Instant, vlan: &'h [u16]) -> eve::Head<'h> {
        eve::Head { flow: self.flow, number: self.number, vlan, ..eve::Head::new(kind, time) }
    }

    /// The head of an event about a step.
    fn scene_head<'h>(&self, kind: &'h str, scene: &'h Scene<'_>, tuple: &'h Tuple, vlan: &'h [u16]) -> eve::Head<'h> {
        let view = scene.step.view;
        eve::Head {
            tuple: Some(tuple).filter(|tuple| tuple.protocol != 0 || view.tuple.is_some()),
            community: Some(scene.tuple).filter(|_| self.flow != 0),
            source: Some(view.source).filter(|_| kind != "anomaly"),
            ether: ether_of(view, tuple),
            tunnel: view.outer.as_ref().map(|outer| (outer, view.depth)),
            ..self.head(kind, view.time, vlan)
        }
    }

    fn vlan_of(&self, view: &View<'_>) -> ([u16; 3], usize) {
        if view.source == Source::Flush || self.flow != 0 {
            (self.vlan, self.vlans.into())
        } else {
            (view.vlan, view.vlans.into())
        }
    }

    /// Closes the alerts of a step: what became of the packet is known.
    pub fn alerts_done(&mut self, dropped: bool, verdict: Verdict) {
        // A rule may reject without being told of.
        let reject = self.reject.or(match verdict {
            Verdict::Reject(to) => Some(to),
            Verdict::Accept | Verdict::Pass | Verdict::Drop => None,
        });
        for (mut line, protocol) in self.open.drain(..) {
            let mut json = Json::resume(&mut line, false);
            eve::verdict(&mut json, verdict, dropped, reject, protocol);
            json.end();
            self.lines.push_str(&line);
            self.lines.push('\n');
        }
    }

    /// Anomalies of the decoder.
    #[inline]
    pub fn decode_anomalies(&mut self, view: &View<'_>) {
        self.reject = None;
        (self.flow, self.vlan, self.vlans) = (0, view.vlan, view.vlans);
        if !self.kinds.anomaly {
            return;
        }
        self.at = Some((view.time, view.tuple));
        for event in view.events.told() {
            let kind = half_ether(view).filter(|_| event == Event::EthernetUnknownEthertype);
            let ether = ether(view).map(|(source, destination, _)| (source, destination, kind));
            self.anomaly_line("decode", &format!("decoder.{}", event.name()), view.tuple.as_ref(), ether);
        }
    }

    /// Anomalies of the TCP engine.
    pub fn stream_anomalies(&mut self, events: &Events) {
        if !self.kinds.anomaly {
            return;
        }
        let tuple = self.at.and_then(|(_, tuple)| tuple);
        for event in events.told() {
            self.anomaly_line("stream", event.name(), tuple.as_ref(), None);
        }
    }

    fn anomaly_line(
        &mut self,
        kind: &str,
        event: &str,
        tuple: Option<&Tuple>,
        ether: Option<([u8; 6], [u8; 6], Option<u16>)>,
    ) {
        let time = self.at.map_or(Instant::ZERO, |(time, _)| time);
        let vlan = self.vlan;
        let vlan = vlan.get(..usize::from(self.vlans)).unwrap_or_default();
        let head = eve::Head { tuple, ether, ..self.head("anomaly", time, vlan) };
        let mut json = eve::head(&mut self.lines, &head);
        json.nested("anomaly", |json| {
            json.text("type", kind).text("event", event);
        });
        json.end();
        self.lines.push('\n');
    }

    /// A packet was dropped.
    pub fn dropped(
        &mut self,
        view: &View<'_>,
        flow: Option<&Flow>,
        way: Direction,
        reason: &str,
        decided: Option<&Signature>,
    ) {
        if !self.kinds.drop {
            return;
        }
        self.of_packet(flow);
        let (vlan, vlans) = self.vlan_of(view);
        let vlan = vlan.get(..vlans).unwrap_or_default();
        let head = eve::Head {
            tuple: view.tuple.as_ref(),
            community: flow.map(|flow| &flow.tuple),
            source: Some(view.source),
            ether: ether(view),
            tunnel: view.outer.as_ref().map(|outer| (outer, view.depth)),
            ..self.head("drop", view.time, vlan)
        };
        let mut json = eve::head(&mut self.lines, &head);
        if let Some(flow) = flow {
            if let Some(inspection) = &flow.inspection {
                eve::metadata_field(&mut json, inspection.variables());
                eve::app_fields(&mut json, &inspection.app());
            }
            eve::flow_fields(&mut json, &flow.tuple, &flow.facts);
        }
        eve::drop_line(&mut json, view, reason, eve::way_name(way));
        if let Some(signature) = decided {
            eve::alert(&mut json, signature, true, view.tuple.as_ref(), "");
        }
        let reject = decided.and_then(|signature| reject_of(signature.action.as_ref()));
        let reject = self.reject.or(reject);
        eve::verdict(&mut json, Verdict::Drop, true, reject, view.tuple.map_or(0, |tuple| tuple.protocol));
        json.end();
        self.lines.push('\n');
    }

    /// Somebody is told of every flow that ends.
    pub fn hears_ends(&self) -> bool {
        self.kinds.flow
    }

    /// A flow has ended.
    pub fn flow_line(&mut self, flow: &Flow, _now: Instant) {
        if !self.kinds.flow {
            return;
        }
        self.flow = flow.id;
        let vlan = flow.vlan.get(..usize::from(flow.vlans)).unwrap_or_default();
        let ether = flow.macs.map(|[source, destination]| (source, destination, None));
        let head = eve::Head {
            tuple: Some(&flow.tuple),
            community: Some(&flow.tuple),
            ether,
            ..self.head("flow", flow.last, vlan)
        };
        let head = eve::Head { number: None, ..head };
        let mut json = eve::head(&mut self.lines, &head);
        if let Some(inspection) = &flow.inspection {
            eve::metadata_field(&mut json, inspection.variables());
            eve::app_fields(&mut json, &inspection.app());
        }
        let tcp = flow.session.as_ref().map(|session| {
            let [client, server] = &session.sides;
            eve::TcpLine {
                flags: [client.flags, server.flags],
                state: Some(session.state.name()),
                regions: [client.bytes.regions.max(1), server.bytes.regions.max(1)],
                gaps: [client.gap, server.gap],
            }
        });
        let unseen = eve::TcpLine { flags: [0, 0], state: None, regions: [0, 0], gaps: [false, false] };
        let tcp = tcp.or((flow.tuple.protocol == 6).then_some(unseen));
        let line = eve::FlowLine {
            packets: flow.facts.packets,
            bytes: flow.facts.bytes,
            start: flow.facts.start,
            end: flow.last,
            state: flow.state.name(),
            reason: flow.reason.name(),
            alerted: flow.alerted,
            action: match flow.action {
                Action::None => None,
                Action::Pass => Some("pass"),
                Action::Drop => Some("drop"),
            },
            transactions: Some(flow.transactions),
            exception: flow
                .exception
                .map(|(exception, policy)| eve::Applied { target: exception.name(), policy: policy.name() }),
            rule: None,
            tcp,
            icmp_answer: eve::icmp_answer(&flow.tuple).filter(|_| flow.facts.packets[1] > 0),
        };
        eve::flow(&mut json, &line);
        json.end();
        self.lines.push('\n');
    }

    /// The tuple that an event about a step shows.
    fn tuple_of(scene: &Scene<'_>) -> Tuple {
        match scene.step.view.tuple {
            Some(tuple) if scene.step.packet => tuple,
            Some(_) | None => eve::directed(scene.tuple, scene.step.way),
        }
    }
}

/// MAC addresses of a view, the source's first as the event shows it: events of the other direction have them turned.
fn ether_of(view: &View<'_>, shown: &Tuple) -> Option<([u8; 6], [u8; 6], Option<u16>)> {
    let (source, destination, kind) = ether(view)?;
    let turned = view.tuple.is_some_and(|tuple| tuple != *shown && eve::directed(&tuple, Direction::Reply) == *shown);
    Some(if turned { (destination, source, kind) } else { (source, destination, kind) })
}

/// MAC addresses of a view.
fn ether(view: &View<'_>) -> Option<([u8; 6], [u8; 6], Option<u16>)> {
    let &[a, b, c, d, e, f, g, h, i, j, k, l] = view.ethernet.first_chunk::<12>()?;
    Some(([g, h, i, j, k, l], [a, b, c, d, e, f], None))
}

/// The EtherType, in the byte order in which EVE shows it.
fn half_ether(view: &View<'_>) -> Option<u16> {
    view.ethernet.get(12..14).and_then(|b| b.first_chunk()).map(|b| u16::from_be_bytes(*b))
}

fn reject_of(action: Option<&RuleAction>) -> Option<RejectTo> {
    match action {
        Some(RuleAction::Reject(to)) => Some(*to),
        Some(RuleAction::Alert | RuleAction::Drop | RuleAction::Pass | RuleAction::Config) | None => None,
    }
}

/// Whether an alert says that its packet was blocked. A passive observer can reject, though not drop; a drop that its
/// rate filter makes of an alert is said to be one nevertheless, as readers of captures know it.
fn is_blocked(alert: &Alert<'_>) -> bool {
    match alert.action {
        RuleAction::Reject(_) => true,
        RuleAction::Drop => alert.blocked || !alert.signature.blocked,
        RuleAction::Alert | RuleAction::Pass | RuleAction::Config => false,
    }
}

impl Sink for Teller {
    fn alert(&mut self, scene: &Scene<'_>, alert: &Alert<'_>) {
        self.alerts += 1;
        self.reject = self.reject.or(reject_of(Some(&alert.action)));
        if !self.kinds.alerts() {
            return;
        }
        let view = scene.step.view;
        let tuple = Self::tuple_of(scene);
        let (vlan, vlans) = self.vlan_of(view);
        let head = self.scene_head("alert", scene, &tuple, vlan.get(..vlans).unwrap_or_default());
        let mut line = String::with_capacity(1024);
        let mut json = eve::head(&mut line, &head);
        eve::metadata_field(&mut json, scene.variables);
        eve::transaction_number(&mut json, alert);
        eve::alert(&mut json, alert.signature, is_blocked(alert), Some(&tuple), alert.extra);
        eve::app_fields(&mut json, &scene.app);
        if self.flow != 0 {
            json.text("direction", eve::way_name(scene.step.way));
            eve::flow_fields(&mut json, scene.tuple, scene.step.flow);
        }
        eve::alert_transaction(&mut json, scene, alert, self.kinds.bodies);
        eve::payload_fields(&mut json, alert);
        eve::packet_fields(&mut json, view.frame, view.link);
        json.leave_open();
        self.open.push((line, tuple.protocol));
    }

    fn tagged(&mut self, scene: &Scene<'_>) {
        if !self.kinds.alerts() {
            return;
        }
        let tuple = Self::tuple_of(scene);
        let (vlan, vlans) = self.vlan_of(scene.step.view);
        let head = self.scene_head("packet", scene, &tuple, vlan.get(..vlans).unwrap_or_default());
        let mut json = eve::head(&mut self.lines, &head);
        eve::metadata_field(&mut json, scene.variables);
        eve::packet_fields(&mut json, scene.step.view.frame, scene.step.view.link);
        json.end();
        self.lines.push('\n');
    }

    fn transaction(&mut self, scene: &Scene<'_>, mark: &Mark, transaction: &dyn Transaction) {
        self.transactions += 1;
        let Some(protocol) = scene.app.protocol.filter(|&protocol| self.kinds.takes(protocol)) else { return };
        let view = scene.step.view;
        let tuple = match view.tuple {
            Some(tuple) if transaction.shown_with_packet() && view.source != Source::Flush => tuple,
            Some(_) | None => eve::directed(scene.tuple, transaction.shown_in()),
        };
        let (vlan, vlans) = self.vlan_of(view);
        let kind = eve::object_name(protocol);
        let head = self.scene_head(kind, scene, &tuple, vlan.get(..vlans).unwrap_or_default());
        let mut json = eve::head(&mut self.lines, &head);
        eve::metadata_field(&mut json, scene.variables);
        json.number("tx_id", mark.number);
        eve::transaction_fields(&mut json, protocol, transaction);
        json.end();
        self.lines.push('\n');
    }

    fn file(&mut self, scene: &Scene<'_>, way: Direction, of: Marked<'_>, file: &File) {
        self.stored.extend(StoredFile::of(file));
        if !self.kinds.files {
            return;
        }
        let (mark, transaction) = of;
        let tuple = eve::directed(scene.tuple, way);
        let (vlan, vlans) = self.vlan_of(scene.step.view);
        let head = self.scene_head("fileinfo", scene, &tuple, vlan.get(..vlans).unwrap_or_default());
        let mut json = eve::head(&mut self.lines, &head);
        eve::metadata_field(&mut json, scene.variables);
        if let Some(protocol) = scene.app.protocol {
            eve::transaction_fields(&mut json, protocol, transaction);
        }
        eve::app_fields(&mut json, &scene.app);
        json.nested("fileinfo", |json| eve::file_fields(json, file, mark.number));
        json.end();
        self.lines.push('\n');
    }

    fn anomaly(&mut self, scene: &Scene<'_>, mark: Option<&Mark>, anomaly: Anomaly) {
        if !self.kinds.anomaly {
            return;
        }
        let tuple = Self::tuple_of(scene);
        let (vlan, vlans) = self.vlan_of(scene.step.view);
        let head = self.scene_head("anomaly", scene, &tuple, vlan.get(..vlans).unwrap_or_default());
        let mut json = eve::head(&mut self.lines, &head);
        eve::metadata_field(&mut json, scene.variables);
        if let Some(mark) = mark {
            json.number("tx_id", mark.number);
        }
        eve::anomaly_fields(&mut json, scene.app.protocol, anomaly);
        json.end();
        self.lines.push('\n');
    }
}
