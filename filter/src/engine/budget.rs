//! What inspection may cost, who uses it, and what is given up when it costs more.
//!
//! The worker measures what bursts with inspected packets take beyond plain forwarding and charges it here; a purse
//! filled at the rate of the budget pays. An overdrawn purse takes the guard one rung down the ladder of [`Stage`]s for
//! each [`PERIOD`], a purse that has been half full for [`CALM`] one rung up, so that over any longer time no more is
//! spent than the budget, but for what the ladder took to go down once. The firewall itself is never given up: stages
//! change what is inspected, not what is allowed.
//!
//! Every flow that inspection gives up is counted by stage and told as an event. Pure: time and costs are arguments.

use std::time::Duration;

use weir_wire::{Instant, PortId};

use crate::spec::{CpuBudget, OnFailure};

/// The purse is looked at this often.
pub const PERIOD: Duration = Duration::from_millis(20);
/// A purse half full for so long allows the next stage up.
pub const CALM: Duration = Duration::from_millis(500);
/// The purse holds what the budget gives in this time.
const PURSE_MS: u64 = 100;
/// Ports whose use is kept apart; the rest are counted together.
const PORTS: usize = 4096;

/// What inspection gives up, in order; each stage gives up what those before it do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Everything is inspected.
    #[default]
    Full,
    /// Flows that have carried a lot without an alert are inspected no more.
    Elephants,
    /// Flows are inspected at their start only.
    Depth,
    /// Of new flows one of several is inspected.
    Sample,
    /// New flows are inspected only while the purse is half full, and those under inspection are given up while it is
    /// overdrawn.
    Beyond,
}

impl Stage {
    /// All of them, from the mildest.
    pub const ALL: [Stage; 5] = [Stage::Full, Stage::Elephants, Stage::Depth, Stage::Sample, Stage::Beyond];

    /// The name that events and people use.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Full => "full",
            Stage::Elephants => "elephants",
            Stage::Depth => "depth",
            Stage::Sample => "sample",
            Stage::Beyond => "beyond",
        }
    }

    /// One line for a person: what is given up.
    pub const fn meaning(self) -> &'static str {
        match self {
            Stage::Full => "Nothing is given up.",
            Stage::Elephants => "Flows that had carried a lot without an alert.",
            Stage::Depth => "Flows beyond their start.",
            Stage::Sample => "New flows that were not among the sample.",
            Stage::Beyond => "Flows for which nothing was left.",
        }
    }

    fn down(self) -> Stage {
        match self {
            Stage::Full => Stage::Elephants,
            Stage::Elephants => Stage::Depth,
            Stage::Depth => Stage::Sample,
            Stage::Sample | Stage::Beyond => Stage::Beyond,
        }
    }

    fn up(self) -> Stage {
        match self {
            Stage::Full | Stage::Elephants => Stage::Full,
            Stage::Depth => Stage::Elephants,
            Stage::Sample => Stage::Depth,
            Stage::Beyond => Stage::Sample,
        }
    }
}

/// What inspection took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Packets inspected.
    pub packets: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Processor time in nanoseconds, where it is measured by this.
    pub ns: u64,
    /// Steps of searches and checks.
    pub work: u64,
}

impl Usage {
    fn add(&mut self, bytes: u64, work: u64) {
        self.packets += 1;
        self.bytes += bytes;
        self.work += work;
    }
}

/// What becomes of a packet of a flow under inspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// It is inspected.
    Inspect,
    /// Its flow is inspected no more.
    GiveUp(Stage),
    /// It cannot be inspected and may not pass uninspected.
    Refuse,
}

/// What is asked of a flow before it is inspected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Bytes that the flow has carried.
    pub carried: u64,
    /// A rule has fired on it.
    pub alerted: bool,
    /// What its policy rule says of flows that cannot be inspected.
    pub class: Option<OnFailure>,
}

/// The budget of one worker, and the account of what was used.
#[derive(Debug, Default)]
pub struct Budget {
    terms: Option<CpuBudget>,
    /// Thousandths of the budget that others have.
    of_others: u64,
    stage: Stage,
    purse_ns: i64,
    filled: Instant,
    next: Instant,
    calm_since: Option<Instant>,
    spent_ns: u64,
    /// Flows given up, by stage; packets refused.
    shed: [u64; Stage::ALL.len()],
    refused: u64,
    by_port: Vec<Usage>,
    /// By the number of the rule set.
    by_program: Vec<(u32, Usage)>,
    packets: u64,
}

impl Budget {
    /// Takes new terms. The account goes on; the ladder begins anew where the terms changed.
    pub fn set_terms(&mut self, terms: Option<CpuBudget>) {
        if self.terms != terms {
            self.terms = terms;
            self.stage = Stage::Full;
            self.purse_ns = self.full();
            self.calm_since = None;
        }
    }

    /// Of the budget this one has so many thousandths; the others have the rest. What is in the purse stays, as far as it
    /// holds it.
    pub fn set_share(&mut self, thousandths: u64) {
        self.of_others = 1000 - thousandths.min(1000);
        self.purse_ns = self.purse_ns.min(self.full());
    }

    /// Nanoseconds a second.
    fn rate(&self) -> u64 {
        let all = self.terms.as_ref().map_or(0, |terms| terms.ns_per_second);
        if self.of_others == 0 { all } else { (u128::from(all) * u128::from(1000 - self.of_others) / 1000) as u64 }
    }

    /// The stage at which the guard works.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The terms.
    pub fn terms(&self) -> Option<&CpuBudget> {
        self.terms.as_ref()
    }

    /// Nanoseconds spent in all.
    pub fn spent_ns(&self) -> u64 {
        self.spent_ns
    }

    /// Flows given up at each stage, in the order of [`Stage::ALL`].
    pub fn shed(&self) -> [u64; Stage::ALL.len()] {
        self.shed
    }

    /// Packets refused because they could neither be inspected nor pass uninspected.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Packets inspected so far: whoever measures sees from it whether a burst had any.
    pub fn inspected(&self) -> u64 {
        self.packets
    }

    /// What packets that came in by a port took.
    pub fn of_ports(&self) -> impl Iterator<Item = (PortId, &Usage)> {
        let used = self.by_port.iter().enumerate().filter(|(_, usage)| usage.packets > 0 || usage.ns > 0);
        used.map(|(port, usage)| (PortId(port as u16), usage))
    }

    /// What each rule set took, by its number; `ns` is the share of the time that its work has of all work.
    pub fn of_programs(&self) -> impl Iterator<Item = (u32, Usage)> {
        let all: u64 = self.by_program.iter().map(|(_, usage)| usage.work + usage.packets).sum::<u64>().max(1);
        self.by_program.iter().map(move |&(number, usage)| {
            let share = u128::from(usage.work + usage.packets) * u128::from(self.spent_ns) / u128::from(all);
            (number, Usage { ns: u64::try_from(share).unwrap_or(u64::MAX), ..usage })
        })
    }

    /// A packet was inspected.
    pub(super) fn count(&mut self, port: PortId, program: u32, bytes: u64, work: u64) {
        self.packets += 1;
        if let Some(usage) = self.port(port) {
            usage.add(bytes, work);
        }
        let at = match self.by_program.iter().position(|&(number, _)| number == program) {
            Some(at) => at,
            None => {
                self.by_program.push((program, Usage::default()));
                self.by_program.len() - 1
            }
        };
        if let Some((_, usage)) = self.by_program.get_mut(at) {
            usage.add(bytes, work);
        }
    }

    /// Forgets the use of rule sets that are gone.
    pub(super) fn retain_programs(&mut self, known: &[u32]) {
        self.by_program.retain(|(number, _)| known.contains(number));
    }

    fn port(&mut self, port: PortId) -> Option<&mut Usage> {
        let index = usize::from(port.0).min(PORTS - 1);
        if self.by_port.len() <= index {
            self.by_port.resize(index + 1, Usage::default());
        }
        self.by_port.get_mut(index)
    }

    /// Charges what the inspection of packets from a port took.
    pub fn charge(&mut self, now: Instant, port: PortId, ns: u64) {
        self.spent_ns += ns;
        if let Some(usage) = self.port(port) {
            usage.ns += ns;
        }
        self.purse_ns = self.purse_ns.saturating_sub(i64::try_from(ns).unwrap_or(i64::MAX));
        self.review(now);
    }

    fn full(&self) -> i64 {
        i64::try_from(self.rate().saturating_mul(PURSE_MS) / 1000).unwrap_or(i64::MAX)
    }

    /// Fills the purse and moves on the ladder where it is time to.
    pub fn review(&mut self, now: Instant) {
        if self.terms.is_none() || now < self.next {
            return;
        }
        let gained = u128::from(self.rate()) * now.since(self.filled).as_nanos() / 1_000_000_000;
        let gained = i64::try_from(gained).unwrap_or(i64::MAX);
        self.purse_ns = self.purse_ns.saturating_add(gained).min(self.full());
        (self.filled, self.next) = (now, now.after(PERIOD));
        if self.purse_ns < 0 {
            self.stage = self.stage.down();
            self.calm_since = None;
        } else if self.purse_ns < self.full() / 2 {
            self.calm_since = None;
        } else {
            let since = *self.calm_since.get_or_insert(now);
            if self.stage != Stage::Full && now.since(since) >= CALM {
                self.stage = self.stage.up();
                self.calm_since = Some(now);
            }
        }
    }

    /// What becomes of a packet of a flow under inspection.
    #[inline]
    pub(super) fn course(&self, asked: &Asked) -> Course {
        let Some(terms) = self.terms.as_ref().filter(|_| self.stage != Stage::Full) else {
            return Course::Inspect;
        };
        let closed = asked.class.unwrap_or(terms.beyond) == OnFailure::Closed;
        if self.stage == Stage::Beyond && self.purse_ns < 0 {
            return if closed { Course::Refuse } else { Course::GiveUp(Stage::Beyond) };
        }
        // What may not pass uninspected is inspected as ever until there is nothing left to pay with.
        if closed {
            return Course::Inspect;
        }
        if asked.carried > terms.elephant_bytes && !asked.alerted {
            return Course::GiveUp(Stage::Elephants);
        }
        if self.stage >= Stage::Depth && asked.carried > terms.short_depth {
            return Course::GiveUp(Stage::Depth);
        }
        Course::Inspect
    }

    /// The stage at which a new flow is left uninspected; `None` where it is inspected.
    #[inline]
    pub(super) fn leaves_out(&self, number: u64, class: Option<OnFailure>) -> Option<Stage> {
        let terms = self.terms.as_ref()?;
        if self.stage < Stage::Sample || class.unwrap_or(terms.beyond) == OnFailure::Closed {
            return None;
        }
        let taken = match self.stage {
            Stage::Full | Stage::Elephants | Stage::Depth => true,
            Stage::Sample => number.is_multiple_of(u64::from(terms.sample.max(1))),
            Stage::Beyond => self.purse_ns >= self.full() / 2,
        };
        (!taken).then_some(self.stage)
    }

    /// A flow was given up at a stage.
    pub(super) fn count_shed(&mut self, stage: Stage) {
        if let Some(count) = self.shed.get_mut(stage as usize) {
            *count += 1;
        }
    }

    /// A packet was refused.
    pub(super) fn count_refused(&mut self) {
        self.refused += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Three hundredths of a core.
    fn terms(beyond: OnFailure) -> CpuBudget {
        CpuBudget { ns_per_second: 30 * MS, elephant_bytes: 1000, short_depth: 64, sample: 4, beyond }
    }

    fn budget(beyond: OnFailure) -> Budget {
        let mut budget = Budget::default();
        budget.set_terms(Some(terms(beyond)));
        budget
    }

    fn at_ms(ms: u64) -> Instant {
        Instant(ms * MS)
    }

    const ORDINARY: Asked = Asked { carried: 10, alerted: false, class: None };

    #[test]
    fn without_terms_everything_is_inspected_and_accounted_for() {
        let mut budget = Budget::default();
        budget.count(PortId(3), 1, 100, 7);
        budget.charge(at_ms(1), PortId(3), 500);
        assert_eq!(budget.course(&ORDINARY), Course::Inspect);
        assert_eq!(
            budget.of_ports().collect::<Vec<_>>(),
            [(PortId(3), &Usage { packets: 1, bytes: 100, ns: 500, work: 7 })]
        );
        assert_eq!(budget.of_programs().next(), Some((1, Usage { packets: 1, bytes: 100, ns: 500, work: 7 })));
    }

    #[test]
    fn an_overdrawn_purse_goes_down_the_ladder_step_by_step_and_up_again_when_calm() {
        let mut budget = budget(OnFailure::Open);
        let mut seen = vec![budget.stage()];
        for round in 1..=6 {
            // Ten times what there is.
            budget.charge(at_ms(round * 20), PortId(1), 6 * MS);
            seen.push(budget.stage());
        }
        seen.dedup();
        assert_eq!(seen, Stage::ALL);
        let mut back = Vec::new();
        for round in 1..=300 {
            budget.review(at_ms(120 + round * 20));
            back.push(budget.stage());
        }
        back.dedup();
        assert_eq!(back, [Stage::Beyond, Stage::Sample, Stage::Depth, Stage::Elephants, Stage::Full]);
    }

    #[test]
    fn no_more_is_spent_than_the_budget_over_a_long_time() {
        let mut budget = budget(OnFailure::Open);
        // Every millisecond brings a packet whose inspection would take a whole millisecond.
        for ms in 1..=60_000 {
            match budget.course(&ORDINARY) {
                Course::Inspect if budget.leaves_out(ms, None).is_none() => {
                    budget.charge(at_ms(ms), PortId(1), MS);
                }
                Course::Inspect | Course::GiveUp(_) | Course::Refuse => budget.review(at_ms(ms)),
            }
        }
        let share = budget.spent_ns() as f64 / (60_000.0 * MS as f64);
        assert!((0.025..=0.032).contains(&share), "{share}");
    }

    #[test]
    fn each_stage_gives_up_what_it_says() {
        let mut budget = budget(OnFailure::Open);
        let elephant = Asked { carried: 2000, ..ORDINARY };
        budget.stage = Stage::Elephants;
        assert_eq!(budget.course(&elephant), Course::GiveUp(Stage::Elephants));
        assert_eq!(budget.course(&Asked { alerted: true, ..elephant }), Course::Inspect);
        assert_eq!(budget.course(&ORDINARY), Course::Inspect);
        budget.stage = Stage::Depth;
        assert_eq!(budget.course(&ORDINARY), Course::Inspect);
        assert_eq!(budget.course(&Asked { carried: 65, alerted: true, ..ORDINARY }), Course::GiveUp(Stage::Depth));
        budget.stage = Stage::Sample;
        let left_out = (0..100).filter(|&number| budget.leaves_out(number, None).is_some()).count();
        assert_eq!(left_out, 75);
        budget.stage = Stage::Beyond;
        assert_eq!(budget.leaves_out(0, None), None, "there is something to pay with");
        budget.purse_ns = 0;
        assert_eq!(budget.leaves_out(0, None), Some(Stage::Beyond));
        budget.purse_ns = -1;
        assert_eq!(budget.course(&ORDINARY), Course::GiveUp(Stage::Beyond));
    }

    #[test]
    fn what_is_closed_never_passes_uninspected() {
        let mut budget = budget(OnFailure::Open);
        let closed = Asked { carried: 2000, class: Some(OnFailure::Closed), ..ORDINARY };
        for stage in Stage::ALL {
            budget.stage = stage;
            assert_eq!(budget.course(&closed), Course::Inspect, "{stage:?}");
            assert_eq!(budget.leaves_out(1, closed.class), None, "{stage:?}");
        }
        budget.purse_ns = -1;
        assert_eq!(budget.course(&closed), Course::Refuse);
    }

    #[test]
    fn new_terms_begin_anew_and_the_same_terms_do_not() {
        let mut budget = budget(OnFailure::Open);
        budget.stage = Stage::Sample;
        budget.set_terms(Some(terms(OnFailure::Open)));
        assert_eq!(budget.stage(), Stage::Sample);
        budget.set_terms(Some(terms(OnFailure::Closed)));
        assert_eq!(budget.stage(), Stage::Full);
    }

    #[test]
    fn a_share_of_the_budget_is_all_that_there_is() {
        let mut budget = Budget::default();
        budget.set_terms(Some(CpuBudget { ns_per_second: 100_000_000, ..terms(OnFailure::Open) }));
        budget.set_share(250);
        // A tenth of a second's worth is in the purse.
        assert_eq!((budget.rate(), budget.purse_ns), (25_000_000, 2_500_000));
        budget.set_share(1000);
        assert_eq!((budget.rate(), budget.purse_ns), (100_000_000, 2_500_000));
    }
}
