//! Every parser, told more and more of what is hard to bear: messages without end, without sense, of one byte.

use std::fs;
use std::path::Path;

use weir_filter::app::{Description, PROTOCOLS};
use weir_filter::inspect::Direction;
use weir_tests::conversation::{Conversation, back};

use super::measure::Verdicts;
use super::{connection, cycle, inspect, starter};

/// What is said by whom, from the corpus of the fuzz target `app`.
fn script(name: &str) -> Vec<(Direction, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/app").join(name);
    let input = fs::read(path).unwrap_or_default();
    let mut rest = input.splitn(2, |&byte| byte == b'\n').nth(1).unwrap_or_default();
    let mut said = Vec::new();
    while let [way, high, low, after @ ..] = rest {
        let way = if *way == b'<' { Direction::Reply } else { Direction::Original };
        let (piece, next) = after.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(after.len()));
        said.push((way, piece.to_vec()));
        rest = next;
    }
    said
}

fn port(description: &Description) -> u16 {
    description.ports.first().copied().unwrap_or(80)
}

/// Units that a side repeats after the script.
const UNITS: [&[u8]; 14] = [
    b"\0",
    b"\xff",
    b"a",
    b" ",
    b"\n",
    b"\r\n",
    b"a: b\r\n",
    b": \t\r\n ",
    b"<a=\"",
    b"%25",
    b"\x30\x80",
    b"\x01",
    b"a.b@c;d=e,",
    b"\0\0\0\x04",
];

/// The script up to and with one part, and then one side repeats a unit.
fn run_on(
    said: &[(Direction, Vec<u8>)],
    part: usize,
    cut: usize,
    unit: &[u8],
    size: usize,
) -> Vec<(Direction, Vec<u8>)> {
    let mut all = said[..=part].to_vec();
    let (_, last) = all.last_mut().unwrap();
    last.truncate(last.len() - cut.min(last.len()));
    last.extend(cycle(unit, size));
    all
}

/// The dialogue over and over.
fn again(said: &[(Direction, Vec<u8>)], size: usize) -> Vec<(Direction, Vec<u8>)> {
    let length: usize = said.iter().map(|(_, bytes)| bytes.len()).sum::<usize>().max(1);
    said.iter().cloned().cycle().take((size / length + 1) * said.len()).collect()
}

#[test]
fn streams_cost_in_proportion_whatever_is_said_in_them() {
    let (program, mut verdicts) = (starter(), Verdicts::default());
    for description in PROTOCOLS.iter().filter(|description| description.tcp) {
        let (name, port) = (description.protocol.name(), port(description));
        let said = script(name);
        if said.is_empty() {
            continue;
        }
        let repeat = |size| connection(port, &again(&said, size), 1460);
        verdicts.linear(&format!("{name}: dialogue"), 8 << 10, repeat, |frames| inspect(&program, true, frames));
        for (part, (way, bytes)) in said.iter().enumerate() {
            let one_sided = |size| {
                let mut all = said[..part].to_vec();
                all.push((*way, cycle(bytes, size)));
                connection(port, &all, 1460)
            };
            verdicts.linear(&format!("{name}: part {part}"), 16 << 10, one_sided, |f| inspect(&program, false, f));
        }
        for (nth, unit) in UNITS.iter().enumerate() {
            let (part, cut, segment) = (nth % said.len(), [0, 2, 5][nth % 3], [1460, 100][nth % 2]);
            let make = |size| connection(port, &run_on(&said, part, cut, unit, size), segment);
            let name = format!("{name}: part {part} without its last {cut}, then {}", unit.escape_ascii());
            verdicts.linear(&name, 16 << 10, make, |frames| inspect(&program, nth % 2 == 0, frames));
        }
    }
    verdicts.check();
}

#[test]
fn datagrams_cost_in_proportion_whatever_is_in_them() {
    let (program, mut verdicts) = (starter(), Verdicts::default());
    for description in PROTOCOLS.iter().filter(|description| description.udp) {
        let name = description.protocol.name();
        let said = script(name);
        let Some((way, first)) = said.first() else { continue };
        let talk = Conversation::new(40_000, port(description));
        for unit in UNITS {
            let make = |size| {
                let data = [first.clone(), cycle(unit, size)].concat();
                let other = [talk.datagram(*way, &data), talk.datagram(back(*way), &data)];
                other.iter().cloned().cycle().take(30).collect::<Vec<_>>()
            };
            let name = format!("{name}: {}", unit.escape_ascii());
            verdicts.linear(&name, 7 << 10, make, |frames| inspect(&program, false, frames));
        }
        let repeat = |size: usize| {
            let frames = said.iter().map(|(way, data)| talk.datagram(*way, data));
            frames.cycle().take(size).collect::<Vec<_>>()
        };
        verdicts.linear(&format!("{name}: again"), 300, repeat, |frames| inspect(&program, true, frames));
    }
    verdicts.check();
}
