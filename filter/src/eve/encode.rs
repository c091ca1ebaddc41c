//! Encodings: base64, times, printable text, the community identifier.

use std::fmt::Write;
use std::net::IpAddr;

use sha1::{Digest, Sha1};
use weir_wire::Instant;

use crate::capture::{counterpart_v4, counterpart_v6};
use crate::event::Tuple;

/// Base64 (RFC 4648, 4).
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0u32, |word, &byte| word << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for i in 0..4 {
            let letter = LETTERS.get((word >> (18 - 6 * i) & 63) as usize).copied().unwrap_or(b'=');
            text.push(if i <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// Bytes as text: what is not printable ASCII becomes a dot, but for ends of lines.
pub fn printable(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| if matches!(byte, b' '..=b'~' | b'\r' | b'\n') { char::from(byte) } else { '.' }).collect()
}

/// ISO 8601 with microseconds in UTC.
pub fn timestamp(time: Instant) -> String {
    let (seconds, micros) = (time.0 / 1_000_000_000, time.0 % 1_000_000_000 / 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let mut text = String::with_capacity(32);
    // Writing into a String does not fail.
    let _ = write!(
        text,
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{micros:06}+0000",
        second / 3600,
        second % 3600 / 60,
        second % 60
    );
    text
}

/// The civil date of a day counted from 1970-01-01, after Howard Hinnant's `civil_from_days`: years begin in March, so
/// that the leap day is the last of its year.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The flow's name across tools, the same for both directions: version 1 with seed 0
/// (<https://github.com/corelight/community-id-spec>).
pub fn community_id(tuple: &Tuple) -> String {
    let (source_port, destination_port, one_way) = community_ports(tuple);
    let source = (octets(tuple.source), source_port);
    let destination = (octets(tuple.destination), destination_port);
    let (first, second) = if one_way || source <= destination { (source, destination) } else { (destination, source) };
    let mut hash = Sha1::new();
    hash.update([0, 0]);
    hash.update(&first.0);
    hash.update(&second.0);
    hash.update([tuple.protocol, 0]);
    if matches!(tuple.protocol, 1 | 6 | 17 | 58 | 132) {
        hash.update(first.1.to_be_bytes());
        hash.update(second.1.to_be_bytes());
    }
    format!("1:{}", base64(&hash.finalize()))
}

/// The ports that stand for a tuple, and whether they have one direction only: a request's type goes with its reply's.
fn community_ports(tuple: &Tuple) -> (u16, u16, bool) {
    let counterpart = match tuple.protocol {
        1 => counterpart_v4(tuple.source_port),
        58 => counterpart_v6(tuple.source_port),
        _ => return (tuple.source_port, tuple.destination_port, false),
    };
    match counterpart {
        Some(kind) => (tuple.source_port, kind, false),
        None => (tuple.source_port, tuple.destination_port, true),
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
