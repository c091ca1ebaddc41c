//! `weir.v1.Policies`.

use tonic::{Request, Response, Status};
use weir_filter::engine::RuleCounter;
use weir_proto::v1;
use weir_proto::v1::policies_server::Policies;
use weir_wire::Instant;

use super::Service;
use super::convert::{rule_of, rule_to_proto};
use crate::commit::Terms;
use crate::config::Config;
use crate::refusal::Refusal;
use crate::worker::NetworkId;

/// Places of the flow table that are looked at while traffic waits.
const PLACES: u32 = 1 << 15;

#[tonic::async_trait]
impl Policies for Service {
    async fn apply(&self, request: Request<v1::ApplyPolicyRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::ApplyPolicyRequest { rules, toml, dry_run } = request.into_inner();
        if !rules.is_empty() && !toml.is_empty() {
            return Err(Refusal::invalid("the request has rules and toml; give one of them").into());
        }
        let rules = if toml.is_empty() {
            rules.iter().map(rule_of).collect::<Result<_, _>>()?
        } else {
            Config::parse_rules(&toml).map_err(Refusal::from)?
        };
        let terms = Terms { dry_run, ..Terms::default() };
        let outcome = self.controller.change(terms, move |config| {
            config.rules = rules;
            Ok(())
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn show(&self, _: Request<v1::ShowPolicyRequest>) -> Result<Response<v1::ShowPolicyResponse>, Status> {
        let snapshot = self.controller.snapshot();
        let (now, counters) = self.rule_counters().await?;
        let counter = |index: usize| counters.get(index).copied().unwrap_or_default();
        let last = |counter: &RuleCounter| (counter.hits > 0).then(|| now.since(counter.last).as_secs());
        let config = &snapshot.config;
        let open = self.controller.open_schedules(config);
        let rules = config.rules.iter().enumerate().map(|(index, rule)| {
            let counter = counter(index);
            v1::RuleStatus {
                rule: Some(rule_to_proto(rule)),
                hits: counter.hits,
                last_hit_s: last(&counter),
                packets: counter.packets,
                bytes: counter.bytes,
                idle: rule.schedule.as_ref().is_some_and(|name| !open.contains(name)),
            }
        });
        let implied = config.implied_rules().into_iter().enumerate().map(|(index, name)| {
            let counter = counter(config.rules.len() + index);
            let (last_hit_s, packets, bytes) = (last(&counter), counter.packets, counter.bytes);
            v1::ImpliedRuleStatus { name, hits: counter.hits, last_hit_s, packets, bytes }
        });
        let default = counters.last().copied().unwrap_or_default();
        Ok(Response::new(v1::ShowPolicyResponse {
            epoch: snapshot.epoch.0,
            rules: rules.collect(),
            default_hits: default.hits,
            implied: implied.collect(),
            tiers: config.tiers.iter().map(|tier| tier.name.clone()).collect(),
            default_packets: default.packets,
            default_bytes: default.bytes,
        }))
    }
}

impl Service {
    /// The counters of the rules with what flows carry that have not ended. The table is looked at piece by piece, so that
    /// traffic does not wait; flows that come or go meanwhile may be missed.
    async fn rule_counters(&self) -> Result<(Instant, Vec<RuleCounter>), Refusal> {
        let (mut now, mut sums): (Instant, Vec<RuleCounter>) = Default::default();
        for network in self.controller.worker().membership().networks() {
            let (here, counters) = self.rule_counters_of(network).await?;
            now = now.max(here);
            sums.resize(sums.len().max(counters.len()), RuleCounter::default());
            for (sum, counter) in sums.iter_mut().zip(counters) {
                sum.hits += counter.hits;
                sum.packets += counter.packets;
                sum.bytes += counter.bytes;
                sum.last = sum.last.max(counter.last);
            }
        }
        Ok((now, sums))
    }

    async fn rule_counters_of(&self, network: NetworkId) -> Result<(Instant, Vec<RuleCounter>), Refusal> {
        let (mut carried, mut start) = (Vec::new(), Some(0));
        while let Some(place) = start {
            let mut sums = std::mem::take(&mut carried);
            let asked = self.controller.worker().ask_network(network, move |view| {
                let next = view.fabric.engine().carried_by_rules(place, PLACES, &mut sums);
                (sums, next)
            });
            (carried, start) = asked.await.map_err(Refusal::from)?;
        }
        let asked = self
            .controller
            .worker()
            .ask_network(network, |view| (view.now, view.fabric.engine().rule_counters().to_vec()));
        let (now, mut counters) = asked.await.map_err(Refusal::from)?;
        if counters.len() == carried.len() {
            for (counter, [packets, bytes]) in counters.iter_mut().zip(carried) {
                counter.packets += packets;
                counter.bytes += bytes;
            }
        }
        Ok((now, counters))
    }
}
