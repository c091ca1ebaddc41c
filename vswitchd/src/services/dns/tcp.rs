//! Questions over TCP (RFC 1035, 4.2.2; RFC 7766): each message behind its length.

use super::super::tcp::{Manner, Split};

/// Bytes of a question.
const QUESTION_MAX: usize = 4096;

/// How names are asked for over TCP.
pub const MANNER: Manner =
    Manner { port: 53, connections: 24, connections_of_host: 4, question_max: QUESTION_MAX + 2, split };

fn split(read: &[u8]) -> Split {
    match read.first_chunk().map(|length| usize::from(u16::from_be_bytes(*length))) {
        Some(length) if length > QUESTION_MAX => Split::TooLong,
        Some(length) if read.len() >= length + 2 => Split::Whole { from: 2, to: length + 2 },
        Some(_) | None => Split::More,
    }
}

/// An answer behind its length; one that is too long is none.
pub fn framed(answer: &[u8]) -> Vec<u8> {
    match u16::try_from(answer.len()) {
        Ok(length) if length > 0 => [&length.to_be_bytes()[..], answer].concat(),
        Ok(_) | Err(_) => Vec::new(),
    }
}
