//! Points of DNP3's objects (IEEE 1815, annex A): how many bits each has, and what EVE shows of it.
//!
//! A point is a row of fields without gaps, the lowest bit first, numbers little-endian. Points of objects that have no
//! layout here (files, strings, authentication) are not shown, and behind them nothing can be found.

use crate::json::Json;

/// How a field is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// So many bits of a byte.
    Bits(u8),
    /// So many bytes without a sign.
    Unsigned(u8),
    /// So many bytes, in two's complement.
    Signed(u8),
    /// Four or eight bytes of IEEE 754.
    Float(u8),
}

use Shape::{Bits, Float, Signed, Unsigned};

type Field = (&'static str, Shape);
/// The fields of a point, in rows that several objects share.
type Layout = &'static [&'static [Field]];

const fn flag(name: &'static str) -> Field {
    (name, Bits(1))
}

const QUALITY: &[Field] =
    &[flag("online"), flag("restart"), flag("comm_lost"), flag("remote_forced"), flag("local_forced")];
const BINARY: &[Field] = &[flag("chatter_filter"), flag("reserved"), flag("state")];
const DOUBLE: &[Field] = &[flag("chatter_filter"), ("state", Bits(2))];
const OUTPUT: &[Field] = &[flag("reserved0"), flag("reserved1"), flag("state")];
const COUNTER: &[Field] = &[flag("rollover"), flag("discontinuity"), flag("reserved0")];
const ANALOG: &[Field] = &[flag("over_range"), flag("reference_err"), flag("reserved0")];
const ANALOG_OUTPUT: &[Field] = &[flag("reserved0"), flag("reserved1"), flag("reserved2")];
const COMMANDED: &[Field] = &[("status_code", Bits(7)), flag("commanded_state")];
const CONTROL: &[Field] = &[
    ("op_type", Bits(4)),
    flag("qu"),
    flag("cr"),
    ("tcc", Bits(2)),
    ("count", Unsigned(1)),
    ("ontime", Unsigned(4)),
    ("offtime", Unsigned(4)),
    ("status_code", Bits(7)),
    flag("reserved"),
];
/// Milliseconds since 1970.
const TIME: &[Field] = &[("timestamp", Unsigned(6))];
const COUNT_32: &[Field] = &[("count", Unsigned(4))];
const COUNT_16: &[Field] = &[("count", Unsigned(2))];
const INT_32: &[Field] = &[("value", Signed(4))];
const INT_16: &[Field] = &[("value", Signed(2))];
const FLOAT_32: &[Field] = &[("value", Float(4))];
const FLOAT_64: &[Field] = &[("value", Float(8))];
const STATUS: &[Field] = &[("control_status", Bits(7)), flag("reserved")];

/// The layout of a point; `None` where it is not known.
fn layout(group: u8, variation: u8) -> Option<Layout> {
    Some(match (group, variation) {
        (1 | 10 | 80, 1) => &[&[("state", Bits(1))]],
        (1, 2) | (2, 1) => &[QUALITY, BINARY],
        (2, 2) => &[QUALITY, BINARY, TIME],
        (2, 3) => &[QUALITY, BINARY, &[("timestamp", Unsigned(2))]],
        (3, 1) => &[&[("state", Bits(2))]],
        (3, 2) | (4, 1) => &[QUALITY, DOUBLE],
        (4, 2) => &[QUALITY, DOUBLE, TIME],
        (4, 3) => &[QUALITY, DOUBLE, &[("relative_time_ms", Unsigned(2))]],
        (10, 2) | (11, 1) => &[QUALITY, OUTPUT],
        (11, 2) => &[QUALITY, OUTPUT, TIME],
        (12, 1 | 2) => &[CONTROL],
        (12, 3) => &[&[("point", Bits(1))]],
        (13, 1) => &[COMMANDED],
        (13, 2) => &[COMMANDED, TIME],
        (20 | 22 | 23, 1 | 3) | (21, 1 | 3) => &[QUALITY, COUNTER, COUNT_32],
        (20 | 22 | 23, 2 | 4) | (21, 2 | 4) => &[QUALITY, COUNTER, COUNT_16],
        (20, 5 | 7) | (21, 9 | 11) => &[COUNT_32],
        (20, 6 | 8) | (21, 10 | 12) => &[COUNT_16],
        (21..=23, 5 | 7) => &[QUALITY, COUNTER, COUNT_32, TIME],
        (21..=23, 6 | 8) => &[QUALITY, COUNTER, COUNT_16, TIME],
        (30..=33, _) => return analog(group, variation),
        (34, 1) => &[&[("deadband_value", Unsigned(2))]],
        (34, 2) => &[&[("deadband_value", Unsigned(4))]],
        (34, 3) => &[&[("deadband_value", Float(4))]],
        (40 | 42, 1) => &[QUALITY, ANALOG_OUTPUT, INT_32],
        (40 | 42, 2) => &[QUALITY, ANALOG_OUTPUT, INT_16],
        (40, 3) | (42, 5) => &[QUALITY, ANALOG_OUTPUT, FLOAT_32],
        (40, 4) | (42, 6) => &[QUALITY, ANALOG_OUTPUT, FLOAT_64],
        (42, 3) => &[QUALITY, ANALOG_OUTPUT, INT_32, TIME],
        (42, 4) => &[QUALITY, ANALOG_OUTPUT, INT_16, TIME],
        (42, 7) => &[QUALITY, ANALOG_OUTPUT, FLOAT_32, TIME],
        (42, 8) => &[QUALITY, ANALOG_OUTPUT, FLOAT_64, TIME],
        (41, 1) => &[INT_32, STATUS],
        (41, 2) => &[INT_16, STATUS],
        (41, 3) => &[FLOAT_32, STATUS],
        (41, 4) => &[FLOAT_64, STATUS],
        (50, 1 | 3) | (51, 1 | 2) => &[TIME],
        (50, 2) => &[TIME, &[("interval", Unsigned(4))]],
        (50, 4) => &[TIME, &[("interval_count", Unsigned(4)), ("interval_units", Unsigned(1))]],
        (52, 1) => &[&[("delay_secs", Unsigned(2))]],
        (52, 2) => &[&[("delay_ms", Unsigned(2))]],
        (60, _) => &[],
        _ => return None,
    })
}

/// Analog inputs: now (30), frozen (31), and their events (32, 33).
fn analog(group: u8, variation: u8) -> Option<Layout> {
    Some(match (group, variation) {
        (30, 3) | (31, 5) => &[INT_32],
        (30, 4) | (31, 6) => &[INT_16],
        (30, 5) | (31, 7) | (32 | 33, 5) => &[QUALITY, ANALOG, FLOAT_32],
        (30, 6) | (31, 8) | (32 | 33, 6) => &[QUALITY, ANALOG, FLOAT_64],
        (_, 1) => &[QUALITY, ANALOG, INT_32],
        (_, 2) => &[QUALITY, ANALOG, INT_16],
        (31..=33, 3) => &[QUALITY, ANALOG, INT_32, TIME],
        (31..=33, 4) => &[QUALITY, ANALOG, INT_16, TIME],
        (32 | 33, 7) => &[QUALITY, ANALOG, FLOAT_32, TIME],
        (32 | 33, 8) => &[QUALITY, ANALOG, FLOAT_64, TIME],
        _ => return None,
    })
}

const fn size(shape: Shape) -> usize {
    match shape {
        Bits(bits) => bits as usize,
        Unsigned(bytes) | Signed(bytes) | Float(bytes) => bytes as usize * 8,
    }
}

/// Bits of a point; `None` where they are not known.
pub fn bits(group: u8, variation: u8) -> Option<usize> {
    layout(group, variation).map(|rows| rows.iter().copied().flatten().map(|&(_, shape)| size(shape)).sum())
}

/// Writes the fields of a point that begins at a bit.
pub fn log((group, variation): (u8, u8), bytes: &[u8], mut bit: usize, json: &mut Json<'_>) {
    for &(name, shape) in layout(group, variation).unwrap_or_default().iter().copied().flatten() {
        let raw = read(bytes, bit, size(shape));
        bit += size(shape);
        match shape {
            Bits(_) | Unsigned(_) => json.number(name, raw),
            Signed(2) => json.number(name, i64::from(raw as u16 as i16)),
            Signed(_) => json.number(name, i64::from(raw as u32 as i32)),
            Float(4) => real(name, f64::from(f32::from_bits(raw as u32)), json),
            Float(_) => real(name, f64::from_bits(raw), json),
        };
    }
}

/// A number with a fraction; 0 for what JSON has no number for.
fn real<'j, 't>(name: &str, value: f64, json: &'j mut Json<'t>) -> &'j mut Json<'t> {
    let value = if value.is_finite() { value } else { 0.0 };
    // Huge numbers in full would be long.
    if value != 0.0 && !(1e-9..1e15).contains(&value.abs()) {
        return json.raw(name, &format!("{value:e}"));
    }
    json.raw(name, &format!("{value:?}"))
}

/// So many bits from a bit on, up to 64: within a byte, or whole bytes.
fn read(bytes: &[u8], bit: usize, bits: usize) -> u64 {
    let from = bytes.get(bit / 8..).unwrap_or_default();
    let whole = from.iter().take(bits.div_ceil(8).min(8)).rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
    if bits >= 64 { whole } else { whole >> (bit % 8) & ((1 << bits) - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(kind: (u8, u8), bytes: &[u8], bit: usize) -> String {
        let mut text = String::new();
        let mut json = Json::object(&mut text);
        log(kind, bytes, bit, &mut json);
        json.end();
        text
    }

    #[test]
    fn points_are_read_bit_by_bit_and_byte_by_byte() {
        assert_eq!(shown((1, 1), &[0b0000_0100], 2), "{\"state\":1}");
        assert_eq!(shown((3, 1), &[0b0011_0100], 4), "{\"state\":3}");
        let control = [0x03, 1, 100, 0, 0, 0, 100, 0, 0, 0, 0x84];
        assert_eq!(
            shown((12, 1), &control, 0),
            "{\"op_type\":3,\"qu\":0,\"cr\":0,\"tcc\":0,\"count\":1,\"ontime\":100,\"offtime\":100,\"status_code\":4,\"reserved\":1}"
        );
        assert!(shown((30, 2), &[0x01, 0xfe, 0xff], 0).ends_with("\"value\":-2}"));
        assert_eq!(shown((40, 3), &[0, 0, 0, 0xc0, 0x3f], 0).split(',').next_back(), Some("\"value\":1.5}"));
        assert_eq!(shown((50, 1), &[1, 0, 0, 0, 0, 1], 0), "{\"timestamp\":1099511627777}");
    }

    #[test]
    fn points_are_whole_bytes_or_parts_of_one() {
        for group in 0..=255 {
            for variation in 0..=255 {
                let bits = bits(group, variation).unwrap_or(0);
                assert!(bits < 8 || bits.is_multiple_of(8), "{group},{variation}: {bits}");
            }
        }
        assert_eq!((bits(12, 1), bits(32, 4), bits(60, 2), bits(70, 1)), (Some(88), Some(72), Some(0), None));
    }
}
