//! A run: scenarios by switches, interleaved, so that what else the machine does meets all of them.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Failure;
use super::distance::{self, Distance};
use super::offline;
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
        if let Some(missing) = scenario.missing() {
            let row = Row { scenario: scenario.clone(), switch: Kind::Weir.name(), outcome: Err(missing) };
            tell(&row);
            rows.push(row);
            continue;
        }
        for group in groups(scenario, switches(scenario, against)) {
            let rows_of = if scenario.kind == Kinds::Capture { offline::measure } else { measure };
            for row in rows_of(scenario, &group, effort, binaries) {
                tell(&row);
                rows.push(row);
            }
        }
    }
    rows
}

/// They run at the same time and are measured in turns, so that what else the machine does meets all of them; what one uses
/// while it idles can be told only where it is alone.
fn groups(scenario: &Scenario, kinds: Vec<Kind>) -> Vec<Vec<Kind>> {
    match scenario.kind {
        Kinds::Idle => kinds.into_iter().map(|kind| vec![kind]).collect(),
        _ => vec![kinds],
    }
}

fn measure(scenario: &Scenario, kinds: &[Kind], effort: Effort, binaries: &Path) -> Vec<Row> {
    let mut trials: Vec<Result<Trial<'_>, Failure>> = Vec::new();
    for kind in kinds {
        let trial = match kind.missing() {
            Some(missing) => Err(format!("skipped: {missing}")),
            None => Switch::start(kind, scenario, binaries).and_then(|switch| Trial::begin(scenario, switch)),
        };
        if let (Ok(trial), true) = (&trial, kinds.len() > 1) {
            trial.hold();
        }
        trials.push(trial);
    }
    wait_until_near(effort.wait);
    let mut rounds = Vec::new();
    while enough(&rounds, effort.runs).is_none() {
        let before = distance::there_and_back();
        for trial in &mut trials {
            let turns = kinds.len() > 1;
            let failed = trial.as_mut().ok().and_then(|trial| trial.in_turn(effort.time, binaries, turns).err());
            if let Some(failure) = failed {
                *trial = Err(failure);
            }
        }
        rounds.push(Distance::between(before, distance::there_and_back()));
    }
    let distance = enough(&rounds, effort.runs).unwrap_or(Distance::Unknown);
    let rows = kinds.iter().zip(trials).map(|(kind, trial)| Row {
        scenario: scenario.clone(),
        switch: kind.name(),
        outcome: trial.map(|trial| trial.outcome(&rounds, distance)),
    });
    rows.collect()
}

/// Waits until the cores are near each other, as long as wanted.
fn wait_until_near(wait: Duration) {
    let begin = Instant::now();
    loop {
        let now = distance::there_and_back();
        if begin.elapsed() >= wait || Distance::between(now, now) == Distance::Near {
            return;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// The distance of which there are enough rounds; where there is none after three times as many, all rounds count.
fn enough(rounds: &[Distance], runs: usize) -> Option<Distance> {
    let count = |distance| rounds.iter().filter(|&&round| round == distance).count();
    let settled = [Distance::Near, Distance::Far].into_iter().find(|&distance| count(distance) >= runs.max(1));
    settled.or((rounds.len() >= 3 * runs.max(1)).then_some(Distance::Unknown))
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
        Kinds::Rate
        | Kinds::NoLoss
        | Kinds::BackToBack
        | Kinds::Addresses
        | Kinds::NewFlows
        | Kinds::Stream
        | Kinds::Capture
        | Kinds::Bursts => ours / theirs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_of_one_distance_are_enough_and_others_do_not_count() {
        use Distance::{Far, Near, Unknown};
        assert_eq!(enough(&[Near, Far, Unknown], 2), None);
        assert_eq!(enough(&[Near, Far, Unknown, Far], 2), Some(Far));
        assert_eq!(enough(&[Near, Far, Far, Near], 2), Some(Near));
        assert_eq!(enough(&[Unknown; 6], 2), Some(Unknown));
        assert_eq!(enough(&[], 0), None);
    }
}
