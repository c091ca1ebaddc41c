//! Telnet (RFC 854): which flows speak it, and its commands among what is typed.
//!
//! A session is one transaction without a line of its own; rules look at the streams. Commands are followed so far that
//! a broken negotiation is noticed; nothing is kept of what is typed.

use weir_ids_rules::{AppProtocol, Buffer};

use super::{Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Settings, Transaction, Transactions};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

/// "Interpret as command".
const IAC: u8 = 255;
/// The first of the commands with an option: WILL, WONT, DO, DONT follow each other.
const WILL: u8 = 251;
const DONT: u8 = 254;
/// A parameter begins, and ends.
const SB: u8 = 250;
const SE: u8 = 240;
/// Bytes of a parameter beyond which it is taken for broken.
const PARAMETER: usize = 4096;
/// Bytes among which the first line ends.
const LINE: usize = 1024;

/// What comes next in a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// What is typed.
    #[default]
    Data,
    /// A command, behind IAC.
    Command,
    /// The option of a command.
    Option,
    /// A parameter of so many bytes so far.
    Parameter(usize),
    /// A command within a parameter.
    InParameter(usize),
}

#[derive(Debug, Default)]
struct Telnet {
    list: List<Session>,
    states: [State; 2],
    started: bool,
}

#[derive(Debug, Default)]
struct Session {
    ended: [bool; 2],
}

fn start(_settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    Box::new(Telnet::default())
}

impl State {
    /// The state behind a byte; `None` where the byte makes no sense.
    fn after(self, byte: u8) -> Option<State> {
        Some(match self {
            State::Data if byte == IAC => State::Command,
            State::Data | State::Option => State::Data,
            State::Command => match byte {
                IAC => State::Data,
                WILL..=DONT => State::Option,
                SB => State::Parameter(0),
                SE..=249 => State::Data,
                0..SE => return None,
            },
            State::Parameter(length) | State::InParameter(length) if length >= PARAMETER => return None,
            State::Parameter(length) if byte == IAC => State::InParameter(length + 1),
            State::Parameter(length) => State::Parameter(length + 1),
            State::InParameter(_) if byte == SE => State::Data,
            State::InParameter(length) => State::Parameter(length + 1),
        })
    }
}

impl Parser for Telnet {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Telnet
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, _context: &mut Context<'_>) -> Fed {
        if !std::mem::replace(&mut self.started, true) {
            self.list.push(Session::default());
        }
        let state = &mut self.states[way as usize];
        let mut broken = false;
        for &byte in input.bytes {
            *state = state.after(byte).unwrap_or_else(|| {
                broken = true;
                State::Data
            });
        }
        if broken {
            self.list.anomaly(Anomaly("telnet.invalid_command"));
        }
        if let Some(session) = self.list.last_mut().filter(|_| input.end) {
            session.ended[way as usize] = true;
        }
        Fed::Used(input.bytes.len())
    }

    fn gap(&mut self, way: Direction, _bytes: u64, _context: &mut Context<'_>) -> bool {
        self.states[way as usize] = State::Data;
        true
    }

    fn transactions(&self) -> &dyn Transactions {
        &self.list
    }

    fn transactions_mut(&mut self) -> &mut dyn Transactions {
        &mut self.list
    }
}

impl Transaction for Session {
    fn progress(&self, way: Direction) -> u8 {
        u8::from(self.ended[way as usize])
    }

    fn complete(&self, _way: Direction) -> u8 {
        1
    }

    fn buffer<'t>(&'t self, _: Buffer, _: Direction, _: usize, _: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        None
    }

    fn log(&self, _json: &mut Json<'_>) {}

    fn is_logged(&self) -> bool {
        false
    }
}

/// A negotiation that begins with a command and its option.
fn probe(_way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    match bytes {
        [IAC, WILL..=DONT | SB, _, ..] => Probe::Yes,
        [] | [IAC] | [IAC, WILL..=DONT | SB] => Probe::More,
        [IAC, ..] => Probe::No,
        // Hosts that negotiate nothing say a line.
        _ if memchr::memchr(b'\n', bytes).is_some() => Probe::Yes,
        _ if bytes.len() < LINE => Probe::More,
        _ => Probe::No,
    }
}

/// Telnet.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Telnet,
    tcp: true,
    udp: false,
    ports: &[23],
    patterns: &[],
    probe,
    on_ports_only: true,
    start,
    buffers: &[],
    hooks: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(bytes: &[u8]) -> Option<State> {
        bytes.iter().try_fold(State::Data, |state, &byte| state.after(byte))
    }

    #[test]
    fn commands_and_parameters_are_followed() {
        assert_eq!(walk(b"\xff\xfd\x18login: "), Some(State::Data));
        assert_eq!(walk(b"\xff\xfa\x18\x00xterm\xff"), Some(State::InParameter(8)));
        assert_eq!(walk(b"\xff\xfa\x18\x00xterm\xff\xf0a\xff\xffb"), Some(State::Data));
        assert_eq!(walk(b"\xff\x01"), None);
        assert_eq!(walk(&[&b"\xff\xfa"[..], &[b'x'; PARAMETER + 1]].concat()), None);
    }

    #[test]
    fn a_negotiation_tells_the_protocol() {
        let tuple = crate::app::exercise::tuple(6);
        assert_eq!(probe(Direction::Reply, b"\xff\xfd\x18", &tuple), Probe::Yes);
        assert_eq!(probe(Direction::Reply, b"\xff", &tuple), Probe::More);
        assert_eq!(probe(Direction::Reply, b"\xff\x01\x01", &tuple), Probe::No);
        assert_eq!(probe(Direction::Reply, b"login: ", &tuple), Probe::More);
        assert_eq!(probe(Direction::Original, b"root\r\n", &tuple), Probe::Yes);
        assert_eq!(probe(Direction::Original, &[b'x'; LINE], &tuple), Probe::No);
    }
}
