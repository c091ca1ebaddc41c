//! `weir.v1.Policies`.

use tonic::{Request, Response, Status};
use weir_proto::v1;
use weir_proto::v1::policies_server::Policies;

use super::Service;
use super::convert::{rule_of, rule_to_proto};
use crate::commit::Terms;
use crate::config::Config;
use crate::refusal::Refusal;

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
        let asked = self.controller.worker().ask(|view| (view.now, view.fabric.engine().rule_counters().to_vec()));
        let (now, counters) = asked.await.map_err(Refusal::from)?;
        let counter = |index: usize| counters.get(index).copied().unwrap_or_default();
        let rules = snapshot.config.rules.iter().enumerate().map(|(index, rule)| {
            let counter = counter(index);
            v1::RuleStatus {
                rule: Some(rule_to_proto(rule)),
                hits: counter.hits,
                last_hit_s: (counter.hits > 0).then(|| now.since(counter.last).as_secs()),
            }
        });
        Ok(Response::new(v1::ShowPolicyResponse {
            epoch: snapshot.epoch.0,
            rules: rules.collect(),
            default_hits: counter(snapshot.config.rules.len()).hits,
        }))
    }
}
