//! Conditions on the headers of one packet.

use weir_ids_rules::rule::{Condition, FlagsMode};

use crate::decode::View;

/// Whether the condition holds.
pub fn holds(condition: &Condition, view: &View<'_>) -> bool {
    match *condition {
        Condition::Flags { mode, flags, mask } => view.tcp.is_some_and(|tcp| {
            let there = tcp.flags & mask;
            match mode {
                FlagsMode::Exact => there == flags & mask,
                FlagsMode::All => there & flags == flags,
                FlagsMode::Any => there & flags != 0,
                FlagsMode::Not => there & flags != flags,
            }
        }),
        Condition::PayloadSize(bounds) => bounds.contains(view.payload.len() as u64),
        Condition::IcmpType(bounds) => view.transport.first().is_some_and(|&kind| bounds.contains(kind.into())),
        Condition::IcmpCode(bounds) => view.transport.get(1).is_some_and(|&code| bounds.contains(code.into())),
        _ => false,
    }
}
