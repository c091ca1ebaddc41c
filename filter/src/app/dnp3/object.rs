//! Object headers of DNP3 (IEEE 1815, 4.2.2.7 and 11): group, variation, qualifier, range.

use crate::app::read::Reader;
use crate::json::Json;

/// Objects of a fragment.
const OBJECTS: usize = 256;

/// Points of an object.
const POINTS: u32 = 16384;

/// An object's header.
#[derive(Debug)]
pub struct Object {
    /// Group.
    pub group: u8,
    /// Variation.
    pub variation: u8,
    qualifier: u8,
    start: u32,
    stop: u32,
    count: u32,
}

/// Reads the objects of a fragment, and what ended the reading before its end. Headers without points (requests to read)
/// follow each other; behind points of unknown size nothing can be found.
pub fn read(bytes: &[u8]) -> (Vec<Object>, Option<&'static str>) {
    let mut reader = Reader::new(bytes);
    let mut objects = Vec::new();
    while !reader.is_empty() {
        if objects.len() >= OBJECTS {
            return (objects, Some("dnp3.too_many_objects"));
        }
        let Some(object) = header(&mut reader) else { return (objects, Some("dnp3.malformed")) };
        let (group, variation, count) = (object.group, object.variation, object.count);
        let prefix = prefix_size(object.qualifier);
        objects.push(object);
        if count > POINTS {
            return (objects, Some("dnp3.max_points_per_object"));
        }
        if reader.is_empty() {
            break;
        }
        match bits(group, variation) {
            // A request names points without their values: the next header follows.
            Some(_) if looks_like_header(reader.rest(), prefix) => {}
            Some(bits) => {
                let size =
                    if bits < 8 { (count as usize * bits).div_ceil(8) } else { count as usize * (bits / 8 + prefix) };
                if reader.take(size).is_none() {
                    return (objects, Some("dnp3.malformed"));
                }
            }
            None => return (objects, Some("dnp3.unknown_object")),
        }
    }
    (objects, None)
}

/// Whether bytes begin with another object's header: qualifier 6 (all points) has no range and no points.
fn looks_like_header(bytes: &[u8], prefix: usize) -> bool {
    prefix == 0 && matches!(bytes, [1..=4 | 10..=13 | 20..=23 | 30..=34 | 40..=43 | 60, 0..=8, 0x06])
}

fn header(reader: &mut Reader<'_>) -> Option<Object> {
    let (group, variation, qualifier) = (reader.u8()?, reader.u8()?, reader.u8()?);
    let mut object = Object { group, variation, qualifier, start: 0, stop: 0, count: 0 };
    match qualifier & 0xf {
        0 => (object.start, object.stop) = (reader.u8()?.into(), reader.u8()?.into()),
        1 => (object.start, object.stop) = (reader.le16()?.into(), reader.le16()?.into()),
        2 => (object.start, object.stop) = (reader.le32()?, reader.le32()?),
        6 => return Some(object),
        7 => object.count = reader.u8()?.into(),
        8 => object.count = reader.le16()?.into(),
        9 => object.count = reader.le32()?,
        0xb => object.count = reader.u8()?.into(),
        _ => return None,
    }
    if qualifier & 0xf <= 2 {
        object.count = object.stop.checked_sub(object.start)?.saturating_add(1);
    }
    Some(object)
}

/// Bytes of the index before each point.
fn prefix_size(qualifier: u8) -> usize {
    match qualifier >> 4 & 7 {
        1 => 1,
        2 => 2,
        3 => 4,
        _ => 0,
    }
}

/// Bits of a point; `None` where they are not known.
fn bits(group: u8, variation: u8) -> Option<usize> {
    Some(match (group, variation) {
        (60, _) => 0,
        (1 | 10 | 80, 1) | (3, 1) => 1,
        (1 | 10 | 3, 2) | (2, 1) | (11, 1) | (4, 1) => 8,
        (2 | 11 | 4, 2) => 56,
        (2 | 4, 3) => 24,
        (12, 1) => 88,
        (20 | 21, 1) | (30, 1) | (32, 1) | (40, 1) | (42, 1) => 40,
        (20 | 21, 2) | (30, 2) | (32, 2) | (40, 2) | (42, 2) => 24,
        (20, 5) | (30, 3) => 32,
        (20, 6) | (30, 4) => 16,
        (22, 1) => 40,
        (22, 2) => 24,
        (30, 5) | (40, 3) => 40,
        (30, 6) | (40, 4) => 72,
        (32, 3) | (42, 3) => 88,
        (32, 4) | (42, 4) => 72,
        (41, 1) => 40,
        (41, 2) => 24,
        (41, 3) => 40,
        (50, 1) | (51, 1 | 2) => 48,
        (52, 1 | 2) => 16,
        _ => return None,
    })
}

impl Object {
    /// Writes what EVE shows of it.
    pub fn log(&self, json: &mut Json<'_>) {
        json.number("group", self.group).number("variation", self.variation).number("qualifier", self.qualifier);
        json.number("prefix_code", self.qualifier >> 4 & 7).number("range_code", self.qualifier & 0xf);
        json.number("start", self.start).number("stop", self.stop).number("count", self.count);
    }
}
