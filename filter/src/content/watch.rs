//! The content filter's eye on one flow: finds the names in what the parsers made of its bytes, and has them judged.
//!
//! A transaction is judged once, at the step at which its names are complete; the step's bytes have not gone on yet.
//! What ends the parsing of a protocol that names sites ends the reading of names, so more from the initiator is refused
//! then, unless the operator lets it pass.

use std::net::IpAddr;
use std::sync::Arc;

use weir_ids_rules::{AppProtocol, Buffer};

use super::rules::{Action, Content, Match, Site, Who};
use super::{Answer, Kind, name};
use crate::app::{App, PROTOCOLS, Transaction};
use crate::inspect::Direction;

/// Hosts that a request may name: in its target, and in each of its Host fields.
pub const HOSTS: usize = 8;
/// Questions of a query that are judged; what asks more is refused as unreadable.
const QUESTIONS: usize = 16;
/// Records of an answer whose names are judged.
const ANSWERS: usize = 64;
/// Fields of a request that are searched for hosts.
const FIELDS: usize = 1024;

/// A site that a rule told of or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where its name was met.
    pub kind: Kind,
    /// What was done.
    pub action: Action,
    /// The rule's name.
    pub rule: String,
    /// The list that has it.
    pub list: Option<String>,
    /// The category of the list's entry.
    pub category: Option<String>,
    /// The entry's score.
    pub score: Option<u8>,
    /// The host; empty where there was none.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// The true name was encrypted.
    pub encrypted: bool,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// How the initiator is told.
    pub answer: Answer,
    /// What it is told, where that is a page.
    pub page: Vec<u8>,
}

/// What is remembered of a flow.
#[derive(Debug)]
pub struct Watch {
    content: Arc<Content>,
    who: Who,
    server: IpAddr,
    /// The server's address was judged.
    addressed: bool,
    /// The parser gave up on a protocol that names sites.
    blind: bool,
}

/// What of a flow is being looked at.
struct Asked<'a> {
    kind: Kind,
    host: Option<String>,
    path: Option<&'a [u8]>,
    encrypted: bool,
}

impl Watch {
    /// An eye on a flow of this initiator to this server; `None` where no rule concerns it.
    pub fn new(content: &Arc<Content>, who: Who, server: IpAddr) -> Option<Box<Watch>> {
        let concerns = !content.is_idle() && content.concerns(&who);
        let addressed = !content.asks_addresses();
        concerns.then(|| Box::new(Watch { content: Arc::clone(content), who, server, addressed, blind: false }))
    }

    /// The policy it asks.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Judges the server's address, once.
    pub fn address(&mut self, findings: &mut Vec<Finding>) -> Option<Denial> {
        if std::mem::replace(&mut self.addressed, true) {
            return None;
        }
        self.judge(&Asked { kind: Kind::Address, host: None, path: None, encrypted: false }, findings)
    }

    /// Judges what became readable in a step of the initiator.
    pub fn look(&mut self, app: &mut App, findings: &mut Vec<Finding>) -> Option<Denial> {
        for nth in 0..app.parsers() {
            let Some(parser) = app.parser_mut(nth) else { continue };
            let protocol = parser.protocol();
            let Some((kind, buffer)) = named_by(protocol) else { continue };
            let ready = ready(protocol, buffer);
            let all = parser.transactions_mut();
            for index in 0..all.len() {
                let Some((mark, transaction)) = all.get_mut(index) else { continue };
                let answers = transaction.only() == Some(Direction::Reply);
                let skip = answers && kind != Kind::Dns;
                if mark.judged || skip || transaction.progress(Direction::Original) < ready {
                    continue;
                }
                mark.judged = true;
                let denial = match kind {
                    Kind::Http => self.request(transaction, findings),
                    Kind::Dns if answers => self.answers(transaction, findings),
                    Kind::Dns => self.questions(transaction, findings),
                    Kind::Tls | Kind::Quic | Kind::Address => self.server_name(kind, transaction, findings),
                };
                if denial.is_some() {
                    return denial;
                }
            }
        }
        None
    }

    /// The application layer gave up in this step, or before: what the initiator says cannot be read. `says`: the step
    /// brought something that it says.
    pub fn gave_up(&mut self, app: &App, failed: bool, says: bool, findings: &mut Vec<Finding>) -> Option<Denial> {
        let kind = app.identity().flow.protocol().and_then(named_by).map(|(kind, _)| kind);
        self.blind |= failed && kind.is_some();
        let kind = kind.filter(|_| self.blind && says && !self.content.unreadable_passes)?;
        findings.push(Finding {
            kind,
            action: Action::Deny,
            rule: "unreadable".into(),
            list: None,
            category: None,
            score: None,
            host: String::new(),
            path: String::new(),
            encrypted: false,
        });
        let answer = if kind == Kind::Quic { Answer::Silence } else { Answer::Reset };
        Some(Denial { answer, page: Vec::new() })
    }

    /// Nothing that follows on the flow can name a site.
    pub fn is_done(&self, app: &App) -> bool {
        if self.blind {
            return self.content.unreadable_passes;
        }
        let identity = app.identity();
        match identity.flow.protocol() {
            Some(protocol) => app.is_over() || named_by(protocol).is_none(),
            None => app.is_over(),
        }
    }

    fn request(&self, transaction: &dyn Transaction, findings: &mut Vec<Finding>) -> Option<Denial> {
        let (mut room, mut other) = (Vec::new(), Vec::new());
        let way = Direction::Original;
        let target = transaction.buffer(Buffer::HttpUriRaw, way, 0, &mut room).unwrap_or_default().to_vec();
        room.clear();
        let absolute = name::absolute(&target);
        let path = name::path(absolute.map_or(&target[..], |(_, path)| path));
        let mut hosts: Vec<Option<String>> = Vec::new();
        let mut add = |raw: &[u8]| {
            // A field that stands twice is given as one, with a comma.
            for part in raw.split(|&b| b == b',').take(HOSTS) {
                let host = name::host(part);
                if hosts.len() < HOSTS && !hosts.contains(&host) {
                    hosts.push(host);
                }
            }
        };
        if let Some((host, _)) = absolute {
            add(host);
        }
        if let Some(host) = transaction.buffer(Buffer::HttpHostRaw, way, 0, &mut room) {
            add(host);
        }
        if absolute.is_some() {
            // The target's host hides that of the field.
            for nth in 0..FIELDS {
                other.clear();
                let Some(field) = transaction.buffer(Buffer::HttpRequestHeader, way, nth, &mut other) else { break };
                if field.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"host:")) {
                    add(field.get(5..).unwrap_or_default());
                }
            }
        }
        if hosts.is_empty() {
            hosts.push(None);
        }
        hosts.into_iter().find_map(|host| {
            self.judge(&Asked { kind: Kind::Http, host, path: Some(&path), encrypted: false }, findings)
        })
    }

    fn questions(&self, transaction: &dyn Transaction, findings: &mut Vec<Finding>) -> Option<Denial> {
        let mut room = Vec::new();
        for nth in 0..=QUESTIONS {
            room.clear();
            let question = transaction.buffer(Buffer::DnsQueriesName, Direction::Original, nth, &mut room)?;
            let host = name::host(question);
            let denial = self.judge(&Asked { kind: Kind::Dns, host, path: None, encrypted: false }, findings);
            if denial.is_some() || nth == QUESTIONS {
                return denial.or(Some(Denial { answer: Answer::Silence, page: Vec::new() }));
            }
        }
        None
    }

    /// The names that an answer leads to: a chain of aliases has the owner of each record in it. The first is what was
    /// asked, which has been judged.
    fn answers(&self, transaction: &dyn Transaction, findings: &mut Vec<Finding>) -> Option<Denial> {
        let (mut room, mut judged) = (Vec::new(), Vec::new());
        let asked = transaction.buffer(Buffer::DnsQueriesName, Direction::Reply, 0, &mut room).and_then(name::host);
        judged.push(asked);
        for nth in 0..ANSWERS {
            room.clear();
            let owner = transaction.buffer(Buffer::DnsAnswersName, Direction::Reply, nth, &mut room)?;
            let host = name::host(owner);
            if judged.contains(&host) {
                continue;
            }
            let denial =
                self.judge(&Asked { kind: Kind::Dns, host: host.clone(), path: None, encrypted: false }, findings);
            if denial.is_some() {
                return denial;
            }
            judged.push(host);
        }
        None
    }

    fn server_name(&self, kind: Kind, transaction: &dyn Transaction, findings: &mut Vec<Finding>) -> Option<Denial> {
        let mut room = Vec::new();
        let host = transaction.buffer(Buffer::TlsSni, Direction::Original, 0, &mut room).and_then(name::host);
        let encrypted = transaction.special(ENCRYPTED_HELLO, "", Direction::Original) == Some(true);
        self.judge(&Asked { kind, host, path: None, encrypted }, findings)
    }

    fn judge(&self, asked: &Asked<'_>, findings: &mut Vec<Finding>) -> Option<Denial> {
        let host = asked.host.as_deref().unwrap_or_default();
        let site = Site { kind: asked.kind, host, path: asked.path, server: self.server, encrypted: asked.encrypted };
        let (noted, found) = self.content.judge(&self.who, &site);
        for noted in &noted {
            self.tell(asked, noted, findings);
        }
        match found.action {
            Action::Allow | Action::Log => {
                self.content.count(&found);
                if found.rule.is_none() && found.action == Action::Log {
                    self.tell(asked, &found, findings);
                }
                None
            }
            Action::Deny => {
                self.tell(asked, &found, findings);
                let page = match found.answer {
                    Answer::Page => super::answers::page(host, self.content.rule_name(&found), &self.content.page),
                    Answer::Reset | Answer::Nxdomain | Answer::Sinkhole | Answer::Silence => Vec::new(),
                };
                Some(Denial { answer: found.answer, page })
            }
        }
    }

    fn tell(&self, asked: &Asked<'_>, found: &Match, findings: &mut Vec<Finding>) {
        self.content.count(found);
        findings.push(Finding {
            kind: asked.kind,
            action: found.action,
            rule: self.content.rule_name(found).to_owned(),
            list: self.content.list_name(found).map(str::to_owned),
            category: found.category.clone(),
            score: found.score,
            host: asked.host.clone().unwrap_or_default(),
            path: asked.path.map(|path| String::from_utf8_lossy(path).into_owned()).unwrap_or_default(),
            encrypted: asked.encrypted,
        });
    }
}

/// The question to a handshake whether its true hello is encrypted, as [`Transaction::special`] takes it.
pub const ENCRYPTED_HELLO: &str = "encrypted_client_hello";
/// The extension that carries it (RFC 9849).
pub const ENCRYPTED_HELLO_EXTENSION: u16 = 0xfe0d;

/// Where a protocol names sites, and the buffer that is complete when it has.
fn named_by(protocol: AppProtocol) -> Option<(Kind, Buffer)> {
    match protocol {
        AppProtocol::Http1 | AppProtocol::Http2 | AppProtocol::Doh2 => Some((Kind::Http, Buffer::HttpHost)),
        AppProtocol::Tls => Some((Kind::Tls, Buffer::TlsSni)),
        AppProtocol::Quic => Some((Kind::Quic, Buffer::TlsSni)),
        AppProtocol::Dns => Some((Kind::Dns, Buffer::DnsQueriesName)),
        // The others name no sites.
        _ => None,
    }
}

/// The progress at which a buffer of the initiator is complete.
fn ready(protocol: AppProtocol, buffer: Buffer) -> u8 {
    let description = PROTOCOLS.iter().find(|description| description.protocol == protocol);
    let of = |provides: &&crate::app::Provides| provides.buffer == buffer && provides.way == Direction::Original;
    description.and_then(|description| description.buffers.iter().find(of)).map_or(u8::MAX, |provides| provides.ready)
}
