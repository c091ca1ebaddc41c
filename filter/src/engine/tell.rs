//! Telling people: scenes and events, without drowning them.
//!
//! A drop is told once for each flow and reason; one without a flow once in [`QUIET`] for each pair of ends and reason,
//! and at most [`RATE`] a second. Of flows that end at most [`RECORDS`] are told a second: more than that is a flood, and
//! writing it down would take the processor from forwarding. What is not told is counted: the drop itself always, the event as lost where there
//! was no room for it. Nothing is allocated for an event that is not kept.

use std::sync::Arc;
use std::time::Duration;

use weir_wire::{Instant, MacAddr, Packet, PortId, RuleId, SwitchId};

use super::Why;
use super::budget::Stage;
use crate::detect::oriented;
use crate::event::{Event, Events, HandedFile, Notice, SNAP, Scene, Signature};
use crate::flow::Flow;
use crate::inspect::{Direction, Record};
use crate::policy::Subject;
use crate::reject::Bucket;

/// How long a drop without a flow is not told again.
const QUIET: Duration = Duration::from_secs(10);
/// Drops without a flow that are remembered.
const REMEMBERED: usize = 1024;
/// Drops without a flow that are told in a second.
const RATE: u64 = 200;
/// The same at once.
const BURST: u64 = 400;

/// Flows that end and are told in a second, and at once.
const RECORDS: u64 = 100_000;

/// Makes events.
#[derive(Debug)]
pub(super) struct Teller {
    pub events: Events,
    /// What was told lately, by its hash: the hash, and until when it is not told again.
    recent: Box<[(u64, Instant)]>,
    bucket: Bucket,
    records: Bucket,
}

impl Teller {
    pub fn new(events: usize) -> Teller {
        Teller {
            events: Events::new(events),
            recent: vec![(0, Instant::ZERO); REMEMBERED].into_boxed_slice(),
            bucket: Bucket::new(RATE, BURST),
            records: Bucket::new(RECORDS, RECORDS),
        }
    }

    /// Keeps an event, or counts it as lost.
    pub fn keep(&mut self, event: Event) {
        self.tell(|| event);
    }

    /// Makes and keeps an event, or counts it as lost.
    fn tell(&mut self, event: impl FnOnce() -> Event) {
        if self.events.has_room() { self.events.push(event()) } else { self.events.count_lost() }
    }

    /// A packet of a flow was dropped.
    pub fn drop_of_flow(&mut self, now: Instant, packet: &Packet, flow: &mut Flow, to: Option<PortId>, why: &Why) {
        if flow.tell_once(why.reason) {
            return;
        }
        let (switch, number) = (flow.key.switch(), flow.number);
        self.drop(now, packet, switch, to, number, why);
    }

    /// A packet without a flow was dropped.
    pub fn drop_without_flow(
        &mut self,
        now: Instant,
        packet: &Packet,
        switch: SwitchId,
        to: Option<PortId>,
        why: &Why,
    ) {
        if self.told_lately(now, packet, why) {
            return;
        }
        if !self.bucket.take(now) {
            return self.events.count_lost();
        }
        self.drop(now, packet, switch, to, 0, why);
    }

    fn told_lately(&mut self, now: Instant, packet: &Packet, why: &Why) -> bool {
        let mut hash = packet.hash;
        if hash == 0 {
            let [.., a, b, c] = packet.src_mac().0;
            let [.., d, e, f] = packet.dst_mac().0;
            let headers = &packet.headers;
            hash = u64::from_be_bytes([a, b, c, d, e, f, headers.protocol, headers.ether_type as u8]);
        }
        hash = (hash ^ (why.reason as u64 + 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let Some(entry) = self.recent.get_mut((hash >> 54) as usize % REMEMBERED) else { return false };
        if entry.0 == hash && now < entry.1 {
            return true;
        }
        *entry = (hash, now.after(QUIET));
        false
    }

    fn drop(&mut self, now: Instant, packet: &Packet, switch: SwitchId, to: Option<PortId>, flow: u64, why: &Why) {
        self.tell(|| Event::Drop {
            scene: scene(now, packet, switch, to, flow),
            reason: why.reason,
            rule: why.rule,
            signature: why.signature.clone(),
        });
    }

    /// The guard has noticed something about its guests.
    pub fn notice(&mut self, notice: Notice) {
        self.tell(|| Event::Notice(Box::new(notice)));
    }

    /// A rule with `log` let a flow pass, or a packet of no flow (number 0).
    pub fn allow(
        &mut self,
        now: Instant,
        packet: &Packet,
        (switch, flow): (SwitchId, u64),
        to: Option<PortId>,
        rule: RuleId,
    ) {
        self.tell(|| Event::Allow { scene: scene(now, packet, switch, to, flow), rule });
    }

    /// Inspection of a flow was given up for want of processor time.
    pub fn shed(
        &mut self,
        now: Instant,
        packet: &Packet,
        (switch, flow): (SwitchId, u64),
        to: Option<PortId>,
        stage: Stage,
    ) {
        self.tell(|| Event::Shed { scene: scene(now, packet, switch, to, flow), stage });
    }

    /// An inspection rule matched.
    pub fn alert(
        &mut self,
        now: Instant,
        packet: &Packet,
        (switch, flow): (SwitchId, u64),
        to: Option<PortId>,
        (signature, members): (&Arc<Signature>, Box<str>),
    ) {
        self.tell(|| Event::Alert {
            scene: scene(now, packet, switch, to, flow),
            signature: signature.clone(),
            members,
        });
    }

    /// The application layer has something to tell; `turned` where it is about what goes against the packet's way.
    pub fn record(
        &mut self,
        now: Instant,
        packet: &Packet,
        (switch, flow): (SwitchId, u64),
        to: Option<PortId>,
        (turned, record): (bool, Record),
    ) {
        self.tell(|| {
            let mut scene = scene(now, packet, switch, to, flow);
            scene.packet = Box::default();
            if turned {
                std::mem::swap(&mut scene.source_mac, &mut scene.destination_mac);
                scene.tuple = scene.tuple.map(|tuple| oriented(&tuple, Direction::Reply));
                if let Some(out) = scene.out_port {
                    scene.out_port = Some(std::mem::replace(&mut scene.in_port, out));
                }
            }
            Event::Record { scene, kind: record.kind, members: record.members }
        });
    }

    /// A rule wants a file stored.
    pub fn stored(&mut self, file: Arc<HandedFile>) {
        self.tell(|| Event::File(file));
    }

    /// As [`Teller::record`], at the end of a flow.
    pub fn record_at_end(&mut self, now: Instant, flow: &Flow, record: Record) {
        self.tell(|| Event::Record {
            scene: scene_at_end(now, flow, record.way),
            kind: record.kind,
            members: record.members,
        });
    }

    /// A rule matched what a flow had left at its end.
    pub fn alert_at_end(&mut self, now: Instant, flow: &Flow, signature: Arc<Signature>, members: Box<str>) {
        self.tell(|| Event::Alert { scene: scene_at_end(now, flow, Direction::Original), signature, members });
    }

    /// A content rule told of a site, or denied it.
    pub fn site(
        &mut self,
        now: Instant,
        packet: &Packet,
        (switch, flow): (SwitchId, u64),
        to: Option<PortId>,
        finding: crate::content::Finding,
    ) {
        self.tell(|| Event::Content { scene: scene(now, packet, switch, to, flow), finding: Box::new(finding) });
    }

    /// A file is infected, or met a limit of the virus check.
    pub fn file(
        &mut self,
        now: Instant,
        packet: &Packet,
        (switch, flow): (SwitchId, u64),
        to: Option<PortId>,
        finding: crate::scan::Finding,
    ) {
        self.tell(|| Event::Virus { scene: scene(now, packet, switch, to, flow), finding: Box::new(finding) });
    }

    /// A flow ended.
    pub fn flow_ended(&mut self, now: Instant, flow: &Flow, reason: &'static str) {
        if !self.records.take(now) {
            return self.events.count_lost();
        }
        self.tell(|| Event::Flow(flow.record(reason)));
    }
}

/// Where a flow was, when no packet is at hand.
fn scene_at_end(now: Instant, flow: &Flow, way: Direction) -> Scene {
    let record = flow.record("");
    let (from, to) = match way {
        Direction::Original => (record.in_port, record.out_port),
        Direction::Reply => (record.out_port.unwrap_or(record.in_port), Some(record.in_port)),
    };
    Scene {
        time: now,
        switch: record.switch,
        vid: record.vid,
        in_port: from,
        out_port: to,
        source_mac: MacAddr::default(),
        destination_mac: MacAddr::default(),
        tuple: Some(oriented(&record.tuple, way)),
        flow: record.flow,
        packet: Box::default(),
        length: 0,
    }
}

fn scene(now: Instant, packet: &Packet, switch: SwitchId, to: Option<PortId>, flow: u64) -> Scene {
    let bytes = packet.bytes();
    Scene {
        time: now,
        switch,
        vid: packet.vid,
        in_port: packet.port,
        out_port: to,
        source_mac: packet.src_mac(),
        destination_mac: packet.dst_mac(),
        tuple: Subject::tuple_of(packet),
        flow,
        packet: bytes.get(..SNAP).unwrap_or(bytes).into(),
        length: bytes.len() as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_flows_that_end_is_told_up_to_its_rate_and_counted_beyond() {
        let mut teller = Teller::new(1 << 20);
        let flow = Flow::default();
        let tell =
            |teller: &mut Teller, now, times: u64| (0..times).for_each(|_| teller.flow_ended(now, &flow, "closed"));
        tell(&mut teller, Instant::from_secs(5), RECORDS + 7);
        assert_eq!((teller.events.len() as u64, teller.events.lost()), (RECORDS, 7));
        tell(&mut teller, Instant::from_secs(6), 10);
        assert_eq!((teller.events.len() as u64, teller.events.lost()), (RECORDS + 10, 7));
    }
}
