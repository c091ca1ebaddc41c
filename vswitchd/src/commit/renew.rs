//! The policy of a state, and when it has to be made anew though nobody has changed the state: schedules open and close.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_filter::Policy;
use weir_wire::Epoch;

use super::{Controller, Prepared, shadow};
use crate::config::Config;
use crate::refusal::Refusal;
use crate::rule_sets::Loaded;
use crate::state::{self, Facts, Ids};
use crate::{content, virus};

/// The second since 1970, and how many seconds the host's time zone is ahead of universal time.
pub type WallClock = Box<dyn Fn() -> (i64, i64) + Send + Sync>;

/// What files said: rule sets, content lists, signatures.
type Read<'a> = (&'a [(String, Arc<Loaded>)], &'a content::Files, &'a virus::Loaded);

impl Controller {
    /// Makes the policy anew where it depends on something that has changed since: a schedule that has opened or closed.
    /// Returns whether it did. The state and its revision stay.
    ///
    /// # Errors
    /// Where the policy cannot be compiled; the old one stays.
    pub async fn renew(&self) -> Result<bool, Refusal> {
        let mut state = self.state.lock().await;
        let current = self.board.read();
        let facts = self.facts(&current.config);
        if facts == state.facts {
            return Ok(false);
        }
        let (desired, ids) = (current.config.clone(), current.ids.clone());
        let (rule_sets, content, virus) = (current.rule_sets.clone(), current.content.clone(), current.virus.clone());
        let policy =
            compile(&desired, &ids, &facts, (&rule_sets, &content, &virus), &current.policy, Epoch(state.epoch.0 + 1))
                .await?;
        let (changes, warnings) = (Vec::new(), Vec::new());
        let mut prepared = Prepared { desired, ids, changes, policy, rule_sets, content, virus, warnings, facts };
        let candidate = shadow::candidate(&current, &mut prepared).await?;
        self.commit(&mut state, &current, prepared, &[]).await?;
        self.set_shadow(&mut state, &current, candidate).await?;
        Ok(true)
    }

    /// The schedules that hold the present, of those that rules name.
    pub fn open_schedules(&self, config: &Config) -> BTreeSet<String> {
        self.facts(config).open
    }

    pub(super) fn facts(&self, desired: &Config) -> Facts {
        let (second, offset_s) = (self.clock)();
        Facts::at(desired, second, offset_s)
    }
}

/// Compiles the policy of a state with what was read for it.
pub(super) async fn compile(
    desired: &Config,
    ids: &Ids,
    facts: &Facts,
    (rule_sets, lists, signatures): Read<'_>,
    current: &Policy,
    epoch: Epoch,
) -> Result<Arc<Policy>, Refusal> {
    let mut spec = state::spec(desired, ids, facts);
    spec.rule_sets = rule_sets.iter().map(|(name, loaded)| (name.clone(), Arc::clone(&loaded.program))).collect();
    spec.content = content::spec(desired, ids, lists);
    spec.scan = Arc::new(virus::policy(desired, ids, signatures));
    let compiled = tokio::task::spawn_blocking(move || Policy::compile(&spec, epoch)).await;
    let mut policy = compiled
        .map_err(|e| Refusal::internal(format!("the policy compiler failed: {e}; please report this")))?
        .map_err(|errors| Refusal::invalid(errors.0.join("\n")))?;
    policy.follow(current);
    Ok(Arc::new(policy))
}
