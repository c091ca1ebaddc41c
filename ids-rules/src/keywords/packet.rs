//! Conditions on a packet's headers: TCP flags and numbers, TTL, ICMP type and code, and the like. A rule with one of
//! them looks at single packets, not at the stream.

use super::{bounds, exclusive_bounds, no_value, number, required};
use crate::diagnostic::{Fault, Kind};
use crate::lexer::{Piece, RuleOption};
use crate::parser::Draft;
use crate::rule::{Bounds, Condition, FlagsMode, FragmentBits, FragmentMode, Nth, Summed};

fn add(draft: &mut Draft, condition: Condition) -> Result<(), Fault> {
    draft.rule.conditions.push(condition);
    Ok(())
}

/// TCP's flags by letter, as they stand in the header's 14th byte (RFC 9293, 3.1; `1` and `2` are CWR and ECE).
fn flag_letters(word: Piece<'_>) -> Result<u8, Fault> {
    word.text.char_indices().try_fold(0, |flags, (i, letter)| {
        Ok(flags
            | match letter.to_ascii_uppercase() {
                'F' => 0x01,
                'S' => 0x02,
                'R' => 0x04,
                'P' => 0x08,
                'A' => 0x10,
                'U' => 0x20,
                '2' | 'E' => 0x40,
                '1' | 'C' => 0x80,
                '0' => 0,
                _ => {
                    let at = word.at + i;
                    let message = format!("'{letter}' is not a TCP flag");
                    return Err(Fault::new(Kind::Value, at..at + letter.len_utf8(), message)
                        .remedy("F S R P A U C E, or 0 for none"));
                }
            })
    })
}

pub(super) fn flags(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let (wanted, ignored) = match value.split_once(',') {
        Some((wanted, ignored)) if !ignored.trim().text.is_empty() => (wanted.trim(), flag_letters(ignored.trim())?),
        Some(_) => return Err(Fault::new(Kind::Value, value.range(), "no flag is named behind the comma")),
        None => (value, 0),
    };
    let modes = [('+', FlagsMode::All), ('*', FlagsMode::Any), ('!', FlagsMode::Not)];
    let mut letters = wanted;
    let mut mode = FlagsMode::Exact;
    for (sign, meaning) in modes {
        // The sign may stand before or behind the letters.
        if let Some(rest) = letters.strip_prefix(sign.encode_utf8(&mut [0; 4])) {
            (letters, mode) = (rest, meaning);
        } else if let Some(rest) = letters.text.strip_suffix(sign) {
            (letters, mode) = (Piece::new(rest, letters.at), meaning);
        }
    }
    if letters.text.is_empty() {
        return Err(Fault::new(Kind::Value, value.range(), "no TCP flag is named").remedy("0 for none"));
    }
    let flags = flag_letters(letters)?;
    add(draft, Condition::Flags { mode, flags, mask: !ignored })
}

pub(super) fn seq(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = number(required(option)?, 0, u32::MAX.into())? as u32;
    add(draft, Condition::Sequence(value))
}

pub(super) fn ack(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = number(required(option)?, 0, u32::MAX.into())? as u32;
    add(draft, Condition::Acknowledgment(value))
}

pub(super) fn window(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let (negated, digits) = match value.strip_prefix("!") {
        Some(rest) => (true, rest.trim()),
        None => (false, value),
    };
    add(draft, Condition::Window { value: number(digits, 0, u16::MAX.into())? as u16, negated })
}

pub(super) fn ttl(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let bounds = exclusive_bounds(required(option)?, 255)?;
    add(draft, Condition::Ttl(bounds))
}

pub(super) fn id(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = number(required(option)?, 0, u16::MAX.into())? as u16;
    add(draft, Condition::IpId(value))
}

pub(super) fn ip_proto(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let named = [
        ("ICMP", "1"),
        ("IGMP", "2"),
        ("IPIP", "4"),
        ("ST", "5"),
        ("TCP", "6"),
        ("EGP", "8"),
        ("IGP", "9"),
        ("PUP", "12"),
        ("UDP", "17"),
        ("HMP", "20"),
        ("XNS-IDP", "22"),
        ("RDP", "27"),
        ("ISO-TP4", "29"),
        ("DCCP", "33"),
        ("XTP", "36"),
        ("DDP", "37"),
        ("IDPR-CMTP", "38"),
        ("IPv6", "41"),
        ("IPv6-Route", "43"),
        ("IPv6-Frag", "44"),
        ("IDRP", "45"),
        ("RSVP", "46"),
        ("GRE", "47"),
        ("ESP", "50"),
        ("AH", "51"),
        ("SKIP", "57"),
        ("ICMPv6", "58"),
        ("IPv6-ICMP", "58"),
        ("IPv6-NoNxt", "59"),
        ("IPv6-Opts", "60"),
        ("EIGRP", "88"),
        ("OSPF", "89"),
        ("ETHERIP", "97"),
        ("ENCAP", "98"),
        ("PIM", "103"),
        ("IPCOMP", "108"),
        ("VRRP", "112"),
        ("L2TP", "115"),
        ("ISIS", "124"),
        ("SCTP", "132"),
        ("UDPLite", "136"),
        ("MPLS-in-IP", "137"),
    ];
    let text = value.text.trim_start_matches('!').trim();
    let known = named.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, number)| *number);
    let negated = value.text.starts_with('!');
    let mut bounds = match known {
        Some(number) => bounds(Piece::new(number, value.at), 255)?,
        None if negated => bounds(value.strip_prefix("!").unwrap_or(value).trim(), 255)?,
        None => bounds(value, 255)?,
    };
    bounds.negated = negated;
    add(draft, Condition::IpProtocol(bounds))
}

/// `ipv4-csum:valid|invalid`, and those of the transports.
pub(super) fn checksum(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?.unquote()?.trim();
    let valid = match value.text.to_ascii_lowercase().as_str() {
        "valid" => true,
        "invalid" => false,
        _ => return Err(Fault::new(Kind::Value, value.range(), "a checksum is valid or invalid")),
    };
    let of = match option.name.text {
        "tcpv4-csum" => Summed::Tcp { v6: false },
        "tcpv6-csum" => Summed::Tcp { v6: true },
        "udpv4-csum" => Summed::Udp { v6: false },
        "udpv6-csum" => Summed::Udp { v6: true },
        "icmpv4-csum" => Summed::Icmp { v6: false },
        "icmpv6-csum" => Summed::Icmp { v6: true },
        _ => Summed::Ipv4,
    };
    add(draft, Condition::Checksum { of, valid })
}

/// `rpc:PROGRAM[,VERSION|*[,PROCEDURE|*]]`
pub(super) fn rpc(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let mut words = value.split(',').map(Piece::trim);
    let program = number(words.next().unwrap_or(value), 0, u32::MAX.into())? as u32;
    let mut optional = || match words.next() {
        None => Ok(None),
        Some(word) if word.text == "*" => Ok(None),
        Some(word) => number(word, 0, u32::MAX.into()).map(|n| Some(n as u32)),
    };
    let (version, procedure) = (optional()?, optional()?);
    if let Some(word) = words.next() {
        return Err(Fault::new(Kind::Value, word.range(), "rpc reads: PROGRAM[,VERSION|*[,PROCEDURE|*]]"));
    }
    add(draft, Condition::Rpc { program, version, procedure })
}

/// `l3_proto:ipv4|ipv6`
pub(super) fn ip_version(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let v6 = match value.text.to_ascii_lowercase().as_str() {
        "ip4" | "ipv4" => false,
        "ip6" | "ipv6" => true,
        _ => return Err(Fault::new(Kind::Value, value.range(), "one of ipv4 and ipv6")),
    };
    add(draft, Condition::IpVersion { v6 })
}

pub(super) fn sameip(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    no_value(option)?;
    add(draft, Condition::SameIp)
}

pub(super) fn itype(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let bounds = exclusive_bounds(required(option)?, 255)?;
    add(draft, Condition::IcmpType(bounds))
}

pub(super) fn icode(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let bounds = exclusive_bounds(required(option)?, 255)?;
    add(draft, Condition::IcmpCode(bounds))
}

pub(super) fn icmp_id(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = number(required(option)?, 0, u16::MAX.into())? as u16;
    add(draft, Condition::IcmpId(value))
}

pub(super) fn icmp_seq(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = number(required(option)?, 0, u16::MAX.into())? as u16;
    add(draft, Condition::IcmpSequence(value))
}

pub(super) fn tos(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let (negated, rest) = match value.strip_prefix("!") {
        Some(rest) => (true, rest.trim()),
        None => (false, value),
    };
    // `x2a` is hexadecimal.
    let n = match rest.text.strip_prefix('x') {
        Some(digits) => u8::from_str_radix(digits, 16).ok().map(u64::from),
        None => rest.text.parse::<u8>().ok().map(u64::from),
    };
    let n = n.ok_or_else(|| Fault::new(Kind::Value, rest.range(), "this is not a number from 0 to 255"))?;
    add(draft, Condition::Tos(Bounds { min: n, max: n, negated }))
}

pub(super) fn fragbits(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let (mut mode, mut bits) = (FragmentMode::Exact, FragmentBits::default());
    for c in value.text.chars() {
        match c {
            '+' => mode = FragmentMode::All,
            '*' => mode = FragmentMode::Any,
            '!' => mode = FragmentMode::None,
            'M' | 'm' => bits.more = true,
            'D' | 'd' => bits.dont = true,
            'R' | 'r' => bits.reserved = true,
            ' ' => {}
            _ => {
                return Err(Fault::new(
                    Kind::Value,
                    value.range(),
                    "the bits are M, D and R, with +, * or ! before them",
                ));
            }
        }
    }
    if bits == FragmentBits::default() {
        return Err(Fault::new(Kind::Value, value.range(), "no bit is named"));
    }
    add(draft, Condition::FragmentBits { mode, bits })
}

pub(super) fn fragoffset(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let bounds = bounds(required(option)?, 0x1fff)?;
    add(draft, Condition::FragmentOffset(bounds))
}

/// IPv4 options by the names of the language (RFC 791 and the registry of option numbers).
pub(super) fn ipopts(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let number = match value.text {
        "any" => None,
        "eol" => Some(0),
        "nop" => Some(1),
        "rr" => Some(7),
        "qs" => Some(25),
        "ts" => Some(68),
        "sec" => Some(130),
        "lsrr" | "lsrre" => Some(131),
        "esec" => Some(133),
        "cipso" => Some(134),
        "satid" => Some(136),
        "ssrr" => Some(137),
        "rtralt" => Some(148),
        _ => {
            return Err(Fault::new(Kind::Value, value.range(), "this is not the name of an IP option")
                .remedy("any eol nop rr qs ts sec lsrr esec cipso satid ssrr rtralt"));
        }
    };
    add(draft, Condition::IpOption(number))
}

pub(super) fn tcp_mss(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let bounds = exclusive_bounds(required(option)?, u16::MAX.into())?;
    add(draft, Condition::TcpMss(bounds))
}

pub(super) fn tcp_wscale(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let bounds = exclusive_bounds(required(option)?, u8::MAX.into())?;
    add(draft, Condition::TcpWindowScale(bounds))
}

pub(super) fn icmpv6_mtu(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let bounds = exclusive_bounds(required(option)?, u32::MAX.into())?;
    add(draft, Condition::Icmpv6Mtu(bounds))
}

pub(super) fn igmp_type(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let bounds = exclusive_bounds(required(option)?, u8::MAX.into())?;
    add(draft, Condition::IgmpType(bounds))
}

/// `vlan.id:ID[,any|all|LAYER]`
pub(super) fn vlan_id(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let (id, layer) = match value.split_once(',') {
        Some((id, layer)) => (id.trim(), Some(layer.trim())),
        None => (value, None),
    };
    let layer = match layer.map(|layer| (layer.text, layer)) {
        None | Some(("any", _)) => Nth::Any,
        Some(("all", _)) => Nth::AllOfSome,
        Some((_, layer)) => Nth::At(number(layer, -3, 2)? as i32),
    };
    let id = exclusive_bounds(id, 4095)?;
    add(draft, Condition::VlanId { id, layer })
}

pub(super) fn vlan_layers(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let bounds = exclusive_bounds(required(option)?, 3)?;
    add(draft, Condition::VlanLayers(bounds))
}

pub(super) fn decode_event(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    add(draft, Condition::DecodeEvent(value.text.to_ascii_lowercase()))
}

pub(super) fn stream_event(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    add(draft, Condition::StreamEvent(value.text.to_ascii_lowercase()))
}

/// `engine-event`: one of the two above, by its full name.
pub(super) fn engine_event(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let name = required(option)?.text.to_ascii_lowercase();
    add(
        draft,
        match name.strip_prefix("stream.") {
            Some(event) => Condition::StreamEvent(event.to_owned()),
            None => Condition::DecodeEvent(name),
        },
    )
}
