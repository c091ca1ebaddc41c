//! POP3 (RFC 1939, 2449): commands with their responses, and the mails that are fetched.
//!
//! One transaction is a command with its response; the server's greeting is one of its own. The attachments of a mail
//! that is fetched are files. After `STLS` was granted, TLS follows.
//!
//! Limits: [`LINE`] bytes of a line, [`DATA`] lines of a response, [`ARGUMENTS`] arguments.

use weir_ids_rules::{AppProtocol, Buffer};

use super::Transactions;
use super::file::{Files, Hashed, Limits};
use super::lines::{Lines, Next};
use super::mime::{Choices, Message, keep};
use super::read::{line, starts_with_lower};
use super::{Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Provides, Settings, Transaction};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

/// Bytes of a line that are read.
const LINE: usize = 8 << 10;
/// Lines of a response that are kept.
const DATA: usize = 256;
/// Arguments kept of a command.
const ARGUMENTS: usize = 8;
/// Longest command and longest first line of a response, with their ends (RFC 2449, 4).
const COMMAND: usize = 255;
const RESPONSE: usize = 512;

/// Commands with the least and the most arguments they take.
const COMMANDS: &[(&str, usize, usize)] = &[
    ("USER", 1, 1),
    ("PASS", 1, 8),
    ("APOP", 2, 2),
    ("QUIT", 0, 0),
    ("STAT", 0, 0),
    ("LIST", 0, 1),
    ("RETR", 1, 1),
    ("DELE", 1, 1),
    ("NOOP", 0, 0),
    ("RSET", 0, 0),
    ("TOP", 2, 2),
    ("UIDL", 0, 1),
    ("CAPA", 0, 0),
    ("STLS", 0, 0),
    ("AUTH", 0, 2),
    ("SASL", 0, 2),
    ("UTF8", 0, 0),
    ("LANG", 0, 1),
];

/// How it is found and what its transactions have.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Pop3,
    tcp: true,
    udp: false,
    ports: &[110],
    patterns: &[],
    probe,
    on_ports_only: true,
    start,
    buffers: &[
        Provides::new(Buffer::FileData, Direction::Reply, 0),
        Provides::new(Buffer::FileName, Direction::Reply, 0),
    ],
    hooks: &[],
};

fn probe(way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    let known = |start: &[u8]| starts_with_lower(bytes, start);
    let found = match way {
        Direction::Original => COMMANDS
            .iter()
            .any(|(name, ..)| known(name.as_bytes()) && matches!(bytes.get(name.len()), Some(b' ' | b'\r' | b'\n'))),
        Direction::Reply => known(b"+ok") || known(b"-err"),
    };
    match found {
        true => Probe::Yes,
        false if bytes.len() < 5 => Probe::More,
        false => Probe::No,
    }
}

fn start(settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    let choices = Choices { loose: settings.scan_files, ..Choices::default() };
    Box::new(Pop3 { choices, ..Pop3::default() })
}

#[derive(Debug, Default)]
struct Pop3 {
    list: List<Exchange>,
    lines: [Lines; 2],
    /// Within a response of many lines; of a mail where there is a message.
    many: bool,
    /// A piece of a long line of a mail was read, and its end was not.
    continues: bool,
    choices: Choices,
}

#[derive(Debug, Default)]
struct Exchange {
    command: Option<(Vec<u8>, Vec<Vec<u8>>)>,
    response: Option<(bool, Vec<u8>)>,
    data: Vec<Vec<u8>>,
    message: Option<Box<Message>>,
    files: Files,
    done: bool,
}

impl Exchange {
    fn is(&self, name: &str) -> bool {
        self.command.as_ref().is_some_and(|(command, _)| command.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// Whether a good response has many lines.
    fn has_many(&self) -> bool {
        let alone = self.command.as_ref().is_some_and(|(_, arguments)| arguments.is_empty());
        self.is("RETR") || self.is("TOP") || self.is("CAPA") || (alone && (self.is("LIST") || self.is("UIDL")))
    }

    /// A line of the mail that is fetched, or a piece of a long one.
    fn mail_line(&mut self, text: &[u8], full: &[u8], choices: &Choices, hashed: Hashed) {
        let Some(message) = &mut self.message else { return };
        let files = &mut self.files;
        message.line(text, full, choices, &mut |piece| keep(files, piece, Limits::default(), hashed));
    }

    fn finish(&mut self, choices: &Choices) {
        self.done = true;
        let Some(message) = &mut self.message else { return };
        let files = &mut self.files;
        message.end(choices, &mut |piece| keep(files, piece, Limits::default(), Hashed::NO));
    }
}

impl Parser for Pop3 {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Pop3
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        let mut used = 0;
        while let Some(rest) = input.bytes.get(used..).filter(|rest| !rest.is_empty()) {
            if way == Direction::Reply
                && let Some(length) = self.piece(rest, context.settings)
            {
                used += length;
                continue;
            }
            let [asks, answers] = &mut self.lines;
            let lines = if way == Direction::Original { asks } else { answers };
            let text = match lines.next(rest, LINE) {
                Next::Line { text, used: length, .. } => {
                    used += length;
                    text
                }
                Next::Rest(length) => {
                    used += length;
                    continue;
                }
                Next::Open => break,
            };
            match way {
                Direction::Original => {
                    if !self.request(text, context.settings) {
                        return Fed::Failed;
                    }
                }
                Direction::Reply => match self.response(text, context.settings) {
                    Some(true) => return Fed::Upgrade { used, to: Some(AppProtocol::Tls) },
                    Some(false) => {}
                    None => return Fed::Failed,
                },
            }
        }
        if input.end && way == Direction::Reply && self.many {
            let choices = &self.choices;
            if let Some(exchange) = self.list.iter_mut().find(|exchange| !exchange.done) {
                exchange.finish(choices);
            }
        }
        Fed::Used(used)
    }

    fn transactions(&self) -> &dyn Transactions {
        &self.list
    }

    fn transactions_mut(&mut self) -> &mut dyn Transactions {
        &mut self.list
    }
}

impl Pop3 {
    fn begin(&mut self, exchange: Exchange, settings: &Settings) -> bool {
        if self.list.count() >= settings.transactions_of(AppProtocol::Pop3) {
            self.list.anomaly(Anomaly("pop3.too_many_transactions"));
            return false;
        }
        self.list.push(exchange);
        true
    }

    fn request(&mut self, text: &[u8], settings: &Settings) -> bool {
        let mut words = text.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
        let Some(name) = words.next() else { return true };
        let arguments: Vec<Vec<u8>> = words.take(ARGUMENTS).map(<[u8]>::to_vec).collect();
        let count = arguments.len();
        let known = COMMANDS.iter().find(|(known, ..)| name.eq_ignore_ascii_case(known.as_bytes()));
        let command = Some((name.to_ascii_uppercase(), arguments));
        if !self.begin(Exchange { command, ..Exchange::default() }, settings) {
            return false;
        }
        match known {
            None => {
                self.list.anomaly(Anomaly("pop3.unknown_command"));
            }
            Some((_, least, most)) if count < *least || count > *most => {
                self.list.anomaly(Anomaly("pop3.incorrect_argument_count"));
            }
            Some(_) => {}
        }
        if text.len() + 2 > COMMAND {
            self.list.anomaly(Anomaly("pop3.request_too_long"));
        }
        true
    }

    /// A piece of a line of a mail that is too long to wait for its end, or the rest of it: how long it is.
    fn piece(&mut self, rest: &[u8], settings: &Settings) -> Option<usize> {
        let exchange = self.list.iter_mut().find(|exchange| !exchange.done && exchange.message.is_some())?;
        let found = line(rest.get(..rest.len().min(LINE)).unwrap_or_default());
        if !self.many || (!self.continues && (found.is_some() || rest.len() < LINE)) {
            return None;
        }
        let (text, length) = match found {
            Some((text, length)) => (text, length),
            None => {
                let piece = rest.get(..rest.len().min(LINE)).unwrap_or_default();
                // The two bytes of the line's end stay together.
                let piece = piece.strip_suffix(b"\r").unwrap_or(piece);
                (piece, piece.len())
            }
        };
        if length == 0 {
            // A carriage return alone: what follows it tells whether the line ends.
            return None;
        }
        let full = rest.get(..length).unwrap_or_default();
        let text = if !self.continues && text.starts_with(b"..") { text.get(1..).unwrap_or_default() } else { text };
        self.continues = found.is_none();
        let [_, answers] = &mut self.lines;
        *answers = Lines::default();
        exchange.mail_line(text, if found.is_none() { text } else { full }, &self.choices, settings.hashed());
        Some(length)
    }

    /// A line of the server; whether TLS follows. `None`: too many transactions.
    fn response(&mut self, text: &[u8], settings: &Settings) -> Option<bool> {
        let choices = &self.choices;
        if self.many {
            let exchange = self.list.iter_mut().find(|exchange| !exchange.done)?;
            if text == b"." {
                self.many = false;
                exchange.finish(choices);
                return Some(false);
            }
            // A dot at the start of a line is doubled on the way (RFC 1939, 3).
            let text = if text.starts_with(b"..") { text.get(1..).unwrap_or_default() } else { text };
            if exchange.message.is_some() {
                let full = [text, b"\r\n"].concat();
                exchange.mail_line(text, &full, choices, settings.hashed());
            } else if exchange.data.len() < DATA {
                exchange.data.push(text.to_vec());
            }
            return Some(false);
        }
        if !self.list.iter_mut().any(|exchange| !exchange.done) && !self.begin(Exchange::default(), settings) {
            return None;
        }
        let (mark, exchange) = self.list.marked_mut().find(|(_, exchange)| !exchange.done)?;
        let good = starts_with_lower(text, b"+ok");
        let header = text.iter().position(|&byte| byte == b' ').and_then(|at| text.get(at + 1..)).unwrap_or_default();
        exchange.response = Some((good, header.to_vec()));
        if text.len() + 2 > RESPONSE {
            mark.note(Anomaly("pop3.response_too_long"));
        }
        if good && exchange.has_many() {
            self.many = true;
            // TOP with enough lines fetches the whole mail.
            if exchange.is("RETR") || exchange.is("TOP") {
                exchange.message = Some(Box::default());
            }
            return Some(false);
        }
        exchange.done = true;
        Some(good && exchange.is("STLS"))
    }
}

impl Transaction for Exchange {
    fn progress(&self, way: Direction) -> u8 {
        match way {
            Direction::Original => u8::from(self.command.is_some() || self.done),
            Direction::Reply => u8::from(self.done),
        }
    }

    fn complete(&self, _way: Direction) -> u8 {
        1
    }

    fn buffer<'t>(&'t self, _: Buffer, _way: Direction, _nth: usize, _work: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        None
    }

    fn files(&self, way: Direction) -> Option<&Files> {
        (way == Direction::Reply).then_some(&self.files)
    }

    fn files_mut(&mut self, way: Direction) -> Option<&mut Files> {
        (way == Direction::Reply).then_some(&mut self.files)
    }

    fn log(&self, json: &mut Json<'_>) {
        if let Some((command, arguments)) = &self.command {
            json.nested("request", |json| {
                json.bytes("command", command);
                json.array("args", |json| {
                    for argument in arguments {
                        json.item_bytes(argument);
                    }
                });
            });
        }
        if let Some((good, header)) = &self.response {
            json.nested("response", |json| {
                json.flag("success", *good).text("status", if *good { "OK" } else { "ERR" });
                json.bytes("header", header);
                json.array("data", |json| {
                    for line in &self.data {
                        json.item_bytes(line);
                    }
                });
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::exercise::{Script, all_cuts, run, storm};
    use Direction::{Original, Reply};

    const SCRIPT: Script<'static> = &[
        (Reply, b"+OK ready\r\n"),
        (Original, b"USER me\r\n"),
        (Reply, b"+OK go on\r\n"),
        (Original, b"LIST\r\n"),
        (Reply, b"+OK 1 mail\r\n1 120\r\n.\r\n"),
        (Original, b"retr 1\r\n"),
        (Reply, b"+OK\r\nSubject: x\r\nContent-Type: a/b; name=f\r\n\r\n..dot\r\nend\r\n.\r\n"),
        (Original, b"FOO\r\n"),
        (Reply, b"-ERR no\r\n"),
    ];

    #[test]
    fn commands_and_responses_are_transactions() {
        let shown = all_cuts(start, &Settings::default(), SCRIPT);
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines.len(), 5, "{shown}");
        assert!(lines[1].starts_with(r#"{"request":{"command":"USER","args":["me"]},"response":{"success":true,"status":"OK","header":"go on","data":[]}}"#), "{shown}");
        assert!(lines[2].contains(r#""data":["1 120"]"#), "{shown}");
        assert!(lines[3].contains(" f:9:CLOSED"), "{shown}");
        assert!(lines[4].contains("pop3.unknown_command"), "{shown}");
        storm(start, &Settings::default(), SCRIPT, 2000);
    }

    #[test]
    fn tls_follows_a_granted_request() {
        let talk = run(start, &Settings::default(), &[(Original, b"STLS\r\n"), (Reply, b"+OK\r\n")], 0);
        assert_eq!(talk.over, Some(Fed::Upgrade { used: 5, to: Some(AppProtocol::Tls) }));
    }

    #[test]
    fn wrong_commands_are_told() {
        let long = [b"PASS ", &[b'x'; 300][..], b"\r\n"].concat();
        let shown = run(start, &Settings::default(), &[(Original, &long), (Original, b"RETR\r\n")], 0).shown();
        assert!(shown.contains("pop3.request_too_long") && shown.contains("pop3.incorrect_argument_count"), "{shown}");
    }

    #[test]
    fn probes_know_words() {
        let tuple = crate::app::exercise::tuple(6);
        assert_eq!(probe(Reply, b"+OK ready\r\n", &tuple), Probe::Yes);
        assert_eq!(probe(Original, b"USER me\r\n", &tuple), Probe::Yes);
        assert_eq!(probe(Original, b"GET / HTTP/1.1\r\n", &tuple), Probe::No);
    }
}
