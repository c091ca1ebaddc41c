use std::net::IpAddr;

use serde_json::{Value, json};
use weir_filter::event::{FlowRecord, Scene, Signature, Tuple};
use weir_wire::{DropReason, Epoch, MacAddr, PortId, RuleId, SwitchId, Vid};

use super::*;
use crate::config::Config;
use crate::state::Ids;

/// 2026-02-28 23:59:59.000001 UTC.
const WALL_NS: u64 = 1_772_323_199_000_001_000;

fn clocks() -> Clocks {
    Clocks { monotonic: Instant::from_secs(100), wall_ns: WALL_NS }
}

fn names() -> Names {
    let config = Config::parse(
        "switch = [{ name = \"lan\" }]\n\
         port = [{ name = \"vm1\", switch = \"lan\", mem = {} }, { name = \"vm2\", switch = \"lan\", mem = {} }]",
    )
    .expect("parses");
    let ids = Ids::default().after(&config);
    Names::of(&config, &ids, Epoch(1), Instant::ZERO)
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn tuple(source: &str, destination: &str, ports: (u16, u16), protocol: u8) -> Tuple {
    Tuple {
        source: ip(source),
        destination: ip(destination),
        source_port: ports.0,
        destination_port: ports.1,
        protocol,
    }
}

fn scene() -> Scene {
    Scene {
        time: Instant::from_secs(99),
        switch: SwitchId(0),
        vid: Vid(10),
        in_port: PortId(0),
        out_port: Some(PortId(1)),
        source_mac: MacAddr([2, 0, 0, 0, 0, 1]),
        destination_mac: MacAddr([2, 0, 0, 0, 0, 2]),
        tuple: Some(tuple("10.0.0.1", "10.0.0.2", (40000, 80), 6)),
        flow: 77,
        packet: Box::new([1, 2, 3]),
        length: 60,
    }
}

fn signature() -> Arc<Signature> {
    Arc::new(Signature {
        gid: 1,
        sid: 9_000_001,
        rev: 2,
        msg: "shell \"in\" a header".into(),
        category: "Attempted Administrator Privilege Gain".into(),
        severity: 1,
        blocked: true,
        ..Signature::default()
    })
}

fn written(event: &Event) -> (Line, Value) {
    let names = names();
    let line = line(event, 5, &clocks(), &Naming { names: &names, judged_by: &names });
    let value = serde_json::from_str(&line.eve).expect("is JSON");
    (line, value)
}

#[test]
fn an_alert_has_the_fields_that_readers_of_eve_know() {
    let (line, value) = written(&Event::Alert { scene: scene(), signature: signature(), members: Box::default() });
    assert_eq!((line.kind, line.number, line.in_port.as_str(), line.out_port.as_str()), ("alert", 5, "vm1", "vm2"));
    assert_eq!(
        value,
        json!({
            "timestamp": "2026-02-28T23:59:58.000001+0000",
            "flow_id": 77,
            "in_iface": "vm1",
            "out_iface": "vm2",
            "switch": "lan",
            "event_type": "alert",
            "vlan": [10],
            "src_ip": "10.0.0.1",
            "src_port": 40000,
            "dest_ip": "10.0.0.2",
            "dest_port": 80,
            "proto": "TCP",
            "ip_v": 4,
            "community_id": value["community_id"],
            "ether": { "src_mac": "02:00:00:00:00:01", "dest_mac": "02:00:00:00:00:02" },
            "alert": {
                "action": "blocked",
                "gid": 1,
                "signature_id": 9_000_001,
                "rev": 2,
                "signature": "shell \"in\" a header",
                "category": "Attempted Administrator Privilege Gain",
                "severity": 1,
            },
            "packet": "AQID",
            "packet_info": { "linktype": 1 },
        })
    );
}

#[test]
fn a_drop_names_its_reason_and_its_rule() {
    let event =
        Event::Drop { scene: scene(), reason: DropReason::Policy, rule: Some(RuleId::DEFAULT), signature: None };
    let (_, value) = written(&event);
    assert_eq!(value["event_type"], "drop");
    assert_eq!(value["drop"], json!({ "len": 60, "reason": "policy", "rule": "default" }));
    assert!(value.get("alert").is_none());
    let event = Event::Drop {
        scene: Scene { tuple: None, flow: 0, vid: Vid(0), ..scene() },
        reason: DropReason::Inspection,
        rule: None,
        signature: Some(signature()),
    };
    let (_, value) = written(&event);
    assert_eq!(value["drop"], json!({ "len": 60, "reason": "inspection" }));
    assert_eq!(value["alert"]["signature_id"], 9_000_001);
    for absent in ["src_ip", "flow_id", "vlan"] {
        assert!(value.get(absent).is_none(), "{absent}");
    }
}

#[test]
fn an_icmp_packet_has_type_and_code_instead_of_ports() {
    let scene = Scene { tuple: Some(tuple("10.0.0.1", "10.0.0.2", (8, 0), 1)), ..scene() };
    let (_, value) = written(&Event::Allow { scene, rule: RuleId::DEFAULT });
    assert_eq!((&value["icmp_type"], &value["icmp_code"], &value["proto"]), (&json!(8), &json!(0), &json!("ICMP")));
    assert_eq!((value["event_type"].as_str(), value["rule"].as_str()), (Some("allow"), Some("default")));
    assert!(value.get("src_port").is_none());
}

#[test]
fn a_flow_tells_both_directions_and_its_times() {
    let record = FlowRecord {
        flow: 9,
        switch: SwitchId(0),
        vid: Vid(0),
        tuple: tuple("2001:db8::1", "2001:db8::2", (1, 2), 17),
        in_port: PortId(1),
        out_port: None,
        start: Instant::from_secs(40),
        last: Instant::from_secs(99),
        packets: [3, 4],
        bytes: [300, 400],
        state: "closed",
        reason: "timeout",
        rule: RuleId::DEFAULT,
        epoch: Epoch(1),
        alerted: true,
        app: Some(weir_ids_rules::AppProtocol::Dns),
        away: false,
        inspection: weir_filter::event::Inspection::Settled,
    };
    let (line, value) = written(&Event::Flow(record));
    assert_eq!((line.kind, line.in_port.as_str(), line.out_port.as_str()), ("flow", "vm2", ""));
    assert_eq!((&value["ip_v"], &value["app_proto"]), (&json!(6), &json!("dns")));
    assert_eq!(
        value["flow"],
        json!({
            "pkts_toserver": 3, "pkts_toclient": 4, "bytes_toserver": 300, "bytes_toclient": 400,
            "start": "2026-02-28T23:58:59.000001+0000", "end": "2026-02-28T23:59:58.000001+0000",
            "age": 59, "state": "closed", "reason": "timeout", "alerted": true, "rule": "default",
        })
    );
}

#[test]
fn a_transaction_is_told_with_the_members_that_inspection_wrote() {
    let members = r#""tx_id":0,"dns":{"type":"query"}"#.into();
    let scene = Scene { packet: Box::default(), ..scene() };
    let (line, value) = written(&Event::Record { scene, kind: "dns", members });
    assert_eq!((line.kind, &value["event_type"], &value["dns"]["type"]), ("dns", &json!("dns"), &json!("query")));
    assert_eq!((&value["in_iface"], &value["community_id"].is_string()), (&json!("vm1"), &true));
    assert!(value.get("packet").is_none());
    assert!(kinds::is_record(line.kind));
}

#[test]
fn who_asks_for_the_latest_lines_gets_them_and_what_follows_without_a_gap() {
    let feed = Feed::default();
    let push = |number| {
        feed.push(Line {
            number,
            ..written(&Event::Alert { scene: scene(), signature: signature(), members: Box::default() }).0
        })
    };
    (1..=KEPT as u64 + 5).for_each(push);
    let (kept, mut following) = feed.follow(2);
    push(KEPT as u64 + 6);
    let numbers: Vec<u64> = kept.iter().map(|l| l.number).collect();
    assert_eq!(numbers, [KEPT as u64 + 4, KEPT as u64 + 5]);
    assert_eq!(following.try_recv().expect("follows").number, KEPT as u64 + 6);
    assert_eq!(feed.follow(KEPT * 2).0.len(), KEPT);
}

#[test]
fn an_event_that_nobody_follows_becomes_a_line_when_it_is_asked_for() {
    let feed = Feed::default();
    let event = |number| Unwritten {
        event: Event::Alert { scene: scene(), signature: signature(), members: Box::default() },
        number,
        clocks: clocks(),
        names: Arc::new(names()),
        judged_by: Arc::new(names()),
    };
    assert!(feed.push_unread(vec![event(1), event(2)]).is_empty());
    assert_eq!(feed.counters(), (2, 0));
    let (kept, _following) = feed.follow(10);
    assert_eq!(kept.iter().map(|line| line.number).collect::<Vec<_>>(), [1, 2]);
    let read: Value = serde_json::from_str(&kept[1].eve).expect("JSON");
    assert_eq!((&read["event_type"], &read["in_iface"]), (&json!("alert"), &json!("vm1")));
    // Somebody follows: the event is to be written at once.
    assert_eq!(feed.push_unread(vec![event(3)]).len(), 1);
    assert_eq!(feed.follow(10).0.len(), 2);
}
