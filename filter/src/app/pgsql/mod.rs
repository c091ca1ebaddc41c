//! PostgreSQL's protocol 3.
//!
//! A transaction is what the client says with all that the server answers until it is ready again. Rows are counted, not
//! kept: their messages are passed over as they come. Others are waited for up to [`MESSAGE`] bytes and passed over beyond.

use weir_ids_rules::{AppProtocol, Buffer};

use super::read::Reader;
use super::{
    Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Provides, Settings, Transaction, Transactions,
};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

mod log;
mod message;
#[cfg(test)]
mod tests;

use message::{Answer, Asked};

/// Bytes of a message that are waited for.
const MESSAGE: usize = 64 << 10;

/// Answers kept of a transaction; rows are one.
const ANSWERS: usize = 256;

/// Numbers of the messages without a type, in place of a version.
mod special {
    pub const CANCEL: u32 = 80_877_102;
    pub const TLS: u32 = 80_877_103;
    pub const GSS: u32 = 80_877_104;
}

/// A request and its answers.
#[derive(Debug)]
pub struct Exchange {
    number: u64,
    asked: Option<Asked>,
    answers: Vec<Answer>,
    done: bool,
}

#[derive(Debug)]
struct Pgsql {
    list: List<Exchange>,
    /// The start was seen: messages have types.
    typed: bool,
    /// The client asked for TLS; the server answers with one byte.
    asked_tls: bool,
    /// The server names SASL as the way to log in.
    sasl: u8,
    skip: [usize; 2],
}

fn start(_settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    Box::new(Pgsql { list: List::default(), typed: false, asked_tls: false, sasl: 0, skip: [0; 2] })
}

/// What came of a message.
enum Step {
    Done,
    Wait(usize),
    Failed,
    Tls,
}

impl Pgsql {
    fn ask(&mut self, asked: Asked, limit: usize) {
        if self.list.count() >= limit {
            self.list.iter_mut().for_each(|exchange| exchange.done = true);
            if self.list.count() >= limit * 2 {
                return;
            }
        }
        let done = matches!(asked, Asked::Terminate | Asked::Cancel { .. });
        let number = self.list.next_number();
        self.list.push(Exchange { number, asked: Some(asked), answers: Vec::new(), done });
    }

    fn request(&mut self, reader: &mut Reader<'_>, limit: usize) -> Step {
        let mut ahead = *reader;
        if !self.typed {
            let Some(length) = ahead.be32() else { return Step::Wait(4) };
            let length = length as usize;
            if !(8..=10_000).contains(&length) {
                return Step::Failed;
            }
            let Some(body) = ahead.take(length - 4) else { return Step::Wait(length) };
            let Some(asked) = self.untyped(body) else { return Step::Failed };
            self.ask(asked, limit);
            *reader = ahead;
            return Step::Done;
        }
        let (Some(kind), Some(length)) = (ahead.u8(), ahead.be32()) else { return Step::Wait(5) };
        let Some(length) = (length as usize).checked_sub(4) else { return Step::Failed };
        if length > MESSAGE {
            return self.pass_over(reader, ahead, (Direction::Original, length));
        }
        let Some(body) = ahead.take(length) else { return Step::Wait(length + 5) };
        *reader = ahead;
        if let Some(asked) = message::asked(kind, body, self.sasl) {
            self.sasl = match asked {
                Asked::SaslInitial { .. } => 2,
                Asked::Sasl(_) | Asked::Password => 0,
                _ => self.sasl,
            };
            self.ask(asked, limit);
        }
        Step::Done
    }

    /// The messages that come before the session starts.
    fn untyped(&mut self, body: &[u8]) -> Option<Asked> {
        let mut reader = Reader::new(body);
        let version = reader.be32()?;
        match version {
            special::TLS | special::GSS => {
                self.asked_tls = true;
                Some(Asked::Tls)
            }
            special::CANCEL => Some(Asked::Cancel { process: reader.be32()?, secret: reader.be32()? }),
            _ if version >> 16 == 3 => {
                self.typed = true;
                let parameters = message::parameters(reader.rest());
                Some(Asked::Startup { version, parameters })
            }
            _ => None,
        }
    }

    fn response(&mut self, reader: &mut Reader<'_>) -> Step {
        let mut ahead = *reader;
        let Some(kind) = ahead.u8() else { return Step::Done };
        if std::mem::take(&mut self.asked_tls) && matches!(kind, b'S' | b'N' | b'G') {
            *reader = ahead;
            let accepted = kind != b'N';
            self.answer(Answer::Tls { accepted }, true);
            return if accepted { Step::Tls } else { Step::Done };
        }
        let Some(length) = ahead.be32() else { return Step::Wait(5) };
        let Some(length) = (length as usize).checked_sub(4) else { return Step::Failed };
        if kind == b'D' {
            // Two bytes count the columns, each column has four bytes of length.
            let Some(columns) = ahead.be16() else { return Step::Wait(7) };
            let size = length.saturating_sub(2 + 4 * usize::from(columns)) as u64;
            self.row(size);
            let Some(rest) = length.checked_sub(2) else { return Step::Failed };
            return self.pass_over(reader, ahead, (Direction::Reply, rest));
        }
        if length > MESSAGE {
            return self.pass_over(reader, ahead, (Direction::Reply, length));
        }
        let Some(body) = ahead.take(length) else { return Step::Wait(length + 5) };
        *reader = ahead;
        let Some(answer) = message::answer(kind, body) else { return Step::Done };
        if let Answer::Authentication { kind, .. } = answer {
            self.sasl = u8::from(matches!(kind, 10));
            if kind == 11 {
                self.sasl = 2;
            }
        }
        let done = match answer {
            Answer::Ready => true,
            // Another message of the client's is wanted: it begins a transaction.
            Answer::Authentication { kind, .. } => !matches!(kind, 0 | 12),
            _ => false,
        };
        self.answer(answer, done);
        Step::Done
    }

    fn pass_over<'b>(
        &mut self,
        reader: &mut Reader<'b>,
        mut ahead: Reader<'b>,
        (way, length): (Direction, usize),
    ) -> Step {
        let passed = ahead.take_up_to(length).len();
        if let Some(skip) = self.skip.get_mut(way as usize) {
            *skip = length - passed;
        }
        *reader = ahead;
        Step::Done
    }

    /// The transaction that the server is at; what it says unasked begins one.
    fn current(&mut self) -> Option<&mut Exchange> {
        if self.list.iter_mut().all(|exchange| exchange.done) {
            let number = self.list.next_number();
            self.list.push(Exchange { number, asked: None, answers: Vec::new(), done: false });
        }
        self.list.iter_mut().find(|exchange| !exchange.done)
    }

    fn answer(&mut self, answer: Answer, done: bool) {
        if self.list.iter_mut().all(|exchange| exchange.done) {
            match answer {
                Answer::Ready => return,
                // What the server tells of its own accord belongs to what was asked last, if that is still alive.
                Answer::Notification { .. } | Answer::Parameter(..) | Answer::Notice(_) => {
                    if let Some(last) = self.list.last_mut().filter(|last| last.answers.len() < ANSWERS) {
                        last.answers.push(answer);
                    }
                    return;
                }
                _ => {}
            }
        }
        let Some(exchange) = self.current() else { return };
        if exchange.answers.len() < ANSWERS && !matches!(answer, Answer::Ready) {
            exchange.answers.push(answer);
        }
        exchange.done |= done;
    }

    fn row(&mut self, size: u64) {
        let Some(exchange) = self.current() else { return };
        if let Some(Answer::Rows { count, size: total }) = exchange.answers.last_mut() {
            *count += 1;
            *total = total.saturating_add(size);
        } else if exchange.answers.len() < ANSWERS {
            exchange.answers.push(Answer::Rows { count: 1, size });
        }
    }
}

impl Parser for Pgsql {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Pgsql
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        let mut reader = Reader::new(input.bytes);
        if let Some(skip) = self.skip.get_mut(way as usize) {
            *skip -= reader.take_up_to(*skip).len();
        }
        while !reader.is_empty() {
            let step = match way {
                Direction::Original => self.request(&mut reader, context.settings.transactions_of(AppProtocol::Pgsql)),
                Direction::Reply => self.response(&mut reader),
            };
            let used = input.bytes.len() - reader.len();
            match step {
                Step::Done => {}
                Step::Wait(need) => return Fed::Wait { used, need },
                Step::Tls => return Fed::Upgrade { used, to: Some(AppProtocol::Tls) },
                Step::Failed => {
                    self.list.anomaly(Anomaly(match way {
                        Direction::Original => "pgsql.malformed_request",
                        Direction::Reply => "pgsql.malformed_response",
                    }));
                    return Fed::Failed;
                }
            }
        }
        Fed::Used(input.bytes.len())
    }

    fn transactions(&self) -> &dyn Transactions {
        &self.list
    }

    fn transactions_mut(&mut self) -> &mut dyn Transactions {
        &mut self.list
    }
}

impl Transaction for Exchange {
    fn progress(&self, way: Direction) -> u8 {
        match way {
            Direction::Original => 1,
            Direction::Reply => u8::from(self.done),
        }
    }

    fn complete(&self, _way: Direction) -> u8 {
        1
    }

    fn buffer<'t>(&'t self, buffer: Buffer, way: Direction, nth: usize, _: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        match &self.asked {
            Some(Asked::Query(text)) if buffer == Buffer::PgsqlQuery && way == Direction::Original && nth == 0 => {
                Some(text)
            }
            _ => None,
        }
    }

    fn log(&self, json: &mut Json<'_>) {
        json.number("tx_id", self.number + 1);
        log::exchange(self.asked.as_ref(), &self.answers, json);
    }
}

fn probe(way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    let mut reader = Reader::new(bytes);
    if way == Direction::Original {
        let (Some(length), Some(version)) = (reader.be32(), reader.be32()) else { return Probe::More };
        let known = version >> 16 == 3 || (special::CANCEL..=special::GSS).contains(&version);
        return if known && (8..=10_000).contains(&length) { Probe::Yes } else { Probe::No };
    }
    match bytes {
        [b'S' | b'N'] => Probe::Yes,
        [kind, 0, ..] if b"RSKZTDCENA123GHWcIntV".contains(kind) => Probe::Yes,
        _ => Probe::No,
    }
}

/// PostgreSQL.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Pgsql,
    tcp: true,
    udp: false,
    ports: &[5432],
    patterns: &[],
    probe,
    on_ports_only: true,
    start,
    buffers: &[Provides::new(Buffer::PgsqlQuery, Direction::Original, 1)],
    hooks: &[],
};
