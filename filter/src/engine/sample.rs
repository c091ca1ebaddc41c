//! What single rules cost, by looking closely at a few bursts.
//!
//! Whoever measures bursts says which of them is looked at rule by rule, about one of [`EVERY`]: in those a clock is
//! read at each check of a rule, in all others nothing is. What was found is counted [`EVERY`] times. Searches for fast
//! patterns belong to no rule and are not among it.

use std::sync::Arc;

use super::Engine;
use crate::detect::{Cost, Profile};
use crate::inspect::RuleSetProgram;

/// One burst of so many is looked at. It has no divisor in common with what repeats in traffic.
pub const EVERY: u64 = 61;

/// The account of the rules.
#[derive(Debug, Default)]
pub(super) struct Sampling {
    /// What was found so far, while it is not added to.
    kept: Option<Box<Profile>>,
    /// The burst at hand is looked at.
    pub on: bool,
    /// Bursts that were looked at.
    bursts: u64,
}

/// What one rule took, as the sample says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleUsage {
    /// Its rule set.
    pub rule_set: String,
    /// Its group: the protocol whose traffic it is asked about.
    pub group: &'static str,
    /// `sid`
    pub sid: u32,
    /// `msg`
    pub msg: String,
    /// What it took.
    pub cost: Cost,
}

impl Engine {
    /// The burst that follows is looked at rule by rule; `clock` gives nanoseconds.
    pub fn begin_sample(&mut self, clock: fn() -> u64) {
        let profile = self.sampling.kept.take().unwrap_or_else(|| Box::new(Profile::new(clock)));
        *self.memory.profile() = Some(profile);
        self.sampling.on = true;
        self.sampling.bursts += 1;
    }

    /// The burst has ended.
    pub fn end_sample(&mut self) {
        self.sampling.kept = self.memory.profile().take();
        self.sampling.on = false;
    }

    /// Bursts that were looked at.
    pub fn sampled_bursts(&self) -> u64 {
        self.sampling.bursts
    }

    /// Rules that were asked in bursts that were looked at, the dearest first, `limit` at most.
    pub fn usage_of_rules(&self, limit: usize) -> Vec<RuleUsage> {
        let Some(profile) = &self.sampling.kept else { return Vec::new() };
        let programs = self.policy.programs().iter().zip(self.programs.numbers());
        let costs = programs.flat_map(|(program, &number)| {
            profile.costs_of(number).into_iter().map(move |(rule, cost)| (program, rule, cost))
        });
        let mut costs: Vec<_> = costs.collect();
        costs.sort_by_key(|&(_, rule, cost)| (std::cmp::Reverse(cost.nanoseconds), rule));
        costs.truncate(limit);
        let named = |((name, program), rule, cost): (&(String, Arc<RuleSetProgram>), u32, Cost)| {
            let (group, signature) = program.rule(rule)?;
            let (rule_set, msg) = (name.clone(), signature.msg.clone());
            Some(RuleUsage { rule_set, group, sid: signature.sid, msg, cost: cost.times(EVERY) })
        };
        costs.into_iter().filter_map(named).collect()
    }

    /// The rules' numbers are those of a new policy: what was found of rule sets that are gone is forgotten.
    pub(super) fn renew_sample(&mut self) {
        let known = self.programs.numbers();
        self.sampling.kept.iter_mut().for_each(|profile| profile.retain(known));
    }
}
