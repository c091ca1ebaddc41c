//! What can only be said of a rule as a whole: options that contradict each other.

use crate::diagnostic::{Fault, Kind};
use crate::parser::Draft;
use crate::rule::{Condition, Content, FastPattern, Match, Position, Protocol};

/// Refuses a rule that is complete but cannot work.
pub(crate) fn check(draft: &Draft) -> Result<(), Fault> {
    let rule = &draft.rule;
    if rule.sid == 0 {
        return Err(Fault::new(Kind::MissingSid, 0..1, "the rule has no sid").remedy("add sid:NUMBER; to its options"));
    }
    let mut fast_patterns = 0;
    for (m, place) in rule.matches.iter().zip(&draft.match_places) {
        if let Match::Content(content) = m {
            check_fast_pattern(content, place)?;
            fast_patterns += usize::from(content.fast_pattern != FastPattern::Unsaid);
        }
        if fast_patterns > 1 {
            return Err(Draft::conflict(place.clone(), "a rule has one 'fast_pattern'").remedy("take one of them away"));
        }
    }
    check_order(draft)?;
    check_protocol(draft)
}

fn check_fast_pattern(content: &Content, place: &std::ops::Range<usize>) -> Result<(), Fault> {
    let anywhere = content.position == Position::ANYWHERE && !content.ends_with;
    match content.fast_pattern {
        FastPattern::Unsaid => Ok(()),
        FastPattern::Only if content.negated || !anywhere => Err(Draft::conflict(
            place.clone(),
            "'fast_pattern:only' is for a content that may be anywhere and is not negated",
        )),
        FastPattern::Whole | FastPattern::Part { .. } if content.negated && !anywhere => Err(Draft::conflict(
            place.clone(),
            "'fast_pattern' on a negated content needs it to be looked for everywhere",
        )),
        FastPattern::Whole | FastPattern::Only | FastPattern::Part { .. } => Ok(()),
    }
}

/// A match that is placed by the one before cannot follow one that has no place.
fn check_order(draft: &Draft) -> Result<(), Fault> {
    let matches = &draft.rule.matches;
    for ((before, after), place) in matches.iter().zip(matches.iter().skip(1)).zip(draft.match_places.iter().skip(1)) {
        let placeless = matches!(before, Match::Content(c) if c.fast_pattern == FastPattern::Only);
        if placeless && after.is_relative() {
            return Err(Draft::conflict(place.clone(), "this is placed by a content that is 'fast_pattern:only'")
                .remedy("write 'fast_pattern' without 'only'"));
        }
    }
    Ok(())
}

/// Options that speak of another protocol than the header.
fn check_protocol(draft: &Draft) -> Result<(), Fault> {
    let rule = &draft.rule;
    let tcp = matches!(rule.protocol, Protocol::Tcp | Protocol::TcpPacket | Protocol::TcpStream);
    let icmp = matches!(rule.protocol, Protocol::Icmp | Protocol::Icmpv4 | Protocol::Icmpv6);
    for condition in &rule.conditions {
        let (wanted, fits) = match condition {
            Condition::Flags { .. }
            | Condition::Window { .. }
            | Condition::Sequence(_)
            | Condition::Acknowledgment(_) => ("TCP", tcp || rule.protocol == Protocol::Ip),
            Condition::IcmpType(_) | Condition::IcmpCode(_) | Condition::IcmpId(_) | Condition::IcmpSequence(_) => {
                ("ICMP", icmp || rule.protocol == Protocol::Ip)
            }
            Condition::PayloadSize(_)
            | Condition::Ttl(_)
            | Condition::IpId(_)
            | Condition::IpProtocol(_)
            | Condition::SameIp => ("", true),
        };
        if !fits {
            return Err(Draft::conflict(0..1, format!("the rule has a condition on {wanted}, but another protocol")));
        }
    }
    let packets = rule.flow.no_stream || rule.protocol == Protocol::TcpPacket || !rule.conditions.is_empty();
    if packets && (rule.flow.only_stream || rule.protocol == Protocol::TcpStream) {
        return Err(Draft::conflict(0..1, "the rule asks for the stream only, and has conditions on single packets"));
    }
    Ok(())
}
