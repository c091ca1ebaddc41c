//! What alerts say of the rule and of what became of the packet.

use weir_ids_rules::rule::RejectTo;

use crate::detect::Verdict;
use crate::event::{Signature, Tuple};
use crate::json::Json;

/// `alert.action`: whether the packet was refused.
pub fn action_name(blocked: bool) -> &'static str {
    if blocked { "blocked" } else { "allowed" }
}

/// The object "alert"; `extra` are members as JSON, without braces. References are not shown, as by default elsewhere.
pub fn alert(json: &mut Json<'_>, signature: &Signature, blocked: bool, ends: Option<&Tuple>, extra: &str) {
    json.nested("alert", |json| {
        self::signature(json, signature, blocked);
        if let (Some(target), Some(tuple)) = (&signature.target, ends) {
            target_fields(json, target, tuple);
        }
        if !signature.metadata.is_empty() {
            json.nested("metadata", |json| metadata(json, signature));
        }
        if !extra.is_empty() {
            json.members(extra);
        }
    });
}

/// The members that name the rule.
pub fn signature(json: &mut Json<'_>, signature: &Signature, blocked: bool) {
    json.text("action", action_name(blocked))
        .number("gid", signature.gid)
        .number("signature_id", signature.sid)
        .number("rev", signature.rev)
        .text("signature", &signature.msg)
        .text("category", &signature.category)
        .number("severity", signature.severity);
}

/// Values of one key are a list, keys in the order in which they first appear.
fn metadata(json: &mut Json<'_>, signature: &Signature) {
    let pairs = &signature.metadata;
    for (i, (key, _)) in pairs.iter().enumerate() {
        if pairs.iter().take(i).any(|(other, _)| other == key) {
            continue;
        }
        json.array(key, |list| {
            for (_, value) in pairs.iter().filter(|(other, _)| other == key) {
                list.item_bytes(value.as_bytes());
            }
        });
    }
}

fn target_fields(json: &mut Json<'_>, target: &weir_ids_rules::rule::Target, tuple: &Tuple) {
    use weir_ids_rules::rule::Target;
    let source = (tuple.source, tuple.source_port);
    let destination = (tuple.destination, tuple.destination_port);
    let (attacker, victim) = match target {
        Target::Source => (destination, source),
        Target::Destination => (source, destination),
    };
    for (name, (ip, port)) in [("source", attacker), ("target", victim)] {
        json.nested(name, |json| {
            json.text("ip", &super::address(ip));
            if matches!(tuple.protocol, 6 | 17 | 132) {
                json.number("port", port);
            }
        });
    }
}

/// The object "verdict": what became of the packet by all rules together. `dropped`: it was refused in fact.
/// `reject`: a rule answers it.
pub fn verdict(json: &mut Json<'_>, verdict: Verdict, dropped: bool, reject: Option<RejectTo>, protocol: u8) {
    json.nested("verdict", |json| {
        let action = match verdict {
            _ if dropped => "drop",
            Verdict::Pass => "pass",
            Verdict::Accept | Verdict::Drop | Verdict::Reject(_) => "alert",
        };
        json.text("action", action);
        if let Some(to) = reject {
            let target = match to {
                RejectTo::Source => "to_client",
                RejectTo::Destination => "to_server",
                RejectTo::Both => "both",
            };
            json.text("reject-target", target);
            let answer = if protocol == 6 { "tcp-reset" } else { "icmp-prohib" };
            json.array("reject", |list| {
                list.item_bytes(answer.as_bytes());
            });
        }
    });
}
