//! TLS in EVE, and the small languages of the keywords that compare versions and dates.

use super::certificate::{Certificate, date};
use super::fingerprint::{Carrier, ja4, md5_hex};
use super::transaction::Connection;
use crate::json::Json;

/// Writes the members of the object `tls`.
pub fn connection(connection: &Connection, json: &mut Json<'_>) {
    let certificate = connection.server.certificate.as_ref();
    if let Some(certificate) = certificate {
        json.text("subject", &certificate.subject).text("issuerdn", &certificate.issuer);
        if !certificate.names.is_empty() {
            names(certificate, json);
        }
    }
    if connection.is_resumed() {
        json.flag("session_resumed", true);
    }
    if let Some(certificate) = certificate {
        json.text("serial", &certificate.serial).text("fingerprint", &certificate.fingerprint);
    }
    let client = connection.client.hello.as_ref();
    if let Some(sni) = client.and_then(|hello| hello.sni.as_ref()) {
        json.bytes("sni", sni);
    }
    json.text("version", &version_name(connection.server_version()));
    if let Some(certificate) = certificate {
        json.text("notbefore", &date(certificate.not_before)).text("notafter", &date(certificate.not_after));
    }
    fingerprints(connection, json);
    if let Some(certificate) = &connection.client.certificate {
        json.nested("client", |json| {
            json.text("subject", &certificate.subject).text("issuerdn", &certificate.issuer);
            json.text("fingerprint", &certificate.fingerprint).text("serial", &certificate.serial);
            json.text("notbefore", &date(certificate.not_before)).text("notafter", &date(certificate.not_after));
        });
    }
    let server = connection.server.hello.as_ref();
    for (name, hello) in [("client_alpns", client), ("server_alpns", server)] {
        if let Some(hello) = hello.filter(|hello| !hello.alpns.is_empty()) {
            json.array(name, |list| {
                hello.alpns.iter().for_each(|alpn| {
                    list.item_bytes(alpn);
                });
            });
        }
    }
}

fn names(certificate: &Certificate, json: &mut Json<'_>) {
    json.array("subjectaltname", |list| {
        certificate.names.iter().for_each(|name| {
            list.item_bytes(name.as_bytes());
        });
    });
}

fn fingerprints(connection: &Connection, json: &mut Json<'_>) {
    let sides = [("ja3", &connection.client.fingerprint), ("ja3s", &connection.server.fingerprint)];
    for (name, string) in sides {
        if !string.is_empty() {
            json.nested(name, |json| {
                json.text("hash", &md5_hex(string.as_bytes())).text("string", string);
            });
        }
    }
    if let Some(hello) = connection.client.hello.as_ref().filter(|_| !connection.client.fingerprint.is_empty()) {
        json.text("ja4", &ja4(hello, Carrier::Tcp));
    }
}

/// A version as EVE names it.
pub fn version_name(version: u16) -> String {
    match version {
        0 => "UNDETERMINED".to_owned(),
        0x0002 => "SSLv2".to_owned(),
        0x0300 => "SSLv3".to_owned(),
        0x0301 => "TLSv1".to_owned(),
        0x0302 => "TLS 1.1".to_owned(),
        0x0303 => "TLS 1.2".to_owned(),
        0x0304 => "TLS 1.3".to_owned(),
        0x7f00..=0x7fff => format!("TLS 1.3 draft-{}", version & 0xff),
        _ => format!("0x{version:04x}"),
    }
}

/// Numbers of the versions as keywords name them. The drafts of TLS 1.3 count as it.
fn is_named(version: u16, name: &str) -> bool {
    match name {
        "sslv2" => version == 0x0002,
        "sslv3" => version == 0x0300,
        "tls1.0" | "1.0" => version == 0x0301,
        "tls1.1" | "1.1" => version == 0x0302,
        "tls1.2" | "1.2" => version == 0x0303,
        "tls1.3" | "1.3" => version == 0x0304 || version >> 8 == 0x7f,
        _ => name.strip_prefix("0x").is_some_and(|hex| u16::from_str_radix(hex, 16) == Ok(version)),
    }
}

/// `tls.version`: one version, or a number.
pub fn version_is(version: u16, argument: &str) -> bool {
    let argument = argument.trim().trim_matches('"');
    match argument.strip_prefix('!') {
        Some(name) => !is_named(version, name.trim()),
        None => is_named(version, argument),
    }
}

/// `ssl_version`: a list of versions, each of which may be negated; one that holds is enough.
pub fn one_of_versions(version: u16, argument: &str) -> bool {
    if version == 0 {
        return false;
    }
    let argument = argument.to_ascii_lowercase();
    argument.split(',').map(str::trim).any(|name| match name.strip_prefix('!') {
        Some(name) => !is_named(version, name.trim()),
        None => is_named(version, name),
    })
}

/// `tls_cert_notafter` and its like: `<date`, `>date`, `date<>date` or a date, of which the end may be missing.
pub fn date_is(seconds: i64, argument: &str) -> bool {
    let argument = argument.trim().trim_matches('"');
    let is = date(seconds);
    if let Some((from, to)) = argument.split_once("<>") {
        return is.as_str() > filled(from).as_str() && is.as_str() < filled(to).as_str();
    }
    if let Some(limit) = argument.strip_prefix('<') {
        return is < filled(limit);
    }
    if let Some(limit) = argument.strip_prefix('>') {
        return is > filled(limit);
    }
    is == filled(argument)
}

/// A date with the parts that are not said: "2020-05" is "2020-05-01T00:00:00".
fn filled(text: &str) -> String {
    let text = text.trim().replace(' ', "T");
    let rest = "0000-01-01T00:00:00".get(text.len()..).unwrap_or_default();
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_name() {
        assert!(one_of_versions(0x0301, "tls1.0,tls1.1"));
        assert!(one_of_versions(0x0301, "!sslv3"));
        assert!(!one_of_versions(0x0301, "!tls1.0"));
        assert!(one_of_versions(0x0301, "!tls1.3,tls1.2"));
        assert!(version_is(0x0304, "1.3") && !version_is(0x0303, "1.3"));
    }

    #[test]
    fn dates_may_be_cut_short() {
        assert!(date_is(0, "<1970-02"));
        assert!(date_is(0, "1969<>1971-06-01"));
        assert!(!date_is(0, ">1970"));
    }
}
