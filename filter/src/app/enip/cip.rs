//! Services of CIP (ODVA, volume 1, chapter 2 and appendix A).

use crate::app::read::Reader;
use crate::json::Json;

/// Values of one kind that are kept of a service.
const VALUES: usize = 256;

/// Numbers of services.
mod number {
    pub const GET_ATTRIBUTE_LIST: u8 = 3;
    pub const SET_ATTRIBUTE_LIST: u8 = 4;
    pub const MULTIPLE: u8 = 10;
}

/// A request for a service, or its response.
#[derive(Debug, Default)]
pub struct Service {
    /// Which service.
    pub number: u8,
    response: bool,
    /// Kind and value of the path's segments.
    path: Vec<(u8, u32)>,
    attributes: Vec<u16>,
    /// General status of a response.
    pub status: Option<u64>,
    /// Extended status of a response.
    pub extended: Option<u64>,
    /// Services packed into this one.
    inner: Vec<Service>,
}

/// Whether services may be packed into one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// They may.
    Outer,
    /// This is packed itself.
    Inner,
}

impl Service {
    /// Reads a service. `None`: malformed.
    pub fn read(bytes: &[u8], depth: Depth) -> Option<Service> {
        let mut reader = Reader::new(bytes);
        let first = reader.u8()?;
        let mut service = Service { number: first & 0x7f, response: first & 0x80 != 0, ..Service::default() };
        if service.response {
            reader.u8()?;
            service.status = Some(reader.u8()?.into());
            let words = reader.u8()?;
            let extended = reader.take(usize::from(words) * 2)?;
            service.extended = extended.first_chunk().map(|&pair| u16::from_le_bytes(pair).into());
        } else {
            let words = reader.u8()?;
            service.path = path(reader.take(usize::from(words) * 2)?);
            match service.number {
                number::GET_ATTRIBUTE_LIST => {
                    let count = reader.le16()?;
                    for _ in 0..count.min(VALUES as u16) {
                        service.attributes.push(reader.le16()?);
                    }
                }
                number::SET_ATTRIBUTE_LIST => {
                    reader.le16()?;
                    service.attributes.extend(reader.le16());
                }
                _ => {}
            }
        }
        if service.number == number::MULTIPLE && depth == Depth::Outer {
            let packed = reader.rest();
            let count = reader.le16().unwrap_or(0);
            for _ in 0..count.min(VALUES as u16) {
                let offset = reader.le16()?;
                let one = packed.get(usize::from(offset)..).and_then(|bytes| Service::read(bytes, Depth::Inner));
                service.inner.extend(one);
            }
        }
        Some(service)
    }

    /// What is asked of this service and of those packed into it.
    pub fn all(&self, ask: impl Fn(&Service) -> Vec<u64>) -> Vec<u64> {
        let mut values = ask(self);
        self.inner.iter().for_each(|service| values.extend(ask(service)));
        values
    }

    /// Values of the path's segments of a kind: 8 class, 9 instance, 12 attribute.
    pub fn segments(&self, kind: u8) -> Vec<u64> {
        self.path.iter().filter(|(found, _)| found >> 2 == kind).map(|&(_, value)| value.into()).collect()
    }

    /// Attributes of the path and of the service's list.
    pub fn attributes(&self) -> Vec<u64> {
        let mut values = self.segments(12);
        values.extend(self.attributes.iter().map(|&value| u64::from(value)));
        values
    }

    /// Writes what EVE shows of it.
    pub fn log(&self, json: &mut Json<'_>) {
        json.text("service", &service_name(self.number));
        if let Some(status) = self.status {
            json.number("status", status);
        }
        if !self.path.is_empty() {
            json.array("path", |list| {
                for &(kind, value) in &self.path {
                    list.item(|json| {
                        json.text("segment_type", segment_name(kind)).number("value", value);
                    });
                }
            });
        }
        if !self.inner.is_empty() {
            json.array("multiple", |list| {
                self.inner.iter().for_each(|service| {
                    list.item(|json| service.log(json));
                });
            });
        }
    }
}

/// Segments up to the first of a kind that is not looked into.
fn path(bytes: &[u8]) -> Vec<(u8, u32)> {
    let mut reader = Reader::new(bytes);
    let mut segments = Vec::new();
    while let Some(kind) = reader.u8() {
        let value = match (kind, kind & 3) {
            (0x20..=0x27 | 0x30..=0x33, 0) => reader.u8().map(u32::from),
            (0x20..=0x27 | 0x30..=0x33, 1) => reader.u8().and_then(|_| reader.le16()).map(u32::from),
            (0x20..=0x27 | 0x30..=0x33, 2) => reader.u8().and_then(|_| reader.le32()),
            _ => None,
        };
        let Some(value) = value else { break };
        segments.push((kind, value));
    }
    segments
}

fn segment_name(kind: u8) -> &'static str {
    match kind {
        0x20 => "class_8bit",
        0x21 => "class_16bit",
        0x22 => "class_32bit",
        0x24 => "instance_8bit",
        0x25 => "instance_16bit",
        0x26 => "instance_32bit",
        0x30 => "attribute_8bit",
        0x31 => "attribute_16bit",
        _ => "attribute_32bit",
    }
}

/// The name of a service (volume 1, appendix A-3).
fn service_name(number: u8) -> String {
    let known = match number {
        0x01 => "GetAttrAll",
        0x03 => "GetAttrList",
        0x04 => "SetAttrList",
        0x05 => "Reset",
        0x06 => "Start",
        0x07 => "Stop",
        0x08 => "Create",
        0x09 => "Delete",
        0x0a => "MultipleService",
        0x0d => "ApplyAttr",
        0x0e => "GetAttrSingle",
        0x10 => "SetAttrSingle",
        0x11 => "FindNext",
        _ => return format!("unknown-{number}"),
    };
    known.to_owned()
}
