//! Flows that were recorded, for a comparison of policies: the daemon's own of the last day, a file of EVE events, or a
//! capture.
//!
//! Names in files are those of the state that runs; what it does not know is a port that no rule names. Files are read
//! line by line and frame by frame, [`LINE_MAX`] bytes a line; a capture's flows are counted up to [`FLOWS_MAX`], and what
//! is beyond is counted as passed over.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;

use weir_filter::Policy;
use weir_filter::event::Tuple;
use weir_filter::flow::UNKNOWN_PORT;
use weir_filter::flow::key::{self, Belongs, Key};
use weir_filter::policy::Subject;
use weir_filter::shadow::{Comparison, Differences, Limits, Sight};
use weir_ports::pcap::reader::{Reader, Record};
use weir_wire::buffer::PoolLimits;
use weir_wire::numbers::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use weir_wire::{Epoch, Instant, MacAddr, Offload, Packet, Pool, PortId, SwitchId, Vid};

use crate::flow_log::Recorded;
use crate::published::{Board, Snapshot};
use crate::refusal::Refusal;

/// Bytes of a line of events.
const LINE_MAX: u64 = 1 << 20;
/// Flows of a capture.
const FLOWS_MAX: usize = 1 << 20;

/// What was compared.
#[derive(Debug, Default)]
pub struct Compared {
    /// What was found.
    pub differences: Differences,
    /// Lines or frames that said nothing of a flow.
    pub passed_over: u64,
}

/// What a file's flows are taken for where it does not say.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The switch.
    pub switch: SwitchId,
    /// Ports by the MAC addresses behind them.
    pub ports: HashMap<MacAddr, PortId>,
}

/// Compares the daemon's own records, whose numbers are those of the states they were told in.
pub fn of_log(records: &[Recorded], board: &Board, candidate: &Policy, limits: Limits) -> Compared {
    let snapshot = board.read();
    let mut comparison = Comparison::new(&snapshot.policy, candidate, limits);
    // Few states, and few ports in each.
    let mut ports: BTreeMap<(Epoch, PortId), PortId> = BTreeMap::new();
    let mut switches: BTreeMap<(Epoch, SwitchId), SwitchId> = BTreeMap::new();
    for recorded in records {
        let epoch = recorded.epoch;
        let mut port = |id: PortId| {
            let today = || snapshot.ids.port(&board.names(epoch).port(id)).unwrap_or(UNKNOWN_PORT);
            *ports.entry((epoch, id)).or_insert_with(today)
        };
        let (from, to) = (port(recorded.ports.0), recorded.ports.1.map_or(UNKNOWN_PORT, &mut port));
        let today = || snapshot.names.switch_id(&board.names(epoch).switch(recorded.switch)).unwrap_or(recorded.switch);
        let switch = *switches.entry((epoch, recorded.switch)).or_insert_with(today);
        let subject = subject(switch, recorded.vid, recorded.tuple, [from, to]);
        let sight = Sight { now: recorded.last, ports: [from, to], packets: recorded.packets };
        comparison.ask(&subject, sight);
    }
    Compared { differences: comparison.differences, passed_over: 0 }
}

/// Compares the events `flow` of a file of EVE JSON lines.
///
/// # Errors
/// Where the file cannot be read.
pub fn of_events(
    path: &str,
    place: &Place,
    snapshot: &Snapshot,
    candidate: &Policy,
    limits: Limits,
) -> Result<Compared, Refusal> {
    let unreadable = |e: std::io::Error| Refusal::invalid(format!("{path}: {e}"));
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let mut comparison = Comparison::new(&snapshot.policy, candidate, limits);
    let (mut line, mut passed_over) = (Vec::new(), 0);
    loop {
        line.clear();
        let read = file.by_ref().take(LINE_MAX).read_until(b'\n', &mut line).map_err(unreadable)?;
        if read == 0 {
            return Ok(Compared { differences: comparison.differences, passed_over });
        }
        match flow_of(&line, place, snapshot) {
            Some((subject, sight)) => comparison.ask(&subject, sight),
            None => passed_over += 1,
        }
    }
}

/// The flow that a line tells of.
fn flow_of(line: &[u8], place: &Place, snapshot: &Snapshot) -> Option<(Subject, Sight)> {
    let event: serde_json::Value = serde_json::from_slice(line).ok()?;
    if event["event_type"] != "flow" {
        return None;
    }
    let address = |name: &str| event[name].as_str()?.parse::<IpAddr>().ok();
    let number = |name: &str| event[name].as_u64().and_then(|n| u16::try_from(n).ok()).unwrap_or(0);
    let protocol = weir_filter::eve::protocol_number(event["proto"].as_str()?)?;
    let (source, destination) = (address("src_ip")?, address("dest_ip")?);
    let icmp = matches!(protocol, 1 | 58);
    let (source_port, destination_port) = if icmp { ("icmp_type", "icmp_code") } else { ("src_port", "dest_port") };
    let (source_port, destination_port) = (number(source_port), number(destination_port));
    let tuple = Tuple { source, destination, source_port, destination_port, protocol };
    let port = |name: &str| event[name].as_str().and_then(|name| snapshot.ids.port(name)).unwrap_or(UNKNOWN_PORT);
    let ports = [port("in_iface"), port("out_iface")];
    let vid = event["vlan"][0].as_u64().and_then(|vid| u16::try_from(vid).ok()).unwrap_or(0);
    let switch = event["switch"].as_str().and_then(|name| snapshot.names.switch_id(name)).unwrap_or(place.switch);
    let packets = |way: &str| event["flow"][way].as_u64().unwrap_or(0);
    let packets = packets("pkts_toserver").saturating_add(packets("pkts_toclient"));
    let sight = Sight { now: Instant::ZERO, ports, packets };
    Some((subject(switch, Vid(vid), tuple, ports), sight))
}

fn subject(switch: SwitchId, vid: Vid, tuple: Tuple, [from, to]: [PortId; 2]) -> Subject {
    Subject {
        switch,
        vid,
        from,
        to,
        source_mac: MacAddr::default(),
        destination_mac: MacAddr::default(),
        ether_type: if tuple.source.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 },
        tuple: Some(tuple),
    }
}

/// Compares the flows of a capture: each by its first packet, frames without addresses one by one.
///
/// # Errors
/// Where the file cannot be read or is no capture.
pub fn of_capture(
    path: &str,
    place: &Place,
    live: &Policy,
    candidate: &Policy,
    limits: Limits,
) -> Result<Compared, Refusal> {
    let file = File::open(path).map_err(|e| Refusal::invalid(format!("{path}: {e}")))?;
    let broken = |e: &dyn std::fmt::Display| Refusal::invalid(format!("{path}: {e}"));
    let mut reader = Reader::new(BufReader::new(file)).map_err(|e| broken(&e))?;
    let mut pool = Pool::new(PoolLimits { frames: 1, supers: 1 });
    let mut flows: BTreeMap<Key, (Subject, Sight)> = BTreeMap::new();
    let mut comparison = Comparison::new(live, candidate, limits);
    let mut compared = Compared::default();
    let mut record = Record::default();
    while reader.next(&mut record).map_err(|e| broken(&e))? {
        let now = Instant(u64::try_from(record.time.as_nanos()).unwrap_or(u64::MAX));
        let Some(buffer) = pool.copy(&record.bytes) else {
            compared.passed_over += 1;
            continue;
        };
        let mut packet = Packet::new(buffer, UNKNOWN_PORT, Offload::default());
        if packet.parse().is_err() {
            compared.passed_over += 1;
        } else {
            packet.port = place.ports.get(&packet.src_mac()).copied().unwrap_or(UNKNOWN_PORT);
            let to = place.ports.get(&packet.dst_mac()).copied().unwrap_or(UNKNOWN_PORT);
            let subject = Subject::of_packet(&packet, place.switch, to);
            let sight = Sight { now, ports: [packet.port, to], packets: 1 };
            match key::belongs(&packet, place.switch) {
                Belongs::Flow { key, .. } if flows.contains_key(&key) => {
                    if let Some((_, sight)) = flows.get_mut(&key) {
                        (sight.now, sight.packets) = (now, sight.packets.saturating_add(1));
                    }
                }
                Belongs::Flow { key, .. } if flows.len() < FLOWS_MAX => {
                    flows.insert(key, (subject, sight));
                }
                Belongs::None => comparison.ask(&subject, sight),
                Belongs::Flow { .. } | Belongs::Error { .. } | Belongs::BrokenError => compared.passed_over += 1,
            }
        }
        pool.give(packet.buffer);
    }
    let mut in_order: Vec<_> = flows.into_values().collect();
    in_order.sort_by_key(|(_, sight)| sight.now);
    in_order.iter().for_each(|(subject, sight)| comparison.ask(subject, *sight));
    compared.differences = comparison.differences;
    Ok(compared)
}
