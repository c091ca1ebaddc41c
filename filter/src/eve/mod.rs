//! EVE: events as lines of JSON, with the members that Suricata 8 writes. Pure: from values to text.
//!
//! Every line begins with the members of [`Head`]; the rest depends on the kind. Addresses of IPv6 are written in full,
//! as readers of EVE compare them. Nothing here is bounded by itself: what it is given is.

mod alert;
mod encode;
mod flow;
pub mod kinds;
mod packet;
mod record;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use weir_wire::Instant;

use crate::decode::Source;
use crate::event::Tuple;
use crate::json::Json;

pub use alert::{action_name, alert, signature, verdict};
pub use encode::{base64, community_id, printable, timestamp};
pub use flow::{Applied, FlowLine, TcpLine, flow, icmp_answer};
pub use packet::{drop_line, packet_fields};
pub use record::{
    alert_transaction, anomaly_fields, app_fields, directed, file_fields, flow_fields, metadata_field, object_name,
    payload_fields, transaction_fields, transaction_number, way_name,
};

/// What all events begin with.
#[derive(Clone, Copy, Debug)]
pub struct Head<'h> {
    /// Since the epoch.
    pub time: Instant,
    /// The flow's number; 0 without one.
    pub flow: u64,
    /// The frame's number in the capture, from 1; `None` where no frame brought it about.
    pub number: Option<u64>,
    /// `event_type`
    pub kind: &'h str,
    /// VLANs.
    pub vlan: &'h [u16],
    /// Addresses and ports, in the event's own direction.
    pub tuple: Option<&'h Tuple>,
    /// The initiator's tuple, which names the flow across tools.
    pub community: Option<&'h Tuple>,
    /// Where the packet came from.
    pub source: Option<Source>,
    /// Ethernet: source, destination, type.
    pub ether: Option<([u8; 6], [u8; 6], Option<u16>)>,
    /// The outermost packet's tuple and the tunnel's depth.
    pub tunnel: Option<(&'h Tuple, u8)>,
    /// Where it was seen, on a switch.
    pub interfaces: Option<Interfaces<'h>>,
}

/// Ports of a switch by name.
#[derive(Clone, Copy, Debug)]
pub struct Interfaces<'h> {
    /// `in_iface`
    pub from: &'h str,
    /// `out_iface`, where it is known.
    pub to: Option<&'h str>,
    /// The switch.
    pub switch: &'h str,
}

impl<'h> Head<'h> {
    /// A head that says of what kind the event is, and when it was.
    pub fn new(kind: &'h str, time: Instant) -> Head<'h> {
        Head {
            time,
            flow: 0,
            number: None,
            kind,
            vlan: &[],
            tuple: None,
            community: None,
            source: None,
            ether: None,
            tunnel: None,
            interfaces: None,
        }
    }
}

/// Begins a line: the members of the head. The object is left open.
pub fn head<'t>(line: &'t mut String, head: &Head<'_>) -> Json<'t> {
    let mut json = Json::object(line);
    json.text("timestamp", &timestamp(head.time));
    if head.flow != 0 {
        json.number("flow_id", head.flow);
    }
    if let Some(number) = head.number {
        json.number("pcap_cnt", number);
    }
    if let Some(interfaces) = head.interfaces {
        json.text("in_iface", interfaces.from);
        if let Some(to) = interfaces.to {
            json.text("out_iface", to);
        }
        json.text("switch", interfaces.switch);
    }
    json.text("event_type", head.kind);
    if !head.vlan.is_empty() {
        json.array("vlan", |list| {
            for &vlan in head.vlan {
                list.item_number(vlan);
            }
        });
    }
    if let Some(tuple) = head.tuple {
        tuple_fields(&mut json, tuple);
        json.number("ip_v", if tuple.source.is_ipv4() { 4 } else { 6 });
    }
    if let Some(source) = head.source {
        json.text("pkt_src", source.name());
    }
    if let Some(tuple) = head.community {
        json.text("community_id", &community_id(tuple));
    }
    if let Some((source, destination, kind)) = head.ether {
        json.nested("ether", |json| {
            if head.kind == "flow" {
                // A flow may see several.
                json.array("dest_macs", |list| mac(list, &destination)).array("src_macs", |list| mac(list, &source));
                return;
            }
            if let Some(kind) = kind {
                json.number("ether_type", kind);
            }
            json.hex("src_mac", &source, ":").hex("dest_mac", &destination, ":");
        });
    }
    if let Some((tuple, depth)) = head.tunnel {
        json.nested("tunnel", |json| {
            tuple_fields(json, tuple);
            json.number("depth", depth);
        });
    }
    json
}

fn mac(list: &mut Json<'_>, mac: &[u8; 6]) {
    let [a, b, c, d, e, f] = mac;
    list.item_bytes(format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}").as_bytes());
}

/// Addresses, ports and protocol.
pub fn tuple_fields(json: &mut Json<'_>, tuple: &Tuple) {
    json.text("src_ip", &address(tuple.source));
    let ports = matches!(tuple.protocol, 6 | 17 | 132);
    if ports {
        json.number("src_port", tuple.source_port);
    }
    json.text("dest_ip", &address(tuple.destination));
    if ports {
        json.number("dest_port", tuple.destination_port);
    }
    match protocol_name(tuple.protocol) {
        Some(name) => json.text("proto", name),
        None => json.text("proto", &format!("{:03}", tuple.protocol)),
    };
    if matches!(tuple.protocol, 1 | 58) {
        json.number("icmp_type", tuple.source_port).number("icmp_code", tuple.destination_port);
    }
}

/// An address, IPv6 in full.
pub fn address(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let groups: Vec<String> = v6.segments().iter().map(|group| format!("{group:04x}")).collect();
            groups.join(":")
        }
    }
}

/// A protocol's number by the name that events have it by, or by the number itself.
pub fn protocol_number(name: &str) -> Option<u8> {
    (0..=u8::MAX).find(|&number| protocol_name(number) == Some(name)).or_else(|| name.parse().ok())
}

/// Protocols by number, as lists of them name them.
fn protocol_name(number: u8) -> Option<&'static str> {
    Some(match number {
        0 => "HOPOPT",
        1 => "ICMP",
        2 => "IGMP",
        3 => "GGP",
        4 => "IP-in-IP",
        5 => "ST",
        6 => "TCP",
        8 => "EGP",
        9 => "IGP",
        17 => "UDP",
        41 => "IPv6",
        43 => "IPv6-Route",
        44 => "IPv6-Frag",
        46 => "RSVP",
        47 => "GRE",
        50 => "ESP",
        51 => "AH",
        58 => "IPv6-ICMP",
        59 => "IPv6-NoNxt",
        60 => "IPv6-Opts",
        88 => "EIGRP",
        89 => "OSPFIGP",
        103 => "PIM",
        112 => "VRRP",
        115 => "L2TP",
        132 => "SCTP",
        136 => "UDPLite",
        _ => return None,
    })
}
