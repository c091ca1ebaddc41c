//! Marks and counters that rules leave for each other: `flowbits`, `xbits`, `hostbits`, `flowint`.

use super::{number, required};
use crate::diagnostic::{Fault, Kind};
use crate::lexer::{Piece, RuleOption};
use crate::limits;
use crate::parser::Draft;
use crate::rule::{BitCommand, BitTrack, FlowBit, FlowInt, FlowIntCommand, FlowIntValue, XBit};

/// The name of one mark.
fn one_name(name: Piece<'_>) -> Result<String, Fault> {
    let bad = name.text.is_empty() || name.text.contains(|c: char| c.is_whitespace() || matches!(c, ',' | '|'));
    if bad {
        return Err(Fault::new(Kind::Value, name.range(), "this is not the name of one mark"));
    }
    Ok(name.text.to_owned())
}

pub(super) fn flowbits(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    if value.text == "noalert" {
        draft.rule.noalert = true;
        return Ok(());
    }
    let Some((command, names)) = value.split_once(',') else {
        return Err(Fault::new(Kind::Value, value.range(), "'flowbits' needs the name of a bit"));
    };
    let names = names.trim();
    let any_of = || -> Result<Vec<String>, Fault> {
        let list: Vec<String> = names.split('|').map(|n| n.trim().text.to_owned()).collect();
        let bad = list.iter().any(|n| n.is_empty() || n.contains(|c: char| c.is_whitespace() || c == ','));
        if bad || list.len() > limits::BITS_OF_OPTION {
            return Err(Fault::new(Kind::Value, names.range(), "this is not a list of bits"));
        }
        Ok(list)
    };
    let several = names.text.contains('|');
    let bit = match command.trim().text {
        "set" | "unset" if several && !draft.snort => return Err(only_asked(names)),
        "toggle" if several => return Err(only_asked(names)),
        "set" => {
            for name in names.split('&').flat_map(|n| n.split('|')) {
                draft.rule.flowbits.push(FlowBit::Set(one_name(name.trim())?));
            }
            return Ok(());
        }
        "unset" => FlowBit::Unset(one_name(names)?),
        "toggle" => FlowBit::Toggle(one_name(names)?),
        "isset" => FlowBit::IsSet(any_of()?),
        "isnotset" => FlowBit::IsNotSet(any_of()?),
        other => {
            let message = format!("'{other}' is not supported in 'flowbits'");
            return Err(Fault::new(Kind::UnsupportedValue, command.range(), message)
                .subject(format!("flowbits:{other}"))
                .remedy("set, unset, toggle, isset, isnotset, noalert"));
        }
    };
    draft.rule.flowbits.push(bit);
    Ok(())
}

fn only_asked(names: Piece<'_>) -> Fault {
    Fault::new(Kind::Value, names.range(), "several bits can be asked for, but not changed, in one option")
}

fn command(word: Piece<'_>) -> Option<BitCommand> {
    Some(match word.text {
        "set" => BitCommand::Set,
        "unset" => BitCommand::Unset,
        "toggle" => BitCommand::Toggle,
        "isset" => BitCommand::IsSet,
        "isnotset" => BitCommand::IsNotSet,
        _ => return None,
    })
}

/// `xbits:COMMAND,NAME,track ip_src|ip_dst|ip_pair|tx[,expire SECONDS]`
pub(super) fn xbits(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    if value.text == "noalert" {
        draft.rule.noalert = true;
        return Ok(());
    }
    let words: Vec<Piece<'_>> = value.split(',').map(Piece::trim).collect();
    let &[first, name, track, ref rest @ ..] = words.as_slice() else {
        return Err(Fault::new(Kind::Value, value.range(), "'xbits' is not complete")
            .remedy("xbits:set,NAME,track ip_src,expire SECONDS"));
    };
    let command = command(first)
        .ok_or_else(|| Fault::new(Kind::Value, first.range(), "one of set, unset, toggle, isset, isnotset"))?;
    let track_word = track.strip_prefix("track").map(Piece::trim);
    let track = match track_word.map(|word| word.text) {
        Some("ip_src") => BitTrack::Source,
        Some("ip_dst") => BitTrack::Destination,
        Some("ip_pair") => BitTrack::Pair,
        Some("tx") => BitTrack::Transaction,
        _ => return Err(Fault::new(Kind::Value, track.range(), "track ip_src, ip_dst, ip_pair or tx")),
    };
    let expire = match rest {
        [] => DEFAULT_EXPIRE,
        [word] => match word.strip_prefix("expire") {
            Some(seconds) => number(seconds.trim(), 1, u32::MAX.into())? as u32,
            None => return Err(Fault::new(Kind::Value, word.range(), "this is not 'expire SECONDS'")),
        },
        [_, more, ..] => return Err(Fault::new(Kind::Value, more.range(), "'xbits' has a word too many")),
    };
    draft.rule.xbits.push(XBit { command, name: one_name(name)?, track, expire, host: false });
    Ok(())
}

/// Seconds that a mark of an address stays without `expire`.
const DEFAULT_EXPIRE: u32 = 30;

/// `hostbits:COMMAND,NAME[,src|dst|both]`
pub(super) fn hostbits(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    if value.text == "noalert" {
        draft.rule.noalert = true;
        return Ok(());
    }
    let words: Vec<Piece<'_>> = value.split(',').map(Piece::trim).collect();
    let (first, name, side) = match *words.as_slice() {
        [first, name] => (first, name, None),
        [first, name, side] => (first, name, Some(side)),
        _ => return Err(Fault::new(Kind::Value, value.range(), "hostbits reads: COMMAND,NAME[,src|dst|both]")),
    };
    let command = command(first)
        .ok_or_else(|| Fault::new(Kind::Value, first.range(), "one of set, unset, toggle, isset, isnotset"))?;
    let tracks: &[BitTrack] = match side.map(|side| side.text) {
        None | Some("src") => &[BitTrack::Source],
        Some("dst") => &[BitTrack::Destination],
        Some("both") => &[BitTrack::Source, BitTrack::Destination],
        Some(_) => return Err(Fault::new(Kind::Value, value.range(), "the side is src, dst or both")),
    };
    for &track in tracks {
        draft.rule.xbits.push(XBit { command, name: one_name(name)?, track, expire: u32::MAX, host: true });
    }
    Ok(())
}

/// `flowint:NAME,COMMAND[,VALUE]`
pub(super) fn flowint(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let whole = required(option)?;
    let words: Vec<Piece<'_>> = whole.split(',').map(Piece::trim).collect();
    let (name, sign, right) = match *words.as_slice() {
        [name, sign] => (name, sign, None),
        [name, sign, right] => (name, sign, Some(right)),
        _ => return Err(Fault::new(Kind::Value, whole.range(), "flowint reads: NAME,COMMAND[,VALUE]")),
    };
    let value = || -> Result<FlowIntValue, Fault> {
        let right = right.ok_or_else(|| Fault::new(Kind::Value, sign.range(), "the value is missing"))?;
        if right.text.starts_with(|c: char| c.is_ascii_digit()) {
            return number(right, 0, u32::MAX.into()).map(|n| FlowIntValue::Number(n as u32));
        }
        one_name(right).map(FlowIntValue::Counter)
    };
    let compare = |less, equal, greater| -> Result<FlowIntCommand, Fault> {
        Ok(FlowIntCommand::Compare { less, equal, greater, value: value()? })
    };
    let command = match sign.text {
        "isset" if right.is_none() => FlowIntCommand::IsSet,
        "isnotset" | "notset" if right.is_none() => FlowIntCommand::IsNotSet,
        "=" => FlowIntCommand::Set(value()?),
        "+" => FlowIntCommand::Add(value()?),
        "-" => FlowIntCommand::Subtract(value()?),
        "<" => compare(true, false, false)?,
        "<=" => compare(true, true, false)?,
        "==" => compare(false, true, false)?,
        ">=" => compare(false, true, true)?,
        ">" => compare(false, false, true)?,
        "!=" => compare(true, false, true)?,
        _ => {
            return Err(Fault::new(Kind::Value, sign.range(), "one of = + - < <= == >= > != isset isnotset"));
        }
    };
    if !name.text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Err(Fault::new(Kind::Value, name.range(), "the name of a counter begins with a letter"));
    }
    draft.rule.flowints.push(FlowInt { name: one_name(name)?, command });
    Ok(())
}
