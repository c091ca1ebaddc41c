//! A candidate policy beside the live one: loaded, compiled again when the state changes, compared, promoted, dropped.
//!
//! A candidate is a list of rules for the state that runs. It is no part of the state: a restart of the daemon forgets
//! it. Findings outlive changes that leave the live rules as they are (ports come and go all day); other rules begin
//! the report again.

use std::sync::Arc;

use weir_filter::Policy;
use weir_filter::engine::Shadow;
use weir_filter::policy::spec::Spec;
use weir_filter::shadow::Limits;
use weir_wire::Epoch;

use super::{Controller, Outcome, State, Terms};
use crate::config::Rule;
use crate::published::Snapshot;
use crate::refusal::Refusal;
use crate::state;

/// Flows that a report lists at most.
pub const FLOWS_MAX: usize = 65_536;

/// A candidate.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    rules: Vec<Rule>,
    policy: Arc<Policy>,
}

impl Controller {
    /// Loads `rules` as the candidate, in place of another. Nothing of it takes effect.
    ///
    /// # Errors
    /// What is wrong with the rules, as where they were to be made live.
    pub async fn load_shadow(&self, rules: Vec<Rule>, limits: Limits) -> Result<usize, Refusal> {
        let mut state = self.state.lock().await;
        let current = self.board.read();
        let policy = compile(&current, &rules, (self.clock)()).await?;
        let count = rules.len();
        self.give_shadow(Some(Box::new(Shadow::new(Arc::clone(&policy), limits)))).await?;
        state.shadow = Some(Candidate { rules, policy });
        Ok(count)
    }

    /// Takes the candidate away; answers whether there was one.
    ///
    /// # Errors
    /// Where the worker has ended.
    pub async fn drop_shadow(&self) -> Result<bool, Refusal> {
        let mut state = self.state.lock().await;
        self.give_shadow(None).await?;
        Ok(state.shadow.take().is_some())
    }

    /// The candidate as it was compiled last.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn shadow_policy(&self) -> Result<Arc<Policy>, Refusal> {
        let state = self.state.lock().await;
        state.shadow.as_ref().map(|candidate| Arc::clone(&candidate.policy)).ok_or_else(none)
    }

    /// Makes the candidate's rules the live ones, as a change like any other. It is no candidate any more then.
    ///
    /// # Errors
    /// Where there is no candidate, or what refuses the change.
    pub async fn promote_shadow(self: &Arc<Controller>, terms: Terms) -> Result<Outcome, Refusal> {
        let rules =
            self.state.lock().await.shadow.as_ref().map(|candidate| candidate.rules.clone()).ok_or_else(none)?;
        let outcome = self.change(terms, move |config| {
            config.rules = rules;
            Ok(())
        });
        let outcome = outcome.await?;
        if !terms.dry_run {
            self.drop_shadow().await?;
        }
        Ok(outcome)
    }

    async fn give_shadow(&self, shadow: Option<Box<Shadow>>) -> Result<(), Refusal> {
        let old = self.worker.ask(move |view| view.fabric.load_shadow(view.now, shadow)).await?;
        // Freeing a large policy takes time.
        tokio::task::spawn_blocking(move || drop(old));
        Ok(())
    }

    /// Compiles the candidate again for the state that runs, which has just changed from `before`.
    pub(super) async fn renew_shadow(&self, state: &mut State, before: &Snapshot) {
        let Some(candidate) = state.shadow.take() else { return };
        let current = self.board.read();
        let policy = match compile(&current, &candidate.rules, (self.clock)()).await {
            Ok(policy) => policy,
            Err(refusal) => {
                tracing::warn!("the candidate policy does not fit the state any more and is dropped: {refusal}");
                drop(self.give_shadow(None).await);
                return;
            }
        };
        let given = Arc::clone(&policy);
        let asked = if before.config.rules == current.config.rules {
            let renewed = self.worker.ask(move |view| view.fabric.renew_shadow(given)).await;
            renewed.map(|old| drop(tokio::task::spawn_blocking(move || drop(old)))).map_err(Refusal::from)
        } else {
            self.give_shadow(Some(Box::new(Shadow::new(given, Limits::default())))).await
        };
        match asked {
            Ok(()) => state.shadow = Some(Candidate { rules: candidate.rules, policy }),
            Err(refusal) => tracing::warn!("the candidate policy is lost: {refusal}"),
        }
    }
}

fn none() -> Refusal {
    Refusal::state("no candidate policy is loaded; load one with: vswitchctl shadow load FILE")
}

/// The policy that `rules` would be for the state that runs.
async fn compile(current: &Snapshot, rules: &[Rule], clock: (i64, i64)) -> Result<Arc<Policy>, Refusal> {
    let spec = spec(current, rules, clock)?;
    let compiled = tokio::task::spawn_blocking(move || Policy::compile(&spec, Epoch(0))).await;
    let policy = compiled
        .map_err(|e| Refusal::internal(format!("the policy compiler failed: {e}; please report this")))?
        .map_err(|errors| Refusal::invalid(errors.0.join("\n")))?;
    Ok(Arc::new(policy))
}

/// Without content lists and signatures: these are asked about content, not about flows that begin.
fn spec(current: &Snapshot, rules: &[Rule], (second, offset_s): (i64, i64)) -> Result<Spec, Refusal> {
    let mut desired = current.config.clone();
    desired.rules = rules.to_vec();
    desired.check().map_err(|problems| Refusal::invalid(problems.join("\n")))?;
    let facts = state::Facts::at(&desired, second, offset_s);
    let mut spec = state::spec(&desired, &current.ids, &facts);
    let sets = current.rule_sets.iter();
    spec.rule_sets = sets.map(|(name, loaded)| (name.clone(), Arc::clone(&loaded.program))).collect();
    Ok(spec)
}
