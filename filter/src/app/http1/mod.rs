//! HTTP/1 (RFC 9112), and HTTP/0.9, as the most lenient servers and browsers read it.
//!
//! Each direction has a state machine of its own ([`request`], [`response`]); a response belongs to the oldest request
//! that has none. A server that hides a body behind odd framing is read as browsers read it, and what is odd is noted
//! as an event of the transaction.
//!
//! Limits: a line or field has [`Options::field_limit`] bytes, a message [`HEAD`] bytes of fields and
//! [`Options::fields`] fields; what is longer fails the flow with an event. Bodies are bounded by
//! [`Content`](super::file::Content).

mod best_fit;
mod body;
mod codings;
mod exchange;
mod framing;
mod head;
mod line;
mod message;
mod multipart;
mod options;
mod range;
mod request;
mod response;
mod start;
mod target;
#[cfg(test)]
mod tests;
mod uri;

use weir_ids_rules::AppProtocol;

use super::file::Limits;
use super::{Anomaly, Context, Description, Fed, Input, List, Parser, Settings, Transactions};
use crate::event::Tuple;
use crate::inspect::Direction;

pub use body::CODED;
use body::Keep;
pub use codings::UNDONE_ELSEWHERE;
use exchange::Exchange;
pub use options::{Options, Servers};

/// Bytes of the fields of one message.
const HEAD: usize = 512 << 10;
/// Events of a flow with which there are too many of them, which is told once.
const WARNINGS: u32 = 512;

/// HTTP/1.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Http1,
    tcp: true,
    udp: false,
    ports: &[],
    patterns: start::PATTERNS,
    probe: start::probe,
    on_ports_only: true,
    start: new,
    buffers: exchange::BUFFERS,
    hooks: exchange::HOOKS,
};

fn new(settings: &Settings, tuple: &Tuple) -> Box<dyn Parser> {
    let options = settings.http_servers.of(tuple.destination, &settings.http).clone();
    Box::new(Http1 { options, ..Http1::default() })
}

/// The parser of one flow.
#[derive(Debug, Default)]
pub struct Http1 {
    options: Options,
    list: List<Exchange>,
    asking: request::State,
    /// Number of the transaction whose request is read.
    asked: u64,
    answering: response::State,
    /// Number of the transaction whose response is read, or comes next.
    answered: u64,
    anomalies: Vec<Anomaly>,
    /// Events of its transactions so far.
    warnings: u32,
}

/// What a step of a state machine came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It used so many bytes; the next one follows.
    On(usize),
    /// It used so many bytes and needs more of them.
    Wait(usize),
    /// The flow cannot be read further.
    Fail,
    /// It used so many bytes; another protocol follows.
    Upgrade(usize, Option<AppProtocol>),
}

impl Parser for Http1 {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Http1
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        let mut at = 0;
        loop {
            let bytes = input.bytes.get(at..).unwrap_or_default();
            let step = match way {
                Direction::Original => self.ask(bytes, input.end, context),
                Direction::Reply => self.answer(bytes, input.end, context),
            };
            match step {
                Step::On(used) => at += used,
                Step::Wait(used) => return Fed::Used(at + used),
                Step::Fail => return Fed::Failed,
                Step::Upgrade(used, to) => return Fed::Upgrade { used: at + used, to },
            }
        }
    }

    fn gap(&mut self, way: Direction, bytes: u64, _context: &mut Context<'_>) -> bool {
        match way {
            Direction::Original => self.ask_gap(bytes),
            Direction::Reply => self.answer_gap(bytes),
        }
    }

    fn refuse_upgrade(&mut self) {
        self.note(self.answered.saturating_sub(1), "http.failed_protocol_change");
    }

    fn transactions(&self) -> &dyn Transactions {
        &self.list
    }

    fn transactions_mut(&mut self) -> &mut dyn Transactions {
        &mut self.list
    }

    fn take_anomalies(&mut self) -> Vec<Anomaly> {
        std::mem::take(&mut self.anomalies)
    }
}

impl Http1 {
    /// Notes an event of a transaction, or of the flow where the transaction is forgotten.
    fn note(&mut self, number: u64, name: &'static str) {
        match self.list.numbered_mut(number) {
            Some((mark, _)) => {
                self.warnings += u32::from(!mark.anomalies.contains(&Anomaly(name)));
                mark.note(Anomaly(name));
                if self.warnings == WARNINGS {
                    mark.note(Anomaly("http.too_many_warnings"));
                    self.warnings += 1;
                }
            }
            None if self.anomalies.len() < 16 => self.anomalies.push(Anomaly(name)),
            None => {}
        }
    }

    /// How the bodies of a direction are kept.
    fn keep(&self, way: Direction, settings: &Settings) -> Keep {
        let options = &self.options;
        let (limit, minimum, window) = match way {
            Direction::Original => {
                let limit = options.request_limit.unwrap_or(settings.request_body_limit);
                (limit, options.request_minimum, options.request_window)
            }
            Direction::Reply => {
                let limit = options.response_limit.unwrap_or(settings.response_body_limit);
                (limit, options.response_minimum, options.response_window)
            }
        };
        let limits = Limits { limit, minimum, window, at_once: options.inline };
        Keep { limits, hashed: settings.hashed() }
    }
}
