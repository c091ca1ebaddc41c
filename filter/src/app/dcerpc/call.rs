//! A call of DCE/RPC: a request with its response, or a bind with its answer; as rules and EVE see it.

use std::sync::Arc;

use super::record::{Interface, kind, kind_name, uuid_text};
use crate::app::read::Order;
use crate::json::Json;

/// Bytes of arguments or results that are kept.
pub const STUB: usize = 256 << 10;

/// One call.
#[derive(Debug, Default)]
pub struct Call {
    /// Its number.
    pub id: u32,
    /// Kind of the request; `None` where it was lost.
    pub request: Option<u8>,
    /// Kind of the response.
    pub response: Option<u8>,
    /// Procedure.
    pub opnum: u16,
    /// Interface by number.
    pub context: u16,
    /// Arguments and results, fragments joined.
    pub stub: [Vec<u8>; 2],
    /// Fragments of request and response.
    pub fragments: [u16; 2],
    /// Order of numbers in the data.
    pub order: Order,
    /// Interfaces agreed on, or asked for, at the time.
    pub interfaces: Arc<Vec<Interface>>,
}

impl Call {
    /// Adds data of a fragment, up to [`STUB`].
    pub fn add(&mut self, way: crate::inspect::Direction, stub: &[u8]) {
        let (data, count) = match (&mut self.stub, &mut self.fragments) {
            ([data, _], [count, _]) if way == crate::inspect::Direction::Original => (data, count),
            ([_, data], [_, count]) => (data, count),
        };
        let room = STUB.saturating_sub(data.len()).min(stub.len());
        data.extend_from_slice(stub.get(..room).unwrap_or_default());
        *count = count.saturating_add(1);
    }

    /// The data of a direction, once there is any.
    pub fn data(&self, way: crate::inspect::Direction) -> Option<&[u8]> {
        let [asked, answered] = &self.stub;
        let data = if way == crate::inspect::Direction::Original { asked } else { answered };
        Some(&data[..]).filter(|data| !data.is_empty())
    }

    /// The procedure, where it is a request.
    pub fn procedure(&self) -> Option<u16> {
        (self.request == Some(kind::REQUEST)).then_some(self.opnum)
    }

    /// Answers the conditions that only this protocol knows: `dcerpc.iface`, and the order of numbers in the data
    /// (`dce`, with "little" or "big").
    pub fn special(&self, keyword: &str, argument: &str) -> Option<bool> {
        match keyword {
            "dcerpc.iface" | "dce_iface" => Some(self.uses(argument)),
            "dce" => Some((argument == "little") == (self.order == Order::Little)),
            _ => None,
        }
    }

    /// `dcerpc.iface`: the interface that the request uses was agreed on and is this one.
    fn uses(&self, argument: &str) -> bool {
        if self.procedure().is_none() {
            return false;
        }
        let mut parts = argument.split(',').map(str::trim);
        let Some(uuid) = parts.next().and_then(parse_uuid) else { return false };
        let (mut any_fragment, mut version) = (false, None);
        for part in parts {
            match part {
                "any_frag" => any_fragment = true,
                condition => version = Some(condition),
            }
        }
        self.interfaces.iter().any(|interface| {
            interface.uuid == uuid
                && interface.context == self.context
                && (any_fragment || interface.first_fragment)
                && interface.answer.is_some_and(|(result, _)| result == 0)
                && version.is_none_or(|condition| compare(condition, interface.major))
        })
    }

    /// Writes the members that describe the request and the response.
    pub fn log(&self, json: &mut Json<'_>, layout: Layout) {
        json.text("request", self.request.map_or("REQUEST_LOST", kind_name));
        if layout == Layout::InSmb {
            json.text("response", self.response.map_or("UNREPLIED", kind_name));
        }
        match self.request {
            Some(kind::REQUEST) => {
                self.log_request(json, layout);
                self.log_interfaces(json, layout, |interface| interface.context == self.context);
            }
            Some(kind::BIND) => self.log_interfaces(json, layout, |interface| interface.call == self.id),
            Some(_) | None => {}
        }
        if layout == Layout::Alone {
            json.text("response", self.response.map_or("UNREPLIED", kind_name));
        }
        if self.response == Some(kind::RESPONSE) {
            let ([_, count], [_, stub]) = (&self.fragments, &self.stub);
            json.nested("res", |json| {
                json.number("frag_cnt", *count).number("stub_data_size", stub.len() as i128);
            });
        }
        json.number("call_id", self.id);
    }

    fn log_request(&self, json: &mut Json<'_>, layout: Layout) {
        let ([count, _], [stub, _]) = (&self.fragments, &self.stub);
        if layout == Layout::InSmb {
            json.number("opnum", self.opnum);
        }
        json.nested("req", |json| {
            if layout == Layout::Alone {
                json.number("opnum", self.opnum);
            }
            json.number("frag_cnt", *count).number("stub_data_size", stub.len() as i128);
        });
    }

    fn log_interfaces(&self, json: &mut Json<'_>, layout: Layout, shown: impl Fn(&Interface) -> bool) {
        if !self.interfaces.iter().any(&shown) {
            return;
        }
        json.array("interfaces", |json| {
            for interface in self.interfaces.iter().filter(|interface| shown(interface)) {
                json.item(|json| {
                    json.text("uuid", &uuid_text(&interface.uuid));
                    json.text("version", &format!("{}.{}", interface.major, interface.minor));
                    let bind = self.request == Some(kind::BIND);
                    if let Some((result, reason)) = interface.answer.filter(|_| bind || layout == Layout::Alone) {
                        json.number("ack_result", result);
                        if layout == Layout::InSmb {
                            json.number("ack_reason", reason);
                        }
                    }
                });
            }
        });
    }
}

/// Where the call is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// In the object of SMB.
    InSmb,
    /// In an object of its own.
    Alone,
}

/// Compares two versions.
type Compare = fn(u16, u16) -> bool;

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let mut digits = text.bytes().filter(|&byte| byte != b'-');
    let mut uuid = [0; 16];
    for byte in &mut uuid {
        let high = char::from(digits.next()?).to_digit(16)?;
        let low = char::from(digits.next()?).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    digits.next().is_none().then_some(uuid)
}

/// Compares a version as the rule language writes it: "3", "=3", ">1", "<2", "!1", ">=2", "<=2", "1-3".
fn compare(condition: &str, version: u16) -> bool {
    let number = |text: &str| text.trim().parse::<u16>().ok();
    let cases: [(&str, Compare); 7] = [
        (">=", |a, b| a >= b),
        ("<=", |a, b| a <= b),
        ("!=", |a, b| a != b),
        (">", |a, b| a > b),
        ("<", |a, b| a < b),
        ("!", |a, b| a != b),
        ("=", |a, b| a == b),
    ];
    for (sign, holds) in cases {
        if let Some(text) = condition.strip_prefix(sign) {
            return number(text).is_some_and(|other| holds(version, other));
        }
    }
    if let Some((low, high)) = condition.split_once('-') {
        return number(low).is_some_and(|low| version > low) && number(high).is_some_and(|high| version < high);
    }
    number(condition).is_some_and(|other| version == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_rules_write_them() {
        assert!(compare("1", 1) && compare("=1", 1) && compare(">0", 1) && compare("<2", 1) && compare("!2", 1));
        assert!(!compare("2", 1) && !compare(">1", 1) && !compare("<1", 1) && !compare("!1", 1) && !compare("x", 1));
        assert!(compare("0-2", 1) && !compare("1-2", 1));
    }
}
