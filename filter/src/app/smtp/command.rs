//! What the client says and what the server answers.

use super::*;
use crate::app::file::Hashed;
use crate::app::mime::{Piece, keep};

/// A command, as far as its reply matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    StartTls,
    Data,
    /// The mail itself, which has a reply of its own.
    Mail,
    Reset,
    Other,
}

impl Smtp {
    /// A line of the client.
    pub(super) fn request(&mut self, text: &[u8], full: &[u8], settings: &Settings) -> Then {
        let closing = starts_with_lower(text, b"rset") || starts_with_lower(text, b"quit");
        let fits = self.list.last_mut().is_some_and(|mail| !mail.done || (closing && self.mode == Mode::Commands));
        if !fits && !self.begin_mail(settings) {
            return Then::Fail;
        }
        if !self.greeted {
            self.list.anomaly(Anomaly("smtp.no_server_welcome_message"));
        }
        match self.mode {
            Mode::Commands => self.command(text, settings),
            Mode::Data if text == b"." => {
                self.mode = Mode::Commands;
                self.finish_mail();
                self.close_mail();
                self.wait_for(Command::Mail)
            }
            Mode::Data => {
                // A dot at the start of a line is doubled on the way (RFC 5321, 4.5.2).
                let stuffed = usize::from(text.starts_with(b".."));
                let (text, full) = (text.get(stuffed..).unwrap_or_default(), full.get(stuffed..).unwrap_or_default());
                self.mail_line(text, full);
                Then::Go
            }
            Mode::Chunk(_) => Then::Go,
        }
    }

    fn command(&mut self, text: &[u8], settings: &Settings) -> Then {
        let is = |start: &[u8]| starts_with_lower(text, start);
        let command = if is(b"starttls") {
            Command::StartTls
        } else if is(b"data") {
            if !self.begin_data(settings) {
                return Then::Fail;
            }
            if self.pipelining {
                self.mode = Mode::Data;
            }
            Command::Data
        } else if is(b"bdat") {
            let Some(length) = chunk_length(text.get(4..).unwrap_or_default()) else { return Then::Fail };
            self.begin_chunk(length, settings);
            Command::Other
        } else if is(b"helo") || is(b"ehlo") {
            if self.helo.is_some() {
                self.list.anomaly(Anomaly("smtp.duplicate_fields"));
            } else {
                let name: Box<[u8]> = parameter(text, 5).into();
                self.helo = Some(name.clone());
                if let Some(mail) = self.list.last_mut() {
                    mail.helo = Some(name);
                }
            }
            Command::Other
        } else if is(b"mail from") {
            let from = parameter(text, 10);
            if let Some(mail) = self.list.last_mut()
                && mail.from.is_none()
            {
                mail.from = Some(from.into());
            } else {
                self.list.anomaly(Anomaly("smtp.duplicate_fields"));
            }
            Command::Other
        } else if is(b"rcpt to") {
            if let Some(mail) = self.list.last_mut() {
                mail.add_recipient(parameter(text, 8));
            }
            Command::Other
        } else if is(b"rset") {
            Command::Reset
        } else {
            Command::Other
        };
        self.wait_for(command)
    }

    /// Notes a command for its reply.
    fn wait_for(&mut self, command: Command) -> Then {
        if let Some(Command::StartTls | Command::Data) = self.waiting.back() {
            let pipelined_data = self.pipelining && command == Command::Mail;
            if !pipelined_data {
                self.list.anomaly(Anomaly("smtp.invalid_pipelined_sequence"));
            }
        }
        if self.waiting.len() >= COMMANDS {
            return Then::Fail;
        }
        self.waiting.push_back(command);
        Then::Go
    }

    /// `DATA`: a message begins; a mail before it whose end was not seen is left behind.
    fn begin_data(&mut self, settings: &Settings) -> bool {
        let begun = self.list.last_mut().is_some_and(|mail| mail.message.is_some() || mail.raw);
        if begun {
            self.list.anomaly(Anomaly("smtp.unparsable_content"));
            if let Some(mail) = self.list.last_mut() {
                if let Some(file) = mail.files.current() {
                    file.truncate();
                }
                mail.done = true;
            }
            if !self.begin_mail(settings) {
                return false;
            }
        }
        let (limits, hashed) = (self.limits, settings.hashed());
        let Some(mail) = self.list.last_mut() else { return false };
        if self.raw {
            mail.raw = true;
            mail.files.open(b"rawmsg", limits, hashed);
        } else if self.mime {
            mail.message = Some(Box::default());
        }
        mail.hashed = Some(hashed);
        true
    }

    fn begin_chunk(&mut self, length: u64, settings: &Settings) {
        if length > 0 {
            self.mode = Mode::Chunk(length);
        }
        if let Some(mail) = self.list.last_mut()
            && mail.message.is_none()
            && self.mime
        {
            mail.hashed = Some(settings.hashed());
            mail.message = Some(Box::default());
        }
    }

    /// Bytes of a chunk; how many of them were its own.
    pub(super) fn chunk(&mut self, bytes: &[u8], left: u64) -> usize {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let (chunk, behind) = bytes.split_at(count);
        let left = left.saturating_sub(count as u64);
        self.mode = if left == 0 { Mode::Commands } else { Mode::Chunk(left) };
        let mut rest = chunk;
        while let Some((text, length)) = line(rest) {
            self.chunk_line(text, rest.get(..length).unwrap_or_default());
            rest = rest.get(length..).unwrap_or_default();
        }
        if !rest.is_empty() {
            self.chunk_line(rest, rest);
            // The chunk ends within a line that goes on: its length was wrong.
            if left == 0 && behind.contains(&b'\n') && !starts_with_command(behind) {
                self.list.anomaly(Anomaly("smtp.bdat_chunk_len_exceeded"));
            }
        }
        count
    }

    /// A line of a chunk. One that two chunks or packets cut is put together as far as [`LINE`].
    fn chunk_line(&mut self, text: &[u8], full: &[u8]) {
        if text.len() == full.len() && self.cut.len() + full.len() <= LINE {
            self.cut.extend_from_slice(full);
            return;
        }
        if self.cut.is_empty() {
            self.mail_line(text, full);
            return;
        }
        let mut joined = std::mem::take(&mut self.cut);
        joined.extend_from_slice(full);
        let text = line(&joined).map_or(&joined[..], |(text, _)| text);
        self.mail_line(text, &joined);
    }

    /// A line of a mail.
    fn mail_line(&mut self, text: &[u8], full: &[u8]) {
        let (choices, limits) = (&self.choices, self.limits);
        let Some((mark, mail)) = self.list.marked_mut().next_back() else { return };
        if mail.raw {
            if let Some(file) = mail.files.current() {
                file.append(full);
            }
            return;
        }
        let Mail { message: Some(message), files, hashed, .. } = mail else { return };
        message.line(text, full, choices, &mut |piece| match piece {
            Piece::Warn(warning) => mark.note(anomaly_of(warning)),
            piece => keep(files, piece, limits, hashed.unwrap_or(Hashed::NO)),
        });
    }

    /// The mail is complete.
    pub(super) fn finish_mail(&mut self) {
        if !self.cut.is_empty() {
            let cut = std::mem::take(&mut self.cut);
            self.mail_line(&cut, &cut);
        }
        let (choices, limits) = (&self.choices, self.limits);
        let Some((mark, mail)) = self.list.marked_mut().next_back() else { return };
        if mail.raw
            && let Some(file) = mail.files.current()
        {
            file.close();
        }
        let Mail { message: Some(message), files, hashed, .. } = mail else { return };
        message.end(choices, &mut |piece| match piece {
            Piece::Warn(warning) => mark.note(anomaly_of(warning)),
            piece => keep(files, piece, limits, hashed.unwrap_or(Hashed::NO)),
        });
    }

    /// Nothing more belongs to the mail.
    fn close_mail(&mut self) {
        if let Some(mail) = self.list.last_mut() {
            mail.done = true;
        }
    }

    /// Begins a transaction. `false` when there are too many.
    pub(super) fn begin_mail(&mut self, settings: &Settings) -> bool {
        if self.list.count() >= settings.transactions_of(AppProtocol::Smtp) {
            return false;
        }
        self.list.push(Mail { helo: self.helo.clone(), ..Mail::default() });
        true
    }

    /// A line of the server.
    pub(super) fn reply(&mut self, text: &[u8]) -> Then {
        if text.is_empty() {
            return Then::Go;
        }
        let Some(code) = text.first_chunk::<3>().filter(|code| is_reply_code(code)) else {
            self.list.anomaly(Anomaly("smtp.invalid_reply"));
            return Then::Fail;
        };
        self.multi = text.get(3) == Some(&b'-');
        let Some(&command) = self.waiting.front() else {
            if !self.greeted {
                self.greeted = !self.multi;
                if code != b"220" {
                    self.list.anomaly(Anomaly("smtp.invalid_reply"));
                }
            } else if code != b"421" {
                // A server may say by itself that it closes (RFC 5321, 3.8), nothing else.
                self.list.anomaly(Anomaly("smtp.unable_to_match_reply_with_request"));
            }
            return Then::Go;
        };
        let mut then = Then::Go;
        match command {
            Command::StartTls if code == b"220" => {
                self.close_mail();
                then = if self.multi { Then::Go } else { Then::Tls };
            }
            Command::StartTls => {
                self.list.anomaly(Anomaly("smtp.tls_rejected"));
            }
            Command::Data if code == b"354" => self.mode = Mode::Data,
            Command::Data => {
                self.list.anomaly(Anomaly("smtp.data_command_rejected"));
            }
            Command::Reset if code == b"250" && !self.multi => {
                self.finish_mail();
                self.close_mail();
            }
            Command::Reset | Command::Mail | Command::Other => {}
        }
        if !self.multi {
            self.waiting.pop_front();
            // The greeting may have been lost; a reply to a command stands for it.
            self.greeted = true;
        } else if code == b"250" && text.get(4..).is_some_and(|word| word.eq_ignore_ascii_case(b"pipelining")) {
            self.pipelining = true;
        }
        then
    }
}

/// The word behind a command: from `skip` on, without blanks before it, up to the next blank (RFC 1870 puts options
/// behind it).
fn parameter(text: &[u8], skip: usize) -> &[u8] {
    let text = text.get(skip..).unwrap_or_default();
    let start = text.iter().take_while(|&&byte| byte == b' ').count();
    text.get(start..).unwrap_or_default().split(|&byte| byte == b' ').next().unwrap_or_default()
}

/// The length behind `BDAT`.
fn chunk_length(text: &[u8]) -> Option<u64> {
    let digits = text.trim_ascii_start();
    if digits.len() == text.len() {
        return None;
    }
    decimal(digits).map(|(length, _)| length)
}

fn starts_with_command(text: &[u8]) -> bool {
    let words: [&[u8]; 9] = [b"bdat", b"rset", b"quit", b"noop", b"mail", b"data", b"ehlo", b"helo", b"vrfy"];
    words.iter().any(|word| starts_with_lower(text, word))
}

/// Replies begin with 2 to 5 (RFC 5321, 4.2.1).
fn is_reply_code(code: &[u8; 3]) -> bool {
    matches!(code, [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9'])
}

fn anomaly_of(warning: Warning) -> Anomaly {
    Anomaly(match warning {
        Warning::InvalidBase64 => "smtp.mime_invalid_base64",
        Warning::InvalidQuotedPrintable => "smtp.mime_invalid_qp",
        Warning::LongLine => "smtp.mime_long_line",
        Warning::LongCodedLine => "smtp.mime_long_enc_line",
        Warning::LongHeaderName => "smtp.mime_long_header_name",
        Warning::LongHeaderValue => "smtp.mime_long_header_value",
        Warning::LongBoundary => "smtp.mime_long_boundary",
        Warning::LongFileName => "smtp.mime_long_filename",
        Warning::OpenParts => "smtp.mime_malformed_msg",
        Warning::UnusableBoundary => "smtp.mime_parse_failed",
    })
}
