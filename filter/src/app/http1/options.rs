//! Choices of HTTP/1.

use std::collections::BTreeMap;

/// Choices of HTTP/1; names follow Suricata's `libhtp` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of a request body that rules wait for.
    pub request_minimum: u64,
    /// Bytes of a request body that are looked at together.
    pub request_window: u64,
    /// Bytes of a response body that rules wait for.
    pub response_minimum: u64,
    /// Bytes of a response body that are looked at together.
    pub response_window: u64,
    /// Bodies are looked at part by part, as they come.
    pub inline: bool,
    /// Bytes of a line or field.
    pub field_limit: usize,
    /// Fields of a message.
    pub fields: usize,
    /// The path is decoded twice.
    pub double_path: bool,
    /// The query is decoded twice.
    pub double_query: bool,
    /// "+" is a space in queries.
    pub plus: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            request_minimum: 32 << 10,
            request_window: 4 << 10,
            response_minimum: 40 << 10,
            response_window: 16 << 10,
            inline: false,
            field_limit: 18_000,
            fields: 1024,
            double_path: false,
            double_query: false,
            plus: false,
        }
    }
}

impl Options {
    /// Reads them by their dotted names; `mode` is `ips` where packets are judged before they are delivered.
    pub fn from_named(named: &BTreeMap<String, String>) -> Options {
        let of = |name: &str| {
            let short = named.get(&format!("app-layer.protocols.http.libhtp.default-config.{name}"));
            short.map(String::as_str)
        };
        let number = |name: &str, default: u64| of(name).and_then(bytes).unwrap_or(default);
        let choice = |name: &str| of(name).map(|text| matches!(text, "yes" | "true" | "on" | "1"));
        let defaults = Options::default();
        let is_ips = named.get("mode").is_some_and(|mode| mode == "ips");
        Options {
            request_minimum: number("request-body-minimal-inspect-size", defaults.request_minimum),
            request_window: number("request-body-inspect-window", defaults.request_window),
            response_minimum: number("response-body-minimal-inspect-size", defaults.response_minimum),
            response_window: number("response-body-inspect-window", defaults.response_window),
            inline: choice("http-body-inline").unwrap_or(is_ips),
            double_path: choice("double-decode-path").unwrap_or(false),
            double_query: choice("double-decode-query").unwrap_or(false),
            plus: choice("plusspace-decode").unwrap_or(false),
            field_limit: usize::try_from(number("meta-field-limit", defaults.field_limit as u64)).unwrap_or(usize::MAX),
            ..defaults
        }
    }
}

/// A number of bytes, with a unit ("40kb").
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let shift = match unit.trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}
