//! The virus check's eye on one flow: hands the new bytes of its files to their scanners.

use std::sync::Arc;

use weir_ids_rules::AppProtocol;

use super::{Finding, Outcome, Policy, Scanner};
use crate::app::App;
use crate::app::file::{File, Files, State};
use crate::inspect::Direction;

/// What is remembered of a flow.
#[derive(Debug)]
pub struct Scan {
    policy: Arc<Policy>,
    /// The parser gave up on a protocol that carries files.
    blind: bool,
}

impl Scan {
    /// An eye by this policy, which has a database.
    pub fn new(policy: &Arc<Policy>) -> Box<Scan> {
        Box::new(Scan { policy: Arc::clone(policy), blind: false })
    }

    /// Searches what became readable in a step. `true`: the step is to be refused.
    pub fn look(&mut self, app: &mut App, way: Direction, failed: bool, findings: &mut Vec<Finding>) -> bool {
        let mut refuse = false;
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
                    refuse |= self.files(files, protocol, findings);
                }
            }
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

    fn files(&self, files: &mut Files, protocol: AppProtocol, findings: &mut Vec<Finding>) -> bool {
        let mut refuse = false;
        if files.refused > 0 && !std::mem::replace(&mut files.told, true) {
            refuse |= self.limit("too many files in one message", b"", 0, protocol, findings);
        }
        let mut open = 0;
        for file in &mut files.list {
            if file.is_scanned() {
                continue;
            }
            open += usize::from(file.state == State::Open);
            if open > self.policy.limits.files_per_flow {
                file.end_scan();
                refuse |= self.limit("too many files at one time", &file.name, file.size(), protocol, findings);
                continue;
            }
            refuse |= self.file(file, protocol, findings);
        }
        refuse
    }

    fn file(&self, file: &mut File, protocol: AppProtocol, findings: &mut Vec<Finding>) -> bool {
        let Some(database) = &self.policy.database else { return false };
        let limits = self.policy.limits;
        let bytes = file.take_tap();
        let ended = file.state != State::Open;
        let part = file
            .range
            .is_some_and(|(first, last, whole)| first != 0 || whole.is_none_or(|whole| last.saturating_add(1) < whole));
        if file.scanner.is_none() {
            if bytes.is_empty() && !ended {
                return false;
            }
            self.policy.counts.file();
            let Some(place) = self.policy.place() else {
                file.end_scan();
                return self.limit("too many files at one time in all", &file.name, file.size(), protocol, findings);
            };
            let mut scanner = Box::new(Scanner::new(database, limits));
            scanner.hold(place);
            file.scanner = Some(scanner);
            if part && limits.refuse_parts {
                file.end_scan();
                return self.limit("a part of a file", &file.name, file.size(), protocol, findings);
            }
        }
        self.policy.counts.bytes(bytes.len() as u64);
        let Some(scanner) = &mut file.scanner else { return false };
        let mut outcome = scanner.update(&bytes).clone();
        if outcome == Outcome::Clean && ended {
            outcome = scanner.finish(file.state == State::Closed && !part).clone();
        }
        if outcome == Outcome::Clean {
            if ended {
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

    fn limit(&self, why: &str, file: &[u8], size: u64, protocol: AppProtocol, findings: &mut Vec<Finding>) -> bool {
        self.policy.counts.limited();
        let refuse = self.policy.limits.closed;
        findings.push(finding(why.to_owned(), file, size, protocol, false, refuse));
        refuse
    }

    /// Nothing that follows on the flow can carry a file that is searched.
    pub fn is_done(&self, app: &App) -> bool {
        let identity = app.identity();
        match identity.flow.protocol() {
            Some(protocol) if carries_files(protocol) => app.is_over() && !(self.blind && self.policy.limits.closed),
            Some(AppProtocol::Ftp) | None => app.is_over(),
            Some(_) => true,
        }
    }
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
