//! What the policy has said of first packets lately.
//!
//! Most flows are opened between ends that have opened others, to the same service. What rules can tell apart of a first
//! packet ([`Policy::asked`]) is all that its verdict rests on, so a packet that is the same to the rules has the same
//! verdict, for as long as the policy stands; a schedule that opens or closes makes another one. Nothing else is answered
//! from here: quotas, blocked sources, counters and the candidate are asked for each flow.
//!
//! Limit: [`PLACES`] answers, each in the one place that its hash names; another one takes its place.

use weir_wire::Epoch;

use crate::policy::{Decision, Policy, Subject};

/// Answers that are remembered.
const PLACES: usize = 256;

/// The answers.
#[derive(Debug, Default)]
pub(super) struct Decided {
    /// The policy whose answers these are.
    epoch: Epoch,
    /// Empty until something was asked.
    places: Vec<Option<(Subject, Decision)>>,
}

impl Decided {
    /// Another policy judges.
    pub fn forget(&mut self) {
        self.places.clear();
    }

    /// The policy's word on a packet.
    #[inline]
    pub fn judge(&mut self, policy: &Policy, subject: &Subject) -> Decision {
        if !policy.has_rules() {
            return policy.judge(subject);
        }
        if self.epoch != policy.epoch() {
            self.forget();
            self.epoch = policy.epoch();
        }
        let asked = policy.asked(subject);
        let at = asked.mixed() as usize % PLACES;
        match self.places.get(at) {
            Some(Some((known, decision))) if *known == asked => *decision,
            _ => self.ask(policy, asked, at),
        }
    }

    #[inline(never)]
    fn ask(&mut self, policy: &Policy, asked: Subject, at: usize) -> Decision {
        if self.places.is_empty() {
            self.places.resize(PLACES, None);
        }
        let decision = policy.judge(&asked);
        if let Some(place) = self.places.get_mut(at) {
            *place = Some((asked, decision));
        }
        decision
    }
}
