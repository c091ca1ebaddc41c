//! What HTTP/1 begins with.

use super::line;
use crate::app::Probe;
use crate::event::Tuple;
use crate::inspect::Direction;

const TO_SERVER: Direction = Direction::Original;
const TO_CLIENT: Direction = Direction::Reply;

/// Methods before a space or a tab, and the version a response begins with, with a few bytes of junk before it.
pub const PATTERNS: &[(Direction, u16, &[u8])] = &[
    (TO_SERVER, 0, b"GET"),
    (TO_SERVER, 0, b"PUT"),
    (TO_SERVER, 0, b"POST"),
    (TO_SERVER, 0, b"HEAD"),
    (TO_SERVER, 0, b"TRACE"),
    (TO_SERVER, 0, b"OPTIONS"),
    (TO_SERVER, 0, b"CONNECT"),
    (TO_SERVER, 0, b"DELETE"),
    (TO_SERVER, 0, b"PATCH"),
    (TO_SERVER, 0, b"PROPFIND"),
    (TO_SERVER, 0, b"PROPPATCH"),
    (TO_SERVER, 0, b"MKCOL"),
    (TO_SERVER, 0, b"COPY"),
    (TO_SERVER, 0, b"MOVE"),
    (TO_SERVER, 0, b"LOCK"),
    (TO_SERVER, 0, b"UNLOCK"),
    (TO_SERVER, 0, b"CHECKOUT"),
    (TO_SERVER, 0, b"UNCHECKOUT"),
    (TO_SERVER, 0, b"CHECKIN"),
    (TO_SERVER, 0, b"UPDATE"),
    (TO_SERVER, 0, b"LABEL"),
    (TO_SERVER, 0, b"REPORT"),
    (TO_SERVER, 0, b"MKWORKSPACE"),
    (TO_SERVER, 0, b"MKACTIVITY"),
    (TO_SERVER, 0, b"MERGE"),
    (TO_SERVER, 0, b"INVALID"),
    (TO_SERVER, 0, b"VERSION-CONTROL"),
    (TO_SERVER, 0, b"BASELINE-CONTROL"),
    (TO_CLIENT, 4, b"HTTP/0.9"),
    (TO_CLIENT, 4, b"HTTP/1.0"),
    (TO_CLIENT, 4, b"HTTP/1.1"),
];

/// Confirms a pattern: a method must end with white space.
pub fn probe(way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    match way {
        Direction::Reply => Probe::Yes,
        Direction::Original => {
            let word = bytes.iter().take(20).take_while(|byte| !matches!(byte, b' ' | b'\t')).count();
            let (method, rest) = bytes.split_at_checked(word).unwrap_or((bytes, &[]));
            if rest.is_empty()
                && bytes.len() < 20
                && method.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'-')
            {
                return Probe::More;
            }
            if line::method(method) == line::Method::Unknown { Probe::No } else { Probe::Yes }
        }
    }
}
