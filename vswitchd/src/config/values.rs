//! Values as people write them: ranges, protocols, ICMP types, MAC addresses, lists that may be one.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, IntoDeserializer, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use weir_wire::MacAddr;

/// A range of 16-bit numbers (ports, VLANs), both ends included: `80`, `"80"` or `"8000-8080"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First.
    pub first: u16,
    /// Last; not below the first.
    pub last: u16,
}

impl From<Range> for RangeInclusive<u16> {
    fn from(range: Range) -> RangeInclusive<u16> {
        range.first..=range.last
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Range, String> {
        let wrong = || format!("\"{text}\" is not a number or range from 0 to 65535: write 80 or \"8000-8080\"");
        let number = |t: &str| t.trim().parse::<u16>().map_err(|_| wrong());
        let (first, last) = match text.split_once('-') {
            Some((a, b)) => (number(a)?, number(b)?),
            None => (number(text)?, number(text)?),
        };
        if first > last {
            return Err(format!("\"{text}\" is empty: the first number is larger than the last"));
        }
        Ok(Range { first, last })
    }
}

/// IP protocols that people call by name, with their IANA numbers.
const PROTOCOLS: [(&str, u8); 10] = [
    ("icmp", 1),
    ("igmp", 2),
    ("tcp", 6),
    ("udp", 17),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", 58),
    ("ospf", 89),
    ("sctp", 132),
];

/// An IP protocol: `"tcp"` or `6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol(pub u8);

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PROTOCOLS.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Protocol, String> {
        let lower = text.to_ascii_lowercase();
        if let Some((_, number)) = PROTOCOLS.iter().find(|(name, _)| *name == lower) {
            return Ok(Protocol(*number));
        }
        let names: Vec<&str> = PROTOCOLS.iter().map(|(name, _)| *name).collect();
        text.parse().map(Protocol).map_err(|_| {
            format!("\"{text}\" is not an IP protocol: write a number from 0 to 255 or one of {}", names.join(", "))
        })
    }
}

/// ICMP types that people call by name. ICMP and ICMPv6 differ, so each name stands for both numbers, which do not
/// collide: the ICMPv6 numbers from 128 on mean nothing in ICMP.
const ICMP_TYPES: [(&str, &[u8]); 9] = [
    ("echo-reply", &[0, 129]),
    ("echo-request", &[8, 128]),
    ("destination-unreachable", &[3, 1]),
    ("time-exceeded", &[11]),
    ("router-solicitation", &[133]),
    ("router-advertisement", &[134]),
    ("neighbor-solicitation", &[135]),
    ("neighbor-advertisement", &[136]),
    ("packet-too-big", &[2]),
];

/// ICMP types with an optional code: `"echo-request"`, `8`, `"3/4"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Icmp {
    text: String,
    /// The types it stands for.
    pub kinds: Vec<u8>,
    /// The code; any where absent.
    pub code: Option<u8>,
}

impl fmt::Display for Icmp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Icmp {
    type Err = String;

    fn from_str(text: &str) -> Result<Icmp, String> {
        let wrong = || {
            let names: Vec<&str> = ICMP_TYPES.iter().map(|(name, _)| *name).collect();
            format!(
                "\"{text}\" is not an ICMP type: write a number, \"type/code\" as in \"3/4\", or one of {}",
                names.join(", ")
            )
        };
        let (kind, code) = match text.split_once('/') {
            Some((kind, code)) => (kind, Some(code.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let kinds = match ICMP_TYPES.iter().find(|(name, _)| *name == kind) {
            Some((_, kinds)) => kinds.to_vec(),
            None => vec![kind.parse().map_err(|_| wrong())?],
        };
        Ok(Icmp { text: text.to_owned(), kinds, code })
    }
}

/// Bits a second: `"1.5g"`, `"500m"`, `"64k"`, or the number itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits(pub u64);

/// What the letters behind a number of bits stand for.
const BIT_UNITS: [(char, u64); 4] = [('t', 1_000_000_000_000), ('g', 1_000_000_000), ('m', 1_000_000), ('k', 1000)];

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match BIT_UNITS.iter().find(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit)) {
            Some((letter, unit)) => write!(f, "{}{letter}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Bits {
    type Err = String;

    fn from_str(text: &str) -> Result<Bits, String> {
        let wrong = || format!("\"{text}\" is not a rate: write bits a second, as in 64000, \"500m\" or \"1.5g\"");
        let lower = text.trim().to_ascii_lowercase();
        let lower = lower.strip_suffix("bit/s").or(lower.strip_suffix("bit")).unwrap_or(&lower).trim_end();
        let unit = BIT_UNITS.iter().find_map(|&(letter, unit)| Some((lower.strip_suffix(letter)?, unit)));
        let (number, unit) = unit.unwrap_or((lower, 1));
        let (whole, part) = number.trim_end().split_once('.').unwrap_or((number.trim_end(), ""));
        if part.len() > 9 || !part.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(wrong());
        }
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        let parts: u64 = format!("{part:0<9}").parse().map_err(|_| wrong())?;
        let bits = u128::from(whole) * u128::from(unit) + u128::from(parts) * u128::from(unit) / 1_000_000_000;
        u64::try_from(bits).ok().filter(|&bits| bits <= BITS_MAX).map(Bits).ok_or_else(wrong)
    }
}

/// The highest rate: ten terabits.
const BITS_MAX: u64 = 10_000_000_000_000;

/// A MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub MacAddr);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Mac, String> {
        text.parse().map(Mac).map_err(|e: weir_wire::mac::InvalidMac| e.to_string())
    }
}

/// Reads a value from its text, or from a bare integer where people write one.
struct TextOrInteger<T>(PhantomData<T>);

impl<T: FromStr<Err = String>> Visitor<'_> for TextOrInteger<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a number")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }
}

macro_rules! serde_as_text {
    ($($kind:ty),+) => {
        $(
            impl<'de> Deserialize<'de> for $kind {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$kind, D::Error> {
                    deserializer.deserialize_any(TextOrInteger(PhantomData))
                }
            }

            impl Serialize for $kind {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    let text = self.to_string();
                    match text.parse::<u16>() {
                        Ok(number) => serializer.serialize_u16(number),
                        Err(_) => serializer.serialize_str(&text),
                    }
                }
            }
        )+
    };
}

serde_as_text!(Range, Protocol, Icmp, Mac, Bits, super::dscp::Dscp);

struct OneOrMany<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one value or a list of values")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
        T::deserialize(text.into_deserializer()).map(|value| vec![value])
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Vec<T>, E> {
        T::deserialize(number.into_deserializer()).map(|value| vec![value])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(values)
    }
}

/// Reads a list; a single value stands for a list of one.
pub(super) fn one_or_many<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    from.deserialize_any(OneOrMany(PhantomData))
}
