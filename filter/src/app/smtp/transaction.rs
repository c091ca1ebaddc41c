//! One mail with its envelope, as rules and EVE see it.

use weir_ids_rules::Buffer;

use crate::app::Transaction;
use crate::app::file::{Files, Hashed};
use crate::app::mime::{Message, log};
use crate::inspect::Direction;
use crate::json::Json;

/// Recipients kept.
const RECIPIENTS: usize = 128;

/// Progress: the client has said its name.
pub(super) const GREETED: u8 = 1;
/// Progress: the message begins, the envelope is complete.
pub(super) const ENVELOPE: u8 = 2;
/// Progress: the headers of the message are complete.
pub(super) const HEADERS: u8 = 3;
/// Progress: nothing more comes.
pub(super) const COMPLETE: u8 = 4;

/// One mail.
#[derive(Debug, Default)]
pub(super) struct Mail {
    pub(super) helo: Option<Box<[u8]>>,
    pub(super) from: Option<Box<[u8]>>,
    pub(super) recipients: Vec<Box<[u8]>>,
    pub(super) message: Option<Box<Message>>,
    pub(super) files: Files,
    pub(super) hashed: Option<Hashed>,
    /// The mail as it is, is one file.
    pub(super) raw: bool,
    pub(super) done: bool,
}

impl Mail {
    pub(super) fn add_recipient(&mut self, address: &[u8]) {
        if self.recipients.len() < RECIPIENTS {
            self.recipients.push(address.into());
        }
    }

    fn header(&self, name: &[u8], nth: usize) -> Option<&[u8]> {
        self.message.as_ref()?.value(name, nth)
    }
}

impl Transaction for Mail {
    fn progress(&self, _way: Direction) -> u8 {
        match &self.message {
            _ if self.done => COMPLETE,
            Some(message) if message.has_headers() => HEADERS,
            Some(_) => ENVELOPE,
            None if self.raw => ENVELOPE,
            None => u8::from(self.helo.is_some()) * GREETED,
        }
    }

    fn complete(&self, _way: Direction) -> u8 {
        COMPLETE
    }

    fn buffer<'t>(&'t self, buffer: Buffer, _way: Direction, nth: usize, work: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        let once = |value: &'t Option<Box<[u8]>>| value.as_deref().filter(|_| nth == 0);
        let header = |name: &[u8]| self.header(name, 0).filter(|_| nth == 0);
        match buffer {
            Buffer::SmtpHelo => once(&self.helo),
            Buffer::SmtpMailFrom => once(&self.from),
            Buffer::SmtpRcptTo => self.recipients.get(nth).map(|address| &address[..]),
            Buffer::EmailFrom => header(b"from"),
            Buffer::EmailSubject => header(b"subject"),
            Buffer::EmailTo => header(b"to"),
            Buffer::EmailCc => header(b"cc"),
            Buffer::EmailDate => header(b"date"),
            Buffer::EmailMessageId => header(b"message-id"),
            Buffer::EmailXMailer => header(b"x-mailer"),
            Buffer::EmailReceived => self.header(b"received", nth),
            Buffer::EmailUrl => self.message.as_ref()?.urls().get(nth).map(|url| &url[..]),
            Buffer::EmailBodyMd5 if nth == 0 => {
                let hash = self.message.as_ref()?.body_md5()?;
                for byte in hash {
                    work.extend_from_slice(format!("{byte:02x}").as_bytes());
                }
                Some(work)
            }
            _ => None,
        }
    }

    fn files(&self, way: Direction) -> Option<&Files> {
        (way == Direction::Original).then_some(&self.files)
    }

    fn files_mut(&mut self, way: Direction) -> Option<&mut Files> {
        (way == Direction::Original).then_some(&mut self.files)
    }

    fn log(&self, json: &mut Json<'_>) {
        if let Some(helo) = &self.helo {
            json.bytes("helo", helo);
        }
        if let Some(from) = &self.from {
            json.bytes("mail_from", from);
        }
        if !self.recipients.is_empty() {
            json.array("rcpt_to", |json| {
                for address in &self.recipients {
                    json.item_bytes(address);
                }
            });
        }
    }

    fn log_beside(&self, json: &mut Json<'_>) {
        if let Some(message) = &self.message {
            json.nested("email", |json| log::write(message, json));
        }
    }
}
