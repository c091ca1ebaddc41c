//! What a flow waits for before the ends of its files may be delivered.
//!
//! Each direction of a flow has a *gate*: the first place of its stream that may not be delivered yet. It stands where
//! the segment begins that ended the oldest file about which nothing was said; or, while a file goes on that only the
//! end of the connection ends, where its last segment begins. The engine holds what reaches beyond it.

use std::sync::Arc;

use weir_ids_rules::AppProtocol;
use weir_wire::Instant;

use super::remote::{Answer, Said};
use super::{Finding, Limits, Policy};

/// Files of one direction that may wait; more meet the limit at once.
const FILES: usize = 64;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// The verdict on a file that has ended.
    Verdict,
    /// Room in the queue of a file that goes on.
    Room,
}

/// A file that is waited for.
#[derive(Debug)]
pub struct Open {
    /// Where the answer will be.
    pub answer: Arc<Answer>,
    /// What of it.
    pub wait: For,
    /// The file's name.
    pub file: Vec<u8>,
    /// Its bytes so far.
    pub size: u64,
    /// What carries it.
    pub protocol: AppProtocol,
    /// From where on nothing is delivered, and until when; not known before the step that asks has ended.
    since: Option<(u64, Instant)>,
}

/// Where a direction is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// The first place that may not be delivered.
    pub place: u64,
    /// Until when.
    pub until: Instant,
    /// It is the last segment of a file that goes on: what comes ahead of order passes, since nobody can read it.
    pub tail: bool,
}

/// What one direction waits for.
#[derive(Debug, Default)]
pub struct Pending {
    files: Vec<Open>,
    /// A file goes on that only the end of the connection ends.
    pub open_ended: bool,
    tail: Option<Gate>,
}

/// What has become of what was waited for.
#[derive(Debug, Default)]
pub struct Settled {
    /// What is told.
    pub findings: Vec<Finding>,
    /// The flow is to end.
    pub refuse: bool,
}

impl Open {
    /// A file that something is waited for of.
    pub fn new(answer: &Arc<Answer>, wait: For, (file, size): (&[u8], u64), protocol: AppProtocol) -> Open {
        Open { answer: Arc::clone(answer), wait, file: file.to_vec(), size, protocol, since: None }
    }

    fn finding(&self, name: String, infected: bool, blocked: bool) -> Finding {
        let file = String::from_utf8_lossy(&self.file).into_owned();
        Finding { name, file, size: self.size, infected, blocked, protocol: self.protocol.name() }
    }
}

impl Pending {
    /// Nothing is waited for.
    pub fn is_idle(&self) -> bool {
        self.files.is_empty() && self.tail.is_none()
    }

    /// Waits for a file; `false` where too many are waited for.
    pub fn add(&mut self, open: Open) -> bool {
        if open.wait == For::Room && self.files.iter().any(|known| Arc::ptr_eq(&known.answer, &open.answer)) {
            return true;
        }
        let room = self.files.len() < FILES;
        if room {
            self.files.push(open);
        }
        room
    }

    /// Something that was waited for has come, or its time is over.
    pub fn has_news(&self, now: Instant) -> bool {
        let over = |open: &Open| open.since.is_some_and(|(_, until)| until <= now);
        let come = |open: &Open| match open.wait {
            For::Verdict => open.answer.get().is_some(),
            For::Room => open.answer.has_room(),
        };
        self.files.iter().any(|open| over(open) || come(open)) || self.tail.is_some_and(|gate| gate.until <= now)
    }

    /// Takes up what has been said meanwhile.
    pub fn settle(&mut self, now: Instant, policy: &Policy, settled: &mut Settled) {
        let closed = policy.remote.as_ref().is_none_or(|remote| remote.terms().closed);
        self.files.retain(|open| {
            let failed = match open.answer.get() {
                Some(Said::Clean) => return false,
                Some(Said::Infected(name)) => {
                    policy.counts.infected();
                    settled.findings.push(open.finding(name.clone(), true, true));
                    settled.refuse = true;
                    return false;
                }
                Some(Said::Failed(why)) => why.as_str(),
                None if open.wait == For::Room && open.answer.has_room() => return false,
                None if open.since.is_some_and(|(_, until)| until <= now) => {
                    // Whatever comes later, it is too late.
                    open.answer.say(Said::Failed("no verdict in time".into()));
                    "no verdict in time"
                }
                None => return true,
            };
            policy.counts.limited();
            settled.findings.push(open.finding(format!("not judged: {failed}"), false, closed));
            settled.refuse |= closed;
            false
        });
    }

    /// Where the direction is held after a step in which what begins at `from` became readable, or nothing did.
    pub fn gate(&mut self, now: Instant, from: u64, grew: bool, limits: &Limits) -> Option<Gate> {
        for open in &mut self.files {
            open.since.get_or_insert((from, now.after(limits.hold)));
        }
        let held = self.files.iter().filter_map(|open| open.since).min();
        if let Some((place, until)) = held {
            self.tail = None;
            return Some(Gate { place, until, tail: false });
        }
        if !self.open_ended {
            self.tail = None;
        } else if grew {
            self.tail = Some(Gate { place: from, until: now.after(limits.hold_tail), tail: true });
        }
        self.tail = self.tail.filter(|gate| gate.until > now);
        self.tail
    }
}

#[cfg(test)]
mod tests {
    use super::super::remote::{Remote, Terms};
    use super::*;

    fn remote(closed: bool) -> (Policy, std::sync::mpsc::Receiver<super::super::remote::Offer>) {
        let (remote, offers) = Remote::new(Terms { file_bytes: 100, waiting: 100, waiting_in_all: 100, closed });
        (Policy { remote: Some(Arc::new(remote)), ..Policy::default() }, offers)
    }

    fn settle(pending: &mut Pending, now: Instant, policy: &Policy) -> (bool, Vec<String>) {
        let mut settled = Settled::default();
        pending.settle(now, policy, &mut settled);
        (settled.refuse, settled.findings.into_iter().map(|finding| finding.name).collect())
    }

    #[test]
    fn the_gate_stands_at_the_oldest_file_without_a_verdict() {
        let (policy, _offers) = remote(true);
        let asked = policy.remote.as_ref().unwrap();
        let (one, two) = (asked.ask(), asked.ask());
        let (mut pending, now) = (Pending::default(), Instant::from_secs(5));
        for (question, from) in [(&one, 10), (&two, 20)] {
            assert!(pending.add(Open::new(question.answer(), For::Verdict, (b"f", 3), AppProtocol::Http1)));
            assert_eq!(pending.gate(now, from, true, &policy.limits).unwrap().place, 10);
        }
        two.answer().say(Said::Clean);
        assert!(pending.has_news(now));
        assert_eq!(settle(&mut pending, now, &policy), (false, vec![]));
        assert_eq!(pending.gate(now, 30, true, &policy.limits).unwrap().place, 10);
        one.answer().say(Said::Infected("X".into()));
        assert_eq!(settle(&mut pending, now, &policy), (true, vec!["X".to_owned()]));
        assert_eq!(pending.gate(now, 30, true, &policy.limits), None);
    }

    #[test]
    fn a_verdict_that_does_not_come_meets_the_act_that_was_stated() {
        for closed in [true, false] {
            let (policy, _offers) = remote(closed);
            let question = policy.remote.as_ref().unwrap().ask();
            let (mut pending, now) = (Pending::default(), Instant::from_secs(5));
            pending.add(Open::new(question.answer(), For::Verdict, (b"f", 3), AppProtocol::Smtp));
            let until = pending.gate(now, 10, true, &policy.limits).unwrap().until;
            assert!(!pending.has_news(now) && pending.has_news(until));
            assert_eq!(settle(&mut pending, now, &policy), (false, vec![]));
            assert_eq!(
                settle(&mut pending, until, &policy),
                (closed, vec!["not judged: no verdict in time".to_owned()])
            );
            assert!(pending.is_idle());
        }
    }

    #[test]
    fn the_last_segment_of_a_file_without_a_length_waits_for_the_next_one_or_for_a_while() {
        let limits = Limits::default();
        let (mut pending, now) = (Pending { open_ended: true, ..Pending::default() }, Instant::from_secs(5));
        assert_eq!(pending.gate(now, 10, true, &limits).unwrap().place, 10);
        assert_eq!(pending.gate(now, 20, true, &limits).unwrap().place, 20);
        assert_eq!(pending.gate(now, 20, false, &limits).unwrap().place, 20, "a repetition moves nothing");
        assert_eq!(pending.gate(now.after(limits.hold_tail), 20, false, &limits), None);
        pending.open_ended = false;
        assert_eq!(pending.gate(now, 30, true, &limits), None);
    }
}
