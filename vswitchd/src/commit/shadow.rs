//! A candidate policy beside the live one: loaded, compiled again when the state changes, compared, promoted, dropped.
//!
//! The candidate's rules are part of the state: they stand in its file and are there again after a restart. What was found
//! with them is the worker's, and ends with the daemon. Findings outlive changes that leave both lists of rules as they
//! are (ports come and go all day); other rules begin the report again. A candidate that does not fit a state any more
//! stands in nobody's way: it goes, and is told of.

use std::sync::Arc;

use weir_filter::Policy;
use weir_filter::engine::Shadow;
use weir_filter::policy::spec::Spec;
use weir_filter::shadow::Limits;
use weir_wire::Epoch;

use super::{Controller, Outcome, Prepared, State, Terms};
use crate::config::{self, Config};
use crate::plan::Change;
use crate::published::Snapshot;
use crate::refusal::Refusal;
use crate::state;
use crate::worker::NetworkId;

impl Controller {
    /// Loads a candidate, in place of another. Nothing of it takes effect. Its report begins anew.
    ///
    /// # Errors
    /// What is wrong with the rules, as where they were to be made live.
    pub async fn load_shadow(self: &Arc<Controller>, shadow: config::Shadow) -> Result<Outcome, Refusal> {
        let flows = shadow.flows;
        let outcome = self.change(Terms::default(), move |config| {
            config.shadow = Some(shadow);
            Ok(())
        });
        let outcome = outcome.await?;
        if outcome.changes.is_empty() {
            let state = self.state.lock().await;
            if let Some(policy) = state.shadow.clone() {
                self.give_shadow(Some(fresh(policy, flows))).await?;
            }
        }
        Ok(outcome)
    }

    /// Takes the candidate away; answers whether there was one.
    ///
    /// # Errors
    /// What refuses the change.
    pub async fn drop_shadow(self: &Arc<Controller>) -> Result<bool, Refusal> {
        let outcome = self.change(Terms::default(), |config| {
            config.shadow = None;
            Ok(())
        });
        Ok(!outcome.await?.changes.is_empty())
    }

    /// The candidate as it was compiled last.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn shadow_policy(&self) -> Result<Arc<Policy>, Refusal> {
        self.state.lock().await.shadow.clone().ok_or_else(none)
    }

    /// Makes the candidate's rules the live ones, as a change like any other. It is no candidate any more then; where the
    /// change is undone, it is one again.
    ///
    /// # Errors
    /// Where there is no candidate, or what refuses the change.
    pub async fn promote_shadow(self: &Arc<Controller>, terms: Terms) -> Result<Outcome, Refusal> {
        let outcome = self.change(terms, |config| {
            config.rules = config.shadow.take().ok_or_else(none)?.rules;
            Ok(())
        });
        outcome.await
    }

    async fn give_shadow(&self, shadow: Option<Box<Shadow>>) -> Result<(), Refusal> {
        let old = self.worker.ask_all(move |view| view.fabric.load_shadow(view.now, shadow)).await?;
        // Freeing a large policy takes time.
        tokio::task::spawn_blocking(move || drop(old));
        Ok(())
    }

    /// Gives the worker the candidate of the state that runs, which has just changed from `before`.
    pub(super) async fn set_shadow(
        &self,
        state: &mut State,
        before: &Snapshot,
        candidate: Option<Arc<Policy>>,
    ) -> Result<(), Refusal> {
        let current = self.board.read();
        let (had, wanted) = (state.shadow.is_some(), current.config.shadow.as_ref());
        let same = before.config.shadow.as_ref() == wanted && before.config.rules == current.config.rules;
        match (candidate, wanted) {
            (Some(policy), Some(shadow)) if had && same => {
                let given = Arc::clone(&policy);
                let (known, flows): (Vec<NetworkId>, _) = (before.networks.made().collect(), shadow.flows);
                let renewed = self.worker.ask_all(move |view| {
                    if known.contains(&view.network) {
                        return view.fabric.renew_shadow(given);
                    }
                    // A network that has just come has no candidate yet.
                    drop(view.fabric.load_shadow(view.now, Some(fresh(Arc::clone(&given), flows))));
                    given
                });
                let old = renewed.await?;
                tokio::task::spawn_blocking(move || drop(old));
                state.shadow = Some(policy);
            }
            (Some(policy), Some(shadow)) => {
                self.give_shadow(Some(fresh(Arc::clone(&policy), shadow.flows))).await?;
                state.shadow = Some(policy);
            }
            (None, _) | (Some(_), None) => {
                state.shadow = None;
                if had {
                    self.give_shadow(None).await?;
                }
            }
        }
        Ok(())
    }
}

fn fresh(policy: Arc<Policy>, flows: u32) -> Box<Shadow> {
    Box::new(Shadow::new(policy, Limits { flows: flows as usize, ..Limits::default() }))
}

fn none() -> Refusal {
    Refusal::state("no candidate policy is loaded; load one with: vswitchctl shadow load FILE")
}

/// Takes the candidate out of a state that it does not fit any more, where it is another's change that makes it so; what is
/// to be told of it.
pub(super) fn leave_behind(current: &Snapshot, desired: &mut Config) -> Option<String> {
    if desired.shadow.is_none() || desired.shadow != current.config.shadow {
        return None;
    }
    let problems = desired.check_shadow();
    let first = problems.first()?;
    desired.shadow = None;
    Some(gone(first))
}

fn gone(why: &dyn std::fmt::Display) -> String {
    format!("the candidate policy does not fit the state any more and is dropped: {why}")
}

/// Compiles the candidate of a state, with what was read for it.
pub(super) async fn candidate(current: &Snapshot, prepared: &mut Prepared) -> Result<Option<Arc<Policy>>, Refusal> {
    let Some(shadow) = &prepared.desired.shadow else { return Ok(None) };
    let spec = spec(prepared, shadow);
    let compiled = tokio::task::spawn_blocking(move || Policy::compile(&spec, Epoch(0))).await;
    let compiled =
        compiled.map_err(|e| Refusal::internal(format!("the policy compiler failed: {e}; please report this")))?;
    match compiled {
        Ok(policy) => Ok(Some(Arc::new(policy))),
        Err(errors) if prepared.desired.shadow == current.config.shadow => {
            prepared.warnings.push(gone(&errors.0.join("; ")));
            prepared.changes.push(Change::DropShadow);
            prepared.desired.shadow = None;
            Ok(None)
        }
        Err(errors) => {
            Err(Refusal::invalid(errors.0.iter().map(|e| format!("shadow: {e}")).collect::<Vec<_>>().join("\n")))
        }
    }
}

/// Without content lists and signatures: these are asked about content, not about flows that begin.
fn spec(prepared: &Prepared, shadow: &config::Shadow) -> Spec {
    let state = prepared.desired.as_shadowed(shadow);
    let facts = prepared.facts.clone();
    let mut spec = state::spec(&state, &prepared.ids, &facts);
    let sets = prepared.rule_sets.iter();
    spec.rule_sets = sets.map(|(name, loaded)| (name.clone(), Arc::clone(&loaded.program))).collect();
    spec
}
