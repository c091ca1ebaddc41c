//! SMTP (RFC 5321): commands and replies, and the mails between them (RFC 5322, MIME).
//!
//! One transaction is one mail with its envelope. After `STARTTLS` was accepted, TLS follows.
//!
//! Limits: a command or a reply is read up to [`LINE`] bytes, the rest of its line is skipped and told; at most
//! [`COMMANDS`] commands wait for their reply; a line of a mail longer than [`LINE`] is taken in pieces.

mod command;
#[cfg(test)]
mod tests;
mod transaction;

use std::collections::VecDeque;

use weir_ids_rules::{AppProtocol, Buffer};

use super::file::Limits;
use super::mime::{Choices, Warning};
use super::read::{decimal, line, starts_with_lower};
use super::{Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Provides, Settings, Transactions};
use crate::event::Tuple;
use crate::inspect::Direction;
use command::Command;
use transaction::{COMPLETE, ENVELOPE, GREETED, HEADERS, Mail};

/// Bytes of a line that are read.
const LINE: usize = 4096;
/// Commands without reply.
const COMMANDS: usize = 4096;

/// How SMTP is found and what its transactions have.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Smtp,
    tcp: true,
    udp: false,
    ports: &[25, 465, 587],
    patterns: &[
        (Direction::Original, 0, b"EHLO"),
        (Direction::Original, 0, b"HELO"),
        (Direction::Original, 0, b"ehlo"),
        (Direction::Original, 0, b"helo"),
        (Direction::Original, 0, b"QUIT"),
    ],
    probe,
    on_ports_only: true,
    start,
    buffers: &[
        Provides::new(Buffer::SmtpHelo, Direction::Original, GREETED),
        Provides::new(Buffer::SmtpMailFrom, Direction::Original, ENVELOPE),
        Provides::new(Buffer::SmtpRcptTo, Direction::Original, ENVELOPE),
        Provides::new(Buffer::EmailFrom, Direction::Original, HEADERS),
        Provides::new(Buffer::EmailSubject, Direction::Original, HEADERS),
        Provides::new(Buffer::EmailTo, Direction::Original, HEADERS),
        Provides::new(Buffer::EmailCc, Direction::Original, HEADERS),
        Provides::new(Buffer::EmailDate, Direction::Original, HEADERS),
        Provides::new(Buffer::EmailMessageId, Direction::Original, HEADERS),
        Provides::new(Buffer::EmailXMailer, Direction::Original, HEADERS),
        Provides::new(Buffer::EmailReceived, Direction::Original, HEADERS),
        Provides::new(Buffer::EmailUrl, Direction::Original, COMPLETE),
        Provides::new(Buffer::EmailBodyMd5, Direction::Original, COMPLETE),
        Provides::new(Buffer::FileData, Direction::Original, ENVELOPE),
        Provides::new(Buffer::FileName, Direction::Original, ENVELOPE),
    ],
    hooks: &[],
};

/// The server's greeting or the client's first command.
fn probe(way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    let starts: &[&[u8]] = match way {
        Direction::Original => &[b"ehlo", b"helo", b"quit\r\n", b"mail from:", b"starttls"],
        Direction::Reply => &[b"220 ", b"220-"],
    };
    let Some(greeting) = starts.iter().find(|start| starts_with_lower(bytes, start)) else {
        let possible = starts.iter().any(|start| bytes.len() < start.len() && starts_with_lower(start, bytes));
        return if possible { Probe::More } else { Probe::No };
    };
    if way == Direction::Original || greeting.is_empty() {
        return Probe::Yes;
    }
    // FTP greets with the same number.
    let text = bytes.get(..bytes.len().min(512)).unwrap_or_default().to_ascii_lowercase();
    let mail = [&b"smtp"[..], b"mail"].iter().any(|word| memchr::memmem::find(&text, word).is_some());
    if mail { Probe::Yes } else { Probe::No }
}

fn start(settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    let choice = |name: &str, default| choice(settings, name, default);
    let size = |name: &str, default| size(settings, name).unwrap_or(default);
    let defaults = Choices::default();
    let header_value = usize::try_from(size("mime.header-value-depth", 2000)).unwrap_or(usize::MAX);
    let choices = Choices {
        base64: choice("mime.decode-base64", true),
        quoted_printable: choice("mime.decode-quoted-printable", true),
        urls: choice("mime.extract-urls", true),
        keep_scheme: choice("mime.log-url-scheme", false),
        body_md5: choice("mime.body-md5", true),
        header_value: if header_value == 0 { 2000 } else { header_value },
        loose: settings.scan_files,
        ..defaults
    };
    let limits = Limits {
        limit: size("inspected-tracker.content-limit", 100_000),
        minimum: size("inspected-tracker.content-inspect-min-size", 32_768),
        window: size("inspected-tracker.content-inspect-window", 4096),
        ..Limits::default()
    };
    let mime = choice("mime.decode-mime", true);
    Box::new(Smtp { choices, limits, mime, raw: !mime && choice("raw-extraction", false), ..Smtp::default() })
}

fn setting<'s>(settings: &'s Settings, name: &str) -> Option<&'s str> {
    settings.named.get(&format!("app-layer.protocols.smtp.{name}")).map(String::as_str)
}

fn choice(settings: &Settings, name: &str, default: bool) -> bool {
    match setting(settings, name) {
        Some("yes" | "true" | "on" | "1") => true,
        Some("no" | "false" | "off" | "0") => false,
        Some(_) | None => default,
    }
}

/// A number of bytes.
fn size(settings: &Settings, name: &str) -> Option<u64> {
    super::read::size(setting(settings, name)?)
}

/// What the client's bytes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// Commands.
    #[default]
    Commands,
    /// A mail, up to a line with a dot.
    Data,
    /// So many bytes of a chunk of a mail (RFC 3030).
    Chunk(u64),
}

#[derive(Debug, Default)]
struct Smtp {
    list: List<Mail>,
    helo: Option<Box<[u8]>>,
    mode: Mode,
    /// Commands that wait for a reply.
    waiting: VecDeque<Command>,
    /// Within a reply of many lines.
    multi: bool,
    greeted: bool,
    pipelining: bool,
    /// The line that is being read, by direction.
    lines: [Side; 2],
    /// The start of a line of a mail that a chunk or a packet cuts.
    cut: Vec<u8>,
    mime: bool,
    raw: bool,
    choices: Choices,
    limits: Limits,
}

#[derive(Clone, Copy, Debug, Default)]
struct Side {
    /// Bytes already searched for the end of the line.
    searched: usize,
    /// The rest of a line too long is skipped.
    skipping: bool,
}

/// What the next bytes are.
enum Line<'b> {
    /// A line without its end, and with it.
    Read(&'b [u8], &'b [u8]),
    /// So many bytes of a line too long.
    Skip(usize),
    /// A line whose end is missing.
    Open,
}

/// What to do after a line.
enum Then {
    Go,
    Fail,
    Tls,
}

impl Parser for Smtp {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Smtp
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        let mut used = 0;
        while let Some(rest) = input.bytes.get(used..).filter(|rest| !rest.is_empty()) {
            if let (Direction::Original, Mode::Chunk(left)) = (way, self.mode) {
                used += self.chunk(rest, left);
                continue;
            }
            let (text, full) = match self.next_line(way, rest, input.end) {
                Line::Read(text, full) => (text, full),
                Line::Skip(length) => {
                    used += length;
                    continue;
                }
                Line::Open => break,
            };
            used += full.len();
            let then = match way {
                Direction::Original => self.request(text, full, context.settings),
                Direction::Reply => self.reply(text),
            };
            match then {
                Then::Go => {}
                Then::Fail => return Fed::Failed,
                Then::Tls => return Fed::Upgrade { used, to: Some(AppProtocol::Tls) },
            }
        }
        if input.end && way == Direction::Original {
            self.finish_mail();
        }
        Fed::Used(used)
    }

    fn gap(&mut self, way: Direction, bytes: u64, _context: &mut Context<'_>) -> bool {
        // Within a mail a hole harms one file only; a command or a reply that is lost cannot be made up for.
        match (way, self.mode) {
            (Direction::Original, Mode::Data) => {}
            (Direction::Original, Mode::Chunk(left)) => match left.checked_sub(bytes) {
                Some(left) => self.mode = Mode::Chunk(left),
                None => return false,
            },
            (Direction::Original, Mode::Commands) | (Direction::Reply, _) => return false,
        }
        if let Some(file) = self.list.last_mut().and_then(|mail| mail.files.current()) {
            file.gap(bytes);
        }
        true
    }

    fn transactions(&self) -> &dyn Transactions {
        &self.list
    }

    fn transactions_mut(&mut self) -> &mut dyn Transactions {
        &mut self.list
    }
}

impl Smtp {
    fn next_line<'b>(&mut self, way: Direction, rest: &'b [u8], end: bool) -> Line<'b> {
        let in_body = way == Direction::Original && self.in_body();
        let [asks, answers] = &mut self.lines;
        let Side { searched, skipping } = if way == Direction::Original { asks } else { answers };
        let from = std::mem::take(searched).min(rest.len());
        let Some((_, length)) = line(rest.get(from..).unwrap_or_default()) else {
            if in_body && (rest.len() >= LINE || end) {
                return Line::Read(rest, rest);
            }
            if in_body || rest.len() < LINE {
                *searched = rest.len();
                return Line::Open;
            }
            *skipping = true;
            self.list.anomaly(Anomaly("smtp.truncated_line"));
            return Line::Skip(rest.len());
        };
        let full = rest.get(..from + length).unwrap_or_default();
        let text = line(full).map(|(text, _)| text).unwrap_or_default();
        if std::mem::take(skipping) {
            return Line::Skip(full.len());
        }
        if text.len() > LINE && !in_body {
            self.list.anomaly(Anomaly("smtp.truncated_line"));
            return Line::Read(text.get(..LINE).unwrap_or_default(), full);
        }
        Line::Read(text, full)
    }

    /// The client's bytes are the body of a mail, where lines may be of any length.
    fn in_body(&mut self) -> bool {
        let message = self.list.last_mut().and_then(|mail| mail.message.as_ref());
        self.mode == Mode::Data && message.is_none_or(|message| !message.in_headers())
    }
}
