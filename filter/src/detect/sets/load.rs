//! The forms in which sets are written: lines, JSON, lists of digests, reputations.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weir_ids_rules::rule::{Base64Mode, DataSet, DataSetFormat, DataSetKind};

use super::Entry;
use super::json::{self, Json};
use crate::detect::transform::base64;

/// Values with what is known of them.
type Values = Vec<(Vec<u8>, Entry)>;

/// Reads the file of a `dataset`.
pub fn values(bytes: &[u8], set: &DataSet) -> Result<Values, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the file is not UTF-8".to_owned())?;
    match set.format {
        DataSetFormat::Csv => lines(bytes, set.kind),
        DataSetFormat::Json => {
            let document = json::parse(text)?;
            let list = match &set.array_key {
                Some(path) => document.at(path).ok_or_else(|| format!("there is no '{path}' in the document"))?,
                None => &document,
            };
            let list = list.as_list().ok_or("what should be a list is none")?;
            list.iter().filter_map(|object| from_json(object, set).transpose()).collect()
        }
        DataSetFormat::NdJson => {
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            lines.filter_map(|line| json::parse(line).and_then(|object| from_json(&object, set)).transpose()).collect()
        }
    }
}

/// The value of an object; `None` where it has none, as other objects of a document may.
fn from_json(object: &Json, set: &DataSet) -> Result<Option<(Vec<u8>, Entry)>, String> {
    let path = set.value_key.as_deref().unwrap_or_default();
    let Some(text) = object.at(path).and_then(Json::as_text) else { return Ok(None) };
    let value = match set.kind {
        DataSetKind::Text => text.as_bytes().to_vec(),
        kind => parse(text, kind)?,
    };
    let mut shown = object.clone();
    if set.remove_key {
        shown.remove(path);
    }
    let mut context = String::new();
    shown.write(&mut context);
    Ok(Some((value, Entry { score: 0, context: Some(context.into()) })))
}

/// One value a line, with a score behind a comma where there is one.
pub fn lines(bytes: &[u8], kind: DataSetKind) -> Result<Values, String> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (value, score) = line.split_once(',').unwrap_or((line, "0"));
            let score = score.trim().parse().map_err(|_| format!("'{score}' is not a score"))?;
            Ok((parse(value.trim(), kind)?, Entry { score, context: None }))
        })
        .collect()
}

fn parse(text: &str, kind: DataSetKind) -> Result<Vec<u8>, String> {
    let bad = || format!("'{text}' is not a value of its set");
    match kind {
        DataSetKind::Text => {
            let mut value = Vec::new();
            base64::decode(text.as_bytes(), None, Base64Mode::Strict, &mut value);
            if value.is_empty() { Err(bad()) } else { Ok(value) }
        }
        DataSetKind::Md5 => hex(text, 16).ok_or_else(bad),
        DataSetKind::Sha256 => hex(text, 32).ok_or_else(bad),
        DataSetKind::Ipv4 => text.parse::<std::net::Ipv4Addr>().map(|a| a.octets().to_vec()).map_err(|_| bad()),
        DataSetKind::Ip => match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(v4)) => Ok(v4.to_ipv6_mapped().octets().to_vec()),
            Ok(IpAddr::V6(v6)) => Ok(v6.octets().to_vec()),
            Err(_) => Err(bad()),
        },
    }
}

/// So many bytes in hexadecimal.
fn hex(text: &str, length: usize) -> Option<Vec<u8>> {
    let digit = |b: &u8| char::from(*b).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = pairs
        .map(|pair| match pair {
            [high, low] => Some((digit(high)? << 4 | digit(low)?) as u8),
            _ => None,
        })
        .collect();
    bytes.filter(|bytes| bytes.len() == length)
}

/// A list of digests: the first word of each line.
pub fn digests(bytes: &[u8], length: usize) -> Result<BTreeSet<Box<[u8]>>, String> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let word = line.split(|c: char| c.is_whitespace() || c == ',').next().unwrap_or(line);
            hex(word, length).map(Vec::into_boxed_slice).ok_or_else(|| format!("'{word}' is not a digest of the list"))
        })
        .collect()
}

/// Values as a file of lines.
pub fn write<'v>(kind: DataSetKind, values: impl Iterator<Item = &'v Box<[u8]>>) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for value in values {
        match kind {
            DataSetKind::Text => to_base64(value, &mut text),
            DataSetKind::Md5 | DataSetKind::Sha256 => {
                for byte in value.iter() {
                    // Writing to a string cannot fail.
                    let _ = write!(text, "{byte:02x}");
                }
            }
            DataSetKind::Ipv4 | DataSetKind::Ip => {
                let address = match (<[u8; 4]>::try_from(&value[..]), <[u8; 16]>::try_from(&value[..])) {
                    (Ok(v4), _) => IpAddr::from(v4),
                    (_, Ok(v6)) => IpAddr::from(v6),
                    (Err(_), Err(_)) => continue,
                };
                text.push_str(&address.to_string());
            }
        }
        text.push('\n');
    }
    text
}

fn to_base64(bytes: &[u8], text: &mut String) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for i in 0..4usize {
            let digit = DIGITS.get((word >> (18 - 6 * i) & 63) as usize).copied().unwrap_or(b'=');
            text.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
}

/// The scores of one category.
#[derive(Clone, Debug, Default)]
pub struct Repute {
    hosts: BTreeMap<IpAddr, u8>,
    networks: Vec<(IpNetwork, u8)>,
}

impl Repute {
    /// The score of an address: its own, or that of the smallest network it is in.
    pub fn score(&self, address: IpAddr) -> Option<u8> {
        let within = || {
            let fitting = self.networks.iter().filter(|(network, _)| network.contains(address));
            fitting.max_by_key(|(network, _)| network.prefix()).map(|(_, score)| *score)
        };
        self.hosts.get(&address).copied().or_else(within)
    }
}

/// Reads categories and addresses; lines that are neither are passed over.
pub fn reputations(categories: &[u8], addresses: &[u8], into: &mut BTreeMap<Box<str>, Repute>) {
    let text = String::from_utf8_lossy(categories);
    let names: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| {
            let mut parts = line.split(',').map(str::trim);
            Some((parts.next()?, parts.next()?))
        })
        .collect();
    for line in String::from_utf8_lossy(addresses).lines() {
        let mut parts = line.split(',').map(str::trim);
        let (Some(address), Some(category), Some(score)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (Some(name), Ok(score)) = (names.get(category), score.parse::<u8>()) else { continue };
        let repute = into.entry(Box::from(*name)).or_default();
        match (address.parse::<IpAddr>(), address.parse::<IpNetwork>()) {
            (Ok(host), _) => {
                repute.hosts.insert(host, score);
            }
            (_, Ok(network)) => repute.networks.push((network, score)),
            (Err(_), Err(_)) => {}
        }
    }
}
