//! Object headers of DNP3 (IEEE 1815, 4.2.2.7 and 11): group, variation, qualifier, range.

use super::point;
use crate::app::read::Reader;
use crate::json::Json;

/// Objects of a fragment.
const OBJECTS: usize = 256;

/// Points of an object.
const POINTS: u32 = 16384;

/// Points of a fragment, those of single bits among them.
const ALL_POINTS: u32 = 32768;

/// Points of a fragment that EVE shows.
pub const SHOWN: usize = 512;

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
    /// Where its points stand behind the fragment's header; `None` where there are none.
    points: Option<usize>,
}

/// Reads the objects of a fragment, and what ended the reading before its end. Headers without points (requests to read)
/// follow each other; behind points of unknown size nothing can be found.
pub fn read(bytes: &[u8]) -> (Vec<Object>, Option<&'static str>) {
    let mut reader = Reader::new(bytes);
    let mut objects = Vec::new();
    let mut all = 0u32;
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
        all = all.saturating_add(count);
        if all > ALL_POINTS {
            return (objects, Some("dnp3.too_many_points"));
        }
        if reader.is_empty() {
            break;
        }
        match point::bits(group, variation) {
            // A request names points without their values: the next header follows.
            Some(_) if looks_like_header(reader.rest(), prefix) => {}
            Some(bits) => {
                let size =
                    if bits < 8 { (count as usize * bits).div_ceil(8) } else { count as usize * (bits / 8 + prefix) };
                let at = bytes.len() - reader.len();
                if reader.take(size).is_none() {
                    return (objects, Some("dnp3.malformed"));
                }
                if let Some(object) = objects.last_mut() {
                    object.points = Some(at);
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
    let mut object = Object { group, variation, qualifier, start: 0, stop: 0, count: 0, points: None };
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

impl Object {
    /// Writes what EVE shows of it; `bytes` are what it was read from. At most `room` points are shown, which it lessens.
    pub fn log(&self, bytes: &[u8], room: &mut usize, json: &mut Json<'_>) {
        json.number("group", self.group).number("variation", self.variation).number("qualifier", self.qualifier);
        json.number("prefix_code", self.qualifier >> 4 & 7).number("range_code", self.qualifier & 0xf);
        json.number("start", self.start).number("stop", self.stop).number("count", self.count);
        let Some(at) = self.points.filter(|_| *room > 0) else { return };
        let kind = (self.group, self.variation);
        let bits = point::bits(self.group, self.variation).unwrap_or(0);
        if bits == 0 {
            return;
        }
        // Points that are parts of a byte have no index before them.
        let prefix = if bits < 8 { 0 } else { prefix_size(self.qualifier) };
        let bytes = bytes.get(at..).unwrap_or_default();
        let shown = (self.count as usize).min(*room);
        *room -= shown;
        json.array("points", |list| {
            for nth in 0..shown {
                let place = nth * (bits + prefix * 8);
                let before = bytes.get(place / 8..).unwrap_or_default().iter().take(prefix);
                let named = before.rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
                let index = if prefix > 0 { named } else { u64::from(self.start) + nth as u64 };
                list.item(|json| {
                    json.number("prefix", named).number("index", index);
                    point::log(kind, bytes, place + prefix * 8, json);
                });
            }
        });
    }
}
