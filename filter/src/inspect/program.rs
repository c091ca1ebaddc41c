//! A rule set compiled for detection: the rules, and for each kind of flow the group that concerns it.
//!
//! Rules are sorted by the order in which they act: pass, drop, reject, alert; then those that set flow bits before
//! those that ask for them; then by priority. A flow gets its groups when it starts, by protocol, direction and the
//! server's port: one group of the rules for any port, and one of those for its own port. Both are one where that
//! costs little memory.

use std::collections::HashMap;

use weir_ids_rules::diagnostic::Kind;
use weir_ids_rules::rule::{Action, Arrow, FlowBit};
use weir_ids_rules::{Diagnostic, PortSet, Rule, RuleSet};
use weir_wire::numbers::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};

use super::Direction;
use super::compiled::{BitOp, Compiled};
use super::fast_pattern;
use super::group::Group;
use crate::event::Tuple;

/// Protocols that have groups of their own; the last stands for all others.
const CLASSES: [u8; 5] = [PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_ICMP, PROTOCOL_ICMPV6, 0];

/// A rule set (text of the rule language) compiled for detection. Made once per text, shared by policies.
#[derive(Debug, Default)]
pub struct RuleSetProgram {
    rules: Vec<Compiled>,
    groups: Vec<Group>,
    /// By class and direction.
    tables: [[PortTable; 2]; CLASSES.len()],
    /// How many flow bits the rules name.
    bits: u32,
}

/// Rules of a group up to which each is asked at the start of a flow.
const SMALL_GROUP: usize = 64;

/// Which groups flows of one class and direction get, by the server's port.
#[derive(Debug, Default)]
struct PortTable {
    /// Group of the rules for any port.
    common: Option<u32>,
    /// First port of a range, and the group of the rules for it; sorted.
    special: Vec<(u16, Option<u32>)>,
    /// The special groups hold the common rules too.
    merged: bool,
}

/// The groups of one direction of a flow, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection(pub [Option<u32>; 2]);

impl Selection {
    pub fn is_empty(&self) -> bool {
        self.0 == [None, None]
    }
}

impl RuleSetProgram {
    /// Compiles rules for detection. A rule that cannot be compiled (an expression that is no expression) is left out
    /// and has a diagnostic; the others are used.
    pub fn compile(set: &RuleSet) -> (RuleSetProgram, Vec<Diagnostic>) {
        let mut bits = BitNumbers::default();
        let mut diagnostics = Vec::new();
        let mut ready = Vec::with_capacity(set.rules().len());
        for rule in set.rules() {
            match Compiled::new(rule, bits.number(rule)) {
                Ok(compiled) => ready.push((rule, compiled)),
                Err((at, message)) => {
                    let message = format!("the expression does not compile: {message}");
                    diagnostics.push(rule.diagnose(Kind::Pattern, at, message, String::new()));
                }
            }
        }
        ready.sort_by_key(|(rule, _)| order(rule));
        let fast: Vec<Option<Vec<u8>>> = ready
            .iter()
            .map(|(rule, _)| fast_pattern::choose(rule).map(|fast| fast.bytes.to_ascii_lowercase()))
            .collect();
        let rules: Vec<Compiled> = ready.into_iter().map(|(_, compiled)| compiled).collect();
        let mut program = RuleSetProgram { rules, bits: bits.names.len() as u32, ..RuleSetProgram::default() };
        let mut builder = Builder { fast: &fast, known: HashMap::new() };
        for class in 0..CLASSES.len() {
            for direction in [Direction::Original, Direction::Reply] {
                builder.build(&mut program, class, direction);
            }
        }
        (program, diagnostics)
    }

    /// Rules in use.
    pub fn rule_count(&self) -> usize {
        self.rules.len()
    }

    /// Bytes of memory that the searches for fast patterns take.
    pub fn search_memory(&self) -> usize {
        let lanes = self.groups.iter().flat_map(|g| [&g.stream, &g.packet]);
        lanes.filter_map(|lane| lane.matcher.as_ref()).map(super::matcher::Matcher::memory).sum()
    }

    pub(super) fn rule(&self, number: u32) -> Option<&Compiled> {
        self.rules.get(number as usize)
    }

    pub(super) fn group(&self, number: u32) -> Option<&Group> {
        self.groups.get(number as usize)
    }

    /// Flow bits that the rules name.
    pub(super) fn bit_count(&self) -> usize {
        self.bits as usize
    }

    /// The groups for packets that go this way and have this tuple. Of a small group each rule is asked whether it
    /// takes such packets at all, so that a flow that concerns none has no group.
    pub(super) fn select(&self, tuple: &Tuple, direction: Direction) -> Selection {
        let class = class_of(tuple.protocol);
        let Some(table) = self.tables.get(class).and_then(|t| t.get(direction as usize)) else {
            return Selection::default();
        };
        let server_port = match tuple.protocol {
            PROTOCOL_TCP | PROTOCOL_UDP if direction == Direction::Original => tuple.destination_port,
            PROTOCOL_TCP | PROTOCOL_UDP => tuple.source_port,
            _ => 0,
        };
        let after = table.special.partition_point(|&(first, _)| first <= server_port);
        let special = after.checked_sub(1).and_then(|i| table.special.get(i)).and_then(|&(_, group)| group);
        let groups = match (table.merged, special) {
            (true, Some(group)) => [Some(group), None],
            (true | false, special) => [table.common, special],
        };
        Selection(groups.map(|group| group.filter(|&number| self.concerns(number, tuple))))
    }

    /// Whether a rule of the group takes packets with this tuple; large groups are taken to have one.
    fn concerns(&self, group: u32, tuple: &Tuple) -> bool {
        self.group(group).is_some_and(|group| {
            group.rules.len() > SMALL_GROUP
                || group.rules.iter().filter_map(|&n| self.rule(n)).any(|rule| rule.takes_ends(tuple))
        })
    }
}

fn class_of(protocol: u8) -> usize {
    CLASSES.iter().position(|&p| p == protocol).unwrap_or(CLASSES.len() - 1)
}

/// The order in which rules act.
fn order(rule: &Rule) -> (u8, u8, u8, u32, u32) {
    let action = match rule.action {
        Action::Pass => 0,
        Action::Drop => 1,
        Action::Reject(_) => 2,
        Action::Alert | Action::Config => 3,
    };
    let sets = rule.flowbits.iter().any(|b| matches!(b, FlowBit::Set(_) | FlowBit::Unset(_) | FlowBit::Toggle(_)));
    let asks = rule.flowbits.iter().any(|b| matches!(b, FlowBit::IsSet(_) | FlowBit::IsNotSet(_)));
    let bits = match (sets, asks) {
        (true, false) => 0,
        (true, true) => 1,
        (false, false) => 2,
        (false, true) => 3,
    };
    (action, bits, rule.priority, rule.gid, rule.sid)
}

/// Numbers for the names of flow bits.
#[derive(Default)]
struct BitNumbers {
    names: HashMap<String, u32>,
}

impl BitNumbers {
    fn of(&mut self, name: &str) -> u32 {
        let next = self.names.len() as u32;
        *self.names.entry(name.to_owned()).or_insert(next)
    }

    fn number(&mut self, rule: &Rule) -> Box<[BitOp]> {
        let mut list = |names: &[String]| names.iter().map(|name| self.of(name)).collect();
        let mut ops = Vec::with_capacity(rule.flowbits.len());
        for bit in &rule.flowbits {
            ops.push(match bit {
                FlowBit::IsSet(names) => BitOp::IsSet(list(names)),
                FlowBit::IsNotSet(names) => BitOp::IsNotSet(list(names)),
                FlowBit::Set(name) => BitOp::Set(list(std::slice::from_ref(name)).first().copied().unwrap_or(0)),
                FlowBit::Unset(name) => BitOp::Unset(list(std::slice::from_ref(name)).first().copied().unwrap_or(0)),
                FlowBit::Toggle(name) => BitOp::Toggle(list(std::slice::from_ref(name)).first().copied().unwrap_or(0)),
            });
        }
        ops.into()
    }
}

struct Builder<'f> {
    fast: &'f [Option<Vec<u8>>],
    /// Groups made so far, by their rules and whether they have a stream.
    known: HashMap<(Vec<u32>, bool), u32>,
}

impl Builder<'_> {
    fn build(&mut self, program: &mut RuleSetProgram, class: usize, direction: Direction) {
        let Some(&protocol) = CLASSES.get(class) else { return };
        let (mut common, mut special) = (Vec::new(), Vec::new());
        for (number, rule) in (0u32..).zip(&program.rules) {
            // Other protocols than those with a class of their own are met by `ip` rules only.
            if !rule.takes_protocol(protocol) || !rule.takes_direction(direction) {
                continue;
            }
            let ports = server_ports(rule, direction);
            if ports.iter().any(covers_much) { common.push(number) } else { special.push((number, ports)) }
        }
        let budget = PLACES_PER_RULE * (common.len() + special.len()) + 65_536;
        let sets = by_port(&special, budget).unwrap_or_else(|| {
            common.extend(special.iter().map(|&(number, _)| number));
            common.sort_unstable();
            special.clear();
            Vec::new()
        });
        let mut distinct: Vec<&Vec<u32>> = sets.iter().map(|(_, rules)| rules).filter(|r| !r.is_empty()).collect();
        distinct.sort();
        distinct.dedup();
        let merged_size: usize = distinct.iter().map(|rules| rules.len() + common.len()).sum();
        let merged = merged_size <= 2 * (common.len() + special.len()) + 1024;
        let has_stream = protocol == PROTOCOL_TCP;
        let mut table = PortTable { common: self.group(program, &common, has_stream), special: Vec::new(), merged };
        for (first, mut rules) in sets {
            if merged && !rules.is_empty() {
                rules.extend_from_slice(&common);
                rules.sort_unstable();
            }
            table.special.push((first, self.group(program, &rules, has_stream)));
        }
        if let Some(slot) = program.tables.get_mut(class).and_then(|t| t.get_mut(direction as usize)) {
            *slot = table;
        }
    }

    fn group(&mut self, program: &mut RuleSetProgram, rules: &[u32], has_stream: bool) -> Option<u32> {
        if rules.is_empty() {
            return None;
        }
        let key = (rules.to_vec(), has_stream);
        if let Some(&known) = self.known.get(&key) {
            return Some(known);
        }
        let number = program.groups.len() as u32;
        program.groups.push(Group::new(rules, &program.rules, self.fast, has_stream));
        self.known.insert(key, number);
        Some(number)
    }
}

/// The ports of the rule that the server's port must be one of; a packet in the original direction goes to it, one in
/// the reply direction comes from it.
fn server_ports(rule: &Compiled, direction: Direction) -> Vec<PortSet> {
    let (ahead, back) = (&rule.destination.ports, &rule.source.ports);
    match (rule.arrow, direction) {
        (Arrow::Both | Arrow::Transaction, _) => vec![PortSet::clone(ahead), PortSet::clone(back)],
        (Arrow::Forward, Direction::Original) => vec![PortSet::clone(ahead)],
        (Arrow::Forward, Direction::Reply) => vec![PortSet::clone(back)],
    }
}

/// Whether a set of ports is so wide that its rule counts as one for any port.
fn covers_much(set: &PortSet) -> bool {
    set.ranges().iter().map(|&(first, last)| u32::from(last) - u32::from(first) + 1).sum::<u32>() > 16_384
}

/// In how many ranges of ports a rule may stand on average. Where port lists are so entangled that it is more, ports
/// are looked at only when a rule is checked.
const PLACES_PER_RULE: usize = 8;

/// The rules for each range of ports: first port and rules, sorted by port. `None` where that takes more than `budget`
/// places.
fn by_port(special: &[(u32, Vec<PortSet>)], budget: usize) -> Option<Vec<(u16, Vec<u32>)>> {
    let mut edges: Vec<u16> = vec![0];
    for (_, sets) in special {
        for &(first, last) in sets.iter().flat_map(PortSet::ranges) {
            edges.push(first);
            edges.extend(last.checked_add(1));
        }
    }
    edges.sort_unstable();
    edges.dedup();
    if special.is_empty() {
        return Some(Vec::new());
    }
    let mut left = budget;
    let mut table: Vec<(u16, Vec<u32>)> = edges.into_iter().map(|first| (first, Vec::new())).collect();
    for (number, sets) in special {
        for &(first, last) in sets.iter().flat_map(PortSet::ranges) {
            let begin = table.partition_point(|&(edge, _)| edge < first);
            for (_, rules) in table.iter_mut().skip(begin).take_while(|(edge, _)| *edge <= last) {
                if rules.last() != Some(number) {
                    left = left.checked_sub(1)?;
                    rules.push(*number);
                }
            }
        }
    }
    Some(table)
}
