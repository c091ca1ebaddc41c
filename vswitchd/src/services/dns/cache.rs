//! Answers remembered for as long as they hold (RFC 1035, 7.4; RFC 2308 of what does not exist).
//!
//! Bounded: at the limit the answer that was remembered longest ago makes room.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::message::{Answer, Question};

/// Seconds that an answer is remembered at most, and that something does not exist.
const POSITIVE_MOST_S: u32 = 86_400;
const NEGATIVE_MOST_S: u32 = 900;
/// Seconds that something does not exist where nobody says for how long.
const NEGATIVE_USUAL_S: u32 = 60;

/// What an answer answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The router whose name servers answered.
    pub router: Arc<str>,
    /// The name, in lower case.
    pub name: Name,
    /// The type.
    pub kind: RecordType,
    /// With signatures.
    pub dnssec_ok: bool,
    /// Without their being checked.
    pub checking_disabled: bool,
}

impl Key {
    /// What a question asks, by a name that may be another than its own.
    pub fn of(router: &str, name: &Name, question: &Question) -> Key {
        Key {
            router: router.into(),
            name: name.clone(),
            kind: question.query.query_type,
            dnssec_ok: question.dnssec_ok,
            checking_disabled: question.checking_disabled,
        }
    }
}

#[derive(Debug)]
struct Entry {
    answer: Answer,
    since_s: u64,
    until_s: u64,
}

/// The answers.
#[derive(Debug, Default)]
pub struct Cache {
    entries: HashMap<Key, Entry>,
    order: VecDeque<Key>,
    /// Questions answered from here.
    pub hits: u64,
    /// Answers that made room.
    pub evicted: u64,
}

impl Cache {
    /// Answers remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// None is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets all; returns how many there were.
    pub fn flush(&mut self) -> usize {
        self.order.clear();
        let before = self.entries.len();
        self.entries.clear();
        before
    }

    /// The answer, its times as they are by now.
    pub fn get(&mut self, key: &Key, now_s: u64) -> Option<Answer> {
        let entry = self.entries.get(key).filter(|entry| entry.until_s > now_s)?;
        self.hits += 1;
        let passed = u32::try_from(now_s.saturating_sub(entry.since_s)).unwrap_or(u32::MAX);
        let mut answer = entry.answer.clone();
        let sections = [&mut answer.answers, &mut answer.authorities, &mut answer.additionals];
        for record in sections.into_iter().flatten() {
            record.ttl = record.ttl.saturating_sub(passed);
        }
        Some(answer)
    }

    /// Remembers an answer, of `limit` at most.
    pub fn put(&mut self, key: Key, answer: &Answer, now_s: u64, limit: usize) {
        let Some(holds_s) = holds_s(answer).filter(|seconds| *seconds > 0 && limit > 0) else { return };
        while self.entries.len() >= limit {
            let Some(oldest) = self.order.pop_front() else { break };
            self.evicted += u64::from(self.entries.remove(&oldest).is_some());
        }
        let entry = Entry { answer: answer.clone(), since_s: now_s, until_s: now_s + u64::from(holds_s) };
        if self.entries.insert(key.clone(), entry).is_none() {
            self.order.push_back(key);
        }
    }
}

/// For how many seconds an answer holds; `None` where it is not to be remembered.
fn holds_s(answer: &Answer) -> Option<u32> {
    match answer.code {
        ResponseCode::NoError if !answer.answers.is_empty() => {
            answer.answers.iter().map(|record| record.ttl).min().map(|ttl| ttl.min(POSITIVE_MOST_S))
        }
        ResponseCode::NoError | ResponseCode::NXDomain => {
            let authority = answer.authorities.iter().find_map(|record: &Record| match &record.data {
                RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
                _ => None,
            });
            Some(authority.unwrap_or(NEGATIVE_USUAL_S).min(NEGATIVE_MOST_S))
        }
        _ => None,
    }
}
