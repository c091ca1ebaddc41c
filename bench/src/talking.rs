//! Conversations of guests through the guard, 64 at a time, as those of `bench/run --scenario mix-ips`.

use std::fs;
use std::sync::Arc;

use weir_filter::policy::RuleSetProgram;
use weir_filter::spec::{Rule, Spec};
use weir_ids_rules::{RuleSet, Source, Variables, builtin};

use crate::cases::{all_sent, few_rules};
use crate::e2e::talk;
use crate::fabric::{BURST, Bench};
use crate::foreign;
use crate::measure::{Figure, Rounds, Step};

/// Conversations at a time.
const AT_A_TIME: usize = 64;
/// Allocations of a conversation that is inspected: what parsers gather.
const PER_CONVERSATION: u64 = 4096;

/// What looks at the conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// Nothing but the firewall.
    None,
    /// Those that come along.
    Starter,
    /// Those of others ([`foreign`]), or none where nobody names some.
    Foreign,
}

/// Conversations from their beginning to their end; the cost is that of all their frames.
pub(crate) fn day(rounds: &Rounds, name: &str, rules: Rules) -> Result<Figure, String> {
    let mut bench = Bench::new(2, &policy(rules)?)?;
    let (scripts, mut number, mut room) = (talk::day(), 0u32, Vec::new());
    let figure = rounds.measure(name, || {
        let mut sum = Step { excused: PER_CONVERSATION * AT_A_TIME as u64, ..Step::default() };
        let mut sent = [0usize; AT_A_TIME];
        loop {
            let before = sum.count;
            for side in [0, 1] {
                for (slot, sent) in sent.iter_mut().enumerate() {
                    let who = number + slot as u32;
                    let Some(script) = scripts.get(who as usize % scripts.len()) else { continue };
                    // What is sent has arrived by the other's turn.
                    while let Some(step) = script.get(*sent).filter(|step| step.side == side) {
                        bench.add(step.write(who, &mut room), 1 + side as u16);
                        *sent += 1;
                        if bench.waiting() == BURST {
                            sum.add(bench.run());
                        }
                    }
                }
                sum.add(bench.run());
            }
            if sum.count == before {
                break;
            }
        }
        number += AT_A_TIME as u32;
        sum
    });
    all_sent(name, &bench)?;
    Ok(figure)
}

fn policy(rules: Rules) -> Result<Spec, String> {
    let mut policy = few_rules();
    let mut variables = Variables::default();
    let mut texts = Vec::new();
    match rules {
        Rules::None => {
            policy.rules.insert(0, Rule { name: "all".into(), ..Rule::default() });
            return Ok(policy);
        }
        Rules::Starter => texts.extend(builtin("starter").map(str::to_owned)),
        Rules::Foreign => {
            variables.addresses.insert("HOME_NET".into(), "[10.0.0.0/8]".into());
            variables.addresses.insert("EXTERNAL_NET".into(), "!$HOME_NET".into());
            for path in foreign::files()? {
                texts.push(fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?);
            }
        }
    }
    let sources: Vec<Source<'_>> = texts.iter().map(|text| Source { name: "rules", text }).collect();
    // Of others' rules some are refused.
    let (set, _) = RuleSet::parse(&sources, &variables);
    let (program, _) = RuleSetProgram::compile(&set);
    policy.rule_sets.push(("rules".to_owned(), Arc::new(program)));
    let inspect = Some("rules".to_owned());
    policy.rules.insert(0, Rule { name: "all".into(), inspect, ..Rule::default() });
    Ok(policy)
}
