//! Trying a parser out: a conversation whole, cut at every byte, and broken at random.

use super::{Context, Fed, Input, Parser, Settings};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;
use weir_wire::Instant;

/// What one side says, in order.
pub type Script<'s> = &'s [(Direction, &'s [u8])];

/// Starts a parser.
pub type Start = fn(&Settings, &Tuple) -> Box<dyn Parser>;

pub fn tuple(protocol: u8) -> Tuple {
    Tuple {
        source: "10.0.0.1".parse().unwrap(),
        destination: "10.0.0.2".parse().unwrap(),
        source_port: 40000,
        destination_port: 445,
        protocol,
    }
}

/// Feeds a parser as the application layer does, with bytes not used kept for the next time. At its end every
/// direction is closed.
pub struct Talk {
    pub parser: Box<dyn Parser>,
    pub settings: Settings,
    pub expectations: Vec<super::Expectation>,
    pending: [Vec<u8>; 2],
    need: [usize; 2],
    pub over: Option<Fed>,
}

impl Talk {
    pub fn new(start: Start, settings: Settings) -> Talk {
        let parser = start(&settings, &tuple(6));
        Talk { parser, settings, expectations: Vec::new(), pending: Default::default(), need: [0, 0], over: None }
    }

    pub fn say(&mut self, way: Direction, bytes: &[u8], end: bool) {
        let side = way as usize;
        self.pending[side].extend_from_slice(bytes);
        if self.over.is_some() || (self.pending[side].len() < self.need[side] && !end) {
            return;
        }
        self.need[side] = 0;
        let tuple = tuple(6);
        let mut context = Context { settings: &self.settings, tuple: &tuple, expectations: &mut self.expectations };
        let input = Input { bytes: &self.pending[side], end, time: Instant::ZERO };
        let fed = self.parser.feed(way, input, &mut context);
        let used = match fed {
            Fed::Used(used) => used,
            Fed::Wait { used, need } => {
                self.need[side] = need;
                used
            }
            Fed::Failed | Fed::Finished => {
                self.over = Some(fed);
                return;
            }
            Fed::Upgrade { used, .. } => {
                self.over = Some(fed);
                used
            }
        };
        assert!(used <= self.pending[side].len(), "used more than there was");
        self.pending[side].drain(..used);
        assert!(self.pending[side].len() <= 256 << 10, "too much is kept back");
    }

    /// Everything that EVE would show, one transaction a line, with anomalies and files.
    pub fn shown(&self) -> String {
        let mut out = String::new();
        let list = self.parser.transactions();
        for nth in 0..list.len() {
            let (mark, transaction) = list.get(nth).unwrap();
            let mut json = Json::object(&mut out);
            transaction.log(&mut json);
            transaction.log_beside(&mut json);
            json.end();
            let mut anomalies: Vec<&str> = mark.anomalies.iter().map(|anomaly| anomaly.0).collect();
            anomalies.sort_unstable();
            out.push_str(&format!(" {anomalies:?}"));
            for way in [Direction::Original, Direction::Reply] {
                out.push_str(&format!(" {}/{}", transaction.progress(way), transaction.complete(way)));
                for file in transaction.files(way).iter().flat_map(|files| &files.list) {
                    let md5: String = file.md5().unwrap_or_default().iter().map(|b| format!("{b:02x}")).collect();
                    let name = String::from_utf8_lossy(&file.name);
                    out.push_str(&format!(" {name}:{}:{}:{md5}", file.size(), file.state.name()));
                }
            }
            out.push('\n');
        }
        out
    }

    /// A value of a buffer of the nth transaction.
    pub fn value(&self, nth: usize, buffer: weir_ids_rules::Buffer, way: Direction, value: usize) -> Option<Vec<u8>> {
        let list = self.parser.transactions();
        let (_, transaction) = list.get(nth)?;
        transaction.buffer(buffer, way, value, &mut Vec::new()).map(<[u8]>::to_vec)
    }

    /// A number of the nth transaction.
    pub fn number(&self, nth: usize, field: weir_ids_rules::Field, way: Direction, value: usize) -> Option<u64> {
        self.parser.transactions().get(nth)?.1.number(field, way, value)
    }
}

/// Runs a script in pieces of so many bytes; 0 for whole.
pub fn run(start: Start, settings: &Settings, script: Script<'_>, piece: usize) -> Talk {
    let mut talk = Talk::new(start, settings.clone());
    for (way, bytes) in script {
        for part in bytes.chunks(if piece == 0 { bytes.len().max(1) } else { piece }) {
            talk.say(*way, part, false);
        }
    }
    for way in [Direction::Original, Direction::Reply] {
        talk.say(way, b"", true);
    }
    talk
}

/// Asserts that a script shows the same however it is cut, and returns that.
pub fn all_cuts(start: Start, settings: &Settings, script: Script<'_>) -> String {
    let whole = run(start, settings, script, 0).shown();
    for piece in [1, 2, 3, 5, 7, 13, 64, 257] {
        assert_eq!(run(start, settings, script, piece).shown(), whole, "in pieces of {piece}");
    }
    for (said, (way, bytes)) in script.iter().enumerate() {
        let step = (bytes.len() / 400).max(1);
        for cut in (1..bytes.len()).step_by(step) {
            let (head, tail) = bytes.split_at(cut);
            let mut cut_script = script.to_vec();
            cut_script.splice(said..=said, [(*way, head), (*way, tail)]);
            assert_eq!(run(start, settings, &cut_script, 0).shown(), whole, "part {said} cut at {cut}");
        }
    }
    whole
}

/// Breaks a script at random (from a fixed seed) many times; a parser must not panic, whatever it is told.
pub fn storm(start: Start, settings: &Settings, script: Script<'_>, rounds: u32) {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    for _ in 0..rounds {
        let mut broken: Vec<(Direction, Vec<u8>)> = script.iter().map(|(way, bytes)| (*way, bytes.to_vec())).collect();
        for _ in 0..=random(6) {
            let which = random(broken.len());
            let bytes = &mut broken[which].1;
            let at = random(bytes.len());
            match random(6) {
                0 if !bytes.is_empty() => bytes[at] = random(256) as u8,
                1 if !bytes.is_empty() => bytes[at] ^= 1 << random(8),
                2 => bytes.truncate(at),
                3 => bytes.splice(at..at, (0..random(40)).map(|_| 0xff)).for_each(drop),
                4 if at + 4 <= bytes.len() => bytes[at..at + 4].copy_from_slice(&[0xff; 4]),
                _ => {
                    let to = (at + random(60)).min(bytes.len());
                    bytes.drain(at.min(to)..to).for_each(drop);
                }
            }
        }
        let broken: Vec<(Direction, &[u8])> = broken.iter().map(|(way, bytes)| (*way, &bytes[..])).collect();
        let talk = run(start, settings, &broken, [0, 1, 9, 100][random(4)]);
        talk.shown();
    }
}
