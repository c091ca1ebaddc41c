//! HTTP/2 in EVE (the object `http` with `http2` in it), and the names of its numbers.

use super::hpack::Header;
use super::stream::{Half, Stream};
use crate::json::Json;

/// Types of frames (RFC 9113, 6), in the order of their numbers.
const FRAMES: &[&str] = &[
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RSTSTREAM",
    "SETTINGS",
    "PUSHPROMISE",
    "PING",
    "GOAWAY",
    "WINDOWUPDATE",
    "CONTINUATION",
];

/// Error codes (RFC 9113, 7), in the order of their numbers.
const ERRORS: &[&str] = &[
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// Settings (RFC 9113, 6.5.2), from number 1 on.
const SETTINGS: &[&str] = &[
    "HEADERTABLESIZE",
    "ENABLEPUSH",
    "MAXCONCURRENTSTREAMS",
    "INITIALWINDOWSIZE",
    "MAXFRAMESIZE",
    "MAXHEADERLISTSIZE",
];

/// The type of frame that a keyword's argument names.
pub fn frame_number(argument: &str) -> Option<u32> {
    let argument = argument.trim();
    let at = FRAMES.iter().position(|name| name.eq_ignore_ascii_case(&argument.replace('_', "")));
    at.and_then(|at| u32::try_from(at).ok()).or_else(|| argument.parse().ok()).filter(|&kind| kind < 32)
}

/// `http2.errorcode`: a name or a number.
pub fn error_is(error: u32, argument: &str) -> bool {
    let argument = argument.trim();
    let named = ERRORS.iter().position(|name| name.eq_ignore_ascii_case(argument));
    named.map_or_else(|| argument.parse() == Ok(error), |at| at == error as usize)
}

/// `http2.settings`: a name, and a comparison with its value ("SETTINGS_MAX_CONCURRENT_STREAMS > 200").
pub fn setting_is(settings: &[(u16, u32)], argument: &str) -> bool {
    let argument = argument.trim();
    let end = argument.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(argument.len());
    let (name, wanted) = argument.split_at(end);
    let name = name.to_ascii_uppercase().replace("SETTINGS", "").replace('_', "");
    let number = SETTINGS.iter().position(|known| *known == name).map(|at| at as u16 + 1);
    let Some(number) = number.or_else(|| name.parse().ok()) else { return false };
    settings.iter().filter(|(id, _)| *id == number).any(|&(_, value)| holds(value, wanted.trim()))
}

fn holds(value: u32, wanted: &str) -> bool {
    let parsed = |text: &str| text.trim().parse::<u32>().ok();
    let compare = |text: &str, is: fn(&u32, &u32) -> bool| parsed(text).is_some_and(|limit| is(&value, &limit));
    if wanted.is_empty() {
        return true;
    }
    if let Some(text) = wanted.strip_prefix(">=") {
        return compare(text, u32::ge);
    }
    if let Some(text) = wanted.strip_prefix("<=") {
        return compare(text, u32::le);
    }
    if let Some(text) = wanted.strip_prefix('>') {
        return compare(text, u32::gt);
    }
    if let Some(text) = wanted.strip_prefix('<') {
        return compare(text, u32::lt);
    }
    match wanted.split_once('-') {
        Some((from, to)) => parsed(from).is_some_and(|from| value > from) && parsed(to).is_some_and(|to| value < to),
        None => compare(wanted.trim_start_matches('='), u32::eq),
    }
}

/// Writes the members of the object `http`.
pub fn http(stream: &Stream, json: &mut Json<'_>) {
    json.text("version", "2");
    headers("request_headers", &stream.client, json);
    headers("response_headers", &stream.server, json);
    let (client, server) = (&stream.client, &stream.server);
    let authority = client.value(":authority").or_else(|| client.value("host"));
    let texts = [
        ("http_method", client.value(":method")),
        ("url", client.value(":path")),
        ("hostname", authority),
        ("http_user_agent", client.value("user-agent")),
        ("http_refer", client.value("referer")),
        ("http_content_type", server.value("content-type")),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            json.bytes(name, value);
        }
    }
    for (name, value) in [("length", server.value("content-length")), ("status", server.last(":status"))] {
        let number = value.and_then(|value| std::str::from_utf8(value).ok()).and_then(|text| text.parse::<u64>().ok());
        if let Some(number) = number {
            json.number(name, number);
        }
    }
    json.nested("http2", |json| {
        json.number("stream_id", stream.id);
        json.nested("request", |json| half(client, json));
        json.nested("response", |json| half(server, json));
    });
}

fn headers(name: &str, half: &Half, json: &mut Json<'_>) {
    if half.headers.is_empty() && half.sizes.is_empty() {
        return;
    }
    json.array(name, |list| {
        for size in &half.sizes {
            list.item(|json| {
                json.number("table_size_update", *size);
            });
        }
        for Header { name, value } in &half.headers {
            list.item(|json| {
                json.bytes("name", name).bytes("value", value);
            });
        }
    });
}

fn half(half: &Half, json: &mut Json<'_>) {
    if !half.settings.is_empty() {
        json.array("settings", |list| {
            for &(id, value) in &half.settings {
                list.item(|json| {
                    let name = usize::from(id).checked_sub(1).and_then(|at| SETTINGS.get(at));
                    let name =
                        name.map_or_else(|| format!("SETTINGSUNASSIGNED({id})"), |name| format!("SETTINGS{name}"));
                    json.text("settings_id", &name).number("settings_value", value);
                });
            }
        });
    }
    if let Some(error) = half.error {
        let name = ERRORS.get(error as usize).map_or_else(|| error.to_string(), |name| (*name).to_owned());
        json.text("error_code", &name);
    }
    if let Some(&priority) = half.priorities.first() {
        json.number("priority", priority);
    }
    if half.priorities.len() > 1 {
        json.text("has_multiple", "priority");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_compared() {
        let settings = [(3, 100), (4, 65535)];
        assert!(setting_is(&settings, "SETTINGS_MAX_CONCURRENT_STREAMS"));
        assert!(setting_is(&settings, "SETTINGS_MAX_CONCURRENT_STREAMS > 99"));
        assert!(!setting_is(&settings, "SETTINGS_MAX_CONCURRENT_STREAMS <100"));
        assert!(setting_is(&settings, "SETTINGS_INITIAL_WINDOW_SIZE 65534-65536"));
        assert!(!setting_is(&settings, "SETTINGS_ENABLE_PUSH"));
    }

    #[test]
    fn names_stand_for_numbers() {
        assert_eq!(frame_number("GOAWAY"), Some(7));
        assert_eq!(frame_number("6"), Some(6));
        assert!(error_is(2, "INTERNAL_ERROR") && error_is(8, "8") && !error_is(8, "7"));
    }
}
