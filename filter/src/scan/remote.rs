//! Files that another program judges: their bytes go out through bounded queues, its answers come in at any time.
//!
//! The thread that forwards never waits: [`Question::say`] puts bytes into a queue or fails, [`Answer::get`] reads
//! what has been said so far. Whoever carries the questions to the other program takes them from the receiver that
//! belongs to [`Remote`], and answers each once. A file is offered to it when it has ended or has come to [`BEGIN`] bytes, so that many slow files take no connections.
//!
//! Limits: [`Terms`]; a file of which more than `waiting` bytes wait is held up until half of them are gone; beyond
//! `waiting_in_all` a file is not judged.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, OnceLock};

/// Bytes of a file that are collected before a connection is taken for it.
pub const BEGIN: u64 = 256 << 10;

/// Bounds of what is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Bytes of a file that are sent; the rest is not judged there.
    pub file_bytes: u64,
    /// Bytes of one file that may wait to be sent.
    pub waiting: usize,
    /// The same of all files together.
    pub waiting_in_all: usize,
    /// What could not be judged is refused; otherwise it passes.
    pub closed: bool,
}

/// What was said of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is clean.
    Clean,
    /// A signature of this name is in it.
    Infected(String),
    /// It was not judged, for this reason.
    Failed(String),
}

/// A piece of a file.
#[derive(Debug)]
pub enum Piece {
    /// Its next bytes.
    Bytes(Bytes),
    /// It is complete. Where the queue ends without this, nobody wants to know any more.
    End,
}

/// Bytes of a file that wait to be sent; they wait no more when this is dropped.
#[derive(Debug)]
pub struct Bytes {
    bytes: Vec<u8>,
    answer: Arc<Answer>,
}

impl Bytes {
    fn new(bytes: &[u8], answer: &Arc<Answer>) -> Bytes {
        answer.account.waiting.fetch_add(bytes.len(), Ordering::Relaxed);
        answer.waiting.fetch_add(bytes.len(), Ordering::AcqRel);
        Bytes { bytes: bytes.to_vec(), answer: Arc::clone(answer) }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.answer.account.waiting.fetch_sub(self.bytes.len(), Ordering::Relaxed);
        self.answer.waiting.fetch_sub(self.bytes.len(), Ordering::AcqRel);
    }
}

/// The place where an answer will be.
#[derive(Debug)]
pub struct Answer {
    said: OnceLock<Said>,
    waiting: AtomicUsize,
    account: Arc<Account>,
}

impl Answer {
    /// What was said, once it was.
    pub fn get(&self) -> Option<&Said> {
        self.said.get()
    }

    /// Says it; what is said first counts.
    pub fn say(&self, said: Said) {
        let count = match &said {
            Said::Clean => &self.account.clean,
            Said::Infected(_) => &self.account.infected,
            Said::Failed(_) => &self.account.failed,
        };
        if self.said.set(said).is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Too much of the file waits.
    pub fn is_full(&self) -> bool {
        self.get().is_none() && self.waiting.load(Ordering::Acquire) > self.account.terms.waiting
    }

    /// Enough of the file was taken for more to come, or nothing more is wanted.
    pub fn has_room(&self) -> bool {
        self.get().is_some() || self.waiting.load(Ordering::Acquire) <= self.account.terms.waiting / 2
    }
}

/// What all questions have in common.
#[derive(Debug)]
pub struct Account {
    terms: Terms,
    waiting: AtomicUsize,
    asked: AtomicU64,
    clean: AtomicU64,
    infected: AtomicU64,
    failed: AtomicU64,
    cut: AtomicU64,
}

/// What was asked and answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Files.
    pub asked: u64,
    /// Of these, files that were found clean.
    pub clean: u64,
    /// Infected.
    pub infected: u64,
    /// Not judged.
    pub failed: u64,
    /// Judged by their beginning, since they are longer than what is sent.
    pub cut: u64,
    /// Bytes that wait now.
    pub waiting: u64,
}

/// A file's way to whoever judges it.
#[derive(Debug)]
pub struct Offer {
    /// Its bytes, in order.
    pub pieces: Receiver<Piece>,
    /// Where the answer goes.
    pub answer: Arc<Answer>,
}

/// The asking end of a program that judges files.
#[derive(Debug)]
pub struct Remote {
    offers: Sender<Offer>,
    account: Arc<Account>,
}

impl Remote {
    /// An asking end, and where its questions come out.
    pub fn new(terms: Terms) -> (Remote, Receiver<Offer>) {
        let (offers, taken) = mpsc::channel();
        let zero = AtomicU64::default;
        let (asked, clean, infected, failed, cut) = (zero(), zero(), zero(), zero(), zero());
        let account = Account { terms, waiting: AtomicUsize::new(0), asked, clean, infected, failed, cut };
        (Remote { offers, account: Arc::new(account) }, taken)
    }

    /// Its terms.
    pub fn terms(&self) -> Terms {
        self.account.terms
    }

    /// What was asked and answered.
    pub fn tally(&self) -> Tally {
        let account = &self.account;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Tally {
            asked: read(&account.asked),
            clean: read(&account.clean),
            infected: read(&account.infected),
            failed: read(&account.failed),
            cut: read(&account.cut),
            waiting: account.waiting.load(Ordering::Relaxed) as u64,
        }
    }

    /// Begins a question.
    pub fn ask(&self) -> Question {
        let (pieces, taken) = mpsc::channel();
        let account = Arc::clone(&self.account);
        account.asked.fetch_add(1, Ordering::Relaxed);
        let answer = Arc::new(Answer { said: OnceLock::new(), waiting: AtomicUsize::new(0), account });
        let offer = Offer { pieces: taken, answer: Arc::clone(&answer) };
        Question { pieces: Some(pieces), offer: Some(offer), offers: self.offers.clone(), answer, sent: 0 }
    }
}

/// A question about one file.
#[derive(Debug)]
pub struct Question {
    /// `None` once the file has ended.
    pieces: Option<Sender<Piece>>,
    /// `None` once it was offered.
    offer: Option<Offer>,
    offers: Sender<Offer>,
    answer: Arc<Answer>,
    sent: u64,
}

impl Question {
    /// Where the answer will be.
    pub fn answer(&self) -> &Arc<Answer> {
        &self.answer
    }

    /// The next bytes of the file. Never waits.
    pub fn say(&mut self, bytes: &[u8]) {
        if self.answer.get().is_some() || bytes.is_empty() {
            return;
        }
        let Some(pieces) = &self.pieces else { return };
        let account = &self.answer.account;
        let room = usize::try_from(account.terms.file_bytes.saturating_sub(self.sent)).unwrap_or(usize::MAX);
        let part = bytes.get(..room.min(bytes.len())).unwrap_or(bytes);
        if account.waiting.load(Ordering::Relaxed).saturating_add(part.len()) > account.terms.waiting_in_all {
            return self.answer.say(Said::Failed("too much waits to be judged".into()));
        }
        self.sent = self.sent.saturating_add(part.len() as u64);
        if pieces.send(Piece::Bytes(Bytes::new(part, &self.answer))).is_err() {
            return self.answer.say(Said::Failed("nobody judges files any more".into()));
        }
        if part.len() < bytes.len() {
            account.cut.fetch_add(1, Ordering::Relaxed);
            return self.end();
        }
        if self.sent >= BEGIN || self.answer.is_full() {
            self.offer();
        }
    }

    /// The file is complete.
    pub fn end(&mut self) {
        let Some(pieces) = self.pieces.take() else { return };
        self.offer();
        if pieces.send(Piece::End).is_err() {
            self.answer.say(Said::Failed("nobody judges files any more".into()));
        }
    }

    fn offer(&mut self) {
        let Some(offer) = self.offer.take() else { return };
        if let Err(mpsc::SendError(offer)) = self.offers.send(offer) {
            offer.answer.say(Said::Failed("nobody judges files any more".into()));
            drop(offer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { file_bytes: 1 << 20, waiting: 1000, waiting_in_all: 3000, closed: true };

    #[test]
    fn a_file_is_offered_once_it_has_ended_and_answered_once() {
        let (remote, offers) = Remote::new(TERMS);
        let mut question = remote.ask();
        question.say(b"abc");
        assert!(offers.try_recv().is_err(), "it goes on");
        question.end();
        let offer = offers.try_recv().unwrap();
        assert!(matches!(offer.pieces.try_recv(), Ok(Piece::Bytes(bytes)) if bytes.as_ref() == b"abc"));
        assert!(matches!(offer.pieces.try_recv(), Ok(Piece::End)));
        assert_eq!(question.answer().get(), None);
        offer.answer.say(Said::Infected("X".into()));
        offer.answer.say(Said::Clean);
        assert_eq!(question.answer().get(), Some(&Said::Infected("X".into())));
        assert_eq!(remote.tally(), Tally { asked: 1, infected: 1, ..Tally::default() });
    }

    #[test]
    fn what_waits_is_bounded_by_file_and_in_all() {
        let (remote, offers) = Remote::new(TERMS);
        let (mut one, mut two) = (remote.ask(), remote.ask());
        [600, 401].iter().for_each(|&bytes| one.say(&vec![0; bytes]));
        assert!(one.answer().is_full() && !one.answer().has_room());
        two.say(&[0; 2600]);
        assert!(matches!(two.answer().get(), Some(Said::Failed(_))));
        assert_eq!(remote.tally().waiting, 1001);
        one.end();
        let offer = offers.try_recv().unwrap();
        drop(offer.pieces.try_recv().unwrap());
        assert!(one.answer().has_room(), "less than half waits");
        drop(offer);
        assert_eq!(remote.tally().waiting, 0, "what is given up waits no more");
    }

    #[test]
    fn a_long_file_is_judged_by_its_beginning() {
        let (remote, offers) = Remote::new(Terms { file_bytes: 10, ..TERMS });
        let mut question = remote.ask();
        question.say(&[1; 8]);
        question.say(&[2; 8]);
        question.say(&[3; 8]);
        question.end();
        let offer = offers.try_recv().unwrap();
        let length: usize =
            offer.pieces.try_iter().map(|piece| if let Piece::Bytes(b) = &piece { b.as_ref().len() } else { 0 }).sum();
        assert_eq!((length, remote.tally().cut), (10, 1));
    }

    #[test]
    fn without_anybody_to_judge_a_question_fails_at_once() {
        let (remote, offers) = Remote::new(TERMS);
        drop(offers);
        let mut question = remote.ask();
        question.say(b"abc");
        question.end();
        assert!(matches!(question.answer().get(), Some(Said::Failed(_))));
        assert_eq!(remote.tally().waiting, 0);
    }
}
