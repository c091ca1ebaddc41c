//! The virus check's eye on one flow: hands the new bytes of its files to their scanners.

use std::net::IpAddr;
use std::sync::Arc;

use weir_ids_rules::AppProtocol;
use weir_wire::Instant;

use super::pending::{For, Gate, Open, Pending, Settled};
use super::remote::Said;
use super::{Finding, Outcome, Policy, Scanner};
use crate::app::App;
use crate::app::file::{File, Files, State};
use crate::inspect::Direction;

/// What is remembered of a flow.
#[derive(Debug)]
pub struct Scan {
    policy: Arc<Policy>,
    server: IpAddr,
    /// The parser gave up on a protocol that carries files.
    blind: bool,
    /// What each direction waits for.
    pending: [Pending; 2],
}

impl Scan {
    /// An eye by this policy, which has a database, on a flow to this server.
    pub fn new(policy: &Arc<Policy>, server: IpAddr) -> Box<Scan> {
        Box::new(Scan { policy: Arc::clone(policy), server, blind: false, pending: Default::default() })
    }

    /// Gives up the open files of a flow that is searched no more: their bytes would wait for nobody.
    pub fn forget(app: &mut App) {
        for nth in 0..app.parsers() {
            let Some(parser) = app.parser_mut(nth) else { continue };
            let all = parser.transactions_mut();
            for index in 0..all.len() {
                let Some((_, transaction)) = all.get_mut(index) else { continue };
                for way in [Direction::Original, Direction::Reply] {
                    if let Some(files) = transaction.files_mut(way) {
                        files.list.iter_mut().for_each(File::end_scan);
                        files.silent.clear();
                    }
                }
            }
        }
    }

    /// Searches what became readable in a step. `true`: the step is to be refused.
    pub fn look(&mut self, app: &mut App, way: Direction, failed: bool, findings: &mut Vec<Finding>) -> bool {
        let (mut refuse, mut open_ended) = (false, false);
        for nth in 0..app.parsers() {
            let Some(parser) = app.parser_mut(nth) else { continue };
            let protocol = parser.protocol();
            if !carries_files(protocol) {
                continue;
            }
            let all = parser.transactions_mut();
            for index in 0..all.len() {
                let Some((_, transaction)) = all.get_mut(index) else { continue };
                if let Some(files) = transaction.files_mut(way) {
                    refuse |= self.files(files, (way, protocol), findings);
                    open_ended |= files.list.iter().any(is_open_ended);
                }
            }
        }
        if let Some(pending) = self.pending.get_mut(way as usize) {
            pending.open_ended = open_ended && self.policy.judges_at_the_end();
        }
        let carrier = app.identity().flow.protocol().filter(|&protocol| carries_files(protocol));
        if let Some(protocol) = carrier.filter(|_| failed || self.blind) {
            if !std::mem::replace(&mut self.blind, true) {
                refuse |= self.limit("files that cannot be read", b"", 0, protocol, findings);
            } else {
                refuse |= self.policy.limits.closed;
            }
        }
        refuse
    }

    fn files(&mut self, files: &mut Files, on: On, findings: &mut Vec<Finding>) -> bool {
        let protocol = on.1;
        let mut refuse = false;
        if files.refused > 0 && !std::mem::replace(&mut files.told, true) {
            refuse |= self.limit("too many files in one message", b"", 0, protocol, findings);
        }
        let mut open = 0;
        for file in files.list.iter_mut().chain(&mut files.silent) {
            if file.is_scanned() {
                continue;
            }
            open += usize::from(file.state == State::Open);
            if open > self.policy.limits.files_per_flow {
                file.end_scan();
                refuse |= self.limit("too many files at one time", &file.name, file.size(), protocol, findings);
                continue;
            }
            refuse |= self.file(file, on, findings);
        }
        files.silent.retain(|file| !(file.is_scanned() && file.state != State::Open));
        refuse
    }

    fn file(&mut self, file: &mut File, on: On, findings: &mut Vec<Finding>) -> bool {
        let protocol = on.1;
        let Some(database) = self.policy.database.clone() else { return false };
        let limits = self.policy.limits;
        if let Some(why) = file.opaque.take() {
            if limits.closed {
                file.end_scan();
            }
            if self.limit(why, &file.name, file.size(), protocol, findings) {
                return true;
            }
        }
        let bytes = file.take_tap();
        let ended = file.state != State::Open;
        if file.scanner.is_none() {
            if bytes.is_empty() && !ended {
                return false;
            }
            self.policy.counts.file();
            let Some(place) = self.policy.place() else {
                file.end_scan();
                return self.limit("too many files at one time in all", &file.name, file.size(), protocol, findings);
            };
            let first = file.range.map_or(0, |(first, ..)| first);
            let resumed = (first > 0).then(|| self.policy.resumable.take(self.server, &file.name, first)).flatten();
            let from_start = resumed.is_some() || first == 0;
            let mut scanner = resumed.unwrap_or_else(|| Box::new(Scanner::new(&database, limits)));
            scanner.hold(place);
            scanner.from_start = from_start;
            file.scanner = Some(scanner);
            file.question = self.policy.remote.as_ref().map(|remote| Box::new(remote.ask()));
            if !from_start && limits.refuse_parts {
                file.end_scan();
                return self.limit("a part of a file", &file.name, file.size(), protocol, findings);
            }
        }
        self.policy.counts.bytes(bytes.len() as u64);
        let Some(scanner) = &mut file.scanner else { return false };
        let mut outcome = scanner.update(&bytes).clone();
        let goes_on = if ended { goes_on(scanner, (file.state, file.range, file.gaps)) } else { None };
        if outcome == Outcome::Clean && ended && goes_on.is_none() {
            outcome = scanner.finish(file.state == State::Closed && scanner.from_start).clone();
        }
        if outcome == Outcome::Clean {
            if self.ask(file, &bytes, on, findings) {
                file.end_scan();
                return true;
            }
            if ended {
                if let (Some(next), Some(scanner)) = (goes_on, file.scanner.take()) {
                    self.policy.resumable.keep(self.server, &file.name, next, scanner);
                }
                file.end_scan();
            } else {
                file.give_tap(bytes);
            }
            return false;
        }
        file.end_scan();
        match outcome {
            Outcome::Infected(name) => {
                self.policy.counts.infected();
                findings.push(finding(name, &file.name, file.size(), protocol, true, true));
                true
            }
            Outcome::Limit(why) => self.limit(why, &file.name, file.size(), protocol, findings),
            Outcome::Clean => false,
        }
    }

    /// Hands the bytes of a file to whoever is asked beside, and waits for the answer where it has ended. `true`: it is to
    /// be refused.
    fn ask(&mut self, file: &mut File, bytes: &[u8], (way, protocol): On, findings: &mut Vec<Finding>) -> bool {
        let Some(question) = file.question.as_mut() else { return false };
        question.say(bytes);
        let ended = file.state != State::Open;
        let answer = Arc::clone(question.answer());
        let size = file.content.size();
        let wait = match (ended, answer.get()) {
            (true, _) => {
                question.end();
                For::Verdict
            }
            (false, None) if answer.is_full() => For::Room,
            (false, None) => return false,
            // A beginning that is clean says nothing of what is to come, which nobody asks about any more.
            (false, Some(Said::Clean)) => return false,
            (false, Some(Said::Infected(_) | Said::Failed(_))) => {
                file.question = None;
                For::Verdict
            }
        };
        let open = Open::new(&answer, wait, (&file.name, size), protocol);
        let waits = self.pending.get_mut(way as usize).is_some_and(|pending| pending.add(open));
        if waits {
            return false;
        }
        self.limit("too many files wait for a verdict", &file.name, size, protocol, findings)
    }

    /// Takes up what was said of files that wait. `true`: the flow is to end.
    pub fn settle(&mut self, now: Instant, findings: &mut Vec<Finding>) -> bool {
        if self.pending.iter().all(Pending::is_idle) {
            return false;
        }
        let mut settled = Settled::default();
        self.pending.iter_mut().for_each(|pending| pending.settle(now, &self.policy, &mut settled));
        findings.append(&mut settled.findings);
        settled.refuse
    }

    /// Where a direction is held after a step in which what begins at `from` became readable, or nothing did.
    pub fn gate(&mut self, now: Instant, way: Direction, from: u64, grew: bool) -> Option<Gate> {
        self.pending.get_mut(way as usize)?.gate(now, from, grew, &self.policy.limits)
    }

    /// What is held may be asked about again.
    pub fn has_news(&self, now: Instant) -> bool {
        self.pending.iter().any(|pending| pending.has_news(now))
    }

    /// Goes on waiting for what another policy's eye waited for.
    pub fn take_over(&mut self, old: &mut Scan) {
        self.pending = std::mem::take(&mut old.pending);
    }

    fn limit(&self, why: &str, file: &[u8], size: u64, protocol: AppProtocol, findings: &mut Vec<Finding>) -> bool {
        self.policy.counts.limited();
        let refuse = self.policy.limits.closed;
        findings.push(finding(why.to_owned(), file, size, protocol, false, refuse));
        refuse
    }

    /// Nothing that follows on the flow can carry a file that is searched.
    pub fn is_done(&self, app: &App) -> bool {
        if !self.pending.iter().all(Pending::is_idle) {
            return false;
        }
        let identity = app.identity();
        match identity.flow.protocol() {
            Some(protocol) if carries_files(protocol) => app.is_over() && !(self.blind && self.policy.limits.closed),
            Some(AppProtocol::Ftp) | None => app.is_over(),
            Some(_) => true,
        }
    }
}

/// First and last byte and whole length of a part.
type Range = (u64, u64, Option<u64>);

/// The direction of a file, and what carries it.
type On = (Direction, AppProtocol);

/// The place at which another transfer may go on with a file that has ended: behind the range that was asked for, or where
/// it was broken off.
fn goes_on(scanner: &Scanner, (state, range, gaps): (State, Option<Range>, bool)) -> Option<u64> {
    match (state, range) {
        _ if !scanner.from_start || gaps => None,
        (State::Closed, Some((_, last, whole))) => {
            let next = last.checked_add(1)?;
            // Bytes that were coded are counted otherwise, and cannot be joined.
            let joins = whole.is_none_or(|whole| next < whole) && scanner.size() == next;
            joins.then_some(next)
        }
        (State::Truncated, None) if scanner.size() > 0 => Some(scanner.size()),
        (State::Open | State::Closed | State::Truncated, _) => None,
    }
}

/// A file that goes on, of which nobody knows when it ends.
fn is_open_ended(file: &File) -> bool {
    file.open_ended && file.state == State::Open && !file.is_scanned() && file.size() > 0
}

fn finding(name: String, file: &[u8], size: u64, protocol: AppProtocol, infected: bool, blocked: bool) -> Finding {
    let file = String::from_utf8_lossy(file).into_owned();
    Finding { name, file, size, infected, blocked, protocol: protocol.name() }
}

/// Protocols whose files are searched. FTP announces them on its control connection.
fn carries_files(protocol: AppProtocol) -> bool {
    use AppProtocol as P;
    matches!(protocol, P::Http1 | P::Http2 | P::Smtp | P::Imap | P::Pop3 | P::FtpData | P::Smb | P::Nfs)
}
