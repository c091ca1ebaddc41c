//! Commands by name, and the addresses in them and in replies.

use crate::app::read::{decimal, starts_with_lower};

/// The commands that make a transaction.
const NAMES: &[&str] = &[
    "PORT", "EPRT", "AUTH TLS", "PASV", "RETR", "EPSV", "STOR", "ABOR", "ACCT", "ALLO", "APPE", "CDUP", "CHMOD", "CWD",
    "DELE", "HELP", "IDLE", "LIST", "MAIL", "MDTM", "MKD", "MLFL", "MODE", "MRCP", "MRSQ", "MSAM", "MSND", "MSOM",
    "NLST", "NOOP", "PASS", "PWD", "QUIT", "REIN", "REST", "RMD", "RNFR", "RNTO", "SITE", "SIZE", "SMNT", "STAT",
    "STOU", "STRU", "SYST", "TYPE", "UMASK", "USER",
];

/// Numbers of a reply at which an address may begin.
const NUMBERS: usize = 16;

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command(&'static str);

impl Command {
    /// The command that a line begins with, in any case of letters.
    pub(super) fn at_start(text: &[u8]) -> Option<Command> {
        let begins = |name: &&&str| {
            starts_with_lower(text, name.as_bytes())
                && text.get(name.len()).is_none_or(|byte| !byte.is_ascii_alphanumeric())
        };
        NAMES.iter().find(begins).map(|name| Command(name))
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        self.0
    }
}

/// The port of `PORT 192,168,0,13,234,10` (without the command).
pub(super) fn port(text: &[u8]) -> Option<u16> {
    let [.., high, low] = six(text)?;
    Some(u16::from_be_bytes([high, low])).filter(|&port| port != 0)
}

/// The address of the same.
pub(super) fn address(text: &[u8]) -> Option<[u8; 4]> {
    let [a, b, c, d, ..] = six(text)?;
    Some([a, b, c, d])
}

fn six(text: &[u8]) -> Option<[u8; 6]> {
    let mut parts = [0u8; 6];
    let mut rest = text.trim_ascii();
    for (nth, part) in parts.iter_mut().enumerate() {
        if nth > 0 {
            rest = rest.strip_prefix(b",")?.trim_ascii_start();
        }
        let (number, behind) = decimal(rest)?;
        *part = u8::try_from(number).ok()?;
        rest = behind.trim_ascii_start();
    }
    Some(parts)
}

/// The port of `227 Entering Passive Mode (212,27,32,66,221,243).` Servers leave the brackets out, so the first six numbers
/// behind the code count (RFC 1123, 4.1.2.6).
pub(super) fn passive(text: &[u8]) -> Option<u16> {
    let text = text.get(3..)?;
    let starts = (0..text.len()).filter(|&at| {
        let before = at.checked_sub(1).and_then(|at| text.get(at));
        text.get(at).is_some_and(u8::is_ascii_digit) && !before.is_some_and(u8::is_ascii_digit)
    });
    starts.take(NUMBERS).find_map(|at| port(text.get(at..)?))
}

/// The port of `EPRT |2|2a01:e34::1|41813|` (without the command).
pub(super) fn extended_port(text: &[u8]) -> Option<u16> {
    let text = text.trim_ascii();
    let (&divider, _) = text.split_first()?;
    let number = text.split(|&byte| byte == divider).nth(3)?;
    port_number(number)
}

/// The port of `229 Entering Extended Passive Mode (|||48758|).`
pub(super) fn extended_passive(text: &[u8]) -> Option<u16> {
    let open = memchr::memchr(b'(', text)?;
    extended_port(text.get(open + 1..)?)
}

fn port_number(text: &[u8]) -> Option<u16> {
    let (number, _) = decimal(text.trim_ascii())?;
    u16::try_from(number).ok().filter(|&port| port != 0)
}
