//! RFB, the protocol of VNC (RFC 6143), up to the end of its opening. A connection is one transaction.

use weir_ids_rules::{AppProtocol, Buffer, Field};

use super::read::Reader;
use super::{
    Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Provides, Settings, Transaction, Transactions,
};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

/// Bytes of a name or a reason.
const TEXT: usize = 64 << 10;

/// What is expected next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    ServerVersion,
    ClientVersion,
    SecurityTypes,
    SecurityType,
    Choice,
    Challenge,
    Response,
    Result,
    Reason,
    ClientInit,
    ServerInit,
    Over,
}

/// What the server says of its screen.
#[derive(Debug)]
struct Screen {
    width: u16,
    height: u16,
    format: [u8; 16],
    name: Vec<u8>,
}

/// A connection.
#[derive(Debug, Default)]
pub struct Opening {
    stage: Stage,
    server_version: Option<[u8; 12]>,
    client_version: Option<[u8; 12]>,
    security: Option<u32>,
    challenge: Option<[u8; 16]>,
    response: Option<[u8; 16]>,
    result: Option<u32>,
    reason: Vec<u8>,
    shared: Option<bool>,
    screen: Option<Screen>,
    /// What was odd in the last step, and ended nothing.
    odd: Option<&'static str>,
    /// A side has spoken before it was asked.
    confused: bool,
}

#[derive(Debug, Default)]
struct Rfb {
    list: List<Opening>,
    started: bool,
}

fn start(_settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    Box::new(Rfb::default())
}

/// The minor number of a version "RFB 003.008\n".
fn minor(version: Option<[u8; 12]>) -> u32 {
    let version = version.unwrap_or_default();
    let digits = version.get(8..11).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

impl Opening {
    /// The direction that speaks next; `None` when nothing more is looked at.
    fn speaker(&self) -> Option<Direction> {
        Some(match self.stage {
            Stage::ClientVersion | Stage::Choice | Stage::Response | Stage::ClientInit => Direction::Original,
            Stage::ServerVersion
            | Stage::SecurityTypes
            | Stage::SecurityType
            | Stage::Challenge
            | Stage::Result
            | Stage::Reason
            | Stage::ServerInit => Direction::Reply,
            Stage::Over => return None,
        })
    }

    /// Takes one step. `None`: more bytes are needed; an error names what is odd.
    fn step(&mut self, reader: &mut Reader<'_>) -> Option<Result<(), &'static str>> {
        match self.stage {
            Stage::ServerVersion => {
                self.server_version = Some(reader.array()?);
                if !reader_is_version(self.server_version) {
                    return Some(Err("rfb.malformed_message"));
                }
                self.stage = Stage::ClientVersion;
            }
            Stage::ClientVersion => {
                self.client_version = Some(reader.array()?);
                if !reader_is_version(self.client_version) {
                    return Some(Err("rfb.malformed_message"));
                }
                // Up to 3.3 the server chooses the type of security itself.
                self.stage = if minor(self.client_version) < 7 { Stage::SecurityType } else { Stage::SecurityTypes };
            }
            Stage::SecurityTypes => {
                let count = reader.u8()?;
                reader.take(usize::from(count))?;
                self.stage = if count == 0 { Stage::Reason } else { Stage::Choice };
            }
            Stage::SecurityType => self.choose(reader.be32()?),
            Stage::Choice => self.choose(u32::from(reader.u8()?)),
            Stage::Challenge => {
                self.challenge = Some(reader.array()?);
                self.stage = Stage::Response;
            }
            Stage::Response => {
                self.response = Some(reader.array()?);
                self.stage = Stage::Result;
            }
            Stage::Result => {
                let result = reader.be32()?;
                self.result = Some(result);
                self.stage = self.behind_result(result);
            }
            Stage::Reason => {
                let length = reader.be32()? as usize;
                if length > TEXT {
                    return Some(Err("rfb.malformed_message"));
                }
                self.reason = reader.take(length)?.to_vec();
                self.stage = Stage::Over;
            }
            Stage::ClientInit => {
                self.shared = Some(reader.u8()? != 0);
                self.stage = Stage::ServerInit;
            }
            Stage::ServerInit => {
                let (width, height, format) = (reader.be16()?, reader.be16()?, reader.array()?);
                let length = reader.be32()? as usize;
                if length > TEXT {
                    return Some(Err("rfb.malformed_message"));
                }
                let name = reader.take(length)?.to_vec();
                self.screen = Some(Screen { width, height, format, name });
                self.stage = Stage::Over;
            }
            Stage::Over => {}
        }
        Some(Ok(()))
    }

    /// What follows a result; RFC 6143, 7.1.3 knows two.
    fn behind_result(&mut self, result: u32) -> Stage {
        if result > 1 {
            self.odd = Some("rfb.unknown_security_result");
        }
        match result {
            0 => Stage::ClientInit,
            _ if minor(self.client_version) >= 8 => Stage::Reason,
            _ => Stage::Over,
        }
    }

    fn choose(&mut self, security: u32) {
        self.security = Some(security);
        self.stage = match security {
            0 => Stage::Reason,
            1 if minor(self.client_version) >= 8 => Stage::Result,
            1 => Stage::ClientInit,
            2 => Stage::Challenge,
            // Others have an exchange of their own.
            _ => {
                self.odd = Some("rfb.unimplemented_security_type");
                Stage::Over
            }
        };
    }
}

fn reader_is_version(version: Option<[u8; 12]>) -> bool {
    version.is_some_and(|version| version.starts_with(b"RFB ") && version.ends_with(b"\n"))
}

impl Parser for Rfb {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Rfb
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, _context: &mut Context<'_>) -> Fed {
        if !std::mem::replace(&mut self.started, true) {
            self.list.push(Opening::default());
        }
        let mut reader = Reader::new(input.bytes);
        while !reader.is_empty() {
            let Some(opening) = self.list.last_mut() else { return Fed::Finished };
            let used = input.bytes.len() - reader.len();
            match opening.speaker() {
                None => return Fed::Finished,
                // It speaks before it is asked: its bytes wait.
                Some(speaker) if speaker != way => {
                    if !std::mem::replace(&mut opening.confused, true) {
                        self.list.anomaly(Anomaly("rfb.confused_state"));
                    }
                    return Fed::Wait { used, need: 0 };
                }
                Some(_) => {}
            }
            let mut ahead = reader;
            match opening.step(&mut ahead) {
                None => return Fed::Wait { used, need: reader.len() + 1 },
                Some(Err(name)) => {
                    opening.stage = Stage::Over;
                    self.list.anomaly(Anomaly(name));
                    return Fed::Failed;
                }
                Some(Ok(())) => reader = ahead,
            }
            if let Some(name) = self.list.last_mut().and_then(|opening| opening.odd.take()) {
                self.list.anomaly(Anomaly(name));
            }
        }
        Fed::Used(input.bytes.len())
    }

    fn transactions(&self) -> &dyn Transactions {
        &self.list
    }

    fn transactions_mut(&mut self) -> &mut dyn Transactions {
        &mut self.list
    }
}

impl Transaction for Opening {
    fn progress(&self, _way: Direction) -> u8 {
        u8::from(self.stage == Stage::Over)
    }

    fn complete(&self, _way: Direction) -> u8 {
        1
    }

    fn buffer<'t>(&'t self, buffer: Buffer, way: Direction, nth: usize, _: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        let right = buffer == Buffer::RfbName && way == Direction::Reply && nth == 0;
        self.screen.as_ref().filter(|_| right).map(|screen| screen.name.as_slice())
    }

    fn number(&self, field: Field, way: Direction, nth: usize) -> Option<u64> {
        match (field, way) {
            (Field::RfbSecType, Direction::Original) => self.security.filter(|_| nth == 0).map(u64::from),
            (Field::RfbSecResult, Direction::Reply) => self.result.filter(|_| nth == 0).map(u64::from),
            _ => None,
        }
    }

    fn log(&self, json: &mut Json<'_>) {
        let versions =
            [("server_protocol_version", self.server_version), ("client_protocol_version", self.client_version)];
        for (name, version) in versions {
            if let Some(version) = version {
                json.nested(name, |json| {
                    json.bytes("major", version.get(4..7).unwrap_or_default());
                    json.bytes("minor", version.get(8..11).unwrap_or_default());
                });
            }
        }
        json.nested("authentication", |json| self.log_authentication(json));
        if !self.reason.is_empty() {
            json.bytes("server_security_failure_reason", &self.reason);
        }
        if let Some(shared) = self.shared {
            json.flag("screen_shared", shared);
        }
        if let Some(screen) = &self.screen {
            json.nested("framebuffer", |json| screen.log(json));
        }
    }
}

impl Opening {
    fn log_authentication(&self, json: &mut Json<'_>) {
        if let Some(security) = self.security {
            json.number("security_type", security);
        }
        if let Some(challenge) = &self.challenge {
            json.nested("vnc", |json| {
                json.hex("challenge", challenge, "");
                if let Some(response) = &self.response {
                    json.hex("response", response, "");
                }
            });
        }
        match self.result {
            Some(0) => json.text("security_result", "OK"),
            Some(1) => json.text("security_result", "FAIL"),
            Some(2) => json.text("security_result", "TOOMANY"),
            Some(other) => json.text("security_result", &format!("UNKNOWN ({other})")),
            None => json,
        };
    }
}

impl Screen {
    fn log(&self, json: &mut Json<'_>) {
        json.number("width", self.width).number("height", self.height).bytes("name", &self.name);
        let [bits, depth, big, true_color, r1, r2, g1, g2, b1, b2, red, green, blue, ..] = self.format;
        json.nested("pixel_format", |json| {
            json.number("bits_per_pixel", bits).number("depth", depth);
            json.flag("big_endian", big != 0).flag("true_color", true_color != 0);
            for (name, pair) in [("red_max", [r1, r2]), ("green_max", [g1, g2]), ("blue_max", [b1, b2])] {
                json.number(name, u16::from_be_bytes(pair));
            }
            json.number("red_shift", red).number("green_shift", green).number("blue_shift", blue);
        });
    }
}

fn probe(_way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    match bytes.get(..4) {
        Some(b"RFB ") => Probe::Yes,
        Some(_) => Probe::No,
        None if b"RFB ".starts_with(bytes) => Probe::More,
        None => Probe::No,
    }
}

/// RFB.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Rfb,
    tcp: true,
    udp: false,
    ports: &[5900],
    patterns: &[(Direction::Original, 0, b"RFB "), (Direction::Reply, 0, b"RFB ")],
    probe,
    on_ports_only: false,
    start,
    buffers: &[Provides::new(Buffer::RfbName, Direction::Reply, 1)],
    hooks: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::exercise::{all_cuts, run, storm};

    const SCRIPT: &[(Direction, &[u8])] = &[
        (Direction::Reply, b"RFB 003.008\n"),
        (Direction::Original, b"RFB 003.008\n"),
        (Direction::Reply, b"\x02\x01\x02"),
        (Direction::Original, b"\x02"),
        (Direction::Reply, b"0123456789abcdef"),
        (Direction::Original, b"fedcba9876543210"),
        (Direction::Reply, b"\0\0\0\0"),
        (Direction::Original, b"\x01"),
        (Direction::Reply, b"\x04\0\x03\0\x20\x18\0\x01\0\xff\0\xff\0\xff\x10\x08\0\0\0\0\0\0\0\x04host"),
    ];

    #[test]
    fn an_opening_is_the_same_in_any_cut() {
        let shown = all_cuts(start, &Settings::default(), SCRIPT);
        assert!(shown.contains("\"security_result\":\"OK\"},\"screen_shared\":true,\"framebuffer\":{\"width\":1024"));
        assert!(shown.contains("\"name\":\"host\",\"pixel_format\":{\"bits_per_pixel\":32"), "{shown}");
        let talk = run(start, &Settings::default(), SCRIPT, 0);
        assert_eq!(talk.number(0, Field::RfbSecType, Direction::Original, 0), Some(2));
        assert_eq!(talk.number(0, Field::RfbSecResult, Direction::Reply, 0), Some(0));
        assert_eq!(talk.value(0, Buffer::RfbName, Direction::Reply, 0), Some(b"host".to_vec()));
    }

    #[test]
    fn what_is_not_in_the_standard_is_noted() {
        let shown = |script: &[(Direction, &[u8])]| run(start, &Settings::default(), script, 0).shown();
        let odd = |nth: usize, said: &'static [u8]| {
            let mut script = SCRIPT[..=nth].to_vec();
            script[nth].1 = said;
            shown(&script)
        };
        assert!(odd(3, b"\x13").contains("[\"rfb.unimplemented_security_type\"]"));
        assert!(odd(6, b"\0\0\0\x07").contains("[\"rfb.unknown_security_result\"]"));
        assert!(odd(6, b"\0\0\0\x01").contains(" []"));
        let ahead = [SCRIPT[0], (Direction::Reply, b"RFB 003.008\n")];
        assert!(shown(&ahead).contains("[\"rfb.confused_state\"]"), "{}", shown(&ahead));
    }

    #[test]
    fn why_a_server_refuses_is_told() {
        let mut script = SCRIPT[..7].to_vec();
        script[6].1 = b"\0\0\0\x01\0\0\0\x04nope";
        let shown = all_cuts(start, &Settings::default(), &script);
        assert!(shown.contains(r#""security_result":"FAIL"},"server_security_failure_reason":"nope"}"#), "{shown}");
        let script = [SCRIPT[0], SCRIPT[1], (Direction::Reply, b"\0\0\0\0\x04nope".as_slice())];
        let shown = all_cuts(start, &Settings::default(), &script);
        assert!(shown.contains(r#""authentication":{},"server_security_failure_reason":"nope"}"#), "{shown}");
    }

    #[test]
    fn storms_break_nothing() {
        storm(start, &Settings::default(), SCRIPT, 3000);
    }
}
