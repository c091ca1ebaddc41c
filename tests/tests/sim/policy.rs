//! Policies of the simulation.

use std::sync::Arc;

use weir_filter::Policy;
use weir_filter::policy::RuleSetProgram;
use weir_filter::spec::{Port, Rule, Spec, Switch};
use weir_ids_rules::{RuleSet, Source, Variables};
use weir_wire::Epoch;

use crate::world::{SWITCH, World, port};

/// What no reader may ever have read whole.
pub const ATTACK: &[u8] = b"XX-ATTACK-STRING-XX";

/// The rule that stops it, compiled.
pub fn attack_rule() -> Arc<RuleSetProgram> {
    let text = r#"drop tcp any any -> any any (msg:"attack"; content:"XX-ATTACK-STRING-XX"; sid:1; rev:1;)"#;
    let (rules, problems) = RuleSet::parse(&[Source { name: "sim.rules", text }], &Variables::default());
    assert!(problems.is_empty(), "{problems:?}");
    let (program, problems) = RuleSetProgram::compile(&rules);
    assert!(problems.is_empty(), "{problems:?}");
    Arc::new(program)
}

/// A policy that lets everything pass and inspects it with `program`, if any. Policies of an odd epoch say so by rules,
/// the others by the switch's default, so that the flows of one are judged by other rules than those of the next.
pub fn policy(world: &World, epoch: u64, program: Option<&Arc<RuleSetProgram>>) -> Policy {
    let inspect = program.map(|_| "attack".to_owned());
    let rules = match epoch % 2 {
        0 => Vec::new(),
        _ => vec![
            Rule { name: "tcp".into(), protocols: vec![6], inspect: inspect.clone(), ..Rule::default() },
            Rule { name: "rest".into(), ..Rule::default() },
        ],
    };
    let spec = Spec {
        switches: vec![Switch { id: SWITCH, name: "lan".into(), default: Default::default(), inspect }],
        ports: (0..world.places.len())
            .map(|place| Port { id: port(place), name: format!("host{}", place + 1), groups: Vec::new() })
            .collect(),
        rules,
        rule_sets: program.map(|program| ("attack".to_owned(), program.clone())).into_iter().collect(),
        ..Spec::default()
    };
    Policy::compile(&spec, Epoch(epoch)).expect("a policy without faults")
}
