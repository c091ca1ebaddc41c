//! `weir.v1.RuleSets`.

use tonic::{Request, Response, Status};
use weir_proto::v1;
use weir_proto::v1::rule_sets_server::RuleSets;

use super::Service;
use super::convert::{required, rule_set_of, rule_set_to_proto};
use crate::commit::Terms;
use crate::config::RuleSet;
use crate::refusal::Refusal;
use crate::rule_sets::{Loaded, load};

#[tonic::async_trait]
impl RuleSets for Service {
    async fn put(&self, request: Request<v1::PutRuleSetRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::PutRuleSetRequest { rule_set, create_only } = request.into_inner();
        let set = rule_set_of(required(rule_set, "rule_set")?);
        let outcome = self.controller.change(Terms::default(), move |config| {
            match config.rule_sets.iter_mut().find(|s| s.name == set.name) {
                Some(_) if create_only => return Err(Refusal::exists("rule set", &set.name)),
                Some(old) => *old = set,
                None => config.rule_sets.push(set),
            }
            Ok(())
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn delete(&self, request: Request<v1::DeleteRuleSetRequest>) -> Result<Response<v1::Applied>, Status> {
        let name = request.into_inner().name;
        let outcome = self.controller.change(Terms::default(), move |config| {
            if config.rule_set(&name).is_none() {
                let there = config.rule_sets.iter().map(|s| s.name.as_str());
                return Err(Refusal::not_found("rule set", &name, there));
            }
            let users = config.users_of_rule_set(&name);
            if !users.is_empty() {
                return Err(Refusal::state(format!(
                    "rule set {name}: it is in use by {}; let them inspect by another set first",
                    users.join(", ")
                )));
            }
            config.rule_sets.retain(|s| s.name != name);
            Ok(())
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn reload(&self, _: Request<v1::ReloadRuleSetsRequest>) -> Result<Response<v1::Applied>, Status> {
        // Files are read at every change; a change of nothing reads them and takes what is different.
        let outcome = self.controller.change(Terms::default(), |_| Ok(()));
        Ok(Response::new(outcome.await?.into()))
    }

    async fn list(
        &self,
        request: Request<v1::ListRuleSetsRequest>,
    ) -> Result<Response<v1::ListRuleSetsResponse>, Status> {
        let name = request.into_inner().name;
        let snapshot = self.controller.snapshot();
        let all = snapshot.rule_sets.iter().map(|(name, loaded)| (name.as_str(), loaded));
        let rule_sets = super::select(&name, "rule set", all)?
            .into_iter()
            .filter_map(|(name, loaded)| {
                let set = snapshot.config.rule_set(&name)?;
                Some(status(set, loaded, snapshot.config.users_of_rule_set(&name)))
            })
            .collect();
        Ok(Response::new(v1::ListRuleSetsResponse { rule_sets }))
    }

    async fn check(
        &self,
        request: Request<v1::CheckRuleSetRequest>,
    ) -> Result<Response<v1::CheckRuleSetResponse>, Status> {
        let set = rule_set_of(required(request.into_inner().rule_set, "rule_set")?);
        let kept = set.clone();
        let loaded = tokio::task::spawn_blocking(move || load(&kept, &[]))
            .await
            .map_err(|e| Refusal::internal(format!("the rule compiler failed: {e}; please report this")))??;
        Ok(Response::new(v1::CheckRuleSetResponse { status: Some(status(&set, &loaded, Vec::new())) }))
    }
}

fn status(set: &RuleSet, loaded: &Loaded, used_by: Vec<String>) -> v1::RuleSetStatus {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    v1::RuleSetStatus {
        spec: Some(rule_set_to_proto(set)),
        rules: count(loaded.rules),
        refused: count(loaded.refused),
        diagnostics: loaded.diagnostics.clone(),
        digest: loaded.digest.chars().take(16).collect(),
        compile_ms: u32::try_from(loaded.compile_ms).unwrap_or(u32::MAX),
        used_by,
    }
}
