//! X.509 certificates (RFC 5280) as rules and EVE see them.
//!
//! The DER is read by `x509-parser`; what it refuses is reported by the element that it could not read.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use sha1::{Digest, Sha1};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::fingerprint::hex;
use crate::app::Anomaly;

/// Alternative names that are kept.
const NAMES: usize = 1024;

/// What is told of a certificate.
#[derive(Debug, Default)]
pub struct Certificate {
    /// Whose it is: "C=US, O=Org, CN=name".
    pub subject: String,
    /// Who says so.
    pub issuer: String,
    /// Serial number, "0A:BC".
    pub serial: String,
    /// SHA-1 of all of it, "0a:bc".
    pub fingerprint: String,
    /// Seconds since 1970 from which on it is valid.
    pub not_before: i64,
    /// Seconds since 1970 until which it is valid.
    pub not_after: i64,
    /// Alternative names.
    pub names: Vec<String>,
}

impl Certificate {
    /// Reads a certificate.
    pub fn read(der: &[u8]) -> Result<Certificate, Anomaly> {
        let (_, read) = X509Certificate::from_der(der).map_err(|error| match error {
            x509_parser::nom::Err::Incomplete(_) => Anomaly("tls.certificate_invalid_length"),
            x509_parser::nom::Err::Error(error) | x509_parser::nom::Err::Failure(error) => refusal(&error),
        })?;
        Ok(Certificate {
            subject: read.subject().to_string(),
            issuer: read.issuer().to_string(),
            serial: separated(read.raw_serial()).to_uppercase(),
            fingerprint: separated(&Sha1::digest(der)),
            not_before: read.validity().not_before.timestamp(),
            not_after: read.validity().not_after.timestamp(),
            names: alternative_names(&read),
        })
    }
}

fn refusal(error: &x509_parser::error::X509Error) -> Anomaly {
    use x509_parser::error::X509Error as E;
    Anomaly(match error {
        E::InvalidVersion => "tls.certificate_invalid_version",
        E::InvalidSerial => "tls.certificate_invalid_serial",
        E::InvalidAlgorithmIdentifier => "tls.certificate_invalid_algorithmidentifier",
        E::InvalidX509Name => "tls.certificate_invalid_x509name",
        E::InvalidDate => "tls.certificate_invalid_date",
        E::InvalidExtensions | E::DuplicateExtensions => "tls.certificate_invalid_extensions",
        E::Der(_) => "tls.certificate_invalid_der",
        _ => "tls.invalid_certificate",
    })
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let shown = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => Some((*text).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    });
    shown.take(NAMES).collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).to_string())
}

/// "0a:bc".
fn separated(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 3);
    for (nth, byte) in bytes.iter().enumerate() {
        let colon = if nth > 0 { ":" } else { "" };
        // Writing into a String does not fail.
        let _ = write!(out, "{colon}{}", hex(&[*byte]));
    }
    out
}

/// A time as EVE writes it: "2022-12-01T06:47:31".
pub fn date(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Year, month and day of a count of days since 1970 (the proleptic Gregorian calendar).
fn civil(days: i64) -> (i64, i64, i64) {
    // Years begin in March here, so that the leap day is the last day of a year.
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01T00:00:00");
        assert_eq!(date(951_782_400), "2000-02-29T00:00:00");
        assert_eq!(date(1_669_877_251), "2022-12-01T06:47:31");
        assert_eq!(date(-1), "1969-12-31T23:59:59");
    }

    #[test]
    fn bytes_that_are_no_certificate_are_refused_by_name() {
        assert!(Certificate::read(&[]).is_err());
        assert!(Certificate::read(&[0x30, 0x03, 2, 1, 1]).is_err());
        assert!(Certificate::read(b"\x30\x84\xff\xff\xff\xff").is_err());
    }
}
