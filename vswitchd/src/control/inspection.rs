//! `weir.v1.Inspection`.

use std::collections::BTreeMap;

use tonic::{Request, Response, Status};
use weir_filter::engine::budget::{Stage, Usage};
use weir_filter::engine::sample::RuleUsage;
use weir_proto::v1;
use weir_proto::v1::inspection_server::Inspection;

use super::Service;
use crate::refusal::Refusal;

/// Rules that are looked at, for their groups.
const GROUPED: usize = 2000;
/// Rules that are shown.
const RULES: usize = 100;

#[tonic::async_trait]
impl Inspection for Service {
    async fn get(&self, _: Request<v1::GetInspectionRequest>) -> Result<Response<v1::InspectionStatus>, Status> {
        let names = self.controller.snapshot();
        let asked = self.controller.worker().ask_all(move |view| {
            let engine = view.fabric.engine();
            let budget = engine.budget();
            let rules = engine.usage_of_rules(GROUPED);
            let port = |(port, usage): (_, &Usage)| used(names.names.port(port), usage);
            v1::InspectionStatus {
                monotonic_ns: view.now.0,
                budget_ns: budget.terms().map_or(0, |terms| terms.ns_per_second),
                spent_ns: budget.spent_ns(),
                stage: budget.stage().name().to_owned(),
                ports: budget.of_ports().map(port).collect(),
                rule_sets: engine.usage_of_programs().into_iter().map(|(name, usage)| used(name, &usage)).collect(),
                shed: shed(&budget.shed()),
                refused: budget.refused(),
                rules: rules.iter().take(RULES).map(of_rule).collect(),
                rule_groups: groups(&rules),
            }
        });
        let mut of_networks = asked.await.map_err(Refusal::from)?.into_iter();
        let first = of_networks.next().unwrap_or_default();
        Ok(Response::new(of_networks.fold(first, together)))
    }
}

/// What two networks have spent, as one.
fn together(mut all: v1::InspectionStatus, more: v1::InspectionStatus) -> v1::InspectionStatus {
    all.monotonic_ns = all.monotonic_ns.max(more.monotonic_ns);
    all.spent_ns += more.spent_ns;
    all.refused += more.refused;
    // The one that gives up most speaks for all.
    let rung = |name: &str| Stage::ALL.iter().position(|stage| stage.name() == name);
    if rung(&more.stage) > rung(&all.stage) {
        all.stage = more.stage;
    }
    all.ports.extend(more.ports);
    for theirs in more.rule_sets {
        match all.rule_sets.iter_mut().find(|mine| mine.name == theirs.name) {
            Some(mine) => {
                mine.packets += theirs.packets;
                mine.bytes += theirs.bytes;
                mine.ns += theirs.ns;
            }
            None => all.rule_sets.push(theirs),
        }
    }
    for theirs in more.shed {
        match all.shed.iter_mut().find(|mine| mine.name == theirs.name) {
            Some(mine) => mine.count += theirs.count,
            None => all.shed.push(theirs),
        }
    }
    all.rules = added(all.rules, more.rules, |of| (of.rule_set.clone(), of.sid));
    all.rules.truncate(RULES);
    all.rule_groups = added(all.rule_groups, more.rule_groups, |of| (of.rule_set.clone(), of.group.clone()));
    all
}

/// The costs of rules or of groups of them, those of the same added up, the dearest first.
fn added<K: PartialEq>(
    mut all: Vec<v1::RuleUse>,
    more: Vec<v1::RuleUse>,
    key: impl Fn(&v1::RuleUse) -> K,
) -> Vec<v1::RuleUse> {
    for theirs in more {
        match all.iter_mut().find(|mine| key(mine) == key(&theirs)) {
            Some(mine) => {
                mine.checks += theirs.checks;
                mine.matches += theirs.matches;
                mine.ns += theirs.ns;
            }
            None => all.push(theirs),
        }
    }
    all.sort_by_key(|of| std::cmp::Reverse(of.ns));
    all
}

fn of_rule(usage: &RuleUsage) -> v1::RuleUse {
    let RuleUsage { rule_set, group, sid, msg, cost } = usage.clone();
    let (checks, matches, ns) = (cost.checks, cost.matches, cost.nanoseconds);
    v1::RuleUse { rule_set, group: group.to_owned(), sid, msg, checks, matches, ns }
}

/// The same by group, the dearest first.
fn groups(rules: &[RuleUsage]) -> Vec<v1::RuleUse> {
    let mut all: BTreeMap<(&str, &str), v1::RuleUse> = BTreeMap::new();
    for rule in rules {
        let of = all.entry((&rule.rule_set, rule.group)).or_insert_with(|| v1::RuleUse {
            rule_set: rule.rule_set.clone(),
            group: rule.group.to_owned(),
            ..v1::RuleUse::default()
        });
        of.checks += rule.cost.checks;
        of.matches += rule.cost.matches;
        of.ns += rule.cost.nanoseconds;
    }
    let mut all: Vec<v1::RuleUse> = all.into_values().collect();
    all.sort_by_key(|of| std::cmp::Reverse(of.ns));
    all
}

fn used(name: String, usage: &Usage) -> v1::InspectionUse {
    v1::InspectionUse { name, packets: usage.packets, bytes: usage.bytes, ns: usage.ns }
}

/// Flows given up, where there were any.
fn shed(counts: &[u64]) -> Vec<v1::Count> {
    let named = Stage::ALL.iter().zip(counts).filter(|&(_, &count)| count > 0);
    let count = |(stage, &count): (&Stage, &u64)| v1::Count {
        name: stage.name().to_owned(),
        count,
        meaning: stage.meaning().to_owned(),
    };
    named.map(count).collect()
}
