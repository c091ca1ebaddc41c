//! Rules, compiled and proven.

mod check;
mod compile;
mod expand;
#[cfg(test)]
mod layers;
#[cfg(test)]
mod model;
mod quota;
mod sets;
pub mod spec;
mod tables;

use std::collections::BTreeMap;
use std::num::NonZeroU8;
use std::sync::Arc;

use weir_wire::{Epoch, Packet, PortId, RuleId, SwitchId};

use crate::content::Content;
use crate::flow::key::Key;
pub use crate::inspect::RuleSetProgram;
use crate::scan;
pub use quota::{Account, Accounts, Quota, SynProxy};
pub use tables::Subject;
pub(crate) use tables::Words;

use expand::Then;
use spec::{Action, Mode, OnFailure, Settings};
use tables::Tables;

/// In the place of a rule set: neither rules nor the content filter nor the virus check look into the flow.
pub const TRUSTED: u16 = u16::MAX;

/// What the rules say of a flow, or of a frame without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What is done.
    pub action: Action,
    /// The rule that says so.
    pub rule: RuleId,
    /// It is to be told.
    pub log: bool,
    /// The rule set to inspect it with, as a place in [`Policy::programs`]; [`TRUSTED`] stands for no look at all.
    pub program: Option<u16>,
    /// What becomes of it where inspection cannot be paid for; `None` takes the budget's.
    pub overload: Option<OnFailure>,
    /// The DSCP that its packets get.
    pub dscp: Option<Dscp>,
}

impl Decision {
    /// Nothing looks into its flow.
    pub fn is_trusted(&self) -> bool {
        self.program == Some(TRUSTED)
    }

    /// How much looks into its flow: of several decisions about one packet the one that asks for most is taken.
    pub(crate) fn depth(&self) -> u8 {
        match self.program {
            Some(TRUSTED) => 0,
            None => 1,
            Some(_) => 2,
        }
    }
}

/// A differentiated services code point (RFC 2474), 0 to 63, in a byte that has room for "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dscp(NonZeroU8);

impl Dscp {
    /// From its number; `None` beyond 63.
    pub fn new(value: u8) -> Option<Dscp> {
        (value < 64).then(|| NonZeroU8::new(value + 1)).flatten().map(Dscp)
    }

    /// Its number.
    pub fn value(self) -> u8 {
        self.0.get() - 1
    }
}

impl Default for Decision {
    fn default() -> Decision {
        let (action, rule) = (Action::Allow, RuleId::DEFAULT);
        Decision { action, rule, log: false, program: None, overload: None, dscp: None }
    }
}

impl Decision {
    /// It does not let the flow pass.
    #[inline]
    pub fn refuses(&self) -> bool {
        self.action != Action::Allow
    }
}

/// What a rule of the tables answers.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Before the switch's default rule set.
    decision: Decision,
    /// It names no rule set and takes the switch's.
    inherits: bool,
    then: Then,
}

/// Rules compiled into tables. [`Policy::compile`] is its only maker, but for the empty policy that allows everything.
#[derive(Default)]
pub struct Policy {
    epoch: Epoch,
    names: Vec<String>,
    /// Of the rules of the tables.
    entries: Vec<Entry>,
    tables: Tables,
    /// Some rule hands flows on to the next tier.
    has_next: bool,
    /// The policy that this one replaces, and its rules' numbers here; the default is not among them.
    before: Option<(Epoch, Vec<Option<u32>>)>,
    switches: BTreeMap<SwitchId, Decision>,
    /// Switches whose traffic is listened to only, in order.
    listened: Vec<SwitchId>,
    programs: Vec<(String, Arc<RuleSetProgram>)>,
    /// For flows that are watched, but by no rule set.
    no_rules: Arc<RuleSetProgram>,
    content: Arc<Content>,
    scan: Arc<scan::Policy>,
    settings: Settings,
    accounts: Accounts,
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (rules, bytes) = (self.rules(), self.table_bytes());
        f.debug_struct("Policy")
            .field("epoch", &self.epoch)
            .field("rules", &rules)
            .field("table_bytes", &bytes)
            .finish()
    }
}

/// A policy that was refused, with every reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyErrors(pub Vec<String>);

impl std::fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for PolicyErrors {}

impl Policy {
    /// Compiles `spec`, whole or not at all.
    ///
    /// # Errors
    /// Every problem found: unknown names, duplicate names, empty ranges, tables beyond their limits; each names the
    /// rule and the remedy.
    pub fn compile(spec: &spec::Spec, epoch: Epoch) -> Result<Policy, PolicyErrors> {
        compile::compile(spec, epoch)
    }

    /// Says which policy it will replace: rules of the same name are the same to those who count.
    pub fn follow(&mut self, old: &Policy) {
        let numbers = self.names.iter().enumerate().map(|(number, name)| (name.as_str(), number as u32));
        let numbers: std::collections::HashMap<&str, u32> = numbers.collect();
        let after = old.names.iter().map(|name| numbers.get(name.as_str()).copied()).collect();
        self.before = Some((old.epoch, after));
    }

    /// Whether it was made to replace the policy of this epoch.
    pub fn follows(&self, epoch: Epoch) -> bool {
        self.before.as_ref().is_some_and(|(before, _)| *before == epoch)
    }

    /// The number here of a rule of the policy that it replaces, which had `rules` of them; the default is the last.
    pub fn successor(&self, old: RuleId, rules: usize) -> Option<usize> {
        if old.0 as usize >= rules {
            return Some(self.rules());
        }
        let (_, after) = self.before.as_ref()?;
        after.get(old.0 as usize).copied().flatten().map(|number| number as usize)
    }

    /// The same, of a policy by its epoch; `None` also where it is another one that it replaces.
    pub fn successor_of(&self, epoch: Epoch, old: RuleId) -> Option<usize> {
        let (before, after) = self.before.as_ref()?;
        if *before == epoch { self.successor(old, after.len()) } else { None }
    }

    /// Its number.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The name of a rule; "default" for [`RuleId::DEFAULT`].
    pub fn rule_name(&self, rule: RuleId) -> &str {
        self.names.get(rule.0 as usize).map_or("default", String::as_str)
    }

    /// Some rule marks the packets that it lets pass.
    pub fn marks(&self) -> bool {
        let mut decisions = self.entries.iter().map(|entry| &entry.decision).chain(self.switches.values());
        decisions.any(|decision| decision.dscp.is_some())
    }

    /// Rules, with those that settings of tiers and groups stand for, and without the defaults of the switches.
    pub fn rules(&self) -> usize {
        self.names.len()
    }

    /// Bytes that the tables take.
    pub fn table_bytes(&self) -> usize {
        self.tables.rows.bytes()
    }

    /// Rules ask for MAC addresses: what is known of a flow without them is not enough to judge it.
    pub fn names_macs(&self) -> bool {
        self.tables.names_macs()
    }

    /// What guests may open, and which of them a SYN proxy stands before.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// The settings of the guard.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The rule sets by name, in the order that [`Decision::program`] counts them.
    pub fn programs(&self) -> &[(String, Arc<RuleSetProgram>)] {
        &self.programs
    }

    /// The content filter.
    pub fn content(&self) -> &Arc<Content> {
        &self.content
    }

    /// The virus check.
    pub fn scan(&self) -> &Arc<scan::Policy> {
        &self.scan
    }

    /// The rule set without rules.
    pub fn no_rules(&self) -> &Arc<RuleSetProgram> {
        &self.no_rules
    }

    /// The first rule that matches, or what the switch says to the rest. A switch that the policy does not know is
    /// closed, unless the policy knows none at all. Address resolution is refused by a rule only, never for want of
    /// one: where nobody can find a neighbour, no rule that allows anything would take effect.
    pub fn judge(&self, subject: &Subject) -> Decision {
        let mut decision = self.first_match(subject);
        if decision.refuses() && self.mode(subject.switch) == Mode::Listen {
            decision.action = Action::Allow;
        }
        decision
    }

    /// It has rules: without, a verdict costs nothing.
    #[inline]
    pub fn has_rules(&self) -> bool {
        !self.entries.is_empty()
    }

    /// As much of a subject as the rules can tell apart. [`Policy::judge`] says the same of both.
    #[inline]
    pub fn asked(&self, subject: &Subject) -> Subject {
        self.tables.asked(*subject)
    }

    /// What the rules can tell apart of the first packet of the flow with this key, which the first end sent or the second,
    /// between these ports, in words. [`Policy::judge`] says the same of all for which they are equal.
    #[inline]
    pub(crate) fn words(&self, packet: &Packet, switch: SwitchId, key: (&Key, bool), ports: [PortId; 2]) -> Words {
        self.tables.words(packet, switch, key, ports)
    }

    /// Some rule hands flows on to the next tier.
    #[inline]
    pub fn hands_on(&self) -> bool {
        self.has_next
    }

    /// The rule set of a switch: that of flows whose rule names none.
    pub fn program_of(&self, switch: SwitchId) -> Option<&Arc<RuleSetProgram>> {
        let at = self.switches.get(&switch)?.program?;
        self.programs.get(usize::from(at)).map(|(_, program)| program)
    }

    /// What the guard may do with the traffic of a switch.
    pub fn mode(&self, switch: SwitchId) -> Mode {
        match self.listened.binary_search(&switch) {
            Ok(_) => Mode::Listen,
            Err(_) => Mode::Enforce,
        }
    }

    /// The rules that hand a flow on before another decides, in order.
    pub fn passed(&self, subject: &Subject, mut tell: impl FnMut(RuleId)) {
        if self.hands_on() {
            self.walk(subject, &mut tell);
        }
    }

    fn first_match(&self, subject: &Subject) -> Decision {
        let default = self.switches.get(&subject.switch).copied().unwrap_or(self.elsewhere());
        let Some(entry) = self.walk(subject, &mut |_| {}) else {
            return if subject.resolves_addresses() { Decision::default() } else { default };
        };
        let mut decision = entry.decision;
        if entry.inherits {
            decision.program = default.program;
        }
        decision
    }

    /// The rule of the tables that decides. Each turn begins behind the place of the one before.
    #[inline]
    fn walk(&self, subject: &Subject, hands_on: &mut impl FnMut(RuleId)) -> Option<&Entry> {
        if self.entries.is_empty() {
            return None;
        }
        let mut from = 0;
        loop {
            let place = self.tables.first(subject, from)?;
            let entry = self.entries.get(place as usize)?;
            match entry.then {
                Then::DecideRest if subject.resolves_addresses() => from = place + 1,
                Then::Decide | Then::DecideRest => return Some(entry),
                Then::GoOn(next) => {
                    hands_on(entry.decision.rule);
                    from = next.max(place + 1);
                }
            }
        }
    }

    fn elsewhere(&self) -> Decision {
        let action = if self.switches.is_empty() { Action::Allow } else { Action::Drop };
        Decision { action, ..Decision::default() }
    }
}
