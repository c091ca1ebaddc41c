//! A run: scenarios by switches, interleaved, so that what else the machine does meets all of them.

use std::path::Path;

use super::Failure;
use super::scenario::{Kind as Kinds, Scenario};
use super::switches::{Kind, Switch};
use super::trial::{Effort, Outcome, Trial};

/// One line of the result.
#[derive(Clone, Debug)]
pub struct Row {
    /// The scenario.
    pub scenario: Scenario,
    /// The switch's name.
    pub switch: &'static str,
    /// What came out, or why nothing did.
    pub outcome: Result<Outcome, Failure>,
}

/// Measures every scenario with our switch and the peers its goals or the options name. `tell` hears of each row.
pub fn run(
    scenarios: &[Scenario],
    against: &[Kind],
    effort: Effort,
    binaries: &Path,
    mut tell: impl FnMut(&Row),
) -> Vec<Row> {
    let mut rows = Vec::new();
    for scenario in scenarios {
        for group in groups(scenario, switches(scenario, against)) {
            for row in measure(scenario, &group, effort, binaries) {
                tell(&row);
                rows.push(row);
            }
        }
    }
    rows
}

/// Those that use nothing while nobody sends run at the same time and are measured in turns, so that what else the
/// machine does meets all of them; the others one after the other.
fn groups(scenario: &Scenario, kinds: Vec<Kind>) -> Vec<Vec<Kind>> {
    let together = scenario.kind != Kinds::Idle;
    let (quiet, busy): (Vec<Kind>, Vec<Kind>) = kinds.into_iter().partition(|kind| together && kind.sleeps(scenario));
    let alone = busy.into_iter().map(|kind| vec![kind]);
    [quiet].into_iter().filter(|group| !group.is_empty()).chain(alone).collect()
}

fn measure(scenario: &Scenario, kinds: &[Kind], effort: Effort, binaries: &Path) -> Vec<Row> {
    let mut trials: Vec<Result<Trial<'_>, Failure>> = kinds
        .iter()
        .map(|kind| match kind.missing() {
            Some(missing) => Err(format!("skipped: {missing}")),
            None => Switch::start(kind, scenario, binaries).and_then(|switch| Trial::begin(scenario, switch)),
        })
        .collect();
    for _ in 0..effort.runs.max(1) {
        for trial in &mut trials {
            let failed = trial.as_mut().ok().and_then(|trial| trial.run(effort.time, binaries).err());
            if let Some(failure) = failed {
                *trial = Err(failure);
            }
        }
    }
    let rows = kinds.iter().zip(trials).map(|(kind, trial)| Row {
        scenario: scenario.clone(),
        switch: kind.name(),
        outcome: trial.map(|mut trial| trial.outcome()),
    });
    rows.collect()
}

/// Ours first, then the peers of the goals that are wanted.
fn switches(scenario: &Scenario, against: &[Kind]) -> Vec<Kind> {
    let peers = scenario.goals.iter().filter_map(|goal| Kind::from_name(&goal.peer));
    let mut kinds = vec![Kind::Weir];
    kinds.extend(peers.filter(|peer| against.contains(peer)));
    kinds
}

/// Our figure by the peer's, or for times and idle use theirs by ours, so that more is better; `None` where either is missing.
pub fn ratio(rows: &[Row], scenario: &str, peer: &str) -> Option<f64> {
    let of = |switch: &str| {
        let row = rows.iter().find(|row| row.scenario.name == scenario && row.switch == switch)?;
        row.outcome.as_ref().ok().map(|outcome| (outcome.median, row.scenario.kind))
    };
    let ((ours, kind), (theirs, _)) = (of("weir")?, of(peer)?);
    let ratio = better(kind, ours, theirs);
    ratio.is_finite().then_some(ratio)
}

/// How many times better our figure is than theirs.
pub fn better(kind: Kinds, ours: f64, theirs: f64) -> f64 {
    match kind {
        Kinds::Latency | Kinds::Idle | Kinds::Change | Kinds::Mix => theirs / ours,
        Kinds::Rate | Kinds::NoLoss | Kinds::NewFlows | Kinds::Stream | Kinds::Bursts => ours / theirs,
    }
}
