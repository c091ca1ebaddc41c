//! Choices of HTTP/1, for all servers and for some.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::hosts::Hosts;

/// Where the choices stand.
const LIBHTP: &str = "app-layer.protocols.http.libhtp.";

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
    /// Bytes of a request body that are inspected, where it is not what all servers have.
    pub request_limit: Option<u64>,
    /// The same of responses.
    pub response_limit: Option<u64>,
    /// Layers of compression undone, where it is not what all servers have.
    pub layers: Option<u8>,
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
            request_limit: None,
            response_limit: None,
            layers: None,
        }
    }
}

/// Choices for servers that have some of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Servers {
    choices: Vec<Options>,
    by_address: Hosts<Option<usize>>,
}

impl Servers {
    /// Reads `server-config`: each has a name, before which a number may stand, and a list `address`.
    pub fn from_named(named: &BTreeMap<String, String>) -> Servers {
        let mut servers = Servers::default();
        let prefix = format!("{LIBHTP}server-config.");
        for (name, list) in named {
            let Some(of) = name.strip_suffix(".address").filter(|name| name.starts_with(&prefix)) else { continue };
            let own = |key: &str| named.get(&format!("{of}.{key}")).map(String::as_str);
            let mut options = Options::read(own, is_ips(named));
            let number = |key: &str| own(key).and_then(bytes);
            options.request_limit = number("request-body-limit");
            options.response_limit = number("response-body-limit");
            options.layers = number("response-body-decompress-layer-limit").map(|layers| layers.min(255) as u8);
            let words = list.split([',', '[', ']', ' ', '"', '\'']);
            for network in words.filter_map(|word| word.parse::<IpNetwork>().ok()) {
                servers.by_address.set(network, Some(servers.choices.len()));
            }
            servers.choices.push(options);
        }
        servers
    }

    /// The choices for a server; `usual` are those of all others.
    pub fn of<'s>(&'s self, server: IpAddr, usual: &'s Options) -> &'s Options {
        self.by_address.of(server).and_then(|nth| self.choices.get(nth)).unwrap_or(usual)
    }
}

/// Whether packets are judged before they are delivered.
fn is_ips(named: &BTreeMap<String, String>) -> bool {
    named.get("mode").is_some_and(|mode| mode == "ips")
}

impl Options {
    /// Reads them by their dotted names; `mode` is `ips` where packets are judged before they are delivered.
    pub fn from_named(named: &BTreeMap<String, String>) -> Options {
        let of = |name: &str| named.get(&format!("{LIBHTP}default-config.{name}")).map(String::as_str);
        Options::read(of, is_ips(named))
    }

    /// Reads them from wherever the values of names stand.
    fn read<'n>(of: impl Fn(&str) -> Option<&'n str>, is_ips: bool) -> Options {
        let number = |name: &str, default: u64| of(name).and_then(bytes).unwrap_or(default);
        let choice = |name: &str| of(name).map(|text| matches!(text, "yes" | "true" | "on" | "1"));
        let defaults = Options::default();
        Options {
            request_minimum: number("request-body-minimal-inspect-size", defaults.request_minimum),
            request_window: number("request-body-inspect-window", defaults.request_window),
            response_minimum: number("response-body-minimal-inspect-size", defaults.response_minimum),
            response_window: number("response-body-inspect-window", defaults.response_window),
            inline: choice("http-body-inline").unwrap_or(is_ips),
            double_path: choice("double-decode-path").unwrap_or(false),
            double_query: choice("double-decode-query").unwrap_or(false),
            plus: choice("plusspace-decode").unwrap_or(false),
            fields: usize::try_from(number("headers-limit", defaults.fields as u64)).unwrap_or(usize::MAX),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_choices_of_their_own_by_the_longest_prefix() {
        let of = |name: &str, value: &str| (format!("{LIBHTP}{name}"), value.to_owned());
        let named = BTreeMap::from([
            of("default-config.double-decode-path", "yes"),
            of("default-config.headers-limit", "7"),
            of("server-config.0.apache.address", "[10.0.0.0/8, \"::1\"]"),
            of("server-config.0.apache.request-body-limit", "4kb"),
            of("server-config.iis7.address", "10.1.0.0/16"),
            of("server-config.iis7.double-decode-query", "yes"),
            of("server-config.iis7.response-body-decompress-layer-limit", "3"),
            of("server-config.nowhere.double-decode-query", "yes"),
        ]);
        let (usual, servers) = (Options::from_named(&named), Servers::from_named(&named));
        let shown = |server: &str| {
            let options = servers.of(server.parse().unwrap(), &usual);
            (options.double_path, options.double_query, options.request_limit, options.layers)
        };
        assert_eq!(usual.fields, 7);
        assert_eq!(shown("192.0.2.1"), (true, false, None, None));
        assert_eq!([shown("10.2.0.1"), shown("::1")], [(false, false, Some(4096), None); 2]);
        assert_eq!(shown("10.1.0.1"), (false, true, None, Some(3)));
    }
}
