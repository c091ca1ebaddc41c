//! The event of a flow at its end.

use weir_wire::Instant;

use crate::capture::{counterpart_v4, counterpart_v6};
use crate::event::Tuple;
use crate::json::Json;

use super::timestamp;

/// What became of an exception: "stream_midstream" and the like, and the policy that answered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Which exception.
    pub target: &'static str,
    /// What was done.
    pub policy: &'static str,
}

/// A flow at its end.
#[derive(Clone, Copy, Debug)]
pub struct FlowLine<'l> {
    /// Packets from initiator and from responder.
    pub packets: [u64; 2],
    /// Bytes from initiator and from responder.
    pub bytes: [u64; 2],
    /// First packet.
    pub start: Instant,
    /// Last packet.
    pub end: Instant,
    /// "new", "established", "closed", "bypassed".
    pub state: &'static str,
    /// "timeout", "forced", "shutdown", "tcp_reuse".
    pub reason: &'static str,
    /// A rule has fired on it.
    pub alerted: bool,
    /// "drop" or "pass", where that was decided.
    pub action: Option<&'static str>,
    /// Transactions, where they are counted.
    pub transactions: Option<u64>,
    /// What became of exceptions.
    pub exception: Option<Applied>,
    /// The policy rule that decided, where there is a policy.
    pub rule: Option<&'l str>,
    /// TCP.
    pub tcp: Option<TcpLine>,
    /// ICMP: type and code with which the responder answered, if it did.
    pub icmp_answer: Option<(u8, u8)>,
}

/// TCP at a flow's end.
#[derive(Clone, Copy, Debug)]
pub struct TcpLine {
    /// Flags of client and server.
    pub flags: [u8; 2],
    /// Where the connection stood; `None` where no connection was followed.
    pub state: Option<&'static str>,
    /// Most stretches of data held at once, of client and server.
    pub regions: [u16; 2],
    /// Bytes before the first hole were lost.
    pub gaps: [bool; 2],
}

/// Type and code of what answers the ICMP message that a flow began with; `None` where nothing does, or it is not ICMP.
pub fn icmp_answer(tuple: &Tuple) -> Option<(u8, u8)> {
    let kind = match tuple.protocol {
        1 => counterpart_v4(tuple.source_port)?,
        58 => counterpart_v6(tuple.source_port)?,
        _ => return None,
    };
    u8::try_from(kind).ok().map(|kind| (kind, 0))
}

/// The objects "flow" and "tcp".
pub fn flow(json: &mut Json<'_>, line: &FlowLine<'_>) {
    json.nested("flow", |json| {
        json.number("pkts_toserver", line.packets[0]).number("pkts_toclient", line.packets[1]);
        json.number("bytes_toserver", line.bytes[0]).number("bytes_toclient", line.bytes[1]);
        if line.state == "bypassed" {
            // Nothing passes by a card here, and what does is counted above.
            json.nested("bypassed", |json| {
                for name in ["pkts_toserver", "pkts_toclient", "bytes_toserver", "bytes_toclient"] {
                    json.number(name, 0);
                }
            });
        }
        json.text("start", &timestamp(line.start)).text("end", &timestamp(line.end));
        json.number("age", (line.end.0 / 1_000_000_000).saturating_sub(line.start.0 / 1_000_000_000));
        if line.state == "bypassed" {
            json.text("bypass", "local");
        }
        json.text("state", line.state).text("reason", line.reason).flag("alerted", line.alerted);
        if let Some(action) = line.action {
            json.text("action", action);
        }
        if let Some(applied) = line.exception {
            json.array("exception_policy", |list| {
                list.item(|json| {
                    json.text("target", applied.target).text("policy", applied.policy);
                });
            });
        }
        if let Some(transactions) = line.transactions {
            json.number("tx_cnt", transactions);
        }
        if let Some(rule) = line.rule {
            json.text("rule", rule);
        }
    });
    if let Some((kind, code)) = line.icmp_answer {
        json.number("response_icmp_type", kind).number("response_icmp_code", code);
    }
    if let Some(tcp) = &line.tcp {
        json.nested("tcp", |json| tcp_fields(json, tcp));
    }
}

fn tcp_fields(json: &mut Json<'_>, tcp: &TcpLine) {
    let [client, server] = tcp.flags;
    for (name, flags) in [("tcp_flags", client | server), ("tcp_flags_ts", client), ("tcp_flags_tc", server)] {
        json.hex(name, &[flags], "");
    }
    let Some(state) = tcp.state else { return };
    let names = [
        ("syn", 0x02),
        ("fin", 0x01),
        ("rst", 0x04),
        ("psh", 0x08),
        ("ack", 0x10),
        ("urg", 0x20),
        ("ecn", 0x40),
        ("cwr", 0x80),
    ];
    for (name, bit) in names {
        if (client | server) & bit != 0 {
            json.flag(name, true);
        }
    }
    json.text("state", state);
    for (name, gap) in [("ts_gap", tcp.gaps[0]), ("tc_gap", tcp.gaps[1])] {
        if gap {
            json.flag(name, true);
        }
    }
    json.number("ts_max_regions", tcp.regions[0]).number("tc_max_regions", tcp.regions[1]);
}
