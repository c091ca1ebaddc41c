//! IMAP (RFC 9051): commands with their responses, and the mails in them.
//!
//! One transaction is a tagged command up to its tagged response. Literals ("{12}" and so many bytes) that are mails are
//! read for attachments, which are files of their direction; of a part that is fetched alone nobody says how it is coded,
//! so that the virus check is handed it in every coding that fits. After `STARTTLS` was granted, TLS follows.
//!
//! Limits: [`LINE`] bytes of a line; literals are passed through and not kept.

use weir_ids_rules::{AppProtocol, Buffer};

use super::file::{Files, Hashed, Limits};
use super::lines::{Lines, Next};
use super::mime::{Choices, Message, keep};
use super::read::{decimal, line, starts_with_lower};
use super::{Context, Description, Fed, Input, List, Parser, Probe, Provides, Settings, Transaction, Transactions};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

/// Bytes of a line that are read.
const LINE: usize = 8 << 10;
/// Bytes of a tag or a command's name.
const WORD: usize = 64;
/// Commands at most among which one is made up for a mail that nobody asked for.
const UNASKED: usize = 512;

/// How it is found and what its transactions have.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Imap,
    tcp: true,
    udp: false,
    ports: &[143],
    patterns: &[
        (Direction::Reply, 0, b"* OK "),
        (Direction::Reply, 0, b"* PREAUTH "),
        (Direction::Reply, 0, b"* BYE "),
    ],
    probe,
    on_ports_only: true,
    start,
    buffers: &[
        Provides::new(Buffer::FileData, Direction::Original, 0),
        Provides::new(Buffer::FileData, Direction::Reply, 0),
        Provides::new(Buffer::FileName, Direction::Original, 0),
        Provides::new(Buffer::FileName, Direction::Reply, 0),
    ],
    hooks: &[],
};

fn probe(way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    if way == Direction::Reply {
        let starts: [&[u8]; 4] = [b"* ok", b"* preauth ", b"* bye ", b"* capability "];
        return match starts.iter().any(|start| starts_with_lower(bytes, start)) {
            true => Probe::Yes,
            false if bytes.len() < 4 => Probe::More,
            false => Probe::No,
        };
    }
    const COMMANDS: &[&str] = &["CAPABILITY", "LOGIN", "AUTHENTICATE", "STARTTLS", "NOOP", "LOGOUT", "ID", "NAMESPACE"];
    let Some((text, _)) = line(bytes) else {
        return if bytes.len() < 512 { Probe::More } else { Probe::No };
    };
    let mut words = text.split(|&byte| byte == b' ');
    let tag = words.next().unwrap_or_default();
    let tagged =
        !tag.is_empty() && tag.len() <= 32 && tag.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'.');
    let command = words.next().unwrap_or_default();
    let known = COMMANDS.iter().any(|known| command.eq_ignore_ascii_case(known.as_bytes()));
    if tagged && known { Probe::Yes } else { Probe::No }
}

fn start(settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    let choices = Choices { loose: settings.scan_files, ..Choices::default() };
    Box::new(Imap { choices, ..Imap::default() })
}

/// One direction.
#[derive(Debug, Default)]
struct Side {
    lines: Lines,
    /// Bytes of a literal that are to come, and what it is.
    literal: u64,
    kind: Literal,
    /// The start of a line of a mail that a packet cuts.
    cut: Vec<u8>,
}

/// What a literal is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Literal {
    /// Something that carries no files.
    #[default]
    Other,
    /// A mail with its headers.
    Mail,
    /// A part of one, without the headers that say how it is coded.
    Part,
}

#[derive(Debug, Default)]
struct Imap {
    list: List<Exchange>,
    sides: [Side; 2],
    choices: Choices,
}

#[derive(Debug, Default)]
struct Exchange {
    tag: Vec<u8>,
    command: Vec<u8>,
    status: Vec<u8>,
    messages: [Option<Box<Message>>; 2],
    files: [Files; 2],
    done: bool,
}

impl Parser for Imap {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Imap
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        let mut used = 0;
        while let Some(rest) = input.bytes.get(used..).filter(|rest| !rest.is_empty()) {
            let [asks, answers] = &mut self.sides;
            let side = if way == Direction::Original { asks } else { answers };
            if side.literal > 0 {
                used += self.literal(way, rest, context.settings.hashed());
                continue;
            }
            let text = match side.lines.next(rest, LINE) {
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
            if let Some(length) = literal_length(text) {
                (side.literal, side.kind) = (length, kind_of(way, text));
            }
            let tls = match way {
                Direction::Original => {
                    self.request(text, context.settings);
                    false
                }
                Direction::Reply => self.response(text),
            };
            if tls {
                return Fed::Upgrade { used, to: Some(AppProtocol::Tls) };
            }
        }
        if input.end {
            self.end_mail(way);
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

/// The literal that a line announces at its end: "{12}" or "{12+}".
fn literal_length(text: &[u8]) -> Option<u64> {
    let open = memchr::memrchr(b'{', text)?;
    match decimal(text.get(open + 1..)?)? {
        (length, b"}" | b"+}") => Some(length),
        _ => None,
    }
}

/// What the literal is that a line announces. A response may have several, each behind the rest of the one before.
fn kind_of(way: Direction, text: &[u8]) -> Literal {
    let upper = text.to_ascii_uppercase();
    let item = memchr::memrchr(b'{', &upper).and_then(|open| upper.get(..open)).unwrap_or_default();
    let item = item.strip_suffix(b"~").unwrap_or(item).trim_ascii_end();
    if way == Direction::Original {
        let appends = memchr::memmem::find(&upper, b"APPEND").is_some();
        return if appends { Literal::Mail } else { Literal::Other };
    }
    // "BODY[1.2]<0>" without the place where it begins.
    let item = match item.strip_suffix(b">") {
        Some(inner) => memchr::memrchr(b'<', inner).and_then(|at| inner.get(..at)).unwrap_or(item),
        None => item,
    };
    if item.ends_with(b"RFC822.TEXT") {
        return Literal::Part;
    }
    if item.ends_with(b"RFC822") || item.ends_with(b"BODY[]") || item.ends_with(b"BINARY[]") {
        return Literal::Mail;
    }
    let section = item.strip_suffix(b"]").and_then(|item| Some(item.split_at(memchr::memrchr(b'[', item)?)));
    match section {
        Some((name, section)) if name.ends_with(b"BODY") || name.ends_with(b"BINARY") => {
            let is_header = section.ends_with(b".MIME")
                || section.ends_with(b"HEADER")
                || memchr::memmem::find(section, b"HEADER.FIELDS").is_some();
            if is_header { Literal::Other } else { Literal::Part }
        }
        _ => Literal::Other,
    }
}

impl Imap {
    fn request(&mut self, text: &[u8], settings: &Settings) {
        let mut words = text.split(|&byte| byte == b' ');
        let (Some(tag), Some(command)) = (words.next(), words.next()) else { return };
        if tag.is_empty() || tag.len() > WORD || command.len() > WORD {
            return;
        }
        if self.list.count() >= settings.transactions_of(AppProtocol::Imap)
            && let Some(oldest) = self.list.iter_mut().find(|exchange| !exchange.done)
        {
            oldest.done = true;
        }
        if self.list.count() < settings.transactions_of(AppProtocol::Imap).saturating_mul(2) {
            let (tag, command) = (tag.to_vec(), command.to_ascii_uppercase());
            self.list.push(Exchange { tag, command, ..Exchange::default() });
        }
    }

    /// A line of the server; whether TLS follows.
    fn response(&mut self, text: &[u8]) -> bool {
        let mut words = text.split(|&byte| byte == b' ');
        let (tag, status) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if tag == b"*" || tag == b"+" {
            return false;
        }
        let Some(exchange) = self.list.iter_mut().find(|exchange| !exchange.done && exchange.tag == tag) else {
            return false;
        };
        exchange.done = true;
        exchange.status = status.get(..WORD).unwrap_or(status).to_ascii_uppercase();
        exchange.command == b"STARTTLS" && exchange.status == b"OK"
    }

    /// Bytes of a literal: how many were its own.
    fn literal(&mut self, way: Direction, rest: &[u8], hashed: Hashed) -> usize {
        let [asks, answers] = &mut self.sides;
        let side = if way == Direction::Original { asks } else { answers };
        let count = usize::try_from(side.literal).unwrap_or(usize::MAX).min(rest.len());
        side.literal -= count as u64;
        let over = side.literal == 0;
        if side.kind != Literal::Other {
            let bytes = rest.get(..count).unwrap_or_default();
            let mut text = std::mem::take(&mut side.cut);
            text.extend_from_slice(bytes);
            let mut lines = &text[..];
            while let Some((content, length)) = line(lines) {
                self.mail_line(way, content, lines.get(..length).unwrap_or_default(), hashed);
                lines = lines.get(length..).unwrap_or_default();
            }
            if over || lines.len() > LINE {
                self.mail_line(way, lines, lines, hashed);
            } else {
                let kept = lines.to_vec();
                let [asks, answers] = &mut self.sides;
                (if way == Direction::Original { asks } else { answers }).cut = kept;
            }
            if over {
                self.end_mail(way);
            }
        }
        count
    }

    /// The command whose mail it is: the oldest that is open, for that is what a server answers.
    fn current(&mut self, way: Direction) -> Option<(&mut Option<Box<Message>>, &mut Files)> {
        if self.list.iter_mut().all(|exchange| exchange.done) && self.list.count() < UNASKED {
            // What a server sends unasked is shown by its client all the same.
            self.list.push(Exchange::default());
        }
        let exchange = self.list.iter_mut().find(|exchange| !exchange.done)?;
        let ([asked, answered], [sent, fetched]) = (&mut exchange.messages, &mut exchange.files);
        Some(if way == Direction::Original { (asked, sent) } else { (answered, fetched) })
    }

    fn mail_line(&mut self, way: Direction, text: &[u8], full: &[u8], hashed: Hashed) {
        let choices = self.choices.clone();
        let [asks, answers] = &self.sides;
        let kind = if way == Direction::Original { asks.kind } else { answers.kind };
        let begin = || match kind {
            Literal::Part => Box::new(Message::without_header()),
            Literal::Mail | Literal::Other => Box::default(),
        };
        let Some((message, files)) = self.current(way) else { return };
        message
            .get_or_insert_with(begin)
            .line(text, full, &choices, &mut |piece| keep(files, piece, Limits::default(), hashed));
    }

    fn end_mail(&mut self, way: Direction) {
        let choices = self.choices.clone();
        let Some((message, files)) = self.current(way) else { return };
        let Some(mut message) = message.take() else { return };
        message.end(&choices, &mut |piece| keep(files, piece, Limits::default(), Hashed::NO));
    }
}

impl Transaction for Exchange {
    fn progress(&self, _way: Direction) -> u8 {
        u8::from(self.done)
    }

    fn complete(&self, _way: Direction) -> u8 {
        1
    }

    fn buffer<'t>(&'t self, _: Buffer, _way: Direction, _nth: usize, _work: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        None
    }

    fn files(&self, way: Direction) -> Option<&Files> {
        let [sent, fetched] = &self.files;
        Some(if way == Direction::Original { sent } else { fetched })
    }

    fn files_mut(&mut self, way: Direction) -> Option<&mut Files> {
        let [sent, fetched] = &mut self.files;
        Some(if way == Direction::Original { sent } else { fetched })
    }

    fn log(&self, json: &mut Json<'_>) {
        json.bytes("tag", &self.tag).bytes("command", &self.command).bytes("status", &self.status);
    }

    fn is_logged(&self) -> bool {
        // The format has no event for this protocol.
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::exercise::{Script, all_cuts, run, storm};
    use Direction::{Original, Reply};

    const SCRIPT: Script<'static> = &[
        (Reply, b"* OK ready\r\n"),
        (Original, b"a1 LOGIN me {3}\r\n"),
        (Reply, b"+ go\r\n"),
        (Original, b"pwd\r\n"),
        (Reply, b"a1 OK in\r\n"),
        (Original, b"a2 FETCH 1 BODY[]\r\n"),
        (Reply, b"* 1 FETCH (BODY[] {37}\r\nContent-Type: a/b; name=f\r\n\r\nx\r\nyyyyy)\r\na2 OK done\r\n"),
    ];

    #[test]
    fn commands_are_transactions_and_mails_have_files() {
        let shown = all_cuts(start, &Settings::default(), SCRIPT);
        let lines: Vec<_> = shown.lines().collect();
        assert!(lines[0].contains(r#""tag":"a1","command":"LOGIN","status":"OK""#), "{shown}");
        assert!(shown.contains(" f:8:CLOSED"), "{shown}");
        storm(start, &Settings::default(), SCRIPT, 2000);
    }

    #[test]
    fn literals_are_told_apart() {
        for (text, kind) in [
            (&b"* 1 FETCH (BODY[] {37}"[..], Literal::Mail),
            (b"* 1 FETCH (UID 3 RFC822 {37}", Literal::Mail),
            (b"* 1 FETCH (BODY[]<0> {37}", Literal::Mail),
            (b" BODY[2] {37}", Literal::Part),
            (b"* 1 FETCH (body[1.2]<4096> {37}", Literal::Part),
            (b"* 1 FETCH (BINARY[2] ~{37}", Literal::Part),
            (b"* 1 FETCH (BODY[TEXT] {37}", Literal::Part),
            (b"* 1 FETCH (BODY[2.MIME] {37}", Literal::Other),
            (b"* 1 FETCH (BODY[HEADER.FIELDS (SUBJECT)] {37}", Literal::Other),
            (b"* LIST () \"/\" {3}", Literal::Other),
        ] {
            assert_eq!(kind_of(Reply, text), kind, "{}", String::from_utf8_lossy(text));
        }
        assert_eq!(kind_of(Original, b"a append in {37}"), Literal::Mail);
        assert_eq!(kind_of(Original, b"a login {3}"), Literal::Other);
    }

    #[test]
    fn tls_follows_a_granted_request() {
        let talk = run(start, &Settings::default(), &[(Original, b"1 STARTTLS\r\n"), (Reply, b"1 OK go\r\n")], 0);
        assert_eq!(talk.over, Some(Fed::Upgrade { used: 9, to: Some(AppProtocol::Tls) }));
    }

    #[test]
    fn probes_know_greetings_and_commands() {
        let tuple = crate::app::exercise::tuple(6);
        assert_eq!(probe(Reply, b"* OK ready\r\n", &tuple), Probe::Yes);
        assert_eq!(probe(Original, b"a1 CAPABILITY\r\n", &tuple), Probe::Yes);
        assert_eq!(probe(Original, b"GET / HTTP/1.1\r\n", &tuple), Probe::No);
    }
}
