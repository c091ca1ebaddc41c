//! What the policy has said of first packets lately.
//!
//! Most flows are opened between ends that have opened others, to the same service. What rules can tell apart of a first
//! packet ([`Policy::asked`]) is all that its verdict rests on, so a packet that is the same to the rules has the same
//! verdict, for as long as the policy stands; a schedule that opens or closes makes another one. Nothing else is answered
//! from here: quotas, blocked sources, counters and the candidate are asked for each flow.
//!
//! First packets of flows that go to one port are asked about in words ([`Words`]), which cost less to put together and to
//! compare than a subject.
//!
//! Limit: [`PLACES`] answers of either kind, each in the one place that its hash names; another one takes its place.

use weir_wire::Epoch;

use crate::policy::{Decision, Policy, Subject, Words};

/// Answers that are remembered.
const PLACES: usize = 256;

/// The answers.
#[derive(Debug, Default)]
pub(super) struct Decided {
    /// The policy whose answers these are.
    epoch: Epoch,
    /// Empty until something was asked.
    places: Vec<Option<(Subject, Decision)>>,
    /// The same about first packets. No packet has words that are all zero.
    first: Vec<(Words, Decision)>,
}

/// The place of words.
#[inline]
fn place(words: &Words) -> usize {
    let [a, b, c, d, rest, link, source, destination] = *words;
    let fold = |a: u64, b: u64| {
        let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0xa076_1d64_78bd_642f);
        (product as u64) ^ ((product >> 64) as u64)
    };
    let ends = fold(a ^ b.rotate_left(17) ^ source, c ^ d.rotate_left(23) ^ destination);
    fold(ends ^ rest, link) as usize % PLACES
}

impl Decided {
    /// Another policy judges.
    pub fn forget(&mut self) {
        self.places.clear();
        self.first.clear();
    }

    /// What was said of a first packet with these words.
    #[inline]
    pub fn known(&mut self, policy: &Policy, words: &Words) -> Option<Decision> {
        if self.epoch != policy.epoch() {
            self.forget();
            self.epoch = policy.epoch();
        }
        let (known, decision) = self.first.get(place(words))?;
        (known == words).then_some(*decision)
    }

    /// What is said of first packets with these words, by the policy that was asked last.
    #[inline(never)]
    pub fn remember(&mut self, words: &Words, decision: Decision) {
        if self.first.is_empty() {
            self.first.resize(PLACES, (Words::default(), Decision::default()));
        }
        if let Some(place) = self.first.get_mut(place(words)) {
            *place = (*words, decision);
        }
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
