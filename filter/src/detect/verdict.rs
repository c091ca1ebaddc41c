//! What follows from the rules that matched in one step: thresholds, the verdict on packet and flow, the alerts.
//!
//! The matches act in the order of their rules. A `pass` ends the list; a `drop` or `reject` refuses the packet, and
//! later alerts are told still. The first verdict on the flow stands.

use weir_ids_rules::rule::Action;

use super::asks::Facts;
use super::compiled::Compiled;
use super::program::Program;
use super::scratch::Matched;
use super::threshold::{self, Thresholds};
use super::{Findings, FlowVerdict, Verdict};

/// A match that is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub matched: Matched,
    /// The action taken: the rule's, or that of its rate filter.
    pub action: Action,
}

/// Decides on the step. Fills `told` with what people should read, at most `limit` matches of them.
#[inline(never)]
pub fn decide(
    program: &Program,
    facts: &Facts<'_>,
    thresholds: &mut Thresholds,
    matched: &mut [Matched],
    limit: usize,
    (findings, told): (&mut Findings, &mut Vec<Told>),
) {
    // Of one rule, matches on later transactions come first, those on none last.
    matched.sort_by_key(|m| (m.rule, std::cmp::Reverse(m.transaction)));
    for &matched in matched.iter() {
        let Some(rule) = program.rule(matched.rule) else { continue };
        findings.released |= rule.releases;
        let (verdict, action) = thresholded(rule, facts, thresholds);
        if verdict == threshold::Verdict::Ignore {
            continue;
        }
        let refused = matches!(findings.verdict, Verdict::Drop | Verdict::Reject(_));
        if !(refused && action == Action::Pass) {
            apply(rule, action, matched, findings);
        }
        // A pass that a rate filter makes of a rule is told no more than other passes.
        let wanted = verdict == threshold::Verdict::Tell;
        let tells = rule.tells && wanted && (action != Action::Pass || rule.action == action);
        if tells && told.len() < limit {
            told.push(Told { matched, action });
        } else if tells {
            findings.discarded += 1;
        }
        // One that its threshold keeps silent passes the packet, and what else matched is told still.
        if action == Action::Pass && wanted {
            break;
        }
    }
}

/// What thresholds and rate filters make of a match.
fn thresholded(rule: &Compiled, facts: &Facts<'_>, thresholds: &mut Thresholds) -> (threshold::Verdict, Action) {
    let now = facts.step.view.time;
    let of = (rule.signature.as_ref(), facts.tuple, facts.step.flow.id);
    if rule.suppressions.iter().any(|suppression| suppression.holds(facts.tuple)) {
        return (threshold::Verdict::Silent, rule.action);
    }
    let verdict = rule.threshold.as_ref().map_or(threshold::Verdict::Tell, |t| thresholds.count(now, t, of));
    // The rate is that of matches which the threshold lets through.
    if verdict != threshold::Verdict::Tell {
        return (verdict, rule.action);
    }
    let rated = rule.rate.as_ref().and_then(|filter| thresholds.rate(now, filter, of));
    (verdict, rated.unwrap_or(rule.action))
}

/// Carries an action out on the packet, and on the flow where the rule judges flows.
fn apply(rule: &Compiled, action: Action, matched: Matched, findings: &mut Findings) {
    let (verdict, on_flow) = match action {
        Action::Pass => (Verdict::Pass, FlowVerdict::Pass),
        Action::Drop => (Verdict::Drop, FlowVerdict::Drop),
        Action::Reject(to) => (Verdict::Reject(to), FlowVerdict::Drop),
        Action::Alert | Action::Config => return,
    };
    match (findings.verdict, verdict) {
        (Verdict::Accept, _) => {
            findings.verdict = verdict;
            findings.decided_by = Some(std::sync::Arc::clone(&rule.signature));
            findings.by_rate = action != rule.action;
        }
        // A reject answers even where a drop came first.
        (Verdict::Drop, Verdict::Reject(_)) => findings.verdict = verdict,
        _ => {}
    }
    if rule.kind.judges_flow(matched.stream.is_some() || matched.transaction.is_some()) {
        findings.flow.get_or_insert(on_flow);
    }
}
