//! Packets in events: their bytes, and what a dropped one was.

use crate::decode::{Link, View};
use crate::json::Json;

use super::base64;

/// The members "packet" and "packet_info".
pub fn packet_fields(json: &mut Json<'_>, frame: &[u8], link: Link) {
    let (number, name) = link.number_and_name();
    json.text("packet", &base64(frame));
    json.nested("packet_info", |json| {
        json.number("linktype", number).text("linktype_name", name);
    });
}

/// The object "drop".
pub fn drop_line(json: &mut Json<'_>, view: &View<'_>, reason: &str, way: &str) {
    json.nested("drop", |json| {
        let half = |at: usize| view.ip.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u16::from_be_bytes(*b));
        if view.ip.first().is_some_and(|byte| byte >> 4 == 4) {
            json.number("len", half(2));
            json.number("tos", view.ip.get(1).copied().unwrap_or(0));
            json.number("ttl", view.ip.get(8).copied().unwrap_or(0));
            json.number("ipid", half(4));
        } else if !view.ip.is_empty() {
            json.number("len", half(4));
            json.number("tc", half(0) >> 4 & 0xff);
            json.number("hoplimit", view.ip.get(7).copied().unwrap_or(0));
        }
        if let Some(tcp) = &view.tcp {
            json.number("tcpseq", tcp.seq).number("tcpack", tcp.ack).number("tcpwin", tcp.window);
            for (name, bit) in [("syn", 2), ("ack", 0x10), ("psh", 8), ("rst", 4), ("urg", 0x20), ("fin", 1)] {
                json.flag(name, tcp.flags & bit != 0);
            }
            json.number("tcpres", 0u8).number("tcpurgp", tcp.urgent);
        } else if view.tuple.is_some_and(|tuple| tuple.protocol == 17) {
            let length = view.transport.get(4..).and_then(|b| b.first_chunk()).map_or(0, |b| u16::from_be_bytes(*b));
            json.number("udplen", length);
        } else if let Some(&[_, _, _, _, a, b, c, d]) =
            view.tuple.filter(|t| t.protocol == 1).and(view.transport.first_chunk())
        {
            json.number("icmp_id", u16::from_be_bytes([a, b])).number("icmp_seq", u16::from_be_bytes([c, d]));
        }
        json.text("reason", reason);
    });
    json.text("direction", way);
}
