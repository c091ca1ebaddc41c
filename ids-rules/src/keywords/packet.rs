//! Conditions on a packet's headers: TCP flags and numbers, TTL, ICMP type and code, and the like. A rule with one of
//! them looks at single packets, not at the stream.

use super::{bounds, number};
use crate::diagnostic::{Fault, Kind};
use crate::lexer::{Piece, RuleOption};
use crate::parser::Draft;
use crate::rule::{Condition, FlagsMode};

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
    let value = option.required()?;
    let (wanted, ignored) = match value.split_once(',') {
        Some((wanted, ignored)) => (wanted.trim(), flag_letters(ignored.trim())?),
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
    let value = number(option.required()?, 0, u32::MAX.into())? as u32;
    add(draft, Condition::Sequence(value))
}

pub(super) fn ack(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = number(option.required()?, 0, u32::MAX.into())? as u32;
    add(draft, Condition::Acknowledgment(value))
}

pub(super) fn window(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = option.required()?;
    let (negated, digits) = match value.strip_prefix("!") {
        Some(rest) => (true, rest.trim()),
        None => (false, value),
    };
    add(draft, Condition::Window { value: number(digits, 0, u16::MAX.into())? as u16, negated })
}

pub(super) fn ttl(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let bounds = bounds(option.required()?, 255)?;
    add(draft, Condition::Ttl(bounds))
}

pub(super) fn id(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = number(option.required()?, 0, u16::MAX.into())? as u16;
    add(draft, Condition::IpId(value))
}

pub(super) fn ip_proto(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = option.required()?;
    let named = [
        ("ICMP", "1"),
        ("IGMP", "2"),
        ("TCP", "6"),
        ("UDP", "17"),
        ("GRE", "47"),
        ("ESP", "50"),
        ("AH", "51"),
        ("ICMPv6", "58"),
        ("SCTP", "132"),
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

pub(super) fn sameip(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    option.no_value()?;
    add(draft, Condition::SameIp)
}

pub(super) fn itype(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let bounds = bounds(option.required()?, 255)?;
    add(draft, Condition::IcmpType(bounds))
}

pub(super) fn icode(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let bounds = bounds(option.required()?, 255)?;
    add(draft, Condition::IcmpCode(bounds))
}

pub(super) fn icmp_id(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = number(option.required()?, 0, u16::MAX.into())? as u16;
    add(draft, Condition::IcmpId(value))
}

pub(super) fn icmp_seq(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = number(option.required()?, 0, u16::MAX.into())? as u16;
    add(draft, Condition::IcmpSequence(value))
}
