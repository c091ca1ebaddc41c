//! Names for guests (DNS): theirs from what is known here, all others from the name servers that the state gives.
//!
//! [`local`] knows the guests' names, [`cache`] what was answered before, [`forward`] asks others, [`tcp`] carries
//! questions over TCP, [`message`] reads and writes. This file joins them: [`Desk::ask`] takes a question, and where
//! others have to be asked, [`Desk::answered`] what they said.
//!
//! Limits: [`WAITING_MAX`] questions wait for others, [`WAITING_OF_PORT`] of one port; further ones fail. Equal questions
//! wait for one answer, so that nobody gets more tries at guessing it by asking more often. Who asks too often is not
//! answered at all.

use std::collections::HashMap;
use std::net::SocketAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::Record;

use super::leases::Leases;
use super::rates::Rates;

pub mod cache;
pub mod forward;
pub mod local;
pub mod message;
pub mod tcp;
#[cfg(test)]
mod tests;

use cache::{Cache, Key};
use local::{Known, Names};
use message::{Answer, Question, Transport};

/// Questions that wait for others at most.
pub const WAITING_MAX: usize = 1024;
/// The same of one port.
pub const WAITING_OF_PORT: usize = 128;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Questions taken.
    pub questions: u64,
    /// Answered from what is known here.
    pub local: u64,
    /// Passed on.
    pub forwarded: u64,
    /// Passed on in vain.
    pub failed: u64,
    /// Refused: others would have to be asked, and none are given.
    pub refused: u64,
    /// Without sense.
    pub malformed: u64,
    /// Beyond what a port may ask.
    pub limited: u64,
}

/// A question that waits for others. `B` says where its answer goes.
#[derive(Debug)]
struct Waiter<B> {
    question: Question,
    before: Vec<Record>,
    port: String,
    transport: Transport,
    back: B,
}

/// Where questions are answered. `B` says where an answer goes.
#[derive(Debug)]
pub struct Desk<B> {
    /// Answers remembered.
    pub cache: Cache,
    /// What was counted.
    pub counters: Counters,
    rates: Rates,
    waiting: HashMap<Key, Vec<Waiter<B>>>,
    ports: HashMap<String, usize>,
}

/// A question as it came in.
#[derive(Debug)]
pub struct Asked<'a, B> {
    /// The message.
    pub bytes: &'a [u8],
    /// The port of the guest.
    pub port: &'a str,
    /// How it came.
    pub transport: Transport,
    /// Where its answer goes.
    pub back: B,
}

/// What is to be done for a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing, or nothing yet.
    Nothing,
    /// This is the answer.
    Now(Vec<u8>),
    /// These are to be asked; [`Desk::answered`] takes what they say.
    Ask(Key, Vec<SocketAddr>),
}

impl<B> Default for Desk<B> {
    fn default() -> Desk<B> {
        Desk {
            cache: Cache::default(),
            counters: Counters::default(),
            rates: Rates::default(),
            waiting: HashMap::new(),
            ports: HashMap::new(),
        }
    }
}

impl<B> Desk<B> {
    /// Questions that wait for others.
    pub fn waiting(&self) -> usize {
        self.ports.values().sum()
    }

    /// Takes a question.
    pub fn ask(&mut self, names: &Names, leases: &Leases, now_s: u64, asked: Asked<'_, B>) -> Said {
        self.counters.questions += 1;
        let rate = names.config.rate;
        if !self.rates.may_ask(asked.port, now_s, rate, rate.saturating_mul(2)) {
            self.counters.limited += 1;
            return Said::Nothing;
        }
        let question = match Question::read(asked.bytes) {
            Ok(question) => question,
            Err(answer) => {
                self.counters.malformed += 1;
                return answer.map_or(Said::Nothing, Said::Now);
            }
        };
        let (name, before) = match names.look_up(&question, leases, now_s) {
            Known::Here(answer) => {
                self.counters.local += 1;
                return Said::Now(answer.write(&question, asked.transport));
            }
            Known::Elsewhere(name, before) => (name, before),
        };
        if names.config.forward.is_empty() || !question.recursion {
            self.counters.refused += 1;
            return Said::Now(question.failed(ResponseCode::Refused).write(&question, asked.transport));
        }
        let key = Key::of(&names.router, &name, &question);
        if let Some(known) = self.cache.get(&key, now_s) {
            return Said::Now(whole(before, known).write(&question, asked.transport));
        }
        let held = self.ports.get(asked.port).copied().unwrap_or(0);
        if self.waiting() >= WAITING_MAX || held >= WAITING_OF_PORT {
            self.counters.limited += 1;
            return Said::Now(question.failed(ResponseCode::ServFail).write(&question, asked.transport));
        }
        let Asked { port, transport, back, .. } = asked;
        *self.ports.entry(port.to_owned()).or_default() += 1;
        let waiter = Waiter { question, before, port: port.to_owned(), transport, back };
        let others = self.waiting.entry(key.clone()).or_default();
        others.push(waiter);
        if others.len() > 1 {
            return Said::Nothing;
        }
        self.counters.forwarded += 1;
        Said::Ask(key, names.config.forward.iter().map(|server| server.0).collect())
    }

    /// Takes what others said; `None`: nothing. Returns the answers and where they go. `limit`: answers remembered.
    pub fn answered(&mut self, key: Key, answer: Option<Answer>, limit: usize, now_s: u64) -> Vec<(B, Vec<u8>)> {
        let failed = || Answer { code: ResponseCode::ServFail, ..Answer::default() };
        match &answer {
            Some(answer) => self.cache.put(key.clone(), answer, now_s, limit),
            None => self.counters.failed += 1,
        }
        let answer = answer.unwrap_or_else(failed);
        let waited = self.waiting.remove(&key).unwrap_or_default();
        let mut answers = Vec::with_capacity(waited.len());
        for waiter in waited {
            if let Some(held) = self.ports.get_mut(&waiter.port) {
                *held -= 1;
                if *held == 0 {
                    self.ports.remove(&waiter.port);
                }
            }
            let said = whole(waiter.before, answer.clone());
            answers.push((waiter.back, said.write(&waiter.question, waiter.transport)));
        }
        answers
    }
}

/// An answer behind what was known before.
fn whole(before: Vec<Record>, answer: Answer) -> Answer {
    let answers = before.into_iter().chain(answer.answers).collect();
    Answer { answers, ..answer }
}
