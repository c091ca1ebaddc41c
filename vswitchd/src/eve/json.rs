//! An event as a line of EVE JSON, with the field names that Suricata writes and its readers know.
//!
//! Fields of our own: `switch`, `out_iface`, and `rule`, the policy rule that decided. `in_iface` and `out_iface` are
//! names of ports. `community_id` is version 1 with seed 0 (<https://github.com/corelight/community-id-spec>).

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use serde_json::{Map, Value, json};
use weir_filter::Event;
use weir_filter::event::{FlowRecord, Scene, Signature, Tuple};
use weir_wire::{DropReason, RuleId};

use super::{Clocks, Line, Naming};

/// IANA protocol numbers, as they are used here.
mod protocol {
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ICMPV6: u8 = 58;
    pub const SCTP: u8 = 132;
}

/// Writes an event.
pub fn line(event: &Event, number: u64, clocks: &Clocks, naming: &Naming<'_>) -> Line {
    match event {
        Event::Alert { scene, signature } => {
            let mut fields = scene_fields("alert", scene, clocks, naming);
            fields.insert("alert".into(), alert(signature));
            packet(&mut fields, scene);
            finish("alert", number, scene, fields, clocks, naming)
        }
        Event::Drop { scene, reason, rule, signature } => {
            let mut fields = scene_fields("drop", scene, clocks, naming);
            fields.insert("drop".into(), dropped(scene, *reason, *rule, naming));
            if let Some(signature) = signature {
                fields.insert("alert".into(), alert(signature));
            }
            packet(&mut fields, scene);
            finish("drop", number, scene, fields, clocks, naming)
        }
        Event::Allow { scene, rule } => {
            let mut fields = scene_fields("allow", scene, clocks, naming);
            fields.insert("rule".into(), json!(naming.judged_by.rule(*rule)));
            packet(&mut fields, scene);
            finish("allow", number, scene, fields, clocks, naming)
        }
        Event::Flow(record) => flow(record, number, clocks, naming),
    }
}

fn finish(
    kind: &'static str,
    number: u64,
    scene: &Scene,
    fields: Map<String, Value>,
    clocks: &Clocks,
    naming: &Naming<'_>,
) -> Line {
    Line {
        number,
        kind,
        wall_ns: clocks.wall_ns(scene.time),
        in_port: naming.names.port(scene.in_port),
        out_port: scene.out_port.map(|p| naming.names.port(p)).unwrap_or_default(),
        eve: Value::Object(fields).to_string(),
    }
}

fn scene_fields(kind: &str, scene: &Scene, clocks: &Clocks, naming: &Naming<'_>) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("timestamp".into(), json!(timestamp(clocks.wall_ns(scene.time))));
    if scene.flow != 0 {
        fields.insert("flow_id".into(), json!(scene.flow));
    }
    fields.insert("in_iface".into(), json!(naming.names.port(scene.in_port)));
    if let Some(out) = scene.out_port {
        fields.insert("out_iface".into(), json!(naming.names.port(out)));
    }
    fields.insert("switch".into(), json!(naming.names.switch(scene.switch)));
    fields.insert("event_type".into(), json!(kind));
    if scene.vid.0 != 0 {
        fields.insert("vlan".into(), json!([scene.vid.0]));
    }
    if let Some(tuple) = &scene.tuple {
        tuple_fields(&mut fields, tuple);
    }
    fields.insert(
        "ether".into(),
        json!({ "src_mac": scene.source_mac.to_string(), "dest_mac": scene.destination_mac.to_string() }),
    );
    fields
}

fn tuple_fields(fields: &mut Map<String, Value>, tuple: &Tuple) {
    fields.insert("src_ip".into(), json!(tuple.source.to_string()));
    fields.insert("dest_ip".into(), json!(tuple.destination.to_string()));
    match tuple.protocol {
        protocol::ICMP | protocol::ICMPV6 => {
            fields.insert("icmp_type".into(), json!(tuple.source_port));
            fields.insert("icmp_code".into(), json!(tuple.destination_port));
        }
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            fields.insert("src_port".into(), json!(tuple.source_port));
            fields.insert("dest_port".into(), json!(tuple.destination_port));
        }
        // Other protocols have no ports.
        0..=u8::MAX => {}
    }
    fields.insert("proto".into(), json!(protocol_name(tuple.protocol)));
    fields.insert("ip_v".into(), json!(if tuple.source.is_ipv4() { 4 } else { 6 }));
    fields.insert("community_id".into(), json!(community_id(tuple)));
}

/// A protocol's name as Suricata writes it.
fn protocol_name(number: u8) -> String {
    match number {
        protocol::ICMP => "ICMP".into(),
        protocol::TCP => "TCP".into(),
        protocol::UDP => "UDP".into(),
        protocol::ICMPV6 => "IPv6-ICMP".into(),
        protocol::SCTP => "SCTP".into(),
        other => other.to_string(),
    }
}

fn alert(signature: &Signature) -> Value {
    json!({
        "action": if signature.blocked { "blocked" } else { "allowed" },
        "gid": signature.gid,
        "signature_id": signature.sid,
        "rev": signature.rev,
        "signature": signature.msg,
        "category": signature.category,
        "severity": signature.severity,
    })
}

fn dropped(scene: &Scene, reason: DropReason, rule: Option<RuleId>, naming: &Naming<'_>) -> Value {
    let mut fields = Map::new();
    fields.insert("len".into(), json!(scene.length));
    fields.insert("reason".into(), json!(reason.label()));
    if let Some(rule) = rule {
        fields.insert("rule".into(), json!(naming.judged_by.rule(rule)));
    }
    Value::Object(fields)
}

/// The packet's bytes; link type 1 is Ethernet.
fn packet(fields: &mut Map<String, Value>, scene: &Scene) {
    fields.insert("packet".into(), json!(STANDARD.encode(&scene.packet)));
    fields.insert("packet_info".into(), json!({ "linktype": 1 }));
}

fn flow(record: &FlowRecord, number: u64, clocks: &Clocks, naming: &Naming<'_>) -> Line {
    let in_port = naming.names.port(record.in_port);
    let out_port = record.out_port.map(|p| naming.names.port(p)).unwrap_or_default();
    let wall_ns = clocks.wall_ns(clocks.monotonic);
    let mut fields = Map::new();
    fields.insert("timestamp".into(), json!(timestamp(wall_ns)));
    fields.insert("flow_id".into(), json!(record.flow));
    fields.insert("in_iface".into(), json!(in_port));
    if record.out_port.is_some() {
        fields.insert("out_iface".into(), json!(out_port));
    }
    fields.insert("switch".into(), json!(naming.names.switch(record.switch)));
    fields.insert("event_type".into(), json!("flow"));
    if record.vid.0 != 0 {
        fields.insert("vlan".into(), json!([record.vid.0]));
    }
    tuple_fields(&mut fields, &record.tuple);
    let [packets_to_server, packets_to_client] = record.packets;
    let [bytes_to_server, bytes_to_client] = record.bytes;
    fields.insert(
        "flow".into(),
        json!({
            "pkts_toserver": packets_to_server,
            "pkts_toclient": packets_to_client,
            "bytes_toserver": bytes_to_server,
            "bytes_toclient": bytes_to_client,
            "start": timestamp(clocks.wall_ns(record.start)),
            "end": timestamp(clocks.wall_ns(record.last)),
            "age": record.last.since(record.start).as_secs(),
            "state": record.state,
            "reason": record.reason,
            "alerted": record.alerted,
            "rule": naming.judged_by.rule(record.rule),
        }),
    );
    Line { number, kind: "flow", wall_ns, in_port, out_port, eve: Value::Object(fields).to_string() }
}

/// ISO 8601 with microseconds in UTC, as EVE has it: `2026-11-21T23:38:13.000123+0000`.
pub(super) fn timestamp(wall_ns: u64) -> String {
    let (seconds, micros) = (wall_ns / 1_000_000_000, wall_ns % 1_000_000_000 / 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second % 3600 / 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}+0000")
}

/// The civil date of a day counted from 1970-01-01, after Howard Hinnant's `civil_from_days`: years begin in March, so
/// that the leap day is the last of its year.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// The flow's name across tools: the same for both directions.
fn community_id(tuple: &Tuple) -> String {
    let (source_port, destination_port, one_way) = community_ports(tuple);
    let source = (octets(tuple.source), source_port);
    let destination = (octets(tuple.destination), destination_port);
    let (first, second) = if one_way || source <= destination { (source, destination) } else { (destination, source) };
    let mut bytes = vec![0, 0];
    bytes.extend(&first.0);
    bytes.extend(&second.0);
    bytes.extend([tuple.protocol, 0]);
    if matches!(tuple.protocol, protocol::ICMP | protocol::ICMPV6 | protocol::TCP | protocol::UDP | protocol::SCTP) {
        bytes.extend(first.1.to_be_bytes());
        bytes.extend(second.1.to_be_bytes());
    }
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &bytes);
    format!("1:{}", STANDARD.encode(hash))
}

/// The ports that stand for a tuple, and whether they have one direction only: a request's type goes with its reply's.
fn community_ports(tuple: &Tuple) -> (u16, u16, bool) {
    let counterpart = match (tuple.protocol, tuple.source_port) {
        (protocol::ICMP, 8) | (protocol::ICMPV6, 129) => Some(if tuple.protocol == protocol::ICMP { 0 } else { 128 }),
        (protocol::ICMP, 0) => Some(8),
        (protocol::ICMPV6, 128) => Some(129),
        (protocol::ICMP, kind @ (9 | 10 | 13..=18)) => Some(match kind {
            9 => 10,
            10 => 9,
            13 | 15 | 17 => kind + 1,
            _ => kind - 1,
        }),
        (protocol::ICMPV6, kind @ (130 | 133 | 135 | 144)) => Some(kind + 1),
        (protocol::ICMPV6, kind @ (131 | 134 | 136 | 145)) => Some(kind - 1),
        _ => None,
    };
    match (tuple.protocol, counterpart) {
        (_, Some(kind)) => (tuple.source_port, kind, false),
        (protocol::ICMP | protocol::ICMPV6, None) => (tuple.source_port, tuple.destination_port, true),
        _ => (tuple.source_port, tuple.destination_port, false),
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
