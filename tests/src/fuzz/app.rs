//! Any bytes to the parser of any application protocol: fed as streams are, then asked for all it has.
//!
//! An input begins with a line that names the protocol; pieces follow, each a byte for its direction (`<` from the
//! server), two for its length, and its bytes.

use weir_filter::app::{Context, Description, Fed, Input, PROTOCOLS, Parser, Settings};
use weir_filter::event::Tuple;
use weir_filter::inspect::Direction;
use weir_filter::json::Json;
use weir_ids_rules::{Buffer, Field};
use weir_wire::Instant;

use super::Target;

/// The target.
pub const TARGET: Target = Target { name: "app", run, longest: 8192, one_in: 4 };

/// Bytes that a parser may leave for later.
const PENDING: usize = 256 << 10;

fn run(input: &[u8]) {
    let end = input.iter().position(|&byte| byte == b'\n').unwrap_or(0);
    let name = String::from_utf8_lossy(&input[..end]);
    let named = PROTOCOLS.iter().find(|description| description.protocol.name() == name);
    let first = usize::from(input.first().copied().unwrap_or(0));
    let description: &Description = named.unwrap_or(&PROTOCOLS[first % PROTOCOLS.len()]);
    let tuple = Tuple {
        source: [10, 0, 0, 1].into(),
        destination: [10, 0, 0, 2].into(),
        source_port: 40_000,
        destination_port: description.ports.first().copied().unwrap_or(80),
        protocol: if description.tcp { 6 } else { 17 },
    };
    let settings = Settings::default();
    let mut parser = (description.start)(&settings, &tuple);
    let (mut pending, mut expectations) = ([Vec::new(), Vec::new()], Vec::new());
    let mut rest = input.get(end..).unwrap_or_default();
    while let [way, high, low, after @ ..] = rest {
        let way = if *way == b'<' { Direction::Reply } else { Direction::Original };
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (piece, next) = after.split_at(length);
        rest = next;
        (description.probe)(way, piece, &tuple);
        let side: &mut Vec<u8> = &mut pending[way as usize];
        side.extend_from_slice(piece);
        let mut context = Context { settings: &settings, tuple: &tuple, expectations: &mut expectations };
        let input = Input { bytes: side, end: next.is_empty(), time: Instant::ZERO };
        let used = match parser.feed(way, input, &mut context) {
            Fed::Used(used) | Fed::Wait { used, .. } => used,
            Fed::Upgrade { used, .. } => {
                parser.refuse_upgrade();
                used
            }
            Fed::Failed | Fed::Finished => break,
        };
        assert!(used <= side.len(), "{} used more than there was", description.protocol.name());
        side.drain(..used);
        assert!(side.len() <= PENDING, "{} keeps too much back", description.protocol.name());
    }
    look_at(parser.as_mut());
    assert!(expectations.len() <= input.len(), "announcements cost bytes");
}

/// Asks for everything that rules and events could.
fn look_at(parser: &mut dyn Parser) {
    parser.take_anomalies();
    let all = parser.transactions();
    let (mut work, mut line) = (Vec::new(), String::new());
    for nth in 0..all.len().min(64) {
        let Some((_, transaction)) = all.get(nth) else { return };
        line.clear();
        let mut json = Json::object(&mut line);
        transaction.log(&mut json);
        transaction.log_beside(&mut json);
        json.end();
        assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "what is written is JSON: {line}");
        for way in [Direction::Original, Direction::Reply] {
            for value in [0, 1, 500] {
                for &buffer in Buffer::ALL {
                    work.clear();
                    transaction.buffer(buffer, way, value, &mut work);
                }
                for &field in Field::ALL {
                    transaction.number(field, way, value);
                }
            }
        }
    }
}
