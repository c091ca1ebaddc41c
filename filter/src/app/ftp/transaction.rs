//! A command with its replies, as rules and EVE see it.

use weir_ids_rules::{Buffer, Field};

use super::Announced;
use super::command::Command;
use crate::app::Transaction;
use crate::inspect::Direction;
use crate::json::Json;

/// A command with the replies to it.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// `None`: replies that no command asked for.
    pub(super) command: Option<Command>,
    /// What follows the command.
    pub(super) request: Vec<u8>,
    pub(super) request_cut: bool,
    pub(super) replies: Vec<Vec<u8>>,
    pub(super) reply_cut: bool,
    pub(super) announced: Option<Announced>,
    /// `PORT` names an address that is not the client's.
    pub(super) bounce: bool,
    /// The last reply was seen.
    pub(super) done: bool,
}

const ACTIVE: u64 = 0;
const PASSIVE: u64 = 1;
/// Progress: the last reply was seen.
pub(super) const COMPLETE: u8 = 2;

impl Transaction for Exchange {
    fn progress(&self, way: Direction) -> u8 {
        match way {
            _ if self.done => COMPLETE,
            Direction::Original if self.command.is_some_and(|command| command.name() == "PORT") => 1,
            Direction::Original | Direction::Reply => 0,
        }
    }

    fn complete(&self, _way: Direction) -> u8 {
        COMPLETE
    }

    fn buffer<'t>(&'t self, buffer: Buffer, _way: Direction, nth: usize, _work: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        match buffer {
            Buffer::FtpCommand if nth == 0 => self.command.map(|command| command.name().as_bytes()),
            Buffer::FtpCommandData if nth == 0 => Some(&self.request[..]).filter(|data| !data.is_empty()),
            Buffer::FtpReply => self.replies.get(nth).map(|line| split(line).1),
            Buffer::FtpCompletionCode => self.replies.iter().filter_map(|line| split(line).0).nth(nth),
            _ => None,
        }
    }

    fn number(&self, field: Field, way: Direction, nth: usize) -> Option<u64> {
        let announced = self.announced.filter(|_| nth == 0);
        match field {
            Field::FtpDynamicPort => announced.map(|announced| match announced {
                Announced::Active(port) | Announced::Passive(port) => u64::from(port),
            }),
            Field::FtpMode => announced.map(|announced| match announced {
                Announced::Active(_) => ACTIVE,
                Announced::Passive(_) => PASSIVE,
            }),
            Field::FtpReplyReceived if nth == 0 && way == Direction::Reply => {
                // Replies that no command asked for are not meant.
                self.command.map(|_| u64::from(self.done))
            }
            _ => None,
        }
    }

    fn special(&self, keyword: &str, _argument: &str, _way: Direction) -> Option<bool> {
        (keyword == "ftpbounce").then_some(self.bounce)
    }

    fn log(&self, json: &mut Json<'_>) {
        if let Some(command) = self.command {
            json.text("command", command.name());
            if !self.request.is_empty() {
                json.bytes("command_data", &self.request).flag("command_truncated", self.request_cut);
            }
        }
        if self.replies.iter().any(|line| split(line).0.is_some()) {
            json.array("completion_code", |json| {
                for code in self.replies.iter().filter_map(|line| split(line).0) {
                    json.item_bytes(code);
                }
            });
        }
        if !self.replies.is_empty() {
            json.array("reply", |json| {
                for line in &self.replies {
                    json.item_bytes(split(line).1);
                }
            });
        }
        match self.announced {
            Some(Announced::Active(port)) => {
                json.number("dynamic_port", port).text("mode", "active");
            }
            Some(Announced::Passive(port)) => {
                json.number("dynamic_port", port).text("mode", "passive");
            }
            None => {}
        }
        json.text("reply_received", if self.done { "yes" } else { "no" });
        json.flag("reply_truncated", self.reply_cut);
    }
}

/// Code and text of a line of reply.
fn split(line: &[u8]) -> (Option<&[u8]>, &[u8]) {
    match line {
        [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b' ' | b'-', text @ ..] => (line.get(..3), text),
        _ => (None, line),
    }
}
